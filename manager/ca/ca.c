// SPDX-License-Identifier: Apache-2.0
/* Certificates, and the role behind one.
 *
 * The happy path is: a joining node pins our root by the token's digest, sends the token and a CSR, and gets
 * a certificate whose NodeCert row was committed together with its Node row before the answer left. What can
 * fail is: a wrong, expired or rotated token; a manager token (one manager for now); a CSR that is no CSR; a
 * lost answer: the node id is derived from the token and the caller's request id, so a repeat gets a new
 * certificate for the same node and no second node appears. */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/ca/internal.h"
#include "manager/ca/renew.h"
#include "manager/context/answer.h"
#include "manager/model/check.h"
#include "manager/model/rows.h"

#define ROOTS_PER_S 20.0 /* of one address */
#define ROOTS_BURST 60.0
#define JOINS_PER_S 20.0 /* of all: an entry in the log and two signatures each */
#define JOINS_BURST 60.0
#define JOINS_PER_S_OF_ONE 5.0 /* address: a quarter of it, so that the others get theirs */
#define JOINS_BURST_OF_ONE 20.0
#define REQUEST_ID_MIN 16
#define REQUEST_ID_MAX 64
/* A node renews at half life and may lose an answer now and then; more than this is a fault or an attack on
 * the size of the state. */
#define NODE_CERTS_MAX 16
/* A node that comes back gets a new certificate for one that expired in the meantime, but not for ever: who has
 * been away for the default life four times over has been given up, and its disk may be in other hands. */
#define GRACE_MS (365 * INT64_C(86400000))
#define NODES_MAX 5000
/* Nodes that have joined and never had a session: many are a fault of whoever joins, or an attack. */
#define NODES_UNHEARD_MAX 100

/* ---- roles ---- */

static bool is_loopback(const uint8_t ip[16], size_t len)
{
	static const uint8_t v6[16] = {[15] = 1};

	return len == 4 ? ip[0] == 127 : len == 16 && memcmp(ip, v6, 16) == 0;
}

/* The caller sits on the node's own host. */
static bool comes_from(const Gs__Node *node, const struct rpc_peer *peer)
{
	const ProtobufCBinaryData *known = node->description ? &node->description->advertise_ip : NULL;
	uint8_t ip[16], own[16];
	char host[64];
	uint16_t port;
	size_t len;

	if (hostport_parse(peer->addr, MANAGER_PORT, host, sizeof(host), &port, NULL) < 0)
		return false;
	len = addr_bytes(host, ip);
	if (is_loopback(ip, len) || (len && known && known->len == len && memcmp(known->data, ip, len) == 0))
		return true;
	return len && *node->manager_addr &&
	       hostport_parse(node->manager_addr, MANAGER_PORT, host, sizeof(host), &port, NULL) == 0 &&
	       addr_bytes(host, own) == len && memcmp(own, ip, len) == 0;
}

/* One whose time is over, by which a node asks for its next. That our root has signed it is what TLS has checked.
 * That of a manager's node opens the whole Control API once it is renewed: from an old disk or backup nobody else
 * may do that. */
static unsigned role_of_expired(const struct store *s, const Gs__Node *node, const Gs__NodeCert *cert,
				const struct rpc_peer *peer, int64_t now_ms, struct err *e)
{
	static const char hint[] = "run 'gswarm leave' there, then it can join anew";

	if (peer->is_manager || cert->for_manager)
		err_set(e, E_UNAUTHENTICATED, "the certificate of the manager on node %s has expired",
			cert->node_id);
	else if (node->spec->role == ROLE_MANAGER && !comes_from(node, peer))
		err_set(e, E_UNAUTHENTICATED,
			"the certificate of node %s has expired, and that of a manager's node is renewed "
			"from "
			"its own address only, not from %s",
			cert->node_id, peer->addr);
	else if (ca_is_superseded(s, cert))
		err_set(e, E_UNAUTHENTICATED,
			"this certificate of node %s has expired, and the node has used a newer one since: "
			"%s",
			cert->node_id, hint);
	else if (now_ms - cert->not_after_ms > GRACE_MS)
		err_set(e, E_UNAUTHENTICATED,
			"the certificate of node %s expired %d days ago, and after %d days it is not "
			"renewed: %s",
			cert->node_id, (int)((now_ms - cert->not_after_ms) / 86400000),
			(int)(GRACE_MS / 86400000), hint);
	else
		return ROLE_BIT_EXPIRED;
	return 0;
}

