// SPDX-License-Identifier: Apache-2.0
/* The happy path is: a user pastes GSWMTKN-1-<50 digits>-<25 digits> and both halves come out.
 * What can fail is the text: cut by the terminal, of another version, or no token at all. */
#include "proto/tls/tls.h"

#include <stdio.h>
#include <string.h>

#include "base/bug.h"

#define PREFIX "GSWMTKN-"
#define DIGEST_LEN (sizeof(((struct join_token *)0)->digest) - 1)
#define SECRET_LEN (sizeof(((struct join_token *)0)->secret) - 1)

void join_token_format(const struct join_token *t, char ret_text[96])
{
	bug_if(strlen(t->digest) != DIGEST_LEN || strlen(t->secret) != SECRET_LEN);
	snprintf(ret_text, 96, PREFIX "1-%s-%s", t->digest, t->secret);
}

/* n base-36 digits, and nothing else up to the end. */
static bool is_base36(const char *text, size_t n)
{
	return strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") >= n;
}

int join_token_parse(const char *text, struct join_token *ret, struct err *e)
{
	static const char hint[] = "copy the whole text that `gswarm join-token` prints";
	const char *digest = text + strlen(PREFIX "1-"), *secret;

	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return err_set(e, E_TOKEN, "this is no join token: %s", hint);
	if (strncmp(text, PREFIX "1-", strlen(PREFIX "1-")) != 0)
		return err_set(e, E_TOKEN,
			       "join token of another version than 1: is this gswarm older than the swarm?");
	if (strlen(text) != strlen(PREFIX "1-") + DIGEST_LEN + 1 + SECRET_LEN)
		return err_set(e, E_TOKEN, "the join token has %zu characters, not %zu: %s", strlen(text),
			       strlen(PREFIX "1-") + DIGEST_LEN + 1 + SECRET_LEN, hint);
	secret = digest + DIGEST_LEN + 1;
	if (!is_base36(digest, DIGEST_LEN) || secret[-1] != '-' || !is_base36(secret, SECRET_LEN))
		return err_set(e, E_TOKEN, "the join token holds a wrong character: %s", hint);
	memcpy(ret->digest, digest, DIGEST_LEN);
	memcpy(ret->secret, secret, SECRET_LEN);
	ret->digest[DIGEST_LEN] = ret->secret[SECRET_LEN] = 0;
	return 0;
}

bool const_time_equal(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	volatile unsigned char diff = na != nb;

	for (size_t i = 0; i < na; i++)
		diff |= (unsigned char)a[i] ^ (unsigned char)b[nb ? i % nb : 0];
	return diff == 0;
}
