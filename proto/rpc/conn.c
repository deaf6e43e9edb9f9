// SPDX-License-Identifier: Apache-2.0
/* Bytes in and out of one connection.
 *
 * The happy path is: libuv reads, TLS decrypts through a memory BIO, whole frames go to hello.c, call.c and
 * req.c; frames going out wait in tx in plain text (so that an urgent one can overtake), are encrypted
 * when the socket has room and written with one write in flight at a time. A turn of the loop hears so many frames of
 * one connection and no more: the rest waits in rx, and nothing is read meanwhile. What can fail is the peer: no
 * TLS, a foreign certificate, garbage, silence, a full queue. Each ends in conn_fail, which closes the
 * handles; the rest happens in their last close callback. */
#include "proto/rpc/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/gap.h"
#include "base/mem.h"
#include "proto/value/addr.h"
#include "proto/tls/tls_impl.h"

#define READ_CHUNK (32u << 10)
/* What stands before an urgent frame: no more than this encrypted ahead of the socket, a piece beyond it, and
 * what the kernel holds unsent. All together stay below 64 KiB. */
#define WIRE_HIGH (16u << 10)
#define UNSENT_MAX (24u << 10)
#define TLS_ANSWER_MAX (64u << 10)
#define FINISH_MS 1000

static void conn_flush(struct rpc_conn *c);

#define ANY_END (SM(CONN_FINISHING) | SM(CONN_CLOSING))
static const struct sm_state conn_states[] = {
	{CONN_CONNECTING, "connecting", SM(CONN_HANDSHAKE) | SM(CONN_HELLO) | SM(CONN_CLOSING)},
	{CONN_HANDSHAKE, "handshake", SM(CONN_HELLO) | SM(CONN_CLOSING)},
	{CONN_HELLO, "hello", SM(CONN_OPEN) | ANY_END},
	{CONN_OPEN, "open", ANY_END},
	{CONN_FINISHING, "finishing", SM(CONN_CLOSING)},
	{CONN_CLOSING, "closing", 0},
};

static void check_state(const struct sm *sm, unsigned from)
{
	const struct rpc_conn *c =
		(const struct rpc_conn *)((const char *)sm - offsetof(struct rpc_conn, sm));

	bug_if(sm_is(sm, CONN_HANDSHAKE) && !c->ssl);
	bug_if(sm_is(sm, CONN_HELLO) && c->ssl && !SSL_is_init_finished(c->ssl));
	bug_if(sm_is(sm, CONN_CLOSING) && !c->err.code); /* every end has a reason */
}

const struct sm_kind conn_kind = SM_KIND("connection", conn_states, check_state);

/* ---- life ---- */

static void conn_free(struct rpc_conn *c)
{
	outq_fini(&c->tx);
	parts_fini(&c->parts);
	buf_fini(&c->rx);
	buf_fini(&c->wire);
	buf_fini(&c->inflight);
	SSL_free(c->ssl);
	magic_end(c);
	free(c);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct rpc_conn *c = magic_of(struct rpc_conn, CONN_MAGIC, h->data);

	bug_if(!conn_is_closing(c) || !c->open_handles);
	if (--c->open_handles > 0)
		return;
	call_abort_all(c);
	req_abort_all(c);
	c->ops->on_closed(c);
	req_abort_all(c); /* what those callbacks may have started */
	conn_free(c);
}

void conn_fail(struct rpc_conn *c, const struct err *e)
{
	if (conn_is_closing(c))
		return;
	if (!c->err.code) /* FINISHING has set the real reason already */
		c->err = *e;
	sm_go(&c->sm, CONN_CLOSING);
	uv_close(&c->io.handle, on_handle_closed);
	uv_close((uv_handle_t *)&c->timer, on_handle_closed);
	uv_close((uv_handle_t *)&c->rest, on_handle_closed);
}

static void conn_fail_uv(struct rpc_conn *c, int status, const char *what)
{
	struct err e = {0};

	if (status == UV_EOF)
		err_set(&e, E_CLOSED, "the other side closed the connection");
	else
		err_set(&e, E_CLOSED, "%s: %s", what, uv_strerror(status));
	conn_fail(c, &e);
}

