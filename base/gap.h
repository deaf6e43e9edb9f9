// SPDX-License-Identifier: Apache-2.0
/* How long the loop was away from its descriptors, and which callback kept it.
 *
 *   |--epoll waits--|==callbacks==|--epoll waits--|===callbacks===|
 *                   <--- a gap -->                <---- a gap ---->
 * While a gap lasts no heartbeat is read or sent, so the longest one says how long a node can look dead for a
 * reason of its own. A gap is counted less the time for which the thread was ready to run and got no core: that
 * says how busy the machine is, not what this program does.
 *
 * Timers and jobs (base/loop.h) name themselves; other callbacks of libuv begin with LOOP_SCOPE(). Costs two
 * readings of the clock a callback and one of /proc a turn. */
#pragma once
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

/* Count from now on, in the thread that will run this loop. */
void gap_watch(uv_loop_t *loop);
/* Count no more, so that the loop can end. */
void gap_end(void);

struct gap_scope {
	const char *name;
	uint64_t begin_ns, waited_ns;
};
/* What runs until gap_scope_end belongs to `name` (lives as long as the program). Scopes nest: of an outer and an
 * inner one that took nearly all of its time the inner is named. In a thread without a watched loop nothing
 * happens. */
struct gap_scope gap_scope_begin(const char *name);
/* In the reverse order of the begins. */
void gap_scope_end(struct gap_scope *s);
#define LOOP_SCOPE()                                                                                         \
	struct gap_scope gap_scope_ __attribute__((__cleanup__(gap_scope_end), __unused__)) =                \
		gap_scope_begin(__func__)

/* Three lines and more for `system dump`: the longest since the start, the longest since the last dump (whose
 * count this call begins anew), and the worst callbacks. */
void gap_dump(struct buf *out);
/* The longest gap since the last gap_dump, in ms. */
double gap_longest_ms(void);
