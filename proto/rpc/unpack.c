// SPDX-License-Identifier: Apache-2.0
/* Unpacking what a peer sent, with the memory bounded.
 *
 * The happy path is protobuf-c's own. What can fail: bytes that are no such message, or a message that
 * would need more memory than it may (a repeated sub-message takes 2 bytes on the wire and hundreds in
 * memory). protobuf-c gives back what it took when the allocator says no. Our messages are not
 * recursive, so depth needs no limit.
 *
 * Fields that we do not know are dropped: protobuf-c keeps them, and packs some (field number 0) to bytes
 * that it refuses to unpack, so that a copy of a stranger's message could fail where a copy never may. */
#include <stdlib.h>

#include "proto/rpc/conn.h"

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

static void strip(ProtobufCMessage *m);

static void strip_field(ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	void *member = (char *)m + f->offset;

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(size_t *)((char *)m + f->quantifier_offset);

		for (size_t i = 0; i < n; i++)
			strip((*(ProtobufCMessage ***)member)[i]);
	} else if ((!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
		    *(uint32_t *)((char *)m + f->quantifier_offset) == f->id) &&
		   *(ProtobufCMessage **)member) {
		strip(*(ProtobufCMessage **)member);
	}
}

static void strip(ProtobufCMessage *m)
{
	for (unsigned i = 0; i < m->n_unknown_fields; i++)
		free(m->unknown_fields[i].data);
	free(m->unknown_fields);
	m->unknown_fields = NULL;
	m->n_unknown_fields = 0;
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		if (m->descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
			strip_field(m, &m->descriptor->fields[i]);
}

ProtobufCMessage *rpc_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *data, size_t len,
			     size_t memory_limit)
{
	struct budget b = {memory_limit};
	ProtobufCAllocator a = {budget_alloc, budget_free, &b};

	/* Freed later with the default allocator, which is malloc's too. */
	ProtobufCMessage *m = protobuf_c_message_unpack(d, &a, len, data);

	if (m)
		strip(m);
	return m;
}
