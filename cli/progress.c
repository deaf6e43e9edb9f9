// SPDX-License-Identifier: Apache-2.0
/* Judging one detail of a service: what each slot is at, whether the whole is done, whether it can still
 * get there.
 *
 * The happy path is that every slot has a task that runs. What can fail is told in the result: a task
 * that was rejected, a cluster that waits for the operator, a node that is down: what a silent node said
 * last is not what is. */
#include "cli/progress.h"

#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "cli/task_table.h"
#include "cli/output/text.h"

#define FAILURES_MANY 3
#define QUIET_MS 5000 /* the pauses between attempts grow: 0.1 s, 0.2 s ... (worker's back-off) */

const Gs__Task *progress_task(const Gs__ServiceDetail *d, const Gs__Slot *s)
{
	const Gs__Task *best = NULL;

	for (size_t i = 0; i < d->n_tasks; i++) {
		const Gs__Task *t = d->tasks[i];

		if (strcmp(t->slot_id, s->meta->id))
			continue;
		if (!best || t->meta->created_ms > best->meta->created_ms ||
		    (t->meta->created_ms == best->meta->created_ms && t->meta->version > best->meta->version))
			best = t;
	}
	return best;
}

static bool is_alive(const Gs__ServiceDetail *d, const Gs__Slot *s)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		if (strcmp(d->tasks[i]->slot_id, s->meta->id) == 0 && d->tasks[i]->status &&
		    !task_state_is_final(d->tasks[i]->status->state))
			return true;
	return false;
}

static Gs__NodeState node_of(const Gs__ServiceDetail *d, const Gs__Task *t)
{
	return node_state_of(d->nodes, d->n_nodes, t->node_id);
}

static char *describe(const Gs__ServiceDetail *d, const Gs__Task *t)
{
	if (node_of(d, t) != NODE_READY && !(t->status && task_state_is_final(t->status->state)))
		return xasprintf("node %s %s", node_name_of(d, t->node_id),
				 node_of(d, t) == NODE_DOWN ? "is down" : "has not reported yet");
	const Gs__TaskStatus *s = t->status;
	Gs__TaskState state = s ? s->state : TASK_NEW;
	cleanup_free char *galera = text_galera(t);
	bool is_up = state == TASK_RUNNING; /* its error is how the attempt before ended */
	const char *why = "";
	const char *how = *galera ? galera : s ? s->progress : "";

	if (s && *s->err && !is_up)
		why = s->err;
	else if (state <= TASK_PENDING)
		why = t->pending_reason;
	if (*why)
		return xasprintf("%s: %s", text_state_word(state), why);
	if (strncmp(how, "held", 4) == 0)
		return xstrdup(how);
	return *how ? xasprintf("%s, %s", text_state_word(state), how) : xstrdup(text_state_word(state));
}

static bool is_there(const Gs__ServiceDetail *d, const Gs__Task *t, bool with_galera)
{
	return node_of(d, t) == NODE_READY && t->status && t->status->state == TASK_RUNNING &&
	       t->desired == TASK_RUNNING && (!with_galera || galera_is_ready(t));
}

/* --restart-condition none or on-failure: a job, which is complete when it has ended well. */
static bool has_ended_well(const Gs__ServiceDetail *d, const Gs__Task *t)
{
	return t->status && t->status->state == TASK_COMPLETE && t->desired == TASK_RUNNING &&
	       d->service->spec->task->restart != RESTART_ANY;
}

static bool is_hopeless(const Gs__ServiceDetail *d, const Gs__Task *t)
{
	Gs__TaskState s = t->status ? t->status->state : TASK_NEW;

	if (s == TASK_REJECTED)
		return true;
	return s == TASK_FAILED && d->service->spec->task->restart == RESTART_NONE;
}

/* What becomes of a start that did not work. */
static const char *what_next(const Gs__ServiceDetail *d)
{
	return d->service->spec->task->restart == RESTART_NONE ? "it is not tried again"
							       : "it is tried again and again";
}

