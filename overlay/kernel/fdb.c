// SPDX-License-Identifier: Apache-2.0
/* Forwarding and neighbour entries. They are written with REPLACE, without looking first; a repair dumps them and
 * writes the difference. When the device is gone, the caller makes the whole network anew. */
#include "overlay/kernel/fdb.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/route/neighbour.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/kernel/routes.h"

void fdb_set_add(struct fdb_set *s, const struct fdb_entry *entry)
{
	bug_if(s->n > s->cap || entry->kind > FDB_NEIGH);
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
	}
	s->list[s->n++] = *entry;
}

void fdb_set_fini(struct fdb_set *s)
{
	free(s->list);
	*s = (struct fdb_set){0};
}

static int compare_key(const void *pa, const void *pb)
{
	const struct fdb_entry *a = pa, *b = pb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->kind == FDB_NEIGH ? ip_compare(&a->ip, &b->ip) : memcmp(a->mac, b->mac, 6);
}

/* ---- changes ---- */

void fdb_change_add(struct fdb_changes *c, const struct fdb_entry *entry, bool add)
{
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 16;
		c->list = xrealloc(c->list, c->cap * sizeof(*c->list));
	}
	c->list[c->n] = (struct fdb_change){*entry, add, c->n};
	c->n++;
}

static int compare_change(const void *pa, const void *pb)
{
	const struct fdb_change *a = pa, *b = pb;
	int d = compare_key(&a->entry, &b->entry);

	return d ? d : a->at < b->at ? -1 : 1;
}

void fdb_changes_take(struct fdb_changes *c, struct fdb_set *ret_write, struct fdb_set *ret_delete)
{
	if (c->n > 1)
		qsort(c->list, c->n, sizeof(*c->list), compare_change);
	for (size_t i = 0; i < c->n; i++) {
		const struct fdb_change *now = &c->list[i], *next = i + 1 < c->n ? now + 1 : NULL;

		if (!now->add)
			fdb_set_add(ret_delete, &now->entry);
		else if (!next || compare_key(&now->entry, &next->entry) != 0)
			fdb_set_add(ret_write, &now->entry);
	}
	c->n = 0;
}

void fdb_changes_fini(struct fdb_changes *c)
{
	free(c->list);
	*c = (struct fdb_changes){0};
}

/* ---- differences ---- */

static bool is_same_value(const struct fdb_entry *a, const struct fdb_entry *b)
{
	if (a->kind == FDB_NEIGH)
		return memcmp(a->mac, b->mac, 6) == 0;
	return a->kind == FDB_MASTER || ip_is_equal(&a->ip, &b->ip);
}

static void sort_set(struct fdb_set *s)
{
	if (s->n > 1)
		qsort(s->list, s->n, sizeof(*s->list), compare_key);
}

/* All observed entries with d's key are at [*o, end): d is satisfied when one has its value, and then the
 * others (a second destination somebody appended) go; else d is written, and REPLACE takes the old value
 * away. */
static void diff_one(const struct fdb_entry *d, const struct fdb_set *observed, size_t *o,
		     struct fdb_set *ret_write, struct fdb_set *ret_delete)
{
	size_t end = *o;
	bool seen = false;

	for (; end < observed->n && compare_key(&observed->list[end], d) == 0; end++)
		seen |= is_same_value(&observed->list[end], d);
	for (; *o < end; (*o)++)
		if (seen && !is_same_value(&observed->list[*o], d))
			fdb_set_add(ret_delete, &observed->list[*o]);
	if (!seen)
		fdb_set_add(ret_write, d);
}

void fdb_diff(struct fdb_set *desired, struct fdb_set *observed, struct fdb_set *ret_write,
	      struct fdb_set *ret_delete)
{
	size_t o = 0;

	sort_set(desired);
	sort_set(observed);
	for (size_t d = 0; d < desired->n; d++) {
		if (d > 0 && compare_key(&desired->list[d - 1], &desired->list[d]) == 0)
			continue; /* two endpoints claim one key: the first stays, no flapping */
		for (; o < observed->n && compare_key(&observed->list[o], &desired->list[d]) < 0; o++)
			fdb_set_add(ret_delete, &observed->list[o]);
		diff_one(&desired->list[d], observed, &o, ret_write, ret_delete);
	}
	for (; o < observed->n; o++)
		fdb_set_add(ret_delete, &observed->list[o]);
}

struct dump_state {
	int br_index, vx_index;
	struct fdb_set *set;
};

/* Which kind of ours this kernel entry is, or -1. Looked at before it is taken apart: most are none. */
static int classify(const struct ndmsg *nd, const struct dump_state *st)
{
	if (nd->ndm_family == AF_BRIDGE) {
		if (nd->ndm_ifindex != st->vx_index)
			return -1;
		if (nd->ndm_flags & NTF_SELF)
			return FDB_SELF;
		/* One that a frame may take along to another port is as good as none. */
		return nd->ndm_state == NUD_NOARP && (nd->ndm_flags & NTF_STICKY) ? FDB_MASTER : -1;
	}
	return nd->ndm_ifindex == st->br_index && (nd->ndm_state & NUD_PERMANENT) ? FDB_NEIGH : -1;
}

