// SPDX-License-Identifier: Apache-2.0
/* The happy path is a queue of declarations carried out by one pool job at a time, in order, and plans that
 * tasks carry out themselves. What can fail is the kernel: it is logged, and the reconcile pass (on events,
 * debounced, and every minute, jittered) tries again. A network goes only when no plan uses it any more. */
#include "worker/netglue.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "overlay/overlay.h"
#include "worker/tasks.h"
#include "worker/worker.h"

#define SWEEP_MS 60000
#define EVENT_WAIT_MS 1000 /* our own writes raise events too: look once they are over */
#define HOSTS_WAIT_MS 50
#define SETTLE_MS 300
#define EGRESS_SUBNET "172.31.0.0"

enum op_kind {
	OP_NET_SET,
	OP_NET_REMOVE,
	OP_EP_SET,
	OP_EP_REMOVE,
	OP_ADOPT_DONE,
	OP_RECONCILE,
	OP_REMOVE_ALL
};

struct op {
	struct op *next;
	enum op_kind kind;
	struct overlay_network net;
	struct overlay_endpoint ep;
	char id[56];
	char **keep; /* ADOPT_DONE: namespaces that stay */
	size_t n_keep;
	void (*done)(const struct err *e, void *arg);
	void *arg;
	struct err err;
	unsigned repairs;
};

struct net {
	struct net *next;
	char id[ID_LEN + 1];
	struct overlay_network o;
	bool marked, removing;
	unsigned users; /* plans */
};

struct ep {
	struct ep *next;
	char id[56], network_id[ID_LEN + 1], name[128], ip[INET6_ADDRSTRLEN];
	uint64_t version;
	bool marked;
};

struct netglue {
	struct worker *w;
	struct overlay *overlay;
	struct net *nets;
	struct ep *eps;
	struct op *queue, **tail;
	bool working, in_set, adopted, closing, set_seen;
	uint64_t repairs;
	uv_poll_t events;
	struct loop_timer sweep, event_wait, hosts, settle;
	unsigned handles;
};

struct net_plan {
	struct netglue *n;
	char netns[128], slot_id[ID_LEN + 1];
	struct overlay_network *nets;
	struct overlay_port *ports;
	size_t n_ports;
	bool egress;
	char **net_ids;
};

static void work_next(struct netglue *n);

/* ---- the queue ---- */

static void op_do(struct overlay *o, struct op *op)
{
	struct err *e = &op->err;

	switch (op->kind) {
	case OP_NET_SET:
		overlay_network_set(o, &op->net, e);
		break;
	case OP_NET_REMOVE:
		overlay_network_remove(o, op->id, e);
		break;
	case OP_EP_SET:
		overlay_endpoint_set(o, &op->ep, e);
		break;
	case OP_EP_REMOVE:
		overlay_endpoint_remove(o, op->id, e);
		break;
	case OP_ADOPT_DONE:
		overlay_adopt_done(o, (const char *const *)op->keep, op->n_keep, e);
		break;
	case OP_RECONCILE:
		overlay_reconcile(o, &op->repairs, e);
		break;
	case OP_REMOVE_ALL:
		overlay_remove_all(o, e);
		break;
	}
}

struct batch {
	struct netglue *n;
	struct op *ops;
};

static void batch_work(void *arg)
{
	struct batch *b = arg;

	for (struct op *op = b->ops; op != NULL; op = op->next)
		op_do(b->n->overlay, op);
}

static void op_free(struct op *op)
{
	for (size_t i = 0; i < op->n_keep; i++)
		free(op->keep[i]);
	free(op->keep);
	free(op);
}

static void op_finish(struct netglue *n, struct op *op)
{
	static const char *const names[] = {"network", "remove network", "endpoint",  "remove endpoint",
					    "adopt",   "reconcile",      "remove all"};

	n->repairs += op->repairs;
	if (op->repairs > 0)
		log_info("overlay: repaired %u objects", op->repairs);
	if (op->err.code != 0)
		log_warn("overlay: %s: %s", names[op->kind], op->err.msg);
	if (op->done != NULL)
		op->done(&op->err, op->arg);
	op_free(op);
}

static void netglue_gone(struct netglue *n);

static void batch_back(void *arg)
{
	struct batch *b = arg;
	struct netglue *n = b->n;

	n->working = false;
	while (b->ops != NULL) {
		struct op *op = b->ops;

		b->ops = op->next;
		op_finish(n, op);
	}
	free(b);
	if (n->closing)
		netglue_gone(n);
	else
		work_next(n);
}

