// SPDX-License-Identifier: Apache-2.0
/* Services: create, update, scale, remove, list, inspect.
 *
 * The happy path is: a checked spec becomes a Service row (for Galera with its cluster and credentials in the
 * same entry), and the reconcilers do the rest. What can fail is said by manager/model/check.c. A removed service
 * is marked; the reconcilers stop its tasks and take the row away. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "manager/api/internal.h"

#define STOP_GRACE_MS 10000
#define GALERA_STOP_GRACE_MS 600000
#define GALERA_HASTY_MS 30000 /* dirty pages of a buffer pool of some GiB take longer to write */

static const Gs__Service *find_service(struct context *ctx, struct rpc_call *call, const char *ref)
{
	struct err e = {0};
	const Gs__Service *svc = store_find(ctx->store, OBJ_SERVICE, ref, &e);

	if (!svc)
		rpc_fail(call, &e);
	return svc;
}

static int check_new_name(const struct store *s, const char *name, struct err *e)
{
	const Gs__Service *svc;

	for (size_t i = 0; (svc = store_at(s, OBJ_SERVICE, i)); i++)
		if (strcmp(svc->spec->name, name) == 0)
			return err_set(e, E_EXISTS, "service %s %s", name,
				       svc->meta->deleting ? "is still being removed; try again in a moment"
							   : "exists already");
	return 0;
}

static bool has_mount(const Gs__TaskSpec *t, const char *target)
{
	for (size_t i = 0; i < t->n_mounts; i++)
		if (strcmp(t->mounts[i]->target, target) == 0)
			return true;
	return false;
}

static void defaults(Gs__ServiceSpec *spec)
{
	bool is_galera = spec->topology == TOPO_GALERA;
	Gs__TaskSpec *t = spec->task;

	bug_if(!t); /* check_service has seen to it */
	if (t->stop_grace_ms == 0)
		t->stop_grace_ms = is_galera ? GALERA_STOP_GRACE_MS : STOP_GRACE_MS;
	if (!*t->stop_signal)
		str_replace(&t->stop_signal, "SIGTERM");
	if (!*spec->endpoint_mode)
		str_replace(&spec->endpoint_mode, "vip");
	if (!is_galera)
		return;
	if (!spec->galera)
		spec->galera = obj_new(&gs__galera_spec__descriptor);
	spec->max_per_node = 1;
	if (!has_mount(t, "/var/lib/mysql")) {
		Gs__Mount *mount = obj_new(&gs__mount__descriptor);

		mount->type = MOUNT_VOLUME;
		str_replace(&mount->target, "/var/lib/mysql");
		obj_add(&t->n_mounts, &t->mounts, mount);
	}
}

/* Takes NAME=VALUE out of the environment; returns the value, the caller's. */
static char *env_take(Gs__TaskSpec *t, const char *name)
{
	size_t len = strlen(name);
	char *value = NULL;
	size_t out = 0;

	for (size_t i = 0; i < t->n_env; i++) {
		if (strncmp(t->env[i], name, len) != 0 || t->env[i][len] != '=') {
			t->env[out++] = t->env[i];
			continue;
		}
		free(value);
		value = xstrdup(t->env[i] + len + 1);
		free(t->env[i]);
	}
	t->n_env = out;
	return value;
}

static char *root_password(Gs__TaskSpec *t)
{
	char *a = env_take(t, "MYSQL_ROOT_PASSWORD"), *b = env_take(t, "MARIADB_ROOT_PASSWORD");

	if (!a)
		return b;
	free(b);
	return a;
}

static bool galera_name_taken(const struct store *s, const char *name)
{
	const Gs__GaleraCluster *c;

	for (size_t i = 0; *name && (c = store_at(s, OBJ_GALERA, i)); i++)
		if (strcmp(c->name, name) == 0)
			return true;
	return false;
}

static int check_galera_create(struct context *ctx, const Gs__ServiceSpec *spec, const char *password,
			       struct err *e)
{
	uint32_t nodes = spec->mode == MODE_GLOBAL ? 1 : spec->replicas;
	const char *name =
		spec->galera && *spec->galera->cluster_name ? spec->galera->cluster_name : spec->name;

