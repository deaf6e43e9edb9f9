// SPDX-License-Identifier: Apache-2.0
/* What a driver may ask of its task and tell it (worker/task/driver.h). The happy path is a field stored and the
 * machine moved; an answer for an older attempt is dropped. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/task/impl.h"

const Gs__Task *task_row(const struct task *t)
{
	return t->row;
}

uint32_t task_attempt(const struct task *t)
{
	return t->at.number;
}

uv_loop_t *task_loop(const struct task *t)
{
	return t->w->loop;
}

const char *task_volume_path(const struct task *t, const char *target)
{
	for (size_t i = 0; t->bundle && i < t->bundle->n_volumes; i++)
		if (strcmp(t->bundle->volumes[i].target, target) == 0)
			return t->bundle->volumes[i].path;
	return NULL;
}

const char *task_run_dir(const struct task *t)
{
	struct task *mutable_t = (struct task *)t;

	if (!mutable_t->task_run)
		mutable_t->task_run = xasprintf("%s/run", t->run_dir);
	return t->task_run;
}

uid_t task_uid(const struct task *t)
{
	return t->bundle ? t->bundle->user.uid : 65534;
}

gid_t task_gid(const struct task *t)
{
	return t->bundle ? t->bundle->user.gid : 65534;
}

const char *task_log_path(const struct task *t)
{
	return t->log_path;
}

const Gs__Secret *task_secret(const struct task *t, const char *name)
{
	for (size_t i = 0; i < t->row->n_secrets; i++) {
		if (strcmp(t->row->secrets[i]->name, name) != 0)
			continue;
		for (const struct task_secret *s = t->all->secrets; s; s = s->next)
			if (strcmp(s->row->meta->id, t->row->secrets[i]->secret_id) == 0)
				return s->row;
	}
	return NULL;
}

const char *task_blob_dir(const struct task *t)
{
	return t->w->blob_dir;
}

const char *task_exe_dir(const struct task *t)
{
	return t->w->exe_dir;
}

struct tls_identity *task_identity(const struct task *t)
{
	return t->w->identity;
}

struct peer *task_peer(const struct task *t)
{
	return t->all->above.peer;
}

/* ---- answers ---- */

/* An answer of the attempt under way, and to the step it is in: any other is dropped. */
static bool is_awaited(const struct task *t, uint32_t attempt, uint64_t steps)
{
	bug_if_off_loop();
	bug_if(t->magic != TASK_MAGIC || !t->driver);
	return attempt == t->at.number && task_in(t, steps);
}

static void answer(struct task *t, enum task_answer a)
{
	t->at.answer = a;
	task_move(t);
}

void task_held(struct task *t, uint32_t attempt, const Gs__GaleraEvidence *evidence)
{
	if (!is_awaited(t, attempt, SM(STEP_HOLDING)))
		return;
	obj_set(&t->status->evidence, evidence);
	if (t->status->evidence)
		t->status->evidence->attempt = attempt;
	task_report(t, TASK_HELD, "waits for a start permit");
	answer(t, ANSWER_HELD);
}

void task_start(struct task *t, uint32_t attempt, const char *const *argv)
{
	size_t n = 0;

	if (!is_awaited(t, attempt, SM(STEP_PERMITTED)))
		return;
	bug_if(t->at.argv); /* once an attempt */
	while (argv[n])
		n++;
	t->at.argv = xcalloc(n + 1, sizeof(*t->at.argv));
	for (size_t i = 0; i < n; i++)
		t->at.argv[i] = xstrdup(argv[i]);
	answer(t, ANSWER_START);
}

void task_failed(struct task *t, uint32_t attempt, const struct err *e)
{
	if (!is_awaited(t, attempt, SM(STEP_HOLDING) | SM(STEP_PERMITTED)))
		return;
	bug_if(e->code == 0);
	t->at.failed = *e;
	task_move(t);
}

