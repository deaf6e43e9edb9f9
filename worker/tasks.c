// SPDX-License-Identifier: Apache-2.0
/* The happy path is a list of tasks that follows the assignments. At start the list is made from disk, so
 * that running tasks are adopted before any manager was heard. What can fail is a damaged intent (its
 * processes are reaped). */
#include "worker/tasks.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/agent.h"
#include "worker/intent.h"
#include "worker/task_impl.h"

static void on_kick(void *arg)
{
	struct tasks *ts = arg;
	struct task *next;

	for (struct task *t = ts->list; t != NULL; t = next) {
		next = t->next;
		task_move(t);
	}
	if (ts->stopped != NULL && ts->list == NULL) {
		void (*stopped)(void *) = ts->stopped;

		ts->stopped = NULL;
		stopped(ts->stopped_arg);
	}
}

struct tasks *tasks_new(struct worker *w)
{
	struct tasks *ts = xcalloc(1, sizeof(*ts));

	ts->w = w;
	loop_timer_init(&ts->kick, w->loop, on_kick, ts);
	return ts;
}

static void on_kick_closed(void *arg)
{
	struct tasks *ts = arg;

	while (ts->secrets != NULL) {
		struct task_secret *s = ts->secrets;

		ts->secrets = s->next;
		obj_free(s->row);
		free(s);
	}
	free(ts);
}

void tasks_free(struct tasks *ts)
{
	if (ts == NULL)
		return;
	ts->closing = true;
	while (ts->list != NULL && !ts->list->busy)
		task_free(ts->list);
	loop_timer_close(&ts->kick, on_kick_closed);
}

void tasks_kick(struct tasks *ts)
{
	if (!ts->closing)
		loop_timer_set(&ts->kick, 0);
}

struct task *tasks_find(struct tasks *ts, const char *task_id)
{
	struct task *t = ts->list;

	while (t != NULL && strcmp(t->id, task_id) != 0)
		t = t->next;
	return t;
}

/* ---- adoption ---- */

static void load_one(struct tasks *ts, const char *id)
{
	cleanup_free char *dir = xasprintf("%s/tasks/%s", ts->w->dir, id);
	struct intent i;
	struct err e = {0};
	struct task *t;

	if (intent_load(dir, &i, &e) < 0) {
		log_warn("adopt: %s; its folder is removed", e.msg);
		fs_remove_all(dir, NULL);
		return;
	}
	t = task_new(ts, i.task);
	t->assigned = true;
	t->adopt = true;
	task_set_attempt(t, i.attempt);
	if (i.final != NULL) {
		obj_free(t->status);
		t->status = steal(i.final);
		/* killed while it was cleaned up: once more */
		t->step = fs_exists(t->run_dir) ? STEP_FINAL : STEP_CLEAN;
		task_touch(t);
	}
	obj_free(i.task);
}

struct reap {
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

	free(r->run_dir);
	free(r->id);
	free(r->cgroup);
	free(r);
}

static void reap_unknown(struct tasks *ts, const char *id)
{
	struct reap *r = xcalloc(1, sizeof(*r));

	log_info("adopt: container %s is not ours to run, reaped", id);
	r->run_dir = xstrdup(ts->w->run_dir);
	r->id = xstrdup(id);
	r->cgroup = xasprintf("/gswarm/%s/%s", ts->w->state.node_id, id);
	loop_work(ts->w->loop, reap_work, reap_back, r);
}

static void each_name(const char *dir, void (*visit)(struct tasks *ts, const char *name), struct tasks *ts)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			visit(ts, entry->d_name);
	if (d != NULL)
		closedir(d);
}

static void visit_container(struct tasks *ts, const char *id)
{
	for (const struct task *t = ts->list; t != NULL; t = t->next)
		if (strcmp(t->container_id, id) == 0 && t->step != STEP_CLEAN)
			return;
	reap_unknown(ts, id);
}

