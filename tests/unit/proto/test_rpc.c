// SPDX-License-Identifier: Apache-2.0
/* Calls and streams between a real client and a real server on loopback. */
#include "tests/unit/proto/rpc_fixture.h"

#include <string.h>

#include "base/mem.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/rpc/conn.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/schema/peer.pb-c.h"
#include "proto/rpc/sync.h"

static Gs__PingRequest ping(const char *text)
{
	Gs__PingRequest m = GS__PING_REQUEST__INIT;

	m.from_node = (char *)text;
	return m;
}

static void ping_ok(struct client *c, const char *text)
{
	Gs__PingRequest m = ping(text);
	struct answer a;

	start(c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(c->f, a.done);
	assert_int_equal(a.err.code, 0);
	assert_string_equal(a.text, text);
}

static void test_call_over_tls(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_tcp(f, &c, f->worker, SERVER_NODE);
	ping_ok(&c, "early"); /* started before the connection is open */
	assert_true(c.is_open);
	assert_string_equal(f->caller, CLIENT_NODE); /* from the certificate */
	assert_string_equal(rpc_client_peer(c.rpc)->node_id, SERVER_NODE);
	ping_ok(&c, "late");
	assert_int_equal(f->conns, 1);
	client_close(&c);
	assert_int_equal(c.err.code, E_CLOSED);
}

static void test_calls_are_pipelined(void **state)
{
	enum { N = 200 };
	struct fixture *f = *state;
	struct client c;
	struct answer a[N];
	unsigned done = 0;

	client_tcp(f, &c, f->worker, NULL);
	for (int i = 0; i < N; i++) {
		char text[16];
		Gs__PingRequest m = ping(text);

		snprintf(text, sizeof(text), "%d", i);
		start(&c, &a[i], RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	}
	wait_for(f, (done = a[N - 1].done) == 1);
	for (int i = 0; i < N; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", i);
		assert_int_equal(a[i].done, 1);
		assert_string_equal(a[i].text, text);
	}
	client_close(&c);
}

static void test_large_request(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *text = xmalloc(3000001);
	Gs__PingRequest m = ping(text);
	struct client c;
	struct answer a;

	memset(text, 'x', 3000000);
	text[3000000] = 0;
	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, 0);
	assert_true(a.has_resp);
	client_close(&c);
}

static void test_too_large_a_request_is_refused_here(void **state)
{
	struct fixture *f = *state;
	cleanup_free char *text = xmalloc(MESSAGE_MAX + 1);
	Gs__PingRequest m = ping(text);
	struct client c;
	struct answer a;

	memset(text, 'x', MESSAGE_MAX);
	text[MESSAGE_MAX] = 0;
	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_LIMIT);
	ping_ok(&c, "still here");
	client_close(&c);
}

/* FINDINGS P3: neither refused nor held up by what is queued for the others. */
static void test_p3_heartbeat_passes_large_messages(void **state)
{
	enum { N = 3000000 };
	struct fixture *f = *state;
	cleanup_free char *text = xmalloc(N + 1);
	Gs__PingRequest m = ping(text);
	Gs__PingRequest late = ping("late");
	struct client c;
	struct answer a, b, beat;

	memset(text, 'x', N);
	text[N] = 0;
	client_tcp(f, &c, f->worker, NULL);
	wait_for(f, c.is_open);
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, 0);
	start(&c, &b, RPC_PEER, PEER_PING, &m.base, 0);
	start(&c, &beat, RPC_PEER, PEER_PING, &late.base, 0);
	wait_for(f, beat.done);
	assert_int_equal(beat.err.code, E_LIMIT); /* what is not urgent has to wait its turn */
	start_urgent(&c, &beat, RPC_PEER, PEER_PING, &late.base);
	wait_for(f, beat.done);
	assert_int_equal(beat.err.code, 0);
	assert_int_equal(a.done + b.done, 0);
	wait_for(f, a.done && b.done);
	assert_true(a.has_resp && b.has_resp);
	client_close(&c);
}

/* FINDINGS P2: the sender stops when the consumer does, and goes on with it. */
static void test_p2_consumer_holds_back(void **state)
{
	struct fixture *f = *state;
	Gs__BlobRequest m = GS__BLOB_REQUEST__INIT;
	struct client c;
	struct answer a;
	struct rpc_req *r;

	m.sha256 = "100"; /* chunks of 64 KiB */
	client_tcp(f, &c, f->worker, NULL);
	wait_for(f, c.is_open);
	r = start(&c, &a, RPC_PEER, PEER_GET_BLOB, &m.base, 0);
	rpc_req_pause(r);
	wait_for(f, a.events >= 15);
	run_for(f, 60);
	assert_in_range(f->sent, 15, 17);
	assert_int_equal(a.done, 0);
	rpc_req_resume(r);
	wait_for(f, a.done);
	assert_int_equal(a.events, 100);
	assert_int_equal(a.err.code, 0);
	client_close(&c);
}

