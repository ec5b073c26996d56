/* http_parse.h - the requests of a connection, out of its bytes. This and http_parse.c are all that
 * knows the packaged parser. */
#ifndef HTTP_PARSE_H
#define HTTP_PARSE_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are no string: where they are, and how many. */
struct http_text {
    const char *at; /* NULL: there is no such thing */
    size_t len;
};

/* A request, as far as its head tells. The texts lie in the buffer in which it was parsed. */
struct http_request {
    struct http_text target;
    struct http_text modified_since;
    size_t head_len;
    uint64_t body_len; /* as announced; 0 if it comes in chunks */
    bool is_get;
    bool is_head;
    bool is_old; /* HTTP/1.0, where staying open has to be said */
    bool keep_alive;
    bool has_body;
    bool expects_continue; /* its body comes when asked for */
};

/* Zeroed, it waits for a connection's first request. */
struct http_parse {
    struct http_request request;
    struct http_parser parser;
    const char *base; /* where the head begins, in this call */
    size_t target_at; /* from base */
    size_t seen;      /* bytes of the head that the parser has had */
    bool begun;
    bool whole;         /* the parser has met the end of the request */
    bool in_chunk_data; /* ... and this is what it is in */
    char before;        /* the byte before those that it gets next */
};

/* What is answered here: one of these, or the status (400 or above) with which to refuse. After
 * that, the connection cannot be made sense of any more. */
enum {
    HTTP_MORE = 0,  /* it goes on beyond these bytes */
    HTTP_WHOLE = 1, /* nothing is missing */
};

/* Parses the head of a request, of which len bytes are at buf. HTTP_MORE: to be called again with
 * the same bytes, wherever they are then, and more behind them. HTTP_WHOLE: p->request is it. A
 * head that is longer than limit is refused. */
int http_parse_head(struct http_parse *p, const char *buf, size_t len, size_t limit);

/* The head has been moved: it is at buf now. */
void http_parse_moved(struct http_parse *p, const char *buf);

/* Goes on with the body, if there is one. *ret_used says how many of the bytes belonged to it;
 * HTTP_MORE: all of them. */
int http_parse_body(struct http_parse *p, const char *buf, size_t len, size_t *ret_used);

/* "Not Found" */
const char *http_reason_of(int status);

/* The path in a target, which may be a whole URL and have a query. */
struct http_text http_path_of(struct http_text target);

#endif
