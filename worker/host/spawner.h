// SPDX-License-Identifier: Apache-2.0
/* Starting programs from threads with a mount namespace of their own.
 *
 * crun refuses a v1/v2 hybrid of cgroups. The spawner's threads therefore live in a mount namespace that is a
 * slave of the worker's (so that /run/netns binds arrive) and that lacks /sys/fs/cgroup/unified; what it
 * starts inherits that namespace, and the worker and the host see nothing of it. Overlay root file systems of
 * tasks are mounted there as well, so they never show up on the host.
 *
 * All callbacks run on the loop's thread, never from inside the call that asked. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

struct spawner;
/* Makes dir a mount of its own in which what is mounted later is seen by spawners as well; once, before
 * spawner_new. It stays when the worker ends: so do the tasks. */
int spawner_share(const char *dir, struct err *e);
/* *ret is the caller's. -errno when the mount namespace cannot be made. On the loop's thread. */
int spawner_new(uv_loop_t *loop, struct spawner **ret, struct err *e);
/* Programs that were started go on; what waits to be started is lost. No callback fires afterwards. */
void spawner_free(struct spawner *s);

/* Which folder an image was when it was judged, whatever its path leads to by now. ino 0: none. */
struct image_id {
	dev_t dev;
	ino_t ino;
};

struct spawn_spec {
	/* An overlay mounted first (dir images), and a mount to drop before that; both may be NULL. lower ends
	 * with the image also of a mount that is only dropped. What has the same image is done in the order of the
	 * calls. */
	const char *lower, *upper, *work, *mount_at;
	struct image_id image; /* what the last folder of lower has to be */
	const char *unmount_at;
	const char *const *argv; /* argv[0] absolute; NULL: only the mounts */
	const char *const *env;
	int fds[4]; /* become 0..3 of the child; -1: /dev/null for 0..2, none for 3. Closed by the spawner
		       (taken) */
	/* pidfd of the child (not inherited, owned by the callee) and its pid, or e. E_DEADLINE when the image does
	 * not answer; nothing is started then. */
	void (*done)(pid_t pid, int pidfd, const struct err *e, void *arg);
	void *arg;
};
/* Copies the texts. */
void spawner_run(struct spawner *s, const struct spawn_spec *spec);

/* ---- waiting for a process by pidfd: ended() fires once; reaps it when it is our child ---- */
struct pid_watch {
	uv_poll_t poll;
	int pidfd;
	bool is_child;
	void (*ended)(int wait_status,
		      void *arg); /* waitid's si_status semantics in wait(2) form; -1: not our child */
	void *arg;
};
/* Takes the pidfd. Returns NULL when the poll could not be set up. */
struct pid_watch *pid_watch_new(uv_loop_t *loop, int take_pidfd, bool is_child, void (*ended)(int, void *),
				void *arg);
void pid_watch_free(struct pid_watch *w); /* no ended() any more; NULL is fine */
int pid_open(pid_t pid);                  /* pidfd_open(2), close on exec */
/* The same for a process that is known by its start time too (pid_start_time): -ESRCH when the number is another's
 * now, or nobody's; -errno. */
int pid_open_checked(pid_t pid, uint64_t start);
int pid_signal(int pidfd, int sig); /* 0 or -errno */
/* Catches, blocks or explicitly ignores it (SigCgt, SigBlk, SigIgn of /proc/PID/status); true when unknown. */
bool pid_minds_signal(pid_t pid, int sig);
/* Field 22 of /proc/PID/stat. 0; -ESRCH: there is no such process or it is a zombie; else -errno: it cannot be seen
 * now (EMFILE), which says nothing. */
int pid_start_read(pid_t pid, uint64_t *ret);
/* The same; 0 for each of the errors. */
uint64_t pid_start_time(pid_t pid);

/* ---- a program with its output, run by the spawner ---- */
struct capture_result {
	int status, signal;
	bool timed_out;
	struct err err;
	const char *out, *errout;
	size_t out_len, errout_len;
};
struct capture;
struct capture_spec {
	struct spawn_spec spawn; /* fds, done and arg are ignored */
	const void *input;       /* copied */
	size_t input_len;
	size_t output_limit; /* 0: 64 KiB */
	uint64_t deadline_ms;
	void (*done)(const struct capture_result *r, void *arg);
	void *arg;
};
/* Copies argv, env and input. done fires exactly once, not from inside, also when the start failed (r->err);
 * what is in r is valid in the call. The capture frees itself after it: forget the pointer in done. */
struct capture *capture_run(uv_loop_t *loop, struct spawner *s, const struct capture_spec *spec);
void capture_kill(struct capture *c); /* SIGKILL; done still fires */
