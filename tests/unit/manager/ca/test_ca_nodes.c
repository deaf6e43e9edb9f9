// SPDX-License-Identifier: Apache-2.0
/* What a node's certificate can make of rows, calls and connections (FINDINGS M3, M10, O3). */
#include "tests/unit/manager/daemon_rig.h"

#include "manager/ca/ca.h"
#include "manager/model/check.h"
#include "manager/raft/engine.h"
#include "proto/rpc/conn.h"

#define REQUEST_A "0123456789abcdef-a"
#define REQUEST_B "0123456789abcdef-b"

static struct tls_identity *identity_of(struct rig *r, const Gs__IssueResponse *joined, const char *key)
{
	cleanup_free char *cert = rig_text(&joined->worker_cert_pem);
	struct tls_identity *identity;

	assert_int_equal(tls_identity_new(r->ca_pem, cert, key, &identity, NULL), 0);
	return identity;
}

/* A certificate opens no more of what strangers may call; that of a removed node opens nothing at all. */
static void test_M3a_certificate_and_issue(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL, *csr = NULL;
	Gs__IssueRequest issue = GS__ISSUE_REQUEST__INIT;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct tls_identity *identity;
	Gs__IssueResponse *joined;
	struct rpc_client *c;
	struct err e = {0};

	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	identity = identity_of(r, joined, key);
	issue.token = token;
	issue.request_id = REQUEST_B;
	issue.description = rig_description("docker2.local", 112);
	assert_int_equal(tls_csr_new(key, "", &csr, NULL), 0);
	issue.worker_csr_pem = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rig_dial(r, identity, &c);
	assert_null(rig_call_on(r, c, RPC_CA, CA_ISSUE, &issue, &e));
	assert_int_equal(e.code, E_FORBIDDEN);
	rig_stop_clock(r);
	assert_in_range(rig_get_roots(r, c, 500, &e), 1, 100);
	assert_int_equal(e.code, E_LIMIT);
	ref.ref = joined->node_id;
	ref.force = true;
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NODE, &ref));
	rig_hang_up(r, &c);
	rig_dial(r, identity, &c);
	assert_int_equal(rig_get_roots(r, c, 1, &e), 0);
	assert_int_equal(e.code, E_UNAUTHENTICATED);
	assert_non_null(strstr(e.msg, "was removed"));
	rig_hang_up(r, &c);
	obj_free(issue.description);
	tls_identity_unref(identity);
	obj_free(joined);
	rig_free(r);
}

/* Fresh review of security, 10: without a session its connections stayed, and with them what needs no role. */
static void test_S10_removed_node_without_session_is_cut_off(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct tls_identity *identity;
	Gs__IssueResponse *joined;
	struct rpc_client *c;
	struct err e = {0};

	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	identity = identity_of(r, joined, key);
	rig_dial(r, identity, &c);
	assert_int_equal(rig_get_roots(r, c, 1, &e), 1);
	ref.ref = joined->node_id;
	ref.force = true;
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NODE, &ref));
	for (int i = 0; c && i < 300; i++)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_null(c);
	assert_null(store_node(r->m.ctx.store, joined->node_id));
	tls_identity_unref(identity);
	obj_free(joined);
	rig_free(r);
}

/* O3: an IPv6 data path in an IPv4 swarm was taken, from who joins and from who is in, and no host reached its
 * tasks. */
static void test_O3_data_path_of_another_family(void **state)
{
	static const uint8_t six[16] = {0xfd, 0x55, [15] = 3};
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description("docker2.local", 112);
	Gs__SessionRequest session = GS__SESSION_REQUEST__INIT;
	Gs__IssueResponse *joined;
	struct tls_identity *identity;
	struct rpc_client *c;
	struct err e = {0};

	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	obj_bytes_set(&d->vtep_ip, six, sizeof(six));
	assert_null(rig_join_as(r, token, REQUEST_B, d, &key, &e));
	assert_int_equal(e.code, E_INVALID);
	assert_non_null(strstr(e.msg, "--data-path-addr"));
	identity = identity_of(r, joined, key);
	session.description = d;
	rig_dial(r, identity, &c);
	assert_null(rig_call_on(r, c, RPC_DISPATCHER, DISPATCHER_SESSION, &session, &e));
	assert_int_equal(e.code, E_INVALID);
	assert_non_null(strstr(e.msg, "--data-path-addr"));
	rig_hang_up(r, &c);
	tls_identity_unref(identity);
	obj_free(joined);
	rig_free(r);
}