unsigned ca_role(const struct store *s, const struct rpc_peer *peer, int64_t now_ms, struct err *e)
{
	const Gs__NodeCert *cert = store_get(s, OBJ_NODE_CERT, peer->serial);
	const Gs__Node *node = store_node(s, peer->node_id);
	const Gs__Cluster *cluster = store_cluster(s);

	if (!cluster || strcmp(cluster->meta->id, peer->cluster_id) != 0)
		err_set(e, E_UNAUTHENTICATED, "the certificate belongs to another cluster");
	else if (!node || (cert && cert->revoked) || node->meta->deleting)
		err_set(e, E_UNAUTHENTICATED,
			"node %s was removed from the cluster: run 'gswarm leave' there, "
			"then it can join anew",
			peer->node_id);
	else if (!cert || strcmp(cert->node_id, peer->node_id) != 0)
		err_set(e, E_UNAUTHENTICATED, "the certificate of node %s is not known here", peer->node_id);
	else if (peer->is_expired)
		return role_of_expired(s, node, cert, peer, now_ms, e);
	else
		return ROLE_BIT_NONE |
		       (node->spec->role == ROLE_MANAGER ? ROLE_BIT_MANAGER : ROLE_BIT_WORKER);
	return 0;
}

/* A call that needs no certificate, and there were too many. A certificate buys nothing here, else a removed node's
 * would open what strangers are kept from. */
static void refuse_stranger(struct rpc_call *call)
{
	answer_fail(call, E_LIMIT, "too many calls without a certificate; try again in a second");
}

/* By the caller's address, which nobody can use up for others. An IPv6 address counts by its /64, as one host has
 * all of it. */
static struct source_buckets *source_of(struct ca *ca, const struct rpc_peer *peer)
{
	uint8_t text[sizeof(ca->seed) + 8] = {0}, ip[16] = {0}, hash[SHA256_DIGEST_LENGTH];
	char host[64] = "";
	uint16_t port;

	hostport_parse(peer->addr, MANAGER_PORT, host, sizeof(host), &port, NULL);
	addr_bytes(host, ip);
	memcpy(text, ca->seed, sizeof(ca->seed));
	memcpy(text + sizeof(ca->seed), ip, 8);
	SHA256(text, sizeof(text), hash);
	return &ca->sources[hash[0] % CA_SOURCE_SLOTS];
}

static bool may_join(struct ca *ca, const struct rpc_peer *peer)
{
	int64_t now = clock_mono_ms(ca->ctx->clock);

	return bucket_take(&source_of(ca, peer)->joins, now, 1, JOINS_PER_S_OF_ONE, JOINS_BURST_OF_ONE) &&
	       bucket_take(&ca->joins, now, 1, JOINS_PER_S, JOINS_BURST);
}

static void on_proved(void *arg, const struct err *e)
{
	struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);

	bug_if(!ca->proving);
	ca->proving = false;
	if (e->code && e->code != E_STALE_VERSION)
		log_warn("noting that a renewed certificate is in use: %s; again with its next call", e->msg);
}

/* The node holds the certificate that it renewed: from now on the one before is good for nothing once it expires. */
static void prove(struct ca *ca, const char *serial)
{
	struct context *ctx = ca->ctx;
	const Gs__NodeCert *cert = store_get(ctx->store, OBJ_NODE_CERT, serial);
	Gs__NodeCert *row;
	struct tx *tx;

	if (!cert->unproved || ca->proving || !context_is_serving(ctx))
		return;
	row = obj_dup(cert);
	row->unproved = false;
	tx = tx_new(ctx->store);
	tx_update(tx, row);
	ca->proving = true;
	store_commit(ctx->store, tx, on_proved, ca);
}

unsigned ca_authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	struct ca *ca = magic_of(struct ca, CA_MAGIC, arg);
	unsigned role;

	if (peer->is_local)
		return ROLE_BIT_LOCAL;
	if (!peer->is_authenticated)
		return ROLE_BIT_NONE;
	role = ca_role(ca->ctx->store, peer, clock_wall_ms(ca->ctx->clock), e);
	if (role)
		prove(ca, peer->serial);
	return role;
}

