// SPDX-License-Identifier: Apache-2.0
/* Init, join, certificates, roles: against a real manager on real TLS. */
#include "tests/unit/manager/daemon_rig.h"

#include <glob.h>
#include <sys/wait.h>

#include "manager/ca/ca.h"
#include "manager/model/check.h"
#include "manager/raft/engine.h"
#include "proto/rpc/conn.h"

#define REQUEST_A "0123456789abcdef-a"
#define REQUEST_B "0123456789abcdef-b"

static unsigned digests; /* of a certificate; each is a parse */
int __real_tls_cert_digest(const char *cert_pem, char ret_digest[51], struct err *e);
int __wrap_tls_cert_digest(const char *cert_pem, char ret_digest[51], struct err *e);

int __wrap_tls_cert_digest(const char *cert_pem, char ret_digest[51], struct err *e)
{
	digests++;
	return __real_tls_cert_digest(cert_pem, ret_digest, e);
}

static void test_before_init(void **state)
{
	struct rig *r = rig_new();
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	struct err e = {0};

	assert_null(rig_call(r, CONTROL_LIST_NODES, &req, &e));
	assert_int_equal(e.code, E_NOT_MANAGER);
	assert_non_null(strstr(e.msg, "gswarm init"));
	rig_free(r);
}

static void test_init_and_restart(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ListNodesResponse *nodes;
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	struct tls_cert_info info;
	char cluster_id[ID_LEN + 1];

	assert_int_equal(tls_cert_info(r->cert_pem, &info, NULL), 0);
	assert_string_equal(info.node_id, r->node_id);
	memcpy(cluster_id, r->m.ctx.cluster_id, sizeof(cluster_id));
	assert_string_equal(info.cluster_id, cluster_id);
	rig_stop(r);
	rig_start(r);
	rig_wait_serving(r);
	assert_string_equal(r->m.ctx.cluster_id, cluster_id);
	nodes = rig_call_ok(r, CONTROL_LIST_NODES, &req);
	assert_int_equal(nodes->n_nodes, 1);
	assert_string_equal(nodes->nodes[0]->manager_addr, r->addr);
	assert_int_equal(nodes->nodes[0]->spec->role, ROLE_MANAGER);
	obj_free(nodes);
	rig_free(r);
}

static void test_init_twice(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__InitClusterResponse *again;
	char own[ID_LEN + 1];
	struct err e = {0};

	again = rig_init_call(r, r->addr, &e); /* the answer was lost: the same node may ask again */
	assert_non_null(again);
	assert_true(again->worker_cert_pem.len > 0);
	obj_free(again);
	memcpy(own, r->node_id, sizeof(own));
	id_new(r->node_id);
	assert_null(rig_init_call(r, r->addr, &e));
	assert_int_equal(e.code, E_EXISTS);
	memcpy(r->node_id, own, sizeof(own));
	rig_free(r);
}

/* ---- FINDINGS M4: what may be a cluster's state is never deleted ---- */

static bool exists_in(const struct rig *r, const char *pattern)
{
	cleanup_free char *path = xasprintf("%s/%s", r->m.ctx.state_dir, pattern);
	glob_t found;
	bool any = glob(path, 0, NULL, &found) == 0;

	globfree(&found);
	return any;
}

static void rig_rename(const struct rig *r, const char *from, const char *to)
{
	cleanup_free char *a = xasprintf("%s/state/%s", r->dir, from),
			  *b = xasprintf("%s/state/%s", r->dir, to);

	assert_int_equal(rename(a, b), 0);
}

static void test_m4_log_without_id_is_kept(void **state)
{
	struct rig *r = rig_with_cluster();
	struct err e = {0};

	rig_stop(r);
	rig_rename(r, "raft/id", "kept");
	rig_prepare(r);
	assert_int_equal(manager_start(&r->m, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "raft holds a manager's log but its file 'id' is missing"));
	assert_true(exists_in(r, "manager.key"));
	assert_true(exists_in(r, "raft/metadata1"));
	free(r->m.ctx.state_dir);
	free(r->m.run_dir);
	rig_rename(r, "kept", "raft/id");
	rig_start(r);
	rig_wait_serving(r);
	rig_free(r);
}

