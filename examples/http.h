/* http.h - what the files of the HTTP server share: options, a loop's part of it, connections. */
#ifndef HTTP_H
#define HTTP_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <coil.h>

#include "http_file.h"
#include "http_parse.h"

/* What a connection needs while it is at a request, and not before: the loop lends it. So one that
 * waits for its client is small, and whoever is served next finds a desk that is still warm in the
 * processor's cache, which with 512 connections is a tenth of the whole cost. */
struct http_desk {
    struct http_desk *next; /* of those that nobody has */
    struct http_parse parse;
    size_t begin; /* of what has been received and not yet taken, in `in` */
    size_t end;
    size_t out_len; /* answers that have not been sent */
    char out[15 * 1024];
    char in[]; /* as large as a head may be, and some room */
};

struct http_ledger {
    atomic_ulong accepted;
    atomic_ulong served;    /* connections that ended in good order */
    atomic_ulong timed_out; /* by whichever deadline */
    atomic_ulong failed;
    atomic_ulong cut_off; /* by the end of the drain */
    atomic_ulong pauses;  /* in accepting, for want of descriptors or memory */
    atomic_ulong late_results;
    atomic_ulong requests;
    atomic_uint listening;
};

struct http_config {
    int port;
    unsigned int loops;
    const char *backend;
    const char *root;         /* NULL: no files */
    int64_t header_ns;        /* from the first byte of a head to its last */
    int64_t body_ns;          /* from the head to the last byte of the body */
    int64_t idle_ns;          /* between requests */
    int64_t send_ns;          /* for a buffer full of answers to go */
    int64_t drain_ns;         /* from the signal to the end */
    size_t head_most;         /* bytes */
    uint64_t body_most;       /* bytes on the wire */
    int64_t connections_most; /* on each loop */
    struct http_ledger ledger;
};

/* One loop's. */
struct http_server {
    struct http_config *config;
    struct coil_group connections;
    struct coil_semaphore room; /* for more connections */
    struct http_connection *all;
    struct http_desk *spare;
    size_t spare_count;
    struct http_files files;
    int listener;
    const char *host; /* that it listens on */
    unsigned long requests;
    char usual[96]; /* fields of every answer: Server and Date */
    size_t usual_len;
};

struct http_connection {
    struct http_server *server;
    struct http_desk *desk; /* NULL: it waits for a request to begin */
    int fd;
    int refused;                  /* the status with which a request was */
    bool closing;                 /* the last answer has been given */
    bool idle;                    /* it waits for a request to begin, and may be told not to */
    struct coil_scope waiting;    /* around each receive and each send, with its deadline */
    struct http_connection *next; /* of the server's */
    struct http_connection **link;
    char first[1024]; /* bytes of a request, received without a desk */
};

/* A connection is over, or never began: closes fd, and makes room for another. */
void http_server_close(struct http_server *server, int fd);

/* --- http_connection.c ------------------------------------------------------------------------ */

/* NULL: there is no memory. */
struct http_connection *http_connection_new(struct http_server *server, int fd);
void http_connection_free(struct http_connection *c);

/* Talks to the client until one of the two is done, closes, and frees c. A task. */
int http_connection_serve(void *c);

/* Makes room for so much more to be put, by sending what is there if need be. 0, or what that fails
 * with. */
int http_reserve(struct http_connection *c, size_t len);

/* Puts what room was made for. */
static inline void http_put(struct http_connection *c, const char *text, size_t len)
{
    assert(len <= sizeof(c->desk->out) - c->desk->out_len);
    memcpy(c->desk->out + c->desk->out_len, text, len);
    c->desk->out_len += len;
}

/* Sends what was put, and these bytes behind it. */
int http_send(struct http_connection *c, const char *data, size_t len);

/* --- http_answer.c ---------------------------------------------------------------------------- */

/* Puts, or sends, the answer to c's request. */
int http_answer(struct http_connection *c);

/* Puts the last answer: what comes behind a request that was refused is not understood. */
int http_refuse(struct http_connection *c, int status);

#endif
