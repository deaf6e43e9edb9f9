// SPDX-License-Identifier: Apache-2.0
/* A log entry as a manager may find it on disk or be sent: the envelope, then the command in it on a store.
 * What is an envelope encodes to the same bytes; what a store takes survives a snapshot; what it refuses
 * changes nothing. */
#include <string.h>

#include "base/mem.h"
#include "manager/raft/envelope.h"
#include "manager/store/store.h"
#include "tests/fuzz/fuzz.h"

static void check_snapshot(struct consensus_fsm *fsm)
{
	struct clock_virtual v = {0};
	struct clock clock = clock_virtual_of(&v);
	struct store *copy = store_new(&clock);
	struct consensus_fsm copy_fsm = store_fsm(copy);
	uint8_t *a, *b;
	size_t na, nb;
	struct err e;

	fsm->snapshot(fsm->arg, &a, &na);
	assert(copy_fsm.restore(copy_fsm.arg, a, na, &e) == 0);
	copy_fsm.snapshot(copy_fsm.arg, &b, &nb);
	assert(na == nb && !memcmp(a, b, na));
	free(a);
	free(b);
	store_free(copy);
}

static void try_command(const uint8_t *data, size_t len)
{
	struct clock_virtual v = {0};
	struct clock clock = clock_virtual_of(&v);
	struct store *s = store_new(&clock);
	struct consensus_fsm fsm = store_fsm(s);
	struct err e = {0};
	int rc = fsm.apply(fsm.arg, 1, data, len, &e);

	assert(rc <= 0 && rc == e.code);
	if (rc)
		for (int kind = OBJ_NONE + 1; kind < OBJ_KINDS; kind++)
			assert(store_count(s, kind) == 0);
	check_snapshot(&fsm);
	store_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope env = {0};
	struct buf again = {0};
	struct err e = {0};

	if (envelope_decode(data, size, &env, &e) < 0) {
		assert(e.code == E_CORRUPT || e.code == E_PROTOCOL);
		return 0;
	}
	assert(envelope_encode(&env, &again, &e) == 0);
	assert(again.len == size && !memcmp(again.data, data, size));
	buf_fini(&again);
	try_command(env.payload, env.payload_len);
	return 0;
}
