// SPDX-License-Identifier: Apache-2.0
/* Listeners, and the connections they accept.
 *
 * The happy path is: accept, TLS (TCP) or peer credentials (unix), Hello, then calls until the peer goes.
 * What can fail: the port is taken, a live server sits on the unix socket; later only strangers, who are
 * closed after 3 s without Hello and after 60 s without a certificate. How many of them there may be and how
 * fast they may come is admit.c's to say; when all places are taken, one of the address that has most of them
 * goes, else one that has said nothing for a second, else one that said Hello five seconds ago, which is more than a
 * join takes; else the next one waits in the kernel's queue. One line
 * is logged for a connection that failed before it was open, and no more than 10 lines in 10 s. */
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/value/addr.h"
#include "proto/rpc/admit.h"
#include "proto/rpc/conn.h"
#include "proto/rpc/peercred.h"
#include "proto/rpc/sockfile.h"
#include "proto/tls/tls_impl.h"
#include "proto/rpc/server.h"

#define HELLO_MS 3000
#define STRANGER_MS 60000
#define SILENT_MS 1000  /* one who dials speaks first: who has not is the first to go */
#define VISIT_MS 5000   /* a stranger's after Hello, when others wait */
#define FULL_LOOK_MS 50 /* all places taken: look again, if nobody leaves before */
#define BACKLOG 4096    /* the kernel cuts it to net.core.somaxconn */
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
	struct sockfile file; /* unix; path NULL: TCP */
	bool is_waiting;      /* one waits to be accepted */
};

struct rpc_server {
	uv_loop_t *loop;
	struct rpc_server_config config;
	char *gid_group;
	gid_t gid; /* of it, when the socket was made */
	bool has_gid;
	struct service_table services;
	struct tls_identity *identity;
	struct listener *listeners;
	struct rpc_conn *conns; /* oldest first */
	struct admission admission;
	unsigned n_live;
	uint64_t log_since;
	unsigned log_lines, log_dropped;
	bool is_closing;
	uv_timer_t again; /* accept those who wait */
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
	uv_timer_init(loop, &s->again);
	s->again.data = s;
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

void rpc_server_set_identity(struct rpc_server *s, struct tls_identity *identity)
{
	struct tls_identity *old = s->identity;

	s->identity = identity ? tls_identity_ref(identity) : NULL;
	tls_identity_unref(old);
}

/* ---- connections ---- */

static void on_again(uv_timer_t *t);

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
	return !conn_is_trusted(c);
}

/* A connection counts as a stranger until Hello, even with a certificate. */
static void no_stranger_any_more(struct rpc_server *s, struct rpc_conn *c)
{
	if (!c->source)
		return;
	admit_leave(&s->admission, c->source);
	c->source = NULL;
	if (uv_is_active((uv_handle_t *)&s->again)) /* someone waits */
		uv_timer_start(&s->again, on_again, 0, 0);
}

static void on_open(struct rpc_conn *c)
{
	struct rpc_server *s = c->owner;

	c->since = uv_now(s->loop);
	if (is_stranger(c))
		conn_set_limit(c, STRANGER_MS, "no valid certificate, and here for too long");
	else
		no_stranger_any_more(s, c);
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
	admit_fini(&s->admission);
	free(s->gid_group);
	free(s);
}

static void on_closed(struct rpc_conn *c)
{
	struct rpc_server *s = c->owner;

	DL_DELETE(s->conns, c);
	if (!s->is_closing)
		no_stranger_any_more(s, c);
	else if (c->source)
		admit_leave(&s->admission, c->source);
	if (c->was_open && s->config.on_conn)
		s->config.on_conn(c, false, s->config.arg);
	if (!c->was_open && !s->is_closing)
		log_failed(s, c);
	else
		log_debug("rpc: connection from %s ended: %s", c->peer.addr, c->err.msg);
	s->n_live--;
	server_free_if_done(s);
}

/* A certificate that opens no call opens no connection either; and one node has no use for many: the oldest
 * goes, which may be one that died with its host. */
static int may_open(struct rpc_conn *c, struct err *e)
{
	struct rpc_server *s = c->owner;
	struct rpc_conn *other, *oldest = NULL;
	struct err over = {0};
	unsigned n = 1;

	if (!c->peer.is_authenticated)
		return 0;
	if (s->config.authorise && s->config.authorise(&c->peer, s->config.arg, e) == 0)
		return e->code ? e->code : err_set(e, E_FORBIDDEN, "this node may not connect");
	DL_FOREACH (s->conns, other) {
		if (other == c || conn_is_closing(other) || !other->was_open ||
		    strcmp(other->peer.node_id, c->peer.node_id) != 0)
			continue;
		n++;
		if (!oldest)
			oldest = other;
	}
	if (s->config.node_conns_max && n > s->config.node_conns_max) {
		err_set(&over, E_LIMIT, "more than %u connections of this node", s->config.node_conns_max);
		conn_fail(oldest, &over);
	}
	return 0;
}

