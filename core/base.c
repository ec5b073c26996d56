/* base.c - the line before abort. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

_Noreturn void coil__die(const char *format, ...)
{
    char line[512] = "coil: ";
    size_t len = strlen(line);
    va_list args;
    ssize_t ignored;

    va_start(args, format);
    vsnprintf(line + len, sizeof(line) - len - 1, format, args);
    va_end(args);
    len = strlen(line);
    line[len++] = '\n';
    ignored = write(STDERR_FILENO, line, len); /* not stdio: this may be a task's small stack */
    (void)ignored;
    abort();
}
