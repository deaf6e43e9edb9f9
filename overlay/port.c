// SPDX-License-Identifier: Apache-2.0
/* The happy path is: one request makes the pair (the network's end enslaved and up, the task's end born in
 * its namespace with its name and MAC), one sets the task's end up with its address. What can fail is: the
 * network's end exists. When its other half is the task's end, both are adopted and set right; else it is a
 * leftover of an earlier task in this slot and is made anew. An interface of the wanted name in the task that
 * is not our pair belongs to somebody else: an error. */
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>

#include "base/bug.h"
#include "overlay/internal.h"
#include "overlay/kernel/links.h"
#include "overlay/reap.h"
#include "overlay/kernel/routes.h"

struct pair {
	struct network *n;
	const struct overlay_port *p;
	struct ns *net, *task;
	char name[NAME_MAX_LEN];
	struct overlay_ip ip; /* with the prefix of the network when it has none */
};

static int make_pair(struct pair *pr, struct err *e)
{
	const struct veth_spec spec = {.name = pr->name,
				       .peer_name = pr->p->ifname,
				       .master_index = pr->n->br_index,
				       .peer_ns_fd = pr->task->fd,
				       .mtu = pr->n->spec.mtu,
				       .peer_mac = pr->p->mac};
	struct nl_batch b = {0};

	bug_if(pr->n->br_index == 0 || pr->task->fd < 0);
	link_add_veth(&b, &spec);
	return nl_batch_run(&pr->net->nl, &b, e);
}

/* 0: adopted. 1: a leftover was removed, make it again. An end that could not be asked for is not one that is
 * missing: a pair that works is never taken away for that. */
static int adopt_pair(struct pair *pr, struct err *e)
{
	struct link net_end, task_end;
	int has_net = link_get(&pr->net->nl, pr->name, &net_end, e);
	int has_task = link_get(&pr->task->nl, pr->p->ifname, &task_end, has_net == -ENODEV ? e : NULL);
	struct nl_batch b = {0};
	struct nl_msg *m;

	if (has_net < 0 && has_net != -ENODEV)
		return has_net;
	if (has_task < 0 && has_task != -ENODEV)
		return err_set(e, has_task, "cannot look at %s", pr->p->ifname);
	if (has_net < 0 && has_task < 0)
		return 1;
	if (has_net < 0 && reap_is_given_up(pr->net, &task_end, &net_end))
		return link_delete(&pr->net->nl, net_end.name, e) < 0 ? -EBUSY : 1;
	if (has_net < 0)
		return err_set(e, E_EXISTS, "%s in namespace %s is not ours", pr->p->ifname, pr->task->name);
	if (has_task < 0 || !link_is_pair(&net_end, &task_end)) {
		int rc = link_delete(&pr->net->nl, pr->name, e);

		return rc < 0 ? rc : 1;
	}
	m = link_change(&b, net_end.index, NULL, true);
	nl_put_u32(m, IFLA_MASTER, (uint32_t)pr->n->br_index);
	nl_put_u32(m, IFLA_MTU, pr->n->spec.mtu);
	return nl_batch_run(&pr->net->nl, &b, e);
}

static int finish_task_end(struct pair *pr, struct err *e)
{
	struct nl_batch b = {0};
	struct link l;
	struct nl_msg *m;
	int rc = link_get(&pr->task->nl, pr->p->ifname, &l, e);

	if (rc < 0)
		return err_wrap(e, "%s", pr->p->ifname);
	m = link_change(&b, l.index, NULL, true);
	if (l.mtu != pr->n->spec.mtu)
		nl_put_u32(m, IFLA_MTU, pr->n->spec.mtu);
	if (memcmp(l.mac, pr->p->mac, 6) != 0)
		nl_put(m, IFLA_ADDRESS, pr->p->mac, 6);
	addr_add(&b, l.index, &pr->ip);
	return nl_batch_run(&pr->task->nl, &b, e);
}

static int pair_of(struct overlay *o, struct network *n, const struct overlay_port *p, struct pair *ret,
		   struct err *e)
{
	int rc;

	bug_if(n->spec.vni == 0 || strcmp(n->spec.id, p->network_id) != 0);
	*ret = (struct pair){.n = n, .p = p, .ip = p->ip};
	if (ret->ip.prefix == 0)
		ret->ip.prefix = n->spec.subnet.prefix;
	name_port(p->id, ret->name);
	rc = ns_get(o, n->ns_name, &ret->net, e);
	return rc < 0 ? rc : ns_get(o, p->netns, &ret->task, e);
}

int port_ensure(struct overlay *o, struct network *n, const struct overlay_port *p, struct err *e)
{
	struct pair pr;
	int rc = pair_of(o, n, p, &pr, e);

	if (rc == 0)
		rc = make_pair(&pr, e);
	if (rc == -EEXIST) {
		rc = adopt_pair(&pr, e);
		if (rc == 1)
			rc = make_pair(&pr, e);
	}
	if (rc == 0)
		rc = finish_task_end(&pr, e);
	return rc < 0 ? err_wrap(e, "port of %s", p->netns) : 0;
}

bool port_net_end_is_right(struct overlay *o, const struct network *n, const struct overlay_port *p,
			   const struct links *links)
{
	char name[NAME_MAX_LEN];
	const struct link *l;
	struct link asked;
	struct ns *ns;

	name_port(p->id, name);
	if (links) {
		l = links_find(links, name);
	} else {
		if (ns_get(o, n->ns_name, &ns, NULL) < 0 || link_get(&ns->nl, name, &asked, NULL) < 0)
			return false;
		l = &asked;
	}
	return l && l->master == n->br_index && link_is_up(l) && l->mtu == n->spec.mtu;
}

bool port_is_right(struct overlay *o, const struct network *n, const struct overlay_port *p)
{
	struct pair pr;
	struct link net_end, task_end;
	struct routes_view view;

	if (pair_of(o, (struct network *)n, p, &pr, NULL) < 0 ||
	    link_get(&pr.net->nl, pr.name, &net_end, NULL) < 0 ||
	    link_get(&pr.task->nl, p->ifname, &task_end, NULL) < 0 || !link_is_pair(&net_end, &task_end))
		return false;
	if (net_end.master != n->br_index || !link_is_up(&net_end) || net_end.mtu != n->spec.mtu)
		return false;
	if (!link_is_up(&task_end) || task_end.mtu != n->spec.mtu || memcmp(task_end.mac, p->mac, 6) != 0)
		return false;
	return routes_view_get(&pr.task->nl, task_end.index, &pr.ip, NULL, &view, NULL) == 0 &&
	       view.has_address;
}
