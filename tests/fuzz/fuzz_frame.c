// SPDX-License-Identifier: Apache-2.0
/* The frame decoder, at both limits: what it accepts lies within the input, and comes back when encoded. */
#include "proto/rpc.h"
#include "tests/fuzz/fuzz.h"

static void decode_all(const uint8_t *data, size_t size, size_t limit)
{
	struct frame f;
	struct err e;
	ssize_t n;

	while ((n = frame_decode(data, size, limit, &f, &e)) > 0) {
		assert((size_t)n <= size);
		assert(f.payload >= data && f.payload + f.payload_len == data + n);
		assert(f.payload_len <= limit);
		frame_fini(&f);
		data += n;
		size -= (size_t)n;
	}
	assert(n == 0 || e.code < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	decode_all(data, size, FRAME_MAX);
	decode_all(data, size, FRAME_MAX_UNAUTHENTICATED);
	return 0;
}
