// SPDX-License-Identifier: Apache-2.0
/* How a task is stopped. The happy path: the driver drains, the stop signal is sent, the process ends within the
 * grace. What can fail is the drain (the grace runs for it too) and the process, which is killed at the end of its
 * grace, or at once when it would not notice the signal.
 * A worker that ends in the middle leaves a note: the next one adopts the process, sends no second signal (many
 * programs take that for "at once") and waits for what is left of the grace. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/task/impl.h"
#include "worker/task/intent.h"

#define GRACE_DEFAULT_MS 10000
#define HANDLER_MS 1000

bool task_stop_wanted(const struct task *t)
{
	return t->stop_all || !t->assigned || t->row->desired > TASK_RUNNING;
}

uint32_t task_grace_ms(const struct task *t)
{
	uint32_t ms = t->row->spec->stop_grace_ms != 0 ? t->row->spec->stop_grace_ms : GRACE_DEFAULT_MS;

	if (t->grace_max_ms != 0 && t->grace_max_ms < ms)
		ms = t->grace_max_ms;
	return t->stop_all && t->stop_all_grace_ms < ms ? t->stop_all_grace_ms : ms;
}

void task_hurry(struct task *t)
{
	if (task_in(t, SM(STEP_STOPPING) | SM(STEP_DRAINING)))
		task_timer_set(t, task_grace_ms(t));
}

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
	return clock_mono_ms(&clock_real) - t->at.running_mono_ms > HANDLER_MS &&
	       !pid_minds_signal(container_pid(t->at.container), sig);
}

/* An earlier worker sent the signal. A grace that has become shorter since begins now, as task_hurry has it. */
static void wait_on(struct task *t)
{
	int64_t left = t->at.kill_mono_ms - clock_mono_ms(&clock_real), grace = task_grace_ms(t);

	bug_if(!t->from_disk);
	sm_go(&t->step, STEP_STOPPING);
	left = left < 0 ? 0 : left > grace ? grace : left;
	log_info("task %s: told to stop by an earlier worker, %lld ms of its grace are left id=%s",
		 t->row->name, (long long)left, t->id);
	task_timer_set(t, (uint64_t)left);
}

/* What an earlier worker was told has no meaning any more when the managers want it to run: kept, it would have
 * a stop of weeks later kill it at once. */
void task_stop_forget(struct task *t)
{
	if (t->at.kill_mono_ms == 0 || !t->confirmed)
		return;
	bug_if(!task_is(t, STEP_RUNNING) || task_stop_wanted(t));
	t->at.kill_mono_ms = 0;
	intent_drop_stopping(t->run_dir); /* tmpfs */
}

static void send_stop(struct task *t)
{
	int sig = stop_signal(t);
	bool kill;

	bug_if(!t->at.container || sig <= 0 || sig >= NSIG);
	if (t->at.kill_mono_ms != 0) {
		wait_on(t);
		return;
	}
	kill = sig == SIGKILL || stop_is_in_vain(t, sig);
	sm_go(&t->step, kill ? STEP_KILLING : STEP_STOPPING);
	container_signal(t->at.container, kill ? SIGKILL : sig);
	task_timer_set(t, task_grace_ms(t));
	t->at.kill_mono_ms = clock_mono_ms(&clock_real) + task_grace_ms(t);
	if (!kill)
		task_stop_note(t);
}

static void stopped(struct task *t)
{
	char text[320];

	bug_if(t->at.process != PROCESS_EXITED);
	t->status->exit_code = t->at.exit.known ? t->at.exit.code : -1;
	task_finish(t, TASK_SHUTDOWN, attempt_exit_text(&t->at, text, sizeof(text)));
}

bool task_stop_before_it_ran(struct task *t)
{
	task_finish(t, TASK_SHUTDOWN, "stopped before it ran");
	return true;
}

bool task_stop_unclear(struct task *t)
{
	if (t->at.process == PROCESS_EXITED)
		stopped(t);
	return attempt_has_ended(&t->at) && (task_in(t, STEPS_ENDED) || task_stop_before_it_ran(t));
}

bool task_stop_running(struct task *t)
{
	bug_if(!task_is(t, STEP_RUNNING));
	if (t->at.process == PROCESS_EXITED) {
		stopped(t);
	} else if (t->driver_state) {
		sm_go(&t->step, STEP_DRAINING);
		t->at.answer = ANSWER_NONE;
		/* The drain has the grace for itself; a driver that hangs does not hold the stop up. */
		task_timer_set(t, task_grace_ms(t));
		t->driver->stopping(t->driver_state);
	} else {
		send_stop(t);
	}
	return true;
}

void task_move_draining(struct task *t)
{
	bug_if(!t->driver_state);
	if (t->at.process == PROCESS_EXITED)
		stopped(t);
	else if (t->at.answer == ANSWER_DRAINED || t->timer_due)
		send_stop(t);
	else
		task_net_due(t);
}

void task_move_stopping(struct task *t)
{
	if (t->at.process == PROCESS_EXITED) {
		stopped(t);
	} else if (t->timer_due) {
		log_warn("task %s: did not stop in %u ms, KILL id=%s", t->row->name, task_grace_ms(t), t->id);
		sm_go(&t->step, STEP_KILLING);
		container_signal(t->at.container, SIGKILL);
	} else {
		task_net_due(t); /* of one that was adopted in its stop: it takes leave of others */
	}
}

void task_move_killing(struct task *t)
{
	if (t->at.process == PROCESS_EXITED)
		stopped(t);
}
