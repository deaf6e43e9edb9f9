// SPDX-License-Identifier: Apache-2.0
/* The happy path is: a view with a higher conf_id moves last_primary; fresh evidence and Synced members move
 * the slots' records; the highest committed seqno moves hwm every few seconds.
 *
 * What can fail: a worker may report anything. A foreign uuid, an epoch from the future or an older group's
 * view changes nothing here. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "manager/galera/internal.h"

enum { HWM_EVERY_MS = 5000 };

const char *galera_verdict_name(enum galera_verdict v)
{
	static const char *const names[] = {"no evidence", "empty",      "genesis", "complete", "stale",
					    "forked",      "incomplete", "damaged", "foreign"};

	bug_if((size_t)v >= array_size(names));
	return names[v];
}

bool galera_born(const struct galera *g)
{
	return g->c->last_primary && g->c->last_primary->n_slots > 0;
}

/* A status can be old: a node that comes back is Ready before it has told what happened meanwhile. Who is in
 * the newest view that anybody reported is believed. */
bool galera_is_current(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraView *v = m->life == GL_PRIMARY && m->task->status ? m->task->status->view : NULL;

	return v && !m->outdated && g->c->last_primary && v->conf_id >= g->c->last_primary->conf_id;
}

bool galera_has_primary(const struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		if (galera_is_current(g, &g->m[i]))
			return true;
	}
	return false;
}

bool galera_in_primary_view(const struct galera *g, const char *slot_id)
{
	const Gs__PrimaryView *v = g->c->last_primary;

	for (size_t i = 0; v && i < v->n_slots; i++) {
		if (strcmp(v->slots[i], slot_id) == 0)
			return true;
	}
	return false;
}

const Gs__GaleraSlot *galera_find_record(const struct galera *g, const char *slot_id)
{
	for (size_t i = 0; i < g->c->n_slots; i++) {
		if (strcmp(g->c->slots[i]->slot_id, slot_id) == 0)
			return g->c->slots[i];
	}
	return NULL;
}

bool galera_is_complete(const struct galera *g, const char *slot_id)
{
	const Gs__GaleraSlot *r = galera_find_record(g, slot_id);

	return r && r->epoch > 0;
}

bool galera_lost_data(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);

	return r && (r->data_lost || (m->verdict == GV_EMPTY && r->epoch > 0));
}

Gs__GaleraSlot *galera_slot_record(struct galera *g, const char *slot_id)
{
	Gs__GaleraSlot *r = (Gs__GaleraSlot *)galera_find_record(g, slot_id);

	if (r)
		return r;
	bug_if(!galera_slot_member(g, slot_id)); /* records of others are dropped */
	r = obj_new(&gs__galera_slot__descriptor);
	str_replace(&r->slot_id, slot_id);
	obj_add(&g->c->n_slots, &g->c->slots, r);
	return r;
}

/* ---- evidence ---- */

static bool uuid_is_nil(const char *uuid)
{
	return strspn(uuid, "0-") == strlen(uuid);
}

static const Gs__GaleraEpoch *find_epoch(const struct galera *g, uint64_t n)
{
	for (size_t i = 0; i < g->c->n_epochs; i++) {
		if (g->c->epochs[i]->n == n)
			return g->c->epochs[i];
	}
	return NULL;
}

uint64_t galera_head(const struct galera *g)
{
	uint64_t n = 0;

	for (size_t i = 0; i < g->c->n_epochs; i++) {
		if (!g->c->epochs[i]->abandoned && g->c->epochs[i]->n > n)
			n = g->c->epochs[i]->n;
	}
	return n;
}

/* Up to which seqno data written in this epoch is part of the history that ends in the head: the lowest fork
 * on the way from either of them to the epoch they have in common. INT64_MAX: it is that history. */
static int64_t shared_until(const struct galera *g, uint64_t epoch)
{
	int64_t limit = INT64_MAX;
	uint64_t a = epoch, b = galera_head(g);

	while (a != b) { /* parents have lower numbers, 0 is everybody's */
		uint64_t *later = a > b ? &a : &b;
		const Gs__GaleraEpoch *e = find_epoch(g, *later);

		if (e && e->boot_seqno < limit)
			limit = e->boot_seqno;
		bug_if(e && e->parent >= e->n);
		*later = e ? e->parent : 0;
	}
	return limit;
}

