// SPDX-License-Identifier: Apache-2.0
/* galera status, recover, bootstrap.
 *
 * The happy path is one call: the cluster's phase above a row for each slot. What can fail: a service that is
 * no Galera cluster, and a bootstrap that the managers find unsafe (they say which slots are missing). */
#include <ctype.h>
#include <string.h>

#include "base/bug.h"
#include "cli/client.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/output/table.h"
#include "cli/task_table.h"
#include "cli/output/text.h"
#include "cli/wait.h"

static const struct opt status_options[] = {
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	OPT_END,
};
static const struct opt bootstrap_options[] = {
	{0, "force", OPT_FLAG, NULL, "Yes, although transactions on the missing members may be lost", NULL},
	{0, "slot", OPT_STR, "number", "Member to start from", NULL},
	OPT_END,
};

static const Gs__Task *current_task(const Gs__ServiceDetail *d, const char *slot_id)
{
	const Gs__Task *best = NULL;

	for (size_t i = 0; i < d->n_tasks; i++)
		if (strcmp(d->tasks[i]->slot_id, slot_id) == 0 &&
		    (!best || d->tasks[i]->meta->created_ms > best->meta->created_ms))
			best = d->tasks[i];
	return best;
}

static char *position_text(const Gs__GaleraPosition *p)
{
	if (!p || !*p->uuid)
		return xstrdup("-");
	return p->seqno < 0 ? xasprintf("%s:?", p->uuid) : xasprintf("%s:%lld", p->uuid, (long long)p->seqno);
}

/* A slot without a task has the name that its tasks had. heap */
static char *slot_title(const Gs__ServiceDetail *d, const char *slot_id)
{
	const Gs__Task *t = *slot_id ? current_task(d, slot_id) : NULL;

	if (t || !*slot_id)
		return xstrdup(t ? t->name : "-");
	for (size_t i = 0; i < d->n_slots; i++)
		if (strcmp(d->slots[i]->meta->id, slot_id) == 0)
			return *d->slots[i]->node_key
				       ? xasprintf("%s.%s", d->service->spec->name, d->slots[i]->node_key)
				       : xasprintf("%s.%u", d->service->spec->name, d->slots[i]->number);
	return xstrdup("a member that was removed");
}

static void print_head(const Gs__ServiceDetail *d)
{
	const Gs__GaleraCluster *g = d->galera;
	cleanup_free char *hwm = position_text(g->hwm), *writer = slot_title(d, g->writer_slot),
			  *highest = slot_title(d, g->hwm_slot);
	char span[48];

	bug_if(!d->galera);
	text_span(wall_now_ms() - g->phase_since_ms, span, sizeof(span));
	span[0] = (char)tolower((unsigned char)span[0]); /* "Less than a second" */
	/* A cluster that was just made has had no phase before: no time to count from. */
	printf("Cluster:     %s\nPhase:       %s%s%s\n", g->name, galera_phase_name(g->phase),
	       g->phase_since_ms ? " for " : "", g->phase_since_ms ? span : "");
	printf("Epoch:       %llu\nUUID:        %s\n", (unsigned long long)g->epoch,
	       *g->cluster_uuid ? g->cluster_uuid : "-");
	printf("Writer:      %s\nHighest:     %s (%s)\n", writer, hwm, highest);
	if (g->last_primary)
		printf("Last view:   %zu members, conf %llu, at %lld\n", g->last_primary->n_slots,
		       (unsigned long long)g->last_primary->conf_id, (long long)g->last_primary->seqno);
	if (*g->blocked_reason)
		printf("Blocked:     %s\n", g->blocked_reason);
}

static char *seqno_text(const Gs__Task *t)
{
	const Gs__TaskStatus *s = t ? t->status : NULL;

	if (s && s->view && s->state >= TASK_STARTING)
		return xasprintf("%lld", (long long)s->view->last_committed);
	if (s && s->evidence && s->evidence->position && s->evidence->position->seqno >= 0)
		return xasprintf("%lld", (long long)s->evidence->position->seqno);
	return xstrdup("-");
}

static char *view_text(const Gs__Task *t)
{
	const Gs__GaleraView *v = t && t->status ? t->status->view : NULL;

	if (!v || !*v->status || t->status->state < TASK_STARTING || task_state_is_final(t->status->state))
		return xstrdup("-");
	return xasprintf("%s/%u", v->status, v->cluster_size);
}

static const Gs__GaleraSlot *slot_record(const Gs__GaleraCluster *g, const char *slot_id)
{
	for (size_t i = 0; i < g->n_slots; i++)
		if (strcmp(g->slots[i]->slot_id, slot_id) == 0)
			return g->slots[i];
	return NULL;
}

/* Why it does not run, and what to do where only the operator can. heap */
static char *error_text(const Gs__GaleraCluster *g, const Gs__Slot *slot, const Gs__Task *t)
{
	const Gs__TaskStatus *s = t ? t->status : NULL;
	const Gs__GaleraEvidence *v = s ? s->evidence : NULL;
	const Gs__GaleraSlot *r = slot_record(g, slot->meta->id);

	if (!s)
		return xstrdup("");
	if (s->state == TASK_RUNNING)
		return xstrdup(""); /* how the attempt before ended */
	if (s->state == TASK_HELD && r && r->rest_until_ms > wall_now_ms())
		return xasprintf("its server left the group %u times in a row: it may join again in %lld s",
				 r->left_count, (long long)(r->rest_until_ms - wall_now_ms()) / 1000 + 1);
	if (s->state != TASK_HELD || !v || v->class_ != GC_FOREIGN)
		return xstrdup(s->err);
	return xasprintf(
		"not this cluster's data (%s), left alone: move .../volumes/%s/data away there, then "
		"restart its gswarm-worker",
		v->reason, v->volume_id);
}

