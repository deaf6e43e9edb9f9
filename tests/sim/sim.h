// SPDX-License-Identifier: Apache-2.0
/* A simulated swarm: the real store, reconcilers, assignments and report checks; everything else is a model.
 *
 *   main.c     one run: make a swarm, faults for a while, then peace and a verdict
 *   core.c     seeded numbers, virtual clock, event queue, trace
 *   leader.c   the daemon around the reconcilers: sessions, commits, crash and restart from the log
 *   worker.c   a node agent: assignments in, task states and reports out, volumes
 *   model.c    Galera: views and quorum, write-sets, IST and SST
 *   faults.c   what goes wrong, the clients, the user
 *   check.c    what must never happen (docs/galera.md), and what must be true in the end */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/id.h"
#include "manager/model/report.h"
#include "manager/session/assign.h"
#include "manager/galera/galera.h"
#include "manager/reconcile/reconcile.h"
#include "tests/lib/consensus_memory.h"

#define NODES 5
#define CLUSTER_ID "galeragaleragaleragalera0"
#define DB_SERVICE "dbservicedbservicedbserv0"
#define WEB_SERVICE "webservicewebservicewebs0"
#define ALL_SERVICE "allserviceallserviceallse"

struct sim;
typedef void (*sim_fn)(struct sim *s, void *arg, uint64_t tag);

/* ---- Galera's own state ---- */
struct line { /* a run of write-sets; forks point to where they left their parent */
	unsigned parent;
	int64_t fork, tip, acked;
};
struct comp { /* what the members of a Primary component share */
	unsigned line, uuid;
	int64_t seqno;
};
struct wtask;
struct view {
	uint64_t id, conf;
	struct wtask *members[NODES * 2];
	unsigned incarnation[NODES * 2];
	size_t n, left;
	struct comp *comp;
	bool consented;
};
enum proc_state { PROC_NONE, PROC_WAIT, PROC_TRANSFER, PROC_SYNCED };
struct proc {
	enum proc_state state;
	bool prim, stopped, donor, sst, was_prim, new_cluster;
	unsigned incarnation;
	uint64_t group_epoch;
	struct view *view, *last_pc;
	struct wtask *donor_task; /* who feeds us */
	int64_t started_ms;
	uint64_t transfer;
	unsigned line; /* what it has received, applied or not */
	int64_t received;
};

/* ---- a worker's things ---- */
struct volume {
	struct volume *next;
	char id[ID_LEN + 1];
	unsigned node;
	bool data, torn, clean, stb, genesis, no_grastate;
	uint64_t epoch;
	unsigned uuid, line;
	int64_t seqno;
	struct wtask *user;
};
struct wtask {
	struct wtask *next;
	unsigned node;
	Gs__Task *row;
	bool assigned, dead; /* dead: final was reached */
	Gs__TaskStatus *status;
	uint64_t step; /* timers of an older step are void */
	uint64_t version, acked, permit_serial;
	uint64_t heard_in; /* manager's side: the session in which a report of it was taken last */
	struct volume *vol;
	struct proc p;
	unsigned fails;
};
struct node {
	unsigned index;
	char id[ID_LEN + 1];
	bool up, worker_up, cut_manager;
	uint64_t boot, session, seq_in; /* session: 0 none */
	bool opening;
	int64_t last_to_manager_ms, last_from_manager_ms;
	/* manager's side of the session */
	uint64_t m_session, m_seq_out;
	struct assign_set *m_set;
	bool m_dirty, m_flush;
	int64_t m_seen_ms, m_opened_ms;
};

struct entry {
	uint8_t *data;
	size_t len;
};
struct manager {
	struct store *store, *replica;
	struct consensus *engine;
	struct consensus_fsm fsm, replica_fsm;
	bool up, dirty, busy, scheduled;
	uint64_t term, sessions;
	struct reconcile_env env;
	struct galera_rules rules;
	int64_t leader_since_ms, wake_at;
	uint8_t *snap;
	size_t snap_len, snap_index;
	uint64_t commits;
	int64_t seqnos[64];
};

