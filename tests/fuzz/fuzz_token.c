// SPDX-License-Identifier: Apache-2.0
/* Join tokens: what parses, formats to the same text. */
#include <string.h>

#include "base/mem.h"
#include "proto/tls/tls.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);
	struct join_token t;
	char back[96];
	struct err e;

	if (join_token_parse(text, &t, &e) == 0) {
		join_token_format(&t, back);
		assert(strcmp(back, text) == 0);
	} else {
		assert(e.code == E_TOKEN && e.msg[0]);
	}
	return 0;
}
