// SPDX-License-Identifier: Apache-2.0
/* What must never happen (docs/galera.md), seen from outside: real processes, real data, committed rows. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

/* 1: two Primaries. A paused member that still believes in its old view is none: nobody follows it. */
void check_step(struct sim *s)
{
	const struct view *first = NULL;

	if (s->consent)
		return;
	for (const struct wtask *t = s->tasks; t; t = t->next) {
		const struct view *v = t->p.state != PROC_NONE && t->p.prim ? t->p.view : NULL;

		if (!v || v == first || !galera_is_effective(s, v))
			continue;
		if (first) {
			fail(s, "two Primary components: views %llu and %llu", (unsigned long long)first->id,
			     (unsigned long long)v->id);
			return;
		}
		first = v;
	}
}

/* 2, 3: a bootstrap beside a Primary, or from something that is no complete copy. */
void check_bootstrap(struct sim *s, struct wtask *t, const char *how)
{
	for (size_t i = 0; i < s->n_views && !s->consent; i++) {
		const struct view *v = s->all_views[i];

		if (galera_is_effective(s, v) && t->p.view != v)
			fail(s, "%s of %s while a Primary exists (view %llu)", how, task_label(t),
			     (unsigned long long)v->id);
	}
	if (!t->vol->data)
		fail(s, "%s of %s from an empty volume", how, task_label(t));
	if (t->vol->torn)
		fail(s, "%s of %s from a torn copy", how, task_label(t));
}

static bool someone_holds(const struct sim *s, unsigned line, int64_t seqno)
{
	for (const struct volume *v = s->volumes; v; v = v->next) {
		if (v->data && !v->torn && is_prefix(s, line, seqno, v->line, v->seqno))
			return true;
	}
	for (const struct wtask *t = s->tasks; t; t = t->next) {
		if (t->p.state == PROC_SYNCED && t->p.last_pc &&
		    is_prefix(s, line, seqno, t->p.line, t->p.received))
			return true;
	}
	return false;
}

/* 4: every acknowledged write is in every new Primary, unless each of its holders was destroyed by a fault. */
void check_history(struct sim *s, const struct view *v)
{
	for (unsigned l = 1; l < s->n_lines; l++) {
		int64_t acked = s->lines[l].acked;

		if (!acked || is_prefix(s, l, acked, v->comp->line, v->comp->seqno))
			continue;
		if (!s->consent && (someone_holds(s, l, acked) || !s->destroyed))
			fail(s,
			     "acknowledged write %u:%lld is not in Primary view %llu (line %u seqno %lld)%s",
			     l, (long long)acked, (unsigned long long)v->id, v->comp->line,
			     (long long)v->comp->seqno,
			     someone_holds(s, l, acked) ? ", but a volume holds it" : "");
		s->lines[l].acked = 0; /* written off */
	}
}

/* ---- committed rows ---- */

static bool answers_primary(const struct sim *s, const Gs__Task *t)
{
	const Gs__Node *n = store_node(s->m.store, t->node_id);

	return n && n->status && n->status->state == NODE_READY && t->status &&
	       t->status->state == TASK_RUNNING && t->status->view &&
	       strcmp(t->status->view->status, "Primary") == 0;
}

static bool permit_waits(const Gs__Task *t)
{
	const Gs__GaleraPermit *p = t->permit;

	if (!p || !t->status || p->attempt != t->status->attempt || t->desired > TASK_RUNNING)
		return false;
	if (p->mode == PERMIT_BOOTSTRAP)
		return t->status->state == TASK_HELD;
	return p->mode == PERMIT_PC_BOOTSTRAP && t->status->state == TASK_RUNNING && t->status->view &&
	       strcmp(t->status->view->status, "Primary");
}

static void check_leaves(struct sim *s, const Gs__Task *const *tasks, size_t n)
{
	unsigned going = 0, staying = 0;
	bool decided = false; /* by this commit: an old decision can come to light again with its node */

	for (size_t i = 0; i < n; i++) {
		const Gs__Slot *slot = store_slot(s->m.store, tasks[i]->slot_id);

		bool goes = tasks[i]->desired > TASK_RUNNING && slot && slot->removing;
		/* its end may have been committed after the pass had read the store */
		bool just_now = tasks[i]->meta->version + 10 > s->n_log;

		if (goes && answers_primary(s, tasks[i])) {
			going++;
			decided |= just_now;
		} else if (!goes)
			staying += answers_primary(s, tasks[i]) || just_now;
	}
	if (going > 1)
		fail(s, "%u members of a Primary were told to leave at once", going);
	bool begins = going > s->leaving && decided;
	s->leaving = going;
	if (begins && !staying)
		fail(s, "the last member of a Primary was told to leave");
}

