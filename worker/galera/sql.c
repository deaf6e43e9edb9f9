// SPDX-License-Identifier: Apache-2.0
/* The happy path: one connection for the life of the server, each query a write and a read that the loop's
 * poll handle carries. What can fail: no socket yet (ENOENT, ECONNREFUSED), a wrong password, a server that
 * hangs: then the timer ends the call with the client library's own timeout event and the connection is
 * dropped.
 *
 * The other side is whoever runs in the task. The library trusts a server: it reads columns, progress notes
 * and rows for as long as they come and does not return to the loop while there is something to read. So what
 * is read in a call is counted where the library reads, and the socket is shut when it is too much.
 *
 *   IDLE -> CONNECT -> SETUP -> QUERY -> ROWS -> IDLE        any -> (error) -> dropped, IDLE */
#include "worker/galera/sql.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bug.h"
#include "base/gap.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/foreign.h"

/* SHOW GLOBAL STATUS LIKE 'wsrep\_%' is 70 rows and 5 KiB; Galera lists one address a member in a row. */
#define PACKET_MAX (64u << 10)
#define CALL_MAX (256u << 10) /* all that is read in one call, the greeting included */
#define ROWS_MAX 1000
#define SQL_MAGIC 0x5351u
#define NO_PLUGINS "/dev/null" /* no folder: a server names no library that we load */

enum sql_state { SQL_IDLE, SQL_CONNECT, SQL_SETUP, SQL_QUERY, SQL_ROWS };

struct sql {
	unsigned magic;
	uv_loop_t *loop;
	char *path, *user, *password;
	MYSQL my;
	bool is_open; /* my is initialised */
	bool is_connected;
	enum sql_state state;
	uv_poll_t *poll;
	struct loop_timer timer;
	char *setup, *query;
	uint64_t timeout_ms;
	sql_row_fn row;
	sql_done_fn done;
	void *arg;
	size_t n_bytes, n_rows; /* read in this call */
	const char *refused;    /* why the call ends, when we end it */
	int wait;               /* MYSQL_WAIT_* the library asked for; 0: the step is complete */
	bool kick;
	/* results of the steps */
	MYSQL *connected;
	MYSQL_RES *res;
	MYSQL_ROW values;
	int failed;
};

static void sql_step(struct sql *s, int events);

static void on_timer(void *arg)
{
	struct sql *s = arg;

	if (s->kick) {
		s->kick = false;
		loop_timer_set(&s->timer, s->timeout_ms);
		sql_step(s, 0);
	} else if (s->state != SQL_IDLE) {
		sql_step(s, MYSQL_WAIT_TIMEOUT);
	}
}

/* Exported by the library for observers like this one, its headers (3.3, 3.4) do not declare it. */
int ma_pvio_register_callback(my_bool add,
			      void (*observer)(int is_write, MYSQL *my, const unsigned char *data, size_t n));

/* In the library, after each read. What the kernel still holds for us (a socket's buffer) is read to its end,
 * and that is the end. */
static void on_library_io(int is_write, MYSQL *my, const unsigned char *data, size_t n)
{
	struct sql *s = (struct sql *)((char *)my - offsetof(struct sql, my));

	if (is_write || (ssize_t)n <= 0)
		return;
	bug_if(s->magic != SQL_MAGIC);
	s->n_bytes += n;
	if (s->n_bytes <= CALL_MAX || s->refused)
		return;
	s->refused = "the server's answer is too long";
	shutdown(mysql_get_socket(my), SHUT_RDWR);
}

/* The library has one list of observers a process. */
static void observe_library(void)
{
	ma_pvio_register_callback(1, on_library_io);
}

struct sql *sql_new(uv_loop_t *loop, const char *socket_path, const char *user, const char *password)
{
	static pthread_once_t observed = PTHREAD_ONCE_INIT;
	struct sql *s = xcalloc(1, sizeof(*s));

	pthread_once(&observed, observe_library);
	s->magic = SQL_MAGIC;
	s->loop = loop;
	s->path = xstrdup(socket_path);
	s->user = xstrdup(user);
	s->password = xstrdup(password);
	loop_timer_init(&s->timer, loop, on_timer, s);
	return s;
}

static void on_poll_closed(uv_handle_t *h)
{
	free(h);
}