	if (!password || !*password)
		return err_set(e, E_INVALID, "Galera needs a root password: --env MYSQL_ROOT_PASSWORD=...");
	if (strlen(password) > 256 || !text_is_plain(password))
		return err_set(
			e, E_INVALID,
			"MYSQL_ROOT_PASSWORD is too long, has a line break or another control character");
	if (galera_name_taken(ctx->store, name))
		return err_set(
			e, E_EXISTS,
			"cluster %s exists already; several services in one cluster are not possible yet",
			name);
	return check_galera_nodes(ctx->store, "", spec, nodes, clock_wall_ms(ctx->clock), e);
}

/* For a service that was given no name, as Docker does: "calm_heron42". */
static void invent_name(const struct store *s, Gs__ServiceSpec *spec)
{
	static const char *const how[] = {"brave", "calm",  "eager", "gentle",
					  "keen",  "merry", "quiet", "sturdy"};
	static const char *const who[] = {"badger", "falcon", "heron", "lynx",
					  "otter",  "raven",  "seal",  "wren"};

	do {
		cleanup_free char *name = NULL;
		uint16_t dice[3];

		random_bytes(dice, sizeof(dice));
		name = xasprintf("%s_%s%u", how[dice[0] % array_size(how)], who[dice[1] % array_size(who)],
				 dice[2]);
		str_replace(&spec->name, name);
	} while (check_new_name(s, spec->name, NULL));
}

static int check_create(struct context *ctx, Gs__ServiceSpec *spec, char **ret_password, struct err *e)
{
	int rc = check_service(ctx->store, spec, e);

	if (rc == 0)
		rc = check_new_name(ctx->store, spec->name, e);
	if (rc || spec->topology != TOPO_GALERA)
		return rc;
	*ret_password = root_password(spec->task);
	rc = check_galera_create(ctx, spec, *ret_password, e);
	return rc && *spec->name ? err_wrap(e, "service %s", spec->name) : rc;
}

/* Or a removal that saw no user of a network and this service that saw the network could both happen. */
static void use_networks(const struct store *s, struct tx *tx, const Gs__ServiceSpec *spec)
{
	for (size_t i = 0; i < spec->task->n_networks; i++)
		tx_use(tx, store_network(s, spec->task->networks[i]->network_id));
}

static int create(struct context *ctx, Gs__ServiceSpec *spec, struct tx *tx, const char *id, struct err *e)
{
	cleanup_free char *password = NULL;
	Gs__Service *row;

	if (check_create(ctx, spec, &password, e))
		return e->code;
	if (!*spec->name) /* only now: a refusal must not speak of a name that nobody gave */
		invent_name(ctx->store, spec);
	defaults(spec);
	row = obj_new_row(OBJ_SERVICE, id);
	row->spec = obj_dup(spec);
	if (password) {
		galera_create_rows(tx, ctx->clock, row, password);
		/* no other Galera cluster has the name: of two creations at once the second looks again */
		tx_rely(tx, store_cluster(ctx->store));
	}
	use_networks(ctx->store, tx, spec);
	tx_create(tx, row);
	return 0;
}

/* What is done as it was said, but hardly as it was meant. heap */
static char *create_warning(const Gs__ServiceSpec *spec)
{
	bool is_hasty = spec->topology == TOPO_GALERA && spec->task->stop_grace_ms < GALERA_HASTY_MS;
	const char *ports =
		spec->n_ports ? "published ports are reserved only: no node answers on them in this version"
			      : "";

	if (!is_hasty)
		return xstrdup(ports);
	return xasprintf(
		"%s%sa member that has not shut down after %g s gets KILL and must recover at its next "
		"start: --stop-grace-period is 10m by default",
		ports, *ports ? "; " : "", spec->task->stop_grace_ms / 1000.0);
}

static void on_create_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__ServiceCreateRequest *req = (const Gs__ServiceCreateRequest *)msg;
	cleanup(obj_free_p) Gs__ServiceSpec *spec = NULL;
	Gs__CreatedResponse *resp;
	struct err e = {0};
	char id[ID_LEN + 1];
	struct tx *tx;

	if (answer_unless_serving(ctx, call))
		return;
	spec = req->spec ? obj_dup(req->spec) : obj_new(&gs__service_spec__descriptor);
	id_new(id);
	tx = tx_new(ctx->store);
	if (create(ctx, spec, tx, id, &e)) {
		tx_free(tx);
		rpc_fail(call, &e);
		return;
	}
	audit_add(ctx, tx, call, "audit.service.create", id, "service %s created", spec->name);
	resp = obj_new(&gs__created_response__descriptor);
	str_replace(&resp->id, id);
	resp->warning = create_warning(spec);
	answer_commit(ctx, call, tx, resp, on_create_service, arg, msg);
}

