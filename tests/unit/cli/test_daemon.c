// SPDX-License-Identifier: Apache-2.0
/* Verbs against a daemon that a child process plays on unix sockets: what is sent, what is printed, when a
 * wait ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/client.h"
#include "cli/nouns.h"
#include "cli/wait.h"
#include "proto/rpc/server.h"

static char run_dir[] = "cli-daemon-test.XXXXXX";

/* ---- the daemon ---- */
static Gs__ServiceDetail *detail(Gs__TaskState s)
{
	Gs__ServiceDetail *d = obj_new(&gs__service_detail__descriptor);
	Gs__Slot *slot = obj_new_row(OBJ_SLOT, "slot1");
	Gs__Task *t = obj_new_row(OBJ_TASK, "task1");

	d->service = obj_new_row(OBJ_SERVICE, "service1");
	d->service->spec = obj_new(&gs__service_spec__descriptor);
	d->service->spec->task = obj_new(&gs__task_spec__descriptor);
	d->service->spec->replicas = 1;
	str_replace(&d->service->spec->name, "web");
	str_replace(&t->slot_id, "slot1");
	str_replace(&t->name, "web.1");
	t->desired = TASK_RUNNING;
	t->status = obj_new(&gs__task_status__descriptor);
	t->status->state = s;
	obj_add(&d->n_slots, &d->slots, slot);
	obj_add(&d->n_tasks, &d->tasks, t);
	return d;
}

static void send_detail(struct rpc_call *call, Gs__TaskState s, const char *err)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(s);

	str_replace(&d->tasks[0]->status->err, err);
	rpc_event(call, &d->base);
}

/* It runs, and its attempts before this one have failed. */
static void send_attempt(struct rpc_call *call, uint32_t attempt)
{
	cleanup(obj_free_p) Gs__ServiceDetail *d = detail(TASK_RUNNING);

	str_replace(&d->tasks[0]->status->err, "exit code 3");
	d->tasks[0]->status->attempt = attempt;
	rpc_event(call, &d->base);
}

static void on_attempt(uv_timer_t *t)
{
	static uint32_t attempt;

	send_attempt(t->data, ++attempt);
}

static void on_nobody_waits(struct rpc_call *call, void *arg)
{
	uv_timer_stop(arg);
}

static void on_end(uv_timer_t *t)
{
	rpc_end(t->data);
}

/* The name tells what to play. "web": two changes, then it runs, and the stream stays open. */
static void on_watch(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const char *ref = ((const Gs__WatchServiceRequest *)req)->ref;
	static uv_timer_t timer;
	struct err e = {0};

	if (strcmp(ref, "unknown") == 0) {
		err_set(&e, E_NOT_FOUND, "no service unknown");
		rpc_fail(call, &e);
		return;
	}
	send_detail(call, TASK_PREPARING, "");
	if (strcmp(ref, "rejected") == 0)
		send_detail(call, TASK_REJECTED, "no such image");
	if (strcmp(ref, "web") == 0) {
		send_detail(call, TASK_STARTING, "");
		send_detail(call, TASK_RUNNING, "");
	}
	if (strcmp(ref, "slow") == 0)
		return;
	if (strcmp(ref, "flapping") == 0) {
		timer.data = call;
		uv_timer_init(arg, &timer);
		uv_timer_start(&timer, on_attempt, 0, 50);
		rpc_call_on_cancel(call, on_nobody_waits, &timer);
	}
	if (strcmp(ref, "going") == 0) {
		timer.data = call;
		uv_timer_init(arg, &timer);
		uv_timer_start(&timer, on_end, 50, 0);
	}
}

static void on_create(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Gs__ServiceSpec *s = ((const Gs__ServiceCreateRequest *)req)->spec;
	Gs__CreatedResponse r = GS__CREATED_RESPONSE__INIT;
	struct err e = {0};

	if (strcmp(s->name, "web") || s->replicas != 3 || s->topology != TOPO_GALERA ||
	    strcmp(s->galera->profile, "safe") || s->task->n_env != 2 || strcmp(s->task->env[1], "B=2") ||
	    s->task->limits->memory_bytes != 64u << 20 || s->task->n_args != 2 ||
	    strcmp(s->task->args[1], "-d") || s->task->mounts[0]->type != MOUNT_TMPFS ||
	    s->task->stop_grace_ms != 2500) {
		err_set(&e, E_INVALID, "the spec did not arrive as it was written");
		rpc_fail(call, &e);
		return;
	}
	r.id = (char *)"service1";
	r.warning = (char *)"";
	rpc_reply(call, &r.base);
}

static void on_status(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Gs__NodeStatusResponse r = GS__NODE_STATUS_RESPONSE__INIT;
	char *managers[] = {(char *)"192.168.55.111:2377"};

	r.is_member = true;
	r.managers = managers;
	r.n_managers = 1;
	rpc_reply(call, &r.base);
}

static unsigned on_authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	return ROLE_BIT_LOCAL;
}

static rpc_handler handlers[64];

static void serve(const char *name, unsigned service, int ready)
{
	cleanup_free char *path = xasprintf("%s/%s.sock", run_dir, name);
	struct rpc_server_config config = {.authorise = on_authorise};
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(service);
	struct rpc_server *s;
	uv_loop_t loop;
	struct err e = {0};

	uv_loop_init(&loop);
	for (unsigned i = 0; i < d->n_methods; i++) {
		if (strcmp(d->methods[i].name, "WatchService") == 0)
			handlers[i] = on_watch;
		if (strcmp(d->methods[i].name, "CreateService") == 0)
			handlers[i] = on_create;
		if (strcmp(d->methods[i].name, "Status") == 0)
			handlers[i] = on_status;
	}
	if (rpc_server_new(&loop, &config, &s) < 0)
		_exit(3);
	rpc_server_add(s, service, handlers, d->n_methods, &loop);
	if (rpc_server_listen_unix(s, path, &e) < 0)
		_exit(4);
	if (write(ready, "x", 1) != 1)
		_exit(5);
	uv_run(&loop, UV_RUN_DEFAULT);
	_exit(0);
}

