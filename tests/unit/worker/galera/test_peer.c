// SPDX-License-Identifier: Apache-2.0
/* Two workers' Peer services on loopback with real certificates. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/client.h"
#include "proto/schema/peer.pb-c.h"
#include "tests/lib/own_loopback.h"
#include "worker/galera/archive.h"
#include "worker/galera/blob.h"
#include "worker/galera/peer.h"

#define PORT 23978
#define BAD_PORT 23979

struct fix {
	uv_loop_t loop;
	char root[64], *from, *to, *ca, *ca_key;
	struct tls_identity *identity;
	struct rpc_server *server;
	struct peer *peer;
	struct loop_timer limit;
	bool done;
	struct err err;
	char node[ID_LEN + 1], cluster[ID_LEN + 1];
};

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	return ROLE_BIT_WORKER;
}

/* The members of cluster g are here. */
static bool may_tell(void *arg, const char *node_id, const char *galera_cluster_id, const char *slot_id)
{
	const struct fix *f = arg;

	return strcmp(node_id, f->node) == 0 && strcmp(galera_cluster_id, "g") == 0 &&
	       strncmp(slot_id, "slot", 4) == 0;
}

/* A certificate of the fixture's swarm. */
static struct tls_identity *identity_of(const struct fix *f, const char *node_id)
{
	char *key, *csr, *cert, serial[33];
	struct tls_identity *identity;
	struct tls_issue issue;
	int64_t until;
	struct err e = {0};

	assert_int_equal(tls_key_new(&key, &e), 0);
	assert_int_equal(tls_csr_new(key, "", &csr, &e), 0);
	issue = (struct tls_issue){f->ca, f->ca_key, csr, node_id, f->cluster, clock_wall_ms(&clock_real),
				   3600};
	assert_int_equal(tls_issue(&issue, &cert, serial, &until, &e), 0);
	assert_int_equal(tls_identity_new(f->ca, cert, key, &identity, &e), 0);
	free(key);
	free(csr);
	free(cert);
	return identity;
}

static void make_identity(struct fix *f)
{
	struct err e = {0};

	id_new(f->cluster);
	id_new(f->node);
	assert_int_equal(tls_root_new(f->cluster, &f->ca, &f->ca_key, &e), 0);
	f->identity = identity_of(f, f->node);
}

static void on_limit(void *arg)
{
	fail_msg("nothing happened for 10 s");
}

static int set_up(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));
	struct rpc_server_config config = {.authorise = authorise};
	struct err e = {0};

	snprintf(f->root, sizeof(f->root), "/tmp/gsw-test-XXXXXX");
	if (!mkdtemp(f->root) || uv_loop_init(&f->loop))
		return -1;
	f->from = xasprintf("%s/from", f->root);
	f->to = xasprintf("%s/to", f->root);
	fs_mkdir(f->from, 0700, NULL);
	make_identity(f);
	memcpy(config.cluster_id, f->cluster, sizeof(config.cluster_id));
	memcpy(config.node_id, f->node, sizeof(config.node_id));
	if (rpc_server_new(&f->loop, &config, &f->server))
		return -1;
	f->peer = peer_new(&f->loop, f->node, "boot", f->from);
	peer_set_guard(f->peer, may_tell, f);
	peer_register(f->server, f->peer);
	if (rpc_server_listen_tcp(f->server, "127.0.0.1", PORT, f->identity, &e))
		fail_msg("%s", e.msg);
	loop_timer_init(&f->limit, &f->loop, on_limit, f);
	loop_timer_set(&f->limit, 10000);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	rpc_server_close(f->server, NULL, NULL);
	peer_free(f->peer);
	loop_timer_stop(&f->limit);
	loop_timer_close(&f->limit, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	uv_loop_close(&f->loop);
	tls_identity_unref(f->identity);
	fs_remove_all(f->root, NULL);
	free(f->from);
	free(f->to);
	free(f->ca);
	free(f->ca_key);
	free(f);
	return 0;
}

static void on_done(const struct err *e, void *arg)
{
	struct fix *f = arg;

	f->done = true;
	err_clear(&f->err);
	if (e)
		f->err = *e;
}

