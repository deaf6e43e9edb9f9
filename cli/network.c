// SPDX-License-Identifier: Apache-2.0
/* network create, ls, inspect, rm.
 *
 * The happy path is one call to the manager. What can fail: a subnet that is no CIDR (said here), one that
 * overlaps, an unknown driver, a network in use (said by the manager). */
#include <string.h>

#include "cli/client.h"
#include "cli/filter.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/parse.h"
#include "cli/output/table.h"
#include "cli/output/text.h"

static const struct opt create_network_options[] = {
	{'d', "driver", OPT_STR, NULL, "Kind of network (default overlay)", NULL},
	{0, "subnet", OPT_LIST, "cidr", "Addresses of the network (default: from the swarm's pool)", NULL},
	{0, "gateway", OPT_LIST, "ip", "Address that is the way out", NULL},
	{0, "internal", OPT_FLAG, NULL, "No way out of the network", NULL},
	{0, "attachable", OPT_FLAG, NULL, "Accepted for scripts written for Docker; every network is", NULL},
	{0, "label", OPT_LIST, "key=value", "Label of the network", NULL},
	OPT_END,
};
static const struct opt ls_options[] = {
	{'f', "filter", OPT_LIST, "key=value", "Show only networks with this id, name (its start) or driver",
	 NULL},
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	{0, "no-trunc", OPT_FLAG, NULL, "Print whole ids", NULL},
	{'q', "quiet", OPT_FLAG, NULL, "Print ids only", NULL},
	OPT_END,
};
static const struct filter_key filters[] = {{"id", NULL}, {"name", NULL}, {"driver", "overlay"}, {0}};
static const struct opt inspect_options[] = {
	{'f', "format", OPT_STR, NULL, "How to print", "json"},
	{'v', "verbose", OPT_FLAG, NULL,
	 "Accepted for scripts written for Docker; endpoints are always shown", NULL},
	OPT_END,
};
static const struct opt rm_options[] = {
	{'f', "force", OPT_FLAG, NULL, "A network that does not exist is no error", NULL},
	OPT_END,
};

static int spec_from_options(struct cmd *c, Gs__NetworkSpec *s, struct err *e)
{
	static const char *const once[] = {"subnet", "gateway"};
	const struct opt_value *labels = opt_list(c, "label");

	str_replace(&s->name, c->args[0]);
	str_replace(&s->driver, opt_text(c, "driver", "overlay"));
	s->internal = opt_is_set(c, "internal");
	s->attachable = opt_is_set(c, "attachable");
	for (size_t i = 0; i < array_size(once); i++) /* lists for Docker's users, who may give several */
		if (opt_list(c, once[i])->n_list > 1)
			return err_set(e, CLI_USAGE, "--%s is given twice: a network has one here", once[i]);
	if (opt_is_set(c, "subnet") && addr_parse_cidr(opt_text(c, "subnet", ""), &s->subnet, e) < 0)
		return err_wrap(e, "--subnet");
	if (opt_is_set(c, "gateway") && addr_parse(opt_text(c, "gateway", ""), &s->gateway, e) < 0)
		return err_wrap(e, "--gateway");
	for (size_t i = 0; i < labels->n_list; i++) {
		Gs__Label *l = NULL;

		if (parse_label(labels->list[i], &l, e) < 0)
			return e->code;
		obj_add(&s->n_labels, &s->labels, l);
	}
	return 0;
}

static int create_network_run(struct cmd *c, struct err *e)
{
	cleanup(obj_free_p) Gs__NetworkSpec *spec = obj_new(&gs__network_spec__descriptor);
	Gs__NetworkCreateRequest req = GS__NETWORK_CREATE_REQUEST__INIT;
	cleanup_message Gs__CreatedResponse *r = NULL;

	if (spec_from_options(c, spec, e) < 0)
		return e->code;
	req.spec = spec;
	if (client_call(c, DAEMON_MANAGER, CONTROL_CREATE_NETWORK, &req, &r, e) < 0)
		return e->code;
	if (*r->warning)
		fprintf(stderr, "gswarm: %s\n", r->warning);
	puts(r->id);
	return 0;
}

static bool network_matches(const char *key, const char *value, const void *row)
{
	const Gs__Network *n = row;

	if (strcmp(key, "id") == 0)
		return filter_prefix(n->meta->id, value);
	return filter_prefix(strcmp(key, "name") == 0 ? n->spec->name : n->spec->driver, value);
}

static int by_name(const void *a, const void *b)
{
	return text_order((*(Gs__Network *const *)a)->spec->name, (*(Gs__Network *const *)b)->spec->name);
}

static int ls_run(struct cmd *c, struct err *e)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListNetworksResponse *r = NULL;
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0, quiet = opt_is_set(c, "quiet");
	struct table *t;

	if (filters_check(c, filters, e) < 0 ||
	    client_call(c, DAEMON_MANAGER, CONTROL_LIST_NETWORKS, &req, &r, e) < 0)
		return e->code;
	if (r->n_networks)
		qsort(r->networks, r->n_networks, sizeof(*r->networks), by_name);
	t = table_new((const char *[]){"NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNET", NULL});
	for (size_t i = 0; i < r->n_networks; i++) {
		const Gs__Network *n = r->networks[i];
		char id[ID_SHORT_LEN + 1], subnet[80] = "";
		const char *shown = opt_is_set(c, "no-trunc") ? n->meta->id : text_short_id(n->meta->id, id);

		if (!filters_pass(c, network_matches, n))
			continue;
		if (n->subnet)
			addr_format_cidr(n->subnet, subnet, sizeof(subnet));
		if (quiet)
			puts(shown);
		else if (json)
			json_print_line(n, NULL);
		else
			table_row(t,
				  (const char *[]){shown, n->spec->name, n->spec->driver, "swarm", subnet});
	}
	table_print(t, json || quiet ? NULL : stdout);
	return 0;
}

static int inspect_fetch(struct cmd *c, const char *network, const void **ret, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)network;
	return client_call(c, DAEMON_MANAGER, CONTROL_INSPECT_NETWORK, &req, ret, e);
}

static int inspect_run(struct cmd *c, struct err *e)
{
	return inspect_args(c, inspect_fetch, NULL, e);
}

static int rm_one(struct cmd *c, const char *network, struct err *e)
{
	Gs__RefRequest req = GS__REF_REQUEST__INIT;

	req.ref = (char *)network;
	int r = client_call(c, DAEMON_MANAGER, CONTROL_REMOVE_NETWORK, &req, NULL, e);
	if (r == E_NOT_FOUND && opt_is_set(c, "force"))
		return 0;
	if (r < 0)
		return r;
	puts(network);
	return 0;
}

static int rm_run(struct cmd *c, struct err *e)
{
	return for_each_arg(c, rm_one, e);
}

static const struct verb verbs[] = {
	{"create", "[OPTIONS] NETWORK", "Make a network", create_network_options, 1, 1, false, NULL,
	 create_network_run},
	{"inspect", "[OPTIONS] NETWORK [NETWORK...]", "Show everything about networks and who is on them",
	 inspect_options, 1, -1, false, "network", inspect_run},
	{"ls", "[OPTIONS]", "List the networks", ls_options, 0, 0, false, NULL, ls_run},
	{"rm", "[OPTIONS] NETWORK [NETWORK...]", "Remove networks", rm_options, 1, -1, false, "network",
	 rm_run},
};
const struct noun network_noun = {"network", "Manage the networks of the tasks", verbs, array_size(verbs)};
