// SPDX-License-Identifier: Apache-2.0
/* The reconcilers. Each is a pure pass: read the committed store (through the tx, so that a pass sees what
 * the passes before it did), add actions to the tx. Level-triggered, idempotent, no I/O, no clock but `env`.
 *
 *   orchestrate  services -> slots and tasks that should exist; restarts, scale up/down, reaping
 *   allocate     slot addresses + MAC, network subnet + VNI, reservations, endpoints
 *   schedule     PENDING tasks -> nodes (spread; members of one cluster on different nodes)
 *   galera       phases, tokens, elections, permits, ordered joins and leaves
 *
 * The manager (and the simulation) runs them in this order whenever something changed, at most one commit in
 * flight, and again when the earliest *wake_ms passes. */
#pragma once
#include "base/clock.h"
#include "base/id.h"
#include "manager/reconcile/hearing.h"
#include "manager/store/store.h"
#include "proto/schema/dispatch.pb-c.h"

/* How the Galera controller may behave; NULL in the environment means the defaults. */
struct galera_rules {
	unsigned join_parallel; /* joiners at once; 0 means 1 (two at once form slower) */
	bool no_prefetch;       /* joiners do not fetch the genesis archive before their turn */
	/* Clients reach only the writer slot, so that its data directory holds every acknowledged write.
	 * Nothing enforces that yet, so the rule that rests on it is off. */
	bool single_writer;
	unsigned broken; /* tests only: rules (enum galera_rule) that are left out, to see that a checker
			    notices */
};

/* What reconcilers may know besides the store: leader memory that is rebuilt from workers' sessions. */
struct reconcile_env {
	const struct clock *clock;
	int64_t leader_since_ms; /* mono; nothing is declared Down before one grace from here */
	/* mono time of the last heartbeat of the node's open session; <0: no session since leadership */
	int64_t (*node_last_seen_ms)(void *arg, const char *node_id);
	const struct hearing *hearing; /* when nobody could be heard; NULL: never so */
	/* latest wsrep_last_committed that the task's worker sent; <0: none */
	int64_t (*task_seqno)(void *arg, const char *task_id);
	void *arg;
	void (*new_id)(void *arg, char ret_id[ID_LEN + 1]); /* seeded in the simulation */
	const struct galera_rules *galera;                  /* NULL: defaults */
	int64_t wake_ms; /* out: earliest mono time at which a pass must run again; INT64_MAX: none */
};
static inline void reconcile_wake(struct reconcile_env *env, int64_t at_ms)
{
	if (at_ms < env->wake_ms)
		env->wake_ms = at_ms;
}

/* Each adds to tx what is next to do about rows of its kind, from the state as tx leaves it, and lowers
 * env->wake_ms to when time alone makes more of it. Safe to run again at any time. */
void orchestrate_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* See orchestrate_pass. */
void allocate_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* See orchestrate_pass. */
void schedule_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* See orchestrate_pass. */
void galera_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* How often a node should be heard of (ClusterSpec, or its default). */
int64_t node_state_heartbeat_ms(const struct store *s);
/* Node Ready/Down from sessions. */
void node_state_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
/* All of them in turn, until they add nothing more; the tx may be split. Nothing before init. */
void reconcile_all(struct store *s, struct tx *tx, struct reconcile_env *env);

/* A worker's report about one task, checked against the store (right node, attempt not older, state only
 * forward within an attempt) and put into the tx. E_STALE_VERSION or E_FORBIDDEN when it is refused; a
 * refused report changes nothing. */
int report_apply(struct store *s, struct tx *tx, const char *node_id, const Gs__TaskReport *report,
		 struct reconcile_env *env, struct err *e);
/* E_LIMIT for a report that is too large to be kept, whoever makes it; asked before it is copied. */
int report_bounds(const Gs__TaskReport *report, struct err *e);
/* The same for a volume's data on the node. The managers made the row when they placed the slot there; what a
 * node says of other volumes, of an older generation or of retired data is left out. */
void report_volume(struct tx *tx, const char *node_id, const Gs__VolumeInstance *v);
