// SPDX-License-Identifier: Apache-2.0
/* Strangers, foreign certificates, garbage, silence and slow readers: each ends in a closed connection and
 * one clear error, and the server goes on serving the others. */
#include "tests/unit/proto/rpc_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/rpc/conn.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/schema/peer.pb-c.h"
#include "proto/rpc/sync.h"

static void served_as_ever(struct fixture *f)
{
	struct client c;

	client_tcp(f, &c, f->worker, SERVER_NODE);
	ping_is_answered(&c);
	client_close(&c);
}

/* ---- identities ---- */

static void test_foreign_server(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_tcp(f, &c, f->stranger, NULL); /* knows another root only */
	wait_for(f, c.closed);
	assert_int_equal(c.err.code, E_UNAUTHENTICATED);
	assert_int_equal(f->conns, 0);
	served_as_ever(f);
}

static void test_wrong_server_node(void **state)
{
	struct fixture *f = *state;
	struct client c;

	client_tcp(f, &c, f->worker, CLIENT_NODE);
	wait_for(f, c.closed);
	assert_int_equal(c.err.code, E_UNAUTHENTICATED);
	assert_non_null(strstr(c.err.msg, SERVER_NODE));
}

static void test_client_certificate_of_another_ca(void **state)
{
	struct fixture *f = *state;
	struct tls_identity *liar;
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	char serial[33];
	int64_t not_after;
	struct client c;
	struct err e = {0};
	struct tls_issue in = {.ca_cert_pem = f->foreign.ca,
			       .ca_key_pem = f->foreign.ca_key,
			       .node_id = CLIENT_NODE,
			       .cluster_id = "swarm",
			       .now_ms = (int64_t)time(NULL) * 1000,
			       .expiry_s = 3600};

	tls_key_new(&key, &e);
	tls_csr_new(key, "", &csr, &e);
	in.csr_pem = csr;
	assert_int_equal(tls_issue(&in, &cert, serial, &not_after, &e), 0);
	assert_int_equal(tls_identity_new(f->pki.ca, cert, key, &liar, &e), 0);
	client_tcp(f, &c, liar, NULL);
	wait_for(f, c.closed);
	assert_int_equal(f->conns, 0);
	assert_non_null(strstr(c.err.msg, "refused our certificate"));
	tls_identity_unref(liar);
	served_as_ever(f);
}

static void test_expired_certificate(void **state)
{
	struct fixture *f = *state;
	struct tls_identity *old;
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	char serial[33];
	int64_t not_after;
	struct client c;
	struct err e = {0};
	struct tls_issue in = {.ca_cert_pem = f->pki.ca,
			       .ca_key_pem = f->pki.ca_key,
			       .node_id = CLIENT_NODE,
			       .cluster_id = "swarm",
			       .now_ms = (int64_t)(time(NULL) - 7200) * 1000,
			       .expiry_s = 3600};

	tls_key_new(&key, &e);
	tls_csr_new(key, "", &csr, &e);
	in.csr_pem = csr;
	assert_int_equal(tls_issue(&in, &cert, serial, &not_after, &e), 0);
	assert_int_equal(tls_identity_new(f->pki.ca, cert, key, &old, &e), 0);
	client_tcp(f, &c, old, NULL);
	wait_for(f, c.closed);
	assert_int_equal(f->conns, 0);
	tls_identity_unref(old);
}

static void test_join_by_digest(void **state)
{
	struct fixture *f = *state;
	struct tls_identity *joining, *fooled;
	Gs__Empty empty = GS__EMPTY__INIT;
	Gs__PingRequest ping = GS__PING_REQUEST__INIT;
	struct client c;
	struct answer a, b;
	struct err e = {0};

	assert_int_equal(tls_identity_new_pinned(f->pki.digest, &joining, &e), 0);
	assert_int_equal(tls_identity_new_pinned(f->foreign.digest, &fooled, &e), 0);
	client_tcp(f, &c, joining, NULL);
	start(&c, &a, RPC_CA, CA_GET_ROOT, &empty.base, PATIENCE_MS);
	start(&c, &b, RPC_PEER, PEER_PING, &ping.base, PATIENCE_MS);
	wait_for(f, a.done && b.done);
	assert_int_equal(a.err.code, 0);
	assert_int_equal(b.err.code, E_UNAUTHENTICATED); /* only what is for everybody */
	assert_int_equal(f->authorised, 0);
	client_close(&c);
	client_tcp(f, &c, fooled, NULL);
	wait_for(f, c.closed);
	assert_int_equal(c.err.code, E_UNAUTHENTICATED);
	tls_identity_unref(joining);
	tls_identity_unref(fooled);
}

