// SPDX-License-Identifier: Apache-2.0
/* What an earlier worker left: the notes on disk become tasks again before any manager was heard, and containers that
 * belong to none of them are ended.
 *
 * The happy path is one pass over two folders. What can fail:
 * - a note that was read and makes no sense is damage: its folder goes, and so does its container. Until it has ended
 *   nobody can say which volume it holds, and no task that has one starts;
 * - a note that cannot be read now (EIO, EMFILE) says nothing: folder and container stay as they are, the log says
 *   so, and it is read again, by a job on the pool, until it can be read. Until then an assignment of that task is
 *   kept, and no other task starts that might share a volume with it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/task/impl.h"
#include "worker/task/intent.h"

#define READ_FIRST_MS 1000
#define READ_LAST_MS 30000

struct task_unread {
	struct task_unread *prev, *next;
	char *id;
	Gs__Task *row;         /* the assignment that came meanwhile, or NULL */
	bool marked, unwanted; /* unwanted: a complete set came without it, or it was taken back */
};

/* ---- folders and containers of nobody ---- */

struct drop {
	char *path;
};

static void drop_work(void *arg)
{
	fs_remove_all(((struct drop *)arg)->path, NULL);
}

static void drop_back(void *arg)
{
	free(((struct drop *)arg)->path);
	free(arg);
}

/* Takes path. */
static void drop_start(struct tasks *ts, char *take_path)
{
	struct drop *d = xcalloc(1, sizeof(*d));

	d->path = take_path;
	loop_work(ts->w->loop, drop_work, drop_back, d);
}

/* Moved away first, so that a task of the same id can have its folder at once. What a crash leaves under such a name
 * goes at the next start. */
static void folder_drop(struct tasks *ts, const char *id)
{
	cleanup_free char *from = xasprintf("%s/tasks/%s", ts->w->dir, id);
	char *to = xasprintf("%s/tasks/.gone-%s-%u", ts->w->dir, id, ++ts->drops);

	if (rename(from, to) == 0) {
		drop_start(ts, to);
		return;
	}
	log_warn("task %s: its folder stays: %m", id);
	free(to);
}

void task_forget(struct task *t)
{
	if (fs_exists(t->state_dir))
		folder_drop(t->all, t->id);
}

struct reap {
	struct tasks *ts;
	char *run_dir, *id, *cgroup;
};

static void reap_work(void *arg)
{
	struct reap *r = arg;

	runtime_reap(r->run_dir, CRUN, r->id, r->cgroup);
}

static void reap_back(void *arg)
{
	struct reap *r = arg;
	struct tasks *ts = r->ts;

	free(r->run_dir);
	free(r->id);
	free(r->cgroup);
	free(r);
	bug_if(ts->reaps == 0 || ts->jobs < ts->reaps);
	ts->reaps--;
	ts->jobs--;
	if (ts->closing)
		tasks_gone(ts);
	else
		tasks_kick(ts);
}

static void reap_start(struct tasks *ts, const char *id)
{
	struct reap *r = xcalloc(1, sizeof(*r));

	log_info("adopt: container %s is not ours to run, reaped", id);
	ts->reaps++;
	ts->jobs++;
	r->ts = ts;
	r->run_dir = xstrdup(ts->w->run_dir);
	r->id = xstrdup(id);
	r->cgroup = cgroup_path_new(ts->w->state.node_id, id);
	loop_work(ts->w->loop, reap_work, reap_back, r);
}

static bool belongs_to(const char *container_id, const char *task_id)
{
	size_t len = strlen(task_id);

	return strncmp(container_id, task_id, len) == 0 && container_id[len] == '.';
}

static void visit_container(struct tasks *ts, const char *id)
{
	for (const struct task *t = ts->list; t; t = t->next)
		if (strcmp(t->at.container_id, id) == 0 && !task_is(t, STEP_CLEAN))
			return;
	for (const struct task_unread *u = ts->unread; u; u = u->next)
		if (belongs_to(id, u->id))
			return;
	reap_start(ts, id);
}

