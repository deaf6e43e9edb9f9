// SPDX-License-Identifier: Apache-2.0
/* What the files of the store share: store.c (read, apply, watch), index.c (tables and secondary
 * indexes), snapshot.c, tx.c (transactions), commit.c (their way through the log),
 * find.c (references by people). */
#pragma once
#include <uthash.h>

#include "base/bug.h"
#include "manager/store/store.h"

/* Rows in id order: binary search to find, memmove to insert. */
struct table {
	void **rows;
	size_t n, cap;
};
static inline const char *row_id(const void *row)
{
	return obj_meta(row)->id;
}
/* NULL: none; borrowed. */
void *table_get(const struct table *t, const char *id);
/* Frees the rows. */
void table_fini(struct table *t);

/* For one field of a kind of row: field value -> rows in id order. Lists borrow rows. */
struct index_list {
	char *key;
	struct table rows;
};
struct index {
	struct index_list *lists;
	size_t n, cap;
};
enum { INDEX_TASKS_BY_SERVICE, INDEX_TASKS_BY_NODE, INDEX_SLOTS_BY_SERVICE, INDEX_COUNT };

#define PART_ACTIONS 200 /* of a commit that may be split */

#define STORE_MAGIC MAGIC('s', 't', 'o', 'r')
struct store {
	uint32_t magic;
	const struct clock *clock;
	struct table tables[OBJ_KINDS];
	struct index indexes[INDEX_COUNT];
	uint64_t index; /* last applied */
	bool halted;    /* an entry could not be understood: state is unknown from here on */
	struct consensus *consensus;
	size_t in_flight;
	size_t part_actions;
	struct store_watch *watches;
	unsigned notifying; /* watchers are being told: nothing may be applied or committed */
	void (*on_leader)(void *arg, bool is_leader);
	void *on_leader_arg;
	void (*on_applied)(void *arg);
	void *on_applied_arg;
};

/* What index `which` sorts the row under, borrowed from it; NULL: not in this index. */
const void *index_key(int which, enum obj_kind kind, const void *row);
/* The rows with this key; NULL: none. Borrowed until the next change. */
const struct table *index_find(const struct store *s, int which, const char *key);
/* Frees the lists, not the rows. */
void index_fini(struct index *x);

/* Replace, insert or (new_row NULL) remove; keeps the indexes. Takes new_row; returns the old row, the
 * caller's, or NULL. */
void *store_swap(struct store *s, enum obj_kind kind, const char *id, void *new_row);
/* What people call it, borrowed; never NULL. */
const char *row_name(enum obj_kind kind, const void *row);

/* ---- transactions ---- */

struct tx_entry {
	UT_hash_handle hh;
	char *key; /* a letter for the kind, then the id */
	enum obj_kind kind;
	Gs__ActionKind action;
	void *row; /* NULL: forgotten */
	bool spec_changed;
	int place; /* -1: tx_ahead, 1: tx_behind */
};
/* Entries of rows that the tx made, in its order: of a kind, or of a kind under one key of an index. */
struct created {
	struct tx_entry **entries;
	size_t n, cap;
};
struct created_under {
	UT_hash_handle hh;
	char *key;
	struct created list;
};
struct tx_touch {
	enum obj_kind kind;
	void *stub; /* id, and the version that is relied on */
};
struct tx {
	struct store *store;
	struct tx_entry **entries, *by_key;
	size_t n, cap;
	struct created created[OBJ_KINDS];
	struct created_under *created_under[INDEX_COUNT];
	uint64_t touched;
	bool allow_split;
	struct tx_touch *touches;
	size_t n_touches;
};
/* The entry of this row, NULL: the tx does not change it. */
struct tx_entry *tx_entry_of(const struct tx *tx, enum obj_kind kind, const char *id);
/* It was forgotten, or leaves the row as it is. */
bool tx_entry_is_noop(const struct tx *tx, const struct tx_entry *en);

/* The state as bytes, equal on every replica; *ret_data is the caller's. */
void snapshot_make(struct store *s, uint8_t **ret_data, size_t *ret_len);
/* The state becomes that of the bytes. E_CORRUPT, E_PROTOCOL: it stays as it was. */
int snapshot_read(struct store *s, const uint8_t *data, size_t len, struct err *e);