/* One node may not fill the manager with connections: the oldest of its own go. */
static void test_M3d_connections_of_a_node_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	struct rpc_client *c[40];
	struct tls_identity *identity;
	size_t open = 0;
	struct err e = {0};

	assert_int_equal(tls_identity_new(r->ca_pem, r->cert_pem, r->key_pem, &identity, NULL), 0);
	for (size_t i = 0; i < array_size(c); i++) {
		rig_dial(r, identity, &c[i]);
		rig_get_roots(r, c[i], 1, &e);
	}
	for (size_t i = 0; i < array_size(c); i++)
		open += !!c[i];
	assert_in_range(open, 2, 17);
	assert_non_null(c[array_size(c) - 1]); /* the newest stays */
	for (size_t i = 0; i < array_size(c); i++)
		rig_hang_up(r, &c[i]);
	tls_identity_unref(identity);
	rig_free(r);
}

static void test_M3a_repeated_issue_is_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	Gs__IssueResponse *joined;
	struct err e = {0};
	int n = 0;

	for (; n < 40 && (joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e)); n++)
		obj_free(joined);
	assert_in_range(n, 4, 16);
	assert_int_equal(e.code, E_EXHAUSTED);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE), 2);
	rig_free(r);
}

static void test_M3a_nodes_that_never_come_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	struct tx *tx = tx_new(r->m.ctx.store);
	struct err e = {0};

	for (int i = 0; i < 100; i++) {
		Gs__Node *node;
		char id[ID_LEN + 1];

		id_new(id);
		node = obj_new_row(OBJ_NODE, id);
		node->spec = obj_new(&gs__node_spec__descriptor);
		node->description = rig_description("docker9.local", 119);
		node->status = obj_new(&gs__node_status__descriptor);
		tx_create(tx, node);
	}
	rig_commit(r, tx);
	assert_null(rig_join(r, token, REQUEST_A, "docker2.local", &key, &e));
	assert_int_equal(e.code, E_EXHAUSTED);
	assert_non_null(strstr(e.msg, "gswarm node rm"));
	rig_free(r);
}

/* However many certificates a node got hold of, it can be removed. */
static void test_M3a_node_with_many_certificates_is_removed(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false), *key = NULL;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct tx *tx = tx_new(r->m.ctx.store);
	const Gs__NodeCert *cert;
	Gs__IssueResponse *joined;
	struct err e = {0};

	joined = rig_join(r, token, REQUEST_A, "docker2.local", &key, &e);
	for (int i = 0; i < 20000; i++) {
		Gs__NodeCert *row;
		char serial[33];

		snprintf(serial, sizeof(serial), "%032d", i);
		row = obj_new_row(OBJ_NODE_CERT, serial);
		str_replace(&row->node_id, joined->node_id);
		row->not_after_ms = INT64_MAX;
		tx_create(tx, row);
	}
	rig_commit(r, tx);
	ref.ref = joined->node_id;
	ref.force = true;
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NODE, &ref));
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE), 1);
	for (size_t i = 0; (cert = store_at(r->m.ctx.store, OBJ_NODE_CERT, i)); i++)
		assert_true(cert->revoked || strcmp(cert->node_id, joined->node_id) != 0);
	obj_free(joined);
	rig_free(r);
}

/* Expired rows of everybody go in commits of their own, not in that of whoever renews. */
static void test_M10_expired_certificates_are_swept(void **state)
{
	struct rig *r = rig_with_cluster();
	struct tx *tx = tx_new(r->m.ctx.store);
	size_t before = store_count(r->m.ctx.store, OBJ_NODE_CERT);

	for (int i = 0; i < 1000; i++) {
		Gs__NodeCert *row;
		char serial[33];

		snprintf(serial, sizeof(serial), "%032d", i);
		row = obj_new_row(OBJ_NODE_CERT, serial);
		str_replace(&row->node_id, "somebody");
		row->not_after_ms = 1;
		tx_create(tx, row);
	}
	rig_commit(r, tx);
	ca_renew_own(r->m.ca);
	while (store_count(r->m.ctx.store, OBJ_NODE_CERT) > before)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_NODE_CERT), before);
	rig_free(r);
}

static void test_M3b_link_too_small_for_overlays(void **state)
{
	cleanup(obj_free_p) Gs__NodeDescription *d = rig_description("docker2.local", 112);
	struct err e = {0};

	d->vtep_mtu = 626;
	assert_int_equal(check_description(d, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "1330"));
	d->vtep_mtu = 1330;
	assert_int_equal(check_description(d, &e), 0);
	d->vtep_mtu = 0; /* its worker could not read it */
	assert_int_equal(check_description(d, &e), 0);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_M3a_certificate_and_issue),
		cmocka_unit_test(test_S10_removed_node_without_session_is_cut_off),
		cmocka_unit_test(test_O3_data_path_of_another_family),
		cmocka_unit_test(test_M3d_connections_of_a_node_are_bounded),
		cmocka_unit_test(test_M3a_repeated_issue_is_bounded),
		cmocka_unit_test(test_M3a_nodes_that_never_come_are_bounded),
		cmocka_unit_test(test_M3a_node_with_many_certificates_is_removed),
		cmocka_unit_test(test_M10_expired_certificates_are_swept),
		cmocka_unit_test(test_M3b_link_too_small_for_overlays),
	};

	log_init("test", LOG_WARN, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
