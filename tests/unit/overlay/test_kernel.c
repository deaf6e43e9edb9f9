// SPDX-License-Identifier: Apache-2.0
/* Real kernel objects: two hosts, each a network namespace with a folder of namespaces of its own, joined by
 * a bridge in a third one. Everything lives in a private mount namespace and under names beginning with gso-,
 * so that nothing outside is touched and nothing stays when the process ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "overlay/internal.h"

#define NET_A "aaaaaaaa0000000000000000a"
#define NET_B "bbbbbbbb0000000000000000b"
#define VNI_A 0x100001

struct host {
	const char *name, *vtep;
	char dir[64];
	int fd;
	struct overlay *o;
};

static struct host h1 = {.name = "gso-h1", .vtep = "192.0.2.1"}, h2 = {.name = "gso-h2", .vtep = "192.0.2.2"};
static const char *helper;
static struct err err;

#define OK(call)                                                                                             \
	do {                                                                                                 \
		int rc_;                                                                                     \
		err_clear(&err);                                                                             \
		rc_ = (call);                                                                                \
		if (rc_ != 0 || err.code != 0)                                                               \
			fail_msg("%s: %d %s (%s)", #call, rc_, err.msg, err_name(rc_));                      \
	} while (0)

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	rc = system(cmd);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

#define SH(...) assert_int_equal(sh(__VA_ARGS__), 0)

/* Run in a namespace of a host, e.g. in_ns(&h1, "t1", "ip link"). */
static int in_ns(const struct host *h, const char *ns, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int in_ns(const struct host *h, const char *ns, const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return sh("nsenter --net=%s/%s sh -c '%s' >/dev/null 2>&1", h->dir, ns, cmd);
}

static void enter(const struct host *h)
{
	assert_int_equal(setns(h->fd, CLONE_NEWNET), 0);
}

static struct overlay_ip ip(const char *text)
{
	struct overlay_ip ret;

	assert_true(ip_parse(text, &ret));
	return ret;
}

static void start(struct host *h)
{
	struct overlay_config c = {.vtep = ip(h->vtep),
				   .port = 4789,
				   .egress_subnet = ip("172.31.0.0/16"),
				   .netns_dir = h->dir,
				   .nft_helper = helper};

	enter(h);
	OK(overlay_new(&c, &h->o, &err));
}

static void make_host(struct host *h, int n)
{
	char path[64];

	SH("ip netns add %s && ip -n gso-under link add h%d type veth peer name eth0 netns %s", h->name, n,
	   h->name);
	SH("ip -n gso-under link set h%d master under0 up && ip -n %s link set lo up", n, h->name);
	SH("ip -n %s addr add %s/24 dev eth0 && ip -n %s link set eth0 up", h->name, h->vtep, h->name);
	snprintf(path, sizeof(path), "/run/netns/%s", h->name);
	h->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(h->fd >= 0);
	snprintf(h->dir, sizeof(h->dir), "/run/gso-%d", n);
	mkdir(h->dir, 0755);
	assert_int_equal(mount("tmpfs", h->dir, "tmpfs", 0, NULL), 0);
}

static int set_up(void **state)
{
	assert_int_equal(unshare(CLONE_NEWNS | CLONE_NEWNET), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("tmpfs", "/run", "tmpfs", 0, NULL), 0);
	SH("ip netns add gso-under && ip -n gso-under link add under0 up type bridge");
	make_host(&h1, 1);
	make_host(&h2, 2);
	start(&h1);
	start(&h2);
	return 0;
}

static int tear_down(void **state)
{
	overlay_free(h1.o);
	overlay_free(h2.o);
	close(h1.fd);
	close(h2.fd);
	return 0;
}

/* ---- a network with one task on each host ---- */

static struct overlay_network network(const char *id, uint32_t vni)
{
	struct overlay_network n = {.vni = vni, .mtu = 1450, .subnet = ip("10.9.0.0/24")};

	snprintf(n.id, sizeof(n.id), "%s", id);
	return n;
}

/* Slot n has address 10.9.0.n and MAC ..:n. */
static struct overlay_endpoint endpoint(int n, const char *vtep, uint64_t generation)
{
	struct overlay_endpoint ep = {
		.vtep = ip(vtep), .mac = {2, 9, 0, 0, 0, (uint8_t)n}, .generation = generation};
	char text[32];

	snprintf(text, sizeof(text), "10.9.0.%d/24", n);
	ep.ip = ip(text);
	snprintf(ep.id, sizeof(ep.id), NET_A ".slot%d", n);
	snprintf(ep.network_id, sizeof(ep.network_id), NET_A);
	return ep;
}

static struct overlay_port port(int n, const char *netns)
{
	struct overlay_endpoint ep = endpoint(n, "192.0.2.1", 1);
	struct overlay_port p = {.ip = ep.ip, .ifname = "eth0"};

	snprintf(p.netns, sizeof(p.netns), "%s", netns);
	snprintf(p.id, sizeof(p.id), "%s", ep.id);
	snprintf(p.network_id, sizeof(p.network_id), "%s", ep.network_id);
	memcpy(p.mac, ep.mac, 6);
	return p;
}

static void declare(struct host *h)
{
	struct overlay_network n = network(NET_A, VNI_A);
	struct overlay_endpoint e1 = endpoint(11, h1.vtep, 1), e2 = endpoint(12, h2.vtep, 1);

	enter(h);
	OK(overlay_network_set(h->o, &n, &err));
	OK(overlay_endpoint_set(h->o, &e1, &err));
	OK(overlay_endpoint_set(h->o, &e2, &err));
}

static void attach(struct host *h, int n, const char *netns)
{
	struct overlay_port p = port(n, netns);

	enter(h);
	OK(overlay_netns_create(h->o, netns, &err));
	OK(overlay_attach(h->o, &p, &err));
}

static void both_up(void)
{
	declare(&h1);
	declare(&h2);
	attach(&h1, 11, "t11");
	attach(&h2, 12, "t12");
}

static void both_down(void)
{
	enter(&h1);
	OK(overlay_remove_all(h1.o, &err));
	enter(&h2);
	OK(overlay_remove_all(h2.o, &err));
}

static bool pings(const struct host *h, const char *ns, const char *args)
{
	return in_ns(h, ns, "ping -c1 -W1 %s", args) == 0;
}

static unsigned reconcile(struct host *h)
{
	unsigned repairs = 0;

	enter(h);
	OK(overlay_reconcile(h->o, &repairs, &err));
	return repairs;
}

static int clean(void **state)
{
	both_down();
	return 0;
}

static void test_ping_across_and_full_size(void **state)
{
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_true(pings(&h2, "t12", "-M do -s 1422 10.9.0.11"));
	assert_false(pings(&h2, "t12", "-M do -s 1423 10.9.0.11"));
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show lo | grep -q 127.0.0.1"), 0);
	assert_int_equal(reconcile(&h1), 0);
}

static void test_calls_twice_change_nothing(void **state)
{
	both_up();
	assert_int_equal(in_ns(&h1, "t11", "ip -o link > /run/before"), 0);
	both_up();
	assert_int_equal(in_ns(&h1, "t11", "ip -o link | cmp - /run/before"), 0);
	assert_int_equal(reconcile(&h1), 0);
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
	assert_false(pings(&h1, "t11", "10.9.0.99"));
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
	enter(&h1);
	OK(overlay_egress_attach(h1.o, "t11", NET_A ".slot11", &err));
	reconcile(&h1);
	for (size_t i = 0; i < array_size(damage); i++) {
		assert_int_equal(reconcile(&h1), 0);
		if (in_ns(&h1, damage[i].ns, "%s", damage[i].command) != 0)
			fail_msg("could not damage: %s", damage[i].command);
		if (reconcile(&h1) == 0)
			fail_msg("not repaired: %s", damage[i].command);
		if (!pings(&h1, "t11", "10.9.0.12"))
			fail_msg("no ping after the repair of: %s", damage[i].command);
	}
	assert_int_equal(reconcile(&h1), 0);
}

static void test_whole_namespace_is_made_anew(void **state)
{
	both_up();
	SH("umount -l %s/gsn-aaaaaaaa && rm %s/gsn-aaaaaaaa", h1.dir, h1.dir);
	enter(&h1);
	assert_true(reconcile(&h1) > 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(reconcile(&h1), 0);
}

static void test_lower_generation_is_ignored(void **state)
{
	struct overlay_endpoint moved = endpoint(12, "192.0.2.77", 5), old = endpoint(12, h2.vtep, 4);

	both_up();
	enter(&h1);
	OK(overlay_endpoint_set(h1.o, &moved, &err));
	OK(overlay_endpoint_set(h1.o, &old, &err));
	assert_int_equal(
		in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q \"0c dst 192.0.2.77\""), 0);
	old.generation = 6;
	OK(overlay_endpoint_set(h1.o, &old, &err));
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_endpoint_that_becomes_local_loses_its_entries(void **state)
{
	struct overlay_endpoint here = endpoint(12, h1.vtep, 2);

	both_up();
	enter(&h1);
	OK(overlay_endpoint_set(h1.o, &here, &err));
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q 00:0c"), 0);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip neigh show dev br0 | grep -q 10.9.0.12"), 0);
	attach(&h1, 12, "t12b");
	assert_true(pings(&h1, "t12b", "10.9.0.11"));
	OK(overlay_endpoint_remove(h1.o, here.id, &err));
	OK(overlay_endpoint_remove(h1.o, here.id, &err));
}

