// SPDX-License-Identifier: Apache-2.0
/* What a node may say, and what it may cost: a session client, good and hostile (FINDINGS M3, M7). */
#include "tests/unit/manager/session_rig.h"

#include "manager/session/internal.h"

/* A service of one task on this node; its id. */
static char *one_task(struct rig *r, struct worker *w)
{
	struct err e = {0};

	worker_wait_complete(w);
	assert_int_equal(create_service(r, plain_spec("web", 1), &e), 0);
	return xstrdup(worker_wait_item(w, "task/", 0)->task->meta->id);
}

static Gs__TaskReport *with_view(Gs__TaskReport *tr, size_t members, const char *name)
{
	tr->status->view = obj_new(&gs__galera_view__descriptor);
	for (size_t i = 0; i < members; i++)
		obj_add_str(&tr->status->view->n_members, &tr->status->view->members, name);
	return tr;
}

/* The refused item is named with a reason, the others count. */
static void test_M7_refusals_are_told(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w), *huge = xcalloc(1, 20001);
	Gs__ReportRequest *req = report_new(w);
	Gs__ReportResponse *resp;
	Gs__TaskReport *foreign;
	struct err e = {0};

	(void)state;
	memset(huge, 'x', 20000);
	report_add(req, with_view(task_report_new(id, 0, TASK_RUNNING), 1, huge));
	foreign = task_report_new(id, 0, TASK_HELD);
	foreign->status->evidence = obj_new(&gs__galera_evidence__descriptor);
	str_replace(&foreign->status->evidence->volume_id, "not-its-own");
	report_add(req, foreign);
	report_add(req, task_report_new(id, 0, TASK_PREPARING));
	resp = report_send(w, req, &e);
	if (!resp)
		fail_msg("%s", e.msg);
	assert_int_equal(resp->n_refused, 2);
	assert_int_equal(resp->refused[0]->code, E_LIMIT);
	assert_string_equal(resp->refused[0]->task_id, id);
	assert_non_null(strstr(resp->refused[0]->message, "bytes"));
	assert_int_equal(resp->refused[1]->code, E_FORBIDDEN);
	assert_non_null(strstr(resp->refused[1]->message, "foreign volume"));
	assert_int_equal(store_task(r->m.ctx.store, id)->status->state, TASK_PREPARING);
	obj_free(resp);
	/* and a list of empty names, which is small on the wire only */
	req = report_new(w);
	report_add(req, with_view(task_report_new(id, 0, TASK_RUNNING), 3000, ""));
	resp = report_send(w, req, &e);
	assert_int_equal(resp->n_refused, 1);
	assert_int_equal(resp->refused[0]->code, E_LIMIT);
	obj_free(resp);
	worker_free(w);
	rig_free(r);
}

/* ---- floods ---- */

struct flood {
	unsigned answers, ok, limited, other;
};

static void on_flooded(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct flood *f = arg;

	f->answers++;
	if (resp)
		f->ok++;
	else if (e && e->code == E_LIMIT)
		f->limited++;
	else
		f->other++;
}

static void flood_start(struct worker *w, const Gs__ReportRequest *req, struct flood *f)
{
	struct rpc_call_spec spec = {.service = RPC_DISPATCHER,
				     .method = DISPATCHER_REPORT,
				     .req = &req->base,
				     .deadline_ms = RIG_PATIENCE_MS,
				     .done = on_flooded,
				     .arg = f};

	rpc_call_start(w->c, &spec);
}

static void test_M3c_reports_in_flight_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w);
	cleanup(obj_free_p) Gs__ReportRequest *req = report_new(w);
	struct flood f = {0};

	(void)state;
	report_add(req, task_report_new(id, 0, TASK_PREPARING));
	for (int i = 0; i < 200; i++)
		flood_start(w, req, &f);
	while (f.answers < 200)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_true(f.ok >= 1);
	assert_true(f.limited > 100);
	assert_int_equal(f.other, 0);
	assert_false(w->ended); /* its session stays */
	worker_free(w);
	rig_free(r);
}

/* One at a time but without pause, 1 MiB each: after the burst of 16 MiB one a second, if the clock went on. */
static void test_M3c_report_bytes_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w), *name = xcalloc(1, 8001);
	struct err e = {0};
	int taken = 0;

	(void)state;
	memset(name, 'n', 8000);
	rig_stop_clock(r);
	for (; taken < 60; taken++) {
		Gs__ReportRequest *req = report_new(w);
		Gs__ReportResponse *resp;

		for (int i = 0; i < 130; i++)
			report_add(req, with_view(task_report_new(id, 0, TASK_PREPARING), 1, name));
		resp = report_send(w, req, &e);
		obj_free(resp);
		if (!resp)
			break;
	}
	assert_int_equal(e.code, E_LIMIT);
	assert_in_range(taken, 4, 40);
	assert_false(w->ended);
	worker_free(w);
	rig_free(r);
}

