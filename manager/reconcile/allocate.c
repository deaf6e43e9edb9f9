// SPDX-License-Identifier: Apache-2.0
/* Subnets, VNIs, addresses, node indexes, and where each address is now.
 *
 * The happy path is: a network gets a subnet and a VNI, a slot gets an address per network for its whole
 * life, its NEW task carries them and becomes PENDING; when it is placed, an Endpoint row says where. What
 * can fail is that something is used up: the task stays NEW and says which network or pool is full.
 *
 * What is given out is a Reservation row first (allocate_reserve.c); but a subnet, which the network's row itself
 * holds, and which is free when no network's has part of it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/pool.h"
#include "manager/reconcile/allocate_internal.h"

#define VNI_FIRST 0x100000u /* below: Docker's, on the same UDP port */
#define VNI_LAST 0xffffffu
#define NODE_INDEX_LAST 0xffffu
/* When nothing else is free: every host has heard by then that it is gone. */
#define ADDRESS_REST_SHORT_MS 2000
#define ADDRESS_LOOK_MS 1000
#define HOSTS_MAX (1u << 20) /* addresses tried per network */
#define MTU_DEFAULT 1450
#define VXLAN_V4_BYTES 50
#define VXLAN_V6_BYTES 70
#define MTU_MIN 1280 /* what every IPv6 link carries; check_node.c refuses a node whose data path has less */

/* ---- networks ---- */

static uint32_t free_vni(const struct alloc *a)
{
	char text[16];

	for (uint32_t vni = VNI_FIRST; vni <= VNI_LAST; vni++) {
		snprintf(text, sizeof(text), "%u", vni);
		if (reservation_is_free(a, RESERVED_VNI, "", text))
			return vni;
	}
	return 0;
}

/* The smallest of the links of nodes that have been here, less what VXLAN adds. */
static uint32_t overlay_mtu(const struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_NODE, &rows);
	uint32_t best = 0;

	for (size_t i = 0; i < n; i++) {
		const Gs__Node *node = rows[i];
		const Gs__NodeDescription *d =
			node_is_ready(node) || node_is_down(node) ? node->description : NULL;
		uint32_t extra = d && d->vtep_ip.len == 16 ? VXLAN_V6_BYTES : VXLAN_V4_BYTES;

		if (d && d->vtep_mtu >= MTU_MIN + extra && (!best || d->vtep_mtu - extra < best))
			best = d->vtep_mtu - extra;
	}
	return best ? best : MTU_DEFAULT;
}

static void give_vni(struct alloc *a, Gs__Network *net)
{
	uint32_t vni = free_vni(a), wire = htonl(vni);
	char text[16];

	if (!vni)
		return;
	snprintf(text, sizeof(text), "%u", vni);
	reservation_take(a, RESERVED_VNI, "", text, &wire, sizeof(wire), net->meta->id);
	net->vni = vni;
}

static int by_network_id(const void *id, const void *net)
{
	return strcmp(id, (*(const Gs__Network *const *)net)->meta->id);
}

/* Which of the networks (in id order) have an endpoint: one look at the table, however many ask. */
static bool *networks_in_use(const struct alloc *a, const Gs__Network **nets, size_t n)
{
	bool *in_use = xcalloc(n, sizeof(*in_use));
	cleanup_free const Gs__Endpoint **eps = NULL;
	size_t n_eps = tx_list(a->tx, OBJ_ENDPOINT, (const void ***)&eps);

	for (size_t i = 0; i < n_eps; i++) {
		const Gs__Network **net = bsearch(eps[i]->network_id, nets, n, sizeof(*nets), by_network_id);

		if (net)
			in_use[net - nets] = true;
	}
	return in_use;
}

/* While tasks are on a network its MTU only shrinks: their open connections know the old one. */
static void allocate_mtus(struct alloc *a, const Gs__Network **nets, size_t n, uint32_t mtu)
{
	cleanup_free bool *in_use = NULL;

	for (size_t i = 0; i < n; i++) {
		bool grows = nets[i]->mtu != 0 && mtu > nets[i]->mtu;

		if (grows && !in_use)
			in_use = networks_in_use(a, nets, n);
		if (mtu != nets[i]->mtu && !(grows && in_use[i]))
			((Gs__Network *)tx_edit(a->tx, OBJ_NETWORK, nets[i]->meta->id))->mtu = mtu;
	}
}

static void allocate_network(struct alloc *a, const Gs__Network *net)
{
	const char *id = net->meta->id;
	const Gs__Addr *asked = net->spec ? net->spec->subnet : NULL;
	Gs__Addr *subnet = NULL;
	bool given = asked && asked->ip.len > 0;

	if (!net->subnet)
		subnet = !given                              ? subnet_cut(a->s, a->tx, id)
			 : subnet_is_taken(a->tx, asked, id) ? NULL
							     : obj_dup(asked);
	if (subnet)
		obj_set(&((Gs__Network *)tx_edit(a->tx, OBJ_NETWORK, id))->subnet, subnet);
	obj_free(subnet);
	if (net->vni == 0)
		give_vni(a, tx_edit(a->tx, OBJ_NETWORK, id));
}

