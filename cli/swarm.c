// SPDX-License-Identifier: Apache-2.0
/* init, join, leave, join-token.
 *
 * The happy path is one call to this host's worker, which owns the node's identity (join-token: to the
 * manager). What can fail is what the worker refuses: a member already, a bad token, an address that is not
 * this host's. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/nouns.h"
#include "cli/output/text.h"

#define AVAILABILITY_HELP "Whether the node takes tasks (default active)"

const struct opt init_options[] = {
	{0, "advertise-addr", OPT_STR, "ip[:port]", "Address that other nodes reach this one at", NULL},
	{0, "data-path-addr", OPT_STR, "ip", "Address for the tasks' traffic (default: the advertised one)",
	 NULL},
	{0, "data-path-port", OPT_UINT, "port", "UDP port of the tasks' traffic (default 4789)", NULL,
	 .least = "1024", .most = "49151"},
	{0, "availability", OPT_STR, NULL, AVAILABILITY_HELP, "active|pause|drain"},
	{0, "default-addr-pool", OPT_STR, "cidr", "Where networks' subnets come from (default 10.0.0.0/8)",
	 NULL},
	{0, "default-addr-pool-mask-length", OPT_UINT, "bits", "Size of such a subnet (default 24)", NULL,
	 .least = "8", .most = "29"},
	{0, "cert-expiry", OPT_DURATION, NULL, "Life of node certificates (default 2160h)", NULL,
	 .least = "1h", .most = "87600h"},
	{0, "dispatcher-heartbeat", OPT_DURATION, NULL, "Heartbeat of the nodes (default 1s)", NULL,
	 .least = "100ms", .most = "60s"},
	{0, "snapshot-interval", OPT_UINT, "n", "Log entries between snapshots (default 10000)", NULL,
	 .least = "100", .most = "10000000"},
	{0, "task-history-limit", OPT_UINT, "n", "Old tasks kept per slot (default 5)", NULL, .least = "1",
	 .most = "1000"},
	OPT_END,
};
const struct opt join_options[] = {
	{0, "token", OPT_STR, NULL, "Token that lets the node in", NULL},
	{0, "advertise-addr", OPT_STR, "ip", "Address that other nodes reach this one at", NULL},
	{0, "data-path-addr", OPT_STR, "ip", "Address for the tasks' traffic (default: the advertised one)",
	 NULL},
	{0, "availability", OPT_STR, NULL, AVAILABILITY_HELP, "active|pause|drain"},
	OPT_END,
};
const struct opt leave_options[] = {
	{'f', "force", OPT_FLAG, NULL,
	 "Leave although the swarm ends with this manager; or move what a lost membership has left aside",
	 NULL},
	OPT_END,
};
const struct opt token_options[] = {
	{'q', "quiet", OPT_FLAG, NULL, "Print the token only", NULL},
	{0, "rotate", OPT_FLAG, NULL, "Make a new token; the old one is void from then on", NULL},
	{0, "ttl", OPT_DURATION, NULL,
	 "How long the new token is good for (default: worker no end, manager 24h)", NULL, .least = "1ms",
	 .most = "87600h"},
	OPT_END,
};

static void spec_from_options(struct cmd *c, Gs__ClusterSpec *s)
{
	s->default_addr_pool = (char *)opt_text(c, "default-addr-pool", "");
	s->default_addr_pool_mask = (uint32_t)opt_number(c, "default-addr-pool-mask-length", 0);
	s->data_path_port = (uint32_t)opt_number(c, "data-path-port", 0);
	s->cert_expiry_s = opt_number(c, "cert-expiry", 0) / 1000000000;
	s->heartbeat_ms = (uint32_t)(opt_number(c, "dispatcher-heartbeat", 0) / 1000000);
	s->snapshot_interval = (uint32_t)opt_number(c, "snapshot-interval", 0);
	s->task_history_limit = (uint32_t)opt_number(c, "task-history-limit", 0);
}

/* "" would mean: choose one. Whoever wrote an empty value (a variable that was not set) means another thing. */
static int check_not_empty(struct cmd *c, struct err *e)
{
	static const char *const names[] = {"advertise-addr", "data-path-addr"};

	for (size_t i = 0; i < array_size(names); i++)
		if (opt_is_set(c, names[i]) && !*opt_text(c, names[i], ""))
			return err_set(e, CLI_USAGE, "--%s is empty: give an address, or leave it away",
				       names[i]);
	return 0;
}