/* FINDINGS P5: both sides know the version that they speak. */
static void test_p5_version_is_kept(void **state)
{
	struct fixture *f = *state;
	Gs__PingRequest m = ping("which one?");
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(rpc_client_peer(c.rpc)->protocol, RPC_PROTOCOL_MAX);
	assert_int_equal(f->protocol, RPC_PROTOCOL_MAX);
	client_close(&c);
}

static void test_calls_over_unix(void **state)
{
	struct fixture *f = *state;
	struct client c;
	struct answer a;
	Gs__GetClusterRequest m = GS__GET_CLUSTER_REQUEST__INIT;

	client_unix(f, &c);
	start(&c, &a, RPC_CONTROL, CONTROL_GET_CLUSTER, &m.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_NOT_MANAGER); /* the handler's own error comes through */
	assert_string_equal(a.err.msg, "not here");
	client_close(&c);
}

static void test_unknown_methods(void **state)
{
	struct fixture *f = *state;
	Gs__ViewPush view = GS__VIEW_PUSH__INIT;
	Gs__PingRequest m = ping("x");
	struct client c;
	struct answer a, b;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_PUSH_VIEW, &view.base, PATIENCE_MS); /* known, but not served */
	start(&c, &b, RPC_PEER, 17, &m.base, PATIENCE_MS);
	wait_for(f, a.done && b.done);
	assert_int_equal(a.err.code, -ENOSYS);
	assert_int_equal(b.err.code, E_INVALID);
	client_close(&c);
}

static void test_stream_with_backpressure(void **state)
{
	struct fixture *f = *state;
	Gs__BlobRequest m = GS__BLOB_REQUEST__INIT;
	struct client c;
	struct answer a;

	m.sha256 = "100";
	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_GET_BLOB, &m.base, 0);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, 0);
	assert_int_equal(a.events, 100);
	assert_true(a.bytes > 100 * 65536);
	assert_in_range(f->drained, 3, 100); /* 6.4 MB through a window of 1 MiB */
	client_close(&c);
}

static void test_two_streams_and_calls_share_a_connection(void **state)
{
	struct fixture *f = *state;
	Gs__BlobRequest m = GS__BLOB_REQUEST__INIT;
	struct client c;
	struct answer a;

	m.sha256 = "60";
	client_unix(f, &c); /* not authorised there: only local methods */
	start(&c, &a, RPC_PEER, PEER_GET_BLOB, &m.base, 0);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_FORBIDDEN);
	client_close(&c);

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_GET_BLOB, &m.base, 0);
	ping_ok(&c, "between");
	wait_for(f, a.done);
	assert_int_equal(a.events, 60);
	client_close(&c);
}

static void test_deadline_ends_both_sides(void **state)
{
	struct fixture *f = *state;
	Gs__SessionRequest m = GS__SESSION_REQUEST__INIT;
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	ping_ok(&c, "it is open"); /* else the deadline may be over before there is anything to send it on */
	start(&c, &a, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base, 60);
	wait_for(f, a.done && f->cancelled);
	assert_int_equal(f->sessions, 1);
	assert_in_range(f->deadline_ms, 1, 60);
	assert_int_equal(a.err.code, E_DEADLINE);
	assert_int_equal(a.done, 1);
	assert_int_equal(f->cancelled, 1);
	ping_ok(&c, "the connection lives on");
	client_close(&c);
}

/* FINDINGS M2, on the caller's side: who was stopped over a deadline takes the answer that came meanwhile. */
static void test_m2_pause_of_the_caller_is_no_deadline(void **state)
{
	struct fixture *f = *state;
	Gs__PingRequest m = ping("across the pause");
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, SERVER_NODE);
	ping_ok(&c, "it is open");
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, 300);
	usleep(1200 * 1000); /* the whole process stands still: a span of time is what is tested */
	wait_for(f, a.done);
	assert_int_equal(a.err.code, 0);
	client_close(&c);
}

/* The same when the turns in which it hears it are slow, too: they are counted, not timed. */
static void test_m2_slow_turns_are_no_deadline(void **state)
{
	struct fixture *f = *state;
	Gs__PingRequest m = ping("across the pauses");
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, SERVER_NODE);
	ping_ok(&c, "it is open");
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, 300);
	usleep(1200 * 1000); /* as above */
	uv_run(&f->loop, UV_RUN_ONCE);
	usleep(200 * 1000);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, 0);
	client_close(&c);
}

