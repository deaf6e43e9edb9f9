// SPDX-License-Identifier: Apache-2.0
/* The sending side of a blob.
 *
 *   opening -job-> reading -job-> sending -> reading ... -> end
 *                                   |  ^
 *                        no credit  +--+ on_drain
 *
 * The happy path is: a job opens the file, a job reads a piece, the loop sends it, the next job reads on.
 * What can fail: a hash that is no hash or not here (NOT_FOUND, before any path is made of it), a disk that
 * fails, a caller that goes away, which a running job learns when it is done. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/archive.h"
#include "worker/galera/blob.h"

#define PIECE (256u << 10)
#define STREAM_MAGIC MAGIC('b', 'l', 'o', 'b')

struct stream {
	uint32_t magic;
	uv_loop_t *loop;
	struct rpc_call *call; /* NULL: the caller has gone */
	char *path;
	int fd; /* -1: not open yet */
	uint64_t offset, total;
	uint8_t *piece;
	size_t len; /* of the piece that waits to be sent */
	bool in_job;
	struct err err;
};

static void stream_free(struct stream *s)
{
	bug_if(s->in_job);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->piece);
	magic_end(s);
	free(s);
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
	loop_work(s->loop, read_work, on_job_done, s);
}

/* ---- the call ---- */

/* False: no credit, on_drain comes. */
static bool send_piece(struct stream *s)
{
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;

	chunk.data = (ProtobufCBinaryData){s->len, s->piece};
	chunk.total = s->total;
	chunk.offset = s->offset;
	if (rpc_event(s->call, &chunk.base) < 0)
		return false;
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

void blob_serve(uv_loop_t *loop, const char *dir, struct rpc_call *call, const Gs__BlobRequest *req)
{
	struct stream *s;
	struct err e = {0};

	if (!sha256_is_valid(req->sha256)) {
		err_set(&e, E_NOT_FOUND, "no blob %.64s here", req->sha256);
		rpc_fail(call, &e);
		return;
	}
	s = xcalloc(1, sizeof(*s));
	magic_set(s, STREAM_MAGIC);
	s->loop = loop;
	s->call = call;
	s->path = xasprintf("%s/%s", dir, req->sha256);
	s->fd = -1;
	s->offset = req->offset;
	s->piece = xmalloc(PIECE);
	rpc_call_on_cancel(call, on_cancelled, s);
	rpc_call_on_drain(call, on_drain, s);
	read_start(s);
}
