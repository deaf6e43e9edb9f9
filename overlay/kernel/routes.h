// SPDX-License-Identifier: Apache-2.0
/* Addresses and routes. */
#pragma once
#include "overlay/kernel/ip.h"
#include "overlay/kernel/nl.h"

#include <netlink/addr.h>

/* As libnl has it, with the full prefix; the caller puts it. ip has 4 or 16 bytes. */
struct nl_addr *ip_object(const struct overlay_ip *ip);
/* Replaces one that is there; IPv6 without duplicate detection. The connected route comes with it. */
void addr_add(struct nl_batch *b, int index, const struct overlay_ip *ip);
/* Replaces the namespace's default route of that family. */
void route_add_default(struct nl_batch *b, int index, const struct overlay_ip *gateway);

/* What a namespace's link has. */
struct routes_view {
	bool has_address, has_default;
};
/* Does the link have `ip`, with that prefix, and (gateway not NULL) the default route through it? -errno. */
int routes_view_get(struct nl_conn *c, int index, const struct overlay_ip *ip,
		    const struct overlay_ip *gateway, struct routes_view *ret, struct err *e);
/* The link the route to this address leaves by (for an address of our own: the link that has it) and the
 * route's own MTU (0: none). -ENETUNREACH and the like as they are. */
int route_lookup(struct nl_conn *c, const struct overlay_ip *peer, int *ret_index, uint32_t *ret_mtu,
		 struct err *e);
/* The smaller of the route's and its link's; 0: no route. */
uint32_t route_path_mtu(struct nl_conn *c, const struct overlay_ip *peer);
/* Every address / route of the namespace as text lines, for dumps. */
struct buf;
/* -errno when the kernel does not tell. */
int routes_print(struct nl_conn *c, struct buf *out, struct err *e);
