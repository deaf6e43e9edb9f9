// SPDX-License-Identifier: Apache-2.0
/* The happy path is: one RTM_NEWLINK that creates, enslaves and starts a link; RTM_GETLINK parsed into struct
 * link. What can fail is: the name exists (the caller looks whose it is), or an attribute an older kernel
 * does not know. */
#include "overlay/kernel/links.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

static void parse_port(struct nlattr *data, struct link *l)
{
	struct nlattr *a;
	int left;

	nla_for_each_nested(a, data, left)
	{
		bool on = nla_len(a) >= 1 && nla_get_u8(a);

		switch (nla_type(a)) {
		case IFLA_BRPORT_LEARNING:
			l->port.learning = on;
			break;
		case IFLA_BRPORT_UNICAST_FLOOD:
			l->port.flood = on;
			break;
		case IFLA_BRPORT_MCAST_FLOOD:
			l->port.mcast_flood = on;
			break;
		case IFLA_BRPORT_BCAST_FLOOD:
			l->port.bcast_flood = on;
			break;
		case IFLA_BRPORT_NEIGH_SUPPRESS:
			l->port.suppress = on;
			break;
		case IFLA_BRPORT_ISOLATED:
			l->port.isolated = on;
			break;
		}
	}
}

static void set_ip(struct overlay_ip *ip, struct nlattr *a, uint8_t len)
{
	if (nla_len(a) < len)
		return;
	*ip = (struct overlay_ip){.len = len, .prefix = (uint8_t)(len * 8)};
	memcpy(ip->bytes, nla_data(a), len);
}

static void parse_vxlan(struct nlattr *data, struct link *l)
{
	struct nlattr *a;
	int left;

	nla_for_each_nested(a, data, left)
	{
		const uint8_t *p = nla_data(a);

		if (nla_type(a) == IFLA_VXLAN_ID)
			l->vx.vni = nla_get_u32(a);
		else if (nla_type(a) == IFLA_VXLAN_PORT)
			l->vx.port = (uint16_t)(p[0] << 8 | p[1]);
		else if (nla_type(a) == IFLA_VXLAN_LEARNING)
			l->vx.learning = nla_get_u8(a);
		else if (nla_type(a) == IFLA_VXLAN_LOCAL)
			set_ip(&l->vx.local, a, 4);
		else if (nla_type(a) == IFLA_VXLAN_LOCAL6)
			set_ip(&l->vx.local, a, 16);
	}
}

static void parse_info(struct nlattr *info, struct link *l)
{
	struct nlattr *tb[IFLA_INFO_MAX + 1];

	if (nla_parse_nested(tb, IFLA_INFO_MAX, info, NULL) < 0)
		return;
	if (tb[IFLA_INFO_KIND])
		nla_strlcpy(l->kind, tb[IFLA_INFO_KIND], sizeof(l->kind));
	if (tb[IFLA_INFO_DATA] && strcmp(l->kind, "vxlan") == 0)
		parse_vxlan(tb[IFLA_INFO_DATA], l);
	if (tb[IFLA_INFO_SLAVE_DATA] && tb[IFLA_INFO_SLAVE_KIND] &&
	    strcmp(nla_get_string(tb[IFLA_INFO_SLAVE_KIND]), "bridge") == 0)
		parse_port(tb[IFLA_INFO_SLAVE_DATA], l);
}

static void parse_addrgen(struct nlattr *af_spec, struct link *l)
{
	struct nlattr *inet6 = nla_find(nla_data(af_spec), nla_len(af_spec), AF_INET6), *mode;

	if (!inet6)
		return;
	mode = nla_find(nla_data(inet6), nla_len(inet6), IFLA_INET6_ADDR_GEN_MODE);
	if (mode)
		l->addrgen = nla_get_u8(mode);
}

