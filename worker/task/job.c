// SPDX-License-Identifier: Apache-2.0
/* Where a task's blocking work runs. The happy path is the loop's pool. A task that has something of a file system
 * that others may serve (a bind mount, a dir image) keeps away from it: its jobs run on the risky threads, and before
 * it is prepared its paths are looked at there with a deadline. A path that does not answer is an error of that task;
 * other tasks do not notice. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/risky.h"
#include "worker/task/impl.h"

#define RISKY_THREADS 16
#define LOOK_DEADLINE_MS 10000

struct risky *task_risky_new(uv_loop_t *loop)
{
	const struct risky_threads threads = {.max = RISKY_THREADS};

	return risky_new(loop, &threads);
}

/* Lines, one a path; NULL: everything it has is ours. */
static char *foreign_paths(const Gs__TaskSpec *s)
{
	struct buf b = {0};
	char *text;

	if (strncmp(s->image, "dir:", 4) == 0)
		buf_printf(&b, "%s\n", s->image + 4);
	for (size_t i = 0; i < s->n_mounts; i++)
		if (s->mounts[i]->type == MOUNT_BIND)
			buf_printf(&b, "%s\n", s->mounts[i]->source);
	text = b.len > 0 ? xstrdup(buf_text(&b)) : NULL;
	buf_fini(&b);
	return text;
}

/* ---- jobs ---- */

struct risky_call {
	void (*work)(void *arg);
	void (*back)(void *arg);
	void *arg;
};

static void call_work(void *arg)
{
	struct risky_call *c = arg;

	c->work(c->arg);
}

/* There is no deadline, so that arg is never NULL. */
static void call_done(void *owner, void *arg)
{
	struct risky_call *c = arg;

	bug_if(!c || owner != c);
	c->back(c->arg);
	free(c);
}

void task_work(struct task *t, void (*work)(void *), void (*back)(void *), void *arg)
{
	cleanup_free char *foreign = foreign_paths(t->row->spec);
	struct risky_call *c;

	if (!foreign) {
		loop_work(t->w->loop, work, back, arg);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	*c = (struct risky_call){work, back, arg};
	risky_run(t->all->risky, &(struct risky_job){.key = t->id,
						     .work = call_work,
						     .done = call_done,
						     .drop = free,
						     .owner = c,
						     .arg = c});
}

static void job_begin(struct task *t)
{
	bug_if_off_loop();
	bug_if(t->busy || t->freed);
	t->busy = true;
	t->all->jobs++;
}

bool task_job_back(struct task *t)
{
	bug_if(!t->busy || t->all->jobs == 0);
	t->busy = false;
	t->all->jobs--;
	if (!t->freed)
		return false;
	task_free(t);
	return true;
}

void task_job_start(struct task *t, void (*work)(void *), void (*back)(void *), void *arg)
{
	job_begin(t);
	task_work(t, work, back, arg);
}

/* ---- a look at what others serve ---- */

struct look {
	char *paths;
};

static void look_free(void *arg)
{
	struct look *l = arg;

	free(l->paths);
	free(l);
}

/* What a path says is judged by the preparation. Here it only has to say something. */
static void look_work(void *arg)
{
	struct look *l = arg;
	char *state = NULL;

	for (char *path = strtok_r(l->paths, "\n", &state); path; path = strtok_r(NULL, "\n", &state)) {
		int fd = open(path, O_PATH | O_CLOEXEC);
		struct stat st;

		if (fd >= 0) {
			fstatat(fd, "", &st, AT_EMPTY_PATH);
			close(fd);
		}
	}
}

struct waiter {
	struct task *t;
	char *paths;
	void (*answer)(struct task *t, const struct err *e);
};

static void look_done(void *owner, void *arg)
{
	struct waiter *w = owner;
	struct task *t = w->t;
	void (*answer)(struct task *, const struct err *) = w->answer;
	struct err e = {0};

	if (!arg) {
		w->paths[strcspn(w->paths, "\n")] = '\0';
		err_set(&e, E_DEADLINE,
			"%s (or what is mounted beside it) does not answer in %d s: is its file "
			"system served?",
			w->paths, LOOK_DEADLINE_MS / 1000);
	} else {
		look_free(arg);
	}
	free(w->paths);
	free(w);
	if (!task_job_back(t))
		answer(t, &e);
}

bool task_look_start(struct task *t, void (*answer)(struct task *t, const struct err *e))
{
	char *paths = foreign_paths(t->row->spec);
	struct waiter *w;
	struct look *l;

	bug_if(t->busy);
	if (!paths)
		return false;
	w = xcalloc(1, sizeof(*w));
	l = xcalloc(1, sizeof(*l));
	*w = (struct waiter){t, paths, answer};
	l->paths = xstrdup(paths);
	job_begin(t);
	risky_run(t->all->risky, &(struct risky_job){.key = paths,
						     .deadline_ms = LOOK_DEADLINE_MS,
						     .work = look_work,
						     .done = look_done,
						     .drop = look_free,
						     .owner = w,
						     .arg = l});
	return true;
}
