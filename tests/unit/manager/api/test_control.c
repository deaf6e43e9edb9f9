// SPDX-License-Identifier: Apache-2.0
/* The cluster verbs and a worker's session, against a real manager. */
#include "tests/unit/manager/session_rig.h"

#include "manager/model/check_task.h"
#include "manager/model/check.h"

/* ---- requests ---- */

static char *create_network(struct rig *r, const char *name, const char *cidr, struct err *e)
{
	Gs__NetworkCreateRequest req = GS__NETWORK_CREATE_REQUEST__INIT;
	Gs__NetworkSpec spec = GS__NETWORK_SPEC__INIT;
	cleanup(obj_free_p) Gs__Addr *subnet = NULL;
	Gs__CreatedResponse *resp;
	char *id = NULL;

	if (cidr)
		assert_int_equal(addr_parse_cidr(cidr, &subnet, e), 0);
	spec.name = (char *)name;
	spec.subnet = subnet;
	req.spec = &spec;
	resp = rig_call(r, CONTROL_CREATE_NETWORK, &req, e);
	if (resp)
		id = xstrdup(resp->id);
	obj_free(resp);
	return id;
}

static Gs__ServiceSpec *galera_spec(const char *name, uint32_t replicas, const char *network)
{
	Gs__ServiceSpec *s = plain_spec(name, replicas);

	s->topology = TOPO_GALERA;
	while (s->task->n_args)
		free(s->task->args[--s->task->n_args]);
	obj_add_str(&s->task->n_env, &s->task->env, "TZ=UTC");
	obj_add_str(&s->task->n_env, &s->task->env, "MYSQL_ROOT_PASSWORD=geheim");
	if (network) {
		Gs__NetworkAttach *a = obj_new(&gs__network_attach__descriptor);

		str_replace(&a->network_id, network);
		obj_add(&s->task->n_networks, &s->task->networks, a);
	}
	return s;
}

static void refused(struct rig *r, Gs__ServiceSpec *take_spec, const char *text)
{
	struct err e = {0};
	uint64_t before;

	rig_wait_reconciled(r); /* or a commit of the reconcilers moves the index meanwhile */
	before = store_index(r->m.ctx.store);
	assert_true(create_service(r, take_spec, &e) < 0);
	if (!strstr(e.msg, text))
		fail_msg("'%s' does not say '%s'", e.msg, text);
	assert_int_equal(store_index(r->m.ctx.store), before);
}

/* ---- tests ---- */

static void test_names_and_images(void **state)
{
	struct err e = {0};

	assert_int_equal(check_name("service", "db-1.a_b", &e), 0);
	assert_int_equal(check_name("service", "", &e), E_INVALID);
	assert_int_equal(check_name("service", "-db", &e), E_INVALID);
	assert_int_equal(check_name("service", "d b", &e), E_INVALID);
	assert_int_equal(check_image("host", &e), 0);
	assert_int_equal(check_image("dir:/srv/root", &e), 0);
	assert_int_equal(check_image("dir:srv", &e), E_INVALID);
	assert_int_equal(check_image("mariadb:11", &e), E_INVALID);
	assert_int_equal(check_constraint("node.labels.rack==a", &e), 0);
	assert_int_equal(check_constraint("node.hostname != b", &e), 0);
	assert_int_equal(check_constraint("node.colour==red", &e), E_INVALID);
	assert_int_equal(check_constraint("rack", &e), E_INVALID);
}

static void test_networks(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct err e = {0};
	cleanup_free char *id = create_network(r, "dbnet", "10.9.0.0/24", &e);

	assert_non_null(id);
	assert_null(create_network(r, "dbnet", NULL, &e));
	assert_int_equal(e.code, E_EXISTS);
	assert_null(create_network(r, "other", "10.9.0.128/25", &e));
	assert_non_null(strstr(e.msg, "overlaps with 10.9.0.0/24 of network dbnet"));
	assert_null(create_network(r, "hosts", "192.168.55.0/24", &e));
	assert_non_null(strstr(e.msg, "of node docker1.local"));
	assert_null(create_network(r, "bad name", NULL, &e));
	ref.ref = "dbnet";
	obj_free(rig_call_ok(r, CONTROL_INSPECT_NETWORK, &ref));
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NETWORK, &ref));
	assert_null(rig_call(r, CONTROL_REMOVE_NETWORK, &ref, &e));
	assert_int_equal(e.code, E_NOT_FOUND);
	rig_free(r);
}

