// SPDX-License-Identifier: Apache-2.0
/* The happy path is: take the lock, check the input, change the kernel, remember the declaration.
 * What can fail is: the input (E_INVALID, E_NOT_FOUND), or the kernel; then nothing is remembered, and what
 * was half made is completed by the same call made again or removed by adopt_done. */
#include "overlay/overlay.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "overlay/fdb.h"
#include "overlay/internal.h"
#include "overlay/links.h"
#include "overlay/reap.h"
#include "overlay/routes.h"

/* What was tolerated on the way must not be left in e: callers may test its code alone. */
#define LOCKED(o, call)                                                                                      \
	({                                                                                                   \
		int rc_;                                                                                     \
		pthread_mutex_lock(&(o)->lock);                                                              \
		rc_ = (call);                                                                                \
		pthread_mutex_unlock(&(o)->lock);                                                            \
		if (rc_ == 0)                                                                                \
			err_forgive(e);                                                                      \
		rc_;                                                                                         \
	})

static int start(struct overlay *o, struct err *e)
{
	int rc = events_init(o, e);

	if (rc == 0)
		rc = nft_init(o, e);
	if (rc == 0)
		rc = ns_open_host(o, e);
	return rc == 0 ? egress_load(o, e) : rc;
}

int overlay_new(const struct overlay_config *config, struct overlay **ret, struct err *e)
{
	struct overlay *o;
	int rc;

	if (ip_family(&config->vtep) == 0 || config->port == 0 || !config->netns_dir)
		return err_set(e, E_INVALID,
			       "overlay needs a VTEP address, a port and a folder for namespaces");
	o = xcalloc(1, sizeof(*o));
	o->cfg = *config;
	o->netns_dir = xstrdup(config->netns_dir);
	o->nft_helper = xstrdup(config->nft_helper);
	o->cfg.netns_dir = o->netns_dir;
	o->cfg.nft_helper = o->nft_helper;
	o->host.fd = -1;
	pthread_mutex_init(&o->lock, NULL);
	reap_init(o);
	rc = start(o, e);
	if (rc < 0) {
		overlay_free(o);
		return err_wrap(e, "overlay");
	}
	err_forgive(e);
	*ret = o;
	return 0;
}

uint32_t overlay_path_mtu(struct overlay *o, const struct overlay_ip *peer)
{
	uint32_t mtu;

	pthread_mutex_lock(&o->lock);
	mtu = route_path_mtu(&o->host.nl, peer);
	pthread_mutex_unlock(&o->lock);
	return mtu;
}

bool overlay_is_remote(const struct overlay *o, const struct overlay_endpoint *ep)
{
	return !ip_is_equal(&ep->vtep, &o->cfg.vtep);
}

/* ---- networks ---- */

struct network *network_find(struct overlay *o, const char *id)
{
	struct network *n;

	HASH_FIND(hh, o->networks, id, strlen(id), n);
	return n;
}

static int network_validate(const struct overlay_network *n, struct err *e)
{
	if (!name_is_valid_netns(n->id))
		return err_set(e, E_INVALID, "network id \"%s\" is malformed", n->id);
	if (n->vni == 0 || n->vni > 0xffffff)
		return err_set(e, E_INVALID, "network %s: VNI %u is not in 1..16777215", n->id, n->vni);
	if (n->mtu < 576 || n->mtu > 65535)
		return err_set(e, E_INVALID, "network %s: MTU %u is not in 576..65535", n->id, n->mtu);
	return 0;
}

/* Changed properties of a network that is in use: devices first, then the ports' MTU. */
static int network_update(struct overlay *o, struct network *n, struct err *e)
{
	int rc;

	n->live = false;
	rc = network_ensure(o, n, e);
	for (struct port *p = o->ports; rc == 0 && p; p = p->hh.next)
		if (strcmp(p->spec.network_id, n->spec.id) == 0)
			rc = port_ensure(o, n, &p->spec, e);
	return rc;
}

