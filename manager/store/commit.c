// SPDX-License-Identifier: Apache-2.0
/* A transaction's way through the log.
 *
 * The happy path is: the changes are packed into one StoreCommand (or several, when a reconciler allows it)
 * and proposed one after the other; the last answer is the commit's. What can fail is: the engine refuses or
 * loses a proposal, or apply refuses it; the first error ends the commit, what was applied before stays
 * (reconcilers look again). */
#include "base/bug.h"
#include "base/mem.h"
#include "manager/raft/envelope.h"
#include "manager/store/internal.h"

#define PART_BYTES (1536 * 1024) /* well below a raft entry's limit */
/* A row alone in its part. A reconciler copies a spec that was just let in into a larger row, a task. */
#define ROW_BYTES (ENVELOPE_PAYLOAD_MAX - 1024)

struct part {
	uint8_t *data;
	size_t len;
};
#define COMMIT_MAGIC MAGIC('c', 'm', 'i', 't')
struct commit {
	uint32_t magic;
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
	bug_if(gs__store_command__pack(&cmd, part.data) != part.len);
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
static size_t live_entries(const struct tx *tx, int place, struct tx_entry **ret)
{
	size_t n = 0;

	for (size_t i = 0; i < tx->n; i++)
		if (tx->entries[i]->place == place && !tx_entry_is_noop(tx, tx->entries[i]))
			ret[n++] = tx->entries[i];
	return n;
}

/* A change or removal of the row in this tx compares its version already, and would meet the touch's new one. */
static void drop_changed_touches(struct tx *tx)
{
	size_t n = 0;

	for (size_t i = 0; i < tx->n_touches; i++) {
		struct tx_touch *t = &tx->touches[i];
		const struct tx_entry *en = tx_entry_of(tx, t->kind, row_id(t->stub));

		if (en && !tx_entry_is_noop(tx, en))
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
	size_t n = live_entries(tx, -1, live);

	bug_if(tx->allow_split && tx->n_touches > 0);
	n += live_entries(tx, 0, live + n);
	n += live_entries(tx, 1, live + n);
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
	struct commit *c = magic_of(struct commit, COMMIT_MAGIC, arg);

	bug_if(c->store->in_flight == 0);
	bug_if(c->err.code == 0 && c->next != c->n); /* parts that nobody proposed */
	for (size_t i = 0; i < c->n; i++)
		free(c->parts[i].data);
	free(c->parts);
	c->store->in_flight--;
	if (c->done)
		c->done(c->arg, c->err.code ? &c->err : &c->left_out);
	magic_end(c);
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
	struct commit *c = magic_of(struct commit, COMMIT_MAGIC, arg);

	bug_if(c->next == 0 || c->next > c->n);
	if (e && e->code != 0)
		c->err = *e;
	if (!propose_next(c))
		commit_finish(c);
}

void store_commit(struct store *s, struct tx *tx, void (*done)(void *arg, const struct err *e), void *arg)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	bug_if_off_loop();
	bug_if(!s->consensus || tx->store != s || s->notifying);
	magic_set(c, COMMIT_MAGIC);
	c->store = s;
	c->done = done;
	c->arg = arg;
	s->in_flight++;
	pack_all(c, tx);
	tx_free(tx);
	if (!propose_next(c))
		s->consensus->ops->defer(s->consensus, commit_finish, c);
}
