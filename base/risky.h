// SPDX-License-Identifier: Apache-2.0
/* Blocking work that may never come back, on threads of its own: a look at a file system that somebody else serves
 * (NFS, FUSE) hangs for as long as that does, and would take the loop's few pool threads with it.
 *
 * At most one job a key runs at a time, so that one dead file system holds one thread, however many ask for it; at
 * most `max` run in all. A thread ends when nothing waits. The deadline counts from risky_run, the wait for a thread
 * included.
 *
 * Who owns what: arg is the job's from risky_run on. done(owner, arg) hands it back. After the deadline done(owner,
 * NULL) is called instead, and the job, once its work came back, is ended by drop(arg). done is called exactly once,
 * from the loop and never from inside risky_run; drop from the loop too, and not at all after risky_free. */
#pragma once
#include <stdint.h>
#include <uv.h>

struct risky;

struct risky_job {
	const char *key;      /* copied; e.g. the path that is looked at */
	uint64_t deadline_ms; /* 0: none */
	void (*work)(void *arg);
	void (*done)(void *owner, void *arg);
	void (*drop)(void *arg);
	void *owner, *arg;
};

struct risky_threads {
	unsigned max;
	/* Both may be NULL. begin: on each new thread, first; < 0: the thread ends, its job stays in the queue. gone:
	 * nothing uses arg any more (after risky_free; not at all while a job hangs). */
	int (*begin)(void *arg);
	void (*gone)(void *arg);
	void *arg;
};

/* threads is copied; a thread is started when a job finds none free. */
struct risky *risky_new(uv_loop_t *loop, const struct risky_threads *threads);
/* *job is copied, its arg is ours until done or drop has it back. */
void risky_run(struct risky *r, const struct risky_job *job);
/* No done and no drop any more; the args of unfinished jobs are lost with the program that ends. Does not wait. NULL
 * is fine. */
void risky_free(struct risky *r);
