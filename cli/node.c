// SPDX-License-Identifier: Apache-2.0
/* node ls, inspect, ps, update, rm.
 *
 * The happy path is one call to the manager and a table. What can fail is what the manager refuses: an
 * unknown node, a node that still is Ready, a stale version. */
#include <string.h>

#include "base/buf.h"
#include "base/bug.h"
#include "cli/client.h"
#include "cli/filter.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/output/table.h"
#include "cli/task_table.h"
#include "cli/output/text.h"

static const struct opt ls_options[] = {
	{'f', "filter", OPT_LIST, "key=value",
	 "Show only nodes with this id, name (its start), role or node.label", NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{'q', "quiet", OPT_FLAG, NULL, "Print ids only", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {
	{"id", NULL}, {"name", NULL}, {"role", "worker|manager"}, {"node.label", NULL}, {0}};
static const struct opt inspect_options[] = {
	{0, "pretty", OPT_FLAG, NULL, "Print for people instead of JSON", NULL},
	{'f', "format", OPT_STR, NULL, "How to print", "json"},
	OPT_END,
};
static const struct opt rm_options[] = {
	{'f', "force", OPT_FLAG, NULL, "Remove a node that is not down", NULL},
	OPT_END,
};
static const struct opt update_options[] = {
	{0, "availability", OPT_STR, NULL,
	 "Whether the node takes tasks; drain also moves those without a volume", "active|pause|drain"},
	{0, "label-add", OPT_LIST, "key=value", "Add or change a label", NULL},
	{0, "label-rm", OPT_LIST, "key", "Remove a label", NULL},
	{0, "role", OPT_STR, NULL, "What the node is (cannot be changed yet)", "worker|manager"},
	OPT_END,
};

static const char *manager_status(const Gs__Node *n, const char *leader_id)
{
	if (!n->spec || n->spec->role != ROLE_MANAGER)
		return "";
	if (strcmp(n->meta->id, leader_id) == 0)
		return "Leader";
	return n->status && n->status->state == NODE_READY ? "Reachable" : "Unreachable";
}

static const char *name_of(const Gs__Node *n)
{
	return n->description ? n->description->hostname : "";
}

static bool node_matches(const char *key, const char *value, const void *row)
{
	const Gs__Node *n = row;
	bool is_manager = n->spec && n->spec->role == ROLE_MANAGER;

	if (strcmp(key, "id") == 0)
		return filter_prefix(n->meta->id, value);
	if (strcmp(key, "name") == 0)
		return filter_prefix(name_of(n), value);
	if (strcmp(key, "role") == 0)
		return strcasecmp(value, is_manager ? "manager" : "worker") == 0;
	return n->spec && filter_label(n->spec->labels, n->spec->n_labels, value);
}

static int by_name(const void *a, const void *b)
{
	const Gs__Node *x = *(Gs__Node *const *)a, *y = *(Gs__Node *const *)b;
	int r = text_order(name_of(x), name_of(y));

	return r ? r : strcmp(x->meta->id, y->meta->id);
}

static void ls_row(struct table *t, const Gs__Node *n, const Gs__ListNodesResponse *r)
{
	bool is_self = strcmp(n->meta->id, r->self_id) == 0;
	cleanup_free char *id = xasprintf("%s%s", n->meta->id, is_self ? " *" : "");
	const Gs__NodeDescription *d = n->description;

	table_row(t, (const char *[]){id, d ? d->hostname : "",
				      n->status ? node_state_name(n->status->state) : "Unknown",
				      n->spec ? availability_name(n->spec->availability) : "",
				      manager_status(n, r->leader_id), d ? d->software_version : ""});
}

static int ls_run(struct cmd *c, struct err *e)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListNodesResponse *r = NULL;
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0;
	struct table *t;

	if (filters_check(c, filters, e) < 0 ||
	    client_call(c, DAEMON_MANAGER, CONTROL_LIST_NODES, &req, &r, e) < 0)
		return e->code;
	if (r->n_nodes)
		qsort(r->nodes, r->n_nodes, sizeof(*r->nodes), by_name);
	t = table_new((const char *[]){"ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS",
				       "ENGINE VERSION", NULL});
	for (size_t i = 0; i < r->n_nodes; i++) {
		if (!filters_pass(c, node_matches, r->nodes[i]))
			continue;
		if (opt_is_set(c, "quiet"))
			puts(r->nodes[i]->meta->id);
		else if (json)
			json_print_line(r->nodes[i],
					(const char *[]){"manager_status",
							 manager_status(r->nodes[i], r->leader_id), NULL});
		else
			ls_row(t, r->nodes[i], r);
	}
	table_print(t, json || opt_is_set(c, "quiet") ? NULL : stdout);
	return 0;
}

static void print_pretty(const void *node)
{
	const Gs__Node *n = node;
	char addr[64], when[32], mem[32];
	const Gs__NodeDescription *d = n->description;

	text_time(n->meta->created_ms, when, sizeof(when));
	printf("ID:\t\t\t%s\n", n->meta->id);
	if (n->spec && n->spec->n_labels) {
		printf("Labels:\n");
		for (size_t i = 0; i < n->spec->n_labels; i++)
			printf(" - %s=%s\n", n->spec->labels[i]->key, n->spec->labels[i]->value);
	}
	printf("Hostname:\t\t%s\nJoined at:\t\t%s\n", d ? d->hostname : "", when);
	printf("Status:\n State:\t\t\t%s\n", n->status ? node_state_name(n->status->state) : "Unknown");
	if (n->status && *n->status->message)
		printf(" Message:\t\t%s\n", n->status->message);
	printf(" Availability:\t\t%s\n", n->spec ? availability_name(n->spec->availability) : "");
	if (!d)
		return;
	printf(" Address:\t\t%s\n", addr_format(&d->advertise_ip, addr, sizeof(addr)));
	if (*n->manager_addr)
		printf("Manager Status:\n Address:\t\t%s\n", n->manager_addr);
	printf("Platform:\n Operating System:\t%s\n Architecture:\t\t%s\n", d->platform_os, d->platform_arch);
	if (d->resources)
		printf("Resources:\n CPUs:\t\t\t%g\n Memory:\t\t%s\n", (double)d->resources->nano_cpus / 1e9,
		       text_bytes(d->resources->memory_bytes, mem, sizeof(mem)));
	printf("Engine Version:\t\t%s\n", d->software_version);
}

/* "self" is this node, as with Docker. */
static int resolve_self(struct cmd *c, const char *ref, char **ret, struct err *e)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListNodesResponse *r = NULL;

	if (strcmp(ref, "self")) {
		*ret = xstrdup(ref);
		return 0;
	}
	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_NODES, &req, &r, e) < 0)
		return e->code;
	*ret = xstrdup(r->self_id);
	return 0;
}

