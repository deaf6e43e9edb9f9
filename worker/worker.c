// SPDX-License-Identifier: Apache-2.0
/* The member side of the agent: the happy path is that each part starts in the order of what it needs
 * (runtime, tasks, network, listener, session). What can fail (a port, the kernel) is told to init or join,
 * or ends the daemon's start with one line. Stopping leaves every task and kernel object as it is. */
#include "worker/worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/node/address.h"
#include "worker/session/agent.h"
#include "worker/task/driver.h"
#include "worker/session/logs.h"
#include "worker/node/manager_process.h"
#include "worker/net/network.h"
#include "worker/session/peers.h"
#include "worker/runtime/container.h"
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

int worker_member_start(struct worker *w, struct err *e)
{
	struct tasks_above above;
	struct runtime_config runtime = {
		.run_dir = w->run_dir, .crun = CRUN, .conmon = CONMON, .spawner = w->spawner};

	if (fs_mkdir(w->dir, 0700, e) < 0 || fs_mkdir(w->blob_dir, 0700, e) < 0)
		return e->code;
	if (!w->identity && tls_identity_new(w->state.ca, w->state.cert, w->state.key, &w->identity, e) < 0)
		return err_wrap(e, "identity of this node");
	if (runtime_new(w->loop, &runtime, &w->runtime, e) < 0 || netglue_new(w, &w->net, e) < 0)
		return e->code;
	w->peers = peers_new(w);
	w->logs = logs_new(w);
	above = (struct tasks_above){.galera = &galera_driver_ops,
				     .peer = peers_service(w->peers),
				     .changed = on_task_changed,
				     .progressed = on_task_progressed,
				     .arg = w};
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
	netglue_free(w->net);
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

void worker_identity_changed(struct worker *w, struct tls_identity *take_identity)
{
	tls_identity_unref(w->identity);
	w->identity = take_identity;
	peers_identity_changed(w->peers);
}

static char **list_dup(char *const *list, size_t n)
{
	char **copy = xcalloc(n + 1, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(list[i]);
	return copy;
}

static void list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static bool list_equal(char *const *a, size_t n, char *const *b, size_t m)
{
	if (n != m)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

void worker_managers_set(struct worker *w, char *const *list, size_t n)
{
	struct err e = {0};
	char **copy;

	if (n == 0)
		return;
	copy = list_dup(list, n);
	list_free(w->managers, w->n_managers);
	w->managers = copy;
	w->n_managers = n;
	if (list_equal(w->state.managers, w->state.n_managers, copy, n))
		return;
	list_free(w->state.managers, w->state.n_managers);
	w->state.managers = list_dup(copy, n);
	w->state.n_managers = n;
	if (state_save_json(w->dir, &w->state, &e) < 0)
		log_error("%s", e.msg);
}

static void ip_bytes(const char *text, ProtobufCBinaryData *ret)
{
	uint8_t bytes[16];
	size_t n = addr_bytes(text, bytes);

	if (n)
		obj_bytes_set(ret, bytes, n);
}

void worker_describe(struct worker *w, Gs__NodeDescription *d)
{
	struct utsname u;
	struct sysinfo si;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	uname(&u);
	sysinfo(&si);
	str_replace(&d->hostname, w->hostname);
	str_replace(&d->platform_os, "linux");
	str_replace(&d->platform_arch, u.machine);
	str_replace(&d->software_version, GSWARM_VERSION);
	str_replace(&d->boot_id, w->boot_id);
	d->resources = obj_new(&gs__resources__descriptor);
	d->resources->nano_cpus = (uint64_t)(cpus > 0 ? cpus : 1) * 1000000000u;
	d->resources->memory_bytes = (uint64_t)si.totalram * si.mem_unit;
	ip_bytes(w->state.advertise, &d->advertise_ip);
	ip_bytes(w->state.data_path, &d->vtep_ip);
	d->vtep_mtu = netglue_mtu(w->net, w->state.data_path);
	d->peer_port = PEER_PORT;
}