static void fetch_from(struct fix *f, const char *sha, const char *first, const char *second)
{
	char *peers[] = {(char *)first, (char *)second};
	struct blob_fetch_spec spec = {.sha256 = sha,
				       .galera_cluster_id = "g",
				       .blob_dir = f->to,
				       .peers = peers,
				       .n_peers = 2,
				       .identity = f->identity,
				       .node_id = f->node,
				       .stall_ms = 300,
				       .done = on_done,
				       .arg = f};

	f->done = false;
	blob_fetch_start(&f->loop, &spec);
	while (!f->done)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void fetch(struct fix *f, const char *sha)
{
	fetch_from(f, sha, "127.0.0.1:1", "127.0.0.1:23978");
}

/* 3 MiB that do not compress, named by their hash (or by another one). */
static void put_blob(struct fix *f, char sha[SHA256_TEXT], bool lie)
{
	cleanup_free char *data = xmalloc(3 << 20), *tmp = xasprintf("%s/x", f->from), *name = NULL;
	uint64_t size;

	random_bytes(data, 3 << 20);
	assert_int_equal(fs_write(tmp, data, 3 << 20, 0600, NULL), 0);
	assert_int_equal(sha256_file(tmp, sha, &size, NULL), 0);
	if (lie)
		sha[0] = sha[0] == 'a' ? 'b' : 'a';
	name = xasprintf("%s/%s", f->from, sha);
	assert_int_equal(rename(tmp, name), 0);
}

static void blob_comes_from_the_second_peer(void **state)
{
	struct fix *f = *state;
	char sha[SHA256_TEXT], got[SHA256_TEXT];
	cleanup_free char *path = NULL;
	uint64_t size;

	put_blob(f, sha, false);
	fetch(f, sha);
	assert_int_equal(f->err.code, 0);
	path = xasprintf("%s/%s", f->to, sha);
	assert_int_equal(sha256_file(path, got, &size, NULL), 0);
	assert_string_equal(got, sha);
	fetch(f, sha); /* it is here already */
	assert_int_equal(f->err.code, 0);
}

/* Cost review 10: a worker that was killed left what it fetched or packed for ever. */
static void leftovers_of_the_killed_go(void **state)
{
	static const char *const names[] = {".fetch-0x5581", ".pack-a1b2c3", "0123abcd"};
	struct fix *f = *state;
	cleanup_free char *blob = xasprintf("%s/%s", f->to, names[2]);
	unsigned left = 0;

	assert_int_equal(fs_mkdir(f->to, 0700, NULL), 0);
	for (size_t i = 0; i < array_size(names); i++) {
		cleanup_free char *path = xasprintf("%s/%s", f->to, names[i]);

		assert_int_equal(fs_write(path, "x", 1, 0600, NULL), 0);
	}
	blobs_tidy(f->to);
	for (size_t i = 0; i < array_size(names); i++) {
		cleanup_free char *path = xasprintf("%s/%s", f->to, names[i]);

		left += fs_exists(path);
	}
	assert_int_equal(left, 1);
	assert_true(fs_exists(blob));
}

static void other_bytes_are_refused(void **state)
{
	struct fix *f = *state;
	cleanup_free char *path = NULL;
	char sha[SHA256_TEXT];

	put_blob(f, sha, true);
	fetch(f, sha);
	assert_int_equal(f->err.code, E_CORRUPT);
	path = xasprintf("%s/%s", f->to, sha);
	assert_false(fs_exists(path));
}

static void no_path_is_made_of_a_hash_that_is_none(void **state)
{
	struct fix *f = *state;

	fetch(f, "0000000000000000000000000000000000000000000000000000000000000000");
	assert_int_equal(f->err.code, E_NOT_FOUND);
	fetch(f, "../../../../etc/hostname");
	assert_int_equal(f->err.code, E_NOT_FOUND);
}

/* A peer that sends the first MiB of the blob and then fails, sends nothing more, or drips. */
struct bad_peer {
	struct rpc_server *server;
	struct fix *f;
	const char *sha;
	bool falls_silent, drips;
	struct rpc_call *call;
	struct loop_timer drip;
	Gs__BlobChunk chunk;
	unsigned asked;
	uint64_t offset; /* that it was asked for last */
};

static void on_bad_cancel(struct rpc_call *call, void *arg)
{
	struct bad_peer *b = arg;

	if (b->call)
		loop_timer_close(&b->drip, NULL);
	b->call = NULL;
}

static void on_drip(void *arg)
{
	struct bad_peer *b = arg;
	static uint8_t byte;

	b->chunk.data = (ProtobufCBinaryData){1, &byte};
	assert_int_equal(rpc_event(b->call, &b->chunk.base), 0);
	b->chunk.offset++;
}

static void drip(struct bad_peer *b, struct rpc_call *call)
{
	b->call = call;
	b->chunk = (Gs__BlobChunk)GS__BLOB_CHUNK__INIT;
	b->chunk.total = 3 << 20;
	loop_timer_init(&b->drip, &b->f->loop, on_drip, b);
	loop_timer_every(&b->drip, 0, 20);
}

static void on_bad_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	enum { HALF = 1 << 20 };
	struct bad_peer *b = arg;
	cleanup_free char *path = xasprintf("%s/%s", b->f->from, b->sha), *data = NULL;
	Gs__BlobChunk chunk = GS__BLOB_CHUNK__INIT;
	struct err e = {0};
	size_t len;

	b->asked++;
	b->offset = ((const Gs__BlobRequest *)req)->offset;
	rpc_call_on_cancel(call, on_bad_cancel, b);
	if (b->drips) {
		drip(b, call);
		return;
	}
	if (b->asked == 1) {
		assert_int_equal(fs_read(path, 4 << 20, &data, &len, &e), 0);
		chunk.data = (ProtobufCBinaryData){HALF, (uint8_t *)data};
		chunk.total = len;
		assert_int_equal(rpc_event(call, &chunk.base), 0);
		if (b->falls_silent)
			return;
	}
	err_set(&e, -EIO, "the disk is broken");
	rpc_fail(call, &e);
}

