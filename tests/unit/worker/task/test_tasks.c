// SPDX-License-Identifier: Apache-2.0
/* The table of tasks on a disk and with assignments of all kinds: what no host could run, and notes that cannot be
 * read. No manager, no network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/runtime/container.h"
#include "worker/task/driver.h"
#include "worker/task/intent.h"
#include "worker/task/impl.h"
#include "worker/task/table.h"

#include "tests/unit/worker/task_rig.h"

/* ---- the machine ---- */

/* FINDINGS H2: sixteen functions set the step, and there was no table. */
static void table_of_moves_is_sound(void **s)
{
	struct sm sm;

	assert_null(sm_kind_fault_from(&task_kind, SM(STEP_NEW) | SM(STEP_FOUND)));
	for (unsigned step = STEP_NEW; step < STEP_FINAL; step++) {
		sm_init(&sm, &task_kind, step, NULL);
		/* Whatever happens, it ends, but for one whose process is not known yet. */
		assert_int_equal(sm_may(&sm, STEP_FINAL), step != STEP_FOUND && step != STEP_RESTORING);
		/* A process is started in one place only. */
		assert_int_equal(sm_may(&sm, STEP_STARTING), step == STEP_LAUNCHING);
	}
	for (unsigned step = STEP_FINAL; step <= STEP_CLEAN; step++) {
		sm_init(&sm, &task_kind, step, NULL);
		for (unsigned to = STEP_NEW; to < STEP_FINAL; to++)
			assert_false(sm_may(&sm, to)); /* what has ended stays so */
	}
}

/* ---- W1 ---- */

static void poison_dir(Gs__Task *t)
{
	str_replace(&t->spec->dir, "/\xff");
}
static void poison_hostname(Gs__Task *t)
{
	str_replace(&t->spec->hostname, "a\xc3");
}
static void poison_env(Gs__Task *t)
{
	obj_add_str(&t->spec->n_env, &t->spec->env, "A=\xed\xa0\x80"); /* half a surrogate pair */
}
static void poison_args(Gs__Task *t)
{
	obj_add_str(&t->spec->n_args, &t->spec->args, "\xc0\x80");
}
static void poison_mount(Gs__Task *t)
{
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	str_replace(&m->target, "/\x80");
	obj_add(&t->spec->n_mounts, &t->spec->mounts, m);
}
static void poison_name(Gs__Task *t)
{
	str_replace(&t->name, "../../etc");
}
/* Safety review (7): the attempt after it is 0, which no task has; the worker ended, at each start again. */
static void poison_attempt(Gs__Task *t)
{
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->attempt = UINT32_MAX;
}
static void poison_no_program(Gs__Task *t)
{
	free(t->spec->args[0]);
	t->spec->n_args = 0;
}
static void poison_no_spec(Gs__Task *t)
{
	obj_free(t->spec);
	t->spec = NULL;
}

static const struct {
	void (*poison)(Gs__Task *t);
	const char *says;
} poisons[] = {{poison_dir, "spec.dir"},
	       {poison_hostname, "spec.hostname"},
	       {poison_env, "spec.env"},
	       {poison_args, "spec.args"},
	       {poison_name, "name"},
	       {poison_mount, "spec.mounts.target"},
	       {poison_attempt, "status.attempt"},
	       {poison_no_spec, "no spec"},
	       {poison_no_program, "no program"}};

/* FINDINGS W1: each worker that a bad spec came to aborted, one after the other. */
static void poison_spec_is_rejected_with_its_field(void **s)
{
	struct rig *g = *s;

	for (size_t i = 0; i < array_size(poisons); i++) {
		Gs__Task *t = rig_task(ID_A);
		Gs__TaskStatus *status;

		poisons[i].poison(t);
		tasks_assign(g->w.tasks, t);
		status = rig_wait_state(g, ID_A, TASK_REJECTED);
		assert_non_null(strstr(status->err, poisons[i].says));
		obj_free(status);
		t->meta->version = 2; /* told again, e.g. with a new desired state */
		tasks_assign(g->w.tasks, t);
		tasks_unassign(g->w.tasks, ID_A);
		assert_null(tasks_find(g->w.tasks, ID_A));
		obj_free(t);
	}
}

