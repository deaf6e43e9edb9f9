// SPDX-License-Identifier: Apache-2.0
/* The receiving side of a blob.
 *
 *   LOOKING --not here--> COMING --all bytes--> CHECKING --right--> LEAVING --> done
 *      |                  ^ |  ^                   |                   ^
 *      |        next peer +-+  +------ wrong ------+                   |
 *      +--here, or no place for it-----> nobody added anything, cancelled +
 *
 * LOOKING, CHECKING and LEAVING are jobs. While COMING, pieces gather in `next` and a job writes what had gathered
 * before; when the disk is slower than the peer the stream is paused. The happy path is one peer. What can fail: a
 * peer is down, silent or nearly so, or has no such blob (the next one is asked, from where the last one stopped);
 * it sends more than it said or more than may be; the bytes are wrong (all of them are fetched again from the next
 * peer). When every peer in turn has added nothing, the last error is told. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bug.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sm.h"
#include "proto/value/obj.h"
#include "worker/galera/archive.h"
#include "worker/galera/blob.h"
#include "proto/rpc/client.h"

#define STALL_MS 15000
#define NEXT_HIGH (512u << 10)   /* more than this waits to be written: pause the peer */
#define PROGRESS_MIN (64u << 10) /* a peer that added less, or less in STALL_MS, has added nothing */
#define FETCH_MAGIC MAGIC('f', 'e', 't', 'c')

enum fetch_state { FETCH_LOOKING, FETCH_COMING, FETCH_CHECKING, FETCH_LEAVING };

static const struct sm_state fetch_states[] = {
	{FETCH_LOOKING, "looking", SM(FETCH_COMING) | SM(FETCH_LEAVING)},
	{FETCH_COMING, "coming", SM(FETCH_COMING) | SM(FETCH_CHECKING) | SM(FETCH_LEAVING)},
	{FETCH_CHECKING, "checking", SM(FETCH_COMING) | SM(FETCH_LEAVING)},
	{FETCH_LEAVING, "leaving", 0},
};
static const struct sm_kind fetch_kind = SM_KIND("blob", fetch_states, NULL);

struct blob_fetch {
	uint32_t magic;
	struct sm sm;
	uv_loop_t *loop;
	char *sha256, *cluster_id, *node_id, *dir, *final, *tmp;
	char **peers;
	size_t n_peers, turn; /* turn: whose it is, counted on */
	size_t idle;          /* peers in a row that added nothing */
	size_t wrong;         /* times that all bytes came and were not the right ones */
	struct tls_identity *identity;
	uint64_t stall_ms;
	void (*done)(const struct err *e, void *arg); /* NULL: cancelled */
	void *arg;

	struct rpc_client *client; /* NULL: none, also while an old one closes */
	struct rpc_req *call;      /* NULL: none, or it is over */
	unsigned n_clients;        /* not closed yet */
	struct loop_timer stall;
	bool stall_closed;

	int fd;
	uint64_t got, began_at, total; /* bytes kept; when this peer began; what it says */
	uint64_t stall_at;             /* bytes when the time for the next PROGRESS_MIN began */
	struct buf next, writing;
	bool in_job, is_paused;
	struct err err; /* what the last peer did wrong */
	/* A job's own while in_job. */
	bool is_here;
	struct err disk;
};

static void fetch_step(struct blob_fetch *f);

/* ---- life ---- */

static void fetch_free(struct blob_fetch *f)
{
	bug_if(f->fd >= 0 || f->in_job);
	for (size_t i = 0; i < f->n_peers; i++)
		free(f->peers[i]);
	free(f->peers);
	free(f->sha256);
	free(f->cluster_id);
	free(f->node_id);
	free(f->dir);
	free(f->final);
	free(f->tmp);
	buf_fini(&f->next);
	buf_fini(&f->writing);
	tls_identity_unref(f->identity);
	magic_end(f);
	free(f);
}

static void free_if_alone(struct blob_fetch *f)
{
	if (f->stall_closed && !f->n_clients)
		fetch_free(f);
}

static void on_stall_closed(void *arg)
{
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	f->stall_closed = true;
	free_if_alone(f);
}

static void on_job_done(void *arg)
{
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	bug_if(!f->in_job);
	f->in_job = false;
	fetch_step(f);
}

static void job_start(struct blob_fetch *f, void (*work)(void *arg))
{
	bug_if(f->in_job);
	f->in_job = true;
	loop_work(f->loop, work, on_job_done, f);
}

/* ---- jobs ---- */

static bool is_right(const char *path, const char *sha256)
{
	char sha[SHA256_TEXT];
	uint64_t size;

	return sha256_file(path, sha, &size, NULL) == 0 && strcmp(sha, sha256) == 0;
}

