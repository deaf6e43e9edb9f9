// SPDX-License-Identifier: Apache-2.0
/* The happy path is fork, exec, poll the pidfd and the pipes, collect, report once.
 *
 *   proc_run --> running --pidfd readable--> drained --handles closed--> done(), freed
 *
 * What can fail: fork or a pipe (reported through done on the next turn of the loop), entering the namespace
 * or exec (the child writes {step, errno} into a close-on-exec pipe), the deadline (SIGKILL to the process
 * group). What a child wrote before it ended is in the pipes when it is reaped, so nobody waits for end of
 * file: a grandchild that keeps a pipe open holds nothing up. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/mem.h"

#define OUTPUT_DEFAULT (64u << 10)

enum { IN, OUT, ERR, PIPES };
enum step { STEP_NETNS = 1, STEP_USER, STEP_CWD, STEP_EXEC };

struct pipe_end {
	uv_poll_t poll;
	int fd;
	bool polled;
	struct buf buf; /* IN: still to be written */
};

struct proc {
	uv_loop_t *loop;
	uv_poll_t pid_poll;
	struct loop_timer timer; /* deadline; also delivers a failed start */
	struct pipe_end pipes[PIPES];
	int pidfd, status_fd;
	pid_t pid;
	size_t limit;
	unsigned open_handles;
	bool ended;
	struct proc_result result;
	char *name;
	void (*done)(const struct proc_result *r, void *arg);
	void *arg;
};

static void finish(struct proc *p)
{
	struct pipe_end *out = &p->pipes[OUT], *errout = &p->pipes[ERR];

	p->result.out = buf_text(&out->buf);
	p->result.out_len = out->buf.len;
	p->result.errout = buf_text(&errout->buf);
	p->result.errout_len = errout->buf.len;
	p->done(&p->result, p->arg);
	for (int i = 0; i < PIPES; i++)
		buf_fini(&p->pipes[i].buf);
	free(p->name);
	free(p);
}

static void handle_closed(struct proc *p)
{
	if (--p->open_handles == 0)
		finish(p);
}

static void on_poll_closed(uv_handle_t *h)
{
	handle_closed(h->data);
}

static void on_timer_gone(void *arg)
{
	handle_closed(arg);
}

static void pipe_shut(struct proc *p, struct pipe_end *e)
{
	if (e->polled) {
		e->polled = false;
		uv_poll_stop(&e->poll);
		uv_close((uv_handle_t *)&e->poll, on_poll_closed);
	}
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
	(void)p;
}

