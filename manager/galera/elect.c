// SPDX-License-Identifier: Apache-2.0
/* The happy path is: every member of the last Primary view has said what its volume holds; the most advanced
 * complete copy gets the token under a new epoch.
 *
 * What can fail: someone of that view is silent. Then a bootstrap could lose what was acknowledged there, or
 * make a second Primary if the silent ones still form one. Both are refused: BLOCKED, with a table of what is
 * known and the command that records the operator's consent. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"
#include "manager/galera/internal.h"

enum { INFLIGHT = 64 }; /* commits that may be ordered but not yet durable on any one node */

/* The process of this slot is known to be gone. */
static bool is_dead(const struct galera_member *m)
{
	return m->life == GL_HELD || m->life == GL_ABSENT;
}

/* One that is in no group right now may be about to reach one: what it says stands when that is over (left.c).
 * Gone or damaged data is no evidence, unless the slot never held a finished copy; nor is what came in its place
 * since. What is damaged may hold what nobody else does, also when only its own worker knows that it was Synced. */
static bool has_answered(struct galera *g, const struct galera_member *m)
{
	if (m->haunted)
		return false;
	if (m->life == GL_NONPRIM && !m->outdated && !m->stopping && !m->left)
		return true;
	if (m->life != GL_HELD || m->verdict == GV_NONE || m->verdict == GV_FOREIGN)
		return false;
	if (m->verdict == GV_DAMAGED && m->task->status->evidence->was_synced)
		return !galera_obeys(g, GALERA_RULE_EVIDENCE);
	if (galera_lost_data(g, m))
		return false;
	return (m->verdict != GV_EMPTY && m->verdict != GV_INCOMPLETE && m->verdict != GV_DAMAGED) ||
	       !galera_is_complete(g, m->slot->meta->id);
}

/* The group may have heard it say goodbye, so that the quorum rule counted it as present: even the last one of two
 * stays Primary. Of its data only a crash speaks against it, and not even that when its process had left before. */
static bool left_gracefully(const struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraEvidence *ev = m->life == GL_HELD ? m->task->status->evidence : NULL;

	bug_if(m->life == GL_HELD && !ev);
	if (m->left)
		return true;
	return is_dead(m) && (!ev || ev->left || galera_lost_data(g, m) ||
			      (ev->class_ != GC_CRASHED && ev->class_ != GC_DDL_CRASHED));
}

/* Members that died one after another let the rest go on down to two, and with graceful leaves down to one.
 * The half rule of docs/galera.md holds only for members that are still alive on this side: what they lost is
 * what the others could have gone on with. */
bool galera_unseen_may_be_primary(const struct galera *g)
{
	size_t unseen = 0, alive = 0, graceful = 0, all = 0;

	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (!m->in_v)
			continue;
		all++;
		if (m->haunted || m->life == GL_LOST || m->life == GL_STARTING || m->life == GL_PRIMARY)
			unseen++;
		else if (m->life == GL_NONPRIM && !m->left)
			alive++;
		else
			graceful += left_gracefully(g, m);
	}
	if (unseen == 0 || !galera_obeys(g, GALERA_RULE_UNSEEN))
		return false;
	if (alive > 0 && 2 * (all - alive) + graceful <= all)
		return false;
	return unseen > 1 || graceful > 0 || all == 1;
}

/* ---- candidates ---- */

/* Of copies with the same position: 0 ended inside a schema change, which may be half done; 1 crashed; 2 shut
 * down. */
static int soundness(const Gs__GaleraEvidence *ev)
{
	return ev->class_ == GC_DDL_CRASHED ? 0 : ev->class_ == GC_CLEAN ? 2 : 1;
}

