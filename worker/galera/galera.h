// SPDX-License-Identifier: Apache-2.0
/* One Galera member in the worker: shared by driver.c (the machine), hold.c, genesis.c, start.c and watch.c.
 *
 *   IDLE -- hold --> EVIDENCE --> HELD -- permit --> GENESIS --> IDLE (worker/task/machine.c holds again)
 *                                   |
 *                                   +-- permit --> PREPARING --> STARTING -- running --> RUNNING
 *   exited, or a failure: IDLE again
 * `turn` rises whenever the task begins something new; a job whose turn is over is dropped when it comes
 * back. The structure outlives detach() until its last job is back. */
#pragma once
#include "base/loop.h"
#include "base/sm.h"
#include "worker/task/driver.h"
#include "base/foreign.h"
#include "worker/galera/archive.h"
#include "worker/galera/evidence.h"
#include "worker/galera/options.h"
#include "worker/galera/peer.h"
#include "worker/galera/probe.h"
#include "worker/galera/sql.h"
#include "worker/runtime/conmon_log.h"

#define DEFAULT_DATADIR "/var/lib/mysql"
#define TOOL_CNF "tool.cnf"

/* The table of legal moves is in driver.c. */
enum galera_step { GA_IDLE, GA_EVIDENCE, GA_HELD, GA_GENESIS, GA_PREPARING, GA_STARTING, GA_RUNNING };

#define GALERA_MAGIC MAGIC('g', 'a', 'l', 'e')

struct galera {
	uint32_t magic;
	struct task *task; /* NULL after detach */
	uv_loop_t *loop;
	unsigned refs, turn;
	struct sm step;
	uint32_t attempt;
	struct datadir dir; /* path NULL until the first hold */
	struct image_probe image;

	Gs__GaleraEvidence *evidence;
	struct volume_mark mark;
	Gs__GaleraPermit *permit; /* waits for HELD, or is being carried out */
	bool marking;             /* a job rewrites gswarm.json; a hold waits for it */
	bool mark_warned;         /* of this run: that it could not be written was told */
	bool hold_waits;

	struct blob_fetch *fetch;
	struct probe *probe;
	struct sql *admin;
	Gs__GaleraView *view;    /* last one reported */
	Gs__GaleraView *primary; /* newest Primary one of this process */
	bool log_read;           /* the server's log was asked for it since it was last Primary */
	unsigned log_jobs;       /* that read it now */
	int64_t log_next_ms;     /* not again before */
	bool log_known;          /* this worker started the process: log_since is where its lines begin */
	struct conmon_mark log_since;
	int64_t seqno_sent, seqno_sent_ms, synced_since_ms;
	int64_t left_since_ms;    /* Disconnected at every poll since then; 0: it is not */
	bool settled, was_synced; /* in this run of the server */
	struct loop_timer tick;   /* progress, seqno, settling; also the delayed answer to stopping() */
	bool stop_answer, progress_busy;
	int64_t progress_next_ms;
	char progress[64];
};

/* For each job that comes back, so that it finds the structure. */
struct galera *galera_ref(struct galera *g);
/* The last one frees it. */
void galera_unref(struct galera *g);
/* The job's turn is still on. */
bool galera_is_current(const struct galera *g, unsigned turn);
/* The only way to the next step. */
void galera_go(struct galera *g, enum galera_step step);
extern const struct sm_kind galera_kind; /* for tests */
/* This attempt is over before a start; e is told to the task. */
void galera_fail(struct galera *g, const struct err *e);

/* ---- files for the task ---- */
char *galera_run_path(const struct galera *g, const char *name);
/* Into the run folder, owned by the task's user unless root_owned. */
int galera_run_write(const struct galera *g, const char *name, const void *data, size_t len, mode_t mode,
		     bool root_owned, struct err *e);
/* TOOL_CNF into the run folder, for a tool on the datadir. recover: see options_tool_format. */
int galera_tool_cnf(struct galera *g, bool recover, struct err *e);
/* "" when the secret has not arrived. */
const char *galera_secret(const struct galera *g, const char *name, char *buf, size_t n);
/* Borrows from g and from its row: for use before either changes. */
void galera_options_input(const struct galera *g, struct options_input *ret);

const char *galera_target(const struct galera *g);  /* the datadir as the task sees it */
const char *galera_datadir(const struct galera *g); /* as the host sees it, or NULL */

/* ---- steps ---- */
void hold_start(struct galera *g);
/* Makes this cluster's first data, which is only done in an empty datadir, and tells the task what
 * came of it. */
void genesis_start(struct galera *g);
/* Carries out g->permit: data there, options written, then task_start; galera_fail when it cannot. */
void start_start(struct galera *g);
/* The archive that a later start will need, ahead of its turn. What fails is tried by the start. */
void start_prefetch(struct galera *g, const Gs__GaleraPermit *permit);
/* The process runs: ask it what it is from now on, as a new run. */
void watch_start(struct galera *g);
/* Ask no more. Also when nothing was started. */
void watch_stop(struct galera *g);
void watch_tick(struct galera *g); /* each second */
/* gswarm.json was rewritten: a hold that waits for it begins. */
void galera_marked(struct galera *g);
void watch_pc_bootstrap(struct galera *g, const Gs__GaleraPermit *permit);
/* End the process if it was never in a Primary view. */
void watch_withdraw(struct galera *g);
