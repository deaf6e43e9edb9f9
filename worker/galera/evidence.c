// SPDX-License-Identifier: Apache-2.0
/* The happy path: our mark, a grastate.dat with a seqno, class CLEAN. What can fail: the mark or grastate.dat
 * is torn (DAMAGED if the mark says that a whole copy lay here, then InnoDB is still asked what it has; else
 * INCOMPLETE), belongs to another cluster (FOREIGN: left alone), a file cannot be read now (an error and no class), a
 * quarantine was cut (finished here first), or an interrupted genesis left half a datadir (wiped here: it has never
 * held a user's byte).
 *
 * A zero uuid is written before a schema change and before a full transfer, and stays on a member that was voted out.
 * Only if the log shows that the process was Synced to its end was it the first of these: DDL_CRASHED. */
#include "worker/galera/evidence.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"

static void classify(Gs__GaleraEvidence *ev, Gs__GaleraClass class, const char *reason)
{
	ev->class_ = class;
	str_replace(&ev->reason, reason);
}

static void set_position(Gs__GaleraEvidence *ev, const struct galera_position *p)
{
	bug_if(!galera_uuid_is_valid(p->uuid, strlen(p->uuid)));
	if (!ev->position)
		ev->position = obj_new(&gs__galera_position__descriptor);
	str_replace(&ev->position->uuid, p->uuid);
	ev->position->seqno = p->seqno;
}

static void read_gvwstate(const struct datadir *d, Gs__GaleraEvidence *ev)
{
	cleanup_free char *text = NULL;
	struct gvwstate g;
	char id[80];
	size_t len;

	if (datadir_read(d, "gvwstate.dat", &text, &len, NULL) || gvwstate_parse(text, len, &g, NULL))
		return;
	snprintf(id, sizeof(id), "%s %u", g.view_uuid, g.view_seq);
	str_replace(&ev->last_view_id, id);
}

/* Whose data is it? *decided: the class is. */
static int judge_owner(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *m,
		       int mark_result, bool *decided, struct err *e)
{
	bool empty;
	int r;

	*decided = true;
	if (mark_result == E_CORRUPT) {
		classify(ev, GC_FOREIGN, "gswarm.json is unreadable: whose data this is cannot be told");
		return 0;
	}
	r = datadir_is_empty(&in->dir, &empty, e);
	if (r)
		return r;
	if (mark_result == -ENOENT && !empty) {
		classify(ev, GC_FOREIGN, "the volume holds data that this cluster did not write");
		return 0;
	}
	if (!mark_result && strcmp(m->cluster, in->cluster)) {
		str_replace(&ev->file_cluster_id, m->cluster);
		classify(ev, GC_FOREIGN, "gswarm.json names another cluster");
		return 0;
	}
	*decided = false;
	return 0;
}

/* Members that never ran: nothing there, or a genesis that is whole or not. True when the class is decided. */
static int judge_unstarted(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *m,
			   bool *decided, struct err *e)
{
	bool empty;
	int r;

	*decided = true;
	if (m->state == VOLUME_BUILDING) {
		r = datadir_wipe(&in->dir, e);
		if (r)
			return r;
		m->state = VOLUME_NONE;
	}
	r = datadir_is_empty(&in->dir, &empty, e);
	if (r)
		return r;
	if (empty) {
		classify(ev, GC_EMPTY, m->whole ? "the data that ran here is gone" : "");
		return 0;
	}
	*decided = false;
	return 0;
}

/* What is in the file's place, or not there, says something of the data. That it cannot be read now (EMFILE,
 * EIO) does not. */
static bool tells_of_data(int code)
{
	return code == -ENOENT || code == E_CORRUPT || code == E_FORBIDDEN || code == -ELOOP ||
	       code == -E2BIG;
}

static int has_tables(const struct datadir *d, bool *ret, struct err *e)
{
	int r = datadir_has(d, "ibdata1", ret, e);

	return r || !*ret ? r : datadir_has(d, "mysql", ret, e);
}

/* The position is not to be had from grastate.dat. What the mark has of the data decides what that means. */
static void judge_damage(Gs__GaleraEvidence *ev, const struct volume_mark *m, bool tables, const char *reason,
			 enum evidence_next *next)
{
	classify(ev, m->whole ? GC_DAMAGED : GC_INCOMPLETE, reason);
	if (m->whole && tables) /* what InnoDB has is shown to the operator, who may choose this copy */
		*next = EVIDENCE_RECOVER;
}

