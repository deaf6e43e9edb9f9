// SPDX-License-Identifier: Apache-2.0
/* The happy path is: gswarm0 with the first address of a subnet that nothing on this host touches, forwarding
 * on, our nft table; per task a veth pair whose host end is an isolated port of gswarm0 and carries, as its
 * alias, the address, namespace and id of the leg. These aliases and gswarm0's own address are the only memory
 * of the pool, so a restarted process continues where the last one was. What can fail is: somebody else's
 * gswarm0 or gw0 (an error), or a full pool.
 *
 * Forwarding. A host whose ip_forward is 1 was made a router by somebody, and we change nothing. Else the
 * links that are up are made to forward one by one, ip_forward stays 0, and a rule drops what such a link
 * would forward elsewhere than to gswarm0. Which links these are stands in gswarm0's alias, written before
 * the deed; they are put back when everything is removed, unless ip_forward is 1 by then: whoever came since
 * (Docker sets it) counts on all links. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/kernel/links.h"
#include "overlay/reap.h"
#include "overlay/kernel/routes.h"

#define EGRESS_MTU 1500
#define CONF "/proc/sys/net/ipv4/conf/"
#define IP_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define RP_FILTER CONF NAME_EGRESS_BRIDGE "/rp_filter"

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

static void forwarding_path(const char *link, char ret_path[128])
{
	snprintf(ret_path, 128, CONF "%s/forwarding", link);
}

static bool is_our_bridge(const struct link *l)
{
	return strcmp(l->kind, "bridge") == 0 && strncmp(l->alias, ALIAS_EGRESS, strlen(ALIAS_EGRESS)) == 0;
}

/* ---- forwarding ---- */

static void turned_on_format(const struct egress *g, char ret_alias[ALIAS_MAX])
{
	size_t len = (size_t)snprintf(ret_alias, ALIAS_MAX, "%s", ALIAS_FORWARDING);

	for (size_t i = 0; i < g->n_turned_on; i++) {
		len += (size_t)snprintf(ret_alias + len, ALIAS_MAX - len, "%s%s", i ? "," : "",
					g->turned_on[i]);
		bug_if(len >= ALIAS_MAX); /* TURNED_ON_MAX is chosen so */
	}
}

static void turned_on_parse(struct egress *g, const char *alias)
{
	const char *p = alias + strlen(ALIAS_FORWARDING);

	g->n_turned_on = 0;
	if (strncmp(alias, ALIAS_FORWARDING, strlen(ALIAS_FORWARDING)) != 0)
		return;
	for (; *p && g->n_turned_on < TURNED_ON_MAX; p += p[strcspn(p, ",")] ? 1 : 0) {
		size_t n = strcspn(p, ",");

		if (n > 0 && n < NAME_MAX_LEN)
			snprintf(g->turned_on[g->n_turned_on++], NAME_MAX_LEN, "%.*s", (int)n, p);
		p += n;
	}
}

static bool is_turned_on(const struct egress *g, const char *link)
{
	for (size_t i = 0; i < g->n_turned_on; i++)
		if (strcmp(g->turned_on[i], link) == 0)
			return true;
	return false;
}

static int remember_turned_on(struct overlay *o, struct err *e)
{
	char alias[ALIAS_MAX];
	struct nl_batch b = {0};

	turned_on_format(&o->egress, alias);
	nl_put_text(link_change(&b, o->egress.index, NULL, false), IFLA_IFALIAS, alias);
	return nl_batch_run(&o->host.nl, &b, e);
}

static bool may_carry_answers(const struct link *l)
{
	return link_is_up(l) && l->master == 0 && strcmp(l->name, "lo") != 0 &&
	       strncmp(l->alias, "gswarm:", 7) != 0;
}

/* Links that do not forward though answers to our tasks may come in there, and links that are gone. */
static void review_turned_on(struct overlay *o, const struct links *links)
{
	struct egress *g = &o->egress, old = *g;
	char path[128];

	g->n_turned_on = 0;
	for (size_t i = 0; i < links->n && g->n_turned_on < TURNED_ON_MAX; i++) {
		const struct link *l = &links->list[i];

		if (!may_carry_answers(l))
			continue;
		forwarding_path(l->name, path);
		if (is_turned_on(&old, l->name) || sysctl_read(path) == '0')
			snprintf(g->turned_on[g->n_turned_on++], NAME_MAX_LEN, "%s", l->name);
	}
}

