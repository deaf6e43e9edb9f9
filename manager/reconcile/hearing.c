// SPDX-License-Identifier: Apache-2.0
/* The clock behind Ready and Down.
 *
 * The happy path is: ticks come closer together than a heartbeat, there are no gaps, silence is the time that
 * has passed. What can fail is the ticking itself, and that is what is measured. */
#include "manager/reconcile/hearing.h"

#include <stddef.h>

int64_t hearing_tick(struct hearing *h, int64_t now_ms, int64_t limit_ms)
{
	int64_t last = h->last_ms;
	unsigned at = h->n % HEARING_GAPS;

	h->last_ms = now_ms;
	if (last == 0 || now_ms - last <= limit_ms)
		return 0;
	h->gaps[at].from_ms = last;
	h->gaps[at].to_ms = now_ms;
	h->n++;
	return now_ms - last;
}

static unsigned kept(const struct hearing *h)
{
	if (!h)
		return 0;
	return h->n < HEARING_GAPS ? h->n : HEARING_GAPS;
}

int64_t hearing_silence_ms(const struct hearing *h, int64_t since_ms, int64_t now_ms)
{
	int64_t silence = now_ms - since_ms;

	for (unsigned i = 0; i < kept(h); i++) {
		int64_t from = h->gaps[i].from_ms > since_ms ? h->gaps[i].from_ms : since_ms;
		int64_t to = h->gaps[i].to_ms < now_ms ? h->gaps[i].to_ms : now_ms;

		if (to > from)
			silence -= to - from;
	}
	return silence;
}

int64_t hearing_grace_ms(const struct hearing *h, int64_t since_ms, int64_t grace_ms)
{
	for (unsigned i = 0; i < kept(h); i++)
		if (h->gaps[i].to_ms > since_ms)
			return 2 * grace_ms;
	return grace_ms;
}
