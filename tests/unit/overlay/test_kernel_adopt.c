// SPDX-License-Identifier: Apache-2.0
#include "kernel_rig.h"

#include <fcntl.h>
#include <unistd.h>

static void test_restart_adopts_everything(void **state)
{
	const char *const keep[] = {"kept"};
	struct overlay_port p = port(11, "t11");

	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	OK(overlay_netns_create(h1.o, "kept", owner_of("kept"), 0, &err));
	OK(overlay_netns_create(h1.o, "unwanted", owner_of("unwanted"), 0, &err));
	egress(&h1, "t13");
	egress(&h1, "t11");
	SH("nsenter --net=%s/t11 sh -c 'ip -4 -o addr; ip -o link show eth0' > /run/before", h1.dir);
	restart(&h1);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	declare(&h1);
	OK(overlay_attach(h1.o, &p, &err));
	egress(&h1, "t11");
	OK(overlay_adopt_done(h1.o, keep, 1, &err));
	SH("nsenter --net=%s/t11 sh -c 'ip -4 -o addr; ip -o link show eth0' | cmp - /run/before", h1.dir);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	SH("test -e %s/kept && ! test -e %s/unwanted && ! test -e %s/t13", h1.dir, h1.dir, h1.dir);
	SH("test $(ip -o link show master gswarm0 | grep -c ' ge') = 1");
	assert_int_equal(look(&h1), 0);
}

static void test_restart_with_nothing_declared_removes_everything(void **state)
{
	both_up();
	restart(&h1);
	OK(overlay_adopt_done(h1.o, NULL, 0, &err));
	SH("test -z \"$(ls %s)\"", h1.dir);
}

/* A kill between making the file and mounting on it. */
static void test_half_made_namespace_is_completed(void **state)
{
	enter(&h1);
	SH("touch %s/half && chmod 1400 %s/half && touch %s/other && chmod 0 %s/other", h1.dir, h1.dir,
	   h1.dir, h1.dir);
	OK(overlay_netns_create(h1.o, "half", owner_of("half"), 0, &err));
	assert_int_equal(in_ns(&h1, "half", "true"), 0);
	assert_int_equal(overlay_netns_create(h1.o, "other", "o.other", 0, &err), E_EXISTS);
	SH("test -e %s/other && rm %s/other", h1.dir, h1.dir);
}

static void test_half_made_network_is_completed(void **state)
{
	both_up();
	restart(&h1);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip link del vx0; ip link set br0 down"), 0);
	assert_int_equal(in_ns(&h1, "t11", "ip link set eth0 down; ip addr flush dev eth0"), 0);
	declare(&h1);
	attach(&h1, 11, "t11");
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_foreign_objects_are_errors_and_stay(void **state)
{
	struct overlay_port p = port(11, "t11");

	declare(&h1);
	enter(&h1);
	OK(overlay_netns_create(h1.o, "t11", owner_of("t11"), 0, &err));
	/* a namespace of our network's name */
	SH("touch %s/gsn-aaaaaaaa && unshare --net=%s/gsn-aaaaaaaa true", h1.dir, h1.dir);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_EXISTS);
	assert_non_null(strstr(err.msg, "not ours"));
	assert_int_equal(overlay_adopt_done(h1.o, NULL, 0, &err), E_EXISTS); /* the port stays declared */
	SH("test -e %s/gsn-aaaaaaaa && umount %s/gsn-aaaaaaaa && rm %s/gsn-aaaaaaaa", h1.dir, h1.dir, h1.dir);
	/* a vxlan with our VNI */
	SH("ip link add other type vxlan id %d local 192.0.2.1 dstport 4789", VNI_A);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_EXISTS);
	SH("ip link del other");
	/* an interface of the wanted name in the task */
	assert_int_equal(in_ns(&h1, "t11", "ip link add eth0 type bridge"), 0);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_EXISTS);
	assert_int_equal(in_ns(&h1, "t11", "ip link del eth0"), 0);
	/* an egress bridge */
	SH("ip link add gswarm0 type bridge");
	assert_int_equal(overlay_egress_attach(h1.o, "t11", "o.t11", &err), E_EXISTS);
	OK(overlay_remove_all(h1.o, &err));
	SH("ip link show gswarm0 >/dev/null && ip link del gswarm0");
}

/* Links that were given up when the process was killed. */
static void test_given_up_links_are_found_after_a_restart(void **state)
{
	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa",
			       "ip link add gx77 type veth peer name gx78 && ip link set gx77 group %u && "
			       "ip link set gx78 group %u",
			       0x67735744, 0x67735744),
			 0);
	SH("ip link add gx99 type veth peer name gx98 && ip link set gx99 group %u", 0x67735744);
	restart(&h1);
	both_up();
	enter(&h1);
	OK(overlay_adopt_done(h1.o, NULL, 0, &err));
	OK(overlay_remove_all(h1.o, &err));
	SH("! ip link show gx99 2>/dev/null");
}

static void test_remove_all_leaves_nothing(void **state)
{
	enter(&h1);
	SH("nft add table ip others && nft list ruleset > /run/rules-before; ip -o link > /run/links-before; "
	   "ls %s > "
	   "/run/ns-before; ip -4 -o addr > /run/addr-before",
	   h1.dir);
	both_up();
	enter(&h1);
	egress(&h1, "t11");
	OK(overlay_remove_all(h1.o, &err));
	OK(overlay_remove_all(h1.o, &err));
	SH("nft list ruleset | cmp - /run/rules-before && ip -o link | cmp - /run/links-before");
	SH("ls %s | cmp - /run/ns-before && ip -4 -o addr | cmp - /run/addr-before", h1.dir);
	SH("! ss -uln | grep -q :4789 && nft delete table ip others");
}

/* O2: what could not be adopted yet is declared all the same, and nobody reaps it or what is beside it. */
static void test_o2_nothing_is_reaped_while_a_port_is_not_settled(void **state)
{
	struct overlay_port p11 = port(11, "t11"), p13 = port(13, "t13");
	struct overlay_endpoint there = endpoint(13, h1.vtep, 1);
	int lives;

	both_up();
	endpoint_set(&h2, &there);
	attach(&h1, 13, "t13");
	restart(&h1);
	declare(&h1);
	/* t11's namespace, which lives, cannot be had for a while: its port fails, and t13 was not declared again
	 * yet */
	lives = open("/run/gso-1/t11", O_RDONLY | O_CLOEXEC);
	assert_true(lives >= 0);
	SH("umount -l %s/t11", h1.dir);
	assert_true(overlay_attach(h1.o, &p11, &err) < 0);
	(void)overlay_adopt_done(h1.o, (const char *const[]){"t13"}, 1, &err);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "test $(ip -br link show type veth | wc -l) = 2"), 0);
	OK(overlay_attach(h1.o, &p13, &err));
	assert_true(pings(&h1, "t13", "10.9.0.12"));
	close(lives);
}

static const struct CMUnitTest tests[] = {
	T(test_o2_nothing_is_reaped_while_a_port_is_not_settled),
	T(test_restart_adopts_everything),
	T(test_restart_with_nothing_declared_removes_everything),
	T(test_half_made_namespace_is_completed),
	T(test_half_made_network_is_completed),
	T(test_foreign_objects_are_errors_and_stay),
	T(test_given_up_links_are_found_after_a_restart),
	T(test_remove_all_leaves_nothing),
};

RIG_MAIN(tests)
