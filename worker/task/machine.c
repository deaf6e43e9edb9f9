// SPDX-License-Identifier: Apache-2.0
/* The state machine of one task. Callbacks only store what they learned and call task_move, which asks the step's row
 * of `moves` what to do next; the legal moves are in task_states.
 *
 *   NEW --slot free, networks known--> PREPARING --plain--> LAUNCHING --> STARTING --> RUNNING
 *                                       |     ^                 ^             |           |
 *                                       |     |                 |             v           v
 *                                       |     +----------------------------- BACKOFF: the next attempt
 *                                       |                       |             |
 *                                       +--driver--> HOLDING -> HELD -> PERMITTED
 *   FOUND (on disk at the start) --> RESTORING --> ADOPTING --it runs--> RUNNING
 *                                                      +--it is over--> REAPING --> BACKOFF
 *   stop wanted, process runs:  [DRAINING: the driver] -> STOPPING: signal, grace -> KILLING -> FINAL
 *   stop wanted, no process:    FINAL
 *   stop wanted, found:         it may run: adopted first, and then as above
 *   FINAL -> CLEANING -> CLEAN;  CLEANING -> UNNOTED (the note of its end cannot be written) -> FINAL
 *
 * The happy path is the first line. What can fail: preparation (REJECTED when no later try can help, else
 * tried again), a start (counts as a crash), the process itself. A final state is reported the moment the
 * process is gone; what it leaves in the kernel and on disk is removed afterwards. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/task/impl.h"

#define CLEAN_FIRST_MS 500
#define CLEAN_LAST_MS 30000
#define UNREAD_TEXT "waits: the notes of another task on this node cannot be read yet"
#define REAP_TEXT "waits: what another task has left on this node is being ended"

#define NEXT_ATTEMPT (SM(STEP_HOLDING) | SM(STEP_LAUNCHING))
#define ENDS (SM(STEP_BACKOFF) | SM(STEP_FINAL))

static const struct sm_state task_states[] = {
	{STEP_NEW, "new", SM(STEP_PREPARING) | SM(STEP_FINAL) | SM(STEP_CLEAN)},
	{STEP_FOUND, "found", SM(STEP_RESTORING) | SM(STEP_ADOPTING)},
	{STEP_RESTORING, "restoring", SM(STEP_ADOPTING)},
	{STEP_ADOPTING, "adopting", SM(STEP_RUNNING) | SM(STEP_REAPING) | SM(STEP_FINAL)},
	{STEP_REAPING, "reaping", ENDS},
	{STEP_PREPARING, "preparing", NEXT_ATTEMPT | ENDS},
	{STEP_HOLDING, "holding", SM(STEP_HELD) | ENDS},
	{STEP_HELD, "held", SM(STEP_PERMITTED) | SM(STEP_FINAL)},
	{STEP_PERMITTED, "permitted", NEXT_ATTEMPT | ENDS},
	{STEP_LAUNCHING, "launching", SM(STEP_STARTING) | ENDS},
	{STEP_STARTING, "starting", SM(STEP_RUNNING) | ENDS},
	{STEP_RUNNING, "running", SM(STEP_DRAINING) | SM(STEP_STOPPING) | SM(STEP_KILLING) | ENDS},
	{STEP_BACKOFF, "backoff", SM(STEP_PREPARING) | NEXT_ATTEMPT | SM(STEP_FINAL)},
	{STEP_DRAINING, "draining", SM(STEP_STOPPING) | SM(STEP_KILLING) | SM(STEP_FINAL)},
	{STEP_STOPPING, "stopping", SM(STEP_KILLING) | SM(STEP_FINAL)},
	{STEP_KILLING, "killing", SM(STEP_FINAL)},
	{STEP_FINAL, "final", SM(STEP_CLEANING)},
	{STEP_CLEANING, "cleaning", SM(STEP_UNNOTED) | SM(STEP_CLEAN)},
	{STEP_UNNOTED, "unnoted", SM(STEP_FINAL)},
	{STEP_CLEAN, "clean", 0},
};

/* What holds whenever a step has been entered. */
static void step_check(const struct sm *sm, unsigned from)
{
	const struct task *t = container_of(sm, struct task, step);
	const uint64_t no_process = SM(STEP_PREPARING) | SM(STEP_HOLDING) | SM(STEP_HELD) |
				    SM(STEP_PERMITTED) | SM(STEP_LAUNCHING) | SM(STEP_STARTING) |
				    SM(STEP_BACKOFF);
	const uint64_t process = SM(STEP_RUNNING) | SM(STEP_DRAINING) | SM(STEP_STOPPING) | SM(STEP_KILLING);
	const uint64_t driver = SM(STEP_HOLDING) | SM(STEP_HELD) | SM(STEP_PERMITTED) | SM(STEP_DRAINING);

	bug_if(t->magic != TASK_MAGIC || t->busy || t->freed);
	bug_if(task_in(t, no_process) && t->at.container);
	bug_if(task_in(t, process) && (!t->at.container || t->at.process != PROCESS_STARTED));
	bug_if(task_in(t, driver) && !t->driver_state);
	bug_if(task_in(t, STEPS_ENDED) && t->driver_state);
	bug_if(task_in(t, STEPS_FOUND) && !t->from_disk);
	bug_if(task_is(t, STEP_BACKOFF) && t->at.process != PROCESS_NONE);
}

