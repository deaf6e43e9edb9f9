// SPDX-License-Identifier: Apache-2.0
/* The engine's life and its leadership: start, catch up, lead, close.
 *
 *   raft_engine_new        libraft wins                  barrier passed
 *   load, start ----> FOLLOWER -------> CATCHING_UP ---------------> LEADER   fsm.on_leader(true)
 *                        ^                   |                          |
 *                        +-------------------+--------------------------+     lost, or another term
 *                                                                             fsm.on_leader(false)
 *   any of them --close--> CLOSING --all handles closed--> CLOSED
 *
 * The happy path is: libraft loads its directory and, being a lone voter, is leader when raft_start returns;
 * a barrier makes sure that everything acknowledged before is applied; then the store serves. libraft has no
 * callback for leadership, so a uv_check compares after every turn of the loop.
 * What can fail is: a directory that lost entries (refused), an interrupted snapshot installation that
 * libraft trips over once (started again, once), a disk that does not write (guard.c). */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/gap.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/raft/internal.h"
#include "manager/raft/transport.h"

#define ELECTION_MS 1000
#define HEARTBEAT_MS 100
#define INSTALL_SNAPSHOT_MS 10000
#define CATCH_UP_ROUND_MS 30000
#define CONNECT_RETRY_MS 300
#define SNAPSHOT_THRESHOLD 10000
#define TRAILING 2048
#define WATCHDOG_MS 3000

void engine_fatal(struct engine *en, const struct err *e)
{
	if (en->config.fatal) {
		en->config.fatal(en->config.fatal_arg, e);
		return;
	}
	log_error("%s; stopping", e->msg);
	_exit(EX_SOFTWARE);
}

static void on_guard_fatal(void *arg, const struct err *e)
{
	struct instance *in = instance_of(arg);

	if (in->engine)
		engine_fatal(in->engine, e);
}

/* ---- snapshots ---- */

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
	LOOP_SCOPE();
	struct engine *en = instance_of(fsm->data)->engine;
	struct raft_buffer *b = raft_malloc(sizeof(*b));
	uint8_t *data;
	size_t len;

	bug_if(!en);
	if (!b)
		return RAFT_NOMEM;
	en->config.fsm.snapshot(en->config.fsm.arg, &data, &len);
	bug_if(!data || len == 0);
	*b = (struct raft_buffer){.base = data, .len = len};
	*bufs = b;
	*n_bufs = 1;
	return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	LOOP_SCOPE();
	struct engine *en = instance_of(fsm->data)->engine;
	struct err e = {0};

	bug_if(!en);
	if (en->config.fsm.restore(en->config.fsm.arg, buf->base, buf->len, &e)) {
		err_wrap(&e, "snapshot in %s", en->dir);
		/* One of a newer version is whole: the newer version reads it again. */
		if (e.code == E_CORRUPT)
			dir_mark_bad(en->dir, &e);
		engine_fatal(en, &e);
		return RAFT_CORRUPT;
	}
	raft_free(buf->base);
	return 0;
}

/* ---- libraft's objects ---- */

static void on_trace(struct raft_tracer *t, int type, const void *info)
{
	const struct raft_tracer_info *i = info;

	if (type == RAFT_TRACER_DIAGNOSTIC && i->diagnostic.level <= 2)
		log_debug("raft: %s", i->diagnostic.message);
}

static int raft_code(int rc, const char *dir, const char *why, struct err *e)
{
	int code = rc == RAFT_NOSPACE                           ? -ENOSPC
		   : rc == RAFT_CORRUPT || rc == RAFT_MALFORMED ? E_CORRUPT
								: -EIO;

	return err_set(e, code, "%s: %s", dir, why && *why ? why : raft_strerror(rc));
}

