// SPDX-License-Identifier: Apache-2.0
/*   CLI                      broker                         worker
 *   Logs(service) ---------> reader, one demand per task
 *                            LogDemand(id, task) ---------> Subscribe stream
 *        <--- LogLine ------ Push(id, lines) <------------- reads the task's log
 *        <--- end ---------- Push(id, end)
 *   cancel ----------------> LogDemand(id, stop) ---------> stops
 *
 * The happy path is above. What can fail is: a node without a log connection (its tasks get one error line),
 * a node that goes away (the same), a CLI that reads slowly (the Push waits for its answer). */
#include "manager/session/logs.h"
#include "proto/schema/control.pb-c.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "manager/context/answer.h"
#include "manager/model/rows.h"

#define READERS_MAX 64u
#define DEMANDS_MAX 256u
#define LOOK_MS 100

struct subscriber { /* a worker's second connection */
	struct subscriber *next;
	struct logs *logs;
	struct rpc_call *call;
	char node_id[ID_LEN + 1];
};
struct demand { /* one task's log for one reader */
	struct demand *next;
	struct reader *reader;
	char id[ID_LEN + 1], task_id[ID_LEN + 1], node_id[ID_LEN + 1], service_id[ID_LEN + 1];
	char *task_name, *node_name;
	bool ended;
	struct rpc_call *push; /* waits for room; lines[sent..] are still to go */
	Gs__LogPush *waiting;
	size_t sent;
};
struct reader { /* a CLI's Logs stream */
	struct reader *next;
	struct logs *logs;
	struct rpc_call *call;
	Gs__LogsRequest *req;
	char service_id[ID_LEN + 1]; /* empty: one task */
	struct demand *demands;
	size_t n_demands;
};
struct logs {
	struct context *ctx;
	struct subscriber *subscribers;
	struct reader *readers;
	size_t n_readers;
	struct loop_timer look;
	bool armed, closed;
};

static struct subscriber *subscriber_find(struct logs *logs, const char *node_id)
{
	for (struct subscriber *s = logs->subscribers; s; s = s->next)
		if (strcmp(s->node_id, node_id) == 0)
			return s;
	return NULL;
}

static bool send_demand(const struct demand *d, bool stop)
{
	struct subscriber *s = subscriber_find(d->reader->logs, d->node_id);
	Gs__LogDemand msg = GS__LOG_DEMAND__INIT;

	msg.id = (char *)d->id;
	msg.task_id = (char *)d->task_id;
	msg.follow = d->reader->req->follow;
	msg.tail = d->reader->req->tail;
	msg.since_ms = d->reader->req->since_ms;
	msg.stop = stop;
	return s && rpc_event(s->call, &msg.base) == 0;
}

static int send_line(const struct demand *d, const Gs__LogChunk *chunk, const char *error)
{
	Gs__LogLine line = GS__LOG_LINE__INIT;

	line.task_name = d->task_name;
	line.node = d->node_name;
	line.task_id = (char *)d->task_id;
	line.node_id = (char *)d->node_id;
	line.service_id = (char *)d->service_id;
	if (chunk) {
		line.time_ms = chunk->time_ms;
		line.sub_ns = chunk->sub_ns;
		line.is_stderr = chunk->is_stderr;
		line.line = chunk->line;
	}
	line.error = (char *)(error ? error : "");
	return rpc_event(d->reader->call, &line.base);
}

/* ---- readers ---- */

static void push_answer(struct demand *d)
{
	if (d->push)
		answer_empty(d->push);
	d->push = NULL;
	obj_free(d->waiting);
	d->waiting = NULL;
}

static void reader_free(struct reader *r)
{
	struct reader **p = &r->logs->readers;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	r->logs->n_readers--;
	while (r->demands) {
		struct demand *d = r->demands;

		r->demands = d->next;
		if (!d->ended)
			send_demand(d, true);
		push_answer(d);
		free(d->task_name);
		free(d->node_name);
		free(d);
	}
	obj_free(r->req);
	free(r);
}

static void end_if_done(struct reader *r)
{
	struct rpc_call *call = r->call;

	if (r->req->follow)
		return;
	for (const struct demand *d = r->demands; d; d = d->next)
		if (!d->ended)
			return;
	reader_free(r);
	rpc_end(call);
}

