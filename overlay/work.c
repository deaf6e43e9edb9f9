// SPDX-License-Identifier: Apache-2.0
/* The happy path is PENDING, then SETTLED, then a look about every minute that finds nothing. What can fail
 * is the kernel's side, and then the time of the next try is put off; a second declaration, or an event, makes
 * it now again only where something new is known. */
#include "overlay/work.h"

#include <limits.h>

#include "base/bug.h"

#define RETRY_FIRST_MS 250
#define RETRY_LAST_MS 30000
/* Events tell of nearly everything; the look is for what they do not tell (sysctls, a lost socket). */
#define LOOK_MS 90000

static const struct sm_state work_states[] = {
	{WORK_ABSENT, "absent", SM(WORK_PENDING) | SM(WORK_LEAVING)},
	{WORK_PENDING, "pending", SM(WORK_SETTLED) | SM(WORK_LEAVING) | SM(WORK_ABSENT)},
	{WORK_SETTLED, "settled", SM(WORK_SUSPECT) | SM(WORK_PENDING) | SM(WORK_LEAVING) | SM(WORK_ABSENT)},
	{WORK_SUSPECT, "suspect", SM(WORK_SETTLED) | SM(WORK_PENDING) | SM(WORK_LEAVING) | SM(WORK_ABSENT)},
	{WORK_LEAVING, "leaving", SM(WORK_ABSENT) | SM(WORK_PENDING)},
};
const struct sm_kind work_kind = SM_KIND_ANY_THREAD("overlay", work_states, NULL);

void work_init(struct work *w, const char *label)
{
	*w = (struct work){.retry = BACKOFF(RETRY_FIRST_MS, RETRY_LAST_MS)};
	sm_init(&w->sm, &work_kind, WORK_ABSENT, label);
}

static void move(struct work *w, enum work_state to)
{
	sm_go(&w->sm, to);
	backoff_reset(&w->retry);
	w->due_ms = 0;
}

void work_want(struct work *w)
{
	if (work_is(w, WORK_PENDING))
		work_rush(w);
	else
		move(w, WORK_PENDING);
}

void work_suspect(struct work *w)
{
	if (work_is(w, WORK_SETTLED))
		move(w, WORK_SUSPECT);
}

void work_leave(struct work *w)
{
	if (work_is_there(w) && !work_is(w, WORK_LEAVING))
		move(w, WORK_LEAVING);
}

void work_doom(struct work *w)
{
	if (!work_is(w, WORK_LEAVING))
		move(w, WORK_LEAVING);
}

void work_done(struct work *w, int64_t now_ms)
{
	bug_if(work_is(w, WORK_ABSENT) || work_is(w, WORK_LEAVING));
	if (!work_is(w, WORK_SETTLED))
		move(w, WORK_SETTLED);
	w->due_ms = now_ms + (int64_t)backoff_jitter(LOOK_MS);
}

void work_failed(struct work *w, int64_t now_ms)
{
	bug_if(work_is(w, WORK_ABSENT) || work_is(w, WORK_SETTLED));
	w->due_ms = now_ms + (int64_t)backoff_next(&w->retry);
}

void work_gone(struct work *w)
{
	if (work_is_there(w))
		move(w, WORK_ABSENT);
}

void work_rush(struct work *w)
{
	backoff_reset(&w->retry);
	w->due_ms = 0;
}

bool work_take(struct work *w, int64_t now_ms)
{
	if (work_is(w, WORK_ABSENT) || now_ms < w->due_ms)
		return false;
	work_suspect(w);
	return true;
}
