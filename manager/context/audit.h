// SPDX-License-Identifier: Apache-2.0
/* Who made which change. */
#pragma once
#include "manager/context/context.h"

/* The event that says who made the change that tx is, by uid and process (SO_PEERCRED): "service web created by
 * uid 1000 (pid 4711)". Part of the same entry, so no change is without it. */
void audit_add(struct context *ctx, struct tx *tx, struct rpc_call *call, const char *kind,
	       const char *object_id, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
