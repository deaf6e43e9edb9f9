// SPDX-License-Identifier: Apache-2.0
/* A consensus engine in memory, driven by hand: one voter, not leader until told. What is proposed waits until
 * a step applies the oldest entry and answers its proposer. For unit tests and the simulation. */
#pragma once
#include "manager/raft/consensus.h"

/* fsm is copied. The caller's; free it before the store. */
struct consensus *consensus_memory_new(const struct consensus_fsm *fsm);
/* Apply and answer the oldest (an entry, a barrier or a deferred call). false: nothing was waiting. */
bool consensus_memory_step(struct consensus *c);
/* Step until nothing waits. */
void consensus_memory_run(struct consensus *c);
/* The oldest is answered with E_UNAVAILABLE, applied or not: the answer that got lost. false: nothing waited. */
bool consensus_memory_lose(struct consensus *c, bool applied);
/* Tells fsm.on_leader. Losing leadership drops what waits (E_UNAVAILABLE). */
void consensus_memory_set_leader(struct consensus *c, bool is_leader);
/* Closes first: what waits is answered with E_CLOSED. */
void consensus_memory_free(struct consensus *c);