static void test_M3c_sessions_are_bounded(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	int opened = 1;

	(void)state;
	rig_stop_clock(r);
	for (; opened < 100; opened++) {
		worker_wait_complete(w);
		if (w->ended)
			break;
		worker_free(w);
		w = worker_new(r);
	}
	assert_true(w->ended);
	assert_int_equal(w->end.code, E_LIMIT);
	assert_in_range(opened, 10, 60);
	worker_free(w);
	rig_free(r);
}

/* ---- the log ---- */

static size_t lines_with(const char *path, const char *word)
{
	char line[2048];
	size_t n = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, word);
	fclose(f);
	return n;
}

static void test_M3c_refusals_do_not_flood_the_log(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w), *path = xasprintf("%s/log", r->dir);
	Gs__ReportRequest *req = report_new(w);
	Gs__ReportResponse *resp;
	struct err e = {0};
	FILE *log = fopen(path, "w");

	(void)state;
	for (int i = 0; i < 900; i++)
		report_add(req, task_report_new(id, 0, (Gs__TaskState)77));
	log_init("test", LOG_WARN, fileno(log));
	resp = report_send(w, req, &e);
	log_init("test", LOG_WARN, 2);
	assert_int_equal(resp->n_refused, 900);
	assert_in_range(lines_with(path, "refused"), 1, 10);
	obj_free(resp);
	fclose(log);
	worker_free(w);
	rig_free(r);
}

/* ---- what a report costs ---- */

static unsigned marks;
static bool no_marks;

void __real_context_mark_dirty(const struct context *ctx);
void __wrap_context_mark_dirty(const struct context *ctx);
void __wrap_context_mark_dirty(const struct context *ctx)
{
	marks++;
	if (!no_marks)
		__real_context_mark_dirty(ctx);
}

static void on_row_committed(void *arg, const struct err *e)
{
	*(int *)arg = e->code;
}

/* Its task becomes a member of a cluster. */
static void make_galera(struct rig *r, const char *id)
{
	struct tx *tx = tx_new(r->m.ctx.store);
	int code = 1;

	str_replace(&((Gs__Task *)tx_edit(tx, OBJ_TASK, id))->galera_cluster_id, "gal");
	store_commit(r->m.ctx.store, tx, on_row_committed, &code);
	while (code == 1)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(code, 0);
}

/* Cost review (3): every seqno that a member sent had all passes run. */
static void test_seqnos_run_no_pass(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w);
	struct err e = {0};

	(void)state;
	make_galera(r, id);
	marks = 0;
	for (int i = 1; i <= 10; i++) {
		Gs__ReportRequest *req = report_new(w);
		Gs__SeqnoReport *seqno = obj_new(&gs__seqno_report__descriptor);

		str_replace(&seqno->task_id, id);
		seqno->last_committed = i;
		obj_add(&req->n_seqnos, &req->seqnos, seqno);
		obj_free(report_send(w, req, &e));
	}
	assert_int_equal(sessions_seqno(r->m.dispatcher, id), 10);
	assert_int_equal(marks, 0);
	worker_free(w);
	rig_free(r);
}

static void report_one(struct worker *w, Gs__TaskReport *take)
{
	Gs__ReportRequest *req = report_new(w);
	struct err e = {0};

	report_add(req, take);
	obj_free(report_send(w, req, &e));
	assert_int_equal(e.code, 0);
}

static bool is_heard(struct rig *r, const char *id)
{
	int64_t since;

	return r->m.ctx.env.task_heard(r->m.ctx.env.arg, id, &since);
}

/* S12: what a task's worker said in the session before is not known to be so in this one. */
static void test_S12_heard_in_this_session(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w), *name = xstrdup("db.1");
	int64_t first, since;

	(void)state;
	make_galera(r, id);
	assert_false(is_heard(r, id));
	report_one(w, with_view(task_report_new(id, 1, TASK_RUNNING), 1, name));
	assert_true(is_heard(r, id));
	r->m.ctx.env.task_heard(r->m.ctx.env.arg, id, &first);
	worker_free(w);
	assert_true(is_heard(r, id)); /* a connection that broke says nothing about the task */
	w = worker_new(r);
	worker_wait_complete(w);
	assert_false(is_heard(r, id));
	r->m.ctx.env.task_heard(r->m.ctx.env.arg, id, &since);
	assert_true(since >= first);
	report_one(w, task_report_new(id, 0, TASK_RUNNING)); /* refused: an older attempt */
	assert_false(is_heard(r, id));
	report_one(w, task_report_new(id, 1,
				      TASK_RUNNING)); /* found running and not asked yet: the view is old */
	assert_false(is_heard(r, id));
	assert_non_null(store_task(r->m.ctx.store, id)->status->view);
	report_one(w, with_view(task_report_new(id, 1, TASK_RUNNING), 1,
				name)); /* nothing new: it counts all the same */
	assert_true(is_heard(r, id));
	worker_free(w);
	rig_free(r);
}

