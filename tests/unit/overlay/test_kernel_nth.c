// SPDX-License-Identifier: Apache-2.0
/* Fail the n-th call to the kernel, n = 1, 2, ... until none fails: whatever fails, and whether it failed
 * before or after the kernel did it, the next pass ends with the state that a run without failures has
 * (FINDINGS O1, O2, O13). */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "kernel_rig.h"
#include "overlay/reap.h"

enum fail_how { FAIL_BEFORE, FAIL_AFTER }; /* refused; done, but the answer was lost */

#define CALLS_MAX 2048
static struct {
	atomic_uint calls;
	unsigned fail_at; /* 0: none */
	enum fail_how how;
	bool writes[CALLS_MAX]; /* of the last story: it can fail after the deed */
} shim;

/* Whether this call is the one. */
static bool is_next_of(bool writes)
{
	unsigned n = atomic_fetch_add(&shim.calls, 1) + 1;

	if (n < CALLS_MAX)
		shim.writes[n] = writes;
	return n == shim.fail_at;
}

static bool is_next(void)
{
	return is_next_of(false);
}

static int refuse(struct err *e)
{
	return err_set(e, -EIO, "made to fail");
}

int __real_nl_conn_open(struct nl_conn *c, int protocol, struct err *e);
int __wrap_nl_conn_open(struct nl_conn *c, int protocol, struct err *e)
{
	return is_next() ? refuse(e) : __real_nl_conn_open(c, protocol, e);
}

int __real_nl_batch_run(struct nl_conn *c, struct nl_batch *b, struct err *e);
int __wrap_nl_batch_run(struct nl_conn *c, struct nl_batch *b, struct err *e)
{
	if (!is_next_of(true))
		return __real_nl_batch_run(c, b, e);
	if (shim.how == FAIL_AFTER)
		(void)__real_nl_batch_run(c, b, NULL);
	nl_batch_fini(b);
	return refuse(e);
}

int __real_nl_ask_one(struct nl_conn *c, struct nl_msg *take_msg, nl_each_cb each, void *arg, struct err *e);
int __wrap_nl_ask_one(struct nl_conn *c, struct nl_msg *take_msg, nl_each_cb each, void *arg, struct err *e)
{
	if (!is_next())
		return __real_nl_ask_one(c, take_msg, each, arg, e);
	nlmsg_free(take_msg);
	return refuse(e);
}

int __real_nl_ask_all(struct nl_conn *c, int type, const void *header, size_t header_len, nl_each_cb each,
		      void (*restart_cb)(void *arg), void *arg, struct err *e);
int __wrap_nl_ask_all(struct nl_conn *c, int type, const void *header, size_t header_len, nl_each_cb each,
		      void (*restart_cb)(void *arg), void *arg, struct err *e)
{
	return is_next() ? refuse(e)
			 : __real_nl_ask_all(c, type, header, header_len, each, restart_cb, arg, e);
}

int __real_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);
int __wrap_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e)
{
	if (!is_next_of(true))
		return __real_nft_run(n, netns, batch, ret_out, e);
	if (shim.how == FAIL_AFTER)
		(void)__real_nft_run(n, netns, batch, NULL, NULL);
	return refuse(e);
}

int __real_mount(const char *from, const char *to, const char *type, unsigned long flags, const void *data);
int __wrap_mount(const char *from, const char *to, const char *type, unsigned long flags, const void *data)
{
	if (!is_next())
		return __real_mount(from, to, type, flags, data);
	errno = EIO;
	return -1;
}

int __real_umount2(const char *path, int flags);
int __wrap_umount2(const char *path, int flags)
{
	if (!is_next())
		return __real_umount2(path, flags);
	errno = EIO;
	return -1;
}

/* ---- what is compared ---- */

/* Without indexes and made-up MACs, which differ from run to run, and without carrier, which comes late. Which address
 * the way out has is up to time: a leg that is tried again while t13's is there takes the next one. One shell a
 * namespace: this runs hundreds of times. */
