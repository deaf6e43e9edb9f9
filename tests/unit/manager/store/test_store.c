// SPDX-License-Identifier: Apache-2.0
/* The store through the in-memory engine: what is committed is there, what is refused left nothing. */
#include "tests/unit/manager/cluster.h"

#include "manager/raft/envelope.h"

static struct {
	int created, updated, removed, applied;
	bool leader;
} seen; /* by the store's callbacks */

static void on_watch(void *arg, enum obj_kind kind, const void *old_row, const void *new_row)
{
	assert_true(kind > OBJ_NONE && kind < OBJ_KINDS);
	if (!old_row)
		seen.created++;
	else if (!new_row)
		seen.removed++;
	else
		seen.updated++;
}

static void on_applied(void *arg)
{
	seen.applied++;
}

static void on_leader(void *arg, bool is_leader)
{
	seen.leader = is_leader;
}

static int setup(void **state)
{
	struct cluster *c = c_bare(1000, 5000);

	memset(&seen, 0, sizeof(seen));
	store_on_leader(c->s, on_leader, NULL);
	store_on_applied(c->s, on_applied, NULL);
	store_watch_add(c->s, on_watch, NULL);
	consensus_memory_set_leader(c->c, false);
	consensus_memory_set_leader(c->c, true);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	c_free(*state);
	return 0;
}

static int commit(struct cluster *f, struct tx *tx)
{
	int before = f->answers;

	store_commit(f->s, tx, c_done, f);
	assert_int_equal(f->answers, before); /* never from inside */
	consensus_memory_run(f->c);
	assert_int_equal(f->answers, before + 1);
	return f->last.code;
}

static void *service_row(const char *id, const char *name)
{
	Gs__Service *svc = obj_new_row(OBJ_SERVICE, id);

	svc->spec = obj_new(&gs__service_spec__descriptor);
	str_replace(&svc->spec->name, name);
	return svc;
}

static void *node_row(const char *id, const char *hostname, Gs__NodeState state)
{
	Gs__Node *n = obj_new_row(OBJ_NODE, id);

	n->description = obj_new(&gs__node_description__descriptor);
	str_replace(&n->description->hostname, hostname);
	n->status = obj_new(&gs__node_status__descriptor);
	n->status->state = state;
	return n;
}

static void *task_row(const char *id, const char *service, const char *node)
{
	Gs__Task *t = obj_new_row(OBJ_TASK, id);

	str_replace(&t->service_id, service);
	str_replace(&t->node_id, node);
	str_replace(&t->name, "db.1");
	return t;
}

static void put(struct cluster *f, void *row)
{
	struct tx *tx = tx_new(f->s);

	tx_create(tx, row);
	assert_int_equal(commit(f, tx), 0);
}

static void test_create_update_remove(void **state)
{
	struct cluster *f = *state;
	struct tx *tx;
	Gs__Service *copy;

	put(f, service_row("s1", "db"));
	assert_int_equal(store_service(f->s, "s1")->meta->version, 1);
	assert_int_equal(store_service(f->s, "s1")->meta->spec_version, 1);
	assert_int_equal(store_service(f->s, "s1")->meta->created_ms, 5000);
	clock_virtual_advance(&f->v, 10);

	tx = tx_new(f->s);
	copy = obj_dup(store_service(f->s, "s1"));
	str_replace(&copy->error, "no nodes");
	tx_update(tx, copy);
	assert_int_equal(commit(f, tx), 0);
	assert_string_equal(store_service(f->s, "s1")->error, "no nodes");
	assert_int_equal(store_service(f->s, "s1")->meta->version, 2);
	assert_int_equal(store_service(f->s, "s1")->meta->spec_version, 1);
	assert_int_equal(store_service(f->s, "s1")->meta->created_ms, 5000);
	assert_int_equal(store_service(f->s, "s1")->meta->updated_ms, 5010);

	tx = tx_new(f->s);
	copy = obj_dup(store_service(f->s, "s1"));
	copy->spec->replicas = 3;
	tx_update_spec(tx, copy);
	assert_int_equal(commit(f, tx), 0);
	assert_int_equal(store_service(f->s, "s1")->meta->spec_version, 3);

	tx = tx_new(f->s);
	tx_remove(tx, store_service(f->s, "s1"));
	assert_int_equal(commit(f, tx), 0);
	assert_null(store_service(f->s, "s1"));
	assert_int_equal(seen.created, 1);
	assert_int_equal(seen.updated, 2);
	assert_int_equal(seen.removed, 1);
	assert_int_equal(seen.applied, 4);
	assert_int_equal(store_index(f->s), 4);
}