struct sim_event {
	int64_t at;
	uint64_t order;
	sim_fn fn;
	void *arg;
	uint64_t tag;
};
struct sim {
	uint64_t seed, rng;
	struct clock_virtual vc;
	struct clock clock;
	struct sim_event *heap;
	size_t n_heap, cap_heap;
	uint64_t orders, ids, steps, incarnations, views;
	struct node nodes[NODES];
	bool cut[NODES][NODES];
	struct wtask *tasks;
	struct volume *volumes;
	struct manager m;
	struct entry *log;
	size_t n_log, cap_log;
	struct line *lines;
	size_t n_lines;
	struct view **all_views;
	struct comp **all_comps;
	size_t n_views, n_comps;
	unsigned uuids;
	bool faults, clients, verbose, use_single_writer;
	bool consent;               /* the operator forced something: losses are accepted from now on */
	uint64_t destroyed;         /* volumes that a fault took */
	bool failed, probing, over; /* over: messages on the way are only freed */
	char why[512];
	char (*trace)[200];
	size_t n_trace;
	/* counters, to see that a run exercised something */
	unsigned n_boot, n_elect, n_pc, n_ist, n_sst, n_blocked, n_acked, n_kill, n_restart;
	uint64_t seen_epoch;
	unsigned replicas; /* of the database, as the user wants it */
	unsigned web, leaving;
};

/* ---- core.c ---- */
uint64_t rnd(struct sim *s, uint64_t n); /* 0..n-1 */
bool chance(struct sim *s, unsigned percent);
int64_t between(struct sim *s, int64_t lo, int64_t hi);
int64_t now(const struct sim *s);
void at(struct sim *s, int64_t delay_ms, sim_fn fn, void *arg, uint64_t tag);
bool step(struct sim *s, int64_t until_ms);
void say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_new_id(void *arg, char ret[ID_LEN + 1]);

/* ---- leader.c ---- */
void manager_start(struct sim *s);
void manager_crash(struct sim *s);
void manager_commit(struct sim *s, struct tx *tx);
void manager_free(struct sim *s);
void manager_opens(struct sim *s, struct node *n);
void manager_heartbeat(struct sim *s, struct node *n, uint64_t session);
void manager_reports(struct sim *s, struct node *n, uint64_t session, Gs__TaskReport **reports,
		     struct wtask **tasks, uint64_t *versions, size_t count);
void manager_drop_session(struct sim *s, struct node *n);

void deliver_items(struct sim *s, void *arg, uint64_t tag);

/* ---- worker.c ---- */
void deliver_reports(struct sim *s, void *arg, uint64_t tag);
void worker_boot(struct sim *s, struct node *n);
void worker_stop(struct sim *s, struct node *n); /* the agent only; processes go on */
void worker_items(struct sim *s, struct node *n, uint64_t session, uint64_t seq, Gs__AssignmentItem **items,
		  size_t count, bool complete);
void worker_session_broken(struct sim *s, struct node *n);
void worker_session_opened(struct sim *s, struct node *n, uint64_t session);
void worker_proc_exited(struct sim *s, struct wtask *t, const char *why);
void worker_changed(struct sim *s, struct wtask *t);
void node_down(struct sim *s, struct node *n);
void node_up(struct sim *s, struct node *n);
const char *task_label(const struct wtask *t);

/* ---- model.c ---- */
void galera_start(struct sim *s, struct wtask *t, bool new_cluster, const Gs__GaleraPermit *p);
void galera_kill(struct sim *s, struct wtask *t);
void galera_leave(struct sim *s, struct wtask *t);
void galera_pc_bootstrap(struct sim *s, struct wtask *t, uint64_t conf);
void galera_tick(struct sim *s);
void galera_eval_soon(struct sim *s, int64_t lo, int64_t hi);
bool galera_write(struct sim *s, struct wtask *t);
void galera_fill_view(struct sim *s, const struct wtask *t, Gs__GaleraView *v);
bool galera_is_effective(const struct sim *s, const struct view *v);
bool is_prefix(const struct sim *s, unsigned l1, int64_t s1, unsigned l2, int64_t s2);
unsigned new_line(struct sim *s, unsigned parent, int64_t fork);
void uuid_text(unsigned n, char ret[40]);

/* ---- faults.c ---- */
void faults_start(struct sim *s);
void faults_heal(struct sim *s);
void world_create(struct sim *s);

/* ---- check.c ---- */
void check_step(struct sim *s);
void check_commit(struct sim *s);
void check_bootstrap(struct sim *s, struct wtask *t, const char *how);
void check_history(struct sim *s, const struct view *v);
void check_replicas(struct sim *s);
void check_end(struct sim *s);
