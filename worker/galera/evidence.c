// SPDX-License-Identifier: Apache-2.0
/* The happy path: our mark, a grastate.dat with a seqno, class CLEAN. What can fail: the mark or grastate.dat
 * is torn (class TORN: this datadir may be a joiner but never a source), belongs to another cluster (FOREIGN:
 * left alone), or an interrupted genesis left half a datadir (wiped here: it has never held a user's byte). */
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

static bool has_file(const struct datadir *d, const char *name)
{
	cleanup_free char *path = datadir_file(d, name);

	return fs_exists(path);
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

/* Whose data is it? True when the class is decided. */
static bool judge_owner(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *m,
			int mark_result)
{
	if (mark_result == E_CORRUPT) {
		classify(ev, GC_FOREIGN, "gswarm.json is unreadable: whose data this is cannot be told");
		return true;
	}
	if (mark_result == -ENOENT && !datadir_is_empty(&in->dir)) {
		classify(ev, GC_FOREIGN, "the volume holds data that this cluster did not write");
		return true;
	}
	if (!mark_result && strcmp(m->cluster, in->cluster)) {
		str_replace(&ev->file_cluster_id, m->cluster);
		classify(ev, GC_FOREIGN, "gswarm.json names another cluster");
		return true;
	}
	return false;
}

/* Members that never ran: nothing there, or a genesis that is whole or not. True when the class is decided. */
static int judge_unstarted(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *m,
			   bool *decided, struct err *e)
{
	*decided = true;
	if (m->state == VOLUME_BUILDING) {
		int r = datadir_wipe(&in->dir, e);

		if (r)
			return r;
		m->state = VOLUME_NONE;
	}
	if (datadir_is_empty(&in->dir)) {
		classify(ev, GC_EMPTY, m->epoch ? "the data that ran here is gone" : "");
		return 0;
	}
	*decided = false;
	return 0;
}

/* By grastate.dat; E_CORRUPT and a class when it is torn. */
static void judge_state(struct evidence_input *in, Gs__GaleraEvidence *ev, const struct volume_mark *m,
			enum evidence_next *next)
{
	const char *marker = datadir_sst_marker(&in->dir);
	struct grastate g;
	struct err e = {0};
	int r = datadir_grastate(&in->dir, &g, &e);

	if (r || marker) {
		char reason[320];

		snprintf(reason, sizeof(reason), marker ? "%s left behind" : "%s", marker ? marker : e.msg);
		classify(ev, GC_TORN, reason);
		return;
	}
	ev->safe_to_bootstrap = g.safe_to_bootstrap;
	set_position(ev, &g.position);
	if (galera_uuid_is_zero(g.position.uuid))
		classify(ev, GC_TORN, "grastate.dat has no cluster uuid");
	else if (*in->cluster_uuid && strcmp(in->cluster_uuid, g.position.uuid))
		classify(ev, GC_FOREIGN, "grastate.dat has another cluster's uuid");
	else if (!has_file(&in->dir, "ibdata1") || !has_file(&in->dir, "mysql"))
		classify(ev, GC_TORN, "system tables or ibdata1 are missing");
	else if (m->state == VOLUME_GENESIS && g.position.seqno >= 0)
		classify(ev, GC_GENESIS, "");
	else if (g.position.seqno >= 0)
		classify(ev, GC_CLEAN, "");
	else
		*next = EVIDENCE_RECOVER;
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
	if (!judge_owner(in, ev, &m, mark_result)) {
		str_replace(&ev->file_cluster_id, m.cluster);
		ev->epoch = m.epoch;
		r = judge_unstarted(in, ev, &m, &decided, e);
		if (r)
			return r;
		if (!decided) {
			read_gvwstate(&in->dir, ev);
			judge_state(in, ev, &m, next);
		}
	}
	*ret_mark = m;
	return 0;
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
