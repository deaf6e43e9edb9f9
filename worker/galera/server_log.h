// SPDX-License-Identifier: Apache-2.0
/* What a server's log tells about the Primary views its process was in. SQL shows only the present one, opens
 * late, and a worker that was restarted has not seen the earlier ones; the log has them all. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/runtime/conmon_log.h"

struct log_primary {
	bool has_start;       /* the process's first lines are in the text: nothing before them counts */
	bool was_primary;     /* it has been in a Primary view, perhaps before its state transfer */
	bool is_synced;       /* it was Synced, and nobody has given it a new state or shut it out since */
	bool has_left;        /* it closed its connection to the group itself */
	bool is_inconsistent; /* it was voted out, or its data is corrupt: its words */
	uint64_t conf_id;     /* the newest one, as in wsrep_cluster_conf_id; 0: none */
	uint64_t group_epoch; /* the number in the name of the group it went to; 0: not told */
	size_t n_members;     /* node names (task names) of that view, when it was printed whole */
	char *members[64];
};
/* Pure. log: whole lines (conmon_log_tail) of the container's log, of several attempts perhaps; only the last one
 * counts. */
void log_primary_parse(const char *log, size_t len, struct log_primary *ret);
/* Frees the names; it is empty then. */
void log_primary_fini(struct log_primary *p);
/* The same of the end of a task's log and of what rotation has put beside it; since: where the log ended when this
 * process was started, or NULL when that is not known. No log: nothing was told. Blocking. */
int log_primary_read(const char *path, const struct conmon_mark *since, struct log_primary *ret,
		     struct err *e);