static void allocate_networks(struct alloc *a)
{
	cleanup_free const Gs__Network **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_NETWORK, (const void ***)&rows);

	if (n == 0)
		return;
	allocate_mtus(a, rows, n, overlay_mtu(a));
	for (size_t i = 0; i < n; i++)
		allocate_network(a, tx_get(a->tx, OBJ_NETWORK, rows[i]->meta->id));
}

/* ---- node indexes ---- */

static void allocate_node_index(struct alloc *a, const Gs__Node *node)
{
	char text[16];

	for (uint32_t i = 1; i <= NODE_INDEX_LAST; i++) {
		uint16_t wire = htons((uint16_t)i);

		snprintf(text, sizeof(text), "%u", i);
		if (!reservation_is_free(a, RESERVED_NODE_INDEX, "", text))
			continue;
		reservation_take(a, RESERVED_NODE_INDEX, "", text, &wire, sizeof(wire), node->meta->id);
		((Gs__Node *)tx_edit(a->tx, OBJ_NODE, node->meta->id))->index = i;
		return;
	}
}

static void allocate_nodes(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_NODE, &rows);

	for (size_t i = 0; i < n; i++)
		if (((const Gs__Node *)rows[i])->index == 0)
			allocate_node_index(a, rows[i]);
}

/* ---- slot addresses ---- */

/* Where the search in a network goes on: what lies before is taken. Lives for one pass, in which nothing becomes
 * free: what was used up once needs no second search, however many tasks wait. */
struct cursor {
	const char *network_id;
	uint32_t next;
	/* Once next is past the end: what rests and may be taken, longest rested first. */
	const Gs__Reservation **rested;
	size_t n_rested, rested_next;
};
struct cursors {
	struct cursor *list;
	size_t n;
};

static struct cursor *cursor_of(struct cursors *cs, const char *network_id)
{
	for (size_t i = 0; i < cs->n; i++)
		if (strcmp(cs->list[i].network_id, network_id) == 0)
			return &cs->list[i];
	cs->list = xrealloc(cs->list, (cs->n + 1) * sizeof(*cs->list));
	cs->list[cs->n] =
		(struct cursor){.network_id = network_id, .next = 2}; /* .0 the net, .1 the gateway */
	return &cs->list[cs->n++];
}

static void cursors_fini(struct cursors *cs)
{
	for (size_t i = 0; i < cs->n; i++)
		free(cs->list[i].rested);
	free(cs->list);
}

/* The last number that is an address of a host; IPv4 keeps the broadcast address out. */
uint32_t subnet_last_host(const Gs__Addr *subnet)
{
	uint32_t bits = (uint32_t)subnet->ip.len * 8 - subnet->prefix;

	bug_if(subnet->prefix > subnet->ip.len * 8);
	uint32_t size = bits >= 20 ? HOSTS_MAX : 1u << bits;

	return size < 4 ? 0 : size - 2;
}

static int longest_first(const void *pa, const void *pb)
{
	const Gs__Reservation *a = *(const Gs__Reservation *const *)pa,
			      *b = *(const Gs__Reservation *const *)pb;

	if (a->free_after_ms != b->free_after_ms)
		return a->free_after_ms < b->free_after_ms ? -1 : 1;
	return strcmp(a->meta->id, b->meta->id);
}

static bool has_rested(const struct alloc *a, const Gs__Network *net, const Gs__Reservation *r)
{
	return r->kind == RESERVED_ADDRESS && !*r->owner &&
	       r->free_after_ms <= a->wall_ms + ADDRESS_REST_MS - ADDRESS_REST_SHORT_MS &&
	       strcmp(r->scope, net->meta->id) == 0 && r->value.len == net->subnet->ip.len;
}

static void find_rested(struct alloc *a, const Gs__Network *net, struct cursor *c)
{
	size_t n = tx_list(a->tx, OBJ_RESERVATION, (const void ***)&c->rested);

	for (size_t i = 0; i < n; i++)
		if (has_rested(a, net, c->rested[i]))
			c->rested[c->n_rested++] = c->rested[i];
	if (c->n_rested)
		qsort(c->rested, c->n_rested, sizeof(*c->rested), longest_first);
}

