// SPDX-License-Identifier: Apache-2.0
/* events: what happens in the swarm, as it happens, and what has happened.
 *
 * The happy path is a look at the manager's list twice a second, of which the new ones are printed;
 * Ctrl-C or --until ends it. The list is in the order of the log, and an event's version is its place
 * there, so none is printed twice and none is missed while fewer than the 500 that the manager keeps come
 * between two looks. What can fail: times and filters that make no sense; a manager that is lost, for
 * longer than a restart of it takes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "cli/client.h"
#include "cli/filter.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/output/text.h"

#define LOOK_US 500000
#define LOST_MS 15000 /* a manager that was killed is back, or replaced, well within */

const struct opt events_options[] = {
	{'f', "filter", OPT_LIST, "key=value",
	 "Show only events of this type (the start of their kind) or event (its end)", NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{0, "no-follow", OPT_FLAG, NULL, "Print what has happened and end", NULL},
	{0, "since", OPT_STR, "time",
	 "Begin with what is younger: a time like 2026-11-20T14:03:02, or 10m ago (default now)", NULL},
	{0, "until", OPT_STR, "time", "End there", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {{"type", NULL}, {"event", NULL}, {0}};

struct events {
	int64_t since_ms, until_ms; /* until INT64_MAX: no end */
	uint64_t version;           /* newest one that was looked at */
	int64_t lost_ms;            /* no answer since; 0: there was one */
	bool is_json;
};

static bool event_matches(const char *key, const char *value, const void *row)
{
	const Gs__Event *ev = row;
	const char *dot = strchr(ev->kind, '.');

	if (strcmp(key, "type") == 0)
		return filter_prefix(ev->kind, value);
	return dot && strcmp(dot + 1, value) == 0;
}

static void print_event(struct cmd *c, const struct events *s, const Gs__Event *ev)
{
	char when[32];

	if (ev->meta->created_ms < s->since_ms || ev->meta->created_ms > s->until_ms ||
	    !filters_pass(c, event_matches, ev))
		return;
	text_time(ev->meta->created_ms, when, sizeof(when));
	if (s->is_json)
		json_print_line(ev, NULL);
	else
		printf("%s  %-22s %s\n", when, ev->kind, ev->text);
}

static int by_version(const void *a, const void *b)
{
	const Gs__Event *x = *(Gs__Event *const *)a, *y = *(Gs__Event *const *)b;
	int r = (x->meta->version > y->meta->version) - (x->meta->version < y->meta->version);

	return r ? r : strcmp(x->meta->id, y->meta->id);
}

static int look(struct cmd *c, struct events *s, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__ListEventsResponse *r = NULL;
	uint64_t seen = s->version;

	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_EVENTS, &req, &r, e) < 0)
		return e->code;
	if (r->n_events)
		qsort(r->events, r->n_events, sizeof(*r->events), by_version);
	for (size_t i = 0; i < r->n_events; i++) {
		uint64_t version = r->events[i]->meta->version;

		if (version <= seen)
			continue;
		bug_if(version < s->version);
		s->version = version;
		print_event(c, s, r->events[i]);
	}
	fflush(stdout);
	return 0;
}

/* 0: go on; a lost manager may come back. */
static int look_again(struct cmd *c, struct events *s, struct err *e)
{
	int64_t now = wall_now_ms();

	err_clear(e);
	if (look(c, s, e) == 0) {
		s->lost_ms = 0;
		return 0;
	}
	client_close(c);
	s->lost_ms = s->lost_ms ? s->lost_ms : now;
	return now - s->lost_ms > LOST_MS ? e->code : 0;
}

static int time_option(struct cmd *c, const char *name, int64_t *ret_ms, struct err *e)
{
	if (!opt_is_set(c, name) || parse_time(opt_text(c, name, ""), wall_now_ms(), ret_ms, e) == 0)
		return 0;
	return err_wrap(e, "--%s", name);
}

int events_run(struct cmd *c, struct err *e)
{
	bool no_follow = opt_is_set(c, "no-follow");
	struct events s = {.since_ms = no_follow || opt_is_set(c, "until") ? 0 : wall_now_ms(),
			   .until_ms = INT64_MAX,
			   .is_json = strcmp(opt_text(c, "format", "table"), "json") == 0};

	if (time_option(c, "since", &s.since_ms, e) < 0 || time_option(c, "until", &s.until_ms, e) < 0 ||
	    filters_check(c, filters, e) < 0 || look(c, &s, e) < 0)
		return e->code;
	if (no_follow)
		return 0;
	interrupt_catch();
	while (!interrupted() && wall_now_ms() < s.until_ms && !ferror(stdout)) {
		usleep(LOOK_US);
		if (look_again(c, &s, e) < 0)
			return e->code;
	}
	return interrupted() ? CLI_INTERRUPTED : 0;
}
