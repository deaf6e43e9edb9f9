// SPDX-License-Identifier: Apache-2.0
/* Rows of the store, as they are assigned: each becomes a declaration to the overlay and is kept as far as names and
 * readiness need it. What is malformed is logged or passed over; the next one of the same id replaces it. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "worker/net/internal.h"

void net_ip_fill(struct overlay_ip *ret, const ProtobufCBinaryData *ip, uint32_t prefix)
{
	*ret = (struct overlay_ip){.prefix = (uint8_t)prefix};
	if (ip->len == 4 || ip->len == 16) {
		memcpy(ret->bytes, ip->data, ip->len);
		ret->len = (uint8_t)ip->len;
	}
}

int net_ip_of(const char *text, struct overlay_ip *ret, uint8_t prefix)
{
	*ret = (struct overlay_ip){.prefix = prefix};
	ret->len = (uint8_t)addr_bytes(text, ret->bytes);
	return ret->len != 0 ? 0 : -1;
}

struct network *net_find(const struct net *n, const char *id)
{
	struct network *net;

	HASH_FIND_STR(n->nets, id, net);
	return net;
}

static struct network *network_get(struct net *n, const char *id)
{
	struct network *net = net_find(n, id);

	if (net)
		return net;
	net = xcalloc(1, sizeof(*net));
	snprintf(net->id, sizeof(net->id), "%s", id);
	HASH_ADD_STR(n->nets, id, net);
	return net;
}

static void network_review(struct net *n, struct network *net)
{
	if (net->declared || net->eps)
		return;
	HASH_DEL(n->nets, net);
	free(net);
}

void net_network_set(struct net *n, const Gs__Network *row)
{
	struct overlay_network o = {0};
	struct err e = {0};
	struct network *net;

	if (!row->meta || !row->subnet || !id_is_valid(row->meta->id))
		return; /* not allocated yet: it comes again */
	snprintf(o.id, sizeof(o.id), "%s", row->meta->id);
	o.vni = row->vni;
	o.mtu = row->mtu;
	o.generation = obj_content_version(row);
	net_ip_fill(&o.subnet, &row->subnet->ip, row->subnet->prefix);
	net = network_get(n, row->meta->id);
	net->internal = row->spec && row->spec->internal;
	net->marked = true;
	if (net->declared && memcmp(&net->o, &o, sizeof(o)) == 0)
		return;
	net->o = o;
	net->declared = true;
	if (overlay_network_set(n->overlay, &o, &e) < 0)
		log_warn("overlay: %s", e.msg);
	net_pass_soon(n, 0);
	if (n->above.came)
		n->above.came(n->above.arg);
}

void net_network_remove(struct net *n, const char *network_id)
{
	struct network *net = net_find(n, network_id);

	if (!net || !net->declared)
		return;
	net->declared = false;
	overlay_network_remove(n->overlay, network_id);
	network_review(n, net);
	net_pass_soon(n, 0);
}

static struct ep *ep_find(const struct net *n, const char *id)
{
	struct ep *ep;

	HASH_FIND_STR(n->eps, id, ep);
	return ep;
}

static struct ep *ep_get(struct net *n, const Gs__Endpoint *row)
{
	struct ep *ep = ep_find(n, row->meta->id);

	if (!ep) {
		ep = xcalloc(1, sizeof(*ep));
		snprintf(ep->id, sizeof(ep->id), "%s", row->meta->id);
		HASH_ADD_STR(n->eps, id, ep);
	} else if (strcmp(ep->net->id, row->network_id) == 0) {
		return ep;
	} else {
		net_hosts_changed(n, ep->net);
		DL_DELETE(ep->net->eps, ep);
		network_review(n, ep->net);
		*ep->ip = '\0'; /* it is new where it comes to */
	}
	ep->net = network_get(n, row->network_id);
	DL_APPEND(ep->net->eps, ep);
	return ep;
}