static const rpc_handler bad_handlers[] = {[PEER_GET_BLOB] = on_bad_blob};

static void bad_peer_start(struct bad_peer *b)
{
	struct rpc_server_config config = {.authorise = authorise};
	struct err e = {0};

	assert_int_equal(rpc_server_new(&b->f->loop, &config, &b->server), 0);
	rpc_server_add(b->server, RPC_PEER, bad_handlers, array_size(bad_handlers), b);
	assert_int_equal(rpc_server_listen_tcp(b->server, "127.0.0.1", BAD_PORT, b->f->identity, &e), 0);
}

static void went_on_with_the_good_peer(struct bad_peer *b)
{
	cleanup_free char *path = xasprintf("%s/%s", b->f->to, b->sha);

	bad_peer_start(b);
	fetch_from(b->f, b->sha, "127.0.0.1:23979", "127.0.0.1:23978");
	assert_int_equal(b->f->err.code, 0);
	assert_true(fs_exists(path));
	assert_int_equal(b->asked, 1);
	rpc_server_close(b->server, NULL, NULL);
}

/* FINDINGS P4: what has come is kept; the next peer sends only the rest. */
static void p4_a_failed_peer_is_continued_by_the_next(void **state)
{
	struct bad_peer b = {.f = *state};
	char sha[SHA256_TEXT];

	put_blob(b.f, sha, false);
	b.sha = sha;
	went_on_with_the_good_peer(&b);
}

/* FINDINGS P4: not two minutes for everything, but so long without a byte. */
static void p4_a_silent_peer_is_left(void **state)
{
	struct bad_peer b = {.f = *state, .falls_silent = true};
	char sha[SHA256_TEXT];

	put_blob(b.f, sha, false);
	b.sha = sha;
	went_on_with_the_good_peer(&b);
}

