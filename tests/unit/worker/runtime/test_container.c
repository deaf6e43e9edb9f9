// SPDX-License-Identifier: Apache-2.0
/* Real processes under conmon and crun: start, exit code, kill, refusal, adoption by a second runtime, a
 * tool's output. Skipped without root or the two programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/image/image.h"
#include "worker/runtime/container.h"

#define CGROUP "/gswarm-unit"

struct fixture {
	uv_loop_t loop;
	struct spawner *spawner;
	struct runtime *runtime;
	struct loop_timer guard;
	char dir[64];
	char *etc, *abs, *bundle, *log, *cgroup, id[48];
	char *crun; /* NULL: the real one */
	bool started, exited, failed, timed_out;
	int pid;
	struct container_exit exit;
	struct err err;
	int64_t create_ms, monitor_ms;
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
	struct runtime_config config = {.run_dir = f->abs,
					.crun = f->crun ? f->crun : CRUN,
					.conmon = CONMON,
					.spawner = f->spawner,
					.create_ms = f->create_ms,
					.monitor_ms = f->monitor_ms};
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
	f->etc = xasprintf("%s/etc", f->abs);
	if (spawner_share(f->abs, &e) < 0 || spawner_new(&f->loop, &f->spawner, &e) < 0)
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

	if (f->abs) {
		runtime_free(f->runtime);
		spawner_free(f->spawner);
		loop_timer_close(&f->guard, NULL);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		uv_loop_close(&f->loop);
		runtime_reap(f->abs, CRUN, f->id, f->cgroup);
		cgroup_remove(CGROUP);
		rootfs_release(f->abs);
		umount2(f->abs, MNT_DETACH);
		fs_remove_all(f->abs, NULL);
		free(f->etc);
		free(f->abs);
		free(f->bundle);
		free(f->log);
		free(f->cgroup);
		free(f->crun);
	}
	free(f);
	return 0;
}

static void bundle_write(struct fixture *f, const char *script)
{
	struct bundle *b = bundle_new();
	const char *argv[] = {"sh", "-c", script, NULL};
	struct rootfs_spec rootfs = {.image = "host",
				     .run_dir = f->abs,
				     .etc_dir = f->etc,
				     .state_dir = f->abs,
				     .hostname = "unit"};
	struct oci_spec spec = {.bundle = b, .argv = argv, .hostname = "unit", .cgroup_path = f->cgroup};
	cleanup_free char *path = xasprintf("%s/config.json", f->bundle);
	cleanup_free char *text = NULL;
	struct err e = {0};

	b->user.uid = 65534;
	b->user.gid = 65534;
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

static pid_t monitor_of(struct fixture *f)
{
	cleanup_free char *path = xasprintf("%s/conmon.pid", f->bundle);
	cleanup_free char *text = NULL;

	assert_int_equal(fs_read(path, 64, &text, NULL, NULL), 0);
	return (pid_t)atoi(text);
}

static void runtime_again(struct fixture *f, int64_t create_ms, int64_t monitor_ms)
{
	runtime_free(f->runtime);
	f->create_ms = create_ms;
	f->monitor_ms = monitor_ms;
	runtime_open(f);
	f->started = f->exited = f->failed = false;
}

/* FINDINGS W5: a monitor that hangs was waited for for ever when it was met at adoption. */
static void hung_monitor_at_adoption_is_killed(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;
	pid_t monitor;

	if (!can_run())
		skip();
	bundle_write(f, "exec sleep 100");
	c = container_start(f->runtime, &spec);
	step(f);
	container_free(c);
	monitor = monitor_of(f);
	assert_int_equal(kill(monitor, SIGSTOP), 0);
	kill(f->pid, SIGKILL);
	while (pid_start_time(f->pid) != 0)
		sched_yield();
	runtime_again(f, 300, 300);
	c = container_adopt(f->runtime, &spec);
	step(f);
	assert_true(f->exited);
	assert_false(f->exit.known);
	assert_int_equal(pid_start_time(monitor), 0);
	container_free(c);
}

/* ---- another process with the number of the container's ---- */

static pid_t taken; /* by somebody who began after the container's own process; 0: by nobody */

int __real_pid_start_read(pid_t pid, uint64_t *ret);
int __wrap_pid_start_read(pid_t pid, uint64_t *ret);
int __wrap_pid_start_read(pid_t pid, uint64_t *ret)
{
	int rc;

	if (pid != taken || !taken)
		return __real_pid_start_read(pid, ret);
	rc = __real_pid_start_read(getpid(), ret);
	*ret += 1;
	return rc;
}

/* Safety review, 13 (suspected, and real): conmon had reaped the process and hung, the number was given to another one,
 * and the end was waited for as long as that one lived. */
static void hung_monitor_is_killed_when_the_number_is_anothers(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct container *c;
	pid_t monitor;

	if (!can_run())
		skip();
	runtime_again(f, 300, 300);
	bundle_write(f, "exec sleep 100");
	c = container_start(f->runtime, &spec);
	step(f);
	monitor = monitor_of(f);
	assert_int_equal(kill(monitor, SIGSTOP), 0);
	taken = f->pid;
	kill(f->pid, SIGKILL);
	step(f);
	taken = 0;
	assert_true(f->exited);
	assert_false(f->exit.known);
	while (pid_start_time(monitor) != 0)
		sched_yield();
	container_free(c);
}

/* The third session's safety review, 2: after a restart the next worker gave the word to a container that the worker
 * before had given up, since the runtime's answer came too late. */
static void created_one_is_not_started_at_adoption(void **s)
{
	static const char text[] = "#!/bin/sh\n" CRUN " \"$@\" && exec 9<>\"$0.answer\" && read x <&9\n";
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	cleanup_free char *fifo = NULL, *answer = NULL;
	struct container *c;

	if (!can_run())
		skip();
	f->crun = xasprintf("%s/crun-without-answer", f->abs);
	answer = xasprintf("%s.answer", f->crun);
	fifo = xasprintf("%s/crun/%s/exec.fifo", f->abs, f->id);
	assert_int_equal(fs_write(f->crun, text, strlen(text), 0755, NULL), 0);
	assert_int_equal(mkfifo(answer, 0600), 0);
	runtime_again(f, 2000, 300);
	bundle_write(f, "exec sleep 20");
	c = container_start(f->runtime, &spec);
	step(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, E_DEADLINE);
	assert_true(fs_exists(fifo)); /* it was created */
	container_free(c);
	runtime_again(f, 2000, 300);
	c = container_adopt(f->runtime, &spec);
	step(f);
	assert_false(f->started);
	assert_true(f->failed);
	assert_int_equal(f->err.code, E_NOT_FOUND);
	assert_true(fs_exists(fifo));
	container_free(c);
}

struct few_files {
	struct rlimit before;
	struct loop_timer timer;
};

static void few_files_begin(struct few_files *l)
{
	struct rlimit none;
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l->before), 0);
	none = l->before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void few_files_end(void *arg)
{
	struct few_files *l = arg;

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l->before), 0);
}

