// SPDX-License-Identifier: Apache-2.0
/* The worker's networks over a real kernel: its loop goes on beating while the kernel is asked, and what the ways
 * to the peers can carry is what the host tells of itself. */
#include <libgen.h>
#include <pthread.h>
#include <sched.h>

#include "base/loop.h"
#include "tests/unit/overlay/kernel_rig.h"
#include "worker/net/network.h"
#include "worker/context/worker.h"

#define BEATS 10 /* that must come while the kernel does not answer */
#define BEAT_MS 5
#define HOLD_S 2
#define FAR "192.0.2.3"

struct rig {
	uv_loop_t loop;
	struct worker w;
	struct net *net;
	struct loop_timer beat;
	char *text; /* of the dump */
};

/* The kernel's side of a dump is held up until the loop has beaten, or for HOLD_S. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t beaten;
	bool armed;
	unsigned beats, seen; /* seen: while it was held up */
} slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .beaten = PTHREAD_COND_INITIALIZER};

int __real_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);
int __wrap_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);
int __wrap_nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e)
{
	struct timespec until;
	unsigned from;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HOLD_S;
	pthread_mutex_lock(&slow.lock);
	from = slow.beats;
	while (slow.armed && slow.beats < from + BEATS &&
	       pthread_cond_timedwait(&slow.beaten, &slow.lock, &until) == 0)
		;
	slow.seen = slow.beats - from;
	slow.armed = false;
	pthread_mutex_unlock(&slow.lock);
	return __real_nft_run(n, netns, batch, ret_out, e);
}

/* As a manager tells of it. */
static void tell_network(struct rig *g, const char *id, uint32_t vni, const char *subnet, bool internal)
{
	cleanup(obj_free_p) Gs__Network *n = obj_new_row(OBJ_NETWORK, id);

	n->meta->version = 1;
	n->vni = vni;
	n->mtu = 1450;
	n->spec = obj_new(&gs__network_spec__descriptor);
	n->spec->internal = internal;
	assert_int_equal(addr_parse_cidr(subnet, &n->subnet, NULL), 0);
	net_network_set(g->net, n);
}

static void tell_endpoint(struct rig *g, const char *vtep, uint64_t version)
{
	cleanup(obj_free_p) Gs__Endpoint *ep = obj_new_row(OBJ_ENDPOINT, NET_A ".slot12");
	struct overlay_ip at = ip(vtep);
	const uint8_t mac[6] = {2, 9, 0, 0, 0, 12};

	ep->meta->version = ep->generation = version;
	str_replace(&ep->network_id, NET_A);
	str_replace(&ep->name, "db.2");
	assert_int_equal(addr_parse_cidr("10.9.0.12/32", &ep->addr, NULL), 0);
	obj_bytes_set(&ep->mac, mac, sizeof(mac));
	obj_bytes_set(&ep->vtep_ip, at.bytes, at.len);
	net_endpoint_set(g->net, ep);
}

/* As with each assignment: what is declared meanwhile must not wait for the kernel either. */
static void on_beat(void *arg)
{
	struct rig *g = arg;
	unsigned n;

	pthread_mutex_lock(&slow.lock);
	n = ++slow.beats;
	pthread_cond_signal(&slow.beaten);
	pthread_mutex_unlock(&slow.lock);
	tell_endpoint(g, FAR, n);
	net_pool_set(g->net, "10.0.0.0/8");
	net_vtep_set(g->net, h1.vtep);
}

static int set_up(void **state)
{
	struct rig *g = xcalloc(1, sizeof(*g));
	cleanup_free char *copy = xstrdup(helper);

	*state = g;
	enter(&h1);
	uv_loop_init(&g->loop);
	g->w.loop = &g->loop;
	g->w.exe_dir = xstrdup(dirname(copy));
	strcpy(g->w.state.data_path, h1.vtep);
	loop_timer_init(&g->beat, &g->loop, on_beat, g);
	OK(net_new(&g->w, &g->net, &err));
	loop_timer_every(&g->beat, BEAT_MS, BEAT_MS);
	return 0;
}