const struct sm_kind task_kind = SM_KIND("task", task_states, step_check);

/* ---- reports ---- */

void task_touch(struct task *t)
{
	t->version++;
	if (t->all->above.changed)
		t->all->above.changed(t->all->above.arg);
}

void task_report(struct task *t, Gs__TaskState state, const char *message)
{
	t->status->state = state;
	t->status->since_ms = clock_wall_ms(&clock_real);
	t->status->pid = (uint32_t)container_pid(t->at.container);
	str_replace(&t->status->message, message ? message : "");
	task_touch(t);
}

void task_refuse(struct task *t, const struct err *why)
{
	log_warn("task %s: rejected: %s", t->id, why->msg);
	sm_go(&t->step, STEP_CLEAN);
	str_replace(&t->status->err, why->msg);
	task_report(t, TASK_REJECTED, why->msg);
}

/* ---- before the first attempt ---- */

/* No other task uses the slot's volumes and addresses, or the network namespace, which has the task's name: a
 * service that was removed and made again at once has other slots, but the same names. */
static bool slot_is_free(const struct task *t)
{
	for (const struct task *o = t->all->list; o; o = o->next)
		if (o != t && !task_in(o, STEPS_WITHOUT_SLOT) &&
		    (strcmp(o->row->slot_id, t->row->slot_id) == 0 ||
		     strcmp(o->row->name, t->row->name) == 0))
			return false;
	return true;
}

bool task_has_needs(struct task *t)
{
	if (t->w->net && !net_ready(t->w->net, t->row))
		return false;
	for (size_t i = 0; i < t->row->n_secrets; i++)
		if (!task_secret(t, t->row->secrets[i]->name))
			return false;
	return true;
}

/* True: it waits, and its status says why. */
static bool waits_for_others(struct task *t)
{
	const char *why = NULL;

	if (tasks_unread_may_share(t->all, t->row))
		why = UNREAD_TEXT;
	else if (t->all->reaps > 0 && t->row->n_volumes > 0)
		why = REAP_TEXT;
	if (why && strcmp(t->status->message, why) != 0)
		task_report(t, t->status->state, why);
	return why;
}

static void move_new(struct task *t)
{
	if (waits_for_others(t) || !slot_is_free(t) || !task_has_needs(t))
		return;
	sm_go(&t->step, STEP_PREPARING);
	task_report(t, TASK_PREPARING, NULL);
	task_prepare_start(t);
}

static bool prepare_is_hopeless(int code)
{
	return code == E_INVALID || code == E_IN_USE || code == E_FORBIDDEN || code == -ENOENT ||
	       code == -ENOTDIR;
}

static void hold(struct task *t)
{
	sm_go(&t->step, STEP_HOLDING);
	t->at.answer = ANSWER_NONE;
	t->driver->hold(t->driver_state, t->at.number);
}

static void launch(struct task *t)
{
	sm_go(&t->step, STEP_LAUNCHING);
	task_launch_start(t);
}

/* What was given up while it may live is ended before the next attempt takes a step: it is on the same data, and no
 * evidence may be taken beside it. */
static void next_attempt(struct task *t)
{
	if (t->untidy.attempt != 0 && t->untidy.alive) {
		task_leftover_end(t);
		return;
	}
	if (!t->driver) {
		launch(t);
		return;
	}
	if (!t->driver_state)
		t->driver_state = t->driver->attach(t);
	hold(t);
}

