// SPDX-License-Identifier: Apache-2.0
/* Sessions with workers: assignments down, reports up (proto/schema/dispatch.proto; docs/manager.md, "Dispatcher").
 *
 * What is remembered here is leader memory: who was heard when, of which Galera tasks a node has told since its
 * session opened, and the seqno each member last sent. It is rebuilt from the workers after a change of leader. */
#pragma once
#include "manager/context/context.h"

/* ctx is borrowed and outlives it. */
struct sessions *sessions_new(struct context *ctx);
void sessions_register(struct sessions *all); /* serve RPC_DISPATCHER on ctx->server */
/* Its timers; reports that wait are answered E_NOT_LEADER. Idempotent; free it once the loop has run. */
void sessions_close(struct sessions *all);
void sessions_free(struct sessions *all); /* its connections are closed */
/* The store has changed: sessions get the difference within a few milliseconds. */
void sessions_changed(struct sessions *all);
/* A reconcile pass is through (context.pass_done): who had to wait for it gets its set. */
void sessions_passed(struct sessions *all);
/* Leadership is gone: sessions end, memory is dropped. */
void sessions_reset(struct sessions *all);
int64_t sessions_last_seen_ms(struct sessions *all, const char *node_id); /* <0: no session yet */
int64_t sessions_seqno(struct sessions *all, const char *task_id);        /* <0: none */
/* reconcile_env.task_heard of a Galera task. */
bool sessions_task_heard(struct sessions *all, const char *task_id, int64_t *since_ms);
