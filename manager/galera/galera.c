// SPDX-License-Identifier: Apache-2.0
/* The happy path is: read a cluster's slots, tasks and nodes, note what is new, give the next permit, and
 * write the row back only if it differs.
 *
 * What can fail is nothing here: a pass reads memory and adds to a tx. A commit that is refused or lost is
 * repaired by the next pass, since every decision is derived again from committed rows. */
#include "manager/galera/internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

Gs__Task *galera_edit_task(struct galera *g, struct galera_member *m)
{
	Gs__Task *t;

	bug_if(!m->task);
	t = tx_edit(g->tx, OBJ_TASK, m->task->meta->id);
	bug_if(!t || strcmp(t->slot_id, m->slot->meta->id) != 0);
	m->task = t;
	return t;
}

void galera_event(struct galera *g, const char *kind, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = xvasprintf(fmt, ap);
	va_end(ap);
	event_add(g->tx, g->env, kind, g->c->meta->id, "%s", text);
}

struct galera_member *galera_slot_member(const struct galera *g, const char *slot_id)
{
	for (size_t i = 0; i < g->n; i++) {
		if (strcmp(g->m[i].slot->meta->id, slot_id) == 0)
			return &g->m[i];
	}
	return NULL;
}

const char *galera_member_name(const struct galera_member *m)
{
	return m->name;
}

bool galera_is_writer(const struct galera *g, const struct galera_member *m)
{
	return strcmp(g->c->writer_slot, m->slot->meta->id) == 0;
}

void galera_wake_at(struct galera *g, int64_t wall_ms)
{
	int64_t wait = wall_ms - g->wall_ms;

	reconcile_wake(g->env, clock_mono_ms(g->env->clock) + (wait < 1 ? 1 : wait));
}

enum { TELL_MS = 5000 };

/* After an election of managers, and when a node comes back, the node counts as ready and its tasks still have the
 * statuses of before; only what its worker has told since is known. */
static bool was_heard(const struct galera *g, const Gs__Task *t)
{
	int64_t since;

	return !g->env->task_heard || g->env->task_heard(g->env->arg, t->meta->id, &since);
}

/* When it will be too late to wait for what the worker tells (mono). */
static int64_t told_until(const struct galera *g, const Gs__Task *t)
{
	int64_t since = -1;

	g->env->task_heard(g->env->arg, t->meta->id, &since);
	return (since > g->env->leader_since_ms ? since : g->env->leader_since_ms) + TELL_MS;
}

static bool permit_fits_attempt(const Gs__Task *t)
{
	return t->permit && t->permit->mode != PERMIT_NONE && t->permit->attempt >= t->status->attempt;
}

/* It was let begin a history and that was taken back: it may have been on its way. Its worker comes back with a new
 * attempt. */
static bool is_called_back(const Gs__Task *t)
{
	return t->permit && t->permit->mode == PERMIT_NONE && t->permit->withdraw &&
	       t->permit->attempt >= t->status->attempt;
}

static bool was_let_start(const Gs__Task *t)
{
	return t->permit && !t->permit->prefetch; /* mode NONE without it: the start is over */
}

/* ORPHANED is the managers' word, not the worker's: the process may well run. */
static bool may_still_run(const Gs__Task *t)
{
	Gs__TaskState state = t->status ? t->status->state : TASK_NEW;

	return !task_state_is_final(state) || state == TASK_ORPHANED;
}

static enum galera_life running_life(const Gs__Task *t)
{
	const Gs__GaleraView *v = t->status->view;

	if (!v || !v->status[0])
		return GL_STARTING;
	return strcmp(v->status, "Primary") ? GL_NONPRIM : GL_PRIMARY;
}

static enum galera_life task_life(const struct galera *g, const Gs__Task *t, const Gs__Node *node)
{
	Gs__TaskState state = t->status ? t->status->state : TASK_NEW;

	/* A join permit may be used again by a worker that we do not see, so its HELD proves little. */
	if (!node_is_ready(node) || state == TASK_ORPHANED)
		return was_let_start(t) ? GL_LOST : GL_ABSENT;
	if (state < TASK_HELD || task_state_is_final(state))
		return GL_ABSENT;
	if (state > TASK_HELD)
		return was_heard(g, t) ? running_life(t) : GL_LOST;
	if (permit_fits_attempt(t) && t->permit->mode != PERMIT_GENESIS &&
	    t->permit->group_epoch == g->c->group_epoch)
		return GL_STARTING;
	if (!t->status->evidence || t->status->evidence->attempt != t->status->attempt)
		return GL_ABSENT;
	if (!was_heard(g, t) || is_called_back(t))
		return was_let_start(t) ? GL_LOST : GL_ABSENT;
	return GL_HELD;
}

/* It was let into a group that a later one has taken the place of, in which a Primary was seen. What it holds was
 * compared or given up then, and it cannot be in the later one. */
