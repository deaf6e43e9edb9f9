// SPDX-License-Identifier: Apache-2.0
/* Ready and Down from the heartbeats that the dispatcher has seen.
 *
 * The happy path is: a node with a recent heartbeat is Ready, one without for heartbeat * missed is Down.
 * What can fail is this manager's own knowledge: after an election nothing was heard yet, so silence counts
 * only from the moment it leads. A state is written when it changes, never per heartbeat. */
#include <stdio.h>

#include "base/mem.h"
#include "manager/reconcile_internal.h"

#define HEARTBEAT_MS 1000
#define HEARTBEAT_MISSED 3

static int64_t grace_ms(const struct store *s)
{
	const Gs__Cluster *c = store_cluster(s);
	const Gs__ClusterSpec *spec = c ? c->spec : NULL;
	int64_t period = spec && spec->heartbeat_ms ? spec->heartbeat_ms : HEARTBEAT_MS;

	return period * (spec && spec->heartbeat_missed ? spec->heartbeat_missed : HEARTBEAT_MISSED);
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
	edit->status->since_ms = clock_wall_ms(env->clock);
	str_replace(&edit->status->message, text);
	event_add(tx, env, state == NODE_DOWN ? "node.down" : "node.ready", n->meta->id, "node %s is %s%s%s",
		  node_name(edit), state == NODE_DOWN ? "down" : "ready", *text ? ": " : "", text);
}

static void judge(struct tx *tx, struct reconcile_env *env, const Gs__Node *n, int64_t grace)
{
	int64_t now = clock_mono_ms(env->clock);
	int64_t seen = env->node_last_seen_ms ? env->node_last_seen_ms(env->arg, n->meta->id) : -1;
	int64_t since = seen > env->leader_since_ms ? seen : env->leader_since_ms;
	bool silent = now - since > grace;

	if (silent && !node_is_down(n))
		set_state(tx, env, n, NODE_DOWN, now - since);
	else if (!silent && seen >= 0 && !node_is_ready(n))
		set_state(tx, env, n, NODE_READY, 0);
	if (!silent)
		reconcile_wake(env, since + grace + 1);
}

void nodes_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_NODE, &rows);
	int64_t grace = grace_ms(s);

	for (size_t i = 0; i < n; i++)
		judge(tx, env, rows[i], grace);
}
