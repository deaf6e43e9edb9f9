// SPDX-License-Identifier: Apache-2.0
/* InitCluster: from nothing to a cluster of one node, in one committed entry.
 *
 *   check -> root, keys, certificates in memory -> listen on 2377 -> files -> bootstrap raft
 *         -> leader -> commit {Cluster, Node, NodeCerts} -> answer
 *
 * The happy path takes a few milliseconds. What can fail: before the commit everything is moved aside and
 * the process ends (the worker starts a fresh one); a kill in between leaves a log without a Cluster row,
 * which the next start moves aside; a kill after the commit but before the answer leaves a complete cluster whose
 * worker has no certificate: the same node may then repeat the call and gets new ones. */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/ca/ca.h"
#include "manager/context/answer.h"
#include "manager/context/audit.h"
#include "manager/model/check.h"
#include "manager/daemon/init.h"
#include "manager/raft/engine.h"

#define MANAGER_TOKEN_TTL_MS (24ll * 3600 * 1000)
#define LINGER_MS 100 /* for the answer to leave before the process ends */

struct init {
	struct manager *m;
	struct rpc_call *call;
	Gs__InitClusterRequest *req;
	Gs__Cluster *cluster;
	char *own_key_pem, *own_cert_pem, *manager_cert_pem, *worker_cert_pem;
	struct tx *tx;
	struct loop_timer linger;
};

static void init_free(struct init *in)
{
	bug_if(in->m->init != in || in->tx); /* one at a time; its rows are committed or gone */
	in->m->init = NULL;
	obj_free(in->req);
	obj_free(in->cluster);
	if (in->own_key_pem)
		OPENSSL_cleanse(in->own_key_pem, strlen(in->own_key_pem));
	free(in->own_key_pem);
	free(in->own_cert_pem);
	free(in->manager_cert_pem);
	free(in->worker_cert_pem);
	free(in);
}

static Gs__JoinToken *new_token(int64_t now_ms, int64_t ttl_ms)
{
	Gs__JoinToken *t = obj_new(&gs__join_token__descriptor);
	char secret[26];

	ca_token_secret(secret);
	str_replace(&t->secret, secret);
	t->issued_ms = now_ms;
	t->ttl_ms = ttl_ms;
	return t;
}

static int make_cluster(struct init *in, struct err *e)
{
	cleanup_free char *cert = NULL, *key = NULL;
	int64_t now_ms = clock_wall_ms(in->m->ctx.clock);
	char id[ID_LEN + 1];
	int rc;

	id_new(id);
	rc = tls_root_new(id, &cert, &key, e);
	if (rc)
		return rc;
	in->cluster = obj_new_row(OBJ_CLUSTER, id);
	in->cluster->spec = in->req->spec ? obj_dup(in->req->spec) : obj_new(&gs__cluster_spec__descriptor);
	cluster_spec_defaults(in->cluster->spec);
	obj_bytes_set(&in->cluster->ca_cert_pem, cert, strlen(cert));
	obj_bytes_set(&in->cluster->ca_key_pem, key, strlen(key));
	in->cluster->worker_token = new_token(now_ms, 0);
	in->cluster->manager_token = new_token(now_ms, MANAGER_TOKEN_TTL_MS);
	in->cluster->schema_version = 1;
	OPENSSL_cleanse(key, strlen(key));
	return 0;
}

/* A key that the worker has put there for us is used; otherwise we make one. */
static int own_key(struct init *in, struct err *e)
{
	cleanup_free char *path = context_path(&in->m->ctx, "manager.key");
	size_t len;

	if (fs_exists(path))
		return fs_read(path, 65536, &in->own_key_pem, &len, e);
	return tls_key_new(&in->own_key_pem, e);
}

static int issue_all(struct init *in, struct err *e)
{
	const Gs__InitClusterRequest *req = in->req;
	int64_t now_ms = clock_wall_ms(in->m->ctx.clock);
	cleanup_free char *csr = NULL;
	ProtobufCBinaryData own;
	int rc = own_key(in, e);

	if (rc == 0)
		rc = tls_csr_new(in->own_key_pem, req->node_id, &csr, e);
	if (rc)
		return rc;
	own = (ProtobufCBinaryData){.data = (uint8_t *)csr, .len = strlen(csr)};
	rc = ca_issue(in->tx, in->cluster, req->node_id, true, &own, now_ms, &in->own_cert_pem, e);
	if (rc == 0)
		rc = ca_issue(in->tx, in->cluster, req->node_id, false, &req->worker_csr_pem, now_ms,
			      &in->worker_cert_pem, e);
	if (rc == 0 && req->manager_csr_pem.len)
		rc = ca_issue(in->tx, in->cluster, req->node_id, true, &req->manager_csr_pem, now_ms,
			      &in->manager_cert_pem, e);
	return rc;
}

