// SPDX-License-Identifier: Apache-2.0
/* Translates assignments into declarations for overlay/, and asks it for passes.
 *
 *   items --> net_network_set / net_endpoint_set --> overlay_*_set (remembered, nothing else)
 *                                       then, and on events, failures, time --> one pool job: overlay_pass
 *   task  --> net_plan (own copy) --> net_attach / net_detach, called by the task's own pool jobs
 *
 * What is wanted, what the kernel took, and when to try again is the overlay's business. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/value/obj.h"

struct worker;
struct net;
/* Finds what an earlier worker left in the kernel. w is borrowed and outlives it. */
int net_new(struct worker *w, struct net **ret, struct err *e);
/* What the networks ask and tell those that use them. NULL: nobody is there; nothing is adopted then. Copied. */
struct net_above {
	bool (*settled)(void *arg);                           /* all that runs has declared its legs */
	void (*names)(char ***ret, size_t *ret_n, void *arg); /* namespaces in use; both levels become ours */
	void (*hosts_changed)(void *arg);                     /* the names of endpoints did */
	void (*came)(void *arg);                              /* a network that somebody may wait for */
	void *arg;
};
/* To be called once what it calls is there; until then nothing is taken for left over. */
void net_listen(struct net *n, const struct net_above *above);
/* Leaves the kernel as it is. Frees once its jobs are back. */
void net_free(struct net *n);

/* A row of the store; one that is not allocated yet is passed over, it comes again. */
void net_network_set(struct net *n, const Gs__Network *row);
/* An unknown one is fine, as for endpoints. */
void net_network_remove(struct net *n, const char *network_id);
/* A row of the store; a later one of the same id replaces it. */
void net_endpoint_set(struct net *n, const Gs__Endpoint *row);
/* An unknown one is fine. */
void net_endpoint_remove(struct net *n, const char *id);
/* This host's data path address changed. */
void net_vtep_set(struct net *n, const char *ip);
/* "10.0.0.0/8", the swarm's address pool; text of a manager, ignored when malformed. */
void net_pool_set(struct net *n, const char *pool);
/* "ip:port" of managers and peers (2377 without a port): tasks' egress does not reach them. Whole; what is
 * malformed is left out. */
void net_guard_set(struct net *n, const char *const *services, size_t n_services);
/* Around a complete set, as in worker/task/table.h. The first end after a start also ends the overlay's adoption. */
void net_set_begin(struct net *n);
/* What the set did not name is gone now. */
void net_set_end(struct net *n);
/* True when every network of this task is known. */
bool net_ready(const struct net *n, const Gs__Task *task);
/* Objects that were found changed and were mended, since the start. */
uint64_t net_repairs(const struct net *n);
/* Another number than before when net_hosts of this task may say something else than before; never 0. */
uint64_t net_names_version(const struct net *n, const Gs__Task *task);
/* "ip name\n" lines of all endpoints in this task's networks; heap. */
char *net_hosts(const struct net *n, const Gs__Task *task);
/* What is known and what the kernel holds, gathered on the pool; text is the callback's for its duration. */
void net_dump(struct net *n, void (*done)(const char *text, void *arg), void *arg);
/* Remove every kernel object of ours (leave), then done. */
void net_remove_all(struct net *n, void (*done)(const struct err *e, void *arg), void *arg);
/* MTU of the link that has this address, 0 when there is none. It lists the host's addresses, for which the kernel
 * may let one wait: on the pool, or before anybody waits for the loop. */
uint32_t net_link_mtu(const char *ip);
/* MTU of the link, or what the ways to peers allow if that is less, but not less than a data path needs; 0 when
 * unknown. n may be NULL. */
uint32_t net_mtu(const struct net *n, uint32_t link);

/* ---- a task's own network ---- */
struct net_plan;
/* On the loop. */
struct net_plan *net_plan_new(struct net *n, const Gs__Task *task);
/* NULL is fine. The kernel keeps what was attached. */
void net_plan_free(struct net_plan *p);
/* The container's process: its namespace is mounted again when the mount was lost. 0: none. */
void net_plan_process(struct net_plan *p, pid_t pid);
/* On the pool. Declares all of it, whatever fails: what the kernel refused now is tried again until
 * net_detach. */
int net_attach(struct net_plan *p, struct err *e);
/* On the pool. Only what is this task's own still; what fails is tried again by later passes. */
void net_detach(struct net_plan *p);
