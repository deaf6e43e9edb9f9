// SPDX-License-Identifier: Apache-2.0
/* The happy path is: UNBORN -> BOOTING -> FORMING -> HEALTHY, and DEGRADED -> HEALTHY around a lost member.
 *
 * What can fail: no Primary answers. NOPRIM leaves the members that still run time to merge by themselves,
 * RECOVERING collects evidence, BLOCKED says that only a missing host or the operator can decide. */
#include <string.h>

#include "base/mem.h"
#include "manager/galera/internal.h"

void galera_set_phase(struct galera *g, Gs__GaleraPhase phase)
{
	bug_if(phase == GP_UNBORN && galera_born(g));
	bug_if(phase == GP_BOOTING && !galera_token_live(g));
	bug_if((phase == GP_NOPRIM || phase == GP_RECOVERING) && galera_token_live(g));
	bug_if((phase == GP_FORMING || phase == GP_HEALTHY || phase == GP_DEGRADED) &&
	       !galera_has_primary(g));
	if (g->c->phase == phase)
		return;
	if (g->c->phase == GP_BLOCKED)
		str_replace(&g->c->blocked_reason, "");
	g->c->phase = phase;
	g->c->phase_since_ms = g->wall_ms;
}

static bool all_synced(const struct galera *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		const struct galera_member *m = &g->m[i];

		if (m->leaving)
			continue;
		if (m->awaited && g->c->phase == GP_HEALTHY) { /* no word is no change */
			n++;
			continue;
		}
		if (!m->synced || m->outdated || m->stopping)
			return false;
		n++;
	}
	return n > 0;
}

static bool is_forming(Gs__GaleraPhase p)
{
	return p == GP_UNBORN || p == GP_BOOTING || p == GP_FORMING;
}

/* It runs in a group that a later bootstrap has left behind: it can only come back as a new start. */
static void stop_outdated(struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (!m->outdated || m->stopping || !m->ready)
			continue;
		bug_if(!m->task);
		galera_event(g, "galera.outdated", "%s still runs in an older epoch and is started anew",
			     galera_member_name(m));
		galera_stop(g, m);
	}
}

static void refuse_consent(struct galera *g)
{
	if (!g->c->force_bootstrap)
		return;
	galera_event(g, "galera.refused", "a Primary answers: nothing to bootstrap");
	g->c->force_bootstrap = false;
	str_replace(&g->c->force_slot, "");
}

/* A Primary answers: everybody else joins it. */
static void serve(struct galera *g)
{
	bug_if(!galera_born(g) || !galera_has_primary(g));
	refuse_consent(g);
	stop_outdated(g);
	galera_restart_left(g);
	galera_joins(g);
	galera_leaves(g);
	if (all_synced(g))
		galera_set_phase(g, GP_HEALTHY);
	else
		galera_set_phase(g, is_forming(g->c->phase) ? GP_FORMING : GP_DEGRADED);
}

static bool any_primary(const struct galera *g)
{
	if (!galera_obeys(g, GALERA_RULE_PRIMARY))
		return false;
	for (size_t i = 0; i < g->n; i++) {
		if (g->m[i].life == GL_PRIMARY)
			return true;
	}
	return false;
}

static void without_primary(struct galera *g)
{
	Gs__GaleraPhase p = g->c->phase;

	bug_if(!galera_born(g) || galera_token_live(g));
	if (p != GP_RECOVERING && p != GP_BLOCKED)
		galera_set_phase(g, GP_NOPRIM);
	if (any_primary(g)) /* of an older group: it is not ours to judge, but it is alive */
		return;
	galera_withdraw_joiners(g);
	galera_restart_left(g);
	galera_recover(g);
}

/* An elected source serves nobody else before it is confirmed; its token names the whole group. */
static bool may_serve(const struct galera *g)
{
	bool unconfirmed = galera_token_live(g) && g->c->token->epoch == g->c->group_epoch;

	return galera_born(g) && galera_has_primary(g) && !unconfirmed;
}

static void booting(struct galera *g)
{
	bug_if(!galera_token_live(g));
	galera_token_pass(g);
	if (!galera_token_live(g))
		return;
	galera_restart_left(g);
	if (g->c->phase != GP_BLOCKED && !may_serve(g)) /* else it would change there and back in each pass */
		galera_set_phase(g, GP_BOOTING);
	galera_prefetch(g);
}

/* A member ran when its worker was heard last, and in a moment the worker will say whether it still does. Until then
 * nothing is decided that rests on it. */
static bool is_word_awaited(const struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		if (g->m[i].awaited)
			return true;
	}
	return false;
}

void galera_phases(struct galera *g)
{
	if (g->all_leaving) {
		galera_leaves(g);
		return;
	}
	if (is_word_awaited(g) && (galera_token_live(g) || !galera_has_primary(g)))
		return;
	if (galera_token_live(g))
		booting(g);
	else if (!galera_born(g))
		galera_birth(g);
	if (may_serve(g)) {
		serve(g);
		return;
	}
	if (galera_born(g) && !galera_token_live(g))
		without_primary(g);
	galera_leaves(g);
}
