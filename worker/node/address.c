// SPDX-License-Identifier: Apache-2.0
/* Watches the host's addresses: a netlink group says that one came or went, and a look compares.
 *
 * The happy path is a socket that says nothing for months. What can fail is netlink (then only the look that comes every
 * half minute is left), and the choice of another address where the host has none: told, tried on. */
#include "worker/node/address.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/node/advertise.h"
#include "worker/session/agent.h"
#include "worker/node/manager_process.h"
#include "worker/net/network.h"
#include "worker/session/peers.h"

#define SOON_MS 200   /* changes come in bursts: link, address, route */
#define LOOK_MS 500   /* while something is wrong */
#define CALM_MS 30000 /* otherwise: nothing depends on it, messages may be lost */
#define AWAIT_FIRST_MS                                                                                       \
	10000         /* before another address is taken after a start: interfaces and leases come late */
#define AWAIT_MS 2000 /* later: less than the managers' patience with a silent node */

struct address {
	struct worker *w;
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

/* The address that packets to a manager would carry, or the only one that the host has. */
static bool pick(const struct worker *w, const char *instead_of, char *ret, size_t n)
{
	char ip[64], host[64];
	uint16_t port;

	for (size_t i = 0; i < w->n_managers; i++)
		if (hostport_parse(w->managers[i], MANAGER_PORT, host, sizeof(host), &port, NULL) == 0 &&
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

/* What the node should tell now; false: as it is. */
static bool choose(struct address *a, bool may_replace, char *ret_advertise, char *ret_data, size_t n)
{
	const struct state *s = &a->w->state;

	snprintf(ret_advertise, n, "%s", s->advertise);
	snprintf(ret_data, n, "%s", s->data_path);
	if (advertise_is_local(s->chosen_advertise))
		snprintf(ret_advertise, n, "%s", s->chosen_advertise);
	else if (may_replace && !advertise_is_local(s->advertise))
		pick(a->w, s->advertise, ret_advertise, n);
	if (strcmp(s->chosen_data_path, s->chosen_advertise) == 0)
		snprintf(ret_data, n, "%s", ret_advertise);
	else if (advertise_is_local(s->chosen_data_path))
		snprintf(ret_data, n, "%s", s->chosen_data_path);
	else if (may_replace && !advertise_is_local(s->data_path))
		pick(a->w, s->data_path, ret_data, n);
	return strcmp(ret_advertise, s->advertise) != 0 || strcmp(ret_data, s->data_path) != 0;
}

static void take(struct address *a, const char *advertise, const char *data_path)
{
	struct worker *w = a->w;
	cleanup_free char *old = xstrdup(w->state.advertise);
	struct err e = {0};

	log_warn("this host's address changed: %s (data path %s) is told to others instead of %s (%s)",
		 advertise, data_path, w->state.advertise, w->state.data_path);
	snprintf(w->state.advertise, sizeof(w->state.advertise), "%s", advertise);
	snprintf(w->state.data_path, sizeof(w->state.data_path), "%s", data_path);
	if (state_save_json(w->dir, &w->state, &e) < 0)
		log_error("%s", e.msg);
	if (w->state.has_manager && strcmp(old, advertise) != 0)
		manager_follow(w, old, advertise);
	peers_listen(w->peers);
	netglue_vtep_set(w->net, data_path);
	agent_reconnect(w->agent);
}

static void look(struct address *a)
{
	const struct state *s = &a->w->state;
	int64_t now = clock_mono_ms(&clock_real);
	bool there = advertise_is_local(s->advertise) && advertise_is_local(s->data_path);
	int64_t patience_ms = a->seen ? AWAIT_MS : AWAIT_FIRST_MS;
	bool waited = a->gone_since_ms != 0 && now - a->gone_since_ms >= patience_ms;
	char advertise[64], data_path[64];
	uint32_t mtu;

	if (!there && a->gone_since_ms == 0) {
		a->gone_since_ms = now;
		snprintf(a->trouble, sizeof(a->trouble),
			 "address %s is not on this host any more (or not yet)",
			 advertise_is_local(s->advertise) ? s->data_path : s->advertise);
		log_warn("%s; waiting for it, in %d s another one is taken", a->trouble,
			 (int)(patience_ms / 1000));
	}
	if (choose(a, waited, advertise, data_path, sizeof(advertise))) {
		take(a, advertise, data_path);
		there = advertise_is_local(advertise) && advertise_is_local(data_path);
	}
	if (there) {
		a->seen = true;
		a->gone_since_ms = 0;
		a->trouble[0] = '\0';
	}
	mtu = netglue_mtu(a->w->net, s->data_path);
	if (mtu != 0 && a->mtu != 0 && mtu != a->mtu)
		agent_reconnect(a->w->agent); /* a session begins with a description of the node */
	a->mtu = mtu != 0 ? mtu : a->mtu;
	loop_timer_set(&a->look, there ? CALM_MS : LOOK_MS);
}

static void on_look(void *arg)
{
	look(arg);
}

static void on_change(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct address *a = poll->data;
	char buf[8192];

	while (recv(a->fd, buf, sizeof(buf), 0) > 0 || errno == ENOBUFS)
		;
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

static void on_timer_closed(void *arg)
{
	struct address *a = arg;

	if (--a->handles > 0)
		return;
	if (a->fd >= 0)
		close(a->fd);
	free(a);
}

static void on_poll_closed(uv_handle_t *h)
{
	on_timer_closed(h->data);
}

void address_free(struct address *a)
{
	if (!a)
		return;
	if (a->handles == 2)
		uv_close((uv_handle_t *)&a->poll, on_poll_closed);
	loop_timer_close(&a->look, on_timer_closed);
}
