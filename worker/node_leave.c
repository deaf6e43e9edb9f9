// SPDX-License-Identifier: Apache-2.0
/* Leave: tasks are stopped, then the network's objects, the folders and at last the identity are removed.
 *
 *   tasks stopped -> kernel objects removed -> session and listener closed -> manager stopped -> files ->
 * answer
 *
 * Volumes stay: data is never thrown away because a node left. On the swarm's manager --force is needed,
 * because the cluster's state goes with it. */
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/node.pb-c.h"
#include "proto/rpc.pb-c.h"
#include "worker/manager_proc.h"
#include "worker/netglue.h"
#include "worker/node.h"
#include "worker/tasks.h"

#define GRACE_MS 10000

struct leave {
	struct node *n;
	struct rpc_call *call;
	char *worker_dir, *run_dir, *manager_dir, *node_id;
};

static void leave_work(void *arg)
{
	struct leave *l = arg;

	node_forget(l->worker_dir, l->run_dir, l->manager_dir, l->node_id);
}

static void leave_back(void *arg)
{
	struct leave *l = arg;
	Gs__Empty empty = GS__EMPTY__INIT;

	l->n->busy = false;
	rpc_reply(l->call, &empty.base);
	free(l->worker_dir);
	free(l->run_dir);
	free(l->manager_dir);
	free(l->node_id);
	free(l);
}

static void on_manager_stopped(void *arg)
{
	struct leave *l = arg;
	struct worker *w = l->n->w;
	struct err e = {0};

	worker_member_stop(w);
	/* First the file that makes it a member; what is left after a crash is removed by the next init or
	 * join. */
	if (state_remove(w->dir, &e) < 0)
		log_error("leave: %s", e.msg);
	log_info("node %s left cluster %s", w->state.node_id, w->state.cluster_id);
	state_fini(&w->state);
	loop_work(w->loop, leave_work, leave_back, l);
}

static void on_network_removed(const struct err *e, void *arg)
{
	struct leave *l = arg;

	manager_proc_stop(l->n->w->manager, on_manager_stopped, l);
}

static void on_tasks_stopped(void *arg)
{
	struct leave *l = arg;

	netglue_remove_all(l->n->w->net, on_network_removed, l);
}

void on_leave(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct worker *w = n->w;
	struct leave *l;
	struct err e = {0};

	if (!node_begin(n, call, true))
		return;
	if (w->state.has_manager && !((const Gs__NodeLeaveRequest *)req)->force) {
		n->busy = false;
		err_set(&e, E_UNSAFE_BOOTSTRAP,
			"this node is the swarm's only manager: leaving deletes the cluster's state "
			"(services, networks, "
			"secrets; volumes stay). 'gswarm leave --force' does it");
		e.code = E_INVALID;
		rpc_fail(call, &e);
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->n = n;
	l->call = call;
	l->worker_dir = xstrdup(w->dir);
	l->run_dir = xstrdup(w->run_dir);
	l->node_id = xstrdup(w->state.node_id);
	l->manager_dir = w->state.has_manager ? xasprintf("%s/manager", w->state_dir) : NULL;
	tasks_stop_all(w->tasks, GRACE_MS, on_tasks_stopped, l);
}
