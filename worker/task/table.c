// SPDX-License-Identifier: Apache-2.0
/* All tasks of this worker, as assignments name them. At start the list is made from disk (load.c), so that
 * running tasks are adopted before any manager was heard. An assignment that no host could run is reported as
 * REJECTED and nothing is made of it. */
#include "worker/task/table.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/risky.h"
#include "worker/task/check.h"
#include "worker/task/impl.h"

static void on_kick(void *arg)
{
	struct tasks *ts = arg;
	struct task *next;

	for (struct task *t = ts->list; t; t = next) {
		next = t->next;
		bug_if(t->magic != TASK_MAGIC || t->all != ts || (next && next->prev != t));
		task_move(t);
	}
	/* What cannot be read yet may run, and what is being ended still does. */
	if (ts->stopped && !ts->list && !ts->unread && ts->reaps == 0) {
		void (*stopped)(void *) = ts->stopped;

		ts->stopped = NULL;
		stopped(ts->stopped_arg);
	}
}

static bool net_settled(void *arg)
{
	return tasks_net_settled(arg);
}

static void net_names(char ***ret, size_t *ret_n, void *arg)
{
	tasks_netns_list(arg, ret, ret_n);
}

static void net_hosts_changed(void *arg)
{
	tasks_hosts_changed(arg);
}

static void net_came(void *arg)
{
	tasks_kick(arg);
}

struct tasks *tasks_new(struct worker *w, const struct tasks_above *above)
{
	struct tasks *ts = xcalloc(1, sizeof(*ts));

	ts->w = w;
	ts->above = *above;
	if (w->net)
		net_listen(w->net, &(struct net_above){.settled = net_settled,
						       .names = net_names,
						       .hosts_changed = net_hosts_changed,
						       .came = net_came,
						       .arg = ts});
	loop_timer_init(&ts->kick, w->loop, on_kick, ts);
	tasks_unread_init(ts);
	ts->risky = task_risky_new(w->loop);
	ts->handles = 2;
	return ts;
}

void tasks_gone(struct tasks *ts)
{
	if (ts->handles > 0 || ts->jobs > 0 || ts->list)
		return;
	while (ts->secrets) {
		struct task_secret *s = ts->secrets;

		ts->secrets = s->next;
		obj_free(s->row);
		free(s);
	}
	tasks_unread_fini(ts);
	discards_fini(ts);
	free(ts);
}

static void on_timer_closed(void *arg)
{
	struct tasks *ts = arg;

	bug_if(!ts->closing || ts->handles == 0);
	ts->handles--;
	tasks_gone(ts);
}

void tasks_free(struct tasks *ts)
{
	struct task *next;

	if (!ts)
		return;
	bug_if(ts->closing);
	ts->closing = true;
	if (ts->w->net)
		net_listen(ts->w->net, NULL);
	for (struct task *t = ts->list; t; t = next) {
		next = t->next;
		task_free(t); /* one with a job under way: when it is back */
	}
	risky_free(ts->risky);
	loop_timer_close(&ts->read_again, on_timer_closed);
	loop_timer_close(&ts->kick, on_timer_closed);
}

void tasks_kick(struct tasks *ts)
{
	if (!ts->closing)
		loop_timer_set(&ts->kick, 0);
}

struct task *tasks_find(struct tasks *ts, const char *task_id)
{
	struct task *t = ts->list;

	while (t && strcmp(t->id, task_id) != 0)
		t = t->next;
	return t;
}

/* ---- assignments ---- */

/* Nothing of the row but its id reaches a path or a program. */
static void refuse(struct tasks *ts, const Gs__Task *row, const struct err *why)
{
	cleanup(obj_free_p) Gs__Task *copy = obj_dup(row);
	struct task *t;

	str_replace(&copy->name, row->meta->id);
	if (copy->status && copy->status->attempt > TASK_ATTEMPT_MAX)
		copy->status->attempt = TASK_ATTEMPT_MAX - 1; /* what is reported is the one after it */
	if (!copy->spec)
		copy->spec = obj_new(&gs__task_spec__descriptor);
	t = task_new(ts, copy, STEP_NEW);
	t->assigned = t->marked = t->confirmed = true;
	task_refuse(t, why);
}

