// SPDX-License-Identifier: Apache-2.0
/* The member side of the agent: the happy path is that each part starts in the order of what it needs
 * (runtime, tasks, network, listener, session). What can fail (a port, the kernel) is told to init or join,
 * or ends the daemon's start with one line. Stopping leaves every task and kernel object as it is. */
#include "worker/node/member.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/tls/tls.h"
#include "worker/galera/blob.h"
#include "worker/image/image.h"
#include "worker/net/network.h"
#include "worker/node/address.h"
#include "worker/node/manager_process.h"
#include "worker/node/saver.h"
#include "worker/runtime/container.h"
#include "worker/session/agent.h"
#include "worker/session/logs.h"
#include "worker/session/peers.h"
#include "worker/task/driver.h"
#include "worker/task/table.h"

static void on_task_changed(void *arg)
{
	struct worker *w = arg;

	if (w->agent)
		agent_report_soon(w->agent);
}

static void on_task_progressed(void *arg)
{
	struct worker *w = arg;

	/* A report of its own is not worth it more often than the agent's slow tick. */
	if (w->agent)
		agent_report_later(w->agent);
}

/* Of a worker that was killed, and of tasks that are gone: nothing else ever takes it away. */
static void leftovers_remove(const struct worker *w)
{
	cleanup_free char *etc = xasprintf("%s/etc", w->run_dir), *tasks = xasprintf("%s/tasks", w->run_dir);

	etc_layers_tidy(etc, tasks);
	blobs_tidy(w->blob_dir);
}

int worker_member_start(struct worker *w, struct err *e)
{
	struct tasks_above above;
	struct runtime_config runtime = {
		.run_dir = w->run_dir, .crun = CRUN, .conmon = CONMON, .spawner = w->spawner};

	bug_if_off_loop();
	bug_if(!w->state.is_member || w->agent || w->tasks || w->net || w->peers || w->logs || w->runtime);
	if (fs_mkdir(w->dir, 0700, e) < 0 || fs_mkdir(w->blob_dir, 0700, e) < 0)
		return e->code;
	if (!w->identity && tls_identity_new(w->state.ca, w->state.cert, w->state.key, &w->identity, e) < 0)
		return err_wrap(e, "identity of this node");
	if (runtime_new(w->loop, &runtime, &w->runtime, e) < 0 || net_new(w, &w->net, e) < 0)
		return e->code;
	w->peers = peers_new(w);
	w->logs = logs_new(w);
	above = (struct tasks_above){.galera = &galera_driver_ops,
				     .peer = peers_service(w->peers),
				     .changed = on_task_changed,
				     .progressed = on_task_progressed,
				     .arg = w};
	leftovers_remove(w);
	w->tasks = tasks_new(w, &above);
	if (tasks_load(w->tasks, e) < 0)
		return e->code;
	peers_listen(w->peers);
	w->agent = agent_new(w);
	agent_start(w->agent);
	w->address = address_new(w);
	if (w->state.has_manager)
		manager_proc_want(w->manager);
	return 0;
}

void worker_member_stop(struct worker *w)
{
	address_free(w->address);
	w->address = NULL;
	agent_free(w->agent);
	w->agent = NULL;
	logs_free(w->logs);
	w->logs = NULL;
	tasks_free(w->tasks);
	w->tasks = NULL;
	peers_free(w->peers);
	w->peers = NULL;
	net_free(w->net);
	w->net = NULL;
	runtime_free(w->runtime);
	w->runtime = NULL;
	if (w->identity)
		tls_identity_unref(w->identity);
	w->identity = NULL;
	for (size_t i = 0; i < w->n_managers; i++)
		free(w->managers[i]);
	free(w->managers);
	w->managers = NULL;
	w->n_managers = 0;
}
