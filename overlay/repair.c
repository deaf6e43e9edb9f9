// SPDX-License-Identifier: Apache-2.0
/* The pass: what is declared is compared with how far the kernel is, and what is due is worked off.
 *
 *   rules --> gswarm0 --> task namespaces --> networks, each with its ports --> egress legs --> sweep
 *
 * The happy path is: nothing is due, and one question about nft's generation was all. An object is looked at
 * when it is new, when an event of its own namespace came, when a write of it failed, or when its time has
 * come; only its namespace is dumped then. What can fail is one object: it is put off by a back-off of its
 * own, the others are worked on all the same, and the first error is returned. Nothing is reaped from a
 * network while anything of it is not settled: what looks like nobody's may be what is not adopted yet. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/clock.h"
#include "overlay/reap.h"
#include "overlay/repair.h"

/* nft is asked this often whether somebody changed its rules; nobody tells. */
#define RULES_LOOK_MS 2000
#define IDLE_MS 60000

int64_t overlay_now_ms(void)
{
	return clock_mono_ms(&clock_real);
}

/* One run: what was repaired, and the first error. */
struct run {
	struct overlay *o;
	unsigned repairs, waiting;
	struct err first;
};

static bool note(struct run *r, int rc, const struct err *e)
{
	if (rc < 0 && r->first.code == 0)
		r->first = *e;
	return rc == 0;
}

/* ---- task namespaces ---- */

void taskns_mark(const struct task_ns *t, char ret_mark[ALIAS_MAX])
{
	snprintf(ret_mark, ALIAS_MAX, ALIAS_TASK "%s%s", *t->owner ? ":" : "", t->owner);
}

/* What has the name of a task that is declared, but another one's mark, was left by the task before it. */
int taskns_ensure(struct overlay *o, struct task_ns *t, struct err *e)
{
	char mark[ALIAS_MAX];
	int rc;

	bug_if(!t->declared);
	taskns_mark(t, mark);
	rc = ns_create(o, t->name, mark, t->pid, e);
	if (rc == E_IN_USE) {
		rc = ns_remove(o, t->name, ALIAS_TASK, e);
		if (rc == 0)
			rc = ns_create(o, t->name, mark, 0, e);
	}
	if (rc < 0) {
		work_failed(&t->work, overlay_now_ms());
		return err_wrap(e, "namespace %s", t->name);
	}
	work_done(&t->work, overlay_now_ms());
	return 0;
}

int taskns_leave(struct overlay *o, struct task_ns *t, struct err *e)
{
	char mark[ALIAS_MAX];
	int rc;

	bug_if(t->declared);
	taskns_mark(t, mark);
	rc = ns_remove(o, t->name, mark, e);
	if (rc < 0) {
		work_failed(&t->work, overlay_now_ms());
		return rc;
	}
	taskns_forget(o, t);
	return 0;
}

static void taskns_step(struct run *r, struct task_ns *t)
{
	struct err e = {0};

	if (!work_take(&t->work, overlay_now_ms()))
		return;
	if (work_is(&t->work, WORK_LEAVING)) {
		note(r, taskns_leave(r->o, t, &e), &e);
		return;
	}
	note(r, taskns_ensure(r->o, t, &e), &e);
}

/* ---- networks and their ports ---- */

int network_leave(struct overlay *o, struct network *n, struct err *e)
{
	int rc;

	bug_if(network_is_wanted(n) || !work_is(&n->work, WORK_LEAVING));
	rc = network_destroy(o, n->ns_name, e);
	if (rc < 0) {
		work_failed(&n->work, overlay_now_ms());
		return err_wrap(e, "remove network %s", n->spec.id);
	}
	n->changes.n = 0;
	work_gone(&n->work);
	network_review(o, n); /* frees it when it is not declared any more */
	return 0;
}

int port_bring(struct overlay *o, struct port *p, struct err *e)
{
	int rc;

	bug_if(!p->n || work_is(&p->n->work, WORK_ABSENT));
	rc = port_ensure(o, p->n, &p->spec, e);
	if (rc < 0)
		work_failed(&p->work, overlay_now_ms());
	else
		work_done(&p->work, overlay_now_ms());
	return rc;
}

static void port_step(struct run *r, struct port *p)
{
	struct err e = {0};

	if (!work_take(&p->work, overlay_now_ms()))
		return;
	if (work_is(&p->work, WORK_SUSPECT)) {
		if (port_is_right(r->o, p->n, &p->spec)) {
			work_done(&p->work, overlay_now_ms());
			return;
		}
		r->repairs++;
	}
	note(r, port_bring(r->o, p, &e), &e);
}

