// SPDX-License-Identifier: Apache-2.0
/* PENDING tasks get a node.
 *
 * The happy path is: of the nodes that fit, the one with the fewest tasks of this service, then the fewest
 * tasks, then the lowest id takes the task; the slot notes its new holder. What can fail is that none fits:
 * the task keeps waiting and says why, counted over all nodes. A slot with data waits for the node that has
 * it. */
#include <stdio.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/rows.h"
#include "manager/reconcile/reconcile.h"

/* One node during the pass. */
struct seat {
	const Gs__Node *node;
	size_t tasks;         /* all that may run there */
	uint64_t cpu, memory; /* reserved by them */
	/* for the service being placed: */
	size_t copies;
	bool fits_constraints;
	bool apart; /* node_is_apart */
};
struct board {
	struct tx *tx;
	struct seat *seats; /* in node id order */
	size_t n;
};
enum refusal { FITS, DOWN, NOT_ACTIVE, CONSTRAINT, APART, RESOURCES, FULL, REFUSALS };

static struct seat *seat_of(const struct board *b, const char *node_id)
{
	size_t lo = 0, hi = b->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int d = strcmp(b->seats[mid].node->meta->id, node_id);

		if (d == 0)
			return &b->seats[mid];
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static void seat_take(struct seat *seat, const Gs__Task *t)
{
	const Gs__Resources *r = t->spec ? t->spec->reservations : NULL;

	seat->tasks++;
	seat->cpu += r ? r->nano_cpus : 0;
	seat->memory += r ? r->memory_bytes : 0;
}

static void board_load(struct board *b, struct store *s, struct tx *tx, const Gs__Task **tasks,
		       size_t n_tasks)
{
	size_t underlay = underlay_address_len(s, "");
	cleanup_free const void **nodes = NULL;

	b->tx = tx;
	b->n = tx_list(tx, OBJ_NODE, &nodes);
	b->seats = xcalloc(b->n, sizeof(*b->seats));
	for (size_t i = 0; i < b->n; i++)
		b->seats[i] = (struct seat){.node = nodes[i], .apart = node_is_apart(nodes[i], underlay)};
	for (size_t i = 0; i < n_tasks; i++) {
		struct seat *seat =
			*tasks[i]->node_id && !task_is_final(tasks[i]) ? seat_of(b, tasks[i]->node_id) : NULL;

		if (seat)
			seat_take(seat, tasks[i]);
	}
}

/* ---- copies per node: a slot counts where its task may run and where its data is ---- */

static void count_service(struct board *b, const char *service_id)
{
	cleanup_free const Gs__Slot **slots = NULL;
	cleanup_free const Gs__Task **tasks = NULL;
	size_t n_slots = tx_slots_of_service(b->tx, service_id, &slots);
	size_t n_tasks = tx_tasks_of_service(b->tx, service_id, &tasks);

	for (size_t i = 0; i < n_tasks; i++) {
		const Gs__Slot *slot = tx_get(b->tx, OBJ_SLOT, tasks[i]->slot_id);
		struct seat *seat =
			*tasks[i]->node_id && !task_is_final(tasks[i]) ? seat_of(b, tasks[i]->node_id) : NULL;

		if (seat && !(slot && strcmp(slot->preferred_node, tasks[i]->node_id) == 0))
			seat->copies++;
	}
	for (size_t i = 0; i < n_slots; i++) {
		struct seat *seat = *slots[i]->preferred_node ? seat_of(b, slots[i]->preferred_node) : NULL;

		if (seat)
			seat->copies++;
	}
}

static void board_set_service(struct board *b, const Gs__Service *svc)
{
	const Gs__GaleraCluster *g = tx_get(b->tx, OBJ_GALERA, svc->galera_cluster_id);

	for (size_t i = 0; i < b->n; i++) {
		b->seats[i].copies = 0;
		b->seats[i].fits_constraints = constraints_match(svc->spec, b->seats[i].node);
	}
	count_service(b, svc->meta->id);
	/* members of one cluster keep off each other also across services */
	for (size_t i = 0; g && i < g->n_service_ids; i++)
		if (strcmp(g->service_ids[i], svc->meta->id) != 0)
			count_service(b, g->service_ids[i]);
}

/* ---- one task ---- */

static size_t max_copies(const Gs__Service *svc)
{
	if (service_is_galera(svc))
		return 1;
	return svc->spec->max_per_node ? svc->spec->max_per_node : SIZE_MAX;
}

static bool has_room(const struct seat *seat, const Gs__Task *t)
{
	const Gs__Resources *want = t->spec ? t->spec->reservations : NULL;
	const Gs__Resources *have = seat->node->description ? seat->node->description->resources : NULL;

	if (!want)
		return true;
	if (want->nano_cpus && (!have || seat->cpu + want->nano_cpus > have->nano_cpus))
		return false;
	return !want->memory_bytes || (have && seat->memory + want->memory_bytes <= have->memory_bytes);
}

static enum refusal judge(const struct seat *seat, const Gs__Service *svc, const Gs__Task *t, bool own_data)
{
	if (!node_is_ready(seat->node))
		return DOWN;
	if (node_availability(seat->node) != AVAIL_ACTIVE)
		return NOT_ACTIVE;
	if (!seat->fits_constraints)
		return CONSTRAINT;
	if (seat->apart && t->spec && t->spec->n_networks > 0)
		return APART;
	if (!has_room(seat, t))
		return RESOURCES;
	if (seat->copies - own_data >= max_copies(svc))
		return FULL;
	return FITS;
}

static void place(struct board *b, struct seat *seat, const Gs__Task *t)
{
	Gs__Task *task = tx_edit(b->tx, OBJ_TASK, t->meta->id);
	Gs__Slot *slot = tx_edit(b->tx, OBJ_SLOT, t->slot_id);
	const char *node_id = seat->node->meta->id;

	bug_if(!task || !slot || *task->node_id || task_state(task) != TASK_PENDING);
	if (!slot->holder)
		slot->holder = obj_new(&gs__slot_holder__descriptor);
	bug_if(slot->holder->generation == UINT64_MAX);
	slot->holder->generation++;
	slot->holder->attempt = 0;
	str_replace(&slot->holder->task_id, task->meta->id);
	str_replace(&task->node_id, node_id);
	str_replace(&task->pending_reason, "");
	task->generation = slot->holder->generation;
	task->status->state = TASK_ASSIGNED;
	tx_behind(b->tx, OBJ_TASK, task->meta->id);
	seat_take(seat, task);
	if (strcmp(slot->preferred_node, node_id) != 0)
		seat->copies++;
	if (slot->n_volumes > 0)
		str_replace(&slot->preferred_node, node_id);
	for (size_t i = 0; i < slot->n_volumes; i++) {
		cleanup_free char *id = xasprintf("%s.%s", slot->volumes[i]->volume_id, node_id);
		Gs__VolumeInstance *inst;

		if (tx_get(b->tx, OBJ_VOLUME_INSTANCE, id))
			continue;
		inst = obj_new_row(OBJ_VOLUME_INSTANCE, id);
		str_replace(&inst->volume_id, slot->volumes[i]->volume_id);
		str_replace(&inst->node_id, node_id);
		inst->generation = slot->holder->generation;
		tx_create(b->tx, inst);
	}
}

static void count_text(struct buf *out, const struct board *b, size_t n, const char *fmt, const char *name)
{
	if (n == 0)
		return;
	buf_printf(out, "%s%zu", out->len ? ", " : "", n);
	if (!out->len || !memchr(out->data, ',', out->len))
		buf_printf(out, " of %zu", b->n);
	buf_printf(out, fmt, name);
}

static void explain(struct board *b, const Gs__Service *svc, const Gs__Task *t, const size_t count[REFUSALS])
{
	struct buf text = {0};
	cleanup_free char *reason = NULL;
	const char *full = count[FULL] == 1 ? " already runs a member of %s" : " already run a member of %s";

	if (!service_is_galera(svc))
		full = count[FULL] == 1 ? " already has its share of %s" : " already have their share of %s";
	count_text(&text, b, count[DOWN], " down", NULL);
	count_text(&text, b, count[NOT_ACTIVE], " drained or paused", NULL);
	count_text(&text, b, count[CONSTRAINT],
		   count[CONSTRAINT] == 1 ? " does not meet the constraints" : " do not meet the constraints",
		   NULL);
	count_text(&text, b, count[APART], " with a data path of another IP version", NULL);
	count_text(&text, b, count[RESOURCES], " without room for the reservations", NULL);
	count_text(&text, b, count[FULL], full, svc->spec->name);
	reason = xasprintf("no suitable node: %s", text.len ? buf_text(&text) : "there is none");
	task_set_pending(b->tx, t, reason);
	buf_fini(&text);
}

/* The only node that is possible for a slot: the one with its data, or a global slot's own. */
static void place_bound(struct board *b, const Gs__Service *svc, const Gs__Slot *slot, const Gs__Task *t)
{
	bool data = *slot->preferred_node;
	struct seat *seat = seat_of(b, data ? slot->preferred_node : slot->node_key);
	static const char *const why[REFUSALS] = {[DOWN] = "it is down",
						  [NOT_ACTIVE] = "it is drained or paused",
						  [CONSTRAINT] = "it does not meet the constraints",
						  [APART] = "its data path is of another IP version",
						  [RESOURCES] = "no room for the reservations",
						  [FULL] = "another member runs there"};
	enum refusal refusal;
	cleanup_free char *reason = NULL;

	if (!seat)
		return; /* its node was removed: orchestrate_pass deals with it */
	refusal = judge(seat, svc, t, data);
	if (refusal == FITS) {
		place(b, seat, t);
		return;
	}
	reason = xasprintf("waits for node %s%s: %s", node_name(seat->node),
			   data ? ", which holds its data" : "", why[refusal]);
	task_set_pending(b->tx, t, reason);
}

static bool is_better(const struct seat *a, const struct seat *b)
{
	if (a->copies != b->copies)
		return a->copies < b->copies;
	return a->tasks < b->tasks; /* seats are in id order: the first one stays */
}

static void place_spread(struct board *b, const Gs__Service *svc, const Gs__Task *t)
{
	size_t count[REFUSALS] = {0};
	struct seat *best = NULL;

	for (size_t i = 0; i < b->n; i++) {
		enum refusal refusal = judge(&b->seats[i], svc, t, false);

		count[refusal]++;
		if (refusal == FITS && (!best || is_better(&b->seats[i], best)))
			best = &b->seats[i];
	}
	if (best)
		place(b, best, t);
	else
		explain(b, svc, t, count);
}

/* A process of an older task of the slot may still have the volume. */
static bool slot_is_free(const struct board *b, const Gs__Task *t, const Gs__Slot *slot)
{
	const Gs__Task *holder = slot->holder ? tx_get(b->tx, OBJ_TASK, slot->holder->task_id) : NULL;

	if (!holder || holder == t || task_is_final(holder) || !*holder->node_id || slot->n_volumes == 0)
		return true;
	return !tx_get(b->tx, OBJ_NODE, holder->node_id);
}

static void place_task(struct board *b, const Gs__Service *svc, const Gs__Task *t)
{
	const Gs__Slot *slot = tx_get(b->tx, OBJ_SLOT, t->slot_id);

	if (!slot || !slot_is_free(b, t, slot))
		return;
	if (*slot->preferred_node || *slot->node_key)
		place_bound(b, svc, slot, t);
	else
		place_spread(b, svc, t);
}

void schedule_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	cleanup_free const Gs__Task **tasks = NULL;
	size_t n = tx_list(tx, OBJ_TASK, (const void ***)&tasks), waiting = 0;
	const Gs__Service *svc = NULL;
	struct board b;

	(void)env;
	board_load(&b, s, tx, tasks, n);
	for (size_t i = 0; i < n; i++)
		if (task_state(tasks[i]) == TASK_PENDING && task_wanted(tasks[i]) && !*tasks[i]->node_id)
			tasks[waiting++] = tasks[i];
	qsort(tasks, waiting, sizeof(*tasks), tasks_by_service_then_slot);
	for (size_t i = 0; i < waiting; i++) {
		if (i == 0 || strcmp(tasks[i]->service_id, tasks[i - 1]->service_id) != 0) {
			svc = tx_get(tx, OBJ_SERVICE, tasks[i]->service_id);
			if (svc)
				board_set_service(&b, svc);
		}
		if (svc)
			place_task(&b, svc, tasks[i]);
	}
	free(b.seats);
}
