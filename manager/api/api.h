// SPDX-License-Identifier: Apache-2.0
/* The cluster verbs (proto/schema/control.proto), called from the CLI over the local unix socket.
 *
 *   api.c       cluster, join tokens, nodes       page.c      answers in pages
 *   network.c   networks                          watch.c     WatchService
 *   service.c   services                          dump.c      Dump, events
 *   galera.c    GaleraRecover, secrets
 * What is valid input is in model (check.c, check_task.c). Two methods are others': InitCluster is the daemon's
 * (init.c), Logs the session room's (logs.c). */
#pragma once
#include "manager/context/context.h"
#include "proto/schema/control.pb-c.h"

struct api;
struct api_hooks {
	rpc_handler init_cluster;
	void *init_arg;
	rpc_handler logs;
	void *logs_arg;
};

/* ctx is borrowed and outlives the api; the hooks are copied. */
struct api *api_new(struct context *ctx, const struct api_hooks *hooks);
/* Serve RPC_CONTROL on ctx->server. */
void api_register(struct api *api);
/* The store has changed: watchers are told within 20 ms. */
void api_changed(struct api *api);
/* Its timer; to be freed once the loop has run. Idempotent. */
void api_close(struct api *api);
void api_free(struct api *api); /* NULL is fine */
