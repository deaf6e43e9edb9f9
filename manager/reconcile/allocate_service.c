// SPDX-License-Identifier: Apache-2.0
/* Virtual addresses and published ports of services.
 *
 * The happy path is: a service in endpoint mode vip gets one address per network, from the top of the subnet
 * downwards (slots fill it from the bottom); each published port gets its number, the one that was asked for
 * or the lowest free one of Docker's range. Both are reserved for the service's life. What can fail is
 * that nothing is free or the number is another service's: service.error says so, and its tasks run all the
 * same. */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/reconcile/allocate_internal.h"

#define PORT_FIRST 30000u /* the range Docker Swarm takes automatic ports from */
#define PORT_LAST 32767u

/* ---- virtual addresses ---- */

static Gs__Addr *take_vip(struct alloc *a, const Gs__Network *net, const char *owner)
{
	char text[64];

	for (uint32_t i = subnet_last_host(net->subnet); i >= 2; i--) {
		Gs__Addr *addr = obj_dup(net->subnet);

		ip_add(addr->ip.data, addr->ip.len, i);
		addr_format(&addr->ip, text, sizeof(text));
		if (!(net->spec && obj_bytes_equal(&addr->ip, &net->spec->gateway)) &&
		    reservation_is_free(a, RESERVED_ADDRESS, net->meta->id, text)) {
			reservation_take(a, RESERVED_ADDRESS, net->meta->id, text, addr->ip.data,
					 addr->ip.len, owner);
			return addr;
		}
		obj_free(addr);
	}
	return NULL;
}

static bool has_vip(const Gs__Service *svc, const char *network_id)
{
	for (size_t i = 0; i < svc->n_vips; i++)
		if (strcmp(svc->vips[i]->network_id, network_id) == 0)
			return true;
	return false;
}

static void give_vips(struct alloc *a, const Gs__Service *svc)
{
	const Gs__TaskSpec *t = svc->spec->task;

	for (size_t i = 0; t && i < t->n_networks; i++) {
		const char *id = t->networks[i]->network_id;
		const Gs__Network *net = tx_get(a->tx, OBJ_NETWORK, id);
		Gs__ServiceVip *vip;
		Gs__Service *edit;
		Gs__Addr *addr;

		if (!net || !net->subnet || has_vip(svc, id))
			continue;
		addr = take_vip(a, net, svc->meta->id);
		if (!addr)
			continue;
		vip = obj_new(&gs__service_vip__descriptor);
		str_replace(&vip->network_id, id);
		vip->addr = addr;
		edit = tx_edit(a->tx, OBJ_SERVICE, svc->meta->id);
		obj_add(&edit->n_vips, &edit->vips, vip);
		svc = edit;
	}
}

/* ---- published ports ---- */

static bool take_port(struct alloc *a, const char *protocol, uint32_t port, const char *owner)
{
	uint16_t wire = htons((uint16_t)port);
	char text[16];

	bug_if(port == 0 || port > 65535);
	snprintf(text, sizeof(text), "%u", port);
	if (!reservation_is_free(a, RESERVED_PORT, protocol, text))
		return false;
	reservation_take(a, RESERVED_PORT, protocol, text, &wire, sizeof(wire), owner);
	return true;
}

/* The published number, 0: none is to be had. Mode host asks each node, not the swarm. */
static uint32_t publish(struct alloc *a, const Gs__Port *p, const char *owner)
{
	const char *protocol = port_protocol(p);

	if (!port_is_reserved(p))
		return p->published ? p->published : p->target;
	if (p->published)
		return take_port(a, protocol, p->published, owner) ? p->published : 0;
	for (uint32_t port = PORT_FIRST; port <= PORT_LAST; port++)
		if (take_port(a, protocol, port, owner))
			return port;
	return 0;
}

/* In the order of the spec; a port that is not to be had holds up those behind it. */
static void give_ports(struct alloc *a, const Gs__Service *svc)
{
	while (svc->n_ports < svc->spec->n_ports) {
		const Gs__Port *asked = svc->spec->ports[svc->n_ports];
		uint32_t number = publish(a, asked, svc->meta->id);
		Gs__Service *edit;
		Gs__Port *got;

		if (!number)
			return;
		edit = tx_edit(a->tx, OBJ_SERVICE, svc->meta->id);
		got = obj_dup(edit->spec->ports[edit->n_ports]);
		bug_if(edit->n_ports >= edit->spec->n_ports);
		got->published = number;
		obj_add(&edit->n_ports, &edit->ports, got);
		svc = edit;
	}
}

static bool wants_vip(const Gs__Service *svc)
{
	return strcmp(svc->spec->endpoint_mode, "vip") == 0;
}

char *service_lack(const struct tx *tx, const Gs__Service *svc)
{
	const Gs__TaskSpec *t = svc->spec->task;
	char *rivalry = service_rivalry(tx, svc);

	if (rivalry)
		return rivalry;
	for (size_t i = 0; wants_vip(svc) && t && i < t->n_networks; i++) {
		const Gs__Network *net = tx_get(tx, OBJ_NETWORK, t->networks[i]->network_id);

		if (net && !has_vip(svc, net->meta->id))
			return xasprintf("network %s has no free virtual address", net->spec->name);
	}
	if (svc->n_ports < svc->spec->n_ports) {
		const Gs__Port *p = svc->spec->ports[svc->n_ports];
		const char *protocol = port_protocol(p);

		if (p->published)
			return xasprintf("port %u/%s is published by another service", p->published,
					 protocol);
		return xasprintf("no free %s port from %u to %u", protocol, PORT_FIRST, PORT_LAST);
	}
	return xstrdup("");
}

void allocate_services(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_SERVICE, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Service *svc = rows[i];

		if (!svc->spec || svc->meta->deleting)
			continue;
		if (wants_vip(svc))
			give_vips(a, svc);
		give_ports(a, tx_get(a->tx, OBJ_SERVICE, svc->meta->id));
	}
}
