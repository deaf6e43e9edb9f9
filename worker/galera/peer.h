// SPDX-License-Identifier: Apache-2.0
/* Worker to worker on 2378 (service Peer): reachability, blobs by hash, pushed Galera views.
 *
 *   agent: peer_new, peer_register(server), peer_set_targets(...) whenever the nodes it knows change
 *   driver: peer_push on a change of its view, peer_doubt at each poll
 * Views are kept in memory only; a member that is heard of no more is forgotten after a minute. */
#pragma once
#include <stdint.h>
#include <uv.h>

#include "proto/value/obj.h"
#include "proto/rpc/server.h"
#include "worker/galera/view.h"

struct peer;
/* Copies its texts. Tells and asks nobody before it has an identity and targets. */
struct peer *peer_new(uv_loop_t *loop, const char *node_id, const char *boot_id, const char *blob_dir);
void peer_free(struct peer *p); /* after the server is closed */
void peer_register(struct rpc_server *s, struct peer *p);
/* Takes a reference of its own (NULL: none), for the connections that are made from now on. */
void peer_set_identity(struct peer *p, struct tls_identity *identity, const char *cluster_id);
/* "ip:port" of the other workers' peer listeners; copied. At most 64 are used. */
void peer_set_targets(struct peer *p, const char *const *addresses, size_t n);

/* Who may tell of which member: asked for every view that comes in. Without it nobody may. */
typedef bool (*peer_guard)(void *arg, const char *node_id, const char *galera_cluster_id,
			   const char *slot_id);
/* arg outlives p. */
void peer_set_guard(struct peer *p, peer_guard may_tell, void *arg);

/* Tell the others, and remember as our own. */
void peer_push(struct peer *p, const char *galera_cluster_id, const char *slot_id, uint64_t epoch,
	       const Gs__GaleraView *view);
/* What the others' views say about this member, whose incoming address is own_address ("10.0.1.3:3306").
 * suspect_ms: how long a lower conf_id is normal. */
enum view_doubt peer_doubt(struct peer *p, const char *galera_cluster_id, const char *slot_id,
			   const char *own_address, const Gs__GaleraView *view, int64_t suspect_ms);
