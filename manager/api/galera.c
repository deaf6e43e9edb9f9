// SPDX-License-Identifier: Apache-2.0
/* What a Galera service has beside its row, and an operator's consent to recover it.
 *
 * The happy path is: the cluster's own row and four credentials are born in the service's own log entry, so
 * that there is never one without the other. What can fail is: a recovery that the controller would refuse;
 * the consent is only recorded here, the controller decides (manager/galera). */
#include <openssl/crypto.h>
#include <string.h>

#include "base/mem.h"
#include "manager/api/internal.h"

static void add_secret(struct tx *tx, const char *cluster_id, const char *name, const char *value)
{
	char id[ID_LEN + 1];
	Gs__Secret *row;

	id_new(id);
	row = obj_new_row(OBJ_SECRET, id);
	str_replace(&row->name, name);
	str_replace(&row->owner, cluster_id);
	obj_bytes_set(&row->data, value, strlen(value));
	tx_create(tx, row);
}

void galera_create_rows(struct tx *tx, const struct clock *clock, Gs__Service *service,
			const char *root_password)
{
	static const char *const own[] = {"gs_health", "gs_sst", "gs_admin"};
	Gs__GaleraCluster *row;
	char id[ID_LEN + 1], password[ID_LEN + 1];

	bug_if(!service->spec || !service->spec->galera || *service->galera_cluster_id);
	id_new(id);
	row = obj_new_row(OBJ_GALERA, id);
	str_replace(&row->name, *service->spec->galera->cluster_name ? service->spec->galera->cluster_name
								     : service->spec->name);
	row->phase_since_ms = clock_wall_ms(clock);
	obj_add_str(&row->n_service_ids, &row->service_ids, service->meta->id);
	tx_create(tx, row);
	str_replace(&service->galera_cluster_id, id);
	add_secret(tx, id, "root", root_password);
	for (size_t i = 0; i < array_size(own); i++) {
		id_new(password); /* 128 random bits */
		add_secret(tx, id, own[i], password);
	}
	OPENSSL_cleanse(password, sizeof(password));
}

/* "2", "db.2" or a slot's id. */
static const Gs__Slot *find_slot(const struct store *s, const Gs__Service *svc, const char *ref)
{
	const Gs__Slot *const *slots;
	size_t n = store_slots_of_service(s, svc->meta->id, &slots);
	const char *dot = strrchr(ref, '.');
	char *end;
	unsigned long number = strtoul(dot ? dot + 1 : ref, &end, 10);

	for (size_t i = 0; i < n; i++)
		if (strcmp(slots[i]->meta->id, ref) == 0 ||
		    (*end == '\0' && number && slots[i]->number == number))
			return slots[i];
	return NULL;
}

static int check_recover(struct context *ctx, const Gs__Service *svc, const Gs__GaleraRecoverRequest *req,
			 const Gs__Slot **ret_slot, struct err *e)
{
	const Gs__GaleraCluster *c = store_galera(ctx->store, svc->galera_cluster_id);

	if (svc->spec->topology != TOPO_GALERA || !c)
		return err_set(e, E_INVALID, "service %s is no Galera cluster", svc->spec->name);
	if (c->phase == GP_HEALTHY || c->phase == GP_DEGRADED)
		return err_set(e, E_UNSAFE_BOOTSTRAP,
			       "service %s: the cluster has a Primary component; nothing to recover",
			       svc->spec->name);
	if (*req->slot && !(*ret_slot = find_slot(ctx->store, svc, req->slot)))
		return err_set(e, E_NOT_FOUND, "service %s has no slot '%.40s'", svc->spec->name, req->slot);
	if (!req->force && *req->slot)
		return err_set(
			e, E_INVALID,
			"service %s: the managers choose by the data that is there; to choose slot %.40s "
			"whatever that loses: gswarm galera bootstrap %s --slot %.40s --force",
			svc->spec->name, req->slot, svc->spec->name, req->slot);
	if (!req->force) /* the controller looks again at every report: there is nothing to record */
		return 0;
	if (!*req->slot)
		return err_set(e, E_INVALID, "service %s: say with --slot which member's data is to be kept",
			       svc->spec->name);
	return 0;
}

static void on_galera_recover(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__GaleraRecoverRequest *req = (const Gs__GaleraRecoverRequest *)msg;
	const Gs__Service *svc;
	const Gs__Slot *slot = NULL;
	Gs__GaleraCluster *changed;
	Gs__Empty empty = GS__EMPTY__INIT;
	struct err e = {0};
	struct tx *tx;

	if (answer_unless_serving(ctx, call))
		return;
	svc = store_find(ctx->store, OBJ_SERVICE, req->ref, &e);
	if (!svc || check_recover(ctx, svc, req, &slot, &e)) {
		rpc_fail(call, &e);
		return;
	}
	if (!req->force) {
		rpc_reply(call, &empty.base);
		return;
	}
	changed = obj_dup(store_galera(ctx->store, svc->galera_cluster_id));
	changed->force_bootstrap = true;
	str_replace(&changed->refused, "");
	str_replace(&changed->force_slot, slot->meta->id);
	tx = tx_new(ctx->store);
	tx_update(tx, changed);
	audit_add(ctx, tx, call, "audit.galera.recover", svc->meta->id,
		  "recovery of %s from slot %s without the others consented to", svc->spec->name, req->slot);
	answer_commit(ctx, call, tx, NULL, on_galera_recover, arg, msg);
}

void galera_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_GALERA_RECOVER] = on_galera_recover;
}
