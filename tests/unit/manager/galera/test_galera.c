// SPDX-License-Identifier: Apache-2.0
/* The Galera controller, told in text: what workers say, then what permit, token and phase must follow.
 *
 *   test_galera SCENARIO.txt...      (tests/unit/manager/galera; README.txt there has the words)
 *
 * Each line is done at once and the controller is run until it is quiet. A line that does not hold fails with
 * its file and number. The rows are made by hand: no worker, no clock but the virtual one. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fs.h"
#include "tests/unit/manager/cluster.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define FOREIGN_UUID "99999999-2222-3333-4444-555555555555"
#define WORDS_MAX 24

struct world {
	struct cluster *c; /* NULL before the line that makes it */
	uint64_t ids;
	size_t last_len;          /* actions of the last pass */
	uint64_t seen_serial[16]; /* of the permit that was last looked at, by member */
	bool unheard[16];         /* its worker has a new session and has not told of it yet */
	int64_t opened_ms;        /* when the newest of these sessions opened */
	const char *file;
	unsigned line;
};

static void new_id(void *arg, char ret[ID_LEN + 1])
{
	uint8_t bytes[16] = {0};
	struct world *w = arg;

	w->ids++;
	memcpy(bytes + 8, &w->ids, 8);
	id_from_bytes(bytes, ret);
}

static void commit(struct world *w, struct tx *tx)
{
	if (c_commit(w->c, tx))
		fail_msg("commit: %s", w->c->last.msg);
}

static bool task_heard(void *arg, const char *task_id, int64_t *since_ms)
{
	struct world *w = arg;
	unsigned i;

	*since_ms = w->opened_ms;
	return sscanf(task_id, "task%u", &i) != 1 || i >= array_size(w->unheard) || !w->unheard[i];
}

static void add_node(struct world *w, struct tx *tx, unsigned i)
{
	char id[32];

	snprintf(id, sizeof(id), "node%u", i);
	Gs__Node *n = obj_new_row(OBJ_NODE, id);
	Gs__NodeStatus st = GS__NODE_STATUS__INIT;
	Gs__NodeDescription d = GS__NODE_DESCRIPTION__INIT;
	uint8_t ip[4] = {192, 168, 55, (uint8_t)(110 + i)};
	st.state = NODE_READY;
	d.hostname = id;
	d.advertise_ip = (ProtobufCBinaryData){4, ip};
	d.peer_port = 2378;
	obj_set(&n->status, &st);
	obj_set(&n->description, &d);
	tx_create(tx, n);
}

static void add_slot(struct world *w, struct tx *tx, unsigned i)
{
	char id[32], name[32], node[32], task[32];
	uint8_t ip[4] = {10, 0, 1, (uint8_t)i};

	snprintf(id, sizeof(id), "slot%u", i);
	snprintf(name, sizeof(name), "db.%u", i);
	snprintf(node, sizeof(node), "node%u", i);
	snprintf(task, sizeof(task), "task%u", i);
	Gs__Slot *s = obj_new_row(OBJ_SLOT, id);
	str_replace(&s->service_id, "svc");
	s->number = i;
	Gs__SlotAddress *a = obj_new(&gs__slot_address__descriptor);
	a->addr = obj_new(&gs__addr__descriptor);
	obj_bytes_set(&a->addr->ip, ip, 4);
	obj_add(&s->n_addresses, &s->addresses, a);
	tx_create(tx, s);
	Gs__Task *t = obj_new_row(OBJ_TASK, task);
	str_replace(&t->service_id, "svc");
	str_replace(&t->slot_id, id);
	str_replace(&t->node_id, node);
	str_replace(&t->name, name);
	str_replace(&t->galera_cluster_id, "gal");
	t->slot_number = i;
	t->topology = TOPO_GALERA;
	t->desired = TASK_RUNNING;
	t->generation = i;
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;
	st.state = TASK_PREPARING;
	obj_set(&t->status, &st);
	tx_create(tx, t);
}

