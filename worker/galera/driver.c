// SPDX-License-Identifier: Apache-2.0
/* The member's machine: which step is on, and what an event means in it. The happy path is the drawing in
 * galera.h. What can fail is a permit that is stale (older epoch than the volume has seen, another attempt):
 * it is refused with a clear line and nothing is touched. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/galera/blob.h"
#include "worker/galera/galera.h"

/* A start that came to nothing is held again from STARTING; a server that an earlier worker started runs at once. */
static const struct sm_state galera_states[] = {
	{GA_IDLE, "idle", SM(GA_EVIDENCE) | SM(GA_RUNNING)},
	{GA_EVIDENCE, "evidence", SM(GA_HELD) | SM(GA_IDLE)},
	{GA_HELD, "held", SM(GA_GENESIS) | SM(GA_PREPARING) | SM(GA_IDLE)},
	{GA_GENESIS, "genesis", SM(GA_IDLE)},
	{GA_PREPARING, "preparing", SM(GA_STARTING) | SM(GA_IDLE)},
	{GA_STARTING, "starting", SM(GA_RUNNING) | SM(GA_EVIDENCE)},
	{GA_RUNNING, "running", SM(GA_IDLE) | SM(GA_EVIDENCE)},
};

/* What holds whenever a step has been entered. */
static void step_check(const struct sm *sm, unsigned from)
{
	const struct galera *g = container_of(sm, struct galera, step);
	const uint64_t on_data = SM(GA_HELD) | SM(GA_GENESIS) | SM(GA_PREPARING);

	bug_if(!g->task || g->refs == 0);
	bug_if(sm_in(sm, on_data) && (!g->evidence || !g->dir.path || g->dir.lock_fd < 0));
	bug_if(sm_in(sm, SM(GA_GENESIS) | SM(GA_PREPARING) | SM(GA_STARTING)) && !g->permit);
	bug_if(sm_in(sm, SM(GA_IDLE) | SM(GA_EVIDENCE) | SM(GA_STARTING)) && g->dir.lock_fd >= 0);
	bug_if(!sm_is(sm, GA_RUNNING) && g->probe);
}

const struct sm_kind galera_kind = SM_KIND("member", galera_states, step_check);

void galera_go(struct galera *g, enum galera_step step)
{
	bug_if_off_loop();
	sm_go(&g->step, step);
}

struct galera *galera_ref(struct galera *g)
{
	bug_if(!magic_is(g, GALERA_MAGIC) || g->refs == UINT_MAX);
	g->refs++;
	return g;
}

static void on_tick_closed(void *arg)
{
	galera_unref(arg);
}

void galera_unref(struct galera *g)
{
	bug_if(!magic_is(g, GALERA_MAGIC) || g->refs == 0);
	if (--g->refs)
		return;
	if (g->dir.path)
		datadir_fini(&g->dir);
	image_probe_fini(&g->image);
	obj_free(g->evidence);
	obj_free(g->permit);
	obj_free(g->view);
	obj_free(g->primary);
	magic_end(g);
	free(g);
}

bool galera_is_current(const struct galera *g, unsigned turn)
{
	return g->task && g->turn == turn;
}

/* ---- a hold, from the next turn of the loop on; failures too are told from there ---- */

static void begin(struct galera *g)
{
	bug_if_off_loop();
	bug_if(!g->task);
	g->turn++;
	if (g->fetch)
		blob_fetch_cancel(g->fetch);
	g->fetch = NULL;
	datadir_unlock(&g->dir);
}

struct fail_note {
	struct galera *g;
	unsigned turn;
	struct err e;
};

static void fail_work(void *arg)
{
}

static void fail_done(void *arg)
{
	struct fail_note *n = arg;

	bug_if_off_loop();
	if (galera_is_current(n->g, n->turn))
		task_failed(n->g->task, n->g->attempt, &n->e);
	galera_unref(n->g);
	free(n);
}

void galera_fail(struct galera *g, const struct err *e)
{
	struct fail_note *n = xcalloc(1, sizeof(*n));

	bug_if(e->code == 0);
	begin(g);
	galera_go(g, GA_IDLE);
	obj_free(g->permit);
	g->permit = NULL;
	n->g = galera_ref(g);
	n->turn = g->turn;
	n->e = *e;
	loop_work(g->loop, fail_work, fail_done, n);
}

/* ---- files of the task ---- */

char *galera_run_path(const struct galera *g, const char *name)
{
	bug_if(!g->task || strchr(name, '/') == name);
	return xasprintf("%s/%s", task_run_dir(g->task), name);
}

int galera_run_write(const struct galera *g, const char *name, const void *data, size_t len, mode_t mode,
		     bool root_owned, struct err *e)
{
	struct foreign_owner owner = {.mode = mode};

	if (!root_owned) {
		owner.uid = task_uid(g->task);
		owner.gid = task_gid(g->task);
	}
	return foreign_write(task_run_dir(g->task), name, data, len, &owner, e);
}

