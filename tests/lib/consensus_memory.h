// SPDX-License-Identifier: Apache-2.0
/* A consensus engine without disk or peers, driven by hand, for tests and the simulation. */
#pragma once
#include "manager/raft/consensus.h"

/* An in-memory engine: one voter, not leader until told. Entries wait until memory_step applies the oldest
 * one and answers its proposer (false: nothing was waiting); memory_run steps until nothing waits.
 * memory_lose answers the oldest with E_UNAVAILABLE, having applied it or not: the answer that got lost.
 * Losing leadership drops what waits (E_UNAVAILABLE). Tests and the simulation use it. */
struct consensus *consensus_memory_new(const struct consensus_fsm *fsm);
bool consensus_memory_step(struct consensus *c);
void consensus_memory_run(struct consensus *c);
bool consensus_memory_lose(struct consensus *c, bool applied);
void consensus_memory_set_leader(struct consensus *c, bool is_leader);
void consensus_memory_free(struct consensus *c);
