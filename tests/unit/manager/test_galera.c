// SPDX-License-Identifier: Apache-2.0
/* The Galera controller against rows made by hand: what permit, token and phase follow from what workers
 * said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "manager/reconcile.h"

#define UUID "11111111-2222-3333-4444-555555555555"

struct world {
	struct clock_virtual vc;
	struct clock clock;
	struct store *store;
	struct consensus *engine;
	struct reconcile_env env;
	uint64_t ids;
	size_t last_len; /* actions of the last pass */
};

static void new_id(void *arg, char ret[ID_LEN + 1])
{
	uint8_t bytes[16] = {0};
	struct world *w = arg;

	w->ids++;
	memcpy(bytes + 8, &w->ids, 8);
	id_from_bytes(bytes, ret);
}

static void no_error(void *arg, const struct err *e)
{
	if (e && e->code)
		fail_msg("commit: %s", e->msg);
}

static void commit(struct world *w, struct tx *tx)
{
	store_commit(w->store, tx, no_error, NULL);
	consensus_memory_run(w->engine);
}

static void add_node(struct world *w, struct tx *tx, unsigned i)
{
	char id[32];

	snprintf(id, sizeof(id), "node%u", i);
	Gs__Node *n = obj_new_row(OBJ_NODE, id);
	Gs__NodeStatus st = GS__NODE_STATUS__INIT;
	Gs__NodeDescription d = GS__NODE_DESCRIPTION__INIT;
	uint8_t ip[4] = {192, 168, 55, (uint8_t)(110 + i)};
	st.state = NODE_READY;
	d.hostname = id;
	d.advertise_ip = (ProtobufCBinaryData){4, ip};
	d.peer_port = 2378;
	obj_set(&n->status, &st);
	obj_set(&n->description, &d);
	tx_create(tx, n);
}

static void add_slot(struct world *w, struct tx *tx, unsigned i)
{
	char id[32], name[32], node[32], task[32];
	uint8_t ip[4] = {10, 0, 1, (uint8_t)i};

	snprintf(id, sizeof(id), "slot%u", i);
	snprintf(name, sizeof(name), "db.%u", i);
	snprintf(node, sizeof(node), "node%u", i);
	snprintf(task, sizeof(task), "task%u", i);
	Gs__Slot *s = obj_new_row(OBJ_SLOT, id);
	str_replace(&s->service_id, "svc");
	s->number = i;
	Gs__SlotAddress *a = obj_new(&gs__slot_address__descriptor);
	a->addr = obj_new(&gs__addr__descriptor);
	obj_bytes_set(&a->addr->ip, ip, 4);
	obj_add(&s->n_addresses, &s->addresses, a);
	tx_create(tx, s);
	Gs__Task *t = obj_new_row(OBJ_TASK, task);
	str_replace(&t->service_id, "svc");
	str_replace(&t->slot_id, id);
	str_replace(&t->node_id, node);
	str_replace(&t->name, name);
	str_replace(&t->galera_cluster_id, "gal");
	t->slot_number = i;
	t->topology = TOPO_GALERA;
	t->desired = TASK_RUNNING;
	t->generation = i;
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;
	st.state = TASK_PREPARING;
	obj_set(&t->status, &st);
	tx_create(tx, t);
}

static void world_up(struct world *w, unsigned slots)
{
	memset(w, 0, sizeof(*w));
	w->vc = (struct clock_virtual){.mono_ms = 1000, .wall_ms = 1000000};
	w->clock = clock_virtual_of(&w->vc);
	w->store = store_new(&w->clock);
	struct consensus_fsm fsm = store_fsm(w->store);
	w->engine = consensus_memory_new(&fsm);
	store_set_consensus(w->store, w->engine);
	consensus_memory_set_leader(w->engine, true);
	consensus_memory_run(w->engine);
	w->env = (struct reconcile_env){.clock = &w->clock, .arg = w, .new_id = new_id, .wake_ms = INT64_MAX};
	struct tx *tx = tx_new(w->store);
	Gs__Service *svc = obj_new_row(OBJ_SERVICE, "svc");
	svc->spec = obj_new(&gs__service_spec__descriptor);
	str_replace(&svc->spec->name, "db");
	str_replace(&svc->galera_cluster_id, "gal");
	tx_create(tx, svc);
	Gs__GaleraCluster *c = obj_new_row(OBJ_GALERA, "gal");
	str_replace(&c->name, "db");
	obj_add_str(&c->n_service_ids, &c->service_ids, "svc");
	tx_create(tx, c);
	for (unsigned i = 1; i <= slots; i++) {
		add_node(w, tx, i);
		add_slot(w, tx, i);
	}
	commit(w, tx);
}

