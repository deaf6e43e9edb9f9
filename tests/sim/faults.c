// SPDX-License-Identifier: Apache-2.0
/* The swarm that is simulated, its users, and what goes wrong around it. Every choice is drawn from the seed. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/lib/consensus_memory.h"
#include "tests/sim/sim.h"

/* ---- the world ---- */

static void add_node_row(struct sim *s, struct tx *tx, struct node *n)
{
	char host[16];
	uint8_t ip[4] = {192, 168, 55, (uint8_t)(111 + n->index)};
	Gs__Node *row = obj_new_row(OBJ_NODE, n->id);

	snprintf(host, sizeof(host), "docker%u", n->index + 1);
	row->spec = obj_new(&gs__node_spec__descriptor);
	row->description = obj_new(&gs__node_description__descriptor);
	str_replace(&row->description->hostname, host);
	obj_bytes_set(&row->description->advertise_ip, ip, 4);
	obj_bytes_set(&row->description->vtep_ip, ip, 4);
	row->description->vtep_mtu = 1500;
	row->description->peer_port = 2378;
	row->description->resources = obj_new(&gs__resources__descriptor);
	row->description->resources->nano_cpus = 4000000000u;
	row->description->resources->memory_bytes = (uint64_t)8 << 30;
	row->status = obj_new(&gs__node_status__descriptor);
	row->index = n->index + 1;
	tx_create(tx, row);
	(void)s;
}

static Gs__Service *service_row(const char *id, const char *name, Gs__Mode mode, uint32_t replicas)
{
	Gs__Service *row = obj_new_row(OBJ_SERVICE, id);

	row->spec = obj_new(&gs__service_spec__descriptor);
	str_replace(&row->spec->name, name);
	row->spec->mode = mode;
	row->spec->replicas = replicas;
	row->spec->task = obj_new(&gs__task_spec__descriptor);
	str_replace(&row->spec->task->image, "host");
	return row;
}

static void add_network(struct tx *tx, Gs__Service *svc, const char *net_id)
{
	Gs__NetworkAttach *a = obj_new(&gs__network_attach__descriptor);

	str_replace(&a->network_id, net_id);
	obj_add(&svc->spec->task->n_networks, &svc->spec->task->networks, a);
	(void)tx;
}

static void add_database(struct sim *s, struct tx *tx, const char *net_id)
{
	Gs__Service *svc = service_row(DB_SERVICE, "db", MODE_REPLICATED, s->replicas);
	Gs__Mount *m = obj_new(&gs__mount__descriptor);
	Gs__GaleraCluster *c = obj_new_row(OBJ_GALERA, CLUSTER_ID);

	m->type = MOUNT_VOLUME;
	str_replace(&m->target, "/var/lib/mysql");
	obj_add(&svc->spec->task->n_mounts, &svc->spec->task->mounts, m);
	add_network(tx, svc, net_id);
	svc->spec->topology = TOPO_GALERA;
	svc->spec->max_per_node = 1;
	svc->spec->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&svc->spec->galera->profile, "lan");
	str_replace(&svc->galera_cluster_id, CLUSTER_ID);
	str_replace(&c->name, "db");
	obj_add_str(&c->n_service_ids, &c->service_ids, DB_SERVICE);
	tx_create(tx, svc);
	tx_create(tx, c);
}

void world_create(struct sim *s)
{
	struct tx *tx = tx_new(s->m.store);
	char net_id[ID_LEN + 1], id[ID_LEN + 1];
	uint8_t ip[4] = {10, 0, 1, 0};

	sim_new_id(s, id);
	Gs__Cluster *c = obj_new_row(OBJ_CLUSTER, id);
	c->spec = obj_new(&gs__cluster_spec__descriptor);
	c->spec->heartbeat_ms = 1000;
	c->spec->heartbeat_missed = 3;
	c->spec->task_history_limit = 2;
	tx_create(tx, c);
	for (unsigned i = 0; i < NODES; i++)
		add_node_row(s, tx, &s->nodes[i]);
	sim_new_id(s, net_id);
	Gs__Network *net = obj_new_row(OBJ_NETWORK, net_id);
	net->spec = obj_new(&gs__network_spec__descriptor);
	str_replace(&net->spec->name, "net");
	str_replace(&net->spec->driver, "overlay");
	net->subnet = obj_new(&gs__addr__descriptor);
	obj_bytes_set(&net->subnet->ip, ip, 4);
	net->subnet->prefix = 24;
	obj_set(&net->spec->subnet, net->subnet);
	net->vni = 0x100000;
	net->mtu = 1450;
	tx_create(tx, net);
	add_database(s, tx, net_id);
	Gs__Service *web = service_row(WEB_SERVICE, "web", MODE_REPLICATED, s->web);
	add_network(tx, web, net_id);
	tx_create(tx, web);
	tx_create(tx, service_row(ALL_SERVICE, "all", MODE_GLOBAL, 0));
	store_commit(s->m.store, tx, NULL, NULL);
	consensus_memory_run(s->m.engine);
}

