// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/archive.h"
#include "worker/galera/evidence.h"

#define UUID "4fa302da-e4eb-11f1-a25e-3a2748ddb7d0"
#define OTHER "5fa302da-e4eb-11f1-a25e-3a2748ddb7d0"
#define ZERO "00000000-0000-0000-0000-000000000000"

struct fix {
	char root[64];
	char *data;
	const char *archiver; /* path of gswarm-archive, from meson */
	struct evidence_input in;
	Gs__GaleraEvidence *ev;
	struct volume_mark mark;
	enum evidence_next next;
};

static int set_up(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));

	snprintf(f->root, sizeof(f->root), "/tmp/gsw-test-XXXXXX");
	if (!mkdtemp(f->root))
		return -1;
	f->data = xasprintf("%s/data", f->root);
	mkdir(f->data, 0750);
	f->archiver = getenv("GSWARM_ARCHIVE");
	if (!f->archiver)
		return -1;
	datadir_init(&f->in.dir, f->data, getuid(), getgid());
	strcpy(f->in.cluster, "cluster1");
	strcpy(f->in.volume, "vol1");
	f->ev = obj_new(&gs__galera_evidence__descriptor);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	datadir_fini(&f->in.dir);
	fs_remove_all(f->root, NULL);
	obj_free(f->ev);
	free(f->data);
	free(f);
	return 0;
}

static void put(struct fix *f, const char *name, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", f->data, name);

	assert_int_equal(fs_write(path, text, strlen(text), 0600, NULL), 0);
}

static void put_state(struct fix *f, const char *uuid, int seqno)
{
	cleanup_free char *text = xasprintf("uuid: %s\nseqno: %d\nsafe_to_bootstrap: 1\n", uuid, seqno);

	put(f, "grastate.dat", text);
	put(f, "ibdata1", "x");
	put(f, "mysql", "x");
}

static void put_mark(struct fix *f, enum volume_state state, const char *cluster, uint64_t epoch)
{
	struct volume_mark m = {.state = state, .epoch = epoch, .whole = epoch > 0, .synced = epoch > 0};

	snprintf(m.cluster, sizeof(m.cluster), "%s", cluster);
	assert_int_equal(datadir_mark_store(&f->in.dir, &m, NULL), 0);
}

/* What the mark says of the data that ran there. */
static void put_record(struct fix *f, bool whole, bool synced)
{
	struct volume_mark m = {
		.state = VOLUME_DIRTY, .epoch = 1, .cluster = "cluster1", .whole = whole, .synced = synced};

	assert_int_equal(datadir_mark_store(&f->in.dir, &m, NULL), 0);
}

static void expect(struct fix *f, Gs__GaleraClass class, enum evidence_next next)
{
	struct err e = {0};

	assert_int_equal(evidence_read(&f->in, f->ev, &f->mark, &f->next, &e), 0);
	assert_int_equal(f->next, next);
	if (next == EVIDENCE_DONE || class != GC_UNKNOWN)
		assert_int_equal(f->ev->class_, class);
}

static bool is_empty(struct fix *f)
{
	bool empty;

	assert_int_equal(datadir_is_empty(&f->in.dir, &empty, NULL), 0);
	return empty;
}

static void nothing_is_empty(void **state)
{
	struct fix *f = *state;

	expect(f, GC_EMPTY, EVIDENCE_DONE);
	assert_int_equal(f->ev->epoch, 0);
	assert_true(f->ev->disk_free_bytes > 0);
}

static void data_without_our_mark_is_foreign(void **state)
{
	struct fix *f = *state;

	put_state(f, UUID, 5);
	expect(f, GC_FOREIGN, EVIDENCE_DONE);
}

static void another_clusters_mark_is_foreign(void **state)
{
	struct fix *f = *state;

	put_mark(f, VOLUME_CLEAN, "cluster2", 3);
	put_state(f, UUID, 5);
	expect(f, GC_FOREIGN, EVIDENCE_DONE);
	assert_string_equal(f->ev->file_cluster_id, "cluster2");
}

