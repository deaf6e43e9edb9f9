// SPDX-License-Identifier: Apache-2.0
/* The worker's session: its table of states is whole (FINDINGS H2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// after the headers it needs
#include <cmocka.h>

#include "worker/session/agent.h"

static void test_states_are_sound(void **state)
{
	assert_null(sm_kind_fault(&agent_kind, 0));
	for (unsigned i = 0; i + 1 < agent_kind.n; i++) /* whatever happens, it can be ended */
		assert_true(agent_kind.states[i].next & SM(agent_kind.n - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states_are_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
