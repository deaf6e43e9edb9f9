// SPDX-License-Identifier: Apache-2.0
/* Init: addresses and ports are checked, the manager is started, InitCluster is called on its socket, the
 * identity is stored, the member side starts, the worker's join token is fetched for the user's next command.
 *
 *   checks -> manager starts -> (socket answers) -> InitCluster -> identity on disk -> session
 *          -> JoinTokens -> answer
 *
 * What can fail leaves a node that is no member: the manager is stopped, and what this init had made is moved
 * aside (membership_files.h). It begins only where no membership has left anything, and a note on disk says that
 * it is under way: the worker that finds the note without being a member was killed in between, and moves that
 * aside too. */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/call.h"
#include "proto/rpc/client.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/value/obj.h"
#include "worker/node/advertise.h"
#include "worker/node/manager_process.h"
#include "worker/node/membership_files.h"
#include "worker/node/node.h"
#include "worker/session/self.h"

#define CONNECT_RETRY_MS 15
#define CONNECT_GIVE_UP_MS 10000
#define INIT_DEADLINE_MS 15000

struct init {
	struct node *n;
	struct rpc_call *call;
	Gs__NodeInitRequest *req;
	struct membership state;
	char *csr, *socket, *manager_addr;
	struct rpc_client *client;
	struct loop_timer timer;
	uint64_t waited_ms;
	bool connected, done;
	bool storing; /* the identity is being written */
	struct err err;
};

static void init_free(void *arg)
{
	struct init *i = arg;

	membership_fini(&i->state);
	obj_free(i->req);
	free(i->csr);
	free(i->socket);
	free(i->manager_addr);
	free(i);
}

static void init_end(struct init *i)
{
	bug_if(i->done || i->storing || !i->n->busy);
	i->done = true;
	i->n->busy = false;
	if (i->client)
		rpc_client_close(i->client); /* freed when it is closed */
	else
		loop_timer_close(&i->timer, init_free);
}

static void on_set_aside(const char *where, const struct err *e, void *arg)
{
	struct init *i = arg;

	if (e->code != 0)
		log_error("init: %s", e->msg);
	if (where) {
		struct err why = i->err;

		err_set(&i->err, why.code, "%.150s (what this init had made is in %s)", why.msg, where);
	}
	rpc_fail(i->call, &i->err);
	log_error("init: %s", i->err.msg);
	init_end(i);
}

static void init_fail(struct init *i, const struct err *e)
{
	if (i->err.code != 0)
		return;
	i->err = *e;
	if (i->err.code == 0)
		i->err.code = E_UNAVAILABLE;
	node_set_aside(i->n, on_set_aside, i);
}

static void answer(struct init *i, const char *token)
{
	Gs__NodeInitResponse *r = obj_new(&gs__node_init_response__descriptor);

	str_replace(&r->node_id, i->n->w->state.node_id);
	str_replace(&r->cluster_id, i->n->w->state.cluster_id);
	str_replace(&r->worker_token, token);
	str_replace(&r->advertise_addr, i->manager_addr);
	rpc_reply(i->call, &r->base);
	obj_free(r);
	init_end(i);
}

static void on_tokens(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	/* The cluster exists either way; `gswarm join-token` shows the token again. */
	answer(arg, resp ? ((const Gs__JoinTokensResponse *)resp)->worker : "");
}

static void on_member(const struct err *e, void *arg)
{
	struct init *i = arg;
	Gs__JoinTokensRequest tokens = GS__JOIN_TOKENS_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_CONTROL,
				     .method = CONTROL_JOIN_TOKENS,
				     .req = &tokens.base,
				     .deadline_ms = 3000,
				     .done = on_tokens,
				     .arg = i};

	bug_if(!i->storing || i->done);
	i->storing = false;
	if (e->code != 0) {
		init_fail(i, e);
		return;
	}
	membership_notes_remove(i->n->w->dir, NULL); /* of a member they say nothing */
	if (i->client)
		rpc_call_start(i->client, &spec);
	else
		answer(i, "");
}

static void on_cluster(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct init *i = arg;
	const Gs__InitClusterResponse *r = (const Gs__InitClusterResponse *)resp;
	struct membership *s = &i->state;

	if (!r) {
		init_fail(i, e);
		return;
	}
	snprintf(s->cluster_id, sizeof(s->cluster_id), "%s", r->cluster_id);
	snprintf(s->node_id, sizeof(s->node_id), "%s", r->node_id);
	s->ca = node_pem(&r->ca_pem);
	s->cert = node_pem(&r->worker_cert_pem);
	s->has_manager = true;
	s->managers = xcalloc(2, sizeof(*s->managers));
	s->managers[0] = xstrdup(i->manager_addr);
	s->n_managers = 1;
	i->storing = true;
	node_become_member(i->n, s, on_member, i);
}

