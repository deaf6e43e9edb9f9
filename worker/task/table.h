// SPDX-License-Identifier: Apache-2.0
/* All tasks of this worker: assignments come in, reports go out. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/value/obj.h"
#include "worker/context/worker.h"

struct tasks;
struct task;
/* What tasks need of those that stand above them, so that they call nobody upwards. Copied; what it points to
 * outlives the tasks. The calls may come at any time from the loop, also from inside calls of this header, and may be
 * NULL. */
struct task_driver_ops;
struct peer;
struct tasks_above {
	const struct task_driver_ops *galera; /* the driver of topology galera */
	struct peer *peer;                    /* handed to drivers; may be NULL */
	void (*changed)(void *arg);           /* a status is to be reported soon */
	void (*progressed)(void *arg);        /* there is something that the next report may carry */
	void *arg;
};
/* None yet. w outlives it. */
struct tasks *tasks_new(struct worker *w, const struct tasks_above *above);
/* Adopt what the disk and the processes say, reap unknown containers of ours. Before the agent starts. */
int tasks_load(struct tasks *ts, struct err *e);
/* Forget all tasks; their processes go on. */
void tasks_free(struct tasks *ts);

/* ---- assignments ---- */
void tasks_assign(struct tasks *ts, const Gs__Task *row); /* copied */
void tasks_unassign(struct tasks *ts, const char *task_id);
/* Around a complete set: what was not assigned in between is unassigned. */
void tasks_set_begin(struct tasks *ts);
void tasks_set_end(struct tasks *ts);                              /* unassigned ones stop */
void tasks_secret_set(struct tasks *ts, const Gs__Secret *secret); /* copied */
void tasks_secret_remove(struct tasks *ts, const char *secret_id);
/* Delete that volume here, and report how it went; once for a version of the row. */
void tasks_discard(struct tasks *ts, const Gs__VolumeInstance *row);
/* The managers know how it went, or do not want it any more; what is under way goes on. Unknown: nothing. */
void tasks_discard_end(struct tasks *ts, const char *volume_id);
/* A network, secret or endpoint changed: look again at whatever waits. */
void tasks_kick(struct tasks *ts);
/* Names in the tasks' /etc/hosts changed. */
void tasks_hosts_changed(struct tasks *ts);

/* ---- reports ----
 * What has not been acknowledged is pending. A report holds at most TASKS_REPORT_MAX tasks and about
 * TASKS_REPORT_BYTES; the rest goes with the next one. */
#define TASKS_REPORT_MAX 500
#define TASKS_REPORT_BYTES (1u << 20)
/* Another leader, which knows the store but not what the one before it held in memory: the seqnos, and the
 * states of tasks that have not ended, are pending again. What has ended and was acknowledged is not. */
void tasks_report_anew(struct tasks *ts);
/* Append copies of what is pending; returns how many items, 0 when nothing is. */
size_t tasks_report_fill(struct tasks *ts, Gs__ReportRequest *req);
/* The last filled report arrived (ok) or must be sent again. */
void tasks_reported(struct tasks *ts, bool ok);
/* After tasks_reported: this item was not taken. What can be mended is mended and pending again, with the
 * managers' words as the task's error; an older state than theirs (E_STALE_VERSION) is dropped. */
void tasks_report_refused(struct tasks *ts, const Gs__TaskRefusal *r);
bool tasks_report_pending(const struct tasks *ts); /* something is not acknowledged yet */

/* ---- leave ---- */
/* The data of all tasks that should run here, for the answer to a leave: task and path. */
void tasks_volumes(const struct tasks *ts, Gs__NodeLeaveResponse *r);
/* Stop every task (KILL after at most grace_ms), then done. */
void tasks_stop_all(struct tasks *ts, uint32_t grace_ms, void (*done)(void *arg), void *arg);

/* For the network: every running task has its legs declared; names of the namespaces in use (heap list). */
bool tasks_net_settled(const struct tasks *ts);
void tasks_netns_list(const struct tasks *ts, char ***ret, size_t *ret_n); /* both levels are the caller's */
bool tasks_busy(const struct tasks *ts);                                   /* jobs are under way */
size_t tasks_running(const struct tasks *ts);                              /* not final */
struct task *tasks_find(struct tasks *ts, const char *task_id);
void tasks_dump(const struct tasks *ts, struct buf *out); /* a line each, for system dump */
/* For the logs: rotates what grew too long. */
void tasks_each_log(struct tasks *ts, void (*visit)(struct task *t, const char *path, void *arg), void *arg);
void task_log_reopen(struct task *t); /* after its file was renamed */
