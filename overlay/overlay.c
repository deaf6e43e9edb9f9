// SPDX-License-Identifier: Apache-2.0
/* Life, and the calls that declare one task's own object and wait for the kernel.
 *
 * The happy path is: take the lock, check the input, remember it, change the kernel. What can fail is: the
 * input (E_INVALID, nothing is remembered), or the kernel; then the declaration stays and the pass tries
 * again, until it is taken back. What is taken back is forgotten at once, and what the kernel keeps of it
 * leaves by itself: a namespace by its own work, a port's end as a stray of its network, a leg likewise. */
#include "overlay/overlay.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/reap.h"
#include "overlay/repair.h"

/* What was tolerated on the way must not be left in e: callers may test its code alone. */
#define LOCKED(o, call)                                                                                      \
	({                                                                                                   \
		int rc_;                                                                                     \
		pthread_mutex_lock(&(o)->lock);                                                              \
		inbox_take(o);                                                                               \
		rc_ = (call);                                                                                \
		pthread_mutex_unlock(&(o)->lock);                                                            \
		if (rc_ == 0)                                                                                \
			err_forgive(e);                                                                      \
		rc_;                                                                                         \
	})

static int start(struct overlay *o, struct err *e)
{
	int rc = events_init(o, e);

	nft_init(&o->nft, o->cfg.nft_helper);
	if (rc == 0)
		rc = ns_open_host(o, e);
	return rc == 0 ? egress_load(o, e) : rc;
}

int overlay_new(const struct overlay_config *config, struct overlay **ret, struct err *e)
{
	struct overlay *o;
	int rc;

	if (ip_family(&config->vtep) == AF_UNSPEC || config->port == 0 || !config->netns_dir)
		return err_set(e, E_INVALID,
			       "overlay needs a VTEP address, a port and a folder for namespaces");
	o = xcalloc(1, sizeof(*o));
	o->cfg = *config;
	o->netns_dir = xstrdup(config->netns_dir);
	o->cfg.netns_dir = o->netns_dir;
	o->inbox_tail = &o->inbox;
	o->host.fd = -1;
	pthread_mutex_init(&o->lock, NULL);
	pthread_mutex_init(&o->inbox_lock, NULL);
	rules_init(o);
	work_init(&o->egress.work, NAME_EGRESS_BRIDGE);
	work_init(&o->sweep, "sweep");
	reap_init(o);
	rc = start(o, e);
	o->cfg.nft_helper = o->nft.helper;
	if (rc < 0) {
		overlay_free(o);
		return err_wrap(e, "overlay");
	}
	underlay_raise_neighbours("/proc/sys/net/ipv4/neigh/default");
	underlay_raise_neighbours("/proc/sys/net/ipv6/neigh/default");
	err_forgive(e);
	*ret = o;
	return 0;
}

void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	reap_fini(o);
	bug_if(o->reaper);
	desired_forget_all(o);
	egress_forget_all(o);
	adopt_keep(o, NULL, 0);
	rules_fini(o);
	ns_close_all(o);
	nft_fini(&o->nft);
	events_fini(o);
	pthread_mutex_destroy(&o->inbox_lock);
	pthread_mutex_destroy(&o->lock);
	free(o->netns_dir);
	free(o);
}

static bool is_text(const char *text, size_t size)
{
	return *text && memchr(text, 0, size) && !strchr(text, ':');
}

/* Keep the first error, whatever comes after it. */
static int first_of(int rc, int next)
{
	return rc < 0 ? rc : next;
}

/* ---- ports ---- */

static int port_validate(const struct overlay_port *p, struct err *e)
{
	if (!is_text(p->id, sizeof(p->id)) || !is_text(p->owner, sizeof(p->owner)) ||
	    !is_text(p->network_id, sizeof(p->network_id)) || !is_text(p->ifname, sizeof(p->ifname)) ||
	    strchr(p->ifname, '/') || !name_is_valid_netns(p->netns))
		return err_set(e, E_INVALID, "port \"%.55s\": malformed id, interface or namespace", p->id);
	if (ip_family(&p->ip) == AF_UNSPEC || (p->mac[0] & 1))
		return err_set(e, E_INVALID, "port %s: malformed address or MAC", p->id);
	return 0;
}

static int attach(struct overlay *o, const struct overlay_port *spec, struct err *e)
{
	int rc = port_validate(spec, e);
	struct port *p;

	if (rc < 0)
		return rc;
	p = port_declare(o, spec);
	if (p->n->spec.vni == 0) {
		rc = err_set(e, E_NOT_FOUND, "port %s: network %s is not declared", spec->id,
			     spec->network_id);
	} else {
		rc = network_ensure(o, p->n, e);
		if (rc < 0)
			work_failed(&p->n->work, overlay_now_ms());
	}
	if (rc == 0)
		return port_bring(o, p, e);
	work_failed(&p->work, overlay_now_ms());
	return rc;
}

int overlay_attach(struct overlay *o, const struct overlay_port *p, struct err *e)
{
	return LOCKED(o, attach(o, p, e));
}

/* Its end in the network goes by itself or as a stray; with the last port the whole network goes. */
static int give_up_link(struct overlay *o, const struct port *p, struct err *e)
{
	char name[NAME_MAX_LEN];
	struct ns *ns;
	int rc;

	if (!work_is_there(&p->n->work))
		return 0;
	name_port(p->spec.id, name);
	rc = ns_get(o, p->n->ns_name, &ns, e);
	if (rc == 0)
		rc = reap_link(o, ns, name, e);
	if (rc == E_NOT_FOUND)
		return 0;
	return rc < 0 ? err_wrap(e, "detach %s", p->spec.id) : 0;
}