static void restart(struct host *h)
{
	enter(h);
	overlay_free(h->o);
	h->o = NULL;
	start(h);
}

static void test_restart_adopts_everything(void **state)
{
	const char *const keep[] = {"kept"};
	struct overlay_port p = port(11, "t11");

	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	OK(overlay_netns_create(h1.o, "kept", &err));
	OK(overlay_netns_create(h1.o, "unwanted", &err));
	OK(overlay_egress_attach(h1.o, "t13", NET_A ".slot13", &err));
	OK(overlay_egress_attach(h1.o, "t11", NET_A ".slot11", &err));
	SH("nsenter --net=%s/t11 ip -o addr > /run/before", h1.dir);
	restart(&h1);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	declare(&h1);
	OK(overlay_attach(h1.o, &p, &err));
	OK(overlay_egress_attach(h1.o, "t11", NET_A ".slot11", &err));
	OK(overlay_adopt_done(h1.o, keep, 1, &err));
	SH("nsenter --net=%s/t11 ip -o addr | cmp - /run/before", h1.dir);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	SH("test -e %s/kept && ! test -e %s/unwanted && ! test -e %s/t13", h1.dir, h1.dir, h1.dir);
	SH("test $(ip -o link show master gswarm0 | wc -l) = 1");
	assert_int_equal(reconcile(&h1), 0);
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
	OK(overlay_netns_create(h1.o, "half", &err));
	assert_int_equal(in_ns(&h1, "half", "true"), 0);
	assert_int_equal(overlay_netns_create(h1.o, "other", &err), E_EXISTS);
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

static void test_stale_vni_of_ours_is_replaced(void **state)
{
	struct overlay_network n = network(NET_B, VNI_A);
	struct overlay_port p = port(11, "t11");

	both_up();
	restart(&h1); /* the old network is not declared again: its VNI was given to another one */
	snprintf(p.network_id, sizeof(p.network_id), NET_B);
	OK(overlay_network_set(h1.o, &n, &err));
	OK(overlay_netns_create(h1.o, "t14", &err));
	snprintf(p.netns, sizeof(p.netns), "t14");
	OK(overlay_attach(h1.o, &p, &err));
	assert_int_equal(in_ns(&h1, "gsn-bbbbbbbb", "ip link show vx0"), 0);
	assert_int_not_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip link show vx0"), 0);
}

static void test_foreign_objects_are_errors_and_stay(void **state)
{
	struct overlay_port p = port(11, "t11");

	declare(&h1);
	enter(&h1);
	OK(overlay_netns_create(h1.o, "t11", &err));
	/* a namespace of our network's name */
	SH("touch %s/gsn-aaaaaaaa && unshare --net=%s/gsn-aaaaaaaa true", h1.dir, h1.dir);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_EXISTS);
	assert_non_null(strstr(err.msg, "not ours"));
	OK(overlay_adopt_done(h1.o, NULL, 0, &err));
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
	assert_int_equal(overlay_egress_attach(h1.o, "t11", "x.y", &err), E_EXISTS);
	OK(overlay_remove_all(h1.o, &err));
	SH("ip link show gswarm0 >/dev/null && ip link del gswarm0");
}

