// SPDX-License-Identifier: Apache-2.0
/* The libraft engine on real directories: propose, restart, snapshots, kill -9, damage, a full disk. The
 * state machine is a set of numbers that remembers how often each one came. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "manager/raft/internal.h"

#define NUMBERS 200000u
#define REFUSED 77u /* apply answers E_EXISTS for it */

struct rig {
	uv_loop_t loop;
	struct consensus *c;
	char *dir;
	unsigned threshold, watchdog_ms;
	uint8_t count[NUMBERS];
	uint32_t highest;
	unsigned snapshots, restores;
	bool leads, closed;
	struct err fatal, answer;
	int restore_says; /* 0, or why the snapshot is not taken */
	int answers, pending;
	size_t pad; /* extra bytes in each command */
};

static int rig_apply(void *arg, uint64_t index, const uint8_t *data, size_t len, struct err *e)
{
	struct rig *r = arg;
	uint32_t n;

	if (len < sizeof(n))
		return err_set(e, E_CORRUPT, "short");
	memcpy(&n, data, sizeof(n));
	if (n >= NUMBERS)
		return err_set(e, E_CORRUPT, "number %u", n);
	if (n == REFUSED)
		return err_set(e, E_EXISTS, "refused by the state machine");
	r->count[n]++;
	if (n > r->highest)
		r->highest = n;
	return 0;
}

static void rig_snapshot(void *arg, uint8_t **ret_data, size_t *ret_len)
{
	struct rig *r = arg;

	*ret_len = sizeof(r->highest) + r->highest + 1;
	*ret_data = xmalloc(*ret_len);
	memcpy(*ret_data, &r->highest, sizeof(r->highest));
	memcpy(*ret_data + sizeof(r->highest), r->count, r->highest + 1);
	r->snapshots++;
}

static int rig_restore(void *arg, const uint8_t *data, size_t len, struct err *e)
{
	struct rig *r = arg;

	if (r->restore_says != 0)
		return err_set(e, r->restore_says, "snapshot: not taken");
	memset(r->count, 0, sizeof(r->count));
	memcpy(&r->highest, data, sizeof(r->highest));
	if (len != sizeof(r->highest) + r->highest + 1)
		return err_set(e, E_CORRUPT, "snapshot of %zu bytes", len);
	memcpy(r->count, data + sizeof(r->highest), r->highest + 1);
	r->restores++;
	return 0;
}

static void rig_on_leader(void *arg, bool leads)
{
	((struct rig *)arg)->leads = leads;
}

static void rig_fatal(void *arg, const struct err *e)
{
	struct rig *r = arg;

	if (r->fatal.code == 0)
		r->fatal = *e;
}

static int rig_open(struct rig *r, struct err *e)
{
	struct raft_engine_config config = {
		.loop = &r->loop,
		.dir = r->dir,
		.fsm = {rig_apply, rig_snapshot, rig_restore, rig_on_leader, r},
		.snapshot_threshold = r->threshold,
		.trailing = r->threshold / 2,
		.watchdog_ms = r->watchdog_ms,
		.fatal = rig_fatal,
		.fatal_arg = r,
	};

	r->leads = r->closed = false;
	r->highest = 0;
	memset(r->count, 0, sizeof(r->count));
	return raft_engine_new(&config, &r->c, e);
}

static void rig_closed(void *arg)
{
	((struct rig *)arg)->closed = true;
}

static void rig_shut(struct rig *r)
{
	r->c->ops->close(r->c, rig_closed, r);
	while (!r->closed)
		uv_run(&r->loop, UV_RUN_ONCE);
	raft_engine_free(r->c);
	r->c = NULL;
}

static void rig_lead(struct rig *r)
{
	while (!r->leads && r->fatal.code == 0)
		uv_run(&r->loop, UV_RUN_ONCE);
}

static void rig_drain(struct rig *r)
{
	while (uv_run(&r->loop, UV_RUN_NOWAIT) && r->pending > 0 && r->fatal.code == 0)
		;
}

static struct rig *rig_new(const char *dir)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	struct err e = {0};
	bool exists;

	uv_loop_init(&r->loop);
	r->dir = xasprintf("%s/raft", dir);
	r->threshold = 1000;
	r->watchdog_ms = 60000; /* a busy disk may be slow, and is none of these tests' matter */
	if (raft_engine_look(r->dir, &exists, &e) || (!exists && raft_engine_bootstrap(&r->loop, r->dir, &e)))
		fail_msg("%s", e.msg);
	return r;
}

static void rig_free(struct rig *r)
{
	if (r->c)
		rig_shut(r);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	free(r->dir);
	free(r);
}

