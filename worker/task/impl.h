// SPDX-License-Identifier: Apache-2.0
/* One task, shared by machine.c (the machine), attempt.c (begin and end of an attempt), stop.c, prepare.c and
 * job.c (blocking work), driver_calls.c (what drivers call), load.c and table.c (the table). Nobody else looks
 * inside. */
#pragma once
#include "base/backoff.h"
#include "base/bug.h"
#include "base/loop.h"
#include "base/sm.h"
#include "worker/task/driver.h"
#include "worker/image/image.h"
#include "worker/net/network.h"
#include "worker/runtime/container.h"
#include "worker/task/table.h"

/* The table of legal moves is task_states in machine.c. */
enum task_step {
	STEP_NEW,       /* waits for the slot, its networks and secrets */
	STEP_FOUND,     /* an earlier worker had it: waits for the slot */
	STEP_RESTORING, /* found: its files are made good for adoption (job) */
	STEP_ADOPTING,  /* asks the runtime what became of its attempt */
	STEP_REAPING,   /* found, and that attempt is over: whatever is left of it is ended (job) */
	STEP_PREPARING, /* intent, volumes, root file system, namespace (job) */
	STEP_HOLDING,   /* the driver gathers evidence */
	STEP_HELD,      /* waits for a permit */
	STEP_PERMITTED, /* the driver makes the data ready */
	STEP_LAUNCHING, /* config.json, attempt number (job) */
	STEP_STARTING,  /* conmon + crun */
	STEP_RUNNING,
	STEP_BACKOFF,  /* crashed; waits for the next attempt */
	STEP_DRAINING, /* stop wanted: the driver drains */
	STEP_STOPPING, /* signal sent, grace runs */
	STEP_KILLING,  /* KILL sent */
	STEP_FINAL,    /* ended and reported; not cleaned up yet */
	STEP_CLEANING, /* the note of its end, then its traces (job) */
	STEP_UNNOTED,  /* the note could not be written: once more after a while */
	STEP_CLEAN,    /* nothing of it is left but its report */
};
#define STEPS_ENDED (SM(STEP_FINAL) | SM(STEP_CLEANING) | SM(STEP_UNNOTED) | SM(STEP_CLEAN))
/* It holds neither slot nor name: nothing of it is there yet, or any more. */
#define STEPS_WITHOUT_SLOT (SM(STEP_NEW) | SM(STEP_FOUND) | SM(STEP_CLEAN))
#define STEPS_FOUND (SM(STEP_FOUND) | SM(STEP_RESTORING) | SM(STEP_ADOPTING) | SM(STEP_REAPING))
extern const struct sm_kind task_kind;

/* What the runtime has told of the attempt's process. */
enum task_process { PROCESS_NONE, PROCESS_STARTED, PROCESS_EXITED };
/* What the driver has answered to the last thing it was asked. */
enum task_answer { ANSWER_NONE, ANSWER_HELD, ANSWER_HOLD_AGAIN, ANSWER_START, ANSWER_DRAINED };

/* All that belongs to one attempt and ends with it. */
struct attempt {
	uint32_t number;
	char *container_id, *cgroup_path;
	struct container *container;
	enum task_process process;
	struct container_exit exit; /* of a process that exited */
	int64_t running_mono_ms;    /* since when, 0: it was never seen running */
	int64_t kill_mono_ms;       /* the stop signal was sent, this is when KILL follows; 0: it was not */
	enum task_answer answer;
	char **argv;          /* what is to be started; NULL: not said yet */
	struct err failed;    /* the driver, the runtime or a job gave it up */
	struct err withdrawn; /* its process is ended at the driver's wish */
};

enum net_state { NET_NONE, NET_BUSY, NET_DONE };

struct task_secret {
	struct task_secret *next;
	Gs__Secret *row;
};

struct tasks {
	struct worker *w;
	struct tasks_above above;
	struct task *list;
	struct task_secret *secrets;
	struct loop_timer kick; /* one pass over all tasks, soon */
	struct risky *risky;    /* for what others serve (job.c) */
	/* load.c: notes of an earlier worker that could not be read yet */
	struct task_unread *unread;
	struct discard *discards; /* discard.c */
	struct loop_timer read_again;
	struct backoff read_backoff;
	bool reading;
	unsigned drops;
	unsigned handles; /* open timers */
	bool in_set;
	bool closing, leaving; /* leaving: no new tasks */
	unsigned jobs;         /* pool jobs under way */
	unsigned reaps;        /* those of them that end containers of nobody: they hold nobody knows what */
	uint32_t leave_grace_ms;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

#define TASK_MAGIC MAGIC('t', 'a', 's', 'k')

struct task {
	uint32_t magic;
	struct task *prev, *next;
	struct tasks *all;
	struct worker *w;
	char *id;
	Gs__Task *row;
	bool assigned, marked; /* marked: seen in the complete set under way */
	bool confirmed;        /* a manager assigned it since this worker started */
	bool from_disk;        /* an earlier worker had it */
	bool stop_all;         /* this node leaves */
	uint32_t stop_all_grace_ms;
	uint32_t grace_max_ms; /* the driver's, for this stop; 0: none */

