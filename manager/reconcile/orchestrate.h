// SPDX-License-Identifier: Apache-2.0
/* Inside of the orchestrator: orchestrate.c (which slots and tasks), orchestrate_slot.c (making and dropping
 * slots, tasks, volumes), orchestrate_update.c (tasks of an older spec).
 *
 * A unit is a slot with its tasks in one pass. Rows are borrowed from the tx: an edit makes a newer copy, so
 * a step reads first and edits last. */
#pragma once
#include "manager/model/rows.h"
#include "manager/reconcile/reconcile.h"

/* One run over all services. */
struct pass {
	struct store *s;
	struct tx *tx;
	struct reconcile_env *env;
	uint32_t history; /* ended tasks kept per slot */
	int64_t wall_ms;
};
struct unit {
	const Gs__Slot *slot;
	const Gs__Task **tasks; /* of this slot, oldest first */
	size_t n;
	const Gs__Task *current; /* the one that should run, or NULL */
};
/* A service's slots and tasks, borrowed from the tx as they were when it was loaded. */
struct roster {
	const Gs__Service *svc;
	struct unit *units; /* in slot id order */
	size_t n;
	const Gs__Slot **slots;
	const Gs__Task **tasks; /* grouped by slot */
	size_t n_tasks;
};

/* A slot without tasks, in the tx; borrowed. number 0 with a node_key: of a global service. */
Gs__Slot *slot_create(struct pass *p, const Gs__Service *svc, uint32_t number, const char *node_key);
/* A Volume row for every mount of type volume that the slot has none for. */
void slot_ensure_volumes(struct pass *p, const Gs__Service *svc, const Gs__Slot *slot);
/* Forget a slot whose tasks are gone: its task and volume rows go, data on disk stays (VolumeInstance
 * RETIRED). */
void slot_drop(struct pass *p, const struct unit *u);
/* The data of the slot's volumes is not used any more; it stays on the disk of the preferred node, the only one that
 * can have it (schedule.c). */
void slot_retire_volumes(struct pass *p, const Gs__Slot *slot);
/* A NEW task for the slot, with a copy of all that it is made from. */
void task_create(struct pass *p, const Gs__Service *svc, const Gs__Slot *slot);
/* Told to stop, or forgotten at once when no node has it. */
void task_stop(struct pass *p, const Gs__Task *t, Gs__TaskState desired);

/* Tell the next outdated task to stop, if the others are well. */
void update_step(struct pass *p, const struct roster *v);
/* As many slots as the service wants: new ones made, too many marked as removing. */
void scale_step(struct pass *p, const struct roster *v);