static void test_stale_changes_nothing(void **state)
{
	struct cluster *f = *state;
	struct tx *a, *b;
	Gs__Service *copy;

	put(f, service_row("s1", "db"));
	a = tx_new(f->s);
	copy = tx_edit(a, OBJ_SERVICE, "s1");
	copy->spec->replicas = 1;
	b = tx_new(f->s);
	tx_create(b, service_row("s2", "other"));
	tx_create(b, task_row("t1", "s2", "n1"));
	copy = tx_edit(b, OBJ_SERVICE, "s1");
	copy->spec->replicas = 2;
	assert_int_equal(commit(f, a), 0);
	seen.applied = 0;
	assert_int_equal(commit(f, b), E_STALE_VERSION);
	assert_string_equal(f->last.msg, "service db was changed meanwhile");
	assert_int_equal(store_service(f->s, "s1")->spec->replicas, 1);
	assert_null(store_service(f->s, "s2"));
	assert_null(store_task(f->s, "t1"));
	assert_int_equal(seen.applied, 0);
	const Gs__Task *const *list;
	assert_int_equal(store_tasks_of_service(f->s, "s2", &list), 0);
	assert_int_equal(store_tasks_of_node(f->s, "n1", &list), 0);
	assert_int_equal(store_index(f->s), 3); /* refused, but it is in the log */
}

static void test_undo_of_update_and_remove(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);
	const Gs__Task *const *list;
	Gs__Task *t;
	uint8_t *before, *after;
	size_t n_before, n_after;
	struct consensus_fsm fsm = store_fsm(f->s);

	tx_create(tx, task_row("t1", "s1", "n1"));
	tx_create(tx, task_row("t2", "s1", "n1"));
	tx_create(tx, service_row("s1", "db"));
	assert_int_equal(commit(f, tx), 0);
	fsm.snapshot(fsm.arg, &before, &n_before);

	tx = tx_new(f->s);
	t = tx_edit(tx, OBJ_TASK, "t1");
	str_replace(&t->node_id, "n2");
	tx_remove(tx, store_task(f->s, "t2"));
	tx_create(tx, service_row("s2", "db")); /* name taken */
	assert_int_equal(commit(f, tx), E_EXISTS);
	assert_string_equal(f->last.msg, "service db exists already");
	assert_int_equal(store_tasks_of_node(f->s, "n1", &list), 2);
	assert_string_equal(list[0]->meta->id, "t1");
	assert_int_equal(store_tasks_of_node(f->s, "n2", &list), 0);
	fsm.snapshot(fsm.arg, &after, &n_after);
	assert_int_equal(n_before, n_after);
	/* only the applied index inside may differ: compare the rows by reading them back */
	assert_non_null(store_task(f->s, "t2"));
	free(before);
	free(after);
}

