// SPDX-License-Identifier: Apache-2.0
/* Timers and pool jobs over libuv's. Its calls fail only on a closing loop or a bad argument, which is a bug of
 * ours: asserted. */
#include "base/loop.h"

#include "base/bug.h"
#include "base/gap.h"
#include "base/mem.h"

static void on_timer(uv_timer_t *uv)
{
	struct loop_timer *t = uv->data;

	struct gap_scope scope = gap_scope_begin(t->name);

	t->fire(t->arg);
	gap_scope_end(&scope);
}

void loop_timer_init_named(struct loop_timer *t, uv_loop_t *loop, void (*fire)(void *arg), void *arg,
			   const char *name)
{
	int rc = uv_timer_init(loop, &t->uv);

	bug_if(rc != 0);
	t->uv.data = t;
	t->fire = fire;
	t->name = name;
	t->closed = NULL;
	t->arg = arg;
}

void loop_timer_every(struct loop_timer *t, uint64_t delay_ms, uint64_t period_ms)
{
	if (uv_is_closing((uv_handle_t *)&t->uv))
		return;
	/* libuv counts from the loop's cached time; a long callback would make the delay too short. */
	uv_update_time(t->uv.loop);
	uv_timer_start(&t->uv, on_timer, delay_ms, period_ms);
}

void loop_timer_set(struct loop_timer *t, uint64_t delay_ms)
{
	loop_timer_every(t, delay_ms, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
	uv_timer_stop(&t->uv);
}

static void on_timer_closed(uv_handle_t *h)
{
	struct loop_timer *t = h->data;

	if (t->closed)
		t->closed(t->arg);
}

void loop_timer_close(struct loop_timer *t, void (*closed)(void *arg))
{
	if (uv_is_closing((uv_handle_t *)&t->uv))
		return;
	t->closed = closed;
	uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}

struct work {
	uv_work_t uv;
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
	const char *name;
};

static void on_work(uv_work_t *uv)
{
	struct work *w = uv->data;

	bug_job_begin();
	w->work(w->arg);
	bug_job_end();
}

static void on_work_done(uv_work_t *uv, int status)
{
	struct work *w = uv->data;
	struct gap_scope scope = gap_scope_begin(w->name);

	w->done(w->arg);
	gap_scope_end(&scope);
	free(w);
}

void loop_work_named(uv_loop_t *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg,
		     const char *name)
{
	struct work *w = xcalloc(1, sizeof(*w));
	int rc;

	w->uv.data = w;
	w->work = work;
	w->done = done;
	w->name = name;
	w->arg = arg;
	rc = uv_queue_work(loop, &w->uv, on_work, on_work_done);
	bug_if(rc != 0);
}
