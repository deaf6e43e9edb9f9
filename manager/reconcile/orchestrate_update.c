// SPDX-License-Identifier: Apache-2.0
/* Tasks made from an older spec, and the number of slots.
 *
 * The happy path is: one outdated task is told to stop while all others run; its slot gets a new task when it
 * has ended; then the next. What can fail is the new spec: a new task that does not get to Running holds the
 * update there, and what still runs is left alone. */
#include "base/mem.h"
#include "manager/reconcile/orchestrate.h"

/* ---- spec changes ---- */

static bool is_outdated(const Gs__Service *svc, const Gs__Task *t)
{
	return t->spec_version != svc->meta->spec_version && svc->spec->task &&
	       !obj_equal(t->spec, svc->spec->task);
}

static bool is_well(const Gs__Service *svc, const struct unit *u)
{
	const Gs__GaleraView *view = u->current && u->current->status ? u->current->status->view : NULL;

	if (!u->current || task_state(u->current) != TASK_RUNNING)
		return false;
	return !service_is_galera(svc) ||
	       (view && strcmp(view->status, "Primary") == 0 && view->local_state == 4);
}

/* What serves nobody can be replaced at once. A starting database member may be loading data: it is left to
 * finish or fail first. */
static bool is_idle(const Gs__Service *svc, const Gs__Task *t)
{
	Gs__TaskState state = task_state(t);

	if (service_is_galera(svc))
		return state <= TASK_HELD || task_state_is_final(state);
	return state != TASK_RUNNING;
}

/* Lower slots first, the writer of a cluster last. */
static bool goes_before(const struct unit *a, const struct unit *b, const char *writer_slot)
{
	bool a_writes = strcmp(a->slot->meta->id, writer_slot) == 0,
	     b_writes = strcmp(b->slot->meta->id, writer_slot) == 0;

	if (a_writes != b_writes)
		return b_writes;
	if (a->slot->number != b->slot->number)
		return a->slot->number < b->slot->number;
	return strcmp(a->slot->meta->id, b->slot->meta->id) < 0;
}

void update_step(struct pass *p, const struct roster *v)
{
	const Gs__GaleraCluster *g = tx_get(p->tx, OBJ_GALERA, v->svc->galera_cluster_id);
	const struct unit *next = NULL;
	size_t unwell = 0;

	for (size_t i = 0; i < v->n; i++) {
		const struct unit *u = &v->units[i];
		bool old;

		if (u->slot->removing) {
			unwell += service_is_galera(v->svc); /* one change of membership at a time */
			continue;
		}
		old = u->current && is_outdated(v->svc, u->current);
		unwell += !is_well(v->svc, u);
		if (old && is_idle(v->svc, u->current))
			task_stop(p, u->current, TASK_SHUTDOWN);
		else if (old && is_well(v->svc, u) &&
			 (!next || goes_before(u, next, g ? g->writer_slot : "")))
			next = u;
	}
	if (next && unwell == 0)
		task_stop(p, next->current, TASK_SHUTDOWN);
}

/* ---- scale ---- */

static bool number_taken(const struct roster *v, uint32_t number)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->units[i].slot->number == number)
			return true;
	return false;
}

static void set_removing(struct pass *p, const Gs__Slot *slot, bool removing)
{
	((Gs__Slot *)tx_edit(p->tx, OBJ_SLOT, slot->meta->id))->removing = removing;
}

/* Nothing was stopped yet, or all has stopped and the volume is still kept (the last member of a cluster that
 * was scaled to 0, or one that no Primary view has let go): they changed their mind. */
static bool may_stay(const struct roster *v, const struct unit *u)
{
	if (!u->slot->removing || !service_is_galera(v->svc))
		return false;
	for (size_t i = 0; i < u->n && !u->current; i++)
		if (!task_is_final(u->tasks[i]))
			return false;
	return true;
}

