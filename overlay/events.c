// SPDX-License-Identifier: Apache-2.0
/* The happy path is: one netlink socket per namespace joined to the groups that matter there, all in one
 * epoll fd; draining reads everything and answers whether any of it was about us and not by us. What can fail
 * is: the kernel drops notifications (ENOBUFS), which counts as "yes, look". Has a lock of its own, so that
 * the loop's thread never waits for an attach on the pool. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "overlay/internal.h"

struct event_source {
	int fd;
	enum event_scope scope;
	uint32_t own_port;
};

struct events {
	pthread_mutex_t lock;
	int epoll_fd;
};

int events_init(struct overlay *o, struct err *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "epoll");
	o->events = xcalloc(1, sizeof(*o->events));
	o->events->epoll_fd = fd;
	pthread_mutex_init(&o->events->lock, NULL);
	return 0;
}

void events_fini(struct overlay *o)
{
	if (!o->events)
		return;
	close(o->events->epoll_fd);
	pthread_mutex_destroy(&o->events->lock);
	free(o->events);
	o->events = NULL;
}

static uint32_t groups_of(enum event_scope scope)
{
	switch (scope) {
	case EVENTS_HOST:
		return RTMGRP_LINK | RTMGRP_IPV4_IFADDR;
	case EVENTS_NETWORK:
		return RTMGRP_LINK | RTMGRP_NEIGH;
	case EVENTS_TASK:
		break;
	}
	return RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
}

/* Without the events the sweep still repairs, so a failure is no error. */
struct event_source *events_join(struct overlay *o, enum event_scope scope, uint32_t own_port)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = groups_of(scope)};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct event_source *s;
	struct epoll_event ev;

	if (fd < 0)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	*s = (struct event_source){fd, scope, own_port};
	ev = (struct epoll_event){.events = EPOLLIN, .data.ptr = s};
	pthread_mutex_lock(&o->events->lock);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
	    epoll_ctl(o->events->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		close(fd);
		free(s);
		s = NULL;
	}
	pthread_mutex_unlock(&o->events->lock);
	return s;
}

void events_leave(struct overlay *o, struct event_source *s)
{
	pthread_mutex_lock(&o->events->lock);
	epoll_ctl(o->events->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	free(s);
	pthread_mutex_unlock(&o->events->lock);
}

static bool concerns_host(const struct nlmsghdr *h)
{
	struct nlattr *name = NULL;

	if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK)
		name = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct ifinfomsg), IFLA_IFNAME);
	else if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		name = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct ifaddrmsg), IFA_LABEL);
	return name && (strncmp(nla_get_string(name), "ge", 2) == 0 ||
			strcmp(nla_get_string(name), NAME_EGRESS_BRIDGE) == 0);
}

/* The bridge learns and forgets MACs of local tasks all the time; only what we write is permanent or static. */
static bool concerns_network(const struct nlmsghdr *h)
{
	const struct ndmsg *nd = nlmsg_data(h);

	if (h->nlmsg_type != RTM_NEWNEIGH && h->nlmsg_type != RTM_DELNEIGH)
		return true;
	return nd->ndm_family != AF_BRIDGE || (nd->ndm_state & (NUD_PERMANENT | NUD_NOARP));
}

bool events_concern_us(const struct nlmsghdr *h, enum event_scope scope, uint32_t own_port)
{
	if (h->nlmsg_pid == own_port && own_port != 0)
		return false;
	if (scope == EVENTS_HOST)
		return concerns_host(h);
	return scope == EVENTS_NETWORK ? concerns_network(h) : true;
}

static bool drain_one(struct event_source *s)
{
	char buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool touched = false;

	for (;;) {
		ssize_t n = recv(s->fd, buf, sizeof(buf), 0);
		int left = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			touched = true;
			continue;
		}
		if (n <= 0)
			return touched;
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left))
			touched |= events_concern_us(h, s->scope, s->own_port);
	}
}

int overlay_events_fd(struct overlay *o)
{
	return o->events->epoll_fd;
}

bool overlay_events_drain(struct overlay *o)
{
	struct epoll_event ev[32];
	bool touched = false;
	int n;

	pthread_mutex_lock(&o->events->lock);
	while ((n = epoll_wait(o->events->epoll_fd, ev, array_size(ev), 0)) > 0)
		for (int i = 0; i < n; i++)
			touched |= drain_one(ev[i].data.ptr);
	pthread_mutex_unlock(&o->events->lock);
	return touched;
}
