// SPDX-License-Identifier: Apache-2.0
/* The state machine of one task. Callbacks store a result and call task_move, which is the only place where
 * the step changes.
 *
 *   NEW --slot free, networks known--> PREPARING --> [ADOPTING] --plain--> LAUNCHING --> STARTING --> RUNNING
 *                                          |                                   ^                        |
 *                                          +--driver--> HOLDING -> HELD -> PERMITTED                  exit
 *                                                          ^                                            v
 *                                                          +---- attempt + 1 ------------------------ BACKOFF
 *   stop wanted, process runs:  [DRAINING: the driver] -> STOPPING: signal, grace, KILL -> FINAL -> CLEAN
 *   stop wanted, no process:    FINAL -> CLEAN
 *
 * The happy path is the first line. What can fail: preparation (REJECTED when no later try can help, else
 * tried again), a start (counts as a crash), the process itself. A final state is reported the moment the
 * process is gone; what it leaves in the kernel and on disk is removed afterwards. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/session/agent.h"
#include "worker/task/impl.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
#define STABLE_MS 60000 /* up for this long: the next crash counts as the first */
#define GRACE_DEFAULT_MS 10000
#define HANDLER_MS 1000
#define CLEAN_FIRST_MS 500
#define CLEAN_LAST_MS 30000

static void start_container(struct task *t);

const char *task_step_name(enum task_step s)
{
	static const char *const names[] = {"new",       "preparing", "adopting", "holding", "held",
					    "permitted", "launching", "starting", "running", "backoff",
					    "draining",  "stopping",  "final",    "clean"};

	return names[s];
}

void task_touch(struct task *t)
{
	t->version++;
	if (t->w->agent)
		agent_report_soon(t->w->agent);
}

void task_report(struct task *t, Gs__TaskState state, const char *message)
{
	t->status->state = state;
	t->status->since_ms = clock_wall_ms(&clock_real);
	t->status->pid = (uint32_t)container_pid(t->container);
	str_replace(&t->status->message, message ? message : "");
	task_touch(t);
}

bool task_stop_wanted(const struct task *t)
{
	return t->stop_all || !t->assigned || t->row->desired > TASK_RUNNING;
}

uint32_t task_grace_ms(const struct task *t)
{
	uint32_t ms = t->row->spec->stop_grace_ms != 0 ? t->row->spec->stop_grace_ms : GRACE_DEFAULT_MS;

	return t->stop_all && t->stop_all_grace_ms < ms ? t->stop_all_grace_ms : ms;
}

/* ---- the end of an attempt ---- */

static const char *exit_text(const struct task *t, char *text, size_t n)
{
	if (!t->exit.known)
		snprintf(text, n, "exit unknown (its monitor died)");
	else if (t->exit.code == 137 && t->exit.oom)
		snprintf(text, n, "exit 137: out of memory");
	else if (t->exit.code > 128)
		snprintf(text, n, "exit %d: signal %d", t->exit.code, t->exit.code - 128);
	else
		snprintf(text, n, "exit %d", t->exit.code);
	return text;
}

static void argv_free(struct task *t)
{
	for (size_t i = 0; t->argv && t->argv[i]; i++)
		free(t->argv[i]);
	free(t->argv);
	t->argv = NULL;
}

static void drop_driver(struct task *t)
{
	if (t->driver_state)
		t->driver->detach(t->driver_state);
	t->driver_state = NULL;
}

static void finish(struct task *t, Gs__TaskState state, const char *message)
{
	loop_timer_stop(&t->timer);
	drop_driver(t);
	t->step = STEP_FINAL;
	task_report(t, state, message);
	log_info("task %s: %s%s%s id=%s attempt=%u", t->row->name, task_state_name(state),
		 *message ? ": " : "", message, t->id, t->attempt);
}

