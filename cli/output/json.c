// SPDX-License-Identifier: Apache-2.0
/* Any protobuf-c message as JSON, generic over its descriptor.
 *
 * The happy path is one JSON object a message. Nothing can fail but memory: strings that are no UTF-8 are
 * shown as hex. */
#include "cli/output/json.h"

#include <jansson.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/value/obj.h"

static json_t *message_json(const ProtobufCMessage *m);

static bool ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && strcmp(text + a - b, end) == 0;
}

static json_t *hex_json(const uint8_t *data, size_t len)
{
	cleanup_free char *hex = xcalloc(2 * len + 1, 1);
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		hex[2 * i] = digits[data[i] >> 4];
		hex[2 * i + 1] = digits[data[i] & 15];
	}
	return json_string(hex);
}

static json_t *bytes_json(const char *field, const ProtobufCBinaryData *b)
{
	char text[64];

	if ((ends_with(field, "ip") || strcmp(field, "gateway") == 0) && (b->len == 4 || b->len == 16))
		return json_string(addr_format(b, text, sizeof(text)));
	if (strcmp(field, "mac") == 0 && b->len == 6)
		return json_string(mac_format(b->data, text));
	if (!b->len)
		return json_string("");
	json_t *s = ends_with(field, "_pem") ? json_stringn((const char *)b->data, b->len) : NULL;
	return s ? s : hex_json(b->data, b->len);
}

static json_t *enum_json(const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);

	return v ? json_string(v->name) : json_integer(value);
}

static json_t *value_json(const ProtobufCFieldDescriptor *f, const void *p)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)p);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_integer(*(const int64_t *)p);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real(*(const float *)p);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)p);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)p);
	case PROTOBUF_C_TYPE_ENUM:
		return enum_json(f->descriptor, *(const int *)p);
	case PROTOBUF_C_TYPE_STRING: {
		const char *s = *(char *const *)p ? *(char *const *)p : "";
		json_t *j = json_string(s);

		return j ? j : hex_json((const uint8_t *)s, strlen(s));
	}
	case PROTOBUF_C_TYPE_BYTES:
		return bytes_json(f->name, p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_json(*(ProtobufCMessage *const *)p);
	}
	return json_null();
}

static size_t value_size(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 4;
	}
}

static json_t *repeated_json(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
	const char *items = *(char *const *)((const char *)m + f->offset);
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, value_json(f, items + i * value_size(f->type)));
	return a;
}

/* A oneof member that is not the chosen one, or a sub-message that is not there. */
static bool is_absent(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *base = (const char *)m;

	if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
	    *(const uint32_t *)(base + f->quantifier_offset) != f->id)
		return true;
	return f->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)(base + f->offset);
}

/* How the daemons work inside: no part of what a thing is. */
static bool is_inner(const char *field)
{
	static const char *const names[] = {"next", "at_once", "force_bootstrap", "force_slot"};

	for (size_t i = 0; i < array_size(names); i++)
		if (strcmp(field, names[i]) == 0)
			return true;
	return false;
}

static json_t *message_json(const ProtobufCMessage *m)
{
	char text[80];

	bug_if(m->descriptor->magic != PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC);
	if (!m)
		return json_null();
	if (m->descriptor == &gs__addr__descriptor)
		return json_string(addr_format_cidr((const Gs__Addr *)m, text, sizeof(text)));
	json_t *o = json_object();
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (is_inner(f->name))
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			json_object_set_new(o, f->name, repeated_json(m, f));
		else if (!is_absent(m, f))
			json_object_set_new(o, f->name, value_json(f, (const char *)m + f->offset));
	}
	return o;
}

static json_t *with_extra(const ProtobufCMessage *m, const char *const *extra)
{
	json_t *o = json_object(), *rest = message_json(m);

	for (; extra && *extra; extra += 2)
		json_object_set_new(o, extra[0], json_string(extra[1]));
	json_object_update(o, rest);
	json_decref(rest);
	return o;
}

static char *dump(json_t *j, bool pretty)
{
	char *text = json_dumps(j, pretty ? JSON_INDENT(4) : JSON_COMPACT);

	json_decref(j);
	return text ? text : xstrdup("null");
}

char *json_message(const ProtobufCMessage *m, bool pretty, const char *const *extra)
{
	return dump(with_extra(m, extra), pretty);
}

void json_print_line(const void *message, const char *const *extra)
{
	cleanup_free char *text = json_message(message, false, extra);

	puts(text);
}

void json_print_array(const void *const *messages, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, message_json(messages[i]));
	cleanup_free char *text = dump(a, true);
	puts(text);
}