static void give_bootstrap(struct rig *r, const char *id)
{
	struct tx *tx = tx_new(r->m.ctx.store);
	Gs__Task *t = tx_edit(tx, OBJ_TASK, id);
	int code = 1;

	t->permit = obj_new(&gs__galera_permit__descriptor);
	t->permit->mode = PERMIT_BOOTSTRAP;
	t->permit->epoch = 7;
	store_commit(r->m.ctx.store, tx, on_row_committed, &code);
	while (code == 1)
		uv_run(&r->loop, UV_RUN_ONCE);
	assert_int_equal(code, 0);
}

/* The set of a new session while no pass is run: has it come? */
static bool set_comes_without_pass(struct rig *r, struct worker **w)
{
	uint64_t begun;
	int64_t end;

	worker_free(*w);
	rig_wait_reconciled(r);
	no_marks = true;
	begun = r->m.ctx.pass_begun;
	*w = worker_new(r);
	end = clock_mono_ms(&clock_real) + 300;
	while (!worker_is_complete(*w) && clock_mono_ms(&clock_real) < end)
		uv_run(&r->loop, UV_RUN_NOWAIT);
	no_marks = false;
	return worker_is_complete(*w) && r->m.ctx.pass_done <= begun;
}

/* S3: what a host that was away finds is decided anew first: nobody may look at the token it was given then. */
static void test_S3_set_with_bootstrap_waits_for_pass(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	cleanup_free char *id = one_task(r, w);

	(void)state;
	make_galera(r, id);
	give_bootstrap(r, id);
	assert_false(set_comes_without_pass(r, &w));
	context_mark_dirty(&r->m.ctx);
	worker_wait_complete(w);
	assert_false(w->ended);
	worker_free(w);
	rig_free(r);
}

static bool no_room;
static unsigned kept, looks;

int __real_rpc_event(struct rpc_call *call, const ProtobufCMessage *event);
int __wrap_rpc_event(struct rpc_call *call, const ProtobufCMessage *event);
void *__real_obj_dup(const void *msg);
void *__wrap_obj_dup(const void *msg);

/* A caller that does not read. */
int __wrap_rpc_event(struct rpc_call *call, const ProtobufCMessage *event)
{
	return no_room ? E_LIMIT : __real_rpc_event(call, event);
}

/* Copies of events that wait for room; this test's own list of them is taken by it as well. */
void *__wrap_obj_dup(const void *msg)
{
	kept += msg && ((const ProtobufCMessage *)msg)->descriptor == &gs__session_event__descriptor;
	return __real_obj_dup(msg);
}

/* Cost review (1): the whole difference, unpacked, waited for a worker that does not read. */
static void test_one_event_waits_for_room(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r);
	Gs__ServiceSpec *spec = plain_spec("web", 40);
	cleanup_free char *arg = xcalloc(1, 50001);
	struct err e = {0};

	(void)state;
	memset(arg, 'x', 50000);
	obj_add_str(&spec->task->n_args, &spec->task->args, arg);
	worker_wait_complete(w);
	assert_int_equal(create_service(r, spec, &e), 0);
	assert_non_null(worker_wait_item(w, "task/", 0));
	worker_free(w);
	no_room = true; /* its next session begins with two megabytes */
	kept = 0;
	w = worker_new(r);
	while (!kept)
		uv_run(&r->loop, UV_RUN_ONCE);
	for (int i = 0; i < 100; i++)
		uv_run(&r->loop, UV_RUN_NOWAIT);
	no_room = false;
	assert_int_equal(kept, 1);
	worker_free(w);
	rig_free(r);
}

static uint64_t look_ns, late_ns; /* what a look takes beyond what it really does; of all so far */

uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);

uint64_t __wrap_uv_hrtime(void)
{
	return __real_uv_hrtime() + late_ns;
}

size_t __real_assign_diff(const struct store *s, const char *node_id, struct assign_set *set,
			  size_t max_bytes, Gs__AssignmentItem ***ret, bool *ret_more);
size_t __wrap_assign_diff(const struct store *s, const char *node_id, struct assign_set *set,
			  size_t max_bytes, Gs__AssignmentItem ***ret, bool *ret_more);

