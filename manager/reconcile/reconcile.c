// SPDX-License-Identifier: Apache-2.0
/* All passes in one transaction, and what they share.
 *
 * The happy path is: passes run in order, again while they still change something, so that one commit leads
 * from a created service to placed tasks. What can fail is nothing here; the commit that follows can, and
 * then the next pass starts from what is committed. */
#include "manager/reconcile/reconcile.h"

#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/model/rows.h"

#define ROUNDS_MAX 5
#define EVENTS_MAX 500
/* Retired data that is still told of; what is on the disks is not touched. */
#define RETIRED_MAX 1000

bool task_is_gone(const struct tx *tx, const Gs__Task *t)
{
	const Gs__Node *n;

	if (task_is_final(t) || !*t->node_id)
		return true;
	n = tx_get(tx, OBJ_NODE, t->node_id);
	return !n || node_is_down(n);
}

size_t underlay_address_len(const struct store *s, const char *but)
{
	const Gs__Node *n, *best = NULL;

	for (size_t i = 0; (n = store_at(s, OBJ_NODE, i)); i++) {
		bool manages = n->spec && n->spec->role == ROLE_MANAGER;

		if (strcmp(n->meta->id, but) == 0 || !n->description || !n->description->vtep_ip.len)
			continue;
		if (manages)
			return n->description->vtep_ip.len;
		if (!best || n->meta->created_ms < best->meta->created_ms)
			best = n;
	}
	return best ? best->description->vtep_ip.len : 0;
}

void task_set_pending(struct tx *tx, const Gs__Task *t, const char *reason)
{
	Gs__Task *edit;

	if (strcmp(t->pending_reason, reason) == 0)
		return;
	edit = tx_edit(tx, OBJ_TASK, t->meta->id);
	if (edit)
		str_replace(&edit->pending_reason, reason);
}

int tasks_by_service_then_slot(const void *a, const void *b)
{
	const Gs__Task *x = *(const Gs__Task *const *)a, *y = *(const Gs__Task *const *)b;
	int d = strcmp(x->service_id, y->service_id);

	if (d)
		return d;
	if (x->slot_number != y->slot_number)
		return x->slot_number < y->slot_number ? -1 : 1;
	return strcmp(x->meta->id, y->meta->id);
}

const Gs__SlotAddress *slot_address(const Gs__Slot *slot, const char *network_id)
{
	for (size_t i = 0; i < slot->n_addresses; i++)
		if (strcmp(slot->addresses[i]->network_id, network_id) == 0)
			return slot->addresses[i];
	return NULL;
}

/* ---- what would grow for ever ---- */

/* Rows of this tx (version 0) are the newest. */
static int by_age(const void *a, const void *b)
{
	const Gs__Meta *x = obj_meta(*(void *const *)a), *y = obj_meta(*(void *const *)b);

	if (x->version != y->version)
		return x->version - 1 < y->version - 1 ? -1 : 1;
	return strcmp(x->id, y->id);
}

static void keep_newest(struct tx *tx, const void **rows, size_t n, size_t max)
{
	if (n <= max)
		return;
	qsort(rows, n, sizeof(*rows), by_age);
	for (size_t i = 0; i < n - max; i++)
		tx_remove(tx, rows[i]);
}

static void trim_events(struct tx *tx)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_EVENT, &rows);

	keep_newest(tx, rows, n, EVENTS_MAX);
}

/* A node that was removed took its data along; of what only lies on disks the newest rows stay. */
static void trim_volumes(struct tx *tx)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_VOLUME_INSTANCE, &rows), retired = 0;

	for (size_t i = 0; i < n; i++) {
		const Gs__VolumeInstance *inst = rows[i];

		if (!tx_get(tx, OBJ_NODE, inst->node_id))
			tx_remove(tx, inst);
		else if (inst->state == VOL_RETIRED)
			rows[retired++] = inst;
	}
	keep_newest(tx, rows, retired, RETIRED_MAX);
}

