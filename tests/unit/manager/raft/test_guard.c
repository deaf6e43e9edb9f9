// SPDX-License-Identifier: Apache-2.0
/* The layer between libraft and its disk, over a disk that a test makes fail: its n-th operation, for n = 1, 2
 * ... until a run meets none; one that never finishes a write; an allocator that gives nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "manager/raft/guard.h"

struct disk {
	struct raft_guard guard;
	uv_loop_t loop;
	int operations, fail_at;
	enum { MET_NONE, MET_TERM, MET_VOTE, MET_APPEND, MET_APPENDED, MET_PUT, MET_PUT_DONE, MET_LOAD } met;
	struct raft_io_append *appends[2];
	raft_io_append_cb on_append;
	struct raft_io_snapshot_put *put;
	raft_io_snapshot_put_cb on_put;
	int n_appends, answers, bad_answers, fatals;
	struct err fatal;
	int received;
	raft_io_recv_cb deliver; /* what libraft's disk would call for a message */
	bool closed;
};

static struct disk *disk_of(struct raft_io *io)
{
	return io->impl;
}

static int operation(struct disk *d, int which)
{
	if (++d->operations != d->fail_at)
		return 0;
	d->met = which;
	return RAFT_IOERR;
}

static int disk_set_term(struct raft_io *io, raft_term term)
{
	assert_int_equal(term, 7);
	return operation(disk_of(io), MET_TERM);
}

static int disk_set_vote(struct raft_io *io, raft_id id)
{
	assert_int_equal(id, 3);
	return operation(disk_of(io), MET_VOTE);
}

static int disk_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
		       unsigned n, raft_io_append_cb cb)
{
	struct disk *d = disk_of(io);
	int rc = operation(d, MET_APPEND);

	if (rc)
		return rc;
	d->on_append = cb;
	d->appends[d->n_appends++] = req;
	return 0;
}

static int disk_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
		    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
	struct disk *d = disk_of(io);
	int rc = operation(d, MET_PUT);

	if (rc)
		return rc;
	d->put = req;
	d->on_put = cb;
	return 0;
}

/* Two batches as libraft reads them: segments with a little in front and much behind. */
static int disk_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
		     raft_index *start, struct raft_entry *entries[], size_t *n)
{
	int rc = operation(disk_of(io), MET_LOAD);

	if (rc)
		return rc;
	*entries = raft_calloc(3, sizeof(**entries));
	*n = 3;
	for (int i = 0; i < 3; i++) {
		if (i != 1)
			(*entries)[i].batch = raft_calloc(1, 65536);
		else
			(*entries)[i].batch = (*entries)[0].batch;
		(*entries)[i].buf.base = (uint8_t *)(*entries)[i].batch + 4096 * (i + 1);
		(*entries)[i].buf.len = 8;
		memset((*entries)[i].buf.base, 'a' + i, 8);
	}
	return 0;
}

static int disk_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
	disk_of(io)->deliver = recv;
	return 0;
}

static void on_fatal(void *arg, const struct err *e)
{
	struct disk *d = arg;

	d->fatals++;
	d->fatal = *e;
}

static void on_recv(struct raft_io *io, struct raft_message *m)
{
	disk_of(io)->received++;
}

static struct disk *disk_new(int fail_at, unsigned watchdog_ms)
{
	struct disk *d = xcalloc(1, sizeof(*d));

	uv_loop_init(&d->loop);
	d->fail_at = fail_at;
	d->guard.io = (struct raft_io){.impl = d,
				       .set_term = disk_set_term,
				       .set_vote = disk_set_vote,
				       .append = disk_append,
				       .snapshot_put = disk_put,
				       .load = disk_load,
				       .start = disk_start};
	raft_guard_wrap(&d->guard, &d->loop, "/var/lib/x/raft", watchdog_ms, on_fatal, d);
	d->guard.io.start(&d->guard.io, 100, NULL, on_recv);
	return d;
}

static void on_closed(void *arg)
{
	struct raft_guard *g = arg;

	container_of(g, struct disk, guard)->closed = true;
}

static void disk_free(struct disk *d)
{
	raft_guard_closing(&d->guard);
	raft_guard_close(&d->guard, on_closed);
	uv_run(&d->loop, UV_RUN_DEFAULT);
	assert_true(d->closed);
	assert_int_equal(uv_loop_close(&d->loop), 0);
	free(d);
}

static void appended(struct raft_io_append *req, int status)
{
	struct disk *d = req->data;

	d->answers++;
	d->bad_answers += status != 0;
}

static void put_done(struct raft_io_snapshot_put *req, int status)
{
	struct disk *d = req->data;

	d->answers++;
	d->bad_answers += status != 0;
}

/* As raft does it: what was refused at once is not answered later. */
static void run_writes(struct disk *d)
{
	struct raft_io *io = &d->guard.io;
	struct raft_io_append first = {.data = d}, second = {.data = d};
	struct raft_io_snapshot_put put = {.data = d};
	struct raft_snapshot snapshot = {0};
	struct raft_entry entry = {0};

	io->set_term(io, 7);
	io->set_vote(io, 3);
	d->answers += io->append(io, &first, &entry, 1, appended) != 0;
	d->answers += io->append(io, &second, &entry, 1, appended) != 0;
	for (int i = 0; i < d->n_appends; i++)
		d->on_append(d->appends[i], operation(d, MET_APPENDED));
	d->answers += io->snapshot_put(io, 10, &put, &snapshot, put_done) != 0;
	if (d->put)
		d->on_put(d->put, operation(d, MET_PUT_DONE));
	assert_int_equal(d->answers, 3);
}

