// SPDX-License-Identifier: Apache-2.0
#include "kernel_rig.h"

#include <signal.h>

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

static const struct CMUnitTest tests[] = {
	T(test_o7_flushed_rules_are_back_within_5_s), T(test_o4_peers_are_admitted_by_network),
	T(test_tunnel_sources_are_checked),           T(test_nft_helper_lives_dies_and_is_replaced),
	T(test_nft_program_when_there_is_no_helper),
};

RIG_MAIN(tests)
