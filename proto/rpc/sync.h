// SPDX-License-Identifier: Apache-2.0
/* A client that waits, for the command line: it runs a loop of its own, over a unix socket. */
#pragma once
#include "proto/rpc/rpc.h"

struct rpc_sync;
/* E_UNAVAILABLE: nobody answers there; E_FORBIDDEN: we may not; the message says what to do. */
int rpc_sync_connect(const char *unix_path, struct rpc_sync **ret, struct err *e);
/* *ret_resp is freed with protobuf_c_message_free_unpacked(resp, NULL). */
int rpc_sync_call(struct rpc_sync *s, unsigned service, unsigned method, const ProtobufCMessage *req,
		  uint32_t deadline_ms, ProtobufCMessage **ret_resp, struct err *e);
/* on_event returns false to stop (then 0 is returned). deadline_ms 0: for ever. tick (may be NULL) runs every
 * 100 ms and returns false to stop. */
int rpc_sync_stream(struct rpc_sync *s, unsigned service, unsigned method, const ProtobufCMessage *req,
		    bool (*on_event)(const ProtobufCMessage *event, void *arg), bool (*tick)(void *arg),
		    void *arg, struct err *e);
/* NULL is fine. */
void rpc_sync_close(struct rpc_sync *s);
