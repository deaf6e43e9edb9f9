// SPDX-License-Identifier: Apache-2.0
/* The happy path is: three pipes, the spawner starts the program, output is kept (its last bytes), the pidfd
 * tells the end, and when both output pipes are at their end too, done fires. What can fail is the start and
 * the deadline; a grandchild that keeps the pipes open cannot hold the result back for more than half a
 * second. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/gap.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/host/spawner.h"

struct stream {
	uv_pipe_t pipe;
	struct capture *owner;
	struct buf buf;
	bool open;
	char chunk[4096];
};

struct capture {
	uv_loop_t *loop;
	struct stream out, errout;
	uv_pipe_t in;
	uv_write_t write;
	char *input;
	struct loop_timer timer; /* the deadline, then the wait for the pipes' end */
	struct pid_watch *watch;
	size_t limit;
	bool has_pipes, ended, kill_wanted, finished; /* ended: or it could not be started */
	unsigned handles;                             /* open libuv handles */
	struct capture_result result;
	void (*done)(const struct capture_result *r, void *arg);
	void *arg;
};

static void handle_gone(struct capture *c)
{
	bug_if(c->handles == 0);
	if (--c->handles > 0)
		return;
	buf_fini(&c->out.buf);
	buf_fini(&c->errout.buf);
	free(c->input);
	free(c);
}

static void on_stream_closed(uv_handle_t *h)
{
	handle_gone(h->data);
}

static void on_timer_closed(void *arg)
{
	handle_gone(arg);
}

static void capture_finish(struct capture *c)
{
	if (c->finished)
		return;
	c->finished = true;
	c->result.out = buf_text(&c->out.buf);
	c->result.out_len = c->out.buf.len;
	c->result.errout = buf_text(&c->errout.buf);
	c->result.errout_len = c->errout.buf.len;
	take_once(c->done)(&c->result, c->arg);
	pid_watch_free(c->watch);
	if (c->has_pipes) {
		uv_close((uv_handle_t *)&c->out.pipe, on_stream_closed);
		uv_close((uv_handle_t *)&c->errout.pipe, on_stream_closed);
		if (!uv_is_closing((uv_handle_t *)&c->in))
			uv_close((uv_handle_t *)&c->in, on_stream_closed);
	}
	loop_timer_close(&c->timer, on_timer_closed);
}

static void capture_check(struct capture *c)
{
	if (c->ended && !c->out.open && !c->errout.open)
		capture_finish(c);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
	struct stream *s = container_of(h, struct stream, pipe);

	*buf = uv_buf_init(s->chunk, sizeof(s->chunk));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
	LOOP_SCOPE();
	struct stream *s = container_of(h, struct stream, pipe);
	struct capture *c = s->owner;

	if (n < 0) {
		s->open = false;
		uv_read_stop(h);
		capture_check(c);
		return;
	}
	buf_append(&s->buf, buf->base, (size_t)n);
	if (s->buf.len > c->limit)
		buf_consume(&s->buf, s->buf.len - c->limit);
}

static void on_ended(int wait_status, void *arg)
{
	struct capture *c = arg;

	c->ended = true;
	c->result.status = wait_status >= 0 && WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
	c->result.signal = wait_status >= 0 && WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
	loop_timer_set(&c->timer, 500);
	capture_check(c);
}

static void on_deadline(void *arg)
{
	struct capture *c = arg;

	if (c->ended) {
		capture_finish(c);
		return;
	}
	c->result.timed_out = true;
	capture_kill(c);
}

static void on_started(pid_t pid, int pidfd, const struct err *e, void *arg)
{
	struct capture *c = arg;

	if (e->code == 0)
		c->watch = pid_watch_new(c->loop, pidfd, true, on_ended, c);
	if (!c->watch) {
		c->result.err = *e;
		c->result.status = -1;
		if (e->code == 0)
			err_set(&c->result.err, -ESRCH, "cannot watch process %d", (int)pid);
		capture_finish(c);
		return;
	}
	if (c->kill_wanted)
		capture_kill(c);
}

static void on_written(uv_write_t *req, int status)
{
	LOOP_SCOPE();
	struct capture *c = req->data;

	if (!uv_is_closing((uv_handle_t *)&c->in))
		uv_close((uv_handle_t *)&c->in, on_stream_closed);
}

static void stream_open(struct capture *c, struct stream *s, int fd)
{
	s->owner = c;
	s->open = true;
	s->pipe.data = c;
	uv_pipe_init(c->loop, &s->pipe, 0);
	uv_pipe_open(&s->pipe, fd);
	uv_read_start((uv_stream_t *)&s->pipe, on_alloc, on_read);
	c->handles++;
}

static void input_open(struct capture *c, int fd, const struct capture_spec *spec)
{
	uv_buf_t buf;

	uv_pipe_init(c->loop, &c->in, 0);
	c->in.data = c;
	c->handles++;
	uv_pipe_open(&c->in, fd);
	c->input = xmemdup(spec->input ? spec->input : "", spec->input_len);
	buf = uv_buf_init(c->input, (unsigned)spec->input_len);
	c->write.data = c;
	uv_write(&c->write, (uv_stream_t *)&c->in, &buf, 1, on_written);
}

static int pipes_open(int in[2], int out[2], int errout[2])
{
	int *const all[] = {in, out, errout};

	for (size_t i = 0; i < array_size(all); i++) {
		int saved;

		if (pipe2(all[i], O_CLOEXEC) == 0)
			continue;
		saved = errno;
		while (i-- > 0) {
			close(all[i][0]);
			close(all[i][1]);
		}
		return -saved;
	}
	return 0;
}

struct capture *capture_run(uv_loop_t *loop, struct spawner *s, const struct capture_spec *spec)
{
	struct capture *c = xcalloc(1, sizeof(*c));
	struct spawn_spec spawn = spec->spawn;
	int in[2], out[2], errout[2], rc;

	c->loop = loop;
	bug_if(!spec->done);
	bug_if(!spec->input && spec->input_len);
	c->limit = spec->output_limit != 0 ? spec->output_limit : 64 << 10;
	c->done = spec->done;
	c->arg = spec->arg;
	c->handles = 1;
	loop_timer_init(&c->timer, loop, on_deadline, c);
	rc = pipes_open(in, out, errout);
	if (rc < 0) { /* out of descriptors: told from the loop, as any end */
		err_errno(&c->result.err, -rc, "pipes to %s", spec->spawn.argv[0]);
		c->result.status = -1;
		c->ended = true;
		loop_timer_set(&c->timer, 0);
		return c;
	}
	c->has_pipes = true;
	stream_open(c, &c->out, out[0]);
	stream_open(c, &c->errout, errout[0]);
	input_open(c, in[1], spec);
	spawn.fds[0] = in[0];
	spawn.fds[1] = out[1];
	spawn.fds[2] = errout[1];
	spawn.fds[3] = -1;
	spawn.done = on_started;
	spawn.arg = c;
	if (spec->deadline_ms != 0)
		loop_timer_set(&c->timer, spec->deadline_ms);
	spawner_run(s, &spawn);
	return c;
}

void capture_kill(struct capture *c)
{
	c->kill_wanted = true;
	if (c->watch && !c->ended)
		pid_signal(c->watch->pidfd, SIGKILL);
}
