// SPDX-License-Identifier: Apache-2.0
/* service create: options -> ServiceSpec -> the manager -> wait until it runs.
 *
 * The happy path is one CreateService and a wait. What can fail: an option's value (here, before anything is
 * sent), what the manager refuses (too few nodes, unknown network, name taken), and a start that cannot
 * succeed (progress.c). */
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/text.h"
#include "cli/client.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/wait.h"

#define KV "key=value"

const struct opt create_options[] = {
	{0, "cluster", OPT_STR, "name",
	 "Name of the Galera cluster (default: the service's); one service has it all", NULL},
	{0, "constraint", OPT_LIST, "expr",
	 "Where tasks may run, like node.role==worker or node.labels.rack!=a", NULL},
	{'d', "detach", OPT_FLAG, NULL, "Return at once instead of waiting until it runs", NULL},
	{0, "endpoint-mode", OPT_STR, NULL,
	 "How its name will answer (default vip; recorded: there is no name service yet)",
	 "vip|dnsrr|writer|any"},
	{'e', "env", OPT_LIST, "name=value", "Environment of the tasks; NAME alone takes this shell's value",
	 NULL},
	{0, "env-file", OPT_LIST, "file", "Environment of the tasks from a file", NULL},
	{0, "galera-profile", OPT_STR, NULL, "Durability and timing of the cluster (default lan)",
	 "lan-fast|lan|safe|wan"},
	{0, "hostname", OPT_STR, NULL, "Host name inside the tasks", NULL},
	{'l', "label", OPT_LIST, KV, "Label of the service", NULL},
	{0, "limit-cpu", OPT_CPUS, NULL, "Most CPUs a task may use", NULL},
	{0, "limit-memory", OPT_BYTES, NULL, "Most memory a task may use", NULL},
	{0, "limit-pids", OPT_UINT, NULL, "Most processes a task may have (default 4096)", NULL,
	 .most = "4194304"},
	{0, "mode", OPT_STR, NULL, "N tasks, or one on each node (default replicated)", "replicated|global"},
	{0, "mount", OPT_LIST, "mount",
	 "type=volume|bind|tmpfs,source=...,target=...[,readonly][,tmpfs-size=...]", NULL},
	{0, "name", OPT_STR, NULL, "Name of the service", NULL},
	{0, "network", OPT_LIST, "network", "Network of the tasks; the first one carries Galera", NULL},
	{'p', "publish", OPT_LIST, "port", "Port to reserve, like 3306:3306 (no node answers on it yet)",
	 NULL},
	{'q', "quiet", OPT_FLAG, NULL, "No progress, only the id", NULL},
	{0, "read-only", OPT_FLAG, NULL, "Mount the root file system read-only", NULL},
	{0, "replicas", OPT_UINT, NULL, "Number of tasks (default 1)", NULL},
	{0, "replicas-max-per-node", OPT_UINT, NULL, "Most tasks on one node (default 0: no limit)", NULL},
	{0, "reserve-cpu", OPT_CPUS, NULL, "CPUs a node must have to spare", NULL},
	{0, "reserve-memory", OPT_BYTES, NULL, "Memory a node must have to spare", NULL},
	{0, "restart-condition", OPT_STR, NULL, "When a task that ended is started again (default any)",
	 "any|on-failure|none"},
	{0, "sst-method", OPT_STR, NULL,
	 "How a member without data gets it (default mariabackup, rsync where that is missing)",
	 "mariabackup|rsync"},
	{0, "stop-grace-period", OPT_DURATION, NULL,
	 "Time between the stop signal and KILL (default 10s, galera 10m)", NULL, .least = "1ms",
	 .most = "24h"},
	{0, "stop-signal", OPT_STR, NULL,
	 "Signal that asks a task to end (default SIGTERM, galera that only)", NULL},
	{0, "topology", OPT_STR, NULL,
	 "What the tasks are to each other (default none); primary-replica comes later",
	 "none|galera|primary-replica"},
	{0, "update-monitor", OPT_DURATION, NULL,
	 "How long it must run before it counts as converged (default 5s, galera 0s)", NULL, .most = "24h"},
	{'u', "user", OPT_STR, "name|uid[:gid]", "User of the tasks", NULL},
	{0, "wait-timeout", OPT_DURATION, NULL, "Wait no longer than this (default 0s: for ever)", NULL,
	 .most = "8760h"},
	{'w', "workdir", OPT_STR, "dir", "Working folder of the tasks", NULL},
	OPT_END,
};

