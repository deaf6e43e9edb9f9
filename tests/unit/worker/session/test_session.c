// SPDX-License-Identifier: Apache-2.0
/* The worker's session: its table of states is whole (FINDINGS H2), and when a certificate is renewed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
// after the headers it needs
#include <cmocka.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/server.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/tls/tls.h"
#include "tests/lib/own_loopback.h"
#include "worker/session/agent.h"
#include "worker/session/peers.h"

static void test_states_are_sound(void **state)
{
	assert_null(sm_kind_fault(&agent_kind, 0));
	for (unsigned i = 0; i + 1 < agent_kind.n; i++) /* whatever happens, it can be ended */
		assert_true(agent_kind.states[i].next & SM(agent_kind.n - 1));
}

/* Safety review (11): a renewed certificate that was past its half, too, was asked for again each 200 ms. */
static void test_renewal_is_not_asked_for_at_once_again(void **state)
{
	char *ca, *ca_key, *key, *csr, *cert, serial[33];
	int64_t now = clock_wall_ms(&clock_real), until, wait;
	struct tls_issue issue;
	struct err e = {0};

	(void)state;
	assert_int_equal(tls_root_new("cluster", &ca, &ca_key, &e), 0);
	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	issue = (struct tls_issue){ca, ca_key, csr, "node", "cluster", now, 90 * 86400};
	assert_int_equal(tls_issue(&issue, &cert, serial, &until, &e), 0);
	assert_int_equal(agent_renew_wait(cert, now, 200, &wait, &e), 0);
	assert_in_range(wait, 60001, 3600000);
	assert_int_equal(agent_renew_wait(cert, now + 60 * INT64_C(86400000), 200, &wait, &e), 0);
	assert_int_equal(wait, 200);
	assert_int_equal(agent_renew_wait(cert, now + 60 * INT64_C(86400000), 60000, &wait, &e), 0);
	assert_int_equal(wait, 60000);
	/* The third session's safety review, 1: made by a clock that was ahead, and half of its time is far away. */
	assert_int_equal(agent_renew_wait(cert, now - 60 * INT64_C(86400000), 200, &wait, &e), 0);
	assert_int_equal(wait, 200);
	assert_int_equal(agent_renew_wait("nonsense", now, 200, &wait, &e), E_INVALID);
	free(ca);
	free(ca_key);
	free(key);
	free(csr);
	free(cert);
}

/* ---- the third session's safety review, 5: off for longer than the certificate lives ---- */

#define MANAGER_IP "127.23.7.9"
#define MANAGER_AT MANAGER_IP ":2377"
#define DAY_MS INT64_C(86400000)

struct grace {
	uv_loop_t loop;
	struct worker w;
	struct rpc_server *server;
	char *ca, *ca_key;
	unsigned renewals, sessions;
	uint64_t save_ms; /* how long it takes */
	struct loop_timer save;
	bool stays, is_saved;
	struct rpc_call *session; /* the first, if it stays */
	char serial[33];          /* shown last */
};

static char *issued(struct grace *g, const char *csr, bool is_manager, int64_t now_ms)
{
	const struct tls_issue in = {g->ca,  g->ca_key,  csr,       g->w.state.node_id, g->w.state.cluster_id,
				     now_ms, 90 * 86400, is_manager};
	char serial[33], *cert = NULL;
	int64_t until;

	assert_int_equal(tls_issue(&in, &cert, serial, &until, NULL), 0);
	return cert;
}

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	return peer->is_expired ? ROLE_BIT_EXPIRED : ROLE_BIT_WORKER;
}

static void on_renew(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Gs__RenewRequest *req = (const Gs__RenewRequest *)msg;
	Gs__RenewResponse resp = GS__RENEW_RESPONSE__INIT;
	struct grace *g = arg;
	cleanup_free char *csr = strndup((char *)req->csr_pem.data, req->csr_pem.len);
	cleanup_free char *cert = issued(g, csr, false, clock_wall_ms(&clock_real));

	assert_int_equal(g->sessions, 0);
	g->renewals++;
	resp.cert_pem = (ProtobufCBinaryData){strlen(cert), (uint8_t *)cert};
	rpc_reply(call, &resp.base);
}

static void on_session(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct grace *g = arg;

	g->sessions++;
	strcpy(g->serial, rpc_call_peer(call)->serial);
	if (g->stays && g->sessions == 1)
		g->session = call;
	else
		rpc_end(call);
}

static void on_saved(void *arg)
{
	struct grace *g = arg;

	g->is_saved = true;
	agent_cert_saved(g->w.agent);
}

/* What the saver does, as slowly as the test wants. */
static void save(struct worker *w, unsigned what)
{
	struct grace *g = container_of(w, struct grace, w);

	if (what & STATE_CERT)
		loop_timer_set(&g->save, g->save_ms);
}

/* Of the certificate in the worker's state. */
static const char *newest(const struct grace *g)
{
	static struct tls_cert_info info;

	assert_int_equal(tls_cert_info(g->w.state.cert, &info, NULL), 0);
	return info.serial;
}

