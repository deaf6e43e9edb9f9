// SPDX-License-Identifier: Apache-2.0
/* Waiting for a service: what each slot is at, whether the whole is done, whether it can still get there.
 *
 * The happy path is a stream of ServiceDetail from the manager; each one is judged by progress_of() alone, so
 * that the wait ends with the very change that completes it. What can fail: a task that was rejected, a
 * cluster that waits for the operator, a connection that ends (the manager restarted: asked again for a
 * while). */
#include "cli/cli.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define BLOCKED_MOMENT_S 5
#define RETRY_MS 15000 /* a manager that was killed is back, or replaced, well within */

/* ---- judging ---- */
static const Gs__Task *slot_task(const Gs__ServiceDetail *d, const Gs__Slot *s)
{
	const Gs__Task *best = NULL;

	for (size_t i = 0; i < d->n_tasks; i++) {
		const Gs__Task *t = d->tasks[i];

		if (strcmp(t->slot_id, s->meta->id))
			continue;
		if (!best || t->meta->created_ms > best->meta->created_ms ||
		    (t->meta->created_ms == best->meta->created_ms && t->meta->version > best->meta->version))
			best = t;
	}
	return best;
}

static bool is_alive(const Gs__ServiceDetail *d, const Gs__Slot *s)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		if (!strcmp(d->tasks[i]->slot_id, s->meta->id) && d->tasks[i]->status &&
		    !task_state_is_final(d->tasks[i]->status->state))
			return true;
	return false;
}

static char *describe(const Gs__Task *t)
{
	const Gs__TaskStatus *s = t->status;
	Gs__TaskState state = s ? s->state : TASK_NEW;
	cleanup_free char *galera = text_galera(t);
	bool is_up = state == TASK_RUNNING; /* its error is how the attempt before ended */
	const char *why = "";
	const char *how = *galera ? galera : s ? s->progress : "";

	if (s && *s->err && !is_up)
		why = s->err;
	else if (state <= TASK_PENDING)
		why = t->pending_reason;
	if (*why)
		return xasprintf("%s: %s", text_state_word(state), why);
	if (!strncmp(how, "held", 4))
		return xstrdup(how);
	return *how ? xasprintf("%s, %s", text_state_word(state), how) : xstrdup(text_state_word(state));
}

static bool is_there(const Gs__Task *t, bool with_galera)
{
	return t->status && t->status->state == TASK_RUNNING && t->desired == TASK_RUNNING &&
	       (!with_galera || galera_is_ready(t));
}

static bool is_hopeless(const Gs__ServiceDetail *d, const Gs__Task *t)
{
	Gs__TaskState s = t->status ? t->status->state : TASK_NEW;

	if (s == TASK_REJECTED)
		return true;
	return s == TASK_FAILED && d->service->spec->task->restart == RESTART_NONE;
}

static void judge_slot(const Gs__ServiceDetail *d, const Gs__Slot *s, struct progress *p)
{
	const Gs__Task *t = slot_task(d, s);
	bool with_galera = d->service->spec->topology == TOPO_GALERA;
	struct slot_line *l;

	if (s->removing && !is_alive(d, s))
		return;
	p->lines = xrealloc(p->lines, (p->n + 1) * sizeof(*p->lines));
	l = &p->lines[p->n++];
	*l = (struct slot_line){0};
	l->name = t ? xstrdup(t->name) : xasprintf("%s.%u", d->service->spec->name, s->number);
	l->node = xstrdup(t && *t->node_id ? node_name_of(d, t->node_id) : "");
	l->text = t ? describe(t) : xstrdup("new");
	if (s->removing) {
		char *text = xasprintf("%s, going away", l->text);

		free(l->text);
		l->text = text;
		return;
	}
	l->is_done = t && is_there(t, with_galera);
	l->is_failed = t && is_hopeless(d, t);
	p->done += l->is_done;
	if (l->is_failed && !p->failure)
		p->failure = xasprintf("%s%s%s: %s", l->name, *l->node ? " on " : "", l->node,
				       *t->status->err ? t->status->err : text_state_word(t->status->state));
}

static size_t ready_nodes(const Gs__ServiceDetail *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_nodes; i++)
		n += d->nodes[i]->status && d->nodes[i]->status->state == NODE_READY && d->nodes[i]->spec &&
		     d->nodes[i]->spec->availability == AVAIL_ACTIVE;
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(((const struct slot_line *)a)->name, ((const struct slot_line *)b)->name);
}

/* The service's error mostly is "db.1: " and what the line of db.1 ends with. */
static bool is_told(const struct progress *p, const char *error)
{
	for (size_t i = 0; i < p->n; i++) {
		size_t n = strlen(p->lines[i].name);

		if (!strncmp(error, p->lines[i].name, n) && error[n] == ':' && error[n + 1] == ' ' &&
		    strstr(p->lines[i].text, error + n + 2))
			return true;
	}
	return false;
}

