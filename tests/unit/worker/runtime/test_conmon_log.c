// SPDX-License-Identifier: Apache-2.0
/* A task's log as lines (FINDINGS W12, U1, D2): conmon's parts joined, both files of a rotation read, the last N lines
 * of what was really printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/runtime/conmon_log.h"
#include "worker/galera/server_log.h"

#define T "2026-11-20T14:47:33.123456789+00:00 "
#define O T "stdout F "
#define OP T "stdout P "
#define E T "stderr F "
#define EP T "stderr P "

static char dir[] = "conmon-log-test.XXXXXX";
static char *path, *old_path;

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	path = xasprintf("%s/log", dir);
	old_path = xasprintf("%s/log.1", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(path);
	unlink(old_path);
	free(path);
	free(old_path);
	return rmdir(dir);
}

static void file_set(const char *name, const char *text, size_t len, const char *mode)
{
	FILE *f = fopen(name, mode);

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* The log rotated at `cut`; 0: never rotated. */
static void log_set(const char *text, size_t cut)
{
	unlink(old_path);
	if (cut)
		file_set(old_path, text, cut, "w");
	file_set(path, text + cut, strlen(text) - cut, "w");
}

/* "1 text\n" for stdout, "2 text\n" for stderr */
static void collect(const struct conmon_record *line, void *arg)
{
	buf_printf(arg, "%d ", 1 + line->is_stderr);
	buf_append(arg, line->text, line->len);
	buf_append(arg, "\n", 1);
}

static char *lines_of(int64_t tail, size_t limit)
{
	struct conmon_log *l;
	struct err e = {0};
	struct buf b = {0};
	int r;

	assert_int_equal(conmon_log_open(path, tail, false, &l, &e), 0);
	while ((r = conmon_log_read(l, limit, collect, &b, &e)) > 0)
		;
	assert_int_equal(r, 0);
	conmon_log_end(l, collect, &b);
	conmon_log_free(l);
	return buf_text(&b);
}

/* ---- tests ---- */

static void records(void **state)
{
	static const char *const bad[] = {"",
					  "garbage",
					  "2026-11-20T14:47:33 stdout",
					  T "stdout",
					  T "stdout X a",
					  T "stdin F a",
					  "x stdout F a",
					  T "stdout Fa"};
	struct conmon_record r;

	assert_true(conmon_record_parse(E "hello world", strlen(E "hello world"), &r));
	assert_true(r.time_ns == 1795186053123456789);
	assert_true(r.is_stderr && !r.is_part && r.len == 11);
	assert_memory_equal(r.text, "hello world", 11);
	assert_true(conmon_record_parse("2026-11-20T16:47:33.1+02:00 stdout P ", 37, &r));
	assert_true(r.time_ns == 1795186053100000000 && r.is_part && r.len == 0);
	assert_true(conmon_record_parse("2026-11-20T14:47:33Z stdout F", 29, &r));
	assert_true(r.time_ns == 1795186053000000000 && r.len == 0);
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(conmon_record_parse(bad[i], strlen(bad[i]), &r));
}

static const char mixed[] =
	O "one\n" OP "t\n" E "err\n" OP "w\n" EP "half \n" O "o\n" E "done\n" O "\n" OP "no end";

/* However the file is read, and wherever it was rotated. */
static void parts_are_joined(void **state)
{
	size_t len = strlen(mixed);
	cleanup_free char *whole = NULL;

	log_set(mixed, 0);
	whole = lines_of(-1, 1 << 16);
	assert_string_equal(whole, "1 one\n2 err\n1 two\n2 half done\n1 \n");
	for (size_t limit = 1; limit < len; limit++) {
		cleanup_free char *text = lines_of(-1, limit);

		assert_string_equal(text, whole);
	}
	for (size_t cut = 1; cut < len; cut++) {
		if (mixed[cut - 1] != '\n')
			continue;
		log_set(mixed, cut);
		cleanup_free char *text = lines_of(-1, 7);
		assert_string_equal(text, whole);
	}
}

/* A prompt has no line break: it is given at the end. */
static void unfinished_line(void **state)
{
	cleanup_free char *text = NULL, *last = NULL;

	log_set(O "one\n" OP "name: \n", 0);
	text = lines_of(-1, 99);
	assert_string_equal(text, "1 one\n1 name: \n");
	last = lines_of(1, 99);
	assert_string_equal(last, "1 name: \n");
}

