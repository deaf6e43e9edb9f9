// SPDX-License-Identifier: Apache-2.0
/* Sessions.
 *
 *   worker                      dispatcher
 *   Session(description) ------> description changed? commit it first
 *        <---- OPEN, BEGIN, ITEM ..., COMPLETE            the node's whole set
 *        <---- CHANGE (seq + 1) ...                       differences, coalesced
 *   Heartbeat ------------------> last seen
 *
 * The happy path is: a change in the store arms a timer of one millisecond; when it fires every session is sent
 * what assign_diff finds, in events of at most 256 KiB, each computed when it can leave. A turn of the loop has a
 * share (PUSH_BYTES, PUSH_LOOKS, PUSH_NS); what is left comes in the next turns, so that a thousand workers that
 * come at once, as after an election, hold up nobody. What can fail is: a slow worker (its window is full): one event
 * waits here, nothing more is computed until it has left; a lost connection: the next session starts with a
 * complete set. A second session of a node ends the first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "manager/model/pool.h"
#include "manager/model/check.h"
#include "manager/model/rows.h"
#include "manager/session/internal.h"

#define EVENT_BYTES (256u << 10)
#define COALESCE_MS 1
#define PUSH_BYTES (2u << 20)
#define PUSH_NS 10000000u
#define PUSH_LOOKS 32 /* at what a node should know; some 0.3 ms each for a thousand endpoints */
#define DESCRIBE_ATTEMPTS 16
/* Of one node: a session costs its whole set, and a log entry when the description differs. */
#define SESSIONS_PER_S 1.0
#define SESSIONS_BURST 20.0

/* What a session sends next: once through, then CHANGES for ever. */
enum session_next { NEXT_OPEN, NEXT_BEGIN, NEXT_ITEMS, NEXT_COMPLETE, NEXT_CHANGES };

#define SESSION_MAGIC MAGIC('s', 'e', 's', 's')
struct session {
	uint32_t magic;
	struct sessions *all;
	struct node_mem *node;
	struct rpc_call *call;
	char id[ID_LEN + 1];
	struct assign_set *set;
	uint64_t seq;
	struct sm sm; /* enum session_state */
	enum session_next next;
	uint64_t seen;             /* of sessions->change: nothing newer was there to send */
	uint64_t served;           /* when it had its last turn */
	uint64_t pass;             /* the first reconcile pass that knew of it (context.pass_begun) */
	size_t n_items;            /* of the complete set */
	Gs__SessionEvent *waiting; /* only while FULL: it had no room */
};

/*   DESCRIBING --description committed--> OPEN <--all is out---- FULL
 *       |                                  |  `--no room left--> |
 *       +---------- refused ----------> ENDED <-- cancelled, replaced, removed
 * DESCRIBING: the worker has called, nothing was sent. OPEN: it has what was computed. FULL: it does not read, one
 * event waits here and nothing more is computed. ENDED: the call is answered, the session about to be freed. */
enum session_state { SESSION_DESCRIBING, SESSION_OPENED, SESSION_FULL, SESSION_ENDED };

static void session_check(const struct sm *sm, unsigned from)
{
	const struct session *s = container_of(sm, struct session, sm);

	(void)from;
	bug_if(sm_is(sm, SESSION_FULL) != !!s->waiting && !sm_is(sm, SESSION_ENDED));
	bug_if(!sm_is(sm, SESSION_ENDED) && s->node->session != s);
}

static const struct sm_state session_states[] = {
	{SESSION_DESCRIBING, "describing", SM(SESSION_OPENED) | SM(SESSION_ENDED)},
	{SESSION_OPENED, "open", SM(SESSION_FULL) | SM(SESSION_ENDED)},
	{SESSION_FULL, "full", SM(SESSION_OPENED) | SM(SESSION_ENDED)},
	{SESSION_ENDED, "ended", 0},
};
const struct sm_kind session_kind = SM_KIND("session", session_states, session_check);

