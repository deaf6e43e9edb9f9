// SPDX-License-Identifier: Apache-2.0
/* The cluster, its tokens; the table of methods.
 *
 * The happy path is: check the request against the store, make one tx, answer when it is committed. What can
 * fail is said by manager/model/check.c or by the commit (somebody else changed the row meanwhile). */
#include "manager/api/api.h"

#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/ca/ca.h"
#include "manager/api/internal.h"
#include "manager/model/rows.h"

#define TOKEN_TTL_MS (24ll * 3600 * 1000)

static void on_get_cluster(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__Cluster *copy;

	if (answer_unless_serving(ctx, call))
		return;
	copy = obj_dup(store_cluster(ctx->store));
	obj_bytes_set(&copy->ca_key_pem, NULL, 0);
	obj_set(&copy->worker_token, NULL);
	obj_set(&copy->manager_token, NULL);
	rpc_reply(call, &copy->base);
	obj_free(copy);
}

/* ---- join tokens ---- */

static void rotate(Gs__JoinToken *token, int64_t now_ms, int64_t ttl_ms)
{
	char secret[26];

	ca_token_secret(secret);
	str_replace(&token->secret, secret);
	token->issued_ms = now_ms;
	token->ttl_ms = ttl_ms;
}

static int64_t token_until(const Gs__JoinToken *t)
{
	return t->ttl_ms ? t->issued_ms + t->ttl_ms : 0;
}

static Gs__JoinTokensResponse *tokens_response(struct context *ctx, const Gs__Cluster *cluster, struct err *e)
{
	Gs__JoinTokensResponse *resp = obj_new(&gs__join_tokens_response__descriptor);
	const Gs__Node *self = store_node(ctx->store, ctx->node_id);
	char text[96];

	if (ca_token_text(cluster, ROLE_WORKER, text, e)) {
		obj_free(resp);
		return NULL;
	}
	str_replace(&resp->worker, text);
	ca_token_text(cluster, ROLE_MANAGER, text, e);
	str_replace(&resp->manager, text);
	str_replace(&resp->addr, self ? self->manager_addr : "");
	resp->worker_until_ms = token_until(cluster->worker_token);
	resp->manager_until_ms = token_until(cluster->manager_token);
	return resp;
}

static void on_join_tokens(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__JoinTokensRequest *req = (const Gs__JoinTokensRequest *)msg;
	int64_t now_ms = clock_wall_ms(ctx->clock);
	Gs__JoinTokensResponse *resp;
	struct err e = {0};
	Gs__Cluster *copy;
	struct tx *tx;

	if (answer_unless_serving(ctx, call))
		return;
	if (req->ttl_ms < 0) {
		answer_fail(call, E_INVALID, "a token's life must not be negative");
		return;
	}
	copy = obj_dup(store_cluster(ctx->store));
	if (req->rotate_worker)
		rotate(copy->worker_token, now_ms, req->ttl_ms);
	if (req->rotate_manager)
		rotate(copy->manager_token, now_ms, req->ttl_ms ? req->ttl_ms : TOKEN_TTL_MS);
	resp = tokens_response(ctx, copy, &e);
	if (!resp) {
		obj_free(copy);
		rpc_fail(call, &e);
		return;
	}
	tx = tx_new(ctx->store);
	tx_update(tx, copy); /* without a change it is left out */
	if (req->rotate_worker || req->rotate_manager)
		audit_add(ctx, tx, call, "audit.token.rotate", store_cluster(ctx->store)->meta->id,
			  "join token for %s rotated",
			  !req->rotate_manager  ? "workers"
			  : !req->rotate_worker ? "managers"
						: "workers and managers");
	answer_commit(ctx, call, tx, resp, on_join_tokens, arg, msg);
}

/* ---- methods ---- */

static void on_init_cluster(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	const struct api *api = magic_of(struct api, API_MAGIC, arg);

	api->hooks.init_cluster(call, msg, api->hooks.init_arg);
}

static void on_logs(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	const struct api *api = magic_of(struct api, API_MAGIC, arg);

	api->hooks.logs(call, msg, api->hooks.logs_arg);
}

static void own_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_INIT_CLUSTER] = on_init_cluster;
	table[CONTROL_GET_CLUSTER] = on_get_cluster;
	table[CONTROL_JOIN_TOKENS] = on_join_tokens;
	table[CONTROL_LOGS] = on_logs;
}

void api_register(struct api *api)
{
	own_methods(api->table);
	node_methods(api->table);
	network_methods(api->table);
	volume_methods(api->table);
	service_methods(api->table);
	watch_methods(api->table);
	galera_methods(api->table);
	dump_methods(api->table);
	events_methods(api->table);
	for (size_t i = 0; i < array_size(api->table); i++)
		bug_if(!api->table[i]);
	rpc_server_add(api->ctx->server, RPC_CONTROL, api->table, array_size(api->table), api);
}

/* ---- life ---- */

struct api *api_new(struct context *ctx, const struct api_hooks *hooks)
{
	struct api *api = xcalloc(1, sizeof(*api));

	bug_if(!hooks->init_cluster || !hooks->logs);
	magic_set(api, API_MAGIC);
	api->ctx = ctx;
	api->hooks = *hooks;
	api->watches = watches_new(ctx);
	return api;
}

struct context *api_context(void *arg)
{
	return magic_of(struct api, API_MAGIC, arg)->ctx;
}

void api_changed(struct api *api)
{
	watches_changed(api->watches);
}

void api_close(struct api *api)
{
	watches_close(api->watches);
}

void api_free(struct api *api)
{
	if (!api)
		return;
	watches_free(api->watches);
	magic_end(api);
	free(api);
}
