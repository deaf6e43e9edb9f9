// SPDX-License-Identifier: Apache-2.0
/* Outgoing calls.
 *
 *   WAITING --connection open--> SENT --RESPONSE | END | ERROR--> DONE
 *      |                          |                              ^
 *      +--refused, cancelled------+--> ENDING --next round-------+
 *      +--deadline, connection lost--------------------------------> DONE
 *
 * The happy path is: the request goes out, events come in and give their credit back, the answer ends it.
 * What can fail is reported through done, exactly once and from the loop. A call that ends on this side is
 * cancelled on the other; its late frames find no call and are dropped. */
#include <string.h>
#include <utlist.h>

#include "base/gap.h"
#include "base/mem.h"
#include "proto/rpc/conn.h"

#define UNPACK_MAX (64u << 20)

enum req_state { REQ_WAITING, REQ_SENT, REQ_ENDING, REQ_DONE };

static const struct sm_state req_states[] = {
	{REQ_WAITING, "waiting", SM(REQ_SENT) | SM(REQ_ENDING) | SM(REQ_DONE)},
	{REQ_SENT, "sent", SM(REQ_ENDING) | SM(REQ_DONE)},
	{REQ_ENDING, "ending", SM(REQ_DONE)}, /* done is due in the next round of the loop */
	{REQ_DONE, "done", 0},
};
static const struct sm_kind req_kind = SM_KIND_BUSY("request", req_states, NULL);

#define REQ_MAGIC MAGIC('r', 'e', 'q', ' ')
struct rpc_req {
	uint32_t magic;
	struct sm sm;
	struct rpc_req *prev, *next;
	struct rpc_conn *conn;
	uint64_t id;
	unsigned service, method;
	uint32_t priority;
	uint64_t deadline_at;
	const ProtobufCMethodDescriptor *desc; /* NULL: no such method */
	ProtobufCMessage *queued;              /* a copy, until it is sent */
	bool is_paused;
	struct err over;
	uint32_t consumed; /* event bytes not yet given back as credit */
	void (*on_event)(const ProtobufCMessage *event, void *arg);
	void (*done)(const ProtobufCMessage *resp, const struct err *e, void *arg);
	void *arg;
};

static const ProtobufCMethodDescriptor *method_find(unsigned service, unsigned method)
{
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(service);

	return d && method < d->n_methods ? &d->methods[method] : NULL;
}

static void req_finish(struct rpc_req *r, const ProtobufCMessage *resp, const struct err *e)
{
	struct rpc_conn *c = r->conn;
	struct gap_scope scope;

	sm_go(&r->sm, REQ_DONE);
	dl_drop(c->reqs, r);
	bug_if(!c->n_reqs);
	c->n_reqs--;
	if (r->deadline_at)
		conn_timer_update(c);
	scope = gap_scope_begin(r->desc ? r->desc->name : "no method");
	r->done(resp, e && e->code ? e : NULL, r->arg);
	gap_scope_end(&scope);
	if (r->queued)
		protobuf_c_message_free_unpacked(r->queued, NULL);
	magic_end(r);
	free(r);
}

/* End it from the timer, that is: not from inside the caller's own call. */
static void req_over(struct rpc_req *r, const struct err *e)
{
	if (sm_is(&r->sm, REQ_ENDING))
		return;
	bug_if(!e->code);
	sm_go(&r->sm, REQ_ENDING);
	r->over = *e;
	r->deadline_at = uv_now(r->conn->loop) + 1;
	conn_timer_update(r->conn);
}

static void req_send_header(struct rpc_req *r, Gs__FrameKind kind, uint32_t window)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;

	h.call = r->id;
	h.kind = kind;
	h.window = window;
	/* Credit overtakes; a cancel must not overtake its own request. */
	h.priority = kind == FRAME_CANCEL ? r->priority : 1;
	conn_send(r->conn, &h, NULL);
}

static void req_send(struct rpc_req *r, const ProtobufCMessage *msg)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	uint64_t now = uv_now(r->conn->loop);

	h.call = r->id;
	h.kind = FRAME_REQUEST;
	h.service = r->service;
	h.method = r->method;
	h.priority = r->priority;
	if (r->deadline_at)
		h.deadline_ms = r->deadline_at > now ? (uint32_t)(r->deadline_at - now) : 1;
	sm_go(&r->sm, REQ_SENT);
	conn_send(r->conn, &h, msg);
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	cleanup_free uint8_t *raw = xmalloc(n ? n : 1);

	protobuf_c_message_pack(m, raw);
	return protobuf_c_message_unpack(m->descriptor, NULL, n, raw);
}

