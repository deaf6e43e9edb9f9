// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/manager/cluster.h"

static void test_create_in_one_commit(void **state)
{
	struct cluster *c = c_new(3);
	unsigned before;

	(void)state;
	c_add_network(c, "net", NULL);
	c_settle(c);
	c_put(c, c_service("web", 3, "net"));
	before = c->commits;
	c_settle(c);
	assert_int_equal(c->commits, before + 1);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(c_count(c, "web", c->nodes[i].id, 0), 1);
	assert_string_equal(c_task(c, "web", 1)->name, "web.1");
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 3);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 3);
	assert_string_equal(store_service(c->s, "web")->error, "");
	c_free(c);
}

static void test_scale_and_remove(void **state)
{
	struct cluster *c = c_new(3);

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, c_service("web", 3, "net"));
	c_work(c);
	c_scale(c, "web", 30);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 30);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(c_count(c, "web", c->nodes[i].id, C_RUNNING), 10);
	c_scale(c, "web", 3);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 3);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 3);
	assert_int_equal(store_count(c->s, OBJ_TASK), 3);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 3);
	for (size_t i = 0; i < 3; i++) /* from the nodes with most copies */
		assert_int_equal(c_count(c, "web", c->nodes[i].id, C_RUNNING), 1);
	c_delete(c, "web");
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_SERVICE), 0);
	assert_int_equal(store_count(c->s, OBJ_TASK), 0);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 0);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 0);
	c_wait(c, 61000);
	/* addresses have rested and are gone */
	for (size_t i = 0; i < store_count(c->s, OBJ_RESERVATION); i++)
		assert_int_not_equal(((const Gs__Reservation *)store_at(c->s, OBJ_RESERVATION, i))->kind,
				     RESERVED_ADDRESS);
	c_free(c);
}

/* Numbers stay 1..n: a gap is filled before anything else. */
static void test_scale_fills_gaps(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_put(c, c_service("web", 3, NULL));
	c_settle(c);
	/* 1 and 2 run, 3 does not: 3 goes first */
	assert_int_equal(c_report(c, "node01", c_task(c, "web", 2)->meta->id, 1, C_RUNNING), 0);
	assert_int_equal(c_report(c, "node01", c_task(c, "web", 3)->meta->id, 1, C_RUNNING), 0);
	c_scale(c, "web", 2);
	c_work(c);
	assert_null(c_slot(c, "web", 1));
	assert_non_null(c_slot(c, "web", 3));
	c_scale(c, "web", 3);
	c_work(c);
	assert_non_null(c_slot(c, "web", 1));
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 3);
	c_free(c);
}

static void test_node_down_moves_plain_tasks(void **state)
{
	struct cluster *c = c_new(3);
	const Gs__Slot *slot;
	uint64_t generation;
	char id[64], ep[128];

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, c_service("web", 3, "net"));
	c_work(c);
	c->nodes[0].silent = true;
	c_wait(c, 2500);
	assert_int_equal(c_count(c, "web", "node01", 0), 1);
	const Gs__Task *t = NULL;
	for (unsigned n = 1; n <= 3; n++)
		if (strcmp(c_task(c, "web", n)->node_id, "node01") == 0)
			t = c_task(c, "web", n);
	assert_non_null(t);
	snprintf(id, sizeof(id), "%s", t->meta->id);
	slot = store_slot(c->s, t->slot_id);
	generation = slot->holder->generation;
	snprintf(ep, sizeof(ep), "net.%s", slot->meta->id);
	c_wait(c, 1500);
	assert_int_equal(store_node(c->s, "node01")->status->state, NODE_DOWN);
	assert_int_equal(store_task(c->s, id)->status->state, TASK_ORPHANED);
	assert_int_equal(c_count(c, "web", "node01", 0), 0);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 3);
	/* same address, new place, higher generation */
	slot = store_slot(c->s, store_task(c->s, id)->slot_id);
	assert_int_equal(slot->holder->generation, generation + 1);
	assert_int_equal(((const Gs__Endpoint *)store_get(c->s, OBJ_ENDPOINT, ep))->generation,
			 generation + 1);
	assert_string_not_equal(((const Gs__Endpoint *)store_get(c->s, OBJ_ENDPOINT, ep))->node_id, "node01");
	/* it comes back: the old one is told to stop, and what its worker says about the end is taken */
	c->nodes[0].silent = false;
	c_wait(c, 1000);
	assert_int_equal(c_report(c, "node01", id, 1, C_RUNNING), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 1, TASK_SHUTDOWN), 0);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 3);
	c_free(c);
}