#define LINKS "awk '{sub(/@.*/, \"\", $1); gsub(/NO-CARRIER,|,LOWER_UP/, \"\"); print $1, $4}' | sort"
static const char *const views[] = {
	"ls %s; nft list table inet gswarm; (ip -br link show type bridge; ip -br link show type veth) "
	"| " LINKS "; ip -4 -br addr show gswarm0 | awk '{print $1, $3}'",
	"nsenter --net=%s/gsn-aaaaaaaa sh -c \"ip -br link; bridge fdb show dev vx0; ip neigh show dev br0 "
	"nud "
	"permanent\" | grep -v 'br0 permanent' | awk '{sub(/@.*/, \"\", $1); gsub(/NO-CARRIER,|,LOWER_UP/, "
	"\"\"); "
	"if ($4 ~ /^</) print $1, $4; else print}' | sort",
	("nsenter --net=%s/t11 sh -c \"ip -br -4 addr; ip -4 route; ip -br link show eth0\" | "
	 "awk '{sub(/@.*/, \"\", $1); gsub(/NO-CARRIER,|,LOWER_UP/, \"\"); "
	 "sub(/^172.31.0.[23].20$/, \"172.31.0.n\", $3); print $1, $3, $4}' | sort"),
};

static void print_output(const char *cmd, struct buf *out)
{
	size_t n;
	FILE *f;

	enter(&h1);
	f = popen(cmd, "r");
	assert_non_null(f);
	while ((n = fread(buf_reserve(out, 4096), 1, 4096, f)) > 0)
		out->len += n;
	pclose(f);
}

static char *kernel_state(void)
{
	struct buf out = {0}, script = {0};

	reap_wait(h1.o);
	for (size_t i = 0; i < array_size(views); i++) {
		buf_printf(&script, "echo --- %zu\n", i);
		buf_printf(&script, views[i], h1.dir);
		buf_printf(&script, "\n");
	}
	print_output(buf_text(&script), &out);
	buf_fini(&script);
	return buf_text(&out);
}

static char *index_of(const char *ns, const char *link)
{
	char cmd[256];
	struct buf out = {0};

	snprintf(cmd, sizeof(cmd), "nsenter --net=%s/%s ip -o link show %s | cut -d: -f1", h1.dir, ns, link);
	print_output(cmd, &out);
	return buf_text(&out);
}

/* ---- stories: errors are the point, so nobody looks at them ---- */

static void set_network(void)
{
	struct overlay_network n = network(NET_A, VNI_A);

	overlay_network_set(h1.o, &n, NULL);
}

static void set_endpoint(int n, const char *vtep, uint64_t generation)
{
	struct overlay_endpoint ep = endpoint(n, vtep, generation);

	overlay_endpoint_set(h1.o, &ep, NULL);
}

static void bring_up(int n, const char *netns)
{
	struct overlay_port p = port(n, netns);

	overlay_netns_create(h1.o, netns, p.owner, 0, NULL);
	overlay_attach(h1.o, &p, NULL);
	overlay_egress_attach(h1.o, netns, p.owner, NULL);
}

static void take_down(int n, const char *netns)
{
	struct overlay_port p = port(n, netns);

	overlay_egress_detach(h1.o, p.owner, NULL);
	overlay_detach(h1.o, p.id, p.owner, NULL);
	overlay_netns_remove(h1.o, netns, p.owner, NULL);
}

static void some_pass(void)
{
	struct overlay_pass p;

	overlay_pass(h1.o, &p, NULL);
}

/* A network for a while. */
static void second_network(void)
{
	struct overlay_network n = network(NET_B, VNI_A + 1);
	struct overlay_port p = port(16, "t16");

	snprintf(p.network_id, sizeof(p.network_id), NET_B);
	snprintf(p.id, sizeof(p.id), NET_B ".slot16");
	overlay_network_set(h1.o, &n, NULL);
	overlay_netns_create(h1.o, "t16", p.owner, 0, NULL);
	overlay_attach(h1.o, &p, NULL);
	overlay_netns_remove(h1.o, "t16", p.owner, NULL);
	overlay_network_remove(h1.o, NET_B);
}

/* Tasks come and go, a slot moves, another goes, and so does a network. */
static void story_life(void)
{
	set_network();
	set_endpoint(11, h1.vtep, 1);
	set_endpoint(12, h2.vtep, 1);
	bring_up(11, "t11");
	some_pass();
	bring_up(13, "t13");
	set_endpoint(12, "192.0.2.77", 2);
	set_endpoint(15, h2.vtep, 1);
	some_pass();
	overlay_endpoint_remove(h1.o, NET_A ".slot15");
	set_endpoint(12, "192.0.2.78", 3);
	take_down(13, "t13");
	second_network();
	some_pass();
}

/* The next process adopts. t11 runs all the time; t13 is not declared again. */
static void story_adopt(void)
{
	set_network();
	set_endpoint(11, h1.vtep, 1);
	set_endpoint(12, "192.0.2.78", 3);
	bring_up(11, "t11");
	some_pass();
	overlay_adopt_done(h1.o, NULL, 0, NULL);
	some_pass();
}