static void parse_link(const struct nlmsghdr *h, struct link *l)
{
	struct nlattr *tb[IFLA_MAX + 1];
	const struct ifinfomsg *ifi = nlmsg_data(h);

	*l = (struct link){.index = ifi->ifi_index, .flags = ifi->ifi_flags};
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(*ifi), tb, IFLA_MAX, NULL) < 0)
		return;
	if (tb[IFLA_IFNAME])
		nla_strlcpy(l->name, tb[IFLA_IFNAME], sizeof(l->name));
	if (tb[IFLA_IFALIAS])
		nla_strlcpy(l->alias, tb[IFLA_IFALIAS], sizeof(l->alias));
	if (tb[IFLA_MASTER])
		l->master = (int)nla_get_u32(tb[IFLA_MASTER]);
	if (tb[IFLA_LINK])
		l->peer = (int)nla_get_u32(tb[IFLA_LINK]);
	if (tb[IFLA_GROUP])
		l->group = nla_get_u32(tb[IFLA_GROUP]);
	if (tb[IFLA_MTU])
		l->mtu = nla_get_u32(tb[IFLA_MTU]);
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == 6)
		memcpy(l->mac, nla_data(tb[IFLA_ADDRESS]), 6);
	if (tb[IFLA_LINKINFO])
		parse_info(tb[IFLA_LINKINFO], l);
	if (tb[IFLA_AF_SPEC])
		parse_addrgen(tb[IFLA_AF_SPEC], l);
}

static void on_link(const struct nlmsghdr *h, void *arg)
{
	if (h->nlmsg_type == RTM_NEWLINK)
		parse_link(h, arg);
}

int link_get(struct nl_conn *c, const char *name, struct link *ret, struct err *e)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct nl_batch b = {0};
	struct link l = {0};
	int rc;

	nl_put_text(nl_batch_add(&b, RTM_GETLINK, 0, &ifi, sizeof(ifi), 0), IFLA_IFNAME, name);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	rc = nl_ask_one(c, b.msg[0], on_link, &l, e);
	if (rc == 0)
		*ret = l;
	return rc;
}

static void on_links(const struct nlmsghdr *h, void *arg)
{
	struct links *l = arg;

	if (h->nlmsg_type != RTM_NEWLINK)
		return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->list = xrealloc(l->list, l->cap * sizeof(*l->list));
	}
	parse_link(h, &l->list[l->n++]);
}

static void on_links_restart(void *arg)
{
	((struct links *)arg)->n = 0;
}

int links_dump(struct nl_conn *c, struct links *ret, struct err *e)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct links l = {0};
	int rc = nl_ask_all(c, RTM_GETLINK, &ifi, sizeof(ifi), on_links, on_links_restart, &l, e);

	if (rc < 0) {
		links_fini(&l);
		return err_wrap(e, "list links");
	}
	*ret = l;
	return 0;
}

void links_fini(struct links *l)
{
	free(l->list);
	*l = (struct links){0};
}

const struct link *links_find(const struct links *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->list[i].name, name) == 0)
			return &l->list[i];
	return NULL;
}

const struct link *links_find_index(const struct links *l, int index)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->list[i].index == index)
			return &l->list[i];
	return NULL;
}

bool link_is_pair(const struct link *a, const struct link *b)
{
	return strcmp(a->kind, "veth") == 0 && strcmp(b->kind, "veth") == 0 && a->peer == b->index &&
	       b->peer == a->index;
}

bool link_is_up(const struct link *l)
{
	return l->flags & IFF_UP;
}

struct nl_msg *link_change(struct nl_batch *b, int index, const char *name, bool up)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct nl_msg *m;

	if (up)
		ifi.ifi_flags = ifi.ifi_change = IFF_UP;
	m = nl_batch_add(b, RTM_NEWLINK, 0, &ifi, sizeof(ifi), 0);
	if (index == 0)
		nl_put_text(m, IFLA_IFNAME, name);
	return m;
}

void link_add_down(struct nl_batch *b, int index)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_change = IFF_UP};

	nl_batch_add(b, RTM_NEWLINK, 0, &ifi, sizeof(ifi), 0);
}

void link_put_addrgen_none(struct nl_msg *m)
{
	struct nlattr *spec = nl_nest(m, IFLA_AF_SPEC), *inet6 = nl_nest(m, AF_INET6);

	nl_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nla_nest_end(m, inet6);
	nla_nest_end(m, spec);
}

static struct nlattr *nest_port(struct nl_msg *m, struct nlattr **ret_info)
{
	*ret_info = nl_nest(m, IFLA_LINKINFO);
	nl_put_text(m, IFLA_INFO_SLAVE_KIND, "bridge");
	return nl_nest(m, IFLA_INFO_SLAVE_DATA);
}

