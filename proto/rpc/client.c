// SPDX-License-Identifier: Apache-2.0
/* The side that dials.
 *
 * The happy path is: connect, TLS, Hello, on_state(OPEN), calls. What can fail is the address, the connect,
 * the certificate, the Hello, and the connection any time later: on_state(CLOSED) says why, once, from the
 * loop. */
#include <string.h>
#include <sys/un.h>

#include "base/gap.h"
#include "base/mem.h"
#include "proto/value/addr.h"
#include "proto/rpc/conn.h"
#include "proto/tls/tls_impl.h"

#define TCP_CONNECT_MS 3000
#define UNIX_CONNECT_MS 1000

struct rpc_client {
	struct rpc_conn *conn;
	struct tls_identity *identity;
	void (*on_state)(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg);
	void *arg;
	char target[160]; /* for messages */
};

static void on_open(struct rpc_conn *conn)
{
	struct rpc_client *c = conn->owner;

	if (c->on_state)
		c->on_state(c, RPC_OPEN, NULL, c->arg);
}

static void on_closed(struct rpc_conn *conn)
{
	struct rpc_client *c = conn->owner;

	if (!conn->was_open)
		err_wrap(&conn->err, "connect to %s", c->target);
	if (c->on_state)
		c->on_state(c, RPC_CLOSED, &conn->err, c->arg);
	req_abort_all(conn);
	tls_identity_unref(c->identity);
	free(c);
}

static const struct conn_ops client_ops = {on_open, on_closed};

static void on_connected(uv_connect_t *req, int status)
{
	LOOP_SCOPE();
	struct rpc_client *c = req->data;
	struct err e = {0};

	if (conn_is_closing(c->conn))
		return;
	if (status < 0) {
		err_errno(&e, -status, "no connection");
		conn_fail(c->conn, &e);
		return;
	}
	conn_established(c->conn, c->identity);
}

static int connect_tcp(struct rpc_client *c, const struct rpc_client_config *config, struct err *e)
{
	struct sockaddr_storage to, from;
	socklen_t len;
	int rc;

	if (!config->ip || !config->identity)
		return err_set(e, E_INVALID, "an address and an identity are needed");
	if (!config->ip[0] || !addr_to_sockaddr(config->ip, config->port, &to, &len))
		return err_set(e, E_INVALID, "%.64s is no IP address", config->ip);
	if (config->bind_ip) {
		if (!addr_to_sockaddr(config->bind_ip, 0, &from, &len))
			return err_set(e, E_INVALID, "%.64s is no IP address", config->bind_ip);
		rc = uv_tcp_bind(&c->conn->io.tcp, (struct sockaddr *)&from, 0);
		if (rc < 0)
			return err_errno(e, -rc, "from %s", config->bind_ip);
	}
	rc = uv_tcp_connect(&c->conn->connect, &c->conn->io.tcp, (struct sockaddr *)&to, on_connected);
	return rc < 0 ? err_errno(e, -rc, "no connection") : 0;
}

static int connect_unix(struct rpc_client *c, const struct rpc_client_config *config, struct err *e)
{
	if (strlen(config->unix_path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(e, E_INVALID, "the socket's path is too long");
	uv_pipe_connect(&c->conn->connect, &c->conn->io.pipe, config->unix_path, on_connected);
	return 0;
}

struct rpc_client *rpc_client_new(uv_loop_t *loop, const struct rpc_client_config *config)
{
	struct rpc_client *c = xcalloc(1, sizeof(*c));
	bool is_unix = config->unix_path;
	struct rpc_conn *conn = conn_new(loop, is_unix, false, &client_ops, c);
	struct err e = {0};
	int rc;

	uv_update_time(loop);
	c->conn = conn;
	c->on_state = config->on_state;
	c->arg = config->arg;
	c->identity = config->identity ? tls_identity_ref(config->identity) : NULL;
	conn->connect.data = c;
	memcpy(conn->cluster_id, config->cluster_id, sizeof(conn->cluster_id));
	memcpy(conn->node_id, config->node_id, sizeof(conn->node_id));
	if (config->expect_node)
		snprintf(conn->expect_node, sizeof(conn->expect_node), "%s", config->expect_node);
	conn->expect_manager = config->expect_manager;
	if (is_unix)
		snprintf(c->target, sizeof(c->target), "%s", config->unix_path);
	else
		snprintf(c->target, sizeof(c->target), "%s port %u", config->ip ? config->ip : "?",
			 config->port);
	rc = is_unix ? connect_unix(c, config, &e) : connect_tcp(c, config, &e);
	if (rc < 0)
		conn_fail(conn, &e);
	conn_set_limit(conn,
		       config->connect_timeout_ms ? config->connect_timeout_ms
		       : is_unix                  ? UNIX_CONNECT_MS
						  : TCP_CONNECT_MS,
		       "no answer in time");
	return c;
}

void rpc_client_close(struct rpc_client *c)
{
	struct err e = {0};

	err_set(&e, E_CLOSED, "closed on this side");
	conn_fail(c->conn, &e);
}

const struct rpc_peer *rpc_client_peer(const struct rpc_client *c)
{
	return &c->conn->peer;
}

struct rpc_req *rpc_call_start(struct rpc_client *c, const struct rpc_call_spec *spec)
{
	return req_start(c->conn, spec);
}
