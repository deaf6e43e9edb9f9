// SPDX-License-Identifier: Apache-2.0
/* What is declared: tables of networks, endpoints, ports and task namespaces, and the inbox through which
 * declarations come that must not wait.
 *
 * The happy path is: a declaration is put into the inbox; whoever holds the lock next takes it into the
 * tables, notes what it changes in the kernel's tables (a few forwarding entries, an element of a set) or
 * makes its network pending. What can fail is only the input, and that is said at once; nothing here touches
 * the kernel. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"

enum change_kind { CHANGE_NETWORK, CHANGE_NETWORK_GONE, CHANGE_ENDPOINT, CHANGE_ENDPOINT_GONE, CHANGE_VTEP };

struct change {
	struct change *next;
	enum change_kind kind;
	union {
		struct overlay_network network;
		struct overlay_endpoint endpoint;
		struct overlay_ip vtep;
		char id[56];
	};
};

/* ---- the inbox ---- */

static void inbox_put(struct overlay *o, const struct change *change)
{
	struct change *c = xmemdup(change, sizeof(*change));

	c->next = NULL;
	pthread_mutex_lock(&o->inbox_lock);
	bug_if(*o->inbox_tail);
	*o->inbox_tail = c;
	o->inbox_tail = &c->next;
	pthread_mutex_unlock(&o->inbox_lock);
}

static struct change *inbox_empty(struct overlay *o)
{
	struct change *list;

	pthread_mutex_lock(&o->inbox_lock);
	list = o->inbox;
	o->inbox = NULL;
	o->inbox_tail = &o->inbox;
	pthread_mutex_unlock(&o->inbox_lock);
	return list;
}

static bool is_text(const char *text, size_t size)
{
	return *text && memchr(text, 0, size);
}

int overlay_network_set(struct overlay *o, const struct overlay_network *n, struct err *e)
{
	if (!memchr(n->id, 0, sizeof(n->id)) || !name_is_valid_netns(n->id))
		return err_set(e, E_INVALID, "network id \"%.25s\" is malformed", n->id);
	if (n->vni == 0 || n->vni > 0xffffff)
		return err_set(e, E_INVALID, "network %s: VNI %u is not in 1..16777215", n->id, n->vni);
	if (n->mtu < 576 || n->mtu > 65535)
		return err_set(e, E_INVALID, "network %s: MTU %u is not in 576..65535", n->id, n->mtu);
	inbox_put(o, &(struct change){.kind = CHANGE_NETWORK, .network = *n});
	return 0;
}

static void put_gone(struct overlay *o, enum change_kind kind, const char *id)
{
	struct change c = {.kind = kind};

	snprintf(c.id, sizeof(c.id), "%s", id);
	inbox_put(o, &c);
}

void overlay_network_remove(struct overlay *o, const char *network_id)
{
	put_gone(o, CHANGE_NETWORK_GONE, network_id);
}

int overlay_endpoint_set(struct overlay *o, const struct overlay_endpoint *ep, struct err *e)
{
	if (!is_text(ep->id, sizeof(ep->id)) || !is_text(ep->network_id, sizeof(ep->network_id)))
		return err_set(e, E_INVALID, "endpoint without an id or a network");
	if (ip_family(&ep->ip) == AF_UNSPEC || ip_family(&ep->vtep) == AF_UNSPEC || (ep->mac[0] & 1))
		return err_set(e, E_INVALID, "endpoint %s: malformed address, VTEP or MAC", ep->id);
	inbox_put(o, &(struct change){.kind = CHANGE_ENDPOINT, .endpoint = *ep});
	return 0;
}

void overlay_endpoint_remove(struct overlay *o, const char *id)
{
	put_gone(o, CHANGE_ENDPOINT_GONE, id);
}

int overlay_vtep_set(struct overlay *o, const struct overlay_ip *vtep, struct err *e)
{
	if (ip_family(vtep) == AF_UNSPEC)
		return err_set(e, E_INVALID, "the tunnel's own address is malformed");
	inbox_put(o, &(struct change){.kind = CHANGE_VTEP, .vtep = *vtep});
	return 0;
}

/* ---- forwarding entries that a declaration changes ---- */

