// SPDX-License-Identifier: Apache-2.0
/* The happy path is conmon started by the spawner, one JSON line {"data": PID} on its sync pipe, one byte
 * into crun's exec fifo (what `crun start` does, without a process), and much later a file in the exit
 * folder. What can fail: the start of conmon, crun's refusal (its text comes over the sync pipe), a conmon
 * that dies (the task's exit is then unknown), and a create that takes longer than half a minute. */
#include "worker/runtime/container.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/gap.h"
#include "base/loop.h"
#include "base/mem.h"

#define CREATE_DEADLINE_MS 30000
#define MONITOR_DEADLINE_MS 10000
#define LOOK_MS 50               /* between two looks at what cannot be waited for */
#define LOG_BYTES_MAX "67108864" /* rotation is at 10 MiB; conmon starts over here if that is too slow */
#define SYNC_MAX 65536
#define STATUS_MAX (256 << 10)

struct runtime {
	uv_loop_t *loop;
	char *run_dir, *exits, *state, *crun, *conmon;
	struct spawner *spawner;
	uv_poll_t inotify;
	int inotify_fd;
	int64_t create_ms, monitor_ms;
	struct container *list;
};

#define CONTAINER_MAGIC MAGIC('c', 'o', 'n', 't')

struct container {
	uint32_t magic;
	struct container *prev, *next;
	struct runtime *r;
	char *id, *bundle_dir, *rootfs, *lower; /* lower: NULL, or the image mounted on rootfs */
	const struct container_ops *ops;
	void *arg;
	uv_poll_t sync;
	int sync_fd;
	struct buf line;
	struct loop_timer timer; /* create's deadline; then the wait for the exit file; adoption's answer */
	struct pid_watch *watch;
	int pid;
	uint64_t start;        /* of that process; 0: not known */
	int64_t wait_until_ms; /* of the wait under way, 0: none */
	bool sync_open, adopting, process_gone, dead, spawning;
	unsigned handles;
	void (*timer_does)(struct container *c);
};

static void container_gone(struct container *c)
{
	bug_if(c->handles == 0);
	if (--c->handles > 0)
		return;
	buf_fini(&c->line);
	magic_end(c);
	free(c->id);
	free(c->bundle_dir);
	free(c->rootfs);
	free(c->lower);
	free(c);
}

static char *exit_path(const struct container *c)
{
	return xasprintf("%s/%s", c->r->exits, c->id);
}

static void on_sync_closed(uv_handle_t *h)
{
	struct container *c = h->data;

	close(c->sync_fd);
	container_gone(c);
}

static void sync_close(struct container *c)
{
	if (!c->sync_open)
		return;
	c->sync_open = false;
	uv_close((uv_handle_t *)&c->sync, on_sync_closed);
}

/* ---- the end ---- */

static void look_again(struct container *c, void (*look)(struct container *c))
{
	c->timer_does = look;
	loop_timer_set(&c->timer, LOOK_MS);
}

/* True once the wait that began with the first call after wait_begin has lasted for ms. */
static bool waited(struct container *c, int64_t ms)
{
	int64_t now = clock_mono_ms(&clock_real);

	if (c->wait_until_ms == 0)
		c->wait_until_ms = now + ms;
	return now >= c->wait_until_ms;
}

static void tell_exit(struct container *c, const struct container_exit *x)
{
	const struct container_ops *ops = c->ops;

	c->process_gone = true;
	c->pid = 0;
	loop_timer_stop(&c->timer);
	c->ops = NULL;
	if (ops)
		ops->exited(x, c->arg);
}

/* 1: it was there and is told. 0: there is none. -errno: it cannot be read now. */
static int exit_read(struct container *c)
{
	cleanup_free char *path = exit_path(c);
	cleanup_free char *oom = xasprintf("%s/oom", c->bundle_dir);
	cleanup_free char *text = NULL;
	struct container_exit x = {.known = true};
	struct err e = {0};

	if (fs_read(path, 64, &text, NULL, &e) < 0)
		return e.code == -ENOENT ? 0 : e.code;
	x.code = atoi(text);
	x.oom = fs_exists(oom);
	tell_exit(c, &x);
	return 1;
}

/* Its pidfd has said so, or nobody has its number any more, or somebody who began later has it: conmon may have
 * reaped it before it hung. */
