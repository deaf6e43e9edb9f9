// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "worker/galera/parse.h"
#include "worker/galera/progress.h"

#define UUID "4fa302da-e4eb-11f1-a25e-3a2748ddb7d0"
#define ZERO "00000000-0000-0000-0000-000000000000"

static int state(const char *text, struct grastate *g)
{
	struct err e = {0};

	return grastate_parse(text, strlen(text), g, &e);
}

static void grastate_reads_what_the_server_writes(void **s)
{
	struct grastate g;

	assert_int_equal(state("# GALERA saved state\nversion: 2.1\nuuid:    " UUID "\nseqno:   42\n"
			       "safe_to_bootstrap: 1\n",
			       &g),
			 0);
	assert_string_equal(g.position.uuid, UUID);
	assert_int_equal(g.position.seqno, 42);
	assert_true(g.safe_to_bootstrap);
	assert_int_equal(state("uuid: " ZERO "\r\nseqno: -1\r\nsafe_to_bootstrap: 0\r\n", &g), 0);
	assert_true(galera_uuid_is_zero(g.position.uuid));
	assert_int_equal(g.position.seqno, -1);
	assert_false(g.safe_to_bootstrap);
}

static void grastate_refuses_what_is_torn(void **s)
{
	static const char *const bad[] = {"",
					  "\n\n",
					  "uuid: " UUID "\n",
					  "seqno: 4\n",
					  "uuid: 4fa302da\nseqno: 4\n",
					  "uuid: " UUID "\nseqno: 4x\n",
					  "uuid: " UUID "\nseqno: -2\n",
					  "uuid: " UUID "\nseqno: 99999999999999999999\n",
					  "uuid: " UUID "\nseqno:"};
	struct grastate g = {.position.seqno = 77};

	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(state(bad[i], &g), E_CORRUPT);
	assert_int_equal(g.position.seqno, 77); /* outputs untouched */
}

static void parsers_survive_noise(void **s)
{
	size_t n = 2 << 20;
	cleanup_free char *noise = xmalloc(n);
	struct recover_result r;
	struct volume_mark m;
	struct gvwstate v;
	struct grastate g;
	struct err e = {0};

	for (int fill = 0; fill < 3; fill++) {
		memset(noise, fill == 0 ? 0 : fill == 1 ? '\n' : ':', n);
		assert_int_equal(grastate_parse(noise, n, &g, &e), E_CORRUPT);
		assert_int_equal(grastate_parse(noise, 300, &g, &e), E_CORRUPT);
		assert_int_equal(gvwstate_parse(noise, n, &v, &e), E_CORRUPT);
		assert_int_equal(gvwstate_parse(noise, 300, &v, &e), E_CORRUPT);
		assert_int_equal(volume_mark_parse(noise, n, &m, &e), E_CORRUPT);
		assert_int_equal(volume_mark_parse(noise, 300, &m, &e), E_CORRUPT);
		recover_parse(noise, n, &r);
		assert_false(r.has_position);
	}
}

static void gvwstate_wants_the_whole_file(void **s)
{
	const char *text = "my_uuid: " UUID "\n#vwbeg\nview_id: 3 " UUID " 7\nbootstrap: 0\nmember: " UUID
			   " 0\nmember: " ZERO " 1\n#vwend\n";
	struct gvwstate v;
	struct err e = {0};

	assert_int_equal(gvwstate_parse(text, strlen(text), &v, &e), 0);
	assert_int_equal(v.view_seq, 7);
	assert_int_equal(v.members, 2);
	for (size_t n = 0; n + 8 < strlen(text); n++)
		assert_int_equal(gvwstate_parse(text, n, &v, &e), E_CORRUPT);
}

static void position_ends_at_the_first_comma(void **s)
{
	struct galera_position p;

	assert_int_equal(galera_position_parse(UUID ":12,0-1-5", 47, &p), 0);
	assert_int_equal(p.seqno, 12);
	assert_int_equal(galera_position_parse(UUID ":12 0", 41, &p), 0);
	assert_int_equal(galera_position_parse(UUID ":-1", 39, &p), 0);
	assert_int_equal(galera_position_parse(UUID ":", 37, &p), E_CORRUPT);
	assert_int_equal(galera_position_parse(UUID ":1x", 39, &p), E_CORRUPT);
	assert_int_equal(galera_position_parse(UUID, 36, &p), E_CORRUPT);
}