static void on_answer(void *arg, const struct err *e)
{
	struct rig *r = arg;

	r->pending--;
	r->answers++;
	r->answer = *e;
}

static int rig_put(struct rig *r, uint32_t n)
{
	cleanup_free uint8_t *data = xcalloc(1, sizeof(n) + r->pad);
	int rc;

	memcpy(data, &n, sizeof(n));
	rc = r->c->ops->propose(r->c, data, sizeof(n) + r->pad, on_answer, r);
	r->pending += rc == 0;
	return rc;
}

static int rig_put_wait(struct rig *r, uint32_t n)
{
	int rc = rig_put(r, n);

	while (rc == 0 && r->pending > 0 && r->fatal.code == 0)
		uv_run(&r->loop, UV_RUN_ONCE);
	return rc ? rc : r->answer.code;
}

static int setup(void **state)
{
	char dir[] = "/tmp/gs-raft-XXXXXX";

	assert_non_null(mkdtemp(dir));
	*state = xstrdup(dir);
	return 0;
}

static int teardown(void **state)
{
	umount2(*state, MNT_DETACH);
	fs_remove_all(*state, NULL);
	free(*state);
	return 0;
}

/* ---- tests ---- */

static void test_states(void **state)
{
	assert_null(sm_kind_fault(&engine_kind, ENGINE_FOLLOWER));
}

static void test_propose_and_restart(void **state)
{
	struct rig *r = rig_new(*state);
	struct err e = {0};

	assert_int_equal(rig_open(r, &e), 0);
	assert_int_equal(rig_put(r, 1), E_NOT_LEADER); /* the barrier has not passed */
	rig_lead(r);
	assert_true(r->c->ops->is_leader(r->c));
	r->pad = 3; /* lengths that are no multiple of 8 must survive */
	for (uint32_t i = 1; i <= 40; i++)
		assert_int_equal(rig_put_wait(r, i), 0);
	assert_int_equal(rig_put_wait(r, REFUSED), E_EXISTS);
	assert_string_equal(r->answer.msg, "refused by the state machine");
	rig_shut(r);
	assert_int_equal(rig_open(r, &e), 0);
	/* A lone voter waits for no election. */
	assert_int_equal(raft_state(&engine_of(r->c)->in->raft), RAFT_LEADER);
	rig_lead(r);
	for (uint32_t i = 1; i <= 40; i++)
		assert_int_equal(r->count[i], 1);
	assert_int_equal(r->c->ops->last_applied(r->c) > 40, 1);
	rig_free(r);
}

/* FINDINGS M6: what is more than libraft takes at once waits its turn, in order. */
static void test_m6_many_wait_their_turn(void **state)
{
	struct rig *r = rig_new(*state);

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 100; i < 1100; i++)
		assert_int_equal(rig_put(r, i), 0);
	r->pending++;
	assert_int_equal(r->c->ops->barrier(r->c, on_answer, r), 0);
	assert_int_equal(r->answers, 0); /* never from inside propose */
	rig_drain(r);
	assert_int_equal(r->answers, 1001);
	assert_int_equal(r->answer.code, 0);
	for (uint32_t i = 100; i < 1100; i++)
		assert_int_equal(r->count[i], 1);
	rig_free(r);
}

static void test_m6_close_answers_all(void **state)
{
	struct rig *r = rig_new(*state);

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 100; i < 400; i++)
		assert_int_equal(rig_put(r, i), 0);
	rig_shut(r);
	assert_int_equal(r->answers, 300);
	assert_int_equal(r->pending, 0);
	assert_int_equal(r->answer.code, E_CLOSED);
	assert_non_null(strstr(r->answer.msg, "nothing was changed"));
	rig_free(r);
}

static void test_m6_bounded(void **state)
{
	struct rig *r = rig_new(*state);
	int accepted = 0;

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (; r->c->ops->has_room(r->c); accepted++)
		assert_int_equal(rig_put(r, 1), 0);
	assert_int_equal(accepted, 64 + CONSENSUS_WAITING_MAX);
	assert_int_equal(r->c->ops->barrier(r->c, on_answer, r), E_LIMIT);
	rig_drain(r);
	assert_int_equal(r->answers, accepted);
	assert_true(r->c->ops->has_room(r->c));
	rig_free(r);
}

static void deferred(void *arg)
{
	++*(int *)arg;
}