/* Keep the last `limit` bytes: an error is at the end. Returns false at end of file or error. */
static bool pipe_read(struct proc *p, struct pipe_end *e)
{
	for (;;) {
		uint8_t chunk[8192];
		ssize_t n = read(e->fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		buf_append(&e->buf, chunk, (size_t)n);
		if (e->buf.len > p->limit)
			buf_consume(&e->buf, e->buf.len - p->limit);
	}
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	struct proc *p = poll->data;
	struct pipe_end *e = container_of(poll, struct pipe_end, poll);

	(void)events;
	if (status < 0 || !pipe_read(p, e))
		pipe_shut(p, e);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
	struct proc *p = poll->data;
	struct pipe_end *e = container_of(poll, struct pipe_end, poll);
	ssize_t n;

	(void)events;
	n = status < 0 ? -1 : write(e->fd, e->buf.data, e->buf.len);
	if (n > 0)
		buf_consume(&e->buf, (size_t)n);
	if ((n < 0 && errno != EAGAIN && errno != EINTR) || e->buf.len == 0)
		pipe_shut(p, e);
}

static void end(struct proc *p)
{
	if (p->ended)
		return;
	p->ended = true;
	for (int i = OUT; i < PIPES; i++)
		if (p->pipes[i].fd >= 0)
			pipe_read(p, &p->pipes[i]);
	for (int i = 0; i < PIPES; i++)
		pipe_shut(p, &p->pipes[i]);
	if (p->status_fd >= 0)
		close(p->status_fd);
	if (p->pidfd >= 0) {
		uv_poll_stop(&p->pid_poll);
		uv_close((uv_handle_t *)&p->pid_poll, on_poll_closed);
		close(p->pidfd);
	}
	loop_timer_close(&p->timer, on_timer_gone);
}

static void read_start_error(struct proc *p)
{
	static const char *const steps[] = {
		[STEP_NETNS] = "enter the network namespace for",
		[STEP_USER] = "change the user for",
		[STEP_CWD] = "change the folder for",
		[STEP_EXEC] = "start",
	};
	int what[2];

	if (read(p->status_fd, what, sizeof(what)) == (ssize_t)sizeof(what))
		err_errno(&p->result.err, what[1], "%s %s", steps[what[0]], p->name);
}

static void on_exit_poll(uv_poll_t *poll, int status, int events)
{
	struct proc *p = poll->data;
	int ws;

	(void)status;
	(void)events;
	if (waitpid(p->pid, &ws, WNOHANG) != p->pid)
		return;
	p->pid = 0;
	p->result.status = WIFEXITED(ws) ? WEXITSTATUS(ws) : -1;
	p->result.signal = WIFSIGNALED(ws) ? WTERMSIG(ws) : 0;
	read_start_error(p);
	end(p);
}

void proc_kill(struct proc *p)
{
	if (p->pid > 0 && kill(-p->pid, SIGKILL) < 0)
		kill(p->pid, SIGKILL);
}

static void on_deadline(void *arg)
{
	struct proc *p = arg;

	if (p->pid == 0) { /* the start failed: say so from the loop */
		end(p);
		return;
	}
	p->result.timed_out = true;
	proc_kill(p);
}

static void child_fail(int fd, enum step step)
{
	int what[2] = {step, errno};

	if (write(fd, what, sizeof(what)) < 0)
		_exit(126);
	_exit(127);
}

/* Between fork and exec: async-signal-safe calls only. */
static void child_run(const struct proc_spec *spec, const int ends[PIPES], int status_fd, int netns_fd)
{
	sigset_t none;

	sigemptyset(&none);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	for (int i = 0; i < PIPES; i++)
		dup2(ends[i], i);
	syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
	if (netns_fd >= 0 && setns(netns_fd, CLONE_NEWNET) < 0)
		child_fail(status_fd, STEP_NETNS);
	if (spec->uid && (setgroups(1, &spec->gid) < 0 || setresgid(spec->gid, spec->gid, spec->gid) < 0 ||
			  setresuid(spec->uid, spec->uid, spec->uid) < 0))
		child_fail(status_fd, STEP_USER);
	if (spec->cwd && chdir(spec->cwd) < 0)
		child_fail(status_fd, STEP_CWD);
	if (spec->env)
		execvpe(spec->argv[0], (char *const *)spec->argv, (char *const *)spec->env);
	else
		execvp(spec->argv[0], (char *const *)spec->argv);
	child_fail(status_fd, STEP_EXEC);
}

/* pipes[i]: {child's end, ours}. */
static int open_pipes(const struct proc_spec *spec, int child[PIPES], int ours[PIPES], int status[2])
{
	int fds[2];

	for (int i = 0; i < PIPES; i++)
		child[i] = ours[i] = -1;
	if (pipe2(status, O_CLOEXEC) < 0)
		return -1;
	if (spec->input && spec->input_len) {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -1;
		child[IN] = fds[0];
		ours[IN] = fds[1];
	} else {
		child[IN] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (child[IN] < 0)
			return -1;
	}
	for (int i = OUT; i < PIPES; i++) {
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -1;
		ours[i] = fds[0];
		child[i] = fds[1];
	}
	for (int i = 0; i < PIPES; i++)
		if (ours[i] >= 0)
			fcntl(ours[i], F_SETFL, O_NONBLOCK);
	return 0;
}

static void watch(struct proc *p, uv_poll_t *poll, int fd, int events, uv_poll_cb cb)
{
	uv_poll_init(p->loop, poll, fd);
	poll->data = p;
	uv_poll_start(poll, events, cb);
	p->open_handles++;
}

static int spawn(struct proc *p, const struct proc_spec *spec, int child[PIPES], int status[2])
{
	cleanup_close int netns_fd = -1;

	if (spec->netns) {
		netns_fd = open(spec->netns, O_RDONLY | O_CLOEXEC);
		if (netns_fd < 0)
			return err_errno(&p->result.err, errno, "open namespace %s", spec->netns);
	}
	p->pid = fork();
	if (p->pid == 0)
		child_run(spec, child, status[1], netns_fd);
	if (p->pid < 0) {
		p->pid = 0;
		return err_errno(&p->result.err, errno, "fork for %s", p->name);
	}
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0) {
		int saved = errno;

		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		p->pid = 0;
		return err_errno(&p->result.err, saved, "watch %s", p->name);
	}
	return 0;
}

static void watch_all(struct proc *p, const struct proc_spec *spec)
{
	watch(p, &p->pid_poll, p->pidfd, UV_READABLE, on_exit_poll);
	for (int i = OUT; i < PIPES; i++) {
		watch(p, &p->pipes[i].poll, p->pipes[i].fd, UV_READABLE, on_output);
		p->pipes[i].polled = true;
	}
	if (p->pipes[IN].fd >= 0) {
		buf_append(&p->pipes[IN].buf, spec->input, spec->input_len);
		watch(p, &p->pipes[IN].poll, p->pipes[IN].fd, UV_WRITABLE, on_input);
		p->pipes[IN].polled = true;
	}
	if (spec->deadline_ms)
		loop_timer_set(&p->timer, spec->deadline_ms);
}

struct proc *proc_run(uv_loop_t *loop, const struct proc_spec *spec,
		      void (*done)(const struct proc_result *r, void *arg), void *arg)
{
	struct proc *p = xcalloc(1, sizeof(*p));
	int child[PIPES], ours[PIPES], status[2] = {-1, -1}, rc;

	p->loop = loop;
	p->done = done;
	p->arg = arg;
	p->name = xstrdup(spec->argv[0]);
	p->limit = spec->output_limit ? spec->output_limit : OUTPUT_DEFAULT;
	p->pidfd = -1;
	p->result.status = -1;
	loop_timer_init(&p->timer, loop, on_deadline, p);
	p->open_handles = 1;
	rc = open_pipes(spec, child, ours, status);
	if (rc < 0)
		rc = err_errno(&p->result.err, errno, "pipe for %s", p->name);
	for (int i = 0; i < PIPES; i++)
		p->pipes[i].fd = ours[i];
	p->status_fd = status[0];
	if (rc == 0)
		rc = spawn(p, spec, child, status);
	for (int i = 0; i < PIPES; i++)
		if (child[i] >= 0)
			close(child[i]);
	if (status[1] >= 0)
		close(status[1]);
	if (rc < 0)
		loop_timer_set(&p->timer, 0);
	else
		watch_all(p, spec);
	return p;
}
