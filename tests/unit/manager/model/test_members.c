// SPDX-License-Identifier: Apache-2.0
/* How many members a Galera service may be scaled to: a node that has one already counts, whatever its state. */
#include "tests/unit/manager/cluster.h"

#include "manager/model/check.h"

static void node_goes_down(struct cluster *c, const char *id)
{
	Gs__Node *n = c_edit(c, OBJ_NODE, id);

	n->status->state = NODE_DOWN;
	c_save(c, n);
}

static void add_member(struct cluster *c, const char *id, unsigned number, const char *node, bool removing)
{
	Gs__Slot *s = obj_new_row(OBJ_SLOT, id);

	str_replace(&s->service_id, "svc");
	str_replace(&s->preferred_node, node);
	s->number = number;
	s->removing = removing;
	c_put(c, s);
}

/* User review, 4: with the hosts down a cluster could be scaled from 2 to 1, and not back again. */
static void a_scale_can_be_taken_back(void **state)
{
	struct cluster *c = c_new(0);
	const char *nodes[3];
	Gs__ServiceSpec spec = GS__SERVICE_SPEC__INIT;
	struct err e = {0};

	for (size_t i = 0; i < 3; i++)
		nodes[i] = c_add_node(c);
	spec.topology = TOPO_GALERA;
	add_member(c, "slot1", 1, nodes[0], false);
	add_member(c, "slot2", 2, nodes[1], true);
	for (size_t i = 0; i < 3; i++)
		node_goes_down(c, nodes[i]);
	assert_int_equal(check_galera_nodes(c->s, "svc", &spec, 2, 0, &e), 0);
	assert_int_equal(check_galera_nodes(c->s, "svc", &spec, 3, 0, &e), E_LIMIT);
	assert_non_null(
		strstr(e.msg, "3 replicas need 3 nodes, 2 are ready or taken by a member of it (node "));
	assert_int_equal(check_galera_nodes(c->s, "", &spec, 1, 0, &e),
			 E_LIMIT); /* a new one has no data there */
	assert_int_equal(check_galera_nodes(c->s, "other", &spec, 1, 0, &e), E_LIMIT);
	assert_non_null(strstr(e.msg, "1 replica needs 1 node, 0 are ready (node "));
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_scale_can_be_taken_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
