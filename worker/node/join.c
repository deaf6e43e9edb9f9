// SPDX-License-Identifier: Apache-2.0
/* Join: the token pins the root certificate, so the very first connection is to the right swarm or to none.
 *
 *   checks -> connect (root pinned by the token's digest) -> CA.GetRoot -> CA.Issue -> identity on disk ->
 * session -> answer
 *
 * A manager that has too much to do refuses (E_LIMIT): then all of it again on another connection, after a back-off,
 * as long as the caller waits. What can fail: a token that is no token, a manager that is not there or is another
 * swarm's, a token that is wrong, expired or rotated (the manager's own words). Nothing is written before the
 * certificate is here; then a note says that a join is under way, for the worker that follows a killed one
 * (membership_files.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/bug.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/call.h"
#include "proto/rpc/client.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/value/obj.h"
#include "worker/node/advertise.h"
#include "worker/node/membership_files.h"
#include "worker/node/node.h"
#include "worker/session/agent.h"
#include "worker/session/self.h"

#define CALL_DEADLINE_MS 10000
#define SESSION_WAIT_MS 5000
#define SESSION_LOOK_MS 5
#define TRIES 3
#define AGAIN_FIRST_MS 500
#define AGAIN_LAST_MS 5000
#define AGAIN_ROOM_MS 1000 /* before the caller's deadline: it is to hear why */

struct join {
	struct node *n;
	struct rpc_call *call;
	Gs__NodeJoinRequest *req;
	struct join_token token;
	struct membership state;
	char manager_ip[64], *csr, *ca, request_id[ID_LEN + 1];
	uint16_t manager_port;
	struct tls_identity *identity;
	struct rpc_client *client;
	struct loop_timer timer;
	unsigned tries;
	struct backoff again; /* after E_LIMIT */
	uint64_t
		again_ms; /* the next one begins so much after the end of this connection; 0: there is none */
	uint64_t waited_ms;
	bool member, done;
	bool storing; /* the identity is being written */
	Gs__Role role;
};

static void join_free(void *arg)
{
	struct join *j = arg;

	membership_fini(&j->state);
	obj_free(j->req);
	free(j->csr);
	free(j->ca);
	if (j->identity)
		tls_identity_unref(j->identity);
	free(j);
}

static void join_end(struct join *j)
{
	if (j->done)
		return;
	bug_if(j->storing || !j->n->busy);
	j->done = true;
	j->n->busy = false;
	if (j->client)
		rpc_client_close(j->client);
	else
		loop_timer_close(&j->timer, join_free);
}

static void join_fail(struct join *j, const struct err *e)
{
	struct err copy = *e;

	if (j->done)
		return;
	if (copy.code == 0)
		err_set(&copy, E_UNAVAILABLE, "%s",
			*copy.msg ? copy.msg : "the manager ended the connection");
	log_warn("join: %s", copy.msg);
	rpc_fail(j->call, &copy);
	join_end(j);
}

static void join_answer(struct join *j)
{
	Gs__NodeJoinResponse r = GS__NODE_JOIN_RESPONSE__INIT;

	r.node_id = j->n->w->state.node_id;
	r.role = j->role;
	rpc_reply(j->call, &r.base);
	join_end(j);
}

static void join_dial(struct join *j);

/* True: it will be tried again. */
static bool join_again(struct join *j, const struct err *e)
{
	uint64_t wait_ms;

	if (e->code != E_LIMIT || j->done)
		return false;
	wait_ms = backoff_next(&j->again);
	if (wait_ms + AGAIN_ROOM_MS > rpc_call_deadline_ms(j->call))
		return false;
	log_info("join: %s; again in %llu ms", e->msg, (unsigned long long)wait_ms);
	j->again_ms = wait_ms;
	if (j->client)
		rpc_client_close(j->client);
	else
		loop_timer_set(&j->timer, wait_ms);
	return true;
}

/* A refusal by the manager, which may have been its load's. */
static void join_refused(struct join *j, const struct err *e)
{
	struct err copy = *e;

	if (join_again(j, e))
		return;
	if (e->code == E_LIMIT && j->again.failures)
		err_wrap(&copy, "given up after %u tries", j->again.failures);
	join_fail(j, &copy);
}