static void test_services_refused(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ServiceSpec *s;
	struct err e = {0};
	free(create_network(r, "dbnet", NULL, &e));

	refused(r, plain_spec("bad name", 1), "service name");
	s = plain_spec("web", 1);
	str_replace(&s->task->image, "nginx");
	refused(r, s, "image 'nginx'");
	s = plain_spec("web", 100000);
	refused(r, s, "the limit is");
	refused(r, galera_spec("db", 1, NULL), "needs a network");
	refused(r, galera_spec("db", 1, "nonet"), "nonet");
	s = galera_spec("db", 1, "dbnet");
	free(s->task->env[--s->task->n_env]);
	refused(r, s, "MYSQL_ROOT_PASSWORD");
	refused(r, galera_spec("db", 3, "dbnet"), "service db: 3 replicas need 3 nodes, 0 are ready");
	rig_free(r);
}

static void mount_on_data(Gs__ServiceSpec *s, Gs__MountType type, bool readonly)
{
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	m->type = type;
	m->readonly = readonly;
	str_replace(&m->target, "/var/lib/mysql/");
	obj_add(&s->task->n_mounts, &s->task->mounts, m);
}

/* U8: each of these was taken, and then dropped, or it stayed "preparing" for ever. */
static void test_galera_that_cannot_be(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ServiceSpec *s;
	struct err e = {0};
	free(create_network(r, "dbnet", NULL, &e));

	s = galera_spec("db", 1, "dbnet");
	obj_add_str(&s->task->n_args, &s->task->args, "mysqld");
	refused(r, s, "leave 'mysqld' and all behind it away");
	s = galera_spec("db", 1, "dbnet");
	s->task->restart = RESTART_NONE;
	refused(r, s, "--restart-condition must be any");
	for (size_t i = 0; i < 3; i++) { /* user review, 9 */
		s = galera_spec("db", 1, "dbnet");
		str_replace(&s->task->user, (const char *[]){"root", "0:mysql", "00"}[i]);
		refused(r, s, "cannot run as root");
	}
	s = galera_spec("db", 1, "dbnet");
	mount_on_data(s, MOUNT_TMPFS, false);
	refused(r, s, "must be type=volume");
	s = galera_spec("db", 1, "dbnet");
	mount_on_data(s, MOUNT_VOLUME, true);
	refused(r, s, "writable");
	rig_free(r);
}

static Gs__ServiceSpec *publish(Gs__ServiceSpec *s, uint32_t published, const char *protocol)
{
	Gs__Port *p = obj_new(&gs__port__descriptor);

	p->published = published;
	p->target = 80;
	str_replace(&p->protocol, protocol);
	str_replace(&p->mode, "ingress");
	obj_add(&s->n_ports, &s->ports, p);
	return s;
}

/* W1, U9, U12, M11: refused at the API, in one line, and nothing has changed. */
static void test_bad_specs_refused(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ServiceSpec *s;
	struct err e = {0};

	s = plain_spec("web", 1);
	str_replace(&s->task->hostname, "\xff");
	refused(r, s, "service web: host name '?'");
	s = plain_spec("web", 1);
	str_replace(&s->task->dir, "/\xff");
	refused(r, s, "service web: working folder '/?'");
	refused(r, plain_spec("a\nb", 1), "service name 'a?b'");
	s = plain_spec("", 1);
	str_replace(&s->task->dir, "rel");
	assert_true(create_service(r, s, &e) < 0);
	assert_int_equal(strncmp(e.msg, "working folder 'rel'", 20), 0); /* no invented name before it */
	refused(r, publish(publish(plain_spec("web", 1), 80, "tcp"), 80, "tcp"), "published twice");
	refused(r, publish(plain_spec("web", 1), 80, "sctp"), "protocol 'sctp'");
	s = plain_spec("web", 1);
	str_replace(&s->endpoint_mode, "round");
	refused(r, s, "endpoint mode 'round'");
	assert_int_equal(create_service(r, publish(publish(plain_spec("", 1), 53, "tcp"), 53, "udp"), &e), 0);
	rig_free(r);
}