static void world_up(struct world *w, unsigned slots)
{
	if (w->c)
		fail_msg("%s:%u: slots twice", w->file, w->line);
	w->c = c_bare(1000, 1000000);
	w->c->env = (struct reconcile_env){.clock = &w->c->clock,
					   .task_heard = task_heard,
					   .arg = w,
					   .new_id = new_id,
					   .wake_ms = INT64_MAX};
	struct tx *tx = tx_new(w->c->s);
	Gs__Service *svc = obj_new_row(OBJ_SERVICE, "svc");
	svc->spec = obj_new(&gs__service_spec__descriptor);
	str_replace(&svc->spec->name, "db");
	str_replace(&svc->galera_cluster_id, "gal");
	tx_create(tx, svc);
	Gs__GaleraCluster *c = obj_new_row(OBJ_GALERA, "gal");
	str_replace(&c->name, "db");
	obj_add_str(&c->n_service_ids, &c->service_ids, "svc");
	tx_create(tx, c);
	for (unsigned i = 1; i <= slots; i++) {
		add_node(w, tx, i);
		add_slot(w, tx, i);
	}
	commit(w, tx);
}

static void world_down(struct world *w)
{
	c_free(w->c);
}

/* A commit may be cut behind any of its rows: nobody may be let bootstrap before the cluster's row knows of it. */
static void permits_have_tokens(struct world *w)
{
	const Gs__GaleraCluster *c = store_galera(w->c->s, "gal");

	for (size_t i = 0; i < store_count(w->c->s, OBJ_TASK); i++) {
		const Gs__Task *t = store_at(w->c->s, OBJ_TASK, i);

		if (!t->permit || t->permit->mode == PERMIT_NONE || t->permit->mode == PERMIT_JOIN)
			continue;
		if (!c || !c->token || t->permit->epoch > c->epoch || t->permit->serial > c->permit_serial)
			fail_msg("%s:%u: %s has a permit of epoch %" PRIu64 " that the cluster does not know",
				 w->file, w->line, t->name, t->permit->epoch);
	}
}

static void pass(struct world *w)
{
	struct tx *tx = tx_new(w->c->s);

	w->c->env.wake_ms = INT64_MAX;
	galera_pass(w->c->s, tx, &w->c->env);
	w->last_len = tx_len(tx);
	tx_allow_split(tx);
	store_set_part_actions(w->c->s, 1);
	store_commit(w->c->s, tx, c_done, w->c);
	while (consensus_memory_step(w->c->c))
		permits_have_tokens(w);
	if (w->c->code)
		fail_msg("commit: %s", w->c->last.msg);
}

static void settle(struct world *w)
{
	for (int i = 0; i < 20; i++) {
		pass(w);
		if (!w->last_len)
			return;
	}
	fail_msg("%s:%u: it never becomes quiet", w->file, w->line);
}

/* ---- words ---- */

struct words {
	char text[512];
	char *word[WORDS_MAX + 1]; /* NULL-terminated */
	size_t n, at;
};

