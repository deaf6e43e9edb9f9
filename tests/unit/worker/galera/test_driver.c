// SPDX-License-Identifier: Apache-2.0
/* The Galera driver under a real table of tasks: what it still does to a datadir when its task has been stopped. No
 * server is started; mariadb-server must be installed for the image to be one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/galera/datadir.h"
#include "worker/galera/galera.h"
#include "worker/galera/server_log.h"

#include "tests/unit/worker/task_rig.h"

#define VOLUME "vvvvvvvvvvvvvvvvvvvvvvvvv"
#define CLUSTER "ccccccccccccccccccccccccc"
#define UUID "4fa302da-e4eb-11f1-a25e-3a2748ddb7d0"

static char id_a[ID_LEN + 1], id_b[ID_LEN + 1];

static bool can_hold(void)
{
	struct image_probe image;
	bool can;

	bug_job_begin();
	can = rig_can_run() && options_probe("host", &image, &(struct err){0}) == 0;
	bug_job_end();
	if (can)
		image_probe_fini(&image);
	return can;
}

static int open_galera(void **s)
{
	struct rig *g;

	rig_open(s);
	g = *s;
	rig_worker_close(g);
	g->galera = &galera_driver_ops;
	g->w.blob_dir = xasprintf("%s/blobs", g->abs);
	g->w.exe_dir = xasprintf("%s/exe", g->abs);
	assert_int_equal(fs_mkdir(g->w.blob_dir, 0700, NULL), 0);
	assert_int_equal(fs_mkdir(g->w.exe_dir, 0755, NULL), 0);
	rig_worker_open(g);
	if (rig_can_run())
		rig_netns("unit-test-job.1");
	return 0;
}

static int close_galera(void **s)
{
	struct rig *g = *s;
	char *blobs = g->w.blob_dir, *exe = g->w.exe_dir;
	cleanup_free char *go = xasprintf("%s/go", g->abs);

	fs_write(go, "", 0, 0644, NULL); /* no job of a test that failed waits for it */
	rig_close(s);
	free(blobs);
	free(exe);
	if (!rig_can_run())
		return 0;
	assert_int_equal(umount2("/run/netns/unit-test-job.1", MNT_DETACH), 0);
	return umount2("/run/netns", MNT_DETACH);
}

static Gs__Task *member(const char *id)
{
	Gs__Task *t = rig_task(id);
	Gs__SlotVolume *v = obj_new(&gs__slot_volume__descriptor);
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	t->topology = TOPO_GALERA;
	str_replace(&t->slot_id, id_a);
	str_replace(&t->galera_cluster_id, CLUSTER);
	str_replace(&v->target, DEFAULT_DATADIR);
	str_replace(&v->volume_id, VOLUME);
	obj_add(&t->n_volumes, &t->volumes, v);
	m->type = MOUNT_VOLUME;
	str_replace(&m->target, DEFAULT_DATADIR);
	obj_add(&t->spec->n_mounts, &t->spec->mounts, m);
	return t;
}

/* gswarm-archive as it is, but it begins when the file "go" is there, and says so in "begun". */
static void slow_archiver(struct rig *g)
{
	cleanup_free char *path = xasprintf("%s/gswarm-archive", g->w.exe_dir);
	cleanup_free char *text = xasprintf(
		"#!/bin/sh\ntouch %s/begun\nwhile ! [ -e %s/go ]; do sleep 0.02; done\nexec %s \"$@\"\n",
		g->abs, g->abs, getenv("GSWARM_ARCHIVE"));

	assert_int_equal(fs_write(path, text, strlen(text), 0755, NULL), 0);
}

static void permit_join(struct rig *g, Gs__Task *row, const char *sha256)
{
	row->meta->version++;
	row->permit = obj_new(&gs__galera_permit__descriptor);
	row->permit->mode = PERMIT_JOIN;
	row->permit->epoch = row->permit->serial = row->permit->attempt = 1;
	str_replace(&row->permit->genesis_sha256, sha256);
	tasks_assign(g->w.tasks, row);
}

static void blob_make(struct rig *g, char sha256[SHA256_TEXT])
{
	cleanup_free char *dir = xasprintf("%s/packed", g->abs), *file = xasprintf("%s/ibdata1", dir);
	struct err e = {0};
	uint64_t size;

	assert_int_equal(fs_mkdir(dir, 0755, &e), 0);
	assert_int_equal(fs_write(file, "data", 4, 0600, &e), 0);
	if (archive_pack(getenv("GSWARM_ARCHIVE"), dir, g->w.blob_dir, sha256, &size, &e) < 0)
		fail_msg("%s", e.msg);
}

