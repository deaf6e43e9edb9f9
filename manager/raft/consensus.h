// SPDX-License-Identifier: Apache-2.0
/* The replicated log as the store sees it: propose bytes, get them applied in order on every voter.
 * One implementation sits on libraft (manager/raft), one is in memory (tests and simulation).
 *
 * Asynchronous, one thread. apply and restore abort on failure themselves; apply reads no clock. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What may wait for the log in all. A manager that comes back hears every node at once, thousands of them. */
#define CONSENSUS_WAITING_MAX 8192
#define CONSENSUS_WAITING_BYTES (64u << 20)

struct consensus;
struct consensus_fsm {
	/* Committed entry at this raft index (the StoreCommand only: the engine has taken the envelope off).
	 * The result travels to the proposer's callback: 0 or a negative code; a refused command changed
	 * nothing and is refused by every replica. Two codes are none of the proposer's: E_CORRUPT (cannot be
	 * decoded: the engine marks its directory bad and stops the process) and E_PROTOCOL (written by a
	 * newer version: the engine stops the process, the directory stays good). The store aborts if it is
	 * called again. */
	int (*apply)(void *arg, uint64_t index, const uint8_t *data, size_t len, struct err *e);
	/* malloc'ed, equal on every replica; ends with a SHA-256 that restore checks. */
	void (*snapshot)(void *arg, uint8_t **ret_data, size_t *ret_len);
	int (*restore)(void *arg, const uint8_t *data, size_t len, struct err *e);
	/* true once a barrier has passed after winning an election; false when leadership is gone. */
	void (*on_leader)(void *arg, bool is_leader);
	void *arg;
};
struct consensus_ops {
	/* data is copied. done fires once: code 0 = applied (or the apply's own code), E_NOT_LEADER,
	 * E_UNAVAILABLE (outcome unknown: retry only with compare-and-set). It waits its turn; has_room bounds. */
	int (*propose)(struct consensus *c, const uint8_t *data, size_t len,
		       void (*done)(void *arg, const struct err *e), void *arg);
	/* May something new begin? Whoever begins asks first and answers E_LIMIT; what follows of a change that
	 * has begun is proposed in any case, or it would be cut. */
	bool (*has_room)(struct consensus *c);
	/* done when everything committed before the call is applied here and this is still the leader.
	 * E_LIMIT: no room. */
	int (*barrier)(struct consensus *c, void (*done)(void *arg, const struct err *e), void *arg);
	bool (*is_leader)(struct consensus *c);
	uint64_t (*last_applied)(struct consensus *c);
	uint64_t (*term)(struct consensus *c);
	/* fn(arg) once, soon, from the engine's loop and never from inside this call. */
	void (*defer)(struct consensus *c, void (*fn)(void *arg), void *arg);
	/* Idempotent; closed fires once. Everything still in flight is answered with E_CLOSED first. */
	void (*close)(struct consensus *c, void (*closed)(void *arg), void *arg);
};
struct consensus {
	const struct consensus_ops *ops;
};
