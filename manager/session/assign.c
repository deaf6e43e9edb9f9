// SPDX-License-Identifier: Apache-2.0
/* What a node should know, and what of it is new: each row's content version is compared with what was sent, and the
 * difference handed out. A row that another one names but that is gone is left out. */
#include "manager/session/assign.h"

#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/rows.h"

struct sent {
	UT_hash_handle hh;
	char *key;
	uint64_t version; /* of the content */
	uint64_t round;   /* of the last diff that listed it */
};
struct assign_set {
	struct sent *by_key;
	uint64_t round;
};
struct diff {
	const struct store *s;
	struct assign_set *set;
	Gs__AssignmentItem **items;
	size_t n, cap;
	size_t bytes, max_bytes; /* packed */
	bool more;               /* something found no room: nothing else is added */
};

struct assign_set *assign_set_new(void)
{
	return xcalloc(1, sizeof(struct assign_set));
}

static void sent_free(struct assign_set *set, struct sent *it)
{
	HASH_DEL(set->by_key, it);
	free(it->key);
	free(it);
}

void assign_set_free(struct assign_set *set)
{
	if (!set)
		return;
	while (set->by_key)
		sent_free(set, set->by_key);
	free(set);
}

static Gs__AssignmentItem *item_add(struct diff *d, const char *key, uint64_t version)
{
	Gs__AssignmentItem *item = xmalloc(sizeof(*item));

	gs__assignment_item__init(item);
	item->key = xstrdup(key);
	item->version = version;
	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 16;
		d->items = xrealloc(d->items, d->cap * sizeof(Gs__AssignmentItem *));
	}
	return d->items[d->n++] = item;
}

static void item_set(Gs__AssignmentItem *item, const void *row)
{
	void *borrowed = (void *)(uintptr_t)row;

	switch (obj_kind_of(row)) {
	case OBJ_TASK:
		item->item_case = ITEM_TASK;
		item->task = borrowed;
		break;
	case OBJ_NETWORK:
		item->item_case = ITEM_NETWORK;
		item->network = borrowed;
		break;
	case OBJ_ENDPOINT:
		item->item_case = ITEM_ENDPOINT;
		item->endpoint = borrowed;
		break;
	case OBJ_SECRET:
		item->item_case = ITEM_SECRET;
		item->secret = borrowed;
		break;
	case OBJ_VOLUME_INSTANCE:
		item->item_case = ITEM_VOLUME;
		item->volume = borrowed;
		break;
	default:
		bug_if(obj_kind_of(row) != OBJ_NODE);
		item->item_case = ITEM_NODE;
		item->node = borrowed;
		break;
	}
}

static void item_free(Gs__AssignmentItem *item)
{
	free(item->key);
	free(item);
}

/* False: the last item has no room and is gone again. The first one always has. */
static bool item_fits(struct diff *d)
{
	bug_if(d->n == 0);
	d->bytes += gs__assignment_item__get_packed_size(d->items[d->n - 1]);
	if (d->n == 1 || d->bytes <= d->max_bytes)
		return true;
	item_free(d->items[--d->n]);
	d->more = true;
	return false;
}

static bool emit(struct diff *d, const char *key, const void *row)
{
	if (d->more)
		return false;
	item_set(item_add(d, key, obj_meta(row)->version), row);
	return item_fits(d);
}

static struct sent *sent_add(struct assign_set *set, const char *key)
{
	struct sent *it = xcalloc(1, sizeof(*it));

	it->key = xstrdup(key);
	HASH_ADD_KEYPTR(hh, set->by_key, it->key, strlen(it->key), it);
	return it;
}

/* The node should know this row. false: that was said before in this diff, or what hangs on the row has to wait
 * with it. */
static bool want(struct diff *d, const char *prefix, const char *id, const void *row)
{
	cleanup_free char *key = xasprintf("%s/%s", prefix, id);
	struct sent *it;
	uint64_t version;

	if (!row)
		return false;
	version = obj_content_version(row);
	HASH_FIND_STR(d->set->by_key, key, it);
	if (it && it->round == d->set->round)
		return false;
	if (!it) {
		if (!emit(d, key, row))
			return false;
		it = sent_add(d->set, key);
		it->version = version;
	} else if (it->version != version && emit(d, key, row)) {
		it->version = version;
	}
	bug_if(it->round > d->set->round);
	it->round = d->set->round;
	return true;
}

