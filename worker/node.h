// SPDX-License-Identifier: Apache-2.0
/* NodeLocal on worker.sock: init, join, leave, status, check, dump. One of init, join and leave at a time. */
#pragma once
#include "worker/worker.h"

struct node;
int node_new(struct worker *w, struct node **ret, struct err *e);
void node_free(struct node *n);

/* ---- between node.c, node_init.c, node_join.c and node_leave.c ---- */
struct node {
	struct worker *w;
	struct rpc_server *server;
	bool busy; /* an init, join or leave is under way */
};
void on_init(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* At start: end what an init of a killed worker has left. */
void node_init_recover(struct node *n);
void on_join(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_leave(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
void on_check(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* Refuse (and answer) when busy or when membership is not as wanted. */
bool node_begin(struct node *n, struct rpc_call *call, bool want_member);
/* Owned PEM text of a bytes field. */
char *node_pem(const ProtobufCBinaryData *d);
/* 2378/tcp, the data path port/udp and, for a manager, 2377/tcp. */
int node_ports_check(const char *advertise, uint16_t manager_port, uint32_t data_path_port, struct err *e);
/* From a filled state: write it, take the identity, start the member side. Undone on failure. */
int node_become_member(struct node *n, struct state *take_state, struct err *e);
/* Remove the member's folders (not the volumes). Blocking, on the pool. */
void node_forget(const char *worker_dir, const char *run_dir, const char *manager_dir, const char *node_id);
