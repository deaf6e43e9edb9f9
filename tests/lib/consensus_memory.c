// SPDX-License-Identifier: Apache-2.0
/* A consensus engine without disk or peers, driven by hand, for tests and the simulation.
 *
 * The happy path is: propose queues a copy, step applies it at the next index and answers. What can fail is
 * what the test asks for: not leader, a full queue, a lost answer. An entry that the state machine cannot
 * understand aborts, as a real engine stops its process. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/lib/consensus_memory.h"

enum item_kind { ITEM_ENTRY, ITEM_BARRIER, ITEM_DEFERRED };
struct item {
	struct item *next;
	enum item_kind kind;
	uint8_t *data;
	size_t len;
	void (*done)(void *arg, const struct err *e);
	void (*fn)(void *arg);
	void *arg;
};
struct memory {
	struct consensus base;
	struct consensus_fsm fsm;
	struct item *first, **last;
	size_t entries;
	uint64_t applied, term;
	bool is_leader, closed;
};

static struct memory *memory_of(struct consensus *c)
{
	return container_of(c, struct memory, base);
}

static struct item *item_add(struct memory *m, enum item_kind kind, void *arg)
{
	struct item *it = xcalloc(1, sizeof(*it));

	it->kind = kind;
	it->arg = arg;
	*m->last = it;
	m->last = &it->next;
	m->entries += kind == ITEM_ENTRY;
	return it;
}

static struct item *item_take(struct memory *m)
{
	struct item *it = m->first;

	if (!it)
		return NULL;
	m->first = it->next;
	if (!m->first)
		m->last = &m->first;
	m->entries -= it->kind == ITEM_ENTRY;
	return it;
}

static int memory_propose(struct consensus *c, const uint8_t *data, size_t len,
			  void (*done)(void *arg, const struct err *e), void *arg)
{
	struct memory *m = memory_of(c);
	struct item *it;

	if (m->closed)
		return E_CLOSED;
	if (!m->is_leader)
		return E_NOT_LEADER;
	it = item_add(m, ITEM_ENTRY, arg);
	it->data = xmemdup(data, len);
	it->len = len;
	it->done = done;
	return 0;
}

static bool memory_has_room(struct consensus *c)
{
	return memory_of(c)->entries < CONSENSUS_WAITING_MAX;
}

static int memory_barrier(struct consensus *c, void (*done)(void *arg, const struct err *e), void *arg)
{
	struct memory *m = memory_of(c);

	if (m->closed)
		return E_CLOSED;
	if (!m->is_leader)
		return E_NOT_LEADER;
	item_add(m, ITEM_BARRIER, arg)->done = done;
	return 0;
}

static void memory_defer(struct consensus *c, void (*fn)(void *arg), void *arg)
{
	item_add(memory_of(c), ITEM_DEFERRED, arg)->fn = fn;
}

static bool memory_is_leader(struct consensus *c)
{
	return memory_of(c)->is_leader;
}

static uint64_t memory_last_applied(struct consensus *c)
{
	return memory_of(c)->applied;
}

static uint64_t memory_term(struct consensus *c)
{
	return memory_of(c)->term;
}

static void apply_entry(struct memory *m, const struct item *it, struct err *e)
{
	m->fsm.apply(m->fsm.arg, m->applied + 1, it->data, it->len, e);
	m->applied++;
	if (e->code == E_CORRUPT || e->code == E_PROTOCOL)
		abort();
}

static void answer(struct item *it, const struct err *e)
{
	if (it->kind == ITEM_DEFERRED)
		it->fn(it->arg);
	else if (it->done)
		it->done(it->arg, e);
	free(it->data);
	free(it);
}

bool consensus_memory_step(struct consensus *c)
{
	struct memory *m = memory_of(c);
	struct item *it = item_take(m);
	struct err e = {0};

	if (!it)
		return false;
	if (it->kind == ITEM_ENTRY)
		apply_entry(m, it, &e);
	answer(it, &e);
	return true;
}

void consensus_memory_run(struct consensus *c)
{
	while (consensus_memory_step(c))
		;
}

bool consensus_memory_lose(struct consensus *c, bool applied)
{
	struct memory *m = memory_of(c);
	struct item *it = item_take(m);
	struct err e = {0};

	if (!it)
		return false;
	if (it->kind == ITEM_ENTRY && applied)
		apply_entry(m, it, &e);
	err_set(&e, E_UNAVAILABLE, "leadership was lost, the outcome is unknown");
	answer(it, &e);
	return true;
}

static void drop_all(struct memory *m, int code, const char *why)
{
	struct item *it;
	struct err e = {0};

	err_set(&e, code, "%s", why);
	while ((it = item_take(m)))
		answer(it, &e);
}

void consensus_memory_set_leader(struct consensus *c, bool is_leader)
{
	struct memory *m = memory_of(c);

	if (m->is_leader == is_leader)
		return;
	m->is_leader = is_leader;
	if (is_leader)
		m->term++;
	else
		drop_all(m, E_UNAVAILABLE, "leadership was lost, the outcome is unknown");
	if (m->fsm.on_leader)
		m->fsm.on_leader(m->fsm.arg, is_leader);
}

static void memory_close(struct consensus *c, void (*closed)(void *arg), void *arg)
{
	struct memory *m = memory_of(c);

	if (m->closed)
		return;
	m->closed = true;
	drop_all(m, E_CLOSED, "the managers' log is closed");
	if (closed)
		closed(arg);
}

void consensus_memory_free(struct consensus *c)
{
	memory_close(c, NULL, NULL);
	free(memory_of(c));
}

static const struct consensus_ops memory_ops = {
	.propose = memory_propose,
	.has_room = memory_has_room,
	.barrier = memory_barrier,
	.is_leader = memory_is_leader,
	.last_applied = memory_last_applied,
	.term = memory_term,
	.defer = memory_defer,
	.close = memory_close,
};

struct consensus *consensus_memory_new(const struct consensus_fsm *fsm)
{
	struct memory *m = xcalloc(1, sizeof(*m));

	m->base.ops = &memory_ops;
	m->fsm = *fsm;
	m->last = &m->first;
	return &m->base;
}
