// SPDX-License-Identifier: Apache-2.0
/* Assignment items to the parts that want them. Keys are in dispatch.proto. */
#pragma once
#include "proto/schema/dispatch.pb-c.h"
#include "worker/context/worker.h"

/* A complete set follows: what it does not name is to go at its end. */
void assignments_set_begin(struct worker *w);
/* Hand each item to who wants its kind; copies what it keeps. What cannot be read is logged and left out. */
void assignments_apply(struct worker *w, Gs__AssignmentItem *const *items, size_t n);
/* The set is complete. Without a begin: nothing. */
void assignments_set_end(struct worker *w);
