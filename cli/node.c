// SPDX-License-Identifier: Apache-2.0
/* node ls, inspect, ps, update, rm.
 *
 * The happy path is one call to the manager and a table. What can fail is what the manager refuses: an
 * unknown node, a node that still is Ready, a stale version. */
#include "cli/cli.h"

#include <string.h>

#include "base/mem.h"

static const struct opt ls_options[] = {
	{'f', "filter", OPT_LIST, "key=value", "Show only nodes with this id, name or role", NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{'q', "quiet", OPT_FLAG, NULL, "Print ids only", NULL},
	OPT_END,
};
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
	{0, "availability", OPT_STR, NULL, "Whether the node takes tasks", "active|pause|drain"},
	{0, "label-add", OPT_LIST, "key=value", "Add or change a label", NULL},
	{0, "label-rm", OPT_LIST, "key", "Remove a label", NULL},
	{0, "role", OPT_STR, NULL, "What the node is", "worker|manager"},
	OPT_END,
};

static const char *manager_status(const Gs__Node *n, const char *leader_id)
{
	if (!n->spec || n->spec->role != ROLE_MANAGER)
		return "";
	if (!strcmp(n->meta->id, leader_id))
		return "Leader";
	return n->status && n->status->state == NODE_READY ? "Reachable" : "Unreachable";
}

static bool node_passes(const Gs__Node *n, const struct opt_value *filters)
{
	for (size_t i = 0; i < filters->n_list; i++) {
		const char *f = filters->list[i], *v = strchr(f, '=');
		bool is_manager = n->spec && n->spec->role == ROLE_MANAGER;

		v = v ? v + 1 : "";
		if (!strncmp(f, "id=", 3) && strncmp(n->meta->id, v, strlen(v)))
			return false;
		if (!strncmp(f, "name=", 5) &&
		    strncmp(n->description ? n->description->hostname : "", v, strlen(v)))
			return false;
		if (!strncmp(f, "role=", 5) && strcmp(v, is_manager ? "manager" : "worker"))
			return false;
	}
	return true;
}

int check_filters(const struct opt_value *filters, const char *known, struct err *e)
{
	for (size_t i = 0; i < filters->n_list; i++) {
		size_t n = strcspn(filters->list[i], "=");
		cleanup_free char *word = xasprintf(" %.*s ", (int)n, filters->list[i]);

		if (!filters->list[i][n] || !strstr(known, word))
			return err_set(e, CLI_USAGE, "--filter: '%s' is none of the keys%sas KEY=VALUE",
				       filters->list[i], known);
	}
	return 0;
}

static void ls_row(struct table *t, const Gs__Node *n, const Gs__ListNodesResponse *r)
{
	bool is_self = !strcmp(n->meta->id, r->self_id);
	cleanup_free char *id = xasprintf("%s%s", n->meta->id, is_self ? " *" : "");
	const Gs__NodeDescription *d = n->description;

	table_row(t, (const char *[]){id, d ? d->hostname : "",
				      n->status ? node_state_name(n->status->state) : "Unknown",
				      n->spec ? availability_name(n->spec->availability) : "",
				      manager_status(n, r->leader_id), d ? d->software_version : ""});
}

static int ls_run(struct cmd *c, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__ListNodesResponse *r = NULL;
	const struct opt_value *filters = opt_list(c, "filter");
	bool json = !strcmp(opt_text(c, "format", "table"), "json");
	struct table *t;

	if (check_filters(filters, " id name role ", e) < 0 ||
	    client_call(c, DAEMON_MANAGER, CONTROL_LIST_NODES, &req, &r, e) < 0)
		return e->code;
	t = table_new((const char *[]){"ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS",
				       "ENGINE VERSION", NULL});
	for (size_t i = 0; i < r->n_nodes; i++) {
		if (!node_passes(r->nodes[i], filters))
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

static void print_pretty(const Gs__Node *n)
{
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
	Gs__Empty req = GS__EMPTY__INIT;
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

static int inspect_run(struct cmd *c, struct err *e)
{
	cleanup_free const void **found = xcalloc(c->n_args, sizeof(void *));
	int rc = 0;

	for (size_t i = 0; !rc && i < c->n_args; i++) {
		Gs__RefRequest req = GS__REF_REQUEST__INIT;
		cleanup_free char *ref = NULL;

		rc = resolve_self(c, c->args[i], &ref, e);
		req.ref = ref;
		if (!rc)
			rc = client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_NODE, &req, &found[i], e);
	}
	for (size_t i = 0; !rc && i < c->n_args && opt_is_set(c, "pretty"); i++)
		print_pretty(found[i]);
	if (!rc && !opt_is_set(c, "pretty"))
		json_print_array(found, c->n_args);
	for (size_t i = 0; i < c->n_args; i++)
		message_free_p(&found[i]);
	return rc;
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

static int ps_run(struct cmd *c, struct err *e)
{
	size_t n = c->n_args ? c->n_args : 1;

	if (check_filters(opt_list(c, "filter"), TASK_FILTERS, e) < 0)
		return e->code;
	for (size_t i = 0; i < n; i++) {
		Gs__ListTasksRequest req = GS__LIST_TASKS_REQUEST__INIT;
		cleanup_message Gs__ServiceDetail *d = NULL;
		cleanup_free char *ref = NULL;

		if (resolve_self(c, c->n_args ? c->args[i] : "self", &ref, e) < 0)
			return e->code;
		req.node_ref = ref;
		if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_TASKS, &req, &d, e) < 0)
			return e->code;
		tasks_print(c, d, false);
	}
	return 0;
}

static size_t label_at(const Gs__NodeSpec *s, const char *key)
{
	size_t i = 0;

	while (i < s->n_labels && strcmp(s->labels[i]->key, key))
		i++;
	return i;
}

static int change_labels(struct cmd *c, Gs__NodeSpec *s, struct err *e)
{
	const struct opt_value *add = opt_list(c, "label-add"), *rm = opt_list(c, "label-rm");

	for (size_t i = 0; i < rm->n_list; i++) {
		size_t at = label_at(s, rm->list[i]);

		if (at == s->n_labels)
			return err_set(e, E_NOT_FOUND, "the node has no label %s", rm->list[i]);
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
	if (change_labels(c, spec, e) < 0)
		return e->code;
	req.ref = n->meta->id;
	req.spec = spec;
	req.version = n->meta->version;
	if (client_call(c, DAEMON_MANAGER, CONTROL_UPDATE_NODE, &req, NULL, e) < 0)
		return e->code;
	puts(c->args[0]);
	return 0;
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
