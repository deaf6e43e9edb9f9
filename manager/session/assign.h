// SPDX-License-Identifier: Apache-2.0
/* What one worker should know: the set of assignment items for a node, and the difference to what it was
 * sent. Pure (no network): session.c and the simulation both use it.
 *
 * A node gets: its own Node row; every task placed on it whose desired state is not REMOVE or that it has not
 * yet reported final; for those that are not final their networks, every endpoint of these, their secrets and, as
 * `peer/<node id>`, the Node rows of the other nodes that run members of their Galera cluster; every
 * volume that is to be deleted there. */
#pragma once
#include "manager/store/store.h"
#include "proto/schema/dispatch.pb-c.h"

struct assign_set; /* what a worker has been sent: key -> version */
struct assign_set *assign_set_new(void);
/* NULL is fine. */
void assign_set_free(struct assign_set *set);
/* Append to *ret the items that changed since the set (removed ones with removed = true) and update the set by
 * them. Packed they have at most max_bytes, or there is only one of them; *ret_more: there are others, for the
 * next call, which starts from the store as it is then. What a task needs comes before it, what is removed comes
 * last. Items hold rows borrowed from the store; free the list with assign_items_free. */
size_t assign_diff(const struct store *s, const char *node_id, struct assign_set *set, size_t max_bytes,
		   Gs__AssignmentItem ***ret, bool *ret_more);
/* What assign_diff gave; the rows in the items are the store's. */
void assign_items_free(Gs__AssignmentItem **items, size_t n);
