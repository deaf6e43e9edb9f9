// SPDX-License-Identifier: Apache-2.0
/* Making and dropping slots, tasks and volumes.
 *
 * The happy path is: a slot gets a row, a volume row per volume mount, and a task that carries a copy of what
 * it was made from. What can fail is nothing: these only add rows to the tx. */
#include <stdio.h>

#include "base/bug.h"
#include "base/mem.h"
#include "manager/reconcile/orchestrate.h"

static void new_id(struct pass *p, char ret_id[ID_LEN + 1])
{
	p->env->new_id(p->env->arg, ret_id);
}

Gs__Slot *slot_create(struct pass *p, const Gs__Service *svc, uint32_t number, const char *node_key)
{
	char id[ID_LEN + 1];
	Gs__Slot *slot;

	bug_if(!number != !!*node_key); /* a number or a node */
	new_id(p, id);
	slot = obj_new_row(OBJ_SLOT, id);
	str_replace(&slot->service_id, svc->meta->id);
	slot->number = number;
	str_replace(&slot->node_key, node_key);
	tx_create(p->tx, slot);
	return slot;
}

static bool has_volume(const Gs__Slot *slot, const char *target)
{
	for (size_t i = 0; i < slot->n_volumes; i++)
		if (strcmp(slot->volumes[i]->target, target) == 0)
			return true;
	return false;
}

static char *slot_key(struct pass *p, const Gs__Slot *slot)
{
	const Gs__Node *n = *slot->node_key ? tx_get(p->tx, OBJ_NODE, slot->node_key) : NULL;

	if (!*slot->node_key)
		return xasprintf("%u", slot->number);
	return xstrdup(n ? node_name(n) : slot->node_key);
}

static void add_volume(struct pass *p, const Gs__Service *svc, const char *slot_id, const Gs__Mount *m)
{
	Gs__Slot *slot = tx_edit(p->tx, OBJ_SLOT, slot_id);
	Gs__SlotVolume *ref = obj_new(&gs__slot_volume__descriptor);
	cleanup_free char *key = slot_key(p, slot);
	cleanup_free char *name = xasprintf("%s-%s", *m->source ? m->source : svc->spec->name, key);
	char id[ID_LEN + 1];
	Gs__Volume *vol;

	new_id(p, id);
	vol = obj_new_row(OBJ_VOLUME, id);
	str_replace(&vol->name, name);
	str_replace(&vol->service_id, svc->meta->id);
	str_replace(&vol->slot_id, slot_id);
	tx_create(p->tx, vol);
	str_replace(&ref->target, m->target);
	str_replace(&ref->volume_id, id);
	obj_add(&slot->n_volumes, &slot->volumes, ref);
}

void slot_ensure_volumes(struct pass *p, const Gs__Service *svc, const Gs__Slot *slot)
{
	const Gs__TaskSpec *spec = svc->spec->task;
	const char *id = slot->meta->id;

	for (size_t i = 0; spec && i < spec->n_mounts; i++) {
		const Gs__Mount *m = spec->mounts[i];

		if (m->type == MOUNT_VOLUME && !has_volume(tx_get(p->tx, OBJ_SLOT, id), m->target))
			add_volume(p, svc, id, m);
	}
}

/* What it was, while there are rows that know: people must find the data of a service that is gone. */
static void retire(struct pass *p, const Gs__Slot *slot, const char *instance_id)
{
	Gs__VolumeInstance *inst = tx_edit(p->tx, OBJ_VOLUME_INSTANCE, instance_id);
	const Gs__Volume *vol = tx_get(p->tx, OBJ_VOLUME, inst->volume_id);
	const Gs__Service *svc = tx_get(p->tx, OBJ_SERVICE, slot->service_id);
	cleanup_free char *key = slot_key(p, slot);

	inst->state = VOL_RETIRED;
	str_replace(&inst->name, vol ? vol->name : "");
	str_replace(&inst->service_id, slot->service_id);
	str_replace(&inst->service_name, svc && svc->spec ? svc->spec->name : "");
	str_replace(&inst->slot_key, key);
}

