// SPDX-License-Identifier: Apache-2.0
/* Real processes under conmon and crun: start, exit code, kill, refusal, adoption by a second runtime, a
 * tool's output. Skipped without root or the two programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/cgroup.h"
#include "worker/runtime.h"

#define CGROUP "/gswarm-unit"

struct fixture {
	uv_loop_t loop;
	struct spawner *spawner;
	struct runtime *runtime;
	struct loop_timer guard;
	char dir[64];
	char *abs, *bundle, *log, *cgroup, id[48];
	bool started, exited, failed, timed_out;
	int pid;
	struct container_exit exit;
	struct err err;
};

static void on_started(int pid, void *arg)
{
	struct fixture *f = arg;

	f->started = true;
	f->pid = pid;
	uv_stop(&f->loop);
}

static void on_failed(const struct err *e, void *arg)
{
	struct fixture *f = arg;

	f->failed = true;
	f->err = *e;
	uv_stop(&f->loop);
}

static void on_exited(const struct container_exit *x, void *arg)
{
	struct fixture *f = arg;

	f->exited = true;
	f->exit = *x;
	uv_stop(&f->loop);
}

static const struct container_ops ops = {on_started, on_failed, on_exited};

static void on_guard(void *arg)
{
	struct fixture *f = arg;

	f->timed_out = true;
	uv_stop(&f->loop);
}

/* Until one of the three callbacks, or 20 s. */
static void step(struct fixture *f)
{
	loop_timer_set(&f->guard, 20000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(f->timed_out);
}

static bool can_run(void)
{
	return geteuid() == 0 && access(CRUN, X_OK) == 0 && access(CONMON, X_OK) == 0 &&
	       cgroup_layout_get() != CGROUP_NONE;
}

static void runtime_open(struct fixture *f)
{
	struct runtime_config config = {
		.run_dir = f->abs, .crun = CRUN, .conmon = CONMON, .spawner = f->spawner};
	struct err e = {0};

	assert_int_equal(runtime_new(&f->loop, &config, &f->runtime, &e), 0);
}

static int open_fixture(void **s)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e = {0};

	*s = f;
	if (!can_run())
		return 0;
	snprintf(f->dir, sizeof(f->dir), "test-container-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	/* The task's user walks through it to nothing; crun itself is root. */
	f->abs = realpath(f->dir, NULL);
	uv_loop_init(&f->loop);
	loop_timer_init(&f->guard, &f->loop, on_guard, f);
	if (spawner_new(&f->loop, &f->spawner, &e) < 0)
		fail_msg("%s", e.msg);
	snprintf(f->id, sizeof(f->id), "unit-%d.1", (int)getpid());
	f->bundle = xasprintf("%s/1", f->abs);
	f->log = xasprintf("%s/log", f->abs);
	f->cgroup = xasprintf(CGROUP "/%s", f->id);
	runtime_open(f);
	return 0;
}

static int close_fixture(void **s)
{
	struct fixture *f = *s;

	if (f->abs != NULL) {
		runtime_free(f->runtime);
		spawner_free(f->spawner);
		loop_timer_close(&f->guard, NULL);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		uv_loop_close(&f->loop);
		runtime_reap(f->abs, CRUN, f->id, f->cgroup);
		cgroup_remove(CGROUP);
		fs_remove_all(f->abs, NULL);
		free(f->abs);
		free(f->bundle);
		free(f->log);
		free(f->cgroup);
	}
	free(f);
	return 0;
}

static void bundle_write(struct fixture *f, const char *script)
{
	struct bundle *b = bundle_new();
	const char *argv[] = {"sh", "-c", script, NULL};
	struct rootfs_spec rootfs = {
		.image = "host", .run_dir = f->abs, .state_dir = f->abs, .hostname = "unit"};
	struct oci_spec spec = {.bundle = b, .argv = argv, .hostname = "unit", .cgroup_path = f->cgroup};
	cleanup_free char *path = xasprintf("%s/config.json", f->bundle);
	cleanup_free char *text = NULL;
	struct err e = {0};

	b->uid = 65534;
	b->gid = 65534;
	assert_int_equal(rootfs_prepare(b, &rootfs, &e), 0);
	assert_int_equal(rootfs_hosts_write(f->abs, "unit", NULL, &e), 0);
	assert_int_equal(oci_spec_format(&spec, &text, NULL), 0);
	assert_int_equal(fs_mkdir(f->bundle, 0700, &e), 0);
	assert_int_equal(fs_write(path, text, strlen(text), 0600, &e), 0);
	bundle_free(b);
}

static struct container_spec spec_of(struct fixture *f)
{
	return (struct container_spec){
		.id = f->id, .bundle_dir = f->bundle, .log_path = f->log, .ops = &ops, .arg = f};
}

static void runs_and_exits(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;
	char *text;

	if (!can_run())
		skip();
	bundle_write(f, "echo uid=$(id -u) host=$(hostname); test -e /etc/shadow || echo hidden; exit 7");
	c = container_start(f->runtime, &spec);
	step(f);
	assert_true(f->started);
	step(f);
	assert_true(f->exited);
	assert_true(f->exit.known);
	assert_int_equal(f->exit.code, 7);
	assert_int_equal(fs_read(f->log, 65536, &text, NULL, NULL), 0);
	assert_non_null(strstr(text, "uid=65534 host=unit"));
	assert_non_null(strstr(text, "hidden"));
	free(text);
	container_free(c);
}

static void kill_is_seen(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;

	if (!can_run())
		skip();
	bundle_write(f, "exec sleep 100");
	c = container_start(f->runtime, &spec);
	step(f);
	assert_int_equal(container_signal(c, SIGKILL), 0);
	step(f);
	assert_int_equal(f->exit.code, 137);
	container_free(c);
}

static void refusal_has_the_runtimes_words(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	cleanup_free char *path = NULL;
	struct container *c;
	struct err e = {0};

	if (!can_run())
		skip();
	path = xasprintf("%s/config.json", f->bundle);
	assert_int_equal(fs_mkdir(f->bundle, 0700, &e), 0);
	assert_int_equal(fs_write(path, "{}", 2, 0600, &e), 0);
	c = container_start(f->runtime, &spec);
	step(f);
	assert_true(f->failed);
	assert_true(strlen(f->err.msg) > 0);
	container_free(c);
}

/* The worker is killed: its successor finds the process, and the exit that it did not see happen. */
static void adopted_by_a_second_runtime(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;
	int pid;

	if (!can_run())
		skip();
	bundle_write(f, "exec sleep 100");
	c = container_start(f->runtime, &spec);
	step(f);
	pid = f->pid;
	container_free(c);
	runtime_free(f->runtime);
	runtime_open(f);
	f->started = false;
	c = container_adopt(f->runtime, &spec);
	step(f);
	assert_true(f->started);
	assert_int_equal(f->pid, pid);
	container_free(c);
	kill(pid, SIGKILL);
	c = container_adopt(f->runtime, &spec); /* while it ends, or after */
	while (!f->exited)
		step(f);
	assert_int_equal(f->exit.code, 137);
	container_free(c);
}

static void nothing_to_adopt(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;

	if (!can_run())
		skip();
	c = container_adopt(f->runtime, &spec);
	step(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, E_NOT_FOUND);
	container_free(c);
}

static void on_captured(const struct capture_result *r, void *arg)
{
	struct fixture *f = arg;

	f->exited = true;
	assert_int_equal(r->status, 3);
	assert_string_equal(r->out, "given");
	assert_string_equal(r->errout, "bad\n");
	uv_stop(&f->loop);
}

static void output_is_captured(void **s)
{
	struct fixture *f = *s;
	const char *argv[] = {"/bin/sh", "-c", "cat; echo bad >&2; exit 3", NULL};
	const char *env[] = {"PATH=/usr/bin:/bin", NULL};
	struct capture_spec spec = {.spawn = {.argv = argv, .env = env},
				    .input = "given",
				    .input_len = 5,
				    .deadline_ms = 10000,
				    .done = on_captured,
				    .arg = f};

	if (!can_run())
		skip();
	capture_run(&f->loop, f->spawner, &spec);
	step(f);
	assert_true(f->exited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(runs_and_exits, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(kill_is_seen, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(refusal_has_the_runtimes_words, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(adopted_by_a_second_runtime, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(nothing_to_adopt, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(output_is_captured, open_fixture, close_fixture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
