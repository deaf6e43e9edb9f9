// SPDX-License-Identifier: Apache-2.0
/* Listeners, and the connections they accept.
 *
 * The happy path is: accept, TLS (TCP) or peer credentials (unix), Hello, then calls until the peer goes.
 * What can fail: the port is taken, a live server sits on the unix socket; later only strangers, who are
 * closed after 3 s without Hello, after 60 s without a certificate, or when more than 512 of them are here
 * (the oldest goes, so that a flood does not shut out our own). One line is logged for a connection that
 * failed before it was open, and no more than 10 lines in 10 s. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/conn.h"
#include "proto/peercred.h"
#include "proto/tls_impl.h"

#define HELLO_MS 3000
#define STRANGER_MS 60000
#define STRANGERS_MAX 512
#define BACKLOG 256
#define LOG_LINES 10
#define LOG_PERIOD_MS 10000

struct listener {
	struct listener *prev, *next;
	struct rpc_server *server;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} io;
	char *path; /* unix */
};

struct rpc_server {
	uv_loop_t *loop;
	struct rpc_server_config config;
	char *gid_group;
	struct service_table services;
	struct tls_identity *identity;
	struct listener *listeners;
	struct rpc_conn *conns; /* oldest first */
	unsigned n_strangers, n_live;
	uint64_t log_since;
	unsigned log_lines, log_dropped;
	bool is_closing;
	uv_timer_t finish; /* calls `closed` from the loop when nothing was open */
	void (*closed)(void *arg);
	void *closed_arg;
};

int rpc_server_new(uv_loop_t *loop, const struct rpc_server_config *config, struct rpc_server **ret)
{
	struct rpc_server *s = xcalloc(1, sizeof(*s));

	s->loop = loop;
	s->config = *config;
	s->gid_group = xstrdup(config->gid_group);
	s->services.authorise = config->authorise;
	s->services.arg = config->arg;
	uv_timer_init(loop, &s->finish);
	s->finish.data = s;
	*ret = s;
	return 0;
}

void rpc_server_add(struct rpc_server *s, unsigned service, const rpc_handler *handlers, size_t n, void *arg)
{
	if (service < RPC_SERVICES)
		s->services.entries[service] = (struct service_entry){handlers, n, arg};
}

void rpc_server_set_ids(struct rpc_server *s, const char *cluster_id, const char *node_id)
{
	snprintf(s->config.cluster_id, sizeof(s->config.cluster_id), "%s", cluster_id);
	snprintf(s->config.node_id, sizeof(s->config.node_id), "%s", node_id);
}

void rpc_server_set_leader(struct rpc_server *s, const char *addr)
{
	snprintf(s->services.leader, sizeof(s->services.leader), "%s", addr ? addr : "");
}

void rpc_server_set_identity(struct rpc_server *s, struct tls_identity *identity)
{
	struct tls_identity *old = s->identity;

	s->identity = identity ? tls_identity_ref(identity) : NULL;
	tls_identity_unref(old);
}

/* ---- connections ---- */

static void log_failed(struct rpc_server *s, const struct rpc_conn *c)
{
	uint64_t now = uv_now(s->loop);

	if (now - s->log_since >= LOG_PERIOD_MS) {
		if (s->log_dropped)
			log_warn("rpc: %u more failed connections in %d s", s->log_dropped,
				 LOG_PERIOD_MS / 1000);
		s->log_since = now;
		s->log_lines = s->log_dropped = 0;
	}
	if (s->log_lines++ < LOG_LINES)
		log_warn("rpc: connection from %s failed: %s", c->peer.addr, c->err.msg);
	else
		s->log_dropped++;
}

static bool is_stranger(const struct rpc_conn *c)
{
	return !c->peer.is_local && !c->peer.is_authenticated;
}

/* A connection counts as a stranger until Hello, even with a certificate. */
static bool counts_as_stranger(const struct rpc_conn *c)
{
	return !c->peer.is_local && (!c->was_open || !c->peer.is_authenticated);
}