static void ep_declare(struct net *n, const Gs__Endpoint *row)
{
	struct overlay_endpoint o = {.generation = row->generation};
	struct err e = {0};

	if (row->vtep_ip.len == 0)
		return; /* not placed: an address without a place */
	snprintf(o.id, sizeof(o.id), "%s", row->meta->id);
	snprintf(o.network_id, sizeof(o.network_id), "%s", row->network_id);
	net_ip_fill(&o.ip, &row->addr->ip, row->addr->prefix);
	net_ip_fill(&o.vtep, &row->vtep_ip, 32);
	memcpy(o.mac, row->mac.data, 6);
	if (overlay_endpoint_set(n->overlay, &o, &e) < 0)
		log_warn("overlay: %s", e.msg);
	net_pass_soon(n, 0);
}

void net_endpoint_set(struct net *n, const Gs__Endpoint *row)
{
	char ip[INET6_ADDRSTRLEN];
	struct ep *ep;

	if (!row->meta || !row->addr || row->mac.len != 6 || !id_is_valid(row->network_id))
		return;
	ep = ep_get(n, row);
	ep->marked = true;
	if (ep->version == row->meta->version)
		return;
	ep->version = row->meta->version;
	addr_format(&row->addr->ip, ip, sizeof(ip));
	if (strcmp(ep->ip, ip) != 0 || strncmp(ep->name, row->name, sizeof(ep->name) - 1) != 0) {
		snprintf(ep->name, sizeof(ep->name), "%s", row->name);
		snprintf(ep->ip, sizeof(ep->ip), "%s", ip);
		net_hosts_changed(n, ep->net);
	}
	ep_declare(n, row);
}

static void ep_drop(struct net *n, struct ep *ep)
{
	struct network *net = ep->net;

	overlay_endpoint_remove(n->overlay, ep->id);
	net_hosts_changed(n, net);
	HASH_DEL(n->eps, ep);
	DL_DELETE(net->eps, ep);
	network_review(n, net);
	free(ep);
	net_pass_soon(n, 0);
}

void net_endpoint_remove(struct net *n, const char *id)
{
	struct ep *ep = ep_find(n, id);

	if (ep)
		ep_drop(n, ep);
}

void net_pool_set(struct net *n, const char *pool)
{
	struct overlay_ip ip = {0};
	Gs__Addr *addr = NULL;

	if (addr_parse_cidr(pool, &addr, NULL) < 0)
		return;
	net_ip_fill(&ip, &addr->ip, addr->prefix);
	obj_free(addr);
	overlay_egress_pool_set(n->overlay, &ip);
}

void net_guard_set(struct net *n, const char *const *services, size_t n_services)
{
	struct overlay_service *list = xcalloc(n_services + 1, sizeof(*list));
	size_t n_list = 0;
	char host[64];

	for (size_t i = 0; i < n_services; i++) {
		struct overlay_service *s = &list[n_list];

		if (hostport_parse(services[i], MANAGER_PORT, host, sizeof(host), &s->port, NULL) == 0 &&
		    net_ip_of(host, &s->ip, 32) == 0)
			n_list++;
	}
	overlay_guard_set(n->overlay, list, n_list);
	free(list);
	net_pass_soon(n, 0);
}

void net_set_begin(struct net *n)
{
	n->in_set = true;
	for (struct network *net = n->nets; net; net = net->hh.next)
		net->marked = false;
	for (struct ep *ep = n->eps; ep; ep = ep->hh.next)
		ep->marked = false;
}

void net_set_end(struct net *n)
{
	struct network *net, *net_tmp;
	struct ep *ep, *ep_tmp;
	bool in_set = n->in_set;

	n->in_set = false;
	HASH_ITER (hh, n->eps, ep, ep_tmp) {
		if (in_set && !ep->marked)
			ep_drop(n, ep);
	}
	HASH_ITER (hh, n->nets, net, net_tmp) {
		if (in_set && !net->marked)
			net_network_remove(n, net->id);
	}
	if (!n->adopted)
		loop_timer_set(&n->settle, NET_SETTLE_MS);
}

bool net_ready(const struct net *n, const Gs__Task *task)
{
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];
		const struct network *net = net_find(n, a->network_id);

		if (!net || !net->declared || !a->addr)
			return false;
	}
	/* An address must have been reserved for each network of the spec. */
	return !task->spec || task->n_addresses >= task->spec->n_networks;
}