static bool session_is_open(const struct session *s)
{
	return sm_in(&s->sm, SM(SESSION_OPENED) | SM(SESSION_FULL));
}

struct node_mem *sessions_node(struct sessions *all, const char *node_id)
{
	struct node_mem *n;

	HASH_FIND_STR(all->nodes, node_id, n);
	return n;
}

static struct node_mem *node_need(struct sessions *all, const char *node_id)
{
	struct node_mem *n = sessions_node(all, node_id);

	if (n)
		return n;
	n = xcalloc(1, sizeof(*n));
	snprintf(n->id, sizeof(n->id), "%s", node_id);
	n->last_seen_ms = -1; /* until its session is open */
	HASH_ADD_STR(all->nodes, id, n);
	return n;
}

int64_t sessions_last_seen_ms(struct sessions *all, const char *node_id)
{
	struct node_mem *n = sessions_node(all, node_id);

	return n ? n->last_seen_ms : -1;
}

int64_t sessions_seqno(struct sessions *all, const char *task_id)
{
	struct task_mem *t;

	HASH_FIND_STR(all->tasks, task_id, t);
	return t ? t->last_committed : -1;
}

bool sessions_task_heard(struct sessions *all, const char *task_id, int64_t *since_ms)
{
	const Gs__Task *row = store_task(all->ctx->store, task_id);
	struct node_mem *n = row ? sessions_node(all, row->node_id) : NULL;
	struct task_mem *t;

	*since_ms = n && n->opened ? n->opened_ms : -1;
	HASH_FIND_STR(all->tasks, task_id, t);
	return n && t && n->opened && t->heard_in == n->opened;
}

/* ---- sending ---- */

static void sessions_push_soon(struct sessions *all);

static void session_free(struct session *s)
{
	sm_go(&s->sm, SESSION_ENDED);
	if (s->node->session == s)
		s->node->session = NULL;
	obj_free(s->waiting);
	assign_set_free(s->set);
	magic_end(s);
	free(s);
}

static void on_cancel(struct rpc_call *call, void *arg)
{
	struct session *s = magic_of(struct session, SESSION_MAGIC, arg);

	log_info("session of node %s ended", s->node->id);
	session_free(s);
}

static void session_end(struct session *s, int code, const char *why)
{
	struct rpc_call *call = s->call;

	session_free(s);
	answer_fail(call, code, "%s", why);
}

static void session_send(struct session *s, const Gs__SessionEvent *event)
{
	bug_if(!sm_is(&s->sm, SESSION_OPENED));
	if (rpc_event(s->call, &event->base) == 0)
		return;
	s->waiting = obj_dup(event);
	sm_go(&s->sm, SESSION_FULL);
}

static void on_drain(struct rpc_call *call, void *arg)
{
	struct session *s = magic_of(struct session, SESSION_MAGIC, arg);

	if (!sm_is(&s->sm, SESSION_FULL) || rpc_event(s->call, &s->waiting->base))
		return;
	obj_free(s->waiting);
	s->waiting = NULL;
	sm_go(&s->sm, SESSION_OPENED);
	sessions_push_soon(s->all);
}

static void send_marker(struct session *s, Gs__SessionKind kind)
{
	Gs__SessionEvent event = GS__SESSION_EVENT__INIT;

	event.kind = kind;
	event.seq = ++s->seq;
	session_send(s, &event);
}

static void send_open(struct session *s)
{
	struct context *ctx = s->all->ctx;
	Gs__SessionEvent event = GS__SESSION_EVENT__INIT;
	char **managers;
	size_t n = context_managers(ctx, &managers);

	event.kind = SESSION_OPEN;
	event.session_id = s->id;
	event.heartbeat_ms = store_cluster(ctx->store)->spec->heartbeat_ms;
	event.managers = managers;
	event.n_managers = n;
	event.cluster_id = ctx->cluster_id;
	event.addr_pool = (char *)subnet_pool(ctx->store);
	s->seq = ctx->engine->ops->term(ctx->engine) << 32;
	event.seq = s->seq;
	session_send(s, &event);
	context_managers_free(managers, n);
}