/* The second session's safety review, 13: each byte gave it all of the time again. */
static void s13_a_peer_that_drips_is_left(void **state)
{
	struct bad_peer b = {.f = *state, .drips = true};
	char sha[SHA256_TEXT];

	put_blob(b.f, sha, false);
	b.sha = sha;
	bad_peer_start(&b);
	fetch_from(b.f, sha, "127.0.0.1:23979", "127.0.0.1:1");
	rpc_server_close(b.server, NULL, NULL);
	assert_int_not_equal(b.f->err.code, 0); /* the other one's */
	assert_int_equal(b.asked, 1);
}

/* ---- the same review, 7: how much is sent at a time ---- */

struct taker {
	bool done;
	struct err err;
	struct rpc_req *req;
};

static void on_taken(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct taker *t = arg;

	t->done = true;
	if (e)
		t->err = *e;
}

static void on_piece(const ProtobufCMessage *event, void *arg)
{
	struct taker *t = arg;

	rpc_req_pause(t->req);
}

static void on_client_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	if (state == RPC_CLOSED)
		*(struct rpc_client **)arg = NULL;
}

/* Ask n times for a blob and take none of it, on one connection; how many were refused at once. */
static unsigned ask_and_wait(struct fix *f, uint16_t port, const char *sha, struct taker *t, unsigned n,
			     struct rpc_client **ret)
{
	struct rpc_client_config config = {.ip = "127.0.0.1",
					   .port = port,
					   .identity = f->identity,
					   .on_state = on_client_state,
					   .arg = ret};
	Gs__BlobRequest req = GS__BLOB_REQUEST__INIT;
	Gs__PingRequest ping = GS__PING_REQUEST__INIT;
	struct taker after = {0};
	struct rpc_call_spec call = {.service = RPC_PEER,
				     .method = PEER_GET_BLOB,
				     .req = &req.base,
				     .on_event = on_piece,
				     .done = on_taken};
	unsigned refused = 0;

	memcpy(config.node_id, f->node, sizeof(config.node_id));
	req.sha256 = (char *)sha;
	*ret = rpc_client_new(&f->loop, &config);
	for (unsigned i = 0; i < n; i++) {
		call.arg = &t[i];
		t[i].req = rpc_call_start(*ret, &call);
	}
	call = (struct rpc_call_spec){.service = RPC_PEER,
				      .method = PEER_PING,
				      .req = &ping.base,
				      .deadline_ms = 5000,
				      .done = on_taken,
				      .arg = &after};
	rpc_call_start(*ret, &call); /* answered after the refusals */
	while (!after.done)
		uv_run(&f->loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < n; i++) {
		refused += t[i].done;
		assert_true(!t[i].done || t[i].err.code == E_LIMIT);
	}
	return refused;
}

static void hang_up(struct fix *f, struct rpc_client **c)
{
	rpc_client_close(*c);
	while (*c)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static void s7_streams_of_a_node_are_bounded(void **state)
{
	struct fix *f = *state;
	struct taker t[12] = {0};
	struct rpc_client *c;
	char sha[SHA256_TEXT];

	put_blob(f, sha, false);
	assert_int_equal(ask_and_wait(f, PORT, sha, t, 12, &c), 8);
	hang_up(f, &c);
	fetch(f, sha); /* their places are free */
	assert_int_equal(f->err.code, 0);
}

/* And so are those of all nodes together, each of which keeps to its own bound. */
static void s7_streams_of_all_nodes_are_bounded(void **state)
{
	enum { NODES = 9, EACH = 4 };
	struct fix *f = *state;
	struct tls_identity *own = f->identity, *other[NODES];
	struct taker t[NODES][EACH] = {0};
	struct rpc_client *c[NODES];
	char own_id[ID_LEN + 1], sha[SHA256_TEXT];
	unsigned refused;

	put_blob(f, sha, false);
	memcpy(own_id, f->node, sizeof(own_id));
	for (unsigned i = 0; i < NODES; i++) {
		id_new(f->node);
		f->identity = other[i] = identity_of(f, f->node);
		refused = ask_and_wait(f, PORT, sha, t[i], EACH, &c[i]);
		assert_int_equal(refused, i < 8 ? 0 : EACH);
	}
	for (unsigned i = 0; i < NODES; i++) {
		hang_up(f, &c[i]);
		tls_identity_unref(other[i]);
	}
	f->identity = own;
	memcpy(f->node, own_id, sizeof(own_id));
	fetch(f, sha); /* their places are free */
	assert_int_equal(f->err.code, 0);
}

static void on_served_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	blob_serve(arg, call, (const Gs__BlobRequest *)req);
}

