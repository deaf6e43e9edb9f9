// SPDX-License-Identifier: Apache-2.0
/* The happy path is the test's; what fails here fails the test. */
#include "tests/unit/proto/rpc_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/rpc/frame.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/schema/peer.pb-c.h"

void pki_init(struct pki *p, const char *cluster_id)
{
	struct err e = {0};

	assert_int_equal(tls_root_new(cluster_id, &p->ca, &p->ca_key, &e), 0);
	assert_int_equal(tls_cert_digest(p->ca, p->digest, &e), 0);
}

void pki_fini(struct pki *p)
{
	free(p->ca);
	free(p->ca_key);
}

struct tls_identity *pki_identity(const struct pki *p, const char *node)
{
	cleanup_free char *key = NULL, *csr = NULL, *cert = NULL;
	struct tls_identity *id;
	struct err e = {0};
	char serial[33];
	int64_t not_after;
	struct tls_issue in = {.ca_cert_pem = p->ca,
			       .ca_key_pem = p->ca_key,
			       .node_id = node,
			       .cluster_id = "swarm",
			       .now_ms = (int64_t)time(NULL) * 1000,
			       .expiry_s = 3600};

	if (node) {
		assert_int_equal(tls_key_new(&key, &e), 0);
		assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
		in.csr_pem = csr;
		assert_int_equal(tls_issue(&in, &cert, serial, &not_after, &e), 0);
	}
	assert_int_equal(tls_identity_new(p->ca, cert, key, &id, &e), 0);
	return id;
}

/* ---- loop ---- */

static void on_guard(uv_timer_t *t)
{
}

bool loop_turn(struct fixture *f, uint64_t until)
{
	/* So that a turn ends, and the loop is never without work: it repeats, because one that ran before the loop looked
	 * for events (a busy machine) leaves that look without an end. */
	uv_timer_t guard;

	uv_timer_init(&f->loop, &guard);
	uv_timer_start(&guard, on_guard, 20, 20);
	uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&guard, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	return uv_hrtime() < until;
}

void run_for(struct fixture *f, unsigned ms)
{
	uint64_t until = uv_hrtime() + ms * 1000000ull;

	while (loop_turn(f, until))
		;
}

/* ---- handlers ---- */

static void on_ping(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct fixture *f = arg;
	Gs__PingResponse resp = GS__PING_RESPONSE__INIT;

	f->pings++;
	strcpy(f->caller, rpc_call_peer(call)->node_id);
	f->protocol = rpc_call_peer(call)->protocol;
	resp.node_id = ((const Gs__PingRequest *)req)->from_node;
	rpc_reply(call, &resp.base);
}

/* total in the request's hash field: how many chunks of 64 KiB to send. */
static void send_chunks(struct rpc_call *call, struct fixture *f)
{
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;
	cleanup_free uint8_t *data = xcalloc(1, 65536);
	unsigned total = (unsigned)(uintptr_t)rpc_call_data(call);

	chunk.data = (ProtobufCBinaryData){65536, data};
	while (f->sent < total) {
		if (rpc_event(call, &chunk.base) == E_LIMIT)
			return;
		f->sent++;
	}
	f->held = NULL;
	rpc_end(call);
}

static void on_blob_drain(struct rpc_call *call, void *arg)
{
	struct fixture *f = arg;

	f->drained++;
	send_chunks(call, f);
}

static void on_held_cancel(struct rpc_call *call, void *arg)
{
	struct fixture *f = arg;

	f->cancelled++;
	f->held = NULL;
}

static void on_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct fixture *f = arg;

	f->sent = 0;
	f->held = call;
	rpc_call_set_data(call, (void *)(uintptr_t)atoi(((const Gs__BlobRequest *)req)->sha256));
	rpc_call_on_cancel(call, on_held_cancel, f);
	rpc_call_on_drain(call, on_blob_drain, f);
	send_chunks(call, f);
}

/* Kept open, with on_cancel. */
static void on_session(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct fixture *f = arg;

	f->held = call;
	f->sessions++;
	f->deadline_ms = rpc_call_deadline_ms(call);
	rpc_call_on_cancel(call, on_held_cancel, f);
}

/* Kept open, without on_cancel. */
static void on_heartbeat(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct fixture *f = arg;

	f->held = call;
}

