// SPDX-License-Identifier: Apache-2.0
/* When is a service what its spec says, and what does the screen say until then? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "cli/progress.h"

/* A service "db" with n slots, each with a task in this state. */
static Gs__ServiceDetail *detail(unsigned n, Gs__TaskState s, Gs__Topology topology)
{
	Gs__ServiceDetail *d = obj_new(&gs__service_detail__descriptor);

	d->service = obj_new_row(OBJ_SERVICE, "service");
	d->service->spec = obj_new(&gs__service_spec__descriptor);
	d->service->spec->task = obj_new(&gs__task_spec__descriptor);
	d->service->spec->topology = topology;
	d->service->spec->replicas = n;
	str_replace(&d->service->spec->name, "db");
	for (unsigned i = 1; i <= n; i++) {
		cleanup_free char *slot_id = xasprintf("slot%u", i), *task_id = xasprintf("task%u", i);
		cleanup_free char *name = xasprintf("db.%u", i), *node_id = xasprintf("node%u", i);
		Gs__Slot *slot = obj_new_row(OBJ_SLOT, slot_id);
		Gs__Task *t = obj_new_row(OBJ_TASK, task_id);

		slot->number = i;
		str_replace(&t->slot_id, slot_id);
		str_replace(&t->name, name);
		str_replace(&t->node_id, node_id);
		t->topology = topology;
		t->desired = TASK_RUNNING;
		t->status = obj_new(&gs__task_status__descriptor);
		t->status->state = s;
		obj_add(&d->n_slots, &d->slots, slot);
		obj_add(&d->n_tasks, &d->tasks, t);
	}
	return d;
}

static void set_view(Gs__Task *t, unsigned local_state, const char *status)
{
	t->status->view = obj_new(&gs__galera_view__descriptor);
	t->status->view->local_state = local_state;
	t->status->view->ready = local_state == 4;
	t->status->view->connected = true;
	str_replace(&t->status->view->status, status);
}

static void running_is_enough_for_a_plain_service(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(3, TASK_RUNNING, TOPO_NONE);
	struct progress p;

	progress_of(d, &p);
	assert_true(p.is_converged);
	assert_int_equal(p.done, 3);
	assert_string_equal(p.lines[2].name, "db.3");
	progress_fini(&p);
	d->tasks[1]->status->state = TASK_STARTING;
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_string_equal(p.lines[1].text, "starting");
	progress_fini(&p);
}

static void galera_must_be_synced(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_RUNNING, TOPO_GALERA);
	struct progress p;

	set_view(d->tasks[0], 4, "Primary");
	progress_of(d, &p);
	assert_false(p.is_converged);
	progress_fini(&p);
	set_view(d->tasks[1], 2, "Primary");
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_string_equal(p.lines[1].text, "running, Donor");
	progress_fini(&p);
	d->tasks[1]->status->view->local_state = 4;
	d->tasks[1]->status->view->ready = true;
	progress_of(d, &p);
	assert_true(p.is_converged);
	progress_fini(&p);
}

static void slots_that_are_missing_or_too_many(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(3, TASK_RUNNING, TOPO_NONE);
	struct progress p;

	d->service->spec->replicas = 5;
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_int_equal(p.wanted, 5);
	progress_fini(&p);
	d->service->spec->replicas = 2;
	progress_of(d, &p); /* not yet marked */
	assert_false(p.is_converged);
	progress_fini(&p);
	d->slots[2]->removing = true;
	progress_of(d, &p); /* still runs */
	assert_false(p.is_converged);
	assert_int_equal(p.n, 3);
	assert_string_equal(p.lines[2].text, "running, going away");
	progress_fini(&p);
	d->tasks[2]->status->state = TASK_SHUTDOWN;
	progress_of(d, &p);
	assert_true(p.is_converged);
	progress_fini(&p);
}

static void zero_replicas_are_reached_when_none_runs(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(0, TASK_RUNNING, TOPO_NONE);
	struct progress p;

	progress_of(d, &p);
	assert_true(p.is_converged);
	progress_fini(&p);
	d->service->spec->mode = MODE_GLOBAL;
	progress_of(d, &p); /* the manager has made no slot yet */
	assert_false(p.is_converged);
	progress_fini(&p);
}

static void an_older_task_does_not_count(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_RUNNING, TOPO_NONE);
	Gs__Task *newer = obj_dup(d->tasks[0]);
	struct progress p;

	str_replace(&newer->meta->id, "newer");
	newer->meta->created_ms = 10;
	newer->status->state = TASK_PREPARING;
	obj_add(&d->n_tasks, &d->tasks, newer);
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_string_equal(p.lines[0].text, "preparing");
	progress_fini(&p);
}