/* FINDINGS W16: without a free descriptor a process that runs was told as "exit unknown", and the next attempt would
 * have run beside it. */
static void out_of_descriptors_is_no_exit(void **s)
{
	struct fixture *f = *s;
	struct container_spec spec = spec_of(f);
	struct few_files files;
	struct container *c;
	int pid;

	if (!can_run())
		skip();
	bundle_write(f, "exec sleep 100");
	c = container_start(f->runtime, &spec);
	step(f);
	pid = f->pid;
	container_free(c);
	runtime_again(f, 200, 200);
	loop_timer_init(&files.timer, &f->loop, few_files_end, &files);
	loop_timer_set(&files.timer, 700);
	c = container_adopt(f->runtime, &spec);
	few_files_begin(&files);
	step(f);
	few_files_end(&files);
	assert_false(f->exited);
	assert_false(f->failed);
	assert_true(f->started);
	assert_int_equal(f->pid, pid);
	loop_timer_close(&files.timer, NULL);
	kill(pid, SIGKILL);
	step(f);
	assert_true(f->exited);
	assert_true(f->exit.known);
	container_free(c);
}

/* FINDINGS W18: the number of a process that ended may be another's now. */
static void another_process_of_that_number(void **s)
{
	uint64_t start = pid_start_time(getpid());
	int fd = pid_open_checked(getpid(), start);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pid_open_checked(getpid(), start + 1), -ESRCH);
	assert_int_equal(pid_open_checked(0, start), -EINVAL);
}

static void on_refused(const struct capture_result *r, void *arg)
{
	struct fixture *f = arg;

	f->failed = true;
	f->err = r->err;
	uv_stop(&f->loop);
}

/* FINDINGS W16: this was an abort. */
static void no_descriptor_for_a_tool(void **s)
{
	struct fixture *f = *s;
	const char *argv[] = {"/bin/true", NULL}, *env[] = {NULL};
	struct capture_spec spec = {.spawn = {.argv = argv, .env = env}, .done = on_refused, .arg = f};
	struct few_files files;

	if (!can_run())
		skip();
	few_files_begin(&files);
	capture_run(&f->loop, f->spawner, &spec);
	few_files_end(&files);
	assert_false(f->failed); /* never from inside */
	step(f);
	assert_true(f->failed);
	assert_int_equal(f->err.code, -EMFILE);
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

static void on_looked(const struct capture_result *r, void *arg)
{
	struct fixture *f = arg;

	f->exited = true;
	assert_string_equal(r->out, "");
	assert_int_equal(r->status, 0);
	uv_stop(&f->loop);
}

/* FINDINGS W10: a descriptor that a library opened without close-on-exec (libmariadb's socket) stays here. */
static void w10_nothing_is_inherited(void **s)
{
	struct fixture *f = *s;
	const char *argv[] = {"/bin/sh", "-c", "test ! -e /proc/$$/fd/57 || echo inherited", NULL};
	const char *env[] = {"PATH=/usr/bin:/bin", NULL};
	struct capture_spec spec = {
		.spawn = {.argv = argv, .env = env}, .deadline_ms = 10000, .done = on_looked, .arg = f};

	if (!can_run())
		skip();
	assert_int_equal(dup2(STDERR_FILENO, 57), 57);
	capture_run(&f->loop, f->spawner, &spec);
	step(f);
	close(57);
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
		cmocka_unit_test_setup_teardown(hung_monitor_at_adoption_is_killed, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(hung_monitor_is_killed_when_the_number_is_anothers,
						open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(created_one_is_not_started_at_adoption, open_fixture,
						close_fixture),
		cmocka_unit_test_setup_teardown(out_of_descriptors_is_no_exit, open_fixture, close_fixture),
		cmocka_unit_test(another_process_of_that_number),
		cmocka_unit_test_setup_teardown(no_descriptor_for_a_tool, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(output_is_captured, open_fixture, close_fixture),
		cmocka_unit_test_setup_teardown(w10_nothing_is_inherited, open_fixture, close_fixture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
