/* json.h - is this text one JSON value, to the letter of RFC 8259? */
#ifndef TESTS_JSON_H
#define TESTS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Each json_ function takes what it names from the front of *p, or says false. */
static inline bool json_value(const char **p, int depth);

static inline void json_space(const char **p)
{
    *p += strspn(*p, " \t\r\n");
}

static inline bool json_take(const char **p, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(*p, word, len) != 0)
        return false;
    *p += len;
    return true;
}

static inline bool json_escape(const char **p)
{
    if (**p == 'u') {
        ++*p;
        if (strspn(*p, "0123456789abcdefABCDEF") < 4)
            return false;
        *p += 4;
        return true;
    }
    return **p && strchr("\"\\/bfnrt", *(*p)++);
}

/* The continuation of a character that begins with lead; surrogates and forms that are too long are
 * none. */
static inline bool json_utf8(const char **p, unsigned char lead)
{
    const unsigned char *s = (const unsigned char *)*p;
    int more = lead < 0x80 ? 0 : lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;

    if (more < 0 || lead > 0xf4)
        return false;
    if ((lead == 0xe0 && s[0] < 0xa0) || (lead == 0xed && s[0] > 0x9f) ||
        (lead == 0xf0 && s[0] < 0x90) || (lead == 0xf4 && s[0] > 0x8f))
        return false;
    for (int i = 0; i < more; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return false;
    *p += more;
    return true;
}

static inline bool json_string(const char **p)
{
    if (!json_take(p, "\""))
        return false;
    for (;;) {
        unsigned char c = (unsigned char)*(*p)++;

        if (c == '"')
            return true;
        if (c < 0x20 || !(c == '\\' ? json_escape(p) : json_utf8(p, c)))
            return false;
    }
}

static inline bool json_number(const char **p)
{
    size_t digits;

    (void)json_take(p, "-");
    digits = strspn(*p, "0123456789");
    if (!digits || (**p == '0' && digits > 1))
        return false;
    *p += digits;
    return !**p || !strchr(".eE", **p); /* we write none of these */
}

static inline bool json_list(const char **p, const char *end, bool keys, int depth)
{
    json_space(p);
    if (json_take(p, end))
        return true;
    for (;;) {
        json_space(p);
        if (keys) {
            if (!json_string(p))
                return false;
            json_space(p);
            if (!json_take(p, ":"))
                return false;
        }
        if (!json_value(p, depth))
            return false;
        json_space(p);
        if (json_take(p, end))
            return true;
        if (!json_take(p, ","))
            return false;
    }
}

static inline bool json_value(const char **p, int depth)
{
    if (depth > 8)
        return false;
    json_space(p);
    if (json_take(p, "{"))
        return json_list(p, "}", true, depth + 1);
    if (json_take(p, "["))
        return json_list(p, "]", false, depth + 1);
    if (**p == '"')
        return json_string(p);
    return json_take(p, "null") || json_take(p, "true") || json_take(p, "false") || json_number(p);
}

static inline bool is_json(const char *text)
{
    if (!json_value(&text, 0))
        return false;
    json_space(&text);
    return !*text;
}

#endif
