// SPDX-License-Identifier: Apache-2.0
/* Keys, requests, certificates.
 *
 * The happy path is: a node makes a P-256 key and a CSR, a manager checks the CSR's signature and answers
 * with a certificate that carries its own idea of who the node is. What can fail is what others sent: PEM
 * that is no PEM, a key of another kind, a signature that does not hold. OpenSSL running out of memory is
 * reported like bad input. */
#include "proto/tls/tls.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/tls/tls_impl.h"

#define PEM_MAX (64u << 10)
#define BACKDATE_S 3600 /* clocks of two hosts may differ by that much */
#define ROOT_DAYS (20 * 365)
#define OU_MANAGER "gswarm-manager"
#define OU_NODE "gswarm-node"

int tls_fail(struct err *e, int code, const char *what)
{
	unsigned long last = ERR_peek_last_error();
	const char *reason = last ? ERR_reason_error_string(last) : NULL;

	ERR_clear_error();
	return err_set(e, code, "%s: %s", what, reason ? reason : "failed");
}

BIO *tls_pem_bio(const char *pem, const char *what, struct err *e)
{
	size_t n = strnlen(pem, PEM_MAX + 1);

	if (n > PEM_MAX) {
		err_set(e, E_LIMIT, "%s: PEM text over %u bytes", what, PEM_MAX);
		return NULL;
	}
	return BIO_new_mem_buf(pem, (int)n);
}

X509 *tls_cert_parse(const char *pem, struct err *e)
{
	cleanup(tls_bio_p) BIO *bio = tls_pem_bio(pem, "certificate", e);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, "") : NULL;

	if (bio && !cert)
		tls_fail(e, E_INVALID, "certificate");
	return cert;
}

EVP_PKEY *tls_key_parse(const char *pem, struct err *e)
{
	cleanup(tls_bio_p) BIO *bio = tls_pem_bio(pem, "private key", e);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, "") : NULL;

	if (bio && !key)
		tls_fail(e, E_INVALID, "private key");
	return key;
}

static char *bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);
	char *text = xmalloc((size_t)n + 1);

	bug_if(n < 0);
	memcpy(text, data, (size_t)n);
	text[n] = 0;
	return text;
}

static char *key_text(EVP_PKEY *key)
{
	cleanup(tls_bio_p) BIO *bio = BIO_new(BIO_s_mem());

	return bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? bio_text(bio) : NULL;
}

static char *cert_text(X509 *cert)
{
	cleanup(tls_bio_p) BIO *bio = BIO_new(BIO_s_mem());

	return bio && PEM_write_bio_X509(bio, cert) ? bio_text(bio) : NULL;
}

int tls_key_new(char **ret_key_pem, struct err *e)
{
	cleanup(tls_pkey_p) EVP_PKEY *key = EVP_EC_gen("P-256");
	char *text = key ? key_text(key) : NULL;

	if (!text)
		return tls_fail(e, E_EXHAUSTED, "new private key");
	*ret_key_pem = text;
	return 0;
}

static bool name_add(X509_NAME *name, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1,
					  0);
}

int tls_csr_new(const char *key_pem, const char *cn, char **ret_csr_pem, struct err *e)
{
	cleanup(tls_pkey_p) EVP_PKEY *key = tls_key_parse(key_pem, e);
	cleanup(tls_req_p) X509_REQ *req = X509_REQ_new();
	cleanup(tls_bio_p) BIO *bio = BIO_new(BIO_s_mem());

	if (!key)
		return E_INVALID;
	if (!req || !bio || !X509_REQ_set_version(req, X509_REQ_VERSION_1) ||
	    (*cn && !name_add(X509_REQ_get_subject_name(req), "CN", cn)) || !X509_REQ_set_pubkey(req, key) ||
	    !X509_REQ_sign(req, key, EVP_sha256()) || !PEM_write_bio_X509_REQ(bio, req))
		return tls_fail(e, E_INVALID, "new certificate request");
	*ret_csr_pem = bio_text(bio);
	return 0;
}

