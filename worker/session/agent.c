// SPDX-License-Identifier: Apache-2.0
/* The session with the managers. The happy path is one connection to the leader with one stream of assignments,
 * a heartbeat a second and a report whenever something changed. What can fail is the connection, the leader's mood
 * and the sequence: each ends the session, and the next manager of the list is dialled after a jittered back-off.
 * Tasks do not notice. */
#include "worker/session/agent.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sm.h"
#include "proto/rpc/client.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "worker/net/network.h"
#include "worker/session/assignments.h"
#include "worker/session/logs.h"
#include "worker/session/self.h"
#include "worker/task/table.h"

#define BACKOFF_FIRST_MS 100
/* In heartbeats, which is at most two: a leader that comes back gives three before it calls anybody Down. */
#define BACKOFF_LAST_BEATS 2
/* Who was removed, or has no certificate for this cluster, stays so until somebody does something. */
#define REFUSED_LAST_MS 60000
#define HEARTBEAT_MS 1000 /* until a leader says otherwise */
#define REPORT_WAIT_MS 10
#define REPORT_SLOW_MS 1000
#define CALL_DEADLINE_MS 5000
#define LEAVE_DEADLINE_MS 2000 /* somebody waits for the end of the leave */
#define RENEW_CHECK_MAX_MS (3600 * 1000)
#define RENEW_RETRY_MS (60 * 1000)
#define RENEW_FIRST_MS 200

enum { AGENT_NEW, AGENT_WAITING, AGENT_CONNECTING, AGENT_RENEWING, AGENT_OPENING, AGENT_OPEN, AGENT_ENDED };

static const struct sm_state agent_states[] = {
	{AGENT_NEW, "new", SM(AGENT_CONNECTING) | SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_WAITING, "waiting", SM(AGENT_CONNECTING) | SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_CONNECTING, "connecting",
	 SM(AGENT_RENEWING) | SM(AGENT_OPENING) | SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_RENEWING, "renewing", SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_OPENING, "opening", SM(AGENT_OPEN) | SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_OPEN, "open", SM(AGENT_WAITING) | SM(AGENT_ENDED)},
	{AGENT_ENDED, "ended", 0},
};

static void agent_check(const struct sm *sm, unsigned from);
const struct sm_kind agent_kind = SM_KIND("session", agent_states, agent_check);

#define AGENT_MAGIC MAGIC('a', 'g', 'n', 't')

/* What belongs to one attempt; begun anew in one assignment. */
struct attempt {
	struct rpc_client *client;
	char session_id[ID_LEN * 2];
	uint64_t seq;
	bool in_set; /* between BEGIN and COMPLETE */
	bool report_in_flight, heartbeat_in_flight;
};

struct agent {
	uint32_t magic;
	struct worker *w;
	struct sm sm;
	struct attempt now;
	char manager[80], error[300];
	size_t next;                     /* index in w->managers */
	struct backoff backoff, refused; /* refused: by managers that know who we are */
	uint32_t heartbeat_ms;
	struct loop_timer retry, heartbeat, report, renew;
	bool renewing;
	struct tls_identity *unsaved; /* of a certificate that is not on disk yet */
	bool clock_is_off; /* a certificate that had just come had expired: this clock is no judge of them */
	void (*left)(void *arg); /* of a leave that is being told */
	void *left_arg;
	unsigned handles, calls; /* open timers and clients; calls whose done has not fired */
};

static void agent_check(const struct sm *sm, unsigned from)
{
	const struct agent *a = container_of(sm, const struct agent, sm);

	bug_if_off_loop();
	bug_if(sm_in(sm, SM(AGENT_CONNECTING) | SM(AGENT_RENEWING) | SM(AGENT_OPENING) | SM(AGENT_OPEN)) &&
	       !a->now.client);
	bug_if(sm_in(sm, SM(AGENT_NEW) | SM(AGENT_WAITING)) && (a->now.client || a->now.in_set));
	bug_if(sm_is(sm, AGENT_OPEN) && !*a->now.session_id);
}

static struct agent *agent_of(void *arg)
{
	return magic_of(struct agent, AGENT_MAGIC, arg);
}

static bool is_ended(const struct agent *a)
{
	return sm_is(&a->sm, AGENT_ENDED);
}

/* One of ours has answered. */
static void call_over(struct agent *a)
{
	bug_if(a->calls == 0);
	a->calls--;
}

static void session_lost(struct agent *a, const char *why);
static void agent_wait(struct agent *a, const char *why, uint64_t wait_ms);
static void session_ended(struct agent *a, const struct err *e, const char *else_why);