static void test_bad_input(void **state)
{
	struct overlay_network n = network(NET_A, 0);
	struct overlay_port p = port(11, "t11");

	enter(&h1);
	assert_int_equal(overlay_network_set(h1.o, &n, &err), E_INVALID);
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_NOT_FOUND);
	assert_int_equal(overlay_netns_create(h1.o, "../x", &err), E_INVALID);
	n.vni = VNI_A;
	OK(overlay_network_set(h1.o, &n, &err));
	assert_int_equal(overlay_attach(h1.o, &p, &err), E_NOT_FOUND); /* no such namespace */
	assert_int_not_equal(sh("test -e %s/gsn-aaaaaaaa", h1.dir), 0);
	OK(overlay_detach(h1.o, "never.attached", &err));
	attach(&h1, 13, "t13"); /* the caller may not care for the text */
	OK(overlay_detach(h1.o, NET_A ".slot13", NULL));
	OK(overlay_netns_remove(h1.o, "t13", NULL));
	assert_int_equal(overlay_attach(h1.o, &p, NULL) < 0, 1);
	OK(overlay_egress_detach(h1.o, "never.attached", &err));
	OK(overlay_netns_remove(h1.o, "never", &err));
}

static void test_network_in_use_is_kept_and_goes_with_its_last_port(void **state)
{
	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	assert_int_equal(overlay_network_remove(h1.o, NET_A, &err), E_IN_USE);
	OK(overlay_detach(h1.o, NET_A ".slot13", &err));
	SH("test -e %s/gsn-aaaaaaaa", h1.dir);
	OK(overlay_netns_remove(h1.o, "t11", &err)); /* takes the last port along */
	SH("! test -e %s/gsn-aaaaaaaa", h1.dir);
	attach(&h1, 11, "t11"); /* the VNI is free at once */
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	OK(overlay_detach(h1.o, NET_A ".slot11", &err));
	OK(overlay_network_remove(h1.o, NET_A, &err));
	OK(overlay_network_remove(h1.o, NET_A, &err));
}

