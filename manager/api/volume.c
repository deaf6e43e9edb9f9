// SPDX-License-Identifier: Apache-2.0
/* Volumes: the data of slots, and what services that are gone have left on disks.
 *
 * The happy path is: a row for every volume of a slot, and one for every instance that no slot has any more
 * (retired), each with the names that people know. Removal marks a retired one; its node's worker deletes and
 * reports (model/report.c). What can fail is: no such volume, a name that several have (a retired one and the one of
 * a new service of the same name), removal of one that is used or whose node is down. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "manager/api/internal.h"
#include "manager/model/rows.h"

#define IDS_SHOWN 4
#define PREFIX_MIN 4

struct volumes {
	Gs__VolumeDetail **rows; /* owned, with all they have */
	size_t n;
};

static Gs__VolumeDetail *detail_add(struct volumes *v, const Gs__Meta *meta, const char *volume_id)
{
	Gs__VolumeDetail *d = obj_new(&gs__volume_detail__descriptor);

	obj_set(&d->meta, meta);
	str_replace(&d->meta->id, volume_id);
	str_replace(&d->path, NULL);
	d->path = xasprintf("volumes/%s", volume_id);
	obj_add(&v->n, &v->rows, d);
	return d;
}

static void detail_node(struct context *ctx, Gs__VolumeDetail *d, const char *node_id)
{
	const Gs__Node *node = *node_id ? store_node(ctx->store, node_id) : NULL;

	str_replace(&d->node_id, node_id);
	str_replace(&d->node, node ? node_name(node) : node_id);
	d->node_ready = node_is_ready(node);
}

/* The task whose process has the volume, else the one that is to have it. */
static const Gs__Task *user_of(struct context *ctx, const Gs__Slot *slot)
{
	const Gs__Task *const *tasks, *found = NULL;
	size_t n = slot ? store_tasks_of_service(ctx->store, slot->service_id, &tasks) : 0;

	for (size_t i = 0; i < n; i++)
		if (strcmp(tasks[i]->slot_id, slot->meta->id) == 0 && !task_is_final(tasks[i]) &&
		    (!found || *tasks[i]->node_id))
			found = tasks[i];
	return found;
}

static char *key_of(struct context *ctx, const Gs__Slot *slot)
{
	const Gs__Node *node = *slot->node_key ? store_node(ctx->store, slot->node_key) : NULL;

	if (!*slot->node_key)
		return xasprintf("%u", slot->number);
	return xstrdup(node ? node_name(node) : slot->node_key);
}

static void add_used(struct context *ctx, struct volumes *v, const Gs__Volume *vol)
{
	const Gs__Service *svc = store_service(ctx->store, vol->service_id);
	const Gs__Slot *slot = store_get(ctx->store, OBJ_SLOT, vol->slot_id);
	const Gs__Task *task = user_of(ctx, slot);
	Gs__VolumeDetail *d = detail_add(v, vol->meta, vol->meta->id);
	bool is_placed = slot && *slot->preferred_node;

	str_replace(&d->name, vol->name);
	str_replace(&d->service, svc && svc->spec ? svc->spec->name : "");
	str_replace(&d->service_id, vol->service_id);
	if (slot) {
		cleanup_free char *key = key_of(ctx, slot);

		str_replace(&d->slot, key);
	}
	detail_node(ctx, d, is_placed ? slot->preferred_node : "");
	str_replace(&d->state, is_placed ? "in-use" : "unplaced");
	str_replace(&d->task, task ? task->name : "");
}

static void add_left(struct context *ctx, struct volumes *v, const Gs__VolumeInstance *inst)
{
	Gs__VolumeDetail *d = detail_add(v, inst->meta, inst->volume_id);

	/* Those that retired before this was kept have only their id. */
	str_replace(&d->name, *inst->name ? inst->name : inst->volume_id);
	str_replace(&d->service, inst->service_name);
	str_replace(&d->service_id, inst->service_id);
	str_replace(&d->slot, inst->slot_key);
	detail_node(ctx, d, inst->node_id);
	str_replace(&d->state, inst->state == VOL_REMOVING ? "removing" : "retired");
	str_replace(&d->error, inst->error);
}