int tasks_load(struct tasks *ts, struct err *e)
{
	cleanup_free char *dir = xasprintf("%s/tasks", ts->w->dir);
	cleanup_free char *run = xasprintf("%s/tasks", ts->w->run_dir);
	cleanup_free char *containers = xasprintf("%s/crun", ts->w->run_dir);

	/* 0711: a task's user must reach its own sockets below, and cannot list others. */
	if (fs_mkdir(dir, 0700, e) < 0 || fs_mkdir(run, 0711, e) < 0)
		return e->code;
	each_name(dir, load_one, ts);
	each_name(containers, visit_container, ts);
	tasks_kick(ts);
	return 0;
}

/* ---- assignments ---- */

void tasks_assign(struct tasks *ts, const Gs__Task *row)
{
	struct task *t;

	if (row->meta == NULL || row->spec == NULL || !id_is_valid(row->meta->id) || ts->leaving)
		return;
	t = tasks_find(ts, row->meta->id);
	if (t == NULL) {
		t = task_new(ts, row);
		t->assigned = t->marked = t->confirmed = true;
		task_report(t, TASK_ACCEPTED, NULL);
		tasks_kick(ts);
		return;
	}
	t->marked = true;
	t->assigned = t->confirmed = true;
	if (row->meta->version == t->row->meta->version)
		return;
	obj_free(t->row);
	t->row = obj_dup(row);
	if (t->driver_state != NULL && t->driver->spec_changed != NULL)
		t->driver->spec_changed(t->driver_state);
	/* Our own status comes back with the row; only what changes how it runs is worth a write. */
	if (t->step > STEP_PREPARING && t->step < STEP_FINAL && row->desired > TASK_RUNNING)
		task_intent_save(t);
	task_move(t);
}

struct forget {
	char *path;
};

static void forget_work(void *arg)
{
	fs_remove_all(((struct forget *)arg)->path, NULL);
}

static void forget_back(void *arg)
{
	free(((struct forget *)arg)->path);
	free(arg);
}

void task_forget(struct task *t)
{
	struct forget *f = xcalloc(1, sizeof(*f));

	f->path = xstrdup(t->state_dir);
	loop_work(t->w->loop, forget_work, forget_back, f);
}

static void unassign(struct task *t)
{
	t->assigned = false;
	if (t->step == STEP_CLEAN)
		task_forget(t);
	task_move(t);
}

void tasks_unassign(struct tasks *ts, const char *task_id)
{
	struct task *t = tasks_find(ts, task_id);

	if (t != NULL)
		unassign(t);
}

void tasks_set_begin(struct tasks *ts)
{
	for (struct task *t = ts->list; t != NULL; t = t->next)
		t->marked = false;
	ts->in_set = true;
}

void tasks_set_end(struct tasks *ts)
{
	struct task *next;

	for (struct task *t = ts->list; ts->in_set && t != NULL; t = next) {
		next = t->next;
		if (!t->marked)
			unassign(t);
	}
	ts->in_set = false;
	tasks_kick(ts);
}

void tasks_secret_remove(struct tasks *ts, const char *secret_id)
{
	for (struct task_secret **p = &ts->secrets; *p != NULL; p = &(*p)->next) {
		struct task_secret *s = *p;

		if (strcmp(s->row->meta->id, secret_id) != 0)
			continue;
		*p = s->next;
		obj_free(s->row);
		free(s);
		return;
	}
}

void tasks_secret_set(struct tasks *ts, const Gs__Secret *secret)
{
	struct task_secret *s;

	if (secret->meta == NULL)
		return;
	tasks_secret_remove(ts, secret->meta->id);
	s = xcalloc(1, sizeof(*s));
	s->row = obj_dup(secret);
	s->next = ts->secrets;
	ts->secrets = s;
	tasks_kick(ts);
}

void tasks_hosts_changed(struct tasks *ts)
{
	for (struct task *t = ts->list; t != NULL; t = t->next)
		if (t->prepared && t->step < STEP_FINAL)
			task_hosts_write(t);
}

