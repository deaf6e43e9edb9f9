// SPDX-License-Identifier: Apache-2.0
/* The manager's own certificate, replaced at half of its life, and rows of certificates that nobody can use any more.
 * Looked at every hour; what fails is logged and tried again with the next look. */
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/ca/internal.h"

#define RENEW_LOOK_MS (3600 * 1000)

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

static bool renewal_is_due(const char *cert_pem, int64_t now_ms)
{
	struct tls_cert_info info;

	return tls_cert_info(cert_pem, &info, NULL) == 0 && now_ms >= tls_renewal_due_ms(&info, now_ms);
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

	if (rc || !renewal_is_due(crt, clock_wall_ms(ctx->clock)))
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

/* By the order in which they were issued, as the log has it and no clock; of two of one commit, the one behind. */
bool ca_is_superseded(const struct store *s, const Gs__NodeCert *of)
{
	const Gs__NodeCert *cert;
	bool behind = false;

	for (size_t i = 0; (cert = store_at(s, OBJ_NODE_CERT, i)); i++) {
		if (cert == of)
			behind = true;
		else if (!cert->revoked && cert->for_manager == of->for_manager &&
			 (!cert->unproved || of->unproved) && strcmp(cert->node_id, of->node_id) == 0 &&
			 (cert->meta->spec_version > of->meta->spec_version ||
			  (behind && cert->meta->spec_version == of->meta->spec_version)))
			return true;
	}
	return false;
}

/* That its time is over is said by a clock, which may be ahead: without any row the node would be unknown for good
 * when the clock is right again. And a node that comes back renews by its last one (ca_role). */
static bool is_last_of_a_node(const struct store *s, const Gs__NodeCert *cert)
{
	return !cert->revoked && store_node(s, cert->node_id) && !ca_is_superseded(s, cert);
}

static void sweep(struct context *ctx)
{
	int64_t now_ms = clock_wall_ms(ctx->clock);
	struct tx *tx = tx_new(ctx->store);
	const Gs__NodeCert *cert;

	tx_allow_split(tx);
	for (size_t i = 0; (cert = store_at(ctx->store, OBJ_NODE_CERT, i)); i++)
		if (cert->not_after_ms < now_ms && !is_last_of_a_node(ctx->store, cert))
			tx_remove(tx, cert);
	if (tx_len(tx) > 0)
		store_commit(ctx->store, tx, on_swept, NULL);
	else
		tx_free(tx);
}

void ca_on_renew_look(void *arg)
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