void endpoint_entries(const struct overlay_endpoint *ep, struct fdb_entry ret[3])
{
	ret[0] = (struct fdb_entry){.kind = FDB_SELF, .ip = ep->vtep};
	ret[1] = (struct fdb_entry){.kind = FDB_MASTER};
	ret[2] = (struct fdb_entry){.kind = FDB_NEIGH, .ip = ep->ip};
	for (int i = 0; i < 3; i++)
		memcpy(ret[i].mac, ep->mac, 6);
}

static void note_entries(struct network *n, const struct overlay_endpoint *ep, bool add)
{
	struct fdb_entry entries[3];

	if (!work_is(&n->work, WORK_SETTLED) && !work_is(&n->work, WORK_SUSPECT))
		return; /* all of them are written with the rest */
	endpoint_entries(ep, entries);
	for (size_t i = 0; i < array_size(entries); i++)
		fdb_change_add(&n->changes, &entries[i], add);
}

/* ---- networks ---- */

struct network *network_find(struct overlay *o, const char *id)
{
	struct network *n;

	HASH_FIND(hh, o->networks, id, strlen(id), n);
	return n;
}

struct network *network_get(struct overlay *o, const char *id)
{
	struct network *n = network_find(o, id);

	if (n)
		return n;
	n = xcalloc(1, sizeof(*n));
	snprintf(n->spec.id, sizeof(n->spec.id), "%s", id);
	name_network_ns(id, n->ns_name);
	work_init(&n->work, n->ns_name);
	HASH_ADD_KEYPTR(hh, o->networks, n->spec.id, strlen(n->spec.id), n);
	return n;
}

bool network_is_wanted(const struct network *n)
{
	return n->spec.vni != 0 && n->ports;
}

static struct endpoint *endpoint_find(struct overlay *o, const char *id)
{
	struct endpoint *ep;

	HASH_FIND(hh, o->endpoints, id, strlen(id), ep);
	return ep;
}

static void endpoint_forget(struct overlay *o, struct endpoint *ep)
{
	bug_if(!ep->n || endpoint_find(o, ep->spec.id) != ep);
	if (endpoint_counts(o, &ep->spec)) {
		rules_refuse(o, ep->n->spec.vni, &ep->spec.vtep);
		note_entries(ep->n, &ep->spec, false);
	}
	DL_DELETE(ep->n->endpoints, ep);
	HASH_DEL(o->endpoints, ep);
	free(ep);
}

static void network_forget(struct overlay *o, struct network *n)
{
	bug_if(n->ports || n->endpoints || work_is_there(&n->work));
	HASH_DEL(o->networks, n);
	fdb_changes_fini(&n->changes);
	free(n);
}

void network_review(struct overlay *o, struct network *n)
{
	struct endpoint *ep, *tmp;

	if (network_is_wanted(n)) {
		if (work_is(&n->work, WORK_ABSENT) || work_is(&n->work, WORK_LEAVING))
			work_want(&n->work);
		return;
	}
	work_leave(&n->work);
	if (n->declared || n->ports)
		return;
	DL_FOREACH_SAFE (n->endpoints, ep, tmp)
		endpoint_forget(o, ep);
	if (!work_is_there(&n->work))
		network_forget(o, n);
}

/* The peers' right to send is tied to the VNI. */
static void change_vni(struct overlay *o, struct network *n, uint32_t vni)
{
	struct endpoint *ep;

	DL_FOREACH (n->endpoints, ep) {
		if (!endpoint_counts(o, &ep->spec))
			continue;
		rules_admit(o, vni, &ep->spec.vtep);
		rules_refuse(o, n->spec.vni, &ep->spec.vtep);
	}
}

static void take_network(struct overlay *o, const struct overlay_network *spec)
{
	struct network *n = network_get(o, spec->id);
	bool changed = n->spec.vni != spec->vni || n->spec.mtu != spec->mtu;
	struct port *p;

	if (n->spec.vni != 0 && spec->generation < n->spec.generation)
		return;
	n->declared = true;
	if (n->spec.vni != spec->vni)
		change_vni(o, n, spec->vni);
	n->spec = *spec;
	network_review(o, n);
	if (!changed || !network_is_wanted(n))
		return;
	work_want(&n->work);
	DL_FOREACH (n->ports, p)
		work_want(&p->work);
}

