// SPDX-License-Identifier: Apache-2.0
/* Transactions: a list of row changes made from the committed state, and the state as they will leave it.
 *
 * The happy path is: a row gets one entry, which later changes of the same row replace; readers see the
 * entries over the committed rows. What can fail is nothing here: commit.c hears what the log says. */
#include <string.h>
#include <uthash.h>

#include "base/mem.h"
#include "manager/store/internal.h"

struct tx *tx_new(struct store *s)
{
	struct tx *tx = xcalloc(1, sizeof(*tx));

	tx->store = s;
	return tx;
}

/* ---- what it makes, so that a list walks only those that may be in it ---- */

static void created_add(struct created *c, struct tx_entry *en)
{
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 8;
		c->entries = xrealloc(c->entries, c->cap * sizeof(*c->entries));
	}
	c->entries[c->n++] = en;
}

static void created_note(struct tx *tx, struct tx_entry *en)
{
	created_add(&tx->created[en->kind], en);
	for (int which = 0; which < INDEX_COUNT; which++) {
		const char *key = index_key(which, en->kind, en->row);
		struct created_under *c;

		if (!key || which == INDEX_TASKS_BY_NODE) /* no list of a tx goes by it */
			continue;
		HASH_FIND_STR(tx->created_under[which], key, c);
		if (!c) {
			c = xcalloc(1, sizeof(*c));
			c->key = xstrdup(key);
			HASH_ADD_KEYPTR(hh, tx->created_under[which], c->key, strlen(c->key), c);
		}
		created_add(&c->list, en);
	}
}

/* which < 0: all of the kind. NULL: none. */
static const struct created *created_find(const struct tx *tx, enum obj_kind kind, int which, const char *key)
{
	struct created_under *c;

	if (which < 0)
		return &tx->created[kind];
	bug_if(which == INDEX_TASKS_BY_NODE);
	HASH_FIND_STR(tx->created_under[which], key, c);
	return c ? &c->list : NULL;
}

static void created_fini(struct tx *tx)
{
	for (int kind = 0; kind < OBJ_KINDS; kind++)
		free(tx->created[kind].entries);
	for (int which = 0; which < INDEX_COUNT; which++) {
		struct created_under *c, *next;

		HASH_ITER (hh, tx->created_under[which], c, next) {
			HASH_DEL(tx->created_under[which], c);
			free(c->key);
			free(c->list.entries);
			free(c);
		}
	}
}

void tx_free(struct tx *tx)
{
	if (!tx)
		return;
	HASH_CLEAR(hh, tx->by_key);
	created_fini(tx);
	for (size_t i = 0; i < tx->n; i++) {
		obj_free(tx->entries[i]->row);
		free(tx->entries[i]->key);
		free(tx->entries[i]);
	}
	for (size_t i = 0; i < tx->n_touches; i++)
		obj_free(tx->touches[i].stub);
	free(tx->touches);
	free(tx->entries);
	free(tx);
}

void tx_allow_split(struct tx *tx)
{
	bug_if(tx->n_touches > 0); /* a cut would leave the rest without what it relies on */
	tx->allow_split = true;
}

uint64_t tx_touched(const struct tx *tx)
{
	return tx->touched;
}

struct tx_entry *tx_entry_of(const struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en;
	char key[512];
	size_t len = strlen(id);

	if (len + 2 > sizeof(key))
		return NULL;
	key[0] = (char)('A' + kind);
	memcpy(key + 1, id, len + 1);
	HASH_FIND_STR(tx->by_key, key, en);
	return en;
}

static struct tx_entry *entry_add(struct tx *tx, Gs__ActionKind action, enum obj_kind kind, void *take_row)
{
	struct tx_entry *en = xcalloc(1, sizeof(*en));

	en->key = xasprintf("%c%s", 'A' + (int)kind, row_id(take_row));
	bug_if(tx_entry_of(tx, kind, row_id(take_row)));
	en->kind = kind;
	en->action = action;
	en->row = take_row;
	if (tx->n == tx->cap) {
		tx->cap = tx->cap ? tx->cap * 2 : 16;
		tx->entries = xrealloc(tx->entries, tx->cap * sizeof(struct tx_entry *));
	}
	tx->entries[tx->n++] = en;
	HASH_ADD_KEYPTR(hh, tx->by_key, en->key, strlen(en->key), en);
	if (action == ACTION_CREATE)
		created_note(tx, en);
	return en;
}

