// SPDX-License-Identifier: Apache-2.0
/* Reservations: which address, VNI, port and node index belongs to whom, one row each.
 *
 * The happy path is: a value that is given out is reserved in the same transaction, ahead of the row that
 * uses it; when the user is gone the reservation is released and rests, so that what others remember of the
 * value ends before it is given out again. What can fail is the commit, between any two of its parts: then
 * there is a reservation that nobody uses (released) or, from versions that wrote the user first, a user
 * without a reservation. Every pass compares both: such a user gets its reservation again before anything
 * new is given out, and a value with two users is told and taken from the one that did not reserve it as
 * soon as nothing runs with it. */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/reconcile/allocate_internal.h"

#define NODE_INDEX_REST_MS (24 * 3600 * 1000LL)

static char *reservation_id(Gs__ReservationKind kind, const char *scope, const char *value)
{
	static const char *const names[] = {"address", "vni", "port", "node-index", "subnet", "vip"};

	bug_if((unsigned)kind >= array_size(names) || !*value);
	return xasprintf("%s/%s/%s", names[kind], scope, value);
}

static const Gs__Reservation *reservation_get(const struct tx *tx, Gs__ReservationKind kind,
					      const char *scope, const char *value)
{
	cleanup_free char *id = reservation_id(kind, scope, value);

	return tx_get(tx, OBJ_RESERVATION, id);
}

bool reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
			 const char *value)
{
	const Gs__Reservation *r = reservation_get(a->tx, kind, scope, value);

	return !r || (!*r->owner && r->free_after_ms <= a->wall_ms);
}

void reservation_take(struct alloc *a, Gs__ReservationKind kind, const char *scope, const char *value,
		      const void *bytes, size_t n, const char *owner)
{
	cleanup_free char *id = reservation_id(kind, scope, value);
	Gs__Reservation *r = tx_edit(a->tx, OBJ_RESERVATION, id);
	bool is_new = !r;

	if (is_new)
		r = obj_new_row(OBJ_RESERVATION, id);
	bug_if(!*owner || n == 0);
	r->kind = kind;
	r->free_after_ms = 0;
	str_replace(&r->scope, scope);
	str_replace(&r->owner, owner);
	obj_bytes_set(&r->value, bytes, n);
	if (is_new)
		tx_create(a->tx, r);
	tx_ahead(a->tx, OBJ_RESERVATION, id);
}

/* ---- release ---- */

static uint32_t number_of(const Gs__Reservation *r)
{
	uint32_t n = 0;

	for (size_t i = 0; i < r->value.len; i++)
		n = n << 8 | r->value.data[i];
	return n;
}

/* A slot's own address, or a service's virtual one. */
static bool address_is_used(const struct tx *tx, const Gs__Reservation *r)
{
	const Gs__Slot *slot = tx_get(tx, OBJ_SLOT, r->owner);
	const Gs__Service *svc = slot ? NULL : tx_get(tx, OBJ_SERVICE, r->owner);
	const Gs__SlotAddress *sa = slot ? slot_address(slot, r->scope) : NULL;

	for (size_t i = 0; svc && i < svc->n_vips; i++)
		if (strcmp(svc->vips[i]->network_id, r->scope) == 0 &&
		    obj_bytes_equal(&svc->vips[i]->addr->ip, &r->value))
			return true;
	return sa && obj_bytes_equal(&sa->addr->ip, &r->value);
}

static bool port_is_used(const struct tx *tx, const Gs__Reservation *r)
{
	const Gs__Service *svc = tx_get(tx, OBJ_SERVICE, r->owner);

	for (size_t i = 0; svc && i < svc->n_ports; i++)
		if (port_is_reserved(svc->ports[i]) && svc->ports[i]->published == number_of(r) &&
		    strcmp(port_protocol(svc->ports[i]), r->scope) == 0)
			return true;
	return false;
}

/* Its owner is there and has the value. */
static bool is_used(const struct tx *tx, const Gs__Reservation *r)
{
	const Gs__Network *net;
	const Gs__Node *node;

	switch (r->kind) {
	case RESERVED_ADDRESS:
		return address_is_used(tx, r);
	case RESERVED_PORT:
		return port_is_used(tx, r);
	case RESERVED_VNI:
		net = tx_get(tx, OBJ_NETWORK, r->owner);
		return net && net->vni == number_of(r);
	case RESERVED_NODE_INDEX:
		node = tx_get(tx, OBJ_NODE, r->owner);
		return node && node->index == number_of(r);
	default:
		return true; /* other kinds are not ours to judge */
	}
}

/* How long what others remember of it needs to end. */
static int64_t rest_ms(Gs__ReservationKind kind)
{
	if (kind == RESERVED_PORT)
		return 0;
	return kind == RESERVED_ADDRESS ? ADDRESS_REST_MS : NODE_INDEX_REST_MS;
}

