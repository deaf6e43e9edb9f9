// SPDX-License-Identifier: Apache-2.0
/* The daemon's life and the reconcile loop.
 *
 * The happy path is: the engine loads, wins, the store is complete, we listen on 2377, every applied command
 * marks the reconcilers dirty, one pass over all of them makes one commit, and its being applied is the next
 * reason to look; a pass that finds nothing to do ends the chain until `wake`.
 * What can fail is: the port, the identity's files, the engine: one line and the end of the process, which
 * the worker starts again with back-off. A commit that fails is repeated: at once after a conflict, else
 * later. */
#include "manager/daemon/manager.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "manager/ca/ca.h"
#include "manager/api/api.h"
#include "manager/session/session.h"
#include "manager/session/logs.h"
#include "manager/raft/engine.h"

#define RETRY_MS 500
#define LAG_PERIOD_MS 1000
#define LAG_WARN_MS 50
/* Of requests that met each other one gets through in every round. */
#define ATTEMPTS 256

char *manager_path(const struct manager *m, const char *name)
{
	return xasprintf("%s/%s", m->state_dir, name);
}

void manager_die(struct manager *m, const struct err *e)
{
	log_error("%s", e->msg);
	_exit(1);
}

/* ---- reconcile loop ---- */

static void reconcile(void *arg);

/* Before the passes judge who is silent, the loop reads once what the sockets hold. */
static void read_first(void *arg)
{
	struct manager *m = arg;

	m->engine->ops->defer(m->engine, reconcile, m);
}

static void schedule(struct manager *m)
{
	if (m->scheduled || m->committing || !m->is_leader || m->state != MANAGER_SERVING)
		return;
	m->scheduled = true;
	m->engine->ops->defer(m->engine, read_first, m);
}

void manager_mark_dirty(struct manager *m)
{
	m->dirty = true;
	schedule(m);
}

static void on_wake(void *arg)
{
	manager_mark_dirty(arg);
}

static void on_reconciled(void *arg, const struct err *e)
{
	struct manager *m = arg;

	m->committing = false;
	if (m->state != MANAGER_SERVING)
		return;
	if (e->code == 0 || e->code == E_STALE_VERSION || e->code == E_EXISTS) {
		m->last_failure = 0;
		if (e->code)
			m->dirty = true;
		if (m->dirty)
			schedule(m);
		return;
	}
	if (e->code != m->last_failure) /* once, not at every attempt */
		log_warn("reconcile: %s", e->code == -ENOSPC ? "the disk is full" : e->msg);
	m->last_failure = e->code;
	loop_timer_set(&m->wake, RETRY_MS);
}

static void arm_wake(struct manager *m)
{
	int64_t now = clock_mono_ms(m->clock);

	if (m->env.wake_ms == INT64_MAX)
		loop_timer_stop(&m->wake);
	else
		loop_timer_set(&m->wake, m->env.wake_ms > now ? (uint64_t)(m->env.wake_ms - now) : 1);
}

/* Ticks come at least four times a heartbeat, so that a gap is a gap. */
static void listen_tick(void *arg)
{
	struct manager *m = arg;
	int64_t period = nodes_heartbeat_ms(m->store);
	int64_t gap = hearing_tick(&m->hearing, clock_mono_ms(m->clock), period);

	if (gap)
		log_warn("this manager was stopped or held up for %lld.%lld s; no node's silence counts for "
			 "that",
			 (long long)gap / 1000, (long long)gap % 1000 / 100);
	loop_timer_set(&m->listen, (uint64_t)(period / 4 + 1));
}

static void reconcile(void *arg)
{
	struct manager *m = arg;
	struct tx *tx;

	m->scheduled = false;
	if (!m->dirty || m->committing || !m->is_leader || m->state != MANAGER_SERVING)
		return;
	m->dirty = false;
	listen_tick(m);
	m->env.wake_ms = INT64_MAX;
	tx = tx_new(m->store);
	tx_allow_split(tx);
	reconcile_all(m->store, tx, &m->env);
	arm_wake(m);
	if (tx_len(tx) == 0) {
		tx_free(tx);
		return;
	}
	m->committing = true;
	store_commit(m->store, tx, on_reconciled, m);
}