/* The entry stays in the list, so that the others keep their order, but does nothing. */
static void entry_forget(struct tx *tx, struct tx_entry *en)
{
	bug_if(!en->row);
	HASH_DEL(tx->by_key, en);
	obj_free(en->row);
	en->row = NULL;
}

/* A row that the tx made stays under its keys: which service's it is never changes. */
static void entry_replace(struct tx_entry *en, void *take_row)
{
	for (int which = 0; en->action == ACTION_CREATE && which < INDEX_COUNT; which++) {
		const char *before = index_key(which, en->kind, en->row);
		const char *after = index_key(which, en->kind, take_row);

		if (which != INDEX_TASKS_BY_NODE)
			bug_if(!before != !after || (before && strcmp(before, after) != 0));
	}
	obj_free(en->row);
	en->row = take_row;
}

static enum obj_kind kind_of_row(const void *row)
{
	enum obj_kind kind = obj_kind_of(row);

	bug_if(kind == OBJ_NONE || !obj_meta(row) || !*row_id(row));
	bug_if(strlen(row_id(row)) >= 500); /* tx_entry_of's key */
	return kind;
}

void tx_create(struct tx *tx, void *take_row)
{
	enum obj_kind kind = kind_of_row(take_row);
	struct tx_entry *en = tx_entry_of(tx, kind, row_id(take_row));
	Gs__Meta *meta = obj_meta(take_row);

	tx->touched++;
	if (!en) {
		meta->version = 0;
		entry_add(tx, ACTION_CREATE, kind, take_row);
		return;
	}
	bug_if(en->row == take_row);
	/* Removed before in this tx: then it is a change of the committed row. */
	if (en->action == ACTION_REMOVE)
		en->action = ACTION_UPDATE;
	meta->version = obj_meta(en->row)->version;
	meta->spec_version = obj_meta(en->row)->spec_version;
	en->spec_changed = true;
	entry_replace(en, take_row);
}

static void update(struct tx *tx, void *take_row, bool spec_changed)
{
	enum obj_kind kind = kind_of_row(take_row);
	struct tx_entry *en = tx_entry_of(tx, kind, row_id(take_row));

	tx->touched++;
	if (!en) {
		en = entry_add(tx, ACTION_UPDATE, kind, take_row);
	} else if (en->action == ACTION_REMOVE) {
		obj_free(take_row);
		return;
	} else if (en->row != take_row) {
		entry_replace(en, take_row);
	}
	en->spec_changed |= spec_changed;
}

void tx_update(struct tx *tx, void *take_row)
{
	update(tx, take_row, false);
}

void tx_update_spec(struct tx *tx, void *take_row)
{
	update(tx, take_row, true);
}

/* A remove goes to the end of the list: who removes a row last (a service after its tasks) can rely on the
 * order also when the commit is split and the row was changed earlier in the tx. */
void tx_remove(struct tx *tx, const void *row)
{
	enum obj_kind kind = kind_of_row(row);
	struct tx_entry *en = tx_entry_of(tx, kind, row_id(row));
	void *stub;

	tx->touched++;
	if (en && en->action == ACTION_REMOVE)
		return;
	stub = obj_new_row(kind, row_id(row));
	obj_meta(stub)->version = obj_meta(en ? en->row : row)->version;
	if (en) {
		bool was_created = en->action == ACTION_CREATE;

		entry_forget(tx, en);
		if (was_created) {
			obj_free(stub);
			return;
		}
	}
	entry_add(tx, ACTION_REMOVE, kind, stub);
}

