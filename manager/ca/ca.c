// SPDX-License-Identifier: Apache-2.0
/* Join tokens, certificates, and the role behind a certificate.
 *
 * The happy path is: a joining node pins our root by the token's digest, sends the token and a CSR, and gets
 * a certificate whose NodeCert row was committed together with its Node row before the answer left. What can
 * fail is: a wrong, expired or rotated token; a manager token (one manager for now); a CSR that is no CSR; a
 * lost answer: the node id is derived from the token and the caller's request id, so a repeat gets a new
 * certificate for the same node and no second node appears. */
#include "manager/ca/ca.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/bucket.h"
#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "manager/ca/renew.h"
#include "manager/context/answer.h"
#include "manager/model/check.h"
#include "manager/model/rows.h"

#define STRANGERS_PER_S 20.0
#define STRANGERS_BURST 60.0
#define REQUEST_ID_MIN 16
#define REQUEST_ID_MAX 64
#define RENEW_LOOK_MS (3600 * 1000)
/* A node renews at half life and may lose an answer now and then; more than this is a fault or an attack on
 * the size of the state. */
#define NODE_CERTS_MAX 16
#define NODES_MAX 5000
/* Nodes that have joined and never had a session: many are a fault of whoever joins, or an attack. */
#define NODES_UNHEARD_MAX 100

#define CA_MAGIC MAGIC('c', 'a', ' ', ' ')

struct ca {
	uint32_t magic;
	struct context *ctx;
	struct ca_hooks hooks;
	struct bucket roots, joins; /* what needs no certificate: GetRoot, and Issue with a right token */
	struct renewals *renewals;
	struct loop_timer renew;
};

/* ---- tokens ---- */

char *ca_pem_text(const ProtobufCBinaryData *pem)
{
	char *text = xcalloc(1, pem->len + 1);

	if (pem->len)
		memcpy(text, pem->data, pem->len);
	return text;
}

void ca_token_secret(char ret_secret[26])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	base36_encode(bytes, sizeof(bytes), 25, ret_secret);
}

static bool token_matches(const Gs__JoinToken *token, const char *secret)
{
	return token && *token->secret && const_time_equal(token->secret, secret);
}

static int token_alive(const Gs__JoinToken *token, const char *role, int64_t now_ms, struct err *e)
{
	if (token->ttl_ms == 0 || now_ms < token->issued_ms + token->ttl_ms)
		return 0;
	return err_set(
		e, E_TOKEN,
		"the join token has expired; run 'gswarm join-token --rotate %s' on a manager for a new one",
		role);
}

int ca_token_check(const Gs__Cluster *cluster, const char *text, int64_t now_ms, Gs__Role *ret_role,
		   struct err *e)
{
	cleanup_free char *ca = ca_pem_text(&cluster->ca_cert_pem);
	struct join_token token;
	char digest[51];
	bool is_worker, is_manager;
	int rc = join_token_parse(text, &token, e);

	if (rc)
		return rc;
	rc = tls_cert_digest(ca, digest, e);
	if (rc)
		return rc;
	if (!const_time_equal(digest, token.digest))
		return err_set(e, E_TOKEN, "the join token belongs to another cluster");
	is_worker = token_matches(cluster->worker_token, token.secret);
	is_manager = token_matches(cluster->manager_token, token.secret);
	if (!is_worker && !is_manager)
		return err_set(e, E_TOKEN,
			       "the join token is wrong or was rotated; run 'gswarm join-token worker' on a "
			       "manager");
	rc = is_worker ? token_alive(cluster->worker_token, "worker", now_ms, e)
		       : token_alive(cluster->manager_token, "manager", now_ms, e);
	if (rc == 0)
		*ret_role = is_worker ? ROLE_WORKER : ROLE_MANAGER;
	return rc;
}

int ca_token_text(const Gs__Cluster *cluster, Gs__Role role, char ret_text[96], struct err *e)
{
	const Gs__JoinToken *t = role == ROLE_MANAGER ? cluster->manager_token : cluster->worker_token;
	cleanup_free char *ca = ca_pem_text(&cluster->ca_cert_pem);
	struct join_token token;
	int rc = tls_cert_digest(ca, token.digest, e);

	if (rc)
		return rc;
	snprintf(token.secret, sizeof(token.secret), "%s", t ? t->secret : "");
	join_token_format(&token, ret_text);
	return 0;
}

