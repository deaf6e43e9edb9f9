// SPDX-License-Identifier: Apache-2.0
/* The address pool. Pure; the allocator cuts networks from it, check refuses a subnet that hosts need. */
#include "manager/model/pool.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/bug.h"
#include "proto/value/obj.h"

#define POOL_DEFAULT "10.0.0.0/8"
#define HOSTS_PART_POOL_MAX 16 /* prefix */

void ip_add(uint8_t *ip, size_t len, uint32_t n)
{
	uint32_t low;

	bug_if(len < 4);
	memcpy(&low, ip + len - 4, 4);
	low = htonl(ntohl(low) + n);
	memcpy(ip + len - 4, &low, 4);
}

const char *subnet_pool(const struct store *s)
{
	const Gs__Cluster *c = store_cluster(s);

	return c && c->spec && *c->spec->default_addr_pool ? c->spec->default_addr_pool : POOL_DEFAULT;
}

/* A sixteenth of it must have room for a host's own subnet (overlay/underlay.c: a /20). */
static bool has_hosts_part(const Gs__Addr *pool)
{
	return pool->ip.len == 4 && pool->prefix <= HOSTS_PART_POOL_MAX;
}

bool subnet_is_hosts(const struct store *s, const Gs__Addr *subnet)
{
	Gs__Addr *part = NULL;
	bool hit = false;

	if (addr_parse_cidr(subnet_pool(s), &part, NULL))
		return false;
	if (has_hosts_part(part)) {
		part->prefix += 4;
		bug_if(part->prefix > 32);
		ip_add(part->ip.data, part->ip.len, 15u << (32 - part->prefix));
		hit = addr_overlaps(part, subnet);
	}
	obj_free(part);
	return hit;
}