static void an_unreadable_mark_is_foreign(void **state)
{
	struct fix *f = *state;

	fs_write(f->in.dir.mark_path, "{", 1, 0600, NULL);
	put_state(f, UUID, 5);
	expect(f, GC_FOREIGN, EVIDENCE_DONE);
}

static void clean_and_genesis(void **state)
{
	struct fix *f = *state;

	put_state(f, UUID, 5);
	put_mark(f, VOLUME_GENESIS, "cluster1", 0);
	expect(f, GC_GENESIS, EVIDENCE_DONE);
	put_mark(f, VOLUME_DIRTY, "cluster1", 4);
	expect(f, GC_CLEAN, EVIDENCE_DONE);
	assert_int_equal(f->ev->epoch, 4);
	assert_int_equal(f->ev->position->seqno, 5);
	assert_true(f->ev->safe_to_bootstrap);
	strcpy(f->in.cluster_uuid, OTHER);
	expect(f, GC_FOREIGN, EVIDENCE_DONE);
}

static void a_transfer_that_was_cut_is_no_source(void **state)
{
	struct fix *f = *state;

	put_mark(f, VOLUME_DIRTY, "cluster1", 1);
	put_state(f, UUID, 5);
	put(f, "sst_in_progress", "");
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER); /* it was Synced: nothing was sent to it */
	assert_non_null(strstr(f->ev->reason, "sst_in_progress"));
	put_record(f, true, false);
	expect(f, GC_INCOMPLETE, EVIDENCE_DONE);
	assert_non_null(strstr(f->ev->reason, "sst_in_progress"));
	put_record(f, true, true);
	assert_int_equal(datadir_clean_markers(&f->in.dir, NULL), 0);
	put_state(f, ZERO, -1);
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
	put(f, "grastate.dat", "");
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
}

/* HEART S1: a copy that was whole was told as one that never had been, and got a full transfer over it. */
static void s1_what_was_whole_is_damaged(void **state)
{
	struct fix *f = *state;
	const char *out = "WSREP: Recovered position: " UUID ":9\n";

	put_state(f, UUID, -1);
	put_record(f, true, true);
	assert_int_equal(datadir_forget_state(&f->in.dir, NULL), 0);
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
	assert_true(f->ev->was_synced);
	evidence_recovered(f->ev, UUID, out, strlen(out)); /* what it would begin with, if it were chosen */
	assert_int_equal(f->ev->class_, GC_DAMAGED);
	assert_int_equal(f->ev->position->seqno, 9);
	put_record(f, false, false);
	expect(f, GC_INCOMPLETE, EVIDENCE_DONE);
	put_record(f, false, true);
	expect(f, GC_INCOMPLETE, EVIDENCE_DONE);
}

/* Of a version that kept no record: the cautious reading. */
static void s1_a_mark_without_the_record_is_of_a_whole_copy(void **state)
{
	struct fix *f = *state;
	const char *text = "{\"format\":1,\"cluster\":\"cluster1\",\"epoch\":3,\"state\":\"dirty\"}";

	assert_int_equal(fs_write(f->in.dir.mark_path, text, strlen(text), 0600, NULL), 0);
	put_state(f, ZERO, -1);
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
	assert_true(f->ev->was_synced);
}

/* HEART L1: a zero uuid is written before a schema change, on every member. */
static void l1_a_crash_inside_a_schema_change(void **state)
{
	struct fix *f = *state;
	const char *out = "WSREP: Recovered position: " UUID ":9\n";

	put_state(f, ZERO, -1);
	put_record(f, true, true);
	f->in.ended_synced = true;
	expect(f, GC_DDL_CRASHED, EVIDENCE_RECOVER);
	evidence_recovered(f->ev, UUID, out, strlen(out));
	assert_int_equal(f->ev->class_, GC_DDL_CRASHED);
	assert_int_equal(f->ev->position->seqno, 9);
	expect(f, GC_DDL_CRASHED, EVIDENCE_RECOVER);
	evidence_recovered(f->ev, UUID, "", 0);
	assert_int_equal(f->ev->class_, GC_DAMAGED);
	f->in.ended_synced = false; /* voted out, or its log is gone */
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
	f->in.ended_synced = true;
	put_record(f, false, false); /* a full transfer was asked for */
	expect(f, GC_INCOMPLETE, EVIDENCE_DONE);
}