static void on_get_root(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Gs__RootResponse resp = GS__ROOT_RESPONSE__INIT;

	resp.cluster_id = "swarm";
	rpc_reply(call, &resp.base);
}

static void on_get_cluster(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct err e = {0};

	err_set(&e, E_NOT_MANAGER, "not here");
	rpc_fail(call, &e);
}

static const rpc_handler peer_handlers[] = {[PEER_PING] = on_ping, [PEER_GET_BLOB] = on_blob};
static const rpc_handler dispatch_handlers[] = {
	[DISPATCHER_SESSION] = on_session, [DISPATCHER_HEARTBEAT] = on_heartbeat};
static const rpc_handler ca_handlers[] = {[CA_GET_ROOT] = on_get_root};
static const rpc_handler control_handlers[] = {[CONTROL_GET_CLUSTER] = on_get_cluster};

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	struct fixture *f = arg;

	f->authorised++;
	if (peer->is_local)
		return f->local_role;
	if (!f->role)
		err_set(e, E_FORBIDDEN, "node %s was removed", peer->node_id);
	return f->role;
}

static void on_conn(struct rpc_conn *c, bool open, void *arg)
{
	struct fixture *f = arg;

	f->conns += open ? 1 : -1;
}

/* ---- set-up ---- */

uint16_t free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	getsockname(fd, (struct sockaddr *)&in, &n);
	close(fd);
	return ntohs(in.sin_port);
}

const char *fixture_group;
uint64_t fixture_hello_ms = PATIENCE_MS;

int fixture_setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct rpc_server_config config = {
		.authorise = authorise, .on_conn = on_conn, .arg = f, .cluster_id = "swarm"};
	struct err e = {0};

	config.gid_group = fixture_group;
	config.hello_ms = fixture_hello_ms;
	log_set_level(LOG_ERROR);
	uv_loop_init(&f->loop);
	pki_init(&f->pki, "swarm");
	pki_init(&f->foreign, "other");
	f->server_identity = pki_identity(&f->pki, SERVER_NODE);
	f->worker = pki_identity(&f->pki, CLIENT_NODE);
	f->stranger = pki_identity(&f->foreign, CLIENT_NODE);
	f->role = ROLE_BIT_WORKER;
	f->local_role = ROLE_BIT_LOCAL;
	f->connect_ms = PATIENCE_MS;
	rpc_server_new(&f->loop, &config, &f->server);
	rpc_server_add(f->server, RPC_PEER, peer_handlers, array_size(peer_handlers), f);
	rpc_server_add(f->server, RPC_DISPATCHER, dispatch_handlers, array_size(dispatch_handlers), f);
	rpc_server_add(f->server, RPC_CA, ca_handlers, array_size(ca_handlers), f);
	rpc_server_add(f->server, RPC_CONTROL, control_handlers, array_size(control_handlers), f);
	f->port = free_port();
	assert_int_equal(rpc_server_listen_tcp(f->server, "127.0.0.1", f->port, f->server_identity, &e), 0);
	strcpy(f->dir, "gs-rpc-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	assert_int_equal(rpc_server_listen_unix(f->server, f->path, &e), 0);
	*state = f;
	return 0;
}

