// SPDX-License-Identifier: Apache-2.0
/* An address of either family, with a prefix where it stands for a subnet. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct overlay_ip { /* len 4 or 16; 0: none */
	uint8_t bytes[16];
	uint8_t len;
	uint8_t prefix;
};

bool ip_is_equal(const struct overlay_ip *a, const struct overlay_ip *b); /* the prefix does not count */
int ip_compare(const struct overlay_ip *a, const struct overlay_ip *b);
/* "10.0.0.1" without the prefix; "-" for none. */
const char *ip_format(const struct overlay_ip *ip, char ret_text[48]);
/* "10.0.0.1" or "10.0.0.1/24"; without a prefix it is the full length. */
bool ip_parse(const char *text, struct overlay_ip *ret);
/* The n-th address of an IPv4 subnet; false when it is not inside (network and broadcast count as outside). */
bool ip_nth(const struct overlay_ip *subnet, unsigned n, struct overlay_ip *ret);
int ip_family(const struct overlay_ip *ip); /* AF_INET, AF_INET6 or AF_UNSPEC */
