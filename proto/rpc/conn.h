// SPDX-License-Identifier: Apache-2.0
/* One connection, either side: bytes > TLS > frames > Hello > calls. Only conn.c does I/O.
 *
 *   CONNECTING --TCP--> HANDSHAKE -----> HELLO -----> OPEN
 *        |  \________unix_________________/^ |            |
 *        |                  |              | +------------+---> FINISHING
 *        +------------------+--------------+--------------+---------+----> CLOSING --> freed
 *
 * FINISHING: a last frame says why, then the peer has a second to read it. CLOSING is conn_fail's, from any
 * state; it never calls back from inside: ops->on_closed comes from the loop, exactly once, and the memory is
 * freed after it. */
#pragma once
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/err.h"
#include "base/sm.h"
#include "proto/rpc/frame.h"
#include "proto/rpc/call.h"
#include "proto/rpc/client.h"

enum conn_state { CONN_CONNECTING, CONN_HANDSHAKE, CONN_HELLO, CONN_OPEN, CONN_FINISHING, CONN_CLOSING };
extern const struct sm_kind conn_kind;

#define RPC_PROTOCOL_MIN 2u /* 2: large messages travel in pieces */
#define RPC_PROTOCOL_MAX 2u
#define CONN_CALLS_MAX 256u
#define CONN_CALLS_MAX_UNAUTHENTICATED 4u
#define CONN_CALLS_STRANGER 10u    /* in all without a certificate: joining takes 4; then it is closed */
#define CONN_CALLS_URGENT 16u      /* places beyond CONN_CALLS_MAX for urgent calls alone */
#define CONN_QUEUE_MAX (16u << 20) /* then the connection is closed */
#define CONN_QUEUE_MAX_STRANGER (64u << 10) /* the same without a certificate */
#define CONN_QUEUE_HIGH (4u << 20)          /* then rpc_event says E_LIMIT */
/* Then a server reads no more of that connection until it is CONN_QUEUE_HIGH again. Events stop before, so that only
 * the answers to somebody who does not read get here: a slow reader's heartbeats are heard. */
#define CONN_QUEUE_PAUSE (8u << 20)
#define CONN_QUEUE_LOW (1u << 20) /* then on_drain */
/* Of one connection in one turn of the loop; the rest of what has come waits for the next, behind the others. */
#define CONN_TURN_FRAMES 64u
#define CONN_TURN_MS 5u
#define CONN_WINDOW (1u << 20)        /* credit of a new stream */
#define CONN_WINDOW_STEP (256u << 10) /* credit is given back in steps of this size */

struct service_entry {
	const rpc_handler *handlers;
	size_t n;
	void *arg;
};
/* What a server serves; borrowed by its connections. */
struct service_table {
	struct service_entry entries[RPC_SERVICES];
	unsigned (*authorise)(const struct rpc_peer *peer, void *arg, struct err *e);
	void *arg;
};

struct conn_ops {
	void (*on_open)(struct rpc_conn *c);
	/* The last callback; c->err says why. */
	void (*on_closed)(struct rpc_conn *c);
	/* A server's: may this remote, whose certificate and Hello are good, open the connection? 0, or it is
	 * told *e and closed. NULL: everybody may. */
	int (*may_open)(struct rpc_conn *c, struct err *e);
};

#define CONN_MAGIC MAGIC('c', 'o', 'n', 'n')
struct rpc_conn {
	uint32_t magic;
	uv_loop_t *loop;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} io;
	uv_timer_t timer;  /* the earliest of limit_at and the calls' deadlines */
	uint64_t timer_at; /* when it is due */
	unsigned
		late_turns; /* it came much later: so often is read what lies in the socket before it is judged */
	uv_connect_t connect;
	uv_write_t write;
	uv_shutdown_t shutdown;
	unsigned open_handles;
	struct sm sm; /* enum conn_state */
	bool is_server, was_open, is_writing;
	bool has_spoken;            /* bytes have been read; see conn_has_spoken */
	uv_idle_t rest;             /* rx has frames for the next turn */
	bool is_resting, is_paused; /* nothing is read: for this turn; until the queue is shorter */
	uint64_t turn_now;          /* ms of uv_now: which turn; */
	uint64_t turn_began;        /* ns of uv_hrtime: its first frame; */
	unsigned turn_frames;       /* how many there were */
	struct err err;

	SSL *ssl; /* NULL on a unix socket */
	BIO *tls_in, *tls_out;
	struct buf rx;             /* plain bytes, not yet a frame */
	struct parts parts;        /* frames, not yet a message */
	struct outq tx;            /* messages, not yet frames */
	struct buf wire, inflight; /* encrypted: next, and what libuv is writing */
	uint64_t limit_at;         /* ms of uv_now; 0: none */
	const char *limit_text;

	struct rpc_peer peer;
	char cluster_id[ID_LEN + 1], node_id[ID_LEN + 1]; /* ours, for Hello */
	char expect_node[ID_LEN + 1];
	bool expect_manager;
	bool takes_expired; /* the other side's certificate, that is */

	const struct conn_ops *ops;
	void *owner;
	const struct service_table *services; /* NULL: serves nothing */
	struct rpc_call *calls;               /* incoming */
	unsigned n_calls;
	unsigned n_stranger_calls; /* so far, while the peer is not known */
	struct rpc_req *reqs;      /* outgoing */
	unsigned n_reqs;
	uint64_t next_call;
	/* The server's. */
	struct rpc_conn *prev, *next;
	struct source *source; /* a stranger's, while it counts as one (admit.h) */
	uint64_t since;        /* when it was accepted, or has said Hello */
};

