// SPDX-License-Identifier: Apache-2.0
/* Volumes as people see them, with a real manager and a worker's session (issue 6, point 3). */
#include "tests/unit/manager/session_rig.h"

static Gs__ServiceSpec *keeper(const char *name, uint32_t replicas)
{
	Gs__ServiceSpec *s = plain_spec(name, replicas);
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	m->type = MOUNT_VOLUME;
	str_replace(&m->target, "/data");
	obj_add(&s->task->n_mounts, &s->task->mounts, m);
	return s;
}

static Gs__VolumeDetail *inspect(struct rig *r, const char *ref, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)ref;
	return rig_call(r, CONTROL_INSPECT_VOLUME, &req, e);
}

static size_t count(struct rig *r)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	Gs__ListVolumesResponse *resp = rig_call_ok(r, CONTROL_LIST_VOLUMES, &req);
	size_t n = resp->n_volumes;

	obj_free(resp);
	return n;
}

static void wait_state(struct rig *r, const char *ref, const char *state)
{
	Gs__VolumeDetail *d = NULL;
	struct err e = {0};

	for (int i = 0; i < 2000; i++) {
		obj_free(d);
		err_clear(&e);
		d = inspect(r, ref, &e);
		if (d && strcmp(d->state, state) == 0)
			break;
	}
	if (!d || strcmp(d->state, state) != 0)
		fail_msg("volume %s is %s, not %s", ref, d ? d->state : e.msg, state);
	obj_free(d);
}

/* The next task that comes; of one before it the worker may be told now that it is gone. */
static const Gs__Task *next_task(struct worker *w, size_t from)
{
	const Gs__AssignmentItem *item;

	for (;; from++) {
		item = worker_wait_item(w, "task/", from);
		assert_non_null(item);
		for (size_t k = 0; from < w->n && k < w->events[from]->n_items; k++)
			if (w->events[from]->items[k]->item_case == ITEM_TASK &&
			    w->events[from]->items[k]->task->desired == TASK_RUNNING)
				return w->events[from]->items[k]->task;
	}
}

/* A service with one task on the worker's node, which runs; the task's id. */
static char *keeper_runs(struct rig *r, struct worker *w, const char *name)
{
	size_t from = w->n;
	Gs__ReportRequest *req;
	struct err e = {0};
	char *id;

	assert_int_equal(create_service(r, keeper(name, 1), &e), 0);
	id = xstrdup(next_task(w, from)->meta->id);
	req = report_new(w);
	report_add(req, task_report_new(id, 1, TASK_RUNNING));
	obj_free(report_send(w, req, &e));
	return id;
}

static void remove_service(struct rig *r, struct worker *w, const char *name, const char *task_id)
{
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	Gs__ReportRequest *req;
	struct err e = {0};

	ref.ref = (char *)name;
	obj_free(rig_call_ok(r, CONTROL_REMOVE_SERVICE, &ref));
	req = report_new(w);
	report_add(req, task_report_new(task_id, 1, TASK_SHUTDOWN));
	obj_free(report_send(w, req, &e));
	rig_wait_reconciled(r);
}

/* A database that was removed could not be found any more. */
static void test_what_a_removed_service_left_is_listed(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *task = NULL, *again = NULL;
	Gs__VolumeDetail *d;
	struct err e = {0};

	(void)state;
	worker_wait_complete(w);
	task = keeper_runs(r, w, "db");
	d = inspect(r, "db-1", &e);
	assert_non_null(d);
	assert_string_equal(d->state, "in-use");
	assert_string_equal(d->task, "db.1");
	assert_string_equal(d->node, "docker1.local");
	assert_true(d->node_ready);
	obj_free(d);
	remove_service(r, w, "db", task);
	wait_state(r, "db-1", "retired");
	d = inspect(r, "db-1", &e);
	assert_string_equal(d->service, "db");
	assert_string_equal(d->slot, "1");
	assert_string_equal(d->task, "");
	obj_free(d);
	assert_int_equal(count(r), 1);
	/* a new service of that name has data of its own, and each is found by its id only */
	again = keeper_runs(r, w, "db");
	assert_int_equal(count(r), 2);
	assert_null(inspect(r, "db-1", &e));
	assert_non_null(strstr(e.msg, "(retired)"));
	assert_non_null(strstr(e.msg, "(in-use)"));
	assert_null(inspect(r, "nothing", &e));
	assert_int_equal(e.code, E_NOT_FOUND);
	worker_free(w);
	rig_free(r);
}

