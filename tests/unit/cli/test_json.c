// SPDX-License-Identifier: Apache-2.0
/* JSON of any message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "base/mem.h"
#include "cli/output/json.h"
#include "proto/value/obj.h"

static json_t *parsed(const void *m)
{
	cleanup_free char *text = json_message(m, false, (const char *[]){"host", "docker1", NULL});

	return json_loads(text, 0, NULL);
}

static const char *text_at(json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static void a_network(void **state)
{
	cleanup(obj_free_p) Gs__Network *n = obj_new(&gs__network__descriptor);
	struct err e = {0};

	n->meta = obj_new(&gs__meta__descriptor);
	str_replace(&n->meta->id, "abc");
	n->meta->version = 1ull << 40;
	n->spec = obj_new(&gs__network_spec__descriptor);
	str_replace(&n->spec->name, "mynet \"quoted\"");
	assert_int_equal(addr_parse_cidr("10.0.1.0/24", &n->subnet, &e), 0);
	n->vni = 0x100000;
	json_t *j = parsed(n);
	assert_non_null(j);
	assert_string_equal(text_at(j, "host"), "docker1");
	assert_string_equal(text_at(j, "subnet"), "10.0.1.0/24");
	assert_int_equal(json_integer_value(json_object_get(j, "vni")), 0x100000);
	assert_string_equal(text_at(json_object_get(j, "spec"), "name"), "mynet \"quoted\"");
	assert_true(json_integer_value(json_object_get(json_object_get(j, "meta"), "version")) == 1ll << 40);
	json_decref(j);
}

static void bytes_enums_and_lists(void **state)
{
	static const uint8_t mac[] = {2, 0x67, 10, 0, 1, 2}, ip[] = {10, 0, 1, 2}, broken[] = {0xff, 0xfe, 0};
	cleanup(obj_free_p) Gs__Endpoint *ep = obj_new(&gs__endpoint__descriptor);
	cleanup(obj_free_p) Gs__Task *t = obj_new(&gs__task__descriptor);

	obj_bytes_set(&ep->mac, mac, sizeof(mac));
	obj_bytes_set(&ep->vtep_ip, ip, sizeof(ip));
	str_replace(&ep->name, (const char *)broken);
	json_t *j = parsed(ep);
	assert_string_equal(text_at(j, "mac"), "02:67:0a:00:01:02");
	assert_string_equal(text_at(j, "vtep_ip"), "10.0.1.2");
	assert_string_equal(text_at(j, "name"), "fffe");
	json_decref(j);

	t->desired = TASK_RUNNING;
	t->spec = obj_new(&gs__task_spec__descriptor);
	obj_add_str(&t->spec->n_args, &t->spec->args, "sleep");
	obj_add_str(&t->spec->n_args, &t->spec->args, "9");
	j = parsed(t);
	assert_string_equal(text_at(j, "desired"), "TASK_RUNNING");
	json_t *args = json_object_get(json_object_get(j, "spec"), "args");
	assert_int_equal(json_array_size(args), 2);
	assert_string_equal(json_string_value(json_array_get(args, 1)), "9");
	assert_null(json_object_get(j, "status"));
	json_decref(j);
}

static void one_of_many(void **state)
{
	cleanup(obj_free_p) void *row = obj_new_row(OBJ_NODE, "n1");
	Gs__StoreObject o;

	obj_wrap(&o, OBJ_NODE, row);
	json_t *j = parsed(&o);
	assert_non_null(json_object_get(j, "node"));
	assert_null(json_object_get(j, "service"));
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_network),
		cmocka_unit_test(bytes_enums_and_lists),
		cmocka_unit_test(one_of_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