static void on_server_closed(void *arg)
{
	((struct fixture *)arg)->server_closed = true;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	struct err e = {0};

	if (!f->server_closed) {
		rpc_server_close(f->server, on_server_closed, f);
		wait_for(f, f->server_closed);
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(f->conns, 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	tls_identity_unref(f->server_identity);
	tls_identity_unref(f->worker);
	tls_identity_unref(f->stranger);
	pki_fini(&f->pki);
	pki_fini(&f->foreign);
	fs_remove_all(f->dir, &e);
	free(f);
	return 0;
}

/* ---- clients ---- */

static void on_state(struct rpc_client *rpc, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct client *c = arg;

	if (state == RPC_OPEN)
		c->is_open = true;
	if (state != RPC_CLOSED)
		return;
	c->is_open = false;
	c->closed++;
	c->err = *e;
	c->rpc = NULL;
}

static void client_start(struct fixture *f, struct client *c, struct rpc_client_config *config)
{
	*c = (struct client){.f = f};
	config->on_state = on_state;
	config->arg = c;
	config->connect_timeout_ms = f->connect_ms;
	c->rpc = rpc_client_new(&f->loop, config);
	assert_false(c->is_open || c->closed);
}

void client_tcp(struct fixture *f, struct client *c, struct tls_identity *id, const char *expect_node)
{
	struct rpc_client_config config = {
		.ip = "127.0.0.1", .port = f->port, .identity = id, .expect_node = expect_node};

	client_start(f, c, &config);
}

void client_tcp_cluster(struct fixture *f, struct client *c, struct tls_identity *id, const char *cluster_id)
{
	struct rpc_client_config config = {.ip = "127.0.0.1", .port = f->port, .identity = id};

	strcpy(config.cluster_id, cluster_id);
	client_start(f, c, &config);
}

void client_from_as(struct fixture *f, struct client *c, const char *source, struct tls_identity *id)
{
	struct rpc_client_config config = {
		.ip = "127.0.0.1", .port = f->port, .identity = id, .bind_ip = source};

	client_start(f, c, &config);
}

void client_from(struct fixture *f, struct client *c, const char *source)
{
	client_from_as(f, c, source, f->worker);
}

void client_unix(struct fixture *f, struct client *c)
{
	struct rpc_client_config config = {.unix_path = f->path};

	client_start(f, c, &config);
}

void client_close(struct client *c)
{
	if (c->rpc)
		rpc_client_close(c->rpc);
	wait_for(c->f, c->closed == 1);
}

static void on_event(const ProtobufCMessage *event, void *arg)
{
	struct answer *a = arg;

	a->events++;
	a->bytes += protobuf_c_message_get_packed_size(event);
}

static void on_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct answer *a = arg;

	a->done++;
	a->has_resp = resp;
	if (e)
		a->err = *e;
	if (resp && resp->descriptor == &gs__ping_response__descriptor)
		snprintf(a->text, sizeof(a->text), "%s", ((const Gs__PingResponse *)resp)->node_id);
}

static struct rpc_req *start_any(struct client *c, struct answer *a, unsigned service, unsigned method,
				 const ProtobufCMessage *req, uint32_t deadline_ms, uint32_t priority)
{
	struct rpc_call_spec spec = {.service = service,
				     .method = method,
				     .req = req,
				     .deadline_ms = deadline_ms,
				     .priority = priority,
				     .on_event = on_event,
				     .done = on_done,
				     .arg = a};
	struct rpc_req *r;

	*a = (struct answer){0};
	r = rpc_call_start(c->rpc, &spec);
	assert_int_equal(a->done, 0);
	return r;
}

struct rpc_req *start(struct client *c, struct answer *a, unsigned service, unsigned method,
		      const ProtobufCMessage *req, uint32_t deadline_ms)
{
	return start_any(c, a, service, method, req, deadline_ms, 0);
}

struct rpc_req *start_urgent(struct client *c, struct answer *a, unsigned service, unsigned method,
			     const ProtobufCMessage *req)
{
	return start_any(c, a, service, method, req, 0, 1);
}

/* ---- raw bytes, and other small things ---- */

void ping_is_answered(struct client *c)
{
	Gs__PingRequest m = GS__PING_REQUEST__INIT;
	struct answer a;

	m.from_node = "x";
	start(c, &a, RPC_PEER, PEER_PING, &m.base, PATIENCE_MS);
	wait_for(c->f, a.done);
	assert_int_equal(a.err.code, 0);
}

int raw_unix(struct fixture *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

void raw_write(int fd, const void *data, size_t n)
{
	assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* The server has closed: end of file or a reset, after whatever it said. */
bool is_closed(int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		;
	return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

void frame_append(struct buf *b, Gs__FrameKind kind, uint64_t call, unsigned service, unsigned method,
		  const ProtobufCMessage *m)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	struct err e = {0};

	h.kind = kind;
	h.call = call;
	h.service = service;
	h.method = method;
	assert_int_equal(frame_encode(b, &h, m, &e), 0);
}

void hello_append(struct buf *b, unsigned version)
{
	Gs__Hello hello = GS__HELLO__INIT;

	hello.protocol_min = hello.protocol_max = version;
	frame_append(b, FRAME_HELLO, 0, 0, 0, &hello.base);
}
