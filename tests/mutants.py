#!/usr/bin/env python3
"""mutants.py - takes one safety rule away at a time: some test must notice. TAP, or a table of who did.

    mutants.py [--table] [NAME...]                     each of them, or these
    mutants.py --all NAME...                           everybody in their suites who notices
    mutants.py --list                                  what there is
    mutants.py --patch NAME TREE OUT                   a copy of TREE's sources in OUT, without that rule

A mutant is MUTANTS' entry: its name; the rule, in words; the file; the text, found there exactly once, that holds
the rule; what stands there without it (or several of both); and the tests that are to notice, as "BACKEND SUITE
TEST", run in this order until one does. To add one: an entry with "BACKEND SUITE *", and `mutants.py --all NAME`
to see who notices; then name one of these, which is what makes it quick. If nobody does, a test is missing. A rule
that moves has to be found again here: that its text is not there any more is a failure.

`meson setup DIR -Dtests=true -Dmutant=NAME` builds the library so, to look at one closely; `none` is all rules.
Here one such build is patched over and over. First it has all rules, and each test that is going to be run must
pass on its backend; else nothing that follows would mean anything. A mutant is noticed if a test fails, crashes or
hangs, and is named.
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
WHOLE_S = 120   # a run of a suite
CONTROL_S = 60  # a test, with all rules
PATIENCE = 5    # so many times as long it may take without one,
LEAST_S = 4     # and so long in any case
ENV = {'COIL_MODEL_SEEDS': '40'}  # in each of ten parts

Mutant = collections.namedtuple('Mutant', 'name rule file was becomes watch')

MUTANTS = [Mutant(*m) for m in [
    # --- An operation's life
    ('drop_a_late_result', 'the result wins, though a cancel was asked', 'core/op.c',
     'if (op->result != -ECANCELED)\n        return op->result;\n    if (op->closed)',
     'if (op->result != -ECANCELED && !op->asked)\n        return op->result;\n    if (op->closed)',
     ['io_uring ledger s4_4_what_the_kernel_has_done_is_the_answer_though_a_cancel_came']),
    ('free_before_completion', 'a task goes on only when its op is over', 'core/op.c',
     'return coil__op_stop(op) ? COIL_ABORT_DONE : COIL_ABORT_LATER;',
     '((struct op *)op)->state = OP_DONE;\n    return COIL_ABORT_DONE;',
     ['io_uring ledger s4_4_what_the_kernel_has_done_is_the_answer_though_a_cancel_came']),
    ('close_under_an_operation', 'close waits for what is in flight', 'core/io/descriptor.c',
     '    coil__op_drain(loop, fd, d);\n', '',
     ['io_uring descriptor closing_wakes_the_reader_and_the_writer_and_waits_for_both']),
    ('take_a_close_for_a_cancel', 'closed under it, a call says EBADF', 'core/op.c',
     'if (op->closed)\n        return -EBADF;\n    if (!op->asked)', 'if (!op->asked)',
     ['epoll descriptor closing_wakes_the_reader_and_the_writer_and_waits_for_both']),
    ('let_two_read', 'one reader at a time', 'core/op.c',
     'if (unlikely(d->busy & side_of(op->writes)))', 'if (false)',
     ['epoll io a_second_reader_is_told_that_it_is_busy']),
    ('refuse_no_call_in_a_cancelled_task', 'cancellation is a state: every further checkpoint fails', 'core/op.c',
     'r = task_checkpoint(self);\n    return likely', 'r = 0;\n    return likely',
     ['epoll io s4_1_a_call_in_a_cancelled_scope_did_not_happen_though_it_could_at_once']),
    ('read_past_a_deadline', 'a call that need not wait meets a deadline that has passed', 'core/op.c',
     '    coil__meet_deadlines(self->loop); /* we may succeed without a turn, and a deadline be past */\n', '',
     ['epoll io s4_1_a_deadline_that_passes_while_a_task_computes_acts_at_its_next_call']),
    ('read_past_a_deadline_on_a_ring', 'so does one on a ring', 'core/op.c',
     '    coil__meet_deadlines(self->loop); /* we may succeed without a turn, and a deadline be past */\n',
     '    if (self->loop->ops->readiness)\n        coil__meet_deadlines(self->loop);\n',
     ['io_uring io s4_1_a_deadline_that_passes_while_a_task_computes_acts_where_no_turn_is_needed',
      'io_uring io s4_1_a_deadline_that_passes_while_a_task_computes_acts_whoever_calls_after_it']),
    ('start_a_job_past_a_deadline', 'a blocking call meets a deadline that has passed', 'core/op.c',
     '    coil__meet_deadlines(self->loop); /* a pool thread may be quicker than the turn */\n', '',
     ['epoll file s4_1_a_deadline_that_passes_while_a_task_computes_acts_before_a_thread_has_its_call']),
    ('select_past_a_deadline', 'a select over descriptors meets a deadline that has passed', 'core/sync/select.c',
     '        coil__meet_deadlines(self->loop); /* may succeed without a turn, and a deadline be past */\n', '        ;\n',
     ['sim select s4_1_a_deadline_that_passes_while_a_task_computes_acts_though_one_is_ready']),
    ('blame_who_looks_at_the_clock', 'a task is not behind what happens because it is time', 'core/sched/task.h',
     '    coil__here.task = NULL;\n    return self;\n', '    return self;\n',
     ['epoll task lowlevel_what_an_abort_cancels_because_of_a_deadline_bears_no_name']),
    ('park_past_a_deadline', 'a user\'s park meets a deadline already past', 'core/sched/task.c',
     'if (unlikely(self->loop->deadline_unseen))\n        r =', 'if (false)\n        r =',
     ['sim scope s2_7_a_deadline_already_past_acts_at_a_park']),
    ('forget_what_ended_a_receive', 'what ended a receive that had bytes is said by the next', 'core/op.c',
     'd->late_error = (int16_t)r;', ';',
     ['epoll io a_reset_amid_a_receive_that_wants_all_is_not_taken_for_the_end']),
    ('close_under_a_thread', 'a blocking call holds its descriptors', 'core/op.c',
     '    if (r >= 0)\n        link_to(hold, d);\n    if (r == -EBADF', '    if (r == -EBADF',
     ['epoll descriptor a_close_waits_for_a_thread_that_uses_the_descriptor_and_meanwhile_nobody_else_may']),
    ('keep_an_old_descriptors_number', 'a number closed behind our back is a new descriptor', 'core/io/descriptor.c',
     '    reset(loop, d, kind); /* whatever had this number before was closed behind our back */\n', '',
     ['epoll descriptor a_number_closed_behind_coils_back_is_new_when_accept_makes_it_again']),
    ('raise_sigpipe', 'no signal for a pipe without a reader', 'core/io/perform.c',
     'FD_PIPE ? write_quietly(op) : write_any(op)', 'FD_PIPE ? write_any(op) : write_any(op)',
     ['epoll io writing_to_nobody_is_epipe_and_no_signal']),
    ('inherit_descriptors', 'close-on-exec on every new descriptor', 'core/io/perform.c',
     'SOCK_CLOEXEC | SOCK_NONBLOCK', 'SOCK_NONBLOCK',
     ['epoll io every_new_socket_is_close_on_exec_and_non_blocking']),
    ('run_a_cancelled_job', 'cancelled before it starts, a job does not run', 'core/thread/pool.c',
     '    if (waiting)\n        list_remove(&op->link);', '    waiting = false;',
     ['epoll file s7_6_a_call_cancelled_before_a_thread_took_it_up_did_not_happen']),
    ('lose_a_message', 'whoever posts to a sleeping loop wakes it', 'core/sched/loop.c',
     '        loop->ops->wake(loop->backend);\n', '        ;\n',
     ['epoll file s7_6_every_call_does_what_the_system_call_does']),

    # --- io_uring
    ('drop_a_cancel_when_the_ring_is_full', 'a cancel without room is sent later', 'uring/uring.c',
     'b->ask_now = true;\n        return;', 'list_remove(&op->link);\n        return;',
     ['io_uring ring a_cancel_that_finds_no_room_is_sent_later']),
    ('ask_only_once', 'whoever stays silent is asked again', 'uring/uring.c',
     '    list_for_each(n, &b->asked)\n        push_cancel(b, container_of(n, struct op, link));', '',
     ['io_uring ring whoever_stays_silent_is_asked_again']),
    ('let_others_put_it_off', 'whoever stays silent is asked again, also if others are asked all the time', 'uring/uring.c',
     '        if (now_ns + ASK_AGAIN_NS < b->ask_again_at_ns)\n', '',
     ['io_uring ring whoever_stays_silent_is_asked_again_though_there_is_always_somebody_new_to_ask']),
    ('use_a_slot_again_under_its_old_name', 'a late completion meets a number not in use', 'uring/uring.c',
     'if (!++s->generation)', 'if (!s->generation)',
     ['io_uring ring a_completion_for_who_has_gone_is_nobody_elses']),
    ('take_back_what_is_anothers', 'an entry is taken back by its name, not by its place', 'uring/uring.c',
     ' || sqe->user_data != name_of(b, op)', '',
     ['io_uring ring who_waited_until_its_place_came_round_takes_back_nobody_elses']),
    ('take_an_interruption_for_an_answer', 'who was interrupted in the kernel begins anew', 'uring/uring.c',
     'return result == -EINTR || (result <= -KERNEL_RESTART_FIRST && result >= -KERNEL_RESTART_LAST);', 'return false;',
     ['io_uring ring who_was_interrupted_in_the_kernel_begins_anew']),
    ('begin_anew_what_was_cancelled', 'who was interrupted by a cancel was cancelled', 'uring/uring.c',
     'if (op->asked) { /* nothing', 'if (false) { /* nothing',
     ['io_uring ring who_was_interrupted_by_a_cancel_was_cancelled']),
    ('overtake_who_waits_for_room', 'who waits for room in the ring goes first', 'uring/uring.c',
     'if (unlikely(!list_empty(&b->waiting)))\n        list_push_back(&b->waiting, &op->link);\n    else\n        push_or_wait', 'push_or_wait',
     ['io_uring ring who_comes_later_does_not_overtake_who_waits_for_room']),
    ('sleep_without_memory', 'without memory for a slot the loop looks again', 'uring/uring.c',
     '    if (unlikely(!list_empty(&b->waiting)))\n        return coil__clock_now() + MEMORY_AGAIN_NS;\n', '',
     ['io_uring ring who_found_no_memory_for_a_slot_has_one_when_there_is_some']),
    ('sleep_deaf', 'a loop that found no room to listen for wakes does not sleep', 'uring/uring.c',
     '    b->wake_armed = sqe;', '    b->wake_armed = true;',
     ['io_uring ring a_loop_that_found_no_room_to_listen_for_wakes_does_not_sleep']),
    ('reap_without_end', 'completions leave the tasks their share of a turn', 'uring/uring.c',
     'head != tail && head - first < REAP_MOST', 'head != tail',
     ['io_uring ring a_turn_takes_no_more_completions_than_tasks_can_bear']),
    ('go_on_after_a_lost_completion', 'a completion that the kernel lost is the end', 'uring/ring.c',
     'if (unlikely(result == -EBADR))', 'if (false)',
     ['io_uring ring a_completion_that_the_kernel_lost_is_the_end']),
    ('let_children_keep_the_ring', 'a child has no ring', 'uring/ring.c',
     '    io_uring_ring_dontfork(&r->uring);', '    ;',
     ['io_uring ring a_child_has_no_ring']),
    ('fail_where_none_of_our_flags_is_known', 'a kernel that knows none of our setup flags is one without io_uring',
     'uring/ring.c', 'return result == -EINVAL ? -ENOSYS : result;', 'return result;',
     ['io_uring choose a_kernel_that_knows_no_way_of_setting_up_our_ring_leaves_epoll_and_a_reason']),

    # --- epoll
    ('take_a_short_read_for_an_empty_socket', 'a short count proves nothing after a hang-up', 'core/io/perform.c',
     ' && !(d->sticky & side_of(op->writes))', '',
     ['epoll io the_end_after_a_short_read_is_known_and_not_waited_for']),
    ('trust_a_short_count', 'a short count is a guess', 'core/io/perform.c',
     '        d->guessed |= side;\n', '',
     ['epoll io room_behind_a_bad_buffer_is_there_for_the_next_send']),
    ('look_again_only_after_a_silence', 'a guess is good for so many looks', 'fallback/epoll.c',
     'deadline_ns && count <= 0 ? 0 : GUESS_LOOKS', 'deadline_ns && count <= 0 ? 0 : UINT32_MAX',
     ['epoll io room_behind_a_bad_buffer_is_there_also_when_the_loop_never_sleeps']),
    ('look_again_only_after_many_looks', 'a guess is good for so long a silence', 'fallback/epoll.c',
     'deadline_ns && count <= 0 ? 0 : GUESS_LOOKS', 'GUESS_LOOKS',
     ['epoll io room_behind_a_bad_buffer_is_there_for_the_next_send']),
    ('hear_of_who_had_that_number', 'what fires for a number that was used again disturbs nobody', 'fallback/epoll.c',
     'd->generation != e->data.u64 >> 32 || ', '',
     ['epoll descriptor a_dup_that_goes_on_firing_disturbs_nobody_though_its_number_was_closed_plainly']),

    # --- Scopes
    ('let_a_shield_stop_its_own_deadline', 'a shield blocks ancestors only', 'core/sched/scope.c',
     'return s->asked | (s->parent', 'return (s->shielded ? 0 : s->asked) | (s->parent',
     ['sim scope s2_3_a_shield_does_not_block_its_own_deadline']),
    ('forget_that_the_outermost_catches', 'the outermost cancelled scope catches', 'core/sched/scope.c',
     '!(s->asked & ASK_STOP) || outer)', '!(s->asked & ASK_STOP))',
     ['sim scope s2_5_the_outermost_visible_cancelled_scope_catches']),
    ('take_any_cancel_for_a_time_out', 'a time-out is reported if and only if the deadline was the cause', 'core/sched/scope.c',
     's->fails && s->cause == COIL_CAUSE_DEADLINE ?', 's->fails ?',
     ['sim scope s2_6_explicit_cancel_then_deadline_is_no_time_out']),
    ('overwrite_the_cause', 'the first cause is kept', 'core/sched/scope.c',
     'if (s->asked & ASK_STOP || s->state == SCOPE_ENDED)', 'if (s->state == SCOPE_ENDED)',
     ['sim scope s2_6_the_first_cause_is_kept']),
    ('forget_to_arm_again', 'a deadline that was moved acts when it is due', 'core/sched/scope.c',
     'not due by now */\n        arm(s);', 'not due by now */\n        ;',
     ['sim scope s2_12_a_grace_without_end_leaves_the_deadline_movable']),
    ('leave_the_deadline_armed', 'an ended scope leaves no timer', 'core/sched/scope.c',
     '    bool outer;\n\n    disarm(s);', '    bool outer;\n',
     ['sim scope s2_10_the_deadline_of_an_ended_scope_never_comes']),
    ('see_deadlines_through_a_shield', 'the effective deadline ends with the first shield', 'core/sched/scope.c',
     's = s->shielded ? NULL : s->parent)\n        if (due_ns', 's = s->parent)\n        if (due_ns',
     ['sim scope s2_4_it_stops_at_the_first_shield_and_includes_it']),
    ('wait_for_the_next_cancel_after_unshielding', 'un-shielding delivers at once', 'core/sched/scope.c',
     '    s->shielded = shielded;\n    if (s->state == SCOPE_ACTIVE)\n        update(s);', '    s->shielded = shielded;',
     ['sim scope s2_8_unshielding_delivers_at_once']),
    ('forget_a_cancel_before_the_begin', 'cancelled before it begins, a scope is cancelled at once', 'core/sched/scope.c',
     '    coil__scope_cancel(s, COIL_CAUSE_EXPLICIT, s->mail_reason, s->mail_task, s->mail_site);\n    __atomic', '    __atomic',
     ['sim scope s2_7_cancelled_before_it_begins_it_is_cancelled_at_once']),
    ('leave_a_message_behind', 'a cancel under way does not outlive its scope', 'core/sched/scope.c',
     '    while (unlikely(__atomic_load_n(&s->mailed, __ATOMIC_ACQUIRE)))\n        take_mail(s);\n', '',
     ['epoll scope s2_14_a_message_under_way_does_not_outlive_the_scope']),
    ('remember_what_was_got_over', 'after its end a scope is as if it had never been', 'core/sched/scope.c',
     's->task->told_to_stop = s->told_outside;', ';',
     ['sim group s3_3_also_if_a_scope_of_its_own_once_was']),
    ('forget_what_others_told', 'a scope behind a shield does not make its task forget a cancel from outside', 'core/sched/scope.c',
     's->task->told_to_stop = s->told_outside;', 's->task->told_to_stop = false;',
     ['sim group s3_3_a_cancellation_in_flight_is_no_failure_though_a_shield_went_up_behind_it']),
    ('call_users_among_ours', 'an abort function meets no queue with a cancelled task in it', 'core/sched/scope.c',
     't->open_park ? &a->users : &a->ours', '&a->ours',
     ['sim dormant users_abort_functions_meet_those_that_have_ended']),
    ('end_who_has_no_stack_before_his_waiters_hear', 'who is cancelled with what he waits for is told so', 'core/sched/scope.c',
     '    tell_all(&a.ours);\n    coil__rwlocks_release(held);\n    loop->audience = NULL;\n    tell_dormants(&a.groups);',
     '    tell_dormants(&a.groups);\n    tell_all(&a.ours);\n    coil__rwlocks_release(held);\n    loop->audience = NULL;',
     ['sim dormant s4_4_who_waits_for_one_and_is_cancelled_with_it_is_told_so_whatever_its_kind']),
    ('act_before_all_deadlines_are_seen', 'deadlines of one time are all seen before anybody acts', 'core/sched/scope.c',
     '    join(s, &p->audience);\n', '    s->loop->audience = NULL;\n    update(s);\n',
     ['sim dormant s4_4_also_by_two_deadlines_of_one_time_whichever_was_armed_first',
      'sim scope s2_2_deadlines_of_one_time_are_all_seen_before_an_abort_function_runs']),
    ('tell_users_in_the_midst_of_a_change', 'who is cancelled in the midst of a change is told with its users', 'core/sched/scope.c',
     '    if (unlikely(s->loop->audience)) {\n', '    if (false) {\n',
     ['epoll lock s5_4_who_does_away_with_a_lock_that_others_are_leaving_comes_after_them']),
    ('begin_what_is_open', 'what is open is not begun again', 'core/sched/scope.c',
     '        if (open == s)\n', '        if (false)\n',
     ['epoll misuse a_scope_begun_again_while_it_is_open_is_named_at_any_depth']),

    # --- Grace
    ('wait_for_ever_once_asked', 'after the grace it is a cancel', 'core/sched/scope.c',
     'return s->asked & ASK_FINISH && s->grace_end_ns < s->deadline_ns ? s->grace_end_ns\n'
     '                                                                     : s->deadline_ns;', 'return s->deadline_ns;',
     ['sim scope s2_12_after_the_grace_it_is_cancelled_in_the_words_of_the_request',
      'sim scope s2_12_a_second_request_changes_nothing']),
    ('let_a_second_request_prolong_the_grace', 'a second request changes nothing', 'core/sched/scope.c',
     'if (s->asked || s->state != SCOPE_ACTIVE)', 'if (s->state != SCOPE_ACTIVE)',
     ['sim scope s2_12_a_second_request_changes_nothing']),
    ('ask_only_the_scope_itself', 'a request is seen by all below', 'core/sched/scope.c',
     '    arm(s);\n    update(s);\n', '    arm(s);\n    s->seen |= ASK_FINISH;\n',
     ['sim scope s2_12_tasks_of_a_group_finish_in_their_own_time']),
    ('let_the_idle_sit_out_the_grace', 'softly asked, who waits for a descriptor begins, to say goodbye', 'core/sched/dormant.c',
     'if (!stops && d->watches)', 'if (!stops)\n        return;\n    if (false)',
     ['sim dormant s2_12_softly_asked_one_that_waits_for_a_descriptor_begins_and_says_goodbye']),

    # --- Groups, start and started, services
    ('leave_the_group_before_its_tasks', 'a group ends after its tasks', 'core/sched/group.c',
     'while (g->count) { /*', 'if (g->count) { /*',
     ['sim group s3_5_a_task_spawned_between_the_last_ones_end_and_the_groups_is_awaited']),
    ('spare_the_siblings', 'a failure cancels the group', 'core/sched/group.c',
     '    coil__scope_cancel(&g->scope, COIL_CAUSE_GROUP_ERROR, e->message, e->task, e->site);\n', '',
     ['sim group s3_2_a_failure_cancels_the_rest_and_they_are_awaited']),
    ('take_canceled_from_anybody', '-ECANCELED from who was not cancelled is a failure of another name', 'core/sched/group.c',
     '    if (rc == -ECANCELED) {\n        t->message', '    if (false) {\n        t->message',
     ['sim group s3_3_canceled_from_a_task_that_was_not_cancelled_is_a_failure_of_another_name']),
    ('believe_who_wakes_it', 'to be woken with -ECANCELED is not to be cancelled', 'core/sched/task.c',
     't->hurried || task_cancelled(t)', 'true',
     ['sim group s3_3_also_if_another_task_woke_it_with_that_word']),
    ('forget_who_was_asked_to_leave', '... but who was asked to leave has been told by it', 'core/sched/task.c',
     't->hurried || task_cancelled(t)', 'task_cancelled(t)',
     ['sim group s3_3_but_not_if_it_had_been_asked_to_leave']),
    ('forget_a_cancellation_out_of_a_group', 'a cancellation out of a group\'s end is no failure further up', 'core/sched/group.c',
     '    self->told_to_stop |= rc == -ECANCELED;', '    ;',
     ['sim group s3_3_a_cancellation_in_flight_is_no_failure_though_a_shield_went_up_behind_it']),
    ('wake_one_who_waits_for_a_task', 'whoever waits for a task hears of its end', 'core/sched/group.c',
     '    while ((n = list_pop_front(&h->waiters)))\n', '    if ((n = list_pop_front(&h->waiters)))\n',
     ['sim task s3_7_any_number_of_tasks_wait_and_wake_first_come_first_served']),
    ('wait_for_oneself', 'to wait for oneself is refused', 'core/sched/group.c',
     '    if (h->task == self)\n        return -EDEADLK;\n', '',
     ['sim misuse a_task_waiting_for_itself_is_told']),
    ('start_twice', 'who has started is told so the second time', 'core/sched/group.c',
     '    if (self->role & ROLE_STARTED)\n        return -EALREADY;\n', '',
     ['sim start s3_6_started_twice_is_told_and_changes_nothing']),
    ('start_without_started', 'to return without started is a protocol error', 'core/sched/group.c',
     '    if (!start.said)\n        return -EPROTO;\n', '',
     ['sim start s3_6_returning_without_started_is_a_protocol_error']),
    ('move_out_of_a_cancelled_start', 'started in a cancelled start is a no-op', 'core/sched/group.c',
     '    if (!(start->before.scope.seen & ASK_STOP ||', '    if (!(false ||',
     ['sim start s3_6_started_in_a_cancelled_start_is_a_no_op']),
    ('move_with_what_the_starter_was_told', 'who was told to stop with its start stays there', 'core/sched/group.c',
     '|| coil__scope_told_from_above(self)', '',
     ['sim start s3_6_who_was_told_to_stop_with_its_start_stays_there_though_a_shield_went_up']),
    ('stay_in_the_starters_scopes', 'once started, a task sees its group\'s scopes', 'core/sched/scope.c',
     '    list_push_back(&parent->children, &s->siblings);\n    update(s);', '    list_push_back(&parent->children, &s->siblings);',
     ['sim start s3_6_a_pending_cancel_of_the_group_reaches_all_that_the_child_has_begun_at_once']),
    ('lose_a_start_under_way', 'an unfinished start keeps the group open', 'core/sched/group.c',
     ('    g->count++;\n    coil_group_begin_at(before', '    if (!start.moved)\n        count_down(g);\n', '    start->moved = true;\n'),
     ('    coil_group_begin_at(before', '', '    start->moved = true;\n    start->group->count++;\n'),
     ['sim start s3_6_an_unfinished_start_keeps_the_group_open']),
    ('cancel_services_with_the_rest', 'services outlive the others of their group', 'core/sched/group.c',
     '    coil_scope_set_shield((struct coil_scope *)&t->own, true);\n', '',
     ['sim start s3_8_also_when_the_group_is_cancelled_they_outlive_the_others']),
    ('end_the_oldest_service_first', 'services end in reverse order of spawning', 'core/sched/group.c',
     'g->scope.children.prev,', 'g->scope.children.next,',
     ['sim start s3_8_services_end_in_reverse_order_one_after_the_other']),
    ('wait_for_services', 'a service is not waited for but cancelled', 'core/sched/group.c',
     'if (unlikely(g->count == g->services))', 'if (false)',
     ['sim start s3_8_a_service_is_not_waited_for_but_cancelled']),

    # --- Tasks without a stack
    ('begin_though_cancelled', 'cancelled before its time, a task never runs', 'core/sched/dormant.c',
     'if (d->fate == FATE_END)', 'if (false)',
     ['sim dormant s3_5_cancelled_with_its_group_it_ends_at_once_and_never_runs']),
    ('take_back_a_grave_decision', 'a later decision may only be a graver one', 'core/sched/dormant.c',
     '    if (fate > d->fate)\n        d->fate', '    d->fate',
     ['sim dormant s4_4_cancelled_before_its_turn_it_does_not_run_though_softly_asked_then']),
    ('begin_on_what_was_closed', 'a descriptor that is closed meanwhile fails it', 'core/sched/dormant.c',
     'if (closed && d->fate != FATE_END)', 'if (false)',
     ['sim dormant a_descriptor_that_is_closed_meanwhile_fails_it']),
    ('sleep_on_in_a_cancelled_group', 'spawned into a cancelled group it has ended', 'core/sched/dormant.c',
     '    if (scope_is_asked(&g->scope))\n        tell(d);\n', '',
     ['sim dormant s3_5_spawned_into_a_cancelled_group_it_has_ended']),
    ('lose_a_deadline_over_a_sleep', 'a task that goes back to sleep keeps its deadline', 'core/sched/dormant.c',
     '    d->deadline_ns = self->own.deadline_ns;\n', '    d->deadline_ns = COIL_FOREVER;\n',
     ['sim dormant s3_7_a_task_that_goes_back_to_sleep_keeps_its_deadline']),
    ('inherit_from_whoever_runs', 'who has slept has the slots of its spawner, not of whoever runs', 'core/sched/dormant.c',
     '    coil__locals_drop(loop, &t->locals); /* of whoever happens to run */\n    t->locals = take_locals(d);\n',
     '    struct locals *l = take_locals(d);\n    coil__locals_drop(loop, &l);\n',
     ['sim local s8_5_one_that_had_no_stack_has_nothing_of_who_runs_when_it_begins']),
    ('leave_the_limit_armed', 'a limit is for the waiting and not for what comes of it', 'core/sched/dormant.c',
     '    disarm(d);\n    op->mail', '    op->mail',
     ['sim dormant s3_7_one_that_comes_in_time_has_the_rest_of_its_deadline']),

    # --- Groups in one call
    ('drop_a_losers_result', 'a loser\'s late result goes to dispose', 'core/sched/gather.c',
     'if (result >= 0 && &calls[i] != but)', 'if (false)',
     ['sim gather s3_9_a_losers_late_result_is_disposed_of']),
    ('dispose_of_the_winners_result', 'the winner\'s result is not disposed of', 'core/sched/gather.c',
     ' && &calls[i] != but)', ')',
     ['sim gather s3_9_a_losers_late_result_is_disposed_of']),
    ('let_the_losers_run', 'when one has won, the others are cancelled', 'core/sched/gather.c',
     '    coil_scope_cancel_at(coil_group_scope(&all->group), "another was first", f->site);\n', '',
     ['sim gather s3_9_the_first_to_succeed_wins_and_the_others_are_cancelled_and_awaited']),
    ('hand_over_twice', 'a completed call is handed to one', 'core/sched/gather.c',
     'if (!taker || taker->call) {', 'if (!taker) {',
     ['sim gather s3_9_of_two_that_complete_before_who_waits_has_run_the_second_is_for_the_next']),
    ('let_two_wait_for_the_next', 'one at a time waits for the next', 'core/sched/gather.c',
     '    if (set->taker)\n        return -EBUSY;\n', '',
     ['sim gather s3_9_two_that_wait_for_the_next_are_one_too_many']),
    ('map_without_a_limit', 'at most so many at once', 'core/sched/gather.c',
     'limit < count ? limit : count;', 'count;',
     ['sim gather s3_9_map_reaches_every_item_with_at_most_the_limit_at_once']),
    ('begin_items_after_a_failure', 'what has not begun when one fails does not begin', 'core/sched/gather.c',
     'int r = coil_checkpoint_if_cancelled();', 'int r = 0;',
     ['sim gather s3_9_what_has_not_begun_when_one_fails_does_not_begin']),

    # --- Lots, locks and their like
    ('leave_a_cancelled_waiter_in_the_queue', 'a hand-over skips who was cancelled', 'core/sync/lot.c',
     '    coil__lot_remove(w);\n    if (lot && unlikely', '    if (lot && unlikely',
     ['sim lock s5_2_anyio_387_a_cancelled_waiter_passes_by']),
    ('stand_in_the_way_after_leaving', 'who leaves a queue has those go on in whose way it stood', 'core/sync/lot.c',
     '        w->left(w, lot);\n', '        ;\n',
     ['sim lock s5_4_readers_go_in_when_the_writer_before_them_is_cancelled']),
    ('forget_the_other_queues_of_a_select', 'who is woken stands in no other queue', 'core/sync/lot.c',
     '    if (w->others)\n        give_up_all(w->others, w->others_count);\n}', '}',
     ['sim select s5_9_an_event_a_watch_and_a_future_wake_it']),
    ('keep_what_the_dead_held', 'whoever waits for a dead task\'s lock hears of it', 'core/sched/task.c',
     'if (unlikely(self->holds)) /*', 'if (false) /*',
     ['sim lock s5_2_trio_3035_and_so_does_whoever_comes_later']),
    ('acquire_twice', 'the owner that acquires again gets EDEADLK', 'core/sync/lock.c',
     'return l->owner.task == self ? -EDEADLK : -EAGAIN;', 'return -EAGAIN;',
     ['sim lock s5_2_the_owner_that_acquires_again_gets_edeadlk']),
    ('let_strangers_release', 'only the owner can release', 'core/sync/lock.c',
     'if (unlikely(!self || l->owner.task != self))', 'if (unlikely(!self))',
     ['sim lock s5_2_only_the_owner_can_release']),
    ('starve_writers', 'a reader behind a waiting writer waits', 'core/sync/rwlock.c',
     '    if (!r && l->lot.first)\n        r = -EAGAIN;\n', '',
     ['sim lock s5_4_a_reader_behind_a_waiting_writer_waits']),
    ('let_in_who_is_being_cancelled', 'one that is about to be told of its cancel is not let in', 'core/sched/scope.c',
     ('    held = coil__rwlocks_hold();\n', '    coil__rwlocks_release(held);\n'), ('', ''),
     ['sim lock s5_4_but_not_if_they_are_cancelled_with_it']),
    ('let_in_one_inside_the_other', 'selects that let each other in go one after the other', 'core/sync/rwlock.c',
     '    if (held)\n        return;\n', '',
     ['sim select s5_4_a_long_chain_of_selects_that_let_each_other_in_fits_on_a_stack']),
    ('let_in_before_all_have_left', 'a select is let in by nobody while it leaves', 'core/sync/lot.c',
     ('    const bool held = coil__rwlocks_hold();\n\n', '    coil__rwlocks_release(held);\n'), ('', ''),
     ['sim select s5_4_a_select_that_leaves_a_lock_twice_is_let_in_by_nobody']),
    ('open_a_barrier_one_by_one', 'who has come to a barrier is not let in elsewhere while it opens', 'core/sync/barrier.c',
     ('    held = coil__rwlocks_hold();', '    coil__rwlocks_release(held);\n'), ('    held = false;', ''),
     ['sim select s5_4_all_who_have_come_to_a_barrier_go_on_when_it_opens']),
    ('ask_again_and_again', 'who was asked to finish and sleeps on is not asked again', 'core/sched/dormant.c',
     '        if (d->role & ROLE_WARNED)\n            return;\n', '',
     ['sim dormant s2_12_one_that_was_asked_and_sleeps_on_is_not_asked_again_and_again']),

    # --- Condition
    ('leave_a_wait_without_the_lock', 'cancelled, a wait has its lock again before it says so', 'core/sync/condition.c',
     'return regain(c) ? COIL_ABORT_DONE : COIL_ABORT_LATER;', 'return COIL_ABORT_DONE;',
     ['sim lock s5_3_cancelled_it_has_the_lock_again_before_it_says_so']),
    ('cancel_the_notified', 'one that was notified is not cancelled by the wait', 'core/sync/condition.c',
     '    first->w.task->abort = NULL;', '    ;',
     ['sim lock s5_3_one_that_was_notified_first_is_not_cancelled_by_the_wait']),
    ('waste_a_notification', 'one who can do nothing with a notification passes it on', 'core/sync/condition.c',
     'return false;\n    }\n    first->w', 'return true;\n    }\n    first->w',
     ['sim lock s5_3_a_notification_that_one_can_do_nothing_with_goes_to_the_next']),
    ('wait_holding_the_lock', 'a wait gives its lock back', 'core/sync/condition.c',
     '    lock_take(l);\n    r = park', '    r = park',
     ['sim lock s5_3_wait_releases_the_lock_and_has_it_again_afterwards']),

    # --- Semaphore, limiter, future
    ('release_to_two', 'what is released to a waiter nobody else can acquire', 'core/sync/semaphore.c',
     'if (lot_wake_first(&s->lot, 0))\n        return 0;', 'lot_wake_first(&s->lot, 0);',
     ['sim semaphore s5_4_after_a_release_to_a_waiter_nobody_else_can_acquire']),
    ('release_beyond_the_maximum', 'a release beyond the maximum is refused', 'core/sync/semaphore.c',
     '    if (s->value == s->max)\n        return -EOVERFLOW;\n', '',
     ['sim semaphore s5_4_a_release_beyond_the_maximum_is_refused']),
    ('let_waiters_sleep_when_more_are_allowed', 'raising the total wakes at once', 'core/sync/limiter.c',
     '    l->total = total;\n    lend_to_waiting(l);', '    l->total = total;',
     ['sim semaphore s5_5_raising_the_total_wakes_at_once']),
    ('lend_too_many', 'at most so many at once', 'core/sync/limiter.c',
     'if (l->borrowed >= l->total)', 'if (l->borrowed > l->total)',
     ['sim semaphore s5_5_at_most_so_many_at_once']),
    ('lend_twice', 'a borrower has one token', 'core/sync/limiter.c',
     '    if (*place)\n        return -EDEADLK;\n', '',
     ['sim semaphore s5_5_a_borrower_has_one_token']),
    ('lose_the_tokens_of_the_dead', 'the token of a task that ended comes back', 'core/sync/limiter.c',
     '        task_hold(self, &t->hold, orphan);\n', '        ;\n',
     ['sim semaphore s5_5_a_task_that_ends_gives_back_what_it_borrowed']),
    ('remember_who_gave_up', 'who was cancelled waiting for a token may ask again', 'core/sync/limiter.c',
     '    forget(w->item);\n', '    (void)w;\n',
     ['sim semaphore s5_5_also_while_it_waits_for_one']),
    ('write_a_future_twice', 'a future is written once', 'core/sync/future.c',
     '    if (f->set)\n        return -EALREADY;\n', '',
     ['sim event s5_8_it_is_written_once']),
    ('wake_one_of_a_future', 'all who wait for a future have its result', 'core/sync/future.c',
     'while (f->lot.first) {', 'if (f->lot.first) {',
     ['sim event s5_8_a_future_gives_its_result_to_all_who_wait_and_all_who_come']),
    ('lose_an_update', 'who waits for a change sees which it was', 'core/sync/event.c',
     '        *(uint64_t *)w->lot.first->item = w->generation;\n', '',
     ['sim event s5_1_a_watch_tells_that_it_changed_since_one_looked']),

    # --- Channel, broadcast, select
    ('drop_what_is_buffered', 'what nobody will receive is disposed of', 'core/sync/channel.c',
     '        if (c->dispose)\n            c->dispose(c->dispose_ctx, item);\n', '        (void)item;\n',
     ['sim channel s5_6_closing_the_last_receiver_disposes_of_what_is_buffered']),
    ('let_who_waits_on_a_closed_handle_sleep', 'closing a handle wakes who waits on that handle', 'core/sync/channel.c',
     '        if (w->handle == handle)\n            coil__lot_wake(w, -EBADF);\n', '        (void)handle;\n',
     ['sim channel d5_closing_a_sender_wakes_who_sends_through_it_and_nothing_was_sent']),
    ('let_receivers_wait_for_nobody', 'when the last sender is gone, receivers come to the end', 'core/sync/channel.c',
     '    if (!--c->open_senders)\n        lot_wake_all(&c->receivers, 0);\n', '    --c->open_senders;\n',
     ['sim channel s5_6_closing_the_last_sender_wakes_waiting_receivers_with_0']),
    ('overtake_a_sender_that_waits', 'receiving lets the sender that waits go first', 'core/sync/channel.h',
     '        if (w)\n            channel_push(c, w->item);\n        else if (!c->count &&', '        w = NULL;\n        if (!c->count &&',
     ['sim channel s5_6_nobody_overtakes_a_sender_that_waits']),
    ('lose_items_unsaid', 'who lags beyond his limit is told', 'core/sync/broadcast.c',
     'if (lose(r) && !b->forgets)', 'if (lose(r) && false)',
     ['sim broadcast s5_7_who_lags_too_much_is_told_once_how_much_it_missed_and_goes_on']),
    ('deliver_twice', 'each receives everything, once', 'core/sync/broadcast.c',
     '        r->next = b->sent;\n        lot_wake', '        lot_wake',
     ['sim broadcast s5_7_a_waiting_receiver_is_handed_the_item_and_does_not_lag']),
    ('close_quietly', 'the end of a broadcast wakes who waits', 'core/sync/broadcast.c',
     '        lot_wake_all(&container_of(n, struct broadcast_receiver, link)->lot, 0);\n', '        ;\n',
     ['sim broadcast s5_7_after_the_close_receivers_drain_and_then_get_0']),
    ('grow_without_what_was_there', 'room for one who may lag more keeps what others have not seen', 'core/sync/broadcast.c',
     'for (uint64_t n = b->sent - kept; n < b->sent; n++)', 'for (uint64_t n = b->sent; n < b->sent; n++)',
     ['sim broadcast s5_7_a_newcomer_with_a_larger_limit_costs_the_others_nothing']),
    ('come_too_late_for_the_latest', 'who subscribes has the latest value', 'core/sync/broadcast.c',
     '.next = b->forgets && b->sent ? b->sent - 1 : b->sent,', '.next = b->sent,',
     ['sim broadcast s5_7_a_newcomer_sees_the_latest_value_that_there_is']),
    ('leave_looks_under_way', 'a select returns when none of its operations is under way', 'core/sync/select.c',
     '    if (s->pending)\n        (void)park', '    if (false)\n        (void)park',
     ['io_uring select s5_9_when_a_channel_was_first_the_descriptors_are_free_again']),

    # --- Turns, time, memory
    ('wake_too_early', 'a sleeper never wakes early', 'core/sched/timer.c',
     'if (start > now_ns)', 'if (start - 2000000 > now_ns)',
     ['sim timer wheel_never_fires_early_and_never_late']),
    ('put_no_guard_below_a_stack', 'an overflow hits the guard', 'core/sched/stack.c',
     '    if (!guard(all, base))\n        return NULL;', '',
     ['epoll stack the_fault_of_an_overflow_is_in_the_guard_whatever_the_size_and_the_kind_of_guard']),
    ('lose_slots_unsaid', 'a slot\'s value is destroyed when the last lets go', 'core/sched/local.c',
     '        v->key->destroy(v->value);\n', '        ;\n',
     ['sim local s8_5_a_value_is_destroyed_once_when_the_last_that_has_it_lets_go']),
    ('set_for_all_who_share', 'a set is not seen by others', 'core/sched/local.c',
     'bool shared = old && old->users > 1;', 'bool shared = false;',
     ['sim local s8_5_a_child_has_what_its_spawner_had_at_that_moment']),
    ('let_children_keep_the_loop', 'a fork\'s child has no loop', 'core/sched/loop.c',
     'forget_error = -pthread_atfork(NULL, NULL, forget_loop);', ';',
     ['epoll fork s8_6_in_the_child_of_a_task_there_is_no_loop_and_one_can_be_run_anew']),

    # --- What tests see
    ('plan_no_failure_at_an_offset', 'every operation can be planned to fail', 'core/op.c',
     '    r = meddle(self->loop, op);\n    if (r >= 0)\n        r = coil__op_perform(op);', '    r = coil__op_perform(op);',
     ['sim sim any_kind_of_operation_fails_as_planned']),
    ('plan_no_failure_of_a_stack', 'a stack can be planned to fail', 'core/sched/task.c',
     'if (unlikely(loop->may_lack_stacks) && !loop->ops->has_stack(loop->backend))', 'if (false)',
     ['sim sim the_nth_stack_is_one_of_the_allocations_that_fail']),
    ('count_no_calls_behind_a_shield', 'a call that can wait is counted behind shields too', 'core/sched/scope.h',
     'return s->shielded ? seen & ASK_TELL : seen;', 'return s->shielded ? 0 : seen;',
     ['sim everywhere a_call_behind_a_shield_is_a_call']),
    ('report_in_the_midst_of_a_wait', 'no hook is called within a wait', 'core/sched/loop.c',
     '    loop->hooks &= (uint16_t)~HOOK_BIT(HOOK_SCHEDULED);\n', '',
     ['sim instrument a_hook_may_cancel_while_many_complete_and_no_byte_is_lost']),

    # --- Each of these builds nearly all anew, so they stand together
    ('let_a_shield_through', 'a shield does block ancestors', 'core/sched/scope.h',
     'return s->shielded ? seen & ASK_TELL : seen;', 'return seen;',
     ['sim scope s2_3_a_shield_blocks_its_ancestors']),
    ('serve_the_last_first', 'first come, first served', 'core/sync/lot.h',
     '    w->next = NULL;\n    w->prev = lot->last;\n    if (lot->last)\n        lot->last->next = w;\n    else\n'
     '        lot->first = w;\n    lot->last = w;\n    lot->count++;',
     '    w->prev = NULL;\n    w->next = lot->first;\n    if (lot->first)\n        lot->first->prev = w;\n    else\n'
     '        lot->last = w;\n    lot->first = w;\n    lot->count++;',
     ['sim model *']),
    ('answer_nobody', 'who is woken before it gives way gets its answer', 'core/sched/park.h',
     '? next->answer', '? 0',
     ['epoll context who_is_woken_before_it_has_given_way_gets_its_answer']),
    ('forget_who_began', 'who began a task by resting is resumed as foreseen', 'core/sched/park.h',
     'loop->starter = to->sp ? NULL : from;', 'loop->starter = NULL;',
     ['epoll context who_began_a_task_is_resumed_by_the_end_of_the_last_with_its_answer']),
    ('foresee_all', 'who rested otherwise is resumed as unforeseen', 'core/sched/context.h',
     'to == starter ? WAY_FORESEEN : WAY_UNFORESEEN', 'WAY_FORESEEN',
     ['epoll context who_has_parked_is_resumed_by_the_end_of_another_with_its_answer']),
    ('forget_where_the_next_hold_hangs', 'what a task that ends holds can be taken back meanwhile', 'core/sched/task.c',
     '        hold_remove(h);\n', '        t->holds = h->next;\n        h->task = NULL;\n',
     ['sim lot s5_11_a_breaker_is_taken_back_also_while_another_of_its_task_does_its_work']),
    ('lose_sight_of_an_older_lock', 'who dies with several locks loses them all', 'core/sched/hold.c',
     '    h->next->at = h->at;\n', '',
     ['sim lock s5_2_of_many_locks_released_in_any_order_the_rest_are_lost']),
    ('lose_an_older_lock', 'so does who releases the older one first', 'core/sched/hold.c',
     '    h->next->at = &h->next;\n', '',
     ['sim lock s5_2_of_many_locks_released_in_any_order_the_rest_are_lost']),
    ('count_our_own_timer', 'the timer of passing deadlines is nobody\'s', 'core/sched/loop.h',
     ' - timer_armed(&loop->passing.timer)', '',
     ['sim instrument s8_2_a_timer_that_coil_needs_for_itself_is_not_counted']),
    ('barge', 'a released lock is the first waiter\'s', 'core/sync/lock.c',
     '    lock_give(l, l->lot.first->task);\n', '',
     ['sim lock s5_2_nobody_overtakes_whom_it_was_handed_to']),
    ('miss_a_deadline_already_past', 'a deadline already past acts at the first checkpoint', 'core/sched/park.h',
     '    if (unlikely(self->loop->deadline_unseen))\n        coil__meet_deadlines(self->loop);\n', '',
     ['sim sync s2_7_a_deadline_already_past_acts_at_a_wait_that_need_not_wait']),
    ('wake_twice', 'a task is made ready once a park', 'core/sched/park.h',
     '    t->context.answer = result;\n    push_ready(t->loop, t);', '    t->context.answer = result;\n    push_ready(t->loop, t);\n    push_ready(t->loop, t);',
     ['sim task lowlevel_park_returns_what_unpark_says']),
    ('never_give_way', 'a task that never waits gives others a turn', 'core/sched/park.h',
     'if (unlikely(!--self->budget))', 'if (0)',
     ['sim task s4_1_calls_that_are_cancelled_at_once_give_others_a_turn_within_a_budget']),
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
    several = isinstance(m.was, tuple)
    for was, becomes in zip(m.was, m.becomes) if several else [(m.was, m.becomes)]:
        if text.count(was) != 1:
            raise LookupError(f'{m.name}: the rule is not where it was, in {m.file}')
        text = text.replace(was, becomes)
    return text


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

BEGUN = re.compile(r'^\[RUN \] \w+::(\w+)', re.M)
ENDED = re.compile(r'^\[(PASS|FAIL|SKIP)\] \w+::(\w+)(?:.*?\(([\d.]+)s\))?', re.M)


def end_session(leader):
    """Ends whatever is left of the session of a process that we have started. A test has a process group of its own,
    but not a session."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            if os.getsid(int(pid)) == leader:
                os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def place_of(words):
    """(backend, suite, test)"""
    return tuple(words.split())


