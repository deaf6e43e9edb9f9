// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
// after the headers it needs
#include <cmocka.h>
#include <utlist.h>

#include "base/backoff.h"
#include "base/bug.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sm.h"

enum { DOOR_CLOSED, DOOR_OPEN, DOOR_LOCKED };
static const struct sm_state door_states[] = {
	{DOOR_CLOSED, "closed", SM(DOOR_OPEN) | SM(DOOR_LOCKED)},
	{DOOR_OPEN, "open", SM(DOOR_CLOSED) | SM(DOOR_OPEN)},
	{DOOR_LOCKED, "locked", SM(DOOR_CLOSED)},
};

struct door {
	struct sm sm;
	bool key_turned;
	unsigned checks;
};

static void door_check(const struct sm *sm, unsigned from)
{
	struct door *d = container_of(sm, struct door, sm);

	d->checks++;
	bug_if(sm_is(sm, DOOR_LOCKED) != d->key_turned);
}
static const struct sm_kind door_kind = SM_KIND("door", door_states, door_check);

/* Runs f in a child whose log goes to ret_log; true when it aborted. */
static bool aborts(void (*f)(void), char *ret_log, size_t n)
{
	int fds[2], status;
	size_t len = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		log_init("test", LOG_INFO, fds[1]);
		f();
		_exit(0);
	}
	close(fds[1]);
	while (len < n - 1 && (got = read(fds[0], ret_log + len, n - 1 - len)) > 0)
		len += (size_t)got;
	ret_log[len] = 0;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void false_bug(void)
{
	int zero = 0;

	bug_if(zero != 0);
	if (zero == 0)
		bug_if(zero); /* one statement */
	else
		_exit(1);
}

static void true_bug(void)
{
	int zero = 0;

	bug_if(zero == 0);
}

static void test_bug_says_what_and_where(void **state)
{
	char log[4096];

	assert_false(aborts(false_bug, log, sizeof(log)));
	assert_true(aborts(true_bug, log, sizeof(log)));
	assert_non_null(strstr(log, "bug: zero == 0 at "));
	assert_non_null(strstr(log, "test_sm.c:"));
	assert_non_null(strstr(log, " in true_bug"));
}

struct thing {
	uint32_t magic;
	struct thing *prev, *next;
	int value;
};
#define THING_MAGIC MAGIC('t', 'h', 'n', 'g')

static int value_of(void *arg)
{
	return magic_of(struct thing, THING_MAGIC, arg)->value;
}

static void another_object(void)
{
	struct door d = {.checks = 1};

	value_of(&d);
}

static void an_object_that_ended(void)
{
	struct thing *t = xcalloc(1, sizeof(*t));

	magic_set(t, THING_MAGIC);
	magic_end(t);
	value_of(t);
}

static void no_object(void)
{
	value_of(NULL);
}

static void test_wrong_object_behind_a_void_pointer(void **state)
{
	struct thing t = {.value = 7};
	char log[4096];

	magic_set(&t, THING_MAGIC);
	assert_int_equal(value_of(&t), 7);
	assert_true(aborts(another_object, log, sizeof(log)));
	assert_true(aborts(an_object_that_ended, log, sizeof(log)));
	assert_true(aborts(no_object, log, sizeof(log)));
}

static void linked_twice(void)
{
	struct thing *list = NULL, a = {0};

	dl_add(list, &a);
	dl_add(list, &a);
}

static void dropped_twice(void)
{
	struct thing *list = NULL, a = {0}, b = {0};

	dl_add(list, &a);
	dl_add(list, &b);
	dl_drop(list, &a);
	dl_drop(list, &a);
}

static void done_twice(void)
{
	void (*done)(void) = false_bug;

	take_once(done)();
	take_once(done)();
}

static void test_lists_and_callbacks_are_used_once(void **state)
{
	struct thing *list = NULL, a = {0}, b = {0};
	char log[4096];

	dl_add(list, &a);
	dl_add(list, &b);
	dl_drop(list, &a);
	assert_ptr_equal(list, &b);
	assert_false(dl_is_linked(&a));
	assert_true(dl_is_linked(&b));
	dl_drop(list, &b);
	assert_null(list);
	assert_true(aborts(linked_twice, log, sizeof(log)));
	assert_true(aborts(dropped_twice, log, sizeof(log)));
	assert_true(aborts(done_twice, log, sizeof(log)));
}