static void test_defer_and_barrier(void **state)
{
	struct rig *r = rig_new(*state);
	int n = 0;

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	r->c->ops->defer(r->c, deferred, &n);
	assert_int_equal(n, 0);
	uv_run(&r->loop, UV_RUN_NOWAIT);
	assert_int_equal(n, 1);
	assert_int_equal(rig_put(r, 5), 0);
	r->pending++;
	assert_int_equal(r->c->ops->barrier(r->c, on_answer, r), 0);
	rig_drain(r);
	assert_int_equal(r->answers, 2);
	assert_int_equal(r->count[5], 1);
	r->c->ops->defer(r->c, deferred, &n);
	rig_free(r);
	assert_int_equal(n, 2); /* run before the engine is gone */
}

static void test_snapshots(void **state)
{
	struct rig *r = rig_new(*state);

	r->threshold = 50;
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 100; i < 700; i++)
		assert_int_equal(rig_put_wait(r, i), 0);
	assert_true(r->snapshots >= 2);
	rig_shut(r);
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(r->restores, 1);
	for (uint32_t i = 100; i < 700; i++)
		assert_int_equal(r->count[i], 1);
	rig_free(r);
}

/* The third session's safety review, 3: a snapshot of a newer version was called damage, and the mark that this left
 * kept out the newer version, too. */
static void test_snapshot_of_a_newer_version(void **state)
{
	struct rig *r = rig_new(*state);
	struct err e = {0};

	r->threshold = 50;
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 100; i < 300; i++)
		assert_int_equal(rig_put_wait(r, i), 0);
	assert_true(r->snapshots >= 1);
	rig_shut(r);
	r->restore_says = E_PROTOCOL;
	assert_true(rig_open(r, &e) < 0);
	assert_int_equal(r->fatal.code, E_PROTOCOL);
	err_clear(&r->fatal);
	err_clear(&e);
	r->restore_says = 0; /* the newer version again */
	if (rig_open(r, &e) < 0)
		fail_msg("%s", e.msg);
	rig_lead(r);
	assert_int_equal(r->count[299], 1);
	rig_shut(r);
	r->restore_says = E_CORRUPT;
	assert_true(rig_open(r, &e) < 0);
	err_clear(&r->fatal);
	err_clear(&e);
	r->restore_says = 0;
	assert_int_equal(rig_open(r, &e), E_CORRUPT); /* damage is told until the folder is restored */
	rig_free(r);
}

/* A log that ends below what was applied, and an entry of a foreign index. */
static void test_lost_entries_are_refused(void **state)
{
	struct rig *r = rig_new(*state);
	cleanup_free char *mark = xasprintf("%s/highwater", r->dir);
	struct err e = {0};

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(rig_put_wait(r, 1), 0);
	rig_shut(r);
	assert_int_equal(fs_write(mark, "500\n", 4, 0600, NULL), 0);
	assert_int_equal(rig_open(r, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "500"));
	rig_free(r);
}

/* FINDINGS M4: only a folder that is not there, or is empty, is no log. */
static void test_m4_log_without_id(void **state)
{
	struct rig *r = rig_new(*state);
	cleanup_free char *id = xasprintf("%s/id", r->dir), *kept = xasprintf("%s/id.kept", r->dir);
	cleanup_free char *under = xasprintf("%s/below", id);
	struct err e = {0};
	bool exists;

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(rig_put_wait(r, 1), 0);
	rig_shut(r);
	assert_int_equal(rename(id, kept), 0);
	assert_int_equal(raft_engine_look(r->dir, &exists, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "restore the folder"));
	assert_int_equal(raft_engine_bootstrap(&r->loop, r->dir, &e), E_CORRUPT);
	assert_int_equal(rename(kept, id), 0);
	assert_int_equal(raft_engine_bootstrap(&r->loop, r->dir, &e), E_EXISTS);
	assert_int_equal(raft_engine_look(under, &exists, &e), -ENOTDIR);
	err_clear(&e);
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(rig_put_wait(r, 2), 0);
	rig_free(r);
}

/* FINDINGS M4: the same for the marks beside the log: one that cannot be read is not one that is missing. */
static void test_m4_marks_that_cannot_be_read(void **state)
{
	static const char *const names[] = {"damaged", "highwater"};
	struct rig *r = rig_new(*state);

	for (size_t i = 0; i < 2; i++) {
		cleanup_free char *path = xasprintf("%s/%s", r->dir, names[i]);
		struct err e = {0};

		assert_int_equal(symlink(names[i], path), 0); /* to itself */
		assert_int_equal(rig_open(r, &e), -ELOOP);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rig_open(r, NULL), 0);
	rig_free(r);
}

/* ---- the n-th file operation of our own fails (the linker leads them here: meson.build) ---- */