static bool better_source(const struct galera *g, const struct galera_member *a,
			  const struct galera_member *b)
{
	const Gs__GaleraEvidence *x = a->task->status->evidence, *y = b->task->status->evidence;

	bug_if(a == b || a->life != GL_HELD || b->life != GL_HELD);
	if (a->seqno != b->seqno)
		return a->seqno > b->seqno;
	if (soundness(x) != soundness(y))
		return soundness(x) > soundness(y);
	if (x->safe_to_bootstrap != y->safe_to_bootstrap)
		return x->safe_to_bootstrap;
	return strcmp(a->slot->meta->id, g->c->writer_slot) == 0 &&
	       strcmp(b->slot->meta->id, g->c->writer_slot);
}

static struct galera_member *best_source(const struct galera *g)
{
	struct galera_member *best = NULL;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life == GL_HELD && m->verdict == GV_SOURCE && !m->stopping &&
		    (!best || better_source(g, m, best)))
			best = m;
	}
	return best;
}

/* Runs, was Synced, and left Primary from the newest view that is known: it has received all that was
 * acknowledged. Its worker bootstraps none of which it does not know the view. */
static bool is_survivor(const struct galera *g, const struct galera_member *m)
{
	const char *slot = m->slot->meta->id;

	if (m->life != GL_NONPRIM || m->outdated || m->left || !galera_in_primary_view(g, slot) ||
	    !galera_is_complete(g, slot))
		return false;
	return m->task->status->view->prim_conf_id == g->c->last_primary->conf_id;
}

static struct galera_member *best_survivor(const struct galera *g)
{
	struct galera_member *best = NULL;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (is_survivor(g, m) && !m->stopping && (!best || m->seqno > best->seqno))
			best = m;
	}
	return best;
}

struct tally {
	size_t v, answered, running;
};
static struct tally count_v(struct galera *g)
{
	struct tally t = {0};

	for (size_t i = 0; i < g->n; i++) {
		if (!g->m[i].in_v)
			continue;
		t.v++;
		t.answered += has_answered(g, &g->m[i]);
		t.running += g->m[i].life == GL_NONPRIM;
	}
	bug_if(t.answered > t.v || t.running > t.v);
	return t;
}

/* ---- deciding ---- */

static void elect(struct galera *g, struct galera_member *m, const char *why)
{
	int64_t floor = (g->c->hwm ? g->c->hwm->seqno : 0) - INFLIGHT;

	bug_if(m->life != GL_HELD || m->verdict == GV_EMPTY || m->verdict == GV_INCOMPLETE ||
	       m->verdict == GV_FOREIGN);
	bug_if(m->verdict == GV_DAMAGED && m->seqno < 0);
	galera_event(g, "galera.elected", "%s at seqno %lld: %s", galera_member_name(m), (long long)m->seqno,
		     why);
	if (m->seqno < floor)
		galera_event(g, "galera.data_loss_possible",
			     "seqno %lld was seen once, the best copy has %lld", (long long)g->c->hwm->seqno,
			     (long long)m->seqno);
	galera_token_issue(g, m, m->epoch, false);
	g->c->token->damaged = m->verdict == GV_DAMAGED;
	str_replace(&g->c->blocked_reason, "");
	galera_token_pass(g);
}

/* Decided by the rules it forks nothing: the others had no more than this member has received, so those who
 * merge with it later stay in line whether or not they were told the new epoch. By consent it may fork. */
static void pc_bootstrap(struct galera *g, struct galera_member *m, bool consented, const char *why)
{
	bug_if(m->life != GL_NONPRIM || m->outdated || m->stopping);
	bug_if(!galera_in_primary_view(g, m->slot->meta->id));
	galera_event(g, "galera.pc_bootstrap", "%s at seqno %lld: %s", galera_member_name(m),
		     (long long)m->seqno, why);
	galera_token_issue(g, m, galera_head(g), true);
	bug_if(g->c->n_epochs == 0 || g->c->epochs[g->c->n_epochs - 1]->n != g->c->epoch);
	if (!consented)
		g->c->epochs[g->c->n_epochs - 1]->boot_seqno = INT64_MAX;
	Gs__GaleraPermit *p = galera_permit_new(g, m, PERMIT_PC_BOOTSTRAP);
	p->prim_conf_id = galera_obeys(g, GALERA_RULE_LATE_PC) ? g->c->last_primary->conf_id : 0;
	g->c->token->state = TOKEN_STARTED;
	str_replace(&g->c->blocked_reason, "");
	galera_permit_give(g, m, p);
}

