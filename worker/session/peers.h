// SPDX-License-Identifier: Apache-2.0
/* The other workers of the swarm as far as assignments tell them, and our own Peer service
 * (worker/galera/peer.h). */
#pragma once
#include "proto/value/obj.h"
#include "worker/context/worker.h"

struct peers;
/* Borrows w, whose identity must be there. Serves nobody yet. */
struct peers *peers_new(struct worker *w);
/* Serve on 2378 of the advertised address from now on; called again when that has changed. An address that is not
 * here (yet) or a port that somebody has is told and tried again every second. */
void peers_listen(struct peers *p);
/* Why nobody is served, or "". */
const char *peers_trouble(const struct peers *p);
/* Closes the listener; freed when its connections are. NULL is fine. */
void peers_free(struct peers *p);
/* A node of the swarm; copies what it keeps. Ourselves: ignored. */
void peers_set(struct peers *p, const Gs__Node *row);
/* It is gone: its connections are ended. Unknown: nothing. */
void peers_remove(struct peers *p, const char *node_id);
/* Where each member of a Galera cluster is, from the endpoints: only that node may tell of it. */
void peers_endpoint_set(struct peers *p, const Gs__Endpoint *row);
/* The endpoint is gone. Unknown: nothing. */
void peers_endpoint_remove(struct peers *p, const char *endpoint_id);
/* A complete set follows. */
void peers_set_begin(struct peers *p);
/* What the set did not name is forgotten. Without a begin: nothing. */
void peers_set_end(struct peers *p);
/* Keep tasks' egress from the peers and from w->managers, whose list has changed. */
void peers_guard(struct peers *p);
/* w->identity is a new one; connections that are there keep the old. */
void peers_identity_changed(struct peers *p);
/* Borrowed; lives as long as p. */
struct peer *peers_service(struct peers *p);
