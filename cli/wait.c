// SPDX-License-Identifier: Apache-2.0
/* Waiting for a service, and what the screen says meanwhile.
 *
 * The happy path is a stream of ServiceDetail from the manager; each one is judged by progress_of() and
 * trails_update(), so that the wait ends with the very change that completes it, or, for plain services,
 * when what was reached has lasted for the update monitor:
 *
 *   watching -> converged -> [monitor: nothing ended] -> reached, exit 0
 *       ^___________| an attempt ended
 *
 * What can fail: a task that was rejected, attempts that end again and again, a cluster that waits for
 * the operator, --wait-timeout, a connection that ends (the manager restarted: asked again for a while). */
#include "cli/wait.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "cli/client.h"
#include "cli/progress.h"
#include "cli/output/text.h"

#define BLOCKED_MOMENT_S 5
#define MONITOR_MS 5000 /* Docker's --update-monitor */
#define RETRY_MS 15000  /* a manager that was killed is back, or replaced, well within */

struct wait {
	struct wait_options o;
	bool is_live, is_reached, is_galera, is_late;
	int drawn; /* lines on the screen that the next drawing goes over */
	int64_t start_ms;
	struct progress now;
	struct trails trails;
	const char *failing; /* of a slot that fails again and again; borrowed from trails */
	char **said;         /* in a pipe: "name|text" of what has been printed, one a slot */
	size_t n_said;
	char *noted, *name;
	bool told_monitor;
};

static int64_t now_ms(void)
{
	return clock_mono_ms(&clock_real);
}

/* How long what was reached must last; a Galera member that is Synced has shown more than that it was
 * started. */
static int64_t monitor_ms(const struct wait *w)
{
	return w->o.monitor_ms >= 0 ? w->o.monitor_ms : w->is_galera ? 0 : MONITOR_MS;
}

/* How long a row of failures must last. */
static int64_t patience_ms(const struct wait *w)
{
	int64_t least = w->o.patience_ms ? w->o.patience_ms : MONITOR_MS;

	return w->o.monitor_ms > least ? w->o.monitor_ms : least;
}

static double elapsed(const struct wait *w)
{
	return (double)(now_ms() - w->start_ms) / 1000;
}

static struct winsize screen_size(void)
{
	struct winsize s = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &s) < 0 || !s.ws_col || !s.ws_row)
		s = (struct winsize){.ws_row = 24, .ws_col = 80};
	return s;
}

/* A line never wraps, or the next drawing would not find the way back up. */
static void draw_text(const char *mark, const char *text, size_t columns)
{
	cleanup_free char *cut = text_cut(text, columns > 12 ? columns - 4 : 8);

	printf("\r\x1b[K%s%s\n", mark, cut);
}

static void draw_line(const struct slot_line *l, int name_width, int node_width, size_t columns)
{
	cleanup_free char *text =
		xasprintf("%-*s  %-*s  %s", name_width, l->name, node_width, l->node, l->text);

	draw_text(l->is_done ? "✓ " : l->is_failed ? "✗ " : "· ", text, columns);
}

/* What the screen has no room for is counted; what is done goes first. Returns the lines drawn. */
static int draw_slots(const struct progress *p, size_t room, size_t columns)
{
	int name_width = 4, node_width = 0;
	bool is_crowded = p->n > room;
	size_t shown = 0;

	for (size_t i = 0; i < p->n; i++) {
		int name = (int)strlen(p->lines[i].name), node = (int)strlen(p->lines[i].node);

		name_width = name > name_width ? name : name_width;
		node_width = node > node_width ? node : node_width;
	}
	for (size_t i = 0; i < p->n && shown + is_crowded < room; i++) {
		if (is_crowded && p->lines[i].is_done)
			continue;
		draw_line(&p->lines[i], name_width, node_width, columns);
		shown++;
	}
	if (is_crowded)
		printf("\r\x1b[K  and %zu more\n", p->n - shown);
	return (int)shown + is_crowded;
}

static void draw(struct wait *w)
{
	const struct progress *p = &w->now;
	struct winsize s = screen_size();
	size_t room = s.ws_row > 5 ? (size_t)s.ws_row - 4 : 1;
	cleanup_free char *head =
		xasprintf("overall progress: %zu out of %zu tasks, %.1f s", p->done, p->wanted, elapsed(w));

	if (w->drawn)
		printf("\x1b[%dA", w->drawn);
	draw_text("", head, s.ws_col);
	w->drawn = 1 + draw_slots(p, room, s.ws_col) + !!p->note;
	if (p->note)
		draw_text("", p->note, s.ws_col);
	printf("\x1b[J");
	fflush(stdout);
}

