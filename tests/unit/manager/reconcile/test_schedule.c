// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/manager/cluster.h"

static void constrain(Gs__Service *svc, const char *text)
{
	obj_add_str(&svc->spec->n_constraints, &svc->spec->constraints, text);
}

/* On which nodes does a global service with this constraint run? Bits. */
static unsigned fits(struct cluster *c, const char *text)
{
	Gs__Service *svc = c_service("probe", 0, NULL);
	unsigned bits = 0;

	svc->spec->mode = MODE_GLOBAL;
	constrain(svc, text);
	c_put(c, svc);
	c_work(c);
	for (size_t i = 0; i < c->n_nodes; i++)
		bits |= (unsigned)c_count(c, "probe", c->nodes[i].id, C_RUNNING) << i;
	c_delete(c, "probe");
	c_work(c);
	assert_null(store_service(c->s, "probe"));
	return bits;
}

static void test_constraints(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Node *n = c_edit(c, OBJ_NODE, "node01");
	Gs__Label *l = obj_new(&gs__label__descriptor);

	(void)state;
	n->spec->role = ROLE_MANAGER;
	str_replace(&l->key, "rack");
	str_replace(&l->value, "a");
	obj_add(&n->spec->n_labels, &n->spec->labels, l);
	str_replace(&n->description->platform_os, "linux");
	c_save(c, n);
	assert_int_equal(fits(c, "node.role==manager"), 1);
	assert_int_equal(fits(c, "node.role != manager"), 6);
	assert_int_equal(fits(c, "node.labels.rack==a"), 1);
	assert_int_equal(fits(c, "node.labels.rack!=a"), 6);
	assert_int_equal(fits(c, "node.id == node02"), 2);
	assert_int_equal(fits(c, "node.hostname==docker3"), 4);
	assert_int_equal(fits(c, "node.ip==192.168.55.112"), 2);
	assert_int_equal(fits(c, "node.ip!=192.168.55.112"), 5);
	assert_int_equal(fits(c, "node.ip==192.168.55.0/24"), 7);
	assert_int_equal(fits(c, "node.ip==10.0.0.0/8"), 0);
	assert_int_equal(fits(c, "node.platform.os==linux"), 1);
	assert_int_equal(fits(c, "node.nonsense==1"), 0);
	assert_int_equal(fits(c, "nonsense"), 0);
	c_free(c);
}

static void test_impossible_constraint(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Service *svc = c_service("web", 1, NULL);

	(void)state;
	constrain(svc, "node.role==manager");
	c_put(c, svc);
	c_settle(c);
	assert_string_equal(c_task(c, "web", 1)->pending_reason,
			    "no suitable node: 3 of 3 do not meet the constraints");
	c_free(c);
}

/* User review, 32: such a service had neither a task nor an error. */
static void test_global_without_a_node(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Service *svc = c_service("web", 0, NULL);

	(void)state;
	svc->spec->mode = MODE_GLOBAL;
	constrain(svc, "node.labels.rack==b");
	c_put(c, svc);
	c_settle(c);
	assert_string_equal(((const Gs__Service *)store_find(c->s, OBJ_SERVICE, "web", NULL))->error,
			    "no node that is Ready and active meets the constraint node.labels.rack==b");
	c_free(c);
}

static void test_resources(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("web", 5, NULL);

	(void)state;
	svc->spec->task->reservations = obj_new(&gs__resources__descriptor);
	svc->spec->task->reservations->memory_bytes = 500;
	c_put(c, svc);
	c_settle(c);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 4);
	assert_int_equal(c_count(c, "web", "node01", TASK_ASSIGNED), 2);
	assert_string_equal(c_task(c, "web", 5)->pending_reason,
			    "no suitable node: 2 of 2 without room for the reservations");
	c_add_node(c);
	c_work(c);
	assert_int_equal(c_count(c, "web", "node03", C_RUNNING), 1);
	c_free(c);
}

static void test_max_per_node(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("web", 5, NULL);

	(void)state;
	svc->spec->max_per_node = 2;
	c_put(c, svc);
	c_settle(c);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 4);
	assert_string_equal(c_task(c, "web", 5)->pending_reason,
			    "no suitable node: 2 of 2 already have their share of web");
	c_free(c);
}

/* Fewest of the service first, then fewest of all, then the lowest id. */
static void test_spread(void **state)
{
	struct cluster *c = c_new(3);
	Gs__Service *svc = c_service("a", 2, NULL);

	(void)state;
	constrain(svc, "node.hostname==docker1");
	c_put(c, svc);
	c_settle(c);
	c_put(c, c_service("b", 1, NULL));
	c_settle(c);
	assert_string_equal(c_task(c, "b", 1)->node_id, "node02");
	c_put(c, c_service("c", 3, NULL));
	c_settle(c);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(c_count(c, "c", c->nodes[i].id, 0), 1);
	c_free(c);
}

static void test_no_nodes(void **state)
{
	struct cluster *c = c_new(0);

	(void)state;
	c_put(c, c_service("web", 1, NULL));
	c_settle(c);
	assert_string_equal(c_task(c, "web", 1)->pending_reason, "no suitable node: there is none");
	c_free(c);
}

/* A slot's data keeps its node from other members, also while no task of the slot is there. */
static void test_data_keeps_its_seat(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("db", 1, NULL);
	char node[64], id[64];

	(void)state;
	svc->spec->max_per_node = 1;
	c_mount(svc, "/data");
	c_put(c, svc);
	c_work(c);
	snprintf(node, sizeof(node), "%s", c_task(c, "db", 1)->node_id);
	snprintf(id, sizeof(id), "%s", c_task(c, "db", 1)->meta->id);
	assert_int_equal(c_report(c, node, id, 1, TASK_REJECTED), 0);
	c_scale(c, "db", 3);
	c_settle(c);
	assert_string_not_equal(c_task(c, "db", 2)->node_id, node);
	assert_string_equal(c_task(c, "db", 3)->node_id, "");
	c_wait(c, 2000);
	assert_string_equal(c_task(c, "db", 1)->node_id, node);
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constraints),
		cmocka_unit_test(test_impossible_constraint),
		cmocka_unit_test(test_global_without_a_node),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_max_per_node),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_no_nodes),
		cmocka_unit_test(test_data_keeps_its_seat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
