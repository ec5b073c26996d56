#!/usr/bin/env python3
"""mutants.py - takes one safety rule away at a time: some test must notice. TAP, and a table of who did.

    mutants.py [--list] [--build DIR] [NAME...]

Each mutant is a copy of the tree in which one rule (below) is gone, and is built and run as the tree is. Its
text must be found exactly once, so a rule that moves has to be found again here.
"""
import argparse
import collections
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
LIMIT_S = 20

# suites: which are to notice, on which backend.
Mutant = collections.namedtuple('Mutant', 'name rule file was becomes suites')
RING = 'io_uring'
EPOLL = 'epoll'

MUTANTS = [Mutant(*m) for m in [
    ('drop_a_late_result', 'the result wins, though a cancel was asked',
     'core/op.c', 'if (op->result != -ECANCELED)\n        return op->result;',
     'if (op->result != -ECANCELED && !op->asked)\n        return op->result;', {'ledger': RING}),
    ('free_before_completion', 'a task goes on only when its op is over',
     'core/op.c', 'return coil__op_stop(op) ? COIL_ABORT_DONE : COIL_ABORT_LATER;',
     '((struct op *)op)->state = OP_DONE;\n    return COIL_ABORT_DONE;', {'teardown': RING, 'ledger': RING}),
    ('drop_a_cancel_when_the_ring_is_full', 'a cancel without room is sent later',
     'uring/uring.c', 'b->ask_now = true;\n        return;',
     'list_remove(&op->link);\n        return;', {'ring': RING}),
    ('ask_only_once', 'whoever stays silent is asked again',
     'uring/uring.c', '    list_for_each(n, &b->asked)\n        push_cancel(b, container_of(n, struct op, link));',
     '', {'ring': RING}),
    ('use_a_slot_again_under_its_old_name', 'a late completion meets a number not in use',
     'uring/uring.c', 'if (!++s->generation)', 'if (!s->generation)', {'ring': RING}),
    ('take_a_short_read_for_an_empty_socket', 'a short count proves nothing after a hang-up',
     'core/io/perform.c', ' && !(d->sticky & side)', '', {'io': EPOLL}),
    ('close_under_an_operation', 'close waits for what is in flight',
     'core/io/descriptor.c', '    coil__op_drain(loop, fd, d);\n', '', {'descriptor': RING, 'io': RING}),
    ('let_two_read', 'one reader at a time',
     'core/op.c', 'if (unlikely(d->busy & side_of(op)))', 'if (false)', {'io': RING, 'misuse': RING, 'descriptor': RING}),
    ('raise_sigpipe', 'no signal for a pipe without a reader',
     'core/io/quiet.h', 'pthread_sigmask(SIG_BLOCK, &set, &q->before);',
     'pthread_sigmask(SIG_UNBLOCK, &set, &q->before);', {'io': RING}),
    ('inherit_descriptors', 'close-on-exec on every new descriptor',
     'core/io/perform.c', 'SOCK_CLOEXEC | SOCK_NONBLOCK', 'SOCK_NONBLOCK', {'io': EPOLL, 'descriptor': EPOLL}),
    ('refuse_no_call_in_a_cancelled_task', 'cancellation is a state: every further checkpoint fails',
     'core/op.c', 'r = task_checkpoint(self);\n    return likely', 'r = 0;\n    return likely', {'io': RING, 'scope': RING}),
    ('miss_a_deadline_already_past', 'a deadline already past acts at the first checkpoint',
     'core/sched/park.h', '    if (unlikely(loop->deadline_unseen))\n        fire_timers(loop);', '    (void)loop;', {'scope': RING, 'sync': RING}),
    ('end_who_has_no_stack_before_his_waiters_hear', 'who is cancelled with what he waits for is told so',
     'core/sched/scope.c', '    tell_all(&a.ours);\n    tell_dormants(&a.groups);', '    tell_dormants(&a.groups);\n    tell_all(&a.ours);', {'dormant': EPOLL}),
    ('run_a_cancelled_job', 'cancelled before it starts, a job does not run',
     'core/thread/pool.c', '    if (waiting)\n        list_remove(&op->link);', '    waiting = false;', {'file': RING}),
    ('let_a_shield_stop_its_own_deadline', 'a shield blocks ancestors only',
     'core/sched/scope.c', 'return s->asked | (s->parent', 'return (s->shielded ? 0 : s->asked) | (s->parent', {'scope': EPOLL}),
    ('let_a_shield_through', 'a shield does block ancestors',
     'core/sched/scope.h', 'return s->shielded ? seen & ASK_TELL : seen;', 'return seen;', {'scope': EPOLL}),
    ('forget_that_the_outermost_catches', 'the outermost cancelled scope catches',
     'core/sched/scope.c', '!(s->asked & ASK_STOP) || outer)', '!(s->asked & ASK_STOP))', {'scope': EPOLL}),
    ('overwrite_the_cause', 'the first cause is kept',
     'core/sched/scope.c', 'if (s->asked & ASK_STOP || s->state == SCOPE_ENDED)', 'if (s->state == SCOPE_ENDED)',
     {'scope': EPOLL}),
    ('forget_to_arm_again', 'a deadline that was moved acts when it is due',
     'core/sched/scope.c', '    if (due_ns(s) > t->deadline_ns)\n        arm(s);', '    if (due_ns(s) > t->deadline_ns)\n        ;',
     {'scope': EPOLL, 'timer': EPOLL}),
    ('leave_the_deadline_armed', 'an ended scope leaves no timer',
     'core/sched/scope.c', '    bool outer;\n\n    disarm(s);', '    bool outer;\n', {'scope': EPOLL}),
    ('wait_for_the_next_cancel_after_unshielding', 'un-shielding delivers at once',
     'core/sched/scope.c', '    s->shielded = shielded;\n    if (s->state == SCOPE_ACTIVE)\n        update(s);',
     '    s->shielded = shielded;', {'scope': EPOLL}),
    ('wake_twice', 'a task is made ready once a park',
     'core/sched/park.h', '    t->wake_result = result;\n    push_ready(t->loop, t);',
     '    t->wake_result = result;\n    push_ready(t->loop, t);\n    push_ready(t->loop, t);', {'task': EPOLL}),
    ('leave_the_group_before_its_tasks', 'a group ends after its tasks',
     'core/sched/group.c', 'while (g->count) {', 'if (g->count) {', {'group': EPOLL}),
    ('spare_the_siblings', 'a failure cancels the group',
     'core/sched/group.c', '    coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR', '    if (0) coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR', {'group': EPOLL}),
    ('never_give_way', 'a task that never waits gives others a turn',
     'core/sched/park.h', 'if (unlikely(!--self->budget))', 'if (0)', {'io': EPOLL, 'task': EPOLL}),
    ('wake_too_early', 'a sleeper never wakes early',
     'core/sched/timer.c', 'if (start > now_ns)', 'if (start - 2000000 > now_ns)', {'timer': EPOLL}),
    ('lose_a_message', 'whoever posts to a sleeping loop wakes it',
     'core/sched/loop.c', '        loop->ops->wake(loop->backend);\n', '        ;\n', {'scope': RING, 'runtime': RING, 'file': RING}),
    ('put_no_guard_below_a_stack', 'an overflow hits the guard',
     'core/sched/stack.c', '    if (!guard(all, base))\n        return NULL;', '', {'stack': EPOLL}),
    ('leave_a_cancelled_waiter_in_the_queue', 'a hand-over skips who was cancelled',
     'core/sync/lot.c', 'enum coil_abort coil__lot_leave(void *waiter)\n{\n    remove_all_of(waiter);',
     'enum coil_abort coil__lot_leave(void *waiter)\n{', {'lock': EPOLL, 'lot': EPOLL}),
    ('forget_the_other_queues_of_a_select', 'who is woken stands in no other queue',
     'core/sync/lot.c', 'remove_all_of(w);\n    w->woken = true;', 'coil__lot_remove(w);\n    w->woken = true;', {'select': EPOLL}),
    ('drop_what_is_buffered', 'what nobody will receive is disposed of',
     'core/sync/channel.c', '        if (c->dispose)\n            c->dispose(c->dispose_ctx, item);\n', '', {'channel': EPOLL}),
]]