/* Endpoint ids begin with the network's: one range of the table. */
static void want_endpoints(struct diff *d, const char *network_id)
{
	cleanup_free char *prefix = xasprintf("%s.", network_id);
	size_t lo = 0, hi = store_count(d->s, OBJ_ENDPOINT);
	const Gs__Endpoint *ep;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		ep = store_at(d->s, OBJ_ENDPOINT, mid);
		if (strcmp(ep->meta->id, prefix) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; (ep = store_at(d->s, OBJ_ENDPOINT, lo)) && strncmp(ep->meta->id, prefix, strlen(prefix)) == 0;
	     lo++)
		want(d, "ep", ep->meta->id, ep);
}

static void want_peers_of(struct diff *d, const char *service_id, const char *self)
{
	const Gs__Task *const *tasks;
	size_t n = store_tasks_of_service(d->s, service_id, &tasks);

	for (size_t i = 0; i < n; i++)
		if (*tasks[i]->node_id && !task_is_final(tasks[i]) && strcmp(tasks[i]->node_id, self) != 0)
			want(d, "peer", tasks[i]->node_id, store_node(d->s, tasks[i]->node_id));
}

static void want_peers(struct diff *d, const Gs__Task *t)
{
	const Gs__GaleraCluster *g = store_galera(d->s, t->galera_cluster_id);

	want_peers_of(d, t->service_id, t->node_id);
	for (size_t i = 0; g && i < g->n_service_ids; i++)
		want_peers_of(d, g->service_ids[i], t->node_id);
}

/* What a task that may still run needs around it. */
static void want_surroundings(struct diff *d, const Gs__Task *t)
{
	for (size_t i = 0; t->spec && i < t->spec->n_networks; i++) {
		const char *id = t->spec->networks[i]->network_id;

		if (want(d, "net", id, store_network(d->s, id)))
			want_endpoints(d, id);
	}
	for (size_t i = 0; i < t->n_secrets; i++)
		want(d, "secret", t->secrets[i]->secret_id,
		     store_get(d->s, OBJ_SECRET, t->secrets[i]->secret_id));
	if (*t->galera_cluster_id)
		want_peers(d, t);
}

/* What a person wants deleted there. */
static void want_discards(struct diff *d, const char *node_id)
{
	const Gs__VolumeInstance *inst;

	for (size_t i = 0; (inst = store_at(d->s, OBJ_VOLUME_INSTANCE, i)); i++)
		if (inst->state == VOL_REMOVING && strcmp(inst->node_id, node_id) == 0)
			want(d, "volume", inst->volume_id, inst);
}

/* Behind everything that is new: what the node gets may be why it can do without. */
static void drop_unwanted(struct diff *d)
{
	struct sent *it, *next;

	HASH_ITER (hh, d->set->by_key, it, next) {
		if (d->more)
			return;
		if (it->round == d->set->round)
			continue;
		item_add(d, it->key, it->version)->removed = true;
		if (item_fits(d))
			sent_free(d->set, it);
	}
}

size_t assign_diff(const struct store *s, const char *node_id, struct assign_set *set, size_t max_bytes,
		   Gs__AssignmentItem ***ret, bool *ret_more)
{
	struct diff d = {.s = s, .set = set, .max_bytes = max_bytes};
	const Gs__Task *const *tasks;
	size_t n = store_tasks_of_node(s, node_id, &tasks);

	set->round++;
	want(&d, "node", "self", store_node(s, node_id));
	for (size_t i = 0; i < n; i++)
		if (!task_is_final(tasks[i]))
			want_surroundings(&d, tasks[i]);
	for (size_t i = 0; i < n; i++)
		if (tasks[i]->desired != TASK_REMOVE || !task_is_final(tasks[i]))
			want(&d, "task", tasks[i]->meta->id, tasks[i]);
	want_discards(&d, node_id);
	drop_unwanted(&d);
	*ret = d.items;
	*ret_more = d.more;
	return d.n;
}

void assign_items_free(Gs__AssignmentItem **items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		item_free(items[i]);
	free(items);
}
