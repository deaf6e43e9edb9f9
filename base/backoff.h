// SPDX-License-Identifier: Apache-2.0
/* How long to wait before the next try: doubled from first to last, jittered so that many who failed together
 * do not come back together. Milliseconds. */
#pragma once
#include <stdint.h>

struct backoff {
	uint64_t first_ms, last_ms;
	unsigned failures; /* in a row */
};
#define BACKOFF(first, last)                                                                                 \
	{                                                                                                    \
		.first_ms = (first), .last_ms = (last)                                                       \
	}

/* Counts one more failure and says how long to wait: jittered, never 0, never above last_ms. */
uint64_t backoff_next(struct backoff *b);
/* It worked: the next failure counts as the first. */
void backoff_reset(struct backoff *b);

/* first_ms doubled n times, at most last_ms. Without jitter, for who counts failures himself. */
uint64_t backoff_doubled(uint64_t first_ms, uint64_t last_ms, unsigned n);
/* A random time in [ms/2, ms]; 0 gives 0. */
uint64_t backoff_jitter(uint64_t ms);
