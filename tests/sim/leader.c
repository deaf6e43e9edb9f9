// SPDX-License-Identifier: Apache-2.0
/* The manager daemon around the real store and reconcilers.
 *
 * The happy path is: something was committed -> one pass over everything -> one commit -> assignments to the
 * sessions. What fails here on purpose: the daemon dies at any commit, commits answer E_UNAVAILABLE whether
 * or not they were applied, sessions break. After a restart the store comes from snapshot and log alone. */
#include <string.h>

#include "base/mem.h"
#include "tests/lib/consensus_memory.h"
#include "tests/sim/sim.h"

/* ---- log ---- */

static void say_entry(struct sim *s, const uint8_t *data, size_t len)
{
	Gs__StoreCommand *cmd = gs__store_command__unpack(NULL, len, data);

	for (size_t i = 0; cmd && i < cmd->n_actions; i++) {
		void *row = obj_unwrap(cmd->actions[i]->object);
		enum obj_kind kind = obj_kind_of(row);

		if (kind == OBJ_TASK) {
			const Gs__Task *t = row;

			say(s, "  log %zu: task %s %.5s state %s desired %s permit %s/%llu", s->n_log,
			    t->name, t->meta->id, t->status ? task_state_name(t->status->state) : "-",
			    task_state_name(t->desired), t->permit ? permit_mode_name(t->permit->mode) : "-",
			    t->permit ? (unsigned long long)t->permit->serial : 0);
		} else if (kind == OBJ_GALERA) {
			const Gs__GaleraCluster *c = row;

			say(s, "  log %zu: galera %s epoch %llu group %llu hwm %lld view %llu/%zu", s->n_log,
			    galera_phase_name(c->phase), (unsigned long long)c->epoch,
			    (unsigned long long)c->group_epoch, c->hwm ? (long long)c->hwm->seqno : -1,
			    c->last_primary ? (unsigned long long)c->last_primary->conf_id : 0,
			    c->last_primary ? c->last_primary->n_slots : 0);
		} else if (kind == OBJ_EVENT) {
			say(s, "  log %zu: event %s %s", s->n_log, ((const Gs__Event *)row)->kind,
			    ((const Gs__Event *)row)->text);
		} else {
			say(s, "  log %zu: %s %s", s->n_log, obj_kind_name(kind), obj_meta(row)->id);
		}
	}
	if (cmd)
		gs__store_command__free_unpacked(cmd, NULL);
}

static int logged_apply(void *arg, uint64_t index, const uint8_t *data, size_t len, struct err *e)
{
	struct sim *s = arg;
	struct err other = {0};

	(void)index;
	if (s->n_log == s->cap_log) {
		s->cap_log = s->cap_log ? s->cap_log * 2 : 256;
		s->log = xrealloc(s->log, s->cap_log * sizeof(*s->log));
	}
	s->log[s->n_log++] = (struct entry){xmemdup(data, len), len};
	if (s->verbose)
		say_entry(s, data, len);
	int rc = s->m.fsm.apply(s->m.fsm.arg, s->n_log, data, len, e);
	int rc2 = s->m.replica_fsm.apply(s->m.replica_fsm.arg, s->n_log, data, len, &other);
	if (rc != rc2)
		fail(s, "replicas differ in an answer: %d and %d", rc, rc2);
	return rc;
}

static void logged_snapshot(void *arg, uint8_t **ret, size_t *len)
{
	struct sim *s = arg;

	s->m.fsm.snapshot(s->m.fsm.arg, ret, len);
}

static int logged_restore(void *arg, const uint8_t *data, size_t len, struct err *e)
{
	struct sim *s = arg;

	return s->m.fsm.restore(s->m.fsm.arg, data, len, e);
}

static void logged_leader(void *arg, bool is_leader)
{
	struct sim *s = arg;

	if (s->m.fsm.on_leader)
		s->m.fsm.on_leader(s->m.fsm.arg, is_leader);
}

/* ---- passes ---- */

static void run_pass(struct sim *s, void *arg, uint64_t term);