static int req_check(const struct rpc_req *r, const ProtobufCMessage *msg, struct err *e)
{
	if (!r->desc || msg->descriptor != r->desc->input)
		return err_set(e, E_INVALID, "no method %u.%u for this request", r->service, r->method);
	if (protobuf_c_message_get_packed_size(msg) > MESSAGE_MAX)
		return err_set(e, E_LIMIT, "the request is too large");
	if (r->conn->n_reqs > CONN_CALLS_MAX + (r->priority ? CONN_CALLS_URGENT : 0))
		return err_set(e, E_LIMIT, "%u calls are open on this connection", r->conn->n_reqs);
	if (!r->priority &&
	    conn_queue_bytes(r->conn) > CONN_QUEUE_HIGH) /* a heartbeat goes first, it need not wait */
		return err_set(e, E_LIMIT, "%zu bytes wait to be sent to %s", conn_queue_bytes(r->conn),
			       r->conn->peer.addr);
	return 0;
}

struct rpc_req *req_start(struct rpc_conn *c, const struct rpc_call_spec *spec)
{
	struct rpc_req *r = xcalloc(1, sizeof(*r));
	struct err e = {0};

	uv_update_time(c->loop); /* the deadline counts from now, not from the last look at the clock */
	*r = (struct rpc_req){.magic = REQ_MAGIC,
			      .conn = c,
			      .id = c->next_call,
			      .service = spec->service,
			      .method = spec->method,
			      .priority = spec->priority,
			      .desc = method_find(spec->service, spec->method),
			      .on_event = spec->on_event,
			      .done = spec->done,
			      .arg = spec->arg};
	sm_init(&r->sm, &req_kind, REQ_WAITING, c->peer.addr);
	c->next_call += 2;
	dl_add(c->reqs, r);
	c->n_reqs++;
	if (spec->deadline_ms) {
		r->deadline_at = uv_now(c->loop) + spec->deadline_ms;
		conn_timer_update(c);
	}
	if (req_check(r, spec->req, &e) < 0)
		req_over(r, &e);
	else if (sm_is(&c->sm, CONN_OPEN))
		req_send(r, spec->req);
	else
		r->queued = copy_of(spec->req);
	return r;
}

void req_send_queued(struct rpc_conn *c)
{
	struct rpc_req *r;

	DL_FOREACH (c->reqs, r) {
		if (!r->queued || !sm_is(&r->sm, REQ_WAITING))
			continue;
		req_send(r, r->queued);
		protobuf_c_message_free_unpacked(r->queued, NULL);
		r->queued = NULL;
	}
}

void rpc_req_cancel(struct rpc_req *r)
{
	struct err e = {0};

	bug_if(!magic_is(r, REQ_MAGIC));
	if (sm_is(&r->sm, REQ_ENDING))
		return;
	err_set(&e, E_CANCELLED, "cancelled");
	if (sm_is(&r->sm, REQ_SENT))
		req_send_header(r, FRAME_CANCEL, 0);
	req_over(r, &e);
}

/* ---- answers ---- */

static struct rpc_req *req_find(struct rpc_conn *c, uint64_t id)
{
	struct rpc_req *r;

	DL_FOREACH (c->reqs, r)
		if (r->id == id)
			return sm_is(&r->sm, REQ_SENT) ? r : NULL;
	return NULL;
}

/* Credit goes back in steps, and none while the consumer holds it. */
static void req_give_credit(struct rpc_req *r)
{
	if (r->is_paused || !sm_is(&r->sm, REQ_SENT) || r->consumed < CONN_WINDOW_STEP)
		return;
	req_send_header(r, FRAME_WINDOW, r->consumed);
	r->consumed = 0;
}

void rpc_req_pause(struct rpc_req *r)
{
	bug_if(!magic_is(r, REQ_MAGIC));
	r->is_paused = true;
}

void rpc_req_resume(struct rpc_req *r)
{
	bug_if(!magic_is(r, REQ_MAGIC));
	r->is_paused = false;
	req_give_credit(r);
}

