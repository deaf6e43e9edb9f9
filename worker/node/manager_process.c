// SPDX-License-Identifier: Apache-2.0
/* The happy path is one start, then a pidfd that says nothing for months. What can fail is the start (missing
 * program or user) and the manager itself: both are tried again after a back-off that begins anew once it was
 * up for a minute.
 *
 * A manager must not be lost: a second one would work in the same folders, and `leave` would delete them under it.
 * So it holds a lock from before it is born: we lock <state>/worker/manager.lock and hand the descriptor down, and
 * the kernel keeps the lock until the last process that has it ends. A worker that cannot take the lock looks for
 * the one that holds it, whatever its predecessor did or did not write down. One that cannot be watched (no
 * descriptor is free) is killed before it is tried again: nobody would see it end. */
#include "worker/node/manager_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/host/spawner.h"

#define SOCKET_NAME "manager.sock"
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
#define STABLE_MS 60000
#define STOP_MS 5000
#define FIND_MS 50 /* it holds the lock and is not found: between fork and exec, or about to end */
#define LOCK_FD 3  /* in the manager */

struct manager_proc {
	struct worker *w;
	bool wanted, starting, closing, timer_closed;
	int pid;
	struct pid_watch *watch;
	struct loop_timer timer;
	struct backoff backoff;
	int64_t started_ms;
	char error[256], *pidfile;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* Freed by whatever ends last: the timer, or a start that is under way. */
static void gone(struct manager_proc *m)
{
	bug_if(!m->closing);
	if (m->timer_closed && !m->starting)
		free(m);
}

static void start(struct manager_proc *m);
static void stop(struct manager_proc *m);

static void pidfile_write(struct manager_proc *m)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %" PRIu64 "\n", m->pid, pid_start_time(m->pid));
	struct err e = {0};

	if (fs_write(m->pidfile, text, (size_t)n, 0644, &e) < 0)
		log_warn("manager: %s", e.msg);
}

static char *lock_path(const struct manager_proc *m)
{
	return xasprintf("%s/manager.lock", m->w->dir);
}

/* A locked descriptor to be handed down, or -errno; -EWOULDBLOCK: a manager lives. */
static int lock_take(const struct manager_proc *m)
{
	cleanup_free char *path = lock_path(m);
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int taken = fd;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	fd = -1;
	return taken;
}

/* Or it cannot be told (no descriptor is free). Where its folder is missing nobody can hold it. */
static bool lock_is_held(const struct manager_proc *m)
{
	int fd = lock_take(m);

	if (fd >= 0)
		close(fd);
	return fd < 0 && fd != -ENOENT;
}

static void stopped(struct manager_proc *m)
{
	void (*done)(void *) = m->stopped;

	m->stopped = NULL;
	loop_timer_stop(&m->timer);
	fs_unlink(m->pidfile, NULL);
	if (done)
		done(m->stopped_arg);
}

static void retry(struct manager_proc *m)
{
	uint64_t wait;

	if (clock_mono_ms(&clock_real) - m->started_ms > STABLE_MS)
		backoff_reset(&m->backoff);
	wait = backoff_next(&m->backoff);
	log_warn("manager: %s, started again in %" PRIu64 " ms", m->error, wait);
	loop_timer_set(&m->timer, wait);
}

static void on_ended(int wait_status, void *arg)
{
	struct manager_proc *m = arg;

	pid_watch_free(m->watch);
	m->watch = NULL;
	m->pid = 0;
	if (wait_status >= 0 && WIFSIGNALED(wait_status))
		snprintf(m->error, sizeof(m->error), "ended by signal %d", WTERMSIG(wait_status));
	else if (wait_status >= 0)
		snprintf(m->error, sizeof(m->error), "ended with exit %d", WEXITSTATUS(wait_status));
	else
		snprintf(m->error, sizeof(m->error), "ended");
	if (!m->wanted)
		stopped(m);
	else
		retry(m);
}

