// SPDX-License-Identifier: Apache-2.0
/* A node that was off for longer than its certificate lives (the third session's safety review, 5): the old one opens
 * Renew and nothing else. Against a real manager on real TLS; certificates are really over, made as if long ago. */
#include "tests/unit/manager/daemon_rig.h"

#include "manager/ca/ca.h"

#define DAY_MS INT64_C(86400000)
#define REQUEST "0123456789abcdef-g"

struct grace {
	struct rig *r;
	char *key, *cert, node_id[ID_LEN + 1];
	struct tls_identity *identity;
	struct rpc_client *c;
};

static void grace_use(struct grace *g, const char *cert)
{
	rig_hang_up(g->r, &g->c);
	tls_identity_unref(g->identity);
	assert_int_equal(tls_identity_new(g->r->ca_pem, cert, g->key, &g->identity, NULL), 0);
	rig_dial(g->r, g->identity, &g->c);
}

/* A certificate of 90 days that began so many days ago. */
static char *made_ago(struct grace *g, int days, bool is_manager)
{
	struct context *ctx = &g->r->m.ctx;
	struct tx *tx = tx_new(ctx->store);
	cleanup_free char *csr = NULL;
	ProtobufCBinaryData bytes;
	struct err e = {0};
	char *cert;

	assert_int_equal(tls_csr_new(g->key, "", &csr, NULL), 0);
	bytes = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	if (ca_issue(tx, store_cluster(ctx->store), g->node_id, is_manager, &bytes,
		     clock_wall_ms(&clock_real) - days * DAY_MS, &cert, &e))
		fail_msg("%s", e.msg);
	rig_commit(g->r, tx);
	return cert;
}

static void grace_open(struct grace *g, int days)
{
	cleanup_free char *token = NULL;
	Gs__IssueResponse *joined;
	struct err e = {0};

	*g = (struct grace){.r = rig_with_cluster()};
	token = rig_token(g->r, false);
	joined = rig_join(g->r, token, REQUEST, "docker2.local", &g->key, &e);
	memcpy(g->node_id, joined->node_id, sizeof(g->node_id));
	obj_free(joined);
	g->cert = made_ago(g, days, false);
	grace_use(g, g->cert);
}

static void grace_close(struct grace *g)
{
	rig_hang_up(g->r, &g->c);
	tls_identity_unref(g->identity);
	free(g->key);
	free(g->cert);
	rig_free(g->r);
}

/* The new certificate, or NULL and *e. */
static char *renew(struct grace *g, struct err *e)
{
	Gs__RenewRequest req = GS__RENEW_REQUEST__INIT;
	cleanup_free char *csr = NULL;
	Gs__RenewResponse *resp;
	char *cert = NULL;

	assert_int_equal(tls_csr_new(g->key, "", &csr, NULL), 0);
	req.csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	resp = rig_call_on(g->r, g->c, RPC_CA, CA_RENEW, &req, e);
	if (resp)
		cert = rig_text(&resp->cert_pem);
	obj_free(resp);
	return cert;
}

static void refused(struct grace *g, const char *says)
{
	struct err e = {0};

	assert_null(renew(g, &e));
	if (e.code != E_UNAUTHENTICATED || !strstr(e.msg, says))
		fail_msg("not \"%s\" but %d: %s", says, e.code, e.msg);
}

static void heartbeat(struct grace *g, struct err *e)
{
	Gs__HeartbeatRequest req = GS__HEARTBEAT_REQUEST__INIT;

	obj_free(rig_call_on(g->r, g->c, RPC_DISPATCHER, DISPATCHER_HEARTBEAT, &req, e));
}

static void test_s5_expired_certificate_is_renewed(void **state)
{
	cleanup_free char *cert = NULL;
	struct tls_cert_info info;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 100);
	cert = renew(&g, &e);
	if (!cert)
		fail_msg("%s", e.msg);
	assert_int_equal(tls_cert_info(cert, &info, NULL), 0);
	assert_string_equal(info.node_id, g.node_id);
	assert_true(info.not_after_ms > clock_wall_ms(&clock_real) + 80 * DAY_MS);
	grace_close(&g);
}

static void test_s5_expired_certificate_opens_nothing_else(void **state)
{
	Gs__Empty empty = GS__EMPTY__INIT;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 100);
	heartbeat(&g, &e);
	assert_int_equal(e.code, E_UNAUTHENTICATED);
	assert_non_null(strstr(e.msg, "has expired"));
	assert_null(rig_call_on(g.r, g.c, RPC_CA, CA_GET_ROOT, &empty, &e));
	assert_int_equal(e.code, E_UNAUTHENTICATED);
	grace_close(&g);
}

/* Until the new one is used the old one does: the answer may be lost, and the next one, too. */
static void test_s5_lost_answers_lock_nobody_out(void **state)
{
	cleanup_free char *first = NULL, *second = NULL, *third = NULL;
	struct tls_cert_info info;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 100);
	assert_non_null(first = renew(&g, &e));
	assert_non_null(second = renew(&g, &e));
	assert_int_equal(tls_cert_info(second, &info, NULL), 0);
	grace_use(&g, second);
	heartbeat(&g, &e);
	while (((const Gs__NodeCert *)store_get(g.r->m.ctx.store, OBJ_NODE_CERT, info.serial))->unproved)
		uv_run(&g.r->loop, UV_RUN_ONCE);
	grace_use(&g, g.cert);
	refused(&g, "has used a newer one");
	grace_use(&g, second); /* not that of whoever has the old one */
	assert_non_null(third = renew(&g, &e));
	grace_close(&g);
}