static bool has_same_links(const struct egress *a, const struct egress *b)
{
	if (a->n_turned_on != b->n_turned_on)
		return false;
	for (size_t i = 0; i < a->n_turned_on; i++)
		if (strcmp(a->turned_on[i], b->turned_on[i]) != 0)
			return false;
	return true;
}

/* What the list of links is to be; the kernel is asked only when this host is no router. */
static int review(struct overlay *o, struct err *e)
{
	struct links links;
	int rc;

	if (sysctl_read(IP_FORWARD) == '1') {
		o->egress.n_turned_on = 0;
		return 0;
	}
	rc = links_dump(&o->host.nl, &links, e);
	if (rc < 0)
		return rc;
	review_turned_on(o, &links);
	links_fini(&links);
	return 0;
}

/* The memory first, then the rule that keeps others from using it, then the deed. */
static int turn_on(struct overlay *o, struct err *e)
{
	struct egress *g = &o->egress, old = *g;
	char path[128];
	int rc = review(o, e);

	if (rc == 0 && !has_same_links(g, &old)) {
		work_want(&o->rules.work);
		rc = remember_turned_on(o, e);
		if (rc < 0) /* it still says what it said */
			memcpy(g->turned_on, old.turned_on, sizeof(old.turned_on));
		if (rc < 0)
			g->n_turned_on = old.n_turned_on;
	}
	if (rc == 0)
		rc = rules_ensure(o, e);
	for (size_t i = 0; rc == 0 && i < g->n_turned_on; i++) {
		forwarding_path(g->turned_on[i], path);
		if (sysctl_read(path) == '0')
			rc = sysctl_write(path, '1', e);
	}
	return rc;
}

static bool is_forwarding_right(const struct overlay *o)
{
	const struct egress *g = &o->egress;
	bool router = sysctl_read(IP_FORWARD) == '1';
	char path[128];

	forwarding_path(NAME_EGRESS_BRIDGE, path);
	if (sysctl_read(path) != '1' || (router && g->n_turned_on > 0))
		return false;
	for (size_t i = 0; i < g->n_turned_on; i++) {
		forwarding_path(g->turned_on[i], path);
		if (sysctl_read(path) != '1')
			return false;
	}
	return true;
}

/* A link that came since, and does not forward. */
static bool has_new_link(struct overlay *o, const struct links *links)
{
	char path[128];

	if (sysctl_read(IP_FORWARD) == '1')
		return false;
	for (size_t i = 0; i < links->n; i++) {
		forwarding_path(links->list[i].name, path);
		if (may_carry_answers(&links->list[i]) && !is_turned_on(&o->egress, links->list[i].name) &&
		    sysctl_read(path) == '0' && o->egress.n_turned_on < TURNED_ON_MAX)
			return true;
	}
	return false;
}

/* A link that is gone needs nothing. */
static int turn_off(struct overlay *o, struct err *e)
{
	struct egress *g = &o->egress;
	char path[128];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < g->n_turned_on && sysctl_read(IP_FORWARD) == '0'; i++) {
		forwarding_path(g->turned_on[i], path);
		if (access(path, F_OK) == 0)
			rc = sysctl_write(path, '0', e);
	}
	if (rc == 0)
		g->n_turned_on = 0;
	return rc;
}

/* ---- gswarm0 ---- */

/* Made and marked in one send: never there without its mark. */
static int make_bridge(struct overlay *o, struct err *e)
{
	const uint8_t *a = o->egress.subnet.bytes;
	const uint8_t mac[6] = {0x06, 0x67, a[0], a[1], 0xff, 0xff}; /* a leg's ends in its address */
	struct nl_batch b = {0};

	link_add_bridge(&b, NAME_EGRESS_BRIDGE, EGRESS_MTU, mac);
	nl_put_text(link_change(&b, 0, NAME_EGRESS_BRIDGE, false), IFLA_IFALIAS, ALIAS_FORWARDING);
	return nl_batch_run(&o->host.nl, &b, e);
}