static void test_node_down_keeps_volumes(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Service *svc = c_service("db", 1, NULL);
	const Gs__VolumeInstance *inst;
	char id[64], node[64];

	(void)state;
	c_mount(svc, "/data");
	c_put(c, svc);
	c_work(c);
	snprintf(id, sizeof(id), "%s", c_task(c, "db", 1)->meta->id);
	snprintf(node, sizeof(node), "%s", c_task(c, "db", 1)->node_id);
	assert_int_equal(store_count(c->s, OBJ_VOLUME), 1);
	assert_string_equal(((const Gs__Volume *)store_at(c->s, OBJ_VOLUME, 0))->name, "db-1");
	assert_int_equal(store_count(c->s, OBJ_VOLUME_INSTANCE), 1);
	assert_string_equal(c_slot(c, "db", 1)->preferred_node, node);
	c->nodes[0].silent = true;
	c_wait(c, 10000);
	assert_string_equal(c_task(c, "db", 1)->meta->id, id);
	/* it ends while its node is drained: the successor waits for the data */
	c->nodes[0].silent = false;
	c_wait(c, 1000);
	assert_int_equal(c_report(c, node, id, 1, TASK_FAILED), 0);
	c_drain(c, node, AVAIL_DRAIN);
	c_wait(c, 1000);
	assert_string_not_equal(c_task(c, "db", 1)->meta->id, id);
	assert_string_equal(c_task(c, "db", 1)->pending_reason,
			    "waits for node docker1, which holds its data: it is drained or paused");
	assert_string_equal(store_service(c->s, "db")->error,
			    "db.1: waits for node docker1, which holds its data: it is drained or paused");
	c_drain(c, node, AVAIL_ACTIVE);
	c_work(c);
	assert_string_equal(c_task(c, "db", 1)->node_id, node);
	assert_string_equal(store_service(c->s, "db")->error, "");
	/* removed: the data stays known */
	c_delete(c, "db");
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_VOLUME), 0);
	assert_int_equal(store_count(c->s, OBJ_VOLUME_INSTANCE), 1);
	inst = store_at(c->s, OBJ_VOLUME_INSTANCE, 0);
	assert_int_equal(inst->state, VOL_RETIRED);
	assert_string_equal(inst->name, "db-1"); /* by its names, too: issue 6, point 3 */
	assert_string_equal(inst->service_name, "db");
	assert_string_equal(inst->slot_key, "1");
	c_free(c);
}

/* A commit may be cut behind any of its rows: a task is never on a node of which its slot does not know that its data is
 * there, or the next one might start elsewhere with an empty volume. */
static void test_placed_only_where_the_slot_knows(void **state)
{
	bool cut = true;
	unsigned n;

	(void)state;
	for (n = 0; cut; n++) {
		struct cluster *c = c_new(2);
		Gs__Service *svc = c_service("db", 3, NULL);

		c_mount(svc, "/data");
		c_drain(c, "node01", AVAIL_DRAIN);
		c_drain(c, "node02", AVAIL_DRAIN);
		c_put(c, svc);
		c_work(c); /* slots and tasks are there and wait for a node */
		c_drain(c, "node02", AVAIL_ACTIVE);
		store_set_part_actions(c->s, 1);
		cut = c_pass_cut(c, n);
		for (size_t i = 0; i < store_count(c->s, OBJ_TASK); i++) {
			const Gs__Task *t = store_at(c->s, OBJ_TASK, i);

			if (*t->node_id)
				assert_string_equal(store_slot(c->s, t->slot_id)->preferred_node, t->node_id);
		}
		c_free(c);
	}
	assert_true(n > 3);
}