/* It begins with a position, and what was there is kept. */
static void l1_state_is_renewed_for_a_bootstrap(void **state)
{
	struct fix *f = *state;
	cleanup_free char *kept = xasprintf("%s/grastate.dat.epoch-4", f->data), *text = NULL;
	struct grastate g;
	size_t len;

	put_state(f, ZERO, -1);
	for (int i = 0; i < 2; i++) { /* the second time it was cut after the first */
		assert_int_equal(datadir_renew_state(&f->in.dir, UUID, 4, NULL), 0);
		assert_int_equal(datadir_grastate(&f->in.dir, &g, NULL), 0);
		assert_string_equal(g.position.uuid, UUID);
		assert_int_equal(g.position.seqno, -1);
		assert_true(g.safe_to_bootstrap);
	}
	assert_int_equal(fs_read(kept, 1000, &text, &len, NULL), 0);
	assert_non_null(strstr(text, ZERO));
}

/* A donor writes this one too: killed while it gave, it is whole. */
static void a_donors_marker_is_no_damage(void **state)
{
	struct fix *f = *state;

	put_state(f, UUID, -1);
	put(f, "rsync_sst_complete", "");
	put_record(f, true, true);
	expect(f, GC_UNKNOWN, EVIDENCE_RECOVER);
	assert_int_equal(f->ev->class_, GC_UNKNOWN);
	put_record(f, true, false);
	expect(f, GC_INCOMPLETE, EVIDENCE_DONE);
}

static void an_interrupted_genesis_is_wiped(void **state)
{
	struct fix *f = *state;

	put_mark(f, VOLUME_BUILDING, "cluster1", 0);
	put(f, "ibdata1", "half");
	expect(f, GC_EMPTY, EVIDENCE_DONE);
	assert_true(is_empty(f));
}

static void a_crash_asks_innodb(void **state)
{
	struct fix *f = *state;
	const char *out = "WSREP: Recovered position: " UUID ":9\n",
		   *alien = "Recovered position: " OTHER ":9\n";

	put_mark(f, VOLUME_DIRTY, "cluster1", 1);
	put_state(f, UUID, -1);
	expect(f, GC_UNKNOWN, EVIDENCE_RECOVER);
	evidence_recovered(f->ev, "", out, strlen(out));
	assert_int_equal(f->ev->class_, GC_CRASHED);
	assert_int_equal(f->ev->position->seqno, 9);
	evidence_recovered(f->ev, "", alien, strlen(alien));
	assert_int_equal(f->ev->class_, GC_DAMAGED);
	assert_int_equal(f->ev->position->seqno, 9);
	f->ev->class_ = GC_UNKNOWN;
	evidence_recovered(f->ev, "", "", 0);
	assert_int_equal(f->ev->class_, GC_DAMAGED);
	evidence_recovered(f->ev, "", "[ERROR] Found 1 prepared transactions!", 38);
	assert_true(f->ev->prepared_rollback);
}

static void one_task_holds_the_datadir(void **state)
{
	struct fix *f = *state;
	struct datadir second;
	struct err e = {0};

	assert_int_equal(datadir_lock(&f->in.dir, &e), 0);
	datadir_copy(&second, &f->in.dir);
	assert_int_equal(datadir_lock(&second, &e), E_IN_USE);
	datadir_unlock(&f->in.dir);
	assert_int_equal(datadir_lock(&second, &e), 0);
	datadir_fini(&second);
}

static void expect_kept(struct fix *f, const char *aside, const char *content)
{
	cleanup_free char *path = xasprintf("%s.quarantine-%s/ibdata1", f->data, aside), *text = NULL;
	size_t len;

	assert_int_equal(fs_read(path, 100, &text, &len, NULL), 0);
	assert_string_equal(text, content);
}

