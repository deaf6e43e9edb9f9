// SPDX-License-Identifier: Apache-2.0
/* What stands between libraft and its disk.
 *
 * The happy path is: every call goes through to raft_uv unchanged and is counted. What can fail is what
 * guard.h lists; each of these ends the process, because a replica that cannot keep what it promised
 * must not go on voting. Every one of them was measured. */
#include "manager/raft/guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/gap.h"
#include "base/mem.h"

#define WATCH_MS 250

#define APPEND_MAGIC MAGIC('g', 'a', 'p', 'p')
struct append {
	uint32_t magic;
	struct raft_io_append req;
	struct raft_guard *guard;
	struct raft_io_append *outer;
	raft_io_append_cb cb;
};
#define PUT_MAGIC MAGIC('g', 'p', 'u', 't')
struct put {
	uint32_t magic;
	struct raft_io_snapshot_put req;
	struct raft_guard *guard;
	struct raft_io_snapshot_put *outer;
	raft_io_snapshot_put_cb cb;
};

static struct raft_guard *guard_of(struct raft_io *io)
{
	return magic_of(struct raft_guard, GUARD_MAGIC, container_of(io, struct raft_guard, io));
}

/* rc of a write that must not fail. */
static int must(struct raft_guard *g, int rc, const char *what)
{
	struct err e = {0};

	if (rc == 0 || g->closing || rc == RAFT_CANCELED)
		return rc;
	err_set(&e, rc == RAFT_NOSPACE ? -ENOSPC : -EIO, "cannot write %s in %s: %s", what, g->dir,
		g->io.errmsg[0] ? g->io.errmsg : raft_strerror(rc));
	g->fatal(g->arg, &e);
	return rc;
}

static int guard_set_term(struct raft_io *io, raft_term term)
{
	return must(guard_of(io), guard_of(io)->inner.set_term(io, term), "the term");
}

static int guard_set_vote(struct raft_io *io, raft_id id)
{
	return must(guard_of(io), guard_of(io)->inner.set_vote(io, id), "the vote");
}

static void on_append(struct raft_io_append *req, int status)
{
	LOOP_SCOPE();
	struct append *a = magic_of(struct append, APPEND_MAGIC, container_of(req, struct append, req));
	struct raft_guard *g = a->guard;

	bug_if_off_loop();
	bug_if(g->appends == 0);
	g->appends--;
	g->quiet_ticks = 0;
	must(g, status, "log entries");
	a->cb(a->outer, status);
	magic_end(a);
	free(a);
}

static int guard_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
			unsigned n, raft_io_append_cb cb)
{
	struct raft_guard *g = guard_of(io);
	struct append *a = xcalloc(1, sizeof(*a));
	int rc;

	bug_if(n == 0 || !cb);
	magic_set(a, APPEND_MAGIC);
	a->guard = g;
	a->outer = req;
	a->cb = cb;
	g->appends++;
	rc = g->inner.append(io, &a->req, entries, n, on_append);
	if (rc) {
		g->appends--;
		free(a);
		must(g, rc, "log entries");
	}
	return rc;
}

static void on_put(struct raft_io_snapshot_put *req, int status)
{
	LOOP_SCOPE();
	struct put *p = magic_of(struct put, PUT_MAGIC, container_of(req, struct put, req));

	bug_if(!p->guard->putting);
	p->guard->putting = false;
	p->cb(p->outer, status);
	magic_end(p);
	free(p);
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
			      const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct raft_guard *g = guard_of(io);
	struct put *p = xcalloc(1, sizeof(*p));
	int rc;

	bug_if(g->putting); /* libraft writes one at a time */
	magic_set(p, PUT_MAGIC);
	p->guard = g;
	p->outer = req;
	p->cb = cb;
	g->putting = true;
	rc = g->inner.snapshot_put(io, trailing, &p->req, snapshot, on_put);
	if (rc) {
		g->putting = false;
		free(p);
	}
	return rc;
}

static void heard(struct raft_guard *g, raft_id id)
{
	for (int i = 0; i < RAFT_PEERS_MAX; i++) {
		if (g->peers[i].id != id && g->peers[i].id != 0)
			continue;
		g->peers[i].id = id;
		g->peers[i].heard_ms = uv_now(g->watch.uv.loop);
		return;
	}
}

