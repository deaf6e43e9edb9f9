// SPDX-License-Identifier: Apache-2.0
/* Text from outside (FINDINGS W1, U9): what is UTF-8, a plain line, a host name, a path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/text.h"

static void utf8(void **state)
{
	static const char *const good[] = {"",
					   "a",
					   "\n",
					   "\xc3\xa4",
					   "\xe2\x82\xac",
					   "\xf0\x9f\x90\x9d",
					   "\xf4\x8f\xbf\xbf",
					   "\xef\xbf\xbf"};
	static const char *const bad[] = {"\xff",         "\x80",         "\xc0\x80",     "\xc3",
					  "\xe2\x82",     "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
					  "\xf0\x9f\x90", "ab\xe9z"};

	for (size_t i = 0; i < array_size(good); i++)
		assert_true(text_is_utf8(good[i]));
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(text_is_utf8(bad[i]));
	assert_true(text_is_plain("caf\xc3\xa9 1"));
	assert_false(text_is_plain("a\nb"));
	assert_false(text_is_plain("a\x7f"));
	assert_false(text_is_plain("a\xc2\x9b"
				   "2J")); /* CSI as one character */
	assert_false(text_is_plain("\xff"));
}

static void one_line(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"plain caf\xc3\xa9", "plain caf\xc3\xa9"},
		{"two\nlines\r\n", "two?lines??"},
		{"\x1b[2J", "?[2J"},
		{"a\xff"
		 "b",
		 "a?b"},
		{"cut \xe2\x82", "cut "},
		{"cut \xc3", "cut "},
		{"\xc2\x9b"
		 "x",
		 "?x"},
		{"\x80\x80", "??"},
		{"", ""},
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s", cases[i].in);
		text_one_line(text);
		assert_string_equal(text, cases[i].out);
	}
}

/* U12: a name with a line break gave an error of two lines. */
static void an_error_is_one_line(void **state)
{
	struct err e = {0};
	char longest[600];

	err_set(&e, E_INVALID, "name '%s' is bad", "a\nb");
	err_wrap(&e, "service %s", "\x1b[1m");
	assert_string_equal(e.msg, "service ?[1m: name 'a?b' is bad");
	memset(longest, 0, sizeof(longest));
	for (size_t i = 0; i + 2 < sizeof(longest); i += 2)
		memcpy(longest + i, "\xc3\xa4", 2);
	err_set(&e, E_INVALID, "%s", longest); /* cut at an odd place */
	assert_true(text_is_plain(e.msg) && strlen(e.msg) == 254);
	err_errno(&e, 2, "open %s", "x\ny");
	assert_string_equal(e.msg, "open x?y: No such file or directory");
}

static void hostnames(void **state)
{
	static const char *const good[] = {
		"a",
		"db1",
		"db-1.example.org",
		"1",
		"a.b.c",
		"A-b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",  /* 63 */
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", /* 64 */
	};
	static const char *const bad[] = {
		"",
		"-a",
		"a-",
		"a..b",
		".a",
		"a.",
		"a_b",
		"a b",
		"a\n",
		"\xff",
		"a-.b",
		"a.-b",
		"caf\xc3\xa9",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",  /* a label of 64 */
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", /* 65 */
	};

	for (size_t i = 0; i < array_size(good); i++)
		if (!text_is_hostname(good[i]))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < array_size(bad); i++)
		if (text_is_hostname(bad[i]))
			fail_msg("%s", bad[i]);
}

static void paths(void **state)
{
	static const struct {
		const char *path, *clean;
	} good[] = {{"/", "/"},
		    {"/a/b", "/a/b"},
		    {"//a///b//", "/a/b"},
		    {"/a/./b/.", "/a/b"},
		    {"/a/..b/c..", "/a/..b/c.."},
		    {"/.", "/"},
		    {"/.a", "/.a"},
		    {"/a/...", "/a/..."},
		    {"/caf\xc3\xa9", "/caf\xc3\xa9"}};
	static const char *const bad[] = {"", "a", "./a", "/..", "/a/..", "/a/../b", "/a\nb", "/\xff"};

	for (size_t i = 0; i < array_size(good); i++) {
		char text[64];

		assert_true(text_is_path(good[i].path));
		snprintf(text, sizeof(text), "%s", good[i].path);
		text_clean_path(text);
		assert_string_equal(text, good[i].clean);
	}
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(text_is_path(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8),
		cmocka_unit_test(one_line),
		cmocka_unit_test(an_error_is_one_line),
		cmocka_unit_test(hostnames),
		cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