/* Takes pidfd. False: it cannot be watched, and nothing has changed. */
static bool watch(struct manager_proc *m, int pid, int pidfd, bool is_child)
{
	cleanup_free char *cgroup = cgroup_path_new(m->w->state.node_id, "manager");
	struct err e = {0};

	bug_if(m->watch || m->pid != 0 || pid <= 0);
	m->watch = pid_watch_new(m->w->loop, pidfd, is_child, on_ended, m);
	if (!m->watch)
		return false;
	m->pid = pid;
	m->started_ms = clock_mono_ms(&clock_real);
	m->error[0] = '\0';
	if (is_child && *m->w->state.node_id && cgroup_enter(cgroup, pid, &e) < 0)
		log_warn("manager: %s", e.msg);
	return true;
}

/* A start has come to nothing. */
static void not_started(struct manager_proc *m, const char *why)
{
	bug_if(!m->starting || m->pid != 0);
	m->starting = false;
	if (m->closing) {
		gone(m);
		return;
	}
	snprintf(m->error, sizeof(m->error), "%s", why);
	if (m->wanted)
		retry(m);
	else
		stopped(m);
}

/* ---- one that cannot be watched ---- */

struct unwatched {
	struct manager_proc *m;
	pid_t pid;
};

/* It is our child and was waited for by nobody, so the number is its own. */
static void unwatched_work(void *arg)
{
	struct unwatched *u = arg;

	kill(u->pid, SIGKILL);
	while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void unwatched_back(void *arg)
{
	struct unwatched *u = arg;

	not_started(u->m, "it was started and could not be watched (no descriptor is free?)");
	free(u);
}

static void on_spawned(pid_t pid, int pidfd, const struct err *e, void *arg)
{
	struct manager_proc *m = arg;
	struct unwatched *u;

	bug_if(!m->starting);
	if (e->code != 0) {
		not_started(m, e->msg);
		return;
	}
	if (m->closing) { /* it goes on: the next worker finds it */
		if (pidfd >= 0)
			close(pidfd);
		not_started(m, "");
		return;
	}
	if (!watch(m, pid, pidfd, true)) {
		u = xcalloc(1, sizeof(*u));
		*u = (struct unwatched){m, pid};
		loop_work(m->w->loop, unwatched_work, unwatched_back, u);
		return;
	}
	m->starting = false;
	pidfile_write(m);
	log_info("manager started pid=%d", pid);
	if (!m->wanted)
		pid_signal(m->watch->pidfd, SIGTERM);
}

/* What a start needs of the host: accounts (NSS may ask a server), folders. */
struct preparation {
	struct manager_proc *m;
	char *run_dir, *state, *run, *exe; /* the worker's run folder; the manager's two; the program */
	bool has_group;
	struct err err;
};

static int folders(const struct preparation *p, const struct passwd *pw, struct err *e)
{
	const char *const dirs[] = {p->state, p->run};
	cleanup_free char *sock = xasprintf("%s/" SOCKET_NAME, p->run_dir);

	for (size_t i = 0; i < array_size(dirs); i++) {
		if (fs_mkdir(dirs[i], i ? 0755 : 0700, e) < 0)
			return e->code;
		if (lchown(dirs[i], pw->pw_uid, pw->pw_gid) < 0)
			return err_errno(e, errno, "own %s", dirs[i]);
	}
	/* Where everybody looks for its socket only root writes: it makes the socket in its own folder. */
	if (fs_unlink(sock, e) < 0)
		return e->code;
	return symlink("manager/" SOCKET_NAME, sock) < 0 ? err_errno(e, errno, "link %s", sock) : 0;
}

static void prepare_work(void *arg)
{
	struct preparation *p = arg;
	const struct passwd *pw;

	p->has_group = getgrnam("gswarm");
	pw = getpwnam("_gswarm");
	if (!pw)
		err_set(&p->err, E_NOT_FOUND,
			"user _gswarm does not exist (install the package, or testbed/packages)");
	else
		folders(p, pw, &p->err);
	if (p->err.code == 0 && access(p->exe, X_OK) < 0)
		err_errno(&p->err, errno, "%s", p->exe);
}

static void spawn(struct manager_proc *m, const struct preparation *p, int take_lock)
{
	/* setpriv(1) of util-linux drops to the user and execs, so the pid is the manager's. Group gswarm
	 * lets it give its socket to that group. */
	const char *argv[] = {"/usr/bin/setpriv",
			      "--reuid=_gswarm",
			      "--regid=_gswarm",
			      p->has_group ? "--groups=gswarm" : "--clear-groups",
			      "--no-new-privs",
			      "--inh-caps=-all",
			      "--bounding-set=-all",
			      p->exe,
			      "--state-dir",
			      p->state,
			      "--run-dir",
			      p->run,
			      "--log-level",
			      m->w->log_level,
			      m->w->state.has_manager ? "--has-cluster" : NULL,
			      NULL};
	const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MALLOC_ARENA_MAX=1", NULL};
	struct spawn_spec spec = {.argv = argv, .env = env, .done = on_spawned, .arg = m};

	spec.fds[0] = -1;
	spec.fds[1] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	spec.fds[2] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	spec.fds[LOCK_FD] = take_lock;
	spawner_run(m->w->spawner, &spec);
}

static void prepared(struct manager_proc *m, const struct preparation *p)
{
	int lock;

	if (!m->wanted) {
		m->starting = false;
		stopped(m);
	} else if (p->err.code != 0) {
		m->starting = false;
		snprintf(m->error, sizeof(m->error), "%s", p->err.msg);
		retry(m);
	} else if ((lock = lock_take(m)) < 0) {
		m->starting = false;
		snprintf(m->error, sizeof(m->error), "another one holds %s/manager.lock: %s", m->w->dir,
			 strerror(-lock));
		loop_timer_set(&m->timer, FIND_MS);
	} else {
		spawn(m, p, lock);
	}
}

static void prepare_back(void *arg)
{
	struct preparation *p = arg;
	struct manager_proc *m = p->m;

	bug_if(!m->starting || m->pid != 0);
	if (m->closing) {
		m->starting = false;
		gone(m);
	} else {
		prepared(m, p);
	}
	free(p->run_dir);
	free(p->state);
	free(p->run);
	free(p->exe);
	free(p);
}

static void start(struct manager_proc *m)
{
	struct preparation *p = xcalloc(1, sizeof(*p));

	bug_if(m->starting || m->pid != 0);
	p->m = m;
	p->run_dir = xstrdup(m->w->run_dir);
	p->state = xasprintf("%s/manager", m->w->state_dir);
	p->run = xasprintf("%s/manager", p->run_dir);
	p->exe = xasprintf("%s/gswarm-manager", m->w->exe_dir);
	m->starting = true;
	loop_work(m->w->loop, prepare_work, prepare_back, p);
}

/* 0: the file is not there or names another process by now. */
static int pid_from_file(struct manager_proc *m)
{
	cleanup_free char *text = NULL;
	uint64_t start_time = 0;
	int pid = 0;

	if (fs_read(m->pidfile, 128, &text, NULL, NULL) < 0 ||
	    sscanf(text, "%d %" SCNu64, &pid, &start_time) != 2)
		return 0;
	return start_time != 0 && pid_start_time(pid) == start_time ? pid : 0;
}

static bool has_open(const char *pid, const struct stat *want)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.16s/fd/%d", pid, LOCK_FD);
	return stat(path, &st) == 0 && st.st_dev == want->st_dev && st.st_ino == want->st_ino;
}

