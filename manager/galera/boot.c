// SPDX-License-Identifier: Apache-2.0
/* The happy path is: the lowest empty slot gets the token and a GENESIS permit, its archive's hash is
 * committed, it gets the BOOTSTRAP permit, and the token is confirmed when it reports Primary/Synced with
 * that uuid.
 *
 * What can fail: an attempt fails -> the same slot again, the token is not consumed. The holder's node is
 * lost -> before any BOOTSTRAP permit the token is void and another slot starts in the next epoch; after one
 * it may be Primary where we cannot see it, and only its return or the operator ends the wait. A token that ends
 * takes its permit out of the holder's row in the same commit; a commit that is cut in between is mended by the next
 * pass, which comes before a session that could carry it (manager/session). */
#include <string.h>

#include "base/mem.h"
#include "manager/galera/internal.h"

enum { PC_AGAIN_MS = 2000 };

bool galera_token_live(const struct galera *g)
{
	const Gs__BootstrapToken *t = g->c->token;

	return t && (t->state == TOKEN_ISSUED || t->state == TOKEN_STARTED);
}

static bool holds_token(const struct galera *g, const struct galera_member *m)
{
	return galera_token_live(g) && m->task && strcmp(g->c->token->slot_id, m->slot->meta->id) == 0 &&
	       strcmp(g->c->token->task_id, m->task->meta->id) == 0;
}

static bool token_in_place(const struct galera_member *m, const Gs__BootstrapToken *t)
{
	return m->task && m->task->permit && m->task->permit->mode == PERMIT_PC_BOOTSTRAP &&
	       m->task->permit->epoch == t->epoch;
}

void galera_token_issue(struct galera *g, struct galera_member *m, uint64_t parent, bool in_place)
{
	Gs__GaleraEpoch *e = obj_new(&gs__galera_epoch__descriptor);
	Gs__BootstrapToken *t = obj_new(&gs__bootstrap_token__descriptor);

	bug_if(galera_token_live(g)); /* one at a time, whatever happened to its holder */
	bug_if(!m->task || m->stopping);
	bug_if(parent > g->c->epoch);
	g->c->epoch++;
	if (!in_place)
		g->c->group_epoch = g->c->epoch;
	e->n = g->c->epoch;
	e->parent = parent;
	e->boot_seqno = m->seqno;
	str_replace(&e->boot_slot, m->slot->meta->id);
	obj_add(&g->c->n_epochs, &g->c->epochs, e);
	t->epoch = g->c->epoch;
	t->issued_ms = g->wall_ms;
	t->state = TOKEN_ISSUED;
	str_replace(&t->slot_id, m->slot->meta->id);
	str_replace(&t->task_id, m->task->meta->id);
	obj_free(g->c->token);
	g->c->token = t;
	galera_set_phase(g, GP_BOOTING);
}

static Gs__GaleraEpoch *token_epoch(struct galera *g)
{
	for (size_t i = 0; g->c->token && i < g->c->n_epochs; i++) {
		if (g->c->epochs[i]->n == g->c->token->epoch)
			return g->c->epochs[i];
	}
	return NULL;
}

/* ---- permits without a token ---- */

static bool is_abandoned(const struct galera *g, uint64_t epoch)
{
	for (size_t i = 0; i < g->c->n_epochs; i++) {
		if (g->c->epochs[i]->n == epoch)
			return g->c->epochs[i]->abandoned;
	}
	return false;
}

/* It would let its holder begin a history for which there is no token, or somebody else's. */
static bool is_forfeit(const struct galera *g, const Gs__Task *t)
{
	const Gs__BootstrapToken *token = g->c->token;
	const Gs__GaleraPermit *p = t->permit;

	if (!permit_begins_history(p))
		return false;
	if (!token || token->epoch != p->epoch)
		return is_abandoned(g, p->epoch);
	return token->state == TOKEN_VOID || strcmp(token->task_id, t->meta->id) != 0;
}

/* The holder may have the permit already: it comes back to HELD with a new attempt, unless it has been in a Primary
 * view. The group stays written there, by which its process is known as one of an older group. */
