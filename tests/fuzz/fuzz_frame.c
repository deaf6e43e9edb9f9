// SPDX-License-Identifier: Apache-2.0
/* The frame decoder: what it accepts lies within the input, and comes back when encoded. */
#include "proto/rpc/frame.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame f;
	struct err e;
	ssize_t n;

	while ((n = frame_decode(data, size, &f, &e)) > 0) {
		assert((size_t)n <= size);
		assert(f.payload >= data && f.payload + f.payload_len == data + n);
		assert(f.payload_len <= FRAME_MAX);
		frame_fini(&f);
		data += n;
		size -= (size_t)n;
	}
	assert(n == 0 || e.code < 0);
	return 0;
}
