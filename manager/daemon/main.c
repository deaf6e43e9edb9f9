// SPDX-License-Identifier: Apache-2.0
/* gswarm-manager: options, signals, the loop.
 *
 * The happy path is: the local worker starts us as user _gswarm; SIGTERM ends us cleanly. What can fail is
 * the start: one line on stderr, exit 1 (2 for usage). */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/settle.h"
#include "manager/daemon/manager.h"

static const char usage[] =
	"Usage: gswarm-manager [--state-dir DIR] [--run-dir DIR] [--log-level error|warn|info|debug]\n"
	"       [--has-cluster]\n"
	"\n"
	"The manager of a gswarm cluster. The node's worker starts it; people use gswarm.\n"
	"\n"
	"  --state-dir DIR   certificates and the replicated log (/var/lib/gswarm/manager)\n"
	"  --run-dir DIR     folder of manager.sock (/run/gswarm)\n"
	"  --log-level L     what is written to stderr (info)\n"
	"  --has-cluster     there is a cluster here: without its log it is an error to start\n"
	"  --help            print this and exit\n"
	"  --version         print the version and exit\n";

struct daemon {
	struct manager manager;
	struct settle *settle;
	uv_signal_t signals[2];
	enum log_level level;
};

static int fail_usage(const char *why, const char *what)
{
	fprintf(stderr, "gswarm-manager: %s %s (see --help)\n", why, what);
	return 2;
}

/* -1: go on; otherwise the exit status. */
static int parse(int argc, char **argv, struct daemon *d)
{
	static const struct option options[] = {{"state-dir", required_argument, NULL, 's'},
						{"run-dir", required_argument, NULL, 'r'},
						{"log-level", required_argument, NULL, 'l'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{"has-cluster", no_argument, NULL, 'c'},
						{0}};
	int c;

	d->manager.ctx.state_dir = xstrdup("/var/lib/gswarm/manager");
	d->manager.run_dir = xstrdup("/run/gswarm");
	d->level = LOG_INFO;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 's')
			str_replace(&d->manager.ctx.state_dir, optarg);
		else if (c == 'r')
			str_replace(&d->manager.run_dir, optarg);
		else if (c == 'l' && log_level_parse(optarg, &d->level) < 0)
			return fail_usage("--log-level must be error, warn, info or debug, not", optarg);
		else if (c == 'c')
			d->manager.has_cluster = true;
		else if (c == 'h')
			return fputs(usage, stdout) < 0;
		else if (c == 'V')
			return puts("gswarm-manager " GSWARM_VERSION) < 0;
		else if (c == '?')
			return fail_usage("unknown option", argv[optind - 1]);
		else if (c == ':')
			return fail_usage("a value is missing behind", argv[optind - 1]);
	}
	return optind < argc ? fail_usage("unexpected argument", argv[optind]) : -1;
}

/* One arena: all allocation is on the loop's thread but for short disk jobs. The thread pool must be large
 * enough that raft's disk jobs never wait behind other blocking calls; its threads' stacks are touched only
 * when used. */
static void keep_small(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 128 * 1024);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	setenv("UV_THREADPOOL_SIZE", "16", 0);
}

static void on_signal_closed(uv_handle_t *h)
{
}

static void on_stopped(void *arg)
{
	struct daemon *d = arg;

	settle_free(d->settle);
	gap_end();
	for (size_t i = 0; i < array_size(d->signals); i++)
		uv_close((uv_handle_t *)&d->signals[i], on_signal_closed);
}

static void on_signal(uv_signal_t *h, int signum)
{
	struct daemon *d = h->data;

	log_info("signal %d, stopping", signum);
	manager_stop(&d->manager, on_stopped, d);
}

static void handle_signals(struct daemon *d)
{
	static const int numbers[] = {SIGTERM, SIGINT};

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < array_size(numbers); i++) {
		uv_signal_init(d->manager.ctx.loop, &d->signals[i]);
		d->signals[i].data = d;
		uv_signal_start(&d->signals[i], on_signal, numbers[i]);
	}
}

int main(int argc, char **argv)
{
	struct daemon d = {.manager = {.ctx = {.clock = &clock_real}}};
	uv_loop_t loop;
	struct err e = {0};
	int rc;

	keep_small();
	rc = parse(argc, argv, &d);
	if (rc >= 0)
		return rc;
	umask(0007);
	log_init("manager", d.level, STDERR_FILENO);
	log_start_writer();
	uv_loop_init(&loop);
	gap_watch(&loop);
	d.manager.ctx.loop = &loop;
	handle_signals(&d);
	if (manager_start(&d.manager, &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	d.settle = settle_new(&loop);
	uv_run(&loop, UV_RUN_DEFAULT);
	manager_fini(&d.manager);
	uv_loop_close(&loop);
	return 0;
}
