// SPDX-License-Identifier: Apache-2.0
/* The store's core: reading rows, applying committed commands, telling watchers.
 *
 * The happy path is: apply unpacks a StoreCommand, performs its actions one after the other on the tables,
 * tells the watchers, frees the rows that were replaced. What can fail is: an action that meets another
 * version than it was made from, or a taken id or name: what was done so far is undone, and the proposer
 * hears why. A command that cannot be understood halts the store: this replica no longer knows the state. */
#include "manager/store/store.h"

#include <string.h>

#include "base/mem.h"
#include "manager/store/internal.h"

#define SCHEMA_VERSION 1

struct store_watch {
	struct store_watch *next;
	store_watch_fn fn; /* NULL: removed, freed after the notification that is under way */
	void *arg;
};
struct change {
	enum obj_kind kind;
	void *old_row, *new_row;
};

struct store *store_new(const struct clock *clock)
{
	struct store *s = xcalloc(1, sizeof(*s));

	bug_if(!clock);
	magic_set(s, STORE_MAGIC);
	s->clock = clock;
	s->part_actions = PART_ACTIONS;
	return s;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	bug_if(s->in_flight > 0); /* close the consensus engine first */
	bug_if(s->notifying);
	for (int i = 0; i < INDEX_COUNT; i++)
		index_fini(&s->indexes[i]);
	for (int kind = 0; kind < OBJ_KINDS; kind++)
		table_fini(&s->tables[kind]);
	while (s->watches) {
		struct store_watch *w = s->watches;

		s->watches = w->next;
		free(w);
	}
	magic_end(s);
	free(s);
}

void store_set_part_actions(struct store *s, size_t n)
{
	bug_if(n == 0);
	s->part_actions = n;
}

void store_set_consensus(struct store *s, struct consensus *c)
{
	s->consensus = c;
}

void store_on_leader(struct store *s, void (*fn)(void *arg, bool is_leader), void *arg)
{
	s->on_leader = fn;
	s->on_leader_arg = arg;
}

void store_on_applied(struct store *s, void (*fn)(void *arg), void *arg)
{
	s->on_applied = fn;
	s->on_applied_arg = arg;
}

/* ---- read ---- */

const void *store_get(const struct store *s, enum obj_kind kind, const char *id)
{
	bug_if(kind <= OBJ_NONE || kind >= OBJ_KINDS);
	return id ? table_get(&s->tables[kind], id) : NULL;
}

const Gs__Cluster *store_cluster(const struct store *s)
{
	return store_at(s, OBJ_CLUSTER, 0);
}

size_t store_count(const struct store *s, enum obj_kind kind)
{
	return s->tables[kind].n;
}

const void *store_at(const struct store *s, enum obj_kind kind, size_t i)
{
	const struct table *t = &s->tables[kind];

	return i < t->n ? t->rows[i] : NULL;
}

static size_t by_index(const struct store *s, int which, const char *key, const void *const **ret)
{
	const struct table *t = key ? index_find(s, which, key) : NULL;

	*ret = t ? (const void *const *)t->rows : NULL;
	return t ? t->n : 0;
}

size_t store_tasks_of_service(const struct store *s, const char *service_id, const Gs__Task *const **ret)
{
	return by_index(s, INDEX_TASKS_BY_SERVICE, service_id, (const void *const **)ret);
}

size_t store_tasks_of_node(const struct store *s, const char *node_id, const Gs__Task *const **ret)
{
	return by_index(s, INDEX_TASKS_BY_NODE, node_id, (const void *const **)ret);
}

size_t store_slots_of_service(const struct store *s, const char *service_id, const Gs__Slot *const **ret)
{
	return by_index(s, INDEX_SLOTS_BY_SERVICE, service_id, (const void *const **)ret);
}

uint64_t store_index(const struct store *s)
{
	return s->index;
}

size_t store_in_flight(const struct store *s)
{
	return s->in_flight;
}

/* ---- watch ---- */

struct store_watch *store_watch_add(struct store *s, store_watch_fn fn, void *arg)
{
	struct store_watch *w = xcalloc(1, sizeof(*w));

	bug_if(!fn);
	w->fn = fn;
	w->arg = arg;
	w->next = s->watches;
	s->watches = w;
	return w;
}

static void sweep_watches(struct store *s)
{
	struct store_watch **p = &s->watches;

	while (*p) {
		struct store_watch *w = *p;

		if (w->fn) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		free(w);
	}
}

void store_watch_remove(struct store *s, struct store_watch *w)
{
	if (!w)
		return;
	bug_if(!w->fn); /* once */
	w->fn = NULL;
	if (s->notifying == 0)
		sweep_watches(s);
}

