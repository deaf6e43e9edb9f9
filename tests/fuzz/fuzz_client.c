// SPDX-License-Identifier: Apache-2.0
/* The side that dials, without TLS: what a server may answer to a call, a stream that pauses now and then, and
 * a call with a deadline. However it answers, each call ends exactly once. */
#include "proto/value/obj.h"
#include "tests/fuzz/conn_rig.h"

struct asked {
	struct rpc_req *req;
	unsigned done, events;
};

static void on_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct asked *a = arg;

	assert(a->done++ == 0);
	a->req = NULL;
}

static void on_event(const ProtobufCMessage *event, void *arg)
{
	struct asked *a = arg;

	assert(!a->done);
	switch (a->events++ % 4) {
	case 1:
		rpc_req_pause(a->req);
		break;
	case 3:
		rpc_req_resume(a->req);
		break;
	}
}

static void ask(struct rig *r, struct asked *a, unsigned method, const ProtobufCMessage *req,
		uint32_t deadline_ms)
{
	struct rpc_call_spec spec = {.service = RPC_PEER,
				     .method = method,
				     .req = req,
				     .deadline_ms = deadline_ms,
				     .on_event = method == PEER_GET_BLOB ? on_event : NULL,
				     .done = on_done,
				     .arg = a};

	*a = (struct asked){0};
	a->req = req_start(r->c, &spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Gs__PingRequest ping = GS__PING_REQUEST__INIT;
	Gs__BlobRequest blob = GS__BLOB_REQUEST__INIT;
	struct asked a[3];
	struct rig r;

	if (size > 65536 || !rig_open(&r, true, false, NULL))
		return 0;
	ask(&r, &a[0], PEER_PING, &ping.base, 0); /* numbers 1, 3, 5 on the wire */
	ask(&r, &a[1], PEER_GET_BLOB, &blob.base, 0);
	ask(&r, &a[2], PEER_PING, &ping.base, 50);
	rig_put(&r, data, size);
	rig_turn(&r, 4);
	if (a[1].req)
		rpc_req_cancel(a[1].req);
	rig_turn(&r, 1);
	rig_close(&r);
	for (size_t i = 0; i < array_size(a); i++)
		assert(a[i].done == 1);
	return 0;
}
