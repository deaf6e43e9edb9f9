// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/manager/cluster.h"

static const Gs__Network *net_of(struct cluster *c, const char *id)
{
	return store_network(c->s, id);
}

static const char *address_of(struct cluster *c, const char *service, unsigned slot)
{
	static char text[64];

	return addr_format(&c_slot(c, service, slot)->addresses[0]->addr->ip, text, sizeof(text));
}

static void test_networks(void **state)
{
	struct cluster *c = c_new(2);
	char a[64], b[64];

	(void)state;
	c_add_network(c, "n1", NULL);
	c_add_network(c, "n2", "10.0.1.0/24");
	c_add_network(c, "n3", "10.0.0.128/25");
	c_settle(c);
	c_add_network(c, "n4", NULL);
	c_settle(c);
	addr_format_cidr(net_of(c, "n2")->subnet, a, sizeof(a));
	assert_string_equal(a, "10.0.1.0/24");
	for (int i = 1; i <= 4; i++)
		for (int k = 1; k < i; k++) {
			snprintf(a, sizeof(a), "n%d", i);
			snprintf(b, sizeof(b), "n%d", k);
			if (net_of(c, a)->subnet && net_of(c, b)->subnet)
				assert_false(addr_overlaps(net_of(c, a)->subnet, net_of(c, b)->subnet));
			assert_int_not_equal(net_of(c, a)->vni, net_of(c, b)->vni);
		}
	assert_int_equal(net_of(c, "n1")->vni, 0x100000);
	assert_int_equal(net_of(c, "n1")->mtu, 1450);
	c_free(c);
}

/* Hosts with addresses inside the default pool: their own subnet is not given away. */
static void test_pool_spares_hosts(void **state)
{
	struct cluster *c = c_new(1);
	uint8_t ip[4] = {10, 0, 0, 5}, vtep[4] = {10, 0, 1, 5};
	Gs__Node *n = c_edit(c, OBJ_NODE, "node01");
	char text[64];

	(void)state;
	obj_bytes_set(&n->description->advertise_ip, ip, 4);
	obj_bytes_set(&n->description->vtep_ip, vtep, 4);
	c_save(c, n);
	c_add_network(c, "n1", NULL);
	c_settle(c);
	addr_format_cidr(net_of(c, "n1")->subnet, text, sizeof(text));
	assert_string_equal(text, "10.0.2.0/24");
	c_free(c);
}

static void test_overlap_is_refused(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_add_network(c, "n1", "10.5.0.0/24");
	c_settle(c);
	c_add_network(c, "n2", "10.5.0.128/25");
	c_put(c, c_service("web", 1, "n2"));
	c_settle(c);
	assert_null(net_of(c, "n2")->subnet);
	assert_string_equal(
		store_service(c->s, "web")->error,
		"web.1: network n2 has no subnet: the address pool is used up or its subnet overlaps "
		"another network's");
	c_free(c);
}

static void set_mtu(struct cluster *c, const char *node, uint32_t mtu)
{
	Gs__Node *n = c_edit(c, OBJ_NODE, node);

	n->description->vtep_mtu = mtu;
	c_save(c, n);
	c_settle(c);
}

static void test_mtu_only_shrinks_in_use(void **state)
{
	struct cluster *c = c_new(2);

	(void)state;
	c_add_network(c, "n1", NULL);
	c_add_network(c, "n2", NULL);
	c_put(c, c_service("web", 1, "n1"));
	c_settle(c);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 1);
	set_mtu(c, "node01", 1400);
	assert_int_equal(net_of(c, "n1")->mtu, 1350);
	assert_int_equal(net_of(c, "n2")->mtu, 1350);
	set_mtu(c, "node01", 9000);
	assert_int_equal(net_of(c, "n1")->mtu, 1350); /* its tasks' connections know the old one */
	assert_int_equal(net_of(c, "n2")->mtu, 1450); /* M3b: nobody is on it, and the small node has gone */
	c_free(c);
}

/* A node whose link is too small for overlay networks lowers nobody's, nor does one that never came. */
static void test_M3b_mtu_of_a_bad_node(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_add_network(c, "n1", NULL);
	c_settle(c);
	set_mtu(c, "node01", 626);
	assert_int_equal(net_of(c, "n1")->mtu, 1450);
	c_add_node(c);
	c->nodes[1].last = -1;
	set_mtu(c, "node02", 1400);
	assert_int_equal(net_of(c, "n1")->mtu, 1450);
	c_free(c);
}

