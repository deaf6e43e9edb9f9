// SPDX-License-Identifier: Apache-2.0
/* Watches the host's addresses: a netlink group says that one came or went, and a look compares.
 *
 * The happy path is a socket that says nothing for months. What can fail is netlink (then only the look that comes
 * every half minute is left), and the choice of another address where the host has none: told, tried on. */
#include "worker/node/address.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/value/addr.h"
#include "worker/net/network.h"
#include "worker/node/advertise.h"
#include "worker/node/manager_process.h"
#include "worker/node/saver.h"
#include "worker/session/agent.h"
#include "worker/session/peers.h"
#include "worker/session/self.h"

#define SOON_MS 200   /* changes come in bursts: link, address, route */
#define LOOK_MS 500   /* while something is wrong */
#define CALM_MS 30000 /* otherwise: nothing depends on it, messages may be lost */
#define AWAIT_FIRST_MS                                                                                       \
	10000         /* before another address is taken after a start: interfaces and leases come late */
#define AWAIT_MS 2000 /* later: less than the managers' patience with a silent node */

/* One look, with what it needs to know: getifaddrs waits for the kernel's lock over all network devices, which the
 * removal of a namespace holds for a while. */
struct look {
	struct address *a;
	struct membership told; /* the four addresses of it */
	char **managers;
	size_t n_managers;
	bool may_replace;
	/* found */
	bool there, advertise_there;
	char advertise[64], data_path[64]; /* what the node should tell */
	uint32_t link_mtu;                 /* of data_path */
};

struct address {
	struct worker *w;
	bool looking, closing;
	bool again; /* something changed during a look */
	struct loop_timer look;
	uv_poll_t poll;
	int fd, handles;
	int64_t gone_since_ms; /* 0: all is local */
	bool seen;             /* all was local since the start */
	uint32_t mtu;
	char trouble[160];
};

const char *address_trouble(const struct address *a)
{
	return a ? a->trouble : "";
}

static bool is_six(const char *ip)
{
	return strchr(ip, ':');
}

/* "host:port" with another host. */
static char *with_host(const char *address, const char *host)
{
	const char *port = strrchr(address, ':');

	return xasprintf(is_six(host) ? "[%s]%s" : "%s%s", host, port ? port : "");
}

static bool has_host(const char *address, const char *host)
{
	char ip[64];
	uint16_t port;

	return hostport_parse(address, MANAGER_PORT, ip, sizeof(ip), &port, NULL) == 0 &&
	       strcmp(ip, host) == 0;
}

/* The local manager is where we are. */
static void manager_follow(struct worker *w, const char *from, const char *to)
{
	char **list = xcalloc(w->n_managers + 1, sizeof(*list));
	size_t n = w->n_managers;

	for (size_t i = 0; i < n; i++)
		list[i] = has_host(w->managers[i], from) ? with_host(w->managers[i], to)
							 : xstrdup(w->managers[i]);
	worker_managers_set(w, list, n);
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
	manager_proc_restart(w->manager);
}

/* ---- on the pool ---- */

/* The address that packets to a manager would carry, or the only one that the host has. */
static bool pick(const struct look *l, const char *instead_of, char *ret, size_t n)
{
	char ip[64], host[64];
	uint16_t port;

	for (size_t i = 0; i < l->n_managers; i++)
		if (hostport_parse(l->managers[i], MANAGER_PORT, host, sizeof(host), &port, NULL) == 0 &&
		    advertise_towards(host, ip, sizeof(ip), NULL) == 0 && is_six(ip) == is_six(instead_of) &&
		    advertise_is_local(ip)) {
			snprintf(ret, n, "%s", ip);
			return true;
		}
	if (advertise_pick("", MANAGER_PORT, ip, sizeof(ip), &port, NULL) < 0 ||
	    is_six(ip) != is_six(instead_of))
		return false;
	snprintf(ret, n, "%s", ip);
	return true;
}

static void look_work(void *arg)
{
	struct look *l = arg;
	const struct membership *s = &l->told;
	bool data_there = advertise_is_local(s->data_path);

	l->advertise_there = advertise_is_local(s->advertise);
	snprintf(l->advertise, sizeof(l->advertise), "%s", s->advertise);
	snprintf(l->data_path, sizeof(l->data_path), "%s", s->data_path);
	if (advertise_is_local(s->chosen_advertise))
		snprintf(l->advertise, sizeof(l->advertise), "%s", s->chosen_advertise);
	else if (l->may_replace && !l->advertise_there)
		pick(l, s->advertise, l->advertise, sizeof(l->advertise));
	if (strcmp(s->chosen_data_path, s->chosen_advertise) == 0)
		snprintf(l->data_path, sizeof(l->data_path), "%s", l->advertise);
	else if (advertise_is_local(s->chosen_data_path))
		snprintf(l->data_path, sizeof(l->data_path), "%s", s->chosen_data_path);
	else if (l->may_replace && !data_there)
		pick(l, s->data_path, l->data_path, sizeof(l->data_path));
	l->there = l->advertise_there && data_there;
	if (strcmp(l->advertise, s->advertise) != 0 || strcmp(l->data_path, s->data_path) != 0)
		l->there = advertise_is_local(l->advertise) && advertise_is_local(l->data_path);
	l->link_mtu = net_link_mtu(l->data_path);
}

/* ---- on the loop ---- */