static void test_m4_files_without_log_are_moved(void **state)
{
	struct rig *r = rig_with_cluster();

	rig_stop(r);
	rig_rename(r, "raft", "elsewhere");
	rig_start(r);
	assert_int_equal(sm_state(&r->m.life), MANAGER_EMPTY);
	assert_true(exists_in(r, "aside-*/manager.key"));
	assert_true(exists_in(r, "aside-*/ca.crt"));
	assert_false(exists_in(r, "manager.key"));
	assert_true(exists_in(r, "elsewhere/id"));
	rig_free(r);
}

/* The third session's safety review, 7: the disk of the raft folder was mounted late, and the manager's identity was
 * moved away as if there had never been a cluster. */
static void test_s7_cluster_without_its_log_is_left_alone(void **state)
{
	struct rig *r = rig_with_cluster();
	int status;
	pid_t pid;

	rig_stop(r);
	rig_rename(r, "raft", "elsewhere");
	pid = fork();
	if (pid == 0) {
		struct err e = {0};

		memset(&r->loop, 0, sizeof(r->loop));
		uv_loop_init(&r->loop);
		rig_prepare(r);
		r->m.has_cluster = true;
		manager_start(&r->m, &e);
		_exit(e.code == E_NOT_FOUND && strstr(e.msg, "is its disk mounted?") ? 7 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	rig_rename(r, "elsewhere", "raft");
	rig_start(r);
	assert_int_not_equal(sm_state(&r->m.life), MANAGER_EMPTY);
	assert_false(exists_in(r, "aside-*"));
	assert_true(exists_in(r, "manager.key"));
	rig_free(r);
}

/* The process ends by itself, hence in a child. */
static void start_and_die(struct rig *r)
{
	memset(&r->loop, 0, sizeof(r->loop));
	uv_loop_init(&r->loop);
	alarm(20);
	rig_start(r);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	_exit(0);
}

static void test_m4_half_an_init_is_moved(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *raft = xasprintf("%s/state/raft", r->dir);
	struct err e = {0};
	int status;
	pid_t pid;

	rig_stop(r);
	rig_rename(r, "raft", "elsewhere");
	if (raft_engine_bootstrap(&r->loop, raft, &e))
		fail_msg("%s", e.msg);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	pid = fork();
	if (pid == 0)
		start_and_die(r);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	rig_start(r);
	assert_int_equal(sm_state(&r->m.life), MANAGER_EMPTY);
	assert_true(exists_in(r, "aside-*/raft/id"));
	assert_true(exists_in(r, "aside-*/manager.key"));
	rig_free(r);
}

/* FINDINGS M9: the interval that init was given is the log's, also after a restart. */
static void rotate_tokens(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		Gs__JoinTokensRequest req = GS__JOIN_TOKENS_REQUEST__INIT;

		req.rotate_worker = true;
		obj_free(rig_call_ok(r, CONTROL_JOIN_TOKENS, &req));
	}
}

static void test_m9_snapshot_interval(void **state)
{
	Gs__ClusterSpec spec = GS__CLUSTER_SPEC__INIT;
	struct rig *r;

	spec.snapshot_interval = 100;
	r = rig_with_spec(&spec);
	rig_stop(r);
	rig_start(r);
	rig_wait_serving(r);
	assert_false(exists_in(r, "raft/snapshot-*"));
	rotate_tokens(r, 110);
	while (!exists_in(r, "raft/snapshot-*")) /* or the test's limit ends it */
		uv_run(&r->loop, UV_RUN_ONCE);
	rig_free(r);
}

static void test_init_bad_input(void **state)
{
	struct rig *r = rig_new();
	struct err e = {0};

	assert_null(rig_init_call(r, "not-an-address", &e));
	assert_non_null(strstr(e.msg, "--advertise-addr"));
	assert_int_equal(sm_state(&r->m.life), MANAGER_EMPTY);
	rig_free(r);
}

static void test_pool_too_small(void **state)
{
	Gs__ClusterSpec spec = GS__CLUSTER_SPEC__INIT;
	struct err e = {0};

	spec.default_addr_pool = "10.20.30.0/25"; /* the default mask is 24 */
	assert_int_equal(check_cluster_spec(&spec, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "--default-addr-pool"));
	spec.default_addr_pool_mask = 26;
	assert_int_equal(check_cluster_spec(&spec, &e), 0);
	spec.default_addr_pool = "fd00::/16";
	assert_int_equal(check_cluster_spec(&spec, &e), E_INVALID);
}

static void test_join(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	Gs__IssueResponse *a, *again, *b;
	struct err e = {0};

	a = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	if (!a)
		fail_msg("%s", e.msg);
	assert_string_equal(a->cluster_id, r->m.ctx.cluster_id);
	assert_int_equal(a->n_managers, 1);
	assert_string_equal(a->managers[0], r->addr);
	again = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	assert_string_equal(again->node_id, a->node_id); /* a lost answer is no second node */
	b = rig_join(r, token, REQUEST_B, "docker3.local", &key, &e);
	assert_string_not_equal(b->node_id, a->node_id);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE), 3);
	obj_free(a);
	obj_free(again);
	obj_free(b);
	rig_free(r);
}

