// SPDX-License-Identifier: Apache-2.0
/* Large messages in small frames, so that a heartbeat never stands behind megabytes.
 *
 * The happy path is: the sender cuts, what is urgent slips in between two cuts, the receiver glues. What can
 * fail is a peer that starts a message inside another of the same priority, or never ends one: the first is a
 * protocol error, the second is bounded by the size of a message. */
#include <string.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/rpc/frame.h"

/* ---- coming in ---- */

static bool is_same(const Gs__FrameHeader *a, const Gs__FrameHeader *b)
{
	return a->call == b->call && a->kind == b->kind;
}

int parts_add(struct parts *p, struct frame *f, size_t limit, struct err *e)
{
	typeof(&p->open[0]) o = &p->open[f->header->priority > 0];

	if (!o->header && !f->header->more)
		return f->payload_len > limit ? err_set(e, E_LIMIT, "a message of more than %zu bytes", limit)
					      : 1;
	if (o->header && !is_same(o->header, f->header))
		return err_set(e, E_PROTOCOL, "a frame in the middle of another message");
	if (o->body.len + f->payload_len > limit)
		return err_set(e, E_LIMIT, "a message of more than %zu bytes", limit);
	buf_append(&o->body, f->payload, f->payload_len);
	if (!o->header) {
		o->header = f->header;
		f->header = NULL;
		frame_fini(f);
		return 0;
	}
	if (f->header->more) {
		frame_fini(f);
		return 0;
	}
	frame_fini(f);
	*f = (struct frame){o->header, o->body.data, o->body.len};
	o->header = NULL;
	return 1;
}

void parts_done(struct parts *p, struct frame *f)
{
	for (size_t i = 0; i < array_size(p->open); i++)
		if (f->payload && f->payload == p->open[i].body.data)
			buf_fini(&p->open[i].body); /* an idle connection holds no buffer */
	frame_fini(f);
}

void parts_fini(struct parts *p)
{
	for (size_t i = 0; i < array_size(p->open); i++) {
		if (p->open[i].header)
			gs__frame_header__free_unpacked(p->open[i].header, NULL);
		buf_fini(&p->open[i].body);
	}
	*p = (struct parts){0};
}

/* ---- going out ---- */

#define HEAP_COST 16u /* of malloc, for a block: its own word and rounding */

struct out_message {
	struct out_message *prev, *next;
	Gs__FrameHeader header; /* without strings: a plain copy */
	struct buf body;
	size_t sent; /* of the body */
	size_t cost; /* of its memory, beside what of the body is not sent */
};

/* An urgent message goes behind the other urgent ones and before the rest. */
static void insert(struct outq *q, struct out_message *m)
{
	struct out_message *at = q->first;

	while (m->header.priority && at && at->header.priority)
		at = at->next;
	if (m->header.priority && at)
		DL_PREPEND_ELEM(q->first, at, m);
	else
		DL_APPEND(q->first, m);
}

static void drop(struct outq *q, struct out_message *m)
{
	bug_if(q->bytes < m->cost + m->body.len - m->sent);
	q->bytes -= m->cost + m->body.len - m->sent;
	DL_DELETE(q->first, m);
	buf_fini(&m->body);
	free(m);
}

int outq_add(struct outq *q, const Gs__FrameHeader *header, const ProtobufCMessage *payload, struct err *e)
{
	size_t n = payload ? protobuf_c_message_get_packed_size(payload) : 0;
	struct out_message *m;

	bug_if(header->more);
	if (n > MESSAGE_MAX)
		return err_set(e, E_LIMIT, "a message of %zu bytes, the limit is %u", n, MESSAGE_MAX);
	m = xcalloc(1, sizeof(*m));
	m->header = *header;
	if (n)
		m->body.len = protobuf_c_message_pack(payload, buf_reserve(&m->body, n));
	bug_if(m->body.len != n);
	m->cost = sizeof(*m) + m->body.cap - n + 2 * HEAP_COST;
	q->bytes += m->cost + n;
	insert(q, m);
	return 0;
}

bool outq_next(struct outq *q, struct buf *out)
{
	struct out_message *m = q->first;
	size_t left, n;

	if (!m)
		return false;
	left = m->body.len - m->sent;
	n = left > FRAME_PIECE ? FRAME_PIECE : left;
	m->header.more = n < left;
	frame_put(out, &m->header, n ? m->body.data + m->sent : NULL, n);
	m->sent += n;
	q->bytes -= n;
	if (m->sent == m->body.len)
		drop(q, m);
	return true;
}

void outq_fini(struct outq *q)
{
	while (q->first)
		drop(q, q->first);
	bug_if(q->bytes);
}
