// SPDX-License-Identifier: Apache-2.0
/* Netlink itself: messages are gathered into one iovec and sent, and as many acknowledgements read as were asked
 * for. Each request has its own result, the first hard failure is reported; a dump that the kernel marks as
 * interrupted is repeated; a socket without room gives ENOBUFS, and the caller tries again. */
#include "overlay/kernel/nl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"

#define MSG_BYTES 1024
#define RECV_BYTES 32768
#define DUMP_TRIES 8

int nl_conn_open(struct nl_conn *c, int protocol, struct err *e)
{
	struct nl_sock *sk = nl_socket_alloc();
	int on = 1, rc;

	if (!sk)
		return err_set(e, -ENOMEM, "netlink socket");
	rc = nl_connect(sk, protocol);
	if (rc < 0) {
		nl_socket_free(sk);
		return err_set(e, -EPROTO, "netlink socket: %s", nl_geterror(rc));
	}
	nlmsg_set_default_size(MSG_BYTES); /* ours are small, and a page each has to be cleared */
	c->sk = sk;
	c->fd = nl_socket_get_fd(sk);
	c->port = nl_socket_get_local_port(sk);
	c->seq = 1;
	/* Both only shorten or enrich acknowledgements; without them the text is poorer. */
	(void)setsockopt(c->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(c->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	return 0;
}

void nl_conn_close(struct nl_conn *c)
{
	if (c->sk)
		nl_socket_free(c->sk);
	*c = (struct nl_conn){.fd = -1};
}

static struct nl_msg *msg_new(int type, int flags, const void *header, size_t header_len)
{
	struct nl_msg *m = nlmsg_alloc_size(MSG_BYTES);

	if (!m || !nlmsg_put(m, 0, 0, type, 0, NLM_F_REQUEST | flags) ||
	    nlmsg_append(m, (void *)header, header_len, NLMSG_ALIGNTO) != 0)
		abort();
	return m;
}

struct nl_msg *nl_batch_add(struct nl_batch *b, int type, int flags, const void *header, size_t header_len,
			    int tolerate)
{
	bug_if(nl_batch_is_full(b));
	b->msg[b->n] = msg_new(type, NLM_F_ACK | flags, header, header_len);
	b->tolerate[b->n] = tolerate;
	return b->msg[b->n++];
}

struct nl_msg *nl_batch_take(struct nl_batch *b, int built, struct nl_msg *take_msg, int tolerate)
{
	bug_if(built < 0 || nl_batch_is_full(b));
	nlmsg_hdr(take_msg)->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	b->msg[b->n] = take_msg;
	b->tolerate[b->n] = tolerate;
	b->n++;
	return take_msg;
}

void nl_batch_fini(struct nl_batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		nlmsg_free(b->msg[i]);
	b->n = 0;
}

static int send_all(struct nl_conn *c, struct nl_batch *b, uint32_t first)
{
	struct iovec iov[NL_BATCH_MAX];
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct msghdr mh = {
		.msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = iov, .msg_iovlen = b->n};

	bug_if(!c->sk || b->n > NL_BATCH_MAX);
	for (size_t i = 0; i < b->n; i++) {
		struct nlmsghdr *h = nlmsg_hdr(b->msg[i]);

		h->nlmsg_seq = first + (uint32_t)i;
		h->nlmsg_pid = c->port;
		iov[i] = (struct iovec){h, h->nlmsg_len};
	}
	for (;;) {
		if (sendmsg(c->fd, &mh, 0) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

static ssize_t receive(struct nl_conn *c, void *buf, size_t len)
{
	for (;;) {
		ssize_t n = recv(c->fd, buf, len, 0);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

/* The kernel's own words about a refusal, or NULL. Borrowed from the message. */
static const char *ack_text(const struct nlmsghdr *h)
{
	const struct nlmsgerr *err = nlmsg_data(h);
	size_t skip = sizeof(*err);
	struct nlattr *text;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += err->msg.nlmsg_len - sizeof(err->msg);
	if (h->nlmsg_len < NLMSG_HDRLEN + skip)
		return NULL;
	text = nla_find((struct nlattr *)((char *)err + skip), (int)(h->nlmsg_len - NLMSG_HDRLEN - skip),
			NLMSGERR_ATTR_MSG);
	return text ? nla_get_string(text) : NULL;
}

static int ack_error(const struct nlmsghdr *h, struct err *e)
{
	const struct nlmsgerr *err = nlmsg_data(h);
	const char *text = ack_text(h);

	if (text)
		return err_set(e, err->error, "%s (%s)", strerror(-err->error), text);
	return err_set(e, err->error, "%s", strerror(-err->error));
}

/* Take one acknowledgement; true when it belongs to this batch. */
static bool take_ack(struct nl_batch *b, uint32_t first, const struct nlmsghdr *h, int *rc, struct err *e)
{
	uint32_t i = h->nlmsg_seq - first;
	const struct nlmsgerr *err = nlmsg_data(h);

	if (h->nlmsg_type != NLMSG_ERROR || i >= b->n)
		return false;
	b->result[i] = err->error;
	if (err->error != 0 && err->error != -b->tolerate[i] && *rc == 0)
		*rc = ack_error(h, e);
	return true;
}

int nl_batch_run(struct nl_conn *c, struct nl_batch *b, struct err *e)
{
	char buf[RECV_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint32_t first = c->seq;
	size_t acked = 0;
	int rc = 0, sent;

	c->seq += (uint32_t)b->n;
	sent = b->n ? send_all(c, b, first) : 0;
	if (sent < 0)
		rc = err_errno(e, -sent, "netlink send");
	while (sent == 0 && acked < b->n) {
		ssize_t n = receive(c, buf, sizeof(buf));
		int left = (int)n;

		if (n <= 0) {
			rc = err_errno(e, n ? (int)-n : EPIPE, "netlink receive");
			break;
		}
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left))
			acked += take_ack(b, first, h, &rc, e);
	}
	nl_batch_fini(b);
	return rc;
}

/* Read answers to `seq` until the end of the dump or the single answer. 1: interrupted, try again. */
static int collect(struct nl_conn *c, uint32_t seq, bool dump, nl_each_cb each, void *arg, struct err *e)
{
	char buf[RECV_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool interrupted = false;

	for (;;) {
		ssize_t n = receive(c, buf, sizeof(buf));
		int left = (int)n;

		if (n <= 0)
			return err_errno(e, n ? (int)-n : EPIPE, "netlink receive");
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
			if (h->nlmsg_seq != seq)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)nlmsg_data(h))->error ? ack_error(h, e) : 0;
			interrupted |= dump && (h->nlmsg_flags & NLM_F_DUMP_INTR);
			if (h->nlmsg_type == NLMSG_DONE)
				return interrupted;
			each(h, arg);
			if (!dump)
				return 0;
		}
	}
}

static int ask(struct nl_conn *c, struct nl_msg *m, bool dump, nl_each_cb each, void *arg, struct err *e)
{
	struct nl_batch one = {.msg = {m}, .n = 1};
	uint32_t seq = c->seq++;
	int rc = send_all(c, &one, seq);

	nlmsg_free(m);
	return rc < 0 ? err_errno(e, -rc, "netlink send") : collect(c, seq, dump, each, arg, e);
}

int nl_ask_one(struct nl_conn *c, struct nl_msg *take_msg, nl_each_cb each, void *arg, struct err *e)
{
	return ask(c, take_msg, false, each, arg, e);
}

int nl_ask_all(struct nl_conn *c, int type, const void *header, size_t header_len, nl_each_cb each,
	       void (*restart)(void *arg), void *arg, struct err *e)
{
	for (int try = 0; try < DUMP_TRIES; try++) {
		int rc;

		if (try > 0)
			restart(arg);
		rc = ask(c, msg_new(type, NLM_F_DUMP, header, header_len), true, each, arg, e);
		if (rc <= 0)
			return rc;
	}
	return err_set(e, -EAGAIN, "kernel table kept changing during %d dumps", DUMP_TRIES);
}

static void on_object(struct nl_object *o, void *arg)
{
	nl_object_get(o);
	*(struct nl_object **)arg = o;
}

struct nl_object *nl_object_of(const struct nlmsghdr *h)
{
	struct nl_msg *m = nlmsg_convert((struct nlmsghdr *)h);
	struct nl_object *o = NULL;

	if (!m)
		abort();
	nlmsg_set_proto(m, NETLINK_ROUTE);
	nl_msg_parse(m, on_object, &o);
	nlmsg_free(m);
	return o;
}

void nl_put(struct nl_msg *m, int attr, const void *data, size_t len)
{
	if (nla_put(m, attr, (int)len, data) != 0)
		abort();
}

void nl_put_u8(struct nl_msg *m, int attr, uint8_t v)
{
	nl_put(m, attr, &v, sizeof(v));
}

void nl_put_u32(struct nl_msg *m, int attr, uint32_t v)
{
	nl_put(m, attr, &v, sizeof(v));
}

void nl_put_text(struct nl_msg *m, int attr, const char *text)
{
	nl_put(m, attr, text, strlen(text) + 1);
}

struct nlattr *nl_nest(struct nl_msg *m, int attr)
{
	struct nlattr *nest = nla_nest_start(m, attr);

	if (!nest)
		abort();
	return nest;
}
