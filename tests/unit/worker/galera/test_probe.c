// SPDX-License-Identifier: Apache-2.0
/* The second session's safety review, finding 1: the task's root can put a server of its own behind
 * mysqld.sock, and what it says must not cost the worker memory, its loop or a file. A thread plays it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/probe.h"

#define FLOOD_END (64u << 20) /* the server stops here: an old worker must not take the machine along */
#define NOT_MUCH (1u << 20)
#define LOCAL_SECRET "of the host"

enum script {
	SAY_STATUS,
	SAY_ROWS,     /* without end */
	SAY_COLUMNS,  /* without end, of a result of 2^32 columns */
	SAY_PROGRESS, /* without end, instead of an answer */
	SAY_LONG_ROW,
	SAY_THREE_COLUMNS,
	SAY_ONE_COLUMN,
	SAY_LOCAL_INFILE,
	SAY_CLEAR_PASSWORD, /* in the greeting */
};

struct fix {
	uv_loop_t loop;
	enum script script;
	char dir[64], path[96], file[96];
	int listener;
	pthread_t thread;
	struct probe *probe;
	size_t flooded;       /* bytes of the endless part that were taken */
	struct buf after;     /* what came after a LOCAL INFILE or a request for the password in clear */
	Gs__GaleraView *view; /* of the first poll that has an answer, or of the first at all */
};

/* ---- the server ---- */

static void packet(struct buf *out, int seq, const void *data, size_t n)
{
	const uint8_t head[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)seq};

	buf_append(out, head, 4);
	buf_append(out, data, n);
}

static bool send_all(int fd, const struct buf *b)
{
	for (size_t n = 0; n < b->len;) {
		ssize_t r = send(fd, b->data + n, b->len - n, MSG_NOSIGNAL);

		if (r <= 0)
			return false;
		n += (size_t)r;
	}
	return true;
}

static bool say(int fd, int seq, const void *data, size_t n)
{
	struct buf b = {0};
	bool ok;

	packet(&b, seq, data, n);
	ok = send_all(fd, &b);
	buf_fini(&b);
	return ok;
}

/* One packet of the client; its length, or -1. */
static int hear(int fd, uint8_t *ret, size_t n)
{
	uint8_t head[4];
	size_t len;

	if (recv(fd, head, 4, MSG_WAITALL) != 4)
		return -1;
	len = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
	if (len > n || recv(fd, ret, len, MSG_WAITALL) != (ssize_t)len)
		return -1;
	return (int)len;
}

static const uint8_t ok_packet[] = {0, 0, 0, 2, 0, 0, 0}, eof_packet[] = {0xfe, 0, 0, 2, 0};

/* Protocol version 10. */
static bool greet(int fd)
{
	static const char salt[] = "12345678", more[] = "abcdefghijkl", plugin[] = "mysql_native_password";
	/* protocol 4.1, secure connection, plugins, local files */
	const uint32_t can = 0x00000200u | 0x00008000u | 0x00080000u | 0x00000080u | 0x00000001u;
	uint8_t reply[1024];
	struct buf b = {0};
	bool ok;

	buf_append(&b,
		   "\x0a"
		   "10.11.0-MariaDB\0"
		   "\x01\0\0\0",
		   1 + 16 + 4);
	buf_append(&b, salt, 9);
	buf_append(&b, (uint8_t[]){(uint8_t)can, (uint8_t)(can >> 8), 33, 2, 0}, 5);
	buf_append(&b, (uint8_t[]){(uint8_t)(can >> 16), (uint8_t)(can >> 24), 21}, 3);
	buf_append(&b, (uint8_t[10]){0}, 10);
	buf_append(&b, more, 13);
	buf_append(&b, plugin, sizeof(plugin));
	ok = say(fd, 0, b.data, b.len) && hear(fd, reply, sizeof(reply)) > 0;
	buf_fini(&b);
	return ok;
}

static void column(struct buf *out, int seq, const char *name)
{
	struct buf b = {0};

	buf_append(&b,
		   "\x03"
		   "def\0\0\0",
		   7);
	buf_u8(&b, (uint8_t)strlen(name));
	buf_append(&b, name, strlen(name));
	buf_append(&b, "\0\x0c\x21\0\xff\0\0\0\xfd\0\0\0\0\0", 14);
	packet(out, seq, b.data, b.len);
	buf_fini(&b);
}