static int network_set(struct overlay *o, const struct overlay_network *spec, struct err *e)
{
	struct network *n = network_find(o, spec->id);
	int rc = network_validate(spec, e);
	bool changed;

	if (rc < 0)
		return rc;
	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->spec = *spec;
		name_network_ns(spec->id, n->ns_name);
		HASH_ADD_KEYPTR(hh, o->networks, n->spec.id, strlen(n->spec.id), n);
		return 0;
	}
	changed = n->spec.vni != spec->vni || n->spec.mtu != spec->mtu;
	n->spec = *spec;
	return changed && n->ports > 0 ? network_update(o, n, e) : 0;
}

int overlay_network_set(struct overlay *o, const struct overlay_network *n, struct err *e)
{
	return LOCKED(o, network_set(o, n, e));
}

static void endpoint_forget(struct overlay *o, struct endpoint *ep)
{
	HASH_DEL(o->endpoints, ep);
	if (overlay_is_remote(o, &ep->spec))
		nft_vtep_unref(o, &ep->spec.vtep);
	free(ep);
}

static int network_remove(struct overlay *o, const char *id, struct err *e)
{
	struct network *n = network_find(o, id);
	struct endpoint *ep, *tmp;
	int rc;

	if (!n)
		return 0;
	if (n->ports > 0)
		return err_set(e, E_IN_USE, "network %s still has %u ports on this host", id, n->ports);
	rc = n->live ? network_destroy(o, n->ns_name, e) : 0;
	if (rc < 0)
		return rc;
	HASH_ITER (hh, o->endpoints, ep, tmp) {
		if (strcmp(ep->spec.network_id, id) == 0)
			endpoint_forget(o, ep);
	}
	HASH_DEL(o->networks, n);
	free(n);
	return 0;
}

int overlay_network_remove(struct overlay *o, const char *network_id, struct err *e)
{
	return LOCKED(o, network_remove(o, network_id, e));
}

/* ---- endpoints ---- */

static struct endpoint *endpoint_find(struct overlay *o, const char *id)
{
	struct endpoint *ep;

	HASH_FIND(hh, o->endpoints, id, strlen(id), ep);
	return ep;
}

/* Write (or delete) the entries of one endpoint when its network exists on this host. */
static int endpoint_write(struct overlay *o, const struct overlay_endpoint *ep, bool add, struct err *e)
{
	struct network *n = network_find(o, ep->network_id);
	struct fdb_entry entries[3];
	struct fdb_set set = {.list = entries, .n = 3};
	struct ns *ns;
	int rc;

	if (!n || !n->live || !overlay_is_remote(o, ep))
		return 0;
	fdb_of_endpoint(ep, entries);
	rc = ns_get(o, n->ns_name, &ns, e);
	return rc < 0 ? rc : fdb_write(&ns->nl, n->br_index, n->vx_index, &set, add, e);
}

static bool has_same_place(const struct overlay_endpoint *a, const struct overlay_endpoint *b)
{
	return ip_is_equal(&a->ip, &b->ip) && ip_is_equal(&a->vtep, &b->vtep) &&
	       memcmp(a->mac, b->mac, 6) == 0 && strcmp(a->network_id, b->network_id) == 0;
}

/* When only the VTEP changed, REPLACE does it in one step; else the old keys must go. */
static bool must_delete_old(struct overlay *o, const struct overlay_endpoint *old,
			    const struct overlay_endpoint *new)
{
	return !ip_is_equal(&old->ip, &new->ip) || memcmp(old->mac, new->mac, 6) != 0 ||
	       strcmp(old->network_id, new->network_id) != 0 || !overlay_is_remote(o, new);
}

static int endpoint_validate(const struct overlay_endpoint *ep, struct err *e)
{
	if (!*ep->id || !*ep->network_id)
		return err_set(e, E_INVALID, "endpoint without an id or a network");
	if (ip_family(&ep->ip) == 0 || ip_family(&ep->vtep) == 0 || (ep->mac[0] & 1))
		return err_set(e, E_INVALID, "endpoint %s: malformed address, VTEP or MAC", ep->id);
	return 0;
}