static void scenario_fail(const struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
static void scenario_fail(const struct world *w, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	print_error("%s:%u: %s\n", w->file, w->line, msg);
	_fail(w->file, (int)w->line);
	abort();
}
static void split(const struct world *w, const char *line, struct words *ret)
{
	*ret = (struct words){0};
	if (strlen(line) >= sizeof(ret->text))
		scenario_fail(w, "line too long");
	strcpy(ret->text, line);
	for (char *s = strtok(ret->text, " \t"); s && s[0] != '#'; s = strtok(NULL, " \t")) {
		if (ret->n == WORDS_MAX)
			scenario_fail(w, "more than %d words", WORDS_MAX);
		ret->word[ret->n++] = s;
	}
}
static const char *next(const struct world *w, struct words *l, const char *what)
{
	if (l->at == l->n)
		scenario_fail(w, "%s is missing", what);
	return l->word[l->at++];
}
static bool take(struct words *l, const char *word)
{
	if (l->at == l->n || strcmp(l->word[l->at], word) != 0)
		return false;
	l->at++;
	return true;
}
static int64_t number(const struct world *w, struct words *l, const char *what)
{
	const char *s = next(w, l, what);
	char *end;
	int64_t v = strtoll(s, &end, 10);

	if (*end || end == s)
		scenario_fail(w, "%s: '%s' is no number", what, s);
	return v;
}
/* The value of an enumerator by its lower-case name without prefix: ("GC_", "crashed"). */
static int value_of(const struct world *w, const ProtobufCEnumDescriptor *d, const char *prefix,
		    const char *name)
{
	for (unsigned i = 0; i < d->n_values; i++) {
		const char *full = d->values[i].name;

		if (strncmp(full, prefix, strlen(prefix)) == 0 &&
		    strcasecmp(full + strlen(prefix), name) == 0)
			return d->values[i].value;
	}
	scenario_fail(w, "'%s' is no %s...", name, prefix);
}
static const char *name_of(const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(d, value);

	return v ? v->name : "?";
}

/* ---- rows ---- */

static const Gs__Task *task(struct world *w, unsigned i)
{
	char id[32];

	snprintf(id, sizeof(id), "task%u", i);
	const Gs__Task *t = store_task(w->c->s, id);
	if (!t)
		scenario_fail(w, "there is no db.%u", i);
	return t;
}
static Gs__Task *task_edit(struct world *w, struct tx *tx, unsigned i)
{
	return tx_edit(tx, OBJ_TASK, task(w, i)->meta->id);
}
static const Gs__GaleraCluster *cluster(struct world *w)
{
	return store_galera(w->c->s, "gal");
}
static void commit_and_settle(struct world *w, struct tx *tx)
{
	commit(w, tx);
	settle(w);
}

/* ---- what happens ---- */

/* db.N held CLASS [uuid own|foreign|none] [seqno S] [epoch E] [synced] [left] [again]: HELD with this evidence.
 * synced: since its last start; left: it closed its connection to the group itself. */
static void do_held(struct world *w, unsigned i, struct words *l)
{
	struct tx *tx = tx_new(w->c->s);
	Gs__Task *t = task_edit(w, tx, i);
	Gs__GaleraEvidence ev = GS__GALERA_EVIDENCE__INIT;
	Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;

	ev.class_ = (Gs__GaleraClass)value_of(w, &gs__galera_class__descriptor, "GC_", next(w, l, "class"));
	pos.uuid = ev.class_ == GC_EMPTY ? "" : UUID;
	pos.seqno = -1;
	while (l->at < l->n) {
		if (take(l, "uuid"))
			pos.uuid = take(l, "foreign") ? FOREIGN_UUID : take(l, "none") ? "" : UUID;
		else if (take(l, "seqno"))
			pos.seqno = number(w, l, "seqno");
		else if (take(l, "epoch"))
			ev.epoch = (uint64_t)number(w, l, "epoch");
		else if (take(l, "again"))
			t->status->attempt++;
		else if (take(l, "synced"))
			ev.was_synced = true;
		else if (take(l, "left"))
			ev.left = true;
		else
			scenario_fail(w, "held: '%s'?", next(w, l, ""));
	}
	t->status->state = TASK_HELD;
	obj_set(&t->status->view, NULL);
	ev.attempt = t->status->attempt;
	ev.volume_id = "vol";
	ev.position = &pos;
	obj_set(&t->status->evidence, &ev);
	commit_and_settle(w, tx);
}

/* db.N genesis-done: the archive is made; then it is HELD with it. */
static void do_genesis(struct world *w, unsigned i)
{
	struct words held;
	struct tx *tx = tx_new(w->c->s);
	Gs__GenesisResult r = GS__GENESIS_RESULT__INIT;
	Gs__GaleraPosition pos = GS__GALERA_POSITION__INIT;

	r.sha256 = "abc";
	r.epoch = cluster(w)->epoch;
	pos.uuid = UUID;
	pos.seqno = 5;
	r.position = &pos;
	obj_set(&task_edit(w, tx, i)->status->genesis, &r);
	commit(w, tx);
	split(w, "genesis seqno 5 epoch 1", &held);
	do_held(w, i, &held);
}

/* As its worker does: the newest Primary view that this process was in is told while it is in none. */
static void keep_primary_view(Gs__GaleraView *v, const Gs__GaleraView *before)
{
	bool was_in = strcmp(before->status, "Primary") == 0;
	size_t n = was_in ? before->n_members : before->n_prim_members;

	v->prim_conf_id = was_in ? before->conf_id : before->prim_conf_id;
	for (size_t i = 0; i < n; i++)
		obj_add_str(&v->n_prim_members, &v->prim_members,
			    was_in ? before->members[i] : before->prim_members[i]);
}

/* db.N primary|non-primary [forgot] [joining|donor|joined|synced] [conf C] [seqno S] [with NAME...] */
static void do_runs(struct world *w, unsigned i, bool primary, struct words *l)
{
	static const char *const states[] = {"-", "joining", "donor", "joined", "synced"};
	struct tx *tx = tx_new(w->c->s);
	Gs__Task *t = task_edit(w, tx, i);
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);

	str_replace(&v->status, primary ? "Primary" : "non-Primary");
	str_replace(&v->cluster_uuid, UUID);
	v->conf_id = UINT64_MAX;
	if (!take(l, "forgot") && !primary && t->status->view)
		keep_primary_view(v, t->status->view);
	for (unsigned s = 1; s < 5; s++)
		if (take(l, states[s]))
			v->local_state = s;
	if (take(l, "conf"))
		v->conf_id = (uint64_t)number(w, l, "conf");
	if (take(l, "seqno"))
		v->last_committed = number(w, l, "seqno");
	if (take(l, "with"))
		while (l->at < l->n)
			obj_add_str(&v->n_members, &v->members, next(w, l, "member"));
	v->cluster_size = (uint32_t)v->n_members;
	t->status->state = TASK_RUNNING;
	obj_free(t->status->view);
	t->status->view = v;
	commit_and_settle(w, tx);
}

