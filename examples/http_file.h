/* http_file.h - the files below a directory: nothing outside is ever opened, and small ones are
 * kept in memory for a while. */
#ifndef HTTP_FILE_H
#define HTTP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "http_parse.h"

#define HTTP_PATH_SIZE 1024
#define HTTP_KEPT_MOST (64 * 1024) /* bytes: larger files are read for each answer */
#define HTTP_SLOTS     256

/* What tells one state of a file from another. */
struct http_stamp {
    uint64_t size;
    uint64_t inode;
    struct timespec modified;
};

/* A file as of some moment. */
struct http_file {
    unsigned int users; /* answers that need it, and its slot */
    struct http_stamp stamp;
    char *data; /* all of it; NULL: it is too large, and open as fd */
    int fd;
    unsigned long looked_at; /* the tick at which it was known to be so */
    char fields[160];        /* of an answer: Content-Type, Content-Length, Last-Modified */
    size_t fields_len;
    size_t last_modified_at; /* in fields, to the end of these: the only one that a 304 has */
    char path[HTTP_PATH_SIZE];
};

/* A loop's view of the directory. A path has one slot that it can be in; whichever file came last
 * is there. So it is bounded, and there is nothing to be tuned. */
struct http_files {
    int root;
    bool without_openat2; /* the kernel, or a filter, does not let us */
    unsigned long tick;   /* seconds, about: kept files are looked at once in each */
    struct http_file *slots[HTTP_SLOTS];
};

/* 0.  What opening the directory fails with. */
int http_files_open(struct http_files *f, const char *root);
void http_files_close(struct http_files *f);

/* Makes the path of a file out of that in a request: decoded, without leading slashes, index.html
 * added to a directory's.
 * 0, or the status to refuse it with. */
int http_file_path(struct http_text text, char path[HTTP_PATH_SIZE]);

/* The file at a path; waits if it must be read. To be given back with http_file_release.
 * 0.  -EISDIR: it is a directory.  What opening or reading fails with. */
int http_file_get(struct http_files *f, const char *path, struct http_file **ret);
void http_file_release(struct http_file *file);

/* Has the client, which has it as of that date, the same? */
bool http_file_is_known(const struct http_file *file, struct http_text date);

#endif
