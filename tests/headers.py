#!/usr/bin/env python3
"""headers.py - every public header compiles alone, in C and in C++, old and new, without a warning. TAP."""
import pathlib
import shutil
import subprocess
import sys

INCLUDE = pathlib.Path(__file__).resolve().parent.parent / 'include'
WARNINGS = ['-Wall', '-Wextra', '-pedantic', '-Werror', '-fsyntax-only', f'-I{INCLUDE}']
COMPILERS = {
    'gcc': ('c', ['c99', 'c11', 'c17']),
    'clang': ('c', ['c99', 'c11', 'c17']),
    'g++': ('c++', ['c++11', 'c++20']),
    'clang++': ('c++', ['c++11', 'c++20']),
}

# The macros too, which a compiler sees only where they are used; and with commas in their arguments,
# which literals have in C and lambdas in C++.
USES = '''#include <coil.h>
#include <coil/lowlevel.h>
static struct coil_lot lot = COIL_LOT_INIT;
static struct coil_breaker breaker = COIL_BREAKER_INIT;
static struct coil_event event = COIL_EVENT_INIT;
static struct coil_watch watch = COIL_WATCH_INIT;
static struct coil_lock lock = COIL_LOCK_INIT;
static struct coil_condition condition = COIL_CONDITION_INIT;
static struct coil_semaphore semaphore = COIL_SEMAPHORE_INIT(-1, COIL_UNLIMITED);
static struct coil_rwlock rwlock = COIL_RWLOCK_INIT;
static struct coil_barrier barrier = COIL_BARRIER_INIT(3);
static struct coil_limiter limiter = COIL_LIMITER_INIT(40);
static struct coil_token token = COIL_TOKEN_INIT;
static struct coil_future future = COIL_FUTURE_INIT;
static struct coil_guard guard = COIL_GUARD_INIT("reading from");
static struct coil_sender sender = COIL_SENDER_INIT;
static struct coil_receiver receiver = COIL_RECEIVER_INIT;
static struct coil_broadcast broadcast = COIL_BROADCAST_INIT;
static struct coil_broadcast_receiver listener = COIL_BROADCAST_RECEIVER_INIT;
static struct coil_latest latest = COIL_LATEST_INIT;
static struct coil_latest_receiver watcher = COIL_LATEST_RECEIVER_INIT;
extern const void *const use_all[];
const void *const use_all[] = {&lot, &breaker, &event, &watch, &lock, &condition, &semaphore, &rwlock, &barrier,
                               &limiter, &token, &future, &guard, &sender, &receiver, &broadcast, &listener,
                               &latest, &watcher};
static int child(void *arg) { return coil_fail(*(int *)arg, "no"); }
static int body(void *arg)
{
    struct coil_group g;
    struct coil_scope s;
    struct coil_handle h;
    struct coil_spawn_options with = {"name", 0, &h, 1, 0};
    intptr_t value = 0;
    int rc;
    coil_group_begin(&g);
    coil_timeout_begin(&s, coil_now() + 5 * COIL_SECOND);
    rc = coil_group_spawn(&g, child, arg);
    if (rc >= 0)
        rc = coil_group_spawn_with(&g, child, arg, &with);
    if (rc >= 0)
        rc = coil_group_start(&g, child, arg, &value);
    if (rc >= 0)
        rc = coil_group_start_with(&g, child, arg, &value, &with);
    if (rc >= 0)
        rc = coil_group_spawn_later(&g, coil_now(), child, arg);
    if (rc >= 0)
        rc = coil_group_spawn_readable_with(&g, 0, child, arg, &with);
    coil_task_cancel(&h, "why not");
    coil_scope_request(&s, COIL_MILLISECOND, "soon");
    coil_scope_cancel(&s, "now");
    rc = coil_scope_end(&s, rc);
    return coil_group_end(&g, rc);
}
static void dispose(void *arg, int result) { (void)arg; (void)result; }
static int gather(void *arg)
{
    struct coil_call calls[2];
    struct coil_completions c;
    struct coil_call *next;
    size_t index;
    int rc = coil_all_of(calls, 2);
    if (rc >= 0)
        rc = coil_first_of(calls, 2, dispose, &index);
    if (rc >= 0)
        rc = coil_map(child, arg, 1, sizeof(int), 1);
    if (rc < 0 || (rc = coil_completions_begin(&c, calls, 2)) < 0)
        return rc;
    rc = coil_completions_next(&c, &next);
    return coil_completions_end(&c, rc);
}
struct pair { int one, two; };
static struct coil_local key = COIL_LOCAL_INIT;
static struct coil_dumper dumper;
static int piece(void *ctx, const char *text, size_t len) { return ctx && text && len ? 0 : -1; }
int look(void);
int look(void)
{
    static const struct coil_instrument watch = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    return coil_local_set(&key, &key) + coil_instrument_add(&watch) + coil_dump(COIL_DUMP_JSON, piece, &key) +
           coil_dumper_begin(&dumper, COIL_DUMP_TEXT, piece, &key);
}
static int with_commas(struct coil_group *g)
{
#ifdef __cplusplus
    static const struct coil_loop_options loop = {};
    static const struct coil_spawn_options with = {};
    struct pair p = {1, 2};
    return coil_run(&loop, [](void *p) { int a = 1, b = 2; return p ? a : b; }, &p) +
           coil_group_spawn(g, [](void *p) { int a = 1, b = 2; return p ? a : b; }, &p) +
           coil_group_spawn_with(g, [](void *p) { int a = 1, b = 2; return p ? a : b; }, &p, &with);
#else
    return coil_run(&(struct coil_loop_options){.backend = "epoll", .sq_entries = 2}, child, &(struct pair){1, 2}) +
           coil_runtime_run(&(struct coil_runtime_options){.loops = 2, .unpinned = 1}, child, &(struct pair){1, 2}) +
           coil_group_spawn(g, child, &(struct pair){1, 2}) +
           coil_group_spawn_with(g, child, &(struct pair){1, 2},
                                 &(struct coil_spawn_options){.name = "a", .stack_size = 1 << 20});
#endif
}
int choose(struct coil_sender *tx, struct coil_receiver *rx, struct coil_broadcast_receiver *all,
           struct coil_latest_receiver *latest, int fd);
int choose(struct coil_sender *tx, struct coil_receiver *rx, struct coil_broadcast_receiver *all,
           struct coil_latest_receiver *latest, int fd)
{
    const struct pair out = {1, 2};
    struct pair in;
    uint64_t seen = 0;
    void *value;
    struct coil_case cases[] = {
        COIL_CASE_SEND(tx, &out), COIL_CASE_RECEIVE(rx, &in), COIL_CASE_BROADCAST(all, &in),
        COIL_CASE_LATEST(latest, &in), COIL_CASE_EVENT(&event), COIL_CASE_WATCH(&watch, &seen),
        COIL_CASE_FUTURE(&future, &value), COIL_CASE_READABLE(fd), COIL_CASE_WRITABLE(fd),
    };
    cases[0] = COIL_CASE_READABLE(fd + 1);
#ifndef __cplusplus
    cases[1] = COIL_CASE_SEND(tx, &(struct pair){1, 2});
#endif
    return coil_select(cases, sizeof(cases) / sizeof(cases[0]));
}
int use(struct coil_group *g);
int use(struct coil_group *g)
{
    int arg = 0;
    return with_commas(g) + gather(&arg) + coil_run(0, body, &arg) + coil_runtime_run(0, body, &arg);
}
'''


def said_against(compiler, language, standard, text):
    return subprocess.run([compiler, '-x', language, f'-std={standard}', *WARNINGS, '-'], input=text,
                          capture_output=True, text=True, timeout=60, check=False)


def programs():
    for path in sorted(INCLUDE.rglob('*.h')):
        name = path.relative_to(INCLUDE).as_posix()
        yield f'{name} alone', f'#include <{name}>\n#include <{name}>\nextern int dummy;\n'
    yield 'the calls that are macros', USES


def main():
    number = failed = 0
    for compiler, (language, standards) in COMPILERS.items():
        if not shutil.which(compiler):
            number += 1
            print(f'ok {number} - headers # SKIP {compiler} is not installed')
            continue
        for standard in standards:
            for name, text in programs():
                number += 1
                run = said_against(compiler, language, standard, text)
                failed += run.returncode != 0
                print(run.stderr, end='')
                print(f'{"not ok" if run.returncode else "ok"} {number} - {name}, as {standard} by {compiler}')
    print(f'1..{number}')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