#define LATE_MS 500     /* a timer that comes so late tells of us, not of the other end */
#define LATE_TURN_MS 40 /* on a slow network the caller tries again anyway; */
#define LATE_TURNS 3    /* each with a look at the sockets, however long it takes: ask, hear, answer */

static void on_timer(uv_timer_t *t)
{
	LOOP_SCOPE();
	struct rpc_conn *c = magic_of(struct rpc_conn, CONN_MAGIC, t->data);
	uint64_t now = uv_now(c->loop);
	struct err e = {0};

	/* Timers run before sockets are read. Who was stopped, or busy for long, finds every deadline gone by and the
	 * answers unread: those come first, and what they lack is judged then. */
	if (!c->late_turns && now >= c->timer_at + LATE_MS)
		c->late_turns = LATE_TURNS + 1;
	if (c->late_turns && --c->late_turns) {
		uv_timer_start(&c->timer, on_timer, LATE_TURN_MS, 0);
		return;
	}
	if (c->limit_at && now >= c->limit_at) {
		err_set(&e, E_DEADLINE, "%s", c->limit_text);
		conn_fail(c, &e);
		return;
	}
	call_expire(c, now);
	req_expire(c, now);
	conn_timer_update(c);
}

void conn_timer_update(struct rpc_conn *c)
{
	uint64_t times[] = {c->limit_at, call_next_deadline(c), req_next_deadline(c)};
	uint64_t at = 0, now = uv_now(c->loop);

	if (conn_is_closing(c) || c->late_turns)
		return;
	for (size_t i = 0; i < array_size(times); i++)
		if (times[i] && (!at || times[i] < at))
			at = times[i];
	c->timer_at = at;
	if (at)
		uv_timer_start(&c->timer, on_timer, at > now ? at - now : 0, 0);
	else
		uv_timer_stop(&c->timer);
}

void conn_set_limit(struct rpc_conn *c, uint64_t delay_ms, const char *text)
{
	c->limit_at = delay_ms ? uv_now(c->loop) + delay_ms : 0;
	c->limit_text = text;
	conn_timer_update(c);
}

struct rpc_conn *conn_new(uv_loop_t *loop, bool is_unix, bool is_server, const struct conn_ops *ops,
			  void *owner)
{
	struct rpc_conn *c = xcalloc(1, sizeof(*c));

	magic_set(c, CONN_MAGIC);
	sm_init(&c->sm, &conn_kind, CONN_CONNECTING, c->peer.addr);
	c->loop = loop;
	c->is_server = is_server;
	c->ops = ops;
	c->owner = owner;
	c->next_call = is_server ? 2 : 1;
	c->peer.is_local = is_unix;
	if (is_unix)
		uv_pipe_init(loop, &c->io.pipe, 0);
	else
		uv_tcp_init(loop, &c->io.tcp);
	uv_timer_init(loop, &c->timer);
	uv_idle_init(loop, &c->rest);
	c->io.handle.data = c->timer.data = c->rest.data = c;
	c->open_handles = 3;
	return c;
}

bool conn_is_trusted(const struct rpc_conn *c)
{
	return !c->is_server || c->peer.is_local || (c->peer.is_authenticated && !c->peer.is_expired);
}

size_t conn_message_limit(const struct rpc_conn *c)
{
	return sm_is(&c->sm, CONN_OPEN) && conn_is_trusted(c) ? MESSAGE_MAX : MESSAGE_MAX_UNAUTHENTICATED;
}

/* ---- whose turn it is ---- */

static void conn_parse(struct rpc_conn *c);
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret);
static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b);

static void turn_begin(struct rpc_conn *c)
{
	c->turn_now = uv_now(c->loop);
	c->turn_began = uv_hrtime();
	c->turn_frames = 0;
}

static bool turn_is_over(const struct rpc_conn *c)
{
	return c->turn_frames >= CONN_TURN_FRAMES ||
	       (c->turn_frames && uv_hrtime() - c->turn_began >= CONN_TURN_MS * 1000000ull);
}

/* Who does not read what it asked for does not ask for more. Only one of the two ends may do so, or both could wait
 * for each other. */
static bool queue_is_full(const struct rpc_conn *c)
{
	return c->is_server && conn_queue_bytes(c) > CONN_QUEUE_PAUSE;
}

