// SPDX-License-Identifier: Apache-2.0
/* Galera as far as the controller can meet it: who is Primary, which write-sets a data directory holds, what
 * a joiner gets. Written from Galera's documentation (quorum over the last Primary view, re-forming only with all of
 * its members, grastate, one donor for one joiner), not from the controller.
 *
 * The happy path is: members that reach each other form one view; a write is acknowledged when every member
 * of its view has received it. What fails is decided by faults.c: processes, links, nodes. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

static void evaluate(struct sim *s, void *arg, uint64_t tag);

void uuid_text(unsigned n, char ret[40])
{
	snprintf(ret, 40, "%08x-1111-2222-3333-444444444444", n);
}

unsigned new_line(struct sim *s, unsigned parent, int64_t fork)
{
	if (!s->n_lines)
		s->n_lines = 1; /* 0 is "none" */
	s->lines = xrealloc(s->lines, (s->n_lines + 1) * sizeof(*s->lines));
	s->lines[s->n_lines] = (struct line){parent, fork, fork, 0};
	return (unsigned)s->n_lines++;
}

bool is_prefix(const struct sim *s, unsigned l1, int64_t s1, unsigned l2, int64_t s2)
{
	while (l2 && l2 != l1) {
		if (s->lines[l2].fork < s2)
			s2 = s->lines[l2].fork;
		l2 = s->lines[l2].parent;
	}
	return l2 == l1 && s1 <= s2;
}

static struct view *new_view(struct sim *s, uint64_t conf, struct comp *c)
{
	struct view *v = xcalloc(1, sizeof(*v));

	v->id = ++s->views;
	v->conf = conf;
	v->comp = c;
	s->all_views = xrealloc(s->all_views, (s->n_views + 1) * sizeof(*s->all_views));
	s->all_views[s->n_views++] = v;
	return v;
}

static struct comp *new_comp(struct sim *s, unsigned line, int64_t seqno, unsigned uuid)
{
	struct comp *c = xcalloc(1, sizeof(*c));

	*c = (struct comp){line, uuid, seqno};
	s->all_comps = xrealloc(s->all_comps, (s->n_comps + 1) * sizeof(*s->all_comps));
	s->all_comps[s->n_comps++] = c;
	return c;
}

static bool active(const struct sim *s, const struct wtask *t)
{
	return t->p.state != PROC_NONE && !t->p.stopped && s->nodes[t->node].up;
}

static bool linked(const struct sim *s, const struct wtask *a, const struct wtask *b)
{
	return active(s, a) && active(s, b) && !s->cut[a->node][b->node] &&
	       a->p.group_epoch == b->p.group_epoch;
}

/* ---- data ---- */

static void make_durable(struct wtask *t)
{
	if (t->p.state != PROC_SYNCED || !t->vol)
		return;
	t->vol->line = t->p.line;
	t->vol->seqno = t->p.received;
	t->vol->uuid = t->p.last_pc->comp->uuid;
}

static void receive(struct wtask *t)
{
	t->p.line = t->p.view->comp->line;
	t->p.received = t->p.view->comp->seqno;
}

bool galera_write(struct sim *s, struct wtask *t)
{
	struct view *v = t->p.view;

	if (!active(s, t) || !t->p.prim || t->p.state != PROC_SYNCED)
		return false;
	for (size_t i = 0; i < v->n; i++) {
		struct wtask *m = v->members[i];

		if (m->p.incarnation != v->incarnation[i] || m->p.view != v || !m->p.prim ||
		    (m != t && !linked(s, t, m)))
			return false; /* waits until the view changes */
	}
	struct comp *c = v->comp;
	if (s->lines[c->line].tip != c->seqno)
		c->line = new_line(s, c->line, c->seqno);
	s->lines[c->line].tip = ++c->seqno;
	s->lines[c->line].acked = c->seqno;
	s->n_acked++;
	for (size_t i = 0; i < v->n; i++)
		receive(v->members[i]);
	make_durable(t);
	for (size_t i = 0; i < v->n; i++) {
		if (v->members[i] != t && chance(s, 70))
			make_durable(v->members[i]);
	}
	return true;
}

/* ---- state transfer ---- */

static void end_donation(struct wtask *t)
{
	if (t->p.donor_task)
		t->p.donor_task->p.donor = false;
	t->p.donor_task = NULL;
}

static void abort_joiner(struct sim *s, struct wtask *t, const char *why)
{
	galera_kill(s, t);
	worker_proc_exited(s, t, why);
}