static bool ext_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* 127 random bits: positive, and never two alike. */
static bool serial_set(X509 *cert, char ret_hex[33])
{
	uint8_t raw[16];
	BIGNUM *n;
	bool ok;

	random_bytes(raw, sizeof(raw));
	raw[0] = (raw[0] & 0x7f) | 0x40; /* no leading zero: 32 digits always */
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", raw[i]);
	n = BN_bin2bn(raw, sizeof(raw), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

static bool times_set(X509 *cert, int64_t now_s, int64_t expiry_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(cert), now_s - BACKDATE_S) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), now_s + expiry_s);
}

static bool root_fill(X509 *cert, EVP_PKEY *key, const char *cluster_id)
{
	char serial[33];
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) && serial_set(cert, serial) &&
	       times_set(cert, time(NULL), (int64_t)ROOT_DAYS * 86400) && name_add(name, "O", cluster_id) &&
	       name_add(name, "CN", "gswarm-ca") && X509_set_issuer_name(cert, name) &&
	       X509_set_pubkey(cert, key) &&
	       ext_add(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       ext_add(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       ext_add(cert, cert, NID_subject_key_identifier, "hash") && X509_sign(cert, key, EVP_sha256());
}

int tls_root_new(const char *cluster_id, char **ret_cert_pem, char **ret_key_pem, struct err *e)
{
	cleanup(tls_pkey_p) EVP_PKEY *key = EVP_EC_gen("P-256");
	cleanup(tls_x509_p) X509 *cert = X509_new();
	cleanup_free char *cert_pem = NULL, *key_pem = NULL;

	if (!key || !cert || !root_fill(cert, key, cluster_id) || !(cert_pem = cert_text(cert)) ||
	    !(key_pem = key_text(key)))
		return tls_fail(e, E_INVALID, "new root certificate");
	*ret_cert_pem = steal(cert_pem);
	*ret_key_pem = steal(key_pem);
	return 0;
}

/* Only P-256: a key of 16,384 bits would make every handshake of ours slow. */
static int csr_key(const char *csr_pem, EVP_PKEY **ret, struct err *e)
{
	cleanup(tls_bio_p) BIO *bio = tls_pem_bio(csr_pem, "certificate request", e);
	cleanup(tls_req_p) X509_REQ *req = NULL;
	EVP_PKEY *key;
	char group[32] = "";

	if (!bio)
		return E_LIMIT;
	req = PEM_read_bio_X509_REQ(bio, NULL, NULL, "");
	key = req ? X509_REQ_get0_pubkey(req) : NULL;
	if (!key)
		return tls_fail(e, E_INVALID, "certificate request");
	if (!EVP_PKEY_is_a(key, "EC") || !EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) ||
	    strcmp(group, "prime256v1") != 0)
		return err_set(e, E_INVALID, "certificate request: the key must be P-256");
	if (X509_REQ_verify(req, key) != 1)
		return tls_fail(e, E_INVALID, "certificate request: signature");
	EVP_PKEY_up_ref(key);
	*ret = key;
	return 0;
}

