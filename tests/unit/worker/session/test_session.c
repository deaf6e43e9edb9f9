// SPDX-License-Identifier: Apache-2.0
/* The worker's session: its table of states is whole (FINDINGS H2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
// after the headers it needs
#include <cmocka.h>

#include "base/clock.h"
#include "proto/tls/tls.h"
#include "worker/session/agent.h"

static void test_states_are_sound(void **state)
{
	assert_null(sm_kind_fault(&agent_kind, 0));
	for (unsigned i = 0; i + 1 < agent_kind.n; i++) /* whatever happens, it can be ended */
		assert_true(agent_kind.states[i].next & SM(agent_kind.n - 1));
}

/* Safety review (11): a renewed certificate that was past its half, too, was asked for again each 200 ms. */
static void test_renewal_is_not_asked_for_at_once_again(void **state)
{
	char *ca, *ca_key, *key, *csr, *cert, serial[33];
	int64_t now = clock_wall_ms(&clock_real), until, wait;
	struct tls_issue issue;
	struct err e = {0};

	(void)state;
	assert_int_equal(tls_root_new("cluster", &ca, &ca_key, &e), 0);
	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	issue = (struct tls_issue){ca, ca_key, csr, "node", "cluster", now, 90 * 86400};
	assert_int_equal(tls_issue(&issue, &cert, serial, &until, &e), 0);
	assert_int_equal(agent_renew_wait(cert, now, 200, &wait, &e), 0);
	assert_in_range(wait, 60001, 3600000);
	assert_int_equal(agent_renew_wait(cert, now + 60 * INT64_C(86400000), 200, &wait, &e), 0);
	assert_int_equal(wait, 200);
	assert_int_equal(agent_renew_wait(cert, now + 60 * INT64_C(86400000), 60000, &wait, &e), 0);
	assert_int_equal(wait, 60000);
	/* The third session's safety review, 1: made by a clock that was ahead, and half of its time is far away. */
	assert_int_equal(agent_renew_wait(cert, now - 60 * INT64_C(86400000), 200, &wait, &e), 0);
	assert_int_equal(wait, 200);
	assert_int_equal(agent_renew_wait("nonsense", now, 200, &wait, &e), E_INVALID);
	free(ca);
	free(ca_key);
	free(key);
	free(csr);
	free(cert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states_are_sound),
		cmocka_unit_test(test_renewal_is_not_asked_for_at_once_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
