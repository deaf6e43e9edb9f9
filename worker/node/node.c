// SPDX-License-Identifier: Apache-2.0
/* The worker's socket: init, join, leave, status and what else a user asks of this node, one call at a time, from
 * root and group gswarm. What can fail is told to the caller in one line and changes nothing. */
#include "worker/node/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sm.h"
#include "proto/rpc/server.h"
#include "proto/schema/node.pb-c.h"
#include "worker/host/cgroup.h"
#include "worker/net/network.h"
#include "worker/node/address.h"
#include "worker/node/advertise.h"
#include "worker/node/manager_process.h"
#include "worker/node/member.h"
#include "worker/node/membership_files.h"
#include "worker/node/saver.h"
#include "worker/session/agent.h"
#include "worker/session/peers.h"
#include "worker/session/self.h"
#include "worker/task/table.h"

#define AGAIN_MS 5000

char *node_pem(const ProtobufCBinaryData *d)
{
	char *text = xmalloc(d->len + 1);

	memcpy(text, d->data, d->len);
	text[d->len] = '\0';
	return text;
}

/* Nobody who leaves loses state.json alone: the rest may be all there is of a cluster. */
static void node_lost(const struct node *n, const char *left, struct err *e)
{
	err_set(e, E_EXISTS,
		"%s has %s but worker/state.json is missing: put it back and restart, or 'gswarm leave "
		"--force' "
		"moves the rest aside",
		n->w->state_dir, left);
}

bool node_begin(struct node *n, struct rpc_call *call)
{
	char left[128];
	struct err e = {0};

	bug_if_off_loop();
	if (n->busy)
		err_set(&e, E_IN_USE, "another init, join or leave is under way on this node");
	else if (n->w->state.is_member)
		err_set(&e, E_EXISTS,
			"this node is part of a swarm already (node %s); 'gswarm leave' ends that",
			n->w->state.node_id);
	else if (n->trouble.code != 0)
		e = n->trouble;
	else if (membership_leftover(n->w->state_dir, left, sizeof(left)))
		node_lost(n, left, &e);
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
	return port_check("", (uint16_t)(data_path_port != 0 ? data_path_port : DATA_PATH_PORT), true, e);
}

struct becoming {
	struct node *n;
	char *dir;
	struct membership state;
	struct tls_identity *identity;
	struct err err;
	void (*done)(const struct err *e, void *arg);
	void *arg;
};

static void becoming_work(void *arg)
{
	struct becoming *b = arg;

	if (tls_identity_new(b->state.ca, b->state.cert, b->state.key, &b->identity, &b->err) < 0 ||
	    membership_save(b->dir, &b->state, &b->err) < 0)
		err_wrap(&b->err, "identity of this node");
}

static int member_take(struct becoming *b, struct err *e)
{
	struct worker *w = b->n->w;

	membership_fini(&w->state);
	w->state = b->state;
	b->state = (struct membership){0};
	w->state.is_member = true;
	w->identity = b->identity;
	b->identity = NULL;
	saver_allow(w->saver);
	worker_managers_set(w, w->state.managers, w->state.n_managers);
	if (worker_member_start(w, e) < 0) {
		worker_member_stop(w);
		membership_fini(&w->state);
		return e->code;
	}
	log_info("node %s is a member of cluster %s", w->state.node_id, w->state.cluster_id);
	return 0;
}

static void becoming_back(void *arg)
{
	struct becoming *b = arg;

	bug_if(!b->n->busy || b->n->w->state.is_member);
	if (b->err.code == 0)
		member_take(b, &b->err);
	b->done(&b->err, b->arg);
	if (b->identity)
		tls_identity_unref(b->identity);
	membership_fini(&b->state);
	free(b->dir);
	free(b);
}

void node_become_member(struct node *n, struct membership *take_state,
			void (*done)(const struct err *e, void *arg), void *arg)
{
	struct becoming *b = xcalloc(1, sizeof(*b));

	b->n = n;
	b->dir = xstrdup(n->w->dir);
	b->state = *take_state;
	*take_state = (struct membership){0};
	memcpy(b->state.chosen_advertise, b->state.advertise, sizeof(b->state.advertise));
	memcpy(b->state.chosen_data_path, b->state.data_path, sizeof(b->state.data_path));
	b->done = done;
	b->arg = arg;
	loop_work(n->w->loop, becoming_work, becoming_back, b);
}

