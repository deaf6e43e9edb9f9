// SPDX-License-Identifier: Apache-2.0
/* What the files of this room share: ca.c (roles, issue), token.c, own.c (the manager's own certificate), renew.c. */
#pragma once
#include "base/bucket.h"
#include "base/bug.h"
#include "base/loop.h"
#include "manager/ca/ca.h"

#define CA_MAGIC MAGIC('c', 'a', ' ', ' ')

struct ca {
	uint32_t magic;
	struct context *ctx;
	struct ca_hooks hooks;
	struct bucket roots, joins; /* what needs no certificate: GetRoot, and Issue with a right token */
	struct renewals *renewals;
	struct loop_timer renew;
};

/* The timer of ca_renew_own; ca: the struct ca. */
void ca_on_renew_look(void *ca);
