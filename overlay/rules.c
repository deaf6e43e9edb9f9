// SPDX-License-Identifier: Apache-2.0
/* Our own table in the host's namespace, `inet gswarm`: who may send to the tunnel, and what gswarm0 may do.
 *
 * The happy path is: the table is written as one transaction when the first network or leg comes; a peer that
 * appears or goes afterwards is one element more or less, written with the others of the same pass. nft's
 * generation moves by one with each write: one that moved otherwise says that somebody else wrote, and only then
 * the table is listed and compared. What
 * can fail is a change (the whole table is written again) or that (the next pass tries again).
 *
 * The tunnel's check looks only at VNIs of our range (from 0x100000 up), since another orchestrator may use
 * the same port. It names what may pass, and drops the rest: a rule does not match where a packet ends before the
 * field it asks for, as the first fragment of 8 bytes does, with which the kernel puts the others together later. A
 * task never speaks to the tunnel's port: masqueraded, it would come from an address that the
 * peers admit. Nor does it call managers and peers: their limits count by address, and its would be its host's. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/mem.h"
#include "overlay/internal.h"

#define TABLE "inet gswarm"
/* 96 bits into the UDP header and what follows: 8 bytes of UDP, 4 of flags, then the 24 bits of the VNI. */
#define VNI_FIELD "@th,96,24"
#define VNI_FIRST "0x100000"

void rules_init(struct overlay *o)
{
	work_init(&o->rules.work, TABLE);
}

static void drop_listing(struct rules *r)
{
	free(r->listing);
	r->listing = NULL;
}

void rules_fini(struct overlay *o)
{
	struct admit *a, *tmp;

	HASH_ITER (hh, o->rules.admits, a, tmp) {
		HASH_DEL(o->rules.admits, a);
		free(a);
	}
	free(o->rules.guarded);
	o->rules.guarded = NULL;
	o->rules.n_guarded = 0;
	buf_fini(&o->rules.changes);
	drop_listing(&o->rules);
}

/* ---- the text ---- */

static void print_tunnel(struct overlay *o, struct buf *b)
{
	static const char *const passes[] = {VNI_FIELD " < " VNI_FIRST,
					     "meta nfproto ipv4 ip saddr . " VNI_FIELD " @peer4",
					     "meta nfproto ipv6 ip6 saddr . " VNI_FIELD " @peer6"};

	buf_printf(b, "add rule " TABLE " tunnel iifname gswarm0 udp dport %u drop\n", o->cfg.port);
	buf_printf(b, "add rule " TABLE " tunnel iifname gswarm0 ip daddr . tcp dport @guarded drop\n");
	for (size_t i = 0; i < array_size(passes); i++)
		buf_printf(b, "add rule " TABLE " tunnel udp dport %u %s return\n", o->cfg.port, passes[i]);
	buf_printf(b, "add rule " TABLE " tunnel udp dport %u drop\n", o->cfg.port);
}

/* Where tasks must not call, whole; statements only. */
static void print_guarded(const struct rules *r, struct buf *b)
{
	buf_printf(b, "flush set " TABLE " guarded\n");
	for (size_t i = 0; i < r->n_guarded; i++) {
		char text[48];

		buf_printf(b, "add element " TABLE " guarded { %s . %u }\n",
			   ip_format(&r->guarded[i].ip, text), r->guarded[i].port);
	}
}

/* A host that forwards only because we need it to must not become a router between its own links. What a bridge
 * passes between its ports is not routed, but comes by here, in and out by the bridge, where br_netfilter is on
 * (Docker's hosts). */
static void print_guard(struct overlay *o, struct buf *b)
{
	for (size_t i = 0; i < o->egress.n_turned_on; i++) {
		const char *link = o->egress.turned_on[i];

		buf_printf(b, "add element " TABLE " turned_on { \"%s\" }\n", link);
		buf_printf(b, "add element " TABLE " bridged { \"%s\" . \"%s\" }\n", link, link);
	}
	buf_printf(b, "add rule " TABLE
		      " forward iifname @turned_on oifname != gswarm0 iifname . oifname != @bridged drop\n");
}

static void print_forwarding(struct overlay *o, struct buf *b)
{
	const struct overlay_ip *subnet = &o->egress.subnet;
	char text[48];

	if (subnet->len != 4)
		return;
	ip_format(subnet, text);
	print_guard(o, b);
	buf_printf(
		b,
		"add rule " TABLE " forward iifname gswarm0 ip saddr != %s/%u drop\n"
		"add rule " TABLE " forward iifname gswarm0 oifname gswarm0 drop\n"
		"add rule " TABLE " forward iifname gswarm0 tcp flags syn tcp option maxseg size set rt mtu\n"
		"add rule " TABLE " forward oifname gswarm0 tcp flags syn tcp option maxseg size set rt mtu\n"
		"add rule " TABLE " forward oifname gswarm0 ct state established,related accept\n"
		"add rule " TABLE " forward oifname gswarm0 drop\n"
		"add rule " TABLE " postrouting ip saddr %s/%u oifname != gswarm0 masquerade\n",
		text, subnet->prefix, text, subnet->prefix);
}