static enum galera_verdict judge_history(const struct galera *g, struct galera_member *m,
					 const Gs__GaleraEvidence *ev)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);

	m->epoch = ev->epoch;
	/* The managers saw it Synced in a newer epoch than its file says (a pc.bootstrap it was part of). */
	if (r && r->epoch > m->epoch && strcmp(r->volume_id, ev->volume_id) == 0)
		m->epoch = r->epoch;
	if (m->epoch > g->c->epoch)
		return GV_FOREIGN;
	int64_t limit = shared_until(g, m->epoch);
	if (limit == INT64_MAX)
		return GV_SOURCE;
	return ev->position->seqno > limit && galera_obeys(g, GALERA_RULE_FORK) ? GV_FORKED : GV_STALE;
}

/* What it holds is not known; where it would begin if the operator chose it may be. */
static enum galera_verdict judge_damaged(const struct galera *g, struct galera_member *m,
					 const Gs__GaleraEvidence *ev)
{
	m->epoch = ev->epoch;
	if (m->epoch > g->c->epoch)
		return GV_FOREIGN;
	if (!ev->position || strcmp(ev->position->uuid, g->c->cluster_uuid))
		m->seqno = -1;
	return GV_DAMAGED;
}

bool galera_was_voted_out(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);

	return r && r->voted_out;
}

static enum galera_verdict judge_data(const struct galera *g, struct galera_member *m,
				      const Gs__GaleraEvidence *ev)
{
	const char *uuid = ev->position ? ev->position->uuid : "";
	bool unknown = uuid_is_nil(uuid) || ev->position->seqno < 0;

	if (ev->class_ == GC_INCOMPLETE || (ev->class_ == GC_GENESIS && unknown))
		return GV_INCOMPLETE;
	if (ev->class_ == GC_DAMAGED || ev->prepared_rollback || unknown ||
	    (ev->class_ == GC_DDL_CRASHED && galera_was_voted_out(g, m)))
		return judge_damaged(g, m, ev);
	if (strcmp(uuid, g->c->cluster_uuid))
		return ev->class_ == GC_GENESIS ? GV_INCOMPLETE : GV_FOREIGN;
	if (ev->class_ == GC_GENESIS)
		return GV_GENESIS;
	return judge_history(g, m, ev);
}

void galera_judge(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraEvidence *ev = m->task->status->evidence;

	bug_if(m->life != GL_HELD || !ev);
	m->seqno = ev->position ? ev->position->seqno : -1;
	if (ev->class_ == GC_UNKNOWN)
		m->verdict = GV_NONE;
	else if (ev->class_ == GC_FOREIGN ||
		 (ev->file_cluster_id[0] && strcmp(ev->file_cluster_id, g->c->meta->id)))
		m->verdict = GV_FOREIGN;
	else if (ev->class_ == GC_EMPTY)
		m->verdict = GV_EMPTY;
	else
		m->verdict = judge_data(g, m, ev);
	if (!galera_obeys(g, GALERA_RULE_SOURCE) && m->verdict != GV_NONE) {
		m->verdict = GV_SOURCE;
		m->epoch = galera_head(g);
		m->seqno = m->seqno < 0 ? INT32_MAX : m->seqno;
	}
}

/* A member of V whose data is gone has not answered, but one that only was in the view to
 * receive its first copy never held anything: its record says whether it was ever Synced. */
static void note_evidence(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraEvidence *ev = m->task->status->evidence;
	Gs__GaleraPosition none = GS__GALERA_POSITION__INIT;
	const Gs__GaleraPosition *pos = ev->position ? ev->position : &none;
	const Gs__GaleraSlot *seen = galera_find_record(g, m->slot->meta->id);

	if (galera_lost_data(g, m) && !seen->data_lost)
		galera_slot_record(g, m->slot->meta->id)->data_lost = true;
	if (seen && seen->last && strcmp(seen->volume_id, ev->volume_id) == 0 && obj_equal(seen->last, pos) &&
	    seen->volume_generation == ev->volume_generation)
		return;
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	str_replace(&r->volume_id, ev->volume_id);
	r->volume_generation = ev->volume_generation;
	obj_set(&r->last, pos);
	r->last_seen_ms = g->wall_ms;
}