static void look_work(void *arg)
{
	struct blob_fetch *f = arg;

	if (!sha256_is_valid(f->sha256)) { /* and makes no path */
		err_set(&f->disk, E_NOT_FOUND, "no blob %.64s", f->sha256);
		return;
	}
	f->is_here = is_right(f->final, f->sha256);
	if (f->is_here || fs_mkdir(f->dir, 0700, &f->disk) < 0)
		return;
	f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->fd < 0)
		err_errno(&f->disk, errno, "write %s", f->tmp);
}

static void write_work(void *arg)
{
	struct blob_fetch *f = arg;

	for (size_t done = 0; done < f->writing.len;) {
		ssize_t n = write(f->fd, f->writing.data + done, f->writing.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_errno(&f->disk, n < 0 ? errno : EIO, "write %s", f->tmp);
			return;
		}
		done += (size_t)n;
	}
}

static void check_work(void *arg)
{
	struct blob_fetch *f = arg;

	if (fsync(f->fd) < 0)
		err_errno(&f->disk, errno, "keep %s", f->tmp);
	else if (!is_right(f->tmp, f->sha256))
		err_set(&f->disk, E_CORRUPT, "other bytes came than were asked for");
	else if (rename(f->tmp, f->final) < 0)
		err_errno(&f->disk, errno, "keep %s", f->final);
	else
		f->is_here = true;
	if (f->disk.code == E_CORRUPT && (ftruncate(f->fd, 0) < 0 || lseek(f->fd, 0, SEEK_SET) < 0))
		err_errno(&f->disk, errno, "empty %s", f->tmp);
}

static void leave_work(void *arg)
{
	struct blob_fetch *f = arg;

	if (f->fd < 0)
		return;
	if (!f->is_here)
		unlink(f->tmp);
	close(f->fd);
	f->fd = -1;
}

/* ---- one peer ---- */

/* What it sends from now on is not for us. */
static void peer_drop(struct blob_fetch *f)
{
	struct rpc_client *c = f->client;

	f->client = NULL;
	loop_timer_stop(&f->stall);
	if (c)
		rpc_client_close(c);
}

static void peer_failed(struct blob_fetch *f, int code, const char *why)
{
	err_set(&f->err, code, "%s: %s", f->peers[f->turn % f->n_peers], why);
	peer_drop(f);
}

static void on_stall(void *arg)
{
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	if (f->in_job) /* our own disk is what we wait for */
		loop_timer_set(&f->stall, f->stall_ms);
	else
		peer_failed(f, E_DEADLINE, f->got == f->stall_at ? "sends nothing" : "sends too little");
}

/* The peer has stall_ms for the next PROGRESS_MIN bytes, or for the rest. */
static void stall_begin(struct blob_fetch *f)
{
	f->stall_at = f->got;
	loop_timer_set(&f->stall, f->stall_ms);
}

static void on_chunk(const ProtobufCMessage *event, void *arg)
{
	const Gs__BlobChunk *c = (const Gs__BlobChunk *)event;
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	if (!f->client)
		return;
	f->total = c->total;
	if (c->total > ARCHIVE_MAX_BYTES || c->offset != f->got || c->data.len > c->total - f->got) {
		peer_failed(f, E_LIMIT, "sends more than it may");
		return;
	}
	f->got += c->data.len;
	buf_append(&f->next, c->data.data, c->data.len);
	if (f->got - f->stall_at >= PROGRESS_MIN || f->got == f->total)
		stall_begin(f);
	if (f->next.len >= NEXT_HIGH) {
		rpc_req_pause(f->call);
		f->is_paused = true;
	}
	fetch_step(f);
}

static void on_fetched(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	f->call = NULL;
	if (f->client && e && e->code)
		peer_failed(f, e->code, e->msg);
	else
		peer_drop(f);
	fetch_step(f);
}

static void on_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct blob_fetch *f = magic_of(struct blob_fetch, FETCH_MAGIC, arg);

	if (state != RPC_CLOSED)
		return;
	bug_if(f->client == c && f->call); /* its call has ended before */
	f->n_clients--;
	free_if_alone(f);
}

/* False: that is no address. */
static bool peer_call(struct blob_fetch *f)
{
	struct rpc_client_config config = {.identity = f->identity, .on_state = on_state, .arg = f};
	Gs__BlobRequest req = GS__BLOB_REQUEST__INIT;
	struct rpc_call_spec call = {.service = RPC_PEER,
				     .method = PEER_GET_BLOB,
				     .req = &req.base,
				     .on_event = on_chunk,
				     .done = on_fetched,
				     .arg = f};
	char host[64];

	f->began_at = f->got;
	f->total = 0;
	if (hostport_parse(f->peers[f->turn % f->n_peers], PEER_PORT, host, sizeof(host), &config.port,
			   &f->err))
		return false;
	config.ip = host;
	snprintf(config.node_id, sizeof(config.node_id), "%s", f->node_id);
	req.sha256 = f->sha256;
	req.galera_cluster_id = f->cluster_id;
	req.offset = f->got;
	err_clear(&f->err);
	f->n_clients++;
	f->client = rpc_client_new(f->loop, &config);
	f->call = rpc_call_start(f->client, &call);
	stall_begin(f);
	return true;
}