static void print_element(struct buf *b, const char *verb, uint32_t vni, const struct overlay_ip *vtep)
{
	char text[48];

	buf_printf(b, "%s element " TABLE " %s { %s . 0x%x }\n", verb, vtep->len == 4 ? "peer4" : "peer6",
		   ip_format(vtep, text), vni);
}

/* Elements that an earlier process wrote stay until adoption is done, so that a restart drops no packet of a
 * peer that is not declared again yet. */
static void render(struct overlay *o, struct buf *b)
{
	buf_printf(b, "add table " TABLE "\n"
		      "add set " TABLE " peer4 { typeof ip saddr . " VNI_FIELD "; }\n"
		      "add set " TABLE " peer6 { typeof ip6 saddr . " VNI_FIELD "; }\n"
		      "add set " TABLE " turned_on { type ifname; }\n"
		      "add set " TABLE " bridged { type ifname . ifname; }\n"
		      "add set " TABLE " guarded { type ipv4_addr . inet_service; }\n"
		      "add chain " TABLE " tunnel { type filter hook prerouting priority -300; }\n"
		      "add chain " TABLE " forward { type filter hook forward priority 0; }\n"
		      "add chain " TABLE " postrouting { type nat hook postrouting priority 100; }\n"
		      "flush chain " TABLE " tunnel\nflush chain " TABLE " forward\n"
		      "flush chain " TABLE " postrouting\nflush set " TABLE " turned_on\n"
		      "flush set " TABLE " bridged\n");
	print_tunnel(o, b);
	if (o->rules.guarded)
		print_guarded(&o->rules, b);
	print_forwarding(o, b);
	if (o->rules.exact)
		buf_printf(b, "flush set " TABLE " peer4\nflush set " TABLE " peer6\n");
	for (struct admit *a = o->rules.admits; a; a = a->hh.next)
		print_element(b, "add", a->vni, &a->vtep);
}

/* ---- writing ---- */

/* One transaction in the host's namespace. r->gen is the generation that it made, 0 when others wrote meanwhile. */
static int write_batch(struct overlay *o, const char *batch, struct err *e)
{
	struct rules *r = &o->rules;
	uint32_t before = nft_generation(&o->nft);
	int rc = nft_run(&o->nft, NULL, batch, NULL, e);
	uint32_t after = rc == 0 ? nft_generation(&o->nft) : 0;

	drop_listing(r);
	r->gen = before != 0 && after == before + 1 ? after : 0;
	return rc;
}

static void forget_changes(struct rules *r)
{
	r->changes.len = 0;
}

static int write_all(struct overlay *o, struct err *e)
{
	struct rules *r = &o->rules;
	struct buf b = {0};
	int rc;

	work_want(&r->work);
	render(o, &b);
	rc = write_batch(o, buf_text(&b), e);
	buf_fini(&b);
	if (rc < 0) {
		work_failed(&r->work, overlay_now_ms());
		return err_wrap(e, "host rules");
	}
	forget_changes(r);
	work_done(&r->work, overlay_now_ms());
	return 0;
}

/* A refused change can mean that somebody removed the element, or the table: then all of it is written. */
static int write_changes(struct overlay *o, struct err *e)
{
	struct rules *r = &o->rules;
	bool ours;
	int rc;

	if (r->changes.len == 0)
		return 0;
	bug_if(!work_is(&r->work, WORK_SETTLED) && !work_is(&r->work, WORK_SUSPECT));
	ours = r->gen != 0 && r->gen == nft_generation(&o->nft);
	rc = write_batch(o, buf_text(&r->changes), e);
	if (!ours)
		r->gen = 0; /* the table was not seen since somebody wrote */
	forget_changes(r);
	return rc < 0 ? write_all(o, e) : 0;
}

int rules_ensure(struct overlay *o, struct err *e)
{
	const struct work *w = &o->rules.work;

	return work_is(w, WORK_SETTLED) || work_is(w, WORK_SUSPECT) ? write_changes(o, e) : write_all(o, e);
}

void rules_exact(struct overlay *o)
{
	o->rules.exact = true;
	if (work_is_there(&o->rules.work))
		work_want(&o->rules.work);
}

/* ---- peers ---- */

static struct admit *admit_find(struct overlay *o, uint32_t vni, const struct overlay_ip *ip, uint8_t key[21])
{
	uint32_t wire = htonl(vni);
	struct admit *a;

	bug_if(ip->len > sizeof(ip->bytes));
	memset(key, 0, 21);
	memcpy(key, &wire, 4);
	key[4] = ip->len;
	memcpy(key + 5, ip->bytes, ip->len);
	HASH_FIND(hh, o->rules.admits, key, 21, a);
	return a;
}

static void note_change(struct overlay *o, const char *verb, const struct admit *a)
{
	const struct work *w = &o->rules.work;

	if (work_is(w, WORK_SETTLED) || work_is(w, WORK_SUSPECT))
		print_element(&o->rules.changes, verb, a->vni, &a->vtep);
}