static void revoke(struct galera *g, const Gs__Task *t)
{
	Gs__Task *edit = tx_edit(g->tx, OBJ_TASK, t->meta->id);

	bug_if(!edit || !permit_begins_history(edit->permit));
	edit->permit->mode = PERMIT_NONE;
	edit->permit->withdraw = true;
	edit->permit->prefetch = false;
	edit->permit->serial = ++g->c->permit_serial;
	tx_behind(g->tx, OBJ_TASK, t->meta->id);
}

void galera_revoke_permits(struct galera *g)
{
	for (size_t k = 0; k < g->c->n_service_ids; k++) {
		cleanup_free const Gs__Task **tasks = NULL;
		size_t n = tx_tasks_of_service(g->tx, g->c->service_ids[k], &tasks);

		for (size_t i = 0; i < n; i++) {
			Gs__TaskState state = tasks[i]->status ? tasks[i]->status->state : TASK_NEW;

			if ((!task_state_is_final(state) || state == TASK_ORPHANED) &&
			    is_forfeit(g, tasks[i]))
				revoke(g, tasks[i]);
		}
	}
}

/* What the holder may have written under this epoch is from now on a fork. */
void galera_token_abandon(struct galera *g)
{
	Gs__GaleraEpoch *e = token_epoch(g);

	bug_if(!galera_token_live(g));
	if (e)
		e->abandoned = true;
	g->c->token->state = TOKEN_VOID;
}

/* The process that was asked is gone. Whoever followed it, if it did happen, is in the same line. */
static void token_withdraw_in_place(struct galera *g)
{
	Gs__GaleraEpoch *e = token_epoch(g);

	bug_if(!galera_token_live(g));
	if (e)
		e->boot_seqno = INT64_MAX;
	g->c->token->state = TOKEN_VOID;
}

/* ---- genesis ---- */

/* The first empty slot; else one that still has what it made under a token that was given up: nobody was ever let
 * start with that, and it is made anew. */
static struct galera_member *first_maker(const struct galera *g)
{
	struct galera_member *again = NULL;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life != GL_HELD || m->leaving || m->stopping)
			continue;
		if (m->verdict == GV_EMPTY)
			return m;
		if (!again && m->verdict != GV_FOREIGN && m->task->status->evidence->class_ == GC_GENESIS)
			again = m;
	}
	return again;
}

void galera_birth(struct galera *g)
{
	bug_if(galera_born(g) || galera_token_live(g));
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life == GL_HELD && m->task->status->evidence->epoch > g->c->epoch &&
		    m->task->status->evidence->class_ != GC_EMPTY) {
			galera_block(g, "a volume comes from a later epoch than the managers know: their "
					"state is too old");
			return;
		}
	}
	struct galera_member *m = first_maker(g);
	if (!m)
		return;
	galera_token_issue(g, m, 0, false);
	galera_permit_give(g, m, galera_permit_new(g, m, PERMIT_GENESIS));
	galera_event(g, "galera.genesis", "%s makes the first data", galera_member_name(m));
}

static void commit_genesis(struct galera *g, const struct galera_member *m)
{
	const Gs__GenesisResult *r = m->task->status->genesis;

	bug_if(galera_born(g) || !holds_token(g, m));
	if (!r || !r->position || !r->position->uuid[0] || (r->epoch && r->epoch != g->c->token->epoch))
		return;
	obj_set(&g->c->genesis, r);
	g->c->genesis->epoch = g->c->token->epoch;
	str_replace(&g->c->cluster_uuid, r->position->uuid);
	for (size_t i = 0; i < g->c->n_epochs; i++) {
		if (g->c->epochs[i]->n == g->c->token->epoch)
			g->c->epochs[i]->boot_seqno = r->position->seqno;
	}
}

static void give_bootstrap(struct galera *g, struct galera_member *m)
{
	bug_if(m->life != GL_HELD || !holds_token(g, m));
	Gs__GaleraPermit *p = galera_permit_new(g, m, PERMIT_BOOTSTRAP);

	obj_set(&p->start_position, m->task->status->evidence->position);
	p->accept_damaged = g->c->token->damaged;
	g->c->token->state = TOKEN_STARTED;
	galera_event(g, "galera.bootstrap", "%s bootstraps epoch %llu at seqno %lld", galera_member_name(m),
		     (unsigned long long)g->c->epoch, (long long)m->seqno);
	galera_permit_give(g, m, p);
}