/* What is due in a process that is stopped waits until it runs on: SIGSTOP loses no timer and no answer. */
static bool waits(struct sim *s, struct wtask *t, void (*fn)(struct sim *, void *, uint64_t), uint64_t tag)
{
	if (t->p.transfer != tag || t->p.state == PROC_NONE || !t->p.stopped)
		return false;
	at(s, 100, fn, t, tag);
	return true;
}

static void transfer_done(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *t = arg;

	if (waits(s, t, transfer_done, tag))
		return;
	if (t->p.transfer != tag || !active(s, t) || t->p.state != PROC_TRANSFER)
		return;
	if (!t->p.prim || !t->p.donor_task || !linked(s, t, t->p.donor_task)) {
		abort_joiner(s, t, "the donor is gone");
		return;
	}
	struct comp *c = t->p.view->comp;
	if (!t->p.sst && !is_prefix(s, t->vol->line, t->vol->seqno, c->line, c->seqno))
		fail(s,
		     "%s got IST although its data is no part of the history (line %u:%lld, group %u:%lld)",
		     task_label(t), t->vol->line, (long long)t->vol->seqno, c->line, (long long)c->seqno);
	end_donation(t);
	t->p.state = PROC_SYNCED;
	t->vol->torn = t->vol->no_grastate = t->vol->genesis = false;
	t->vol->data = true;
	receive(t);
	make_durable(t);
	t->fails = 0;
}

static void try_transfer(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *t = arg, *donor = NULL;
	struct view *v = t->p.view;

	if (waits(s, t, try_transfer, tag))
		return;
	if (t->p.transfer != tag || !active(s, t) || t->p.state == PROC_SYNCED || !t->p.prim || !v)
		return;
	for (size_t i = 0; i < v->n && !donor; i++) {
		struct wtask *m = v->members[i];

		if (m != t && m->p.view == v && m->p.state == PROC_SYNCED && !m->p.donor && linked(s, m, t))
			donor = m;
	}
	bool any_synced = false;
	for (size_t i = 0; i < v->n; i++)
		any_synced =
			any_synced || (v->members[i]->p.view == v && v->members[i]->p.state == PROC_SYNCED);
	if (!any_synced && now(s) - t->p.started_ms > 20000 && chance(s, 10)) {
		abort_joiner(s, t, "nobody in the view can give a copy");
		return;
	}
	if (!donor) {
		at(s, 1000, try_transfer, t, tag);
		return;
	}
	bool ist = t->vol->data && !t->vol->torn && !t->vol->no_grastate && t->vol->uuid == v->comp->uuid;
	if (ist && t->vol->seqno > v->comp->seqno) {
		abort_joiner(s, t, "Reversing history");
		return;
	}
	donor->p.donor = true;
	t->p.donor_task = donor;
	t->p.state = PROC_TRANSFER;
	t->p.sst = !ist;
	if (!ist) {
		t->vol->data = t->vol->torn = true;
		t->vol->clean = false;
	}
	s->n_ist += ist;
	s->n_sst += !ist;
	at(s, ist ? between(s, 100, 1500) : between(s, 800, 8000), transfer_done, t, tag);
}

static void start_transfer(struct sim *s, struct wtask *t)
{
	end_donation(t);
	t->p.state = PROC_WAIT;
	at(s, between(s, 10, 300), try_transfer, t, ++t->p.transfer);
}

/* ---- views ---- */

/* Whoever was Synced in the view before has received everything, also what it has not applied yet. */
static void install(struct sim *s, struct view *v, const struct view *before, struct wtask **set, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct wtask *t = set[i];
		bool had = before && t->p.last_pc == before && t->p.state == PROC_SYNCED;
		bool moving = t->p.state == PROC_TRANSFER && t->p.prim && t->p.view == before;

		v->members[v->n] = t;
		v->incarnation[v->n++] = t->p.incarnation;
		t->p.view = t->p.last_pc = v;
		t->p.prim = t->p.was_prim = true;
		if (had || t->p.new_cluster) {
			receive(t);
			make_durable(t);
		} else if (!moving) {
			start_transfer(s, t);
		}
		t->p.new_cluster = false;
	}
	say(s, "Primary view %llu conf %llu: %zu members, line %u seqno %lld", (unsigned long long)v->id,
	    (unsigned long long)v->conf, v->n, v->comp->line, (long long)v->comp->seqno);
	check_history(s, v);
}

static bool still_in(const struct view *v, size_t i)
{
	const struct wtask *t = v->members[i];

	return t->p.incarnation == v->incarnation[i] && t->p.state != PROC_NONE && t->p.prim &&
	       t->p.view == v;
}

