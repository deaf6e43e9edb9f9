// SPDX-License-Identifier: Apache-2.0
/* What the three targets for connections have in common: a connection on one end of a socket pair, bytes put
 * in at the other end, handlers that answer, stream or keep the call. */
#pragma once
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/rpc/conn.h"
#include "proto/schema/peer.pb-c.h"
#include "tests/fuzz/fuzz.h"

static inline void on_ping(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Gs__PingResponse resp = GS__PING_RESPONSE__INIT;

	rpc_reply(call, &resp.base);
}

static inline void on_cancel(struct rpc_call *call, void *arg)
{
}

static inline void stream(struct rpc_call *call, void *arg)
{
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;
	static uint8_t data[65536];

	chunk.data = (ProtobufCBinaryData){sizeof(data), data};
	for (int i = 0; i < 64; i++)
		if (rpc_event(call, &chunk.base) == E_LIMIT)
			return;
	rpc_end(call);
}

static inline void on_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	rpc_call_on_cancel(call, on_cancel, NULL);
	rpc_call_on_drain(call, stream, NULL);
	stream(call, NULL);
}

static inline void on_view(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	rpc_call_on_cancel(call, on_cancel, NULL);
}

static inline unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	return ROLE_BIT_WORKER;
}

static const rpc_handler peer_handlers[] = {
	[PEER_PING] = on_ping, [PEER_GET_BLOB] = on_blob, [PEER_PUSH_VIEW] = on_view};

struct rig {
	uv_loop_t loop;
	struct service_table services;
	struct rpc_conn *c;
	bool is_open, is_closed;
	int far; /* the end that is ours */
};

static inline void on_rig_open(struct rpc_conn *c)
{
	((struct rig *)c->owner)->is_open = true;
}

static inline void on_rig_closed(struct rpc_conn *c)
{
	((struct rig *)c->owner)->is_closed = true;
}

static const struct conn_ops rig_ops = {on_rig_open, on_rig_closed};

/* False: no descriptors left. */
static inline bool rig_open(struct rig *r, bool is_unix, bool is_server, struct tls_identity *identity)
{
	int fds[2];

	*r = (struct rig){.services.authorise = authorise};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return false;
	r->services.entries[RPC_PEER] =
		(struct service_entry){peer_handlers, array_size(peer_handlers), NULL};
	uv_loop_init(&r->loop);
	r->c = conn_new(&r->loop, is_unix, is_server, &rig_ops, r);
	r->c->services = is_server ? &r->services : NULL;
	assert((is_unix ? uv_pipe_open(&r->c->io.pipe, fds[0]) : uv_tcp_open(&r->c->io.tcp, fds[0])) == 0);
	r->far = fds[1];
	conn_established(r->c, identity);
	return true;
}

static inline void rig_put(struct rig *r, const void *data, size_t n)
{
	if (!r->is_closed)
		assert(send(r->far, data, n, MSG_NOSIGNAL) == (ssize_t)n || r->is_closed);
}

/* A few rounds of the loop; what the connection says is read and dropped. */
static inline void rig_turn(struct rig *r, int rounds)
{
	char buf[65536];

	for (int i = 0; i < rounds && !r->is_closed; i++) {
		uv_run(&r->loop, UV_RUN_NOWAIT);
		while (recv(r->far, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
	}
}

/* Everything must be closed and freed now. */
static inline void rig_close(struct rig *r)
{
	close(r->far);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert(r->is_closed);
	assert(uv_loop_close(&r->loop) == 0);
}
