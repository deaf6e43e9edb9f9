// SPDX-License-Identifier: Apache-2.0
/* Networks.
 *
 * The happy path is: a network is a row; the allocator gives it a subnet and a VNI, workers make it when a
 * task needs it. What can fail is: a name or subnet that is taken; removal while a service is attached. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "manager/model/pool.h"
#include "manager/api/internal.h"

#define USERS_NAMED 6u

/* A network has its subnet from its first moment on. Of two creations at once the second looks again: each
 * relies on the cluster's row, so neither gets what the other one got. */
static int create(struct context *ctx, struct tx *tx, const Gs__NetworkSpec *spec, const char *id,
		  struct err *e)
{
	Gs__Network *row;
	Gs__Addr *subnet;

	if (check_network(ctx->store, spec, e))
		return e->code;
	subnet = spec->subnet ? obj_dup(spec->subnet) : subnet_from_pool(ctx->store, tx, e);
	if (!subnet)
		return err_wrap(e, "network %s", spec->name);
	row = obj_new_row(OBJ_NETWORK, id);
	row->spec = obj_dup(spec);
	row->subnet = subnet;
	str_replace(&row->spec->driver, "overlay");
	tx_create(tx, row);
	tx_rely(tx, store_cluster(ctx->store));
	return 0;
}

static void on_create_network(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__NetworkCreateRequest *req = (const Gs__NetworkCreateRequest *)msg;
	Gs__CreatedResponse *resp;
	struct err e = {0};
	struct tx *tx;
	char id[ID_LEN + 1];

	if (answer_unless_serving(ctx, call))
		return;
	if (!req->spec) {
		answer_fail(call, E_INVALID, "network without a name");
		return;
	}
	id_new(id);
	tx = tx_new(ctx->store);
	if (create(ctx, tx, req->spec, id, &e)) {
		tx_free(tx);
		rpc_fail(call, &e);
		return;
	}
	resp = obj_new(&gs__created_response__descriptor);
	str_replace(&resp->id, id);
	audit_add(ctx, tx, call, "audit.network.create", id, "network %s created", req->spec->name);
	answer_commit(ctx, call, tx, resp, on_create_network, arg, msg);
}

static size_t endpoints_of(const struct store *s, const char *network_id, Gs__Endpoint ***ret)
{
	const Gs__Endpoint *ep;
	size_t n = 0;

	*ret = xcalloc(store_count(s, OBJ_ENDPOINT) + 1, sizeof(**ret));
	for (size_t i = 0; (ep = store_at(s, OBJ_ENDPOINT, i)); i++)
		if (!network_id || strcmp(ep->network_id, network_id) == 0)
			(*ret)[n++] = (Gs__Endpoint *)ep;
	return n;
}

static void on_list_networks(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__ListNetworksResponse resp = GS__LIST_NETWORKS_RESPONSE__INIT;
	cleanup_free Gs__Network **rows = NULL;
	cleanup_free Gs__Endpoint **eps = NULL;

	if (answer_unless_serving(ctx, call))
		return;
	resp.n_networks = store_count(ctx->store, OBJ_NETWORK);
	rows = xcalloc(resp.n_networks + 1, sizeof(*rows));
	for (size_t i = 0; i < resp.n_networks; i++)
		rows[i] = (Gs__Network *)store_at(ctx->store, OBJ_NETWORK, i);
	resp.networks = rows;
	resp.n_endpoints = endpoints_of(ctx->store, NULL, &eps);
	resp.endpoints = eps;
	page_reply(call, &resp, &resp.next, ((const Gs__ListRequest *)msg)->after);
}

static const Gs__Network *find_network(struct context *ctx, struct rpc_call *call, const char *ref)
{
	struct err e = {0};
	const Gs__Network *net = store_find(ctx->store, OBJ_NETWORK, ref, &e);

	if (!net)
		rpc_fail(call, &e);
	return net;
}

static void on_inspect_network(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__InspectNetworkResponse resp = GS__INSPECT_NETWORK_RESPONSE__INIT;
	cleanup_free Gs__Endpoint **eps = NULL;
	const Gs__Network *net;

	if (answer_unless_serving(ctx, call) ||
	    !(net = find_network(ctx, call, ((const Gs__RefRequest *)msg)->ref)))
		return;
	resp.network = (Gs__Network *)net;
	resp.n_endpoints = endpoints_of(ctx->store, net->meta->id, &eps);
	resp.endpoints = eps;
	page_reply(call, &resp, &resp.next, ((const Gs__RefRequest *)msg)->after);
}

static bool is_attached(const Gs__Service *svc, const char *network_id)
{
	for (size_t k = 0; svc->spec->task && k < svc->spec->task->n_networks; k++)
		if (strcmp(svc->spec->task->networks[k]->network_id, network_id) == 0)
			return true;
	return false;
}

/* "web, db"; of more than USERS_NAMED only how many. */
static void user_add(struct buf *b, size_t *n, const char *name)
{
	if (++*n <= USERS_NAMED)
		buf_printf(b, "%s%s", *n > 1 ? ", " : "", name);
}

/* Services (also those that are going), and tasks of services that are gone. heap, or NULL: nobody. */
static char *network_users(const struct store *s, const char *network_id)
{
	struct buf b = {0};
	const Gs__Service *svc;
	const Gs__Task *task;
	size_t n = 0;

	for (size_t i = 0; (svc = store_at(s, OBJ_SERVICE, i)); i++)
		if (is_attached(svc, network_id))
			user_add(&b, &n, svc->spec->name);
	for (size_t i = 0; n == 0 && (task = store_at(s, OBJ_TASK, i)); i++)
		for (size_t k = 0; k < task->n_addresses; k++)
			if (!task_state_is_final(task->status ? task->status->state : 0) &&
			    strcmp(task->addresses[k]->network_id, network_id) == 0)
				user_add(&b, &n, task->name);
	if (n > USERS_NAMED)
		buf_printf(&b, " and %zu more", n - USERS_NAMED);
	return n ? buf_text(&b) : NULL;
}

static void on_remove_network(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__Network *net;
	cleanup_free char *users = NULL;
	struct tx *tx;

	if (answer_unless_serving(ctx, call) ||
	    !(net = find_network(ctx, call, ((const Gs__RefRequest *)msg)->ref)))
		return;
	users = network_users(ctx->store, net->meta->id);
	if (users) {
		answer_fail(call, E_IN_USE, "network %s is used by %s: remove that first", net->spec->name,
			    users);
		return;
	}
	tx = tx_new(ctx->store);
	tx_remove(tx, net);
	/* The allocator releases what it had; its VNI rests, as a node that is cut off may still carry it. */
	audit_add(ctx, tx, call, "audit.network.remove", net->meta->id, "network %s removed",
		  net->spec->name);
	answer_commit(ctx, call, tx, NULL, on_remove_network, arg, msg);
}

void network_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_CREATE_NETWORK] = on_create_network;
	table[CONTROL_LIST_NETWORKS] = on_list_networks;
	table[CONTROL_INSPECT_NETWORK] = on_inspect_network;
	table[CONTROL_REMOVE_NETWORK] = on_remove_network;
}