static void test_tx_merging(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);
	Gs__Service *copy;
	void *row;

	/* created and removed: nothing */
	tx_create(tx, service_row("s1", "db"));
	assert_int_equal(tx_len(tx), 1);
	assert_non_null(tx_get(tx, OBJ_SERVICE, "s1"));
	tx_remove(tx, tx_get(tx, OBJ_SERVICE, "s1"));
	assert_int_equal(tx_len(tx), 0);
	assert_null(tx_get(tx, OBJ_SERVICE, "s1"));
	assert_int_equal(commit(f, tx), 0);
	assert_int_equal(store_index(f->s), 0); /* nothing went to the log */

	put(f, service_row("s1", "db"));
	tx = tx_new(f->s);
	assert_non_null(tx_edit(tx, OBJ_SERVICE, "s1"));
	assert_int_equal(tx_len(tx), 0); /* touched, not changed */
	copy = obj_dup(tx_get(tx, OBJ_SERVICE, "s1"));
	copy->spec->replicas = 7;
	tx_update(tx, copy);
	copy = tx_edit(tx, OBJ_SERVICE, "s1");
	assert_int_equal(copy->spec->replicas, 7);
	str_replace(&copy->error, "x");
	assert_int_equal(tx_len(tx), 1);
	assert_int_equal(commit(f, tx), 0);
	assert_int_equal(store_service(f->s, "s1")->spec->replicas, 7);
	assert_string_equal(store_service(f->s, "s1")->error, "x");

	/* remove, then create the same id: a change of the row */
	tx = tx_new(f->s);
	tx_remove(tx, store_service(f->s, "s1"));
	row = service_row("s1", "db2");
	tx_create(tx, row);
	assert_int_equal(commit(f, tx), 0);
	assert_string_equal(store_service(f->s, "s1")->spec->name, "db2");

	/* update, then remove; an update after the remove is dropped */
	tx = tx_new(f->s);
	copy = tx_edit(tx, OBJ_SERVICE, "s1");
	copy->spec->replicas = 9;
	tx_remove(tx, tx_get(tx, OBJ_SERVICE, "s1"));
	tx_update(tx, obj_dup(store_service(f->s, "s1")));
	assert_int_equal(tx_len(tx), 1);
	assert_int_equal(commit(f, tx), 0);
	assert_null(store_service(f->s, "s1"));
}

static void test_lists_through_tx(void **state)
{
	struct cluster *f = *state;
	struct tx *tx;
	const Gs__Task **list;
	const void **all;

	put(f, task_row("t2", "s1", ""));
	put(f, task_row("t4", "s1", ""));
	put(f, task_row("t5", "s2", ""));
	tx = tx_new(f->s);
	tx_create(tx, task_row("t3", "s1", ""));
	tx_create(tx, task_row("t1", "s2", ""));
	tx_remove(tx, store_task(f->s, "t4"));
	assert_int_equal(tx_tasks_of_service(tx, "s1", &list), 2);
	assert_string_equal(list[0]->meta->id, "t2");
	assert_string_equal(list[1]->meta->id, "t3");
	free(list);
	assert_int_equal(tx_list(tx, OBJ_TASK, &all), 4);
	assert_string_equal(((const Gs__Task *)all[0])->meta->id, "t1");
	free(all);
	tx_free(tx);
}

static void test_indexes_follow(void **state)
{
	struct cluster *f = *state;
	const Gs__Task *const *list;
	struct tx *tx;
	Gs__Task *t;

	put(f, task_row("t2", "s1", ""));
	put(f, task_row("t1", "s1", "n1"));
	assert_int_equal(store_tasks_of_service(f->s, "s1", &list), 2);
	assert_string_equal(list[0]->meta->id, "t1");
	assert_int_equal(store_tasks_of_node(f->s, "n1", &list), 1);
	tx = tx_new(f->s);
	t = tx_edit(tx, OBJ_TASK, "t2");
	str_replace(&t->node_id, "n1");
	t = tx_edit(tx, OBJ_TASK, "t1");
	str_replace(&t->node_id, "n2");
	assert_int_equal(commit(f, tx), 0);
	assert_int_equal(store_tasks_of_node(f->s, "n1", &list), 1);
	assert_string_equal(list[0]->meta->id, "t2");
	assert_ptr_equal(list[0], store_task(f->s, "t2"));
	assert_int_equal(store_tasks_of_service(f->s, "s1", &list), 2);
	assert_ptr_equal(list[0], store_task(f->s, "t1"));
}

