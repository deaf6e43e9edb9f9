// SPDX-License-Identifier: Apache-2.0
/* Addresses are 4 or 16 bytes in network order plus a prefix length; text goes through inet_pton/ntop.
 * What can fail is the user's text: each error names it and says what was expected. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/value/obj.h"

size_t addr_bytes(const char *text, uint8_t ret[16])
{
	if (inet_pton(AF_INET, text, ret) == 1)
		return 4;
	return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

/* ---- sockets ---- */

union any_addr {
	struct sockaddr_storage ss;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

bool addr_to_sockaddr(const char *ip, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	union any_addr a = {0};
	uint8_t bytes[16];
	size_t n = addr_bytes(ip[0] ? ip : "0.0.0.0", bytes);

	if (n == 4) {
		a.four.sin_family = AF_INET;
		a.four.sin_port = htons(port);
		memcpy(&a.four.sin_addr, bytes, n);
	} else if (n == 16) {
		a.six.sin6_family = AF_INET6;
		a.six.sin6_port = htons(port);
		memcpy(&a.six.sin6_addr, bytes, n);
	}
	*ret = a.ss;
	*ret_len = n == 4 ? sizeof(a.four) : sizeof(a.six);
	return n > 0;
}

const char *addr_of_sockaddr(const struct sockaddr *sa, char *buf, size_t n)
{
	bug_if(!n);
	buf[0] = 0;
	if (sa->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, buf, (socklen_t)n);
	else if (sa->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, buf, (socklen_t)n);
	return buf;
}

const char *hostport_of_sockaddr(const struct sockaddr *sa, char *buf, size_t n)
{
	char ip[INET6_ADDRSTRLEN];

	addr_of_sockaddr(sa, ip, sizeof(ip));
	if (sa->sa_family == AF_INET)
		snprintf(buf, n, "%s:%u", ip, ntohs(((const struct sockaddr_in *)sa)->sin_port));
	else if (sa->sa_family == AF_INET6)
		snprintf(buf, n, "[%s]:%u", ip, ntohs(((const struct sockaddr_in6 *)sa)->sin6_port));
	else
		snprintf(buf, n, "?");
	return buf;
}

/* ---- bytes ---- */

int addr_parse(const char *text, ProtobufCBinaryData *ret_ip, struct err *e)
{
	uint8_t ip[16];
	size_t len = addr_bytes(text, ip);

	if (!len)
		return err_set(e, E_INVALID, "'%.64s' is not an IP address", text);
	ret_ip->data = xmemdup(ip, len);
	ret_ip->len = len;
	return 0;
}

static bool bit(const uint8_t *ip, unsigned i)
{
	return ip[i / 8] >> (7 - i % 8) & 1;
}

int addr_parse_cidr(const char *text, Gs__Addr **ret, struct err *e)
{
	char host[64];
	const char *slash = strchr(text, '/');
	ProtobufCBinaryData ip = {0, NULL};
	unsigned long prefix;
	char *end;

	if (!slash || (size_t)(slash - text) >= sizeof(host) || slash[1] < '0' || slash[1] > '9')
		return err_set(e, E_INVALID, "'%.64s' is not a subnet such as 10.0.9.0/24", text);
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = 0;
	prefix = strtoul(slash + 1, &end, 10);
	if (addr_parse(host, &ip, NULL) < 0 || *end || prefix > ip.len * 8) {
		free(ip.data);
		return err_set(e, E_INVALID, "'%.64s' is not a subnet such as 10.0.9.0/24", text);
	}
	for (unsigned i = (unsigned)prefix; i < ip.len * 8; i++) {
		if (bit(ip.data, i)) {
			free(ip.data);
			return err_set(e, E_INVALID, "subnet '%.64s' has host bits set behind /%lu", text,
				       prefix);
		}
	}
	*ret = obj_new(&gs__addr__descriptor);
	(*ret)->ip = ip;
	(*ret)->prefix = (uint32_t)prefix;
	return 0;
}

const char *addr_format(const ProtobufCBinaryData *ip, char *buf, size_t n)
{
	if (n)
		buf[0] = 0;
	if (ip->len == 4)
		inet_ntop(AF_INET, ip->data, buf, (socklen_t)n);
	else if (ip->len == 16)
		inet_ntop(AF_INET6, ip->data, buf, (socklen_t)n);
	return buf;
}

const char *addr_format_cidr(const Gs__Addr *a, char *buf, size_t n)
{
	size_t len;

	if (n)
		buf[0] = 0;
	if (!a || !a->ip.len)
		return buf;
	addr_format(&a->ip, buf, n);
	len = strlen(buf);
	snprintf(buf + len, n - len, "/%u", a->prefix);
	return buf;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++)
		if (bit(a, i) != bit(b, i))
			return false;
	return true;
}