static int set_up_bridge(struct overlay *o, struct err *e)
{
	struct nl_batch b = {0};
	struct overlay_ip gateway;
	char path[128];
	int rc;

	if (!ip_nth(&o->egress.subnet, 1, &gateway))
		return err_set(e, E_INVALID, "egress subnet is too small");
	link_change(&b, o->egress.index, NULL, true);
	addr_add(&b, o->egress.index, &gateway);
	rc = nl_batch_run(&o->host.nl, &b, e);
	if (rc == 0)
		rc = sysctl_write(RP_FILTER, '1', e);
	if (rc == 0)
		rc = turn_on(o, e);
	forwarding_path(NAME_EGRESS_BRIDGE, path);
	if (rc == 0 && sysctl_read(path) != '1')
		rc = sysctl_write(path, '1', e);
	return rc;
}

static int find_or_make_bridge(struct overlay *o, struct err *e)
{
	struct link br;
	int rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);

	if (rc == -ENODEV) {
		if (o->egress.subnet.len == 0) {
			rc = underlay_pick_subnet(o, &o->egress.subnet, e);
			if (rc < 0)
				return rc;
			work_want(&o->rules.work);
		}
		rc = make_bridge(o, e);
		if (rc == 0)
			rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);
	}
	if (rc < 0)
		return rc;
	if (!is_our_bridge(&br))
		return err_set(e, E_EXISTS, "link %s exists and is not ours: remove or rename it",
			       NAME_EGRESS_BRIDGE);
	o->egress.index = br.index;
	return 0;
}

int egress_ensure(struct overlay *o, struct err *e)
{
	struct egress *g = &o->egress;
	int rc;

	if (work_is(&g->work, WORK_SETTLED))
		return 0;
	work_want(&g->work);
	rc = find_or_make_bridge(o, e);
	if (rc == 0 && g->subnet.len == 0) { /* made by a process that ended before it gave an address */
		rc = underlay_pick_subnet(o, &g->subnet, e);
		work_want(&o->rules.work);
	}
	if (rc == 0)
		rc = set_up_bridge(o, e);
	if (rc < 0) {
		work_failed(&g->work, overlay_now_ms());
		return err_wrap(e, "egress bridge");
	}
	work_done(&g->work, overlay_now_ms());
	return 0;
}

static bool is_bridge_right(struct overlay *o)
{
	struct overlay_ip gateway;
	struct routes_view view;
	struct links links;
	struct link br;
	bool complete;

	if (link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, NULL) < 0 || br.index != o->egress.index ||
	    !link_is_up(&br) || !ip_nth(&o->egress.subnet, 1, &gateway) ||
	    routes_view_get(&o->host.nl, br.index, &gateway, NULL, &view, NULL) < 0 || !view.has_address ||
	    !is_forwarding_right(o) || links_dump(&o->host.nl, &links, NULL) < 0)
		return false;
	complete = !has_new_link(o, &links);
	for (size_t i = 0; i < links.n; i++)
		if (links.list[i].group == REAP_GROUP)
			reap_group(o, &o->host); /* its deletion was refused */
	links_fini(&links);
	return complete;
}

int egress_check(struct overlay *o, unsigned *repairs, struct err *e)
{
	struct egress *g = &o->egress;
	struct leg *leg;

	if (!work_take(&g->work, overlay_now_ms()))
		return 0;
	if (work_is(&g->work, WORK_SUSPECT)) {
		int before = g->index;

		if (is_bridge_right(o)) {
			work_done(&g->work, overlay_now_ms());
			return 0;
		}
		(*repairs)++;
		if (egress_ensure(o, e) < 0)
			return e ? e->code : -EIO;
		for (leg = o->legs; leg && g->index != before; leg = leg->hh.next)
			work_suspect(&leg->work); /* they went with it */
		return 0;
	}
	return egress_ensure(o, e);
}

