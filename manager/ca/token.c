// SPDX-License-Identifier: Apache-2.0
/* Join tokens: the store holds each role's secret, a token also pins our root by its digest. What a user pastes
 * may be wrong, of another cluster, rotated or expired; each is told with what to do. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "manager/ca/internal.h"

char *ca_pem_text(const ProtobufCBinaryData *pem)
{
	char *text = xcalloc(1, pem->len + 1);

	if (pem->len)
		memcpy(text, pem->data, pem->len);
	return text;
}

void ca_token_secret(char ret_secret[26])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	base36_encode(bytes, sizeof(bytes), 25, ret_secret);
}

static bool token_matches(const Gs__JoinToken *token, const char *secret)
{
	return token && *token->secret && const_time_equal(token->secret, secret);
}

static int token_alive(const Gs__JoinToken *token, const char *role, int64_t now_ms, struct err *e)
{
	if (token->ttl_ms == 0 || now_ms < token->issued_ms + token->ttl_ms)
		return 0;
	return err_set(
		e, E_TOKEN,
		"the join token has expired; run 'gswarm join-token --rotate %s' on a manager for a new one",
		role);
}

void ca_root_fini(struct ca_root *root)
{
	free(root->pem);
	*root = (struct ca_root){0};
}

/* Parsing a certificate costs as much as a hundred looks at a token, and strangers choose how many of these there
 * are. */
static int root_digest(struct ca_root *root, const ProtobufCBinaryData *pem, struct err *e)
{
	cleanup_free char *text = NULL;
	int rc;

	if (root->pem && strlen(root->pem) == pem->len && memcmp(root->pem, pem->data, pem->len) == 0)
		return 0;
	text = ca_pem_text(pem);
	rc = tls_cert_digest(text, root->digest, e);
	free(root->pem);
	root->pem = rc == 0 ? steal(text) : NULL;
	return rc;
}

int ca_token_check(struct ca_root *root, const Gs__Cluster *cluster, const char *text, int64_t now_ms,
		   Gs__Role *ret_role, struct err *e)
{
	struct join_token token;
	bool is_worker, is_manager;
	int rc = join_token_parse(text, &token, e);

	if (rc)
		return rc;
	rc = root_digest(root, &cluster->ca_cert_pem, e);
	if (rc)
		return rc;
	if (!const_time_equal(root->digest, token.digest))
		return err_set(e, E_TOKEN, "the join token belongs to another cluster");
	is_worker = token_matches(cluster->worker_token, token.secret);
	is_manager = token_matches(cluster->manager_token, token.secret);
	if (!is_worker && !is_manager)
		return err_set(e, E_TOKEN,
			       "the join token is wrong or was rotated; run 'gswarm join-token worker' on a "
			       "manager");
	rc = is_worker ? token_alive(cluster->worker_token, "worker", now_ms, e)
		       : token_alive(cluster->manager_token, "manager", now_ms, e);
	if (rc == 0)
		*ret_role = is_worker ? ROLE_WORKER : ROLE_MANAGER;
	return rc;
}

int ca_token_text(const Gs__Cluster *cluster, Gs__Role role, char ret_text[96], struct err *e)
{
	const Gs__JoinToken *t = role == ROLE_MANAGER ? cluster->manager_token : cluster->worker_token;
	cleanup_free char *ca = ca_pem_text(&cluster->ca_cert_pem);
	struct join_token token;
	int rc = tls_cert_digest(ca, token.digest, e);

	if (rc)
		return rc;
	snprintf(token.secret, sizeof(token.secret), "%s", t ? t->secret : "");
	join_token_format(&token, ret_text);
	return 0;
}
