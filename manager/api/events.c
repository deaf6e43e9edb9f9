// SPDX-License-Identifier: Apache-2.0
/* ListEvents: what happened in the swarm, the newest first.
 *
 * The happy path is one look at the table. What can fail is nothing here: of more rows than an answer holds the
 * oldest are left out. */
#include <stdlib.h>

#include "base/mem.h"
#include "manager/api/internal.h"

#define EVENTS_MAX 500u

static int newest_first(const void *a, const void *b)
{
	const Gs__Event *x = *(Gs__Event *const *)a, *y = *(Gs__Event *const *)b;

	return x->meta->version < y->meta->version ? 1 : x->meta->version > y->meta->version ? -1 : 0;
}

static void on_list_events(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__ListEventsResponse resp = GS__LIST_EVENTS_RESPONSE__INIT;
	cleanup_free Gs__Event **rows = NULL;
	size_t n = store_count(ctx->store, OBJ_EVENT);

	if (answer_unless_serving(ctx, call))
		return;
	rows = xcalloc(n + 1, sizeof(*rows));
	for (size_t i = 0; i < n; i++)
		rows[i] = (Gs__Event *)store_at(ctx->store, OBJ_EVENT, i);
	qsort(rows, n, sizeof(*rows), newest_first);
	resp.events = rows;
	resp.n_events = n < EVENTS_MAX ? n : EVENTS_MAX;
	rpc_reply(call, &resp.base);
}

void events_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_LIST_EVENTS] = on_list_events;
}
