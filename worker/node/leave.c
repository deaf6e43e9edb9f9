// SPDX-License-Identifier: Apache-2.0
/* Leave: tasks are stopped, then the network's objects, the folders and at last the identity are removed.
 *
 *   tasks stopped -> kernel objects removed -> manager stopped -> session and listener closed -> note, identity,
 * files -> note removed -> answer
 *
 * Volumes stay: data is never thrown away because a node left. On the swarm's manager --force is needed, because
 * the cluster's state goes with it. No folder goes while a manager lives that works in it. A worker that finds the
 * note of a leave and no identity goes on with it.
 *
 * On a node that has lost its identity (membership_files.h) --force moves what is left of the membership aside. */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/call.h"
#include "proto/schema/node.pb-c.h"
#include "proto/schema/rpc.pb-c.h"
#include "worker/net/network.h"
#include "worker/node/manager_process.h"
#include "worker/node/member.h"
#include "worker/node/membership_files.h"
#include "worker/node/node.h"
#include "worker/node/saver.h"
#include "worker/session/agent.h"
#include "worker/task/table.h"

#define GRACE_MS 10000
#define WITH_MANAGER "with its manager"

struct leave {
	struct node *n;
	struct rpc_call *call; /* NULL: resumed after a crash, nobody waits */
	char *worker_dir, *run_dir, *manager_dir, *node_id;
	Gs__NodeLeaveResponse *resp;
	struct err err;
};

static struct leave *leave_new(struct node *n, struct rpc_call *call, const char *node_id, bool with_manager)
{
	struct leave *l = xcalloc(1, sizeof(*l));

	l->n = n;
	l->call = call;
	l->worker_dir = xstrdup(n->w->dir);
	l->run_dir = xstrdup(n->w->run_dir);
	l->node_id = xstrdup(node_id);
	l->manager_dir = with_manager ? xasprintf("%s/manager", n->w->state_dir) : NULL;
	l->resp = obj_new(&gs__node_leave_response__descriptor);
	n->busy = true;
	return l;
}

static void leave_free(struct leave *l)
{
	free(l->worker_dir);
	free(l->run_dir);
	free(l->manager_dir);
	free(l->node_id);
	obj_free(l->resp);
	free(l);
}

static void leave_work(void *arg)
{
	struct leave *l = arg;

	saver_forbid(l->n->w->saver);
	if (membership_remove(l->worker_dir, &l->err) < 0)
		return;
	node_forget(l->worker_dir, l->run_dir, l->manager_dir, l->node_id);
	membership_notes_remove(l->worker_dir, &l->err);
}

static void leave_back(void *arg)
{
	struct leave *l = arg;

	bug_if(!l->n->busy || l->n->w->state.is_member);
	l->n->busy = false;
	if (l->err.code != 0)
		log_error("leave: %s", l->err.msg);
	if (l->call && l->err.code != 0)
		rpc_fail(l->call, &l->err);
	else if (l->call)
		rpc_reply(l->call, &l->resp->base);
	leave_free(l);
}

static void leave_forget(void *arg)
{
	struct leave *l = arg;

	loop_work(l->n->w->loop, leave_work, leave_back, l);
}

static void on_manager_stopped(void *arg)
{
	struct leave *l = arg;
	struct worker *w = l->n->w;
	cleanup_free char *note = xasprintf("%s %s\n", l->node_id, l->manager_dir ? WITH_MANAGER : "");

	bug_if(!w->state.is_member || manager_proc_pid(w->manager) != 0);
	worker_member_stop(w);
	/* From here on it is no member: with the note a crash leaves what the next start removes. */
	if (membership_note(w->dir, "leave", note, &l->err) < 0)
		log_error("leave: %s", l->err.msg);
	l->err = (struct err){0};
	log_info("node %s left cluster %s", w->state.node_id, w->state.cluster_id);
	membership_fini(&w->state);
	leave_forget(l);
}