/* ---- the loops ---- */

static void fail_nth(unsigned n, enum fail_how how, void (*story)(void))
{
	shim.calls = 0;
	shim.fail_at = n;
	shim.how = how;
	story();
	reap_wait(h1.o);
	shim.fail_at = 0;
}

/* A story is the same up to the call that fails, so the run before knows whether the next one writes. */
static bool is_worth(unsigned n, enum fail_how how)
{
	return how == FAIL_BEFORE || (n < CALLS_MAX && shim.writes[n]);
}

static void rush(struct work *w)
{
	if (!work_is(w, WORK_ABSENT) && !work_is(w, WORK_SETTLED))
		work_rush(w);
}

/* As if the longest back-off had passed: what waits is tried again, what counts as settled is not looked at. */
static void later(void)
{
	pthread_mutex_lock(&h1.o->lock);
	rush(&h1.o->rules.work);
	rush(&h1.o->egress.work);
	rush(&h1.o->sweep);
	for (struct network *n = h1.o->networks; n; n = n->hh.next)
		rush(&n->work);
	for (struct port *p = h1.o->ports; p; p = p->hh.next)
		rush(&p->work);
	for (struct leg *leg = h1.o->legs; leg; leg = leg->hh.next)
		rush(&leg->work);
	for (struct task_ns *t = h1.o->tasks; t; t = t->hh.next)
		rush(&t->work);
	pthread_mutex_unlock(&h1.o->lock);
	pass(&h1);
}

static void keep_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void compare(unsigned n, enum fail_how how, const char *expected)
{
	char *now = kernel_state();
	bool same = strcmp(now, expected) == 0;
	unsigned repairs;

	if (!same) {
		keep_text("/run/expected", expected);
		keep_text("/run/now", now);
		sh("diff -U1 /run/expected /run/now >&2");
	}
	free(now);
	if (!same)
		fail_msg("call %u failed %s: not what a run without failures leaves", n,
			 how == FAIL_BEFORE ? "before" : "after");
	repairs = look(&h1);
	if (repairs != 0)
		fail_msg("call %u: still %u things to mend after the pass", n, repairs);
}

static void anew(void)
{
	OK(overlay_remove_all(h1.o, &err));
	restart(&h1);
	OK(overlay_adopt_done(h1.o, NULL, 0, &err));
}

static void test_o1_o13_every_call_of_a_life_fails_once(void **state)
{
	char *expected;

	anew();
	fail_nth(0, FAIL_BEFORE, story_life);
	look(&h1);
	expected = kernel_state();
	for (int how = FAIL_BEFORE; how <= FAIL_AFTER; how++) {
		unsigned calls = UINT32_MAX;

		for (unsigned n = 1; n <= calls; n++) {
			if (!is_worth(n, (enum fail_how)how))
				continue;
			anew();
			fail_nth(n, (enum fail_how)how, story_life);
			calls = shim.calls;
			look(&h1);
			compare(n, (enum fail_how)how, expected);
		}
	}
	free(expected);
}

/* O1: what a pass did not bring to the kernel waits for its back-off, not for the next look at everything. */
static void test_o1_a_refused_change_is_tried_again_by_itself(void **state)
{
	unsigned calls = UINT32_MAX;

	anew();
	set_network();
	set_endpoint(11, h1.vtep, 1);
	set_endpoint(12, h2.vtep, 1);
	bring_up(11, "t11");
	look(&h1);
	for (unsigned n = 1; n <= calls; n++) {
		char vtep[32];

		snprintf(vtep, sizeof(vtep), "192.0.2.%u", 100 + n);
		set_endpoint(12, vtep, 1 + n);
		fail_nth(n, FAIL_BEFORE, some_pass);
		calls = shim.calls;
		later();
		if (in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb show dev vx0 | grep -q \"0c dst %s \"", vtep) != 0)
			fail_msg("call %u: the move was not made", n);
	}
	assert_in_range(calls, 2, 20);
}

static void story_end(void)
{
	take_down(13, "t13");
}