static bool is_there(const char *path)
{
	return fs_exists(path);
}

static bool says(const Gs__TaskStatus *s, const char *words)
{
	return s && strstr(s->err, words);
}

/* Safety review (4): the archive was still being unpacked into the datadir when the slot's next task had its lock. */
static void unpacking_keeps_the_lock_when_its_task_is_stopped(void **s)
{
	struct rig *g = *s;
	cleanup_free char *begun = xasprintf("%s/begun", g->abs), *go = xasprintf("%s/go", g->abs);
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);
	cleanup_free char *next_at = xasprintf("%s/tasks/%s", g->w.dir, id_b);
	Gs__TaskStatus *status;
	char sha256[SHA256_TEXT];
	Gs__Task *row, *next;

	if (!can_hold())
		skip();
	row = member(id_a);
	next = member(id_b);
	blob_make(g, sha256);
	slow_archiver(g);
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	permit_join(g, row, sha256);
	rig_run_until(g, is_there, begun);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	tasks_assign(g->w.tasks, next);
	status = rig_status(g, id_b);
	loop_timer_set(&g->guard, 10000);
	g->timed_out = false;
	while (!g->timed_out && !says(status, "in use by another task")) {
		uv_run(&g->loop, UV_RUN_ONCE);
		obj_free(status);
		status = rig_status(g, id_b);
		assert_int_not_equal(status ? status->state : TASK_NEW, TASK_HELD);
	}
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
	obj_free(status);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	status = rig_wait_state(g, id_b, TASK_HELD);
	assert_int_equal(status->evidence->epoch, 1); /* what the job wrote last */
	obj_free(status);
	tasks_unassign(g->w.tasks, id_b);
	rig_run_until(g, rig_is_gone, next_at);
	obj_free(row);
	obj_free(next);
}

/* The same of the mark that is written when a server has ended: it came late, over the next task's. */
static void late_mark_leaves_the_next_tasks_alone(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);
	struct datadir other;
	struct volume_mark m = {.state = VOLUME_DIRTY, .epoch = 7, .cluster = CLUSTER};
	struct err e = {0};
	struct task *t;
	Gs__Task *row;
	void *d;

	if (!can_hold())
		skip();
	row = member(id_a);
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	t = tasks_find(g->w.tasks, id_a);
	datadir_init(&other, task_volume_path(t, DEFAULT_DATADIR), task_uid(t), task_gid(t));
	assert_int_equal(foreign_write(other.path, "grastate.dat",
				       "version: 2.1\nuuid: " UUID "\nseqno: 5\nsafe_to_bootstrap: 1\n", 81,
				       &(struct foreign_owner){.mode = 0600}, &e),
			 0);
	assert_int_equal(datadir_mark_store(&other, &m, &e), 0);
	d = galera_driver_ops.attach(t);
	galera_driver_ops.running(d, true); /* what held the lock has let go of it */
	galera_driver_ops.detach(t->driver_state);
	t->driver_state = d;
	if (datadir_lock(&other, &e) < 0)
		fail_msg("%s", e.msg);
	galera_driver_ops.exited(d);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	assert_int_equal(datadir_mark_load(&other, &m, &e), 0);
	assert_int_equal(m.state, VOLUME_DIRTY);
	datadir_fini(&other);
	obj_free(row);
}

/* The managers take back what they gave last. */
static void permit_take_back(struct rig *g, Gs__Task *row)
{
	Gs__GaleraPermit *p = obj_new(&gs__galera_permit__descriptor);

	p->withdraw = true;
	p->epoch = p->attempt = 1;
	p->serial = 2;
	row->meta->version++;
	obj_free(row->permit);
	row->permit = p;
	tasks_assign(g->w.tasks, row);
}

/* HELD, as this attempt; nothing was started meanwhile. */
static void wait_attempt(struct rig *g, const char *id, uint32_t attempt)
{
	Gs__TaskStatus *status = NULL;
	bool is_so = false;

	loop_timer_set(&g->guard, 20000);
	g->timed_out = false;
	while (!g->timed_out && !is_so) {
		uv_run(&g->loop, UV_RUN_ONCE);
		obj_free(status);
		status = rig_status(g, id);
		is_so = status && status->state == TASK_HELD && status->attempt == attempt;
		assert_true(!status || status->state <= TASK_HELD);
	}
	loop_timer_stop(&g->guard);
	obj_free(status);
	assert_true(is_so);
}