static void work_next(struct netglue *n)
{
	struct batch *b;

	if (n->working || n->queue == NULL)
		return;
	b = xcalloc(1, sizeof(*b));
	b->n = n;
	b->ops = n->queue;
	n->queue = NULL;
	n->tail = &n->queue;
	n->working = true;
	loop_work(n->w->loop, batch_work, batch_back, b);
}

static struct op *op_put(struct netglue *n, enum op_kind kind, const char *id)
{
	struct op *op = xcalloc(1, sizeof(*op));

	op->kind = kind;
	if (id != NULL)
		snprintf(op->id, sizeof(op->id), "%s", id);
	*n->tail = op;
	n->tail = &op->next;
	return op;
}

/* ---- rows ---- */

static void ip_fill(struct overlay_ip *ret, const ProtobufCBinaryData *ip, uint32_t prefix)
{
	*ret = (struct overlay_ip){.prefix = (uint8_t)prefix};
	if (ip->len == 4 || ip->len == 16) {
		memcpy(ret->bytes, ip->data, ip->len);
		ret->len = (uint8_t)ip->len;
	}
}

static struct net *net_find(const struct netglue *n, const char *id)
{
	struct net *net = n->nets;

	while (net != NULL && strcmp(net->id, id) != 0)
		net = net->next;
	return net;
}

void netglue_network_set(struct netglue *n, const Gs__Network *row)
{
	struct net *net;
	struct overlay_network o = {0};

	if (row->meta == NULL || row->subnet == NULL || !id_is_valid(row->meta->id))
		return; /* not allocated yet: it comes again */
	snprintf(o.id, sizeof(o.id), "%s", row->meta->id);
	o.vni = row->vni;
	o.mtu = row->mtu;
	o.internal = row->spec != NULL && row->spec->internal;
	ip_fill(&o.subnet, &row->subnet->ip, row->subnet->prefix);
	net = net_find(n, row->meta->id);
	if (net == NULL) {
		net = xcalloc(1, sizeof(*net));
		snprintf(net->id, sizeof(net->id), "%s", row->meta->id);
		net->next = n->nets;
		n->nets = net;
	} else if (memcmp(&net->o, &o, sizeof(o)) == 0) {
		net->marked = true;
		net->removing = false;
		return;
	}
	net->o = o;
	net->marked = true;
	net->removing = false;
	op_put(n, OP_NET_SET, NULL)->net = o;
	work_next(n);
	tasks_kick(n->w->tasks);
}

static void net_drop(struct netglue *n, struct net *net)
{
	struct net **p = &n->nets;

	if (net->users > 0)
		return;
	while (*p != net)
		p = &(*p)->next;
	*p = net->next;
	op_put(n, OP_NET_REMOVE, net->id);
	work_next(n);
	free(net);
}

void netglue_network_remove(struct netglue *n, const char *network_id)
{
	struct net *net = net_find(n, network_id);

	if (net == NULL)
		return;
	net->removing = true;
	net_drop(n, net);
}

static struct ep *ep_find(const struct netglue *n, const char *id)
{
	struct ep *ep = n->eps;

	while (ep != NULL && strcmp(ep->id, id) != 0)
		ep = ep->next;
	return ep;
}

void netglue_endpoint_set(struct netglue *n, const Gs__Endpoint *row)
{
	struct ep *ep;
	struct op *op;

	if (row->meta == NULL || row->addr == NULL || row->mac.len != 6)
		return;
	ep = ep_find(n, row->meta->id);
	if (ep != NULL && ep->version == row->meta->version) {
		ep->marked = true;
		return;
	}
	if (ep == NULL) {
		ep = xcalloc(1, sizeof(*ep));
		snprintf(ep->id, sizeof(ep->id), "%s", row->meta->id);
		ep->next = n->eps;
		n->eps = ep;
	}
	ep->marked = true;
	ep->version = row->meta->version;
	snprintf(ep->network_id, sizeof(ep->network_id), "%s", row->network_id);
	snprintf(ep->name, sizeof(ep->name), "%s", row->name);
	addr_format(&row->addr->ip, ep->ip, sizeof(ep->ip));
	loop_timer_set(&n->hosts, HOSTS_WAIT_MS);
	if (row->vtep_ip.len == 0)
		return; /* not placed: an address without a place */
	op = op_put(n, OP_EP_SET, NULL);
	snprintf(op->ep.id, sizeof(op->ep.id), "%s", row->meta->id);
	snprintf(op->ep.network_id, sizeof(op->ep.network_id), "%s", row->network_id);
	ip_fill(&op->ep.ip, &row->addr->ip, row->addr->prefix);
	ip_fill(&op->ep.vtep, &row->vtep_ip, 32);
	memcpy(op->ep.mac, row->mac.data, 6);
	op->ep.generation = row->generation;
	work_next(n);
}

