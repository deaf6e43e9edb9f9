// SPDX-License-Identifier: Apache-2.0
/* Intent on disk: what this worker was told to run, written before the runtime is called.
 *   <dir>/tasks/<id>/task.pb   the last assignment
 *                    attempt   number of the attempt that may run (absent: 1)
 *                    final     the TaskStatus of a task that has ended for good
 *   <run>/tasks/<id>/stopping  the attempt that was sent its stop signal, and when KILL follows (monotonic clock: the
 *                              run folder does not outlive a boot, no process does)
 * Blocking, on the pool (a load at start is on the loop). */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "proto/value/obj.h"

/* Durable when they return 0; the folder is made. -errno of the disk. */
int intent_save_task(const char *task_dir, const Gs__Task *task, struct err *e);
int intent_save_attempt(const char *task_dir, uint32_t attempt, struct err *e); /* from 1 */
int intent_save_final(const char *task_dir, const Gs__TaskStatus *status, struct err *e);

/* A note of the run folder, which is there; -errno. */
int intent_save_stopping(const char *run_dir, uint32_t attempt, int64_t kill_mono_ms, struct err *e);
/* 0: this attempt was not sent the signal, or nobody can say so: it is sent again. */
int64_t intent_load_stopping(const char *run_dir, uint32_t attempt);
void intent_drop_stopping(const char *run_dir);

struct intent {
	Gs__Task *task;
	uint32_t attempt;      /* from 1 */
	Gs__TaskStatus *final; /* NULL: it has not ended */
};
/* E_CORRUPT: what is there was read and makes no sense, or there is no task.pb: nothing of it ran, or nobody can say
 * what. Any other code is the disk's (-EIO, -EMFILE, -ENOMEM ...): it says nothing about the task, which may be
 * running; keep its folder and its container and try again. Outputs untouched then. Free the two rows with
 * obj_free. */
int intent_load(const char *task_dir, struct intent *ret, struct err *e);