static void note_foreign(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraEvidence *ev = m->task->status->evidence;
	const Gs__GaleraSlot *seen = galera_find_record(g, m->slot->meta->id);
	bool foreign = m->verdict == GV_FOREIGN;

	if (!foreign && (!seen || !seen->note[0]))
		return;
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	if (foreign && !r->note[0])
		galera_event(g, "galera.foreign",
			     "%s: its volume holds data of another cluster (%s), it is left alone",
			     galera_member_name(m),
			     ev->reason[0] ? ev->reason : (ev->position ? ev->position->uuid : "?"));
	str_replace(&r->note,
		    foreign ? "volume holds data of another cluster; left untouched, move it away by hand"
			    : "");
}

/* The slot's new task is in a Primary: the one that was given up with its node is in none, and can be in none with
 * others, since its address is the new one's. Without a permit its row says that it was never let start. */
static void lay_ghosts(struct galera *g, struct galera_member *m)
{
	cleanup_free const Gs__Task **tasks = NULL;
	size_t n = m->haunted ? tx_tasks_of_service(g->tx, m->slot->service_id, &tasks) : 0;

	bug_if(!m->synced || m->outdated);
	for (size_t i = 0; i < n; i++) {
		const Gs__Task *t = tasks[i];

		if (strcmp(t->slot_id, m->slot->meta->id) == 0 && t->status &&
		    t->status->state == TASK_ORPHANED && t->permit)
			obj_set(&((Gs__Task *)tx_edit(g->tx, OBJ_TASK, t->meta->id))->permit, NULL);
	}
	m->haunted = false;
}

static void note_synced(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraSlot *seen = galera_find_record(g, m->slot->meta->id);

	bug_if(!m->synced || m->outdated);
	uint64_t conf = m->task->status->view->conf_id;

	if (seen && seen->epoch == g->c->epoch && seen->synced_conf == conf && !seen->note[0] &&
	    !seen->voted_out && !seen->data_lost)
		return;
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	r->data_lost = false;
	r->epoch = g->c->epoch;
	r->voted_out = false;
	r->synced_conf = conf;
	r->last_seen_ms = g->wall_ms;
	str_replace(&r->note, "");
	if (m->task->status->evidence)
		str_replace(&r->volume_id, m->task->status->evidence->volume_id);
}

/* Its grastate.dat has a zero uuid from now on, as after a crash inside a schema change. */
static void note_voted_out(struct galera *g, const struct galera_member *m)
{
	if (m->voted_out && !galera_was_voted_out(g, m))
		galera_slot_record(g, m->slot->meta->id)->voted_out = true;
}

static void drop_old_records(struct galera *g)
{
	for (size_t i = 0; i < g->c->n_slots;) {
		if (galera_slot_member(g, g->c->slots[i]->slot_id)) {
			i++;
			continue;
		}
		obj_free(g->c->slots[i]);
		memmove(&g->c->slots[i], &g->c->slots[i + 1], (--g->c->n_slots - i) * sizeof(*g->c->slots));
	}
}

/* ---- views ---- */

static bool has_address(const Gs__Slot *slot, const char *text)
{
	char ip[64];

	for (size_t i = 0; i < slot->n_addresses; i++) {
		const Gs__SlotAddress *a = slot->addresses[i];

		if (!a->addr || !addr_format(&a->addr->ip, ip, sizeof(ip))[0])
			continue;
		size_t len = strlen(ip);
		const char *rest = text[0] == '[' ? text + 1 : text;
		if (strncmp(rest, ip, len) == 0 && (!rest[len] || rest[len] == ':' || rest[len] == ']'))
			return true;
	}
	return false;
}

static const Gs__Slot *slot_of_view_member(const struct galera *g, const char *text)
{
	for (size_t i = 0; i < g->n; i++) {
		if ((g->m[i].task && strcmp(g->m[i].task->name, text) == 0) ||
		    has_address(g->m[i].slot, text))
			return g->m[i].slot;
	}
	return NULL;
}

static bool list_has(size_t n, char *const *list, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(list[i], text) == 0)
			return true;
	}
	return false;
}

/* What somebody says of the newest Primary view that it was in. */
struct claim {
	uint64_t conf;
	size_t n, size; /* named members; all members */
	char **members;
	int64_t seqno;
};

static struct claim view_claim(const Gs__GaleraView *v)
{
	struct claim c = {.seqno = v->last_committed};

