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
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/ca/ca.h"
#include "manager/api/api.h"
#include "manager/reconcile/reconcile.h"
#include "manager/session/session.h"
#include "manager/daemon/init.h"
#include "manager/session/logs.h"
#include "manager/raft/engine.h"

#define RETRY_MS 500
#define LAG_PERIOD_MS 1000
#define LAG_WARN_MS 50

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

	m->ctx.engine->ops->defer(m->ctx.engine, reconcile, m);
}

static void schedule(struct manager *m)
{
	if (m->scheduled || m->committing || !m->is_leader || !sm_is(&m->life, MANAGER_SERVING))
		return;
	m->scheduled = true;
	m->ctx.engine->ops->defer(m->ctx.engine, read_first, m);
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

static void pass_is_through(struct manager *m)
{
	bug_if(m->ctx.pass_done > m->ctx.pass_begun);
	m->ctx.pass_done = m->ctx.pass_begun;
	sessions_passed(m->dispatcher);
}

static void on_reconciled(void *arg, const struct err *e)
{
	struct manager *m = arg;

	bug_if(!m->committing);
	m->committing = false;
	if (!sm_is(&m->life, MANAGER_SERVING))
		return;
	if (e->code == 0)
		pass_is_through(m);
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
	int64_t now = clock_mono_ms(m->ctx.clock);

	if (m->ctx.env.wake_ms == INT64_MAX)
		loop_timer_stop(&m->wake);
	else
		loop_timer_set(&m->wake, m->ctx.env.wake_ms > now ? (uint64_t)(m->ctx.env.wake_ms - now) : 1);
}

/* Ticks come at least four times a heartbeat, so that a gap is a gap. */
static void listen_tick(void *arg)
{
	struct manager *m = arg;
	int64_t period = node_state_heartbeat_ms(m->ctx.store);
	int64_t gap = hearing_tick(&m->hearing, clock_mono_ms(m->ctx.clock), period);

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

	bug_if(!m->scheduled);
	m->scheduled = false;
	if (!m->dirty || m->committing || !m->is_leader || !sm_is(&m->life, MANAGER_SERVING))
		return;
	m->dirty = false;
	m->ctx.pass_begun++;
	listen_tick(m);
	m->ctx.env.wake_ms = INT64_MAX;
	tx = tx_new(m->ctx.store);
	tx_allow_split(tx);
	reconcile_all(m->ctx.store, tx, &m->ctx.env);
	arm_wake(m);
	if (tx_len(tx) == 0) {
		tx_free(tx);
		pass_is_through(m);
		return;
	}
	m->committing = true;
	store_commit(m->ctx.store, tx, on_reconciled, m);
}

static void on_applied(void *arg)
{
	struct manager *m = arg;

	sessions_changed(m->dispatcher);
	api_changed(m->api);
	logs_changed(m->logs);
	manager_mark_dirty(m);
}

static void env_new_id(void *arg, char ret_id[ID_LEN + 1])
{
	id_new(ret_id);
}

static int64_t env_last_seen(void *arg, const char *node_id)
{
	return sessions_last_seen_ms(((struct manager *)arg)->dispatcher, node_id);
}

static int64_t env_seqno(void *arg, const char *task_id)
{
	return sessions_seqno(((struct manager *)arg)->dispatcher, task_id);
}

static bool env_heard(void *arg, const char *task_id, int64_t *since_ms)
{
	return sessions_task_heard(((struct manager *)arg)->dispatcher, task_id, since_ms);
}

/* ---- leadership ---- */

int manager_listen(struct manager *m, const char *advertise, struct err *e)
{
	char host[64];
	uint16_t port;
	int rc = hostport_parse(advertise, MANAGER_PORT, host, sizeof(host), &port, e);

	if (rc == 0 && !m->listens)
		rc = rpc_server_listen_tcp(m->ctx.server, host, port, m->identity, e);
	if (rc ==
	    -EADDRNOTAVAIL) { /* before DHCP, or the host has another one by now: its worker will tell */
		log_warn("%s; listening on all addresses of this host", e->msg);
		rc = rpc_server_listen_tcp(m->ctx.server, strchr(host, ':') ? "::" : "0.0.0.0", port,
					   m->identity, e);
	}
	if (rc == 0)
		m->listens = true;
	return rc;
}

void manager_serve(struct manager *m)
{
	const Gs__Node *self = store_node(m->ctx.store, m->ctx.node_id);
	struct err e = {0};

	if (!self) {
		err_set(&e, E_CORRUPT, "this manager's node %s is not in the cluster's state",
			m->ctx.node_id);
		manager_die(m, &e);
	}
	if (manager_listen(m, self->manager_addr, &e))
		manager_die(m, &e);
	raft_engine_set_snapshot_interval(m->ctx.engine,
					  store_cluster(m->ctx.store)->spec->snapshot_interval);
	sm_go(&m->life, MANAGER_SERVING);
	rpc_server_set_ids(m->ctx.server, m->ctx.cluster_id, m->ctx.node_id);
	m->ctx.env.leader_since_ms = clock_mono_ms(m->ctx.clock);
	log_info("leader of cluster %s at %s, term %llu", m->ctx.cluster_id, self->manager_addr,
		 (unsigned long long)m->ctx.engine->ops->term(m->ctx.engine));
	ca_renew_own(m->ca);
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
		sessions_reset(m->dispatcher);
		return;
	}
	if (m->init)
		init_leads(m);
	else if (!store_cluster(m->ctx.store))
		forget_half_init(m);
	else
		manager_serve(m);
}