/* ---- clients ---- */

static struct wtask *random_proc(struct sim *s)
{
	struct wtask *list[64];
	size_t n = 0;

	for (struct wtask *t = s->tasks; t && n < 64; t = t->next) {
		if (t->p.state != PROC_NONE && s->nodes[t->node].up)
			list[n++] = t;
	}
	return n ? list[rnd(s, n)] : NULL;
}

static void client(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *t = random_proc(s);

	if (!s->clients)
		return;
	if (t)
		galera_write(s, t);
	at(s, between(s, 50, 400), client, arg, tag);
}

/* ---- faults ---- */

static struct node *random_node(struct sim *s)
{
	return &s->nodes[rnd(s, NODES)];
}

static void kill_one(struct sim *s, struct wtask *t)
{
	say(s, "kill -9 %s", task_label(t));
	s->n_kill++;
	galera_kill(s, t);
	worker_proc_exited(s, t, "killed");
}

static void kill_random(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *t = random_proc(s);

	if (t)
		kill_one(s, t);
}

static void kill_all(struct sim *s)
{
	if (chance(s, 50)) {
		for (int i = 0; i < 6; i++)
			at(s, i * 1000, kill_random, NULL, 0);
		return;
	}
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->p.state != PROC_NONE && s->nodes[t->node].up)
			kill_one(s, t);
	}
}

static void power_back(struct sim *s, void *arg, uint64_t tag)
{
	node_up(s, arg);
}

static void power_loss(struct sim *s, struct node *n)
{
	node_down(s, n);
	at(s, between(s, 2000, 40000), power_back, n, 0);
}

static void uncut(struct sim *s, void *arg, uint64_t tag)
{
	unsigned a = (unsigned)(tag / NODES), b = (unsigned)(tag % NODES);

	s->cut[a][b] = s->cut[b][a] = false;
	galera_eval_soon(s, 500, 3000);
}

static void cut_pair(struct sim *s, unsigned a, unsigned b, int64_t ms)
{
	if (a == b)
		return;
	s->cut[a][b] = s->cut[b][a] = true;
	galera_eval_soon(s, 2000, 3500);
	at(s, ms, uncut, NULL, a * NODES + b);
}

static void uncut_manager(struct sim *s, void *arg, uint64_t tag)
{
	((struct node *)arg)->cut_manager = false;
}

static void cut_manager(struct sim *s, struct node *n, int64_t ms)
{
	say(s, "node %u is cut from the manager", n->index + 1);
	n->cut_manager = true;
	at(s, ms, uncut_manager, n, 0);
}

/* One side of the swarm, often together with the way to the manager. */
static void partition(struct sim *s)
{
	unsigned side = (unsigned)rnd(s, 1u << NODES);
	int64_t ms = between(s, 1000, 25000);
	bool manager_too = chance(s, 60);

	say(s, "partition %x for %lld ms%s", side, (long long)ms, manager_too ? ", manager too" : "");
	for (unsigned a = 0; a < NODES; a++) {
		for (unsigned b = a + 1; b < NODES; b++) {
			if ((side >> a & 1) != (side >> b & 1))
				cut_pair(s, a, b, ms);
		}
		if (manager_too && (side >> a & 1))
			cut_manager(s, &s->nodes[a], ms + between(s, -500, 3000));
	}
}

static void resume(struct sim *s, void *arg, uint64_t incarnation)
{
	struct wtask *t = arg;

	if (t->p.incarnation == incarnation && t->p.stopped) {
		t->p.stopped = false;
		galera_eval_soon(s, 500, 4000);
	}
}

static void pause_proc(struct sim *s)
{
	struct wtask *t = random_proc(s);

	if (!t || t->p.stopped)
		return;
	say(s, "SIGSTOP %s", task_label(t));
	t->p.stopped = true;
	galera_eval_soon(s, 2000, 3500);
	at(s, between(s, 500, 15000), resume, t, t->p.incarnation);
}

static void worker_back(struct sim *s, void *arg, uint64_t tag)
{
	struct node *n = arg;

	if (n->up && !n->worker_up)
		worker_boot(s, n);
}

static void restart_worker(struct sim *s, struct node *n)
{
	if (!n->up || !n->worker_up)
		return;
	say(s, "worker of node %u restarts", n->index + 1);
	worker_stop(s, n);
	at(s, between(s, 100, 6000), worker_back, n, 0);
}