static void on_served_ping(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	Gs__PingResponse r = GS__PING_RESPONSE__INIT;

	rpc_reply(call, &r.base);
}

/* Who takes nothing keeps a place only so long. */
static void s7_a_stream_that_is_not_taken_ends(void **state)
{
	static const rpc_handler served[] = {[PEER_PING] = on_served_ping, [PEER_GET_BLOB] = on_served_blob};
	struct fix *f = *state;
	struct blob_server *blobs = blob_server_new(&f->loop, f->from, 100);
	struct rpc_server_config config = {.authorise = authorise};
	struct rpc_server *server;
	struct rpc_client *c;
	struct taker t = {0};
	char sha[SHA256_TEXT];

	put_blob(f, sha, false);
	assert_int_equal(rpc_server_new(&f->loop, &config, &server), 0);
	rpc_server_add(server, RPC_PEER, served, array_size(served), blobs);
	assert_int_equal(rpc_server_listen_tcp(server, "127.0.0.1", BAD_PORT, f->identity, &f->err), 0);
	assert_int_equal(ask_and_wait(f, BAD_PORT, sha, &t, 1, &c), 0);
	while (!t.done)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(t.err.code, E_DEADLINE);
	hang_up(f, &c);
	rpc_server_close(server, NULL, NULL);
	blob_server_close(blobs);
}

/* FINDINGS P4: when nobody else has it, the one who failed is asked again, for the rest. It adds nothing. */
static void p4_gives_up_when_nobody_adds_anything(void **state)
{
	struct bad_peer b = {.f = *state};
	char sha[SHA256_TEXT];

	put_blob(b.f, sha, false);
	b.sha = sha;
	bad_peer_start(&b);
	fetch_from(b.f, sha, "127.0.0.1:1", "127.0.0.1:23979");
	assert_int_equal(b.f->err.code, -EIO);
	assert_int_equal(b.asked, 2);
	assert_int_equal(b.offset, 1 << 20);
	rpc_server_close(b.server, NULL, NULL);
}

static Gs__GaleraView *view_make(uint64_t conf_id, const char *member)
{
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);

	str_replace(&v->status, "Primary");
	str_replace(&v->cluster_uuid, "u");
	v->sql_open = true;
	v->conf_id = conf_id;
	str_replace(&v->gcomm_uuid, member);
	obj_add_str(&v->n_members, &v->members, member);
	return v;
}

static void a_fresher_view_without_us_counts_when_seen_twice(void **state)
{
	struct fix *f = *state;
	const char *self[] = {"127.0.0.1:23978"};
	Gs__GaleraView *mine = view_make(3, "10.0.0.1:3306"), *theirs = view_make(4, "10.0.0.2:3306");

	/* Through the wire: pushed to the listener, which is this same service. */
	peer_set_identity(f->peer, f->identity, f->cluster);
	peer_set_targets(f->peer, self, 1);
	assert_int_equal(peer_doubt(f->peer, "g", "slot1", "10.0.0.1:3306", mine, 60000), VIEW_TRUSTED);
	peer_push(f->peer, "g", "slot2", 1, theirs);
	while (peer_doubt(f->peer, "g", "slot1", "10.0.0.1:3306", mine, 60000) == VIEW_TRUSTED)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(peer_doubt(f->peer, "g", "slot1", "10.0.0.1:3306", mine, 60000), VIEW_EXCLUDED);
	assert_int_equal(peer_doubt(f->peer, "other", "slot1", "10.0.0.1:3306", mine, 60000), VIEW_TRUSTED);
	mine->conf_id = 4;
	assert_int_equal(peer_doubt(f->peer, "g", "slot1", "10.0.0.1:3306", mine, 60000), VIEW_TRUSTED);
	peer_set_targets(f->peer, NULL, 0);
	obj_free(mine);
	obj_free(theirs);
}