static void world_down(struct world *w)
{
	consensus_memory_free(w->engine);
	store_free(w->store);
}

static void pass(struct world *w)
{
	struct tx *tx = tx_new(w->store);

	w->env.wake_ms = INT64_MAX;
	galera_pass(w->store, tx, &w->env);
	w->last_len = tx_len(tx);
	commit(w, tx);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 20; i++) {
		pass(w);
		if (!w->last_len)
			return;
	}
	fail_msg("it never becomes quiet");
}

static const Gs__Task *task(struct world *w, unsigned i)
{
	char id[32];

	snprintf(id, sizeof(id), "task%u", i);
	return store_task(w->store, id);
}

static const Gs__GaleraCluster *cluster(struct world *w)
{
	return store_galera(w->store, "gal");
}

static Gs__PermitMode mode_of(struct world *w, unsigned i)
{
	const Gs__GaleraPermit *p = task(w, i)->permit;

	return p ? p->mode : PERMIT_NONE;
}

static void held(struct world *w, unsigned i, Gs__GaleraClass class_, const char *uuid, int64_t seqno,
		 uint64_t epoch, bool next_attempt)
{
	char id[32];
	struct tx *tx = tx_new(w->store);

	snprintf(id, sizeof(id), "task%u", i);
	Gs__Task *t = tx_edit(tx, OBJ_TASK, id);
	t->status->attempt += next_attempt;
	t->status->state = TASK_HELD;
	obj_set(&t->status->view, NULL);
	Gs__GaleraEvidence ev = GS__GALERA_EVIDENCE__INIT;
	Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;
	ev.class_ = class_;
	ev.attempt = t->status->attempt;
	ev.epoch = epoch;
	ev.volume_id = "vol";
	pos.uuid = (char *)uuid;
	pos.seqno = seqno;
	ev.position = &pos;
	obj_set(&t->status->evidence, &ev);
	commit(w, tx);
	settle(w);
}

static void genesis_done(struct world *w, unsigned i)
{
	char id[32];
	struct tx *tx = tx_new(w->store);
	Gs__GenesisResult r = GS__GENESIS_RESULT__INIT;
	Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;

	snprintf(id, sizeof(id), "task%u", i);
	Gs__Task *t = tx_edit(tx, OBJ_TASK, id);
	r.sha256 = "abc";
	r.epoch = cluster(w)->epoch;
	pos.uuid = UUID;
	pos.seqno = 5;
	r.position = &pos;
	obj_set(&t->status->genesis, &r);
	commit(w, tx);
	held(w, i, GC_GENESIS, UUID, 5, 1, false);
}

static void runs(struct world *w, unsigned i, const char *status, unsigned state, uint64_t conf,
		 int64_t seqno, const char *members)
{
	char id[32], list[128];
	struct tx *tx = tx_new(w->store);

	snprintf(id, sizeof(id), "task%u", i);
	snprintf(list, sizeof(list), "%s", members);
	Gs__Task *t = tx_edit(tx, OBJ_TASK, id);
	t->status->state = TASK_RUNNING;
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);
	str_replace(&v->status, status);
	str_replace(&v->cluster_uuid, UUID);
	v->local_state = state;
	v->conf_id = conf;
	v->last_committed = seqno;
	for (char *s = strtok(list, " "); s; s = strtok(NULL, " "))
		obj_add_str(&v->n_members, &v->members, s);
	v->cluster_size = (uint32_t)v->n_members;
	obj_free(t->status->view);
	t->status->view = v;
	commit(w, tx);
	settle(w);
}

static void node_state(struct world *w, unsigned i, Gs__NodeState state)
{
	char id[32];
	struct tx *tx = tx_new(w->store);

	snprintf(id, sizeof(id), "node%u", i);
	((Gs__Node *)tx_edit(tx, OBJ_NODE, id))->status->state = state;
	commit(w, tx);
	settle(w);
}

static void wait_ms(struct world *w, int64_t ms)
{
	clock_virtual_advance(&w->vc, ms);
	settle(w);
}