static int head(struct buf *out, int n_columns)
{
	int seq = 1;

	packet(out, seq++, (uint8_t[]){(uint8_t)n_columns}, 1);
	for (int i = 0; i < n_columns; i++)
		column(out, seq++, "c");
	packet(out, seq++, eof_packet, sizeof(eof_packet));
	return seq;
}

static void row(struct buf *out, int seq, int n, const char *const *values)
{
	struct buf b = {0};

	for (int i = 0; i < n; i++) {
		buf_u8(&b, (uint8_t)strlen(values[i]));
		buf_append(&b, values[i], strlen(values[i]));
	}
	packet(out, seq, b.data, b.len);
	buf_fini(&b);
}

/* The same packets again and again, numbered on. */
static void flood(struct fix *f, int fd, int seq, const void *data, size_t n)
{
	while (f->flooded < FLOOD_END) {
		struct buf b = {0};
		bool ok;

		for (int i = 0; i < 256; i++)
			packet(&b, seq++ & 0xff, data, n);
		ok = send_all(fd, &b);
		f->flooded += b.len;
		buf_fini(&b);
		if (!ok)
			return;
	}
}

static void listen_on(struct fix *f, int fd)
{
	uint8_t got[256];
	ssize_t n;

	while ((n = recv(fd, got, sizeof(got), 0)) > 0)
		buf_append(&f->after, got, (size_t)n);
}

static void answer_table(struct fix *f, int fd)
{
	static const char *const wide[] = {"wsrep_cluster_status", "Primary", "wsrep_ready"};
	static const char *const status[][2] = {{"wsrep_cluster_status", "Primary"},
						{"wsrep_local_state", "4"}};
	int n = f->script == SAY_ONE_COLUMN ? 1 : f->script == SAY_THREE_COLUMNS ? 3 : 2, seq;
	struct buf b = {0};

	seq = head(&b, n);
	if (n == 2) {
		row(&b, seq++, 2, status[0]);
		row(&b, seq++, 2, status[1]);
	} else {
		row(&b, seq++, n, wide);
	}
	if (f->script == SAY_LONG_ROW) {
		char *text = xcalloc(1, 200000);

		memset(text, 'a', 200000);
		memcpy(text, "\xfd\x3c\x0d\x03", 4); /* a value of 199996 bytes */
		packet(&b, seq++, text, 200000);
		free(text);
	}
	packet(&b, seq, eof_packet, sizeof(eof_packet));
	send_all(fd, &b);
	buf_fini(&b);
}

static void answer(struct fix *f, int fd)
{
	static const uint8_t a_row[] = "\x14wsrep_cluster_status\x07Primary";
	static const uint8_t progress[] = "\xff\xff\xff\x01\x01\x02\x64\0\0\x04work";
	static const uint8_t columns[] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
	struct buf b = {0};
	int seq;

	if (f->script == SAY_ROWS) {
		seq = head(&b, 2);
		send_all(fd, &b);
		flood(f, fd, seq, a_row, sizeof(a_row) - 1);
	} else if (f->script == SAY_COLUMNS) {
		column(&b, 0, "c");
		say(fd, 1, columns, sizeof(columns));
		flood(f, fd, 2, b.data + 4, b.len - 4);
	} else if (f->script == SAY_PROGRESS) {
		flood(f, fd, 1, progress, sizeof(progress) - 1);
	} else if (f->script == SAY_LOCAL_INFILE) {
		buf_u8(&b, 0xfb);
		buf_append(&b, f->file, strlen(f->file));
		say(fd, 1, b.data, b.len);
		listen_on(f, fd);
	} else {
		answer_table(f, fd);
	}
	buf_fini(&b);
}

