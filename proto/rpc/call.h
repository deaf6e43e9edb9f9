// SPDX-License-Identifier: Apache-2.0
/* An incoming call, for whoever answers it. Exactly one of reply, end and fail ends it. On the loop. */
#pragma once
#include "proto/rpc/rpc.h"

struct rpc_conn;
/* An incoming call, and its request with it; lives until reply/end/fail, or until on_cancel has returned. */
struct rpc_call;
typedef void (*rpc_handler)(struct rpc_call *call, const ProtobufCMessage *req, void *arg);

/* Valid as long as the call. */
const struct rpc_peer *rpc_call_peer(const struct rpc_call *call);
/* Milliseconds left of the caller's deadline; UINT32_MAX: none. */
uint32_t rpc_call_deadline_ms(const struct rpc_call *call);
/* NULL once the connection has gone. */
struct rpc_conn *rpc_call_conn(struct rpc_call *call);
/* Runs once when the caller cancels, the deadline passes or the connection is lost, and never after
 * reply/end/fail. The call is dead once it returns. Without one, such a call's reply is dropped silently. */
void rpc_call_on_cancel(struct rpc_call *call, void (*cancelled)(struct rpc_call *call, void *arg),
			void *arg);
/* A pointer of the handler's own, NULL at first; never freed here. */
void rpc_call_set_data(struct rpc_call *call, void *data);
/* What rpc_call_set_data was given. */
void *rpc_call_data(const struct rpc_call *call);
/* Send one stream event. 0; E_LIMIT when the caller's window or the write queue is full (nothing was sent:
 * wait for on_drain and send again); E_CLOSED when the caller is gone (on_cancel says so, too); E_INVALID
 * over 4 MiB. */
int rpc_event(struct rpc_call *call, const ProtobufCMessage *event);
/* Runs after each E_LIMIT of rpc_event, once there is room again; may end its own call. */
void rpc_call_on_drain(struct rpc_call *call, void (*drain)(struct rpc_call *call, void *arg), void *arg);
/* Ends the call; response stays the caller's. Over 4 MiB the caller gets E_LIMIT instead. */
void rpc_reply(struct rpc_call *call, const ProtobufCMessage *response);
void rpc_end(struct rpc_call *call); /* a stream ends well */
void rpc_fail(struct rpc_call *call, const struct err *e);