/* Never two processes on one volume: a stopping task on a silent node holds the slot. */
static void test_stopping_on_silent_node_holds_volume(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("db", 1, NULL);
	char node[64];
	size_t i;

	(void)state;
	c_mount(svc, "/data");
	c_put(c, svc);
	c_work(c);
	snprintf(node, sizeof(node), "%s", c_task(c, "db", 1)->node_id);
	i = strcmp(node, "node01") == 0 ? 0 : 1;
	svc = c_edit(c, OBJ_SERVICE, "db");
	str_replace(&svc->spec->task->image, "dir:/new");
	c_save(c, svc);
	c_settle(c);
	assert_null(c_task(c, "db", 1)); /* stopping */
	c->nodes[i].silent = true;
	c_wait(c, 10000);
	assert_null(c_task(c, "db", 1));
	c->nodes[i].silent = false;
	c_wait(c, 1000);
	assert_null(c_task(c, "db", 1));
	c_work(c);
	assert_string_equal(c_task(c, "db", 1)->spec->image, "dir:/new");
	assert_string_equal(c_task(c, "db", 1)->node_id, node);
	c_free(c);
}

/* Of the only task, which is to go. */
static uint32_t grace_of(struct cluster *c)
{
	const Gs__Task *t;

	c_settle(c);
	t = store_at(c->s, OBJ_TASK, 0);
	assert_int_equal(t->desired, TASK_REMOVE);
	return t->spec->stop_grace_ms;
}

/* U9: a grace of hours can be cut short, also when it is running out already. */
static void test_u9_removed_by_force(void **state)
{
	struct cluster *c = c_new(1);
	Gs__Service *svc = c_service("web", 1, NULL);

	svc->spec->task->stop_grace_ms = 86400000;
	c_put(c, svc);
	c_work(c);
	c_delete(c, "web");
	assert_int_equal(grace_of(c), 86400000);
	svc = c_edit(c, OBJ_SERVICE, "web");
	svc->at_once = true;
	c_save(c, svc);
	assert_int_equal(grace_of(c), 1);
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_SERVICE), 0);
	c_free(c);
}

static void test_removed_node(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("db", 1, NULL);
	struct tx *tx;
	char node[64];

	(void)state;
	c_mount(svc, "/data");
	c_put(c, svc);
	c_work(c);
	snprintf(node, sizeof(node), "%s", c_task(c, "db", 1)->node_id);
	tx = tx_new(c->s);
	tx_remove(tx, store_node(c->s, node));
	assert_int_equal(c_commit(c, tx), 0);
	c_work(c);
	assert_string_not_equal(c_task(c, "db", 1)->node_id, node);
	assert_int_equal(c_count(c, "db", NULL, C_RUNNING), 1);
	assert_string_equal(c_slot(c, "db", 1)->preferred_node, c_task(c, "db", 1)->node_id);
	c_free(c);
}

static void test_drain_and_pause(void **state)
{
	struct cluster *c = c_new(3);

	(void)state;
	c_put(c, c_service("web", 6, NULL));
	c_work(c);
	c_drain(c, "node01", AVAIL_DRAIN);
	c_work(c);
	assert_int_equal(c_count(c, "web", "node01", 0), 0);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 6);
	c_drain(c, "node02", AVAIL_PAUSE);
	c_scale(c, "web", 9);
	c_work(c);
	assert_int_equal(c_count(c, "web", "node02", C_RUNNING), 3);
	assert_int_equal(c_count(c, "web", "node03", C_RUNNING), 6);
	c_free(c);
}

static void test_global(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("agent", 0, NULL);

	(void)state;
	svc->spec->mode = MODE_GLOBAL;
	c_put(c, svc);
	c_work(c);
	assert_int_equal(c_count(c, "agent", NULL, C_RUNNING), 2);
	c_add_node(c);
	c_work(c);
	assert_int_equal(c_count(c, "agent", "node03", C_RUNNING), 1);
	c_drain(c, "node01", AVAIL_DRAIN);
	c_work(c);
	assert_int_equal(c_count(c, "agent", "node01", 0), 0);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 3);
	c_drain(c, "node01", AVAIL_ACTIVE);
	c_work(c);
	assert_int_equal(c_count(c, "agent", "node01", C_RUNNING), 1);
	svc = c_edit(c, OBJ_SERVICE, "agent");
	obj_add_str(&svc->spec->n_constraints, &svc->spec->constraints, "node.hostname != docker2");
	c_save(c, svc);
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 2);
	assert_int_equal(c_count(c, "agent", "node02", 0), 0);
	c_free(c);
}