static int instance_new(uv_loop_t *loop, const char *dir, raft_id id, struct instance **ret, struct err *e)
{
	struct instance *in = xcalloc(1, sizeof(*in));
	char address[32];
	int rc;

	bug_if(id == 0);
	magic_set(in, INSTANCE_MAGIC);
	raft_transport_init(&in->transport);
	rc = raft_uv_init(&in->guard.io, loop, dir, &in->transport);
	if (rc) {
		raft_code(rc, dir, in->guard.io.errmsg, e);
		free(in);
		return e ? e->code : -EIO;
	}
	raft_uv_set_auto_recovery(&in->guard.io, false);
	raft_uv_set_connect_retry_delay(&in->guard.io, CONNECT_RETRY_MS);
	in->tracer = (struct raft_tracer){.version = 2, .emit = on_trace};
	raft_uv_set_tracer(&in->guard.io, &in->tracer);
	in->fsm = (struct raft_fsm){.version = 1,
				    .data = in,
				    .apply = engine_apply,
				    .snapshot = fsm_snapshot,
				    .restore = fsm_restore};
	snprintf(address, sizeof(address), "@%" PRIu64, (uint64_t)id);
	rc = raft_init(&in->raft, &in->guard.io, &in->fsm, id, address);
	if (rc) {
		raft_code(rc, dir, in->raft.errmsg, e);
		raft_uv_close(&in->guard.io);
		free(in);
		return e ? e->code : -EIO;
	}
	*ret = in;
	return 0;
}

static void instance_free(struct instance *in)
{
	bug_if(in->engine);
	magic_end(in);
	free(in);
}

static void on_instance_freed(void *arg)
{
	struct raft_guard *g = arg;

	instance_free(instance_of(container_of(g, struct instance, guard)));
}

static void on_abandoned(struct raft *r)
{
	struct instance *in = instance_of(container_of(r, struct instance, raft));

	bug_if(in->engine);
	raft_uv_close(&in->guard.io);
	if (in->guard.fatal)
		raft_guard_close(&in->guard, on_instance_freed);
	else
		instance_free(in);
}

/* Close without anybody waiting: the loop does it. */
static void instance_abandon(struct instance *in)
{
	in->engine = NULL;
	raft_guard_closing(&in->guard);
	raft_close(&in->raft, on_abandoned);
}

int raft_engine_bootstrap(uv_loop_t *loop, const char *dir, struct err *e)
{
	struct raft_configuration conf;
	struct instance *in;
	cleanup_free char *pending = xasprintf("%s.new", dir);
	bool exists;
	raft_id id;
	int rc = raft_engine_look(dir, &exists, e);

	if (rc == 0 && exists)
		rc = err_set(e, E_EXISTS, "%s holds a manager's log already", dir);
	if (rc == 0)
		rc = fs_remove_all(pending, e);
	if (rc == 0)
		rc = fs_mkdir(pending, 0700, e);
	if (rc == 0)
		rc = dir_id_new(pending, &id, e);
	if (rc == 0)
		rc = instance_new(loop, pending, id, &in, e);
	if (rc)
		return rc;
	raft_configuration_init(&conf);
	rc = raft_configuration_add(&conf, id, in->raft.address, RAFT_VOTER);
	if (rc == 0)
		rc = raft_bootstrap(&in->raft, &conf);
	raft_configuration_close(&conf);
	if (rc)
		rc = raft_code(rc, dir, in->raft.errmsg, e);
	instance_abandon(in);
	if (rc == 0 && rename(pending, dir) < 0)
		rc = err_errno(e, errno, "rename %s", pending);
	if (rc == 0) /* or a power cut takes the whole log that was acknowledged since */
		rc = fs_sync_dir(dirname(pending), e);
	return rc;
}

/* ---- leadership ---- */

static const struct sm_state engine_states[] = {
	{ENGINE_FOLLOWER, "follower", SM(ENGINE_CATCHING_UP) | SM(ENGINE_CLOSING)},
	{ENGINE_CATCHING_UP, "catching up", SM(ENGINE_FOLLOWER) | SM(ENGINE_LEADER) | SM(ENGINE_CLOSING)},
	{ENGINE_LEADER, "leader", SM(ENGINE_FOLLOWER) | SM(ENGINE_CLOSING)},
	{ENGINE_CLOSING, "closing", SM(ENGINE_CLOSED)},
	{ENGINE_CLOSED, "closed", 0},
};

