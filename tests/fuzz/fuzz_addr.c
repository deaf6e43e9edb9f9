// SPDX-License-Identifier: Apache-2.0
/* Addresses, networks and host:port as users write them: what parses, formats to something that parses. */
#include <string.h>

#include "base/mem.h"
#include "proto/value/obj.h"
#include "tests/fuzz/fuzz.h"

static void try_addr(const char *text)
{
	ProtobufCBinaryData ip = {0}, again = {0};
	char buf[64];
	uint8_t mac[6];
	struct err e;

	if (addr_parse(text, &ip, &e) < 0)
		return;
	assert(ip.len == 4 || ip.len == 16);
	addr_mac(&ip, mac);
	assert(addr_parse(addr_format(&ip, buf, sizeof(buf)), &again, &e) == 0);
	assert(obj_bytes_equal(&ip, &again));
	free(ip.data);
	free(again.data);
}

static void try_cidr(const char *text)
{
	Gs__Addr *a, *b;
	char buf[80];
	struct err e;

	if (addr_parse_cidr(text, &a, &e) < 0)
		return;
	assert(addr_parse_cidr(addr_format_cidr(a, buf, sizeof(buf)), &b, &e) == 0);
	assert(obj_equal(a, b) && addr_overlaps(a, b) && addr_contains(a, &b->ip));
	obj_free(a);
	obj_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *text = strndup((const char *)data, size);
	ProtobufCBinaryData ip = {0};
	char host[64];
	uint16_t port;
	struct err e;

	try_addr(text);
	try_cidr(text);
	if (hostport_parse(text, 2377, host, sizeof(host), &port, &e) == 0) {
		assert(addr_parse(host, &ip, &e) == 0);
		free(ip.data);
	}
	return 0;
}
