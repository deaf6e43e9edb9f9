// SPDX-License-Identifier: Apache-2.0
/* What goes into a report, in which pieces, and what becomes of a refused one (FINDINGS M7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proto/schema/dispatch.pb-c.h"
#include "worker/task/impl.h"

static struct worker no_worker; /* without an agent */

static void add_task(struct tasks *ts, const char *id, Gs__TaskState state)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->all = ts;
	t->w = &no_worker;
	t->id = xstrdup(id);
	t->row = obj_new_row(OBJ_TASK, id);
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->state = state;
	t->version = 1;
	t->next = ts->list;
	ts->list = t;
}

static void free_tasks(struct tasks *ts)
{
	while (ts->list) {
		struct task *t = ts->list;

		ts->list = t->next;
		obj_free(t->row);
		obj_free(t->status);
		free(t->id);
		free(t);
	}
}

static Gs__ReportRequest *fill(struct tasks *ts, size_t *ret_n)
{
	Gs__ReportRequest *req = obj_new(&gs__report_request__descriptor);

	*ret_n = tasks_report_fill(ts, req);
	return req;
}

static void test_M7_a_report_has_at_most_its_share(void **state)
{
	struct tasks ts = {0};
	size_t sum = 0, n, reports = 0;
	char id[26];

	(void)state;
	for (int i = 0; i < 2300; i++) {
		snprintf(id, sizeof(id), "%025d", i);
		add_task(&ts, id, i % 2 ? TASK_RUNNING : TASK_SHUTDOWN);
	}
	while (tasks_report_pending(&ts)) {
		Gs__ReportRequest *req = fill(&ts, &n);

		assert_in_range(n, 1, TASKS_REPORT_MAX);
		tasks_reported(&ts, true);
		sum += n;
		reports++;
		obj_free(req);
	}
	assert_int_equal(sum, 2300);
	assert_int_equal(reports, 5);
	/* a new leader hears of what may still change, not of history */
	tasks_report_anew(&ts);
	for (sum = 0; tasks_report_pending(&ts); sum += n) {
		obj_free(fill(&ts, &n));
		tasks_reported(&ts, true);
	}
	assert_int_equal(sum, 1150);
	free_tasks(&ts);
}

static void test_M7_large_statuses_split_by_bytes(void **state)
{
	struct tasks ts = {0};
	size_t n, reports = 0;
	char id[26], text[15001] = {0};

	(void)state;
	memset(text, 'm', 15000);
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "%025d", i);
		add_task(&ts, id, TASK_RUNNING);
		str_replace(&ts.list->status->message, text);
	}
	while (tasks_report_pending(&ts)) {
		Gs__ReportRequest *req = fill(&ts, &n);

		assert_true(protobuf_c_message_get_packed_size(&req->base) < TASKS_REPORT_BYTES + 20000);
		tasks_reported(&ts, true);
		reports++;
		obj_free(req);
	}
	assert_in_range(reports, 4, 6);
	free_tasks(&ts);
}

static void refuse(struct tasks *ts, const char *id, int code, const char *why)
{
	Gs__TaskRefusal r = GS__TASK_REFUSAL__INIT;

	r.task_id = (char *)(uintptr_t)id;
	r.code = code;
	r.message = (char *)(uintptr_t)why;
	tasks_report_refused(ts, &r);
}

static void test_M7_a_refused_report_is_mended_and_sent_again(void **state)
{
	struct tasks ts = {0};
	Gs__ReportRequest *req;
	size_t n;

	(void)state;
	add_task(&ts, "t1", TASK_HELD);
	ts.list->status->evidence = obj_new(&gs__galera_evidence__descriptor);
	ts.list->status->view = obj_new(&gs__galera_view__descriptor);
	obj_free(fill(&ts, &n));
	tasks_reported(&ts, true);
	refuse(&ts, "t1", E_STALE_VERSION, "late"); /* the managers know better */
	assert_false(tasks_report_pending(&ts));
	refuse(&ts, "t1", E_LIMIT, "a status of 20000 bytes");
	assert_true(tasks_report_pending(&ts));
	req = fill(&ts, &n);
	assert_null(req->tasks[0]->status->view);
	assert_non_null(req->tasks[0]->status->evidence);
	assert_string_equal(req->tasks[0]->status->err, "a status of 20000 bytes");
	obj_free(req);
	tasks_reported(&ts, true);
	refuse(&ts, "t1", E_FORBIDDEN, "evidence of foreign volume v");
	req = fill(&ts, &n);
	assert_null(req->tasks[0]->status->evidence);
	assert_int_equal(req->tasks[0]->status->state, TASK_HELD);
	obj_free(req);
	tasks_reported(&ts, true);
	refuse(&ts, "t1", E_FORBIDDEN, "no"); /* nothing is left to mend: no endless loop */
	assert_false(tasks_report_pending(&ts));
	free_tasks(&ts);
}

/* Volumes are named before tasks, and a set comes in several events: what a task of a later one has was deleted. */
static void test_nothing_is_discarded_before_the_set_is_whole(void **state)
{
	static const char id[] = "vvvvvvvvvvvvvvvvvvvvvvvvv", task[] = "ttttttttttttttttttttttttt";
	Gs__VolumeInstance *row = obj_new_row(OBJ_VOLUME_INSTANCE, id);
	Gs__ReportRequest *req = obj_new(&gs__report_request__descriptor);
	Gs__SlotVolume *v = obj_new(&gs__slot_volume__descriptor);
	struct worker w = {.loop = uv_default_loop(), .dir = "/nonexistent"};
	struct tasks ts = {.w = &w, .in_set = true};

	(void)state;
	str_replace(&row->volume_id, id);
	row->state = VOL_REMOVING;
	tasks_discard(&ts, row);
	assert_int_equal(ts.jobs, 0);
	add_task(&ts, task, TASK_HELD);
	str_replace(&v->volume_id, id);
	obj_add(&ts.list->row->n_volumes, &ts.list->row->volumes, v);
	discards_set_end(&ts);
	assert_int_equal(ts.jobs, 0);
	discards_report_fill(&ts, req);
	assert_int_equal(req->n_volumes, 1);
	assert_int_equal(req->volumes[0]->code, E_IN_USE);
	discards_fini(&ts);
	free_tasks(&ts);
	obj_free(req);
	obj_free(row);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_M7_a_report_has_at_most_its_share),
		cmocka_unit_test(test_M7_large_statuses_split_by_bytes),
		cmocka_unit_test(test_M7_a_refused_report_is_mended_and_sent_again),
		cmocka_unit_test(test_nothing_is_discarded_before_the_set_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