/* M11: each part of it is within its own bound, the whole is not. */
static Gs__ServiceSpec *large_spec(void)
{
	Gs__ServiceSpec *s = plain_spec("web", 1);
	cleanup_free char *word = xcalloc(1, 60000);

	memset(word, 'a', 59999);
	word[1] = '=';
	for (int i = 0; i < 2; i++) {
		obj_add_str(&s->task->n_args, &s->task->args, word);
		obj_add_str(&s->task->n_env, &s->task->env, word);
	}
	word[4000] = '\0';
	for (int i = 0; i < 16; i++) {
		Gs__Label *l = obj_new(&gs__label__descriptor);

		str_replace(&l->key, "k");
		str_replace(&l->value, word);
		obj_add(&s->n_labels, &s->labels, l);
	}
	return s;
}

static void test_m11_specs_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ServiceSpec *s = galera_spec("db", 1, "dbnet");
	struct err e = {0};

	free(create_network(r, "dbnet", NULL, &e));
	refused(r, large_spec(), "the limit is 256");
	for (int i = 0; i < 65; i++) {
		cleanup_free char *alias = xasprintf("alias%d", i);

		obj_add_str(&s->task->networks[0]->n_aliases, &s->task->networks[0]->aliases, alias);
	}
	refused(r, s, "more than 64 aliases");
	rig_free(r);
}

static void set_pool(struct rig *r, const char *pool, uint32_t mask)
{
	Gs__Cluster *c = obj_dup(store_cluster(r->m.ctx.store));
	struct tx *tx = tx_new(r->m.ctx.store);

	str_replace(&c->spec->default_addr_pool, pool);
	c->spec->default_addr_pool_mask = mask;
	tx_update(tx, c);
	store_commit(r->m.ctx.store, tx, NULL, NULL);
	while (strcmp(store_cluster(r->m.ctx.store)->spec->default_addr_pool, pool) != 0)
		uv_run(&r->loop, UV_RUN_ONCE);
}

/* O5: the last part of the pool is where hosts look for the tasks' way out: no network is ever in it. */
static void test_O5_hosts_part_of_the_pool(void **state)
{
	struct rig *r = rig_with_cluster();
	struct err e = {0};

	set_pool(r, "10.20.0.0/16", 20);
	assert_null(create_network(r, "asked", "10.20.255.0/24", &e));
	assert_non_null(strstr(e.msg, "the last sixteenth of the address pool 10.20.0.0/16"));
	for (int i = 0; i < 15; i++) {
		cleanup_free char *name = xasprintf("net%d", i), *id = create_network(r, name, NULL, &e);

		assert_non_null(id);
	}
	assert_null(create_network(r, "one-more", NULL, &e));
	assert_int_equal(e.code, E_EXHAUSTED);
	rig_free(r);
}

/* U7: the network was there without a subnet, exit 0. */
static void test_used_up_pool_is_told(void **state)
{
	struct rig *r = rig_with_cluster();
	struct err e = {0};

	set_pool(r, "10.20.0.0/24", 24);
	free(create_network(r, "one", NULL, &e));
	while (!((const Gs__Network *)store_find(r->m.ctx.store, OBJ_NETWORK, "one", NULL))->subnet)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_null(create_network(r, "two", NULL, &e));
	assert_string_equal(
		e.msg, "network two: the address pool 10.20.0.0/24 has no free /24 left: give a --subnet, or "
		       "remove a network");
	free(create_network(r, "three", "10.30.0.0/24", &e));
	rig_free(r);
}

