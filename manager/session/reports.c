// SPDX-License-Identifier: Apache-2.0
/* Reports: what workers say about their tasks, in one commit for all of them.
 *
 * The happy path is: reports gather for GATHER_MS (or until the commit before is done), are put into one tx by
 * report_apply, and are answered once that is committed. What can fail is: a single task's report that is
 * stale, too large or not the worker's to make (it changes nothing and the answer says so; the others count),
 * a conflict with another commit (the same reports are applied anew to the fresh state), no leadership (the
 * worker sends it again), a node that reports faster or more than any node needs (E_LIMIT: it waits and sends
 * again). What waits is bounded in bytes, for each node in number, and so is what is logged of a node. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "manager/session/internal.h"

#define GATHER_MS 2
#define WAITING_BYTES_MAX (32u << 20) /* of all nodes */
#define WAITING_MAX 4                 /* of one node; a worker sends one at a time */
#define TASKS_MAX 1000                /* in one report */
#define ATTEMPTS 8
/* Of one node. A worker that starts hundreds of tasks reports about as often as commits are made; a full set of
 * a thousand tasks has less than a MiB. */
#define REPORTS_PER_S 100.0
#define REPORTS_BURST 1000.0
#define BYTES_PER_S (1.0 * (1 << 20))
#define BYTES_BURST (16.0 * (1 << 20))
#define WARNINGS_PER_S 0.1
#define WARNINGS_BURST 5.0

struct batch {
	struct sessions *all;
	struct report *reports;
	int attempt;
};

/* NULL: nothing is kept of this one, which is no Galera task or not on that node. */
static struct task_mem *task_mem(struct sessions *all, const char *node_id, const char *task_id)
{
	const Gs__Task *row = store_task(all->ctx->store, task_id);
	struct task_mem *t;

	if (!row || !*row->galera_cluster_id || strcmp(row->node_id, node_id) != 0)
		return NULL;
	HASH_FIND_STR(all->tasks, task_id, t);
	if (!t) {
		t = xcalloc(1, sizeof(*t));
		snprintf(t->task_id, sizeof(t->task_id), "%s", task_id);
		t->last_committed = -1;
		HASH_ADD_STR(all->tasks, task_id, t);
	}
	return t;
}

/* Only the Galera controller's high water mark reads it, and that looks by itself every few seconds while a member is
 * Primary: a database that writes must not have all passes run with each of its reports. */
static void keep_seqno(struct sessions *all, const char *node_id, const Gs__SeqnoReport *r)
{
	struct task_mem *t = task_mem(all, node_id, r->task_id);

	if (t)
		t->last_committed = r->last_committed;
}

static bool was_refused(const struct report *r, const char *task_id)
{
	for (size_t i = 0; i < r->resp->n_refused; i++)
		if (strcmp(r->resp->refused[i]->task_id, task_id) == 0)
			return true;
	return false;
}

/* A worker that has just been started finds a server running and has not asked it yet: then the view in the store is
 * one that it did not confirm. */
static bool tells_all(const Gs__TaskStatus *said, const Gs__Task *row)
{
	return said->view || said->state <= TASK_HELD || task_state_is_final(said->state) || !row->status ||
	       !row->status->view;
}

/* It is committed: what the store says of these tasks is what their worker has said in this session. */
static void note_heard(struct sessions *all, const struct report *r)
{
	struct node_mem *n = sessions_node(all, r->node_id);
	bool is_news = false;

	if (!n || n->opened != r->opened)
		return;
	for (size_t i = 0; i < r->req->n_tasks; i++) {
		const char *id = r->req->tasks[i]->task_id;
		struct task_mem *t = task_mem(all, r->node_id, id);

		if (!t || t->heard_in == n->opened || was_refused(r, id) ||
		    !tells_all(r->req->tasks[i]->status, store_task(all->ctx->store, id)))
			continue;
		t->heard_in = n->opened;
		n->has_told = is_news = true;
	}
	if (is_news)
		context_mark_dirty(all->ctx);
}

/* ---- refusals ---- */