static const struct conn_ops server_ops = {on_open, on_closed, may_open};

/* ---- accepting ---- */

static void drop_oldest(struct rpc_server *s, const struct source *source, const char *why)
{
	struct rpc_conn *c;
	struct err e = {0};

	err_set(&e, E_LIMIT, "%s", why);
	DL_FOREACH (s->conns, c)
		if (c->source == source && !conn_is_closing(c)) {
			conn_fail(c, &e);
			return;
		}
}

static bool is_silent(struct rpc_conn *c)
{
	return uv_now(c->loop) - c->since >= SILENT_MS && !conn_has_spoken(c);
}

static bool has_had_its_time(struct rpc_conn *c)
{
	return c->was_open && uv_now(c->loop) - c->since >= VISIT_MS;
}

static bool drop_oldest_that(struct rpc_server *s, bool (*is)(struct rpc_conn *c), const char *why)
{
	struct rpc_conn *c;
	struct err e = {0};

	err_set(&e, E_LIMIT, "%s", why);
	DL_FOREACH (s->conns, c)
		if (c->source && !conn_is_closing(c) && is(c)) {
			conn_fail(c, &e);
			return true;
		}
	return false;
}

/* A place for one more, if need be at the cost of the source that has most of them. */
static bool make_place(struct rpc_server *s)
{
	struct source *crowd;

	if (!admit_is_full(&s->admission))
		return true;
	crowd = admit_crowd(&s->admission);
	if (crowd)
		drop_oldest(s, crowd, "others have no place, and this address has many");
	return crowd || drop_oldest_that(s, is_silent, "silent while others waited") ||
	       drop_oldest_that(s, has_had_its_time, "no certificate, and others waited");
}

static struct rpc_conn *server_conn_new(struct rpc_server *s, bool is_unix)
{
	struct rpc_conn *c = conn_new(s->loop, is_unix, true, &server_ops, s);

	c->services = &s->services;
	c->takes_expired = s->config.takes_expired;
	memcpy(c->cluster_id, s->config.cluster_id, sizeof(c->cluster_id));
	memcpy(c->node_id, s->config.node_id, sizeof(c->node_id));
	DL_APPEND(s->conns, c);
	s->n_live++;
	return c;
}

static int check_local(struct rpc_server *s, struct rpc_conn *c)
{
	struct err e = {0};
	int fd = -1;

	uv_fileno(&c->io.handle, &fd);
	if (peercred_get(fd, &c->peer, &e) < 0)
		conn_fail(c, &e);
	else if (peercred_check(fd, &c->peer, s->gid_group, s->has_gid ? &s->gid : NULL, &e) < 0)
		conn_refuse(c, &e);
	return conn_is_closing(c) ? -1 : 0;
}

static int check_stranger(struct rpc_server *s, struct rpc_conn *c)
{
	struct sockaddr_storage from = {0};
	int n = sizeof(from);
	struct source *source;
	struct err e = {0};

	uv_tcp_getpeername(&c->io.tcp, (struct sockaddr *)&from, &n);
	switch (admit_enter(&s->admission, (struct sockaddr *)&from, uv_now(s->loop), &source)) {
	case ADMIT_NOT:
		conn_name_peer(c);
		err_set(&e, E_LIMIT,
			"more than %u new connections a second from there, or %u at a time of its /48",
			SOURCE_RATE, SITE_SHARE);
		conn_fail(c, &e);
		return -1;
	case ADMIT_FOR_OLDEST:
		drop_oldest(s, source, "too many connections without a certificate from there");
		break;
	case ADMIT:
		break;
	}
	c->source = source;
	return 0;
}

static void accept_one(struct listener *l)
{
	struct rpc_server *s = l->server;
	bool is_unix = l->file.path;
	struct rpc_conn *c = server_conn_new(s, is_unix);
	struct err e = {0};

	c->since = uv_now(s->loop);
	if (uv_accept(&l->io.stream, &c->io.stream) < 0) {
		err_set(&e, E_CLOSED, "gone before it was accepted");
		conn_fail(c, &e);
		return;
	}
	if (!is_unix && check_stranger(s, c) < 0)
		return;
	conn_established(c, s->identity);
	if (conn_is_closing(c))
		return;
	conn_set_limit(c, s->config.hello_ms ? s->config.hello_ms : HELLO_MS, "no Hello in time");
	if (is_unix)
		check_local(s, c);
}

