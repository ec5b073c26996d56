#!/usr/bin/env python3
"""mutants.py - takes one safety rule away at a time: some test must notice. TAP, or a table of who did.

    mutants.py [--table] [--build DIR] [NAME...]       each of them, or these
    mutants.py --list                                  what there is
    mutants.py --patch NAME TREE OUT                   a copy of TREE's sources in OUT, without that rule

A mutant is MUTANTS' entry: its name; the rule, in words; the file; the text, found there exactly once, that holds
the rule; what stands there without it; and who is to notice, as "BACKEND SUITE [PATTERN]", tried in this order
until one does. To add one: an entry, and `mutants.py NAME`. If nobody notices, it is a test that is missing.
A rule that moves has to be found again here: the text that is not there any more is a failure.

`meson setup DIR -Dtests=true -Dmutant=NAME` builds the library so, to look at one closely; `none` is all rules.
Here one such build is patched over and over. First it has all rules, and each suite must pass on each backend that
is going to be used; else nothing that follows would mean anything. Then a mutant is noticed if a test fails,
crashes or hangs, and is named.
"""
import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
NONE = 'none'
COPIED = ('core', 'uring', 'fallback', 'include', 'tests')
WHOLE_S = 120    # a suite
CONTROL_S = 60   # one of its tests, with all rules
PATIENCE = 5     # so many times as long as the longest test with all rules it may take without one,
LEAST_S = 4      # and so long in any case
ENV = {'COIL_MODEL_SEEDS': '40'}  # in each of ten parts
BACKENDS = {
    'io_uring': {'COIL_BACKEND': 'io_uring'},
    'tiny': {'COIL_BACKEND': 'io_uring', 'COIL_TEST_SQ': '2', 'COIL_TEST_CQ': '4'},
    'epoll': {'COIL_BACKEND': 'epoll'},
    'sim': {'COIL_BACKEND': 'sim'},
}

Mutant = collections.namedtuple('Mutant', 'name rule file was becomes watch')