void tasks_assign(struct tasks *ts, const Gs__Task *row)
{
	struct err bad = {0};
	struct task *t;
	uint32_t grace;

	if (!row->meta || !id_is_valid(row->meta->id) || ts->leaving || tasks_unread_assign(ts, row))
		return;
	bug_if_off_loop();
	task_row_check(row, &bad);
	t = tasks_find(ts, row->meta->id);
	if (!t && bad.code != 0) {
		refuse(ts, row, &bad);
		return;
	}
	if (!t) {
		t = task_new(ts, row, STEP_NEW);
		t->assigned = t->marked = t->confirmed = true;
		task_report(t, TASK_ACCEPTED, NULL);
		tasks_kick(ts);
		return;
	}
	t->marked = true;
	t->assigned = t->confirmed = true;
	if (row->meta->version == t->row->meta->version) {
		task_move(t); /* that it is confirmed may be news */
		return;
	}
	if (bad.code != 0) { /* it runs by the row that was good */
		t->row->desired = row->desired;
		t->row->meta->version = row->meta->version;
		task_move(t);
		return;
	}
	grace = task_grace_ms(t);
	obj_free(t->row);
	t->row = obj_dup(row);
	if (task_grace_ms(t) < grace)
		task_hurry(t);
	if (t->driver_state && t->driver->spec_changed)
		t->driver->spec_changed(t->driver_state);
	/* Our own status comes back with the row; only what changes how it runs is worth a write. */
	if (!task_in(t, STEPS_ENDED | SM(STEP_NEW) | SM(STEP_FOUND)) && row->desired > TASK_RUNNING)
		task_intent_save(t);
	task_move(t);
}

static void unassign(struct task *t)
{
	bug_if(t->magic != TASK_MAGIC);
	t->assigned = false;
	if (task_is(t, STEP_CLEAN))
		task_forget(t);
	task_move(t);
}

void tasks_unassign(struct tasks *ts, const char *task_id)
{
	struct task *t = tasks_find(ts, task_id);

	tasks_unread_unassign(ts, task_id);
	if (t)
		unassign(t);
}

void tasks_set_begin(struct tasks *ts)
{
	for (struct task *t = ts->list; t; t = t->next)
		t->marked = false;
	tasks_unread_set_begin(ts);
	discards_set_begin(ts);
	ts->in_set = true;
}

void tasks_set_end(struct tasks *ts)
{
	struct task *next;

	for (struct task *t = ts->list; ts->in_set && t; t = next) {
		next = t->next;
		if (!t->marked)
			unassign(t);
	}
	if (ts->in_set) {
		tasks_unread_set_end(ts);
		discards_set_end(ts);
	}
	ts->in_set = false;
	tasks_kick(ts);
}