static bool is_galera(const Gs__ServiceSpec *s)
{
	return s->topology == TOPO_GALERA;
}

static int fill_environment(struct cmd *c, Gs__TaskSpec *t, struct err *e)
{
	const struct opt_value *files = opt_list(c, "env-file"), *vars = opt_list(c, "env");

	for (size_t i = 0; i < files->n_list; i++)
		if (parse_env_file(files->list[i], &t->n_env, &t->env, e) < 0)
			return err_wrap(e, "--env-file");
	for (size_t i = 0; i < vars->n_list; i++) {
		cleanup_free char *item = NULL;

		if (parse_env(vars->list[i], &item, e) < 0)
			return err_wrap(e, "--env");
		if (item)
			obj_add_str(&t->n_env, &t->env, item);
	}
	return 0;
}

static int fill_places(struct cmd *c, Gs__ServiceSpec *s, struct err *e)
{
	const struct opt_value *mounts = opt_list(c, "mount"), *nets = opt_list(c, "network"),
			       *ports = opt_list(c, "publish");

	for (size_t i = 0; i < mounts->n_list; i++) {
		Gs__Mount *m;

		if (parse_mount(mounts->list[i], &m, e) < 0)
			return err_wrap(e, "--mount %s", mounts->list[i]);
		obj_add(&s->task->n_mounts, &s->task->mounts, m);
	}
	for (size_t i = 0; i < nets->n_list; i++) {
		Gs__NetworkAttach *a;

		if (parse_network(nets->list[i], &a, e) < 0)
			return err_wrap(e, "--network");
		obj_add(&s->task->n_networks, &s->task->networks, a);
	}
	for (size_t i = 0; i < ports->n_list; i++) {
		Gs__Port *p;

		if (parse_port(ports->list[i], &p, e) < 0)
			return err_wrap(e, "--publish");
		obj_add(&s->n_ports, &s->ports, p);
	}
	return 0;
}

static Gs__Resources *resources(struct cmd *c, const char *cpu, const char *memory)
{
	Gs__Resources *r;

	if (!opt_is_set(c, cpu) && !opt_is_set(c, memory))
		return NULL;
	r = obj_new(&gs__resources__descriptor);
	r->nano_cpus = opt_number(c, cpu, 0);
	r->memory_bytes = opt_number(c, memory, 0);
	return r;
}

/* The managers judge all of it; what needs no cluster to be judged is told as wrong words. */
static int check_process(const Gs__TaskSpec *t, struct err *e)
{
	if (*t->hostname && !text_is_hostname(t->hostname))
		return err_set(e, CLI_USAGE,
			       "--hostname: '%.70s' is none: up to 64 letters, digits and '-', joined by '.'",
			       t->hostname);
	if (*t->dir && !text_is_path(t->dir))
		return err_set(e, CLI_USAGE, "--workdir: '%.80s' is no absolute path without '..'", t->dir);
	if (t->n_args && !*t->args[0])
		return err_set(e, CLI_USAGE, "the command is empty");
	return 0;
}

static int fill_process(struct cmd *c, Gs__TaskSpec *t, struct err *e)
{
	bug_if(c->n_args < 1);
	str_replace(&t->image, c->args[0]);
	for (size_t i = 1; i < c->n_args; i++)
		obj_add_str(&t->n_args, &t->args, c->args[i]);
	str_replace(&t->dir, opt_text(c, "workdir", ""));
	str_replace(&t->user, opt_text(c, "user", ""));
	str_replace(&t->hostname, opt_text(c, "hostname", ""));
	str_replace(&t->stop_signal, opt_text(c, "stop-signal", ""));
	t->stop_grace_ms = (uint32_t)(opt_number(c, "stop-grace-period", 0) / 1000000);
	t->limit_pids = (uint32_t)opt_number(c, "limit-pids", 0);
	t->read_only = opt_is_set(c, "read-only");
	t->restart = (Gs__RestartCondition)opt_choice(c, "restart-condition", 0);
	t->limits = resources(c, "limit-cpu", "limit-memory");
	t->reservations = resources(c, "reserve-cpu", "reserve-memory");
	return check_process(t, e);
}