bool node_busy(const struct node *n)
{
	return n->busy;
}

/* ---- what a half-made or lost membership has left ---- */

struct aside {
	struct node *n;
	char *state_dir, *dir, *where;
	struct err err;
	void (*done)(const char *where, const struct err *e, void *arg);
	void *arg;
};

static void aside_work(void *arg)
{
	struct aside *a = arg;

	saver_forbid(a->n->w->saver);
	if (membership_set_aside(a->state_dir, &a->where, &a->err) == 0)
		membership_notes_remove(a->dir, &a->err);
}

static void aside_back(void *arg)
{
	struct aside *a = arg;

	bug_if(!a->n->busy);
	a->done(a->where, &a->err, a->arg);
	free(a->state_dir);
	free(a->dir);
	free(a->where);
	free(a);
}

static void on_manager_ended(void *arg)
{
	struct aside *a = arg;

	loop_work(a->n->w->loop, aside_work, aside_back, a);
}

void node_set_aside(struct node *n, void (*done)(const char *where, const struct err *e, void *arg),
		    void *arg)
{
	struct aside *a = xcalloc(1, sizeof(*a));

	bug_if(!n->busy || n->w->state.is_member);
	a->n = n;
	a->state_dir = xstrdup(n->w->state_dir);
	a->dir = xstrdup(n->w->dir);
	a->done = done;
	a->arg = arg;
	manager_proc_stop(n->w->manager, on_manager_ended, a);
}

