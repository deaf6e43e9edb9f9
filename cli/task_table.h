// SPDX-License-Identifier: Apache-2.0
/* The table of tasks that `service ps` and `node ps` share. Their verbs have the options of ps_options. */
#pragma once
#include "cli/opt.h"
#include "proto/schema/control.pb-c.h"
#include "proto/value/obj.h"

/* The filters that tasks know are used rightly. CLI_USAGE. */
int tasks_filters_check(const struct cmd *c, struct err *e);
/* d's tasks that pass the filters, newest of a slot first; as table, JSON or ids, as the options say. */
void tasks_print(struct cmd *c, const Gs__ServiceDetail *d, bool with_galera);
/* Names of d's tasks that a drain leaves where they are, for the sake of their volumes; NULL: none. The caller's. */
char *tasks_that_stay(const Gs__ServiceDetail *d);
/* The node's host name, or its id; borrowed from d or the id. */
const char *node_name_of(const Gs__ServiceDetail *d, const char *node_id);
/* What the managers last heard of the node itself; NODE_READY when it is not listed. */
Gs__NodeState node_state_of(Gs__Node *const *nodes, size_t n, const char *node_id);