/* The identity is stored; the answer waits a moment for the session, so that `node ls` shows the node Ready. */
static void on_timer(void *arg)
{
	struct join *j = arg;

	if (j->again_ms && !j->done) {
		j->again_ms = 0;
		join_dial(j);
		return;
	}
	if (!j->member || j->done)
		return;
	j->waited_ms += SESSION_LOOK_MS;
	if (!j->n->w->agent || agent_is_open(j->n->w->agent) || j->waited_ms > SESSION_WAIT_MS)
		join_answer(j);
	else
		loop_timer_set(&j->timer, SESSION_LOOK_MS);
}

static bool managers_take(struct membership *s, const Gs__IssueResponse *r, const struct join *j)
{
	s->managers = xcalloc(r->n_managers + 2, sizeof(*s->managers));
	for (size_t i = 0; i < r->n_managers; i++)
		s->managers[s->n_managers++] = xstrdup(r->managers[i]);
	if (s->n_managers == 0)
		s->managers[s->n_managers++] = xasprintf(strchr(j->manager_ip, ':') ? "[%s]:%u" : "%s:%u",
							 j->manager_ip, j->manager_port);
	return true;
}

/* These files are this join's own: it began where there were none. */
static void join_undo(const struct worker *w)
{
	struct err e = {0};

	if (membership_remove(w->dir, &e) < 0 || membership_notes_remove(w->dir, &e) < 0)
		log_error("join: %s", e.msg);
}

static void on_member(const struct err *e, void *arg)
{
	struct join *j = arg;

	bug_if(!j->storing || j->done);
	j->storing = false;
	if (e->code != 0) {
		join_undo(j->n->w);
		join_fail(j, e);
		return;
	}
	membership_notes_remove(j->n->w->dir, NULL);
	j->member = true;
	loop_timer_set(&j->timer, SESSION_LOOK_MS);
}

static void issued(struct join *j, const Gs__IssueResponse *r)
{
	struct membership *s = &j->state;
	struct err e = {0};

	snprintf(s->cluster_id, sizeof(s->cluster_id), "%s", r->cluster_id);
	snprintf(s->node_id, sizeof(s->node_id), "%s", r->node_id);
	s->ca = steal(j->ca);
	s->cert = node_pem(&r->worker_cert_pem);
	s->data_path_port = r->data_path_port;
	j->role = r->role;
	managers_take(s, r, j);
	if (membership_note(j->n->w->dir, "join", s->node_id, &e) < 0) {
		join_fail(j, &e);
		return;
	}
	j->storing = true;
	node_become_member(j->n, s, on_member, j);
}

static void issue(struct join *j);

static void on_issued(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct join *j = arg;

	if (j->done || j->again_ms)
		return;
	if (resp)
		issued(j, (const Gs__IssueResponse *)resp);
	else if ((e->code == E_DEADLINE || e->code == E_UNAVAILABLE) && ++j->tries < TRIES && j->client)
		issue(j); /* the same request id: it cannot make a second node */
	else
		join_refused(j, e);
}

static void issue(struct join *j)
{
	Gs__IssueRequest *req = obj_new(&gs__issue_request__descriptor);
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .method = CA_ISSUE,
				     .req = &req->base,
				     .deadline_ms = CALL_DEADLINE_MS,
				     .done = on_issued,
				     .arg = j};
	struct worker *w = j->n->w;
	struct membership saved = w->state;

	str_replace(&req->token, j->req->token);
	str_replace(&req->request_id, j->request_id);
	req->availability = j->req->availability;
	obj_bytes_set(&req->worker_csr_pem, j->csr, strlen(j->csr));
	req->description = obj_new(&gs__node_description__descriptor);
	w->state = j->state;
	worker_describe(w, req->description);
	w->state = saved;
	rpc_call_start(j->client, &spec);
	obj_free(req);
}

static void on_root(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct join *j = arg;
	char digest[51];
	struct err bad = {0};

	if (j->done || j->again_ms)
		return;
	if (!resp) {
		join_refused(j, e);
		return;
	}
	free(j->ca);
	j->ca = node_pem(&((const Gs__RootResponse *)resp)->ca_pem);
	if (tls_cert_digest(j->ca, digest, &bad) == 0 && const_time_equal(digest, j->token.digest)) {
		issue(j);
		return;
	}
	err_set(&bad, E_TOKEN, "%s:%u is a manager of another swarm than this token's", j->manager_ip,
		j->manager_port);
	join_fail(j, &bad);
}

