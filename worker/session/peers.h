// SPDX-License-Identifier: Apache-2.0
/* The other workers of the swarm as far as assignments tell them, and our own Peer service
 * (worker/galera/peer.h). */
#pragma once
#include "worker/worker.h"

struct peers;
struct peers *peers_new(struct worker *w);
/* Serve on 2378 of the advertised address from now on; called again when that has changed. An address that is not
 * here (yet) or a port that somebody has is told and tried again every second. */
void peers_listen(struct peers *p);
/* Why nobody is served, or "". */
const char *peers_trouble(const struct peers *p);
void peers_free(struct peers *p);
void peers_set(struct peers *p, const Gs__Node *row);
void peers_remove(struct peers *p, const char *node_id);
/* Where each member of a Galera cluster is, from the endpoints: only that node may tell of it. */
void peers_endpoint_set(struct peers *p, const Gs__Endpoint *row);
void peers_endpoint_remove(struct peers *p, const char *endpoint_id);
void peers_set_begin(struct peers *p);
void peers_set_end(struct peers *p);
void peers_identity_changed(struct peers *p);
struct peer *peers_service(struct peers *p);
