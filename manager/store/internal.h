// SPDX-License-Identifier: Apache-2.0
/* What the files of the store share: store.c (read, apply, watch), index.c (tables and secondary
 * indexes), snapshot.c, tx.c (transactions and commits), find.c (references by people). */
#pragma once
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
void *table_get(const struct table *t, const char *id);
void *table_put(struct table *t, void *row); /* takes the row; returns the one it replaces */
void *table_take(struct table *t, const char *id);
void table_fini(struct table *t); /* frees the rows */

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

struct store {
	const struct clock *clock;
	struct table tables[OBJ_KINDS];
	struct index indexes[INDEX_COUNT];
	uint64_t index; /* last applied */
	bool halted;    /* an entry could not be understood: state is unknown from here on */
	struct consensus *consensus;
	size_t in_flight;
	size_t part_actions;
	struct store_watch *watches;
	unsigned notifying;
	void (*on_leader)(void *arg, bool is_leader);
	void *on_leader_arg;
	void (*on_applied)(void *arg);
	void *on_applied_arg;
};

const void *index_key(int which, enum obj_kind kind, const void *row); /* NULL: not in this index */
void index_change(struct store *s, enum obj_kind kind, const void *old_row, void *new_row);
const struct table *index_find(const struct store *s, int which, const char *key); /* NULL: none */
void index_fini(struct index *x);

/* Replace, insert or (new_row NULL) remove; keeps the indexes. Returns the old row, now the caller's. */
void *store_swap(struct store *s, enum obj_kind kind, const char *id, void *new_row);
const char *row_name(enum obj_kind kind, const void *row); /* what people call it; never NULL */

void snapshot_make(struct store *s, uint8_t **ret_data, size_t *ret_len);
int snapshot_read(struct store *s, const uint8_t *data, size_t len, struct err *e);
