// SPDX-License-Identifier: Apache-2.0
/* What raft.c (life and leadership), propose.c (proposals and apply) and dir.c (the directory's own
 * small files) share. */
#pragma once
#include <raft.h>
#include <raft/uv.h>

#include "manager/raft/envelope.h"
#include "manager/raft/engine.h"
#include "manager/raft/guard.h"

#define IN_FLIGHT_MAX 64 /* entries with libraft at once */

enum op_kind { OP_PROPOSAL, OP_BARRIER };
struct op {
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
struct deferred {
	struct deferred *next;
	void (*fn)(void *arg);
	void *arg;
};

/* libraft's objects. A start that failed leaves one behind that closes by itself. */
struct instance {
	struct engine *engine; /* NULL: abandoned */
	struct raft raft;
	struct raft_guard guard;
	struct raft_uv_transport transport;
	struct raft_fsm fsm;
	struct raft_tracer tracer;
};
enum leadership { FOLLOWER, CATCHING_UP, LEADER };
struct engine {
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
	enum leadership leadership;
	raft_term term; /* of that leadership */
	bool barrier_waiting;
	uint64_t high_water;
	char trouble[200];
	bool closing, closed;
	int open_handles;
	void (*on_closed)(void *arg);
	void *on_closed_arg;
};

static inline struct engine *engine_of(struct consensus *c)
{
	return (struct engine *)c;
}
/* Report and (unless a test's hook returns) end the process. */
void engine_fatal(struct engine *en, const struct err *e);

/* propose.c */
int engine_propose(struct consensus *c, const uint8_t *data, size_t len,
		   void (*done)(void *, const struct err *), void *arg);
int engine_barrier(struct consensus *c, void (*done)(void *, const struct err *), void *arg);
bool engine_has_room(struct consensus *c);
/* Some may get their turn now, or hear that there will be none. Never answers from inside. */
void engine_pump_soon(struct engine *en);
int engine_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result);
void engine_refused(struct engine *en, int rc, struct err *e); /* a raft code as ours */

/* dir.c */
int dir_id(const char *dir, raft_id *ret, struct err *e);
int dir_id_new(const char *dir, raft_id *ret, struct err *e);
void dir_mark_bad(const char *dir, const struct err *why);
int dir_check_bad(const char *dir, struct err *e);
/* 0: there is none, or a power cut left an empty file. Fails when it cannot be read. */
int dir_high_water(const char *dir, uint64_t *ret, struct err *e);
int dir_set_high_water(const char *dir, uint64_t index);
/* libraft looks at its preallocated segments only (capacity_kib) and, once they are used up, refuses for
 * ever, also when space has come back; this looks at the disk as well. */
bool dir_has_room(const char *dir, unsigned capacity_kib);
/* Text for people when the disk is short of space, or NULL. */
const char *dir_space(const char *dir, char *buf, size_t n);