/* One who is not accepted keeps libuv from asking the kernel for the next: the others wait there. */
static void accept_waiting(struct rpc_server *s)
{
	struct listener *l;
	uint64_t wait;

	DL_FOREACH (s->listeners, l) {
		if (!l->is_waiting)
			continue;
		wait = admit_wait(&s->admission, uv_now(s->loop));
		if (!wait && !make_place(s))
			wait = FULL_LOOK_MS;
		if (wait) {
			uv_timer_start(&s->again, on_again, wait, 0);
			return;
		}
		l->is_waiting = false;
		accept_one(l);
	}
}

static void on_again(uv_timer_t *t)
{
	LOOP_SCOPE();
	accept_waiting(t->data);
}

static void on_connection(uv_stream_t *stream, int status)
{
	LOOP_SCOPE();
	struct listener *l = stream->data;

	if (status < 0)
		return; /* out of descriptors: libuv has dropped the connection */
	bug_if(l->is_waiting);
	if (l->file.path) {
		accept_one(l);
		return;
	}
	l->is_waiting = true;
	accept_waiting(l->server);
}

void rpc_server_drop_node(struct rpc_server *s, const char *node_id)
{
	struct rpc_conn *c;
	struct err e = {0};

	err_set(&e, E_FORBIDDEN, "the node's standing changed");
	DL_FOREACH (s->conns, c)
		if (c->peer.is_authenticated && strcmp(c->peer.node_id, node_id) == 0)
			conn_fail(c, &e);
}

/* ---- listeners ---- */

/* take_file NULL: TCP. */
static struct listener *listener_new(struct rpc_server *s, const struct sockfile *take_file)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	l->server = s;
	if (take_file) {
		l->file = *take_file;
		uv_pipe_init(s->loop, &l->io.pipe, 0);
	} else {
		uv_tcp_init(s->loop, &l->io.tcp);
	}
	l->io.handle.data = l;
	DL_APPEND(s->listeners, l);
	s->n_live++;
	return l;
}

static void listener_free(uv_handle_t *h)
{
	struct listener *l = h->data;
	struct rpc_server *s = l->server;

	free(l);
	s->n_live--;
	server_free_if_done(s);
}

static void listener_close(struct listener *l)
{
	DL_DELETE(l->server->listeners, l);
	if (l->file.path)
		sockfile_release(&l->file);
	uv_close(&l->io.handle, listener_free);
}

int rpc_server_listen_tcp(struct rpc_server *s, const char *ip, uint16_t port, struct tls_identity *identity,
			  struct err *e)
{
	struct sockaddr_storage addr;
	struct listener *l;
	socklen_t len;
	int rc;

	if (!ip[0] || !addr_to_sockaddr(ip, port, &addr, &len))
		return err_set(e, E_INVALID, "%.64s is no IP address to listen on", ip);
	if (!identity || !tls_identity_has_cert(identity))
		return err_set(e, E_INVALID, "listening on %s:%u needs a certificate", ip, port);
	l = listener_new(s, NULL);
	rc = uv_tcp_bind(&l->io.tcp, (struct sockaddr *)&addr, 0);
	if (rc == 0)
		rc = uv_listen(&l->io.stream, BACKLOG, on_connection);
	if (rc < 0) {
		listener_close(l);
		return err_errno(e, -rc, "listen on %s port %u/tcp", ip, port);
	}
	rpc_server_set_identity(s, identity);
	return 0;
}

int rpc_server_listen_unix(struct rpc_server *s, const char *path, struct err *e)
{
	struct sockfile file;
	struct listener *l, *tmp;
	int fd, rc;

	DL_FOREACH_SAFE (s->listeners, l, tmp)
		if (l->file.path && strcmp(l->file.path, path) == 0)
			listener_close(l);
	s->has_gid = peercred_group_id(s->gid_group, &s->gid);
	rc = sockfile_bind(&file, path, s->gid_group, &fd, e);
	if (rc < 0)
		return rc;
	l = listener_new(s, &file);
	rc = uv_pipe_open(&l->io.pipe, fd);
	if (rc < 0)
		close(fd);
	else
		rc = uv_listen(&l->io.stream, BACKLOG, on_connection);
	if (rc == 0)
		return 0;
	listener_close(l);
	return err_errno(e, -rc, "listen on %s", path);
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
	struct err e = {0};

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
	uv_close((uv_handle_t *)&s->again, on_finish);
}
