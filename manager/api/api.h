// SPDX-License-Identifier: Apache-2.0
/* The cluster verbs (proto/schema/control.proto), called from the CLI over the local unix socket.
 *
 *   control.c          cluster, join tokens, nodes       control_init.c    InitCluster
 *   control_network.c  networks                          control_check.c   what is valid input
 *   control_service.c  services                          control_watch.c   WatchService
 *   control_galera.c   GaleraRecover, secrets            control_dump.c    Dump, events
 * Logs is in logbroker.c. */
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