static bool process_is_gone(const struct container *c)
{
	uint64_t now;
	int rc;

	if (c->process_gone)
		return true;
	rc = pid_start_read(c->pid, &now);
	return rc == -ESRCH || (rc == 0 && c->start && now != c->start);
}

/* The process is gone. conmon writes the exit file within milliseconds; if conmon is gone too, nobody will. One that
 * hangs is ended, or the task would never be tried again; what the kernel does not let end (a dead disk) is not
 * waited for twice as long. That a file or a process cannot be looked at (EMFILE) says nothing about it: never an
 * exit. */
static void exit_wait(struct container *c)
{
	struct container_exit x = {.known = false, .code = -1};
	int seen = exit_read(c);
	pid_t monitor;

	if (seen > 0 || !c->ops)
		return;
	monitor = runtime_monitor(c->bundle_dir, c->id);
	if (seen == 0 && monitor == 0) {
		if (exit_read(c) == 0) /* it may have written it between our two looks */
			tell_exit(c, &x);
		else if (c->ops)
			look_again(c, exit_wait);
		return;
	}
	if (waited(c, c->r->monitor_ms) && monitor > 0 && process_is_gone(c)) {
		runtime_monitor_kill(monitor, c->id);
		if (clock_mono_ms(&clock_real) > c->wait_until_ms + c->r->monitor_ms) {
			tell_exit(c, &x);
			return;
		}
	}
	look_again(c, exit_wait);
}

static void on_process_ended(int wait_status, void *arg)
{
	struct container *c = magic_of(struct container, CONTAINER_MAGIC, arg);

	c->process_gone = true;
	c->wait_until_ms = 0;
	exit_wait(c);
}

static void on_inotify(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct runtime *r = poll->data;
	char data[8192] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(r->inotify_fd, data, sizeof(data))) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct inotify_event *ev = (struct inotify_event *)(data + at);
			struct container *c = r->list;

			at += (ssize_t)(sizeof(*ev) + ev->len);
			while (c && ev->len > 0 && strcmp(c->id, ev->name) != 0)
				c = c->next;
			if (c && ev->len > 0 && c->pid != 0)
				exit_read(c);
		}
	}
}

/* ---- the start ---- */

static void fail(struct container *c, const struct err *e)
{
	const struct container_ops *ops = c->ops;

	loop_timer_stop(&c->timer);
	sync_close(c);
	c->ops = NULL;
	if (ops)
		ops->failed(e, c->arg);
}

static int fifo_release(const struct container *c, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s/exec.fifo", c->r->state, c->id);
	cleanup_close int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "start %s", path);
	unlink(path);
	if (write(fd, "0", 1) != 1)
		return err_errno(e, errno, "start %s", path);
	return 0;
}

/* What crun wrote down of the container: its first process and when that began. 0, -ENOENT (there is none) or the
 * disk's error. */
static int status_read(const struct container *c, pid_t *ret_pid, uint64_t *ret_start)
{
	cleanup_free char *path = xasprintf("%s/%s/status", c->r->state, c->id);
	cleanup_free char *text = NULL;
	struct err e = {0};
	json_t *status;

	if (fs_read(path, STATUS_MAX, &text, NULL, &e) < 0)
		return e.code;
	status = json_loads(text, 0, NULL);
	*ret_pid = (pid_t)json_integer_value(json_object_get(status, "pid"));
	*ret_start = (uint64_t)json_integer_value(json_object_get(status, "process-start-time"));
	json_decref(status);
	return *ret_pid > 0 && *ret_start > 0 ? 0 : -ENOENT;
}

static void running(struct container *c);

/* 0 and a watch; -ESRCH: it has ended; else it cannot be watched now (EMFILE). */
static int watch_start(struct container *c)
{
	pid_t pid;
	int rc = status_read(c, &pid, &c->start), fd;

	bug_if(c->watch);
	if (rc < 0)
		return rc == -ENOENT ? -ESRCH : rc;
	fd = pid_open_checked(pid, c->start);
	if (fd < 0)
		return fd;
	c->watch = pid_watch_new(c->r->loop, fd, false, on_process_ended, c);
	return c->watch ? 0 : -EMFILE;
}

