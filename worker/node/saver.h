// SPDX-License-Identifier: Apache-2.0
/* Writes a member's state (membership.h) beside the loop: the list of managers, the addresses, a renewed
 * certificate.
 *
 * At most one write is under way; what changes meanwhile is written after it, once. What a crash loses is what
 * the next session tells again. */
#pragma once
#include <uv.h>

#include "worker/context/membership.h"

struct saver;
#define SAVER_AGAIN_MS 30000
/* dir is copied. It may write from the start. What failed is tried again after again_ms. */
struct saver *saver_new(uv_loop_t *loop, const char *dir, uint64_t again_ms);
/* From the loop, when the newest certificate that was to be saved is on disk. */
void saver_on_cert(struct saver *s, void (*saved)(void *arg), void *arg);
/* On the loop. Copies what it needs of state; an error is logged. */
void saver_save(struct saver *s, const struct membership *state, unsigned what);
/* Any thread: when this returns nothing is being written, and nothing will be (the state is about to be removed). */
void saver_forbid(struct saver *s);
/* On the loop: from now on it may write again (the node has become a member); what failed before is forgotten. */
void saver_allow(struct saver *s);
/* What is under way or waits is written first, if the disk takes it. NULL is fine. */
void saver_free(struct saver *s);
