// SPDX-License-Identifier: Apache-2.0
/* Any message as JSON, generic over its descriptor: fields by their .proto names, enums by name,
 * addresses and MACs as people write them. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* heap. extra: more "key", "value" pairs at its front, NULL ends them; or NULL. */
char *json_message(const ProtobufCMessage *m, bool pretty, const char *const *extra);
/* One line on stdout. */
void json_print_line(const void *message, const char *const *extra);
/* An array with one element a message, as `inspect` prints it. */
void json_print_array(const void *const *messages, size_t n);
