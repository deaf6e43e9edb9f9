// SPDX-License-Identifier: Apache-2.0
/* The tree of nouns and verbs. Each noun is a file; what several tables name is declared here. */
#pragma once
#include "cli/opt.h"

extern const struct noun *const nouns[]; /* NULL ends it; [0] is root_noun: verbs without a noun */
extern const struct noun swarm_noun, root_noun, node_noun, network_noun, service_noun, volume_noun,
	galera_noun, system_noun;
/* NULL: there is none of that name. */
const struct noun *noun_find(const char *name);
/* Also by "list" and "remove", which Docker has beside ls and rm. NULL: there is none. */
const struct verb *verb_find(const struct noun *n, const char *name);

extern const struct opt no_options[];
/* swarm.c: these verbs stand with and without the noun swarm. Each is a verb's run (opt.h). */
extern const struct opt init_options[], join_options[], leave_options[], token_options[];
int init_run(struct cmd *c, struct err *e);       /* this host's worker starts a manager and a swarm */
int join_run(struct cmd *c, struct err *e);       /* this host's worker enters a swarm */
int leave_run(struct cmd *c, struct err *e);      /* this host's worker leaves it */
int join_token_run(struct cmd *c, struct err *e); /* prints a token, new if --rotate */
/* system.c, events.c: likewise. */
extern const struct opt events_options[], dump_options[];
int version_run(struct cmd *c, struct err *e); /* of this program and of the daemons */
int events_run(struct cmd *c, struct err *e);  /* what happens in the swarm, and has */
/* The service's verbs that have a file of their own. */
extern const struct opt create_options[], ps_options[], service_inspect_options[], logs_options[];
int service_create_run(struct cmd *c, struct err *e);  /* service_create.c */
int service_ps_run(struct cmd *c, struct err *e);      /* service_show.c */
int service_inspect_run(struct cmd *c, struct err *e); /* service_show.c */
int service_logs_run(struct cmd *c, struct err *e);    /* service_logs.c */
