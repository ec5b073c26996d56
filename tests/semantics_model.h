/* semantics_model.h - what coil promises about scopes, groups, tasks and who waits for what, once
 * more: slow, obvious, and without a line of coil's.
 *
 * A model is told what a program is about to do, and when; it says what must come of it. Nodes
 * (scopes, groups), tasks, locks and so on are numbers; NOBODY is none. Each call is to be answered
 * by the number that the function returns, or, if that is MODEL_WAITS, later, by what
 * model_answer returns once the task runs again. Which task that is, and at what time, the model is
 * told with model_step, and it says whether that may be so. */
#ifndef TESTS_SEMANTICS_MODEL_H
#define TESTS_SEMANTICS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define NOBODY         (-1)
#define MODEL_FOREVER  INT64_MAX
#define MODEL_WAITS    (-100000)

#define MODEL_NODES    250 /* at a time */
#define MODEL_TASKS    70  /* in all */
#define MODEL_ERRORS   80  /* of a group */
#define MODEL_LOCKS    3
#define MODEL_CHANNELS 3
#define MODEL_HANDLES  4   /* of a side of a channel */
#define MODEL_ITEMS    200 /* in a channel at a time */

enum model_cause {
    MODEL_NO_CAUSE,
    MODEL_DEADLINE,
    MODEL_EXPLICIT,
    MODEL_GROUP_ERROR,
    MODEL_SHUTDOWN,
};

/* Who asked for something, and in which words. */
struct model_why {
    enum model_cause cause;
    const char *reason;
    int who; /* a task */
};

/* A scope; a group with its scope; or a task's own. */
struct model_node {
    bool used;
    int parent;
    bool shielded;
    bool fails; /* its end says -ETIME for a deadline */
    bool caught;
    int owner;         /* the task that is in it; NOBODY: it has not begun */
    bool told_outside; /* that task had been told to stop before */
    int64_t deadline_ns;

    bool cancelled;
    struct model_why why;
    bool requested;
    struct model_why request;
    int64_t grace_end_ns;

    bool is_group;
    int host;
    int children;
    int services; /* of these */
    bool gave_in; /* a child returned -ECANCELED for somebody further up */
    int errors[MODEL_ERRORS];
    const char *error_words[MODEL_ERRORS];
    int error_of[MODEL_ERRORS]; /* which task's */
    int error_count;
};

enum model_state {
    MODEL_RUNNING,
    MODEL_READY,
    MODEL_BLOCKED,
    MODEL_OUTSIDE, /* blocked, and the model does not know when that ends */
    MODEL_DORMANT, /* has no stack */
    MODEL_ENDED,
};

enum model_wait {
    MODEL_NOTHING,
    MODEL_CHECKPOINT,
    MODEL_SLEEP,
    MODEL_PARK,
    MODEL_TASK,
    MODEL_END,   /* of a group; not to be cancelled */
    MODEL_START, /* likewise */
    MODEL_LOCK,
    MODEL_SEMAPHORE,
    MODEL_SENDING,
    MODEL_RECEIVING,
};

struct model_task {
    enum model_state state;
    int own;   /* nodes */
    int inner; /* the scope it is in */
    int group;
    int joined; /* of all that joined a group, it was this one */
    bool service;

    int target; /* the group it is started into */
    bool will_serve;
    int starter;
    bool said;
    bool moved;
    int start_result; /* if it has not moved */

    enum model_wait waits;
    int what;         /* task, group, lock or channel */
    int handle;       /* of the channel */
    int item;         /* sent, or received */
    int64_t until_ns; /* of a sleep; of a dormant one */
    int answer;
    bool awaits_abort; /* parked, and has not been told that it is cancelled */
    bool leaves;       /* ... when it is */
    int aborts;
    bool may_give_up; /* was cancelled, outside */

    int64_t ready_ns;   /* when it became ready */
    int ready_act;      /* by which of all that happened */
    bool in_round;      /* it is to run in this one */
    bool in_some_round; /* ... or the next */

    bool told; /* a call answered -ECANCELED, and who is behind that has not ended */
    int result;
    bool ended_cancelled;
};

struct model_queue {
    int tasks[MODEL_TASKS];
    int count;
};

struct model_lock {
    int owner;
    bool dead; /* its owner ended */
    struct model_queue queue;
};

struct model_channel {
    bool open; /* has been, and has a handle left */
    int capacity;
    int items[MODEL_ITEMS];
    int count;
    int peak;
    bool sender[MODEL_HANDLES]; /* is open */
    bool receiver[MODEL_HANDLES];
    struct model_queue sending;
    struct model_queue receiving;
    int lost[MODEL_ITEMS]; /* disposed of by the last close */
    int lost_count;
};