static void test_update_one_at_a_time(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Service *svc;
	size_t low = 3;

	(void)state;
	c_put(c, c_service("web", 3, NULL));
	c_work(c);
	svc = c_edit(c, OBJ_SERVICE, "web");
	str_replace(&svc->spec->task->image, "dir:/new");
	c_save(c, svc);
	do {
		size_t running;

		c_settle(c);
		running = c_count(c, "web", NULL, C_RUNNING);
		low = running < low ? running : low;
	} while (c_work_one(c));
	assert_int_equal(low, 2);
	for (unsigned n = 1; n <= 3; n++)
		assert_string_equal(c_task(c, "web", n)->spec->image, "dir:/new");
	/* a change of the number of replicas alone restarts nothing */
	const char *id = xstrdup(c_task(c, "web", 1)->meta->id);
	c_scale(c, "web", 4);
	c_work(c);
	assert_string_equal(c_task(c, "web", 1)->meta->id, id);
	free((void *)(uintptr_t)id);
	c_free(c);
}

static void test_rejected_backs_off(void **state)
{
	struct cluster *c = c_new(1);
	int64_t delays[6];

	(void)state;
	c_put(c, c_service("web", 1, NULL));
	c_settle(c);
	for (int i = 0; i < 6; i++) {
		char id[64];
		int64_t since = c->v.mono_ms;

		snprintf(id, sizeof(id), "%s", c_task(c, "web", 1)->meta->id);
		assert_int_equal(c_report(c, "node01", id, 1, TASK_REJECTED), 0);
		c_settle(c);
		while (strcmp(c_task(c, "web", 1)->meta->id, id) == 0) {
			assert_true(c->env.wake_ms < INT64_MAX);
			clock_virtual_advance(&c->v, 100);
			c_beat(c);
			c_settle(c);
			assert_true(c->v.mono_ms - since < 40000);
		}
		delays[i] = c->v.mono_ms - since;
		assert_true(store_count(c->s, OBJ_TASK) <= 3); /* history limit 2 */
	}
	assert_int_equal(delays[0], 1000);
	assert_int_equal(delays[1], 2000);
	assert_true(delays[5] >= delays[1] && delays[5] <= 30000);
	c_free(c);
}

static void test_restart_conditions(void **state)
{
	struct cluster *c = c_new(1);
	Gs__Service *svc = c_service("job", 1, NULL);
	char id[64];

	(void)state;
	svc->spec->task->restart = RESTART_ON_FAILURE;
	c_put(c, svc);
	c_settle(c);
	snprintf(id, sizeof(id), "%s", c_task(c, "job", 1)->meta->id);
	assert_int_equal(c_report(c, "node01", id, 1, TASK_FAILED), 0);
	c_wait(c, 1000);
	assert_string_not_equal(c_task(c, "job", 1)->meta->id, id);
	snprintf(id, sizeof(id), "%s", c_task(c, "job", 1)->meta->id);
	assert_int_equal(c_report(c, "node01", id, 1, TASK_COMPLETE), 0);
	c_wait(c, 5000);
	assert_string_equal(c_task(c, "job", 1)->meta->id, id);
	c_free(c);
}

static Gs__Service *galera_service(struct cluster *c, unsigned replicas)
{
	Gs__Service *svc = c_service("db", replicas, "net");
	Gs__GaleraCluster *g = obj_new_row(OBJ_GALERA, "gc");
	Gs__Secret *secret = obj_new_row(OBJ_SECRET, "sec1");

	svc->spec->topology = TOPO_GALERA;
	svc->spec->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&svc->galera_cluster_id, "gc");
	c_mount(svc, "/var/lib/mysql");
	str_replace(&secret->name, "root");
	str_replace(&secret->owner, "gc");
	c_put(c, secret);
	obj_add_str(&g->n_service_ids, &g->service_ids, "db");
	c_put(c, g);
	return svc;
}

static void test_galera_members_apart(void **state)
{
	struct cluster *c = c_new(3);

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, galera_service(c, 4));
	c_settle(c);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(c_count(c, "db", c->nodes[i].id, TASK_ASSIGNED), 1);
	assert_string_equal(c_task(c, "db", 4)->pending_reason,
			    "no suitable node: 3 of 3 already run a member of db");
	c->nodes[1].silent = true;
	c_wait(c, 4000);
	assert_string_equal(c_task(c, "db", 4)->pending_reason,
			    "no suitable node: 1 of 3 down, 2 already run a member of db");
	assert_int_equal(c_task(c, "db", 1)->n_secrets, 1);
	assert_string_equal(c_task(c, "db", 1)->secrets[0]->name, "root");
	assert_string_equal(c_task(c, "db", 1)->galera_cluster_id, "gc");
	c_free(c);
}