void task_restart(struct task *t, uint32_t attempt, const char *why)
{
	if (!is_awaited(t, attempt, SM(STEP_RUNNING)) || t->at.process == PROCESS_EXITED)
		return;
	err_set(&t->at.withdrawn, E_UNAVAILABLE, "%s", why);
	container_signal(t->at.container, SIGKILL);
}

void task_explain(struct task *t, const char *why)
{
	char *text;

	bug_if_off_loop();
	bug_if(!t->driver || !*why);
	text = xasprintf("%s%s%s", t->status->err, *t->status->err ? "; " : "", why);
	str_replace(&t->status->err, text);
	free(text);
	task_touch(t);
}

void task_genesis_done(struct task *t, uint32_t attempt, const Gs__GenesisResult *r)
{
	if (!is_awaited(t, attempt, SM(STEP_PERMITTED)))
		return;
	obj_set(&t->status->genesis, r);
	task_touch(t);
	answer(t, ANSWER_HOLD_AGAIN);
}

void task_view(struct task *t, const Gs__GaleraView *view)
{
	bug_if(!t->driver);
	if (obj_equal(t->status->view, view))
		return;
	obj_set(&t->status->view, view);
	task_touch(t);
}

void task_seqno(struct task *t, int64_t last_committed)
{
	bug_if(!t->driver);
	if (t->has_seqno && t->seqno == last_committed)
		return;
	t->has_seqno = true;
	t->seqno = last_committed;
	if (t->all->above.progressed)
		t->all->above.progressed(t->all->above.arg);
}

void task_progress(struct task *t, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	bug_if_off_loop();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(t->status->progress, text) == 0)
		return;
	str_replace(&t->status->progress, text);
	task_touch(t);
}

void task_stop_within(struct task *t, uint32_t ms)
{
	bug_if(!t->driver || ms == 0);
	t->grace_max_ms = ms;
}

void task_stop_now(struct task *t)
{
	if (task_is(t, STEP_DRAINING))
		answer(t, ANSWER_DRAINED);
}

/* ---- tools ---- */

struct tool {
	struct tool *prev, *next; /* in t->tools */
	struct task *t;           /* NULL: its table was closed */
	struct capture *capture;  /* while the program runs, or is about to */
	bool given_up;            /* the task has ended */
	uv_loop_t *loop;
	struct spawner *spawner;
	char *id, *dir, *config, *base_run, *cgroup, *rootfs, *crun, *work;
	const char *lower, *upper; /* the bundle's, copied */
	struct image_id image;
	char *input;
	size_t input_len;
	uint64_t deadline_ms;
	struct err err;
	struct capture_result result; /* its texts are ours */
	void (*done)(const struct capture_result *r, void *arg);
	void *arg;
};

static void tool_free(struct tool *o)
{
	free(o->id);
	free(o->dir);
	free(o->config);
	free(o->base_run);
	free(o->cgroup);
	free(o->rootfs);
	free(o->crun);
	free(o->work);
	free((char *)o->lower);
	free((char *)o->upper);
	free(o->input);
	free((char *)o->result.out);
	free((char *)o->result.errout);
	free(o);
}

static void tool_end_work(void *arg)
{
	struct tool *o = arg;

	/* At its deadline, or when it was killed, only `crun run` ended, not what it ran. */
	if (o->result.timed_out || o->result.status < 0)
		runtime_reap(o->base_run, o->crun, o->id, o->cgroup);
	else
		runtime_clean(o->base_run, o->id, o->cgroup);
	fs_remove_all(o->dir, NULL);
}

static void tool_end_back(void *arg)
{
	struct tool *o = arg;

	struct task *t;

	bug_if_off_loop();
	take_once(o->done)(&o->result, o->arg);
	t = o->t;
	if (t)
		dl_drop(t->tools, o);
	tool_free(o);
	if (t)
		task_move(t);
}

void task_tools_end(struct task *t)
{
	struct tool *o;

	bug_if(!task_in(t, STEPS_ENDED));
	DL_FOREACH (t->tools, o) {
		o->given_up = true;
		if (o->capture)
			capture_kill(o->capture);
	}
}