/* One event of what the node should know and does not; true: that was all. Bytes are taken from the share. */
static bool send_items(struct session *s, Gs__SessionKind kind, size_t *share)
{
	Gs__SessionEvent event = GS__SESSION_EVENT__INIT;
	Gs__AssignmentItem **items = NULL;
	size_t bytes;
	bool more;

	event.n_items = assign_diff(s->all->ctx->store, s->node->id, s->set, EVENT_BYTES, &items, &more);
	event.items = items;
	event.kind = kind;
	if (event.n_items) {
		event.seq = ++s->seq;
		bytes = gs__session_event__get_packed_size(&event);
		*share -= bytes < *share ? bytes : *share;
		session_send(s, &event);
	}
	s->n_items += event.n_items;
	assign_items_free(items, event.n_items);
	return !more;
}

/* The next event. */
static void session_step(struct session *s, size_t *share)
{
	uint64_t change = s->all->change;

	switch (s->next) {
	case NEXT_OPEN:
		send_open(s);
		s->next = NEXT_BEGIN;
		break;
	case NEXT_BEGIN:
		send_marker(s, SESSION_BEGIN);
		s->next = NEXT_ITEMS;
		break;
	case NEXT_ITEMS:
		if (send_items(s, SESSION_ITEM, share))
			s->next = NEXT_COMPLETE;
		break;
	case NEXT_COMPLETE:
		send_marker(s, SESSION_COMPLETE);
		log_info("session of node %s open, %zu items", s->node->id, s->n_items);
		s->next = NEXT_CHANGES;
		break;
	case NEXT_CHANGES:
		if (send_items(s, SESSION_CHANGE, share))
			s->seen = change;
		break;
	}
}

/* The token that a permit to begin a history hangs on may be void since a moment ago, or a consent to somebody else
 * lie there that no pass has looked at: its host was away when that was decided. A confirmed one is used up. */
static bool permit_may_be_void(const struct store *s, const Gs__Task *t)
{
	const Gs__GaleraCluster *g = store_galera(s, t->galera_cluster_id);

	if (!permit_begins_history(t->permit))
		return false;
	return !g || !g->token || g->token->epoch != t->permit->epoch || g->token->state != TOKEN_CONFIRMED;
}

/* The whole set of a node that holds such a permit is computed after a pass. */
static bool set_must_wait(const struct session *s)
{
	const struct context *ctx = s->all->ctx;
	const Gs__Task *const *tasks;
	size_t n = store_tasks_of_node(ctx->store, s->node->id, &tasks);

	if (ctx->pass_done >= s->pass)
		return false;
	for (size_t i = 0; i < n; i++)
		if (permit_may_be_void(ctx->store, tasks[i]))
			return true;
	return false;
}

static bool session_is_behind(const struct session *s)
{
	if (!s || !sm_is(&s->sm, SESSION_OPENED))
		return false;
	if (s->next == NEXT_BEGIN || s->next == NEXT_ITEMS)
		return !set_must_wait(s);
	return s->next != NEXT_CHANGES || s->seen != s->all->change;
}

/* From here on its tasks' statuses are of before, until it tells of them. Who opens one session after the other and
 * tells nothing was asked when the first one opened. */
static void node_must_tell(struct sessions *all, struct node_mem *n)
{
	if (n->has_told || !n->opened)
		n->opened_ms = clock_mono_ms(all->ctx->clock);
	n->has_told = false;
	n->opened = ++all->opened;
}

static void session_begin(struct session *s)
{
	sm_go(&s->sm, SESSION_OPENED);
	s->node->last_seen_ms = clock_mono_ms(s->all->ctx->clock);
	node_must_tell(s->all, s->node);
	s->pass = s->all->ctx->pass_begun + 1;
	sessions_push_soon(s->all);
	context_mark_dirty(s->all->ctx);
}

