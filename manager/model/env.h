// SPDX-License-Identifier: Apache-2.0
/* What a reconcile pass knows besides the store and its tx. Whoever runs the passes (the daemon, the simulation,
 * a test) fills one and lends it; what only writes events or judges reports uses its clock and its ids. */
#pragma once
#include "base/clock.h"
#include "base/id.h"

struct galera_rules;
struct hearing;

/* What reconcilers may know besides the store: leader memory that is rebuilt from workers' sessions. */
struct reconcile_env {
	const struct clock *clock;
	int64_t leader_since_ms; /* mono; nothing is declared Down before one grace from here */
	/* mono time of the last heartbeat of the node's open session; <0: no session since leadership */
	int64_t (*node_last_seen_ms)(void *arg, const char *node_id);
	const struct hearing *hearing; /* when nobody could be heard; NULL: never so */
	/* Has the task's worker told of it in the session that its node has now? Else its status is from before, and
	 * nobody knows what has happened meanwhile; *since_ms is the mono time at which that session opened (<0:
	 * none since leadership). NULL: what is in the store is always current. */
	bool (*task_heard)(void *arg, const char *task_id, int64_t *since_ms);
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