/* Pending: build it. Else write what was declared since, and compare when there is a reason. */
static int network_bring(struct run *r, struct network *n, struct err *e)
{
	struct err one = {0};
	int rc;

	if (!work_is(&n->work, WORK_PENDING))
		note(r, network_flush(r->o, n, &one), &one);
	if (!work_take(&n->work, overlay_now_ms()))
		return 0;
	rc = work_is(&n->work, WORK_PENDING) ? network_ensure(r->o, n, e)
					     : network_check(r->o, n, &r->repairs, e);
	if (rc < 0)
		work_failed(&n->work, overlay_now_ms());
	return rc;
}

static bool is_all_settled(const struct network *n)
{
	struct port *p;

	DL_FOREACH (n->ports, p)
		if (!work_is(&p->work, WORK_SETTLED))
			return false;
	return work_is(&n->work, WORK_SETTLED);
}

static void network_step(struct run *r, struct network *n)
{
	struct err e = {0};
	struct port *p;

	if (work_is(&n->work, WORK_LEAVING)) {
		if (work_take(&n->work, overlay_now_ms()))
			note(r, network_leave(r->o, n, &e), &e);
		return;
	}
	if (!work_is_there(&n->work))
		return;
	note(r, network_bring(r, n, &e), &e);
	if (!work_is(&n->work, WORK_SETTLED))
		return;
	DL_FOREACH (n->ports, p)
		port_step(r, p);
	if (n->strays && r->o->adopted && is_all_settled(n))
		n->strays = !note(r, network_reap(r->o, n, &r->repairs, &e), &e);
}

/* ---- egress legs ---- */

static void leg_step(struct run *r, struct leg *leg)
{
	struct err e = {0};
	int rc;

	if (!work_take(&leg->work, overlay_now_ms()))
		return;
	if (work_is(&leg->work, WORK_LEAVING)) {
		rc = leg_delete(r->o, leg, &e);
		if (rc < 0)
			work_failed(&leg->work, overlay_now_ms());
		note(r, rc, &e);
		return;
	}
	if (work_is(&leg->work, WORK_SUSPECT)) {
		if (leg_is_right(r->o, &leg->mark)) {
			work_done(&leg->work, overlay_now_ms());
			return;
		}
		r->repairs++;
	}
	note(r, leg_bring(r->o, leg, &e), &e);
}

int leg_bring(struct overlay *o, struct leg *leg, struct err *e)
{
	int rc;

	bug_if(!leg->declared);
	rc = leg_ensure(o, leg, e);
	if (rc < 0)
		work_failed(&leg->work, overlay_now_ms());
	else
		work_done(&leg->work, overlay_now_ms());
	return rc;
}

/* ---- why to look ---- */

static void suspect_host_link(struct overlay *o, const char *link)
{
	char name[NAME_MAX_LEN];

	for (struct leg *leg = o->legs; leg; leg = leg->hh.next) {
		name_leg(leg->mark.id, name);
		if (strcmp(name, link) == 0)
			work_suspect(&leg->work);
	}
}

static void suspect_task(struct overlay *o, const char *name)
{
	for (struct port *p = o->ports; p; p = p->hh.next)
		if (strcmp(p->spec.netns, name) == 0)
			work_suspect(&p->work);
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		if (strcmp(leg->mark.netns, name) == 0)
			work_suspect(&leg->work);
}

static void suspect_network(struct overlay *o, const char *ns_name)
{
	for (struct network *n = o->networks; n; n = n->hh.next)
		if (strcmp(n->ns_name, ns_name) == 0)
			work_suspect(&n->work);
}

static void on_event(struct overlay *o, const struct event_note *note)
{
	switch (note->scope) {
	case EVENTS_HOST:
		work_suspect(&o->egress.work);
		for (size_t i = 0; i < note->n_links; i++)
			suspect_host_link(o, note->links[i]);
		for (struct leg *leg = o->legs; note->all_links && leg; leg = leg->hh.next)
			work_suspect(&leg->work);
		break;
	case EVENTS_NETWORK:
		suspect_network(o, note->name);
		break;
	case EVENTS_TASK:
		suspect_task(o, note->name);
		break;
	}
}

static void look_at(struct work *w)
{
	work_suspect(w);
	work_rush(w);
}