static void notify(struct store *s, const struct change *changes, size_t n)
{
	s->notifying++;
	for (size_t i = 0; i < n; i++)
		for (struct store_watch *w = s->watches; w; w = w->next)
			if (w->fn)
				w->fn(w->arg, changes[i].kind, changes[i].old_row, changes[i].new_row);
	bug_if(s->notifying == 0);
	s->notifying--;
	sweep_watches(s);
	if (s->on_applied)
		s->on_applied(s->on_applied_arg);
}

/* ---- apply ---- */

/* Owned secrets (a cluster's own credentials) have the same names in every cluster. */
static bool has_unique_name(enum obj_kind kind, const void *row)
{
	return kind == OBJ_SERVICE || kind == OBJ_NETWORK || kind == OBJ_CONFIG ||
	       (kind == OBJ_SECRET && !*((const Gs__Secret *)row)->owner);
}

/* Two requests that were both checked before either was committed: the second one loses here. */
static int check_unique(const struct store *s, enum obj_kind kind, const void *row, struct err *e)
{
	const char *name = row_name(kind, row);
	const void *other;

	if (!*name || !has_unique_name(kind, row))
		return 0;
	for (size_t i = 0; (other = store_at(s, kind, i)); i++)
		if (strcmp(row_name(kind, other), name) == 0 && has_unique_name(kind, other) &&
		    strcmp(row_id(other), row_id(row)) != 0)
			return err_set(e, E_EXISTS, "%s %s exists already", obj_kind_name(kind), name);
	return 0;
}

static int stale(enum obj_kind kind, const void *row, const char *what, struct err *e)
{
	const char *name = row_name(kind, row);

	return err_set(e, E_STALE_VERSION, "%s %s was %s meanwhile", obj_kind_name(kind),
		       *name ? name : row_id(row), what);
}

static int apply_create(struct store *s, struct change *c, uint64_t index, int64_t now_ms, struct err *e)
{
	Gs__Meta *meta = obj_meta(c->new_row);

	if (store_get(s, c->kind, meta->id))
		return err_set(e, E_EXISTS, "%s %s exists already", obj_kind_name(c->kind), meta->id);
	if (check_unique(s, c->kind, c->new_row, e))
		return e->code;
	meta->version = meta->spec_version = index;
	meta->content_version = 0;
	meta->created_ms = meta->updated_ms = now_ms;
	store_swap(s, c->kind, NULL, c->new_row);
	return 0;
}

/* spec_version 0 in an update says that the spec changes with it. */
static int apply_update(struct store *s, struct change *c, uint64_t index, int64_t now_ms, struct err *e)
{
	Gs__Meta *meta = obj_meta(c->new_row);
	const void *current = store_get(s, c->kind, meta->id);

	if (!current)
		return stale(c->kind, c->new_row, "removed", e);
	if (obj_meta(current)->version != meta->version)
		return stale(c->kind, current, "changed", e);
	if (check_unique(s, c->kind, c->new_row, e))
		return e->code;
	meta->version = index;
	meta->content_version = 0;
	meta->spec_version = meta->spec_version ? obj_meta(current)->spec_version : index;
	meta->created_ms = obj_meta(current)->created_ms;
	meta->updated_ms = now_ms;
	c->old_row = store_swap(s, c->kind, NULL, c->new_row);
	bug_if(c->old_row != current);
	return 0;
}

static int apply_remove(struct store *s, struct change *c, struct err *e)
{
	const Gs__Meta *meta = obj_meta(c->new_row);
	const void *current = store_get(s, c->kind, meta->id);

	if (!current)
		return stale(c->kind, c->new_row, "removed", e);
	if (obj_meta(current)->version != meta->version)
		return stale(c->kind, current, "changed", e);
	c->old_row = store_swap(s, c->kind, meta->id, NULL);
	bug_if(c->old_row != current);
	obj_free(c->new_row);
	c->new_row = NULL;
	return 0;
}

/* Version 0: whichever it has. */
static int apply_touch(struct store *s, struct change *c, uint64_t index, struct err *e)
{
	const Gs__Meta *meta = obj_meta(c->new_row);
	const void *current = store_get(s, c->kind, meta->id);

	if (!current)
		return stale(c->kind, c->new_row, "removed", e);
	if (meta->version && obj_meta(current)->version != meta->version)
		return stale(c->kind, current, "changed", e);
	obj_free(c->new_row);
	c->new_row = obj_dup(current);
	obj_meta(c->new_row)->version = index;
	obj_meta(c->new_row)->content_version = obj_content_version(current);
	c->old_row = store_swap(s, c->kind, NULL, c->new_row);
	return 0;
}

static void undo(struct store *s, struct change *changes, size_t n)
{
	while (n-- > 0) {
		struct change *c = &changes[n];
		const char *id = row_id(c->new_row ? c->new_row : c->old_row);

		/* The same id is in both rows. A row that the table still points to must outlive the swap. */
		bug_if(store_swap(s, c->kind, id, c->old_row) != c->new_row);
		obj_free(c->new_row);
		*c = (struct change){0};
	}
}

