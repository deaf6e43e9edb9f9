// SPDX-License-Identifier: Apache-2.0
/* The table of tasks.
 *
 * The happy path is rows in the order of services and slots, the newest task of a slot first, older ones
 * under it. What can fail is a filter's key or value. */
#include "cli/task_table.h"

#include <string.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/mem.h"
#include "cli/filter.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/output/table.h"
#include "cli/output/text.h"

#define ERROR_COLUMN 60 /* wide enough for a reason; Docker cuts at 30 */

const struct opt ps_options[] = {
	{'f', "filter", OPT_LIST, "key=value", "Show only tasks with this id, name, node or desired-state",
	 NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{0, "no-resolve", OPT_FLAG, NULL, "Node ids instead of names", NULL},
	{0, "no-trunc", OPT_FLAG, NULL, "Whole ids and errors", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "Print task ids only, cut unless --no-trunc", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {
	{"id", NULL}, {"name", NULL}, {"node", NULL}, {"desired-state", "running|shutdown|remove"}, {0}};

/* An attempt's end; what comes after it is another task. */
static bool is_over(const Gs__Task *t)
{
	return t->status && task_state_is_final(t->status->state);
}

const char *node_name_of(const Gs__ServiceDetail *d, const char *node_id)
{
	for (size_t i = 0; i < d->n_nodes; i++)
		if (strcmp(d->nodes[i]->meta->id, node_id) == 0)
			return d->nodes[i]->description && *d->nodes[i]->description->hostname
				       ? d->nodes[i]->description->hostname
				       : node_id;
	return node_id;
}

Gs__NodeState node_state_of(Gs__Node *const *nodes, size_t n, const char *node_id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(nodes[i]->meta->id, node_id) == 0)
			return nodes[i]->status ? nodes[i]->status->state : NODE_UNKNOWN;
	return NODE_READY;
}

char *tasks_that_stay(const Gs__ServiceDetail *d)
{
	struct buf b = {0};
	size_t n = 0;

	bug_if(!d);
	for (size_t i = 0; i < d->n_tasks; i++) {
		const Gs__Task *t = d->tasks[i];

		if (t->n_volumes && !is_over(t) && t->desired == TASK_RUNNING)
			buf_printf(&b, "%s%s", n++ ? ", " : "", t->name);
	}
	return n ? buf_text(&b) : NULL;
}

/* Nothing is to run any more of a task that has ended, and Docker says so of a job that is complete too; our
 * managers leave the row at what was wished. */
static Gs__TaskState desired_of(const Gs__Task *t)
{
	return t->desired == TASK_RUNNING && is_over(t) ? TASK_SHUTDOWN : t->desired;
}

static const char *task_error(const Gs__Task *t)
{
	if (t->status && t->status->state == TASK_RUNNING)
		return ""; /* what is noted there is how the attempt before ended */
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

struct task_row { /* what a filter looks at */
	const Gs__ServiceDetail *d;
	const Gs__Task *t;
};

static bool task_matches(const char *key, const char *value, const void *row)
{
	const struct task_row *r = row;

	if (strcmp(key, "id") == 0)
		return filter_prefix(r->t->meta->id, value);
	if (strcmp(key, "name") == 0)
		return filter_prefix(r->t->name, value);
	if (strcmp(key, "node") == 0)
		return filter_prefix(r->t->node_id, value) ||
		       strcmp(node_name_of(r->d, r->t->node_id), value) == 0;
	return strcasecmp(task_state_name(desired_of(r->t)), value) == 0;
}

int tasks_filters_check(const struct cmd *c, struct err *e)
{
	return filters_check(c, filters, e);
}

/* By service, then slot; the newest task of a slot first, the older ones under it. */
static int by_slot(const void *a, const void *b)
{
	const Gs__Task *x = *(Gs__Task *const *)a, *y = *(Gs__Task *const *)b;
	int r = text_order(x->service_name, y->service_name);

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
			       task_state_name(desired_of(task)),
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

static void task_json(const Gs__ServiceDetail *d, const Gs__Task *task)
{
	Gs__Task shown = *task;

	shown.desired = desired_of(task);
	json_print_line(&shown, (const char *[]){"node", node_name_of(d, task->node_id), NULL});
}

void tasks_print(struct cmd *c, const Gs__ServiceDetail *d, bool with_galera)
{
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0, quiet = opt_is_set(c, "quiet");
	cleanup_free Gs__Task **sorted = xcalloc(d->n_tasks + 1, sizeof(*sorted));
	struct table *t = task_table(with_galera);
	const char *slot = "";

	memcpy(sorted, d->tasks, d->n_tasks * sizeof(*sorted));
	qsort(sorted, d->n_tasks, sizeof(*sorted), by_slot);
	for (size_t i = 0; i < d->n_tasks; i++) {
		const Gs__Task *task = sorted[i];
		bool is_old = *task->slot_id && strcmp(task->slot_id, slot) == 0;

		if (!filters_pass(c, task_matches, &(struct task_row){d, task}))
			continue;
		slot = task->slot_id;
		if (quiet)
			printf("%.*s\n", opt_is_set(c, "no-trunc") ? ID_LEN : ID_SHORT_LEN, task->meta->id);
		else if (json)
			task_json(d, task);
		else
			task_cells(c, t, d, task, is_old, with_galera);
	}
	table_print(t, json || quiet ? NULL : stdout);
}
