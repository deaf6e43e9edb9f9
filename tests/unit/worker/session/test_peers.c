// SPDX-License-Identifier: Apache-2.0
/* Who may open a connection to a worker, and tell of what: as the managers' assignments say (FINDINGS M3e). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proto/rpc/client.h"
#include "proto/schema/peer.pb-c.h"
#include "proto/tls/tls.h"
#include "tests/lib/own_loopback.h"
#include "worker/session/peers.h"

#define HERE "127.23.7.8"
#define PORT 2378

struct fix {
	uv_loop_t loop;
	struct worker w;
	char *ca, *ca_key;
	char other_id[ID_LEN + 1];
	struct tls_identity *other;
};

static struct tls_identity *identity_new(struct fix *f, const char *node_id)
{
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	struct tls_identity *identity;
	struct tls_issue issue;
	char serial[33];
	int64_t until;
	struct err e = {0};

	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	issue = (struct tls_issue){.ca_cert_pem = f->ca,
				   .ca_key_pem = f->ca_key,
				   .csr_pem = csr,
				   .node_id = node_id,
				   .cluster_id = f->w.state.cluster_id,
				   .now_ms = clock_wall_ms(&clock_real),
				   .expiry_s = 3600};
	assert_int_equal(tls_issue(&issue, &cert, serial, &until, &e), 0);
	assert_int_equal(tls_identity_new(f->ca, cert, key, &identity, &e), 0);
	return identity;
}

static int set_up(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));
	struct err e = {0};

	uv_loop_init(&f->loop);
	f->w.loop = &f->loop;
	f->w.blob_dir = "/nonexistent";
	id_new(f->w.state.cluster_id);
	id_new(f->w.state.node_id);
	id_new(f->other_id);
	snprintf(f->w.state.advertise, sizeof(f->w.state.advertise), HERE);
	assert_int_equal(tls_root_new(f->w.state.cluster_id, &f->ca, &f->ca_key, &e), 0);
	f->w.identity = identity_new(f, f->w.state.node_id);
	f->other = identity_new(f, f->other_id);
	f->w.peers = peers_new(&f->w);
	peers_listen(f->w.peers);
	assert_string_equal(peers_trouble(f->w.peers), "");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	peers_free(f->w.peers);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	tls_identity_unref(f->w.identity);
	tls_identity_unref(f->other);
	free(f->ca);
	free(f->ca_key);
	free(f);
	return 0;
}

struct answer {
	bool done;
	struct err err;
};

static void on_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct answer *a = arg;

	a->done = true;
	if (e)
		a->err = *e;
}

static void on_state(struct rpc_client *c, enum rpc_client_state now, const struct err *e, void *arg)
{
	if (now == RPC_CLOSED)
		*(struct rpc_client **)arg = NULL;
}

/* One call of the other node's, on a connection of its own; its outcome. */
static int call(struct fix *f, unsigned method, const void *req)
{
	struct rpc_client *c = NULL;
	struct rpc_client_config config = {
		.ip = HERE, .port = PORT, .identity = f->other, .on_state = on_state, .arg = &c};
	struct answer a = {0};
	struct rpc_call_spec spec = {.service = RPC_PEER,
				     .method = method,
				     .req = req,
				     .deadline_ms = 5000,
				     .done = on_done,
				     .arg = &a};

	c = rpc_client_new(&f->loop, &config);
	rpc_call_start(c, &spec);
	while (!a.done)
		uv_run(&f->loop, UV_RUN_ONCE);
	if (c)
		rpc_client_close(c);
	while (c)
		uv_run(&f->loop, UV_RUN_ONCE);
	return a.err.code;
}

static int ping(struct fix *f)
{
	Gs__PingRequest req = GS__PING_REQUEST__INIT;

	return call(f, PEER_PING, &req);
}

static int tell(struct fix *f, const char *cluster, const char *slot)
{
	Gs__ViewPush req = GS__VIEW_PUSH__INIT;

	req.galera_cluster_id = (char *)(uintptr_t)cluster;
	req.slot_id = (char *)(uintptr_t)slot;
	return call(f, PEER_PUSH_VIEW, &req);
}

static void set_node(struct fix *f, const char *id)
{
	Gs__Node *row = obj_new_row(OBJ_NODE, id);

	peers_set(f->w.peers, row);
	obj_free(row);
}

static void set_endpoint(struct fix *f, const char *network, const char *slot, const char *node)
{
	cleanup_free char *id = xasprintf("%s.%s", network, slot);
	Gs__Endpoint *row = obj_new_row(OBJ_ENDPOINT, id);

	str_replace(&row->slot_id, slot);
	str_replace(&row->node_id, node);
	str_replace(&row->galera_cluster_id, "g");
	peers_endpoint_set(f->w.peers, row);
	obj_free(row);
}

/* A good certificate, of a node that the managers have not named or have removed. */
static void a_certificate_alone_opens_nothing(void **state)
{
	struct fix *f = *state;

	assert_int_equal(ping(f), E_FORBIDDEN);
	set_node(f, f->other_id);
	assert_int_equal(ping(f), 0);
	peers_remove(f->w.peers, f->other_id);
	assert_int_equal(ping(f), E_FORBIDDEN);
	set_node(f, f->other_id);
	peers_set_begin(f->w.peers); /* a complete set without it, after time without a session */
	peers_set_end(f->w.peers);
	assert_int_equal(ping(f), E_FORBIDDEN);
}

static void a_node_tells_of_its_own_members(void **state)
{
	struct fix *f = *state;

	set_node(f, f->other_id);
	assert_int_equal(tell(f, "g", "s1"), E_FORBIDDEN);
	set_endpoint(f, "n", "s1", f->other_id);
	set_endpoint(f, "n", "s2", f->w.state.node_id);
	assert_int_equal(tell(f, "g", "s1"), 0);
	assert_int_equal(tell(f, "h", "s1"), E_FORBIDDEN);
	assert_int_equal(tell(f, "g", "s2"), E_FORBIDDEN);
	set_endpoint(f, "n", "s1", f->w.state.node_id); /* it has moved */
	assert_int_equal(tell(f, "g", "s1"), E_FORBIDDEN);
	set_endpoint(f, "n", "s1", f->other_id);
	peers_endpoint_remove(f->w.peers, "n.s1");
	assert_int_equal(tell(f, "g", "s1"), E_FORBIDDEN);
	set_endpoint(f, "n", "s1", f->other_id);
	peers_set_begin(f->w.peers);
	set_node(f, f->other_id);
	peers_set_end(f->w.peers);
	assert_int_equal(tell(f, "g", "s1"), E_FORBIDDEN);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_certificate_alone_opens_nothing),
		T(a_node_tells_of_its_own_members),
	};

	own_loopback();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