static int inspect_fetch(struct cmd *c, const char *node, const void **ret, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;
	cleanup_free char *ref = NULL;

	if (resolve_self(c, node, &ref, e) < 0)
		return e->code;
	req.ref = ref;
	return client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_NODE, &req, ret, e);
}

static int inspect_run(struct cmd *c, struct err *e)
{
	return inspect_args(c, inspect_fetch, print_pretty, e);
}

static int rm_one(struct cmd *c, const char *node, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)node;
	req.force = opt_is_set(c, "force");
	if (client_call(c, DAEMON_MANAGER, CONTROL_REMOVE_NODE, &req, NULL, e) < 0)
		return e->code;
	puts(node);
	return 0;
}

static int rm_run(struct cmd *c, struct err *e)
{
	return for_each_arg(c, rm_one, e);
}

static int ps_one(struct cmd *c, const char *node, struct err *e)
{
	Gs__ListTasksRequest req = GS__LIST_TASKS_REQUEST__INIT;
	cleanup_message Gs__ServiceDetail *d = NULL;
	cleanup_free char *ref = NULL;

	if (resolve_self(c, node, &ref, e) < 0)
		return e->code;
	req.node_ref = ref;
	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_TASKS, &req, &d, e) < 0)
		return e->code;
	tasks_print(c, d, false);
	return 0;
}

static int ps_run(struct cmd *c, struct err *e)
{
	if (tasks_filters_check(c, e) < 0)
		return e->code;
	return c->n_args ? for_each_arg(c, ps_one, e) : ps_one(c, "self", e);
}

static size_t label_at(const Gs__NodeSpec *s, const char *key)
{
	size_t i = 0;

	while (i < s->n_labels && strcmp(s->labels[i]->key, key))
		i++;
	return i;
}

