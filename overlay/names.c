// SPDX-License-Identifier: Apache-2.0
/* The happy path is: hash the id, print it in base 36 behind a short prefix.
 * What can fail is: text of a mark that is not ours; it is then reported as "not ours", never repaired. */
#include "overlay/names.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"

/* FNV-1a, 64 bits, with a last mixing step because base 36 takes the number from its top. */
static uint64_t hash_text(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

static void name_hashed(const char *prefix, const char *id, char ret_name[NAME_MAX_LEN])
{
	uint64_t h = hash_text(id);
	uint8_t bytes[8];
	char digits[9];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(h >> (56 - 8 * i));
	base36_encode(bytes, sizeof(bytes), 8, digits);
	snprintf(ret_name, NAME_MAX_LEN, "%s%s", prefix, digits);
}

void name_network_ns(const char *network_id, char ret_name[NAME_MAX_LEN])
{
	snprintf(ret_name, NAME_MAX_LEN, "gsn-%.8s", network_id);
}

void name_port(const char *endpoint_id, char ret_name[NAME_MAX_LEN])
{
	name_hashed("p", endpoint_id, ret_name);
}

void name_leg(const char *id, char ret_name[NAME_MAX_LEN])
{
	name_hashed("ge", id, ret_name);
}

bool name_is_valid_netns(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > 100 || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}

void leg_alias_format(const struct leg_alias *a, char ret_text[ALIAS_MAX])
{
	char ip[48];

	snprintf(ret_text, ALIAS_MAX, ALIAS_LEG "%s:%s:%s", ip_format(&a->ip, ip), a->netns, a->id);
}

/* Copy the text up to the next ':' (or the end) and step over it. */
static bool take_field(const char **text, char *out, size_t size)
{
	size_t n = strcspn(*text, ":");

	if (n == 0 || n >= size)
		return false;
	memcpy(out, *text, n);
	out[n] = 0;
	*text += n + ((*text)[n] == ':');
	return true;
}

bool leg_alias_parse(const char *text, struct leg_alias *ret)
{
	struct leg_alias a = {0};
	char ip[48];

	if (strncmp(text, ALIAS_LEG, strlen(ALIAS_LEG)) != 0)
		return false;
	text += strlen(ALIAS_LEG);
	if (!take_field(&text, ip, sizeof(ip)) || !ip_parse(ip, &a.ip) || a.ip.len != 4)
		return false;
	if (!take_field(&text, a.netns, sizeof(a.netns)) || !take_field(&text, a.id, sizeof(a.id)) || *text)
		return false;
	*ret = a;
	return true;
}

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

const char *link_mac_format(const unsigned char mac[6], char ret_text[18])
{
	snprintf(ret_text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
		 mac[5]);
	return ret_text;
}