/* db.N disconnected|left|voted-out: its server runs and is in no group, and will be in none any more. */
static void do_left(struct world *w, unsigned i, const char *health)
{
	struct tx *tx = tx_new(w->c->s);
	Gs__Task *t = task_edit(w, tx, i);
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);

	str_replace(&v->status, "Disconnected");
	str_replace(&v->cluster_uuid, UUID);
	str_replace(&v->health, health);
	v->sql_open = true;
	v->conf_id = UINT64_MAX;
	v->local_state = strcmp(health, "BROKEN") == 0 ? 5 : 0;
	v->last_committed = v->local_state ? -1 : 5;
	if (t->status->view)
		keep_primary_view(v, t->status->view);
	t->status->state = TASK_RUNNING;
	obj_free(t->status->view);
	t->status->view = v;
	commit_and_settle(w, tx);
}

/* db.N anew: its slot has got a new task. */
static void do_anew(struct world *w, unsigned i)
{
	struct tx *tx = tx_new(w->c->s);
	Gs__Task *t = task_edit(w, tx, i);
	Gs__TaskStatus st = GS__TASK_STATUS__INIT;

	st.state = TASK_PREPARING;
	obj_set(&t->status, &st);
	obj_set(&t->permit, NULL);
	str_replace(&t->pending_reason, "");
	t->desired = TASK_RUNNING;
	commit_and_settle(w, tx);
}

/* db.N replaced before|after: its node was removed, its slot has a new task elsewhere; among the rows the old one
 * stands before or after the new one. */
static void do_replaced(struct world *w, unsigned i, struct words *l)
{
	struct tx *tx = tx_new(w->c->s);
	Gs__Task *now = task_edit(w, tx, i), *old = obj_dup(now);
	char id[32];

	snprintf(id, sizeof(id), "%s%u", take(l, "before") ? "old" : take(l, "after") ? "xold" : "?", i);
	if (id[0] == '?')
		scenario_fail(w, "replaced: before or after?");
	obj_free(old->meta);
	old->meta = obj_new(&gs__meta__descriptor);
	str_replace(&old->meta->id, id);
	str_replace(&old->node_id, "removed");
	old->desired = TASK_SHUTDOWN;
	old->status->state = TASK_ORPHANED;
	tx_create(tx, old);
	now->generation += 100;
	now->status->state = TASK_PREPARING;
	now->status->attempt = 0;
	obj_set(&now->status->view, NULL);
	obj_set(&now->status->evidence, NULL);
	obj_set(&now->permit, NULL);
	commit_and_settle(w, tx);
}