/* What must hold in each state. */
static void engine_check(const struct sm *sm, unsigned from)
{
	const struct engine *en = container_of(sm, struct engine, sm);

	bug_if(sm_is(sm, ENGINE_LEADER) && !en->caught_up);
	bug_if(sm_in(sm, SM(ENGINE_CATCHING_UP) | SM(ENGINE_LEADER)) && en->term == 0);
	bug_if(sm_is(sm, ENGINE_CLOSED) && (en->in || en->ops || en->first_waiting || en->first));
	bug_if(from == ENGINE_CLOSING && !sm_is(sm, ENGINE_CLOSED));
}

const struct sm_kind engine_kind = SM_KIND("raft", engine_states, engine_check);

static void engine_go(struct engine *en, enum engine_state to)
{
	bool led = sm_is(&en->sm, ENGINE_LEADER);

	sm_go(&en->sm, to);
	if (to == ENGINE_CLOSING || to == ENGINE_CLOSED)
		return; /* who closes knows */
	if (led != (to == ENGINE_LEADER) && en->config.fsm.on_leader)
		en->config.fsm.on_leader(en->config.fsm.arg, to == ENGINE_LEADER);
	if (to != ENGINE_LEADER)
		engine_pump_soon(en);
}

static void engine_step(struct engine *en);

static void on_first_barrier(struct raft_barrier *req, int status)
{
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, req->data);

	free(req);
	bug_if(!en->barrier_waiting);
	en->barrier_waiting = false;
	/* Lost in between: the barrier failed, and the next look sends another one, not from in here. */
	en->caught_up = status == 0;
	if (en->caught_up)
		engine_step(en);
}

/* Refused for lack of disk space: the look comes by again with the next tick of raft's clock. */
static void catch_up(struct engine *en)
{
	struct raft_barrier *b;
	int rc;

	if (en->barrier_waiting)
		return;
	b = xcalloc(1, sizeof(*b));
	b->data = en;
	rc = raft_barrier(&en->in->raft, b, on_first_barrier);
	if (rc == 0)
		en->barrier_waiting = true;
	else
		free(b);
}

/* The one place that moves the machine, but for closing. */
static void engine_step(struct engine *en)
{
	bool leads;
	raft_term term;

	if (engine_is_closing(en)) /* en->in may be gone */
		return;
	bug_if_off_loop();
	bug_if(!en->in);
	leads = raft_state(&en->in->raft) == RAFT_LEADER;
	term = raft_current_term(&en->in->raft);
	if (!sm_is(&en->sm, ENGINE_FOLLOWER) && (!leads || term != en->term))
		engine_go(en, ENGINE_FOLLOWER);
	if (leads && sm_is(&en->sm, ENGINE_FOLLOWER)) {
		en->term = term;
		en->caught_up = false;
		engine_go(en, ENGINE_CATCHING_UP);
	}
	if (!sm_is(&en->sm, ENGINE_CATCHING_UP))
		return;
	if (en->caught_up)
		engine_go(en, ENGINE_LEADER);
	else
		catch_up(en);
}

static void on_check(uv_check_t *h)
{
	LOOP_SCOPE();
	engine_step(magic_of(struct engine, ENGINE_MAGIC, h->data));
}

static void on_handle_closed(void *arg);

static void on_looked(uint64_t written, const char *low, void *arg)
{
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, arg);

	en->looking = false;
	if (en->open_handles > 0) {
		on_handle_closed(en);
		return;
	}
	if (written > en->high_water)
		en->high_water = written;
	if (low && !en->trouble[0])
		log_warn("%s: changes are refused when it is full", low);
	if (!low && en->trouble[0])
		log_info("%s has disk space again", en->dir);
	snprintf(en->trouble, sizeof(en->trouble), "%s", low ? low : "");
}

static void on_second(void *arg)
{
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, arg);
	uint64_t applied = raft_last_applied(&en->in->raft);

	if (en->looking)
		return; /* the disk is slow; the mark is only older than it could be */
	en->looking = true;
	dir_look(en->config.loop, en->dir, applied > en->high_water ? applied : 0, on_looked, en);
}

/* ---- deferred calls ---- */

static void run_deferred(struct engine *en)
{
	struct deferred *d = en->first;

	en->first = NULL;
	en->last = &en->first;
	while (d) {
		struct deferred *next = d->next;

		d->fn(d->arg);
		free(d);
		d = next;
	}
}