	struct sm step;
	bool moving, move_again; /* task_move is not re-entered */
	bool busy;               /* a job holds our data: neither moved nor freed */
	bool freed;              /* free as soon as the job is back */
	struct attempt at;
	struct {                  /* an ended attempt whose leftovers are still there */
		uint32_t attempt; /* 0: none */
		bool alive;       /* it was given up before its end was seen */
	} untidy;
	unsigned crashes; /* in a row */
	enum net_state net;
	struct loop_timer timer; /* of the step: back-off, grace, the next try to note its end */
	bool timer_due;

	/* paths */
	char *state_dir, *run_dir, *netns_path, *log_path;
	char *task_run; /* <run_dir>/run */

	/* from preparation */
	struct bundle *bundle;
	struct net_plan *plan;
	bool prepared;
	uint64_t names; /* net_names_version at the last write of its hosts file; 0: none */
	struct err prepare_err;
	struct err clean_err; /* why the note of its end could not be written */
	struct backoff clean_backoff;

	const struct task_driver_ops *driver;
	void *driver_state;
	uint64_t permit_serial; /* last one handed to the driver */

	Gs__TaskStatus *status;
	uint64_t version, sent, acked; /* of status */
	int64_t seqno, seqno_sent;
	bool has_seqno;
	unsigned tool_serial;
	struct tool *tools; /* under way (driver_calls.c) */
};

static inline bool task_is(const struct task *t, enum task_step step)
{
	return sm_is(&t->step, step);
}
static inline bool task_in(const struct task *t, uint64_t steps)
{
	return sm_in(&t->step, steps);
}

/* ---- machine.c ---- */
/* step: NEW, or of one from disk FOUND, FINAL or CLEAN. The row is copied. */
struct task *task_new(struct tasks *ts, const Gs__Task *row, enum task_step step);
/* Of a new one: nothing is made of it, it only reports why. */
void task_refuse(struct task *t, const struct err *why);
void task_free(struct task *t);   /* at once, or when its job is back */
void task_forget(struct task *t); /* remove its folder of the state */
/* The one function that moves the step; call it after storing a result. */
void task_move(struct task *t);
/* By the manager, by an assignment that was taken back, or because this node leaves. */
bool task_stop_wanted(const struct task *t);
/* Time between the stop signal and KILL. */
uint32_t task_grace_ms(const struct task *t);
/* The grace has become shorter: a task that is within it has only so much left. */
void task_hurry(struct task *t);
/* Sets the reported state and asks the agent to report. message may be NULL (kept empty). */
void task_report(struct task *t, Gs__TaskState state, const char *message);
void task_touch(struct task *t); /* status changed without a change of state */
void task_timer_set(struct task *t, uint64_t delay_ms);
/* The network, the addresses and the secrets that an attempt needs are here. */
bool task_has_needs(struct task *t);
/* The process runs, or may. */
static inline bool attempt_has_ended(const struct attempt *a)
{
	return a->process == PROCESS_EXITED || a->failed.code != 0;
}
/* Its end was not seen, or nobody can say how it ended: whatever runs under its id is ended before anything else. */
static inline bool attempt_may_live(const struct attempt *a)
{
	return a->process != PROCESS_EXITED || !a->exit.known;
}

/* ---- attempt.c ---- */
/* The attempt of this number, not begun. t->at is replaced as a whole: by this, when it has ended. */
void attempt_init(struct task *t, uint32_t number);
/* Lets go of its container, which goes on if it runs, and frees what it owns. */
void attempt_fini(struct attempt *a);
/* Nobody wanted it stopped: what comes next. Ends in BACKOFF or FINAL. */
void task_attempt_over(struct task *t);
/* "exit 3", "exit 137: out of memory": in text, which it returns. */
const char *attempt_exit_text(const struct attempt *a, char *text, size_t n);
/* To FINAL: the state is reported; what the task leaves is removed afterwards. */
void task_finish(struct task *t, Gs__TaskState state, const char *message);
/* The same as REJECTED: no later try can help. */
void task_reject(struct task *t, const struct err *why);
/* The manager's word on a task of which nothing is left: it has ended, and how. */
bool task_told_as_ended(const struct task *t);

/* ---- stop.c: a stop is wanted. True: that was all for now; false: the step goes on as ever. ---- */
bool task_stop_before_it_ran(struct task *t);
bool task_stop_unclear(
	struct task *t); /* the runtime will say in a moment whether it runs, or how it ended */
bool task_stop_running(struct task *t);
/* It runs and is to run: a note of an earlier stop goes. */
void task_stop_forget(struct task *t);
/* The moves of the three steps of a stop. */
void task_move_draining(struct task *t); /* until the driver has drained or the grace is over */
void task_move_stopping(struct task *t); /* until the process ends or the grace is over */
void task_move_killing(struct task *t);  /* until the process ends */

/* ---- job.c: blocking work, as task_work of driver.h that does not make the task busy ---- */
struct risky *task_risky_new(uv_loop_t *loop);
/* The task is busy (neither moved nor freed) until back calls task_job_back: true when it was given up meanwhile; it
 * is freed then. */
void task_job_start(struct task *t, void (*work)(void *arg), void (*back)(void *arg), void *arg);
bool task_job_back(struct task *t); /* first in each back */
/* Do the file systems of others answer? False: it uses none, and answer is not called. Else the task is busy until
 * answer: e->code is 0 or E_DEADLINE. */
bool task_look_start(struct task *t, void (*answer)(struct task *t, const struct err *e));

/* ---- table.c ---- */
void tasks_gone(struct tasks *ts); /* of one that is closing: freed, once nothing of it is left */

/* ---- load.c: tasks whose notes could not be read yet; they may be running ---- */
void tasks_unread_init(struct tasks *ts);  /* none yet */
void tasks_unread_fini(struct tasks *ts);  /* forgets them: folders and containers stay */
void tasks_unread_hurry(struct tasks *ts); /* read them now */
bool tasks_unread_assign(struct tasks *ts, const Gs__Task *row); /* true: kept (copied) until it is read */
void tasks_unread_unassign(struct tasks *ts, const char *task_id);
void tasks_unread_set_begin(struct tasks *ts); /* a complete set comes */
void tasks_unread_set_end(struct tasks *ts);   /* what was not in it is not wanted */
/* A task that might hold the same slot, name or volume as row's. */
bool tasks_unread_may_share(const struct tasks *ts, const Gs__Task *row);
void tasks_unread_dump(const struct tasks *ts, struct buf *out); /* a line each */

/* ---- driver_calls.c ---- */
void task_tools_end(
	struct task *t); /* kills them, or they do not start; each moves the task when it is gone */
void task_tools_forget(struct task *t); /* they go on without it */

/* ---- discard.c: what table.c does with volumes that are to go ---- */
void discards_set_begin(struct tasks *ts);                           /* a complete set comes */
void discards_set_end(struct tasks *ts);                             /* what was not in it is not wanted */
void discards_report_fill(struct tasks *ts, Gs__ReportRequest *req); /* adds what is not acknowledged */
void discards_reported(struct tasks *ts, bool ok);                   /* as tasks_reported */
bool discards_pending(const struct tasks *ts);                       /* something is not acknowledged */
void discards_fini(struct tasks *ts);                                /* forgets them; no job is under way */

/* ---- prepare.c: jobs. Each stores what it learned and calls task_move: a step with a job is over when the task is
 * not busy any more. ---- */
void task_prepare_start(struct task *t); /* sets prepared and what it needs, or prepare_err */
/* What each container of the task may use and do, its tools as well: limits, seccomp, AppArmor. */
void task_bounds(const struct task *t, struct oci_spec *spec);
void task_launch_start(struct task *t); /* writes the attempt's number and config.json; sets at.failed */
void task_clean_start(struct task *t);  /* the note of its end, then its traces; sets clean_err */
/* Leftovers of the ended attempt, off the path of the next one. Its exit file goes too, so this is called
 * once the next attempt's number is on disk. */
void task_tidy_start(struct task *t);
/* The same for one that may live, and nothing of the next attempt goes on before it is done. */
void task_leftover_end(struct task *t);
void task_reap_start(struct task *t); /* whatever still runs under the current attempt's id */
/* An adopted task's networks have come: they are attached in the background. False: there is nothing to do. */
bool task_net_due(struct task *t);
void task_stop_note(struct task *t);   /* that its stop signal was sent, for a worker after this one */
void task_intent_save(struct task *t); /* the row changed */
int task_container_spec(struct task *t, struct container_spec *ret, char **ret_bundle);
void task_hosts_write(struct task *t); /* the names of its networks; a failure leaves the old ones */
