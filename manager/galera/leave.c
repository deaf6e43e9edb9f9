// SPDX-License-Identifier: Apache-2.0
/* The happy path is: while all others are Synced, one leaving member is told to stop; the next when the view
 * has shrunk. A whole service goes the same way, the writer last.
 *
 * What can fail: a leaving member that does not run is simply told to stop. One that may hold the only answer
 * to an election is kept until a Primary exists again, unless everything leaves. */
#include <string.h>

#include "manager/galera/internal.h"

#define HEARD_LOOK_MS 50 /* heartbeats write nothing to the log: look again */

void galera_stop(struct galera *g, struct galera_member *m)
{
	bug_if(m->stopping && !m->task);
	if (!m->task || m->stopping)
		return;
	galera_edit_task(g, m)->desired = TASK_SHUTDOWN;
	m->stopping = true;
}

static bool runs(const struct galera_member *m)
{
	return m->life == GL_STARTING || m->life == GL_NONPRIM || m->life == GL_PRIMARY;
}

/* Somebody was told to stop and is still there, or the others' view still lists one that is gone. */
static bool leave_in_progress(const struct galera *g)
{
	const Gs__PrimaryView *v = g->c->last_primary;

	for (size_t i = 0; v && galera_has_primary(g) && i < v->n_slots; i++) {
		if (!galera_slot_member(g, v->slots[i]))
			return true;
	}
	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->stopping && (runs(m) || m->awaited))
			return true;
		if (m->leaving && !runs(m) && m->life != GL_LOST &&
		    galera_in_primary_view(g, m->slot->meta->id) && galera_has_primary(g))
			return true;
	}
	return false;
}

/* Highest number first, as users expect of a scale down; the writer after all others. */
static struct galera_member *next_leaver(const struct galera *g)
{
	struct galera_member *best = NULL;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (!m->leaving || m->stopping || !m->task || !runs(m) || m->donor)
			continue;
		if (!best || !galera_is_writer(g, m) || galera_is_writer(g, best))
			best = m;
	}
	return best;
}

/* It has reported the newest view itself: one that died since the view before cannot have. */
static bool is_up_to_date(const struct galera *g, const struct galera_member *m)
{
	return m->synced && galera_is_current(g, m);
}

/* All that stay are Synced, nobody is being fed, and at least one stays. */
static bool others_are_well(const struct galera *g)
{
	size_t synced = 0;

	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->donor)
			return false;
		if (m->leaving)
			continue;
		if (!is_up_to_date(g, m))
			return false;
		synced++;
	}
	return synced > 0;
}

/* Every host that stays has sent a heartbeat since the leave was asked for. One that died a moment ago still
 * counts as Synced; if a member left then, the rest could lose the Primary: two of three gone at once, where
 * one after the other is fine. */
static bool others_were_heard(struct galera *g, const struct galera_member *leaver)
{
	const Gs__Slot *slot = store_slot(g->store, leaver->slot->meta->id);
	int64_t now = clock_mono_ms(g->env->clock), asked = now;

	bug_if(!leaver->leaving);
	if (slot && slot->removing) /* else it is asked for in this very pass */
		asked -= g->wall_ms - slot->meta->updated_ms;
	for (size_t i = 0; g->env->node_last_seen_ms && i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m == leaver || m->leaving || !m->node ||
		    g->env->node_last_seen_ms(g->env->arg, m->node->meta->id) >= asked)
			continue;
		reconcile_wake(g->env, now + HEARD_LOOK_MS);
		return false;
	}
	return true;
}

/* What does not run costs nothing to stop, except that its volume may be needed as evidence. */
static void stop_idle(struct galera *g)
{
	bool safe = g->all_leaving || !galera_born(g) || galera_has_primary(g);

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];
		bool holder = galera_token_live(g) && strcmp(g->c->token->slot_id, m->slot->meta->id) == 0;

		if (!m->leaving || runs(m) || !safe || (holder && !g->all_leaving))
			continue;
		/* Those that serve may have joined it and not have got all that it holds. */
		if (!g->all_leaving && !g->view_is_whole && galera_is_complete(g, m->slot->meta->id))
			continue;
		if (g->all_leaving || !galera_in_primary_view(g, m->slot->meta->id) || !m->in_v)
			galera_stop(g, m);
	}
}

void galera_leaves(struct galera *g)
{
	stop_idle(g);
	struct galera_member *m = next_leaver(g);
	if (!m)
		return;
	bug_if(!m->leaving || m->stopping || m->donor);
	if (!galera_obeys(g, GALERA_RULE_LEAVE)) {
		for (size_t i = 0; i < g->n; i++) {
			if (g->m[i].leaving)
				galera_stop(g, &g->m[i]);
		}
		return;
	}
	if (leave_in_progress(g))
		return;
	/* A member of a live cluster that is not Synced yet would only be waited for: an unborn or broken one
	 * goes. */
	if (!g->all_leaving && (!galera_has_primary(g) || !others_are_well(g)))
		return;
	if (!g->all_leaving && galera_is_writer(g, m))
		return; /* the writer moves first (view.c), then this member is no writer */
	if (!g->all_leaving && !others_were_heard(g, m))
		return;
	galera_event(g, "galera.leave", "%s leaves", galera_member_name(m));
	galera_stop(g, m);
}