static void on_idle(uv_idle_t *h)
{
	LOOP_SCOPE();
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, h->data);

	run_deferred(en);
	if (!en->first)
		uv_idle_stop(h);
}

static void engine_defer(struct consensus *c, void (*fn)(void *arg), void *arg)
{
	struct engine *en = engine_of(c);
	struct deferred *d = xcalloc(1, sizeof(*d));

	bug_if_off_loop();
	bug_if(!fn || sm_is(&en->sm, ENGINE_CLOSED));
	d->fn = fn;
	d->arg = arg;
	*en->last = d;
	en->last = &d->next;
	if (!engine_is_closing(en))
		uv_idle_start(&en->idle, on_idle);
}

/* ---- close ---- */

static void on_handle_closed(void *arg)
{
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, arg);

	bug_if(!sm_is(&en->sm, ENGINE_CLOSING) || en->open_handles <= 0);
	if (--en->open_handles > 0)
		return;
	while (en->first)
		run_deferred(en);
	engine_go(en, ENGINE_CLOSED);
	if (en->on_closed)
		en->on_closed(en->on_closed_arg);
}

static void on_uv_closed(uv_handle_t *h)
{
	on_handle_closed(h->data);
}

static void on_guard_closed(void *arg)
{
	struct raft_guard *g = arg;
	struct instance *in = instance_of(container_of(g, struct instance, guard));
	struct engine *en = take_once(in->engine);

	bug_if(en->in != in);
	instance_free(in);
	en->in = NULL;
	on_handle_closed(en);
}

static void on_raft_closed(struct raft *r)
{
	struct instance *in = instance_of(container_of(r, struct instance, raft));

	bug_if(in->engine && in->engine->ops); /* raft_close has answered them */
	raft_uv_close(&in->guard.io);
	raft_guard_close(&in->guard, on_guard_closed);
}

static void engine_close(struct consensus *c, void (*closed)(void *arg), void *arg)
{
	struct engine *en = engine_of(c);

	bug_if_off_loop();
	if (engine_is_closing(en))
		return;
	en->on_closed = closed;
	en->on_closed_arg = arg;
	if (!en->looking && dir_set_high_water(en->dir, raft_last_applied(&en->in->raft)) == 0)
		en->high_water = raft_last_applied(&en->in->raft);
	engine_go(en, ENGINE_CLOSING);
	engine_pump_soon(en);
	en->open_handles = 4 + en->looking;
	uv_close((uv_handle_t *)&en->idle, on_uv_closed);
	uv_close((uv_handle_t *)&en->check, on_uv_closed);
	loop_timer_close(&en->second, on_handle_closed);
	raft_guard_closing(&en->in->guard);
	raft_close(&en->in->raft, on_raft_closed);
}

/* ---- start ---- */

static bool engine_is_leader(struct consensus *c)
{
	return sm_is(&engine_of(c)->sm, ENGINE_LEADER);
}

static uint64_t engine_last_applied(struct consensus *c)
{
	return engine_of(c)->in ? raft_last_applied(&engine_of(c)->in->raft) : 0;
}

static uint64_t engine_term(struct consensus *c)
{
	return engine_of(c)->in ? raft_current_term(&engine_of(c)->in->raft) : 0;
}

static const struct consensus_ops engine_ops = {
	.propose = engine_propose,
	.has_room = engine_has_room,
	.barrier = engine_barrier,
	.is_leader = engine_is_leader,
	.last_applied = engine_last_applied,
	.term = engine_term,
	.defer = engine_defer,
	.close = engine_close,
};

static void set_snapshot_interval(struct instance *in, unsigned entries)
{
	raft_set_snapshot_threshold(&in->raft, entries ? entries : SNAPSHOT_THRESHOLD);
}

static void configure(struct engine *en, struct instance *in)
{
	const struct raft_engine_config *c = &en->config;

	raft_guard_wrap(&in->guard, c->loop, en->dir, c->watchdog_ms ? c->watchdog_ms : WATCHDOG_MS,
			on_guard_fatal, in);
	raft_set_election_timeout(&in->raft, ELECTION_MS);
	raft_set_heartbeat_timeout(&in->raft, HEARTBEAT_MS);
	raft_set_install_snapshot_timeout(&in->raft, INSTALL_SNAPSHOT_MS);
	raft_set_max_catch_up_round_duration(&in->raft, CATCH_UP_ROUND_MS);
	raft_set_pre_vote(&in->raft, true);
	raft_set_capacity_threshold(&in->raft, 0); /* dir_has_room judges */
	set_snapshot_interval(in, c->snapshot_threshold);
	raft_set_snapshot_trailing(&in->raft, c->trailing ? c->trailing : TRAILING);
}