/* It was written before it was tried, so that each start aborted again. */
static void poison_spec_on_disk_ends_no_start(void **s)
{
	struct rig *g = *s;

	for (size_t i = 0; i < array_size(poisons); i++) {
		cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
		Gs__Task *t = rig_task(ID_A);
		struct err e = {0};

		poisons[i].poison(t);
		assert_int_equal(intent_save_task(at, t, &e), 0);
		if (tasks_load(g->w.tasks, &e) < 0)
			fail_msg("%s", e.msg);
		assert_false(fs_exists(at));
		tasks_assign(g->w.tasks, t);
		obj_free(rig_wait_state(g, ID_A, TASK_REJECTED));
		tasks_unassign(g->w.tasks, ID_A);
		obj_free(t);
	}
}

/* ---- W4 ---- */

static void plant(struct rig *g, const Gs__Task *t)
{
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, t->meta->id);
	cleanup_free char *container = xasprintf("%s/crun/%s.7", g->w.run_dir, t->meta->id);
	Gs__TaskStatus *status = obj_new(&gs__task_status__descriptor);
	struct err e = {0};

	status->state = TASK_COMPLETE;
	status->attempt = 7;
	assert_int_equal(intent_save_task(at, t, &e), 0);
	assert_int_equal(intent_save_attempt(at, 7, &e), 0);
	assert_int_equal(intent_save_final(at, status, &e), 0);
	assert_int_equal(fs_mkdir(container, 0700, &e), 0);
	obj_free(status);
}

/* FINDINGS W4: its folder was removed and its container was ended. */
static void notes_that_cannot_be_read_now_are_read_later(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
	cleanup_free char *container = xasprintf("%s/crun/" ID_A ".7", g->w.run_dir);
	Gs__Task *t = rig_task(ID_A);
	Gs__TaskStatus *status;

	plant(g, t);
	rig_load_out_of_descriptors(g);
	assert_true(fs_exists(at));
	assert_true(fs_exists(container));
	assert_null(tasks_find(g->w.tasks, ID_A));
	assert_false(tasks_net_settled(g->w.tasks));
	tasks_assign(g->w.tasks, t); /* nothing is started on top of what may run */
	assert_null(tasks_find(g->w.tasks, ID_A));
	status = rig_wait_state(g, ID_A, TASK_COMPLETE);
	assert_int_equal(status->attempt, 7);
	assert_true(fs_exists(at));
	assert_true(tasks_net_settled(g->w.tasks));
	obj_free(status);
	obj_free(t);
}

/* Nobody can say whose volumes the unread task holds, and its own successor is known by its slot. */
static void no_volume_is_shared_with_a_task_that_is_not_read(void **s)
{
	struct rig *g = *s;
	Gs__Task *a = rig_task(ID_A), *b = rig_task(ID_B);
	Gs__SlotVolume *v = obj_new(&gs__slot_volume__descriptor);
	Gs__TaskStatus *status;

	plant(g, a);
	rig_load_out_of_descriptors(g);
	str_replace(&b->name, "unit-test-other.1");
	str_replace(&v->target, "/data");
	obj_add(&b->n_volumes, &b->volumes, v);
	tasks_assign(g->w.tasks, b);
	status = rig_wait_state(g, ID_B, TASK_ACCEPTED);
	obj_free(status);
	for (int i = 0; i < 3; i++)
		uv_run(&g->loop, UV_RUN_NOWAIT);
	status = rig_status(g, ID_B);
	assert_int_equal(status->state, TASK_ACCEPTED);
	assert_non_null(strstr(status->message, "cannot be read"));
	obj_free(status);
	obj_free(a);
	obj_free(b);
}

/* A manager took it back while it could not be read. */
static void unread_task_that_nobody_wants_ends(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
	Gs__Task *t = rig_task(ID_A);

	plant(g, t);
	rig_load_out_of_descriptors(g);
	tasks_set_begin(g->w.tasks);
	tasks_set_end(g->w.tasks);
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!g->timed_out && fs_exists(at))
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
	obj_free(t);
}

