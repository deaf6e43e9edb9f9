// SPDX-License-Identifier: Apache-2.0
/* Logs from workers to the CLI: a demand goes down to the worker's Subscribe stream, its Push calls come up
 * and become lines of the CLI's Logs stream. A Push is answered once its lines had room, so a slow terminal
 * slows the worker's reading of the log file and nothing else. */
#pragma once
#include "manager/daemon/manager.h"
#include "proto/schema/dispatch.pb-c.h"

struct log_broker *log_broker_new(struct manager *m);
void log_broker_register(struct log_broker *b);
void log_broker_close(struct log_broker *b);
void log_broker_free(struct log_broker *b);
void log_broker_changed(
	struct log_broker *b); /* the store has changed: a followed service may have new tasks */
/* Control.Logs; arg is the struct manager. */
void log_broker_on_logs(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
