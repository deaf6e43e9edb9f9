// SPDX-License-Identifier: Apache-2.0
/* Blobs (a cluster's first data directory, packed) between workers: Peer.GetBlob, by hash, in pieces. Files
 * are read and written by jobs; the loop only passes bytes on. */
#pragma once
#include <uv.h>

#include "base/err.h"
#include "proto/schema/peer.pb-c.h"
#include "proto/rpc/call.h"

/* ---- serving ---- */

/* Whom blobs are sent to: 4 streams a node, 32 in all, beyond that E_LIMIT. */
struct blob_server;
/* starve_ms: a stream that its caller lets wait for so long ends (E_DEADLINE); 0: 60 s. */
struct blob_server *blob_server_new(uv_loop_t *loop, const char *dir, uint64_t starve_ms);
/* No call afterwards; streams that are there go on to their end. */
void blob_server_close(struct blob_server *b);
/* Answers the call with dir/<sha256> from the asked offset on; E_NOT_FOUND when it is not here, or is no
 * hash. Ends with the call. */
void blob_serve(struct blob_server *b, struct rpc_call *call, const Gs__BlobRequest *req);

/* ---- fetching ---- */

/* Fetch a blob from `peers` ("ip:port") into blob_dir/<sha256>; at once when it is there already. What a
 * peer has sent is kept when it fails, and the next one (or itself, later) goes on from there. It gives up
 * when all peers in turn have added nothing. done fires exactly once, not from inside. */
struct blob_fetch;
struct blob_fetch_spec {
	const char *sha256, *galera_cluster_id, *blob_dir;
	char *const *peers;
	size_t n_peers;
	struct tls_identity *identity;
	const char *node_id;
	uint64_t stall_ms; /* a peer that sends less than 64 KiB in so long has failed; 0: 15 s */
	void (*done)(const struct err *e, void *arg); /* e NULL: it is there and its hash is right */
	void *arg;
};
/* Removes what fetches and packs of a worker that was killed left in blob_dir. Only before the first of ours. */
void blobs_tidy(const char *blob_dir);
/* Copies the spec. Never NULL; frees itself after done. */
struct blob_fetch *blob_fetch_start(uv_loop_t *loop, const struct blob_fetch_spec *spec);
void blob_fetch_cancel(struct blob_fetch *f); /* no done; f is not touched any more */
