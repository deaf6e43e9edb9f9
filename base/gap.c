// SPDX-License-Identifier: Apache-2.0
/* A prepare handle runs before each wait of the loop; what passed since the last one, less what libuv says that it
 * waited, is the gap. The happy path is a subtraction. What can fail is /proc/thread-self/schedstat (kernels without
 * it): then waiting for a core counts as ours. */
#include "base/gap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"

#define NS_PER_MS 1000000.0
#define LONG_NS (50 * 1000000ull)   /* the target: a heartbeat must not wait longer */
#define NOTICED_NS (2 * 1000000ull) /* below that nobody asks who it was */
#define MOMENT_TRIES 16
#define NAMES 12
#define GAP_MAGIC MAGIC('g', 'a', 'p', ' ')

struct worst {
	uint64_t ns, waited_ns;
	const char *name;
	uint64_t turns, over; /* in all; longer than LONG_NS */
};

struct gap {
	uint32_t magic;
	uv_prepare_t prepare;
	int schedstat;
	unsigned depth;
	/* this turn */
	uint64_t begin_ns, idle_ns; /* when the last wait began; all waits until then */
	uint64_t core_ns;           /* for which the thread has waited for a core, when last read */
	uint64_t waited_ns;         /* of it in this turn's callbacks */
	bool entered;
	uint64_t longest_ns;
	const char *longest;
	/* all turns */
	struct worst ever, lately;
	struct worst by_name[NAMES];
};

/* A loop has a thread and a thread has one loop. */
static _Thread_local struct gap *mine;

static struct gap *gap_here(void)
{
	bug_if(mine && mine->magic != GAP_MAGIC);
	return mine;
}

/* The second number of schedstat: time on the run queue, in ns. */
static uint64_t core_waits(const struct gap *g)
{
	char text[96];
	ssize_t n = g->schedstat >= 0 ? pread(g->schedstat, text, sizeof(text) - 1, 0) : 0;
	char *second;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) : 0;
}

/* Now, and how long the thread has waited for a core until now. It may lose its core between the two looks; a wait
 * that is in one and not in the other would be taken for work, or work for a wait. */
static uint64_t now_and_waits(struct gap *g)
{
	uint64_t waits = core_waits(g), before, now;
	unsigned tries = 0;

	do {
		before = waits;
		now = uv_hrtime();
		waits = core_waits(g);
	} while (waits != before && ++tries < MOMENT_TRIES);
	if (before > g->core_ns)
		g->waited_ns += before - g->core_ns;
	g->core_ns = before;
	return now;
}

struct gap_scope gap_scope_begin(const char *name)
{
	struct gap *g = gap_here();

	if (!g)
		return (struct gap_scope){0};
	bug_if_off_loop();
	if (!g->entered) { /* the wait has ended: from here on a wait for a core delays callbacks */
		g->entered = true;
		g->core_ns = core_waits(g);
	}
	g->depth++;
	return (struct gap_scope){name, uv_hrtime(), g->waited_ns};
}

/* The slot of this name, else the one with the least, when this is more. */
static void name_count(struct gap *g, const char *name, uint64_t ns)
{
	struct worst *least = &g->by_name[0], *found = NULL;

	for (size_t i = 0; i < NAMES && !found; i++) {
		struct worst *w = &g->by_name[i];

		if (w->name && strcmp(w->name, name) == 0)
			found = w;
		else if (w->ns < least->ns)
			least = w;
	}
	if (!found && ns <= least->ns)
		return;
	if (!found) {
		found = least;
		*found = (struct worst){.name = name};
	}
	found->turns++;
	found->over += ns > LONG_NS;
	if (ns > found->ns)
		found->ns = ns;
}

void gap_scope_end(struct gap_scope *s)
{
	struct gap *g = s->name ? gap_here() : NULL;
	uint64_t ns, waited;

	if (!g)
		return;
	bug_if(g->depth == 0);
	g->depth--;
	ns = uv_hrtime() - s->begin_ns;
	if (ns < NOTICED_NS)
		return;
	ns = now_and_waits(g) - s->begin_ns;
	waited = g->waited_ns - s->waited_ns;
	ns = ns > waited ? ns - waited : 0;
	if (ns > g->longest_ns + g->longest_ns / 4) {
		g->longest_ns = ns;
		g->longest = s->name;
	}
}

