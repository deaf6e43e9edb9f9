// SPDX-License-Identifier: Apache-2.0
/* The frame codec, the bounded unpacking, and the tables of services and roles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "proto/rpc/conn.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/value/obj.h"

static struct buf sample(void)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__Hello hello = GS__HELLO__INIT;
	struct buf b = {0};
	struct err e = {0};

	h.call = 77;
	h.kind = FRAME_EVENT;
	hello.node_id = "n1";
	assert_int_equal(frame_encode(&b, &h, &hello.base, &e), 0);
	return b;
}

static void test_round_trip(void **state)
{
	struct buf b = sample();
	struct frame f;
	struct err e = {0};
	Gs__Hello *hello;

	buf_append(&b, "next", 4); /* what follows is left alone */
	assert_int_equal(frame_decode(b.data, b.len, &f, &e), b.len - 4);
	assert_int_equal(f.header->call, 77);
	assert_int_equal(f.header->kind, FRAME_EVENT);
	hello = gs__hello__unpack(NULL, f.payload_len, f.payload);
	assert_string_equal(hello->node_id, "n1");
	gs__hello__free_unpacked(hello, NULL);
	frame_fini(&f);
	buf_fini(&b);
}

static void test_every_cut_is_incomplete(void **state)
{
	struct buf b = sample();
	struct frame f;
	struct err e = {0};

	for (size_t i = 0; i < b.len; i++) {
		cleanup_free uint8_t *exact =
			xmemdup(b.data, i ? i : 1); /* so that ASan sees a read too far */

		assert_int_equal(frame_decode(exact, i, &f, &e), 0);
	}
	buf_fini(&b);
}

static void test_limits(void **state)
{
	struct frame f;
	struct err e = {0};
	static const uint8_t large[] = {0, 0x40, 0, 1, 0, 0}, head[] = {0, 0, 2, 0, 1, 1, 0},
			     lie[] = {0, 0, 0, 1, 0, 2, 0};
	static const uint8_t bad[] = {0, 0, 0, 1, 0, 1, 0xff};

	assert_int_equal(frame_decode(large, 4, &f, &e), E_LIMIT); /* at the fourth byte already */
	assert_int_equal(frame_decode(head, sizeof(head), &f, &e), E_PROTOCOL);
	assert_int_equal(frame_decode(lie, sizeof(lie), &f, &e), E_PROTOCOL);
	assert_int_equal(frame_decode(bad, sizeof(bad), &f, &e), E_PROTOCOL);
	assert_int_equal(frame_decode((const uint8_t *)"GET / HTTP/1.1\r\n", 16, &f, &e), E_LIMIT);
}

static void test_too_large_to_send(void **state)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__DumpResponse m = GS__DUMP_RESPONSE__INIT;
	cleanup_free char *text = xmalloc(FRAME_MAX + 1);
	struct buf b = {0};
	struct err e = {0};

	memset(text, 'x', FRAME_MAX);
	text[FRAME_MAX] = 0;
	m.text = text;
	assert_int_equal(frame_encode(&b, &h, &m.base, &e), E_LIMIT);
	assert_int_equal(b.len, 0);
}

/* ---- pieces ---- */

static void queue_text(struct outq *q, uint64_t call, unsigned priority, const char *text)
{
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__DumpResponse m = GS__DUMP_RESPONSE__INIT;
	struct err e = {0};

	h.call = call;
	h.kind = FRAME_RESPONSE;
	h.priority = priority;
	m.text = (char *)text;
	assert_int_equal(outq_add(q, &h, &m.base, &e), 0);
}

/* The next whole message that comes out of q through p: its call. */
static uint64_t next_message(struct outq *q, struct parts *p, size_t *ret_len)
{
	struct err e = {0};
	struct frame f;

	for (;;) {
		struct buf wire = {0};
		uint64_t call;
		int rc;

		assert_true(outq_next(q, &wire));
		assert_true(wire.len <= FRAME_PIECE + FRAME_HEADER_MAX);
		assert_int_equal(frame_decode(wire.data, wire.len, &f, &e), wire.len);
		rc = parts_add(p, &f, MESSAGE_MAX, &e);
		assert_true(rc >= 0);
		call = rc ? f.header->call : 0;
		*ret_len = f.payload_len;
		parts_done(p, &f);
		buf_fini(&wire);
		if (rc)
			return call;
	}
}

/* FINDINGS P3: one piece of a large message may stand before an urgent one, not all of it. */
static void test_p3_urgent_slips_in_between_two_pieces(void **state)
{
	cleanup_free char *text = xmalloc(1000001);
	struct buf wire = {0};
	struct outq q = {0};
	struct parts p = {0};
	struct frame f;
	struct err e = {0};
	size_t len;

	memset(text, 'x', 1000000);
	text[1000000] = 0;
	queue_text(&q, 1, 0, text);
	queue_text(&q, 3, 0, "behind it");
	assert_true(outq_next(&q, &wire)); /* the first piece is on its way */
	frame_decode(wire.data, wire.len, &f, &e);
	assert_true(f.header->more);
	assert_int_equal(parts_add(&p, &f, MESSAGE_MAX, &e), 0);
	buf_fini(&wire);
	queue_text(&q, 5, 1, "urgent");
	queue_text(&q, 7, 1, "urgent as well");
	assert_int_equal(next_message(&q, &p, &len), 5);
	assert_int_equal(next_message(&q, &p, &len), 7);
	assert_int_equal(next_message(&q, &p, &len), 1);
	assert_in_range(len, 1000000, 1000010);
	assert_int_equal(next_message(&q, &p, &len), 3);
	assert_false(outq_next(&q, &wire));
	assert_int_equal(q.bytes, 0);
	parts_fini(&p);
	outq_fini(&q);
}

