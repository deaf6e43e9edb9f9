// SPDX-License-Identifier: Apache-2.0
/* The happy path is: take all waiting namespaces, enter each, delete the group, sleep.
 * What can fail is: the namespace is gone, and the links with it; or a deletion is refused, then the links
 * stay in their group, unused, until adopt_done or the sweep asks again. The thread is the only one that
 * stays in another namespace; it takes no lock but the queue's. */
#include "overlay/reap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/kernel/links.h"

struct job {
	int fd; /* of the namespace; owned */
	dev_t dev;
	ino_t ino;
};

struct reaper {
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	pthread_t thread;
	bool started, stopping, busy;
	struct job *jobs;
	size_t n, cap;
};

void reap_init(struct overlay *o)
{
	o->reaper = xcalloc(1, sizeof(*o->reaper));
	pthread_mutex_init(&o->reaper->lock, NULL);
	pthread_cond_init(&o->reaper->wake, NULL);
	pthread_cond_init(&o->reaper->idle, NULL);
}

static void delete_group(int ns_fd)
{
	struct ifinfomsg ifi = {.ifi_family = AF_UNSPEC};
	struct nl_batch b = {0};
	struct nl_conn c;

	if (setns(ns_fd, CLONE_NEWNET) != 0 || nl_conn_open(&c, NETLINK_ROUTE, NULL) < 0)
		return;
	nl_put_u32(nl_batch_add(&b, RTM_DELLINK, 0, &ifi, sizeof(ifi), ENODEV), IFLA_GROUP, REAP_GROUP);
	(void)nl_batch_run(&c, &b, NULL);
	nl_conn_close(&c);
}

static void *reaper_main(void *arg)
{
	struct reaper *r = arg;

	pthread_mutex_lock(&r->lock);
	while (r->n > 0 || !r->stopping) {
		struct job *jobs = steal(r->jobs);
		size_t n = r->n;

		r->n = r->cap = 0;
		r->busy = n > 0;
		pthread_mutex_unlock(&r->lock);
		for (size_t i = 0; i < n; i++) {
			delete_group(jobs[i].fd);
			close(jobs[i].fd);
		}
		free(jobs);
		pthread_mutex_lock(&r->lock);
		r->busy = false;
		if (r->n > 0)
			continue;
		pthread_cond_broadcast(&r->idle);
		if (!r->stopping)
			pthread_cond_wait(&r->wake, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* Signals stay with the program's own threads. */
static bool start_thread(struct reaper *r)
{
	sigset_t all, old;

	if (r->started)
		return true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r->started = pthread_create(&r->thread, NULL, reaper_main, r) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r->started;
}

static bool is_waiting(const struct reaper *r, const struct ns *ns)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->jobs[i].ino == ns->ino && r->jobs[i].dev == ns->dev)
			return true;
	return false;
}

void reap_group(struct overlay *o, struct ns *ns)
{
	struct reaper *r = o->reaper;
	int fd;

	bug_if(ns->fd < 0);
	pthread_mutex_lock(&r->lock);
	if (!is_waiting(r, ns) && start_thread(r) && (fd = fcntl(ns->fd, F_DUPFD_CLOEXEC, 3)) >= 0) {
		if (r->n == r->cap) {
			r->cap = r->cap ? r->cap * 2 : 8;
			r->jobs = xrealloc(r->jobs, r->cap * sizeof(*r->jobs));
		}
		r->jobs[r->n++] = (struct job){fd, ns->dev, ns->ino};
		pthread_cond_signal(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
}

void reap_wait(struct overlay *o)
{
	struct reaper *r = o->reaper;

	pthread_mutex_lock(&r->lock);
	while (r->n > 0 || r->busy)
		pthread_cond_wait(&r->idle, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void reap_fini(struct overlay *o)
{
	struct reaper *r = o->reaper;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	if (r->started)
		pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->wake);
	pthread_cond_destroy(&r->idle);
	pthread_mutex_destroy(&r->lock);
	free(r);
	o->reaper = NULL;
}

/* Down in a request of its own: older kernels do not rename a link that is up. */
int reap_link(struct overlay *o, struct ns *ns, const char *name, struct err *e)
{
	struct nl_batch b = {0};
	char doomed[NAME_MAX_LEN];
	struct nl_msg *m;
	struct link l;
	int rc = link_get(&ns->nl, name, &l, e);

	bug_if(!*name);
	if (rc < 0)
		return rc == -ENODEV ? 0 : rc;
	snprintf(doomed, sizeof(doomed), "gx%d", l.index);
	link_add_down(&b, l.index);
	m = link_change(&b, l.index, NULL, false);
	nl_put_text(m, IFLA_IFNAME, doomed);
	nl_put_u32(m, IFLA_GROUP, REAP_GROUP);
	rc = nl_batch_run(&ns->nl, &b, e);
	if (rc < 0)
		return rc == -ENODEV ? 0 : err_wrap(e, "give up link %s", name);
	reap_group(o, ns);
	return 0;
}

bool reap_is_given_up(struct ns *ns, const struct link *link, struct link *ret_other)
{
	struct links links;
	const struct link *l;
	bool found;

	if (links_dump(&ns->nl, &links, NULL) < 0)
		return false;
	l = links_find_index(&links, link->peer);
	found = l && l->group == REAP_GROUP && link_is_pair(l, link);
	if (found)
		*ret_other = *l;
	links_fini(&links);
	return found;
}
