// SPDX-License-Identifier: Apache-2.0
/* What the TLS files of this folder share with conn.c; nobody outside includes it. */
#pragma once
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "proto/tls/tls.h"

/* "<what>: <OpenSSL's reason>"; empties OpenSSL's error queue. */
int tls_fail(struct err *e, int code, const char *what);
/* Bounded: refuses texts over 64 KiB. The caller frees with BIO_free. NULL and *e on failure. */
BIO *tls_pem_bio(const char *pem, const char *what, struct err *e);
/* The first certificate of the text, the caller's to free; NULL and *e (E_INVALID) when there is none. */
X509 *tls_cert_parse(const char *pem, struct err *e);
/* The same for a private key without a passphrase. */
EVP_PKEY *tls_key_parse(const char *pem, struct err *e);
/* What tls_cert_digest says of it. */
void tls_digest_of(X509 *cert, char ret_digest[51]);
/* Fields that the certificate lacks, or that are too long for us, come out empty. */
void tls_info_of(X509 *cert, struct tls_cert_info *ret);

/* A TLS 1.3 session on two memory BIOs. NULL if the identity cannot play that side. */
SSL *tls_session_new(struct tls_identity *id, bool is_server);
/* The other side's own certificate may be one whose time is over, and nothing else may be wrong with it: the verify
 * result is X509_V_ERR_CERT_HAS_EXPIRED then. */
void tls_session_take_expired(SSL *ssl);
/* Can it play the server? */
bool tls_identity_has_cert(const struct tls_identity *id);

static inline void tls_bio_p(BIO **b)
{
	BIO_free_all(*b);
}
static inline void tls_x509_p(X509 **x)
{
	X509_free(*x);
}
static inline void tls_pkey_p(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}
static inline void tls_req_p(X509_REQ **r)
{
	X509_REQ_free(*r);
}