static void conn_go_on(struct rpc_conn *c)
{
	struct err e = {0};
	int rc;

	turn_begin(c);
	conn_parse(c);
	if (c->is_resting || c->is_paused || conn_is_closing(c))
		return;
	rc = uv_read_start(&c->io.stream, on_alloc, on_read);
	if (rc < 0) {
		err_set(&e, E_CLOSED, "read: %s", uv_strerror(rc));
		conn_fail(c, &e);
	}
}

static void on_rest(uv_idle_t *idle)
{
	LOOP_SCOPE();
	struct rpc_conn *c = magic_of(struct rpc_conn, CONN_MAGIC, idle->data);

	bug_if(!c->is_resting || c->is_paused);
	uv_idle_stop(idle);
	c->is_resting = false;
	conn_go_on(c);
}

/* False: the next frame has to wait, and so have the bytes behind it. */
static bool conn_may_go_on(struct rpc_conn *c)
{
	if (queue_is_full(c))
		c->is_paused = true; /* on_written goes on */
	else if (turn_is_over(c))
		c->is_resting = uv_idle_start(&c->rest, on_rest) == 0;
	else
		return true;
	uv_read_stop(&c->io.stream);
	return false;
}

/* ---- frames in ---- */

static void conn_message(struct rpc_conn *c, const struct frame *f)
{
	struct err e = {0};

	if (sm_is(&c->sm, CONN_HELLO)) {
		hello_receive(c, f);
		return;
	}
	switch (f->header->kind) {
	case FRAME_REQUEST:
		call_request(c, f);
		return;
	case FRAME_CANCEL:
		call_cancel(c, f->header->call);
		return;
	case FRAME_WINDOW:
		call_window(c, f->header->call, f->header->window);
		return;
	case FRAME_RESPONSE:
	case FRAME_EVENT:
	case FRAME_END:
	case FRAME_ERROR:
		req_answer(c, f);
		return;
	default:
		err_set(&e, E_PROTOCOL, "an unexpected frame of kind %d", f->header->kind);
		conn_fail(c, &e);
	}
}

static void conn_frame(struct rpc_conn *c, struct frame *f)
{
	struct err e = {0};
	int rc = parts_add(&c->parts, f, conn_message_limit(c), &e);

	if (rc > 0)
		conn_message(c, f);
	parts_done(&c->parts, f);
	if (rc < 0)
		conn_fail(c, &e);
}

static void conn_parse(struct rpc_conn *c)
{
	size_t used = 0;
	struct frame f;
	struct err e = {0};
	ssize_t n = 0;

	while (!conn_is_closing(c) && !sm_is(&c->sm, CONN_FINISHING) && conn_may_go_on(c)) {
		n = frame_decode(c->rx.data + used, c->rx.len - used, &f, &e);
		if (n <= 0)
			break;
		used += (size_t)n;
		c->turn_frames++;
		conn_frame(c, &f);
	}
	if (n < 0)
		conn_fail(c, &e);
	if (used == c->rx.len || sm_is(&c->sm, CONN_FINISHING))
		buf_fini(&c->rx); /* an idle connection holds no buffer */
	else
		buf_consume(&c->rx, used);
}

/* ---- TLS ---- */

static bool is_of_clocks(long verdict)
{
	return verdict == X509_V_ERR_CERT_HAS_EXPIRED || verdict == X509_V_ERR_CERT_NOT_YET_VALID;
}

/* OpenSSL's reason, or what it found wrong with the other side's certificate. */
static void tls_reason(struct rpc_conn *c, const char *what, struct err *e)
{
	long verdict = SSL_get_verify_result(c->ssl);

	tls_fail(e, c->was_open ? E_CLOSED : E_UNAUTHENTICATED, what);
	if (verdict != X509_V_OK && !c->peer.is_expired)
		err_set(e, E_UNAUTHENTICATED, "%s: the other side's certificate: %s%s", what,
			X509_verify_cert_error_string(verdict),
			is_of_clocks(verdict) ? ": is the time right on both hosts?" : "");
}

