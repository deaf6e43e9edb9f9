// SPDX-License-Identifier: Apache-2.0
/* The happy path is a loop that runs until the awaited is there; after ten seconds the test fails. */
#include "tests/unit/worker/task_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/host/spawner.h"
#include "worker/runtime/container.h"

static void on_guard(void *arg)
{
	((struct rig *)arg)->timed_out = true;
}

/* libuv polls after its timers: without a tick it would sleep over what a timer has changed. */
static void on_tick(void *arg)
{
}

void rig_worker_open(struct rig *g)
{
	struct runtime_config config = {.run_dir = g->w.run_dir,
					.crun = g->crun ? g->crun : CRUN,
					.conmon = CONMON,
					.create_ms = g->create_ms};
	cleanup_free char *shared = xasprintf("%s/tasks", g->w.run_dir);
	struct err e = {0};

	/* Where the tasks' own mounts reach what is started. */
	if (geteuid() == 0 && (spawner_share(shared, &e) < 0 || spawner_new(&g->loop, &g->w.spawner, &e) < 0))
		fail_msg("%s", e.msg);
	config.spawner = g->w.spawner;
	assert_int_equal(runtime_new(&g->loop, &config, &g->w.runtime, &e), 0);
	g->w.tasks = tasks_new(&g->w, &(struct tasks_above){.galera = g->galera});
}

void rig_worker_close(struct rig *g)
{
	tasks_free(g->w.tasks);
	runtime_free(g->w.runtime);
	spawner_free(g->w.spawner);
	g->w.tasks = NULL;
}

int rig_open(void **s)
{
	struct rig *g = xcalloc(1, sizeof(*g));

	*s = g;
	log_set_level(LOG_ERROR);
	snprintf(g->dir, sizeof(g->dir), "test-tasks-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	g->abs = realpath(g->dir, NULL);
	uv_loop_init(&g->loop);
	loop_timer_init(&g->guard, &g->loop, on_guard, g);
	loop_timer_init(&g->tick, &g->loop, on_tick, g);
	loop_timer_every(&g->tick, 10, 10);
	g->w.loop = &g->loop;
	g->w.dir = xasprintf("%s/worker", g->abs);
	g->w.run_dir = xasprintf("%s/run", g->abs);
	strcpy(g->w.boot_id, "boot");
	snprintf(g->w.state.node_id, sizeof(g->w.state.node_id), "unit-test-%d", (int)getpid());
	rig_worker_open(g);
	return 0;
}

int rig_close(void **s)
{
	struct rig *g = *s;
	cleanup_free char *shared = xasprintf("%s/tasks", g->w.run_dir);
	cleanup_free char *cgroup = xasprintf("/gswarm/%s", g->w.state.node_id);

	if (g->w.tasks)
		rig_worker_close(g);
	loop_timer_close(&g->guard, NULL);
	loop_timer_close(&g->tick, NULL);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	uv_loop_close(&g->loop);
	if (geteuid() == 0)
		cgroup_remove(cgroup);
	while (umount2(shared, MNT_DETACH) == 0)
		;
	fs_remove_all(g->abs, NULL);
	free(g->abs);
	free(g->w.dir);
	free(g->w.run_dir);
	free(g);
	return 0;
}

Gs__Task *rig_task(const char *id)
{
	Gs__Task *t = obj_new_row(OBJ_TASK, id);

	t->meta->version = 1;
	str_replace(&t->name, "unit-test-job.1");
	str_replace(&t->slot_id, id);
	t->desired = TASK_RUNNING;
	t->spec = obj_new(&gs__task_spec__descriptor);
	obj_add_str(&t->spec->n_args, &t->spec->args, "true");
	return t;
}

Gs__TaskStatus *rig_status(struct rig *g, const char *id)
{
	Gs__ReportRequest *r = obj_new(&gs__report_request__descriptor);
	Gs__TaskStatus *found = NULL;

	tasks_report_anew(g->w.tasks);
	tasks_report_fill(g->w.tasks, r);
	tasks_reported(g->w.tasks, true);
	for (size_t i = 0; i < r->n_tasks; i++)
		if (strcmp(r->tasks[i]->task_id, id) == 0)
			found = obj_dup(r->tasks[i]->status);
	obj_free(r);
	return found;
}

Gs__TaskStatus *rig_wait_state(struct rig *g, const char *id, Gs__TaskState state)
{
	Gs__TaskStatus *status = rig_status(g, id);

	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!g->timed_out && (!status || status->state != state)) {
		uv_run(&g->loop, UV_RUN_ONCE);
		obj_free(status);
		status = rig_status(g, id);
	}
	loop_timer_stop(&g->guard);
	if (g->timed_out)
		fail_msg("task %s: state %d, not %d: %s %s", id, status ? (int)status->state : -1, (int)state,
			 status ? status->message : "", status ? status->err : "");
	return status;
}

void rig_wait_step(struct rig *g, const char *id, enum task_step step)
{
	struct task *t = tasks_find(g->w.tasks, id);

	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!g->timed_out && !(t && task_is(t, step) && !t->busy)) {
		uv_run(&g->loop, UV_RUN_ONCE);
		t = tasks_find(g->w.tasks, id);
	}
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
}

void rig_run_until(struct rig *g, bool (*is)(const char *path), const char *path)
{
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!is(path) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
}

bool rig_is_gone(const char *path)
{
	return !fs_exists(path);
}

void rig_load_out_of_descriptors(struct rig *g)
{
	struct rlimit before, none;
	struct err e = {0};
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC), rc;

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)next + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	rc = tasks_load(g->w.tasks, &e);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (rc < 0)
		fail_msg("%s", e.msg);
}

bool rig_mounts_are_ours(void)
{
	return geteuid() != 0 ||
	       (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

bool rig_can_run(void)
{
	return geteuid() == 0 && access(CRUN, X_OK) == 0 && access(CONMON, X_OK) == 0 &&
	       cgroup_layout_get() != CGROUP_NONE;
}

/* The test's own namespace under that name: nobody else's is touched. */
void rig_netns(const char *name)
{
	cleanup_free char *path = xasprintf("/run/netns/%s", name);
	struct err e = {0};

	if (fs_mkdir("/run/netns", 0755, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=755"), 0);
	assert_int_equal(fs_write(path, "", 0, 0600, &e), 0);
	assert_int_equal(mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL), 0);
}