static void test_addresses_stay_and_rest(void **state)
{
	struct cluster *c = c_new(2);
	Gs__Service *svc;

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, c_service("web", 2, "n1"));
	c_work(c);
	assert_string_equal(address_of(c, "web", 1), "10.9.0.2");
	assert_string_equal(address_of(c, "web", 2), "10.9.0.3");
	assert_memory_equal(c_slot(c, "web", 1)->addresses[0]->mac.data, "\x02\x67\x0a\x09\x00\x02", 6);
	assert_int_equal(c_task(c, "web", 1)->n_addresses, 1);
	/* a new task of the slot has the same address */
	svc = c_edit(c, OBJ_SERVICE, "web");
	str_replace(&svc->spec->task->image, "dir:/x");
	c_save(c, svc);
	c_work(c);
	assert_string_equal(address_of(c, "web", 1), "10.9.0.2");
	/* a removed slot's address rests for a minute */
	c_delete(c, "web");
	c_work(c);
	c_put(c, c_service("two", 1, "n1"));
	c_work(c);
	assert_string_equal(address_of(c, "two", 1), "10.9.0.4");
	c_wait(c, 61000);
	c_scale(c, "two", 2);
	c_work(c);
	assert_string_equal(address_of(c, "two", 2), "10.9.0.2");
	c_free(c);
}

/* The third session's safety review, 11: a clock that had been ahead for a moment left addresses that nobody got for
 * as long as it had been ahead. */
static void test_s11_rest_of_a_clock_that_was_ahead(void **state)
{
	struct cluster *c = c_new(2);
	const int64_t ahead_ms = 200 * INT64_C(86400000);

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, c_service("web", 2, "n1"));
	c_work(c);
	c->v.wall_ms += ahead_ms;
	c_delete(c, "web");
	c_work(c);
	c->v.wall_ms -= ahead_ms;
	c_put(c, c_service("two", 1, "n1"));
	c_work(c);
	assert_string_equal(address_of(c, "two", 1), "10.9.0.4"); /* they rest now */
	c_wait(c, 61000);
	c_scale(c, "two", 2);
	c_work(c);
	assert_string_equal(address_of(c, "two", 2), "10.9.0.2");
	c_free(c);
}

static Gs__Service *with_ports(const char *name, uint32_t first, uint32_t second)
{
	Gs__Service *svc = c_service(name, 1, "n1");
	uint32_t numbers[] = {first, second};

	str_replace(&svc->spec->endpoint_mode, "vip");
	for (int i = 0; i < 2; i++) {
		Gs__Port *p = obj_new(&gs__port__descriptor);

		p->published = numbers[i];
		p->target = 80;
		obj_add(&svc->spec->n_ports, &svc->spec->ports, p);
	}
	return svc;
}

static void test_virtual_addresses_and_ports(void **state)
{
	struct cluster *c = c_new(2);
	const Gs__Service *svc;
	char text[64];

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, with_ports("web", 8080, 0));
	c_work(c);
	svc = store_service(c->s, "web");
	assert_int_equal(svc->n_vips, 1);
	assert_string_equal(addr_format(&svc->vips[0]->addr->ip, text, sizeof(text)), "10.9.0.254");
	assert_int_equal(svc->n_ports, 2);
	assert_int_equal(svc->ports[0]->published, 8080);
	assert_int_equal(svc->ports[1]->published, 30000);
	assert_string_equal(svc->error, "");
	/* a taken number is refused by name, an automatic one goes on; slots keep clear of virtual addresses */
	c_put(c, with_ports("two", 0, 8080));
	c_work(c);
	svc = store_service(c->s, "two");
	assert_string_equal(addr_format(&svc->vips[0]->addr->ip, text, sizeof(text)), "10.9.0.253");
	assert_int_equal(svc->n_ports, 1);
	assert_int_equal(svc->ports[0]->published, 30001);
	assert_string_equal(svc->error, "port 8080/tcp is published by another service");
	assert_string_equal(address_of(c, "two", 1), "10.9.0.3");
	/* what the first one gives back, the second one gets */
	c_delete(c, "web");
	c_work(c);
	svc = store_service(c->s, "two");
	assert_int_equal(svc->n_ports, 2);
	assert_int_equal(svc->ports[1]->published, 8080);
	assert_string_equal(svc->error, "");
	c_free(c);
}