static void failures_are_told(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_RUNNING, TOPO_NONE);
	struct progress p;

	d->tasks[1]->status->state = TASK_REJECTED;
	str_replace(&d->tasks[1]->status->err, "no such image");
	progress_of(d, &p);
	assert_non_null(p.failure);
	assert_non_null(strstr(p.failure, "db.2"));
	/* User review, 21: what becomes of it */
	assert_non_null(strstr(p.failure, "no such image (the service stays, it is tried again and again: "
					  "'gswarm service rm db' ends that)"));
	progress_fini(&p);
	/* A crash is retried, unless the user asked for none. */
	d->tasks[1]->status->state = TASK_FAILED;
	progress_of(d, &p);
	assert_null(p.failure);
	assert_string_equal(p.lines[1].text, "failed: no such image");
	progress_fini(&p);
	d->service->spec->task->restart = RESTART_NONE;
	progress_of(d, &p);
	assert_non_null(strstr(p.failure, "the service stays, it is not tried again"));
	progress_fini(&p);
}

/* User review, 10: a job that had ended well was waited for until the timeout. */
static void a_job_that_ended_well_is_done(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_COMPLETE, TOPO_NONE);
	struct progress p;

	progress_of(d, &p); /* any: it will be started again */
	assert_false(p.is_converged);
	progress_fini(&p);
	d->service->spec->task->restart = RESTART_ON_FAILURE;
	d->tasks[1]->status->state = TASK_RUNNING;
	progress_of(d, &p);
	assert_true(p.is_converged);
	assert_int_equal(p.ended, 1);
	progress_fini(&p);
	d->service->spec->task->restart = RESTART_NONE;
	d->tasks[1]->status->state = TASK_COMPLETE;
	progress_of(d, &p);
	assert_true(p.is_converged);
	assert_int_equal(p.ended, 2);
	assert_string_equal(p.lines[0].text, "complete");
	progress_fini(&p);
	d->tasks[1]->status->state = TASK_FAILED;
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_non_null(p.failure);
	progress_fini(&p);
}

static void a_reason_is_told_once(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_PENDING, TOPO_NONE);
	struct progress p;

	str_replace(&d->tasks[0]->pending_reason, "no suitable node");
	str_replace(&d->service->error, "db.1: no suitable node");
	progress_of(d, &p);
	assert_null(p.note);
	progress_fini(&p);
	str_replace(&d->service->error, "db: out of addresses");
	progress_of(d, &p);
	assert_string_equal(p.note, "db: out of addresses");
	progress_fini(&p);
}

static void a_blocked_cluster_names_the_way_out(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_HELD, TOPO_GALERA);
	struct progress p;

	d->galera = obj_new_row(OBJ_GALERA, "cluster");
	d->galera->phase = GP_BLOCKED;
	str_replace(&d->galera->blocked_reason, "2 of 3 members are missing\n  SLOT  HOST\n");
	progress_of(d, &p);
	assert_non_null(p.failure);
	assert_true(p.is_blocked);
	assert_null(strchr(p.failure, '\n')); /* one line; the table is what 'galera status' shows */
	assert_non_null(strstr(p.failure, "2 of 3 members are missing"));
	assert_non_null(strstr(p.failure, "gswarm galera status db"));
	progress_fini(&p);
	d->galera->force_bootstrap = true; /* consent was given, it is not acted on yet */
	progress_of(d, &p);
	assert_null(p.failure);
	progress_fini(&p);
}

/* ---- user review, 3: what a silent node said last is not what is ---- */

static Gs__Node *add_node(Gs__ServiceDetail *d, const char *id, Gs__NodeState state)
{
	Gs__Node *n = obj_new_row(OBJ_NODE, id);

	n->status = obj_new(&gs__node_status__descriptor);
	n->status->state = state;
	n->description = obj_new(&gs__node_description__descriptor);
	str_replace(&n->description->hostname, id);
	obj_add(&d->n_nodes, &d->nodes, n);
	return n;
}

/* "converged", exit 0, while the hosts were dead. */
static void a_task_on_a_dead_host_does_not_run(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_RUNNING, TOPO_GALERA);
	Gs__Node *n = add_node(d, "node2", NODE_UNKNOWN);
	struct progress p;

	add_node(d, "node1", NODE_READY);
	set_view(d->tasks[0], 4, "Primary");
	set_view(d->tasks[1], 4, "Primary");
	str_replace(&d->slots[1]->node_key, "node2"); /* as its volume does, it keeps the task there */
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_null(p.failure); /* a moment after the managers' start nobody has reported */
	assert_string_equal(p.lines[1].text, "node node2 has not reported yet");
	progress_fini(&p);
	n->status->state = NODE_DOWN;
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_true(p.is_blocked);
	assert_non_null(strstr(p.failure, "db.2: node node2 is down; it goes on by itself when"));
	progress_fini(&p);
	d->tasks[0]->status->state = TASK_STARTING; /* there is still something to watch */
	progress_of(d, &p);
	assert_null(p.failure);
	progress_fini(&p);
	d->tasks[0]->status->state = TASK_RUNNING;
	str_replace(&d->slots[1]->node_key, ""); /* the managers will place it anew */
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_null(p.failure);
	progress_fini(&p);
	n->status->state = NODE_READY;
	progress_of(d, &p);
	assert_true(p.is_converged);
	progress_fini(&p);
}

