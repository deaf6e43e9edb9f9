// SPDX-License-Identifier: Apache-2.0
/* Proposals, barriers and apply.
 *
 * Up to 64 are with libraft; the others wait in the order in which they came, bounded by number and bytes
 * (consensus.h, has_room).
 * The happy path is: a copy of the command goes into an envelope that names the raft index it must get and a
 * random request id; libraft commits it; apply checks the index, hands the payload to the store and leaves
 * the store's verdict with the waiting op of that request id; the op's callback takes it to the proposer.
 * What can fail is: not leader or a full disk (refused, nothing happened), leadership lost (outcome unknown;
 * of what still waited it is known that nothing happened), and an entry at another index than it was made
 * for: the log was renumbered, the directory is damaged. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/gap.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "manager/raft/internal.h"

/* What a raft code means to a proposer. */
static void refusal(const struct engine *en, int rc, struct err *e)
{
	switch (rc) {
	case RAFT_NOTLEADER:
		err_set(e, E_NOT_LEADER, "this manager is not the leader");
		break;
	case RAFT_NOSPACE:
		err_set(e, -ENOSPC, "the manager's disk is full (%s): free space and try again", en->dir);
		break;
	case RAFT_SHUTDOWN:
	case RAFT_CANCELED:
		err_set(e, E_CLOSED, "the manager is stopping; whether the change was made is unknown");
		break;
	case RAFT_LEADERSHIPLOST:
		err_set(e, E_UNAVAILABLE, "leadership was lost; whether the change was made is unknown");
		break;
	default:
		err_set(e, E_UNAVAILABLE, "%s", raft_strerror(rc));
	}
}

static struct op *op_new(struct engine *en, enum op_kind kind, void (*done)(void *, const struct err *),
			 void *arg)
{
	struct op *op = xcalloc(1, sizeof(*op));

	magic_set(op, OP_MAGIC);
	op->engine = en;
	op->kind = kind;
	op->done = done;
	op->arg = arg;
	return op;
}

static void op_link(struct op *op)
{
	bug_if(op->next || op->engine->n_ops >= IN_FLIGHT_MAX);
	op->next = op->engine->ops;
	op->engine->ops = op;
	op->engine->n_ops++;
}

static void op_unlink(struct op *op)
{
	struct op **p = &op->engine->ops;

	while (*p && *p != op)
		p = &(*p)->next;
	bug_if(!*p || op->engine->n_ops == 0);
	*p = op->next;
	op->next = NULL;
	op->engine->n_ops--;
	bug_if(!op->engine->ops != !op->engine->n_ops);
}

static void op_free(struct op *op)
{
	magic_end(op);
	free(op->data);
	free(op);
}

static void op_answer(void *arg)
{
	struct op *op = magic_of(struct op, OP_MAGIC, arg);

	bug_if(op->next);
	if (op->done)
		op->done(op->arg, &op->err);
	op_free(op);
}

/* libraft may call back from inside raft_apply or raft_close; our callers must not see that. */
static void op_finish(struct op *op, int status)
{
	struct engine *en = op->engine;

	bug_if_off_loop();
	op_unlink(op);
	if (status)
		refusal(en, status, &op->err);
	if (engine_is_closing(en))
		op_answer(op);
	else
		en->base.ops->defer(&en->base, op_answer, op);
	engine_pump_soon(en);
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
	op_finish(magic_of(struct op, OP_MAGIC, container_of(req, struct op, apply)), status);
}

static void on_barrier(struct raft_barrier *req, int status)
{
	op_finish(magic_of(struct op, OP_MAGIC, container_of(req, struct op, barrier)), status);
}

/* ---- to libraft ---- */

/* The buffer of a refused raft_apply is still ours for these errors only. The op is the caller's again. */
static int give_up(struct op *op, int rc, void *base)
{
	struct engine *en = op->engine;
	struct err e = {0};

	op_unlink(op);
	refusal(en, rc, &e);
	if (rc == RAFT_NOTLEADER || rc == RAFT_NOSPACE || rc == RAFT_CANTCHANGE) {
		raft_free(base);
		return e.code;
	}
	err_set(&e, -EIO, "libraft refused an entry: %s", raft_errmsg(&en->in->raft));
	engine_fatal(en, &e);
	return E_UNAVAILABLE;
}

static int submit_proposal(struct op *op, const uint8_t *data, size_t len)
{
	struct engine *en = op->engine;
	struct envelope env = {.payload = data, .payload_len = len};
	struct buf b = {0};
	struct raft_buffer rb;
	int rc;

	bug_if(op->kind != OP_PROPOSAL);
	if (!dir_has_room(en->dir, en->in->guard.io.capacity))
		return -ENOSPC;
	env.expected_index = raft_last_index(&en->in->raft) + 1;
	random_bytes(env.request_id, sizeof(env.request_id));
	buf_reserve(&b, ENVELOPE_HEADER + len + 8);
	rc = envelope_encode(&env, &b, NULL);
	if (rc) {
		buf_fini(&b);
		return rc;
	}
	rb = (struct raft_buffer){.base = b.data,
				  .len = b.len}; /* malloc'ed, as raft_malloc does by default */
	memcpy(op->request_id, env.request_id, sizeof(op->request_id));
	op_link(op);
	rc = raft_apply(&en->in->raft, &op->apply, &rb, 1, on_applied);
	return rc ? give_up(op, rc, b.data) : 0;
}

static int submit_barrier(struct op *op)
{
	struct err e = {0};
	int rc;

	bug_if(op->kind != OP_BARRIER);
	op_link(op);
	rc = raft_barrier(&op->engine->in->raft, &op->barrier, on_barrier);
	if (rc == 0)
		return 0;
	op_unlink(op);
	refusal(op->engine, rc, &e);
	return e.code;
}

