// SPDX-License-Identifier: Apache-2.0
/* Times, sizes, cuts and tables as they stand on the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/output/table.h"
#include "cli/output/text.h"

static void spans(void **state)
{
	static const struct {
		int64_t s;
		const char *text;
	} cases[] = {{0, "Less than a second"}, {1, "1 second"},         {59, "59 seconds"},
		     {60, "About a minute"},    {185, "3 minutes"},      {3600, "About an hour"},
		     {7200, "2 hours"},         {86400 * 3, "3 days"},   {86400 * 21, "3 weeks"},
		     {86400 * 90, "3 months"},  {86400 * 800, "2 years"}};
	char buf[64];

	for (size_t i = 0; i < array_size(cases); i++)
		assert_string_equal(text_span(cases[i].s * 1000, buf, sizeof(buf)), cases[i].text);
	assert_string_equal(text_ago(1000, 181000, buf, sizeof(buf)), "3 minutes ago");
	assert_string_equal(text_ago(2000, 1000, buf, sizeof(buf)), "less than a second ago");
}

static void sizes_and_cuts(void **state)
{
	char buf[32];

	assert_string_equal(text_bytes(1536, buf, sizeof(buf)), "1.5KiB");
	assert_string_equal(text_bytes(512ull << 20, buf, sizeof(buf)), "512MiB");
	cleanup_free char *whole = text_cut("a\nb", 0), *cut = text_cut("0123456789", 4),
			  *utf8 = text_cut("aé", 2);
	assert_string_equal(whole, "a b");
	assert_string_equal(cut, "0123…");
	assert_string_equal(utf8, "a…");
}

static char *printed(struct table *t)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	table_print(t, out);
	fclose(out);
	return text;
}

static void tables(void **state)
{
	struct table *t = table_new((const char *[]){"ID", "NAME", NULL});

	table_row(t, (const char *[]){"abc", "db"});
	table_row(t, (const char *[]){"abcdef", NULL});
	cleanup_free char *text = printed(t),
			  *empty = printed(table_new((const char *[]){"ID", "NAME", NULL}));
	assert_string_equal(text, "ID       NAME\nabc      db\nabcdef   \n");
	assert_string_equal(empty, "ID   NAME\n");
}

static void galera_words(void **state)
{
	Gs__GaleraView v = GS__GALERA_VIEW__INIT;
	Gs__TaskStatus s = GS__TASK_STATUS__INIT;
	Gs__Task t = GS__TASK__INIT;

	t.topology = TOPO_GALERA;
	t.status = &s;
	s.view = &v;
	s.state = TASK_RUNNING;
	v.status = (char *)"Primary";
	v.connected = v.ready = true;
	v.local_state = 4;
	cleanup_free char *synced = text_galera(&t);
	assert_string_equal(synced, "Synced");
	assert_true(galera_is_ready(&t));
	v.local_state = 2;
	cleanup_free char *donor = text_galera(&t);
	assert_string_equal(donor, "Donor");
	assert_false(galera_is_ready(&t));
	v.status = (char *)"non-Primary";
	v.cluster_size = 1;
	cleanup_free char *alone = text_galera(&t);
	assert_string_equal(alone, "non-Primary (sees 1)");
	s.state = TASK_FAILED;
	cleanup_free char *dead = text_galera(&t);
	assert_string_equal(dead, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans),
		cmocka_unit_test(sizes_and_cuts),
		cmocka_unit_test(tables),
		cmocka_unit_test(galera_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
