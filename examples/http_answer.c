/* http_answer.c - what is answered to a request: plaintext, files, and statuses. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

#define CHUNK_SIZE      (64 * 1024)
#define COPIED_MOST     2048 /* bytes of a file; more are sent from where they are */
#define HEAD_ROOM       512  /* what an answer's head needs at the most, but for a Location */

#define PUT(c, literal) http_put((c), (literal), sizeof(literal) - 1)

/* A line or two, and no more than room was made for. */
static void put_format(struct http_connection *c, const char *format, ...)
{
    char text[HEAD_ROOM];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    http_put(c, text, (size_t)len);
}

static void put_status(struct http_connection *c, int status)
{
    switch (status) {
    case 200:
        PUT(c, "HTTP/1.1 200 OK\r\n");
        break;
    case 304:
        PUT(c, "HTTP/1.1 304 Not Modified\r\n");
        break;
    default:
        put_format(c, "HTTP/1.1 %d %s\r\n", status, http_reason_of(status));
    }
}

/* The head of an answer, up to the fields that are its own. A server that is about to end says so
 * to each client, with what it answers. */
static void put_head(struct http_connection *c, int status)
{
    c->closing |= !c->desk->parse.request.keep_alive || coil_cancel_requested();
    put_status(c, status);
    http_put(c, c->server->usual, c->server->usual_len);
    if (c->closing)
        PUT(c, "Connection: close\r\n");
    else if (c->desk->parse.request.is_old)
        PUT(c, "Connection: keep-alive\r\n");
}

/* An answer that only says its status. fields are lines of its own, or "". */
static int answer_status(struct http_connection *c, int status, const char *fields)
{
    char body[64];
    int len = snprintf(body, sizeof(body), "%d %s\n", status, http_reason_of(status));
    int rc = http_reserve(c, HEAD_ROOM + strlen(fields));

    if (rc < 0)
        return rc;
    put_head(c, status);
    http_put(c, fields, strlen(fields));
    put_format(c, "Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len);
    if (!c->desk->parse.request.is_head)
        http_put(c, body, (size_t)len);
    return 0;
}

/* The last answer: what comes behind a request that was refused is not understood. */
int http_refuse(struct http_connection *c, int status)
{
    c->closing = true;
    c->refused = status;
    return answer_status(c, status, status == 405 ? "Allow: GET, HEAD\r\n" : "");
}

static int answer_plaintext(struct http_connection *c)
{
    static const char text[] = "Hello, World!";
    int rc = http_reserve(c, HEAD_ROOM);

    if (rc < 0)
        return rc;
    put_head(c, 200);
    PUT(c, "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n");
    if (!c->desk->parse.request.is_head)
        http_put(c, text, sizeof(text) - 1);
    return 0;
}

/* A file that is not kept in memory. Its length has been promised: if it got shorter meanwhile, the
 * connection is broken off, and the client can tell. */
static int send_large(struct http_connection *c, const struct http_file *file)
{
    char *chunk = malloc(CHUNK_SIZE);
    uint64_t done = 0;
    int rc = chunk ? 0 : -ENOMEM;

    while (rc == 0 && done < file->stamp.size) {
        uint64_t rest = file->stamp.size - done;
        ssize_t n = coil_pread(file->fd, chunk, rest < CHUNK_SIZE ? rest : CHUNK_SIZE, (off_t)done);

        if (n == 0)
            n = -EPIPE;
        rc = n < 0 ? (int)n : http_send(c, chunk, (size_t)n);
        done += n < 0 ? 0 : (uint64_t)n;
    }
    free(chunk);
    return rc;
}

static int answer_file(struct http_connection *c, const struct http_file *file)
{
    size_t size = file->stamp.size;
    size_t from = 0;
    int status = 200;
    int rc = http_reserve(c, HEAD_ROOM);

    if (rc < 0)
        return rc;
    if (http_file_is_known(file, c->desk->parse.request.modified_since)) {
        status = 304;
        from = file->last_modified_at;
    }
    put_head(c, status);
    http_put(c, file->fields + from, file->fields_len - from);
    PUT(c, "\r\n");
    if (status == 304 || c->desk->parse.request.is_head)
        return 0;
    if (!file->data)
        return send_large(c, file);
    if (size > COPIED_MOST || size > sizeof(c->desk->out) - c->desk->out_len)
        return http_send(c, file->data, size);
    http_put(c, file->data, size);
    return 0;
}

/* What is asked for as a file is a directory: its contents are one level below. */
static int answer_directory(struct http_connection *c, struct http_text path)
{
    char fields[HTTP_PATH_SIZE * 3 + 32];

    while (path.len > 1 && path.at[1] == '/') { /* "//host/" would be another server */
        path.at++;
        path.len--;
    }
    if (path.len >= HTTP_PATH_SIZE * 3)
        return answer_status(c, 404, "");
    snprintf(fields, sizeof(fields), "Location: %.*s/\r\n", (int)path.len, path.at);
    return answer_status(c, 301, fields);
}

static int status_of_error(int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EXDEV: /* it leads outside */
    case ENXIO: /* a socket or the like */
        return 404;
    case EACCES:
    case EPERM:
        return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return 503;
    }
    return 500;
}

static int answer_from_root(struct http_connection *c, struct http_text path)
{
    struct http_files *files = &c->server->files;
    char name[HTTP_PATH_SIZE];
    struct http_file *file;
    int rc = http_file_path(path, name);

    if (rc)
        return answer_status(c, rc, "");
    rc = http_file_get(files, name, &file);
    if (rc == -EISDIR)
        return answer_directory(c, path);
    if (rc == -ECANCELED)
        return rc;
    if (rc < 0)
        return answer_status(c, status_of_error(rc), "");
    rc = answer_file(c, file);
    http_file_release(file);
    return rc;
}

static bool is(struct http_text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

int http_answer(struct http_connection *c)
{
    const struct http_request *r = &c->desk->parse.request;
    struct http_text path = http_path_of(r->target);

    c->server->requests++;
    if (!r->is_get && !r->is_head)
        return answer_status(c, 405, "Allow: GET, HEAD\r\n");
    if (!path.at)
        return answer_status(c, 400, "");
    if (is(path, "/plaintext"))
        return answer_plaintext(c);
    if (!c->server->config->root)
        return answer_status(c, 404, "");
    return answer_from_root(c, path);
}