static void quarantine_keeps_every_copy(void **state)
{
	struct fix *f = *state;
	struct volume_mark m = {.state = VOLUME_DIRTY, .cluster = "cluster1", .epoch = 3, .whole = true};

	for (int i = 0; i < 3; i++) {
		put(f, "ibdata1", i == 0 ? "first" : "second");
		m.whole = true;
		assert_int_equal(datadir_quarantine(&f->in.dir, &m, 3, NULL), 0);
		assert_true(is_empty(f));
		assert_false(m.whole);
		assert_int_equal(datadir_quarantine(&f->in.dir, &m, 3, NULL),
				 0); /* nothing there: nothing to keep */
	}
	expect_kept(f, "3", "first");
	expect_kept(f, "3.2", "second");
	expect_kept(f, "3.3", "second");
}

/* HEART S5: files were renamed one by one; what a crash left was written over by the full transfer that followed. */
static void s5_a_quarantine_that_was_cut_is_finished_first(void **state)
{
	struct fix *f = *state;
	struct volume_mark m = {.state = VOLUME_DIRTY, .cluster = "cluster1", .epoch = 3, .whole = true};
	cleanup_free char *mount_at = xasprintf("%s/mounted", f->data);
	cleanup_free char *rest = xasprintf("%s.quarantine-3/mounted", f->data);
	pid_t pid;
	int status;

	put_state(f, UUID, -1);
	put(f, "ib_logfile0", "redo");
	assert_int_equal(mkdir(mount_at, 0700), 0);
	pid = fork();
	if (pid == 0) { /* it ends at a file that cannot be moved, some before it, some behind */
		if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("none", mount_at, "tmpfs", 0, NULL) < 0)
			_exit(77);
		_exit(datadir_quarantine(&f->in.dir, &m, 3, NULL) == 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(is_empty(f));
	expect(f, GC_EMPTY, EVIDENCE_DONE);
	assert_true(is_empty(f));
	expect_kept(f, "3", "x");
	assert_true(fs_exists(rest));
	assert_int_equal(datadir_mark_load(&f->in.dir, &m, NULL), 0);
	assert_string_equal(m.aside, "");
	assert_false(m.whole);
}

static void archive_round_trip(void **state)
{
	struct fix *f = *state;
	cleanup_free char *blobs = xasprintf("%s/blobs", f->root), *to = xasprintf("%s/to", f->root);
	cleanup_free char *sub = xasprintf("%s/mysql", f->data), *big = xasprintf("%s/ib_logfile0", f->data);
	cleanup_free char *blob = NULL, *same = NULL, *secret = NULL, *text = NULL;
	char sha[SHA256_TEXT], again[SHA256_TEXT];
	uint64_t size;
	size_t len;

	mkdir(sub, 0700);
	put(f, "mysql/a.frm", "frame");
	put(f, "grastate.dat", "state");
	put(f, "server-key.pem", "secret");
	put(f, "galera.cache", "ring");
	int fd = open(big, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 32 << 20), 0);
	assert_int_equal(pwrite(fd, "tail", 4, 20 << 20), 4);
	close(fd);
	assert_int_equal(archive_pack(f->archiver, f->data, blobs, sha, &size, NULL), 0);
	assert_true(size < 1 << 20);
	assert_int_equal(archive_pack(f->archiver, f->data, blobs, again, &size, NULL), 0);
	assert_string_equal(sha, again);
	blob = xasprintf("%s/%s", blobs, sha);
	mkdir(to, 0700);
	assert_int_equal(archive_unpack(f->archiver, blob, to, getuid(), getgid(), NULL), 0);
	same = xasprintf("cmp %s %s/ib_logfile0 && cmp %s/mysql/a.frm %s/mysql/a.frm", big, to, f->data, to);
	assert_int_equal(system(same), 0);
	secret = xasprintf("%s/server-key.pem", to);
	assert_false(fs_exists(secret));
	text = xasprintf("%s/galera.cache", to);
	assert_false(fs_exists(text));
	(void)len;
}

