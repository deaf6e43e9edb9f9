// SPDX-License-Identifier: Apache-2.0
/* What the kernel's side costs, counted in calls and not in time: for a change only what changed is done, and one
 * turn of the loop has an end. */
#include "kernel_rig.h"

#include <netlink/route/neighbour.h>
#include <sys/socket.h>

#include "overlay/kernel/links.h"

static unsigned objects, reads, compared, whole, listed;

struct nl_msg *__real_nlmsg_convert(struct nlmsghdr *h);
struct nl_msg *__wrap_nlmsg_convert(struct nlmsghdr *h);
int __real_rtnl_neigh_parse(struct nlmsghdr *h, struct rtnl_neigh **ret);
int __wrap_rtnl_neigh_parse(struct nlmsghdr *h, struct rtnl_neigh **ret);
ssize_t __real_recv(int fd, void *buf, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags);
bool __real_ip_is_equal(const struct overlay_ip *a, const struct overlay_ip *b);
bool __wrap_ip_is_equal(const struct overlay_ip *a, const struct overlay_ip *b);
int __real_ip_compare(const struct overlay_ip *a, const struct overlay_ip *b);
int __wrap_ip_compare(const struct overlay_ip *a, const struct overlay_ip *b);
int __real_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);
int __wrap_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);

struct nl_msg *__wrap_nlmsg_convert(struct nlmsghdr *h)
{
	objects++;
	return __real_nlmsg_convert(h);
}

int __wrap_rtnl_neigh_parse(struct nlmsghdr *h, struct rtnl_neigh **ret)
{
	objects++;
	return __real_rtnl_neigh_parse(h, ret);
}

ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags)
{
	reads++;
	return __real_recv(fd, buf, n, flags);
}

bool __wrap_ip_is_equal(const struct overlay_ip *a, const struct overlay_ip *b)
{
	compared++;
	return __real_ip_is_equal(a, b);
}

int __wrap_ip_compare(const struct overlay_ip *a, const struct overlay_ip *b)
{
	compared++;
	return __real_ip_compare(a, b);
}

int __wrap_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e)
{
	whole += strstr(batch, "flush chain") != NULL;
	listed += strstr(batch, "list table") != NULL;
	return __real_nft_run(n, netns, batch, ret_out, e);
}

static void settle(struct host *h)
{
	for (int i = 0; i < 20 && (look(h) || pass(h).waiting); i++)
		;
	assert_int_equal(look(h), 0);
}

/* Remote endpoints of network A: slots from..to-1, behind peers of their own or all behind host 2. */
static void endpoints(struct host *h, int from, int to, bool own_peers)
{
	for (int n = from; n < to; n++) {
		char id[32], addr[32], vtep[32];
		struct overlay_endpoint ep = endpoint(12, h2.vtep, 1);

		snprintf(id, sizeof(id), "%s.n%d", NET_A, n);
		snprintf(addr, sizeof(addr), "10.9.%d.%d", n / 250 + 1, n % 250 + 1);
		snprintf(vtep, sizeof(vtep), "198.51.100.%d", n % 250 + 1);
		snprintf(ep.id, sizeof(ep.id), "%s", id);
		ep.ip = ip(addr);
		ep.ip.prefix = 24;
		ep.mac[3] = (uint8_t)(n >> 8);
		ep.mac[4] = (uint8_t)n;
		ep.mac[5] = 1;
		if (own_peers)
			ep.vtep = ip(vtep);
		OK(overlay_endpoint_set(h->o, &ep, &err));
	}
}

/* Cost of the port to libnl-route: an object for each link and entry made a dump 1.3 to 1.8 times as dear. */
static void test_dumps_make_no_objects(void **state)
{
	struct links links;
	struct fdb_set set;
	struct network *n;
	struct ns *ns;

	both_up();
	endpoints(&h1, 0, 50, false);
	settle(&h1);
	n = network_find(h1.o, NET_A);
	enter(&h1);
	OK(ns_get(h1.o, n->ns_name, &ns, &err));
	objects = 0;
	OK(links_dump(&ns->nl, &links, &err));
	assert_true(links.n >= 4); /* lo, br0, vx0, the port of t11 */
	assert_true(link_is_up(links_find(&links, "vx0")));
	OK(fdb_dump(&ns->nl, n->br_index, n->vx_index, &set, &err));
	assert_int_equal(set.n, 3 * 51);
	assert_int_equal(objects, 0);
	links_fini(&links);
	fdb_set_fini(&set);
}

/* Cost review (11): each declaration was compared with all that waited to be written. */
static void test_declarations_are_not_compared_with_each_other(void **state)
{
	unsigned few;

	both_up();
	settle(&h1);
	compared = 0;
	endpoints(&h1, 0, 100, false);
	pass(&h1);
	few = compared;
	assert_true(few > 100);
	compared = 0;
	endpoints(&h1, 100, 500, false);
	pass(&h1);
	assert_in_range(compared, 400, few * 6); /* n log n; n * n would be 16 times */
	assert_int_equal(look(&h1), 0);          /* and all of it was written */
}

/* Cost review (8): one peer more or less had the whole table written. */
static void test_a_peer_more_writes_no_table(void **state)
{
	both_up();
	settle(&h1);
	enter(&h1);
	whole = 0;
	for (int n = 0; n < 10; n++) {
		endpoints(&h1, n, n + 1, true);
		pass(&h1);
	}
	assert_int_equal(whole, 0);
	SH("nft list set inet gswarm peer4 | grep -q 198.51.100.10");
	listed = 0;
	assert_int_equal(look(&h1), 0);
	assert_int_equal(look(&h1), 0);
	assert_in_range(listed, 0, 1); /* and then nobody lists what nobody touches */
	/* others' writes between ours are still seen */
	SH("nft delete element inet gswarm peer4 { 198.51.100.10 . 0x100001 }");
	endpoints(&h1, 10, 11, true);
	pass(&h1);
	pass(&h1);
	SH("nft list set inet gswarm peer4 | grep -q 198.51.100.10");
	SH("nft list set inet gswarm peer4 | grep -q 198.51.100.11");
	assert_int_equal(whole, 1);
}

/* Cost review (10): as long as others were faster than we read, the loop's turn had no end. */
static void test_events_are_read_in_portions(void **state)
{
	unsigned all = 0, turns = 0;
	bool touched = false;

	both_up();
	settle(&h1);
	drain(&h1);
	assert_int_equal(in_ns(&h1, "t11",
			       "for i in $(seq 200); do echo route add 203.0.113.$i/32 dev eth0; done | "
			       "ip -batch -"),
			 0);
	for (; has_events(&h1); turns++) {
		reads = 0;
		touched |= overlay_events_drain(h1.o);
		assert_in_range(reads, 1, 64);
		all += reads;
	}
	assert_true(touched);
	assert_true(all >= 200);
	assert_in_range(turns, 3, 20);
}

static const struct CMUnitTest tests[] = {
	T(test_dumps_make_no_objects),
	T(test_declarations_are_not_compared_with_each_other),
	T(test_a_peer_more_writes_no_table),
	T(test_events_are_read_in_portions),
};

RIG_MAIN(tests)
