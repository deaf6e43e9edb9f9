// SPDX-License-Identifier: Apache-2.0
/* The connections between managers, of which there are none yet.
 *
 * The happy path is that libraft, being a lone voter, never asks. If it does ask, it hears "no connection"
 * and tries again after its own delay. */
#include "manager/raft/transport.h"

#include <string.h>

static int transport_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
	return 0;
}

static int transport_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
	return 0;
}

static int transport_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id,
			     const char *address, raft_uv_connect_cb cb)
{
	return RAFT_NOCONNECTION;
}

static void transport_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
	if (cb)
		cb(t);
}

void raft_transport_init(struct raft_uv_transport *t)
{
	memset(t, 0, sizeof(*t));
	t->version = 1; /* 0.22 refuses another one */
	t->init = transport_init;
	t->listen = transport_listen;
	t->connect = transport_connect;
	t->close = transport_close;
}
