// SPDX-License-Identifier: Apache-2.0
/* Answers in pages (proto/schema/control.proto, ListRequest).
 *
 * The happy path is: everything fits, the answer leaves as it is. What can fail is its size: then the rows of
 * each list, by id, are given out up to PAGE_BYTES, and the place of the last one, "<field>/<id>", is what the
 * next call begins after. A place that makes no sense begins nowhere: the page is empty and the last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "manager/api/internal.h"

#define LISTS_MAX 8 /* repeated fields of an answer */

struct list {
	const ProtobufCFieldDescriptor *field;
	void **rows;     /* sorted by id; owned */
	void **borrowed; /* what the answer had before */
	size_t n_borrowed;
};

static size_t *count_of(ProtobufCMessage *resp, const ProtobufCFieldDescriptor *f)
{
	return (size_t *)((char *)resp + f->quantifier_offset);
}

static void ***rows_of(ProtobufCMessage *resp, const ProtobufCFieldDescriptor *f)
{
	return (void ***)((char *)resp + f->offset);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(obj_meta(*(void *const *)a)->id, obj_meta(*(void *const *)b)->id);
}

static void list_take(struct list *l, ProtobufCMessage *resp, const ProtobufCFieldDescriptor *f)
{
	l->field = f;
	l->borrowed = *rows_of(resp, f);
	l->n_borrowed = *count_of(resp, f);
	l->rows = xcalloc(l->n_borrowed + 1, sizeof(*l->rows));
	if (l->n_borrowed)
		memcpy(l->rows, l->borrowed, l->n_borrowed * sizeof(*l->rows));
	qsort(l->rows, l->n_borrowed, sizeof(*l->rows), by_id);
	*rows_of(resp, f) = l->rows;
	*count_of(resp, f) = 0;
}

static void list_return(struct list *l, ProtobufCMessage *resp)
{
	*rows_of(resp, l->field) = l->borrowed;
	*count_of(resp, l->field) = l->n_borrowed;
	free(l->rows);
}

/* Rows after this place, as far as *left goes; *ret_last is the last one's place. false: the page is full. */
static bool list_fill(struct list *l, ProtobufCMessage *resp, unsigned after_field, const char *after_id,
		      size_t *left, char **ret_last)
{
	size_t from = 0, n = 0;

	if (l->field->id < after_field)
		return true;
	while (l->field->id == after_field && from < l->n_borrowed &&
	       strcmp(obj_meta(l->rows[from])->id, after_id) <= 0)
		from++;
	*rows_of(resp, l->field) = l->rows + from;
	for (; from + n < l->n_borrowed; n++) {
		size_t bytes = protobuf_c_message_get_packed_size(l->rows[from + n]) + 16;

		if (bytes > *left)
			break;
		*left -= bytes;
	}
	*count_of(resp, l->field) = n;
	if (n > 0) {
		free(*ret_last);
		*ret_last = xasprintf("%u/%s", l->field->id, obj_meta(l->rows[from + n - 1])->id);
	}
	return from + n == l->n_borrowed;
}

static size_t take_lists(ProtobufCMessage *resp, struct list lists[LISTS_MAX])
{
	size_t n = 0;

	for (unsigned i = 0; i < resp->descriptor->n_fields && n < LISTS_MAX; i++) {
		const ProtobufCFieldDescriptor *f = &resp->descriptor->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE)
			list_take(&lists[n++], resp, f);
	}
	bug_if(n == LISTS_MAX); /* there may be one more */
	return n;
}

static void reply_page(struct rpc_call *call, ProtobufCMessage *resp, char **next, const char *after)
{
	struct list lists[LISTS_MAX];
	const char *slash = strchr(after, '/');
	unsigned field = (unsigned)strtoul(after, NULL, 10);
	size_t n = take_lists(resp, lists), left = PAGE_BYTES,
	       bytes = protobuf_c_message_get_packed_size(resp);
	cleanup_free char *last = NULL;
	bool all = true;

	left -= bytes < left ? bytes : left;
	for (size_t i = 0; i < n && all; i++)
		all = list_fill(&lists[i], resp, field, slash ? slash + 1 : "", &left, &last);
	*next = all ? "" : last ? last : (char *)"";
	rpc_reply(call, resp);
	for (size_t i = 0; i < n; i++)
		list_return(&lists[i], resp);
}

void page_reply(struct rpc_call *call, void *resp, char **next, const char *after)
{
	bug_if_off_loop();
	bug_if((char *)next < (char *)resp); /* a field of resp's */
	*next = "";
	if (!*after && protobuf_c_message_get_packed_size(resp) <= PAGE_BYTES)
		rpc_reply(call, resp);
	else
		reply_page(call, resp, next, after);
	*next = "";
}
