// SPDX-License-Identifier: Apache-2.0
/* Options by table: what is accepted, what is refused, and that every table makes sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cli/nouns.h"

static const struct opt options[] = {
	{'d', "detach", OPT_FLAG, NULL, "", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "", NULL},
	{'e', "env", OPT_LIST, NULL, "", NULL},
	{0, "name", OPT_STR, NULL, "", NULL},
	{0, "count", OPT_UINT, NULL, "", NULL},
	{0, "mode", OPT_STR, NULL, "", "one|two|three"},
	{0, "wait", OPT_DURATION, NULL, "", NULL, .least = "10ms", .most = "24h"},
	OPT_END,
};
static const struct verb verb = {"do", "", "", options, 0, 2, false, NULL, NULL};
static const struct verb verb_command = {"run", "", "", options, 1, -1, true, NULL, NULL};

static int parse(struct cmd *c, const struct verb *v, int n, const char **words, struct err *e)
{
	*c = (struct cmd){.noun = &root_noun, .verb = v};
	return opt_parse(c, n, (char *const *)words, e);
}
#define PARSE(c, v, e, ...)                                                                                  \
	parse(c, v, array_size(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__}, e)

static void accepted(void **state)
{
	struct err e = {0};
	struct cmd c;

	assert_int_equal(PARSE(&c, &verb, &e, "a", "--name", "x", "-dq", "-e", "K=V", "-eL=W", "--env=M=X",
			       "--count=7", "b", "--mode", "two", "--wait", "2s"),
			 0);
	assert_int_equal(c.n_args, 2);
	assert_string_equal(c.args[1], "b");
	assert_true(opt_is_set(&c, "detach") && opt_is_set(&c, "quiet"));
	assert_int_equal(opt_list(&c, "env")->n_list, 3);
	opt_fini(&c);
	assert_int_equal(PARSE(&c, &verb, &e, "-d=true", "-q=false", "a", "b"), 0); /* user review, 28 */
	assert_true(opt_is_set(&c, "detach") && !opt_is_set(&c, "quiet"));
	opt_fini(&c);
	assert_int_equal(PARSE(&c, &verb, &e, "a", "--name", "x", "-dq", "-e", "K=V", "-eL=W", "--env=M=X",
			       "--count=7", "b", "--mode", "two", "--wait", "2s"),
			 0);
	assert_string_equal(opt_list(&c, "env")->list[2], "M=X");
	assert_int_equal(opt_number(&c, "count", 1), 7);
	assert_int_equal(opt_choice(&c, "mode", 0), 1);
	assert_string_equal(opt_text(&c, "name", ""), "x");
	assert_true(opt_number(&c, "wait", 0) == 2000000000);
	opt_fini(&c);

	assert_int_equal(PARSE(&c, &verb, &e, "--detach=false", "--", "-x"), 0);
	assert_false(opt_is_set(&c, "detach"));
	assert_string_equal(c.args[0], "-x");
	assert_int_equal(opt_number(&c, "count", 11), 11);
	opt_fini(&c);
}

static void a_command_keeps_its_own_options(void **state)
{
	struct err e = {0};
	struct cmd c;

	assert_int_equal(PARSE(&c, &verb_command, &e, "-d", "host", "sleep", "-d", "--name", "9"), 0);
	assert_int_equal(c.n_args, 5);
	assert_string_equal(c.args[2], "-d");
	assert_false(opt_is_set(&c, "name"));
	opt_fini(&c);
}

static void refused(void **state)
{
	static const struct {
		const char *words[3], *says;
	} cases[] = {
		{{"--nope"}, "unknown option --nope"},
		{{"-z"}, "unknown option -z"},
		{{"--name"}, "needs a value"},
		{{"-e"}, "needs a value"},
		{{"--count", "x"}, "--count"},
		{{"--mode", "four"}, "one|two|three"},
		{{"--detach=7"}, "switch"},
		{{"-d=7"}, "switch"},
		{{"a", ""}, "argument 2 is empty"}, /* user review, 30: `node ps ''` printed an empty table */
		{{"--mode"}, "needs a value (one|two|three)"}, /* U12: "(null)" */
		{{"--wait"}, "needs a value (duration)"},
		{{"--wait", "0s"},
		 "0s is below the least, 10ms"}, /* U12: it meant the default without a word */
		{{"--wait", "99999h"}, "99999h is above the most, 24h"}, /* U9: it overflowed */
		{{"--name", "\xff"}, "is not UTF-8"},
		{{"\xff"}, "is not UTF-8"},
		{{"a", "b", "c"}, "at most 2"},
		{{"--nam", "x"}, "unknown option"},
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct err e = {0};
		struct cmd c;
		int n = 0;

		while (n < 3 && cases[i].words[n])
			n++;
		assert_int_equal(parse(&c, &verb, n, (const char **)cases[i].words, &e), CLI_USAGE);
		assert_non_null(strstr(e.msg, cases[i].says));
		assert_null(strchr(e.msg, '\n'));
		opt_fini(&c);
	}
}

/* Each verb of gswarm: no option twice, a help text everywhere, and --help prints all of them. */
static void every_table_makes_sense(void **state)
{
	for (size_t i = 0; nouns[i]; i++) {
		for (size_t j = 0; j < nouns[i]->n_verbs; j++) {
			const struct verb *v = &nouns[i]->verbs[j];
			char *text = NULL;
			size_t len;
			FILE *out = open_memstream(&text, &len);

			assert_non_null(v->run);
			assert_ptr_equal(verb_find(nouns[i], v->name), v);
			help_verb(out, nouns[i], v);
			fclose(out);
			for (const struct opt *a = v->options; a->name; a++) {
				cleanup_free char *word = xasprintf("--%s", a->name);

				assert_true(strlen(a->help) > 3);
				assert_non_null(strstr(text, word));
				for (const struct opt *b = a + 1; b->name; b++) {
					assert_string_not_equal(a->name, b->name);
					assert_true(!a->letter || a->letter != b->letter);
				}
			}
			free(text);
		}
	}
}

static char *complete(int n, const char **words)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	complete_words(out, "/nonexistent", n, (char *const *)words);
	fclose(out);
	return text;
}
#define COMPLETE(...) complete(array_size(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void completion(void **state)
{
	cleanup_free char *noun = COMPLETE("serv"), *verbs = COMPLETE("service", "");
	cleanup_free char *option = COMPLETE("service", "create", "--topol");
	cleanup_free char *choice = COMPLETE("service", "create", "--topology", "g");
	cleanup_free char *root = COMPLETE("init", "--adv"), *none = COMPLETE("nonsense", "x", "y");

	assert_string_equal(noun, "service\n");
	assert_non_null(strstr(verbs, "create\n"));
	assert_non_null(strstr(verbs, "scale\n"));
	assert_string_equal(option, "--topology\n");
	assert_string_equal(choice, "galera\n");
	assert_string_equal(root, "--advertise-addr\n");
	assert_string_equal(none, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),   cmocka_unit_test(a_command_keeps_its_own_options),
		cmocka_unit_test(refused),    cmocka_unit_test(every_table_makes_sense),
		cmocka_unit_test(completion),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
