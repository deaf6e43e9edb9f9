// SPDX-License-Identifier: Apache-2.0
/* Keys, requests, certificates, tokens: what comes out carries what we said, and bad input is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/mem.h"
#include "proto/tls/tls.h"

#define NOW_MS 1795000000000

struct pki {
	char *ca, *ca_key, *key, *csr, *cert;
	char serial[33];
	int64_t not_after_ms;
};

static int issue(struct pki *p, const char *csr, char **ret_cert, struct err *e)
{
	struct tls_issue in = {.ca_cert_pem = p->ca,
			       .ca_key_pem = p->ca_key,
			       .csr_pem = csr,
			       .node_id = "node1",
			       .cluster_id = "swarm1",
			       .now_ms = NOW_MS,
			       .expiry_s = 86400};

	return tls_issue(&in, ret_cert, p->serial, &p->not_after_ms, e);
}

static int setup(void **state)
{
	struct pki *p = xcalloc(1, sizeof(*p));
	struct err e = {0};

	assert_int_equal(tls_root_new("swarm1", &p->ca, &p->ca_key, &e), 0);
	assert_int_equal(tls_key_new(&p->key, &e), 0);
	assert_int_equal(tls_csr_new(p->key, "whatever", &p->csr, &e), 0);
	assert_int_equal(issue(p, p->csr, &p->cert, &e), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pki *p = *state;

	free(p->ca);
	free(p->ca_key);
	free(p->key);
	free(p->csr);
	free(p->cert);
	free(p);
	return 0;
}

static void test_certificate_says_what_the_manager_said(void **state)
{
	struct pki *p = *state;
	struct tls_cert_info info;
	struct err e = {0};

	assert_int_equal(tls_cert_info(p->cert, &info, &e), 0);
	assert_string_equal(info.node_id, "node1"); /* not the CSR's own idea */
	assert_string_equal(info.cluster_id, "swarm1");
	assert_string_equal(info.serial, p->serial);
	assert_int_equal(strlen(info.serial), 32);
	assert_int_equal(info.not_before_ms, NOW_MS - 3600 * 1000);
	assert_int_equal(info.not_after_ms, NOW_MS + 86400 * 1000);
	assert_int_equal(info.not_after_ms, p->not_after_ms);
}

static void test_csr_without_a_name(void **state)
{
	struct pki *p = *state;
	cleanup_free char *csr = NULL, *cert = NULL;
	struct err e = {0};

	assert_int_equal(tls_csr_new(p->key, "", &csr, &e), 0);
	assert_int_equal(issue(p, csr, &cert, &e), 0);
}

static void test_forged_csr_is_refused(void **state)
{
	struct pki *p = *state;
	cleanup_free char *csr = xstrdup(p->csr), *cert = NULL;
	char *last = strstr(csr, "-----END");
	struct err e = {0};

	last[-8] = last[-8] == 'A' ? 'B' : 'A'; /* inside the signature */
	assert_true(issue(p, csr, &cert, &e) < 0);
	assert_null(cert);
}

static void test_other_keys_are_refused(void **state)
{
	struct pki *p = *state;
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	BIO *bio = BIO_new(BIO_s_mem());
	cleanup_free char *csr = NULL, *cert = NULL, *key = NULL;
	struct err e = {0};
	char *data;
	long n;

	PEM_write_bio_PrivateKey(bio, rsa, NULL, NULL, 0, NULL, NULL);
	n = BIO_get_mem_data(bio, &data);
	key = strndup(data, (size_t)n);
	assert_int_equal(tls_csr_new(key, "x", &csr, &e), 0);
	assert_int_equal(issue(p, csr, &cert, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "P-256"));
	BIO_free(bio);
	EVP_PKEY_free(rsa);
}

