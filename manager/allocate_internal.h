// SPDX-License-Identifier: Apache-2.0
/* What the two halves of the allocator share: allocate.c (networks, nodes, slots, endpoints) and
 * allocate_service.c (virtual addresses, published ports). */
#pragma once
#include "manager/reconcile_internal.h"

struct alloc {
	struct store *s;
	struct tx *tx;
	struct reconcile_env *env;
	int64_t wall_ms;
};

/* ---- reservations: what is taken is a row, so that a new leader cannot give it out again ---- */
bool reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
			 const char *value);
void reservation_take(struct alloc *a, Gs__ReservationKind kind, const char *scope, const char *value,
		      const void *bytes, size_t n, const char *owner);

/* ip + n, in the last four bytes: no pool or subnet we cut is wider than that. */
void ip_add(uint8_t *ip, size_t len, uint32_t n);
/* Number of the last address of a host in the subnet; 0: it has none. */
uint32_t subnet_last_host(const Gs__Addr *subnet);

void allocate_services(struct alloc *a);
