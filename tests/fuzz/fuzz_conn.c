// SPDX-License-Identifier: Apache-2.0
/* A whole server connection without TLS: Hello, requests, cancels and credit in any order. The handlers
 * answer, stream or keep the call. Afterwards everything must be closed and freed. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/rpc/conn.h"
#include "proto/schema/peer.pb-c.h"
#include "tests/fuzz/fuzz.h"

static void on_ping(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Gs__PingResponse resp = GS__PING_RESPONSE__INIT;

	rpc_reply(call, &resp.base);
}

static void on_cancel(struct rpc_call *call, void *arg)
{
}

static void stream(struct rpc_call *call, void *arg)
{
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;
	static uint8_t data[65536];

	chunk.data = (ProtobufCBinaryData){sizeof(data), data};
	for (int i = 0; i < 64; i++)
		if (rpc_event(call, &chunk.base) == E_LIMIT)
			return;
	rpc_end(call);
}

static void on_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	rpc_call_on_cancel(call, on_cancel, NULL);
	rpc_call_on_drain(call, stream, NULL);
	stream(call, NULL);
}

static void on_view(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	rpc_call_on_cancel(call, on_cancel, NULL);
}

static void on_open(struct rpc_conn *c)
{
}

static void on_closed(struct rpc_conn *c)
{
	*(bool *)c->owner = true;
}

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	return ROLE_BIT_WORKER;
}

static const rpc_handler handlers[] = {
	[PEER_PING] = on_ping, [PEER_GET_BLOB] = on_blob, [PEER_PUSH_VIEW] = on_view};
static const struct conn_ops ops = {on_open, on_closed};

static void drain(int fd)
{
	char buf[65536];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct service_table services = {.authorise = authorise};
	uv_loop_t loop;
	struct rpc_conn *c;
	bool closed = false;
	int fds[2];

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 0;
	services.entries[RPC_PEER] = (struct service_entry){handlers, array_size(handlers), NULL};
	uv_loop_init(&loop);
	c = conn_new(&loop, true, true, &ops, &closed);
	c->services = &services;
	assert(uv_pipe_open(&c->io.pipe, fds[0]) == 0);
	conn_established(c, NULL);
	assert(send(fds[1], data, size, MSG_NOSIGNAL) == (ssize_t)size);
	for (int i = 0; i < 4 && !closed; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		drain(fds[1]);
	}
	close(fds[1]);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert(closed);
	assert(uv_loop_close(&loop) == 0);
	return 0;
}
