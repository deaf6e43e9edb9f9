// SPDX-License-Identifier: Apache-2.0
/* The happy path is: entries are written with REPLACE, without looking first; reconcile dumps and diffs.
 * What can fail is: the device is gone (reconcile makes the whole network anew). */
#include "overlay/kernel/fdb.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

void fdb_set_add(struct fdb_set *s, const struct fdb_entry *entry)
{
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

void fdb_of_endpoint(const struct overlay_endpoint *ep, struct fdb_entry ret[3])
{
	ret[0] = (struct fdb_entry){.kind = FDB_SELF, .ip = ep->vtep};
	ret[1] = (struct fdb_entry){.kind = FDB_MASTER};
	ret[2] = (struct fdb_entry){.kind = FDB_NEIGH, .ip = ep->ip};
	for (int i = 0; i < 3; i++)
		memcpy(ret[i].mac, ep->mac, 6);
}

struct dump_state {
	int br_index, vx_index;
	struct fdb_set *set;
};

static bool set_ip(struct overlay_ip *ip, struct nlattr *a)
{
	int len = a ? nla_len(a) : 0;

	if (len != 4 && len != 16)
		return false;
	*ip = (struct overlay_ip){.len = (uint8_t)len, .prefix = (uint8_t)(len * 8)};
	memcpy(ip->bytes, nla_data(a), (size_t)len);
	return true;
}

/* Which kind of ours this kernel entry is, or -1. */
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

static void on_neigh(const struct nlmsghdr *h, void *arg)
{
	struct dump_state *st = arg;
	const struct ndmsg *nd = nlmsg_data(h);
	struct nlattr *tb[NDA_MAX + 1];
	struct fdb_entry entry = {0};
	int kind;

	if (h->nlmsg_type != RTM_NEWNEIGH)
		return;
	kind = classify(nd, st);
	if (kind < 0 || nlmsg_parse((struct nlmsghdr *)h, sizeof(*nd), tb, NDA_MAX, NULL) < 0)
		return;
	entry.kind = (enum fdb_kind)kind;
	if (!tb[NDA_LLADDR] || nla_len(tb[NDA_LLADDR]) != 6)
		return;
	memcpy(entry.mac, nla_data(tb[NDA_LLADDR]), 6);
	if (kind != FDB_MASTER && !set_ip(&entry.ip, tb[NDA_DST]))
		return;
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

static void put_entry(struct nl_batch *b, int br_index, int vx_index, const struct fdb_entry *entry, bool add)
{
	bool neigh = entry->kind == FDB_NEIGH;
	struct ndmsg nd = {.ndm_family = neigh ? (uint8_t)ip_family(&entry->ip) : AF_BRIDGE,
			   .ndm_ifindex = neigh ? br_index : vx_index,
			   .ndm_state = entry->kind == FDB_MASTER ? NUD_NOARP : NUD_PERMANENT};
	struct nl_msg *m;

	if (entry->kind == FDB_SELF)
		nd.ndm_flags = NTF_SELF;
	else if (entry->kind == FDB_MASTER)
		nd.ndm_flags = add ? NTF_MASTER | NTF_STICKY : NTF_MASTER;
	if (add)
		m = nl_batch_add(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd), 0);
	else
		m = nl_batch_add(b, RTM_DELNEIGH, 0, &nd, sizeof(nd), ENOENT);
	if (entry->kind != FDB_NEIGH || add)
		nl_put(m, NDA_LLADDR, entry->mac, 6);
	if (entry->kind != FDB_MASTER)
		nl_put(m, NDA_DST, entry->ip.bytes, entry->ip.len);
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
