// SPDX-License-Identifier: Apache-2.0
/* Who may join, how often: by the address that asks, and in all. */
#include "tests/unit/manager/daemon_rig.h"

#include <string.h>

#define REQUEST "request-of-a-joining-node"

/* The clock stands still: no bucket fills while the test is slow. */
static struct rig *rig_without_time(struct clock_virtual *v, struct clock *clock)
{
	struct rig *r = rig_with_cluster();

	v->mono_ms = clock_mono_ms(&clock_real);
	v->wall_ms = clock_wall_ms(&clock_real);
	*clock = clock_virtual_of(v);
	r->m.ctx.clock = clock;
	return r;
}

static int join_from(struct rig *r, const char *source, const char *token, const char *request_id)
{
	cleanup_free char *key = NULL;
	struct err e = {0};
	Gs__IssueResponse *joined;

	r->source = source;
	joined = rig_join(r, token, request_id, "docker2.local", &key, &e);
	r->source = NULL;
	obj_free(joined);
	return e.code;
}

/* Fresh review of security, 6: the joins of all addresses came out of one bucket, which one of them could keep empty. */
static void test_S6_one_address_leaves_joins_to_others(void **state)
{
	struct clock_virtual v;
	struct clock clock;
	struct rig *r = rig_without_time(&v, &clock);
	cleanup_free char *token = rig_token(r, false);
	unsigned joined = 0;
	int tries = 0;

	while (tries < 100 && join_from(r, "127.0.0.1", token, REQUEST) != E_LIMIT)
		tries++;
	assert_in_range(tries, 10, 60);
	for (int i = 2; i <= 9; i++) { /* one of them may share the first one's place */
		char source[16];

		snprintf(source, sizeof(source), "127.0.0.%d", i);
		joined += join_from(r, source, token, REQUEST) != E_LIMIT;
	}
	assert_in_range(joined, 6, 8);
	v.mono_ms += 1000;
	assert_int_not_equal(join_from(r, "127.0.0.1", token, REQUEST), E_LIMIT);
	r->m.ctx.clock = &clock_real;
	rig_free(r);
}

/* And all together are bounded as before. */
static void test_S6_all_together_have_a_rate(void **state)
{
	struct clock_virtual v;
	struct clock clock;
	struct rig *r = rig_without_time(&v, &clock);
	cleanup_free char *token = rig_token(r, false);
	unsigned joined = 0;

	for (int i = 1; i <= 100; i++) {
		char source[16];

		snprintf(source, sizeof(source), "127.0.1.%d", i);
		joined += join_from(r, source, token, REQUEST) != E_LIMIT;
	}
	assert_in_range(joined, 50, 60);
	r->m.ctx.clock = &clock_real;
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_S6_one_address_leaves_joins_to_others),
		cmocka_unit_test(test_S6_all_together_have_a_rate),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
