// SPDX-License-Identifier: Apache-2.0
/* Which slots and tasks should exist.
 *
 * The happy path is: a service gets its slots, each slot one task that should run; a task that ended gets a
 * successor in its slot when the one before is certainly gone. What can fail is the world: a node goes down,
 * an image is missing, a spec changes. Each pass compares rows only and adds the next step to the tx; what
 * must be waited for is found again by a later pass (a report, a heartbeat or wake_ms brings it).
 *
 *   current task      observed                     step
 *   none              older ones gone              new task
 *   should run        ended, restart wanted, due   told to stop (it has), new task
 *   should run        its node is removed          orphaned, new task anywhere
 *   should run        node down, no volume         orphaned, new task elsewhere
 *   should run        node drained, no volume      told to stop
 *   none              two nodes went down while   nothing for ten minutes, or until the spec changes
 *                     they started one
 *   should run        made from another spec       orchestrate_update.c
 *   slot removing     plain: told to go            slot dropped when all are gone
 *                     galera: its controller says when */
#include "manager/reconcile/orchestrate.h"

#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"

#define BACKOFF_MAX_MS 30000
#define BACKOFF_REJECTED_MS 1000
#define BACKOFF_MS 100
#define STABLE_MS 60000
/* A task that takes one node down after the other while it is started is not tried on the next one at once. */
#define LOST_STARTS_MAX 2
#define LOST_START_REST_MS (10 * 60 * 1000)

/* ---- rosters ---- */

static int by_slot_then_age(const void *a, const void *b)
{
	const Gs__Task *x = *(const Gs__Task *const *)a, *y = *(const Gs__Task *const *)b;
	int d = strcmp(x->slot_id, y->slot_id);
	/* created in this tx: not stamped yet, newest */
	uint64_t xt = (uint64_t)x->meta->created_ms - 1, yt = (uint64_t)y->meta->created_ms - 1;

	if (d)
		return d;
	if (xt != yt)
		return xt < yt ? -1 : 1;
	return strcmp(x->meta->id, y->meta->id);
}

/* Fills *v; roster_fini frees its lists. */
static void roster_load(struct pass *p, struct roster *v, const Gs__Service *svc)
{
	size_t k = 0;

	*v = (struct roster){.svc = svc};
	v->n = tx_slots_of_service(p->tx, svc->meta->id, &v->slots);
	v->n_tasks = tx_tasks_of_service(p->tx, svc->meta->id, &v->tasks);
	v->units = xcalloc(v->n, sizeof(*v->units));
	qsort(v->tasks, v->n_tasks, sizeof(Gs__Task *), by_slot_then_age);
	for (size_t i = 0; i < v->n; i++) {
		struct unit *u = &v->units[i];

		u->slot = v->slots[i];
		while (k < v->n_tasks && strcmp(v->tasks[k]->slot_id, u->slot->meta->id) < 0)
			k++;
		u->tasks = v->tasks + k;
		for (; k < v->n_tasks && strcmp(v->tasks[k]->slot_id, u->slot->meta->id) == 0; k++, u->n++)
			if (task_wanted(v->tasks[k]))
				u->current = v->tasks[k];
	}
}

static void roster_fini(struct roster *v)
{
	free(v->units);
	free(v->slots);
	free(v->tasks);
	*v = (struct roster){0};
}

/* ---- one slot ---- */

/* Two processes on one volume must never be: silence of a node is no proof there. */
static bool others_gone(struct pass *p, const struct unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		const Gs__Task *t = u->tasks[i];

		if (t == u->current)
			continue;
		if (u->slot->n_volumes > 0 && !task_is_final(t) && *t->node_id &&
		    tx_get(p->tx, OBJ_NODE, t->node_id))
			return false;
		if (!task_is_gone(p->tx, t))
			return false;
	}
	return true;
}

/* A global service's task can be nowhere but on its node: nothing new there while it takes nothing. */
static bool slot_takes_task(struct pass *p, const struct unit *u)
{
	const Gs__Node *n;

	if (!*u->slot->node_key)
		return true;
	n = tx_get(p->tx, OBJ_NODE, u->slot->node_key);
	return n && node_availability(n) == AVAIL_ACTIVE;
}