class Workshop:
    """A copy of the tree, built over and over."""

    def __init__(self, where):
        self.tree = os.path.join(where, 'tree')
        self.build = os.path.join(where, 'build')
        shutil.rmtree(self.tree, ignore_errors=True)
        names = subprocess.run(['git', '-C', ROOT, 'ls-files', '--cached', '--others', '--exclude-standard'], capture_output=True, text=True, check=True).stdout.split()
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(self.tree, name)), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, name), os.path.join(self.tree, name))
        if not os.path.exists(os.path.join(self.build, 'build.ninja')):
            subprocess.run(['meson', 'setup', self.build, self.tree, '-Dtests=true', '-Dexamples=false'], check=True,
                           stdout=subprocess.DEVNULL)

    def make(self, suites):
        command = ['ninja', '-C', self.build, *(f'tests/test_{s}' for s in suites)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else next(iter(re.findall(r'.*error:.*|ERROR:.*', done.stdout)), '?')

    def run(self, suite, backend):
        """What went wrong, or None."""
        env = dict(os.environ, COIL_BACKEND=RING if backend == 'tiny' else backend)
        if backend == 'tiny':
            env.update(COIL_TEST_SQ='2', COIL_TEST_CQ='4')
        command = ['timeout', '-k', '1', str(LIMIT_S), f'{self.build}/tests/test_{suite}', '--fail-fast', '--timeout', '10']
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', env=env,
                              cwd=self.build, check=False)
        if done.returncode == 0:
            return None
        said = done.stdout + done.stderr
        first = re.search(r'\[FAIL\] (\S+?):|\[\S*\] (\w+::\w+): (?:CRASH|Timed)', said)
        return f'{suite}, {backend}: ' + ((first[1] or first[2]) if first else f'status {done.returncode}')

    def try_mutant(self, m):
        """Who noticed; None if nobody did."""
        path = os.path.join(self.tree, m.file)
        with open(path, encoding='utf-8') as f:
            text = f.read()
        if text.count(m.was) != 1:
            return f'?: the rule is not where it was, in {m.file}'
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text.replace(m.was, m.becomes))
        try:
            wrong = self.make(m.suites)
            if wrong:
                return f'?: does not build: {wrong}'
            return next((w for w in (self.run(*s) for s in m.suites.items()) if w), None)
        finally:
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--build', default=os.path.join(ROOT, 'build/mutants'))
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.names or m.name in options.names]
    if options.list:
        for m in chosen:
            print(f'{m.name:45} {m.rule}')
        return 0
    workshop = Workshop(options.build)
    survived = 0
    for number, m in enumerate(chosen, 1):
        noticed = workshop.try_mutant(m)
        good = noticed and not noticed.startswith('?')
        survived += not good
        print(f'{"ok" if good else "not ok"} {number} - {m.name}: {m.rule} ({noticed or "nobody noticed"})', flush=True)
    print(f'1..{len(chosen)}')
    return survived > 0


if __name__ == '__main__':
    sys.exit(main())