/* ---- roles ---- */

unsigned ca_role(const struct store *s, const struct rpc_peer *peer, struct err *e)
{
	const Gs__NodeCert *cert = store_get(s, OBJ_NODE_CERT, peer->serial);
	const Gs__Node *node = store_node(s, peer->node_id);
	const Gs__Cluster *cluster = store_cluster(s);

	if (!cluster || strcmp(cluster->meta->id, peer->cluster_id) != 0)
		err_set(e, E_UNAUTHENTICATED, "the certificate belongs to another cluster");
	else if (!node || (cert && cert->revoked) || node->meta->deleting)
		err_set(e, E_UNAUTHENTICATED, "node %s was removed from the cluster", peer->node_id);
	else if (!cert || strcmp(cert->node_id, peer->node_id) != 0)
		err_set(e, E_UNAUTHENTICATED, "the certificate of node %s is not known here", peer->node_id);
	else
		return ROLE_BIT_NONE |
		       (node->spec->role == ROLE_MANAGER ? ROLE_BIT_MANAGER : ROLE_BIT_WORKER);
	return 0;
}

/* Refuse a call that needs no certificate when there were too many: true, and the call has been answered. A
 * certificate buys nothing here, else a removed node's would open what strangers are kept from. */
static bool stranger_refused(struct ca *ca, struct bucket *bucket, struct rpc_call *call)
{
	if (bucket_take(bucket, clock_mono_ms(ca->ctx->clock), 1, STRANGERS_PER_S, STRANGERS_BURST))
		return false;
	answer_fail(call, E_LIMIT, "too many calls without a certificate; try again in a second");
	return true;
}

unsigned ca_authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	const struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);

	if (peer->is_local)
		return ROLE_BIT_LOCAL;
	if (peer->is_authenticated)
		return ca_role(ca->ctx->store, peer, e);
	return ROLE_BIT_NONE;
}

/* ---- issue ---- */

void ca_add_cert(struct tx *tx, const char *serial, const char *node_id, int64_t not_after_ms)
{
	Gs__NodeCert *row = obj_new_row(OBJ_NODE_CERT, serial);

	str_replace(&row->node_id, node_id);
	row->not_after_ms = not_after_ms;
	tx_create(tx, row);
}

int ca_issue(struct tx *tx, const Gs__Cluster *cluster, const char *node_id, bool is_manager,
	     const ProtobufCBinaryData *csr_pem, int64_t now_ms, char **ret_cert_pem, struct err *e)
{
	cleanup_free char *csr = ca_pem_text(csr_pem);
	cleanup_free char *ca = ca_pem_text(&cluster->ca_cert_pem);
	cleanup_free char *key = ca_pem_text(&cluster->ca_key_pem);
	struct tls_issue in = {.ca_cert_pem = ca,
			       .ca_key_pem = key,
			       .csr_pem = csr,
			       .node_id = node_id,
			       .cluster_id = cluster->meta->id,
			       .is_manager = is_manager,
			       .now_ms = now_ms,
			       .expiry_s = (int64_t)cluster->spec->cert_expiry_s};
	char serial[33];
	int64_t not_after_ms;
	int rc;

	bug_if(!id_is_valid(node_id) || !cluster->spec);
	rc = tls_issue(&in, ret_cert_pem, serial, &not_after_ms, e);
	OPENSSL_cleanse(key, strlen(key));
	if (rc)
		return rc;
	ca_add_cert(tx, serial, node_id, not_after_ms);
	return 0;
}

/* The same token and request id always name the same node. */
static void derive_node_id(const Gs__Cluster *cluster, const Gs__IssueRequest *req, char ret_id[ID_LEN + 1])
{
	cleanup_free char *text = xasprintf("%s/%s/%s", cluster->meta->id, req->token, req->request_id);
	uint8_t hash[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)text, strlen(text), hash);
	id_from_bytes(hash, ret_id);
}

static bool was_removed(const struct store *s, const char *node_id)
{
	const Gs__NodeCert *cert;

	for (size_t i = 0; (cert = store_at(s, OBJ_NODE_CERT, i)); i++)
		if (cert->revoked && strcmp(cert->node_id, node_id) == 0)
			return true;
	return false;
}

