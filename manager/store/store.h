// SPDX-License-Identifier: Apache-2.0
/* The cluster's state: tables of immutable rows, changed only by committed commands.
 *
 *   reconciler / Control            store                      consensus
 *   tx = tx_new ------------------->|
 *   tx_create/update/remove         |
 *   store_commit(tx, done) -------->| pack StoreCommand ------>| log, quorum
 *                                   |<------- apply -----------|
 *                                   | check every version (compare-and-set), all or nothing
 *                                   | replace rows, meta.version = raft index
 *                                   | watchers(kind, old, new)
 *   done(0 | E_STALE_VERSION | ...) |
 *
 * Borrow a row inside one callback; obj_dup it to keep or to change it. Rows of a table iterate in id
 * order, so that snapshots of replicas are byte-equal. Apply reads no clock: the leader stamps now_ms. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "manager/raft/consensus.h"
#include "proto/value/obj.h"

struct store;
/* Empty. clock is borrowed for the store's life. */
struct store *store_new(const struct clock *clock);
/* After the engine is closed: nothing is in flight then. NULL is fine. */
void store_free(struct store *s);
/* The callbacks a consensus engine drives. Bind before the engine starts. */
struct consensus_fsm store_fsm(struct store *s);
/* Split commits after this many actions (default 200); tests cut at every place with 1. */
void store_set_part_actions(struct store *s, size_t n);
/* What commits go to. Borrowed. */
void store_set_consensus(struct store *s, struct consensus *c);
/* fn(arg, is_leader) as the engine says it, never from inside a call of ours. */
void store_on_leader(struct store *s, void (*fn)(void *arg, bool is_leader), void *arg);

/* ---- read ---- */
const void *store_get(const struct store *s, enum obj_kind kind, const char *id); /* NULL: none */
#define store_node(s, id) ((const Gs__Node *)store_get(s, OBJ_NODE, id))
#define store_service(s, id) ((const Gs__Service *)store_get(s, OBJ_SERVICE, id))
#define store_slot(s, id) ((const Gs__Slot *)store_get(s, OBJ_SLOT, id))
#define store_task(s, id) ((const Gs__Task *)store_get(s, OBJ_TASK, id))
#define store_network(s, id) ((const Gs__Network *)store_get(s, OBJ_NETWORK, id))
#define store_galera(s, id) ((const Gs__GaleraCluster *)store_get(s, OBJ_GALERA, id))
const Gs__Cluster *store_cluster(const struct store *s); /* NULL before init */
size_t store_count(const struct store *s, enum obj_kind kind);
/* Iterate in id order: for (i = 0; (row = store_at(s, kind, i)); i++). Not across a commit. */
const void *store_at(const struct store *s, enum obj_kind kind, size_t i);
/* Secondary indexes kept by the store; each list is in id order and borrowed until the next commit. Returns
 * how many; 0 for an unknown id. The same for all three. */
size_t store_tasks_of_service(const struct store *s, const char *service_id, const Gs__Task *const **ret);
/* Those that a node has or had. */
size_t store_tasks_of_node(const struct store *s, const char *node_id, const Gs__Task *const **ret);
/* See above. */
size_t store_slots_of_service(const struct store *s, const char *service_id, const Gs__Slot *const **ret);
/* A full id, a unique prefix of at least 4, or a name (nodes: hostname; networks, services, secrets: name). */
const void *store_find(const struct store *s, enum obj_kind kind, const char *ref, struct err *e);
uint64_t store_index(const struct store *s); /* last applied raft index */

/* ---- write ---- */
struct tx;
/* Empty, over the state as it is; to be committed or freed before the next one is applied. */
struct tx *tx_new(struct store *s);
void tx_free(struct tx *tx); /* one that was not committed */
size_t tx_len(const struct tx *tx);
/* The row is taken. create: meta.id must be set (obj_new_row); version and times are filled in at commit. */
void tx_create(struct tx *tx, void *take_row);
/* The row (an obj_dup of the current one, changed) is taken; compare-and-set on its meta.version. Two updates
 * of one row in one tx merge into the last. spec_changed also moves meta.spec_version. */
