// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/kernel/fdb.h"

static struct fdb_entry entry(enum fdb_kind kind, uint8_t mac, const char *ip)
{
	struct fdb_entry e = {.kind = kind, .mac = {2, 0, 0, 0, 0, mac}};

	if (ip)
		assert_true(ip_parse(ip, &e.ip));
	return e;
}

static void add(struct fdb_set *s, enum fdb_kind kind, uint8_t mac, const char *ip)
{
	struct fdb_entry e = entry(kind, mac, ip);

	fdb_set_add(s, &e);
}

struct sets {
	struct fdb_set desired, observed, writes, deletes;
};

static void fini(struct sets *s)
{
	fdb_set_fini(&s->desired);
	fdb_set_fini(&s->observed);
	fdb_set_fini(&s->writes);
	fdb_set_fini(&s->deletes);
}

static void diff(struct sets *s)
{
	fdb_diff(&s->desired, &s->observed, &s->writes, &s->deletes);
}

static void test_equal_sets_need_nothing(void **state)
{
	struct sets s = {0};

	add(&s.desired, FDB_SELF, 1, "192.0.2.1");
	add(&s.desired, FDB_MASTER, 1, NULL);
	add(&s.desired, FDB_NEIGH, 1, "10.0.0.1");
	add(&s.observed, FDB_NEIGH, 1, "10.0.0.1");
	add(&s.observed, FDB_MASTER, 1, NULL);
	add(&s.observed, FDB_SELF, 1, "192.0.2.1");
	diff(&s);
	assert_int_equal(s.writes.n, 0);
	assert_int_equal(s.deletes.n, 0);
	fini(&s);
}

static void test_other_value_is_written_not_deleted(void **state)
{
	struct sets s = {0};

	add(&s.desired, FDB_SELF, 1, "192.0.2.2");
	add(&s.observed, FDB_SELF, 1, "192.0.2.1");
	add(&s.desired, FDB_NEIGH, 2, "10.0.0.1");
	add(&s.observed, FDB_NEIGH, 1, "10.0.0.1");
	diff(&s);
	assert_int_equal(s.writes.n, 2);
	assert_int_equal(s.deletes.n, 0);
	fini(&s);
}

static void test_missing_and_extra(void **state)
{
	struct sets s = {0};

	add(&s.desired, FDB_MASTER, 1, NULL);
	add(&s.desired, FDB_MASTER, 3, NULL);
	add(&s.observed, FDB_MASTER, 2, NULL);
	add(&s.observed, FDB_MASTER, 3, NULL);
	add(&s.observed, FDB_SELF, 9, "192.0.2.9");
	diff(&s);
	assert_int_equal(s.writes.n, 1);
	assert_int_equal(s.writes.list[0].mac[5], 1);
	assert_int_equal(s.deletes.n, 2);
	fini(&s);
}

/* `bridge fdb append`: a second destination for the same MAC. */
static void test_second_destination_is_deleted(void **state)
{
	struct sets s = {0};
	char text[48];

	add(&s.desired, FDB_SELF, 1, "192.0.2.1");
	add(&s.observed, FDB_SELF, 1, "192.0.2.1");
	add(&s.observed, FDB_SELF, 1, "192.0.2.66");
	diff(&s);
	assert_int_equal(s.writes.n, 0);
	assert_int_equal(s.deletes.n, 1);
	assert_string_equal(ip_format(&s.deletes.list[0].ip, text), "192.0.2.66");
	fini(&s);
}

static void test_two_endpoints_with_one_mac_do_not_flap(void **state)
{
	struct sets s = {0};

	add(&s.desired, FDB_MASTER, 1, NULL);
	add(&s.desired, FDB_MASTER, 1, NULL);
	diff(&s);
	assert_int_equal(s.writes.n, 1);
	fini(&s);
}

/* Applying the difference to the observed set gives the desired one, whatever both are. */
static void test_random_sets_converge(void **state)
{
	srand(7);
	for (int round = 0; round < 500; round++) {
		struct sets s = {0}, again = {0};

		for (int i = 0; i < 12; i++) {
			uint8_t mac = (uint8_t)(rand() % 6);
			bool here = rand() % 2;

			add(here ? &s.desired : &s.observed, FDB_SELF, mac,
			    rand() % 2 ? "192.0.2.1" : "192.0.2.2");
		}
		diff(&s);
		for (size_t i = 0; i < s.observed.n; i++) { /* survives: not deleted, not replaced */
			bool gone = false;

			for (size_t k = 0; k < s.deletes.n; k++)
				gone |= memcmp(&s.deletes.list[k], &s.observed.list[i],
					       sizeof(struct fdb_entry)) == 0;
			for (size_t k = 0; k < s.writes.n; k++)
				gone |= memcmp(s.writes.list[k].mac, s.observed.list[i].mac, 6) == 0;
			if (!gone)
				fdb_set_add(&again.observed, &s.observed.list[i]);
		}
		for (size_t k = 0; k < s.writes.n; k++)
			fdb_set_add(&again.observed, &s.writes.list[k]);
		for (size_t k = 0; k < s.desired.n; k++)
			fdb_set_add(&again.desired, &s.desired.list[k]);
		diff(&again);
		assert_int_equal(again.writes.n, 0);
		assert_int_equal(again.deletes.n, 0);
		fini(&s);
		fini(&again);
	}
}

static void change(struct fdb_changes *c, uint8_t mac, const char *vtep, bool is_add)
{
	struct fdb_entry e = entry(FDB_SELF, mac, vtep);

	fdb_change_add(c, &e, is_add);
}

/* Deletes go first, so of one key only a write that nothing took back is one, and it has the last value. */
static void test_last_change_of_a_key_counts(void **state)
{
	struct fdb_changes c = {0};
	struct sets s = {0};

	change(&c, 1, "192.0.2.1", true); /* came and went */
	change(&c, 2, "192.0.2.1", true); /* moved */
	change(&c, 1, "192.0.2.1", false);
	change(&c, 2, "192.0.2.1", false);
	change(&c, 2, "192.0.2.2", true);
	change(&c, 3, "192.0.2.3", false); /* went and came */
	change(&c, 3, "192.0.2.3", true);
	fdb_changes_take(&c, &s.writes, &s.deletes);
	assert_int_equal(c.n, 0);
	assert_int_equal(s.deletes.n, 3);
	assert_int_equal(s.writes.n, 2);
	assert_int_equal(s.writes.list[0].mac[5], 2);
	assert_int_equal(s.writes.list[0].ip.bytes[3], 2);
	assert_int_equal(s.writes.list[1].mac[5], 3);
	fdb_changes_fini(&c);
	fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_sets_need_nothing),
		cmocka_unit_test(test_other_value_is_written_not_deleted),
		cmocka_unit_test(test_missing_and_extra),
		cmocka_unit_test(test_second_destination_is_deleted),
		cmocka_unit_test(test_two_endpoints_with_one_mac_do_not_flap),
		cmocka_unit_test(test_random_sets_converge),
		cmocka_unit_test(test_last_change_of_a_key_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