/* ---- update, scale, remove ---- */

static int check_update(struct context *ctx, const Gs__Service *svc, Gs__ServiceSpec *spec, struct err *e)
{
	int rc = check_service(ctx->store, spec, e);

	if (rc)
		return rc;
	if (strcmp(spec->name, svc->spec->name) != 0 || spec->mode != svc->spec->mode ||
	    spec->topology != svc->spec->topology)
		return err_set(e, E_INVALID, "service %s: name, mode and topology cannot be changed",
			       svc->spec->name);
	if (spec->topology != TOPO_GALERA)
		return 0;
	if (env_find(spec->task->env, spec->task->n_env, "MYSQL_ROOT_PASSWORD"))
		return err_set(e, E_INVALID, "service %s: the root password is changed with SQL, not here",
			       svc->spec->name);
	if (spec->mode == MODE_GLOBAL || spec->replicas <= svc->spec->replicas)
		return 0;
	return check_galera_nodes(ctx->store, svc->meta->id, spec, spec->replicas, clock_wall_ms(ctx->clock),
				  e)
		       ? err_wrap(e, "service %s", spec->name)
		       : 0;
}

static void on_update_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__ServiceUpdateRequest *req = (const Gs__ServiceUpdateRequest *)msg;
	cleanup(obj_free_p) Gs__ServiceSpec *spec = NULL;
	const Gs__Service *svc;
	Gs__Service *changed;
	struct err e = {0};
	struct tx *tx;

	if (answer_unless_serving(ctx, call) || !(svc = find_service(ctx, call, req->ref)))
		return;
	if (svc->meta->deleting || (req->version && req->version != svc->meta->version)) {
		answer_fail(call, E_STALE_VERSION, "service %s was %s meanwhile", svc->spec->name,
			    svc->meta->deleting ? "removed" : "changed");
		return;
	}
	spec = req->spec ? obj_dup(req->spec) : obj_dup(svc->spec);
	if (check_update(ctx, svc, spec, &e)) {
		rpc_fail(call, &e);
		return;
	}
	defaults(spec);
	changed = obj_dup(svc);
	obj_set(&changed->spec, spec);
	tx = tx_new(ctx->store);
	tx_update_spec(tx, changed);
	use_networks(ctx->store, tx, spec);
	audit_add(ctx, tx, call, "audit.service.update", svc->meta->id, "service %s updated",
		  svc->spec->name);
	answer_commit(ctx, call, tx, NULL, on_update_service, arg, msg);
}

static int check_scale(struct context *ctx, const Gs__Service *svc, uint32_t replicas, struct err *e)
{
	if (svc->meta->deleting)
		return err_set(e, E_NOT_FOUND, "service %s is being removed", svc->spec->name);
	if (svc->spec->mode == MODE_GLOBAL)
		return err_set(e, E_INVALID, "service %s is global: it has one task on every node",
			       svc->spec->name);
	if (replicas > 1000)
		return err_set(e, E_LIMIT, "service %s: %u replicas; the limit is 1000", svc->spec->name,
			       replicas);
	if (svc->spec->topology == TOPO_GALERA && replicas > svc->spec->replicas &&
	    check_galera_nodes(ctx->store, svc->meta->id, svc->spec, replicas, clock_wall_ms(ctx->clock), e))
		return err_wrap(e, "service %s", svc->spec->name);
	return 0;
}

static void on_scale_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__ScaleRequest *req = (const Gs__ScaleRequest *)msg;
	Gs__CreatedResponse *resp;
	const Gs__Service *svc;
	Gs__Service *changed;
	struct err e = {0};
	struct tx *tx;

	if (answer_unless_serving(ctx, call) || !(svc = find_service(ctx, call, req->ref)))
		return;
	if (check_scale(ctx, svc, req->replicas, &e)) {
		rpc_fail(call, &e);
		return;
	}
	changed = obj_dup(svc);
	changed->spec->replicas = req->replicas;
	resp = obj_new(&gs__created_response__descriptor);
	str_replace(&resp->id, svc->meta->id);
	if (svc->spec->topology == TOPO_GALERA && req->replicas && req->replicas % 2 == 0)
		str_replace(&resp->warning,
			    "an even number of members survives no more failures than one less");
	tx = tx_new(ctx->store);
	tx_update(tx, changed); /* not the spec that tasks are made from: no task is replaced */
	audit_add(ctx, tx, call, "audit.service.scale", svc->meta->id, "service %s scaled from %u to %u",
		  svc->spec->name, svc->spec->replicas, req->replicas);
	answer_commit(ctx, call, tx, resp, on_scale_service, arg, msg);
}