static void take_network_gone(struct overlay *o, const char *id)
{
	struct network *n = network_find(o, id);

	if (!n)
		return;
	n->declared = false;
	network_review(o, n);
}

/* ---- endpoints ---- */

bool endpoint_counts(const struct overlay *o, const struct overlay_endpoint *ep)
{
	return ep->vtep.len == o->cfg.vtep.len && !ip_is_equal(&ep->vtep, &o->cfg.vtep);
}

static bool has_same_place(const struct overlay_endpoint *a, const struct overlay_endpoint *b)
{
	return ip_is_equal(&a->ip, &b->ip) && ip_is_equal(&a->vtep, &b->vtep) &&
	       memcmp(a->mac, b->mac, 6) == 0;
}

static struct endpoint *endpoint_add(struct overlay *o, const struct overlay_endpoint *spec)
{
	struct endpoint *ep = xcalloc(1, sizeof(*ep));

	ep->spec = *spec;
	ep->n = network_get(o, spec->network_id);
	DL_APPEND(ep->n->endpoints, ep);
	HASH_ADD_KEYPTR(hh, o->endpoints, ep->spec.id, strlen(ep->spec.id), ep);
	return ep;
}

/* The new place is admitted before the old one is refused: they may be the same peer. */
static void take_endpoint(struct overlay *o, const struct overlay_endpoint *spec)
{
	struct endpoint *ep = endpoint_find(o, spec->id);
	struct overlay_endpoint old = {0};
	bool moved = false;

	if (ep && spec->generation < ep->spec.generation)
		return;
	if (ep && strcmp(ep->spec.network_id, spec->network_id) != 0) {
		endpoint_forget(o, ep);
		ep = NULL;
	}
	if (ep) {
		moved = !has_same_place(&ep->spec, spec);
		old = ep->spec;
		ep->spec = *spec;
		if (!moved)
			return;
	} else {
		ep = endpoint_add(o, spec);
	}
	if (endpoint_counts(o, spec))
		rules_admit(o, ep->n->spec.vni, &spec->vtep);
	if (moved && endpoint_counts(o, &old)) {
		rules_refuse(o, ep->n->spec.vni, &old.vtep);
		note_entries(ep->n, &old, false);
	}
	if (endpoint_counts(o, spec))
		note_entries(ep->n, spec, true);
}

static void take_endpoint_gone(struct overlay *o, const char *id)
{
	struct endpoint *ep = endpoint_find(o, id);
	struct network *n = ep ? ep->n : NULL;

	if (!ep)
		return;
	endpoint_forget(o, ep);
	network_review(o, n);
}

/* Which endpoints are remote, and which can be reached, is judged anew. */
static void take_vtep(struct overlay *o, const struct overlay_ip *vtep)
{
	struct overlay_ip old = o->cfg.vtep;

	if (ip_is_equal(&old, vtep))
		return;
	for (struct endpoint *ep = o->endpoints; ep; ep = ep->hh.next) {
		bool counted = endpoint_counts(o, &ep->spec), counts;

		o->cfg.vtep = *vtep;
		counts = endpoint_counts(o, &ep->spec);
		o->cfg.vtep = old;
		if (counts && !counted)
			rules_admit(o, ep->n->spec.vni, &ep->spec.vtep);
		else if (counted && !counts)
			rules_refuse(o, ep->n->spec.vni, &ep->spec.vtep);
	}
	o->cfg.vtep = *vtep;
	for (struct network *n = o->networks; n; n = n->hh.next)
		if (network_is_wanted(n))
			work_want(&n->work);
}

void overlay_guard_set(struct overlay *o, const struct overlay_service *list, size_t n)
{
	struct overlay_service *copy = xcalloc(n + 1, sizeof(*copy));

	if (n > 0)
		memcpy(copy, list, n * sizeof(*list));
	pthread_mutex_lock(&o->inbox_lock);
	free(o->guard_next);
	o->guard_next = copy;
	o->n_guard_next = n;
	pthread_mutex_unlock(&o->inbox_lock);
}