MUTANTS = [Mutant(*m) for m in [
    # --- An operation's life
    ('drop_a_late_result', 'the result wins, though a cancel was asked', 'core/op.c',
     'if (op->result != -ECANCELED)\n        return op->result;\n    if (op->closed)',
     'if (op->result != -ECANCELED && !op->asked)\n        return op->result;\n    if (op->closed)', ['io_uring ledger']),
    ('free_before_completion', 'a task goes on only when its op is over', 'core/op.c',
     'return coil__op_stop(op) ? COIL_ABORT_DONE : COIL_ABORT_LATER;',
     '((struct op *)op)->state = OP_DONE;\n    return COIL_ABORT_DONE;', ['io_uring teardown', 'io_uring ledger']),
    ('close_under_an_operation', 'close waits for what is in flight', 'core/io/descriptor.c',
     '    coil__op_drain(loop, fd, d);\n', '', ['io_uring descriptor']),
    ('take_a_close_for_a_cancel', 'closed under it, a call says EBADF', 'core/op.c',
     'if (op->closed)\n        return -EBADF;\n    if (!op->asked)', 'if (!op->asked)', ['epoll descriptor']),
    ('let_two_read', 'one reader at a time', 'core/op.c',
     'if (unlikely(d->busy & side_of(op->writes)))', 'if (false)', ['epoll descriptor', 'epoll io']),
    ('refuse_no_call_in_a_cancelled_task', 'cancellation is a state: every further checkpoint fails', 'core/op.c',
     'r = task_checkpoint(self);\n    return likely', 'r = 0;\n    return likely', ['epoll io']),
    ('read_past_a_deadline', 'a call that need not wait meets a deadline that has passed', 'core/op.c',
     '    fire_timers(self->loop); /* we may succeed without a turn, and a deadline be past */\n', '', ['epoll io', 'sim sim']),
    ('start_a_job_past_a_deadline', 'a blocking call meets a deadline that has passed', 'core/op.c',
     '    fire_timers(self->loop); /* a pool thread may be quicker than the turn */\n', '', ['epoll file', 'sim sim']),
    ('select_past_a_deadline', 'a select over descriptors meets a deadline that has passed', 'core/sync/select.c',
     '        fire_timers(self->loop); /* we may succeed without a turn, and a deadline be past */\n', '        ;\n', ['sim select']),
    ('park_past_a_deadline', 'a user\'s park meets a deadline already past', 'core/sched/task.c',
     'if (unlikely(self->loop->deadline_unseen))\n        r =', 'if (false)\n        r =', ['sim scope']),
    ('forget_what_ended_a_receive', 'what ended a receive that had bytes is said by the next', 'core/op.c',
     'd->late_error = (int16_t)r;', ';', ['epoll io']),
    ('close_under_a_thread', 'a blocking call holds its descriptors', 'core/op.c',
     '    if (r >= 0)\n        link_to(hold, d);\n    if (r == -EBADF', '    if (r == -EBADF', ['epoll descriptor']),
    ('keep_an_old_descriptors_number', 'a number closed behind our back is a new descriptor', 'core/io/descriptor.c',
     '    reset(loop, d, kind); /* whatever had this number before was closed behind our back */\n', '', ['epoll descriptor']),
    ('raise_sigpipe', 'no signal for a pipe without a reader', 'core/io/perform.c',
     'FD_PIPE ? write_quietly(op) : write_any(op)', 'FD_PIPE ? write_any(op) : write_any(op)', ['epoll io']),
    ('inherit_descriptors', 'close-on-exec on every new descriptor', 'core/io/perform.c',
     'SOCK_CLOEXEC | SOCK_NONBLOCK', 'SOCK_NONBLOCK', ['epoll io']),
    ('run_a_cancelled_job', 'cancelled before it starts, a job does not run', 'core/thread/pool.c',
     '    if (waiting)\n        list_remove(&op->link);', '    waiting = false;', ['epoll file']),
    ('lose_a_message', 'whoever posts to a sleeping loop wakes it', 'core/sched/loop.c',
     '        loop->ops->wake(loop->backend);\n', '        ;\n', ['epoll file']),

    # --- io_uring
    ('drop_a_cancel_when_the_ring_is_full', 'a cancel without room is sent later', 'uring/uring.c',
     'b->ask_now = true;\n        return;', 'list_remove(&op->link);\n        return;', ['io_uring ring']),
    ('ask_only_once', 'whoever stays silent is asked again', 'uring/uring.c',
     '    list_for_each(n, &b->asked)\n        push_cancel(b, container_of(n, struct op, link));', '', ['io_uring ring']),
    ('use_a_slot_again_under_its_old_name', 'a late completion meets a number not in use', 'uring/uring.c',
     'if (!++s->generation)', 'if (!s->generation)', ['io_uring ring']),
    ('take_back_what_is_anothers', 'an entry is taken back by its name, not by its place', 'uring/uring.c',
     ' || sqe->user_data != name_of(b, op)', '', ['io_uring ring']),
    ('take_an_interruption_for_an_answer', 'who was interrupted in the kernel begins anew', 'uring/uring.c',
     'return result == -EINTR || (result <= -KERNEL_RESTART_FIRST && result >= -KERNEL_RESTART_LAST);', 'return false;',
     ['io_uring ring']),
    ('begin_anew_what_was_cancelled', 'who was interrupted by a cancel was cancelled', 'uring/uring.c',
     'if (op->asked) { /* nothing', 'if (false) { /* nothing', ['io_uring ring']),
    ('overtake_who_waits_for_room', 'who waits for room in the ring goes first', 'uring/uring.c',
     'if (unlikely(!list_empty(&b->waiting)))\n        list_push_back(&b->waiting, &op->link);\n    else\n        push_or_wait', 'push_or_wait',
     ['io_uring ring']),
    ('sleep_without_memory', 'without memory for a slot the loop looks again', 'uring/uring.c',
     '    if (unlikely(!list_empty(&b->waiting)))\n        return coil__clock_now() + MEMORY_AGAIN_NS;\n', '', ['io_uring ring']),
    ('sleep_deaf', 'a loop that found no room to listen for wakes does not sleep', 'uring/uring.c',
     '    b->wake_armed = sqe;', '    b->wake_armed = true;', ['io_uring ring']),
    ('reap_without_end', 'completions leave the tasks their share of a turn', 'uring/uring.c',
     'head != tail && head - first < REAP_MOST', 'head != tail', ['io_uring ring']),
    ('go_on_after_a_lost_completion', 'a completion that the kernel lost is the end', 'uring/ring.c',
     'if (unlikely(result == -EBADR))', 'if (false)', ['io_uring ring']),
    ('let_children_keep_the_ring', 'a child has no ring', 'uring/ring.c',
     '    io_uring_ring_dontfork(&r->uring);', '    ;', ['io_uring ring']),
    ('fail_where_none_of_our_flags_is_known', 'a kernel that knows none of our setup flags is one without io_uring',
     'uring/ring.c', 'return result == -EINVAL ? -ENOSYS : result;', 'return result;', ['io_uring choose', 'io_uring ring']),
    ('sleep_on_a_small_ring', 'what waits for room is no reason to sleep', 'uring/uring.c',
     ' ||\n          (!list_empty(&b->waiting) && b->free_slot != NO_SLOT);', ';', ['tiny teardown', 'tiny descriptor']),

    # --- epoll
    ('take_a_short_read_for_an_empty_socket', 'a short count proves nothing after a hang-up', 'core/io/perform.c',
     ' && !(d->sticky & side_of(op->writes))', '', ['epoll io']),
    ('trust_a_short_count', 'a short count is a guess', 'core/io/perform.c',
     '        d->guessed |= side;\n', '', ['epoll io']),
    ('look_again_only_after_a_silence', 'a guess is good for so many looks', 'fallback/epoll.c',
     'deadline_ns && count <= 0 ? 0 : GUESS_LOOKS', 'deadline_ns && count <= 0 ? 0 : UINT32_MAX', ['epoll io']),
    ('look_again_only_after_many_looks', 'a guess is good for so long a silence', 'fallback/epoll.c',
     'deadline_ns && count <= 0 ? 0 : GUESS_LOOKS', 'GUESS_LOOKS', ['epoll io']),
    ('go_on_hearing_of_the_closed', 'a dup that goes on firing disturbs nobody', 'fallback/epoll.c',
     '        epoll_ctl(b->epoll_fd, EPOLL_CTL_DEL, fd, NULL);\n', '        ;\n', ['epoll descriptor']),

    # --- Scopes
    ('let_a_shield_stop_its_own_deadline', 'a shield blocks ancestors only', 'core/sched/scope.c',
     'return s->asked | (s->parent', 'return (s->shielded ? 0 : s->asked) | (s->parent', ['sim scope']),
    ('forget_that_the_outermost_catches', 'the outermost cancelled scope catches', 'core/sched/scope.c',
     '!(s->asked & ASK_STOP) || outer)', '!(s->asked & ASK_STOP))', ['sim scope']),
    ('take_any_cancel_for_a_time_out', 'a time-out is reported if and only if the deadline was the cause', 'core/sched/scope.c',
     's->fails && s->cause == COIL_CAUSE_DEADLINE ?', 's->fails ?', ['sim scope']),
    ('overwrite_the_cause', 'the first cause is kept', 'core/sched/scope.c',
     'if (s->asked & ASK_STOP || s->state == SCOPE_ENDED)', 'if (s->state == SCOPE_ENDED)', ['sim scope']),
    ('forget_to_arm_again', 'a deadline that was moved acts when it is due', 'core/sched/scope.c',
     '    if (due_ns(s) > t->deadline_ns)\n        arm(s);', '    if (due_ns(s) > t->deadline_ns)\n        ;', ['sim scope', 'sim timer']),
    ('leave_the_deadline_armed', 'an ended scope leaves no timer', 'core/sched/scope.c',
     '    bool outer;\n\n    disarm(s);', '    bool outer;\n', ['sim scope']),
    ('see_deadlines_through_a_shield', 'the effective deadline ends with the first shield', 'core/sched/scope.c',
     's = s->shielded ? NULL : s->parent)\n        if (due_ns', 's = s->parent)\n        if (due_ns', ['sim scope']),
    ('wait_for_the_next_cancel_after_unshielding', 'un-shielding delivers at once', 'core/sched/scope.c',
     '    s->shielded = shielded;\n    if (s->state == SCOPE_ACTIVE)\n        update(s);', '    s->shielded = shielded;',
     ['sim scope']),
    ('forget_a_cancel_before_the_begin', 'cancelled before it begins, a scope is cancelled at once', 'core/sched/scope.c',
     '    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, s->mail_reason, s->mail_task, s->mail_site);\n    __atomic', '    __atomic',
     ['sim scope']),
    ('leave_a_message_behind', 'a cancel under way does not outlive its scope', 'core/sched/scope.c',
     '    while (unlikely(__atomic_load_n(&s->mailed, __ATOMIC_ACQUIRE)))\n        take_mail(s);\n', '', ['epoll scope']),
    ('remember_what_was_got_over', 'after its end a scope is as if it had never been', 'core/sched/scope.c',
     's->task->told_to_stop = false;', ';', ['sim scope', 'sim group']),
    ('call_users_among_ours', 'an abort function meets no queue with a cancelled task in it', 'core/sched/scope.c',
     't->open_park ? &a->users : &a->ours', '&a->ours', ['sim task', 'sim dormant', 'sim scope']),
    ('end_who_has_no_stack_before_his_waiters_hear', 'who is cancelled with what he waits for is told so', 'core/sched/scope.c',
     '    tell_all(&a.ours);\n    tell_dormants(&a.groups);', '    tell_dormants(&a.groups);\n    tell_all(&a.ours);', ['sim dormant']),
    ('begin_what_is_open', 'what is open is not begun again', 'core/sched/scope.c',
     '        if (open == s)\n', '        if (false)\n', ['epoll misuse']),

    # --- Grace
    ('wait_for_ever_once_asked', 'after the grace it is a cancel', 'core/sched/scope.c',
     'return s->asked & ASK_FINISH && s->grace_end_ns < s->deadline_ns ? s->grace_end_ns\n'
     '                                                                     : s->deadline_ns;', 'return s->deadline_ns;',
     ['sim scope']),
    ('let_a_second_request_prolong_the_grace', 'a second request changes nothing', 'core/sched/scope.c',
     'if (s->asked || s->state != SCOPE_ACTIVE)', 'if (s->state != SCOPE_ACTIVE)', ['sim scope']),
    ('ask_only_the_scope_itself', 'a request is seen by all below', 'core/sched/scope.c',
     '    arm(s);\n    update(s);\n', '    arm(s);\n    s->seen |= ASK_FINISH;\n', ['sim scope']),
    ('let_the_idle_sit_out_the_grace', 'softly asked, who waits for a descriptor begins, to say goodbye', 'core/sched/dormant.c',
     'if (!stops && d->watches)', 'if (!stops)\n        return;\n    if (false)', ['sim dormant']),

    # --- Groups, start and started, services
    ('leave_the_group_before_its_tasks', 'a group ends after its tasks', 'core/sched/group.c',
     'while (g->count) { /*', 'if (g->count) { /*', ['sim group']),
    ('spare_the_siblings', 'a failure cancels the group', 'core/sched/group.c',
     '    coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR, e->message, e->task, e->site);\n', '', ['sim group']),
    ('take_canceled_from_anybody', '-ECANCELED from who was not cancelled is a failure of another name', 'core/sched/group.c',
     '    if (rc == -ECANCELED) {\n        t->message', '    if (false) {\n        t->message', ['sim group']),
    ('forget_a_cancellation_out_of_a_group', 'a cancellation out of a group\'s end is no failure further up', 'core/sched/group.c',
     '    self->told_to_stop |=\n        rc == -ECANCELED;', '    ;', ['sim group']),
    ('wake_one_who_waits_for_a_task', 'whoever waits for a task hears of its end', 'core/sched/group.c',
     '    while ((n = list_pop_front(&h->waiters)))\n', '    if ((n = list_pop_front(&h->waiters)))\n', ['sim task']),
    ('wait_for_oneself', 'to wait for oneself is refused', 'core/sched/group.c',
     '    if (h->task == self)\n        return -EDEADLK;\n', '', ['sim misuse', 'sim task']),
    ('start_twice', 'who has started is told so the second time', 'core/sched/group.c',
     '    if (self->role & ROLE_STARTED)\n        return -EALREADY;\n', '', ['sim start']),
    ('start_without_started', 'to return without started is a protocol error', 'core/sched/group.c',
     '    if (!start.said)\n        return -EPROTO;\n', '', ['sim start']),
    ('move_out_of_a_cancelled_start', 'started in a cancelled start is a no-op', 'core/sched/group.c',
     '    if (!(start->before.scope.seen & ASK_STOP))\n        move', '    move', ['sim start']),
    ('stay_in_the_starters_scopes', 'once started, a task sees its group\'s scopes', 'core/sched/scope.c',
     '    list_push_back(&parent->children, &s->siblings);\n    update(s);', '    list_push_back(&parent->children, &s->siblings);',
     ['sim start']),
    ('lose_a_start_under_way', 'an unfinished start keeps the group open', 'core/sched/group.c',
     '    start.service = options->service;\n    g->count++;\n',
     '    start.service = options->service;\n    g->count += g->waiting ? 1 : 0;\n', ['sim start']),
    ('forget_at_a_failed_start', 'a start that failed does not make its caller forget a cancel', 'core/sched/group.c',
     '    self->told_to_stop |= told_to_stop;', '    ;', ['sim start', 'sim group']),
    ('cancel_services_with_the_rest', 'services outlive the others of their group', 'core/sched/group.c',
     '    coil_scope_set_shield((struct coil_scope *)&t->own, true);\n', '', ['sim start']),
    ('end_the_oldest_service_first', 'services end in reverse order of spawning', 'core/sched/group.c',
     'g->scope.children.prev,', 'g->scope.children.next,', ['sim start']),
    ('wait_for_services', 'a service is not waited for but cancelled', 'core/sched/group.c',
     'if (unlikely(g->count == g->services))', 'if (false)', ['sim start']),

    # --- Tasks without a stack
    ('begin_though_cancelled', 'cancelled before its time, a task never runs', 'core/sched/dormant.c',
     'if (d->fate == FATE_END)', 'if (false)', ['sim dormant']),
    ('take_back_a_grave_decision', 'a later decision may only be a graver one', 'core/sched/dormant.c',
     '    if (fate > d->fate)\n        d->fate', '    d->fate', ['epoll dormant', 'io_uring dormant', 'sim dormant']),
    ('begin_on_what_was_closed', 'a descriptor that is closed meanwhile fails it', 'core/sched/dormant.c',
     'if (closed && d->fate != FATE_END)', 'if (false)', ['sim dormant']),
    ('sleep_on_in_a_cancelled_group', 'spawned into a cancelled group it has ended', 'core/sched/dormant.c',
     '    if (scope_is_asked(&g->scope))\n        tell(d);\n', '', ['sim dormant']),
    ('lose_a_deadline_over_a_sleep', 'a task that goes back to sleep keeps its deadline', 'core/sched/dormant.c',
     '    d->deadline_ns = self->own.deadline_ns;\n', '    d->deadline_ns = COIL_FOREVER;\n', ['sim dormant']),
    ('inherit_from_whoever_runs', 'who has slept has no slots of whoever happens to run', 'core/sched/dormant.c',
     '        coil__locals_drop(loop, &t->locals);\n', '        ;\n', ['sim local', 'sim dormant']),
    ('leave_the_limit_armed', 'a limit is for the waiting and not for what comes of it', 'core/sched/dormant.c',
     '    disarm(d);\n    op->mail', '    op->mail', ['sim dormant']),

    # --- Groups in one call
    ('drop_a_losers_result', 'a loser\'s late result goes to dispose', 'core/sched/gather.c',
     'if (result >= 0 && &calls[i] != but)', 'if (false)', ['sim gather']),
    ('dispose_of_the_winners_result', 'the winner\'s result is not disposed of', 'core/sched/gather.c',
     ' && &calls[i] != but)', ')', ['sim gather']),
    ('let_the_losers_run', 'when one has won, the others are cancelled', 'core/sched/gather.c',
     '    coil_scope_cancel_at(coil_group_scope(&all->group), "another was first", f->site);\n', '', ['sim gather']),
    ('hand_over_twice', 'a completed call is handed to one', 'core/sched/gather.c',
     'if (!taker || taker->call) {', 'if (!taker) {', ['sim gather', 'sim scenarios']),
    ('let_two_wait_for_the_next', 'one at a time waits for the next', 'core/sched/gather.c',
     '    if (set->taker)\n        return -EBUSY;\n', '', ['sim gather']),
    ('map_without_a_limit', 'at most so many at once', 'core/sched/gather.c',
     'limit < count ? limit : count;', 'count;', ['sim gather']),
    ('begin_items_after_a_failure', 'what has not begun when one fails does not begin', 'core/sched/gather.c',
     'int r = coil_checkpoint_if_cancelled();', 'int r = 0;', ['sim gather']),

    # --- Lots, locks and their like
    ('leave_a_cancelled_waiter_in_the_queue', 'a hand-over skips who was cancelled', 'core/sync/lot.c',
     '    coil__lot_remove(w);\n    if (lot && unlikely', '    if (lot && unlikely', ['sim lock']),
    ('stand_in_the_way_after_leaving', 'who leaves a queue has those go on in whose way it stood', 'core/sync/lot.c',
     '        w->left(w, lot);\n', '        ;\n', ['sim lock', 'sim select']),
    ('forget_the_other_queues_of_a_select', 'who is woken stands in no other queue', 'core/sync/lot.c',
     '    if (w->others)\n        give_up_all(w->others, w->others_count);\n}', '}', ['sim select']),
    ('keep_what_the_dead_held', 'whoever waits for a dead task\'s lock hears of it', 'core/sched/task.c',
     'if (unlikely(self->holds)) /*', 'if (false) /*', ['sim lock']),
    ('acquire_twice', 'the owner that acquires again gets EDEADLK', 'core/sync/lock.c',
     'return l->owner.task == self ? -EDEADLK : -EAGAIN;', 'return -EAGAIN;', ['sim lock']),
    ('let_strangers_release', 'only the owner can release', 'core/sync/lock.c',
     'if (unlikely(!self || l->owner.task != self))', 'if (unlikely(!self))', ['sim lock']),
    ('starve_writers', 'a reader behind a waiting writer waits', 'core/sync/rwlock.c',
     '    if (!r && l->lot.first)\n        r = -EAGAIN;\n', '', ['sim lock']),
    ('let_in_who_is_being_cancelled', 'one that is about to be told of its cancel is not let in', 'core/sync/rwlock.c',
     ' && !w->task->to_abort', '', ['sim lock']),
    ('let_in_one_inside_the_other', 'selects that let each other in go one after the other', 'core/sync/rwlock.c',
     '    if (loop->admitting)\n        return;\n', '', ['sim select']),

    # --- Condition
    ('leave_a_wait_without_the_lock', 'cancelled, a wait has its lock again before it says so', 'core/sync/condition.c',
     'return regain(c) ? COIL_ABORT_DONE : COIL_ABORT_LATER;', 'return COIL_ABORT_DONE;', ['sim lock']),
    ('cancel_the_notified', 'one that was notified is not cancelled by the wait', 'core/sync/condition.c',
     '    first->w.task->abort = NULL;', '    ;', ['sim lock']),
    ('waste_a_notification', 'one who can do nothing with a notification passes it on', 'core/sync/condition.c',
     'return false;\n    }\n    first->w', 'return true;\n    }\n    first->w', ['sim lock']),
    ('wait_holding_the_lock', 'a wait gives its lock back', 'core/sync/condition.c',
     '    lock_take(l);\n    r = park', '    r = park', ['sim lock']),

    # --- Semaphore, limiter, future
    ('release_to_two', 'what is released to a waiter nobody else can acquire', 'core/sync/semaphore.c',
     'if (lot_wake_first(&s->lot, 0))\n        return 0;', 'lot_wake_first(&s->lot, 0);', ['sim semaphore']),
    ('release_beyond_the_maximum', 'a release beyond the maximum is refused', 'core/sync/semaphore.c',
     '    if (s->value == s->max)\n        return -EOVERFLOW;\n', '', ['sim semaphore']),
    ('let_waiters_sleep_when_more_are_allowed', 'raising the total wakes at once', 'core/sync/limiter.c',
     '    l->total = total;\n    lend_to_waiting(l);', '    l->total = total;', ['sim semaphore']),
    ('lend_too_many', 'at most so many at once', 'core/sync/limiter.c',
     'if (l->borrowed >= l->total)', 'if (l->borrowed > l->total)', ['sim semaphore']),
    ('lend_twice', 'a borrower has one token', 'core/sync/limiter.c',
     '    if (*place)\n        return -EDEADLK;\n', '', ['sim semaphore']),
    ('lose_the_tokens_of_the_dead', 'the token of a task that ended comes back', 'core/sync/limiter.c',
     '        task_hold(self, &t->hold, orphan);\n', '        ;\n', ['sim semaphore']),
    ('remember_who_gave_up', 'who was cancelled waiting for a token may ask again', 'core/sync/limiter.c',
     '    forget(w->item);\n', '    (void)w;\n', ['sim semaphore']),
    ('write_a_future_twice', 'a future is written once', 'core/sync/future.c',
     '    if (f->set)\n        return -EALREADY;\n', '', ['sim event']),
    ('wake_one_of_a_future', 'all who wait for a future have its result', 'core/sync/future.c',
     'while (f->lot.first) {', 'if (f->lot.first) {', ['sim event']),
    ('lose_an_update', 'who waits for a change sees which it was', 'core/sync/event.c',
     '        *(uint64_t *)w->lot.first->item = w->generation;\n', '', ['sim event']),

    # --- Channel, broadcast, select
    ('drop_what_is_buffered', 'what nobody will receive is disposed of', 'core/sync/channel.c',
     '        if (c->dispose)\n            c->dispose(c->dispose_ctx, item);\n', '        (void)item;\n', ['sim channel']),
    ('let_who_waits_on_a_closed_handle_sleep', 'closing a handle wakes who waits on that handle', 'core/sync/channel.c',
     '        if (w->handle == handle)\n            coil__lot_wake(w, -EBADF);\n', '        (void)handle;\n', ['sim channel']),
    ('let_receivers_wait_for_nobody', 'when the last sender is gone, receivers come to the end', 'core/sync/channel.c',
     '    if (!--c->open_senders)\n        lot_wake_all(&c->receivers, 0);\n', '    --c->open_senders;\n', ['sim channel']),
    ('overtake_a_sender_that_waits', 'receiving lets the sender that waits go first', 'core/sync/channel.h',
     '        if (w)\n            channel_push(c, w->item);\n        else if (!c->count &&', '        w = NULL;\n        if (!c->count &&',
     ['sim channel']),
    ('lose_items_unsaid', 'who lags beyond his limit is told', 'core/sync/broadcast.c',
     'if (lose(r) && !b->forgets)', 'if (lose(r) && false)', ['sim broadcast']),
    ('deliver_twice', 'each receives everything, once', 'core/sync/broadcast.c',
     '        r->next = b->sent;\n        lot_wake', '        lot_wake', ['sim broadcast']),
    ('close_quietly', 'the end of a broadcast wakes who waits', 'core/sync/broadcast.c',
     '        lot_wake_all(&container_of(n, struct broadcast_receiver, link)->lot, 0);\n', '        ;\n', ['sim broadcast']),
    ('grow_without_what_was_there', 'room for one who may lag more keeps what others have not seen', 'core/sync/broadcast.c',
     'for (uint64_t n = b->sent - kept; n < b->sent; n++)', 'for (uint64_t n = b->sent; n < b->sent; n++)', ['sim broadcast']),
    ('come_too_late_for_the_latest', 'who subscribes has the latest value', 'core/sync/broadcast.c',
     '.next = b->forgets && b->sent ? b->sent - 1 : b->sent,', '.next = b->sent,', ['sim broadcast']),
    ('leave_looks_under_way', 'a select returns when none of its operations is under way', 'core/sync/select.c',
     '    if (s->pending)\n        (void)park', '    if (false)\n        (void)park', ['io_uring select']),

    # --- Turns, time, memory
    ('wake_too_early', 'a sleeper never wakes early', 'core/sched/timer.c',
     'if (start > now_ns)', 'if (start - 2000000 > now_ns)', ['sim timer']),
    ('put_no_guard_below_a_stack', 'an overflow hits the guard', 'core/sched/stack.c',
     '    if (!guard(all, base))\n        return NULL;', '', ['epoll stack']),
    ('lose_slots_unsaid', 'a slot\'s value is destroyed when the last lets go', 'core/sched/local.c',
     '        v->key->destroy(v->value);\n', '        ;\n', ['sim local']),
    ('set_for_all_who_share', 'a set is not seen by others', 'core/sched/local.c',
     'bool shared = old && old->users > 1;', 'bool shared = false;', ['sim local']),
    ('let_children_keep_the_loop', 'a fork\'s child has no loop', 'core/sched/loop.c',
     'forget_error = -pthread_atfork(NULL, NULL, forget_loop);', ';', ['epoll fork']),

    # --- What tests see
    ('plan_no_failure_at_an_offset', 'every operation can be planned to fail', 'core/op.c',
     '    r = meddle(self->loop, op);\n    if (r >= 0)\n        r = coil__op_perform(op);', '    r = coil__op_perform(op);', ['sim sim']),
    ('plan_no_failure_of_a_stack', 'a stack can be planned to fail', 'core/sched/task.c',
     'if (unlikely(loop->may_lack_stacks) && !loop->ops->has_stack(loop->backend))', 'if (false)', ['sim sim', 'sim everywhere']),
    ('count_no_calls_behind_a_shield', 'a call that can wait is counted behind shields too', 'core/sched/scope.h',
     'return s->shielded ? seen & ASK_TELL : seen;', 'return s->shielded ? 0 : seen;', ['sim everywhere', 'sim scenarios']),
    ('report_in_the_midst_of_a_wait', 'no hook is called within a wait', 'core/sched/loop.c',
     '    loop->hooks &= (uint16_t)~HOOK_BIT(HOOK_SCHEDULED);\n', '', ['sim instrument', 'sim sim']),

    # --- Each of these builds nearly all anew, so they stand together
    ('let_a_shield_through', 'a shield does block ancestors', 'core/sched/scope.h',
     'return s->shielded ? seen & ASK_TELL : seen;', 'return seen;', ['sim scope']),
    ('barge', 'a released lock is the first waiter\'s', 'core/sync/lock.h',
     '        lock_give(l, l->lot.first->task);\n', '', ['sim lock']),
    ('miss_a_deadline_already_past', 'a deadline already past acts at the first checkpoint', 'core/sched/park.h',
     '    if (unlikely(loop->deadline_unseen))\n        fire_timers(loop);', '    (void)loop;', ['sim sync']),
    ('wake_twice', 'a task is made ready once a park', 'core/sched/park.h',
     '    t->wake_result = result;\n    push_ready(t->loop, t);', '    t->wake_result = result;\n    push_ready(t->loop, t);\n    push_ready(t->loop, t);',
     ['sim task']),
    ('never_give_way', 'a task that never waits gives others a turn', 'core/sched/park.h',
     'if (unlikely(!--self->budget))', 'if (0)', ['sim task']),
]]


