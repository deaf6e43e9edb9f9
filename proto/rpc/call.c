// SPDX-License-Identifier: Apache-2.0
/* Incoming calls: authorise, unpack, hand to the handler, carry the answer.
 *
 *   REQUEST -> RUNNING -- reply | end | fail --> freed
 *                 |
 *                 | cancel, deadline, connection lost
 *                 +---- with on_cancel --> TELLING (on_cancel runs) --> freed
 *                 |                           ^ on_cancel was asked for late
 *                 +---- without ----------> DEAD -- reply | end | fail --> freed
 *
 *
 * The happy path is: the handler answers now or later. What can fail is the caller: unknown method, wrong
 * role, bytes that do not unpack, too many calls; each is answered with an ERROR frame. A dead call stays in
 * the connection's list (and counts) until its handler answers or the connection goes; then it is detached:
 * conn is NULL, and its answer is dropped. */
#include <string.h>
#include <utlist.h>

#include "base/gap.h"
#include "base/mem.h"
#include "proto/rpc/conn.h"

#define UNPACK_MAX (64u << 20)
#define UNPACK_MAX_UNAUTHENTICATED (1u << 20)
/* A request's memory beside its bytes: the message itself, and sub-messages of which each field is set. One that is
 * nothing but empty sub-messages wants two hundred times its bytes, and is cheap to send. */
#define UNPACK_BASE (16u << 10)
#define UNPACK_FACTOR 32u

enum call_state { CALL_RUNNING, CALL_TELLING, CALL_DEAD, CALL_OVER };

static const struct sm_state call_states[] = {
	{CALL_RUNNING, "running", SM(CALL_TELLING) | SM(CALL_DEAD) | SM(CALL_OVER)},
	{CALL_TELLING, "telling", SM(CALL_OVER)},
	{CALL_DEAD, "dead", SM(CALL_TELLING) | SM(CALL_OVER)},
	{CALL_OVER, "over", 0},
};
static const struct sm_kind call_kind = SM_KIND_BUSY("call", call_states, NULL);

#define CALL_MAGIC MAGIC('c', 'a', 'l', 'l')
struct rpc_call {
	uint32_t magic;
	struct sm sm;
	struct rpc_call *prev, *next;
	struct rpc_conn *conn; /* NULL: detached */
	uv_loop_t *loop;
	uint64_t id;
	unsigned service, method;
	uint32_t priority;
	int64_t credit;
	uint64_t deadline_at;
	ProtobufCMessage *req;
	bool wants_drain;
	void (*cancelled)(struct rpc_call *call, void *arg);
	void *cancelled_arg;
	void (*drain)(struct rpc_call *call, void *arg);
	void *drain_arg;
	struct late_cancel *late;
	struct rpc_peer *peer; /* a copy, once detached */
	void *data;
};

/* on_cancel was asked for after the call had died: it runs from the loop, soon. */
struct late_cancel {
	uv_timer_t timer;
	struct rpc_call *call; /* NULL: answered in between */
};

static struct rpc_call *call_find(struct rpc_conn *c, uint64_t id)
{
	struct rpc_call *call;

	DL_FOREACH (c->calls, call)
		if (call->id == id)
			return call;
	return NULL;
}

static void call_unlink(struct rpc_call *call)
{
	struct rpc_conn *c = call->conn;

	if (!c)
		return;
	dl_drop(c->calls, call);
	bug_if(!c->n_calls);
	c->n_calls--;
	call->conn = NULL;
	call->sm.label = NULL; /* was the connection's */
	if (call->deadline_at)
		conn_timer_update(c);
}

static void call_free(struct rpc_call *call)
{
	sm_go(&call->sm, CALL_OVER);
	call_unlink(call);
	if (call->late)
		call->late->call = NULL;
	protobuf_c_message_free_unpacked(call->req, NULL);
	free(call->peer);
	magic_end(call);
	free(call);
}

static void call_run_cancelled(struct rpc_call *call)
{
	sm_go(&call->sm, CALL_TELLING);
	call->cancelled(call, call->cancelled_arg);
	call_free(call);
}

/* The caller does not wait any more. */
static void call_die(struct rpc_call *call)
{
	if (!sm_is(&call->sm, CALL_RUNNING))
		return;
	if (call->cancelled)
		call_run_cancelled(call);
	else
		sm_go(&call->sm, CALL_DEAD);
}

/* ---- from the connection ---- */

