// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/manager/cluster.h"

#define S(x) TASK_##x

static struct cluster *one_task(char id[64])
{
	struct cluster *c = c_new(2);
	Gs__Service *svc = c_service("db", 1, NULL);

	c_mount(svc, "/data");
	c_put(c, svc);
	c_settle(c);
	snprintf(id, 64, "%s", c_task(c, "db", 1)->meta->id);
	assert_string_equal(c_task(c, "db", 1)->node_id, "node01");
	return c;
}

static void test_forward_only(void **state)
{
	char id[64];
	struct cluster *c = one_task(id);

	(void)state;
	assert_int_equal(c_report(c, "node01", id, 1, S(PREPARING)), 0);
	assert_int_equal(c_report(c, "node01", id, 1, S(ACCEPTED)), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 1, S(RUNNING)), 0);
	assert_int_equal(c_report(c, "node01", id, 1, S(STARTING)), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 2, S(ACCEPTED)), 0);
	assert_int_equal(store_task(c->s, id)->status->attempt, 2);
	assert_int_equal(store_task(c->s, id)->status->state, S(ACCEPTED));
	assert_int_equal(c_report(c, "node01", id, 1, S(FAILED)), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 2, S(FAILED)), 0);
	assert_int_equal(c_report(c, "node01", id, 2, S(COMPLETE)), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 3, S(RUNNING)), E_STALE_VERSION);
	c_free(c);
}

static void test_foreign_and_impossible(void **state)
{
	char id[64];
	struct cluster *c = one_task(id);

	(void)state;
	assert_int_equal(c_report(c, "node02", id, 1, S(RUNNING)), E_FORBIDDEN);
	assert_int_equal(c_report(c, "node01", "nosuchtask", 1, S(RUNNING)), E_STALE_VERSION);
	assert_int_equal(c_report(c, "node01", id, 1, S(NEW)), E_INVALID);
	assert_int_equal(c_report(c, "node01", id, 1, S(ASSIGNED)), E_INVALID);
	assert_int_equal(c_report(c, "node01", id, 1, S(REMOVE)), E_INVALID);
	assert_int_equal(c_report(c, "node01", id, 1, S(ORPHANED)), E_INVALID);
	assert_int_equal(c_report(c, "node01", id, 1, (Gs__TaskState)77), E_INVALID);
	/* Safety review (7): the attempt after it is 0, and every worker that was told so ended. */
	assert_int_equal(c_report(c, "node01", id, UINT32_MAX, S(RUNNING)), E_INVALID);
	assert_int_equal(c_report(c, "node01", id, INT32_MAX, S(RUNNING)), E_INVALID);
	assert_int_equal(store_task(c->s, id)->status->state, S(ASSIGNED));
	c_free(c);
}

static int report_evidence(struct cluster *c, const char *id, uint32_t attempt, Gs__TaskState s,
			   const char *volume, bool view)
{
	Gs__TaskReport *r = obj_new(&gs__task_report__descriptor);
	struct tx *tx = tx_new(c->s);
	struct err e = {0};
	int rc;

	str_replace(&r->task_id, id);
	r->status = obj_new(&gs__task_status__descriptor);
	r->status->attempt = attempt;
	r->status->state = s;
	if (volume) {
		r->status->evidence = obj_new(&gs__galera_evidence__descriptor);
		str_replace(&r->status->evidence->volume_id, volume);
		r->status->evidence->attempt = attempt;
	}
	if (view) {
		r->status->view = obj_new(&gs__galera_view__descriptor);
		str_replace(&r->status->view->status, "Primary");
	}
	rc = report_apply(c->s, tx, "node01", r, &c->env, &e);
	obj_free(r);
	if (rc == 0)
		return c_commit(c, tx);
	tx_free(tx);
	return rc;
}

static void test_facts(void **state)
{
	char id[64], volume[64];
	struct cluster *c = one_task(id);
	uint64_t version;

	(void)state;
	snprintf(volume, sizeof(volume), "%s", c_slot(c, "db", 1)->volumes[0]->volume_id);
	assert_int_equal(report_evidence(c, id, 1, S(HELD), "othervolume", false), E_FORBIDDEN);
	assert_int_equal(report_evidence(c, id, 1, S(HELD), volume, false), 0);
	assert_non_null(store_task(c->s, id)->status->evidence);
	assert_int_equal(report_evidence(c, id, 1, S(RUNNING), NULL, true), 0);
	assert_non_null(store_task(c->s, id)->status->evidence); /* not taken back */
	assert_string_equal(store_task(c->s, id)->status->view->status, "Primary");
	/* the same again writes nothing */
	version = store_task(c->s, id)->meta->version;
	clock_virtual_advance(&c->v, 100);
	assert_int_equal(report_evidence(c, id, 1, S(RUNNING), NULL, true), 0);
	assert_int_equal(store_task(c->s, id)->meta->version, version);
	/* a new attempt knows nothing of the last one */
	assert_int_equal(report_evidence(c, id, 2, S(HELD), NULL, false), 0);
	assert_null(store_task(c->s, id)->status->evidence);
	assert_null(store_task(c->s, id)->status->view);
	c_free(c);
}

static void test_huge_status(void **state)
{
	char id[64];
	struct cluster *c = one_task(id);
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;
	Gs__TaskReport r = GS__TASK_REPORT__INIT;
	cleanup(obj_free_p) Gs__GaleraView *view = obj_new(&gs__galera_view__descriptor);
	struct tx *tx = tx_new(c->s);
	struct err e = {0};

	(void)state;
	for (int i = 0; i < 5000; i++)
		obj_add_str(&view->n_members, &view->members, "10.0.0.1:3306");
	st.state = S(RUNNING);
	st.attempt = 1;
	st.view = view;
	r.task_id = id;
	r.status = &st;
	assert_int_equal(report_apply(c->s, tx, "node01", &r, &c->env, &e), E_LIMIT);
	assert_int_equal(tx_len(tx), 0);
	tx_free(tx);
	c_free(c);
}

/* Review of volumes, 5: what a worker said came to the operator's terminal as it was. */
static void test_words_of_a_worker_are_one_line(void **state)
{
	char id[64];
	struct cluster *c = one_task(id);
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;
	Gs__TaskReport r = GS__TASK_REPORT__INIT;
	Gs__GaleraEvidence evidence = GS__GALERA_EVIDENCE__INIT;
	Gs__GaleraView view = GS__GALERA_VIEW__INIT;
	struct tx *tx = tx_new(c->s);
	const Gs__TaskStatus *now;
	struct err e = {0};

	(void)state;
	st.state = S(RUNNING);
	st.attempt = 1;
	st.message = "a\x1b[2Jb";
	st.err = "one\ntwo";
	st.progress = "50%\r100%";
	evidence.reason = "\x1b]0;title";
	view.status = "Primary\n";
	st.evidence = &evidence;
	st.view = &view;
	r.task_id = id;
	r.status = &st;
	assert_int_equal(report_apply(c->s, tx, "node01", &r, &c->env, &e), 0);
	assert_int_equal(c_commit(c, tx), 0);
	now = store_task(c->s, id)->status;
	assert_string_equal(now->message, "a?[2Jb");
	assert_string_equal(now->err, "one?two");
	assert_string_equal(now->progress, "50%?100%");
	assert_string_equal(now->evidence->reason, "?]0;title");
	assert_string_equal(now->view->status, "Primary?");
	c_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forward_only),
		cmocka_unit_test(test_foreign_and_impossible),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_huge_status),
		cmocka_unit_test(test_words_of_a_worker_are_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
