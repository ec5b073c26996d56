/* http_file.c - opening beneath a root, reading, keeping. */
#define _GNU_SOURCE
#include "http_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <coil.h>

#define OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY) /* a FIFO is no file, but must not hold us */

/* --- Paths ----------------------------------------------------------------------------------- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 'a' - 'A';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %41. 0, or the status to refuse it with. */
static int decode(struct http_text text, char *to, size_t size, size_t *ret_len)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++, len++) {
        int c = (unsigned char)text.at[i];

        if (c == '%') {
            int high = i + 2 < text.len ? digit_of(text.at[i + 1]) : -1;
            int low = high < 0 ? -1 : digit_of(text.at[i + 2]);

            if (low < 0)
                return 400;
            c = high << 4 | low;
            i += 2;
        }
        if (!c)
            return 400;
        if (len == size)
            return 404; /* nothing has so long a name */
        to[len] = (char)c;
    }
    *ret_len = len;
    return 0;
}

/* Is there a ".." among the names? Clients resolve those; what is left has no good purpose. */
static bool goes_up(const char *path)
{
    for (const char *name = path; name; name = strchr(name, '/')) {
        name += *name == '/';
        if (strncmp(name, "..", 2) == 0 && (name[2] == '/' || !name[2]))
            return true;
    }
    return false;
}

int http_file_path(struct http_text text, char path[HTTP_PATH_SIZE])
{
    static const char index[] = "index.html";
    size_t len;
    int status;

    while (text.len && text.at[0] == '/') {
        text.at++;
        text.len--;
    }
    status = decode(text, path, HTTP_PATH_SIZE - sizeof(index), &len);
    if (status)
        return status;
    path[len] = 0;
    if (goes_up(path))
        return 404;
    if (!len || path[len - 1] == '/')
        memcpy(path + len, index, sizeof(index));
    return 0;
}

/* --- Opening --------------------------------------------------------------------------------- */

/* Name by name, and no symbolic link is followed: without openat2, one cannot say of a link that it
 * may not lead outside. */
static int open_step_by_step(int root, const char *path)
{
    char name[HTTP_PATH_SIZE];
    int dir = root;
    int fd;

    for (;;) {
        size_t len = strcspn(path, "/");
        bool last = !path[len];

        memcpy(name, path, len);
        name[len] = 0;
        path += len + !last;
        fd = coil_openat(dir, len ? name : ".",
                         O_NOFOLLOW | (last ? OPEN_FLAGS : O_PATH | O_DIRECTORY), 0);
        if (dir != root)
            (void)coil_close(dir);
        if (fd < 0 || last)
            return fd;
        dir = fd;
    }
}

/* The descriptor, or a negative errno; -EXDEV if the path leads outside. */
static int open_beneath(struct http_files *f, const char *path)
{
    struct open_how how = {.flags = OPEN_FLAGS | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    int fd = -ENOSYS;

    if (!f->without_openat2)
        fd = coil_openat2(f->root, path, &how, sizeof(how));
    if (fd != -ENOSYS)
        return fd;
    f->without_openat2 = true;
    return open_step_by_step(f->root, path);
}

int http_files_open(struct http_files *f, const char *root)
{
    *f = (struct http_files){.root = -1};
    if (!root)
        return 0;
    f->root = coil_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY, 0);
    return f->root < 0 ? f->root : 0;
}

void http_files_close(struct http_files *f)
{
    for (size_t i = 0; i < HTTP_SLOTS; i++)
        if (f->slots[i])
            http_file_release(f->slots[i]);
    if (f->root >= 0)
        (void)coil_close(f->root);
}

/* --- A file ---------------------------------------------------------------------------------- */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html"},        {".css", "text/css"},     {".js", "text/javascript"},
        {".json", "application/json"}, {".txt", "text/plain"},   {".xml", "text/xml"},
        {".svg", "image/svg+xml"},     {".png", "image/png"},    {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},       {".gif", "image/gif"},    {".webp", "image/webp"},
        {".ico", "image/x-icon"},      {".woff2", "font/woff2"}, {".wasm", "application/wasm"},
        {".pdf", "application/pdf"},
    };
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static void write_fields(struct http_file *file)
{
    struct tm tm;
    int len =
        snprintf(file->fields, sizeof(file->fields), "Content-Type: %s\r\nContent-Length: %llu\r\n",
                 type_of(file->path), (unsigned long long)file->stamp.size);

    file->last_modified_at = (size_t)len;
    gmtime_r(&file->stamp.modified.tv_sec, &tm);
    file->fields_len = (size_t)len + strftime(file->fields + len, sizeof(file->fields) - len,
                                              "Last-Modified: %a, %d %b %Y %T GMT\r\n", &tm);
}

