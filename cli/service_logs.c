// SPDX-License-Identifier: Apache-2.0
/* service logs: the lines of a service's tasks, as they come.
 *
 * The happy path is one stream of lines, stdout's to stdout and stderr's to stderr. What can fail: an unknown
 * service; a node that does not answer for its logs is a line among the others and never stops them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/output/text.h"

const struct opt logs_options[] = {
	{0, "details", OPT_FLAG, NULL, "With the ids of node, service and task before each line", NULL},
	{'f', "follow", OPT_FLAG, NULL, "Go on as more is printed", NULL},
	{0, "no-resolve", OPT_FLAG, NULL, "Node ids instead of names", NULL},
	{0, "no-task-ids", OPT_FLAG, NULL,
	 "Accepted for scripts written for Docker; ids are never in the names", NULL},
	{0, "no-trunc", OPT_FLAG, NULL, "Accepted for scripts written for Docker; nothing is cut", NULL},
	{0, "raw", OPT_FLAG, NULL, "Lines only, without the task's name", NULL},
	{0, "since", OPT_STR, "time", "Only what is younger: a time like 2026-11-20T14:03:02, or 10m ago",
	 NULL},
	{'n', "tail", OPT_STR, "lines|all", "Only the last lines of each task (default all)", NULL},
	{'t', "timestamps", OPT_FLAG, NULL, "With the time of each line", NULL},
	OPT_END,
};

struct logs {
	bool raw, timestamps, details, no_resolve;
};

/* RFC 3339 in nanoseconds, as Docker prints it: lines of several tasks can be sorted by it. */
static void print_time(FILE *out, const Gs__LogLine *l)
{
	time_t s = (time_t)(l->time_ms / 1000);
	struct tm tm;
	char when[32];

	gmtime_r(&s, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(out, "%s.%03d%06uZ ", when, (int)(l->time_ms % 1000), l->sub_ns);
}

static bool on_log_line(const ProtobufCMessage *event, void *arg)
{
	const Gs__LogLine *l = (const Gs__LogLine *)event;
	const struct logs *logs = arg;
	const char *node = logs->no_resolve ? l->node_id : l->node;
	FILE *out = l->is_stderr ? stderr : stdout;

	if (*l->error) {
		fflush(stdout);
		fprintf(stderr, "gswarm: logs of %s@%s: %s\n", l->task_name, node, l->error);
		return !interrupted();
	}
	if (logs->timestamps)
		print_time(out, l);
	if (logs->details)
		fprintf(out, "node.id=%s,service.id=%s,task.id=%s ", l->node_id, l->service_id, l->task_id);
	if (!logs->raw)
		fprintf(out, "%s@%s | ", l->task_name, node);
	fwrite(l->line.data, 1, l->line.len, out);
	fputc('\n', out);
	return !interrupted() && !ferror(stdout);
}

static bool on_log_tick(void *arg)
{
	fflush(stdout);
	return !interrupted() && !ferror(stdout);
}

int service_logs_run(struct cmd *c, struct err *e)
{
	Gs__LogsRequest req = GS__LOGS_REQUEST__INIT;
	struct logs logs = {.raw = opt_is_set(c, "raw"),
			    .timestamps = opt_is_set(c, "timestamps"),
			    .details = opt_is_set(c, "details"),
			    .no_resolve = opt_is_set(c, "no-resolve")};
	const char *tail = opt_text(c, "tail", "all");
	uint64_t n = 0;
	int r;

	if (strcmp(tail, "all") && parse_uint(tail, INT32_MAX, &n, e) < 0)
		return err_wrap(e, "--tail");
	if (opt_is_set(c, "since") &&
	    parse_time(opt_text(c, "since", ""), wall_now_ms(), &req.since_ms, e) < 0)
		return err_wrap(e, "--since");
	req.ref = (char *)c->args[0];
	req.follow = opt_is_set(c, "follow");
	req.tail = strcmp(tail, "all") ? (int32_t)n : -1;
	req.timestamps = logs.timestamps;
	interrupt_catch();
	r = client_stream(c, CONTROL_LOGS, &req, on_log_line, on_log_tick, &logs, e);
	return interrupted() ? CLI_INTERRUPTED : r;
}
