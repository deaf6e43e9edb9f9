// SPDX-License-Identifier: Apache-2.0
/* While the server runs: its view on change, its seqno each second, its progress until SQL opens, the settled
 * timers once the cluster is whole, and pc.bootstrap when a permit says so. What can fail is SQL: a poll
 * without an answer is a view with sql_open false; an administrative statement that fails is logged and, for
 * pc.bootstrap, left to the manager, who sees no Primary and decides again. */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/runtime/conmon_log.h"
#include "worker/galera/galera.h"
#include "worker/galera/progress.h"
#include "worker/galera/server_log.h"

#define TICK_MS 1000
#define SETTLE_MS 10000 /* whole for this long: forming is over */
#define LEFT_MS                                                                                              \
	5000 /* a server that is told another address is Disconnected for a second, then reaches it or nobody */
#define ADMIN_TIMEOUT_MS 5000
#define LOG_TAIL (16u << 10)
#define PROGRESS_REST 50 /* times as long as the last look took: 2 % of a core at most */
/* The same of the log when a server says again and again that it has lost its Primary view; but a slow disk does not
 * keep the log from the manager for long. */
#define LOG_REST_MIN_MS 1000
#define LOG_REST_MAX_MS 10000

/* ---- view ---- */

static int64_t suspect_ms(const Gs__Task *row)
{
	const char *p = row->galera ? row->galera->profile : "";

	return strcmp(p, "lan-fast") == 0 ? 1000
	       : strcmp(p, "safe") == 0   ? 5000
	       : strcmp(p, "wan") == 0    ? 30000
					  : 2000;
}

/* As it stands in wsrep_incoming_addresses. */
static enum view_doubt judge(struct galera *g, const Gs__GaleraView *v)
{
	const Gs__Task *row = task_row(g->task);
	struct peer *peer = task_peer(g->task);
	char ip[64], address[80];

	if (!v->sql_open || !peer || !row->n_addresses || !row->addresses[0]->addr)
		return VIEW_TRUSTED;
	addr_format(&row->addresses[0]->addr->ip, ip, sizeof(ip));
	snprintf(address, sizeof(address), strchr(ip, ':') ? "[%s]:3306" : "%s:3306", ip);
	return peer_doubt(peer, row->galera_cluster_id, row->slot_id, address, v, suspect_ms(row));
}

/* ---- the last Primary view ---- */

struct log_job {
	struct galera *g;
	unsigned turn;
	char *path;
	bool is_known;
	struct conmon_mark since;
	struct log_primary seen;
	int result;
	int64_t took_ms;
	void (*done)(struct galera *g, const struct log_primary *seen);
};

static void log_work(void *arg)
{
	struct log_job *j = arg;
	int64_t begin_ms = clock_mono_ms(&clock_real);

	bug_if(!bug_in_job());
	j->result = log_primary_read(j->path, j->is_known ? &j->since : NULL, &j->seen, &(struct err){0});
	j->took_ms = clock_mono_ms(&clock_real) - begin_ms;
}

/* The polls are half a second apart: the log may know a newer one. */
static void primary_merge(struct galera *g, const struct log_primary *seen)
{
	Gs__GaleraView *v;

	if (!seen->n_members || (g->primary && g->primary->conf_id >= seen->conf_id))
		return;
	v = obj_new(&gs__galera_view__descriptor);
	v->conf_id = seen->conf_id;
	for (size_t i = 0; i < seen->n_members; i++)
		obj_add_str(&v->n_members, &v->members, seen->members[i]);
	obj_free(g->primary);
	g->primary = v;
}

static int64_t log_rest_ms(int64_t took_ms)
{
	int64_t rest = took_ms * PROGRESS_REST;

	return rest < LOG_REST_MIN_MS ? LOG_REST_MIN_MS : rest > LOG_REST_MAX_MS ? LOG_REST_MAX_MS : rest;
}

static void log_done(void *arg)
{
	struct log_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	bug_if(!g->log_jobs);
	g->log_jobs--;
	g->log_next_ms = clock_mono_ms(&clock_real) + log_rest_ms(j->took_ms);
	if (galera_is_current(g, j->turn) && sm_is(&g->step, GA_RUNNING)) {
		if (j->result)
			log_warn("task %s: its log cannot be read", task_row(g->task)->name);
		primary_merge(g, &j->seen);
		if (j->done)
			j->done(g, &j->seen);
	}
	log_primary_fini(&j->seen);
	free(j->path);
	galera_unref(g);
	free(j);
}

static void log_read(struct galera *g, void (*done)(struct galera *g, const struct log_primary *seen))
{
	struct log_job *j = xcalloc(1, sizeof(*j));

	j->g = galera_ref(g);
	j->turn = g->turn;
	j->path = xstrdup(task_log_path(g->task));
	j->is_known = g->log_known;
	j->since = g->log_since;
	j->done = done;
	g->log_jobs++;
	loop_work(g->loop, log_work, log_done, j);
}