static void on_remove_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__Service *svc;
	Gs__Service *changed;
	struct tx *tx;

	if (answer_unless_serving(ctx, call) ||
	    !(svc = find_service(ctx, call, ((const Gs__RefRequest *)msg)->ref)))
		return;
	changed = obj_dup(svc);
	changed->meta->deleting = true;
	changed->at_once = svc->at_once || ((const Gs__RefRequest *)msg)->force;
	tx = tx_new(ctx->store);
	tx_update(tx, changed);
	audit_add(ctx, tx, call, "audit.service.remove", svc->meta->id, "service %s removed",
		  svc->spec->name);
	answer_commit(ctx, call, tx, NULL, on_remove_service, arg, msg);
}

/* ---- read ---- */

static void **all_rows(const struct store *s, enum obj_kind kind, size_t *ret_n)
{
	size_t n = store_count(s, kind);
	void **rows = xcalloc(n + 1, sizeof(*rows));

	for (size_t i = 0; i < n; i++)
		rows[i] = (void *)store_at(s, kind, i);
	*ret_n = n;
	return rows;
}

static void on_list_services(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__ListServicesResponse resp = GS__LIST_SERVICES_RESPONSE__INIT;
	cleanup_free Gs__Service **services = NULL;
	cleanup_free Gs__Task **tasks = NULL;
	cleanup_free void **nodes = NULL;

	if (answer_unless_serving(ctx, call))
		return;
	resp.n_services = store_count(ctx->store, OBJ_SERVICE);
	services = xcalloc(resp.n_services + 1, sizeof(*services));
	for (size_t i = 0; i < resp.n_services; i++)
		services[i] = (Gs__Service *)store_at(ctx->store, OBJ_SERVICE, i);
	resp.services = services;
	resp.n_tasks = store_count(ctx->store, OBJ_TASK);
	tasks = xcalloc(resp.n_tasks + 1, sizeof(*tasks));
	for (size_t i = 0; i < resp.n_tasks; i++)
		tasks[i] = (Gs__Task *)store_at(ctx->store, OBJ_TASK, i);
	resp.tasks = tasks;
	nodes = all_rows(ctx->store, OBJ_NODE, &resp.n_nodes);
	resp.nodes = (Gs__Node **)nodes;
	page_reply(call, &resp, &resp.next, ((const Gs__ListRequest *)msg)->after);
}

void detail_of_service(const struct store *s, const Gs__Service *service, struct detail *ret)
{
	const Gs__Task *const *tasks;
	const Gs__Slot *const *slots;
	Gs__ServiceDetail *d = &ret->msg;

	*ret = (struct detail){0};
	gs__service_detail__init(d);
	d->service = (Gs__Service *)service;
	d->n_tasks = store_tasks_of_service(s, service->meta->id, &tasks);
	d->tasks = (Gs__Task **)tasks;
	d->n_slots = store_slots_of_service(s, service->meta->id, &slots);
	d->slots = (Gs__Slot **)slots;
	if (*service->galera_cluster_id)
		d->galera = (Gs__GaleraCluster *)store_galera(s, service->galera_cluster_id);
	d->nodes = (Gs__Node **)all_rows(s, OBJ_NODE, &d->n_nodes);
	d->networks = (Gs__Network **)all_rows(s, OBJ_NETWORK, &d->n_networks);
}

static bool detail_fits(const struct detail *d)
{
	return protobuf_c_message_get_packed_size(&d->msg.base) <= PAGE_BYTES;
}

static void detail_drop_history(struct detail *d)
{
	Gs__Task **all = d->msg.tasks;
	size_t n = d->msg.n_tasks;

	d->tasks = xcalloc(n + 1, sizeof(*d->tasks));
	d->msg.tasks = d->tasks;
	d->msg.n_tasks = 0;
	for (size_t i = 0; i < n; i++)
		if (all[i]->desired == TASK_RUNNING ||
		    !task_state_is_final(all[i]->status ? all[i]->status->state : 0))
			d->tasks[d->msg.n_tasks++] = all[i];
}