static void worst_count(struct worst *w, uint64_t ns, uint64_t waited_ns, const char *name)
{
	w->turns++;
	w->over += ns > LONG_NS;
	if (ns <= w->ns)
		return;
	w->ns = ns;
	w->waited_ns = waited_ns;
	w->name = name;
}

static uint64_t left_of(uint64_t ns, uint64_t less)
{
	return ns > less ? ns - less : 0;
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct gap *g = magic_of(struct gap, GAP_MAGIC, prepare->data);
	uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(prepare->loop);
	uint64_t waited_for_events = idle - g->idle_ns, ns = left_of(now - g->begin_ns, waited_for_events);
	const char *name = g->longest ? g->longest : "others";

	bug_if(g->depth != 0);
	if (ns >= NOTICED_NS && g->entered) {
		now = now_and_waits(g);
		ns = left_of(now - g->begin_ns, waited_for_events);
	}
	ns = left_of(ns, g->waited_ns);
	worst_count(&g->ever, ns, g->waited_ns, name);
	worst_count(&g->lately, ns, g->waited_ns, name);
	if (ns >= NOTICED_NS)
		name_count(g, name, ns);
	g->begin_ns = now;
	g->idle_ns = idle;
	g->waited_ns = 0;
	g->entered = false;
	g->longest_ns = 0;
	g->longest = NULL;
}

void gap_watch(uv_loop_t *loop)
{
	struct gap *g = xcalloc(1, sizeof(*g));

	bug_if(mine);
	magic_set(g, GAP_MAGIC);
	uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
	g->schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	uv_prepare_init(loop, &g->prepare);
	g->prepare.data = g;
	uv_prepare_start(&g->prepare, on_prepare);
	uv_unref((uv_handle_t *)&g->prepare);
	g->begin_ns = uv_hrtime();
	mine = g;
}

static void on_closed(uv_handle_t *h)
{
	struct gap *g = magic_of(struct gap, GAP_MAGIC, h->data);

	if (g->schedstat >= 0)
		close(g->schedstat);
	magic_end(g);
	free(g);
}

void gap_end(void)
{
	struct gap *g = gap_here();

	if (!g)
		return;
	mine = NULL;
	uv_close((uv_handle_t *)&g->prepare, on_closed);
}

/* ---- telling ---- */

static void worst_print(struct buf *out, const char *when, const struct worst *w)
{
	buf_printf(out,
		   "loop %s: longest gap %.1f ms by %s (and %.1f ms without a core), %llu of %llu turns over "
		   "%llu ms\n",
		   when, (double)w->ns / NS_PER_MS, w->name ? w->name : "-", (double)w->waited_ns / NS_PER_MS,
		   (unsigned long long)w->over, (unsigned long long)w->turns, LONG_NS / 1000000);
}

static int by_ns(const void *a, const void *b)
{
	const struct worst *x = a, *y = b;

	return (x->ns < y->ns) - (x->ns > y->ns);
}

void gap_dump(struct buf *out)
{
	struct gap *g = gap_here();
	struct worst sorted[NAMES];

	if (!g)
		return;
	worst_print(out, "since the start", &g->ever);
	worst_print(out, "since the last dump", &g->lately);
	g->lately = (struct worst){0};
	memcpy(sorted, g->by_name, sizeof(sorted));
	qsort(sorted, NAMES, sizeof(*sorted), by_ns);
	buf_printf(out, "loop callbacks:");
	for (size_t i = 0; i < NAMES && sorted[i].name; i++)
		buf_printf(out, " %s %.1f ms x%llu", sorted[i].name, (double)sorted[i].ns / NS_PER_MS,
			   (unsigned long long)sorted[i].turns);
	buf_printf(out, "\n");
}

double gap_longest_ms(void)
{
	const struct gap *g = gap_here();

	return g ? (double)g->lately.ns / NS_PER_MS : 0;
}