/* The dead hold more than the living, or none of these can go on in place: end the living, then compare all
 * (their stop is orderly, nothing is lost). */
static void regroup(struct galera *g, const char *why)
{
	bool any = false;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (m->life != GL_NONPRIM || !m->in_v || m->stopping)
			continue;
		galera_stop(g, m);
		any = true;
	}
	if (any)
		galera_event(g, "galera.regroup", "%s: all stop, then elect", why);
}

/* Somebody of V holds more than the one that could go on: stopped, or running after nobody knows which view. */
static bool somebody_has_more(const struct galera *g, const struct galera_member *live)
{
	const struct galera_member *source = best_source(g);

	if (source && source->in_v && source->seqno > live->seqno)
		return true;
	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->in_v && m->life == GL_NONPRIM && !m->outdated &&
		    !m->task->status->view->prim_conf_id && m->seqno > live->seqno)
			return true;
	}
	return false;
}

/* True when something was decided. Nothing acknowledged can be missing on this side in either case: all dead
 * members showed what they have, or those not here could never have gone on by themselves. */
static bool try_survivors(struct galera *g, struct galera_member *live, const struct tally *t)
{
	size_t alive = 0, graceful = 0, running = 0;

	for (size_t i = 0; i < g->n; i++) {
		alive += is_survivor(g, &g->m[i]);
		running += g->m[i].life == GL_NONPRIM && &g->m[i] != live;
		graceful += g->m[i].in_v && left_gracefully(g, &g->m[i]);
	}
	bug_if(t->v < alive);
	bool all_known = t->answered == t->v;
	bool rest_is_minor = 2 * (t->v - alive) + graceful <= t->v;
	if (galera_obeys(g, GALERA_RULE_UNSEEN) && !all_known && !rest_is_minor)
		return false;
	if (!live || somebody_has_more(g, live)) {
		if (all_known)
			regroup(g, live ? "a member that cannot go on as it is holds the newest data"
					: "no running member can go on as it is");
		return all_known;
	}
	pc_bootstrap(g, live, false,
		     !all_known ? "the others are too few to be Primary"
		     : running  ? "no other member holds more"
				: "all others are gone");
	return true;
}

static const struct galera_member *writer_source(const struct galera *g)
{
	const struct galera_member *w = galera_slot_member(g, g->c->writer_slot);

	return w && w->life == GL_HELD && w->verdict == GV_SOURCE ? w : NULL;
}

static bool try_election(struct galera *g, const struct tally *t, int64_t waited_ms)
{
	struct galera_member *best = best_source(g);
	int64_t floor = (g->c->hwm ? g->c->hwm->seqno : 0) - INFLIGHT;

	if (!best || t->running > 0 || galera_unseen_may_be_primary(g))
		return false;
	bug_if(best->verdict != GV_SOURCE || best->stopping);
	/* Below what was once reported only with the operator's consent, even when all
	 * answered. */
	if (best->seqno < floor && galera_obeys(g, GALERA_RULE_EVIDENCE))
		return false;
	if (t->answered == t->v || !galera_obeys(g, GALERA_RULE_EVIDENCE)) {
		elect(g, best, "most advanced of all members of the last Primary view");
		return true;
	}
	const struct galera_member *w = writer_source(g);
	if (g->rules->single_writer && g->writer_only && w && best->seqno == w->seqno) {
		elect(g, galera_slot_member(g, g->c->writer_slot),
		      "the only writer holds every acknowledged write");
		return true;
	}
	if (g->auto_after_ms && waited_ms >= g->auto_after_ms && 2 * t->answered > t->v) {
		galera_event(g, "galera.data_loss_possible",
			     "elected by policy with %zu of %zu members heard", t->answered, t->v);
		elect(g, best, "most advanced of a majority, as the policy allows");
		return true;
	}
	return false;
}