	if (strcmp(v->status, "Primary") == 0) {
		c.conf = v->conf_id == UINT64_MAX ? 0 : v->conf_id;
		c.n = v->n_members;
		c.members = v->members;
		c.size = v->cluster_size;
	} else if (v->n_prim_members) {
		c.conf = v->prim_conf_id;
		c.n = c.size = v->n_prim_members;
		c.members = v->prim_members;
	}
	return c;
}

/* Members that cannot be named stay a risk: then the old view's slots are kept as well. */
static void set_primary_view(struct galera *g, const struct galera_member *reporter, struct claim claim)
{
	Gs__PrimaryView *next = obj_new(&gs__primary_view__descriptor);
	size_t named = 0;

	bug_if(claim.n > 0 && !claim.members);
	next->conf_id = claim.conf;
	next->seqno = claim.seqno;
	next->epoch = g->c->epoch;
	for (size_t i = 0; i < g->n; i++) { /* in slot order */
		for (size_t k = 0; k < claim.n; k++) {
			if (slot_of_view_member(g, claim.members[k]) != g->m[i].slot)
				continue;
			obj_add_str(&next->n_slots, &next->slots, g->m[i].slot->meta->id);
			named++;
			break;
		}
	}
	if (!list_has(next->n_slots, next->slots, reporter->slot->meta->id)) {
		obj_add_str(&next->n_slots, &next->slots, reporter->slot->meta->id);
		named++;
	}
	const Gs__PrimaryView *before = g->c->last_primary;
	for (size_t i = 0; before && named < claim.size && i < before->n_slots; i++) {
		if (!list_has(next->n_slots, next->slots, before->slots[i]))
			obj_add_str(&next->n_slots, &next->slots, before->slots[i]);
	}
	bug_if(next->n_slots == 0 || named > g->n);
	obj_free(g->c->last_primary);
	g->c->last_primary = next;
}

void galera_set_primary_view(struct galera *g, const struct galera_member *reporter)
{
	set_primary_view(g, reporter, view_claim(reporter->task->status->view));
}

static const Gs__GaleraView *current_view(const struct galera *g, const struct galera_member *m)
{
	const Gs__Task *t = m->task;

	if (!t || !t->status || !t->status->view || !t->permit || t->permit->group_epoch != g->c->group_epoch)
		return NULL;
	if (t->status->state != TASK_RUNNING && t->status->state != TASK_STARTING)
		return NULL;
	return strcmp(t->status->view->cluster_uuid, g->c->cluster_uuid) ? NULL : t->status->view;
}

/* The newest Primary view that this member says it was in; 0: none. */
static uint64_t primary_conf(const Gs__GaleraView *v)
{
	return view_claim(v).conf;
}

/* A process that ended may have been in a view that nobody lived to report. */
static struct claim evidence_claim(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraEvidence *ev = m->life == GL_HELD ? m->task->status->evidence : NULL;

	if (!ev || !ev->n_prim_members || ev->prim_group_epoch != g->c->group_epoch || !ev->position ||
	    strcmp(ev->position->uuid, g->c->cluster_uuid))
		return (struct claim){0};
	return (struct claim){.conf = ev->prim_conf_id,
			      .n = ev->n_prim_members,
			      .size = ev->n_prim_members,
			      .members = ev->prim_members,
			      .seqno = ev->position->seqno};
}

/* A view counts also when its reporter's node went Down since: it is still what was seen last. */
static void note_views(struct galera *g)
{
	bug_if(!galera_born(g));
	const struct galera_member *by = NULL;
	struct claim best = {.conf = galera_born(g) ? g->c->last_primary->conf_id : UINT64_MAX};

	for (size_t i = 0; i < g->n; i++) {
		const Gs__GaleraView *v = current_view(g, &g->m[i]);
		struct claim c = v ? view_claim(v) : evidence_claim(g, &g->m[i]);

		if (c.conf > best.conf) {
			best = c;
			by = &g->m[i];
		}
	}
	if (by)
		set_primary_view(g, by, best);
}

/* Joined since the last view that we know, or not known to have dropped out: its member may hold data. */
static void mark_v(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraView *v = m->task && m->task->status ? m->task->status->view : NULL;

	m->in_v = galera_in_primary_view(g, m->slot->meta->id);
	if (m->in_v || !m->task || m->outdated || m->life < GL_STARTING)
		return;
	if (!m->task->permit || m->task->permit->group_epoch != g->c->group_epoch)
		return;
	bool dropped =
		v && primary_conf(v) && g->c->last_primary && primary_conf(v) <= g->c->last_primary->conf_id;
	m->in_v = !dropped;
}

