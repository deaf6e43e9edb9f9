// SPDX-License-Identifier: Apache-2.0
/* A task's log: its rotation, and its way to whoever asks for it.
 *
 * The happy path is: connect to the session's manager, subscribe, and for each demand read the wanted lines and
 * then what is added, in pushes of about 64 KiB. Files are read on the pool. What can fail is the connection
 * (demands are dropped; the manager asks again) and a log that is not there (told in the push).
 * Rotation: a log over 10 MiB becomes log.1 and conmon opens a new one. */
#include "worker/session/logs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bug.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/client.h"
#include "proto/schema/dispatch.pb-c.h"
#include "worker/runtime/conmon_log.h"
#include "worker/task/table.h"

#define ROTATE_BYTES (10l << 20)
#define ROTATE_LOOK_MS 10000
#define FOLLOW_MS 200
#define CHUNK_BYTES (64u << 10)
#define LOOK_BYTES (4u << 20) /* of lines too old to be sent, before the loop is asked again */
#define RETRY_MS 1000
#define DEMAND_MAGIC MAGIC('d', 'm', 'n', 'd')

struct demand {
	uint32_t magic;
	struct demand *next;
	struct logs *l;
	char *id, *path;
	int32_t tail;
	int64_t since_ms;
	bool follow, stopped, busy, ended;
	/* The job's while it reads: */
	struct conmon_log *log;
	Gs__LogPush *lines;
	size_t lines_bytes;
	int got; /* what conmon_log_read said last */
	struct err error;
};

struct logs {
	struct worker *w;
	struct rpc_client *client;
	char manager[80], session_id[64];
	struct demand *list;
	struct loop_timer rotate, follow, retry;
	bool wanted, closing;
	unsigned handles; /* timers and the client */
	unsigned busy;    /* calls and jobs under way */
};

static void logs_free_if_closed(struct logs *l)
{
	if (l->closing && l->handles == 0 && l->busy == 0)
		free(l);
}

/* ---- rotation ---- */

static void rotate_one(struct task *t, const char *path, void *arg)
{
	struct stat st;
	cleanup_free char *old = xasprintf("%s.1", path);

	if (stat(path, &st) < 0) {
		/* A worker that was killed right after the rename has not told conmon. */
		if (errno == ENOENT && stat(old, &st) == 0)
			task_log_reopen(t);
		return;
	}
	if (st.st_size < ROTATE_BYTES)
		return;
	if (rename(path, old) < 0) {
		log_warn("rotate %s: %s", path, strerror(errno));
		return;
	}
	task_log_reopen(t);
}

static void on_rotate(void *arg)
{
	struct logs *l = arg;

	if (l->w->tasks)
		tasks_each_log(l->w->tasks, rotate_one, l);
}

/* ---- demands ----
 *
 *   demand_pump -> [job: open, read] -> read_done -> push -> on_pushed -> demand_pump ...
 *                                           | nothing new while following: the follow timer
 *
 * One job or one push is under way for a demand, never both; who ends it looks whether the demand is still
 * wanted. */

static void close_work(void *arg)
{
	conmon_log_free(arg);
}

static void close_back(void *arg)
{
}

static void demand_free(struct demand *d)
{
	bug_if(d->busy);
	if (d->log) /* the last close of a truncated file writes it out: a matter for the pool */
		loop_work(d->l->w->loop, close_work, close_back, d->log);
	free(d->id);
	free(d->path);
	magic_end(d);
	free(d);
}

static void demand_drop(struct logs *l, struct demand *d)
{
	struct demand **p = &l->list;

	while (*p && *p != d)
		p = &(*p)->next;
	bug_if(!*p);
	*p = d->next;
	demand_free(d);
}

/* Nobody waits for it any more: at once, or when what is under way has ended. */
static void demand_stop(struct logs *l, struct demand *d)
{
	d->stopped = true;
	if (!d->busy)
		demand_drop(l, d);
}

static void demand_pump(struct demand *d);

/* The job or push of d has ended. false: d is gone, and perhaps l. */
static bool demand_idle(struct demand *d)
{
	struct logs *l = d->l;

	bug_if(!d->busy || l->busy == 0);
	d->busy = false;
	l->busy--;
	if (!d->stopped)
		return true;
	demand_drop(l, d);
	logs_free_if_closed(l);
	return false;
}

