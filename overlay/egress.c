// SPDX-License-Identifier: Apache-2.0
/* The happy path is: gswarm0 with the subnet's first address, forwarding on, our nft table; per task a veth
 * pair whose host end is an isolated port of gswarm0 and carries, as its alias, the address, namespace and id
 * of the leg. These aliases are the only memory of the address pool, so a restarted process continues where
 * the last one was. What can fail is: somebody else's gswarm0 or gw0 (an error), or a full pool. ip_forward's
 * old value stands in gswarm0's alias and is put back when everything is removed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/links.h"
#include "overlay/reap.h"
#include "overlay/routes.h"

#define EGRESS_MTU 1500
#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define RP_FILTER "/proc/sys/net/ipv4/conf/" NAME_EGRESS_BRIDGE "/rp_filter"

static int sysctl_write(const char *path, char value, struct err *e)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, &value, 1) != 1)
		return err_errno(e, errno, "write %s", path);
	return 0;
}

static char sysctl_read(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = '?';

	return fd >= 0 && read(fd, &value, 1) == 1 ? value : '?';
}

static bool is_our_bridge(const struct link *l)
{
	return strcmp(l->kind, "bridge") == 0 && strncmp(l->alias, ALIAS_EGRESS, strlen(ALIAS_EGRESS)) == 0;
}

/* Made and marked in one send: never there without its mark. */
static int make_bridge(struct overlay *o, struct err *e)
{
	const uint8_t *a = o->cfg.egress_subnet.bytes;
	const uint8_t mac[6] = {0x06, 0x67, a[0], a[1], 0xff, 0xff}; /* a leg's ends in its address */
	char alias[ALIAS_MAX];
	struct nl_batch b = {0};

	snprintf(alias, sizeof(alias), ALIAS_EGRESS "%c", sysctl_read(IP_FORWARD));
	link_add_bridge(&b, NAME_EGRESS_BRIDGE, EGRESS_MTU, mac);
	nl_put_text(link_change(&b, 0, NAME_EGRESS_BRIDGE, false), IFLA_IFALIAS, alias);
	return nl_batch_run(&o->host.nl, &b, e);
}

static int set_up_bridge(struct overlay *o, int index, struct err *e)
{
	struct nl_batch b = {0};
	struct overlay_ip gateway;
	int rc;

	if (!ip_nth(&o->cfg.egress_subnet, 1, &gateway))
		return err_set(e, E_INVALID, "egress subnet is too small");
	link_change(&b, index, NULL, true);
	addr_add(&b, index, &gateway);
	rc = nl_batch_run(&o->host.nl, &b, e);
	if (rc == 0)
		rc = sysctl_write(RP_FILTER, '1', e);
	if (rc == 0 && sysctl_read(IP_FORWARD) != '1')
		rc = sysctl_write(IP_FORWARD, '1', e);
	return rc < 0 ? rc : nft_base_ensure(o, e);
}

int egress_ensure(struct overlay *o, struct err *e)
{
	struct link br;
	int rc;

	if (o->egress_index)
		return 0;
	if (o->cfg.egress_subnet.len != 4)
		return err_set(e, E_INVALID, "no IPv4 subnet is configured for egress");
	rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);
	if (rc == -ENODEV) {
		rc = make_bridge(o, e);
		if (rc == 0)
			rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);
	}
	if (rc == 0 && !is_our_bridge(&br))
		return err_set(e, E_EXISTS, "link %s exists and is not ours: remove or rename it",
			       NAME_EGRESS_BRIDGE);
	if (rc == 0)
		rc = set_up_bridge(o, br.index, e);
	if (rc < 0)
		return err_wrap(e, "egress bridge");
	o->egress_index = br.index;
	return 0;
}

/* ---- legs ---- */

static struct leg *leg_find(struct overlay *o, const char *id)
{
	struct leg *leg;

	HASH_FIND(hh, o->legs, id, strlen(id), leg);
	return leg;
}

static struct leg *leg_add(struct overlay *o, const struct leg_alias *mark)
{
	struct leg *leg = xcalloc(1, sizeof(*leg));

	leg->mark = *mark;
	HASH_ADD_KEYPTR(hh, o->legs, leg->mark.id, strlen(leg->mark.id), leg);
	return leg;
}

static void leg_forget(struct overlay *o, struct leg *leg)
{
	HASH_DEL(o->legs, leg);
	free(leg);
}

int egress_load(struct overlay *o, struct err *e)
{
	struct links links;
	struct leg_alias mark;
	char name[NAME_MAX_LEN];
	int rc = links_dump(&o->host.nl, &links, e);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < links.n; i++) {
		if (!leg_alias_parse(links.list[i].alias, &mark))
			continue;
		name_leg(mark.id, name);
		if (strcmp(name, links.list[i].name) == 0 && !leg_find(o, mark.id))
			leg_add(o, &mark);
	}
	links_fini(&links);
	return 0;
}

static bool is_used(struct overlay *o, const struct overlay_ip *ip)
{
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		if (ip_is_equal(&leg->mark.ip, ip))
			return true;
	return false;
}

