// SPDX-License-Identifier: Apache-2.0
/* What raft.c (life and leadership), propose.c (proposals and apply) and dir.c (the directory's own
 * small files) share. */
#pragma once
#include <raft.h>
#include <raft/uv.h>

#include "base/bug.h"
#include "base/sm.h"
#include "manager/raft/envelope.h"
#include "manager/raft/engine.h"
#include "manager/raft/guard.h"

#define IN_FLIGHT_MAX 64 /* entries with libraft at once */

#define OP_MAGIC MAGIC('r', 'o', 'p', ' ')
enum op_kind { OP_PROPOSAL, OP_BARRIER };
struct op {
	uint32_t magic;
	struct op *next; /* in flight or waiting */
	struct engine *engine;
	enum op_kind kind;
	uint8_t *data; /* of a proposal that waits or has waited */
	size_t len;
	union {
		struct raft_apply apply;
		struct raft_barrier barrier;
	};
	uint8_t request_id[ENVELOPE_REQUEST_ID];
	struct err err; /* apply's own verdict */
	void (*done)(void *arg, const struct err *e);
	void *arg;
};
struct deferred { /* a call that must not come from inside */
	struct deferred *next;
	void (*fn)(void *arg);
	void *arg;
};

/* libraft's objects. A start that failed leaves one behind that closes by itself. */
#define INSTANCE_MAGIC MAGIC('r', 'i', 'n', 's')
struct instance {
	uint32_t magic;
	struct engine *engine; /* NULL: abandoned */
	struct raft raft;
	struct raft_guard guard;
	struct raft_uv_transport transport;
	struct raft_fsm fsm;
	struct raft_tracer tracer;
};
/* raft.c has the drawing and the table. */
extern const struct sm_kind engine_kind;
enum engine_state { ENGINE_FOLLOWER, ENGINE_CATCHING_UP, ENGINE_LEADER, ENGINE_CLOSING, ENGINE_CLOSED };

#define ENGINE_MAGIC MAGIC('r', 'e', 'n', 'g')
struct engine {
	uint32_t magic;
	struct sm sm;
	struct consensus base;
	struct raft_engine_config config;
	char *dir;
	struct instance *in;
	struct op *ops; /* in flight */
	size_t n_ops;
	struct op *first_waiting, **last_waiting; /* for their turn: propose.c */
	size_t n_waiting, waiting_bytes;
	bool pumping; /* a look at them is under way */
	struct deferred *first, **last;
	uv_idle_t idle;
	uv_check_t check;
	struct loop_timer second; /* high water, disk space */
	raft_term term;           /* of the leadership that is caught up with or held */
	bool barrier_waiting;
	bool caught_up; /* a barrier of this term has passed */
	uint64_t high_water;
	bool looking; /* dir_look is under way */
	char trouble[200];
	int open_handles; /* while closing */
	void (*on_closed)(void *arg);
	void *on_closed_arg;
};

static inline struct engine *engine_of(struct consensus *c)
{
	return magic_of(struct engine, ENGINE_MAGIC, container_of(c, struct engine, base));
}
static inline bool engine_is_closing(const struct engine *en)
{
	return sm_in(&en->sm, SM(ENGINE_CLOSING) | SM(ENGINE_CLOSED));
}
/* libraft's callbacks get the instance. */
static inline struct instance *instance_of(void *arg)
{
	return magic_of(struct instance, INSTANCE_MAGIC, arg);
}
/* Report and (unless a test's hook returns) end the process. */
void engine_fatal(struct engine *en, const struct err *e);

/* ---- propose.c: consensus_ops, and what libraft calls ---- */

/* See consensus.h: propose, barrier, has_room. */
int engine_propose(struct consensus *c, const uint8_t *data, size_t len,
		   void (*done)(void *, const struct err *), void *arg);
/* See consensus.h. */
int engine_barrier(struct consensus *c, void (*done)(void *, const struct err *), void *arg);
/* See consensus.h. */
bool engine_has_room(struct consensus *c);
/* Some may get their turn now, or hear that there will be none. Never answers from inside. */
void engine_pump_soon(struct engine *en);
/* raft_fsm.apply of a committed entry; libraft keeps buf. RAFT_CORRUPT: the entry cannot be carried out, and
 * engine_fatal has been called. */
int engine_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result);

/* ---- dir.c: errors are errnos of the file, unless said otherwise ---- */

/* This voter's raft id. -ENOENT: there is none; E_CORRUPT: no number. */
int dir_id(const char *dir, raft_id *ret, struct err *e);
/* Draw one and write it, durably. */
int dir_id_new(const char *dir, raft_id *ret, struct err *e);
/* The directory must not be used again, and why. A failure to write that is not told: the process ends. */
void dir_mark_bad(const char *dir, const struct err *why);
/* E_CORRUPT: it was marked, with the words of that time. */
int dir_check_bad(const char *dir, struct err *e);
/* 0: there is none, or a power cut left an empty file. Fails when it cannot be read. */
int dir_high_water(const char *dir, uint64_t *ret, struct err *e);
/* -1: not written; the mark that is there is only older. No fsync. */
int dir_set_high_water(const char *dir, uint64_t index);
/* What is done about every second and may wait for the disk: write this mark (0: as it is), look for space. On the
 * pool; then done on the loop with the mark that was written (0: none) and as dir_space says (NULL: enough). */
void dir_look(uv_loop_t *loop, const char *dir, uint64_t mark,
	      void (*done)(uint64_t written, const char *low, void *arg), void *arg);
/* libraft looks at its preallocated segments only (capacity_kib) and, once they are used up, refuses for
 * ever, also when space has come back; this looks at the disk as well. */
bool dir_has_room(const char *dir, unsigned capacity_kib);
/* Text for people when the disk is short of space, or NULL. */
const char *dir_space(const char *dir, char *buf, size_t n);
