// SPDX-License-Identifier: Apache-2.0
/* The happy path is: namespace, bridge, vxlan device born inside it with its UDP socket in the host's
 * namespace, port flags, up, then the entries of every endpoint known so far. What can fail is: the VNI is
 * taken, by a device of ours whose network is gone (it is replaced) or by somebody else's (an error); the
 * namespace's name is taken (an error). Each step looks at what is there, so a call after a crash completes
 * the rest. */
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"
#include "overlay/kernel/links.h"
#include "overlay/reap.h"

static bool is_vxlan_right(struct overlay *o, const struct network *n, const struct link *vx)
{
	return strcmp(vx->kind, "vxlan") == 0 && vx->vx.vni == n->spec.vni && vx->vx.port == o->cfg.port &&
	       !vx->vx.learning && ip_is_equal(&vx->vx.local, &o->cfg.vtep) && vx->master == n->br_index;
}

/* A vxlan of ours with this VNI in another namespace: its network was removed, or the VNI given away. */
static bool remove_stale(struct overlay *o, const struct network *n)
{
	char **names = ns_names(o), mark[ALIAS_MAX];
	bool removed = false;
	struct link vx;
	struct ns *ns;

	for (size_t i = 0; names[i]; i++) {
		if (strncmp(names[i], "gsn-", 4) != 0 || strcmp(names[i], n->ns_name) == 0)
			continue;
		if (ns_get(o, names[i], &ns, NULL) < 0 || ns_mark(o, ns, mark, NULL) < 0 ||
		    strncmp(mark, ALIAS_NET, strlen(ALIAS_NET)) != 0)
			continue;
		if (link_get(&ns->nl, NAME_VXLAN, &vx, NULL) == 0 && vx.vx.vni == n->spec.vni)
			removed |= link_delete(&ns->nl, NAME_VXLAN, NULL) == 0;
	}
	ns_names_free(names);
	return removed;
}

static int create_vxlan(struct overlay *o, struct network *n, struct ns *ns, struct err *e)
{
	const struct vxlan_spec spec = {.vni = n->spec.vni,
					.mtu = n->spec.mtu,
					.port = o->cfg.port,
					.local = o->cfg.vtep,
					.target_ns_fd = ns->fd,
					.master_index = n->br_index};
	int rc = -EEXIST;

	bug_if(n->spec.vni == 0 || n->br_index == 0);
	for (int try = 0; try < 3 && rc == -EEXIST; try++) {
		struct nl_batch b = {0};

		if (try == 1)
			reap_wait(o); /* the network's own former device may be on its way out */
		else if (try == 2 && !remove_stale(o, n))
			return err_set(
				e, E_EXISTS,
				"VNI %u on port %u is used by a vxlan device that is not ours: remove it "
				"(ip -d link show type vxlan)",
				n->spec.vni, o->cfg.port);
		link_add_vxlan(&b, NAME_VXLAN, &spec);
		rc = nl_batch_run(&o->host.nl, &b, e);
	}
	return rc < 0 ? err_wrap(e, "vxlan device with VNI %u", n->spec.vni) : 0;
}

static int ensure_vxlan(struct overlay *o, struct network *n, struct ns *ns, struct err *e)
{
	struct link vx;
	int rc = link_get(&ns->nl, NAME_VXLAN, &vx, e);

	if (rc == 0 && !is_vxlan_right(o, n, &vx)) {
		rc = link_delete(&ns->nl, NAME_VXLAN, e);
		if (rc == 0)
			rc = -ENODEV;
	}
	if (rc == -ENODEV) {
		rc = create_vxlan(o, n, ns, e);
		if (rc == 0)
			rc = link_get(&ns->nl, NAME_VXLAN, &vx, e);
	}
	if (rc < 0)
		return rc;
	n->vx_index = vx.index;
	return 0;
}

static int ensure_bridge(struct network *n, struct ns *ns, struct err *e)
{
	const uint32_t vni = n->spec.vni;
	const uint8_t mac[6] = {0x06, 0x67, 0x73, (uint8_t)(vni >> 16), (uint8_t)(vni >> 8), (uint8_t)vni};
	struct nl_batch b = {0};
	struct link br;
	int rc = link_get(&ns->nl, NAME_BRIDGE, &br, e);

	if (rc == -ENODEV) {
		link_add_bridge(&b, NAME_BRIDGE, n->spec.mtu, mac);
		rc = nl_batch_run(&ns->nl, &b, e);
		if (rc == 0)
			rc = link_get(&ns->nl, NAME_BRIDGE, &br, e);
	}
	if (rc < 0)
		return err_wrap(e, "bridge");
	n->br_index = br.index;
	return 0;
}

