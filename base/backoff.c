// SPDX-License-Identifier: Apache-2.0
/* How long to wait before the next try: doubled each time up to last_ms (also when doubling would overflow), then
 * shortened by a random part, so that many who failed together do not come back together. */
#include "base/backoff.h"

#include "base/bug.h"
#include "base/id.h"

uint64_t backoff_doubled(uint64_t first_ms, uint64_t last_ms, unsigned n)
{
	bug_if(first_ms > last_ms);
	if (n >= 63 || first_ms > last_ms >> n)
		return last_ms;
	return first_ms << n;
}

uint64_t backoff_jitter(uint64_t ms)
{
	uint64_t r;

	random_bytes(&r, sizeof(r));
	return ms - r % (ms / 2 + 1);
}

uint64_t backoff_next(struct backoff *b)
{
	bug_if(b->first_ms == 0);
	return backoff_jitter(backoff_doubled(b->first_ms, b->last_ms, b->failures++));
}

void backoff_reset(struct backoff *b)
{
	b->failures = 0;
}