/* Certificates of the node that are neither expired nor revoked. */
static size_t certs_alive(const struct store *s, const char *node_id, int64_t now_ms)
{
	const Gs__NodeCert *cert;
	size_t n = 0;

	for (size_t i = 0; (cert = store_at(s, OBJ_NODE_CERT, i)); i++)
		n += cert->not_after_ms >= now_ms && !cert->revoked && strcmp(cert->node_id, node_id) == 0;
	return n;
}

int ca_check_certs(const struct context *ctx, const char *node_id, struct err *e)
{
	if (certs_alive(ctx->store, node_id, clock_wall_ms(ctx->clock)) < NODE_CERTS_MAX)
		return 0;
	return err_set(e, E_LIMIT,
		       "node %s has %d valid certificates already; if it did not ask for them, remove it "
		       "('gswarm node rm')",
		       node_id, NODE_CERTS_MAX);
}

/* Room for one more node. */
static int check_nodes(const struct store *s, struct err *e)
{
	const Gs__Node *node;
	size_t unheard = 0;

	if (store_count(s, OBJ_NODE) >= NODES_MAX)
		return err_set(e, E_LIMIT, "the cluster has %d nodes; it takes no more", NODES_MAX);
	for (size_t i = 0; (node = store_at(s, OBJ_NODE, i)); i++)
		unheard += node->status && !node->status->heard && node->status->state != NODE_READY;
	if (unheard >= NODES_UNHEARD_MAX)
		return err_set(
			e, E_LIMIT,
			"%zu nodes have joined and were never heard of: remove them on a manager "
			"('gswarm node rm') and change the token ('gswarm join-token --rotate worker')",
			unheard);
	return 0;
}

struct issue {
	struct ca *ca;
	struct rpc_call *call;
	Gs__IssueRequest *req;
};

static int check_issue(const Gs__IssueRequest *req, struct err *e)
{
	size_t n = strlen(req->request_id);

	if (n < REQUEST_ID_MIN || n > REQUEST_ID_MAX)
		return err_set(e, E_INVALID, "request_id must have %d to %d characters", REQUEST_ID_MIN,
			       REQUEST_ID_MAX);
	if (req->worker_csr_pem.len == 0)
		return err_set(e, E_INVALID, "the request has no certificate request");
	if (req->availability > AVAIL_DRAIN)
		return err_set(e, E_INVALID, "unknown availability %d", (int)req->availability);
	return check_description(req->description, e);
}

static void add_node(struct context *ctx, struct tx *tx, const char *id, const Gs__IssueRequest *req)
{
	Gs__Node *node = obj_new_row(OBJ_NODE, id);

	node->spec = obj_new(&gs__node_spec__descriptor);
	node->spec->role = ROLE_WORKER;
	node->spec->availability = req->availability;
	node->description = obj_dup(req->description);
	node->status = obj_new(&gs__node_status__descriptor);
	node->status->since_ms = clock_wall_ms(ctx->clock);
	tx_create(tx, node);
}

/* Only of what is committed with it. */
static Gs__IssueResponse *issue_response(struct context *ctx, const Gs__Cluster *cluster, const char *node_id,
					 const char *cert_pem)
{
	Gs__IssueResponse *resp = obj_new(&gs__issue_response__descriptor);

	str_replace(&resp->cluster_id, cluster->meta->id);
	str_replace(&resp->node_id, node_id);
	obj_bytes_set(&resp->ca_pem, cluster->ca_cert_pem.data, cluster->ca_cert_pem.len);
	obj_bytes_set(&resp->worker_cert_pem, cert_pem, strlen(cert_pem));
	resp->n_managers = context_managers(ctx, &resp->managers);
	resp->data_path_port = cluster->spec->data_path_port;
	return resp;
}