# --- The copy ---------------------------------------------------------------------------------------------------

def sources(tree):
    """The paths, from there, of what a build needs of a tree."""
    for folder in COPIED:
        for where, _, names in os.walk(os.path.join(tree, folder)):
            for name in names:
                if name.endswith(('.c', '.h', '.S')):
                    yield os.path.relpath(os.path.join(where, name), tree)


def without(m, text):
    """text without the rule of m."""
    if text.count(m.was) != 1:
        raise LookupError(f'{m.name}: the rule is not where it was, in {m.file}')
    return text.replace(m.was, m.becomes)


def read(path):
    try:
        with open(path, encoding='utf-8') as f:
            return f.read()
    except FileNotFoundError:
        return None


def patch(m, tree, out):
    """Has the sources of tree in out, without the rule of m. What is so already is left alone, and not built anew."""
    for path in sources(tree):
        text = read(os.path.join(tree, path))
        if m and path == m.file:
            text = without(m, text)
        if read(os.path.join(out, path)) == text:
            continue
        os.makedirs(os.path.dirname(os.path.join(out, path)), exist_ok=True)
        with open(os.path.join(out, path), 'w', encoding='utf-8') as f:
            f.write(text)


def patch_by_name(name, tree, out):
    """For meson.build. An exit code; words on stderr."""
    m = next((m for m in MUTANTS if m.name == name), None)
    if not m and name != NONE:
        print(f'no mutant is called {name}. There are {NONE}, ' + ', '.join(m.name for m in MUTANTS), file=sys.stderr)
        return 1
    try:
        patch(m, tree, out)
    except LookupError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


