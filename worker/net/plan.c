// SPDX-License-Identifier: Apache-2.0
/* A task's own network: a copy of what it needs, made on the loop, carried out by its jobs on the pool. Each call
 * declares first, so what the kernel refuses now is tried again by the overlay; the first error is told. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "worker/net/internal.h"

struct net_plan {
	struct net *n;
	char netns[128], task_id[ID_LEN + 1];
	struct overlay_port *ports;
	size_t n_ports;
	bool egress;
	pid_t pid;
};

static void plan_port(struct net_plan *p, const Gs__SlotAddress *a, const Gs__Task *task)
{
	struct overlay_port *port = &p->ports[p->n_ports];

	snprintf(port->netns, sizeof(port->netns), "%s", p->netns);
	snprintf(port->owner, sizeof(port->owner), "%s", p->task_id);
	snprintf(port->id, sizeof(port->id), "%s.%s", a->network_id, task->slot_id);
	snprintf(port->network_id, sizeof(port->network_id), "%s", a->network_id);
	snprintf(port->ifname, sizeof(port->ifname), "eth%zu", p->n_ports);
	net_ip_fill(&port->ip, &a->addr->ip, a->addr->prefix);
	memcpy(port->mac, a->mac.data, 6);
	p->n_ports++;
}

/* A task on internal networks alone has no way out; one more network that is not internal gives it one. */
struct net_plan *net_plan_new(struct net *n, const Gs__Task *task)
{
	struct net_plan *p = xcalloc(1, sizeof(*p));
	size_t internal = 0;

	p->n = n;
	snprintf(p->netns, sizeof(p->netns), "%s", task->name);
	snprintf(p->task_id, sizeof(p->task_id), "%s", task->meta->id);
	p->ports = xcalloc(task->n_addresses + 1, sizeof(*p->ports));
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];
		const struct network *net = net_find(n, a->network_id);

		if (!a->addr || a->mac.len != 6)
			continue;
		internal += net && net->internal;
		plan_port(p, a, task);
	}
	p->egress = p->n_ports == 0 || internal < p->n_ports;
	return p;
}

void net_plan_free(struct net_plan *p)
{
	free(p->ports);
	free(p);
}

void net_plan_process(struct net_plan *p, pid_t pid)
{
	p->pid = pid;
}

/* Keeps the first error, and goes on: each call declares what it is about. */
static void attach_note(struct err *e, int rc, const struct err *one, const char *netns)
{
	if (rc == 0 || e->code != 0)
		return;
	*e = *one;
	err_wrap(e, "network of %s", netns);
}

int net_attach(struct net_plan *p, struct err *e)
{
	struct overlay *o = p->n->overlay;
	struct err one = {0};

	attach_note(e, overlay_netns_create(o, p->netns, p->task_id, p->pid, &one), &one, p->netns);
	for (size_t i = 0; i < p->n_ports; i++)
		attach_note(e, overlay_attach(o, &p->ports[i], &one), &one, p->netns);
	if (p->egress)
		attach_note(e, overlay_egress_attach(o, p->netns, p->task_id, &one), &one, p->netns);
	return e->code;
}

void net_detach(struct net_plan *p)
{
	struct overlay *o = p->n->overlay;

	overlay_egress_detach(o, p->task_id, NULL);
	for (size_t i = 0; i < p->n_ports; i++)
		overlay_detach(o, p->ports[i].id, p->task_id, NULL);
	overlay_netns_remove(o, p->netns, p->task_id, NULL);
}