/* ---- issue ---- */

Gs__NodeCert *ca_add_cert(struct tx *tx, const char *serial, const char *node_id, int64_t not_after_ms)
{
	Gs__NodeCert *row = obj_new_row(OBJ_NODE_CERT, serial);

	str_replace(&row->node_id, node_id);
	row->not_after_ms = not_after_ms;
	tx_create(tx, row);
	return row;
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
	ca_add_cert(tx, serial, node_id, not_after_ms)->for_manager = is_manager;
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
	return err_set(e, E_EXHAUSTED,
		       "node %s has %d valid certificates already; if it did not ask for them, remove it "
		       "('gswarm node rm')",
		       node_id, NODE_CERTS_MAX);
}

/* The manager's own one is of the same node as that of the worker beside it. */
static void own_serial(const struct context *ctx, char ret_serial[33])
{
	cleanup_free char *path = context_path(ctx, "manager.crt"), *pem = NULL;
	struct tls_cert_info info;
	size_t len;

	ret_serial[0] = '\0';
	if (fs_read(path, 65536, &pem, &len, NULL) == 0 && tls_cert_info(pem, &info, NULL) == 0)
		memcpy(ret_serial, info.serial, sizeof(info.serial));
}

void ca_replace_cert(const struct context *ctx, struct tx *tx, const char *node_id, const char *serial)
{
	int64_t now_ms = clock_wall_ms(ctx->clock);
	const Gs__NodeCert *cert, *oldest = NULL;
	char own[33];

	if (certs_alive(ctx->store, node_id, now_ms) < NODE_CERTS_MAX)
		return;
	own_serial(ctx, own);
	for (size_t i = 0; (cert = store_at(ctx->store, OBJ_NODE_CERT, i)); i++)
		if (cert->not_after_ms >= now_ms && !cert->revoked && strcmp(cert->node_id, node_id) == 0 &&
		    strcmp(cert->meta->id, serial) != 0 && strcmp(cert->meta->id, own) != 0 &&
		    (!oldest || cert->not_after_ms < oldest->not_after_ms))
			oldest = cert;
	bug_if(!oldest); /* there are more than two */
	tx_remove(tx, oldest);
}

/* Room for one more node. */
static int check_nodes(const struct store *s, struct err *e)
{
	const Gs__Node *node;
	size_t unheard = 0;

	if (store_count(s, OBJ_NODE) >= NODES_MAX)
		return err_set(e, E_EXHAUSTED, "the cluster has %d nodes; it takes no more", NODES_MAX);
	for (size_t i = 0; (node = store_at(s, OBJ_NODE, i)); i++)
		unheard += node->status && !node->status->heard && node->status->state != NODE_READY;
	if (unheard >= NODES_UNHEARD_MAX)
		return err_set(
			e, E_EXHAUSTED,
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
	int rc = ca_token_check(&is->ca->root, cluster, is->req->token, clock_wall_ms(ctx->clock), &role, e);

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

	if (answer_unless_serving(ca->ctx, call))
		return;
	/* It costs little, but every join begins with it. */
	if (!bucket_take(&source_of(ca, rpc_call_peer(call))->roots, clock_mono_ms(ca->ctx->clock), 1,
			 ROOTS_PER_S, ROOTS_BURST)) {
		refuse_stranger(call);
		return;
	}
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
	if (check_issue(req, &e) || ca_token_check(&ca->root, store_cluster(ca->ctx->store), req->token,
						   clock_wall_ms(ca->ctx->clock), &role, &e)) {
		rpc_fail(call, &e);
		return;
	}
	if (!may_join(ca, rpc_call_peer(call))) {
		refuse_stranger(call);
		return;
	}
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

/* ---- life ---- */

struct ca *ca_new(struct context *ctx, const struct ca_hooks *hooks)
{
	struct ca *ca = xcalloc(1, sizeof(*ca));

	bug_if(!hooks->own_renewed);
	magic_set(ca, CA_MAGIC);
	ca->ctx = ctx;
	ca->hooks = *hooks;
	ca->renewals = renewals_new(ctx);
	random_bytes(ca->seed, sizeof(ca->seed));
	loop_timer_init(&ca->renew, ctx->loop, ca_on_renew_look, ca);
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
	ca_root_fini(&ca->root);
	magic_end(ca);
	free(ca);
}