void slot_retire_volumes(struct pass *p, const Gs__Slot *slot)
{
	if (!*slot->preferred_node)
		return;
	for (size_t i = 0; i < slot->n_volumes; i++) {
		cleanup_free char *id = xasprintf("%s.%s", slot->volumes[i]->volume_id, slot->preferred_node);
		const Gs__VolumeInstance *inst = tx_get(p->tx, OBJ_VOLUME_INSTANCE, id);

		/* once: of a commit that was cut the volume's row may be gone already */
		if (inst && (inst->state == VOL_CURRENT || inst->state == VOL_STALE))
			retire(p, slot, id);
	}
}

void slot_drop(struct pass *p, const struct unit *u)
{
	bug_if(!u->slot->removing && !tx_get(p->tx, OBJ_SERVICE, u->slot->service_id));
	slot_retire_volumes(p, u->slot);
	for (size_t i = 0; i < u->slot->n_volumes; i++) {
		const Gs__Volume *vol = tx_get(p->tx, OBJ_VOLUME, u->slot->volumes[i]->volume_id);

		if (vol)
			tx_remove(p->tx, vol);
	}
	for (size_t i = 0; i < u->n; i++)
		tx_remove(p->tx, u->tasks[i]);
	tx_remove(p->tx, u->slot); /* its reservations and endpoints follow in allocate_pass */
}

/* The credentials of a Galera cluster, by who owns them. */
static void add_secrets(struct pass *p, Gs__Task *t)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(p->tx, OBJ_SECRET, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Secret *secret = rows[i];
		Gs__SecretRef *ref;

		if (!*secret->owner || strcmp(secret->owner, t->galera_cluster_id) != 0)
			continue;
		ref = obj_new(&gs__secret_ref__descriptor);
		str_replace(&ref->secret_id, secret->meta->id);
		str_replace(&ref->name, secret->name);
		obj_add(&t->n_secrets, &t->secrets, ref);
	}
}

static void copy_slot(Gs__Task *t, const Gs__Slot *slot)
{
	for (size_t i = 0; i < slot->n_volumes; i++)
		obj_add(&t->n_volumes, &t->volumes, obj_dup(slot->volumes[i]));
}

void task_create(struct pass *p, const Gs__Service *svc, const Gs__Slot *slot)
{
	char id[ID_LEN + 1], number[16];
	cleanup_free char *name = NULL;
	Gs__Task *t;

	bug_if(!slot || slot->removing);
	new_id(p, id);
	t = obj_new_row(OBJ_TASK, id);
	snprintf(number, sizeof(number), "%u", slot->number);
	name = xasprintf("%s.%s", svc->spec->name, *slot->node_key ? slot->node_key : number);
	str_replace(&t->name, name);
	str_replace(&t->service_id, svc->meta->id);
	str_replace(&t->service_name, svc->spec->name);
	str_replace(&t->slot_id, slot->meta->id);
	t->slot_number = slot->number;
	if (svc->spec->task)
		obj_set(&t->spec, svc->spec->task);
	else
		t->spec = obj_new(&gs__task_spec__descriptor);
	t->spec_version = svc->meta->spec_version;
	t->desired = TASK_RUNNING;
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->since_ms = p->wall_ms;
	t->topology = svc->spec->topology;
	copy_slot(t, slot);
	if (service_is_galera(svc)) {
		obj_set(&t->galera, svc->spec->galera);
		str_replace(&t->galera_cluster_id, svc->galera_cluster_id);
		add_secrets(p, t);
	}
	tx_create(p->tx, t);
}

void task_stop(struct pass *p, const Gs__Task *t, Gs__TaskState desired)
{
	Gs__Task *edit;

	if (!*t->node_id) {
		tx_remove(p->tx, t);
		return;
	}
	if (t->desired >= desired)
		return;
	edit = tx_edit(p->tx, OBJ_TASK, t->meta->id);
	edit->desired = desired;
	str_replace(&edit->pending_reason, "");
}
