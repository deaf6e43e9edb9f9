// SPDX-License-Identifier: Apache-2.0
/* Sessions with workers: assignments down, reports up (proto/schema/dispatch.proto; docs/manager.md, "Dispatcher").
 *
 * What is remembered here is leader memory: who was heard when, and the seqno each member last sent. It is
 * rebuilt from the workers after a change of leader. */
#pragma once
#include "manager/context/context.h"

/* ctx is borrowed and outlives it. */
struct dispatcher *dispatcher_new(struct context *ctx);
void dispatcher_register(struct dispatcher *d); /* serve RPC_DISPATCHER on ctx->server */
/* Its timers; reports that wait are answered E_NOT_LEADER. Idempotent; free it once the loop has run. */
void dispatcher_close(struct dispatcher *d);
void dispatcher_free(struct dispatcher *d); /* its connections are closed */
/* The store has changed: sessions get the difference within a few milliseconds. */
void dispatcher_changed(struct dispatcher *d);
/* Leadership is gone: sessions end, memory is dropped. */
void dispatcher_reset(struct dispatcher *d);
int64_t dispatcher_last_seen_ms(struct dispatcher *d, const char *node_id); /* <0: no session yet */
int64_t dispatcher_seqno(struct dispatcher *d, const char *task_id);        /* <0: none */
