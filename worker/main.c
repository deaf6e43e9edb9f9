// SPDX-License-Identifier: Apache-2.0
/* gswarm-worker: options, folders, the loop, signals.
 *
 * The happy path is: lock the folders, serve worker.sock, load the identity, start the member side if there is one,
 * run the loop until TERM or INT. What can fail at start is fatal with one line (another worker, no socket) or tried
 * again (the identity, the member side: node.h); tasks and the manager outlive every end of this process. */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/settle.h"
#include "worker/bundle/apparmor.h"
#include "worker/bundle/syscalls.h"
#include "worker/host/spawner.h"
#include "worker/node/manager_process.h"
#include "worker/node/member.h"
#include "worker/node/node.h"
#include "worker/node/run_folder.h"
#include "worker/node/saver.h"
#include "worker/session/agent.h"
#include "worker/task/table.h"

struct options {
	const char *state_dir, *run_dir, *log_level;
};

static int fail_usage(const char *why, const char *what)
{
	fprintf(stderr, "gswarm-worker: %s %s (see --help)\n", why, what);
	return 2;
}

static int usage(void)
{
	fputs("Usage: gswarm-worker [--state-dir DIR] [--run-dir DIR] [--log-level error|warn|info|debug]\n"
	      "\n"
	      "The node agent. Runs as root on every host of the swarm.\n"
	      "  --state-dir DIR   identity, tasks and volumes (/var/lib/gswarm)\n"
	      "  --run-dir DIR     sockets and bundles, gone with a reboot (/run/gswarm)\n"
	      "  --log-level L     what is written to stderr (info)\n"
	      "  --help            print this and exit\n"
	      "  --version         print the version and exit\n",
	      stdout);
	return 0;
}

static int options_parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"state-dir", required_argument, NULL, 's'},
					      {"run-dir", required_argument, NULL, 'r'},
					      {"log-level", required_argument, NULL, 'l'},
					      {"version", no_argument, NULL, 'v'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	int c;

	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->state_dir = optarg;
			break;
		case 'r':
			o->run_dir = optarg;
			break;
		case 'l':
			o->log_level = optarg;
			break;
		case 'v':
			puts("gswarm-worker " GSWARM_VERSION);
			exit(0);
		case 'h':
			exit(usage());
		case ':':
			return fail_usage("a value is missing behind", argv[optind - 1]);
		default:
			return fail_usage("unknown option", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return 0;
	return fail_usage("unexpected argument", argv[optind]);
}

static int read_line(const char *path, char *ret, size_t n, struct err *e)
{
	cleanup_free char *text = NULL;

	if (fs_read(path, 4096, &text, NULL, e) < 0)
		return e->code;
	snprintf(ret, n, "%.*s", (int)strcspn(text, "\n"), text);
	return 0;
}

static int worker_init(struct worker *w, const struct options *o, struct err *e)
{
	cleanup_free char *lock = NULL;
	char exe[PATH_MAX] = "";
	int fd;

	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return err_errno(e, errno, "/proc/self/exe");
	w->exe_dir = xstrdup(dirname(exe));
	w->state_dir = xstrdup(o->state_dir);
	w->run_dir = xstrdup(o->run_dir);
	w->dir = xasprintf("%s/worker", o->state_dir);
	w->blob_dir = xasprintf("%s/blobs", w->dir);
	w->log_level = o->log_level;
	if (read_line("/proc/sys/kernel/random/boot_id", w->boot_id, sizeof(w->boot_id), e) < 0)
		return e->code;
	if (gethostname(w->hostname, sizeof(w->hostname) - 1) < 0)
		return err_errno(e, errno, "host name");
	if (fs_mkdir(w->run_dir, 0755, e) < 0 || fs_mkdir(w->dir, 0700, e) < 0)
		return e->code;
	/* Root trusts what it finds in there, also what it has not made yet: nobody else writes in it. */
	if (chown(w->run_dir, 0, 0) < 0 || chmod(w->run_dir, 0755) < 0)
		return err_errno(e, errno, "own %s", w->run_dir);
	lock = xasprintf("%s/lock", w->state_dir);
	if (fs_lock(lock, &fd, e) < 0)
		return e->code == E_IN_USE
			       ? err_wrap(e, "another gswarm-worker is at work here, stop it first")
			       : e->code;
	return 0; /* held as long as this process lives */
}

/* Memory is small and steady: one arena, freed pages go back, large blocks are mapped. Descriptors: two a
 * task and more for connections. */
static void process_limits(void)
{
	struct rlimit files;

	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 128 << 10);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	setenv("UV_THREADPOOL_SIZE", "4", 1);
	unsetenv("TZ");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
}