static void touch(struct tx *tx, const void *row, uint64_t version)
{
	enum obj_kind kind = kind_of_row(row);
	void *stub = obj_new_row(kind, row_id(row));

	bug_if(tx->allow_split); /* see tx_allow_split */
	obj_meta(stub)->version = version;
	tx->touches = xrealloc(tx->touches, (tx->n_touches + 1) * sizeof(*tx->touches));
	tx->touches[tx->n_touches++] = (struct tx_touch){kind, stub};
}

void tx_use(struct tx *tx, const void *row)
{
	touch(tx, row, 0);
}

void tx_rely(struct tx *tx, const void *row)
{
	bug_if(obj_meta(row)->version == 0); /* only what is committed can be relied on */
	touch(tx, row, obj_meta(row)->version);
}

const void *tx_get(const struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = id ? tx_entry_of(tx, kind, id) : NULL;

	if (!en)
		return store_get(tx->store, kind, id);
	return en->action == ACTION_REMOVE ? NULL : en->row;
}

void *tx_edit(struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = id ? tx_entry_of(tx, kind, id) : NULL;
	const void *row;

	tx->touched++;
	if (en)
		return en->action == ACTION_REMOVE ? NULL : en->row;
	row = store_get(tx->store, kind, id);
	return row ? entry_add(tx, ACTION_UPDATE, kind, obj_dup(row))->row : NULL;
}

void tx_ahead(struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = tx_entry_of(tx, kind, id);

	bug_if(!en || !en->row); /* only what this tx changes has a place in it */
	en->place = -1;
}

void tx_behind(struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = tx_entry_of(tx, kind, id);

	bug_if(!en || !en->row || en->place < 0);
	en->place = 1;
}

/* ---- lists as the tx will leave them ---- */

static int by_id(const void *a, const void *b)
{
	return strcmp(row_id(*(void *const *)a), row_id(*(void *const *)b));
}

/* base: committed rows in id order. Created rows that match are merged in; which < 0: the whole table. */
static size_t overlay(const struct tx *tx, enum obj_kind kind, int which, const char *key,
		      const struct table *base, const void ***ret)
{
	const struct created *made = created_find(tx, kind, which, key);
	size_t n = 0, n_base, cap = (base ? base->n : 0) + (made ? made->n : 0);
	const void **list = xcalloc(cap ? cap : 1, sizeof(*list));

	for (size_t i = 0; base && i < base->n; i++) {
		const void *row = tx->by_key ? tx_get(tx, kind, row_id(base->rows[i])) : base->rows[i];

		if (row)
			list[n++] = row;
	}
	n_base = n;
	for (size_t i = 0; made && i < made->n; i++)
		if (made->entries[i]->row) /* not forgotten */
			list[n++] = made->entries[i]->row;
	if (n > n_base)
		qsort(list, n, sizeof(*list), by_id);
	bug_if(n > cap);
	*ret = list;
	return n;
}

size_t tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret)
{
	return overlay(tx, kind, -1, NULL, &tx->store->tables[kind], ret);
}

size_t tx_tasks_of_service(const struct tx *tx, const char *service_id, const Gs__Task ***ret)
{
	const struct table *base = index_find(tx->store, INDEX_TASKS_BY_SERVICE, service_id);

	return overlay(tx, OBJ_TASK, INDEX_TASKS_BY_SERVICE, service_id, base, (const void ***)ret);
}

size_t tx_slots_of_service(const struct tx *tx, const char *service_id, const Gs__Slot ***ret)
{
	const struct table *base = index_find(tx->store, INDEX_SLOTS_BY_SERVICE, service_id);

	return overlay(tx, OBJ_SLOT, INDEX_SLOTS_BY_SERVICE, service_id, base, (const void ***)ret);
}

/* ---- what there is to commit ---- */

bool tx_entry_is_noop(const struct tx *tx, const struct tx_entry *en)
{
	if (!en->row)
		return true;
	if (en->action != ACTION_UPDATE || en->spec_changed)
		return false;
	return obj_equal(store_get(tx->store, en->kind, row_id(en->row)), en->row);
}

size_t tx_len(const struct tx *tx)
{
	size_t n = 0;

	for (size_t i = 0; i < tx->n; i++)
		n += !tx_entry_is_noop(tx, tx->entries[i]);
	return n;
}
