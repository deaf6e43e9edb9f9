// SPDX-License-Identifier: Apache-2.0
/* One SSL_CTX per identity, used for both sides.
 *
 * The happy path is: root, certificate and key are loaded once and every connection takes a session from
 * the same context. What can fail is loading (a key that belongs to another certificate) and, later and on
 * the connection, verification. A joining node has no root: it trusts the chain whose root has the digest
 * that its token names. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/tls/tls_impl.h"

struct tls_identity {
	unsigned refs;
	SSL_CTX *ctx;
	bool has_cert;
	char pinned[51]; /* "" when a root is known */
};

static const unsigned char alpn_rpc[] = {12, 'g', 's', 'w', 'a', 'r', 'm', '-', 'r', 'p', 'c', '/', '1'};
_Static_assert(sizeof(alpn_rpc) == sizeof(TLS_ALPN_RPC), "length byte + name");

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
		   unsigned inlen, void *arg)
{
	unsigned char *name;

	if (SSL_select_next_proto(&name, outlen, alpn_rpc, sizeof(alpn_rpc), in, inlen) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = name;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *ctx_new(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN |
				      SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, 0); /* connections are few and long: resumption would only cost memory */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_protos(ctx, alpn_rpc, sizeof(alpn_rpc));
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	/* A server asks for a certificate and checks one that is given; none is fine (a joining node). */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return ctx;
}

/* Every root is trusted, and sent behind our certificate so that a joining node can find it. */
static int load_roots(SSL_CTX *ctx, const char *ca_pem, struct err *e)
{
	cleanup(tls_bio_p) BIO *bio = tls_pem_bio(ca_pem, "root certificate", e);
	X509 *cert;
	int n = 0;

	if (!bio)
		return E_LIMIT;
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, ""))) {
		if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) ||
		    !SSL_CTX_add_extra_chain_cert(ctx, cert)) {
			X509_free(cert);
			return tls_fail(e, E_INVALID, "root certificate");
		}
		n++;
	}
	if (n == 0)
		return tls_fail(e, E_INVALID, "root certificate");
	ERR_clear_error(); /* the end of the text is an error to PEM_read */
	return 0;
}

static int load_pair(SSL_CTX *ctx, const char *cert_pem, const char *key_pem, struct err *e)
{
	cleanup(tls_x509_p) X509 *cert = tls_cert_parse(cert_pem, e);
	cleanup(tls_pkey_p) EVP_PKEY *key = cert ? tls_key_parse(key_pem, e) : NULL;

	if (!key)
		return E_INVALID;
	if (!SSL_CTX_use_certificate(ctx, cert) || !SSL_CTX_use_PrivateKey(ctx, key) ||
	    !SSL_CTX_check_private_key(ctx))
		return tls_fail(e, E_INVALID, "certificate and key");
	return 0;
}

int tls_identity_new(const char *ca_pem, const char *cert_pem, const char *key_pem, struct tls_identity **ret,
		     struct err *e)
{
	SSL_CTX *ctx = ctx_new();
	struct tls_identity *id;
	int rc;

	if (!ctx)
		return tls_fail(e, E_EXHAUSTED, "TLS context");
	rc = ca_pem ? load_roots(ctx, ca_pem, e)
		    : err_set(e, E_INVALID, "an identity needs its root certificate");
	if (rc == 0 && cert_pem && key_pem)
		rc = load_pair(ctx, cert_pem, key_pem, e);
	if (rc < 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	id = xcalloc(1, sizeof(*id));
	*id = (struct tls_identity){.refs = 1, .ctx = ctx, .has_cert = cert_pem && key_pem};
	*ret = id;
	return 0;
}

/* Verify with that certificate of the presented chain as the only root whose digest is pinned. */
static int on_verify_pinned(X509_STORE_CTX *store, void *arg)
{
	struct tls_identity *id = arg;
	STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store), *roots = sk_X509_new_null();
	char digest[51];
	int ok = 0;

	for (int i = 0; roots && i < sk_X509_num(sent); i++) {
		tls_digest_of(sk_X509_value(sent, i), digest);
		if (const_time_equal(digest, id->pinned))
			sk_X509_push(roots, sk_X509_value(sent, i));
	}
	if (roots && sk_X509_num(roots) > 0) {
		X509_STORE_CTX_set0_trusted_stack(store, roots);
		ok = X509_verify_cert(store) == 1;
	} else {
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
	}
	X509_STORE_CTX_set0_trusted_stack(store, NULL);
	sk_X509_free(roots);
	return ok;
}

int tls_identity_new_pinned(const char digest[51], struct tls_identity **ret, struct err *e)
{
	SSL_CTX *ctx = ctx_new();
	struct tls_identity *id;

	if (!ctx)
		return tls_fail(e, E_EXHAUSTED, "TLS context");
	id = xcalloc(1, sizeof(*id));
	*id = (struct tls_identity){.refs = 1, .ctx = ctx};
	bug_if(strlen(digest) != sizeof(id->pinned) - 1);
	memcpy(id->pinned, digest, sizeof(id->pinned));
	SSL_CTX_set_cert_verify_callback(ctx, on_verify_pinned, id);
	*ret = id;
	return 0;
}

struct tls_identity *tls_identity_ref(struct tls_identity *id)
{
	bug_if(!id->refs);
	id->refs++;
	return id;
}

void tls_identity_unref(struct tls_identity *id)
{
	bug_if(id && !id->refs);
	if (!id || --id->refs > 0)
		return;
	SSL_CTX_free(id->ctx);
	free(id);
}

bool tls_identity_has_cert(const struct tls_identity *id)
{
	return id->has_cert;
}

SSL *tls_session_new(struct tls_identity *id, bool is_server)
{
	SSL *ssl = is_server && !id->has_cert ? NULL : SSL_new(id->ctx);

	if (!ssl)
		return NULL;
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (is_server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

/* Of the leaf alone: under a root whose time is over anybody's clock would do. OpenSSL keeps the error that is let
 * pass as the verdict, and asks again for each other one. */
static int on_verify_expired(int ok, X509_STORE_CTX *store)
{
	return ok || (X509_STORE_CTX_get_error(store) == X509_V_ERR_CERT_HAS_EXPIRED &&
		      X509_STORE_CTX_get_error_depth(store) == 0);
}

void tls_session_take_expired(SSL *ssl)
{
	SSL_set_verify(ssl, SSL_VERIFY_PEER, on_verify_expired);
}