void repair_suspect_all(struct overlay *o)
{
	look_at(&o->rules.work);
	look_at(&o->egress.work);
	look_at(&o->sweep);
	for (struct network *n = o->networks; n; n = n->hh.next)
		look_at(&n->work);
	for (struct port *p = o->ports; p; p = p->hh.next)
		look_at(&p->work);
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		look_at(&leg->work);
	for (struct task_ns *t = o->tasks; t; t = t->hh.next)
		look_at(&t->work);
}

/* ---- the pass ---- */

static void sweep_step(struct run *r)
{
	struct err e = {0};
	int rc;

	if (!r->o->adopted || !work_take(&r->o->sweep, overlay_now_ms()))
		return;
	rc = adopt_sweep(r->o, &e);
	if (rc < 0)
		work_failed(&r->o->sweep, overlay_now_ms());
	else
		work_gone(&r->o->sweep);
	note(r, rc, &e);
}

static void steps(struct run *r)
{
	struct overlay *o = r->o;
	struct task_ns *t, *t_tmp;
	struct network *n, *n_tmp;
	struct leg *leg, *leg_tmp;
	struct err e = {0};

	sweep_step(r);
	note(r, rules_check(o, &r->repairs, &e), &e);
	note(r, egress_check(o, &r->repairs, &e), &e);
	HASH_ITER (hh, o->tasks, t, t_tmp)
		taskns_step(r, t);
	HASH_ITER (hh, o->networks, n, n_tmp)
		network_step(r, n);
	HASH_ITER (hh, o->legs, leg, leg_tmp)
		leg_step(r, leg);
}

/* A look at something settled can wait for the next round; a try that is due cannot. */
static void count(const struct work *w, int64_t now, struct overlay_pass *ret)
{
	int64_t wait = w->due_ms > now ? w->due_ms - now : 1;

	if (work_is(w, WORK_ABSENT) || work_is(w, WORK_SETTLED))
		return;
	ret->waiting++;
	if (wait < ret->wait_ms)
		ret->wait_ms = (uint32_t)wait;
}

static void count_all(struct overlay *o, struct overlay_pass *ret)
{
	int64_t now = overlay_now_ms();

	ret->wait_ms = o->ports || o->tasks || work_is_there(&o->rules.work) ? RULES_LOOK_MS : IDLE_MS;
	count(&o->rules.work, now, ret);
	count(&o->egress.work, now, ret);
	count(&o->sweep, now, ret);
	for (struct network *n = o->networks; n; n = n->hh.next)
		count(&n->work, now, ret);
	for (struct port *p = o->ports; p; p = p->hh.next)
		count(&p->work, now, ret);
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		count(&leg->work, now, ret);
	for (struct task_ns *t = o->tasks; t; t = t->hh.next)
		count(&t->work, now, ret);
}

static int finish(const struct err *first, struct err *e)
{
	bug_if(first->code > 0);
	if (e)
		*e = *first; /* cleared when nothing failed */
	return first->code;
}

int overlay_pass(struct overlay *o, struct overlay_pass *ret, struct err *e)
{
	struct run r = {.o = o};
	unsigned restored;

	pthread_mutex_lock(&o->lock);
	restored = o->restored;
	inbox_take(o);
	events_take(o, on_event);
	nft_reap(&o->nft);
	steps(&r);
	underlay_look(o);
	*ret = (struct overlay_pass){.repairs = r.repairs + (o->restored - restored),
				     .path_mtu = o->path_mtu};
	count_all(o, ret);
	pthread_mutex_unlock(&o->lock);
	return finish(&r.first, e);
}

int overlay_adopt_done(struct overlay *o, const char *const *keep_netns, size_t n, struct err *e)
{
	struct run r = {.o = o};

	pthread_mutex_lock(&o->lock);
	inbox_take(o);
	adopt_keep(o, keep_netns, n);
	o->adopted = true;
	rules_exact(o);
	work_doom(&o->sweep);
	repair_suspect_all(o);
	steps(&r);
	pthread_mutex_unlock(&o->lock);
	return finish(&r.first, e);
}

int overlay_remove_all(struct overlay *o, struct err *e)
{
	struct err first = {0}, one = {0};
	struct run r = {.o = o};

	pthread_mutex_lock(&o->lock);
	desired_forget_all(o);
	adopt_keep(o, NULL, 0);
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		leg->declared = false;
	note(&r, adopt_sweep(o, &one), &one);
	steps(&r);
	first = r.first;
	if (egress_remove_all(o, &one) < 0 && first.code == 0)
		first = one;
	err_clear(&one);
	if (rules_remove(o, &one) < 0 && first.code == 0)
		first = one;
	reap_wait(o);
	pthread_mutex_unlock(&o->lock);
	return finish(&first, e);
}
