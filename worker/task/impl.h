// SPDX-License-Identifier: Apache-2.0
/* One task, shared by machine.c (the machine), prepare.c (blocking work), driver_calls.c (what drivers call)
 * and table.c (the table). Nobody else looks inside. */
#pragma once
#include "base/backoff.h"
#include "base/loop.h"
#include "worker/bundle/bundle.h"
#include "worker/task/driver.h"
#include "worker/net/network.h"
#include "worker/runtime/container.h"
#include "worker/task/table.h"

enum task_step {
	STEP_NEW,       /* waits for the slot, its networks and secrets */
	STEP_PREPARING, /* intent, volumes, root file system, namespace: one job on the pool */
	STEP_ADOPTING,  /* asks the runtime what became of an attempt of an earlier worker */
	STEP_HOLDING,   /* the driver gathers evidence */
	STEP_HELD,      /* waits for a permit */
	STEP_PERMITTED, /* the driver makes the data ready */
	STEP_LAUNCHING, /* config.json, attempt number: job */
	STEP_STARTING,  /* conmon + crun */
	STEP_RUNNING,
	STEP_BACKOFF,  /* crashed; waits for the next attempt */
	STEP_DRAINING, /* stop wanted: the driver drains */
	STEP_STOPPING, /* signal sent, grace runs */
	STEP_FINAL,    /* ended and reported; clean-up job */
	STEP_CLEAN,    /* nothing of it is left but its report */
};

enum net_state { NET_NONE, NET_BUSY, NET_DONE };

struct task_secret {
	struct task_secret *next;
	Gs__Secret *row;
};

struct tasks {
	struct worker *w;
	struct task *list;
	struct task_secret *secrets;
	struct loop_timer kick; /* one pass over all tasks, soon */
	struct risky *risky;    /* for what others serve (job.c) */
	/* load.c: notes of an earlier worker that could not be read yet */
	struct task_unread *unread;
	struct loop_timer read_again;
	struct backoff read_backoff;
	bool reading;
	unsigned drops;
	unsigned handles; /* open timers */
	bool in_set;
	bool closing, leaving; /* leaving: no new tasks */
	unsigned jobs;         /* pool jobs under way */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

struct task {
	struct task *prev, *next;
	struct tasks *all;
	struct worker *w;
	char *id;
	Gs__Task *row;
	bool assigned, marked; /* marked: seen in the complete set under way */
	bool confirmed;        /* a manager assigned it since this worker started */
	bool stop_all;         /* this node leaves */
	uint32_t stop_all_grace_ms;

	enum task_step step;
	bool moving, move_again; /* task_move is not re-entered */
	bool adopt;              /* an earlier worker had it: look for its process first */
	bool busy;               /* a pool job holds our data */
	bool freed;              /* free as soon as the job is back */
	uint32_t attempt;
	uint32_t untidy;   /* an ended attempt whose leftovers are still there, 0: none */
	bool untidy_alive; /* it was given up before its end was seen */
	bool clean_waits;  /* the note of its end could not be written: the timer runs */
	struct backoff clean_backoff;
	unsigned crashes; /* in a row */
	int64_t started_mono_ms;
	enum net_state net;
	bool timer_due;

	/* paths */
	char *state_dir, *run_dir, *netns_path, *log_path, *cgroup_path, *container_id;
	char *task_run; /* <run_dir>/run */

	/* from preparation */
	struct bundle *bundle;
	struct net_plan *plan;
	bool prepared, prepare_done, reaped;
	struct err prepare_err;

	const struct task_driver_ops *driver;
	void *driver_state;
	uint64_t permit_serial; /* last one handed to the driver */
	char **argv;            /* what the driver wants started */
	bool held, start_wanted, launch_done, drained, stop_sent, kill_sent;
	bool attempt_failed; /* the driver or the runtime gave this attempt up */
	bool withdrawn;      /* ended at the driver's wish */
	struct err attempt_err;

	struct container *container;
	bool started, exited;
	struct container_exit exit;

	struct loop_timer timer;
	Gs__TaskStatus *status;
	uint64_t version, sent, acked; /* of status */
	int64_t seqno, seqno_sent;
	bool has_seqno;
	unsigned tool_serial;
};

struct task *task_new(struct tasks *ts, const Gs__Task *row);
void task_free(struct task *t);   /* at once, or when its job is back */
void task_forget(struct task *t); /* remove its folder of the state */
/* The one function that moves the step; call it after storing a result. */
void task_move(struct task *t);
bool task_stop_wanted(const struct task *t);
/* Time between the stop signal and KILL. */
uint32_t task_grace_ms(const struct task *t);
/* The grace has become shorter: a task that is within it has only so much left. */
void task_hurry(struct task *t);
/* Sets the reported state and asks the agent to report. message may be NULL (kept empty). */
void task_report(struct task *t, Gs__TaskState state, const char *message);
void task_touch(struct task *t); /* status changed without a change of state */
const char *task_step_name(enum task_step s);

/* ---- job.c: blocking work. work gets data of its own, back runs on the loop ---- */
struct risky *task_risky_new(uv_loop_t *loop);
/* Without the task's being busy: for what goes on beside it. */
void task_work(struct task *t, void (*work)(void *arg), void (*back)(void *arg), void *arg);
/* The task is busy (neither moved nor freed) until back calls task_job_back: true when it was given up meanwhile; it is
 * freed then. */
void task_job_start(struct task *t, void (*work)(void *arg), void (*back)(void *arg), void *arg);
bool task_job_back(struct task *t);
/* Do the file systems of others answer? False: it uses none, and answer is not called. Else the task is busy until
 * answer: e->code is 0 or E_DEADLINE. */
bool task_look_start(struct task *t, void (*answer)(struct task *t, const struct err *e));

/* ---- load.c: tasks whose notes could not be read yet; they may be running ---- */
void tasks_unread_init(struct tasks *ts);
void tasks_unread_fini(struct tasks *ts);
bool tasks_unread_assign(struct tasks *ts, const Gs__Task *row); /* true: kept (copied) until it is read */
void tasks_unread_unassign(struct tasks *ts, const char *task_id);
void tasks_unread_set_begin(struct tasks *ts);
void tasks_unread_set_end(struct tasks *ts);
/* A task that might hold the same slot, name or volume as row's. */
bool tasks_unread_may_share(const struct tasks *ts, const Gs__Task *row);
void tasks_unread_dump(const struct tasks *ts, struct buf *out);

/* ---- prepare.c: each answers by setting a field and calling task_move ---- */
void task_prepare_start(struct task *t);
void task_launch_start(struct task *t);
void task_clean_start(struct task *t);
/* Leftovers of the ended attempt, off the path of the next one. Its exit file goes too, so this is called
 * once the next attempt's number is on disk. */
void task_tidy_start(struct task *t);
void task_reap_start(struct task *t);  /* whatever still runs under the current attempt's id; sets reaped */
void task_net_start(struct task *t);   /* attach in the background (adopted tasks) */
void task_intent_save(struct task *t); /* the row changed */
int task_container_spec(struct task *t, struct container_spec *ret, char **ret_bundle);
void task_set_attempt(struct task *t, uint32_t attempt);
void task_hosts_write(struct task *t);