static void init_call(struct init *i)
{
	struct worker *w = i->n->w;
	Gs__InitClusterRequest *req = obj_new(&gs__init_cluster_request__descriptor);
	struct rpc_call_spec spec = {.service = RPC_CONTROL,
				     .method = CONTROL_INIT_CLUSTER,
				     .req = &req->base,
				     .deadline_ms = INIT_DEADLINE_MS,
				     .done = on_cluster,
				     .arg = i};
	struct membership saved = w->state;

	str_replace(&req->advertise_addr, i->manager_addr);
	str_replace(&req->node_id, i->state.node_id);
	obj_set(&req->spec, i->req->spec);
	if (req->spec && i->req->data_path_port != 0)
		req->spec->data_path_port = i->req->data_path_port;
	req->availability = i->req->availability;
	obj_bytes_set(&req->worker_csr_pem, i->csr, strlen(i->csr));
	req->description = obj_new(&gs__node_description__descriptor);
	w->state = i->state; /* the addresses that are described */
	worker_describe(w, req->description);
	w->state = saved;
	rpc_call_start(i->client, &spec);
	obj_free(req);
}

static void on_client(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct init *i = arg;

	if (state == RPC_OPEN) {
		i->connected = true;
		init_call(i);
	}
	if (state != RPC_CLOSED)
		return;
	i->client = NULL;
	if (i->done)
		loop_timer_close(&i->timer, init_free);
	else if (i->storing)
		return; /* on_member goes on without it */
	else if (i->connected)
		init_fail(i, e); /* calls have ended with their own error already */
	else
		loop_timer_set(&i->timer, CONNECT_RETRY_MS);
}

static void on_timer(void *arg)
{
	struct init *i = arg;
	struct rpc_client_config config = {.unix_path = i->socket, .on_state = on_client, .arg = i};
	struct err e = {0};

	if (i->err.code != 0)
		return;
	i->waited_ms += CONNECT_RETRY_MS;
	if (i->waited_ms > CONNECT_GIVE_UP_MS) {
		const char *why = manager_proc_error(i->n->w->manager);

		err_set(&e, E_UNAVAILABLE, "the manager does not answer on %s%s%s", i->socket,
			*why ? ": " : "", why);
		init_fail(i, &e);
		return;
	}
	if (!fs_exists(i->socket) || manager_proc_pid(i->n->w->manager) == 0)
		loop_timer_set(&i->timer, CONNECT_RETRY_MS);
	else
		i->client = rpc_client_new(i->n->w->loop, &config);
}

/* The managers judge the rest of it; which networks this host is on only it knows. */
static int check_pool(const Gs__ClusterSpec *spec, struct err *e)
{
	cleanup(obj_free_p) Gs__Addr *pool = NULL;

	if (!spec || !*spec->default_addr_pool)
		return 0;
	if (addr_parse_cidr(spec->default_addr_pool, &pool, e) < 0 || advertise_check_apart(pool, e) < 0)
		return err_wrap(e, "--default-addr-pool");
	return 0;
}

static int init_check(struct init *i, struct err *e)
{
	const Gs__NodeInitRequest *req = i->req;
	struct membership *s = &i->state;
	uint16_t port;

	if (check_pool(req->spec, e) < 0)
		return e->code;
	if (advertise_pick(req->advertise_addr, MANAGER_PORT, s->advertise, sizeof(s->advertise), &port, e) <
	    0)
		return err_wrap(e, "--advertise-addr");
	if (*req->data_path_addr == '\0')
		memcpy(s->data_path, s->advertise, sizeof(s->data_path));
	else if (advertise_pick_host(req->data_path_addr, s->data_path, sizeof(s->data_path), e) < 0)
		return err_wrap(e, "--data-path-addr");
	s->data_path_port = req->data_path_port;
	i->manager_addr = xasprintf(strchr(s->advertise, ':') ? "[%s]:%u" : "%s:%u", s->advertise, port);
	if (node_ports_check(s->advertise, port, s->data_path_port, e) < 0)
		return e->code;
	id_new(s->node_id);
	if (tls_key_new(&s->key, e) < 0 || tls_csr_new(s->key, s->node_id, &i->csr, e) < 0)
		return e->code;
	if (membership_notes_remove(i->n->w->dir, e) < 0)
		return e->code;
	return membership_note(i->n->w->dir, "init", s->node_id, e);
}

void on_init(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct init *i;
	struct err e = {0};

	if (!node_begin(n, call))
		return;
	i = xcalloc(1, sizeof(*i));
	i->n = n;
	i->call = call;
	i->req = obj_dup(req);
	i->socket = xasprintf("%s/manager.sock", n->w->run_dir);
	loop_timer_init(&i->timer, n->w->loop, on_timer, i);
	if (init_check(i, &e) < 0) {
		rpc_fail(call, &e);
		init_end(i);
		return;
	}
	manager_proc_want(n->w->manager);
	loop_timer_set(&i->timer, CONNECT_RETRY_MS);
}
