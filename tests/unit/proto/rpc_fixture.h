// SPDX-License-Identifier: Apache-2.0
/* A real loop, a CA, a server on loopback TCP and on a unix socket, and clients to it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <time.h>
#include <uv.h>

#include "base/buf.h"
#include "proto/rpc/client.h"
#include "proto/rpc/server.h"

/* Of calls, handshakes and waits: no test is about how fast this machine is, and a thousand handshakes of both sides in
 * one loop take long on a busy one. */
#define PATIENCE_MS 120000

#define SERVER_NODE "server0000000000000000000"
#define CLIENT_NODE "client0000000000000000000"

struct pki {
	char *ca, *ca_key;
	char digest[51];
};
void pki_init(struct pki *p, const char *cluster_id);
void pki_fini(struct pki *p);
/* node NULL: no certificate. */
struct tls_identity *pki_identity(const struct pki *p, const char *node);

uint16_t free_port(void); /* of TCP on loopback, when it was asked */

struct fixture {
	uv_loop_t loop;
	struct pki pki, foreign;
	struct tls_identity *server_identity, *worker, *stranger;
	struct rpc_server *server;
	uint16_t port;
	char dir[64], path[96];
	unsigned role, local_role; /* what authorise answers */
	uint32_t connect_ms;       /* of its clients; 0: the default */
	unsigned conns, authorised;
	bool server_closed;
	/* what the handlers saw */
	struct rpc_call *held; /* a call that a handler keeps open */
	unsigned cancelled, drained, sent, sessions, pings;
	char caller[ID_LEN + 1];
	uint32_t protocol;    /* that they speak with the caller */
	uint32_t deadline_ms; /* what a session had left when it came */
};
/* cmocka set-up and tear-down; the tear-down asserts that the loop is empty. */
extern const char *fixture_group; /* gid_group of the next one */
extern uint64_t fixture_hello_ms; /* its hello_ms: PATIENCE_MS unless changed */
int fixture_setup(void **state);
int fixture_teardown(void **state);

struct client {
	struct fixture *f;
	struct rpc_client *rpc; /* NULL once closed */
	bool is_open;
	unsigned closed;
	struct err err;
};
void client_tcp(struct fixture *f, struct client *c, struct tls_identity *id, const char *expect_node);
void client_tcp_cluster(struct fixture *f, struct client *c, struct tls_identity *id, const char *cluster_id);
/* As the worker, from that address. */
void client_from(struct fixture *f, struct client *c, const char *source);
void client_unix(struct fixture *f, struct client *c);
/* With that certificate or none, from that address. */
void client_from_as(struct fixture *f, struct client *c, const char *source, struct tls_identity *id);
void client_close(struct client *c); /* and waits */

struct answer {
	unsigned done, events;
	bool has_resp;
	char text[64]; /* a string of the response, when there is one */
	size_t bytes;
	struct err err;
};
struct rpc_req *start(struct client *c, struct answer *a, unsigned service, unsigned method,
		      const ProtobufCMessage *req, uint32_t deadline_ms);
struct rpc_req *start_urgent(struct client *c, struct answer *a, unsigned service, unsigned method,
			     const ProtobufCMessage *req);

/* Run the loop until cond holds; fails the test when it does not, which may take long to say. */
bool loop_turn(struct fixture *f, uint64_t until);
#define wait_for(f, cond)                                                                                    \
	do {                                                                                                 \
		uint64_t until_ = uv_hrtime() + PATIENCE_MS * 1000000ull;                                    \
		while (!(cond))                                                                              \
			if (!loop_turn(f, until_))                                                           \
				fail_msg("waited in vain for %s", #cond);                                    \
	} while (0)
void run_for(struct fixture *f, unsigned ms);

void ping_is_answered(struct client *c); /* as the only call */

/* ---- raw bytes: sockets that never wait ---- */
int raw_unix(struct fixture *f);
void raw_write(int fd, const void *data, size_t n);
/* The server has closed: end of file or a reset, after whatever it said. */
bool is_closed(int fd);
void frame_append(struct buf *b, Gs__FrameKind kind, uint64_t call, unsigned service, unsigned method,
		  const ProtobufCMessage *m);
void hello_append(struct buf *b, unsigned version);