/* Longer than the longest rest: it was said by a clock that was ahead. */
static bool rests_too_long(const struct alloc *a, const Gs__Reservation *r)
{
	return !*r->owner && r->free_after_ms > a->wall_ms + rest_ms(r->kind);
}

static void release(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_RESERVATION, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Reservation *r = rows[i];
		bool address = r->kind == RESERVED_ADDRESS;
		Gs__Reservation *edit;

		if ((address && !tx_get(a->tx, OBJ_NETWORK, r->scope)) ||
		    (!*r->owner && r->free_after_ms <= a->wall_ms)) {
			tx_remove(a->tx, r);
		} else if (rests_too_long(a, r) || (*r->owner && !is_used(a->tx, r))) {
			edit = tx_edit(a->tx, OBJ_RESERVATION, r->meta->id);
			str_replace(&edit->owner, "");
			edit->free_after_ms = a->wall_ms + rest_ms(r->kind);
		}
	}
}

/* ---- users without a reservation ---- */

/* Somebody uses the value: reserve it for him if it is not. false: it is reserved for another user. */
static bool reserve_used(struct alloc *a, Gs__ReservationKind kind, const char *scope, const char *value,
			 const void *bytes, size_t n, const char *user)
{
	const Gs__Reservation *r = reservation_get(a->tx, kind, scope, value);

	if (r && strcmp(r->owner, user) == 0)
		return true;
	if (r && *r->owner && is_used(a->tx, r))
		return false;
	reservation_take(a, kind, scope, value, bytes, n, user);
	bug_if(reservation_is_free(a, kind, scope, value));
	return true;
}

static bool reserve_address(struct alloc *a, const char *network_id, const Gs__Addr *addr, const char *user)
{
	char text[64];

	if (!tx_get(a->tx, OBJ_NETWORK, network_id))
		return true;
	addr_format(&addr->ip, text, sizeof(text));
	return reserve_used(a, RESERVED_ADDRESS, network_id, text, addr->ip.data, addr->ip.len, user);
}

static bool network_has_endpoints(const struct tx *tx, const char *network_id)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_ENDPOINT, &rows);

	for (size_t i = 0; i < n; i++)
		if (strcmp(((const Gs__Endpoint *)rows[i])->network_id, network_id) == 0)
			return true;
	return false;
}

static void repair_networks(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_NETWORK, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Network *net = rows[i];
		const char *id = net->meta->id;
		uint32_t wire = htonl(net->vni);
		char text[16];

		if (!net->vni)
			continue;
		snprintf(text, sizeof(text), "%u", net->vni);
		if (!reserve_used(a, RESERVED_VNI, "", text, &wire, sizeof(wire), id) &&
		    !network_has_endpoints(a->tx, id))
			((Gs__Network *)tx_edit(a->tx, OBJ_NETWORK, id))->vni = 0;
	}
}

static void repair_nodes(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_NODE, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Node *node = rows[i];
		uint16_t wire = htons((uint16_t)node->index);
		char text[16];

		if (!node->index)
			continue;
		snprintf(text, sizeof(text), "%u", node->index);
		if (!reserve_used(a, RESERVED_NODE_INDEX, "", text, &wire, sizeof(wire), node->meta->id))
			((Gs__Node *)tx_edit(a->tx, OBJ_NODE, node->meta->id))->index = 0;
	}
}

/* A slot that holds another one's address keeps it here: something may run with it. slot_free_address. */
static void repair_slots(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_SLOT, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Slot *slot = rows[i];

		for (size_t k = 0; k < slot->n_addresses; k++)
			reserve_address(a, slot->addresses[k]->network_id, slot->addresses[k]->addr,
					slot->meta->id);
	}
}

static void repair_vips(struct alloc *a, const Gs__Service *svc)
{
	for (size_t i = svc->n_vips; i-- > 0;) {
		Gs__Service *edit;

		if (reserve_address(a, svc->vips[i]->network_id, svc->vips[i]->addr, svc->meta->id))
			continue;
		svc = edit = tx_edit(a->tx, OBJ_SERVICE, svc->meta->id);
		bug_if(i >= edit->n_vips);
		obj_free(edit->vips[i]);
		edit->n_vips--;
		memmove(&edit->vips[i], &edit->vips[i + 1], (edit->n_vips - i) * sizeof(edit->vips[0]));
	}
}

/* Ports are in the order of the spec: from one that is another service's on, they are given anew. */
static void repair_ports(struct alloc *a, const Gs__Service *svc)
{
	for (size_t i = 0; i < svc->n_ports; i++) {
		const Gs__Port *p = svc->ports[i];
		uint16_t wire = htons((uint16_t)p->published);
		Gs__Service *edit;
		char text[16];

		if (!port_is_reserved(p))
			continue;
		snprintf(text, sizeof(text), "%u", p->published);
		if (reserve_used(a, RESERVED_PORT, port_protocol(p), text, &wire, sizeof(wire),
				 svc->meta->id))
			continue;
		edit = tx_edit(a->tx, OBJ_SERVICE, svc->meta->id);
		while (edit->n_ports > i)
			obj_free(edit->ports[--edit->n_ports]);
		return;
	}
}

