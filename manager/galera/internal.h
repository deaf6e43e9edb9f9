// SPDX-License-Identifier: Apache-2.0
/* Inside of the Galera controller (this folder). docs/galera.md has the picture.
 *
 * One struct galera is one cluster in one pass: a working copy `c` of its row, and per slot what is known of
 * it (`m`). Everything below reads those and changes `c` or, through galera_edit_task, tasks. What equals the
 * committed row at the end is not written, so an idle cluster writes nothing.
 *
 *   gather (galera.c) -> observe (view.c) -> phase (phase.c) -+-> birth, token (boot.c)
 *                                                             +-> joins (permit.c), of who had left (left.c)
 *                                                             +-> election (elect.c)
 *                                                             +-> leaves (leave.c) */
#pragma once
#include "base/bug.h"
#include "manager/galera/galera.h"
#include "manager/model/rows.h"

/* Where a slot's process is, as far as the managers can know. */
enum galera_life {
	GL_ABSENT,   /* no process: no task, or one that was never let start */
	GL_HELD,     /* no process, fresh evidence, its worker has a session: a permit would be acted on */
	GL_STARTING, /* let start; no SQL yet */
	GL_NONPRIM,  /* runs, not in a Primary component */
	GL_PRIMARY,
	GL_LOST, /* its worker is silent, or has not told of it yet: it may run, it may even be Primary */
};
enum galera_verdict {
	GV_NONE, /* no evidence */
	GV_EMPTY,
	GV_GENESIS,    /* this cluster's genesis data, never started */
	GV_SOURCE,     /* complete data of the current history */
	GV_STALE,      /* an older part of the same history: may join by IST */
	GV_FORKED,     /* wrote beyond the point where a later epoch began */
	GV_INCOMPLETE, /* never was a whole copy */
	GV_DAMAGED,    /* was one; what it holds is not known, and may be the newest */
	GV_FOREIGN,
};
/* For events and blocked reasons: "complete", "damaged". Static. */
const char *galera_verdict_name(enum galera_verdict v);

struct galera_member {
	const Gs__Slot *slot;
	const Gs__Task *task; /* the slot's newest task that is not final, or NULL */
	const Gs__Node *node; /* of that task */
	char name[96];        /* "db.1", also while no task is there */
	enum galera_life life;
	enum galera_verdict verdict;
	bool ready;     /* its node is Ready */
	bool leaving;   /* scale down, or the service goes */
	bool stopping;  /* the task was told to stop */
	bool synced;    /* GL_PRIMARY and wsrep_local_state 4 */
	bool donor;     /* GL_PRIMARY and wsrep_local_state 2 */
	bool left;      /* GL_NONPRIM, and in no group at all: Disconnected */
	bool stays_out; /* left, and will enter none by itself (left.c) */
	bool voted_out; /* stays_out, because the others found it inconsistent */
	bool outdated;  /* runs under an older group epoch */
	bool awaited;   /* LOST, but its node is back and will tell of it in a moment */
	bool haunted; /* an older task of the slot was given up with its node: that process may run unseen */
	bool permitted; /* HELD, and its permit for this attempt was given */
	bool in_v;      /* may hold what was acknowledged: last Primary view, or joined it unseen */
	uint64_t epoch; /* of the evidence: in which history its data was written */
	int64_t seqno;  /* of the evidence, or last committed of a running one; -1 unknown */
};
struct galera {
	struct store *store;
	struct tx *tx;
	struct reconcile_env *env;
	const struct galera_rules *rules;
	const Gs__GaleraCluster *old;
	Gs__GaleraCluster *c;
	struct galera_member *m; /* by slot number, then id */
	size_t n;
	bool all_leaving;
	bool view_is_whole; /* somebody is known to have been Synced in the newest view: it has all */
	int64_t wall_ms;
	uint32_t wait_recover_ms, auto_after_ms, grace_ms;
	bool writer_only; /* endpoint mode "writer" */
};
static inline bool galera_obeys(const struct galera *g, enum galera_rule r)
{
	return !(g->rules->broken & r);
}

