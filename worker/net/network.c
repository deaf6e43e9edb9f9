// SPDX-License-Identifier: Apache-2.0
/* The happy path is: a row becomes a declaration, and one pool job at a time brings the kernel to it. What can
 * fail is the kernel: the overlay remembers what it did not take and says when to try again; here it is only
 * logged. Rows are kept as far as names and readiness need them. */
#include "worker/net/network.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "base/bug.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "overlay/overlay.h"
#include "worker/context/worker.h"

#define EVENT_WAIT_MS 250 /* a change brings several events: look once they are over */
#define HOSTS_WAIT_MS 50
#define SETTLE_MS 300
#define NET_MAGIC MAGIC('n', 'e', 't', 'g')

struct network {
	char id[ID_LEN + 1];
	struct overlay_network o;
	bool internal, declared; /* declared: not only spoken of by an endpoint */
	bool marked;
	uint64_t names; /* of net->names, when one of them changed last */
	struct ep *eps; /* utlist */
	UT_hash_handle hh;
};

struct ep {
	struct ep *prev, *next; /* in net->eps */
	struct network *net;
	char id[56], name[128], ip[INET6_ADDRSTRLEN];
	uint64_t version;
	bool marked;
	UT_hash_handle hh;
};

struct net {
	uint32_t magic;
	struct worker *w;
	struct net_above above; /* who uses the networks; empty: nobody */
	struct overlay *overlay;
	struct network *nets;
	uint64_t names; /* rises with each change of a name or an address */
	struct ep *eps;
	bool in_set, adopted, closing;
	bool passing, pass_again; /* one pass at a time */
	unsigned jobs;
	uint64_t repairs;
	uint32_t path_mtu; /* of the last pass; 0: not known */
	uv_poll_t events;
	struct loop_timer pass, hosts, settle;
	int64_t pass_due_ms; /* what the timer is set to; 0: not set */
	unsigned handles;
};

/* One job on the pool. It touches only the overlay, which has a lock of its own. */
struct job {
	struct net *n;
	void (*work)(struct job *j);
	void (*back)(struct job *j);
	struct overlay_pass pass;
	struct err err;
	char **keep; /* namespaces that stay, when adoption ends */
	size_t n_keep;
	char *text; /* of a dump */
	union {
		void (*removed)(const struct err *e, void *arg);
		void (*dumped)(const char *text, void *arg);
	} done;
	void *arg;
};

struct net_plan {
	struct net *n;
	char netns[128], task_id[ID_LEN + 1];
	struct overlay_port *ports;
	size_t n_ports;
	bool egress;
	pid_t pid;
};

/* ---- jobs ---- */

static void net_gone(struct net *n);

static void on_work(void *arg)
{
	struct job *j = arg;

	j->work(j);
}

static void on_back(void *arg)
{
	struct job *j = arg;
	struct net *n = magic_of(struct net, NET_MAGIC, j->n);

	bug_if(n->jobs == 0);
	n->jobs--;
	j->back(j);
	for (size_t i = 0; i < j->n_keep; i++)
		free(j->keep[i]);
	free(j->keep);
	free(j->text);
	free(j);
	if (n->closing)
		net_gone(n);
}

static struct job *job_new(struct net *n, void (*work)(struct job *j), void (*back)(struct job *j))
{
	struct job *j = xcalloc(1, sizeof(*j));

	*j = (struct job){.n = n, .work = work, .back = back};
	return j;
}

static void job_start(struct job *j)
{
	bug_if_off_loop();
	j->n->jobs++;
	loop_work(j->n->w->loop, on_work, on_back, j);
}

/* ---- passes ---- */

static void pass_soon(struct net *n, uint64_t wait_ms)
{
	int64_t due = (int64_t)uv_now(n->w->loop) + (int64_t)wait_ms;

	if (n->closing)
		return;
	if (n->passing) {
		n->pass_again |= wait_ms == 0;
		return;
	}
	if (n->pass_due_ms != 0 && n->pass_due_ms <= due)
		return;
	n->pass_due_ms = due;
	loop_timer_set(&n->pass, wait_ms);
}