static bool leaf_fill(X509 *cert, EVP_PKEY *key, X509 *ca, const struct tls_issue *in, char ret_serial[33])
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) && serial_set(cert, ret_serial) &&
	       times_set(cert, in->now_ms / 1000, in->expiry_s) && name_add(name, "O", in->cluster_id) &&
	       name_add(name, "OU", in->is_manager ? OU_MANAGER : OU_NODE) &&
	       name_add(name, "CN", in->node_id) && X509_set_issuer_name(cert, X509_get_subject_name(ca)) &&
	       X509_set_pubkey(cert, key) && ext_add(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	       ext_add(cert, ca, NID_key_usage, "critical,digitalSignature") &&
	       ext_add(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
	       ext_add(cert, ca, NID_authority_key_identifier, "keyid");
}

int tls_issue(const struct tls_issue *in, char **ret_cert_pem, char ret_serial[33], int64_t *ret_not_after_ms,
	      struct err *e)
{
	cleanup(tls_x509_p) X509 *ca = NULL;
	cleanup(tls_pkey_p) EVP_PKEY *ca_key = NULL;
	cleanup(tls_pkey_p) EVP_PKEY *key = NULL;
	cleanup(tls_x509_p) X509 *cert = X509_new();
	char serial[33];
	char *text;
	int rc;

	bug_if(in->expiry_s <= 0 || !in->node_id[0]);
	rc = csr_key(in->csr_pem, &key, e);
	if (rc < 0)
		return rc;
	ca = tls_cert_parse(in->ca_cert_pem, e);
	ca_key = ca ? tls_key_parse(in->ca_key_pem, e) : NULL;
	if (!ca_key)
		return E_INVALID;
	if (!cert || !leaf_fill(cert, key, ca, in, serial) || !X509_sign(cert, ca_key, EVP_sha256()) ||
	    !(text = cert_text(cert)))
		return tls_fail(e, E_INVALID, "issue a certificate");
	*ret_cert_pem = text;
	memcpy(ret_serial, serial, sizeof(serial));
	*ret_not_after_ms = (in->now_ms / 1000 + in->expiry_s) * 1000;
	return 0;
}

void tls_digest_of(X509 *cert, char ret_digest[51])
{
	uint8_t hash[EVP_MAX_MD_SIZE] = {0};
	unsigned n = 0;

	X509_digest(cert, EVP_sha256(), hash, &n);
	bug_if(n != 32);
	base36_encode(hash, 32, 50, ret_digest);
}

int tls_cert_digest(const char *cert_pem, char ret_digest[51], struct err *e)
{
	cleanup(tls_x509_p) X509 *cert = tls_cert_parse(cert_pem, e);

	if (!cert)
		return E_INVALID;
	tls_digest_of(cert, ret_digest);
	return 0;
}

/* Only plain printable text that fits: an id with a NUL or a newline inside is no id of ours. */
static void name_get(X509 *cert, int nid, char *ret, size_t size)
{
	X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	ASN1_STRING *s = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
	size_t n = s ? (size_t)ASN1_STRING_length(s) : 0;

	ret[0] = 0;
	if (n == 0 || n >= size)
		return;
	for (size_t i = 0; i < n; i++)
		if (ASN1_STRING_get0_data(s)[i] <= ' ' || ASN1_STRING_get0_data(s)[i] > '~')
			return;
	memcpy(ret, ASN1_STRING_get0_data(s), n);
	ret[n] = 0;
}

static int64_t time_ms(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) * 1000 : 0;
}

static void serial_get(X509 *cert, char ret_hex[33])
{
	const ASN1_INTEGER *s = X509_get0_serialNumber(cert);
	size_t n = (size_t)ASN1_STRING_length(s);

	ret_hex[0] = 0;
	for (size_t i = 0; n <= 16 && i < n; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", ASN1_STRING_get0_data(s)[i]);
}

void tls_info_of(X509 *cert, struct tls_cert_info *ret)
{
	char ou[32];

	name_get(cert, NID_organizationalUnitName, ou, sizeof(ou));
	ret->is_manager = strcmp(ou, OU_MANAGER) == 0;
	name_get(cert, NID_commonName, ret->node_id, sizeof(ret->node_id));
	name_get(cert, NID_organizationName, ret->cluster_id, sizeof(ret->cluster_id));
	serial_get(cert, ret->serial);
	ret->not_before_ms = time_ms(X509_get0_notBefore(cert));
	ret->not_after_ms = time_ms(X509_get0_notAfter(cert));
}

int64_t tls_renewal_due_ms(const struct tls_cert_info *info, int64_t now_ms)
{
	if (now_ms < info->not_before_ms)
		return now_ms;
	return info->not_before_ms + (info->not_after_ms - info->not_before_ms) / 2;
}

int tls_cert_info(const char *cert_pem, struct tls_cert_info *ret, struct err *e)
{
	cleanup(tls_x509_p) X509 *cert = tls_cert_parse(cert_pem, e);

	if (!cert)
		return E_INVALID;
	tls_info_of(cert, ret);
	return 0;
}
