// SPDX-License-Identifier: Apache-2.0
/* What the parts of the manager know of the daemon around them: the loop, the clock, the store, who we are, and
 * the few things that only the daemon can say.
 *
 *   daemon              owns one context, fills it, and calls down into
 *     ca, session, api  which borrow it and call nothing of the daemon's but what is here
 *
 * All of it belongs to the loop's thread. */
#pragma once
#include <uv.h>

#include "base/id.h"
#include "base/loop.h"
#include "manager/model/env.h"
#include "manager/store/store.h"
#include "proto/rpc/server.h"

struct context_ops {
	/* May calls that need the cluster be served now: it leads and its store is complete? 0, or the reason
	 * for whoever asked. */
	int (*check_serving)(void *daemon, struct err *e);
	/* Something that reconcilers look at has changed, also what is not in the store. */
	void (*mark_dirty)(void *daemon);
};

struct context {
	uv_loop_t *loop;
	const struct clock *clock;
	char *state_dir; /* its certificates and its log */
	struct store *store;
	struct consensus *engine; /* NULL while there is no cluster */
	struct rpc_server *server;
	struct reconcile_env env;                         /* for events and reports: its clock, its ids */
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1]; /* "" while there is no cluster */
	const struct context_ops *ops;
	void *daemon;
	/* Reconcile passes so far; the newest one that is through: what it changed is committed. */
	uint64_t pass_begun, pass_done;
};

/* It leads and its store is complete; false also while it stops. */
bool context_is_serving(const struct context *ctx);
/* A reconcile pass soon, never from inside. */
void context_mark_dirty(const struct context *ctx);
/* "<state dir>/<name>"; the caller frees it. */
char *context_path(const struct context *ctx, const char *name);
/* "manager:port" of every manager in the store; free with context_managers_free. */
size_t context_managers(const struct context *ctx, char ***ret);
void context_managers_free(char **list, size_t n); /* the list and its strings; NULL, 0 is fine */
