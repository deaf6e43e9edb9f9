// SPDX-License-Identifier: Apache-2.0
/* Lists of any length: the manager gives them out in pages, the CLI's code puts them together (FINDINGS M5). */
#include "tests/unit/manager/session_rig.h"

#define MANY 3000

static void add_task(struct tx *tx, const char *service_id, unsigned i, Gs__TaskState desired, size_t text)
{
	cleanup_free char *name = xasprintf("web.%u", i), *words = xasprintf("%0*d", (int)text, 0);
	char id[ID_LEN + 1];
	Gs__Task *t;

	id_new(id);
	t = obj_new_row(OBJ_TASK, id);
	str_replace(&t->name, name);
	str_replace(&t->service_id, service_id);
	t->desired = desired;
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->state = desired == TASK_RUNNING ? TASK_RUNNING : TASK_SHUTDOWN;
	str_replace(&t->status->message, words);
	t->spec = obj_new(&gs__task_spec__descriptor);
	obj_add_str(&t->spec->n_args, &t->spec->args, "sleep");
	for (int k = 0; k < 40; k++)
		obj_add_str(&t->spec->n_args, &t->spec->args,
			    "SOME_VARIABLE=with a value as people have them in their files");
	tx_create(tx, t);
}

static void done(void *arg, const struct err *e)
{
	*(int *)arg = e->code;
}

/* A service with more task rows than fit into one message, put there past the orchestrator. */
static char *big_service(struct rig *r, size_t running, size_t ended, size_t text)
{
	Gs__Service *svc;
	struct tx *tx = tx_new(r->m.ctx.store);
	char id[ID_LEN + 1];
	int code = 1;

	id_new(id);
	svc = obj_new_row(OBJ_SERVICE, id);
	svc->spec = plain_spec("web", 0);
	tx_create(tx, svc);
	for (size_t i = 0; i < running + ended; i++)
		add_task(tx, id, (unsigned)i, i < running ? TASK_RUNNING : TASK_SHUTDOWN, text);
	tx_allow_split(tx);
	r->m.committing = true; /* keeps the reconcilers from tidying up */
	store_commit(r->m.ctx.store, tx, done, &code);
	while (code == 1)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(code, 0);
	return xstrdup(id);
}

/* All pages of a list; the ids of its tasks, each once. */
static size_t count_tasks(struct rig *r, unsigned method, const char *ref, unsigned *ret_pages)
{
	Gs__ListTasksRequest req = GS__LIST_TASKS_REQUEST__INIT;
	cleanup_free char *after = xstrdup("");
	char last[ID_LEN + 1] = "";
	size_t n = 0;

	req.service_ref = (char *)(uintptr_t)ref;
	for (*ret_pages = 0; !*ret_pages || *after; (*ret_pages)++) {
		Gs__ServiceDetail *d;

		req.after = after;
		d = rig_call_ok(r, method, &req);
		assert_true(protobuf_c_message_get_packed_size(&d->base) < 4u << 20);
		for (size_t i = 0; i < d->n_tasks; i++) {
			assert_true(strcmp(last, d->tasks[i]->meta->id) < 0);
			snprintf(last, sizeof(last), "%s", d->tasks[i]->meta->id);
		}
		n += d->n_tasks;
		str_replace(&after, d->next);
		obj_free(d);
	}
	return n;
}

static void test_M5_every_task_is_listed_once(void **state)
{
	struct rig *r = rig_with_cluster();
	free(big_service(r, MANY, 0, 0));
	unsigned pages;

	(void)state;
	assert_int_equal(count_tasks(r, CONTROL_LIST_TASKS, "web", &pages), MANY);
	assert_in_range(pages, 3, 10);
	rig_free(r);
}