/* ---- why a service does not reach its spec ---- */

static const char *task_trouble(const Gs__Task *t)
{
	if (*t->pending_reason)
		return t->pending_reason;
	if (task_state(t) == TASK_REJECTED || task_state(t) == TASK_FAILED)
		return *t->status->err ? t->status->err : t->status->message;
	return "";
}

/* Of the tasks that should run, the first one (by slot) that has trouble. */
static const Gs__Task *first_trouble(const Gs__Task **tasks, size_t n)
{
	const Gs__Task *best = NULL;

	for (size_t i = 0; i < n; i++)
		if (task_wanted(tasks[i]) && *task_trouble(tasks[i]) &&
		    (!best || tasks[i]->slot_number < best->slot_number))
			best = tasks[i];
	return best;
}

/* orchestrate.c waits before the slot's next task. */
static char *lost_starts_text(const struct tx *tx, const Gs__Service *svc)
{
	cleanup_free const Gs__Slot **slots = NULL;
	size_t n = tx_slots_of_service(tx, svc->meta->id, &slots);

	for (size_t i = 0; i < n; i++)
		if (slots[i]->lost_starts > 1)
			return xasprintf(
				"%s.%u: %u nodes in a row went down while they started it; it is tried "
				"every ten minutes, or when the service is changed",
				svc->spec->name, slots[i]->number, slots[i]->lost_starts);
	return NULL;
}

/* A global service that has no slot, and no word from a task therefore. NULL: that is not so. */
static char *no_node_text(const struct tx *tx, const Gs__Service *svc)
{
	cleanup_free const Gs__Slot **slots = NULL;

	if (svc->spec->mode != MODE_GLOBAL || !svc->spec->n_constraints ||
	    tx_slots_of_service(tx, svc->meta->id, &slots) > 0)
		return NULL;
	return xasprintf("no node that is Ready and active meets the constraint%s %s",
			 svc->spec->n_constraints > 1 ? "s, the first is" : "", svc->spec->constraints[0]);
}

static char *trouble_text(const struct tx *tx, const Gs__Service *svc, const Gs__Task *t)
{
	char *text = NULL;

	if (t)
		return xasprintf("%s: %s", t->name, task_trouble(t));
	if (!svc->meta->deleting && svc->spec)
		text = lost_starts_text(tx, svc);
	if (!text && !svc->meta->deleting && svc->spec)
		text = no_node_text(tx, svc);
	if (!text)
		text = svc->meta->deleting || !svc->spec ? xstrdup("") : service_lack(tx, svc);
	return text;
}

static void service_error(struct tx *tx, const Gs__Service *svc)
{
	cleanup_free const Gs__Task **tasks = NULL;
	size_t n = tx_tasks_of_service(tx, svc->meta->id, &tasks);
	const Gs__Task *t = svc->meta->deleting ? NULL : first_trouble(tasks, n);
	cleanup_free char *text = trouble_text(tx, svc, t);
	Gs__Service *edit;

	if (strcmp(svc->error, text) == 0)
		return;
	edit = tx_edit(tx, OBJ_SERVICE, svc->meta->id);
	str_replace(&edit->error, text);
}

static void service_errors(struct tx *tx)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_SERVICE, &rows);

	for (size_t i = 0; i < n; i++)
		service_error(tx, rows[i]);
}

void reconcile_all(struct store *s, struct tx *tx, struct reconcile_env *env)
{
	bug_if_off_loop();
	env->wake_ms = INT64_MAX;
	if (!store_cluster(s))
		return;
	tx_allow_split(tx);
	node_state_pass(s, tx, env);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		uint64_t before = tx_touched(tx);

		orchestrate_pass(s, tx, env);
		allocate_pass(s, tx, env);
		schedule_pass(s, tx, env);
		galera_pass(s, tx, env);
		if (tx_touched(tx) == before)
			break;
	}
	service_errors(tx);
	trim_events(tx);
	trim_volumes(tx);
}
