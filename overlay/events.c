// SPDX-License-Identifier: Apache-2.0
/* The happy path is: one netlink socket per namespace joined to the groups that matter there, all in one
 * epoll fd; draining reads so much a turn and answers whether any of it was about us and not by us. What can fail
 * is: the kernel drops notifications (ENOBUFS), which counts as "yes, look". Has a lock of its own, so that
 * the loop's thread never waits for an attach on the pool. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"

#define LINKS_MAX 32
#define READS_A_TURN                                                                                         \
	64 /* of all sources; what is left keeps the epoll fd readable for the loop's next turn */

struct event_source {
	struct event_source *prev, *next;
	int fd;
	enum event_scope scope;
	uint32_t own_port;
	char name[128];
	/* Since events_take: */
	bool touched, all_links;
	char links[LINKS_MAX][NAME_MAX_LEN];
	size_t n_links;
};

struct events {
	pthread_mutex_t lock;
	int epoll_fd;
	struct event_source *sources;
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
	bug_if(o->events->sources);
	close(o->events->epoll_fd);
	pthread_mutex_destroy(&o->events->lock);
	free(o->events);
	o->events = NULL;
}

static uint32_t groups_of(enum event_scope scope)
{
	switch (scope) {
	case EVENTS_HOST:
		return RTMGRP_LINK | RTMGRP_IPV4_IFADDR | 1u << (RTNLGRP_IPV4_NETCONF - 1);
	case EVENTS_NETWORK:
		return RTMGRP_LINK | RTMGRP_NEIGH;
	case EVENTS_TASK:
		break;
	}
	return RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
}

/* Without the events the sweep still repairs, so a failure is no error. */
struct event_source *events_join(struct overlay *o, const char *name, enum event_scope scope,
				 uint32_t own_port)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = groups_of(scope)};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct event_source *s;
	struct epoll_event ev;

	if (fd < 0)
		return NULL;
	s = xcalloc(1, sizeof(*s));
	*s = (struct event_source){.fd = fd, .scope = scope, .own_port = own_port};
	snprintf(s->name, sizeof(s->name), "%s", name);
	ev = (struct epoll_event){.events = EPOLLIN, .data.ptr = s};
	pthread_mutex_lock(&o->events->lock);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
	    epoll_ctl(o->events->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		close(fd);
		free(s);
		s = NULL;
	} else {
		DL_APPEND(o->events->sources, s);
	}
	pthread_mutex_unlock(&o->events->lock);
	return s;
}

void events_leave(struct overlay *o, struct event_source *s)
{
	bug_if(s->fd < 0);
	pthread_mutex_lock(&o->events->lock);
	bug_if(!dl_is_linked(s));
	epoll_ctl(o->events->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	DL_DELETE(o->events->sources, s);
	close(s->fd);
	free(s);
	pthread_mutex_unlock(&o->events->lock);
}

static const char *link_of(const struct nlmsghdr *h)
{
	struct nlattr *name = NULL;

	if (h->nlmsg_type == RTM_NEWLINK || h->nlmsg_type == RTM_DELLINK)
		name = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct ifinfomsg), IFLA_IFNAME);
	else if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		name = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct ifaddrmsg), IFA_LABEL);
	return name ? nla_get_string(name) : "";
}

static bool is_leg(const char *link)
{
	return strncmp(link, "ge", 2) == 0;
}

/* ip_forward was written. A single link's value changes with each new link. */
static bool is_forwarding_of_all(const struct nlmsghdr *h)
{
	struct nlattr *index =
		nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct netconfmsg), NETCONFA_IFINDEX);

	return index && (int)nla_get_u32(index) == NETCONFA_IFINDEX_ALL;
}

/* Links of ours; any address but the loopback's, since answers to our tasks may come in where it is. */
static bool concerns_host(const struct nlmsghdr *h)
{
	const char *link = link_of(h);

	if (h->nlmsg_type == RTM_NEWNETCONF)
		return is_forwarding_of_all(h);
	if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR)
		return *link && strcmp(link, "lo") != 0;
	return is_leg(link) || strcmp(link, NAME_EGRESS_BRIDGE) == 0;
}

static void note_link(struct event_source *s, const char *link)
{
	if (s->scope != EVENTS_HOST || !is_leg(link))
		return;
	if (s->n_links == LINKS_MAX)
		s->all_links = true;
	else
		snprintf(s->links[s->n_links++], NAME_MAX_LEN, "%s", link);
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

static bool drain_one(struct event_source *s, unsigned *reads)
{
	char buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool touched = false;

	while (*reads > 0) {
		ssize_t n = recv(s->fd, buf, sizeof(buf), 0);
		int left = (int)n;

		(*reads)--;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			touched = s->all_links = true;
			continue;
		}
		if (n <= 0)
			return touched;
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, left); h = nlmsg_next(h, &left)) {
			if (!events_concern_us(h, s->scope, s->own_port))
				continue;
			touched = true;
			note_link(s, link_of(h));
		}
	}
	return touched;
}

int overlay_events_fd(struct overlay *o)
{
	return o->events->epoll_fd;
}

bool overlay_events_drain(struct overlay *o)
{
	struct epoll_event ev[32];
	unsigned reads = READS_A_TURN;
	bool touched = false;
	int n;

	pthread_mutex_lock(&o->events->lock);
	n = epoll_wait(o->events->epoll_fd, ev, array_size(ev), 0);
	for (int i = 0; i < n; i++) {
		struct event_source *s = ev[i].data.ptr;

		if (drain_one(s, &reads))
			touched = s->touched = true;
	}
	pthread_mutex_unlock(&o->events->lock);
	return touched;
}

void events_take(struct overlay *o, void (*each)(struct overlay *o, const struct event_note *note))
{
	struct event_source *s;

	pthread_mutex_lock(&o->events->lock);
	DL_FOREACH (o->events->sources, s) {
		struct event_note note = {s->scope, s->name, s->links, s->n_links, s->all_links};

		if (s->touched)
			each(o, &note);
		s->touched = s->all_links = false;
		s->n_links = 0;
	}
	pthread_mutex_unlock(&o->events->lock);
}