static void mark_dirty(struct sim *s)
{
	struct manager *m = &s->m;

	m->dirty = true;
	if (m->up && !m->busy && !m->scheduled) {
		m->scheduled = true;
		at(s, between(s, 1, 20), run_pass, NULL, m->term);
	}
}

static void flush(struct sim *s, void *arg, uint64_t term);

static void on_applied(void *arg)
{
	struct sim *s = arg;

	if (!s->m.up)
		return;
	s->m.commits++;
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &s->nodes[i];

		n->m_dirty = true;
		if (n->m_session && !n->m_flush) {
			n->m_flush = true;
			at(s, between(s, 1, 50), flush, n, s->m.term);
		}
	}
	mark_dirty(s);
}

static void pass_done(void *arg, const struct err *e)
{
	struct sim *s = arg;

	s->m.busy = false;
	if (e && e->code)
		mark_dirty(s);
	else if (s->m.dirty)
		mark_dirty(s);
}

static void engine_step(struct sim *s, void *arg, uint64_t term)
{
	struct manager *m = &s->m;

	if (!m->up || term != m->term)
		return;
	bool did = s->faults && chance(s, 3) ? consensus_memory_lose(m->engine, chance(s, 50))
					     : consensus_memory_step(m->engine);
	if (did) {
		check_commit(s);
		if (s->faults && rnd(s, 1500) == 0)
			manager_crash(s); /* right after a commit */
	}
}

void manager_commit(struct sim *s, struct tx *tx)
{
	store_commit(s->m.store, tx, NULL, NULL);
	at(s, between(s, 1, 5), engine_step, NULL, s->m.term);
	at(s, 6, engine_step, NULL, s->m.term);
}

static void wake(struct sim *s, void *arg, uint64_t term)
{
	if (s->m.up && term == s->m.term && s->m.wake_at <= now(s)) {
		s->m.wake_at = INT64_MAX;
		mark_dirty(s);
	}
}

static void run_pass(struct sim *s, void *arg, uint64_t term)
{
	struct manager *m = &s->m;

	if (!m->up || term != m->term)
		return;
	m->scheduled = false;
	if (m->busy)
		return;
	m->dirty = false;
	m->env.wake_ms = INT64_MAX;
	struct tx *tx = tx_new(m->store);
	reconcile_all(m->store, tx, &m->env);
	if (m->env.wake_ms != INT64_MAX && m->env.wake_ms < m->wake_at) {
		m->wake_at = m->env.wake_ms;
		at(s, m->wake_at - now(s), wake, NULL, m->term);
	}
	if (!tx_len(tx)) {
		tx_free(tx);
		return;
	}
	m->busy = true;
	store_commit(m->store, tx, pass_done, s);
	for (int i = 0; i < 8; i++) /* a split commit is several entries */
		at(s, between(s, 1, 5) + i, engine_step, NULL, m->term);
}

/* ---- sessions ---- */

static int64_t last_seen(void *arg, const char *node_id)
{
	struct sim *s = arg;

	for (unsigned i = 0; i < NODES; i++) {
		if (strcmp(s->nodes[i].id, node_id) == 0)
			return s->nodes[i].m_session ? s->nodes[i].m_seen_ms : -1;
	}
	return -1;
}

struct items_msg {
	struct node *node;
	uint64_t session, seq;
	Gs__AssignmentItem **items;
	size_t n;
	bool complete;
};

void deliver_items(struct sim *s, void *arg, uint64_t tag)
{
	struct items_msg *msg = arg;

	if (s->over) {
		/* nobody listens */
	} else if (tag) {
		manager_drop_session(s, msg->node);
		worker_session_broken(s, msg->node);
	} else {
		worker_items(s, msg->node, msg->session, msg->seq, msg->items, msg->n, msg->complete);
	}
	for (size_t i = 0; i < msg->n; i++)
		obj_free(msg->items[i]);
	free(msg->items);
	free(msg);
}

