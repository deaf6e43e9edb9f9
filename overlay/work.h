// SPDX-License-Identifier: Apache-2.0
/* How far the kernel is with one declared thing: a network, a port, a task's namespace, an egress leg, the
 * egress bridge, the host's rules. What is declared is remembered at once; only this says whether the kernel
 * took it.
 *
 *            declared                     applied
 *   ABSENT ------------> PENDING --------------------------> SETTLED <----+
 *      ^                  |   ^ failed: again, with back-off    |         | as it should be
 *      |                  +---+                                 | an event, a failed write, its time
 *      |                  |   ^                                 v         |
 *      | gone             |   | it is not what it should be   SUSPECT ----+
 *      |                  |   +---------------------------------+ failed: again, with back-off
 *      |                  v no longer declared                  |
 *      +---------------- LEAVING <------------------------------+---- (also from SETTLED)
 *                         failed: again, with back-off; declared again: PENDING */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/sm.h"

enum work_state { WORK_ABSENT, WORK_PENDING, WORK_SETTLED, WORK_SUSPECT, WORK_LEAVING };

struct work {
	struct sm sm;
	struct backoff retry;
	int64_t due_ms; /* of the next try, or, when settled, of the next look without a reason */
};

extern const struct sm_kind work_kind;

/* label names the object in traces; it lives as long as w. */
void work_init(struct work *w, const char *label);
static inline bool work_is(const struct work *w, enum work_state state)
{
	return sm_is(&w->sm, state);
}
/* The kernel has, or may have, something of it. */
static inline bool work_is_there(const struct work *w)
{
	return !work_is(w, WORK_ABSENT);
}
/* Declared, or declared otherwise than before: to be written, at once. */
void work_want(struct work *w);
/* The kernel may differ from what was applied: to be compared, at once. Nothing unless it was settled. */
void work_suspect(struct work *w);
/* No longer declared: to be taken away, at once. Nothing when it never was there. */
void work_leave(struct work *w);
/* Found in the kernel though nobody declares it: to be taken away, at once. */
void work_doom(struct work *w);
void work_done(struct work *w, int64_t now_ms);   /* the kernel is as it should be */
void work_failed(struct work *w, int64_t now_ms); /* again later */
void work_gone(struct work *w);                   /* the kernel has nothing of it */
/* Whatever it waits for: now. */
void work_rush(struct work *w);
/* Whether there is something to do now. A settled one whose time has come becomes suspect. */
bool work_take(struct work *w, int64_t now_ms);