static char *discard(struct rig *r, const char *ref, bool yes, struct err *e)
{
	Gs__VolumeRemoveRequest req = GS__VOLUME_REMOVE_REQUEST__INIT;
	Gs__CreatedResponse *resp;
	char *id;

	err_clear(e);
	req.ref = (char *)ref;
	req.discard_data = yes;
	resp = rig_call(r, CONTROL_REMOVE_VOLUME, &req, e);
	id = resp ? xstrdup(resp->id) : NULL;
	obj_free(resp);
	return id;
}

static void told(struct rig *r, const char *ref, bool yes, const char *text)
{
	struct err e = {0};

	assert_null(discard(r, ref, yes, &e));
	if (!strstr(e.msg, text))
		fail_msg("'%s' does not say '%s'", e.msg, text);
}

static void test_a_volume_that_has_no_place_yet(void **state)
{
	struct rig *r = rig_with_cluster();
	Gs__VolumeDetail *d;
	struct err e = {0};

	(void)state;
	assert_int_equal(create_service(r, keeper("db", 1), &e), 0);
	rig_wait_reconciled(r);
	d = inspect(r, "db-1", &e);
	assert_non_null(d);
	assert_string_equal(d->state, "unplaced");
	assert_string_equal(d->node, "");
	obj_free(d);
	/* review of volumes, 6: "on node :" */
	told(r, "db-1", true, "is kept for task db.1, which has no node yet");
	rig_free(r);
}

static void report_removal(struct worker *w, const char *id, int code, const char *message)
{
	Gs__ReportRequest *req = report_new(w);
	Gs__VolumeReport *v = obj_new(&gs__volume_report__descriptor);
	struct err e = {0};

	str_replace(&v->volume_id, id);
	str_replace(&v->message, message);
	v->code = code;
	v->found = true;
	obj_add(&req->n_volumes, &req->volumes, v);
	obj_free(report_send(w, req, &e));
	assert_int_equal(e.code, 0);
	rig_wait_reconciled(w->r);
}

/* As a commit that was cut in two leaves it: the volume's row is gone, its slot is not. */
static void named_by_a_slot(struct rig *r, const char *name, bool is_so)
{
	static const char slot_id[] = "sssssssssssssssssssssssss";
	struct tx *tx = tx_new(r->m.ctx.store);
	struct err e = {0};
	Gs__VolumeDetail *d = inspect(r, name, &e);

	if (is_so) {
		Gs__Slot *slot = obj_new_row(OBJ_SLOT, slot_id);
		Gs__SlotVolume *v = obj_new(&gs__slot_volume__descriptor);

		str_replace(&v->volume_id, d->meta->id);
		obj_add(&slot->n_volumes, &slot->volumes, v);
		tx_create(tx, slot);
	} else {
		tx_remove(tx, store_get(r->m.ctx.store, OBJ_SLOT, slot_id));
	}
	obj_free(d);
	rig_commit(r, tx);
}

static void test_removal_is_said_and_done_by_the_worker(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *task = NULL, *id = NULL, *again = NULL;
	Gs__VolumeDetail *d;
	struct err e = {0};
	size_t from;

	(void)state;
	worker_wait_complete(w);
	task = keeper_runs(r, w, "db");
	told(r, "db-1", true, "used by task db.1 on node docker1.local");
	d = inspect(r, "db-1", &e);
	report_removal(w, d->meta->id, 0, ""); /* that was never asked for */
	obj_free(d);
	assert_int_equal(count(r), 1);
	remove_service(r, w, "db", task);
	wait_state(r, "db-1", "retired");
	told(r, "db-1", false, "--discard-data");
	told(r, "nothing", true, "no volume nothing");
	named_by_a_slot(r, "db-1", true);
	assert_null(discard(r, "db-1", true, &e));
	assert_int_equal(e.code, E_IN_USE);
	err_clear(&e);
	named_by_a_slot(r, "db-1", false);
	from = w->n;
	id = discard(r, "db-1", true, &e);
	assert_non_null(id);
	told(r, (char[]){id[0], id[1], id[2], id[3], 0}, true, "type its whole name (db-1)");
	assert_string_equal(worker_wait_item(w, "volume/", from)->volume->volume_id, id);
	wait_state(r, "db-1", "removing");
	report_removal(w, id, E_IN_USE, "it is\ra mount"); /* review of volumes, 5: nothing for a terminal */
	d = inspect(r, "db-1", &e);
	assert_string_equal(d->state, "retired");
	assert_string_equal(d->error, "it is?a mount");
	obj_free(d);
	again = discard(r, id, true, &e);
	assert_string_equal(again, id);
	report_removal(w, id, 0, "");
	assert_int_equal(count(r), 0);
	worker_free(w);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_removed_service_left_is_listed),
		cmocka_unit_test(test_a_volume_that_has_no_place_yet),
		cmocka_unit_test(test_removal_is_said_and_done_by_the_worker),
	};

	log_init("test", LOG_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
