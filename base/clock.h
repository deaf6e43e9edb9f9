// SPDX-License-Identifier: Apache-2.0
/* Time as an input, so that the same code runs under a virtual clock.
 *
 * mono: CLOCK_BOOTTIME, for deadlines and back-off (it goes on during suspend, and a step of the
 * wall clock does not touch it). wall: CLOCK_REALTIME, only to be shown and for certificates. */
#pragma once
#include <stdint.h>

struct clock {
	int64_t (*mono_ms)(void *arg);
	int64_t (*wall_ms)(void *arg);
	void *arg;
};

extern const struct clock clock_real;

static inline int64_t clock_mono_ms(const struct clock *c)
{
	return c->mono_ms(c->arg);
}
static inline int64_t clock_wall_ms(const struct clock *c)
{
	return c->wall_ms(c->arg);
}

/* A clock that stands still until somebody moves it. */
struct clock_virtual {
	int64_t mono_ms, wall_ms;
};
/* Reads *v, which must outlive it. */
struct clock clock_virtual_of(struct clock_virtual *v);
/* Both clocks, by the same. */
void clock_virtual_advance(struct clock_virtual *v, int64_t ms);