/* The controller, not the orchestrator, tells a member to go; one slot at a time is marked. */
static void test_galera_scale_down_marks_one(void **state)
{
	struct cluster *c = c_new(3);
	size_t removing = 0;

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, galera_service(c, 3));
	c_pass(c);
	c_scale(c, "db", 1);
	struct tx *tx = tx_new(c->s);
	orchestrate_pass(c->s, tx, &c->env);
	for (unsigned n = 1; n <= 3; n++)
		removing += ((const Gs__Slot *)tx_get(tx, OBJ_SLOT, c_slot(c, "db", n)->meta->id))->removing;
	assert_int_equal(removing, 1);
	assert_true(((const Gs__Slot *)tx_get(tx, OBJ_SLOT, c_slot(c, "db", 3)->meta->id))->removing);
	assert_int_equal(((const Gs__Task *)tx_get(tx, OBJ_TASK, c_task(c, "db", 3)->meta->id))->desired,
			 C_RUNNING);
	tx_free(tx);
	/* never started members go without fuss, down to one */
	for (int i = 0; i < 20; i++) {
		const Gs__Task *t;

		c_settle(c);
		for (size_t k = 0; (t = store_at(c->s, OBJ_TASK, k)); k++)
			if (t->desired != C_RUNNING && t->status->state < TASK_SHUTDOWN) {
				assert_int_equal(c_report(c, t->node_id, t->meta->id, 1, TASK_SHUTDOWN), 0);
				break;
			}
	}
	assert_int_equal(store_count(c->s, OBJ_SLOT), 1);
	assert_non_null(c_slot(c, "db", 1));
	c_delete(c, "db");
	for (int i = 0; i < 5; i++) {
		c_settle(c);
		if (store_count(c->s, OBJ_TASK) > 0) {
			const Gs__Task *t = store_at(c->s, OBJ_TASK, 0);

			if (t->desired != C_RUNNING)
				c_report(c, t->node_id, t->meta->id, 1, TASK_SHUTDOWN);
		}
	}
	assert_int_equal(store_count(c->s, OBJ_SERVICE), 0);
	assert_int_equal(store_count(c->s, OBJ_GALERA), 0);
	assert_int_equal(store_count(c->s, OBJ_SECRET), 0);
	c_free(c);
}

/* The last volume of a cluster stays when it is scaled to 0; scaled up, its slot is taken back, not replaced. */
static void test_galera_comes_back_from_zero(void **state)
{
	struct cluster *c = c_new(2);
	Gs__GaleraCluster *g;
	const Gs__Slot *slot;

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, galera_service(c, 1));
	c_settle(c);
	slot = c_slot(c, "db", 1);
	cleanup_free char *slot_id = xstrdup(slot->meta->id);
	cleanup_free char *volume = xstrdup(slot->volumes[0]->volume_id);
	g = c_edit(c, OBJ_GALERA, "gc");
	g->last_primary = obj_new(&gs__primary_view__descriptor);
	obj_add_str(&g->last_primary->n_slots, &g->last_primary->slots, slot_id);
	c_save(c, g);
	c_scale(c, "db", 0);
	c_settle(c);
	assert_true(c_slot(c, "db", 1)->removing);
	const Gs__Task *t = store_at(c->s, OBJ_TASK, 0);
	assert_int_equal(t->desired, TASK_SHUTDOWN);
	assert_int_equal(c_report(c, t->node_id, t->meta->id, 1, TASK_SHUTDOWN), 0);
	c_settle(c);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 1);
	c_scale(c, "db", 2);
	c_settle(c);
	slot = c_slot(c, "db", 1);
	assert_false(slot->removing);
	assert_string_equal(slot->meta->id, slot_id);
	assert_string_equal(slot->volumes[0]->volume_id, volume);
	assert_int_equal(store_count(c->s, OBJ_SLOT), 2);
	size_t wanted = 0;
	for (size_t i = 0; (t = store_at(c->s, OBJ_TASK, i)); i++)
		wanted += t->desired == C_RUNNING;
	assert_int_equal(wanted, 2);
	c_free(c);
}

