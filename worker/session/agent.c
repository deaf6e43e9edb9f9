// SPDX-License-Identifier: Apache-2.0
/* The happy path is one connection to the leader with one stream of assignments, a heartbeat a second and a
 * report whenever something changed. What can fail is the connection, the leader's mood and the sequence:
 * each closes the session and the next manager of the list is dialled after a jittered back-off. Tasks do not
 * notice. */
#include "worker/session/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "worker/session/assignments.h"
#include "worker/session/logs.h"
#include "worker/net/network.h"
#include "worker/task/table.h"

#define BACKOFF_FIRST_MS 100
/* In heartbeats, which is at most two: a leader that comes back gives three before it calls anybody Down. */
#define BACKOFF_LAST_BEATS 2
#define HEARTBEAT_MS 1000 /* until a leader says otherwise */
#define REPORT_WAIT_MS 10
#define REPORT_SLOW_MS 1000
#define CALL_DEADLINE_MS 5000
#define RENEW_CHECK_MAX_MS (3600 * 1000)
#define RENEW_RETRY_MS (60 * 1000)

enum agent_step { AGENT_CLOSED, AGENT_CONNECTING, AGENT_OPENING, AGENT_OPEN };

struct agent {
	struct worker *w;
	enum agent_step step;
	struct rpc_client *client;
	char manager[80], session_id[ID_LEN * 2], error[300];
	size_t next;     /* index in w->managers */
	char leader[80]; /* whom a manager that does not lead has named: dialled next */
	struct backoff backoff;
	uint64_t seq;
	bool in_set;
	uint32_t heartbeat_ms;
	struct loop_timer retry, heartbeat, report, renew;
	bool report_in_flight, heartbeat_in_flight, renewing;
	bool closing;
	unsigned handles, calls; /* open timers; calls whose done has not fired */
};

static void session_lost(struct agent *a, const char *why);

static struct backoff backoff_within(uint32_t heartbeat_ms)
{
	uint64_t longest = BACKOFF_LAST_BEATS * (uint64_t)heartbeat_ms;

	return (struct backoff)BACKOFF(BACKOFF_FIRST_MS,
				       longest > BACKOFF_FIRST_MS ? longest : BACKOFF_FIRST_MS);
}

/* ---- reports ---- */

static void report_send(struct agent *a);

static void on_report_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	const Gs__ReportResponse *r = (const Gs__ReportResponse *)resp;
	struct agent *a = arg;
	int code = e ? e->code : 0;

	a->calls--;
	a->report_in_flight = false;
	if (a->closing)
		return;
	tasks_reported(a->w->tasks, code == 0);
	for (size_t i = 0; r && i < r->n_refused; i++)
		tasks_report_refused(a->w->tasks, r->refused[i]);
	if (a->step != AGENT_OPEN)
		return;
	if (code == E_LIMIT) { /* too much at once: the same again, later */
		log_warn("report: %s", e->msg);
		agent_report_later(a);
		return;
	}
	if (code != 0) {
		session_lost(a, e->msg);
		return;
	}
	if (tasks_report_pending(a->w->tasks))
		report_send(a);
}

static void report_send(struct agent *a)
{
	Gs__ReportRequest *req;
	struct rpc_call_spec spec = {
		.service = RPC_DISPATCHER,
		.method = DISPATCHER_REPORT,
		.deadline_ms = CALL_DEADLINE_MS,
		.done = on_report_done,
		.arg = a,
	};

	if (a->step != AGENT_OPEN || a->report_in_flight || a->in_set)
		return;
	loop_timer_stop(&a->report);
	req = obj_new(&gs__report_request__descriptor);
	str_replace(&req->session_id, a->session_id);
	if (tasks_report_fill(a->w->tasks, req) > 0) {
		a->report_in_flight = true;
		a->calls++;
		spec.req = &req->base;
		rpc_call_start(a->client, &spec);
	}
	obj_free(req);
}

static void on_report_timer(void *arg)
{
	report_send(arg);
}

void agent_report_soon(struct agent *a)
{
	uint64_t due = uv_timer_get_due_in(&a->report.uv);

	/* While a report is under way its answer sends the next one. When idle: after this turn of the loop,
	 * so that what changes together travels together. */
	if (a->step == AGENT_OPEN && !a->report_in_flight &&
	    (!uv_is_active((uv_handle_t *)&a->report.uv) || due > REPORT_WAIT_MS))
		loop_timer_set(&a->report, 0);
}

