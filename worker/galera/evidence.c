// SPDX-License-Identifier: Apache-2.0
/* The happy path: our mark, a grastate.dat with a seqno, class CLEAN. What can fail: the mark or grastate.dat
 * is torn (class TORN: this datadir may be a joiner but never a source), belongs to another cluster (FOREIGN:
 * left alone), a file cannot be read now (an error and no class), or an interrupted genesis left half a datadir
 * (wiped here: it has never held a user's byte). */
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
		classify(ev, GC_EMPTY, m->epoch ? "the data that ran here is gone" : "");
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

/* By grastate.dat. */
static int judge_state(struct evidence_input *in, Gs__GaleraEvidence *ev, const struct volume_mark *m,
		       enum evidence_next *next, struct err *ret_e)
{
	const char *marker = datadir_sst_marker(&in->dir);
	struct grastate g;
	struct err e = {0};
	bool tables;
	int r = datadir_grastate(&in->dir, &g, &e);

	if (r && !tells_of_data(r))
		return err_set(ret_e, r, "%s", e.msg);
	if (r || marker) {
		char reason[320];

		snprintf(reason, sizeof(reason), marker ? "%s left behind" : "%s", marker ? marker : e.msg);
		classify(ev, GC_TORN, reason);
		return 0;
	}
	r = has_tables(&in->dir, &tables, ret_e);
	if (r)
		return r;
	ev->safe_to_bootstrap = g.safe_to_bootstrap;
	set_position(ev, &g.position);
	if (galera_uuid_is_zero(g.position.uuid))
		classify(ev, GC_TORN, "grastate.dat has no cluster uuid");
	else if (*in->cluster_uuid && strcmp(in->cluster_uuid, g.position.uuid))
		classify(ev, GC_FOREIGN, "grastate.dat has another cluster's uuid");
	else if (!tables)
		classify(ev, GC_TORN, "system tables or ibdata1 are missing");
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
		ev->epoch = m.epoch;
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

void evidence_recovered(Gs__GaleraEvidence *ev, const char *output, size_t len)
{
	struct recover_result r;

	bug_if(!output && len > 0);
	recover_parse(output, len, &r);
	str_replace(&ev->server_version, r.version);
	ev->prepared_rollback = r.prepared;
	if (r.prepared) {
		classify(ev, GC_TORN, "prepared transactions are left in InnoDB");
	} else if (!r.has_position) {
		classify(ev, GC_TORN, "wsrep-recover gave no position");
	} else if (galera_uuid_is_zero(r.position.uuid) || r.position.seqno < 0 ||
		   (ev->position && strcmp(ev->position->uuid, r.position.uuid))) {
		classify(ev, GC_TORN, "InnoDB's position is of another history than grastate.dat");
	} else {
		set_position(ev, &r.position);
		classify(ev, GC_CRASHED, "");
	}
}