static void volumes_load(struct context *ctx, struct volumes *v)
{
	const Gs__VolumeInstance *inst;
	const Gs__Volume *vol;

	for (size_t i = 0; (vol = store_at(ctx->store, OBJ_VOLUME, i)); i++)
		add_used(ctx, v, vol);
	for (size_t i = 0; (inst = store_at(ctx->store, OBJ_VOLUME_INSTANCE, i)); i++)
		if (!store_get(ctx->store, OBJ_VOLUME, inst->volume_id))
			add_left(ctx, v, inst);
}

static void volumes_fini(struct volumes *v)
{
	while (v->n)
		obj_free(v->rows[--v->n]);
	free(v->rows);
}

static void on_list_volumes(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	Gs__ListVolumesResponse resp = GS__LIST_VOLUMES_RESPONSE__INIT;
	struct volumes v = {0};

	if (answer_unless_serving(ctx, call))
		return;
	volumes_load(ctx, &v);
	resp.volumes = v.rows;
	resp.n_volumes = v.n;
	page_reply(call, &resp, &resp.next, ((const Gs__ListRequest *)msg)->after);
	volumes_fini(&v);
}

/* ---- from what people type to one of them ---- */

static bool has_id(const Gs__VolumeDetail *d, const char *ref)
{
	return strcmp(d->meta->id, ref) == 0;
}

static bool has_name(const Gs__VolumeDetail *d, const char *ref)
{
	return strcmp(d->name, ref) == 0;
}

static bool has_prefix(const Gs__VolumeDetail *d, const char *ref)
{
	return strlen(ref) >= PREFIX_MIN && strncmp(d->meta->id, ref, strlen(ref)) == 0;
}

static int ambiguous(const struct volumes *v, const char *ref,
		     bool (*hit)(const Gs__VolumeDetail *, const char *), struct err *e)
{
	struct buf ids = {0};
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++)
		if (hit(v->rows[i], ref) && n++ < IDS_SHOWN)
			buf_printf(&ids, "%s%s (%s)", n > 1 ? ", " : "", v->rows[i]->meta->id,
				   v->rows[i]->state);
	err_set(e, E_INVALID, "volume %.64s is ambiguous, use one of the IDs: %s%s", ref, buf_text(&ids),
		n > IDS_SHOWN ? " ..." : "");
	buf_fini(&ids);
	return e->code;
}

/* Borrowed from v. NULL: *e says why. */
static const Gs__VolumeDetail *volume_find(const struct volumes *v, const char *ref, struct err *e)
{
	static bool (*const hits[])(const Gs__VolumeDetail *, const char *) = {has_id, has_name, has_prefix};

	for (size_t h = 0; h < array_size(hits); h++) {
		const Gs__VolumeDetail *found = NULL;
		size_t n = 0;

		for (size_t i = 0; i < v->n; i++)
			if (hits[h](v->rows[i], ref)) {
				found = v->rows[i];
				n++;
			}
		if (n > 1)
			ambiguous(v, ref, hits[h], e);
		if (n)
			return n == 1 ? found : NULL;
	}
	err_set(e, E_NOT_FOUND, "no volume %.64s", ref);
	return NULL;
}

static void on_inspect_volume(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct context *ctx = api_context(arg);
	const Gs__VolumeDetail *found;
	struct volumes v = {0};
	struct err e = {0};

	if (answer_unless_serving(ctx, call))
		return;
	volumes_load(ctx, &v);
	found = volume_find(&v, ((const Gs__RefRequest *)msg)->ref, &e);
	if (found)
		rpc_reply(call, &found->base);
	else
		rpc_fail(call, &e);
	volumes_fini(&v);
}

/* ---- removal ---- */

static int in_use(const Gs__VolumeDetail *d, struct err *e)
{
	if (*d->task && !*d->node)
		return err_set(
			e, E_IN_USE,
			"volume %s is kept for task %s, which has no node yet: remove service %s first, "
			"or scale it down",
			d->name, d->task, d->service);
	if (*d->task)
		return err_set(e, E_IN_USE,
			       "volume %s is used by task %s on node %s: remove service %s first, or scale "
			       "it down",
			       d->name, d->task, d->node, d->service);
	return err_set(e, E_IN_USE, "volume %s belongs to service %s: remove that first", d->name,
		       d->service);
}

