// SPDX-License-Identifier: Apache-2.0
/* Who dials, and the calls that go out. On the loop. */
#pragma once
#include <uv.h>

#include "proto/rpc/rpc.h"
#include "proto/tls/tls.h"

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
