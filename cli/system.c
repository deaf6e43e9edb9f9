// SPDX-License-Identifier: Apache-2.0
/* system check, system dump, system info, version.
 *
 * The happy path is a call to this host's worker, and to its manager where there is one. What can fail: a
 * daemon that does not run; dump and version then say so and go on with the other. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/output/json.h"
#include "cli/nouns.h"
#include "cli/output/text.h"
#include "proto/rpc/rpc.h"

const struct opt dump_options[] = {OPT_END};
static const struct opt check_options[] = {
	{0, "format", OPT_STR, NULL, "How to print", "table|json"},
	OPT_END,
};

static int check_run(struct cmd *c, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__CheckResponse *r = NULL;
	bool json = strcmp(opt_text(c, "format", "table"), "json") == 0;
	size_t bad = 0;

	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_CHECK, &req, &r, e) < 0)
		return e->code;
	for (size_t i = 0; i < r->n_results; i++) {
		const Gs__CheckResult *k = r->results[i];

		bad += !k->ok;
		if (json)
			json_print_line(k, NULL);
		else
			printf("%-7s %-18s %s\n",
			       !k->ok       ? "FAILED"
			       : k->warning ? "warning"
					    : "ok",
			       k->name, k->text);
	}
	if (bad && !json)
		printf("\n%zu of %zu checks failed\n", bad, r->n_results);
	return bad > 0;
}

static int dump_run(struct cmd *c, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	Gs__ListRequest list = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__NodeDump *w = NULL;
	cleanup_message Gs__DumpResponse *m = NULL;
	struct err local = {0};

	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_DUMP, &req, &w, &local) < 0)
		printf("== worker: %s\n", local.msg);
	else
		printf("== worker\n%s\n", w->text);
	if (client_call(c, DAEMON_MANAGER, CONTROL_DUMP, &list, &m, e) < 0)
		printf("== manager: %s\n", e->msg);
	else
		printf("== manager\n%s\n", m->text);
	return !w && !m;
}

static int info_run(struct cmd *c, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__NodeStatusResponse *s = NULL;
	char when[32] = "-";

	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_STATUS, &req, &s, e) < 0)
		return e->code;
	printf("Swarm:        %s\n", s->is_member ? "active" : "inactive");
	if (*s->trouble)
		printf("Trouble:      %s\n", s->trouble);
	if (!s->is_member)
		return 0;
	if (s->cert_not_after_ms)
		text_time(s->cert_not_after_ms, when, sizeof(when));
	printf("NodeID:       %s\nClusterID:    %s\nIs Manager:   %s\n", s->node_id, s->cluster_id,
	       s->role == ROLE_MANAGER ? "true" : "false");
	printf("Session:      %s%s\n",
	       s->session_open ? "open to " : "none: ", s->session_open ? s->manager_addr : s->session_error);
	for (size_t i = 0; i < s->n_managers; i++)
		printf("%s%s\n", i ? "              " : "Managers:     ", s->managers[i]);
	if (s->manager_pid)
		printf("Manager pid:  %u\n", s->manager_pid);
	printf("Tasks:        %u\nRepairs:      %llu\nCertificate:  until %s\n", s->tasks,
	       (unsigned long long)s->repairs, when);
	return 0;
}

int version_run(struct cmd *c, struct err *e)
{
	Gs__Empty req = GS__EMPTY__INIT;
	cleanup_message Gs__NodeStatusResponse *s = NULL;
	struct err local = {0};

	printf("Client:  %s\n", GSWARM_VERSION);
	if (client_call(c, DAEMON_WORKER, NODE_LOCAL_STATUS, &req, &s, &local) < 0)
		printf("Worker:  not running\n");
	else
		printf("Worker:  %s\n", s->software_version);
	return 0;
}

static const struct verb verbs[] = {
	{"check", "[OPTIONS]", "Test whether this host can be a node", check_options, 0, 0, false, NULL,
	 check_run},
	{"dump", "", "Print all that the daemons of this host know", dump_options, 0, 0, false, NULL,
	 dump_run},
	{"events", "[OPTIONS]", "Show what happens in the swarm", events_options, 0, 0, false, NULL,
	 events_run},
	{"info", "", "Show what this node is", no_options, 0, 0, false, NULL, info_run},
};
const struct noun system_noun = {"system", "Look at this host and its daemons", verbs, array_size(verbs)};