/* A connection is under way or there. */
static bool has_attempt(const struct agent *a)
{
	return sm_in(&a->sm, SM(AGENT_CONNECTING) | SM(AGENT_RENEWING) | SM(AGENT_OPENING) | SM(AGENT_OPEN));
}

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
	struct agent *a = agent_of(arg);
	int code = e ? e->code : 0;

	call_over(a);
	a->now.report_in_flight = false;
	if (is_ended(a))
		return;
	tasks_reported(a->w->tasks, code == 0);
	for (size_t i = 0; r && i < r->n_refused; i++)
		tasks_report_refused(a->w->tasks, r->refused[i]);
	if (!sm_is(&a->sm, AGENT_OPEN))
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

	if (!sm_is(&a->sm, AGENT_OPEN) || a->now.report_in_flight || a->now.in_set)
		return;
	loop_timer_stop(&a->report);
	req = obj_new(&gs__report_request__descriptor);
	str_replace(&req->session_id, a->now.session_id);
	if (tasks_report_fill(a->w->tasks, req) > 0) {
		a->now.report_in_flight = true;
		a->calls++;
		spec.req = &req->base;
		rpc_call_start(a->now.client, &spec);
	}
	obj_free(req);
}

static void on_report_timer(void *arg)
{
	report_send(agent_of(arg));
}

void agent_report_soon(struct agent *a)
{
	uint64_t due = uv_timer_get_due_in(&a->report.uv);

	/* While a report is under way its answer sends the next one. When idle: after this turn of the loop,
	 * so that what changes together travels together. */
	if (sm_is(&a->sm, AGENT_OPEN) && !a->now.report_in_flight &&
	    (!uv_is_active((uv_handle_t *)&a->report.uv) || due > REPORT_WAIT_MS))
		loop_timer_set(&a->report, 0);
}

void agent_report_later(struct agent *a)
{
	if (sm_is(&a->sm, AGENT_OPEN) && !uv_is_active((uv_handle_t *)&a->report.uv))
		loop_timer_set(&a->report, REPORT_SLOW_MS);
}

/* ---- heartbeat ---- */

static void on_heartbeat_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = agent_of(arg);
	const Gs__HeartbeatResponse *r = (const Gs__HeartbeatResponse *)resp;

	call_over(a);
	a->now.heartbeat_in_flight = false;
	if (!sm_is(&a->sm, AGENT_OPEN))
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
	struct agent *a = agent_of(arg);
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
	if (!sm_is(&a->sm, AGENT_OPEN) || a->now.heartbeat_in_flight)
		return;
	a->now.heartbeat_in_flight = true;
	a->calls++;
	req.session_id = a->now.session_id;
	rpc_call_start(a->now.client, &spec);
}

/* ---- leave ---- */

static void on_leave_told(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = agent_of(arg);
	void (*left)(void *arg) = a->left;

	call_over(a);
	if (is_ended(a))
		return;
	a->left = NULL;
	if (!resp)
		log_warn("leave: the managers could not be told: %s", e ? e->msg : "no answer");
	left(a->left_arg);
}

bool agent_leave(struct agent *a, void (*done)(void *arg), void *arg)
{
	Gs__LeaveRequest req = GS__LEAVE_REQUEST__INIT;
	struct rpc_call_spec spec = {
		.service = RPC_DISPATCHER,
		.method = DISPATCHER_LEAVE,
		.req = &req.base,
		.deadline_ms = LEAVE_DEADLINE_MS,
		.done = on_leave_told,
		.arg = a,
	};

	bug_if(!done || a->left);
	if (!sm_is(&a->sm, AGENT_OPEN))
		return false;
	a->left = done;
	a->left_arg = arg;
	a->calls++;
	req.session_id = a->now.session_id;
	rpc_call_start(a->now.client, &spec);
	return true;
}

/* ---- certificate ---- */

int agent_renew_wait(const char *cert_pem, int64_t now_ms, int64_t soonest_ms, int64_t *ret_ms, struct err *e)
{
	struct tls_cert_info info;
	int64_t wait;

	bug_if(soonest_ms <= 0 || soonest_ms > RENEW_CHECK_MAX_MS);
	if (tls_cert_info(cert_pem, &info, e) < 0)
		return e->code;
	wait = tls_renewal_due_ms(&info, now_ms) - now_ms;
	if (wait > RENEW_CHECK_MAX_MS)
		wait = RENEW_CHECK_MAX_MS;
	*ret_ms = wait > soonest_ms ? wait : soonest_ms;
	return 0;
}