static void test_slot_moves_to_its_next_task(void **state)
{
	struct overlay_port p = port(11, "t11next");

	both_up();
	enter(&h1);
	OK(overlay_egress_attach(h1.o, "t11", p.id, &err));
	OK(overlay_netns_create(h1.o, "t11next", &err));
	OK(overlay_attach(h1.o, &p, &err));
	OK(overlay_egress_attach(h1.o, "t11next", p.id, &err));
	assert_true(pings(&h1, "t11next", "10.9.0.12"));
	assert_true(pings(&h1, "t11next", "192.0.2.2"));
	assert_int_not_equal(in_ns(&h1, "t11", "ip link show eth0"), 0);
	assert_int_equal(reconcile(&h1), 0);
}

static void test_mtu_is_lowered_in_use(void **state)
{
	struct overlay_network n = network(NET_A, VNI_A);

	both_up();
	n.mtu = 1400;
	enter(&h1);
	OK(overlay_network_set(h1.o, &n, &err));
	assert_int_equal(in_ns(&h1, "t11", "ip link show eth0 | grep -q \"mtu 1400\""), 0);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(reconcile(&h1), 0);
}

static void test_path_mtu(void **state)
{
	struct overlay_ip peer = ip("192.0.2.2"), own = ip("192.0.2.1"), none = ip("198.51.100.1");

	enter(&h1);
	assert_int_equal(overlay_path_mtu(h1.o, &peer), 1500);
	assert_int_equal(overlay_path_mtu(h1.o, &own), 1500);
	assert_int_equal(overlay_path_mtu(h1.o, &none), 0);
	SH("ip route add 192.0.2.2/32 dev eth0 mtu 1420");
	assert_int_equal(overlay_path_mtu(h1.o, &peer), 1420);
	SH("ip route del 192.0.2.2/32");
}

