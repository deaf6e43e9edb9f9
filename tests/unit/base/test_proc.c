// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// after the four headers it needs
#include <cmocka.h>

#include "base/loop.h"
#include "base/mem.h"

struct seen {
	int calls, status, signal;
	bool timed_out, inside;
	struct err err;
	char *out, *errout;
};

static void on_done(const struct proc_result *r, void *arg)
{
	struct seen *s = arg;

	s->calls++;
	s->status = r->status;
	s->signal = r->signal;
	s->timed_out = r->timed_out;
	s->err = r->err;
	s->out = xstrdup(r->out);
	s->errout = xstrdup(r->errout);
	assert_false(s->inside);
}

static struct seen run(const struct proc_spec *spec)
{
	uv_loop_t loop;
	struct seen s = {.inside = true};

	uv_loop_init(&loop);
	proc_run(&loop, spec, on_done, &s);
	s.inside = false;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0); /* no handle left */
	assert_int_equal(s.calls, 1);
	return s;
}

static void seen_free(struct seen *s)
{
	free(s->out);
	free(s->errout);
}

static void test_output_and_status(void **state)
{
	const char *argv[] = {"sh", "-c", "cat; echo oops >&2; exit 3", NULL};
	struct seen s = run(&(struct proc_spec){.argv = argv, .input = "abc", .input_len = 3});

	assert_int_equal(s.status, 3);
	assert_int_equal(s.err.code, 0);
	assert_string_equal(s.out, "abc");
	assert_string_equal(s.errout, "oops\n");
	seen_free(&s);
}

static void test_big_input_and_output_tail(void **state)
{
	const char *argv[] = {"cat", NULL};
	char *big = xmalloc(1 << 20);
	struct seen s;

	memset(big, 'x', 1 << 20);
	memcpy(big + (1 << 20) - 3, "end", 3);
	s = run(&(struct proc_spec){.argv = argv, .input = big, .input_len = 1 << 20, .output_limit = 4096});
	assert_int_equal(s.status, 0);
	assert_int_equal(strlen(s.out), 4096);
	assert_string_equal(s.out + 4093, "end");
	seen_free(&s);
	free(big);
}

static void test_missing_program(void **state)
{
	const char *argv[] = {"no-such-program-at-all", NULL};
	struct seen s = run(&(struct proc_spec){.argv = argv});

	assert_int_equal(s.err.code, -ENOENT);
	assert_non_null(strstr(s.err.msg, "no-such-program-at-all"));
	seen_free(&s);
}

static void test_missing_namespace(void **state)
{
	const char *argv[] = {"true", NULL};
	struct seen s = run(&(struct proc_spec){.argv = argv, .netns = "/no/such/namespace"});

	assert_int_equal(s.err.code, -ENOENT);
	seen_free(&s);
}

static void test_deadline_kills_the_group(void **state)
{
	const char *argv[] = {"sh", "-c", "sleep 60 & sleep 60", NULL};
	struct seen s = run(&(struct proc_spec){.argv = argv, .deadline_ms = 50});

	assert_true(s.timed_out);
	assert_int_equal(s.signal, 9);
	seen_free(&s);
}

static void test_grandchild_holds_nothing_up(void **state)
{
	const char *argv[] = {"sh", "-c", "echo done; sleep 3 & exit 0", NULL};
	uint64_t before = uv_hrtime();
	struct seen s = run(&(struct proc_spec){.argv = argv});

	assert_string_equal(s.out, "done\n");
	assert_true(uv_hrtime() - before < 2000000000ull);
	seen_free(&s);
}

static int ticks;

static void on_tick(void *arg)
{
	if (++ticks == 3)
		loop_timer_close(arg, NULL);
}

static void test_timer(void **state)
{
	uv_loop_t loop;
	struct loop_timer t;

	uv_loop_init(&loop);
	loop_timer_init(&t, &loop, on_tick, &t);
	loop_timer_every(&t, 1, 1);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(ticks, 3);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_status),
		cmocka_unit_test(test_big_input_and_output_tail),
		cmocka_unit_test(test_missing_program),
		cmocka_unit_test(test_missing_namespace),
		cmocka_unit_test(test_deadline_kills_the_group),
		cmocka_unit_test(test_grandchild_holds_nothing_up),
		cmocka_unit_test(test_timer),
	};

	return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
