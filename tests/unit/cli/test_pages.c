// SPDX-License-Identifier: Apache-2.0
/* Pages put together (FINDINGS M5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "cli/pages.h"
#include "proto/schema/control.pb-c.h"
#include "proto/value/obj.h"

static Gs__ListServicesResponse *page(const char *service, const char *task, const char *next)
{
	Gs__ListServicesResponse *r = obj_new(&gs__list_services_response__descriptor);

	if (service)
		obj_add(&r->n_services, &r->services, obj_new_row(OBJ_SERVICE, service));
	if (task)
		obj_add(&r->n_tasks, &r->tasks, obj_new_row(OBJ_TASK, task));
	str_replace(&r->next, next);
	return r;
}

static void lists_grow_and_the_place_moves(void **state)
{
	Gs__ListServicesResponse *a = page("s1", NULL, "1/s1"), *b = page("s2", "t1", "2/t1"),
				 *c = page(NULL, "t2", "");

	(void)state;
	assert_string_equal(page_next(a), "1/s1");
	page_append(a, b);
	assert_string_equal(page_next(a), "2/t1");
	page_append(a, c);
	assert_string_equal(page_next(a), "");
	assert_int_equal(a->n_services, 2);
	assert_int_equal(a->n_tasks, 2);
	assert_string_equal(a->services[1]->meta->id, "s2");
	assert_string_equal(a->tasks[1]->meta->id, "t2");
	obj_free(b); /* they own nothing any more */
	obj_free(c);
	obj_free(a);
}

static void text_is_joined(void **state)
{
	Gs__DumpResponse *a = obj_new(&gs__dump_response__descriptor),
			 *b = obj_new(&gs__dump_response__descriptor);

	(void)state;
	str_replace(&a->text, "one ");
	str_replace(&a->next, "1/x");
	str_replace(&b->text, "two");
	page_append(a, b);
	assert_string_equal(a->text, "one two");
	assert_string_equal(page_next(a), "");
	obj_free(a);
	obj_free(b);
}

static void requests_gain_a_place(void **state)
{
	Gs__Empty empty = GS__EMPTY__INIT;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	Gs__ListRequest *list = page_request(&gs__list_request__descriptor, &empty.base, "1/x");
	Gs__RefRequest *again;

	(void)state;
	assert_string_equal(list->after, "1/x");
	obj_free(list);
	ref.ref = (char *)"web";
	again = page_request(&gs__ref_request__descriptor, &ref.base, "2/y");
	assert_string_equal(again->ref, "web");
	assert_string_equal(again->after, "2/y");
	obj_free(again);
	assert_null(page_request(&gs__empty__descriptor, &empty.base, "1/x"));
	assert_string_equal(page_next(&empty), ""); /* an answer that has no pages */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_grow_and_the_place_moves),
		cmocka_unit_test(text_is_joined),
		cmocka_unit_test(requests_gain_a_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