static void test_find(void **state)
{
	struct cluster *f = *state;
	struct err e = {0};
	struct tx *tx;
	Gs__Task *t;

	put(f, service_row("abcdefgh1", "db"));
	put(f, service_row("abcdefgh2", "web"));
	assert_non_null(store_find(f->s, OBJ_SERVICE, "db", &e));
	assert_non_null(store_find(f->s, OBJ_SERVICE, "abcdefgh1", &e));
	assert_non_null(store_find(f->s, OBJ_SERVICE, "abcdefgh2", &e));
	assert_null(store_find(f->s, OBJ_SERVICE, "abcd", &e));
	assert_string_equal(e.msg, "service abcd is ambiguous, use one of the IDs: abcdefgh1, abcdefgh2");
	assert_null(store_find(f->s, OBJ_SERVICE, "abc", &e));
	assert_string_equal(e.msg, "no service abc: of an id give 4 characters at least"); /* U11 */
	assert_null(store_find(f->s, OBJ_SERVICE, "xyz", &e));
	assert_string_equal(e.msg, "no service xyz");
	assert_int_equal(e.code, E_NOT_FOUND);
	assert_null(store_find(f->s, OBJ_SERVICE, "", &e));
	/* User review, 7: a node that left and came back, with its old name and another id */
	put(f, node_row("nodeone", "docker2", NODE_DOWN));
	put(f, node_row("nodetwo", "docker2", NODE_READY));
	assert_null(store_find(f->s, OBJ_NODE, "docker2", &e));
	assert_string_equal(e.msg,
			    "node docker2 is ambiguous, use one of the IDs: nodeone (Down), nodetwo (Ready)");
	for (int i = 3; i < 7; i++) {
		cleanup_free char *id = xasprintf("node%d", i);

		put(f, node_row(id, "docker2", NODE_READY));
	}
	assert_null(store_find(f->s, OBJ_NODE, "docker2", &e));
	assert_non_null(strstr(e.msg, "node5 (Ready), node6 (Ready) ..."));
	/* a slot's history has one name: the task that should run is meant */
	put(f, task_row("t1", "s1", ""));
	put(f, task_row("t2", "s1", ""));
	assert_null(store_find(f->s, OBJ_TASK, "db.1", &e));
	tx = tx_new(f->s);
	t = tx_edit(tx, OBJ_TASK, "t2");
	t->desired = TASK_RUNNING;
	assert_int_equal(commit(f, tx), 0);
	assert_ptr_equal(store_find(f->s, OBJ_TASK, "db.1", &e), store_task(f->s, "t2"));
}

/* Another order of arrival, equal rows: equal bytes. And back. */
static void test_snapshot(void **state)
{
	struct cluster *f = *state;
	struct store *other = store_new(&f->clock);
	struct consensus_fsm fsm = store_fsm(f->s), fsm2 = store_fsm(other);
	const Gs__Task *const *list;
	uint8_t *a, *b;
	size_t na, nb;
	struct err e = {0};

	put(f, task_row("t2", "s1", "n1"));
	put(f, service_row("s1", "db"));
	put(f, task_row("t1", "s1", "n1"));
	fsm.snapshot(fsm.arg, &a, &na);
	assert_int_equal(fsm2.restore(fsm2.arg, a, na, &e), 0);
	fsm2.snapshot(fsm2.arg, &b, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na);
	assert_int_equal(store_index(other), 3);
	assert_int_equal(store_tasks_of_node(other, "n1", &list), 2);

	for (size_t i = 0; i < na; i += 7) {
		a[i] ^= 0x10;
		assert_int_equal(fsm2.restore(fsm2.arg, a, na, &e), E_CORRUPT);
		a[i] ^= 0x10;
	}
	assert_int_equal(fsm2.restore(fsm2.arg, a, 10, &e), E_CORRUPT);
	assert_int_equal(store_count(other, OBJ_TASK), 2);
	/* once more over existing state */
	assert_int_equal(fsm2.restore(fsm2.arg, a, na, &e), 0);
	assert_int_equal(store_tasks_of_node(other, "n1", &list), 2);
	free(a);
	free(b);
	store_free(other);
}

static void test_unknown_schema(void **state)
{
	struct cluster *f = *state;
	struct consensus_fsm fsm = store_fsm(f->s);
	const uint8_t newer_kind[] = {0x0a, 0x02, 0x08, 0x07};      /* action kind 7 */
	const uint8_t no_object[] = {0x0a, 5, 0x12, 3, 0xa0, 1, 1}; /* object of field 20 */
	struct err e = {0};

	assert_int_equal(fsm.apply(fsm.arg, 1, newer_kind, sizeof(newer_kind), &e), E_PROTOCOL);
	assert_int_equal(store_index(f->s), 0);
	teardown(state);
	setup(state);
	f = *state;
	fsm = store_fsm(f->s);
	assert_int_equal(fsm.apply(fsm.arg, 1, no_object, sizeof(no_object), &e), E_PROTOCOL);
	teardown(state);
	setup(state);
	f = *state;
	fsm = store_fsm(f->s);
	assert_int_equal(fsm.apply(fsm.arg, 1, (const uint8_t *)"\xff\xff\xff", 3, &e), E_CORRUPT);
}

