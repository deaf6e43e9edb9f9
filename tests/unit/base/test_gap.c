// SPDX-License-Identifier: Apache-2.0
/* FINDINGS W, last line: how long a callback keeps the loop is counted, by name, less what the machine kept the thread
 * from running. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
// after the headers it needs
#include <cmocka.h>

#include "base/gap.h"
#include "base/loop.h"
#include "base/mem.h"

#define MS 1000000ull

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_nsec = (long)(ms * MS)};

	nanosleep(&ts, NULL);
}

static void on_slow(void *arg)
{
	sleep_ms(60);
}

static void inner(void)
{
	LOOP_SCOPE();
	sleep_ms(30);
}

static void on_outer(void *arg)
{
	inner();
}

static void on_quick(void *arg)
{
}

static void on_spin(void *arg)
{
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 60 * MS;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}

static unsigned yields; /* the next looks at how long it has waited find it just waiting */

ssize_t __real_pread64(int fd, void *data, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *data, size_t n, off_t at);

ssize_t __wrap_pread64(int fd, void *data, size_t n, off_t at)
{
	if (yields) {
		yields--;
		sched_yield();
	}
	return __real_pread64(fd, data, n, at);
}

static void on_spin_and_yield(void *arg)
{
	on_spin(arg);
	yields = 2;
}

static void run(void (*fire)(void *arg), char *ret, size_t n, double *ret_ms)
{
	struct loop_timer slow, quick;
	struct buf out = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	gap_watch(&loop);
	loop_timer_init_named(&slow, &loop, fire, NULL, "the callback");
	loop_timer_init(&quick, &loop, on_quick, NULL);
	loop_timer_set(&slow, 20);
	loop_timer_every(&quick, 1, 1);
	while (uv_is_active((uv_handle_t *)&slow.uv))
		uv_run(&loop, UV_RUN_ONCE);
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_ONCE); /* the gap ends with the next wait */
	*ret_ms = gap_longest_ms();
	gap_dump(&out);
	snprintf(ret, n, "%s", buf_text(&out));
	assert_true(gap_longest_ms() == 0); /* begun anew */
	buf_fini(&out);
	loop_timer_close(&slow, NULL);
	loop_timer_close(&quick, NULL);
	gap_end();
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_a_slow_callback_is_named(void **state)
{
	char text[1024];
	double ms;

	run(on_slow, text, sizeof(text), &ms);
	assert_true(ms >= 60);
	assert_non_null(strstr(text, "by the callback"));
	assert_non_null(strstr(text, "1 of "));
	assert_null(strstr(text, "on_quick")); /* the wait between them is none */
}

static void test_the_inner_scope_is_named(void **state)
{
	char text[1024];
	double ms;

	run(on_outer, text, sizeof(text), &ms);
	assert_true(ms >= 30);
	assert_non_null(strstr(text, "by inner"));
}

/* Three others on its only core: four times as long by the clock, as long as ever by its own work. What is allowed beyond
 * that grows with the machine's load, as do the waits that the count leaves out. */
static void spin_beside_others(void (*fire)(void *arg))
{
	cpu_set_t before, one;
	pid_t others[3];
	char text[1024];
	uint64_t begin;
	double ms, wall;

	if (access("/proc/thread-self/schedstat", R_OK) < 0)
		skip();
	sched_getaffinity(0, sizeof(before), &before);
	CPU_ZERO(&one);
	for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &before))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < 3; i++)
		if ((others[i] = fork()) == 0)
			for (;;)
				;
	begin = clock_ns(CLOCK_MONOTONIC);
	run(fire, text, sizeof(text), &ms);
	wall = (double)(clock_ns(CLOCK_MONOTONIC) - begin) / MS;
	for (int i = 0; i < 3; i++) {
		kill(others[i], SIGKILL);
		waitpid(others[i], NULL, 0);
	}
	sched_setaffinity(0, sizeof(before), &before);
	assert_true(wall > 120); /* the others did run */
	assert_true(ms >= 59);
	assert_true(ms < wall / 2);
}

static void test_waiting_for_a_core_does_not_count(void **state)
{
	spin_beside_others(on_spin);
}

/* A wait between the look at the clock and the look at the waits was taken off the work before it. */
static void test_waiting_while_it_looks_does_not_count(void **state)
{
	spin_beside_others(on_spin_and_yield);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_slow_callback_is_named),
		cmocka_unit_test(test_the_inner_scope_is_named),
		cmocka_unit_test(test_waiting_for_a_core_does_not_count),
		cmocka_unit_test(test_waiting_while_it_looks_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
