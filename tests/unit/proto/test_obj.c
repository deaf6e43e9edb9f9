// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// after the four headers it needs
#include <cmocka.h>
#include <netinet/in.h>

#include "base/mem.h"
#include "proto/value/obj.h"

static void test_rows(void **state)
{
	for (int k = OBJ_NONE + 1; k < OBJ_KINDS; k++) {
		void *row = obj_new_row((enum obj_kind)k, "abc"), *copy;
		Gs__StoreObject wrap;

		assert_int_equal(obj_kind_of(row), k);
		assert_string_equal(obj_meta(row)->id, "abc");
		copy = obj_dup(row);
		assert_true(obj_equal(row, copy));
		obj_meta(copy)->version = 7;
		assert_false(obj_equal(row, copy));
		/* the oneof's number is the kind */
		obj_wrap(&wrap, (enum obj_kind)k, row);
		obj_free(copy);
		copy = obj_dup(&wrap);
		assert_int_equal(((Gs__StoreObject *)copy)->kind_case, k);
		assert_true(obj_equal(obj_unwrap(copy), row));
		obj_free(copy);
		obj_free(row);
		assert_string_not_equal(obj_kind_name((enum obj_kind)k), "?");
	}
	assert_null(obj_descriptor(OBJ_KINDS));
}

static void test_fields(void **state)
{
	Gs__Task *t = obj_new_row(OBJ_TASK, "t1"), *copy;
	Gs__TaskStatus *status = obj_new(&gs__task_status__descriptor);

	str_replace(&t->name, "db.1");
	str_replace(&t->name, "db.2");
	status->state = TASK_RUNNING;
	obj_set(&t->status, status);
	obj_set(&t->status, status);
	obj_set(&t->status, NULL);
	assert_null(t->status);
	t->status = status;
	t->spec = obj_new(&gs__task_spec__descriptor);
	obj_add_str(&t->spec->n_env, &t->spec->env, "A=1");
	obj_add_str(&t->spec->n_env, &t->spec->env, "B=2");
	obj_add(&t->n_addresses, &t->addresses, obj_new(&gs__slot_address__descriptor));
	obj_bytes_set(&t->addresses[0]->mac, "\1\2\3\4\5\6", 6);
	obj_bytes_set(&t->addresses[0]->mac, "\2\2\3\4\5\6", 6);
	copy = obj_dup(t);
	assert_string_equal(copy->name, "db.2");
	assert_string_equal(copy->spec->env[1], "B=2");
	assert_true(obj_bytes_equal(&copy->addresses[0]->mac, &t->addresses[0]->mac));
	assert_int_equal(copy->status->state, TASK_RUNNING);
	obj_free(copy);
	obj_free(t);
	obj_free(NULL);
}

static Gs__Addr *net(const char *text)
{
	Gs__Addr *a = NULL;

	assert_int_equal(addr_parse_cidr(text, &a, NULL), 0);
	return a;
}

static void test_subnets(void **state)
{
	static const char *const bad[] = {
		"",       "10.0.0.0",     "10.0.0.0/",    "10.0.0.0/33", "10.0.0.1/24",
		"x/24",   "10.0.0.0/-1",  "10.0.0.0/24x", "/24",         "10.0.0/24",
		"::1/64", "10.0.0.0/ 24", "fd00::/129"};
	Gs__Addr *a = net("10.0.0.0/8"), *b = net("10.0.9.0/24"), *c = net("11.0.0.0/8"),
		 *d = net("fd00::/64"), *x;
	ProtobufCBinaryData ip = {0};
	struct err e = {0};
	char buf[64];
	uint8_t mac[6];

	for (size_t i = 0; i < array_size(bad); i++) {
		x = NULL;
		assert_int_equal(addr_parse_cidr(bad[i], &x, &e), E_INVALID);
		assert_null(x);
	}
	assert_true(addr_overlaps(a, b));
	assert_true(addr_overlaps(b, a));
	assert_false(addr_overlaps(b, c));
	assert_false(addr_overlaps(a, d));
	assert_false(addr_overlaps(a, NULL));
	assert_int_equal(addr_parse("10.0.9.77", &ip, &e), 0);
	assert_true(addr_contains(b, &ip));
	assert_false(addr_contains(c, &ip));
	addr_mac(&ip, mac);
	assert_string_equal(mac_format(mac, buf), "02:67:0a:00:09:4d");
	assert_string_equal(addr_format(&ip, buf, sizeof(buf)), "10.0.9.77");
	assert_string_equal(addr_format_cidr(d, buf, sizeof(buf)), "fd00::/64");
	assert_string_equal(addr_format_cidr(NULL, buf, sizeof(buf)), "");
	free(ip.data);
	obj_free(a);
	obj_free(b);
	obj_free(c);
	obj_free(d);
}

