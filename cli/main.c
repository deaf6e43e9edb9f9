// SPDX-License-Identifier: Apache-2.0
/* gswarm: the command line.
 *
 * The happy path is: noun, verb, options -> the verb runs -> exit 0. What can fail: the words (exit 2, one
 * line and a hint at --help) or the deed (exit 1, one line). */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "cli/client.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cli/nouns.h"

static int fail(const struct cmd *c, const struct err *e)
{
	const char *noun = c->noun ? c->noun->name : "", *verb = c->verb ? c->verb->name : "";
	const char *gap = *noun && *verb ? " " : "";

	if (e->code != CLI_USAGE) {
		fprintf(stderr, "gswarm: %s\n", e->msg);
		return 1;
	}
	if (*verb)
		fprintf(stderr, "gswarm: %s%s%s: %s (see 'gswarm %s%s%s --help')\n", noun, gap, verb, e->msg,
			noun, gap, verb);
	else
		fprintf(stderr, "gswarm: %s (see 'gswarm%s%s --help')\n", e->msg, *noun ? " " : "", noun);
	return 2;
}

/* Options before the noun. Returns how many words they took, or -1 when something was printed and *ret_rc is
 * set. */
static int global_options(struct cmd *c, int n, char **words, int *ret_rc)
{
	int i = 0;

	*ret_rc = 0;
	for (; i < n && words[i][0] == '-'; i++) {
		struct err e = {0};

		if (strcmp(words[i], "--run-dir") == 0 && i + 1 < n && *words[i + 1]) {
			c->run_dir = words[++i];
		} else if (strncmp(words[i], "--run-dir=", 10) == 0 && words[i][10]) {
			c->run_dir = words[i] + 10;
		} else if (strncmp(words[i], "--run-dir", 9) == 0 && (!words[i][9] || words[i][9] == '=')) {
			err_set(&e, CLI_USAGE, "--run-dir needs a value (a folder)");
			*ret_rc = fail(c, &e);
			return -1;
		} else if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
			help_root(stdout);
			return -1;
		} else if (strcmp(words[i], "--version") == 0 || strcmp(words[i], "-v") == 0) {
			printf("gswarm version %s\n", GSWARM_VERSION);
			return -1;
		} else {
			err_set(&e, CLI_USAGE, "unknown option %s", words[i]);
			*ret_rc = fail(c, &e);
			return -1;
		}
	}
	return i;
}

/* What was printed must have arrived; a reader that went away (| head) needs no telling. */
static int finish_output(const struct cmd *c, int rc)
{
	struct err e = {0};

	if (!fflush(stdout) && !ferror(stdout))
		return rc;
	if (errno != EPIPE && !rc)
		fail(c, (err_set(&e, -errno, "write to stdout: %s", strerror(errno)), &e));
	return rc ? rc : 1;
}

/* With stdin, stdout or stderr closed, the first socket would be taken for it. */
static void open_missing_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int run_verb(struct cmd *c, int n, char **words)
{
	struct err e = {0};
	int r = opt_parse(c, n, words, &e), rc;

	bug_if(!c->verb || !c->noun);
	if (!r)
		r = c->verb->run(c, &e);
	else if (r == 1)
		r = 0;
	rc = r < 0 ? fail(c, &e) : r;
	client_close(c);
	opt_fini(c);
	return finish_output(c, rc);
}

/* gswarm help [COMMAND [VERB]]: as --help behind it. */
static int help(struct cmd *c, int n, char **words)
{
	struct err e = {0};

	bug_if(n < 0 || c->verb);
	c->noun = n ? noun_find(words[0]) : NULL;
	c->verb = n && c->noun && n > 1 ? verb_find(c->noun, words[1]) : NULL;
	if (n && !c->noun && (c->verb = verb_find(nouns[0], words[0])))
		c->noun = nouns[0];
	if ((n && !c->noun) || (n > 1 && !c->verb)) {
		c->verb = NULL;
		c->noun = NULL;
		err_set(&e, CLI_USAGE, "unknown command '%s%s%s'", words[0], n > 1 ? " " : "",
			n > 1 ? words[1] : "");
		return fail(c, &e);
	}
	if (c->verb)
		help_verb(stdout, c->noun, c->verb);
	else if (c->noun)
		help_noun(stdout, c->noun);
	else
		help_root(stdout);
	return finish_output(c, 0);
}

static int dispatch(struct cmd *c, int n, char **words)
{
	struct err e = {0};

	if (!n) {
		help_root(stderr);
		return 2;
	}
	if (strcmp(words[0], "__complete") == 0) {
		complete_words(stdout, c->run_dir, n - 1, words + 1);
		return 0;
	}
	if (strcmp(words[0], "__man") == 0) {
		man_page(stdout);
		return 0;
	}
	if (strcmp(words[0], "__markdown") == 0) {
		markdown_page(stdout);
		return 0;
	}
	if (strcmp(words[0], "help") == 0)
		return help(c, n - 1, words + 1);
	c->verb = verb_find(nouns[0], words[0]);
	if (c->verb) {
		c->noun = nouns[0];
		return run_verb(c, n - 1, words + 1);
	}
	c->noun = noun_find(words[0]);
	if (!c->noun) {
		err_set(&e, CLI_USAGE, "unknown command '%s'", words[0]);
		return fail(c, &e);
	}
	if (n > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0)) {
		help_noun(stdout, c->noun);
		return 0;
	}
	if (n < 2) {
		help_noun(stderr, c->noun);
		return 2;
	}
	c->verb = verb_find(c->noun, words[1]);
	if (!c->verb) {
		err_set(&e, CLI_USAGE, "unknown command '%s %s'", words[0], words[1]);
		return fail(c, &e);
	}
	return run_verb(c, n - 2, words + 2);
}

int main(int argc, char **argv)
{
	const char *run_dir = getenv("GSWARM_RUN_DIR");
	struct cmd c = {.run_dir = run_dir && *run_dir ? run_dir : "/run/gswarm"};
	int rc, used;

	open_missing_streams();
	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_IGN);
	used = global_options(&c, argc - 1, argv + 1, &rc);
	return used < 0 ? rc : dispatch(&c, argc - 1 - used, argv + 1 + used);
}