/* Who is on the other side, from the certificate it proved. */
static int peer_from_cert(struct rpc_conn *c, struct err *e)
{
	cleanup(tls_x509_p) X509 *cert = SSL_get1_peer_certificate(c->ssl);
	struct tls_cert_info info;

	if (!cert)
		return 0;
	tls_info_of(cert, &info);
	memcpy(c->peer.node_id, info.node_id, sizeof(c->peer.node_id));
	memcpy(c->peer.cluster_id, info.cluster_id, sizeof(c->peer.cluster_id));
	memcpy(c->peer.serial, info.serial, sizeof(c->peer.serial));
	c->peer.is_authenticated = true;
	c->peer.is_expired = SSL_get_verify_result(c->ssl) == X509_V_ERR_CERT_HAS_EXPIRED;
	bug_if(c->peer.is_expired && !c->takes_expired);
	c->peer.is_manager = info.is_manager;
	if (c->expect_manager && !info.is_manager)
		return err_set(e, E_UNAUTHENTICATED, "%s is node %s, but no manager", c->peer.addr,
			       info.node_id);
	if (c->expect_node[0] && strcmp(c->expect_node, info.node_id) != 0)
		return err_set(e, E_UNAUTHENTICATED, "%s is node %s, not node %s", c->peer.addr, info.node_id,
			       c->expect_node);
	return 0;
}

static void tls_established(struct rpc_conn *c)
{
	const unsigned char *alpn;
	unsigned len;
	struct err e = {0};

	SSL_get0_alpn_selected(c->ssl, &alpn, &len);
	if (len != strlen(TLS_ALPN_RPC) || memcmp(alpn, TLS_ALPN_RPC, len) != 0) {
		err_set(&e, E_PROTOCOL, "TLS without the protocol " TLS_ALPN_RPC);
		conn_fail(c, &e);
		return;
	}
	if (peer_from_cert(c, &e) < 0) {
		conn_fail(c, &e);
		return;
	}
	sm_go(&c->sm, CONN_HELLO);
	if (!c->is_server)
		hello_send(c);
}

static void tls_handshake(struct rpc_conn *c)
{
	bool is_failed;
	struct err e = {0};
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(c->ssl);
	is_failed = rc != 1 && SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ;
	if (is_failed) {
		tls_reason(c, "TLS handshake", &e);
		c->err = e; /* also if the alert cannot be sent */
	}
	if (rc == 1)
		tls_established(c);
	conn_flush(c);
	if (is_failed)
		conn_fail(c, &e);
}

/* TLS itself has something to say (a key update); one who asks for that without reading is cut off. */
static void tls_answer(struct rpc_conn *c)
{
	struct err e = {0};

	err_set(&e, E_LIMIT, "%s does not read", c->peer.addr);
	if (BIO_pending(c->tls_out) > (int)TLS_ANSWER_MAX)
		conn_fail(c, &e);
	conn_flush(c);
}

static void tls_decrypt(struct rpc_conn *c)
{
	struct err e = {0};
	int n, why;

	ERR_clear_error();
	for (;;) {
		n = SSL_read(c->ssl, buf_reserve(&c->rx, SSL3_RT_MAX_PLAIN_LENGTH), SSL3_RT_MAX_PLAIN_LENGTH);
		if (n <= 0)
			break;
		c->rx.len += (size_t)n;
	}
	why = SSL_get_error(c->ssl, n);
	if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN)
		tls_reason(c, c->was_open || c->is_server ? "TLS" : "the other side refused our certificate",
			   &e);
	conn_parse(c);
	if (why == SSL_ERROR_ZERO_RETURN)
		conn_fail_uv(c, UV_EOF, "read");
	else if (why != SSL_ERROR_WANT_READ)
		conn_fail(c, &e);
	else if (BIO_pending(c->tls_out) > 0)
		tls_answer(c);
}

static void conn_bytes(struct rpc_conn *c, const uint8_t *data, size_t n)
{
	if (sm_is(&c->sm, CONN_FINISHING))
		return; /* only waiting for the end */
	if (!c->ssl) {
		buf_append(&c->rx, data, n);
		conn_parse(c);
		return;
	}
	BIO_write(c->tls_in, data, (int)n);
	if (sm_is(&c->sm, CONN_HANDSHAKE))
		tls_handshake(c);
	if (!conn_is_closing(c) && !sm_is(&c->sm, CONN_HANDSHAKE))
		tls_decrypt(c);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
	*ret = uv_buf_init(xmalloc(READ_CHUNK), READ_CHUNK);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	LOOP_SCOPE();
	struct rpc_conn *c = magic_of(struct rpc_conn, CONN_MAGIC, s->data);

	c->has_spoken |= n > 0;
	if (uv_now(c->loop) != c->turn_now) /* libuv reads up to 32 times in a turn */
		turn_begin(c);
	if (n > 0)
		conn_bytes(c, (const uint8_t *)b->base, (size_t)n);
	else if (n < 0)
		conn_fail_uv(c, (int)n, "read");
	free(b->base);
}

