// SPDX-License-Identifier: Apache-2.0
/* What a node may say of itself.
 *
 * The happy path is: a worker read its own host and everything is in bounds. What can fail is a host that cannot
 * carry our networks, and a node that lies: then its join or its session is refused. */
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "manager/model/check.h"
#include "proto/value/addr.h"

/* The operator's terminal shows these. */
static bool texts_fit(const Gs__NodeDescription *d)
{
	const char *const texts[] = {d->boot_id, d->software_version, d->platform_os, d->platform_arch};

	for (size_t i = 0; i < array_size(texts); i++)
		if (strlen(texts[i]) > 64 || !text_is_plain(texts[i]))
			return false;
	return true;
}

/* Every other node sends its packets there. */
static int check_addresses(const Gs__NodeDescription *d, struct err *e)
{
	char text[64];

	if (d->advertise_ip.len != 4 && d->advertise_ip.len != 16)
		return err_set(e, E_INVALID, "node %s gives no address where it can be reached", d->hostname);
	if (!addr_is_host(&d->advertise_ip))
		return err_set(e, E_INVALID,
			       "node %s: %s is no address where others reach it: choose another "
			       "--advertise-addr",
			       d->hostname, addr_format(&d->advertise_ip, text, sizeof(text)));
	if (d->vtep_ip.len != 0 && d->vtep_ip.len != 4 && d->vtep_ip.len != 16)
		return err_set(e, E_INVALID, "node %s: bad data path address", d->hostname);
	if (d->vtep_ip.len != 0 && !addr_is_host(&d->vtep_ip))
		return err_set(
			e, E_INVALID,
			"node %s: %s is no address where others reach it: choose another --data-path-addr",
			d->hostname, addr_format(&d->vtep_ip, text, sizeof(text)));
	return 0;
}

int check_description(const Gs__NodeDescription *d, struct err *e)
{
	uint32_t mtu_min;

	if (!d)
		return err_set(e, E_INVALID, "the request has no node description");
	if (check_hostname(d->hostname, e))
		return err_wrap(e, "node's host name");
	if (check_addresses(d, e))
		return e->code;
	mtu_min = d->vtep_ip.len == 16 ? VTEP_MTU_MIN_V6 : VTEP_MTU_MIN_V4;
	if (d->vtep_mtu != 0 && d->vtep_mtu < mtu_min)
		return err_set(e, E_INVALID,
			       "node %s: the link of its data path carries packets of %u bytes; overlay "
			       "networks need %u or more: raise the link's MTU or choose another "
			       "--data-path-addr",
			       d->hostname, d->vtep_mtu, mtu_min);
	if (d->vtep_mtu > 65535 || d->peer_port > 65535 || !texts_fit(d))
		return err_set(e, E_INVALID, "node %s: description out of bounds", d->hostname);
	return 0;
}

int check_family(const struct store *s, const char *node_id, const Gs__NodeDescription *d, struct err *e)
{
	const Gs__Node *node;

	for (size_t i = 0; (node = store_at(s, OBJ_NODE, i)); i++) {
		const Gs__NodeDescription *other = node->description;

		if (!other || other->vtep_ip.len == 0 || d->vtep_ip.len == 0 ||
		    other->vtep_ip.len == d->vtep_ip.len || strcmp(node->meta->id, node_id) == 0)
			continue;
		return err_set(e, E_INVALID,
			       "node %s: its data path is IPv%d, but the swarm's is IPv%d (node %s): give an "
			       "address "
			       "of that family with --data-path-addr",
			       d->hostname, d->vtep_ip.len == 4 ? 4 : 6, other->vtep_ip.len == 4 ? 4 : 6,
			       other->hostname);
	}
	return 0;
}
