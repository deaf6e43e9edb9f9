// SPDX-License-Identifier: Apache-2.0
/* Reports: what workers say about their tasks, in one commit for all of them.
 *
 * The happy path is: reports gather for up to five milliseconds (or until the commit before is done), are put
 * into one tx by report_apply, and are answered once that is committed. What can fail is: a single task's
 * report that is stale or not the worker's to make (it changes nothing; the others count), a conflict with
 * another commit (the same reports are applied anew to the fresh state), no leadership (the worker sends it
 * again). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "manager/dispatch_internal.h"

#define GATHER_MS 2
#define WAITING_MAX 4096
#define TASKS_MAX 1000
#define ATTEMPTS 8

struct batch {
	struct dispatcher *d;
	struct report *reports;
	int attempt;
};

static void keep_seqno(struct dispatcher *d, const char *node_id, const Gs__SeqnoReport *r)
{
	const Gs__Task *task = store_task(d->m->store, r->task_id);
	struct seqno_mem *s;

	if (!task || strcmp(task->node_id, node_id) != 0)
		return;
	HASH_FIND_STR(d->seqnos, r->task_id, s);
	if (!s) {
		s = xcalloc(1, sizeof(*s));
		snprintf(s->task_id, sizeof(s->task_id), "%s", r->task_id);
		HASH_ADD_STR(d->seqnos, task_id, s);
	}
	if (s->last_committed != r->last_committed)
		manager_mark_dirty(d->m);
	s->last_committed = r->last_committed;
}

static void apply_report(struct dispatcher *d, struct tx *tx, const struct report *r)
{
	struct err e = {0};

	for (size_t i = 0; i < r->req->n_tasks; i++) {
		err_clear(&e);
		if (report_apply(d->m->store, tx, r->node_id, r->req->tasks[i], &d->m->env, &e) == 0)
			continue;
		if (e.code == E_STALE_VERSION)
			log_debug("report of node %s: %s", r->node_id, e.msg);
		else
			log_warn("report of node %s refused: %s", r->node_id, e.msg);
	}
	for (size_t i = 0; i < r->req->n_volumes; i++)
		report_volume(tx, r->node_id, r->req->volumes[i]);
}

static void answer_all(struct batch *b, const struct err *e)
{
	Gs__ReportResponse resp = GS__REPORT_RESPONSE__INIT;

	while (b->reports) {
		struct report *r = b->reports;

		b->reports = r->next;
		if (e->code)
			rpc_fail(r->call, e);
		else
			rpc_reply(r->call, &resp.base);
		obj_free(r->req);
		free(r);
	}
}

static void commit(struct batch *b);

static void on_committed(void *arg, const struct err *e)
{
	struct batch *b = arg;
	struct dispatcher *d = b->d;

	if (e->code == E_STALE_VERSION && ++b->attempt < ATTEMPTS && d->m->is_leader) {
		commit(b);
		return;
	}
	answer_all(b, e);
	free(b);
	d->committing = false;
	if (d->first)
		dispatcher_flush_reports(d);
}

static void commit(struct batch *b)
{
	struct tx *tx = tx_new(b->d->m->store);

	tx_allow_split(tx);
	for (const struct report *r = b->reports; r; r = r->next)
		apply_report(b->d, tx, r);
	store_commit(b->d->m->store, tx, on_committed, b);
}

static void refuse_waiting(struct dispatcher *d)
{
	struct batch b = {.reports = d->first};
	struct err e = {0};

	err_set(&e, E_NOT_LEADER, "this manager is not the leader any more");
	d->first = NULL;
	d->last = &d->first;
	d->n_reports = 0;
	answer_all(&b, &e);
}

void dispatcher_flush_reports(void *arg)
{
	struct dispatcher *d = arg;
	struct batch *b;

	d->report_armed = false;
	if (!d->first || d->committing)
		return;
	if (!d->m->is_leader || d->m->state != MANAGER_SERVING) {
		refuse_waiting(d);
		return;
	}
	b = xcalloc(1, sizeof(*b));
	b->d = d;
	b->reports = d->first;
	d->first = NULL;
	d->last = &d->first;
	d->n_reports = 0;
	d->committing = true;
	commit(b);
}

static int check(const Gs__ReportRequest *req, struct err *e)
{
	if (req->n_tasks > TASKS_MAX || req->n_volumes > TASKS_MAX || req->n_seqnos > TASKS_MAX)
		return err_set(e, E_LIMIT, "more than %d tasks in one report", TASKS_MAX);
	for (size_t i = 0; i < req->n_tasks; i++)
		if (!req->tasks[i]->status || !id_is_valid(req->tasks[i]->task_id))
			return err_set(e, E_INVALID, "report without a task id or a status");
	for (size_t i = 0; i < req->n_seqnos; i++)
		if (!id_is_valid(req->seqnos[i]->task_id))
			return err_set(e, E_INVALID, "seqno report without a task id");
	return 0;
}

void on_report(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct dispatcher *d = arg;
	const Gs__ReportRequest *req = (const Gs__ReportRequest *)msg;
	const char *node_id = rpc_call_peer(call)->node_id;
	struct report *r;
	struct err e = {0};

	if (!dispatcher_session_ok(d, call, req->session_id))
		return;
	if (check(req, &e) ||
	    (d->n_reports >= WAITING_MAX && err_set(&e, E_LIMIT, "too many reports are waiting"))) {
		rpc_fail(call, &e);
		return;
	}
	dispatcher_node(d, node_id)->last_seen_ms = clock_mono_ms(d->m->clock);
	for (size_t i = 0; i < req->n_seqnos; i++)
		keep_seqno(d, node_id, req->seqnos[i]);
	r = xcalloc(1, sizeof(*r));
	r->call = call;
	snprintf(r->node_id, sizeof(r->node_id), "%s", node_id);
	r->req = obj_dup(req);
	*d->last = r;
	d->last = &r->next;
	d->n_reports++;
	if (!d->committing && !d->report_armed) {
		d->report_armed = true;
		loop_timer_set(&d->report, GATHER_MS);
	}
}