bool galera_is_effective(const struct sim *s, const struct view *v)
{
	size_t in = 0;

	for (size_t i = 0; i < v->n; i++)
		in += still_in(v, i) && active(s, v->members[i]);
	return 2 * in + v->left > v->n;
}

static bool in_set(struct wtask **set, size_t n, const struct wtask *t)
{
	for (size_t i = 0; i < n; i++) {
		if (set[i] == t)
			return true;
	}
	return false;
}

static void lose_primary(struct sim *s, struct wtask *t)
{
	if (!t->p.prim)
		return;
	t->p.prim = false;
	say(s, "%s non-Primary", task_label(t));
	if (t->p.state == PROC_TRANSFER)
		abort_joiner(s, t, "non-Primary during state transfer");
}

static struct view *greatest(struct wtask **set, size_t n, bool prim)
{
	struct view *best = NULL;

	for (size_t i = 0; i < n; i++) {
		struct view *v = prim ? (set[i]->p.prim ? set[i]->p.view : NULL) : set[i]->p.last_pc;

		if (v && (!best || v->id > best->id))
			best = v;
	}
	return best;
}

static void judge_set(struct sim *s, struct wtask **set, size_t n)
{
	struct view *v = greatest(set, n, true), *last = greatest(set, n, false);
	size_t here = 0, all = 0;

	for (size_t i = 0; v && i < v->n; i++)
		here += still_in(v, i) && in_set(set, n, v->members[i]);
	if (v && v == last && 2 * here + v->left > v->n) {
		if (here == n && v->n == n)
			return;
		install(s, new_view(s, v->conf + 1, v->comp), v, set, n);
		return;
	}
	for (size_t i = 0; last && i < last->n; i++)
		all += last->members[i]->p.incarnation == last->incarnation[i] &&
		       in_set(set, n, last->members[i]) && last->members[i]->p.last_pc == last;
	if (last && !v && all == last->n) {
		install(s, new_view(s, last->conf + 1, last->comp), last, set, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		lose_primary(s, set[i]);
}

/* Everybody who reaches each other, also over others (gcomm relays). */
static size_t reachable(struct sim *s, struct wtask *from, struct wtask **set, bool direct)
{
	size_t n = 0;

	set[n++] = from;
	for (size_t i = 0; i < n && !(direct && i > 0); i++) {
		for (struct wtask *t = s->tasks; t && n < NODES * 2; t = t->next) {
			if (linked(s, set[i], t) && !in_set(set, n, t))
				set[n++] = t;
		}
	}
	return n;
}

/* tag 1: this call comes again every second */
static void evaluate(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *set[NODES * 2], *done[NODES * 4];
	size_t n_done = 0;

	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (!active(s, t) || in_set(done, n_done, t))
			continue;
		size_t n = reachable(s, t, set, false);
		for (size_t i = 0; i < n && n_done < NODES * 4; i++)
			done[n_done++] = set[i];
		judge_set(s, set, n);
	}
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (active(s, t) && chance(s, 50))
			make_durable(t);
		if (active(s, t) && !t->p.prim && !t->p.was_prim && now(s) - t->p.started_ms > 31000)
			abort_joiner(s, t, "no Primary for 31 s");
	}
	if (tag)
		at(s, between(s, 800, 1200), evaluate, NULL, tag);
}

void galera_tick(struct sim *s)
{
	evaluate(s, NULL, 1);
}

void galera_eval_soon(struct sim *s, int64_t lo, int64_t hi)
{
	at(s, between(s, lo, hi), evaluate, NULL, 0);
}

/* ---- starts and ends ---- */

static void come_up(struct sim *s, void *arg, uint64_t incarnation)
{
	struct wtask *t = arg;

	if (t->p.incarnation != incarnation || t->p.state == PROC_NONE)
		return;
	if (!t->p.new_cluster) {
		evaluate(s, NULL, 0);
		at(s, 31500, evaluate, NULL, 0);
		return;
	}
	struct comp *c;
	if (!t->vol->data) { /* --wsrep-new-cluster on nothing: a fresh history, without protest */
		unsigned l = new_line(s, 0, 0);

		c = new_comp(s, l, 0, ++s->uuids);
		t->vol->data = true;
	} else {
		c = new_comp(s, t->vol->line, t->vol->seqno, t->vol->uuid);
	}
	s->n_boot++;
	t->vol->torn = t->vol->genesis = t->vol->no_grastate = false;
	t->p.state = PROC_SYNCED;
	struct wtask *self[1] = {t};
	struct view *v = new_view(s, 1, c);
	v->consented = s->consent;
	install(s, v, NULL, self, 1);
	t->fails = 0;
}

