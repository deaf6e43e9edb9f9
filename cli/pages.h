// SPDX-License-Identifier: Apache-2.0
/* Answers in pages (proto/schema/control.proto, ListRequest); client_call puts them together by itself. */
#pragma once
#include <protobuf-c/protobuf-c.h>

/* The place to go on from, or "": that was all. Borrowed from resp. */
const char *page_next(void *resp);
/* req as a request of this type for the page after the place; the caller's, NULL: the type has no pages. */
void *page_request(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *req, const char *after);
/* What `from` lists moves to the end of what `to` lists, its text to the end of the text; `to` then goes on where
 * `from` did. Both are of one type; `from` stays the caller's to free. */
void page_append(void *to, void *from);
