// SPDX-License-Identifier: Apache-2.0
/* The books about strangers, without sockets: rates, shares, who has most, what is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/rpc/admit.h"

static struct sockaddr *v4(uint32_t n)
{
	static struct sockaddr_in in;

	in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + n)};
	return (struct sockaddr *)&in;
}

static struct sockaddr *v6(const char *text)
{
	static struct sockaddr_in6 in6;

	in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return (struct sockaddr *)&in6;
}

static void test_a_source_has_a_rate(void **state)
{
	struct admission a = {0};
	struct source *s;
	unsigned admitted = 0;

	for (int i = 0; i < 1000; i++)
		if (admit_enter(&a, v4(1), 5000, &s) != ADMIT_NOT) {
			admitted++;
			admit_leave(&a, s);
		}
	assert_int_equal(admitted, SOURCE_BURST);
	assert_int_equal(admit_enter(&a, v4(1), 5019, &s), ADMIT_NOT);
	assert_int_equal(admit_enter(&a, v4(1), 5020, &s), ADMIT); /* 50 a second */
	admit_leave(&a, s);
	assert_int_equal(admit_enter(&a, v4(2), 5020, &s), ADMIT); /* another one has paid nothing */
	admit_leave(&a, s);
	admit_fini(&a);
}

static void test_a_source_has_a_share(void **state)
{
	struct admission a = {0};
	struct source *s[SOURCE_SHARE + 1], *other;

	for (unsigned i = 0; i < SOURCE_SHARE; i++)
		assert_int_equal(admit_enter(&a, v6(i % 2 ? "fd00::1" : "fd00::2"), 1, &s[i]), ADMIT);
	assert_int_equal(admit_enter(&a, v6("fd00::3"), 1, &s[SOURCE_SHARE]), ADMIT_FOR_OLDEST); /* one /64 */
	assert_int_equal(admit_enter(&a, v6("fd00:0:0:1::3"), 1, &other), ADMIT);
	assert_ptr_equal(admit_crowd(&a), s[0]);
	for (unsigned i = 0; i <= SOURCE_SHARE; i++)
		admit_leave(&a, s[i]);
	assert_null(admit_crowd(&a)); /* one alone is no crowd */
	admit_leave(&a, other);
	admit_fini(&a);
}

/* The second session's safety review, 10: whoever has a /48 has more /64s than there are places. */
static void test_s10_a_site_has_a_share(void **state)
{
	struct admission a = {0};
	struct source *s[STRANGERS_MAX], *other;
	unsigned n = 0;
	char text[32];

	for (unsigned i = 0; i < STRANGERS_MAX; i++) {
		snprintf(text, sizeof(text), "2001:db8:1:%x::1", i);
		if (admit_enter(&a, v6(text), 1, &s[n]) == ADMIT)
			n++;
	}
	assert_int_equal(n, SITE_SHARE);
	assert_false(admit_is_full(&a));
	assert_int_equal(admit_enter(&a, v6("2001:db8:2::1"), 1, &other), ADMIT);
	admit_leave(&a, other);
	admit_leave(&a, s[--n]);
	assert_int_equal(admit_enter(&a, v6("2001:db8:1:ffff::1"), 1, &s[n]), ADMIT);
	while (n > 0)
		admit_leave(&a, s[n--]);
	admit_leave(&a, s[0]);
	assert_null(a.sites);
	admit_fini(&a);
}

/* A socket of both families names IPv4 addresses in IPv6; they were one source. */
static void test_s10_mapped_addresses_are_ipv4(void **state)
{
	struct admission a = {0};
	struct source *s[3];

	assert_int_equal(admit_enter(&a, v6("::ffff:10.0.0.1"), 1, &s[0]), ADMIT);
	assert_int_equal(admit_enter(&a, v6("::ffff:10.0.0.2"), 1, &s[1]), ADMIT);
	assert_int_equal(admit_enter(&a, v4(1), 1, &s[2]), ADMIT);
	assert_ptr_equal(s[0], s[2]);
	assert_ptr_not_equal(s[0], s[1]);
	for (int i = 0; i < 3; i++)
		admit_leave(&a, s[i]);
	admit_fini(&a);
}

static void test_all_together_have_a_rate(void **state)
{
	struct admission a = {0};
	struct source *s;
	unsigned n = 0;

	for (; admit_wait(&a, 7000) == 0; n++) {
		assert_int_equal(admit_enter(&a, v4(n), 7000, &s), ADMIT);
		admit_leave(&a, s);
	}
	assert_int_equal(n, HANDSHAKE_BURST);
	assert_in_range(admit_wait(&a, 7000), 1, 3);
	assert_int_equal(admit_wait(&a, 7000 + admit_wait(&a, 7000)), 0);
	admit_fini(&a);
}

/* An attacker with a /32 has more addresses than we remember; those who are here are not forgotten. */
static void test_sources_are_bounded(void **state)
{
	struct admission a = {0};
	struct source *here, *s;

	assert_int_equal(admit_enter(&a, v4(0), 1, &here), ADMIT);
	for (uint32_t i = 1; i < 3 * SOURCES_MAX; i++) {
		assert_int_equal(admit_enter(&a, v4(i), 1 + i / 1000, &s), ADMIT);
		admit_leave(&a, s);
		assert_true(a.n_sources <= SOURCES_MAX);
	}
	for (unsigned i = 1; i < SOURCE_SHARE; i++)
		assert_int_equal(admit_enter(&a, v4(0), 20, &s), ADMIT);
	assert_int_equal(admit_enter(&a, v4(0), 20, &s), ADMIT_FOR_OLDEST);
	while (a.n_strangers)
		admit_leave(&a, here);
	admit_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_source_has_a_rate),
		cmocka_unit_test(test_a_source_has_a_share),
		cmocka_unit_test(test_s10_a_site_has_a_share),
		cmocka_unit_test(test_s10_mapped_addresses_are_ipv4),
		cmocka_unit_test(test_all_together_have_a_rate),
		cmocka_unit_test(test_sources_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
