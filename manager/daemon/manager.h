// SPDX-License-Identifier: Apache-2.0
/* The manager daemon: who owns what, and in which order it lives.
 *
 *   start --no raft folder--> EMPTY --InitCluster--> INITIALISING --row committed--> SERVING --> STOPPING
 *     |                                                  +--failed: its files are set aside, the process ends
 *     +--raft folder--> LOADING --leader, Cluster row--> SERVING
 *                          +------leader, no row: an init that was cut off: set aside, the process ends
 *
 * Everything runs on one loop. The parts (control, ca, dispatcher, log broker) keep no state of the cluster
 * of their own: they read the store and commit to it; what they remember is about their connections. */
#pragma once
#include <uv.h>

#include "manager/context/context.h"
#include "manager/reconcile/hearing.h"
#include "base/loop.h"
#include "base/sm.h"
#include "proto/rpc/rpc.h"
#include "proto/tls/tls.h"

enum manager_state {
	MANAGER_EMPTY,
	MANAGER_LOADING,
	MANAGER_INITIALISING,
	MANAGER_SERVING,
	MANAGER_STOPPING
};
extern const struct sm_kind manager_life;

struct api;
struct ca;
struct sessions;
struct logs;
struct init;
struct manager {
	struct context ctx; /* what the parts may know; the rest is ours */
	char *run_dir;
	struct sm life; /* enum manager_state */
	bool is_leader;
	struct tls_identity *identity;
	bool listens;
	bool has_cluster; /* the worker knows of one: no log is a folder that is not there (yet) */

	struct ca *ca;
	struct sessions *dispatcher;
	struct logs *logs;
	struct api *api;
	struct init *init; /* the InitCluster under way */

	/* reconcile loop */
	struct hearing hearing;
	bool dirty, scheduled, committing;
	int last_failure; /* code of the last commit that failed, to log it once */
	struct loop_timer wake, lag, listen;
	uint64_t lag_expected_ms;

	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* ctx.loop, ctx.clock, ctx.state_dir and run_dir are set, all else is 0. Opens the socket and, when there is a log,
 * reads it; what follows comes from the loop. -errno, E_IN_USE: another manager works in these
 * folders; the process then ends. */
int manager_start(struct manager *m, struct err *e);
/* Answers what is open, writes nothing more; stopped(arg) when all handles are closed. */
void manager_stop(struct manager *m, void (*stopped)(void *arg), void *arg);
void manager_fini(struct manager *m); /* after stopped, or after a start that failed */

/* Something that reconcilers look at has changed (also what is not in the store: a session). */
void manager_mark_dirty(struct manager *m);
/* Load the engine in state_dir/raft; on_leader decides what comes next. */
int manager_open_engine(struct manager *m, struct err *e);
/* Identity from manager.crt, manager.key and ca.crt; fills node_id and cluster_id. */
int manager_load_identity(struct manager *m, struct err *e);
/* Listen on "host:port", on all addresses when that one is not here; once. -EADDRINUSE and other errno. */
int manager_listen(struct manager *m, const char *advertise, struct err *e);
/* Move the files of a cluster (raft/, manager.crt, ca.crt, manager.key) out of the way, durably, and log why
 * and where they are. Nothing that may be the last of a cluster is ever deleted. */
int manager_set_aside(struct manager *m, const char *why, struct err *e);
/* Log one line and end the process; the worker starts it again. */
void manager_die(struct manager *m, const struct err *e) __attribute__((noreturn));
/* It leads and the Cluster row is there: calls are answered from now on. Ends the process when it cannot. */
void manager_serve(struct manager *m);