bool addr_overlaps(const Gs__Addr *a, const Gs__Addr *b)
{
	unsigned bits;

	if (!a || !b || a->ip.len != b->ip.len || !a->ip.len)
		return false;
	bits = a->prefix < b->prefix ? a->prefix : b->prefix;
	return bits <= a->ip.len * 8 && same_prefix(a->ip.data, b->ip.data, bits);
}

bool addr_contains(const Gs__Addr *net, const ProtobufCBinaryData *ip)
{
	return net && net->ip.len == ip->len && ip->len && net->prefix <= ip->len * 8 &&
	       same_prefix(net->ip.data, ip->data, net->prefix);
}

bool addr_is_host(const ProtobufCBinaryData *ip)
{
	static const uint8_t zero[12];
	const uint8_t *b = ip->data;

	if (ip->len == 4)
		return b[0] != 0 && b[0] != 127 && b[0] < 224;
	/* ::/96 has "any", loopback and old IPv4 forms, ::ffff:0:0/96 the new ones */
	return ip->len == 16 && b[0] != 0xff && memcmp(b, zero, 10) != 0;
}

void addr_mac(const ProtobufCBinaryData *ip, uint8_t ret_mac[6])
{
	uint32_t h = 2166136261u; /* FNV-1a */

	ret_mac[0] = 0x02; /* locally administered, unicast */
	ret_mac[1] = 0x67;
	if (ip->len == 4) {
		memcpy(ret_mac + 2, ip->data, 4);
		return;
	}
	for (size_t i = 0; i < ip->len; i++)
		h = (h ^ ip->data[i]) * 16777619u;
	for (int i = 0; i < 4; i++)
		ret_mac[2 + i] = (uint8_t)(h >> (24 - 8 * i));
}

const char *mac_format(const uint8_t mac[6], char buf[18])
{
	snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return buf;
}

static int port_parse(const char *text, uint16_t *ret)
{
	unsigned v = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		v = v * 10 + (unsigned)(*text - '0');
		if (v > 65535)
			return -1;
	}
	if (!v)
		return -1;
	*ret = (uint16_t)v;
	return 0;
}

int hostport_parse(const char *text, uint16_t default_port, char *ret_host, size_t n, uint16_t *ret_port,
		   struct err *e)
{
	char host[64];
	const char *colon = strrchr(text, ':'), *port = NULL;
	ProtobufCBinaryData ip = {0, NULL};
	uint16_t number = default_port;
	size_t len = strlen(text);

	bug_if(!default_port || !n);
	if (text[0] == '[') {
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			goto bad;
		len = (size_t)(end - text - 1);
		port = end[1] ? end + 2 : NULL;
		text++;
	} else if (colon && strchr(text, ':') == colon) {
		len = (size_t)(colon - text);
		port = colon + 1;
	}
	if (len == 0 || len >= sizeof(host) || len >= n)
		goto bad;
	memcpy(host, text, len);
	host[len] = 0;
	if ((port && port_parse(port, &number) < 0) || addr_parse(host, &ip, NULL) < 0)
		goto bad;
	free(ip.data);
	memcpy(ret_host, host, len + 1);
	*ret_port = number;
	return 0;
bad:
	return err_set(e, E_INVALID, "'%.64s' is not an address such as 192.168.55.111:%u", text,
		       default_port);
}
