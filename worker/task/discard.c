// SPDX-License-Identifier: Apache-2.0
/* Volumes that the managers want deleted here, by their person's word.
 *
 *   assigned --> [job: volume_remove] --> done --report--> acknowledged --> unassigned: forgotten
 *
 * What can fail is told in the report and not tried again: a person asks anew. A volume that a task here still has is
 * not touched, whatever the managers know; so nothing begins before a new session's set has named all tasks. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "worker/task/impl.h"

struct discard {
	struct discard *next;
	struct tasks *ts;
	char *volume_id, *volumes_dir, *made_dir;
	uint64_t version;      /* of the row that asked for it */
	bool assigned, marked; /* the managers want it; named in the set that comes */
	bool due;              /* begins when the set is whole */
	bool busy, done, sent, acked, found;
	struct err err;
};

static void discard_free(struct discard *d)
{
	bug_if(d->busy);
	free(d->volume_id);
	free(d->volumes_dir);
	free(d->made_dir);
	free(d);
}

static void drop_unassigned(struct tasks *ts)
{
	struct discard **p = &ts->discards;

	while (*p) {
		struct discard *d = *p;

		if (d->assigned || d->busy) {
			p = &d->next;
			continue;
		}
		*p = d->next;
		discard_free(d);
	}
}

static void discard_done(struct discard *d)
{
	d->done = true;
	if (d->err.code)
		log_error("volume %s is not removed: %s", d->volume_id, d->err.msg);
	else
		log_info("volume %s is removed%s", d->volume_id, d->found ? "" : " (it was not there)");
	if (d->ts->above.changed)
		d->ts->above.changed(d->ts->above.arg);
}

static void discard_work(void *arg)
{
	struct discard *d = arg;

	volume_remove(d->volumes_dir, d->made_dir, d->volume_id, &d->found, &d->err);
}

static void discard_back(void *arg)
{
	struct discard *d = arg;
	struct tasks *ts = d->ts;

	bug_if(!d->busy || ts->jobs == 0);
	d->busy = false;
	ts->jobs--;
	if (ts->closing) {
		tasks_gone(ts);
		return;
	}
	discard_done(d);
	drop_unassigned(ts);
}

static const struct task *user_of(const struct tasks *ts, const char *volume_id)
{
	for (const struct task *t = ts->list; t; t = t->next)
		for (size_t i = 0; i < t->row->n_volumes && !task_is(t, STEP_CLEAN); i++)
			if (strcmp(t->row->volumes[i]->volume_id, volume_id) == 0)
				return t;
	return NULL;
}

static void discard_start(struct discard *d)
{
	const struct task *user = user_of(d->ts, d->volume_id);

	err_clear(&d->err);
	d->due = false;
	d->done = d->sent = d->acked = d->found = false;
	if (user)
		err_set(&d->err, E_IN_USE, "task %s still has it", user->row->name);
	else if (d->ts->unread)
		err_set(&d->err, E_UNAVAILABLE, "what runs on this node is not known yet: try again");
	if (d->err.code) {
		discard_done(d);
		return;
	}
	d->busy = true;
	d->ts->jobs++;
	loop_work(d->ts->w->loop, discard_work, discard_back, d);
}

static struct discard *discard_find(struct tasks *ts, const char *volume_id)
{
	struct discard *d = ts->discards;

	while (d && strcmp(d->volume_id, volume_id) != 0)
		d = d->next;
	return d;
}

void tasks_discard(struct tasks *ts, const Gs__VolumeInstance *row)
{
	struct discard *d;

	bug_if_off_loop();
	if (!row->meta || !id_is_valid(row->volume_id) || row->state != VOL_REMOVING || ts->leaving)
		return;
	d = discard_find(ts, row->volume_id);
	if (!d) {
		d = xcalloc(1, sizeof(*d));
		d->ts = ts;
		d->volume_id = xstrdup(row->volume_id);
		d->volumes_dir = xasprintf("%s/volumes", ts->w->dir);
		d->made_dir = xasprintf("%s/made", ts->w->dir);
		d->next = ts->discards;
		ts->discards = d;
	} else if (!d->acked || d->version == row->meta->version) {
		d->assigned = d->marked = true;
		return;
	}
	d->assigned = d->marked = d->due = true;
	d->version = row->meta->version;
	if (!ts->in_set)
		discard_start(d);
}

void tasks_discard_end(struct tasks *ts, const char *volume_id)
{
	struct discard *d = discard_find(ts, volume_id);

	if (d)
		d->assigned = false;
	drop_unassigned(ts);
}

void discards_set_begin(struct tasks *ts)
{
	for (struct discard *d = ts->discards; d; d = d->next)
		d->marked = false;
}

void discards_set_end(struct tasks *ts)
{
	for (struct discard *d = ts->discards; d; d = d->next)
		d->assigned = d->marked;
	drop_unassigned(ts);
	for (struct discard *d = ts->discards; d; d = d->next)
		if (d->due)
			discard_start(d);
}

void discards_report_fill(struct tasks *ts, Gs__ReportRequest *req)
{
	for (struct discard *d = ts->discards; d && req->n_volumes < TASKS_REPORT_MAX; d = d->next) {
		Gs__VolumeReport *r;

		if (!d->done || d->acked)
			continue;
		r = obj_new(&gs__volume_report__descriptor);
		str_replace(&r->volume_id, d->volume_id);
		r->found = d->found;
		r->code = d->err.code;
		str_replace(&r->message, d->err.code ? d->err.msg : "");
		obj_add(&req->n_volumes, &req->volumes, r);
		d->sent = true;
	}
}

void discards_reported(struct tasks *ts, bool ok)
{
	for (struct discard *d = ts->discards; d; d = d->next) {
		d->acked = d->acked || (ok && d->sent);
		d->sent = false;
	}
}

bool discards_pending(const struct tasks *ts)
{
	for (const struct discard *d = ts->discards; d; d = d->next)
		if (d->done && !d->acked)
			return true;
	return false;
}

void discards_fini(struct tasks *ts)
{
	while (ts->discards) {
		struct discard *d = ts->discards;

		ts->discards = d->next;
		discard_free(d);
	}
}