static void test_small_frames_before_authentication(void **state)
{
	struct fixture *f = *state;
	struct tls_identity *joining;
	cleanup_free char *token = xmalloc(70001);
	Gs__IssueRequest m = GS__ISSUE_REQUEST__INIT;
	struct client c;
	struct answer a;
	struct err e = {0};

	memset(token, 'x', 70000);
	token[70000] = 0;
	m.token = token;
	assert_int_equal(tls_identity_new_pinned(f->pki.digest, &joining, &e), 0);
	client_tcp(f, &c, joining, NULL);
	wait_for(f, c.is_open);
	start(&c, &a, RPC_CA, CA_ISSUE, &m.base, PATIENCE_MS);
	wait_for(f, a.done && c.closed);
	assert_int_equal(a.err.code, E_CLOSED);
	tls_identity_unref(joining);
}

static void test_other_cluster(void **state)
{
	struct fixture *f = *state;
	struct client c;

	rpc_server_set_ids(f->server, "anotherswarm", "");
	client_tcp_cluster(f, &c, f->worker, "swarm");
	wait_for(f, c.closed);
	assert_int_equal(c.err.code, E_FORBIDDEN);
	assert_non_null(strstr(c.err.msg, "anotherswarm"));
}

/* ---- raw bytes ---- */

static int raw_tcp(struct fixture *f)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void expect_closed(struct fixture *f, int fd)
{
	wait_for(f, is_closed(fd));
	close(fd);
	served_as_ever(f);
}

static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void test_http_on_both(void **state)
{
	struct fixture *f = *state;
	int tcp = raw_tcp(f), local = raw_unix(f);

	raw_write(tcp, http, strlen(http));
	raw_write(local, http, strlen(http));
	expect_closed(f, tcp);
	expect_closed(f, local);
}

