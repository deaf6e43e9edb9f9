// SPDX-License-Identifier: Apache-2.0
/* The way out of a task: what it reaches, what it must not reach, and what the host keeps for itself. */
#include "kernel_rig.h"

#define FORWARD "/proc/sys/net/ipv4/ip_forward"
#define ETH0 "/proc/sys/net/ipv4/conf/eth0/forwarding"

static void host_is_no_router(void)
{
	enter(&h1);
	SH("echo 1 > " FORWARD " && echo 0 > " FORWARD);
}

static void test_leg(void **state)
{
	both_up();
	attach(&h1, 13, "t13");
	egress(&h1, "t11");
	egress(&h1, "t13");
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 172.31.0.2/20"), 0);
	assert_int_equal(in_ns(&h1, "t13", "ip -4 addr show gw0 | grep -q 172.31.0.3/20"), 0);
	assert_true(pings(&h1, "t11", "192.0.2.2")); /* masqueraded: that host has no way back to 172.31 */
	assert_true(is_silent(&h1, "t11", "172.31.0.3"));
	/* round by the gateway: no either */
	assert_int_equal(in_ns(&h1, "t11", "ip route add 172.31.0.3/32 via 172.31.0.1"), 0);
	assert_true(is_silent(&h1, "t11", "172.31.0.3"));
	OK(overlay_egress_detach(h1.o, "o.t11", &err));
	egress(&h1, "t11");
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 172.31.0.2/20"), 0);
}

static void test_addresses_are_remembered_by_the_kernel(void **state)
{
	both_up();
	egress(&h1, "t11");
	attach(&h1, 13, "t13");
	egress(&h1, "t13");
	restart(&h1);
	declare(&h1);
	attach(&h1, 13, "t13");
	assert_int_equal(overlay_egress_attach(h1.o, "t13", "o.other", &err), E_EXISTS); /* gw0 is o.t13's */
	egress(&h1, "t13");
	assert_int_equal(in_ns(&h1, "t13", "ip -4 addr show gw0 | grep -q 172.31.0.3/20"), 0);
	assert_true(pings(&h1, "t13", "192.0.2.2"));
}

/* O5: the subnet was 172.31.0.0/16 on every host, the network of many a cloud. */
static void test_o5_subnet_is_of_the_pool_and_touches_no_route(void **state)
{
	struct overlay_ip pool = ip("10.0.0.0/8");

	enter(&h1);
	overlay_egress_pool_set(h1.o, &pool);
	SH("ip route add 10.240.0.0/13 via 192.0.2.2 && ip addr add 10.248.0.7/28 dev eth0");
	OK(overlay_netns_create(h1.o, "t11", "o.t11", 0, &err));
	egress(&h1, "t11");
	/* past the route, and past what belongs to the address's neighbourhood */
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 10.249.0.2/20"), 0);
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	SH("ip route del 10.240.0.0/13 && ip addr del 10.248.0.7/28 dev eth0");
	/* a restart keeps it, whatever the pool and the routes are by now */
	restart(&h1);
	SH("ip route add 10.249.0.0/16 via 192.0.2.2");
	OK(overlay_netns_create(h1.o, "t11", "o.t11", 0, &err));
	egress(&h1, "t11");
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 10.249.0.2/20"), 0);
	SH("ip route del 10.249.0.0/16");
}

static void test_o5_a_routed_pool_is_left_for_other_ranges(void **state)
{
	struct overlay_ip pool = ip("10.0.0.0/8");

	enter(&h1);
	overlay_egress_pool_set(h1.o, &pool);
	SH("ip route add 10.0.0.0/8 via 192.0.2.2 && ip addr add 172.31.16.9/20 dev eth0");
	OK(overlay_netns_create(h1.o, "t11", "o.t11", 0, &err));
	egress(&h1, "t11");
	SH("ip -4 addr show gswarm0 | grep -q 172.18.0.1/20");
	SH("ip route add 172.16.0.0/12 via 192.0.2.2 && ip route add 192.168.0.0/16 via 192.0.2.2");
	SH("ip route add 100.64.0.0/10 via 192.0.2.2");
	OK(overlay_remove_all(h1.o, &err));
	OK(overlay_netns_create(h1.o, "t11", "o.t11", 0, &err));
	assert_int_equal(overlay_egress_attach(h1.o, "t11", "o.t11", &err), E_EXHAUSTED);
	assert_non_null(strstr(err.msg, "ip route"));
	SH("for n in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10; do ip route del $n; done");
	SH("ip addr del 172.31.16.9/20 dev eth0");
}

