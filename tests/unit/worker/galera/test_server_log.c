// SPDX-License-Identifier: Apache-2.0
/* What a server's log tells about Primary views: lines as conmon keeps them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/galera/server_log.h"
#include "worker/galera/view.h"

#define T "2026-11-20T14:56:28.830644439+00:00 stderr F "
#define N T "2026-11-20 14:56:28 0 [Note] "
#define START N "Starting MariaDB 10.11.19-MariaDB-0+deb12u1 source revision 5843d84 as process 12\n"
#define QUORUM(component, conf, members)                                                                     \
	N "WSREP: Quorum results:\n" T "\tversion    = 6,\n" T "\tcomponent  = " component ",\n" T           \
	  "\tconf_id    = " conf ",\n" T "\tmembers    = " members " (joined/total),\n" T                    \
	  "\tact_id     = 5,\n"
#define VIEW(status, index, members)                                                                         \
	N "WSREP: ================================================\n" T "View:\n" T                          \
	  "  id: 90356c74-e4f2-11f1-a476-dbfce28e0d1b:6\n" T "  status: " status "\n" T "  final: no\n" T    \
	  "  own_index: " index "\n" T members T "=================================================\n"
#define A T "\t0: 90a75956-e4f2-11f1-a8b4-7e81cdb7e8f8, db.2\n"
#define B T "\t1: 90d7e111-e4f2-11f1-8c2e-4b39df62ff7f, db.1\n"

static struct log_primary parse(const char *text)
{
	struct log_primary p;

	log_primary_parse(text, strlen(text), &p);
	return p;
}

static void test_joined(void **state)
{
	struct log_primary p = parse(START VIEW("non-primary", "0", B) QUORUM("PRIMARY", "1", "1/2")
					     VIEW("primary", "-1", A) VIEW("primary", "1", A B));

	assert_true(p.has_start && p.was_primary);
	assert_int_equal(p.conf_id, 2);
	assert_int_equal(p.n_members, 2);
	assert_string_equal(p.members[0], "db.2");
	assert_string_equal(p.members[1], "db.1");
	log_primary_fini(&p);
}

/* The group's name is told once, at the beginning; a later start begins anew. */
static void test_group(void **state)
{
	struct log_primary p =
		parse(START N "WSREP: gcomm: connecting to group 'gabc-e12-e3', peer '10.0.0.2:'\n" QUORUM(
			"PRIMARY", "1", "1/2") VIEW("primary", "1", A B));

	assert_int_equal(p.group_epoch, 3);
	log_primary_fini(&p);
	p = parse(START N "WSREP: gcomm: bootstrapping new group 'gabc-e7'\n" QUORUM("PRIMARY", "1", "1/2"));
	assert_int_equal(p.group_epoch, 7);
	log_primary_fini(&p);
	p = parse(START N "WSREP: gcomm: connecting to group 'gabc-e3', peer ''\n" START);
	assert_int_equal(p.group_epoch, 0);
	log_primary_fini(&p);
}

/* The last Primary view stays the last one when the member is cut off. */
static void test_then_alone(void **state)
{
	struct log_primary p = parse(START QUORUM("PRIMARY", "1", "1/2") VIEW("primary", "1", A B)
					     QUORUM("NON-PRIMARY", "7", "1/1") VIEW("non-primary", "0", B));

	assert_int_equal(p.conf_id, 2);
	assert_int_equal(p.n_members, 2);
	log_primary_fini(&p);
}

static void test_view_is_being_printed(void **state)
{
	struct log_primary p = parse(START QUORUM("PRIMARY", "1", "1/2") VIEW("primary", "1", A B) QUORUM(
		"PRIMARY", "2", "2/3") N "View:\n" T "  status: primary\n" T "  own_index: 1\n" A);

	assert_int_equal(p.conf_id, 3);
	assert_int_equal(p.n_members, 0);
	log_primary_fini(&p);
}

static void test_waits_for_primary(void **state)
{
	struct log_primary p =
		parse(QUORUM("PRIMARY", "1", "1/2") VIEW("primary", "1", A B) START N
		      "WSREP: New COMPONENT: primary = no, bootstrap = no, my_idx = 0, memb_num = 1\n");

	assert_true(p.has_start);
	assert_false(p.was_primary);
	assert_int_equal(p.conf_id, 0);
	log_primary_fini(&p);
	p = parse(START N "WSREP: New COMPONENT: primary = yes, bootstrap = no, my_idx = 0, memb_num = 2\n");
	assert_true(p.was_primary);
	log_primary_fini(&p);
	p = parse(VIEW("non-primary", "0", B));
	assert_false(p.has_start);
	log_primary_fini(&p);
}

