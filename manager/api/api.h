// SPDX-License-Identifier: Apache-2.0
/* The cluster verbs (proto/schema/control.proto), called from the CLI over the local unix socket.
 *
 *   api.c      cluster, join tokens, nodes       cluster.c  InitCluster
 *   network.c  networks                          watch.c    WatchService
 *   service.c  services                          dump.c     Dump, events
 *   galera.c   GaleraRecover, secrets
 * What is valid input is decided in manager/model/check.c; Logs is in manager/session/logs.c. */
#pragma once
#include "manager/daemon/manager.h"
#include "proto/schema/control.pb-c.h"

void control_register(struct manager *m);

/* The engine of an InitCluster that is under way has become leader. */
void control_init_leads(struct manager *m);

/* WatchService streams. */
struct watches *control_watches_new(struct manager *m);
void control_watches_close(struct watches *w);
void control_watches_free(struct watches *w);
void control_changed(struct watches *w); /* the store has changed */