static void error_fill(const struct err *e, Gs__ErrorBody *ret)
{
	ret->code = e->code < 0 ? e->code : E_UNAVAILABLE;
	ret->message = (char *)e->msg;
}

static void send_error(struct rpc_conn *c, uint64_t id, const struct err *e)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__ErrorBody body = GS__ERROR_BODY__INIT;

	h.call = id;
	h.kind = FRAME_ERROR;
	error_fill(e, &body);
	conn_send(c, &h, &body.base);
}

static const char *role_name(unsigned bit)
{
	switch (bit) {
	case ROLE_BIT_WORKER:
		return "a worker";
	case ROLE_BIT_MANAGER:
		return "a manager";
	case ROLE_BIT_LOCAL:
		return "a local user";
	case ROLE_BIT_EXPIRED:
		return "an expired certificate";
	default:
		return "a caller without a certificate";
	}
}

static unsigned call_role(struct rpc_conn *c, struct err *e)
{
	if (!c->peer.is_local && !c->peer.is_authenticated)
		return ROLE_BIT_NONE;
	if (c->services->authorise)
		return c->services->authorise(&c->peer, c->services->arg, e);
	if (c->peer.is_local)
		return ROLE_BIT_LOCAL;
	err_set(e, E_FORBIDDEN, "nobody may call this server over the network");
	return 0;
}

static int call_authorise(struct rpc_conn *c, unsigned service, unsigned method, struct err *e)
{
	unsigned allowed = rpc_method_roles(service, method), role;
	char name[64];

	if ((allowed & ROLE_BIT_NONE) && !c->peer.is_expired)
		return 0;
	*e = (struct err){0};
	if (c->peer.is_expired && !(allowed & ROLE_BIT_EXPIRED)) /* whatever authorise may think of it */
		return err_set(e, E_UNAUTHENTICATED,
			       "the certificate of node %s has expired: it can be renewed and no more; is "
			       "the time right "
			       "on both hosts?",
			       c->peer.node_id);
	role = call_role(c, e);
	if (role & allowed)
		return 0;
	if (role == 0)
		return e->code ? e->code : err_set(e, E_FORBIDDEN, "this node may not call");
	return err_set(e, role == ROLE_BIT_NONE ? E_UNAUTHENTICATED : E_FORBIDDEN, "%s is not for %s",
		       rpc_method_name(service, method, name, sizeof(name)), role_name(role));
}

static int call_handler(struct rpc_conn *c, const struct frame *f, rpc_handler *ret, struct err *e)
{
	unsigned service = f->header->service, method = f->header->method;
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(service);
	const struct service_entry *entry = d && c->services ? &c->services->entries[service] : NULL;
	unsigned max = !conn_is_trusted(c)       ? CONN_CALLS_MAX_UNAUTHENTICATED
		       : f->header->priority > 0 ? CONN_CALLS_MAX + CONN_CALLS_URGENT
						 : CONN_CALLS_MAX;

	if (!entry || method >= d->n_methods || method >= entry->n || !entry->handlers[method])
		return err_set(e, -ENOSYS, "method %u.%u is not served here", service, method);
	if (c->n_calls >= max)
		return err_set(e, E_LIMIT, "%u calls are open on this connection", c->n_calls);
	*ret = entry->handlers[method];
	return call_authorise(c, service, method, e);
}

static struct rpc_call *call_new(struct rpc_conn *c, const struct frame *f, ProtobufCMessage *take_req)
{
	struct rpc_call *call = xcalloc(1, sizeof(*call));
	const Gs__FrameHeader *h = f->header;

	magic_set(call, CALL_MAGIC);
	sm_init(&call->sm, &call_kind, CALL_RUNNING, c->peer.addr);
	call->conn = c;
	call->loop = c->loop;
	call->id = h->call;
	call->service = h->service;
	call->method = h->method;
	call->priority = h->priority;
	call->credit = CONN_WINDOW;
	call->deadline_at = h->deadline_ms ? uv_now(c->loop) + h->deadline_ms : 0;
	call->req = take_req;
	dl_add(c->calls, call);
	c->n_calls++;
	if (call->deadline_at)
		conn_timer_update(c);
	return call;
}

static size_t unpack_limit(const struct rpc_conn *c, size_t wire_bytes)
{
	size_t most = conn_is_trusted(c) ? UNPACK_MAX : UNPACK_MAX_UNAUTHENTICATED;
	size_t limit = UNPACK_BASE + UNPACK_FACTOR * wire_bytes;

	return limit < most ? limit : most;
}

