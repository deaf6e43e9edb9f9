// SPDX-License-Identifier: Apache-2.0
/* A node agent with a fake runtime.
 *
 * The happy path is: an assignment arrives, the task goes ACCEPTED, PREPARING, HELD with evidence, and with a
 * permit STARTING, RUNNING; every change is reported until the manager has it. What fails here on purpose:
 * the agent restarts (tasks stay), the node reboots (processes die, volumes stay), messages repeat or get
 * lost. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

static void task_step(struct sim *s, void *arg, uint64_t tag);

const char *task_label(const struct wtask *t)
{
	static char text[4][48];
	static unsigned i;
	char *ret = text[i++ % 4];

	snprintf(ret, sizeof(text[0]), "%.12s@n%u/%u", t->row->name, t->node + 1, t->status->attempt);
	return ret;
}

static bool is_galera(const struct wtask *t)
{
	return t->row->topology == TOPO_GALERA;
}

/* ---- session and reports ---- */

static void open_session(struct sim *s, void *arg, uint64_t boot)
{
	struct node *n = arg;

	n->opening = false;
	if (!n->up || !n->worker_up || n->boot != boot || n->session)
		return;
	if (!n->cut_manager && s->m.up) {
		manager_opens(s, n);
		return;
	}
	n->opening = true;
	at(s, between(s, 200, 1500), open_session, n, boot);
}

void worker_session_broken(struct sim *s, struct node *n)
{
	n->session = 0;
	if (n->opening || !n->up || !n->worker_up)
		return;
	n->opening = true;
	at(s, between(s, 50, 1000), open_session, n, n->boot);
}

void worker_session_opened(struct sim *s, struct node *n, uint64_t session)
{
	n->session = session;
	n->seq_in = 0;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node == n->index)
			t->acked = 0;
	}
}

struct report_msg {
	struct node *node;
	uint64_t session;
	Gs__TaskReport **reports;
	struct wtask **tasks;
	uint64_t *versions;
	size_t n;
};

void deliver_reports(struct sim *s, void *arg, uint64_t tag)
{
	struct report_msg *msg = arg;

	if (s->over) {
		/* nobody listens */
	} else if (tag == 1) {
		worker_session_broken(s, msg->node);
	} else if (!msg->node->cut_manager) {
		manager_reports(s, msg->node, msg->session, msg->reports, msg->tasks, msg->versions, msg->n);
		if (tag == 2) /* repeated */
			manager_reports(s, msg->node, msg->session, msg->reports, msg->tasks, msg->versions,
					msg->n);
	}
	for (size_t i = 0; i < msg->n; i++)
		gs__task_report__free_unpacked(msg->reports[i], NULL);
	free(msg->reports);
	free(msg->tasks);
	free(msg->versions);
	free(msg);
}

static void poll_view(struct sim *s, struct wtask *t)
{
	Gs__GaleraView *v;

	if (t->p.state == PROC_NONE || t->p.stopped || t->status->state < TASK_STARTING)
		return;
	if (t->p.state == PROC_WAIT && !t->p.was_prim)
		return; /* no SQL port */
	v = obj_new(&gs__galera_view__descriptor);
	galera_fill_view(s, t, v);
	/* what moves all the time is not reported */
	if (t->status->view)
		v->last_committed = t->status->view->last_committed;
	if (!t->status->view || !obj_equal(v, t->status->view)) {
		galera_fill_view(s, t, v);
		obj_set(&t->status->view, v);
		if (t->status->state == TASK_STARTING)
			t->status->state = TASK_RUNNING;
		worker_changed(s, t);
	}
	obj_free(v);
}