void task_tools_forget(struct task *t)
{
	while (t->tools) {
		struct tool *o = t->tools;

		dl_drop(t->tools, o);
		o->t = NULL;
	}
}

/* Nothing of the tool runs any more when done is told: the next one, or the server, works on the same volume. */
static void tool_done(const struct capture_result *r, void *arg)
{
	struct tool *o = arg;

	o->capture = NULL;
	o->result = *r;
	o->result.out = xmemdup(r->out, r->out_len + 1);
	o->result.errout = xmemdup(r->errout, r->errout_len + 1);
	/* Not task_work: the task may be gone. It ended by itself, or is killed without a look at its files. */
	loop_work(o->loop, tool_end_work, tool_end_back, o);
}

static void tool_write(void *arg)
{
	struct tool *o = arg;
	cleanup_free char *path = xasprintf("%s/config.json", o->dir);

	if (o->err.code == 0 && fs_mkdir(o->dir, 0700, &o->err) == 0)
		fs_write(path, o->config, strlen(o->config), 0600, &o->err);
}

static void tool_written(void *arg)
{
	struct tool *o = arg;
	cleanup_free char *state = xasprintf("%s/crun", o->base_run);
	const char *argv[] = {o->crun, "--root", state, "run", "--bundle", o->dir, o->id, NULL};
	const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	struct capture_spec spec = {
		.spawn = {.argv = argv,
			  .env = env,
			  .lower = o->lower,
			  .upper = o->upper,
			  .work = o->work,
			  .image = o->image,
			  .mount_at = o->lower ? o->rootfs : NULL,
			  .unmount_at = o->lower ? o->rootfs : NULL},
		.input = o->input,
		.input_len = o->input_len,
		.deadline_ms = o->deadline_ms,
		.done = tool_done,
		.arg = o,
	};

	if (o->given_up)
		err_set(&o->err, E_UNAVAILABLE, "its task has ended");
	if (o->err.code != 0) {
		struct capture_result r = {.status = -1, .err = o->err, .out = "", .errout = ""};

		tool_done(&r, o);
		return;
	}
	o->capture = capture_run(o->loop, o->spawner, &spec);
}

void task_run_tool(struct task *t, const char *const *argv, const void *input, size_t input_len,
		   uint64_t deadline_ms, void (*done)(const struct capture_result *r, void *arg), void *arg)
{
	struct tool *o = xcalloc(1, sizeof(*o));
	struct oci_spec spec = {.bundle = t->bundle,
				.argv = argv,
				.env = t->row->spec->env,
				.n_env = t->row->spec->n_env,
				.hostname = *t->row->spec->hostname ? t->row->spec->hostname : t->row->name};

	bug_if(!t->bundle || !argv[0] || task_in(t, STEPS_ENDED));
	o->t = t;
	dl_add(t->tools, o);
	o->loop = t->w->loop;
	o->spawner = t->w->spawner;
	/* The process id: one of an earlier worker may still be on its way out. */
	o->id = xasprintf("%s.tool%d-%u", t->id, (int)getpid(), ++t->tool_serial);
	o->dir = xasprintf("%s/%s", t->run_dir, strrchr(o->id, '.') + 1);
	o->base_run = xstrdup(t->w->run_dir);
	o->cgroup = cgroup_path_new(t->w->state.node_id, o->id);
	o->crun = xstrdup(CRUN);
	o->lower = xstrdup(t->bundle->lower);
	o->upper = xstrdup(t->bundle->upper);
	o->work = xstrdup(t->bundle->work);
	o->image = t->bundle->image;
	o->rootfs = xstrdup(t->bundle->rootfs);
	o->input = xmemdup(input ? input : "", input_len);
	o->input_len = input_len;
	o->deadline_ms = deadline_ms;
	o->done = done;
	o->arg = arg;
	spec.cgroup_path = o->cgroup;
	task_bounds(t, &spec);
	oci_spec_format(&spec, &o->config, &o->err);
	loop_work(t->w->loop, tool_write, tool_written, o);
}