static void req_event(struct rpc_req *r, const struct frame *f)
{
	struct rpc_conn *c = r->conn;
	uint64_t id = r->id;
	ProtobufCMessage *m = rpc_unpack(r->desc->output, f->payload, f->payload_len, UNPACK_MAX);
	struct err e = {0};

	if (!m || !r->on_event) {
		err_set(&e, E_PROTOCOL, m ? "a stream where an answer was expected" : "an unreadable event");
		req_send_header(r, FRAME_CANCEL, 0);
		req_over(r, &e);
	} else {
		struct gap_scope scope = gap_scope_begin(r->desc->name);

		r->on_event(m, r->arg);
		gap_scope_end(&scope);
	}
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	r = conn_is_closing(c) ? NULL : req_find(c, id); /* on_event may have cancelled it */
	if (!r)
		return;
	r->consumed += (uint32_t)(f->payload_len + FRAME_COST);
	req_give_credit(r);
}

static void req_error(struct rpc_req *r, const struct frame *f)
{
	Gs__ErrorBody *body = gs__error_body__unpack(NULL, f->payload_len, f->payload);
	struct err e = {0};

	if (body && body->code < 0)
		err_set(&e, body->code, "%s", body->message);
	else
		err_set(&e, E_PROTOCOL, "an unreadable error");
	if (body)
		gs__error_body__free_unpacked(body, NULL);
	req_finish(r, NULL, &e);
}

static void req_response(struct rpc_req *r, const struct frame *f)
{
	ProtobufCMessage *m = rpc_unpack(r->desc->output, f->payload, f->payload_len, UNPACK_MAX);
	struct err e = {0};

	if (!m)
		err_set(&e, E_PROTOCOL, "an unreadable answer");
	req_finish(r, m, &e);
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

void req_answer(struct rpc_conn *c, const struct frame *f)
{
	struct rpc_req *r = req_find(c, f->header->call);

	if (!r)
		return; /* ended here already */
	switch (f->header->kind) {
	case FRAME_EVENT:
		req_event(r, f);
		return;
	case FRAME_RESPONSE:
		req_response(r, f);
		return;
	case FRAME_ERROR:
		req_error(r, f);
		return;
	default:
		req_finish(r, NULL, NULL);
	}
}

/* ---- time and loss ---- */

uint64_t req_next_deadline(const struct rpc_conn *c)
{
	const struct rpc_req *r;
	uint64_t at = 0;

	DL_FOREACH (c->reqs, r)
		if (r->deadline_at && (!at || r->deadline_at < at))
			at = r->deadline_at;
	return at;
}

static struct rpc_req *req_expired(struct rpc_conn *c, uint64_t now, uint64_t end)
{
	struct rpc_req *r;

	DL_FOREACH (c->reqs, r)
		if (r->deadline_at && r->deadline_at <= now && r->id < end)
			return r;
	return NULL;
}

void req_expire(struct rpc_conn *c, uint64_t now)
{
	struct rpc_req *r;
	uint64_t end = c->next_call; /* not those that a done callback starts */

	while (!conn_is_closing(c) && (r = req_expired(c, now, end))) {
		struct err e = r->over;

		if (!sm_is(&r->sm, REQ_ENDING)) {
			char name[64];

			err_set(&e, E_DEADLINE, "%s: no answer from %s in time",
				rpc_method_name(r->service, r->method, name, sizeof(name)),
				c->peer.addr[0] ? c->peer.addr : "the other side");
			if (sm_is(&r->sm, REQ_SENT))
				req_send_header(r, FRAME_CANCEL, 0);
		}
		req_finish(r, NULL, &e);
	}
}

/* Those that are open now; a done callback that starts another call does not keep us here. */
void req_abort_all(struct rpc_conn *c)
{
	uint64_t end = c->next_call;

	while (c->reqs && c->reqs->id < end) {
		struct err e = c->reqs->over;

		if (!sm_is(&c->reqs->sm, REQ_ENDING) && !c->was_open)
			e = c->err; /* it never was one: the other side's own words */
		else if (!sm_is(&c->reqs->sm, REQ_ENDING))
			err_set(&e, E_CLOSED, "connection lost: %.200s", c->err.msg);
		req_finish(c->reqs, NULL, &e);
	}
}