/* Flags before the link goes up, so that no frame of its own ever leaves. */
static int finish_links(struct network *n, struct ns *ns, struct err *e)
{
	struct nl_batch b = {0};
	struct nl_msg *m;

	bug_if(n->br_index == 0 || n->vx_index == 0);
	link_put_addrgen_none(link_change(&b, n->br_index, NULL, false));
	b.tolerate[b.n - 1] = EAFNOSUPPORT; /* a kernel without IPv6 */
	link_put_addrgen_none(link_change(&b, n->vx_index, NULL, false));
	b.tolerate[b.n - 1] = EAFNOSUPPORT;
	m = link_change(&b, n->vx_index, NULL, true);
	nl_put_u32(m, IFLA_MTU, n->spec.mtu);
	link_put_suppressing_port(m);
	nl_put_u32(link_change(&b, n->br_index, NULL, true), IFLA_MTU, n->spec.mtu);
	return nl_batch_run(&ns->nl, &b, e);
}

static void desired_entries(struct overlay *o, const struct network *n, struct fdb_set *ret)
{
	struct endpoint *ep;

	DL_FOREACH (n->endpoints, ep) {
		struct fdb_entry entries[3];

		if (!endpoint_counts(o, &ep->spec))
			continue;
		endpoint_entries(&ep->spec, entries);
		for (size_t i = 0; i < array_size(entries); i++)
			fdb_set_add(ret, &entries[i]);
	}
}

/* Make the entries those of the declared endpoints. What is not declared is deleted, too, once adoption is
 * done: until then it may be merely not declared yet. */
static int sync_entries(struct overlay *o, struct network *n, struct ns *ns, unsigned *changes, struct err *e)
{
	struct fdb_set desired = {0}, observed = {0}, writes = {0}, deletes = {0};
	int rc = fdb_dump(&ns->nl, n->br_index, n->vx_index, &observed, e);

	if (rc == 0) {
		desired_entries(o, n, &desired);
		fdb_diff(&desired, &observed, &writes, &deletes);
		if (o->adopted && deletes.n)
			rc = fdb_write(&ns->nl, n->br_index, n->vx_index, &deletes, false, e);
		if (rc == 0)
			rc = fdb_write(&ns->nl, n->br_index, n->vx_index, &writes, true, e);
		*changes += (unsigned)(writes.n + (o->adopted ? deletes.n : 0));
	}
	if (rc == 0)
		n->changes.n = 0; /* whatever was noted is among them */
	fdb_set_fini(&desired);
	fdb_set_fini(&observed);
	fdb_set_fini(&writes);
	fdb_set_fini(&deletes);
	return rc;
}

int network_flush(struct overlay *o, struct network *n, struct err *e)
{
	struct fdb_set writes = {0}, deletes = {0};
	struct ns *ns;
	int rc;

	if (n->changes.n == 0)
		return 0;
	bug_if(!work_is_there(&n->work) || n->vx_index == 0);
	fdb_changes_take(&n->changes, &writes, &deletes);
	rc = ns_get(o, n->ns_name, &ns, e);
	if (rc == 0 && deletes.n)
		rc = fdb_write(&ns->nl, n->br_index, n->vx_index, &deletes, false, e);
	if (rc == 0)
		rc = fdb_write(&ns->nl, n->br_index, n->vx_index, &writes, true, e);
	fdb_set_fini(&writes);
	fdb_set_fini(&deletes);
	if (rc < 0) {
		work_suspect(&n->work);
		return err_wrap(e, "network %s", n->spec.id);
	}
	return 0;
}

int network_ensure(struct overlay *o, struct network *n, struct err *e)
{
	char mark[ALIAS_MAX];
	unsigned changes = 0;
	struct ns *ns;
	int rc;

	if (work_is(&n->work, WORK_SETTLED) || work_is(&n->work, WORK_SUSPECT))
		return 0;
	bug_if(!network_is_wanted(n));
	snprintf(mark, sizeof(mark), ALIAS_NET "%s", n->spec.id);
	rc = rules_ensure(o, e);
	if (rc == 0)
		rc = ns_create(o, n->ns_name, mark, 0, e);
	if (rc == 0)
		rc = ns_get(o, n->ns_name, &ns, e);
	if (rc == 0)
		rc = ensure_bridge(n, ns, e);
	if (rc == 0)
		rc = ensure_vxlan(o, n, ns, e);
	if (rc == 0)
		rc = finish_links(n, ns, e);
	if (rc == 0)
		rc = sync_entries(o, n, ns, &changes, e);
	if (rc < 0)
		return err_wrap(e, "network %s", n->spec.id);
	work_done(&n->work, overlay_now_ms());
	return 0;
}

void network_dismantle(struct ns *ns)
{
	struct links links;

	if (links_dump(&ns->nl, &links, NULL) < 0)
		return;
	for (size_t i = 0; i < links.n; i++)
		if (strcmp(links.list[i].kind, "veth") == 0 || strcmp(links.list[i].kind, "vxlan") == 0)
			(void)link_delete(&ns->nl, links.list[i].name, NULL);
	links_fini(&links);
}