/* An address that is not reserved for its slot can be given to another one. */
static void check_reservations(struct sim *s)
{
	const Gs__Slot *slot;

	for (size_t i = 0; (slot = store_at(s->m.store, OBJ_SLOT, i)); i++) {
		for (size_t k = 0; k < slot->n_addresses; k++) {
			const Gs__SlotAddress *sa = slot->addresses[k];
			const Gs__Reservation *r;
			char text[64], id[160];

			snprintf(id, sizeof(id), "address/%s/%s", sa->network_id,
				 addr_format(&sa->addr->ip, text, sizeof(text)));
			r = store_get(s->m.store, OBJ_RESERVATION, id);
			if (!r || strcmp(r->owner, slot->meta->id) != 0)
				fail(s, "%s is used by slot %s but reserved for %s", id, slot->meta->id,
				     r ? r->owner : "nobody");
		}
	}
}

void check_commit(struct sim *s)
{
	const Gs__GaleraCluster *c = store_galera(s->m.store, CLUSTER_ID);
	const Gs__Task *const *tasks;
	size_t n = store_tasks_of_service(s->m.store, DB_SERVICE, &tasks);
	unsigned waiting = 0;

	if (!c)
		return;
	check_reservations(s);
	for (size_t i = 0; i < n; i++) {
		waiting += permit_waits(tasks[i]);
		if (c->epoch > s->seen_epoch && answers_primary(s, tasks[i]) && !s->consent)
			fail(s, "epoch %llu was begun while %s answers as Primary",
			     (unsigned long long)c->epoch, tasks[i]->name);
	}
	if (waiting > 1 && !s->consent)
		fail(s, "%u bootstrap permits wait at once", waiting);
	if (c->phase == GP_BLOCKED)
		s->n_blocked++;
	s->n_elect += c->epoch > s->seen_epoch;
	s->seen_epoch = c->epoch;
	check_leaves(s, tasks, n);
	if (s->m.commits % 64 == 0)
		check_replicas(s);
}

void check_replicas(struct sim *s)
{
	uint8_t *a = NULL, *b = NULL;
	size_t n = 0, k = 0;

	s->m.fsm.snapshot(s->m.fsm.arg, &a, &n);
	s->m.replica_fsm.snapshot(s->m.replica_fsm.arg, &b, &k);
	if (n != k || memcmp(a, b, n))
		fail(s, "the snapshots of two replicas differ");
	free(a);
	free(b);
}

/* ---- the end ---- */

/* The user let a member go, and the others died before their view confirmed it. */
static bool leaver_has_newest(const struct sim *s, const Gs__GaleraCluster *c)
{
	for (size_t i = 0; c->last_primary && i < c->last_primary->n_slots; i++) {
		const Gs__Slot *slot = store_slot(s->m.store, c->last_primary->slots[i]);

		if (slot && slot->removing)
			return true;
	}
	return false;
}

static void check_database(struct sim *s)
{
	const Gs__GaleraCluster *c = store_galera(s->m.store, CLUSTER_ID);
	unsigned synced = 0, noted = 0;

	for (const struct wtask *t = s->tasks; t; t = t->next)
		synced += t->assigned && t->p.state == PROC_SYNCED && t->p.prim &&
			  galera_is_effective(s, t->p.view);
	for (size_t i = 0; i < c->n_slots; i++)
		noted += c->slots[i]->note[0] != 0;
	if (c->phase == GP_BLOCKED) {
		if (!s->destroyed && !leaver_has_newest(s, c))
			fail(s, "BLOCKED although no volume was lost:\n%s", c->blocked_reason);
		return;
	}
	if (synced + noted != s->replicas)
		fail(s, "%u of %u members are Synced in the end, %u left aside, phase %s", synced,
		     s->replicas, noted, galera_phase_name(c->phase));
	else if (!noted && c->phase != GP_HEALTHY)
		fail(s, "all members are Synced but the phase is %s", galera_phase_name(c->phase));
}

static void check_plain(struct sim *s, const char *id, unsigned want)
{
	unsigned running = 0;

	for (const struct wtask *t = s->tasks; t; t = t->next)
		running += t->assigned && !t->dead && strcmp(t->row->service_id, id) == 0 &&
			   t->row->desired == TASK_RUNNING && t->status->state == TASK_RUNNING;
	if (running != want)
		fail(s, "service %.3s: %u tasks run in the end, %u are wanted", id, running, want);
}

void check_end(struct sim *s)
{
	check_database(s);
	check_plain(s, WEB_SERVICE, s->web);
	check_plain(s, ALL_SERVICE, NODES);
	check_replicas(s);
}
