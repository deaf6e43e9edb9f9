// SPDX-License-Identifier: Apache-2.0
/* Silence, gaps and births (FINDINGS M2, U4): the clock alone, then the pass that judges by it. */
#include "manager/reconcile/hearing.h"
#include "tests/unit/manager/cluster.h"

#define HEARTBEAT 1000
#define GRACE 3000

static void run_until(struct hearing *h, int64_t from_ms, int64_t to_ms)
{
	for (int64_t t = from_ms; t <= to_ms; t += 250)
		hearing_tick(h, t, HEARTBEAT);
}

static void test_without_gaps_time_is_silence(void **state)
{
	struct hearing h = {0};

	(void)state;
	run_until(&h, 1000, 20000);
	assert_int_equal(h.n, 0);
	assert_int_equal(hearing_silence_ms(&h, 5000, 9000), 4000);
	assert_int_equal(hearing_silence_ms(NULL, 5000, 9000), 4000);
	assert_int_equal(hearing_grace_ms(&h, 5000, GRACE), GRACE);
}

static void test_short_delays_are_no_gaps(void **state)
{
	struct hearing h = {0};

	(void)state;
	assert_int_equal(hearing_tick(&h, 1000, HEARTBEAT), 0);
	assert_int_equal(hearing_tick(&h, 2000, HEARTBEAT), 0);
	assert_int_equal(hearing_tick(&h, 3001, HEARTBEAT), 1001);
}

static void test_a_gap_counts_for_nobody(void **state)
{
	struct hearing h = {0};

	(void)state;
	run_until(&h, 1000, 10000);
	run_until(&h, 15000, 16000);
	assert_int_equal(hearing_silence_ms(&h, 9500, 15500), 1000);
	assert_int_equal(hearing_silence_ms(&h, 12000, 15500), 500); /* "since" within the gap */
	assert_int_equal(hearing_silence_ms(&h, 15200, 15500), 300);
	assert_int_equal(hearing_grace_ms(&h, 9500, GRACE), 2 * GRACE);
	assert_int_equal(hearing_grace_ms(&h, 15200, GRACE), GRACE);
}

/* A manager that stumbles every second finds a dead node dead all the same. */
static void test_many_gaps_give_one_more_grace(void **state)
{
	struct hearing h = {0};
	int64_t now = 1000, seen;

	(void)state;
	hearing_tick(&h, now, HEARTBEAT);
	seen = now;
	for (int i = 0; i < 6; i++) {
		run_until(&h, now, now + 1250);
		now += 1250 + 2000;
		hearing_tick(&h, now, HEARTBEAT);
	}
	assert_true(hearing_silence_ms(&h, seen, now) > hearing_grace_ms(&h, seen, GRACE));
}

static void test_gaps_forgotten(void **state)
{
	struct hearing h = {0};

	(void)state;
	for (int64_t t = 1; t < 100; t++)
		hearing_tick(&h, t * 2000, HEARTBEAT);
	assert_int_equal(h.n, 98);
	assert_int_equal(hearing_silence_ms(&h, 198000, 198100), 100);
	assert_true(hearing_silence_ms(&h, 0, 198000) < 198000);
}

/* ---- the pass ---- */

static Gs__NodeState state_of(struct cluster *c, const char *node)
{
	return store_node(c->s, node)->status->state;
}

static size_t events_of(struct cluster *c, const char *kind)
{
	const Gs__Event *ev;
	size_t n = 0;

	for (size_t i = 0; (ev = store_at(c->s, OBJ_EVENT, i)); i++)
		n += strcmp(ev->kind, kind) == 0;
	return n;
}

static void test_M2_a_stopped_manager_loses_nobody(void **state)
{
	struct cluster *c = c_new(3);
	struct hearing h = {0};

	(void)state;
	c->env.hearing = &h;
	hearing_tick(&h, c->v.mono_ms, HEARTBEAT);
	c_beat(c);
	clock_virtual_advance(&c->v, 5000); /* SIGSTOP, SIGCONT; nothing is read yet */
	hearing_tick(&h, c->v.mono_ms, HEARTBEAT);
	c_settle(c);
	assert_int_equal(events_of(c, "node.down"), 0);
	assert_int_equal(c->env.wake_ms, c->v.mono_ms + 2 * GRACE + 1);
	/* two come back, the third died meanwhile */
	c->nodes[2].silent = true;
	for (int i = 0; i < 23; i++) {
		clock_virtual_advance(&c->v, 250);
		hearing_tick(&h, c->v.mono_ms, HEARTBEAT);
		c_beat(c);
		c_settle(c);
	}
	assert_int_equal(events_of(c, "node.down"), 0);
	clock_virtual_advance(&c->v, 500);
	c_beat(c);
	c_settle(c);
	assert_int_equal(events_of(c, "node.down"), 1);
	assert_int_equal(state_of(c, "node03"), NODE_DOWN);
	c_free(c);
}

static void test_U4_a_new_node_is_silent_since_its_birth(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	clock_virtual_advance(&c->v, 93200);
	c_beat(c);
	c_settle(c);
	c_add_node(c);
	c->nodes[1].last = -1; /* its row is there, its session is not open yet */
	c_settle(c);
	assert_int_equal(events_of(c, "node.down"), 0);
	assert_int_equal(state_of(c, "node02"), NODE_UNKNOWN);
	clock_virtual_advance(&c->v, 3000);
	c->nodes[0].last = c->v.mono_ms;
	c_settle(c);
	assert_int_equal(events_of(c, "node.down"), 0);
	clock_virtual_advance(&c->v, 1);
	c_settle(c); /* it never came */
	assert_int_equal(state_of(c, "node02"), NODE_DOWN);
	assert_string_equal(store_node(c->s, "node02")->status->message, "no heartbeat for 3.0 s");
	c_free(c);
}

/* A wall clock that is set back must not keep a node from being found Down, one set forward not hasten it. */
static void test_U4_a_step_of_the_wall_clock(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c->v.wall_ms -= 3600 * 1000;
	clock_virtual_advance(&c->v, GRACE + 1);
	c->nodes[0].last = -1;
	c_settle(c);
	assert_int_equal(state_of(c, "node01"), NODE_DOWN);
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_gaps_time_is_silence),
		cmocka_unit_test(test_short_delays_are_no_gaps),
		cmocka_unit_test(test_a_gap_counts_for_nobody),
		cmocka_unit_test(test_many_gaps_give_one_more_grace),
		cmocka_unit_test(test_gaps_forgotten),
		cmocka_unit_test(test_M2_a_stopped_manager_loses_nobody),
		cmocka_unit_test(test_U4_a_new_node_is_silent_since_its_birth),
		cmocka_unit_test(test_U4_a_step_of_the_wall_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