static void test_view_names_it(void **state)
{
	Gs__GaleraView *prim = obj_new(&gs__galera_view__descriptor), *v = obj_dup(prim), *w = obj_dup(prim);

	prim->conf_id = 7;
	obj_add_str(&prim->n_members, &prim->members, "10.0.1.2:3306");
	view_set(v, "wsrep_cluster_status", "Primary");
	view_set_primary(v, prim);
	assert_int_equal(v->prim_conf_id, 0);
	view_set(v, "wsrep_cluster_status", "non-Primary");
	view_set(w, "wsrep_cluster_status", "non-Primary");
	view_set_primary(w, NULL);
	assert_true(view_is_same(v, w));
	view_set_primary(v, prim);
	assert_int_equal(v->prim_conf_id, 7);
	assert_int_equal(v->n_prim_members, 1);
	assert_false(view_is_same(v, w));
	obj_free(prim);
	obj_free(v);
	obj_free(w);
}

#define AT "2026-11-20T14:56:28.830644439+00:00 stderr "

/* HEART S15: conmon gives a long line, and what a busy pipe cuts, in parts; a view or quorum line in parts was not seen. */
static void s15_lines_in_parts(void **state)
{
	const char *text = START N
		"WSREP: gcomm: connecting to group 'gabc-e3', peer ''\n" N "WSREP: Quorum results:\n" T
		"\tversion    = 6,\n" AT "P \tcompon\n" AT "P ent  = PRI\n"
		"2026-11-20T14:56:28.9+00:00 stdout F another stream\n" AT "F MARY,\n" AT
		"P \tconf_id    = 1\n" AT "F 1,\n" T "\tmembers    = 2/2 (joined/total),\n" N
		"WSREP: =====\n" T "View:\n" T "  status: primary\n" T "  own_index: 1\n" A AT
		"P \t1: 90d7e111-e4f2-11f1-8c2e-4b39df62ff7f, d\n" AT "F b.1\n" T "=====\n";
	char dir[] = "/tmp/gsw-test-XXXXXX";
	struct log_primary p;
	cleanup_free char *path = NULL;
	struct err e = {0};

	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/log", dir);
	assert_int_equal(fs_write(path, text, strlen(text), 0600, &e), 0);
	assert_int_equal(log_primary_read(path, NULL, &p, &e), 0);
	assert_int_equal(p.conf_id, 12);
	assert_int_equal(p.n_members, 2);
	assert_string_equal(p.members[1], "db.1");
	log_primary_fini(&p);
	fs_remove_all(dir, NULL);
}

/* HEART S7: a member that knew of no view took an order that was meant for the members of a certain one. */
static void s7_pc_bootstrap_is_for_one_view(void **state)
{
	struct err e = {0};

	assert_int_equal(view_check_order(7, 7, &e), 0);
	assert_int_equal(view_check_order(0, 0, &e), 0);
	assert_int_equal(view_check_order(0, 9, &e), 0);
	assert_int_equal(view_check_order(7, 8, &e), E_STALE_VERSION);
	assert_non_null(strstr(e.msg, "view 8"));
	assert_int_equal(view_check_order(7, 0, &e), E_STALE_VERSION);
}

#define SHIFT(from, to) N "WSREP: Shifting " from " -> " to " (TO: 7)\n"

/* HEART L1: whether a zero uuid is of a schema change or of a member that was shut out, and S9: whether it said goodbye. */
static void l1_how_it_ended(void **state)
{
	struct log_primary p = parse(START SHIFT("CLOSED", "OPEN") SHIFT("PRIMARY", "JOINER"));

	assert_false(p.is_synced || p.has_left || p.is_inconsistent);
	p = parse(START SHIFT("JOINER", "JOINED") SHIFT("JOINED", "SYNCED") SHIFT("SYNCED", "DONOR/DESYNCED")
			  SHIFT("SYNCED", "OPEN"));
	assert_true(p.is_synced && !p.has_left && !p.is_inconsistent);
	p = parse(START SHIFT("JOINED", "SYNCED") SHIFT("OPEN", "PRIMARY") SHIFT("PRIMARY", "JOINER"));
	assert_false(p.is_synced);
	/* as 26.4.23 prints it */
	p = parse(START SHIFT("JOINED", "SYNCED") T
		  "2026-11-22 0 [ERROR] WSREP: Inconsistency detected: Inconsistent by consensus on "
		  "u:7\n" SHIFT("SYNCED", "OPEN") SHIFT("OPEN", "CLOSED"));
	assert_true(p.is_inconsistent && p.has_left && !p.is_synced);
	p = parse(SHIFT("OPEN", "CLOSED") START);
	assert_false(p.has_left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_then_alone),
		cmocka_unit_test(test_view_is_being_printed),
		cmocka_unit_test(test_waits_for_primary),
		cmocka_unit_test(test_view_names_it),
		cmocka_unit_test(s15_lines_in_parts),
		cmocka_unit_test(s7_pc_bootstrap_is_for_one_view),
		cmocka_unit_test(l1_how_it_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
