// SPDX-License-Identifier: Apache-2.0
/* Dispatcher.Leave: a node says that it leaves, by its person's wish, before it stops its tasks.
 *
 * The happy path is one event, with what ran there. Nothing else follows from it: the node's silence makes it Down,
 * and what becomes of its data is said by `node rm`. What can fail is a node that says so again and again
 * (E_LIMIT). */
#include "base/buf.h"
#include "base/mem.h"
#include "manager/context/audit.h"
#include "manager/model/rows.h"
#include "manager/session/internal.h"

#define NAMED_MAX 20
#define LEAVES_PER_S (1.0 / 60)
#define LEAVES_BURST 3.0

/* "; it ran db.1 (its volume stays there), web.2" to the end of b. */
static void list_tasks(const struct store *s, const char *node_id, struct buf *b)
{
	const Gs__Task *t;
	size_t n = 0;

	for (size_t i = 0; (t = store_at(s, OBJ_TASK, i)); i++) {
		if (strcmp(t->node_id, node_id) != 0 || !task_wanted(t) || task_is_final(t))
			continue;
		if (n < NAMED_MAX)
			buf_printf(b, "%s%s%s", n ? ", " : "; it ran ", t->name,
				   t->n_volumes ? " (its volume stays there)" : "");
		n++;
	}
	if (n > NAMED_MAX)
		buf_printf(b, " and %zu more", n - NAMED_MAX);
}

void on_leave(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	struct context *ctx = all->ctx;
	struct buf tasks = {0};
	const Gs__Node *node;
	struct node_mem *n;
	struct tx *tx;

	if (!sessions_check_open(all, call, ((const Gs__LeaveRequest *)msg)->session_id))
		return;
	n = sessions_node(all, rpc_call_peer(call)->node_id);
	if (!bucket_take(&n->leaves, clock_mono_ms(ctx->clock), 1, LEAVES_PER_S, LEAVES_BURST)) {
		answer_fail(call, E_LIMIT, "this node says too often that it leaves");
		return;
	}
	node = store_node(ctx->store, n->id);
	bug_if(!node); /* it has an open session */
	list_tasks(ctx->store, n->id, &tasks);
	tx = tx_new(ctx->store);
	audit_add(ctx, tx, call, "audit.node.leave", n->id, "node %s left the swarm%s, said", node_name(node),
		  buf_text(&tasks));
	buf_fini(&tasks);
	answer_commit(ctx, call, tx, NULL, on_leave, arg, msg);
}
