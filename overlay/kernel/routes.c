// SPDX-License-Identifier: Apache-2.0
/* Addresses and routes, written with REPLACE; the connected route comes with the address. A link that is gone is
 * an error. */
#include "overlay/kernel/routes.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/bug.h"

struct nl_addr *ip_object(const struct overlay_ip *ip)
{
	struct nl_addr *a = nl_addr_build(ip_family(ip), ip->bytes, ip->len);

	bug_if(ip->len != 4 && ip->len != 16);
	if (!a)
		abort();
	return a;
}

void addr_add(struct nl_batch *b, int index, const struct overlay_ip *ip)
{
	struct rtnl_addr *o = rtnl_addr_alloc();
	struct nl_addr *local = ip_object(ip);
	struct nl_msg *m = NULL;
	int rc;

	if (!o)
		abort();
	bug_if(index <= 0 || ip->prefix > ip->len * 8);
	rtnl_addr_set_ifindex(o, index);
	rtnl_addr_set_local(o, local);
	rtnl_addr_set_prefixlen(o, ip->prefix);
	if (ip->len == 16)
		rtnl_addr_set_flags(o, IFA_F_NODAD);
	rc = rtnl_addr_build_add_request(o, NLM_F_CREATE | NLM_F_REPLACE, &m);
	nl_addr_put(local);
	rtnl_addr_put(o);
	nl_batch_take(b, rc, m, 0);
}

void route_add_default(struct nl_batch *b, int index, const struct overlay_ip *gateway)
{
	static const struct overlay_ip any4 = {.len = 4}, any6 = {.len = 16};
	struct rtnl_route *o = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	struct nl_addr *to = ip_object(gateway->len == 4 ? &any4 : &any6), *via = ip_object(gateway);
	struct nl_msg *m = NULL;
	int rc;

	if (!o || !hop)
		abort();
	bug_if(index <= 0);
	nl_addr_set_prefixlen(to, 0);
	rtnl_route_nh_set_ifindex(hop, index);
	rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_set_family(o, (uint8_t)ip_family(gateway));
	rtnl_route_set_dst(o, to);
	rtnl_route_set_table(o, RT_TABLE_MAIN);
	rtnl_route_set_protocol(o, RTPROT_STATIC);
	rtnl_route_set_scope(o, RT_SCOPE_UNIVERSE);
	rtnl_route_add_nexthop(o, hop); /* takes it */
	rc = rtnl_route_build_add_request(o, NLM_F_CREATE | NLM_F_REPLACE, &m);
	nl_addr_put(to);
	nl_addr_put(via);
	rtnl_route_put(o);
	nl_batch_take(b, rc, m, 0);
}

static bool is_ip(struct nl_addr *a, const struct overlay_ip *ip)
{
	return a && nl_addr_get_len(a) == ip->len &&
	       memcmp(nl_addr_get_binary_addr(a), ip->bytes, ip->len) == 0;
}

static struct rtnl_addr *addr_of(const struct nlmsghdr *h)
{
	return h->nlmsg_type == RTM_NEWADDR ? (struct rtnl_addr *)nl_object_of(h) : NULL;
}

static struct rtnl_route *route_of(const struct nlmsghdr *h)
{
	struct rtnl_route *o;

	return h->nlmsg_type == RTM_NEWROUTE && rtnl_route_parse((struct nlmsghdr *)h, &o) == 0 ? o : NULL;
}

/* The first hop; all our routes have one. NULL: none (unreachable and the like). */
static struct rtnl_nexthop *hop_of(struct rtnl_route *o)
{
	return rtnl_route_get_nnexthops(o) > 0 ? rtnl_route_nexthop_n(o, 0) : NULL;
}

struct view_state {
	int index;
	const struct overlay_ip *ip, *gateway;
	struct routes_view view;
	int found_index; /* of the link that has `ip` */
};

static void on_addr(const struct nlmsghdr *h, void *arg)
{
	struct view_state *st = arg;
	struct rtnl_addr *o = addr_of(h);

	if (!o)
		return;
	if (is_ip(rtnl_addr_get_local(o), st->ip)) {
		st->found_index = rtnl_addr_get_ifindex(o);
		st->view.has_address |=
			st->found_index == st->index && rtnl_addr_get_prefixlen(o) == st->ip->prefix;
	}
	rtnl_addr_put(o);
}

static void on_route(const struct nlmsghdr *h, void *arg)
{
	struct view_state *st = arg;
	const struct rtmsg *rt = nlmsg_data(h);
	struct rtnl_route *o = rt->rtm_dst_len == 0 && rt->rtm_table == RT_TABLE_MAIN ? route_of(h) : NULL;
	struct rtnl_nexthop *hop = o ? hop_of(o) : NULL;

	if (hop && rtnl_route_nh_get_ifindex(hop) == st->index &&
	    is_ip(rtnl_route_nh_get_gateway(hop), st->gateway))
		st->view.has_default = true;
	if (o)
		rtnl_route_put(o);
}

static void on_restart(void *arg)
{
	struct view_state *st = arg;

	st->view = (struct routes_view){0};
}

int routes_view_get(struct nl_conn *c, int index, const struct overlay_ip *ip,
		    const struct overlay_ip *gateway, struct routes_view *ret, struct err *e)
{
	struct view_state st = {.index = index, .ip = ip, .gateway = gateway};
	struct ifaddrmsg ifa = {.ifa_family = (uint8_t)ip_family(ip)};
	struct rtmsg rt = {.rtm_family = (uint8_t)ip_family(ip)};
	bool has_address;
	int rc;

	rc = nl_ask_all(c, RTM_GETADDR, &ifa, sizeof(ifa), on_addr, on_restart, &st, e);
	has_address = st.view.has_address;
	if (rc == 0 && gateway)
		rc = nl_ask_all(c, RTM_GETROUTE, &rt, sizeof(rt), on_route, on_restart, &st, e);
	if (rc < 0)
		return err_wrap(e, "list addresses and routes");
	*ret = (struct routes_view){has_address, st.view.has_default};
	return 0;
}

