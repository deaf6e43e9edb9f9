// SPDX-License-Identifier: Apache-2.0
/* Transactions: a list of row changes made from the committed state, and their way through the log.
 *
 * The happy path is: rows are collected, packed into one StoreCommand (or several, when a reconciler allows
 * it), proposed; the last answer is the commit's. What can fail is: the engine refuses or loses the proposal,
 * or apply refuses it; the first error ends the commit, what was applied before stays (reconcilers look
 * again). */
#include <assert.h>
#include <string.h>
#include <uthash.h>

#include "base/mem.h"
#include "manager/raft/envelope.h"
#include "manager/store/internal.h"

#define PART_BYTES (1536 * 1024) /* well below a raft entry's limit */
/* A row alone in its part. A reconciler copies a spec that was just let in into a larger row, a task. */
#define ROW_BYTES (ENVELOPE_PAYLOAD_MAX - 1024)

struct tx_entry {
	UT_hash_handle hh;
	char *key; /* a letter for the kind, then the id */
	enum obj_kind kind;
	Gs__ActionKind action;
	void *row; /* NULL: forgotten */
	bool spec_changed;
	bool ahead; /* tx_ahead */
};
struct tx_touch {
	enum obj_kind kind;
	void *stub; /* id, and the version that is relied on */
};
struct tx {
	struct store *store;
	struct tx_entry **entries, *by_key;
	size_t n, cap;
	uint64_t touched;
	bool allow_split;
	struct tx_touch *touches;
	size_t n_touches;
};

struct tx *tx_new(struct store *s)
{
	struct tx *tx = xcalloc(1, sizeof(*tx));

	tx->store = s;
	return tx;
}

void tx_free(struct tx *tx)
{
	if (!tx)
		return;
	HASH_CLEAR(hh, tx->by_key);
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
	tx->allow_split = true;
}

uint64_t tx_touched(const struct tx *tx)
{
	return tx->touched;
}

static struct tx_entry *entry_of(const struct tx *tx, enum obj_kind kind, const char *id)
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
	en->kind = kind;
	en->action = action;
	en->row = take_row;
	if (tx->n == tx->cap) {
		tx->cap = tx->cap ? tx->cap * 2 : 16;
		tx->entries = xrealloc(tx->entries, tx->cap * sizeof(struct tx_entry *));
	}
	tx->entries[tx->n++] = en;
	HASH_ADD_KEYPTR(hh, tx->by_key, en->key, strlen(en->key), en);
	return en;
}

/* The entry stays in the list, so that the others keep their order, but does nothing. */
static void entry_forget(struct tx *tx, struct tx_entry *en)
{
	HASH_DEL(tx->by_key, en);
	obj_free(en->row);
	en->row = NULL;
}

static enum obj_kind kind_of_row(const void *row)
{
	enum obj_kind kind = obj_kind_of(row);

	assert(kind != OBJ_NONE && obj_meta(row) && *row_id(row) && strlen(row_id(row)) < 500);
	return kind;
}

void tx_create(struct tx *tx, void *take_row)
{
	enum obj_kind kind = kind_of_row(take_row);
	struct tx_entry *en = entry_of(tx, kind, row_id(take_row));
	Gs__Meta *meta = obj_meta(take_row);

	tx->touched++;
	if (!en) {
		meta->version = 0;
		entry_add(tx, ACTION_CREATE, kind, take_row);
		return;
	}
	/* Removed before in this tx: then it is a change of the committed row. */
	if (en->action == ACTION_REMOVE)
		en->action = ACTION_UPDATE;
	meta->version = obj_meta(en->row)->version;
	meta->spec_version = obj_meta(en->row)->spec_version;
	en->spec_changed = true;
	obj_free(en->row);
	en->row = take_row;
}

