// SPDX-License-Identifier: Apache-2.0
/* The happy path is: dump, compare, nothing to do.
 * What can fail is: one object that cannot be repaired; the others are still looked at and the first error is
 * returned. Also here: what is done once after a restart (adopt_done) and at the end (remove_all). */
#include <string.h>

#include "overlay/internal.h"
#include "overlay/reap.h"

/* Keep the first error, go on with the rest. */
static void note(struct err *first, int rc, const struct err *e)
{
	if (rc < 0 && first->code == 0)
		*first = *e;
}

static int finish(const struct err *first, struct err *e)
{
	if (e)
		*e = *first; /* cleared when nothing failed */
	return first->code;
}

int reconcile_locked(struct overlay *o, unsigned *ret_repairs, struct err *e)
{
	struct err first = {0}, one = {0};

	nft_reap(o);
	note(&first, nft_check(o, ret_repairs, &one), &one);
	note(&first, egress_check(o, ret_repairs, &one), &one);
	for (struct network *n = o->networks; n; n = n->hh.next)
		if (n->ports > 0)
			note(&first, network_check(o, n, ret_repairs, &one), &one);
	return finish(&first, e);
}

int overlay_reconcile(struct overlay *o, unsigned *ret_repairs, struct err *e)
{
	unsigned repairs = 0;
	int rc;

	pthread_mutex_lock(&o->lock);
	rc = reconcile_locked(o, &repairs, e);
	pthread_mutex_unlock(&o->lock);
	if (ret_repairs)
		*ret_repairs = repairs;
	return rc;
}

static bool is_kept(struct overlay *o, const char *name, const char *const *keep, size_t n)
{
	struct declared_ns *d;

	for (size_t i = 0; i < n; i++)
		if (strcmp(keep[i], name) == 0)
			return true;
	HASH_FIND_STR(o->declared, name, d);
	if (d)
		return true;
	for (struct port *p = o->ports; p; p = p->hh.next)
		if (strcmp(p->spec.netns, name) == 0)
			return true;
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		if (leg->declared && strcmp(leg->mark.netns, name) == 0)
			return true;
	return false;
}

static bool is_live_network(struct overlay *o, const char *name)
{
	for (struct network *n = o->networks; n; n = n->hh.next)
		if (n->ports > 0 && strcmp(n->ns_name, name) == 0)
			return true;
	return false;
}

/* One namespace in the folder: whose is it, and is it still wanted? all: nothing is wanted any more. */
static int sweep_ns(struct overlay *o, const char *name, const char *const *keep, size_t n, bool all,
		    struct err *e)
{
	char mark[ALIAS_MAX];
	struct ns *ns;

	if (ns_get(o, name, &ns, NULL) < 0)
		return 0; /* no namespace, or it went in this moment */
	if (ns_mark(o, ns, mark, NULL) < 0 || !*mark) {
		ns_drop(o, ns); /* not ours: hold nothing of it */
		return 0;
	}
	if (strncmp(mark, ALIAS_NET, strlen(ALIAS_NET)) == 0)
		return all || !is_live_network(o, name) ? network_destroy(o, name, e) : 0;
	if (strcmp(mark, ALIAS_TASK) == 0)
		return all || !is_kept(o, name, keep, n) ? ns_remove(o, name, ALIAS_TASK, e) : 0;
	return 0;
}

static void sweep_all(struct overlay *o, const char *const *keep, size_t n, bool all, struct err *first)
{
	char **names = ns_names(o);
	struct err one = {0};

	for (size_t i = 0; names[i]; i++)
		note(first, sweep_ns(o, names[i], keep, n, all, &one), &one);
	ns_names_free(names);
	ns_sweep_half_made(o);
}

int overlay_adopt_done(struct overlay *o, const char *const *keep_netns, size_t n, struct err *e)
{
	struct err first = {0}, one = {0};
	unsigned repairs = 0;

	pthread_mutex_lock(&o->lock);
	o->nft.exact = true;
	free(o->nft.listing); /* the sets are written anew, exactly */
	o->nft.listing = NULL;
	note(&first, egress_sweep(o, &one), &one);
	sweep_all(o, keep_netns, n, false, &first);
	note(&first, reconcile_locked(o, &repairs, &one), &one);
	pthread_mutex_unlock(&o->lock);
	return finish(&first, e);
}

static void forget_all(struct overlay *o)
{
	struct network *n, *n_tmp;
	struct endpoint *ep, *ep_tmp;
	struct port *p, *p_tmp;
	struct declared_ns *d, *d_tmp;

	HASH_ITER (hh, o->networks, n, n_tmp) {
		HASH_DEL(o->networks, n);
		free(n);
	}
	HASH_ITER (hh, o->endpoints, ep, ep_tmp) {
		HASH_DEL(o->endpoints, ep);
		free(ep);
	}
	HASH_ITER (hh, o->ports, p, p_tmp) {
		HASH_DEL(o->ports, p);
		free(p);
	}
	HASH_ITER (hh, o->declared, d, d_tmp) {
		HASH_DEL(o->declared, d);
		free(d);
	}
	egress_forget_all(o);
}

int overlay_remove_all(struct overlay *o, struct err *e)
{
	struct err first = {0}, one = {0};

	pthread_mutex_lock(&o->lock);
	sweep_all(o, NULL, 0, true, &first);
	note(&first, egress_remove_all(o, &one), &one);
	note(&first, nft_remove(o, &one), &one);
	forget_all(o);
	reap_wait(o);
	pthread_mutex_unlock(&o->lock);
	return finish(&first, e);
}

void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	reap_fini(o);
	forget_all(o);
	ns_close_all(o);
	nft_fini(o);
	events_fini(o);
	pthread_mutex_destroy(&o->lock);
	free(o->netns_dir);
	free(o->nft_helper);
	free(o);
}
