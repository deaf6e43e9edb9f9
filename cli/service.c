// SPDX-License-Identifier: Apache-2.0
/* service ls, scale, rm, and the table of the noun's verbs.
 *
 * The happy path is one call to the manager, then a table or a wait. What can fail is what the manager
 * refuses. */
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/client.h"
#include "cli/filter.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/output/table.h"
#include "cli/output/text.h"
#include "cli/task_table.h"
#include "cli/wait.h"

static const struct opt ls_options[] = {
	{'f', "filter", OPT_LIST, "key=value",
	 "Show only services with this id, name (its start), mode or label", NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{'q', "quiet", OPT_FLAG, NULL, "Print ids only", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {
	{"id", NULL}, {"name", NULL}, {"mode", "replicated|global"}, {"label", NULL}, {0}};
static const struct opt scale_options[] = {
	{'d', "detach", OPT_FLAG, NULL, "Return at once instead of waiting until it runs", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "No progress", NULL},
	{0, "update-monitor", OPT_DURATION, NULL,
	 "How long it must run before it counts as converged (default 5s, galera 0s)", NULL, .most = "24h"},
	{0, "wait-timeout", OPT_DURATION, NULL, "Wait no longer than this (default 0s: for ever)", NULL,
	 .most = "8760h"},
	OPT_END,
};
static const struct opt rm_options[] = {
	{'d', "detach", OPT_FLAG, NULL, "Return at once instead of waiting until its tasks are gone", NULL},
	{'f', "force", OPT_FLAG, NULL, "Kill its tasks at once: no stop signal, no grace period", NULL},
	{0, "wait-timeout", OPT_DURATION, NULL, "Wait no longer than this (default 0s: for ever)", NULL,
	 .most = "8760h"},
	OPT_END,
};

static const char *mode_word(const Gs__ServiceSpec *s)
{
	return s->mode == MODE_GLOBAL ? "global" : "replicated";
}

static char *replicas_text(const Gs__Service *s, const Gs__ListServicesResponse *r)
{
	uint32_t running = 0, wanted = 0;

	for (size_t i = 0; i < r->n_tasks; i++) {
		const Gs__Task *t = r->tasks[i];

		if (strcmp(t->service_id, s->meta->id) || t->desired != TASK_RUNNING)
			continue;
		wanted++;
		running += t->status && t->status->state == TASK_RUNNING &&
			   node_state_of(r->nodes, r->n_nodes, t->node_id) != NODE_DOWN;
	}
	if (s->spec->mode == MODE_REPLICATED)
		wanted = s->spec->replicas;
	if (s->spec->max_per_node && s->spec->topology == TOPO_NONE)
		return xasprintf("%u/%u (max %u per node)", running, wanted, s->spec->max_per_node);
	return xasprintf("%u/%u", running, wanted);
}

static char *ports_text(const Gs__Service *s)
{
	struct buf b = {0};

	for (size_t i = 0; i < s->n_ports; i++)
		buf_printf(&b, "%s*:%u->%u/%s", i ? ", " : "", s->ports[i]->published, s->ports[i]->target,
			   s->ports[i]->protocol);
	return buf_text(&b);
}

static bool service_matches(const char *key, const char *value, const void *row)
{
	const Gs__Service *s = row;

	if (strcmp(key, "id") == 0)
		return filter_prefix(s->meta->id, value);
	if (strcmp(key, "name") == 0)
		return filter_prefix(s->spec->name, value);
	if (strcmp(key, "mode") == 0)
		return strcasecmp(mode_word(s->spec), value) == 0;
	return s->spec && filter_label(s->spec->labels, s->spec->n_labels, value);
}

static int by_name(const void *a, const void *b)
{
	return text_order((*(Gs__Service *const *)a)->spec->name, (*(Gs__Service *const *)b)->spec->name);
}

static void ls_row(struct table *t, const Gs__Service *s, const char *replicas)
{
	cleanup_free char *ports = ports_text(s);
	char id[ID_SHORT_LEN + 1];

	table_row(t, (const char *[]){text_short_id(s->meta->id, id), s->spec->name, mode_word(s->spec),
				      replicas, s->spec->task->image, ports});
}

static int ls_run(struct cmd *c, struct err *e)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListServicesResponse *r = NULL;
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0, quiet = opt_is_set(c, "quiet");
	struct table *t;

	if (filters_check(c, filters, e) < 0 ||
	    client_call(c, DAEMON_MANAGER, CONTROL_LIST_SERVICES, &req, &r, e) < 0)
		return e->code;
	if (r->n_services)
		qsort(r->services, r->n_services, sizeof(*r->services), by_name);
	t = table_new((const char *[]){"ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS", NULL});
	for (size_t i = 0; i < r->n_services; i++) {
		const Gs__Service *s = r->services[i];
		cleanup_free char *replicas = replicas_text(s, r);

		if (!filters_pass(c, service_matches, s))
			continue;
		if (quiet)
			printf("%.*s\n", ID_SHORT_LEN, s->meta->id);
		else if (json)
			json_print_line(s,
					(const char *[]){"name", s->spec->name, "replicas", replicas, NULL});
		else
			ls_row(t, s, replicas);
	}
	table_print(t, json || quiet ? NULL : stdout);
	return 0;
}

struct scale_word {
	char *service;
	uint32_t replicas;
};

/* "db=5" */
static int scale_parse(const char *word, struct scale_word *ret, struct err *e)
{
	const char *eq = strchr(word, '=');
	uint64_t n;

	if (!eq || eq == word)
		return err_set(e, CLI_USAGE, "'%s' is not SERVICE=REPLICAS", word);
	if (parse_uint(eq + 1, 100000, &n, e) < 0)
		return err_wrap(e, "%s", word);
	ret->service = xasprintf("%.*s", (int)(eq - word), word);
	ret->replicas = (uint32_t)n;
	return 0;
}

/* All of them before the first is sent: wrong words change nothing. */
static int scale_words(const struct cmd *c, struct scale_word *words, struct err *e)
{
	for (size_t i = 0; i < c->n_args; i++) {
		if (scale_parse(c->args[i], &words[i], e))
			return e->code;
		for (size_t k = 0; k < i; k++)
			if (strcmp(words[k].service, words[i].service) == 0)
				return err_set(e, CLI_USAGE, "service %s is named twice", words[i].service);
	}
	return 0;
}

static int scale_one(struct cmd *c, const struct scale_word *word, struct err *e)
{
	Gs__ScaleRequest req = GS__SCALE_REQUEST__INIT;
	cleanup_message Gs__CreatedResponse *r = NULL;
	const struct wait_options wait = wait_options_of(c, WAIT_CONVERGED);

	req.ref = word->service;
	req.replicas = word->replicas;
	if (client_call(c, DAEMON_MANAGER, CONTROL_SCALE_SERVICE, &req, &r, e) < 0)
		return e->code;
	if (*r->warning)
		fprintf(stderr, "gswarm: %s\n", r->warning);
	printf("%s scaled to %u\n", word->service, req.replicas);
	fflush(stdout);
	return opt_is_set(c, "detach") ? 0 : service_wait(c, word->service, &wait, e);
}

static int scale_run(struct cmd *c, struct err *e)
{
	cleanup_free struct scale_word *words = xcalloc(c->n_args, sizeof(*words));
	int rc = scale_words(c, words, e);
	bool stop = rc != 0;

	for (size_t i = 0; i < c->n_args && !stop; i++) {
		int r = scale_one(c, &words[i], e);

		stop = r < 0 || r == CLI_INTERRUPTED;
		rc = stop ? r : rc || r;
	}
	for (size_t i = 0; i < c->n_args; i++)
		free(words[i].service);
	return rc;
}

static int rm_one(struct cmd *c, const char *service, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;
	cleanup_message Gs__ServiceDetail *d = NULL;
	const struct wait_options wait = wait_options_of(c, WAIT_GONE);

	req.ref = (char *)service;
	if (client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_SERVICE, &req, &d, e) < 0)
		return e->code;
	req.ref = d->service->meta->id; /* its name may be taken again at once */
	req.force = opt_is_set(c, "force");
	if (client_call(c, DAEMON_MANAGER, CONTROL_REMOVE_SERVICE, &req, NULL, e) < 0)
		return e->code;
	puts(service);
	fflush(stdout);
	return opt_is_set(c, "detach") ? 0 : service_wait(c, req.ref, &wait, e);
}

static int rm_run(struct cmd *c, struct err *e)
{
	return for_each_arg(c, rm_one, e);
}

static const struct verb verbs[] = {
	{"create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Make a service; IMAGE is 'host' or 'dir:/path'",
	 create_options, 1, -1, true, NULL, service_create_run},
	{"inspect", "[OPTIONS] SERVICE [SERVICE...]", "Show everything about services",
	 service_inspect_options, 1, -1, false, "service", service_inspect_run},
	{"logs", "[OPTIONS] SERVICE|TASK", "Show what the tasks have printed", logs_options, 1, 1, false,
	 "service", service_logs_run},
	{"ls", "[OPTIONS]", "List the services", ls_options, 0, 0, false, NULL, ls_run},
	{"ps", "[OPTIONS] SERVICE [SERVICE...]", "List the tasks of services", ps_options, 1, -1, false,
	 "service", service_ps_run},
	{"rm", "[OPTIONS] SERVICE [SERVICE...]", "Remove services and wait until their tasks are gone",
	 rm_options, 1, -1, false, "service", rm_run},
	{"scale", "[OPTIONS] SERVICE=REPLICAS [SERVICE=REPLICAS...]", "Change how many tasks a service has",
	 scale_options, 1, -1, false, "service", scale_run},
};
const struct noun service_noun = {"service", "Manage services and Galera clusters", verbs, array_size(verbs)};
