/* quota.h - how many CPUs a container may use. */
#ifndef CORE_THREAD_QUOTA_H
#define CORE_THREAD_QUOTA_H

/* The least that the process's cgroup and those around it allow, rounded up. 0: no limit. self and
 * root are /proc/self/cgroup and /sys/fs/cgroup, but for tests. */
unsigned int coil__cpus_of_quota(const char *self, const char *root);

#endif
