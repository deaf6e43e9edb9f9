// SPDX-License-Identifier: Apache-2.0
/* A whole server connection without TLS: Hello, requests, cancels and credit in any order. The handlers
 * answer, stream or keep the call. Afterwards everything must be closed and freed. */
#include "tests/fuzz/conn_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig r;

	if (size > 65536 || !rig_open(&r, true, true, NULL))
		return 0;
	rig_put(&r, data, size);
	rig_turn(&r, 4);
	rig_close(&r);
	return 0;
}