static void form_three(struct world *w)
{
	world_up(w, 3);
	for (unsigned i = 1; i <= 3; i++)
		held(w, i, GC_EMPTY, "", -1, 0, false);
	genesis_done(w, 1);
	runs(w, 1, "Primary", 4, 1, 5, "db.1");
	runs(w, 2, "Primary", 4, 2, 5, "db.1 10.0.1.2:3306");
	runs(w, 1, "Primary", 4, 2, 5, "db.1 db.2");
	for (unsigned i = 3; i >= 1; i--)
		runs(w, i, "Primary", 4, 3, 5, "db.1 db.2 db.3");
	assert_int_equal(cluster(w)->phase, GP_HEALTHY);
}

static void test_forms_in_order(void **state)
{
	struct world w;

	world_up(&w, 3);
	held(&w, 2, GC_EMPTY, "", -1, 0, false);
	held(&w, 1, GC_EMPTY, "", -1, 0, false);
	/* the first that was ready, once: the lower number came too late */
	assert_int_equal(mode_of(&w, 2), PERMIT_GENESIS);
	assert_int_equal(mode_of(&w, 1), PERMIT_NONE);
	assert_int_equal(cluster(&w)->epoch, 1);
	held(&w, 3, GC_EMPTY, "", -1, 0, false);
	genesis_done(&w, 2);
	assert_int_equal(mode_of(&w, 2), PERMIT_BOOTSTRAP);
	assert_string_equal(task(&w, 2)->permit->start_position->uuid, UUID);
	assert_int_equal(task(&w, 2)->permit->n_addresses, 3);
	assert_true(task(&w, 1)->permit->prefetch);
	assert_string_equal(task(&w, 1)->permit->genesis_peers[0], "192.168.55.112:2378");
	runs(&w, 2, "Primary", 1, 1, 5, "db.2");
	assert_int_equal(cluster(&w)->token->state, TOKEN_STARTED);
	runs(&w, 2, "Primary", 4, 1, 5, "db.2");
	assert_int_equal(cluster(&w)->token->state, TOKEN_CONFIRMED);
	assert_int_equal(mode_of(&w, 1), PERMIT_JOIN);
	assert_string_equal(task(&w, 1)->permit->genesis_sha256, "abc");
	assert_int_equal(mode_of(&w, 3), PERMIT_NONE); /* one after another */
	runs(&w, 1, "Primary", 4, 2, 5, "db.1 db.2");
	assert_int_equal(mode_of(&w, 3), PERMIT_JOIN);
	runs(&w, 3, "Primary", 4, 3, 5, "db.1 db.2 db.3");
	assert_int_equal(cluster(&w)->phase, GP_HEALTHY);
	assert_int_equal(cluster(&w)->last_primary->n_slots, 3);
	world_down(&w);
}

static void test_idle_writes_nothing(void **state)
{
	struct world w;

	form_three(&w);
	uint64_t index = store_index(w.store);
	for (int i = 0; i < 100; i++)
		wait_ms(&w, 1000);
	assert_int_equal(store_index(w.store), index);
	world_down(&w);
}

static void test_one_member_comes_back(void **state)
{
	struct world w;

	form_three(&w);
	held(&w, 3, GC_CRASHED, UUID, 4, 1, true);
	assert_int_equal(task(&w, 3)->permit->attempt,
			 0); /* the others have not noticed: they may be gone as well */
	runs(&w, 1, "Primary", 4, 4, 5, "db.1 db.2");
	assert_int_equal(mode_of(&w, 3), PERMIT_JOIN);
	assert_int_equal(task(&w, 3)->permit->attempt, 1);
	assert_int_equal(task(&w, 3)->permit->start_position->seqno, 4);
	assert_false(task(&w, 3)->permit->force_sst);
	assert_int_equal(cluster(&w)->phase, GP_DEGRADED);
	assert_int_equal(cluster(&w)->epoch, 1);
	world_down(&w);
}

