// SPDX-License-Identifier: Apache-2.0
/* What a StoreCommand wears in the raft log (all fields big endian):
 *
 *   0  u32 magic 'G' 'S' 'E' + version byte 1
 *   4  u32 payload length
 *   8  u64 raft index that the proposer expected; another one at apply: the log was renumbered or truncated
 *  16  16 bytes request id, random
 *  32  payload, then zeros up to a multiple of 8 (libraft destroys its log otherwise) */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define ENVELOPE_HEADER 32
#define ENVELOPE_PAYLOAD_MAX (2 * 1024 * 1024)
#define ENVELOPE_REQUEST_ID 16

struct envelope {
	uint64_t expected_index;
	uint8_t request_id[ENVELOPE_REQUEST_ID];
	const uint8_t *payload; /* borrowed */
	size_t payload_len;
};
/* Append to out. E_LIMIT: the payload is too large. */
int envelope_encode(const struct envelope *env, struct buf *out, struct err *e);
/* E_CORRUPT: no envelope of ours. E_PROTOCOL: of a newer version. *ret is untouched on failure. */
int envelope_decode(const uint8_t *data, size_t len, struct envelope *ret, struct err *e);
