// SPDX-License-Identifier: Apache-2.0
/* The reconcilers. Each is a pure pass: read the committed store (through the tx, so that a pass sees what
 * the passes before it did), add actions to the tx. Level-triggered, idempotent, no I/O, no clock but `env`.
 *
 *   node_state   nodes -> Ready, Down
 *   orchestrate  services -> slots and tasks that should exist; restarts, scale up/down, reaping
 *   allocate     slot addresses + MAC, network subnet + VNI, reservations, endpoints
 *   schedule     PENDING tasks -> nodes (spread; members of one cluster on different nodes)
 *   galera       phases, tokens, elections, permits, ordered joins and leaves
 *
 * The manager (and the simulation) runs them in this order, all but the first until they add nothing more,
 * whenever something changed, at most one commit in flight, and again when the earliest *wake_ms passes. */
#pragma once
#include "manager/galera/galera.h"
#include "manager/model/env.h"

/* Each adds to tx what is next to do about rows of its kind, from the state as tx leaves it, and lowers
 * env->wake_ms to when time alone makes more of it. Safe to run again at any time. */
void orchestrate_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* See orchestrate_pass. */
void allocate_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* See orchestrate_pass. */
void schedule_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* How often a node should be heard of (ClusterSpec, or its default). */
int64_t node_state_heartbeat_ms(const struct store *s);
/* Node Ready/Down from sessions. */
void node_state_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* All of them in turn, until they add nothing more; the tx may be split. Nothing before init. */
void reconcile_all(struct store *s, struct tx *tx, struct reconcile_env *env);
