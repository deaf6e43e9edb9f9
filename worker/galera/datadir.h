// SPDX-License-Identifier: Apache-2.0
/* A member's data on this host: the folder the server sees as its datadir, and gswarm.json that says whose it
 * is. Blocking file work, to be called on the thread pool; `struct datadir` owns all it needs.
 *
 *   volumes/<volume id>/gswarm.json   beside data/: an SST that empties the datadir cannot take it along, and
 *                                     the task cannot write it
 *   volumes/<volume id>/data/         the datadir
 * A datadir that is no volume's data/ keeps gswarm.json inside. */
#pragma once
#include <sys/types.h>

#include "base/err.h"
#include "worker/galera/parse.h"

struct datadir {
	char *path, *mark_path;
	uid_t uid;
	gid_t gid;
	int lock_fd; /* -1: not locked */
};
/* Copies path; nothing is opened yet. */
void datadir_init(struct datadir *d, const char *path, uid_t uid, gid_t gid);
void datadir_copy(struct datadir *ret, const struct datadir *d); /* without the lock */
void datadir_fini(struct datadir *d);                            /* unlocks */

/* Exclusive, among workers (flock) and against a live server (InnoDB's lock on ibdata1). E_IN_USE. */
int datadir_lock(struct datadir *d, struct err *e);
/* Among workers only: for what is written beside a server that runs. E_IN_USE. */
int datadir_claim(struct datadir *d, struct err *e);
/* A copy that holds d's lock as well: nobody else gets it before both have let go. For a job or a tool, which may
 * outlive the task that began it. -errno: no descriptor is free, and the copy is not made. */
int datadir_share(struct datadir *ret, const struct datadir *d, struct err *e);
/* Nothing when it is not locked. */
void datadir_unlock(struct datadir *d);

/* -ENOENT when there is none; E_CORRUPT. */
int datadir_mark_load(const struct datadir *d, struct volume_mark *ret, struct err *e);
int datadir_mark_store(const struct datadir *d, const struct volume_mark *m, struct err *e); /* durable */

/* A small file of the server's, as foreign_read. */
int datadir_read(const struct datadir *d, const char *name, char **ret, size_t *ret_len, struct err *e);
/* -ENOENT, E_CORRUPT. */
int datadir_grastate(const struct datadir *d, struct grastate *ret, struct err *e);

/* Whether there is nothing but lost+found and gswarm.json; an error when that cannot be told now. */
int datadir_is_empty(const struct datadir *d, bool *ret, struct err *e);
/* A file of that name; an error as above. */
int datadir_has(const struct datadir *d, const char *name, bool *ret, struct err *e);
/* Remove everything inside but gswarm.json and lost+found. */
int datadir_wipe(const struct datadir *d, struct err *e);
/* The first SST marker that a torn transfer left behind, or NULL. was_synced: since its last start, so what a donor
 * leaves behind as well is a donor's. */
const char *datadir_sst_marker(const struct datadir *d, bool was_synced);
/* Before any start: SST markers, gvwstate.dat, stale pid and socket files. */
int datadir_clean_markers(const struct datadir *d, struct err *e);
int datadir_forget_state(const struct datadir *d, struct err *e); /* delete grastate.dat: forces SST */
int datadir_set_safe(const struct datadir *d, struct err *e); /* safe_to_bootstrap: 1, everything else kept */
/* What grastate.dat says is not to be believed: it is kept as grastate.dat.epoch-<epoch>, and a new one says uuid,
 * seqno -1 and safe_to_bootstrap: 1. Over a zero uuid the server would not take a start position. */
int datadir_renew_state(const struct datadir *d, const char *uuid, uint64_t epoch, struct err *e);
/* Keep the data aside: rename the files into <datadir>.quarantine-<epoch>[.<n>] (same file system, no space needed)
 * and leave an empty datadir; a full SST follows, so a second copy in place would be worth nothing. The mark says
 * where to while it goes on, durably, so that what was cut is finished before anything else is done there. */
int datadir_quarantine(const struct datadir *d, struct volume_mark *m, uint64_t epoch, struct err *e);
/* Of one that was cut (m->aside); nothing otherwise. */
int datadir_quarantine_finish(const struct datadir *d, struct volume_mark *m, struct err *e);
int datadir_sync(const struct datadir *d, struct err *e); /* everything below it is on disk */
/* Allocated bytes below path, without galera.cache; 0 when unreadable. *ret_is_cut: the tree is larger than a datadir
 * is, and there are more. A fifth of a second at most, in a job. */
uint64_t datadir_bytes(const char *path, bool *ret_is_cut);
uint64_t datadir_free_bytes(const struct datadir *d);
char *datadir_file(const struct datadir *d, const char *name); /* heap */
