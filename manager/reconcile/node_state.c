// SPDX-License-Identifier: Apache-2.0
/* Ready and Down from the heartbeats of the sessions.
 *
 * The happy path is: a node with a recent heartbeat is Ready, one without for heartbeat * missed is Down.
 * What can fail is this manager's own knowledge: after an election nothing was heard yet, so silence counts
 * only from the moment it leads; while it was stopped it could hear nobody (hearing.h); a node that has just
 * joined had nothing to say before its birth. A state is written when it changes, never per heartbeat. */
#include <stdio.h>

#include "base/mem.h"
#include "manager/reconcile/hearing.h"
#include "manager/model/rows.h"
#include "manager/reconcile/reconcile.h"

#define HEARTBEAT_MS 1000
#define HEARTBEAT_MISSED 3

int64_t node_state_heartbeat_ms(const struct store *s)
{
	const Gs__Cluster *c = store_cluster(s);

	return c && c->spec && c->spec->heartbeat_ms ? c->spec->heartbeat_ms : HEARTBEAT_MS;
}

static int64_t grace_ms(const struct store *s)
{
	const Gs__Cluster *c = store_cluster(s);

	return node_state_heartbeat_ms(s) *
	       (c && c->spec && c->spec->heartbeat_missed ? c->spec->heartbeat_missed : HEARTBEAT_MISSED);
}

static void set_state(struct tx *tx, struct reconcile_env *env, const Gs__Node *n, Gs__NodeState state,
		      int64_t silent_ms)
{
	Gs__Node *edit = tx_edit(tx, OBJ_NODE, n->meta->id);
	cleanup_free char *text = NULL;

	if (!edit->status)
		edit->status = obj_new(&gs__node_status__descriptor);
	text = state == NODE_DOWN ? xasprintf("no heartbeat for %lld.%lld s", (long long)silent_ms / 1000,
					      (long long)silent_ms % 1000 / 100)
				  : xstrdup("");
	edit->status->state = state;
	edit->status->heard = edit->status->heard || state == NODE_READY;
	edit->status->since_ms = clock_wall_ms(env->clock);
	str_replace(&edit->status->message, text);
	event_add(tx, env, state == NODE_DOWN ? "node.down" : "node.ready", n->meta->id, "node %s is %s%s%s",
		  node_name(edit), state == NODE_DOWN ? "down" : "ready", *text ? ": " : "", text);
}

/* The moment from which on it could have been heard. The birth is known by the wall clock only, which may be
 * stepped; it counts for a node that was never Ready, so a step delays or hastens nothing that matters. */
static int64_t silent_since(const struct reconcile_env *env, const Gs__Node *n, int64_t seen, int64_t now)
{
	int64_t since = seen > env->leader_since_ms ? seen : env->leader_since_ms;
	int64_t age = clock_wall_ms(env->clock) - n->meta->created_ms;
	int64_t born = now - (age > 0 ? age : 0);

	return seen < 0 && !node_is_ready(n) && !node_is_down(n) && born > since ? born : since;
}

static void judge(struct tx *tx, struct reconcile_env *env, const Gs__Node *n, int64_t grace)
{
	int64_t now = clock_mono_ms(env->clock);
	int64_t seen = env->node_last_seen_ms ? env->node_last_seen_ms(env->arg, n->meta->id) : -1;
	int64_t since = silent_since(env, n, seen, now);
	int64_t silence = hearing_silence_ms(env->hearing, since, now);
	int64_t left = hearing_grace_ms(env->hearing, since, grace) - silence;

	if (left < 0 && !node_is_down(n))
		set_state(tx, env, n, NODE_DOWN, silence);
	else if (left >= 0 && seen >= 0 && !node_is_ready(n))
		set_state(tx, env, n, NODE_READY, 0);
	if (left >= 0)
		reconcile_wake(env, now + left + 1);
}

void node_state_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_NODE, &rows);
	int64_t grace = grace_ms(s);

	for (size_t i = 0; i < n; i++)
		judge(tx, env, rows[i], grace);
}
