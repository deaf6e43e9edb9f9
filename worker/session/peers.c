// SPDX-License-Identifier: Apache-2.0
/* The happy path is a listener on the advertised address and a list of the others' addresses. What can fail
 * is the port. Any node with a certificate of the swarm's root may ask: what is served is by hash or by
 * cluster id. */
#include "worker/session/peers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/peer.h"

#define AGAIN_MS 1000

struct entry {
	struct entry *next;
	char id[ID_LEN + 1];
	char *address;
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
	bool in_set;
};

static unsigned authorise(const struct rpc_peer *peer, void *arg, struct err *e)
{
	const struct peers *p = arg;

	if (peer->is_authenticated && strcmp(peer->cluster_id, p->w->state.cluster_id) == 0)
		return ROLE_BIT_WORKER;
	err_set(e, E_FORBIDDEN, "node %s is not of this cluster", peer->node_id);
	return 0;
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
	struct rpc_server_config config = {.authorise = authorise, .arg = p};

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

static void retarget(struct peers *p)
{
	const char *addresses[64];
	size_t n = 0;

	for (const struct entry *i = p->list; i && n < array_size(addresses); i = i->next)
		if (i->address)
			addresses[n++] = i->address;
	peer_set_targets(p->service, addresses, n);
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

void peers_set_begin(struct peers *p)
{
	for (struct entry *i = p->list; i; i = i->next)
		i->marked = false;
	p->in_set = true;
}

void peers_set_end(struct peers *p)
{
	for (struct entry **at = &p->list; p->in_set && *at;) {
		if ((*at)->marked)
			at = &(*at)->next;
		else
			drop(p, at);
	}
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