static void released(struct container *c)
{
	struct err e = {0};

	if (!c->adopting && fifo_release(c, &e) < 0 && c->watch) {
		container_signal(c, SIGKILL);
		fail(c, &e);
		return;
	}
	if (c->lower && !c->adopting) {
		struct spawn_spec drop = {
			.lower = c->lower, .unmount_at = c->rootfs, .fds = {-1, -1, -1, -1}};

		spawner_run(c->r->spawner, &drop); /* the task has its own copy of the mount */
	}
	if (c->ops)
		c->ops->started(c->pid, c->arg);
	if (!c->watch && !c->process_gone && !c->dead)
		exit_wait(c); /* it ended before we could watch it */
}

/* Nothing is told before the process is watched, or known to have ended. */
static void running(struct container *c)
{
	int rc = watch_start(c);

	if (rc < 0 && rc != -ESRCH) {
		look_again(c, running);
		return;
	}
	c->wait_until_ms = 0;
	released(c);
}

/* {"data": PID} or {"data": -1, "message": "..."} */
static void sync_parse(struct container *c)
{
	json_t *line = json_loads(buf_text(&c->line), 0, NULL);
	int pid = line ? (int)json_integer_value(json_object_get(line, "data")) : -1;
	const char *message = line ? json_string_value(json_object_get(line, "message")) : NULL;
	struct err e = {0};

	loop_timer_stop(&c->timer);
	sync_close(c);
	if (pid > 0) {
		c->pid = pid;
		running(c);
	} else {
		cleanup_free char *text = xstrdup(message ? message : "conmon ended without an answer");

		text[strcspn(text, "\n")] = '\0';
		err_set(&e, -ECHILD, "%s", text);
		fail(c, &e);
	}
	json_decref(line);
}

static void on_sync(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct container *c = poll->data;
	char chunk[1024];
	ssize_t n = read(c->sync_fd, chunk, sizeof(chunk));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		buf_append(&c->line, chunk, (size_t)n);
	if (n <= 0 || chunk[n - 1] == '\n' || c->line.len > SYNC_MAX)
		sync_parse(c);
}

static void create_timed_out(struct container *c)
{
	struct err e = {0};

	err_set(&e, E_DEADLINE, "the container runtime did not answer in %" PRId64 " s",
		c->r->create_ms / 1000);
	fail(c, &e);
}

static void create_refused(struct container *c)
{
	struct err e = {0};

	err_set(&e, -EMFILE, "no descriptor is free for a pipe to the container's monitor");
	fail(c, &e);
}

static void on_timer(void *arg)
{
	struct container *c = magic_of(struct container, CONTAINER_MAGIC, arg);

	if (!c->dead)
		c->timer_does(c);
}

static void on_conmon_parent(int wait_status, void *arg)
{
	/* It only forks the monitor; the sync pipe tells the rest. */
}

static void on_spawned(pid_t pid, int pidfd, const struct err *e, void *arg)
{
	struct container *c = magic_of(struct container, CONTAINER_MAGIC, arg);

	bug_if(!c->spawning);
	c->spawning = false;
	if (e->code == 0) {
		struct pid_watch *w = pid_watch_new(c->r->loop, pidfd, true, on_conmon_parent, NULL);

		if (w)
			pid_watch_free(w); /* reaped, nobody waits */
	} else if (!c->dead) {
		fail(c, e);
	}
	container_gone(c);
}

static struct container *container_new(struct runtime *r, const struct container_spec *spec)
{
	struct container *c = xcalloc(1, sizeof(*c));

	bug_if(!spec->ops);
	magic_set(c, CONTAINER_MAGIC);
	c->r = r;
	c->id = xstrdup(spec->id);
	c->bundle_dir = xstrdup(spec->bundle_dir);
	c->rootfs = xstrdup(spec->rootfs);
	c->lower = xstrdup(spec->lower);
	c->ops = spec->ops;
	c->arg = spec->arg;
	c->handles = 1;
	loop_timer_init(&c->timer, r->loop, on_timer, c);
	c->next = r->list;
	if (c->next)
		c->next->prev = c;
	r->list = c;
	return c;
}

