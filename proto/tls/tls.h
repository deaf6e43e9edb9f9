// SPDX-License-Identifier: Apache-2.0
/* Keys, certificates and TLS 1.3 contexts (OpenSSL 3). No I/O here: conn.c pumps bytes through it.
 *
 * Node certificates: P-256, CN = node id, O = cluster id, OU = "gswarm-node" (the role is looked up in the
 * store on every call, so it is not in the certificate), notBefore one hour back. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/id.h"

/* All PEM texts are NUL-terminated and the caller frees them. */
int tls_key_new(char **ret_key_pem, struct err *e);
/* CSR with CN = cn (may be ""). */
int tls_csr_new(const char *key_pem, const char *cn, char **ret_csr_pem, struct err *e);
/* Self-signed root, 20 years, CN "gswarm-ca", O = cluster id. */
int tls_root_new(const char *cluster_id, char **ret_cert_pem, char **ret_key_pem, struct err *e);
struct tls_issue {
	const char *ca_cert_pem, *ca_key_pem, *csr_pem;
	const char *node_id, *cluster_id;
	int64_t now_ms, expiry_s;
	bool is_manager; /* for a manager's own key: workers obey only such a certificate */
};
/* Checks the CSR and its signature before the CA's key is parsed; its subject is ignored. ret_serial: hex, 33
 * bytes. */
int tls_issue(const struct tls_issue *in, char **ret_cert_pem, char ret_serial[33], int64_t *ret_not_after_ms,
	      struct err *e);
/* SHA-256 over the certificate's DER as 50 base-36 digits: what a join token pins. */
int tls_cert_digest(const char *cert_pem, char ret_digest[51], struct err *e);
struct tls_cert_info {
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1], serial[33];
	bool is_manager;
	int64_t not_before_ms, not_after_ms;
};
/* E_INVALID: no PEM certificate. Fields that it lacks come out empty. */
int tls_cert_info(const char *cert_pem, struct tls_cert_info *ret, struct err *e);
/* When it is to be renewed: at the half of its time, or now, when it has not begun. A clock that was ahead as it was
 * made is right again then, and half of that time is long after its end for others. */
int64_t tls_renewal_due_ms(const struct tls_cert_info *info, int64_t now_ms);

/* Join token: GSWMTKN-1-<50 digits of root digest>-<25 digits of secret>. */
struct join_token {
	char digest[51], secret[26];
};
/* t must be whole: both parts at their full length. */
void join_token_format(const struct join_token *t, char ret_text[96]);
/* E_TOKEN with what is wrong; *ret is untouched then. */
int join_token_parse(const char *text, struct join_token *ret, struct err *e);
/* In a time that tells nothing about where they differ; lengths are no secret. */
bool const_time_equal(const char *a, const char *b);

#define TLS_ALPN_RPC "gswarm-rpc/1"

/* One side's identity; shared by reference count by the connections made with it. */
struct tls_identity;
/* cert and key may both be NULL (a joining node). ca_pem may be NULL only for a client that pins `digest`. */
int tls_identity_new(const char *ca_pem, const char *cert_pem, const char *key_pem, struct tls_identity **ret,
		     struct err *e);
/* Client without a root yet: the server's chain must hold a root whose digest is this. */
int tls_identity_new_pinned(const char digest[51], struct tls_identity **ret, struct err *e);
/* Returns id. Loop's thread only, as tls_identity_unref. */
struct tls_identity *tls_identity_ref(struct tls_identity *id);
/* NULL is fine. */
void tls_identity_unref(struct tls_identity *id);
