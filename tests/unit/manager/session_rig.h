// SPDX-License-Identifier: Apache-2.0
/* A client that speaks the worker's protocol with a valid certificate, as a good worker or a hostile one, and
 * services to give it work. */
#pragma once
#include "tests/unit/manager/daemon_rig.h"
#include "proto/rpc/client.h"

/* ---- a worker: one session, its events in a list ---- */

struct worker {
	struct rig *r;
	struct rpc_client *c;
	struct tls_identity *identity;
	Gs__SessionEvent *events[512];
	size_t n;
	bool ended;
	struct err end;
};

static inline void on_session_event(const ProtobufCMessage *event, void *arg)
{
	struct worker *w = arg;

	if (w->n < array_size(w->events))
		w->events[w->n++] = obj_dup(event);
}

static inline void on_session_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct worker *w = arg;

	w->ended = true;
	if (e)
		w->end = *e;
}

/* It says of its data path that this is its MTU. */
static inline void worker_session_as(struct worker *w, uint32_t vtep_mtu)
{
	Gs__SessionRequest req = GS__SESSION_REQUEST__INIT;
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description("docker1.local", 111);
	struct rpc_call_spec spec = {.service = RPC_DISPATCHER,
				     .method = DISPATCHER_SESSION,
				     .req = &req.base,
				     .on_event = on_session_event,
				     .done = on_session_done,
				     .arg = w};

	d->resources = obj_new(&gs__resources__descriptor);
	d->resources->nano_cpus = 2000000000;
	d->resources->memory_bytes = 4ull << 30;
	d->vtep_mtu = vtep_mtu;
	req.description = d;
	rpc_call_start(w->c, &spec);
}

static inline void worker_session(struct worker *w)
{
	worker_session_as(w, 1500);
}

static inline struct worker *worker_new_as(struct rig *r, uint32_t vtep_mtu)
{
	struct worker *w = xcalloc(1, sizeof(*w));

	w->r = r;
	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &w->identity, NULL), 0);
	rig_dial(r, w->identity, &w->c);
	worker_session_as(w, vtep_mtu);
	return w;
}

static inline struct worker *worker_new(struct rig *r)
{
	return worker_new_as(r, 1500);
}

static inline void worker_free(struct worker *w)
{
	rig_hang_up(w->r, &w->c);
	for (size_t i = 0; i < w->n; i++)
		obj_free(w->events[i]);
	tls_identity_unref(w->identity);
	free(w);
}

static inline Gs__AssignmentItem *worker_item(const struct worker *w, const char *prefix, size_t from)
{
	for (size_t i = from; i < w->n; i++)
		for (size_t k = 0; k < w->events[i]->n_items; k++)
			if (strncmp(w->events[i]->items[k]->key, prefix, strlen(prefix)) == 0)
				return w->events[i]->items[k];
	return NULL;
}

static inline Gs__AssignmentItem *worker_wait_item(struct worker *w, const char *prefix, size_t from)
{
	Gs__AssignmentItem *item = NULL;

	for (int i = 0; i < 20000 && !(item = worker_item(w, prefix, from)) && !w->ended; i++)
		uv_run(&w->r->loop, UV_RUN_ONCE);
	return item;
}

/* A change may have come right behind it. */
static inline bool worker_is_complete(const struct worker *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->events[i]->kind == SESSION_COMPLETE)
			return true;
	return false;
}

static inline void worker_wait_complete(struct worker *w)
{
	while (!w->ended && !worker_is_complete(w))
		uv_run(&w->r->loop, UV_RUN_ONCE);
}

static inline Gs__ServiceSpec *plain_spec(const char *name, uint32_t replicas)
{
	Gs__ServiceSpec *s = obj_new(&gs__service_spec__descriptor);

	str_replace(&s->name, name);
	s->replicas = replicas;
	s->task = obj_new(&gs__task_spec__descriptor);
	str_replace(&s->task->image, "host");
	obj_add_str(&s->task->n_args, &s->task->args, "sleep");
	obj_add_str(&s->task->n_args, &s->task->args, "1000");
	return s;
}

static inline int create_service(struct rig *r, Gs__ServiceSpec *take_spec, struct err *e)
{
	Gs__ServiceCreateRequest req = GS__SERVICE_CREATE_REQUEST__INIT;
	void *resp;

	req.spec = take_spec;
	resp = rig_call(r, CONTROL_CREATE_SERVICE, &req, e);
	obj_free(take_spec);
	obj_free(resp);
	return resp ? 0 : e->code;
}

/* ---- reports ---- */

static inline Gs__TaskReport *task_report_new(const char *task_id, uint32_t attempt, Gs__TaskState state)
{
	Gs__TaskReport *tr = obj_new(&gs__task_report__descriptor);

	str_replace(&tr->task_id, task_id);
	tr->status = obj_new(&gs__task_status__descriptor);
	tr->status->attempt = attempt;
	tr->status->state = state;
	return tr;
}

static inline Gs__ReportRequest *report_new(const struct worker *w)
{
	Gs__ReportRequest *req = obj_new(&gs__report_request__descriptor);

	str_replace(&req->session_id, w->events[0]->session_id);
	return req;
}

static inline void report_add(Gs__ReportRequest *req, Gs__TaskReport *take)
{
	obj_add(&req->n_tasks, &req->tasks, take);
}

/* The answer, or NULL and *e. */
static inline Gs__ReportResponse *report_send(struct worker *w, Gs__ReportRequest *take, struct err *e)
{
	Gs__ReportResponse *resp = rig_call_on(w->r, w->c, RPC_DISPATCHER, DISPATCHER_REPORT, take, e);

	obj_free(take);
	return resp;
}