static void do_member(struct world *w, unsigned i, struct words *l)
{
	if (l->at < l->n && strcmp(l->word[l->at], "leaves") &&
	    i < array_size(w->unheard)) /* else it is the user's word */
		w->unheard[i] = false;
	if (take(l, "replaced"))
		do_replaced(w, i, l);
	else if (take(l, "held"))
		do_held(w, i, l);
	else if (take(l, "genesis-done"))
		do_genesis(w, i);
	else if (take(l, "primary"))
		do_runs(w, i, true, l);
	else if (take(l, "non-primary"))
		do_runs(w, i, false, l);
	else if (take(l, "disconnected"))
		do_left(w, i, "ISOLATED");
	else if (take(l, "left"))
		do_left(w, i, "LEFT");
	else if (take(l, "voted-out"))
		do_left(w, i, "BROKEN");
	else if (take(l, "anew"))
		do_anew(w, i);
	else if (take(l, "ended")) {
		struct tx *tx = tx_new(w->c->s);

		task_edit(w, tx, i)->status->state = TASK_SHUTDOWN;
		commit_and_settle(w, tx);
	} else if (take(l, "leaves")) {
		struct tx *tx = tx_new(w->c->s);

		((Gs__Slot *)tx_edit(tx, OBJ_SLOT, task(w, i)->slot_id))->removing = true;
		commit_and_settle(w, tx);
	} else
		scenario_fail(w, "db.%u: '%s'?", i, next(w, l, "what it does"));
}

/* node N down|ready|back: back is ready with a new session, in which nothing was told yet */
static void do_node(struct world *w, struct words *l)
{
	char id[32];
	struct tx *tx = tx_new(w->c->s);
	unsigned i = (unsigned)number(w, l, "node");

	snprintf(id, sizeof(id), "node%u", i);
	Gs__Node *n = tx_edit(tx, OBJ_NODE, id);
	if (take(l, "back")) {
		w->unheard[i % array_size(w->unheard)] = true;
		w->opened_ms = w->c->v.mono_ms;
		n->status->state = NODE_READY;
		commit_and_settle(w, tx);
		return;
	}
	n->status->state = (Gs__NodeState)value_of(w, &gs__node_state__descriptor, "NODE_",
						   next(w, l, "state of a node"));
	commit_and_settle(w, tx);
}

/* consent N: the operator's, for that slot. */
static void do_consent(struct world *w, struct words *l)
{
	struct tx *tx = tx_new(w->c->s);
	Gs__GaleraCluster *c = tx_edit(tx, OBJ_GALERA, "gal");

	c->force_bootstrap = true;
	str_replace(&c->force_slot, next(w, l, "slot"));
	commit_and_settle(w, tx);
}

/* idle S: for so many seconds nothing is written, and no pass asks for the next one at once. */
static void do_idle(struct world *w, struct words *l)
{
	uint64_t index = store_index(w->c->s);

	for (int64_t s = number(w, l, "seconds"); s > 0; s--) {
		clock_virtual_advance(&w->c->v, 1000);
		settle(w);
		if (w->c->env.wake_ms <= w->c->v.mono_ms + 1)
			scenario_fail(w, "a pass asks for the next one at once");
	}
	if (store_index(w->c->s) != index)
		scenario_fail(w, "%" PRIu64 " entries were written", store_index(w->c->s) - index);
}

static int64_t moving_seqno(void *arg, const char *task_id)
{
	return ((struct world *)arg)->c->v.wall_ms; /* it commits all the time */
}

/* moves S writes N: for so many seconds each position moves and passes run only when they asked to be woken. As
 * many are written, each at a multiple of 5 s, where every other cluster's are. */
static void do_moves(struct world *w, struct words *l)
{
	struct clock_virtual *v = &w->c->v;
	int64_t end = v->mono_ms + number(w, l, "seconds") * 1000, writes = 0;

	w->c->env.task_seqno = moving_seqno;
	settle(w);
	while (w->c->env.wake_ms < end) {
		uint64_t index = store_index(w->c->s);

		clock_virtual_advance(v, w->c->env.wake_ms - v->mono_ms);
		settle(w);
		if (store_index(w->c->s) == index)
			continue;
		writes++;
		if (v->wall_ms % 5000 != 0)
			scenario_fail(w, "a position was written at %" PRId64 " ms", v->wall_ms);
	}
	w->c->env.task_seqno = NULL;
	if (!take(l, "writes") || number(w, l, "number") != writes)
		scenario_fail(w, "%" PRId64 " writes", writes);
}

/* ---- what must follow ---- */

static void want_number(struct world *w, struct words *l, const char *what, int64_t is)
{
	int64_t wanted = number(w, l, what);

	if (wanted != is)
		scenario_fail(w, "%s is %" PRId64 ", expected %" PRId64, what, is, wanted);
}
static void want_flag(struct world *w, const char *what, bool is, bool wanted)
{
	if (is != wanted)
		scenario_fail(w, "%s is %s", what, is ? "set" : "not set");
}
static void want_name(struct world *w, struct words *l, const ProtobufCEnumDescriptor *d, const char *prefix,
		      int is)
{
	const char *wanted = next(w, l, prefix);

	if (value_of(w, d, prefix, wanted) != is)
		scenario_fail(w, "it is %s, expected %s", name_of(d, is), wanted);
}

