// SPDX-License-Identifier: Apache-2.0
/* What session.c (sessions) and reports.c (reports) share. */
#pragma once
#include <uthash.h>

#include "base/bug.h"
#include "base/bucket.h"
#include "base/loop.h"
#include "base/sm.h"
#include "manager/context/answer.h"
#include "manager/model/report.h"
#include "manager/session/assign.h"
#include "manager/session/session.h"

/* What the leader remembers of one node. */
struct node_mem {
	char id[ID_LEN + 1];
	int64_t last_seen_ms;
	struct session *session; /* the open one, or NULL */
	uint64_t opened;         /* of sessions->opened: the newest session that opened; 0: none */
	int64_t opened_ms;       /* since when it could have told of its Galera tasks and has not */
	bool has_told;           /* of one at least, in that session */
	/* What its certificate may cost us. */
	struct bucket sessions, reports, report_bytes, warnings, leaves;
	unsigned n_waiting, n_unsaid; /* reports not answered yet; refusals that were not logged */
	UT_hash_handle hh;
};
/* Of one Galera task. */
struct task_mem {
	char task_id[ID_LEN + 1];
	int64_t last_committed; /* <0: never told */
	uint64_t heard_in;      /* node_mem.opened when a report of it was taken last */
	UT_hash_handle hh;
};
struct report {
	struct report *next;
	struct rpc_call *call;
	char node_id[ID_LEN + 1];
	Gs__ReportRequest *req; /* without the items that were refused on sight */
	size_t bytes;
	uint64_t opened; /* node_mem.opened when it came in */
	Gs__ReportResponse *resp;
	size_t n_on_sight; /* of resp->refused; the rest is judged anew at each attempt to commit */
};
#define SESSIONS_MAGIC MAGIC('a', 'l', 'l', 's')
struct sessions {
	uint32_t magic;
	struct context *ctx;
	struct node_mem *nodes;
	struct task_mem *tasks;
	struct loop_timer push;   /* coalesces changes */
	struct loop_timer report; /* coalesces reports */
	uint64_t change, turn;    /* rise with each change of the store, with each event */
	uint64_t opened;          /* sessions that opened so far */
	bool push_armed, report_armed, closed;
	struct report *first, **last; /* waiting for the next commit */
	size_t bytes_waiting;         /* of all reports that are not answered yet */
	bool committing;
};
struct node_mem *sessions_node(struct sessions *all, const char *node_id); /* NULL: never heard */
/* The call comes from the node's open session; false: it has been answered. */
bool sessions_check_open(struct sessions *all, struct rpc_call *call, const char *session_id);

/* Dispatcher.Report; arg is the struct sessions. */
void on_report(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
/* Dispatcher.Leave; arg is the struct sessions. */
void on_leave(struct rpc_call *call, const ProtobufCMessage *msg, void *arg);
/* Commit what waits, unless a commit is under way. */
void sessions_flush_reports(void *sessions);
/* Answer what waits with E_NOT_LEADER: there will be no commit. */
void sessions_refuse_reports(struct sessions *all);

/* For the test of its table. */
extern const struct sm_kind session_kind;