static int fill_galera(struct cmd *c, Gs__ServiceSpec *s, struct err *e)
{
	static const char *const only[] = {"galera-profile", "sst-method", "cluster"};
	const char *mode = opt_text(c, "endpoint-mode", "");
	bool galera_mode = strcmp(mode, "writer") == 0 || strcmp(mode, "any") == 0;

	if (!is_galera(s)) {
		for (size_t i = 0; i < array_size(only); i++)
			if (opt_is_set(c, only[i]))
				return err_set(e, CLI_USAGE, "--%s needs --topology galera", only[i]);
		if (galera_mode)
			return err_set(e, CLI_USAGE, "--endpoint-mode %s needs --topology galera", mode);
		str_replace(&s->endpoint_mode, mode);
		return 0;
	}
	s->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&s->galera->profile, opt_text(c, "galera-profile", ""));
	str_replace(&s->galera->sst_method, opt_text(c, "sst-method", ""));
	str_replace(&s->galera->cluster_name, opt_text(c, "cluster", ""));
	str_replace(galera_mode ? &s->galera->endpoint_mode : &s->endpoint_mode, mode);
	return 0;
}

static int fill_spec(struct cmd *c, Gs__ServiceSpec *s, struct err *e)
{
	const struct opt_value *labels = opt_list(c, "label"), *constraints = opt_list(c, "constraint");

	str_replace(&s->name, opt_text(c, "name", "")); /* the manager invents one */
	s->mode = (Gs__Mode)opt_choice(c, "mode", 0);
	if (s->mode == MODE_GLOBAL && opt_is_set(c, "replicas"))
		return err_set(e, CLI_USAGE, "--replicas and --mode global exclude each other");
	s->replicas = (uint32_t)opt_number(c, "replicas", 1);
	s->max_per_node = (uint32_t)opt_number(c, "replicas-max-per-node", 0);
	s->topology = (Gs__Topology)opt_choice(c, "topology", 0);
	s->task = obj_new(&gs__task_spec__descriptor);
	if (fill_process(c, s->task, e) < 0)
		return e->code;
	for (size_t i = 0; i < constraints->n_list; i++)
		obj_add_str(&s->n_constraints, &s->constraints, constraints->list[i]);
	for (size_t i = 0; i < labels->n_list; i++) {
		Gs__Label *l;

		if (parse_label(labels->list[i], &l, e) < 0)
			return e->code;
		obj_add(&s->n_labels, &s->labels, l);
	}
	if (fill_environment(c, s->task, e) < 0 || fill_places(c, s, e) < 0)
		return e->code;
	return fill_galera(c, s, e);
}

int service_create_run(struct cmd *c, struct err *e)
{
	cleanup(obj_free_p) Gs__ServiceSpec *spec = obj_new(&gs__service_spec__descriptor);
	Gs__ServiceCreateRequest req = GS__SERVICE_CREATE_REQUEST__INIT;
	cleanup_message Gs__CreatedResponse *r = NULL;
	struct wait_options wait = wait_options_of(c, WAIT_CONVERGED);

	if (fill_spec(c, spec, e) < 0)
		return e->code;
	req.spec = spec;
	if (client_call(c, DAEMON_MANAGER, CONTROL_CREATE_SERVICE, &req, &r, e) < 0)
		return e->code;
	if (*r->warning)
		fprintf(stderr, "gswarm: %s\n", r->warning);
	puts(r->id);
	fflush(stdout);
	wait.is_new = true;
	return opt_is_set(c, "detach") ? 0 : service_wait(c, r->id, &wait, e);
}