struct stop {
	struct worker *w;
	struct settle *settle;
	struct run_folder *run_folder;
	uv_signal_t term, interrupt;
};

static void on_signal(uv_signal_t *h, int signum)
{
	struct stop *s = h->data;

	if (s->w->stopping)
		return;
	bug_if(!s->w->node || !s->w->saver || !s->w->spawner || !s->settle); /* signals wait for the loop */
	s->w->stopping = true;
	log_info("stopping; tasks go on");
	/* A job on the pool still holds our tables. Its end now is what every start copes with. */
	if (node_busy(s->w->node) || (s->w->tasks && tasks_busy(s->w->tasks))) {
		log_flush(500);
		_exit(0);
	}
	run_folder_free(s->run_folder);
	node_free(s->w->node);
	worker_member_stop(s->w);
	manager_proc_free(s->w->manager);
	saver_free(s->w->saver);
	spawner_free(s->w->spawner);
	s->w->spawner = NULL;
	settle_free(s->settle);
	gap_end();
	uv_close((uv_handle_t *)&s->term, NULL);
	uv_close((uv_handle_t *)&s->interrupt, NULL);
}

/* What each task gets and no task changes; a host without one of them has the others. */
static void walls_load(struct worker *w)
{
	struct err e = {0};

	w->seccomp_bpf = syscalls_compile(&e);
	if (!w->seccomp_bpf)
		log_warn("%s: the runtime does it at each start", e.msg);
	if (apparmor_load(&w->apparmor, &e) < 0)
		log_warn("%s: tasks run without AppArmor", e.msg);
}

static void state_save_later(struct worker *w, unsigned what)
{
	saver_save(w->saver, &w->state, what);
}

static void on_cert_saved(void *arg)
{
	struct worker *w = arg;

	if (w->agent)
		agent_cert_saved(w->agent);
}

static int worker_run(struct worker *w, struct err *e)
{
	cleanup_free char *tasks = xasprintf("%s/tasks", w->run_dir);
	struct stop stop = {.w = w};

	uv_signal_init(w->loop, &stop.term);
	uv_signal_init(w->loop, &stop.interrupt);
	stop.term.data = stop.interrupt.data = &stop;
	uv_signal_start(&stop.term, on_signal, SIGTERM);
	uv_signal_start(&stop.interrupt, on_signal, SIGINT);
	walls_load(w);
	if (spawner_share(tasks, e) < 0 || spawner_new(w->loop, &w->spawner, e) < 0)
		return e->code;
	w->saver = saver_new(w->loop, w->dir, SAVER_AGAIN_MS);
	saver_on_cert(w->saver, on_cert_saved, w);
	w->save = state_save_later;
	w->manager = manager_proc_new(w);
	if (node_new(w, &w->node, e) < 0)
		return e->code;
	node_start(w->node);
	stop.run_folder = run_folder_new(w);
	stop.settle = settle_new(w->loop);
	log_info("ready node=%s", w->state.is_member ? w->state.node_id : "none");
	uv_run(w->loop, UV_RUN_DEFAULT);
	return 0;
}

static void worker_fini(struct worker *w)
{
	bug_if(w->stopping && (w->spawner || w->tasks || w->agent));
	membership_fini(&w->state);
	free(w->state_dir);
	free(w->run_dir);
	free(w->dir);
	free(w->blob_dir);
	free(w->exe_dir);
	free(w->seccomp_bpf);
}

int main(int argc, char **argv)
{
	struct options o = {.state_dir = "/var/lib/gswarm", .run_dir = "/run/gswarm", .log_level = "info"};
	enum log_level level;
	struct worker w = {0};
	uv_loop_t loop;
	struct err e = {0};
	int rc = options_parse(argc, argv, &o);

	if (rc != 0)
		return rc;
	if (log_level_parse(o.log_level, &level) < 0)
		return fail_usage("--log-level must be error, warn, info or debug, not", o.log_level);
	if (geteuid() != 0) {
		fputs("gswarm-worker: must run as root\n", stderr);
		return 1;
	}
	process_limits();
	log_init("worker", level, STDERR_FILENO);
	log_start_writer();
	uv_loop_init(&loop);
	gap_watch(&loop);
	w.loop = &loop;
	if (worker_init(&w, &o, &e) < 0 || worker_run(&w, &e) < 0) {
		log_error("start: %s", e.msg);
		return 1;
	}
	uv_loop_close(&loop);
	worker_fini(&w);
	return 0;
}