/* One line, or counted for the next one. */
static void warn_refused(struct sessions *all, const char *node_id, const char *why)
{
	struct node_mem *n = sessions_node(all, node_id);

	if (!n ||
	    !bucket_take(&n->warnings, clock_mono_ms(all->ctx->clock), 1, WARNINGS_PER_S, WARNINGS_BURST)) {
		if (n)
			n->n_unsaid++;
		return;
	}
	if (n->n_unsaid)
		log_warn("report of node %s refused: %s (and %u more refusals before)", node_id, why,
			 n->n_unsaid);
	else
		log_warn("report of node %s refused: %s", node_id, why);
	n->n_unsaid = 0;
}

static void refuse(struct sessions *all, struct report *r, const char *task_id, const struct err *e)
{
	Gs__TaskRefusal *refusal = obj_new(&gs__task_refusal__descriptor);

	str_replace(&refusal->task_id, task_id);
	refusal->code = e->code;
	str_replace(&refusal->message, e->msg);
	obj_add(&r->resp->n_refused, &r->resp->refused, refusal);
	if (e->code == E_STALE_VERSION)
		log_debug("report of node %s: %s", r->node_id, e->msg);
	else
		warn_refused(all, r->node_id, e->msg);
}

static void forget_refusals(struct report *r)
{
	bug_if(r->resp->n_refused < r->n_on_sight);
	while (r->resp->n_refused > r->n_on_sight)
		obj_free(r->resp->refused[--r->resp->n_refused]);
}

static void apply_report(struct sessions *all, struct tx *tx, struct report *r)
{
	struct err e = {0};

	forget_refusals(r);
	for (size_t i = 0; i < r->req->n_tasks; i++) {
		err_clear(&e);
		if (report_apply(all->ctx->store, tx, r->node_id, r->req->tasks[i], &all->ctx->env, &e))
			refuse(all, r, r->req->tasks[i]->task_id, &e);
	}
	for (size_t i = 0; i < r->req->n_volumes; i++)
		report_volume(tx, r->node_id, r->req->volumes[i], &all->ctx->env);
}

/* ---- commit and answer ---- */

static void report_free(struct sessions *all, struct report *r)
{
	struct node_mem *n = sessions_node(all, r->node_id);

	if (n && n->n_waiting)
		n->n_waiting--;
	bug_if(all->bytes_waiting < r->bytes);
	all->bytes_waiting -= r->bytes;
	obj_free(r->req);
	obj_free(r->resp);
	free(r);
}

static void answer_all(struct batch *b, const struct err *e)
{
	while (b->reports) {
		struct report *r = b->reports;

		b->reports = r->next;
		if (e->code) {
			rpc_fail(r->call, e);
		} else {
			note_heard(b->all, r);
			rpc_reply(r->call, &r->resp->base);
		}
		report_free(b->all, r);
	}
}

static void commit(struct batch *b);

static void on_committed(void *arg, const struct err *e)
{
	struct batch *b = arg;
	struct sessions *all = b->all;

	bug_if(!all->committing);
	if (e->code == E_STALE_VERSION && ++b->attempt < ATTEMPTS && context_is_serving(all->ctx)) {
		commit(b);
		return;
	}
	answer_all(b, e);
	free(b);
	all->committing = false;
	if (all->first)
		sessions_flush_reports(all);
}

static void commit(struct batch *b)
{
	struct tx *tx = tx_new(b->all->ctx->store);

	tx_allow_split(tx);
	for (struct report *r = b->reports; r; r = r->next)
		apply_report(b->all, tx, r);
	store_commit(b->all->ctx->store, tx, on_committed, b);
}

void sessions_refuse_reports(struct sessions *all)
{
	struct batch b = {.all = all, .reports = all->first};
	struct err e = {0};

	err_set(&e, E_NOT_LEADER, "this manager is not the leader any more");
	all->first = NULL;
	all->last = &all->first;
	answer_all(&b, &e);
}

void sessions_flush_reports(void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	struct batch *b;

	all->report_armed = false;
	if (!all->first || all->committing)
		return;
	if (!context_is_serving(all->ctx)) {
		sessions_refuse_reports(all);
		return;
	}
	b = xcalloc(1, sizeof(*b));
	b->all = all;
	b->reports = all->first;
	all->first = NULL;
	all->last = &all->first;
	all->committing = true;
	commit(b);
}