/* What a person can look at, behind the reason that nobody answers. */
static const char *hint(int code)
{
	if (code == -ECONNREFUSED)
		return ": nobody listens there; give the address of a manager whose gswarm-worker runs "
		       "('gswarm "
		       "system info' there)";
	if (code == E_DEADLINE || code == -ETIMEDOUT || code == -EHOSTUNREACH || code == -ENETUNREACH)
		return ": look at the address, at the route, and whether a firewall lets this TCP port "
		       "through";
	return "";
}

static void on_client(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct join *j = arg;
	Gs__Empty empty = GS__EMPTY__INIT;
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .method = CA_GET_ROOT,
				     .req = &empty.base,
				     .deadline_ms = CALL_DEADLINE_MS,
				     .done = on_root,
				     .arg = j};
	struct err failed = {0}, told = {0};

	if (state == RPC_OPEN)
		rpc_call_start(c, &spec);
	if (state != RPC_CLOSED)
		return;
	j->client = NULL;
	if (j->done) {
		loop_timer_close(&j->timer, join_free);
	} else if (j->again_ms) {
		loop_timer_set(&j->timer, j->again_ms);
	} else if (!j->member && !j->storing) {
		failed = e ? *e : failed;
		if (failed.code == 0)
			err_set(&failed, E_CLOSED, "connection lost");
		if (failed.code == E_UNAUTHENTICATED && strstr(failed.msg, "certificate"))
			err_set(&failed, E_UNAUTHENTICATED,
				"it is not of the swarm that this token is for: run 'gswarm join-token "
				"worker' there");
		err_set(&told, failed.code, "manager %s:%u: %s%s", j->manager_ip, j->manager_port, failed.msg,
			hint(failed.code));
		join_refused(j, &told);
	}
}

static void join_dial(struct join *j)
{
	struct rpc_client_config config = {.ip = j->manager_ip,
					   .port = j->manager_port,
					   .identity = j->identity,
					   .expect_manager = true,
					   .on_state = on_client,
					   .arg = j};

	bug_if(j->client || j->member || j->storing);
	j->tries = 0;
	j->client = rpc_client_new(j->n->w->loop, &config);
}

static int join_check(struct join *j, struct err *e)
{
	const Gs__NodeJoinRequest *req = j->req;
	struct membership *s = &j->state;

	if (join_token_parse(req->token, &j->token, e) < 0)
		return e->code;
	if (hostport_parse(req->manager_addr, MANAGER_PORT, j->manager_ip, sizeof(j->manager_ip),
			   &j->manager_port, e) < 0)
		return err_wrap(e, "manager address");
	if (*req->advertise_addr == '\0') {
		if (advertise_towards(j->manager_ip, s->advertise, sizeof(s->advertise), e) < 0)
			return e->code;
	} else if (advertise_pick_host(req->advertise_addr, s->advertise, sizeof(s->advertise), e) < 0) {
		return err_wrap(e, "--advertise-addr");
	}
	if (*req->data_path_addr == '\0')
		memcpy(s->data_path, s->advertise, sizeof(s->data_path));
	else if (advertise_pick_host(req->data_path_addr, s->data_path, sizeof(s->data_path), e) < 0)
		return err_wrap(e, "--data-path-addr");
	if (node_ports_check(s->advertise, 0, 0, e) < 0)
		return e->code;
	id_new(j->request_id);
	if (tls_key_new(&s->key, e) < 0 || tls_csr_new(s->key, "", &j->csr, e) < 0)
		return e->code;
	return tls_identity_new_pinned(j->token.digest, &j->identity, e);
}

void on_join(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct join *j;
	struct err e = {0};

	if (!node_begin(n, call))
		return;
	j = xcalloc(1, sizeof(*j));
	j->n = n;
	j->call = call;
	j->req = obj_dup(req);
	j->again = (struct backoff)BACKOFF(AGAIN_FIRST_MS, AGAIN_LAST_MS);
	loop_timer_init(&j->timer, n->w->loop, on_timer, j);
	if (join_check(j, &e) < 0) {
		join_fail(j, &e);
		return;
	}
	join_dial(j);
}
