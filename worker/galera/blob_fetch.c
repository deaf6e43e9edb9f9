// SPDX-License-Identifier: Apache-2.0
/* The happy path: one connection to the first peer, chunks into a temporary file, hash, rename. What can
 * fail: a peer is down or has no such blob (the next one is asked), sends more than it said or than 1 GiB, or
 * other bytes (the file is removed, the next peer is asked). After the last peer the last error is told. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/peer.pb-c.h"
#include "worker/galera/archive.h"
#include "worker/galera/peer.h"

#define FETCH_DEADLINE_MS 120000

struct blob_fetch {
	uv_loop_t *loop;
	char *sha256, *cluster_id, *node_id, *final, *tmp;
	char **peers;
	size_t n_peers, next;
	struct tls_identity *identity;
	void (*done)(const struct err *e, void *arg);
	void *arg;
	struct rpc_client *client;
	int fd;
	uint64_t got;
	bool is_here, is_cancelled;
	unsigned refs; /* the owner's, a job's, a client's */
	struct err err;
};

static void fetch_unref(struct blob_fetch *f)
{
	if (--f->refs)
		return;
	if (f->fd >= 0)
		close(f->fd);
	for (size_t i = 0; i < f->n_peers; i++)
		free(f->peers[i]);
	free(f->peers);
	free(f->sha256);
	free(f->cluster_id);
	free(f->node_id);
	free(f->final);
	free(f->tmp);
	if (f->identity)
		tls_identity_unref(f->identity);
	free(f);
}

static void fetch_next(struct blob_fetch *f);

static void fetch_end(struct blob_fetch *f, const struct err *e)
{
	if (!f->is_cancelled)
		f->done(e, f->arg);
	fetch_unref(f);
}

static void try_work(void *arg)
{
	struct blob_fetch *f = arg;
	char sha[SHA256_TEXT];
	uint64_t size;

	/* A hash that is none makes no path. */
	f->is_here = sha256_is_valid(f->sha256) && !sha256_file(f->final, sha, &size, NULL) &&
		     !strcmp(sha, f->sha256);
}

static void try_done(void *arg)
{
	struct blob_fetch *f = arg;

	if (f->is_here || f->is_cancelled)
		fetch_end(f, NULL);
	else
		fetch_next(f);
}

/* ---- a whole file came: is it the one? ---- */

static void check_work(void *arg)
{
	struct blob_fetch *f = arg;
	char sha[SHA256_TEXT];
	uint64_t size;

	f->is_here = false;
	if (fsync(f->fd) < 0 || sha256_file(f->tmp, sha, &size, &f->err))
		err_set(&f->err, -EIO, "blob could not be kept");
	else if (strcmp(sha, f->sha256))
		err_set(&f->err, E_CORRUPT, "%s sent other bytes than asked for", f->peers[f->next - 1]);
	else if (rename(f->tmp, f->final) < 0)
		err_errno(&f->err, errno, "keep %s", f->final);
	else
		f->is_here = true;
	if (!f->is_here)
		unlink(f->tmp);
}

static void check_done(void *arg)
{
	struct blob_fetch *f = arg;

	close(f->fd);
	f->fd = -1;
	try_done(f);
}

/* ---- one peer ---- */

static void on_chunk(const ProtobufCMessage *event, void *arg)
{
	const Gs__BlobChunk *c = (const Gs__BlobChunk *)event;
	struct blob_fetch *f = arg;

	if (f->err.code || f->is_cancelled)
		return;
	f->got += c->data.len;
	if (c->total > ARCHIVE_MAX_BYTES || f->got > c->total)
		err_set(&f->err, E_LIMIT, "blob is larger than it may be");
	else if (write(f->fd, c->data.data, c->data.len) != (ssize_t)c->data.len)
		err_errno(&f->err, errno ? errno : EIO, "write blob");
	if (f->err.code)
		rpc_client_close(f->client);
}

static void on_fetched(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct blob_fetch *f = arg;

	if (e && e->code && !f->err.code)
		f->err = *e;
	if (f->client)
		rpc_client_close(f->client);
	if (f->is_cancelled || f->err.code) {
		unlink(f->tmp);
		close(f->fd);
		f->fd = -1;
		if (f->is_cancelled)
			fetch_end(f, NULL);
		else
			fetch_next(f);
		return;
	}
	loop_work(f->loop, check_work, check_done, f);
}

static void on_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct blob_fetch *f = arg;

	if (state != RPC_CLOSED)
		return;
	if (f->client == c)
		f->client = NULL;
	fetch_unref(f);
}

static void call_peer(struct blob_fetch *f)
{
	Gs__BlobRequest req = GS__BLOB_REQUEST__INIT;
	struct rpc_call_spec call = {.service = RPC_PEER,
				     .method = PEER_GET_BLOB,
				     .req = &req.base,
				     .deadline_ms = FETCH_DEADLINE_MS,
				     .on_event = on_chunk,
				     .done = on_fetched,
				     .arg = f};

	req.sha256 = f->sha256;
	req.galera_cluster_id = f->cluster_id;
	rpc_call_start(f->client, &call);
}

static void fetch_next(struct blob_fetch *f)
{
	struct rpc_client_config config = {.identity = f->identity, .on_state = on_state, .arg = f};
	struct err last = f->err;
	char host[64];

	if (f->next >= f->n_peers) {
		if (!last.code)
			err_set(&last, E_NOT_FOUND, "no peer holds it");
		fetch_end(f, &last);
		return;
	}
	err_clear(&f->err);
	f->got = 0;
	if (hostport_parse(f->peers[f->next++], 2378, host, sizeof(host), &config.port, &f->err)) {
		fetch_next(f);
		return;
	}
	f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->fd < 0) {
		err_errno(&f->err, errno, "write %s", f->tmp);
		f->next = f->n_peers;
		fetch_next(f);
		return;
	}
	config.ip = host;
	snprintf(config.node_id, sizeof(config.node_id), "%s", f->node_id);
	f->refs++;
	f->client = rpc_client_new(f->loop, &config);
	call_peer(f);
}

struct blob_fetch *blob_fetch_start(uv_loop_t *loop, const struct blob_fetch_spec *spec)
{
	struct blob_fetch *f = xcalloc(1, sizeof(*f));

	f->loop = loop;
	f->refs = 1;
	f->fd = -1;
	f->sha256 = xstrdup(spec->sha256);
	f->cluster_id = xstrdup(spec->galera_cluster_id);
	f->node_id = xstrdup(spec->node_id);
	f->final = xasprintf("%s/%s", spec->blob_dir, spec->sha256);
	/* Its own name: one that was cancelled a moment ago removes its file later. */
	f->tmp = xasprintf("%s/.fetch-%p", spec->blob_dir, (void *)f);
	f->peers = xcalloc(spec->n_peers + 1, sizeof(*f->peers));
	for (size_t i = 0; i < spec->n_peers && sha256_is_valid(f->sha256); i++)
		f->peers[f->n_peers++] = xstrdup(spec->peers[i]);
	f->identity = spec->identity ? tls_identity_ref(spec->identity) : NULL;
	f->done = spec->done;
	f->arg = spec->arg;
	fs_mkdir(spec->blob_dir, 0700, NULL);
	loop_work(loop, try_work, try_done, f);
	return f;
}

void blob_fetch_cancel(struct blob_fetch *f)
{
	f->is_cancelled = true;
	if (f->client)
		rpc_client_close(f->client);
}