static void job_work(void *arg)
{
	*(bool *)arg = bug_in_job();
}

static void job_done(void *arg)
{
	bug_if_off_loop();
}

static void test_jobs_know_that_they_are_not_the_loop(void **state)
{
	uv_loop_t loop;
	bool in_job = false;

	uv_loop_init(&loop);
	loop_work(&loop, job_work, job_done, &in_job);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(in_job);
	assert_false(bug_in_job());
	assert_int_equal(uv_loop_close(&loop), 0);
}

static const struct sm_kind shared_kind = SM_KIND_ANY_THREAD("shared door", door_states, NULL);

static void move_off_the_loop(const struct sm_kind *kind)
{
	struct sm sm;

	sm_init(&sm, kind, DOOR_CLOSED, "back");
	bug_job_begin();
	sm_go(&sm, DOOR_OPEN);
	bug_job_end();
}

static void move_loops_own(void)
{
	move_off_the_loop(&door_kind);
}

static void test_only_kinds_that_say_so_move_on_the_pool(void **state)
{
	char log[2048];

	move_off_the_loop(&shared_kind);
	assert_true(aborts(move_loops_own, log, sizeof(log)));
}

static const struct sm_kind busy_kind = SM_KIND_BUSY("revolving door", door_states, NULL);

static void illegal_busy_move(void)
{
	struct sm sm;

	sm_init(&sm, &busy_kind, DOOR_OPEN, "side");
	sm_go(&sm, DOOR_LOCKED);
}

static void test_busy_kinds_leave_the_trace_to_others(void **state)
{
	struct buf out = {0};
	char log[2048];
	struct sm sm;

	sm_init(&sm, &busy_kind, DOOR_CLOSED, "side");
	sm_go(&sm, DOOR_OPEN);
	assert_true(sm_is(&sm, DOOR_OPEN));
	sm_trace_dump(&out);
	assert_null(strstr(buf_text(&out), "revolving"));
	buf_fini(&out);
	assert_true(aborts(illegal_busy_move, log, sizeof(log)));
	assert_non_null(strstr(log, "revolving door side: no move from open to locked"));
}

static void illegal_move(void)
{
	struct door d = {0};

	sm_init(&d.sm, &door_kind, DOOR_CLOSED, "front");
	sm_go(&d.sm, DOOR_OPEN);
	sm_go(&d.sm, DOOR_LOCKED);
}

static void broken_invariant(void)
{
	struct door d = {0};

	sm_init(&d.sm, &door_kind, DOOR_CLOSED, "front");
	sm_go(&d.sm, DOOR_LOCKED); /* but the key was not turned */
}

static void move_to_nowhere(void)
{
	struct door d = {0};

	sm_init(&d.sm, &door_kind, DOOR_CLOSED, NULL);
	sm_go(&d.sm, 3);
}

static void test_only_moves_of_the_table(void **state)
{
	struct door d = {0};
	char log[4096];

	assert_null(sm_kind_fault(&door_kind, DOOR_CLOSED));
	sm_init(&d.sm, &door_kind, DOOR_CLOSED, "front");
	assert_true(sm_is(&d.sm, DOOR_CLOSED));
	assert_true(sm_may(&d.sm, DOOR_OPEN));
	sm_go(&d.sm, DOOR_OPEN);
	sm_go(&d.sm, DOOR_OPEN); /* it names itself */
	assert_false(sm_may(&d.sm, DOOR_LOCKED));
	assert_string_equal(sm_name(&d.sm), "open");
	assert_true(sm_in(&d.sm, SM(DOOR_OPEN) | SM(DOOR_LOCKED)));
	assert_false(sm_in(&d.sm, SM(DOOR_CLOSED)));
	assert_int_equal(d.checks, 2);
	assert_true(aborts(illegal_move, log, sizeof(log)));
	assert_non_null(strstr(log, "door front: no move from open to locked"));
	assert_non_null(strstr(log, "door front: open -> locked (illegal_move)")); /* the trace */
	assert_true(aborts(broken_invariant, log, sizeof(log)));
	assert_true(aborts(move_to_nowhere, log, sizeof(log)));
}