/* User review, 24: a pool without a part for hosts will all be networks, and the way out lay within it. */
static void test_o5_a_narrow_pool_is_left_to_networks(void **state)
{
	struct overlay_ip pool = ip("172.31.0.0/17");

	enter(&h1);
	overlay_egress_pool_set(h1.o, &pool);
	OK(overlay_remove_all(h1.o, &err));
	OK(overlay_netns_create(h1.o, "t11", "o.t11", 0, &err));
	egress(&h1, "t11");
	SH("ip -4 addr show gswarm0 | grep -q 172.31.128.1/20");
}

/* O6: ip_forward was turned on, and a host with two links became an open router. */
static void test_o6_host_becomes_no_router(void **state)
{
	host_is_no_router();
	SH("ip link add second type veth peer name far && ip link set second up && "
	   "ip addr add 198.51.100.1/24 dev second");
	SH("ip netns add gso-far && ip link set far netns gso-far && ip -n gso-far link set far up && "
	   "ip -n gso-far addr add 198.51.100.2/24 dev far && ip -n gso-far route add default via "
	   "198.51.100.1");
	both_up();
	egress(&h1, "t11");
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	assert_true(pings(&h1, "t11", "198.51.100.2"));
	SH("test $(cat " FORWARD ") = 0");
	/* from one of its links to the other: no, as before */
	SH("ip -n gso-h2 route add 198.51.100.0/24 via 192.0.2.1");
	SH("! ip netns exec gso-h2 ping -c1 -W1 198.51.100.2 >/dev/null");
	/* Somebody makes it a router: that is not ours to hinder. */
	SH("echo 1 > " FORWARD);
	look(&h1);
	SH("ip netns exec gso-h2 ping -c1 -W1 198.51.100.2 >/dev/null");
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	/* And no more: all links were closed, ours are opened again. */
	SH("echo 0 > " FORWARD);
	assert_true(look(&h1) > 0);
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	SH("! ip netns exec gso-h2 ping -c1 -W1 198.51.100.2 >/dev/null");
	SH("ip netns del gso-far; ip -n gso-h2 route del 198.51.100.0/24; ip link del second 2>/dev/null; "
	   "true");
}

static void test_o6_forwarding_is_put_back_unless_somebody_wants_it(void **state)
{
	host_is_no_router();
	both_up();
	egress(&h1, "t11");
	SH("test $(cat " ETH0 ") = 1");
	restart(&h1); /* another process knows what is to be put back */
	OK(overlay_remove_all(h1.o, &err));
	SH("test $(cat " FORWARD ") = 0 && test $(cat " ETH0 ") = 0");
	both_up();
	egress(&h1, "t11");
	SH("echo 1 > " FORWARD); /* as Docker does when it comes */
	OK(overlay_remove_all(h1.o, &err));
	SH("test $(cat " FORWARD ") = 1 && test $(cat " ETH0 ") = 1");
}

static void test_o6_a_link_that_comes_later_carries_answers_too(void **state)
{
	host_is_no_router();
	both_up();
	egress(&h1, "t11");
	drain(&h1);
	SH("ip link add second type veth peer name far && ip link set second up && ip link set far up && "
	   "ip addr add 198.51.100.1/24 dev second");
	assert_true(drain(&h1));
	pass(&h1);
	SH("test $(cat /proc/sys/net/ipv4/conf/second/forwarding) = 1");
	SH("ip link del second");
}

