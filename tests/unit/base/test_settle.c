// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/settle.h"

static long rss_file_kib(void)
{
	cleanup_free char *text = NULL;
	const char *at;

	if (fs_read("/proc/self/status", 65536, &text, NULL, NULL) < 0)
		return -1;
	at = strstr(text, "RssFile:");
	return at ? strtol(at + 8, NULL, 10) : -1;
}

/* Relocated tables of constants, ours and libc's, and what the program wrote are as they were. */
static const char *const words[] = {"one", "two", "three"};
static char written[] = "initial";

static void what_is_read_or_written_stays(void **state)
{
	const char *volatile const *list = (const char *volatile const *)words;
	char *heap = xstrdup("heap");
	long before;

	strcpy(written, "changed");
	before = rss_file_kib();
	settle_now();
	assert_in_range(rss_file_kib(), 1, before - 1);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(list[2], "three");
		assert_string_equal(written, "changed");
		assert_string_equal(heap, "heap");
		assert_string_equal(err_name(E_CORRUPT), "CORRUPT");
		assert_string_equal(strerror(2), "No such file or directory");
		settle_now();
	}
	free(heap);
}

static void it_leaves_the_loop_clean(void **state)
{
	uv_loop_t loop;

	uv_loop_init(&loop);
	settle_free(settle_new(&loop));
	settle_free(NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_read_or_written_stays),
		cmocka_unit_test(it_leaves_the_loop_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
