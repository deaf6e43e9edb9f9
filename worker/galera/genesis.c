// SPDX-License-Identifier: Apache-2.0
/* Genesis: the one datadir that every first member starts from.
 *
 *   mark BUILDING, wipe -> tool: install-db, then the server with provider, gcomm:// and an init file that
 *                                makes the accounts and stops it
 *                       -> pack, hash, keep under blobs/ -> mark GENESIS -> task_genesis_done
 *
 * The server must run with its provider once: the position has to be inside InnoDB as well, or a joiner aborts
 * with "Application received wrong state". What can fail: the tool (its last words are told), a full disk.
 * Whatever was interrupted is found by its BUILDING mark and wiped. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "worker/galera/galera.h"
#include "worker/galera/genesis_sql.h"
#include "worker/host/spawner.h"

#define TOOL_DEADLINE_MS 60000
#define SQL_NAME "genesis.sql"

struct genesis_job {
	struct galera *g;
	unsigned turn;
	struct datadir dir; /* with the lock, until the job and its tool have ended */
	struct volume_mark mark;
	char *blob_dir, *archiver;
	char sha256[SHA256_TEXT];
	uint64_t size;
	struct grastate state;
	uint64_t epoch;
	char version[64];
	bool is_done; /* found whole from an earlier attempt */
	int result;
	struct err err;
};

/* NULL: the lock cannot be shared. */
static struct genesis_job *job_new(struct galera *g, struct err *e)
{
	const Gs__Task *row = task_row(g->task);
	struct genesis_job *j = xcalloc(1, sizeof(*j));

	if (datadir_share(&j->dir, &g->dir, e) < 0) {
		free(j);
		return NULL;
	}
	j->g = galera_ref(g);
	j->turn = g->turn;
	j->blob_dir = xstrdup(task_blob_dir(g->task));
	j->archiver = xasprintf("%s/gswarm-archive", task_exe_dir(g->task));
	j->epoch = g->permit->epoch;
	j->mark = g->mark;
	snprintf(j->mark.cluster, sizeof(j->mark.cluster), "%s", row->galera_cluster_id);
	snprintf(j->mark.slot, sizeof(j->mark.slot), "%s", row->slot_id);
	snprintf(j->mark.volume, sizeof(j->mark.volume), "%s", g->evidence->volume_id);
	return j;
}

static void job_free(struct genesis_job *j)
{
	datadir_fini(&j->dir);
	free(j->blob_dir);
	free(j->archiver);
	galera_unref(j->g);
	free(j);
}

static int read_state(struct genesis_job *j, struct err *e)
{
	int r = datadir_grastate(&j->dir, &j->state, e);

	if (!r && (j->state.position.seqno < 0 || galera_uuid_is_zero(j->state.position.uuid)))
		r = err_set(e, E_CORRUPT, "genesis: the server did not stop cleanly");
	return r;
}

/* ---- 3. pack ---- */

static void pack_work(void *arg)
{
	struct genesis_job *j = arg;

	j->result = read_state(j, &j->err);
	if (!j->result)
		j->result = datadir_clean_markers(&j->dir, &j->err);
	if (!j->result)
		j->result = datadir_sync(&j->dir, &j->err);
	if (!j->result)
		j->result = archive_pack(j->archiver, j->dir.path, j->blob_dir, j->sha256, &j->size, &j->err);
	if (j->result)
		return;
	j->mark.state = VOLUME_GENESIS;
	snprintf(j->mark.genesis, sizeof(j->mark.genesis), "%s", j->sha256);
	snprintf(j->mark.uuid, sizeof(j->mark.uuid), "%s", j->state.position.uuid);
	j->result = datadir_mark_store(&j->dir, &j->mark, &j->err);
}

static void tell(struct galera *g, struct genesis_job *j)
{
	Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;
	Gs__GenesisResult r = GS__GENESIS_RESULT__INIT;

	pos.uuid = j->state.position.uuid;
	pos.seqno = j->state.position.seqno;
	r.sha256 = j->sha256;
	r.size = j->size;
	r.position = &pos;
	r.server_version = j->version;
	r.epoch = j->epoch;
	datadir_unlock(&j->dir); /* the next hold takes it before this job is freed */
	datadir_unlock(&g->dir);
	obj_free(g->permit);
	g->permit = NULL;
	galera_go(g, GA_IDLE);
	task_genesis_done(g->task, g->attempt, &r);
}

static void pack_done(void *arg)
{
	struct genesis_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	if (galera_is_current(g, j->turn)) {
		if (j->result)
			galera_fail(g, &j->err);
		else
			tell(g, j);
	}
	job_free(j);
}

/* ---- 2. the tool ---- */

static void on_tool(const struct capture_result *r, void *arg)
{
	struct genesis_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);
	struct recover_result said;
	struct err e = {0};
	char words[240];

	if (!galera_is_current(g, j->turn)) {
		job_free(j);
		return;
	}
	foreign_unlink(task_run_dir(g->task), SQL_NAME, NULL);
	if (r->err.code || r->timed_out || r->signal || r->status) {
		server_last_words(r->errout ? r->errout : "", words, sizeof(words));
		err_set(&e, E_UNAVAILABLE, "genesis: %s",
			r->err.code    ? r->err.msg
			: r->timed_out ? "not done after a minute: is MYSQL_USER, MYSQL_DATABASE or "
					 "ROOT_HOST a valid name?"
				       : words);
		galera_fail(g, &e);
		job_free(j);
		return;
	}
	recover_parse(r->errout, r->errout_len, &said);
	snprintf(j->version, sizeof(j->version), "%s", said.version);
	loop_work(g->loop, pack_work, pack_done, j);
}

