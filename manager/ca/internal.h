// SPDX-License-Identifier: Apache-2.0
/* What the files of this room share: ca.c (roles, issue), token.c, own.c (the manager's own certificate), renew.c. */
#pragma once
#include "base/bucket.h"
#include "base/bug.h"
#include "base/loop.h"
#include "manager/ca/ca.h"

#define CA_MAGIC MAGIC('c', 'a', ' ', ' ')

#define CA_SOURCE_SLOTS 256
/* What a caller without a certificate may do: GetRoot, and Issue with a right token. */
struct source_buckets {
	struct bucket roots, joins;
};

struct ca {
	uint32_t magic;
	struct context *ctx;
	struct ca_hooks hooks;
	struct bucket joins; /* of all addresses */
	struct source_buckets sources[CA_SOURCE_SLOTS];
	uint8_t seed[16];    /* which address shares a slot with which is nobody's to choose */
	struct ca_root root; /* ours: every token has its digest */
	struct renewals *renewals;
	struct loop_timer renew;
	bool proving; /* a commit of ca_authorise is under way */
};

/* A newer certificate of the same node and process was issued, and somebody has shown it: one that was renewed to may
 * have been lost on its way, and then its node has this one only. Of two that nobody has shown the newer counts. */
bool ca_is_superseded(const struct store *s, const Gs__NodeCert *cert);
/* The timer of ca_renew_own; ca: the struct ca. */
void ca_on_renew_look(void *ca);