static void test_egress(void **state)
{
	both_up();
	attach(&h1, 13, "t13");
	enter(&h1);
	SH("cat /proc/sys/net/ipv4/ip_forward > /run/forward && echo 0 > /proc/sys/net/ipv4/ip_forward");
	OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
	OK(overlay_egress_attach(h1.o, "t13", "e.13", &err));
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 172.31.0.2/16"), 0);
	assert_int_equal(in_ns(&h1, "t13", "ip -4 addr show gw0 | grep -q 172.31.0.3/16"), 0);
	assert_true(pings(&h1, "t11", "192.0.2.2")); /* masqueraded: that host has no way back to 172.31 */
	assert_false(pings(&h1, "t11", "172.31.0.3"));
	/* round by the gateway: no either */
	assert_int_equal(in_ns(&h1, "t11", "ip route add 172.31.0.3/32 via 172.31.0.1"), 0);
	assert_false(pings(&h1, "t11", "172.31.0.3"));
	OK(overlay_egress_detach(h1.o, "e.11", &err));
	OK(overlay_egress_attach(h1.o, "t11", "e.11b", &err));
	assert_int_equal(in_ns(&h1, "t11", "ip -4 addr show gw0 | grep -q 172.31.0.2/16"), 0);
	restart(&h1);
	declare(&h1);
	attach(&h1, 11, "t11");
	assert_int_equal(overlay_egress_attach(h1.o, "t11", "e.fresh", &err), E_EXISTS); /* gw0 is e.11b's */
	OK(overlay_egress_attach(h1.o, "t11", "e.11b", &err));
	OK(overlay_remove_all(h1.o, &err));
	SH("test $(cat /proc/sys/net/ipv4/ip_forward) = 0");
	SH("cat /run/forward > /proc/sys/net/ipv4/ip_forward");
}

static void test_tunnel_sources_are_checked(void **state)
{
	struct overlay_endpoint gone = endpoint(12, h2.vtep, 1), back = endpoint(12, h2.vtep, 2);

	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	/* host 1 forgets that host 2 is a peer: what it sends is dropped before the vxlan device */
	enter(&h1);
	SH("nft delete element inet gswarm vtep4 { 192.0.2.2 }");
	assert_false(pings(&h1, "t11", "10.9.0.12"));
	assert_true(reconcile(&h1) <= 1);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	SH("nft flush ruleset");
	assert_int_equal(reconcile(&h1), 1);
	SH("nft list table inet gswarm | grep -q 192.0.2.2");
	assert_int_equal(reconcile(&h1), 0);
	OK(overlay_endpoint_remove(h1.o, gone.id, &err));
	SH("! nft list table inet gswarm | grep -q 192.0.2.2");
	OK(overlay_endpoint_set(h1.o, &back, &err));
	assert_true(pings(&h1, "t11", "10.9.0.12"));
}