static void demand_busy(struct demand *d)
{
	bug_if(d->busy || d->stopped);
	d->busy = true;
	d->l->busy++;
}

static void on_pushed(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct demand *d = magic_of(struct demand, DEMAND_MAGIC, arg);

	d->stopped = d->stopped || d->ended || !resp;
	if (demand_idle(d))
		demand_pump(d);
}

static void push(struct demand *d, Gs__LogPush *take_m)
{
	/* No deadline: the answer waits for the reader's screen, and comes when the connection ends. */
	struct rpc_call_spec spec = {.service = RPC_LOG_BROKER,
				     .method = LOG_BROKER_PUSH,
				     .req = &take_m->base,
				     .done = on_pushed,
				     .arg = d};

	str_replace(&take_m->id, d->id);
	d->ended = take_m->end;
	demand_busy(d);
	rpc_call_start(d->l->client, &spec);
	obj_free(take_m);
}

static void on_line(const struct conmon_record *line, void *arg)
{
	struct demand *d = magic_of(struct demand, DEMAND_MAGIC, arg);
	Gs__LogChunk *c;

	if (line->time_ns / 1000000 < d->since_ms)
		return;
	c = obj_new(&gs__log_chunk__descriptor);
	c->time_ms = line->time_ns / 1000000;
	c->sub_ns = (uint32_t)(line->time_ns % 1000000);
	c->is_stderr = line->is_stderr;
	obj_bytes_set(&c->line, line->text, line->len);
	obj_add(&d->lines->n_lines, &d->lines->lines, c);
	d->lines_bytes += line->len;
}

/* On the pool; d is the job's while it is busy. */
static void read_work(void *arg)
{
	struct demand *d = magic_of(struct demand, DEMAND_MAGIC, arg);
	size_t seen = 0;

	d->lines = obj_new(&gs__log_push__descriptor);
	d->lines_bytes = 0;
	err_clear(&d->error);
	if (!d->log && conmon_log_open(d->path, d->tail, d->follow, &d->log, &d->error))
		return;
	do {
		d->got = conmon_log_read(d->log, CHUNK_BYTES, on_line, d, &d->error);
		seen += d->got > 0 ? (size_t)d->got : 0;
	} while (d->got > 0 && d->lines_bytes < CHUNK_BYTES && seen < LOOK_BYTES);
	if (d->got == 0 && !d->follow)
		conmon_log_end(d->log, on_line, d);
}

static void read_done(void *arg)
{
	struct demand *d = magic_of(struct demand, DEMAND_MAGIC, arg);
	cleanup(obj_free_p) Gs__LogPush *m = steal(d->lines);

	if (!demand_idle(d))
		return;
	if (!d->l->client) {
		demand_drop(d->l, d);
		return;
	}
	if (d->error.code == -ENOENT)
		str_replace(&m->error, "no log of this task on the node");
	else if (d->error.code)
		str_replace(&m->error, d->error.msg);
	m->end = d->error.code != 0 || (d->got == 0 && !d->follow);
	if (m->end || m->n_lines > 0)
		push(d, steal(m));
	else if (d->got > 0)
		demand_pump(d);
	else if (!uv_is_active((uv_handle_t *)&d->l->follow.uv))
		loop_timer_set(&d->l->follow, FOLLOW_MS);
}

static void demand_pump(struct demand *d)
{
	if (d->busy || !d->l->client)
		return;
	demand_busy(d);
	loop_work(d->l->w->loop, read_work, read_done, d);
}

static void on_follow(void *arg)
{
	struct logs *l = arg;

	for (struct demand *d = l->list; d; d = d->next)
		demand_pump(d);
}

static void demand_start(struct logs *l, const Gs__LogDemand *in)
{
	struct demand *d = xcalloc(1, sizeof(*d));

	magic_set(d, DEMAND_MAGIC);
	d->l = l;
	d->id = xstrdup(in->id);
	/* An id is all that may become part of a path; of a task that is none there is no log. */
	d->path = xasprintf("%s/tasks/%s/log", l->w->dir, id_is_valid(in->task_id) ? in->task_id : "none");
	d->follow = in->follow;
	d->tail = in->tail;
	d->since_ms = in->since_ms;
	d->next = l->list;
	l->list = d;
	demand_pump(d);
}