/* expect db.N permit MODE [attempt N] [start S] [group N] [addresses N] [genesis HASH] [peer P] [no] FLAG...; flag "anew":
 * it is another one than at the look before */
static void expect_permit(struct world *w, unsigned i, struct words *l)
{
	static const Gs__GaleraPermit none = GS__GALERA_PERMIT__INIT;
	const Gs__GaleraPermit *p = task(w, i)->permit ? task(w, i)->permit : &none;

	want_name(w, l, &gs__permit_mode__descriptor, "PERMIT_", p->mode);
	while (l->at < l->n) {
		bool wanted = !take(l, "no");

		if (take(l, "attempt"))
			want_number(w, l, "attempt", p->attempt);
		else if (take(l, "start"))
			want_number(w, l, "start", p->start_position ? p->start_position->seqno : -1);
		else if (take(l, "group"))
			want_number(w, l, "group", (int64_t)p->group_epoch);
		else if (take(l, "addresses"))
			want_number(w, l, "addresses", (int64_t)p->n_addresses);
		else if (take(l, "genesis"))
			want_flag(w, "genesis", strcmp(p->genesis_sha256, next(w, l, "hash")) == 0, true);
		else if (take(l, "peer"))
			want_flag(w, "peer",
				  p->n_genesis_peers && strcmp(p->genesis_peers[0], next(w, l, "peer")) == 0,
				  true);
		else if (take(l, "force-sst"))
			want_flag(w, "force-sst", p->force_sst, wanted);
		else if (take(l, "quarantine"))
			want_flag(w, "quarantine", p->quarantine, wanted);
		else if (take(l, "accept-damaged"))
			want_flag(w, "accept-damaged", p->accept_damaged, wanted);
		else if (take(l, "prefetch"))
			want_flag(w, "prefetch", p->prefetch, wanted);
		else if (take(l, "anew"))
			want_flag(w, "anew", p->serial != w->seen_serial[i % array_size(w->seen_serial)],
				  wanted);
		else
			scenario_fail(w, "permit: '%s'?", next(w, l, ""));
	}
	w->seen_serial[i % array_size(w->seen_serial)] = p->serial;
}

static void expect_member(struct world *w, unsigned i, struct words *l)
{
	if (take(l, "permit"))
		expect_permit(w, i, l);
	else if (take(l, "desired"))
		want_name(w, l, &gs__task_state__descriptor, "TASK_", task(w, i)->desired);
	else if (take(l, "noted")) {
		bool noted = false;

		for (size_t k = 0; k < cluster(w)->n_slots; k++)
			noted = noted || (strcmp(cluster(w)->slots[k]->slot_id, task(w, i)->slot_id) == 0 &&
					  cluster(w)->slots[k]->note[0]);
		want_flag(w, "its note", noted, true);
	} else
		scenario_fail(w, "expect db.%u: '%s'?", i, next(w, l, "what"));
}

/* One of them has all these words. */
static bool has_event(const struct world *w, const struct words *l)
{
	const Gs__Event *ev;

	for (size_t i = 0; (ev = store_at(w->c->s, OBJ_EVENT, i)); i++) {
		size_t at = l->at;

		while (at < l->n && strstr(ev->text, l->word[at]))
			at++;
		if (at == l->n)
			return true;
	}
	return false;
}

/* expect cluster [epoch N] [group N] [boot S] [phase P] [token T] [writer N] [view N] [blocked WORDS...|free]
 * [event WORDS...] */