/* Lines of the waiting push that have room. true: all of them went. */
static bool forward(struct demand *d)
{
	while (d->sent < d->waiting->n_lines) {
		if (send_line(d, d->waiting->lines[d->sent], NULL))
			return false;
		d->sent++;
	}
	if (*d->waiting->error && send_line(d, NULL, d->waiting->error))
		return false;
	if (d->waiting->end)
		d->ended = true;
	push_answer(d);
	return true;
}

static void on_reader_drain(struct rpc_call *call, void *arg)
{
	struct reader *r = arg;

	for (struct demand *d = r->demands; d; d = d->next)
		if (d->waiting && !forward(d))
			return;
	end_if_done(r);
}

static void on_reader_cancel(struct rpc_call *call, void *arg)
{
	reader_free(arg);
}

static bool has_demand(const struct reader *r, const char *task_id)
{
	for (const struct demand *d = r->demands; d; d = d->next)
		if (strcmp(d->task_id, task_id) == 0)
			return true;
	return false;
}

/* Why its worker is not asked, and what to do. */
static void tell_unasked(const struct demand *d, const Gs__Node *node)
{
	cleanup_free char *why = NULL;

	if (!node)
		why = xasprintf("node %s was removed: its logs are not to be had from here", d->node_id);
	else if (node_is_down(node))
		why = xasprintf("node %s is down: try again when it is back", d->node_name);
	else
		why = xasprintf("node %s has no log connection to the manager yet: try again in a second",
				d->node_name);
	send_line(d, NULL, why);
}

static void add_demand(struct reader *r, const Gs__Task *t)
{
	const Gs__Node *node = store_node(r->logs->ctx->store, t->node_id);
	struct demand *d;

	if (r->n_demands >= DEMANDS_MAX || !*t->node_id || has_demand(r, t->meta->id))
		return;
	d = xcalloc(1, sizeof(*d));
	d->reader = r;
	id_new(d->id);
	snprintf(d->task_id, sizeof(d->task_id), "%s", t->meta->id);
	snprintf(d->node_id, sizeof(d->node_id), "%s", t->node_id);
	snprintf(d->service_id, sizeof(d->service_id), "%s", t->service_id);
	d->task_name = xstrdup(t->name);
	d->node_name = xstrdup(node && node->description ? node->description->hostname : t->node_id);
	d->next = r->demands;
	r->demands = d;
	r->n_demands++;
	if (send_demand(d, false))
		return;
	d->ended = true;
	tell_unasked(d, node);
}

static void add_demands(struct reader *r)
{
	const Gs__Task *const *tasks;
	size_t n = store_tasks_of_service(r->logs->ctx->store, r->service_id, &tasks);

	for (size_t i = 0; i < n; i++)
		add_demand(r, tasks[i]);
}

static void on_look(void *arg)
{
	struct logs *logs = arg;

	logs->armed = false;
	for (struct reader *r = logs->readers; r; r = r->next)
		if (r->req->follow && *r->service_id)
			add_demands(r);
}

void logs_changed(struct logs *logs)
{
	if (logs->armed || logs->closed || !logs->readers)
		return;
	logs->armed = true;
	loop_timer_set(&logs->look, LOOK_MS);
}

static struct reader *reader_new(struct logs *logs, struct rpc_call *call, const ProtobufCMessage *msg)
{
	struct reader *r = xcalloc(1, sizeof(*r));

	r->logs = logs;
	r->call = call;
	r->req = obj_dup(msg);
	r->next = logs->readers;
	logs->readers = r;
	logs->n_readers++;
	rpc_call_on_cancel(call, on_reader_cancel, r);
	rpc_call_on_drain(call, on_reader_drain, r);
	return r;
}