static void renew_plan(struct agent *a, int64_t soonest_ms)
{
	struct err e = {0};
	int64_t wait;

	if (agent_renew_wait(a->w->state.cert, clock_wall_ms(&clock_real), soonest_ms, &wait, &e) < 0)
		log_error("certificate of this node: %s", e.msg);
	else
		loop_timer_set(&a->renew,
			       wait > soonest_ms ? (uint64_t)wait : backoff_jitter((uint64_t)soonest_ms));
}

bool agent_cert_expired(const char *cert_pem, int64_t now_ms)
{
	struct tls_cert_info info;

	return tls_cert_info(cert_pem, &info, NULL) == 0 && now_ms > info.not_after_ms;
}

static bool has_expired(const struct agent *a)
{
	return agent_cert_expired(a->w->state.cert, clock_wall_ms(&clock_real));
}

static char *pem_dup(const ProtobufCBinaryData *d)
{
	char *text = xmalloc(d->len + 1);

	if (d->len) /* data is NULL when there is none */
		memcpy(text, d->data, d->len);
	text[d->len] = '\0';
	return text;
}

/* It is used only once it is saved: its first use ends the one before, and that would be all that a restart finds. */
static void renewed(struct agent *a, const Gs__RenewResponse *r)
{
	struct worker *w = a->w;
	char *cert = pem_dup(&r->cert_pem), *ca = pem_dup(&r->ca_pem);
	struct tls_identity *identity;
	struct err e = {0};

	if (tls_identity_new(*ca ? ca : w->state.ca, cert, w->state.key, &identity, &e) < 0) {
		log_error("renewed certificate: %s; the old one stays, and it is asked for again later",
			  e.msg);
		free(cert);
	} else {
		free(w->state.cert);
		w->state.cert = cert;
		if (*ca) {
			free(w->state.ca);
			w->state.ca = steal(ca);
		}
		tls_identity_unref(a->unsaved);
		a->unsaved = identity;
		a->clock_is_off = has_expired(a);
		worker_state_changed(w, STATE_CERT);
	}
	free(ca);
	/* One that cannot be used, or is past its half as it comes (a clock that is wrong): not at once again. */
	renew_plan(a, RENEW_RETRY_MS);
}

/* By the clock of this host, which may be wrong. */
static bool is_due_again(const struct agent *a)
{
	int64_t wait;

	return agent_renew_wait(a->w->state.cert, clock_wall_ms(&clock_real), 1, &wait, NULL) < 0 ||
	       wait <= 1;
}

void agent_cert_saved(struct agent *a)
{
	bug_if_off_loop();
	if (!a->unsaved)
		return;
	worker_identity_changed(a->w, steal(a->unsaved));
	if (a->clock_is_off)
		log_warn("certificate renewed; it has expired already by the clock of this host: is the time "
			 "right here and on the managers?");
	else
		log_info("certificate renewed");
	/* A session shows it, which ends the one before: a copy of that one could be renewed for long. One that is
	 * due again as it comes is renewed every minute, which no session has to suffer. */
	if (a->left || (agent_is_open(a) && is_due_again(a)))
		return;
	backoff_reset(&a->backoff);
	session_lost(a, "dialling again with the new certificate");
}

static void on_renew_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = agent_of(arg);
	bool before_session = sm_is(&a->sm, AGENT_RENEWING);

	call_over(a);
	a->renewing = false;
	if (is_ended(a))
		return;
	if (resp)
		renewed(a, (const Gs__RenewResponse *)resp);
	if (before_session) {
		agent_wait(a,
			   a->unsaved ? "the new certificate is saved first"
			   : e        ? e->msg
				      : "no answer",
			   a->unsaved ? REFUSED_LAST_MS : backoff_next(&a->refused));
	} else if (!resp) {
		log_warn("renew the certificate: %s", e ? e->msg : "no answer");
		loop_timer_set(&a->renew, backoff_jitter(RENEW_RETRY_MS));
	}
}

static int renew_start(struct agent *a, struct err *e)
{
	Gs__RenewRequest req = GS__RENEW_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .method = CA_RENEW,
				     .req = &req.base,
				     .deadline_ms = CALL_DEADLINE_MS,
				     .done = on_renew_done,
				     .arg = a};
	cleanup_free char *csr = NULL;

	if (tls_csr_new(a->w->state.key, a->w->state.node_id, &csr, e) < 0)
		return e->code;
	a->renewing = true;
	a->calls++;
	req.csr_pem.data = (uint8_t *)csr;
	req.csr_pem.len = strlen(csr);
	rpc_call_start(a->now.client, &spec);
	return 0;
}