struct pushed_view {
	bool done;
	struct err err;
};

static void on_pushed(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
	struct pushed_view *v = arg;

	v->done = true;
	if (e)
		v->err = *e;
}

static void on_push_state(struct rpc_client *c, enum rpc_client_state now, const struct err *e, void *arg)
{
	if (now == RPC_CLOSED)
		*(struct rpc_client **)arg = NULL;
}

static struct rpc_client *pusher_open(struct fix *f, struct rpc_client **ret)
{
	struct rpc_client_config config = {.ip = "127.0.0.1",
					   .port = PORT,
					   .identity = f->identity,
					   .on_state = on_push_state,
					   .arg = ret};

	return *ret = rpc_client_new(&f->loop, &config);
}

static void pusher_close(struct fix *f, struct rpc_client **c)
{
	if (*c)
		rpc_client_close(*c);
	while (*c)
		uv_run(&f->loop, UV_RUN_ONCE);
}

static int push_forged(struct fix *f, struct rpc_client *c, const char *cluster, const char *slot,
		       Gs__GaleraView *view)
{
	Gs__ViewPush push = GS__VIEW_PUSH__INIT;
	struct pushed_view v = {0};
	struct rpc_call_spec spec = {.service = RPC_PEER,
				     .method = PEER_PUSH_VIEW,
				     .req = &push.base,
				     .deadline_ms = 5000,
				     .done = on_pushed,
				     .arg = &v};

	push.galera_cluster_id = (char *)(uintptr_t)cluster;
	push.slot_id = (char *)(uintptr_t)slot;
	push.view = view;
	rpc_call_start(c, &spec);
	while (!v.done)
		uv_run(&f->loop, UV_RUN_ONCE);
	return v.err.code;
}

/* FINDINGS M3e: a node tells of its own members only, in bounds; it cannot keep others out or fill the table. */
static void M3e_a_forged_view_changes_nothing(void **state)
{
	struct fix *f = *state;
	Gs__GaleraView *mine = view_make(3, "10.0.0.1:3306"), *forged = view_make(999, "10.0.0.2:3306");
	struct rpc_client *c;
	char name[32];

	pusher_open(f, &c);
	assert_int_equal(push_forged(f, c, "g", "elsewhere", forged), E_FORBIDDEN);
	assert_int_equal(push_forged(f, c, "h", "slot2", forged), E_FORBIDDEN);
	for (int i = 0; i < 3; i++)
		assert_int_equal(peer_doubt(f->peer, "g", "slot1", "10.0.0.1:3306", mine, 60000),
				 VIEW_TRUSTED);
	for (int i = 0; i < 5000; i++)
		obj_add_str(&forged->n_members, &forged->members, "");
	assert_int_equal(push_forged(f, c, "g", "slot2", forged), E_LIMIT);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "none%d", i);
		assert_int_equal(push_forged(f, c, "g", name, mine), E_FORBIDDEN);
	}
	assert_int_equal(push_forged(f, c, "g", "slot2", mine), 0); /* there is room for the real one */
	pusher_close(f, &c);
	obj_free(mine);
	obj_free(forged);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(blob_comes_from_the_second_peer),
		T(other_bytes_are_refused),
		T(leftovers_of_the_killed_go),
		T(no_path_is_made_of_a_hash_that_is_none),
		T(p4_a_failed_peer_is_continued_by_the_next),
		T(p4_a_silent_peer_is_left),
		T(p4_gives_up_when_nobody_adds_anything),
		T(s13_a_peer_that_drips_is_left),
		T(s7_streams_of_a_node_are_bounded),
		T(s7_streams_of_all_nodes_are_bounded),
		T(s7_a_stream_that_is_not_taken_ends),
		T(a_fresher_view_without_us_counts_when_seen_twice),
		T(M3e_a_forged_view_changes_nothing),
	};

	own_loopback();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
