// SPDX-License-Identifier: Apache-2.0
/* A cluster of rows, for all tests of the store and the reconcilers: a store on the in-memory engine, virtual time, nodes whose
 * heartbeats a test gives, and workers that do as they are told (c_work) or not. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "manager/model/report.h"
#include "manager/session/assign.h"
#include "manager/reconcile/reconcile.h"
#include "tests/lib/consensus_memory.h"

#define C_NODES 64
struct cluster {
	struct clock_virtual v;
	struct clock clock;
	struct store *s;
	struct consensus *c;
	struct reconcile_env env;
	unsigned ids;
	struct {
		char id[ID_LEN + 1];
		bool silent;
		int64_t last;
	} nodes[C_NODES];
	size_t n_nodes;
	int code;        /* of the last commit */
	struct err last; /* its answer */
	int answers;     /* to commits so far */
	unsigned commits;
};

static inline void c_new_id(void *arg, char ret_id[ID_LEN + 1])
{
	struct cluster *c = arg;

	/* scattered, so that id order is not the order of creation */
	unsigned n = c->ids++;
	snprintf(ret_id, ID_LEN + 1, "i%08x%016x", n * 2654435761u, n);
}
static inline int64_t c_last_seen(void *arg, const char *node_id)
{
	struct cluster *c = arg;

	for (size_t i = 0; i < c->n_nodes; i++)
		if (strcmp(c->nodes[i].id, node_id) == 0)
			return c->nodes[i].last;
	return -1;
}
static inline int64_t c_seqno(void *arg, const char *task_id)
{
	(void)arg;
	(void)task_id;
	return -1;
}
static inline void c_done(void *arg, const struct err *e)
{
	struct cluster *c = arg;

	c->code = e->code;
	c->last = *e;
	c->answers++;
}
static inline int c_commit(struct cluster *c, struct tx *tx)
{
	c->code = 1;
	store_commit(c->s, tx, c_done, c);
	consensus_memory_run(c->c);
	return c->code;
}
/* One pass; returns how many actions it had. */
static inline size_t c_pass(struct cluster *c)
{
	struct tx *tx = tx_new(c->s);
	size_t n;

	reconcile_all(c->s, tx, &c->env);
	n = tx_len(tx);
	if (n == 0) {
		tx_free(tx);
		return 0;
	}
	c->commits++;
	assert_int_equal(c_commit(c, tx), 0);
	return n;
}
/* One pass whose commit is cut: the leader is lost after this many of its log entries, and another one comes.
 * false: the commit had no more entries than that. */
