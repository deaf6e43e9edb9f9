// SPDX-License-Identifier: Apache-2.0
/* Seeded numbers, virtual time and the queue of what happens next. Nothing can fail; a run is its seed. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

#define TRACE_LINES 400

static uint64_t next64(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15u); /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t rnd(struct sim *s, uint64_t n)
{
	return n ? next64(&s->rng) % n : 0;
}

bool chance(struct sim *s, unsigned percent)
{
	return rnd(s, 100) < percent;
}

int64_t between(struct sim *s, int64_t lo, int64_t hi)
{
	return lo + (int64_t)rnd(s, (uint64_t)(hi - lo + 1));
}

int64_t now(const struct sim *s)
{
	return s->vc.mono_ms;
}

void sim_new_id(void *arg, char ret[ID_LEN + 1])
{
	struct sim *s = arg;
	uint8_t bytes[16];
	uint64_t x = s->seed ^ (++s->ids << 20), a = next64(&x), b = next64(&x);

	memcpy(bytes, &a, 8);
	memcpy(bytes + 8, &b, 8);
	id_from_bytes(bytes, ret);
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;

	*a = *b;
	*b = t;
}

void at(struct sim *s, int64_t delay_ms, sim_fn fn, void *arg, uint64_t tag)
{
	if (s->n_heap == s->cap_heap) {
		s->cap_heap = s->cap_heap ? s->cap_heap * 2 : 256;
		s->heap = xrealloc(s->heap, s->cap_heap * sizeof(*s->heap));
	}
	size_t i = s->n_heap++;
	s->heap[i] = (struct sim_event){now(s) + (delay_ms < 0 ? 0 : delay_ms), ++s->orders, fn, arg, tag};
	while (i > 0 && earlier(&s->heap[i], &s->heap[(i - 1) / 2])) {
		swap(&s->heap[i], &s->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0];
	size_t i = 0;

	s->heap[0] = s->heap[--s->n_heap];
	for (;;) {
		size_t l = 2 * i + 1, best = i;

		if (l < s->n_heap && earlier(&s->heap[l], &s->heap[best]))
			best = l;
		if (l + 1 < s->n_heap && earlier(&s->heap[l + 1], &s->heap[best]))
			best = l + 1;
		if (best == i)
			return top;
		swap(&s->heap[i], &s->heap[best]);
		i = best;
	}
}

bool step(struct sim *s, int64_t until_ms)
{
	if (s->failed || !s->n_heap || s->heap[0].at > until_ms)
		return false;
	struct sim_event e = pop(s);
	clock_virtual_advance(&s->vc, e.at - now(s));
	s->steps++;
	e.fn(s, e.arg, e.tag);
	check_step(s);
	return true;
}

void say(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->trace)
		s->trace = xcalloc(TRACE_LINES, sizeof(*s->trace));
	char *line = s->trace[s->n_trace++ % TRACE_LINES];
	int n = snprintf(line, sizeof(*s->trace), "%8lld.%03lld ", (long long)now(s) / 1000,
			 (long long)now(s) % 1000);
	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(*s->trace) - (size_t)n, fmt, ap);
	va_end(ap);
	if (s->verbose)
		puts(line);
}

void fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->failed)
		return;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	s->failed = true;
	if (!s->probing)
		say(s, "VIOLATION %s", s->why);
}