static void poll_drop(struct sql *s)
{
	if (!s->poll)
		return;
	uv_poll_stop(s->poll);
	uv_close((uv_handle_t *)s->poll, on_poll_closed);
	s->poll = NULL;
}

static int step_cont(struct sql *s, int events)
{
	switch (s->state) {
	case SQL_CONNECT:
		return mysql_real_connect_cont(&s->connected, &s->my, events);
	case SQL_SETUP:
	case SQL_QUERY:
		return mysql_real_query_cont(&s->failed, &s->my, events);
	case SQL_ROWS:
		return s->res ? mysql_fetch_row_cont(&s->values, s->res, events) : 0;
	default:
		return 0;
	}
}

static void result_drop(struct sql *s)
{
	if (s->res)
		mysql_free_result(s->res);
	s->res = NULL;
	s->values = NULL;
}

static void sql_drop(struct sql *s)
{
	poll_drop(s);
	if (!s->is_open)
		return;
	/* A suspended call must have returned before its connection is closed. */
	for (int n = 0; s->wait && n < 16; n++)
		s->wait = step_cont(s, MYSQL_WAIT_TIMEOUT);
	if (mysql_get_socket(&s->my) >= 0)
		shutdown(mysql_get_socket(&s->my), SHUT_RDWR);
	result_drop(s); /* reads what is left of it, until the shut socket's end */
	mysql_close(&s->my);
	s->is_open = s->is_connected = false;
	s->wait = 0;
}

static void on_timer_closed(void *arg)
{
	struct sql *s = arg;

	free(s->path);
	free(s->user);
	free(s->password);
	free(s->setup);
	free(s->query);
	free(s);
}

void sql_close(struct sql *s)
{
	if (!s)
		return;
	s->done = NULL;
	sql_drop(s);
	s->state = SQL_IDLE;
	loop_timer_stop(&s->timer);
	loop_timer_close(&s->timer, on_timer_closed);
}

bool sql_is_busy(const struct sql *s)
{
	return s->state != SQL_IDLE || s->kick;
}

static void finish(struct sql *s, const struct err *e)
{
	sql_done_fn done = s->done;

	loop_timer_stop(&s->timer);
	s->state = SQL_IDLE;
	if (s->poll)
		uv_poll_stop(s->poll);
	if (e)
		sql_drop(s);
	result_drop(s);
	s->done = NULL;
	if (done)
		done(e, s->arg);
}

static void fail(struct sql *s)
{
	struct err e = {0};

	if (s->refused)
		err_set(&e, E_UNAVAILABLE, "sql: %s", s->refused);
	else
		err_set(&e, E_UNAVAILABLE, "sql: %u %.200s", mysql_errno(&s->my), mysql_error(&s->my));
	finish(s, &e);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	LOOP_SCOPE();
	struct sql *s = h->data;
	int ready = 0;

	if (status < 0)
		ready = MYSQL_WAIT_READ | MYSQL_WAIT_WRITE;
	if (events & UV_READABLE)
		ready |= MYSQL_WAIT_READ;
	if (events & UV_WRITABLE)
		ready |= MYSQL_WAIT_WRITE;
	sql_step(s, ready & s->wait ? ready & s->wait : ready);
}

/* Let the loop wait for what the library asks. */
static void arm(struct sql *s)
{
	int events = (s->wait & MYSQL_WAIT_READ ? UV_READABLE : 0) |
		     (s->wait & MYSQL_WAIT_WRITE ? UV_WRITABLE : 0);

	if (!s->poll) {
		s->poll = xcalloc(1, sizeof(*s->poll));
		if (uv_poll_init(s->loop, s->poll, mysql_get_socket(&s->my))) {
			free(s->poll);
			s->poll = NULL;
			return; /* the timer ends the call */
		}
		s->poll->data = s;
	}
	uv_poll_start(s->poll, events ? events : UV_READABLE, on_poll);
}

/* The socket lies in the task's folder: the name is resolved here, where a link leads nowhere, and the
 * library connects to what was found (it calls connect(2) before it first waits, so the descriptor may go
 * then). */
