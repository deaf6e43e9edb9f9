// SPDX-License-Identifier: Apache-2.0
/* The local manager as a child that outlives us: started as user _gswarm, adopted after our restart by pid + start
 * time (<run>/manager.pid) or by the lock it holds, restarted with back-off 0.1 .. 30 s while it is wanted. There is
 * never more than one on these folders. */
#pragma once
#include <stdbool.h>

#include "worker/context/worker.h"

struct manager_proc;
/* Borrows w. Starts and looks for nothing yet. */
struct manager_proc *manager_proc_new(struct worker *w);
/* Have it running from now on. Adopts one that already runs. */
void manager_proc_want(struct manager_proc *m);
/* Take over one that runs, without wanting it. false: none was found. */
bool manager_proc_adopt(struct manager_proc *m);
/* Have it end and start again: its address changed. */
void manager_proc_restart(struct manager_proc *m);
/* Stop it, also one that we did not know of (TERM, KILL after 5 s). done comes when no manager works in the folders
 * any more; not before, however long that takes. */
void manager_proc_stop(struct manager_proc *m, void (*done)(void *arg), void *arg);
/* 0: none runs that we know of. */
int manager_proc_pid(const struct manager_proc *m);
/* Why it ended or could not be started last, or "". */
const char *manager_proc_error(const struct manager_proc *m);
/* The process stays. The memory goes when a start that is under way has ended. */
void manager_proc_free(struct manager_proc *m);
