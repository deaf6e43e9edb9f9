// SPDX-License-Identifier: Apache-2.0
/* What may be said behind TLS: a real handshake first, then the input as plain text in records of its own
 * choice. Input: u8 whether the caller has a certificate (odd) or none, then again and again u8 length of a
 * record and its bytes. The limits of a stranger are other than a node's, and so are the methods. */
#include "proto/tls/tls_impl.h"
#include "tests/fuzz/conn_rig.h"

#include <time.h>

static struct tls_identity *server, *node, *nobody;

static struct tls_identity *identity_new(const char *ca, const char *ca_key, bool has_cert)
{
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	struct tls_issue in = {.ca_cert_pem = ca,
			       .ca_key_pem = ca_key,
			       .node_id = "node00000000000000000000",
			       .cluster_id = "swarm",
			       .now_ms = (int64_t)time(NULL) * 1000,
			       .expiry_s = 365 * 86400};
	struct tls_identity *id;
	int64_t not_after;
	char serial[33];
	struct err e = {0};

	if (has_cert) {
		assert(tls_key_new(&key, &e) == 0 && tls_csr_new(key, "", &csr, &e) == 0);
		in.csr_pem = csr;
		assert(tls_issue(&in, &cert, serial, &not_after, &e) == 0);
	}
	assert(tls_identity_new(ca, cert, key, &id, &e) == 0);
	return id;
}

/* Once for all inputs, and never freed. */
static void identities_make(void)
{
	cleanup_free char *ca = NULL, *ca_key = NULL;
	struct err e = {0};

	assert(tls_root_new("swarm", &ca, &ca_key, &e) == 0);
	server = identity_new(ca, ca_key, true);
	node = identity_new(ca, ca_key, true);
	nobody = identity_new(ca, ca_key, false);
}

/* What our session has to say goes to the connection. */
static void flush(struct rig *r, SSL *ssl)
{
	char buf[4096];
	int n;

	while ((n = BIO_read(SSL_get_wbio(ssl), buf, sizeof(buf))) > 0)
		rig_put(r, buf, (size_t)n);
}

static void shake_hands(struct rig *r, SSL *ssl)
{
	char buf[4096];
	ssize_t n;

	while (SSL_do_handshake(ssl) != 1 && !r->is_closed) {
		flush(r, ssl);
		uv_run(&r->loop, UV_RUN_NOWAIT);
		while ((n = recv(r->far, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
			BIO_write(SSL_get_rbio(ssl), buf, (int)n);
	}
	flush(r, ssl);
	rig_turn(r, 2);
}

static void say(struct rig *r, SSL *ssl, const uint8_t *data, size_t size)
{
	while (size > 0 && !r->is_closed) {
		size_t n = data[0] < size ? data[0] : size - 1;

		if (n && SSL_write(ssl, data + 1, (int)n) != (int)n)
			return;
		flush(r, ssl);
		rig_turn(r, 1);
		data += 1 + n;
		size -= 1 + n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig r;
	SSL *ssl;

	if (!server)
		identities_make();
	if (size < 1 || size > 65536 || !rig_open(&r, false, true, server))
		return 0;
	ssl = tls_session_new(data[0] & 1 ? node : nobody, false);
	assert(ssl);
	shake_hands(&r, ssl);
	assert(!r.is_closed && SSL_is_init_finished(ssl));
	say(&r, ssl, data + 1, size - 1);
	rig_turn(&r, 2);
	SSL_free(ssl);
	rig_close(&r);
	return 0;
}