void netglue_endpoint_remove(struct netglue *n, const char *id)
{
	for (struct ep **p = &n->eps; *p != NULL; p = &(*p)->next) {
		struct ep *ep = *p;

		if (strcmp(ep->id, id) != 0)
			continue;
		*p = ep->next;
		free(ep);
		op_put(n, OP_EP_REMOVE, id);
		work_next(n);
		loop_timer_set(&n->hosts, HOSTS_WAIT_MS);
		return;
	}
}

void netglue_set_begin(struct netglue *n)
{
	n->in_set = true;
	for (struct net *net = n->nets; net != NULL; net = net->next)
		net->marked = false;
	for (struct ep *ep = n->eps; ep != NULL; ep = ep->next)
		ep->marked = false;
}

void netglue_set_end(struct netglue *n)
{
	struct net *next_net;
	struct ep *next_ep;

	for (struct ep *ep = n->eps; n->in_set && ep != NULL; ep = next_ep) {
		next_ep = ep->next;
		if (!ep->marked) {
			char id[56];

			memcpy(id, ep->id, sizeof(id));
			netglue_endpoint_remove(n, id);
		}
	}
	for (struct net *net = n->nets; n->in_set && net != NULL; net = next_net) {
		next_net = net->next;
		if (!net->marked) {
			net->removing = true;
			net_drop(n, net);
		}
	}
	n->in_set = false;
	n->set_seen = true;
	if (!n->adopted)
		loop_timer_set(&n->settle, SETTLE_MS);
}

bool netglue_ready(const struct netglue *n, const Gs__Task *task)
{
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];

		if (net_find(n, a->network_id) == NULL || a->addr == NULL)
			return false;
	}
	/* An address must have been reserved for each network of the spec. */
	return task->spec == NULL || task->n_addresses >= task->spec->n_networks;
}

uint64_t netglue_repairs(const struct netglue *n)
{
	return n->repairs;
}

static bool task_has_network(const Gs__Task *task, const char *network_id)
{
	for (size_t i = 0; i < task->n_addresses; i++)
		if (strcmp(task->addresses[i]->network_id, network_id) == 0)
			return true;
	return false;
}

char *netglue_hosts(const struct netglue *n, const Gs__Task *task)
{
	struct buf out = {0};
	char ip[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < task->n_addresses; i++)
		if (task->addresses[i]->addr != NULL)
			buf_printf(&out, "%s %s%s%s\n",
				   addr_format(&task->addresses[i]->addr->ip, ip, sizeof(ip)), task->name,
				   *task->spec->hostname ? " " : "", task->spec->hostname);
	for (const struct ep *ep = n->eps; ep != NULL; ep = ep->next)
		if (*ep->name && strcmp(ep->name, task->name) != 0 && task_has_network(task, ep->network_id))
			buf_printf(&out, "%s %s\n", ep->ip, ep->name);
	buf_text(&out);
	return (char *)out.data;
}

void netglue_dump(const struct netglue *n, struct buf *out)
{
	cleanup_free char *text = overlay_dump(n->overlay);

	for (const struct net *net = n->nets; net != NULL; net = net->next)
		buf_printf(out, "network %s vni=%u mtu=%u users=%u\n", net->id, net->o.vni, net->o.mtu,
			   net->users);
	for (const struct ep *ep = n->eps; ep != NULL; ep = ep->next)
		buf_printf(out, "endpoint %s %s %s\n", ep->id, ep->name, ep->ip);
	buf_printf(out, "repairs %llu\n%s", (unsigned long long)n->repairs, text != NULL ? text : "");
}

void netglue_remove_all(struct netglue *n, void (*done)(const struct err *e, void *arg), void *arg)
{
	struct op *op = op_put(n, OP_REMOVE_ALL, NULL);

	op->done = done;
	op->arg = arg;
	work_next(n);
}

/* ---- plans ---- */

struct net_plan *net_plan_new(struct netglue *n, const Gs__Task *task)
{
	struct net_plan *p = xcalloc(1, sizeof(*p));
	bool internal = false;