static void send_items(struct sim *s, struct node *n, bool complete)
{
	Gs__AssignmentItem **items = NULL;
	bool more;
	size_t count = assign_diff(s->m.store, n->id, n->m_set, SIZE_MAX, &items, &more);

	n->m_dirty = false;
	if (!count && !complete) {
		assign_items_free(items, count);
		return;
	}
	struct items_msg *msg = xcalloc(1, sizeof(*msg));
	*msg = (struct items_msg){n,     n->m_session, ++n->m_seq_out, xcalloc(count + 1, sizeof(*items)),
				  count, complete};
	for (size_t i = 0; i < count; i++)
		msg->items[i] = obj_dup(items[i]);
	assign_items_free(items, count);
	int64_t delay = s->faults && chance(s, 5) ? between(s, 100, 3000) : between(s, 1, 15);
	if (now(s) + delay <= n->last_from_manager_ms)
		delay = n->last_from_manager_ms + 1 - now(s);
	n->last_from_manager_ms = now(s) + delay;
	at(s, delay, deliver_items, msg, s->faults && chance(s, 1));
}

static void flush(struct sim *s, void *arg, uint64_t term)
{
	struct node *n = arg;

	n->m_flush = false;
	if (s->m.up && term == s->m.term && n->m_session)
		send_items(s, n, false);
}

void manager_drop_session(struct sim *s, struct node *n)
{
	if (n->m_set)
		assign_set_free(n->m_set);
	n->m_set = NULL;
	n->m_session = 0;
}

void manager_opens(struct sim *s, struct node *n)
{
	if (!s->m.up)
		return;
	manager_drop_session(s, n);
	n->m_session = ++s->m.sessions;
	n->m_seq_out = 0;
	n->m_set = assign_set_new();
	n->m_seen_ms = n->m_opened_ms = now(s);
	worker_session_opened(s, n, n->m_session);
	send_items(s, n, true);
	mark_dirty(s);
}

void manager_heartbeat(struct sim *s, struct node *n, uint64_t session)
{
	if (!s->m.up || session != n->m_session || !session) {
		worker_session_broken(s, n);
		return;
	}
	n->m_seen_ms = now(s);
	const Gs__Node *row = store_node(s->m.store, n->id);
	if (row && row->status && row->status->state != NODE_READY)
		mark_dirty(s);
}

struct report_ack {
	struct sim *s;
	struct node *node;
	uint64_t session;
	struct wtask **tasks;
	uint64_t *versions;
	bool *taken; /* the report was not refused */
	size_t n;
};

static void report_done(void *arg, const struct err *e)
{
	struct report_ack *ack = arg;

	for (size_t i = 0; i < ack->n && !(e && e->code); i++) {
		if (ack->tasks[i]->acked < ack->versions[i])
			ack->tasks[i]->acked = ack->versions[i];
		if (ack->taken[i] && ack->session == ack->node->m_session)
			ack->tasks[i]->heard_in = ack->session;
	}
	if (ack->s->m.up)
		mark_dirty(ack->s);
	free(ack->taken);
	free(ack->tasks);
	free(ack->versions);
	free(ack);
}

void manager_reports(struct sim *s, struct node *n, uint64_t session, Gs__TaskReport **reports,
		     struct wtask **tasks, uint64_t *versions, size_t count)
{
	struct manager *m = &s->m;

	if (!m->up || !session || session != n->m_session) {
		worker_session_broken(s, n);
		return;
	}
	struct tx *tx = tx_new(m->store);
	bool *taken = xcalloc(count + 1, sizeof(*taken));
	for (size_t i = 0; i < count; i++) {
		struct err e = {0};

		taken[i] = true;
		if (report_apply(m->store, tx, n->id, reports[i], &m->env, &e)) {
			taken[i] = false;
			say(s, "report of %s refused: %s", task_label(tasks[i]), e.msg);
		}
	}
	struct report_ack *ack = xcalloc(1, sizeof(*ack));
	*ack = (struct report_ack){s,
				   n,
				   session,
				   xmemdup(tasks, count * sizeof(*tasks)),
				   xmemdup(versions, count * sizeof(*versions)),
				   taken,
				   count};
	store_commit(m->store, tx, report_done, ack);
	for (int i = 0; i < 3; i++)
		at(s, between(s, 1, 5), engine_step, NULL, m->term);
}

