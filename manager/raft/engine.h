// SPDX-License-Identifier: Apache-2.0
/* The consensus engine on libraft (docs/manager.md, "Engine"). One directory, one loop, one thread.
 *
 *   raft_engine_look(dir)   none -> raft_engine_bootstrap(dir)      one voter: this node
 *   raft_engine_new -> fsm.restore, then fsm.apply ... -> barrier -> fsm.on_leader(true)
 *   ops->close(c, closed) -> raft_engine_free
 *
 * Whatever makes this replica's promises void (a vote or an entry that cannot be written, a log that was
 * renumbered, a snapshot that does not fit its checksum) goes to `fatal`, which must not return in
 * production: the worker starts the manager again. */
#pragma once
#include <uv.h>

#include "manager/raft/consensus.h"

struct raft_engine_config {
	uv_loop_t *loop;
	const char *dir;
	struct consensus_fsm fsm;
	unsigned snapshot_threshold; /* entries; 0: 10,000. raft_engine_set_snapshot_interval */
	unsigned trailing;           /* 0: 2,048 */
	unsigned watchdog_ms;        /* 0: 3,000 without a finished write */
	/* NULL: log one line and _exit(EX_SOFTWARE). */
	void (*fatal)(void *arg, const struct err *e);
	void *fatal_arg;
};

/* Is there a log? A folder that cannot be read, or one with files but without the id, is neither: it fails
 * (E_CORRUPT, an errno), and the folder must be left as it is. */
int raft_engine_look(const char *dir, bool *ret_exists, struct err *e);
/* Make dir and its first configuration; durable once it returns. E_EXISTS: there is something in dir already.
 * What a killed bootstrap left has another name and is replaced: nobody was told of it. */
int raft_engine_bootstrap(uv_loop_t *loop, const char *dir, struct err *e);
/* Loads and starts. E_CORRUPT: the directory lost what it had acknowledged, or was marked damaged before. */
int raft_engine_new(const struct raft_engine_config *config, struct consensus **ret, struct err *e);
/* From now on a snapshot after this many entries; 0: 10,000. */
void raft_engine_set_snapshot_interval(struct consensus *c, unsigned entries);
void raft_engine_free(struct consensus *c); /* after closed */
/* Why proposals are refused at the moment (a full disk), or NULL. */
const char *raft_engine_trouble(struct consensus *c);