/* Without a certificate there is a join to be made and no more; every call costs the loop some time. */
static int stranger_budget(struct rpc_conn *c, struct err *e)
{
	if (conn_is_trusted(c) || c->n_stranger_calls++ < CONN_CALLS_STRANGER)
		return 0;
	return err_set(e, E_LIMIT, "more than %u calls without a certificate on one connection",
		       CONN_CALLS_STRANGER);
}

void call_request(struct rpc_conn *c, const struct frame *f)
{
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(f->header->service);
	rpc_handler handler = NULL;
	struct gap_scope scope;
	ProtobufCMessage *req;
	struct err e = {0};

	if (stranger_budget(c, &e) < 0) {
		conn_refuse(c, &e);
		return;
	}
	if (call_find(c, f->header->call)) {
		err_set(&e, E_PROTOCOL, "call number %llu is used twice",
			(unsigned long long)f->header->call);
		conn_fail(c, &e);
		return;
	}
	if (call_handler(c, f, &handler, &e) < 0) {
		send_error(c, f->header->call, &e);
		return;
	}
	req = rpc_unpack(d->methods[f->header->method].input, f->payload, f->payload_len,
			 unpack_limit(c, f->payload_len));
	if (!req) {
		err_set(&e, E_PROTOCOL, "an unreadable request");
		send_error(c, f->header->call, &e);
		return;
	}
	scope = gap_scope_begin(d->methods[f->header->method].name);
	handler(call_new(c, f, req), req, c->services->entries[f->header->service].arg);
	gap_scope_end(&scope);
}

void call_cancel(struct rpc_conn *c, uint64_t id)
{
	struct rpc_call *call = call_find(c, id);

	if (call) /* else: answered already, the frames crossed */
		call_die(call);
}

/* Only after an E_LIMIT, and only when both the window and the queue have room. */
static void call_try_drain(struct rpc_call *call)
{
	if (!call->wants_drain || !sm_is(&call->sm, CALL_RUNNING) || call->credit <= 0 ||
	    conn_queue_bytes(call->conn) > CONN_QUEUE_HIGH)
		return;
	call->wants_drain = false;
	if (call->drain)
		call->drain(call, call->drain_arg);
}

void call_window(struct rpc_conn *c, uint64_t id, uint32_t bytes)
{
	struct rpc_call *call = call_find(c, id);

	if (!call)
		return;
	call->credit += bytes;
	if (call->credit > (int64_t)CONN_QUEUE_MAX)
		call->credit = CONN_QUEUE_MAX;
	call_try_drain(call);
}

/* A drain callback may end its own call, and others: take them one by one, each at most once. */
void call_drained(struct rpc_conn *c)
{
	uint64_t last = 0;

	while (!conn_is_closing(c) && conn_queue_bytes(c) <= CONN_QUEUE_HIGH) {
		struct rpc_call *call, *next = NULL;

		DL_FOREACH (c->calls, call)
			if (call->wants_drain && call->credit > 0 && call->id > last &&
			    (!next || call->id < next->id))
				next = call;
		if (!next)
			return;
		last = next->id;
		call_try_drain(next);
	}
}

uint64_t call_next_deadline(const struct rpc_conn *c)
{
	const struct rpc_call *call;
	uint64_t at = 0;

	DL_FOREACH (c->calls, call)
		if (call->deadline_at && sm_is(&call->sm, CALL_RUNNING) && (!at || call->deadline_at < at))
			at = call->deadline_at;
	return at;
}

static struct rpc_call *call_expired(struct rpc_conn *c, uint64_t now)
{
	struct rpc_call *call;

	DL_FOREACH (c->calls, call)
		if (call->deadline_at && call->deadline_at <= now && sm_is(&call->sm, CALL_RUNNING))
			return call;
	return NULL;
}

/* The caller's own clock ends the call on its side; no answer is due. */
void call_expire(struct rpc_conn *c, uint64_t now)
{
	struct rpc_call *call;

	while ((call = call_expired(c, now)))
		call_die(call);
}

void call_abort_all(struct rpc_conn *c)
{
	while (c->calls) {
		struct rpc_call *call = c->calls;

		if (sm_is(&call->sm, CALL_RUNNING) && call->cancelled) {
			call_die(call);
			continue;
		}
		if (sm_is(&call->sm, CALL_RUNNING))
			sm_go(&call->sm, CALL_DEAD);
		call->peer = xmemdup(&c->peer, sizeof(c->peer));
		call_unlink(call);
	}
}