static void wait_ready(struct rig *r)
{
	const Gs__Node *n;

	do {
		uv_run(&r->loop, UV_RUN_ONCE);
		n = store_node(r->m.ctx.store, r->node_id);
	} while (!n->status || n->status->state != NODE_READY);
}

/* ---- FINDINGS M8: what a request has only read must still hold when it is committed ---- */

static void attach(Gs__ServiceSpec *s, const char *network)
{
	Gs__NetworkAttach *a = obj_new(&gs__network_attach__descriptor);

	str_replace(&a->network_id, network);
	obj_add(&s->task->n_networks, &s->task->networks, a);
}

/* Both are checked before either is committed; whichever is first, the network of a service exists. */
static void test_m8_service_meets_network_removal(void **state)
{
	struct rig *r = rig_with_cluster();

	for (int round = 0; round < 4; round++) {
		cleanup_free char *net = xasprintf("net%d", round), *name = xasprintf("svc%d", round);
		Gs__ServiceCreateRequest create = GS__SERVICE_CREATE_REQUEST__INIT;
		Gs__RefRequest ref = GS__REF_REQUEST__INIT;
		bool create_first = round % 2;
		unsigned methods[2] = {CONTROL_REMOVE_NETWORK, CONTROL_REMOVE_NETWORK};
		const void *reqs[2] = {&ref, &ref};
		struct err e[2] = {0};

		free(create_network(r, net, NULL, &e[0]));
		rig_wait_reconciled(r);
		create.spec = plain_spec(name, 1);
		attach(create.spec, net);
		ref.ref = net;
		methods[!create_first] = CONTROL_CREATE_SERVICE;
		reqs[!create_first] = &create;
		rig_call_both(r, methods, reqs, e);
		assert_int_equal(e[0].code, 0);
		assert_int_equal(e[1].code, create_first ? E_IN_USE : E_NOT_FOUND);
		assert_int_equal(!!store_find(r->m.ctx.store, OBJ_NETWORK, net, &e[0]), create_first);
		assert_int_equal(!!store_find(r->m.ctx.store, OBJ_SERVICE, name, &e[0]), create_first);
		obj_free(create.spec);
	}
	rig_free(r);
}

static void test_m8_two_clusters_with_one_name(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	const Gs__GaleraCluster *born;
	Gs__ServiceCreateRequest a = GS__SERVICE_CREATE_REQUEST__INIT, b = a;
	unsigned methods[2] = {CONTROL_CREATE_SERVICE, CONTROL_CREATE_SERVICE};
	const void *reqs[2] = {&a, &b};
	struct err e[2] = {0};

	free(create_network(r, "net", NULL, &e[0]));
	wait_ready(r);
	a.spec = galera_spec("one", 1, "net");
	b.spec = galera_spec("two", 1, "net");
	b.spec->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&b.spec->galera->cluster_name, "one");
	rig_call_both(r, methods, reqs, e);
	assert_int_equal(e[0].code, 0);
	assert_int_equal(e[1].code, E_EXISTS);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_GALERA), 1);
	born = store_at(r->m.ctx.store, OBJ_GALERA, 0);
	assert_true(born->phase_since_ms > 1500000000000); /* U11: it was UNBORN for 56 years */
	obj_free(a.spec);
	obj_free(b.spec);
	worker_free(w);
	rig_free(r);
}