/* What an ended process means for a task that nobody wanted stopped. False: try again. */
static bool exit_is_final(const struct task *t, Gs__TaskState *ret)
{
	bool ok = t->exited && t->exit.known && t->exit.code == 0;

	if (t->row->spec->restart == RESTART_ANY)
		return false;
	if (!ok && t->row->spec->restart == RESTART_ON_FAILURE)
		return false;
	*ret = ok ? TASK_COMPLETE : TASK_FAILED;
	return true;
}

static uint64_t restart_wait_ms(const struct task *t)
{
	if (t->crashes <= 1)
		return 0; /* the first crash: at once */
	return backoff_jitter(backoff_doubled(BACKOFF_FIRST_MS, BACKOFF_LAST_MS, t->crashes - 2));
}

static void attempt_reset(struct task *t)
{
	if (t->container) {
		t->untidy = t->attempt;
		t->untidy_alive = !t->exited || !t->exit.known;
		/* A file that it needs may be missing: made anew. */
		t->prepared = t->prepared && t->exited;
	}
	container_free(t->container);
	t->container = NULL;
	argv_free(t);
	t->started = t->exited = t->attempt_failed = t->held = t->start_wanted = false;
	t->withdrawn = t->launch_done = t->drained = t->stop_sent = t->kill_sent = false;
	t->exit = (struct container_exit){0};
	err_clear(&t->attempt_err);
	obj_set(&t->status->view, NULL);
	obj_set(&t->status->evidence, NULL);
	obj_set(&t->status->genesis, NULL);
	str_replace(&t->status->progress, "");
}

/* Only attempts that were launched are on disk, so a worker that died may have told the managers a higher
 * number. They take no report of an older attempt. */
static uint32_t attempt_next(const struct task *t)
{
	const Gs__TaskStatus *told = t->row->status;

	return (told && told->attempt > t->attempt ? told->attempt : t->attempt) + 1;
}

/* The attempt is over and nobody wanted it stopped. */
static void attempt_over(struct task *t)
{
	char text[320];
	const char *why;
	Gs__TaskState final;
	uint64_t wait;

	if (t->withdrawn || (t->attempt_failed && !t->exited))
		snprintf(text, sizeof(text), "%s", t->attempt_err.msg);
	else
		exit_text(t, text, sizeof(text));
	t->status->exit_code = t->exited && t->exit.known ? t->exit.code : -1;
	str_replace(&t->status->err, text);
	if (t->driver_state && t->started)
		t->driver->exited(t->driver_state);
	if (!t->withdrawn && exit_is_final(t, &final)) {
		finish(t, final, final == TASK_COMPLETE ? "finished" : text);
		return;
	}
	if (t->started && clock_mono_ms(&clock_real) - t->started_mono_ms >= STABLE_MS)
		t->crashes = 0;
	if (t->withdrawn) {
		wait = 0;
	} else {
		t->crashes++;
		wait = restart_wait_ms(t);
	}
	log_info("task %s: %s, attempt %u in %llu ms id=%s", t->row->name, text, t->attempt + 1,
		 (unsigned long long)wait, t->id);
	why = t->withdrawn ? "waits for its turn again" : "restarts after a crash";
	attempt_reset(t);
	task_set_attempt(t, attempt_next(t));
	t->step = STEP_BACKOFF;
	t->timer_due = wait == 0;
	/* Told at once: within an attempt a report only moves forward, and a held task has HELD before it. */
	t->status->pid = 0;
	task_report(t, t->driver ? TASK_PREPARING : TASK_STARTING, why);
	if (wait > 0)
		loop_timer_set(&t->timer, wait);
	task_move(t);
}

/* ---- steps ---- */

/* No other task uses the slot's volumes and addresses, or the network namespace, which has the task's name: a
 * service that was removed and made again at once has other slots, but the same names. */
static bool slot_is_free(const struct task *t)
{
	for (const struct task *o = t->all->list; o; o = o->next)
		if (o != t && o->step != STEP_CLEAN && o->step != STEP_NEW &&
		    (strcmp(o->row->slot_id, t->row->slot_id) == 0 ||
		     strcmp(o->row->name, t->row->name) == 0))
			return false;
	return true;
}