static int issue(struct issue *is, struct tx *tx, void **ret_resp, struct err *e)
{
	struct context *ctx = is->ca->ctx;
	const Gs__Cluster *cluster = store_cluster(ctx->store);
	cleanup_free char *cert = NULL;
	char id[ID_LEN + 1];
	Gs__Role role;
	int rc = ca_token_check(cluster, is->req->token, clock_wall_ms(ctx->clock), &role, e);

	if (rc)
		return rc;
	if (role == ROLE_MANAGER)
		return err_set(
			e, E_INVALID,
			"this version runs one manager; several come later: join with the worker token "
			"('gswarm join-token worker')");
	derive_node_id(cluster, is->req, id);
	if (!store_node(ctx->store, id)) {
		if (was_removed(ctx->store, id))
			return err_set(e, E_TOKEN, "node %s was removed from the cluster; join anew", id);
		if (check_nodes(ctx->store, e) || check_family(ctx->store, id, is->req->description, e))
			return e->code;
		add_node(ctx, tx, id, is->req);
		event_add(tx, &ctx->env, "audit.node.join", id, "node %s joined with a token from %s",
			  is->req->description->hostname, rpc_call_peer(is->call)->addr);
	}
	if (ca_check_certs(ctx, id, e))
		return e->code;
	rc = ca_issue(tx, cluster, id, false, &is->req->worker_csr_pem, clock_wall_ms(ctx->clock), &cert, e);
	if (rc == 0)
		*ret_resp = issue_response(ctx, cluster, id, cert);
	return rc;
}

static void on_issue_barrier(void *arg, const struct err *barrier)
{
	struct issue *is = arg;
	struct err e = *barrier;
	struct tx *tx;
	void *resp = NULL;

	bug_if(!is->call);
	if (e.code == 0) {
		tx = tx_new(is->ca->ctx->store);
		if (issue(is, tx, &resp, &e) == 0)
			answer_commit(is->ca->ctx, is->call, tx, resp, NULL, NULL, NULL);
		else
			tx_free(tx);
	}
	if (e.code)
		rpc_fail(is->call, &e);
	obj_free(is->req);
	free(is);
}

static void on_get_root(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);
	Gs__RootResponse resp = GS__ROOT_RESPONSE__INIT;
	const Gs__Cluster *cluster = store_cluster(ca->ctx->store);

	if (answer_unless_serving(ca->ctx, call) || stranger_refused(ca, &ca->roots, call))
		return;
	resp.ca_pem = cluster->ca_cert_pem;
	resp.cluster_id = cluster->meta->id;
	rpc_reply(call, &resp.base);
}

/* The barrier: a token that was rotated a moment ago on another manager must not pass here. It is a log
 * entry, so a wrong token does not get that far; nor does it take a place from those who have a right one: a look
 * at it costs less than the handshake that brought it. */
static void on_issue(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);
	const Gs__IssueRequest *req = (const Gs__IssueRequest *)msg;
	struct err e = {0};
	struct issue *is;
	Gs__Role role;

	if (answer_unless_serving(ca->ctx, call))
		return;
	if (rpc_call_peer(call)->is_authenticated) {
		answer_fail(call, E_FORBIDDEN,
			    "node %s has a certificate already: it must leave before it joins",
			    rpc_call_peer(call)->node_id);
		return;
	}
	if (check_issue(req, &e) || ca_token_check(store_cluster(ca->ctx->store), req->token,
						   clock_wall_ms(ca->ctx->clock), &role, &e)) {
		rpc_fail(call, &e);
		return;
	}
	if (stranger_refused(ca, &ca->joins, call))
		return;
	is = xcalloc(1, sizeof(*is));
	*is = (struct issue){ca, call, obj_dup(msg)};
	if (ca->ctx->engine->ops->barrier(ca->ctx->engine, on_issue_barrier, is) == 0)
		return;
	obj_free(is->req);
	free(is);
	answer_fail(call, E_UNAVAILABLE, "the manager is busy; try again");
}

static void on_renew(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);

	if (!answer_unless_serving(ca->ctx, call))
		renewals_serve(ca->renewals, call, (const Gs__RenewRequest *)msg);
}

void ca_register(struct ca *ca)
{
	static const rpc_handler handlers[] = {
		[CA_GET_ROOT] = on_get_root, [CA_ISSUE] = on_issue, [CA_RENEW] = on_renew};

	rpc_server_add(ca->ctx->server, RPC_CA, handlers, array_size(handlers), ca);
}

/* ---- the manager's own certificate ---- */

struct renewal {
	struct ca *ca;
	char *cert_pem;
};