static void test_exhausted(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/29"); /* .2 to .6 */
	c_put(c, c_service("web", 6, "n1"));
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 5);
	assert_string_equal(c_task(c, "web", 6)->pending_reason, "network n1 has no free address");
	assert_string_equal(store_service(c->s, "web")->error, "web.6: network n1 has no free address");
	assert_true(c->env.wake_ms < INT64_MAX);
	c_scale(c, "web", 4);
	c_work(c);
	c_scale(c, "web", 5);
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 4);
	c_wait(c, 4000); /* the only one that rests is taken early */
	c_work(c);
	assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 5);
	assert_string_equal(store_service(c->s, "web")->error, "");
	c_free(c);
}

static void test_node_index(void **state)
{
	struct cluster *c = c_new(3);
	struct tx *tx = tx_new(c->s);

	(void)state;
	assert_int_equal(store_node(c->s, "node01")->index, 1);
	assert_int_equal(store_node(c->s, "node03")->index, 3);
	tx_remove(tx, store_node(c->s, "node02"));
	assert_int_equal(c_commit(c, tx), 0);
	c_settle(c);
	c_add_node(c);
	c_settle(c);
	assert_int_equal(store_node(c->s, "node04")->index, 4); /* 2 rests for a day */
	c->v.wall_ms += 25 * 3600 * 1000LL;
	c_add_node(c);
	c_settle(c);
	assert_int_equal(store_node(c->s, "node05")->index, 2);
	c_free(c);
}

static void test_vtep_change_moves_endpoint(void **state)
{
	struct cluster *c = c_new(1);
	const Gs__Endpoint *ep;
	Gs__Node *n;

	(void)state;
	c_add_network(c, "n1", NULL);
	c_put(c, c_service("web", 1, "n1"));
	c_work(c);
	n = c_edit(c, OBJ_NODE, "node01");
	n->description->vtep_ip.data[3] = 99;
	c_save(c, n);
	c_settle(c);
	ep = store_at(c->s, OBJ_ENDPOINT, 0);
	assert_int_equal(ep->vtep_ip.data[3], 99);
	assert_string_equal(ep->name, "web.1");
	c_free(c);
}

static void test_large(void **state)
{
	struct cluster *c = c_new(10);

	(void)state;
	c_add_network(c, "n1", "10.64.0.0/12");
	c_put(c, c_service("web", 10000, "n1"));
	c_settle(c);
	assert_int_equal(c_count(c, "web", NULL, TASK_ASSIGNED), 10000);
	assert_int_equal(c_count(c, "web", "node10", TASK_ASSIGNED), 1000);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 10000);
	c_free(c);
}

/* FINDINGS O3: one VTEP of the other IP version breaks a network on every host of the first; a node that got
 * in with one takes no part in networks, and says so. */
static void test_o3_other_ip_version_stays_apart(void **state)
{
	struct cluster *c = c_new(2);
	uint8_t ip6[16] = {0xfd, 0, [15] = 2};
	Gs__Node *n = c_edit(c, OBJ_NODE, "node02");
	const Gs__Endpoint *ep;

	(void)state;
	c_add_network(c, "n1", NULL);
	c_put(c, c_service("web", 2, "n1"));
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 2);
	obj_bytes_set(&n->description->vtep_ip, ip6, 16);
	c_save(c, n);
	c_work(c);
	assert_int_equal(store_count(c->s, OBJ_ENDPOINT), 1);
	for (size_t i = 0; (ep = store_at(c->s, OBJ_ENDPOINT, i)); i++)
		assert_int_equal(ep->vtep_ip.len, 4);
	c_put(c, c_service("more", 4, "n1"));
	c_put(c, c_service("plain", 4, NULL));
	c_work(c);
	assert_int_equal(c_count(c, "more", "node01", C_RUNNING), 4);
	assert_true(c_count(c, "plain", "node02", C_RUNNING) > 0);
	c_drain(c, "node01", AVAIL_DRAIN);
	c_put(c, c_service("late", 1, "n1"));
	c_work(c);
	assert_string_equal(
		store_service(c->s, "late")->error,
		"late.1: no suitable node: 1 of 2 drained or paused, 1 with a data path of another "
		"IP version");
	c_free(c);
}