const char *galera_secret(const struct galera *g, const char *name, char *buf, size_t n)
{
	const Gs__Secret *s = task_secret(g->task, name);

	*buf = 0;
	if (s && s->data.len < n && !memchr(s->data.data, 0, s->data.len)) {
		memcpy(buf, s->data.data, s->data.len);
		buf[s->data.len] = 0;
	}
	return buf;
}

const char *galera_target(const struct galera *g)
{
	const Gs__Task *row = task_row(g->task);

	for (size_t i = 0; i < row->n_volumes; i++)
		if (strcmp(row->volumes[i]->target, DEFAULT_DATADIR) == 0)
			return DEFAULT_DATADIR;
	return row->n_volumes ? row->volumes[0]->target : DEFAULT_DATADIR;
}

const char *galera_datadir(const struct galera *g)
{
	return task_volume_path(g->task, galera_target(g));
}

void galera_options_input(const struct galera *g, struct options_input *ret)
{
	const Gs__Task *row = task_row(g->task);

	*ret = (struct options_input){.task = row,
				      .permit = g->permit,
				      .image = &g->image,
				      .datadir = galera_target(g),
				      .disk_bytes = g->evidence ? g->evidence->disk_free_bytes : 0,
				      .own_sst = g->image.has_bash && g->image.has_socat};
}

int galera_tool_cnf(struct galera *g, bool recover, struct err *e)
{
	struct options_input in;
	struct buf out = {0};
	int r;

	galera_options_input(g, &in);
	options_tool_format(&in, "tool", recover, &out);
	r = galera_run_write(g, TOOL_CNF, out.data, out.len, 0600, false, e);
	buf_fini(&out);
	return r;
}

/* ---- ops ---- */

static void on_tick(void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);

	if (g->stop_answer) {
		g->stop_answer = false;
		task_stop_now(g->task);
	} else {
		watch_tick(g);
	}
}

static void *op_attach(struct task *t)
{
	struct galera *g = xcalloc(1, sizeof(*g));

	magic_set(g, GALERA_MAGIC);
	g->task = t;
	g->loop = task_loop(t);
	g->refs = 2; /* the task's and the timer's */
	g->dir.lock_fd = -1;
	sm_init(&g->step, &galera_kind, GA_IDLE, NULL);
	loop_timer_init(&g->tick, g->loop, on_tick, g);
	return g;
}

static void op_detach(void *d)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	watch_stop(g);
	begin(g);
	g->task = NULL;
	loop_timer_stop(&g->tick);
	loop_timer_close(&g->tick, on_tick_closed);
	galera_unref(g);
}

static void op_hold(void *d, uint32_t attempt)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	watch_stop(g);
	begin(g);
	g->attempt = attempt;
	galera_go(g, GA_EVIDENCE);
	obj_free(g->permit); /* of the attempt before, whose container could not be made */
	g->permit = NULL;
	g->hold_waits = g->marking;
	if (!g->hold_waits)
		hold_start(g);
}

static int bootstrap_check(const struct galera *g, const Gs__GaleraPermit *p, struct err *e)
{
	const Gs__GaleraEvidence *ev = g->evidence;

	if (ev->class_ == GC_INCOMPLETE || ev->class_ == GC_EMPTY || ev->class_ == GC_FOREIGN ||
	    (ev->class_ == GC_DAMAGED && !p->accept_damaged))
		return err_set(e, E_UNSAFE_BOOTSTRAP, "bootstrap of a %s datadir is never right",
			       galera_class_name(ev->class_));
	/* Its server would begin a history of its own. */
	if (ev->class_ == GC_DAMAGED && (!ev->position || ev->position->seqno < 0))
		return err_set(e, E_UNSAFE_BOOTSTRAP, "bootstrap of %s: InnoDB tells no position",
			       g->dir.path);
	return 0;
}

/* Is this permit for what is held now? Else it waits, or is refused. */
static int permit_check(const struct galera *g, const Gs__GaleraPermit *p, struct err *e)
{
	if (p->epoch < g->mark.epoch)
		return err_set(e, E_STALE_VERSION, "permit of epoch %llu, the volume has run in epoch %llu",
			       (unsigned long long)p->epoch, (unsigned long long)g->mark.epoch);
	if (g->evidence->class_ == GC_FOREIGN && !p->quarantine)
		return err_set(e, E_FORBIDDEN, "%s: %s", g->dir.path, g->evidence->reason);
	return p->mode == PERMIT_BOOTSTRAP ? bootstrap_check(g, p, e) : 0;
}

static void permit_apply(struct galera *g)
{
	Gs__GaleraPermit *p = g->permit;
	bool once = p->mode == PERMIT_GENESIS || p->mode == PERMIT_BOOTSTRAP;
	struct err e = {0};

	if (once && p->attempt != g->attempt) {
		err_set(&e, E_STALE_VERSION, "permit for attempt %u, this is %u", p->attempt, g->attempt);
		galera_fail(g, &e);
	} else if (permit_check(g, p, &e)) {
		galera_fail(g, &e);
	} else if (p->mode == PERMIT_GENESIS) {
		genesis_start(g);
	} else {
		start_start(g);
	}
}

