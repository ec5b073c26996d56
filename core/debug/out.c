/* out.c - text on its way out. Not stdio: that takes memory, and more stack than a task has. */
#include "out.h"

#include <string.h>

#include "../sched/task.h"

void coil__out_flush(struct out *o)
{
    const struct here before = coil__callback_begin("the callback of a dump");

    if (o->len && o->result >= 0)
        o->result = o->write(o->ctx, o->piece, o->len);
    o->len = 0;
    coil__callback_end(&before);
}

void coil__out_bytes(struct out *o, const char *p, size_t n)
{
    while (n) {
        size_t room = sizeof(o->piece) - o->len;
        size_t part = n < room ? n : room;

        memcpy(o->piece + o->len, p, part);
        o->len += part;
        p += part;
        n -= part;
        if (o->len == sizeof(o->piece))
            coil__out_flush(o);
    }
}

void coil__out(struct out *o, const char *s)
{
    coil__out_bytes(o, s, strlen(s));
}

void coil__out_number(struct out *o, int64_t number)
{
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        coil__out(o, "-");
    coil__out_bytes(o, digits + at, sizeof(digits) - at);
}

static const struct {
    int64_t ns;
    const char *name;
} units[] = {
    {86400 * COIL_SECOND, " d"},
    {3600 * COIL_SECOND, " h"},
    {60 * COIL_SECOND, " min"},
    {COIL_SECOND, " s"},
    {COIL_MILLISECOND, " ms"},
    {COIL_MICROSECOND, " us"},
    {1, " ns"},
};
#define UNIT_SECOND 3

/* Two units where each is a fraction of a day; below that, and below ten, a decimal. */
void coil__out_duration(struct out *o, int64_t ns)
{
    size_t unit = 0;

    if (ns < 0)
        ns = 0;
    while (ns < units[unit].ns && unit < count_of(units) - 1)
        unit++;
    coil__out_number(o, ns / units[unit].ns);
    ns %= units[unit].ns;
    if (unit >= UNIT_SECOND && ns * 10 / units[unit].ns) {
        coil__out(o, ".");
        coil__out_number(o, ns * 10 / units[unit].ns);
    }
    coil__out(o, units[unit].name);
    if (unit < UNIT_SECOND && ns / units[unit + 1].ns) {
        coil__out(o, " ");
        coil__out_number(o, ns / units[unit + 1].ns);
        coil__out(o, units[unit + 1].name);
    }
}

/* How many bytes the character at s takes; 0: it is not UTF-8. */
static size_t utf8_len(const unsigned char *s)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) /* the end of the string is one, too */
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || /* too long; surrogates */
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* \u00XX, or \xXX */
static void out_escaped(struct out *o, const char *prefix, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    const char both[2] = {digits[c >> 4], digits[c & 15]};

    coil__out(o, prefix);
    coil__out_bytes(o, both, sizeof(both));
}

void coil__out_words(struct out *o, const char *s, const char *none)
{
    for (s = s ? s : none; *s; s++) {
        if (is_control((unsigned char)*s))
            out_escaped(o, "\\x", (unsigned char)*s);
        else
            coil__out_bytes(o, s, 1);
    }
}

static void out_json_character(struct out *o, const char *s, size_t len)
{
    if (!len)
        coil__out(o, "\\ufffd");
    else if (is_control((unsigned char)*s))
        out_escaped(o, "\\u00", (unsigned char)*s);
    else if (*s == '"' || *s == '\\')
        coil__out_bytes(o, *s == '"' ? "\\\"" : "\\\\", 2);
    else
        coil__out_bytes(o, s, len);
}

void coil__out_json(struct out *o, const char *s)
{
    if (!s) {
        coil__out(o, "null");
        return;
    }
    coil__out(o, "\"");
    while (*s) {
        size_t len = utf8_len((const unsigned char *)s);

        out_json_character(o, s, len);
        s += len ? len : 1;
    }
    coil__out(o, "\"");
}