static void archive_never_climbs(void **state)
{
	static const char *const tars[] = {
		"tar -C %s -P --zstd -cf %s/bad --transform s,^,../, ibdata1",
		"tar -C %s -P --zstd -cf %s/bad --transform s,^,/tmp/gsw-climb/, ibdata1",
		"cd %s && ln -s /etc link && tar --zstd -cf %s/bad link"};
	struct fix *f = *state;
	cleanup_free char *bad = xasprintf("%s/bad", f->root), *to = xasprintf("%s/to", f->root);
	struct err e = {0};

	put(f, "ibdata1", "x");
	mkdir(to, 0700);
	for (size_t i = 0; i < array_size(tars); i++) {
		char command[512];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(command, sizeof(command), tars[i], f->data, f->root);
#pragma GCC diagnostic pop
		assert_int_equal(system(command), 0);
		assert_int_equal(archive_unpack(f->archiver, bad, to, getuid(), getgid(), &e), E_CORRUPT);
	}
	fs_write(bad, "no archive at all", 17, 0600, NULL);
	assert_int_not_equal(archive_unpack(f->archiver, bad, to, getuid(), getgid(), &e), 0);
}

static void archive_tells_how_it_ended(void **state)
{
	struct fix *f = *state;
	char sha[SHA256_TEXT];
	uint64_t size;
	struct err e = {0};

	assert_int_equal(archive_unpack("/nonexistent", "a", "b", 0, 0, &e), -ENOENT);
	assert_int_equal(archive_unpack("/bin/false", "a", "b", 0, 0, &e), E_UNAVAILABLE);
	assert_non_null(strstr(e.msg, "status 1"));
	assert_int_equal(archive_unpack(f->archiver, "/nonexistent", f->data, 0, 0, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent"));
	assert_int_equal(archive_pack(f->archiver, "/nonexistent", f->root, sha, &size, &e), -ENOENT);
}

/* ---- the second session's safety review, 14: an archive of another node was parsed by root ---- */

#define SOMEBODY 61234

static bool has_line(pid_t pid, const char *line)
{
	cleanup_free char *path = xasprintf("/proc/%d/status", (int)pid), *text = NULL;

	return fs_read(path, 65536, &text, NULL, NULL) == 0 && strstr(text, line);
}

/* It waits for the first byte of its archive, which is a FIFO. */
static pid_t start_unpack(const struct fix *f, const char *fifo, const char *to, const char *user)
{
	const char *argv[] = {f->archiver, "unpack", fifo, to, user, user, NULL};
	pid_t pid = fork();

	if (pid == 0) {
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

static void unpacks_without_rights(struct fix *f, const char *user, const char *uid_line)
{
	cleanup_free char *fifo = xasprintf("%s/fifo", f->root), *to = xasprintf("%s/to", f->root);
	cleanup_free char *root = NULL, *own = NULL;
	struct stat here, there;
	int status, fd;
	pid_t pid;

	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(mkdir(to, 0700), 0);
	assert_int_equal(chown(to, (uid_t)atoi(user), (gid_t)atoi(user)), 0);
	pid = start_unpack(f, fifo, to, user);
	alarm(20);
	fd = open(fifo, O_WRONLY | O_CLOEXEC);
	for (int i = 0; i < 500 && !(has_line(pid, uid_line) && has_line(pid, "CapPrm:\t0000000000000000"));
	     i++)
		usleep(10000);
	assert_true(has_line(pid, uid_line));
	assert_true(has_line(pid, "CapEff:\t0000000000000000"));
	assert_true(has_line(pid, "CapPrm:\t0000000000000000"));
	assert_true(has_line(pid, "CapBnd:\t0000000000000000"));
	assert_true(has_line(pid, "NoNewPrivs:\t1"));
	root = xasprintf("/proc/%d/root/etc", (int)pid);
	assert_false(fs_exists(root));
	own = xasprintf("/proc/%d/root/data", (int)pid);
	assert_int_equal(stat(own, &there) | stat(to, &here), 0);
	assert_int_equal(here.st_ino, there.st_ino);
	close(fd); /* no archive at all */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	alarm(0);
	assert_true(WIFEXITED(status));
	fs_remove_all(fifo, NULL);
	fs_remove_all(to, NULL);
}

static void s14_unpacks_without_rights(void **state)
{
	if (geteuid() != 0)
		skip();
	unpacks_without_rights(*state, "61234", "Uid:\t61234\t61234\t61234\t61234");
	unpacks_without_rights(*state, "0", "Uid:\t0\t0\t0\t0");
}

static void s14_files_are_the_tasks(void **state)
{
	struct fix *f = *state;
	cleanup_free char *blobs = xasprintf("%s/blobs", f->root), *to = xasprintf("%s/to", f->root);
	cleanup_free char *sub = xasprintf("%s/mysql", f->data), *blob = NULL, *file = NULL;
	char sha[SHA256_TEXT];
	struct err e = {0};
	struct stat st;
	uint64_t size;

	if (geteuid() != 0)
		skip();
	mkdir(sub, 0700);
	put(f, "mysql/a.frm", "frame");
	assert_int_equal(chown(sub, SOMEBODY, SOMEBODY), 0); /* whom packing can read all the same */
	assert_int_equal(archive_pack(f->archiver, f->data, blobs, sha, &size, &e), 0);
	blob = xasprintf("%s/%s", blobs, sha);
	mkdir(to, 0700);
	assert_int_equal(chown(to, SOMEBODY, SOMEBODY), 0);
	assert_int_equal(archive_unpack(f->archiver, blob, to, SOMEBODY, SOMEBODY, &e), 0);
	file = xasprintf("%s/mysql/a.frm", to);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_uid, SOMEBODY);
	assert_int_equal(st.st_gid, SOMEBODY);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
/* FINDINGS W2: the datadir is the task's. Nothing in it may hold the worker up or lead it elsewhere. */
static void w2_a_fifo_in_a_files_place_is_damage(void **state)
{
	struct fix *f = *state;
	cleanup_free char *path = xasprintf("%s/grastate.dat", f->data);

	put(f, "ibdata1", "x");
	put_mark(f, VOLUME_DIRTY, "cluster1", 3);
	assert_int_equal(mkfifo(path, 0666), 0);
	alarm(10); /* a worker that waits for the other end waits for ever */
	expect(f, GC_DAMAGED, EVIDENCE_DONE);
	alarm(0);
}

/* The third session's safety review, 4: what could not be read for want of a descriptor was told as torn, and data
 * without a mark as somebody else's. */
static void s4_what_cannot_be_read_now_is_no_evidence(void **state)
{
	struct fix *f = *state;
	struct rlimit before, none;
	struct err e = {0};
	bool judged = false;

	put_mark(f, VOLUME_CLEAN, "cluster1", 3);
	put_state(f, UUID, 17);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int free_fds = 0; !judged && free_fds < 32; free_fds++) {
		int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

		close(next);
		none = before;
		none.rlim_cur = (rlim_t)(next + free_fds);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		err_clear(&e);
		judged = evidence_read(&f->in, f->ev, &f->mark, &f->next, &e) == 0;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		datadir_unlock(&f->in.dir);
		if (!judged)
			assert_int_equal(e.code, -EMFILE);
	}
	assert_true(judged);
	assert_int_equal(f->ev->class_, GC_CLEAN);
}

/* The same of the tool that asks InnoDB. */
static void s4_tool_that_was_kept_from_its_work(void **state)
{
	static const char full[] = "InnoDB: Error number 28 means 'No space left on device'\n";

	assert_true(recover_was_hindered(137, "", 0));
	assert_true(recover_was_hindered(1, full, strlen(full)));
	assert_false(recover_was_hindered(1, "InnoDB: Corruption", 18));
	assert_false(recover_was_hindered(134, "", 0)); /* its own abort: the data is what it cannot bear */
}

static void w2_a_link_is_no_state(void **state)
{
	struct fix *f = *state;
	cleanup_free char *path = xasprintf("%s/grastate.dat", f->data);
	cleanup_free char *away = xasprintf("%s/elsewhere", f->root);

	put_state(f, UUID, 5);
	put_mark(f, VOLUME_DIRTY, "cluster1", 3);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(symlink(away, path), 0);
	expect(f, GC_DAMAGED, EVIDENCE_RECOVER);
	assert_int_equal(datadir_set_safe(&f->in.dir, NULL), -ELOOP);
}

static void w2_a_planted_temporary_name_is_not_written_through(void **state)
{
	struct fix *f = *state;
	cleanup_free char *tmp = xasprintf("%s/grastate.dat.tmp", f->data);
	cleanup_free char *away = xasprintf("%s/elsewhere", f->root);
	struct stat st;

	put_state(f, UUID, 5);
	assert_int_equal(mkfifo(tmp, 0666), 0);
	alarm(10);
	assert_int_equal(datadir_set_safe(&f->in.dir, NULL), 0);
	alarm(0);
	assert_int_equal(symlink(away, tmp), 0);
	assert_int_equal(datadir_set_safe(&f->in.dir, NULL), 0);
	assert_int_equal(lstat(away, &st), -1);
}

/* ---- how much has arrived (the second session's safety review, 6) ---- */

struct size {
	const char *path;
	uint64_t bytes;
	bool is_cut;
};

static void size_work(void *arg)
{
	struct size *s = arg;

	s->bytes = datadir_bytes(s->path, &s->is_cut);
}

static void size_done(void *arg)
{
}

static struct size size_of(const char *path)
{
	struct size s = {.path = path};
	uv_loop_t loop;

	uv_loop_init(&loop);
	loop_work(&loop, size_work, size_done, &s);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return s;
}

static void put_block(int dir, const char *name)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, name, 1), 1);
	close(fd);
}

