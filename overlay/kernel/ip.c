// SPDX-License-Identifier: Apache-2.0
/* Addresses of the kernel: compared, printed, read. Text that is no address is refused, and nothing is written
 * then. */
#include "overlay/kernel/ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ip_compare(const struct overlay_ip *a, const struct overlay_ip *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->bytes, b->bytes, a->len);
}

bool ip_is_equal(const struct overlay_ip *a, const struct overlay_ip *b)
{
	return ip_compare(a, b) == 0;
}

int ip_family(const struct overlay_ip *ip)
{
	return ip->len == 4 ? AF_INET : ip->len == 16 ? AF_INET6 : AF_UNSPEC;
}

const char *ip_format(const struct overlay_ip *ip, char ret_text[48])
{
	if (ip->len == 0 || !inet_ntop(ip_family(ip), ip->bytes, ret_text, 48))
		snprintf(ret_text, 48, "-");
	return ret_text;
}

bool ip_parse(const char *text, struct overlay_ip *ret)
{
	struct overlay_ip ip = {0};
	char addr[48], *end;
	size_t n = strcspn(text, "/");
	unsigned long prefix;

	if (n >= sizeof(addr))
		return false;
	memcpy(addr, text, n);
	addr[n] = 0;
	ip.len = strchr(addr, ':') ? 16 : 4;
	if (inet_pton(ip_family(&ip), addr, ip.bytes) != 1)
		return false;
	ip.prefix = (uint8_t)(ip.len * CHAR_BIT);
	if (text[n] == '/') {
		prefix = strtoul(text + n + 1, &end, 10);
		if (!isdigit((unsigned char)text[n + 1]) || *end || prefix > ip.prefix)
			return false;
		ip.prefix = (uint8_t)prefix;
	}
	*ret = ip;
	return true;
}

bool ip_nth(const struct overlay_ip *subnet, unsigned n, struct overlay_ip *ret)
{
	uint32_t base, mask, size;

	if (subnet->len != 4 || subnet->prefix > 30)
		return false;
	memcpy(&base, subnet->bytes, 4);
	size = subnet->prefix ? 1u << (32 - subnet->prefix) : UINT32_MAX;
	mask = ~(size - 1);
	if (n == 0 || n >= size - 1)
		return false;
	base = htonl((ntohl(base) & mask) + n);
	*ret = (struct overlay_ip){.len = 4, .prefix = subnet->prefix};
	memcpy(ret->bytes, &base, 4);
	return true;
}
