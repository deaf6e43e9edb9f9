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
 * connection is closed. Lost connection: every open call on it ends with E_CLOSED, exactly once. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/id.h"
#include "proto/schema/methods.h"
#include "proto/schema/names.h"
#include "proto/schema/rpc.pb-c.h"
#include "proto/tls/tls.h"

/* Services and methods are numbers on the wire (generated proto/schema/methods.h): a method's is its index in the
 * .proto, so methods are only added at the end of a service. */
const ProtobufCServiceDescriptor *rpc_service_descriptor(unsigned service);
/* "Control.CreateService"; "?" when unknown. */
const char *rpc_method_name(unsigned service, unsigned method, char *buf, size_t n);

/* Who may call a method, from the @role comments (generated proto/schema/roles.h). */
enum rpc_role { ROLE_BIT_NONE = 1, ROLE_BIT_WORKER = 2, ROLE_BIT_MANAGER = 4, ROLE_BIT_LOCAL = 8 };
unsigned rpc_method_roles(unsigned service, unsigned method); /* bit set; 0 for an unknown method */

struct rpc_peer {
	bool is_local;         /* unix socket; uid/gid/pid from SO_PEERCRED */
	bool is_authenticated; /* a certificate of our CA */
	bool is_manager; /* that is a manager's own; what a caller may do is asked of the store instead */
	char node_id[ID_LEN + 1], cluster_id[ID_LEN + 1], serial[33];
	uid_t uid;
	gid_t gid;
	pid_t pid;
	char addr[64];     /* "192.168.55.112:40000" or "unix" */
	unsigned protocol; /* the version that both speak; known from Hello on */
};

/* ---- server ---- */
struct rpc_conn;
/* An incoming call, and its request with it; lives until reply/end/fail, or until on_cancel has returned. */
struct rpc_call;
typedef void (*rpc_handler)(struct rpc_call *call, const ProtobufCMessage *req, void *arg);

#define RPC_NODE_CONNS 16 /* a node needs two; one that was cut off leaves some behind */
struct rpc_server;
struct rpc_server_config {
	/* Asked before a connection with a certificate opens, and before each handler, except for methods with
	 * role none and for peers without a certificate (those may call only such methods). Returns the caller's
	 * role bits (one of enum rpc_role), or 0 to refuse with *e. For a local peer the server itself has checked
	 * uid 0 or group gswarm at accept. NULL: local peers have ROLE_BIT_LOCAL, all others nothing. */
	unsigned (*authorise)(const struct rpc_peer *peer, void *arg, struct err *e);
	/* Connections that one node's certificates may hold; for one more its oldest goes. 0: any number. */
	unsigned node_conns_max;
	/* May be NULL. After Hello, and when such a connection has gone. */
	void (*on_conn)(struct rpc_conn *c, bool open, void *arg);
	void *arg;
	char cluster_id[ID_LEN + 1], node_id[ID_LEN + 1]; /* for Hello; may be empty before init */
	/* Unix socket: this group may connect besides root ("gswarm"); NULL: root only. */
	const char *gid_group;
	uint64_t hello_ms; /* a connection must be open after that time; 0: 3000 */
};
/* Copies config. Cannot fail (0); nothing listens yet. */
int rpc_server_new(uv_loop_t *loop, const struct rpc_server_config *config, struct rpc_server **ret);
/* handlers[i] serves method i; NULL: "not implemented". handlers must outlive the server. */
void rpc_server_add(struct rpc_server *s, unsigned service, const rpc_handler *handlers, size_t n, void *arg);
/* ip is numeric; identity must have a certificate and is referenced. E_INVALID, or -errno of the bind. */
int rpc_server_listen_tcp(struct rpc_server *s, const char *ip, uint16_t port, struct tls_identity *identity,
			  struct err *e);
/* Replaces a stale socket, and our own of before at this path (its file may be gone; connections live on); mode 0660.
 * E_IN_USE when another live server has the path (proto/rpc/sockfile.h). */
int rpc_server_listen_unix(struct rpc_server *s, const char *path, struct err *e);
/* For the Hello of connections that come from now on; copied. */
void rpc_server_set_ids(struct rpc_server *s, const char *cluster_id, const char *node_id);
void rpc_server_set_identity(struct rpc_server *s, struct tls_identity *identity); /* for new connections */
/* Close every connection whose certificate names this node. */
void rpc_server_drop_node(struct rpc_server *s, const char *node_id);
/* Closes all; `closed` (may be NULL) comes later, from the loop, and the server is freed with it. */
void rpc_server_close(struct rpc_server *s, void (*closed)(void *arg), void *arg);

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

/* ---- client ---- */
struct rpc_client;
enum rpc_client_state { RPC_OPEN = 1, RPC_CLOSED }; /* 0: neither came yet */
struct rpc_client_config {
	const char *unix_path; /* or */
	const char *ip;        /* numeric */
	uint16_t port;
	struct tls_identity *identity; /* TCP: required */
	const char *expect_node;       /* NULL, or the server's certificate must name this node */
	bool expect_manager;           /* the server's certificate must be a manager's, not any node's */
	const char *bind_ip;           /* NULL, or source address */
	char cluster_id[ID_LEN + 1], node_id[ID_LEN + 1]; /* Hello; empty when joining */
	uint64_t connect_timeout_ms;                      /* 0: 3000 for TCP, 1000 for unix */
	/* Called on each change; CLOSED comes exactly once, with the reason, after which the client may be
	 * freed. */
	void (*on_state)(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg);
	/* Optional: the server's address in use and peer identity become visible with rpc_client_peer. */
	void *arg;
};
/* Copies config, references the identity. Never NULL: what is wrong comes as CLOSED, from the loop. */
struct rpc_client *rpc_client_new(uv_loop_t *loop, const struct rpc_client_config *config);
/* Idempotent. Open calls end with E_CLOSED; then on_state(CLOSED) if it has not been; then memory is freed by
 * the client itself. The pointer must not be used after on_state(CLOSED) has returned. All of it happens
 * later, from the loop. */
void rpc_client_close(struct rpc_client *c);
/* Filled as the handshake goes on; valid until on_state(CLOSED) has returned. */
const struct rpc_peer *rpc_client_peer(const struct rpc_client *c);

struct rpc_req; /* an outgoing call; valid until done fires */
struct rpc_call_spec {
	unsigned service, method;
	const ProtobufCMessage *req;
	uint32_t deadline_ms; /* 0: none (streams) */
	uint32_t priority;
	void (*on_event)(const ProtobufCMessage *event, void *arg); /* NULL: not a stream */
	/* Exactly once, never from inside rpc_call_start. resp is NULL for a failed call and for a stream's
	 * end. */
	void (*done)(const ProtobufCMessage *resp, const struct err *e, void *arg);
	void *arg;
};
/* May be used before the connection is open (queued). */
struct rpc_req *rpc_call_start(struct rpc_client *c, const struct rpc_call_spec *spec);
void rpc_req_cancel(struct rpc_req *r); /* done fires with E_CANCELLED: later, from the loop */

/* A consumer that cannot keep up: while it pauses, the other side gets no more credit. What has credit already
 * (CONN_WINDOW: 1 MiB at most) may still come to on_event. Until done fires. */
void rpc_req_pause(struct rpc_req *r);
/* What was held back is given at once. */
void rpc_req_resume(struct rpc_req *r);

/* ---- blocking client for the CLI: runs its own loop ---- */
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
