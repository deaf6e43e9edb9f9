// SPDX-License-Identifier: Apache-2.0
/* Who changed what: one more row in the tx of the change itself, so neither is there without the other. */
#include "manager/context/audit.h"

#include <stdarg.h>

#include "base/mem.h"
#include "manager/model/rows.h"

void audit_add(struct context *ctx, struct tx *tx, struct rpc_call *call, const char *kind,
	       const char *object_id, const char *fmt, ...)
{
	const struct rpc_peer *peer = rpc_call_peer(call);
	cleanup_free char *what = NULL;
	va_list ap;

	va_start(ap, fmt);
	what = xvasprintf(fmt, ap);
	va_end(ap);
	if (peer->is_local)
		event_add(tx, &ctx->env, kind, object_id, "%s by uid %u (pid %d)", what, (unsigned)peer->uid,
			  (int)peer->pid);
	else
		event_add(tx, &ctx->env, kind, object_id, "%s by node %s (%s)", what, peer->node_id,
			  peer->addr);
}