/* HEART S3: a permit to bootstrap whose token is void did not go away, whether or not its holder was at it. */
static void permit_is_taken_back(void **s)
{
	struct rig *g = *s;
	cleanup_free char *begun = xasprintf("%s/begun", g->abs), *go = xasprintf("%s/go", g->abs);
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);
	char sha256[SHA256_TEXT];
	Gs__Task *row;

	if (!can_hold())
		skip();
	row = member(id_a);
	blob_make(g, sha256);
	slow_archiver(g);
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	permit_join(g, row, sha256);
	rig_run_until(g, is_there, begun); /* on its way to a start */
	permit_take_back(g, row);
	assert_int_equal(fs_write(go, "", 0, 0644, NULL), 0);
	wait_attempt(g, id_a, 2);
	row->permit->serial++; /* while it is held */
	row->permit->attempt = 2;
	row->meta->version++;
	tasks_assign(g->w.tasks, row);
	wait_attempt(g, id_a, 3);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

/* A container that could not be made ends its attempt before there is a process: the permit of that attempt was used
 * for the next one, whose own was then not heard. */
static void permit_is_for_one_attempt(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);
	Gs__Task *row;
	struct galera *d;

	if (!can_hold())
		skip();
	row = member(id_a);
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	d = tasks_find(g->w.tasks, id_a)->driver_state;
	d->permit = obj_new(&gs__galera_permit__descriptor);
	d->permit->mode = PERMIT_JOIN;
	d->permit->attempt = 1;
	sm_init(&d->step, &galera_kind, GA_STARTING, NULL);
	galera_driver_ops.hold(d, 2);
	while (sm_is(&d->step, GA_EVIDENCE))
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_true(sm_is(&d->step, GA_HELD));
	assert_null(d->permit);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

/* FINDINGS H2: ten functions in four files set the step, and there was no table. */
static void table_of_moves_is_sound(void **s)
{
	struct sm sm;

	assert_null(sm_kind_fault(&galera_kind, GA_IDLE));
	for (unsigned step = GA_IDLE; step <= GA_RUNNING; step++) {
		sm_init(&sm, &galera_kind, step, NULL);
		assert_int_equal(sm_may(&sm, GA_STARTING), step == GA_PREPARING);
		assert_int_equal(sm_may(&sm, GA_PREPARING), step == GA_HELD); /* never without evidence */
		assert_int_equal(sm_may(&sm, GA_GENESIS), step == GA_HELD);
	}
}

/* ---- the log of a server that flips ---- */

/* No server is asked: the test says what a poll saw. */
static struct probe_config watched;
static atomic_uint logs_read;

struct probe *__wrap_probe_new(uv_loop_t *loop, const struct probe_config *config);
void __wrap_probe_free(struct probe *p);
int __real_log_primary_read(const char *path, const struct conmon_mark *since, struct log_primary *ret,
			    struct err *e);
int __wrap_log_primary_read(const char *path, const struct conmon_mark *since, struct log_primary *ret,
			    struct err *e);

struct probe *__wrap_probe_new(uv_loop_t *loop, const struct probe_config *config)
{
	watched = *config;
	return (struct probe *)&watched;
}

void __wrap_probe_free(struct probe *p)
{
}

int __wrap_log_primary_read(const char *path, const struct conmon_mark *since, struct log_primary *ret,
			    struct err *e)
{
	atomic_fetch_add(&logs_read, 1);
	return __real_log_primary_read(path, since, ret, e);
}

static void secret_of(struct rig *g, Gs__Task *row, const char *name)
{
	Gs__SecretRef *ref = obj_new(&gs__secret_ref__descriptor);
	Gs__Secret *s = obj_new_row(OBJ_SECRET, CLUSTER);

	str_replace(&ref->secret_id, CLUSTER);
	str_replace(&ref->name, name);
	obj_add(&row->n_secrets, &row->secrets, ref);
	obj_bytes_set(&s->data, "secret", 6);
	tasks_secret_set(g->w.tasks, s);
	obj_free(s);
}

static void polled(const char *status)
{
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);

	v->sql_open = true;
	v->conf_id = 3;
	str_replace(&v->status, status);
	watched.on_poll(v, false, watched.arg);
	obj_free(v);
}

/* Fresh review of security, 7: a task's own server that says Primary, non-Primary, Primary and so on had 4 MiB of its log
 * read each time, several readings beside each other. */