void logs_on_logs(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct logs *logs = arg;
	const Gs__LogsRequest *req = (const Gs__LogsRequest *)msg;
	const Gs__Service *svc;
	const Gs__Task *task = NULL;
	struct reader *r;
	struct err e = {0};

	if (answer_unless_serving(logs->ctx, call))
		return;
	svc = store_find(logs->ctx->store, OBJ_SERVICE, req->ref, NULL);
	if (!svc && !(task = store_find(logs->ctx->store, OBJ_TASK, req->ref, &e))) {
		answer_fail(call, E_NOT_FOUND, "no service or task %.80s", req->ref);
		return;
	}
	if (logs->n_readers >= READERS_MAX) {
		answer_fail(call, E_LIMIT, "more than %u log readers", READERS_MAX);
		return;
	}
	r = reader_new(logs, call, msg);
	if (svc) {
		snprintf(r->service_id, sizeof(r->service_id), "%s", svc->meta->id);
		add_demands(r);
	} else {
		add_demand(r, task);
	}
	end_if_done(r);
}

/* ---- workers ---- */

static void fail_demands(struct logs *logs, const char *node_id)
{
	struct reader *next;

	for (struct reader *r = logs->readers; r; r = next) {
		next = r->next;
		for (struct demand *d = r->demands; d; d = d->next) {
			if (d->ended || strcmp(d->node_id, node_id) != 0)
				continue;
			d->ended = true;
			push_answer(d);
			send_line(d, NULL, "the connection to its node was lost");
		}
		end_if_done(r);
	}
}

static void subscriber_free(struct subscriber *s)
{
	struct subscriber **p = &s->logs->subscribers;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	free(s);
}

static void on_subscriber_cancel(struct rpc_call *call, void *arg)
{
	struct subscriber *s = arg;
	struct logs *logs = s->logs;
	char node_id[ID_LEN + 1];

	memcpy(node_id, s->node_id, sizeof(node_id));
	subscriber_free(s);
	fail_demands(logs, node_id);
}

static void on_subscribe(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct logs *logs = arg;
	const char *node_id = rpc_call_peer(call)->node_id;
	struct subscriber *s = subscriber_find(logs, node_id);

	if (answer_unless_serving(logs->ctx, call))
		return;
	if (s) {
		struct rpc_call *old = s->call;

		subscriber_free(s);
		fail_demands(logs, node_id);
		answer_fail(old, E_CLOSED, "replaced by a newer log connection of this node");
	}
	s = xcalloc(1, sizeof(*s));
	s->logs = logs;
	s->call = call;
	snprintf(s->node_id, sizeof(s->node_id), "%s", node_id);
	s->next = logs->subscribers;
	logs->subscribers = s;
	rpc_call_on_cancel(call, on_subscriber_cancel, s);
}

static struct demand *demand_find(struct logs *logs, const char *id, const char *node_id)
{
	for (struct reader *r = logs->readers; r; r = r->next)
		for (struct demand *d = r->demands; d; d = d->next)
			if (strcmp(d->id, id) == 0 && strcmp(d->node_id, node_id) == 0)
				return d;
	return NULL;
}

static void on_push(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct logs *logs = arg;
	const Gs__LogPush *push = (const Gs__LogPush *)msg;
	struct demand *d = demand_find(logs, push->id, rpc_call_peer(call)->node_id);

	if (!d || d->ended) {
		answer_fail(call, E_NOT_FOUND, "nobody reads this log any more");
		return;
	}
	if (d->waiting) {
		answer_fail(call, E_LIMIT, "the push before waits for its answer");
		return;
	}
	d->push = call;
	d->waiting = obj_dup(push);
	d->sent = 0;
	if (forward(d))
		end_if_done(d->reader);
}

/* ---- life ---- */

struct logs *logs_new(struct context *ctx)
{
	struct logs *logs = xcalloc(1, sizeof(*logs));

	logs->ctx = ctx;
	loop_timer_init(&logs->look, ctx->loop, on_look, logs);
	return logs;
}

void logs_register(struct logs *logs)
{
	static const rpc_handler handlers[] = {
		[LOG_BROKER_SUBSCRIBE] = on_subscribe, [LOG_BROKER_PUSH] = on_push};

	rpc_server_add(logs->ctx->server, RPC_LOG_BROKER, handlers, array_size(handlers), logs);
}

void logs_close(struct logs *logs)
{
	if (logs->closed)
		return;
	logs->closed = true;
	loop_timer_close(&logs->look, NULL);
}

void logs_free(struct logs *logs)
{
	while (logs->readers)
		reader_free(logs->readers);
	while (logs->subscribers)
		subscriber_free(logs->subscribers);
	free(logs);
}
