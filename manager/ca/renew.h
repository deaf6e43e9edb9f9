// SPDX-License-Identifier: Apache-2.0
/* A node's new certificate for its old one (docs/manager.md, "Certificates"). */
#pragma once
#include "manager/ca/ca.h"

/* Who renews, and how often. */
struct renewals;
struct renewals *renewals_new(struct context *ctx); /* borrowed, outlives it */
void renewals_free(struct renewals *all);           /* once the loop has run out */
/* CA_RENEW of a caller with a certificate: ends the call, now or later. */
void renewals_serve(struct renewals *all, struct rpc_call *call, const Gs__RenewRequest *req);