static bool secrets_are_here(struct task *t)
{
	for (size_t i = 0; i < t->row->n_secrets; i++)
		if (!task_secret(t, t->row->secrets[i]->name))
			return false;
	return true;
}

#define UNREAD_TEXT "waits: the notes of another task on this node cannot be read yet"

/* True: it waits, and its status says why. */
static bool waits_for_unread(struct task *t)
{
	if (!tasks_unread_may_share(t->all, t->row))
		return false;
	if (strcmp(t->status->message, UNREAD_TEXT) != 0)
		task_report(t, t->status->state, UNREAD_TEXT);
	return true;
}

static void move_new(struct task *t)
{
	bool ready = !t->w->net || netglue_ready(t->w->net, t->row);

	if ((!t->adopt && waits_for_unread(t)) || !slot_is_free(t) ||
	    (!t->adopt && (!ready || !secrets_are_here(t))))
		return;
	t->step = STEP_PREPARING;
	if (!t->adopt)
		task_report(t, TASK_PREPARING, NULL);
	task_prepare_start(t);
}

static void reject(struct task *t, const struct err *why)
{
	str_replace(&t->status->err, why->msg);
	finish(t, TASK_REJECTED, why->msg);
}

static bool prepare_is_hopeless(int code)
{
	return code == E_INVALID || code == E_IN_USE || code == E_FORBIDDEN || code == -ENOENT ||
	       code == -ENOTDIR;
}

static void hold(struct task *t)
{
	t->step = STEP_HOLDING;
	t->held = false;
	t->driver->hold(t->driver_state, t->attempt);
}

static void next_attempt(struct task *t)
{
	if (t->driver) {
		if (!t->driver_state)
			t->driver_state = t->driver->attach(t);
		hold(t);
		return;
	}
	t->step = STEP_LAUNCHING;
	task_launch_start(t);
}

static void move_preparing(struct task *t)
{
	struct container_spec spec;
	cleanup_free char *bundle = NULL;

	if (!t->prepare_done)
		return;
	if (!t->prepared && !t->adopt) {
		if (prepare_is_hopeless(t->prepare_err.code)) {
			reject(t, &t->prepare_err);
			return;
		}
		t->attempt_failed = true;
		t->attempt_err = t->prepare_err;
		attempt_over(t);
		return;
	}
	if (t->adopt) {
		extern const struct container_ops task_container_ops;

		t->step = STEP_ADOPTING;
		task_container_spec(t, &spec, &bundle);
		spec.ops = &task_container_ops;
		t->container = container_adopt(t->w->runtime, &spec);
		return;
	}
	next_attempt(t);
}

static void now_running(struct task *t, bool adopted)
{
	t->step = STEP_RUNNING;
	t->started_mono_ms = clock_mono_ms(&clock_real);
	if (t->driver && !t->driver_state)
		t->driver_state = t->driver->attach(t);
	task_report(t, TASK_RUNNING, NULL);
	if (adopted) {
		t->status->since_ms = container_since_ms(t->container);
		t->started_mono_ms -= clock_wall_ms(&clock_real) - t->status->since_ms;
	}
	log_info("task %s: %s pid=%d id=%s attempt=%u", t->row->name, adopted ? "adopted" : "running",
		 container_pid(t->container), t->id, t->attempt);
	if (t->driver)
		t->driver->running(t->driver_state, adopted);
}

/* Nothing of it is left here, but the managers were told how it ended: a job that is done does not run again. */
static bool told_as_ended(const struct task *t)
{
	const Gs__TaskStatus *told = t->row->status;

	return !t->exited && told && (told->state == TASK_COMPLETE || told->state == TASK_FAILED);
}