/* Two networks at once, from the pool or with subnets that overlap: never one without a subnet of its own. */
static void test_m8_networks_at_once(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__NetworkCreateRequest a = GS__NETWORK_CREATE_REQUEST__INIT, b = a;
	Gs__NetworkSpec one = GS__NETWORK_SPEC__INIT, two = one;
	cleanup(obj_free_p) Gs__Addr *wide = NULL, *narrow = NULL;
	unsigned methods[2] = {CONTROL_CREATE_NETWORK, CONTROL_CREATE_NETWORK};
	const void *reqs[2] = {&a, &b};
	const Gs__Network *x, *y;
	struct err e[2] = {0};

	one.name = (char *)"one";
	two.name = (char *)"two";
	a.spec = &one;
	b.spec = &two;
	rig_call_both(r, methods, reqs, e);
	assert_int_equal(e[0].code, 0);
	assert_int_equal(e[1].code, 0);
	x = store_find(r->m.ctx.store, OBJ_NETWORK, "one", &e[0]);
	y = store_find(r->m.ctx.store, OBJ_NETWORK, "two", &e[0]);
	assert_false(addr_overlaps(x->subnet, y->subnet));
	assert_int_equal(addr_parse_cidr("10.40.0.0/16", &wide, &e[0]), 0);
	assert_int_equal(addr_parse_cidr("10.40.7.0/24", &narrow, &e[0]), 0);
	one.name = (char *)"three";
	two.name = (char *)"four";
	one.subnet = wide;
	two.subnet = narrow;
	rig_call_both(r, methods, reqs, e);
	assert_int_equal(e[0].code, 0);
	assert_int_equal(e[1].code, E_IN_USE);
	rig_free(r);
}

/* FINDINGS M12: a node that is cut off may still carry a removed network. */
static void test_m12_vni_rests(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	const Gs__Network *net;
	struct err e = {0};
	uint32_t vni;

	free(create_network(r, "one", NULL, &e));
	rig_wait_reconciled(r);
	net = store_find(r->m.ctx.store, OBJ_NETWORK, "one", &e);
	vni = net->vni;
	assert_int_not_equal(vni, 0);
	ref.ref = (char *)"one";
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NETWORK, &ref));
	free(create_network(r, "two", NULL, &e));
	rig_wait_reconciled(r);
	net = store_find(r->m.ctx.store, OBJ_NETWORK, "two", &e);
	assert_int_not_equal(net->vni, 0);
	assert_int_not_equal(net->vni, vni);
	rig_free(r);
}

static const Gs__Event *audit_of(const struct rig *r, const char *kind)
{
	const Gs__Event *ev, *found = NULL;

	for (size_t i = 0; (ev = store_at(r->m.ctx.store, OBJ_EVENT, i)); i++)
		if (strcmp(ev->kind, kind) == 0)
			found = ev;
	return found;
}

static void test_session_streams_assignments(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	Gs__ReportRequest report = GS__REPORT_REQUEST__INIT;
	Gs__HeartbeatRequest beat = GS__HEARTBEAT_REQUEST__INIT;
	Gs__LeaveRequest leave = GS__LEAVE_REQUEST__INIT;
	const Gs__Event *ev;
	Gs__TaskReport tr = GS__TASK_REPORT__INIT, *trs[1] = {&tr};
	Gs__TaskStatus status = GS__TASK_STATUS__INIT;
	Gs__AssignmentItem *item;
	struct err e = {0};
	size_t at;

	worker_wait_complete(w);
	if (w->ended)
		fail_msg("%s", w->end.msg);
	assert_int_equal(w->events[0]->kind, SESSION_OPEN);
	assert_int_equal(w->events[0]->heartbeat_ms, 1000);
	assert_int_equal(w->events[1]->kind, SESSION_BEGIN);
	assert_non_null(worker_item(w, "node/self", 0));
	at = w->n;
	assert_int_equal(create_service(r, plain_spec("web", 2), &e), 0);
	item = worker_wait_item(w, "task/", at);
	assert_non_null(item);
	assert_string_equal(item->task->service_name, "web");
	assert_string_equal(item->task->node_id, r->node_id);
	for (size_t i = 1; i < w->n; i++)
		assert_true(w->events[i]->seq == w->events[i - 1]->seq + 1);

	beat.session_id = report.session_id = w->events[0]->session_id;
	obj_free(rig_call_on(r, w->c, RPC_DISPATCHER, DISPATCHER_HEARTBEAT, &beat, &e));
	assert_int_equal(e.code, 0);
	status.state = TASK_RUNNING;
	status.pid = 77;
	tr.task_id = item->task->meta->id;
	tr.status = &status;
	report.tasks = trs;
	report.n_tasks = 1;
	obj_free(rig_call_on(r, w->c, RPC_DISPATCHER, DISPATCHER_REPORT, &report, &e));
	assert_int_equal(e.code, 0);
	assert_int_equal(store_task(r->m.ctx.store, tr.task_id)->status->state, TASK_RUNNING);
	/* User review, 7: a node that its person takes out is in the events, with what ran there. */
	leave.session_id = beat.session_id;
	for (int i = 0; i < 4; i++)
		obj_free(rig_call_on(r, w->c, RPC_DISPATCHER, DISPATCHER_LEAVE, &leave, &e));
	assert_int_equal(e.code, E_LIMIT); /* an event each: no node can fill the list */
	ev = audit_of(r, "audit.node.leave");
	assert_non_null(ev);
	assert_string_equal(ev->object_id, r->node_id);
	assert_non_null(strstr(ev->text, "node docker1.local left the swarm; it ran web."));
	report.session_id = "wrong";
	assert_null(rig_call_on(r, w->c, RPC_DISPATCHER, DISPATCHER_REPORT, &report, &e));
	assert_int_equal(e.code, E_NOT_FOUND);
	worker_free(w);
	rig_free(r);
}