static void a_member_that_goes_waits_for_its_host(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_RUNNING, TOPO_GALERA);
	struct progress p;

	add_node(d, "node2", NODE_DOWN);
	set_view(d->tasks[0], 4, "Primary");
	d->service->spec->replicas = 1;
	d->slots[1]->removing = true;
	str_replace(&d->slots[1]->node_key, "node2");
	progress_of(d, &p);
	assert_false(p.is_converged);
	assert_non_null(strstr(p.failure, "db.2: node node2 is down, going away; "));
	progress_fini(&p);
}

static void a_refused_consent_is_told(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_HELD, TOPO_GALERA);
	struct progress p;

	d->galera = obj_new_row(OBJ_GALERA, "cluster");
	d->galera->phase = GP_BLOCKED;
	d->galera->force_bootstrap = true;
	progress_of(d, &p);
	assert_null(p.refused);
	progress_fini(&p);
	d->galera->force_bootstrap = false;
	str_replace(&d->galera->refused, "db.2 is torn");
	progress_of(d, &p);
	assert_string_equal(p.refused, "db.2 is torn");
	progress_fini(&p);
}

/* ---- U5: one detail after the other ---- */

static void attempt(Gs__ServiceDetail *d, size_t i, uint32_t number, const char *err)
{
	d->tasks[i]->status->attempt = number;
	str_replace(&d->tasks[i]->status->err, err);
}

/* "sleep 0.3; exit 3" was called converged the moment it ran. */
static void what_is_reached_must_last(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_RUNNING, TOPO_NONE);
	struct trails t = {0};

	attempt(d, 0, 1, "");
	attempt(d, 1, 1, "");
	trails_update(&t, d, true, true, 1000, 5000);
	assert_true(t.steady_ms == 1000);
	trails_update(&t, d, true, true, 1200, 5000);
	assert_true(t.steady_ms == 1000);
	attempt(d, 1, 2, "exit code 3"); /* started anew so quickly that it was never seen down */
	trails_update(&t, d, true, true, 1400, 5000);
	assert_true(t.steady_ms == 1400);
	trails_update(&t, d, false, true, 1500, 5000);
	assert_true(t.steady_ms == 0);
	trails_fini(&t);
}

/* 'host nosuchprog' was waited for without end. */
static void a_start_that_fails_again_and_again_is_told(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(2, TASK_STARTING, TOPO_NONE);
	struct trails t = {0};

	for (uint32_t i = 1; i <= 3; i++) {
		attempt(d, 1, i, "start nosuchprog: No such file or directory");
		trails_update(&t, d, false, true, 100 * i, 500);
	}
	assert_null(trails_failure(&t, 5000, 500)); /* two have failed, the third runs */
	attempt(d, 1, 4, "start nosuchprog: No such file or directory");
	trails_update(&t, d, false, true, 450, 500);
	assert_null(trails_failure(&t, 450, 500));
	assert_string_equal(trails_failure(&t, 700, 500),
			    "db.2 failed 3 times: start nosuchprog: No such file or directory");
	trails_fini(&t);
}

/* Attempts of before the wait, and failures long ago, count for nothing. */
static void old_failures_do_not_count(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_RUNNING, TOPO_NONE);
	struct trails t = {0};

	attempt(d, 0, 9, "exit code 1");
	trails_update(&t, d, true, false, 1000, 100);
	assert_null(trails_failure(&t, 9000, 100));
	for (uint32_t i = 10; i < 20; i++) { /* one a minute */
		attempt(d, 0, i, "exit code 1");
		trails_update(&t, d, true, false, 60000 * i, 100);
	}
	assert_null(trails_failure(&t, 60000 * 20, 100));
	trails_fini(&t);
}

static void another_task_for_the_slot_is_a_failure_too(void **state)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(1, TASK_STARTING, TOPO_NONE);
	struct trails t = {0};

	for (int i = 0; i < 4; i++) {
		cleanup_free char *id = xasprintf("try%d", i);

		str_replace(&d->tasks[0]->meta->id, id);
		trails_update(&t, d, false, true, 100 + i, 0);
	}
	assert_string_equal(trails_failure(&t, 200, 0), "db.1 failed 3 times: its program ended");
	trails_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_on_a_dead_host_does_not_run),
		cmocka_unit_test(a_member_that_goes_waits_for_its_host),
		cmocka_unit_test(a_refused_consent_is_told),
		cmocka_unit_test(what_is_reached_must_last),
		cmocka_unit_test(a_start_that_fails_again_and_again_is_told),
		cmocka_unit_test(old_failures_do_not_count),
		cmocka_unit_test(another_task_for_the_slot_is_a_failure_too),
		cmocka_unit_test(running_is_enough_for_a_plain_service),
		cmocka_unit_test(galera_must_be_synced),
		cmocka_unit_test(slots_that_are_missing_or_too_many),
		cmocka_unit_test(zero_replicas_are_reached_when_none_runs),
		cmocka_unit_test(an_older_task_does_not_count),
		cmocka_unit_test(failures_are_told),
		cmocka_unit_test(a_job_that_ended_well_is_done),
		cmocka_unit_test(a_reason_is_told_once),
		cmocka_unit_test(a_blocked_cluster_names_the_way_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
