// SPDX-License-Identifier: Apache-2.0
/* getrandom(2) blocks only before the kernel's pool is seeded and fails only on a bad buffer. */
#include "base/id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

void random_bytes(void *buf, size_t n)
{
	uint8_t *p = buf;

	while (n > 0) {
		ssize_t got = getrandom(p, n > 256 ? 256 : n, 0);

		if (got <= 0)
			continue;
		p += got;
		n -= (size_t)got;
	}
}

void base36_encode(const uint8_t *bytes, size_t n, size_t len, char *ret_text)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	uint8_t num[64];

	if (n > sizeof(num))
		abort();
	memcpy(num, bytes, n);
	for (size_t i = len; i-- > 0;) {
		unsigned rest = 0;

		for (size_t k = 0; k < n; k++) {
			unsigned v = rest * 256 + num[k];

			num[k] = (uint8_t)(v / 36);
			rest = v % 36;
		}
		ret_text[i] = digits[rest];
	}
	ret_text[len] = 0;
}

void id_from_bytes(const uint8_t bytes[16], char ret_id[ID_LEN + 1])
{
	base36_encode(bytes, 16, ID_LEN, ret_id);
}

void id_new(char ret_id[ID_LEN + 1])
{
	uint8_t bytes[16];

	random_bytes(bytes, sizeof(bytes));
	id_from_bytes(bytes, ret_id);
}

bool id_is_valid(const char *text)
{
	return text && strlen(text) == ID_LEN &&
	       strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") == ID_LEN;
}