static void orphan(struct pass *p, const Gs__Task *t)
{
	Gs__Task *edit = tx_edit(p->tx, OBJ_TASK, t->meta->id);

	bug_if(!edit || !*edit->node_id);
	edit->desired = TASK_SHUTDOWN;
	if (task_is_final(edit))
		return;
	if (!edit->status)
		edit->status = obj_new(&gs__task_status__descriptor);
	edit->status->state = TASK_ORPHANED;
	edit->status->since_ms = p->wall_ms;
	str_replace(&edit->status->message, "its node is gone");
}

/* The node is down and took with it a task that had not come to run yet: by itself, or by that task. */
static void count_lost_start(struct pass *p, const Gs__Task *t)
{
	Gs__Slot *slot;

	if (task_state(t) < TASK_ASSIGNED || task_state(t) >= TASK_RUNNING || t->status->attempt > 1)
		return;
	slot = tx_edit(p->tx, OBJ_SLOT, t->slot_id);
	bug_if(!slot);
	slot->lost_starts++;
}

static bool has_run(const Gs__Task *t)
{
	return task_state(t) >= TASK_RUNNING && task_state(t) != TASK_ORPHANED;
}

/* Only for what was not changed since. */
static bool start_must_rest(struct pass *p, const Gs__Service *svc, const struct unit *u)
{
	const Gs__Slot *slot = tx_get(p->tx, OBJ_SLOT, u->slot->meta->id);
	const Gs__Task *last = u->n ? tx_get(p->tx, OBJ_TASK, u->tasks[u->n - 1]->meta->id) : NULL;
	int64_t elapsed;

	if (slot->lost_starts < LOST_STARTS_MAX || !last || last->spec_version != svc->meta->spec_version)
		return false;
	elapsed = p->wall_ms - (last->status ? last->status->since_ms : 0);
	if (elapsed < 0 || elapsed >= LOST_START_REST_MS)
		return false;
	reconcile_wake(p->env, clock_mono_ms(p->env->clock) + LOST_START_REST_MS - elapsed);
	return true;
}

static bool wants_restart(const Gs__Task *t)
{
	Gs__RestartCondition rule = t->spec ? t->spec->restart : RESTART_ANY;

	if (task_state(t) == TASK_ORPHANED)
		return true;
	if (rule == RESTART_ON_FAILURE)
		return task_state(t) != TASK_COMPLETE;
	return rule == RESTART_ANY;
}

/* Doubles with every short-lived task that the slot remembers. */
static int64_t backoff_ms(const struct unit *u)
{
	bool rejected = task_state(u->current) == TASK_REJECTED;
	int64_t delay = rejected ? BACKOFF_REJECTED_MS : BACKOFF_MS;

	bug_if(!task_is_final(u->current));
	for (size_t i = 0; i < u->n && delay < BACKOFF_MAX_MS; i++) {
		const Gs__Task *t = u->tasks[i];
		Gs__TaskState state = task_state(t);

		if (t != u->current && task_state_is_final(state) && state != TASK_ORPHANED &&
		    state != TASK_SHUTDOWN && t->meta->updated_ms - t->meta->created_ms < STABLE_MS)
			delay *= 2;
	}
	return delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS;
}

static bool restart_is_due(struct pass *p, const struct unit *u)
{
	int64_t delay = backoff_ms(u);
	int64_t elapsed = p->wall_ms - u->current->meta->updated_ms;

	/* a wall clock that was set back must not stop restarts */
	if (elapsed < 0 || elapsed >= delay)
		return true;
	reconcile_wake(p->env, clock_mono_ms(p->env->clock) + delay - elapsed);
	return false;
}

/* true: the current task is out of the way and the slot may get a new one. */
static bool current_is_over(struct pass *p, const Gs__Service *svc, const struct unit *u)
{
	const Gs__Task *t = u->current;
	const Gs__Node *n = *t->node_id ? tx_get(p->tx, OBJ_NODE, t->node_id) : NULL;
	bool bound = u->slot->n_volumes > 0 || *u->slot->node_key;

	if (*t->node_id && !n) {
		orphan(p, t);
		return true;
	}
	if (task_is_final(t)) {
		if (!wants_restart(t) || !restart_is_due(p, u))
			return false;
		task_stop(p, t, TASK_SHUTDOWN);
		return true;
	}
	if (!n || bound)
		return false;
	if (node_is_down(n)) {
		count_lost_start(p, t);
		orphan(p, t);
		return true;
	}
	if (node_availability(n) == AVAIL_DRAIN)
		task_stop(p, t, TASK_SHUTDOWN);
	return false;
}

