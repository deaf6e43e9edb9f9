// SPDX-License-Identifier: Apache-2.0
/* The manager's process as the worker keeps it, with a program of ours in its place. Skipped without root or the user
 * _gswarm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/context/worker.h"
#include "worker/host/spawner.h"
#include "worker/node/manager_process.h"

#define UNWATCHED_MAX 8

/* The next `deny` processes cannot be watched, as when no descriptor is free. */
static unsigned deny, denied;
static int denied_pid[UNWATCHED_MAX];

struct pid_watch *__real_pid_watch_new(uv_loop_t *loop, int take_pidfd, bool is_child,
				       void (*ended)(int, void *), void *arg);
struct pid_watch *__wrap_pid_watch_new(uv_loop_t *loop, int take_pidfd, bool is_child,
				       void (*ended)(int, void *), void *arg);

static int pid_of_fd(int pidfd)
{
	cleanup_free char *path = xasprintf("/proc/self/fdinfo/%d", pidfd);
	cleanup_free char *text = NULL;
	const char *at;

	if (fs_read(path, 4096, &text, NULL, NULL) < 0 || !(at = strstr(text, "\nPid:")))
		return 0;
	return atoi(at + 5);
}

struct pid_watch *__wrap_pid_watch_new(uv_loop_t *loop, int take_pidfd, bool is_child,
				       void (*ended)(int, void *), void *arg)
{
	if (deny == 0)
		return __real_pid_watch_new(loop, take_pidfd, is_child, ended, arg);
	deny--;
	assert_true(denied < UNWATCHED_MAX);
	denied_pid[denied++] = pid_of_fd(take_pidfd);
	close(take_pidfd);
	return NULL;
}

struct rig {
	uv_loop_t loop;
	struct worker w;
	struct loop_timer guard;
	char dir[48];
	bool timed_out, stopped;
};

static void on_guard(void *arg)
{
	((struct rig *)arg)->timed_out = true;
}

static bool can_run(void)
{
	return geteuid() == 0 && getpwnam("_gswarm") && access("/usr/bin/setpriv", X_OK) == 0;
}

/* It stays until it is told to end. */
static void program_write(struct rig *g)
{
	static const char text[] = "#!/bin/sh\nexec sleep 1000\n";
	cleanup_free char *path = xasprintf("%s/gswarm-manager", g->dir);

	assert_int_equal(chmod(g->dir, 0755), 0);
	assert_int_equal(fs_write(path, text, strlen(text), 0755, NULL), 0);
}

static int open_rig(void **s)
{
	struct rig *g = xcalloc(1, sizeof(*g));
	struct err e = {0};

	*s = g;
	log_set_level(LOG_ERROR);
	deny = denied = 0;
	strcpy(g->dir, "/tmp/gsw-test-manager-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	uv_loop_init(&g->loop);
	loop_timer_init(&g->guard, &g->loop, on_guard, g);
	g->w.loop = &g->loop;
	g->w.state_dir = xasprintf("%s/state", g->dir);
	g->w.dir = xasprintf("%s/state/worker", g->dir);
	g->w.run_dir = xasprintf("%s/run", g->dir);
	g->w.exe_dir = g->dir;
	g->w.log_level = "error";
	assert_int_equal(fs_mkdir(g->w.dir, 0755, &e), 0);
	assert_int_equal(fs_mkdir(g->w.run_dir, 0755, &e), 0);
	if (!can_run())
		return 0;
	program_write(g);
	if (spawner_new(&g->loop, &g->w.spawner, &e) < 0)
		fail_msg("%s", e.msg);
	g->w.manager = manager_proc_new(&g->w);
	return 0;
}

static int close_rig(void **s)
{
	struct rig *g = *s;

	if (g->w.manager)
		manager_proc_free(g->w.manager);
	spawner_free(g->w.spawner);
	loop_timer_close(&g->guard, NULL);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	uv_loop_close(&g->loop);
	fs_remove_all(g->dir, NULL);
	free(g->w.state_dir);
	free(g->w.dir);
	free(g->w.run_dir);
	free(g);
	return 0;
}

static void on_stopped(void *arg)
{
	((struct rig *)arg)->stopped = true;
}

static void wait_pid(struct rig *g)
{
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (manager_proc_pid(g->w.manager) == 0 && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
}

static void stop(struct rig *g)
{
	manager_proc_stop(g->w.manager, on_stopped, g);
	g->timed_out = false;
	loop_timer_set(&g->guard, 10000);
	while (!g->stopped && !g->timed_out)
		uv_run(&g->loop, UV_RUN_ONCE);
	loop_timer_stop(&g->guard);
	assert_false(g->timed_out);
	assert_int_equal(manager_proc_pid(g->w.manager), 0);
}

/* Safety review (6): it ran on, and nobody saw it end; a stop looked into a watch that was not there. */
static void one_that_cannot_be_watched_is_not_left_running(void **s)
{
	struct rig *g = *s;
	int pid;

	if (!can_run())
		skip();
	deny = 2;
	manager_proc_want(g->w.manager);
	wait_pid(g);
	assert_int_equal(denied, 2);
	pid = manager_proc_pid(g->w.manager);
	for (unsigned i = 0; i < denied; i++) {
		assert_true(denied_pid[i] > 0 && denied_pid[i] != pid);
		assert_int_equal(pid_start_time(denied_pid[i]), 0); /* it has ended */
	}
	stop(g);
	assert_int_equal(pid_start_time(pid), 0);
}

/* The same when it is not wanted any more by then. */
static void stop_of_one_that_cannot_be_watched(void **s)
{
	struct rig *g = *s;

	if (!can_run())
		skip();
	deny = 1;
	manager_proc_want(g->w.manager);
	while (denied == 0)
		uv_run(&g->loop, UV_RUN_ONCE);
	stop(g);
	assert_int_equal(pid_start_time(denied_pid[0]), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_that_cannot_be_watched_is_not_left_running),
		TEST(stop_of_one_that_cannot_be_watched),
	};

	return cmocka_run_group_tests_name("manager_process", tests, NULL, NULL);
}
