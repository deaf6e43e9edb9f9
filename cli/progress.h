// SPDX-License-Identifier: Apache-2.0
/* Judging a service: what each slot is at, whether the whole is done, whether it can still get there.
 * Pure: tested without a daemon. Waiting for it is wait.h's. */
#pragma once
#include "cli/opt.h"
#include "proto/schema/control.pb-c.h"
#include "proto/value/obj.h"

struct slot_line {
	char *name;   /* "db.1" */
	char *node;   /* hostname or "" */
	char *text;   /* "running", "held: waits for its turn", ... */
	bool is_done; /* running, and Synced where that is asked for; or it was to end, and has ended well */
	bool is_failed;
	bool is_lost; /* only its own node can go on with it, and that is down */
};
struct progress {
	struct slot_line *lines;
	size_t n, done, wanted;
	size_t ended;                  /* of those done: ended well and not to be started again */
	bool is_converged, is_blocked; /* is_blocked: failure is what waits for somebody, or for a host */
	char *failure;                 /* it will not get there by itself: why; or NULL */
	char *refused; /* why the controller did not act on the last consent to a bootstrap, or NULL */
	char *note;    /* what the service as a whole waits for, or NULL */
};
/* What the screen should say of this detail. *ret is the caller's, by progress_fini. */
void progress_of(const Gs__ServiceDetail *d, struct progress *ret);
void progress_fini(struct progress *p); /* leaves it empty */
/* The slot's newest task, or NULL; borrowed. */
const Gs__Task *progress_task(const Gs__ServiceDetail *d, const Gs__Slot *s);

/* What one detail after the other tells: a slot whose attempts fail again and again, a service that
 * stays as it is. */
struct trail {
	char *slot_id, *task_id;
	char *why;          /* "web.1 on n2 failed 3 times in 5.2 s: exit code 3" */
	uint32_t attempt;   /* newest one seen */
	unsigned failures;  /* attempts that ended since, without a long run between */
	int64_t failing_ms; /* when the first of them was seen */
	int64_t last_ms;    /* and the last */
};
struct trails {
	struct trail *list;
	size_t n;
	int64_t steady_ms; /* converged since, without a failed attempt; 0: is not */
	bool begun;
};
/* now_ms: any monotonic clock. monitor_ms: a run that long ends a row of failures. is_new: attempts
 * before the first detail count as well. */
void trails_update(struct trails *t, const Gs__ServiceDetail *d, bool is_converged, bool is_new,
		   int64_t now_ms, int64_t monitor_ms);
/* A slot has failed three times, and for monitor_ms: its why, borrowed; NULL: none has. */
const char *trails_failure(const struct trails *t, int64_t now_ms, int64_t monitor_ms);
void trails_fini(struct trails *t); /* leaves it empty */
