// SPDX-License-Identifier: Apache-2.0
/* Logs from workers to the CLI: a demand goes down to the worker's Subscribe stream, its Push calls come up
 * and become lines of the CLI's Logs stream. A Push is answered once its lines had room, so a slow terminal
 * slows the worker's reading of the log file and nothing else. */
#pragma once
#include "manager/context/context.h"
#include "proto/schema/dispatch.pb-c.h"

/* ctx is borrowed and outlives it. */
struct log_broker *log_broker_new(struct context *ctx);
void log_broker_register(struct log_broker *b); /* serve RPC_LOG_BROKER on ctx->server */
void log_broker_close(struct log_broker *b);    /* its timer; idempotent; free it once the loop has run */
void log_broker_free(struct log_broker *b);     /* its connections are closed */
void log_broker_changed(
	struct log_broker *b); /* the store has changed: a followed service may have new tasks */
/* Control.Logs; arg is the broker. */
void log_broker_on_logs(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