/* The answer to every commit is lost, applied or not, and leadership changes: it converges all the same. */
static void test_lost_commits(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct cluster *c = c_new(3);
		unsigned rnd = seed;

		c_add_network(c, "net", NULL);
		c_put(c, c_service("web", 5, "net"));
		for (int i = 0; i < 60; i++) {
			struct tx *tx = tx_new(c->s);

			rnd = rnd * 1103515245 + 12345;
			if (i == 20)
				c_scale(c, "web", 2);
			if (i == 30)
				c_delete(c, "web");
			reconcile_all(c->s, tx, &c->env);
			store_commit(c->s, tx, c_done, c);
			if (rnd >> 16 & 1)
				consensus_memory_lose(c->c, rnd >> 17 & 1);
			else
				consensus_memory_step(c->c);
			if (rnd >> 18 & 1)
				c_work_one(c);
			clock_virtual_advance(&c->v, 100);
			c_beat(c);
		}
		c_work(c);
		assert_int_equal(store_count(c->s, OBJ_SERVICE), 0);
		assert_int_equal(store_count(c->s, OBJ_TASK), 0);
		assert_int_equal(store_count(c->s, OBJ_SLOT), 0);
		assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 0);
		c_free(c);
	}
}

/* A split commit that ends after any of its entries. */
static void test_cut_between_entries(void **state)
{
	(void)state;
	for (int cut = 0; cut < 12; cut++) {
		struct cluster *c = c_new(3);
		struct tx *tx;

		c_add_network(c, "net", "10.7.0.0/16");
		c_put(c, c_service("web", 300, "net"));
		tx = tx_new(c->s);
		reconcile_all(c->s, tx, &c->env);
		store_commit(c->s, tx, c_done, c);
		for (int i = 0; i < cut; i++)
			consensus_memory_step(c->c);
		consensus_memory_set_leader(c->c, false);
		consensus_memory_set_leader(c->c, true);
		c_work(c);
		assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 300);
		assert_int_equal(store_count(c->s, OBJ_SLOT), 300);
		assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 300);
		c_delete(c, "web");
		tx = tx_new(c->s);
		reconcile_all(c->s, tx, &c->env);
		store_commit(c->s, tx, c_done, c);
		for (int i = 0; i < cut; i++)
			consensus_memory_step(c->c);
		consensus_memory_set_leader(c->c, false);
		consensus_memory_set_leader(c->c, true);
		c_work(c);
		assert_int_equal(store_count(c->s, OBJ_SERVICE) + store_count(c->s, OBJ_TASK) +
					 store_count(c->s, OBJ_SLOT) + store_count(c->s, OBJ_ENDPOINT),
				 0);
		c_free(c);
	}
}

static void test_events_bounded(void **state)
{
	struct cluster *c = c_new(2);

	(void)state;
	for (int i = 0; i < 300; i++) {
		c->nodes[0].silent = !c->nodes[0].silent;
		c_wait(c, 4000);
	}
	assert_int_equal(store_count(c->s, OBJ_EVENT), 302 < 500 ? 302 : 500);
	for (int i = 0; i < 300; i++) {
		c->nodes[0].silent = !c->nodes[0].silent;
		c_wait(c, 4000);
	}
	assert_int_equal(store_count(c->s, OBJ_EVENT), 500);
	c_free(c);
}

static void test_new_leader_grace(void **state)
{
	struct cluster *c = c_new(2);

	(void)state;
	c_put(c, c_service("web", 2, NULL));
	c_work(c);
	/* a new leader has heard of nobody */
	clock_virtual_advance(&c->v, 60000);
	c->env.leader_since_ms = c->v.mono_ms;
	c->nodes[0].last = c->nodes[1].last = -1;
	c_settle(c);
	clock_virtual_advance(&c->v, 3000);
	c_settle(c);
	assert_int_equal(store_node(c->s, "node01")->status->state, NODE_READY);
	assert_int_equal(c->env.wake_ms, c->env.leader_since_ms + 3001);
	c->nodes[0].last = c->v.mono_ms;
	clock_virtual_advance(&c->v, 1);
	c_settle(c);
	assert_int_equal(store_node(c->s, "node01")->status->state, NODE_READY);
	assert_int_equal(store_node(c->s, "node02")->status->state, NODE_DOWN);
	c_free(c);
}

/* FINDINGS M11: a spec of nearly an entry's size, from before specs were bounded, stops nobody else: the task that is
 * made of it is larger than what goes into one part with others. */
