// SPDX-License-Identifier: Apache-2.0
/* What session.c (sessions) and reports.c (reports) share. */
#pragma once
#include <uthash.h>

#include "manager/session/assign.h"
#include "manager/session/session.h"

/* What the leader remembers of one node. */
struct node_mem {
	char id[ID_LEN + 1];
	int64_t last_seen_ms;
	struct session *session; /* the open one, or NULL */
	/* What its certificate may cost us. */
	struct bucket sessions, reports, report_bytes, warnings;
	unsigned n_waiting, n_unsaid; /* reports not answered yet; refusals that were not logged */
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
	Gs__ReportRequest *req; /* without the items that were refused on sight */
	size_t bytes;
	Gs__ReportResponse *resp;
	size_t n_on_sight; /* of resp->refused; the rest is judged anew at each attempt to commit */
};
struct dispatcher {
	struct manager *m;
	struct node_mem *nodes;
	struct seqno_mem *seqnos;
	struct loop_timer push;   /* coalesces changes */
	struct loop_timer report; /* coalesces reports */
	bool push_armed, report_armed, closed;
	struct report *first, **last; /* waiting for the next commit */
	size_t bytes_waiting;         /* of all reports that are not answered yet */
	bool committing;
};
struct node_mem *dispatcher_node(struct dispatcher *d, const char *node_id); /* NULL: never heard */
bool dispatcher_session_ok(struct dispatcher *d, struct rpc_call *call, const char *session_id);

void on_report(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
void dispatcher_flush_reports(void *dispatcher);