/* HELD before the first Primary: bootstrap from the committed genesis data, else make it (again). */
static void unborn_held(struct galera *g, struct galera_member *m)
{
	bug_if(m->life != GL_HELD);
	commit_genesis(g, m);
	bool committed = g->c->genesis && g->c->genesis->epoch == g->c->token->epoch;
	galera_judge(g, m);
	if (committed && (m->verdict == GV_GENESIS || m->verdict == GV_SOURCE || m->verdict == GV_STALE)) {
		give_bootstrap(g, m);
		return;
	}
	const Gs__GaleraPermit *p = m->task->permit;
	bool asked = p && p->mode == PERMIT_GENESIS && p->epoch == g->c->epoch &&
		     p->attempt >= m->task->status->attempt;
	if (m->verdict == GV_FOREIGN) {
		galera_block(g, "the first slot's volume holds data of another cluster");
		return;
	}
	if (!asked)
		galera_permit_give(g, m, galera_permit_new(g, m, PERMIT_GENESIS));
}

/* ---- an elected source ---- */

static void born_held(struct galera *g, struct galera_member *m)
{
	bug_if(m->life != GL_HELD || !galera_born(g));
	if (m->verdict != GV_EMPTY && m->verdict != GV_INCOMPLETE && m->verdict != GV_DAMAGED &&
	    m->verdict != GV_FOREIGN && m->verdict != GV_NONE) {
		give_bootstrap(g, m); /* FORKED only when the operator consented to this slot */
		return;
	}
	if (m->verdict == GV_DAMAGED && g->c->token->damaged && m->seqno >= 0) {
		give_bootstrap(g, m);
		return;
	}
	/* Its data was destroyed meanwhile. Nobody joined it, and its process is gone. */
	galera_event(g, "galera.abandoned", "%s lost its data before epoch %llu was confirmed",
		     galera_member_name(m), (unsigned long long)g->c->token->epoch);
	galera_token_abandon(g);
	galera_set_phase(g, GP_RECOVERING);
}

static void confirm(struct galera *g, struct galera_member *m)
{
	bug_if(!m->synced || !holds_token(g, m));
	g->c->token->state = TOKEN_CONFIRMED;
	if (!g->c->cluster_uuid[0])
		str_replace(&g->c->cluster_uuid, m->task->status->view->cluster_uuid);
	obj_free(g->c->last_primary);
	g->c->last_primary = NULL;
	galera_set_primary_view(g, m);
	bug_if(!galera_in_primary_view(g, m->slot->meta->id));
	str_replace(&g->c->writer_slot, m->slot->meta->id);
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	r->epoch = g->c->epoch;
	r->synced_conf = g->c->last_primary->conf_id;
	g->c->force_bootstrap = false;
	str_replace(&g->c->force_slot, "");
	m->in_v = true;
	if (m->task->permit->mode == PERMIT_PC_BOOTSTRAP) /* done: nobody shall read it again */
		galera_permit_give(g, m, galera_permit_new(g, m, PERMIT_NONE));
}

static bool is_confirmation(const struct galera *g, const struct galera_member *m)
{
	const Gs__Task *t = m->task;

	if (!m->synced || !t->permit || t->permit->epoch != g->c->token->epoch)
		return false;
	return strcmp(t->status->view->cluster_uuid, g->c->cluster_uuid) == 0;
}

/* The task that holds the token is gone for sure and the slot has a new one on the same volume: the slot
 * keeps it. */
static void rebind(struct galera *g, struct galera_member *m)
{
	const Gs__Task *holder = tx_get(g->tx, OBJ_TASK, g->c->token->task_id);

	if (m->life != GL_HELD || strcmp(m->task->meta->id, g->c->token->task_id) == 0)
		return;
	if (!holder || (task_state_is_final(holder->status->state) && holder->status->state != TASK_ORPHANED))
		str_replace(&g->c->token->task_id, m->task->meta->id);
}

/* Only a GENESIS permit was given: that start has no network and serves nobody, so no Primary can exist. A
 * holder that ended without one (or left) is replaced at once, a silent one when its node is Down. */
