// SPDX-License-Identifier: Apache-2.0
/* The Peer service of this worker and its pushes to the others: answers pings, hands GetBlob to blob_serve.c,
 * keeps the last view of each member. A peer that does not take a push misses it: the next change tells again. */
#include "worker/galera/peer.h"

#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proto/schema/peer.pb-c.h"
#include "worker/galera/blob.h"
#include "proto/rpc/client.h"

#define MAX_TARGETS 64
#define MAX_VIEWS 256
#define VIEW_BYTES (16u << 10) /* as the managers take in a report */
#define VIEW_FORGET_MS 60000
#define PUSH_DEADLINE_MS 1000

struct pushed {
	char cluster[33], slot[33];
	Gs__GaleraView *view;
	int64_t at_ms;
	/* of our own members: what the last poll found */
	bool excluded_once;
	int64_t behind_since_ms;
};

struct target {
	struct target *next;
	struct peer *peer;
	struct rpc_client *client;
	char address[80];
	bool listed;
};

struct peer {
	uv_loop_t *loop;
	char *node_id, *boot_id, *cluster_id;
	struct blob_server *blobs;
	struct tls_identity *identity;
	struct target *targets;
	peer_guard may_tell;
	void *guard_arg;
	struct pushed views[MAX_VIEWS];
	size_t n_views;
};

struct peer *peer_new(uv_loop_t *loop, const char *node_id, const char *boot_id, const char *blob_dir)
{
	struct peer *p = xcalloc(1, sizeof(*p));

	p->loop = loop;
	p->node_id = xstrdup(node_id);
	p->boot_id = xstrdup(boot_id);
	p->blobs = blob_server_new(loop, blob_dir, 0);
	p->cluster_id = xstrdup("");
	return p;
}

static void target_close(struct target *t)
{
	t->peer = NULL;
	if (t->client)
		rpc_client_close(t->client); /* freed when its CLOSED arrives */
	else
		free(t);
}

void peer_free(struct peer *p)
{
	while (p && p->targets) {
		struct target *t = p->targets;

		p->targets = t->next;
		target_close(t);
	}
	if (!p)
		return;
	for (size_t i = 0; i < p->n_views; i++)
		obj_free(p->views[i].view);
	if (p->identity)
		tls_identity_unref(p->identity);
	free(p->node_id);
	free(p->boot_id);
	blob_server_close(p->blobs);
	free(p->cluster_id);
	free(p);
}

void peer_set_identity(struct peer *p, struct tls_identity *identity, const char *cluster_id)
{
	if (p->identity)
		tls_identity_unref(p->identity);
	p->identity = identity ? tls_identity_ref(identity) : NULL;
	str_replace(&p->cluster_id, cluster_id);
}

void peer_set_guard(struct peer *p, peer_guard may_tell, void *arg)
{
	p->may_tell = may_tell;
	p->guard_arg = arg;
}

/* ---- Ping ---- */

static void handle_ping(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct peer *p = arg;
	Gs__PingResponse r = GS__PING_RESPONSE__INIT;

	r.node_id = p->node_id;
	r.boot_id = p->boot_id;
	rpc_reply(call, &r.base);
}

/* ---- GetBlob ---- */

static void handle_get_blob(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct peer *p = arg;

	blob_serve(p->blobs, call, (const Gs__BlobRequest *)req);
}

/* ---- PushView ---- */

static struct pushed *view_slot(struct peer *p, const char *cluster, const char *slot)
{
	int64_t now = clock_mono_ms(&clock_real);
	struct pushed *v = NULL;

	for (size_t i = 0; i < p->n_views; i++) {
		if (strcmp(p->views[i].cluster, cluster) == 0 && strcmp(p->views[i].slot, slot) == 0)
			return &p->views[i];
		if (now - p->views[i].at_ms > VIEW_FORGET_MS)
			v = &p->views[i];
	}
	if (!v && p->n_views == MAX_VIEWS)
		return NULL;
	if (!v)
		v = &p->views[p->n_views++];
	obj_free(v->view);
	*v = (struct pushed){.at_ms = now};
	snprintf(v->cluster, sizeof(v->cluster), "%s", cluster);
	snprintf(v->slot, sizeof(v->slot), "%s", slot);
	return v;
}

static void view_keep(struct peer *p, const char *cluster, const char *slot, const Gs__GaleraView *view)
{
	struct pushed *v =
		view && strlen(cluster) < 33 && strlen(slot) < 33 ? view_slot(p, cluster, slot) : NULL;

	if (!v)
		return;
	obj_set(&v->view, view);
	v->at_ms = clock_mono_ms(&clock_real);
}

/* A node tells of the members that the managers have put on it and of no other: a forged view could keep a
 * healthy member out of its cluster. */
static int check_push(const struct peer *p, const char *node_id, const Gs__ViewPush *r, struct err *e)
{
	if (!p->may_tell || !p->may_tell(p->guard_arg, node_id, r->galera_cluster_id, r->slot_id))
		return err_set(e, E_FORBIDDEN, "node %s has no member %.40s of cluster %.40s", node_id,
			       r->slot_id, r->galera_cluster_id);
	if (r->view &&
	    gs__galera_view__get_packed_size(r->view) + r->view->n_members * sizeof(char *) > VIEW_BYTES)
		return err_set(e, E_LIMIT, "a view of more than %u bytes", VIEW_BYTES);
	return 0;
}

