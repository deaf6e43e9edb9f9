// SPDX-License-Identifier: Apache-2.0
/* Certificates and who may call (docs/manager.md, "Certificates"). */
#pragma once
#include "manager/context/context.h"
#include "proto/schema/ca.pb-c.h"

struct ca;
struct ca_hooks {
	/* manager.crt in the state folder is new: use it from now on. */
	int (*own_renewed)(void *arg, struct err *e);
	void *arg;
};

/* ctx is borrowed and outlives it; the hooks are copied. */
struct ca *ca_new(struct context *ctx, const struct ca_hooks *hooks);
void ca_register(struct ca *ca); /* serve RPC_CA on ctx->server */
void ca_close(struct ca *ca);    /* its timer; to be freed once the loop has run */
void ca_free(struct ca *ca);     /* NULL is fine */
/* For the RPC server, with the ca as arg: the role that the store holds for the certificate, 0 and *e: none. */
unsigned ca_authorise(const struct rpc_peer *peer, void *ca, struct err *e);
/* Replace the manager's own certificate once half of its life is over, and remove the rows of expired ones;
 * looks again every hour. */
void ca_renew_own(struct ca *ca);

/* ---- pure parts, on a store ---- */
/* PEM bytes as text; free it. */
char *ca_pem_text(const ProtobufCBinaryData *pem);
/* Random secret of a join token. */
void ca_token_secret(char ret_secret[26]);
/* The root whose digest was computed last. Zeroed is none. */
struct ca_root {
	char *pem, digest[51];
};
void ca_root_fini(struct ca_root *root);
/* Which role the token gives. E_TOKEN: wrong, of another cluster, expired; the text says what to do. */
int ca_token_check(struct ca_root *root, const Gs__Cluster *cluster, const char *token, int64_t now_ms,
		   Gs__Role *ret_role, struct err *e);
/* The text of a token. */
int ca_token_text(const Gs__Cluster *cluster, Gs__Role role, char ret_text[96], struct err *e);
/* A certificate for node_id and its NodeCert row in tx. is_manager: for the manager process, not its worker. */
int ca_issue(struct tx *tx, const Gs__Cluster *cluster, const char *node_id, bool is_manager,
	     const ProtobufCBinaryData *csr_pem, int64_t now_ms, char **ret_cert_pem, struct err *e);
/* The row of a certificate that has been made; the tx's, to be changed until that is committed. */
Gs__NodeCert *ca_add_cert(struct tx *tx, const char *serial, const char *node_id, int64_t not_after_ms);
/* E_EXHAUSTED: the node has as many valid certificates as it may have. */
int ca_check_certs(const struct context *ctx, const char *node_id, struct err *e);
/* Before a certificate is added by one of that serial: when the node has as many as it may, its oldest other one
 * goes. It is one whose answer was lost; whoever refused here would never let the node renew again. */
void ca_replace_cert(const struct context *ctx, struct tx *tx, const char *node_id, const char *serial);
/* What the store says of the certificate that the peer has proved: ROLE_BIT_NONE and one more; 0 with
 * E_UNAUTHENTICATED when it is another cluster's, unknown, revoked, or its node was removed. Of one that has expired:
 * ROLE_BIT_EXPIRED, when it is the node's last and that is less than a year ago. */
unsigned ca_role(const struct store *s, const struct rpc_peer *peer, int64_t now_ms, struct err *e);