/* Both runs in one container start. `set -e`: a failed install-db ends it. */
static char *tool_script(const struct galera *g, const char *datadir)
{
	char group[48];

	options_group_name(task_row(g->task)->galera_cluster_id, 0, group, sizeof(group));
	return xasprintf(
		"set -e\n"
		"%s --defaults-file=" TASK_RUN "/" TOOL_CNF " --datadir=%s "
		"--auth-root-authentication-method=normal --skip-test-db >&2\n"
		"exec %s --defaults-file=" TASK_RUN "/" TOOL_CNF " --init-file=" TASK_RUN "/" SQL_NAME
		" --wsrep-on=ON --wsrep-provider=%s --wsrep-cluster-name=%s --wsrep-cluster-address=gcomm:// "
		"--wsrep-node-address=127.0.0.1 "
		"--wsrep-provider-options='gcache.size=1M;pc.recovery=FALSE;"
		"gmcast.listen_addr=tcp://0.0.0.0:4567'\n",
		g->image.install_db, datadir, g->image.server, g->image.provider, group);
}

static void run_tool(struct galera *g, struct genesis_job *j)
{
	struct options_input in;
	cleanup_free char *script = NULL;

	galera_options_input(g, &in);
	script = tool_script(g, in.datadir);
	const char *argv[] = {"/bin/sh", "-c", script, NULL};

	task_progress(g->task, "genesis");
	task_run_tool(g->task, argv, NULL, 0, TOOL_DEADLINE_MS, on_tool, j);
}

/* ---- 1. mark and wipe ---- */

static bool found_whole(struct genesis_job *j)
{
	cleanup_free char *blob = xasprintf("%s/%s", j->blob_dir, j->mark.genesis);

	return j->mark.state == VOLUME_GENESIS && !j->mark.epoch && sha256_is_valid(j->mark.genesis) &&
	       !sha256_file(blob, j->sha256, &j->size, NULL) && strcmp(j->sha256, j->mark.genesis) == 0 &&
	       !read_state(j, &j->err);
}

static void wipe_work(void *arg)
{
	struct genesis_job *j = arg;

	j->is_done = found_whole(j);
	if (j->is_done)
		return;
	j->mark.state = VOLUME_BUILDING;
	j->mark.epoch = 0;
	j->mark.whole = j->mark.synced = false;
	j->result = datadir_mark_store(&j->dir, &j->mark, &j->err);
	if (!j->result)
		j->result = datadir_wipe(&j->dir, &j->err);
}

static void wipe_done(void *arg)
{
	struct genesis_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	if (!galera_is_current(g, j->turn) || j->result || j->is_done) {
		if (galera_is_current(g, j->turn) && j->result)
			galera_fail(g, &j->err);
		else if (galera_is_current(g, j->turn))
			tell(g, j);
		job_free(j);
		return;
	}
	g->mark = j->mark;
	run_tool(g, j);
}

/* ---- 0. what it needs ---- */

static int write_sql(struct galera *g, struct err *e)
{
	const Gs__TaskSpec *spec = task_row(g->task)->spec;
	char root[256], health[128], sst[128], admin[128];
	struct genesis_accounts a = {.root_host = "%"};
	struct buf out = {0};
	int r;

	a.root = galera_secret(g, "root", root, sizeof(root));
	if (!*a.root)
		a.root = genesis_env(spec, "ROOT_PASSWORD");
	a.health = galera_secret(g, "gs_health", health, sizeof(health));
	a.sst = galera_secret(g, "gs_sst", sst, sizeof(sst));
	a.admin = galera_secret(g, "gs_admin", admin, sizeof(admin));
	if (!*a.health || !*a.sst || !*a.admin)
		return err_set(e, E_UNAVAILABLE, "the secret of %s has not arrived",
			       !*a.health ? "gs_health"
			       : !*a.sst  ? "gs_sst"
					  : "gs_admin");
	if (!*a.root && !*genesis_env(spec, "ALLOW_EMPTY_PASSWORD") &&
	    !*genesis_env(spec, "ALLOW_EMPTY_ROOT_PASSWORD"))
		return err_set(e, E_INVALID,
			       "no root password: set the secret root or --env MYSQL_ROOT_PASSWORD=...");
	if (*genesis_env(spec, "ROOT_HOST"))
		a.root_host = genesis_env(spec, "ROOT_HOST");
	a.database = genesis_env(spec, "DATABASE");
	a.user = genesis_env(spec, "USER");
	a.password = genesis_env(spec, "PASSWORD");
	genesis_sql_format(&a, &out);
	r = galera_run_write(g, SQL_NAME, out.data, out.len, 0400, false, e);
	explicit_bzero(out.data, out.len);
	buf_fini(&out);
	return r;
}

void genesis_start(struct galera *g)
{
	Gs__GaleraClass class = g->evidence->class_;
	struct genesis_job *j = NULL;
	struct err e = {0};
	int r = 0;

	galera_go(g, GA_GENESIS);
	if (class != GC_EMPTY && class != GC_GENESIS)
		r = err_set(&e, E_UNSAFE_BOOTSTRAP, "genesis: the volume is not empty (%s)",
			    galera_class_name(class));
	else if (g->mark.epoch)
		r = err_set(&e, E_UNSAFE_BOOTSTRAP, "genesis: the volume has run in epoch %" PRIu64,
			    g->mark.epoch);
	else if (!g->image.install_db)
		r = err_set(&e, -2, "image %s has no mariadb-install-db", task_row(g->task)->spec->image);
	if (!r)
		r = write_sql(g, &e);
	if (!r)
		r = galera_tool_cnf(g, false, &e);
	if (!r)
		j = job_new(g, &e);
	if (!j) {
		galera_fail(g, &e);
		return;
	}
	loop_work(g->loop, wipe_work, wipe_done, j);
}