struct model {
    int64_t now_ns;
    int acts;         /* things that have happened */
    int steps;        /* that tasks have made */
    int running;      /* a task; NOBODY: none does */
    bool exact;       /* time stands still while tasks run, and never jumps too far */
    bool ordered;     /* first come, first served, also within a round */
    bool unsure;      /* in which round whoever becomes ready will run */
    bool round_begun; /* one of those that are in it has run */
    bool stepwise;    /* the loop looks around after each step */
    void (*broken)(const char *law);

    struct model_node nodes[MODEL_NODES];
    struct model_task tasks[MODEL_TASKS];
    int task_count;
    int joins;
    struct model_lock locks[MODEL_LOCKS];
    struct model_channel channels[MODEL_CHANNELS];
    int semaphore;
    int semaphore_max;
    struct model_queue semaphore_queue;
};

/* m is all anew; its first task, 0, runs, and has a scope that nobody can cancel. */
void model_begin(struct model *m, int64_t now_ns, void (*broken)(const char *law));

/* --- Time, and whose turn it is --- */

/* Somebody looks at the clock: what is due has happened. */
void model_look(struct model *m, int64_t now_ns);

/* A step of t begins. */
void model_step(struct model *m, int t, int64_t now_ns);

/* Does anybody wait for a turn? */
bool model_any_ready(const struct model *m);

/* What the call has to answer that t was in. */
int model_answer(const struct model *m, int t);

/* --- What can be asked --- */

bool model_cancelled(const struct model *m, int node);
bool model_requested(const struct model *m, int node);
int64_t model_effective_deadline(const struct model *m, int node);
int model_responsible(const struct model *m, int node);
bool model_may_say_cancelled(const struct model *m, int t);

/* --- Scopes --- */

/* A scope that t will begin; it may be changed and cancelled already. */
int model_scope_new(struct model *m);
void model_scope_enter(struct model *m, int t, int node);
int model_scope_end(struct model *m, int t, int rc);
void model_scope_free(struct model *m, int node);
void model_cancel(struct model *m, int node, struct model_why why);
void model_request(struct model *m, int node, int64_t end_ns, struct model_why why);
void model_set_deadline(struct model *m, int node, int64_t deadline_ns);
void model_set_shield(struct model *m, int node, bool shielded);

/* --- Groups and tasks --- */

int model_group_begin(struct model *m, int t);

/* MODEL_WAITS; then model_group_ended says what it answers. */
int model_group_end(struct model *m, int t, int rc);
int model_group_ended(struct model *m, int t);

int model_spawn(struct model *m, int group, bool service);
int model_spawn_later(struct model *m, int group, int64_t when_ns);

/* The child; t waits. Then model_start_ended says what it answers. */
int model_start(struct model *m, int t, int group, bool service);
int model_start_ended(struct model *m, int t, int child);
int model_started(struct model *m, int t);

void model_task_ends(struct model *m, int t, int rc);

/* It goes back to sleep if it returns 0 or more; may it? */
bool model_may_sleep_again(const struct model *m, int t);
void model_task_sleeps_again(struct model *m, int t, int rc, int64_t when_ns);

void model_task_cancel(struct model *m, int t, struct model_why why);

/* --- Calls that may wait --- */

int model_check(struct model *m, int t);
int model_checkpoint(struct model *m, int t);
void model_yield(struct model *m, int t);
int model_sleep(struct model *m, int t, int64_t until_ns);
int model_park(struct model *m, int t, bool can_abort, bool leaves);
void model_unpark(struct model *m, int t, int result);
int model_wait(struct model *m, int t, int other);

/* Waits for what only the world knows. */
int model_outside(struct model *m, int t);
void model_outside_ended(struct model *m, int t, bool cancelled);

int model_lock(struct model *m, int t, int lock, bool may_wait);
int model_unlock(struct model *m, int t, int lock);
void model_lock_anew(struct model *m, int lock);
int model_acquire(struct model *m, int t, bool may_wait);

/* Of what caused it, if an abort function does this. */
int model_release(struct model *m);

/* It has a sender and a receiver, number 0. */
void model_channel_open(struct model *m, int c, int capacity);
int model_send(struct model *m, int t, int c, int handle, int item, bool may_wait);
int model_receive(struct model *m, int t, int c, int handle, bool may_wait);
void model_clone(struct model *m, int c, bool sender, int handle);
void model_close(struct model *m, int c, bool sender, int handle);

#endif
