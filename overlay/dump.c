// SPDX-License-Identifier: Apache-2.0
/* What the kernel holds for us, as text, namespace by namespace. One that goes away meanwhile says so in its part. */
#include <string.h>

#include "overlay/kernel/fdb.h"
#include "overlay/internal.h"
#include "overlay/kernel/links.h"
#include "overlay/kernel/routes.h"

static void print_link(struct buf *b, const struct link *l)
{
	char mac[18], local[48];

	buf_printf(b, "  link  %d %s %s mac %s mtu %u master %d %s", l->index, l->name, l->kind,
		   link_mac_format(l->mac, mac), l->mtu, l->master, link_is_up(l) ? "up" : "down");
	if (l->vx.vni)
		buf_printf(b, " vni %u local %s port %u", l->vx.vni, ip_format(&l->vx.local, local),
			   l->vx.port);
	buf_printf(b, "%s%s\n", *l->alias ? " alias " : "", l->alias);
}

static void print_entries(struct buf *b, struct nl_conn *nl, int br, int vx)
{
	static const char *const kinds[] = {"fdb-self", "fdb-master", "neigh"};
	struct fdb_set set;
	char mac[18], ip[48];

	if (fdb_dump(nl, br, vx, &set, NULL) < 0)
		return;
	for (size_t i = 0; i < set.n; i++)
		buf_printf(b, "  %s %s %s\n", kinds[set.list[i].kind], link_mac_format(set.list[i].mac, mac),
			   ip_format(&set.list[i].ip, ip));
	fdb_set_fini(&set);
}

static void print_ns(struct overlay *o, struct buf *b, const char *name)
{
	char mark[ALIAS_MAX];
	const struct link *br, *vx;
	struct links links;
	struct ns *ns;

	if (ns_get(o, name, &ns, NULL) < 0)
		return;
	if (ns_mark(o, ns, mark, NULL) < 0 || !*mark) {
		ns_drop(o, ns);
		return;
	}
	buf_printf(b, "namespace %s (%s)\n", name, mark);
	if (links_dump(&ns->nl, &links, NULL) < 0)
		return;
	for (size_t i = 0; i < links.n; i++)
		print_link(b, &links.list[i]);
	br = links_find(&links, NAME_BRIDGE);
	vx = links_find(&links, NAME_VXLAN);
	if (br && vx)
		print_entries(b, &ns->nl, br->index, vx->index);
	links_fini(&links);
	(void)routes_print(&ns->nl, b, NULL);
}

static void print_work(struct buf *b, const char *kind, const char *name, const struct work *w)
{
	if (work_is_there(w))
		buf_printf(b, "%s %s %s failures=%u\n", kind, name, sm_name(&w->sm), w->retry.failures);
}

static void print_declared(struct overlay *o, struct buf *b)
{
	print_work(b, "rules", "host", &o->rules.work);
	print_work(b, "egress", NAME_EGRESS_BRIDGE, &o->egress.work);
	for (struct network *n = o->networks; n; n = n->hh.next)
		print_work(b, "network", n->spec.id, &n->work);
	for (struct endpoint *ep = o->endpoints; ep; ep = ep->hh.next)
		if (ep->spec.vtep.len != o->cfg.vtep.len)
			buf_printf(b, "endpoint %s out of reach: its VTEP is of another address family\n",
				   ep->spec.id);
	for (struct port *p = o->ports; p; p = p->hh.next)
		print_work(b, "port", p->spec.id, &p->work);
	for (struct leg *leg = o->legs; leg; leg = leg->hh.next)
		print_work(b, "leg", leg->mark.id, &leg->work);
	for (struct task_ns *t = o->tasks; t; t = t->hh.next)
		print_work(b, "namespace", t->name, &t->work);
}

static void print_host(struct overlay *o, struct buf *b)
{
	char *rules = NULL;
	struct links links;

	buf_printf(b, "host\n");
	if (links_dump(&o->host.nl, &links, NULL) == 0) {
		for (size_t i = 0; i < links.n; i++)
			if (strncmp(links.list[i].alias, "gswarm:", 7) == 0)
				print_link(b, &links.list[i]);
		links_fini(&links);
	}
	if (nft_run(&o->nft, NULL, "list table inet gswarm\n", &rules, NULL) == 0)
		buf_printf(b, "%s", rules);
	free(rules);
}

char *overlay_dump(struct overlay *o)
{
	struct buf b = {0};
	char **names;

	pthread_mutex_lock(&o->lock);
	inbox_take(o);
	print_declared(o, &b);
	print_host(o, &b);
	names = ns_names(o);
	for (size_t i = 0; names[i]; i++)
		print_ns(o, &b, names[i]);
	ns_names_free(names);
	pthread_mutex_unlock(&o->lock);
	return buf_text(&b); /* the buffer's memory is the caller's now */
}
