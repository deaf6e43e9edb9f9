// SPDX-License-Identifier: Apache-2.0
/* What is valid input, with one line that says what is wrong, where, and what to do. Pure: a store and a
 * request. */
#pragma once
#include "manager/store/store.h"

/* [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 63; what: for the message. All checks answer 0, or E_INVALID, E_LIMIT,
 * E_EXISTS, E_IN_USE with one line for people. */
int check_name(const char *what, const char *name, struct err *e);
/* A node's host name, by the rule of names. What a task may be called is check_task's (RFC 1123). */
int check_hostname(const char *name, struct err *e);
/* What init was given; 0 in a field means its default. */
int check_cluster_spec(const Gs__ClusterSpec *spec, struct err *e);
/* Fill in what init was not given. */
void cluster_spec_defaults(Gs__ClusterSpec *spec);
/* KEY==VALUE or KEY!=VALUE with a key and a value that a node can have. */
int check_constraint(const char *text, struct err *e);
/* Number and lengths; what: for the message. */
int check_labels(Gs__Label *const *labels, size_t n, const char *what, struct err *e);
/* Bounds, names, networks that exist (references by name are replaced by ids in *spec), topology's own
 * demands except the number of nodes. A spec without a name is judged as well: one is invented for it. */
int check_service(const struct store *s, Gs__ServiceSpec *spec, struct err *e);
/* A Galera service needs a node for each replica: one that is ready, or that has a member of this service
 * already (service_id; "" for one that is not there yet). Counts constraints. now_ms: wall clock. The message does
 * not name the service. */
int check_galera_nodes(const struct store *s, const char *service_id, const Gs__ServiceSpec *spec,
		       uint32_t replicas, int64_t now_ms, struct err *e);
/* Name, driver, subnet against the other networks and the nodes' own addresses. */
int check_network(const struct store *s, const Gs__NetworkSpec *spec, struct err *e);
/* What people call the node, borrowed from it. */
const char *node_display(const Gs__Node *n);
/* The value of KEY in "KEY=VALUE" lines, or NULL. */
const char *env_find(char *const *env, size_t n, const char *key);
/* Every text and number that a stranger or a node describes a host with is bounded by this; its data path carries
 * overlay networks. E_INVALID and what to do. NULL is refused, too. */
int check_description(const Gs__NodeDescription *d, struct err *e);
/* The other nodes' data paths are of the same address family; node_id: of this one, which does not count. */
int check_family(const struct store *s, const char *node_id, const Gs__NodeDescription *d, struct err *e);