/* A permit that may be on its way here was taken back: what is held now is told of anew, as another attempt. */
static void call_back(struct galera *g)
{
	struct err e = {0};

	bug_if(!sm_is(&g->step, GA_HELD));
	err_set(&e, E_UNAVAILABLE, "the managers took its permit back");
	galera_fail(g, &e);
}

static void op_permit(void *d, const Gs__GaleraPermit *permit)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	bug_if_off_loop();
	if (permit->mode == PERMIT_PC_BOOTSTRAP) {
		if (sm_is(&g->step, GA_RUNNING))
			watch_pc_bootstrap(g, permit);
		return;
	}
	if (permit->mode == PERMIT_NONE) {
		if (permit->withdraw && sm_is(&g->step, GA_RUNNING))
			watch_withdraw(g);
		else if (permit->withdraw)
			call_back(g);
		else if (permit->prefetch && sm_is(&g->step, GA_HELD))
			start_prefetch(g, permit);
		return;
	}
	bug_if(!sm_is(&g->step, GA_HELD)); /* for the attempt that is held */
	obj_free(g->permit);
	g->permit = obj_dup(permit);
	permit_apply(g);
}

static void op_running(void *d, bool adopted)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	bug_if_off_loop();
	galera_go(g, GA_RUNNING);
	g->attempt = task_attempt(g->task);
	datadir_unlock(&g->dir);
	if (!g->dir.path && galera_datadir(g))
		datadir_init(&g->dir, galera_datadir(g), task_uid(g->task), task_gid(g->task));
	if (!g->permit && task_row(g->task)->permit)
		g->permit = obj_dup(task_row(g->task)->permit);
	watch_start(g);
}

/* ---- after the end: a whole grastate.dat means a clean stop ---- */

#define DISK_FULL_BYTES                                                                                      \
	(16u << 20) /* no server starts with less: its temporary tablespace alone takes 12 MiB */

struct mark_job {
	struct galera *g;
	struct datadir dir;
	uint64_t disk_free_bytes;
};

static void mark_work(void *arg)
{
	struct mark_job *j = arg;
	struct volume_mark m;
	struct grastate s;
	struct err e = {0};

	bug_if(!bug_in_job());
	j->disk_free_bytes = datadir_free_bytes(&j->dir);
	/* A task that came after this one has the data: its word stands. */
	if (datadir_lock(&j->dir, &e) || datadir_grastate(&j->dir, &s, &e) || s.position.seqno < 0 ||
	    galera_uuid_is_zero(s.position.uuid) || datadir_mark_load(&j->dir, &m, &e))
		return;
	m.state = VOLUME_CLEAN;
	snprintf(m.uuid, sizeof(m.uuid), "%s", s.position.uuid);
	if (datadir_mark_store(&j->dir, &m, &e))
		log_warn("%s", e.msg);
}

void galera_marked(struct galera *g)
{
	bug_if(!g->marking);
	g->marking = false;
	if (g->task && g->hold_waits) {
		g->hold_waits = false;
		hold_start(g);
	}
}

static void mark_done(void *arg)
{
	struct mark_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);
	char full[80];

	bug_if_off_loop();
	if (g->task && j->disk_free_bytes < DISK_FULL_BYTES) {
		snprintf(full, sizeof(full), "the disk of its volume is full: %llu MiB free",
			 (unsigned long long)j->disk_free_bytes >> 20);
		task_explain(g->task, full);
	}
	datadir_fini(&j->dir); /* with the lock: the hold wants it */
	galera_marked(g);
	galera_unref(g);
	free(j);
}

static void op_exited(void *d)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);
	struct mark_job *j;

	watch_stop(g);
	begin(g);
	galera_go(g, GA_IDLE);
	obj_free(g->permit);
	g->permit = NULL;
	if (!g->dir.path || g->marking)
		return;
	j = xcalloc(1, sizeof(*j));
	j->g = galera_ref(g);
	datadir_copy(&j->dir, &g->dir);
	g->marking = true;
	loop_work(g->loop, mark_work, mark_done, j);
}

/* In no group: nobody waits for its leave, what it has committed is durable, and a server that is told to stop in the
 * middle of its own disconnecting can hang. One that looks for another address ends after half a minute. */
#define LEFT_GRACE_MS 60000

static void op_stopping(void *d)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	if (g->view && g->view->sql_open && strcmp(g->view->status, "Disconnected") == 0)
		task_stop_within(g->task, LEFT_GRACE_MS);
	watch_stop(g);
	g->stop_answer = true;
	loop_timer_set(&g->tick, 0);
}

static void op_spec_changed(void *d)
{
	/* Addresses of new members reach a running server through the group itself; permits come by
	 * op_permit. */
}

static const char *op_step(void *d)
{
	const struct galera *g = magic_of(struct galera, GALERA_MAGIC, d);

	return sm_name(&g->step);
}

const struct task_driver_ops galera_driver_ops = {
	.attach = op_attach,
	.detach = op_detach,
	.hold = op_hold,
	.permit = op_permit,
	.running = op_running,
	.exited = op_exited,
	.stopping = op_stopping,
	.spec_changed = op_spec_changed,
	.step = op_step,
};