static void take_guard(struct overlay *o)
{
	struct overlay_service *list;
	size_t n;

	pthread_mutex_lock(&o->inbox_lock);
	list = steal(o->guard_next);
	n = o->n_guard_next;
	pthread_mutex_unlock(&o->inbox_lock);
	if (list)
		rules_guard(o, list, n);
}

void inbox_take(struct overlay *o)
{
	struct change *c = inbox_empty(o), *next;

	take_guard(o);

	for (; c; c = next) {
		next = c->next;
		switch (c->kind) {
		case CHANGE_NETWORK:
			take_network(o, &c->network);
			break;
		case CHANGE_NETWORK_GONE:
			take_network_gone(o, c->id);
			break;
		case CHANGE_ENDPOINT:
			take_endpoint(o, &c->endpoint);
			break;
		case CHANGE_ENDPOINT_GONE:
			take_endpoint_gone(o, c->id);
			break;
		case CHANGE_VTEP:
			take_vtep(o, &c->vtep);
			break;
		}
		free(c);
	}
}

void inbox_drop(struct overlay *o)
{
	struct change *c = inbox_empty(o), *next;

	pthread_mutex_lock(&o->inbox_lock);
	free(steal(o->guard_next));
	pthread_mutex_unlock(&o->inbox_lock);
	for (; c; c = next) {
		next = c->next;
		free(c);
	}
}

/* ---- ports ---- */

struct port *port_find(struct overlay *o, const char *id)
{
	struct port *p;

	HASH_FIND(hh, o->ports, id, strlen(id), p);
	return p;
}

struct port *port_declare(struct overlay *o, const struct overlay_port *spec)
{
	struct port *p = port_find(o, spec->id);
	struct network *n = network_get(o, spec->network_id), *old = p ? p->n : n;

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		snprintf(p->spec.id, sizeof(p->spec.id), "%s", spec->id);
		work_init(&p->work, p->spec.id);
		HASH_ADD_KEYPTR(hh, o->ports, p->spec.id, strlen(p->spec.id), p);
	} else {
		DL_DELETE(p->n->ports, p);
	}
	p->spec = *spec;
	p->n = n;
	DL_APPEND(n->ports, p);
	work_want(&p->work);
	network_review(o, n);
	if (old != n) {
		old->strays = true; /* its end there is nobody's now */
		network_review(o, old);
	}
	return p;
}

void port_forget(struct overlay *o, struct port *p)
{
	struct network *n = p->n;

	bug_if(!n || port_find(o, p->spec.id) != p);
	DL_DELETE(n->ports, p);
	HASH_DEL(o->ports, p);
	free(p);
	network_review(o, n);
}

/* ---- namespaces of tasks ---- */

struct task_ns *taskns_find(struct overlay *o, const char *name)
{
	struct task_ns *t;

	HASH_FIND_STR(o->tasks, name, t);
	return t;
}

struct task_ns *taskns_get(struct overlay *o, const char *name)
{
	struct task_ns *t = taskns_find(o, name);

	if (t)
		return t;
	t = xcalloc(1, sizeof(*t));
	snprintf(t->name, sizeof(t->name), "%s", name);
	work_init(&t->work, t->name);
	HASH_ADD_STR(o->tasks, name, t);
	return t;
}

void taskns_forget(struct overlay *o, struct task_ns *t)
{
	bug_if(taskns_find(o, t->name) != t);
	HASH_DEL(o->tasks, t);
	free(t);
}

void desired_forget_all(struct overlay *o)
{
	struct network *n, *n_tmp;
	struct endpoint *ep, *ep_tmp;
	struct port *p, *p_tmp;
	struct task_ns *t, *t_tmp;

	inbox_drop(o);
	HASH_ITER (hh, o->ports, p, p_tmp) {
		DL_DELETE(p->n->ports, p);
		HASH_DEL(o->ports, p);
		free(p);
	}
	HASH_ITER (hh, o->endpoints, ep, ep_tmp)
		endpoint_forget(o, ep);
	HASH_ITER (hh, o->networks, n, n_tmp) {
		work_gone(&n->work);
		network_forget(o, n);
	}
	HASH_ITER (hh, o->tasks, t, t_tmp)
		taskns_forget(o, t);
}