int manager_open_engine(struct manager *m, struct err *e)
{
	cleanup_free char *dir = context_path(&m->ctx, "raft");
	struct raft_engine_config config = {.loop = m->ctx.loop, .dir = dir, .fsm = store_fsm(m->ctx.store)};
	int rc = raft_engine_new(&config, &m->ctx.engine, e);

	if (rc == 0)
		store_set_consensus(m->ctx.store, m->ctx.engine);
	return rc;
}

/* ---- identity ---- */

static int read_pem(struct manager *m, const char *name, char **ret, struct err *e)
{
	cleanup_free char *path = context_path(&m->ctx, name);
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
	memcpy(m->ctx.node_id, info.node_id, sizeof(m->ctx.node_id));
	memcpy(m->ctx.cluster_id, info.cluster_id, sizeof(m->ctx.cluster_id));
	if (m->listens)
		rpc_server_set_identity(m->ctx.server, identity);
	return 0;
}

int manager_set_aside(struct manager *m, const char *why, struct err *e)
{
	static const char *const names[] = {"raft", "manager.crt", "ca.crt", "manager.key"};
	cleanup_free char *where = NULL;
	int rc = fs_set_aside(m->ctx.state_dir, names, array_size(names), &where, e);

	if (rc)
		return err_wrap(e, "%s", why);
	if (where)
		log_warn("%s: what was there is in %s now", why, where);
	return 0;
}

/* ---- what the parts may ask ---- */

static int check_serving(void *daemon, struct err *e)
{
	const struct manager *m = daemon;

	if (sm_is(&m->life, MANAGER_SERVING) && m->is_leader)
		return 0;
	if (sm_in(&m->life, SM(MANAGER_EMPTY) | SM(MANAGER_INITIALISING)))
		return err_set(e, E_NOT_MANAGER,
			       "this node is in no cluster: run 'gswarm init' or 'gswarm join'");
	if (sm_is(&m->life, MANAGER_STOPPING))
		return err_set(e, E_CLOSED, "the manager is stopping");
	if (m->ctx.engine && raft_engine_trouble(m->ctx.engine))
		return err_set(e, E_UNAVAILABLE, "the manager has not started: %s",
			       raft_engine_trouble(m->ctx.engine));
	return err_set(e, E_NOT_LEADER, "the manager is starting; try again in a moment");
}

static void on_mark_dirty(void *daemon)
{
	manager_mark_dirty(daemon);
}

static const struct context_ops context_ops = {.check_serving = check_serving, .mark_dirty = on_mark_dirty};

static int own_renewed(void *arg, struct err *e)
{
	return manager_load_identity(arg, e);
}

/* ---- start and stop ---- */

/* What must be there in each state. */
static void life_check(const struct sm *sm, unsigned from)
{
	const struct manager *m = container_of(sm, struct manager, life);

	(void)from;
	bug_if(sm_is(sm, MANAGER_INITIALISING) && !m->init);
	bug_if(sm_is(sm, MANAGER_SERVING) &&
	       (!m->ctx.engine || !m->is_leader || !m->listens || !store_cluster(m->ctx.store)));
	bug_if(sm_is(sm, MANAGER_STOPPING) && m->is_leader);
}

static const struct sm_state life_states[] = {
	{MANAGER_EMPTY, "empty", SM(MANAGER_INITIALISING) | SM(MANAGER_STOPPING)},
	{MANAGER_LOADING, "loading", SM(MANAGER_SERVING) | SM(MANAGER_STOPPING)},
	{MANAGER_INITIALISING, "initialising", SM(MANAGER_SERVING) | SM(MANAGER_STOPPING)},
	{MANAGER_SERVING, "serving", SM(MANAGER_SERVING) | SM(MANAGER_STOPPING)}, /* it leads again */
	{MANAGER_STOPPING, "stopping", 0},
};
const struct sm_kind manager_life = SM_KIND("manager", life_states, life_check);

static void on_lag(void *arg)
{
	struct manager *m = arg;
	uint64_t now = uv_now(m->ctx.loop);

	if (m->lag_expected_ms && now > m->lag_expected_ms + LAG_WARN_MS)
		log_warn("the loop was held up for %llu ms", (unsigned long long)(now - m->lag_expected_ms));
	m->lag_expected_ms = now + LAG_PERIOD_MS;
	loop_timer_set(&m->lag, LAG_PERIOD_MS);
}