static void drop_node(struct sessions *all, struct node_mem *n)
{
	if (n->session)
		session_end(n->session, E_UNAUTHENTICATED,
			    "this node was removed from the cluster: run 'gswarm leave' here, then it can "
			    "join anew");
	rpc_server_drop_node(all->ctx->server, n->id);
	HASH_DEL(all->nodes, n);
	free(n);
}

static void drop_tasks(struct sessions *all)
{
	struct task_mem *t, *tmp;

	HASH_ITER (hh, all->tasks, t, tmp)
		if (!store_task(all->ctx->store, t->task_id)) {
			HASH_DEL(all->tasks, t);
			free(t);
		}
}

static void drop_removed(struct sessions *all)
{
	struct node_mem *n, *tmp;

	HASH_ITER (hh, all->nodes, n, tmp)
		if (!store_node(all->ctx->store, n->id))
			drop_node(all, n);
}

static int longest_unserved(const void *a, const void *b)
{
	uint64_t x = (*(struct session *const *)a)->served, y = (*(struct session *const *)b)->served;

	return x < y ? -1 : x > y;
}

/* Those that something waits for, who had no turn for longest first. *ret: free it. */
static size_t sessions_behind(struct sessions *all, struct session ***ret)
{
	struct session **list = xcalloc(HASH_COUNT(all->nodes) + 1, sizeof(*list));
	struct node_mem *n, *tmp;
	size_t count = 0;

	HASH_ITER (hh, all->nodes, n, tmp)
		if (session_is_behind(n->session))
			list[count++] = n->session;
	qsort(list, count, sizeof(*list), longest_unserved);
	*ret = list;
	return count;
}

/* Sessions take turns, an event each: who has a whole set to get does not keep the others' changes. */
static void on_push(void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	size_t share = PUSH_BYTES, looks = PUSH_LOOKS, left, n;
	cleanup_free struct session **list = NULL;
	bool is_over = false;
	uint64_t end_ns;

	all->push_armed = false;
	drop_tasks(all);
	drop_removed(all);
	left = n = sessions_behind(all, &list);
	end_ns = uv_hrtime() + PUSH_NS;
	while (left && !is_over) {
		left = 0;
		for (size_t i = 0; i < n && !is_over; i++) {
			if (!session_is_behind(list[i]))
				continue;
			looks -= list[i]->next == NEXT_ITEMS || list[i]->next == NEXT_CHANGES;
			session_step(list[i], &share);
			list[i]->served = ++all->turn;
			left += session_is_behind(list[i]);
			is_over = !share || !looks ||
				  uv_hrtime() >= end_ns; /* behind a step: each turn has one */
		}
	}
	if (is_over)
		sessions_push_soon(all);
}

static void sessions_push_soon(struct sessions *all)
{
	if (all->push_armed || all->closed || !all->nodes)
		return;
	all->push_armed = true;
	loop_timer_set(&all->push, COALESCE_MS);
}

void sessions_changed(struct sessions *all)
{
	all->change++;
	sessions_push_soon(all);
}

void sessions_passed(struct sessions *all)
{
	sessions_push_soon(all);
}

/* ---- Session ---- */

/* Between Session and its first event a description may have to be committed; the caller may be gone by then. */
struct opening {
	struct sessions *all;
	char node_id[ID_LEN + 1], session_id[ID_LEN + 1];
	Gs__NodeDescription *description;
	int attempts;
};

static void describe_commit(struct opening *o, const Gs__Node *node);

static void on_described(void *arg, const struct err *e)
{
	struct opening *o = arg;
	struct context *ctx = o->all->ctx;
	struct node_mem *n = sessions_node(o->all, o->node_id);
	struct session *s = n ? n->session : NULL;
	const Gs__Node *node = store_node(ctx->store, o->node_id);

	if (s && strcmp(s->id, o->session_id) == 0) {
		if (e->code == E_STALE_VERSION && node && ++o->attempts < DESCRIBE_ATTEMPTS &&
		    context_is_serving(ctx)) {
			describe_commit(o, node);
			return;
		}
		if (e->code == 0)
			session_begin(s);
		else
			session_end(s, e->code, e->msg);
	}
	obj_free(o->description);
	free(o);
}