static void move_preparing(struct task *t)
{
	if (t->prepared) {
		next_attempt(t);
	} else if (prepare_is_hopeless(t->prepare_err.code)) {
		task_reject(t, &t->prepare_err);
	} else {
		t->at.failed = t->prepare_err;
		task_attempt_over(t);
	}
}

/* ---- what an earlier worker left ---- */

static void move_restoring(struct task *t);

/* One that is to stop waits for nobody, and touches no file that another has. */
static void move_found(struct task *t)
{
	if (slot_is_free(t)) {
		sm_go(&t->step, STEP_RESTORING);
		task_prepare_start(t);
	} else if (task_stop_wanted(t)) {
		move_restoring(t);
	}
}

/* The runtime's answers. */
static void on_started(int pid, void *arg)
{
	struct task *t = magic_of(struct task, TASK_MAGIC, arg);

	bug_if(t->at.process != PROCESS_NONE);
	t->at.process = PROCESS_STARTED;
	task_move(t);
}

static void on_failed(const struct err *e, void *arg)
{
	struct task *t = magic_of(struct task, TASK_MAGIC, arg);

	bug_if(e->code == 0 || t->at.process != PROCESS_NONE);
	t->at.failed = *e;
	task_move(t);
}

static void on_exited(const struct container_exit *x, void *arg)
{
	struct task *t = magic_of(struct task, TASK_MAGIC, arg);

	bug_if(t->at.process == PROCESS_EXITED);
	t->at.process = PROCESS_EXITED;
	t->at.exit = *x;
	task_move(t);
}

static const struct container_ops container_ops = {
	.started = on_started, .failed = on_failed, .exited = on_exited};

static void container_begin(struct task *t,
			    struct container *(*begin)(struct runtime *r, const struct container_spec *spec))
{
	struct container_spec spec;
	cleanup_free char *bundle = NULL;

	bug_if(t->at.container);
	task_container_spec(t, &spec, &bundle);
	spec.ops = &container_ops;
	t->at.container = begin(t->w->runtime, &spec);
}

/* Whether its files could be made good or not: it may run. */
static void move_restoring(struct task *t)
{
	sm_go(&t->step, STEP_ADOPTING);
	container_begin(t, container_adopt);
}

static void now_running(struct task *t, bool adopted)
{
	sm_go(&t->step, STEP_RUNNING);
	t->at.running_mono_ms = clock_mono_ms(&clock_real);
	if (t->driver && !t->driver_state)
		t->driver_state = t->driver->attach(t);
	task_report(t, TASK_RUNNING, NULL);
	if (adopted) {
		t->status->since_ms = container_since_ms(t->at.container);
		t->at.running_mono_ms -= clock_wall_ms(&clock_real) - t->status->since_ms;
	}
	log_info("task %s: %s pid=%d id=%s attempt=%u", t->row->name, adopted ? "adopted" : "running",
		 container_pid(t->at.container), t->id, t->at.number);
	if (t->driver)
		t->driver->running(t->driver_state, adopted);
}

static void move_adopting(struct task *t)
{
	if (t->at.process == PROCESS_STARTED) {
		now_running(t, true);
	} else if (attempt_has_ended(&t->at) && t->confirmed && task_has_needs(t)) {
		/* A new attempt needs what only the manager can tell: that it is wanted, secrets, addresses. A create
		 * or a tool may still be under way: two servers on one volume must never be. */
		sm_go(&t->step, STEP_REAPING);
		task_reap_start(t);
	}
}

static void move_reaping(struct task *t)
{
	t->prepared = t->prepared && t->net == NET_DONE;
	if (task_told_as_ended(t)) { /* a job that is done does not run again */
		task_finish(t, t->row->status->state, t->row->status->message);
		return;
	}
	if (t->at.process != PROCESS_EXITED) /* nothing is known of it, e.g. after a reboot: not its fault */
		t->crashes = 0;
	task_attempt_over(t);
}

/* ---- permits ---- */

/* Each permit is for one attempt: an old JOIN would let a host that comes back after a power cut start on the
 * word of a Primary that is gone. */
