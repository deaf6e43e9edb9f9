// SPDX-License-Identifier: Apache-2.0
/* Certificates and who may call (docs/manager.md, "Certificates"). */
#pragma once
#include "manager/daemon/manager.h"
#include "proto/schema/ca.pb-c.h"

void ca_register(struct manager *m);
/* For the RPC server: the role the store holds for the peer's certificate. */
unsigned ca_authorise(const struct rpc_peer *peer, void *arg, struct err *e);
/* Replace the manager's own certificate once half of its life is over, and remove the rows of expired ones;
 * looks again every hour. */
void ca_renew_own(struct manager *m);

/* ---- pure parts, on a store ---- */
/* PEM bytes as text; free it. */
char *ca_pem_text(const ProtobufCBinaryData *pem);
/* Random secret of a join token. */
void ca_token_secret(char ret_secret[26]);
/* Which role the token gives. E_TOKEN: wrong, of another cluster, expired; the text says what to do. */
int ca_token_check(const Gs__Cluster *cluster, const char *token, int64_t now_ms, Gs__Role *ret_role,
		   struct err *e);
/* The text of a token. */
int ca_token_text(const Gs__Cluster *cluster, Gs__Role role, char ret_text[96], struct err *e);
/* A certificate for node_id and its NodeCert row in tx. is_manager: for the manager process, not its worker. */
int ca_issue(struct tx *tx, const Gs__Cluster *cluster, const char *node_id, bool is_manager,
	     const ProtobufCBinaryData *csr_pem, int64_t now_ms, char **ret_cert_pem, struct err *e);
unsigned ca_role(const struct store *s, const struct rpc_peer *peer, struct err *e);
/* Every CSR, key or description a stranger sends is bounded by these. */
int ca_check_description(const Gs__NodeDescription *d, struct err *e);
/* The family of the data path is the swarm's: no host could reach the tasks of one that has the other. */
int ca_check_family(const struct store *s, const char *node_id, const Gs__NodeDescription *d, struct err *e);
