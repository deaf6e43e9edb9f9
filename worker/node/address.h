// SPDX-License-Identifier: Apache-2.0
/* The addresses that this node tells others, while the host's own change: a lease that ends, an interface that comes
 * late at boot, a link whose MTU is set anew.
 *
 *   LOCAL --gone--> AWAITED (told; the listener tries on) --2 s, after a start 10 s--> another one of the host is
 *     ^                |                                     taken: told, saved, listener and session made anew
 *     +--- is back ----+
 * The address that the user chose is kept, and taken again when the host has it again. */
#pragma once
#include "worker/context/worker.h"

struct address;
/* Watches from now on. */
struct address *address_new(struct worker *w);
void address_free(struct address *a); /* NULL is fine */
/* What is wrong with this node's addresses, or "". */
const char *address_trouble(const struct address *a);
