// SPDX-License-Identifier: Apache-2.0
/* What passes cost, counted in calls of the store and the allocator, not in time: twice as much of what waits
 * must not mean twice as many looks at a whole table. */
#include "tests/unit/manager/cluster.h"

#include "manager/reconcile/allocate_internal.h"

static unsigned lists[OBJ_KINDS], tries, keys;

size_t __real_tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret);
size_t __wrap_tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret);
bool __real_reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
				const char *value);
bool __wrap_reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
				const char *value);
const void *__real_index_key(int which, enum obj_kind kind, const void *row);
const void *__wrap_index_key(int which, enum obj_kind kind, const void *row);

const void *__wrap_index_key(int which, enum obj_kind kind, const void *row)
{
	keys++;
	return __real_index_key(which, kind, row);
}

size_t __wrap_tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret)
{
	lists[kind]++;
	return __real_tx_list(tx, kind, ret);
}

bool __wrap_reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
				const char *value)
{
	tries += kind == RESERVED_ADDRESS;
	return __real_reservation_is_free(a, kind, scope, value);
}

static void count_from_here(void)
{
	memset(lists, 0, sizeof(lists));
	tries = keys = 0;
}

/* A pass that finds nothing to do, of a cluster that has settled. */
static void count_one_pass(struct cluster *c)
{
	c_settle(c);
	count_from_here();
	c_pass(c);
}

/* Cost review (2): the reservations were listed for each task that waited for an address. */
static void test_full_network_is_searched_once(void **state)
{
	struct cluster *c = c_new(1);
	unsigned few, few_tries;

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/29"); /* five addresses */
	c_put(c, c_service("web", 6, "n1"));
	c_work(c);
	count_one_pass(c);
	few = lists[OBJ_RESERVATION];
	few_tries = tries;
	assert_in_range(few_tries, 1, 20);
	c_scale(c, "web", 100);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 5);
	count_one_pass(c);
	assert_int_equal(lists[OBJ_RESERVATION], few);
	assert_int_equal(tries, few_tries);
	c_free(c);
}

/* The same while addresses rest: each taker used to look for the one that has rested longest. */
static void test_rested_addresses_are_listed_once(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/26"); /* 61 addresses */
	c_put(c, c_service("web", 61, "n1"));
	c_work(c);
	c_scale(c, "web", 1);
	c_work(c);
	c_wait(c, 4000);
	c_scale(c, "web", 61);
	count_from_here();
	c_pass(c);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 61);
	assert_in_range(lists[OBJ_RESERVATION], 1, 8); /* two for each round */
	c_free(c);
}

/* Cost review (7): each network that could not follow the links' MTU listed all endpoints. */
static void test_mtu_that_grew_costs_one_list(void **state)
{
	unsigned one, many;

	(void)state;
	for (int n = 1; n <= 20; n += 19) {
		struct cluster *c = c_new(1);

		for (int i = 0; i < n; i++) {
			char net[8], service[8];

			snprintf(net, sizeof(net), "n%d", i);
			snprintf(service, sizeof(service), "s%d", i);
			c_add_network(c, net, NULL);
			c_put(c, c_service(service, 1, net));
		}
		c_work(c);
		Gs__Node *node = c_edit(c, OBJ_NODE, "node01");
		node->description->vtep_mtu = 9000;
		c_save(c, node);
		count_one_pass(c);
		*(n == 1 ? &one : &many) = lists[OBJ_ENDPOINT];
		assert_int_equal(store_network(c->s, "n0")->mtu, 1450);
		c_free(c);
	}
	assert_int_equal(many, one);
}

static void with_volumes(struct cluster *c, const char *name, unsigned replicas)
{
	Gs__Service *svc = c_service(name, replicas, NULL);

	c_mount(svc, "/data");
	c_put(c, svc);
	c_work(c);
}

/* Cost review (6): each slot that went listed the data of all volumes that ever were. */
static void test_slots_that_go_do_not_list_volumes(void **state)
{
	unsigned one, many;

	(void)state;
	for (unsigned n = 1; n <= 40; n += 39) {
		struct cluster *c = c_new(2);

		with_volumes(c, "db", n);
		assert_int_equal(store_count(c->s, OBJ_VOLUME_INSTANCE), n);
		c_delete(c, "db");
		count_from_here();
		c_work(c);
		assert_int_equal(store_count(c->s, OBJ_SLOT), 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(
				((const Gs__VolumeInstance *)store_at(c->s, OBJ_VOLUME_INSTANCE, i))->state,
				VOL_RETIRED);
		*(n == 1 ? &one : &many) = lists[OBJ_VOLUME_INSTANCE];
		c_free(c);
	}
	assert_int_equal(many, one);
}

static void put_retired(struct tx *tx, unsigned number)
{
	cleanup_free char *id = xasprintf("old%u.node01", number);
	Gs__VolumeInstance *inst = obj_new_row(OBJ_VOLUME_INSTANCE, id);

	str_replace(&inst->node_id, "node01");
	inst->state = VOL_RETIRED;
	tx_create(tx, inst);
}

/* Cost review (6): nothing ever took such a row away. Data in use is never forgotten. */
static void test_rows_of_retired_data_are_bounded(void **state)
{
	struct cluster *c = c_new(2);
	struct tx *tx;

	(void)state;
	with_volumes(c, "db", 2);
	for (unsigned i = 0; i < 1500;) {
		tx = tx_new(c->s);
		for (unsigned k = 0; k < 100; k++)
			put_retired(tx, i++);
		assert_int_equal(c_commit(c, tx), 0);
	}
	c_settle(c);
	assert_int_equal(store_count(c->s, OBJ_VOLUME_INSTANCE), 1002);
	assert_null(store_get(c->s, OBJ_VOLUME_INSTANCE, "old0.node01"));
	assert_non_null(store_get(c->s, OBJ_VOLUME_INSTANCE, "old1499.node01"));
	/* and a removed node's rows go with it */
	tx = tx_new(c->s);
	tx_remove(tx, store_node(c->s, "node01"));
	assert_int_equal(c_commit(c, tx), 0);
	c_work(c);
	for (size_t i = 0; i < store_count(c->s, OBJ_VOLUME_INSTANCE); i++)
		assert_string_equal(
			((const Gs__VolumeInstance *)store_at(c->s, OBJ_VOLUME_INSTANCE, i))->node_id,
			"node02");
	c_free(c);
}

/* Cost review 1: each list of a service's rows walked all that the pass had made for the services before. */
static void test_pass_that_makes_many_walks_each_once(void **state)
{
	unsigned few = 0;

	(void)state;
	for (unsigned n = 10; n <= 100; n += 90) {
		struct cluster *c = c_new(2);
		struct tx *tx = tx_new(c->s);

		for (unsigned i = 0; i < n; i++) {
			char name[8];

			snprintf(name, sizeof(name), "s%u", i);
			tx_create(tx, c_service(name, 3, NULL));
		}
		assert_int_equal(c_commit(c, tx), 0);
		count_from_here();
		c_settle(c);
		assert_int_equal(store_count(c->s, OBJ_TASK), 3 * n);
		if (n == 10)
			few = keys;
		else
			assert_in_range(keys, 1, few * 10 + few);
		c_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pass_that_makes_many_walks_each_once),
		cmocka_unit_test(test_full_network_is_searched_once),
		cmocka_unit_test(test_rested_addresses_are_listed_once),
		cmocka_unit_test(test_mtu_that_grew_costs_one_list),
		cmocka_unit_test(test_slots_that_go_do_not_list_volumes),
		cmocka_unit_test(test_rows_of_retired_data_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