static void judge_slot(const Gs__ServiceDetail *d, const Gs__Slot *s, struct progress *p)
{
	const Gs__Task *t = progress_task(d, s);
	bool with_galera = d->service->spec->topology == TOPO_GALERA;
	struct slot_line *l;

	bug_if(!s->meta || !d->service);
	if (s->removing && !is_alive(d, s))
		return;
	p->lines = xrealloc(p->lines, (p->n + 1) * sizeof(*p->lines));
	l = &p->lines[p->n++];
	*l = (struct slot_line){0};
	l->name = t ? xstrdup(t->name) : xasprintf("%s.%u", d->service->spec->name, s->number);
	l->node = xstrdup(t && *t->node_id ? node_name_of(d, t->node_id) : "");
	l->text = t ? describe(d, t) : xstrdup("new");
	l->is_lost = t && node_of(d, t) == NODE_DOWN && (s->n_volumes || *s->node_key);
	if (s->removing) {
		char *text = xasprintf("%s, going away", l->text);

		free(l->text);
		l->text = text;
		return;
	}
	l->is_done = t && is_there(d, t, with_galera);
	if (t && has_ended_well(d, t)) {
		l->is_done = true;
		p->ended++;
	}
	l->is_failed = t && is_hopeless(d, t);
	p->done += l->is_done;
	if (l->is_failed && !p->failure)
		p->failure = xasprintf("%s%s%s: %s (the service stays, %s: 'gswarm service rm %s' ends that)",
				       l->name, *l->node ? " on " : "", l->node,
				       *t->status->err ? t->status->err : text_state_word(t->status->state),
				       what_next(d), d->service->spec->name);
}

static size_t ready_nodes(const Gs__ServiceDetail *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_nodes; i++)
		n += d->nodes[i]->status && d->nodes[i]->status->state == NODE_READY && d->nodes[i]->spec &&
		     d->nodes[i]->spec->availability == AVAIL_ACTIVE;
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(((const struct slot_line *)a)->name, ((const struct slot_line *)b)->name);
}

/* The service's error mostly is "db.1: " and what the line of db.1 ends with. */
static bool is_told(const struct progress *p, const char *error)
{
	for (size_t i = 0; i < p->n; i++) {
		size_t n = strlen(p->lines[i].name);

		if (strncmp(error, p->lines[i].name, n) == 0 && error[n] == ':' && error[n + 1] == ' ' &&
		    strstr(p->lines[i].text, error + n + 2))
			return true;
	}
	return false;
}

/* All that is still open waits for hosts that are down. */
static void judge_lost(struct progress *p)
{
	const struct slot_line *first = NULL;

	for (size_t i = 0; i < p->n; i++) {
		if (!p->lines[i].is_done && !p->lines[i].is_lost)
			return;
		if (!p->lines[i].is_done && !first)
			first = &p->lines[i];
	}
	if (!first || p->failure)
		return;
	p->failure =
		xasprintf("%s: %s; it goes on by itself when that node is back", first->name, first->text);
	p->is_blocked = true;
}

void progress_of(const Gs__ServiceDetail *d, struct progress *ret)
{
	const Gs__ServiceSpec *spec = d->service->spec;
	size_t live = 0;

	bug_if(!d->service || !spec->task);
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < d->n_slots; i++) {
		judge_slot(d, d->slots[i], ret);
		live += !d->slots[i]->removing;
	}
	if (ret->n)
		qsort(ret->lines, ret->n, sizeof(*ret->lines), by_name);
	ret->wanted = spec->replicas;
	if (spec->mode == MODE_GLOBAL) /* constraints are the manager's business: it makes the slots */
		ret->wanted = spec->n_constraints || live > ready_nodes(d) ? live : ready_nodes(d);
	/* A slot that goes away still has a line until its task has ended. */
	ret->is_converged = ret->done == ret->wanted && ret->n == ret->wanted && live == ret->wanted &&
			    !(spec->mode == MODE_GLOBAL && !live);
	if (*d->service->error && !is_told(ret, d->service->error))
		ret->note = xstrdup(d->service->error);
	/* Consent is in the row until the controller has acted on it. */
	if (d->galera && d->galera->phase == GP_BLOCKED && !d->galera->force_bootstrap && !ret->failure) {
		const char *why =
			*d->galera->blocked_reason ? d->galera->blocked_reason : "the cluster is blocked";

		ret->failure = xasprintf("%.*s (see 'gswarm galera status %s')", (int)strcspn(why, "\n"), why,
					 spec->name); /* below its first line is a table */
		ret->is_blocked = true;
	}
	if (d->galera && *d->galera->refused)
		ret->refused = xstrdup(d->galera->refused);
	if (spec->mode == MODE_GLOBAL && !ret->n && *d->service->error && !ret->failure) {
		ret->failure = xasprintf("%s; it goes on by itself when one does", d->service->error);
		ret->is_blocked = true;
	}
	if (live >= ret->wanted)
		judge_lost(ret);
	bug_if(ret->done > ret->n);
	if (ret->is_converged) {
		free(ret->failure);
		ret->failure = NULL;
	}
}