static void test_elects_most_advanced(void **state)
{
	struct world w;

	form_three(&w);
	held(&w, 1, GC_CRASHED, UUID, 10, 1, true);
	held(&w, 3, GC_CRASHED, UUID, 11, 1, true);
	assert_int_equal(cluster(&w)->epoch, 1); /* 2 may hold more */
	held(&w, 2, GC_CRASHED, UUID, 12, 1, true);
	assert_int_equal(mode_of(&w, 2), PERMIT_BOOTSTRAP);
	assert_int_equal(cluster(&w)->epoch, 2);
	assert_int_equal(cluster(&w)->group_epoch, 2);
	assert_int_equal(cluster(&w)->epochs[1]->boot_seqno, 12);
	held(&w, 2, GC_CRASHED, UUID, 12, 2, true); /* the start failed: same token, new attempt */
	assert_int_equal(task(&w, 2)->permit->attempt, 2);
	assert_int_equal(mode_of(&w, 2), PERMIT_BOOTSTRAP);
	assert_int_equal(cluster(&w)->epoch, 2);
	runs(&w, 2, "Primary", 4, 1, 12, "db.2");
	assert_int_equal(mode_of(&w, 1), PERMIT_JOIN);
	assert_int_equal(task(&w, 1)->permit->group_epoch, 2);
	world_down(&w);
}

static void test_missing_member_blocks(void **state)
{
	struct world w;

	form_three(&w);
	node_state(&w, 2, NODE_DOWN);
	held(&w, 1, GC_CRASHED, UUID, 10, 1, true);
	held(&w, 3, GC_CRASHED, UUID, 11, 1, true);
	assert_int_equal(cluster(&w)->phase, GP_RECOVERING);
	wait_ms(&w, 61000);
	assert_int_equal(cluster(&w)->phase, GP_BLOCKED);
	assert_non_null(strstr(cluster(&w)->blocked_reason, "gswarm galera bootstrap db --slot 3 --force"));
	assert_int_equal(cluster(&w)->epoch, 1);
	struct tx *tx = tx_new(w.store);
	Gs__GaleraCluster *c = tx_edit(tx, OBJ_GALERA, "gal");
	c->force_bootstrap = true;
	str_replace(&c->force_slot, "3");
	commit(&w, tx);
	settle(&w);
	assert_int_equal(mode_of(&w, 3), PERMIT_BOOTSTRAP);
	assert_int_equal(cluster(&w)->epoch, 2);
	assert_string_equal(cluster(&w)->blocked_reason, "");
	runs(&w, 3, "Primary", 4, 1, 11, "db.3");
	runs(&w, 1, "Primary", 4, 2, 12, "db.3 db.1");
	/* the missing one comes back with more than the new history began with */
	held(&w, 2, GC_CRASHED, UUID, 14, 1, true);
	node_state(&w, 2, NODE_READY);
	assert_true(task(&w, 2)->permit->force_sst);
	assert_true(task(&w, 2)->permit->quarantine);
	world_down(&w);
}

static void test_empty_and_torn_are_no_source(void **state)
{
	struct world w;

	form_three(&w);
	held(&w, 1, GC_EMPTY, "", -1, 0, true);
	held(&w, 2, GC_TORN, UUID, 9, 1, true);
	held(&w, 3, GC_TORN, UUID, 9, 1, true);
	wait_ms(&w, 61000);
	assert_int_equal(cluster(&w)->phase, GP_BLOCKED);
	assert_int_equal(cluster(&w)->epoch, 1);
	world_down(&w);
}

static void test_foreign_is_left_alone(void **state)
{
	struct world w;

	form_three(&w);
	held(&w, 3, GC_CLEAN, "99999999-2222-3333-4444-555555555555", 9, 1, true);
	assert_int_equal(task(&w, 3)->permit->attempt, 0); /* the old one */
	assert_int_equal(cluster(&w)->phase, GP_DEGRADED);
	bool noted = false;
	for (size_t i = 0; i < cluster(&w)->n_slots; i++)
		noted = noted || cluster(&w)->slots[i]->note[0];
	assert_true(noted);
	world_down(&w);
}

static void test_survivor_bootstraps_in_place(void **state)
{
	struct world w;

	form_three(&w);
	held(&w, 2, GC_CRASHED, UUID, 5, 1, true);
	held(&w, 3, GC_CRASHED, UUID, 5, 1, true);
	runs(&w, 1, "non-Primary", 0, UINT64_MAX, 5, "db.1");
	assert_int_equal(mode_of(&w, 1), PERMIT_PC_BOOTSTRAP);
	assert_int_equal(cluster(&w)->epoch, 2);
	assert_int_equal(cluster(&w)->group_epoch, 1);
	runs(&w, 1, "Primary", 4, 4, 5, "db.1");
	assert_int_equal(cluster(&w)->token->state, TOKEN_CONFIRMED);
	assert_int_equal(mode_of(&w, 2), PERMIT_JOIN);
	world_down(&w);
}