static int endpoint_place(struct overlay *o, const struct endpoint *old, const struct overlay_endpoint *ep,
			  struct err *e)
{
	bool remote = overlay_is_remote(o, ep);
	int rc = remote ? nft_vtep_ref(o, &ep->vtep, e) : 0;

	if (rc == 0 && old && must_delete_old(o, &old->spec, ep))
		rc = endpoint_write(o, &old->spec, false, e);
	else if (rc < 0)
		return rc;
	if (rc == 0)
		rc = endpoint_write(o, ep, true, e);
	if (rc < 0 && remote)
		nft_vtep_unref(o, &ep->vtep);
	else if (rc == 0 && old && overlay_is_remote(o, &old->spec))
		nft_vtep_unref(o, &old->spec.vtep);
	return rc;
}

static int endpoint_set(struct overlay *o, const struct overlay_endpoint *spec, struct err *e)
{
	struct endpoint *ep = endpoint_find(o, spec->id);
	int rc = endpoint_validate(spec, e);

	if (rc < 0 || (ep && spec->generation < ep->spec.generation))
		return rc;
	if (ep && has_same_place(&ep->spec, spec)) {
		ep->spec = *spec;
		return 0;
	}
	rc = endpoint_place(o, ep, spec, e);
	if (rc < 0)
		return err_wrap(e, "endpoint %s", spec->id);
	if (ep) {
		ep->spec = *spec;
		return 0;
	}
	ep = xcalloc(1, sizeof(*ep));
	ep->spec = *spec;
	HASH_ADD_KEYPTR(hh, o->endpoints, ep->spec.id, strlen(ep->spec.id), ep);
	return 0;
}

int overlay_endpoint_set(struct overlay *o, const struct overlay_endpoint *ep, struct err *e)
{
	return LOCKED(o, endpoint_set(o, ep, e));
}

static int endpoint_remove(struct overlay *o, const char *id, struct err *e)
{
	struct endpoint *ep = endpoint_find(o, id);
	int rc = ep ? endpoint_write(o, &ep->spec, false, e) : 0;

	if (rc < 0)
		return err_wrap(e, "remove endpoint %s", id);
	if (ep)
		endpoint_forget(o, ep);
	return 0;
}

int overlay_endpoint_remove(struct overlay *o, const char *id, struct err *e)
{
	return LOCKED(o, endpoint_remove(o, id, e));
}

/* ---- ports ---- */

static struct port *port_find(struct overlay *o, const char *id)
{
	struct port *p;

	HASH_FIND(hh, o->ports, id, strlen(id), p);
	return p;
}

static int port_validate(const struct overlay_port *p, struct err *e)
{
	if (!*p->id || !*p->ifname || strchr(p->ifname, '/') || !name_is_valid_netns(p->netns))
		return err_set(e, E_INVALID, "port \"%s\": malformed id, interface or namespace", p->id);
	if (ip_family(&p->ip) == 0 || (p->mac[0] & 1))
		return err_set(e, E_INVALID, "port %s: malformed address or MAC", p->id);
	return 0;
}

static void release_network(struct overlay *o, struct network *n)
{
	if (n->ports == 0 && n->live && network_destroy(o, n->ns_name, NULL) == 0)
		n->live = false;
}

static int attach(struct overlay *o, const struct overlay_port *spec, struct err *e)
{
	struct network *n = network_find(o, spec->network_id);
	struct port *p = port_find(o, spec->id);
	int rc = port_validate(spec, e);

	if (rc < 0)
		return rc;
	if (!n)
		return err_set(e, E_NOT_FOUND, "port %s: network %s is not declared", spec->id,
			       spec->network_id);
	rc = network_ensure(o, n, e);
	if (rc == 0)
		rc = port_ensure(o, n, spec, e);
	if (rc < 0) {
		release_network(o, n);
		return rc;
	}
	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->spec = *spec;
		HASH_ADD_KEYPTR(hh, o->ports, p->spec.id, strlen(p->spec.id), p);
		n->ports++;
	}
	p->spec = *spec;
	return 0;
}