void agent_report_later(struct agent *a)
{
	if (a->step == AGENT_OPEN && !uv_is_active((uv_handle_t *)&a->report.uv))
		loop_timer_set(&a->report, REPORT_SLOW_MS);
}

/* ---- heartbeat ---- */

static void on_heartbeat_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = arg;
	const Gs__HeartbeatResponse *r = (const Gs__HeartbeatResponse *)resp;

	a->calls--;
	a->heartbeat_in_flight = false;
	if (a->closing || a->step != AGENT_OPEN)
		return;
	if (!resp) {
		session_lost(a, e ? e->msg : "heartbeat failed");
		return;
	}
	if (r->heartbeat_ms != 0)
		a->heartbeat_ms = r->heartbeat_ms;
}

static void on_heartbeat_timer(void *arg)
{
	struct agent *a = arg;
	Gs__HeartbeatRequest req = GS__HEARTBEAT_REQUEST__INIT;
	struct rpc_call_spec spec = {
		.service = RPC_DISPATCHER,
		.method = DISPATCHER_HEARTBEAT,
		.req = &req.base,
		.deadline_ms = 3 * a->heartbeat_ms,
		.priority = 1,
		.done = on_heartbeat_done,
		.arg = a,
	};

	loop_timer_set(&a->heartbeat, a->heartbeat_ms);
	if (a->step != AGENT_OPEN || a->heartbeat_in_flight)
		return;
	a->heartbeat_in_flight = true;
	a->calls++;
	req.session_id = a->session_id;
	rpc_call_start(a->client, &spec);
}

/* ---- certificate ---- */

static void renew_plan(struct agent *a)
{
	struct tls_cert_info info;
	struct err e = {0};
	int64_t now = clock_wall_ms(&clock_real), half, wait;

	if (tls_cert_info(a->w->state.cert, &info, &e) < 0) {
		log_error("certificate of this node: %s", e.msg);
		return;
	}
	half = info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 2;
	wait = half - now;
	if (wait > RENEW_CHECK_MAX_MS)
		wait = RENEW_CHECK_MAX_MS;
	loop_timer_set(&a->renew, wait > 0 ? (uint64_t)wait : backoff_jitter(200));
}

static char *pem_dup(const ProtobufCBinaryData *d)
{
	char *text = xmalloc(d->len + 1);

	memcpy(text, d->data, d->len);
	text[d->len] = '\0';
	return text;
}

static void renewed(struct agent *a, const Gs__RenewResponse *r)
{
	struct worker *w = a->w;
	char *cert = pem_dup(&r->cert_pem), *ca = pem_dup(&r->ca_pem);
	struct tls_identity *identity;
	struct err e = {0};

	if (tls_identity_new(*ca ? ca : w->state.ca, cert, w->state.key, &identity, &e) < 0) {
		log_error("renewed certificate: %s", e.msg);
		free(cert);
	} else {
		free(w->state.cert);
		w->state.cert = cert;
		if (*ca) {
			free(w->state.ca);
			w->state.ca = steal(ca);
		}
		if (state_save_cert(w->dir, &w->state, &e) < 0)
			log_error("renewed certificate: %s", e.msg);
		worker_identity_changed(w, identity);
		log_info("certificate renewed");
	}
	free(ca);
	renew_plan(a);
}

static void on_renew_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = arg;

	a->calls--;
	a->renewing = false;
	if (a->closing)
		return;
	if (!resp) {
		log_warn("renew the certificate: %s", e ? e->msg : "no answer");
		loop_timer_set(&a->renew, backoff_jitter(RENEW_RETRY_MS));
		return;
	}
	renewed(a, (const Gs__RenewResponse *)resp);
}