static void take(struct address *a, const char *advertise, const char *data_path)
{
	struct worker *w = a->w;
	cleanup_free char *old = xstrdup(w->state.advertise);

	log_warn("this host's address changed: %s (data path %s) is told to others instead of %s (%s)",
		 advertise, data_path, w->state.advertise, w->state.data_path);
	snprintf(w->state.advertise, sizeof(w->state.advertise), "%s", advertise);
	snprintf(w->state.data_path, sizeof(w->state.data_path), "%s", data_path);
	saver_save(w->saver, &w->state, STATE_JSON);
	if (w->state.has_manager && strcmp(old, advertise) != 0)
		manager_follow(w, old, advertise);
	peers_listen(w->peers);
	net_vtep_set(w->net, data_path);
	agent_reconnect(w->agent);
}

static void gone_tell(struct address *a, const struct look *l, int64_t patience_ms)
{
	a->gone_since_ms = clock_mono_ms(&clock_real);
	snprintf(a->trouble, sizeof(a->trouble), "address %s is not on this host any more (or not yet)",
		 l->advertise_there ? l->told.data_path : l->told.advertise);
	log_warn("%s; waiting for it, in %d s another one is taken", a->trouble, (int)(patience_ms / 1000));
}

static int64_t patience_ms(const struct address *a)
{
	return a->seen ? AWAIT_MS : AWAIT_FIRST_MS;
}

static void look_apply(struct address *a, const struct look *l)
{
	const struct membership *s = &a->w->state;
	uint32_t mtu;

	if (strcmp(l->told.advertise, s->advertise) != 0 || strcmp(l->told.data_path, s->data_path) != 0)
		return; /* changed since: the next look */
	if (!l->there && a->gone_since_ms == 0)
		gone_tell(a, l, patience_ms(a));
	snprintf(a->w->link_of, sizeof(a->w->link_of), "%s", l->data_path);
	a->w->link_mtu = l->link_mtu;
	mtu = net_mtu(a->w->net, l->link_mtu);
	if (strcmp(l->advertise, s->advertise) != 0 || strcmp(l->data_path, s->data_path) != 0)
		take(a, l->advertise, l->data_path);
	else if (mtu != 0 && a->mtu != 0 && mtu != a->mtu)
		agent_reconnect(a->w->agent); /* a session begins with a description of the node */
	a->mtu = mtu != 0 ? mtu : a->mtu;
	if (!l->there)
		return;
	a->seen = true;
	a->gone_since_ms = 0;
	a->trouble[0] = '\0';
}

static void address_gone(struct address *a);

static void look_back(void *arg)
{
	struct look *l = arg;
	struct address *a = l->a;

	bug_if(!a->looking);
	a->looking = false;
	if (!a->closing) {
		look_apply(a, l);
		loop_timer_set(&a->look, a->again ? SOON_MS : l->there ? CALM_MS : LOOK_MS);
		a->again = false;
	}
	for (size_t i = 0; i < l->n_managers; i++)
		free(l->managers[i]);
	free(l->managers);
	free(l);
	if (a->closing)
		address_gone(a);
}

static void look_start(struct address *a)
{
	const struct membership *s = &a->w->state;
	int64_t now = clock_mono_ms(&clock_real);
	struct look *l;

	if (a->looking)
		return;
	l = xcalloc(1, sizeof(*l));
	l->a = a;
	memcpy(l->told.advertise, s->advertise, sizeof(s->advertise));
	memcpy(l->told.data_path, s->data_path, sizeof(s->data_path));
	memcpy(l->told.chosen_advertise, s->chosen_advertise, sizeof(s->chosen_advertise));
	memcpy(l->told.chosen_data_path, s->chosen_data_path, sizeof(s->chosen_data_path));
	l->n_managers = a->w->n_managers;
	l->managers = xcalloc(l->n_managers + 1, sizeof(*l->managers));
	for (size_t i = 0; i < l->n_managers; i++)
		l->managers[i] = xstrdup(a->w->managers[i]);
	l->may_replace = a->gone_since_ms != 0 && now - a->gone_since_ms >= patience_ms(a);
	a->looking = true;
	loop_work(a->w->loop, look_work, look_back, l);
}

static void on_look(void *arg)
{
	look_start(arg);
}

static void on_change(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct address *a = poll->data;
	char buf[8192];

	while (recv(a->fd, buf, sizeof(buf), 0) > 0 || errno == ENOBUFS)
		;
	a->again = a->looking;
	loop_timer_set(&a->look, SOON_MS);
}

static int watch_open(void)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK,
				 .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int opened = fd;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -1;
	fd = -1;
	return opened;
}

struct address *address_new(struct worker *w)
{
	struct address *a = xcalloc(1, sizeof(*a));

	a->w = w;
	loop_timer_init(&a->look, w->loop, on_look, a);
	a->handles = 1;
	a->fd = watch_open();
	if (a->fd >= 0 && uv_poll_init(w->loop, &a->poll, a->fd) == 0) {
		a->poll.data = a;
		a->handles++;
		uv_poll_start(&a->poll, UV_READABLE, on_change);
	}
	loop_timer_set(&a->look, 0);
	return a;
}

static void address_gone(struct address *a)
{
	if (a->handles > 0 || a->looking)
		return;
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

static void on_timer_closed(void *arg)
{
	struct address *a = arg;

	a->handles--;
	address_gone(a);
}

static void on_poll_closed(uv_handle_t *h)
{
	on_timer_closed(h->data);
}

void address_free(struct address *a)
{
	if (!a)
		return;
	a->closing = true;
	if (a->handles == 2)
		uv_close((uv_handle_t *)&a->poll, on_poll_closed);
	loop_timer_close(&a->look, on_timer_closed);
}
