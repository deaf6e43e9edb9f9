// SPDX-License-Identifier: Apache-2.0
#include "cluster.h"

struct seen {
	size_t total, changed, removed;
	char keys[4096]; /* "+task/x -net/y " */
};

static struct seen diff(struct cluster *c, const char *node, struct assign_set *set)
{
	Gs__AssignmentItem **items;
	struct seen seen = {0};

	seen.total = assign_diff(c->s, node, set, &items);
	for (size_t i = 0; i < seen.total; i++) {
		size_t len = strlen(seen.keys);

		seen.removed += items[i]->removed;
		seen.changed += !items[i]->removed;
		assert_true(items[i]->removed || items[i]->item_case != ITEM_NOT_SET);
		snprintf(seen.keys + len, sizeof(seen.keys) - len, "%s%s ", items[i]->removed ? "-" : "+",
			 items[i]->key);
	}
	assign_items_free(items, seen.total);
	return seen;
}

static void test_life(void **state)
{
	struct cluster *c = c_new(2);
	struct assign_set *set = assign_set_new();
	struct seen s;

	(void)state;
	c_add_network(c, "net", NULL);
	c_add_network(c, "other", NULL);
	c_settle(c);
	s = diff(c, "node01", set);
	assert_string_equal(s.keys, "+node/self ");
	assert_int_equal(diff(c, "node01", set).total, 0);

	c_put(c, c_service("web", 2, "net"));
	c_settle(c);
	s = diff(c, "node01", set);
	assert_int_equal(s.changed, 4); /* net, two endpoints, its task */
	assert_non_null(strstr(s.keys, "+net/net "));
	assert_null(strstr(s.keys, "other"));
	c_work(c);
	s = diff(c, "node01", set);
	assert_int_equal(s.total, 1); /* its own task's state */

	/* the other node's new slot: one endpoint */
	c_scale(c, "web", 4);
	c_work(c);
	s = diff(c, "node01", set);
	assert_int_equal(s.removed, 0);
	assert_int_equal(s.changed, 3); /* two endpoints, one task */

	c_delete(c, "web");
	c_settle(c);
	s = diff(c, "node01", set);
	assert_int_equal(s.changed, 2); /* its two tasks are told to go, the rest stays until they have */
	assert_int_equal(s.removed, 0);
	c_work(c);
	s = diff(c, "node01", set);
	assert_int_equal(s.removed, 7); /* 2 tasks, 4 endpoints, net */
	assert_int_equal(s.changed, 0);
	assign_set_free(set);
	c_free(c);
}

static void test_secrets_and_peers(void **state)
{
	struct cluster *c = c_new(3);
	struct assign_set *set = assign_set_new();
	Gs__Service *svc = c_service("db", 2, "net");
	Gs__GaleraCluster *g = obj_new_row(OBJ_GALERA, "gc");
	Gs__Secret *secret = obj_new_row(OBJ_SECRET, "sec1"), *foreign = obj_new_row(OBJ_SECRET, "sec2");
	struct seen s;

	(void)state;
	str_replace(&secret->name, "root");
	str_replace(&secret->owner, "gc");
	str_replace(&foreign->name, "root");
	str_replace(&foreign->owner, "another");
	c_put(c, secret);
	c_put(c, foreign);
	obj_add_str(&g->n_service_ids, &g->service_ids, "db");
	c_put(c, g);
	svc->spec->topology = TOPO_GALERA;
	svc->spec->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&svc->galera_cluster_id, "gc");
	c_mount(svc, "/var/lib/mysql");
	c_add_network(c, "net", NULL);
	c_put(c, svc);
	c_settle(c);
	s = diff(c, "node01", set);
	assert_non_null(strstr(s.keys, "+secret/sec1 "));
	assert_null(strstr(s.keys, "sec2"));
	assert_non_null(strstr(s.keys, "+peer/node02 "));
	assert_null(strstr(s.keys, "peer/node03"));
	assert_null(strstr(s.keys, "peer/node01"));
	assign_set_free(set);
	/* a node without tasks of it sees none of it */
	set = assign_set_new();
	assert_string_equal(diff(c, "node03", set).keys, "+node/self ");
	assign_set_free(set);
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_secrets_and_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
