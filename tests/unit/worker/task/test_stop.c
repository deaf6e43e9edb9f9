// SPDX-License-Identifier: Apache-2.0
/* Stops of real processes, with the worker killed in the middle. Skipped without root or the two programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/task/intent.h"

#include "tests/unit/worker/task_rig.h"

/* Not those of any other test: whoever reaps a container ends all processes that name it. */
static char id_a[ID_LEN + 1], id_b[ID_LEN + 1];

#define GRACE_MS 3600000
/* Tells by its exit code how often it was told to stop; a second signal has half a second to come. */
#define COUNTS                                                                                               \
	"n=0; trap 'n=$((n+1))' TERM; echo up >/run/task/up; while [ $n = 0 ]; do sleep 0.05; done; "        \
	"i=0; while [ $i -lt 10 ] || ! [ -e /run/task/go ]; do sleep 0.05; i=$((i+1)); done; exit $n"
#define IGNORES "trap '' TERM; echo up >/run/task/up; while :; do sleep 0.1; done"

static int open_stop(void **s)
{
	rig_open(s);
	if (rig_can_run())
		rig_netns("unit-test-job.1");
	return 0;
}

static int close_stop(void **s)
{
	struct rig *g = *s;
	cleanup_free char *cgroup = xasprintf("/gswarm/%s", g->w.state.node_id);

	for (int attempt = 1; rig_can_run() && attempt < 4; attempt++) { /* of a test that failed */
		cleanup_free char *left = xasprintf("%s/%s.%d", cgroup, id_a, attempt);

		cgroup_kill(left);
	}
	rig_close(s);
	if (!rig_can_run())
		return 0;
	cgroup_remove(cgroup);
	assert_int_equal(umount2("/run/netns/unit-test-job.1", MNT_DETACH), 0);
	return umount2("/run/netns", MNT_DETACH);
}

static Gs__Task *shell_task(const char *id, const char *script)
{
	Gs__Task *t = rig_task(id);

	free(t->spec->args[0]);
	t->spec->n_args = 0;
	obj_add_str(&t->spec->n_args, &t->spec->args, "sh");
	obj_add_str(&t->spec->n_args, &t->spec->args, "-c");
	obj_add_str(&t->spec->n_args, &t->spec->args, script);
	t->spec->stop_grace_ms = GRACE_MS;
	return t;
}

static bool is_there(const char *path)
{
	return fs_exists(path);
}

/* Until its program has set its traps, so that it minds the signal. */
static void run_up(struct rig *g, Gs__Task *row)
{
	cleanup_free char *up = xasprintf("%s/tasks/%s/run/up", g->w.run_dir, row->meta->id);

	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, row->meta->id, TASK_RUNNING));
	rig_run_until(g, is_there, up);
}

static void stop(struct rig *g, Gs__Task *row)
{
	row->meta->version++;
	row->desired = TASK_SHUTDOWN;
	tasks_assign(g->w.tasks, row);
}