static int check_init(struct cmd *c, struct err *e)
{
	uint64_t mask = opt_number(c, "default-addr-pool-mask-length", 24);
	cleanup(obj_free_p) Gs__Addr *pool = NULL;

	if (check_not_empty(c, e) < 0)
		return e->code;
	if (opt_is_set(c, "default-addr-pool") &&
	    addr_parse_cidr(opt_text(c, "default-addr-pool", ""), &pool, e) < 0) {
		err_wrap(e, "--default-addr-pool");
		return e->code = CLI_USAGE;
	}
	if (pool && mask < pool->prefix)
		return err_set(e, CLI_USAGE, "--default-addr-pool-mask-length: %u does not fit the pool",
			       (unsigned)mask);
	return 0;
}

int init_run(struct cmd *c, struct err *e)
{
	Gs__NodeInitRequest req = GS__NODE_INIT_REQUEST__INIT;
	Gs__ClusterSpec spec = GS__CLUSTER_SPEC__INIT;
	cleanup_message Gs__NodeInitResponse *r = NULL;

	if (check_init(c, e) < 0)
		return e->code;
	spec_from_options(c, &spec);
	req.spec = &spec;
	req.advertise_addr = (char *)opt_text(c, "advertise-addr", "");
	req.data_path_addr = (char *)opt_text(c, "data-path-addr", "");
	req.data_path_port = spec.data_path_port;
	req.availability = (Gs__Availability)opt_choice(c, "availability", 0);
	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_INIT_NODE, &req, &r, e) < 0)
		return e->code;
	printf("Swarm initialized: current node (%s) is now a manager.\n\n"
	       "To add a worker to this swarm, run the following command:\n\n"
	       "    gswarm join --token %s %s%s\n\n"
	       "This version has one manager: this node. A node that joins is a worker.\n",
	       r->node_id, r->worker_token, r->advertise_addr, strchr(r->advertise_addr, ':') ? "" : ":2377");
	return 0;
}

/* "docker1.local:2377" -> "192.168.55.111:2377". An address stays what it is: the worker knows its forms. */
static int resolve(const char *text, char **ret, struct err *e)
{
	const struct addrinfo want = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(text, ':');
	cleanup_free char *host = colon ? strndup(text, (size_t)(colon - text)) : xstrdup(text);
	struct addrinfo *found = NULL;
	char ip[INET_ADDRSTRLEN];
	int r;

	if (!strpbrk(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") || strchr(host, ':')) {
		*ret = xstrdup(text);
		return 0;
	}
	r = getaddrinfo(host, NULL, &want, &found);
	if (r)
		return err_set(e, E_NOT_FOUND, "manager %s: %s: give its address, like 192.168.55.111:2377",
			       host, gai_strerror(r));
	addr_of_sockaddr(found->ai_addr, ip, sizeof(ip));
	freeaddrinfo(found);
	*ret = xasprintf("%s%s", ip, colon ? colon : "");
	return 0;
}

int join_run(struct cmd *c, struct err *e)
{
	Gs__NodeJoinRequest req = GS__NODE_JOIN_REQUEST__INIT;
	cleanup_message Gs__NodeJoinResponse *r = NULL;
	cleanup_free char *where = NULL;

	if (!*opt_text(c, "token", ""))
		return err_set(e, CLI_USAGE,
			       "--token is missing: 'gswarm join-token worker' on a manager shows it");
	if (check_not_empty(c, e) < 0 || resolve(c->args[0], &where, e) < 0)
		return e->code;
	req.manager_addr = where;
	req.token = (char *)opt_text(c, "token", "");
	req.advertise_addr = (char *)opt_text(c, "advertise-addr", "");
	req.data_path_addr = (char *)opt_text(c, "data-path-addr", "");
	req.availability = (Gs__Availability)opt_choice(c, "availability", 0);
	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_JOIN_NODE, &req, &r, e) < 0)
		return e->code;
	printf("This node joined a swarm as a %s.\n", r->role == ROLE_MANAGER ? "manager" : "worker");
	return 0;
}

