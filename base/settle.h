// SPDX-License-Identifier: Apache-2.0
/* Give back what only starting up or a burst of work needed, so that a daemon's resident memory is what it
 * works with.
 *
 * Resident memory is mostly pages of libraries, and most of these were touched once (relocation, set-up of
 * OpenSSL, the first handshake) or never: a fault maps the 15 pages around as well. They are unmapped, not
 * evicted: the file's pages stay in the page cache for as long as the kernel likes, and the next use of one
 * costs a minor fault. settle.c tells when that is done and what it costs. */
#pragma once
#include <uv.h>

struct settle;
/* Looks every ten seconds from now on. */
struct settle *settle_new(uv_loop_t *loop);
void settle_free(struct settle *s); /* NULL is fine */

/* The work itself: the heap's free pages and the read-only pages of every loaded object. */
void settle_now(void);