static void test_join_refused(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *worker = rig_token(r, false), *manager = rig_token(r, true), *key = NULL,
			  *rotated = NULL;
	Gs__JoinTokensRequest rotate = GS__JOIN_TOKENS_REQUEST__INIT;
	struct err e = {0};

	assert_null(rig_join(r, manager, REQUEST_A, "docker2.local", &key, &e));
	assert_non_null(strstr(e.msg, "several come later"));
	worker[strlen(worker) - 1] = worker[strlen(worker) - 1] == 'a' ? 'b' : 'a';
	assert_null(rig_join(r, worker, REQUEST_A, "docker2.local", &key, &e));
	assert_int_equal(e.code, E_TOKEN);
	worker[strlen(worker) - 1] = '0';
	rotated = rig_token(r, false);
	rotate.rotate_worker = true;
	obj_free(rig_call_ok(r, CONTROL_JOIN_TOKENS, &rotate));
	assert_null(rig_join(r, rotated, REQUEST_A, "docker2.local", &key, &e));
	assert_non_null(strstr(e.msg, "rotated"));
	assert_null(rig_join(r, rotated, "short", "docker2.local", &key, &e));
	assert_int_equal(e.code, E_INVALID);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE), 1);
	rig_free(r);
}

static void test_token_expiry(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *worker = rig_token(r, false), *manager = rig_token(r, true);
	const Gs__Cluster *c = store_cluster(r->m.ctx.store);
	int64_t now = clock_wall_ms(&clock_real);
	struct ca_root root = {0};
	struct err e = {0};
	Gs__Role role;

	assert_int_equal(ca_token_check(&root, c, worker, now + (1ll << 40), &role, &e), 0);
	assert_int_equal(role, ROLE_WORKER);
	assert_int_equal(ca_token_check(&root, c, manager, now + 1000, &role, &e), 0);
	assert_int_equal(role, ROLE_MANAGER);
	assert_int_equal(ca_token_check(&root, c, manager, now + 25ll * 3600 * 1000, &role, &e), E_TOKEN);
	assert_non_null(strstr(e.msg, "expired"));
	assert_int_equal(ca_token_check(&root, c, "GSWMTKN-1-x-y", now, &role, &e) < 0, 1);
	ca_root_fini(&root);
	rig_free(r);
}

static void test_roles(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL, *cert = NULL;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	Gs__ListRequest empty = GS__LIST_REQUEST__INIT;
	Gs__SessionRequest session = GS__SESSION_REQUEST__INIT;
	struct tls_identity *identity;
	Gs__IssueResponse *a;
	struct rpc_client *c;
	struct err e = {0};

	a = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	cert = rig_text(&a->worker_cert_pem);
	assert_int_equal(tls_identity_new(r->ca_pem, cert, key, &identity, NULL), 0);
	rig_dial(r, identity, &c);
	assert_null(
		rig_call_on(r, c, RPC_CONTROL, CONTROL_LIST_NODES, &empty, &e)); /* a worker must not steer */
	assert_int_equal(e.code, E_FORBIDDEN);
	ref.ref = a->node_id;
	assert_null(rig_call(r, CONTROL_REMOVE_NODE, &ref, &e)); /* not down */
	assert_int_equal(e.code, E_IN_USE);
	ref.force = true;
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NODE, &ref));
	rig_hang_up(r, &c);
	rig_dial(r, identity, &c);
	assert_null(rig_call_on(r, c, RPC_DISPATCHER, DISPATCHER_SESSION, &session, &e));
	assert_int_equal(e.code, E_UNAUTHENTICATED);
	assert_non_null(strstr(e.msg, "removed"));
	rig_hang_up(r, &c);
	assert_null(rig_join(r, token, REQUEST_A, "docker2.local", &key,
			     &e)); /* the old request does not revive it */
	ref.ref = r->node_id;
	assert_null(rig_call(r, CONTROL_REMOVE_NODE, &ref, &e));
	assert_non_null(strstr(e.msg, "only manager"));
	tls_identity_unref(identity);
	obj_free(a);
	rig_free(r);
}