static const Gs__GaleraPermit *permit_due(const struct task *t)
{
	const Gs__GaleraPermit *p = t->row->permit;

	if (!p || p->serial <= t->permit_serial || p->attempt != t->at.number)
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

static void move_holding(struct task *t)
{
	if (t->at.failed.code != 0)
		task_attempt_over(t);
	else if (t->at.answer == ANSWER_HELD)
		sm_go(&t->step, STEP_HELD);
}

static void move_held(struct task *t)
{
	const Gs__GaleraPermit *p = permit_due(t);

	if (!p || p->mode == PERMIT_PC_BOOTSTRAP)
		return;
	if (!p->prefetch || is_withdrawal(p)) { /* else to fetch ahead, it stays held */
		sm_go(&t->step, STEP_PERMITTED);
		t->at.answer = ANSWER_NONE;
	}
	permit_hand_over(t, p);
}

/* The permit was taken back before its process began: no start, and no data, comes of it any more. */
static bool is_called_back(struct task *t)
{
	const Gs__GaleraPermit *p = permit_due(t);

	if (t->at.answer == ANSWER_NONE || !p || !is_withdrawal(p))
		return false;
	t->permit_serial = p->serial;
	err_set(&t->at.failed, E_UNAVAILABLE, "the managers took its permit back");
	return true;
}

static void move_permitted(struct task *t)
{
	if (t->at.failed.code != 0 || is_called_back(t))
		task_attempt_over(t);
	else if (t->at.answer == ANSWER_HOLD_AGAIN) /* genesis is packed: evidence is taken again */
		hold(t);
	else if (t->at.answer == ANSWER_START)
		launch(t);
}

/* ---- the process ---- */

static void move_launching(struct task *t)
{
	if (t->at.failed.code == E_INVALID) {
		task_reject(t, &t->at.failed);
	} else if (t->at.failed.code != 0) {
		task_attempt_over(t);
	} else {
		task_tidy_start(t);
		sm_go(&t->step, STEP_STARTING);
		task_report(t, TASK_STARTING, NULL);
		container_begin(t, container_start);
	}
}

static void move_starting(struct task *t)
{
	if (attempt_has_ended(&t->at))
		task_attempt_over(t);
	else if (t->at.process == PROCESS_STARTED)
		now_running(t, false);
}

static void move_running(struct task *t)
{
	const Gs__GaleraPermit *p;

	if (t->at.process == PROCESS_EXITED) {
		task_attempt_over(t);
		return;
	}
	task_stop_forget(t);
	if (task_net_due(t) || !t->driver)
		return;
	p = permit_due(t);
	if (p && (p->mode == PERMIT_PC_BOOTSTRAP || is_withdrawal(p)))
		permit_hand_over(t, p);
}

static void move_backoff(struct task *t)
{
	if (!t->timer_due)
		return;
	if (t->prepared) {
		next_attempt(t);
		return;
	}
	sm_go(&t->step, STEP_PREPARING);
	task_prepare_start(t);
}

/* ---- the end ---- */

static void move_final(struct task *t)
{
	if (t->tools) { /* one that begins or ends after the clean-up would work on the next task's data */
		task_tools_end(t);
		return;
	}
	sm_go(&t->step, STEP_CLEANING);
	task_clean_start(t);
}

static void move_cleaning(struct task *t)
{
	if (t->clean_err.code == 0) {
		sm_go(&t->step, STEP_CLEAN);
		tasks_kick(t->all); /* the next task of the slot may wait for us */
		return;
	}
	log_warn("task %s: its end cannot be noted, tried again: %s", t->row->name, t->clean_err.msg);
	sm_go(&t->step, STEP_UNNOTED);
	task_timer_set(t, backoff_next(&t->clean_backoff));
}

static void move_unnoted(struct task *t)
{
	if (t->timer_due || task_stop_wanted(t))
		sm_go(&t->step, STEP_FINAL);
}

static void move_clean(struct task *t)
{
	container_free(t->at.container);
	t->at.container = NULL;
	if (!t->assigned || t->stop_all)
		t->freed = true;
}

static void move_once(struct task *t)
{
	static const struct {
		void (*move)(struct task *t);
		bool (*stop)(
			struct task *t); /* asked first when a stop is wanted; NULL: that changes nothing */
	} moves[] = {
		[STEP_NEW] = {move_new, task_stop_before_it_ran},
		[STEP_FOUND] = {move_found, NULL}, /* its process may run */
		[STEP_RESTORING] = {move_restoring, NULL},
		[STEP_ADOPTING] = {move_adopting, task_stop_unclear},
		[STEP_REAPING] = {move_reaping, task_stop_before_it_ran},
		[STEP_PREPARING] = {move_preparing, task_stop_before_it_ran},
		[STEP_HOLDING] = {move_holding, task_stop_before_it_ran},
		[STEP_HELD] = {move_held, task_stop_before_it_ran},
		[STEP_PERMITTED] = {move_permitted, task_stop_before_it_ran},
		[STEP_LAUNCHING] = {move_launching, task_stop_before_it_ran},
		[STEP_STARTING] = {move_starting, task_stop_unclear},
		[STEP_RUNNING] = {move_running, task_stop_running},
		[STEP_BACKOFF] = {move_backoff, task_stop_before_it_ran},
		[STEP_DRAINING] = {task_move_draining, NULL},
		[STEP_STOPPING] = {task_move_stopping, NULL},
		[STEP_KILLING] = {task_move_killing, NULL},
		[STEP_FINAL] = {move_final, NULL},
		[STEP_CLEANING] = {move_cleaning, NULL},
		[STEP_UNNOTED] = {move_unnoted, NULL},
		[STEP_CLEAN] = {move_clean, NULL},
	};
	unsigned step = sm_state(&t->step);

	bug_if(step >= array_size(moves) || !moves[step].move);
	if (!moves[step].stop || !task_stop_wanted(t) || !moves[step].stop(t))
		moves[step].move(t);
}

void task_move(struct task *t)
{
	unsigned before;

	bug_if_off_loop();
	bug_if(t->magic != TASK_MAGIC);
	if (t->moving) {
		t->move_again = true;
		return;
	}
	t->moving = true;
	do {
		before = sm_state(&t->step);
		t->move_again = false;
		if (!t->busy && !t->freed)
			move_once(t);
	} while ((t->move_again || !sm_is(&t->step, before)) && !t->busy && !t->freed);
	t->moving = false;
	if (t->freed && !t->busy)
		task_free(t);
}

/* ---- life ---- */

static void on_timer(void *arg)
{
	struct task *t = magic_of(struct task, TASK_MAGIC, arg);

	t->timer_due = true;
	task_move(t);
}

void task_timer_set(struct task *t, uint64_t delay_ms)
{
	t->timer_due = false;
	loop_timer_set(&t->timer, delay_ms);
}

struct task *task_new(struct tasks *ts, const Gs__Task *row, enum task_step step)
{
	struct task *t = xcalloc(1, sizeof(*t));

	magic_set(t, TASK_MAGIC);
	t->all = ts;
	t->w = ts->w;
	t->id = xstrdup(row->meta->id);
	t->row = obj_dup(row);
	t->from_disk = step != STEP_NEW;
	sm_init(&t->step, &task_kind, step, t->id);
	t->status = obj_new(&gs__task_status__descriptor);
	t->state_dir = xasprintf("%s/tasks/%s", ts->w->dir, t->id);
	t->run_dir = xasprintf("%s/tasks/%s", ts->w->run_dir, t->id);
	t->netns_path = xasprintf("/run/netns/%s", row->name);
	t->log_path = xasprintf("%s/log", t->state_dir);
	t->driver = row->topology == TOPO_GALERA ? ts->above.galera : NULL;
	/* Not from 1 when the managers were told of more: they take no report of an older attempt. */
	attempt_init(t, row->status ? row->status->attempt + 1 : 1);
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
	struct task *t = magic_of(struct task, TASK_MAGIC, arg);

	magic_end(t);
	free(t);
}

static void unlink_task(struct task *t)
{
	bug_if(!t->prev && t->all->list != t);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->all->list = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

void task_free(struct task *t)
{
	struct tasks *ts = t->all;
	bool later = t->busy || t->moving;

	bug_if(t->magic != TASK_MAGIC);
	if (!later || ts->closing) { /* whenever its job comes back: driver and runtime go now */
		if (t->driver_state)
			t->driver->detach(steal(t->driver_state));
		container_free(steal(t->at.container));
	}
	if (later) {
		t->freed = true;
		return;
	}
	task_tools_forget(t);
	attempt_fini(&t->at);
	unlink_task(t);
	tasks_kick(ts);
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
	loop_timer_close(&t->timer, on_timer_closed);
	if (ts->closing)
		tasks_gone(ts);
}
