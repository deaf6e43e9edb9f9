// SPDX-License-Identifier: Apache-2.0
/* What every verb of the command line shares: option tables, connections, tables on the screen.
 *
 *   main.c     nouns and verbs -> opt.c checks the words against the verb's table -> verb->run(cmd, e)
 *   run()      0: done; 1: done and the answer is "no" (already printed); negative: *e is printed, exit 1,
 *              or exit 2 with a hint at --help when the code is CLI_USAGE
 *
 * One option table a verb is the only place where an option is named: parsing, --help and the shell's
 * completion all read it. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/control.pb-c.h"
#include "proto/node.pb-c.h"
#include "proto/obj.h"
#include "proto/rpc.h"

#define CLI_USAGE -2000     /* err code: the user's words make no sense; exit 2 */
#define CLI_INTERRUPTED 130 /* what a verb returns after Ctrl-C: 128 + SIGINT, as shells have it */

/* ---- interrupt.c ---- */
/* From now on Ctrl-C does not end the program but makes interrupted() true. */
void interrupt_catch(void);
void interrupt_release(void);
bool interrupted(void);

/* ---- opt.c ---- */
enum opt_type { OPT_FLAG, OPT_STR, OPT_LIST, OPT_UINT, OPT_DURATION, OPT_BYTES, OPT_CPUS };
struct opt {
	char letter; /* 0: none */
	const char *name;
	enum opt_type type;
	const char *arg; /* how --help calls the value */
	const char *help;
	const char *choices; /* "active|pause|drain", or NULL */
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
	/* The first plain word ends the options: what follows is a command of the user's. */
	bool options_first;
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
struct cmd {
	const struct noun *noun;
	const struct verb *verb;
	const char *run_dir;
	struct opt_value *values; /* one per option of the verb */
	const char **args;
	size_t n_args;
	struct rpc_sync *worker, *manager; /* opened on first use */
};
/* words: what follows the verb. 1: --help was asked for and printed. CLI_USAGE otherwise. */
int opt_parse(struct cmd *c, int n, char *const *words, struct err *e);
void opt_fini(struct cmd *c);
bool opt_is_set(const struct cmd *c, const char *name);
const char *opt_text(const struct cmd *c, const char *name, const char *fallback);
uint64_t opt_number(const struct cmd *c, const char *name, uint64_t fallback);
const struct opt_value *opt_list(const struct cmd *c, const char *name);
/* Index of the text in the option's choices; fallback when it was not given. */
int opt_choice(const struct cmd *c, const char *name, int fallback);
void help_verb(FILE *out, const struct noun *noun, const struct verb *v);
void help_noun(FILE *out, const struct noun *noun);
void help_root(FILE *out);
void man_page(FILE *out); /* gswarm.1 */

/* ---- the nouns ---- */
extern const struct noun *const nouns[]; /* NULL ends it; [0] is "" */
extern const struct noun swarm_noun, root_noun, node_noun, network_noun, service_noun, galera_noun,
	system_noun;
const struct noun *noun_find(const char *name);
const struct verb *verb_find(const struct noun *n, const char *name);
extern const struct opt init_options[], join_options[], leave_options[], token_options[];
int init_run(struct cmd *c, struct err *e);
int join_run(struct cmd *c, struct err *e);
int leave_run(struct cmd *c, struct err *e);
int join_token_run(struct cmd *c, struct err *e);
extern const struct opt no_options[], events_options[], dump_options[];
int version_run(struct cmd *c, struct err *e);
int events_run(struct cmd *c, struct err *e);
int completion_run(struct cmd *c, struct err *e);
int service_create_run(struct cmd *c, struct err *e);
int service_ps_run(struct cmd *c, struct err *e);
int service_inspect_run(struct cmd *c, struct err *e);
int service_logs_run(struct cmd *c, struct err *e);
extern const struct opt create_options[], ps_options[], service_inspect_options[], logs_options[];
/* Words that may follow those in `words` (the last one is what the user has typed so far), one a line. */
void complete_words(FILE *out, const char *run_dir, int n, char *const *words);

/* ---- client.c ---- */
enum daemon { DAEMON_WORKER, DAEMON_MANAGER };
/* method: CONTROL_... or NODE_LOCAL_..., as the daemon. The response is freed with
 * protobuf_c_message_free_unpacked(r, NULL). */
int client_call(struct cmd *c, enum daemon d, unsigned method, const void *req, void *ret_resp,
		struct err *e);
int client_stream(struct cmd *c, unsigned method, const void *req,
		  bool (*on_event)(const ProtobufCMessage *event, void *arg), bool (*tick)(void *arg),
		  void *arg, struct err *e);
void client_close(struct cmd *c);
void message_free_p(void *p); /* for cleanup() */
#define cleanup_message cleanup(message_free_p)

/* ---- parse.c: values as Docker's users write them ---- */
int parse_duration(const char *text, uint64_t *ret_ns, struct err *e); /* "1m30s", "500ms"; a bare 0 */
/* A moment in ms since 1970: "10m" (before now_ms), seconds since 1970 ("1795186053.5"), or RFC 3339 and its beginnings
 * ("2026-11-20", "2026-11-20T14:03", "...:02.5", "...Z", "...+02:00"); without an offset it is local time. */
int parse_time(const char *text, int64_t now_ms, int64_t *ret_ms, struct err *e);
int parse_bytes(const char *text, uint64_t *ret, struct err *e);     /* "512m", "1.5g", "100kb", "42" */
int parse_cpus(const char *text, uint64_t *ret_nano, struct err *e); /* "0.5" */
int parse_uint(const char *text, uint64_t limit, uint64_t *ret, struct err *e);
int parse_mount(const char *text, Gs__Mount **ret, struct err *e);
int parse_port(const char *text, Gs__Port **ret, struct err *e);
int parse_network(const char *text, Gs__NetworkAttach **ret, struct err *e);
int parse_label(const char *text, Gs__Label **ret, struct err *e);
/* "K=V" as it is, "K" with this process's value; NULL and 0 when K is not set here. */
int parse_env(const char *text, char **ret, struct err *e);
int parse_env_file(const char *path, size_t *n, char ***list, struct err *e);

/* ---- text.c ---- */
/* "3 minutes", "About an hour" */
const char *text_span(int64_t ms, char *buf, size_t n);
const char *text_ago(int64_t since_ms, int64_t now_ms, char *buf, size_t n); /* "3 minutes ago" */
const char *text_bytes(uint64_t bytes, char *buf, size_t n);                 /* "1.5GiB" */
const char *text_short_id(const char *id, char buf[ID_SHORT_LEN + 1]);
char *text_cut(const char *text,
	       size_t limit); /* heap; ends in an ellipsis when cut; newlines become blanks */
void text_time(int64_t wall_ms, char *buf, size_t n); /* local time, 2026-11-20 14:03:02 */
int64_t wall_now_ms(void);
/* "Synced", "Donor", "joining", "held: crashed at 1042"; "" for a task that has nothing to tell. heap */
char *text_galera(const Gs__Task *t);
bool galera_is_ready(const Gs__Task *t);
const char *text_state_word(Gs__TaskState s); /* "running": as the json and the progress lines say it */

/* ---- table.c ---- */
struct table;
struct table *table_new(const char *const *headers); /* NULL ends them */
/* A row; one text for each header, copied. */
void table_row(struct table *t, const char *const *cells);
void table_print(struct table *t, FILE *out); /* and free it; out NULL: only free it */

/* ---- json.c ---- */
/* Any message as JSON, generic over its descriptor: fields by their .proto names, enums by name, addresses
 * and MACs as people write them. extra: more "key", "value" pairs at its front, NULL ends them. heap */
char *json_message(const ProtobufCMessage *m, bool pretty, const char *const *extra);
void json_print_line(const void *message, const char *const *extra);
/* An array with one element a message, as `inspect` prints it. */
void json_print_array(const void *const *messages, size_t n);

/* ---- progress.c: watching a service until it is what its spec says ---- */
struct slot_line {
	char *name;   /* "db.1" */
	char *node;   /* hostname or "" */
	char *text;   /* "running", "held: waits for its turn", ... */
	bool is_done; /* running, and Synced where that is asked for */
	bool is_failed;
};
struct progress {
	struct slot_line *lines;
	size_t n, done, wanted;
	bool is_converged, is_blocked; /* is_blocked: failure is a Galera cluster that waits for somebody */
	char *failure;                 /* it will not get there by itself: why; or NULL */
	char *note;                    /* what the service as a whole waits for, or NULL */
};
/* What the screen should say. Pure: tested without a daemon. */
void progress_of(const Gs__ServiceDetail *d, struct progress *ret);
void progress_fini(struct progress *p);
enum wait_for { WAIT_CONVERGED, WAIT_GONE };
/* 0: reached; 1: failed, said why; CLI_INTERRUPTED: Ctrl-C, it goes on without us. Quiet: only the outcome
 * counts. */
int progress_wait(struct cmd *c, const char *service, enum wait_for what, bool quiet, struct err *e);

/* ---- shared by the nouns ---- */
/* `known`: the keys, each with a blank before and behind. */
int check_filters(const struct opt_value *filters, const char *known, struct err *e);
#define TASK_FILTERS " id name node desired-state "
/* Do `one` for every argument; what the managers refuse is told and does not keep the others from being done.
 * 1: something was refused. */
int for_each_arg(struct cmd *c, int (*one)(struct cmd *c, const char *arg, struct err *e), struct err *e);
void tasks_print(struct cmd *c, const Gs__ServiceDetail *d, bool with_galera);
const char *node_name_of(const Gs__ServiceDetail *d, const char *node_id);