static bool is_of_older_group(const struct galera *g, const Gs__Task *t)
{
	return t->permit->group_epoch < g->c->group_epoch && galera_born(g) &&
	       g->c->last_primary->epoch >= g->c->group_epoch;
}

static bool newer_task(const Gs__Task *a, const Gs__Task *b)
{
	bool a_wanted = a->desired <= TASK_RUNNING, b_wanted = b->desired <= TASK_RUNNING;

	if (a_wanted != b_wanted)
		return a_wanted;
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return a->meta->created_ms > b->meta->created_ms;
}

/* One slot may have several tasks: a new one, and older ones that are not known to be gone. The member shows
 * the new one, unless an older one may still run: then the slot is as alive as that one. One that was given up
 * with its node does not stand in the new one's place, which is elsewhere: it is remembered beside it. Whatever
 * order they come in. */
static void member_add_task(struct galera *g, struct galera_member *m, const Gs__Task *t)
{
	const Gs__Node *node = t->node_id[0] ? tx_get(g->tx, OBJ_NODE, t->node_id) : NULL;
	enum galera_life life = task_life(g, t, node);

	bug_if(strcmp(t->slot_id, m->slot->meta->id) != 0 || !may_still_run(t));
	if (task_state_is_final(t->status ? t->status->state : TASK_NEW)) {
		bug_if(life != GL_ABSENT && life != GL_LOST);
		m->haunted = m->haunted || (life == GL_LOST && !is_of_older_group(g, t));
		return;
	}
	if (!m->task || newer_task(t, m->task)) {
		if (m->task && m->life >= GL_STARTING && life <= GL_HELD)
			life = m->life; /* the older one still has the volume */
		m->task = t;
		m->node = node;
		m->ready = node_is_ready(node);
		m->life = life;
		return;
	}
	if (life >= GL_STARTING && m->life <= GL_HELD)
		m->life = life;
}

/* The worker says LEFT when a server has been Disconnected for a while: it may only be on its way to another
 * address. */
static void note_left(struct galera_member *m, const Gs__GaleraView *v)
{
	if (m->life != GL_NONPRIM || !v)
		return;
	m->voted_out = strcmp(v->health, "BROKEN") == 0;
	m->stays_out = m->voted_out || strcmp(v->health, "LEFT") == 0;
	m->left = m->stays_out || strcmp(v->status, "Disconnected") == 0;
}

/* It said that it runs; that was in an earlier session. */
static bool is_awaited(const struct galera *g, const struct galera_member *m)
{
	return m->life == GL_LOST && m->ready && m->task->status && m->task->status->state > TASK_HELD &&
	       !was_heard(g, m->task) && clock_mono_ms(g->env->clock) < told_until(g, m->task);
}

static void member_finish(struct galera *g, struct galera_member *m)
{
	const Gs__Task *t = m->task;

	m->seqno = -1;
	if (!t && m->haunted)
		m->life = GL_LOST;
	bug_if(!t && m->life != GL_ABSENT && m->life != GL_LOST);
	bug_if(m->life == GL_HELD && (!t->status || !t->status->evidence));
	if (!t)
		return;
	m->stopping = t->desired > TASK_RUNNING;
	m->awaited = is_awaited(g, m);
	if (m->awaited)
		reconcile_wake(g->env, told_until(g, t));
	m->permitted = t->status && t->status->state == TASK_HELD && permit_fits_attempt(t);
	const Gs__GaleraView *v = t->status ? t->status->view : NULL;
	if (m->life == GL_PRIMARY || m->life == GL_NONPRIM) {
		m->outdated = t->permit && t->permit->group_epoch < g->c->group_epoch;
		m->synced = m->life == GL_PRIMARY && v && v->local_state == 4;
		m->donor = m->life == GL_PRIMARY && v && v->local_state == 2;
		m->seqno = v ? v->last_committed : -1;
		note_left(m, v);
	} else if (m->life == GL_STARTING) {
		m->outdated = t->permit && t->permit->group_epoch < g->c->group_epoch;
	} else if (m->life == GL_HELD) {
		galera_judge(g, m);
	}
}

static int by_number(const void *a, const void *b)
{
	const struct galera_member *x = a, *y = b;

	if (x->slot->number != y->slot->number)
		return x->slot->number < y->slot->number ? -1 : 1;
	return strcmp(x->slot->meta->id, y->slot->meta->id);
}

static uint32_t profile_grace_ms(const char *profile)
{
	/* evs.suspect_timeout of the profile plus 5 s: nodes that can merge by themselves have done it */
	if (strcmp(profile, "lan-fast") == 0)
		return 6000;
	if (strcmp(profile, "safe") == 0)
		return 10000;
	if (strcmp(profile, "wan") == 0)
		return 35000;
	return 7000;
}

