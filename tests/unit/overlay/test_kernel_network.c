// SPDX-License-Identifier: Apache-2.0
#include "kernel_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_ping_across_and_full_size(void **state)
{
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_true(pings(&h2, "t12", "-M do -s 1422 10.9.0.11"));
	assert_true(is_silent(&h2, "t12", "-M do -s 1423 10.9.0.11"));
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show lo | grep -q 127.0.0.1"), 0);
	assert_int_equal(look(&h1), 0);
}

static void test_calls_twice_change_nothing(void **state)
{
	both_up();
	assert_int_equal(in_ns(&h1, "t11", "ip -o link > /run/before"), 0);
	both_up();
	assert_int_equal(in_ns(&h1, "t11", "ip -o link | cmp - /run/before"), 0);
	assert_int_equal(look(&h1), 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_nothing_unknown_leaves_the_host(void **state)
{
	const char *count = "cat /sys/class/net/vx0/statistics/tx_packets";

	both_up();
	/* The flags, as the kernel prints them. */
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa",
			       "ip -d link show vx0 | grep \"learning off flood off\" | grep \"mcast_flood "
			       "off\" | grep "
			       "\"bcast_flood off\" | grep -q \"neigh_suppress on\""),
			 0);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip -d link show vx0 | grep -q nolearning"), 0);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip -d link show vx0 | grep -q \"addrgenmode none\""), 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	/* sysfs shows the namespace it was mounted in, so a fresh mount per look. */
	SH("unshare -m nsenter --net=%s/gsn-aaaaaaaa sh -c 'mount -t sysfs s /sys && %s' > /run/before",
	   h1.dir, count);
	assert_true(is_silent(&h1, "t11", "10.9.0.99"));
	pings(&h1, "t11", "-b 10.9.0.255");
	in_ns(&h1, "t11", "ping -6 -c1 -W1 ff02::1%%eth0");
	SH("unshare -m nsenter --net=%s/gsn-aaaaaaaa sh -c 'mount -t sysfs s /sys && %s' > /run/after",
	   h1.dir, count);
	SH("cmp /run/before /run/after");
}

/* Each damage is seen, repaired, and then there is nothing left to repair. */
static void test_damage_is_repaired(void **state)
{
	static const struct {
		const char *ns, *command;
	} damage[] = {
		{"gsn-aaaaaaaa", "bridge fdb del 02:09:00:00:00:0c dev vx0 self"},
		{"gsn-aaaaaaaa", "bridge fdb del 02:09:00:00:00:0c dev vx0 master"},
		{"gsn-aaaaaaaa",
		 "bridge fdb replace 02:09:00:00:00:0c dev vx0 dst 192.0.2.66 self permanent"},
		{"gsn-aaaaaaaa", "bridge fdb add 02:09:00:00:00:ee dev vx0 dst 192.0.2.66 self permanent"},
		{"gsn-aaaaaaaa", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.66 self permanent"},
		{"gsn-aaaaaaaa", "ip neigh del 10.9.0.12 dev br0"},
		{"gsn-aaaaaaaa", "ip neigh replace 10.9.0.12 dev br0 lladdr 02:66:00:00:00:00 nud permanent"},
		{"gsn-aaaaaaaa", "bridge link set dev vx0 flood on learning on"},
		{"gsn-aaaaaaaa", "ip link set vx0 down"},
		{"gsn-aaaaaaaa", "ip link set br0 down"},
		{"gsn-aaaaaaaa", "ip link set br0 mtu 1400"},
		{"gsn-aaaaaaaa", "ip link del vx0"},
		{"gsn-aaaaaaaa", "ip link del br0"},
		{"t11", "ip link del eth0"},
		{"t11", "ip link set eth0 down"},
		{"t11", "ip addr flush dev eth0"},
		{"t11", "ip link set eth0 mtu 1300"},
		{"t11", "ip link set eth0 address 02:66:00:00:00:01"},
		{"t11", "ip route del default"},
	};

	both_up();
	OK(overlay_adopt_done(h1.o, NULL, 0, &err));
	enter(&h1);
	egress(&h1, "t11");
	look(&h1);
	for (size_t i = 0; i < array_size(damage); i++) {
		assert_int_equal(look(&h1), 0);
		if (in_ns(&h1, damage[i].ns, "%s", damage[i].command) != 0)
			fail_msg("could not damage: %s", damage[i].command);
		if (look(&h1) == 0)
			fail_msg("not repaired: %s", damage[i].command);
		if (!pings(&h1, "t11", "10.9.0.12"))
			fail_msg("no ping after the repair of: %s", damage[i].command);
	}
	assert_int_equal(look(&h1), 0);
}

static void test_whole_namespace_is_made_anew(void **state)
{
	both_up();
	SH("umount -l %s/gsn-aaaaaaaa && rm %s/gsn-aaaaaaaa", h1.dir, h1.dir);
	enter(&h1);
	assert_true(look(&h1) > 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
}

static void test_lower_generation_is_ignored(void **state)
{
	struct overlay_endpoint moved = endpoint(12, "192.0.2.77", 5), old = endpoint(12, h2.vtep, 4);

	both_up();
	enter(&h1);
	endpoint_set(&h1, &moved);
	endpoint_set(&h1, &old);
	assert_int_equal(
		in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q \"0c dst 192.0.2.77\""), 0);
	old.generation = 6;
	endpoint_set(&h1, &old);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_endpoint_that_becomes_local_loses_its_entries(void **state)
{
	struct overlay_endpoint here = endpoint(12, h1.vtep, 2);

	both_up();
	enter(&h1);
	endpoint_set(&h1, &here);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q 00:0c"), 0);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip neigh show dev br0 | grep -q 10.9.0.12"), 0);
	attach(&h1, 12, "t12b");
	assert_true(pings(&h1, "t12b", "10.9.0.11"));
	overlay_endpoint_remove(h1.o, here.id);
	pass(&h1);
	overlay_endpoint_remove(h1.o, here.id);
	pass(&h1);
}

