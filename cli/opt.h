// SPDX-License-Identifier: Apache-2.0
/* Options by table: one table a verb is the only place where an option is named. Parsing (opt.c), --help (help.c),
 * gswarm.1 (man.c) and the shell's completion (complete.c) all read it.
 *
 *   main.c     nouns and verbs -> opt.c checks the words against the verb's table -> verb->run(cmd, e)
 *   run()      0: done; 1: done and the answer is "no" (already printed); CLI_INTERRUPTED: Ctrl-C;
 *              negative: *e is printed, exit 1, or exit 2 with a hint at --help when the code is CLI_USAGE */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CLI_USAGE -2000     /* err code: the user's words make no sense; exit 2 */
#define CLI_INTERRUPTED 130 /* what a verb returns after Ctrl-C: 128 + SIGINT, as shells have it */

enum opt_type { OPT_FLAG, OPT_STR, OPT_LIST, OPT_UINT, OPT_DURATION, OPT_BYTES, OPT_CPUS };
struct opt {
	char letter; /* 0: none */
	const char *name;
	enum opt_type type;
	const char *arg; /* how --help calls the value; NULL: by its type */
	const char *help;
	const char *choices;      /* "active|pause|drain", or NULL */
	const char *least, *most; /* as a user writes them ("100ms", "24h"), or NULL */
};
#define OPT_END                                                                                              \
	{                                                                                                    \
		0                                                                                            \
	}

struct cmd;
struct verb {
	const char *name;
	const char *usage; /* after the verb: "[OPTIONS] IMAGE [COMMAND] [ARG...]" */
	const char *summary;
	const struct opt *options;
	int min_args, max_args; /* max -1: any number */
	bool options_first; /* the first plain word ends the options: what follows is a command of the user's */
	const char *completes; /* noun whose names its arguments are, or "worker|manager" words, or NULL */
	int (*run)(struct cmd *c, struct err *e);
};
struct noun {
	const char *name; /* "" for the verbs of gswarm itself */
	const char *summary;
	const struct verb *verbs;
	size_t n_verbs;
};

struct opt_value {
	bool is_set;
	const char *text; /* borrowed from argv */
	uint64_t number;  /* UINT: itself, DURATION: ns, BYTES: bytes, CPUS: nano CPUs */
	const char **list;
	size_t n_list;
};
struct rpc_sync;
struct cmd {
	const struct noun *noun;
	const struct verb *verb;
	const char *run_dir;
	struct opt_value *values; /* one per option of the verb */
	const char **args;
	size_t n_args;
	struct rpc_sync *worker, *manager; /* opened on first use */
};

/* words: what follows the verb; borrowed until opt_fini. 1: --help was asked for and printed. CLI_USAGE
 * otherwise. */
int opt_parse(struct cmd *c, int n, char *const *words, struct err *e);
/* Frees what opt_parse made; fine after a failure too. */
void opt_fini(struct cmd *c);

/* Of an option that the verb's table must have; asking for another one is a bug. */
bool opt_is_set(const struct cmd *c, const char *name);
/* Whether the verb's table has it at all: for code that several verbs share. */
bool opt_exists(const struct cmd *c, const char *name);
/* Borrowed from argv, or the fallback. */
const char *opt_text(const struct cmd *c, const char *name, const char *fallback);
/* In the unit that struct opt_value says. */
uint64_t opt_number(const struct cmd *c, const char *name, uint64_t fallback);
/* The values of an OPT_LIST in their order; borrowed. */
const struct opt_value *opt_list(const struct cmd *c, const char *name);
/* Index of the text in the option's choices; fallback when it was not given. */
int opt_choice(const struct cmd *c, const char *name, int fallback);
/* How the value is called: "ip[:port]", "duration". */
const char *opt_value_word(const struct opt *o);
