// SPDX-License-Identifier: Apache-2.0
/* What the parts of the allocator share: allocate.c (networks, nodes, slots, endpoints), allocate_service.c
 * (virtual addresses, published ports), allocate_reserve.c (what is taken). */
#pragma once
#include "manager/model/pool.h"
#include "manager/model/rows.h"
#include "manager/reconcile/reconcile.h"

struct alloc {
	struct store *s;
	struct tx *tx;
	struct reconcile_env *env;
	int64_t wall_ms;
};

#define ADDRESS_REST_MS 60000

/* ---- reservations: what is taken is a row, so that a new leader cannot give it out again ---- */

/* Nobody has the value, and nobody had it a short while ago. */
bool reservation_is_free(const struct alloc *a, Gs__ReservationKind kind, const char *scope,
			 const char *value);
/* The value is owner's from this tx on; the row goes into the log ahead of the one that uses it. bytes: the
 * value in network order. */
void reservation_take(struct alloc *a, Gs__ReservationKind kind, const char *scope, const char *value,
		      const void *bytes, size_t n, const char *owner);
/* Release what nobody uses any more, and reserve again what is used without a reservation. Before anything
 * new is given out. */
void allocate_reservations(struct alloc *a);
/* Nothing runs in the slot now: take the address on the network away from it if it is another one's too. */
void slot_free_address(struct alloc *a, const char *slot_id, const char *network_id);
/* What the service uses although it is another one's, for people; NULL: nothing. free it. */
char *service_rivalry(const struct tx *tx, const Gs__Service *svc);

/* Mode host asks each node for the number, not the swarm. */
static inline bool port_is_reserved(const Gs__Port *p)
{
	return strcmp(p->mode, "host") != 0;
}
static inline const char *port_protocol(const Gs__Port *p)
{
	return *p->protocol ? p->protocol : "tcp";
}

/* Number of the last address of a host in the subnet; 0: it has none. */
uint32_t subnet_last_host(const Gs__Addr *subnet);

/* Virtual addresses and published ports for all services. */
void allocate_services(struct alloc *a);
