// SPDX-License-Identifier: Apache-2.0
/* Every message that a peer can make us unpack. Byte 0: service (0: the frame layer's own), byte 1: method,
 * byte 2: request or answer, then the message. What unpacks must pack to something that unpacks again. */
#include <string.h>

#include "base/mem.h"
#include "proto/rpc/conn.h"
#include "tests/fuzz/fuzz.h"

#define MEMORY_MAX (8u << 20)

static const ProtobufCMessageDescriptor *pick(const uint8_t *data)
{
	static const ProtobufCMessageDescriptor *const own[] = {
		&gs__frame_header__descriptor, &gs__hello__descriptor, &gs__error_body__descriptor};
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(data[0]);

	if (data[0] == 0)
		return data[1] < array_size(own) ? own[data[1]] : NULL;
	if (!d || data[1] >= d->n_methods)
		return NULL;
	return data[2] ? d->methods[data[1]].output : d->methods[data[1]].input;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *d = size >= 3 ? pick(data) : NULL;
	ProtobufCMessage *m = d ? rpc_unpack(d, data + 3, size - 3, MEMORY_MAX) : NULL, *again;
	uint8_t *wire;
	size_t n;

	if (!m)
		return 0;
	n = protobuf_c_message_get_packed_size(m);
	wire = xmalloc(n + 1);
	assert(protobuf_c_message_pack(m, wire) == n);
	again = protobuf_c_message_unpack(d, NULL, n, wire);
	assert(again && protobuf_c_message_get_packed_size(again) == n);
	protobuf_c_message_free_unpacked(again, NULL);
	protobuf_c_message_free_unpacked(m, NULL);
	free(wire);
	return 0;
}
