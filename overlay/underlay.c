// SPDX-License-Identifier: Apache-2.0
/* What the host's own network looks like, as far as it concerns us.
 *
 * The happy path is: list addresses and routes, take the first subnet of the pool that none of them touches.
 * What can fail is: the swarm's pool is part of the company's network and routed as a whole; then private
 * ranges are tried that nobody asked us to use, and with none left the error says what is in the way. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/kernel/routes.h"

#define EGRESS_PREFIX 20 /* 4,093 tasks */
/* A route or an address of ours stands for its neighbourhood as well: clouds give each host a small subnet of
 * a network that is this wide, and answer for the rest at the default gateway. */
#define NEIGHBOURHOOD_PREFIX 16
/* Of the swarm's pool: its last part, where the managers put no network. */
#define POOL_PARTS 16

#define PATH_LOOK_MS 300000

struct prefixes {
	struct prefix {
		uint32_t first, last; /* host order */
	} * list;
	size_t n, cap;
	int only_index; /* of addresses: this link's alone; 0: all */
	int not_index;  /* this link's routes and addresses do not count */
};

static struct prefix prefix_of(uint32_t address, unsigned len)
{
	uint32_t host = len >= 32 ? 0 : UINT32_MAX >> len;

	bug_if(len > 32);
	return (struct prefix){address & ~host, address | host};
}

static void prefixes_add(struct prefixes *p, struct prefix prefix)
{
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 32;
		p->list = xrealloc(p->list, p->cap * sizeof(*p->list));
	}
	p->list[p->n++] = prefix;
}

static bool prefixes_touch(const struct prefixes *p, struct prefix prefix)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->list[i].first <= prefix.last && prefix.first <= p->list[i].last)
			return true;
	return false;
}

static uint32_t address_of(struct nlattr *a)
{
	uint32_t wire;

	memcpy(&wire, nla_data(a), sizeof(wire));
	return ntohl(wire);
}

static void on_addr(const struct nlmsghdr *h, void *arg)
{
	struct prefixes *p = arg;
	const struct ifaddrmsg *ifa = nlmsg_data(h);
	struct nlattr *tb[IFA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWADDR || ifa->ifa_family != AF_INET ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*ifa), tb, IFA_MAX, NULL) < 0 || !tb[IFA_LOCAL])
		return;
	if ((int)ifa->ifa_index == p->not_index || (p->only_index && (int)ifa->ifa_index != p->only_index))
		return;
	prefixes_add(p, prefix_of(address_of(tb[IFA_LOCAL]), ifa->ifa_prefixlen));
	if (!p->only_index)
		prefixes_add(p, prefix_of(address_of(tb[IFA_LOCAL]), NEIGHBOURHOOD_PREFIX));
}

/* The default route says nothing about what is in use. */
static void on_route(const struct nlmsghdr *h, void *arg)
{
	struct prefixes *p = arg;
	const struct rtmsg *rt = nlmsg_data(h);
	struct nlattr *tb[RTA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWROUTE || rt->rtm_family != AF_INET || rt->rtm_dst_len == 0 ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*rt), tb, RTA_MAX, NULL) < 0 || !tb[RTA_DST])
		return;
	if (!tb[RTA_OIF] || (int)nla_get_u32(tb[RTA_OIF]) != p->not_index)
		prefixes_add(p, prefix_of(address_of(tb[RTA_DST]), rt->rtm_dst_len));
}

static void on_restart(void *arg)
{
	((struct prefixes *)arg)->n = 0;
}

static int list_addresses(struct overlay *o, struct prefixes *p, struct err *e)
{
	struct ifaddrmsg ifa = {.ifa_family = AF_INET};

	return nl_ask_all(&o->host.nl, RTM_GETADDR, &ifa, sizeof(ifa), on_addr, on_restart, p, e);
}

static int list_routes(struct overlay *o, struct prefixes *p, struct err *e)
{
	struct rtmsg rt = {.rtm_family = AF_INET};
	struct prefixes routes = {.not_index = p->not_index};
	int rc = nl_ask_all(&o->host.nl, RTM_GETROUTE, &rt, sizeof(rt), on_route, on_restart, &routes, e);

	for (size_t i = 0; i < routes.n; i++)
		prefixes_add(p, routes.list[i]);
	free(routes.list);
	return rc;
}

/* What the swarm itself uses: peers that are reached by the default route, and the overlay networks. */
static void add_swarm(struct overlay *o, struct prefixes *p)
{
	uint32_t wire;

	/* Too narrow to have a part for hosts: all of it will be networks. */
	pthread_mutex_lock(&o->inbox_lock);
	if (o->egress_pool.len == 4 && o->egress_pool.prefix > EGRESS_PREFIX - 4) {
		memcpy(&wire, o->egress_pool.bytes, sizeof(wire));
		prefixes_add(p, prefix_of(ntohl(wire), o->egress_pool.prefix));
	}
	pthread_mutex_unlock(&o->inbox_lock);
	for (struct network *n = o->networks; n; n = n->hh.next) {
		memcpy(&wire, n->spec.subnet.bytes, sizeof(wire));
		if (n->spec.subnet.len == 4)
			prefixes_add(p, prefix_of(ntohl(wire), n->spec.subnet.prefix));
	}
	for (struct admit *a = o->rules.admits; a; a = a->hh.next) {
		memcpy(&wire, a->vtep.bytes, sizeof(wire));
		if (a->vtep.len == 4)
			prefixes_add(p, prefix_of(ntohl(wire), NEIGHBOURHOOD_PREFIX));
	}
}

