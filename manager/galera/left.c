// SPDX-License-Identifier: Apache-2.0
/* Servers that run and are in no group any more: one that left by itself (SET GLOBAL wsrep_cluster_address,
 * an error of the provider), and one that the others voted out because it could not apply what they did, as
 * on a full disk. Neither comes back before it is started anew. Ending it harms no quorum: it counts in none.
 *
 * The happy path is: it is told to stop, its slot gets a new task, and that one joins like any other. What can
 * fail is the same again: each further time in a row it rests longer before it may join, so that a full copy
 * is not made over and over. One that was voted out is left as it is while there is no Primary: only a full
 * copy helps it, and until the others have decided who goes on, nobody gives one. */
#include "manager/galera/internal.h"

#include "base/backoff.h"
#include "base/mem.h"

#define REST_LEFT_MS 5000 /* the second time; twice as long each time after it */
#define REST_LEFT_MAX_MS (5 * 60 * 1000)
#define REST_VOTED_OUT_MS (15 * 1000) /* each costs the others a full copy */
#define REST_MAX_MS (60 * 60 * 1000)
#define FORGET_MS (60 * 60 * 1000) /* after the last rest: it was well for so long */

/* A clock that was set back must not hold anybody up for longer than the longest rest. */
static bool is_ahead(const struct galera *g, int64_t until_ms)
{
	return until_ms > g->wall_ms && until_ms <= g->wall_ms + REST_MAX_MS;
}

bool galera_rests(struct galera *g, const struct galera_member *m)
{
	const Gs__GaleraSlot *r = galera_find_record(g, m->slot->meta->id);

	if (!r || !is_ahead(g, r->rest_until_ms))
		return false;
	galera_wake_at(g, r->rest_until_ms);
	return true;
}

/* How long it has to rest now; the first time not at all. */
static int64_t note_rest(struct galera *g, const struct galera_member *m)
{
	Gs__GaleraSlot *r = galera_slot_record(g, m->slot->meta->id);
	bool again = r->rest_until_ms && r->rest_until_ms + FORGET_MS > g->wall_ms &&
		     r->rest_until_ms <= g->wall_ms + REST_MAX_MS;
	int64_t rest = 0;

	bug_if(!m->stays_out);
	r->left_count = again && r->left_count < UINT32_MAX ? r->left_count + 1 : 1;
	if (r->left_count > 1)
		rest = (int64_t)backoff_doubled(m->voted_out ? REST_VOTED_OUT_MS : REST_LEFT_MS,
						m->voted_out ? REST_MAX_MS : REST_LEFT_MAX_MS,
						r->left_count - 2);
	r->rest_until_ms = g->wall_ms + rest;
	return rest;
}

static void restart(struct galera *g, struct galera_member *m)
{
	const char *what = m->voted_out ? "was voted out of its group as inconsistent"
					: "left its group by itself (Disconnected)";
	int64_t rest = note_rest(g, m);
	cleanup_free char *why = rest ? xasprintf("%s, again: it is started anew and may join in %lld s",
						  what, (long long)rest / 1000)
				      : xasprintf("%s: it is started anew", what);

	galera_event(g, "galera.left", "%s %s", galera_member_name(m), why);
	galera_stop(g, m);
	str_replace(&galera_edit_task(g, m)->pending_reason, why);
}

void galera_restart_left(struct galera *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct galera_member *m = &g->m[i];

		if (!m->stays_out || m->stopping || m->leaving || m->outdated || !m->ready)
			continue;
		if (m->voted_out && !galera_has_primary(g))
			continue;
		restart(g, m);
	}
}