static void run_load(struct disk *d)
{
	struct raft_snapshot *snapshot = NULL;
	struct raft_entry *entries = NULL;
	raft_index start = 1;
	raft_term term;
	raft_id vote;
	size_t n = 0;
	int rc = d->guard.io.load(&d->guard.io, &term, &vote, &snapshot, &start, &entries, &n);

	assert_int_equal(rc, d->met == MET_LOAD ? RAFT_IOERR : 0);
	assert_int_equal(n, rc ? 0 : 3);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(entries[i].buf.len, 8);
		for (int k = 0; k < 8; k++)
			assert_int_equal(((char *)entries[i].buf.base)[k], 'a' + (int)i);
	}
	if (n) {
		assert_ptr_equal(entries[0].batch, entries[1].batch);
		raft_free(entries[0].batch);
		raft_free(entries[2].batch);
	}
	raft_free(entries);
}

static void test_nth_operation_fails(void **state)
{
	bool promised[] = {[MET_TERM] = true,
			   [MET_VOTE] = true,
			   [MET_APPEND] = true,
			   [MET_APPENDED] = true,
			   [MET_LOAD] = false};
	int n = 0, met;

	do {
		struct disk *d = disk_new(++n, 3000);

		run_writes(d);
		run_load(d);
		met = d->met;
		/* what was promised and cannot be kept ends the process; a snapshot can be written later */
		assert_int_equal(d->fatals, promised[met]);
		if (d->fatals)
			assert_non_null(strstr(d->fatal.msg, "/var/lib/x/raft"));
		assert_int_equal(d->bad_answers, met == MET_APPENDED || met == MET_PUT_DONE);
		assert_int_equal(d->guard.appends, 0);
		assert_false(d->guard.putting);
		disk_free(d);
	} while (met != MET_NONE);
	assert_int_equal(n, 9 + 1);
}

static void test_errors_while_closing_are_no_faults(void **state)
{
	for (int n = 1; n <= 8; n++) {
		struct disk *d = disk_new(n, 3000);

		raft_guard_closing(&d->guard);
		run_writes(d);
		assert_int_equal(d->fatals, 0);
		disk_free(d);
	}
}

static void test_write_that_never_ends(void **state)
{
	struct disk *d = disk_new(0, 500);
	struct raft_io_append req = {.data = d};
	struct raft_entry entry = {0};

	d->guard.io.append(&d->guard.io, &req, &entry, 1, appended);
	while (!d->fatals)
		uv_run(&d->loop, UV_RUN_ONCE);
	assert_non_null(strstr(d->fatal.msg, "no write to /var/lib/x/raft has finished for 500 ms"));
	d->on_append(d->appends[0], 0);
	disk_free(d);
}

/* libraft would follow a NULL pointer; the leader sends it again. */
static void test_install_while_a_snapshot_is_written(void **state)
{
	struct disk *d = disk_new(0, 3000);
	struct raft_io_snapshot_put put = {.data = d};
	struct raft_snapshot snapshot = {0};
	struct raft_message m = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = 5};

	d->guard.io.snapshot_put(&d->guard.io, 10, &put, &snapshot, put_done);
	m.install_snapshot.data.base = raft_malloc(8);
	raft_configuration_init(&m.install_snapshot.conf);
	d->deliver(&d->guard.io, &m);
	assert_int_equal(d->guard.dropped, 1);
	assert_int_equal(d->received, 0);
	d->on_put(d->put, 0);
	m.type = RAFT_REQUEST_VOTE;
	d->deliver(&d->guard.io, &m);
	assert_int_equal(d->received, 1);
	assert_int_equal(d->guard.peers[0].id, 5);
	disk_free(d);
}

/* ---- no memory for a smaller copy: the entries stay where they were read ---- */

static const struct raft_heap *real_heap;
static int allocations, allocation_fails_at;

static void *heap_malloc(void *data, size_t size)
{
	if (++allocations == allocation_fails_at)
		return NULL;
	return real_heap->malloc(real_heap->data, size);
}

static void heap_free(void *data, void *p)
{
	real_heap->free(real_heap->data, p);
}

static void *heap_calloc(void *data, size_t n, size_t size)
{
	return real_heap->calloc(real_heap->data, n, size);
}

static void test_nth_allocation_fails(void **state)
{
	struct raft_heap heap;

	real_heap = raft_heap_get();
	heap = *real_heap;
	heap.malloc = heap_malloc;
	heap.free = heap_free;
	heap.calloc = heap_calloc;
	allocation_fails_at = 0;
	do {
		struct disk *d = disk_new(0, 3000);

		allocations = 0;
		allocation_fails_at++;
		raft_heap_set(&heap);
		run_load(d);
		raft_heap_set_default();
		disk_free(d);
	} while (allocations >= allocation_fails_at);
	assert_int_equal(allocation_fails_at, 3); /* one for each batch, then none was met */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nth_operation_fails),
		cmocka_unit_test(test_errors_while_closing_are_no_faults),
		cmocka_unit_test(test_write_that_never_ends),
		cmocka_unit_test(test_install_while_a_snapshot_is_written),
		cmocka_unit_test(test_nth_allocation_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
