// SPDX-License-Identifier: Apache-2.0
/* From the server's wsrep_% status to a GaleraView and its health (docs/galera-worker.md). Pure. */
#pragma once
#include "proto/value/obj.h"

/* One status variable. Unknown names are ignored. */
void view_set(Gs__GaleraView *v, const char *name, const char *value);
enum view_doubt {
	VIEW_TRUSTED,
	VIEW_EXCLUDED, /* a fresher Primary view, seen at two polls, does not list this member */
	VIEW_BEHIND,   /* its own conf_id stays behind the peers' */
	VIEW_STALLED,  /* its own polling had a gap: what it says may be old */
	VIEW_LEFT,     /* Disconnected for seconds on end: it is in no group and enters none */
};
/* STARTING READY DONOR LAGGING ISOLATED LEFT BROKEN. was_synced: this run of the server has been Synced once;
 * before that a non-Primary member is on its way, not cut off. */
const char *view_health(const Gs__GaleraView *v, enum view_doubt doubt, bool was_synced);
/* While it is not Primary a view names the last Primary one its process was in (NULL: none known). */
void view_set_primary(Gs__GaleraView *v, const Gs__GaleraView *primary);
/* Equal in what the managers act on: last_committed, cached_downto and counters may differ. */
bool view_is_same(const Gs__GaleraView *a, const Gs__GaleraView *b);
/* pc.bootstrap is ordered after the view with this number (0: after any); newest: the last one that this member
 * knows it was in, 0 none. Whoever was in a newer one, or cannot tell, must not obey: E_STALE_VERSION. */
int view_check_order(uint64_t ordered, uint64_t newest, struct err *e);
