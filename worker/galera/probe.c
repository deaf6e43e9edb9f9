// SPDX-License-Identifier: Apache-2.0
/* The happy path is one SHOW GLOBAL STATUS a tick on a connection that stays open. What can fail: no socket
 * yet, a server that stops answering (the query ends after a second), a stall of this daemon itself: a gap of
 * more than twice the interval is told, because what the server says right after one may be old (it slept as
 * well). */
#include "worker/galera/probe.h"

#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/sql.h"

#define FORMING_MS 100
#define SETTLED_MS 500
#define QUERY_TIMEOUT_MS 1000
#define VALUE_MAX 4096 /* the list of 64 members' addresses is the longest */

struct probe {
	uv_loop_t *loop;
	struct probe_config config;
	struct sql *sql;
	struct loop_timer timer;
	int64_t last_ms; /* end of the last poll */
	uint64_t interval_ms;
	bool was_open;
	Gs__GaleraView *view; /* of the poll that runs */
};

static void schedule(struct probe *p, const Gs__GaleraView *v)
{
	bool settled = v->sql_open && v->local_state == 4 && strcmp(v->status, "Primary") == 0;

	p->interval_ms = settled ? SETTLED_MS : FORMING_MS;
	loop_timer_set(&p->timer, p->interval_ms);
}

static void poll_row(const char *const *values, unsigned n_values, void *arg)
{
	struct probe *p = arg;

	if (n_values == 2 && values[0] && values[1] && strlen(values[1]) <= VALUE_MAX)
		view_set(p->view, values[0], values[1]);
}

static void poll_done(const struct err *e, void *arg)
{
	struct probe *p = arg;
	Gs__GaleraView *v = steal(p->view);
	int64_t now = clock_mono_ms(&clock_real);
	bool stalled = p->was_open && now - p->last_ms > (int64_t)(2 * p->interval_ms + QUERY_TIMEOUT_MS);

	if (e) { /* part of an answer is no answer */
		obj_free(v);
		v = obj_new(&gs__galera_view__descriptor);
	}
	v->sql_open = !e;
	p->was_open = v->sql_open;
	p->last_ms = now;
	schedule(p, v);
	p->config.on_poll(v, stalled, p->config.arg);
	obj_free(v);
}

static void poll_start(void *arg)
{
	struct probe *p = arg;

	if (sql_is_busy(p->sql))
		return;
	p->view = obj_new(&gs__galera_view__descriptor);
	sql_run(p->sql, "SET SESSION wsrep_sync_wait=0", "SHOW GLOBAL STATUS LIKE 'wsrep\\_%'",
		QUERY_TIMEOUT_MS, poll_row, poll_done, p);
}

struct probe *probe_new(uv_loop_t *loop, const struct probe_config *config)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	p->loop = loop;
	p->config = *config;
	p->sql = sql_new(loop, config->socket_path, config->user, config->password);
	p->last_ms = clock_mono_ms(&clock_real);
	p->interval_ms = FORMING_MS;
	loop_timer_init(&p->timer, loop, poll_start, p);
	loop_timer_set(&p->timer, 0);
	return p;
}

static void on_closed(void *arg)
{
	free(arg);
}

void probe_free(struct probe *p)
{
	if (!p)
		return;
	sql_close(p->sql);
	obj_free(p->view);
	p->view = NULL;
	loop_timer_stop(&p->timer);
	loop_timer_close(&p->timer, on_closed);
}