static void test_renew(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__RenewRequest req = GS__RENEW_REQUEST__INIT;
	cleanup_free char *csr = NULL;
	struct tls_identity *identity;
	Gs__RenewResponse *resp;
	struct rpc_client *c;
	struct err e = {0};

	assert_int_equal(tls_csr_new(r->key_pem, "", &csr, NULL), 0);
	req.csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &identity, NULL), 0);
	rig_dial(r, identity, &c);
	resp = rig_call_on(r, c, RPC_CA, CA_RENEW, &req, &e);
	if (!resp)
		fail_msg("%s", e.msg);
	assert_true(resp->cert_pem.len > 100);
	obj_free(resp);
	req.csr_pem = (ProtobufCBinaryData){7, (uint8_t *)"garbage"};
	assert_null(rig_call_on(r, c, RPC_CA, CA_RENEW, &req, &e));
	rig_hang_up(r, &c);
	tls_identity_unref(identity);
	rig_free(r);
}

static void test_renew_is_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__RenewRequest req = GS__RENEW_REQUEST__INIT;
	cleanup_free char *csr = NULL;
	struct tls_identity *identity;
	struct rpc_client *c;
	struct err e = {0};
	void *resp;
	int n = 0;

	assert_int_equal(tls_csr_new(r->key_pem, "", &csr, NULL), 0);
	req.csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &identity, NULL), 0);
	rig_stop_clock(r);
	rig_dial(r, identity, &c);
	for (; n < 50 && (resp = rig_call_on(r, c, RPC_CA, CA_RENEW, &req, &e)); n++)
		obj_free(resp);
	assert_in_range(n, 4, 20);
	assert_int_equal(e.code, E_LIMIT);
	rig_hang_up(r, &c);
	tls_identity_unref(identity);
	rig_free(r);
}

/* ---- the second session's safety review, 3: what a node that was broken into can ask of the signer ---- */

struct renewing {
	struct rig *r;
	struct tls_identity *identity;
	struct rpc_client *c;
	Gs__RenewRequest req;
};

static void renewing_open(struct rig *r, const char *csr, struct renewing *ret)
{
	*ret = (struct renewing){.r = r, .req = GS__RENEW_REQUEST__INIT};
	ret->req.csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &ret->identity, NULL), 0);
	rig_dial(r, ret->identity, &ret->c);
}

static void renewing_close(struct renewing *n)
{
	rig_hang_up(n->r, &n->c);
	tls_identity_unref(n->identity);
	rig_free(n->r);
}

static void test_S3_requests_that_are_none_are_counted(void **state)
{
	struct renewing n;
	struct err e = {0};
	int refused = 0;

	renewing_open(rig_with_cluster(), "garbage", &n);
	for (int i = 0; i < 12; i++) {
		assert_null(rig_call_on(n.r, n.c, RPC_CA, CA_RENEW, &n.req, &e));
		refused += e.code == E_LIMIT;
	}
	assert_int_equal(refused, 8);
	assert_non_null(strstr(e.msg, "in a minute"));
	renewing_close(&n);
}

