// SPDX-License-Identifier: Apache-2.0
/* A start under a permit:
 *
 *   [fetch genesis from a peer]
 *   -> job: quarantine, unpack, forget state, clean markers, record the epoch durably
 *   -> my.cnf and the SST program into the run folder -> task_start(argv)
 *
 * What can fail: no peer has the archive (then the member starts empty and takes a full SST), a full disk, a
 * class that the permit does not fit. The epoch is on disk before the server is started, never after. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/galera/blob.h"
#include "worker/galera/galera.h"
#include "worker/galera/sst_program.h"

struct start_job {
	struct galera *g;
	unsigned turn;
	struct datadir dir;
	struct volume_mark mark;
	Gs__GaleraPermit *permit;
	Gs__GaleraClass class; /* of the evidence, with the uuid that belongs to it */
	char uuid[GALERA_UUID_LEN + 1];
	char *blob; /* path of the genesis archive, NULL: none */
	char *archiver, *log_path;
	struct conmon_mark log_end; /* what is behind it is told by the process that is started now */
	int result;
	struct err err;
};

static bool wants_genesis(const struct galera *g)
{
	const char *sha = g->permit->genesis_sha256;

	bug_if(!g->permit || !g->evidence);
	if (!sha256_is_valid(sha) || g->mark.epoch || g->permit->force_sst)
		return false;
	if (g->evidence->class_ == GC_GENESIS)
		return strcmp(g->mark.genesis, sha) != 0;
	return g->evidence->class_ == GC_EMPTY;
}

static int unpack(struct start_job *j)
{
	int r;

	bug_if(!j->blob || j->permit->force_sst);
	j->mark.state = VOLUME_BUILDING;
	r = datadir_mark_store(&j->dir, &j->mark, &j->err);
	if (!r)
		r = datadir_wipe(&j->dir, &j->err);
	if (!r)
		r = archive_unpack(j->archiver, j->blob, j->dir.path, j->dir.uid, j->dir.gid, &j->err);
	snprintf(j->mark.genesis, sizeof(j->mark.genesis), "%s", j->permit->genesis_sha256);
	return r;
}

/* A joiner's data as it is may not be joined with: a full copy comes. */
static bool wants_full_copy(const struct start_job *j)
{
	return j->permit->mode != PERMIT_BOOTSTRAP &&
	       (j->permit->force_sst || j->class == GC_DAMAGED || j->class == GC_DDL_CRASHED);
}

/* Of what never was a whole copy nothing is kept. */
static int keep_aside(struct start_job *j)
{
	if (!j->permit->quarantine || j->class == GC_INCOMPLETE || j->class == GC_EMPTY)
		return 0;
	return datadir_quarantine(&j->dir, &j->mark, j->permit->epoch, &j->err);
}

/* Where its server begins. */
static int set_state(struct start_job *j)
{
	if (j->permit->mode == PERMIT_BOOTSTRAP && (j->class == GC_DAMAGED || j->class == GC_DDL_CRASHED))
		return datadir_renew_state(&j->dir, j->uuid, j->permit->epoch, &j->err);
	if (j->permit->mode == PERMIT_BOOTSTRAP)
		return datadir_set_safe(&j->dir, &j->err);
	return wants_full_copy(j) ? datadir_forget_state(&j->dir, &j->err) : 0;
}

/* What a bootstrap starts on is the copy that counts from now on. A joiner's is not, until it was Synced. */
static void mark_start(struct start_job *j)
{
	bool is_copy = j->class == GC_CLEAN || j->class == GC_CRASHED;

	j->mark.synced = j->permit->mode == PERMIT_BOOTSTRAP;
	if (j->mark.synced)
		j->mark.whole = true;
	else if (!is_copy || j->blob || wants_full_copy(j))
		j->mark.whole = false;
}

static void prepare_work(void *arg)
{
	struct start_job *j = arg;
	int r;

	bug_if(!bug_in_job());
	r = keep_aside(j);
	if (!r && j->blob)
		r = unpack(j);
	if (!r)
		r = set_state(j);
	if (!r)
		r = datadir_clean_markers(&j->dir, &j->err);
	if (!r) {
		mark_start(j);
		j->mark.state = VOLUME_DIRTY;
		j->mark.epoch = j->permit->epoch;
		r = datadir_mark_store(&j->dir, &j->mark, &j->err);
	}
	conmon_log_mark(j->log_path, &j->log_end);
	j->result = r;
}

static int write_files(struct galera *g, struct err *e)
{
	static const struct foreign_owner folder = {.mode = 0755};
	struct options_input in;
	struct buf out = {0};
	char sst[128];
	int r;

	/* What a killed server left, or somebody planted there: a server waits at a FIFO, too. */
	foreign_unlink(task_run_dir(g->task), SOCKET_NAME, NULL);
	foreign_unlink(task_run_dir(g->task), PID_NAME, NULL);
	galera_options_input(g, &in);
	in.sst_password = galera_secret(g, "gs_sst", sst, sizeof(sst));
	r = options_format(&in, &out, e);
	if (!r)
		r = galera_run_write(g, OPTIONS_NAME, out.data, out.len, 0600, false, e);
	buf_fini(&out);
	if (!r)
		r = foreign_mkdir(task_run_dir(g->task), SST_DIR_NAME, &folder, e);
	if (!r)
		r = galera_run_write(g, SST_DIR_NAME "/wsrep_sst_gswarm", sst_program,
				     sizeof(sst_program) - 1, 0755, true, e);
	return r;
}

