// SPDX-License-Identifier: Apache-2.0
/* Tables and secondary indexes of the store.
 *
 * The happy path is: store_swap puts a row into its table and into the list of each index that it belongs to,
 * and takes the old one out of both. What can fail is: nothing (a wrong row is an assertion). */
#include <string.h>

#include "base/mem.h"
#include "manager/store/internal.h"

/* Position of id, or of the first row after it. */
static size_t lower_bound(const struct table *t, const char *id, bool *ret_found)
{
	size_t lo = 0, hi = t->n;

	/* Appending in order is the common case of a restore. */
	if (t->n > 0 && strcmp(row_id(t->rows[t->n - 1]), id) < 0)
		lo = t->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(row_id(t->rows[mid]), id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = lo < t->n && strcmp(row_id(t->rows[lo]), id) == 0;
	return lo;
}

void *table_get(const struct table *t, const char *id)
{
	bool found;
	size_t i = lower_bound(t, id, &found);

	return found ? t->rows[i] : NULL;
}

/* Takes the row; returns the one it replaces, the caller's, or NULL. */
static void *table_put(struct table *t, void *row)
{
	const char *id = row_id(row);
	bool found;
	size_t i = lower_bound(t, id, &found);
	void *old = NULL;

	if (found) {
		old = t->rows[i];
	} else {
		if (t->n == t->cap) {
			t->cap = t->cap ? t->cap * 2 : 8;
			t->rows = xrealloc(t->rows, t->cap * sizeof(*t->rows));
		}
		memmove(&t->rows[i + 1], &t->rows[i], (t->n - i) * sizeof(*t->rows));
		t->n++;
	}
	t->rows[i] = row;
	bug_if(i > 0 && strcmp(row_id(t->rows[i - 1]), id) >= 0);
	bug_if(i + 1 < t->n && strcmp(id, row_id(t->rows[i + 1])) >= 0);
	return old;
}

/* Removes the row, which becomes the caller's; NULL: there was none. */
static void *table_take(struct table *t, const char *id)
{
	bool found;
	size_t i = lower_bound(t, id, &found);
	void *row;

	if (!found)
		return NULL;
	bug_if(t->n == 0 || i >= t->n);
	row = t->rows[i];
	t->n--;
	memmove(&t->rows[i], &t->rows[i + 1], (t->n - i) * sizeof(*t->rows));
	return row;
}

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		obj_free(t->rows[i]);
	free(t->rows);
	*t = (struct table){0};
}

/* ---- secondary indexes ---- */

const void *index_key(int which, enum obj_kind kind, const void *row)
{
	const char *key = NULL;

	if (which == INDEX_TASKS_BY_SERVICE && kind == OBJ_TASK)
		key = ((const Gs__Task *)row)->service_id;
	else if (which == INDEX_TASKS_BY_NODE && kind == OBJ_TASK)
		key = ((const Gs__Task *)row)->node_id;
	else if (which == INDEX_SLOTS_BY_SERVICE && kind == OBJ_SLOT)
		key = ((const Gs__Slot *)row)->service_id;
	return key && *key ? key : NULL;
}

static size_t list_bound(const struct index *x, const char *key, bool *ret_found)
{
	size_t lo = 0, hi = x->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(x->lists[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = lo < x->n && strcmp(x->lists[lo].key, key) == 0;
	return lo;
}

static void index_add(struct index *x, const char *key, void *row)
{
	bool found;
	size_t i = list_bound(x, key, &found);

	if (!found) {
		if (x->n == x->cap) {
			x->cap = x->cap ? x->cap * 2 : 8;
			x->lists = xrealloc(x->lists, x->cap * sizeof(*x->lists));
		}
		memmove(&x->lists[i + 1], &x->lists[i], (x->n - i) * sizeof(*x->lists));
		x->n++;
		x->lists[i] = (struct index_list){.key = xstrdup(key)};
	}
	bug_if(strcmp(x->lists[i].key, key) != 0);
	table_put(&x->lists[i].rows, row);
}

static void index_del(struct index *x, const char *key, const char *id)
{
	bool found;
	size_t i = list_bound(x, key, &found);

	bug_if(!found);
	bug_if(!table_take(&x->lists[i].rows, id));
	if (x->lists[i].rows.n > 0)
		return;
	free(x->lists[i].key);
	free(x->lists[i].rows.rows);
	x->n--;
	memmove(&x->lists[i], &x->lists[i + 1], (x->n - i) * sizeof(*x->lists));
}

/* Row old_row (NULL: none) gives way to new_row (NULL: none) of the same id, in every index. */
static void index_change(struct store *s, enum obj_kind kind, const void *old_row, void *new_row)
{
	bug_if(old_row && new_row && strcmp(row_id(old_row), row_id(new_row)) != 0);
	for (int which = 0; which < INDEX_COUNT; which++) {
		const char *old_key = old_row ? index_key(which, kind, old_row) : NULL;
		const char *new_key = new_row ? index_key(which, kind, new_row) : NULL;

		if (old_key && (!new_key || strcmp(old_key, new_key) != 0))
			index_del(&s->indexes[which], old_key, row_id(old_row));
		if (new_key)
			index_add(&s->indexes[which], new_key, new_row);
	}
}

const struct table *index_find(const struct store *s, int which, const char *key)
{
	const struct index *x = &s->indexes[which];
	bool found;
	size_t i = list_bound(x, key, &found);

	return found ? &x->lists[i].rows : NULL;
}

void index_fini(struct index *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->lists[i].key);
		free(x->lists[i].rows.rows);
	}
	free(x->lists);
	*x = (struct index){0};
}

void *store_swap(struct store *s, enum obj_kind kind, const char *id, void *new_row)
{
	struct table *t = &s->tables[kind];
	void *old;

	bug_if(kind <= OBJ_NONE || kind >= OBJ_KINDS);
	bug_if(new_row && obj_kind_of(new_row) != kind);
	old = new_row ? table_put(t, new_row) : table_take(t, id);

	index_change(s, kind, old, new_row);
	return old;
}
