// SPDX-License-Identifier: Apache-2.0
/* The pool of addresses that networks without a subnet of their own are cut from, and the part of it that
 * hosts keep. */
#pragma once
#include "manager/store/store.h"

/* ip + n, in the last four bytes: no pool or subnet we cut is wider than that. */
void ip_add(uint8_t *ip, size_t len, uint32_t n);
/* The pool in CIDR notation, the cluster's own or "10.0.0.0/8"; borrowed from the store. */
const char *subnet_pool(const struct store *s);
/* Whether this touches the last sixteenth of the pool: hosts take the subnet of their tasks' way out from it,
 * so no network lies there. A pool narrower than /16 has no such part. */
bool subnet_is_hosts(const struct store *s, const Gs__Addr *subnet);
/* Another network (its id is not `but`) has addresses of this subnet. */
bool subnet_is_taken(const struct tx *tx, const Gs__Addr *subnet, const char *but);
/* The first subnet of the pool that is free; the caller's. NULL: none is, or the pool makes no sense. */
Gs__Addr *subnet_cut(const struct store *s, const struct tx *tx, const char *but);
/* The same for a new network; E_EXHAUSTED says what to do. */
Gs__Addr *subnet_from_pool(const struct store *s, const struct tx *tx, struct err *e);
