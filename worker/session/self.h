// SPDX-License-Identifier: Apache-2.0
/* What a session changes of this node, and what the node says of itself. On the loop. */
#pragma once
#include "proto/schema/dispatch.pb-c.h"
#include "worker/context/worker.h"

/* A renewed certificate: new connections use it. */
void worker_identity_changed(struct worker *w, struct tls_identity *take_identity);
/* w->state has changed: these files of it (STATE_*) are written, beside the loop. */
void worker_state_changed(struct worker *w, unsigned what);
/* Replace the saved list of managers (copied); written to disk when it changed. */
void worker_managers_set(struct worker *w, char *const *list, size_t n);
/* Fills an initialised message, whose fields own what they hold; what cannot be found out is left out. */
void worker_describe(struct worker *w, Gs__NodeDescription *ret);