/* Safety review (7): the next attempt's number was none. */
static void attempt_that_none_can_be_is_damage(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
	Gs__Task *t = rig_task(ID_A);
	struct intent i;
	struct err e = {0};

	assert_int_equal(intent_save_task(at, t, &e), 0);
	assert_int_equal(intent_save_attempt(at, TASK_ATTEMPT_MAX, &e), 0);
	assert_int_equal(intent_load(at, &i, &e), 0);
	obj_free(i.task);
	for (uint32_t n = TASK_ATTEMPT_MAX + 1; n != 0; n = n == UINT32_MAX ? 0 : UINT32_MAX) {
		assert_int_equal(intent_save_attempt(at, n, &e), 0);
		assert_int_equal(intent_load(at, &i, &e), E_CORRUPT);
	}
	obj_free(t);
}

/* ---- tools ---- */

struct tool_seen {
	struct rig *g;
	bool done, timed_out;
	unsigned left; /* traces of it when it was told as done */
};

static unsigned tools_in(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	unsigned n = 0;

	while (d && (entry = readdir(d)))
		n += strstr(entry->d_name, ".tool") ? 1 : 0;
	if (d)
		closedir(d);
	return n;
}

static void on_tool_done(const struct capture_result *r, void *arg)
{
	struct tool_seen *seen = arg;
	cleanup_free char *crun = xasprintf("%s/crun", seen->g->w.run_dir);

	seen->done = true;
	seen->timed_out = r->timed_out;
	seen->left = tools_in(crun);
}

/* FINDINGS W15: a tool that was cut off at its deadline still ran when the next one was told to start. */
static void tool_is_done_when_nothing_of_it_runs(void **s)
{
	struct rig *g = *s;
	const char *argv[] = {"sleep", "100", NULL};
	cleanup_free char *cgroup = xasprintf("/gswarm/%s", g->w.state.node_id);
	struct tool_seen seen = {.g = g};
	Gs__Task *row = rig_task(ID_A);
	struct task *t;

	if (geteuid() != 0 || access(CRUN, X_OK) != 0 || cgroup_layout_get() == CGROUP_NONE)
		skip();
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, ID_A,
				TASK_STARTING)); /* its files are made; there is no network to start it in */
	t = tasks_find(g->w.tasks, ID_A);
	g->timed_out = false;
	loop_timer_set(&g->guard, 20000);
	task_run_tool(t, argv, NULL, 0, 700, on_tool_done, &seen);
	while (!seen.done && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_true(seen.timed_out);
	assert_int_equal(seen.left, 0);
	tasks_unassign(g->w.tasks, ID_A);
	while (tasks_find(g->w.tasks, ID_A) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_false(g->timed_out);
	cgroup_remove(cgroup);
	obj_free(row);
}

/* Fresh review of security, 5: a tool ran without the task's limits. */
static void S5_tool_has_its_tasks_limits(void **s)
{
	struct rig *g = *s;
	const char *argv[] = {"sleep", "100", NULL};
	cleanup_free char *path =
		xasprintf("%s/tasks/" ID_A "/tool%d-1/config.json", g->w.run_dir, (int)getpid());
	cleanup_free char *text = NULL;
	struct tool_seen seen = {.g = g};
	Gs__Task *row = rig_task(ID_A);
	size_t n;

	if (!rig_can_run()) {
		obj_free(row);
		skip();
	}
	row->spec->limits = obj_new(&gs__resources__descriptor);
	row->spec->limits->memory_bytes = 64u << 20;
	row->spec->limits->nano_cpus = 500000000;
	row->spec->limit_pids = 7654;
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, ID_A, TASK_STARTING));
	g->timed_out = false;
	loop_timer_set(&g->guard, 20000);
	task_run_tool(tasks_find(g->w.tasks, ID_A), argv, NULL, 0, 700, on_tool_done, &seen);
	while (!seen.done && !g->timed_out) {
		if (!text)
			fs_read(path, 1 << 20, &text, &n, NULL);
		uv_run(&g->loop, UV_RUN_ONCE);
	}
	tasks_unassign(g->w.tasks, ID_A);
	while (tasks_find(g->w.tasks, ID_A) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_false(g->timed_out);
	assert_non_null(text);
	assert_non_null(strstr(text, "67108864"));
	assert_non_null(strstr(text, "\"quota\""));
	assert_non_null(strstr(text, "7654"));
	obj_free(row);
}