static void test_m11_largest_spec_stops_nobody(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *big = c_service("big", 2, NULL);
	cleanup_free char *word = xcalloc(1, 1536 * 1024 - 100);

	(void)state;
	memset(word, 'x', 1536 * 1024 - 101);
	str_replace(&big->spec->task->user, word);
	c_put(c, big);
	c_settle(c);
	assert_true(protobuf_c_message_get_packed_size(&c_task(c, "big", 1)->base) > 1536 * 1024);
	c_put(c, c_service("web", 2, NULL));
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 2);
	assert_int_equal(c_count(c, "big", NULL, C_RUNNING), 2);
	c_free(c);
}

static void silence(struct cluster *c, const char *node, bool silent)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (strcmp(c->nodes[i].id, node) == 0)
			c->nodes[i].silent = silent;
}

/* The node gets the slot's task, is never heard of again, and goes down with it. */
static bool start_takes_node_down(struct cluster *c, const char *service)
{
	const Gs__Task *t = c_task(c, service, 1);

	if (!t || !*t->node_id)
		return false;
	silence(c, t->node_id, true);
	c_wait(c, 4000);
	return true;
}

/* FINDINGS W1: a task that ends one worker after the other is not given to all of them. */
static void test_w1_start_that_takes_nodes_down(void **state)
{
	struct cluster *c = c_new(5);
	Gs__Service *svc;
	size_t down = 0;

	(void)state;
	c_put(c, c_service("bad", 1, NULL));
	c_put(c, c_service("good", 1, NULL));
	c_settle(c);
	while (down < 5 && start_takes_node_down(c, "bad"))
		down++;
	assert_int_equal(down, 2);
	assert_string_equal(store_service(c->s, "bad")->error,
			    "bad.1: 2 nodes in a row went down while they started it; it is tried every ten "
			    "minutes, or when the service is changed");
	c_work(c);
	assert_int_equal(c_count(c, "good", NULL, C_RUNNING), 1);
	svc = c_edit(c, OBJ_SERVICE, "bad"); /* another spec is another matter */
	str_replace(&svc->spec->task->image, "dir:/x");
	c_save(c, svc);
	c_work(c);
	assert_int_equal(c_count(c, "bad", NULL, C_RUNNING), 1);
	assert_int_equal(c_slot(c, "bad", 1)->lost_starts, 0);
	assert_string_equal(store_service(c->s, "bad")->error, "");
	c_free(c);
}

static void test_w1_is_tried_again_later(void **state)
{
	struct cluster *c = c_new(4);

	(void)state;
	c_put(c, c_service("bad", 1, NULL));
	c_settle(c);
	assert_true(start_takes_node_down(c, "bad"));
	assert_true(start_takes_node_down(c, "bad"));
	assert_null(c_task(c, "bad", 1));
	assert_true(c->env.wake_ms < INT64_MAX);
	c_wait(c, 601000);
	c_work(c);
	assert_int_equal(c_count(c, "bad", NULL, C_RUNNING), 1);
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_in_one_commit),
		cmocka_unit_test(test_scale_and_remove),
		cmocka_unit_test(test_scale_fills_gaps),
		cmocka_unit_test(test_node_down_moves_plain_tasks),
		cmocka_unit_test(test_node_down_keeps_volumes),
		cmocka_unit_test(test_placed_only_where_the_slot_knows),
		cmocka_unit_test(test_stopping_on_silent_node_holds_volume),
		cmocka_unit_test(test_u9_removed_by_force),
		cmocka_unit_test(test_removed_node),
		cmocka_unit_test(test_drain_and_pause),
		cmocka_unit_test(test_global),
		cmocka_unit_test(test_update_one_at_a_time),
		cmocka_unit_test(test_rejected_backs_off),
		cmocka_unit_test(test_restart_conditions),
		cmocka_unit_test(test_galera_members_apart),
		cmocka_unit_test(test_galera_scale_down_marks_one),
		cmocka_unit_test(test_galera_comes_back_from_zero),
		cmocka_unit_test(test_lost_commits),
		cmocka_unit_test(test_cut_between_entries),
		cmocka_unit_test(test_events_bounded),
		cmocka_unit_test(test_new_leader_grace),
		cmocka_unit_test(test_m11_largest_spec_stops_nobody),
		cmocka_unit_test(test_w1_start_that_takes_nodes_down),
		cmocka_unit_test(test_w1_is_tried_again_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