static void on_removed(const struct err *e, void *arg)
{
	assert_int_equal(e->code, 0);
	net_free(arg);
}

static int tear_down(void **state)
{
	struct rig *g = *state;

	loop_timer_close(&g->beat, NULL);
	net_remove_all(g->net, on_removed, g->net);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	free(g->w.exe_dir);
	free(g->text);
	free(g);
	return rig_clean(NULL);
}

static void on_dumped(const char *text, void *arg)
{
	((struct rig *)arg)->text = xstrdup(text);
}

/* FINDINGS O10: 'system dump' asked the kernel on the loop, and the heartbeats waited. */
static void test_o10_a_dump_holds_up_no_heartbeat(void **state)
{
	struct rig *g = *state;

	slow.armed = true;
	net_dump(g->net, on_dumped, g);
	while (!g->text)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_false(slow.armed);
	assert_true(slow.seen >= BEATS);
	assert_non_null(strstr(g->text, NET_A ".slot12 db.2 10.9.0.12"));
}

static uint32_t told_mtu(const struct rig *g)
{
	return net_mtu(g->net, net_link_mtu(h1.vtep));
}

static void wait_mtu(struct rig *g, uint32_t mtu)
{
	uint64_t until = uv_now(&g->loop) + 10000;

	while (told_mtu(g) != mtu && uv_now(&g->loop) < until)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_int_equal(told_mtu(g), mtu);
}

/* FINDINGS O9: what the overlay found out about the ways had no reader; the host told its link's MTU. */
static void test_o9_the_host_tells_what_its_ways_can_carry(void **state)
{
	struct rig *g = *state;

	wait_mtu(g, 1500);
	SH("ip route add " FAR "/32 dev eth0 mtu 1420");
	tell_network(g, NET_A, VNI_A, "10.9.0.0/24", false); /* its endpoint's host is a peer from now on */
	wait_mtu(g, 1420);
	SH("ip route del " FAR "/32");
	SH("ip link set eth0 mtu 1400");
	wait_mtu(g, 1400);
	SH("ip link set eth0 mtu 1500");
}

static void add_address(Gs__Task *t, const char *network_id, const char *ip, uint8_t last)
{
	Gs__SlotAddress *a = obj_new(&gs__slot_address__descriptor);
	const uint8_t mac[6] = {2, 9, 0, 0, 0, last};

	str_replace(&a->network_id, network_id);
	assert_int_equal(addr_parse_cidr(ip, &a->addr, NULL), 0);
	obj_bytes_set(&a->mac, mac, sizeof(mac));
	obj_add(&t->n_addresses, &t->addresses, a);
}

/* Up, a look, down. Returns whether it had a way out. */
static bool has_way_out(struct rig *g, const Gs__Task *t)
{
	struct net_plan *p = net_plan_new(g->net, t);
	bool has;

	OK(net_attach(p, &err));
	has = sh("ip netns exec %s ip link show gw0 >/dev/null 2>&1", t->name) == 0;
	net_detach(p);
	net_plan_free(p);
	return has;
}

/* FINDINGS O14: one internal network took the way out from a task that had another one as well. */
static void test_o14_internal_networks_alone_have_no_way_out(void **state)
{
	struct rig *g = *state;
	cleanup(obj_free_p) Gs__Task *t = obj_new_row(OBJ_TASK, "cccccccc0000000000000000c");

	str_replace(&t->name, "o14.1");
	str_replace(&t->slot_id, "slot21");
	tell_network(g, NET_A, VNI_A, "10.9.0.0/24", true);
	tell_network(g, NET_B, VNI_A + 1, "10.10.0.0/24", false);
	add_address(t, NET_A, "10.9.0.21/32", 21);
	assert_false(has_way_out(g, t));
	add_address(t, NET_B, "10.10.0.21/32", 22);
	assert_true(has_way_out(g, t));
}

#define N(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static const struct CMUnitTest tests[] = {
	N(test_o10_a_dump_holds_up_no_heartbeat),
	N(test_o9_the_host_tells_what_its_ways_can_carry),
	N(test_o14_internal_networks_alone_have_no_way_out),
};

RIG_MAIN(tests)