void node_forget(const char *worker_dir, const char *run_dir, const char *manager_dir, const char *node_id)
{
	static const char *const in_dir[] = {"tasks", "blobs"};
	static const char *const in_run[] = {"tasks", "exits", "crun"};
	static const char *const groups[] = {"manager", NULL};

	for (size_t i = 0; i < array_size(in_dir); i++) {
		cleanup_free char *path = xasprintf("%s/%s", worker_dir, in_dir[i]);

		fs_remove_all(path, NULL);
	}
	for (size_t i = 0; i < array_size(in_run); i++) {
		cleanup_free char *path = xasprintf("%s/%s", run_dir, in_run[i]);

		fs_remove_all(path, NULL);
	}
	if (manager_dir)
		fs_remove_all(manager_dir, NULL);
	for (size_t i = 0; i < array_size(groups); i++) {
		cleanup_free char *path = cgroup_path_new(node_id, groups[i]);

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
	if (n->trouble.code != 0)
		str_replace(&r->trouble, n->trouble.msg);
	else if (w->state.is_member)
		str_replace(&r->trouble, *address_trouble(w->address) ? address_trouble(w->address)
								      : peers_trouble(w->peers));
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
	if (w->agent) {
		r->session_open = agent_is_open(w->agent);
		str_replace(&r->manager_addr, agent_manager(w->agent));
		str_replace(&r->session_error, agent_error(w->agent));
	}
	if (w->tasks)
		r->tasks = (uint32_t)tasks_running(w->tasks);
	if (w->net)
		r->repairs = net_repairs(w->net);
	rpc_reply(call, &r->base);
	obj_free(r);
}

/* A dump waits for the kernel's tables, which are listed on the pool. */
struct dump {
	struct rpc_call *call; /* NULL: the caller went away */
	struct buf out;
};

static void on_dump_cancelled(struct rpc_call *call, void *arg)
{
	((struct dump *)arg)->call = NULL;
}

static void dump_reply(const char *text, void *arg)
{
	struct dump *d = arg;
	Gs__NodeDump r = GS__NODE_DUMP__INIT;

	buf_printf(&d->out, "%s", text);
	r.text = buf_text(&d->out);
	if (d->call)
		rpc_reply(d->call, &r.base);
	buf_fini(&d->out);
	free(d);
}

static void on_dump(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct worker *w = n->w;
	struct dump *d = xcalloc(1, sizeof(*d));

	d->call = call;
	rpc_call_on_cancel(call, on_dump_cancelled, d);
	buf_printf(&d->out, "worker %s node=%s cluster=%s boot=%s\nmanager pid=%d error=%s\n", GSWARM_VERSION,
		   w->state.node_id, w->state.cluster_id, w->boot_id, manager_proc_pid(w->manager),
		   manager_proc_error(w->manager));
	gap_dump(&d->out);
	if (w->agent)
		agent_dump(w->agent, &d->out);
	if (w->tasks)
		tasks_dump(w->tasks, &d->out);
	if (w->net)
		net_dump(w->net, dump_reply, d);
	else
		dump_reply("", d);
}

/* ---- start ---- */

static void node_trouble(struct node *n, const struct err *e)
{
	bug_if(e->code == 0 || n->w->state.is_member);
	if (strcmp(n->trouble.msg, e->msg) != 0)
		log_error("%s; tasks go on, tried again every %d s", e->msg, AGAIN_MS / 1000);
	n->trouble = *e;
	loop_timer_set(&n->again, AGAIN_MS);
}

static void on_leftover_aside(const char *where, const struct err *e, void *arg)
{
	struct node *n = arg;

	n->busy = false;
	if (e->code != 0)
		node_trouble(n, e);
	else
		log_warn("an init or join was cut off before it was complete (nobody was told of it)%s%s",
			 where ? ": what it had made is in " : "", where ? where : "");
}

static bool is_cut_off(const struct worker *w)
{
	return membership_is_noted(w->dir, "init") || membership_is_noted(w->dir, "join");
}

static void node_start_member(struct node *n)
{
	struct worker *w = n->w;
	struct err e = {0};

	bug_if(!w->state.is_member || n->trouble.code != 0);
	membership_notes_remove(w->dir, NULL);
	worker_managers_set(w, w->state.managers, w->state.n_managers);
	if (worker_member_start(w, &e) == 0)
		return;
	worker_member_stop(w);
	membership_fini(&w->state);
	node_trouble(n, &e);
}

void node_start(struct node *n)
{
	struct worker *w = n->w;
	char left[128];
	struct err e = {0};

	bug_if(w->state.is_member || n->busy);
	if (membership_load(w->dir, &w->state, &e) < 0) {
		node_trouble(n, &e);
		return;
	}
	n->trouble = (struct err){0};
	if (w->state.is_member) {
		node_start_member(n);
	} else if (membership_is_noted(w->dir, "leave")) {
		node_leave_resume(n);
	} else if (is_cut_off(w)) {
		n->busy = true;
		node_set_aside(n, on_leftover_aside, n);
	} else if (membership_leftover(w->state_dir, left, sizeof(left))) {
		node_lost(n, left, &e);
		log_error("%s", e.msg);
	}
}

static void on_again(void *arg)
{
	struct node *n = arg;

	if (n->busy)
		loop_timer_set(&n->again, AGAIN_MS);
	else if (!n->w->state.is_member)
		node_start(n);
}

int node_listen(struct node *n, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/worker.sock", n->w->run_dir);

	return rpc_server_listen_unix(n->server, path, e);
}

int node_new(struct worker *w, struct node **ret, struct err *e)
{
	static const rpc_handler handlers[] = {
		[NODE_LOCAL_INIT_NODE] = on_init,   [NODE_LOCAL_JOIN_NODE] = on_join,
		[NODE_LOCAL_LEAVE_NODE] = on_leave, [NODE_LOCAL_STATUS] = on_status,
		[NODE_LOCAL_CHECK] = on_check,      [NODE_LOCAL_DUMP] = on_dump};
	struct rpc_server_config config = {.gid_group = "gswarm"};
	struct node *n = xcalloc(1, sizeof(*n));

	n->w = w;
	if (rpc_server_new(w->loop, &config, &n->server) < 0)
		return err_set(e, -ENOMEM, "worker.sock");
	rpc_server_add(n->server, RPC_NODE_LOCAL, handlers, array_size(handlers), n);
	loop_timer_init(&n->again, w->loop, on_again, n);
	*ret = n;
	return node_listen(n, e);
}

static void on_timer_closed(void *arg)
{
	free(arg);
}

static void on_closed(void *arg)
{
	struct node *n = arg;

	loop_timer_close(&n->again, on_timer_closed);
}

void node_free(struct node *n)
{
	if (n)
		rpc_server_close(n->server, on_closed, n);
}