/* O13: what a task's end did not take out of the kernel goes by itself, and nothing is declared for it any more. */
static void test_o13_a_refused_end_is_made_later(void **state)
{
	unsigned calls = UINT32_MAX;

	anew();
	set_network();
	set_endpoint(11, h1.vtep, 1);
	bring_up(11, "t11");
	for (unsigned n = 1; n <= calls; n++) {
		bring_up(13, "t13");
		look(&h1);
		fail_nth(n, FAIL_BEFORE, story_end);
		calls = shim.calls;
		later();
		/* gx: given up, unused, and the reaper's to delete */
		if (in_ns(&h1, "gsn-aaaaaaaa", "test $(ip -br link show type veth | grep -vc ^gx) = 1") !=
			    0 ||
		    sh("test $(ip -o link show master gswarm0 | grep -c \": ge\") = 1 && ! test -e %s/t13",
		       h1.dir) != 0)
			fail_msg("call %u: something of the task is left", n);
	}
	assert_in_range(calls, 3, 60);
}

/* And the links of the task that runs are the same ones as before, whatever failed. */
static void test_o2_every_call_of_an_adoption_fails_once(void **state)
{
	char *expected;

	anew();
	fail_nth(0, FAIL_BEFORE, story_life);
	bring_up(13, "t13");
	fail_nth(0, FAIL_BEFORE, story_adopt);
	look(&h1);
	take_down(13, "t13");
	expected = kernel_state();
	for (int how = FAIL_BEFORE; how <= FAIL_AFTER; how++) {
		unsigned calls = UINT32_MAX;

		for (unsigned n = 1; n <= calls; n++) {
			char *eth0, *gw0, *eth0_now, *gw0_now;

			if (!is_worth(n, (enum fail_how)how))
				continue;
			bring_up(13, "t13");
			eth0 = index_of("t11", "eth0");
			gw0 = index_of("t11", "gw0");
			restart(&h1);
			fail_nth(n, (enum fail_how)how, story_adopt);
			calls = shim.calls;
			look(&h1);
			compare(n, (enum fail_how)how, expected);
			eth0_now = index_of("t11", "eth0");
			gw0_now = index_of("t11", "gw0");
			if (strcmp(eth0, eth0_now) != 0 || strcmp(gw0, gw0_now) != 0)
				fail_msg("call %u: a running task's link was replaced", n);
			free(eth0);
			free(gw0);
			free(eth0_now);
			free(gw0_now);
		}
	}
	free(expected);
}

static unsigned calls_of_a_pass(void)
{
	shim.calls = 0;
	pass(&h1);
	return shim.calls;
}

/* The kernel tells of a link's carrier when it has time, at most once a second: until then the link has (LOWER_UP) what its
 * state does not say, or the other way round. */
static bool carriers_are_told(void)
{
	enter(&h1);
	return sh("(ip -br link; for n in %s/*; do nsenter --net=$n ip -br link; done) | awk '"
		  "$2 ~ /DOWN/ && /[<,]UP[,>]/ && /LOWER_UP/ || $2 == \"UP\" && !/LOWER_UP/ {late = 1} "
		  "END {exit late}'",
		  h1.dir) == 0;
}

/* All is told that was, and nothing new has come for longer than a second. */
static void wait_until_quiet(void)
{
	struct pollfd p = {.fd = overlay_events_fd(h1.o), .events = POLLIN};

	while (!carriers_are_told() || poll(&p, 1, 1200) > 0)
		drain(&h1);
	pass(&h1);
}

/* O12: one changed namespace had every other one dumped. */
static void test_o12_a_pass_looks_only_where_something_changed(void **state)
{
	unsigned all;

	anew();
	fail_nth(0, FAIL_BEFORE, story_life);
	for (int i = 0; i < 6; i++) {
		char netns[8];

		snprintf(netns, sizeof(netns), "u%d", i);
		bring_up(20 + i, netns);
	}
	wait_until_quiet();
	shim.calls = 0;
	look(&h1);
	all = shim.calls;
	assert_int_equal(calls_of_a_pass(), 1); /* nft's generation */
	assert_int_equal(in_ns(&h1, "u3", "ip addr flush dev eth0"), 0);
	assert_true(drain(&h1));
	assert_in_range(calls_of_a_pass(), 2, all / 4);
	wait_until_quiet();
	assert_int_equal(in_ns(&h1, "gsn-aaaaaaaa", "bridge fdb del 02:09:00:00:00:0c dev vx0 self"), 0);
	assert_true(drain(&h1));
	assert_in_range(calls_of_a_pass(), 2, all / 4);
}

static const struct CMUnitTest tests[] = {
	T(test_o12_a_pass_looks_only_where_something_changed),
	T(test_o1_a_refused_change_is_tried_again_by_itself),
	T(test_o13_a_refused_end_is_made_later),
	T(test_o1_o13_every_call_of_a_life_fails_once),
	T(test_o2_every_call_of_an_adoption_fails_once),
};

RIG_MAIN(tests)