static void read_spec(struct galera *g, const Gs__Service *svc)
{
	const Gs__GaleraSpec *spec = svc && svc->spec ? svc->spec->galera : NULL;

	if (!spec)
		return;
	if (spec->wait_recover_ms)
		g->wait_recover_ms = spec->wait_recover_ms;
	g->auto_after_ms = spec->auto_after_ms;
	g->writer_only = strcmp(spec->endpoint_mode, "writer") == 0;
	g->grace_ms = profile_grace_ms(spec->profile);
}

/* As its tasks are called: what people read is never an id of ours. */
static void member_name(struct galera_member *m, const Gs__Service *svc)
{
	const Gs__Slot *s = m->slot;
	const char *service = svc && svc->spec ? svc->spec->name : "a removed service";

	if (*s->node_key)
		snprintf(m->name, sizeof(m->name), "%.64s.%s", service, s->node_key);
	else
		snprintf(m->name, sizeof(m->name), "%.64s.%u", service, s->number);
}

static void gather_service(struct galera *g, const char *service_id)
{
	const Gs__Service *svc = tx_get(g->tx, OBJ_SERVICE, service_id);
	bool going = !svc || svc->meta->deleting;
	const Gs__Slot **slots = NULL;
	const Gs__Task **tasks = NULL;
	size_t n_slots = tx_slots_of_service(g->tx, service_id, &slots);
	size_t n_tasks = tx_tasks_of_service(g->tx, service_id, &tasks), first = g->n;

	read_spec(g, svc);
	g->m = xrealloc(g->m, (g->n + n_slots + 1) * sizeof(*g->m));
	for (size_t i = 0; i < n_slots; i++) {
		g->m[g->n++] =
			(struct galera_member){.slot = slots[i], .leaving = going || slots[i]->removing};
		member_name(&g->m[g->n - 1], svc);
		for (size_t k = 0; k < n_tasks; k++) {
			if (strcmp(tasks[k]->slot_id, slots[i]->meta->id) == 0 && may_still_run(tasks[k]))
				member_add_task(g, &g->m[g->n - 1], tasks[k]);
		}
	}
	for (size_t i = first; i < g->n; i++)
		g->all_leaving = g->all_leaving && g->m[i].leaving;
	free(slots);
	free(tasks);
}

static void gather(struct galera *g)
{
	bug_if(g->m || g->n > 0); /* once a pass */
	g->all_leaving = true;
	for (size_t i = 0; i < g->c->n_service_ids; i++)
		gather_service(g, g->c->service_ids[i]);
	if (g->n)
		qsort(g->m, g->n, sizeof(*g->m), by_number);
	for (size_t i = 0; i < g->n; i++)
		member_finish(g, &g->m[i]);
}

/* The row goes when its services are gone and nothing of them is left. */
static bool is_over(const struct galera *g)
{
	if (g->n > 0 || g->c->n_service_ids == 0)
		return false;
	for (size_t i = 0; i < g->c->n_service_ids; i++) {
		if (tx_get(g->tx, OBJ_SERVICE, g->c->service_ids[i]))
			return false;
	}
	return true;
}

static void one_cluster(struct store *s, struct tx *tx, struct reconcile_env *env, const char *id)
{
	static const struct galera_rules defaults;
	const Gs__GaleraCluster *row = tx_get(tx, OBJ_GALERA, id);

	if (!row)
		return;
	struct galera g = {.store = s,
			   .tx = tx,
			   .env = env,
			   .rules = env->galera ? env->galera : &defaults,
			   .old = row,
			   .c = obj_dup(row),
			   .wall_ms = clock_wall_ms(env->clock),
			   .wait_recover_ms = 60000,
			   .grace_ms = 7000};
	gather(&g);
	if (is_over(&g)) {
		tx_remove(tx, row);
	} else {
		galera_observe(&g);
		galera_phases(&g);
		galera_revoke_permits(&g);
		bug_if(strcmp(g.c->meta->id, id) != 0);
		bug_if(g.c->epoch < row->epoch || g.c->permit_serial < row->permit_serial);
		if (!obj_equal(g.c, g.old))
			tx_update(tx, steal(g.c));
	}
	obj_free(g.c);
	free(g.m);
}

void galera_pass(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	bug_if(!s || !env->clock);
	const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_GALERA, &rows);
	char(*ids)[ID_LEN + 1] = xcalloc(n + 1, sizeof(*ids));

	/* ids, not rows: rows may move while the tx changes */
	for (size_t i = 0; i < n; i++)
		snprintf(ids[i], sizeof(ids[i]), "%s", ((const Gs__GaleraCluster *)rows[i])->meta->id);
	free(rows);
	for (size_t i = 0; i < n; i++)
		one_cluster(s, tx, env, ids[i]);
	free(ids);
}