void progress_of(const Gs__ServiceDetail *d, struct progress *ret)
{
	const Gs__ServiceSpec *spec = d->service->spec;
	size_t live = 0;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < d->n_slots; i++) {
		judge_slot(d, d->slots[i], ret);
		live += !d->slots[i]->removing;
	}
	if (ret->n)
		qsort(ret->lines, ret->n, sizeof(*ret->lines), by_name);
	ret->wanted = spec->replicas;
	if (spec->mode == MODE_GLOBAL) /* constraints are the manager's business: it makes the slots */
		ret->wanted = spec->n_constraints || live > ready_nodes(d) ? live : ready_nodes(d);
	/* A slot that goes away still has a line until its task has ended. */
	ret->is_converged = ret->done == ret->wanted && ret->n == ret->wanted && live == ret->wanted &&
			    !(spec->mode == MODE_GLOBAL && !live);
	if (*d->service->error && !is_told(ret, d->service->error))
		ret->note = xstrdup(d->service->error);
	/* Consent is in the row until the controller has acted on it. */
	if (d->galera && d->galera->phase == GP_BLOCKED && !d->galera->force_bootstrap && !ret->failure) {
		const char *why =
			*d->galera->blocked_reason ? d->galera->blocked_reason : "the cluster is blocked";

		ret->failure = xasprintf("%.*s (see 'gswarm galera status %s')", (int)strcspn(why, "\n"), why,
					 spec->name); /* below its first line is a table */
		ret->is_blocked = true;
	}
	if (ret->is_converged) {
		free(ret->failure);
		ret->failure = NULL;
	}
}

void progress_fini(struct progress *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->lines[i].name);
		free(p->lines[i].node);
		free(p->lines[i].text);
	}
	free(p->lines);
	free(p->failure);
	free(p->note);
	memset(p, 0, sizeof(*p));
}

/* ---- showing ---- */
struct wait {
	enum wait_for what;
	bool is_live, is_quiet, is_reached;
	int drawn; /* lines on the screen that the next drawing goes over */
	int64_t start_ms;
	struct progress now;
	char **said; /* in a pipe: "name|text" of what has been printed, one a slot */
	size_t n_said;
	char *noted;
	char *name;
};

static double elapsed(const struct wait *w)
{
	return (double)(clock_mono_ms(&clock_real) - w->start_ms) / 1000;
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
	} else if (!strcmp(w->said[i], line)) {
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
	return w->now.failure && (!w->now.is_blocked || elapsed(w) > BLOCKED_MOMENT_S);
}

static bool on_detail(const ProtobufCMessage *event, void *arg)
{
	const Gs__ServiceDetail *d = (const Gs__ServiceDetail *)event;
	struct wait *w = arg;

	if (!d->service) {
		w->is_reached = w->what == WAIT_GONE;
		return !w->is_reached;
	}
	free(w->name);
	w->name = xstrdup(d->service->spec->name);
	progress_fini(&w->now);
	progress_of(d, &w->now);
	if (!w->is_quiet && w->is_live)
		draw(w);
	else if (!w->is_quiet)
		tell(w);
	if (w->what == WAIT_GONE)
		return !interrupted();
	w->is_reached = w->now.is_converged;
	return !w->is_reached && !is_hopeless_now(w) && !interrupted();
}

static bool on_tick(void *arg)
{
	struct wait *w = arg;

	if (w->is_live && !w->is_quiet && w->drawn)
		draw(w); /* the seconds go on */
	return !interrupted() && (w->what == WAIT_GONE || !is_hopeless_now(w));
}

static int conclude(struct wait *w, const char *service)
{
	const char *name = w->name ? w->name : service;

	if (w->is_reached) {
		if (!w->is_quiet && w->what == WAIT_CONVERGED)
			printf("service %s converged: %zu of %zu in %.2f s\n", name, w->now.done,
			       w->now.wanted, elapsed(w));
		return 0;
	}
	if (interrupted()) {
		fprintf(stderr,
			"\ngswarm: detached; it goes on in the background, 'gswarm service ps %s' shows how "
			"far it is\n",
			name);
		return CLI_INTERRUPTED;
	}
	fprintf(stderr, "gswarm: service %s: %s\n", name,
		w->now.failure ? w->now.failure
			       : "it was removed meanwhile" /* a lost manager is another error */);
	return 1;
}

static bool may_try_again(const struct wait *w, int code, int64_t failing_since)
{
	bool lost = code == E_CLOSED || code == E_UNAVAILABLE || code == E_NOT_LEADER || code == E_DEADLINE;

	return lost && !interrupted() && clock_mono_ms(&clock_real) - failing_since < RETRY_MS;
}

int progress_wait(struct cmd *c, const char *service, enum wait_for what, bool quiet, struct err *e)
{
	struct wait w = {.what = what, .is_live = isatty(STDOUT_FILENO), .is_quiet = quiet};
	Gs__WatchServiceRequest req = GS__WATCH_SERVICE_REQUEST__INIT;
	int64_t failing_since = 0;
	int r, rc;

	w.start_ms = clock_mono_ms(&clock_real);
	req.ref = (char *)service;
	interrupt_catch();
	for (;;) {
		err_clear(e);
		r = client_stream(c, CONTROL_WATCH_SERVICE, &req, on_detail, on_tick, &w, e);
		if (what == WAIT_GONE && !interrupted() && (r == E_NOT_FOUND || r == 0))
			w.is_reached = true;
		if (r >= 0 || w.is_reached || interrupted())
			break;
		failing_since =
			failing_since && r == E_UNAVAILABLE ? failing_since : clock_mono_ms(&clock_real);
		if (!may_try_again(&w, r, failing_since))
			break;
		client_close(c);
		usleep(100000);
	}
	interrupt_release();
	rc = r < 0 && !w.is_reached && !interrupted() ? r : conclude(&w, service);
	progress_fini(&w.now);
	for (size_t i = 0; i < w.n_said; i++)
		free(w.said[i]);
	free(w.said);
	free(w.noted);
	free(w.name);
	return rc;
}