/* ---- the queue in front of it ---- */

bool engine_has_room(struct consensus *c)
{
	const struct engine *en = engine_of(c);

	return en->n_waiting < CONSENSUS_WAITING_MAX && en->waiting_bytes < CONSENSUS_WAITING_BYTES;
}

static int wait_turn(struct op *op, const uint8_t *data, size_t len)
{
	struct engine *en = op->engine;

	op->data = len ? xmemdup(data, len) : NULL;
	op->len = len;
	*en->last_waiting = op;
	en->last_waiting = &op->next;
	en->n_waiting++;
	en->waiting_bytes += len;
	return 0;
}

static struct op *take_waiting(struct engine *en)
{
	struct op *op = magic_of(struct op, OP_MAGIC, en->first_waiting);

	bug_if(en->n_waiting == 0 || en->waiting_bytes < op->len);
	en->first_waiting = op->next;
	if (!en->first_waiting)
		en->last_waiting = &en->first_waiting;
	en->n_waiting--;
	en->waiting_bytes -= op->len;
	op->next = NULL;
	bug_if(!en->first_waiting != !en->n_waiting);
	return op;
}

/* It waited and libraft has not seen it: whoever asked knows that nothing has changed. */
static void refuse_waiting(struct op *op, int code)
{
	const char *why = code == E_CLOSED       ? "the manager is stopping"
			  : code == E_NOT_LEADER ? "this manager is not the leader any more"
			  : code == -ENOSPC      ? "the manager's disk is full"
						 : "the managers' log takes no changes now";

	err_set(&op->err, code, "%s; nothing was changed", why);
	op->engine->base.ops->defer(&op->engine->base, op_answer, op);
}

static void pump(void *arg)
{
	struct engine *en = magic_of(struct engine, ENGINE_MAGIC, arg);
	bool closing = engine_is_closing(en), leads = sm_is(&en->sm, ENGINE_LEADER);

	bug_if(!en->pumping);
	en->pumping = false;
	while (en->first_waiting && (!leads || en->n_ops < IN_FLIGHT_MAX)) {
		struct op *op = take_waiting(en);
		int rc = closing                   ? E_CLOSED
			 : !leads                  ? E_NOT_LEADER
			 : op->kind == OP_PROPOSAL ? submit_proposal(op, op->data, op->len)
						   : submit_barrier(op);

		if (rc)
			refuse_waiting(op, rc);
	}
}

void engine_pump_soon(struct engine *en)
{
	if (en->pumping || !en->first_waiting)
		return;
	en->pumping = true;
	en->base.ops->defer(&en->base, pump, en);
}

static int check_open(const struct engine *en)
{
	if (engine_is_closing(en))
		return E_CLOSED;
	return sm_is(&en->sm, ENGINE_LEADER) ? 0 : E_NOT_LEADER;
}

static bool must_wait(const struct engine *en)
{
	return en->first_waiting || en->n_ops >= IN_FLIGHT_MAX;
}

int engine_propose(struct consensus *c, const uint8_t *data, size_t len,
		   void (*done)(void *, const struct err *), void *arg)
{
	struct engine *en = engine_of(c);
	int rc = check_open(en);
	struct op *op;

	if (rc)
		return rc;
	op = op_new(en, OP_PROPOSAL, done, arg);
	rc = must_wait(en) ? wait_turn(op, data, len) : submit_proposal(op, data, len);
	if (rc)
		op_free(op);
	return rc;
}

int engine_barrier(struct consensus *c, void (*done)(void *, const struct err *), void *arg)
{
	struct engine *en = engine_of(c);
	int rc = check_open(en);
	struct op *op;

	if (rc == 0 && !engine_has_room(c))
		rc = E_LIMIT;
	if (rc)
		return rc;
	op = op_new(en, OP_BARRIER, done, arg);
	rc = must_wait(en) ? wait_turn(op, NULL, 0) : submit_barrier(op);
	if (rc)
		op_free(op);
	return rc;
}

static struct op *op_find(struct engine *en, const uint8_t *request_id)
{
	for (struct op *op = en->ops; op; op = op->next)
		if (memcmp(op->request_id, request_id, ENVELOPE_REQUEST_ID) == 0)
			return op;
	return NULL;
}

static void apply_failed(struct engine *en, const struct err *e)
{
	if (e->code != E_PROTOCOL)
		dir_mark_bad(en->dir, e);
	engine_fatal(en, e);
}

int engine_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	LOOP_SCOPE();
	struct instance *in = instance_of(fsm->data);
	struct engine *en = in->engine;
	uint64_t index = raft_last_applied(&in->raft) + 1;
	struct envelope env;
	struct err e = {0};
	struct op *op;
	int rc;

	bug_if_off_loop();
	bug_if(!en);
	*result = NULL;
	rc = envelope_decode(buf->base, buf->len, &env, &e);
	if (rc == 0 && env.expected_index != index)
		rc = err_set(&e, E_CORRUPT,
			     "entry made for index %" PRIu64 " stands at %" PRIu64 " of the log",
			     env.expected_index, index);
	if (rc) {
		apply_failed(en, &e);
		return RAFT_CORRUPT;
	}
	rc = en->config.fsm.apply(en->config.fsm.arg, index, env.payload, env.payload_len, &e);
	if (rc == E_CORRUPT || rc == E_PROTOCOL) {
		apply_failed(en, &e);
		return RAFT_CORRUPT;
	}
	op = op_find(en, env.request_id);
	bug_if(op && op->kind != OP_PROPOSAL);
	if (op && rc) {
		op->err = e;
		op->err.code = rc;
	}
	return 0;
}