static void test_second_session_replaces(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *a = worker_new(r), *b;

	worker_wait_complete(a);
	b = worker_new(r);
	worker_wait_complete(b);
	while (!a->ended)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_non_null(strstr(a->end.msg, "newer session"));
	assert_false(b->ended);
	worker_free(a);
	worker_free(b);
	rig_free(r);
}

static void test_galera_create(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	Gs__ScaleRequest scale = GS__SCALE_REQUEST__INIT;
	Gs__GaleraRecoverRequest recover = GS__GALERA_RECOVER_REQUEST__INIT;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	Gs__ListRequest empty = GS__LIST_REQUEST__INIT;
	Gs__ServiceDetail *d;
	Gs__DumpResponse *dump;
	struct err e = {0};
	cleanup_free char *net = create_network(r, "dbnet", NULL, &e);

	wait_ready(r);
	assert_int_equal(create_service(r, galera_spec("db", 1, "dbnet"), &e), 0);
	ref.ref = "db";
	d = rig_call_ok(r, CONTROL_INSPECT_SERVICE, &ref);
	assert_non_null(d->galera);
	assert_string_equal(d->galera->service_ids[0], d->service->meta->id);
	assert_true(d->galera->phase_since_ms > 0); /* U11: it is not UNBORN for 56 years */
	assert_int_equal(d->service->meta->version,
			 d->galera->meta->created_ms ? d->service->meta->version : 0);
	assert_null(
		env_find(d->service->spec->task->env, d->service->spec->task->n_env, "MYSQL_ROOT_PASSWORD"));
	assert_non_null(env_find(d->service->spec->task->env, d->service->spec->task->n_env, "TZ"));
	assert_string_equal(d->service->spec->task->mounts[0]->target, "/var/lib/mysql");
	assert_string_equal(d->service->spec->task->networks[0]->network_id, net);
	assert_int_equal(store_count(r->m.ctx.store, OBJ_SECRET), 4);
	obj_free(d);
	dump = rig_call_ok(r, CONTROL_DUMP, &empty);
	assert_non_null(strstr(dump->text, "name=\"db\""));
	assert_null(strstr(dump->text, "geheim"));
	assert_null(strstr(dump->text, "PRIVATE KEY"));
	obj_free(dump);
	scale.ref = "db";
	scale.replicas = 2;
	assert_null(rig_call(r, CONTROL_SCALE_SERVICE, &scale, &e));
	assert_non_null(strstr(e.msg, "2 replicas need 2 nodes, 1 is ready"));
	/* User review, 3: a slot that is not there was looked for only with --force, and a choice that nobody heeds
	 * was taken. */
	recover.ref = "db";
	recover.slot = "4";
	assert_null(rig_call(r, CONTROL_GALERA_RECOVER, &recover, &e));
	assert_string_equal(e.msg, "service db has no slot '4'");
	recover.slot = "db.1";
	while (store_count(r->m.ctx.store, OBJ_SLOT) == 0)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_null(rig_call(r, CONTROL_GALERA_RECOVER, &recover, &e));
	assert_non_null(strstr(e.msg, "gswarm galera bootstrap db --slot db.1 --force"));
	assert_true(create_service(r, galera_spec("db", 1, "dbnet"), &e) == E_EXISTS);
	ref.ref = "dbnet";
	assert_null(rig_call(r, CONTROL_REMOVE_NETWORK, &ref, &e));
	assert_int_equal(e.code, E_IN_USE);
	worker_free(w);
	rig_free(r);
}

