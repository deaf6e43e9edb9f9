// SPDX-License-Identifier: Apache-2.0
/* What a topology adds to a task's life in the worker. A plain task has no driver.
 *
 *   machine.c                                  driver (worker/galera)
 *   PREPARING done ---- hold() ----------->  evidence from the datadir
 *   HELD <-- task_held(evidence) ----------
 *   permit from the manager - permit() --->  datadir made ready, options written, gswarm.json
 *   STARTING <-- task_start(argv) ---------  (or task_failed)
 *   process runs ------ running() -------->  probe over the unix socket -> task_view(), task_seqno()
 *   process ended ----- exited() --------->  probe stops; machine.c makes the next attempt: hold() again
 *   stop wanted ------- stopping() ------->  drain; then task_stop_now()
 *
 * All on the loop's thread. machine.c calls one of hold/permit/running/exited/stopping at a time; a driver
 * answers asynchronously, never from inside. After exited() answers of an older attempt are ignored (the
 * token tells). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "proto/value/obj.h"

struct task;
struct capture_result; /* worker/host/spawner.h */

struct task_driver_ops {
	void *(*attach)(struct task *t); /* driver state of this task, once, before the first hold */
	void (*detach)(void *d);         /* no answer is given after this */
	void (*hold)(void *d, uint32_t attempt);
	/* A permit with a new serial: while HELD (with mode NONE: to prefetch), and while the process runs
	 * PC_BOOTSTRAP or NONE to withdraw. borrowed */
	void (*permit)(void *d, const Gs__GaleraPermit *permit);
	void (*running)(void *d, bool adopted);
	void (*exited)(void *d);
	void (*stopping)(void *d);
	void (*spec_changed)(void *d); /* task_spec(t) is a new row (addresses, permit, desired) */
	const char *(*step)(void *d);  /* for a dump */
};
extern const struct task_driver_ops galera_driver_ops; /* worker/galera */

/* ---- what a driver may ask of the task (driver_calls.c) ---- */
const Gs__Task *task_row(const struct task *t); /* latest assignment; borrowed until the next one */
uint32_t task_attempt(const struct task *t);
/* Where all of this runs. */
uv_loop_t *task_loop(const struct task *t);
/* Host path of the mounted volume, or NULL. */
const char *task_volume_path(const struct task *t, const char *target);
/* Host path; the task sees it as /run/task (0711, owned by its user). */
const char *task_run_dir(const struct task *t);
/* The task's user on the host; nobody (65534) before its bundle is made. */
uid_t task_uid(const struct task *t);
/* As task_uid. */
gid_t task_gid(const struct task *t);
const char *task_log_path(const struct task *t);
/* Secret of this task by SecretRef.name, e.g. "root"; NULL until it has arrived. */
const Gs__Secret *task_secret(const struct task *t, const char *name);
/* Where archives for other workers lie: /var/lib/gswarm/worker/blobs. */
const char *task_blob_dir(const struct task *t);
const char *task_exe_dir(const struct task *t); /* where our executables are */
struct tls_identity *task_identity(const struct task *t);
struct peer;
struct peer *task_peer(const struct task *t); /* this worker's Peer service (worker/galera/peer.h), or NULL */
/* Blocking work with data of its own, for the task's files: where another's dead file system holds up nobody else.
 * back runs on the loop, also when the task is gone by then. */
void task_work(struct task *t, void (*work)(void *arg), void (*back)(void *arg), void *arg);
/* Run a tool inside the task's own root file system, mounts and user (a one-shot container of the same image,
 * own pid namespace, no network), e.g. mariadb-install-db or mysqld --wsrep-recover. done fires once. */
void task_run_tool(struct task *t, const char *const *argv, const void *input, size_t input_len,
		   uint64_t deadline_ms, void (*done)(const struct capture_result *r, void *arg), void *arg);

/* ---- a driver's answers ---- */
void task_held(struct task *t, uint32_t attempt, const Gs__GaleraEvidence *evidence); /* copied */
void task_start(struct task *t, uint32_t attempt, const char *const *argv);           /* copied */
void task_failed(struct task *t, uint32_t attempt,
		 const struct err *e); /* this attempt failed before a start */
/* End this attempt's process: not a crash, the next attempt follows at once. */
void task_restart(struct task *t, uint32_t attempt, const char *why);
/* Why the attempt before this one ended: behind what its error says already. */
void task_explain(struct task *t, const char *why);
void task_genesis_done(struct task *t, uint32_t attempt,
		       const Gs__GenesisResult *r);         /* copied; task goes back to HELD by hold() */
void task_view(struct task *t, const Gs__GaleraView *view); /* copied; reported when it changed */
void task_seqno(struct task *t, int64_t last_committed);
/* One line for `task ls`, e.g. "sst 120 MiB". */
void task_progress(struct task *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* At a stop: it is of no use to wait longer than this for its end, whatever grace its service has. */
void task_stop_within(struct task *t, uint32_t ms);
void task_stop_now(struct task *t); /* after stopping(): drained, send the stop signal */