static void handle_push_view(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	const Gs__ViewPush *r = (const Gs__ViewPush *)req;
	Gs__Empty empty = GS__EMPTY__INIT;
	struct err e = {0};

	if (check_push(arg, rpc_call_peer(call)->node_id, r, &e)) {
		rpc_fail(call, &e);
		return;
	}
	view_keep(arg, r->galera_cluster_id, r->slot_id, r->view);
	rpc_reply(call, &empty.base);
}

static const rpc_handler handlers[] = {
	[PEER_PING] = handle_ping, [PEER_GET_BLOB] = handle_get_blob, [PEER_PUSH_VIEW] = handle_push_view};

void peer_register(struct rpc_server *s, struct peer *p)
{
	rpc_server_add(s, RPC_PEER, handlers, array_size(handlers), p);
}

static bool lists(const Gs__GaleraView *view, const char *address)
{
	for (size_t i = 0; i < view->n_members; i++)
		if (strcmp(view->members[i], address) == 0)
			return true;
	return !view->n_members; /* a view without a list excludes nobody */
}

/* A Primary view of the same history that is fresher than ours. */
static bool is_fresher(const struct pushed *o, const struct pushed *own, const Gs__GaleraView *view,
		       int64_t now)
{
	return o != own && o->view && strcmp(o->cluster, own->cluster) == 0 &&
	       now - o->at_ms <= VIEW_FORGET_MS && o->view->sql_open &&
	       strcmp(o->view->status, "Primary") == 0 &&
	       strcmp(o->view->cluster_uuid, view->cluster_uuid) == 0 && o->view->conf_id > view->conf_id;
}

enum view_doubt peer_doubt(struct peer *p, const char *galera_cluster_id, const char *slot_id,
			   const char *own_address, const Gs__GaleraView *view, int64_t suspect_ms)
{
	struct pushed *own = view_slot(p, galera_cluster_id, slot_id);
	int64_t now = clock_mono_ms(&clock_real);
	bool excluded = false, behind = false, was_excluded;

	if (!own)
		return VIEW_TRUSTED;
	own->at_ms = now;
	for (size_t i = 0; i < p->n_views; i++)
		if (is_fresher(&p->views[i], own, view, now)) {
			behind = true;
			excluded = excluded || !lists(p->views[i].view, own_address);
		}
	own->behind_since_ms = !behind ? 0 : own->behind_since_ms ? own->behind_since_ms : now;
	was_excluded = own->excluded_once;
	own->excluded_once = excluded;
	if (behind && now - own->behind_since_ms > suspect_ms)
		return VIEW_BEHIND;
	return excluded && was_excluded ? VIEW_EXCLUDED : VIEW_TRUSTED;
}

/* ---- push ---- */

void peer_set_targets(struct peer *p, const char *const *addresses, size_t n)
{
	struct target **at, *t;

	for (t = p->targets; t; t = t->next)
		t->listed = false;
	for (size_t i = 0; i < n && i < MAX_TARGETS; i++) {
		for (t = p->targets; t && strcmp(t->address, addresses[i]); t = t->next)
			;
		if (!t) {
			t = xcalloc(1, sizeof(*t));
			t->peer = p;
			snprintf(t->address, sizeof(t->address), "%s", addresses[i]);
			t->next = p->targets;
			p->targets = t;
		}
		t->listed = true;
	}
	for (at = &p->targets; (t = *at);) {
		if (t->listed) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		target_close(t);
	}
}

static void on_target_state(struct rpc_client *c, enum rpc_client_state state, const struct err *e, void *arg)
{
	struct target *t = arg;

	if (state != RPC_CLOSED)
		return;
	t->client = NULL;
	if (!t->peer)
		free(t);
}

static void on_pushed(const ProtobufCMessage *resp, const struct err *e, void *arg)
{
}

static bool target_open(struct target *t)
{
	struct rpc_client_config config = {
		.identity = t->peer->identity, .on_state = on_target_state, .arg = t};
	char host[64];

	if (t->client)
		return true;
	if (!t->peer->identity ||
	    hostport_parse(t->address, PEER_PORT, host, sizeof(host), &config.port, NULL))
		return false;
	config.ip = host;
	snprintf(config.cluster_id, sizeof(config.cluster_id), "%s", t->peer->cluster_id);
	snprintf(config.node_id, sizeof(config.node_id), "%s", t->peer->node_id);
	t->client = rpc_client_new(t->peer->loop, &config);
	return t->client;
}

void peer_push(struct peer *p, const char *galera_cluster_id, const char *slot_id, uint64_t epoch,
	       const Gs__GaleraView *view)
{
	Gs__ViewPush push = GS__VIEW_PUSH__INIT;
	struct rpc_call_spec call = {.service = RPC_PEER,
				     .method = PEER_PUSH_VIEW,
				     .req = &push.base,
				     .deadline_ms = PUSH_DEADLINE_MS,
				     .done = on_pushed};

	view_keep(p, galera_cluster_id, slot_id, view);
	push.galera_cluster_id = (char *)galera_cluster_id;
	push.slot_id = (char *)slot_id;
	push.epoch = epoch;
	push.view = (Gs__GaleraView *)view;
	for (struct target *t = p->targets; t; t = t->next)
		if (target_open(t))
			rpc_call_start(t->client, &call);
}