static void pass_work(struct job *j)
{
	if (j->keep)
		overlay_adopt_done(j->n->overlay, (const char *const *)j->keep, j->n_keep, &j->err);
	if (j->err.code == 0)
		overlay_pass(j->n->overlay, &j->pass, &j->err);
	else
		overlay_pass(j->n->overlay, &j->pass, NULL);
}

static void pass_back(struct job *j)
{
	struct net *n = j->n;

	n->passing = false;
	n->repairs += j->pass.repairs;
	n->path_mtu = j->pass.path_mtu;
	if (j->pass.repairs > 0)
		log_info("overlay: mended %u objects", j->pass.repairs);
	if (j->err.code != 0)
		log_warn("overlay: %s; %u objects wait, next try in %u ms", j->err.msg, j->pass.waiting,
			 j->pass.wait_ms);
	pass_soon(n, n->pass_again ? 0 : j->pass.wait_ms);
	n->pass_again = false;
}

static void pass_start(struct net *n, char **take_keep, size_t n_keep)
{
	struct job *j = job_new(n, pass_work, pass_back);

	bug_if(n->passing);
	j->keep = take_keep;
	j->n_keep = n_keep;
	n->passing = true;
	job_start(j);
}

static void on_pass(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	n->pass_due_ms = 0;
	if (!n->passing)
		pass_start(n, NULL, 0);
}

static void on_events(uv_poll_t *poll, int status, int events)
{
	LOOP_SCOPE();
	struct net *n = magic_of(struct net, NET_MAGIC, poll->data);

	if (overlay_events_drain(n->overlay))
		pass_soon(n, EVENT_WAIT_MS);
}

/* Everything that runs has been declared again: what is left over in the kernel is nobody's. */
static void on_settle(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);
	char **keep;
	size_t n_keep;

	if (n->adopted)
		return;
	if (n->passing || !n->above.settled || !n->above.settled(n->above.arg)) {
		loop_timer_set(&n->settle, SETTLE_MS);
		return;
	}
	n->adopted = true;
	n->above.names(&keep, &n_keep, n->above.arg);
	pass_start(n, keep, n_keep);
}

