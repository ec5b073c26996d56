/* quota.c - how many CPUs a container may use: cgroup v2, cpu.max. */
#include "quota.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* "max 100000" says no number, and limits nothing. UINT_MAX: so it says, or is not there. */
static unsigned int cpus_by(const char *file)
{
    FILE *f = fopen(file, "re");
    unsigned long quota = 0;
    unsigned long period = 0;
    int n;

    if (!f)
        return UINT_MAX;
    n = fscanf(f, "%lu %lu", &quota, &period);
    fclose(f);
    return n == 2 && period ? (unsigned int)((quota + period - 1) / period) : UINT_MAX;
}

/* The process's own place, "/a/b", in path. False: it is not told, or lies outside of root. */
static bool find_place(const char *self, char *path, size_t size)
{
    static const char version_2[] = "0::/";
    FILE *f = fopen(self, "re");
    bool found = false;

    if (!f)
        return false;
    while (!found && fgets(path, (int)size, f))
        found = strncmp(path, version_2, strlen(version_2)) == 0 && strchr(path, '\n');
    fclose(f);
    if (!found || strncmp(path, "0::/..", strlen("0::/..")) == 0)
        return false;
    path[strcspn(path, "\n")] = '\0';
    memmove(path, path + strlen("0::"), strlen(path + strlen("0::")) + 1);
    return true;
}

unsigned int coil__cpus_of_quota(const char *self, const char *root)
{
    char path[PATH_MAX] = "";
    char file[2 * PATH_MAX];
    unsigned int least = UINT_MAX;

    if (!find_place(self, path, sizeof(path)))
        path[0] = '\0';
    for (;;) { /* each group's limit holds for those within */
        char *last = strrchr(path, '/');
        unsigned int cpus;

        snprintf(file, sizeof(file), "%s%s/cpu.max", root, path);
        cpus = cpus_by(file);
        if (cpus < least)
            least = cpus;
        if (!last)
            return least == UINT_MAX ? 0 : least;
        *last = '\0';
    }
}