static void repair_services(struct alloc *a)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(a->tx, OBJ_SERVICE, &rows);

	for (size_t i = 0; i < n; i++) {
		const char *id = ((const Gs__Service *)rows[i])->meta->id;

		repair_vips(a, rows[i]);
		repair_ports(a, tx_get(a->tx, OBJ_SERVICE, id));
	}
}

void allocate_reservations(struct alloc *a)
{
	release(a);
	repair_networks(a);
	repair_nodes(a);
	repair_slots(a);
	repair_services(a);
}

/* ---- values with two users ---- */

/* The other user of the slot's address, or NULL. */
static const char *address_rival(const struct tx *tx, const Gs__Slot *slot, const Gs__SlotAddress *sa)
{
	const Gs__Reservation *r;
	char text[64];

	addr_format(&sa->addr->ip, text, sizeof(text));
	r = reservation_get(tx, RESERVED_ADDRESS, sa->network_id, text);
	return r && *r->owner && strcmp(r->owner, slot->meta->id) != 0 ? r->owner : NULL;
}

void slot_free_address(struct alloc *a, const char *slot_id, const char *network_id)
{
	const Gs__Slot *slot = tx_get(a->tx, OBJ_SLOT, slot_id);
	const Gs__SlotAddress *sa = slot_address(slot, network_id);
	Gs__Slot *edit;

	if (!sa || !address_rival(a->tx, slot, sa))
		return;
	edit = tx_edit(a->tx, OBJ_SLOT, slot_id);
	for (size_t i = 0; i < edit->n_addresses; i++) {
		if (strcmp(edit->addresses[i]->network_id, network_id) != 0)
			continue;
		obj_free(edit->addresses[i]);
		edit->n_addresses--;
		memmove(&edit->addresses[i], &edit->addresses[i + 1],
			(edit->n_addresses - i) * sizeof(edit->addresses[0]));
		return;
	}
}

static char *user_name(const struct tx *tx, const char *id)
{
	const Gs__Slot *slot = tx_get(tx, OBJ_SLOT, id);
	const Gs__Service *svc = tx_get(tx, OBJ_SERVICE, slot ? slot->service_id : id);

	if (!svc || !svc->spec)
		return xasprintf("%.40s", id);
	if (!slot)
		return xasprintf("service %s", svc->spec->name);
	return *slot->node_key ? xasprintf("%s.%s", svc->spec->name, slot->node_key)
			       : xasprintf("%s.%u", svc->spec->name, slot->number);
}

static char *slot_rivalry(const struct tx *tx, const Gs__Slot *slot)
{
	for (size_t i = 0; i < slot->n_addresses; i++) {
		const Gs__SlotAddress *sa = slot->addresses[i];
		const Gs__Network *net = tx_get(tx, OBJ_NETWORK, sa->network_id);
		const char *rival = net ? address_rival(tx, slot, sa) : NULL;
		cleanup_free char *own = NULL, *other = NULL;
		char text[64];

		if (!rival)
			continue;
		own = user_name(tx, slot->meta->id);
		other = user_name(tx, rival);
		return xasprintf("%s has the address %s of %s on network %s; its next task gets another one",
				 own, addr_format(&sa->addr->ip, text, sizeof(text)), other, net->spec->name);
	}
	return NULL;
}

static char *network_rivalry(const struct tx *tx, const Gs__Network *net)
{
	const Gs__Reservation *r;
	const Gs__Network *other;
	char text[16];

	snprintf(text, sizeof(text), "%u", net->vni);
	r = net->vni ? reservation_get(tx, RESERVED_VNI, "", text) : NULL;
	if (!r || !*r->owner || strcmp(r->owner, net->meta->id) == 0)
		return NULL;
	other = tx_get(tx, OBJ_NETWORK, r->owner);
	return xasprintf("network %s has the VNI %u of network %s: remove the services on it and it gets "
			 "another one",
			 net->spec->name, net->vni, other && other->spec ? other->spec->name : r->owner);
}

char *service_rivalry(const struct tx *tx, const Gs__Service *svc)
{
	cleanup_free const Gs__Slot **slots = NULL;
	size_t n = tx_slots_of_service(tx, svc->meta->id, &slots);
	const Gs__TaskSpec *t = svc->spec->task;
	char *text = NULL;

	for (size_t i = 0; i < n && !text; i++)
		text = slot_rivalry(tx, slots[i]);
	for (size_t i = 0; t && i < t->n_networks && !text; i++) {
		const Gs__Network *net = tx_get(tx, OBJ_NETWORK, t->networks[i]->network_id);

		text = net && net->spec ? network_rivalry(tx, net) : NULL;
	}
	return text;
}