/* ---- what comes in ---- */

static int check(const Gs__ReportRequest *req, struct err *e)
{
	if (req->n_tasks > TASKS_MAX || req->n_seqnos > TASKS_MAX || req->n_volumes > TASKS_MAX)
		return err_set(e, E_LIMIT, "more than %d tasks in one report", TASKS_MAX);
	for (size_t i = 0; i < req->n_tasks; i++)
		if (!req->tasks[i]->status || !id_is_valid(req->tasks[i]->task_id))
			return err_set(e, E_INVALID, "report without a task id or a status");
	for (size_t i = 0; i < req->n_seqnos; i++)
		if (!id_is_valid(req->seqnos[i]->task_id))
			return err_set(e, E_INVALID, "seqno report without a task id");
	return 0;
}

static int check_pace(struct sessions *all, struct node_mem *n, size_t bytes, struct err *e)
{
	int64_t now = clock_mono_ms(all->ctx->clock);

	if (n->n_waiting >= WAITING_MAX)
		return err_set(e, E_LIMIT, "%u reports of this node wait already", n->n_waiting);
	if (all->bytes_waiting + bytes > WAITING_BYTES_MAX)
		return err_set(e, E_LIMIT, "%zu bytes of reports wait already", all->bytes_waiting);
	if (!bucket_take(&n->reports, now, 1, REPORTS_PER_S, REPORTS_BURST) ||
	    !bucket_take(&n->report_bytes, now, (double)bytes, BYTES_PER_S, BYTES_BURST))
		return err_set(e, E_LIMIT, "this node reports too much; wait a second");
	return 0;
}

/* Copies the request but for the items that are too large to be kept. */
static struct report *report_new(struct sessions *all, struct rpc_call *call, const char *node_id,
				 const Gs__ReportRequest *req, size_t bytes)
{
	cleanup_free Gs__TaskReport **tasks = xcalloc(req->n_tasks + 1, sizeof(*tasks));
	struct report *r = xcalloc(1, sizeof(*r));
	Gs__ReportRequest kept = *req;
	struct err e = {0};

	r->call = call;
	r->bytes = bytes;
	r->resp = obj_new(&gs__report_response__descriptor);
	snprintf(r->node_id, sizeof(r->node_id), "%s", node_id);
	kept.n_tasks = 0;
	kept.tasks = tasks;
	for (size_t i = 0; i < req->n_tasks; i++) {
		if (report_bounds(req->tasks[i], &e))
			refuse(all, r, req->tasks[i]->task_id, &e);
		else
			tasks[kept.n_tasks++] = req->tasks[i];
	}
	r->n_on_sight = r->resp->n_refused;
	r->req = obj_dup(&kept);
	return r;
}

static void report_queue(struct sessions *all, struct node_mem *n, struct report *r)
{
	r->opened = n->opened;
	*all->last = r;
	all->last = &r->next;
	all->bytes_waiting += r->bytes;
	n->n_waiting++;
	if (!all->committing && !all->report_armed) {
		all->report_armed = true;
		loop_timer_set(&all->report, GATHER_MS);
	}
}

void on_report(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	const Gs__ReportRequest *req = (const Gs__ReportRequest *)msg;
	const char *node_id = rpc_call_peer(call)->node_id;
	size_t bytes = protobuf_c_message_get_packed_size(msg);
	struct node_mem *n;
	struct err e = {0};

	if (!sessions_check_open(all, call, req->session_id))
		return;
	n = sessions_node(all, node_id);
	if (check(req, &e) || check_pace(all, n, bytes, &e)) {
		rpc_fail(call, &e);
		return;
	}
	n->last_seen_ms = clock_mono_ms(all->ctx->clock);
	for (size_t i = 0; i < req->n_seqnos; i++)
		keep_seqno(all, node_id, req->seqnos[i]);
	report_queue(all, n, report_new(all, call, node_id, req, bytes));
}