static int make_server(struct manager *m, struct err *e)
{
	struct rpc_server_config config = {.authorise = ca_authorise,
					   .takes_expired = true, /* for CA.Renew: ca_role */
					   .node_conns_max = RPC_NODE_CONNS,
					   .arg = m->ca,
					   .gid_group = "gswarm"};
	cleanup_free char *path = xasprintf("%s/manager.sock", m->run_dir);
	int rc = rpc_server_new(m->ctx.loop, &config, &m->ctx.server);

	if (rc)
		return err_set(e, rc, "cannot make the server");
	api_register(m->api);
	ca_register(m->ca);
	sessions_register(m->dispatcher);
	logs_register(m->logs);
	return rpc_server_listen_unix(m->ctx.server, path, e);
}

static void make_parts(struct manager *m)
{
	const struct ca_hooks ca_hooks = {.own_renewed = own_renewed, .arg = m};
	struct api_hooks api_hooks = {.init_cluster = on_init_cluster, .init_arg = m, .logs = logs_on_logs};

	m->ctx.ops = &context_ops;
	m->ctx.daemon = m;
	m->ca = ca_new(&m->ctx, &ca_hooks);
	m->dispatcher = sessions_new(&m->ctx);
	m->logs = logs_new(&m->ctx);
	api_hooks.logs_arg = m->logs;
	m->api = api_new(&m->ctx, &api_hooks);
}

int manager_start(struct manager *m, struct err *e)
{
	cleanup_free char *raft = context_path(&m->ctx, "raft");
	bool has_log;
	int rc = fs_mkdir(m->ctx.state_dir, 0700, e);

	if (rc == 0)
		rc = fs_mkdir(m->run_dir, 0755, e);
	if (rc == 0)
		rc = raft_engine_look(raft, &has_log, e);
	if (rc)
		return rc;
	m->ctx.store = store_new(m->ctx.clock);
	store_on_leader(m->ctx.store, on_leader, m);
	store_on_applied(m->ctx.store, on_applied, m);
	m->ctx.env = (struct reconcile_env){.clock = m->ctx.clock,
					    .node_last_seen_ms = env_last_seen,
					    .hearing = &m->hearing,
					    .task_heard = env_heard,
					    .task_seqno = env_seqno,
					    .arg = m,
					    .new_id = env_new_id,
					    .wake_ms = INT64_MAX};
	make_parts(m);
	loop_timer_init(&m->wake, m->ctx.loop, on_wake, m);
	loop_timer_init(&m->lag, m->ctx.loop, on_lag, m);
	loop_timer_init(&m->listen, m->ctx.loop, listen_tick, m);
	on_lag(m);
	listen_tick(m);
	sm_init(&m->life, &manager_life, has_log ? MANAGER_LOADING : MANAGER_EMPTY, NULL);
	if (sm_is(&m->life, MANAGER_LOADING))
		rc = manager_load_identity(m, e);
	if (rc == 0)
		rc = make_server(m, e); /* also proves that no other manager works in these folders */
	if (rc == 0 && sm_is(&m->life, MANAGER_EMPTY) && m->has_cluster)
		rc = err_set(
			e, E_NOT_FOUND,
			"%s: the log of this node's cluster is not there: is its disk mounted? (nothing was "
			"moved; restore the folder, or 'gswarm leave --force' to give the cluster up)",
			raft);
	if (rc == 0 && sm_is(&m->life, MANAGER_EMPTY))
		rc = manager_set_aside(m, "there is no log here but other files of a manager", e);
	if (rc == 0 && sm_is(&m->life, MANAGER_LOADING))
		rc = manager_open_engine(m, e);
	if (rc == 0)
		log_info("gswarm-manager " GSWARM_VERSION " %s",
			 sm_is(&m->life, MANAGER_EMPTY) ? "without a cluster yet" : "loading");
	return rc;
}

static void on_server_closed(void *arg)
{
	struct manager *m = arg;

	m->ctx.server = NULL;
	sessions_close(m->dispatcher);
	logs_close(m->logs);
	api_close(m->api);
	loop_timer_close(&m->wake, NULL);
	loop_timer_close(&m->lag, NULL);
	loop_timer_close(&m->listen, NULL);
	ca_close(m->ca);
	if (m->stopped)
		m->stopped(m->stopped_arg);
}

static void on_engine_closed(void *arg)
{
	struct manager *m = arg;

	rpc_server_close(m->ctx.server, on_server_closed, m);
}

void manager_stop(struct manager *m, void (*stopped)(void *arg), void *arg)
{
	if (sm_is(&m->life, MANAGER_STOPPING))
		return;
	m->is_leader = false;
	sm_go(&m->life, MANAGER_STOPPING);
	init_stop(m);
	m->stopped = stopped;
	m->stopped_arg = arg;
	if (m->ctx.engine)
		m->ctx.engine->ops->close(m->ctx.engine, on_engine_closed, m);
	else
		on_engine_closed(m);
}

/* After the loop has run out of handles. */
void manager_fini(struct manager *m)
{
	raft_engine_free(m->ctx.engine);
	store_free(m->ctx.store);
	sessions_free(m->dispatcher);
	logs_free(m->logs);
	api_free(m->api);
	ca_free(m->ca);
	tls_identity_unref(m->identity);
	free(m->ctx.state_dir);
	free(m->run_dir);
}