static int lowest_free(struct overlay *o, struct overlay_ip *ret, struct err *e)
{
	char text[48];

	for (unsigned n = 2; ip_nth(&o->cfg.egress_subnet, n, ret); n++)
		if (!is_used(o, ret))
			return 0;
	return err_set(e, E_EXHAUSTED, "no free address in the egress subnet %s/%u",
		       ip_format(&o->cfg.egress_subnet, text), o->cfg.egress_subnet.prefix);
}

static int make_leg(struct overlay *o, const struct leg_alias *mark, struct ns *task, struct err *e)
{
	const uint8_t *a = mark->ip.bytes;
	const uint8_t mac[6] = {0x06, 0x67, a[0], a[1], a[2], a[3]};
	char name[NAME_MAX_LEN], alias[ALIAS_MAX];
	const struct veth_spec spec = {.name = name,
				       .peer_name = NAME_EGRESS_LEG,
				       .master_index = o->egress_index,
				       .peer_ns_fd = task->fd,
				       .mtu = EGRESS_MTU,
				       .peer_mac = mac};
	struct nl_batch b = {0};
	struct nl_msg *m;

	name_leg(mark->id, name);
	leg_alias_format(mark, alias);
	link_add_veth(&b, &spec);
	/* Would mark a foreign link of that name when the first request fails: adopt_leg has looked. */
	m = link_change(&b, 0, name, false);
	b.tolerate[b.n - 1] = ENODEV; /* the first one's error is the one to report */
	nl_put_text(m, IFLA_IFALIAS, alias);
	link_put_isolated_port(m);
	return nl_batch_run(&o->host.nl, &b, e);
}

/* gw0 may still be there from a leg that was detached a moment ago. Always "make it", or an error. */
static int free_leg_name(struct overlay *o, struct ns *task, struct err *e)
{
	struct link task_end, host_end;
	int rc = 0;

	if (link_get(&task->nl, NAME_EGRESS_LEG, &task_end, NULL) == 0 &&
	    reap_is_given_up(&o->host, &task_end, &host_end))
		rc = link_delete(&o->host.nl, host_end.name, e);
	return rc < 0 ? rc : 1;
}

/* 0: our pair is there. 1: nothing is there (any more): make it. */
static int adopt_leg(struct overlay *o, const struct leg_alias *mark, struct ns *task, struct err *e)
{
	char name[NAME_MAX_LEN];
	struct leg_alias found;
	struct link host_end, task_end;
	struct nl_batch b = {0};
	struct nl_msg *m;
	int rc;

	name_leg(mark->id, name);
	rc = link_get(&o->host.nl, name, &host_end, e);
	if (rc == -ENODEV)
		return free_leg_name(o, task, e);
	if (rc < 0)
		return rc;
	if (!leg_alias_parse(host_end.alias, &found) || strcmp(found.id, mark->id) != 0)
		return err_set(e, E_EXISTS, "link %s exists and is not ours: remove or rename it", name);
	if (link_get(&task->nl, NAME_EGRESS_LEG, &task_end, e) < 0 || task_end.peer != host_end.index ||
	    host_end.peer != task_end.index || !ip_is_equal(&found.ip, &mark->ip)) {
		rc = link_delete(&o->host.nl, name, e);
		return rc < 0 ? rc : 1;
	}
	m = link_change(&b, host_end.index, NULL, true);
	nl_put_u32(m, IFLA_MASTER, (uint32_t)o->egress_index);
	link_put_isolated_port(link_change(&b, host_end.index, NULL, false));
	return nl_batch_run(&o->host.nl, &b, e);
}

static int finish_leg(struct overlay *o, const struct leg_alias *mark, struct ns *task, struct err *e)
{
	struct overlay_ip ip = mark->ip, gateway;
	struct nl_batch b = {0};
	struct link l;
	int rc = link_get(&task->nl, NAME_EGRESS_LEG, &l, e);

	if (rc < 0)
		return rc;
	ip.prefix = o->cfg.egress_subnet.prefix;
	ip_nth(&o->cfg.egress_subnet, 1, &gateway);
	link_change(&b, l.index, NULL, true);
	addr_add(&b, l.index, &ip);
	route_add_default(&b, l.index, &gateway);
	return nl_batch_run(&task->nl, &b, e);
}

static int leg_ensure(struct overlay *o, const struct leg_alias *mark, struct err *e)
{
	struct ns *task;
	int rc = egress_ensure(o, e);

	if (rc == 0)
		rc = ns_get(o, mark->netns, &task, e);
	if (rc == 0)
		rc = adopt_leg(o, mark, task, e);
	if (rc == 1) {
		rc = make_leg(o, mark, task, e);
		if (rc == -EEXIST)
			rc = err_set(e, E_EXISTS, "%s in namespace %s is not ours", NAME_EGRESS_LEG,
				     mark->netns);
	}
	if (rc == 0)
		rc = finish_leg(o, mark, task, e);
	return rc < 0 ? err_wrap(e, "egress of %s", mark->netns) : 0;
}