static void test_S3_one_renewal_at_a_time(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *csr = NULL;
	struct waited w[8] = {0};
	struct renewing n;
	int made = 0;

	assert_int_equal(tls_csr_new(r->key_pem, "", &csr, NULL), 0);
	renewing_open(r, csr, &n);
	for (int i = 0; i < 8; i++) {
		struct rpc_call_spec spec = {.service = RPC_CA,
					     .method = CA_RENEW,
					     .req = &n.req.base,
					     .deadline_ms = RIG_PATIENCE_MS,
					     .done = rig_on_done,
					     .arg = &w[i]};

		rpc_call_start(n.c, &spec);
	}
	for (int i = 0; i < 8; i++) {
		while (!w[i].done)
			uv_run(&r->loop, UV_RUN_ONCE);
		made += w[i].resp != NULL;
		if (w[i].err.code)
			assert_non_null(strstr(w[i].err.msg, "being made already"));
		obj_free(w[i].resp);
	}
	assert_int_equal(made, 1);
	renewing_close(&n);
}

/* A worker on the way between another worker and the manager must not pass for a manager. */
static void test_only_a_manager_passes_for_one(void **state)
{
	struct rig *r = rig_with_cluster();
	struct rpc_server_config none = {0};
	struct tls_identity *worker;
	struct rpc_server *impostor;
	struct rpc_client_config config = {.ip = "127.0.0.1",
					   .port = r->port,
					   .expect_manager = true,
					   .connect_timeout_ms = RIG_PATIENCE_MS};
	struct waited w = {0};
	Gs__Empty empty = GS__EMPTY__INIT;
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .req = &empty.base,
				     .deadline_ms = RIG_PATIENCE_MS,
				     .done = rig_on_done,
				     .arg = &w};
	struct rpc_client *c;

	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &worker, NULL), 0);
	config.identity = worker;
	c = rpc_client_new(&r->loop, &config);
	rpc_call_start(c, &spec);
	while (!w.done)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(w.err.code, 0);
	obj_free(w.resp);
	rpc_client_close(c);
	rpc_server_new(&r->loop, &none, &impostor);
	assert_int_equal(rpc_server_listen_tcp(impostor, "127.0.0.2", r->port, worker, NULL), 0);
	config.ip = "127.0.0.2";
	w = (struct waited){0};
	c = rpc_client_new(&r->loop, &config);
	rpc_call_start(c, &spec);
	while (!w.done)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_not_equal(w.err.code, 0);
	assert_non_null(strstr(w.err.msg, "no manager"));
	rpc_server_close(impostor, NULL, NULL);
	tls_identity_unref(worker);
	rig_free(r);
}

/* The same without a certificate, each connection as often as it may. */
static unsigned get_roots_as(struct rig *r, struct tls_identity *identity, int tries, struct err *e)
{
	unsigned allowed = 0;

	for (int done = 0; done < tries; done += CONN_CALLS_STRANGER) {
		struct rpc_client *c;

		rig_dial(r, identity, &c);
		allowed += rig_get_roots(r, c, CONN_CALLS_STRANGER, e);
		rig_hang_up(r, &c);
	}
	return allowed;
}

/* Without a certificate: few calls, and a wrong token costs no log entry. */
static void test_strangers_are_limited(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	uint64_t before = r->m.ctx.engine->ops->last_applied(r->m.ctx.engine);
	struct tls_identity *identity;
	struct join_token parsed;
	struct err e = {0};

	token[strlen(token) - 1] = token[strlen(token) - 1] == 'a' ? 'b' : 'a';
	rig_stop_clock(r);
	for (int i = 0; i < 20; i++)
		assert_null(rig_join(r, token, REQUEST_A, "docker2.local", &key, &e));
	assert_int_equal(e.code, E_TOKEN);
	assert_in_range(r->m.ctx.engine->ops->last_applied(r->m.ctx.engine), before, before + 10);
	assert_int_equal(join_token_parse(token, &parsed, NULL), 0);
	assert_int_equal(tls_identity_new_pinned(parsed.digest, &identity, NULL), 0);
	assert_in_range(get_roots_as(r, identity, 500, &e), 1, 100);
	assert_int_equal(e.code, E_LIMIT);
	tls_identity_unref(identity);
	rig_free(r);
}

/* Fresh review of security, 3: any number of calls came down one connection, and each wrong token had the root parsed. */
static void on_flood_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	unsigned *ends = arg;

	ends[e->code == E_TOKEN ? 0 : 1]++;
}

