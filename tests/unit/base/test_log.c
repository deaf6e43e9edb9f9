// SPDX-License-Identifier: Apache-2.0
/* FINDINGS W, last line: a log that nobody reads stops nobody (stderr on the loop). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// after the headers it needs
#include <cmocka.h>

#include "base/log.h"

#define LINES 5000

/* Reads until the last line is there; how many whole lines, and how many are said to be lost. */
static void read_all(int fd, unsigned *ret_lines, unsigned *ret_lost)
{
	static char text[1 << 20];
	size_t n = 0;
	char *at;

	while (!(text[n] = '\0', strstr(text, "the last one"))) {
		ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

		assert_true(got > 0);
		n += (size_t)got;
	}
	*ret_lines = 0;
	*ret_lost = 0;
	for (at = text; (at = strstr(at, " number ")); at++)
		++*ret_lines;
	for (at = text; (at = strstr(at, "\n(")); at++)
		*ret_lost += (unsigned)atoi(at + 2);
}

static void test_a_log_that_nobody_reads(void **state)
{
	unsigned lines, lost;
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	fcntl(pipe_fds[1], F_SETPIPE_SZ, 4096);
	log_init("test", LOG_INFO, pipe_fds[1]);
	log_start_writer();
	alarm(20); /* would wait for ever in write(2) */
	for (int i = 0; i < LINES; i++)
		log_info("number %d", i);
	log_flush(10);                                              /* comes back, too */
	assert_true(fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20) > 0); /* now somebody reads */
	log_flush(10000);
	log_info("the last one");
	read_all(pipe_fds[0], &lines, &lost);
	alarm(0);
	assert_true(lines > 500 && lost > 500);
	assert_int_equal(lines + lost, LINES);
}

/* The second session's safety review, 15: a host name, an answer, a line of a task can hold them. */
static void test_s15_nothing_of_a_line_moves_a_terminal(void **state)
{
	char text[8192];
	int pipe_fds[2];
	ssize_t n;

	assert_int_equal(pipe(pipe_fds), 0);
	log_init("test", LOG_INFO, pipe_fds[1]); /* no writer: in place */
	log_info("node \033[2J\033]0;title\a said:\r\n one\ttwo \x7f \xc2\x9b \x9b gr\xc3\xbc\xc3\x9f");
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, " node ?[2J?]0;title? said:?  one two ? ? ? gr\xc3\xbc\xc3\x9f\n"));
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	log_info("%04000d", 1); /* cut, and still a line */
	n = read(pipe_fds[0], text, sizeof(text) - 1);
	assert_true(n > 2000 && n <= 2048);
	assert_int_equal(text[n - 1], '\n');
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_s15_nothing_of_a_line_moves_a_terminal),
		cmocka_unit_test(test_a_log_that_nobody_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