static void test_engine_answers(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);

	assert_true(seen.leader);
	tx_create(tx, service_row("s1", "db"));
	store_commit(f->s, tx, c_done, f);
	assert_int_equal(store_in_flight(f->s), 1);
	assert_true(consensus_memory_lose(f->c, true)); /* applied, but nobody heard */
	assert_int_equal(f->last.code, E_UNAVAILABLE);
	assert_non_null(store_service(f->s, "s1"));
	assert_int_equal(store_in_flight(f->s), 0);

	tx = tx_new(f->s);
	tx_create(tx, service_row("s2", "db2"));
	store_commit(f->s, tx, c_done, f);
	consensus_memory_set_leader(f->c, false);
	assert_int_equal(f->last.code, E_UNAVAILABLE);
	assert_false(seen.leader);
	assert_null(store_service(f->s, "s2"));

	tx = tx_new(f->s);
	tx_create(tx, service_row("s2", "db2"));
	assert_int_equal(commit(f, tx), E_NOT_LEADER);
	assert_string_equal(f->last.msg, "this manager is not the leader");
	consensus_memory_set_leader(f->c, true);
}

static void commit_tasks(struct cluster *f, int first, int n)
{
	for (int i = first; i < first + n; i++) {
		struct tx *tx = tx_new(f->s);
		char id[16];

		snprintf(id, sizeof(id), "x%d", i);
		tx_create(tx, task_row(id, "s", ""));
		store_commit(f->s, tx, c_done, f);
	}
}

/* FINDINGS M6: after a power cut every node has something to say at once. */
static void test_m6_many_commits_wait(void **state)
{
	struct cluster *f = *state;

	commit_tasks(f, 0, 1000);
	assert_int_equal(f->answers, 0);
	consensus_memory_run(f->c);
	assert_int_equal(f->answers, 1000);
	assert_int_equal(f->last.code, 0);
	assert_int_equal(store_count(f->s, OBJ_TASK), 1000);
	commit_tasks(f, 1000, CONSENSUS_WAITING_MAX + 1);
	f->answers = 0;
	consensus_memory_run(f->c);
	assert_int_equal(f->answers, CONSENSUS_WAITING_MAX + 1);
	assert_int_equal(f->last.code, E_LIMIT);
	assert_int_equal(store_count(f->s, OBJ_TASK), 1000 + CONSENSUS_WAITING_MAX);
}

static void on_split_done(void *arg, const struct err *e)
{
	*(int *)arg = e->code;
}

static bool no_room(struct consensus *c)
{
	return false;
}

/* FINDINGS M6: a commit of several entries is not cut because others have come in between and filled the queue. */
static void test_m6_begun_commit_goes_on(void **state)
{
	struct cluster *f = *state;
	const struct consensus_ops *ops = f->c->ops;
	struct consensus_ops full = *ops;
	struct tx *tx = tx_new(f->s);
	int code = 1;

	for (int i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof(id), "y%d", i);
		tx_create(tx, task_row(id, "s", ""));
	}
	tx_allow_split(tx);
	store_set_part_actions(f->s, 1);
	store_commit(f->s, tx, on_split_done, &code);
	full.has_room = no_room;
	f->c->ops = &full;
	commit_tasks(f, 0, 1);
	consensus_memory_run(f->c);
	f->c->ops = ops;
	assert_int_equal(f->last.code, E_LIMIT); /* what has not begun does not begin */
	assert_null(store_task(f->s, "x0"));
	assert_int_equal(code, 0);
	assert_non_null(store_task(f->s, "y4"));
}