static void test_stale_vni_of_ours_is_replaced(void **state)
{
	struct overlay_network n = network(NET_B, VNI_A);
	struct overlay_port p = port(11, "t11");

	both_up();
	restart(&h1); /* the old network is not declared again: its VNI was given to another one */
	snprintf(p.network_id, sizeof(p.network_id), NET_B);
	OK(overlay_network_set(h1.o, &n, &err));
	OK(overlay_netns_create(h1.o, "t14", owner_of("t14"), 0, &err));
	snprintf(p.netns, sizeof(p.netns), "t14");
	OK(overlay_attach(h1.o, &p, &err));
	assert_int_equal(in_ns(&h1, "gsn-bbbbbbbb", "ip link show vx0"), 0);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip link show vx0"), 0);
}

static void test_bad_input(void **state)
{
	struct overlay_network n = network(NET_A, 0);
	struct overlay_port p = port(11, "t11");

	enter(&h1);
	assert_int_equal(overlay_network_set(h1.o, &n, &err), E_INVALID);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_NOT_FOUND);
	assert_int_equal(overlay_netns_create(h1.o, "../x", "o.x", 0, &err), E_INVALID);
	n.vni = VNI_A;
	OK(overlay_network_set(h1.o, &n, &err));
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_NOT_FOUND); /* no such namespace */
	SH("test -e %s/gsn-aaaaaaaa", h1.dir);
	OK(overlay_detach(h1.o, p.id, p.owner, &err)); /* O13: and with it goes what was made for it */
	SH("! test -e %s/gsn-aaaaaaaa", h1.dir);
	OK(overlay_detach(h1.o, "never.attached", "o.t11", &err));
	attach(&h1, 13, "t13"); /* the caller may not care for the text */
	OK(overlay_detach(h1.o, NET_A ".slot13", "o.t13", NULL));
	OK(overlay_netns_remove(h1.o, "t13", owner_of("t13"), NULL));
	assert_int_equal(overlay_attach(h1.o, &p, NULL) < 0, 1);
	OK(overlay_egress_detach(h1.o, "never.attached", &err));
	OK(overlay_netns_remove(h1.o, "never", owner_of("never"), &err));
}

