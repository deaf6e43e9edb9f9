// SPDX-License-Identifier: Apache-2.0
/* Small questions that several reconcilers ask about rows. Sub-messages may be missing: absent means default. */
#pragma once
#include <string.h>

#include "manager/model/env.h"
#include "manager/store/store.h"

static inline Gs__TaskState task_state(const Gs__Task *t)
{
	return t->status ? t->status->state : TASK_NEW;
}
static inline bool task_is_final(const Gs__Task *t)
{
	return task_state_is_final(task_state(t));
}
static inline bool task_wanted(const Gs__Task *t)
{
	return t->desired == TASK_RUNNING;
}
static inline bool node_is_ready(const Gs__Node *n)
{
	return n && n->status && n->status->state == NODE_READY;
}
static inline bool node_is_down(const Gs__Node *n)
{
	return n && n->status && n->status->state == NODE_DOWN;
}
static inline Gs__Availability node_availability(const Gs__Node *n)
{
	return n->spec ? n->spec->availability : AVAIL_ACTIVE;
}
static inline const char *node_name(const Gs__Node *n)
{
	return n->description && *n->description->hostname ? n->description->hostname : n->meta->id;
}
/* What two members must never be told at once. */
static inline bool permit_begins_history(const Gs__GaleraPermit *p)
{
	return p &&
	       (p->mode == PERMIT_GENESIS || p->mode == PERMIT_BOOTSTRAP || p->mode == PERMIT_PC_BOOTSTRAP);
}
static inline bool service_is_galera(const Gs__Service *svc)
{
	return svc->spec && svc->spec->topology == TOPO_GALERA;
}
/* Bytes of an address of the swarm's data path: 4 or 16, as the manager's node has it; 0: not known. but: a
 * node that is not asked. One VXLAN network cannot span both. */
size_t underlay_address_len(const struct store *s, const char *but);
/* The node's data path is of another IP version than the swarm's: it cannot carry the swarm's networks. */
static inline bool node_is_apart(const Gs__Node *n, size_t underlay)
{
	size_t len = n->description ? n->description->vtep_ip.len : 0;

	return len && underlay && len != underlay;
}
/* Nothing of the task can run any more, or nobody can say so before its node is back (the node's next
 * complete set of assignments will not have it, and its worker reaps what it does not know). */
bool task_is_gone(const struct tx *tx, const Gs__Task *t);
/* For qsort of const Gs__Task pointers: services together, slots in the order people count them. */
int tasks_by_service_then_slot(const void *a, const void *b);
/* Every constraint holds for the node. An unreadable one holds for none. */
bool constraints_match(const Gs__ServiceSpec *spec, const Gs__Node *n);
/* Something to tell people about an object: one Event row, the oldest of many go. */
void event_add(struct tx *tx, struct reconcile_env *env, const char *kind, const char *object_id,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Which virtual address or port the service has not got, "" when it has all; free it. */
char *service_lack(const struct tx *tx, const Gs__Service *svc);
/* Why the task is not placed; the row is edited only if it says something else now. */
void task_set_pending(struct tx *tx, const Gs__Task *t, const char *reason);
/* Borrowed from the slot; NULL: it has none on that network. */
const Gs__SlotAddress *slot_address(const Gs__Slot *slot, const char *network_id);