/* A manager is reached where its node is: when the host's address changes, both do. */
static void manager_addr_follow(Gs__Node *node, const Gs__NodeDescription *now)
{
	const Gs__NodeDescription *before = node->description;
	char from[64], host[64], to[64];
	uint16_t port;

	if (!*node->manager_addr || !before || now->advertise_ip.len == 0 ||
	    obj_bytes_equal(&before->advertise_ip, &now->advertise_ip) ||
	    hostport_parse(node->manager_addr, MANAGER_PORT, host, sizeof(host), &port, NULL) < 0 ||
	    strcmp(host, addr_format(&before->advertise_ip, from, sizeof(from))) != 0)
		return;
	addr_format(&now->advertise_ip, to, sizeof(to));
	str_replace(&node->manager_addr, NULL);
	node->manager_addr = xasprintf(now->advertise_ip.len == 16 ? "[%s]:%u" : "%s:%u", to, port);
}

static void describe_commit(struct opening *o, const Gs__Node *node)
{
	Gs__Node *changed = obj_dup(node);
	struct tx *tx = tx_new(o->all->ctx->store);

	manager_addr_follow(changed, o->description);
	obj_set(&changed->description, o->description);
	tx_update(tx, changed);
	store_commit(o->all->ctx->store, tx, on_described, o);
}

static int describe(struct session *s, const Gs__NodeDescription *description, struct err *e)
{
	const Gs__Node *node = store_node(s->all->ctx->store, s->node->id);
	struct opening *o;
	struct err bad = {0};

	/* A node that is in stays reachable with what we know of it: to cut it off would be worse. */
	if (description && node->description && check_description(description, &bad))
		log_warn("node %s describes itself in a way that is not taken, what was known stays: %s",
			 s->node->id, bad.msg);
	if (!description || bad.code || obj_equal(node->description, description)) {
		session_begin(s);
		return 0;
	}
	if (check_description(description, e) ||
	    check_family(s->all->ctx->store, s->node->id, description, e))
		return e->code;
	o = xcalloc(1, sizeof(*o));
	o->all = s->all;
	memcpy(o->node_id, s->node->id, sizeof(o->node_id));
	memcpy(o->session_id, s->id, sizeof(o->session_id));
	o->description = obj_dup(description);
	describe_commit(o, node);
	return 0;
}

static struct session *session_new(struct sessions *all, struct node_mem *n, struct rpc_call *call)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->all = all;
	s->node = n;
	s->call = call;
	s->set = assign_set_new();
	id_new(s->id);
	bug_if(n->session);
	n->session = s;
	magic_set(s, SESSION_MAGIC);
	sm_init(&s->sm, &session_kind, SESSION_DESCRIBING, n->id);
	rpc_call_on_cancel(call, on_cancel, s);
	rpc_call_on_drain(call, on_drain, s);
	return s;
}

static void on_session(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	const char *node_id = rpc_call_peer(call)->node_id;
	struct session *s;
	struct node_mem *n;
	struct err e = {0};

	if (answer_unless_serving(all->ctx, call))
		return;
	if (!store_node(all->ctx->store, node_id)) {
		answer_fail(call, E_UNAUTHENTICATED, "node %s is not in the cluster", node_id);
		return;
	}
	n = node_need(all, node_id);
	if (!bucket_take(&n->sessions, clock_mono_ms(all->ctx->clock), 1, SESSIONS_PER_S, SESSIONS_BURST)) {
		answer_fail(call, E_LIMIT, "this node opens sessions too fast; wait a second");
		return;
	}
	if (n->session)
		session_end(n->session, E_CLOSED, "replaced by a newer session of this node");
	s = session_new(all, n, call);
	if (describe(s, ((const Gs__SessionRequest *)msg)->description, &e))
		session_end(s, e.code, e.msg);
}

