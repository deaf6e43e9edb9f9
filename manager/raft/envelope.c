// SPDX-License-Identifier: Apache-2.0
/* What a command wears in the log: encode and decode.
 *
 * The happy path is: 32 bytes of header, the payload, padding; decode(encode(x)) is x. What can fail is a
 * length that does not fit the data, a strange magic, padding that is not zero: the entry is not ours or is
 * damaged. */
#include "manager/raft/envelope.h"

#include <string.h>

#include "base/bug.h"

#define ENVELOPE_MAGIC 0x47534500u
#define VERSION 1u

static size_t padded(size_t len)
{
	return (len + 7) & ~(size_t)7;
}

int envelope_encode(const struct envelope *env, struct buf *out, struct err *e)
{
	static const uint8_t zeros[8];
	size_t before = out->len;

	bug_if(env->payload_len && !env->payload);
	if (env->payload_len > ENVELOPE_PAYLOAD_MAX)
		return err_set(e, E_LIMIT, "command of %zu bytes, the limit is %d", env->payload_len,
			       ENVELOPE_PAYLOAD_MAX);
	buf_u32(out, ENVELOPE_MAGIC | VERSION);
	buf_u32(out, (uint32_t)env->payload_len);
	buf_u64(out, env->expected_index);
	buf_append(out, env->request_id, ENVELOPE_REQUEST_ID);
	buf_append(out, env->payload, env->payload_len);
	buf_append(out, zeros, padded(env->payload_len) - env->payload_len);
	bug_if(out->len - before != ENVELOPE_HEADER + padded(env->payload_len) || out->len % 8 != before % 8);
	return 0;
}

int envelope_decode(const uint8_t *data, size_t len, struct envelope *ret, struct err *e)
{
	struct cur c = cur_of(data, len);
	struct envelope env;
	uint32_t magic = cur_u32(&c);
	uint32_t payload_len = cur_u32(&c);
	const uint8_t *id;

	if (c.bad || (magic & ~0xffu) != ENVELOPE_MAGIC || (magic & 0xff) == 0)
		return err_set(e, E_CORRUPT, "log entry of %zu bytes is no command", len);
	if ((magic & 0xff) > VERSION)
		return err_set(e, E_PROTOCOL, "log entry of format %u, this version knows %u", magic & 0xff,
			       VERSION);
	env.expected_index = cur_u64(&c);
	id = cur_bytes(&c, ENVELOPE_REQUEST_ID);
	if (c.bad || payload_len > ENVELOPE_PAYLOAD_MAX || len != ENVELOPE_HEADER + padded(payload_len))
		return err_set(e, E_CORRUPT, "log entry of %zu bytes says its payload has %u", len,
			       payload_len);
	memcpy(env.request_id, id, ENVELOPE_REQUEST_ID);
	env.payload = cur_bytes(&c, payload_len);
	env.payload_len = payload_len;
	for (size_t i = ENVELOPE_HEADER + payload_len; i < len; i++)
		if (data[i] != 0)
			return err_set(e, E_CORRUPT, "log entry with padding that is not zero");
	*ret = env;
	return 0;
}