/* Once for each loss of the Primary view; the next poll asks again when this one may not. */
static void log_ask(struct galera *g)
{
	if (g->log_read || g->log_jobs || clock_mono_ms(&clock_real) < g->log_next_ms)
		return;
	g->log_read = true;
	log_read(g, NULL);
}

static void note_primary(struct galera *g, Gs__GaleraView *v)
{
	if (!v->sql_open)
		return;
	if (strcmp(v->status, "Primary") == 0) {
		if (!g->primary || v->conf_id > g->primary->conf_id)
			obj_set(&g->primary, v);
		g->log_read = false;
		return;
	}
	log_ask(g);
	view_set_primary(v, g->primary);
}

static void report(struct galera *g, Gs__GaleraView *v)
{
	const Gs__Task *row = task_row(g->task);
	struct peer *peer = task_peer(g->task);

	if (g->view && view_is_same(g->view, v))
		return;
	obj_set(&g->view, v);
	task_view(g->task, v);
	if (peer)
		peer_push(peer, row->galera_cluster_id, row->slot_id, g->permit ? g->permit->epoch : 0, v);
}

static void report_seqno(struct galera *g, const Gs__GaleraView *v)
{
	int64_t now = clock_mono_ms(&clock_real);

	if (!v->sql_open || v->last_committed == g->seqno_sent || now - g->seqno_sent_ms < 1000)
		return;
	g->seqno_sent = v->last_committed;
	g->seqno_sent_ms = now;
	task_seqno(g->task, v->last_committed);
}

/* A server that starts takes no statements before it is in a group: one that answers and is Disconnected has left
 * (SET GLOBAL wsrep_cluster_address, an error of the provider) and stays so until it is started anew. */
static bool has_left(struct galera *g, const Gs__GaleraView *v)
{
	int64_t now = clock_mono_ms(&clock_real);

	if (!v->sql_open || strcmp(v->status, "Disconnected") != 0)
		g->left_since_ms = 0;
	else if (!g->left_since_ms)
		g->left_since_ms = now;
	return g->left_since_ms && now - g->left_since_ms >= LEFT_MS;
}

/* ---- the volume's record: what lies there is whole, and may be the newest ---- */

struct synced_job {
	struct galera *g;
	unsigned turn;
	struct datadir dir;
	int result;
	struct err err;
};

static void synced_work(void *arg)
{
	struct synced_job *j = arg;
	struct volume_mark m;

	bug_if(!bug_in_job());
	j->result = datadir_claim(&j->dir, &j->err);
	if (!j->result)
		j->result = datadir_mark_load(&j->dir, &m, &j->err);
	if (j->result || (m.whole && m.synced))
		return;
	m.whole = m.synced = true;
	j->result = datadir_mark_store(&j->dir, &m, &j->err);
}

static void synced_done(void *arg)
{
	struct synced_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	datadir_fini(&j->dir);
	if (galera_is_current(g, j->turn)) {
		g->mark.whole = g->mark.synced = j->result == 0;
		if (j->result && !g->mark_warned)
			log_warn("task %s: that it was Synced is not in its volume's record: %s",
				 task_row(g->task)->name, j->err.msg);
		g->mark_warned = j->result != 0;
	}
	galera_marked(g);
	galera_unref(g);
	free(j);
}

/* Until it succeeds: from now on the data may be the only copy of what is acknowledged. */
static void note_synced(struct galera *g)
{
	struct synced_job *j;

	if (!g->was_synced || (g->mark.whole && g->mark.synced) || g->marking || !g->dir.path)
		return;
	j = xcalloc(1, sizeof(*j));
	j->g = galera_ref(g);
	j->turn = g->turn;
	datadir_copy(&j->dir, &g->dir);
	g->marking = true;
	loop_work(g->loop, synced_work, synced_done, j);
}

static void on_poll(Gs__GaleraView *v, bool stalled, void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);
	enum view_doubt doubt = judge(g, v);

	if (stalled && doubt == VIEW_TRUSTED)
		doubt = VIEW_STALLED;
	if (has_left(g, v))
		doubt = VIEW_LEFT;
	if (!g->was_synced && v->sql_open && v->local_state == 4) {
		g->was_synced = true;
		note_synced(g);
	}
	str_replace(&v->health, view_health(v, doubt, g->was_synced));
	if (v->sql_open && v->local_state == 4 && *g->progress) {
		*g->progress = 0;
		task_progress(g->task, "%s", "");
	}
	if (strcmp(v->health, "READY"))
		g->synced_since_ms = 0;
	else if (!g->synced_since_ms)
		g->synced_since_ms = clock_mono_ms(&clock_real);
	note_primary(g, v);
	report(g, v);
	report_seqno(g, v);
}

