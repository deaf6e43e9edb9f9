// SPDX-License-Identifier: Apache-2.0
/* The address pool. Pure; the allocator cuts networks from it, check refuses a subnet that hosts need. */
#include "manager/model/pool.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/value/obj.h"

#define POOL_DEFAULT "10.0.0.0/8"
#define POOL_MASK_DEFAULT 24
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

bool subnet_is_taken(const struct tx *tx, const Gs__Addr *subnet, const char *but)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_NETWORK, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__Network *net = rows[i];

		if (strcmp(net->meta->id, but) != 0 && net->subnet && addr_overlaps(net->subnet, subnet))
			return true;
	}
	return false;
}

/* Tasks on a network that holds a host's own address could not reach that host. */
static bool holds_node(const struct tx *tx, const Gs__Addr *subnet)
{
	cleanup_free const void **rows = NULL;
	size_t n = tx_list(tx, OBJ_NODE, &rows);

	for (size_t i = 0; i < n; i++) {
		const Gs__NodeDescription *d = ((const Gs__Node *)rows[i])->description;

		if (d && (addr_contains(subnet, &d->advertise_ip) || addr_contains(subnet, &d->vtep_ip)))
			return true;
	}
	return false;
}

/* Slots 0.. of the pool that the mask cuts, but for the hosts' part; at most 65,536 are looked at. */
Gs__Addr *subnet_cut(const struct store *s, const struct tx *tx, const char *but)
{
	const Gs__Cluster *c = store_cluster(s);
	const Gs__ClusterSpec *spec = c ? c->spec : NULL;
	const char *text = subnet_pool(s);
	uint32_t mask =
		spec && spec->default_addr_pool_mask ? spec->default_addr_pool_mask : POOL_MASK_DEFAULT;
	Gs__Addr *pool = NULL, *cut;
	uint32_t bits, count, step;

	if (addr_parse_cidr(text, &pool, NULL))
		return NULL;
	bits = (uint32_t)pool->ip.len * 8;
	if (mask < pool->prefix || mask > bits || bits - mask > 31) {
		obj_free(pool);
		return NULL;
	}
	count = mask - pool->prefix > 16 ? 1u << 16 : 1u << (mask - pool->prefix);
	step = 1u << (bits - mask);
	cut = obj_dup(pool);
	cut->prefix = mask;
	obj_free(pool);
	for (uint32_t i = 0; i < count; i++, ip_add(cut->ip.data, cut->ip.len, step))
		if (!subnet_is_taken(tx, cut, but) && !holds_node(tx, cut) && !subnet_is_hosts(s, cut))
			return cut;
	obj_free(cut);
	return NULL;
}

Gs__Addr *subnet_from_pool(const struct store *s, const struct tx *tx, struct err *e)
{
	const Gs__Cluster *c = store_cluster(s);
	const Gs__ClusterSpec *spec = c ? c->spec : NULL;
	Gs__Addr *subnet = subnet_cut(s, tx, "");

	if (!subnet)
		err_set(e, E_EXHAUSTED,
			"the address pool %s has no free /%u left: give a --subnet, or remove a network",
			subnet_pool(s),
			spec && spec->default_addr_pool_mask ? spec->default_addr_pool_mask
							     : POOL_MASK_DEFAULT);
	return subnet;
}
