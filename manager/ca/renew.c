// SPDX-License-Identifier: Apache-2.0
/* The happy path: a node asks once in a half life, its request is checked and signed on the pool, and the row of
 * the new certificate is committed before the answer leaves.
 *
 * Each renewal costs two signatures and an entry in the log, and the caller may be a node that was broken into. So a
 * node has one under way, four at once and then one a minute (it asks again after a minute when an answer was lost);
 * and its request is parsed and proved before our key is taken in hand. What can fail: all that, a node that is
 * removed while its request is signed, a leader that is none any more. */
#include "manager/ca/renew.h"

#include <openssl/crypto.h>
#include <string.h>
#include <uthash.h>

#include "base/bucket.h"
#include "base/bug.h"
#include "base/loop.h"
#include "base/mem.h"
#include "manager/context/answer.h"
#include "manager/model/rows.h"

#define RENEW_BURST 4.0
#define RENEW_PER_S (1.0 / 60)
#define IDLE_MAX 64 /* records beyond the nodes there are before those of removed nodes go */

struct node_record {
	char node_id[ID_LEN + 1];
	struct bucket bucket;
	bool busy;
	UT_hash_handle hh;
};

struct renewals {
	struct context *ctx;
	struct node_record *records;
};

struct renew_job {
	struct renewals *all;
	struct rpc_call *call;
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1];
	char *ca_pem, *ca_key_pem, *csr_pem;
	int64_t now_ms, expiry_s;
	/* results */
	char *cert_pem;
	char serial[33];
	int64_t not_after_ms;
	struct err e;
};

/* ---- records ---- */

static void forget_removed(struct renewals *all)
{
	struct node_record *r, *next;

	if (HASH_COUNT(all->records) < store_count(all->ctx->store, OBJ_NODE) + IDLE_MAX)
		return;
	HASH_ITER (hh, all->records, r, next) {
		if (r->busy || store_node(all->ctx->store, r->node_id))
			continue;
		HASH_DEL(all->records, r);
		free(r);
	}
}

static struct node_record *record_of(struct renewals *all, const char *node_id)
{
	struct node_record *r;

	bug_if(!id_is_valid(node_id));
	HASH_FIND_STR(all->records, node_id, r);
	if (r)
		return r;
	forget_removed(all);
	r = xcalloc(1, sizeof(*r));
	snprintf(r->node_id, sizeof(r->node_id), "%s", node_id);
	HASH_ADD_STR(all->records, node_id, r);
	return r;
}

/* ---- the job ---- */

static void job_free(struct renew_job *j)
{
	if (j->ca_key_pem)
		OPENSSL_cleanse(j->ca_key_pem, strlen(j->ca_key_pem));
	free(j->ca_key_pem);
	free(j->ca_pem);
	free(j->csr_pem);
	free(j->cert_pem);
	free(j);
}

static void on_sign(void *arg)
{
	struct renew_job *j = arg;
	const struct tls_issue in = {.ca_cert_pem = j->ca_pem,
				     .ca_key_pem = j->ca_key_pem,
				     .csr_pem = j->csr_pem,
				     .node_id = j->node_id,
				     .cluster_id = j->cluster_id,
				     .now_ms = j->now_ms,
				     .expiry_s = j->expiry_s};

	tls_issue(&in, &j->cert_pem, j->serial, &j->not_after_ms, &j->e);
}

/* Who was away for so long may be somebody else. */
static void tell_of_expired(struct context *ctx, struct tx *tx, const struct rpc_peer *peer)
{
	event_add(tx, &ctx->env, "node.certificate", peer->node_id,
		  "node %s renewed an expired certificate from %s",
		  node_name(store_node(ctx->store, peer->node_id)), peer->addr);
}

static void commit(struct renew_job *j)
{
	const struct rpc_peer *peer = rpc_call_peer(j->call);
	struct context *ctx = j->all->ctx;
	Gs__RenewResponse *resp = obj_new(&gs__renew_response__descriptor);
	struct tx *tx = tx_new(ctx->store);

	ca_replace_cert(ctx, tx, j->node_id, peer->serial);
	ca_add_cert(tx, j->serial, j->node_id, j->not_after_ms)->unproved = true;
	if (peer->is_expired)
		tell_of_expired(ctx, tx, peer);
	obj_bytes_set(&resp->cert_pem, j->cert_pem, strlen(j->cert_pem));
	obj_bytes_set(&resp->ca_pem, j->ca_pem, strlen(j->ca_pem));
	answer_commit(ctx, j->call, tx, resp, NULL, NULL, NULL);
}

/* The node may have been removed meanwhile. */
static void on_signed(void *arg)
{
	struct renew_job *j = arg;
	struct context *ctx = j->all->ctx;
	struct node_record *r = record_of(j->all, j->node_id);

	bug_if(!r->busy);
	r->busy = false;
	if (!answer_unless_serving(ctx, j->call)) {
		if (j->e.code == 0)
			ca_role(ctx->store, rpc_call_peer(j->call), clock_wall_ms(ctx->clock), &j->e);
		if (j->e.code)
			rpc_fail(j->call, &j->e);
		else
			commit(j);
	}
	job_free(j);
}

static void job_start(struct renewals *all, struct rpc_call *call, const char *node_id,
		      const Gs__RenewRequest *req)
{
	const Gs__Cluster *cluster = store_cluster(all->ctx->store);
	struct renew_job *j = xcalloc(1, sizeof(*j));

	j->all = all;
	j->call = call;
	snprintf(j->node_id, sizeof(j->node_id), "%s", node_id);
	snprintf(j->cluster_id, sizeof(j->cluster_id), "%s", cluster->meta->id);
	j->ca_pem = ca_pem_text(&cluster->ca_cert_pem);
	j->ca_key_pem = ca_pem_text(&cluster->ca_key_pem);
	j->csr_pem = ca_pem_text(&req->csr_pem);
	j->now_ms = clock_wall_ms(all->ctx->clock);
	j->expiry_s = (int64_t)cluster->spec->cert_expiry_s;
	loop_work(all->ctx->loop, on_sign, on_signed, j);
}

void renewals_serve(struct renewals *all, struct rpc_call *call, const Gs__RenewRequest *req)
{
	const char *node_id = rpc_call_peer(call)->node_id;
	struct node_record *r = record_of(all, node_id);

	if (r->busy) {
		answer_fail(call, E_LIMIT, "a certificate for node %s is being made already", node_id);
		return;
	}
	if (!bucket_take(&r->bucket, clock_mono_ms(all->ctx->clock), 1, RENEW_PER_S, RENEW_BURST)) {
		answer_fail(call, E_LIMIT, "node %s renews its certificate too often; try again in a minute",
			    node_id);
		return;
	}
	r->busy = true;
	job_start(all, call, node_id, req);
}

/* ---- life ---- */

struct renewals *renewals_new(struct context *ctx)
{
	struct renewals *all = xcalloc(1, sizeof(*all));

	all->ctx = ctx;
	return all;
}

void renewals_free(struct renewals *all)
{
	struct node_record *r, *next;

	if (!all)
		return;
	HASH_ITER (hh, all->records, r, next) {
		HASH_DEL(all->records, r);
		free(r);
	}
	free(all);
}
