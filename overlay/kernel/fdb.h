// SPDX-License-Identifier: Apache-2.0
/* The three kernel entries that make a remote endpoint reachable, and the difference between two sets of
 * them.
 *
 *   FDB_SELF    MAC -> VTEP on vx0      (the vxlan device's own table)
 *   FDB_MASTER  MAC -> vx0              (the bridge's table; without it ARP suppression does not answer)
 *   FDB_NEIGH   IP  -> MAC on br0       (permanent neighbour, the source of the answers) */
#pragma once
#include "overlay/kernel/ip.h"
#include "overlay/kernel/nl.h"

enum fdb_kind { FDB_SELF, FDB_MASTER, FDB_NEIGH };

struct fdb_entry {
	enum fdb_kind kind;
	uint8_t mac[6];       /* key of SELF and MASTER, value of NEIGH */
	struct overlay_ip ip; /* key of NEIGH, value of SELF, none for MASTER */
};

struct fdb_set {
	struct fdb_entry *list;
	size_t n, cap;
};

/* Changes in the order they were declared. */
struct fdb_changes {
	struct fdb_change {
		struct fdb_entry entry;
		bool add;
		size_t at; /* when, among the others */
	} * list;
	size_t n, cap;
};

/* Copies the entry. */
void fdb_change_add(struct fdb_changes *c, const struct fdb_entry *entry, bool add);
/* What they come to when all deletes are carried out before all writes: every delete, and of each key the last change
 * if it is a write. Empties c, whose memory stays. */
void fdb_changes_take(struct fdb_changes *c, struct fdb_set *ret_write, struct fdb_set *ret_delete);
/* Frees the list; any number of times. */
void fdb_changes_fini(struct fdb_changes *c);

/* Copies the entry. */
void fdb_set_add(struct fdb_set *s, const struct fdb_entry *entry);
/* Frees the list, not the set; any number of times. */
void fdb_set_fini(struct fdb_set *s);
/* What must be written (missing, or with another value) and what must be deleted (not desired). Sorts both. */
void fdb_diff(struct fdb_set *desired, struct fdb_set *observed, struct fdb_set *ret_write,
	      struct fdb_set *ret_delete);

/* Entries of vx0 and br0 that are of the kinds above; learned ones and the devices' own addresses are left
 * out. */
int fdb_dump(struct nl_conn *c, int br_index, int vx_index, struct fdb_set *ret, struct err *e);
/* Write with REPLACE, or delete (a missing one is fine), in as few sends as possible. */
int fdb_write(struct nl_conn *c, int br_index, int vx_index, const struct fdb_set *s, bool add,
	      struct err *e);
