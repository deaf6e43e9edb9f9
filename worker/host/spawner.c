// SPDX-License-Identifier: Apache-2.0
/* The happy path is: a thread of the spawner's pool enters the private mount namespace, mounts what is asked, starts
 * the program with posix_spawn (vfork semantics: no copy of the worker's memory), and the loop tells pid and pidfd.
 * What can fail is the namespace (fatal at start), a mount or the exec of one job (told to its owner), and an image
 * on a file system that does not answer: its job is given up at the deadline and starts nothing when it comes back,
 * and others start meanwhile. */
#include "worker/host/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/gap.h"
#include "base/mem.h"
#include "base/risky.h"

#define THREADS_MAX 16
#define DEADLINE_MS 20000 /* below the runtime's own for a create */

/* A job begins as MOUNTING; whoever changes that first, its thread or its deadline, decides what becomes of it. */
enum phase { MOUNTING, STARTING, GIVEN_UP };

struct job {
	_Atomic enum phase phase;
	bool told; /* the loop's: done was called */
	char *lower, *upper, *work, *mount_at, *unmount_at;
	struct image_id image;
	char **argv, **env;
	int fds[4];
	void (*done)(pid_t pid, int pidfd, const struct err *e, void *arg);
	void *arg;
	/* result */
	pid_t pid;
	int pidfd;
	struct err err;
};

struct spawner {
	struct risky *threads;
};

static char **texts_dup(const char *const *list)
{
	size_t n = 0;
	char **copy;

	if (!list)
		return NULL;
	while (list[n])
		n++;
	copy = xcalloc(n + 1, sizeof(*copy));
	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(list[i]);
	return copy;
}

static void texts_free(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static void job_close_fds(struct job *j)
{
	for (size_t i = 0; i < array_size(j->fds); i++) {
		if (j->fds[i] >= 0)
			close(j->fds[i]);
		j->fds[i] = -1;
	}
}

static void job_free(struct job *j)
{
	job_close_fds(j);
	free(j->lower);
	free(j->upper);
	free(j->work);
	free(j->mount_at);
	free(j->unmount_at);
	texts_free(j->argv);
	texts_free(j->env);
	free(j);
}

/* ---- on a thread of the spawner ---- */

/* The folder that was judged, O_PATH: its path may lead elsewhere since. In this thread, whose mounts it has to be
 * of. */
static int open_image(struct job *j, const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_errno(&j->err, errno, "image %s", path);
	} else if (st.st_dev != j->image.dev || st.st_ino != j->image.ino) {
		err_set(&j->err, E_FORBIDDEN, "image %s: is another folder than was looked at", path);
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int job_mount(struct job *j)
{
	cleanup_free char *options = NULL;
	cleanup_close int fd = -1;
	const char *image;

	if (j->unmount_at)
		umount2(j->unmount_at, MNT_DETACH);
	if (!j->mount_at)
		return 0;
	image = strrchr(j->lower, ':');
	image = image ? image + 1 : j->lower;
	fd = open_image(j, image);
	if (fd < 0)
		return j->err.code;
	options = xasprintf("lowerdir=%.*s/proc/thread-self/fd/%d,upperdir=%s,workdir=%s,index=off,"
			    "redirect_dir=off,metacopy=off",
			    (int)(image - j->lower), j->lower, fd, j->upper, j->work);
	if (mount("overlay", j->mount_at, "overlay", 0, options) < 0)
		return err_errno(&j->err, errno, "mount the image %s", j->lower);
	return 0;
}

/* The child's descriptors are first moved out of the way of 0..3, so that no dup2 overwrites a source. */
static int actions_fill(posix_spawn_file_actions_t *actions, struct job *j)
{
	for (int i = 0; i < 4; i++) {
		if (j->fds[i] >= 0 && j->fds[i] < 10) {
			int moved = fcntl(j->fds[i], F_DUPFD_CLOEXEC, 10);

			if (moved < 0)
				return err_errno(&j->err, errno, "duplicate a descriptor");
			close(j->fds[i]);
			j->fds[i] = moved;
		}
		if (j->fds[i] >= 0)
			posix_spawn_file_actions_adddup2(actions, j->fds[i], i);
		else if (i < 3)
			posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0);
	}
	/* Whatever a library has opened without close-on-exec stays here. */
	posix_spawn_file_actions_addclosefrom_np(actions, j->fds[3] >= 0 ? 4 : 3);
	return 0;
}

static int job_exec(struct job *j)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	rc = actions_fill(&actions, j);
	if (rc == 0) {
		rc = posix_spawn(&j->pid, j->argv[0], &actions, &attr, j->argv, j->env);
		if (rc != 0)
			rc = err_errno(&j->err, rc, "start %s", j->argv[0]);
		else
			j->pidfd = pid_open(j->pid);
	}
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc;
}

