// SPDX-License-Identifier: Apache-2.0
/* WatchService: the service's detail at once, and again after changes.
 *
 * The happy path is: a change in the store arms one timer; when it fires each watcher whose detail differs
 * from the last one it got is sent a new one. What can fail is: a slow reader (its window is full): it gets
 * the newest detail when there is room; a detail that does not fit into a message (detail_fit); a removed service
 * ends the stream. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "manager/api/internal.h"

#define COALESCE_MS 20

struct watcher {
	struct watcher *next;
	struct watches *all;
	struct rpc_call *call;
	char service_id[ID_LEN + 1];
	Gs__ServiceDetail *last;
};
struct watches {
	struct context *ctx;
	struct watcher *first;
	struct loop_timer timer;
	bool armed, closed;
};

static void watcher_free(struct watcher *w)
{
	struct watcher **p = &w->all->first;

	bug_if_off_loop();
	while (*p && *p != w)
		p = &(*p)->next;
	bug_if(!*p); /* it was watching */
	*p = w->next;
	obj_free(w->last);
	free(w);
}

/* false: the stream has ended and w is gone. */
static bool watcher_send(struct watcher *w)
{
	const Gs__Service *svc = store_service(w->all->ctx->store, w->service_id);
	struct rpc_call *call = w->call;
	struct err e = {0};
	struct detail d;
	int rc;

	if (!svc) {
		watcher_free(w);
		rpc_end(call);
		return false;
	}
	detail_of_service(w->all->ctx->store, svc, &d);
	rc = detail_fit(&d, &e);
	if (rc == 0 && !obj_equal(&d.msg, w->last) && rpc_event(call, &d.msg.base) == 0) {
		obj_free(w->last);
		w->last = obj_dup(&d.msg);
	}
	detail_fini(&d);
	if (rc == 0)
		return true;
	watcher_free(w);
	rpc_fail(call, &e);
	return false;
}

static void on_timer(void *arg)
{
	struct watches *all = arg;
	struct watcher *next;

	bug_if(!all->armed || all->closed);
	all->armed = false;
	for (struct watcher *w = all->first; w; w = next) {
		next = w->next;
		watcher_send(w);
	}
}

void watches_changed(struct watches *all)
{
	if (all->armed || all->closed || !all->first)
		return;
	all->armed = true;
	loop_timer_set(&all->timer, COALESCE_MS);
}

static void on_cancel(struct rpc_call *call, void *arg)
{
	watcher_free(arg);
}

static void on_drain(struct rpc_call *call, void *arg)
{
	watcher_send(arg);
}

static void on_watch_service(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct api *api = magic_of(struct api, API_MAGIC, arg);
	const Gs__Service *svc;
	struct watcher *w;
	struct err e = {0};

	if (answer_unless_serving(api->ctx, call))
		return;
	svc = store_find(api->ctx->store, OBJ_SERVICE, ((const Gs__WatchServiceRequest *)msg)->ref, &e);
	if (!svc) {
		rpc_fail(call, &e);
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->all = api->watches;
	w->call = call;
	snprintf(w->service_id, sizeof(w->service_id), "%s", svc->meta->id);
	w->next = api->watches->first;
	api->watches->first = w;
	rpc_call_on_cancel(call, on_cancel, w);
	rpc_call_on_drain(call, on_drain, w);
	watcher_send(w);
}

struct watches *watches_new(struct context *ctx)
{
	struct watches *all = xcalloc(1, sizeof(*all));

	all->ctx = ctx;
	loop_timer_init(&all->timer, ctx->loop, on_timer, all);
	return all;
}

void watches_close(struct watches *all)
{
	if (all->closed)
		return;
	all->closed = true;
	loop_timer_close(&all->timer, NULL);
}

void watches_free(struct watches *all)
{
	while (all->first)
		watcher_free(all->first);
	free(all);
}

void watch_methods(rpc_handler table[CONTROL_METHODS])
{
	table[CONTROL_WATCH_SERVICE] = on_watch_service;
}
