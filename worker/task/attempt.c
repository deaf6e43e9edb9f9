// SPDX-License-Identifier: Apache-2.0
/* Begin and end of an attempt. The happy path of an end: the exit is said in words, the driver hears of it, and by
 * the service's restart condition the task is either over or gets its next attempt after a back-off. What belongs to
 * an attempt is one struct; the next one replaces it. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/task/impl.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
#define STABLE_MS 60000 /* up for this long: the next crash counts as the first */

void attempt_init(struct task *t, uint32_t number)
{
	bug_if(number == 0 || t->at.container || t->at.argv);
	t->at = (struct attempt){.number = number};
	t->at.container_id = xasprintf("%s.%u", t->id, number);
	t->at.cgroup_path = cgroup_path_new(t->w->state.node_id, t->at.container_id);
	t->status->attempt = number;
}

void attempt_fini(struct attempt *a)
{
	container_free(a->container);
	for (size_t i = 0; a->argv && a->argv[i]; i++)
		free(a->argv[i]);
	free(a->argv);
	free(a->container_id);
	free(a->cgroup_path);
	*a = (struct attempt){0};
}

const char *attempt_exit_text(const struct attempt *a, char *text, size_t n)
{
	if (!a->exit.known)
		snprintf(text, n, "exit unknown (its monitor died)");
	else if (a->exit.code == 137 && a->exit.oom)
		snprintf(text, n, "exit 137: out of memory");
	else if (a->exit.code > 128)
		snprintf(text, n, "exit %d: signal %d", a->exit.code, a->exit.code - 128);
	else
		snprintf(text, n, "exit %d", a->exit.code);
	return text;
}

void task_finish(struct task *t, Gs__TaskState state, const char *message)
{
	bug_if(state <= TASK_RUNNING);
	loop_timer_stop(&t->timer);
	if (t->driver_state)
		t->driver->detach(t->driver_state);
	t->driver_state = NULL;
	sm_go(&t->step, STEP_FINAL);
	task_report(t, state, message);
	log_info("task %s: %s%s%s id=%s attempt=%u", t->row->name, task_state_name(state),
		 *message ? ": " : "", message, t->id, t->at.number);
}

void task_reject(struct task *t, const struct err *why)
{
	bug_if(why->code == 0 || t->at.process == PROCESS_STARTED);
	str_replace(&t->status->err, why->msg);
	task_finish(t, TASK_REJECTED, why->msg);
}

bool task_told_as_ended(const struct task *t)
{
	const Gs__TaskStatus *told = t->row->status;

	return t->at.process != PROCESS_EXITED && told &&
	       (told->state == TASK_COMPLETE || told->state == TASK_FAILED);
}

/* What an ended process means for a task that nobody wanted stopped. False: try again. */
static bool exit_is_final(const struct task *t, Gs__TaskState *ret)
{
	bool ok = t->at.process == PROCESS_EXITED && t->at.exit.known && t->at.exit.code == 0;

	if (t->row->spec->restart == RESTART_ANY)
		return false;
	if (!ok && t->row->spec->restart == RESTART_ON_FAILURE)
		return false;
	*ret = ok ? TASK_COMPLETE : TASK_FAILED;
	return true;
}

static uint64_t restart_wait_ms(const struct task *t)
{
	if (t->at.withdrawn.code != 0 || t->crashes <= 1)
		return 0; /* no crash, or the first: at once */
	return backoff_jitter(backoff_doubled(BACKOFF_FIRST_MS, BACKOFF_LAST_MS, t->crashes - 2));
}

/* Only attempts that were launched are on disk, so a worker that died may have told the managers a higher
 * number. They take no report of an older attempt. */
static uint32_t attempt_next(const struct task *t)
{
	const Gs__TaskStatus *told = t->row->status;
	uint32_t n = told && told->attempt > t->at.number ? told->attempt : t->at.number;

	bug_if(n == UINT32_MAX); /* notes and rows with more than TASK_ATTEMPT_MAX are refused */
	return n + 1;
}

static void attempt_replace(struct task *t)
{
	uint32_t number = attempt_next(t);

	bug_if(number <= t->at.number);
	if (t->at.container) {
		bug_if(t->untidy.attempt != 0); /* each launch tidies */
		t->untidy.attempt = t->at.number;
		t->untidy.alive = attempt_may_live(&t->at);
		/* A file that it needs may be missing: made anew. */
		t->prepared = t->prepared && t->at.process == PROCESS_EXITED;
	}
	attempt_fini(&t->at);
	attempt_init(t, number);
	obj_set(&t->status->view, NULL);
	obj_set(&t->status->evidence, NULL);
	obj_set(&t->status->genesis, NULL);
	str_replace(&t->status->progress, "");
	t->status->pid = 0;
}

/* In words, into the status. */
static void end_describe(struct task *t, char *text, size_t n)
{
	const struct attempt *a = &t->at;

	if (a->withdrawn.code != 0)
		snprintf(text, n, "%s", a->withdrawn.msg);
	else if (a->process != PROCESS_EXITED)
		snprintf(text, n, "%s", a->failed.msg);
	else
		attempt_exit_text(a, text, n);
	t->status->exit_code = a->process == PROCESS_EXITED && a->exit.known ? a->exit.code : -1;
	str_replace(&t->status->err, text);
}

static void crash_count(struct task *t)
{
	if (t->at.running_mono_ms != 0 && clock_mono_ms(&clock_real) - t->at.running_mono_ms >= STABLE_MS)
		t->crashes = 0;
	if (t->at.withdrawn.code == 0)
		t->crashes++;
}

void task_attempt_over(struct task *t)
{
	bool withdrawn = t->at.withdrawn.code != 0;
	Gs__TaskState final;
	char text[320];
	uint64_t wait;

	bug_if(!attempt_has_ended(&t->at));
	end_describe(t, text, sizeof(text));
	if (t->driver_state && t->at.running_mono_ms != 0)
		t->driver->exited(t->driver_state);
	if (!withdrawn && exit_is_final(t, &final)) {
		task_finish(t, final, final == TASK_COMPLETE ? "finished" : text);
		return;
	}
	crash_count(t);
	wait = restart_wait_ms(t);
	attempt_replace(t);
	log_info("task %s: %s, attempt %u in %llu ms id=%s", t->row->name, text, t->at.number,
		 (unsigned long long)wait, t->id);
	sm_go(&t->step, STEP_BACKOFF);
	/* Told at once: within an attempt a report only moves forward, and a held task has HELD before it. */
	task_report(t, t->driver ? TASK_PREPARING : TASK_STARTING,
		    withdrawn ? "waits for its turn again" : "restarts after a crash");
	task_timer_set(t, wait);
	t->timer_due = wait == 0;
}