static void job_work(void *arg)
{
	struct job *j = arg;
	enum phase mounting = MOUNTING;
	int rc = job_mount(j);

	if (!atomic_compare_exchange_strong(&j->phase, &mounting, STARTING)) {
		if (rc == 0 && j->mount_at)
			umount2(j->mount_at, MNT_DETACH);
	} else if (rc == 0 && j->argv) {
		job_exec(j);
	}
	job_close_fds(j);
}

/* /run/netns must be a shared mount before our copy is made, or later namespaces would not arrive here. It is
 * what `ip netns add` does as well. */
static void netns_share(void)
{
	mkdir("/run/netns", 0755);
	if (mount("", "/run/netns", "none", MS_SHARED | MS_REC, NULL) == 0)
		return;
	if (mount("/run/netns", "/run/netns", "none", MS_BIND | MS_REC, NULL) == 0)
		mount("", "/run/netns", "none", MS_SHARED | MS_REC, NULL);
}

/* Private first: shared with the mount that it was made from, what is mounted in it would appear twice. */
int spawner_share(const char *dir, struct err *e)
{
	if (fs_mkdir(dir, 0711, e) < 0)
		return e->code;
	if (mount("", dir, "none", MS_SHARED, NULL) == 0)
		return 0;
	if (mount(dir, dir, "none", MS_BIND, NULL) < 0 || mount("", dir, "none", MS_PRIVATE, NULL) < 0 ||
	    mount("", dir, "none", MS_SHARED, NULL) < 0)
		return err_errno(e, errno, "share mounts in %s", dir);
	return 0;
}

static int enter_mounts(struct err *e)
{
	netns_share();
	if (unshare(CLONE_NEWNS) < 0)
		return err_errno(e, errno, "make a mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_errno(e, errno, "make mounts slaves");
	/* Only on a hybrid: there "unified" is a mount below the v1 folders. */
	if (umount2("/sys/fs/cgroup/unified", MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
		return err_errno(e, errno, "unmount /sys/fs/cgroup/unified");
	return 0;
}

struct mounts {
	int fd;
	struct err err;
};

/* A thread of its own makes the namespace, so that the caller stays in its own; the descriptor keeps it. */
static void *mounts_main(void *arg)
{
	struct mounts *m = arg;

	if (enter_mounts(&m->err) < 0)
		return NULL;
	m->fd = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (m->fd < 0)
		err_errno(&m->err, errno, "open the mount namespace");
	return NULL;
}

static int mounts_new(int *ret_fd, struct err *e)
{
	struct mounts m = {.fd = -1};
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, mounts_main, &m);

	if (rc != 0)
		return err_errno(e, rc, "start a thread");
	pthread_join(thread, NULL);
	if (m.err.code != 0) {
		*e = m.err;
		return e->code;
	}
	*ret_fd = m.fd;
	return 0;
}

static int on_thread(void *arg)
{
	prctl(PR_SET_NAME, "spawner");
	/* A thread that shares its root and working folder with others may not change the namespace. */
	return unshare(CLONE_FS) < 0 || setns((int)(intptr_t)arg, CLONE_NEWNS) < 0 ? -errno : 0;
}

static void on_threads_gone(void *arg)
{
	close((int)(intptr_t)arg);
}

/* ---- on the loop's thread ---- */

static void job_tell(struct job *j)
{
	bug_if(j->told);
	j->told = true;
	if (j->done)
		j->done(j->pid, j->pidfd, &j->err, j->arg);
}

static void on_late(struct job *j)
{
	enum phase mounting = MOUNTING;
	struct err e = {0};

	if (!atomic_compare_exchange_strong(&j->phase, &mounting, GIVEN_UP))
		return; /* it is being started: told when that is over */
	j->told = true;
	err_set(&e, E_DEADLINE, "the image %s does not answer in %d s: is its file system served?",
		j->lower ? j->lower : "", DEADLINE_MS / 1000);
	if (j->done)
		j->done(0, -1, &e, j->arg);
}

static void on_back(void *arg)
{
	struct job *j = arg;

	if (!j->told)
		job_tell(j);
	job_free(j);
}

static void on_done(void *owner, void *arg)
{
	if (arg)
		on_back(arg);
	else
		on_late(owner);
}

int spawner_new(uv_loop_t *loop, struct spawner **ret, struct err *e)
{
	struct risky_threads threads = {.max = THREADS_MAX, .begin = on_thread, .gone = on_threads_gone};
	struct spawner *s;
	int fd = -1;

	if (mounts_new(&fd, e) < 0)
		return e->code;
	threads.arg = (void *)(intptr_t)fd;
	s = xcalloc(1, sizeof(*s));
	s->threads = risky_new(loop, &threads);
	*ret = s;
	return 0;
}

void spawner_free(struct spawner *s)
{
	if (!s)
		return;
	risky_free(s->threads);
	free(s);
}

void spawner_run(struct spawner *s, const struct spawn_spec *spec)
{
	struct risky_job job = {
		.deadline_ms = DEADLINE_MS, .work = job_work, .done = on_done, .drop = on_back};
	struct job *j = xcalloc(1, sizeof(*j));

	bug_if_off_loop();
	bug_if(spec->argv && spec->argv[0][0] != '/');
	bug_if(spec->mount_at && !(spec->lower && spec->upper && spec->work && spec->image.ino));
	j->lower = xstrdup(spec->lower);
	j->upper = xstrdup(spec->upper);
	j->work = xstrdup(spec->work);
	j->mount_at = xstrdup(spec->mount_at);
	j->unmount_at = xstrdup(spec->unmount_at);
	j->image = spec->image;
	j->argv = texts_dup(spec->argv);
	j->env = texts_dup(spec->env);
	memcpy(j->fds, spec->fds, sizeof(j->fds));
	j->done = spec->done;
	j->arg = spec->arg;
	j->pidfd = -1;
	/* One image at a time: what was mounted for a task is dropped before it is mounted again, and a file system
	 * that hangs holds one thread. */
	job.key = j->lower ? j->lower : "";
	job.owner = job.arg = j;
	risky_run(s->threads, &job);
}

/* ---- processes ---- */

int pid_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int pid_open_checked(pid_t pid, uint64_t start)
{
	int fd = pid_open(pid), rc;
	uint64_t now;

	if (fd < 0)
		return -errno;
	/* The descriptor holds the process it names, so one look after it was opened is enough. */
	rc = pid_start_read(pid, &now);
	if (rc == 0 && now == start)
		return fd;
	close(fd);
	return rc < 0 ? rc : -ESRCH;
}

int pid_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int pid_start_read(pid_t pid, uint64_t *ret)
{
	char path[64], *p, state = 0;
	cleanup_free char *text = NULL;
	unsigned long long start = 0;
	struct err e = {0};

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0)
		return -ESRCH;
	if (fs_read(path, 4096, &text, NULL, &e) < 0)
		return e.code == -ENOENT ? -ESRCH : e.code;
	p = strrchr(text, ')'); /* the name in parentheses may hold anything */
	if (!p ||
	    sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &state, &start) != 2 ||
	    state == 'Z' || state == 'X')
		return -ESRCH;
	*ret = start;
	return 0;
}