#define POOL 4 /* threads of libuv's pool */

static void pool_work(uv_work_t *req)
{
	uv_sem_wait(req->data);
}

/* Safety review (10): a tool whose files were still being written began when its task's traces were gone. The task has
 * a bind mount, so that its own jobs do not run on the pool, which is held while the task ends. */
static void tool_of_a_task_that_ended_does_not_begin(void **s)
{
	struct rig *g = *s;
	const char *argv[] = {"sleep", "100", NULL};
	cleanup_free char *crun = xasprintf("%s/crun", g->w.run_dir);
	struct tool_seen seen = {.g = g};
	Gs__Mount *m = obj_new(&gs__mount__descriptor);
	Gs__Task *row = rig_task(ID_A);
	uv_work_t held[POOL];
	uv_sem_t go;
	struct task *t;

	m->type = MOUNT_BIND;
	str_replace(&m->source, "/usr/share"); /* not g->abs: it holds the worker's own folders */
	str_replace(&m->target, "/data");
	obj_add(&row->spec->n_mounts, &row->spec->mounts, m);
	if (!rig_can_run()) {
		obj_free(row);
		skip();
	}
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, ID_A, TASK_STARTING));
	assert_int_equal(uv_sem_init(&go, 0), 0);
	for (int i = 0; i < POOL; i++) {
		held[i].data = &go;
		assert_int_equal(uv_queue_work(&g->loop, &held[i], pool_work, NULL), 0);
	}
	g->timed_out = false;
	loop_timer_set(&g->guard, 20000);
	task_run_tool(tasks_find(g->w.tasks, ID_A), argv, NULL, 0, 10000, on_tool_done, &seen);
	tasks_unassign(g->w.tasks, ID_A);
	while ((t = tasks_find(g->w.tasks, ID_A)) && !(task_is(t, STEP_FINAL) && !t->busy) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	for (int i = 0; i < POOL; i++)
		uv_sem_post(&go);
	while (tasks_find(g->w.tasks, ID_A) && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_false(g->timed_out);
	assert_true(seen.done); /* before its task was gone */
	assert_int_equal(tools_in(crun), 0);
	uv_sem_destroy(&go);
	obj_free(row);
}

/* ---- W17 ---- */

/* FINDINGS W17: without a note of its end (a full disk) a job that was done ran again after a restart. */
static void end_is_noted_before_its_traces_go(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
	cleanup_free char *full = xasprintf("%s/final.tmp", at), *final = xasprintf("%s/final", at);
	cleanup_free char *run = xasprintf("%s/tasks/" ID_A, g->w.run_dir);
	Gs__Task *row = rig_task(ID_A);

	if (geteuid() != 0 || access(CRUN, X_OK) != 0)
		skip();
	row->spec->restart = RESTART_NONE;
	assert_int_equal(fs_mkdir(full, 0700, NULL), 0); /* no file can be written under this name */
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, ID_A, TASK_FAILED)); /* there is no network to start it in */
	while (tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_true(fs_exists(run));
	assert_int_equal(rmdir(full), 0);
	rig_run_until(g, rig_is_gone, run);
	assert_true(fs_exists(final));
	tasks_unassign(g->w.tasks, ID_A);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

static void job_that_managers_know_as_done_does_not_run_again(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/" ID_A, g->w.dir);
	Gs__Task *row = rig_task(ID_A);
	struct err e = {0};

	if (geteuid() != 0 || access(CRUN, X_OK) != 0)
		skip();
	assert_int_equal(intent_save_task(at, row, &e), 0);
	assert_int_equal(tasks_load(g->w.tasks, &e), 0);
	row->meta->version = 2;
	row->status = obj_new(&gs__task_status__descriptor);
	row->status->state = TASK_COMPLETE;
	row->status->attempt = 1;
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, ID_A, TASK_COMPLETE));
	tasks_unassign(g->w.tasks, ID_A);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