bool conn_has_spoken(struct rpc_conn *c)
{
	int fd, n = 0;

	if (!c->has_spoken && uv_fileno(&c->io.handle, &fd) == 0 && ioctl(fd, FIONREAD, &n) == 0)
		c->has_spoken = n > 0;
	return c->has_spoken;
}

/* ---- writing ---- */

static void encrypt(struct rpc_conn *c, const struct buf *plain)
{
	size_t done = 0, n;
	int pending;
	struct err e = {0};

	ERR_clear_error();
	while (done < plain->len && SSL_write_ex(c->ssl, plain->data + done, plain->len - done, &n)) {
		done += n;
		pending = BIO_pending(c->tls_out);
		BIO_read(c->tls_out, buf_reserve(&c->wire, (size_t)pending), pending);
		c->wire.len += (size_t)pending;
	}
	if (done < plain->len) { /* a memory BIO takes everything: the session is broken */
		tls_reason(c, "encrypt", &e);
		conn_fail(c, &e);
	}
}

static void wire_fill(struct rpc_conn *c)
{
	int pending = c->ssl ? BIO_pending(c->tls_out) : 0; /* the handshake's own */
	struct buf plain = {0};

	if (pending > 0) {
		BIO_read(c->tls_out, buf_reserve(&c->wire, (size_t)pending), pending);
		c->wire.len += (size_t)pending;
	}
	while (c->wire.len < WIRE_HIGH && !conn_is_closing(c) &&
	       outq_next(&c->tx, c->ssl ? &plain : &c->wire)) {
		encrypt(c, &plain);
		plain.len = 0;
	}
	buf_fini(&plain);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	/* The peer's end of file, or the timer, closes. */
}

static void on_written(uv_write_t *req, int status)
{
	LOOP_SCOPE();
	struct rpc_conn *c = magic_of(struct rpc_conn, CONN_MAGIC, req->data);

	bug_if(!c->is_writing);
	c->is_writing = false;
	buf_fini(&c->inflight);
	if (conn_is_closing(c))
		return;
	if (status < 0) {
		conn_fail_uv(c, status, "write");
		return;
	}
	conn_flush(c);
	if (!conn_is_closing(c) && conn_queue_bytes(c) <= CONN_QUEUE_LOW)
		call_drained(c);
	if (c->is_paused && conn_queue_bytes(c) <= CONN_QUEUE_HIGH) {
		c->is_paused = false;
		conn_go_on(c);
	}
}

/* What the socket did not take at once. */
static void write_rest(struct rpc_conn *c)
{
	uv_buf_t b;

	c->inflight = c->wire;
	c->wire = (struct buf){0};
	c->write.data = c;
	b = uv_buf_init((char *)c->inflight.data, (unsigned)c->inflight.len);
	c->is_writing = uv_write(&c->write, &c->io.stream, &b, 1, on_written) == 0;
}