uint64_t pid_start_time(pid_t pid)
{
	uint64_t start;

	return pid_start_read(pid, &start) == 0 ? start : 0;
}

bool pid_minds_signal(pid_t pid, int sig)
{
	static const char *const sets[] = {"\nSigBlk:", "\nSigIgn:", "\nSigCgt:"};
	char path[64];
	cleanup_free char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (pid <= 0 || fs_read(path, 16384, &text, NULL, NULL) < 0)
		return true;
	for (size_t i = 0; i < array_size(sets); i++) {
		const char *at = strstr(text, sets[i]);

		if (!at || strtoull(at + 8, NULL, 16) & (1ull << (sig - 1)))
			return true;
	}
	return false;
}

static void on_watch_closed(uv_handle_t *h)
{
	struct pid_watch *w = container_of(h, struct pid_watch, poll);

	close(w->pidfd);
	free(w);
}

static int reap(struct pid_watch *w)
{
	siginfo_t info = {0};

	if (!w->is_child || waitid(P_PIDFD, (id_t)w->pidfd, &info, WEXITED | WNOHANG) < 0)
		return -1;
	return info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct pid_watch *w = container_of(poll, struct pid_watch, poll);
	void (*ended)(int, void *) = w->ended;
	void *arg = w->arg;
	int wait_status = reap(w);

	uv_poll_stop(poll);
	w->ended = NULL;
	if (ended)
		ended(wait_status, arg);
	/* Freed by its owner; without one (a released watch of a child) here. */
	if (!ended)
		uv_close((uv_handle_t *)poll, on_watch_closed);
}

struct pid_watch *pid_watch_new(uv_loop_t *loop, int take_pidfd, bool is_child, void (*ended)(int, void *),
				void *arg)
{
	struct pid_watch *w = xcalloc(1, sizeof(*w));

	w->pidfd = take_pidfd;
	w->is_child = is_child;
	w->ended = ended;
	w->arg = arg;
	if (take_pidfd < 0 || uv_poll_init(loop, &w->poll, take_pidfd) < 0) {
		if (take_pidfd >= 0)
			close(take_pidfd);
		free(w);
		return NULL;
	}
	uv_poll_start(&w->poll, UV_READABLE, on_pidfd);
	return w;
}

void pid_watch_free(struct pid_watch *w)
{
	if (!w)
		return;
	bug_if(uv_is_closing((uv_handle_t *)&w->poll)); /* freed twice */
	/* A child that still runs must be reaped one day: let the watch live on without an owner. */
	if (w->is_child && w->ended) {
		w->ended = NULL;
		uv_unref((uv_handle_t *)&w->poll);
		return;
	}
	uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}
