// SPDX-License-Identifier: Apache-2.0
/* Which netlink notifications count as "look at our objects". */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "overlay/internal.h"

static struct nl_msg *message(int type, uint32_t port, const void *header, size_t len)
{
	struct nl_msg *m = nlmsg_alloc();

	assert_non_null(nlmsg_put(m, port, 0, type, 0, 0));
	assert_int_equal(nlmsg_append(m, (void *)header, len, NLMSG_ALIGNTO), 0);
	return m;
}

static bool link_concerns(const char *name, enum event_scope scope, uint32_t from)
{
	struct ifinfomsg ifi = {0};
	struct nl_msg *m = message(RTM_NEWLINK, from, &ifi, sizeof(ifi));
	bool concerns;

	nl_put_text(m, IFLA_IFNAME, name);
	concerns = events_concern_us(nlmsg_hdr(m), scope, 77);
	nlmsg_free(m);
	return concerns;
}

static bool neigh_concerns(int family, int state)
{
	struct ndmsg nd = {.ndm_family = (uint8_t)family, .ndm_state = (uint16_t)state};
	struct nl_msg *m = message(RTM_DELNEIGH, 0, &nd, sizeof(nd));
	bool concerns = events_concern_us(nlmsg_hdr(m), EVENTS_NETWORK, 77);

	nlmsg_free(m);
	return concerns;
}

static void test_links_of_the_host(void **state)
{
	assert_true(link_concerns("gswarm0", EVENTS_HOST, 0));
	assert_true(link_concerns("ge01234567", EVENTS_HOST, 0));
	assert_false(link_concerns("eth0", EVENTS_HOST, 0));
	assert_false(link_concerns("docker0", EVENTS_HOST, 0));
	assert_true(link_concerns("eth0", EVENTS_TASK, 0));
}

static void test_our_own_changes_do_not_count(void **state)
{
	assert_false(link_concerns("gswarm0", EVENTS_HOST, 77));
	assert_false(link_concerns("eth0", EVENTS_TASK, 77));
	assert_true(link_concerns("eth0", EVENTS_TASK, 78));
}

static void test_learned_addresses_do_not_count(void **state)
{
	assert_false(neigh_concerns(AF_BRIDGE, NUD_REACHABLE));
	assert_false(neigh_concerns(AF_BRIDGE, NUD_STALE));
	assert_true(neigh_concerns(AF_BRIDGE, NUD_NOARP));
	assert_true(neigh_concerns(AF_BRIDGE, NUD_PERMANENT));
	assert_true(neigh_concerns(AF_INET, NUD_FAILED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_links_of_the_host),
		cmocka_unit_test(test_our_own_changes_do_not_count),
		cmocka_unit_test(test_learned_addresses_do_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