/* ---- reservations (FINDINGS M1) ---- */

static void reserved_for(struct cluster *c, const char *kind, const char *scope, const char *value,
			 const char *owner)
{
	cleanup_free char *id = xasprintf("%s/%s/%s", kind, scope, value);
	const Gs__Reservation *r = store_get(c->s, OBJ_RESERVATION, id);

	if (!r || strcmp(r->owner, owner) != 0)
		fail_msg("%s is used by %s but %s", id, owner, r ? r->owner : "nobody has reserved it");
}

static void all_numbers_are_reserved(struct cluster *c)
{
	const Gs__Network *net;
	const Gs__Node *node;
	char text[16];

	for (size_t i = 0; (net = store_at(c->s, OBJ_NETWORK, i)); i++) {
		snprintf(text, sizeof(text), "%u", net->vni);
		reserved_for(c, "vni", "", text, net->meta->id);
	}
	for (size_t i = 0; (node = store_at(c->s, OBJ_NODE, i)); i++) {
		snprintf(text, sizeof(text), "%u", node->index);
		reserved_for(c, "node-index", "", text, node->meta->id);
	}
}

/* Everything that is used is reserved for its user; as an id has one owner, nothing has two users. */
static void all_is_reserved(struct cluster *c)
{
	const Gs__Service *svc;
	const Gs__Slot *slot;
	char text[64];

	all_numbers_are_reserved(c);
	for (size_t i = 0; (slot = store_at(c->s, OBJ_SLOT, i)); i++)
		for (size_t k = 0; k < slot->n_addresses; k++)
			reserved_for(c, "address", slot->addresses[k]->network_id,
				     addr_format(&slot->addresses[k]->addr->ip, text, sizeof(text)),
				     slot->meta->id);
	for (size_t i = 0; (svc = store_at(c->s, OBJ_SERVICE, i)); i++) {
		for (size_t k = 0; k < svc->n_vips; k++)
			reserved_for(c, "address", svc->vips[k]->network_id,
				     addr_format(&svc->vips[k]->addr->ip, text, sizeof(text)), svc->meta->id);
		for (size_t k = 0; k < svc->n_ports; k++) {
			snprintf(text, sizeof(text), "%u", svc->ports[k]->published);
			reserved_for(c, "port", "tcp", text, svc->meta->id);
		}
	}
}

/* A swarm in the middle of its life asks for everything at once: a network, a node, a service with virtual
 * addresses and ports, more copies. */
static struct cluster *busy_cluster(void)
{
	struct cluster *c = c_new(2);
	Gs__Service *web = with_ports("web", 8080, 0);

	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, c_service("old", 2, "n1"));
	c_work(c);
	c_add_network(c, "n2", NULL);
	c_add_node(c);
	web->spec->replicas = 3;
	c_put(c, web);
	c_scale(c, "old", 4);
	return c;
}

/* M1: the leader is lost between any two log entries of a commit. Whoever comes next must not give out what
 * is used already. */
static void test_m1_commit_cut_anywhere(void **state)
{
	bool cut = true;
	unsigned n;

	(void)state;
	for (n = 0; cut; n++) {
		struct cluster *c = busy_cluster();

		store_set_part_actions(c->s, 1);
		cut = c_pass_cut(c, n);
		c_put(c, c_service("next", 3, "n1"));
		c_work(c);
		all_is_reserved(c);
		assert_int_equal(c_count(c, "web", NULL, C_RUNNING), 3);
		assert_int_equal(c_count(c, "next", NULL, C_RUNNING), 3);
		c_free(c);
	}
	assert_true(n > 20);
}

/* M1: as found, with nothing but the size of the commit: 70 copies are more actions than one entry takes. */
static void test_m1_large_scale_up_is_cut(void **state)
{
	struct cluster *c = c_new(3);

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, c_service("web", 70, "n1"));
	assert_true(c_pass_cut(c, 1));
	c_put(c, c_service("next", 70, "n1"));
	c_work(c);
	all_is_reserved(c);
	c_free(c);
}

