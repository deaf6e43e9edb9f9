// SPDX-License-Identifier: Apache-2.0
/* The happy path is: connect to the session's manager, subscribe, and for each demand read the file's end and
 * then what is added, in pushes of at most 64 KiB, one push under way per demand. What can fail is the
 * connection (demands are dropped; the manager asks again) and a log that is not there (told in the push).
 * Rotation: a log over 10 MiB becomes log.1 and conmon opens a new one. */
#include "worker/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/dispatch.pb-c.h"
#include "worker/tasks.h"

#define ROTATE_BYTES (10l << 20)
#define ROTATE_LOOK_MS 10000
#define FOLLOW_MS 200
#define CHUNK_BYTES (64 << 10)
#define TAIL_BYTES (1l << 20) /* how far back a tail looks */
#define RETRY_MS 1000

struct demand {
	struct demand *next;
	struct logs *l;
	char *id, *path;
	bool follow, stopped, in_flight, ended;
	int64_t since_ms;
	int fd;
	ino_t inode;
	off_t at;
};

struct logs {
	struct worker *w;
	struct rpc_client *client;
	char manager[80], session_id[64];
	struct demand *list;
	struct loop_timer rotate, follow, retry;
	bool wanted, closing;
	unsigned handles, calls;
};

bool log_line_parse(const char *line, size_t len, int64_t *ret_time_ms, bool *ret_is_stderr,
		    const char **ret_text, size_t *ret_len)
{
	struct tm tm = {0};
	int ms = 0, used = 0;
	char head[48] = "", stream[8], tag[4];
	const char *space = memchr(line, ' ', len), *dot;

	if (space == NULL || (size_t)(space - line) >= sizeof(head))
		return false;
	memcpy(head, line, (size_t)(space - line));
	if (sscanf(head, "%d-%d-%dT%d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
		   &tm.tm_sec) != 6)
		return false;
	dot = strchr(head, '.');
	if (dot != NULL)
		sscanf(dot + 1, "%3d", &ms);
	/* conmon writes local time with its offset; with TZ unset, as we start it, that is UTC. */
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_time_ms = (int64_t)timegm(&tm) * 1000 + ms;
	{
		cleanup_free char *rest = strndup(space + 1, len - (size_t)(space + 1 - line));

		if (sscanf(rest, "%7s %3s%n", stream, tag, &used) != 2)
			return false;
	}
	*ret_is_stderr = strcmp(stream, "stderr") == 0;
	*ret_text = space + 1 + used;
	if (*ret_text < line + len && **ret_text == ' ')
		(*ret_text)++;
	*ret_len = (size_t)(line + len - *ret_text);
	return true;
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

	if (l->w->tasks != NULL)
		tasks_each_log(l->w->tasks, rotate_one, l);
}

/* ---- demands ---- */

static void demand_free(struct demand *d)
{
	if (d->fd >= 0)
		close(d->fd);
	free(d->id);
	free(d->path);
	free(d);
}

static void demand_drop(struct logs *l, struct demand *d)
{
	struct demand **p = &l->list;

	while (*p != NULL && *p != d)
		p = &(*p)->next;
	if (*p != NULL)
		*p = d->next;
	demand_free(d);
}

static void demand_pump(struct demand *d);

static void on_pushed(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct demand *d = arg;
	struct logs *l = d->l;

	l->calls--;
	d->in_flight = false;
	if (l->closing || d->stopped || d->ended || resp == NULL) {
		bool gone = l->closing;

		demand_drop(l, d);
		if (gone && l->handles == 0 && l->calls == 0)
			free(l);
		return;
	}
	demand_pump(d);
}

static void push(struct demand *d, Gs__LogPush *m)
{
	struct rpc_call_spec spec = {.service = RPC_LOG_BROKER,
				     .method = LOG_BROKER_PUSH,
				     .req = &m->base,
				     .deadline_ms = 10000,
				     .done = on_pushed,
				     .arg = d};

	str_replace(&m->id, d->id);
	d->in_flight = true;
	d->ended = m->end;
	d->l->calls++;
	rpc_call_start(d->l->client, &spec);
	obj_free(m);
}

static void chunk_add(struct demand *d, Gs__LogPush *m, const char *line, size_t len)
{
	Gs__LogChunk *c;
	int64_t time_ms;
	bool is_stderr;
	const char *text;
	size_t text_len;

	if (!log_line_parse(line, len, &time_ms, &is_stderr, &text, &text_len) || time_ms < d->since_ms)
		return;
	c = obj_new(&gs__log_chunk__descriptor);
	c->time_ms = time_ms;
	c->is_stderr = is_stderr;
	obj_bytes_set(&c->line, text, text_len);
	obj_add(&m->n_lines, &m->lines, c);
}

/* Whole lines from the file; what is half written stays for the next time. */
static bool chunks_read(struct demand *d, Gs__LogPush *m)
{
	cleanup_free char *data = xmalloc(CHUNK_BYTES);
	ssize_t n = pread(d->fd, data, CHUNK_BYTES, d->at);
	size_t at = 0;

	while (n > 0 && at < (size_t)n) {
		const char *end = memchr(data + at, '\n', (size_t)n - at);

		if (end == NULL)
			break;
		chunk_add(d, m, data + at, (size_t)(end - data) - at);
		at = (size_t)(end - data) + 1;
	}
	if (at == 0 && n == CHUNK_BYTES)
		at = (size_t)n; /* a line longer than a chunk: conmon never writes one */
	d->at += (off_t)at;
	return at > 0;
}