static void send_reports(struct sim *s, struct node *n)
{
	struct report_msg *msg = xcalloc(1, sizeof(*msg));

	msg->node = n;
	msg->session = n->session;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node != n->index || !t->assigned || t->acked >= t->version)
			continue;
		msg->reports = xrealloc(msg->reports, (msg->n + 1) * sizeof(*msg->reports));
		msg->tasks = xrealloc(msg->tasks, (msg->n + 1) * sizeof(*msg->tasks));
		msg->versions = xrealloc(msg->versions, (msg->n + 1) * sizeof(*msg->versions));
		Gs__TaskReport *r = obj_new(&gs__task_report__descriptor);
		str_replace(&r->task_id, t->row->meta->id);
		obj_set(&r->status, t->status);
		msg->reports[msg->n] = r;
		msg->tasks[msg->n] = t;
		msg->versions[msg->n++] = t->version;
	}
	if (!msg->n) {
		free(msg);
		return;
	}
	int64_t delay = s->faults && chance(s, 5) ? between(s, 100, 3000) : between(s, 1, 15);
	if (now(s) + delay <= n->last_to_manager_ms)
		delay = n->last_to_manager_ms + 1 - now(s);
	n->last_to_manager_ms = now(s) + delay;
	at(s, delay, deliver_reports, msg, s->faults && chance(s, 2) ? 1 + rnd(s, 2) : 0);
}

static void beat(struct sim *s, void *arg, uint64_t boot)
{
	struct node *n = arg;

	if (!n->up || !n->worker_up || n->boot != boot)
		return;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node == n->index && t->assigned && is_galera(t))
			poll_view(s, t);
	}
	if (n->session && n->cut_manager) {
		worker_session_broken(s, n);
	} else if (n->session) {
		manager_heartbeat(s, n, n->session);
		if (n->session)
			send_reports(s, n);
	}
	at(s, 500, beat, n, boot);
}

static void report_soon(struct sim *s, void *arg, uint64_t boot)
{
	struct node *n = arg;

	if (n->boot == boot && n->up && n->worker_up && n->session)
		send_reports(s, n);
}

void worker_changed(struct sim *s, struct wtask *t)
{
	struct node *n = &s->nodes[t->node];

	t->version++;
	if (n->session)
		at(s, between(s, 1, 50), report_soon, n, n->boot);
}

/* ---- volumes ---- */

static struct volume *find_volume(struct sim *s, const struct wtask *t)
{
	const char *id = t->row->n_volumes ? t->row->volumes[0]->volume_id : t->row->slot_id;

	for (struct volume *v = s->volumes; v; v = v->next) {
		if (v->node == t->node && strcmp(v->id, id) == 0)
			return v;
	}
	struct volume *v = xcalloc(1, sizeof(*v));
	snprintf(v->id, sizeof(v->id), "%s", id);
	v->node = t->node;
	v->seqno = -1;
	v->next = s->volumes;
	s->volumes = v;
	return v;
}

static void take_evidence(struct sim *s, struct wtask *t)
{
	const struct volume *v = t->vol;
	Gs__GaleraEvidence *ev = obj_new(&gs__galera_evidence__descriptor);
	char uuid[40];

	str_replace(&ev->volume_id, t->row->n_volumes ? v->id : "");
	ev->attempt = t->status->attempt;
	ev->epoch = v->epoch;
	ev->position = obj_new(&gs__galera_position__descriptor);
	ev->position->seqno = -1;
	ev->safe_to_bootstrap = v->stb || v->no_grastate;
	if (v->torn) {
		ev->class_ = GC_INCOMPLETE;
	} else if (v->data && v->no_grastate) {
		ev->class_ = GC_DAMAGED;
		ev->was_synced = true;
		uuid_text(v->uuid, uuid); /* InnoDB still prints a plausible position */
		str_replace(&ev->position->uuid, uuid);
		ev->position->seqno = v->seqno;
	} else if (!v->data) {
		ev->class_ = GC_EMPTY;
	} else {
		uuid_text(v->uuid, uuid);
		str_replace(&ev->position->uuid, uuid);
		ev->position->seqno = v->seqno;
		ev->class_ = v->genesis ? GC_GENESIS : v->clean ? GC_CLEAN : GC_CRASHED;
	}
	if (v->data)
		str_replace(&ev->file_cluster_id, CLUSTER_ID);
	if (t->p.last_pc) { /* the log of the process that ended */
		ev->prim_conf_id = t->p.last_pc->conf;
		ev->prim_group_epoch = t->p.group_epoch;
		for (size_t i = 0; i < t->p.last_pc->n; i++)
			obj_add_str(&ev->n_prim_members, &ev->prim_members,
				    t->p.last_pc->members[i]->row->name);
	}
	obj_free(t->status->evidence);
	t->status->evidence = ev;
	(void)s;
}

