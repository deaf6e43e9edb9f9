// SPDX-License-Identifier: Apache-2.0
/* A rate with a burst, as a count that fills up with time: no timer, no memory beside the caller's struct. */
#include "base/bucket.h"

#include "base/bug.h"

bool bucket_take(struct bucket *b, int64_t now_ms, double n, double per_s, double burst)
{
	bug_if(per_s <= 0 || burst <= 0 || n < 0);
	b->used -= (double)(now_ms - b->at_ms) / 1000.0 * per_s;
	if (b->used < 0)
		b->used = 0;
	b->at_ms = now_ms;
	if (b->used + n > burst)
		return false;
	b->used += n;
	return true;
}