static void on_applied(void *arg)
{
	struct manager *m = arg;

	dispatcher_changed(m->dispatcher);
	control_changed(m->watches);
	log_broker_changed(m->logs);
	manager_mark_dirty(m);
}

static void env_new_id(void *arg, char ret_id[ID_LEN + 1])
{
	id_new(ret_id);
}

static int64_t env_last_seen(void *arg, const char *node_id)
{
	return dispatcher_last_seen_ms(((struct manager *)arg)->dispatcher, node_id);
}

static int64_t env_seqno(void *arg, const char *task_id)
{
	return dispatcher_seqno(((struct manager *)arg)->dispatcher, task_id);
}

/* ---- leadership ---- */

int manager_listen(struct manager *m, const char *advertise, struct err *e)
{
	char host[64];
	uint16_t port;
	int rc = hostport_parse(advertise, MANAGER_PORT, host, sizeof(host), &port, e);

	if (rc == 0 && !m->listens)
		rc = rpc_server_listen_tcp(m->server, host, port, m->identity, e);
	if (rc ==
	    -EADDRNOTAVAIL) { /* before DHCP, or the host has another one by now: its worker will tell */
		log_warn("%s; listening on all addresses of this host", e->msg);
		rc = rpc_server_listen_tcp(m->server, strchr(host, ':') ? "::" : "0.0.0.0", port, m->identity,
					   e);
	}
	if (rc == 0)
		m->listens = true;
	return rc;
}

void manager_serve(struct manager *m)
{
	const Gs__Node *self = store_node(m->store, m->node_id);
	struct err e = {0};

	if (!self) {
		err_set(&e, E_CORRUPT, "this manager's node %s is not in the cluster's state", m->node_id);
		manager_die(m, &e);
	}
	if (manager_listen(m, self->manager_addr, &e))
		manager_die(m, &e);
	raft_engine_set_snapshot_interval(m->engine, store_cluster(m->store)->spec->snapshot_interval);
	m->state = MANAGER_SERVING;
	rpc_server_set_ids(m->server, m->cluster_id, m->node_id);
	m->env.leader_since_ms = clock_mono_ms(m->clock);
	log_info("leader of cluster %s at %s, term %llu", m->cluster_id, self->manager_addr,
		 (unsigned long long)m->engine->ops->term(m->engine));
	ca_renew_own(m);
	manager_mark_dirty(m);
}

/* An init that was killed before its row was committed: nobody was told that there is a cluster. */
static void forget_half_init(struct manager *m)
{
	struct err e = {0};

	if (manager_set_aside(m, "an init was cut off before it was complete", &e) == 0)
		err_set(&e, 0, "starting over without a cluster");
	manager_die(m, &e);
}

static void on_leader(void *arg, bool is_leader)
{
	struct manager *m = arg;

	m->is_leader = is_leader;
	if (!is_leader) {
		log_warn("not the leader any more");
		dispatcher_reset(m->dispatcher);
		return;
	}
	if (m->init)
		control_init_leads(m);
	else if (!store_cluster(m->store))
		forget_half_init(m);
	else
		manager_serve(m);
}

int manager_open_engine(struct manager *m, struct err *e)
{
	cleanup_free char *dir = manager_path(m, "raft");
	struct raft_engine_config config = {.loop = m->loop, .dir = dir, .fsm = store_fsm(m->store)};
	int rc = raft_engine_new(&config, &m->engine, e);

	if (rc == 0)
		store_set_consensus(m->store, m->engine);
	return rc;
}

/* ---- identity ---- */

static int read_pem(struct manager *m, const char *name, char **ret, struct err *e)
{
	cleanup_free char *path = manager_path(m, name);
	size_t len;

	return fs_read(path, 65536, ret, &len, e);
}

int manager_load_identity(struct manager *m, struct err *e)
{
	cleanup_free char *ca = NULL, *cert = NULL, *key = NULL;
	struct tls_identity *identity;
	struct tls_cert_info info;
	int rc = read_pem(m, "ca.crt", &ca, e);

	if (rc == 0)
		rc = read_pem(m, "manager.crt", &cert, e);
	if (rc == 0)
		rc = read_pem(m, "manager.key", &key, e);
	if (rc == 0)
		rc = tls_cert_info(cert, &info, e);
	if (rc == 0)
		rc = tls_identity_new(ca, cert, key, &identity, e);
	if (rc)
		return rc;
	tls_identity_unref(m->identity);
	m->identity = identity;
	memcpy(m->node_id, info.node_id, sizeof(m->node_id));
	memcpy(m->cluster_id, info.cluster_id, sizeof(m->cluster_id));
	if (m->listens)
		rpc_server_set_identity(m->server, identity);
	return 0;
}