/* Nothing is free but what rests: take what has rested longest. */
static Gs__Addr *rested_longest(struct alloc *a, const Gs__Network *net, struct cursor *c, const char *owner)
{
	const Gs__Reservation *best;
	Gs__Addr *addr;
	char text[64];

	if (!c->rested)
		find_rested(a, net, c);
	if (c->rested_next == c->n_rested)
		return NULL;
	best = c->rested[c->rested_next++];
	bug_if(*best->owner); /* only this list gives them away */
	addr = obj_dup(net->subnet);
	memcpy(addr->ip.data, best->value.data, best->value.len);
	addr_format(&addr->ip, text, sizeof(text));
	reservation_take(a, RESERVED_ADDRESS, net->meta->id, text, addr->ip.data, addr->ip.len, owner);
	return addr;
}

/* NULL: none is free. */
static Gs__Addr *next_address(struct alloc *a, const Gs__Network *net, struct cursor *c, const char *owner)
{
	Gs__Addr *addr = obj_dup(net->subnet);
	uint32_t last = subnet_last_host(net->subnet);
	char text[64];

	ip_add(addr->ip.data, addr->ip.len, c->next);
	for (; c->next <= last; c->next++, ip_add(addr->ip.data, addr->ip.len, 1)) {
		if (net->spec && obj_bytes_equal(&addr->ip, &net->spec->gateway))
			continue;
		addr_format(&addr->ip, text, sizeof(text));
		if (!reservation_is_free(a, RESERVED_ADDRESS, net->meta->id, text))
			continue;
		reservation_take(a, RESERVED_ADDRESS, net->meta->id, text, addr->ip.data, addr->ip.len,
				 owner);
		c->next++;
		return addr;
	}
	obj_free(addr);
	return rested_longest(a, net, c, owner);
}

static bool give_address(struct alloc *a, const Gs__Network *net, struct cursor *c, const char *slot_id)
{
	Gs__Addr *addr = next_address(a, net, c, slot_id);
	Gs__SlotAddress *sa;
	Gs__Slot *slot;
	uint8_t mac[6];

	if (!addr)
		return false;
	sa = obj_new(&gs__slot_address__descriptor);
	str_replace(&sa->network_id, net->meta->id);
	sa->addr = addr;
	addr_mac(&addr->ip, mac);
	obj_bytes_set(&sa->mac, mac, sizeof(mac));
	slot = tx_edit(a->tx, OBJ_SLOT, slot_id);
	bug_if(!slot || slot_address(slot, net->meta->id));
	obj_add(&slot->n_addresses, &slot->addresses, sa);
	return true;
}

/* Addresses for every network of the task. NULL: all there. Otherwise why not; free it. */
static char *allocate_slot(struct alloc *a, struct cursors *cs, const Gs__Task *t)
{
	for (size_t i = 0; i < t->spec->n_networks; i++) {
		const char *id = t->spec->networks[i]->network_id;
		const Gs__Network *net = tx_get(a->tx, OBJ_NETWORK, id);
		const Gs__Slot *slot;
		const char *name;

		if (!net)
			return xasprintf("network %.40s does not exist", id);
		name = net->spec ? net->spec->name : id;
		if (!net->subnet)
			return xasprintf("network %s has no subnet: the address pool is used up or its "
					 "subnet overlaps "
					 "another network's",
					 name);
		if (!net->vni)
			return xasprintf("network %s has no VNI: all are used", name);
		slot_free_address(a, t->slot_id, id);
		slot = tx_get(a->tx, OBJ_SLOT, t->slot_id);
		if (!slot_address(slot, id) &&
		    !give_address(a, net, cursor_of(cs, net->meta->id), t->slot_id)) {
			reconcile_wake(a->env, clock_mono_ms(a->env->clock) + ADDRESS_LOOK_MS);
			return xasprintf("network %s has no free address", name);
		}
	}
	return NULL;
}

static void make_pending(struct alloc *a, const Gs__Task *t)
{
	const Gs__Slot *slot = tx_get(a->tx, OBJ_SLOT, t->slot_id);
	Gs__Task *edit = tx_edit(a->tx, OBJ_TASK, t->meta->id);

	/* in the order of the spec: the first network is the one that matters most to the task */
	for (size_t i = 0; i < edit->spec->n_networks; i++) {
		const Gs__SlotAddress *sa = slot_address(slot, edit->spec->networks[i]->network_id);

		bug_if(!sa); /* allocate_slot saw to it */
		obj_add(&edit->n_addresses, &edit->addresses, obj_dup(sa));
	}
	edit->status->state = TASK_PENDING;
	str_replace(&edit->pending_reason, "");
}

static void allocate_tasks(struct alloc *a)
{
	cleanup_free const Gs__Task **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_TASK, (const void ***)&rows), fresh = 0;
	struct cursors cs = {0};

	for (size_t i = 0; i < n; i++)
		if (task_state(rows[i]) == TASK_NEW && task_wanted(rows[i]) && rows[i]->spec &&
		    tx_get(a->tx, OBJ_SLOT, rows[i]->slot_id))
			rows[fresh++] = rows[i];
	qsort(rows, fresh, sizeof(*rows), tasks_by_service_then_slot);
	for (size_t i = 0; i < fresh; i++) {
		cleanup_free char *why = allocate_slot(a, &cs, rows[i]);

		if (why)
			task_set_pending(a->tx, rows[i], why);
		else
			make_pending(a, rows[i]);
	}
	cursors_fini(&cs);
}