class Run:
    """The tests of a suite, on a backend, that a pattern names. failed: those that did, or hung; passed_s: how long
    the others took, skipped: how many; wrong: why nothing can be said of them."""

    def __init__(self, build, backend, suite, pattern, limit_s):
        words = [f'{build}/tests/test_{suite}', '--verbose', '--color=never', f'--timeout={limit_s}', '-j1',
                 f'--filter=*/{pattern}']
        self.said = self.listen(words, {**os.environ, **ENV, 'COIL_BACKEND': backend}, build,
                                WHOLE_S if pattern == '*' else limit_s)
        ended = ENDED.findall(self.said)
        hung = set(BEGUN.findall(self.said)) - {name for _, name, _ in ended} if self.killed else ()
        self.failed = [name for verdict, name, _ in ended if verdict == 'FAIL'] + sorted(hung)
        self.passed_s = [float(s or 0) for verdict, _, s in ended if verdict == 'PASS']
        self.skipped = sum(verdict == 'SKIP' for verdict, _, _ in ended)
        self.wrong = None
        if self.code and not self.failed:
            self.wrong = f'{suite} on {backend}: exit code {self.code}\n{self.said[-2000:]}'

    def listen(self, words, env, build, limit_s):
        self.killed = False
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              cwd=build, start_new_session=True, text=True, errors='replace') as child:
            try:
                said, _ = child.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                self.killed = True
            finally:
                end_session(child.pid)
            if self.killed:
                said, _ = child.communicate()
        self.code = child.returncode
        return said


