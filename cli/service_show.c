// SPDX-License-Identifier: Apache-2.0
/* service ps and inspect.
 *
 * The happy path is one call and a table. What can fail: an unknown service. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/nouns.h"
#include "cli/task_table.h"
#include "cli/output/text.h"

const struct opt service_inspect_options[] = {
	{0, "pretty", OPT_FLAG, NULL, "Print for people instead of JSON", NULL},
	{'f', "format", OPT_STR, NULL, "How to print", "json"},
	OPT_END,
};
static const char *network_name_of(const Gs__ServiceDetail *d, const char *id)
{
	for (size_t i = 0; i < d->n_networks; i++)
		if (strcmp(d->networks[i]->meta->id, id) == 0)
			return d->networks[i]->spec->name;
	return id;
}

static int ps_one(struct cmd *c, const char *service, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;
	cleanup_message Gs__ServiceDetail *d = NULL;

	req.ref = (char *)service;
	if (client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_SERVICE, &req, &d, e) < 0)
		return e->code;
	tasks_print(c, d, d->service && d->service->spec->topology == TOPO_GALERA);
	return 0;
}

int service_ps_run(struct cmd *c, struct err *e)
{
	return tasks_filters_check(c, e) < 0 ? e->code : for_each_arg(c, ps_one, e);
}

static void print_list(const char *title, size_t n, char *const *items)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *item =
			text_cut(items[i], 0); /* a script's line breaks would look like ours */

		printf("%s%s%s", i ? " " : title, item, i + 1 < n ? "" : "\n");
	}
}

static void print_resources(const char *title, const Gs__Resources *r)
{
	char mem[32];

	if (!r)
		return;
	printf(" %s:\n", title);
	if (r->nano_cpus)
		printf("  CPU:\t\t%g\n", (double)r->nano_cpus / 1e9);
	if (r->memory_bytes)
		printf("  Memory:\t%s\n", text_bytes(r->memory_bytes, mem, sizeof(mem)));
}

static void print_container(const Gs__TaskSpec *t)
{
	static const char *const types[] = {"volume", "bind", "tmpfs"};

	printf("ContainerSpec:\n Image:\t\t%s\n", t->image);
	print_list(" Args:\t\t", t->n_args, t->args);
	for (size_t i = 0; i < t->n_env; i++) /* values may be passwords */
		printf("%s%.*s", i ? " " : " Env:\t\t", (int)strcspn(t->env[i], "="), t->env[i]);
	if (t->n_env)
		printf("\n");
	if (*t->dir)
		printf(" Dir:\t\t%s\n", t->dir);
	if (*t->user)
		printf(" User:\t\t%s\n", t->user);
	if (t->n_mounts)
		printf("Mounts:\n");
	for (size_t i = 0; i < t->n_mounts; i++)
		printf(" Target:\t%s\n  Source:\t%s\n  ReadOnly:\t%s\n  Type:\t\t%s\n", t->mounts[i]->target,
		       t->mounts[i]->source, t->mounts[i]->readonly ? "true" : "false",
		       types[t->mounts[i]->type % 3]);
	if (t->limits || t->reservations)
		printf("Resources:\n");
	print_resources("Reservations", t->reservations);
	print_resources("Limits", t->limits);
}

static const char *profile_of(const Gs__ServiceSpec *s)
{
	return s->galera && *s->galera->profile ? s->galera->profile : "lan (default)";
}

static void print_pretty(const void *detail)
{
	const Gs__ServiceDetail *d = detail;
	const Gs__Service *s = d->service;

	printf("ID:\t\t%s\nName:\t\t%s\n", s->meta->id, s->spec->name);
	for (size_t i = 0; i < s->spec->n_labels; i++)
		printf("%s %s=%s\n", i ? "" : "Labels:\n", s->spec->labels[i]->key,
		       s->spec->labels[i]->value);
	if (s->spec->mode == MODE_GLOBAL)
		printf("Service Mode:\tGlobal\n");
	else
		printf("Service Mode:\tReplicated\n Replicas:\t%u\n", s->spec->replicas);
	if (s->spec->topology == TOPO_GALERA && d->galera)
		printf("Topology:\tGalera\n Cluster:\t%s\n Phase:\t\t%s\n Profile:\t%s\n", d->galera->name,
		       galera_phase_name(d->galera->phase), profile_of(s->spec));
	if (*s->error)
		printf("Error:\t\t%s\n", s->error);
	print_list("Placement:\n Constraints:\t", s->spec->n_constraints, s->spec->constraints);
	print_container(s->spec->task);
	for (size_t i = 0; i < s->spec->task->n_networks; i++)
		printf("%s%s%s", i ? " " : "Networks:\t",
		       network_name_of(d, s->spec->task->networks[i]->network_id),
		       i + 1 < s->spec->task->n_networks ? "" : "\n");
	if (*s->spec->endpoint_mode)
		printf("Endpoint Mode:\t%s\n", s->spec->endpoint_mode);
	/* No virtual IPs: none of them answers in this version, and Docker's page has none either. */
	for (size_t i = 0; i < s->n_ports; i++)
		printf("%s%u->%u/%s\n", i ? "\t\t" : "Ports:\t\t", s->ports[i]->published,
		       s->ports[i]->target, s->ports[i]->protocol);
	printf("\n");
}

static int inspect_fetch(struct cmd *c, const char *service, const void **ret, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)service;
	return client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_SERVICE, &req, ret, e);
}

int service_inspect_run(struct cmd *c, struct err *e)
{
	return inspect_args(c, inspect_fetch, print_pretty, e);
}