static struct {
	bool armed;
	int operations, fail_at;
} disk;

static bool fails(void)
{
	if (!disk.armed || ++disk.operations != disk.fail_at)
		return false;
	errno = EIO;
	return true;
}

int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode)
{
	return fails() ? -1 : __real_open64(path, flags, mode);
}

ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n);
ssize_t __wrap_write(int fd, const void *data, size_t n)
{
	return fails() ? -1 : __real_write(fd, data, n);
}

ssize_t __real_read(int fd, void *data, size_t n);
ssize_t __wrap_read(int fd, void *data, size_t n);
ssize_t __wrap_read(int fd, void *data, size_t n)
{
	return fails() ? -1 : __real_read(fd, data, n);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	return fails() ? -1 : __real_fsync(fd);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
	return fails() ? -1 : __real_rename(from, to);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
	return fails() ? NULL : __real_opendir(path);
}

/* From nothing to two acknowledged numbers, as far as it goes. Returns how many were acknowledged. */
static uint32_t live_once(struct rig *r, struct err *e)
{
	uint32_t acked = 0;
	bool exists;

	if (raft_engine_look(r->dir, &exists, e) || (!exists && raft_engine_bootstrap(&r->loop, r->dir, e)) ||
	    rig_open(r, e))
		return 0;
	rig_lead(r);
	for (uint32_t i = 1; i <= 2 && r->fatal.code == 0; i++)
		acked += rig_put_wait(r, i) == 0;
	rig_shut(r);
	return acked;
}

/* Whatever fails is told with the file's name, deletes nothing that was acknowledged, and is over when the
 * disk is well again. */
static void test_nth_file_operation_fails(void **state)
{
	int n = 0;

	do {
		cleanup_free char *dir = xasprintf("%s/%d", (char *)*state, ++n);
		struct rig *r = xcalloc(1, sizeof(*r));
		struct err e = {0};
		uint32_t acked;

		assert_int_equal(mkdir(dir, 0700), 0);
		uv_loop_init(&r->loop);
		r->dir = xasprintf("%s/raft", dir);
		r->threshold = 1000;
		r->watchdog_ms = 60000;
		disk.operations = 0;
		disk.fail_at = n;
		disk.armed = true;
		acked = live_once(r, &e);
		disk.armed = false;
		uv_run(&r->loop, UV_RUN_DEFAULT);
		assert_true(acked == 2 || e.code == -EIO);
		assert_true(acked == 2 || strstr(e.msg, dir));
		err_clear(&e);
		assert_int_equal(live_once(r, &e), 2);
		for (uint32_t i = 1; i <= 2; i++) /* once by each life that got so far */
			assert_int_equal(r->count[i], acked == 2 ? 2 : 1);
		rig_free(r);
	} while (disk.operations >= n);
	assert_true(n > 15);
}

static void test_bad_command_marks_the_directory(void **state)
{
	struct rig *r = rig_new(*state);
	struct err e = {0};

	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(rig_put(r, NUMBERS + 1), 0);
	rig_drain(r);
	assert_int_equal(r->fatal.code, E_CORRUPT);
	rig_shut(r);
	assert_int_equal(rig_open(r, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "damaged"));
	rig_free(r);
}

/* ---- acknowledged proposals survive kill -9 ---- */

struct writer {
	struct rig *r;
	uint32_t next;
	int fd;
};
struct ticket {
	struct writer *w;
	uint32_t n;
};

static void write_more(struct writer *w);

static void on_ticket(void *arg, const struct err *e)
{
	struct ticket *t = arg;
	struct writer *w = t->w;

	if (e->code == 0 && write(w->fd, &t->n, sizeof(t->n)) != sizeof(t->n))
		_exit(3);
	free(t);
	if (e->code)
		_exit(4);
	write_more(w);
}

static void write_more(struct writer *w)
{
	struct ticket *t = xmalloc(sizeof(*t));
	uint8_t data[24] = {0};

	*t = (struct ticket){w, w->next++};
	memcpy(data, &t->n, sizeof(t->n));
	if (t->n >= NUMBERS || w->r->c->ops->propose(w->r->c, data, 4 + t->n % 20, on_ticket, t))
		_exit(5);
}

static void child(const char *dir, uint32_t first, int fd)
{
	struct rig *r = rig_new(dir);
	struct writer w = {r, first, fd};

	r->threshold = 200;
	if (rig_open(r, NULL))
		_exit(2);
	rig_lead(r);
	for (int i = 0; i < 80; i++) /* more than are with libraft at once */
		write_more(&w);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	_exit(1);
}