static void test_remove_all_leaves_nothing(void **state)
{
	enter(&h1);
	SH("nft add table ip others && nft list ruleset > /run/rules-before; ip -o link > /run/links-before; "
	   "ls %s > "
	   "/run/ns-before; ip -o addr > /run/addr-before",
	   h1.dir);
	both_up();
	enter(&h1);
	OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
	OK(overlay_remove_all(h1.o, &err));
	OK(overlay_remove_all(h1.o, &err));
	SH("nft list ruleset | cmp - /run/rules-before && ip -o link | cmp - /run/links-before");
	SH("ls %s | cmp - /run/ns-before && ip -o addr | cmp - /run/addr-before", h1.dir);
	SH("! ss -uln | grep -q :4789 && nft delete table ip others");
}

static void test_events(void **state)
{
	both_up();
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	enter(&h1);
	overlay_events_drain(h1.o);
	assert_false(overlay_events_drain(h1.o));
	SH("ip addr add 203.0.113.1/32 dev lo && ip addr del 203.0.113.1/32 dev lo");
	assert_false(overlay_events_drain(h1.o));
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb del 02:09:00:00:00:0c dev vx0 self"), 0);
	assert_true(overlay_events_drain(h1.o));
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "ip neigh del 10.9.0.12 dev br0"), 0);
	assert_true(overlay_events_drain(h1.o));
	assert_int_equal(in_ns(&h1, "t11", "ip addr flush dev eth0"), 0);
	assert_true(overlay_events_drain(h1.o));
	assert_true(reconcile(&h1) >= 3);
}

static void test_nft_helper_lives_dies_and_is_replaced(void **state)
{
	pid_t first;

	both_up();
	enter(&h1);
	OK(nft_apply(h1.o, "t11", "add table ip probe\n", &err));
	assert_int_equal(in_ns(&h1, "t11", "nft list table ip probe"), 0);
	SH("! nft list table ip probe 2>/dev/null");
	first = h1.o->nft.helper_pid;
	assert_true(first > 0);
	assert_int_equal(nft_apply(h1.o, NULL, "add nonsense\n", &err), E_INVALID);
	assert_non_null(strstr(err.msg, "syntax error"));
	assert_int_not_equal(nft_apply(h1.o, "missing", "add table ip x\n", &err), 0);
	kill(first, SIGKILL);
	OK(nft_apply(h1.o, NULL, "add table ip probe\n", &err));
	OK(nft_apply(h1.o, NULL, "delete table ip probe\n", &err));
	assert_true(h1.o->nft.helper_pid > 0 && h1.o->nft.helper_pid != first);
}

static void test_nft_program_when_there_is_no_helper(void **state)
{
	const char *real = helper;

	helper = "/nonexistent/gswarm-nft";
	restart(&h1);
	helper = real;
	both_up();
	OK(nft_apply(h1.o, "t11", "add table ip probe\n", &err));
	assert_int_equal(in_ns(&h1, "t11", "nft list table ip probe"), 0);
	assert_int_equal(nft_apply(h1.o, NULL, "add nonsense\n", &err), E_INVALID);
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	restart(&h1);
}

