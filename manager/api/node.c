// SPDX-License-Identifier: Apache-2.0
/* Nodes: list, inspect, update, remove.
 *
 * The happy path is: check the request against the row, make one tx, answer when it is committed. What can fail is
 * a change that this version cannot make, the removal of a node that is not down, or the commit (somebody else
 * changed the row meanwhile). */
#include <string.h>

#include "base/mem.h"
#include "manager/api/internal.h"
#include "manager/model/check.h"
#include "manager/model/rows.h"

static const Gs__Node *find_node(struct context *ctx, struct rpc_call *call, const char *ref)
{
	struct err e = {0};
	const Gs__Node *node =
		store_find(ctx->store, OBJ_NODE, strcmp(ref, "self") == 0 ? ctx->node_id : ref, &e);

	if (!node)
		rpc_fail(call, &e);
	return node;
}

static void on_list_nodes(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__ListNodesResponse resp = GS__LIST_NODES_RESPONSE__INIT;
	cleanup_free Gs__Node **rows = NULL;

	if (answer_unless_serving(ctx, call))
		return;
	resp.n_nodes = store_count(ctx->store, OBJ_NODE);
	rows = xcalloc(resp.n_nodes + 1, sizeof(*rows));
	for (size_t i = 0; i < resp.n_nodes; i++)
		rows[i] = (Gs__Node *)store_at(ctx->store, OBJ_NODE, i);
	resp.nodes = rows;
	resp.self_id = resp.leader_id = ctx->node_id;
	page_reply(call, &resp, &resp.next, ((const Gs__ListRequest *)msg)->after);
}

static void on_inspect_node(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__Node *node;

	if (answer_unless_serving(ctx, call))
		return;
	node = find_node(ctx, call, ((const Gs__RefRequest *)msg)->ref);
	if (node)
		rpc_reply(call, &node->base);
}

static int check_node_update(const Gs__Node *node, const Gs__NodeUpdateRequest *req, struct err *e)
{
	if (!req->spec)
		return err_set(e, E_INVALID, "node %s: nothing to change", node_display(node));
	if (req->version && req->version != node->meta->version)
		return err_set(e, E_STALE_VERSION, "node %s was changed meanwhile; try again",
			       node_display(node));
	if (req->spec->availability > AVAIL_DRAIN)
		return err_set(e, E_INVALID, "node %s: unknown availability", node_display(node));
	if (req->spec->role != node->spec->role)
		return err_set(e, E_INVALID,
			       "node %s: this version runs one manager; roles cannot be changed yet",
			       node_display(node));
	return check_labels(req->spec->labels, req->spec->n_labels, "node", e);
}

static void on_update_node(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__NodeUpdateRequest *req = (const Gs__NodeUpdateRequest *)msg;
	const Gs__Node *node;
	Gs__Node *changed, *resp;
	struct err e = {0};
	struct tx *tx;

	if (answer_unless_serving(ctx, call) || !(node = find_node(ctx, call, req->ref)))
		return;
	if (check_node_update(node, req, &e)) {
		rpc_fail(call, &e);
		return;
	}
	changed = obj_dup(node);
	obj_set(&changed->spec, req->spec);
	resp = obj_dup(changed);
	tx = tx_new(ctx->store);
	tx_update_spec(tx, changed);
	audit_add(ctx, tx, call, "audit.node.update", node->meta->id, "node %s updated", node_display(node));
	answer_commit(ctx, call, tx, resp, on_update_node, arg, msg);
}

static void revoke_certs(struct context *ctx, struct tx *tx, const char *node_id)
{
	const Gs__NodeCert *cert;

	for (size_t i = 0; (cert = store_at(ctx->store, OBJ_NODE_CERT, i)); i++) {
		Gs__NodeCert *copy;

		if (cert->revoked || strcmp(cert->node_id, node_id) != 0)
			continue;
		copy = obj_dup(cert);
		copy->revoked = true;
		tx_update(tx, copy);
	}
}

static int check_removal(struct context *ctx, const Gs__Node *node, bool force, struct err *e)
{
	if (node->spec->role == ROLE_MANAGER)
		return err_set(e, E_IN_USE,
			       "node %s is the cluster's only manager; 'gswarm leave --force' on it ends "
			       "the cluster",
			       node_display(node));
	if (!force && !node_is_down(node))
		return err_set(e, E_IN_USE, "node %s is not down; stop it ('gswarm leave') or use --force",
			       node_display(node));
	return 0;
}

static void on_remove_node(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__RefRequest *req = (const Gs__RefRequest *)msg;
	const Gs__Node *node;
	struct err e = {0};
	struct tx *tx;

	if (answer_unless_serving(ctx, call) || !(node = find_node(ctx, call, req->ref)))
		return;
	if (check_removal(ctx, node, req->force, &e)) {
		rpc_fail(call, &e);
		return;
	}
	tx = tx_new(ctx->store);
	tx_allow_split(
		tx); /* however many certificates it has; the node goes last, so that a cut can be repeated */
	revoke_certs(ctx, tx, node->meta->id);
	tx_remove(tx, node);
	audit_add(ctx, tx, call, "audit.node.remove", node->meta->id, "node %s removed%s", node_display(node),
		  req->force ? " (--force)" : "");
	answer_commit(ctx, call, tx, NULL, on_remove_node, arg,
		      msg); /* the dispatcher ends what it has open */
}

void node_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_LIST_NODES] = on_list_nodes;
	table[CONTROL_INSPECT_NODE] = on_inspect_node;
	table[CONTROL_UPDATE_NODE] = on_update_node;
	table[CONTROL_REMOVE_NODE] = on_remove_node;
}