static bool is_start_position_told(const struct galera *g)
{
	Gs__GaleraClass class = g->evidence->class_;

	if (!g->evidence->position || g->evidence->position->seqno < 0)
		return false;
	if (class == GC_DDL_CRASHED || class == GC_DAMAGED)
		return g->permit->mode == PERMIT_BOOTSTRAP;
	return class == GC_CRASHED && !g->permit->force_sst && !g->permit->quarantine;
}

static void launch(struct galera *g)
{
	bool is_new = g->permit->mode == PERMIT_BOOTSTRAP;
	struct galera_position pos = {.seqno = -1};
	struct start_argv argv;
	struct err e = {0};

	bug_if(!g->permit || !g->evidence || !sm_is(&g->step, GA_PREPARING));
	if (write_files(g, &e)) {
		galera_fail(g, &e);
		return;
	}
	/* Only after a crash: with a clean grastate.dat the server knows, with a forced SST it must not. Damage has
	 * none but to bootstrap, behind a new grastate.dat. */
	if (is_start_position_told(g)) {
		snprintf(pos.uuid, sizeof(pos.uuid), "%s", g->evidence->position->uuid);
		pos.seqno = g->evidence->position->seqno;
	}
	options_argv(&g->image, is_new, &pos, &argv);
	datadir_unlock(&g->dir);
	galera_go(g, GA_STARTING);
	task_start(g->task, g->attempt, argv.v);
}

static void prepare_done(void *arg)
{
	struct start_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	if (galera_is_current(g, j->turn)) {
		g->mark = j->mark;
		g->log_since = j->log_end;
		g->log_known = true;
		if (j->result)
			galera_fail(g, &j->err);
		else
			launch(g);
	}
	datadir_fini(&j->dir);
	obj_free(j->permit);
	free(j->blob);
	free(j->archiver);
	free(j->log_path);
	galera_unref(g);
	free(j);
}

static void prepare(struct galera *g, bool has_blob)
{
	const Gs__Task *row = task_row(g->task);
	struct start_job *j = xcalloc(1, sizeof(*j));
	struct err e = {0};

	bug_if(!g->permit || !g->evidence || !g->dir.path);
	/* It is not called back when the task is stopped: until it ends nobody else may have the data. */
	if (datadir_share(&j->dir, &g->dir, &e) < 0) {
		free(j);
		galera_fail(g, &e);
		return;
	}
	j->g = galera_ref(g);
	j->turn = g->turn;
	j->mark = g->mark;
	snprintf(j->mark.cluster, sizeof(j->mark.cluster), "%s", row->galera_cluster_id);
	snprintf(j->mark.slot, sizeof(j->mark.slot), "%s", row->slot_id);
	snprintf(j->mark.volume, sizeof(j->mark.volume), "%s", g->evidence->volume_id);
	j->permit = obj_dup(g->permit);
	j->class = g->evidence->class_;
	if (g->evidence->position)
		snprintf(j->uuid, sizeof(j->uuid), "%s", g->evidence->position->uuid);
	j->archiver = xasprintf("%s/gswarm-archive", task_exe_dir(g->task));
	j->log_path = xstrdup(task_log_path(g->task));
	if (has_blob)
		j->blob = xasprintf("%s/%s", task_blob_dir(g->task), g->permit->genesis_sha256);
	loop_work(g->loop, prepare_work, prepare_done, j);
}

static void on_fetched(const struct err *e, void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);

	g->fetch = NULL;
	if (e) {
		log_warn("task %s: genesis not fetched (%s): a full state transfer follows",
			 task_row(g->task)->name, e->msg);
		task_progress(g->task, "no genesis: full state transfer");
	}
	prepare(g, !e);
}

static void fetch(struct galera *g, const Gs__GaleraPermit *permit,
		  void (*done)(const struct err *e, void *arg))
{
	struct blob_fetch_spec spec = {.sha256 = permit->genesis_sha256,
				       .galera_cluster_id = task_row(g->task)->galera_cluster_id,
				       .blob_dir = task_blob_dir(g->task),
				       .peers = permit->genesis_peers,
				       .n_peers = permit->n_genesis_peers,
				       .identity = task_identity(g->task),
				       .node_id = task_row(g->task)->node_id,
				       .done = done,
				       .arg = g};

	g->fetch = blob_fetch_start(g->loop, &spec);
}

static void fetch_or_prepare(struct galera *g)
{
	if (!wants_genesis(g)) {
		prepare(g, false);
		return;
	}
	task_progress(g->task, "fetching genesis");
	fetch(g, g->permit, on_fetched);
}

void start_start(struct galera *g)
{
	galera_go(g, GA_PREPARING);
	if (!g->fetch) /* else the one that runs ahead goes on from here */
		fetch_or_prepare(g);
}

/* Whether it came or not: the start looks for it, and asks again. */
static void on_prefetched(const struct err *e, void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);

	g->fetch = NULL;
	if (e)
		log_warn("task %s: genesis not fetched ahead: %s", task_row(g->task)->name, e->msg);
	if (sm_is(&g->step, GA_PREPARING))
		fetch_or_prepare(g);
}

void start_prefetch(struct galera *g, const Gs__GaleraPermit *permit)
{
	if (!g->fetch && sha256_is_valid(permit->genesis_sha256))
		fetch(g, permit, on_prefetched);
}
