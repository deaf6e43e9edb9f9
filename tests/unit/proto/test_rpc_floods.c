// SPDX-License-Identifier: Apache-2.0
/* Many at once, or much of one: strangers from one address and from many, and callers that ask for more than they read
 * or than a turn of the loop has time for. The others are served as ever. */
#include "tests/unit/proto/rpc_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "proto/rpc/admit.h"
#include "proto/rpc/conn.h"
#include "proto/schema/peer.pb-c.h"

/* ---- strangers ---- */

static void descriptors(unsigned n)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur < n)
		r.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
}

/* 127.<net>.x.y: a source of its own, as the server sees it. */
static void source_text(unsigned net, unsigned i, char ret[16])
{
	snprintf(ret, 16, "127.%u.%u.%u", net, i / 250, i % 250 + 1);
}

/* Connects without waiting for the server: it may be in no hurry to accept. */
static int raw_from(struct fixture *f, const char *source)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(source)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_true(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
	return fd;
}

static unsigned count_closed(const int *fds, unsigned n)
{
	unsigned closed = 0;

	for (unsigned i = 0; i < n; i++)
		closed += is_closed(fds[i]);
	return closed;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static void served_from(struct fixture *f, const char *source)
{
	struct client c;

	client_from(f, &c, source);
	ping_is_answered(&c);
	client_close(&c);
}

/* FINDINGS P1, D1: one address gets its share and no more, and who was there before it keeps his place. A libuv
 * from 1.45 on accepts one connection a round of the loop, so the test must not count rounds. */
static void test_p1_flood_from_one_address(void **state)
{
	enum { N = 540 };
	struct fixture *f = *state;
	int fds[N], first = raw_from(f, "127.0.7.1");

	descriptors(4096);
	run_for(f, 30);
	for (int i = 0; i < N; i++)
		fds[i] = raw_from(f, "127.0.0.1");
	wait_for(f, count_closed(fds, N) == N - 32);
	served_from(f, "127.0.7.2");
	assert_false(is_closed(first));
	close(first);
	close_all(fds, N);
}

/* FINDINGS P1: from many addresses; all places are taken by those who never speak. */
static void test_p1_flood_of_the_silent(void **state)
{
	enum { N = 700 };
	struct fixture *f = *state;
	int fds[N];
	char source[16];

	descriptors(4096);
	for (unsigned i = 0; i < N; i++) {
		source_text(7, i, source);
		fds[i] = raw_from(f, source);
	}
	served_from(f, "127.0.9.9");
	close_all(fds, N);
}

/* The begin of a TLS record. Waits for the kernel, which has a queue for those that are not accepted. */
static void says_something(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(send(fd, "\x16\x03\x01", 3, MSG_NOSIGNAL), 3);
}

/* On a slow manager the workers of a failover were driven out as silent, with their words unread in their sockets. */
static void test_p1_unread_words_are_no_silence(void **state)
{
	enum { N = STRANGERS_MAX + 40 };
	struct fixture *f = *state;
	int fds[N];
	char source[16];

	descriptors(4096);
	for (unsigned i = 0; i < N; i++) {
		source_text(6, i, source);
		fds[i] = raw_from(f, source);
		says_something(fds[i]);
	}
	uv_run(&f->loop, UV_RUN_ONCE); /* as many are accepted as there are places; nothing was read yet */
	usleep(1200 * 1000);           /* the whole process stands still: a span of time is what is tested */
	run_for(f, 200);
	assert_int_equal(count_closed(fds, N), 0);
	close_all(fds, N);
}

static unsigned count_open(const struct client *c, unsigned n)
{
	unsigned open = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_false(c[i].closed);
		open += c[i].is_open;
	}
	return open;
}

/* FINDINGS P1: after a failover all workers come at once; none drives another out. */
static void test_p1_failover_of_many_workers(void **state)
{
	enum { N = 1000 };
	struct fixture *f = *state;
	struct client *c = xcalloc(N, sizeof(*c));
	char source[16];

	descriptors(4096);
	for (unsigned i = 0; i < N; i++) {
		source_text(8, i, source);
		client_from(f, &c[i], source);
	}
	wait_for(f, count_open(c, N) == N);
	assert_int_equal(f->conns, N);
	for (unsigned i = 0; i < N; i++)
		client_close(&c[i]);
	free(c);
}

