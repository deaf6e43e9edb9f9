// SPDX-License-Identifier: Apache-2.0
/* What workers report, judged against the store. The sessions and the simulation both use it. */
#pragma once
#include "manager/model/env.h"
#include "manager/store/store.h"
#include "proto/schema/dispatch.pb-c.h"

/* A worker's report about one task, checked against the store (right node, attempt not older, state only
 * forward within an attempt) and put into the tx. E_STALE_VERSION or E_FORBIDDEN when it is refused; a
 * refused report changes nothing. */
int report_apply(struct store *s, struct tx *tx, const char *node_id, const Gs__TaskReport *report,
		 struct reconcile_env *env, struct err *e);
/* E_LIMIT for a report that is too large to be kept, whoever makes it; asked before it is copied. */
int report_bounds(const Gs__TaskReport *report, struct err *e);
/* How the deletion of a volume there went: its row goes, or is retired again with the reason. One that was not to be
 * deleted there: nothing. */
void report_volume(struct tx *tx, const char *node_id, const Gs__VolumeReport *report,
		   struct reconcile_env *env);