/* ---- the operator's consent ---- */

static bool names_slot(const struct galera_member *m, const char *text)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", m->slot->number);
	return strcmp(text, m->slot->meta->id) == 0 || strcmp(text, number) == 0 ||
	       (m->task && strcmp(text, m->task->name) == 0);
}

static struct galera_member *consented_slot(const struct galera *g)
{
	struct galera_member *best = NULL;

	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];
		bool whole = m->verdict == GV_SOURCE || m->verdict == GV_STALE || m->verdict == GV_FORKED ||
			     m->verdict == GV_GENESIS;

		/* A damaged copy only by name, and if it tells where it would begin. */
		whole = whole || (m->verdict == GV_DAMAGED && g->c->force_slot[0] && m->seqno >= 0);
		if (m->life != GL_HELD || !whole || m->stopping)
			continue;
		if (g->c->force_slot[0] ? names_slot(m, g->c->force_slot)
					: !best || better_source(g, m, best))
			best = m;
	}
	return best;
}

static void clear_consent(struct galera *g)
{
	g->c->force_bootstrap = false;
	str_replace(&g->c->force_slot, "");
}

static const char *life_name(const struct galera *g, const struct galera_member *m)
{
	switch (m->life) {
	case GL_LOST:
		return "unreachable";
	case GL_NONPRIM:
		return "running, non-Primary";
	case GL_STARTING:
		return "starting";
	case GL_PRIMARY:
		return "Primary";
	case GL_HELD:
		return galera_verdict_name(m->verdict);
	default:
		return "not running";
	}
}

/* The command that waits for its outcome is told by the row; the event is for whoever reads later. */
static void refuse_consent(struct galera *g)
{
	const struct galera_member *m = NULL;
	cleanup_free char *why = NULL;

	for (size_t i = 0; i < g->n && !m; i++)
		if (g->c->force_slot[0] && names_slot(&g->m[i], g->c->force_slot))
			m = &g->m[i];
	why = m ? xasprintf("%s is %s%s; one can be chosen that is stopped and has data of this cluster",
			    galera_member_name(m), m->stopping ? "stopping, " : "", life_name(g, m))
		: xstrdup("no slot that could be bootstrapped");
	galera_event(g, "galera.refused", "%s", why);
	str_replace(&g->c->refused, why);
	clear_consent(g);
}

bool galera_try_consent(struct galera *g)
{
	if (!g->c->force_bootstrap)
		return false;
	struct galera_member *m = consented_slot(g), *live = g->c->force_slot[0] ? NULL : best_survivor(g);

	if (!m && !live) {
		refuse_consent(g);
		return false;
	}
	clear_consent(g);
	if (galera_token_live(g))
		galera_token_abandon(g);
	bug_if(g->c->force_bootstrap); /* one consent is one decision */
	if (live && (!m || live->seqno >= m->seqno))
		pc_bootstrap(g, live, true, "the operator consented");
	else {
		elect(g, m, "the operator consented");
		if (g->c->hwm) /* what is given up now must not hold up the next election */
			g->c->hwm->seqno = m->seqno;
	}
	return true;
}

/* ---- blocked ---- */

/* Only recorded values: the text must not change while nothing happens. */
static void table_row(struct galera *g, struct buf *b, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	const char *host = m->node && m->node->description ? m->node->description->hostname : "-";
	char seen[32] = "never";
	time_t at = (time_t)(r->last_seen_ms / 1000);
	struct tm tm;

	if (r->last_seen_ms && gmtime_r(&at, &tm))
		strftime(seen, sizeof(seen), "%Y-%m-%d %H:%M:%SZ", &tm);
	buf_printf(b, "  %-12s %-16s %-36s %10lld  %-20s %s\n", galera_member_name(m), host,
		   r->last && r->last->uuid[0] ? r->last->uuid : "-",
		   (long long)(r->last ? r->last->seqno : -1), seen, life_name(g, m));
}