static void on_network_removed(const struct err *e, void *arg)
{
	struct leave *l = arg;

	manager_proc_stop(l->n->w->manager, on_manager_stopped, l);
}

static void on_tasks_stopped(void *arg)
{
	struct leave *l = arg;

	net_remove_all(l->n->w->net, on_network_removed, l);
}

static void on_told(void *arg)
{
	struct leave *l = arg;

	tasks_stop_all(l->n->w->tasks, GRACE_MS, on_tasks_stopped, l);
}

/* What a person must know of before it is gone. */
static void leave_begin(struct leave *l)
{
	struct worker *w = l->n->w;

	tasks_volumes(w->tasks, l->resp);
	if (!l->manager_dir) /* else the swarm ends with it */
		str_replace(&l->resp->node_id, l->node_id);
	if (l->manager_dir || !agent_leave(w->agent, on_told, l))
		on_told(l);
}

void node_leave_resume(struct node *n)
{
	cleanup_free char *path = xasprintf("%s/leave", n->w->dir), *text = NULL;
	char id[ID_LEN + 1] = "";
	struct leave *l;
	struct err e = {0};

	if (fs_read(path, 256, &text, NULL, &e) < 0 || sscanf(text, "%25s", id) != 1 || !id_is_valid(id)) {
		log_error("leave: %s is damaged: a leave was cut off, and what is left of it stays", path);
		return;
	}
	log_warn("a leave was cut off before it was complete; it goes on");
	l = leave_new(n, NULL, id, strstr(text, WITH_MANAGER));
	manager_proc_stop(n->w->manager, leave_forget, l);
}

/* ---- a node that has lost its identity ---- */

struct lost {
	struct node *n;
	struct rpc_call *call;
};

static void on_set_aside(const char *where, const struct err *e, void *arg)
{
	Gs__NodeLeaveResponse r = GS__NODE_LEAVE_RESPONSE__INIT;
	struct lost *l = arg;

	l->n->busy = false;
	if (e->code != 0) {
		log_error("leave: %s", e->msg);
		rpc_fail(l->call, e);
	} else {
		log_warn("leave: what an earlier swarm had left was moved to %s", where ? where : "nowhere");
		l->n->trouble = (struct err){0};
		if (where)
			r.set_aside = (char *)where;
		rpc_reply(l->call, &r.base);
	}
	free(l);
}

static void leave_lost(struct node *n, struct rpc_call *call, bool force)
{
	char left[128];
	bool holds_any = membership_leftover(n->w->state_dir, left, sizeof(left));
	struct err e = n->trouble;
	struct lost *l;

	if (!force || !holds_any) {
		if (e.code == 0)
			err_set(&e, E_NOT_FOUND, "this node is not part of a swarm%s%s%s",
				holds_any ? ", but a lost membership has left " : "", left,
				holds_any ? ": 'gswarm leave --force' moves that aside" : "");
		rpc_fail(call, &e);
		return;
	}
	n->busy = true;
	l = xcalloc(1, sizeof(*l));
	l->n = n;
	l->call = call;
	node_set_aside(n, on_set_aside, l);
}

void on_leave(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct worker *w = n->w;
	bool force = ((const Gs__NodeLeaveRequest *)req)->force;
	struct err e = {0};

	if (n->busy)
		err_set(&e, E_IN_USE, "another init, join or leave is under way on this node");
	else if (w->state.is_member && w->state.has_manager && !force)
		err_set(&e, E_INVALID,
			"this node is the swarm's only manager: leaving deletes the cluster's state "
			"(services, networks, "
			"secrets; volumes stay). 'gswarm leave --force' does it");
	if (e.code != 0)
		rpc_fail(call, &e);
	else if (!w->state.is_member)
		leave_lost(n, call, force);
	else
		leave_begin(leave_new(n, call, w->state.node_id, w->state.has_manager));
}