/* A volume can only go while nothing runs on it. */
static void lose_volume(struct sim *s, bool only_grastate)
{
	for (struct volume *v = s->volumes; v; v = v->next) {
		if (!v->data || (v->user && v->user->p.state != PROC_NONE) || !chance(s, 50))
			continue;
		if (v->user && v->user->status->state == TASK_HELD && s->nodes[v->node].up)
			continue; /* evidence was given: the worker holds the lock */
		if (only_grastate) {
			v->no_grastate = true;
			v->clean = false;
			s->destroyed++; /* what it holds is not known any more */
			return;
		}
		say(s, "the volume on node %u is lost (line %u:%lld)", v->node + 1, v->line,
		    (long long)v->seqno);
		v->data = v->torn = v->clean = v->stb = v->genesis = false;
		v->epoch = 0;
		v->seqno = -1;
		s->destroyed++;
		return;
	}
}

static void set_replicas(struct sim *s, const char *id, uint32_t n)
{
	if (!s->m.up || !store_service(s->m.store, id))
		return;
	struct tx *tx = tx_new(s->m.store);
	((Gs__Service *)tx_edit(tx, OBJ_SERVICE, id))->spec->replicas = n;
	say(s, "scale %.3s to %u", id, n);
	manager_commit(s, tx);
}

static void operator_forces(struct sim *s)
{
	const Gs__GaleraCluster *c = s->m.up ? store_galera(s->m.store, CLUSTER_ID) : NULL;

	if (!c || c->phase != GP_BLOCKED)
		return;
	struct tx *tx = tx_new(s->m.store);
	((Gs__GaleraCluster *)tx_edit(tx, OBJ_GALERA, CLUSTER_ID))->force_bootstrap = true;
	say(s, "the operator consents");
	s->consent = true;
	manager_commit(s, tx);
}

static void one_fault(struct sim *s)
{
	unsigned k = (unsigned)rnd(s, 100);

	if (k < 22)
		kill_random(s, NULL, 0);
	else if (k < 30)
		kill_all(s);
	else if (k < 40)
		power_loss(s, random_node(s));
	else if (k < 42)
		for (unsigned i = 0; i < NODES; i++)
			power_loss(s, &s->nodes[i]);
	else if (k < 50)
		cut_pair(s, random_node(s)->index, random_node(s)->index, between(s, 500, 20000));
	else if (k < 62)
		partition(s);
	else if (k < 68)
		cut_manager(s, random_node(s), between(s, 500, 20000));
	else if (k < 75)
		pause_proc(s);
	else if (k < 80)
		restart_worker(s, random_node(s));
	else if (k < 86)
		manager_crash(s);
	else if (k < 88)
		lose_volume(s, false);
	else if (k < 90)
		lose_volume(s, true);
	else if (k < 94)
		set_replicas(s, DB_SERVICE, s->replicas = (unsigned)between(s, 1, NODES));
	else if (k < 98)
		set_replicas(s, WEB_SERVICE, s->web = (unsigned)between(s, 0, 12));
	else
		operator_forces(s);
}

static void nemesis(struct sim *s, void *arg, uint64_t tag)
{
	if (!s->faults)
		return;
	one_fault(s);
	at(s, chance(s, 30) ? between(s, 10, 500) : between(s, 500, 12000), nemesis, arg, tag);
}

static bool db_is_formed(const struct sim *s)
{
	const Gs__GaleraCluster *c = s->m.up ? store_galera(s->m.store, CLUSTER_ID) : NULL;

	return c && c->phase == GP_HEALTHY;
}

/* Half of the runs form in peace first. */
static void begin(struct sim *s, void *arg, uint64_t tag)
{
	if (tag && !db_is_formed(s) && now(s) < 60000) {
		at(s, 500, begin, arg, tag);
		return;
	}
	s->faults = true;
	nemesis(s, NULL, 0);
}

void faults_start(struct sim *s)
{
	s->clients = true;
	client(s, NULL, 0);
	at(s, between(s, 0, 5000), begin, NULL, rnd(s, 2));
}

void faults_heal(struct sim *s)
{
	say(s, "peace");
	s->faults = false;
	memset(s->cut, 0, sizeof(s->cut));
	for (unsigned i = 0; i < NODES; i++) {
		s->nodes[i].cut_manager = false;
		node_up(s, &s->nodes[i]);
		worker_back(s, &s->nodes[i], 0);
	}
	for (struct wtask *t = s->tasks; t; t = t->next)
		t->p.stopped = false;
	manager_start(s);
	galera_eval_soon(s, 10, 20);
	set_replicas(s, DB_SERVICE, s->replicas);
	set_replicas(s, WEB_SERVICE, s->web);
}