static void test_late_reply_is_dropped(void **state)
{
	struct fixture *f = *state;
	Gs__HeartbeatRequest m = GS__HEARTBEAT_REQUEST__INIT;
	Gs__HeartbeatResponse resp = GS__HEARTBEAT_RESPONSE__INIT;
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	/* A call whose deadline is over before the connection is open is never sent, and nothing is held. */
	ping_ok(&c, "it is open");
	start(&c, &a, RPC_DISPATCHER, DISPATCHER_HEARTBEAT, &m.base, 50);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_DEADLINE);
	ping_ok(&c, "x");
	assert_non_null(f->held);
	rpc_reply(f->held, &resp.base);
	ping_ok(&c, "y");
	assert_int_equal(a.done, 1);
	client_close(&c);
}

static void test_reply_after_the_connection_is_gone(void **state)
{
	struct fixture *f = *state;
	Gs__HeartbeatRequest m = GS__HEARTBEAT_REQUEST__INIT;
	Gs__HeartbeatResponse resp = GS__HEARTBEAT_RESPONSE__INIT;
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_DISPATCHER, DISPATCHER_HEARTBEAT, &m.base, 0);
	wait_for(f, f->held);
	client_close(&c);
	wait_for(f, f->conns == 0);
	assert_null(rpc_call_conn(f->held));
	assert_string_equal(rpc_call_peer(f->held)->node_id, CLIENT_NODE);
	assert_int_equal(rpc_event(f->held, &resp.base), E_CLOSED);
	rpc_reply(f->held, &resp.base); /* frees it: the leak checker says so otherwise */
	assert_int_equal(a.done, 1);
	assert_int_equal(a.err.code, E_CLOSED);
}

static void on_late_cancel(struct rpc_call *call, void *arg)
{
	((struct fixture *)arg)->cancelled++;
}

/* A handler that asks for on_cancel only after some work of its own must hear of a caller that left. */
static void test_on_cancel_asked_for_too_late(void **state)
{
	struct fixture *f = *state;
	Gs__HeartbeatRequest m = GS__HEARTBEAT_REQUEST__INIT;
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_DISPATCHER, DISPATCHER_HEARTBEAT, &m.base, 0);
	wait_for(f, f->held);
	client_close(&c);
	wait_for(f, f->conns == 0);
	rpc_call_on_cancel(f->held, on_late_cancel, f);
	assert_int_equal(f->cancelled, 0);
	wait_for(f, f->cancelled == 1);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	Gs__SessionRequest m = GS__SESSION_REQUEST__INIT;
	struct client c;
	struct answer a, b;
	struct rpc_req *r;

	client_tcp(f, &c, f->worker, NULL);
	r = start(&c, &b, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base, 0);
	rpc_req_cancel(r); /* before it was sent */
	rpc_req_cancel(r);
	assert_int_equal(b.done, 0);
	wait_for(f, b.done);
	assert_int_equal(b.err.code, E_CANCELLED);
	wait_for(f, c.is_open);
	r = start(&c, &a, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base, 0);
	wait_for(f, f->held);
	rpc_req_cancel(r);
	wait_for(f, a.done && f->cancelled);
	assert_int_equal(a.err.code, E_CANCELLED);
	assert_int_equal(f->cancelled, 1);
	client_close(&c);
	assert_int_equal(a.done, 1);
	assert_int_equal(b.done, 1);
}

static void test_lost_connection_ends_calls_once(void **state)
{
	struct fixture *f = *state;
	Gs__SessionRequest m = GS__SESSION_REQUEST__INIT;
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base, 0);
	wait_for(f, f->held);
	rpc_server_drop_node(f->server, "somebodyelse");
	run_for(f, 30);
	assert_int_equal(a.done, 0);
	rpc_server_drop_node(f->server, CLIENT_NODE);
	wait_for(f, a.done && c.closed);
	assert_int_equal(a.err.code, E_CLOSED);
	assert_int_equal(a.done, 1);
	assert_int_equal(c.closed, 1);
	assert_int_equal(f->cancelled, 1);
}

