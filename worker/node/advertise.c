// SPDX-License-Identifier: Apache-2.0
/* The happy path is one global address on one interface. What can fail is too much choice (the user must say
 * which), an address that is not ours, and a port that somebody else has (named by way of /proc). */
#include "worker/node/advertise.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "proto/value/obj.h"

static bool address_usable(const struct ifaddrs *i, char *ip, size_t n)
{
	if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) ||
	    strcmp(i->ifa_name, "gswarm0") == 0)
		return false;
	if (i->ifa_addr->sa_family == AF_INET6 &&
	    IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr))
		return false;
	return *addr_of_sockaddr(i->ifa_addr, ip, n) != 0;
}

struct choice {
	char first4[64], first6[64];
	unsigned n4, n6;
	struct buf list;
};

static void choices(const char *only_if, const char *only_ip, struct choice *c)
{
	struct ifaddrs *all = NULL;
	char ip[64];

	if (getifaddrs(&all) < 0)
		return;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!address_usable(i, ip, sizeof(ip)) || (only_if && strcmp(only_if, i->ifa_name) != 0) ||
		    (only_ip && strcmp(only_ip, ip) != 0))
			continue;
		buf_printf(&c->list, "%s%s (%s)", c->list.len > 0 ? ", " : "", ip, i->ifa_name);
		if (i->ifa_addr->sa_family == AF_INET) {
			if (c->n4++ == 0)
				memcpy(c->first4, ip, sizeof(ip));
		} else if (c->n6++ == 0) {
			memcpy(c->first6, ip, sizeof(ip));
		}
	}
	freeifaddrs(all);
}

static int choose(const char *only_if, char *ret_ip, size_t n, struct err *e)
{
	struct choice c = {0};
	int rc = 0;

	choices(only_if, NULL, &c);
	if (c.n4 == 1 || (c.n4 == 0 && c.n6 == 1))
		snprintf(ret_ip, n, "%s", c.n4 == 1 ? c.first4 : c.first6);
	else if (c.n4 + c.n6 == 0 && only_if)
		rc = err_set(
			e, E_INVALID,
			"interface %s has no address that others could reach; name another one or an address",
			only_if);
	else if (c.n4 + c.n6 == 0)
		rc = err_set(e, E_INVALID,
			     "this host has no address that others could reach; give --advertise-addr");
	else if (only_if)
		rc = err_set(e, E_INVALID, "interface %s has more than one address: %s; name one of them",
			     only_if, buf_text(&c.list));
	else
		rc = err_set(e, E_INVALID,
			     "this host has more than one address: %s; say which with --advertise-addr",
			     buf_text(&c.list));
	buf_fini(&c.list);
	return rc;
}

static int check_local(const char *ip, struct err *e)
{
	struct choice all = {0}, one = {0};
	int rc = 0;

	choices(NULL, ip, &one);
	if (one.n4 + one.n6 == 0) {
		choices(NULL, NULL, &all);
		rc = err_set(e, E_INVALID, "%s is no address of this host; it has %s", ip,
			     all.list.len > 0 ? buf_text(&all.list) : "none");
	}
	buf_fini(&all.list);
	buf_fini(&one.list);
	return rc;
}

bool advertise_is_local(const char *ip)
{
	struct choice one = {0};

	choices(NULL, ip, &one);
	buf_fini(&one.list);
	return one.n4 + one.n6 > 0;
}

int advertise_pick(const char *text, uint16_t default_port, char *ret_ip, size_t n, uint16_t *ret_port,
		   struct err *e)
{
	char ip[64];
	uint16_t port = default_port;
	int r;

	if (!text || *text == '\0')
		r = choose(NULL, ip, sizeof(ip), e);
	else if (if_nametoindex(text) != 0)
		r = choose(text, ip, sizeof(ip), e);
	else if ((r = hostport_parse(text, default_port, ip, sizeof(ip), &port, e)) == 0)
		r = check_local(ip, e);
	if (r < 0)
		return r;
	snprintf(ret_ip, n, "%s", ip);
	*ret_port = port;
	return 0;
}

int advertise_pick_host(const char *text, char *ret_ip, size_t n, struct err *e)
{
	ProtobufCBinaryData bytes = {0, NULL};
	char ip[64];
	int r;

	bug_if(*text == '\0' || n < sizeof(ip));
	if (if_nametoindex(text) != 0) {
		r = choose(text, ip, sizeof(ip), e);
	} else if (addr_parse(text, &bytes, NULL) < 0) {
		r = err_set(e, E_INVALID,
			    "'%.64s' is neither an address (without a port) nor an interface of this host",
			    text);
	} else {
		addr_format(&bytes, ip, sizeof(ip));
		r = check_local(ip, e);
	}
	free(bytes.data);
	if (r == 0)
		memcpy(ret_ip, ip, sizeof(ip));
	return r;
}