static void grace_serve(struct grace *g)
{
	static const rpc_handler ca[] = {[CA_RENEW] = on_renew},
				 dispatcher[] = {[DISPATCHER_SESSION] = on_session};
	const struct rpc_server_config config = {.authorise = authorise, .takes_expired = true, .arg = g};
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	struct tls_identity *identity;
	struct err e = {0};

	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	cert = issued(g, csr, true, clock_wall_ms(&clock_real));
	assert_int_equal(tls_identity_new(g->ca, cert, key, &identity, &e), 0);
	rpc_server_new(&g->loop, &config, &g->server);
	rpc_server_add(g->server, RPC_CA, ca, array_size(ca), g);
	rpc_server_add(g->server, RPC_DISPATCHER, dispatcher, array_size(dispatcher), g);
	if (rpc_server_listen_tcp(g->server, MANAGER_IP, 2377, identity, &e))
		fail_msg("%s", e.msg);
	tls_identity_unref(identity);
}

/* A worker whose certificate is so old. */
static void grace_open(struct grace *g, int64_t cert_made_ms)
{
	static char *managers[] = {(char *)MANAGER_AT};
	cleanup_free char *csr = NULL;
	struct worker *w = &g->w;

	*g = (struct grace){.save_ms = 10};
	uv_loop_init(&g->loop);
	loop_timer_init(&g->save, &g->loop, on_saved, g);
	w->loop = &g->loop;
	w->save = save;
	w->managers = managers;
	w->n_managers = 1;
	id_new(w->state.cluster_id);
	id_new(w->state.node_id);
	assert_int_equal(tls_root_new(w->state.cluster_id, &g->ca, &g->ca_key, NULL), 0);
	w->state.ca = xstrdup(g->ca);
	assert_int_equal(tls_key_new(&w->state.key, NULL), 0);
	assert_int_equal(tls_csr_new(w->state.key, "", &csr, NULL), 0);
	w->state.cert = issued(g, csr, false, cert_made_ms);
	assert_int_equal(tls_identity_new(g->ca, w->state.cert, w->state.key, &w->identity, NULL), 0);
	w->peers = peers_new(w);
	grace_serve(g);
	w->agent = agent_new(w);
	agent_start(w->agent);
}

/* Until there were so many sessions, or the test's limit ends it. */
static void wait_sessions(struct grace *g, unsigned n)
{
	while (g->sessions < n)
		uv_run(&g->loop, UV_RUN_ONCE);
}

static void grace_close(struct grace *g)
{
	struct worker *w = &g->w;

	agent_free(w->agent);
	peers_free(w->peers);
	loop_timer_close(&g->save, NULL);
	rpc_server_close(g->server, NULL, NULL);
	if (g->session)
		rpc_end(g->session);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	tls_identity_unref(w->identity);
	free(w->state.ca);
	free(w->state.cert);
	free(w->state.key);
	free(g->ca);
	free(g->ca_key);
}

static void test_s5_expired_certificate_is_renewed_before_the_session(void **state)
{
	int64_t now = clock_wall_ms(&clock_real);
	struct grace g;

	grace_open(&g, now - 100 * DAY_MS);
	wait_sessions(&g, 1);
	assert_int_equal(g.renewals, 1);
	assert_string_equal(g.serial, newest(&g));
	grace_close(&g);
}

/* The grace renewal's review, 2: shown before it was on disk it was lost with a crash, and the one before was over. */
static void test_s5_renewed_certificate_is_shown_once_it_is_saved(void **state)
{
	int64_t now = clock_wall_ms(&clock_real);
	struct grace g;

	grace_open(&g, now - 100 * DAY_MS);
	g.save_ms = 600; /* longer than the back-off */
	wait_sessions(&g, 1);
	assert_true(g.is_saved);
	assert_int_equal(g.renewals, 1);
	grace_close(&g);
}

/* The same, 3: in a session that stays nobody saw the new one, and a copy of the one before could be renewed. */
static void test_s5_renewed_certificate_is_shown_at_once(void **state)
{
	cleanup_free char *csr = NULL, *good = NULL;
	int64_t now = clock_wall_ms(&clock_real);
	struct grace g;

	grace_open(&g, now - 100 * DAY_MS);
	g.save_ms = 600;
	g.stays = true;
	assert_int_equal(tls_csr_new(g.w.state.key, "", &csr, NULL), 0);
	good = issued(&g, csr, false, now - 10 * DAY_MS); /* what it has a session with in the meantime */
	tls_identity_unref(g.w.identity);
	assert_int_equal(tls_identity_new(g.ca, good, g.w.state.key, &g.w.identity, NULL), 0);
	while (g.renewals == 0 || strcmp(agent_error(g.w.agent), "") == 0)
		uv_run(&g.loop, UV_RUN_ONCE);
	agent_reconnect(g.w.agent);
	wait_sessions(&g, 1);
	assert_false(g.is_saved);
	assert_string_not_equal(g.serial, newest(&g));
	wait_sessions(&g, 2);
	assert_true(g.is_saved);
	assert_string_equal(g.serial, newest(&g));
	grace_close(&g);
}

static void test_s5_good_certificate_has_its_session_at_once(void **state)
{
	int64_t now = clock_wall_ms(&clock_real);
	struct grace g;

	grace_open(&g, now - 10 * DAY_MS);
	wait_sessions(&g, 1);
	assert_int_equal(g.renewals, 0);
	grace_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states_are_sound),
		cmocka_unit_test(test_renewal_is_not_asked_for_at_once_again),
		cmocka_unit_test(test_s5_expired_certificate_is_renewed_before_the_session),
		cmocka_unit_test(test_s5_renewed_certificate_is_shown_once_it_is_saved),
		cmocka_unit_test(test_s5_renewed_certificate_is_shown_at_once),
		cmocka_unit_test(test_s5_good_certificate_has_its_session_at_once),
	};

	own_loopback();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