/* A folder that cannot be read is an error: "nothing is there" would end whatever runs. */
static int each_name(const char *dir, void (*visit)(struct tasks *ts, const char *name), struct tasks *ts,
		     struct err *e)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int saved;

	if (!d)
		return err_errno(e, errno, "read the folder %s", dir);
	while ((errno = 0, entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			visit(ts, entry->d_name);
	saved = errno;
	closedir(d);
	return saved != 0 ? err_errno(e, saved, "read the folder %s", dir) : 0;
}

/* ---- notes that were read ---- */

/* Takes the rows of i. Of one that has ended the clean-up may have been cut off: once more. */
static struct task *adopt(struct tasks *ts, struct intent *i)
{
	cleanup_free char *run_dir = xasprintf("%s/tasks/%s", ts->w->run_dir, i->task->meta->id);
	enum task_step step = !i->final ? STEP_FOUND : fs_exists(run_dir) ? STEP_FINAL : STEP_CLEAN;
	struct task *t;

	bug_if(i->attempt == 0 || tasks_find(ts, i->task->meta->id));
	t = task_new(ts, i->task, step);
	t->assigned = true;
	t->stop_all = ts->leaving;
	t->stop_all_grace_ms = ts->leave_grace_ms;
	attempt_fini(&t->at);
	attempt_init(t, i->attempt);
	if (i->final) {
		obj_free(t->status);
		t->status = steal(i->final);
		task_touch(t);
	}
	obj_free(i->task);
	return t;
}

static void damaged(struct tasks *ts, const char *id, const struct err *why)
{
	log_warn("adopt: %s; its folder is removed", why->msg);
	folder_drop(ts, id);
}

/* ---- notes that could not be read ---- */

static struct task_unread *unread_find(const struct tasks *ts, const char *id)
{
	struct task_unread *u;

	DL_FOREACH (ts->unread, u)
		if (strcmp(u->id, id) == 0)
			return u;
	return NULL;
}

static void unread_free(struct tasks *ts, struct task_unread *u)
{
	dl_drop(ts->unread, u);
	obj_free(u->row);
	free(u->id);
	free(u);
}

void tasks_unread_fini(struct tasks *ts)
{
	while (ts->unread)
		unread_free(ts, ts->unread);
}

static void read_later(struct tasks *ts)
{
	if (!ts->reading && ts->unread && !ts->closing)
		loop_timer_set(&ts->read_again, backoff_next(&ts->read_backoff));
}

static void unread_add(struct tasks *ts, const char *id, const struct err *why)
{
	struct task_unread *u = xcalloc(1, sizeof(*u));

	bug_if(why->code == E_CORRUPT || unread_find(ts, id));
	log_error(
		"task %s: %s; its folder and its container are left as they are, it is read again later, and "
		"no other task with a volume starts until then",
		id, why->msg);
	u->id = xstrdup(id);
	dl_add(ts->unread, u);
}

/* One job reads one task's notes, the first of the list; a note that still cannot be read goes to the end. */
struct reading {
	struct tasks *ts;
	char *id, *dir;
	struct intent intent;
	struct err err;
};

static void reading_work(void *arg)
{
	struct reading *r = arg;

	intent_load(r->dir, &r->intent, &r->err);
}

static void read_next(struct tasks *ts);

/* What the managers said meanwhile happens to it now. */
static void unread_ended(struct tasks *ts, struct task_unread *u, struct task *t)
{
	Gs__Task *row = steal(u->row);
	bool unwanted = u->unwanted;

	bug_if(t && strcmp(t->id, u->id) != 0);
	log_info("task %s: its notes are %s", u->id, t ? "read" : "damaged");
	unread_free(ts, u);
	if (row)
		tasks_assign(ts, row);
	else if (t && unwanted)
		tasks_unassign(ts, t->id);
	obj_free(row);
	tasks_kick(ts);
}

static void reading_done(struct tasks *ts, struct reading *r)
{
	struct task_unread *u = unread_find(ts, r->id);
	cleanup_free char *containers = xasprintf("%s/crun", ts->w->run_dir);
	struct err e = {0};

	bug_if(!u);
	if (r->err.code == 0) {
		unread_ended(ts, u, adopt(ts, &r->intent));
		backoff_reset(&ts->read_backoff);
		read_next(ts);
	} else if (r->err.code == E_CORRUPT) {
		damaged(ts, r->id, &r->err);
		unread_ended(ts, u, NULL);
		if (each_name(containers, visit_container, ts, &e) < 0)
			log_warn("adopt: %s", e.msg);
		read_next(ts);
	} else {
		log_warn("task %s: %s", r->id, r->err.msg);
		dl_drop(ts->unread, u);
		dl_add(ts->unread, u);
		read_later(ts);
	}
}

static void reading_back(void *arg)
{
	struct reading *r = arg;
	struct tasks *ts = r->ts;

	bug_if(!ts->reading || ts->jobs == 0);
	ts->jobs--;
	ts->reading = false;
	if (!ts->closing) {
		reading_done(ts, r);
	} else if (r->err.code == 0) {
		obj_free(r->intent.task);
		obj_free(r->intent.final);
	}
	free(r->id);
	free(r->dir);
	free(r);
	if (ts->closing)
		tasks_gone(ts);
}

static void read_next(struct tasks *ts)
{
	struct reading *r;

	bug_if_off_loop();
	if (!ts->unread || ts->reading)
		return;
	r = xcalloc(1, sizeof(*r));
	r->ts = ts;
	r->id = xstrdup(ts->unread->id);
	r->dir = xasprintf("%s/tasks/%s", ts->w->dir, r->id);
	ts->reading = true;
	ts->jobs++;
	loop_work(ts->w->loop, reading_work, reading_back, r);
}

static void on_read_again(void *arg)
{
	read_next(arg);
}

void tasks_unread_hurry(struct tasks *ts)
{
	backoff_reset(&ts->read_backoff);
	if (!ts->reading && ts->unread)
		loop_timer_set(&ts->read_again, 0);
}

void tasks_unread_init(struct tasks *ts)
{
	ts->read_backoff = (struct backoff)BACKOFF(READ_FIRST_MS, READ_LAST_MS);
	loop_timer_init(&ts->read_again, ts->w->loop, on_read_again, ts);
}

bool tasks_unread_assign(struct tasks *ts, const Gs__Task *row)
{
	struct task_unread *u = unread_find(ts, row->meta->id);

	if (!u)
		return false;
	obj_free(u->row);
	u->row = obj_dup(row);
	u->marked = true;
	u->unwanted = false;
	return true;
}

void tasks_unread_unassign(struct tasks *ts, const char *task_id)
{
	struct task_unread *u = unread_find(ts, task_id);

	if (!u)
		return;
	obj_free(u->row);
	u->row = NULL;
	u->unwanted = true;
}

void tasks_unread_set_begin(struct tasks *ts)
{
	struct task_unread *u;

	DL_FOREACH (ts->unread, u)
		u->marked = false;
}

void tasks_unread_set_end(struct tasks *ts)
{
	struct task_unread *u;

	DL_FOREACH (ts->unread, u)
		if (!u->marked)
			tasks_unread_unassign(ts, u->id);
}

bool tasks_unread_may_share(const struct tasks *ts, const Gs__Task *row)
{
	const struct task_unread *u;

	DL_FOREACH (ts->unread, u) {
		if (!u->row && row->n_volumes > 0)
			return true; /* nobody can say whose volumes it holds */
		if (u->row &&
		    (strcmp(u->row->slot_id, row->slot_id) == 0 || strcmp(u->row->name, row->name) == 0))
			return true;
	}
	return false;
}

void tasks_unread_dump(const struct tasks *ts, struct buf *out)
{
	const struct task_unread *u;

	DL_FOREACH (ts->unread, u)
		buf_printf(out, "task %s unread assigned=%d unwanted=%d\n", u->id, u->row ? 1 : 0,
			   u->unwanted);
}

/* ---- the start ---- */

static void visit_folder(struct tasks *ts, const char *id)
{
	cleanup_free char *dir = xasprintf("%s/tasks/%s", ts->w->dir, id);
	struct intent i;
	struct err e = {0};

	if (id[0] == '.') {
		drop_start(ts, steal(dir));
		return;
	}
	if (intent_load(dir, &i, &e) == 0)
		adopt(ts, &i);
	else if (e.code == E_CORRUPT)
		damaged(ts, id, &e);
	else
		unread_add(ts, id, &e);
}

int tasks_load(struct tasks *ts, struct err *e)
{
	cleanup_free char *dir = xasprintf("%s/tasks", ts->w->dir);
	cleanup_free char *run = xasprintf("%s/tasks", ts->w->run_dir);
	cleanup_free char *containers = xasprintf("%s/crun", ts->w->run_dir);

	/* 0711: a task's user must reach its own sockets below, and cannot list others. */
	if (fs_mkdir(dir, 0700, e) < 0 || fs_mkdir(run, 0711, e) < 0 || fs_mkdir(containers, 0700, e) < 0)
		return e->code;
	if (each_name(dir, visit_folder, ts, e) < 0 || each_name(containers, visit_container, ts, e) < 0)
		return e->code;
	read_later(ts);
	tasks_kick(ts);
	return 0;
}