static void container_spawn(struct container *c, const struct container_spec *spec, int sync_fd)
{
	struct runtime *r = c->r;
	cleanup_free char *pidfile = xasprintf("%s/pidfile", spec->bundle_dir);
	cleanup_free char *conmon_pidfile = xasprintf("%s/conmon.pid", spec->bundle_dir);
	cleanup_free char *log = xasprintf("k8s-file:%s", spec->log_path);
	const char *argv[] = {r->conmon,
			      "--api-version",
			      "1",
			      "-c",
			      spec->id,
			      "-u",
			      spec->id,
			      "-n",
			      spec->id,
			      "-r",
			      r->crun,
			      "-b",
			      spec->bundle_dir,
			      "-p",
			      pidfile,
			      "-P",
			      conmon_pidfile,
			      "-l",
			      log,
			      "--log-size-max",
			      LOG_BYTES_MAX,
			      "--exit-dir",
			      r->exits,
			      "-0",
			      spec->bundle_dir,
			      "--full-attach",
			      "--runtime-arg",
			      "--root",
			      "--runtime-arg",
			      r->state,
			      "--log-level",
			      "error",
			      NULL};
	/* All that keeps conmon small. Bound now: its monitor is a fork that starts without any page of a
	 * file; the first call that libc binds late there searches the symbol tables of all its libraries,
	 * 0.4 MiB of mapped pages for one look. One arena; GLib's own allocator only keeps more pages. */
	const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
			     "_OCI_SYNCPIPE=3",
			     "LD_BIND_NOW=1",
			     "MALLOC_ARENA_MAX=1",
			     "G_SLICE=always-malloc",
			     NULL};
	struct spawn_spec spawn = {
		.lower = spec->lower,
		.upper = spec->upper,
		.work = spec->work,
		.image = spec->image,
		.mount_at = spec->lower ? spec->rootfs : NULL,
		.unmount_at = spec->lower ? spec->rootfs : NULL,
		.argv = argv,
		.env = env,
		.fds = {-1, -1, -1, sync_fd},
		.done = on_spawned,
		.arg = c,
	};

	c->spawning = true;
	c->handles++;
	spawner_run(r->spawner, &spawn);
}

/* conmon ends when nobody reads its answer, and leaves a created container behind. Open for both, the pipe
 * has a reader in conmon itself, so that a start goes on when the worker is killed. */
static int own_reader(int take_fd)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", take_fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fcntl(take_fd, F_SETFL, 0);
		return take_fd;
	}
	close(take_fd);
	return fd;
}

struct container *container_start(struct runtime *r, const struct container_spec *spec)
{
	struct container *c = container_new(r, spec);
	int pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		c->timer_does = create_refused;
		loop_timer_set(&c->timer, 0);
		return c;
	}
	pipe_fds[1] = own_reader(pipe_fds[1]);
	c->sync_fd = pipe_fds[0];
	uv_poll_init(r->loop, &c->sync, c->sync_fd);
	c->sync.data = c;
	c->sync_open = true;
	c->handles++;
	uv_poll_start(&c->sync, UV_READABLE, on_sync);
	c->timer_does = create_timed_out;
	loop_timer_set(&c->timer, (uint64_t)r->create_ms);
	container_spawn(c, spec, pipe_fds[1]);
	return c;
}

/* ---- adoption ---- */

static void adopt_unknown(struct container *c, const char *why)
{
	struct err e = {0};

	err_set(&e, E_NOT_FOUND, "%s", why);
	fail(c, &e);
}

/* No process of it is there, and no exit file. */
static void adopt_ended(struct container *c)
{
	cleanup_free char *pidfile = xasprintf("%s/pidfile", c->bundle_dir);

	c->wait_until_ms = 0;
	if (fs_exists(pidfile)) /* it ran and ended while conmon was dead, or conmon hangs */
		exit_wait(c);
	else
		adopt_unknown(c, "it was gone when the worker came back, as after a reboot");
}

static void adopt_running(struct container *c, pid_t pid)
{
	cleanup_free char *fifo = xasprintf("%s/%s/exec.fifo", c->r->state, c->id);

	/* Created and not started: its worker died in between, or had given it up (the runtime's answer came too
	 * late), and with it the word on which it was to start. */
	if (fs_exists(fifo)) {
		adopt_unknown(c, "it was created and never started");
		return;
	}
	c->pid = pid;
	c->adopting = true;
	running(c);
}