static bool take_ip(struct overlay_ip *ip, struct nlattr *a)
{
	int len = a ? nla_len(a) : 0;

	if (len != 4 && len != 16)
		return false;
	*ip = (struct overlay_ip){.len = (uint8_t)len, .prefix = (uint8_t)(len * 8)};
	memcpy(ip->bytes, nla_data(a), (size_t)len);
	return true;
}

/* By attributes: libnl's object is five allocations an entry, and a dump has three for every peer. */
static bool parse_entry(const struct nlmsghdr *h, enum fdb_kind kind, struct fdb_entry *ret)
{
	struct nlattr *tb[NDA_MAX + 1];

	*ret = (struct fdb_entry){.kind = kind};
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(struct ndmsg), tb, NDA_MAX, NULL) < 0 ||
	    !tb[NDA_LLADDR] || nla_len(tb[NDA_LLADDR]) != 6)
		return false;
	memcpy(ret->mac, nla_data(tb[NDA_LLADDR]), 6);
	return kind == FDB_MASTER || take_ip(&ret->ip, tb[NDA_DST]);
}

static void on_neigh(const struct nlmsghdr *h, void *arg)
{
	struct dump_state *st = arg;
	struct fdb_entry entry;
	int kind = h->nlmsg_type == RTM_NEWNEIGH ? classify(nlmsg_data(h), st) : -1;

	if (kind >= 0 && parse_entry(h, (enum fdb_kind)kind, &entry))
		fdb_set_add(st->set, &entry);
}

static void on_restart(void *arg)
{
	((struct dump_state *)arg)->set->n = 0;
}

static int dump_family(struct nl_conn *c, int family, struct dump_state *st, struct err *e)
{
	struct ndmsg nd = {.ndm_family = (uint8_t)family};
	struct ifinfomsg ifi = {.ifi_family = AF_BRIDGE};

	if (family == AF_BRIDGE) /* this one dump reads its header as an ifinfomsg */
		return nl_ask_all(c, RTM_GETNEIGH, &ifi, sizeof(ifi), on_neigh, on_restart, st, e);
	return nl_ask_all(c, RTM_GETNEIGH, &nd, sizeof(nd), on_neigh, on_restart, st, e);
}

int fdb_dump(struct nl_conn *c, int br_index, int vx_index, struct fdb_set *ret, struct err *e)
{
	static const int families[] = {AF_BRIDGE, AF_INET, AF_INET6};
	struct fdb_set all = {0};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < array_size(families); i++) {
		struct fdb_set part = {0};
		struct dump_state st = {br_index, vx_index, &part};

		rc = dump_family(c, families[i], &st, e);
		for (size_t k = 0; rc == 0 && k < part.n; k++)
			fdb_set_add(&all, &part.list[k]);
		fdb_set_fini(&part);
	}
	if (rc < 0) {
		fdb_set_fini(&all);
		return err_wrap(e, "list forwarding entries");
	}
	*ret = all;
	return 0;
}

static struct rtnl_neigh *object_of(int br_index, int vx_index, const struct fdb_entry *entry, bool add)
{
	struct rtnl_neigh *o = rtnl_neigh_alloc();
	struct nl_addr *mac = nl_addr_build(AF_LLC, entry->mac, 6), *ip;

	if (!o || !mac)
		abort();
	bug_if(br_index <= 0 || vx_index <= 0);
	rtnl_neigh_set_ifindex(o, entry->kind == FDB_NEIGH ? br_index : vx_index);
	rtnl_neigh_set_state(o, entry->kind == FDB_MASTER ? NUD_NOARP : NUD_PERMANENT);
	rtnl_neigh_set_lladdr(o, mac);
	if (entry->kind != FDB_MASTER) {
		ip = ip_object(&entry->ip);
		rtnl_neigh_set_dst(o, ip);
		nl_addr_put(ip);
	}
	if (entry->kind != FDB_NEIGH)
		rtnl_neigh_set_family(o, AF_BRIDGE);
	if (entry->kind == FDB_SELF)
		rtnl_neigh_set_flags(o, NTF_SELF);
	else if (entry->kind == FDB_MASTER)
		rtnl_neigh_set_flags(o, add ? NTF_MASTER | NTF_STICKY : NTF_MASTER);
	nl_addr_put(mac);
	return o;
}

static void put_entry(struct nl_batch *b, int br_index, int vx_index, const struct fdb_entry *entry, bool add)
{
	struct rtnl_neigh *o = object_of(br_index, vx_index, entry, add);
	struct nl_msg *m = NULL;
	int rc = add ? rtnl_neigh_build_add_request(o, NLM_F_CREATE | NLM_F_REPLACE, &m)
		     : rtnl_neigh_build_delete_request(o, 0, &m);

	rtnl_neigh_put(o);
	nl_batch_take(b, rc, m, add ? 0 : ENOENT);
}

int fdb_write(struct nl_conn *c, int br_index, int vx_index, const struct fdb_set *s, bool add, struct err *e)
{
	struct nl_batch b = {0};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n; i++) {
		put_entry(&b, br_index, vx_index, &s->list[i], add);
		if (nl_batch_is_full(&b) || i + 1 == s->n)
			rc = nl_batch_run(c, &b, e);
	}
	return rc < 0 ? err_wrap(e, add ? "write forwarding entries" : "delete forwarding entries") : 0;
}