int manager_set_aside(struct manager *m, const char *why, struct err *e)
{
	static const char *const names[] = {"raft", "manager.crt", "ca.crt", "manager.key"};
	cleanup_free char *where = NULL;
	int rc = fs_set_aside(m->state_dir, names, array_size(names), &where, e);

	if (rc)
		return err_wrap(e, "%s", why);
	if (where)
		log_warn("%s: what was there is in %s now", why, where);
	return 0;
}

/* ---- start and stop ---- */

static void on_lag(void *arg)
{
	struct manager *m = arg;
	uint64_t now = uv_now(m->loop);

	if (m->lag_expected_ms && now > m->lag_expected_ms + LAG_WARN_MS)
		log_warn("the loop was held up for %llu ms", (unsigned long long)(now - m->lag_expected_ms));
	m->lag_expected_ms = now + LAG_PERIOD_MS;
	loop_timer_set(&m->lag, LAG_PERIOD_MS);
}

static int make_server(struct manager *m, struct err *e)
{
	struct rpc_server_config config = {
		.authorise = ca_authorise, .node_conns_max = RPC_NODE_CONNS, .arg = m, .gid_group = "gswarm"};
	cleanup_free char *path = xasprintf("%s/manager.sock", m->run_dir);
	int rc = rpc_server_new(m->loop, &config, &m->server);

	if (rc)
		return err_set(e, rc, "cannot make the server");
	control_register(m);
	ca_register(m);
	dispatcher_register(m->dispatcher);
	log_broker_register(m->logs);
	return rpc_server_listen_unix(m->server, path, e);
}

int manager_start(struct manager *m, struct err *e)
{
	cleanup_free char *raft = manager_path(m, "raft");
	bool has_log;
	int rc = fs_mkdir(m->state_dir, 0700, e);

	if (rc == 0)
		rc = fs_mkdir(m->run_dir, 0755, e);
	if (rc == 0)
		rc = raft_engine_look(raft, &has_log, e);
	if (rc)
		return rc;
	m->store = store_new(m->clock);
	store_on_leader(m->store, on_leader, m);
	store_on_applied(m->store, on_applied, m);
	m->env = (struct reconcile_env){.clock = m->clock,
					.node_last_seen_ms = env_last_seen,
					.hearing = &m->hearing,
					.task_seqno = env_seqno,
					.arg = m,
					.new_id = env_new_id,
					.wake_ms = INT64_MAX};
	m->dispatcher = dispatcher_new(m);
	m->logs = log_broker_new(m);
	m->watches = control_watches_new(m);
	loop_timer_init(&m->wake, m->loop, on_wake, m);
	loop_timer_init(&m->lag, m->loop, on_lag, m);
	loop_timer_init(&m->listen, m->loop, listen_tick, m);
	on_lag(m);
	listen_tick(m);
	m->state = has_log ? MANAGER_LOADING : MANAGER_EMPTY;
	if (m->state == MANAGER_LOADING)
		rc = manager_load_identity(m, e);
	if (rc == 0)
		rc = make_server(m, e); /* also proves that no other manager works in these folders */
	if (rc == 0 && m->state == MANAGER_EMPTY)
		rc = manager_set_aside(m, "there is no log here but other files of a manager", e);
	if (rc == 0 && m->state == MANAGER_LOADING)
		rc = manager_open_engine(m, e);
	if (rc == 0)
		log_info("gswarm-manager " GSWARM_VERSION " %s",
			 m->state == MANAGER_EMPTY ? "without a cluster yet" : "loading");
	return rc;
}

static void on_server_closed(void *arg)
{
	struct manager *m = arg;

	m->server = NULL;
	dispatcher_close(m->dispatcher);
	log_broker_close(m->logs);
	control_watches_close(m->watches);
	loop_timer_close(&m->wake, NULL);
	loop_timer_close(&m->lag, NULL);
	loop_timer_close(&m->listen, NULL);
	if (m->renew.fire)
		loop_timer_close(&m->renew, NULL);
	if (m->stopped)
		m->stopped(m->stopped_arg);
}