	p->n = n;
	snprintf(p->netns, sizeof(p->netns), "%s", task->name);
	snprintf(p->slot_id, sizeof(p->slot_id), "%s", task->slot_id);
	p->nets = xcalloc(task->n_addresses + 1, sizeof(*p->nets));
	p->ports = xcalloc(task->n_addresses + 1, sizeof(*p->ports));
	p->net_ids = xcalloc(task->n_addresses + 1, sizeof(*p->net_ids));
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];
		struct net *net = net_find(n, a->network_id);
		struct overlay_port *port;

		if (net == NULL || a->addr == NULL || a->mac.len != 6)
			continue;
		port = &p->ports[p->n_ports];
		p->nets[p->n_ports] = net->o;
		net->users++;
		internal |= net->o.internal;
		snprintf(port->netns, sizeof(port->netns), "%s", p->netns);
		snprintf(port->id, sizeof(port->id), "%s.%s", a->network_id, task->slot_id);
		snprintf(port->network_id, sizeof(port->network_id), "%s", a->network_id);
		snprintf(port->ifname, sizeof(port->ifname), "eth%zu", p->n_ports);
		ip_fill(&port->ip, &a->addr->ip, a->addr->prefix);
		memcpy(port->mac, a->mac.data, 6);
		p->n_ports++;
	}
	p->egress = !internal;
	return p;
}

void net_plan_free(struct net_plan *p)
{
	for (size_t i = 0; i < p->n_ports; i++) {
		struct net *net = net_find(p->n, p->nets[i].id);

		if (net != NULL) {
			net->users--;
			if (net->removing)
				net_drop(p->n, net);
		}
	}
	free(p->nets);
	free(p->ports);
	free(p->net_ids);
	free(p);
}

int net_attach(struct net_plan *p, struct err *e)
{
	struct overlay *o = p->n->overlay;

	if (overlay_netns_create(o, p->netns, e) < 0)
		return e->code;
	for (size_t i = 0; i < p->n_ports; i++)
		/* The declaration may still be in the queue; it is idempotent. */
		if (overlay_network_set(o, &p->nets[i], e) < 0 || overlay_attach(o, &p->ports[i], e) < 0)
			return err_wrap(e, "network of %s", p->netns);
	if (p->egress && overlay_egress_attach(o, p->netns, p->slot_id, e) < 0)
		return err_wrap(e, "egress of %s", p->netns);
	return 0;
}

void net_detach(struct net_plan *p)
{
	struct overlay *o = p->n->overlay;

	/* What fails here is found by the reconcile pass, which removes what nobody declares. */
	if (p->egress)
		overlay_egress_detach(o, p->slot_id, NULL);
	for (size_t i = 0; i < p->n_ports; i++)
		overlay_detach(o, p->ports[i].id, NULL);
	overlay_netns_remove(o, p->netns, NULL);
}

/* ---- timers and events ---- */

static void reconcile(struct netglue *n)
{
	for (const struct op *op = n->queue; op != NULL; op = op->next)
		if (op->kind == OP_RECONCILE)
			return;
	op_put(n, OP_RECONCILE, NULL);
	work_next(n);
}

static void on_sweep(void *arg)
{
	struct netglue *n = arg;
	uint32_t r;

	random_bytes(&r, sizeof(r));
	loop_timer_set(&n->sweep, SWEEP_MS * 3 / 4 + r % (SWEEP_MS / 2));
	if (n->adopted)
		reconcile(n);
}

static void on_event_wait(void *arg)
{
	struct netglue *n = arg;

	if (n->adopted)
		reconcile(n);
}

static void on_events(uv_poll_t *poll, int status, int events)
{
	struct netglue *n = poll->data;

	if (overlay_events_drain(n->overlay) && !uv_is_active((uv_handle_t *)&n->event_wait.uv))
		loop_timer_set(&n->event_wait, EVENT_WAIT_MS);
}

static void on_hosts(void *arg)
{
	struct netglue *n = arg;

	tasks_hosts_changed(n->w->tasks);
}

/* Everything that runs has been declared again: what is left over in the kernel is nobody's. */
static void on_settle(void *arg)
{
	struct netglue *n = arg;
	struct op *op;

	if (n->adopted)
		return;
	if (!tasks_net_settled(n->w->tasks)) {
		loop_timer_set(&n->settle, SETTLE_MS);
		return;
	}
	n->adopted = true;
	op = op_put(n, OP_ADOPT_DONE, NULL);
	tasks_netns_list(n->w->tasks, &op->keep, &op->n_keep);
	work_next(n);
}

