// SPDX-License-Identifier: Apache-2.0
/* Unpacking what a peer sent, with the memory bounded.
 *
 * The happy path is protobuf-c's own. What can fail: bytes that are no such message, or a message that
 * would need more memory than it may (a repeated sub-message takes 2 bytes on the wire and hundreds in
 * memory). protobuf-c gives back what it took when the allocator says no. Our messages are not
 * recursive, so depth needs no limit. */
#include <stdlib.h>

#include "proto/conn.h"

struct budget {
	size_t left;
};

static void *budget_alloc(void *arg, size_t n)
{
	struct budget *b = arg;

	if (n > b->left)
		return NULL;
	b->left -= n;
	return malloc(n);
}

static void budget_free(void *arg, void *p)
{
	free(p);
}

ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t len,
			     size_t memory_limit)
{
	struct budget b = {memory_limit};
	ProtobufCAllocator a = {budget_alloc, budget_free, &b};

	/* Freed later with the default allocator, which is malloc's too. */
	return protobuf_c_message_unpack(d, &a, len, data);
}