/* ---- reports ---- */

size_t tasks_report_fill(struct tasks *ts, Gs__ReportRequest *req, bool all)
{
	size_t n = 0;

	for (struct task *t = ts->list; t != NULL; t = t->next) {
		Gs__TaskReport *r;

		if (t->has_seqno && (all || t->seqno != t->seqno_sent)) {
			Gs__SeqnoReport *s = obj_new(&gs__seqno_report__descriptor);

			str_replace(&s->task_id, t->id);
			s->last_committed = t->seqno_sent = t->seqno;
			obj_add(&req->n_seqnos, &req->seqnos, s);
			n++;
		}
		if (t->status->state < TASK_ACCEPTED || (!all && t->version == t->acked))
			continue;
		r = obj_new(&gs__task_report__descriptor);
		str_replace(&r->task_id, t->id);
		r->status = obj_dup(t->status);
		obj_add(&req->n_tasks, &req->tasks, r);
		t->sent = t->version;
		n++;
	}
	return n;
}

void tasks_reported(struct tasks *ts, bool ok)
{
	for (struct task *t = ts->list; t != NULL; t = t->next) {
		if (ok && t->sent != 0)
			t->acked = t->sent;
		t->sent = 0;
	}
}

bool tasks_report_pending(const struct tasks *ts)
{
	for (const struct task *t = ts->list; t != NULL; t = t->next)
		if (t->version != t->acked && t->status->state >= TASK_ACCEPTED)
			return true;
	return false;
}

/* ---- the rest ---- */

void tasks_stop_all(struct tasks *ts, uint32_t grace, void (*done)(void *arg), void *arg)
{
	ts->leaving = true;
	ts->stopped = done;
	ts->stopped_arg = arg;
	for (struct task *t = ts->list; t != NULL; t = t->next) {
		t->stop_all = true;
		t->stop_all_grace_ms = grace;
	}
	tasks_kick(ts);
}

bool tasks_net_settled(const struct tasks *ts)
{
	for (const struct task *t = ts->list; t != NULL; t = t->next)
		if (t->step != STEP_CLEAN &&
		    (t->adopt || t->net == NET_BUSY || (t->step == STEP_RUNNING && t->net != NET_DONE)))
			return false;
	return true;
}

void tasks_netns_list(const struct tasks *ts, char ***ret, size_t *ret_n)
{
	size_t n = 0;

	for (const struct task *t = ts->list; t != NULL; t = t->next)
		n++;
	*ret = xcalloc(n + 1, sizeof(**ret));
	*ret_n = 0;
	for (const struct task *t = ts->list; t != NULL; t = t->next)
		if (t->step != STEP_CLEAN)
			(*ret)[(*ret_n)++] = xstrdup(t->row->name);
}

size_t tasks_running(const struct tasks *ts)
{
	size_t n = 0;

	for (const struct task *t = ts->list; t != NULL; t = t->next)
		n += t->step < STEP_FINAL;
	return n;
}

bool tasks_busy(const struct tasks *ts)
{
	return ts->jobs > 0;
}

void tasks_dump(const struct tasks *ts, struct buf *out)
{
	for (const struct task *t = ts->list; t != NULL; t = t->next)
		buf_printf(out,
			   "task %s %s step=%s attempt=%u pid=%d crashes=%u assigned=%d version=%llu "
			   "acked=%llu\n",
			   t->id, t->row->name, task_step_name(t->step), t->attempt,
			   container_pid(t->container), t->crashes, t->assigned,
			   (unsigned long long)t->version, (unsigned long long)t->acked);
}

void tasks_each_log(struct tasks *ts, void (*visit)(struct task *t, const char *path, void *arg), void *arg)
{
	for (struct task *t = ts->list; t != NULL; t = t->next)
		if (t->step == STEP_RUNNING)
			visit(t, t->log_path, arg);
}

void task_log_reopen(struct task *t)
{
	if (t->container != NULL)
		container_reopen_log(t->container);
}
