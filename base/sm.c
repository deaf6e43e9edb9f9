// SPDX-License-Identifier: Apache-2.0
/* The happy path of a move: look the set of successors up, write the state, remember the move in a ring of
 * pointers and a short copy of the label (no formatting unless somebody reads it or logs at level debug).
 * What can fail is our own mistake: an unknown state or a move that is not in the table ends the program. */
#include "base/sm.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"

struct move {
	int64_t mono_ms;
	const struct sm_kind *kind;
	const char *where;
	uint8_t from, to;
	char label[38]; /* may be cut; the object may be gone when it is read */
};

/* Like the log's level, this is diagnosis and belongs to the program, not to an object. */
static struct {
	struct move moves[SM_TRACE_MAX];
	_Atomic unsigned n; /* ever made; a thread's move takes its place in the ring first */
} trace;

static const struct sm_state *row_of(const struct sm_kind *kind, unsigned state)
{
	bug_if(state >= kind->n || kind->states[state].state != state);
	return &kind->states[state];
}

void sm_init(struct sm *sm, const struct sm_kind *kind, unsigned state, const char *label)
{
	bug_if(kind->n > 64);
	row_of(kind, state);
	*sm = (struct sm){.kind = kind, .label = label, .state = (uint8_t)state};
}

bool sm_may(const struct sm *sm, unsigned to)
{
	row_of(sm->kind, to);
	return (row_of(sm->kind, sm->state)->next & SM(to)) != 0;
}

static void remember(const struct sm *sm, unsigned to, const char *where)
{
	struct move *m = &trace.moves[atomic_fetch_add(&trace.n, 1) % SM_TRACE_MAX];

	*m = (struct move){clock_mono_ms(&clock_real), sm->kind, where, sm->state, (uint8_t)to, ""};
	if (sm->label)
		strncpy(m->label, sm->label, sizeof(m->label) - 1);
}

void sm_move(struct sm *sm, unsigned to, const char *where)
{
	unsigned from = sm->state;

	bug_if(bug_in_job() && !sm->kind->any_thread);
	if (sm->kind->is_busy && sm_may(sm, to)) {
		sm->state = (uint8_t)to;
		if (sm->kind->check)
			sm->kind->check(sm, from);
		return;
	}
	remember(sm, to, where); /* first, so that the last line before a bug is the bad move */
	if (!sm_may(sm, to)) {
		log_error("%s %s: no move from %s to %s", sm->kind->name, sm->label ? sm->label : "",
			  sm_name(sm), sm_state_name(sm->kind, to));
		bug_die("!sm_may(sm, to)", __FILE__, __LINE__, where);
	}
	sm->state = (uint8_t)to;
	log_debug("%s %s: %s -> %s (%s)", sm->kind->name, sm->label ? sm->label : "",
		  sm_state_name(sm->kind, from), sm_state_name(sm->kind, to), where);
	if (sm->kind->check)
		sm->kind->check(sm, from);
}

const char *sm_name(const struct sm *sm)
{
	return sm_state_name(sm->kind, sm->state);
}

const char *sm_state_name(const struct sm_kind *kind, unsigned state)
{
	return state < kind->n ? kind->states[state].name : "?";
}

const char *sm_kind_fault(const struct sm_kind *kind, unsigned first)
{
	return sm_kind_fault_from(kind, SM(first));
}

const char *sm_kind_fault_from(const struct sm_kind *kind, uint64_t first)
{
	uint64_t known = kind->n < 64 ? SM(kind->n) - 1 : UINT64_MAX;
	uint64_t reached = first, before = 0;

	for (unsigned i = 0; i < kind->n; i++) {
		if (kind->states[i].state != i)
			return "a row does not stand at its state's index";
		if (!kind->states[i].name)
			return "a state has no name";
		if (kind->states[i].next & ~known)
			return "a successor is no state of the table";
	}
	while (reached != before) {
		before = reached;
		for (unsigned i = 0; i < kind->n; i++)
			if (reached & SM(i))
				reached |= kind->states[i].next;
	}
	return reached == known ? NULL : "a state cannot be reached";
}

static void format(const struct move *m, char *text, size_t n)
{
	snprintf(text, n, "%8" PRId64 " ms ago %s %s: %s -> %s (%s)", clock_mono_ms(&clock_real) - m->mono_ms,
		 m->kind->name, m->label, sm_state_name(m->kind, m->from), sm_state_name(m->kind, m->to),
		 m->where);
}

/* Calls line for the last n moves, oldest first. */
static void each_move(unsigned n, void (*line)(const char *text, void *arg), void *arg)
{
	unsigned made = trace.n, have = made < SM_TRACE_MAX ? made : SM_TRACE_MAX;
	char text[256];

	if (n > have)
		n = have;
	for (unsigned i = made - n; i != made; i++) {
		format(&trace.moves[i % SM_TRACE_MAX], text, sizeof(text));
		line(text, arg);
	}
}

static void line_to_buf(const char *text, void *arg)
{
	buf_printf(arg, "%s\n", text);
}

void sm_trace_dump(struct buf *out)
{
	each_move(SM_TRACE_MAX, line_to_buf, out);
}

static void line_to_log(const char *text, void *arg)
{
	log_msg(*(enum log_level *)arg, "%s", text);
}

void sm_trace_log(enum log_level level, unsigned n)
{
	each_move(n, line_to_log, &level);
}