static void move_adopting(struct task *t)
{
	if (t->started && !t->exited) {
		t->adopt = false;
		now_running(t, true);
	} else if (t->exited || t->attempt_failed) {
		bool ready = !t->w->net || netglue_ready(t->w->net, t->row);

		/* A new attempt needs what only the manager can tell: that it is wanted, secrets, addresses. */
		if (!t->confirmed || !ready || !secrets_are_here(t))
			return;
		if (!t->reaped) {
			/* A create or a tool may still be under way: two servers on one volume must never be. */
			task_reap_start(t);
			return;
		}
		t->adopt = false;
		t->prepared = t->prepared && t->net == NET_DONE;
		if (told_as_ended(t)) {
			finish(t, t->row->status->state, t->row->status->message);
			return;
		}
		if (!t->exited) /* nothing is known of it, e.g. after a reboot: not its fault */
			t->crashes = 0;
		attempt_over(t);
	}
}

/* Each permit is for one attempt: an old JOIN would let a host that comes back after a power cut start on the
 * word of a Primary that is gone. */
static const Gs__GaleraPermit *permit_due(const struct task *t)
{
	const Gs__GaleraPermit *p = t->row->permit;

	if (!p || p->serial <= t->permit_serial || p->attempt != t->attempt)
		return NULL;
	if (p->mode == PERMIT_NONE && !p->prefetch && !p->withdraw)
		return NULL;
	return p;
}

static void permit_hand_over(struct task *t, const Gs__GaleraPermit *p)
{
	t->permit_serial = p->serial;
	t->driver->permit(t->driver_state, p);
}

static bool is_withdrawal(const Gs__GaleraPermit *p)
{
	return p->mode == PERMIT_NONE && p->withdraw;
}

static void move_held(struct task *t)
{
	const Gs__GaleraPermit *p = permit_due(t);

	if (!p || p->mode == PERMIT_PC_BOOTSTRAP || is_withdrawal(p))
		return;
	if (p->mode != PERMIT_NONE) { /* else to fetch ahead, it stays held */
		t->step = STEP_PERMITTED;
		t->start_wanted = false;
	}
	permit_hand_over(t, p);
}

static void move_permitted(struct task *t)
{
	if (t->attempt_failed) {
		attempt_over(t);
		return;
	}
	if (t->held) { /* genesis is packed: evidence is taken again */
		t->held = false;
		hold(t);
		return;
	}
	if (!t->start_wanted)
		return;
	t->step = STEP_LAUNCHING;
	task_launch_start(t);
}

static void move_launching(struct task *t)
{
	if (t->attempt_failed && t->attempt_err.code == E_INVALID) {
		reject(t, &t->attempt_err);
		return;
	}
	if (t->attempt_failed) {
		attempt_over(t);
		return;
	}
	if (!t->launch_done)
		return;
	task_tidy_start(t);
	t->step = STEP_STARTING;
	task_report(t, TASK_STARTING, NULL);
	start_container(t);
}

static void move_starting(struct task *t)
{
	if (t->attempt_failed || t->exited)
		attempt_over(t);
	else if (t->started)
		now_running(t, false);
}

static void move_running(struct task *t)
{
	const Gs__GaleraPermit *p;

	if (t->exited) {
		attempt_over(t);
		return;
	}
	if (t->net == NET_NONE && t->w->net && netglue_ready(t->w->net, t->row)) {
		task_net_start(t);
		return;
	}
	if (!t->driver)
		return;
	p = permit_due(t);
	if (p && (p->mode == PERMIT_PC_BOOTSTRAP || is_withdrawal(p)))
		permit_hand_over(t, p);
}

static void move_backoff(struct task *t)
{
	if (!t->timer_due)
		return;
	t->timer_due = false;
	if (!t->prepared) {
		t->step = STEP_PREPARING;
		task_prepare_start(t);
		return;
	}
	next_attempt(t);
}

/* ---- stopping ---- */

static int stop_signal(const struct task *t)
{
	const char *name = t->row->spec->stop_signal;
	static const struct {
		const char *name;
		int number;
	} known[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"KILL", SIGKILL},
		     {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"TERM", SIGTERM}, {"WINCH", SIGWINCH}};

	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (size_t i = 0; i < array_size(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].number;
	return atoi(name) > 0 && atoi(name) < NSIG ? atoi(name) : SIGTERM;
}