/* "a, b", or "none". heap */
static char *label_keys(const Gs__NodeSpec *s)
{
	struct buf b = {0};

	bug_if(s->n_labels && !s->labels);
	for (size_t i = 0; i < s->n_labels; i++)
		buf_printf(&b, "%s%s", i ? ", " : "", s->labels[i]->key);
	return s->n_labels ? buf_text(&b) : xstrdup("none");
}

static int change_labels(struct cmd *c, const char *node, Gs__NodeSpec *s, struct err *e)
{
	const struct opt_value *add = opt_list(c, "label-add"), *rm = opt_list(c, "label-rm");

	for (size_t i = 0; i < rm->n_list; i++) {
		size_t at = label_at(s, rm->list[i]);

		if (at == s->n_labels) {
			cleanup_free char *keys = label_keys(s);

			return err_set(e, E_NOT_FOUND, "node %s has no label %s (it has %s)", node,
				       rm->list[i], keys);
		}
		obj_free(s->labels[at]);
		s->labels[at] = s->labels[--s->n_labels];
	}
	for (size_t i = 0; i < add->n_list; i++) {
		Gs__Label *l = NULL;

		if (parse_label(add->list[i], &l, e) < 0)
			return e->code;
		size_t at = label_at(s, l->key);
		if (at < s->n_labels) {
			obj_free(s->labels[at]);
			s->labels[at] = l;
		} else {
			obj_add(&s->n_labels, &s->labels, l);
		}
	}
	return 0;
}

/* A drain is no end of what has its data there: who takes the host down must know. */
static int tell_what_stays(struct cmd *c, const Gs__Node *n, struct err *e)
{
	Gs__ListTasksRequest req = GS__LIST_TASKS_REQUEST__INIT;
	cleanup_message Gs__ServiceDetail *d = NULL;
	cleanup_free char *names = NULL;

	req.node_ref = n->meta->id;
	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_TASKS, &req, &d, e) < 0)
		return e->code;
	names = tasks_that_stay(d);
	if (names)
		fprintf(stderr,
			"gswarm: node %s: drain moves what has no volume; with their data on it, these run "
			"on, and come back by themselves after a reboot: %s "
			"(do not 'gswarm leave' for that: a later join makes a new node, which does not get "
			"their data)\n",
			name_of(n), names);
	return 0;
}

static int update_run(struct cmd *c, struct err *e)
{
	Gs__RefRequest ref = GS__REF_REQUEST__INIT;
	Gs__NodeUpdateRequest req = GS__NODE_UPDATE_REQUEST__INIT;
	cleanup_message Gs__Node *n = NULL;
	cleanup(obj_free_p) Gs__NodeSpec *spec = NULL;
	cleanup_free char *id = NULL;

	if (resolve_self(c, c->args[0], &id, e) < 0)
		return e->code;
	ref.ref = id;
	if (client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_NODE, &ref, &n, e) < 0)
		return e->code;
	spec = n->spec ? obj_dup(n->spec) : obj_new(&gs__node_spec__descriptor);
	spec->availability = (Gs__Availability)opt_choice(c, "availability", (int)spec->availability);
	spec->role = (Gs__Role)opt_choice(c, "role", (int)spec->role);
	if (change_labels(c, name_of(n), spec, e) < 0)
		return e->code;
	req.ref = n->meta->id;
	req.spec = spec;
	req.version = n->meta->version;
	if (client_call(c, DAEMON_MANAGER, CONTROL_UPDATE_NODE, &req, NULL, e) < 0)
		return e->code;
	puts(c->args[0]);
	return spec->availability == AVAIL_DRAIN && opt_is_set(c, "availability") ? tell_what_stays(c, n, e)
										  : 0;
}

static const struct verb verbs[] = {
	{"inspect", "[OPTIONS] self|NODE [NODE...]", "Show everything about nodes", inspect_options, 1, -1,
	 false, "node", inspect_run},
	{"ls", "[OPTIONS]", "List the nodes of the swarm", ls_options, 0, 0, false, NULL, ls_run},
	{"ps", "[OPTIONS] [NODE...]", "List the tasks of nodes, of this one by default", ps_options, 0, -1,
	 false, "node", ps_run},
	{"rm", "[OPTIONS] NODE [NODE...]", "Remove nodes from the swarm", rm_options, 1, -1, false, "node",
	 rm_run},
	{"update", "[OPTIONS] NODE", "Change a node", update_options, 1, 1, false, "node", update_run},
};
const struct noun node_noun = {"node", "Manage the hosts of the swarm", verbs, array_size(verbs)};