/* ---- progress ---- */

struct progress_job {
	struct galera *g;
	unsigned turn;
	char *log_path, *dir;
	bool is_known;
	struct conmon_mark since;
	char text[64];
	int64_t took_ms;
};

static void progress_work(void *arg)
{
	struct progress_job *j = arg;
	int64_t begin_ms = clock_mono_ms(&clock_real);
	cleanup_free char *tail = NULL;
	enum start_phase phase;
	bool is_cut = false;
	uint64_t bytes = 0;
	size_t n;

	bug_if(!bug_in_job());
	if (conmon_log_tail(j->log_path, LOG_TAIL, j->is_known ? &j->since : NULL, &tail, &n,
			    &(struct err){0}))
		return;
	phase = progress_phase(tail, n);
	if (phase == PHASE_SST)
		bytes = datadir_bytes(j->dir, &is_cut);
	progress_format(phase, bytes, is_cut, j->text, sizeof(j->text));
	j->took_ms = clock_mono_ms(&clock_real) - begin_ms;
}

static void progress_done(void *arg)
{
	struct progress_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	g->progress_busy = false;
	g->progress_next_ms = clock_mono_ms(&clock_real) + j->took_ms * PROGRESS_REST;
	if (galera_is_current(g, j->turn) && g->probe && *j->text && strcmp(g->progress, j->text) &&
	    !(g->view && g->view->sql_open && g->view->local_state == 4)) {
		snprintf(g->progress, sizeof(g->progress), "%s", j->text);
		task_progress(g->task, "%s", j->text);
	}
	free(j->log_path);
	free(j->dir);
	galera_unref(g);
	free(j);
}

static void progress_start(struct galera *g)
{
	struct progress_job *j;

	if (g->progress_busy || !g->dir.path || !task_log_path(g->task) ||
	    clock_mono_ms(&clock_real) < g->progress_next_ms)
		return;
	j = xcalloc(1, sizeof(*j));
	j->g = galera_ref(g);
	j->turn = g->turn;
	j->log_path = xstrdup(task_log_path(g->task));
	j->is_known = g->log_known;
	j->since = g->log_since;
	j->dir = xstrdup(g->dir.path);
	g->progress_busy = true;
	task_work(g->task, progress_work, progress_done, j);
}

/* ---- administrative statements ---- */

static bool admin_open(struct galera *g)
{
	char password[128];
	cleanup_free char *socket = NULL;

	if (g->admin)
		return !sql_is_busy(g->admin);
	if (!*galera_secret(g, "gs_admin", password, sizeof(password)))
		return false;
	socket = galera_run_path(g, SOCKET_NAME);
	g->admin = sql_new(g->loop, socket, "gs_admin", password);
	explicit_bzero(password, sizeof(password));
	return true;
}

static void on_settled(const struct err *e, void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);

	if (e)
		log_warn("task %s: timers not settled: %s", task_row(g->task)->name, e->msg);
}

static void settle(struct galera *g)
{
	const Gs__Task *row = task_row(g->task);
	const char *options = options_settled(row->galera ? row->galera->profile : NULL);
	int64_t now = clock_mono_ms(&clock_real);
	char text[400];

	if (g->settled || !options || !g->synced_since_ms || now - g->synced_since_ms < SETTLE_MS)
		return;
	if (g->permit && g->view->cluster_size < g->permit->n_addresses)
		return;
	if (!admin_open(g))
		return;
	g->settled = true;
	snprintf(text, sizeof(text), "SET GLOBAL wsrep_provider_options='%s'", options);
	sql_run(g->admin, NULL, text, ADMIN_TIMEOUT_MS, NULL, on_settled, g);
}

static void on_pc_bootstrap(const struct err *e, void *arg)
{
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, arg);

	if (e)
		log_error("task %s: pc.bootstrap: %s", task_row(g->task)->name, e->msg);
	else
		log_info("task %s: pc.bootstrap done", task_row(g->task)->name);
}

struct epoch_job {
	struct galera *g;
	unsigned turn;
	struct datadir dir;
	char *log_path;
	bool is_known;
	struct conmon_mark since;
	uint64_t epoch, prim_conf_id, newest_conf_id;
	int result;
	struct err err;
};