/* ---- W6 ---- */

/* A file system whose server never answers: whoever looks at it hangs until the descriptor is closed. -1: no FUSE. */
static int dead_mount(const char *at)
{
	char options[96];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (fd < 0 || fs_mkdir(at, 0755, NULL) < 0 || mount("dead", at, "fuse", 0, options) == 0)
		return fd;
	close(fd);
	return -1;
}

static void dead_unmount(int fd, const char *at)
{
	close(fd);
	assert_int_equal(umount2(at, MNT_DETACH), 0);
}

/* FINDINGS W6: four tasks with a bind mount from a dead server took all threads of the pool. */
static void dead_file_system_holds_up_its_own_tasks_only(void **s)
{
	struct rig *g = *s;
	cleanup_free char *dead = xasprintf("%s/dead", g->abs);
	char id[ID_LEN + 1] = "ccccccccccccccccccccccccc";
	Gs__Task *plain = rig_task(ID_A);
	Gs__TaskStatus *status;
	int fd = geteuid() == 0 && access(CRUN, X_OK) == 0 ? dead_mount(dead) : -1;

	if (fd < 0)
		skip();
	for (int i = 0; i < 5; i++) {
		Gs__Mount *m = obj_new(&gs__mount__descriptor);
		Gs__Task *t;

		id[0] = (char)('c' + i);
		t = rig_task(id);
		m->type = MOUNT_BIND;
		str_replace(&m->source, dead);
		str_replace(&m->target, "/data");
		obj_add(&t->spec->n_mounts, &t->spec->mounts, m);
		str_replace(&t->name, id);
		tasks_assign(g->w.tasks, t);
		obj_free(rig_wait_state(g, id, TASK_PREPARING));
		obj_free(t);
	}
	tasks_assign(g->w.tasks, plain);
	obj_free(rig_wait_state(g, ID_A, TASK_STARTING));
	status = rig_status(g, id);
	while (*status->err == '\0' && !g->timed_out) {
		loop_timer_set(&g->guard, 20000);
		uv_run(&g->loop, UV_RUN_ONCE);
		obj_free(status);
		status = rig_status(g, id);
	}
	assert_non_null(strstr(status->err, "does not answer"));
	obj_free(status);
	dead_unmount(fd, dead);
	tasks_set_begin(g->w.tasks);
	tasks_set_end(g->w.tasks);
	while (tasks_running(g->w.tasks) > 0 || tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	obj_free(plain);
}

struct spawned {
	unsigned done;
	struct err err;
};

static void on_spawned(pid_t pid, int pidfd, const struct err *e, void *arg)
{
	struct spawned *n = arg;
	siginfo_t info;

	n->done++;
	n->err = *e;
	if (pidfd < 0)
		return;
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
	close(pidfd);
}

/* The same in the spawner, which had one thread: a dir image there kept everything else from starting. */
static void dead_image_holds_up_no_other_start(void **s)
{
	struct rig *g = *s;
	cleanup_free char *dead = xasprintf("%s/dead", g->abs), *image = xasprintf("%s/sub", dead);
	const char *argv[] = {"/bin/true", NULL}, *env[] = {NULL};
	struct spawned hung = {0}, other = {0};
	struct spawn_spec spec = {.lower = image,
				  .upper = g->abs,
				  .work = g->abs,
				  .mount_at = g->abs,
				  .image = {1, 1}, /* nobody gets as far as to look */
				  .argv = argv,
				  .env = env,
				  .fds = {-1, -1, -1, -1},
				  .done = on_spawned,
				  .arg = &hung};
	int fd = geteuid() == 0 ? dead_mount(dead) : -1;

	if (fd < 0)
		skip();
	rig_worker_close(g); /* its spawner began before the mount: a new one sees it */
	rig_worker_open(g);
	spawner_run(g->w.spawner, &spec);
	spec = (struct spawn_spec){
		.argv = argv, .env = env, .fds = {-1, -1, -1, -1}, .done = on_spawned, .arg = &other};
	spawner_run(g->w.spawner, &spec);
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (other.done == 0 && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_int_equal(other.done, 1);
	assert_int_equal(other.err.code, 0);
	assert_int_equal(hung.done, 0);
	dead_unmount(fd, dead);
	while (hung.done == 0)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_true(hung.err.code < 0);
}

/* The second session's safety review, 11: whoever may rename the image's folder could have anything of the host's put
 * in its place, between the look at it and the mount. */
static void s11_image_that_was_swapped_is_not_mounted(void **s)
{
	struct rig *g = *s;
	cleanup_free char *image = xasprintf("%s/image", g->abs), *ours = xasprintf("%s/ours", g->abs);
	cleanup_free char *upper = xasprintf("%s/upper", g->abs), *work = xasprintf("%s/work", g->abs);
	cleanup_free char *at = xasprintf("%s/at", g->abs);
	cleanup_free char *secret = xasprintf("%s/key", ours);
	cleanup_free char *named = xasprintf("dir:%s", image);
	const char *argv[] = {"/bin/true", NULL}, *env[] = {NULL}, *root;
	const char *folders[] = {image, ours, upper, work, at};
	struct spawned n = {0};
	struct spawn_spec spec = {.lower = image,
				  .upper = upper,
				  .work = work,
				  .mount_at = at,
				  .argv = argv,
				  .env = env,
				  .fds = {-1, -1, -1, -1},
				  .done = on_spawned,
				  .arg = &n};

	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < array_size(folders); i++)
		assert_int_equal(fs_mkdir(folders[i], 0755, NULL), 0);
	assert_int_equal(fs_write(secret, "key", 3, 0600, NULL), 0);
	assert_int_equal(rootfs_image_root(named, ours, NULL, &root, &spec.image, NULL), 0);
	assert_int_equal(rmdir(image), 0);
	assert_int_equal(symlink(ours, image), 0);
	spawner_run(g->w.spawner, &spec);
	while (n.done == 0)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_int_equal(n.err.code, E_FORBIDDEN);
	assert_non_null(strstr(n.err.msg, "another folder"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

/* ---- a start that was given up ---- */

static char given_up_id[ID_LEN + 1]; /* no other test's: whoever reaps ends all processes that name it */

static struct {
	char *first; /* where the runtime keeps the container of attempt 1 */
	unsigned holds;
	bool beside; /* evidence was taken while that container was there */
} given_up;

static void *plain_attach(struct task *t)
{
	return t;
}

static void plain_nothing(void *d)
{
}

/* A database without evidence to take: held at once, and started with its own program when it is permitted. */
static void plain_hold(void *d, uint32_t attempt)
{
	Gs__GaleraEvidence *ev = obj_new(&gs__galera_evidence__descriptor);

	given_up.holds++;
	given_up.beside = given_up.beside || (attempt > 1 && fs_exists(given_up.first));
	ev->attempt = attempt;
	task_held(d, attempt, ev);
	obj_free(ev);
}

static void plain_permit(void *d, const Gs__GaleraPermit *permit)
{
	static const char *const argv[] = {"sh", "-c", "echo up >/run/task/up; exec sleep 100", NULL};

	task_start(d, permit->attempt, argv);
}

static void plain_running(void *d, bool adopted)
{
}

static void plain_stopping(void *d)
{
	task_stop_now(d);
}

static const char *plain_step(void *d)
{
	return "plain";
}

static const struct task_driver_ops plain_driver = {.attach = plain_attach,
						    .detach = plain_nothing,
						    .hold = plain_hold,
						    .permit = plain_permit,
						    .running = plain_running,
						    .exited = plain_nothing,
						    .stopping = plain_stopping,
						    .spec_changed = plain_nothing,
						    .step = plain_step};

static Gs__Task *permitted_task(void)
{
	Gs__Task *row = rig_task(given_up_id);

	row->topology = TOPO_GALERA;
	row->permit = obj_new(&gs__galera_permit__descriptor);
	row->permit->mode = PERMIT_JOIN;
	row->permit->serial = 1;
	row->permit->attempt = 1;
	return row;
}

/* With a runtime that creates the container and then does not answer. */
static void worker_without_answer(struct rig *g, const char *crun)
{
	static const char text[] = "#!/bin/sh\n" CRUN " \"$@\" && exec 9<>\"$0.answer\" && read x <&9\n";
	cleanup_free char *answer = xasprintf("%s.answer", crun);

	assert_int_equal(fs_write(crun, text, strlen(text), 0755, NULL), 0);
	assert_int_equal(mkfifo(answer, 0600), 0);
	rig_worker_close(g);
	g->galera = &plain_driver;
	g->crun = crun;
	g->create_ms = 2000;
	rig_worker_open(g);
}

/* The third session's safety review, 2: the runtime's answer came too late, so the attempt was given up and the next
 * one held; its container was left behind created, and after a restart of the worker it was started on the permit
 * that had gone with it. */
static void start_that_was_given_up_does_not_start(void **s)
{
	struct rig *g = *s;
	cleanup_free char *crun = xasprintf("%s/crun-without-answer", g->abs), *up = NULL, *at = NULL;
	Gs__Task *row;
	Gs__TaskStatus *status;
	struct err e = {0};

	if (!rig_can_run())
		skip();
	rig_netns("unit-test-job.1");
	snprintf(given_up_id, sizeof(given_up_id), "c%024d", (int)getpid());
	given_up.first = xasprintf("%s/crun/%s.1", g->w.run_dir, given_up_id);
	up = xasprintf("%s/tasks/%s/run/up", g->w.run_dir, given_up_id);
	at = xasprintf("%s/tasks/%s", g->w.dir, given_up_id);
	worker_without_answer(g, crun);
	row = permitted_task();
	tasks_assign(g->w.tasks, row);
	rig_wait_step(g, given_up_id, STEP_STARTING);
	rig_wait_step(g, given_up_id, STEP_HELD);
	assert_int_equal(tasks_find(g->w.tasks, given_up_id)->at.number, 2);
	assert_int_equal(given_up.holds, 2);
	assert_false(given_up.beside);
	while (tasks_busy(g->w.tasks))
		uv_run(&g->loop, UV_RUN_ONCE);
	rig_worker_close(g);
	g->crun = NULL;
	rig_worker_open(g);
	if (tasks_load(g->w.tasks, &e) < 0)
		fail_msg("%s", e.msg);
	tasks_assign(g->w.tasks, row);
	status = rig_wait_state(g, given_up_id, TASK_HELD);
	assert_int_equal(status->attempt, 2);
	assert_false(fs_exists(up));
	obj_free(status);
	tasks_unassign(g->w.tasks, given_up_id);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
	free(steal(given_up.first));
	assert_int_equal(umount2("/run/netns/unit-test-job.1", MNT_DETACH), 0);
	assert_int_equal(umount2("/run/netns", MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_of_moves_is_sound),
		TEST(poison_spec_is_rejected_with_its_field),
		TEST(poison_spec_on_disk_ends_no_start),
		TEST(notes_that_cannot_be_read_now_are_read_later),
		TEST(no_volume_is_shared_with_a_task_that_is_not_read),
		TEST(unread_task_that_nobody_wants_ends),
		TEST(attempt_that_none_can_be_is_damage),
		TEST(tool_is_done_when_nothing_of_it_runs),
		TEST(S5_tool_has_its_tasks_limits),
		TEST(tool_of_a_task_that_ended_does_not_begin),
		TEST(end_is_noted_before_its_traces_go),
		TEST(job_that_managers_know_as_done_does_not_run_again),
		TEST(dead_file_system_holds_up_its_own_tasks_only),
		TEST(dead_image_holds_up_no_other_start),
		TEST(s11_image_that_was_swapped_is_not_mounted),
		TEST(start_that_was_given_up_does_not_start),
	};

	if (!rig_mounts_are_ours())
		return 1;
	return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