/* "192.168.55.0/24" of an IPv4 address. heap */
static char *network_of(const struct ifaddrs *i)
{
	struct in_addr mask = ((const struct sockaddr_in *)i->ifa_netmask)->sin_addr;
	struct in_addr net = ((const struct sockaddr_in *)i->ifa_addr)->sin_addr;
	char text[INET_ADDRSTRLEN];

	net.s_addr &= mask.s_addr;
	inet_ntop(AF_INET, &net, text, sizeof(text));
	return xasprintf("%s/%d", text, __builtin_popcount(mask.s_addr));
}

int advertise_check_apart(const Gs__Addr *subnet, struct err *e)
{
	struct ifaddrs *all = NULL;
	int rc = 0;

	if (getifaddrs(&all) < 0)
		return err_errno(e, errno, "list this host's addresses");
	for (struct ifaddrs *i = all; i && rc == 0; i = i->ifa_next) {
		cleanup(obj_free_p) Gs__Addr *net = NULL;
		cleanup_free char *cidr = NULL;
		char ip[64], text[80];

		if (!address_usable(i, ip, sizeof(ip)) || i->ifa_addr->sa_family != AF_INET ||
		    !i->ifa_netmask)
			continue;
		cidr = network_of(i);
		if (addr_parse_cidr(cidr, &net, NULL) == 0 && addr_overlaps(net, subnet))
			rc = err_set(e, E_INVALID,
				     "%s overlaps with this host's own network on %s (%s): choose another "
				     "one, like 10.20.0.0/16",
				     addr_format_cidr(subnet, text, sizeof(text)), i->ifa_name, cidr);
	}
	freeifaddrs(all);
	return rc;
}

int advertise_towards(const char *peer_ip, char *ret_ip, size_t n, struct err *e)
{
	struct sockaddr_storage ss;
	cleanup_close int fd = -1;
	socklen_t len;

	if (!addr_to_sockaddr(peer_ip, MANAGER_PORT, &ss, &len))
		return err_set(e, E_INVALID, "'%.64s' is not an IP address", peer_ip);
	fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) < 0)
		return err_errno(e, errno, "no route to %s", peer_ip);
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return err_errno(e, errno, "no route to %s", peer_ip);
	addr_of_sockaddr((struct sockaddr *)&ss, ret_ip, n);
	return 0;
}

/* ---- who has a port ---- */

static unsigned long inode_in(const char *table, uint16_t port, bool udp)
{
	FILE *f = fopen(table, "re");
	char line[512];
	unsigned local, state;
	unsigned long inode, found = 0;

	while (f && found == 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
			   &local, &state, &inode) == 3 &&
		    local == port && (udp || state == 0x0a))
			found = inode;
	if (f)
		fclose(f);
	return found;
}

static bool process_has(const char *pid, const char *want)
{
	cleanup_free char *path = xasprintf("/proc/%s/fd", pid);
	DIR *d = opendir(path);
	struct dirent *entry;
	bool found = false;

	while (d && !found && (entry = readdir(d))) {
		char link[64];
		ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = strcmp(link, want) == 0;
		}
	}
	if (d)
		closedir(d);
	return found;
}

static bool owner_find(uint16_t port, bool udp, char *ret, size_t n)
{
	unsigned long inode = inode_in(udp ? "/proc/net/udp" : "/proc/net/tcp", port, udp);
	char want[64];
	DIR *d;
	struct dirent *entry;
	bool found = false;

	if (inode == 0)
		inode = inode_in(udp ? "/proc/net/udp6" : "/proc/net/tcp6", port, udp);
	snprintf(want, sizeof(want), "socket:[%lu]", inode);
	d = inode != 0 ? opendir("/proc") : NULL;
	while (d && !found && (entry = readdir(d))) {
		cleanup_free char *path = NULL, *name = NULL;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || !process_has(entry->d_name, want))
			continue;
		path = xasprintf("/proc/%s/comm", entry->d_name);
		if (fs_read(path, 256, &name, NULL, NULL) == 0)
			name[strcspn(name, "\n")] = '\0';
		snprintf(ret, n, "%s, pid %s", name ? name : "?", entry->d_name);
		found = true;
	}
	if (d)
		closedir(d);
	return found;
}

int port_check(const char *ip, uint16_t port, bool udp, struct err *e)
{
	struct sockaddr_storage ss;
	cleanup_close int fd = -1;
	char owner[160];
	socklen_t len;
	int one = 1;

	if (!addr_to_sockaddr(ip, port, &ss, &len))
		return err_set(e, E_INVALID, "'%.64s' is not an IP address", ip);
	fd = socket(ss.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "socket");
	if (!udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, len) == 0 && (udp || listen(fd, 1) == 0))
		return 0;
	if (errno != EADDRINUSE)
		return err_errno(e, errno, "port %u/%s on %s", port, udp ? "udp" : "tcp",
				 *ip ? ip : "this host");
	if (!owner_find(port, udp, owner, sizeof(owner)))
		snprintf(owner, sizeof(owner), "%s",
			 udp ? "the kernel, e.g. a VXLAN device" : "another process");
	return err_set(e, E_IN_USE, "port %u/%s is taken by %s; stop it first", port, udp ? "udp" : "tcp",
		       owner);
}