/* A number that is still being removed is waited for, so that numbers stay 1..n. */
static void scale_up(struct pass *p, const struct roster *v, size_t missing)
{
	for (size_t i = 0; i < v->n && missing > 0; i++) {
		if (!may_stay(v, &v->units[i]))
			continue;
		set_removing(p, v->units[i].slot, false);
		missing--;
	}
	for (uint32_t number = 1; number <= v->svc->spec->replicas && missing > 0; number++) {
		if (v->n > 0 && number_taken(v, number))
			continue;
		slot_create(p, v->svc, number, "");
		missing--;
	}
}

struct candidate {
	const struct unit *u;
	const char *node; /* "" : not placed */
	bool running;
	size_t rank; /* how many copies its node has that go after it, itself included */
};

static int by_node(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	int d = strcmp(x->node, y->node);

	if (d)
		return d;
	if (x->running != y->running)
		return x->running ? -1 : 1;
	return x->u->slot->number < y->u->slot->number ? -1 : 1;
}

/* First what is not placed, then from the nodes with most copies, then what does not run, then the highest
 * slot. */
static int by_removal(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (!*x->node != !*y->node)
		return !*x->node ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank > y->rank ? -1 : 1;
	if (x->running != y->running)
		return x->running ? 1 : -1;
	return x->u->slot->number > y->u->slot->number ? -1 : 1;
}

static void scale_down(struct pass *p, const struct roster *v, size_t excess)
{
	cleanup_free struct candidate *list = xcalloc(v->n, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		const struct unit *u = &v->units[i];

		if (u->slot->removing)
			continue;
		list[n++] =
			(struct candidate){.u = u,
					   .node = u->current ? u->current->node_id : "",
					   .running = u->current && task_state(u->current) == TASK_RUNNING};
	}
	qsort(list, n, sizeof(*list), by_node);
	for (size_t i = 0; i < n; i++)
		list[i].rank =
			i > 0 && strcmp(list[i].node, list[i - 1].node) == 0 ? list[i - 1].rank + 1 : 1;
	qsort(list, n, sizeof(*list), by_removal);
	for (size_t i = 0; i < excess && i < n; i++)
		set_removing(p, list[i].u->slot, true);
}

/* One member at a time, the highest; the next when its slot is gone. */
static void scale_down_galera(struct pass *p, const struct roster *v)
{
	const Gs__Slot *last = NULL;

	for (size_t i = 0; i < v->n; i++) {
		const Gs__Slot *slot = v->units[i].slot;

		if (slot->removing)
			return;
		if (!last || slot->number > last->number)
			last = slot;
	}
	if (last)
		set_removing(p, last, true);
}

static void scale_global(struct pass *p, const struct roster *v)
{
	cleanup_free const void **nodes = NULL;
	size_t n = tx_list(p->tx, OBJ_NODE, &nodes);
	bool one_goes = false;

	for (size_t i = 0; i < v->n; i++) {
		const Gs__Slot *slot = v->units[i].slot;
		const Gs__Node *node = tx_get(p->tx, OBJ_NODE, slot->node_key);

		one_goes |= slot->removing;
		if (slot->removing || (node && constraints_match(v->svc->spec, node)))
			continue;
		if (service_is_galera(v->svc) && one_goes)
			continue;
		set_removing(p, slot, true);
		one_goes = true;
	}
	for (size_t i = 0; i < n; i++) {
		const Gs__Node *node = nodes[i];
		bool has = false;

		for (size_t k = 0; k < v->n && !has; k++)
			has = strcmp(v->units[k].slot->node_key, node->meta->id) == 0;
		if (!has && node_is_ready(node) && constraints_match(v->svc->spec, node) &&
		    node_availability(node) == AVAIL_ACTIVE)
			slot_create(p, v->svc, 0, node->meta->id);
	}
}

void scale_step(struct pass *p, const struct roster *v)
{
	size_t alive = 0, wanted = v->svc->spec->replicas;

	if (v->svc->spec->mode == MODE_GLOBAL) {
		scale_global(p, v);
		return;
	}
	for (size_t i = 0; i < v->n; i++)
		alive += !v->units[i].slot->removing;
	if (alive < wanted)
		scale_up(p, v, wanted - alive);
	else if (alive > wanted && service_is_galera(v->svc))
		scale_down_galera(p, v);
	else if (alive > wanted)
		scale_down(p, v, alive - wanted);
}