static int port_take_away(struct overlay *o, struct port *p, struct err *e)
{
	struct network *n = p->n;
	int rc = give_up_link(o, p, e);
	bool last = n->ports == p && !p->next;

	if (rc < 0) {
		n->strays = true;
		work_suspect(&n->work);
	}
	if (!last || !work_is_there(&n->work)) {
		port_forget(o, p);
		return rc;
	}
	port_forget(o, p);
	return first_of(rc, network_leave(o, n, rc < 0 ? NULL : e));
}

static int detach(struct overlay *o, const char *id, const char *owner, struct err *e)
{
	struct port *p = port_find(o, id);

	return p && strcmp(p->spec.owner, owner) == 0 ? port_take_away(o, p, e) : 0;
}

int overlay_detach(struct overlay *o, const char *id, const char *owner, struct err *e)
{
	return LOCKED(o, detach(o, id, owner, e));
}

/* ---- egress ---- */

static int egress_attach(struct overlay *o, const char *netns, const char *owner, struct err *e)
{
	if (!is_text(owner, sizeof(((struct leg_alias *)0)->id)) || !name_is_valid_netns(netns))
		return err_set(e, E_INVALID, "egress \"%.55s\": malformed id or namespace", owner);
	return leg_bring(o, leg_declare(o, netns, owner), e);
}

int overlay_egress_attach(struct overlay *o, const char *netns, const char *owner, struct err *e)
{
	return LOCKED(o, egress_attach(o, netns, owner, e));
}

static int leg_leave(struct overlay *o, struct leg *leg, struct err *e)
{
	int rc;

	leg->declared = false;
	work_doom(&leg->work);
	rc = leg_delete(o, leg, e);
	if (rc < 0)
		work_failed(&leg->work, overlay_now_ms());
	return rc;
}

static int egress_detach(struct overlay *o, const char *owner, struct err *e)
{
	struct leg *leg = leg_find(o, owner);

	return leg ? leg_leave(o, leg, e) : 0;
}

int overlay_egress_detach(struct overlay *o, const char *owner, struct err *e)
{
	return LOCKED(o, egress_detach(o, owner, e));
}

/* ---- namespaces of tasks ---- */

static int netns_create(struct overlay *o, const char *name, const char *owner, pid_t pid, struct err *e)
{
	struct task_ns *t;

	if (!name_is_valid_netns(name))
		return err_set(e, E_INVALID, "\"%s\" cannot name a namespace", name);
	if (!is_text(owner, sizeof(t->owner)))
		return err_set(e, E_INVALID, "namespace %s: malformed owner", name);
	t = taskns_get(o, name);
	snprintf(t->owner, sizeof(t->owner), "%s", owner);
	t->pid = pid;
	t->declared = true;
	work_want(&t->work);
	return taskns_ensure(o, t, e);
}

int overlay_netns_create(struct overlay *o, const char *name, const char *owner, pid_t pid, struct err *e)
{
	return LOCKED(o, netns_create(o, name, owner, pid, e));
}

/* Of an earlier process, and not declared since: only the mark says whose it is. */
static int remove_undeclared(struct overlay *o, const char *name, const char *owner, struct err *e)
{
	char mark[ALIAS_MAX], own[ALIAS_MAX];
	struct ns *ns;
	int rc = ns_get(o, name, &ns, e);

	if (rc == 0)
		rc = ns_mark(o, ns, mark, e);
	if (rc < 0)
		return rc == E_NOT_FOUND ? 0 : rc;
	snprintf(own, sizeof(own), ALIAS_TASK ":%s", owner);
	return strcmp(mark, own) == 0 ? ns_remove(o, name, own, e) : 0;
}

/* Whatever leg still ends in it goes first, so that no port outlives its namespace. */
static int netns_remove(struct overlay *o, const char *name, const char *owner, struct err *e)
{
	struct task_ns *t = taskns_find(o, name);
	struct port *p, *p_tmp;
	struct leg *leg, *leg_tmp;
	int rc = 0;

	HASH_ITER (hh, o->ports, p, p_tmp) {
		if (strcmp(p->spec.netns, name) == 0 && strcmp(p->spec.owner, owner) == 0)
			rc = first_of(rc, port_take_away(o, p, rc < 0 ? NULL : e));
	}
	HASH_ITER (hh, o->legs, leg, leg_tmp) {
		if (strcmp(leg->mark.netns, name) == 0 && strcmp(leg->mark.id, owner) == 0)
			rc = first_of(rc, leg_leave(o, leg, rc < 0 ? NULL : e));
	}
	if (!t)
		return first_of(rc, remove_undeclared(o, name, owner, rc < 0 ? NULL : e));
	if (strcmp(t->owner, owner) != 0)
		return rc; /* its name is another task's by now */
	t->declared = false;
	work_doom(&t->work);
	return first_of(rc, taskns_leave(o, t, rc < 0 ? NULL : e));
}

int overlay_netns_remove(struct overlay *o, const char *name, const char *owner, struct err *e)
{
	return LOCKED(o, netns_remove(o, name, owner, e));
}