static void drain_global(struct pass *p, const struct unit *u)
{
	const Gs__Node *n = tx_get(p->tx, OBJ_NODE, u->slot->node_key);

	if (u->current && *u->current->node_id && u->slot->n_volumes == 0 && n &&
	    node_availability(n) == AVAIL_DRAIN)
		task_stop(p, u->current, TASK_SHUTDOWN);
}

/* The node that held the slot's data was removed from the cluster: its data counts as lost. */
static void forget_lost_node(struct pass *p, const struct unit *u)
{
	Gs__Slot *edit;

	if (!*u->slot->preferred_node || tx_get(p->tx, OBJ_NODE, u->slot->preferred_node))
		return;
	slot_retire_volumes(p, u->slot);
	edit = tx_edit(p->tx, OBJ_SLOT, u->slot->meta->id);
	str_replace(&edit->preferred_node, "");
}

static void unit_step(struct pass *p, const Gs__Service *svc, const struct unit *u)
{
	const char *slot_id = u->slot->meta->id;

	slot_ensure_volumes(p, svc, u->slot);
	forget_lost_node(p, u);
	if (*u->slot->node_key)
		drain_global(p, u);
	if (u->slot->lost_starts && u->current && has_run(u->current))
		((Gs__Slot *)tx_edit(p->tx, OBJ_SLOT, slot_id))->lost_starts = 0;
	if (u->current && !current_is_over(p, svc, u))
		return;
	if (others_gone(p, u) && slot_takes_task(p, u) && !start_must_rest(p, svc, u))
		task_create(p, svc, tx_get(p->tx, OBJ_SLOT, slot_id));
}

/* Ended tasks beyond the limit, and those that only waited to end. */
static void trim_history(struct pass *p, const struct unit *u)
{
	size_t ended = 0;

	for (size_t i = u->n; i-- > 0;) {
		const Gs__Task *t = u->tasks[i];

		if (t == u->current || !tx_get(p->tx, OBJ_TASK, t->meta->id))
			continue;
		if (t->desired == TASK_REMOVE ? task_is_gone(p->tx, t)
					      : task_is_final(t) && ++ended > p->history)
			tx_remove(p->tx, t);
	}
}

/* ---- slots that go ---- */

/* A cluster's controller decides when a member may be told to stop. */
static bool is_over(struct pass *p, const Gs__Task *t, bool controlled)
{
	return task_is_final(t) || (task_is_gone(p->tx, t) && !(controlled && task_wanted(t)));
}

/* A member that left may hold what the others have not applied yet: its volume stays until their view
 * confirms. */
static bool in_primary_view(struct pass *p, const Gs__Service *svc, const struct unit *u)
{
	const Gs__GaleraCluster *g = tx_get(p->tx, OBJ_GALERA, svc->galera_cluster_id);
	const Gs__PrimaryView *v = g && !svc->meta->deleting ? g->last_primary : NULL;

	for (size_t i = 0; v && i < v->n_slots; i++)
		if (strcmp(v->slots[i], u->slot->meta->id) == 0)
			return true;
	return false;
}

static void unit_remove(struct pass *p, const Gs__Service *svc, const struct unit *u)
{
	bool controlled = service_is_galera(svc) && tx_get(p->tx, OBJ_GALERA, svc->galera_cluster_id);
	bool all_over = true;

	for (size_t i = 0; i < u->n; i++)
		all_over = all_over && is_over(p, u->tasks[i], controlled);
	if (all_over && controlled && in_primary_view(p, svc, u))
		return;
	if (all_over) {
		slot_drop(p, u);
		return;
	}
	for (size_t i = 0; i < u->n && !controlled; i++)
		task_stop(p, u->tasks[i], TASK_REMOVE);
}