/* The one that was given the lock's descriptor: a worker that was killed right after the start has left no pid
 * file, and the socket may be gone. */
static int pid_from_lock(struct manager_proc *m)
{
	cleanup_free char *path = lock_path(m);
	struct dirent *entry;
	struct stat want;
	DIR *d;
	int pid = 0;

	if (!lock_is_held(m) || stat(path, &want) < 0 || !(d = opendir("/proc")))
		return 0;
	while (pid == 0 && (entry = readdir(d)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && has_open(entry->d_name, &want))
			pid = atoi(entry->d_name);
	closedir(d);
	return pid;
}

/* Who listens on the manager's socket: one that was started without a lock. The folder is its own, so the name
 * may lead to anybody's socket: another user's process is not taken for it. */
static int pid_from_socket(struct manager_proc *m)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct passwd *pw = getpwnam("_gswarm");
	struct ucred cred;
	socklen_t n = sizeof(cred);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/" SOCKET_NAME, m->w->run_dir);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0 || !pw || cred.uid != pw->pw_uid)
		return 0;
	return cred.pid;
}

bool manager_proc_adopt(struct manager_proc *m)
{
	int pid;

	if (m->pid != 0 || m->starting)
		return true;
	pid = pid_from_file(m);
	if (pid == 0)
		pid = pid_from_lock(m);
	if (pid == 0)
		pid = pid_from_socket(m);
	if (pid == 0)
		return false;
	if (!watch(m, pid, pid_open(pid), false))
		return false;
	pidfile_write(m);
	log_info("manager adopted pid=%d", pid);
	return true;
}