void tx_update(struct tx *tx, void *take_row);
/* The same, and meta.spec_version moves. */
void tx_update_spec(struct tx *tx, void *take_row);
/* Compare-and-set as well. A row created in this tx is just forgotten; an update after a remove is dropped. */
void tx_remove(struct tx *tx, const void *row);
/* The tx was made from this row without changing it (it refers to it, or its sum over other rows hangs on it).
 * tx_use: the row must still be there at the commit. tx_rely: it must not have been changed either, so of two
 * that rely on one row the second is E_STALE_VERSION and looks again. Either moves the row's version: a
 * removal or change that was made from the row as it is now is refused in turn. Not with tx_allow_split. */
void tx_use(struct tx *tx, const void *row);
/* See tx_use. */
void tx_rely(struct tx *tx, const void *row);
/* The row as this tx will leave it (its pending create/update), else the committed one; NULL if removed. */
const void *tx_get(const struct tx *tx, enum obj_kind kind, const char *id);
/* A pending, still changeable copy of the row in this tx (made by dup on first use); NULL when there is none.
 * Changing it in place is all that is needed: no tx_update afterwards. */
void *tx_edit(struct tx *tx, enum obj_kind kind, const char *id);
/* The rows of a table, or those of one service, as this tx will leave them, in id order. Each row is as
 * tx_get would return it: valid until the next change of that row in the tx. free(*ret) the list. */
size_t tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret);
/* The tasks of one service; see tx_list. */
size_t tx_tasks_of_service(const struct tx *tx, const char *service_id, const Gs__Task ***ret);
/* The slots of one service; see tx_list. */
size_t tx_slots_of_service(const struct tx *tx, const char *service_id, const Gs__Slot ***ret);
/* Let the commit become several log entries, in the order of the actions, when it is larger than 1.5 MB or
 * 200 actions: for reconcilers, which survive a crash between any two entries. A row that fits into no entry
 * (2 MiB) is left out; the others are committed all the same, and the answer is E_LIMIT with its name.
 * Otherwise a commit is one entry, and E_LIMIT when it is larger than 1.5 MB. */
void tx_allow_split(struct tx *tx);
/* The change of this row (one is pending) goes into the log ahead of all that are not marked so: what must
 * not be missing when the commit is cut behind its users. */
void tx_ahead(struct tx *tx, enum obj_kind kind, const char *id);
/* The other way round: behind all that are not marked so. What a worker obeys must not be there before what remembers
 * that it was told: a placed task before its slot knows where the data is, a bootstrap permit before its token. */
void tx_behind(struct tx *tx, enum obj_kind kind, const char *id);
/* Rises with every change made in the tx, also with one that tx_len does not show. */
uint64_t tx_touched(const struct tx *tx);
/* Takes tx. done (may be NULL) fires once, never from inside. An empty tx is done with 0. Updates that
 * change nothing are left out (also from tx_len). The code is 0, E_STALE_VERSION (a row was changed or
 * removed meanwhile), E_EXISTS (id or unique name taken), E_NOT_LEADER, E_LIMIT, or E_UNAVAILABLE (outcome
 * unknown). */
void store_commit(struct store *s, struct tx *tx, void (*done)(void *arg, const struct err *e), void *arg);
/* Commits that are not answered yet. */
size_t store_in_flight(const struct store *s);

/* ---- watch ---- */
/* Called inside apply, after the whole command is in. old or new is NULL for create/remove; both borrowed. */
typedef void (*store_watch_fn)(void *arg, enum obj_kind kind, const void *old_row, const void *new_row);
struct store_watch;
/* fn(arg, ...) for every change from now on. The handle is for store_watch_remove; the store frees it. */
struct store_watch *store_watch_add(struct store *s, store_watch_fn fn, void *arg);
/* Not called again, also not by the notification that is under way. NULL is fine. */
void store_watch_remove(struct store *s, struct store_watch *w);
/* Called once after each applied command and after a restore: the place to mark reconcilers dirty. */
void store_on_applied(struct store *s, void (*fn)(void *arg), void *arg);