/* A task's first process is the init of its pid namespace: the kernel drops a signal for which it has no
 * handler. One that neither catches, blocks (signalfd) nor on purpose ignores the stop signal would just sit
 * out the grace. A young process may install its handler yet, so it gets the grace all the same. */
static bool stop_is_in_vain(const struct task *t, int sig)
{
	return clock_mono_ms(&clock_real) - t->started_mono_ms > HANDLER_MS &&
	       !pid_minds_signal(container_pid(t->container), sig);
}

static void send_stop(struct task *t)
{
	int sig = stop_signal(t);

	t->step = STEP_STOPPING;
	t->timer_due = false;
	t->kill_sent = stop_is_in_vain(t, sig);
	container_signal(t->container, t->kill_sent ? SIGKILL : sig);
	loop_timer_set(&t->timer, task_grace_ms(t));
}

void task_hurry(struct task *t)
{
	if (t->step == STEP_STOPPING || t->step == STEP_DRAINING)
		loop_timer_set(&t->timer, task_grace_ms(t));
}

static void stopped(struct task *t)
{
	char text[320];

	t->status->exit_code = t->exit.known ? t->exit.code : -1;
	finish(t, TASK_SHUTDOWN, exit_text(t, text, sizeof(text)));
}

/* Returns true when the step was handled here. */
static bool move_stopping(struct task *t)
{
	switch (t->step) {
	case STEP_RUNNING:
		if (t->exited) {
			stopped(t);
			return true;
		}
		if (t->driver_state) {
			t->step = STEP_DRAINING;
			t->timer_due = false;
			/* The drain has the grace for itself; a driver that hangs does not hold the stop up. */
			loop_timer_set(&t->timer, task_grace_ms(t));
			t->driver->stopping(t->driver_state);
			return true;
		}
		send_stop(t);
		return true;
	case STEP_DRAINING:
		if (t->exited)
			stopped(t);
		else if (t->drained || t->timer_due)
			send_stop(t);
		return true;
	case STEP_STOPPING:
		if (t->exited)
			stopped(t);
		else if (t->timer_due && !t->kill_sent) {
			t->kill_sent = true;
			log_warn("task %s: did not stop in %u ms, KILL id=%s", t->row->name, task_grace_ms(t),
				 t->id);
			container_signal(t->container, SIGKILL);
		}
		return true;
	case STEP_ADOPTING:
	case STEP_STARTING: /* the runtime will say what it is in a moment */
		if (t->attempt_failed || t->exited) {
			finish(t, TASK_SHUTDOWN, "stopped before it ran");
			return true;
		}
		return false;
	case STEP_FINAL:
	case STEP_CLEAN:
		return false;
	case STEP_PREPARING:
		if (t->adopt)
			return false;
		/* fall through */
	default:
		finish(t, TASK_SHUTDOWN, "stopped before it ran");
		return true;
	}
}

static void move_final(struct task *t)
{
	if (t->clean_waits && !t->timer_due && !task_stop_wanted(t))
		return;
	t->clean_waits = t->timer_due = false;
	loop_timer_stop(&t->timer);
	task_clean_start(t);
}

static void move_clean(struct task *t)
{
	container_free(t->container);
	t->container = NULL;
	if (!t->assigned || t->stop_all)
		t->freed = true;
}