static void test_garbage_is_refused(void **state)
{
	struct pki *p = *state;
	cleanup_free char *large = xmalloc(100001);
	struct tls_cert_info info;
	struct tls_identity *id = NULL;
	char digest[51], *cert = NULL;
	struct err e = {0};

	memset(large, 'A', 100000);
	large[100000] = 0;
	assert_true(tls_cert_info("", &info, &e) < 0);
	assert_true(tls_cert_info("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &info,
				  &e) < 0);
	assert_true(tls_cert_info(large, &info, &e) < 0);
	assert_true(tls_cert_digest(p->key, digest, &e) < 0);
	assert_true(issue(p, "nonsense", &cert, &e) < 0);
	assert_true(issue(p, large, &cert, &e) < 0);
	assert_true(tls_identity_new("nonsense", NULL, NULL, &id, &e) < 0);
	assert_true(tls_identity_new(NULL, p->cert, p->key, &id, &e) < 0);
	assert_null(id);
}

static void test_key_of_another_certificate(void **state)
{
	struct pki *p = *state;
	cleanup_free char *other = NULL;
	struct tls_identity *id = NULL;
	struct err e = {0};

	assert_int_equal(tls_key_new(&other, &e), 0);
	assert_true(tls_identity_new(p->ca, p->cert, other, &id, &e) < 0);
	assert_int_equal(tls_identity_new(p->ca, p->cert, p->key, &id, &e), 0);
	tls_identity_unref(tls_identity_ref(id));
	tls_identity_unref(id);
}

static void test_digest_is_of_the_certificate(void **state)
{
	struct pki *p = *state;
	char a[51], b[51], c[51];
	struct err e = {0};

	assert_int_equal(tls_cert_digest(p->ca, a, &e), 0);
	assert_int_equal(tls_cert_digest(p->ca, b, &e), 0);
	assert_int_equal(tls_cert_digest(p->cert, c, &e), 0);
	assert_int_equal(strlen(a), 50);
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
}

static void test_token_round_trip(void **state)
{
	struct pki *p = *state;
	struct join_token t = {0}, back;
	char text[96];
	struct err e = {0};

	tls_cert_digest(p->ca, t.digest, &e);
	id_new(t.secret);
	join_token_format(&t, text);
	assert_int_equal(strlen(text), 86);
	assert_int_equal(join_token_parse(text, &back, &e), 0);
	assert_string_equal(back.digest, t.digest);
	assert_string_equal(back.secret, t.secret);
}

static void test_bad_tokens(void **state)
{
	struct join_token t = {0}, back = {0};
	char text[96];
	struct err e = {0};

	memset(t.digest, 'a', 50);
	memset(t.secret, 'b', 25);
	join_token_format(&t, text);
	for (size_t i = 0; i < strlen(text); i++) { /* each prefix, and each character replaced */
		cleanup_free char *cut = strndup(text, i), *changed = xstrdup(text);

		assert_int_equal(join_token_parse(cut, &back, &e), E_TOKEN);
		changed[i] = '!';
		assert_int_equal(join_token_parse(changed, &back, &e), E_TOKEN);
	}
	text[8] = '2';
	assert_int_equal(join_token_parse(text, &back, &e), E_TOKEN);
	assert_int_equal(join_token_parse("SWMTKN-1-abc-def", &back, &e), E_TOKEN);
	assert_int_equal(back.digest[0], 0); /* untouched on failure */
}

static void test_const_time_equal(void **state)
{
	assert_true(const_time_equal("abc", "abc"));
	assert_true(const_time_equal("", ""));
	assert_false(const_time_equal("abc", "abd"));
	assert_false(const_time_equal("abc", "ab"));
	assert_false(const_time_equal("abcabc", "abc"));
	assert_false(const_time_equal("", "abc"));
	assert_false(const_time_equal("abc", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate_says_what_the_manager_said),
		cmocka_unit_test(test_csr_without_a_name),
		cmocka_unit_test(test_forged_csr_is_refused),
		cmocka_unit_test(test_other_keys_are_refused),
		cmocka_unit_test(test_garbage_is_refused),
		cmocka_unit_test(test_key_of_another_certificate),
		cmocka_unit_test(test_digest_is_of_the_certificate),
		cmocka_unit_test(test_token_round_trip),
		cmocka_unit_test(test_bad_tokens),
		cmocka_unit_test(test_const_time_equal),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