static pid_t start(const char *name, unsigned service)
{
	int fds[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		serve(name, service, fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- the client, its stdout in a file ---- */
static char printed[8192];

static int run(const char *noun, const char *verb, int n, const char **words, struct err *e)
{
	struct cmd c = {.noun = *noun ? noun_find(noun) : nouns[0], .run_dir = run_dir};
	cleanup_free char *path = xasprintf("%s/out", run_dir);
	int fd, saved, rc;
	ssize_t got;

	fflush(stdout);
	saved = dup(1);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	dup2(fd, 1);
	c.verb = verb_find(c.noun, verb);
	err_clear(e);
	rc = opt_parse(&c, n, (char *const *)words, e);
	if (!rc)
		rc = c.verb->run(&c, e);
	client_close(&c);
	opt_fini(&c);
	fflush(stdout);
	got = pread(fd, printed, sizeof(printed) - 1, 0);
	printed[got > 0 ? got : 0] = '\0';
	dup2(saved, 1);
	close(saved);
	close(fd);
	return rc;
}
#define RUN(noun, verb, e, ...)                                                                              \
	run(noun, verb, array_size(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__}, e)

static int wait_for_service(const char *ref, enum wait_for what, struct err *e)
{
	struct cmd c = {.noun = nouns[0], .verb = &nouns[0]->verbs[0], .run_dir = run_dir};
	const struct wait_options o = {
		.what = what, .is_quiet = true, .monitor_ms = 200, .timeout_ms = 5000, .patience_ms = 200};
	int rc = service_wait(&c, ref, &o, e);

	client_close(&c);
	return rc;
}

static void create_sends_what_was_written_and_waits(void **state)
{
	pid_t pid = start("manager", RPC_CONTROL);
	struct err e = {0};

	/* The id that is answered is watched; this daemon plays nothing for it, so do not wait here. */
	assert_int_equal(RUN("service", "create", &e, "-d", "--name", "web", "--replicas", "3", "--topology",
			     "galera", "--galera-profile", "safe", "-e", "A=1", "--env=B=2", "--limit-memory",
			     "64m", "--mount", "type=tmpfs,target=/t", "--stop-grace-period", "2.5s", "host",
			     "sleep", "-d"),
			 0);
	assert_string_equal(printed, "service1\n");
	assert_int_equal(RUN("service", "create", &e, "-d", "--name", "other", "host"), E_INVALID);
	assert_string_equal(printed, "");
	stop(pid);
}

static void a_wait_ends_with_the_change_that_completes_it(void **state)
{
	pid_t pid = start("manager", RPC_CONTROL);
	struct err e = {0};

	assert_int_equal(wait_for_service("web", WAIT_CONVERGED, &e), 0);
	assert_int_equal(wait_for_service("rejected", WAIT_CONVERGED, &e), 1);
	assert_int_equal(wait_for_service("flapping", WAIT_CONVERGED, &e), 1); /* U5 */
	assert_int_equal(wait_for_service("unknown", WAIT_CONVERGED, &e), E_NOT_FOUND);
	assert_int_equal(wait_for_service("unknown", WAIT_GONE, &e), 0);
	assert_int_equal(wait_for_service("going", WAIT_GONE, &e), 0);
	stop(pid);
}

/* U5: it waited for ever. */
static void a_wait_has_an_end(void **state)
{
	pid_t pid = start("manager", RPC_CONTROL);
	struct cmd c = {.noun = nouns[0], .verb = &nouns[0]->verbs[0], .run_dir = run_dir};
	const struct wait_options o = {
		.what = WAIT_CONVERGED, .is_quiet = true, .monitor_ms = 200, .timeout_ms = 300};
	struct err e = {0};

	assert_int_equal(service_wait(&c, "slow", &o, &e), 1);
	client_close(&c);
	stop(pid);
}

static void a_worker_names_a_manager(void **state)
{
	pid_t pid = start("worker", RPC_NODE_LOCAL);
	cleanup_free char *path = xasprintf("%s/manager.sock", run_dir);
	struct err e = {0};

	fs_unlink(path, &e);
	assert_int_equal(RUN("node", "ls", &e, "-q"), E_NOT_MANAGER);
	assert_non_null(strstr(e.msg, "192.168.55.111:2377"));
	stop(pid);
}

static void no_daemon_is_one_clear_line(void **state)
{
	struct err e = {0};

	assert_true(RUN("node", "ls", &e, "-q") < 0);
	assert_non_null(strstr(e.msg, "gswarm-worker is not running"));
	assert_null(strchr(e.msg, '\n'));
}

static int make_dir(void **state)
{
	return mkdtemp(run_dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	struct err e = {0};

	return fs_remove_all(run_dir, &e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_sends_what_was_written_and_waits),
		cmocka_unit_test(a_wait_ends_with_the_change_that_completes_it),
		cmocka_unit_test(a_wait_has_an_end),
		cmocka_unit_test(a_worker_names_a_manager),
		cmocka_unit_test(no_daemon_is_one_clear_line),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