/* One more number that the writer heard acknowledged; false: there are no more. */
static bool hear(int fd, uint8_t *acked, uint32_t *end)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint32_t n;

	if (poll(&p, 1, 60000) != 1 || read(fd, &n, sizeof(n)) != sizeof(n))
		return false;
	acked[n] = 1;
	if (n >= *end)
		*end = n + 1;
	return true;
}

/* Kill one writer a moment after it has heard of so many; collect all that it heard acknowledged. By the clock alone no
 * writer of a busy machine would come as far as that anything could get lost. */
static uint32_t kill_round(const char *dir, uint32_t first, unsigned at_least, useconds_t moment_us,
			   uint8_t *acked)
{
	uint32_t end = first;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		child(dir, first, fds[1]);
	}
	close(fds[1]);
	for (unsigned i = 0; i < at_least; i++)
		assert_true(hear(fds[0], acked, &end));
	usleep(moment_us);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status));
	while (hear(fds[0], acked, &end))
		;
	close(fds[0]);
	return end;
}

static void test_acknowledged_survives_kill(void **state)
{
	cleanup_free uint8_t *acked = xcalloc(NUMBERS, 1);
	unsigned seed = (unsigned)getpid(), total = 0;
	uint32_t next = 100;
	struct rig *r;

	print_message("seed %u\n", seed);
	for (int round = 0; round < 24; round++) {
		bool starts = round % 3 == 0; /* killed wherever it is on its way to the first write */
		unsigned at_least = starts ? 0 : 1 + (unsigned)rand_r(&seed) % 400;

		next = kill_round(*state, next + 64, at_least,
				  (unsigned)rand_r(&seed) % (starts ? 60000 : 5000), acked);
	}
	r = rig_new(*state);
	r->threshold = 200;
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 0; i < NUMBERS; i++) {
		total += acked[i];
		assert_true(r->count[i] <= 1);
		if (acked[i] && r->count[i] != 1)
			fail_msg("acknowledged %u is lost", i);
	}
	print_message("%u acknowledged in 24 lives, %u snapshots restored at the end\n", total, r->restores);
	assert_true(total > 100);
	rig_free(r);
}

/* ---- a full disk ---- */

static void fill(const char *dir)
{
	cleanup_free char *path = xasprintf("%s/filler", dir);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT, 0600);
	static const char block[65536];

	while (write(fd, block, sizeof(block)) > 0)
		;
}

static void test_full_disk(void **state)
{
	cleanup_free char *filler = xasprintf("%s/filler", (char *)*state);
	struct rig *r;
	uint32_t n = 100, acked;
	int rc = 0;

	if (mount("tmpfs", *state, "tmpfs", 0, "size=40m") < 0)
		skip();
	r = rig_new(*state);
	r->watchdog_ms = 1000;
	r->pad = 60000;
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	assert_int_equal(rig_put_wait(r, n++), 0);
	fill(*state);
	while (rc == 0 && r->fatal.code == 0)
		rc = rig_put_wait(r, n++);
	acked = n - 2;
	print_message("after %u entries: %s%s\n", acked - 99, r->fatal.msg, err_name(rc));
	assert_true(r->fatal.code || rc == -ENOSPC);
	fs_unlink(filler, NULL);
	r->pad = 0;
	if (r->fatal.code) { /* the daemon would have been started again */
		memset(&r->fatal, 0, sizeof(r->fatal));
		rig_shut(r);
		assert_int_equal(rig_open(r, NULL), 0);
		rig_lead(r);
	}
	n += 1000;
	for (uint64_t until = uv_hrtime() + 60000000000u;
	     (rc = rig_put_wait(r, n)) == -ENOSPC && uv_hrtime() < until;)
		uv_run(&r->loop, UV_RUN_ONCE); /* the engine looks at the disk each second */
	assert_int_equal(rc, 0);
	rig_shut(r);
	assert_int_equal(rig_open(r, NULL), 0);
	rig_lead(r);
	for (uint32_t i = 100; i <= acked; i++)
		assert_int_equal(r->count[i], 1);
	assert_int_equal(r->count[n], 1);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* first: it forks before this process has threads */
		cmocka_unit_test_setup_teardown(test_acknowledged_survives_kill, setup, teardown),
		cmocka_unit_test(test_states),
		cmocka_unit_test_setup_teardown(test_propose_and_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_m6_many_wait_their_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_m6_close_answers_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_m6_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defer_and_barrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshot_of_a_newer_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_entries_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_m4_log_without_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_m4_marks_that_cannot_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nth_file_operation_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_command_marks_the_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
	};

	log_init("test", LOG_DEBUG, 2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