static bool is_news(struct wait *w, const struct slot_line *l)
{
	cleanup_free char *line = xasprintf("%s|%s|%s", l->name, l->node, l->text);
	size_t len = strlen(l->name) + 1, i = 0;

	while (i < w->n_said && strncmp(w->said[i], line, len))
		i++;
	if (i == w->n_said) {
		w->said = xrealloc(w->said, (w->n_said + 1) * sizeof(*w->said));
		w->said[w->n_said++] = NULL;
	} else if (strcmp(w->said[i], line) == 0) {
		return false;
	}
	free(w->said[i]);
	w->said[i] = steal(line);
	return true;
}

static void tell(struct wait *w)
{
	const struct progress *p = &w->now;

	for (size_t i = 0; i < p->n; i++)
		if (is_news(w, &p->lines[i]))
			printf("%7.2f s  %s%s%s  %s\n", elapsed(w), p->lines[i].name,
			       *p->lines[i].node ? " " : "", p->lines[i].node, p->lines[i].text);
	if (p->note && (!w->noted || strcmp(w->noted, p->note))) {
		printf("%7.2f s  %s\n", elapsed(w), p->note);
		free(w->noted);
		w->noted = xstrdup(p->note);
	}
	fflush(stdout);
}

/* What was just asked for may be what unblocks the cluster: it gets a moment to show. */
static bool is_hopeless_now(const struct wait *w)
{
	if (w->o.is_consent && w->now.refused)
		return true;
	return w->failing || (w->now.failure && (!w->now.is_blocked || elapsed(w) > BLOCKED_MOMENT_S));
}

static void tell_monitor(struct wait *w)
{
	if (w->told_monitor || w->o.is_quiet || w->is_live || !w->trails.steady_ms || !monitor_ms(w))
		return;
	w->told_monitor = true;
	printf("%7.2f s  all run; now watching for %.3g s whether that lasts\n", elapsed(w),
	       (double)monitor_ms(w) / 1000);
	fflush(stdout);
}

/* After a change and every tenth of a second. true: go on watching. */
static bool judge(struct wait *w)
{
	int64_t now = now_ms();

	if (interrupted())
		return false;
	w->is_late = w->o.timeout_ms && now - w->start_ms >= w->o.timeout_ms;
	if (w->o.what == WAIT_GONE)
		return !w->is_late;
	w->is_reached = w->trails.steady_ms && now - w->trails.steady_ms >= monitor_ms(w);
	w->failing = w->is_reached ? NULL : trails_failure(&w->trails, now, patience_ms(w));
	tell_monitor(w);
	return !w->is_reached && !is_hopeless_now(w) && !w->is_late;
}

static bool on_detail(const ProtobufCMessage *event, void *arg)
{
	const Gs__ServiceDetail *d = (const Gs__ServiceDetail *)event;
	struct wait *w = arg;

	if (!d->service) {
		w->is_reached = w->o.what == WAIT_GONE;
		return !w->is_reached;
	}
	free(w->name);
	w->name = xstrdup(d->service->spec->name);
	w->is_galera = d->service->spec->topology == TOPO_GALERA;
	progress_fini(&w->now);
	progress_of(d, &w->now);
	trails_update(&w->trails, d, w->now.is_converged, w->o.is_new, now_ms(), patience_ms(w));
	if (!w->o.is_quiet && w->is_live)
		draw(w);
	else if (!w->o.is_quiet)
		tell(w);
	return judge(w);
}

static bool on_tick(void *arg)
{
	struct wait *w = arg;

	if (w->is_live && !w->o.is_quiet && w->drawn)
		draw(w); /* the seconds go on */
	return judge(w);
}

static void conclude_late(const struct wait *w, const char *name)
{
	const struct slot_line *open = NULL;

	for (size_t i = 0; i < w->now.n && !open; i++)
		if (!w->now.lines[i].is_done)
			open = &w->now.lines[i];
	bug_if(!w->is_late);
	if (w->trails.steady_ms) {
		fprintf(stderr,
			"gswarm: service %s: not converged within %g s: all run, but not yet for the %g s of "
			"--update-monitor, wait longer than that; it goes on in the background\n",
			name, (double)w->o.timeout_ms / 1000, (double)monitor_ms(w) / 1000);
		return;
	}
	fprintf(stderr, "gswarm: service %s: not %s within %.3g s%s%s%s%s; it goes on in the background\n",
		name, w->o.what == WAIT_GONE ? "gone" : "converged", (double)w->o.timeout_ms / 1000,
		open ? ": " : "", open ? open->name : "", open ? " is " : "", open ? open->text : "");
}