static bool start_connect(struct sql *s)
{
	cleanup_free char *dir = xstrdup(s->path);
	char *slash = strrchr(dir, '/'), found[32];
	unsigned seconds = 1, no = 0;
	size_t packet_max = PACKET_MAX;
	cleanup_close int fd = -1;
	struct err e = {0};

	*slash = '\0';
	fd = foreign_socket(dir, slash + 1, &e);
	if (fd < 0) {
		finish(s, &e);
		return false;
	}
	snprintf(found, sizeof(found), "/proc/self/fd/%d", fd);
	mysql_init(&s->my);
	s->is_open = true;
	mysql_optionsv(&s->my, MYSQL_OPT_NONBLOCK, 0);
	mysql_optionsv(&s->my, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
	mysql_optionsv(&s->my, MYSQL_OPT_READ_TIMEOUT, &seconds);
	mysql_optionsv(&s->my, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
	mysql_optionsv(&s->my, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max);
	mysql_optionsv(&s->my, MYSQL_OPT_LOCAL_INFILE, &no);
	mysql_optionsv(&s->my, MYSQL_PLUGIN_DIR, NO_PLUGINS);
	mysql_optionsv(&s->my, MARIADB_OPT_RESTRICTED_AUTH, "mysql_native_password");
	s->state = SQL_CONNECT;
	s->connected = NULL;
	s->wait = mysql_real_connect_start(&s->connected, &s->my, NULL, s->user, s->password, NULL, 0, found,
					   0);
	/* The library does not; a child that inherits it could speak as us. */
	if (mysql_get_socket(&s->my) >= 0)
		fcntl(mysql_get_socket(&s->my), F_SETFD, FD_CLOEXEC);
	return true;
}

static int start_query(struct sql *s, enum sql_state state, const char *text)
{
	s->state = state;
	s->failed = 0;
	return mysql_real_query_start(&s->failed, &s->my, text, strlen(text));
}

/* false: it was one too many, and the call has ended. */
static bool take_row(struct sql *s)
{
	if (++s->n_rows > ROWS_MAX) {
		s->refused = "the server's answer has too many rows";
		fail(s);
		return false;
	}
	if (s->row)
		s->row((const char *const *)s->values, mysql_num_fields(s->res), s->arg);
	s->wait = mysql_fetch_row_start(&s->values, s->res);
	return true;
}

/* The step that follows a completed one; false when the call has ended (s may be gone). */
static bool advance(struct sql *s)
{
	bool has_setup = s->setup && *s->setup;

	switch (s->state) {
	case SQL_IDLE:
		if (!s->is_connected)
			return start_connect(s);
		s->wait = start_query(s, SQL_QUERY, s->query);
		return true;
	case SQL_CONNECT:
		if (!s->connected)
			return fail(s), false;
		s->is_connected = true;
		s->wait =
			has_setup ? start_query(s, SQL_SETUP, s->setup) : start_query(s, SQL_QUERY, s->query);
		return true;
	case SQL_SETUP:
		if (s->failed)
			return fail(s), false;
		s->wait = start_query(s, SQL_QUERY, s->query);
		return true;
	case SQL_QUERY:
		if (s->failed)
			return fail(s), false;
		s->state = SQL_ROWS;
		s->res = mysql_use_result(&s->my); /* NULL: a statement without rows, or an error */
		if (s->res)
			s->wait = mysql_fetch_row_start(&s->values, s->res);
		return true;
	case SQL_ROWS:
		if (mysql_errno(&s->my))
			return fail(s), false;
		if (s->values)
			return take_row(s);
		finish(s, NULL);
		return false;
	}
	return false;
}

/* The one function that moves the state. */
static void sql_step(struct sql *s, int events)
{
	if (s->state != SQL_IDLE)
		s->wait = step_cont(s, events);
	while (!s->wait)
		if (!advance(s))
			return;
	arm(s);
}

void sql_run(struct sql *s, const char *setup, const char *query, uint64_t timeout_ms, sql_row_fn row,
	     sql_done_fn done, void *arg)
{
	bug_if(sql_is_busy(s));
	free(s->setup);
	free(s->query);
	s->setup = xstrdup(setup);
	s->query = xstrdup(query);
	s->timeout_ms = timeout_ms;
	s->row = row;
	s->done = done;
	s->arg = arg;
	s->n_bytes = s->n_rows = 0;
	s->refused = NULL;
	s->kick = true;
	loop_timer_set(&s->timer, 0);
}
