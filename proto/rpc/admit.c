// SPDX-License-Identifier: Apache-2.0
/* The books about strangers: a token bucket for all, one a source, and how many each source has here.
 *
 * The happy path is a bucket with tokens. What can fail is only that somebody has used his up. A source is
 * forgotten when it has nobody here and its bucket is full again, or when 4,096 others came after it. */
#include "proto/rpc/admit.h"

#include <netinet/in.h>
#include <string.h>
#include <uthash.h>

#include "base/bug.h"
#include "base/mem.h"

/* Strangers of one IPv6 /48, while there are any. */
struct site {
	uint8_t key[6];
	unsigned n;
	UT_hash_handle hh;
};

struct source {
	uint8_t key[9]; /* family, then an IPv4 address or an IPv6 /64 */
	unsigned n;
	struct site *site; /* NULL: IPv4, or nobody is here */
	struct rate rate;
	UT_hash_handle hh; /* in the order they came */
};

/* ---- rates ---- */

/* Up to date at now. A bucket that was never touched is full. */
static void rate_fill(struct rate *r, unsigned per_s, unsigned burst, uint64_t now)
{
	uint64_t more = r->at ? (now - r->at) * per_s : (uint64_t)burst * 1000;
	uint64_t left = r->left + more;

	r->left = left > (uint64_t)burst * 1000 ? burst * 1000 : (uint32_t)left;
	r->at = now ? now : 1;
}

static bool rate_take(struct rate *r)
{
	if (r->left < 1000)
		return false;
	r->left -= 1000;
	return true;
}

/* ---- sources ---- */

static void key_of(const struct sockaddr *from, uint8_t ret[9])
{
	const struct in6_addr *in6 = &((const struct sockaddr_in6 *)from)->sin6_addr;

	memset(ret, 0, 9);
	ret[0] = (uint8_t)from->sa_family;
	if (from->sa_family == AF_INET) {
		memcpy(ret + 1, &((const struct sockaddr_in *)from)->sin_addr, 4);
	} else if (from->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(in6)) { /* a socket of both families */
		ret[0] = AF_INET;
		memcpy(ret + 1, in6->s6_addr + 12, 4);
	} else if (from->sa_family == AF_INET6) {
		memcpy(ret + 1, in6, 8);
	}
}

static void source_free(struct admission *a, struct source *s)
{
	bug_if(s->n);
	HASH_DEL(a->sources, s);
	a->n_sources--;
	free(s);
}

/* Those who have nobody here: all that are rested, or the one that came first. There is one: strangers are
 * fewer than the sources we remember. */
static void make_room(struct admission *a, uint64_t now)
{
	struct source *s, *tmp, *first = NULL;

	HASH_ITER (hh, a->sources, s, tmp) {
		if (s->n)
			continue;
		rate_fill(&s->rate, SOURCE_RATE, SOURCE_BURST, now);
		if (s->rate.left == SOURCE_BURST * 1000)
			source_free(a, s);
		else if (!first)
			first = s;
	}
	if (a->n_sources < SOURCES_MAX)
		return;
	bug_if(!first);
	source_free(a, first);
}

static struct source *source_of(struct admission *a, const struct sockaddr *from, uint64_t now)
{
	uint8_t key[9];
	struct source *s;

	key_of(from, key);
	HASH_FIND(hh, a->sources, key, sizeof(key), s);
	if (s)
		return s;
	if (a->n_sources == SOURCES_MAX)
		make_room(a, now);
	s = xcalloc(1, sizeof(*s));
	memcpy(s->key, key, sizeof(key));
	HASH_ADD(hh, a->sources, key, sizeof(s->key), s);
	a->n_sources++;
	return s;
}

/* ---- sites ---- */

/* The source's, made when it is the first there; NULL for IPv4. */
static struct site *site_of(struct admission *a, const struct source *s)
{
	struct site *site;

	if (s->key[0] != AF_INET6)
		return NULL;
	HASH_FIND(hh, a->sites, s->key + 1, sizeof(site->key), site);
	if (site)
		return site;
	site = xcalloc(1, sizeof(*site));
	memcpy(site->key, s->key + 1, sizeof(site->key));
	HASH_ADD(hh, a->sites, key, sizeof(site->key), site);
	return site;
}

static void site_leave(struct admission *a, struct site *site)
{
	bug_if(!site->n);
	if (--site->n)
		return;
	HASH_DEL(a->sites, site);
	free(site);
}

static bool site_is_full(const struct admission *a, const struct source *s)
{
	struct site *site;

	if (s->key[0] != AF_INET6)
		return false;
	HASH_FIND(hh, a->sites, s->key + 1, sizeof(site->key), site);
	return site && site->n >= SITE_SHARE;
}

/* ---- who may ---- */

uint64_t admit_wait(struct admission *a, uint64_t now)
{
	rate_fill(&a->all, HANDSHAKE_RATE, HANDSHAKE_BURST, now);
	if (a->all.left >= 1000)
		return 0;
	return (1000 - a->all.left) / HANDSHAKE_RATE + 1;
}

enum verdict admit_enter(struct admission *a, const struct sockaddr *from, uint64_t now, struct source **ret)
{
	struct source *s = source_of(a, from, now);

	*ret = NULL;
	rate_fill(&s->rate, SOURCE_RATE, SOURCE_BURST, now);
	if (!rate_take(&s->rate) || site_is_full(a, s))
		return ADMIT_NOT;
	rate_fill(&a->all, HANDSHAKE_RATE, HANDSHAKE_BURST, now);
	rate_take(&a->all); /* of those that are closed at once only the source pays */
	a->n_strangers++;
	s->site = site_of(a, s);
	if (s->site)
		s->site->n++;
	*ret = s;
	return s->n++ < SOURCE_SHARE ? ADMIT : ADMIT_FOR_OLDEST;
}

void admit_leave(struct admission *a, struct source *s)
{
	bug_if(!s->n || !a->n_strangers);
	if (s->site)
		site_leave(a, s->site);
	s->n--;
	if (!s->n)
		s->site = NULL;
	a->n_strangers--;
}

struct source *admit_crowd(const struct admission *a)
{
	struct source *s, *tmp, *most = NULL;

	HASH_ITER (hh, a->sources, s, tmp)
		if (s->n > (most ? most->n : 1))
			most = s;
	return most;
}

void admit_fini(struct admission *a)
{
	struct source *s, *tmp;

	bug_if(a->n_strangers);
	HASH_ITER (hh, a->sources, s, tmp)
		source_free(a, s);
}
