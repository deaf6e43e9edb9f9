// SPDX-License-Identifier: Apache-2.0
/* NodeLocal on worker.sock: init, join, leave, status, check, dump. One of init, join and leave at a time. */
#pragma once
#include "base/loop.h"
#include "proto/rpc/server.h"
#include "worker/context/worker.h"

struct node;
/* Serves worker.sock from now on. */
int node_new(struct worker *w, struct node **ret, struct err *e);
/* Make worker.sock, where none of ours is (it was removed). */
int node_listen(struct node *n, struct err *e);
/* Load the identity; end what an interrupted init, join or leave has left; start the member side. Trouble is told
 * (log, status, every refused verb) and tried again every few seconds: tasks do not need us meanwhile. */
void node_start(struct node *n);
/* Closes the socket; calls under way end. NULL is fine. */
void node_free(struct node *n);

/* ---- between node.c, init.c, join.c and leave.c ---- */
struct node {
	struct worker *w;
	struct rpc_server *server;
	bool busy;               /* an init, join or leave is under way */
	struct err trouble;      /* why the identity on disk is not in use; code 0: it is, or there is none */
	struct loop_timer again; /* node_start() once more */
};
/* The handlers of the verbs, arg is the node. Each answers its call once, when it is done. */
void on_init(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* Beside on_init. */
void on_join(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* Beside on_init. */
void on_leave(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* Beside on_init; needs no membership. */
void on_check(struct rpc_call *call, const ProtobufCMessage *req, void *arg);
/* Take the node for an init or a join. Refused (and answered) when one of the verbs is under way, when this node is
 * a member, or when it holds files of a membership that it has lost. */
bool node_begin(struct node *n, struct rpc_call *call);
/* Stop a manager that may run, move what it and a half-made membership have left aside, remove the notes; then done
 * with the folder, or NULL when there was nothing, or an error. */
void node_set_aside(struct node *n, void (*done)(const char *where, const struct err *e, void *arg),
		    void *arg);
/* Owned PEM text of a bytes field. */
char *node_pem(const ProtobufCBinaryData *d);
/* 2378/tcp, the data path port/udp and, for a manager, 2377/tcp. */
int node_ports_check(const char *advertise, uint16_t manager_port, uint32_t data_path_port, struct err *e);
/* Go on with a leave that a killed worker has begun. */
void node_leave_resume(struct node *n);
/* From a filled state: write it beside the loop, take the identity, start the member side; then done. On failure the
 * node is no member; files may lie there. */
void node_become_member(struct node *n, struct membership *take_state,
			void (*done)(const struct err *e, void *arg), void *arg);
/* An init, join or leave is under way, perhaps in a job. */
bool node_busy(const struct node *n);
/* Remove the member's folders (not the volumes). Blocking, on the pool. */
void node_forget(const char *worker_dir, const char *run_dir, const char *manager_dir, const char *node_id);