static void guard_recv(struct raft_io *io, struct raft_message *m)
{
	struct raft_guard *g = guard_of(io);

	heard(g, m->server_id);
	if (m->type == RAFT_INSTALL_SNAPSHOT && g->putting) {
		raft_configuration_close(&m->install_snapshot.conf);
		raft_free(m->install_snapshot.data.base);
		g->dropped++;
		return;
	}
	bug_if(!g->recv);
	g->recv(io, m);
}

/* libraft reads each segment whole, 8 MiB with mostly zeros, and keeps that buffer for as long as one entry
 * of it is in the log. Move the entries of one batch into a buffer of their own size. */
static void compact_batch(struct raft_entry *entries, size_t n)
{
	void *old = entries[0].batch;
	size_t bytes = 0;
	uint8_t *p;

	for (size_t i = 0; i < n; i++)
		bytes += entries[i].buf.len;
	p = raft_malloc(bytes ? bytes : 8);
	if (!p)
		return;
	for (size_t i = 0; i < n; i++) {
		entries[i].batch = i == 0 ? p : entries[0].batch;
		memcpy(p, entries[i].buf.base, entries[i].buf.len);
		entries[i].buf.base = p;
		p += entries[i].buf.len;
	}
	bug_if(p != (uint8_t *)entries[0].batch + bytes);
	raft_free(old);
}

static int guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
		      struct raft_snapshot **snapshot, raft_index *start_index, struct raft_entry *entries[],
		      size_t *n_entries)
{
	int rc = guard_of(io)->inner.load(io, term, voted_for, snapshot, start_index, entries, n_entries);
	size_t from = 0, to;

	for (; rc == 0 && from < *n_entries; from = to) {
		to = from + 1;
		while (to < *n_entries && (*entries)[to].batch == (*entries)[from].batch)
			to++;
		if ((*entries)[from].batch)
			compact_batch(*entries + from, to - from);
	}
	return rc;
}

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
	struct raft_guard *g = guard_of(io);

	bug_if(g->recv || !recv);
	g->recv = recv;
	return g->inner.start(io, msecs, tick, guard_recv);
}

/* Counted in turns of the loop, not in time: a process that was stopped for a minute is not at fault. */
static void on_watch(void *arg)
{
	struct raft_guard *g = magic_of(struct raft_guard, GUARD_MAGIC, arg);
	struct err e = {0};

	if (g->appends == 0 || g->closing) {
		g->quiet_ticks = 0;
		return;
	}
	if (++g->quiet_ticks < g->quiet_limit)
		return;
	g->quiet_ticks = 0;
	err_set(&e, -EIO,
		"no write to %s has finished for %u ms: the disk is full or stalled; free space or repair it",
		g->dir, g->quiet_limit * WATCH_MS);
	g->fatal(g->arg, &e);
}

void raft_guard_wrap(struct raft_guard *g, uv_loop_t *loop, const char *dir, unsigned watchdog_ms,
		     void (*fatal)(void *arg, const struct err *e), void *arg)
{
	bug_if(!fatal || !g->io.append || strlen(dir) >= sizeof(g->dir));
	magic_set(g, GUARD_MAGIC);
	g->inner = g->io;
	g->fatal = fatal;
	g->arg = arg;
	g->quiet_limit = watchdog_ms / WATCH_MS;
	strncpy(g->dir, dir, sizeof(g->dir) - 1);
	g->io.set_term = guard_set_term;
	g->io.set_vote = guard_set_vote;
	g->io.append = guard_append;
	g->io.snapshot_put = guard_snapshot_put;
	g->io.start = guard_start;
	g->io.load = guard_load;
	loop_timer_init(&g->watch, loop, on_watch, g);
	loop_timer_every(&g->watch, WATCH_MS, WATCH_MS);
}

void raft_guard_closing(struct raft_guard *g)
{
	g->closing = true;
}

void raft_guard_close(struct raft_guard *g, void (*closed)(void *arg))
{
	bug_if(!g->closing);
	loop_timer_close(&g->watch, closed);
}
