// SPDX-License-Identifier: Apache-2.0
/* The codec of one frame.
 *
 * The happy path is: the bytes hold one whole frame and its header unpacks. What can fail is everything
 * a stranger may send; the declared lengths are checked before anything is allocated. */
#include "proto/rpc/frame.h"

#include "base/bug.h"

#define PREFIX_LEN 6u

ssize_t frame_decode(const uint8_t *data, size_t len, struct frame *ret, struct err *e)
{
	struct cur c = cur_of(data, len);
	uint32_t body = cur_u32(&c);
	uint16_t head;
	Gs__FrameHeader *header;

	if (c.bad)
		return 0;
	if (body > FRAME_MAX)
		return err_set(e, E_LIMIT, "a frame of %u bytes, the limit is %u", body, FRAME_MAX);
	head = cur_u16(&c);
	if (c.bad)
		return 0;
	if (head > body || head > FRAME_HEADER_MAX)
		return err_set(e, E_PROTOCOL, "a frame header of %u bytes", head);
	if (len - PREFIX_LEN < body)
		return 0;
	header = gs__frame_header__unpack(NULL, head, data + PREFIX_LEN);
	if (!header)
		return err_set(e, E_PROTOCOL, "an unreadable frame header");
	*ret = (struct frame){header, data + PREFIX_LEN + head, body - head};
	return (ssize_t)(PREFIX_LEN + body);
}

void frame_fini(struct frame *f)
{
	if (f->header)
		gs__frame_header__free_unpacked(f->header, NULL);
	*f = (struct frame){0};
}

/* Prefix and header; the payload's bytes are the caller's to append. */
static void head_put(struct buf *out, const Gs__FrameHeader *header, size_t payload)
{
	size_t head = gs__frame_header__get_packed_size(header);

	bug_if(head > FRAME_HEADER_MAX);
	bug_if(head + payload > FRAME_MAX);
	buf_reserve(out, PREFIX_LEN + head + payload);
	buf_u32(out, (uint32_t)(head + payload));
	buf_u16(out, (uint16_t)head);
	out->len += gs__frame_header__pack(header, out->data + out->len);
}

int frame_encode(struct buf *out, const Gs__FrameHeader *header, const ProtobufCMessage *payload,
		 struct err *e)
{
	size_t n = payload ? protobuf_c_message_get_packed_size(payload) : 0;

	if (n > FRAME_MAX - FRAME_HEADER_MAX)
		return err_set(e, E_LIMIT, "a message of %zu bytes does not fit into one frame", n);
	head_put(out, header, n);
	if (payload)
		out->len += protobuf_c_message_pack(payload, out->data + out->len);
	return 0;
}

void frame_put(struct buf *out, const Gs__FrameHeader *header, const uint8_t *payload, size_t n)
{
	head_put(out, header, n);
	buf_append(out, payload, n);
}