static void test_s5_one_of_before_is_refused(void **state)
{
	cleanup_free char *newer = NULL;
	struct grace g;

	grace_open(&g, 200);
	newer = made_ago(&g, 100, false);
	grace_use(&g, g.cert);
	refused(&g, "has used a newer one");
	grace_close(&g);
}

/* Both processes of a manager's host have a certificate of its node. */
static void test_s5_manager_beside_it_does_not_count(void **state)
{
	cleanup_free char *manager = NULL, *cert = NULL;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 200);
	manager = made_ago(&g, 100, true);
	assert_non_null(cert = renew(&g, &e));
	grace_use(&g, manager);
	refused(&g, "of the manager");
	grace_close(&g);
}

/* What the manager says to a worker's expired certificate from there. */
static unsigned role_from(struct grace *g, const char *addr, struct err *e)
{
	struct context *ctx = &g->r->m.ctx;
	struct rpc_peer peer = {.is_authenticated = true, .is_expired = true};
	struct tls_cert_info info;

	assert_int_equal(tls_cert_info(g->cert, &info, NULL), 0);
	strcpy(peer.node_id, g->node_id);
	strcpy(peer.serial, info.serial);
	strcpy(peer.cluster_id, store_cluster(ctx->store)->meta->id);
	snprintf(peer.addr, sizeof(peer.addr), "%s", addr);
	return ca_role(ctx->store, &peer, clock_wall_ms(&clock_real), e);
}

/* Renewed it opens the whole Control API, so an old copy of it must not do from anywhere. */
static void test_s5_managers_node_renews_from_its_own_address_only(void **state)
{
	static const char *const own[] = {"127.0.0.1:40000", "[::1]:40000", "192.168.55.112:40000"};
	static const char *const others[] = {"192.168.55.113:40000", "[fd00::1]:40000", "[::7f00:1]:1", "?"};
	struct err e = {0};
	struct grace g;
	Gs__Node *row;
	struct tx *tx;

	grace_open(&g, 100);
	assert_int_equal(role_from(&g, others[0], &e), ROLE_BIT_EXPIRED); /* a worker's */
	tx = tx_new(g.r->m.ctx.store);
	row = tx_edit(tx, OBJ_NODE, g.node_id);
	row->spec->role = ROLE_MANAGER;
	rig_commit(g.r, tx);
	for (size_t i = 0; i < array_size(own); i++)
		if (role_from(&g, own[i], &e) != ROLE_BIT_EXPIRED)
			fail_msg("%s: %s", own[i], e.msg);
	for (size_t i = 0; i < array_size(others); i++) {
		err_clear(&e);
		assert_int_equal(role_from(&g, others[i], &e), 0);
		assert_int_equal(e.code, E_UNAUTHENTICATED);
		assert_non_null(strstr(e.msg, "from its own address only"));
	}
	grace_close(&g);
}

static const Gs__Event *event_of(const struct store *s, const char *kind)
{
	const Gs__Event *ev;

	for (size_t i = 0; (ev = store_at(s, OBJ_EVENT, i)); i++)
		if (strcmp(ev->kind, kind) == 0)
			return ev;
	return NULL;
}

static void test_s5_is_told_of(void **state)
{
	cleanup_free char *cert = NULL, *next = NULL;
	const Gs__Event *ev;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 50);
	assert_non_null(cert = renew(&g, &e));
	assert_null(event_of(g.r->m.ctx.store, "node.certificate")); /* as every node does */
	grace_close(&g);
	grace_open(&g, 100);
	assert_non_null(next = renew(&g, &e));
	assert_non_null(ev = event_of(g.r->m.ctx.store, "node.certificate"));
	assert_non_null(
		strstr(ev->text, "node docker2.local renewed an expired certificate from 127.0.0.1:"));
	assert_string_equal(ev->object_id, g.node_id);
	grace_close(&g);
}

static void test_s5_not_for_ever(void **state)
{
	cleanup_free char *cert = NULL;
	struct err e = {0};
	struct grace g;

	grace_open(&g, 90 + 364);
	assert_non_null(cert = renew(&g, &e));
	grace_close(&g);
	grace_open(&g, 90 + 366);
	refused(&g, "after 365 days it is not renewed");
	grace_close(&g);
}

static void test_s5_removed_node_gets_nothing(void **state)
{
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct grace g;

	grace_open(&g, 100);
	ref.ref = g.node_id;
	ref.force = true;
	obj_free(rig_call_ok(g.r, CONTROL_REMOVE_NODE, &ref));
	grace_use(&g, g.cert);
	refused(&g, "was removed");
	grace_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_s5_expired_certificate_is_renewed),
		cmocka_unit_test(test_s5_expired_certificate_opens_nothing_else),
		cmocka_unit_test(test_s5_lost_answers_lock_nobody_out),
		cmocka_unit_test(test_s5_one_of_before_is_refused),
		cmocka_unit_test(test_s5_manager_beside_it_does_not_count),
		cmocka_unit_test(test_s5_managers_node_renews_from_its_own_address_only),
		cmocka_unit_test(test_s5_is_told_of),
		cmocka_unit_test(test_s5_not_for_ever),
		cmocka_unit_test(test_s5_removed_node_gets_nothing),
	};

	log_init("test", LOG_WARN, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