static void move_once(struct task *t)
{
	static void (*const moves[])(struct task *) = {
		[STEP_NEW] = move_new,
		[STEP_PREPARING] = move_preparing,
		[STEP_ADOPTING] = move_adopting,
		[STEP_HELD] = move_held,
		[STEP_PERMITTED] = move_permitted,
		[STEP_LAUNCHING] = move_launching,
		[STEP_STARTING] = move_starting,
		[STEP_RUNNING] = move_running,
		[STEP_BACKOFF] = move_backoff,
		[STEP_FINAL] = move_final,
		[STEP_CLEAN] = move_clean,
	};

	if (task_stop_wanted(t) && move_stopping(t))
		return;
	if (t->step == STEP_HOLDING) {
		if (t->attempt_failed) {
			attempt_over(t);
		} else if (t->held) {
			t->held = false;
			t->step = STEP_HELD;
			move_held(t);
		}
		return;
	}
	if ((t->step == STEP_DRAINING || t->step == STEP_STOPPING) && t->exited) {
		stopped(t);
		return;
	}
	if (moves[t->step])
		moves[t->step](t);
}

void task_move(struct task *t)
{
	enum task_step before;

	if (t->moving) {
		t->move_again = true;
		return;
	}
	t->moving = true;
	do {
		before = t->step;
		t->move_again = false;
		if (!t->busy && !t->freed)
			move_once(t);
	} while ((t->move_again || t->step != before) && !t->busy && !t->freed);
	t->moving = false;
	if (t->freed && !t->busy)
		task_free(t);
}

/* ---- the runtime's answers ---- */

static void on_started(int pid, void *arg)
{
	struct task *t = arg;

	t->started = true;
	task_move(t);
}

static void on_failed(const struct err *e, void *arg)
{
	struct task *t = arg;

	t->attempt_failed = true;
	t->attempt_err = *e;
	task_move(t);
}

static void on_exited(const struct container_exit *x, void *arg)
{
	struct task *t = arg;

	t->exited = true;
	t->exit = *x;
	task_move(t);
}

const struct container_ops task_container_ops = {
	.started = on_started, .failed = on_failed, .exited = on_exited};

static void start_container(struct task *t)
{
	struct container_spec spec;
	cleanup_free char *bundle = NULL;

	task_container_spec(t, &spec, &bundle);
	spec.ops = &task_container_ops;
	t->container = container_start(t->w->runtime, &spec);
}

/* ---- life ---- */

static void on_timer(void *arg)
{
	struct task *t = arg;

	t->timer_due = true;
	task_move(t);
}

struct task *task_new(struct tasks *ts, const Gs__Task *row)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->all = ts;
	t->w = ts->w;
	t->id = xstrdup(row->meta->id);
	t->row = obj_dup(row);
	t->status = obj_new(&gs__task_status__descriptor);
	t->state_dir = xasprintf("%s/tasks/%s", ts->w->dir, t->id);
	t->run_dir = xasprintf("%s/tasks/%s", ts->w->run_dir, t->id);
	t->netns_path = xasprintf("/run/netns/%s", row->name);
	t->log_path = xasprintf("%s/log", t->state_dir);
	t->driver = row->topology == TOPO_GALERA ? &galera_driver_ops : NULL;
	/* Not from 1 when the managers were told of more: they take no report of an older attempt. */
	task_set_attempt(t, row->status ? row->status->attempt + 1 : 1);
	t->clean_backoff = (struct backoff)BACKOFF(CLEAN_FIRST_MS, CLEAN_LAST_MS);
	loop_timer_init(&t->timer, ts->w->loop, on_timer, t);
	t->next = ts->list;
	if (t->next)
		t->next->prev = t;
	ts->list = t;
	return t;
}

static void on_timer_closed(void *arg)
{
	free(arg);
}

void task_free(struct task *t)
{
	if (t->busy || t->moving) {
		t->freed = true;
		return;
	}
	drop_driver(t);
	container_free(t->container);
	argv_free(t);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->all->list = t->next;
	if (t->next)
		t->next->prev = t->prev;
	tasks_kick(t->all);
	bundle_free(t->bundle);
	if (t->plan)
		net_plan_free(t->plan);
	obj_free(t->row);
	obj_free(t->status);
	free(t->id);
	free(t->state_dir);
	free(t->run_dir);
	free(t->netns_path);
	free(t->task_run);
	free(t->log_path);
	free(t->cgroup_path);
	free(t->container_id);
	loop_timer_close(&t->timer, on_timer_closed);
}
