// SPDX-License-Identifier: Apache-2.0
/* The happy path is two lstat a second that find the sockets where they were made. What can fail is making them
 * again: told once, tried on.
 *
 * A manager cannot know that its socket is gone; it is asked to end and started again, which takes a moment less
 * than an election would and loses nothing. Tasks are watched by their processes, not by their folders: they go
 * on. */
#include "worker/node/run_folder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/node/manager_process.h"
#include "worker/node/node.h"
#include "worker/runtime/container.h"

#define LOOK_MS 1000
#define MANAGER_MISSES 5 /* looks; a manager that starts makes its socket within the first */

struct run_folder {
	struct worker *w;
	struct loop_timer look;
	char *manager_sock, *worker_sock, *exits;
	unsigned manager_misses;
	int manager_pid; /* that the misses are counted of */
	char trouble[160];
};

static void look_manager(struct run_folder *r)
{
	int pid = manager_proc_pid(r->w->manager);

	if (pid == 0 || pid != r->manager_pid ||
	    access(r->manager_sock, F_OK) == 0) /* through the link to the manager's own folder */
		r->manager_misses = 0;
	else if (++r->manager_misses == MANAGER_MISSES) {
		log_warn("%s is gone: the manager is started again", r->manager_sock);
		manager_proc_restart(r->w->manager);
	}
	r->manager_pid = pid;
}

static int make_again(struct run_folder *r, struct err *e)
{
	if (!fs_exists(r->worker_sock) &&
	    (fs_mkdir(r->w->run_dir, 0755, e) < 0 || node_listen(r->w->node, e) < 0))
		return e->code;
	return r->w->runtime && !fs_exists(r->exits) ? runtime_folders(r->w->runtime, e) : 0;
}

static void look(void *arg)
{
	struct run_folder *r = arg;
	struct err e = {0};

	loop_timer_set(&r->look, LOOK_MS);
	look_manager(r);
	if (fs_exists(r->worker_sock) && (!r->w->runtime || fs_exists(r->exits)))
		return;
	if (make_again(r, &e) == 0) {
		log_warn("%s was wiped; what it needs was made again", r->w->run_dir);
		r->trouble[0] = '\0';
	} else if (strcmp(r->trouble, e.msg) != 0) {
		log_error("%s was wiped: %s", r->w->run_dir, e.msg);
		snprintf(r->trouble, sizeof(r->trouble), "%s", e.msg);
	}
}

struct run_folder *run_folder_new(struct worker *w)
{
	struct run_folder *r = xcalloc(1, sizeof(*r));

	r->w = w;
	r->worker_sock = xasprintf("%s/worker.sock", w->run_dir);
	r->manager_sock = xasprintf("%s/manager.sock", w->run_dir);
	r->exits = xasprintf("%s/exits", w->run_dir);
	loop_timer_init(&r->look, w->loop, look, r);
	loop_timer_set(&r->look, LOOK_MS);
	return r;
}

static void on_timer_closed(void *arg)
{
	struct run_folder *r = arg;

	free(r->worker_sock);
	free(r->manager_sock);
	free(r->exits);
	free(r);
}

void run_folder_free(struct run_folder *r)
{
	if (r)
		loop_timer_close(&r->look, on_timer_closed);
}