static void test_trace_keeps_the_last_moves(void **state)
{
	struct door d = {0};
	struct buf out = {0};
	unsigned lines = 0;
	char *text;

	sm_init(&d.sm, &door_kind, DOOR_CLOSED, "a label that is longer than what the trace can keep of it");
	for (int i = 0; i < SM_TRACE_MAX; i++)
		sm_go(&d.sm, i % 2 == 0 ? DOOR_OPEN : DOOR_CLOSED);
	sm_go(&d.sm, DOOR_OPEN);
	sm_trace_dump(&out);
	text = buf_text(&out);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, SM_TRACE_MAX);
	text[strlen(text) - 1] = 0;
	assert_non_null(strstr(strrchr(text, '\n'), "door a label that is longer than what the"));
	assert_non_null(strstr(strrchr(text, '\n'), ": closed -> open (test_trace_keeps_the_last_moves)"));
	buf_fini(&out);
}

static void test_faults_of_a_table(void **state)
{
	static const struct sm_state misplaced[] = {{1, "b", 0}, {0, "a", SM(0)}};
	static const struct sm_state nowhere[] = {{0, "a", SM(2)}, {1, "b", 0}};
	static const struct sm_state island[] = {{0, "a", SM(0)}, {1, "b", SM(0)}};
	static const struct sm_state nameless[] = {{0, NULL, 0}};
	const struct sm_kind kinds[] = {SM_KIND("m", misplaced, NULL), SM_KIND("n", nowhere, NULL),
					SM_KIND("i", island, NULL), SM_KIND("l", nameless, NULL)};

	for (size_t i = 0; i < array_size(kinds); i++)
		assert_non_null(sm_kind_fault(&kinds[i], 0));
	assert_string_equal(sm_state_name(&door_kind, 9), "?");
}

/* FINDINGS H7: there were three of them, two without jitter. */
static void test_backoff_doubles_with_jitter(void **state)
{
	struct backoff b = BACKOFF(100, 4000);
	uint64_t want[] = {100, 200, 400, 800, 1600, 3200, 4000, 4000};
	bool differs = false;

	for (size_t i = 0; i < array_size(want); i++) {
		uint64_t ms = backoff_next(&b);

		assert_true(ms >= want[i] / 2 && ms <= want[i]);
		differs |= ms != want[i];
	}
	assert_true(differs); /* eight times the full wait: once in 10^19 runs */
	backoff_reset(&b);
	assert_true(backoff_next(&b) <= 100);
	b.failures = 4000000000u;
	assert_true(backoff_next(&b) >= 2000);
}

static void test_backoff_edges(void **state)
{
	assert_int_equal(backoff_doubled(100, 30000, 0), 100);
	assert_int_equal(backoff_doubled(100, 30000, 8), 25600);
	assert_int_equal(backoff_doubled(100, 30000, 9), 30000);
	assert_int_equal(backoff_doubled(100, 30000, 64), 30000);
	assert_int_equal(backoff_doubled(1, UINT64_MAX, 63), UINT64_MAX);
	assert_int_equal(backoff_jitter(0), 0);
	assert_int_equal(backoff_jitter(1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bug_says_what_and_where),
		cmocka_unit_test(test_wrong_object_behind_a_void_pointer),
		cmocka_unit_test(test_lists_and_callbacks_are_used_once),
		cmocka_unit_test(test_only_kinds_that_say_so_move_on_the_pool),
		cmocka_unit_test(test_jobs_know_that_they_are_not_the_loop),
		cmocka_unit_test(test_busy_kinds_leave_the_trace_to_others),
		cmocka_unit_test(test_only_moves_of_the_table),
		cmocka_unit_test(test_trace_keeps_the_last_moves),
		cmocka_unit_test(test_faults_of_a_table),
		cmocka_unit_test(test_backoff_doubles_with_jitter),
		cmocka_unit_test(test_backoff_edges),
	};

	return cmocka_run_group_tests_name("sm", tests, NULL, NULL);
}
