// SPDX-License-Identifier: Apache-2.0
/* How long a node was silent while this manager could have heard it.
 *
 *   ticks   |  |  |  |                         |  |  |  |
 *   time ---+--+--+--+-------------------------+--+--+--+---> mono
 *                    `---- deaf: was stopped --'
 *
 * A process that was stopped, a machine that slept and a callback that blocked heard nothing meanwhile, and
 * what was said to them then is often lost (callers gave up). Such a gap counts for nobody's silence, and
 * whoever was last heard before it gets one more grace to come back. One more, not one for each gap: a
 * manager that stumbles all the time still finds a dead node dead. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define HEARING_GAPS 8 /* older ones are older than any grace */

struct hearing {
	int64_t last_ms; /* of the last tick; 0: none yet */
	unsigned n;      /* gaps so far; the last HEARING_GAPS are kept */
	struct {
		int64_t from_ms, to_ms;
	} gaps[HEARING_GAPS];
};

/* The loop runs (mono time). Returns the length of a gap that has just ended, when it was longer than
 * limit_ms (a heartbeat's period), else 0. */
int64_t hearing_tick(struct hearing *h, int64_t now_ms, int64_t limit_ms);

/* Silence since since_ms without the gaps. h NULL: this manager always hears. */
int64_t hearing_silence_ms(const struct hearing *h, int64_t since_ms, int64_t now_ms);

/* How much silence is too much for a node last heard at since_ms: the grace, or two after a gap. */
int64_t hearing_grace_ms(const struct hearing *h, int64_t since_ms, int64_t grace_ms);
