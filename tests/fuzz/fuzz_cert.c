// SPDX-License-Identifier: Apache-2.0
/* PEM from strangers: certificates, and certificate requests under a CA made for the input. */
#include <string.h>

#include "base/mem.h"
#include "proto/tls/tls.h"
#include "tests/fuzz/fuzz.h"

static void try_issue(const char *text)
{
	static char *ca, *ca_key; /* a CA per input would be all that is measured */
	cleanup_free char *cert = NULL;
	struct tls_cert_info info;
	struct err e;
	char serial[33];
	int64_t not_after_ms;
	struct tls_issue in = {.csr_pem = text,
			       .node_id = "node",
			       .cluster_id = "swarm",
			       .now_ms = 1795000000000,
			       .expiry_s = 3600};

	if (!ca && tls_root_new("swarm", &ca, &ca_key, &e) < 0)
		return;
	in.ca_cert_pem = ca;
	in.ca_key_pem = ca_key;
	if (tls_issue(&in, &cert, serial, &not_after_ms, &e) < 0)
		return;
	assert(tls_cert_info(cert, &info, &e) == 0);
	assert(strcmp(info.node_id, "node") == 0 && strcmp(info.serial, serial) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);
	struct tls_cert_info info;
	struct tls_identity *id;
	struct err e;
	char digest[51];

	if (tls_cert_info(text, &info, &e) == 0) {
		assert(strlen(info.node_id) < sizeof(info.node_id) &&
		       strlen(info.serial) < sizeof(info.serial));
		assert(tls_cert_digest(text, digest, &e) == 0 && strlen(digest) == 50);
	}
	if (tls_identity_new(text, NULL, NULL, &id, &e) == 0)
		tls_identity_unref(id);
	try_issue(text);
	return 0;
}