static bool pick_from(const struct prefixes *used, struct prefix range, struct overlay_ip *ret)
{
	const uint32_t size = 1u << (32 - EGRESS_PREFIX);

	bug_if(range.first > range.last);
	for (uint64_t at = range.first; at + size - 1 <= range.last; at += size) {
		uint32_t wire = htonl((uint32_t)at);

		if (prefixes_touch(used, prefix_of((uint32_t)at, EGRESS_PREFIX)))
			continue;
		*ret = (struct overlay_ip){.len = 4, .prefix = EGRESS_PREFIX};
		memcpy(ret->bytes, &wire, sizeof(wire));
		return true;
	}
	return false;
}

static bool pick_from_pool(struct overlay *o, const struct prefixes *used, struct overlay_ip *ret)
{
	struct overlay_ip pool;
	struct prefix range;
	uint32_t wire;

	pthread_mutex_lock(&o->inbox_lock);
	pool = o->egress_pool;
	pthread_mutex_unlock(&o->inbox_lock);
	if (pool.len != 4 || pool.prefix > EGRESS_PREFIX - 4)
		return false;
	memcpy(&wire, pool.bytes, sizeof(wire));
	range = prefix_of(ntohl(wire), pool.prefix);
	if (pool.prefix + 4 <= EGRESS_PREFIX)
		range.first =
			range.last - (uint32_t)(((uint64_t)range.last - range.first + 1) / POOL_PARTS - 1);
	return pick_from(used, range, ret);
}

int underlay_pick_subnet(struct overlay *o, struct overlay_ip *ret, struct err *e)
{
	/* RFC 1918, those first that home and office routers and clouds use least; then RFC 6598. */
	static const struct prefix spare[] = {
		{0xac1f0000, 0xac1fffff}, {0xac120000, 0xac1effff}, {0xc0a88000, 0xc0a8ffff},
		{0x0a800000, 0x0affffff}, {0x64400000, 0x647fffff},
	};
	struct prefixes used = {.not_index = o->egress.index};
	int rc = list_addresses(o, &used, e);
	bool found;

	if (rc == 0)
		rc = list_routes(o, &used, e);
	if (rc < 0) {
		free(used.list);
		return err_wrap(e, "look for a free subnet");
	}
	add_swarm(o, &used);
	found = pick_from_pool(o, &used, ret);
	for (size_t i = 0; !found && i < array_size(spare); i++)
		found = pick_from(&used, spare[i], ret);
	free(used.list);
	return found ? 0
		     : err_set(e, E_EXHAUSTED,
			       "no private /%u is free for the tasks' way out: this host's routes (ip route) "
			       "cover all of them",
			       EGRESS_PREFIX);
}

int underlay_subnet_of(struct overlay *o, int index, struct overlay_ip *ret, struct err *e)
{
	struct prefixes p = {.only_index = index};
	int rc = list_addresses(o, &p, e);
	uint32_t wire, size;

	if (rc == 0 && p.n > 0) {
		size = p.list[0].last - p.list[0].first;
		wire = htonl(p.list[0].first);
		*ret = (struct overlay_ip){.len = 4, .prefix = (uint8_t)(size ? __builtin_clz(size) : 32)};
		memcpy(ret->bytes, &wire, sizeof(wire));
	}
	free(p.list);
	return rc;
}

void overlay_egress_pool_set(struct overlay *o, const struct overlay_ip *pool)
{
	pthread_mutex_lock(&o->inbox_lock);
	o->egress_pool = *pool;
	pthread_mutex_unlock(&o->inbox_lock);
}

/* ---- the ways to peers ---- */

void underlay_look(struct overlay *o)
{
	uint32_t least = 0;

	if (overlay_now_ms() < o->path_mtu_due_ms)
		return;
	for (struct admit *a = o->rules.admits; a; a = a->hh.next) {
		uint32_t mtu = route_path_mtu(&o->host.nl, &a->vtep);

		if (mtu != 0 && (least == 0 || mtu < least))
			least = mtu;
	}
	o->path_mtu = least;
	o->path_mtu_due_ms = overlay_now_ms() + PATH_LOOK_MS;
}

/* ---- neighbours ---- */

static void raise(const char *path, unsigned long least)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	char text[32];
	ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	if (n <= 0)
		return; /* no such setting: in another namespace than the first */
	text[n] = 0;
	if (strtoul(text, NULL, 10) >= least)
		return;
	n = snprintf(text, sizeof(text), "%lu\n", least);
	if (pwrite(fd, text, (size_t)n, 0) != n)
		return; /* read-only /proc: the kernel's own limits hold */
}

/* Permanent neighbours, which ours are, do not count; what the tasks themselves look up does, in one table for
 * the host and all its namespaces. The kernel's own limit is 1,024. */
void underlay_raise_neighbours(const char *dir)
{
	static const unsigned long least[] = {8192, 32768, 65536};
	char path[128];

	for (size_t i = array_size(least); i > 0; i--) {
		snprintf(path, sizeof(path), "%s/gc_thresh%zu", dir, i);
		raise(path, least[i - 1]);
	}
}
