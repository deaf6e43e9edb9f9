// SPDX-License-Identifier: Apache-2.0
/* The happy path is: RTM_NEWADDR and RTM_NEWROUTE with REPLACE; the connected route comes with the address.
 * What can fail is: the link is gone. */
#include "overlay/kernel/routes.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"

void addr_add(struct nl_batch *b, int index, const struct overlay_ip *ip)
{
	struct ifaddrmsg ifa = {.ifa_family = (uint8_t)ip_family(ip),
				.ifa_prefixlen = ip->prefix,
				.ifa_index = (uint32_t)index,
				.ifa_flags = ip->len == 16 ? IFA_F_NODAD : 0};
	struct nl_msg *m = nl_batch_add(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &ifa, sizeof(ifa), 0);

	nl_put(m, IFA_LOCAL, ip->bytes, ip->len);
	nl_put(m, IFA_ADDRESS, ip->bytes, ip->len);
}

void route_add_default(struct nl_batch *b, int index, const struct overlay_ip *gateway)
{
	struct rtmsg rt = {.rtm_family = (uint8_t)ip_family(gateway),
			   .rtm_table = RT_TABLE_MAIN,
			   .rtm_protocol = RTPROT_STATIC,
			   .rtm_scope = RT_SCOPE_UNIVERSE,
			   .rtm_type = RTN_UNICAST};
	struct nl_msg *m = nl_batch_add(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &rt, sizeof(rt), 0);

	nl_put_u32(m, RTA_OIF, (uint32_t)index);
	nl_put(m, RTA_GATEWAY, gateway->bytes, gateway->len);
}

static bool is_ip(struct nlattr *a, const struct overlay_ip *ip)
{
	return a && nla_len(a) == ip->len && memcmp(nla_data(a), ip->bytes, ip->len) == 0;
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
	const struct ifaddrmsg *ifa = nlmsg_data(h);
	struct nlattr *tb[IFA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWADDR ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*ifa), tb, IFA_MAX, NULL) < 0)
		return;
	if (!is_ip(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], st->ip))
		return;
	st->found_index = (int)ifa->ifa_index;
	if ((int)ifa->ifa_index == st->index && ifa->ifa_prefixlen == st->ip->prefix)
		st->view.has_address = true;
}

static void on_route(const struct nlmsghdr *h, void *arg)
{
	struct view_state *st = arg;
	const struct rtmsg *rt = nlmsg_data(h);
	struct nlattr *tb[RTA_MAX + 1];

	if (h->nlmsg_type != RTM_NEWROUTE || rt->rtm_dst_len != 0 || rt->rtm_table != RT_TABLE_MAIN ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*rt), tb, RTA_MAX, NULL) < 0)
		return;
	if (tb[RTA_OIF] && (int)nla_get_u32(tb[RTA_OIF]) == st->index && is_ip(tb[RTA_GATEWAY], st->gateway))
		st->view.has_default = true;
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

static void on_lookup(const struct nlmsghdr *h, void *arg)
{
	struct lookup *l = arg;
	const struct rtmsg *rt = nlmsg_data(h);
	struct nlattr *tb[RTA_MAX + 1], *mtu;

	if (h->nlmsg_type != RTM_NEWROUTE ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*rt), tb, RTA_MAX, NULL) < 0)
		return;
	l->type = rt->rtm_type;
	if (tb[RTA_OIF])
		l->index = (int)nla_get_u32(tb[RTA_OIF]);
	mtu = tb[RTA_METRICS] ? nla_find(nla_data(tb[RTA_METRICS]), nla_len(tb[RTA_METRICS]), RTAX_MTU)
			      : NULL;
	if (mtu)
		l->mtu = nla_get_u32(mtu);
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

static const char *text_of(struct nlattr *a, char text[48])
{
	struct overlay_ip ip = {.len = a ? (uint8_t)nla_len(a) : 0};

	if (ip.len != 4 && ip.len != 16)
		ip.len = 0;
	if (ip.len)
		memcpy(ip.bytes, nla_data(a), ip.len);
	return ip_format(&ip, text);
}

static void on_print(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *rt = nlmsg_data(h);
	const struct ifaddrmsg *ifa = nlmsg_data(h);
	struct nlattr *tb[RTA_MAX + 1];
	char a[48], g[48];

	if (h->nlmsg_type == RTM_NEWADDR) {
		if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*ifa), tb, IFA_MAX, NULL) == 0)
			buf_printf(arg, "  addr  %s/%u link %u\n", text_of(tb[IFA_ADDRESS], a),
				   ifa->ifa_prefixlen, ifa->ifa_index);
	} else if (h->nlmsg_type == RTM_NEWROUTE && rt->rtm_table == RT_TABLE_MAIN) {
		if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*rt), tb, RTA_MAX, NULL) == 0)
			buf_printf(arg, "  route %s/%u via %s link %u\n", text_of(tb[RTA_DST], a),
				   rt->rtm_dst_len, text_of(tb[RTA_GATEWAY], g),
				   tb[RTA_OIF] ? nla_get_u32(tb[RTA_OIF]) : 0);
	}
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
