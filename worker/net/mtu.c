// SPDX-License-Identifier: Apache-2.0
/* How large a packet may be on the data path: by the link, and by the ways to peers as the last pass saw them. A link
 * that is not there has 0. */
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/value/addr.h"
#include "worker/net/internal.h"

static uint32_t link_mtu(const char *name)
{
	struct ifreq req = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &req) < 0)
		req.ifr_mtu = 0;
	if (fd >= 0)
		close(fd);
	return (uint32_t)req.ifr_mtu;
}

uint32_t net_link_mtu(const char *ip)
{
	struct ifaddrs *list, *i;
	struct overlay_ip want;
	uint32_t mtu = 0;

	if (net_ip_of(ip, &want, 0) < 0 || getifaddrs(&list) < 0)
		return 0;
	for (i = list; i && mtu == 0; i = i->ifa_next) {
		const void *have = NULL;

		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && want.len == 4)
			have = &((struct sockaddr_in *)i->ifa_addr)->sin_addr;
		else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6 && want.len == 16)
			have = &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		if (have && memcmp(have, want.bytes, want.len) == 0)
			mtu = link_mtu(i->ifa_name);
	}
	freeifaddrs(list);
	return mtu;
}

/* A peer says itself where its VTEP is, and the way there may be anything: that must not make ours a data path which
 * the manager refuses. */
uint32_t net_mtu(const struct net *n, uint32_t link)
{
	uint8_t ip[16];
	uint32_t least, path;

	if (!n || n->path_mtu == 0)
		return link;
	least = addr_bytes(n->w->state.data_path, ip) == 16 ? VTEP_MTU_MIN_V6 : VTEP_MTU_MIN_V4;
	path = n->path_mtu < least ? least : n->path_mtu;
	return path < link ? path : link;
}