static int add_piece(struct parts *p, uint64_t call, bool more, size_t n, size_t limit)
{
	static const uint8_t data[1000];
	Gs__FrameHeader *h = obj_new(&gs__frame_header__descriptor);
	struct frame f = {h, data, n};
	struct err e = {0};
	int rc;

	h->call = call;
	h->kind = FRAME_EVENT;
	h->more = more;
	rc = parts_add(p, &f, limit, &e);
	parts_done(p, &f);
	return rc;
}

static void test_pieces_that_do_not_belong_together(void **state)
{
	struct parts p = {0};

	assert_int_equal(add_piece(&p, 1, true, 600, 1500), 0);
	assert_int_equal(add_piece(&p, 3, false, 600, 1500), E_PROTOCOL); /* another call's in the middle */
	assert_int_equal(add_piece(&p, 1, true, 600, 1500), 0);
	assert_int_equal(add_piece(&p, 1, true, 600, 1500), E_LIMIT);
	assert_int_equal(add_piece(&p, 1, false, 300, 1500), 1);
	assert_int_equal(add_piece(&p, 3, false, 600, 500), E_LIMIT); /* whole, and too large */
	assert_int_equal(add_piece(&p, 3, true, 0, 500), 0);
	assert_int_equal(add_piece(&p, 3, false, 0, 500), 1); /* nothing at all, in two pieces */
	assert_int_equal(add_piece(&p, 5, true, 600, 1500), 0);
	parts_fini(&p); /* the connection goes in the middle */
}

/* 2 bytes on the wire for each row of more than 100 bytes in memory. */
static void test_unpack_is_bounded(void **state)
{
	enum { N = 100000 };
	cleanup_free uint8_t *wire = xmalloc(2 * N);
	ProtobufCMessage *m;

	for (size_t i = 0; i < N; i++)
		memcpy(wire + 2 * i, "\x0a\x00", 2);
	assert_null(rpc_unpack(&gs__list_nodes_response__descriptor, wire, 2 * N, 1u << 20));
	m = rpc_unpack(&gs__list_nodes_response__descriptor, wire, 200, 1u << 20);
	assert_non_null(m);
	assert_int_equal(((Gs__ListNodesResponse *)m)->n_nodes, 100);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void test_tables(void **state)
{
	char name[64];

	assert_string_equal(rpc_method_name(RPC_CONTROL, CONTROL_CREATE_SERVICE, name, sizeof(name)),
			    "Control.CreateService");
	assert_string_equal(rpc_method_name(RPC_CONTROL, 999, name, sizeof(name)), "?");
	assert_string_equal(rpc_method_name(99, 0, name, sizeof(name)), "?");
	assert_null(rpc_service_descriptor(0));
	assert_int_equal(rpc_method_roles(RPC_CA, CA_ISSUE), ROLE_BIT_NONE);
	assert_int_equal(rpc_method_roles(RPC_CONTROL, CONTROL_INIT_CLUSTER), ROLE_BIT_LOCAL);
	assert_int_equal(rpc_method_roles(RPC_DISPATCHER, DISPATCHER_SESSION),
			 ROLE_BIT_WORKER | ROLE_BIT_MANAGER);
	assert_int_equal(rpc_method_roles(RPC_PEER, PEER_METHODS), 0);
	for (unsigned s = 1; s <= RPC_PEER; s++) /* every method has its line */
		for (unsigned m = 0; m < rpc_service_descriptor(s)->n_methods; m++)
			assert_int_not_equal(rpc_method_roles(s, m), 0);
}

static void test_every_state_of_a_connection_can_be_reached(void **state)
{
	assert_null(sm_kind_fault(&conn_kind, CONN_CONNECTING));
}

/* Fresh review of security, 2: a small answer took forty times the memory that it was counted with, and the queue's
 * bound was none. */
static void test_S2_queue_counts_what_it_takes(void **state)
{
	enum { N = 10000 };
	Gs__FrameHeader h = GS__FRAME_HEADER__INIT;
	Gs__ErrorBody body = GS__ERROR_BODY__INIT;
	struct outq q = {0};
	struct err e = {0};
	size_t before = mallinfo2().uordblks;

	h.kind = FRAME_ERROR;
	body.code = E_LIMIT;
	body.message = (char *)"no";
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(outq_add(&q, &h, i % 2 ? &body.base : NULL, &e), 0);
	assert_true(q.bytes >= mallinfo2().uordblks - before);
	outq_fini(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_every_cut_is_incomplete),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_too_large_to_send),
		cmocka_unit_test(test_p3_urgent_slips_in_between_two_pieces),
		cmocka_unit_test(test_pieces_that_do_not_belong_together),
		cmocka_unit_test(test_unpack_is_bounded),
		cmocka_unit_test(test_S2_queue_counts_what_it_takes),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_every_state_of_a_connection_can_be_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
