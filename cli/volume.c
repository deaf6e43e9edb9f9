// SPDX-License-Identifier: Apache-2.0
/* volume ls, inspect, rm.
 *
 * The happy path is one call to the manager; rm then waits until the data is gone. What can fail: a volume that is
 * not there, a name that several have, removal of one that is used (said by the manager), or what its node's worker
 * met. */
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/filter.h"
#include "cli/nouns.h"
#include "cli/output/json.h"
#include "cli/output/table.h"
#include "cli/output/text.h"

static const struct opt ls_options[] = {
	{'f', "filter", OPT_LIST, "key=value",
	 "Show only volumes with this id, name (its start), service, node, state, or dangling=true: of no "
	 "service",
	 NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{0, "no-trunc", OPT_FLAG, NULL, "Print whole ids", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "Print ids only", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {{"id", NULL},
					    {"name", NULL},
					    {"service", NULL},
					    {"node", NULL},
					    {"state", "unplaced|in-use|retired|removing"},
					    {"dangling", "true|false"},
					    {0}};
static const struct opt inspect_options[] = {
	{'f', "format", OPT_STR, NULL, "How to print", "json"},
	{0, "pretty", OPT_FLAG, NULL, "Print for people", NULL},
	OPT_END,
};
static const struct opt rm_options[] = {
	{0, "discard-data", OPT_FLAG, NULL, "Yes, the data of these volumes is to be deleted for good", NULL},
	{'f', "force", OPT_FLAG, NULL, "A volume that does not exist is no error", NULL},
	OPT_END,
};
#define LOOK_US 100000

/* No service has it. */
static bool is_dangling(const Gs__VolumeDetail *v)
{
	return strcmp(v->state, "retired") == 0 || strcmp(v->state, "removing") == 0;
}

static bool volume_matches(const char *key, const char *value, const void *row)
{
	const Gs__VolumeDetail *v = row;

	if (strcmp(key, "id") == 0)
		return filter_prefix(v->meta->id, value);
	if (strcmp(key, "name") == 0)
		return filter_prefix(v->name, value);
	if (strcmp(key, "service") == 0)
		return strcmp(v->service, value) == 0 || strcmp(v->service_id, value) == 0;
	if (strcmp(key, "node") == 0)
		return strcmp(v->node, value) == 0 || strcmp(v->node_id, value) == 0;
	if (strcmp(key, "state") == 0)
		return strcmp(v->state, value) == 0;
	return is_dangling(v) == (strcmp(value, "true") == 0);
}

static int by_name(const void *a, const void *b)
{
	const Gs__VolumeDetail *x = *(Gs__VolumeDetail *const *)a, *y = *(Gs__VolumeDetail *const *)b;
	int r = text_order(x->name, y->name);

	return r ? r : strcmp(x->meta->id, y->meta->id);
}

/* A volume on a node that is away can neither be used nor removed. heap */
static char *state_text(const Gs__VolumeDetail *v)
{
	return xasprintf("%s%s", v->state, *v->node_id && !v->node_ready ? " (node down)" : "");
}

static void ls_row(struct table *t, const Gs__VolumeDetail *v, const char *id)
{
	cleanup_free char *state = state_text(v);

	table_row(t, (const char *[]){id, v->name, v->service, v->slot, v->node, state});
}

static int ls_run(struct cmd *c, struct err *e)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListVolumesResponse *r = NULL;
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0, quiet = opt_is_set(c, "quiet");
	struct table *t;

	if (filters_check(c, filters, e) < 0 ||
	    client_call(c, DAEMON_MANAGER, CONTROL_LIST_VOLUMES, &req, &r, e) < 0)
		return e->code;
	if (r->n_volumes)
		qsort(r->volumes, r->n_volumes, sizeof(*r->volumes), by_name);
	t = table_new((const char *[]){"VOLUME ID", "VOLUME NAME", "SERVICE", "SLOT", "NODE", "STATE", NULL});
	for (size_t i = 0; i < r->n_volumes; i++) {
		const Gs__VolumeDetail *v = r->volumes[i];
		char id[ID_SHORT_LEN + 1];
		const char *shown = opt_is_set(c, "no-trunc") ? v->meta->id : text_short_id(v->meta->id, id);

		if (!filters_pass(c, volume_matches, v))
			continue;
		if (quiet)
			puts(shown);
		else if (json)
			json_print_line(v, NULL);
		else
			ls_row(t, v, shown);
	}
	table_print(t, json || quiet ? NULL : stdout);
	return 0;
}

static int inspect_fetch(struct cmd *c, const char *volume, const void **ret, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)volume;
	return client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_VOLUME, &req, ret, e);
}