static void detail_drop_specs(struct detail *d)
{
	bug_if(!d->tasks);
	d->slim = xcalloc(d->msg.n_tasks + 1, sizeof(*d->slim));
	for (size_t i = 0; i < d->msg.n_tasks; i++) {
		d->slim[i] = *d->tasks[i];
		d->slim[i].spec = NULL;
		d->tasks[i] = &d->slim[i];
	}
}

int detail_fit(struct detail *d, struct err *e)
{
	bug_if(d->tasks || d->slim); /* once */
	if (detail_fits(d))
		return 0;
	detail_drop_history(d);
	if (detail_fits(d))
		return 0;
	detail_drop_specs(d);
	if (detail_fits(d))
		return 0;
	return err_set(e, E_LIMIT,
		       "service %s has %zu tasks: too many to be watched; 'gswarm service ps' lists them",
		       d->msg.service->spec->name, d->msg.n_tasks);
}

void detail_fini(struct detail *d)
{
	free(d->tasks);
	free(d->slim);
	free(d->msg.nodes);
	free(d->msg.networks);
}

static void reply_detail(struct context *ctx, struct rpc_call *call, const Gs__Service *svc,
			 const char *after)
{
	struct detail d;

	detail_of_service(ctx->store, svc, &d);
	page_reply(call, &d.msg, &d.msg.next, after);
	detail_fini(&d);
}

static void on_inspect_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__Service *svc;

	if (answer_unless_serving(ctx, call) ||
	    !(svc = find_service(ctx, call, ((const Gs__RefRequest *)msg)->ref)))
		return;
	reply_detail(ctx, call, svc, ((const Gs__RefRequest *)msg)->after);
}

static void on_galera_status(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__Service *svc;

	if (answer_unless_serving(ctx, call) ||
	    !(svc = find_service(ctx, call, ((const Gs__GaleraStatusRequest *)msg)->ref)))
		return;
	if (svc->spec->topology != TOPO_GALERA)
		answer_fail(call, E_INVALID, "service %s is no Galera cluster", svc->spec->name);
	else
		reply_detail(ctx, call, svc, ((const Gs__GaleraStatusRequest *)msg)->after);
}

static bool task_fits(const Gs__Task *t, const Gs__Service *svc, const Gs__Node *node)
{
	return (!svc || strcmp(t->service_id, svc->meta->id) == 0) &&
	       (!node || strcmp(t->node_id, node->meta->id) == 0);
}

static void on_list_tasks(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__ListTasksRequest *req = (const Gs__ListTasksRequest *)msg;
	Gs__ServiceDetail resp = GS__SERVICE_DETAIL__INIT;
	cleanup_free Gs__Task **tasks = NULL;
	cleanup_free void **nodes = NULL;
	const Gs__Service *svc = NULL;
	const Gs__Node *node = NULL;
	const char *node_ref = strcmp(req->node_ref, "self") == 0 ? ctx->node_id : req->node_ref;
	const Gs__Task *t;
	struct err e = {0};

	if (answer_unless_serving(ctx, call))
		return;
	if ((*req->service_ref && !(svc = store_find(ctx->store, OBJ_SERVICE, req->service_ref, &e))) ||
	    (*node_ref && !(node = store_find(ctx->store, OBJ_NODE, node_ref, &e)))) {
		rpc_fail(call, &e);
		return;
	}
	tasks = xcalloc(store_count(ctx->store, OBJ_TASK) + 1, sizeof(*tasks));
	for (size_t i = 0; (t = store_at(ctx->store, OBJ_TASK, i)); i++)
		if (task_fits(t, svc, node))
			tasks[resp.n_tasks++] = (Gs__Task *)t;
	nodes = all_rows(ctx->store, OBJ_NODE, &resp.n_nodes);
	resp.tasks = tasks;
	resp.nodes = (Gs__Node **)nodes;
	resp.service = (Gs__Service *)svc;
	page_reply(call, &resp, &resp.next, req->after);
}

void service_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_CREATE_SERVICE] = on_create_service;
	table[CONTROL_UPDATE_SERVICE] = on_update_service;
	table[CONTROL_SCALE_SERVICE] = on_scale_service;
	table[CONTROL_REMOVE_SERVICE] = on_remove_service;
	table[CONTROL_LIST_SERVICES] = on_list_services;
	table[CONTROL_INSPECT_SERVICE] = on_inspect_service;
	table[CONTROL_LIST_TASKS] = on_list_tasks;
	table[CONTROL_GALERA_STATUS] = on_galera_status;
}
