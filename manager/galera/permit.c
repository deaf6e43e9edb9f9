// SPDX-License-Identifier: Apache-2.0
/* The happy path is: one HELD member at a time gets a JOIN permit with everybody's address; when it is Synced
 * the next one is let in.
 *
 * What can fail: a joiner falls back to HELD with a newer attempt: it goes to the end of the queue, so that a
 * slot that cannot start does not keep the others out. A joiner whose worker is silent is not waited for. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "manager/galera/internal.h"

static void add_addresses(const struct galera *g, const struct galera_member *self, Gs__GaleraPermit *p)
{
	char ip[64];

	for (size_t i = 0; i < g->n; i++) {
		const Gs__Slot *s = g->m[i].slot;

		if ((g->m[i].leaving && &g->m[i] != self && g->m[i].life < GL_STARTING) || !s->n_addresses ||
		    !s->addresses[0]->addr)
			continue;
		if (addr_format(&s->addresses[0]->addr->ip, ip, sizeof(ip))[0])
			obj_add_str(&p->n_addresses, &p->addresses, ip);
	}
}

Gs__GaleraPermit *galera_permit_new(struct galera *g, const struct galera_member *m, Gs__PermitMode mode)
{
	Gs__GaleraPermit *p = obj_new(&gs__galera_permit__descriptor);

	bug_if(!m->task || !m->task->status);
	p->mode = mode;
	p->epoch = g->c->epoch;
	p->group_epoch = g->c->group_epoch;
	p->attempt = m->task->status->attempt;
	p->serial = ++g->c->permit_serial;
	str_replace(&p->cluster_uuid, g->c->cluster_uuid);
	add_addresses(g, m, p);
	return p;
}

void galera_permit_give(struct galera *g, struct galera_member *m, Gs__GaleraPermit *take_permit)
{
	Gs__Task *t = galera_edit_task(g, m);

	bug_if(take_permit->epoch != g->c->epoch || take_permit->serial != g->c->permit_serial);
	bug_if(permit_begins_history(take_permit) &&
	       (!galera_token_live(g) || strcmp(g->c->token->slot_id, m->slot->meta->id) != 0));
	obj_free(t->permit);
	t->permit = take_permit;
	/* Behind the cluster's row: a commit that is cut between them leaves a token without a permit, which is given
	 * again, and never a permit that nobody knows of. */
	tx_behind(g->tx, OBJ_TASK, t->meta->id);
	if (m->life == GL_HELD && take_permit->mode != PERMIT_NONE) {
		m->permitted = true;
		if (take_permit->mode != PERMIT_GENESIS)
			m->life = GL_STARTING;
	}
}

enum { JOIN_SETTLE_MS = 1000 };

/* ---- genesis archive ---- */

static bool genesis_is_valid(const struct galera *g)
{
	return g->c->genesis && g->c->genesis->sha256[0] && g->c->genesis->epoch == g->c->epoch;
}

static bool holds_genesis(const struct galera *g, const struct galera_member *m)
{
	const Gs__Task *t = m->task;

	bug_if(!g->c->genesis);
	if (!t || !m->ready || !m->node || !m->node->description)
		return false;
	if (g->c->token && strcmp(m->slot->meta->id, g->c->token->slot_id) == 0 &&
	    strcmp(t->meta->id, g->c->token->task_id) == 0)
		return true;
	return m->synced && t->permit && strcmp(t->permit->genesis_sha256, g->c->genesis->sha256) == 0;
}

static void add_genesis(const struct galera *g, const struct galera_member *self, Gs__GaleraPermit *p)
{
	char ip[64], peer[80];

	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m == self || !holds_genesis(g, m))
			continue;
		const Gs__NodeDescription *d = m->node->description;
		if (!addr_format(&d->advertise_ip, ip, sizeof(ip))[0])
			continue;
		snprintf(peer, sizeof(peer), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip,
			 d->peer_port ? d->peer_port : PEER_PORT);
		obj_add_str(&p->n_genesis_peers, &p->genesis_peers, peer);
	}
	if (p->n_genesis_peers > 0)
		str_replace(&p->genesis_sha256, g->c->genesis->sha256);
}

/* As soon as the hash is committed the others may fetch the archive: only the start waits for its turn. */
void galera_prefetch(struct galera *g)
{
	bug_if(!galera_token_live(g)); /* else its turn has come, and the permit itself tells */
	if (g->rules->no_prefetch || !genesis_is_valid(g))
		return;
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life != GL_HELD || m->verdict != GV_EMPTY || m->leaving || m->stopping ||
		    m->task->permit)
			continue;
		Gs__GaleraPermit *p = galera_permit_new(g, m, PERMIT_NONE);
		add_genesis(g, m, p);
		if (!p->genesis_sha256[0]) {
			g->c->permit_serial--;
			obj_free(p);
			continue;
		}
		p->prefetch = true;
		galera_permit_give(g, m, p);
	}
}

/* ---- joins ---- */

/* Ordered by who should give: not the writer while another one can. The trailing comma means "or anyone". */
static void add_donors(const struct galera *g, const struct galera_member *self, Gs__GaleraPermit *p)
{
	struct buf b = {0};

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < g->n; i++) {
			const struct galera_member *m = &g->m[i];

			if (m != self && m->synced && !m->leaving && galera_is_writer(g, m) == (pass == 1))
				buf_printf(&b, "%s,", m->task->name);
		}
	}
	if (b.len)
		str_replace(&p->donor, buf_text(&b));
	buf_fini(&b);
}