static void on_engine_closed(void *arg)
{
	struct manager *m = arg;

	rpc_server_close(m->server, on_server_closed, m);
}

void manager_stop(struct manager *m, void (*stopped)(void *arg), void *arg)
{
	if (m->state == MANAGER_STOPPING)
		return;
	m->state = MANAGER_STOPPING;
	m->is_leader = false;
	m->stopped = stopped;
	m->stopped_arg = arg;
	if (m->engine)
		m->engine->ops->close(m->engine, on_engine_closed, m);
	else
		on_engine_closed(m);
}

/* After the loop has run out of handles. */
void manager_fini(struct manager *m)
{
	raft_engine_free(m->engine);
	store_free(m->store);
	dispatcher_free(m->dispatcher);
	log_broker_free(m->logs);
	control_watches_free(m->watches);
	tls_identity_unref(m->identity);
	free(m->state_dir);
	free(m->run_dir);
}

/* ---- answers ---- */

void manager_fail(struct rpc_call *call, int code, const char *fmt, ...)
{
	struct err e = {.code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	text_one_line(e.msg);
	rpc_fail(call, &e);
}

void manager_reply_empty(struct rpc_call *call)
{
	Gs__Empty empty = GS__EMPTY__INIT;

	rpc_reply(call, &empty.base);
}

bool manager_refuses(struct manager *m, struct rpc_call *call)
{
	if (m->state == MANAGER_SERVING && m->is_leader)
		return false;
	if (m->state == MANAGER_EMPTY || m->state == MANAGER_INITIALISING)
		manager_fail(call, E_NOT_MANAGER,
			     "this node is in no cluster: run 'gswarm init' or 'gswarm join'");
	else if (m->state == MANAGER_STOPPING)
		manager_fail(call, E_CLOSED, "the manager is stopping");
	else if (m->engine && raft_engine_trouble(m->engine))
		manager_fail(call, E_UNAVAILABLE, "the manager has not started: %s",
			     raft_engine_trouble(m->engine));
	else
		manager_fail(call, E_NOT_LEADER, "the manager is starting; try again in a moment");
	return true;
}

struct answer {
	struct manager *m;
	struct rpc_call *call;
	void *resp;
	rpc_handler again;
	void *req;
};

/* The number of attempts so far travels with the call. */
static bool try_again(struct answer *a, const struct err *e)
{
	uintptr_t attempts = (uintptr_t)rpc_call_data(a->call);

	if (e->code != E_STALE_VERSION || !a->again || attempts >= ATTEMPTS)
		return false;
	rpc_call_set_data(a->call, (void *)(attempts + 1));
	a->again(a->call, a->req, a->m);
	return true;
}

static void on_committed(void *arg, const struct err *e)
{
	struct answer *a = arg;

	if (!try_again(a, e)) {
		if (e->code == -ENOSPC)
			manager_fail(a->call, -ENOSPC,
				     "the disk under %s is full: nothing was changed; free at least 12 MiB "
				     "and try again",
				     a->m->state_dir);
		else if (e->code)
			rpc_fail(a->call, e);
		else if (a->resp)
			rpc_reply(a->call, a->resp);
		else
			manager_reply_empty(a->call);
	}
	obj_free(a->resp);
	obj_free(a->req);
	free(a);
}

void manager_commit(struct manager *m, struct rpc_call *call, struct tx *take_tx, void *take_resp,
		    rpc_handler again, const ProtobufCMessage *req)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	a->m = m;
	a->call = call;
	a->resp = take_resp;
	a->again = again;
	a->req = again ? obj_dup(req) : NULL;
	store_commit(m->store, take_tx, on_committed, a);
}

size_t manager_addresses(const struct manager *m, char ***ret)
{
	const Gs__Node *node;
	size_t n = 0;

	*ret = NULL;
	for (size_t i = 0; (node = store_at(m->store, OBJ_NODE, i)); i++) {
		if (!*node->manager_addr)
			continue;
		*ret = xrealloc(*ret, (n + 1) * sizeof(**ret));
		(*ret)[n++] = xstrdup(node->manager_addr);
	}
	return n;
}

void str_list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}
