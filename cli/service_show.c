// SPDX-License-Identifier: Apache-2.0
/* service ps, inspect, and the task table that node ps shares.
 *
 * The happy path is one call and a table. What can fail: an unknown service. */
#include "cli/cli.h"

#include <string.h>

#include "base/mem.h"

#define ERROR_COLUMN 60 /* wide enough for a reason; Docker cuts at 30 */

const struct opt ps_options[] = {
	{'f', "filter", OPT_LIST, "key=value", "Show only tasks with this id, name, node or desired-state",
	 NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{0, "no-resolve", OPT_FLAG, NULL, "Node ids instead of names", NULL},
	{0, "no-trunc", OPT_FLAG, NULL, "Whole ids and errors", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "Print task ids only", NULL},
	OPT_END,
};
const struct opt service_inspect_options[] = {
	{0, "pretty", OPT_FLAG, NULL, "Print for people instead of JSON", NULL},
	{'f', "format", OPT_STR, NULL, "How to print", "json"},
	OPT_END,
};
const char *node_name_of(const Gs__ServiceDetail *d, const char *node_id)
{
	for (size_t i = 0; i < d->n_nodes; i++)
		if (!strcmp(d->nodes[i]->meta->id, node_id))
			return d->nodes[i]->description && *d->nodes[i]->description->hostname
				       ? d->nodes[i]->description->hostname
				       : node_id;
	return node_id;
}

static const char *network_name_of(const Gs__ServiceDetail *d, const char *id)
{
	for (size_t i = 0; i < d->n_networks; i++)
		if (!strcmp(d->networks[i]->meta->id, id))
			return d->networks[i]->spec->name;
	return id;
}

static const char *task_error(const Gs__Task *t)
{
	if (t->status && *t->status->err)
		return t->status->err;
	return t->pending_reason;
}

static char *current_state(const Gs__Task *t)
{
	char ago[64];
	Gs__TaskState s = t->status ? t->status->state : TASK_NEW;
	int64_t since = t->status && t->status->since_ms ? t->status->since_ms : t->meta->updated_ms;

	return xasprintf("%s %s", task_state_name(s), text_ago(since, wall_now_ms(), ago, sizeof(ago)));
}

static bool task_passes(const Gs__ServiceDetail *d, const Gs__Task *t, const struct opt_value *filters)
{
	for (size_t i = 0; i < filters->n_list; i++) {
		const char *f = filters->list[i], *v = strchr(f, '=') ? strchr(f, '=') + 1 : "";

		if (!strncmp(f, "id=", 3) && strncmp(t->meta->id, v, strlen(v)))
			return false;
		if (!strncmp(f, "name=", 5) && strncmp(t->name, v, strlen(v)))
			return false;
		if (!strncmp(f, "node=", 5) && strncmp(t->node_id, v, strlen(v)) &&
		    strcmp(node_name_of(d, t->node_id), v))
			return false;
		if (!strncmp(f, "desired-state=", 14) && strcasecmp(task_state_name(t->desired), v))
			return false;
	}
	return true;
}

/* By service, then slot; the newest task of a slot first, the older ones under it. */
static int by_slot(const void *a, const void *b)
{
	const Gs__Task *x = *(Gs__Task *const *)a, *y = *(Gs__Task *const *)b;
	int r = strcmp(x->service_name, y->service_name);

	if (!r)
		r = (x->slot_number > y->slot_number) - (x->slot_number < y->slot_number);
	if (!r)
		r = strcmp(x->slot_id, y->slot_id);
	if (!r)
		r = (x->meta->created_ms < y->meta->created_ms) - (x->meta->created_ms > y->meta->created_ms);
	return r;
}

static void task_cells(struct cmd *c, struct table *t, const Gs__ServiceDetail *d, const Gs__Task *task,
		       bool is_old, bool with_galera)
{
	bool whole = opt_is_set(c, "no-trunc");
	char id[ID_SHORT_LEN + 1];
	cleanup_free char *name = xasprintf("%s%s", is_old ? " \\_ " : "", task->name);
	cleanup_free char *state = current_state(task), *galera = text_galera(task);
	cleanup_free char *cut = text_cut(task_error(task), whole ? 0 : ERROR_COLUMN);
	cleanup_free char *error = *cut ? xasprintf("\"%s\"", cut) : xstrdup("");
	const char *cells[] = {whole ? task->meta->id : text_short_id(task->meta->id, id),
			       name,
			       task->spec ? task->spec->image : "",
			       opt_is_set(c, "no-resolve") ? task->node_id : node_name_of(d, task->node_id),
			       task_state_name(task->desired),
			       state,
			       with_galera ? galera : error,
			       error};

	table_row(t, cells);
}

static struct table *task_table(bool with_galera)
{
	if (with_galera)
		return table_new((const char *[]){"ID", "NAME", "IMAGE", "NODE", "DESIRED STATE",
						  "CURRENT STATE", "GALERA", "ERROR", NULL});
	return table_new((const char *[]){"ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE",
					  "ERROR", NULL});
}

void tasks_print(struct cmd *c, const Gs__ServiceDetail *d, bool with_galera)
{
	bool json = !strcmp(opt_text(c, "format", "table"), "json"), quiet = opt_is_set(c, "quiet");
	cleanup_free Gs__Task **sorted = xcalloc(d->n_tasks + 1, sizeof(*sorted));
	struct table *t = task_table(with_galera);
	const char *slot = "";

	memcpy(sorted, d->tasks, d->n_tasks * sizeof(*sorted));
	qsort(sorted, d->n_tasks, sizeof(*sorted), by_slot);
	for (size_t i = 0; i < d->n_tasks; i++) {
		const Gs__Task *task = sorted[i];
		bool is_old = *task->slot_id && !strcmp(task->slot_id, slot);

		if (!task_passes(d, task, opt_list(c, "filter")))
			continue;
		slot = task->slot_id;
		if (quiet)
			puts(task->meta->id);
		else if (json)
			json_print_line(task, (const char *[]){"node", node_name_of(d, task->node_id), NULL});
		else
			task_cells(c, t, d, task, is_old, with_galera);
	}
	table_print(t, json || quiet ? NULL : stdout);
}

int service_ps_run(struct cmd *c, struct err *e)
{
	if (check_filters(opt_list(c, "filter"), TASK_FILTERS, e) < 0)
		return e->code;
	for (size_t i = 0; i < c->n_args; i++) {
		Gs__RefRequest req = GS__REF_REQUEST__INIT;
		cleanup_message Gs__ServiceDetail *d = NULL;

		req.ref = (char *)c->args[i];
		if (client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_SERVICE, &req, &d, e) < 0)
			return e->code;
		tasks_print(c, d, d->service && d->service->spec->topology == TOPO_GALERA);
	}
	return 0;
}