void galera_start(struct sim *s, struct wtask *t, bool new_cluster, const Gs__GaleraPermit *p)
{
	say(s, "%s starts as %s, epoch %llu group %llu, volume line %u:%lld%s%s", task_label(t),
	    new_cluster ? "BOOTSTRAP" : "join", (unsigned long long)p->epoch,
	    (unsigned long long)p->group_epoch, t->vol->line, (long long)t->vol->seqno,
	    t->vol->torn ? " torn" : "", t->vol->data ? "" : " empty");
	t->p = (struct proc){.state = PROC_WAIT,
			     .incarnation = (unsigned)++s->incarnations,
			     .group_epoch = p->group_epoch,
			     .started_ms = now(s),
			     .new_cluster = new_cluster};
	t->vol->clean = t->vol->stb = false;
	if (new_cluster)
		check_bootstrap(s, t, "bootstrap");
	at(s, between(s, 150, 1500), come_up, t, t->p.incarnation);
}

void galera_kill(struct sim *s, struct wtask *t)
{
	if (t->p.state == PROC_NONE)
		return;
	end_donation(t);
	for (struct wtask *o = s->tasks; o; o = o->next) {
		if (o->p.donor_task == t)
			o->p.donor_task = NULL;
	}
	t->p.state = PROC_NONE;
	t->p.prim = t->p.donor = t->p.stopped = false;
	t->p.transfer = ++s->incarnations;
	galera_eval_soon(s, 1000, 3500);
}

void galera_leave(struct sim *s, struct wtask *t)
{
	bool synced = t->p.state == PROC_SYNCED;
	struct view *v = t->p.prim ? t->p.view : NULL;

	if (synced && t->p.last_pc)
		make_durable(t);
	if (t->p.state != PROC_TRANSFER && t->vol->data && !t->vol->torn)
		t->vol->clean = true;
	if (v && !t->p.stopped) {
		size_t heard = 0;
		for (size_t i = 0; i < v->n; i++)
			heard += v->members[i] != t && still_in(v, i) && linked(s, t, v->members[i]);
		t->vol->stb = v->n == 1;
		if (heard)
			v->left++;
	}
	galera_kill(s, t);
	evaluate(s, NULL, 0);
}

void galera_pc_bootstrap(struct sim *s, struct wtask *t, uint64_t conf)
{
	struct wtask *set[NODES * 2];

	if (!active(s, t) || t->p.prim || !t->p.last_pc)
		return;
	if (conf && t->p.last_pc->conf != conf) {
		say(s, "%s refuses pc.bootstrap for conf %llu, it has seen %llu", task_label(t),
		    (unsigned long long)conf, (unsigned long long)t->p.last_pc->conf);
		return;
	}
	s->n_pc++;
	check_bootstrap(s, t, "pc.bootstrap");
	size_t n = reachable(s, t, set, false);
	if (t->p.state != PROC_SYNCED)
		return;
	struct comp *c = new_comp(s, t->p.line, t->p.received, t->p.last_pc->comp->uuid);
	const struct view *before = t->p.last_pc;
	struct view *v = new_view(s, t->p.last_pc->conf + 1, c);
	v->consented = s->consent;
	t->p.new_cluster = true;
	install(s, v, before, set, n);
}

void galera_fill_view(struct sim *s, const struct wtask *t, Gs__GaleraView *v)
{
	char uuid[40];
	const struct view *w = t->p.prim ? t->p.view : NULL;

	str_replace(&v->status, w ? "Primary" : "non-Primary");
	v->local_state = t->p.donor ? 2 : t->p.state == PROC_SYNCED && w ? 4 : w ? 1 : 0;
	v->conf_id = w ? w->conf : UINT64_MAX;
	v->cluster_size = w ? (uint32_t)w->n : 1;
	v->connected = true;
	v->prim_conf_id = t->p.last_pc ? t->p.last_pc->conf : 0;
	for (size_t i = 0; !w && t->p.last_pc && i < t->p.last_pc->n; i++)
		obj_add_str(&v->n_prim_members, &v->prim_members, t->p.last_pc->members[i]->row->name);
	uuid_text(t->p.last_pc ? t->p.last_pc->comp->uuid : 0, uuid);
	str_replace(&v->cluster_uuid, uuid);
	v->last_committed = t->p.state == PROC_SYNCED ? t->p.received : t->vol->seqno;
	for (size_t i = 0; w && i < w->n; i++)
		obj_add_str(&v->n_members, &v->members, w->members[i]->row->name);
	(void)s;
}
