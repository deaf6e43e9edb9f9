// SPDX-License-Identifier: Apache-2.0
/* What a member's datadir proves before its server is started (GaleraEvidence).
 *
 *   evidence_read (thread pool) -> EVIDENCE_DONE
 *                               -> EVIDENCE_RECOVER: run `mariadbd --wsrep-recover`, then
 * evidence_recovered() Classes: EMPTY nothing; GENESIS packed or unpacked, never started; CLEAN grastate has
 * a seqno; CRASHED seqno from InnoDB; DDL_CRASHED the same under a zero uuid; INCOMPLETE never was a whole copy;
 * DAMAGED was one, and what it holds now is not known; FOREIGN somebody else's, never touched. */
#pragma once
#include "proto/value/obj.h"
#include "worker/galera/datadir.h"

struct evidence_input {
	struct datadir dir;
	char cluster[33], slot[33], volume[33];
	char cluster_uuid[GALERA_UUID_LEN + 1]; /* "" when no permit has told it yet */
	bool ended_synced; /* the log of the process that ended has its start, then Synced, and no inconsistency */
};
enum evidence_next { EVIDENCE_DONE, EVIDENCE_RECOVER };
/* 0 and *next, or an error (unreadable, in use). ret_mark: gswarm.json, state VOLUME_NONE when there is none. */
int evidence_read(struct evidence_input *in, Gs__GaleraEvidence *ev, struct volume_mark *ret_mark,
		  enum evidence_next *next, struct err *e);
/* The tool ended by itself with this output. cluster_uuid: as in the input. */
void evidence_recovered(Gs__GaleraEvidence *ev, const char *cluster_uuid, const char *output, size_t len);
