// SPDX-License-Identifier: Apache-2.0
/* Answers that come in pages (proto/schema/control.proto, ListRequest), put together for whoever asked.
 *
 * The happy path is: the first answer names no next page. Otherwise the same request is sent again with the
 * place to go on from, and what comes is appended: lists to lists, text to text. What can fail is a call in
 * between: then there is no answer at all. */
#include "cli/pages.h"

#include <string.h>

#include "base/mem.h"

static char **text_field(void *message, const char *name)
{
	ProtobufCMessage *m = message;
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);

	return f && f->type == PROTOBUF_C_TYPE_STRING && f->label != PROTOBUF_C_LABEL_REPEATED
		       ? (char **)((char *)m + f->offset)
		       : NULL;
}

const char *page_next(void *resp)
{
	char **next = text_field(resp, "next");

	return next && *next ? *next : "";
}

void *page_request(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *req, const char *after)
{
	size_t len = protobuf_c_message_get_packed_size(req);
	cleanup_free uint8_t *bytes = xmalloc(len + 1);
	ProtobufCMessage *copy;
	char **field;

	protobuf_c_message_pack(req, bytes);
	copy = protobuf_c_message_unpack(type, NULL, len, bytes); /* the caller may have sent Empty for it */
	field = copy ? text_field(copy, "after") : NULL;
	if (field) {
		str_replace(field, after);
		return copy;
	}
	if (copy)
		protobuf_c_message_free_unpacked(copy, NULL);
	return NULL;
}

static void append_list(const ProtobufCFieldDescriptor *f, ProtobufCMessage *to, ProtobufCMessage *from)
{
	size_t *n = (size_t *)((char *)to + f->quantifier_offset);
	size_t *m = (size_t *)((char *)from + f->quantifier_offset);
	void ***rows = (void ***)((char *)to + f->offset), ***more = (void ***)((char *)from + f->offset);

	if (*m == 0)
		return;
	*rows = xrealloc(*n ? *rows : NULL, (*n + *m) * sizeof(**rows));
	memcpy(*rows + *n, *more, *m * sizeof(**rows));
	*n += *m;
	*m = 0; /* they have moved */
}

void page_append(void *to, void *from)
{
	ProtobufCMessage *a = to, *b = from;
	char **text = text_field(a, "text"), **next = text_field(a, "next");

	for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &a->descriptor->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE)
			append_list(f, a, b);
	}
	if (text) {
		cleanup_free char *both = xasprintf("%s%s", *text, *text_field(b, "text"));

		str_replace(text, both);
	}
	str_replace(next, *text_field(b, "next"));
}