static const char *last_lines(const char *whole, size_t n)
{
	const char *p = whole + strlen(whole);

	for (n++; p > whole; p--)
		if (p[-1] == '\n' && --n == 0)
			return p;
	return whole;
}

/* U1: --tail 0 printed everything, --tail 3 nothing after a rotation. */
static void tail_counts_lines(void **state)
{
	size_t len = strlen(mixed);

	for (size_t cut = 0; cut < len; cut++) {
		if (cut && mixed[cut - 1] != '\n')
			continue;
		log_set(mixed, cut);
		cleanup_free char *whole = lines_of(-1, 99);
		for (int tail = 0; tail < 8; tail++) {
			cleanup_free char *text = lines_of(tail, 5);

			assert_string_equal(text, last_lines(whole, (size_t)tail));
		}
	}
	unlink(path); /* renamed, and conmon has not made the new one yet */
	cleanup_free char *text = lines_of(1, 99);
	assert_int_equal(strlen(text), strlen("1 \n"));
}

/* A burst between two looks of the rotation: 15 MB in log.1, one line in log. */
static void tail_of_a_large_log(void **state)
{
	struct buf b = {0};
	cleanup_free char *text = NULL, *many = NULL;
	size_t n = 0;

	for (size_t i = 0; b.len < 15u << 20; i++)
		buf_printf(&b, O "line %zu %060d\n", i, 0);
	file_set(old_path, (char *)b.data, b.len, "w");
	file_set(path, O "last\n", strlen(O "last\n"), "w");
	buf_fini(&b);
	text = lines_of(3, 1 << 16);
	assert_non_null(strstr(text, "\n1 last\n"));
	many = lines_of(30000, 1 << 16);
	for (const char *p = many; *p; p++)
		n += *p == '\n';
	assert_int_equal(n, 30000);
}

static void nothing_there(void **state)
{
	struct conmon_log *l;
	struct err e = {0};

	unlink(path);
	unlink(old_path);
	assert_int_equal(conmon_log_open(path, -1, true, &l, &e), -2 /* ENOENT */);
}

static void follow_read(struct conmon_log *l, struct buf *b)
{
	struct err e = {0};

	while (conmon_log_read(l, 1000, collect, b, &e) > 0)
		;
	assert_int_equal(e.code, 0);
}

static void follow_through_rotation(void **state)
{
	struct conmon_log *l;
	struct err e = {0};
	struct buf b = {0};

	log_set(O "before\n", 0);
	assert_int_equal(conmon_log_open(path, 0, true, &l, &e), 0);
	follow_read(l, &b);
	file_set(path, OP "a", strlen(OP "a"), "a");
	follow_read(l, &b);
	assert_int_equal(b.len, 0);
	assert_int_equal(rename(path, old_path), 0);
	follow_read(l, &b);
	file_set(old_path, "b\n" O "c\n", strlen("b\n" O "c\n"), "a"); /* conmon has not heard of it yet */
	file_set(path, O "d\n", strlen(O "d\n"), "w");
	follow_read(l, &b);
	assert_string_equal(buf_text(&b), "1 abc\n1 d\n");
	file_set(path, E "e\n", strlen(E "e\n"), "a");
	assert_int_equal(rename(path, old_path), 0); /* and once more */
	file_set(path, O "f\n", strlen(O "f\n"), "w");
	follow_read(l, &b);
	assert_string_equal(buf_text(&b), "1 abc\n1 d\n2 e\n1 f\n");
	conmon_log_free(l);
	buf_fini(&b);
}

static void longest_line(void **state)
{
	struct conmon_join j = {0};
	struct buf b = {0}, part = {0};
	size_t n = 0;

	buf_printf(&part, OP "%08000d\n", 7);
	for (size_t i = 0; i < 100; i++) {
		conmon_join_feed(&j, (char *)part.data, part.len, collect, &b);
		assert_true(j.part[0].text.len < CONMON_LINE_MAX);
	}
	conmon_join_feed(&j, O "\n", strlen(O "\n"), collect, &b);
	for (size_t i = 0; i < b.len; i++)
		n += b.data[i] == '\n';
	assert_int_equal(n, 1 + 800000 / CONMON_LINE_MAX);
	buf_fini(&b);
	buf_fini(&part);
	conmon_join_fini(&j);
}

