// SPDX-License-Identifier: Apache-2.0
/* How a handler answers its call; each of these ends it, exactly once. */
#pragma once
#include "manager/context/context.h"

/* Refuse a call that cannot be served now (context_ops): true, and the call has been answered. */
bool answer_unless_serving(const struct context *ctx, struct rpc_call *call);
/* One line, whatever is in it. code is negative: errno or one of base/err.h. */
void answer_fail(struct rpc_call *call, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* With Empty. */
void answer_empty(struct rpc_call *call);
/* Answer once the tx is committed: with take_resp (freed; NULL: Empty), or with why it was not. After a conflict
 * with another commit, as of a reconciler that was quicker, `again` is run with a copy of the request and `arg`,
 * as if the call had come anew; NULL: the conflict is the answer. Takes the tx. */
void answer_commit(struct context *ctx, struct rpc_call *call, struct tx *take_tx, void *take_resp,
		   rpc_handler again, void *arg, const ProtobufCMessage *req);
