// SPDX-License-Identifier: Apache-2.0
/* Who listens: on TCP with a certificate, on a unix socket for this host's users. On the loop. */
#pragma once
#include <uv.h>

#include "proto/rpc/call.h"
#include "proto/tls/tls.h"

#define RPC_NODE_CONNS 16 /* a node needs two; one that was cut off leaves some behind */
struct rpc_server;
struct rpc_server_config {
	/* Asked before a connection with a certificate opens, and before each handler, except for methods with
	 * role none and for peers without a certificate (those may call only such methods). Returns the caller's
	 * role bits (one of enum rpc_role), or 0 to refuse with *e. For a local peer the server itself has checked
	 * uid 0 or group gswarm at accept. NULL: local peers have ROLE_BIT_LOCAL, all others nothing. */
	unsigned (*authorise)(const struct rpc_peer *peer, void *arg, struct err *e);
	/* A certificate whose time is over opens a connection too: one with the bounds of those without any, which
	 * may call methods with ROLE_BIT_EXPIRED only. */
	bool takes_expired;
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