void tasks_secret_remove(struct tasks *ts, const char *secret_id)
{
	for (struct task_secret **p = &ts->secrets; *p; p = &(*p)->next) {
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

	if (!secret->meta)
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
	for (struct task *t = ts->list; t; t = t->next)
		if (t->prepared && !task_in(t, STEPS_ENDED))
			task_hosts_write(t);
}

/* ---- reports ---- */

static bool is_pending(const struct task *t)
{
	return t->version != t->acked && t->status->state >= TASK_ACCEPTED;
}

void tasks_report_anew(struct tasks *ts)
{
	for (struct task *t = ts->list; t; t = t->next) {
		t->seqno_sent = -1;
		if (!task_state_is_final(t->status->state))
			t->acked = 0;
	}
}

static void fill_seqno(struct task *t, Gs__ReportRequest *req)
{
	Gs__SeqnoReport *s;

	if (!t->has_seqno || t->seqno == t->seqno_sent)
		return;
	s = obj_new(&gs__seqno_report__descriptor);
	str_replace(&s->task_id, t->id);
	s->last_committed = t->seqno_sent = t->seqno;
	obj_add(&req->n_seqnos, &req->seqnos, s);
}

size_t tasks_report_fill(struct tasks *ts, Gs__ReportRequest *req)
{
	size_t bytes = 0;

	for (struct task *t = ts->list; t; t = t->next) {
		Gs__TaskReport *r;

		if (req->n_tasks >= TASKS_REPORT_MAX || req->n_seqnos >= TASKS_REPORT_MAX ||
		    bytes >= TASKS_REPORT_BYTES)
			break;
		fill_seqno(t, req);
		if (!is_pending(t))
			continue;
		r = obj_new(&gs__task_report__descriptor);
		str_replace(&r->task_id, t->id);
		r->status = obj_dup(t->status);
		bytes += protobuf_c_message_get_packed_size(&r->base);
		obj_add(&req->n_tasks, &req->tasks, r);
		t->sent = t->version;
	}
	discards_report_fill(ts, req);
	return req->n_tasks + req->n_seqnos + req->n_volumes;
}

void tasks_reported(struct tasks *ts, bool ok)
{
	discards_reported(ts, ok);
	for (struct task *t = ts->list; t; t = t->next) {
		bug_if(t->sent > t->version || t->acked > t->version);
		if (ok && t->sent != 0)
			t->acked = t->sent;
		t->sent = 0;
	}
}

/* Leave out what the managers would not take: false, there is nothing of that kind. Each call takes something
 * away, so that mending ends. */
static bool mend(Gs__TaskStatus *s, int code)
{
	if (code == E_LIMIT && s->view) {
		obj_set(&s->view, NULL);
		return true;
	}
	if (s->evidence) {
		obj_set(&s->evidence, NULL);
		return true;
	}
	return false;
}

void tasks_report_refused(struct tasks *ts, const Gs__TaskRefusal *r)
{
	struct task *t = tasks_find(ts, r->task_id);

	if (!t || r->code == E_STALE_VERSION)
		return;
	log_error("task %s: the managers refuse its report: %s", t->row->name, r->message);
	if (!mend(t->status, r->code))
		return;
	str_replace(&t->status->err, r->message);
	task_touch(t);
}

bool tasks_report_pending(const struct tasks *ts)
{
	for (const struct task *t = ts->list; t; t = t->next)
		if (is_pending(t))
			return true;
	return discards_pending(ts);
}

/* ---- the rest ---- */

void tasks_volumes(const struct tasks *ts, Gs__NodeLeaveResponse *r)
{
	for (const struct task *t = ts->list; t; t = t->next)
		for (size_t i = 0; t->row->desired == TASK_RUNNING && i < t->row->n_volumes; i++) {
			Gs__KeptVolume *kept = obj_new(&gs__kept_volume__descriptor);

			str_replace(&kept->task, t->row->name);
			str_replace(&kept->path, NULL);
			kept->path = xasprintf("%s/volumes/%s", t->w->dir, t->row->volumes[i]->volume_id);
			obj_add(&r->n_kept, &r->kept, kept);
		}
}

void tasks_stop_all(struct tasks *ts, uint32_t grace, void (*done)(void *arg), void *arg)
{
	ts->leaving = true;
	ts->stopped = done;
	ts->stopped_arg = arg;
	ts->leave_grace_ms = grace;
	tasks_unread_hurry(ts);
	for (struct task *t = ts->list; t; t = t->next) {
		t->stop_all = true;
		t->stop_all_grace_ms = grace;
	}
	tasks_kick(ts);
}

/* An attempt that has ended needs no legs; its namespace is kept for the next one. One that runs needs them also
 * while it is drained or stopped. */
static bool net_is_settled(const struct task *t)
{
	if (task_is(t, STEP_CLEAN))
		return true;
	if (t->net == NET_BUSY)
		return false;
	if (task_in(t, STEPS_FOUND))
		return attempt_has_ended(&t->at);
	return t->at.process != PROCESS_STARTED || task_in(t, STEPS_ENDED) || t->net == NET_DONE;
}

bool tasks_net_settled(const struct tasks *ts)
{
	if (ts->unread)
		return false; /* it may run, and nobody can say with which legs */
	for (const struct task *t = ts->list; t; t = t->next)
		if (!net_is_settled(t))
			return false;
	return true;
}

void tasks_netns_list(const struct tasks *ts, char ***ret, size_t *ret_n)
{
	size_t n = 0;

	for (const struct task *t = ts->list; t; t = t->next)
		n++;
	*ret = xcalloc(n + 1, sizeof(**ret));
	*ret_n = 0;
	for (const struct task *t = ts->list; t; t = t->next)
		if (!task_is(t, STEP_CLEAN))
			(*ret)[(*ret_n)++] = xstrdup(t->row->name);
}

size_t tasks_running(const struct tasks *ts)
{
	size_t n = 0;

	for (const struct task *t = ts->list; t; t = t->next)
		n += !task_in(t, STEPS_ENDED);
	return n;
}

bool tasks_busy(const struct tasks *ts)
{
	return ts->jobs > 0;
}

void tasks_dump(const struct tasks *ts, struct buf *out)
{
	tasks_unread_dump(ts, out);
	for (const struct task *t = ts->list; t; t = t->next)
		buf_printf(out,
			   "task %s %s step=%s attempt=%u pid=%d crashes=%u assigned=%d version=%llu "
			   "acked=%llu driver=%s job=%d permit=%llu\n",
			   t->id, t->row->name, sm_name(&t->step), t->at.number,
			   container_pid(t->at.container), t->crashes, t->assigned,
			   (unsigned long long)t->version, (unsigned long long)t->acked,
			   t->driver_state ? t->driver->step(t->driver_state) : "none", t->busy,
			   (unsigned long long)t->permit_serial);
}

void tasks_each_log(struct tasks *ts, void (*visit)(struct task *t, const char *path, void *arg), void *arg)
{
	for (struct task *t = ts->list; t; t = t->next)
		if (task_is(t, STEP_RUNNING))
			visit(t, t->log_path, arg);
}

void task_log_reopen(struct task *t)
{
	if (t->at.container)
		container_reopen_log(t->at.container);
}