size_t __wrap_assign_diff(const struct store *s, const char *node_id, struct assign_set *set,
			  size_t max_bytes, Gs__AssignmentItem ***ret, bool *ret_more)
{
	looks++;
	late_ns += look_ns;
	return __real_assign_diff(s, node_id, set, max_bytes, ret, ret_more);
}

#define MANY 60

/* A node of its own for each, with a connection but without a session. */
static struct worker *worker_joined(struct rig *r, const char *token, unsigned n)
{
	struct worker *w = xcalloc(1, sizeof(*w));
	cleanup_free char *host = xasprintf("host%u.local", n), *request = xasprintf("%025u", n), *key = NULL,
			  *cert, *source = xasprintf("127.0.2.%u", n + 1);
	struct err e = {0};
	Gs__IssueResponse *joined;

	r->source = source; /* as hosts have; one alone may not join so often */
	joined = rig_join(r, token, request, host, &key, &e);
	if (!joined)
		fail_msg("%s", e.msg);
	cert = rig_text(&joined->worker_cert_pem);
	w->r = r;
	assert_int_equal(tls_identity_new(r->ca_pem, cert, key, &w->identity, NULL), 0);
	rig_dial(r, w->identity, &w->c);
	r->source = NULL;
	obj_free(joined);
	return w;
}

static unsigned complete(struct worker *const *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		n += worker_is_complete(w[i]);
	return n;
}

/* The most looks in a turn of the loop, until each of many that came at once knows everything. */
static unsigned looks_in_a_turn(void)
{
	struct rig *r = rig_with_cluster();
	cleanup_free char *token = rig_token(r, false);
	struct worker *w[MANY];
	unsigned most = 0;

	for (unsigned i = 0; i < MANY; i++)
		w[i] = worker_joined(r, token, i);
	for (unsigned i = 0; i < MANY; i++)
		worker_session(w[i]);
	while (complete(w) < MANY) {
		looks = 0;
		uv_run(&r->loop, UV_RUN_NOWAIT);
		most = looks > most ? looks : most;
	}
	for (unsigned i = 0; i < MANY; i++)
		worker_free(w[i]);
	rig_free(r);
	return most;
}

/* Cost review (1): all workers that came at once, as after an election, got their whole sets in one turn of the loop. */
static void test_many_sessions_take_turns(void **state)
{
	(void)state;
	assert_in_range(looks_in_a_turn(), 1, 32);
}

/* Cost review 7: with large sets, as many looks kept everybody else waiting for long. A turn ends after 10 ms. */
static void test_turn_ends_in_time(void **state)
{
	(void)state;
	look_ns = 3000000;
	assert_in_range(looks_in_a_turn(), 1, 4);
	look_ns = 0;
}

/* Fresh review of security, 4: a description that is not taken ended each session, and the node was Down. */
static void test_S4_refused_description_keeps_the_session(void **state)
{
	struct rig *r = rig_with_cluster();
	struct worker *w = worker_new(r), *again;
	const Gs__NodeDescription *d;

	(void)state;
	worker_wait_complete(w);
	worker_free(w);
	again = worker_new_as(r, 700);
	worker_wait_complete(again);
	assert_false(again->ended);
	assert_true(worker_is_complete(again));
	d = store_node(r->m.ctx.store, r->node_id)->description;
	assert_int_equal(d->vtep_mtu, 1500);
	worker_free(again);
	rig_free(r);
}

static void test_state_tables_are_sound(void **state)
{
	(void)state;
	assert_null(sm_kind_fault(&session_kind, 0));
	for (unsigned i = 0; i < manager_life.n; i++)
		assert_int_equal(manager_life.states[i].state,
				 i); /* it has two beginnings: EMPTY and LOADING */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state_tables_are_sound),
		cmocka_unit_test(test_M7_refusals_are_told),
		cmocka_unit_test(test_M3c_reports_in_flight_are_bounded),
		cmocka_unit_test(test_M3c_report_bytes_are_bounded),
		cmocka_unit_test(test_M3c_sessions_are_bounded),
		cmocka_unit_test(test_M3c_refusals_do_not_flood_the_log),
		cmocka_unit_test(test_seqnos_run_no_pass),
		cmocka_unit_test(test_S12_heard_in_this_session),
		cmocka_unit_test(test_S3_set_with_bootstrap_waits_for_pass),
		cmocka_unit_test(test_one_event_waits_for_room),
		cmocka_unit_test(test_many_sessions_take_turns),
		cmocka_unit_test(test_turn_ends_in_time),
		cmocka_unit_test(test_S4_refused_description_keeps_the_session),
	};

	log_init("test", LOG_WARN, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