static void test_roles(void **state)
{
	struct fixture *f = *state;
	Gs__GetClusterRequest cluster = GS__GET_CLUSTER_REQUEST__INIT;
	Gs__Empty empty = GS__EMPTY__INIT;
	Gs__PingRequest m = ping("x");
	struct client c;
	struct answer a;

	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_CONTROL, CONTROL_GET_CLUSTER, &cluster.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_FORBIDDEN);
	assert_string_equal(a.err.msg, "Control.GetCluster is not for a worker");
	f->role = ROLE_BIT_MANAGER; /* looked up on every call */
	start(&c, &a, RPC_CONTROL, CONTROL_GET_CLUSTER, &cluster.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_NOT_MANAGER);
	f->role = 0; /* removed from the swarm */
	start(&c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(f, a.done);
	assert_int_equal(a.err.code, E_FORBIDDEN);
	assert_non_null(strstr(a.err.msg, "was removed"));
	start(&c, &a, RPC_CA, CA_GET_ROOT, &empty.base, PATIENCE_MS); /* for everybody */
	wait_for(f, a.done);
	assert_int_equal(a.err.code, 0);
	client_close(&c);
}

struct sync_job {
	char path[96];
	int connect, missing, ping, cluster, stream;
	struct err missing_err;
	unsigned events, ticks;
	char text[16];
	bool done;
};

static bool on_sync_event(const ProtobufCMessage *event, void *arg)
{
	return ++((struct sync_job *)arg)->events < 3;
}

static bool on_sync_tick(void *arg)
{
	return ++((struct sync_job *)arg)->ticks < 3;
}

static void sync_work(uv_work_t *w)
{
	struct sync_job *j = w->data;
	Gs__GetClusterRequest m = GS__GET_CLUSTER_REQUEST__INIT;
	Gs__PingRequest p = ping("hello");
	Gs__BlobRequest blob = GS__BLOB_REQUEST__INIT;
	Gs__SessionRequest session = GS__SESSION_REQUEST__INIT;
	struct rpc_sync *s = NULL;
	ProtobufCMessage *resp = NULL;
	struct err e = {0};

	j->missing = rpc_sync_connect("no-such-socket", &s, &j->missing_err);
	j->connect = rpc_sync_connect(j->path, &s, &e);
	if (j->connect < 0)
		return;
	j->cluster = rpc_sync_call(s, RPC_CONTROL, CONTROL_GET_CLUSTER, &m.base, PATIENCE_MS, &resp, &e);
	j->ping = rpc_sync_call(s, RPC_PEER, PEER_PING, &p.base, PATIENCE_MS, &resp, &e);
	if (resp) {
		snprintf(j->text, sizeof(j->text), "%s", ((Gs__PingResponse *)resp)->node_id);
		protobuf_c_message_free_unpacked(resp, NULL);
	}
	blob.sha256 = "10";
	j->stream = rpc_sync_stream(s, RPC_PEER, PEER_GET_BLOB, &blob.base, on_sync_event, NULL, j, &e);
	j->stream |= rpc_sync_stream(s, RPC_DISPATCHER, DISPATCHER_SESSION, &session.base, on_sync_event,
				     on_sync_tick, j, &e);
	rpc_sync_close(s);
}

static void sync_after(uv_work_t *w, int status)
{
	((struct sync_job *)w->data)->done = true;
}

/* The blocking client runs on a thread of its own, against this loop's server. */
static void test_sync(void **state)
{
	struct fixture *f = *state;
	struct sync_job j = {.connect = 1};
	uv_work_t w = {.data = &j};

	f->local_role = ROLE_BIT_WORKER;
	strcpy(j.path, f->path);
	uv_queue_work(&f->loop, &w, sync_work, sync_after);
	wait_for(f, j.done);
	assert_int_equal(j.missing, E_UNAVAILABLE);
	assert_non_null(strstr(j.missing_err.msg, "is it running"));
	assert_int_equal(j.connect, 0);
	assert_int_equal(j.cluster, E_FORBIDDEN);
	assert_int_equal(j.ping, 0);
	assert_string_equal(j.text, "hello");
	assert_int_equal(j.stream, 0);
	assert_int_equal(j.events, 3); /* stopped by the third */
	assert_int_equal(j.ticks, 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_call_over_tls),
		T(test_calls_are_pipelined),
		T(test_large_request),
		T(test_too_large_a_request_is_refused_here),
		T(test_calls_over_unix),
		T(test_p3_heartbeat_passes_large_messages),
		T(test_p2_consumer_holds_back),
		T(test_p5_version_is_kept),
		T(test_unknown_methods),
		T(test_stream_with_backpressure),
		T(test_two_streams_and_calls_share_a_connection),
		T(test_deadline_ends_both_sides),
		T(test_m2_pause_of_the_caller_is_no_deadline),
		T(test_m2_slow_turns_are_no_deadline),
		T(test_late_reply_is_dropped),
		T(test_reply_after_the_connection_is_gone),
		T(test_on_cancel_asked_for_too_late),
		T(test_cancel),
		T(test_lost_connection_ends_calls_once),
		T(test_roles),
		T(test_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