/* ---- endpoints ---- */

static void endpoint_fill(Gs__Endpoint *ep, const Gs__Slot *slot, const Gs__SlotAddress *sa,
			  const Gs__Task *t, const Gs__Node *node)
{
	const Gs__NodeDescription *d = node->description;

	str_replace(&ep->network_id, sa->network_id);
	str_replace(&ep->slot_id, slot->meta->id);
	str_replace(&ep->task_id, t->meta->id);
	str_replace(&ep->node_id, t->node_id);
	str_replace(&ep->name, t->name);
	str_replace(&ep->galera_cluster_id, t->galera_cluster_id);
	obj_set(&ep->addr, sa->addr);
	obj_bytes_set(&ep->mac, sa->mac.data, sa->mac.len);
	obj_bytes_set(&ep->vtep_ip, d ? d->vtep_ip.data : NULL, d ? d->vtep_ip.len : 0);
	ep->generation = slot->holder->generation;
}

static bool endpoint_is_right(const Gs__Endpoint *ep, const Gs__Slot *slot, const Gs__SlotAddress *sa,
			      const Gs__Task *t, const Gs__Node *node)
{
	ProtobufCBinaryData none = {0};

	return strcmp(ep->task_id, t->meta->id) == 0 && strcmp(ep->node_id, t->node_id) == 0 &&
	       strcmp(ep->name, t->name) == 0 && strcmp(ep->galera_cluster_id, t->galera_cluster_id) == 0 &&
	       ep->generation == slot->holder->generation && obj_bytes_equal(&ep->mac, &sa->mac) &&
	       ep->addr && obj_bytes_equal(&ep->addr->ip, &sa->addr->ip) &&
	       obj_bytes_equal(&ep->vtep_ip, node->description ? &node->description->vtep_ip : &none);
}

static void put_endpoint(struct alloc *a, const Gs__Slot *slot, const Gs__SlotAddress *sa, const Gs__Task *t,
			 const Gs__Node *node)
{
	cleanup_free char *id = xasprintf("%s.%s", sa->network_id, slot->meta->id);
	const Gs__Endpoint *now = tx_get(a->tx, OBJ_ENDPOINT, id);
	Gs__Endpoint *ep;

	if (now && endpoint_is_right(now, slot, sa, t, node))
		return;
	ep = now ? tx_edit(a->tx, OBJ_ENDPOINT, id) : obj_new_row(OBJ_ENDPOINT, id);
	endpoint_fill(ep, slot, sa, t, node);
	if (!now)
		tx_create(a->tx, ep);
}

/* A slot's addresses are where its newest placement is, until the next one or the slot's end. */
static void place_endpoints(struct alloc *a)
{
	size_t underlay = underlay_address_len(a->s, "");
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_SLOT, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Slot *slot = rows[i];
		const Gs__Task *t = slot->holder ? tx_get(a->tx, OBJ_TASK, slot->holder->task_id) : NULL;
		const Gs__Node *node = t && *t->node_id ? tx_get(a->tx, OBJ_NODE, t->node_id) : NULL;

		if (node &&
		    node_is_apart(node, underlay)) /* its address would break the network on the others */
			continue;
		for (size_t k = 0; node && k < slot->n_addresses; k++)
			if (tx_get(a->tx, OBJ_NETWORK, slot->addresses[k]->network_id))
				put_endpoint(a, slot, slot->addresses[k], t, node);
	}
}

static bool is_apart(const struct alloc *a, const Gs__Endpoint *ep, size_t underlay)
{
	const Gs__Node *node = tx_get(a->tx, OBJ_NODE, ep->node_id);

	return node && node_is_apart(node, underlay);
}

static void drop_endpoints(struct alloc *a)
{
	size_t underlay = underlay_address_len(a->s, "");
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_ENDPOINT, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Endpoint *ep = rows[i];

		if (!tx_get(a->tx, OBJ_SLOT, ep->slot_id) || !tx_get(a->tx, OBJ_NETWORK, ep->network_id) ||
		    is_apart(a, ep, underlay))
			tx_remove(a->tx, ep);
	}
}

void allocate_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	struct alloc a = {.s = s, .tx = tx, .env = env, .wall_ms = clock_wall_ms(env->clock)};

	bug_if_off_loop();
	allocate_reservations(&a);
	allocate_networks(&a);
	allocate_nodes(&a);
	allocate_services(&a);
	allocate_tasks(&a);
	drop_endpoints(&a);
	place_endpoints(&a);
}