static void on_open(struct rpc_conn *c)
{
	struct rpc_server *s = c->owner;

	if (is_stranger(c))
		conn_set_limit(c, STRANGER_MS, "no certificate, and here for too long");
	else if (!c->peer.is_local)
		s->n_strangers--;
	if (s->config.on_conn)
		s->config.on_conn(c, true, s->config.arg);
}

static void listener_free(uv_handle_t *h);

static void server_free_if_done(struct rpc_server *s)
{
	if (!s->is_closing || s->n_live > 0)
		return;
	if (s->closed)
		s->closed(s->closed_arg);
	tls_identity_unref(s->identity);
	free(s->gid_group);
	free(s);
}

static void on_closed(struct rpc_conn *c)
{
	struct rpc_server *s = c->owner;

	DL_DELETE(s->conns, c);
	if (counts_as_stranger(c))
		s->n_strangers--;
	if (c->was_open && s->config.on_conn)
		s->config.on_conn(c, false, s->config.arg);
	if (!c->was_open && !s->is_closing)
		log_failed(s, c);
	else
		log_debug("rpc: connection from %s ended: %s", c->peer.addr, c->err.msg);
	s->n_live--;
	server_free_if_done(s);
}

static const struct conn_ops server_ops = {on_open, on_closed};

static void drop_oldest_stranger(struct rpc_server *s)
{
	struct rpc_conn *c;
	struct err e;

	err_set(&e, E_LIMIT, "more than %d connections without a certificate", STRANGERS_MAX);
	DL_FOREACH (s->conns, c)
		if (counts_as_stranger(c) && !c->is_closing) {
			conn_fail(c, &e);
			return;
		}
}

static struct rpc_conn *server_conn_new(struct rpc_server *s, bool is_unix)
{
	struct rpc_conn *c = conn_new(s->loop, is_unix, true, &server_ops, s);

	c->services = &s->services;
	memcpy(c->cluster_id, s->config.cluster_id, sizeof(c->cluster_id));
	memcpy(c->node_id, s->config.node_id, sizeof(c->node_id));
	DL_APPEND(s->conns, c);
	s->n_live++;
	if (!is_unix && ++s->n_strangers > STRANGERS_MAX)
		drop_oldest_stranger(s);
	return c;
}

static void check_local_peer(struct rpc_server *s, struct rpc_conn *c)
{
	struct err e;
	int fd = -1;

	uv_fileno(&c->io.handle, &fd);
	if (peercred_get(fd, &c->peer, &e) < 0)
		conn_fail(c, &e);
	else if (peercred_check(&c->peer, s->gid_group, &e) < 0)
		conn_refuse(c, &e);
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct listener *l = stream->data;
	struct rpc_server *s = l->server;
	struct rpc_conn *c;
	struct err e;

	if (status < 0)
		return; /* out of descriptors: libuv has dropped the connection */
	c = server_conn_new(s, l->path != NULL);
	if (uv_accept(stream, &c->io.stream) < 0) {
		err_set(&e, E_CLOSED, "gone before it was accepted");
		conn_fail(c, &e);
		return;
	}
	conn_established(c, s->identity);
	if (c->is_closing)
		return;
	conn_set_limit(c, HELLO_MS, "no Hello within 3 s");
	if (l->path)
		check_local_peer(s, c);
}

void rpc_server_drop_node(struct rpc_server *s, const char *node_id)
{
	struct rpc_conn *c;
	struct err e;

	err_set(&e, E_FORBIDDEN, "the node's standing changed");
	DL_FOREACH (s->conns, c)
		if (c->peer.is_authenticated && strcmp(c->peer.node_id, node_id) == 0)
			conn_fail(c, &e);
}

/* ---- listeners ---- */

static struct listener *listener_new(struct rpc_server *s, const char *path)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	l->server = s;
	l->path = xstrdup(path);
	if (path)
		uv_pipe_init(s->loop, &l->io.pipe, 0);
	else
		uv_tcp_init(s->loop, &l->io.tcp);
	l->io.handle.data = l;
	DL_APPEND(s->listeners, l);
	s->n_live++;
	return l;
}

