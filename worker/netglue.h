// SPDX-License-Identifier: Apache-2.0
/* Assignments to overlay/: declares networks and endpoints, attaches tasks, repairs.
 *
 *   items --> netglue_network_set / netglue_endpoint_set --> queue --> one pool job at a time --> overlay_*()
 *   task  --> net_plan (own copy) --> net_attach / net_detach, called by the task's own pool jobs */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/obj.h"

struct worker;
struct netglue;
int netglue_new(struct worker *w, struct netglue **ret, struct err *e);
void netglue_free(struct netglue *n); /* leaves the kernel as it is */

void netglue_network_set(struct netglue *n, const Gs__Network *row);
void netglue_network_remove(struct netglue *n, const char *network_id);
void netglue_endpoint_set(struct netglue *n, const Gs__Endpoint *row);
void netglue_endpoint_remove(struct netglue *n, const char *id);
/* Around a complete set, as in tasks.h. The first end after a start also ends the overlay's adoption. */
void netglue_set_begin(struct netglue *n);
void netglue_set_end(struct netglue *n);
/* True when every network of this task is known. */
bool netglue_ready(const struct netglue *n, const Gs__Task *task);
uint64_t netglue_repairs(const struct netglue *n);
/* "ip name\n" lines of all endpoints in this task's networks; heap. */
char *netglue_hosts(const struct netglue *n, const Gs__Task *task);
void netglue_dump(const struct netglue *n, struct buf *out);
/* Remove every kernel object of ours (leave), then done. */
void netglue_remove_all(struct netglue *n, void (*done)(const struct err *e, void *arg), void *arg);
/* MTU of the link that carries this address; 0 when unknown. */
uint32_t netglue_vtep_mtu(const char *ip);

/* ---- on the pool, with a plan of one's own ---- */
struct net_plan;
struct net_plan *net_plan_new(struct netglue *n, const Gs__Task *task);
void net_plan_free(struct net_plan *p);
int net_attach(struct net_plan *p, struct err *e);
void net_detach(struct net_plan *p);
