// SPDX-License-Identifier: Apache-2.0
/* The sending side of a blob.
 *
 *   opening -job-> reading -job-> sending -> reading ... -> end
 *                                   |  ^
 *                        no credit  +--+ on_drain
 *
 * The happy path is: a job opens the file, a job reads a piece, the loop sends it, the next job reads on.
 * What can fail: a hash that is no hash or not here (NOT_FOUND, before any path is made of it), a disk that
 * fails, a caller that goes away, which a running job learns when it is done; too many streams, or one that is not
 * taken. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/archive.h"
#include "worker/galera/blob.h"

#define PIECE (256u << 10)
#define STREAMS_NODE_MAX 4 /* a member each, on one node; a lost connection's may linger */
#define STREAMS_MAX 32     /* 8 MiB of pieces, and a file open each */
#define STARVE_MS 60000    /* a receiver whose disk hangs asks again, from where it stopped */
#define STREAM_MAGIC MAGIC('b', 'l', 'o', 'b')

struct blob_server {
	uv_loop_t *loop;
	char *dir;
	uint64_t starve_ms;
	struct stream *streams;
	bool closed;
};

struct stream {
	uint32_t magic;
	struct blob_server *server;
	struct stream *next, *prev;
	char node_id[ID_LEN + 1];
	struct loop_timer starve; /* runs while a piece waits for credit */
	struct rpc_call *call;    /* NULL: the caller has gone */
	char *path;
	int fd; /* -1: not open yet */
	uint64_t offset, total;
	uint8_t *piece;
	size_t len; /* of the piece that waits to be sent */
	bool in_job;
	struct err err;
};

static void server_free_if_over(struct blob_server *b)
{
	if (!b->closed || b->streams)
		return;
	free(b->dir);
	free(b);
}

static void on_stream_closed(void *arg)
{
	struct stream *s = magic_of(struct stream, STREAM_MAGIC, arg);

	magic_end(s);
	free(s);
}

/* Its place is free at once, its timer from the loop. */
static void stream_free(struct stream *s)
{
	struct blob_server *b = s->server;

	bug_if(s->in_job);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->piece);
	dl_drop(b->streams, s);
	loop_timer_stop(&s->starve);
	loop_timer_close(&s->starve, on_stream_closed);
	server_free_if_over(b);
}

static void stream_step(struct stream *s);

/* ---- jobs ---- */

static void on_job_done(void *arg)
{
	struct stream *s = magic_of(struct stream, STREAM_MAGIC, arg);

	bug_if(!s->in_job);
	s->in_job = false;
	stream_step(s);
}

static int open_file(struct stream *s)
{
	struct stat st;

	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (s->fd < 0 || fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(&s->err, E_NOT_FOUND, "no such blob here");
	s->total = (uint64_t)st.st_size;
	if (s->offset > s->total)
		return err_set(&s->err, E_INVALID, "the blob has %llu bytes", (unsigned long long)s->total);
	return 0;
}

static void read_work(void *arg)
{
	struct stream *s = arg;
	ssize_t n;

	if (s->fd < 0 && open_file(s) < 0)
		return;
	n = pread(s->fd, s->piece, PIECE, (off_t)s->offset);
	if (n < 0)
		err_errno(&s->err, errno, "read the blob");
	else
		s->len = (size_t)n;
}

static void read_start(struct stream *s)
{
	bug_if(s->in_job || s->len);
	s->in_job = true;
	loop_work(s->server->loop, read_work, on_job_done, s);
}

/* ---- the call ---- */

/* False: no credit, on_drain comes. */
static bool send_piece(struct stream *s)
{
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;

	chunk.data = (ProtobufCBinaryData){s->len, s->piece};
	chunk.total = s->total;
	chunk.offset = s->offset;
	if (rpc_event(s->call, &chunk.base) < 0) {
		loop_timer_set(&s->starve, s->server->starve_ms);
		return false;
	}
	loop_timer_stop(&s->starve);
	s->offset += s->len;
	s->len = 0;
	return true;
}

static void stream_step(struct stream *s)
{
	struct rpc_call *call = s->call;

	if (s->in_job)
		return;
	if (!call) {
		stream_free(s);
	} else if (s->err.code) {
		struct err e = s->err;

		stream_free(s);
		rpc_fail(call, &e);
	} else if (!s->len) { /* read to the end, an empty blob too */
		stream_free(s);
		rpc_end(call);
	} else if (send_piece(s)) {
		read_start(s);
	}
}

static void on_starved(void *arg)
{
	struct stream *s = magic_of(struct stream, STREAM_MAGIC, arg);

	if (s->in_job || !s->call)
		return;
	err_set(&s->err, E_DEADLINE, "the blob was not taken in %llu ms",
		(unsigned long long)s->server->starve_ms);
	stream_step(s);
}

static void on_drain(struct rpc_call *call, void *arg)
{
	struct stream *s = magic_of(struct stream, STREAM_MAGIC, arg);

	if (!s->in_job && send_piece(s))
		read_start(s);
}

static void on_cancelled(struct rpc_call *call, void *arg)
{
	struct stream *s = magic_of(struct stream, STREAM_MAGIC, arg);

	s->call = NULL;
	stream_step(s);
}

static int check_room(const struct blob_server *b, const char *node_id, struct err *e)
{
	unsigned all = 0, of_node = 0;

	for (const struct stream *s = b->streams; s; s = s->next) {
		all++;
		of_node += strcmp(s->node_id, node_id) == 0;
	}
	if (of_node >= STREAMS_NODE_MAX || all >= STREAMS_MAX)
		return err_set(e, E_LIMIT, "%u blobs are being sent, %u of them to node %s: try again", all,
			       of_node, node_id);
	return 0;
}

void blob_serve(struct blob_server *b, struct rpc_call *call, const Gs__BlobRequest *req)
{
	const char *node_id = rpc_call_peer(call)->node_id;
	struct stream *s;
	struct err e = {0};

	bug_if(b->closed);
	if (!sha256_is_valid(req->sha256))
		err_set(&e, E_NOT_FOUND, "no blob %.64s here", req->sha256);
	else
		check_room(b, node_id, &e);
	if (e.code) {
		rpc_fail(call, &e);
		return;
	}
	s = xcalloc(1, sizeof(*s));
	magic_set(s, STREAM_MAGIC);
	s->server = b;
	snprintf(s->node_id, sizeof(s->node_id), "%s", node_id);
	dl_add(b->streams, s);
	loop_timer_init(&s->starve, b->loop, on_starved, s);
	s->call = call;
	s->path = xasprintf("%s/%s", b->dir, req->sha256);
	s->fd = -1;
	s->offset = req->offset;
	s->piece = xmalloc(PIECE);
	rpc_call_on_cancel(call, on_cancelled, s);
	rpc_call_on_drain(call, on_drain, s);
	read_start(s);
}

/* ---- life ---- */

struct blob_server *blob_server_new(uv_loop_t *loop, const char *dir, uint64_t starve_ms)
{
	struct blob_server *b = xcalloc(1, sizeof(*b));

	b->loop = loop;
	b->dir = xstrdup(dir);
	b->starve_ms = starve_ms ? starve_ms : STARVE_MS;
	return b;
}

void blob_server_close(struct blob_server *b)
{
	bug_if(b->closed);
	b->closed = true;
	server_free_if_over(b);
}
