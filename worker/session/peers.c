// SPDX-License-Identifier: Apache-2.0
/* The happy path is a listener on the advertised address and a list of the others' addresses. What can fail
 * is the port. Only nodes that the managers have named may ask, that is those with which we share a cluster:
 * a certificate alone opens nothing, since it outlives its node's removal. Which of them may tell of which
 * member is known from the endpoints. */
#include "worker/session/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/server.h"
#include "worker/galera/peer.h"
#include "worker/net/network.h"

#define AGAIN_MS 1000

struct entry {
	struct entry *next;
	char id[ID_LEN + 1];
	char *address;
	bool marked;
};

/* A member of a Galera cluster and the node that it is on. */
struct place {
	UT_hash_handle hh;
	char endpoint_id[2 * ID_LEN + 2];
	char slot_id[ID_LEN + 1], node_id[ID_LEN + 1], galera_id[ID_LEN + 1];
	bool marked;
};

struct peers {
	struct worker *w;
	struct peer *service;
	struct rpc_server *server; /* NULL while it cannot listen */
	char address[64];          /* that it listens on */
	char trouble[160];
	struct loop_timer again;
	unsigned handles; /* servers and timer that are not closed yet */
	bool closing;
	struct entry *list;
	struct place *places;
	bool in_set;
};

static bool is_listed(const struct peers *p, const char *node_id)
{
	for (const struct entry *i = p->list; i; i = i->next)
		if (strcmp(i->id, node_id) == 0)
			return true;
	return false;
}

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	const struct peers *p = arg;

	if (!peer->is_authenticated || strcmp(peer->cluster_id, p->w->state.cluster_id) != 0)
		err_set(e, E_FORBIDDEN, "node %s is not of this cluster", peer->node_id);
	else if (!is_listed(p, peer->node_id))
		err_set(e, E_FORBIDDEN, "the managers know of nothing that node %s shares with this one",
			peer->node_id);
	else
		return ROLE_BIT_WORKER;
	return 0;
}

static bool may_tell(void *arg, const char *node_id, const char *galera_cluster_id, const char *slot_id)
{
	const struct peers *p = arg;

	for (const struct place *pl = p->places; pl; pl = pl->hh.next)
		if (strcmp(pl->slot_id, slot_id) == 0 && strcmp(pl->node_id, node_id) == 0 &&
		    strcmp(pl->galera_id, galera_cluster_id) == 0)
			return true;
	return false;
}

static void on_again(void *arg)
{
	peers_listen(arg);
}

struct peers *peers_new(struct worker *w)
{
	struct peers *p = xcalloc(1, sizeof(*p));

	p->w = w;
	loop_timer_init(&p->again, w->loop, on_again, p);
	p->handles = 1;
	p->service = peer_new(w->loop, w->state.node_id, w->boot_id, w->blob_dir);
	peer_set_identity(p->service, w->identity, w->state.cluster_id);
	peer_set_guard(p->service, may_tell, p);
	return p;
}

static void on_closed(void *arg);

static void server_close(struct peers *p)
{
	if (p->server)
		rpc_server_close(p->server, on_closed, p);
	p->server = NULL;
}

static int server_open(struct peers *p, struct err *e)
{
	struct rpc_server_config config = {
		.authorise = authorise, .node_conns_max = RPC_NODE_CONNS, .arg = p};

	memcpy(config.cluster_id, p->w->state.cluster_id, sizeof(config.cluster_id));
	memcpy(config.node_id, p->w->state.node_id, sizeof(config.node_id));
	if (rpc_server_new(p->w->loop, &config, &p->server) < 0)
		return err_set(e, -ENOMEM, "peer listener");
	p->handles++;
	peer_register(p->server, p->service);
	return rpc_server_listen_tcp(p->server, p->address, PEER_PORT, p->w->identity, e);
}

void peers_listen(struct peers *p)
{
	struct err e = {0};

	if (p->server && strcmp(p->address, p->w->state.advertise) == 0)
		return;
	peers_guard(p);
	server_close(p);
	snprintf(p->address, sizeof(p->address), "%s", p->w->state.advertise);
	if (server_open(p, &e) == 0) {
		if (*p->trouble)
			log_info("listening on %s port %u/tcp", p->address, PEER_PORT);
		p->trouble[0] = '\0';
		return;
	}
	server_close(p);
	if (strcmp(p->trouble, e.msg) != 0)
		log_warn("%s; tried again every second, tasks go on", e.msg);
	snprintf(p->trouble, sizeof(p->trouble), "%s", e.msg);
	loop_timer_set(&p->again, AGAIN_MS);
}

const char *peers_trouble(const struct peers *p)
{
	return p->trouble;
}

/* The Peer service of whoever has this address ("ip", "ip:port"). */
static char *beside(const char *address)
{
	char host[64] = "";
	uint16_t port;

	hostport_parse(address, PEER_PORT, host, sizeof(host), &port, NULL);
	return xasprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, PEER_PORT);
}