/* Multiples of the wall clock, so that all clusters are due in the same pass: each at its own time would keep
 * passes running back to back. */
static bool is_hwm_due(const struct galera *g)
{
	return !g->c->hwm || g->wall_ms / HWM_EVERY_MS != g->old->meta->updated_ms / HWM_EVERY_MS;
}

static void note_hwm(struct galera *g)
{
	int64_t high = g->c->hwm ? g->c->hwm->seqno : -1;
	const struct galera_member *by = NULL;
	bool alive = false;

	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->life != GL_PRIMARY || m->outdated)
			continue;
		alive = true;
		int64_t at = g->env->task_seqno ? g->env->task_seqno(g->env->arg, m->task->meta->id) : -1;
		at = at > m->seqno ? at : m->seqno;
		if (at > high) {
			high = at;
			by = m;
		}
	}
	if (by && is_hwm_due(g)) {
		Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;

		pos.uuid = g->c->cluster_uuid;
		pos.seqno = high;
		obj_set(&g->c->hwm, &pos);
		str_replace(&g->c->hwm_slot, by->slot->meta->id);
	} else if (alive) {
		galera_wake_at(g, (g->wall_ms / HWM_EVERY_MS + 1) * HWM_EVERY_MS);
	}
}

/* The writer stays where it is until it is lost or leaves, then goes to the most advanced Synced member. */
static void note_writer(struct galera *g)
{
	const struct galera_member *now = galera_slot_member(g, g->c->writer_slot), *best = NULL;

	if (now && now->awaited)
		return;
	if (now && !now->leaving && !now->stopping && now->life == GL_PRIMARY && galera_is_current(g, now))
		return;
	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->synced && galera_is_current(g, m) && !m->leaving && !m->stopping &&
		    (!best || m->seqno > best->seqno))
			best = m;
	}
	if (!best)
		return;
	bug_if(now && best == now && now->life == GL_PRIMARY);
	if (g->c->writer_slot[0])
		galera_event(g, "galera.writer", "writer moved to %s", galera_member_name(best));
	str_replace(&g->c->writer_slot, best->slot->meta->id);
}

/* Synced in that very view: it has everything that was acknowledged up to its end. */
static bool was_synced_in_v(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);
	const Gs__PrimaryView *v = g->c->last_primary;

	return m->in_v && r && v && r->epoch > 0 && r->epoch >= v->epoch && r->synced_conf >= v->conf_id;
}

/* The others went on without it: nothing that was acknowledged hangs on what it held. */
static void settle_lost_data(struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);

	if (r && r->data_lost && !m->in_v)
		galera_slot_record(g, m->slot->meta->id)->data_lost = false;
}

void galera_observe(struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life == GL_HELD && m->verdict != GV_NONE) {
			note_evidence(g, m);
			note_foreign(g, m);
		}
		note_voted_out(g, m);
	}
	drop_old_records(g);
	if (galera_born(g)) {
		note_views(g);
		for (size_t i = 0; i < g->n; i++) {
			if (g->m[i].synced && galera_is_current(g, &g->m[i])) {
				lay_ghosts(g, &g->m[i]);
				note_synced(g, &g->m[i]);
			} else if (g->m[i].life == GL_PRIMARY && !g->m[i].synced && !g->m[i].donor &&
				   galera_is_complete(
					   g,
					   g->m[i].slot->meta->id)) /* it missed something and catches up */
				galera_slot_record(g, g->m[i].slot->meta->id)->epoch = 0;
		}
		note_hwm(g);
		note_writer(g);
	}
	for (size_t i = 0; i < g->n; i++) {
		mark_v(g, &g->m[i]);
		g->view_is_whole = g->view_is_whole || was_synced_in_v(g, &g->m[i]);
	}
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (g->view_is_whole)
			settle_lost_data(g, m);
		else /* Perhaps a Primary of joiners only, their donor gone: what was acknowledged is with those
		      * who were Synced before. */
			m->in_v =
				m->in_v || galera_is_complete(g, m->slot->meta->id) || galera_lost_data(g, m);
	}
}