struct lookup {
	int index, type;
	uint32_t mtu;
};

/* What the kernel learned from a router's complaint, which may come from anybody, has an end; libnl does not tell
 * it. */
static bool is_learned(const struct nlmsghdr *h)
{
	struct nlattr *a = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct rtmsg), RTA_CACHEINFO);

	return a && ((struct rta_cacheinfo *)nla_data(a))->rta_expires != 0;
}

static void on_lookup(const struct nlmsghdr *h, void *arg)
{
	struct lookup *l = arg;
	struct rtnl_route *o = route_of(h);
	struct rtnl_nexthop *hop = o ? hop_of(o) : NULL;

	if (!o)
		return;
	l->type = rtnl_route_get_type(o);
	if (hop)
		l->index = rtnl_route_nh_get_ifindex(hop);
	if (!is_learned(h))
		rtnl_route_get_metric(o, RTAX_MTU, &l->mtu);
	rtnl_route_put(o);
}

static int find_owner(struct nl_conn *c, const struct overlay_ip *ip, int *ret_index, struct err *e)
{
	struct view_state st = {.ip = ip};
	struct ifaddrmsg ifa = {.ifa_family = (uint8_t)ip_family(ip)};
	int rc = nl_ask_all(c, RTM_GETADDR, &ifa, sizeof(ifa), on_addr, on_restart, &st, e);

	if (rc == 0 && st.found_index)
		*ret_index = st.found_index;
	return rc;
}

int route_lookup(struct nl_conn *c, const struct overlay_ip *peer, int *ret_index, uint32_t *ret_mtu,
		 struct err *e)
{
	struct rtmsg rt = {.rtm_family = (uint8_t)ip_family(peer), .rtm_dst_len = (uint8_t)(peer->len * 8)};
	struct nl_batch b = {0};
	struct lookup l = {0};
	int rc;

	nl_put(nl_batch_add(&b, RTM_GETROUTE, 0, &rt, sizeof(rt), 0), RTA_DST, peer->bytes, peer->len);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	rc = nl_ask_one(c, b.msg[0], on_lookup, &l, e);
	if (rc == 0 && l.type == RTN_LOCAL)
		rc = find_owner(c, peer, &l.index, e);
	if (rc < 0)
		return rc;
	*ret_index = l.index;
	*ret_mtu = l.mtu;
	return 0;
}

static void on_mtu(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *a = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct ifinfomsg), IFLA_MTU);

	if (a)
		*(uint32_t *)arg = nla_get_u32(a);
}

uint32_t route_path_mtu(struct nl_conn *c, const struct overlay_ip *peer)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct nl_batch b = {0};
	uint32_t route_mtu, link_mtu = 0;

	if (ip_family(peer) == AF_UNSPEC || route_lookup(c, peer, &ifi.ifi_index, &route_mtu, NULL) < 0)
		return 0;
	nl_batch_add(&b, RTM_GETLINK, 0, &ifi, sizeof(ifi), 0);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	if (nl_ask_one(c, b.msg[0], on_mtu, &link_mtu, NULL) < 0)
		return 0;
	return route_mtu && route_mtu < link_mtu ? route_mtu : link_mtu;
}

static const char *text_of(struct nl_addr *a, char text[48])
{
	struct overlay_ip ip = {.len = a ? (uint8_t)nl_addr_get_len(a) : 0};

	if (ip.len != 4 && ip.len != 16)
		ip.len = 0;
	if (ip.len)
		memcpy(ip.bytes, nl_addr_get_binary_addr(a), ip.len);
	return ip_format(&ip, text);
}

static void print_addr(struct rtnl_addr *o, struct buf *out)
{
	char text[48];

	buf_printf(out, "  addr  %s/%d link %d\n", text_of(rtnl_addr_get_local(o), text),
		   rtnl_addr_get_prefixlen(o), rtnl_addr_get_ifindex(o));
	rtnl_addr_put(o);
}

static void print_route(struct rtnl_route *o, struct buf *out)
{
	struct nl_addr *to = rtnl_route_get_dst(o);
	struct rtnl_nexthop *hop = hop_of(o);
	char a[48], g[48];

	if (rtnl_route_get_table(o) == RT_TABLE_MAIN)
		buf_printf(out, "  route %s/%u via %s link %d\n", text_of(to, a), nl_addr_get_prefixlen(to),
			   text_of(hop ? rtnl_route_nh_get_gateway(hop) : NULL, g),
			   hop ? rtnl_route_nh_get_ifindex(hop) : 0);
	rtnl_route_put(o);
}

static void on_print(const struct nlmsghdr *h, void *arg)
{
	struct rtnl_addr *addr = addr_of(h);
	struct rtnl_route *route = route_of(h);

	if (addr)
		print_addr(addr, arg);
	if (route)
		print_route(route, arg);
}

static void on_print_restart(void *arg)
{
}

int routes_print(struct nl_conn *c, struct buf *out, struct err *e)
{
	struct ifaddrmsg ifa = {.ifa_family = AF_UNSPEC};
	struct rtmsg rt = {.rtm_family = AF_UNSPEC};
	int rc = nl_ask_all(c, RTM_GETADDR, &ifa, sizeof(ifa), on_print, on_print_restart, out, e);

	return rc < 0 ? rc : nl_ask_all(c, RTM_GETROUTE, &rt, sizeof(rt), on_print, on_print_restart, out, e);
}