/* By grastate.dat. */
static int judge_state(struct evidence_input *in, Gs__GaleraEvidence *ev, const struct volume_mark *m,
		       enum evidence_next *next, struct err *ret_e)
{
	const char *marker = datadir_sst_marker(&in->dir, m->synced);
	struct grastate g;
	struct err e = {0};
	bool tables;
	int r = datadir_grastate(&in->dir, &g, &e), r_tables = has_tables(&in->dir, &tables, ret_e);
	char reason[320];

	if (r && !tells_of_data(r))
		return err_set(ret_e, r, "%s", e.msg);
	if (r_tables)
		return r_tables;
	if (r || marker) {
		snprintf(reason, sizeof(reason), marker ? "%s left behind" : "%s", marker ? marker : e.msg);
		if (marker && !m->synced) /* cut off: what lay there before is gone */
			classify(ev, GC_INCOMPLETE, reason);
		else
			judge_damage(ev, m, tables, reason, next);
		return 0;
	}
	ev->safe_to_bootstrap = g.safe_to_bootstrap;
	if (galera_uuid_is_zero(g.position.uuid)) {
		judge_damage(ev, m, tables, "grastate.dat has no cluster uuid", next);
		if (ev->class_ == GC_DAMAGED && tables && in->ended_synced)
			classify(ev, GC_DDL_CRASHED, "it ended inside a schema change");
		return 0;
	}
	set_position(ev, &g.position);
	if (*in->cluster_uuid && strcmp(in->cluster_uuid, g.position.uuid))
		classify(ev, GC_FOREIGN, "grastate.dat has another cluster's uuid");
	else if (!tables)
		judge_damage(ev, m, tables, "system tables or ibdata1 are missing", next);
	else if (m->state == VOLUME_GENESIS && g.position.seqno >= 0)
		classify(ev, GC_GENESIS, "");
	else if (g.position.seqno >= 0)
		classify(ev, GC_CLEAN, "");
	else
		*next = EVIDENCE_RECOVER;
	return 0;
}

int evidence_read(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *ret_mark,
		  enum evidence_next *next, struct err *e)
{
	struct volume_mark m = {0};
	bool decided = false;
	int r = datadir_lock(&in->dir, e), mark_result;

	if (r)
		return r;
	*next = EVIDENCE_DONE;
	str_replace(&ev->volume_id, in->volume);
	ev->disk_free_bytes = datadir_free_bytes(&in->dir);
	mark_result = datadir_mark_load(&in->dir, &m, e);
	if (mark_result && mark_result != -ENOENT && mark_result != E_CORRUPT)
		return mark_result;
	err_clear(e);
	r = judge_owner(in, ev, &m, mark_result, &decided, e);
	if (r)
		return r;
	if (!decided) {
		str_replace(&ev->file_cluster_id, m.cluster);
		r = datadir_quarantine_finish(&in->dir, &m, e);
		if (r)
			return r;
		ev->epoch = m.epoch;
		ev->was_synced = m.synced;
		r = judge_unstarted(in, ev, &m, &decided, e);
		if (r)
			return r;
		if (!decided) {
			read_gvwstate(&in->dir, ev);
			r = judge_state(in, ev, &m, next, e);
		}
	}
	*ret_mark = m;
	return r;
}

/* DAMAGED stays what it is, also when InnoDB has a position: somebody has to choose it. */
void evidence_recovered(Gs__GaleraEvidence *ev, const char *cluster_uuid, const char *output, size_t len)
{
	const char *want = ev->position ? ev->position->uuid : cluster_uuid;
	bool was_damaged = ev->class_ == GC_DAMAGED;
	struct recover_result r;

	bug_if(!output && len > 0);
	recover_parse(output, len, &r);
	str_replace(&ev->server_version, r.version);
	ev->prepared_rollback = r.prepared;
	if (r.prepared) {
		classify(ev, GC_DAMAGED, "prepared transactions are left in InnoDB: no server starts on it");
	} else if (!r.has_position) {
		if (!was_damaged)
			classify(ev, GC_DAMAGED, "wsrep-recover gave no position");
	} else if (galera_uuid_is_zero(r.position.uuid) || r.position.seqno < 0 ||
		   (*want && strcmp(want, r.position.uuid))) {
		if (!was_damaged)
			classify(ev, GC_DAMAGED, "InnoDB's position is of another history than grastate.dat");
	} else {
		set_position(ev, &r.position);
		if (ev->class_ == GC_UNKNOWN)
			classify(ev, GC_CRASHED, "");
	}
	if (ev->class_ == GC_DAMAGED && ev->position && galera_uuid_is_zero(ev->position->uuid))
		obj_set(&ev->position, NULL);
}