/* Off for longer than it lives: the managers renew it, and do nothing else for it. */
static void renew_before_session(struct agent *a)
{
	struct err e = {0};

	log_warn("the certificate of this node has expired: it is renewed before the session");
	sm_go(&a->sm, AGENT_RENEWING);
	if (renew_start(a, &e) < 0)
		agent_wait(a, e.msg, backoff_next(&a->refused));
}

static void on_renew_timer(void *arg)
{
	struct agent *a = agent_of(arg);
	struct tls_cert_info info;
	struct err e = {0};

	if (tls_cert_info(a->w->state.cert, &info, &e) == 0 &&
	    clock_wall_ms(&clock_real) < info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 2) {
		renew_plan(a, RENEW_FIRST_MS);
		return;
	}
	if (!sm_is(&a->sm, AGENT_OPEN) || a->renewing || renew_start(a, &e) < 0)
		loop_timer_set(&a->renew, RENEW_RETRY_MS);
}

/* ---- the session ---- */

static void session_opened(struct agent *a, const Gs__SessionEvent *ev)
{
	snprintf(a->now.session_id, sizeof(a->now.session_id), "%s", *ev->session_id ? ev->session_id : "-");
	sm_go(&a->sm, AGENT_OPEN);
	a->error[0] = '\0';
	a->heartbeat_ms = ev->heartbeat_ms != 0 ? ev->heartbeat_ms : HEARTBEAT_MS;
	a->backoff = backoff_within(a->heartbeat_ms);
	backoff_reset(&a->refused);
	worker_managers_set(a->w, ev->managers, ev->n_managers);
	net_pool_set(a->w->net, ev->addr_pool);
	loop_timer_set(&a->heartbeat, a->heartbeat_ms);
	tasks_report_anew(a->w->tasks);
	log_info("session open manager=%s session=%s", a->manager, a->now.session_id);
	logs_session_opened(a->w->logs, a->manager, a->now.session_id);
	agent_report_soon(a);
}

static bool seq_is_next(struct agent *a, const Gs__SessionEvent *ev)
{
	return a->now.seq == 0 || ev->seq == a->now.seq + 1;
}

static void on_session_event(const ProtobufCMessage *event, void *arg)
{
	struct agent *a = agent_of(arg);
	const Gs__SessionEvent *ev = (const Gs__SessionEvent *)event;

	if (!sm_in(&a->sm, SM(AGENT_OPENING) | SM(AGENT_OPEN)))
		return;
	switch (ev->kind) {
	case SESSION_OPEN:
		if (sm_is(&a->sm, AGENT_OPENING))
			session_opened(a, ev);
		else
			session_lost(a, "a session that opens twice");
		return;
	case SESSION_BEGIN:
		a->now.in_set = true;
		assignments_set_begin(a->w);
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
	assignments_apply(a->w, ev->items, ev->n_items);
	if (ev->seq != 0)
		a->now.seq = ev->seq;
	if (ev->kind == SESSION_COMPLETE) {
		a->now.in_set = false;
		assignments_set_end(a->w);
		agent_report_soon(a);
	}
}

static void on_session_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct agent *a = agent_of(arg);

	call_over(a);
	if (!has_attempt(a))
		return;
	session_ended(a, e, "the manager ended the session");
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

	sm_go(&a->sm, AGENT_OPENING);
	req->description = obj_new(&gs__node_description__descriptor);
	worker_describe(a->w, req->description);
	spec.req = &req->base;
	a->calls++;
	rpc_call_start(a->now.client, &spec);
	obj_free(req);
}

static void agent_check_gone(struct agent *a);

static void on_client_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct agent *a = agent_of(arg);

	if (state == RPC_OPEN && c == a->now.client && sm_is(&a->sm, AGENT_CONNECTING)) {
		if (has_expired(a) && !a->clock_is_off && !a->renewing)
			renew_before_session(a);
		else
			session_start(a);
	}
	if (state != RPC_CLOSED)
		return;
	bug_if(a->handles == 0);
	a->handles--;
	if (c == a->now.client && has_attempt(a)) {
		a->now.client = NULL; /* closed already */
		session_ended(a, e, "connection lost");
	}
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

	bug_if(a->now.client);
	if (w->n_managers == 0) {
		session_lost(a, "no manager is known");
		return;
	}
	snprintf(a->manager, sizeof(a->manager), "%s", w->managers[a->next++ % w->n_managers]);
	if (hostport_parse(a->manager, MANAGER_PORT, host, sizeof(host), &port, &e) < 0) {
		session_lost(a, e.msg);
		return;
	}
	config.port = port;
	memcpy(config.cluster_id, w->state.cluster_id, sizeof(config.cluster_id));
	memcpy(config.node_id, w->state.node_id, sizeof(config.node_id));
	a->handles++;
	a->now = (struct attempt){.client = rpc_client_new(w->loop, &config)};
	sm_go(&a->sm, AGENT_CONNECTING);
}

