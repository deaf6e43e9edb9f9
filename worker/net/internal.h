// SPDX-License-Identifier: Apache-2.0
/* What the files of this room share: network.c (jobs, passes, life), rows.c (what is assigned), hosts.c (names),
 * plan.c (a task's own network), mtu.c. */
#pragma once
#include <netinet/in.h>
#include <uthash.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/loop.h"
#include "overlay/overlay.h"
#include "worker/context/worker.h"
#include "worker/net/network.h"

#define NET_SETTLE_MS 300 /* after a set, until what nobody declared is looked for */
#define NET_MAGIC MAGIC('n', 'e', 't', 'g')

struct network {
	char id[ID_LEN + 1];
	struct overlay_network o;
	bool internal, declared; /* declared: not only spoken of by an endpoint */
	bool marked;
	uint64_t names; /* of net->names, when one of them changed last */
	struct ep *eps; /* utlist */
	UT_hash_handle hh;
};

struct ep {
	struct ep *prev, *next; /* in net->eps */
	struct network *net;
	char id[56], name[128], ip[INET6_ADDRSTRLEN];
	uint64_t version;
	bool marked;
	UT_hash_handle hh;
};

struct net {
	uint32_t magic;
	struct worker *w;
	struct net_above above; /* who uses the networks; empty: nobody */
	struct overlay *overlay;
	struct network *nets;
	uint64_t names; /* rises with each change of a name or an address */
	struct ep *eps;
	bool in_set, adopted, closing;
	bool passing, pass_again; /* one pass at a time */
	unsigned jobs;
	uint64_t repairs;
	uint32_t path_mtu; /* of the last pass; 0: not known */
	uv_poll_t events;
	struct loop_timer pass, hosts, settle;
	int64_t pass_due_ms; /* what the timer is set to; 0: not set */
	unsigned handles;
};

/* A pass after so long, unless one is due before that; 0: now. */
void net_pass_soon(struct net *n, uint64_t wait_ms);
/* NULL: neither assigned nor spoken of. */
struct network *net_find(const struct net *n, const char *id);
/* A name or an address in this network is another one now: who uses them is told a little later. */
void net_hosts_changed(struct net *n, struct network *net);
/* The timer behind that; arg: the struct net. */
void net_on_hosts(void *arg);
/* From a row's bytes; len 0 when they are no address. */
void net_ip_fill(struct overlay_ip *ret, const ProtobufCBinaryData *ip, uint32_t prefix);
/* From numeric text; -1 when it is no address. */
int net_ip_of(const char *text, struct overlay_ip *ret, uint8_t prefix);