/* All live on: they may find each other by themselves, so they get time for it. */
static void test_survivors_may_merge(void **state)
{
	struct world w;

	form_three(&w);
	for (unsigned i = 1; i <= 3; i++)
		runs(&w, i, "non-Primary", 0, UINT64_MAX, 5, "db.1");
	assert_int_equal(cluster(&w)->phase, GP_NOPRIM);
	wait_ms(&w, 3000);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_not_equal(mode_of(&w, i), PERMIT_PC_BOOTSTRAP);
	wait_ms(&w, 5000);
	assert_int_equal(cluster(&w)->epoch, 2);
	assert_int_equal(cluster(&w)->group_epoch, 1);
	world_down(&w);
}

static void test_minority_waits(void **state)
{
	struct world w;

	form_three(&w);
	node_state(&w, 2, NODE_DOWN);
	node_state(&w, 3, NODE_DOWN);
	runs(&w, 1, "non-Primary", 0, UINT64_MAX, 5, "db.1");
	wait_ms(&w, 100000);
	wait_ms(&w, 100000);
	assert_int_equal(cluster(&w)->epoch, 1);
	assert_int_equal(cluster(&w)->phase, GP_BLOCKED);
	world_down(&w);
}

static void removing(struct world *w, unsigned i)
{
	char id[32];
	struct tx *tx = tx_new(w->store);

	snprintf(id, sizeof(id), "slot%u", i);
	((Gs__Slot *)tx_edit(tx, OBJ_SLOT, id))->removing = true;
	commit(w, tx);
	settle(w);
}

static void test_leaves_one_at_a_time(void **state)
{
	struct world w;

	form_three(&w);
	removing(&w, 2);
	assert_int_equal(task(&w, 2)->desired, TASK_SHUTDOWN);
	removing(&w, 1); /* the writer, and somebody is leaving already */
	assert_int_equal(task(&w, 1)->desired, TASK_RUNNING);
	assert_string_equal(cluster(&w)->writer_slot, "slot3");
	struct tx *tx = tx_new(w.store);
	((Gs__Task *)tx_edit(tx, OBJ_TASK, "task2"))->status->state = TASK_SHUTDOWN;
	commit(&w, tx);
	settle(&w);
	assert_int_equal(task(&w, 1)->desired, TASK_RUNNING); /* the view has not shrunk */
	runs(&w, 3, "Primary", 4, 4, 5, "db.1 db.3");
	assert_int_equal(task(&w, 1)->desired, TASK_SHUTDOWN);
	assert_int_equal(task(&w, 3)->desired, TASK_RUNNING);
	world_down(&w);
}

static void test_lost_genesis_host(void **state)
{
	struct world w;

	world_up(&w, 2);
	held(&w, 1, GC_EMPTY, "", -1, 0, false);
	held(&w, 2, GC_EMPTY, "", -1, 0, false);
	node_state(&w, 1, NODE_DOWN);
	assert_int_equal(mode_of(&w, 2), PERMIT_GENESIS);
	assert_int_equal(cluster(&w)->epoch, 2);
	genesis_done(&w, 2);
	assert_int_equal(mode_of(&w, 2), PERMIT_BOOTSTRAP);
	/* now it may be Primary: nobody replaces it */
	node_state(&w, 1, NODE_READY);
	node_state(&w, 2, NODE_DOWN);
	wait_ms(&w, 200000);
	assert_int_equal(cluster(&w)->epoch, 2);
	assert_int_equal(cluster(&w)->phase, GP_BLOCKED);
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms_in_order),
		cmocka_unit_test(test_idle_writes_nothing),
		cmocka_unit_test(test_one_member_comes_back),
		cmocka_unit_test(test_elects_most_advanced),
		cmocka_unit_test(test_missing_member_blocks),
		cmocka_unit_test(test_empty_and_torn_are_no_source),
		cmocka_unit_test(test_foreign_is_left_alone),
		cmocka_unit_test(test_survivor_bootstraps_in_place),
		cmocka_unit_test(test_survivors_may_merge),
		cmocka_unit_test(test_minority_waits),
		cmocka_unit_test(test_leaves_one_at_a_time),
		cmocka_unit_test(test_lost_genesis_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