void manager_proc_want(struct manager_proc *m)
{
	if (m->wanted)
		return;
	m->wanted = true;
	if (m->pid == 0 && !m->starting && !manager_proc_adopt(m))
		start(m);
}

static void on_timer(void *arg)
{
	struct manager_proc *m = arg;

	if (m->wanted && m->pid == 0 && !manager_proc_adopt(m))
		start(m);
	else if (!m->wanted && m->watch)
		pid_signal(m->watch->pidfd, SIGKILL);
	else if (!m->wanted && !m->starting)
		stop(m); /* it was not to be found then */
}

static void stop(struct manager_proc *m)
{
	manager_proc_adopt(m);
	bug_if((m->pid != 0) != (!!m->watch));
	if (m->watch)
		pid_signal(m->watch->pidfd, SIGTERM);
	if (m->watch || m->starting)
		loop_timer_set(&m->timer, STOP_MS);
	else if (lock_is_held(m))
		loop_timer_set(&m->timer, FIND_MS);
	else
		stopped(m);
}

void manager_proc_restart(struct manager_proc *m)
{
	if (m->watch)
		pid_signal(m->watch->pidfd, SIGTERM);
}

void manager_proc_stop(struct manager_proc *m, void (*done)(void *arg), void *arg)
{
	m->wanted = false;
	m->stopped = done;
	m->stopped_arg = arg;
	stop(m);
}

struct manager_proc *manager_proc_new(struct worker *w)
{
	struct manager_proc *m = xcalloc(1, sizeof(*m));

	m->w = w;
	m->backoff = (struct backoff)BACKOFF(BACKOFF_FIRST_MS, BACKOFF_LAST_MS);
	m->pidfile = xasprintf("%s/manager.pid", w->run_dir);
	loop_timer_init(&m->timer, w->loop, on_timer, m);
	return m;
}

int manager_proc_pid(const struct manager_proc *m)
{
	return m->pid;
}

const char *manager_proc_error(const struct manager_proc *m)
{
	return m->error;
}

static void on_timer_closed(void *arg)
{
	struct manager_proc *m = arg;

	m->timer_closed = true;
	gone(m);
}

void manager_proc_free(struct manager_proc *m)
{
	m->closing = true;
	free(m->pidfile);
	m->pidfile = NULL;
	pid_watch_free(m->watch);
	m->watch = NULL;
	loop_timer_close(&m->timer, on_timer_closed);
}