/* Can this version carry out every action? Before anything is touched. */
static int check_known(const Gs__StoreCommand *cmd, struct err *e)
{
	for (size_t i = 0; i < cmd->n_actions; i++) {
		const Gs__StoreAction *a = cmd->actions[i];
		const void *row = a->object ? obj_unwrap(a->object) : NULL;
		const Gs__Cluster *cluster = row;

		if (!row || (unsigned)a->kind > ACTION_TOUCH)
			return err_set(e, E_PROTOCOL, "command with an action of a newer version");
		if (!obj_meta(row) || !*row_id(row))
			return err_set(e, E_CORRUPT, "command with a %s without id",
				       obj_kind_name(obj_kind_of(row)));
		if (obj_kind_of(row) == OBJ_CLUSTER && cluster->schema_version > SCHEMA_VERSION)
			return err_set(e, E_PROTOCOL, "schema %u is newer than this version's %d",
				       cluster->schema_version, SCHEMA_VERSION);
	}
	return 0;
}

static int apply_action(struct store *s, Gs__StoreAction *a, struct change *c, uint64_t index, int64_t now_ms,
			struct err *e)
{
	int rc;

	*c = (struct change){.new_row = obj_unwrap(a->object)};
	c->kind = obj_kind_of(c->new_row);
	a->object->kind_case = KIND_NOT_SET; /* the row is ours now */
	if (a->kind == ACTION_CREATE)
		rc = apply_create(s, c, index, now_ms, e);
	else if (a->kind == ACTION_UPDATE)
		rc = apply_update(s, c, index, now_ms, e);
	else if (a->kind == ACTION_TOUCH)
		rc = apply_touch(s, c, index, e);
	else
		rc = apply_remove(s, c, e);
	if (rc)
		obj_free(c->new_row);
	return rc;
}

static int apply_command(struct store *s, Gs__StoreCommand *cmd, uint64_t index, struct err *e)
{
	cleanup_free struct change *changes = xcalloc(cmd->n_actions, sizeof(*changes));
	int rc = 0;
	size_t n;

	for (n = 0; n < cmd->n_actions; n++) {
		rc = apply_action(s, cmd->actions[n], &changes[n], index, cmd->now_ms, e);
		if (rc)
			break;
	}
	if (rc) {
		undo(s, changes, n);
		return rc;
	}
	notify(s, changes, n);
	for (size_t i = 0; i < n; i++)
		obj_free(changes[i].old_row);
	return 0;
}

static int on_apply(void *arg, uint64_t index, const uint8_t *data, size_t len, struct err *e)
{
	struct store *s = magic_of(struct store, STORE_MAGIC, arg);
	struct err own = {0};
	Gs__StoreCommand *cmd;
	int rc;

	if (!e)
		e = &own;
	bug_if_off_loop();
	bug_if(s->halted);    /* an engine must stop at E_CORRUPT and E_PROTOCOL */
	bug_if(s->notifying); /* from inside a watcher */
	if (index <= s->index) {
		s->halted = true;
		return err_set(e, E_CORRUPT, "entry %llu comes after %llu", (unsigned long long)index,
			       (unsigned long long)s->index);
	}
	cmd = gs__store_command__unpack(NULL, len, data);
	rc = cmd ? check_known(cmd, e)
		 : err_set(e, E_CORRUPT, "entry %llu cannot be decoded", (unsigned long long)index);
	if (rc) {
		s->halted = true;
	} else {
		s->index = index;
		rc = apply_command(s, cmd, index, e);
	}
	if (cmd)
		gs__store_command__free_unpacked(cmd, NULL);
	return rc;
}

static void on_snapshot(void *arg, uint8_t **ret_data, size_t *ret_len)
{
	snapshot_make(magic_of(struct store, STORE_MAGIC, arg), ret_data, ret_len);
}

static int on_restore(void *arg, const uint8_t *data, size_t len, struct err *e)
{
	struct store *s = magic_of(struct store, STORE_MAGIC, arg);
	int rc = snapshot_read(s, data, len, e);

	if (rc == 0) {
		s->halted = false;
		if (s->on_applied)
			s->on_applied(s->on_applied_arg);
	}
	return rc;
}

static void on_leader(void *arg, bool is_leader)
{
	struct store *s = magic_of(struct store, STORE_MAGIC, arg);

	if (s->on_leader)
		s->on_leader(s->on_leader_arg, is_leader);
}

struct consensus_fsm store_fsm(struct store *s)
{
	return (struct consensus_fsm){.apply = on_apply,
				      .snapshot = on_snapshot,
				      .restore = on_restore,
				      .on_leader = on_leader,
				      .arg = s};
}
