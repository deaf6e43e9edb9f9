// SPDX-License-Identifier: Apache-2.0
/* The tree of nouns, and the verbs that stand without one.
 *
 * The happy path is a look-up by name; a name that is not there gives NULL. */
#include "cli/nouns.h"

#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "cli/complete.h"

const struct opt no_options[] = {OPT_END};

#define SWARM_VERBS                                                                                          \
	{"init", "[OPTIONS]", "Make this node the first manager of a new swarm", init_options, 0, 0, false,  \
	 NULL,   init_run},                                                                                  \
		{"join",                                                                                     \
		 "[OPTIONS] HOST[:PORT]",                                                                    \
		 "Enter a swarm with a token from its manager",                                              \
		 join_options,                                                                               \
		 1,                                                                                          \
		 1,                                                                                          \
		 false,                                                                                      \
		 NULL,                                                                                       \
		 join_run},                                                                                  \
		{"join-token",                                                                               \
		 "[OPTIONS] worker|manager",                                                                 \
		 "Show or rotate a join token",                                                              \
		 token_options,                                                                              \
		 1,                                                                                          \
		 1,                                                                                          \
		 false,                                                                                      \
		 "worker|manager",                                                                           \
		 join_token_run},                                                                            \
	{                                                                                                    \
		"leave", "[OPTIONS]", "Leave the swarm", leave_options, 0, 0, false, NULL, leave_run         \
	}

static const struct verb root_verbs[] = {
	SWARM_VERBS,
	{"events", "[OPTIONS]", "Show what happens in the swarm", events_options, 0, 0, false, NULL,
	 events_run},
	{"version", "", "Show the versions of this program and of the daemons", no_options, 0, 0, false, NULL,
	 version_run},
	{"completion", "bash", "Print a shell completion script", no_options, 1, 1, false, "bash",
	 completion_run},
};
const struct noun root_noun = {"", "", root_verbs, array_size(root_verbs)};

static const struct verb swarm_verbs[] = {SWARM_VERBS};
const struct noun swarm_noun = {"swarm", "Make, enter and leave a swarm", swarm_verbs,
				array_size(swarm_verbs)};

const struct noun *const nouns[] = {&root_noun,   &swarm_noun,  &node_noun,   &network_noun, &service_noun,
				    &volume_noun, &galera_noun, &system_noun, NULL};

const struct noun *noun_find(const char *name)
{
	for (size_t i = 1; nouns[i]; i++)
		if (strcmp(nouns[i]->name, name) == 0)
			return nouns[i];
	return NULL;
}

const struct verb *verb_find(const struct noun *n, const char *name)
{
	static const char *const aliases[][2] = {{"list", "ls"}, {"remove", "rm"}};

	bug_if(!n || !name);
	for (size_t i = 0; i < n->n_verbs; i++)
		if (strcmp(n->verbs[i].name, name) == 0)
			return &n->verbs[i];
	for (size_t i = 0; *n->name && i < 2; i++)
		if (strcmp(aliases[i][0], name) == 0)
			return verb_find(n, aliases[i][1]);
	return NULL;
}