/* ---- life ---- */

static int64_t task_seqno(void *arg, const char *task_id)
{
	struct sim *s = arg;

	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->assigned && strcmp(t->row->meta->id, task_id) == 0 && t->p.prim && t->p.view &&
		    s->nodes[t->node].m_session)
			return t->p.view->comp->seqno;
	}
	return -1;
}

static bool task_heard(void *arg, const char *task_id, int64_t *since_ms)
{
	struct sim *s = arg;

	*since_ms = -1;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		const struct node *n = &s->nodes[t->node];

		if (!t->row || strcmp(t->row->meta->id, task_id) != 0)
			continue;
		*since_ms = n->m_session ? n->m_opened_ms : -1;
		return n->m_session && t->heard_in == n->m_session;
	}
	return false;
}

static void rebuild(struct sim *s)
{
	struct manager *m = &s->m;
	struct err e = {0};

	m->store = store_new(&s->clock);
	m->fsm = store_fsm(m->store);
	if (m->snap && m->fsm.restore(m->fsm.arg, m->snap, m->snap_len, &e))
		fail(s, "restore: %s", e.msg);
	for (size_t i = m->snap_index; i < s->n_log; i++) {
		struct err x = {0};

		m->fsm.apply(m->fsm.arg, i + 1, s->log[i].data, s->log[i].len, &x);
	}
}

void manager_start(struct sim *s)
{
	struct manager *m = &s->m;

	if (m->up)
		return;
	rebuild(s);
	if (!m->replica) {
		m->replica = store_new(&s->clock);
		m->replica_fsm = store_fsm(m->replica);
	}
	struct consensus_fsm fsm = {logged_apply, logged_snapshot, logged_restore, logged_leader, s};
	m->engine = consensus_memory_new(&fsm);
	store_set_consensus(m->store, m->engine);
	m->term++;
	m->up = true;
	m->busy = m->dirty = m->scheduled = false;
	m->wake_at = INT64_MAX;
	m->leader_since_ms = now(s);
	m->env = (struct reconcile_env){.clock = &s->clock,
					.leader_since_ms = now(s),
					.node_last_seen_ms = last_seen,
					.task_heard = task_heard,
					.task_seqno = task_seqno,
					.arg = s,
					.new_id = sim_new_id,
					.galera = &m->rules,
					.wake_ms = INT64_MAX};
	for (unsigned i = 0; i < NODES; i++)
		s->nodes[i].m_flush = false;
	consensus_memory_set_leader(m->engine, true);
	consensus_memory_run(m->engine);
	store_on_applied(m->store, on_applied, s);
	say(s, "manager leads, term %llu, log %zu", (unsigned long long)m->term, s->n_log);
	mark_dirty(s);
}

static void restart(struct sim *s, void *arg, uint64_t term)
{
	if (s->m.term == term)
		manager_start(s);
}

void manager_crash(struct sim *s)
{
	struct manager *m = &s->m;

	if (!m->up)
		return;
	say(s, "manager dies");
	s->n_restart++;
	check_replicas(s);
	if (chance(s, 30)) { /* sometimes it had compacted its log */
		free(m->snap);
		m->fsm.snapshot(m->fsm.arg, &m->snap, &m->snap_len);
		m->snap_index = s->n_log;
	}
	m->up = false;
	for (unsigned i = 0; i < NODES; i++)
		manager_drop_session(s, &s->nodes[i]);
	consensus_memory_free(m->engine);
	store_free(m->store);
	m->engine = NULL;
	m->store = NULL;
	at(s, between(s, 200, 4000), restart, NULL, m->term);
}

void manager_free(struct sim *s)
{
	struct manager *m = &s->m;

	for (unsigned i = 0; i < NODES; i++)
		manager_drop_session(s, &s->nodes[i]);
	m->up = false;
	if (m->engine)
		consensus_memory_free(m->engine);
	if (m->store)
		store_free(m->store);
	if (m->replica)
		store_free(m->replica);
	free(m->snap);
}
