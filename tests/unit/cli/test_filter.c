// SPDX-License-Identifier: Apache-2.0
/* --filter as Docker has it: values of one key are alternatives, keys must all hold, and what no row can have is refused
 * (FINDINGS U12, "Beside docker"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "cli/filter.h"
#include "cli/nouns.h"

static const struct opt options[] = {{'f', "filter", OPT_LIST, "key=value", "", NULL}, OPT_END};
static const struct verb verb = {"ls", "", "", options, 0, 0, false, NULL, NULL};
static const struct filter_key keys[] = {{"name", NULL}, {"role", "worker|manager"}, {0}};

struct row {
	const char *name, *role;
};

static bool matches(const char *key, const char *value, const void *row)
{
	const struct row *r = row;

	return filter_prefix(strcmp(key, "name") == 0 ? r->name : r->role, value);
}

static int filters(struct cmd *c, int n, const char *const *texts, struct err *e)
{
	char *words[16];

	for (int i = 0; i < n; i++) {
		words[2 * i] = (char *)"-f";
		words[2 * i + 1] = (char *)texts[i];
	}
	*c = (struct cmd){.noun = &root_noun, .verb = &verb};
	assert_int_equal(opt_parse(c, 2 * n, words, e), 0);
	return filters_check(c, keys, e);
}
#define FILTERS(c, e, ...)                                                                                   \
	filters(c, array_size(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__}, e)

static void alternatives_and_conditions(void **state)
{
	const struct row web1 = {"web1", "worker"}, db1 = {"db1", "manager"}, db2 = {"db2", "worker"};
	struct err e = {0};
	struct cmd c;

	assert_int_equal(FILTERS(&c, &e, "name=web", "role=worker", "name=db2"), 0);
	assert_true(filters_pass(&c, matches, &web1));
	assert_true(filters_pass(&c, matches, &db2));
	assert_false(filters_pass(&c, matches, &db1));
	opt_fini(&c);
	assert_int_equal(FILTERS(&c, &e, "role=MANAGER"), 0);
	opt_fini(&c);
}

static void refused(void **state)
{
	static const char *const bad[] = {"x=y", "name", "=x", "", "role=king", "role=", "names=x"};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct err e = {0};
		struct cmd c;

		assert_int_equal(FILTERS(&c, &e, bad[i]), CLI_USAGE);
		assert_non_null(strstr(e.msg, "--filter"));
		opt_fini(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alternatives_and_conditions),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
