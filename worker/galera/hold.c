// SPDX-License-Identifier: Apache-2.0
/* Evidence: read the datadir on the pool; after a crash ask InnoDB for the position with `mariadbd
 * --wsrep-recover` in the task's own file system. What can fail: no volume, a live server on it, a file that
 * cannot be read now, a tool that does not start or is kept from its work: then the attempt fails and is tried
 * again; a tool that ran and found nothing makes the class DAMAGED. */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "worker/galera/galera.h"
#include "worker/galera/server_log.h"
#include "worker/host/spawner.h"

#define RECOVER_DEADLINE_MS (60 * 60 * 1000) /* InnoDB may have gigabytes of redo log to apply */

struct hold_job {
	struct galera *g;
	unsigned turn;
	struct evidence_input in;
	char *image_name;
	struct image_probe image;
	Gs__GaleraEvidence *evidence;
	struct volume_mark mark;
	enum evidence_next next;
	char *log; /* of the process that ended */
	int result;
	struct err err;
};

static void held(struct galera *g)
{
	galera_go(g, GA_HELD);
	g->evidence->attempt = g->attempt;
	task_held(g->task, g->attempt, g->evidence);
}

struct recover_arg {
	struct galera *g;
	unsigned turn;
	struct datadir dir; /* the lock, until the tool has ended */
};

/* An exit code of its own that comes with a position is one of a tool that has done its work. */
static bool was_hindered(const struct capture_result *r)
{
	struct recover_result found[2];

	recover_parse(r->errout, r->errout_len, &found[0]);
	recover_parse(r->out, r->out_len, &found[1]);
	if (r->status <= 128 && (found[0].has_position || found[1].has_position))
		return false;
	return recover_was_hindered(r->status, r->errout, r->errout_len) ||
	       recover_was_hindered(r->status, r->out, r->out_len);
}

/* Old servers print to the standard output. */
static void tell_recovered(struct galera *g, const struct capture_result *r)
{
	const Gs__GaleraPermit *permit = task_row(g->task)->permit;
	const char *uuid = permit ? permit->cluster_uuid : "";
	struct recover_result found;

	recover_parse(r->out, r->out_len, &found);
	if (found.has_position)
		evidence_recovered(g->evidence, uuid, r->out, r->out_len);
	else
		evidence_recovered(g->evidence, uuid, r->errout, r->errout_len);
}

static void on_recovered(const struct capture_result *r, void *arg)
{
	struct recover_arg *ra = arg;
	struct galera *g = ra->g;
	unsigned turn = ra->turn;
	struct err e = {0};

	datadir_fini(&ra->dir);
	free(ra);
	if (!galera_is_current(g, turn)) {
		galera_unref(g);
		return;
	}
	if (r->err.code || r->timed_out || r->signal) {
		err_set(&e, E_UNAVAILABLE, "wsrep-recover: %s",
			r->err.code    ? r->err.msg
			: r->timed_out ? "took more than an hour"
				       : "was killed");
		galera_fail(g, &e);
	} else if (was_hindered(r)) {
		err_set(&e, E_UNAVAILABLE,
			"wsrep-recover ended with %d for want of memory, descriptors or space on the disk: "
			"it is tried again",
			r->status);
		galera_fail(g, &e);
	} else {
		tell_recovered(g, r);
		held(g);
	}
	galera_unref(g);
}

static void recover(struct galera *g)
{
	const char *argv[] = {g->image.server, "--defaults-file=" TASK_RUN "/" TOOL_CNF, "--wsrep-recover",
			      NULL};
	struct recover_arg *ra;
	struct err e = {0};

	if (galera_tool_cnf(g, true, &e)) {
		galera_fail(g, &e);
		return;
	}
	ra = xcalloc(1, sizeof(*ra));
	if (datadir_share(&ra->dir, &g->dir, &e) < 0) {
		free(ra);
		galera_fail(g, &e);
		return;
	}
	ra->g = galera_ref(g);
	ra->turn = g->turn;
	task_progress(g->task, "recovering position");
	task_run_tool(g->task, argv, NULL, 0, RECOVER_DEADLINE_MS, on_recovered, ra);
}

