// SPDX-License-Identifier: Apache-2.0
/* How often something may be done: a bucket that fills at a steady rate up to a burst, and is emptied by what
 * is done. Zero-initialised it is full. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct bucket {
	double used; /* of the burst */
	int64_t at_ms;
};

/* Take n out of it. false: not that much is left, and nothing was taken. now_ms: mono, never going back. */
bool bucket_take(struct bucket *b, int64_t now_ms, double n, double per_s, double burst);