/* The file was rotated away under us and is read to its end: go on with the new one. */
static bool demand_renew(struct demand *d)
{
	struct stat st;
	int fd;

	if (stat(d->path, &st) < 0 || st.st_ino == d->inode)
		return false;
	fd = open(d->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	close(d->fd);
	d->fd = fd;
	d->inode = st.st_ino;
	d->at = 0;
	return true;
}

static void demand_pump(struct demand *d)
{
	Gs__LogPush *m;

	if (d->in_flight || d->l->client == NULL)
		return;
	m = obj_new(&gs__log_push__descriptor);
	if (chunks_read(d, m) || (d->follow && demand_renew(d) && chunks_read(d, m))) {
		push(d, m);
		return;
	}
	if (!d->follow) {
		m->end = 1;
		push(d, m);
		return;
	}
	obj_free(m);
	if (!uv_is_active((uv_handle_t *)&d->l->follow.uv))
		loop_timer_set(&d->l->follow, FOLLOW_MS);
}

static void on_follow(void *arg)
{
	struct logs *l = arg;
	struct demand *next;

	for (struct demand *d = l->list; d != NULL; d = next) {
		next = d->next;
		demand_pump(d);
	}
}

static off_t tail_start(int fd, int32_t tail)
{
	struct stat st;
	cleanup_free char *data = NULL;
	off_t from;
	ssize_t n;

	if (tail < 0 || fstat(fd, &st) < 0)
		return 0;
	from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
	data = xmalloc(TAIL_BYTES);
	n = pread(fd, data, TAIL_BYTES, from);
	for (ssize_t i = n - 1; i >= 0; i--)
		if (data[i] == '\n' && tail-- == 0)
			return from + i + 1;
	return from;
}

static void demand_fail(struct logs *l, struct demand *d, const char *text)
{
	Gs__LogPush *m = obj_new(&gs__log_push__descriptor);

	str_replace(&m->error, text);
	m->end = 1;
	push(d, m);
}

static void demand_start(struct logs *l, const Gs__LogDemand *in)
{
	struct demand *d = xcalloc(1, sizeof(*d));
	struct stat st;

	d->l = l;
	d->id = xstrdup(in->id);
	d->path = xasprintf("%s/tasks/%s/log", l->w->dir, in->task_id);
	d->follow = in->follow;
	d->since_ms = in->since_ms;
	d->fd = id_is_valid(in->task_id) ? open(d->path, O_RDONLY | O_CLOEXEC) : -1;
	d->next = l->list;
	l->list = d;
	if (d->fd < 0 || fstat(d->fd, &st) < 0) {
		demand_fail(l, d, "no log of this task on the node");
		return;
	}
	d->inode = st.st_ino;
	/* tail 0 and below: everything */
	d->at = tail_start(d->fd, in->tail > 0 ? in->tail : -1);
	demand_pump(d);
}

static void on_demand(const ProtobufCMessage *event, void *arg)
{
	struct logs *l = arg;
	const Gs__LogDemand *in = (const Gs__LogDemand *)event;
	struct demand *d = l->list;

	if (l->closing || l->client == NULL)
		return;
	while (d != NULL && strcmp(d->id, in->id) != 0)
		d = d->next;
	if (in->stop && d != NULL) {
		d->stopped = true;
		if (!d->in_flight)
			demand_drop(l, d);
	} else if (!in->stop && d == NULL) {
		demand_start(l, in);
	}
}

/* ---- the connection ---- */

static void on_subscribe_done(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct logs *l = arg;

	l->calls--;
	if (!l->closing && l->client != NULL)
		rpc_client_close(l->client);
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
	l->calls++;
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
	for (struct demand *d = l->list; d != NULL; d = next) {
		next = d->next;
		if (!d->in_flight)
			demand_drop(l, d);
	}
	if (l->closing && l->handles == 0 && l->calls == 0)
		free(l);
	else if (!l->closing && l->wanted)
		loop_timer_set(&l->retry, RETRY_MS);
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

	if (!l->wanted || l->client != NULL ||
	    hostport_parse(l->manager, 2377, host, sizeof(host), &port, NULL) < 0)
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
	if (l->client != NULL)
		rpc_client_close(l->client); /* an older session's; on_state dials the new one */
	else
		loop_timer_set(&l->retry, 0);
}

void logs_session_closed(struct logs *l)
{
	l->wanted = false;
	if (l->client != NULL)
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
	if (l->handles == 0 && l->calls == 0)
		free(l);
}

void logs_free(struct logs *l)
{
	if (l == NULL || l->closing)
		return;
	l->closing = true;
	l->wanted = false;
	for (struct demand *d = l->list, *next; d != NULL; d = next) {
		next = d->next;
		if (!d->in_flight)
			demand_drop(l, d);
	}
	if (l->client != NULL)
		rpc_client_close(l->client);
	loop_timer_close(&l->rotate, on_timer_closed);
	loop_timer_close(&l->follow, on_timer_closed);
	loop_timer_close(&l->retry, on_timer_closed);
}