/* The view it died in may be one that nobody lived to report. The group's name is told at the beginning: a
 * log that has lost it says nothing, its views could be another group's. */
static void add_last_view(Gs__GaleraEvidence *ev, const struct log_primary *seen)
{
	ev->left = seen->has_left;
	if (!seen->group_epoch)
		return;
	ev->prim_conf_id = seen->conf_id;
	ev->prim_group_epoch = seen->group_epoch;
	for (size_t i = 0; i < seen->n_members; i++)
		obj_add_str(&ev->n_prim_members, &ev->prim_members, seen->members[i]);
}

static void job_work(void *arg)
{
	struct hold_job *j = arg;
	struct log_primary seen = {0};

	bug_if(!bug_in_job());
	j->result = options_probe(j->image_name, &j->image, &j->err);
	if (j->result)
		return;
	log_primary_read(j->log, NULL, &seen, &(struct err){0});
	j->in.ended_synced = seen.has_start && seen.is_synced && !seen.is_inconsistent;
	j->result = evidence_read(&j->in, j->evidence, &j->mark, &j->next, &j->err);
	add_last_view(j->evidence, &seen);
	log_primary_fini(&seen);
}

static void job_done(void *arg)
{
	struct hold_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	if (galera_is_current(g, j->turn)) {
		g->dir.lock_fd = j->in.dir.lock_fd;
		j->in.dir.lock_fd = -1;
		obj_free(g->evidence);
		g->evidence = steal(j->evidence);
		g->mark = j->mark;
		g->image = j->image;
		j->image = (struct image_probe){0};
		if (j->result)
			galera_fail(g, &j->err);
		else if (j->next == EVIDENCE_RECOVER)
			recover(g);
		else
			held(g);
	}
	datadir_fini(&j->in.dir);
	image_probe_fini(&j->image);
	free(j->image_name);
	obj_free(j->evidence);
	galera_unref(g);
	free(j->log);
	free(j);
}

static const char *volume_id(const Gs__Task *row, const char *target)
{
	for (size_t i = 0; i < row->n_volumes; i++)
		if (strcmp(row->volumes[i]->target, target) == 0)
			return row->volumes[i]->volume_id;
	return "";
}

static int open_datadir(struct galera *g, struct err *e)
{
	const Gs__Task *row = task_row(g->task);
	const char *target = galera_target(g), *path = galera_datadir(g);

	if (!path)
		return err_set(e, E_INVALID, "task %s: a Galera member needs a volume at %s", row->name,
			       target);
	if (g->dir.path)
		datadir_fini(&g->dir);
	datadir_init(&g->dir, path, task_uid(g->task), task_gid(g->task));
	image_probe_fini(&g->image);
	return 0;
}

void hold_start(struct galera *g)
{
	const Gs__Task *row = task_row(g->task);
	const char *target = galera_target(g);
	struct hold_job *j;
	struct err e = {0};

	bug_if(!sm_is(&g->step, GA_EVIDENCE) || g->marking);
	if (open_datadir(g, &e)) {
		galera_fail(g, &e);
		return;
	}
	j = xcalloc(1, sizeof(*j));
	j->g = galera_ref(g);
	j->turn = g->turn;
	j->evidence = obj_new(&gs__galera_evidence__descriptor);
	j->log = xstrdup(task_log_path(g->task));
	j->image_name = xstrdup(row->spec ? row->spec->image : "host");
	datadir_copy(&j->in.dir, &g->dir);
	snprintf(j->in.cluster, sizeof(j->in.cluster), "%s", row->galera_cluster_id);
	snprintf(j->in.slot, sizeof(j->in.slot), "%s", row->slot_id);
	snprintf(j->in.volume, sizeof(j->in.volume), "%s", volume_id(row, target));
	if (row->permit)
		snprintf(j->in.cluster_uuid, sizeof(j->in.cluster_uuid), "%s", row->permit->cluster_uuid);
	task_work(g->task, job_work, job_done, j);
}