static void on_retry(void *arg)
{
	struct agent *a = agent_of(arg);

	if (sm_is(&a->sm, AGENT_WAITING))
		dial(a);
}

static void agent_wait(struct agent *a, const char *why, uint64_t wait_ms)
{
	struct rpc_client *c = a->now.client;
	bool was_open = sm_is(&a->sm, AGENT_OPEN);
	char error[sizeof(a->error)];

	snprintf(error, sizeof(error), "%s: %s", a->manager, why);
	if (was_open)
		log_warn("session lost manager=%s: %s", a->manager, why);
	else if (strcmp(a->error, error) != 0) /* the same once, however long it lasts */
		log_warn("no session manager=%s: %s", a->manager, why);
	memcpy(a->error, error, sizeof(error));
	a->now = (struct attempt){0};
	sm_go(&a->sm, AGENT_WAITING);
	loop_timer_stop(&a->heartbeat);
	loop_timer_stop(&a->report);
	if (was_open)
		logs_session_closed(a->w->logs);
	if (c)
		rpc_client_close(c);
	loop_timer_set(&a->retry, wait_ms);
}

static void session_lost(struct agent *a, const char *why)
{
	agent_wait(a, why, backoff_next(&a->backoff));
}

static void session_ended(struct agent *a, const struct err *e, const char *else_why)
{
	if (e && e->code == E_UNAUTHENTICATED)
		agent_wait(a, e->msg, backoff_next(&a->refused));
	else
		session_lost(a, e && e->code != 0 ? e->msg : else_why);
}

/* ---- life ---- */

struct agent *agent_new(struct worker *w)
{
	struct agent *a = xcalloc(1, sizeof(*a));

	magic_set(a, AGENT_MAGIC);
	a->w = w;
	sm_init(&a->sm, &agent_kind, AGENT_NEW, w->state.node_id);
	a->backoff = backoff_within(HEARTBEAT_MS);
	a->refused = (struct backoff)BACKOFF(BACKOFF_FIRST_MS, REFUSED_LAST_MS);
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
	renew_plan(a, RENEW_FIRST_MS);
	dial(a);
}

static void agent_check_gone(struct agent *a)
{
	if (!is_ended(a) || a->handles > 0 || a->calls > 0)
		return;
	magic_end(a);
	free(a);
}

static void on_timer_closed(void *arg)
{
	struct agent *a = agent_of(arg);

	a->handles--;
	agent_check_gone(a);
}

void agent_free(struct agent *a)
{
	struct rpc_client *c = a ? a->now.client : NULL;

	if (!a || is_ended(a))
		return;
	a->now = (struct attempt){0};
	tls_identity_unref(a->unsaved);
	a->unsaved = NULL;
	sm_go(&a->sm, AGENT_ENDED);
	if (c)
		rpc_client_close(c);
	loop_timer_close(&a->retry, on_timer_closed);
	loop_timer_close(&a->heartbeat, on_timer_closed);
	loop_timer_close(&a->report, on_timer_closed);
	loop_timer_close(&a->renew, on_timer_closed);
}

bool agent_is_open(const struct agent *a)
{
	return sm_is(&a->sm, AGENT_OPEN);
}

const char *agent_manager(const struct agent *a)
{
	return sm_is(&a->sm, AGENT_OPEN) ? a->manager : "";
}

const char *agent_error(const struct agent *a)
{
	return sm_is(&a->sm, AGENT_OPEN) ? "" : a->error;
}

void agent_reconnect(struct agent *a)
{
	backoff_reset(&a->backoff);
	session_lost(a, "dialling again");
}

void agent_dump(const struct agent *a, struct buf *out)
{
	buf_printf(out, "agent %s manager=%s session=%s seq=%" PRIx64 " error=%s\n", sm_name(&a->sm),
		   a->manager, a->now.session_id, a->now.seq, a->error);
}
