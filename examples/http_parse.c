/* http_parse.c - the packaged parser (http_parser.h, Debian's libhttp-parser-dev), and what it is
 * too kind to.
 *
 * Two servers in a row that disagree on where a request ends can be made to disagree on what it is:
 * that is how requests are smuggled. Debian builds the parser without its strict mode, and then it
 * takes a line feed for a line's end, a field that goes on in the next line, a space before a
 * colon, and anything at all for the end of a chunk. So we look at each line once more ourselves;
 * and since we do, we pick out the fields that we want from there, and need no callbacks for it. */
#define _GNU_SOURCE
#include "http_parse.h"

#include <string.h>
#include <strings.h>

static struct http_parse *parse_of(struct http_parser *parser)
{
    return parser->data;
}

static int on_url(struct http_parser *parser, const char *at, size_t len)
{
    struct http_parse *p = parse_of(parser);

    if (!p->request.target.len)
        p->target_at = (size_t)(at - p->base);
    p->request.target.len += len; /* it may come in pieces */
    return 0;
}

static bool announces_body(const struct http_parser *parser)
{
    return parser->flags & F_CHUNKED ||
           (parser->flags & F_CONTENTLENGTH && parser->content_length > 0);
}

/* We are asked again before the body, so that whoever reads it can say no. */
static int on_headers_complete(struct http_parser *parser)
{
    parser->upgrade = 0; /* to nothing: what follows is HTTP as before */
    if (announces_body(parser))
        http_parser_pause(parser, 1);
    return 0;
}

static int on_message_complete(struct http_parser *parser)
{
    parse_of(parser)->whole = true;
    http_parser_pause(parser, 1); /* what follows is the next request */
    return 0;
}

/* Behind the line with a chunk's size. */
static int on_chunk_header(struct http_parser *parser)
{
    http_parser_pause(parser, 1);
    return 0;
}

/* Behind a chunk's data; of the last one, which has none, this says nothing new. */
static int on_chunk_complete(struct http_parser *parser)
{
    if (!(parser->flags & F_TRAILING))
        http_parser_pause(parser, 1);
    return 0;
}

static const struct http_parser_settings settings = {
    .on_url = on_url,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_message_complete,
    .on_chunk_header = on_chunk_header,
    .on_chunk_complete = on_chunk_complete,
};

static void begin(struct http_parse *p)
{
    http_parser_init(&p->parser, HTTP_REQUEST);
    p->parser.data = p;
    p->request = (struct http_request){.head_len = 0};
    p->seen = 0;
    p->begun = true;
    p->whole = false;
    p->in_chunk_data = false;
}

/* Lets the parser have these bytes. How many it took; *ret_stopped: it
 * has stopped there of its own accord. */
static size_t feed(struct http_parse *p, const char *buf, size_t len, bool *ret_stopped)
{
    size_t used = http_parser_execute(&p->parser, &settings, buf, len);

    *ret_stopped = HTTP_PARSER_ERRNO(&p->parser) == HPE_PAUSED;
    if (*ret_stopped)
        http_parser_pause(&p->parser, 0);
    return used;
}

/* What the parser stopped at is at `at`, if len is not 0. */
static int status_of_error(const struct http_parse *p, const char *at, size_t len)
{
    switch (HTTP_PARSER_ERRNO(&p->parser)) {
    case HPE_INVALID_METHOD: /* a name that it does not know, or no name at all */
        return len && *at > ' ' && *at < 0x7f ? 501 : 400;
    case HPE_HEADER_OVERFLOW:
        return 431;
    default:
        return 400;
    }
}

/* --- The head -------------------------------------------------------------------------------- */

static bool is(struct http_text text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

/* What the fields of a head have told. */
struct fields {
    unsigned int hosts;
    unsigned int codings;
};

static int take_field(struct http_request *r, struct fields *f, struct http_text name,
                      struct http_text value)
{
    switch (name.len) {
    case 4:
        f->hosts += is(name, "host");
        break;
    case 6:
        if (!is(name, "expect"))
            break;
        if (!is(value, "100-continue"))
            return 417;
        r->expects_continue = true;
        break;
    case 17:
        if (is(name, "if-modified-since")) {
            r->modified_since = value;
        } else if (is(name, "transfer-encoding")) {
            f->codings++;
            if (!is(value, "chunked"))
                return 501;
        }
        break;
    }
    return HTTP_WHOLE;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A line between its beginning and its carriage return. */
static int take_line(struct http_request *r, struct fields *f, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    const char *value;

    if (!colon || colon == line || line[0] == '\t' || memchr(line, ' ', (size_t)(colon - line)))
        return 400;
    value = colon + 1;
    while (value < end && is_blank(*value))
        value++;
    while (value < end && is_blank(end[-1]))
        end--;
    return take_field(r, f, (struct http_text){line, (size_t)(colon - line)},
                      (struct http_text){value, (size_t)(end - value)});
}

/* Every line, from the rest of the first to the empty one. */
static int take_lines(struct http_request *r, struct fields *f, const char *head)
{
    const char *at = r->target.at + r->target.len;
    const char *end = head + r->head_len;
    bool first = true;
    int rc;

    for (;;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));

        if (!lf || lf == at || lf[-1] != '\r')
            return 400;
        if (!first && lf == at + 1)
            return lf + 1 == end ? HTTP_WHOLE : 400;
        if (!first && (rc = take_line(r, f, at, lf - 1)) != HTTP_WHOLE)
            return rc;
        first = false;
        at = lf + 1;
    }
}