void galera_block(struct galera *g, const char *why)
{
	struct buf b = {0};
	const struct galera_member *best = best_source(g);
	bool was = g->c->phase == GP_BLOCKED;

	bug_if(!*why);
	buf_printf(&b, "%s\n  %-12s %-16s %-36s %10s  %-20s %s\n", why, "SLOT", "HOST", "UUID", "SEQNO",
		   "LAST SEEN", "STATE");
	for (size_t i = 0; i < g->n; i++)
		table_row(g, &b, &g->m[i]);
	if (best)
		buf_printf(&b,
			   "to go on and accept the loss of what only the missing ones hold: gswarm galera "
			   "bootstrap %s --slot %u --force",
			   g->c->name, best->slot->number);
	else
		buf_printf(&b, "when the missing hosts are back: gswarm galera recover %s", g->c->name);
	if (strcmp(g->c->blocked_reason, buf_text(&b)))
		str_replace(&g->c->blocked_reason, buf_text(&b));
	buf_fini(&b);
	galera_set_phase(g, GP_BLOCKED);
	if (!was)
		galera_event(g, "galera.blocked", "%s", why);
}

static const char *why_blocked(struct galera *g, const struct tally *t)
{
	if (galera_unseen_may_be_primary(g))
		return "members that cannot be reached may be serving by themselves";
	if (!best_source(g) && !best_survivor(g))
		return "no source: no reachable volume holds complete data of this cluster";
	if (t->answered == t->v && best_source(g) && !best_survivor(g))
		return "every known copy lacks writes that were once reported";
	return t->answered < t->v
		       ? "a member of the last Primary view has not answered, it may hold the newest data"
		       : "the running members cannot decide by themselves";
}

static void wait_or_block(struct galera *g, const struct tally *t)
{
	int64_t since = g->c->phase_since_ms;

	bug_if(galera_token_live(g));
	if (g->c->phase == GP_BLOCKED) {
		galera_block(g, why_blocked(g, t));
		return;
	}
	if (g->c->phase != GP_RECOVERING) {
		galera_set_phase(g, GP_RECOVERING);
		since = g->wall_ms;
	}
	if (g->wall_ms >= since + g->wait_recover_ms)
		galera_block(g, why_blocked(g, t));
	else
		galera_wake_at(g, since + g->wait_recover_ms);
}

/* Members merge by themselves only when all of the last Primary view meet again. A process that ended does
 * not: it comes back under a new name (pc.recovery is off). */
static bool is_never_whole_again(const struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		if (g->m[i].in_v && is_dead(&g->m[i]))
			return true;
	}
	return false;
}

/* No Primary answers. Called again on every pass, in NOPRIM, RECOVERING and BLOCKED alike: new evidence can
 * decide at any time, the phases only tell the user how long it has taken. */
void galera_recover(struct galera *g)
{
	struct tally t = count_v(g);
	struct galera_member *live = best_survivor(g);
	int64_t since = g->c->phase_since_ms, waited = g->wall_ms - since;

	bug_if(!galera_born(g) || galera_token_live(g));
	if (galera_try_consent(g))
		return;
	if (t.running > 0 && g->c->phase == GP_NOPRIM && waited < g->grace_ms && !is_never_whole_again(g)) {
		galera_wake_at(g, since + g->grace_ms);
		return;
	}
	if (t.running > 0 && try_survivors(g, live, &t))
		return;
	if (g->c->phase == GP_BLOCKED) {
		waited += g->wait_recover_ms;
		if (g->auto_after_ms && waited < g->auto_after_ms)
			galera_wake_at(g, since - g->wait_recover_ms + g->auto_after_ms);
	}
	if (try_election(g, &t, waited))
		return;
	wait_or_block(g, &t);
}
