// SPDX-License-Identifier: Apache-2.0
/* The manager daemon: who owns what, and in which order it lives.
 *
 *   start --no raft folder--> EMPTY --InitCluster--> INITIALISING --row committed--> SERVING
 *     |                         ^                        | failed: everything is removed again
 *     |                         +------------------------+
 *     +--raft folder--> LOADING --leader, Cluster row--> SERVING
 *                          +------leader, no row: an init that was cut off--> EMPTY
 *
 * Everything runs on one loop. The parts (control, ca, dispatcher, log broker) keep no state of the cluster
 * of their own: they read the store and commit to it; what they remember is about their connections. */
#pragma once
#include <uv.h>

#include "manager/reconcile/reconcile.h"
#include "manager/store/store.h"
#include "base/bucket.h"
#include "base/loop.h"
#include "proto/rpc/rpc.h"
#include "proto/tls/tls.h"

enum manager_state {
	MANAGER_EMPTY,
	MANAGER_INITIALISING,
	MANAGER_LOADING,
	MANAGER_SERVING,
	MANAGER_STOPPING
};

struct dispatcher;
struct log_broker;
struct watches;
struct init;
struct manager {
	uv_loop_t *loop;
	const struct clock *clock;
	char *state_dir, *run_dir;
	enum manager_state state;
	struct store *store;
	struct consensus *engine; /* NULL while EMPTY */
	bool is_leader;
	struct rpc_server *server;
	struct tls_identity *identity;
	bool listens;
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1];

	struct dispatcher *dispatcher;
	struct log_broker *logs;
	struct watches *watches;
	struct init *init; /* the InitCluster under way */

	/* reconcile loop */
	struct reconcile_env env;
	struct hearing hearing;
	bool dirty, scheduled, committing;
	int last_failure; /* code of the last commit that failed, to log it once */
	struct loop_timer wake, lag, listen, renew;
	uint64_t lag_expected_ms;

	struct bucket strangers; /* calls that need no certificate */

	void (*stopped)(void *arg);
	void *stopped_arg;
};

int manager_start(struct manager *m, struct err *e);
/* Answers what is open, writes nothing more; stopped(arg) when all handles are closed. */
void manager_stop(struct manager *m, void (*stopped)(void *arg), void *arg);
void manager_fini(struct manager *m);

/* Something that reconcilers look at has changed (also what is not in the store: a session). */
void manager_mark_dirty(struct manager *m);
/* Refuse a call that cannot be served now: true, and the call has been answered. */
bool manager_refuses(struct manager *m, struct rpc_call *call);
/* "<state dir>/<name>", malloc'ed. */
char *manager_path(const struct manager *m, const char *name);
/* Load the engine in state_dir/raft; on_leader decides what comes next. */
int manager_open_engine(struct manager *m, struct err *e);
/* Identity from manager.crt, manager.key and ca.crt; fills node_id and cluster_id. */
int manager_load_identity(struct manager *m, struct err *e);
int manager_listen(struct manager *m, const char *advertise, struct err *e);
/* Move the files of a cluster (raft/, manager.crt, ca.crt, manager.key) out of the way, durably, and log why
 * and where they are. Nothing that may be the last of a cluster is ever deleted. */
int manager_set_aside(struct manager *m, const char *why, struct err *e);
/* Log one line and end the process; the worker starts it again. */
void manager_die(struct manager *m, const struct err *e) __attribute__((noreturn));
void manager_serve(struct manager *m);

/* A unary call that is answered by a commit. take_resp is freed; NULL: Empty. After a conflict with another
 * commit (a reconciler was quicker) `again` is run with the same request, a few times; NULL: the conflict is
 * the answer. */
void manager_commit(struct manager *m, struct rpc_call *call, struct tx *take_tx, void *take_resp,
		    rpc_handler again, const ProtobufCMessage *req);
void manager_fail(struct rpc_call *call, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void manager_reply_empty(struct rpc_call *call);
/* "manager:port" of every manager in the store; free the list and its strings with str_list_free. */
size_t manager_addresses(const struct manager *m, char ***ret);
void str_list_free(char **list, size_t n);
