// SPDX-License-Identifier: Apache-2.0
/* Netlink transport: several requests in one sendmsg, their acknowledgements, and dumps.
 *
 * The kernel works a sendmsg off in order and does not look at signals in between, so requests that are sent
 * together are not torn apart by a kill -9. A later request is tried even when an earlier one failed.
 * Messages are built by the objects of libnl-route-3, and taken apart by them but where every link or peer is listed;
 * only sending and receiving are done here, because the library sends one message at a time. */
#pragma once
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct nl_conn {
	struct nl_sock *sk; /* NULL: closed */
	int fd;
	uint32_t port, seq;
};

/* Opened in the calling thread's network namespace, where it stays. */
int nl_conn_open(struct nl_conn *c, int protocol, struct err *e);
/* Any number of times. */
void nl_conn_close(struct nl_conn *c);

#define NL_BATCH_MAX 48

struct nl_batch {
	struct nl_msg *msg[NL_BATCH_MAX];
	int tolerate[NL_BATCH_MAX]; /* an errno that is as good as success; 0: none */
	int result[NL_BATCH_MAX];   /* after the run: 0 or -errno */
	size_t n;
};

/* A new request at the end of the batch; NLM_F_REQUEST and NLM_F_ACK are added. The batch owns it. */
struct nl_msg *nl_batch_add(struct nl_batch *b, int type, int flags, const void *header, size_t header_len,
			    int tolerate);
/* The same for a message that libnl has built from an object: `built` is what rtnl_..._build_... returned. A
 * refusal of our own object is a bug. */
struct nl_msg *nl_batch_take(struct nl_batch *b, int built, struct nl_msg *take_msg, int tolerate);
static inline bool nl_batch_is_full(const struct nl_batch *b)
{
	return b->n == NL_BATCH_MAX;
}
/* Send all, wait for all answers, free the messages. The first failure that is not tolerated is returned
 * (with the kernel's own text); result[] has each one. An empty batch is fine. */
int nl_batch_run(struct nl_conn *c, struct nl_batch *b, struct err *e);
/* For a batch that is not run; nl_batch_run does it itself. */
void nl_batch_fini(struct nl_batch *b);

typedef void (*nl_each_cb)(const struct nlmsghdr *h, void *arg);
/* One request with one object as its answer. -ENODEV / -ENOENT / -ENETUNREACH come back as they are. */
int nl_ask_one(struct nl_conn *c, struct nl_msg *take_msg, nl_each_cb each, void *arg, struct err *e);
/* A dump; `restart` is called before a try is repeated because the table changed underneath. */
int nl_ask_all(struct nl_conn *c, int type, const void *header, size_t header_len, nl_each_cb each,
	       void (*restart)(void *arg), void *arg, struct err *e);

/* The object that the message describes (an address, by libnl's parser), for the caller to put;
 * NULL when it is none. */
struct nl_object *nl_object_of(const struct nlmsghdr *h);

/* Attribute building that cannot fail: messages are far larger than what we put in them. */
void nl_put(struct nl_msg *m, int attr, const void *data, size_t len);
/* As nl_put. */
void nl_put_u8(struct nl_msg *m, int attr, uint8_t v);
/* As nl_put, in the host's order. */
void nl_put_u32(struct nl_msg *m, int attr, uint32_t v);
/* As nl_put, with its NUL. */
void nl_put_text(struct nl_msg *m, int attr, const char *text);
/* Begins a nest, which nla_nest_end closes. */
struct nlattr *nl_nest(struct nl_msg *m, int attr);