# --- Building and running ---------------------------------------------------------------------------------------

FAILED = re.compile(r'^\[FAIL\] (\w+::\w+)(.*)', re.M)
BEGUN = re.compile(r'^\[RUN \] (\w+::\w+)', re.M)
ENDED = re.compile(r'^\[(PASS|FAIL|SKIP)\] (\w+::\w+)(?:.*?\(([\d.]+)s\))?', re.M)


class Run:
    """A suite on a backend. failed: the first test that did; why: it could not be run; slowest_s, passed: of the
    tests that passed."""

    def __init__(self, build, where, test_limit_s, fast):
        backend, suite, *pattern = where.split()
        words = [f'{build}/tests/test_{suite}', '--verbose', '--color=never', f'--timeout={test_limit_s}',
                 *(['--fail-fast'] if fast else []), *(f'--filter={suite}/{p}' for p in pattern)]
        self.said = self.listen(words, {**os.environ, **ENV, **BACKENDS[backend]}, build)
        ended = ENDED.findall(self.said)
        failed = FAILED.search(self.said)
        hung = set(BEGUN.findall(self.said)) - {name for _, name, _ in ended} if self.killed else ()
        self.failed = failed[1] if failed else next(iter(hung), None)
        self.slowest_s = max((float(s) for verdict, _, s in ended if verdict == 'PASS' and s), default=0)
        self.passed = sum(verdict == 'PASS' for verdict, _, _ in ended)
        self.skipped = sum(verdict == 'SKIP' for verdict, _, _ in ended)
        self.why = None if self.failed or not self.code else f'exit code {self.code}'

    def listen(self, words, env, build):
        self.killed = False
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              cwd=build, start_new_session=True, text=True, errors='replace') as child:
            try:
                said, _ = child.communicate(timeout=WHOLE_S)
            except subprocess.TimeoutExpired:
                self.killed = True
            finally:
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if self.killed:
                said, _ = child.communicate()
        self.code = child.returncode
        return said