static bool cluster_has_other_service(struct pass *p, const Gs__Service *svc)
{
	const Gs__GaleraCluster *g = tx_get(p->tx, OBJ_GALERA, svc->galera_cluster_id);

	for (size_t i = 0; g && i < g->n_service_ids; i++)
		if (strcmp(g->service_ids[i], svc->meta->id) != 0 &&
		    tx_get(p->tx, OBJ_SERVICE, g->service_ids[i]))
			return true;
	return false;
}

static void remove_owned_secrets(struct pass *p, const Gs__Service *svc)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(p->tx, OBJ_SECRET, &rows);
	bool cluster_stays = cluster_has_other_service(p, svc);

	for (size_t i = 0; i < n; i++) {
		const Gs__Secret *secret = rows[i];

		if (!*secret->owner)
			continue;
		if (strcmp(secret->owner, svc->meta->id) == 0 ||
		    (!cluster_stays && strcmp(secret->owner, svc->galera_cluster_id) == 0))
			tx_remove(p->tx, secret);
	}
}

/* Its worker sends KILL then, also to a task that is within a longer grace already. */
static void drop_grace(struct pass *p, const struct unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		const Gs__Task *t = u->tasks[i];

		if (!task_is_final(t) && t->spec->stop_grace_ms > 1)
			((Gs__Task *)tx_edit(p->tx, OBJ_TASK, t->meta->id))->spec->stop_grace_ms = 1;
	}
}

static void service_remove(struct pass *p, const struct roster *v)
{
	for (size_t i = 0; v->svc->at_once && i < v->n; i++)
		drop_grace(p, &v->units[i]);
	for (size_t i = 0; i < v->n; i++)
		unit_remove(p, v->svc, &v->units[i]);
	bug_if(!v->svc->meta->deleting);
	if (v->n > 0 || v->n_tasks > 0)
		return; /* the next round sees what is left */
	remove_owned_secrets(p, v->svc);
	if (*v->svc->galera_cluster_id && !cluster_has_other_service(p, v->svc)) {
		const void *g = tx_get(p->tx, OBJ_GALERA, v->svc->galera_cluster_id);

		if (g)
			tx_remove(p->tx, g);
	}
	tx_remove(p->tx, v->svc);
}

/* ---- all services ---- */

static void service_step(struct pass *p, const Gs__Service *svc)
{
	struct roster v;
	uint64_t before = tx_touched(p->tx);

	roster_load(p, &v, svc);
	if (svc->meta->deleting) {
		service_remove(p, &v);
		roster_fini(&v);
		return;
	}
	scale_step(p, &v);
	if (tx_touched(p->tx) != before) {
		roster_fini(&v);
		roster_load(p, &v, svc);
	}
	for (size_t i = 0; i < v.n; i++) {
		if (v.units[i].slot->removing)
			unit_remove(p, svc, &v.units[i]);
		else
			unit_step(p, svc, &v.units[i]);
	}
	roster_fini(&v);
	roster_load(p, &v, svc);
	update_step(p, &v);
	for (size_t i = 0; i < v.n; i++)
		trim_history(p, &v.units[i]);
	roster_fini(&v);
}

/* Tasks whose service or slot is not there: only a bug or a removal that was cut short leaves them. */
static void reap_strays(struct pass *p)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(p->tx, OBJ_TASK, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Task *t = rows[i];

		if (tx_get(p->tx, OBJ_SERVICE, t->service_id) && tx_get(p->tx, OBJ_SLOT, t->slot_id))
			continue;
		if (task_is_gone(p->tx, t))
			tx_remove(p->tx, t);
		else
			task_stop(p, t, TASK_REMOVE);
	}
}

void orchestrate_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	const Gs__Cluster *c = store_cluster(s);
	struct pass p = {.s = s,
			 .tx = tx,
			 .env = env,
			 .history = c && c->spec ? c->spec->task_history_limit : 5,
			 .wall_ms = clock_wall_ms(env->clock)};
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_SERVICE, &rows);

	for (size_t i = 0; i < n; i++)
		if (((const Gs__Service *)rows[i])->spec)
			service_step(&p, rows[i]);
	reap_strays(&p);
}