/* Not uv_try_write, which raises SIGPIPE: a command in a pipe wants that signal for its own output. */
static ssize_t write_some(struct rpc_conn *c)
{
	ssize_t n;
	int fd;

	if (uv_fileno(&c->io.handle, &fd) < 0)
		return UV_EBADF;
	do
		n = send(fd, c->wire.data, c->wire.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? uv_translate_sys_error(errno) : n;
}

static void conn_flush(struct rpc_conn *c)
{
	while (!c->is_writing && !conn_is_closing(c) && !sm_is(&c->sm, CONN_CONNECTING)) {
		ssize_t n;

		wire_fill(c);
		if (c->wire.len == 0)
			break;
		n = write_some(c);
		if (n < 0 && n != UV_EAGAIN) {
			conn_fail_uv(c, (int)n, "write");
			return;
		}
		if (n > 0)
			buf_consume(&c->wire, (size_t)n);
		if (c->wire.len > 0)
			write_rest(c);
		else
			buf_fini(&c->wire);
	}
	if (sm_is(&c->sm, CONN_FINISHING) && !c->is_writing && !conn_is_closing(c) && !c->shutdown.handle)
		uv_shutdown(&c->shutdown, &c->io.stream, on_shutdown);
}

size_t conn_queue_bytes(const struct rpc_conn *c)
{
	return c->tx.bytes + c->wire.len + c->inflight.len;
}

void conn_send(struct rpc_conn *c, const Gs__FrameHeader *header, const ProtobufCMessage *payload)
{
	struct err e = {0};

	if (conn_is_closing(c) || sm_is(&c->sm, CONN_FINISHING))
		return;
	if (outq_add(&c->tx, header, payload, &e) < 0) {
		conn_fail(c, &e); /* callers have checked: a message of ours that is too large */
		return;
	}
	if (conn_queue_bytes(c) > (conn_is_trusted(c) ? CONN_QUEUE_MAX : CONN_QUEUE_MAX_STRANGER)) {
		err_set(&e, E_LIMIT, "%s does not read: %zu bytes are queued", c->peer.addr,
			conn_queue_bytes(c));
		conn_fail(c, &e);
		return;
	}
	conn_flush(c);
}

void conn_refuse(struct rpc_conn *c, const struct err *e)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__ErrorBody body = GS__ERROR_BODY__INIT;

	h.kind = FRAME_ERROR;
	body.code = e->code;
	body.message = (char *)e->msg;
	conn_send(c, &h, &body.base);
	if (conn_is_closing(c))
		return;
	c->err = *e;
	sm_go(&c->sm, CONN_FINISHING);
	conn_set_limit(c, FINISH_MS, "refused");
	conn_flush(c);
}

/* ---- start ---- */

/* A dead host is noticed within 5 s, written to or not. Failures are harmless: the defaults stay. */
static void tcp_options(struct rpc_conn *c)
{
	const struct {
		int option, value;
	} options[] = {{TCP_KEEPIDLE, 2},        {TCP_KEEPINTVL, 1}, {TCP_KEEPCNT, 3},
		       {TCP_USER_TIMEOUT, 5000}, {TCP_NODELAY, 1},   {TCP_NOTSENT_LOWAT, (int)UNSENT_MAX}};
	int fd, on = 1;

	if (uv_fileno(&c->io.handle, &fd) < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	for (size_t i = 0; i < array_size(options); i++)
		setsockopt(fd, IPPROTO_TCP, options[i].option, &options[i].value, sizeof(int));
}

void conn_name_peer(struct rpc_conn *c)
{
	struct sockaddr_storage sa = {0};
	int n = sizeof(sa);

	if (c->peer.is_local)
		snprintf(c->peer.addr, sizeof(c->peer.addr), "unix");
	else if (uv_tcp_getpeername(&c->io.tcp, (struct sockaddr *)&sa, &n) == 0)
		hostport_of_sockaddr((struct sockaddr *)&sa, c->peer.addr, sizeof(c->peer.addr));
}

void conn_established(struct rpc_conn *c, struct tls_identity *identity)
{
	struct err e = {0};
	int rc;

	conn_name_peer(c);
	rc = uv_read_start(&c->io.stream, on_alloc, on_read);
	if (rc < 0) {
		conn_fail_uv(c, rc, "read");
		return;
	}
	if (c->peer.is_local) {
		sm_go(&c->sm, CONN_HELLO);
		if (!c->is_server)
			hello_send(c);
		return;
	}
	tcp_options(c);
	c->ssl = tls_session_new(identity, c->is_server);
	if (!c->ssl) {
		tls_fail(&e, E_EXHAUSTED, "TLS session");
		conn_fail(c, &e);
		return;
	}
	if (c->takes_expired)
		tls_session_take_expired(c->ssl);
	c->tls_in = SSL_get_rbio(c->ssl);
	c->tls_out = SSL_get_wbio(c->ssl);
	sm_go(&c->sm, CONN_HANDSHAKE);
	if (!c->is_server)
		tls_handshake(c);
}