/* ---- from the handler ---- */

const struct rpc_peer *rpc_call_peer(const struct rpc_call *call)
{
	return call->conn ? &call->conn->peer : call->peer;
}

uint32_t rpc_call_deadline_ms(const struct rpc_call *call)
{
	uint64_t now = uv_now(call->loop);

	if (!call->deadline_at)
		return UINT32_MAX;
	return call->deadline_at > now ? (uint32_t)(call->deadline_at - now) : 0;
}

struct rpc_conn *rpc_call_conn(struct rpc_call *call)
{
	return call->conn;
}

void rpc_call_set_data(struct rpc_call *call, void *data)
{
	call->data = data;
}

void *rpc_call_data(const struct rpc_call *call)
{
	return call->data;
}

static void on_late_closed(uv_handle_t *h)
{
	free(h->data);
}

static void on_late(uv_timer_t *t)
{
	struct late_cancel *late = t->data;
	struct rpc_call *call = late->call;

	uv_close((uv_handle_t *)t, on_late_closed);
	if (!call)
		return;
	call->late = NULL;
	call_run_cancelled(call);
}

void rpc_call_on_cancel(struct rpc_call *call, void (*cancelled)(struct rpc_call *call, void *arg), void *arg)
{
	call->cancelled = cancelled;
	call->cancelled_arg = arg;
	if (!sm_is(&call->sm, CALL_DEAD) || call->late || !cancelled)
		return;
	call->late = xcalloc(1, sizeof(*call->late));
	call->late->call = call;
	call->late->timer.data = call->late;
	uv_timer_init(call->loop, &call->late->timer);
	uv_timer_start(&call->late->timer, on_late, 0, 0);
}

void rpc_call_on_drain(struct rpc_call *call, void (*drain)(struct rpc_call *call, void *arg), void *arg)
{
	call->drain = drain;
	call->drain_arg = arg;
}

static Gs__FrameHeader call_header(const struct rpc_call *call, Gs__FrameKind kind)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;

	h.call = call->id;
	h.kind = kind;
	h.priority = call->priority;
	return h;
}

int rpc_event(struct rpc_call *call, const ProtobufCMessage *event)
{
	Gs__FrameHeader h = call_header(call, FRAME_EVENT);
	size_t bytes = protobuf_c_message_get_packed_size(event);

	bug_if(!magic_is(call, CALL_MAGIC));
	if (!sm_is(&call->sm, CALL_RUNNING) || !call->conn || conn_is_closing(call->conn))
		return E_CLOSED;
	if (bytes > MESSAGE_MAX)
		return E_INVALID;
	if (call->credit <= 0 || conn_queue_bytes(call->conn) > CONN_QUEUE_HIGH) {
		call->wants_drain = true;
		return E_LIMIT;
	}
	call->credit -= (int64_t)(FRAME_COST + bytes);
	conn_send(call->conn, &h, event);
	return 0;
}

static void call_finish(struct rpc_call *call, Gs__FrameKind kind, const ProtobufCMessage *payload)
{
	Gs__FrameHeader h = call_header(call, kind);

	bug_if(!magic_is(call, CALL_MAGIC) || sm_is(&call->sm, CALL_OVER)); /* answered twice */
	if (sm_is(&call->sm, CALL_TELLING))
		return; /* freed when on_cancel returns */
	if (sm_is(&call->sm, CALL_RUNNING) && call->conn)
		conn_send(call->conn, &h, payload);
	call_free(call);
}

void rpc_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
	struct err e = {0};

	if (protobuf_c_message_get_packed_size(response) <= MESSAGE_MAX) {
		call_finish(call, FRAME_RESPONSE, response);
		return;
	}
	err_set(&e, E_LIMIT, "the answer is too large: ask for less");
	rpc_fail(call, &e);
}

void rpc_end(struct rpc_call *call)
{
	/* All frames of a call carry its priority, so the end does not overtake the events. */
	call_finish(call, FRAME_END, NULL);
}

void rpc_fail(struct rpc_call *call, const struct err *e)
{
	Gs__ErrorBody body = GS__ERROR_BODY__INIT;

	error_fill(e, &body);
	call_finish(call, FRAME_ERROR, &body.base);
}