/* One line for a failed connection, ten in ten seconds, and then only a count. */
static void test_log_is_bounded(void **state)
{
	struct fixture *f = *state;
	int log[2], lines = 0;
	char text[8192];
	ssize_t n;

	assert_int_equal(pipe2(log, O_NONBLOCK), 0);
	log_init("test", LOG_WARN, log[1]);
	for (int i = 0; i < 15; i++) {
		int fd = raw_tcp(f);

		raw_write(fd, http, strlen(http));
		wait_for(f, is_closed(fd));
		close(fd);
	}
	run_for(f, 30);
	log_init("test", LOG_ERROR, STDERR_FILENO);
	n = read(log[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = 0;
	for (char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 10);
	assert_non_null(strstr(text, "connection from 127.0.0.1:"));
	assert_non_null(strstr(text, "failed: TLS handshake: http request"));
	close(log[0]);
	close(log[1]);
}

static void test_garbage_on_both(void **state)
{
	struct fixture *f = *state;
	uint32_t seed = 1;

	for (int round = 0; round < 40; round++) {
		uint8_t noise[600];
		int fd = round % 2 ? raw_tcp(f) : raw_unix(f);

		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		raw_write(fd, noise, sizeof(noise));
		wait_for(f, is_closed(fd));
		close(fd);
	}
	served_as_ever(f);
}

/* A true client hello, then noise in the place of the rest. */
static void test_garbage_after_client_hello(void **state)
{
	struct fixture *f = *state;
	static const uint8_t record[] = {0x16, 3, 1, 0, 4, 1, 0, 0, 0};
	int fd = raw_tcp(f);

	raw_write(fd, record, sizeof(record));
	expect_closed(f, fd);
}

static void send_and_expect_closed(struct fixture *f, struct buf *take)
{
	int fd = raw_unix(f);

	raw_write(fd, take->data, take->len);
	buf_fini(take);
	expect_closed(f, fd);
}

static void test_frames_out_of_place(void **state)
{
	struct fixture *f = *state;
	struct buf b = {0};
	Gs__SessionRequest m = GS__SESSION_REQUEST__INIT;

	frame_append(&b, FRAME_REQUEST, 1, RPC_PEER, PEER_PING, NULL); /* no Hello before */
	send_and_expect_closed(f, &b);
	hello_append(&b, 99); /* no common version */
	send_and_expect_closed(f, &b);
	hello_append(&b, RPC_PROTOCOL_MAX); /* Hello twice */
	hello_append(&b, RPC_PROTOCOL_MAX);
	send_and_expect_closed(f, &b);
	hello_append(&b, RPC_PROTOCOL_MAX);
	frame_append(&b, 99, 1, 0, 0, NULL); /* a kind that does not exist */
	send_and_expect_closed(f, &b);
	hello_append(&b, RPC_PROTOCOL_MAX);
	buf_append(&b, "\x00\x40\x00\x01", 4); /* one byte over 4 MiB */
	send_and_expect_closed(f, &b);
	f->local_role = ROLE_BIT_WORKER;
	hello_append(&b, RPC_PROTOCOL_MAX);
	frame_append(&b, FRAME_ERROR, 7, 0, 0, NULL); /* an answer nobody asked for: ignored */
	frame_append(&b, FRAME_CANCEL, 9, 0, 0, NULL);
	frame_append(&b, FRAME_WINDOW, 9, 0, 0, NULL);
	frame_append(&b, FRAME_REQUEST, 1, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base);
	frame_append(&b, FRAME_REQUEST, 1, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base); /* a number twice */
	send_and_expect_closed(f, &b);
	assert_int_equal(f->sessions, 1);
	assert_int_equal(f->cancelled, 1);
}

static void test_silence_is_closed(void **state)
{
	struct fixture *f = *state;
	int tcp = raw_tcp(f), local = raw_unix(f);
	uint64_t begin = uv_hrtime();

	wait_for(f, is_closed(tcp));
	assert_true(uv_hrtime() - begin > 2500 * 1000000ull);
	close(tcp);
	expect_closed(f, local);
}

/* ---- a local caller that does not read ---- */

static void test_lost_reader_ends_a_stream(void **state)
{
	struct fixture *f = *state;
	Gs__BlobRequest m = GS__BLOB_REQUEST__INIT;
	struct client c;
	struct answer a;

	m.sha256 = "1000";
	client_tcp(f, &c, f->worker, NULL);
	start(&c, &a, RPC_PEER, PEER_GET_BLOB, &m.base, 0);
	wait_for(f, f->held);
	client_close(&c);
	wait_for(f, f->cancelled == 1);
	assert_int_equal(a.err.code, E_CLOSED);
}

static void test_reader_that_stopped(void **state)
{
	struct fixture *f = *state;
	struct buf b = {0};
	Gs__BlobRequest m = GS__BLOB_REQUEST__INIT;
	int fd = raw_unix(f);

	m.sha256 = "1000";
	f->local_role = ROLE_BIT_WORKER;
	hello_append(&b, RPC_PROTOCOL_MAX);
	frame_append(&b, FRAME_REQUEST, 1, RPC_PEER, PEER_GET_BLOB, &m.base);
	raw_write(fd, b.data, b.len);
	buf_fini(&b);
	wait_for(f, f->held);
	run_for(f, 100);
	assert_in_range(f->sent, 15, 17); /* 1 MiB of credit and not a chunk more */
	assert_int_equal(f->drained, 0);
	served_as_ever(f);
	close(fd);
	wait_for(f, f->cancelled == 1);
}

static void on_queue_closed(struct rpc_conn *c)
{
	*(bool *)c->owner = true;
}

/* Fresh review of security, 2: without a certificate 16 MiB waited for one who did not read. */
static void test_S2_queue_of_a_stranger(void **state)
{
	static const struct conn_ops ops = {.on_closed = on_queue_closed};
	struct fixture *f = *state;
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__ErrorBody body = GS__ERROR_BODY__INIT;
	cleanup_free char *text = xcalloc(1, 4001);
	bool closed = false;
	struct rpc_conn *c = conn_new(&f->loop, false, true, &ops, &closed);
	size_t most = 0;

	memset(text, 'x', 4000);
	h.kind = FRAME_ERROR;
	body.message = text;
	while (!conn_is_closing(c)) { /* nobody is there to write to */
		most = conn_queue_bytes(c);
		conn_send(c, &h, &body.base);
	}
	assert_in_range(most, 32u << 10, CONN_QUEUE_MAX_STRANGER);
	assert_int_equal(c->err.code, E_LIMIT);
	wait_for(f, closed);
}

static void test_too_many_calls(void **state)
{
	enum { N = 300 };
	struct fixture *f = *state;
	struct buf b = {0};
	int fd = raw_unix(f);
	Gs__SessionRequest m = GS__SESSION_REQUEST__INIT;

	f->local_role = ROLE_BIT_WORKER;
	hello_append(&b, RPC_PROTOCOL_MAX);
	for (unsigned i = 0; i < N; i++)
		frame_append(&b, FRAME_REQUEST, 2 * i + 1, RPC_DISPATCHER, DISPATCHER_SESSION, &m.base);
	raw_write(fd, b.data, b.len);
	buf_fini(&b);
	wait_for(f, f->sessions > 0);
	run_for(f, 50);
	assert_int_equal(f->sessions, 256);
	close(fd);
	wait_for(f, f->cancelled == 256);
}

/* ---- who may use the unix socket ---- */

/* Connects as nobody, in a process of its own, and tells how it went. */
static struct err as_nobody(struct fixture *f)
{
	struct rpc_sync *s = NULL;
	struct err e = {0};
	int pipes[2], status;
	pid_t pid;

	chmod(f->dir, 0755);
	chmod(f->path, 0666); /* past the file mode, so that the credentials decide */
	assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
	pid = fork();
	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
			_exit(77);
		rpc_sync_connect(f->path, &s, &e);
		_exit(write(pipes[1], &e, sizeof(e)) < 0);
	}
	close(pipes[1]);
	wait_for(f, read(pipes[0], &e, sizeof(e)) == sizeof(e));
	close(pipes[0]);
	waitpid(pid, &status, 0);
	return e;
}

static void test_uid_is_checked(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	if (getuid() != 0)
		skip();
	e = as_nobody(f);
	assert_int_equal(e.code, E_FORBIDDEN);
	assert_non_null(strstr(e.msg, "run gswarm as root"));
}

static void test_group_may(void **state)
{
	struct fixture *f = *state;

	if (getuid() != 0)
		skip();
	assert_int_equal(as_nobody(f).code, 0);
}

static int setup_group(void **state)
{
	fixture_group = "nogroup";
	return fixture_setup(state);
}

static int teardown_group(void **state)
{
	fixture_group = NULL;
	return fixture_teardown(state);
}

/* ---- listening ---- */

static void test_listen_failures(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = {0};
	struct rpc_server *second;
	struct err e = {0};
	char path[128];
	int fd;

	rpc_server_new(&f->loop, &config, &second);
	assert_int_equal(rpc_server_listen_tcp(second, "127.0.0.1", f->port, f->server_identity, &e),
			 -EADDRINUSE);
	assert_non_null(strstr(e.msg, "127.0.0.1 port"));
	assert_int_equal(rpc_server_listen_tcp(second, "nonsense", 1, f->server_identity, &e), E_INVALID);
	assert_int_equal(rpc_server_listen_unix(second, f->path, &e), E_IN_USE);
	snprintf(path, sizeof(path), "%s/stale", f->dir);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	{
		struct sockaddr_un un = {.sun_family = AF_UNIX};

		strcpy(un.sun_path, path);
		assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	}
	close(fd); /* left behind, as after a crash */
	assert_int_equal(rpc_server_listen_unix(second, path, &e), 0);
	rpc_server_close(second, NULL, NULL);
	run_for(f, 20);
	served_as_ever(f);
}

static bool answers(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_there;

	strcpy(un.sun_path, path);
	is_there = connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0;
	close(fd);
	return is_there;
}

/* FINDINGS U10: who serves a path owns it, also when the socket's file has gone. */
static void test_u10_second_daemon_does_not_take_the_path(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = {0};
	struct rpc_server *second;
	struct err e = {0};

	unlink(f->path);
	rpc_server_new(&f->loop, &config, &second);
	assert_int_equal(rpc_server_listen_unix(second, f->path, &e), E_IN_USE);
	assert_non_null(strstr(e.msg, "another daemon already serves"));
	assert_false(answers(f->path));
	rpc_server_close(second, NULL, NULL);
	run_for(f, 20);
}

static void on_first_closed(void *arg)
{
	((struct fixture *)arg)->server_closed = true;
}

/* FINDINGS U10: somebody has emptied the folder, a second daemon has begun there, the first one stops. */
static void test_u10_stopping_removes_only_its_own_socket(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = {0};
	struct rpc_server *second;
	char lock[128];
	struct err e = {0};

	snprintf(lock, sizeof(lock), "%s.lock", f->path);
	unlink(lock);
	unlink(f->path);
	rpc_server_new(&f->loop, &config, &second);
	assert_int_equal(rpc_server_listen_unix(second, f->path, &e), 0);
	rpc_server_close(f->server, on_first_closed, f);
	wait_for(f, f->server_closed);
	assert_true(answers(f->path));
	rpc_server_close(second, NULL, NULL);
	run_for(f, 20);
	assert_false(answers(f->path));
}

static void test_nobody_listens(void **state)
{
	struct fixture *f = *state;
	struct client c;

	f->port = 1;
	client_tcp(f, &c, f->worker, NULL);
	wait_for(f, c.closed);
	assert_int_equal(c.err.code, -ECONNREFUSED);
	assert_string_equal(c.err.msg, "connect to 127.0.0.1 port 1: no connection: Connection refused");
}

/* Accepted by the kernel, and then nothing. */
static void test_silent_server(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(in);
	struct client c;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	listen(fd, 1);
	getsockname(fd, (struct sockaddr *)&in, &n);
	f->port = ntohs(in.sin_port);
	f->connect_ms = 0;
	client_tcp(f, &c, f->worker, NULL);
	wait_for(f, c.closed); /* 3 s by default */
	assert_int_equal(c.err.code, E_DEADLINE);
	close(fd);
}

/* Strangers have as long as in the daemons. */
static int setup_hasty(void **state)
{
	fixture_hello_ms = 0;
	int rc = fixture_setup(state);

	fixture_hello_ms = PATIENCE_MS;
	return rc;
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_foreign_server),
		T(test_wrong_server_node),
		T(test_client_certificate_of_another_ca),
		T(test_expired_certificate),
		T(test_join_by_digest),
		T(test_small_frames_before_authentication),
		T(test_other_cluster),
		T(test_http_on_both),
		T(test_log_is_bounded),
		T(test_garbage_on_both),
		T(test_garbage_after_client_hello),
		T(test_frames_out_of_place),
		cmocka_unit_test_setup_teardown(test_silence_is_closed, setup_hasty, fixture_teardown),
		T(test_lost_reader_ends_a_stream),
		T(test_reader_that_stopped),
		T(test_too_many_calls),
		T(test_S2_queue_of_a_stranger),
		T(test_uid_is_checked),
		cmocka_unit_test_setup_teardown(test_group_may, setup_group, teardown_group),
		T(test_listen_failures),
		T(test_u10_second_daemon_does_not_take_the_path),
		T(test_u10_stopping_removes_only_its_own_socket),
		T(test_nobody_listens),
		T(test_silent_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