int egress_leg_attach(struct overlay *o, const char *netns, const char *id, struct err *e)
{
	struct leg *leg = leg_find(o, id);
	struct leg_alias mark = {0};
	int rc = 0;

	if (leg &&
	    strcmp(leg->mark.netns, netns) != 0) { /* the slot's next task: same id, another namespace */
		rc = egress_leg_delete(o, leg, e);
		leg = NULL;
	}
	if (leg)
		mark.ip = leg->mark.ip;
	else if (rc == 0)
		rc = lowest_free(o, &mark.ip, e);
	if (rc < 0)
		return rc;
	snprintf(mark.netns, sizeof(mark.netns), "%s", netns);
	snprintf(mark.id, sizeof(mark.id), "%s", id);
	rc = leg_ensure(o, &mark, e);
	if (rc < 0)
		return rc;
	if (!leg)
		leg = leg_add(o, &mark);
	leg->declared = true;
	return 0;
}

int egress_leg_delete(struct overlay *o, struct leg *leg, struct err *e)
{
	char name[NAME_MAX_LEN];
	struct leg_alias found;
	struct link l;
	int rc;

	name_leg(leg->mark.id, name);
	rc = link_get(&o->host.nl, name, &l, e);
	if (rc == 0 && leg_alias_parse(l.alias, &found))
		rc = reap_link(o, &o->host, name, e);
	if (rc < 0 && rc != -ENODEV)
		return rc;
	leg_forget(o, leg);
	return 0;
}

static bool is_leg_right(struct overlay *o, const struct leg_alias *mark, struct ns *task)
{
	char name[NAME_MAX_LEN];
	struct link host_end, task_end;
	struct overlay_ip ip = mark->ip, gateway;
	struct routes_view view;

	name_leg(mark->id, name);
	ip.prefix = o->cfg.egress_subnet.prefix;
	ip_nth(&o->cfg.egress_subnet, 1, &gateway);
	if (link_get(&o->host.nl, name, &host_end, NULL) < 0 ||
	    link_get(&task->nl, NAME_EGRESS_LEG, &task_end, NULL) < 0)
		return false;
	if (host_end.master != o->egress_index || !host_end.port.isolated || !link_is_up(&host_end) ||
	    !link_is_up(&task_end) || host_end.peer != task_end.index || task_end.peer != host_end.index)
		return false;
	return routes_view_get(&task->nl, task_end.index, &ip, &gateway, &view, NULL) == 0 &&
	       view.has_address && view.has_default;
}

static bool is_bridge_right(struct overlay *o)
{
	struct overlay_ip gateway;
	struct routes_view view;
	struct link br;

	return link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, NULL) == 0 && br.index == o->egress_index &&
	       link_is_up(&br) && ip_nth(&o->cfg.egress_subnet, 1, &gateway) &&
	       routes_view_get(&o->host.nl, br.index, &gateway, NULL, &view, NULL) == 0 && view.has_address &&
	       sysctl_read(IP_FORWARD) == '1';
}

int egress_check(struct overlay *o, unsigned *repairs, struct err *e)
{
	int rc = 0;

	if (o->egress_index && !is_bridge_right(o)) {
		o->egress_index = 0;
		(*repairs)++;
		rc = egress_ensure(o, e);
	}
	for (struct leg *leg = o->legs; rc == 0 && leg; leg = leg->hh.next) {
		struct ns *task;

		if (!leg->declared || ns_get(o, leg->mark.netns, &task, NULL) < 0 ||
		    is_leg_right(o, &leg->mark, task))
			continue;
		(*repairs)++;
		rc = leg_ensure(o, &leg->mark, e);
	}
	return rc;
}

int egress_sweep(struct overlay *o, struct err *e)
{
	struct leg *leg, *tmp;
	int rc = 0;

	HASH_ITER (hh, o->legs, leg, tmp) {
		if (rc == 0 && !leg->declared)
			rc = egress_leg_delete(o, leg, e);
	}
	reap_group(o, &o->host); /* and what an earlier process gave up but did not come to delete */
	return rc;
}

int egress_remove_all(struct overlay *o, struct err *e)
{
	struct leg *leg, *tmp;
	struct link br;
	int rc = egress_load(o, e);

	HASH_ITER (hh, o->legs, leg, tmp) {
		if (rc == 0)
			rc = egress_leg_delete(o, leg, e);
	}
	reap_group(o, &o->host);
	if (rc == 0)
		rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);
	if (rc < 0)
		return rc == -ENODEV ? 0 : rc;
	o->egress_index = 0;
	if (!is_our_bridge(&br))
		return 0;
	rc = link_delete(&o->host.nl, NAME_EGRESS_BRIDGE, e);
	if (rc == 0 && br.alias[strlen(ALIAS_EGRESS)] == '0')
		rc = sysctl_write(IP_FORWARD, '0', e);
	return rc;
}

void egress_forget_all(struct overlay *o)
{
	struct leg *leg, *tmp;

	HASH_ITER (hh, o->legs, leg, tmp)
		leg_forget(o, leg);
}
