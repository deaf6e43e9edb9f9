// SPDX-License-Identifier: Apache-2.0
/* libuv helpers: a timer that is one call, blocking work on the pool, a child process with its output.
 *
 * All callbacks run on the loop's thread and never from inside the call that started them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

/* A timer that can be embedded and re-armed. loop_timer_close fires no callback; the memory must stay
 * until `closed` (may be NULL when the memory outlives the loop). */
struct loop_timer {
	uv_timer_t uv;
	void (*fire)(void *arg);
	void (*closed)(void *arg);
	void *arg;
};
void loop_timer_init(struct loop_timer *t, uv_loop_t *loop, void (*fire)(void *arg), void *arg);
void loop_timer_set(struct loop_timer *t, uint64_t delay_ms);                       /* once */
void loop_timer_every(struct loop_timer *t, uint64_t delay_ms, uint64_t period_ms); /* repeating */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_close(struct loop_timer *t, void (*closed)(void *arg));

/* work(arg) on the thread pool, then done(arg) on the loop. arg must own all the data that work touches. */
void loop_work(uv_loop_t *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Run one program to its end. */
struct proc_spec {
	const char *const *argv; /* argv[0] is searched in PATH; NULL-terminated */
	const char *const *env;  /* NULL: inherit */
	const char *cwd;         /* NULL: inherit */
	const char *netns;       /* path of a network namespace to enter first, or NULL */
	uid_t uid;               /* 0: stay */
	gid_t gid;
	const void *input; /* written to stdin, copied; NULL: /dev/null */
	size_t input_len;
	size_t output_limit;  /* bytes of stdout and of stderr kept (the last ones); 0: 64 KiB */
	uint64_t deadline_ms; /* 0: none; afterwards the child's process group is killed */
};
struct proc_result {
	int status; /* exit status, or -1 */
	int signal; /* signal that ended it, or 0 */
	bool timed_out;
	struct err err;     /* set when it could not be started */
	char *out, *errout; /* NUL-terminated, owned by the runner, valid during the callback */
	size_t out_len, errout_len;
};
struct proc;
/* done fires exactly once. The handle is valid until then. */
struct proc *proc_run(uv_loop_t *loop, const struct proc_spec *spec,
		      void (*done)(const struct proc_result *r, void *arg), void *arg);
/* SIGKILL to the child's process group; done still fires. */
void proc_kill(struct proc *p);