static void on_detail(const ProtobufCMessage *event, void *arg)
{
	*(uint32_t *)arg = ((const Gs__ServiceDetail *)event)->service->spec->replicas;
}

static void on_watch_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
}

static void test_watch_scale_remove(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__WatchServiceRequest watch = GS__WATCH_SERVICE_REQUEST__INIT;
	Gs__ScaleRequest scale = GS__SCALE_REQUEST__INIT;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	uint32_t seen = 0;
	struct rpc_call_spec spec = {.service = RPC_CONTROL,
				     .method = CONTROL_WATCH_SERVICE,
				     .req = &watch.base,
				     .on_event = on_detail,
				     .done = on_watch_done,
				     .arg = &seen};
	struct err e = {0};

	assert_int_equal(create_service(r, plain_spec("web", 1), &e), 0);
	watch.ref = scale.ref = ref.ref = "web";
	rpc_call_start(rig_local(r), &spec);
	while (seen != 1)
		uv_run(&r->loop, UV_RUN_ONCE);
	scale.replicas = 4;
	obj_free(rig_call_ok(r, CONTROL_SCALE_SERVICE, &scale));
	while (seen != 4)
		uv_run(&r->loop, UV_RUN_ONCE);
	obj_free(rig_call_ok(r, CONTROL_REMOVE_SERVICE, &ref));
	while (store_count(r->m.ctx.store, OBJ_SERVICE) > 0)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_null(rig_call(r, CONTROL_INSPECT_SERVICE, &ref, &e));
	rig_free(r);
}

static void test_get_cluster_hides_keys(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__GetClusterRequest req = GS__GET_CLUSTER_REQUEST__INIT;
	Gs__Cluster *c = rig_call_ok(r, CONTROL_GET_CLUSTER, &req);

	assert_int_equal(c->ca_key_pem.len, 0);
	assert_null(c->worker_token);
	assert_int_equal(c->spec->heartbeat_ms, 1000);
	assert_true(store_cluster(r->m.ctx.store)->ca_key_pem.len > 0);
	obj_free(c);
	rig_free(r);
}

static void audited(const struct rig *r, const char *kind, const char *object_id, const char *what)
{
	cleanup_free char *text = xasprintf("%s by uid %u (pid %d)", what, (unsigned)getuid(), (int)getpid());
	const Gs__Event *ev = audit_of(r, kind);

	if (!ev)
		fail_msg("no event %s", kind);
	assert_string_equal(ev->text, text);
	if (object_id)
		assert_string_equal(ev->object_id, object_id);
}

