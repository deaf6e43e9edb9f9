// SPDX-License-Identifier: Apache-2.0
/* One object brought to what is declared, or taken away, at once; what failed is left for the next pass with
 * its back-off set. For the pass itself and for the calls that wait for the kernel. */
#pragma once
#include "overlay/internal.h"

/* "gswarm:task:<owner>" */
void taskns_mark(const struct task_ns *t, char ret_mark[ALIAS_MAX]);
/* The namespace with this owner's mark; another owner's of that name goes first. */
int taskns_ensure(struct overlay *o, struct task_ns *t, struct err *e);
/* No longer declared: frees it on success. */
int taskns_leave(struct overlay *o, struct task_ns *t, struct err *e);
/* No longer wanted: may free it on success. */
int network_leave(struct overlay *o, struct network *n, struct err *e);
/* Both ends, as declared; its network is there. */
int port_bring(struct overlay *o, struct port *p, struct err *e);
/* Both ends, with an address of the pool. */
int leg_bring(struct overlay *o, struct leg *leg, struct err *e);