static void test_network_in_use_is_kept_and_goes_with_its_last_port(void **state)
{
	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	overlay_network_remove(h1.o, NET_A);
	pass(&h1);
	assert_true(pings(&h1, "t13", "10.9.0.11"));
	OK(overlay_detach(h1.o, NET_A ".slot13", "o.t13", &err));
	SH("test -e %s/gsn-aaaaaaaa", h1.dir);
	OK(overlay_netns_remove(h1.o, "t11", owner_of("t11"), &err)); /* takes the last port along */
	SH("! test -e %s/gsn-aaaaaaaa", h1.dir);
	declare(&h1);
	attach(&h1, 11, "t11"); /* the VNI is free at once */
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	OK(overlay_detach(h1.o, NET_A ".slot11", "o.t11", &err));
	overlay_network_remove(h1.o, NET_A);
	overlay_network_remove(h1.o, NET_A);
	pass(&h1);
	assert_null(h1.o->networks);
	assert_null(h1.o->endpoints);
}

static void test_slot_moves_to_its_next_task(void **state)
{
	struct overlay_port p = port(11, "t11next");

	both_up();
	enter(&h1);
	egress(&h1, "t11");
	OK(overlay_netns_create(h1.o, "t11next", owner_of("t11next"), 0, &err));
	OK(overlay_attach(h1.o, &p, &err));
	egress(&h1, "t11next");
	assert_true(pings(&h1, "t11next", "10.9.0.12"));
	assert_true(pings(&h1, "t11next", "192.0.2.2"));
	assert_int_not_equal(in_ns(&h1, "t11", "ip link show eth0"), 0);
	assert_int_equal(look(&h1), 0);
}