static void epoch_work(void *arg)
{
	struct epoch_job *j = arg;
	struct log_primary seen = {0};
	struct volume_mark m;

	bug_if(!bug_in_job());
	log_primary_read(j->log_path, j->is_known ? &j->since : NULL, &seen, &(struct err){0});
	if (seen.conf_id > j->newest_conf_id)
		j->newest_conf_id = seen.conf_id;
	log_primary_fini(&seen);
	j->result = view_check_order(j->prim_conf_id, j->newest_conf_id, &j->err);
	if (j->result)
		return;
	/* Until the job ends no task after this one has the data: this may be late. */
	j->result = datadir_claim(&j->dir, &j->err);
	if (!j->result)
		j->result = datadir_mark_load(&j->dir, &m, &j->err);
	if (!j->result && j->epoch < m.epoch)
		j->result = err_set(&j->err, E_STALE_VERSION, "pc.bootstrap of an older epoch");
	if (j->result)
		return;
	m.epoch = j->epoch;
	j->result = datadir_mark_store(&j->dir, &m, &j->err);
}

static void epoch_done(void *arg)
{
	struct epoch_job *j = arg;
	struct galera *g = magic_of(struct galera, GALERA_MAGIC, j->g);

	bug_if_off_loop();
	if (galera_is_current(g, j->turn) && j->result) {
		log_warn("task %s: %s", task_row(g->task)->name, j->err.msg);
	} else if (galera_is_current(g, j->turn) && admin_open(g)) {
		g->mark.epoch = j->epoch;
		sql_run(g->admin, NULL, "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'",
			ADMIN_TIMEOUT_MS, NULL, on_pc_bootstrap, g);
	}
	datadir_fini(&j->dir);
	free(j->log_path);
	galera_unref(g);
	free(j);
}

/* The epoch is durable before the statement is sent: a member that dies in between knows which history it is
 * of. The order comes again until the member is seen Primary: then it means nothing any more. */
void watch_pc_bootstrap(struct galera *g, const Gs__GaleraPermit *permit)
{
	struct epoch_job *j;

	bug_if(!sm_is(&g->step, GA_RUNNING) || permit->mode != PERMIT_PC_BOOTSTRAP);
	if (!g->dir.path || (g->view && strcmp(g->view->status, "Primary") == 0))
		return;
	j = xcalloc(1, sizeof(*j));
	j->g = galera_ref(g);
	j->turn = g->turn;
	j->epoch = permit->epoch;
	j->prim_conf_id = permit->prim_conf_id;
	j->newest_conf_id = g->primary ? g->primary->conf_id : 0;
	j->log_path = xstrdup(task_log_path(g->task));
	j->is_known = g->log_known;
	j->since = g->log_since;
	datadir_copy(&j->dir, &g->dir);
	loop_work(g->loop, epoch_work, epoch_done, j);
}

/* ---- a joiner without a Primary ---- */

/* The order may be here before the server's first line. */
static void on_withdraw(struct galera *g, const struct log_primary *seen)
{
	const Gs__Task *row = task_row(g->task);

	if (g->primary || seen->was_primary || !(seen->has_start || g->log_known)) {
		log_info("task %s: not withdrawn, it has been in a Primary view", row->name);
		return;
	}
	log_info("task %s: withdrawn, the Primary it was to join is gone", row->name);
	task_restart(g->task, g->attempt, "the Primary it was to join is gone");
}

void watch_withdraw(struct galera *g)
{
	bug_if(!sm_is(&g->step, GA_RUNNING));
	log_read(g, on_withdraw);
}

/* ---- start, tick, stop ---- */

/* A task that was adopted runs before its secrets are here again: they come with the session. Until then
 * nothing is asked, so that "no password" is not taken for "no server". */
static void probe_start(struct galera *g)
{
	char password[128];
	cleanup_free char *socket = galera_run_path(g, SOCKET_NAME);
	struct probe_config config = {
		.socket_path = socket, .user = "gs_health", .on_poll = on_poll, .arg = g};

	config.password = galera_secret(g, "gs_health", password, sizeof(password));
	if (*config.password)
		g->probe = probe_new(g->loop, &config);
	explicit_bzero(password, sizeof(password));
}

void watch_tick(struct galera *g)
{
	bug_if_off_loop();
	note_synced(g);
	if (!g->probe)
		probe_start(g);
	if (!g->probe)
		return;
	if (!g->view || !g->view->sql_open || g->view->local_state != 4)
		progress_start(g);
	else
		settle(g);
}

void watch_start(struct galera *g)
{
	bug_if_off_loop();
	watch_stop(g);
	probe_start(g);
	g->settled = g->was_synced = g->log_read = g->mark_warned = false;
	obj_free(g->primary);
	g->primary = NULL;
	g->synced_since_ms = g->left_since_ms = 0;
	g->seqno_sent = -1;
	g->log_next_ms = 0;
	loop_timer_every(&g->tick, TICK_MS, TICK_MS);
}

void watch_stop(struct galera *g)
{
	bug_if_off_loop();
	probe_free(g->probe);
	g->probe = NULL;
	sql_close(g->admin);
	g->admin = NULL;
	obj_free(g->view);
	g->view = NULL;
	*g->progress = 0;
	loop_timer_stop(&g->tick);
}