static void test_M5_services_and_dump(void **state)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *after = xstrdup("");
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	size_t services = 0, tasks = 0, bytes = 0, pages = 0;
	bool events = false;

	(void)state;
	free(big_service(r, MANY, 0, 0));
	do {
		Gs__ListServicesResponse *resp;

		req.after = after;
		resp = rig_call_ok(r, CONTROL_LIST_SERVICES, &req);
		services += resp->n_services;
		tasks += resp->n_tasks;
		str_replace(&after, resp->next);
		obj_free(resp);
	} while (*after);
	assert_int_equal(services, 1);
	assert_int_equal(tasks, MANY);
	do {
		Gs__DumpResponse *resp;

		req.after = after;
		resp = rig_call_ok(r, CONTROL_DUMP, &req);
		bytes += strlen(resp->text);
		pages++;
		events = events || strstr(resp->text, "\n[event]");
		str_replace(&after, resp->next);
		obj_free(resp);
	} while (*after);
	assert_true(pages > 2);
	assert_true(bytes > 4u << 20);
	assert_true(events); /* the last table */
	rig_free(r);
}

static void test_M5_a_place_that_makes_no_sense(void **state)
{
	struct rig *r = rig_with_cluster();
	static const char *const places[] = {"x", "/", "99999999999/z", "2", "2/", "-1/abc", "1/~~~"};
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;

	(void)state;
	for (size_t i = 0; i < array_size(places); i++) {
		Gs__ListNodesResponse *resp;
		Gs__DumpResponse *dump;

		req.after = (char *)(uintptr_t)places[i];
		resp = rig_call_ok(r, CONTROL_LIST_NODES, &req);
		assert_string_equal(resp->next, "");
		obj_free(resp);
		dump = rig_call_ok(r, CONTROL_DUMP, &req);
		obj_free(dump);
	}
	rig_free(r);
}

/* ---- watching ---- */

struct watched {
	Gs__ServiceDetail *detail;
	bool ended;
	struct err end;
};

static void on_detail(const ProtobufCMessage *event, void *arg)
{
	struct watched *w = arg;

	obj_free(w->detail);
	w->detail = obj_dup(event);
}

static void on_watch_end(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct watched *w = arg;

	w->ended = true;
	if (e)
		w->end = *e;
}

static void watch(struct rig *r, struct watched *w)
{
	Gs__WatchServiceRequest req = GS__WATCH_SERVICE_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_CONTROL,
				     .method = CONTROL_WATCH_SERVICE,
				     .req = &req.base,
				     .on_event = on_detail,
				     .done = on_watch_end,
				     .arg = w};

	req.ref = (char *)(uintptr_t) "web";
	rpc_call_start(rig_local(r), &spec);
	while (!w->detail && !w->ended)
		uv_run(&r->loop, UV_RUN_ONCE);
}

static void watch_end(struct rig *r, struct watched *w)
{
	rpc_client_close(r->local);
	while (!w->ended)
		uv_run(&r->loop, UV_RUN_ONCE);
	obj_free(w->detail);
}

static void test_M5_a_large_service_can_be_watched(void **state)
{
	struct rig *r = rig_with_cluster();
	free(big_service(r, 700, 2300, 0));
	struct watched w = {0};

	(void)state;
	watch(r, &w);
	assert_false(w.ended);
	assert_int_equal(w.detail->n_tasks, 700); /* without what has ended */
	assert_non_null(w.detail->tasks[0]->spec);
	watch_end(r, &w);
	rig_free(r);
}

static void test_M5_a_larger_one_without_specs(void **state)
{
	struct rig *r = rig_with_cluster();
	free(big_service(r, MANY, 0, 0));
	struct watched w = {0};

	(void)state;
	watch(r, &w);
	assert_false(w.ended);
	assert_int_equal(w.detail->n_tasks, MANY);
	assert_null(w.detail->tasks[0]->spec);
	watch_end(r, &w);
	rig_free(r);
}

static void test_M5_too_large_to_be_watched_is_told(void **state)
{
	struct rig *r = rig_with_cluster();
	free(big_service(r, MANY, 0, 1500));
	struct watched w = {0};

	(void)state;
	watch(r, &w);
	assert_true(w.ended);
	assert_int_equal(w.end.code, E_LIMIT);
	assert_non_null(strstr(w.end.msg, "service ps"));
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_M5_every_task_is_listed_once),
		cmocka_unit_test(test_M5_services_and_dump),
		cmocka_unit_test(test_M5_a_place_that_makes_no_sense),
		cmocka_unit_test(test_M5_a_large_service_can_be_watched),
		cmocka_unit_test(test_M5_a_larger_one_without_specs),
		cmocka_unit_test(test_M5_too_large_to_be_watched_is_told),
	};

	log_init("test", LOG_ERROR, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