static void test_S3_flood_of_wrong_tokens(void **state)
{
	enum { N = 20000 };
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL, *csr = NULL;
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description("docker2.local", 112);
	Gs__IssueRequest req = GS__ISSUE_REQUEST__INIT;
	unsigned ends[2] = {0}, before = digests;
	struct rpc_call_spec spec = {.service = RPC_CA,
				     .method = CA_ISSUE,
				     .req = &req.base,
				     .deadline_ms = 60000,
				     .done = on_flood_done,
				     .arg = ends};
	struct tls_identity *identity;
	struct join_token parsed;
	struct rpc_client *c;

	token[strlen(token) - 1] = token[strlen(token) - 1] == 'a' ? 'b' : 'a';
	assert_int_equal(join_token_parse(token, &parsed, NULL), 0);
	assert_int_equal(tls_identity_new_pinned(parsed.digest, &identity, NULL), 0);
	assert_int_equal(tls_key_new(&key, NULL), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, NULL), 0);
	req.token = token;
	req.request_id = REQUEST_A;
	req.description = d;
	req.worker_csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rig_dial(r, identity, &c);
	for (unsigned i = 0; i < N && c; i++) {
		rpc_call_start(c, &spec);
		while (c && i + 1 > ends[0] + ends[1])
			uv_run(&r->loop, UV_RUN_ONCE);
	}
	rig_hang_up(r, &c);
	assert_in_range(ends[0], 1, CONN_CALLS_STRANGER);
	assert_in_range(digests - before, 0, 1);
	tls_identity_unref(identity);
	rig_free(r);
}

static unsigned roots_from(struct rig *r, struct tls_identity *identity, const char *source)
{
	struct rpc_client *c;
	struct rpc_client_config config = {.ip = "127.0.0.1",
					   .port = r->port,
					   .bind_ip = source,
					   .identity = identity,
					   .connect_timeout_ms = RIG_PATIENCE_MS,
					   .on_state = rig_on_state,
					   .arg = &c};
	struct err e = {0};
	unsigned n;

	c = rpc_client_new(&r->loop, &config);
	n = rig_get_roots(r, c, 1, &e);
	rig_hang_up(r, &c);
	return n;
}

/* The same review, 8: neither wrong tokens nor GetRoot take a place from who has a right token. */
static void test_S8_strangers_do_not_keep_others_out(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *wrong = xstrdup(token), *key = NULL;
	struct tls_identity *identity;
	struct join_token parsed;
	Gs__IssueResponse *joined;
	struct err e = {0};
	unsigned heard = 0;

	wrong[strlen(wrong) - 1] = wrong[strlen(wrong) - 1] == 'a' ? 'b' : 'a';
	rig_stop_clock(r);
	for (int i = 0; i < 80; i++)
		assert_null(rig_join(r, wrong, REQUEST_A, "docker2.local", &key, &e));
	assert_int_equal(e.code, E_TOKEN);
	assert_int_equal(join_token_parse(token, &parsed, NULL), 0);
	assert_int_equal(tls_identity_new_pinned(parsed.digest, &identity, NULL), 0);
	assert_in_range(get_roots_as(r, identity, 500, &e), 1, 100);
	for (int i = 2; i <= 9; i++) { /* one of them may share its bucket */
		char source[16];

		snprintf(source, sizeof(source), "127.0.0.%d", i);
		heard += roots_from(r, identity, source);
	}
	assert_in_range(heard, 6, 8);
	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	if (!joined)
		fail_msg("%s", e.msg);
	obj_free(joined);
	tls_identity_unref(identity);
	rig_free(r);
}

#define CERTS_MAX 16 /* that a node may have */

static void add_cert(struct rig *r, const char *serial, const char *node_id, int64_t not_after_ms)
{
	struct tx *tx = tx_new(r->m.ctx.store);

	ca_add_cert(tx, serial, node_id, not_after_ms);
	rig_commit(r, tx);
}

/* The third session's safety review, 1: with a clock that was ahead for a moment the rows of all nodes went, and with
 * the right time again no node was known any more. */