/* A folder in a folder and so on, each with one file: *ret_block is what such a file takes. */
static void dig(const char *path, unsigned depth, uint64_t *ret_block)
{
	int at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	for (unsigned i = 0; i < depth; i++) {
		int below;

		put_block(at, "file");
		assert_int_equal(fstatat(at, "file", &st, 0), 0);
		assert_int_equal(mkdirat(at, "d", 0700), 0);
		below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = below;
	}
	close(at);
	*ret_block = (uint64_t)st.st_blocks * 512;
}

static void s6_size_of_a_datadir(void **state)
{
	struct fix *f = *state;
	int dir = open(f->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct size s;
	uint64_t block;

	dig(f->data, 2, &block); /* the second is a database's */
	put_block(dir, "galera.cache");
	put_block(dir, "ibdata1");
	assert_int_equal(symlinkat("/usr", dir, "elsewhere"), 0);
	assert_int_equal(symlinkat("ibdata1", dir, "link"), 0);
	close(dir);
	s = size_of(f->data);
	assert_int_equal(s.bytes, 3 * block);
	assert_false(s.is_cut);
}

/* A second of the worker's time for each second of the task's. */
static void s6_tree_deeper_than_a_datadir(void **state)
{
	struct fix *f = *state;
	uint64_t block;

	dig(f->data, 3000, &block);
	assert_int_equal(size_of(f->data).bytes, 3 * block);
}

static void s6_tree_wider_than_a_datadir(void **state)
{
	struct fix *f = *state;
	int dir = open(f->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct size s;
	char name[16];

	for (int i = 0; i < 25000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(symlinkat("x", dir, name), 0);
	}
	close(dir);
	s = size_of(f->data);
	assert_true(s.is_cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(nothing_is_empty),
		T(data_without_our_mark_is_foreign),
		T(another_clusters_mark_is_foreign),
		T(an_unreadable_mark_is_foreign),
		T(clean_and_genesis),
		T(a_transfer_that_was_cut_is_no_source),
		T(s1_what_was_whole_is_damaged),
		T(s1_a_mark_without_the_record_is_of_a_whole_copy),
		T(l1_a_crash_inside_a_schema_change),
		T(l1_state_is_renewed_for_a_bootstrap),
		T(a_donors_marker_is_no_damage),
		T(an_interrupted_genesis_is_wiped),
		T(a_crash_asks_innodb),
		T(one_task_holds_the_datadir),
		T(quarantine_keeps_every_copy),
		T(s5_a_quarantine_that_was_cut_is_finished_first),
		T(archive_round_trip),
		T(archive_never_climbs),
		T(archive_tells_how_it_ended),
		T(s14_unpacks_without_rights),
		T(s14_files_are_the_tasks),
		T(w2_a_fifo_in_a_files_place_is_damage),
		T(s4_what_cannot_be_read_now_is_no_evidence),
		T(s4_tool_that_was_kept_from_its_work),
		T(w2_a_link_is_no_state),
		T(w2_a_planted_temporary_name_is_not_written_through),
		T(s6_size_of_a_datadir),
		T(s6_tree_deeper_than_a_datadir),
		T(s6_tree_wider_than_a_datadir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