/* As after kill -9: what ran goes on. */
static void worker_again(struct rig *g)
{
	struct err e = {0};

	while (tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	rig_worker_close(g);
	rig_worker_open(g);
	if (tasks_load(g->w.tasks, &e) < 0)
		fail_msg("%s", e.msg);
}

static void end(struct rig *g, Gs__Task *row)
{
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, row->meta->id);

	tasks_unassign(g->w.tasks, row->meta->id);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

/* Safety review (3): the next worker killed the process at once and told that it never ran. */
static void stop_goes_on_under_the_next_worker(void **s)
{
	struct rig *g = *s;
	cleanup_free char *go = xasprintf("%s/tasks/%s/run/go", g->w.run_dir, id_a);
	Gs__Task *row;
	Gs__TaskStatus *status;
	int64_t kill_mono_ms;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	run_up(g, row);
	stop(g, row);
	rig_wait_step(g, id_a, STEP_STOPPING);
	worker_again(g);
	rig_wait_step(g, id_a, STEP_STOPPING);
	kill_mono_ms = tasks_find(g->w.tasks, id_a)->at.kill_mono_ms;
	assert_true(kill_mono_ms > 0);
	worker_again(g); /* and the one after it */
	rig_wait_step(g, id_a, STEP_STOPPING);
	assert_int_equal(tasks_find(g->w.tasks, id_a)->at.kill_mono_ms, kill_mono_ms);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	status = rig_wait_state(g, id_a, TASK_SHUTDOWN);
	assert_string_equal(status->message, "exit 1"); /* it was told once */
	assert_int_equal(status->exit_code, 1);
	obj_free(status);
	end(g, row);
}

/* The same when the managers took it away while no worker was there: nothing on disk says that it is to stop. */
static void stop_of_one_that_was_taken_away_goes_on(void **s)
{
	struct rig *g = *s;
	cleanup_free char *go = xasprintf("%s/tasks/%s/run/go", g->w.run_dir, id_a);
	Gs__Task *row;
	struct task *t;
	Gs__TaskStatus *status;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	run_up(g, row);
	worker_again(g);
	t = tasks_find(g->w.tasks, id_a);
	assert_true(task_is(t, STEP_FOUND));
	stop(g, row);
	rig_wait_step(g, id_a, STEP_STOPPING);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	status = rig_wait_state(g, id_a, TASK_SHUTDOWN);
	assert_string_equal(status->message, "exit 1");
	obj_free(status);
	end(g, row);
}

/* What is left of the grace, not all of it again. */
static void grace_is_not_begun_anew(void **s)
{
	struct rig *g = *s;
	cleanup_free char *run = xasprintf("%s/tasks/%s", g->w.run_dir, id_a);
	Gs__Task *row;
	Gs__TaskStatus *status;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, IGNORES);
	run_up(g, row);
	stop(g, row);
	rig_wait_step(g, id_a, STEP_STOPPING);
	assert_int_equal(intent_save_stopping(run, tasks_find(g->w.tasks, id_a)->at.number,
					      clock_mono_ms(&clock_real), NULL),
			 0);
	worker_again(g);
	status = rig_wait_state(g, id_a, TASK_SHUTDOWN);
	assert_string_equal(status->message, "exit 137: signal 9");
	obj_free(status);
	end(g, row);
}

/* The third session's safety review, 12: the leave that had begun a stop was given up; the note of it had the next
 * stop, however much later, kill the process at once. */
static void note_of_a_stop_that_is_off_is_dropped(void **s)
{
	struct rig *g = *s;
	cleanup_free char *go = xasprintf("%s/tasks/%s/run/go", g->w.run_dir, id_a);
	cleanup_free char *run = xasprintf("%s/tasks/%s", g->w.run_dir, id_a);
	cleanup_free char *note = xasprintf("%s/stopping", run);
	Gs__Task *row;
	Gs__TaskStatus *status;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	run_up(g, row);
	assert_int_equal(intent_save_stopping(run, tasks_find(g->w.tasks, id_a)->at.number,
					      clock_mono_ms(&clock_real), NULL),
			 0);
	worker_again(g);
	rig_wait_step(g, id_a, STEP_RUNNING);
	assert_true(fs_exists(note)); /* nobody has told yet that it is to run */
	tasks_assign(g->w.tasks, row);
	rig_run_until(g, rig_is_gone, note);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	stop(g, row);
	status = rig_wait_state(g, id_a, TASK_SHUTDOWN);
	assert_string_equal(status->message, "exit 1");
	obj_free(status);
	end(g, row);
}

/* It ended while no worker was there. */
static void end_without_a_worker_is_told_as_it_was(void **s)
{
	struct rig *g = *s;
	cleanup_free char *go = xasprintf("%s/tasks/%s/run/go", g->w.run_dir, id_a);
	cleanup_free char *exited = NULL;
	Gs__Task *row;
	Gs__TaskStatus *status;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	run_up(g, row);
	stop(g, row);
	rig_wait_step(g, id_a, STEP_STOPPING);
	exited = xasprintf("%s/exits/%s", g->w.run_dir, tasks_find(g->w.tasks, id_a)->at.container_id);
	rig_worker_close(g);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	rig_run_until(g, is_there, exited);
	rig_worker_open(g);
	assert_int_equal(tasks_load(g->w.tasks, &(struct err){0}), 0);
	status = rig_wait_state(g, id_a, TASK_SHUTDOWN);
	assert_string_equal(status->message, "exit 1");
	obj_free(status);
	end(g, row);
}

