// SPDX-License-Identifier: Apache-2.0
/* libuv helpers: a timer that is one call, blocking work on the pool.
 *
 * All callbacks run on the loop's thread and never from inside the call that started them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"

/* A timer that can be embedded and re-armed. loop_timer_close fires no callback; the memory must stay
 * until `closed` (may be NULL when the memory outlives the loop). */
struct loop_timer {
	uv_timer_t uv;
	void (*fire)(void *arg);
	void (*closed)(void *arg);
	void *arg;
	const char *name; /* of fire, for base/gap.h */
};
#define loop_timer_init(t, loop, fire, arg) loop_timer_init_named(t, loop, fire, arg, LOOP_NAME(fire))
/* Not armed yet. name lives as long as the program. */
void loop_timer_init_named(struct loop_timer *t, uv_loop_t *loop, void (*fire)(void *arg), void *arg,
			   const char *name);
#define LOOP_NAME(function) #function "@" __FILE_NAME__
void loop_timer_set(struct loop_timer *t, uint64_t delay_ms);                       /* once */
void loop_timer_every(struct loop_timer *t, uint64_t delay_ms, uint64_t period_ms); /* repeating */
void loop_timer_stop(struct loop_timer *t);
/* Also of an armed one; a second call does nothing. */
void loop_timer_close(struct loop_timer *t, void (*closed)(void *arg));

/* work(arg) on the thread pool, then done(arg) on the loop. arg must own all the data that work touches. */
#define loop_work(loop, work, done, arg) loop_work_named(loop, work, done, arg, LOOP_NAME(done))
/* name, of done, lives as long as the program. */
void loop_work_named(uv_loop_t *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg,
		     const char *name);
