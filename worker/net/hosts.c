// SPDX-License-Identifier: Apache-2.0
/* Names that a task's /etc/hosts has: of all endpoints in its networks. Changes come many at once and are told
 * together. */
#include <string.h>

#include "base/buf.h"
#include "worker/net/internal.h"

#define HOSTS_WAIT_MS 50

/* The hosts files, once for many; a stream of changes does not put them off for ever. */
void net_hosts_changed(struct net *n, struct network *net)
{
	net->names = ++n->names;
	if (!uv_is_active((uv_handle_t *)&n->hosts.uv))
		loop_timer_set(&n->hosts, HOSTS_WAIT_MS);
}

void net_on_hosts(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	if (n->above.hosts_changed)
		n->above.hosts_changed(n->above.arg);
}

uint64_t net_names_version(const struct net *n, const Gs__Task *task)
{
	uint64_t last = 1; /* never 0 */

	for (size_t i = 0; i < task->n_addresses; i++) {
		const struct network *net = net_find(n, task->addresses[i]->network_id);

		if (net && net->names >= last)
			last = net->names + 1;
	}
	return last;
}

char *net_hosts(const struct net *n, const Gs__Task *task)
{
	struct buf out = {0};
	char ip[INET6_ADDRSTRLEN];
	const struct ep *ep;

	for (size_t i = 0; i < task->n_addresses; i++)
		if (task->addresses[i]->addr)
			buf_printf(&out, "%s %s%s%s\n",
				   addr_format(&task->addresses[i]->addr->ip, ip, sizeof(ip)), task->name,
				   *task->spec->hostname ? " " : "", task->spec->hostname);
	for (size_t i = 0; i < task->n_addresses; i++) {
		const struct network *net = net_find(n, task->addresses[i]->network_id);

		DL_FOREACH (net ? net->eps : NULL, ep)
			if (*ep->name && strcmp(ep->name, task->name) != 0)
				buf_printf(&out, "%s %s\n", ep->ip, ep->name);
	}
	buf_text(&out);
	return (char *)out.data;
}