static void on_renewed(void *arg, const struct err *committed)
{
	struct renewal *r = arg;
	cleanup_free char *path = context_path(r->ca->ctx, "manager.crt");
	struct err e = *committed;

	if (e.code == 0 && fs_write(path, r->cert_pem, strlen(r->cert_pem), 0600, &e) == 0)
		r->ca->hooks.own_renewed(r->ca->hooks.arg, &e);
	if (e.code)
		log_warn("renewing the manager's certificate: %s; trying again in an hour", e.msg);
	else
		log_info("the manager's certificate was renewed");
	free(r->cert_pem);
	free(r);
}

static bool past_half_life(const char *cert_pem, int64_t now_ms)
{
	struct tls_cert_info info;

	return tls_cert_info(cert_pem, &info, NULL) == 0 &&
	       now_ms > info.not_before_ms + (info.not_after_ms - info.not_before_ms) / 2;
}

static int renew_own(struct ca *ca, struct err *e)
{
	struct context *ctx = ca->ctx;
	cleanup_free char *crt_path = context_path(ctx, "manager.crt"),
			  *key_path = context_path(ctx, "manager.key");
	cleanup_free char *crt = NULL, *key = NULL, *csr = NULL;
	ProtobufCBinaryData csr_bytes;
	struct renewal *r;
	struct tx *tx;
	size_t len;
	int rc = fs_read(crt_path, 65536, &crt, &len, e);

	if (rc || !past_half_life(crt, clock_wall_ms(ctx->clock)))
		return rc;
	rc = fs_read(key_path, 65536, &key, &len, e);
	if (rc == 0)
		rc = tls_csr_new(key, ctx->node_id, &csr, e);
	if (rc)
		return rc;
	csr_bytes = (ProtobufCBinaryData){.data = (uint8_t *)csr, .len = strlen(csr)};
	r = xcalloc(1, sizeof(*r));
	r->ca = ca;
	tx = tx_new(ctx->store);
	rc = ca_issue(tx, store_cluster(ctx->store), ctx->node_id, true, &csr_bytes,
		      clock_wall_ms(ctx->clock), &r->cert_pem, e);
	if (rc == 0) {
		store_commit(ctx->store, tx, on_renewed, r);
		return 0;
	}
	tx_free(tx);
	free(r);
	return rc;
}

/* ---- rows of certificates that nobody can use any more, also those of removed nodes ---- */

static void on_swept(void *arg, const struct err *e)
{
	bug_if_off_loop();
	if (e->code)
		log_warn("removing expired certificates: %s; trying again in an hour", e->msg);
}

static void sweep(struct context *ctx)
{
	int64_t now_ms = clock_wall_ms(ctx->clock);
	struct tx *tx = tx_new(ctx->store);
	const Gs__NodeCert *cert;

	tx_allow_split(tx);
	for (size_t i = 0; (cert = store_at(ctx->store, OBJ_NODE_CERT, i)); i++)
		if (cert->not_after_ms < now_ms)
			tx_remove(tx, cert);
	if (tx_len(tx) > 0)
		store_commit(ctx->store, tx, on_swept, NULL);
	else
		tx_free(tx);
}

static void on_renew_look(void *arg)
{
	ca_renew_own(magic_of(struct ca, CA_MAGIC, arg));
}

void ca_renew_own(struct ca *ca)
{
	struct err e = {0};

	loop_timer_set(&ca->renew, RENEW_LOOK_MS);
	if (!context_is_serving(ca->ctx))
		return;
	sweep(ca->ctx);
	if (renew_own(ca, &e))
		log_warn("the manager's certificate: %s", e.msg);
}

/* ---- life ---- */

struct ca *ca_new(struct context *ctx, const struct ca_hooks *hooks)
{
	struct ca *ca = xcalloc(1, sizeof(*ca));

	bug_if(!hooks->own_renewed);
	magic_set(ca, CA_MAGIC);
	ca->ctx = ctx;
	ca->hooks = *hooks;
	ca->renewals = renewals_new(ctx);
	loop_timer_init(&ca->renew, ctx->loop, on_renew_look, ca);
	return ca;
}

void ca_close(struct ca *ca)
{
	bug_if(!magic_is(ca, CA_MAGIC));
	loop_timer_close(&ca->renew, NULL);
}

void ca_free(struct ca *ca)
{
	if (!ca)
		return;
	renewals_free(ca->renewals);
	magic_end(ca);
	free(ca);
}
