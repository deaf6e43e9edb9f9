// SPDX-License-Identifier: Apache-2.0
/* Dump: all tables as text, for people and for support; keys, tokens and secrets left out.
 *
 * The happy path is: walk the protobuf-c descriptors, row by row, until a page is full; what comes after it is
 * asked for with `next`, "<kind>/<id of the last row>". Nothing can fail; rows that change between two pages are
 * told as they are then. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/gap.h"
#include "base/mem.h"
#include "manager/api/internal.h"

#define DUMP_PAGE (2u << 20)

static bool is_confidential(const char *message, const char *field)
{
	static const char *const fields[][2] = {
		{"Cluster", "ca_key_pem"}, {"JoinToken", "secret"}, {"Secret", "data"}, {"TaskSpec", "env"}};

	for (size_t i = 0; i < array_size(fields); i++)
		if (strcmp(message, fields[i][0]) == 0 && strcmp(field, fields[i][1]) == 0)
			return true;
	return false;
}

static void dump_message(struct buf *b, const ProtobufCMessage *m, int depth);

static void dump_enum(struct buf *b, const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);

	if (v)
		buf_printf(b, "%s", v->name);
	else
		buf_printf(b, "%d", value);
}

static void dump_bytes(struct buf *b, const ProtobufCBinaryData *data)
{
	if (data->len > 32) {
		buf_printf(b, "<%zu bytes>", data->len);
		return;
	}
	for (size_t i = 0; i < data->len; i++)
		buf_printf(b, "%02x", data->data[i]);
}

static size_t dump_value(struct buf *b, const ProtobufCFieldDescriptor *f, const void *p, int depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		buf_printf(b, "%" PRId32, *(const int32_t *)p);
		return sizeof(int32_t);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		buf_printf(b, "%" PRIu32, *(const uint32_t *)p);
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		buf_printf(b, "%" PRId64, *(const int64_t *)p);
		return sizeof(int64_t);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		buf_printf(b, "%" PRIu64, *(const uint64_t *)p);
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_BOOL:
		buf_printf(b, "%s", *(const protobuf_c_boolean *)p ? "true" : "false");
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_ENUM:
		dump_enum(b, f->descriptor, *(const int *)p);
		return sizeof(int);
	case PROTOBUF_C_TYPE_STRING:
		buf_printf(b, "\"%s\"", *(char *const *)p ? *(char *const *)p : "");
		return sizeof(char *);
	case PROTOBUF_C_TYPE_BYTES:
		dump_bytes(b, p);
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_MESSAGE:
		dump_message(b, *(const ProtobufCMessage *const *)p, depth + 1);
		return sizeof(void *);
	default:
		buf_printf(b, "?");
		return sizeof(uint64_t);
	}
}

static bool is_default(const ProtobufCFieldDescriptor *f, const void *p)
{
	static const ProtobufCBinaryData none;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return !*(char *const *)p || !**(char *const *)p;
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(void *const *)p;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)p)->len == none.len;
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_INT32:
		return *(const int32_t *)p == 0;
	default:
		return *(const int64_t *)p == 0;
	}
}

static void dump_field(struct buf *b, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, int depth)
{
	const uint8_t *p = (const uint8_t *)m + f->offset;
	size_t n = 1;

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		n = *(const size_t *)((const uint8_t *)m + f->quantifier_offset);
		p = *(uint8_t *const *)p;
	} else if (is_default(f, p)) {
		return;
	}
	for (size_t i = 0; i < n; i++) {
		buf_printf(b, " %s=", f->name);
		if (is_confidential(m->descriptor->short_name, f->name)) {
			buf_printf(b, "<left out>");
			return;
		}
		p += dump_value(b, f, p, depth);
	}
}

static void dump_message(struct buf *b, const ProtobufCMessage *m, int depth)
{
	if (!m || depth > 8)
		return;
	if (depth > 0)
		buf_printf(b, "{");
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		dump_field(b, m, &m->descriptor->fields[i], depth);
	if (depth > 0)
		buf_printf(b, " }");
}

/* Rows of one kind after this id, as far as a page goes; *ret_last is the last one's id. false: it is full. */
static bool dump_rows(const struct store *s, enum obj_kind kind, const char *after, struct buf *b,
		      const char **ret_last)
{
	const void *row;

	*ret_last = "";
	if (b->len + 64 >= DUMP_PAGE) /* not even the heading */
		return false;
	if (!*after)
		buf_printf(b, "\n[%s] %zu\n", obj_kind_name(kind), store_count(s, kind));
	for (size_t i = 0; (row = store_at(s, kind, i)); i++) {
		if (*after && strcmp(obj_meta(row)->id, after) <= 0)
			continue;
		if (b->len >= DUMP_PAGE)
			return false;
		dump_message(b, row, 0);
		buf_printf(b, "\n");
		*ret_last = obj_meta(row)->id;
	}
	return true;
}

static void on_dump(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	const char *after = ((const Gs__ListRequest *)msg)->after, *slash = strchr(after, '/');
	struct context *ctx = api_context(arg);
	Gs__DumpResponse resp = GS__DUMP_RESPONSE__INIT;
	const char *id = slash ? slash + 1 : "", *last = "";
	cleanup_free char *next = NULL;
	struct buf b = {0};

	if (answer_unless_serving(ctx, call))
		return;
	if (!*after) {
		buf_printf(&b, "index=%" PRIu64 " term=%" PRIu64 " leader=%d\n", store_index(ctx->store),
			   ctx->engine->ops->term(ctx->engine), context_is_serving(ctx));
		gap_dump(&b);
	}
	for (int kind = *after ? atoi(after) : OBJ_NONE + 1; kind > OBJ_NONE && kind < OBJ_KINDS; kind++) {
		if (!dump_rows(ctx->store, kind, id, &b, &last)) {
			resp.next = next = xasprintf("%d/%s", kind, last);
			break;
		}
		id = "";
	}
	resp.text = buf_text(&b);
	rpc_reply(call, &resp.base);
	buf_fini(&b);
}

void dump_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_DUMP] = on_dump;
}
