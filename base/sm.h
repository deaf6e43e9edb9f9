// SPDX-License-Identifier: Apache-2.0
/* Checked state machines. Whatever has a state keeps it in a struct sm, which only sm_go changes; the table
 * of its kind says which states may follow which, and any other move is a bug that ends the program.
 *
 *   enum { DOOR_CLOSED, DOOR_OPEN, DOOR_LOCKED };
 *   static const struct sm_state door_states[] = {
 *           {DOOR_CLOSED, "closed", SM(DOOR_OPEN) | SM(DOOR_LOCKED)},
 *           {DOOR_OPEN, "open", SM(DOOR_CLOSED)},
 *           {DOOR_LOCKED, "locked", SM(DOOR_CLOSED)},
 *   };
 *   static const struct sm_kind door_kind = SM_KIND("door", door_states, NULL);
 *
 *   sm_init(&d->sm, &door_kind, DOOR_CLOSED, d->name);
 *   sm_go(&d->sm, DOOR_OPEN);       from the one function that moves it; callbacks only store what they
 * learned if (sm_in(&d->sm, SM(DOOR_OPEN) | SM(DOOR_CLOSED))) ...
 *
 * A state that may follow itself names itself in its set; a last state has an empty set. The last moves of
 * the whole program are kept for `system dump` and for the message of a bug; each is also a line at level
 * debug. All of it belongs to the loop's thread, but for sm_trace_log and machines of a kind that says any_thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"

#define SM(state) (UINT64_C(1) << (state)) /* a set of one; states are 0 .. 63 */

struct sm_state {
	unsigned state; /* its index in the table */
	const char *name;
	uint64_t next; /* the states that may follow */
};

struct sm;
struct sm_kind {
	const char *name; /* "task", "session" */
	const struct sm_state *states;
	unsigned n;
	/* What must hold in each state; called after every move, with the state before. May be NULL. */
	void (*check)(const struct sm *sm, unsigned from);
	bool any_thread; /* a lock of its owner's guards each machine: moved on the pool's threads as well */
	bool is_busy;    /* see SM_KIND_BUSY */
};
#define SM_KIND(name, table, check)                                                                          \
	{                                                                                                    \
		name, table, sizeof(table) / sizeof((table)[0]), check, false                                \
	}
#define SM_KIND_ANY_THREAD(name, table, check)                                                               \
	{                                                                                                    \
		name, table, sizeof(table) / sizeof((table)[0]), check, true                                 \
	}
/* Of a kind that there are so many of (calls) that their moves would drive all others out of the trace: only
 * the forbidden one is kept and logged. */
#define SM_KIND_BUSY(name, table, check)                                                                     \
	{                                                                                                    \
		name, table, sizeof(table) / sizeof((table)[0]), check, .is_busy = true                      \
	}

struct sm {
	const struct sm_kind *kind;
	const char *label; /* which object; borrowed, may be NULL */
	uint8_t state;     /* read by sm_state, sm_is and sm_in; written by sm_go alone */
};

/* kind lives as long as the program, label as long as sm. Not a move: nothing is traced. */
void sm_init(struct sm *sm, const struct sm_kind *kind, unsigned state, const char *label);
/* A move that the table does not allow is a bug. The kind's check runs before sm_go returns. */
#define sm_go(sm, to) sm_move(sm, to, __func__)
/* For sm_go; where: the function that moves, for the trace. */
void sm_move(struct sm *sm, unsigned to, const char *where);
/* Whether the table allows it now. */
bool sm_may(const struct sm *sm, unsigned to);

static inline unsigned sm_state(const struct sm *sm)
{
	return sm->state;
}
static inline bool sm_is(const struct sm *sm, unsigned state)
{
	return sm->state == state;
}
static inline bool sm_in(const struct sm *sm, uint64_t set)
{
	return (SM(sm->state) & set) != 0;
}
const char *sm_name(const struct sm *sm);                              /* of its state */
const char *sm_state_name(const struct sm_kind *kind, unsigned state); /* "?" when there is no such state */

/* For unit tests of a table: every row stands at its index and has a name, every successor exists, and every
 * state can be reached from first. NULL when sound, else what is wrong. */
const char *sm_kind_fault(const struct sm_kind *kind, unsigned first);
/* The same for a machine that may begin in any state of a set. */
const char *sm_kind_fault_from(const struct sm_kind *kind, uint64_t first);

/* ---- the last moves of all machines of this program ---- */
#define SM_TRACE_MAX 256
/* Oldest first, one line each: "<ms ago> <kind> <label>: <from> -> <to> (<function>)". */
void sm_trace_dump(struct buf *out);
/* The last n of them as log lines. Any thread: a line may be torn then. */
void sm_trace_log(enum log_level level, unsigned n);