static void test_mtu_is_lowered_in_use(void **state)
{
	struct overlay_network n = network(NET_A, VNI_A);

	both_up();
	n.mtu = 1400;
	enter(&h1);
	OK(overlay_network_set(h1.o, &n, &err));
	pass(&h1);
	assert_int_equal(in_ns(&h1, "t11", "ip link show eth0 | grep -q \"mtu 1400\""), 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
}

static void test_ipv6_inside(void **state)
{
	struct overlay_port p1 = port(11, "t11"), p2 = port(12, "t12");
	struct overlay_endpoint e1 = endpoint(11, h1.vtep, 1), e2 = endpoint(12, h2.vtep, 1);
	struct overlay_network n = network(NET_A, VNI_A);

	n.subnet = ip("fd00:9::/64");
	p1.ip = e1.ip = ip("fd00:9::11/64");
	p2.ip = e2.ip = ip("fd00:9::12/64");
	for (int i = 0; i < 2; i++) {
		struct host *h = i ? &h2 : &h1;

		enter(h);
		OK(overlay_network_set(h->o, &n, &err));
		OK(overlay_endpoint_set(h->o, &e1, &err));
		OK(overlay_endpoint_set(h->o, &e2, &err));
		OK(overlay_netns_create(h->o, i ? "t12" : "t11", owner_of(i ? "t12" : "t11"), 0, &err));
		OK(overlay_attach(h->o, i ? &p2 : &p1, &err));
	}
	assert_true(pings(&h1, "t11", "-6 fd00:9::12"));
	assert_int_equal(look(&h1), 0);
}

static void test_ipv6_underlay(void **state)
{
	const char *v4[2] = {h1.vtep, h2.vtep};

	SH("ip -n gso-h1 addr add fd00:55::1/64 dev eth0 nodad && ip -n gso-h2 addr add fd00:55::2/64 dev "
	   "eth0 nodad");
	h1.vtep = "fd00:55::1";
	h2.vtep = "fd00:55::2";
	restart(&h1);
	restart(&h2);
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
	rig_clean(state);
	h1.vtep = v4[0];
	h2.vtep = v4[1];
	restart(&h1);
	restart(&h2);
}

/* Detach and attach at once: what waits for its deletion is not in the way. */
static void test_detach_and_attach_at_once(void **state)
{
	struct overlay_port p = port(11, "t11");

	both_up();
	enter(&h1);
	for (int i = 0; i < 20; i++) {
		egress(&h1, "t11");
		OK(overlay_egress_detach(h1.o, "o.t11", &err));
		OK(overlay_detach(h1.o, p.id, p.owner, &err)); /* takes the network along */
		OK(overlay_attach(h1.o, &p, &err));
	}
	egress(&h1, "t11");
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
	for (int i = 0; i < 20; i++) { /* the same with the namespace going as well */
		OK(overlay_egress_detach(h1.o, "o.t11", &err));
		OK(overlay_detach(h1.o, p.id, p.owner, &err));
		OK(overlay_netns_remove(h1.o, "t11", owner_of("t11"), &err));
		OK(overlay_netns_create(h1.o, "t11", owner_of("t11"), 0, &err));
		OK(overlay_attach(h1.o, &p, &err));
		egress(&h1, "t11");
	}
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_events(void **state)
{
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	enter(&h1);
	drain(&h1);
	SH("ip addr add 203.0.113.1/32 dev lo && ip addr del 203.0.113.1/32 dev lo");
	assert_false(drain(&h1));
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb del 02:09:00:00:00:0c dev vx0 self"), 0);
	assert_true(drain(&h1));
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip neigh del 10.9.0.12 dev br0"), 0);
	assert_true(drain(&h1));
	assert_int_equal(in_ns(&h1, "t11", "ip addr flush dev eth0"), 0);
	assert_true(drain(&h1));
	assert_true(look(&h1) >= 3);
}

static void test_dump_names_what_is_there(void **state)
{
	char *text;

	both_up();
	enter(&h1);
	egress(&h1, "t11");
	text = overlay_dump(h1.o);
	assert_non_null(strstr(text, "gsn-aaaaaaaa"));
	assert_non_null(strstr(text, "fdb-self 02:09:00:00:00:0c 192.0.2.2"));
	assert_non_null(strstr(text, "neigh 02:09:00:00:00:0c 10.9.0.12"));
	assert_non_null(strstr(text, "gswarm0"));
	assert_non_null(strstr(text, "masquerade"));
	free(text);
}

struct worker_job {
	pthread_t thread;
	int n;
};

static void *run_worker(void *arg)
{
	struct worker_job *j = arg;
	char netns[16];
	struct overlay_port p;
	struct overlay_pass done;
	struct err e = {0};

	if (setns(h1.fd, CLONE_NEWNET) != 0)
		return "setns";
	snprintf(netns, sizeof(netns), "w%d", j->n);
	p = port(j->n, netns);
	for (int i = 0; i < 5; i++) {
		if (overlay_netns_create(h1.o, netns, p.owner, 0, &e) || overlay_attach(h1.o, &p, &e) ||
		    overlay_egress_attach(h1.o, netns, p.owner, &e) ||
		    nft_in(&h1, netns, "add table ip x\n", &e) || overlay_pass(h1.o, &done, &e))
			return "up";
		drain(&h1);
		if (overlay_egress_detach(h1.o, p.owner, &e) || overlay_detach(h1.o, p.id, p.owner, &e) ||
		    overlay_netns_remove(h1.o, netns, p.owner, &e))
			return "down";
	}
	return NULL;
}

static void test_pool_threads_in_parallel(void **state)
{
	struct worker_job jobs[6];
	void *failure;

	declare(&h1);
	for (int i = 0; i < 6; i++) {
		jobs[i].n = 21 + i;
		assert_int_equal(pthread_create(&jobs[i].thread, NULL, run_worker, &jobs[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(jobs[i].thread, &failure);
		if (failure)
			fail_msg("thread %d failed: %s", i, (char *)failure);
	}
	SH("test -z \"$(ls %s)\"", h1.dir);
}

/* W9: a task that never started tore down the network of the task that has its name now. */
static void test_w9_only_its_owner_takes_it_down(void **state)
{
	both_up();
	egress(&h1, "t11");
	enter(&h1);
	OK(overlay_egress_detach(h1.o, "o.before", &err));
	OK(overlay_detach(h1.o, NET_A ".slot11", "o.before", &err));
	OK(overlay_netns_remove(h1.o, "t11", "o.before", &err));
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_true(pings(&h1, "t11", "192.0.2.2"));
	restart(&h1); /* nothing is declared yet: the mark says whose it is */
	OK(overlay_netns_remove(h1.o, "t11", "o.before", &err));
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	OK(overlay_netns_remove(h1.o, "t11", "o.t11", &err));
	SH("! test -e %s/t11", h1.dir);
}

/* The next task of that name gets a namespace of its own, not what the last one left in it. */
static void test_w9_a_name_passes_on_with_a_fresh_namespace(void **state)
{
	both_up();
	assert_int_equal(in_ns(&h1, "t11", "ip link add relic type veth peer name relic2"), 0);
	restart(&h1);
	declare(&h1);
	OK(overlay_netns_create(h1.o, "t11", "o.next", 0, &err));
	assert_int_not_equal(in_ns(&h1, "t11", "ip link show relic"), 0);
}

/* O3: one VTEP of the other family broke the network for all. */
static void test_o3_a_vtep_of_another_family_is_left_out(void **state)
{
	struct overlay_endpoint six = endpoint(15, "fd00:55::9", 1), moved = endpoint(12, "fd00:55::9", 2);
	struct overlay_endpoint back = endpoint(12, h2.vtep, 3);
	char *text;

	enter(&h1);
	OK(overlay_endpoint_set(h1.o, &six, &err));
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
	endpoint_set(&h1, &moved);
	assert_true(is_silent(&h1, "t11", "10.9.0.12"));
	text = overlay_dump(h1.o);
	assert_non_null(strstr(text, ".slot12 out of reach"));
	free(text);
	endpoint_set(&h1, &back);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

/* O8: the host's own address changed, and its tunnels kept the old one. */
static void test_o8_the_hosts_address_changes(void **state)
{
	struct overlay_ip vtep = ip("192.0.2.101"), old = ip("192.0.2.1");
	struct overlay_endpoint moved = endpoint(11, "192.0.2.101", 2);

	both_up();
	enter(&h1);
	SH("ip addr add 192.0.2.101/24 dev eth0 && ip addr del 192.0.2.1/24 dev eth0 && "
	   "ip addr add 192.0.2.101/24 dev eth0 2>/dev/null; ip -4 addr show eth0 | grep -q 192.0.2.101");
	OK(overlay_vtep_set(h1.o, &vtep, &err));
	OK(overlay_endpoint_set(h1.o, &moved, &err));
	pass(&h1);
	endpoint_set(&h2, &moved);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
	SH("ip addr add 192.0.2.1/24 dev eth0; ip addr del 192.0.2.101/24 dev eth0; ip addr add 192.0.2.1/24 "
	   "dev "
	   "eth0 2>/dev/null; true");
	OK(overlay_vtep_set(h1.o, &old, &err));
	pass(&h1);
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip -d link show vx0 | grep -q \"local 192.0.2.1 \""), 0);
}

/* O9: only the address's own link was asked, and what came later was not seen. */
static void test_o9_the_way_to_a_peer_can_be_narrower(void **state)
{
	struct overlay_endpoint far = endpoint(15, "192.0.2.3", 1);

	both_up();
	enter(&h1);
	SH("ip route add 192.0.2.3/32 dev eth0 mtu 1420");
	assert_int_equal(pass(&h1).path_mtu, 1500);
	OK(overlay_endpoint_set(h1.o, &far, &err)); /* a peer comes: looked at once */
	assert_int_equal(pass(&h1).path_mtu, 1420);
	overlay_endpoint_remove(h1.o, far.id);
	h1.o->path_mtu_due_ms = 0;
	assert_int_equal(pass(&h1).path_mtu, 1500);
	SH("ip route del 192.0.2.3/32");
}

/* O9: what a task's plan had copied before the change was declared again by its next attempt. */
static void test_o9_an_older_mtu_never_comes_back(void **state)
{
	struct overlay_network n = network(NET_A, VNI_A);

	both_up();
	n.generation = 7;
	n.mtu = 1400;
	OK(overlay_network_set(h1.o, &n, &err));
	n.generation = 6;
	n.mtu = 1450;
	OK(overlay_network_set(h1.o, &n, &err));
	pass(&h1);
	assert_int_equal(in_ns(&h1, "t11", "ip link show eth0 | grep -q \"mtu 1400\""), 0);
}

/* O14: the kernel's own limit of neighbours is 1,024, for the host and all tasks together. */
static void test_o14_neighbour_limits_are_raised_and_never_lowered(void **state)
{
	SH("mkdir -p /run/neigh && cd /run/neigh && echo 128 > gc_thresh1 && echo 512 > gc_thresh2 && "
	   "echo 99999 > gc_thresh3");
	underlay_raise_neighbours("/run/neigh");
	SH("cd /run/neigh && test $(cat gc_thresh1) = 8192 && test $(cat gc_thresh2) = 32768 && "
	   "test $(cat gc_thresh3) = 99999");
	underlay_raise_neighbours("/run/there-is-none");
	SH("! test -e /run/there-is-none");
}

/* O11: the name of a task's namespace was lost, and everything that goes by it. The task runs in that one, so another
 * one of its name is of no use. */
static void test_o11_a_lost_mount_comes_back(void **state)
{
	both_up();
	enter(&h1);
	SH("stat -L -c %%i %s/t11 > /run/t11-before", h1.dir);
	SH("umount -l %s/t11 && rm %s/t11", h1.dir, h1.dir);
	assert_true(look(&h1) > 0);
	SH("stat -L -c %%i %s/t11 | cmp - /run/t11-before", h1.dir);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(look(&h1), 0);
}

/* The same while no worker ran: the task's process still lives in it. */
static void test_o11_a_lost_mount_comes_back_from_the_process(void **state)
{
	struct overlay_port p = port(11, "t11");
	pid_t child;

	both_up();
	child = fork();
	if (child == 0) {
		int fd = open("/run/gso-1/t11", O_RDONLY);

		_exit(setns(fd, CLONE_NEWNET) == 0 ? pause() : 1);
	}
	while (sh("test \"$(readlink /proc/%d/ns/net)\" != \"$(readlink /proc/self/ns/net)\"", child) != 0)
		usleep(1000);
	enter(&h1);
	overlay_free(h1.o);
	h1.o = NULL;
	SH("umount -l %s/t11 && rm %s/t11", h1.dir, h1.dir);
	restart(&h1);
	declare(&h1);
	OK(overlay_netns_create(h1.o, "t11", "o.t11", child, &err));
	OK(overlay_attach(h1.o, &p, &err));
	SH("nsenter --net=/proc/%d/ns/net ping -c1 -W1 10.9.0.12 >/dev/null", child);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* O14: a task that takes a remote task's MAC for its own drew its frames. */
static void test_o14_a_remote_mac_cannot_be_taken(void **state)
{
	both_up();
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa",
			       "bridge fdb show dev vx0 | grep 00:0c | grep master | grep -q sticky"),
			 0);
	attach(&h1, 13, "t13");
	assert_int_equal(in_ns(&h1, "t13", "ip link set eth0 address 02:09:00:00:00:0c"), 0);
	pings(&h1, "t13", "10.9.0.11");
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

/* O1: a slot moved while its network could not be written; the old place was "repaired" back. */
static void test_o1_a_move_that_the_kernel_refused_is_made_later(void **state)
{
	struct overlay_endpoint moved = endpoint(12, "192.0.2.77", 2);
	struct overlay_pass p;

	both_up();
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip link del vx0"), 0);
	OK(overlay_endpoint_set(h1.o, &moved, &err));
	assert_true(overlay_pass(h1.o, &p, &err) <= 0); /* the write meets no device */
	look(&h1);
	assert_int_equal(
		in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q \"0c dst 192.0.2.77\""), 0);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q 192.0.2.2"), 0);
}

static const struct CMUnitTest tests[] = {
	T(test_w9_only_its_owner_takes_it_down),
	T(test_w9_a_name_passes_on_with_a_fresh_namespace),
	T(test_o3_a_vtep_of_another_family_is_left_out),
	T(test_o8_the_hosts_address_changes),
	T(test_o9_the_way_to_a_peer_can_be_narrower),
	T(test_o9_an_older_mtu_never_comes_back),
	T(test_o14_neighbour_limits_are_raised_and_never_lowered),
	T(test_o11_a_lost_mount_comes_back),
	T(test_o11_a_lost_mount_comes_back_from_the_process),
	T(test_o14_a_remote_mac_cannot_be_taken),
	T(test_o1_a_move_that_the_kernel_refused_is_made_later),
	T(test_ping_across_and_full_size),
	T(test_calls_twice_change_nothing),
	T(test_nothing_unknown_leaves_the_host),
	T(test_damage_is_repaired),
	T(test_whole_namespace_is_made_anew),
	T(test_lower_generation_is_ignored),
	T(test_endpoint_that_becomes_local_loses_its_entries),
	T(test_stale_vni_of_ours_is_replaced),
	T(test_bad_input),
	T(test_network_in_use_is_kept_and_goes_with_its_last_port),
	T(test_slot_moves_to_its_next_task),
	T(test_mtu_is_lowered_in_use),
	T(test_ipv6_inside),
	T(test_ipv6_underlay),
	T(test_detach_and_attach_at_once),
	T(test_events),
	T(test_dump_names_what_is_there),
	T(test_pool_threads_in_parallel),
};

RIG_MAIN(tests)
