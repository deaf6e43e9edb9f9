// SPDX-License-Identifier: Apache-2.0
/* Names of our kernel objects, by a hash of the id in base 36 behind a short prefix, and marks on them. Text of a
 * mark that is not ours is reported as "not ours", never repaired. */
#include "overlay/names.h"

#include <ctype.h>
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
