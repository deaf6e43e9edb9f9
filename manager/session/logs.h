// SPDX-License-Identifier: Apache-2.0
/* Logs from workers to the CLI: a demand goes down to the worker's Subscribe stream, its Push calls come up
 * and become lines of the CLI's Logs stream. A Push is answered once its lines had room, so a slow terminal
 * slows the worker's reading of the log file and nothing else. */
#pragma once
#include "manager/context/context.h"
#include "proto/schema/dispatch.pb-c.h"

/* ctx is borrowed and outlives it. */
struct logs *logs_new(struct context *ctx);
void logs_register(struct logs *logs); /* serve RPC_LOG_BROKER on ctx->server */
void logs_close(struct logs *logs);    /* its timer; idempotent; free it once the loop has run */
void logs_free(struct logs *logs);     /* its connections are closed */
void logs_changed(struct logs *logs);  /* the store has changed: a followed service may have new tasks */
/* Control.Logs; arg is the struct logs. */
void logs_on_logs(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
