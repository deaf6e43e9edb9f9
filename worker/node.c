// SPDX-License-Identifier: Apache-2.0
/* The happy path is one call at a time on a unix socket that root and group gswarm may open. What can fail is
 * told to the caller in one line and changes nothing. */
#include "worker/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/node.pb-c.h"
#include "worker/advertise.h"
#include "worker/agent.h"
#include "worker/cgroup.h"
#include "worker/manager_proc.h"
#include "worker/netglue.h"
#include "worker/tasks.h"

#define PEER_PORT 2378

char *node_pem(const ProtobufCBinaryData *d)
{
	char *text = xmalloc(d->len + 1);

	memcpy(text, d->data, d->len);
	text[d->len] = '\0';
	return text;
}

bool node_begin(struct node *n, struct rpc_call *call, bool want_member)
{
	struct err e = {0};

	if (n->busy)
		err_set(&e, E_IN_USE, "another init, join or leave is under way on this node");
	else if (!want_member && n->w->state.is_member)
		err_set(&e, E_EXISTS,
			"this node is part of a swarm already (node %s); 'gswarm leave' ends that",
			n->w->state.node_id);
	else if (want_member && !n->w->state.is_member)
		err_set(&e, E_NOT_FOUND, "this node is not part of a swarm");
	if (e.code != 0) {
		rpc_fail(call, &e);
		return false;
	}
	n->busy = true;
	return true;
}

int node_ports_check(const char *advertise, uint16_t manager_port, uint32_t data_path_port, struct err *e)
{
	if (manager_port != 0 && port_check(advertise, manager_port, false, e) < 0)
		return e->code;
	if (port_check(advertise, PEER_PORT, false, e) < 0)
		return e->code;
	return port_check("", (uint16_t)(data_path_port != 0 ? data_path_port : 4789), true, e);
}

int node_become_member(struct node *n, struct state *take_state, struct err *e)
{
	struct worker *w = n->w;
	struct tls_identity *identity;

	if (tls_identity_new(take_state->ca, take_state->cert, take_state->key, &identity, e) < 0 ||
	    state_save(w->dir, take_state, e) < 0) {
		state_remove(w->dir, NULL);
		state_fini(take_state);
		return err_wrap(e, "identity of this node");
	}
	state_fini(&w->state);
	w->state = *take_state;
	w->state.is_member = true;
	w->identity = identity;
	worker_managers_set(w, w->state.managers, w->state.n_managers);
	if (worker_member_start(w, e) < 0) {
		worker_member_stop(w);
		state_remove(w->dir, NULL);
		state_fini(&w->state);
		return e->code;
	}
	log_info("node %s is a member of cluster %s", w->state.node_id, w->state.cluster_id);
	return 0;
}

void node_forget(const char *worker_dir, const char *run_dir, const char *manager_dir, const char *node_id)
{
	static const char *const in_dir[] = {"tasks", "blobs"};
	static const char *const in_run[] = {"tasks", "exits", "crun"};
	static const char *const groups[] = {"/manager", ""};

	for (size_t i = 0; i < array_size(in_dir); i++) {
		cleanup_free char *path = xasprintf("%s/%s", worker_dir, in_dir[i]);

		fs_remove_all(path, NULL);
	}
	for (size_t i = 0; i < array_size(in_run); i++) {
		cleanup_free char *path = xasprintf("%s/%s", run_dir, in_run[i]);

		fs_remove_all(path, NULL);
	}
	if (manager_dir != NULL)
		fs_remove_all(manager_dir, NULL);
	for (size_t i = 0; i < array_size(groups); i++) {
		cleanup_free char *path = xasprintf("/gswarm/%s%s", node_id, groups[i]);

		cgroup_remove(path);
	}
}

static void on_status(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct worker *w = n->w;
	struct tls_cert_info info;
	Gs__NodeStatusResponse *r = obj_new(&gs__node_status_response__descriptor);

	str_replace(&r->software_version, GSWARM_VERSION);
	r->is_member = w->state.is_member;
	if (w->state.is_member) {
		str_replace(&r->node_id, w->state.node_id);
		str_replace(&r->cluster_id, w->state.cluster_id);
		r->role = w->state.has_manager ? ROLE_MANAGER : ROLE_WORKER;
		r->manager_pid = (uint32_t)manager_proc_pid(w->manager);
		if (tls_cert_info(w->state.cert, &info, NULL) == 0)
			r->cert_not_after_ms = info.not_after_ms;
		for (size_t i = 0; i < w->n_managers; i++)
			obj_add_str(&r->n_managers, &r->managers, w->managers[i]);
	}
	if (w->agent != NULL) {
		r->session_open = agent_is_open(w->agent);
		str_replace(&r->manager_addr, agent_manager(w->agent));
		str_replace(&r->session_error, agent_error(w->agent));
	}
	if (w->tasks != NULL)
		r->tasks = (uint32_t)tasks_running(w->tasks);
	if (w->net != NULL)
		r->repairs = netglue_repairs(w->net);
	rpc_reply(call, &r->base);
	obj_free(r);
}

static void on_dump(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct worker *w = n->w;
	struct buf out = {0};
	Gs__NodeDump r = GS__NODE_DUMP__INIT;

	buf_printf(&out, "worker %s node=%s cluster=%s boot=%s\nmanager pid=%d error=%s\n", GSWARM_VERSION,
		   w->state.node_id, w->state.cluster_id, w->boot_id, manager_proc_pid(w->manager),
		   manager_proc_error(w->manager));
	if (w->agent != NULL)
		agent_dump(w->agent, &out);
	if (w->tasks != NULL)
		tasks_dump(w->tasks, &out);
	if (w->net != NULL)
		netglue_dump(w->net, &out);
	r.text = buf_text(&out);
	rpc_reply(call, &r.base);
	buf_fini(&out);
}

int node_new(struct worker *w, struct node **ret, struct err *e)
{
	static const rpc_handler handlers[] = {
		[NODE_LOCAL_INIT_NODE] = on_init,   [NODE_LOCAL_JOIN_NODE] = on_join,
		[NODE_LOCAL_LEAVE_NODE] = on_leave, [NODE_LOCAL_STATUS] = on_status,
		[NODE_LOCAL_CHECK] = on_check,      [NODE_LOCAL_DUMP] = on_dump};
	struct rpc_server_config config = {.gid_group = "gswarm"};
	cleanup_free char *path = xasprintf("%s/worker.sock", w->run_dir);
	struct node *n = xcalloc(1, sizeof(*n));

	n->w = w;
	if (rpc_server_new(w->loop, &config, &n->server) < 0)
		return err_set(e, -ENOMEM, "worker.sock");
	rpc_server_add(n->server, RPC_NODE_LOCAL, handlers, array_size(handlers), n);
	*ret = n;
	if (rpc_server_listen_unix(n->server, path, e) < 0)
		return e->code;
	node_init_recover(n);
	return 0;
}

static void on_closed(void *arg)
{
	free(arg);
}

void node_free(struct node *n)
{
	if (n != NULL)
		rpc_server_close(n->server, on_closed, n);
}