static void adopt(struct container *c)
{
	uint64_t start, now;
	pid_t pid, monitor;
	int rc = exit_read(c);

	if (rc > 0)
		return;
	if (rc == 0)
		rc = status_read(c, &pid, &start);
	if (rc == 0)
		rc = pid_start_read(pid, &now);
	if (rc == 0 && now == start) {
		adopt_running(c, pid);
		return;
	}
	monitor = runtime_monitor(c->bundle_dir, c->id);
	/* A file that cannot be read now (EMFILE) says nothing: looked at until it can be. A monitor means that it is
	 * being created, or that its end is about to be told. */
	if ((rc < 0 && rc != -ENOENT && rc != -ESRCH) || monitor < 0 ||
	    (monitor > 0 && !waited(c, c->r->create_ms)))
		look_again(c, adopt);
	else
		adopt_ended(c);
}

struct container *container_adopt(struct runtime *r, const struct container_spec *spec)
{
	struct container *c = container_new(r, spec);

	c->timer_does = adopt;
	loop_timer_set(&c->timer, 0);
	return c;
}

int container_pid(const struct container *c)
{
	return c ? c->pid : 0;
}

int64_t container_since_ms(const struct container *c)
{
	cleanup_free char *path = xasprintf("%s/pidfile", c->bundle_dir);
	struct stat st;

	return stat(path, &st) == 0 ? (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 : 0;
}

int container_signal(struct container *c, int sig)
{
	if (!c || !c->watch || c->process_gone)
		return -ESRCH;
	return pid_signal(c->watch->pidfd, sig);
}

void container_reopen_log(const struct container *c)
{
	cleanup_free char *path = xasprintf("%s/ctl", c->bundle_dir);
	cleanup_close int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && write(fd, "2 0 0\n", 6) < 0)
		return; /* conmon is gone: there is no log to open */
}

static void on_timer_closed(void *arg)
{
	container_gone(arg);
}

void container_free(struct container *c)
{
	if (!c || c->dead)
		return;
	bug_if(c->magic != CONTAINER_MAGIC);
	c->dead = true;
	c->ops = NULL;
	if (c->prev)
		c->prev->next = c->next;
	else
		c->r->list = c->next;
	if (c->next)
		c->next->prev = c->prev;
	sync_close(c);
	pid_watch_free(c->watch);
	c->watch = NULL;
	loop_timer_close(&c->timer, on_timer_closed);
}

/* ---- the runtime ---- */

int runtime_folders(struct runtime *r, struct err *e)
{
	if (fs_mkdir(r->exits, 0700, e) < 0 || fs_mkdir(r->state, 0700, e) < 0)
		return e->code;
	if (inotify_add_watch(r->inotify_fd, r->exits, IN_MOVED_TO | IN_ONLYDIR) < 0)
		return err_errno(e, errno, "watch %s", r->exits);
	return 0;
}

int runtime_new(uv_loop_t *loop, const struct runtime_config *config, struct runtime **ret, struct err *e)
{
	struct runtime *r = xcalloc(1, sizeof(*r));

	r->loop = loop;
	r->run_dir = xstrdup(config->run_dir);
	r->exits = xasprintf("%s/exits", config->run_dir);
	r->state = xasprintf("%s/crun", config->run_dir);
	r->crun = xstrdup(config->crun);
	r->conmon = xstrdup(config->conmon);
	r->spawner = config->spawner;
	r->create_ms = config->create_ms != 0 ? config->create_ms : CREATE_DEADLINE_MS;
	r->monitor_ms = config->monitor_ms != 0 ? config->monitor_ms : MONITOR_DEADLINE_MS;
	r->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (r->inotify_fd < 0)
		return err_errno(e, errno, "inotify");
	if (runtime_folders(r, e) < 0)
		return e->code;
	uv_poll_init(loop, &r->inotify, r->inotify_fd);
	r->inotify.data = r;
	uv_poll_start(&r->inotify, UV_READABLE, on_inotify);
	uv_unref((uv_handle_t *)&r->inotify);
	*ret = r;
	return 0;
}

static void on_inotify_closed(uv_handle_t *h)
{
	struct runtime *r = h->data;

	close(r->inotify_fd);
	free(r->run_dir);
	free(r->exits);
	free(r->state);
	free(r->crun);
	free(r->conmon);
	free(r);
}

void runtime_free(struct runtime *r)
{
	if (!r)
		return;
	uv_close((uv_handle_t *)&r->inotify, on_inotify_closed);
}