/* ---- what next ---- */

static void leave(struct blob_fetch *f)
{
	sm_go(&f->sm, FETCH_LEAVING);
	job_start(f, leave_work);
}

/* The one whose turn it is, or the next that has an address. */
static void ask_peers(struct blob_fetch *f)
{
	while (f->done && f->idle < f->n_peers && f->wrong <= f->n_peers) {
		sm_go(&f->sm, FETCH_COMING);
		if (peer_call(f))
			return;
		f->idle++;
		f->turn++;
	}
	leave(f);
}

static void next_peer(struct blob_fetch *f)
{
	f->idle = f->got >= f->began_at + PROGRESS_MIN ? 0 : f->idle + 1;
	f->turn++;
	ask_peers(f);
}

static void looked(struct blob_fetch *f)
{
	if (f->is_here || f->disk.code)
		leave(f);
	else
		ask_peers(f);
}

/* Write what has gathered; look at how the call went when all of it is on disk. */
static void coming(struct blob_fetch *f)
{
	f->writing.len = 0;
	if (f->disk.code || !f->done) { /* no other peer helps */
		peer_drop(f);
		if (!f->call)
			leave(f);
	} else if (f->next.len) {
		struct buf written = f->writing;

		f->writing = f->next;
		f->next = written;
		if (f->call && f->is_paused) {
			rpc_req_resume(f->call);
			stall_begin(f); /* it was us who stood still */
		}
		f->is_paused = false;
		job_start(f, write_work);
	} else if (f->call) {
		return;
	} else if (!f->err.code && f->got == f->total) {
		sm_go(&f->sm, FETCH_CHECKING);
		job_start(f, check_work);
	} else {
		if (!f->err.code)
			err_set(&f->err, E_CLOSED, "a peer ended too early");
		next_peer(f);
	}
}

static void checked(struct blob_fetch *f)
{
	if (f->disk.code != E_CORRUPT) {
		leave(f);
		return;
	}
	f->err = f->disk;
	err_clear(&f->disk);
	f->wrong++;
	f->got = f->began_at = 0; /* it has added nothing that is of use */
	next_peer(f);
}

static void left(struct blob_fetch *f)
{
	void (*done)(const struct err *e, void *arg) = f->done;

	if (f->disk.code)
		f->err = f->disk;
	else if (!f->err.code)
		err_set(&f->err, E_NOT_FOUND, "no peer holds it");
	f->done = NULL;
	if (done)
		done(f->is_here ? NULL : &f->err, f->arg);
	peer_drop(f);
	loop_timer_close(&f->stall, on_stall_closed);
}

static void fetch_step(struct blob_fetch *f)
{
	if (f->in_job)
		return;
	switch (sm_state(&f->sm)) {
	case FETCH_LOOKING:
		looked(f);
		break;
	case FETCH_COMING:
		coming(f);
		break;
	case FETCH_CHECKING:
		checked(f);
		break;
	case FETCH_LEAVING:
		left(f);
		break;
	}
}

/* ---- from outside ---- */

struct blob_fetch *blob_fetch_start(uv_loop_t *loop, const struct blob_fetch_spec *spec)
{
	struct blob_fetch *f = xcalloc(1, sizeof(*f));

	magic_set(f, FETCH_MAGIC);
	f->loop = loop;
	f->fd = -1;
	f->dir = xstrdup(spec->blob_dir);
	f->stall_ms = spec->stall_ms ? spec->stall_ms : STALL_MS;
	f->sha256 = xstrdup(spec->sha256);
	f->cluster_id = xstrdup(spec->galera_cluster_id);
	f->node_id = xstrdup(spec->node_id);
	f->final = xasprintf("%s/%s", spec->blob_dir, spec->sha256);
	/* Its own name: one that was cancelled a moment ago removes its file later. */
	f->tmp = xasprintf("%s/.fetch-%p", spec->blob_dir, (void *)f);
	f->peers = xcalloc(spec->n_peers + 1, sizeof(*f->peers));
	for (size_t i = 0; i < spec->n_peers; i++)
		f->peers[f->n_peers++] = xstrdup(spec->peers[i]);
	f->identity = spec->identity ? tls_identity_ref(spec->identity) : NULL;
	f->done = spec->done;
	f->arg = spec->arg;
	sm_init(&f->sm, &fetch_kind, FETCH_LOOKING, f->sha256);
	loop_timer_init(&f->stall, loop, on_stall, f);
	job_start(f, look_work);
	return f;
}

void blobs_tidy(const char *blob_dir)
{
	DIR *d = opendir(blob_dir);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (strncmp(entry->d_name, ".fetch-", 7) == 0 || strncmp(entry->d_name, ".pack-", 6) == 0)
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
}

void blob_fetch_cancel(struct blob_fetch *f)
{
	f->done = NULL;
	peer_drop(f); /* its call ends from the loop, and that leaves */
}