static int start_once(struct engine *en, raft_id id, struct err *e)
{
	struct instance *in;
	int rc = instance_new(en->config.loop, en->dir, id, &in, e);

	if (rc)
		return rc;
	in->engine = en;
	en->in = in;
	configure(en, in);
	rc = raft_start(&in->raft);
	if (rc == 0)
		return 0;
	rc = raft_code(rc, en->dir, raft_errmsg(&in->raft), e);
	en->in = NULL;
	instance_abandon(in);
	return rc;
}

/* kill -9 while a snapshot is installed leaves segments that libraft refuses at the next start, and has put
 * in order by then: this message, and only once. */
static int start(struct engine *en, raft_id id, struct err *e)
{
	int rc = start_once(en, id, e);

	if (rc == E_CORRUPT && strstr(e->msg, "behind last snapshot")) {
		log_warn("%s; starting once more", e->msg);
		err_clear(e);
		rc = start_once(en, id, e);
	}
	return rc;
}

static int check_high_water(struct engine *en, struct err *e)
{
	uint64_t last = raft_last_index(&en->in->raft);
	int rc = dir_high_water(en->dir, &en->high_water, e);

	if (rc || last >= en->high_water)
		return rc;
	return err_set(e, E_CORRUPT,
		       "%s ends at entry %" PRIu64 " but %" PRIu64
		       " was applied here before: the log lost entries; restore it from a backup",
		       en->dir, last, en->high_water);
}

static void engine_fini(struct engine *en)
{
	bug_if(en->in || en->ops || en->first_waiting);
	magic_end(en);
	free(en->dir);
	free(en);
}

static void start_handles(struct engine *en)
{
	uv_idle_init(en->config.loop, &en->idle);
	en->idle.data = en;
	uv_check_init(en->config.loop, &en->check);
	en->check.data = en;
	uv_check_start(&en->check, on_check);
	loop_timer_init(&en->second, en->config.loop, on_second, en);
	loop_timer_every(&en->second, 1000, 1000);
}

static void first_step(void *arg)
{
	engine_step(magic_of(struct engine, ENGINE_MAGIC, arg));
}

int raft_engine_new(const struct raft_engine_config *config, struct consensus **ret, struct err *e)
{
	struct engine *en = xcalloc(1, sizeof(*en));
	struct err own = {0};
	raft_id id;
	int rc;

	if (!e)
		e = &own;
	bug_if_off_loop();
	magic_set(en, ENGINE_MAGIC);
	sm_init(&en->sm, &engine_kind, ENGINE_FOLLOWER, NULL);
	en->base.ops = &engine_ops;
	en->config = *config;
	en->dir = xstrdup(config->dir);
	en->last = &en->first;
	en->last_waiting = &en->first_waiting;
	rc = dir_check_bad(en->dir, e);
	if (rc == 0)
		rc = dir_id(en->dir, &id, e);
	if (rc == 0)
		rc = start(en, id, e);
	if (rc == 0)
		rc = check_high_water(en, e);
	if (rc) {
		if (en->in)
			instance_abandon(steal(en->in));
		engine_fini(en);
		return rc;
	}
	start_handles(en);
	engine_defer(&en->base, first_step, en);
	*ret = &en->base;
	return 0;
}

void raft_engine_set_snapshot_interval(struct consensus *c, unsigned entries)
{
	if (engine_of(c)->in)
		set_snapshot_interval(engine_of(c)->in, entries);
}

void raft_engine_free(struct consensus *c)
{
	if (!c)
		return;
	bug_if(!sm_is(&engine_of(c)->sm, ENGINE_CLOSED));
	engine_fini(engine_of(c));
}

const char *raft_engine_trouble(struct consensus *c)
{
	struct engine *en = engine_of(c);

	return en->trouble[0] ? en->trouble : NULL;
}