static void on_renew_timer(void *arg)
{
	struct agent *a = arg;
	Gs__RenewRequest req = GS__RENEW_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .method = CA_RENEW,
				     .req = &req.base,
				     .deadline_ms = CALL_DEADLINE_MS,
				     .done = on_renew_done,
				     .arg = a};
	struct tls_cert_info info;
	cleanup_free char *csr = NULL;
	struct err e = {0};

	if (tls_cert_info(a->w->state.cert, &info, &e) == 0 &&
	    clock_wall_ms(&clock_real) < info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 2) {
		renew_plan(a);
		return;
	}
	if (a->step != AGENT_OPEN || a->renewing ||
	    tls_csr_new(a->w->state.key, a->w->state.node_id, &csr, &e) < 0) {
		loop_timer_set(&a->renew, RENEW_RETRY_MS);
		return;
	}
	a->renewing = true;
	a->calls++;
	req.csr_pem.data = (uint8_t *)csr;
	req.csr_pem.len = strlen(csr);
	rpc_call_start(a->client, &spec);
}

/* ---- the session ---- */

static void session_opened(struct agent *a, const Gs__SessionEvent *ev)
{
	a->step = AGENT_OPEN;
	a->error[0] = '\0';
	a->heartbeat_ms = ev->heartbeat_ms != 0 ? ev->heartbeat_ms : HEARTBEAT_MS;
	a->backoff = backoff_within(a->heartbeat_ms);
	snprintf(a->session_id, sizeof(a->session_id), "%s", ev->session_id);
	worker_managers_set(a->w, ev->managers, ev->n_managers);
	netglue_pool_set(a->w->net, ev->addr_pool);
	loop_timer_set(&a->heartbeat, a->heartbeat_ms);
	tasks_report_anew(a->w->tasks);
	log_info("session open manager=%s session=%s", a->manager, a->session_id);
	logs_session_opened(a->w->logs, a->manager, a->session_id);
	agent_report_soon(a);
}

static bool seq_is_next(struct agent *a, const Gs__SessionEvent *ev)
{
	return a->seq == 0 || ev->seq == a->seq + 1;
}

static void on_session_event(const ProtobufCMessage *event, void *arg)
{
	struct agent *a = arg;
	const Gs__SessionEvent *ev = (const Gs__SessionEvent *)event;

	if (a->closing || a->step < AGENT_OPENING)
		return;
	switch (ev->kind) {
	case SESSION_OPEN:
		session_opened(a, ev);
		return;
	case SESSION_BEGIN:
		a->in_set = true;
		items_set_begin(a->w);
		break;
	case SESSION_CHANGE:
		if (!seq_is_next(a, ev)) {
			session_lost(a, "a gap in the sequence of assignments");
			return;
		}
		break;
	default:
		break;
	}
	items_apply(a->w, ev->items, ev->n_items);
	if (ev->seq != 0)
		a->seq = ev->seq;
	if (ev->kind == SESSION_COMPLETE) {
		a->in_set = false;
		items_set_end(a->w);
		agent_report_soon(a);
	}
}

static void on_session_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = arg;

	a->calls--;
	if (a->closing || a->step == AGENT_CLOSED)
		return;
	if (e && e->code == E_NOT_LEADER && a->client)
		snprintf(a->leader, sizeof(a->leader), "%s", rpc_client_leader(a->client));
	session_lost(a, e && e->code != 0 ? e->msg : "the manager ended the session");
}

static void session_start(struct agent *a)
{
	Gs__SessionRequest *req = obj_new(&gs__session_request__descriptor);
	struct rpc_call_spec spec = {
		.service = RPC_DISPATCHER,
		.method = DISPATCHER_SESSION,
		.on_event = on_session_event,
		.done = on_session_done,
		.arg = a,
	};

	a->step = AGENT_OPENING;
	a->seq = 0;
	req->description = obj_new(&gs__node_description__descriptor);
	worker_describe(a->w, req->description);
	spec.req = &req->base;
	a->calls++;
	rpc_call_start(a->client, &spec);
	obj_free(req);
}

static void agent_check_gone(struct agent *a);

static void on_client_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct agent *a = arg;

	if (state == RPC_OPEN && c == a->client && !a->closing)
		session_start(a);
	if (state != RPC_CLOSED)
		return;
	a->handles--;
	if (c == a->client)
		a->client = NULL;
	if (!a->closing && !a->client && a->step != AGENT_CLOSED)
		session_lost(a, e && e->code != 0 ? e->msg : "connection lost");
	agent_check_gone(a);
}