static int write_files(struct init *in, struct err *e)
{
	struct manager *m = in->m;
	cleanup_free char *ca = ca_pem_text(&in->cluster->ca_cert_pem);
	const struct {
		const char *name, *text;
	} files[] = {{"manager.key", in->own_key_pem}, {"manager.crt", in->own_cert_pem}, {"ca.crt", ca}};
	int rc = 0;

	for (size_t i = 0; i < array_size(files) && rc == 0; i++) {
		cleanup_free char *path = context_path(&m->ctx, files[i].name);

		rc = fs_write(path, files[i].text, strlen(files[i].text), 0600, e);
	}
	return rc;
}

static void add_rows(struct init *in)
{
	const Gs__InitClusterRequest *req = in->req;
	Gs__Node *node = obj_new_row(OBJ_NODE, req->node_id);
	char host[64];
	uint16_t port;

	hostport_parse(req->advertise_addr, MANAGER_PORT, host, sizeof(host), &port, NULL);
	node->spec = obj_new(&gs__node_spec__descriptor);
	node->spec->role = ROLE_MANAGER;
	node->spec->availability = req->availability;
	node->description = obj_dup(req->description);
	node->status = obj_new(&gs__node_status__descriptor);
	node->status->since_ms = clock_wall_ms(in->m->ctx.clock);
	str_replace(&node->manager_addr, NULL);
	node->manager_addr = xasprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	tx_create(in->tx, obj_dup(in->cluster));
	tx_create(in->tx, node);
	audit_add(&in->m->ctx, in->tx, in->call, "audit.cluster.init", in->cluster->meta->id, "cluster made");
}

static void on_linger(void *arg)
{
	struct err e = {0};

	err_set(&e, 0, "init did not complete; starting over without a cluster");
	manager_die(arg, &e);
}

/* Nobody was told that there is a cluster: begin anew without it. */
static void init_fail(struct init *in, const struct err *e)
{
	struct manager *m = in->m;
	struct err aside = {0};

	if (in->tx)
		tx_free(steal(in->tx));
	log_error("init: %s", e->msg);
	rpc_fail(in->call, e);
	if (manager_set_aside(m, "an init has failed", &aside))
		log_error("%s", aside.msg);
	loop_timer_init(&in->linger, m->ctx.loop, on_linger, m);
	loop_timer_set(&in->linger, LINGER_MS);
}

static void answer(struct rpc_call *call, const Gs__Cluster *cluster, const char *node_id,
		   const char *worker_cert, const char *manager_cert)
{
	Gs__InitClusterResponse resp = GS__INIT_CLUSTER_RESPONSE__INIT;

	resp.cluster_id = cluster->meta->id;
	resp.node_id = (char *)node_id;
	resp.ca_pem = cluster->ca_cert_pem;
	resp.worker_cert_pem = (ProtobufCBinaryData){strlen(worker_cert), (uint8_t *)worker_cert};
	resp.manager_cert_pem = (ProtobufCBinaryData){strlen(manager_cert), (uint8_t *)manager_cert};
	rpc_reply(call, &resp.base);
}

static void on_init_committed(void *arg, const struct err *e)
{
	struct init *in = arg;
	struct manager *m = in->m;

	bug_if(m->init != in || !sm_in(&m->life, SM(MANAGER_INITIALISING) | SM(MANAGER_STOPPING)));
	if (e->code && sm_is(&m->life, MANAGER_STOPPING)) { /* as after a kill: the next start looks */
		rpc_fail(in->call, e);
		init_free(in);
		return;
	}
	if (e->code) {
		init_fail(in, e);
		return;
	}
	log_info("cluster %s made", in->cluster->meta->id);
	answer(in->call, in->cluster, in->req->node_id, in->worker_cert_pem,
	       in->manager_cert_pem ? in->manager_cert_pem : in->own_cert_pem);
	init_free(in);
	if (!sm_is(&m->life, MANAGER_STOPPING))
		manager_serve(m);
}

void init_stop(struct manager *m)
{
	struct init *in = m->init;
	struct err e = {0};

	bug_if(!sm_is(&m->life, MANAGER_STOPPING));
	if (!in || !in->tx) /* none, or it was handed over: that answers */
		return;
	err_set(&e, E_CLOSED, "the manager is stopping");
	rpc_fail(in->call, &e);
	tx_free(steal(in->tx));
	init_free(in);
}

void init_leads(struct manager *m)
{
	struct init *in = m->init;

	bug_if(!in);
	if (in->tx)
		store_commit(m->ctx.store, steal(in->tx), on_init_committed, in);
}