/* S15: a view or quorum line that conmon wrote in two parts was not seen, and elections rest on it. */
static void server_log_in_parts(void **state)
{
#define N "2026-11-20 14:56:28 0 [Note] "
	static const char *const told[] = {
		N "Starting MariaDB 10.11.19-MariaDB source revision 5843d84 as process 12",
		N "WSREP: gcomm: connecting to group 'gabc-e12-e3', peer '10.0.0.2:'",
		N "WSREP: Quorum results:",
		"\tcomponent  = PRIMARY,",
		"\tconf_id    = 7,",
		"\tmembers    = 1/2 (joined/total),",
		N "WSREP: ================================================",
		"View:",
		"  status: primary",
		"  own_index: 1",
		"\t0: 90a75956-e4f2-11f1-a8b4-7e81cdb7e8f8, db.2",
		"\t1: 90d7e111-e4f2-11f1-8c2e-4b39df62ff7f, db.1",
		"=================================================",
	};

	for (size_t at = 1; at < 30; at++) {
		struct log_primary p;
		struct err e = {0};
		struct buf b = {0};
		size_t middle = 0;

		for (size_t i = 0; i < array_size(told); i++) {
			if (strlen(told[i]) > at)
				buf_printf(&b, EP "%.*s\n" O "between\n" E "%s\n", (int)at, told[i],
					   told[i] + at);
			else
				buf_printf(&b, E "%s\n", told[i]);
			middle = i == at % array_size(told) ? b.len : middle;
		}
		log_set(buf_text(&b), middle);
		assert_int_equal(log_primary_read(path, NULL, &p, &e), 0);
		assert_true(p.has_start && p.was_primary && p.conf_id == 8 && p.group_epoch == 3);
		assert_int_equal(p.n_members, 2);
		assert_string_equal(p.members[0], "db.2");
		log_primary_fini(&p);
		buf_fini(&b);
	}
}

static void log_add(const char *text)
{
	FILE *f = fopen(path, "a");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

static void log_turn(void)
{
	assert_int_equal(rename(path, old_path), 0);
	log_add("");
}

static struct log_primary seen_since(const struct conmon_mark *since)
{
	struct log_primary p;
	struct err e = {0};

	assert_int_equal(log_primary_read(path, since, &p, &e), 0);
	return p;
}

/* L18: an order that comes before a process's first line was weighed by what the process before it had told. */
static void l18_only_what_this_process_told(void **state)
{
	struct conmon_mark since;
	struct log_primary p;

	log_set(E N "Starting MariaDB 10.11.19-MariaDB source revision 5843d84 as process 12\n" E N
		    "WSREP: New COMPONENT: primary = yes, bootstrap = no\n",
		0);
	conmon_log_mark(path, &since);
	assert_true(seen_since(NULL).was_primary);
	p = seen_since(&since);
	assert_false(p.was_primary || p.has_start);
	log_add(E N "Starting MariaDB 10.11.19-MariaDB source revision 5843d84 as process 13\n");
	p = seen_since(&since);
	assert_true(!p.was_primary && p.has_start);
	log_turn(); /* the mark is in log.1 now */
	p = seen_since(&since);
	assert_true(!p.was_primary && p.has_start);
	log_add(E N "WSREP: New COMPONENT: primary = yes, bootstrap = no\n");
	assert_true(seen_since(&since).was_primary);
	log_turn(); /* and now in none: all there is counts */
	assert_true(seen_since(&since).was_primary);
	conmon_log_mark("/nonexistent/log", &since);
	assert_true(since.inode == 0 && since.size == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records),
		cmocka_unit_test(parts_are_joined),
		cmocka_unit_test(unfinished_line),
		cmocka_unit_test(tail_counts_lines),
		cmocka_unit_test(tail_of_a_large_log),
		cmocka_unit_test(nothing_there),
		cmocka_unit_test(follow_through_rotation),
		cmocka_unit_test(longest_line),
		cmocka_unit_test(server_log_in_parts),
		cmocka_unit_test(l18_only_what_this_process_told),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
