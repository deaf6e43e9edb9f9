// SPDX-License-Identifier: Apache-2.0
/* The first frame each way: protocol versions and cluster ids.
 *
 * The happy path is: the side that dialled says Hello, the other answers Hello, both are open. What can
 * fail: no common version, another cluster, or no Hello at all; the server says why in an ERROR frame. */
#include <string.h>

#include "proto/rpc/conn.h"

void hello_send(struct rpc_conn *c)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__Hello hello = GS__HELLO__INIT;

	h.kind = FRAME_HELLO;
	hello.protocol_min = RPC_PROTOCOL_MIN;
	hello.protocol_max = RPC_PROTOCOL_MAX;
	hello.cluster_id = c->cluster_id;
	hello.node_id = c->node_id;
	hello.software_version = (char *)GSWARM_VERSION;
	conn_send(c, &h, &hello.base);
}

static int hello_check(const struct rpc_conn *c, const Gs__Hello *hello, struct err *e)
{
	if (hello->protocol_min > RPC_PROTOCOL_MAX || hello->protocol_max < RPC_PROTOCOL_MIN)
		return err_set(e, E_PROTOCOL,
			       "gswarm %.32s speaks protocol %u to %u, gswarm %s speaks %u to %u",
			       hello->software_version, hello->protocol_min, hello->protocol_max,
			       GSWARM_VERSION, RPC_PROTOCOL_MIN, RPC_PROTOCOL_MAX);
	if (c->cluster_id[0] && hello->cluster_id[0] && strcmp(c->cluster_id, hello->cluster_id) != 0)
		return err_set(e, E_FORBIDDEN, "swarm %.25s and swarm %.25s are not the same", c->cluster_id,
			       hello->cluster_id);
	return 0;
}

/* The server says no before it says Hello. */
static void hello_refused(struct rpc_conn *c, const struct frame *f)
{
	Gs__ErrorBody *body = gs__error_body__unpack(NULL, f->payload_len, f->payload);
	struct err e = {0};

	if (body && body->code < 0)
		err_set(&e, body->code, "%s", body->message);
	else
		err_set(&e, E_PROTOCOL, "the other side refused the connection");
	if (body)
		gs__error_body__free_unpacked(body, NULL);
	conn_fail(c, &e);
}

void hello_receive(struct rpc_conn *c, const struct frame *f)
{
	Gs__Hello *hello = NULL;
	struct err e = {0};
	int rc;

	if (f->header->kind == FRAME_ERROR && !c->is_server) {
		hello_refused(c, f);
		return;
	}
	if (f->header->kind == FRAME_HELLO)
		hello = gs__hello__unpack(NULL, f->payload_len, f->payload);
	if (!hello) {
		err_set(&e, E_PROTOCOL, "the first frame is no Hello");
		conn_fail(c, &e);
		return;
	}
	err_clear(&e);
	rc = hello_check(c, hello, &e);
	c->peer.protocol = hello->protocol_max < RPC_PROTOCOL_MAX ? hello->protocol_max : RPC_PROTOCOL_MAX;
	gs__hello__free_unpacked(hello, NULL);
	if (rc == 0 && c->is_server && c->ops->may_open)
		rc = c->ops->may_open(c, &e);
	if (rc < 0 && c->is_server) {
		conn_refuse(c, &e);
	} else if (rc < 0) {
		conn_fail(c, &e);
	} else {
		if (c->is_server)
			hello_send(c);
		if (conn_is_closing(c))
			return;
		sm_go(&c->sm, CONN_OPEN);
		c->was_open = true;
		conn_set_limit(c, 0, NULL);
		c->ops->on_open(c);
		if (!conn_is_closing(c))
			req_send_queued(c);
	}
}