static inline bool c_pass_cut(struct cluster *c, unsigned entries)
{
	struct tx *tx = tx_new(c->s);
	bool cut;

	reconcile_all(c->s, tx, &c->env);
	store_commit(c->s, tx, c_done, c);
	for (unsigned i = 0; i < entries; i++)
		consensus_memory_step(c->c);
	cut = store_in_flight(c->s) > 0;
	consensus_memory_set_leader(c->c, false);
	consensus_memory_set_leader(c->c, true);
	return cut;
}
/* Until nothing changes any more; then nothing changes. */
static inline void c_settle(struct cluster *c)
{
	int i = 0;

	while (c_pass(c) > 0)
		assert_true(++i < 50);
	assert_int_equal(c_pass(c), 0);
}
static inline void c_beat(struct cluster *c)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (!c->nodes[i].silent)
			c->nodes[i].last = c->v.mono_ms;
}
/* Time in steps of a heartbeat, passes in between. */
static inline void c_wait(struct cluster *c, int64_t ms)
{
	for (int64_t t = 0; t < ms; t += 500) {
		clock_virtual_advance(&c->v, 500);
		c_beat(c);
		c_settle(c);
	}
}
static inline const char *c_add_node(struct cluster *c)
{
	struct tx *tx = tx_new(c->s);
	size_t i = c->n_nodes;
	uint8_t ip[4] = {192, 168, 55, (uint8_t)(111 + i)};
	char name[16];
	Gs__Node *n;

	assert_true(i < C_NODES);
	snprintf(c->nodes[i].id, sizeof(c->nodes[i].id), "node%02zu", i + 1);
	c->nodes[i].last = c->v.mono_ms;
	c->n_nodes++;
	n = obj_new_row(OBJ_NODE, c->nodes[i].id);
	n->spec = obj_new(&gs__node_spec__descriptor);
	n->status = obj_new(&gs__node_status__descriptor);
	n->description = obj_new(&gs__node_description__descriptor);
	n->description->resources = obj_new(&gs__resources__descriptor);
	n->description->resources->memory_bytes = 1000;
	n->description->resources->nano_cpus = 2000000000;
	n->description->vtep_mtu = 1500;
	snprintf(name, sizeof(name), "docker%zu", i + 1);
	str_replace(&n->description->hostname, name);
	obj_bytes_set(&n->description->advertise_ip, ip, 4);
	obj_bytes_set(&n->description->vtep_ip, ip, 4);
	tx_create(tx, n);
	assert_int_equal(c_commit(c, tx), 0);
	return c->nodes[i].id;
}
/* A store that leads and holds nothing, at this time. */
static inline struct cluster *c_bare(int64_t mono_ms, int64_t wall_ms)
{
	struct cluster *c = xcalloc(1, sizeof(*c));
	struct consensus_fsm fsm;

	c->v = (struct clock_virtual){.mono_ms = mono_ms, .wall_ms = wall_ms};
	c->clock = clock_virtual_of(&c->v);
	c->s = store_new(&c->clock);
	fsm = store_fsm(c->s);
	c->c = consensus_memory_new(&fsm);
	store_set_consensus(c->s, c->c);
	consensus_memory_set_leader(c->c, true);
	c->env = (struct reconcile_env){.clock = &c->clock,
					.leader_since_ms = c->v.mono_ms,
					.node_last_seen_ms = c_last_seen,
					.task_seqno = c_seqno,
					.arg = c,
					.new_id = c_new_id};
	return c;
}
/* A cluster with its row and some nodes, at rest. */
static inline struct cluster *c_new(size_t nodes)
{
	struct cluster *c = c_bare(1000000, 2000000000);
	Gs__Cluster *row = obj_new_row(OBJ_CLUSTER, "cluster");
	struct tx *tx;

	row->spec = obj_new(&gs__cluster_spec__descriptor);
	row->spec->heartbeat_ms = 1000;
	row->spec->heartbeat_missed = 3;
	row->spec->task_history_limit = 2;
	tx = tx_new(c->s);
	tx_create(tx, row);
	assert_int_equal(c_commit(c, tx), 0);
	for (size_t i = 0; i < nodes; i++)
		c_add_node(c);
	c_settle(c);
	return c;
}
static inline void c_free(struct cluster *c)
{
	consensus_memory_free(c->c);
	store_free(c->s);
	free(c);
}
static inline void c_add_network(struct cluster *c, const char *id, const char *subnet)
{
	struct tx *tx = tx_new(c->s);
	Gs__Network *net = obj_new_row(OBJ_NETWORK, id);

	net->spec = obj_new(&gs__network_spec__descriptor);
	str_replace(&net->spec->name, id);
	if (subnet)
		assert_int_equal(addr_parse_cidr(subnet, &net->spec->subnet, NULL), 0);
	tx_create(tx, net);
	assert_int_equal(c_commit(c, tx), 0);
}
/* The row is the caller's to change, then c_put. */
static inline Gs__Service *c_service(const char *id, unsigned replicas, const char *network)
{
	Gs__Service *svc = obj_new_row(OBJ_SERVICE, id);

	svc->spec = obj_new(&gs__service_spec__descriptor);
	svc->spec->task = obj_new(&gs__task_spec__descriptor);
	svc->spec->replicas = replicas;
	str_replace(&svc->spec->name, id);
	str_replace(&svc->spec->task->image, "host");
	if (network) {
		Gs__NetworkAttach *a = obj_new(&gs__network_attach__descriptor);

		str_replace(&a->network_id, network);
		obj_add(&svc->spec->task->n_networks, &svc->spec->task->networks, a);
	}
	return svc;
}
static inline void c_mount(Gs__Service *svc, const char *target)
{
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	m->type = MOUNT_VOLUME;
	str_replace(&m->target, target);
	obj_add(&svc->spec->task->n_mounts, &svc->spec->task->mounts, m);
}
static inline void c_put(struct cluster *c, void *row)
{
	struct tx *tx = tx_new(c->s);

	tx_create(tx, row);
	assert_int_equal(c_commit(c, tx), 0);
}
/* A changeable copy, and back. */
static inline void *c_edit(struct cluster *c, enum obj_kind kind, const char *id)
{
	assert_non_null(store_get(c->s, kind, id));
	return obj_dup(store_get(c->s, kind, id));
}
static inline void c_save(struct cluster *c, void *take_row)
{
	struct tx *tx = tx_new(c->s);

	tx_update_spec(tx, take_row);
	assert_int_equal(c_commit(c, tx), 0);
}
static inline void c_scale(struct cluster *c, const char *service, unsigned replicas)
{
	Gs__Service *svc = c_edit(c, OBJ_SERVICE, service);

	svc->spec->replicas = replicas;
	c_save(c, svc);
}
static inline void c_delete(struct cluster *c, const char *service)
{
	Gs__Service *svc = c_edit(c, OBJ_SERVICE, service);

	svc->meta->deleting = true;
	c_save(c, svc);
}
static inline void c_drain(struct cluster *c, const char *node, Gs__Availability a)
{
	Gs__Node *n = c_edit(c, OBJ_NODE, node);

	n->spec->availability = a;
	c_save(c, n);
}
static inline int c_report(struct cluster *c, const char *node, const char *task, uint32_t attempt,
			   Gs__TaskState state)
{
	struct tx *tx = tx_new(c->s);
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;
	Gs__TaskReport r = GS__TASK_REPORT__INIT;
	struct err e = {0};
	int rc;

	st.state = state;
	st.attempt = attempt;
	r.task_id = (char *)(uintptr_t)task;
	r.status = &st;
	rc = report_apply(c->s, tx, node, &r, &c->env, &e);
	if (rc) {
		assert_int_equal(tx_len(tx), 0);
		tx_free(tx);
		return rc;
	}
	return c_commit(c, tx);
}
static inline bool c_silent(struct cluster *c, const char *node_id)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (strcmp(c->nodes[i].id, node_id) == 0)
			return c->nodes[i].silent;
	return true;
}
/* Workers do the next thing for one task; false: nothing to do. */
static inline bool c_work_one(struct cluster *c)
{
	const Gs__Task *t;

	for (size_t i = 0; (t = store_at(c->s, OBJ_TASK, i)); i++) {
		bool run = t->desired == TASK_RUNNING;
		Gs__TaskState want = run ? TASK_RUNNING : TASK_SHUTDOWN;

		if (!*t->node_id || c_silent(c, t->node_id) || t->status->state >= want)
			continue;
		assert_int_equal(c_report(c, t->node_id, t->meta->id, 1, want), 0);
		return true;
	}
	return false;
}
static inline void c_work(struct cluster *c)
{
	bool any;

	do {
		c_settle(c);
		any = false;
		while (c_work_one(c))
			any = true;
	} while (any);
}
/* Tasks of a service that should run (on one node, when given) and are in this state or beyond. */
static inline size_t c_count(struct cluster *c, const char *service, const char *node, Gs__TaskState state)
{
	const Gs__Task *const *list;
	size_t n = store_tasks_of_service(c->s, service, &list), hits = 0;

	for (size_t i = 0; i < n; i++)
		hits += list[i]->desired == TASK_RUNNING && list[i]->status->state >= state &&
			(!node || strcmp(list[i]->node_id, node) == 0);
	return hits;
}
/* The task that should run in slot number n, or NULL. */
static inline const Gs__Task *c_task(struct cluster *c, const char *service, unsigned number)
{
	const Gs__Task *const *list;
	size_t n = store_tasks_of_service(c->s, service, &list);

	for (size_t i = 0; i < n; i++)
		if (list[i]->slot_number == number && list[i]->desired == TASK_RUNNING)
			return list[i];
	return NULL;
}
static inline const Gs__Slot *c_slot(struct cluster *c, const char *service, unsigned number)
{
	const Gs__Slot *const *list;
	size_t n = store_slots_of_service(c->s, service, &list);

	for (size_t i = 0; i < n; i++)
		if (list[i]->number == number)
			return list[i];
	return NULL;
}
#define C_RUNNING TASK_RUNNING