static void expect_cluster(struct world *w, struct words *l)
{
	const Gs__GaleraCluster *c = cluster(w);

	while (l->at < l->n) {
		if (take(l, "epoch"))
			want_number(w, l, "epoch", (int64_t)c->epoch);
		else if (take(l, "group"))
			want_number(w, l, "group", (int64_t)c->group_epoch);
		else if (take(l, "boot"))
			want_number(w, l, "boot", c->n_epochs ? c->epochs[c->n_epochs - 1]->boot_seqno : -1);
		else if (take(l, "phase"))
			want_name(w, l, &gs__galera_phase__descriptor, "GP_", c->phase);
		else if (take(l, "token"))
			want_name(w, l, &gs__token_state__descriptor, "TOKEN_",
				  c->token ? c->token->state : 0);
		else if (take(l, "writer"))
			want_flag(w, "that writer",
				  strcmp(c->writer_slot,
					 task(w, (unsigned)number(w, l, "writer"))->slot_id) == 0,
				  true);
		else if (take(l, "view"))
			want_number(w, l, "view", c->last_primary ? (int64_t)c->last_primary->n_slots : 0);
		else if (take(l, "free"))
			want_flag(w, "a reason to be blocked", c->blocked_reason[0], false);
		else if (take(l, "blocked")) {
			while (l->at < l->n)
				if (!strstr(c->blocked_reason, l->word[l->at++]))
					scenario_fail(w, "'%s' is not in: %s", l->word[l->at - 1],
						      c->blocked_reason);
		} else if (take(l, "refused")) {
			while (l->at < l->n)
				if (!strstr(c->refused, l->word[l->at++]))
					scenario_fail(w, "'%s' is not in: %s", l->word[l->at - 1],
						      c->refused);
		} else if (take(l, "event")) {
			if (!has_event(w, l))
				scenario_fail(w, "no event says that");
			l->at = l->n;
		} else
			scenario_fail(w, "expect cluster: '%s'?", next(w, l, ""));
	}
}

/* ---- a scenario ---- */

static void run_file(struct world *w, const char *path);

static bool member_of(const char *word, unsigned *ret)
{
	return sscanf(word, "db.%u", ret) == 1;
}
static void run_line(struct world *w, const char *line)
{
	struct words l;
	unsigned i;

	split(w, line, &l);
	if (!l.n)
		return;
	const char *verb = next(w, &l, "");
	if (strcmp(verb, "slots") == 0)
		world_up(w, (unsigned)number(w, &l, "slots"));
	else if (strcmp(verb, "include") == 0) {
		char path[512];
		const char *slash = strrchr(w->file, '/');

		snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - w->file), w->file, next(w, &l, "file"));
		run_file(w, path);
	} else if (strcmp(verb, "node") == 0)
		do_node(w, &l);
	else if (strcmp(verb, "consent") == 0)
		do_consent(w, &l);
	else if (strcmp(verb, "idle") == 0)
		do_idle(w, &l);
	else if (strcmp(verb, "moves") == 0)
		do_moves(w, &l);
	else if (strcmp(verb, "wait") == 0) {
		clock_virtual_advance(&w->c->v, number(w, &l, "seconds") * 1000);
		settle(w);
	} else if (strcmp(verb, "expect") == 0 && take(&l, "cluster"))
		expect_cluster(w, &l);
	else if (strcmp(verb, "expect") == 0 && member_of(next(w, &l, "of whom"), &i))
		expect_member(w, i, &l);
	else if (member_of(verb, &i))
		do_member(w, i, &l);
	else
		scenario_fail(w, "'%s'?", verb);
	if (l.at < l.n)
		scenario_fail(w, "what is '%s' for?", l.word[l.at]);
}
static void run_file(struct world *w, const char *path)
{
	const char *outer = w->file;
	unsigned outer_line = w->line, line = 0;
	cleanup_free char *text = NULL;
	struct err e = {0};

	if (fs_read(path, 1 << 16, &text, NULL, &e) < 0)
		fail_msg("%s: %s", path, e.msg);
	for (char *s = text, *end; s; s = end) {
		end = strchr(s, '\n');
		if (end)
			*end++ = '\0';
		w->file = path;
		w->line = ++line;
		run_line(w, s);
	}
	w->file = outer;
	w->line = outer_line;
}
static void test_scenario(void **state)
{
	struct world w = {0};

	run_file(&w, *state);
	if (w.c)
		world_down(&w);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[64] = {{0}};
	size_t n = 0;

	for (; n + 1 < (size_t)argc && n < 64; n++) {
		const char *slash = strrchr(argv[n + 1], '/');

		tests[n] = (struct CMUnitTest){slash ? slash + 1 : argv[n + 1], test_scenario, NULL, NULL,
					       argv[n + 1]};
	}
	if (!n)
		return 1; /* no scenario is no success */
	return _cmocka_run_group_tests("galera scenarios", tests, n, NULL, NULL);
}
