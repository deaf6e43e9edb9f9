// SPDX-License-Identifier: Apache-2.0
/* Links: one RTM_NEWLINK creates, enslaves and starts one; RTM_GETLINK becomes a struct link. When the name exists
 * the caller looks whose it is; an attribute that an older kernel does not know is an error. */
#include "overlay/kernel/links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/link/vxlan.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/kernel/routes.h"

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
	struct nlattr *tb[IFLA_VXLAN_MAX + 1];

	if (nla_parse_nested(tb, IFLA_VXLAN_MAX, data, NULL) < 0)
		return;
	if (tb[IFLA_VXLAN_ID])
		l->vx.vni = nla_get_u32(tb[IFLA_VXLAN_ID]);
	if (tb[IFLA_VXLAN_PORT])
		l->vx.port = ntohs(nla_get_u16(tb[IFLA_VXLAN_PORT]));
	if (tb[IFLA_VXLAN_LEARNING])
		l->vx.learning = nla_get_u8(tb[IFLA_VXLAN_LEARNING]);
	if (tb[IFLA_VXLAN_LOCAL])
		set_ip(&l->vx.local, tb[IFLA_VXLAN_LOCAL], 4);
	else if (tb[IFLA_VXLAN_LOCAL6])
		set_ip(&l->vx.local, tb[IFLA_VXLAN_LOCAL6], 16);
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

	mode = inet6 ? nla_find(nla_data(inet6), nla_len(inet6), IFLA_INET6_ADDR_GEN_MODE) : NULL;
	if (mode)
		l->addrgen = nla_get_u8(mode);
}

static uint32_t u32_of(struct nlattr *a)
{
	return a && nla_len(a) >= (int)sizeof(uint32_t) ? nla_get_u32(a) : 0;
}

/* By attributes: libnl's object copies the message, allocates ten times a link and still leaves a slave's data
 * out. Sweeps dump every link of every namespace, and most of a sweep is this. */
static bool parse_link(const struct nlmsghdr *h, struct link *l)
{
	struct nlattr *tb[IFLA_MAX + 1];
	const struct ifinfomsg *ifi = nlmsg_data(h);

	if (h->nlmsg_type != RTM_NEWLINK ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof(*ifi), tb, IFLA_MAX, NULL) < 0)
		return false;
	*l = (struct link){.index = ifi->ifi_index,
			   .flags = ifi->ifi_flags,
			   .master = (int)u32_of(tb[IFLA_MASTER]),
			   .peer = (int)u32_of(tb[IFLA_LINK]),
			   .group = u32_of(tb[IFLA_GROUP]),
			   .mtu = u32_of(tb[IFLA_MTU])};
	if (tb[IFLA_IFNAME])
		nla_strlcpy(l->name, tb[IFLA_IFNAME], sizeof(l->name));
	if (tb[IFLA_IFALIAS])
		nla_strlcpy(l->alias, tb[IFLA_IFALIAS], sizeof(l->alias));
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == 6)
		memcpy(l->mac, nla_data(tb[IFLA_ADDRESS]), 6);
	if (tb[IFLA_LINKINFO])
		parse_info(tb[IFLA_LINKINFO], l);
	if (tb[IFLA_AF_SPEC])
		parse_addrgen(tb[IFLA_AF_SPEC], l);
	return true;
}

static void on_link(const struct nlmsghdr *h, void *arg)
{
	parse_link(h, arg);
}

/* Without counters, which are most of what the kernel has to say and libnl to read. By hand: libnl's own
 * requests ask for the virtual functions of a network card instead. */
struct link_request {
	struct ifinfomsg ifi;
	struct nlattr mask_head;
	uint32_t mask;
};

static const struct link_request all_links = {
	.ifi = {.ifi_family = AF_UNSPEC},
	.mask_head = {.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = IFLA_EXT_MASK},
	.mask = RTEXT_FILTER_SKIP_STATS,
};

int link_get(struct nl_conn *c, const char *name, struct link *ret, struct err *e)
{
	struct nl_batch b = {0};
	struct link l = {0};
	int rc;

	nl_put_text(nl_batch_add(&b, RTM_GETLINK, 0, &all_links, sizeof(all_links), 0), IFLA_IFNAME, name);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	rc = nl_ask_one(c, b.msg[0], on_link, &l, e);
	if (rc == 0)
		*ret = l;
	return rc;
}

static void on_links(const struct nlmsghdr *h, void *arg)
{
	struct links *l = arg;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->list = xrealloc(l->list, l->cap * sizeof(*l->list));
	}
	l->n += parse_link(h, &l->list[l->n]);
}

static void on_links_restart(void *arg)
{
	((struct links *)arg)->n = 0;
}