/* FINDINGS I: every change says who made it. */
static void test_I_changes_are_audited(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__ServiceUpdateRequest update = GS__SERVICE_UPDATE_REQUEST__INIT;
	Gs__NodeUpdateRequest node = GS__NODE_UPDATE_REQUEST__INIT;
	Gs__JoinTokensRequest tokens = GS__JOIN_TOKENS_REQUEST__INIT;
	Gs__ScaleRequest scale = GS__SCALE_REQUEST__INIT;
	Gs__NodeSpec spec = GS__NODE_SPEC__INIT;
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	struct err e = {0};
	cleanup_free char *net = create_network(r, "n1", NULL, &e);

	(void)state;
	audited(r, "audit.cluster.init", r->m.ctx.cluster_id, "cluster made");
	audited(r, "audit.network.create", net, "network n1 created");
	assert_int_equal(create_service(r, plain_spec("web", 1), &e), 0);
	audited(r, "audit.service.create", NULL, "service web created");
	scale.ref = update.ref = ref.ref = "web";
	scale.replicas = 0;
	obj_free(rig_call_ok(r, CONTROL_SCALE_SERVICE, &scale));
	audited(r, "audit.service.scale", NULL, "service web scaled from 1 to 0");
	obj_free(rig_call_ok(r, CONTROL_UPDATE_SERVICE, &update));
	audited(r, "audit.service.update", NULL, "service web updated");
	obj_free(rig_call_ok(r, CONTROL_REMOVE_SERVICE, &ref));
	audited(r, "audit.service.remove", NULL, "service web removed");
	ref.ref = "n1";
	obj_free(rig_call_ok(r, CONTROL_REMOVE_NETWORK, &ref));
	audited(r, "audit.network.remove", net, "network n1 removed");
	spec.role = ROLE_MANAGER;
	node.ref = "self";
	node.spec = &spec;
	obj_free(rig_call_ok(r, CONTROL_UPDATE_NODE, &node));
	audited(r, "audit.node.update", r->node_id, "node docker1.local updated");
	obj_free(rig_call_ok(r, CONTROL_JOIN_TOKENS, &tokens));
	assert_null(audit_of(r, "audit.token.rotate")); /* asked for, not changed */
	tokens.rotate_worker = true;
	obj_free(rig_call_ok(r, CONTROL_JOIN_TOKENS, &tokens));
	audited(r, "audit.token.rotate", NULL, "join token for workers rotated");
	ref.ref = "web";
	assert_null(rig_call(r, CONTROL_INSPECT_NETWORK, &ref, &e)); /* a refusal leaves none */
	rig_free(r);
}

/* Safety review (8): a stop in the milliseconds of an init ended in an abort. After each turn of the loop once; who was
 * told that there is a cluster finds it. */
static void test_stop_in_an_init(void **state)
{
	bool answered = false;

	for (unsigned turns = 0; !answered; turns++) {
		struct rig *r = rig_new();
		struct waited w = {0};

		rig_init_start(r, r->addr, &w);
		for (unsigned i = 0; i < turns && !w.done; i++)
			uv_run(&r->loop, UV_RUN_ONCE);
		answered = w.done;
		rig_stop(r);
		assert_true(w.done);
		if (w.resp) {
			rig_start(r);
			rig_wait_serving(r);
			rig_stop(r);
		}
		obj_free(w.resp);
		r->local = NULL;
		assert_int_equal(uv_loop_close(&r->loop), 0);
		fs_remove_all(r->dir, NULL);
		free(r->dir);
		free(r->addr);
		free(r->key_pem);
		free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_images),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_services_refused),
		cmocka_unit_test(test_galera_that_cannot_be),
		cmocka_unit_test(test_bad_specs_refused),
		cmocka_unit_test(test_m11_specs_are_bounded),
		cmocka_unit_test(test_O5_hosts_part_of_the_pool),
		cmocka_unit_test(test_used_up_pool_is_told),
		cmocka_unit_test(test_m8_service_meets_network_removal),
		cmocka_unit_test(test_m8_two_clusters_with_one_name),
		cmocka_unit_test(test_m8_networks_at_once),
		cmocka_unit_test(test_m12_vni_rests),
		cmocka_unit_test(test_I_changes_are_audited),
		cmocka_unit_test(test_session_streams_assignments),
		cmocka_unit_test(test_second_session_replaces),
		cmocka_unit_test(test_galera_create),
		cmocka_unit_test(test_watch_scale_remove),
		cmocka_unit_test(test_get_cluster_hides_keys),
		cmocka_unit_test(test_stop_in_an_init),
	};

	log_init("test", LOG_WARN, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