/* ---- the life of a task ---- */

static void set_state(struct sim *s, struct wtask *t, Gs__TaskState state)
{
	t->status->state = state;
	worker_changed(s, t);
}

static void next_step(struct sim *s, struct wtask *t, int64_t lo, int64_t hi)
{
	at(s, between(s, lo, hi), task_step, t, ++t->step);
}

static void end_task(struct sim *s, struct wtask *t, Gs__TaskState state)
{
	t->step++;
	t->dead = true;
	if (t->vol && t->vol->user == t)
		t->vol->user = NULL;
	set_state(s, t, state);
	say(s, "%s ends: %s", task_label(t), task_state_name(state));
}

static void next_attempt(struct sim *s, struct wtask *t)
{
	t->status->attempt++;
	obj_set(&t->status->evidence, NULL);
	obj_set(&t->status->view, NULL);
	obj_set(&t->status->genesis, NULL);
	set_state(s, t, is_galera(t) ? TASK_PREPARING : TASK_STARTING);
	unsigned back = t->fails++ > 5 ? 5 : t->fails;
	next_step(s, t, 100, 100 << back);
}

void worker_proc_exited(struct sim *s, struct wtask *t, const char *why)
{
	say(s, "%s exited: %s", task_label(t), why);
	if (!s->nodes[t->node].up || t->dead)
		return;
	if (!t->assigned || t->row->desired > TASK_RUNNING)
		end_task(s, t, TASK_SHUTDOWN);
	else
		next_attempt(s, t);
}

static void genesis_finished(struct sim *s, void *arg, uint64_t step)
{
	struct wtask *t = arg;
	struct volume *v = t->vol;
	char text[40];

	if (t->step != step || !s->nodes[t->node].up)
		return;
	if (s->faults && chance(s, 10)) {
		v->data = v->torn = true;
		next_attempt(s, t);
		return;
	}
	*v = (struct volume){.next = v->next,
			     .node = v->node,
			     .user = t,
			     .data = true,
			     .clean = true,
			     .genesis = true,
			     .seqno = 5,
			     .uuid = ++s->uuids,
			     .epoch = t->row->permit->epoch};
	snprintf(v->id, sizeof(v->id), "%s", t->row->volumes[0]->volume_id);
	v->line = new_line(s, 0, 0);
	s->lines[v->line].tip = 5;
	uint64_t epoch = t->row->permit->epoch;
	t->fails = 0;
	next_attempt(s, t);
	Gs__GenesisResult *r = obj_new(&gs__genesis_result__descriptor);
	r->position = obj_new(&gs__galera_position__descriptor);
	uuid_text(v->uuid, text);
	str_replace(&r->position->uuid, text);
	r->position->seqno = 5;
	r->epoch = epoch;
	str_replace(&r->sha256, text);
	t->status->genesis = r;
	worker_changed(s, t);
}

/* The archive: a copy of the genesis bytes, if any peer that is named can be reached. */
static void unpack_genesis(struct sim *s, struct wtask *t, const Gs__GaleraPermit *p)
{
	char text[40];

	for (struct volume *v = s->volumes; v; v = v->next) {
		uuid_text(v->uuid, text);
		if (!v->uuid || strcmp(text, p->genesis_sha256) || s->cut[t->node][v->node] ||
		    !s->nodes[v->node].up)
			continue;
		unsigned root = v->line;
		while (s->lines[root].parent)
			root = s->lines[root].parent;
		t->vol->data = t->vol->clean = t->vol->genesis = true;
		t->vol->uuid = v->uuid;
		t->vol->line = root;
		t->vol->seqno = 5;
		return;
	}
}