/* ---- legs ---- */

struct leg *leg_find(struct overlay *o, const char *id)
{
	struct leg *leg;

	HASH_FIND(hh, o->legs, id, strlen(id), leg);
	return leg;
}

static struct leg *leg_add(struct overlay *o, const struct leg_alias *mark)
{
	struct leg *leg = xcalloc(1, sizeof(*leg));

	leg->mark = *mark;
	work_init(&leg->work, leg->mark.id);
	HASH_ADD_KEYPTR(hh, o->legs, leg->mark.id, strlen(leg->mark.id), leg);
	return leg;
}

static void leg_forget(struct overlay *o, struct leg *leg)
{
	bug_if(leg_find(o, leg->mark.id) != leg);
	HASH_DEL(o->legs, leg);
	free(leg);
}

/* An earlier process gave gswarm0 the first address of its subnet. */
static int load_bridge(struct overlay *o, const struct link *br, struct err *e)
{
	if (!is_our_bridge(br))
		return 0;
	o->egress.index = br->index;
	turned_on_parse(&o->egress, br->alias);
	work_want(&o->egress.work);
	return underlay_subnet_of(o, br->index, &o->egress.subnet, e);
}

int egress_load(struct overlay *o, struct err *e)
{
	struct links links;
	struct leg_alias mark;
	char name[NAME_MAX_LEN];
	int rc = links_dump(&o->host.nl, &links, e);

	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < links.n; i++) {
		if (strcmp(links.list[i].name, NAME_EGRESS_BRIDGE) == 0)
			rc = load_bridge(o, &links.list[i], e);
		if (!leg_alias_parse(links.list[i].alias, &mark))
			continue;
		name_leg(mark.id, name);
		if (strcmp(name, links.list[i].name) == 0 && !leg_find(o, mark.id))
			leg_add(o, &mark);
	}
	links_fini(&links);
	return rc;
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
	struct overlay_ip ip;
	char text[48];

	bug_if(o->egress.subnet.len != 4);
	for (unsigned n = 2; ip_nth(&o->egress.subnet, n, &ip); n++) {
		if (is_used(o, &ip))
			continue;
		*ret = ip;
		return 0;
	}
	return err_set(e, E_EXHAUSTED, "no free address in the egress subnet %s/%u",
		       ip_format(&o->egress.subnet, text), o->egress.subnet.prefix);
}

static int make_leg(struct overlay *o, const struct leg_alias *mark, struct ns *task, struct err *e)
{
	const uint8_t *a = mark->ip.bytes;
	const uint8_t mac[6] = {0x06, 0x67, a[0], a[1], a[2], a[3]};
	char name[NAME_MAX_LEN], alias[ALIAS_MAX];
	const struct veth_spec spec = {.name = name,
				       .peer_name = NAME_EGRESS_LEG,
				       .master_index = o->egress.index,
				       .peer_ns_fd = task->fd,
				       .mtu = EGRESS_MTU,
				       .peer_mac = mac};
	struct nl_batch b = {0};
	struct nl_msg *m;

	bug_if(mark->ip.len != 4 || o->egress.index == 0);
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
	rc = link_get(&task->nl, NAME_EGRESS_LEG, &task_end, e);
	if (rc < 0 && rc != -ENODEV)
		return rc; /* not asked is not missing */
	if (rc < 0 || task_end.peer != host_end.index || host_end.peer != task_end.index ||
	    !ip_is_equal(&found.ip, &mark->ip)) {
		rc = link_delete(&o->host.nl, name, e);
		return rc < 0 ? rc : 1;
	}
	m = link_change(&b, host_end.index, NULL, true);
	nl_put_u32(m, IFLA_MASTER, (uint32_t)o->egress.index);
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
	ip.prefix = o->egress.subnet.prefix;
	ip_nth(&o->egress.subnet, 1, &gateway);
	link_change(&b, l.index, NULL, true);
	addr_add(&b, l.index, &ip);
	route_add_default(&b, l.index, &gateway);
	return nl_batch_run(&task->nl, &b, e);
}