static void dial(struct agent *a)
{
	struct worker *w = a->w;
	char host[64];
	uint16_t port;
	struct err e = {0};
	struct rpc_client_config config = {.ip = host,
					   .identity = w->identity,
					   .expect_manager = true,
					   .on_state = on_client_state,
					   .arg = a};

	if (w->n_managers == 0) {
		snprintf(a->error, sizeof(a->error), "no manager is known");
		return;
	}
	if (a->leader[0])
		snprintf(a->manager, sizeof(a->manager), "%s", a->leader);
	else
		snprintf(a->manager, sizeof(a->manager), "%s", w->managers[a->next++ % w->n_managers]);
	a->leader[0] = '\0'; /* one try: it may be wrong */
	if (hostport_parse(a->manager, MANAGER_PORT, host, sizeof(host), &port, &e) < 0) {
		session_lost(a, e.msg);
		return;
	}
	config.port = port;
	memcpy(config.cluster_id, w->state.cluster_id, sizeof(config.cluster_id));
	memcpy(config.node_id, w->state.node_id, sizeof(config.node_id));
	a->step = AGENT_CONNECTING;
	a->handles++;
	a->client = rpc_client_new(w->loop, &config);
}

static void on_retry(void *arg)
{
	struct agent *a = arg;

	if (!a->client)
		dial(a);
	else
		loop_timer_set(&a->retry, BACKOFF_FIRST_MS); /* the old connection is still closing */
}

static void session_lost(struct agent *a, const char *why)
{
	struct rpc_client *c = a->client;
	bool was_open = a->step == AGENT_OPEN;

	if (was_open)
		log_warn("session lost manager=%s: %s", a->manager, why);
	else if (strcmp(a->error, why) != 0)
		log_warn("no session manager=%s: %s", a->manager, why);
	snprintf(a->error, sizeof(a->error), "%s: %s", a->manager, why);
	a->step = AGENT_CLOSED;
	a->in_set = false;
	a->client = NULL;
	loop_timer_stop(&a->heartbeat);
	loop_timer_stop(&a->report);
	if (was_open)
		logs_session_closed(a->w->logs);
	if (c)
		rpc_client_close(c);
	loop_timer_set(&a->retry, backoff_next(&a->backoff));
}

/* ---- life ---- */

struct agent *agent_new(struct worker *w)
{
	struct agent *a = xcalloc(1, sizeof(*a));

	a->w = w;
	a->backoff = backoff_within(HEARTBEAT_MS);
	a->heartbeat_ms = HEARTBEAT_MS;
	loop_timer_init(&a->retry, w->loop, on_retry, a);
	loop_timer_init(&a->heartbeat, w->loop, on_heartbeat_timer, a);
	loop_timer_init(&a->report, w->loop, on_report_timer, a);
	loop_timer_init(&a->renew, w->loop, on_renew_timer, a);
	a->handles = 4;
	return a;
}

void agent_start(struct agent *a)
{
	renew_plan(a);
	dial(a);
}

static void agent_check_gone(struct agent *a)
{
	if (a->closing && a->handles == 0 && a->calls == 0)
		free(a);
}

static void on_timer_closed(void *arg)
{
	struct agent *a = arg;

	a->handles--;
	agent_check_gone(a);
}

void agent_free(struct agent *a)
{
	if (!a || a->closing)
		return;
	a->closing = true;
	a->step = AGENT_CLOSED;
	if (a->client)
		rpc_client_close(a->client);
	loop_timer_close(&a->retry, on_timer_closed);
	loop_timer_close(&a->heartbeat, on_timer_closed);
	loop_timer_close(&a->report, on_timer_closed);
	loop_timer_close(&a->renew, on_timer_closed);
}

bool agent_is_open(const struct agent *a)
{
	return a->step == AGENT_OPEN;
}

const char *agent_manager(const struct agent *a)
{
	return a->step == AGENT_OPEN ? a->manager : "";
}

const char *agent_error(const struct agent *a)
{
	return a->step == AGENT_OPEN ? "" : a->error;
}

const char *agent_session_id(const struct agent *a)
{
	return a->session_id;
}

void agent_reconnect(struct agent *a)
{
	backoff_reset(&a->backoff);
	session_lost(a, "dialling again");
}

void agent_dump(const struct agent *a, struct buf *out)
{
	static const char *const steps[] = {"closed", "connecting", "opening", "open"};

	buf_printf(out, "agent %s manager=%s session=%s seq=%" PRIx64 " error=%s\n", steps[a->step],
		   a->manager, a->session_id, a->seq, a->error);
}