static void forget_reservation(struct cluster *c, const char *id)
{
	struct tx *tx = tx_new(c->s);

	tx_remove(tx, store_get(c->s, OBJ_RESERVATION, id));
	assert_int_equal(c_commit(c, tx), 0);
}

/* M1: what an older version left without a reservation gets it again, before it is given out. */
static void test_m1_reserved_again(void **state)
{
	struct cluster *c = c_new(1);

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, with_ports("web", 8080, 0));
	c_work(c);
	forget_reservation(c, "address/n1/10.9.0.2");
	forget_reservation(c, "address/n1/10.9.0.254");
	forget_reservation(c, "port/tcp/8080");
	forget_reservation(c, "vni//1048576");
	forget_reservation(c, "node-index//1");
	c_add_node(c);
	c_add_network(c, "n2", NULL);
	c_put(c, with_ports("two", 0, 0));
	c_work(c);
	all_is_reserved(c);
	assert_string_equal(address_of(c, "web", 1), "10.9.0.2");
	assert_string_equal(address_of(c, "two", 1), "10.9.0.3");
	assert_int_equal(store_service(c->s, "web")->ports[0]->published, 8080);
	c_free(c);
}

/* M1: two slots with one address from before: told, and mended as the line says. */
static void test_m1_two_users_are_told(void **state)
{
	struct cluster *c = c_new(1);
	Gs__Service *svc;
	Gs__Slot *slot;

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_put(c, c_service("db", 1, "n1"));
	c_put(c, c_service("web", 1, "n1"));
	c_work(c);
	slot = c_edit(c, OBJ_SLOT, c_slot(c, "web", 1)->meta->id);
	slot->addresses[0]->addr->ip.data[3] = 2;
	c_save(c, slot);
	c_work(c);
	assert_string_equal(
		store_service(c->s, "web")->error,
		"web.1 has the address 10.9.0.2 of db.1 on network n1; its next task gets another one");
	assert_string_equal(store_service(c->s, "db")->error, "");
	svc = c_edit(c, OBJ_SERVICE, "web");
	svc->spec->task->force_update++;
	c_save(c, svc);
	c_work(c);
	all_is_reserved(c);
	assert_string_equal(store_service(c->s, "web")->error, "");
	assert_string_equal(address_of(c, "db", 1), "10.9.0.2");
	c_free(c);
}

/* M1: two networks with one VNI would be one network; the one that did not reserve it changes when it is
 * empty, and says so before. */
static void test_m1_two_networks_with_one_vni(void **state)
{
	struct cluster *c = c_new(1);
	Gs__Network *net;

	(void)state;
	c_add_network(c, "n1", "10.9.0.0/24");
	c_settle(c);
	c_add_network(c, "n2", "10.9.1.0/24");
	c_put(c, c_service("web", 1, "n2"));
	c_work(c);
	net = c_edit(c, OBJ_NETWORK, "n2");
	net->vni = net_of(c, "n1")->vni;
	c_save(c, net);
	c_work(c);
	assert_string_equal(store_service(c->s, "web")->error,
			    "network n2 has the VNI 1048576 of network n1: remove the services on it and it "
			    "gets another one");
	c_delete(c, "web");
	c_work(c);
	all_is_reserved(c);
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_pool_spares_hosts),
		cmocka_unit_test(test_overlap_is_refused),
		cmocka_unit_test(test_mtu_only_shrinks_in_use),
		cmocka_unit_test(test_M3b_mtu_of_a_bad_node),
		cmocka_unit_test(test_addresses_stay_and_rest),
		cmocka_unit_test(test_s11_rest_of_a_clock_that_was_ahead),
		cmocka_unit_test(test_virtual_addresses_and_ports),
		cmocka_unit_test(test_exhausted),
		cmocka_unit_test(test_node_index),
		cmocka_unit_test(test_vtep_change_moves_endpoint),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_o3_other_ip_version_stays_apart),
		cmocka_unit_test(test_m1_commit_cut_anywhere),
		cmocka_unit_test(test_m1_large_scale_up_is_cut),
		cmocka_unit_test(test_m1_reserved_again),
		cmocka_unit_test(test_m1_two_users_are_told),
		cmocka_unit_test(test_m1_two_networks_with_one_vni),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