class Workshop:
    """A build of the copy, patched over and over."""

    def __init__(self, build):
        self.build = build
        self.limits_s = {}  # of each test of a suite on a backend; None: that backend cannot be had
        if not os.path.exists(os.path.join(build, 'build.ninja')):
            shutil.rmtree(build, ignore_errors=True)
            subprocess.run(['meson', 'setup', build, ROOT, f'-Dmutant={NONE}', '-Dtests=true', '-Dexamples=false',
                            '-Doptimization=0', '-Ddebug=false', '-Db_ndebug=true'], check=True, stdout=subprocess.DEVNULL)

    def make(self, m, suites):
        """What went wrong, or None."""
        patch(m, ROOT, os.path.join(self.build, 'mutant'))
        done = subprocess.run(['ninja', '-C', self.build, *(f'tests/test_{s}' for s in suites)], capture_output=True,
                              text=True, check=False)
        return None if done.returncode == 0 else '\n'.join(re.findall(r'.*error:.*|ERROR:.*', done.stdout)) or done.stdout

    def control(self, places):
        """With all rules, each must pass. What went wrong, or None."""
        wrong = self.make(None, sorted({p.split()[1] for p in places}))
        if wrong:
            return wrong
        for place in places:
            run = Run(self.build, place, CONTROL_S, fast=False)
            if run.failed or run.why or not run.passed + run.skipped:
                return f'{place}: {run.failed or run.why or "there is no such test"}\n{run.said[-2000:]}'
            self.limits_s[place] = max(LEAST_S, int(PATIENCE * run.slowest_s) + 1) if run.passed else None
        return None

    def attempt(self, m):
        """(has been noticed, by whom or why not)."""
        tried = 0
        for place in m.watch:
            if not self.limits_s[place]:
                continue
            wrong = self.make(m, [place.split()[1]])
            if wrong:
                return False, f'does not build: {wrong}'
            tried += 1
            run = Run(self.build, place, self.limits_s[place], fast=True)
            if run.failed:
                return True, f'{run.failed} on {place.split()[0]}'
            if run.why:
                return False, f'{place}: {run.why}\n{run.said[-2000:]}'
        return (False, 'nobody noticed') if tried else (None, 'no backend that it is about is to be had here')