/* Two of one slot are on disk: the one that is to stop does not wait for the other to end. */
static void stop_does_not_wait_for_the_slot(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_b);
	Gs__Task *row, *twin;
	Gs__TaskStatus *status;
	uint32_t attempt;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	twin = shell_task(id_b, COUNTS);
	run_up(g, row);
	attempt = tasks_find(g->w.tasks, id_a)->at.number;
	str_replace(&twin->slot_id, id_a);
	twin->desired = TASK_SHUTDOWN;
	assert_int_equal(intent_save_task(at, twin, &(struct err){0}), 0);
	worker_again(g);
	obj_free(rig_wait_state(g, id_b, TASK_SHUTDOWN));
	status = rig_wait_state(g, id_a, TASK_RUNNING);
	assert_int_equal(status->attempt, attempt);
	obj_free(status);
	end(g, twin);
	tasks_find(g->w.tasks, id_a)->row->spec->stop_grace_ms = 1;
	end(g, row);
}

static int pid_of(struct rig *g, const char *id)
{
	return container_pid(tasks_find(g->w.tasks, id)->at.container);
}

/* One that has ended and waits for its parent does not. */
static bool runs(int pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/stat", pid);
	cleanup_free char *text = NULL;

	return fs_read(path, 4096, &text, NULL, NULL) == 0 && !strstr(text, ") Z ");
}

struct left {
	struct rig *g;
	int pid;
	bool done, alive;
};

static void on_all_stopped(void *arg)
{
	struct left *l = arg;

	l->done = true;
	l->alive = runs(l->pid);
}

/* Safety review (5): a leave was done at once, and left the database running that it could not read of. */
static void leave_ends_what_could_not_be_read(void **s)
{
	struct rig *g = *s;
	struct left left = {.g = g};
	Gs__Task *row;

	if (!rig_can_run())
		skip();
	row = shell_task(id_a, COUNTS);
	row->spec->stop_grace_ms = 1;
	run_up(g, row);
	left.pid = pid_of(g, id_a);
	while (tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	rig_worker_close(g);
	rig_worker_open(g);
	rig_load_out_of_descriptors(g);
	tasks_stop_all(g->w.tasks, 1, on_all_stopped, &left);
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!left.done && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_true(left.done);
	assert_false(left.alive);
	obj_free(row);
}

/* Safety review (9): while the container of a damaged note was being ended, a new task started on the same data. */
static void start_waits_for_what_is_being_ended(void **s)
{
	struct rig *g = *s;
	cleanup_free char *attempt = xasprintf("%s/tasks/%s/attempt", g->w.dir, id_a);
	Gs__SlotVolume *v = obj_new(&gs__slot_volume__descriptor);
	Gs__Task *row, *next = rig_task(id_b);
	int pid;

	str_replace(&v->target, "/data");
	obj_add(&next->n_volumes, &next->volumes, v);
	if (!rig_can_run()) {
		obj_free(next);
		skip();
	}
	row = shell_task(id_a, COUNTS);
	run_up(g, row);
	pid = pid_of(g, id_a);
	assert_int_equal(fs_write(attempt, "damaged\n", 8, 0600, NULL), 0);
	worker_again(g);
	tasks_assign(g->w.tasks, next);
	rig_wait_step(g, id_b, STEP_NEW);
	assert_true(runs(pid));
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (task_is(tasks_find(g->w.tasks, id_b), STEP_NEW) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
	assert_false(runs(pid));
	end(g, next);
	obj_free(row);
}

/* A table that was closed while a job of a task was under way was freed before the job came back. */
static void table_is_kept_for_its_jobs(void **s)
{
	struct rig *g = *s;
	Gs__Task *row = rig_task(id_a);

	tasks_assign(g->w.tasks, row);
	while (!tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	rig_worker_close(g);
	obj_free(row);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_stop, close_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(stop_goes_on_under_the_next_worker),
		TEST(stop_of_one_that_was_taken_away_goes_on),
		TEST(grace_is_not_begun_anew),
		TEST(note_of_a_stop_that_is_off_is_dropped),
		TEST(end_without_a_worker_is_told_as_it_was),
		TEST(stop_does_not_wait_for_the_slot),
		TEST(leave_ends_what_could_not_be_read),
		TEST(start_waits_for_what_is_being_ended),
		TEST(table_is_kept_for_its_jobs),
	};

	snprintf(id_a, sizeof(id_a), "a%024d", (int)getpid());
	snprintf(id_b, sizeof(id_b), "b%024d", (int)getpid());
	if (!rig_mounts_are_ours())
		return 1;
	return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}