void progress_fini(struct progress *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->lines[i].name);
		free(p->lines[i].node);
		free(p->lines[i].text);
	}
	free(p->lines);
	free(p->failure);
	free(p->note);
	free(p->refused);
	memset(p, 0, sizeof(*p));
}

/* ---- one detail after the other ----
 *
 * A worker starts a task anew in place (its attempt counts up), a manager makes another task for the
 * slot; both are the end of an attempt. */

static struct trail *trail_of(struct trails *t, const char *slot_id)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->list[i].slot_id, slot_id) == 0)
			return &t->list[i];
	t->list = xrealloc(t->list, (t->n + 1) * sizeof(*t->list));
	t->list[t->n] = (struct trail){.slot_id = xstrdup(slot_id)};
	return &t->list[t->n++];
}

/* Attempts that have ended since the last look. */
static unsigned ended_since(const struct trail *l, const Gs__Task *now, bool counts)
{
	uint32_t attempt = now->status ? now->status->attempt : 0;

	if (!l->task_id)
		return counts && attempt > 1 ? attempt - 1 : 0;
	if (strcmp(l->task_id, now->meta->id) != 0)
		return 1 + (attempt > 1 ? attempt - 1 : 0);
	return attempt > l->attempt ? attempt - l->attempt : 0;
}

static void tell_why(struct trail *l, const Gs__ServiceDetail *d, const Gs__Task *t)
{
	const char *err = t->status && *t->status->err ? t->status->err : t->status ? t->status->message : "";
	const char *node = "";

	for (size_t i = 0; i < d->n_nodes; i++)
		if (strcmp(d->nodes[i]->meta->id, t->node_id) == 0 && d->nodes[i]->description)
			node = d->nodes[i]->description->hostname;
	free(l->why);
	l->why = xasprintf("%s%s%s failed %u times: %s", t->name, *node ? " on " : "", node, l->failures,
			   *err ? err : "its program ended");
}

/* true: an attempt of the slot has ended. */
static bool trail_update(struct trail *l, const Gs__ServiceDetail *d, const Gs__Task *t, bool counts,
			 int64_t now_ms, int64_t monitor_ms)
{
	unsigned ended = ended_since(l, t, counts);

	if (!l->task_id || strcmp(l->task_id, t->meta->id) != 0) {
		free(l->task_id);
		l->task_id = xstrdup(t->meta->id);
	}
	l->attempt = t->status ? t->status->attempt : 0;
	if (!ended)
		return false;
	if (l->failures == 0 || now_ms - l->last_ms > 2 * monitor_ms + QUIET_MS) {
		l->failures = 0; /* the program had got over it */
		l->failing_ms = now_ms;
	}
	l->last_ms = now_ms;
	l->failures += ended;
	tell_why(l, d, t);
	return true;
}

void trails_update(struct trails *t, const Gs__ServiceDetail *d, bool is_converged, bool is_new,
		   int64_t now_ms, int64_t monitor_ms)
{
	bool ended = false;

	bug_if(monitor_ms < 0 || now_ms <= 0);
	for (size_t i = 0; i < d->n_slots; i++) {
		const Gs__Task *task = progress_task(d, d->slots[i]);

		if (task && !d->slots[i]->removing)
			ended |= trail_update(trail_of(t, d->slots[i]->meta->id), d, task, is_new || t->begun,
					      now_ms, monitor_ms);
	}
	t->begun = true;
	if (!is_converged)
		t->steady_ms = 0;
	else if (!t->steady_ms || ended)
		t->steady_ms = now_ms;
}

const char *trails_failure(const struct trails *t, int64_t now_ms, int64_t monitor_ms)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].failures >= FAILURES_MANY && now_ms - t->list[i].failing_ms >= monitor_ms)
			return t->list[i].why;
	return NULL;
}

void trails_fini(struct trails *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->list[i].slot_id);
		free(t->list[i].task_id);
		free(t->list[i].why);
	}
	free(t->list);
	*t = (struct trails){0};
}