/* A bridge of the host's own went silent where br_netfilter shows bridged frames to the forward hook. */
static void test_o6_bridges_of_the_host_go_on(void **state)
{
	host_is_no_router();
	enter(&h1);
	SH("ip link add own type bridge && ip link set own up && ip addr add 203.0.113.1/24 dev own");
	for (int i = 2; i <= 3; i++)
		SH("ip netns add gso-own%d && ip link add own%d type veth peer name eth0 netns gso-own%d && "
		   "ip link set own%d master own up && ip -n gso-own%d addr add 203.0.113.%d/24 dev eth0 && "
		   "ip -n gso-own%d link set eth0 up",
		   i, i, i, i, i, i, i);
	SH("test ! -e /proc/sys/net/bridge/bridge-nf-call-iptables || "
	   "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables");
	both_up();
	egress(&h1, "t11");
	SH("test $(cat /proc/sys/net/ipv4/conf/own/forwarding) = 1");
	SH("ip netns exec gso-own2 ping -c1 -W2 203.0.113.3 >/dev/null");
	SH("ip netns del gso-own2; ip netns del gso-own3; ip link del own");
}

/* O4: a task's own VXLAN packet to a peer was forwarded and masqueraded to our VTEP, which the peer admits. None
 * leaves the host: into our networks, into those of another orchestrator, or too short to be of any. */
static void test_o4_a_task_cannot_speak_to_the_tunnel(void **state)
{
	both_up();
	egress(&h1, "t11");
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	SH("ip netns exec gso-h2 nft \"add table ip watch; add counter ip watch hits; "
	   "add chain ip watch in { type filter hook prerouting priority -400; }; "
	   "add rule ip watch in udp dport 4789 counter name hits\"");
	/* 08: a VNI follows; 100001: network A; then some of an Ethernet frame */
	SH("nsenter --net=%s/t11 bash -c 'for vxlan in \"\\x08\\0\\0\\0\\x10\\0\\x01\\0abcdefabcdef\" "
	   "\"\\x08\\0\\0\\0\\0\\0\\x07\\0abcdefabcdef\" abc; do printf \"$vxlan\" > "
	   "/dev/udp/192.0.2.2/4789; done'",
	   h1.dir);
	SH("ip netns exec gso-h2 nft list counter ip watch hits | grep -q \"packets 0\"");
	SH("ip netns exec gso-h2 nft delete table ip watch");
}

enum { DROPPED = 124, REFUSED = 1 }; /* as timeout(1) and a shell say it */

static int calls(const char *at)
{
	return in_ns(&h1, "t11", "timeout 1 bash -c \"exec 3<>/dev/tcp/%s\"", at);
}

/* The second session's safety review, 5: a task called a manager under its host's address, and used up what that
 * address may do there. */
static void test_s5_a_task_cannot_call_managers_and_peers(void **state)
{
	const struct overlay_service list[] = {{ip("192.0.2.2"), 2377},
					       {ip("192.0.2.1"), 2378},
					       {ip("fd00::1"), 2377},
					       {ip("192.0.2.2"), 2377}};

	both_up();
	egress(&h1, "t11");
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	overlay_guard_set(h1.o, list, array_size(list));
	pass(&h1);
	assert_int_equal(calls("192.0.2.2/2377"), DROPPED);
	assert_int_equal(calls("192.0.2.1/2378"), DROPPED); /* the host's own */
	assert_int_equal(calls("192.0.2.2/2378"), REFUSED); /* nobody listens, but it came there */
	assert_int_equal(look(&h1), 0);
	SH("nft flush ruleset");
	assert_int_equal(look(&h1), 1);
	assert_int_equal(calls("192.0.2.2/2377"), DROPPED);
	overlay_guard_set(h1.o, NULL, 0);
	pass(&h1);
	assert_int_equal(calls("192.0.2.2/2377"), REFUSED);
}

static const struct CMUnitTest tests[] = {
	T(test_leg),
	T(test_addresses_are_remembered_by_the_kernel),
	T(test_o5_subnet_is_of_the_pool_and_touches_no_route),
	T(test_o5_a_routed_pool_is_left_for_other_ranges),
	T(test_o5_a_narrow_pool_is_left_to_networks),
	T(test_o6_host_becomes_no_router),
	T(test_o6_forwarding_is_put_back_unless_somebody_wants_it),
	T(test_o6_bridges_of_the_host_go_on),
	T(test_o6_a_link_that_comes_later_carries_answers_too),
	T(test_o4_a_task_cannot_speak_to_the_tunnel),
	T(test_s5_a_task_cannot_call_managers_and_peers),
};

RIG_MAIN(tests)