static void test_hostport(void **state)
{
	static const char *const bad[] = {
		"",           ":1",   "host",   "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536",
		"1.2.3.4:7x", "[::1", "[::1]7", "[]:7",     "1.2.3:7"};
	char host[64];
	uint16_t port;
	struct err e = {0};

	assert_int_equal(hostport_parse("192.168.55.111", 2377, host, sizeof(host), &port, &e), 0);
	assert_string_equal(host, "192.168.55.111");
	assert_int_equal(port, 2377);
	assert_int_equal(hostport_parse("192.168.55.111:99", 2377, host, sizeof(host), &port, &e), 0);
	assert_int_equal(port, 99);
	assert_int_equal(hostport_parse("[fd00::1]:99", 2377, host, sizeof(host), &port, &e), 0);
	assert_string_equal(host, "fd00::1");
	assert_int_equal(hostport_parse("fd00::1", 2377, host, sizeof(host), &port, &e), 0);
	assert_int_equal(port, 2377);
	for (size_t i = 0; i < array_size(bad); i++) {
		err_clear(&e);
		assert_int_equal(hostport_parse(bad[i], 2377, host, sizeof(host), &port, &e), E_INVALID);
		assert_true(strlen(e.msg) > 0);
	}
}

static void test_state_names(void **state)
{
	assert_string_equal(task_state_name(TASK_RUNNING), "Running");
	assert_string_equal(task_state_name((Gs__TaskState)1), "?");
	assert_false(task_state_is_final(TASK_RUNNING));
	assert_true(task_state_is_final(TASK_FAILED));
	assert_string_equal(galera_phase_name(GP_BLOCKED), "BLOCKED");
	assert_string_equal(galera_class_name(GC_FOREIGN), "FOREIGN");
	assert_string_equal(permit_mode_name(PERMIT_PC_BOOTSTRAP), "pc-bootstrap");
	assert_string_equal(node_state_name(NODE_DOWN), "Down");
}

static void test_addresses_of_sockets(void **state)
{
	struct sockaddr_storage sa;
	socklen_t len;
	char text[64];

	assert_true(addr_to_sockaddr("fd00::1", 2377, &sa, &len));
	assert_int_equal(len, sizeof(struct sockaddr_in6));
	assert_string_equal(hostport_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)),
			    "[fd00::1]:2377");
	assert_string_equal(addr_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)), "fd00::1");
	assert_true(addr_to_sockaddr("10.0.0.1", 1, &sa, &len));
	assert_string_equal(hostport_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)), "10.0.0.1:1");
	assert_true(addr_to_sockaddr("", 1, &sa, &len));
	assert_string_equal(addr_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)), "0.0.0.0");
	assert_false(addr_to_sockaddr("10.0.0", 1, &sa, &len));
	sa.ss_family = AF_UNIX;
	assert_string_equal(addr_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)), "");
	assert_string_equal(hostport_of_sockaddr((struct sockaddr *)&sa, text, sizeof(text)), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),        cmocka_unit_test(test_fields),
		cmocka_unit_test(test_subnets),     cmocka_unit_test(test_hostport),
		cmocka_unit_test(test_state_names), cmocka_unit_test(test_addresses_of_sockets),
	};

	return cmocka_run_group_tests_name("obj", tests, NULL, NULL);
}