static void update(struct tx *tx, void *take_row, bool spec_changed)
{
	enum obj_kind kind = kind_of_row(take_row);
	struct tx_entry *en = entry_of(tx, kind, row_id(take_row));

	tx->touched++;
	if (!en) {
		en = entry_add(tx, ACTION_UPDATE, kind, take_row);
	} else if (en->action == ACTION_REMOVE) {
		obj_free(take_row);
		return;
	} else if (en->row != take_row) {
		obj_free(en->row);
		en->row = take_row;
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
	struct tx_entry *en = entry_of(tx, kind, row_id(row));
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
	assert(obj_meta(row)->version > 0 && "only what is committed can be relied on");
	touch(tx, row, obj_meta(row)->version);
}

const void *tx_get(const struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = id ? entry_of(tx, kind, id) : NULL;

	if (!en)
		return store_get(tx->store, kind, id);
	return en->action == ACTION_REMOVE ? NULL : en->row;
}

void *tx_edit(struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = id ? entry_of(tx, kind, id) : NULL;
	const void *row;

	tx->touched++;
	if (en)
		return en->action == ACTION_REMOVE ? NULL : en->row;
	row = store_get(tx->store, kind, id);
	return row ? entry_add(tx, ACTION_UPDATE, kind, obj_dup(row))->row : NULL;
}

void tx_ahead(struct tx *tx, enum obj_kind kind, const char *id)
{
	struct tx_entry *en = entry_of(tx, kind, id);

	assert(en && "only what this tx changes has a place in it");
	en->ahead = true;
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
	size_t n = 0, n_base, cap = (base ? base->n : 0) + tx->n;
	const void **list = xcalloc(cap, sizeof(*list));

	for (size_t i = 0; base && i < base->n; i++) {
		const void *row = tx->by_key ? tx_get(tx, kind, row_id(base->rows[i])) : base->rows[i];

		if (row)
			list[n++] = row;
	}
	n_base = n;
	for (size_t i = 0; i < tx->n; i++) {
		const struct tx_entry *en = tx->entries[i];
		const char *own;

		if (!en->row || en->kind != kind || en->action != ACTION_CREATE)
			continue;
		own = which < 0 ? NULL : index_key(which, kind, en->row);
		if (which < 0 || (own && strcmp(own, key) == 0))
			list[n++] = en->row;
	}
	if (n > n_base)
		qsort(list, n, sizeof(*list), by_id);
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

/* ---- commit ---- */

static bool is_noop(const struct tx *tx, const struct tx_entry *en)
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
		n += !is_noop(tx, tx->entries[i]);
	return n;
}

struct part {
	uint8_t *data;
	size_t len;
};
struct commit {
	struct store *store;
	struct part *parts;
	size_t n, next;
	struct err err;
	struct err left_out; /* a row that fits into no entry */
	void (*done)(void *arg, const struct err *e);
	void *arg;
};

static void fill_action(Gs__StoreAction *a, Gs__StoreObject *o, Gs__ActionKind action, enum obj_kind kind,
			void *row)
{
	obj_wrap(o, kind, row);
	gs__store_action__init(a);
	a->kind = action;
	a->object = o;
}

static struct part pack_part(const struct tx *tx, struct tx_entry **entries, size_t n, size_t n_touches)
{
	Gs__StoreCommand cmd = GS__STORE_COMMAND__INIT;
	size_t total = n + n_touches;
	cleanup_free Gs__StoreObject *objects = xcalloc(total, sizeof(*objects));
	cleanup_free Gs__StoreAction *actions = xcalloc(total, sizeof(*actions));
	cleanup_free Gs__StoreAction **list = xcalloc(total, sizeof(Gs__StoreAction *));
	struct part part;

	for (size_t i = 0; i < n_touches; i++)
		fill_action(&actions[i], &objects[i], ACTION_TOUCH, tx->touches[i].kind, tx->touches[i].stub);
	for (size_t i = 0, k = n_touches; i < n; i++, k++) {
		if (entries[i]->spec_changed)
			obj_meta(entries[i]->row)->spec_version = 0;
		fill_action(&actions[k], &objects[k], entries[i]->action, entries[i]->kind, entries[i]->row);
	}
	for (size_t i = 0; i < total; i++)
		list[i] = &actions[i];
	cmd.actions = list;
	cmd.n_actions = total;
	cmd.now_ms = clock_wall_ms(tx->store->clock);
	part.len = gs__store_command__get_packed_size(&cmd);
	part.data = xmalloc(part.len);
	gs__store_command__pack(&cmd, part.data);
	return part;
}

static void add_part(struct commit *c, const struct tx *tx, struct tx_entry **entries, size_t n)
{
	if (n == 0)
		return;
	c->parts = xrealloc(c->parts, (c->n + 1) * sizeof(*c->parts));
	c->parts[c->n++] = pack_part(tx, entries, n, tx->n_touches);
}

/* How many of the entries from the first on fit into one log entry. */
static size_t fitting(struct tx_entry **entries, size_t n, size_t actions)
{
	size_t bytes = 0, i;

	for (i = 0; i < n && i < actions; i++) {
		bytes += protobuf_c_message_get_packed_size(entries[i]->row) + 32;
		if (bytes > PART_BYTES)
			break;
	}
	return i;
}

/* Those that change something, in their order. Returns how many. */
static size_t live_entries(const struct tx *tx, bool ahead, struct tx_entry **ret)
{
	size_t n = 0;

	for (size_t i = 0; i < tx->n; i++)
		if (tx->entries[i]->ahead == ahead && !is_noop(tx, tx->entries[i]))
			ret[n++] = tx->entries[i];
	return n;
}

/* A change or removal of the row in this tx compares its version already, and would meet the touch's new one. */
static void drop_changed_touches(struct tx *tx)
{
	size_t n = 0;

	for (size_t i = 0; i < tx->n_touches; i++) {
		struct tx_touch *t = &tx->touches[i];
		const struct tx_entry *en = entry_of(tx, t->kind, row_id(t->stub));

		if (en && !is_noop(tx, en))
			obj_free(t->stub);
		else
			tx->touches[n++] = *t;
	}
	tx->n_touches = n;
}

/* What fits into no entry is left out and named: one row must not hold up all the others for ever. */
static bool leave_out(struct commit *c, const struct tx_entry *en)
{
	size_t bytes = protobuf_c_message_get_packed_size(en->row);

	if (bytes <= ROW_BYTES)
		return false;
	err_set(&c->left_out, E_LIMIT, "%s %s of %zu bytes is larger than the limit of %d and was left out",
		obj_kind_name(en->kind), row_id(en->row), bytes, ROW_BYTES);
	return true;
}

static void pack_split(struct commit *c, const struct tx *tx, struct tx_entry **live, size_t n)
{
	size_t i = 0;

	while (i < n) {
		size_t take = fitting(live + i, n - i, tx->store->part_actions);

		if (take > 0)
			add_part(c, tx, live + i, take);
		else if (!leave_out(c, live[i]))
			add_part(c, tx, live + i, 1);
		i += take ? take : 1;
	}
}

static void pack_all(struct commit *c, struct tx *tx)
{
	cleanup_free struct tx_entry **live = xcalloc(tx->n, sizeof(struct tx_entry *));
	size_t n = live_entries(tx, true, live);

	assert((!tx->allow_split || tx->n_touches == 0) &&
	       "a cut would leave the rest without what it relies on");
	n += live_entries(tx, false, live + n);
	drop_changed_touches(tx);
	if (tx->allow_split) {
		pack_split(c, tx, live, n);
		return;
	}
	add_part(c, tx, live, n);
	if (c->n > 0 && c->parts[0].len > PART_BYTES + 64)
		err_set(&c->err, E_LIMIT, "a change of %zu bytes is larger than the limit of %d",
			c->parts[0].len, PART_BYTES);
}

static void commit_finish(void *arg)
{
	struct commit *c = arg;

	for (size_t i = 0; i < c->n; i++)
		free(c->parts[i].data);
	free(c->parts);
	c->store->in_flight--;
	if (c->done)
		c->done(c->arg, c->err.code ? &c->err : &c->left_out);
	free(c);
}

static void on_answer(void *arg, const struct err *e);

/* Propose the next part; false: there is none, or it was refused (then c->err says why). */
static bool propose_next(struct commit *c)
{
	struct consensus *k = c->store->consensus;
	const struct part *p;
	int rc;

	if (c->err.code != 0 || c->next == c->n)
		return false;
	p = &c->parts[c->next++];
	/* A commit that has begun goes on, or it would be cut in the middle. */
	rc = c->next == 1 && !k->ops->has_room(k) ? E_LIMIT : 0;
	if (rc == 0)
		rc = k->ops->propose(k, p->data, p->len, on_answer, c);
	if (rc == 0)
		return true;
	if (rc == E_NOT_LEADER)
		err_set(&c->err, rc, "this manager is not the leader");
	else if (rc == E_LIMIT)
		err_set(&c->err, rc, "too many changes are waiting for the managers' log");
	else
		err_set(&c->err, rc, "the managers' log takes no changes now");
	return false;
}

static void on_answer(void *arg, const struct err *e)
{
	struct commit *c = arg;

	if (e && e->code != 0)
		c->err = *e;
	if (!propose_next(c))
		commit_finish(c);
}

void store_commit(struct store *s, struct tx *tx, void (*done)(void *arg, const struct err *e), void *arg)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	assert(s->consensus && tx->store == s);
	c->store = s;
	c->done = done;
	c->arg = arg;
	s->in_flight++;
	pack_all(c, tx);
	tx_free(tx);
	if (!propose_next(c))
		s->consensus->ops->defer(s->consensus, commit_finish, c);
}