/* "db.1" once, below it where its data is. */
static void print_kept(const Gs__NodeLeaveResponse *r)
{
	if (!r->n_kept)
		return;
	printf("These have stopped; their data stays on this host:\n");
	for (size_t i = 0; i < r->n_kept; i++)
		printf("    %s   %s\n", r->kept[i]->task, r->kept[i]->path);
	if (*r->node_id)
		printf("A later join makes a new node, which does not get this data by itself. The swarm "
		       "keeps their "
		       "places for this node until 'gswarm node rm %s' on a manager says that it is gone.\n",
		       r->node_id);
}

int leave_run(struct cmd *c, struct err *e)
{
	Gs__NodeLeaveRequest req = GS__NODE_LEAVE_REQUEST__INIT;
	cleanup_message Gs__NodeLeaveResponse *r = NULL;

	req.force = opt_is_set(c, "force");
	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_LEAVE_NODE, &req, &r, e) < 0)
		return e->code;
	if (*r->set_aside)
		printf("What an earlier swarm had left on this host was moved to %s\n", r->set_aside);
	else
		printf("Node left the swarm.\n");
	print_kept(r);
	return 0;
}

int join_token_run(struct cmd *c, struct err *e)
{
	Gs__JoinTokensRequest req = GS__JOIN_TOKENS_REQUEST__INIT;
	cleanup_message Gs__JoinTokensResponse *r = NULL;
	const char *role = c->args[0];
	bool is_manager = strcmp(role, "manager") == 0;
	int64_t until_ms;
	char when[32];

	if (!is_manager && strcmp(role, "worker"))
		return err_set(e, CLI_USAGE, "'%s' is none of worker|manager", role);
	if (opt_is_set(c, "ttl") && !opt_is_set(c, "rotate"))
		return err_set(e, CLI_USAGE, "--ttl goes with --rotate");
	req.rotate_manager = is_manager && opt_is_set(c, "rotate");
	req.rotate_worker = !is_manager && opt_is_set(c, "rotate");
	req.ttl_ms = (int64_t)(opt_number(c, "ttl", 0) / 1000000);
	if (client_call(c, DAEMON_MANAGER, CONTROL_JOIN_TOKENS, &req, &r, e) < 0)
		return e->code;
	until_ms = is_manager ? r->manager_until_ms : r->worker_until_ms;
	if (until_ms && until_ms <= wall_now_ms()) { /* it would be refused at the other node */
		text_time(until_ms, when, sizeof(when));
		return err_set(e, E_TOKEN,
			       "the %s token expired on %s: 'gswarm join-token --rotate %s' makes a new one",
			       role, when, role);
	}
	if (opt_is_set(c, "quiet")) {
		puts(is_manager ? r->manager : r->worker);
		return 0;
	}
	if (opt_is_set(c, "rotate"))
		printf("Successfully rotated %s join token.\n\n", role);
	if (is_manager)
		printf("%s\n\nThis version runs one manager: a join with this token is refused. Add workers: "
		       "'gswarm "
		       "join-token worker'.\n",
		       r->manager);
	else
		printf("To add a worker to this swarm, run the following command:\n\n    gswarm join --token "
		       "%s "
		       "%s\n\n",
		       r->worker, r->addr);
	if (until_ms) {
		text_time(until_ms, when, sizeof(when));
		printf("The token is good until %s.\n", when);
	}
	return 0;
}
