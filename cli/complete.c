// SPDX-License-Identifier: Apache-2.0
/* Completion: the shell hands over the words so far, the tables answer.
 *
 * The happy path is one candidate a line. Nothing is an error: a daemon that does not answer gives no names. */
#include "cli/complete.h"

#include <string.h>

#include "base/bug.h"
#include "cli/client.h"
#include "cli/nouns.h"

static const char bash_script[] =
	"# bash completion for gswarm, printed by 'gswarm completion bash'\n"
	"_gswarm()\n"
	"{\n"
	"\tlocal IFS=$'\\n' words=(\"${COMP_WORDS[@]:1:COMP_CWORD}\")\n"
	"\tCOMPREPLY=($(\"${COMP_WORDS[0]}\" __complete \"${words[@]}\" 2>/dev/null))\n"
	"\t[[ ${COMPREPLY[0]} == *= && ${#COMPREPLY[@]} -eq 1 ]] && compopt -o nospace\n"
	"\treturn 0\n"
	"}\n"
	"complete -o default -F _gswarm gswarm\n";

int completion_run(struct cmd *c, struct err *e)
{
	if (strcmp(c->args[0], "bash"))
		return err_set(e, CLI_USAGE, "no completion for '%s', only for bash", c->args[0]);
	fputs(bash_script, stdout);
	return 0;
}

static void offer(FILE *out, const char *candidate, const char *typed)
{
	if (strncmp(candidate, typed, strlen(typed)) == 0)
		fprintf(out, "%s\n", candidate);
}

/* "a|b|c" */
static void offer_words(FILE *out, const char *words, const char *typed)
{
	cleanup_free char *copy = xstrdup(words);
	char *next = copy, *w;

	while ((w = strsep(&next, "|")))
		offer(out, w, typed);
}

static void offer_services(FILE *out, struct cmd *c, const char *typed)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListServicesResponse *r = NULL;
	struct err e = {0};

	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_SERVICES, &req, &r, &e) < 0)
		return;
	for (size_t i = 0; i < r->n_services; i++)
		offer(out, r->services[i]->spec->name, typed);
}

static void offer_nodes(FILE *out, struct cmd *c, const char *typed)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListNodesResponse *r = NULL;
	struct err e = {0};

	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_NODES, &req, &r, &e) < 0)
		return;
	for (size_t i = 0; i < r->n_nodes; i++)
		if (r->nodes[i]->description)
			offer(out, r->nodes[i]->description->hostname, typed);
}

static void offer_networks(FILE *out, struct cmd *c, const char *typed)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListNetworksResponse *r = NULL;
	struct err e = {0};

	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_NETWORKS, &req, &r, &e) < 0)
		return;
	for (size_t i = 0; i < r->n_networks; i++)
		offer(out, r->networks[i]->spec->name, typed);
}

static void offer_volumes(FILE *out, struct cmd *c, const char *typed)
{
	Gs__ListRequest req = GS__LIST_REQUEST__INIT;
	cleanup_message Gs__ListVolumesResponse *r = NULL;
	struct err e = {0};

	if (client_call(c, DAEMON_MANAGER, CONTROL_LIST_VOLUMES, &req, &r, &e) < 0)
		return;
	for (size_t i = 0; i < r->n_volumes; i++)
		offer(out, r->volumes[i]->name, typed);
}

static void offer_names(FILE *out, struct cmd *c, const char *kind, const char *typed)
{
	if (strcmp(kind, "service") == 0)
		offer_services(out, c, typed);
	else if (strcmp(kind, "node") == 0)
		offer_nodes(out, c, typed);
	else if (strcmp(kind, "network") == 0)
		offer_networks(out, c, typed);
	else if (strcmp(kind, "volume") == 0)
		offer_volumes(out, c, typed);
	else
		offer_words(out, kind, typed);
	client_close(c);
}

static const struct opt *option_of(const struct verb *v, const char *word)
{
	for (const struct opt *o = v->options; o->name; o++)
		if ((strncmp(word, "--", 2) == 0 && strcmp(word + 2, o->name) == 0) ||
		    (word[0] == '-' && word[1] && word[1] == o->letter && !word[2]))
			return o;
	return NULL;
}

static void complete_verb(FILE *out, struct cmd *c, const struct verb *v, int n, char *const *words)
{
	const char *typed = words[n - 1];
	const struct opt *before = n > 1 ? option_of(v, words[n - 2]) : NULL;

	if (before && before->type != OPT_FLAG) {
		if (before->choices)
			offer_words(out, before->choices, typed);
		else if (strcmp(before->name, "network") == 0)
			offer_names(out, c, "network", typed);
		return;
	}
	if (*typed == '-') {
		for (const struct opt *o = v->options; o->name; o++) {
			cleanup_free char *word = xasprintf("--%s", o->name);

			offer(out, word, typed);
		}
		offer(out, "--help", typed);
	} else if (v->completes) {
		offer_names(out, c, v->completes, typed);
	}
}

void complete_words(FILE *out, const char *run_dir, int n, char *const *words)
{
	struct cmd c = {.run_dir = run_dir};
	const struct noun *noun;
	const struct verb *v;

	bug_if(n < 0);
	if (n == 1) {
		for (size_t i = 1; nouns[i]; i++)
			offer(out, nouns[i]->name, words[0]);
		for (size_t i = 0; i < nouns[0]->n_verbs; i++)
			offer(out, nouns[0]->verbs[i].name, words[0]);
		return;
	}
	if (n < 1)
		return;
	v = verb_find(nouns[0], words[0]);
	if (v) {
		complete_verb(out, &c, v, n - 1, words + 1);
		return;
	}
	noun = noun_find(words[0]);
	if (!noun)
		return;
	if (n == 2) {
		for (size_t i = 0; i < noun->n_verbs; i++)
			offer(out, noun->verbs[i].name, words[1]);
		return;
	}
	v = verb_find(noun, words[1]);
	if (v)
		complete_verb(out, &c, v, n - 2, words + 2);
}