/* FINDINGS M8: a row that was only read. */
static void test_m8_use_and_rely(void **state)
{
	struct cluster *f = *state;
	struct tx *user, *other;
	uint64_t version;

	put(f, service_row("s1", "db"));
	version = store_service(f->s, "s1")->meta->version;
	user = tx_new(f->s);
	other = tx_new(f->s);
	tx_create(user, task_row("t1", "s1", ""));
	tx_use(user, store_service(f->s, "s1"));
	tx_remove(other, store_service(f->s, "s1"));
	assert_int_equal(commit(f, user), 0);
	assert_true(store_service(f->s, "s1")->meta->version > version);
	assert_string_equal(store_service(f->s, "s1")->spec->name, "db");
	assert_int_equal(commit(f, other), E_STALE_VERSION); /* it saw no user */
	user = tx_new(f->s);
	other = tx_new(f->s);
	tx_rely(user, store_service(f->s, "s1"));
	tx_create(user, task_row("t2", "s1", ""));
	tx_rely(other, store_service(f->s, "s1"));
	tx_create(other, task_row("t3", "s1", ""));
	assert_int_equal(commit(f, user), 0);
	assert_int_equal(commit(f, other), E_STALE_VERSION);
	assert_null(store_task(f->s, "t3"));
	user = tx_new(f->s); /* also of a row that the same tx changes */
	tx_rely(user, store_service(f->s, "s1"));
	tx_create(user, task_row("t4", "s1", ""));
	str_replace(&((Gs__Service *)tx_edit(user, OBJ_SERVICE, "s1"))->error, "x");
	assert_int_equal(commit(f, user), 0);
	user = tx_new(f->s);
	other = tx_new(f->s);
	tx_use(user, store_service(f->s, "s1"));
	tx_create(user, task_row("t5", "s1", ""));
	tx_remove(other, store_service(f->s, "s1"));
	assert_int_equal(commit(f, other), 0);
	assert_int_equal(commit(f, user), E_STALE_VERSION);
	assert_string_equal(f->last.msg, "service s1 was removed meanwhile");
	assert_null(store_task(f->s, "t5"));
}

static void *secret_row(const char *id, size_t bytes)
{
	Gs__Secret *big = obj_new_row(OBJ_SECRET, id);
	cleanup_free uint8_t *blob = xcalloc(1, bytes);

	str_replace(&big->name, id);
	obj_bytes_set(&big->data, blob, bytes);
	return big;
}

static void test_split(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);
	char id[24];

	for (int i = 0; i < 10000; i++) {
		snprintf(id, sizeof(id), "t%05d", (i * 7919) % 10000);
		tx_create(tx, task_row(id, "s1", "n1"));
	}
	tx_allow_split(tx);
	assert_int_equal(commit(f, tx), 0);
	assert_int_equal(store_count(f->s, OBJ_TASK), 10000);
	assert_int_equal(store_index(f->s), 50);

	tx = tx_new(f->s);
	for (int i = 0; i < 2; i++) {
		snprintf(id, sizeof(id), "b%d", i);
		tx_create(tx, secret_row(id, 1000000));
	}
	assert_int_equal(commit(f, tx), E_LIMIT); /* one entry is too small for both */
	assert_int_equal(store_count(f->s, OBJ_SECRET), 0);
}

/* FINDINGS M11: a row that is too large does not take the others with it, and is named. */
static void test_m11_oversized_row_is_left_out(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);

	tx_create(tx, task_row("t1", "s1", ""));
	tx_create(tx, secret_row("b1", 3000000));
	tx_create(tx, secret_row("b2", 1700000)); /* a task made from the largest spec there is */
	tx_create(tx, task_row("t2", "s1", ""));
	tx_allow_split(tx);
	assert_int_equal(commit(f, tx), E_LIMIT);
	assert_non_null(strstr(f->last.msg, "secret b1 of 3000"));
	assert_non_null(store_task(f->s, "t1"));
	assert_non_null(store_task(f->s, "t2"));
	assert_non_null(store_get(f->s, OBJ_SECRET, "b2"));
	assert_null(store_get(f->s, OBJ_SECRET, "b1"));
	tx = tx_new(f->s);
	tx_create(tx, secret_row("b1", 3000000));
	tx_allow_split(tx);
	assert_int_equal(commit(f, tx), E_LIMIT);
	tx = tx_new(f->s); /* what people ask for is refused as a whole */
	tx_create(tx, secret_row("b3", 1700000));
	assert_int_equal(commit(f, tx), E_LIMIT);
	assert_null(store_get(f->s, OBJ_SECRET, "b3"));
}

