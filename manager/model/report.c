// SPDX-License-Identifier: Apache-2.0
/* What a worker says about a task, checked before it becomes state.
 *
 * The happy path is: the task is on that node, the attempt is the current one or a newer one, the state moves
 * forward; the status is replaced. What can fail is a report that is late, foreign or impossible: it is
 * refused and changes nothing. */
#include "base/bug.h"
#include "base/mem.h"
#include "base/text.h"
#include "manager/model/report.h"
#include "manager/model/rows.h"

#define TEXT_MAX 512
/* Evidence, a view of all members and texts are far below; one node's report must not make the commit of
 * everybody's reports too large. */
#define STATUS_MAX (16u << 10)
#define LIST_MAX 64 /* of members; a list of empty texts is small on the wire and large in memory */

static bool worker_may_say(Gs__TaskState s)
{
	switch (s) {
	case TASK_ACCEPTED:
	case TASK_PREPARING:
	case TASK_HELD:
	case TASK_STARTING:
	case TASK_RUNNING:
	case TASK_COMPLETE:
	case TASK_SHUTDOWN:
	case TASK_FAILED:
	case TASK_REJECTED:
		return true;
	default:
		return false;
	}
}

static bool owns_volume(const Gs__Task *t, const char *volume_id)
{
	for (size_t i = 0; i < t->n_volumes; i++)
		if (strcmp(t->volumes[i]->volume_id, volume_id) == 0)
			return true;
	return false;
}

/* A new attempt may begin again; within one, states only rise. What ended stays ended, except that the
 * managers' own ORPHANED gives way to what the worker knows about the end. */
static int check_order(const Gs__Task *t, const Gs__TaskStatus *now, struct err *e)
{
	Gs__TaskState old = task_state(t);
	uint32_t attempt = t->status ? t->status->attempt : 0;

	if (now->attempt < attempt)
		return err_set(e, E_STALE_VERSION, "task %s: report of attempt %u, it is at %u", t->name,
			       now->attempt, attempt);
	if (old == TASK_ORPHANED && task_state_is_final(now->state))
		return 0;
	if (task_state_is_final(old) && (now->state != old || now->attempt != attempt))
		return err_set(e, E_STALE_VERSION, "task %s has ended: %s", t->name, task_state_name(old));
	if (now->attempt == attempt && now->state < old)
		return err_set(e, E_STALE_VERSION, "task %s is past %s", t->name,
			       task_state_name(now->state));
	return 0;
}

int report_bounds(const Gs__TaskReport *r, struct err *e)
{
	const Gs__TaskStatus *now = r->status;
	size_t bytes = now ? gs__task_status__get_packed_size(now) : 0;
	size_t list = 0;

	if (bytes > STATUS_MAX)
		return err_set(e, E_LIMIT, "task %.64s: a status of %zu bytes; %u are taken", r->task_id,
			       bytes, STATUS_MAX);
	if (now && now->view)
		list = now->view->n_members + now->view->n_prim_members;
	if (now && now->evidence && now->evidence->n_prim_members > list)
		list = now->evidence->n_prim_members;
	return list > 2 * LIST_MAX
		       ? err_set(e, E_LIMIT, "task %.64s: a view of %zu members", r->task_id, list)
		       : 0;
}

static int check(const Gs__Task *t, const char *node_id, const Gs__TaskReport *r, struct err *e)
{
	const Gs__TaskStatus *now = r->status;

	if (!t)
		return err_set(e, E_STALE_VERSION, "task %.64s is gone", r->task_id);
	if (strcmp(t->node_id, node_id) != 0)
		return err_set(e, E_FORBIDDEN, "task %s is not on node %.64s", t->name, node_id);
	if (!now || !worker_may_say(now->state))
		return err_set(e, E_INVALID, "task %s: a worker cannot report state %d", t->name,
			       now ? (int)now->state : 0);
	if (now->attempt > TASK_ATTEMPT_MAX)
		return err_set(e, E_INVALID, "task %s: attempt %u is none that a task comes to", t->name,
			       now->attempt);
	if (report_bounds(r, e))
		return e->code;
	if (now->evidence && *now->evidence->volume_id && !owns_volume(t, now->evidence->volume_id))
		return err_set(e, E_FORBIDDEN, "task %s: evidence of foreign volume %.64s", t->name,
			       now->evidence->volume_id);
	return check_order(t, now, e);
}

/* It goes to events and to people's terminals: one line, and nothing that moves the cursor. */
static void bound(char *text)
{
	if (strlen(text) > TEXT_MAX)
		text[TEXT_MAX] = 0;
	if (*text) /* protobuf's empty string is not ours to write to */
		text_one_line(text);
}

static void bound_words(Gs__TaskStatus *now)
{
	bound(now->message);
	bound(now->err);
	bound(now->progress);
	if (now->evidence)
		bound(now->evidence->reason);
	if (now->evidence && now->evidence->position)
		bound(now->evidence->position->uuid);
	if (now->view)
		bound(now->view->status);
}

/* Within an attempt a report that leaves out evidence, view or genesis does not take them back. */
static void keep_facts(Gs__TaskStatus *now, const Gs__TaskStatus *old)
{
	if (!old || old->attempt != now->attempt)
		return;
	if (!now->evidence && old->evidence)
		obj_set(&now->evidence, old->evidence);
	if (!now->view && old->view)
		obj_set(&now->view, old->view);
	if (!now->genesis && old->genesis)
		obj_set(&now->genesis, old->genesis);
}

int report_apply(struct store *s, struct tx *tx, const char *node_id, const Gs__TaskReport *report,
		 struct reconcile_env *env, struct err *e)
{
	const Gs__Task *t = tx_get(tx, OBJ_TASK, report->task_id);
	int rc = check(t, node_id, report, e);
	Gs__TaskStatus *now;
	Gs__Task *edit;

	(void)s;
	if (rc)
		return rc;
	now = obj_dup(report->status);
	keep_facts(now, t->status);
	bound_words(now);
	if (!now->since_ms)
		now->since_ms = t->status && t->status->state == now->state && t->status->since_ms
					? t->status->since_ms
					: clock_wall_ms(env->clock);
	bug_if(!worker_may_say(now->state)); /* check */
	if (!obj_equal(now, t->status)) {
		edit = tx_edit(tx, OBJ_TASK, report->task_id);
		obj_set(&edit->status, now);
	}
	obj_free(now);
	return 0;
}

void report_volume(struct tx *tx, const char *node_id, const Gs__VolumeReport *report,
		   struct reconcile_env *env)
{
	cleanup_free char *id = xasprintf("%s.%s", report->volume_id, node_id);
	const Gs__VolumeInstance *inst = tx_get(tx, OBJ_VOLUME_INSTANCE, id);
	const Gs__Node *node = tx_get(tx, OBJ_NODE, node_id);
	const char *where = node ? node_name(node) : node_id;
	Gs__VolumeInstance *edit;

	if (!inst || inst->state != VOL_REMOVING)
		return;
	if (!report->code) {
		event_add(tx, env, "volume.removed", inst->volume_id,
			  "volume %s of service %s is removed from %s%s", inst->name, inst->service_name,
			  where, report->found ? "" : ", where it was not");
		tx_remove(tx, inst);
		return;
	}
	edit = tx_edit(tx, OBJ_VOLUME_INSTANCE, id);
	edit->state = VOL_RETIRED;
	str_replace(&edit->error, report->message);
	bound(edit->error);
	event_add(tx, env, "volume.kept", edit->volume_id,
		  "volume %s of service %s is not removed from %s: %s", edit->name, edit->service_name, where,
		  edit->error);
}