/* Says what the head was, now that it is there as a whole. */
static int take_head(struct http_parse *p)
{
    struct http_request *r = &p->request;
    struct fields f = {.hosts = 0};
    int rc;

    if (p->parser.http_major != 1)
        return 505;
    r->head_len = p->seen;
    r->target.at = p->base + p->target_at;
    r->is_get = p->parser.method == HTTP_GET;
    r->is_head = p->parser.method == HTTP_HEAD;
    r->is_old = p->parser.http_minor == 0;
    r->keep_alive = http_should_keep_alive(&p->parser);
    r->has_body = !p->whole;
    r->body_len = r->has_body && !(p->parser.flags & F_CHUNKED) ? p->parser.content_length : 0;
    if (memchr(p->base, 0, r->head_len))
        return 400;
    rc = take_lines(r, &f, p->base);
    if (rc != HTTP_WHOLE)
        return rc;
    if (f.hosts > 1 || f.codings > 1 || (r->is_old ? f.codings > 0 : f.hosts == 0))
        return 400;
    r->expects_continue &= r->has_body && !r->is_old;
    return HTTP_WHOLE;
}

/* What is too long: the fields, if they have begun, or the target. */
static int too_long(const struct http_parse *p)
{
    return memchr(p->base + p->target_at, '\n', p->seen - p->target_at) ? 431 : 414;
}

int http_parse_head(struct http_parse *p, const char *buf, size_t len, size_t limit)
{
    bool complete = false;
    bool stopped;

    if (!p->begun)
        begin(p);
    p->base = buf;
    if (len > limit)
        len = limit;
    if (len > p->seen) /* to no bytes, the parser would say that the connection has ended */
        p->seen += feed(p, buf + p->seen, len - p->seen, &complete);
    if (HTTP_PARSER_ERRNO(&p->parser) != HPE_OK)
        return status_of_error(p, buf + p->seen, len - p->seen);
    if (complete && !p->whole) /* a body follows: it stopped before the last byte of the head */
        p->seen += feed(p, buf + p->seen, 1, &stopped);
    if (!complete)
        return p->seen == limit ? too_long(p) : HTTP_MORE;
    p->before = '\n';
    p->begun = !p->whole;
    return take_head(p);
}

void http_parse_moved(struct http_parse *p, const char *buf)
{
    struct http_request *r = &p->request;

    r->target.at = buf + (r->target.at - p->base);
    if (r->modified_since.at)
        r->modified_since.at = buf + (r->modified_since.at - p->base);
    p->base = buf;
}

/* --- The body -------------------------------------------------------------------------------- */

/* Does each line feed follow a carriage return? */
static bool lines_are_right(const struct http_parse *p, const char *buf, size_t len)
{
    const char *end = buf + len;
    const char *at = buf;

    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if ((at == buf ? p->before : at[-1]) != '\r')
            return false;
        at++;
    }
    return true;
}

/* Of a body in chunks, the parser took these bytes; if it stopped, behind a line. */
static bool framing_is_right(struct http_parse *p, const char *buf, size_t len, bool stopped)
{
    bool right = true;

    if (!len)
        return !stopped;
    if (!p->in_chunk_data)
        right = lines_are_right(p, buf, len);
    if (stopped) {
        right &= buf[len - 1] == '\n' && (len > 1 ? buf[len - 2] : p->before) == '\r';
        p->in_chunk_data = !p->in_chunk_data && p->parser.content_length > 0;
    }
    p->before = buf[len - 1];
    return right;
}

int http_parse_body(struct http_parse *p, const char *buf, size_t len, size_t *ret_used)
{
    bool stopped;
    size_t n;

    for (*ret_used = 0; *ret_used < len && !p->whole; *ret_used += n) {
        n = feed(p, buf + *ret_used, len - *ret_used, &stopped);
        if (HTTP_PARSER_ERRNO(&p->parser) != HPE_OK)
            return status_of_error(p, NULL, 0);
        if (p->parser.flags & F_CHUNKED && !framing_is_right(p, buf + *ret_used, n, stopped))
            return 400;
    }
    p->begun = !p->whole;
    return p->whole ? HTTP_WHOLE : HTTP_MORE;
}

const char *http_reason_of(int status)
{
    return http_status_str((enum http_status)status);
}

/* --- The target ------------------------------------------------------------------------------ */

struct http_text http_path_of(struct http_text target)
{
    struct http_parser_url url;
    size_t len = 0;

    if (target.len && target.at[0] == '/') {
        while (len < target.len && target.at[len] != '?' && target.at[len] != '#')
            len++;
        return (struct http_text){target.at, len};
    }
    http_parser_url_init(&url);
    if (http_parser_parse_url(target.at, target.len, 0, &url) != 0)
        return (struct http_text){.at = NULL};
    if (!(url.field_set & 1 << UF_PATH))
        return (struct http_text){"/", 1};
    return (struct http_text){target.at + url.field_data[UF_PATH].off, url.field_data[UF_PATH].len};
}