void link_put_suppressing_port(struct nl_msg *m)
{
	struct nlattr *info, *data = nest_port(m, &info);

	nl_put_u8(m, IFLA_BRPORT_LEARNING, 0);
	nl_put_u8(m, IFLA_BRPORT_UNICAST_FLOOD, 0);
	nl_put_u8(m, IFLA_BRPORT_MCAST_FLOOD, 0);
	nl_put_u8(m, IFLA_BRPORT_BCAST_FLOOD, 0);
	nl_put_u8(m, IFLA_BRPORT_NEIGH_SUPPRESS, 1);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
}

void link_put_isolated_port(struct nl_msg *m)
{
	struct nlattr *info, *data = nest_port(m, &info);

	nl_put_u8(m, IFLA_BRPORT_ISOLATED, 1);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
}

static struct nl_msg *add_link(struct nl_batch *b, const char *name, bool up)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct nl_msg *m;

	if (up)
		ifi.ifi_flags = ifi.ifi_change = IFF_UP;
	m = nl_batch_add(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi), 0);
	nl_put_text(m, IFLA_IFNAME, name);
	return m;
}

void link_add_bridge(struct nl_batch *b, const char *name, uint32_t mtu, const uint8_t mac[6])
{
	struct nl_msg *m = add_link(b, name, false);
	struct nlattr *info, *data;

	nl_put_u32(m, IFLA_MTU, mtu);
	nl_put(m, IFLA_ADDRESS, mac, 6);
	info = nl_nest(m, IFLA_LINKINFO);
	nl_put_text(m, IFLA_INFO_KIND, "bridge");
	data = nl_nest(m, IFLA_INFO_DATA);
	nl_put_u32(m, IFLA_BR_STP_STATE, 0);
	nl_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
}

void link_add_vxlan(struct nl_batch *b, const char *name, const struct vxlan_spec *spec)
{
	struct nl_msg *m = add_link(b, name, false);
	struct nlattr *info, *data;

	nl_put_u32(m, IFLA_NET_NS_FD, (uint32_t)spec->target_ns_fd);
	nl_put_u32(m, IFLA_MASTER, (uint32_t)spec->master_index);
	nl_put_u32(m, IFLA_MTU, spec->mtu);
	info = nl_nest(m, IFLA_LINKINFO);
	nl_put_text(m, IFLA_INFO_KIND, "vxlan");
	data = nl_nest(m, IFLA_INFO_DATA);
	nl_put_u32(m, IFLA_VXLAN_ID, spec->vni);
	nl_put(m, spec->local.len == 16 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, spec->local.bytes,
	       spec->local.len);
	nl_put_u16be(m, IFLA_VXLAN_PORT, spec->port);
	nl_put_u8(m, IFLA_VXLAN_LEARNING, 0);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
}

void link_add_veth(struct nl_batch *b, const struct veth_spec *spec)
{
	struct nl_msg *m = add_link(b, spec->name, true);
	struct ifinfomsg peer = {.ifi_family = AF_UNSPEC};
	struct nlattr *info, *data, *nest;

	nl_put_u32(m, IFLA_MTU, spec->mtu);
	nl_put_u32(m, IFLA_MASTER, (uint32_t)spec->master_index);
	info = nl_nest(m, IFLA_LINKINFO);
	nl_put_text(m, IFLA_INFO_KIND, "veth");
	data = nl_nest(m, IFLA_INFO_DATA);
	nest = nl_nest(m, VETH_INFO_PEER);
	if (nlmsg_append(m, &peer, sizeof(peer), NLMSG_ALIGNTO) != 0)
		abort();
	nl_put_text(m, IFLA_IFNAME, spec->peer_name);
	nl_put_u32(m, IFLA_MTU, spec->mtu);
	nl_put_u32(m, IFLA_NET_NS_FD, (uint32_t)spec->peer_ns_fd);
	if (spec->peer_mac)
		nl_put(m, IFLA_ADDRESS, spec->peer_mac, 6);
	nla_nest_end(m, nest);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
}

int link_delete(struct nl_conn *c, const char *name, struct err *e)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct nl_batch b = {0};

	nl_put_text(nl_batch_add(&b, RTM_DELLINK, 0, &ifi, sizeof(ifi), ENODEV), IFLA_IFNAME, name);
	return nl_batch_run(c, &b, e) < 0 ? err_wrap(e, "delete link %s", name) : 0;
}