/* The vxlan device first: the kernel takes a namespace apart in its own time, and until then the VNI would be
 * taken. */
int network_destroy(struct overlay *o, const char *ns_name, struct err *e)
{
	struct ns *ns;
	int rc = ns_get(o, ns_name, &ns, e);
	char mark[ALIAS_MAX];

	if (rc == E_NOT_FOUND) {
		err_forgive(e);
		return ns_remove(o, ns_name, ALIAS_NET, e);
	}
	if (rc == 0)
		rc = ns_mark(o, ns, mark, e);
	if (rc == 0 && strncmp(mark, ALIAS_NET, strlen(ALIAS_NET)) == 0)
		rc = reap_link(o, ns, NAME_VXLAN, e);
	return rc < 0 ? rc : ns_remove(o, ns_name, ALIAS_NET, e);
}

/* Device or bridge missing or of another make: build again what is not there. */
static bool has_right_devices(struct overlay *o, struct network *n, const struct links *links)
{
	const struct link *br = links_find(links, NAME_BRIDGE), *vx = links_find(links, NAME_VXLAN);

	return br && vx && br->index == n->br_index && vx->index == n->vx_index && is_vxlan_right(o, n, vx);
}

static bool has_right_flags(const struct network *n, const struct links *links)
{
	const struct link *br = links_find(links, NAME_BRIDGE), *vx = links_find(links, NAME_VXLAN);

	return link_is_up(br) && link_is_up(vx) && vx->mtu == n->spec.mtu && br->mtu == n->spec.mtu &&
	       vx->port.suppress && !vx->port.learning && !vx->port.flood && !vx->port.mcast_flood &&
	       !vx->port.bcast_flood;
}

static bool is_declared_port(const struct network *n, const char *name)
{
	char own[NAME_MAX_LEN];
	struct port *p;

	DL_FOREACH (n->ports, p) {
		name_port(p->spec.id, own);
		if (strcmp(own, name) == 0)
			return true;
	}
	return false;
}

static bool is_stray_port(const struct network *n, const struct link *l)
{
	return l->name[0] == 'p' && strcmp(l->kind, "veth") == 0 && !is_declared_port(n, l->name);
}

int network_reap(struct overlay *o, struct network *n, unsigned *repairs, struct err *e)
{
	struct links links;
	struct ns *ns;
	int rc;

	bug_if(!o->adopted || !work_is(&n->work, WORK_SETTLED));
	rc = ns_get(o, n->ns_name, &ns, e);
	if (rc == 0)
		rc = links_dump(&ns->nl, &links, e);
	if (rc < 0)
		return err_wrap(e, "network %s", n->spec.id);
	for (size_t i = 0; rc == 0 && i < links.n; i++) {
		if (links.list[i].group == REAP_GROUP) {
			reap_group(o, ns);
		} else if (is_stray_port(n, &links.list[i])) {
			rc = reap_link(o, ns, links.list[i].name, e);
			(*repairs)++;
		}
	}
	links_fini(&links);
	return rc;
}

static void look_at_ports(struct overlay *o, struct network *n, const struct links *links)
{
	struct port *p;

	for (size_t i = 0; i < links->n; i++)
		n->strays |= links->list[i].group == REAP_GROUP || is_stray_port(n, &links->list[i]);
	DL_FOREACH (n->ports, p)
		if (work_is(&p->work, WORK_SETTLED) && !port_net_end_is_right(o, n, &p->spec, links))
			work_suspect(&p->work);
}

/* Build again what is not there. */
static int rebuild(struct overlay *o, struct network *n, unsigned *repairs, struct err *e)
{
	struct port *p;
	int rc;

	(*repairs)++;
	work_want(&n->work);
	rc = network_ensure(o, n, e);
	DL_FOREACH (n->ports, p)
		work_suspect(&p->work);
	return rc;
}

int network_check(struct overlay *o, struct network *n, unsigned *repairs, struct err *e)
{
	struct links links = {0};
	struct ns *ns;
	int rc = ns_get(o, n->ns_name, &ns, e);

	if (rc == 0)
		rc = links_dump(&ns->nl, &links, e);
	if (rc == E_NOT_FOUND || (rc == 0 && !has_right_devices(o, n, &links))) {
		links_fini(&links);
		return rebuild(o, n, repairs, e);
	}
	if (rc == 0 && !has_right_flags(n, &links)) {
		(*repairs)++;
		rc = finish_links(n, ns, e);
	}
	if (rc == 0)
		rc = sync_entries(o, n, ns, repairs, e);
	if (rc == 0)
		look_at_ports(o, n, &links);
	links_fini(&links);
	if (rc < 0)
		return err_wrap(e, "network %s", n->spec.id);
	work_done(&n->work, overlay_now_ms());
	return 0;
}