int leg_ensure(struct overlay *o, struct leg *leg, struct err *e)
{
	const struct leg_alias *mark = &leg->mark;
	struct ns *task;
	int rc = egress_ensure(o, e);

	if (rc == 0 && mark->ip.len == 0)
		rc = lowest_free(o, &leg->mark.ip, e);
	if (rc == 0)
		rc = ns_get(o, mark->netns, &task, e);
	if (rc == 0)
		rc = adopt_leg(o, mark, task, e);
	if (rc == 1) {
		rc = make_leg(o, mark, task, e);
		if (rc == -EEXIST)
			rc = err_set(e, E_EXISTS, "%s in namespace %s is not ours", NAME_EGRESS_LEG,
				     mark->netns);
		else if (rc == -EXFULL)
			rc = err_set(
				e, E_EXHAUSTED,
				"%s is full: a host has room for 1,023 tasks with a way out (others need "
				"networks that are all --internal)",
				NAME_EGRESS_BRIDGE);
	}
	if (rc == 0)
		rc = finish_leg(o, mark, task, e);
	return rc < 0 ? err_wrap(e, "egress of %s", mark->netns) : 0;
}

/* The address that the kernel remembers for this id stays; a new leg takes one when it is made. */
struct leg *leg_declare(struct overlay *o, const char *netns, const char *id)
{
	struct leg *leg = leg_find(o, id);
	struct leg_alias mark = {0};

	if (!leg) {
		snprintf(mark.id, sizeof(mark.id), "%s", id);
		leg = leg_add(o, &mark);
	}
	snprintf(leg->mark.netns, sizeof(leg->mark.netns), "%s", netns);
	leg->declared = true;
	work_want(&leg->work);
	return leg;
}

int leg_delete(struct overlay *o, struct leg *leg, struct err *e)
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

bool leg_is_right(struct overlay *o, const struct leg_alias *mark)
{
	char name[NAME_MAX_LEN];
	struct link host_end, task_end;
	struct overlay_ip ip = mark->ip, gateway;
	struct routes_view view;
	struct ns *task;

	name_leg(mark->id, name);
	ip.prefix = o->egress.subnet.prefix;
	ip_nth(&o->egress.subnet, 1, &gateway);
	if (ns_get(o, mark->netns, &task, NULL) < 0 || link_get(&o->host.nl, name, &host_end, NULL) < 0 ||
	    link_get(&task->nl, NAME_EGRESS_LEG, &task_end, NULL) < 0)
		return false;
	if (host_end.master != o->egress.index || !host_end.port.isolated || !link_is_up(&host_end) ||
	    !link_is_up(&task_end) || host_end.peer != task_end.index || task_end.peer != host_end.index)
		return false;
	return routes_view_get(&task->nl, task_end.index, &ip, &gateway, &view, NULL) == 0 &&
	       view.has_address && view.has_default;
}

static int remove_bridge(struct overlay *o, struct err *e)
{
	struct link br;
	int rc = link_get(&o->host.nl, NAME_EGRESS_BRIDGE, &br, e);

	if (rc < 0)
		return rc == -ENODEV ? 0 : rc;
	if (!is_our_bridge(&br))
		return 0;
	turned_on_parse(&o->egress, br.alias);
	rc = turn_off(o, e);
	return rc < 0 ? rc : link_delete(&o->host.nl, NAME_EGRESS_BRIDGE, e);
}

int egress_remove_all(struct overlay *o, struct err *e)
{
	struct leg *leg, *tmp;
	int rc = egress_load(o, e);

	HASH_ITER (hh, o->legs, leg, tmp) {
		if (rc == 0)
			rc = leg_delete(o, leg, e);
	}
	reap_group(o, &o->host);
	if (rc == 0)
		rc = remove_bridge(o, e);
	if (rc < 0)
		return rc;
	o->egress.index = 0;
	o->egress.subnet = (struct overlay_ip){0};
	work_gone(&o->egress.work);
	return 0;
}

void egress_forget_all(struct overlay *o)
{
	struct leg *leg, *tmp;

	HASH_ITER (hh, o->legs, leg, tmp)
		leg_forget(o, leg);
}