static inline bool conn_is_closing(const struct rpc_conn *c)
{
	return sm_is(&c->sm, CONN_CLOSING);
}

/* ---- conn.c ---- */
/* io is initialised for TCP or unix; the caller then connects or accepts on it. identity: TCP only. */
struct rpc_conn *conn_new(uv_loop_t *loop, bool is_unix, bool is_server, const struct conn_ops *ops,
			  void *owner);
/* Fills peer.addr from the socket. */
void conn_name_peer(struct rpc_conn *c);
/* The stream is connected: begin TLS, or Hello. */
void conn_established(struct rpc_conn *c, struct tls_identity *identity);
/* Close for this reason, at once; the first reason given stays. e->code must be set. Idempotent. */
void conn_fail(struct rpc_conn *c, const struct err *e);
/* Send an error for the whole connection, then close. */
void conn_refuse(struct rpc_conn *c, const struct err *e);
/* Packs and queues; payload stays the caller's and may be NULL. A message that cannot be sent, or over
 * CONN_QUEUE_MAX bytes waiting, ends the connection. Nothing happens on one that is ending. */
void conn_send(struct rpc_conn *c, const Gs__FrameHeader *header, const ProtobufCMessage *payload);
/* Bytes have come, also when the loop was too busy to read them: whoever judges silence must ask so. */
bool conn_has_spoken(struct rpc_conn *c);
/* Accepted by conn_send and not yet by the kernel. */
size_t conn_queue_bytes(const struct rpc_conn *c);
/* The largest message that the other side may send now. */
size_t conn_message_limit(const struct rpc_conn *c);
/* Close with E_DEADLINE and this text (borrowed) after so many ms; 0: no such limit any more. */
void conn_set_limit(struct rpc_conn *c, uint64_t delay_ms, const char *text);
/* To be called whenever a deadline of a call or of the connection has changed. */
void conn_timer_update(struct rpc_conn *c);
bool conn_is_trusted(const struct rpc_conn *c); /* we, as a server, know now who that is */

/* ---- hello.c ---- */
void hello_send(struct rpc_conn *c);
/* The first frame, whatever it is: opens the connection, refuses it or fails it. */
void hello_receive(struct rpc_conn *c, const struct frame *f);

/* ---- call.c (incoming) ---- */
void call_request(struct rpc_conn *c, const struct frame *f);
/* The caller does not wait any more; unknown numbers are fine, the frames have crossed. */
void call_cancel(struct rpc_conn *c, uint64_t id);
/* More credit for a stream; unknown numbers are fine. Bounded, whatever the other side says. */
void call_window(struct rpc_conn *c, uint64_t id, uint32_t bytes);
void call_drained(struct rpc_conn *c); /* the write queue has room again */
/* End those whose deadline is over at now (ms of the loop). */
void call_expire(struct rpc_conn *c, uint64_t now);
/* The connection has gone: on_cancel for all, and those without one are detached. */
void call_abort_all(struct rpc_conn *c);
uint64_t call_next_deadline(const struct rpc_conn *c); /* 0: none */

/* ---- req.c (outgoing) ---- */
struct rpc_req *req_start(struct rpc_conn *c, const struct rpc_call_spec *spec);
/* The connection is open: send what was asked for before. */
void req_send_queued(struct rpc_conn *c);
/* RESPONSE, EVENT, END or ERROR; one for no call of ours is dropped. */
void req_answer(struct rpc_conn *c, const struct frame *f);
/* End those whose deadline, or whose own end, is due at now (ms of the loop). */
void req_expire(struct rpc_conn *c, uint64_t now);
/* The connection has gone: done for all that are open now. */
void req_abort_all(struct rpc_conn *c);
/* Ms of the loop; 0: none. */
uint64_t req_next_deadline(const struct rpc_conn *c);

/* Unpack with the memory bounded: many tiny sub-messages are cheap on the wire and large in memory. */
ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t len,
			     size_t memory_limit);