/* ---- galera.c ---- */
/* A changeable copy in the tx; m->task points to it from now on. */
Gs__Task *galera_edit_task(struct galera *g, struct galera_member *m);
/* One Event row about this cluster into the tx. */
void galera_event(struct galera *g, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
struct galera_member *galera_slot_member(const struct galera *g, const char *slot_id); /* NULL: none */
const char *galera_member_name(const struct galera_member *m);                         /* "db.1" */
/* Where clients write. */
bool galera_is_writer(const struct galera *g, const struct galera_member *m);
/* The pass must run again this long after a wall time that is in the row. */
void galera_wake_at(struct galera *g, int64_t wall_ms);

/* ---- view.c: what workers said, into the row ---- */
/* The slot was seen Inconsistent, and not Synced since: its zero uuid is of that, its data is not the cluster's. */
bool galera_was_voted_out(const struct galera *g, const struct galera_member *m);
/* m->verdict, epoch and seqno from the evidence of m's task, which has some. */
void galera_judge(struct galera *g, struct galera_member *m);
uint64_t galera_head(const struct galera *g); /* newest epoch that counts */
/* Evidence and views of all members into the row: records, the last Primary view, what was
 * confirmed. */
void galera_observe(struct galera *g);
bool galera_born(const struct galera *g); /* a Primary was confirmed once */
bool galera_is_current(const struct galera *g, const struct galera_member *m);
/* Some member is in the newest Primary view (galera_is_current). */
bool galera_has_primary(const struct galera *g);
/* Whether the last Primary view that is known lists the slot. */
bool galera_in_primary_view(const struct galera *g, const char *slot_id);
/* Was it Synced since it was last let join? What it holds before that is somebody else's copy. */
bool galera_is_complete(const struct galera *g, const char *slot_id);
const Gs__GaleraSlot *galera_find_record(const struct galera *g, const char *slot_id); /* NULL: none */
Gs__GaleraSlot *galera_slot_record(struct galera *g, const char *slot_id);             /* made when missing */
/* Its record says that what the slot held is gone, and nothing since has made that good. */
bool galera_lost_data(const struct galera *g, const struct galera_member *m);
/* What the reporter's status says becomes the last Primary view. It says that it is in one. */
void galera_set_primary_view(struct galera *g, const struct galera_member *reporter);

/* ---- boot.c: birth and the token ---- */
/* A token was issued and neither confirmed nor withdrawn. */
bool galera_token_live(const struct galera *g);
/* No Primary was ever confirmed and no token is live: let an empty member make the first data, or
 * one that has it start; blocks on data that tells of a later life. */
void galera_birth(struct galera *g);
/* A token is live: confirm it by what its holder reports, give its permit again, or find it lost. */
void galera_token_pass(struct galera *g);
/* A new epoch that m begins, and the token for it. None is live; in_place: m runs and stays in its
 * group. */
void galera_token_issue(struct galera *g, struct galera_member *m, uint64_t parent, bool in_place);
/* A token is live: nobody will act on it, and its epoch counts for nothing. */
void galera_token_abandon(struct galera *g);
/* Permits to begin a history that no token stands for any more are taken back, of all tasks. */
void galera_revoke_permits(struct galera *g);

/* ---- elect.c ---- */
/* Could the members that the managers cannot see be, or become, a Primary component by themselves? */
bool galera_unseen_may_be_primary(const struct galera *g);
/* Born, no Primary, no token: survivors in place, or an election once all who may hold more were
 * heard; blocks when that takes too long. */
void galera_recover(struct galera *g);
/* Act on the operator's consent, if there is one, and take it back. Whether it did anything. */
bool galera_try_consent(struct galera *g);
void galera_block(struct galera *g, const char *why); /* phase BLOCKED with a table and what to do */

/* ---- permit.c ---- */
Gs__GaleraPermit *galera_permit_new(struct galera *g, const struct galera_member *m, Gs__PermitMode mode);
/* Replaces the permit of m's task. m counts as starting from now on, when the permit lets it. */
void galera_permit_give(struct galera *g, struct galera_member *m, Gs__GaleraPermit *take_permit);
/* Permits for the members that may join now, as many as the rules let join at once. */
void galera_joins(struct galera *g);
/* Those that were let join and reached nobody are called back: they may hold what the election
 * needs. */
void galera_withdraw_joiners(struct galera *g);
/* Empty members are told which archive they will need, so that it is there when their turn comes. */
void galera_prefetch(struct galera *g);

/* ---- left.c: servers that are in no group any more ---- */
/* They are told to stop: a new task follows, which may join when it has rested. */
void galera_restart_left(struct galera *g);
/* m has left its group again and again and may not join yet; the pass runs again when it may. */
bool galera_rests(struct galera *g, const struct galera_member *m);

/* ---- leave.c ---- */
/* Who has to go is told to stop: one at a time, and only when the rest stays whole. */
void galera_leaves(struct galera *g);
/* ---- phase.c ---- */
/* m's task is told to stop. Nothing when it was, or when there is none. */
void galera_stop(struct galera *g, struct galera_member *m);
/* The phase and since when; out of BLOCKED the reason goes. */
void galera_set_phase(struct galera *g, Gs__GaleraPhase phase);
/* What is to be done in the phase the cluster is in, and which phase that is now. */
void galera_phases(struct galera *g);