static void slot_row(struct table *t, const Gs__ServiceDetail *d, const Gs__Slot *s)
{
	const Gs__Task *task = current_task(d, s->meta->id);
	cleanup_free char *title = slot_title(d, s->meta->id);
	cleanup_free char *name =
		xasprintf("%s%s", title, strcmp(d->galera->writer_slot, s->meta->id) == 0 ? " *" : "");
	cleanup_free char *galera = task ? text_galera(task) : xstrdup("");
	cleanup_free char *seqno = seqno_text(task), *view = view_text(task),
			  *error = error_text(d->galera, s, task);
	const Gs__TaskStatus *st = task ? task->status : NULL;
	char addr[64] = "-", queue[16] = "-", attempt[16] = "-";

	if (task && node_state_of(d->nodes, d->n_nodes, task->node_id) ==
			    NODE_DOWN) { /* what it said last is not what is */
		str_replace(&galera, "? (node down)");
		str_replace(&view, "-");
	}

	if (s->removing) {
		char *text = xasprintf("%s%sgoing away", galera, *galera ? ", " : "");

		free(galera);
		galera = text;
	}
	if (s->n_addresses && s->addresses[0]->addr)
		addr_format(&s->addresses[0]->addr->ip, addr, sizeof(addr));
	if (st && st->view)
		snprintf(queue, sizeof(queue), "%u", st->view->recv_queue);
	if (st)
		snprintf(attempt, sizeof(attempt), "%u", st->attempt);
	table_row(t, (const char *[]){name, task ? node_name_of(d, task->node_id) : "-", addr,
				      st ? task_state_name(st->state) : "-", *galera ? galera : "-", view,
				      seqno, queue, attempt, error});
}

static int by_number(const void *a, const void *b)
{
	const Gs__Slot *x = *(Gs__Slot *const *)a, *y = *(Gs__Slot *const *)b;

	return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
				      : strcmp(x->node_key, y->node_key);
}

static int status_run(struct cmd *c, struct err *e)
{
	Gs__GaleraStatusRequest req = GS__GALERA_STATUS_REQUEST__INIT;
	cleanup_message Gs__ServiceDetail *d = NULL;
	struct table *t;

	req.ref = (char *)c->args[0];
	if (client_call(c, DAEMON_MANAGER, CONTROL_GALERA_STATUS, &req, &d, e) < 0)
		return e->code;
	if (!d->galera)
		return err_set(e, E_INVALID, "service %s is no Galera cluster", c->args[0]);
	if (strcmp(opt_text(c, "format", "table"), "json") == 0) {
		json_print_line(d, NULL);
		return 0;
	}
	print_head(d);
	printf("\n");
	if (d->n_slots)
		qsort(d->slots, d->n_slots, sizeof(*d->slots), by_number);
	t = table_new((const char *[]){"SLOT", "NODE", "ADDRESS", "TASK", "GALERA", "VIEW", "COMMITTED",
				       "QUEUE", "ATTEMPT", "ERROR", NULL});
	for (size_t i = 0; i < d->n_slots; i++)
		slot_row(t, d, d->slots[i]);
	table_print(t, stdout);
	return 0;
}

static int recover(struct cmd *c, bool force, struct err *e)
{
	Gs__GaleraRecoverRequest req = GS__GALERA_RECOVER_REQUEST__INIT;
	struct wait_options wait;

	req.ref = (char *)c->args[0];
	req.slot = (char *)(force ? opt_text(c, "slot", "") : "");
	req.force = force;
	if (client_call(c, DAEMON_MANAGER, CONTROL_GALERA_RECOVER, &req, NULL, e) < 0)
		return e->code;
	wait = wait_options_of(c, WAIT_CONVERGED);
	wait.is_quiet = false;
	wait.is_consent = force;
	return service_wait(c, c->args[0], &wait, e);
}

static int recover_run(struct cmd *c, struct err *e)
{
	return recover(c, false, e);
}

static int bootstrap_run(struct cmd *c, struct err *e)
{
	if (!opt_is_set(c, "force"))
		return err_set(e, CLI_USAGE,
			       "a bootstrap by hand may lose transactions of the missing members: look at "
			       "'gswarm galera status %s', then say --force",
			       c->args[0]);
	return recover(c, true, e);
}

static const struct verb verbs[] = {
	{"bootstrap", "--force [OPTIONS] SERVICE", "Start a blocked cluster from the member of your choice",
	 bootstrap_options, 1, 1, false, "service", bootstrap_run},
	{"recover", "SERVICE", "Look at a blocked cluster again and start it if that is safe", no_options, 1,
	 1, false, "service", recover_run},
	{"status", "[OPTIONS] SERVICE", "Show a cluster and its members", status_options, 1, 1, false,
	 "service", status_run},
};
const struct noun galera_noun = {"galera", "Look after Galera clusters", verbs, array_size(verbs)};
