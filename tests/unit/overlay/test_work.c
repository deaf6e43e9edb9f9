// SPDX-License-Identifier: Apache-2.0
/* How far the kernel is with one thing: which moves there are, and when something is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "overlay/work.h"

static void test_table_is_sound(void **state)
{
	assert_null(sm_kind_fault(&work_kind, WORK_ABSENT));
}

static void test_failures_are_put_off_and_news_are_not(void **state)
{
	struct work w;
	int64_t first;

	work_init(&w, "it");
	assert_false(work_take(&w, 0));
	work_want(&w);
	assert_true(work_take(&w, 1000));
	work_failed(&w, 1000);
	assert_false(work_take(&w, 1000));
	first = w.due_ms - 1000;
	for (int i = 0; i < 20; i++)
		work_failed(&w, 1000);
	assert_true(w.due_ms - 1000 > first && w.due_ms - 1000 <= 30000);
	work_suspect(&w); /* an event changes nothing about one that was never applied */
	assert_false(work_take(&w, 1000));
	work_want(&w); /* declared otherwise: at once */
	assert_true(work_take(&w, 1000));
}

static void test_settled_is_looked_at_when_its_time_comes_or_an_event(void **state)
{
	struct work w;

	work_init(&w, "it");
	work_want(&w);
	work_done(&w, 1000);
	assert_false(work_take(&w, 2000));
	assert_true(work_is(&w, WORK_SETTLED));
	assert_true(work_take(&w, 1000 + 90000));
	assert_true(work_is(&w, WORK_SUSPECT));
	work_done(&w, 100000);
	work_suspect(&w);
	assert_true(work_take(&w, 100000));
}

static void test_leaving_goes_on_until_it_is_gone(void **state)
{
	struct work w;

	work_init(&w, "it");
	work_leave(&w); /* never was there */
	assert_true(work_is(&w, WORK_ABSENT));
	work_want(&w);
	work_leave(&w);
	work_failed(&w, 0);
	assert_false(work_take(&w, 0));
	work_want(&w); /* declared again in between */
	assert_true(work_take(&w, 0) && work_is(&w, WORK_PENDING));
	work_leave(&w);
	work_gone(&w);
	assert_false(work_is_there(&w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_is_sound),
		cmocka_unit_test(test_failures_are_put_off_and_news_are_not),
		cmocka_unit_test(test_settled_is_looked_at_when_its_time_comes_or_an_event),
		cmocka_unit_test(test_leaving_goes_on_until_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