void net_listen(struct net *n, const struct net_above *above)
{
	bug_if(above && (!above->settled || !above->names));
	n->above = above ? *above : (struct net_above){0};
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

static struct network *network_find(const struct net *n, const char *id)
{
	struct network *net;

	HASH_FIND_STR(n->nets, id, net);
	return net;
}

static struct network *network_get(struct net *n, const char *id)
{
	struct network *net = network_find(n, id);

	if (net)
		return net;
	net = xcalloc(1, sizeof(*net));
	snprintf(net->id, sizeof(net->id), "%s", id);
	HASH_ADD_STR(n->nets, id, net);
	return net;
}

static void network_review(struct net *n, struct network *net)
{
	if (net->declared || net->eps)
		return;
	HASH_DEL(n->nets, net);
	free(net);
}

void net_network_set(struct net *n, const Gs__Network *row)
{
	struct overlay_network o = {0};
	struct err e = {0};
	struct network *net;

	if (!row->meta || !row->subnet || !id_is_valid(row->meta->id))
		return; /* not allocated yet: it comes again */
	snprintf(o.id, sizeof(o.id), "%s", row->meta->id);
	o.vni = row->vni;
	o.mtu = row->mtu;
	o.generation = row->meta->version;
	ip_fill(&o.subnet, &row->subnet->ip, row->subnet->prefix);
	net = network_get(n, row->meta->id);
	net->internal = row->spec && row->spec->internal;
	net->marked = true;
	if (net->declared && memcmp(&net->o, &o, sizeof(o)) == 0)
		return;
	net->o = o;
	net->declared = true;
	if (overlay_network_set(n->overlay, &o, &e) < 0)
		log_warn("overlay: %s", e.msg);
	pass_soon(n, 0);
	if (n->above.came)
		n->above.came(n->above.arg);
}

void net_network_remove(struct net *n, const char *network_id)
{
	struct network *net = network_find(n, network_id);

	if (!net || !net->declared)
		return;
	net->declared = false;
	overlay_network_remove(n->overlay, network_id);
	network_review(n, net);
	pass_soon(n, 0);
}

static struct ep *ep_find(const struct net *n, const char *id)
{
	struct ep *ep;

	HASH_FIND_STR(n->eps, id, ep);
	return ep;
}

/* The hosts files, once for many; a stream of changes does not put them off for ever. */
static void hosts_changed(struct net *n, struct network *net)
{
	net->names = ++n->names;
	if (!uv_is_active((uv_handle_t *)&n->hosts.uv))
		loop_timer_set(&n->hosts, HOSTS_WAIT_MS);
}

static struct ep *ep_get(struct net *n, const Gs__Endpoint *row)
{
	struct ep *ep = ep_find(n, row->meta->id);

	if (!ep) {
		ep = xcalloc(1, sizeof(*ep));
		snprintf(ep->id, sizeof(ep->id), "%s", row->meta->id);
		HASH_ADD_STR(n->eps, id, ep);
	} else if (strcmp(ep->net->id, row->network_id) == 0) {
		return ep;
	} else {
		hosts_changed(n, ep->net);
		DL_DELETE(ep->net->eps, ep);
		network_review(n, ep->net);
		*ep->ip = '\0'; /* it is new where it comes to */
	}
	ep->net = network_get(n, row->network_id);
	DL_APPEND(ep->net->eps, ep);
	return ep;
}

static void ep_declare(struct net *n, const Gs__Endpoint *row)
{
	struct overlay_endpoint o = {.generation = row->generation};
	struct err e = {0};

	if (row->vtep_ip.len == 0)
		return; /* not placed: an address without a place */
	snprintf(o.id, sizeof(o.id), "%s", row->meta->id);
	snprintf(o.network_id, sizeof(o.network_id), "%s", row->network_id);
	ip_fill(&o.ip, &row->addr->ip, row->addr->prefix);
	ip_fill(&o.vtep, &row->vtep_ip, 32);
	memcpy(o.mac, row->mac.data, 6);
	if (overlay_endpoint_set(n->overlay, &o, &e) < 0)
		log_warn("overlay: %s", e.msg);
	pass_soon(n, 0);
}

void net_endpoint_set(struct net *n, const Gs__Endpoint *row)
{
	char ip[INET6_ADDRSTRLEN];
	struct ep *ep;

	if (!row->meta || !row->addr || row->mac.len != 6 || !id_is_valid(row->network_id))
		return;
	ep = ep_get(n, row);
	ep->marked = true;
	if (ep->version == row->meta->version)
		return;
	ep->version = row->meta->version;
	addr_format(&row->addr->ip, ip, sizeof(ip));
	if (strcmp(ep->ip, ip) != 0 || strncmp(ep->name, row->name, sizeof(ep->name) - 1) != 0) {
		snprintf(ep->name, sizeof(ep->name), "%s", row->name);
		snprintf(ep->ip, sizeof(ep->ip), "%s", ip);
		hosts_changed(n, ep->net);
	}
	ep_declare(n, row);
}

static void ep_drop(struct net *n, struct ep *ep)
{
	struct network *net = ep->net;

	overlay_endpoint_remove(n->overlay, ep->id);
	hosts_changed(n, net);
	HASH_DEL(n->eps, ep);
	DL_DELETE(net->eps, ep);
	network_review(n, net);
	free(ep);
	pass_soon(n, 0);
}

void net_endpoint_remove(struct net *n, const char *id)
{
	struct ep *ep = ep_find(n, id);

	if (ep)
		ep_drop(n, ep);
}

static int ip_of(const char *text, struct overlay_ip *ret, uint8_t prefix)
{
	*ret = (struct overlay_ip){.prefix = prefix};
	ret->len = (uint8_t)addr_bytes(text, ret->bytes);
	return ret->len != 0 ? 0 : -1;
}

void net_pool_set(struct net *n, const char *pool)
{
	struct overlay_ip ip = {0};
	Gs__Addr *addr = NULL;

	if (addr_parse_cidr(pool, &addr, NULL) < 0)
		return;
	ip_fill(&ip, &addr->ip, addr->prefix);
	obj_free(addr);
	overlay_egress_pool_set(n->overlay, &ip);
}

void net_guard_set(struct net *n, const char *const *services, size_t n_services)
{
	struct overlay_service *list = xcalloc(n_services + 1, sizeof(*list));
	size_t n_list = 0;
	char host[64];

	for (size_t i = 0; i < n_services; i++) {
		struct overlay_service *s = &list[n_list];

		if (hostport_parse(services[i], MANAGER_PORT, host, sizeof(host), &s->port, NULL) == 0 &&
		    ip_of(host, &s->ip, 32) == 0)
			n_list++;
	}
	overlay_guard_set(n->overlay, list, n_list);
	free(list);
	pass_soon(n, 0);
}

void net_set_begin(struct net *n)
{
	n->in_set = true;
	for (struct network *net = n->nets; net; net = net->hh.next)
		net->marked = false;
	for (struct ep *ep = n->eps; ep; ep = ep->hh.next)
		ep->marked = false;
}

void net_set_end(struct net *n)
{
	struct network *net, *net_tmp;
	struct ep *ep, *ep_tmp;
	bool in_set = n->in_set;

	n->in_set = false;
	HASH_ITER (hh, n->eps, ep, ep_tmp) {
		if (in_set && !ep->marked)
			ep_drop(n, ep);
	}
	HASH_ITER (hh, n->nets, net, net_tmp) {
		if (in_set && !net->marked)
			net_network_remove(n, net->id);
	}
	if (!n->adopted)
		loop_timer_set(&n->settle, SETTLE_MS);
}

bool net_ready(const struct net *n, const Gs__Task *task)
{
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];
		const struct network *net = network_find(n, a->network_id);

		if (!net || !net->declared || !a->addr)
			return false;
	}
	/* An address must have been reserved for each network of the spec. */
	return !task->spec || task->n_addresses >= task->spec->n_networks;
}

