// SPDX-License-Identifier: Apache-2.0
/* One frame: u32 length of header + payload, u16 length of header, header, payload. All lengths are big
 * endian. A message of more than FRAME_PIECE bytes travels as several frames: every one but the last has
 * `more` in its header, and between two of them may stand frames of the other priority, never of the same.
 *
 *   message --outq_add--> queue --outq_next--> frames ~~~ frame_decode --parts_add--> message */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/schema/names.h"
#include "proto/schema/rpc.pb-c.h"

#define FRAME_MAX (64u << 10)   /* header + payload of one that comes in */
#define FRAME_HEADER_MAX 256u   /* bytes of a packed header */
#define FRAME_PIECE (16u << 10) /* payload of one that goes out: a TLS record's worth */
#define MESSAGE_MAX (4u << 20)  /* all pieces together */
#define MESSAGE_MAX_UNAUTHENTICATED FRAME_MAX
#define FRAME_COST 16u /* what a message weighs in a stream's window beside its payload */

struct frame {
	Gs__FrameHeader *header; /* owned by the frame */
	const uint8_t *payload;  /* borrowed from the input */
	size_t payload_len;
};
/* >0: bytes consumed; 0: incomplete, read more; <0: E_PROTOCOL or E_LIMIT, close the connection. *ret is set
 * only in the first case. Checks the declared sizes before it allocates. */
ssize_t frame_decode(const uint8_t *data, size_t len, struct frame *ret, struct err *e);
/* Frees the header; the payload is not ours. Any number of times. */
void frame_fini(struct frame *f);
/* Appends one whole frame. E_LIMIT when it would be over FRAME_MAX; payload may be NULL. */
int frame_encode(struct buf *out, const Gs__FrameHeader *header, const ProtobufCMessage *payload,
		 struct err *e);

/* The same from bytes that are packed already; header and n are ours, so they fit. */
void frame_put(struct buf *out, const Gs__FrameHeader *header, const uint8_t *payload, size_t n);

/* ---- coming in: pieces become messages ---- */

/* One message a priority may be half here. Zeroed is empty. */
struct parts {
	struct {
		struct buf body;
		Gs__FrameHeader *header; /* of the first piece; NULL: none has come */
	} open[2];
};
/* Takes the frame in. 1: *f is a whole message now, whose payload lives in p until parts_done (or in the
 * input, when it came whole); 0: more is to come and *f is empty; <0: E_PROTOCOL for a piece of something
 * else, E_LIMIT over `limit` bytes. */
int parts_add(struct parts *p, struct frame *f, size_t limit, struct err *e);
/* The message that parts_add gave last has been used. */
void parts_done(struct parts *p, struct frame *f);
/* Any number of times; what was half here is lost. */
void parts_fini(struct parts *p);

/* ---- going out: messages become pieces ---- */

struct out_message;
/* Zeroed is empty. */
struct outq {
	struct out_message *first; /* urgent ones first, else in the order they came */
	size_t bytes; /* payload not yet handed out, and the memory that each message takes beside */
};
/* Packs and queues; an urgent message (header->priority > 0) goes behind the other urgent ones and before
 * the rest, also between two pieces of one of the rest. E_LIMIT over MESSAGE_MAX. */
int outq_add(struct outq *q, const Gs__FrameHeader *header, const ProtobufCMessage *payload, struct err *e);
/* Appends the next frame to out; false when nothing waits. */
bool outq_next(struct outq *q, struct buf *out);
/* Any number of times; what waited is lost. */
void outq_fini(struct outq *q);
