// SPDX-License-Identifier: Apache-2.0
/* A join as the command line asks for it, and a manager that says what the test wants. Nobody becomes a member. */
#include "tests/unit/proto/rpc_fixture.h"

#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "worker/node/node.h"

struct rig {
	struct fixture *f; /* its server is the worker's own */
	struct worker w;
	struct node node;
	struct rpc_server *manager;
	uint16_t port;
	bool closed;
	unsigned busy, roots, issues; /* how often it refuses; how often it was asked */
	char token[96];
};

/* Ports of the host that runs the test are not what is tested. */
int __wrap_node_ports_check(const char *advertise, uint16_t manager_port, uint32_t data_path_port,
			    struct err *e);
int __wrap_node_ports_check(const char *advertise, uint16_t manager_port, uint32_t data_path_port,
			    struct err *e)
{
	return 0;
}

/* ---- the manager ---- */

static bool refuse_as_busy(struct rig *g, struct rpc_call *call)
{
	struct err e = {0};

	if (!g->busy)
		return false;
	g->busy--;
	err_set(&e, E_LIMIT, "too many calls without a certificate");
	rpc_fail(call, &e);
	return true;
}

static void on_get_root(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct rig *g = arg;
	Gs__RootResponse resp = GS__ROOT_RESPONSE__INIT;

	g->roots++;
	if (g->roots % 2 && refuse_as_busy(g, call))
		return;
	resp.cluster_id = "swarm";
	resp.ca_pem = (ProtobufCBinaryData){strlen(g->f->pki.ca), (uint8_t *)g->f->pki.ca};
	rpc_reply(call, &resp.base);
}

static void on_issue(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct rig *g = arg;
	struct err e = {0};

	g->issues++;
	if (refuse_as_busy(g, call))
		return;
	err_set(&e, E_TOKEN, "not this one");
	rpc_fail(call, &e);
}

static struct tls_identity *manager_identity(const struct pki *p)
{
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	struct tls_issue in = {.ca_cert_pem = p->ca,
			       .ca_key_pem = p->ca_key,
			       .node_id = SERVER_NODE,
			       .cluster_id = "swarm",
			       .is_manager = true,
			       .now_ms = (int64_t)time(NULL) * 1000,
			       .expiry_s = 3600};
	struct tls_identity *id;
	struct err e = {0};
	char serial[33];
	int64_t not_after;

	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	in.csr_pem = csr;
	assert_int_equal(tls_issue(&in, &cert, serial, &not_after, &e), 0);
	assert_int_equal(tls_identity_new(p->ca, cert, key, &id, &e), 0);
	return id;
}

/* ---- set-up ---- */

static const rpc_handler ca_handlers[] = {[CA_GET_ROOT] = on_get_root, [CA_ISSUE] = on_issue};
static const rpc_handler node_handlers[] = {[NODE_LOCAL_JOIN_NODE] = on_join};

static int rig_open(void **state)
{
	struct rig *g = xcalloc(1, sizeof(*g));
	struct rpc_server_config config = {.cluster_id = "swarm", .arg = g};
	struct tls_identity *id;
	struct err e = {0};
	void *f;

	fixture_setup(&f);
	g->f = f;
	g->w.loop = &g->f->loop;
	g->w.dir = xasprintf("%s/worker", g->f->dir);
	g->w.state_dir = xasprintf("%s/state", g->f->dir);
	g->node.w = &g->w;
	rpc_server_add(g->f->server, RPC_NODE_LOCAL, node_handlers, array_size(node_handlers), &g->node);
	id = manager_identity(&g->f->pki);
	rpc_server_new(&g->f->loop, &config, &g->manager);
	rpc_server_add(g->manager, RPC_CA, ca_handlers, array_size(ca_handlers), g);
	g->port = free_port();
	assert_int_equal(rpc_server_listen_tcp(g->manager, "127.0.0.1", g->port, id, &e), 0);
	tls_identity_unref(id);
	snprintf(g->token, sizeof(g->token), "GSWMTKN-1-%s-%s", g->f->pki.digest,
		 "aaaaaaaaaaaaaaaaaaaaaaaaa");
	*state = g;
	return 0;
}

static void on_closed(void *arg)
{
	((struct rig *)arg)->closed = true;
}

static int rig_close(void **state)
{
	struct rig *g = *state;
	void *f = g->f;

	rpc_server_close(g->manager, on_closed, g);
	wait_for(g->f, g->closed);
	free((char *)g->w.dir);
	free((char *)g->w.state_dir);
	free(g);
	return fixture_teardown(&f);
}

/* The answer of a caller that waits so long. */
static struct err join(struct rig *g, uint32_t deadline_ms)
{
	Gs__NodeJoinRequest req = GS__NODE_JOIN_REQUEST__INIT;
	cleanup_free char *where = xasprintf("127.0.0.1:%u", g->port);
	struct answer a;
	struct client c;

	req.manager_addr = where;
	req.token = g->token;
	client_unix(g->f, &c);
	start(&c, &a, RPC_NODE_LOCAL, NODE_LOCAL_JOIN_NODE, &req.base, deadline_ms);
	for (uint64_t until = uv_hrtime() + 30000000000u; !a.done && loop_turn(g->f, until);)
		;
	assert_int_equal(a.done, 1);
	client_close(&c);
	wait_for(g->f, !g->node.busy);
	return a.err;
}

/* ---- tests ---- */

/* Fresh review of security, 6: the manager's "try again in a second" ended the join. */
static void test_S6_busy_manager_is_asked_again(void **state)
{
	struct rig *g = *state;
	struct err e;

	g->busy = 3;
	e = join(g, 20000);
	assert_int_equal(e.code, E_TOKEN); /* the end of it, after the last try */
	assert_int_equal(g->busy, 0);
	assert_true(g->roots > g->issues); /* one was refused there */
}

static void test_S6_and_says_so_when_the_time_is_over(void **state)
{
	struct rig *g = *state;
	struct err e;

	g->busy = 1000;
	e = join(g, 4000);
	assert_int_equal(e.code, E_LIMIT); /* not E_DEADLINE, which would say nothing */
	assert_non_null(strstr(e.msg, "given up after"));
	assert_non_null(strstr(e.msg, "too many calls without a certificate"));
	assert_true(g->roots > 1);
}

static void test_S6_other_refusals_are_told_at_once(void **state)
{
	struct rig *g = *state;

	assert_int_equal(join(g, 20000).code, E_TOKEN);
	assert_int_equal(g->roots, 1);
	assert_int_equal(g->issues, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_S6_busy_manager_is_asked_again),
		T(test_S6_and_says_so_when_the_time_is_over),
		T(test_S6_other_refusals_are_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