static void forget_data(struct galera *g, const struct galera_member *m)
{
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);

	r->epoch = 0; /* what it gets now is a copy; until it is Synced it holds nothing */
}

static const char *give_join(struct galera *g, struct galera_member *m)
{
	Gs__GaleraPermit *p = galera_permit_new(g, m, PERMIT_JOIN);
	const char *how = "from where it stopped";

	bug_if(m->life != GL_HELD || m->verdict == GV_NONE || m->verdict == GV_FOREIGN);
	bug_if(!galera_born(g));
	switch (m->verdict) {
	case GV_EMPTY:
		if (genesis_is_valid(g) && g->c->n_epochs == 1)
			add_genesis(g, m, p);
		how = p->genesis_sha256[0] ? "from the genesis archive" : "with a full copy";
		break;
	case GV_FORKED:
		p->quarantine = p->force_sst = true;
		how = "with a full copy, its own history is kept aside";
		break;
	case GV_DAMAGED:
		p->force_sst = true;
		/* The others outvoted what differs there, often on a full disk: two copies would not fit. */
		p->quarantine = !galera_was_voted_out(g, m);
		how = p->quarantine ? "with a full copy, its damaged one is kept aside" : "with a full copy";
		break;
	case GV_INCOMPLETE:
		p->force_sst = true;
		how = "with a full copy";
		break;
	default:
		if (m->task->status->evidence->class_ ==
		    GC_DDL_CRASHED) { /* a schema change may be half done */
			p->force_sst = true;
			how = "with a full copy";
			break;
		}
		obj_set(&p->start_position, m->task->status->evidence->position);
	}
	forget_data(g, m);
	if (m->verdict == GV_EMPTY || p->force_sst)
		add_donors(g, m, p);
	galera_permit_give(g, m, p);
	return how;
}

static void event_join(struct galera *g, const struct galera_member *m, enum galera_verdict v,
		       const char *how)
{
	if (v == GV_FORKED)
		galera_event(g, "galera.forked",
			     "%s wrote past the point where a later epoch began (its seqno %lld)",
			     galera_member_name(m), (long long)m->seqno);
	galera_event(g, "galera.join", "%s joins %s", galera_member_name(m), how);
}

static bool is_joining(const struct galera_member *m)
{
	if (!m->ready || m->stopping || m->outdated || m->stays_out)
		return false;
	return m->life == GL_STARTING || m->life == GL_NONPRIM ||
	       (m->life == GL_PRIMARY && !m->synced && !m->donor);
}

/* The report of its end is here, but the others' view still has it. Either they notice within a moment, or
 * they ended as well and their reports are on the way: then a joiner would wait for a Primary that is gone. */
static bool must_settle(struct galera *g, const struct galera_member *m)
{
	int64_t until = m->task->meta->updated_ms + JOIN_SETTLE_MS;

	bug_if(m->life != GL_HELD);
	if (!galera_in_primary_view(g, m->slot->meta->id) || g->wall_ms >= until ||
	    until > g->wall_ms + JOIN_SETTLE_MS)
		return false;
	galera_wake_at(g, until);
	return true;
}

static bool may_join(struct galera *g, const struct galera_member *m)
{
	if (m->life == GL_HELD && (must_settle(g, m) || galera_rests(g, m)))
		return false;
	return m->life == GL_HELD && !m->leaving && !m->stopping && m->verdict != GV_NONE &&
	       m->verdict != GV_FOREIGN;
}

static struct galera_member *next_joiner(struct galera *g)
{
	struct galera_member *best = NULL;
	uint64_t best_serial = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];
		const Gs__GaleraPermit *p = may_join(g, m) ? m->task->permit : NULL;
		uint64_t serial = p && p->mode == PERMIT_JOIN ? p->serial : 0;

		if (may_join(g, m) && (!best || serial < best_serial)) {
			best = m;
			best_serial = serial;
		}
	}
	return best;
}

/* Joiners of a Primary that is gone would hold up the election until they give up by themselves. */
void galera_withdraw_joiners(struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];
		const Gs__TaskStatus *st = m->task ? m->task->status : NULL;

		if (m->life != GL_STARTING || !m->ready || !m->in_v || !m->task->permit ||
		    m->task->permit->mode != PERMIT_JOIN || st->state <= TASK_HELD)
			continue;
		Gs__GaleraPermit *p = galera_permit_new(g, m, PERMIT_NONE);
		p->withdraw = true;
		galera_permit_give(g, m, p);
	}
}

void galera_joins(struct galera *g)
{
	unsigned joining = 0, room = g->rules->join_parallel ? g->rules->join_parallel : 1;
	bool donor_free = false;

	bug_if(!galera_has_primary(g));
	for (size_t i = 0; i < g->n; i++) {
		joining += is_joining(&g->m[i]);
		donor_free =
			donor_free || (g->m[i].synced && !g->m[i].stopping && galera_is_current(g, &g->m[i]));
	}
	while (donor_free && joining < room) {
		struct galera_member *m = next_joiner(g);

		if (!m)
			return;
		enum galera_verdict v = m->verdict;
		event_join(g, m, v, give_join(g, m));
		joining++;
	}
}
