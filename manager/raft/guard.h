// SPDX-License-Identifier: Apache-2.0
/* What libraft 0.22.1 lets pass, stopped between it and its disk: a layer around the raft_io functions.
 *
 *   set_term, set_vote, append fail      -> fatal (builds of libraft without asserts ignore it)
 *   no append finishes for watchdog_ms   -> fatal (libraft retries for ever and keeps leadership)
 *   InstallSnapshot while a snapshot of our own is being written -> dropped (NULL dereference in libraft);
 *                                           the leader sends it again
 *   what load read                       -> in buffers of its own size, not of whole segments (memory at rest)
 *   every message                        -> last-heard time of its sender */
#pragma once
#include <raft.h>
#include <raft/uv.h>

#include "base/err.h"
#include "base/loop.h"

#define RAFT_PEERS_MAX 16

#define GUARD_MAGIC MAGIC('g', 'r', 'd', ' ')

struct raft_guard {
	uint32_t magic;
	struct raft_io io; /* what raft_init gets; its data field belongs to libraft */
	struct raft_io inner;
	raft_io_recv_cb recv;
	struct loop_timer watch;
	unsigned appends;     /* in flight */
	unsigned quiet_ticks; /* watch periods without a finished append while some are in flight */
	unsigned quiet_limit;
	bool putting, closing;
	uint64_t dropped;
	struct {
		raft_id id;
		uint64_t heard_ms;
	} peers[RAFT_PEERS_MAX];
	char dir[256];
	void (*fatal)(void *arg, const struct err *e);
	void *arg;
};

/* g->io is an initialised raft_uv io; its functions are replaced. fatal is called for what must end the process;
 * when it returns all the same (tests), libraft hears of the failure as it would without us. */
void raft_guard_wrap(struct raft_guard *g, uv_loop_t *loop, const char *dir, unsigned watchdog_ms,
		     void (*fatal)(void *arg, const struct err *e), void *arg);
/* Before raft_close: errors from now on are those of closing. */
void raft_guard_closing(struct raft_guard *g);
/* After raft_close: the watchdog's timer. */
void raft_guard_close(struct raft_guard *g, void (*closed)(void *arg));