static void act_on_start(struct sim *s, struct wtask *t, const Gs__GaleraPermit *p)
{
	struct volume *v = t->vol;

	if (p->mode == PERMIT_GENESIS) {
		say(s, "%s genesis, epoch %llu", task_label(t), (unsigned long long)p->epoch);
		set_state(s, t, TASK_STARTING);
		*v = (struct volume){.next = v->next, .node = v->node, .user = t, .seqno = -1};
		snprintf(v->id, sizeof(v->id), "%s", t->row->volumes[0]->volume_id);
		at(s, between(s, 300, 1000), genesis_finished, t, ++t->step);
		return;
	}
	if (p->force_sst) {
		if (v->data && !v->torn && v->no_grastate && !p->quarantine)
			fail(s, "%s writes over a damaged copy that is not kept aside", task_label(t));
		v->data = v->torn = v->clean = v->genesis = v->no_grastate = false;
		v->seqno = -1;
	}
	if (p->mode == PERMIT_JOIN && !v->data && p->genesis_sha256[0])
		unpack_genesis(s, t, p);
	v->epoch = p->epoch;
	t->step++;
	set_state(s, t, TASK_STARTING);
	galera_start(s, t, p->mode == PERMIT_BOOTSTRAP, p);
}

static void act_while_running(struct sim *s, struct wtask *t, const Gs__GaleraPermit *p)
{
	if (p->mode == PERMIT_PC_BOOTSTRAP) {
		galera_pc_bootstrap(s, t, p->prim_conf_id);
	} else if (p->mode == PERMIT_JOIN && t->vol && p->epoch > t->vol->epoch) {
		t->vol->epoch = p->epoch;
	} else if (p->withdraw && !t->p.was_prim) {
		galera_kill(s, t);
		worker_proc_exited(s, t, "withdrawn");
	}
}

static void act_on_permit(struct sim *s, struct wtask *t)
{
	const Gs__GaleraPermit *p = t->row->permit;

	if (!p || p->serial <= t->permit_serial || t->dead)
		return;
	if (t->p.state != PROC_NONE) {
		if (p->mode == PERMIT_PC_BOOTSTRAP && p->attempt != t->status->attempt)
			return;
		t->permit_serial = p->serial;
		act_while_running(s, t, p);
		return;
	}
	if (t->status->state == TASK_HELD && p->attempt == t->status->attempt && p->mode == PERMIT_NONE &&
	    p->withdraw) {
		t->permit_serial = p->serial;
		next_attempt(s, t);
		return;
	}
	if (t->status->state != TASK_HELD || p->attempt != t->status->attempt || p->mode == PERMIT_NONE ||
	    p->mode == PERMIT_PC_BOOTSTRAP || p->epoch < t->vol->epoch || t->row->desired > TASK_RUNNING)
		return;
	t->permit_serial = p->serial;
	act_on_start(s, t, p);
}

static void stop_finished(struct sim *s, void *arg, uint64_t step)
{
	struct wtask *t = arg;

	if (t->step != step || t->dead || !s->nodes[t->node].up)
		return;
	if (t->p.state != PROC_NONE)
		galera_leave(s, t);
	end_task(s, t, TASK_SHUTDOWN);
}

static void stop_task(struct sim *s, struct wtask *t)
{
	if (t->dead)
		return;
	if (t->p.state == PROC_NONE && t->status->state < TASK_STARTING) {
		end_task(s, t, TASK_SHUTDOWN);
		return;
	}
	at(s, between(s, 50, 2500), stop_finished, t, ++t->step);
}

static void crash_plain(struct sim *s, void *arg, uint64_t step)
{
	struct wtask *t = arg;

	if (t->step == step && !t->dead && s->faults && s->nodes[t->node].up)
		next_attempt(s, t);
}

static void task_step(struct sim *s, void *arg, uint64_t tag)
{
	struct wtask *t = arg;

	if (t->step != tag || t->dead || !s->nodes[t->node].up)
		return;
	if (t->row->desired > TASK_RUNNING) {
		stop_task(s, t);
		return;
	}
	switch (t->status->state) {
	case TASK_NEW:
		set_state(s, t, TASK_ACCEPTED);
		next_step(s, t, 1, 100);
		break;
	case TASK_ACCEPTED:
		set_state(s, t, TASK_PREPARING);
		next_step(s, t, 50, 500);
		break;
	case TASK_PREPARING:
		if (!is_galera(t)) {
			set_state(s, t, TASK_STARTING);
			next_step(s, t, 5, 100);
			break;
		}
		t->vol = find_volume(s, t);
		if (t->vol->user && t->vol->user != t) { /* locked by another task: wait */
			next_step(s, t, 500, 500);
			break;
		}
		t->vol->user = t;
		take_evidence(s, t);
		set_state(s, t, TASK_HELD);
		act_on_permit(s, t);
		break;
	case TASK_STARTING:
		if (is_galera(t))
			break;
		set_state(s, t, TASK_RUNNING);
		t->fails = 0;
		if (chance(s, 20))
			at(s, between(s, 1000, 60000), crash_plain, t, ++t->step);
		break;
	default:
		break;
	}
}