static int conclude(struct wait *w, const char *service)
{
	const char *name = w->name ? w->name : service;
	double took = w->trails.steady_ms ? (double)(w->trails.steady_ms - w->start_ms) / 1000 : elapsed(w);

	if (w->is_reached) {
		if (!w->o.is_quiet && w->o.what == WAIT_CONVERGED)
			printf("service %s %s: %zu of %zu in %.2f s\n", name,
			       w->now.ended && w->now.ended == w->now.wanted ? "complete" : "converged",
			       w->now.done, w->now.wanted, took);
		return 0;
	}
	if (interrupted()) {
		fprintf(stderr,
			"\ngswarm: detached; it goes on in the background, 'gswarm service ps %s' shows how "
			"far it is\n",
			name);
		return CLI_INTERRUPTED;
	}
	if (w->o.is_consent && w->now.refused)
		fprintf(stderr, "gswarm: service %s: the bootstrap was refused: %s\n", name, w->now.refused);
	else if (w->failing || w->now.failure)
		fprintf(stderr, "gswarm: service %s: %s\n", name, w->failing ? w->failing : w->now.failure);
	else if (w->is_late)
		conclude_late(w, name);
	else /* a lost manager is another error */
		fprintf(stderr, "gswarm: service %s: it was removed meanwhile\n", name);
	return 1;
}

static bool may_try_again(int code, int64_t failing_since)
{
	bool lost = code == E_CLOSED || code == E_UNAVAILABLE || code == E_NOT_LEADER || code == E_DEADLINE;

	return lost && !interrupted() && now_ms() - failing_since < RETRY_MS;
}

struct wait_options wait_options_of(const struct cmd *c, enum wait_for what)
{
	struct wait_options o = {.what = what, .monitor_ms = -1};

	o.is_quiet = opt_exists(c, "quiet") ? opt_is_set(c, "quiet") : !isatty(STDOUT_FILENO);
	if (opt_exists(c, "update-monitor") && opt_is_set(c, "update-monitor"))
		o.monitor_ms = (int64_t)(opt_number(c, "update-monitor", 0) / 1000000);
	if (opt_exists(c, "wait-timeout"))
		o.timeout_ms = (int64_t)(opt_number(c, "wait-timeout", 0) / 1000000);
	return o;
}

static void wait_fini(struct wait *w)
{
	progress_fini(&w->now);
	trails_fini(&w->trails);
	for (size_t i = 0; i < w->n_said; i++)
		free(w->said[i]);
	free(w->said);
	free(w->noted);
	free(w->name);
}

/* Watches until something is decided; negative: the stream's end, *e. */
static int watch(struct cmd *c, struct wait *w, const char *service, struct err *e)
{
	Gs__WatchServiceRequest req = GS__WATCH_SERVICE_REQUEST__INIT;
	int64_t failing_since = 0;

	req.ref = (char *)service;
	for (;;) {
		int r;

		err_clear(e);
		r = client_stream(c, CONTROL_WATCH_SERVICE, &req, on_detail, on_tick, w, e);
		if (w->o.what == WAIT_GONE && !interrupted() && !w->is_late && (r == E_NOT_FOUND || r == 0))
			w->is_reached = true;
		if (r >= 0 || w->is_reached || interrupted())
			return r;
		failing_since = failing_since && r == E_UNAVAILABLE ? failing_since : now_ms();
		if (!may_try_again(r, failing_since))
			return r;
		client_close(c);
		usleep(100000);
	}
}

int service_wait(struct cmd *c, const char *service, const struct wait_options *options, struct err *e)
{
	struct wait w = {.o = *options, .is_live = isatty(STDOUT_FILENO), .start_ms = now_ms()};
	int r, rc;

	bug_if(options->monitor_ms < -1 || options->timeout_ms < 0);
	interrupt_catch();
	r = watch(c, &w, service, e);
	interrupt_release();
	rc = r < 0 && !w.is_reached && !interrupted() ? r : conclude(&w, service);
	wait_fini(&w);
	return rc;
}