static int init_run(struct init *in, struct err *e)
{
	struct manager *m = in->m;
	cleanup_free char *raft = context_path(&m->ctx, "raft");
	int rc = make_cluster(in, e);

	if (rc == 0)
		rc = issue_all(in, e);
	if (rc == 0)
		rc = write_files(in, e);
	if (rc == 0)
		rc = manager_load_identity(m, e);
	if (rc == 0)
		rc = manager_listen(m, in->req->advertise_addr, e);
	if (rc)
		return rc;
	rpc_server_set_ids(m->ctx.server, m->ctx.cluster_id, m->ctx.node_id);
	add_rows(in);
	rc = raft_engine_bootstrap(m->ctx.loop, raft, e);
	return rc ? rc : manager_open_engine(m, e);
}

static int check_init(const Gs__InitClusterRequest *req, struct err *e)
{
	char host[64];
	uint16_t port;

	if (!id_is_valid(req->node_id))
		return err_set(e, E_INVALID, "init: node id '%.40s' is no id", req->node_id);
	if (hostport_parse(req->advertise_addr, MANAGER_PORT, host, sizeof(host), &port, e))
		return err_wrap(e, "--advertise-addr");
	if (req->worker_csr_pem.len == 0 || req->worker_csr_pem.len > 65536 ||
	    req->manager_csr_pem.len > 65536)
		return err_set(e, E_INVALID, "init: certificate request missing or too long");
	if (req->availability > AVAIL_DRAIN)
		return err_set(e, E_INVALID, "init: unknown availability %d", (int)req->availability);
	if (req->spec && check_cluster_spec(req->spec, e))
		return e->code;
	return check_description(req->description, e);
}

/* The cluster exists. The node that made it may have missed the answer. */
static void init_again(struct manager *m, struct rpc_call *call, const Gs__InitClusterRequest *req)
{
	const Gs__Cluster *cluster = store_cluster(m->ctx.store);
	Gs__InitClusterResponse *resp;
	cleanup_free char *worker = NULL, *manager = NULL;
	struct err e = {0};
	struct tx *tx;

	if (strcmp(req->node_id, m->ctx.node_id) != 0) {
		answer_fail(call, E_EXISTS,
			    "this node is part of a cluster already; 'gswarm leave --force' ends that");
		return;
	}
	tx = tx_new(m->ctx.store);
	if (ca_issue(tx, cluster, m->ctx.node_id, false, &req->worker_csr_pem, clock_wall_ms(m->ctx.clock),
		     &worker, &e) ||
	    (req->manager_csr_pem.len && ca_issue(tx, cluster, m->ctx.node_id, true, &req->manager_csr_pem,
						  clock_wall_ms(m->ctx.clock), &manager, &e))) {
		tx_free(tx);
		rpc_fail(call, &e);
		return;
	}
	resp = obj_new(&gs__init_cluster_response__descriptor);
	str_replace(&resp->cluster_id, cluster->meta->id);
	str_replace(&resp->node_id, m->ctx.node_id);
	obj_bytes_set(&resp->ca_pem, cluster->ca_cert_pem.data, cluster->ca_cert_pem.len);
	obj_bytes_set(&resp->worker_cert_pem, worker, strlen(worker));
	if (manager)
		obj_bytes_set(&resp->manager_cert_pem, manager, strlen(manager));
	answer_commit(&m->ctx, call, tx, resp, NULL, NULL, NULL);
}

void on_init_cluster(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct manager *m = arg;
	const Gs__InitClusterRequest *req = (const Gs__InitClusterRequest *)msg;
	struct err e = {0};

	if (!rpc_call_peer(call)->is_local || rpc_call_peer(call)->uid != 0) {
		answer_fail(call, E_FORBIDDEN, "only the local worker makes a cluster: run 'gswarm init'");
		return;
	}
	if (check_init(req, &e)) {
		rpc_fail(call, &e);
		return;
	}
	if (sm_is(&m->life, MANAGER_SERVING) && m->is_leader) {
		init_again(m, call, req);
		return;
	}
	if (!sm_is(&m->life, MANAGER_EMPTY)) {
		answer_fail(call, E_UNAVAILABLE, "the manager is busy starting; try again in a moment");
		return;
	}
	m->init = xcalloc(1, sizeof(*m->init));
	m->init->m = m;
	m->init->call = call;
	m->init->req = obj_dup(req);
	m->init->tx = tx_new(m->ctx.store);
	sm_go(&m->life, MANAGER_INITIALISING);
	if (init_run(m->init, &e))
		init_fail(m->init, &e);
}