static void test_dump_names_what_is_there(void **state)
{
	char *text;

	both_up();
	enter(&h1);
	OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
	text = overlay_dump(h1.o);
	assert_non_null(strstr(text, "gsn-aaaaaaaa"));
	assert_non_null(strstr(text, "fdb-self 02:09:00:00:00:0c 192.0.2.2"));
	assert_non_null(strstr(text, "neigh 02:09:00:00:00:0c 10.9.0.12"));
	assert_non_null(strstr(text, "gswarm0"));
	assert_non_null(strstr(text, "masquerade"));
	free(text);
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
		OK(overlay_netns_create(h->o, i ? "t12" : "t11", &err));
		OK(overlay_attach(h->o, i ? &p2 : &p1, &err));
	}
	assert_true(pings(&h1, "t11", "-6 fd00:9::12"));
	assert_int_equal(reconcile(&h1), 0);
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
	assert_int_equal(reconcile(&h1), 0);
	both_down();
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
		OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
		OK(overlay_egress_detach(h1.o, "e.11", &err));
		OK(overlay_detach(h1.o, p.id, &err)); /* takes the network along */
		OK(overlay_attach(h1.o, &p, &err));
	}
	OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
	assert_true(pings(&h1, "t11", "10.9.0.12"));
	assert_int_equal(reconcile(&h1), 0);
	for (int i = 0; i < 20; i++) { /* the same with the namespace going as well */
		OK(overlay_egress_detach(h1.o, "e.11", &err));
		OK(overlay_detach(h1.o, p.id, &err));
		OK(overlay_netns_remove(h1.o, "t11", &err));
		OK(overlay_netns_create(h1.o, "t11", &err));
		OK(overlay_attach(h1.o, &p, &err));
		OK(overlay_egress_attach(h1.o, "t11", "e.11", &err));
	}
	assert_true(pings(&h1, "t11", "10.9.0.12"));
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

struct worker_job {
	pthread_t thread;
	int n;
};

static void *run_worker(void *arg)
{
	struct worker_job *j = arg;
	char netns[16];
	struct overlay_port p;
	struct err e = {0};

	if (setns(h1.fd, CLONE_NEWNET) != 0)
		return "setns";
	snprintf(netns, sizeof(netns), "w%d", j->n);
	p = port(j->n, netns);
	for (int i = 0; i < 5; i++) {
		if (overlay_netns_create(h1.o, netns, &e) || overlay_attach(h1.o, &p, &e) ||
		    overlay_egress_attach(h1.o, netns, p.id, &e) ||
		    nft_apply(h1.o, netns, "add table ip x\n", &e) || overlay_reconcile(h1.o, NULL, &e))
			return "up";
		overlay_events_drain(h1.o);
		if (overlay_egress_detach(h1.o, p.id, &e) || overlay_detach(h1.o, p.id, &e) ||
		    overlay_netns_remove(h1.o, netns, &e))
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

#define T(f) cmocka_unit_test_teardown(f, clean)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_ping_across_and_full_size),
		T(test_calls_twice_change_nothing),
		T(test_nothing_unknown_leaves_the_host),
		T(test_damage_is_repaired),
		T(test_whole_namespace_is_made_anew),
		T(test_lower_generation_is_ignored),
		T(test_endpoint_that_becomes_local_loses_its_entries),
		T(test_restart_adopts_everything),
		T(test_restart_with_nothing_declared_removes_everything),
		T(test_half_made_namespace_is_completed),
		T(test_half_made_network_is_completed),
		T(test_stale_vni_of_ours_is_replaced),
		T(test_foreign_objects_are_errors_and_stay),
		T(test_bad_input),
		T(test_network_in_use_is_kept_and_goes_with_its_last_port),
		T(test_slot_moves_to_its_next_task),
		T(test_mtu_is_lowered_in_use),
		T(test_path_mtu),
		T(test_egress),
		T(test_tunnel_sources_are_checked),
		T(test_remove_all_leaves_nothing),
		T(test_events),
		T(test_nft_helper_lives_dies_and_is_replaced),
		T(test_nft_program_when_there_is_no_helper),
		T(test_dump_names_what_is_there),
		T(test_ipv6_inside),
		T(test_ipv6_underlay),
		T(test_detach_and_attach_at_once),
		T(test_given_up_links_are_found_after_a_restart),
		T(test_pool_threads_in_parallel),
	};

	if (geteuid() != 0) {
		printf("not root: skipped\n");
		return 77; /* meson's code for a skipped test */
	}
	helper = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