int links_dump(struct nl_conn *c, struct links *ret, struct err *e)
{
	struct links l = {0};
	int rc = nl_ask_all(c, RTM_GETLINK, &all_links, sizeof(all_links), on_links, on_links_restart, &l, e);

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

/* ---- requests ---- */

static struct rtnl_link *object_new(int index, const char *name)
{
	struct rtnl_link *o = rtnl_link_alloc();

	if (!o)
		abort();
	bug_if(index < 0 || (!index && !name));
	bug_if(name && (!name[0] || strlen(name) >= NAME_MAX_LEN));
	rtnl_link_set_ifindex(o, index);
	if (name)
		rtnl_link_set_name(o, name);
	return o;
}

static struct nl_msg *add_request(struct nl_batch *b, struct rtnl_link *take, int flags)
{
	struct nl_msg *m = NULL;
	int rc = rtnl_link_build_add_request(take, flags, &m);

	rtnl_link_put(take);
	return nl_batch_take(b, rc, m, 0);
}

struct nl_msg *link_change(struct nl_batch *b, int index, const char *name, bool up)
{
	struct rtnl_link *o = object_new(index, index ? NULL : name);

	if (up)
		rtnl_link_set_flags(o, IFF_UP);
	return add_request(b, o, 0);
}

void link_add_down(struct nl_batch *b, int index)
{
	struct rtnl_link *o = object_new(index, NULL);

	rtnl_link_unset_flags(o, IFF_UP);
	add_request(b, o, 0);
}

/* By hand: libnl sets this on an object of family inet6 only, and a request has one family. */
void link_put_addrgen_none(struct nl_msg *m)
{
	struct nlattr *spec = nl_nest(m, IFLA_AF_SPEC), *inet6 = nl_nest(m, AF_INET6);

	nl_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nla_nest_end(m, inet6);
	nla_nest_end(m, spec);
}

/* By hand: libnl 3.7 has no NEIGH_SUPPRESS, MCAST_FLOOD, BCAST_FLOOD, ISOLATED; and a second nest of its own
 * for the rest would replace this one. */
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

static void set_address(struct rtnl_link *o, const uint8_t mac[6])
{
	struct nl_addr *a = nl_addr_build(AF_LLC, mac, 6);

	if (!a)
		abort();
	rtnl_link_set_addr(o, a);
	nl_addr_put(a);
}

/* By hand: libnl 3.7 has neither STP_STATE nor MCAST_SNOOPING, so it is not told the kind either. */
void link_add_bridge(struct nl_batch *b, const char *name, uint32_t mtu, const uint8_t mac[6])
{
	struct rtnl_link *o = object_new(0, name);
	struct nlattr *info, *data;
	struct nl_msg *m;

	rtnl_link_set_mtu(o, mtu);
	set_address(o, mac);
	m = add_request(b, o, NLM_F_CREATE | NLM_F_EXCL);
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
	struct rtnl_link *o = rtnl_link_vxlan_alloc();
	struct nl_addr *local = ip_object(&spec->local);

	if (!o)
		abort();
	bug_if(!spec->vni || spec->vni >= 1u << 24 || !spec->port);
	bug_if(spec->target_ns_fd < 0 || spec->master_index <= 0);
	rtnl_link_set_name(o, name);
	rtnl_link_set_ns_fd(o, spec->target_ns_fd);
	rtnl_link_set_master(o, spec->master_index);
	rtnl_link_set_mtu(o, spec->mtu);
	rtnl_link_vxlan_set_id(o, spec->vni);
	rtnl_link_vxlan_set_local(o, local);
	rtnl_link_vxlan_set_port(o, spec->port);
	rtnl_link_vxlan_set_learning(o, 0);
	nl_addr_put(local);
	add_request(b, o, NLM_F_CREATE | NLM_F_EXCL);
}

void link_add_veth(struct nl_batch *b, const struct veth_spec *spec)
{
	struct rtnl_link *o = rtnl_link_veth_alloc(), *peer;

	if (!o)
		abort();
	bug_if(strlen(spec->name) >= NAME_MAX_LEN || strlen(spec->peer_name) >= NAME_MAX_LEN);
	bug_if(spec->peer_ns_fd < 0);
	peer = rtnl_link_veth_get_peer(o);
	rtnl_link_set_name(o, spec->name);
	rtnl_link_set_flags(o, IFF_UP);
	rtnl_link_set_mtu(o, spec->mtu);
	rtnl_link_set_master(o, spec->master_index);
	rtnl_link_set_name(peer, spec->peer_name);
	rtnl_link_set_mtu(peer, spec->mtu);
	rtnl_link_set_ns_fd(peer, spec->peer_ns_fd);
	if (spec->peer_mac)
		set_address(peer, spec->peer_mac);
	add_request(b, o, NLM_F_CREATE | NLM_F_EXCL);
	rtnl_link_put(peer);
}

int link_delete(struct nl_conn *c, const char *name, struct err *e)
{
	struct rtnl_link *o = object_new(0, name);
	struct nl_batch b = {0};
	struct nl_msg *m = NULL;
	int rc = rtnl_link_build_delete_request(o, &m);

	rtnl_link_put(o);
	nl_batch_take(&b, rc, m, ENODEV);
	return nl_batch_run(c, &b, e) < 0 ? err_wrap(e, "delete link %s", name) : 0;
}

const char *link_mac_format(const unsigned char mac[6], char ret_text[18])
{
	snprintf(ret_text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
	return ret_text;
}