/* ---- assignments ---- */

static struct wtask *find_task(struct sim *s, const struct node *n, const char *id)
{
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node == n->index && strcmp(t->row->meta->id, id) == 0)
			return t;
	}
	return NULL;
}

static void forget(struct sim *s, struct wtask *t)
{
	if (!t->assigned)
		return;
	t->assigned = false;
	stop_task(s, t);
}

static void take_task(struct sim *s, struct node *n, const Gs__Task *row)
{
	struct wtask *t = find_task(s, n, row->meta->id);

	if (!t) {
		t = xcalloc(1, sizeof(*t));
		t->node = n->index;
		t->row = obj_dup(row);
		t->assigned = true;
		t->status = obj_new(&gs__task_status__descriptor);
		t->next = s->tasks;
		s->tasks = t;
		if (row->desired > TASK_RUNNING)
			end_task(s, t, TASK_SHUTDOWN);
		else
			next_step(s, t, 1, 20);
		return;
	}
	bool stops = row->desired > TASK_RUNNING && t->row->desired <= TASK_RUNNING;
	obj_free(t->row);
	t->row = obj_dup(row);
	t->assigned = true;
	if (stops)
		stop_task(s, t);
	else if (is_galera(t))
		act_on_permit(s, t);
}

static bool listed(Gs__AssignmentItem **items, size_t n, const struct wtask *t)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i]->item_case == ITEM_TASK &&
		    strcmp(items[i]->task->meta->id, t->row->meta->id) == 0)
			return true;
	}
	return false;
}

void worker_items(struct sim *s, struct node *n, uint64_t session, uint64_t seq, Gs__AssignmentItem **items,
		  size_t count, bool complete)
{
	if (!n->up || !n->worker_up || n->session != session)
		return;
	if (n->cut_manager || seq != n->seq_in + 1) {
		worker_session_broken(s, n);
		return;
	}
	n->seq_in = seq;
	for (size_t i = 0; i < count; i++) {
		if (strncmp(items[i]->key, "task/", 5) == 0 && items[i]->removed) {
			struct wtask *t = find_task(s, n, items[i]->key + 5);

			if (t)
				forget(s, t);
		} else if (items[i]->item_case == ITEM_TASK) {
			take_task(s, n, items[i]->task);
		}
	}
	for (struct wtask *t = s->tasks; complete && t; t = t->next) {
		if (t->node == n->index && t->assigned && !listed(items, count, t))
			forget(s, t);
	}
}

/* ---- nodes ---- */

void worker_stop(struct sim *s, struct node *n)
{
	n->worker_up = false;
	n->session = 0;
	n->boot++;
	n->opening = false;
	(void)s;
}

void worker_boot(struct sim *s, struct node *n)
{
	n->worker_up = true;
	n->boot++;
	n->session = 0;
	n->opening = false;
	worker_session_broken(s, n);
	at(s, 100, beat, n, n->boot);
}

void node_down(struct sim *s, struct node *n)
{
	if (!n->up)
		return;
	say(s, "node %u loses power", n->index + 1);
	worker_stop(s, n);
	n->up = false;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node != n->index || t->dead)
			continue;
		if (t->p.state != PROC_NONE)
			galera_kill(s, t);
		t->step++;
	}
}

void node_up(struct sim *s, struct node *n)
{
	if (n->up)
		return;
	say(s, "node %u boots", n->index + 1);
	n->up = true;
	for (struct wtask *t = s->tasks; t; t = t->next) {
		if (t->node != n->index || t->dead)
			continue;
		if (!t->assigned || t->row->desired > TASK_RUNNING)
			end_task(s, t, TASK_SHUTDOWN);
		else
			next_attempt(s, t);
	}
	worker_boot(s, n);
}