class Workshop:
    """A build of the copy, patched over and over."""

    def __init__(self, build):
        self.build = build
        self.limits_s = {}  # of each place that can be watched here
        if not os.path.exists(os.path.join(build, 'build.ninja')):
            shutil.rmtree(build, ignore_errors=True)
            subprocess.run(['meson', 'setup', build, ROOT, f'-Dmutant={NONE}', '-Dtests=true', '-Dexamples=false',
                            '-Doptimization=0', '-Ddebug=false', '-Db_ndebug=true'], check=True, stdout=subprocess.DEVNULL)

    def make(self, m, suites):
        """What went wrong, or None."""
        patch(m, ROOT, os.path.join(self.build, 'mutant'))
        done = subprocess.run(['ninja', '-C', self.build, *(f'tests/test_{s}' for s in suites)], capture_output=True,
                              text=True, check=False)
        if done.returncode == 0:
            return None
        return 'does not build: ' + ('\n'.join(re.findall(r'.*error:.*|ERROR:.*', done.stdout)) or done.stdout)

    def control(self, places):
        """With all rules, each must pass. What went wrong, or None."""
        wrong = self.make(None, sorted({suite for _, suite, _ in places}))
        if wrong:
            return wrong
        for backend, suite, test in sorted(places):
            run = Run(self.build, backend, suite, test, CONTROL_S)
            if run.wrong or run.failed:
                return run.wrong or f'{suite}: {", ".join(run.failed)}, {backend}\n{run.said[-2000:]}'
            if run.passed_s:
                self.limits_s[backend, suite, test] = max(LEAST_S, int(PATIENCE * max(run.passed_s)) + 1)
            elif not run.skipped:
                return f'{suite} has no test {test}'
        return None

    def attempt(self, m, all_of_them):
        """(has been noticed, by whom or why not)."""
        watched = [place for place in map(place_of, m.watch) if place in self.limits_s]
        noticed = []
        for place in watched:
            backend, suite, test = place
            wrong = self.make(m, [suite])
            run = None if wrong else Run(self.build, backend, suite, test, self.limits_s[place])
            if wrong or run.wrong:
                return False, wrong or run.wrong
            noticed += [f'{suite}: {name}, {backend}' for name in run.failed]
            if noticed and not all_of_them:
                break
        if noticed:
            return True, '; '.join(noticed if all_of_them else noticed[:1])
        return (False, 'nobody noticed') if watched else (None, 'no backend that it is about is to be had here')


# --- What is said -----------------------------------------------------------------------------------------------

def say_tap(number, m, good, by):
    result = f'{"not " if good is False else ""}ok {number} - {m.name}: {m.rule}'
    print(result + (f' # SKIP {by}' if good is None else f' ({by})'), flush=True)


def say_row(_, m, good, by):
    print(f'{m.name:50} {m.rule:75} {by if good else by.upper() if good is False else "- " + by}', flush=True)


def say(mutants, table, all_of_them, workshop):
    wrong = workshop.control({place_of(words) for m in mutants for words in m.watch})
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
            good, by = workshop.attempt(m, all_of_them)
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
    parser.add_argument('--all', action='store_true')
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
    if options.all:
        chosen = [m._replace(watch=sorted({' '.join([*place_of(words)[:2], '*']) for words in m.watch})) for m in chosen]
    result = say(chosen, options.table, options.all, Workshop(os.path.abspath(options.build)))
    print(f'# {len(chosen)} mutants, {time.monotonic() - started:.0f} s')
    return result


if __name__ == '__main__':
    sys.exit(main())
