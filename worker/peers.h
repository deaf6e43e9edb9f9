// SPDX-License-Identifier: Apache-2.0
/* The other workers of the swarm as far as assignments tell them, and our own Peer service
 * (worker/galera/peer.h). */
#pragma once
#include "worker/worker.h"

struct peers;
struct peers *peers_new(struct worker *w);
/* Opens 2378 and registers the service. */
int peers_listen(struct peers *p, struct err *e);
void peers_free(struct peers *p);
void peers_set(struct peers *p, const Gs__Node *row);
void peers_remove(struct peers *p, const char *node_id);
void peers_set_begin(struct peers *p);
void peers_set_end(struct peers *p);
void peers_identity_changed(struct peers *p);
struct peer *peers_service(struct peers *p);