static bool may_replace_unborn(const struct galera *g, const struct galera_member *m)
{
	const Gs__Task *holder = tx_get(g->tx, OBJ_TASK, g->c->token->task_id);

	if (g->c->token->state == TOKEN_STARTED && galera_obeys(g, GALERA_RULE_TOKEN))
		return false;
	if (!m || !holder || !m->task || m->leaving || m->stopping)
		return true;
	/* A new leader has heard of nobody yet: silence counts from the node's own grace on. */
	return (!m->ready && (m->life == GL_LOST || m->task == holder)) ||
	       (task_state_is_final(holder->status->state) && strcmp(m->task->meta->id, holder->meta->id));
}

static void replace_unborn(struct galera *g)
{
	bug_if(galera_born(g)); /* what was acknowledged would be given up */
	galera_event(g, "galera.token_void", "first bootstrap given up in epoch %llu, its host is lost",
		     (unsigned long long)g->c->epoch);
	galera_token_abandon(g);
	obj_set(&g->c->genesis, NULL);
	str_replace(&g->c->cluster_uuid, "");
	g->c->force_bootstrap = false;
	galera_set_phase(g, GP_UNBORN);
	galera_birth(g);
}

static void wait_for_holder(struct galera *g)
{
	int64_t until = g->c->token->issued_ms + g->wait_recover_ms;

	bug_if(!galera_token_live(g));
	if (g->c->force_bootstrap && !galera_born(g)) {
		replace_unborn(g);
		return;
	}
	if (galera_try_consent(g))
		return;
	if (g->c->phase == GP_BLOCKED || g->wall_ms >= until)
		galera_block(g, "the slot that was to bootstrap is unreachable and may be running: bring its "
				"host back, "
				"or consent to start another one");
	else
		galera_wake_at(g, until);
}

static void holder_lost(struct galera *g, struct galera_member *m)
{
	if (!galera_born(g) && may_replace_unborn(g, m)) {
		replace_unborn(g);
		return;
	}
	wait_for_holder(g);
}

static void in_place_pending(struct galera *g, struct galera_member *m)
{
	const Gs__GaleraPermit *p = m->task->permit;
	const Gs__GaleraView *v = m->task->status->view;

	bug_if(!holds_token(g, m) || p->mode != PERMIT_PC_BOOTSTRAP);
	if (m->life == GL_HELD || m->life == GL_ABSENT || m->stays_out) {
		token_withdraw_in_place(
			g); /* bound to a process that is gone, or has no group to bootstrap */
		return;
	}
	/* It was in a newer view, or nobody knows any more in which: it refuses this order for ever. */
	if (m->life == GL_NONPRIM && p->prim_conf_id && v &&
	    (!v->prim_conf_id || v->prim_conf_id > p->prim_conf_id)) {
		token_withdraw_in_place(g);
		return;
	}
	if (m->life == GL_LOST) {
		wait_for_holder(g);
		return;
	}
	/* The same order to the same process again: it may have been paused or its worker restarted; and a server
	 * whose group is just changing answers "done" and stays as it is. */
	int64_t again = m->task->meta->updated_ms + PC_AGAIN_MS;
	const Gs__Task *committed = store_task(g->store, m->task->meta->id);
	if (!committed || !committed->permit || committed->permit->serial != p->serial)
		return; /* given in this very tx */
	if (m->life == GL_NONPRIM && g->wall_ms >= again) {
		Gs__GaleraPermit *next = galera_permit_new(g, m, PERMIT_PC_BOOTSTRAP);

		next->prim_conf_id = p->prim_conf_id;
		galera_permit_give(g, m, next);
	} else if (again > g->wall_ms) {
		galera_wake_at(g, again);
	} /* else what it reports wakes us */
}

void galera_token_pass(struct galera *g)
{
	bug_if(!galera_token_live(g));
	struct galera_member *m = galera_slot_member(g, g->c->token->slot_id);

	if (m && m->task)
		rebind(g, m);
	bool mine = m && m->task && strcmp(m->task->meta->id, g->c->token->task_id) == 0;
	if (mine && is_confirmation(g, m)) {
		confirm(g, m);
		return;
	}
	if (mine && token_in_place(m, g->c->token)) {
		in_place_pending(g, m);
		return;
	}
	if (!mine || m->life == GL_LOST || (!galera_born(g) && may_replace_unborn(g, m))) {
		holder_lost(g, m);
		return;
	}
	if (m->life == GL_HELD && galera_born(g))
		born_held(g, m);
	else if (m->life == GL_HELD)
		unborn_held(g, m);
}