void http_file_release(struct http_file *file)
{
    if (--file->users)
        return;
    if (file->fd >= 0)
        (void)coil_close(file->fd);
    free(file->data);
    free(file);
}

static int look(int fd, struct http_stamp *ret)
{
    struct statx st;
    int r = coil_statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st);

    if (r < 0)
        return r;
    if (!S_ISREG(st.stx_mode))
        return S_ISDIR(st.stx_mode) ? -EISDIR : -ENOENT;
    *ret =
        (struct http_stamp){st.stx_size, st.stx_ino, {st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec}};
    return 0;
}

/* All of a small file; the size is then what could be read, should it have changed meanwhile. */
static int read_all(int fd, struct http_file *file)
{
    size_t len = 0;

    file->data = malloc(file->stamp.size + 1);
    if (!file->data)
        return -ENOMEM;
    while (len < file->stamp.size) {
        ssize_t n = coil_pread(fd, file->data + len, file->stamp.size - len, (off_t)len);

        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    file->stamp.size = len;
    return 0;
}

/* Fills in file from what has been opened as fd, which it takes. */
static int load(int fd, struct http_file *file)
{
    int r = look(fd, &file->stamp);

    if (r == 0 && file->stamp.size > HTTP_KEPT_MOST) {
        file->fd = fd;
    } else {
        if (r == 0)
            r = read_all(fd, file);
        (void)coil_close(fd);
    }
    if (r == 0)
        write_fields(file);
    return r;
}

static int file_new(struct http_files *f, const char *path, int fd, struct http_file **ret)
{
    struct http_file *file = calloc(1, sizeof(*file));
    int r;

    if (!file) {
        (void)coil_close(fd);
        return -ENOMEM;
    }
    file->users = 1;
    file->fd = -1;
    file->looked_at = f->tick;
    strcpy(file->path, path);
    r = load(fd, file);
    if (r < 0)
        http_file_release(file);
    else
        *ret = file;
    return r;
}

/* --- Those that are kept --------------------------------------------------------------------- */

static struct http_file **slot_of(struct http_files *f, const char *path)
{
    uint32_t hash = 2166136261;

    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 16777619;
    return &f->slots[(hash ^ hash >> 16) % HTTP_SLOTS];
}

static void keep(struct http_file **slot, struct http_file *file)
{
    if (*slot)
        http_file_release(*slot);
    *slot = file;
    if (file)
        file->users++;
}

/* Is what is open now what we have? */
static bool is_same(int fd, const struct http_file *file)
{
    const struct http_stamp *was = &file->stamp;
    struct http_stamp now;

    return look(fd, &now) == 0 && now.inode == was->inode && now.size == was->size &&
           now.modified.tv_sec == was->modified.tv_sec &&
           now.modified.tv_nsec == was->modified.tv_nsec;
}

/* Opens path and looks at it; kept is what we have of it, or NULL. */
static int get_anew(struct http_files *f, const char *path, struct http_file *kept,
                    struct http_file **ret)
{
    struct http_file **slot = slot_of(f, path);
    int fd = open_beneath(f, path);
    int r;

    if (fd >= 0 && kept && is_same(fd, kept)) {
        (void)coil_close(fd);
        kept->users++;
        *ret = kept;
        return 0;
    }
    r = fd < 0 ? fd : file_new(f, path, fd, ret);
    if (r < 0 && kept && *slot == kept)
        keep(slot, NULL);
    if (r == 0 && (*ret)->data)
        keep(slot, *ret);
    return r;
}

int http_file_get(struct http_files *f, const char *path, struct http_file **ret)
{
    struct http_file *kept = *slot_of(f, path);
    int r;

    if (!kept || strcmp(kept->path, path) != 0)
        return get_anew(f, path, NULL, ret);
    kept->users++; /* also in case another takes its slot meanwhile */
    if (kept->looked_at == f->tick) {
        *ret = kept;
        return 0;
    }
    kept->looked_at = f->tick; /* first: one looks, the others go on with what there is */
    r = get_anew(f, path, kept, ret);
    http_file_release(kept);
    return r;
}

bool http_file_is_known(const struct http_file *file, struct http_text date)
{
    char text[32];
    struct tm tm = {.tm_sec = 0};
    const char *end;

    if (!date.at || date.len >= sizeof(text))
        return false;
    memcpy(text, date.at, date.len);
    text[date.len] = 0;
    end = strptime(text, "%a, %d %b %Y %T GMT", &tm);
    return end && !*end && file->stamp.modified.tv_sec <= timegm(&tm);
}
