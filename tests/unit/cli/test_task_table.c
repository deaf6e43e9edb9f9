// SPDX-License-Identifier: Apache-2.0
/* What the tables say of tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/nouns.h"
#include "cli/task_table.h"

static Gs__Task *add_task(Gs__ServiceDetail *d, const char *name, Gs__TaskState state)
{
	Gs__Task *t = obj_new_row(OBJ_TASK, name);

	str_replace(&t->name, name);
	str_replace(&t->slot_id, name);
	str_replace(&t->node_id, "node");
	t->desired = TASK_RUNNING;
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->state = state;
	obj_add(&d->n_tasks, &d->tasks, t);
	return t;
}

/* What `service ps` with these words prints. */
static void printed(const Gs__ServiceDetail *d, const char *const *words, size_t n, char ret[4096])
{
	struct cmd c = {.noun = &service_noun, .verb = verb_find(&service_noun, "ps")};
	char *list[8] = {"web"};
	FILE *file = tmpfile();
	struct err e = {0};
	int saved = dup(1);
	size_t got;

	for (size_t i = 0; i < n; i++)
		list[i + 1] = (char *)words[i];
	assert_int_equal(opt_parse(&c, (int)n + 1, list, &e), 0);
	fflush(stdout);
	dup2(fileno(file), 1);
	tasks_print(&c, d, false);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	rewind(file);
	got = fread(ret, 1, 4095, file);
	ret[got] = '\0';
	fclose(file);
	opt_fini(&c);
}

/* User review, 10: DESIRED STATE Running beside Complete. */
static void what_has_ended_is_shut_down(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = obj_new(&gs__service_detail__descriptor);
	char text[4096];

	(void)state;
	add_task(d, "job.1", TASK_COMPLETE);
	add_task(d, "job.2", TASK_RUNNING);
	printed(d, (const char *[]){"-f", "desired-state=shutdown"}, 2, text);
	assert_non_null(strstr(text, "job.1"));
	assert_non_null(strstr(text, "Shutdown"));
	assert_null(strstr(text, "job.2"));
	printed(d, (const char *[]){"--format", "json", "-f", "name=job.1"}, 4, text);
	assert_non_null(strstr(text, "SHUTDOWN"));
}

/* User review, 19: the error of the attempt before stood beside Running. */
static void what_runs_has_no_error(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = obj_new(&gs__service_detail__descriptor);
	Gs__Task *t = add_task(d, "web.1", TASK_RUNNING);
	char text[4096];

	(void)state;
	str_replace(&t->status->err, "exit code 3");
	printed(d, NULL, 0, text);
	assert_null(strstr(text, "exit code 3"));
	t->status->state = TASK_STARTING;
	printed(d, NULL, 0, text);
	assert_non_null(strstr(text, "exit code 3"));
}

/* User review, 6. */
static void what_a_drain_leaves(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = obj_new(&gs__service_detail__descriptor);
	const Gs__TaskState states[] = {TASK_RUNNING, TASK_RUNNING, TASK_HELD, TASK_FAILED, TASK_RUNNING};
	static const char *const names[] = {"web.1", "db.1", "db.2", "db.3", "db.4"};
	cleanup_free char *none = tasks_that_stay(d);

	(void)state;
	assert_null(none);
	for (size_t i = 0; i < array_size(states); i++) {
		Gs__Task *t = add_task(d, names[i], states[i]);

		if (i)
			obj_add(&t->n_volumes, &t->volumes, obj_new(&gs__slot_volume__descriptor));
	}
	d->tasks[4]->desired = TASK_SHUTDOWN;
	cleanup_free char *stay = tasks_that_stay(d);
	assert_string_equal(stay, "db.1, db.2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_ended_is_shut_down),
		cmocka_unit_test(what_runs_has_no_error),
		cmocka_unit_test(what_a_drain_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
