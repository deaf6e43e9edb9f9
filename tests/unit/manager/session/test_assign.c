// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/manager/cluster.h"

#include "manager/model/rows.h"

struct seen {
	size_t total, changed, removed;
	char keys[4096]; /* "+task/x -net/y " */
};

static struct seen diff(struct cluster *c, const char *node, struct assign_set *set)
{
	Gs__AssignmentItem **items;
	struct seen seen = {0};
	bool more;

	seen.total = assign_diff(c->s, node, set, SIZE_MAX, &items, &more);
	assert_false(more);
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

/* Cost review 9: a service that uses a network touches the network's row; its workers need not hear of that. */
static void test_touch_is_no_news(void **state)
{
	struct cluster *c = c_new(1);
	struct assign_set *set = assign_set_new();
	uint64_t version, content;
	Gs__Network *net;
	struct tx *tx;

	(void)state;
	c_add_network(c, "net", NULL);
	c_put(c, c_service("web", 1, "net"));
	c_settle(c);
	assert_true(diff(c, "node01", set).changed > 0);
	version = store_network(c->s, "net")->meta->version;
	content = obj_content_version(store_network(c->s, "net"));
	for (int i = 0; i < 2; i++) {
		tx = tx_new(c->s);
		tx_use(tx, store_network(c->s, "net"));
		tx_create(tx, c_service(i ? "db" : "api", 0, "net"));
		assert_int_equal(c_commit(c, tx), 0);
		assert_true(store_network(c->s, "net")->meta->version > version);
		assert_int_equal(obj_content_version(store_network(c->s, "net")), content);
		assert_int_equal(diff(c, "node01", set).total, 0);
	}
	tx = tx_new(c->s);
	net = tx_edit(tx, OBJ_NETWORK, "net");
	net->mtu--;
	assert_int_equal(c_commit(c, tx), 0);
	assert_string_equal(diff(c, "node01", set).keys, "+net/net ");
	assert_int_equal(obj_content_version(store_network(c->s, "net")),
			 store_network(c->s, "net")->meta->version);
	assign_set_free(set);
	c_free(c);
}

/* ---- in portions ---- */

#define KEYS_MAX 200
struct known { /* by the node */
	char keys[KEYS_MAX][80];
	size_t n;
};

static void known_take(struct known *k, const Gs__AssignmentItem *item)
{
	size_t i = 0;

	while (i < k->n && strcmp(k->keys[i], item->key) != 0)
		i++;
	if (item->removed) {
		assert_true(i < k->n); /* it was told of it */
		memmove(k->keys[i], k->keys[i + 1], (--k->n - i) * sizeof(k->keys[0]));
	} else if (i == k->n) {
		assert_true(k->n < KEYS_MAX);
		snprintf(k->keys[k->n++], sizeof(k->keys[0]), "%s", item->key);
	}
}

/* One portion; false: it was the last. */
static bool portion(struct cluster *c, struct assign_set *set, size_t max, struct known *k)
{
	Gs__AssignmentItem **items;
	size_t bytes = 0, n;
	bool more;

	n = assign_diff(c->s, "node01", set, max, &items, &more);
	for (size_t i = 0; i < n; i++) {
		bytes += gs__assignment_item__get_packed_size(items[i]);
		known_take(k, items[i]);
		if (!items[i]->removed && items[i]->item_case == ITEM_TASK &&
		    !task_is_final(items[i]->task)) { /* what it needs has come before it */
			size_t net = 0;

			while (net < k->n && strcmp(k->keys[net], "net/net") != 0)
				net++;
			assert_true(net < k->n);
		}
	}
	assert_true(n <= 1 || bytes <= max);
	assert_true(n > 0 || !more);
	assign_items_free(items, n);
	return more;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void knows_all(struct cluster *c, struct known *k)
{
	struct assign_set *set = assign_set_new();
	struct known whole = {0};

	assert_false(portion(c, set, SIZE_MAX, &whole));
	qsort(whole.keys, whole.n, sizeof(whole.keys[0]), by_text);
	qsort(k->keys, k->n, sizeof(k->keys[0]), by_text);
	assert_int_equal(whole.n, k->n);
	for (size_t i = 0; i < k->n; i++)
		assert_string_equal(whole.keys[i], k->keys[i]);
	assign_set_free(set);
}

/* Portions come to the same as one difference, also when the cluster changes between them. */
static void test_portions_make_the_whole(void **state)
{
	(void)state;
	for (size_t max = 100; max < 3000; max += 300) {
		struct cluster *c = c_new(2);
		struct assign_set *set = assign_set_new();
		struct known k = {0};
		unsigned n = 0;

		c_add_network(c, "net", NULL);
		c_put(c, c_service("web", 12, "net"));
		c_put(c, c_service("api", 6, "net"));
		c_work(c);
		for (bool more = true; more; n++) {
			more = portion(c, set, max, &k);
			if (n == 1)
				c_scale(c, "web", 4);
			if (n == 2)
				c_delete(c, "api");
			c_work(c);
		}
		assert_in_range(n, 2, 200);
		while (portion(c, set, max, &k))
			;
		knows_all(c, &k);
		assign_set_free(set);
		c_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_portions_make_the_whole),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_secrets_and_peers),
		cmocka_unit_test(test_touch_is_no_news),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