bool sessions_check_open(struct sessions *all, struct rpc_call *call, const char *session_id)
{
	struct node_mem *n = sessions_node(all, rpc_call_peer(call)->node_id);

	if (answer_unless_serving(all->ctx, call))
		return false;
	if (n && n->session && session_is_open(n->session) && strcmp(n->session->id, session_id) == 0)
		return true;
	answer_fail(call, E_NOT_FOUND, "no such session here: open a new one");
	return false;
}

static void on_heartbeat(struct rpc_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);
	Gs__HeartbeatResponse resp = GS__HEARTBEAT_RESPONSE__INIT;
	const Gs__Node *node;
	struct node_mem *n;

	if (!sessions_check_open(all, call, ((const Gs__HeartbeatRequest *)msg)->session_id))
		return;
	n = sessions_node(all, rpc_call_peer(call)->node_id);
	n->last_seen_ms = clock_mono_ms(all->ctx->clock);
	node = store_node(all->ctx->store, n->id);
	if (node && node->status && node->status->state != NODE_READY)
		context_mark_dirty(all->ctx);
	resp.heartbeat_ms = store_cluster(all->ctx->store)->spec->heartbeat_ms;
	rpc_reply(call, &resp.base);
}

/* ---- life ---- */

struct sessions *sessions_new(struct context *ctx)
{
	struct sessions *all = xcalloc(1, sizeof(*all));

	magic_set(all, SESSIONS_MAGIC);
	all->ctx = ctx;
	all->last = &all->first;
	loop_timer_init(&all->push, ctx->loop, on_push, all);
	loop_timer_init(&all->report, ctx->loop, sessions_flush_reports, all);
	return all;
}

/* One that never had a session here is in no list of ours, and its connections would stay. */
static void on_row(void *arg, enum obj_kind kind, const void *old_row, const void *new_row)
{
	struct sessions *all = magic_of(struct sessions, SESSIONS_MAGIC, arg);

	if (kind == OBJ_NODE && !new_row && !sessions_node(all, ((const Gs__Node *)old_row)->meta->id))
		rpc_server_drop_node(all->ctx->server, ((const Gs__Node *)old_row)->meta->id);
}

void sessions_register(struct sessions *all)
{
	static const rpc_handler handlers[] = {[DISPATCHER_SESSION] = on_session,
					       [DISPATCHER_HEARTBEAT] = on_heartbeat,
					       [DISPATCHER_REPORT] = on_report,
					       [DISPATCHER_LEAVE] = on_leave};

	rpc_server_add(all->ctx->server, RPC_DISPATCHER, handlers, array_size(handlers), all);
	store_watch_add(all->ctx->store, on_row, all);
}

void sessions_reset(struct sessions *all)
{
	struct node_mem *n, *n_tmp;
	struct task_mem *t, *t_tmp;

	HASH_ITER (hh, all->nodes, n, n_tmp) {
		if (n->session)
			session_end(n->session, E_NOT_LEADER, "this manager is not the leader any more");
		HASH_DEL(all->nodes, n);
		free(n);
	}
	HASH_ITER (hh, all->tasks, t, t_tmp) {
		HASH_DEL(all->tasks, t);
		free(t);
	}
}

void sessions_close(struct sessions *all)
{
	if (all->closed)
		return;
	all->closed = true;
	sessions_refuse_reports(all);
	loop_timer_close(&all->push, NULL);
	loop_timer_close(&all->report, NULL);
}

void sessions_free(struct sessions *all)
{
	struct node_mem *n, *tmp;

	HASH_ITER (hh, all->nodes, n, tmp)
		if (n->session)
			session_free(n->session);
	sessions_reset(all);
	bug_if(all->first || all->nodes);
	magic_end(all);
	free(all);
}
