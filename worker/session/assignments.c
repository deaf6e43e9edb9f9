// SPDX-License-Identifier: Apache-2.0
/* Each item of an assignment to whom it concerns. Networks and secrets go before tasks within an event, so that a
 * task that arrives together with its network starts at once. An item of an unknown kind is ignored: a newer
 * manager may send more than this worker knows. */
#include "worker/session/assignments.h"

#include <string.h>

#include "worker/net/network.h"
#include "worker/session/peers.h"
#include "worker/task/table.h"

static bool key_is(const Gs__AssignmentItem *item, const char *prefix, const char **ret_id)
{
	size_t n = strlen(prefix);

	if (strncmp(item->key, prefix, n) != 0)
		return false;
	*ret_id = item->key + n;
	return true;
}

static void endpoint_removed(struct worker *w, const char *id)
{
	net_endpoint_remove(w->net, id);
	peers_endpoint_remove(w->peers, id);
}

static void apply_removed(struct worker *w, const Gs__AssignmentItem *item)
{
	const char *id;

	if (key_is(item, "task/", &id))
		tasks_unassign(w->tasks, id);
	else if (key_is(item, "net/", &id))
		net_network_remove(w->net, id);
	else if (key_is(item, "ep/", &id))
		endpoint_removed(w, id);
	else if (key_is(item, "secret/", &id))
		tasks_secret_remove(w->tasks, id);
	else if (key_is(item, "volume/", &id))
		tasks_discard_end(w->tasks, id);
	else if (key_is(item, "peer/", &id))
		peers_remove(w->peers, id);
}

static void apply_other(struct worker *w, const Gs__AssignmentItem *item)
{
	const char *id;

	switch (item->item_case) {
	case ITEM_NETWORK:
		net_network_set(w->net, item->network);
		break;
	case ITEM_ENDPOINT:
		net_endpoint_set(w->net, item->endpoint);
		peers_endpoint_set(w->peers, item->endpoint);
		break;
	case ITEM_SECRET:
		tasks_secret_set(w->tasks, item->secret);
		break;
	case ITEM_NODE:
		if (key_is(item, "peer/", &id))
			peers_set(w->peers, item->node);
		break;
	default:
		break;
	}
}

void assignments_apply(struct worker *w, Gs__AssignmentItem *const *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!items[i]->removed && items[i]->item_case != ITEM_TASK)
			apply_other(w, items[i]);
	for (size_t i = 0; i < n; i++)
		if (!items[i]->removed && items[i]->item_case == ITEM_TASK)
			tasks_assign(w->tasks, items[i]->task);
	for (size_t i = 0; i < n; i++) /* behind the tasks, which may have them */
		if (!items[i]->removed && items[i]->item_case == ITEM_VOLUME)
			tasks_discard(w->tasks, items[i]->volume);
	/* Last, and tasks before the networks they use: removal of a task starts its stop. */
	for (size_t i = 0; i < n; i++)
		if (items[i]->removed)
			apply_removed(w, items[i]);
}

void assignments_set_begin(struct worker *w)
{
	tasks_set_begin(w->tasks);
	net_set_begin(w->net);
	peers_set_begin(w->peers);
}

void assignments_set_end(struct worker *w)
{
	net_set_end(w->net);
	peers_set_end(w->peers);
	tasks_set_end(w->tasks);
}