/* A slot or a task has it although its row is gone: a commit that was cut in two, and not yet mended. */
static bool is_still_wanted(struct context *ctx, const char *volume_id)
{
	const Gs__Slot *slot;
	const Gs__Task *t;

	for (size_t i = 0; (slot = store_at(ctx->store, OBJ_SLOT, i)); i++)
		for (size_t k = 0; k < slot->n_volumes; k++)
			if (strcmp(slot->volumes[k]->volume_id, volume_id) == 0)
				return true;
	for (size_t i = 0; (t = store_at(ctx->store, OBJ_TASK, i)); i++)
		for (size_t k = 0; k < t->n_volumes && !task_is_final(t); k++)
			if (strcmp(t->volumes[k]->volume_id, volume_id) == 0)
				return true;
	return false;
}

/* Whoever deletes has typed all of it, or what the list shows of its id. */
static int may_remove(const Gs__VolumeDetail *d, const Gs__VolumeRemoveRequest *req, struct err *e)
{
	if (!has_name(d, req->ref) && strlen(req->ref) < ID_SHORT_LEN)
		return err_set(e, E_INVALID, "volume %.64s: to remove it, type its whole name (%s) or id",
			       req->ref, d->name);
	if (strcmp(d->state, "in-use") == 0 || strcmp(d->state, "unplaced") == 0)
		return in_use(d, e);
	if (!req->discard_data)
		return err_set(e, E_INVALID,
			       "volume %s: removing it deletes its data on node %s for good; if that is "
			       "wanted, say --discard-data",
			       d->name, d->node);
	if (!d->node_ready)
		return err_set(e, E_UNAVAILABLE,
			       "volume %s: node %s is down, and its worker is who deletes the data: "
			       "start it first",
			       d->name, d->node);
	return 0;
}

static void remove_it(struct context *ctx, struct rpc_call *call, const Gs__VolumeDetail *d,
		      const ProtobufCMessage *msg, void *arg, rpc_handler again)
{
	cleanup_free char *id = xasprintf("%s.%s", d->meta->id, d->node_id);
	Gs__CreatedResponse *resp = obj_new(&gs__created_response__descriptor);
	struct tx *tx = tx_new(ctx->store);
	Gs__VolumeInstance *edit = tx_edit(tx, OBJ_VOLUME_INSTANCE, id);

	bug_if(!edit);
	str_replace(&resp->id, d->meta->id);
	edit->state = VOL_REMOVING;
	str_replace(&edit->name, d->name);
	str_replace(&edit->error, "");
	audit_add(ctx, tx, call, "audit.volume.remove", d->meta->id,
		  "volume %s of service %s removed from %s", d->name, d->service, d->node);
	answer_commit(ctx, call, tx, resp, again, arg, msg);
}

static void on_remove_volume(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Gs__VolumeRemoveRequest *req = (const Gs__VolumeRemoveRequest *)msg;
	struct context *ctx = api_context(arg);
	const Gs__VolumeDetail *found;
	struct volumes v = {0};
	struct err e = {0};

	if (answer_unless_serving(ctx, call))
		return;
	volumes_load(ctx, &v);
	found = volume_find(&v, req->ref, &e);
	if (found && may_remove(found, req, &e) == 0 && is_still_wanted(ctx, found->meta->id))
		err_set(&e, E_IN_USE, "volume %s: a task of its service is still being taken away: try again",
			found->name);
	if (found && !e.code)
		remove_it(ctx, call, found, msg, arg, on_remove_volume);
	else
		rpc_fail(call, &e);
	volumes_fini(&v);
}

void volume_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_LIST_VOLUMES] = on_list_volumes;
	table[CONTROL_INSPECT_VOLUME] = on_inspect_volume;
	table[CONTROL_REMOVE_VOLUME] = on_remove_volume;
}