static void on_demand(const ProtobufCMessage *event, void *arg)
{
	struct logs *l = arg;
	const Gs__LogDemand *in = (const Gs__LogDemand *)event;
	struct demand *d = l->list;

	if (l->closing || !l->client)
		return;
	while (d && strcmp(d->id, in->id) != 0)
		d = d->next;
	if (in->stop && d) {
		demand_stop(l, d);
	} else if (!in->stop && !d) {
		demand_start(l, in);
	}
}

/* ---- the connection ---- */

static void on_subscribe_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct logs *l = arg;

	l->busy--;
	if (!l->closing && l->client)
		rpc_client_close(l->client);
	logs_free_if_closed(l);
}

static void subscribe(struct logs *l)
{
	Gs__LogSubscribeRequest req = GS__LOG_SUBSCRIBE_REQUEST__INIT;
	struct rpc_call_spec spec = {.service = RPC_LOG_BROKER,
				     .method = LOG_BROKER_SUBSCRIBE,
				     .req = &req.base,
				     .on_event = on_demand,
				     .done = on_subscribe_done,
				     .arg = l};

	req.session_id = l->session_id;
	l->busy++;
	rpc_call_start(l->client, &spec);
}

static void on_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct logs *l = arg;
	struct demand *next;

	if (state == RPC_OPEN && !l->closing)
		subscribe(l);
	if (state != RPC_CLOSED)
		return;
	l->client = NULL;
	l->handles--;
	for (struct demand *d = l->list; d; d = next) {
		next = d->next;
		demand_stop(l, d);
	}
	if (!l->closing && l->wanted)
		loop_timer_set(&l->retry, RETRY_MS);
	logs_free_if_closed(l);
}

static void on_retry(void *arg)
{
	struct logs *l = arg;
	char host[64];
	uint16_t port;
	struct rpc_client_config config = {.ip = host,
					   .identity = l->w->identity,
					   .expect_manager = true,
					   .on_state = on_state,
					   .arg = l};

	if (!l->wanted || l->client ||
	    hostport_parse(l->manager, MANAGER_PORT, host, sizeof(host), &port, NULL) < 0)
		return;
	config.port = port;
	memcpy(config.cluster_id, l->w->state.cluster_id, sizeof(config.cluster_id));
	memcpy(config.node_id, l->w->state.node_id, sizeof(config.node_id));
	l->handles++;
	l->client = rpc_client_new(l->w->loop, &config);
}

void logs_session_opened(struct logs *l, const char *manager, const char *session_id)
{
	snprintf(l->manager, sizeof(l->manager), "%s", manager);
	snprintf(l->session_id, sizeof(l->session_id), "%s", session_id);
	l->wanted = true;
	if (l->client)
		rpc_client_close(l->client); /* an older session's; on_state dials the new one */
	else
		loop_timer_set(&l->retry, 0);
}

void logs_session_closed(struct logs *l)
{
	l->wanted = false;
	if (l->client)
		rpc_client_close(l->client);
}

struct logs *logs_new(struct worker *w)
{
	struct logs *l = xcalloc(1, sizeof(*l));

	l->w = w;
	loop_timer_init(&l->rotate, w->loop, on_rotate, l);
	loop_timer_init(&l->follow, w->loop, on_follow, l);
	loop_timer_init(&l->retry, w->loop, on_retry, l);
	l->handles = 3;
	loop_timer_every(&l->rotate, ROTATE_LOOK_MS, ROTATE_LOOK_MS);
	return l;
}

static void on_timer_closed(void *arg)
{
	struct logs *l = arg;

	l->handles--;
	logs_free_if_closed(l);
}

void logs_free(struct logs *l)
{
	if (!l || l->closing)
		return;
	l->closing = true;
	l->wanted = false;
	for (struct demand *d = l->list, *next; d; d = next) {
		next = d->next;
		demand_stop(l, d);
	}
	if (l->client)
		rpc_client_close(l->client);
	loop_timer_close(&l->rotate, on_timer_closed);
	loop_timer_close(&l->follow, on_timer_closed);
	loop_timer_close(&l->retry, on_timer_closed);
}