static void print_pretty(const void *message)
{
	const Gs__VolumeDetail *v = message;
	cleanup_free char *state = state_text(v);
	char when[32];

	text_time(v->meta->created_ms, when, sizeof(when));
	printf("ID:\t\t%s\nName:\t\t%s\nService:\t%s\nSlot:\t\t%s\n", v->meta->id, v->name, v->service,
	       v->slot);
	printf("State:\t\t%s\n", state);
	if (*v->task)
		printf("Used by:\t%s\n", v->task);
	if (*v->node_id)
		printf("Node:\t\t%s\nPath:\t\t%s (below the worker's state folder there)\n", v->node,
		       v->path);
	printf("Created:\t%s\n", when);
	if (*v->error)
		printf("Error:\t\t%s\n", v->error);
}

static int inspect_run(struct cmd *c, struct err *e)
{
	return inspect_args(c, inspect_fetch, print_pretty, e);
}

/* Until it is gone, or its worker said why not. */
static int wait_gone(struct cmd *c, const char *volume, const char *id, struct err *e)
{
	for (;; usleep(LOOK_US)) {
		cleanup_message Gs__VolumeDetail *v = NULL;
		int r = inspect_fetch(c, id, (const void **)&v, e);

		if (r == E_NOT_FOUND) {
			err_clear(e);
			return 0;
		}
		if (r < 0)
			return r;
		if (strcmp(v->state, "removing") != 0)
			return err_set(e, E_UNAVAILABLE, "volume %s on node %s: %s", volume, v->node,
				       *v->error ? v->error : "not removed");
		if (!v->node_ready)
			return err_set(e, E_UNAVAILABLE,
				       "volume %s: node %s went down; the data is deleted when it is back",
				       volume, v->node);
	}
}

static int rm_one(struct cmd *c, const char *volume, struct err *e)
{
	Gs__VolumeRemoveRequest req = GS__VOLUME_REMOVE_REQUEST__INIT;
	cleanup_message Gs__CreatedResponse *resp = NULL;

	req.ref = (char *)volume;
	req.discard_data = opt_is_set(c, "discard-data");
	int r = client_call(c, DAEMON_MANAGER, CONTROL_REMOVE_VOLUME, &req, &resp, e);
	if (r == E_NOT_FOUND && opt_is_set(c, "force"))
		return 0;
	if (r < 0 || (r = wait_gone(c, volume, resp->id, e)) < 0)
		return r;
	puts(volume);
	return 0;
}

static int rm_run(struct cmd *c, struct err *e)
{
	return for_each_arg(c, rm_one, e);
}

static const struct verb verbs[] = {
	{"inspect", "[OPTIONS] VOLUME [VOLUME...]", "Show everything about volumes", inspect_options, 1, -1,
	 false, "volume", inspect_run},
	{"ls", "[OPTIONS]", "List the volumes of services, and what removed services have left", ls_options,
	 0, 0, false, NULL, ls_run},
	{"rm", "[OPTIONS] VOLUME [VOLUME...]", "Delete what removed services have left", rm_options, 1, -1,
	 false, "volume", rm_run},
};
const struct noun volume_noun = {"volume", "Manage the data of services", verbs, array_size(verbs)};