static void print_list(const char *title, size_t n, char *const *items)
{
	for (size_t i = 0; i < n; i++)
		printf("%s%s%s", i ? " " : title, items[i], i + 1 < n ? "" : "\n");
}

static void print_resources(const char *title, const Gs__Resources *r)
{
	char mem[32];

	if (!r)
		return;
	printf(" %s:\n", title);
	if (r->nano_cpus)
		printf("  CPU:\t\t%g\n", (double)r->nano_cpus / 1e9);
	if (r->memory_bytes)
		printf("  Memory:\t%s\n", text_bytes(r->memory_bytes, mem, sizeof(mem)));
}

static void print_container(const Gs__TaskSpec *t)
{
	static const char *const types[] = {"volume", "bind", "tmpfs"};

	printf("ContainerSpec:\n Image:\t\t%s\n", t->image);
	print_list(" Args:\t\t", t->n_args, t->args);
	for (size_t i = 0; i < t->n_env; i++) /* values may be passwords */
		printf("%s%.*s", i ? " " : " Env:\t\t", (int)strcspn(t->env[i], "="), t->env[i]);
	if (t->n_env)
		printf("\n");
	if (*t->dir)
		printf(" Dir:\t\t%s\n", t->dir);
	if (*t->user)
		printf(" User:\t\t%s\n", t->user);
	if (t->n_mounts)
		printf("Mounts:\n");
	for (size_t i = 0; i < t->n_mounts; i++)
		printf(" Target:\t%s\n  Source:\t%s\n  ReadOnly:\t%s\n  Type:\t\t%s\n", t->mounts[i]->target,
		       t->mounts[i]->source, t->mounts[i]->readonly ? "true" : "false",
		       types[t->mounts[i]->type % 3]);
	if (t->limits || t->reservations)
		printf("Resources:\n");
	print_resources("Reservations", t->reservations);
	print_resources("Limits", t->limits);
}