static void recover_output(void **s)
{
	const char *text =
		"2026-11-20 0 [Note] Starting MariaDB 10.11.19-MariaDB-0+deb12u1 source revision 58\n"
		"2026-11-20 0 [Note] WSREP: Recovered position: " UUID ":4,0-1-2\n";
	const char *prepared =
		"2026-11-20 0 [ERROR] Found 2 prepared transactions! It means that server was not shut "
		"down properly last time\n";
	struct recover_result r;

	recover_parse(text, strlen(text), &r);
	assert_true(r.has_position);
	assert_int_equal(r.position.seqno, 4);
	assert_string_equal(r.version, "10.11.19-MariaDB-0+deb12u1");
	assert_false(r.prepared);
	recover_parse(prepared, strlen(prepared), &r);
	assert_true(r.prepared);
	assert_false(r.has_position);
	recover_parse("Found 0 prepared transactions", 29, &r);
	assert_false(r.prepared);
}

/* HEART S2: what a server with a binary log says of each crash under load (10.11.19, 24 writers) was taken for damage. */
static void s2_prepared_transactions_that_were_settled(void **s)
{
	const char *text =
		"2026-11-22 0 [Note] InnoDB: 24 transaction(s) which must be rolled back or cleaned up\n"
		"2026-11-22 0 [Note] Found 7 prepared transaction(s) in InnoDB\n"
		"2026-11-22 0 [Note] WSREP: Recovered position: " UUID ":9\n";
	struct recover_result r;

	recover_parse(text, strlen(text), &r);
	assert_true(r.has_position);
	assert_false(r.prepared);
}

static void mark_round_trip(void **s)
{
	struct volume_mark m = {.state = VOLUME_DIRTY,
				.cluster = "abc",
				.slot = "s\"1",
				.volume = "v",
				.epoch = 7,
				.uuid = UUID};
	cleanup_free char *text = volume_mark_format(&m);
	struct volume_mark back;
	struct err e = {0};

	assert_int_equal(volume_mark_parse(text, strlen(text), &back, &e), 0);
	assert_string_equal(back.slot, "s\"1");
	assert_int_equal(back.epoch, 7);
	assert_int_equal(back.state, VOLUME_DIRTY);
	for (size_t n = 0; n < strlen(text); n++)
		assert_int_equal(volume_mark_parse(text, n, &back, &e), E_CORRUPT);
	assert_int_equal(volume_mark_parse("{\"cluster\":\"a\",\"state\":\"clean\"}", 31, &back, &e),
			 E_CORRUPT);
	assert_int_equal(volume_mark_parse("[]", 2, &back, &e), E_CORRUPT);
}

static void progress_is_the_last_known_line(void **s)
{
	const char *log =
		"Starting MariaDB 10\ngcomm: connecting to group 'g'\nRunning: 'wsrep_sst_gswarm --role\n";
	char text[64];

	assert_int_equal(progress_phase("", 0), PHASE_STARTING);
	assert_int_equal(progress_phase(log, strlen(log)), PHASE_SST);
	progress_format(PHASE_SST, 5 << 20, true, text, sizeof(text));
	assert_string_equal(text, "sst over 5 MiB");
	progress_format(PHASE_SST, 120 << 20, false, text, sizeof(text));
	assert_string_equal(text, "sst 120 MiB");
}

/* User review, 9: "[ERROR] Aborting" was all that a failed start told. */
static void last_words_are_the_reason(void **state)
{
	char words[64];

	server_last_words("2026-11-21 [Note] Starting\n"
			  "2026-11-21 [ERROR] unknown variable 'a=b'\n"
			  "2026-11-21 [ERROR] Aborting\n\nInstallation failed\n",
			  words, sizeof(words));
	assert_string_equal(words, "2026-11-21 [ERROR] unknown variable 'a=b'");
	server_last_words("[Note] x\n[ERROR] Aborting\nbye", words, sizeof(words));
	assert_string_equal(words, "[ERROR] Aborting");
	server_last_words("sh: 1: mariadb-install-db: not found\n\n", words, sizeof(words));
	assert_string_equal(words, "sh: 1: mariadb-install-db: not found");
	server_last_words("\n\n", words, sizeof(words));
	assert_string_equal(words, "");
	server_last_words("[ERROR] a line that is longer than what there is room for", words, 10);
	assert_string_equal(words, "[ERROR] a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grastate_reads_what_the_server_writes),
		cmocka_unit_test(last_words_are_the_reason),
		cmocka_unit_test(grastate_refuses_what_is_torn),
		cmocka_unit_test(parsers_survive_noise),
		cmocka_unit_test(gvwstate_wants_the_whole_file),
		cmocka_unit_test(position_ends_at_the_first_comma),
		cmocka_unit_test(recover_output),
		cmocka_unit_test(s2_prepared_transactions_that_were_settled),
		cmocka_unit_test(mark_round_trip),
		cmocka_unit_test(progress_is_the_last_known_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