static void test_s1_clock_that_was_ahead(void **state)
{
	static const char gone[] = "00000000000000000000000000000001";
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	struct clock_virtual now = {.wall_ms = clock_wall_ms(&clock_real) + 200 * INT64_C(86400000)};
	struct clock ahead = clock_virtual_of(&now);
	struct rpc_peer peer = {0};
	struct tls_cert_info info, older;
	cleanup_free char *cert = NULL, *first = NULL;
	Gs__IssueResponse *joined;
	struct err e = {0};

	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	first = rig_text(&joined->worker_cert_pem);
	obj_free(joined);
	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e); /* the answer was lost */
	cert = rig_text(&joined->worker_cert_pem);
	assert_int_equal(tls_cert_info(first, &older, &e), 0);
	assert_int_equal(tls_cert_info(cert, &info, &e), 0);
	add_cert(r, gone, "somebody", info.not_after_ms + 1);
	r->m.ctx.clock = &ahead;
	ca_renew_own(r->m.ca);
	while (store_get(r->m.ctx.store, OBJ_NODE_CERT, gone) ||
	       store_get(r->m.ctx.store, OBJ_NODE_CERT, older.serial))
		uv_run(&r->loop, UV_RUN_ONCE);
	r->m.ctx.clock = &clock_real;
	strcpy(peer.node_id, joined->node_id);
	strcpy(peer.serial, info.serial);
	strcpy(peer.cluster_id, store_cluster(r->m.ctx.store)->meta->id);
	if (ca_role(r->m.ctx.store, &peer, clock_wall_ms(&clock_real), &e) == 0)
		fail_msg("%s", e.msg);
	obj_free(joined);
	rig_free(r);
}

/* The same, 10: 16 answers that were lost, and the node could never renew again. */
static void test_s10_lost_answers(void **state)
{
	struct rig *r = rig_with_cluster();
	int64_t until = clock_wall_ms(&clock_real) + 86400000;
	const char *node_id = r->m.ctx.node_id;
	cleanup_free char *csr = NULL;
	struct renewing n;
	struct err e = {0};
	char oldest[33];
	size_t before;
	void *resp;

	for (int i = 0; i < CERTS_MAX; i++) {
		char serial[33];

		snprintf(serial, sizeof(serial), "%032d", i);
		add_cert(r, serial, node_id, until + (int64_t)i * 1000);
	}
	before = store_count(r->m.ctx.store, OBJ_NODE_CERT);
	assert_int_equal(tls_csr_new(r->key_pem, "", &csr, NULL), 0);
	renewing_open(r, csr, &n);
	resp = rig_call_on(r, n.c, RPC_CA, CA_RENEW, &n.req, &e);
	if (!resp)
		fail_msg("%s", e.msg);
	obj_free(resp);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE_CERT), before);
	snprintf(oldest, sizeof(oldest), "%032d", 0);
	assert_null(store_get(r->m.ctx.store, OBJ_NODE_CERT, oldest));
	renewing_close(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_init),
		cmocka_unit_test(test_init_and_restart),
		cmocka_unit_test(test_init_twice),
		cmocka_unit_test(test_m4_log_without_id_is_kept),
		cmocka_unit_test(test_m4_files_without_log_are_moved),
		cmocka_unit_test(test_m4_half_an_init_is_moved),
		cmocka_unit_test(test_s7_cluster_without_its_log_is_left_alone),
		cmocka_unit_test(test_m9_snapshot_interval),
		cmocka_unit_test(test_init_bad_input),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_join_refused),
		cmocka_unit_test(test_token_expiry),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_renew),
		cmocka_unit_test(test_renew_is_bounded),
		cmocka_unit_test(test_S3_requests_that_are_none_are_counted),
		cmocka_unit_test(test_S3_one_renewal_at_a_time),
		cmocka_unit_test(test_S8_strangers_do_not_keep_others_out),
		cmocka_unit_test(test_pool_too_small),
		cmocka_unit_test(test_only_a_manager_passes_for_one),
		cmocka_unit_test(test_strangers_are_limited),
		cmocka_unit_test(test_S3_flood_of_wrong_tokens),
		cmocka_unit_test(test_s1_clock_that_was_ahead),
		cmocka_unit_test(test_s10_lost_answers),
	};

	log_init("test", LOG_WARN, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
