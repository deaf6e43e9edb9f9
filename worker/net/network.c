// SPDX-License-Identifier: Apache-2.0
/* The networks' life: one pool job at a time brings the kernel to what rows.c declared. What the kernel refuses is
 * remembered by the overlay, which says when to try again; here it is only logged. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/net/internal.h"

#define EVENT_WAIT_MS 250 /* a change brings several events: look once they are over */

/* One job on the pool. It touches only the overlay, which has a lock of its own. */
struct job {
	struct net *n;
	void (*work)(struct job *j);
	void (*back)(struct job *j);
	struct overlay_pass pass;
	struct err err;
	char **keep; /* namespaces that stay, when adoption ends */
	size_t n_keep;
	char *text; /* of a dump */
	union {
		void (*removed)(const struct err *e, void *arg);
		void (*dumped)(const char *text, void *arg);
	} done;
	void *arg;
};

/* ---- jobs ---- */

static void net_gone(struct net *n);

static void on_work(void *arg)
{
	struct job *j = arg;

	j->work(j);
}

static void on_back(void *arg)
{
	struct job *j = arg;
	struct net *n = magic_of(struct net, NET_MAGIC, j->n);

	bug_if(n->jobs == 0);
	n->jobs--;
	j->back(j);
	for (size_t i = 0; i < j->n_keep; i++)
		free(j->keep[i]);
	free(j->keep);
	free(j->text);
	free(j);
	if (n->closing)
		net_gone(n);
}

static struct job *job_new(struct net *n, void (*work)(struct job *j), void (*back)(struct job *j))
{
	struct job *j = xcalloc(1, sizeof(*j));

	*j = (struct job){.n = n, .work = work, .back = back};
	return j;
}

static void job_start(struct job *j)
{
	bug_if_off_loop();
	j->n->jobs++;
	loop_work(j->n->w->loop, on_work, on_back, j);
}

/* ---- passes ---- */

void net_pass_soon(struct net *n, uint64_t wait_ms)
{
	int64_t due = (int64_t)uv_now(n->w->loop) + (int64_t)wait_ms;

	if (n->closing)
		return;
	if (n->passing) {
		n->pass_again |= wait_ms == 0;
		return;
	}
	if (n->pass_due_ms != 0 && n->pass_due_ms <= due)
		return;
	n->pass_due_ms = due;
	loop_timer_set(&n->pass, wait_ms);
}

static void pass_work(struct job *j)
{
	if (j->keep)
		overlay_adopt_done(j->n->overlay, (const char *const *)j->keep, j->n_keep, &j->err);
	if (j->err.code == 0)
		overlay_pass(j->n->overlay, &j->pass, &j->err);
	else
		overlay_pass(j->n->overlay, &j->pass, NULL);
}

static void pass_back(struct job *j)
{
	struct net *n = j->n;

	n->passing = false;
	n->repairs += j->pass.repairs;
	n->path_mtu = j->pass.path_mtu;
	if (j->pass.repairs > 0)
		log_info("overlay: mended %u objects", j->pass.repairs);
	if (j->err.code != 0)
		log_warn("overlay: %s; %u objects wait, next try in %u ms", j->err.msg, j->pass.waiting,
			 j->pass.wait_ms);
	net_pass_soon(n, n->pass_again ? 0 : j->pass.wait_ms);
	n->pass_again = false;
}

static void pass_start(struct net *n, char **take_keep, size_t n_keep)
{
	struct job *j = job_new(n, pass_work, pass_back);

	bug_if(n->passing);
	j->keep = take_keep;
	j->n_keep = n_keep;
	n->passing = true;
	job_start(j);
}

static void on_pass(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	n->pass_due_ms = 0;
	if (!n->passing)
		pass_start(n, NULL, 0);
}

static void on_events(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct net *n = magic_of(struct net, NET_MAGIC, poll->data);

	if (overlay_events_drain(n->overlay))
		net_pass_soon(n, EVENT_WAIT_MS);
}

/* Everything that runs has been declared again: what is left over in the kernel is nobody's. */
static void on_settle(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);
	char **keep;
	size_t n_keep;

	if (n->adopted)
		return;
	if (n->passing || !n->above.settled || !n->above.settled(n->above.arg)) {
		loop_timer_set(&n->settle, NET_SETTLE_MS);
		return;
	}
	n->adopted = true;
	n->above.names(&keep, &n_keep, n->above.arg);
	pass_start(n, keep, n_keep);
}

void net_listen(struct net *n, const struct net_above *above)
{
	bug_if(above && (!above->settled || !above->names));
	n->above = above ? *above : (struct net_above){0};
}

uint64_t net_repairs(const struct net *n)
{
	return n->repairs;
}