uint64_t net_repairs(const struct net *n)
{
	return n->repairs;
}

uint64_t net_names_version(const struct net *n, const Gs__Task *task)
{
	uint64_t last = 1; /* never 0 */

	for (size_t i = 0; i < task->n_addresses; i++) {
		const struct network *net = network_find(n, task->addresses[i]->network_id);

		if (net && net->names >= last)
			last = net->names + 1;
	}
	return last;
}

char *net_hosts(const struct net *n, const Gs__Task *task)
{
	struct buf out = {0};
	char ip[INET6_ADDRSTRLEN];
	const struct ep *ep;

	for (size_t i = 0; i < task->n_addresses; i++)
		if (task->addresses[i]->addr)
			buf_printf(&out, "%s %s%s%s\n",
				   addr_format(&task->addresses[i]->addr->ip, ip, sizeof(ip)), task->name,
				   *task->spec->hostname ? " " : "", task->spec->hostname);
	for (size_t i = 0; i < task->n_addresses; i++) {
		const struct network *net = network_find(n, task->addresses[i]->network_id);

		DL_FOREACH (net ? net->eps : NULL, ep)
			if (*ep->name && strcmp(ep->name, task->name) != 0)
				buf_printf(&out, "%s %s\n", ep->ip, ep->name);
	}
	buf_text(&out);
	return (char *)out.data;
}

/* ---- the whole ---- */

static void dump_work(struct job *j)
{
	j->text = overlay_dump(j->n->overlay);
}

static void dump_back(struct job *j)
{
	struct net *n = j->n;
	struct buf out = {0};

	for (const struct network *net = n->nets; net; net = net->hh.next)
		buf_printf(&out, "network %s vni=%u mtu=%u declared=%d\n", net->id, net->o.vni, net->o.mtu,
			   net->declared);
	for (const struct ep *ep = n->eps; ep; ep = ep->hh.next)
		buf_printf(&out, "endpoint %s %s %s\n", ep->id, ep->name, ep->ip);
	buf_printf(&out, "repairs %llu\n%s", (unsigned long long)n->repairs, j->text ? j->text : "");
	j->done.dumped(buf_text(&out), j->arg);
	buf_fini(&out);
}

