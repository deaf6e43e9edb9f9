// SPDX-License-Identifier: Apache-2.0
/* The Galera controller, one of the reconcile passes: phases, tokens, elections, permits, ordered joins and
 * leaves. docs/galera.md says by which rules. */
#pragma once
#include "manager/model/env.h"
#include "manager/store/store.h"

/* Rules a test can switch off (struct galera_rules.broken). */
enum galera_rule {
	GALERA_RULE_TOKEN = 1 << 0,    /* a lost token holder is not replaced while it may be Primary */
	GALERA_RULE_UNSEEN = 1 << 1,   /* no bootstrap while an unreachable part could be Primary */
	GALERA_RULE_SOURCE = 1 << 2,   /* only complete data of this cluster is a source */
	GALERA_RULE_EVIDENCE = 1 << 3, /* every member of the last Primary view has answered */
	GALERA_RULE_FORK = 1 << 4,     /* a forked member does not come back by IST */
	GALERA_RULE_LEAVE = 1 << 5,    /* members leave one at a time */
	GALERA_RULE_PRIMARY = 1 << 6,  /* no bootstrap while a Primary answers */
	GALERA_RULE_LATE_PC = 1 << 7,  /* pc.bootstrap is bound to a view */
};

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

/* Adds to tx what is next to do about each Galera cluster, from the state as tx leaves it, and lowers
 * env->wake_ms to when time alone makes more of it. Safe to run again at any time. */
void galera_pass(struct store *s, struct tx *tx, struct reconcile_env *env);