static void s7_a_server_that_flips_has_its_log_read_with_a_rest(void **s)
{
	struct rig *g = *s;
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);
	uint64_t begin_ms, end_ms;
	struct galera *d;
	Gs__Task *row;

	if (!can_hold())
		skip();
	row = member(id_a);
	secret_of(g, row, "gs_health");
	tasks_assign(g->w.tasks, row);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	d = galera_driver_ops.attach(tasks_find(g->w.tasks, id_a));
	galera_driver_ops.running(d, true);
	assert_non_null(d->probe);
	atomic_store(&logs_read, 0);
	begin_ms = uv_hrtime() / 1000000;
	for (end_ms = begin_ms; end_ms < begin_ms + 2500; end_ms = uv_hrtime() / 1000000) {
		polled("Primary");
		polled("non-Primary");
		uv_run(&g->loop, UV_RUN_ONCE);
	}
	while (d->log_jobs)
		uv_run(&g->loop, UV_RUN_ONCE);
	/* One at once, then one a second: the second one tells that there is a next. */
	assert_in_range(atomic_load(&logs_read), 2, 1 + (end_ms - begin_ms) / 1000);
	galera_driver_ops.detach(d);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

/* ---- a server that is in no group any more (user finding 2) ---- */

static uint64_t disk_free = UINT64_MAX;

uint64_t __wrap_datadir_free_bytes(const struct datadir *d);

uint64_t __wrap_datadir_free_bytes(const struct datadir *d)
{
	return disk_free;
}

/* A held task and a driver of its own that takes its server for running. */
static struct galera *driver_that_watches(struct rig *g, Gs__Task **ret)
{
	struct galera *d;

	*ret = member(id_a);
	secret_of(g, *ret, "gs_health");
	tasks_assign(g->w.tasks, *ret);
	obj_free(rig_wait_state(g, id_a, TASK_HELD));
	d = galera_driver_ops.attach(tasks_find(g->w.tasks, id_a));
	galera_driver_ops.running(d, true);
	assert_non_null(d->probe);
	return d;
}

static void end_driver(struct rig *g, struct galera *d, Gs__Task *row)
{
	cleanup_free char *at = xasprintf("%s/tasks/%s", g->w.dir, id_a);

	galera_driver_ops.detach(d);
	tasks_unassign(g->w.tasks, id_a);
	rig_run_until(g, rig_is_gone, at);
	obj_free(row);
}

static void left_is_said_after_5_s_on_end(void **s)
{
	struct rig *g = *s;
	struct galera *d;
	Gs__Task *row;

	if (!can_hold())
		skip();
	d = driver_that_watches(g, &row);
	polled("Disconnected");
	d->left_since_ms -= 1000; /* a busy machine may add some */
	polled("Disconnected");
	assert_string_equal(d->view->health, "STARTING");
	polled("non-Primary"); /* it has reached the other address */
	polled("Disconnected");
	d->left_since_ms -= 1000;
	polled("Disconnected");
	assert_string_equal(d->view->health, "STARTING");
	d->left_since_ms -= 4000;
	polled("Disconnected");
	assert_string_equal(d->view->health, "LEFT");
	while (d->log_jobs)
		uv_run(&g->loop, UV_RUN_ONCE);
	end_driver(g, d, row);
}

static void ended_says(struct rig *g, struct galera *d, const char *err)
{
	Gs__TaskStatus *status;

	galera_driver_ops.exited(d);
	while (d->marking)
		uv_run(&g->loop, UV_RUN_ONCE);
	status = rig_status(g, id_a);
	assert_string_equal(status->err, err);
	obj_free(status);
}

static void full_disk_is_told_with_the_end(void **s)
{
	struct rig *g = *s;
	struct galera *d;
	Gs__Task *row;

	if (!can_hold())
		skip();
	d = driver_that_watches(g, &row);
	disk_free = 16 << 20;
	ended_says(g, d, "");
	galera_driver_ops.running(d, true);
	disk_free = (16 << 20) - 1;
	ended_says(g, d, "the disk of its volume is full: 15 MiB free");
	end_driver(g, d, row);
	disk_free = UINT64_MAX;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_galera, close_galera)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_of_moves_is_sound),
		TEST(permit_is_taken_back),
		TEST(permit_is_for_one_attempt),
		TEST(unpacking_keeps_the_lock_when_its_task_is_stopped),
		TEST(late_mark_leaves_the_next_tasks_alone),
		TEST(s7_a_server_that_flips_has_its_log_read_with_a_rest),
		TEST(left_is_said_after_5_s_on_end),
		TEST(full_disk_is_told_with_the_end),
	};

	snprintf(id_a, sizeof(id_a), "a%024d", (int)getpid());
	snprintf(id_b, sizeof(id_b), "b%024d", (int)getpid());
	if (!rig_mounts_are_ours())
		return 1;
	return cmocka_run_group_tests_name("galera_driver", tests, NULL, NULL);
}