static void print_pretty(const Gs__ServiceDetail *d)
{
	const Gs__Service *s = d->service;

	printf("ID:\t\t%s\nName:\t\t%s\n", s->meta->id, s->spec->name);
	for (size_t i = 0; i < s->spec->n_labels; i++)
		printf("%s %s=%s\n", i ? "" : "Labels:\n", s->spec->labels[i]->key,
		       s->spec->labels[i]->value);
	if (s->spec->mode == MODE_GLOBAL)
		printf("Service Mode:\tGlobal\n");
	else
		printf("Service Mode:\tReplicated\n Replicas:\t%u\n", s->spec->replicas);
	if (s->spec->topology == TOPO_GALERA && d->galera)
		printf("Topology:\tGalera\n Cluster:\t%s\n Phase:\t\t%s\n Profile:\t%s\n", d->galera->name,
		       galera_phase_name(d->galera->phase), s->spec->galera ? s->spec->galera->profile : "");
	if (*s->error)
		printf("Error:\t\t%s\n", s->error);
	print_list("Placement:\n Constraints:\t", s->spec->n_constraints, s->spec->constraints);
	print_container(s->spec->task);
	for (size_t i = 0; i < s->spec->task->n_networks; i++)
		printf("%s%s%s", i ? " " : "Networks:\t",
		       network_name_of(d, s->spec->task->networks[i]->network_id),
		       i + 1 < s->spec->task->n_networks ? "" : "\n");
	if (*s->spec->endpoint_mode)
		printf("Endpoint Mode:\t%s\n", s->spec->endpoint_mode);
	for (size_t i = 0; i < s->n_vips; i++) {
		char text[64];

		printf("%s%s\n", i ? "\t\t" : "Virtual IPs:\t",
		       addr_format_cidr(s->vips[i]->addr, text, sizeof(text)));
	}
	for (size_t i = 0; i < s->n_ports; i++)
		printf("%s%u->%u/%s\n", i ? "\t\t" : "Ports:\t\t", s->ports[i]->published,
		       s->ports[i]->target, s->ports[i]->protocol);
	printf("\n");
}

int service_inspect_run(struct cmd *c, struct err *e)
{
	cleanup_free const void **found = xcalloc(c->n_args, sizeof(void *));
	int rc = 0;

	for (size_t i = 0; !rc && i < c->n_args; i++) {
		Gs__RefRequest req = GS__REF_REQUEST__INIT;

		req.ref = (char *)c->args[i];
		rc = client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_SERVICE, &req, &found[i], e);
	}
	for (size_t i = 0; !rc && i < c->n_args && opt_is_set(c, "pretty"); i++)
		print_pretty(found[i]);
	if (!rc && !opt_is_set(c, "pretty"))
		json_print_array(found, c->n_args);
	for (size_t i = 0; i < c->n_args; i++)
		message_free_p(&found[i]);
	return rc;
}
