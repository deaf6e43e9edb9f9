// SPDX-License-Identifier: Apache-2.0
/* What dispatch.c (sessions) and dispatch_report.c (reports) share. */
#pragma once
#include <uthash.h>

#include "manager/assign.h"
#include "manager/dispatch.h"

/* What the leader remembers of one node. */
struct node_mem {
	char id[ID_LEN + 1];
	int64_t last_seen_ms;
	struct session *session; /* the open one, or NULL */
	UT_hash_handle hh;
};
struct seqno_mem {
	char task_id[ID_LEN + 1];
	int64_t last_committed;
	UT_hash_handle hh;
};
struct report {
	struct report *next;
	struct rpc_call *call;
	char node_id[ID_LEN + 1];
	Gs__ReportRequest *req;
};
struct dispatcher {
	struct manager *m;
	struct node_mem *nodes;
	struct seqno_mem *seqnos;
	struct loop_timer push;   /* coalesces changes */
	struct loop_timer report; /* coalesces reports */
	bool push_armed, report_armed, closed;
	struct report *first, **last; /* waiting for the next commit */
	size_t n_reports;
	bool committing;
};
struct node_mem *dispatcher_node(struct dispatcher *d, const char *node_id); /* NULL: never heard */
bool dispatcher_session_ok(struct dispatcher *d, struct rpc_call *call, const char *session_id);

void on_report(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
void dispatcher_flush_reports(void *dispatcher);