void net_dump(struct net *n, void (*done)(const char *text, void *arg), void *arg)
{
	struct job *j = job_new(n, dump_work, dump_back);

	j->done.dumped = done;
	j->arg = arg;
	job_start(j);
}

static void remove_work(struct job *j)
{
	overlay_remove_all(j->n->overlay, &j->err);
}

static void remove_back(struct job *j)
{
	if (j->err.code != 0)
		log_warn("overlay: remove all: %s", j->err.msg);
	j->done.removed(&j->err, j->arg);
}

void net_remove_all(struct net *n, void (*done)(const struct err *e, void *arg), void *arg)
{
	struct job *j = job_new(n, remove_work, remove_back);

	j->done.removed = done;
	j->arg = arg;
	job_start(j);
}

/* ---- plans ---- */

static void plan_port(struct net_plan *p, const Gs__SlotAddress *a, const Gs__Task *task)
{
	struct overlay_port *port = &p->ports[p->n_ports];

	snprintf(port->netns, sizeof(port->netns), "%s", p->netns);
	snprintf(port->owner, sizeof(port->owner), "%s", p->task_id);
	snprintf(port->id, sizeof(port->id), "%s.%s", a->network_id, task->slot_id);
	snprintf(port->network_id, sizeof(port->network_id), "%s", a->network_id);
	snprintf(port->ifname, sizeof(port->ifname), "eth%zu", p->n_ports);
	ip_fill(&port->ip, &a->addr->ip, a->addr->prefix);
	memcpy(port->mac, a->mac.data, 6);
	p->n_ports++;
}

/* A task on internal networks alone has no way out; one more network that is not internal gives it one. */
struct net_plan *net_plan_new(struct net *n, const Gs__Task *task)
{
	struct net_plan *p = xcalloc(1, sizeof(*p));
	size_t internal = 0;

	p->n = n;
	snprintf(p->netns, sizeof(p->netns), "%s", task->name);
	snprintf(p->task_id, sizeof(p->task_id), "%s", task->meta->id);
	p->ports = xcalloc(task->n_addresses + 1, sizeof(*p->ports));
	for (size_t i = 0; i < task->n_addresses; i++) {
		const Gs__SlotAddress *a = task->addresses[i];
		const struct network *net = network_find(n, a->network_id);

		if (!a->addr || a->mac.len != 6)
			continue;
		internal += net && net->internal;
		plan_port(p, a, task);
	}
	p->egress = p->n_ports == 0 || internal < p->n_ports;
	return p;
}

void net_plan_free(struct net_plan *p)
{
	free(p->ports);
	free(p);
}

void net_plan_process(struct net_plan *p, pid_t pid)
{
	p->pid = pid;
}

/* Keeps the first error, and goes on: each call declares what it is about. */
static void attach_note(struct err *e, int rc, const struct err *one, const char *netns)
{
	if (rc == 0 || e->code != 0)
		return;
	*e = *one;
	err_wrap(e, "network of %s", netns);
}

int net_attach(struct net_plan *p, struct err *e)
{
	struct overlay *o = p->n->overlay;
	struct err one = {0};

	attach_note(e, overlay_netns_create(o, p->netns, p->task_id, p->pid, &one), &one, p->netns);
	for (size_t i = 0; i < p->n_ports; i++)
		attach_note(e, overlay_attach(o, &p->ports[i], &one), &one, p->netns);
	if (p->egress)
		attach_note(e, overlay_egress_attach(o, p->netns, p->task_id, &one), &one, p->netns);
	return e->code;
}

void net_detach(struct net_plan *p)
{
	struct overlay *o = p->n->overlay;

	overlay_egress_detach(o, p->task_id, NULL);
	for (size_t i = 0; i < p->n_ports; i++)
		overlay_detach(o, p->ports[i].id, p->task_id, NULL);
	overlay_netns_remove(o, p->netns, p->task_id, NULL);
}