/* ---- the whole ---- */

static void dump_work(struct job *j)
{
	j->text = overlay_dump(j->n->overlay);
}

static void dump_back(struct job *j)
{
	struct net *n = j->n;
	struct buf out = {0};

	for (const struct network *net = n->nets; net; net = net->hh.next)
		buf_printf(&out, "network %s vni=%u mtu=%u declared=%d\n", net->id, net->o.vni, net->o.mtu,
			   net->declared);
	for (const struct ep *ep = n->eps; ep; ep = ep->hh.next)
		buf_printf(&out, "endpoint %s %s %s\n", ep->id, ep->name, ep->ip);
	buf_printf(&out, "repairs %llu\n%s", (unsigned long long)n->repairs, j->text ? j->text : "");
	j->done.dumped(buf_text(&out), j->arg);
	buf_fini(&out);
}

void net_dump(struct net *n, void (*done)(const char *text, void *arg), void *arg)
{
	struct job *j = job_new(n, dump_work, dump_back);

	j->done.dumped = done;
	j->arg = arg;
	job_start(j);
}

static void remove_work(struct job *j)
{
	overlay_remove_all(j->n->overlay, &j->err);
}

static void remove_back(struct job *j)
{
	if (j->err.code != 0)
		log_warn("overlay: remove all: %s", j->err.msg);
	j->done.removed(&j->err, j->arg);
}

void net_remove_all(struct net *n, void (*done)(const struct err *e, void *arg), void *arg)
{
	struct job *j = job_new(n, remove_work, remove_back);

	j->done.removed = done;
	j->arg = arg;
	job_start(j);
}

/* ---- life ---- */

static int open_overlay(struct worker *w, struct overlay **ret, struct err *e)
{
	cleanup_free char *helper = xasprintf("%s/gswarm-nft", w->exe_dir);
	struct overlay_config config = {
		.port = (uint16_t)(w->state.data_path_port != 0 ? w->state.data_path_port : DATA_PATH_PORT),
		.netns_dir = "/run/netns",
		.nft_helper = access(helper, X_OK) == 0 ? helper : NULL,
	};

	if (net_ip_of(w->state.data_path, &config.vtep, 32) < 0)
		return err_set(e, E_INVALID, "data path address %s is not numeric", w->state.data_path);
	return overlay_new(&config, ret, e);
}

void net_vtep_set(struct net *n, const char *ip)
{
	struct overlay_ip vtep;
	struct err e = {0};

	if (net_ip_of(ip, &vtep, 32) < 0 || overlay_vtep_set(n->overlay, &vtep, &e) < 0)
		log_warn("data path address %s is not numeric", ip);
	net_pass_soon(n, 0);
}

int net_new(struct worker *w, struct net **ret, struct err *e)
{
	struct net *n = xcalloc(1, sizeof(*n));

	n->w = w;
	if (open_overlay(w, &n->overlay, e) < 0) {
		free(n);
		return e->code;
	}
	magic_set(n, NET_MAGIC);
	loop_timer_init(&n->pass, w->loop, on_pass, n);
	loop_timer_init(&n->hosts, w->loop, net_on_hosts, n);
	loop_timer_init(&n->settle, w->loop, on_settle, n);
	n->handles = 3;
	if (uv_poll_init(w->loop, &n->events, overlay_events_fd(n->overlay)) == 0) {
		n->events.data = n;
		n->handles++;
		uv_poll_start(&n->events, UV_READABLE, on_events);
	}
	net_pass_soon(n, 0);
	*ret = n;
	return 0;
}

static void net_gone(struct net *n)
{
	struct network *net, *net_tmp;
	struct ep *ep, *ep_tmp;

	if (n->handles > 0 || n->jobs > 0)
		return;
	overlay_free(n->overlay);
	HASH_ITER (hh, n->eps, ep, ep_tmp) {
		HASH_DEL(n->eps, ep);
		free(ep);
	}
	HASH_ITER (hh, n->nets, net, net_tmp) {
		HASH_DEL(n->nets, net);
		free(net);
	}
	magic_end(n);
	free(n);
}

static void on_timer_closed(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	n->handles--;
	net_gone(n);
}

static void on_events_closed(uv_handle_t *h)
{
	on_timer_closed(h->data);
}

void net_free(struct net *n)
{
	if (!n || n->closing)
		return;
	n->closing = true;
	if (n->handles == 4)
		uv_close((uv_handle_t *)&n->events, on_events_closed);
	loop_timer_close(&n->pass, on_timer_closed);
	loop_timer_close(&n->hosts, on_timer_closed);
	loop_timer_close(&n->settle, on_timer_closed);
}