void peers_guard(struct peers *p)
{
	const struct worker *w = p->w;
	const char **services;
	char **own;
	size_t n = 0, n_own = 0;

	if (!w->net || p->in_set)
		return;
	for (const struct entry *i = p->list; i; i = i->next)
		n++;
	services = xcalloc(n + 2 * w->n_managers + 1, sizeof(*services));
	own = xcalloc(w->n_managers + 1, sizeof(*own));
	n = 0;
	for (const struct entry *i = p->list; i; i = i->next)
		if (i->address)
			services[n++] = i->address;
	for (size_t i = 0; i < w->n_managers; i++) {
		services[n++] = w->managers[i];
		services[n++] = own[n_own++] = beside(w->managers[i]);
	}
	services[n++] = own[n_own++] = beside(w->state.advertise);
	net_guard_set(w->net, services, n);
	while (n_own > 0)
		free(own[--n_own]);
	free(own);
	free(services);
}

static void retarget(struct peers *p)
{
	const char *addresses[64];
	size_t n = 0;

	for (const struct entry *i = p->list; i && n < array_size(addresses); i = i->next)
		if (i->address)
			addresses[n++] = i->address;
	peer_set_targets(p->service, addresses, n);
	peers_guard(p);
}

void peers_set(struct peers *p, const Gs__Node *row)
{
	struct entry *i = p->list;
	cleanup_free char *address = NULL;
	char ip[64];

	if (!row->meta || strcmp(row->meta->id, p->w->state.node_id) == 0)
		return;
	while (i && strcmp(i->id, row->meta->id) != 0)
		i = i->next;
	if (!i) {
		i = xcalloc(1, sizeof(*i));
		memcpy(i->id, row->meta->id, strnlen(row->meta->id, ID_LEN));
		i->next = p->list;
		p->list = i;
	}
	i->marked = true;
	if (row->description && row->description->advertise_ip.len > 0)
		address =
			xasprintf(row->description->advertise_ip.len == 16 ? "[%s]:%u" : "%s:%u",
				  addr_format(&row->description->advertise_ip, ip, sizeof(ip)),
				  row->description->peer_port != 0 ? row->description->peer_port : PEER_PORT);
	if (i->address && address && strcmp(i->address, address) == 0)
		return;
	free(i->address);
	i->address = steal(address);
	retarget(p);
}

static void drop(struct peers *p, struct entry **at)
{
	struct entry *i = *at;

	*at = i->next;
	free(i->address);
	free(i);
}

void peers_remove(struct peers *p, const char *node_id)
{
	for (struct entry **at = &p->list; *at; at = &(*at)->next)
		if (strcmp((*at)->id, node_id) == 0) {
			drop(p, at);
			break;
		}
	retarget(p);
	if (p->server)
		rpc_server_drop_node(p->server, node_id);
}

/* ---- places ---- */

static void place_drop(struct peers *p, struct place *pl)
{
	HASH_DEL(p->places, pl);
	free(pl);
}

void peers_endpoint_remove(struct peers *p, const char *endpoint_id)
{
	struct place *pl;

	HASH_FIND_STR(p->places, endpoint_id, pl);
	if (pl)
		place_drop(p, pl);
}

void peers_endpoint_set(struct peers *p, const Gs__Endpoint *row)
{
	struct place *pl;

	if (!row->meta)
		return;
	if (!*row->galera_cluster_id || strlen(row->meta->id) >= sizeof(pl->endpoint_id)) {
		peers_endpoint_remove(p, row->meta->id);
		return;
	}
	HASH_FIND_STR(p->places, row->meta->id, pl);
	if (!pl) {
		pl = xcalloc(1, sizeof(*pl));
		snprintf(pl->endpoint_id, sizeof(pl->endpoint_id), "%s", row->meta->id);
		HASH_ADD_STR(p->places, endpoint_id, pl);
	}
	snprintf(pl->slot_id, sizeof(pl->slot_id), "%s", row->slot_id);
	snprintf(pl->node_id, sizeof(pl->node_id), "%s", row->node_id);
	snprintf(pl->galera_id, sizeof(pl->galera_id), "%s", row->galera_cluster_id);
	pl->marked = true;
}

/* ---- complete sets ---- */

void peers_set_begin(struct peers *p)
{
	for (struct place *pl = p->places; pl; pl = pl->hh.next)
		pl->marked = false;
	for (struct entry *i = p->list; i; i = i->next)
		i->marked = false;
	p->in_set = true;
}

void peers_set_end(struct peers *p)
{
	struct place *pl, *tmp;

	for (struct entry **at = &p->list; p->in_set && *at;) {
		if ((*at)->marked) {
			at = &(*at)->next;
			continue;
		}
		if (p->server)
			rpc_server_drop_node(p->server, (*at)->id);
		drop(p, at);
	}
	HASH_ITER (hh, p->places, pl, tmp)
		if (p->in_set && !pl->marked)
			place_drop(p, pl);
	p->in_set = false;
	retarget(p);
}

void peers_identity_changed(struct peers *p)
{
	peer_set_identity(p->service, p->w->identity, p->w->state.cluster_id);
	if (p->server)
		rpc_server_set_identity(p->server, p->w->identity);
}

struct peer *peers_service(struct peers *p)
{
	return p->service;
}

static void on_closed(void *arg)
{
	struct peers *p = arg;

	if (--p->handles > 0 || !p->closing)
		return;
	while (p->places)
		place_drop(p, p->places);
	peer_free(p->service);
	while (p->list)
		drop(p, &p->list);
	free(p);
}

void peers_free(struct peers *p)
{
	if (!p)
		return;
	p->closing = true;
	server_close(p);
	loop_timer_close(&p->again, on_closed);
}