# --- What is said -----------------------------------------------------------------------------------------------

def places_of(mutants):
    return sorted({place for m in mutants for place in m.watch})


def say_tap(number, m, good, by):
    result = f'{"not " if good is False else ""}ok {number} - {m.name}: {m.rule}'
    print(result + (f' # SKIP {by}' if good is None else f' ({by})'), flush=True)


def say_row(_, m, good, by):
    print(f'{m.name:50} {m.rule:75} {by if good else by.upper() if good is False else "- " + by}', flush=True)


def say(mutants, table, workshop):
    wrong = workshop.control(places_of(mutants))
    if table:
        print(f'{"mutant":50} {"the rule that it lacks":75} noticed by')
    else:
        print(f'{"not " if wrong else ""}ok 1 - with all rules, all pass' + (f' ({wrong})' if wrong else ''), flush=True)
    if wrong:
        print(wrong, file=sys.stderr)
        return 1
    survived = 0
    for number, m in enumerate(mutants, 2):
        try:
            good, by = workshop.attempt(m)
        except LookupError as e:
            good, by = False, str(e)
        survived += good is False
        (say_row if table else say_tap)(number, m, good, by)
    if not table:
        print(f'1..{len(mutants) + 1}')
    return survived > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--table', action='store_true')
    parser.add_argument('--patch', action='store_true')
    parser.add_argument('--build', default=os.path.join(ROOT, 'build/mutants'))
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    if options.patch:
        return patch_by_name(*options.names)
    unknown = set(options.names) - {m.name for m in MUTANTS}
    if unknown:
        parser.error(f'no mutant is called {", ".join(sorted(unknown))}')
    chosen = [m for m in MUTANTS if not options.names or m.name in options.names]
    if options.list:
        for m in chosen:
            print(f'{m.name:50} {m.rule}')
        return 0
    started = time.monotonic()
    result = say(chosen, options.table, Workshop(os.path.abspath(options.build)))
    print(f'# {len(chosen)} mutants, {time.monotonic() - started:.0f} s')
    return result


if __name__ == '__main__':
    sys.exit(main())
