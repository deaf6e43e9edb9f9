// SPDX-License-Identifier: Apache-2.0
/* Work that does not come back: here it waits for a byte that the test sends when it likes. FINDINGS W6. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
// after the headers it needs
#include <cmocka.h>

#include "base/bug.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/risky.h"

struct rig {
	uv_loop_t loop;
	struct risky *risky;
};

struct look {
	int pipe[2];
	bool hangs, in_job;
	volatile bool began, worked;
	unsigned done, late, dropped;
};

static int open_rig(void **s)
{
	struct rig *g = xcalloc(1, sizeof(*g));

	uv_loop_init(&g->loop);
	g->risky = risky_new(&g->loop, &(struct risky_threads){.max = 3});
	*s = g;
	return 0;
}

static int close_rig(void **s)
{
	struct rig *g = *s;

	risky_free(g->risky);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	free(g);
	return 0;
}

static void look_work(void *arg)
{
	struct look *l = arg;
	char byte;

	l->in_job = bug_in_job();
	l->began = true;
	if (l->hangs)
		assert_int_equal(read(l->pipe[0], &byte, 1), 1);
	l->worked = true;
}

static void look_done(void *owner, void *arg)
{
	struct look *l = owner;

	bug_if_off_loop();
	if (arg)
		l->done++;
	else
		l->late++;
}

static void look_drop(void *arg)
{
	((struct look *)arg)->dropped++;
}

static void look(struct rig *g, struct look *l, const char *key, bool hangs, uint64_t deadline_ms)
{
	struct risky_job job = {.key = key,
				.deadline_ms = deadline_ms,
				.work = look_work,
				.done = look_done,
				.drop = look_drop,
				.owner = l,
				.arg = l};

	*l = (struct look){.hangs = hangs};
	assert_int_equal(pipe(l->pipe), 0);
	risky_run(g->risky, &job);
	assert_int_equal(l->done + l->late, 0); /* never from inside */
}

static void come_back(struct look *l)
{
	assert_int_equal(write(l->pipe[1], "x", 1), 1);
}

static void look_fini(struct look *l)
{
	close(l->pipe[0]);
	close(l->pipe[1]);
}

static void wait_for(struct rig *g, const unsigned *n)
{
	while (*n == 0)
		uv_run(&g->loop, UV_RUN_ONCE);
}

static void work_that_comes_back_is_done(void **s)
{
	struct rig *g = *s;
	struct look a;

	look(g, &a, "/a", false, 60000);
	wait_for(g, &a.done);
	assert_true(a.worked && a.in_job);
	assert_int_equal(a.late + a.dropped, 0);
	look_fini(&a);
}

static void work_that_hangs_is_given_up_and_dropped_later(void **s)
{
	struct rig *g = *s;
	struct look a;

	look(g, &a, "/a", true, 50);
	wait_for(g, &a.late);
	assert_int_equal(a.done + a.dropped, 0);
	come_back(&a);
	wait_for(g, &a.dropped);
	assert_int_equal(a.done, 0);
	assert_int_equal(a.late, 1);
	look_fini(&a);
}

/* However many ask for what is dead: others are served. */
static void one_dead_key_holds_one_thread(void **s)
{
	struct rig *g = *s;
	struct look dead[10], b, c;

	for (size_t i = 0; i < array_size(dead); i++)
		look(g, &dead[i], "/dead", true, 100);
	look(g, &b, "/b", false, 60000);
	wait_for(g, &b.done);
	for (size_t i = 0; i < array_size(dead); i++)
		wait_for(g, &dead[i].late);
	look(g, &c, "/c", false, 60000);
	wait_for(g, &c.done);
	for (size_t i = 1; i < array_size(dead); i++) {
		assert_false(dead[i].worked); /* never begun: dropped at its deadline */
		assert_int_equal(dead[i].dropped, 1);
	}
	come_back(&dead[0]);
	wait_for(g, &dead[0].dropped);
	for (size_t i = 0; i < array_size(dead); i++)
		look_fini(&dead[i]);
	look_fini(&b);
	look_fini(&c);
}

/* Three keys hang, which is all threads: the fourth waits, and has its turn when one comes back. */
static void threads_are_bounded(void **s)
{
	static const char *const keys[] = {"/a", "/b", "/c"};
	struct rig *g = *s;
	struct look hung[3], late, turn;

	for (size_t i = 0; i < 3; i++)
		look(g, &hung[i], keys[i], true, 0);
	look(g, &late, "/d", false, 50);
	look(g, &turn, "/e", false, 0);
	wait_for(g, &late.late);
	assert_false(late.worked || turn.worked);
	come_back(&hung[1]);
	wait_for(g, &turn.done);
	come_back(&hung[0]);
	come_back(&hung[2]);
	for (size_t i = 0; i < 3; i++)
		wait_for(g, &hung[i].done);
	for (size_t i = 0; i < 3; i++)
		look_fini(&hung[i]);
	look_fini(&late);
	look_fini(&turn);
}

static void on_gone(void *arg)
{
	*(volatile bool *)arg = true;
}

/* The program ends although a look does not: nothing is waited for. */
static void freed_while_it_hangs(void **s)
{
	struct rig *g = *s;
	struct look *a = xcalloc(1, sizeof(*a));
	uv_loop_t loop;
	struct risky *r, *kept = g->risky;
	volatile bool gone = false;

	uv_loop_init(&loop);
	r = risky_new(&loop, &(struct risky_threads){.max = 1, .gone = on_gone, .arg = (void *)&gone});
	g->risky = r;
	look(g, a, "/a", true, 0);
	while (!a->began)
		sched_yield();
	risky_free(r);
	uv_run(&loop, UV_RUN_DEFAULT);
	g->risky = kept;
	assert_int_equal(a->done + a->late + a->dropped, 0);
	assert_false(gone);
	come_back(a);
	while (!gone) /* by its last thread */
		sched_yield();
	assert_true(a->worked);
	look_fini(a);
	free(a);
	assert_int_equal(uv_loop_close(&loop), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(work_that_comes_back_is_done),  TEST(work_that_hangs_is_given_up_and_dropped_later),
		TEST(one_dead_key_holds_one_thread), TEST(threads_are_bounded),
		TEST(freed_while_it_hangs),
	};

	return cmocka_run_group_tests_name("risky", tests, NULL, NULL);
}
