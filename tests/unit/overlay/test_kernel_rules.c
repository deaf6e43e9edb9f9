// SPDX-License-Identifier: Apache-2.0
#include "kernel_rig.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_tunnel_sources_are_checked(void **state)
{
	struct overlay_endpoint gone = endpoint(12, h2.vtep, 1), back = endpoint(12, h2.vtep, 2);

	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	/* host 1 forgets that host 2 is a peer: what it sends is dropped before the vxlan device */
	enter(&h1);
	SH("nft delete element inet gswarm peer4 { 192.0.2.2 . 0x100001 }");
	assert_true(is_silent(&h1, "t11", "10.9.0.12"));
	assert_true(look(&h1) <= 1);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	SH("nft flush ruleset");
	assert_int_equal(look(&h1), 1);
	SH("nft list table inet gswarm | grep -q 192.0.2.2");
	assert_int_equal(look(&h1), 0);
	overlay_endpoint_remove(h1.o, gone.id);
	pass(&h1);
	SH("! nft list table inet gswarm | grep -q 192.0.2.2");
	endpoint_set(&h1, &back);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_nft_helper_lives_dies_and_is_replaced(void **state)
{
	pid_t first;

	both_up();
	enter(&h1);
	OK(nft_in(&h1, "t11", "add table ip probe\n", &err));
	assert_int_equal(in_ns(&h1, "t11", "nft list table ip probe"), 0);
	SH("! nft list table ip probe 2>/dev/null");
	first = h1.o->nft.pid;
	assert_true(first > 0);
	assert_int_equal(nft_run(&h1.o->nft, NULL, "add nonsense\n", NULL, &err), E_INVALID);
	assert_non_null(strstr(err.msg, "syntax error"));
	assert_int_not_equal(nft_in(&h1, "missing", "add table ip x\n", &err), 0);
	kill(first, SIGKILL);
	OK(nft_run(&h1.o->nft, NULL, "add table ip probe\n", NULL, &err));
	OK(nft_run(&h1.o->nft, NULL, "delete table ip probe\n", NULL, &err));
	assert_true(h1.o->nft.pid > 0 && h1.o->nft.pid != first);
}

static void test_nft_program_when_there_is_no_helper(void **state)
{
	const char *real = helper;

	helper = "/nonexistent/gswarm-nft";
	restart(&h1);
	helper = real;
	both_up();
	OK(nft_in(&h1, "t11", "add table ip probe\n", &err));
	assert_int_equal(in_ns(&h1, "t11", "nft list table ip probe"), 0);
	assert_int_equal(nft_run(&h1.o->nft, NULL, "add nonsense\n", NULL, &err), E_INVALID);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	restart(&h1);
}

/* O7: it was found at the next sweep, up to 75 s later. A pass comes every wait_ms. */
static void test_o7_flushed_rules_are_back_within_5_s(void **state)
{
	both_up();
	egress(&h1, "t11");
	look(&h1);
	assert_true(pass(&h1).wait_ms <= 5000 - 1000);
	SH("nft flush ruleset");
	assert_true(is_silent(&h1, "t11", "192.0.2.2")); /* no masquerade */
	assert_int_equal(pass(&h1).repairs, 1);
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	assert_int_equal(pass(&h1).repairs, 0);
}

/* O4: a peer of one network is none of another. */
static void test_o4_peers_are_admitted_by_network(void **state)
{
	struct overlay_network n = network(NET_A, VNI_A + 7);

	both_up();
	enter(&h1);
	SH("nft list set inet gswarm peer4 | grep -q \"192.0.2.2 . 0x100001\"");
	n.generation = 1;
	OK(overlay_network_set(h1.o, &n,
			       &err)); /* its VNI is another one here, and the peer's old one is out */
	pass(&h1);
	SH("nft list set inet gswarm peer4 | grep -q \"192.0.2.2 . 0x100008\"");
	SH("! nft list set inet gswarm peer4 | grep -q 0x100001");
	assert_true(is_silent(&h1, "t11", "10.9.0.12"));
	n.vni = VNI_A;
	n.generation = 2;
	OK(overlay_network_set(h1.o, &n, &err));
	pass(&h1);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

/* ---- the second session's safety review, 9: fragments ---- */

#define UDP_HEAD 8

/* One IPv4 packet of UDP, or a part of one, whoever it says it is from. */
static void send_part(const char *from, const uint8_t *data, size_t n, unsigned offset, bool more)
{
	uint8_t packet[256] = {0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, 17};
	struct sockaddr_in to = {.sin_family = AF_INET};
	struct overlay_ip src = ip(from), dst = ip("192.0.2.1");
	int fd;

	packet[6] = (uint8_t)(offset / 8 >> 8) | (more ? 0x20 : 0);
	packet[7] = (uint8_t)(offset / 8);
	memcpy(packet + 12, src.bytes, 4);
	memcpy(packet + 16, dst.bytes, 4);
	memcpy(packet + 20, data, n);
	memcpy(&to.sin_addr, dst.bytes, 4);
	enter(&h2);
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	assert_true(fd >= 0);
	assert_int_equal(sendto(fd, packet, 20 + n, 0, (struct sockaddr *)&to, sizeof(to)), (int)(20 + n));
	close(fd);
	enter(&h1);
}

static unsigned long tunnel_rx(void)
{
	char text[32] = "";
	FILE *f;

	SH("nsenter --net=%s/gsn-aaaaaaaa ip -j -s link show vx0 | grep -o "
	   "'\"rx\":{\"bytes\":[0-9]*,\"packets\":[0-9]*' | "
	   "grep -o '[0-9]*$' > /run/rx",
	   h1.dir);
	f = fopen("/run/rx", "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	return strtoul(text, NULL, 10);
}

/* A frame for slot 11 by way of network A, in parts of `first` bytes and the rest; whether the tunnel took it. */
static bool is_taken(const char *from, size_t first)
{
	uint8_t data[UDP_HEAD + 8 + 60] = {0xd9, 3, 0x12, 0xb5, 0, sizeof(data)};
	unsigned long before = tunnel_rx();

	data[UDP_HEAD] = 8;
	data[UDP_HEAD + 4] = VNI_A >> 16;
	data[UDP_HEAD + 5] = (VNI_A >> 8) & 0xff;
	data[UDP_HEAD + 6] = VNI_A & 0xff;
	memcpy(data + UDP_HEAD + 8, endpoint(11, h1.vtep, 1).mac, 6);
	memcpy(data + UDP_HEAD + 14, endpoint(12, h2.vtep, 1).mac, 6);
	data[UDP_HEAD + 20] = 8;
	send_part(from, data, first, 0, first < sizeof(data));
	if (first < sizeof(data))
		send_part(from, data + first, sizeof(data) - first, (unsigned)first, false);
	return tunnel_rx() > before;
}

static void strangers_are_kept_out(void)
{
	static const size_t parts[] = {UDP_HEAD, UDP_HEAD + 8, UDP_HEAD + 16, UDP_HEAD + 68};

	for (size_t i = 0; i < array_size(parts); i++)
		assert_false(is_taken("192.0.2.77", parts[i]));
	assert_true(is_taken("192.0.2.2", UDP_HEAD + 68)); /* a peer is heard */
	assert_true(is_taken("192.0.2.2", UDP_HEAD + 16)); /* in parts, too */
}

static void test_s9_fragments_of_strangers(void **state)
{
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	strangers_are_kept_out();
	egress(&h1, "t11"); /* brings connection tracking, which puts packets together before our rules */
	strangers_are_kept_out();
}

static const struct CMUnitTest tests[] = {
	T(test_o7_flushed_rules_are_back_within_5_s), T(test_o4_peers_are_admitted_by_network),
	T(test_tunnel_sources_are_checked),           T(test_nft_helper_lives_dies_and_is_replaced),
	T(test_nft_program_when_there_is_no_helper),  T(test_s9_fragments_of_strangers),
};

RIG_MAIN(tests)