/* Fresh review of security, 8: strangers that said Hello, one from each of 512 addresses, kept all places for a minute. */
static void test_S8_places_go_round(void **state)
{
	enum { N = 512 };
	struct fixture *f = *state;
	struct client *c = xcalloc(N + 1, sizeof(*c)), *late = &c[N];
	struct tls_identity *joining;
	unsigned closed = 0;
	struct err e = {0};
	char source[16];

	descriptors(4096);
	assert_int_equal(tls_identity_new_pinned(f->pki.digest, &joining, &e), 0);
	for (unsigned i = 0; i < N; i++) {
		source_text(10, i, source);
		client_from_as(f, &c[i], source, joining);
	}
	wait_for(f, count_open(c, N) == N);
	client_from(f, late, "127.0.9.9");
	wait_for(f, late->is_open);
	ping_is_answered(late);
	for (unsigned i = 0; i < N; i++)
		closed += c[i].closed;
	assert_int_equal(closed, 1);
	for (unsigned i = 0; i <= N; i++)
		client_close(&c[i]);
	tls_identity_unref(joining);
	free(c);
}

/* ---- callers that may call ---- */

/* As much as the socket takes. */
static void write_some(int fd, struct buf *b)
{
	ssize_t n = send(fd, b->data, b->len, MSG_NOSIGNAL);

	if (n > 0)
		buf_consume(b, (size_t)n);
}

static size_t read_some(int fd)
{
	static char buf[1 << 18];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	assert_int_not_equal(n, 0);
	return n > 0 ? (size_t)n : 0;
}

static void pings_append(struct buf *b, unsigned n, char *text)
{
	Gs__PingRequest m = GS__PING_REQUEST__INIT;

	hello_append(b, RPC_PROTOCOL_MAX);
	m.from_node = text;
	for (unsigned i = 0; i < n; i++)
		frame_append(b, FRAME_REQUEST, 2 * i + 1, RPC_PEER, PEER_PING, &m.base);
}

/* Fresh review of security, 2: who does not read was heard on and on, until 16 MiB of answers were queued and it was
 * closed. Now it is not heard any more, and goes on when it reads. */
static void test_S2_who_does_not_read_is_not_read(void **state)
{
	enum { N = 500, SIZE = 60000 };
	struct fixture *f = *state;
	cleanup_free char *text = xcalloc(1, SIZE + 1);
	struct buf b = {0};
	size_t got = 0;
	unsigned before;
	int fd = raw_unix(f);

	f->local_role = ROLE_BIT_WORKER;
	memset(text, 'x', SIZE);
	pings_append(&b, N, text);
	do {
		before = f->pings;
		write_some(fd, &b);
		run_for(f, 100);
	} while (f->pings != before || !f->pings);
	assert_int_equal(f->conns, 1);
	assert_in_range(f->pings, CONN_QUEUE_HIGH / SIZE,
			CONN_QUEUE_PAUSE / SIZE + 20); /* and what the kernel has */
	for (uint64_t until = uv_hrtime() + PATIENCE_MS * 1000000ull;
	     got < (size_t)N * SIZE && loop_turn(f, until);) {
		write_some(fd, &b);
		got += read_some(fd);
	}
	assert_int_equal(f->pings, N);
	assert_in_range(got, (size_t)N * SIZE, (size_t)N * (SIZE + 100));
	buf_fini(&b);
	close(fd);
	wait_for(f, f->conns == 0);
}

struct turns {
	uv_prepare_t each;
	struct fixture *f;
	unsigned before, most;
};

static void on_turn(uv_prepare_t *p)
{
	struct turns *t = p->data;

	if (t->f->pings - t->before > t->most)
		t->most = t->f->pings - t->before;
	t->before = t->f->pings;
}

/* Fresh review of security, 3: all that one connection had sent, a megabyte of requests, was served before anybody else's
 * turn came. */
static void test_S3_a_turn_hears_so_much_of_one(void **state)
{
	enum { N = 3000 };
	struct fixture *f = *state;
	struct turns t = {.f = f};
	struct buf b = {0};
	int fd = raw_unix(f);

	f->local_role = ROLE_BIT_WORKER;
	pings_append(&b, N, "x");
	uv_prepare_init(&f->loop, &t.each);
	t.each.data = &t;
	uv_prepare_start(&t.each, on_turn);
	for (uint64_t until = uv_hrtime() + PATIENCE_MS * 1000000ull; f->pings < N && loop_turn(f, until);) {
		write_some(fd, &b);
		read_some(fd);
	}
	assert_int_equal(f->pings, N);
	assert_in_range(t.most, 1, 2 * CONN_TURN_FRAMES); /* a rest and a read may meet */
	uv_close((uv_handle_t *)&t.each, NULL);
	buf_fini(&b);
	close(fd);
	wait_for(f, f->conns == 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_p1_flood_from_one_address),
		T(test_p1_flood_of_the_silent),
		T(test_p1_unread_words_are_no_silence),
		T(test_p1_failover_of_many_workers),
		T(test_S8_places_go_round),
		T(test_S2_who_does_not_read_is_not_read),
		T(test_S3_a_turn_hears_so_much_of_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
