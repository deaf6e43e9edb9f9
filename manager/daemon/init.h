// SPDX-License-Identifier: Apache-2.0
/* InitCluster: from nothing to a cluster of one node (init.c). */
#pragma once
#include "manager/daemon/manager.h"
#include "proto/schema/control.pb-c.h"

/* Control.InitCluster; arg is the struct manager. Only root on the unix socket; E_EXISTS in a cluster. */
void on_init_cluster(struct rpc_call *call, const ProtobufCMessage *req, void *manager);
/* The engine of the InitCluster that is under way (m->init) has become leader. */
void init_leads(struct manager *m);
/* The daemon ends: an init that has committed nothing yet is given up. */
void init_stop(struct manager *m);