int overlay_attach(struct overlay *o, const struct overlay_port *p, struct err *e)
{
	return LOCKED(o, attach(o, p, e));
}

static int detach(struct overlay *o, const char *id, struct err *e)
{
	struct port *p = port_find(o, id);
	struct network *n = p ? network_find(o, p->spec.network_id) : NULL;
	char name[NAME_MAX_LEN];
	struct ns *ns;
	int rc;

	if (!p)
		return 0;
	name_port(id, name);
	rc = ns_get(o, n->ns_name, &ns, e);
	if (rc == 0)
		rc = reap_link(o, ns, name, e);
	if (rc < 0 && rc != E_NOT_FOUND)
		return err_wrap(e, "detach %s", id);
	HASH_DEL(o->ports, p);
	free(p);
	n->ports--;
	release_network(o, n);
	return 0;
}

int overlay_detach(struct overlay *o, const char *id, struct err *e)
{
	return LOCKED(o, detach(o, id, e));
}

/* ---- egress ---- */

static int egress_attach(struct overlay *o, const char *netns, const char *id, struct err *e)
{
	if (!*id || strlen(id) >= sizeof(((struct leg_alias *)0)->id) || strchr(id, ':') ||
	    !name_is_valid_netns(netns))
		return err_set(e, E_INVALID, "egress \"%s\": malformed id or namespace", id);
	return egress_leg_attach(o, netns, id, e);
}

int overlay_egress_attach(struct overlay *o, const char *netns, const char *id, struct err *e)
{
	return LOCKED(o, egress_attach(o, netns, id, e));
}

static int egress_detach(struct overlay *o, const char *id, struct err *e)
{
	struct leg *leg;

	HASH_FIND(hh, o->legs, id, strlen(id), leg);
	return leg ? egress_leg_delete(o, leg, e) : 0;
}

int overlay_egress_detach(struct overlay *o, const char *id, struct err *e)
{
	return LOCKED(o, egress_detach(o, id, e));
}

/* ---- namespaces of tasks ---- */

static int task_ns_create(struct overlay *o, const char *name, struct err *e)
{
	struct declared_ns *d;
	int rc = ns_create(o, name, ALIAS_TASK, e);

	if (rc < 0)
		return err_wrap(e, "namespace %s", name);
	HASH_FIND_STR(o->declared, name, d);
	if (d)
		return 0;
	d = xcalloc(1, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", name);
	HASH_ADD_STR(o->declared, name, d);
	return 0;
}

int overlay_netns_create(struct overlay *o, const char *name, struct err *e)
{
	return LOCKED(o, task_ns_create(o, name, e));
}

/* Whatever leg still ends in it goes first, so that no port outlives its namespace. */
static int task_ns_remove(struct overlay *o, const char *name, struct err *e)
{
	struct port *p, *p_tmp;
	struct leg *leg, *leg_tmp;
	struct declared_ns *d;
	int rc = 0;

	HASH_ITER (hh, o->ports, p, p_tmp) {
		if (rc == 0 && strcmp(p->spec.netns, name) == 0)
			rc = detach(o, p->spec.id, e);
	}
	HASH_ITER (hh, o->legs, leg, leg_tmp) {
		if (rc == 0 && strcmp(leg->mark.netns, name) == 0)
			rc = egress_leg_delete(o, leg, e);
	}
	if (rc == 0)
		rc = ns_remove(o, name, ALIAS_TASK, e);
	if (rc < 0)
		return rc;
	HASH_FIND_STR(o->declared, name, d);
	if (d) {
		HASH_DEL(o->declared, d);
		free(d);
	}
	return 0;
}

int overlay_netns_remove(struct overlay *o, const char *name, struct err *e)
{
	return LOCKED(o, task_ns_remove(o, name, e));
}
