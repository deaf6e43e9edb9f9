// SPDX-License-Identifier: Apache-2.0
/* Calls and streams over frames over TLS 1.3 (TCP) or a bare unix socket.
 *
 *   caller                          callee
 *     | REQUEST call=1 svc,method     |
 *     |------------------------------>|  handler(call, req, arg)
 *     |            EVENT call=1  * n  |  rpc_event()      (only while the window has credit)
 *     |<------------------------------|
 *     | WINDOW / CANCEL               |
 *     |------------------------------>|  on_cancel()
 *     |   RESPONSE | END | ERROR      |  rpc_reply() / rpc_end() / rpc_fail(): exactly one
 *     |<------------------------------|
 *
 * Both ends of a connection may call. Everything runs on one libuv loop. Limits: message 4 MiB after
 * authentication and 64 KiB before; 256 concurrent calls a connection; write queue 16 MiB, then the
 * connection is closed. Lost connection: every open call on it ends with E_CLOSED, exactly once.
 *
 * This header is what both ends know. call.h: for who answers; server.h: who listens; client.h: who dials and calls;
 * sync.h: the same, waiting; conn.h: the inside of a connection. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/id.h"
#include "proto/schema/methods.h"
#include "proto/schema/names.h"
#include "proto/schema/rpc.pb-c.h"

/* Services and methods are numbers on the wire (generated proto/schema/methods.h): a method's is its index in the
 * .proto, so methods are only added at the end of a service. */
const ProtobufCServiceDescriptor *rpc_service_descriptor(unsigned service);
/* "Control.CreateService"; "?" when unknown. */
const char *rpc_method_name(unsigned service, unsigned method, char *buf, size_t n);

/* Who may call a method, from the @role comments (generated proto/schema/roles.h). */
enum rpc_role {
	ROLE_BIT_NONE = 1,
	ROLE_BIT_WORKER = 2,
	ROLE_BIT_MANAGER = 4,
	ROLE_BIT_LOCAL = 8,
	ROLE_BIT_EXPIRED = 16, /* a certificate whose time is over; see rpc_server_config.takes_expired */
};
unsigned rpc_method_roles(unsigned service, unsigned method); /* bit set; 0 for an unknown method */

struct rpc_peer {
	bool is_local;         /* unix socket; uid/gid/pid from SO_PEERCRED */
	bool is_authenticated; /* a certificate of our CA */
	bool is_expired;       /* ... whose time is over: only what ROLE_BIT_EXPIRED may call */
	bool is_manager; /* that is a manager's own; what a caller may do is asked of the store instead */
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1], serial[33];
	uid_t uid;
	gid_t gid;
	pid_t pid;
	char addr[64];     /* "192.168.55.112:40000" or "unix" */
	unsigned protocol; /* the version that both speak; known from Hello on */
};