void rules_admit(struct overlay *o, uint32_t vni, const struct overlay_ip *vtep)
{
	uint8_t key[21];
	struct admit *a;

	if (vni == 0)
		return; /* the network is not declared yet; it is admitted with it */
	a = admit_find(o, vni, vtep, key);
	if (!a) {
		a = xcalloc(1, sizeof(*a));
		a->vni = vni;
		a->vtep = *vtep;
		memcpy(a->key, key, sizeof(a->key));
		HASH_ADD(hh, o->rules.admits, key, sizeof(a->key), a);
		o->path_mtu_due_ms = 0;
		note_change(o, "add", a);
	}
	a->refs++;
}

void rules_refuse(struct overlay *o, uint32_t vni, const struct overlay_ip *vtep)
{
	uint8_t key[21];
	struct admit *a;

	if (vni == 0)
		return;
	a = admit_find(o, vni, vtep, key);
	bug_if(!a || a->refs == 0);
	if (--a->refs > 0)
		return;
	note_change(o, "delete", a);
	HASH_DEL(o->rules.admits, a);
	free(a);
}

/* ---- what egress must not reach ---- */

static int compare_services(const void *a, const void *b)
{
	const struct overlay_service *x = a, *y = b;
	int d = ip_compare(&x->ip, &y->ip);

	return d ? d : (int)x->port - (int)y->port;
}

/* Sorted, IPv4, each once. */
static size_t tidy(struct overlay_service *list, size_t n)
{
	size_t kept = 0;

	qsort(list, n, sizeof(*list), compare_services);
	for (size_t i = 0; i < n; i++)
		if (list[i].ip.len == 4 && list[i].port != 0 &&
		    (kept == 0 || compare_services(&list[kept - 1], &list[i])))
			list[kept++] = list[i];
	return kept;
}

static bool same_services(const struct rules *r, const struct overlay_service *list, size_t n)
{
	if (!r->guarded || r->n_guarded != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (compare_services(&r->guarded[i], &list[i]))
			return false;
	return true;
}

void rules_guard(struct overlay *o, struct overlay_service *take_list, size_t n)
{
	struct rules *r = &o->rules;
	bool is_same;

	n = tidy(take_list, n);
	is_same = same_services(r, take_list, n);
	free(r->guarded);
	r->guarded = take_list;
	r->n_guarded = n;
	if (!is_same && (work_is(&r->work, WORK_SETTLED) || work_is(&r->work, WORK_SUSPECT)))
		print_guarded(r, &r->changes);
}

/* ---- comparing ---- */

/* *ret_gen is 0 when somebody wrote while it was listed: it may be neither the old table nor the new one. */
static int list_table(struct overlay *o, char **ret, uint32_t *ret_gen, struct err *e)
{
	uint32_t before = nft_generation(&o->nft);
	int rc = nft_run(&o->nft, NULL, "list table " TABLE "\n", ret, e);

	*ret_gen = nft_generation(&o->nft) == before ? before : 0;
	return rc;
}

/* What the table looks like while nobody touches it; needed only once somebody may have. */
static int remember(struct overlay *o, struct err *e)
{
	struct rules *r = &o->rules;
	char *now = NULL;
	uint32_t gen;
	int rc = list_table(o, &now, &gen, e);

	if (rc == 0 && gen == r->gen)
		r->listing = steal(now);
	else
		r->gen = 0; /* the next pass writes it again */
	free(now);
	return rc;
}

static int compare(struct overlay *o, unsigned *repairs, struct err *e)
{
	struct rules *r = &o->rules;
	char *now = NULL;
	uint32_t gen;
	bool same = r->listing && list_table(o, &now, &gen, NULL) == 0 && strcmp(now, r->listing) == 0;

	free(now);
	if (same) {
		r->gen = gen;
		return 0;
	}
	*repairs += !!r->listing;
	return write_all(o, e);
}

int rules_check(struct overlay *o, unsigned *repairs, struct err *e)
{
	struct rules *r = &o->rules;
	uint32_t gen;
	int rc;

	if (!work_is_there(&r->work) ||
	    (work_is(&r->work, WORK_PENDING) && !work_take(&r->work, overlay_now_ms())))
		return 0;
	rc = rules_ensure(o, e);
	if (rc < 0)
		return rc;
	gen = nft_generation(&o->nft);
	if (gen == 0 || gen != r->gen) {
		rc = compare(o, repairs, e);
		if (rc < 0)
			return rc;
	}
	return r->listing ? 0 : remember(o, e);
}

int rules_remove(struct overlay *o, struct err *e)
{
	rules_fini(o);
	o->rules.admits = NULL;
	work_gone(&o->rules.work);
	/* "add" first: deleting what is not there would be an error. */
	return nft_run(&o->nft, NULL, "add table " TABLE "\ndelete table " TABLE "\n", NULL, e);
}
