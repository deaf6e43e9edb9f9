// SPDX-License-Identifier: Apache-2.0
/* Assignment items to the parts that want them. Keys are in dispatch.proto. */
#pragma once
#include "proto/schema/dispatch.pb-c.h"
#include "worker/worker.h"

void items_set_begin(struct worker *w);
void items_apply(struct worker *w, Gs__AssignmentItem *const *items, size_t n);
void items_set_end(struct worker *w);
