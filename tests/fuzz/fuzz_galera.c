// SPDX-License-Identifier: Apache-2.0
/* What a server leaves in its files: the first byte picks the parser. */
#include <string.h>

#include "base/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/galera/parse.h"
#include "worker/galera/progress.h"

static void mark(const char *text, size_t n)
{
	struct volume_mark m, back;
	struct err e;

	if (volume_mark_parse(text, n, &m, &e))
		return;
	cleanup_free char *out = volume_mark_format(&m);
	assert(!volume_mark_parse(out, strlen(out), &back, &e));
	assert(back.epoch == m.epoch && back.state == m.state && !strcmp(back.cluster, m.cluster));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct recover_result r;
	struct gvwstate v;
	struct grastate g;
	struct err e;

	if (!size)
		return 0;
	switch (data[0] & 3) {
	case 0:
		if (!grastate_parse(text, size - 1, &g, &e))
			assert(strlen(g.position.uuid) == GALERA_UUID_LEN && g.position.seqno >= -1);
		break;
	case 1:
		if (!gvwstate_parse(text, size - 1, &v, &e))
			assert(strlen(v.view_uuid) == GALERA_UUID_LEN);
		break;
	case 2:
		recover_parse(text, size - 1, &r);
		assert(!r.has_position || strlen(r.position.uuid) == GALERA_UUID_LEN);
		progress_phase(text, size - 1);
		break;
	default:
		mark(text, size - 1);
	}
	return 0;
}
