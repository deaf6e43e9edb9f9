// SPDX-License-Identifier: Apache-2.0
/* Processes under conmon + crun.
 *
 *   container_start --> conmon --> crun create --> (sync pipe: pid) --> exec fifo written --> started()
 *   exit: pidfd readable, then conmon's exit file (inotify) --> exited()
 *
 * A container is one attempt of a task; its id is "<task id>.<attempt>". It outlives the worker: a new
 * process learns of it from the files that conmon and crun keep, by container_adopt:
 *   <run>/exits/<id>         exit status, written by conmon with a rename
 *   <run>/crun/<id>/status   crun's own state: pid, start time
 * All callbacks run on the loop, never from inside the call that asked. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "worker/bundle/bundle.h"
#include "worker/host/spawner.h"

/* Debian packages; `gswarm system check` says when one is missing. */
#define CRUN "/usr/bin/crun"
#define CONMON "/usr/bin/conmon"

struct runtime;
struct runtime_config {
	const char *run_dir;
	const char *crun, *conmon; /* absolute paths */
	struct spawner *spawner;
	/* How long a create may take, and how long a monitor may stay silent after its process has ended before it is
	 * killed; 0: 30 s and 10 s. */
	int64_t create_ms, monitor_ms;
};
/* Makes the folders and watches for exits. -errno of the kernel. Texts are copied, the spawner is borrowed. */
int runtime_new(uv_loop_t *loop, const struct runtime_config *config, struct runtime **ret, struct err *e);
void runtime_free(struct runtime *r); /* leaves containers as they are */

struct container_exit {
	bool known; /* false: conmon died before it could tell. The process has ended all the same */
	int code;   /* 128 + signal when killed by one */
	bool oom;   /* an out-of-memory kill happened in it (not: it died of it) */
};
/* Make its folders (exits, crun's state) where they are missing, and watch them. */
int runtime_folders(struct runtime *r, struct err *e);

struct container_ops {
	void (*started)(int pid, void *arg);
	void (*failed)(const struct err *e, void *arg); /* it never ran; crun's own words */
	void (*exited)(const struct container_exit *x, void *arg);
};
struct container;
struct container_spec {
	const char *id, *bundle_dir, *log_path;
	const char *lower, *upper, *work, *rootfs; /* dir image */
	struct image_id image;
	const struct container_ops *ops;
	void *arg;
};
/* Answers by started() and later exited(), or by failed(): also when the runtime does not answer (E_DEADLINE). The
 * spec's texts are copied. Free it with container_free, at any time. */
struct container *container_start(struct runtime *r, const struct container_spec *spec);
/* What became of a container that an earlier worker started: answers by started() (it runs), exited() or
 * failed() (nothing is known of it: it never ran or its traces are gone). */
struct container *container_adopt(struct runtime *r, const struct container_spec *spec);
int container_pid(const struct container *c);          /* 0: none */
int64_t container_since_ms(const struct container *c); /* wall clock: when its process was made */
int container_signal(struct container *c, int sig);
/* Ask conmon to open its log anew (after a rename). */
void container_reopen_log(const struct container *c);
/* No callback any more. The process goes on if it runs. */
void container_free(struct container *c);

/* Remove what an ended container left: crun's state, cgroups, exit file. Blocking: on the pool. */
void runtime_clean(const char *run_dir, const char *id, const char *cgroup_path);
/* The monitor (conmon) of this container; 0: it is gone or has not said its number yet; -errno: that cannot be seen
 * now (EMFILE). */
pid_t runtime_monitor(const char *bundle_dir, const char *id);
/* SIGKILL, if that process still is this container's monitor. */
void runtime_monitor_kill(pid_t monitor, const char *id);
/* Kill and remove whatever runs under this id, known or not. Blocking: on the pool. */
void runtime_reap(const char *run_dir, const char *crun, const char *id, const char *cgroup_path);