/* ---- life ---- */

static void on_hosts(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	if (n->above.hosts_changed)
		n->above.hosts_changed(n->above.arg);
}

static int open_overlay(struct worker *w, struct overlay **ret, struct err *e)
{
	cleanup_free char *helper = xasprintf("%s/gswarm-nft", w->exe_dir);
	struct overlay_config config = {
		.port = (uint16_t)(w->state.data_path_port != 0 ? w->state.data_path_port : DATA_PATH_PORT),
		.netns_dir = "/run/netns",
		.nft_helper = access(helper, X_OK) == 0 ? helper : NULL,
	};

	if (ip_of(w->state.data_path, &config.vtep, 32) < 0)
		return err_set(e, E_INVALID, "data path address %s is not numeric", w->state.data_path);
	return overlay_new(&config, ret, e);
}

void net_vtep_set(struct net *n, const char *ip)
{
	struct overlay_ip vtep;
	struct err e = {0};

	if (ip_of(ip, &vtep, 32) < 0 || overlay_vtep_set(n->overlay, &vtep, &e) < 0)
		log_warn("data path address %s is not numeric", ip);
	pass_soon(n, 0);
}

int net_new(struct worker *w, struct net **ret, struct err *e)
{
	struct net *n = xcalloc(1, sizeof(*n));

	n->w = w;
	if (open_overlay(w, &n->overlay, e) < 0) {
		free(n);
		return e->code;
	}
	magic_set(n, NET_MAGIC);
	loop_timer_init(&n->pass, w->loop, on_pass, n);
	loop_timer_init(&n->hosts, w->loop, on_hosts, n);
	loop_timer_init(&n->settle, w->loop, on_settle, n);
	n->handles = 3;
	if (uv_poll_init(w->loop, &n->events, overlay_events_fd(n->overlay)) == 0) {
		n->events.data = n;
		n->handles++;
		uv_poll_start(&n->events, UV_READABLE, on_events);
	}
	pass_soon(n, 0);
	*ret = n;
	return 0;
}

static void net_gone(struct net *n)
{
	struct network *net, *net_tmp;
	struct ep *ep, *ep_tmp;

	if (n->handles > 0 || n->jobs > 0)
		return;
	overlay_free(n->overlay);
	HASH_ITER (hh, n->eps, ep, ep_tmp) {
		HASH_DEL(n->eps, ep);
		free(ep);
	}
	HASH_ITER (hh, n->nets, net, net_tmp) {
		HASH_DEL(n->nets, net);
		free(net);
	}
	magic_end(n);
	free(n);
}

static void on_timer_closed(void *arg)
{
	struct net *n = magic_of(struct net, NET_MAGIC, arg);

	n->handles--;
	net_gone(n);
}

static void on_events_closed(uv_handle_t *h)
{
	on_timer_closed(h->data);
}

void net_free(struct net *n)
{
	if (!n || n->closing)
		return;
	n->closing = true;
	if (n->handles == 4)
		uv_close((uv_handle_t *)&n->events, on_events_closed);
	loop_timer_close(&n->pass, on_timer_closed);
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

uint32_t net_link_mtu(const char *ip)
{
	struct ifaddrs *list, *i;
	struct overlay_ip want;
	uint32_t mtu = 0;

	if (ip_of(ip, &want, 0) < 0 || getifaddrs(&list) < 0)
		return 0;
	for (i = list; i && mtu == 0; i = i->ifa_next) {
		const void *have = NULL;

		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && want.len == 4)
			have = &((struct sockaddr_in *)i->ifa_addr)->sin_addr;
		else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6 && want.len == 16)
			have = &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		if (have && memcmp(have, want.bytes, want.len) == 0)
			mtu = link_mtu(i->ifa_name);
	}
	freeifaddrs(list);
	return mtu;
}

uint32_t net_mtu(const struct net *n, uint32_t link)
{
	return n && link != 0 && n->path_mtu != 0 && n->path_mtu < link ? n->path_mtu : link;
}
