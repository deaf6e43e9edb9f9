// SPDX-License-Identifier: Apache-2.0
/* The happy path is: a tmpfs on /run, three namespaces, two overlays. What can fail fails the test that asked. */
#include "kernel_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct host h1 = {.name = "gso-h1", .vtep = "192.0.2.1"}, h2 = {.name = "gso-h2", .vtep = "192.0.2.2"};
const char *helper;
struct err err;

int sh(const char *fmt, ...)
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

int in_ns(const struct host *h, const char *ns, const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return sh("nsenter --net=%s/%s sh -c '%s' >/dev/null 2>&1", h->dir, ns, cmd);
}

int nft_in(const struct host *h, const char *ns, const char *batch, struct err *e)
{
	char path[512];

	ns_path(h->o, ns, path);
	return nft_run(&h->o->nft, path, batch, NULL, e);
}

void enter(const struct host *h)
{
	assert_int_equal(setns(h->fd, CLONE_NEWNET), 0);
}

struct overlay_ip ip(const char *text)
{
	struct overlay_ip ret;

	assert_true(ip_parse(text, &ret));
	return ret;
}

static void start(struct host *h)
{
	struct overlay_config c = {
		.vtep = ip(h->vtep), .port = 4789, .netns_dir = h->dir, .nft_helper = helper};

	enter(h);
	OK(overlay_new(&c, &h->o, &err));
}

void restart(struct host *h)
{
	enter(h);
	overlay_free(h->o);
	h->o = NULL;
	start(h);
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

bool rig_may_run(void)
{
	if (geteuid() == 0)
		return true;
	printf("not root: skipped\n");
	return false;
}

bool has_events(struct host *h)
{
	struct pollfd p = {.fd = overlay_events_fd(h->o), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

bool drain(struct host *h)
{
	bool touched = false;

	while (has_events(h))
		touched |= overlay_events_drain(h->o);
	return touched;
}

int rig_set_up(void **state)
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

int rig_tear_down(void **state)
{
	overlay_free(h1.o);
	overlay_free(h2.o);
	close(h1.fd);
	close(h2.fd);
	return 0;
}

int rig_clean(void **state)
{
	enter(&h2);
	OK(overlay_remove_all(h2.o, &err));
	enter(&h1);
	OK(overlay_remove_all(h1.o, &err));
	return 0;
}

struct overlay_network network(const char *id, uint32_t vni)
{
	struct overlay_network n = {.vni = vni, .mtu = 1450, .subnet = ip("10.9.0.0/24")};

	snprintf(n.id, sizeof(n.id), "%s", id);
	return n;
}

struct overlay_endpoint endpoint(int n, const char *vtep, uint64_t generation)
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

const char *owner_of(const char *netns)
{
	static char owner[26];

	snprintf(owner, sizeof(owner), "o.%s", netns);
	return owner;
}

struct overlay_port port(int n, const char *netns)
{
	struct overlay_endpoint ep = endpoint(n, "192.0.2.1", 1);
	struct overlay_port p = {.ip = ep.ip, .ifname = "eth0"};

	snprintf(p.netns, sizeof(p.netns), "%s", netns);
	snprintf(p.owner, sizeof(p.owner), "%s", owner_of(netns));
	snprintf(p.id, sizeof(p.id), "%s", ep.id);
	snprintf(p.network_id, sizeof(p.network_id), "%s", ep.network_id);
	memcpy(p.mac, ep.mac, 6);
	return p;
}

void endpoint_set(struct host *h, const struct overlay_endpoint *ep)
{
	OK(overlay_endpoint_set(h->o, ep, &err));
	pass(h);
}

void declare(struct host *h)
{
	struct overlay_network n = network(NET_A, VNI_A);
	struct overlay_endpoint e1 = endpoint(11, h1.vtep, 1), e2 = endpoint(12, h2.vtep, 1);

	OK(overlay_network_set(h->o, &n, &err));
	OK(overlay_endpoint_set(h->o, &e1, &err));
	OK(overlay_endpoint_set(h->o, &e2, &err));
	pass(h);
}

void attach(struct host *h, int n, const char *netns)
{
	struct overlay_port p = port(n, netns);

	enter(h);
	OK(overlay_netns_create(h->o, netns, owner_of(netns), 0, &err));
	OK(overlay_attach(h->o, &p, &err));
}

void egress(struct host *h, const char *netns)
{
	enter(h);
	OK(overlay_egress_attach(h->o, netns, owner_of(netns), &err));
}

void both_up(void)
{
	declare(&h1);
	declare(&h2);
	attach(&h1, 11, "t11");
	attach(&h2, 12, "t12");
}

bool pings(const struct host *h, const char *ns, const char *args)
{
	return in_ns(h, ns, "ping -c1 -i0.2 -w5 %s", args) == 0;
}

bool is_silent(const struct host *h, const char *ns, const char *args)
{
	return in_ns(h, ns, "ping -c1 -W1 %s", args) != 0;
}

struct overlay_pass pass(struct host *h)
{
	struct overlay_pass p;

	enter(h);
	OK(overlay_pass(h->o, &p, &err));
	return p;
}

unsigned look(struct host *h)
{
	pthread_mutex_lock(&h->o->lock);
	repair_suspect_all(h->o);
	pthread_mutex_unlock(&h->o->lock);
	return pass(h).repairs;
}