/* A row that was changed first and is removed last must go with the last part. */
static void test_remove_order(void **state)
{
	struct cluster *f = *state;
	struct tx *tx = tx_new(f->s);
	Gs__Service *svc;
	char id[24];

	tx_create(tx, service_row("s1", "db"));
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "t%05d", i);
		tx_create(tx, task_row(id, "s1", ""));
	}
	tx_allow_split(tx);
	assert_int_equal(commit(f, tx), 0);
	tx = tx_new(f->s);
	svc = tx_edit(tx, OBJ_SERVICE, "s1");
	str_replace(&svc->error, "x");
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "t%05d", i);
		tx_remove(tx, store_task(f->s, id));
	}
	tx_remove(tx, svc);
	tx_allow_split(tx);
	store_commit(f->s, tx, c_done, f);
	consensus_memory_step(f->c);
	assert_int_equal(store_count(f->s, OBJ_TASK), 100);
	assert_non_null(store_service(f->s, "s1"));
	consensus_memory_run(f->c);
	assert_null(store_service(f->s, "s1"));
}

struct self_removing {
	struct store *s;
	struct store_watch *w;
	int calls;
};
static void on_watch_once(void *arg, enum obj_kind kind, const void *old_row, const void *new_row)
{
	struct self_removing *r = arg;

	(void)kind;
	(void)old_row;
	(void)new_row;
	r->calls++;
	store_watch_remove(r->s, r->w);
}

static void test_watch_removes_itself(void **state)
{
	struct cluster *f = *state;
	struct self_removing r = {.s = f->s};

	r.w = store_watch_add(f->s, on_watch_once, &r);
	put(f, service_row("s1", "db"));
	put(f, service_row("s2", "db2"));
	assert_int_equal(r.calls, 1);
	assert_int_equal(seen.created, 2);
}

static void test_envelope(void **state)
{
	struct envelope in = {.expected_index = 77, .request_id = "0123456789abcde"}, out;
	struct err e = {0};

	(void)state;
	for (size_t n = 0; n < 40; n++) {
		struct buf b = {0};

		in.payload = (const uint8_t *)"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW";
		in.payload_len = n;
		assert_int_equal(envelope_encode(&in, &b, &e), 0);
		assert_int_equal(b.len % 8, 0);
		assert_int_equal(envelope_decode(b.data, b.len, &out, &e), 0);
		assert_int_equal(out.expected_index, 77);
		assert_int_equal(out.payload_len, n);
		assert_memory_equal(out.payload, in.payload, n);
		assert_memory_equal(out.request_id, in.request_id, ENVELOPE_REQUEST_ID);
		for (size_t cut = 0; cut < b.len; cut++)
			assert_int_equal(envelope_decode(b.data, cut, &out, &e), E_CORRUPT);
		b.data[3] = 2;
		assert_int_equal(envelope_decode(b.data, b.len, &out, &e), E_PROTOCOL);
		b.data[3] = 1;
		if (n % 8) {
			b.data[b.len - 1] = 1;
			assert_int_equal(envelope_decode(b.data, b.len, &out, &e), E_CORRUPT);
		}
		buf_fini(&b);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_create_update_remove),
		T(test_stale_changes_nothing),
		T(test_undo_of_update_and_remove),
		T(test_tx_merging),
		T(test_lists_through_tx),
		T(test_indexes_follow),
		T(test_find),
		T(test_snapshot),
		T(test_unknown_schema),
		T(test_engine_answers),
		T(test_m6_many_commits_wait),
		T(test_m6_begun_commit_goes_on),
		T(test_m8_use_and_rely),
		T(test_split),
		T(test_m11_oversized_row_is_left_out),
		T(test_remove_order),
		T(test_watch_removes_itself),
		T(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