static void listener_free(uv_handle_t *h)
{
	struct listener *l = h->data;
	struct rpc_server *s = l->server;

	free(l->path);
	free(l);
	s->n_live--;
	server_free_if_done(s);
}

static void listener_close(struct listener *l)
{
	DL_DELETE(l->server->listeners, l);
	uv_close(&l->io.handle, listener_free);
}

int rpc_server_listen_tcp(struct rpc_server *s, const char *ip, uint16_t port, struct tls_identity *identity,
			  struct err *e)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr;
	struct listener *l;
	int rc;

	if (uv_ip4_addr(ip, port, &addr.in) < 0 && uv_ip6_addr(ip, port, &addr.in6) < 0)
		return err_set(e, E_INVALID, "%.64s is no IP address to listen on", ip);
	if (!identity || !tls_identity_has_cert(identity))
		return err_set(e, E_INVALID, "listening on %s:%u needs a certificate", ip, port);
	l = listener_new(s, NULL);
	rc = uv_tcp_bind(&l->io.tcp, &addr.sa, 0);
	if (rc == 0)
		rc = uv_listen(&l->io.stream, BACKLOG, on_connection);
	if (rc < 0) {
		listener_close(l);
		return err_errno(e, -rc, "listen on %s port %u/tcp", ip, port);
	}
	rpc_server_set_identity(s, identity);
	return 0;
}

static bool socket_answers(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, path);
	return fd >= 0 && (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EAGAIN);
}

/* A socket file nobody answers on is left over from a crash. Right after a kill it may answer yet: a child
 * between fork and exec still has the dead daemon's descriptors. */
static int remove_stale_socket(const char *path, struct err *e)
{
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	struct stat st;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, E_EXISTS, "%s is in the way: it is no socket", path);
	for (int i = 0; socket_answers(path); i++) {
		if (i == 25)
			return err_set(e, E_IN_USE, "another daemon already serves %s", path);
		nanosleep(&pause, NULL);
	}
	return fs_unlink(path, e);
}

/* root:<group> 0660; without the group root only. */
static int open_to_group(const char *path, const char *group, struct err *e)
{
	gid_t gid;

	if (peercred_group_id(group, &gid) && chown(path, (uid_t)-1, gid) < 0 && errno != EPERM)
		return err_errno(e, errno, "chown %s", path);
	if (chmod(path, 0660) < 0)
		return err_errno(e, errno, "chmod %s", path);
	return 0;
}

int rpc_server_listen_unix(struct rpc_server *s, const char *path, struct err *e)
{
	struct listener *l;
	mode_t mask;
	int rc;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_set(e, E_INVALID, "socket path too long (107 characters at most): %s", path);
	rc = remove_stale_socket(path, e);
	if (rc < 0)
		return rc;
	l = listener_new(s, path);
	mask = umask(0177); /* nobody may slip in before the mode is set */
	rc = uv_pipe_bind(&l->io.pipe, path);
	umask(mask);
	if (rc == 0)
		rc = uv_listen(&l->io.stream, BACKLOG, on_connection);
	if (rc < 0)
		rc = err_errno(e, -rc, "listen on %s", path);
	else
		rc = open_to_group(path, s->gid_group, e);
	if (rc < 0)
		listener_close(l);
	return rc;
}

static void on_finish(uv_handle_t *h)
{
	struct rpc_server *s = h->data;

	s->n_live--;
	server_free_if_done(s);
}

void rpc_server_close(struct rpc_server *s, void (*closed)(void *arg), void *arg)
{
	struct listener *l, *tmp;
	struct rpc_conn *c;
	struct err e;

	if (s->is_closing)
		return;
	s->is_closing = true;
	s->closed = closed;
	s->closed_arg = arg;
	err_set(&e, E_CLOSED, "the server is stopping");
	DL_FOREACH_SAFE (s->listeners, l, tmp)
		listener_close(l);
	DL_FOREACH (s->conns, c)
		conn_fail(c, &e);
	s->n_live++;
	uv_close((uv_handle_t *)&s->finish, on_finish);
}