static void serve(struct fix *f, int fd)
{
	static const char clear[] = "\xfemysql_clear_password\0";
	uint8_t got[1024];
	int n;

	if (!greet(fd))
		return;
	if (f->script == SAY_CLEAR_PASSWORD) {
		say(fd, 2, clear, sizeof(clear));
		listen_on(f, fd);
		return;
	}
	say(fd, 2, ok_packet, sizeof(ok_packet));
	while ((n = hear(fd, got, sizeof(got))) > 0 && got[0] == 3) {
		if (memcmp(got + 1, "SET", 3) == 0)
			say(fd, 1, ok_packet, sizeof(ok_packet));
		else
			answer(f, fd);
	}
}

static void *server(void *arg)
{
	struct fix *f = arg;
	int fd;

	while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
		serve(f, fd);
		close(fd);
	}
	return NULL;
}

/* ---- the worker ---- */

static void on_poll(Gs__GaleraView *view, bool stalled, void *arg)
{
	struct fix *f = arg;

	f->view = obj_dup(view);
	probe_free(f->probe);
	f->probe = NULL;
}

/* One poll of a server that does as the script says. */
static void poll_once(struct fix *f, enum script script)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct probe_config config = {.socket_path = f->path,
				      .user = "gs_health",
				      .password = "very secret",
				      .on_poll = on_poll,
				      .arg = f};

	f->script = script;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, server, f), 0);
	f->probe = probe_new(&f->loop, &config);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	shutdown(f->listener, SHUT_RDWR);
	pthread_join(f->thread, NULL);
	close(f->listener);
	assert_non_null(f->view);
}

static int set_up(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));

	*state = f;
	uv_loop_init(&f->loop);
	snprintf(f->dir, sizeof(f->dir), "/tmp/gsw-probe-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/mysqld.sock", f->dir);
	snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
	alarm(30);
	return fs_write(f->file, LOCAL_SECRET, strlen(LOCAL_SECRET), 0600, NULL);
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	alarm(0);
	obj_free(f->view);
	buf_fini(&f->after);
	fs_remove_all(f->dir, NULL);
	uv_loop_close(&f->loop);
	free(f);
	return 0;
}

static bool was_told(const struct fix *f, const char *what)
{
	return f->after.len && memmem(f->after.data, f->after.len, what, strlen(what));
}

static void status_is_read(void **state)
{
	struct fix *f = *state;

	poll_once(f, SAY_STATUS);
	assert_true(f->view->sql_open);
	assert_string_equal(f->view->status, "Primary");
	assert_int_equal(f->view->local_state, 4);
}

static void endless(struct fix *f, enum script script)
{
	poll_once(f, script);
	assert_false(f->view->sql_open);
	assert_string_equal(f->view->status, "");
	assert_true(f->flooded < NOT_MUCH);
}

static void s1_rows_without_end(void **state)
{
	endless(*state, SAY_ROWS);
}

static void s1_columns_without_end(void **state)
{
	endless(*state, SAY_COLUMNS);
}

static void s1_progress_without_end(void **state)
{
	endless(*state, SAY_PROGRESS);
}

static void s1_row_longer_than_a_packet(void **state)
{
	struct fix *f = *state;

	poll_once(f, SAY_LONG_ROW);
	assert_false(f->view->sql_open);
}

static void s1_table_of_another_shape(void **state)
{
	struct fix *f = *state;

	poll_once(f, SAY_ONE_COLUMN);
	assert_string_equal(f->view->status, "");
	obj_free(f->view);
	f->view = NULL;
	unlink(f->path);
	poll_once(f, SAY_THREE_COLUMNS);
	assert_string_equal(f->view->status, "");
}

static void s1_no_file_is_sent(void **state)
{
	struct fix *f = *state;

	poll_once(f, SAY_LOCAL_INFILE);
	assert_false(f->view->sql_open);
	assert_false(was_told(f, LOCAL_SECRET));
}

static void s1_no_password_in_clear(void **state)
{
	struct fix *f = *state;

	poll_once(f, SAY_CLEAR_PASSWORD);
	assert_false(f->view->sql_open);
	assert_false(was_told(f, "very secret"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(status_is_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_rows_without_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_columns_without_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_progress_without_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_row_longer_than_a_packet, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_table_of_another_shape, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_no_file_is_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(s1_no_password_in_clear, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
