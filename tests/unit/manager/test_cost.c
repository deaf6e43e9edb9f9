// SPDX-License-Identifier: Apache-2.0
/* What passes cost, counted in calls of the store and the allocator, not in time: twice as much of what waits
 * must not mean twice as many looks at a whole table. */
#include "cluster.h"

#include "manager/reconcile/allocate_internal.h"

static unsigned lists[OBJ_KINDS], tries;

size_t __real_tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret);
size_t __wrap_tx_list(const struct tx *tx, enum obj_kind kind, const void ***ret);
bool __real_reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
				const char *value);
bool __wrap_reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
				const char *value);

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
	tries = 0;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_network_is_searched_once),
		cmocka_unit_test(test_rested_addresses_are_listed_once),
		cmocka_unit_test(test_mtu_that_grew_costs_one_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
