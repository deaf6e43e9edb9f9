// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "overlay/names.h"

static void test_interface_names_fit_and_are_stable(void **state)
{
	char a[NAME_MAX_LEN], b[NAME_MAX_LEN];

	name_port("0123456789abcdefghijklmno.zyxwvutsrqponmlkjihgfedcb", a);
	name_port("0123456789abcdefghijklmno.zyxwvutsrqponmlkjihgfedcb", b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 9);
	assert_int_equal(a[0], 'p');
	name_leg("0123456789abcdefghijklmno.zyxwvutsrqponmlkjihgfedcb", b);
	assert_int_equal(strlen(b), 10);
	name_network_ns("0123456789abcdefghijklmno", a);
	assert_string_equal(a, "gsn-01234567");
}

static void test_near_ids_get_different_names(void **state)
{
	char names[2000][NAME_MAX_LEN], id[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(id, sizeof(id), "net.slot%d", i);
		name_port(id, names[i]);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(names[i], names[k]);
	}
}

static void test_ip_parse_and_format(void **state)
{
	static const char *const bad[] = {
		"",           "10.0.0", "10.0.0.256",  "10.0.0.1/33", "10.0.0.1/",
		"10.0.0.1/x", "::g",    "fd00::1/129", "10.0.0.1/-1", "10.0.0.1/8 "};
	struct overlay_ip ip;
	char text[48];

	assert_true(ip_parse("10.9.0.11/24", &ip));
	assert_int_equal(ip.len, 4);
	assert_int_equal(ip.prefix, 24);
	assert_string_equal(ip_format(&ip, text), "10.9.0.11");
	assert_true(ip_parse("fd00::5", &ip));
	assert_int_equal(ip.prefix, 128);
	assert_string_equal(ip_format(&ip, text), "fd00::5");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(ip_parse(bad[i], &ip));
	assert_string_equal(ip_format(&(struct overlay_ip){0}, text), "-");
}

static void test_nth_address_stays_inside(void **state)
{
	struct overlay_ip net, ip;
	char text[48];

	ip_parse("172.31.5.9/16", &net);
	assert_true(ip_nth(&net, 1, &ip));
	assert_string_equal(ip_format(&ip, text), "172.31.0.1");
	assert_true(ip_nth(&net, 65534, &ip));
	assert_string_equal(ip_format(&ip, text), "172.31.255.254");
	assert_false(ip_nth(&net, 0, &ip));
	assert_false(ip_nth(&net, 65535, &ip));
	ip_parse("10.0.0.0/30", &net);
	assert_true(ip_nth(&net, 2, &ip));
	assert_false(ip_nth(&net, 3, &ip));
	ip_parse("10.0.0.0/31", &net);
	assert_false(ip_nth(&net, 1, &ip));
}

static void test_leg_alias_round_trip(void **state)
{
	static const char *const bad[] = {"",
					  "gswarm:leg:",
					  "gswarm:leg:10.0.0.1:t",
					  "gswarm:leg:x:t:i",
					  "gswarm:leg:fd00::1:t:i",
					  "docker",
					  "gswarm:leg:10.0.0.1:t:i:more"};
	struct leg_alias a = {.netns = "task-1", .id = "net.slot"}, b;
	char text[ALIAS_MAX];

	ip_parse("172.31.0.7", &a.ip);
	leg_alias_format(&a, text);
	assert_true(leg_alias_parse(text, &b));
	assert_true(ip_is_equal(&a.ip, &b.ip));
	assert_string_equal(b.netns, "task-1");
	assert_string_equal(b.id, "net.slot");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(leg_alias_parse(bad[i], &b));
}

static void test_namespace_names(void **state)
{
	assert_true(name_is_valid_netns("task-1.a_b"));
	assert_false(name_is_valid_netns(""));
	assert_false(name_is_valid_netns(".."));
	assert_false(name_is_valid_netns("a/b"));
	assert_false(name_is_valid_netns("a b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interface_names_fit_and_are_stable),
		cmocka_unit_test(test_near_ids_get_different_names),
		cmocka_unit_test(test_ip_parse_and_format),
		cmocka_unit_test(test_nth_address_stays_inside),
		cmocka_unit_test(test_leg_alias_round_trip),
		cmocka_unit_test(test_namespace_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