/* ---- life ---- */

static int ip_parse(const char *text, struct overlay_ip *ret, uint8_t prefix)
{
	*ret = (struct overlay_ip){.prefix = prefix};
	if (inet_pton(AF_INET, text, ret->bytes) == 1)
		ret->len = 4;
	else if (inet_pton(AF_INET6, text, ret->bytes) == 1)
		ret->len = 16;
	return ret->len != 0 ? 0 : -1;
}

int netglue_new(struct worker *w, struct netglue **ret, struct err *e)
{
	struct netglue *n = xcalloc(1, sizeof(*n));
	cleanup_free char *helper = xasprintf("%s/gswarm-nft", w->exe_dir);
	struct overlay_config config = {
		.port = (uint16_t)(w->state.data_path_port != 0 ? w->state.data_path_port : 4789),
		.netns_dir = "/run/netns",
		.nft_helper = access(helper, X_OK) == 0 ? helper : NULL,
	};

	n->w = w;
	n->tail = &n->queue;
	if (ip_parse(w->state.data_path, &config.vtep, 32) < 0) {
		free(n);
		return err_set(e, E_INVALID, "data path address %s is not numeric", w->state.data_path);
	}
	ip_parse(EGRESS_SUBNET, &config.egress_subnet, 16);
	if (overlay_new(&config, &n->overlay, e) < 0) {
		free(n);
		return e->code;
	}
	loop_timer_init(&n->sweep, w->loop, on_sweep, n);
	loop_timer_init(&n->event_wait, w->loop, on_event_wait, n);
	loop_timer_init(&n->hosts, w->loop, on_hosts, n);
	loop_timer_init(&n->settle, w->loop, on_settle, n);
	n->handles = 4;
	if (overlay_events_fd(n->overlay) >= 0 &&
	    uv_poll_init(w->loop, &n->events, overlay_events_fd(n->overlay)) == 0) {
		n->events.data = n;
		n->handles++;
		uv_poll_start(&n->events, UV_READABLE, on_events);
	}
	loop_timer_set(&n->sweep, SWEEP_MS);
	*ret = n;
	return 0;
}

static void netglue_gone(struct netglue *n)
{
	if (n->handles > 0 || n->working)
		return;
	overlay_free(n->overlay);
	while (n->nets != NULL) {
		struct net *net = n->nets;

		n->nets = net->next;
		free(net);
	}
	while (n->eps != NULL) {
		struct ep *ep = n->eps;

		n->eps = ep->next;
		free(ep);
	}
	while (n->queue != NULL) {
		struct op *op = n->queue;

		n->queue = op->next;
		op_free(op);
	}
	free(n);
}

static void on_timer_closed(void *arg)
{
	struct netglue *n = arg;

	n->handles--;
	netglue_gone(n);
}

static void on_events_closed(uv_handle_t *h)
{
	on_timer_closed(h->data);
}

void netglue_free(struct netglue *n)
{
	if (n == NULL || n->closing)
		return;
	n->closing = true;
	if (n->handles == 5)
		uv_close((uv_handle_t *)&n->events, on_events_closed);
	loop_timer_close(&n->sweep, on_timer_closed);
	loop_timer_close(&n->event_wait, on_timer_closed);
	loop_timer_close(&n->hosts, on_timer_closed);
	loop_timer_close(&n->settle, on_timer_closed);
}

static uint32_t link_mtu(const char *name)
{
	struct ifreq req = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &req) < 0)
		req.ifr_mtu = 0;
	if (fd >= 0)
		close(fd);
	return (uint32_t)req.ifr_mtu;
}

uint32_t netglue_vtep_mtu(const char *ip)
{
	struct ifaddrs *list, *i;
	struct overlay_ip want;
	uint32_t mtu = 0;

	if (ip_parse(ip, &want, 0) < 0 || getifaddrs(&list) < 0)
		return 0;
	for (i = list; i != NULL && mtu == 0; i = i->ifa_next) {
		const void *have = NULL;

		if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET && want.len == 4)
			have = &((struct sockaddr_in *)i->ifa_addr)->sin_addr;
		else if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6 && want.len == 16)
			have = &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		if (have != NULL && memcmp(have, want.bytes, want.len) == 0)
			mtu = link_mtu(i->ifa_name);
	}
	freeifaddrs(list);
	return mtu;
}
