// SPDX-License-Identifier: Apache-2.0
/* The happy path touches a handful of small files. What can fail: the folder is gone or read-only (told with
 * its path), another process holds the data (E_IN_USE: never two servers on one volume), the disk is full
 * while the mark is written (the old mark stays whole: written aside and renamed). */
#include "worker/galera/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/foreign.h"

#define MARK_NAME "gswarm.json"
/* Left by the server's own SST scripts while a transfer runs; the last two are written by a donor as well. */
static const char *const sst_markers[] = {
	"sst_in_progress", ".sst", "wsrep_sst.pid", "rsync_sst.pid", "rsync_sst_complete", "xtrabackup_ist"};
#define JOINER_MARKERS 4
static const char *const stale_files[] = {"gvwstate.dat", "rsync_sst.conf", "mysqld.pid", "mariadb.pid",
					  "mysqld.sock"};

char *datadir_file(const struct datadir *d, const char *name)
{
	bug_if(!d->path);
	return xasprintf("%s/%s", d->path, name);
}

void datadir_init(struct datadir *d, const char *path, uid_t uid, gid_t gid)
{
	cleanup_free char *base_copy = xstrdup(path), *dir_copy = xstrdup(path);
	bool is_volume = strcmp(basename(base_copy), "data") == 0;

	bug_if(!path || path[0] != '/');
	*d = (struct datadir){.path = xstrdup(path), .uid = uid, .gid = gid, .lock_fd = -1};
	d->mark_path = xasprintf("%s/" MARK_NAME, is_volume ? dirname(dir_copy) : path);
}

void datadir_copy(struct datadir *ret, const struct datadir *d)
{
	bug_if(!d->path);
	*ret = *d;
	ret->path = xstrdup(d->path);
	ret->mark_path = xstrdup(d->mark_path);
	ret->lock_fd = -1;
}

void datadir_fini(struct datadir *d)
{
	datadir_unlock(d);
	free(d->path);
	free(d->mark_path);
	d->path = d->mark_path = NULL;
}

/* InnoDB takes a POSIX lock on ibdata1 for as long as it runs. */
static bool server_runs(const struct datadir *d)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	cleanup_close int fd = foreign_open(d->path, "ibdata1", NULL);

	return fd >= 0 && !fcntl(fd, F_GETLK, &l) && l.l_type != F_UNLCK;
}

int datadir_claim(struct datadir *d, struct err *e)
{
	int fd;

	bug_if(!d->path);
	if (d->lock_fd >= 0)
		return 0;
	fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "datadir %s", d->path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return err_set(e, E_IN_USE, "datadir %s is in use by another task", d->path);
	}
	d->lock_fd = fd;
	return 0;
}

int datadir_share(struct datadir *ret, const struct datadir *d, struct err *e)
{
	int fd;

	bug_if(d->lock_fd < 0);
	fd = fcntl(d->lock_fd, F_DUPFD_CLOEXEC,
		   0); /* one open file: it is locked until the last one is closed */
	if (fd < 0)
		return err_errno(e, errno, "share the lock of datadir %s", d->path);
	datadir_copy(ret, d);
	ret->lock_fd = fd;
	return 0;
}

int datadir_lock(struct datadir *d, struct err *e)
{
	bug_if(!d->path);
	if (datadir_claim(d, e) < 0)
		return e->code;
	if (server_runs(d))
		return err_set(e, E_IN_USE, "datadir %s: a server still runs on it", d->path);
	return 0;
}

void datadir_unlock(struct datadir *d)
{
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	d->lock_fd = -1;
}

int datadir_mark_load(const struct datadir *d, struct volume_mark *ret, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = fs_read(d->mark_path, GALERA_FILE_MAX, &text, &len, e);

	bug_if(!d->path);
	return r ? r : volume_mark_parse(text, len, ret, e);
}

int datadir_mark_store(const struct datadir *d, const struct volume_mark *m, struct err *e)
{
	cleanup_free char *text = volume_mark_format(m);

	bug_if(!d->path);
	return fs_write(d->mark_path, text, strlen(text), 0600, e);
}

int datadir_read(const struct datadir *d, const char *name, char **ret, size_t *ret_len, struct err *e)
{
	bug_if(!d->path);
	return foreign_read(d->path, name, GALERA_FILE_MAX, ret, ret_len, e);
}

int datadir_grastate(const struct datadir *d, struct grastate *ret, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r = datadir_read(d, "grastate.dat", &text, &len, e);

	return r ? r : grastate_parse(text, len, ret, e);
}

static bool is_kept(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, MARK_NAME) == 0 ||
	       strcmp(name, "lost+found") == 0;
}

int datadir_is_empty(const struct datadir *d, bool *ret, struct err *e)
{
	DIR *dir = opendir(d->path);
	struct dirent *de;
	int saved;

	bug_if(!d->path);
	*ret = true;
	if (!dir)
		return errno == ENOENT ? 0 : err_errno(e, errno, "datadir %s", d->path);
	while (*ret && (errno = 0, de = readdir(dir)))
		*ret = is_kept(de->d_name);
	saved = *ret ? errno : 0;
	closedir(dir);
	return saved != 0 ? err_errno(e, saved, "datadir %s", d->path) : 0;
}

int datadir_has(const struct datadir *d, const char *name, bool *ret, struct err *e)
{
	cleanup_free char *path = datadir_file(d, name);
	struct stat st;

	*ret = lstat(path, &st) == 0;
	return *ret || errno == ENOENT ? 0 : err_errno(e, errno, "datadir: %s", path);
}

/* fn(path) for each entry inside that is not ours. */
static int each_entry(const struct datadir *d, int (*fn)(const char *path, void *arg, struct err *e),
		      void *arg, struct err *e)
{
	DIR *dir = opendir(d->path);
	struct dirent *de;
	int r = 0;

	if (!dir)
		return err_errno(e, errno, "datadir %s", d->path);
	while (!r && (errno = 0, de = readdir(dir))) {
		cleanup_free char *path = NULL;

		if (is_kept(de->d_name))
			continue;
		path = datadir_file(d, de->d_name);
		r = fn(path, arg, e);
	}
	if (!r && errno != 0)
		r = err_errno(e, errno, "datadir %s", d->path);
	closedir(dir);
	return r;
}

static int remove_entry(const char *path, void *arg, struct err *e)
{
	return fs_remove_all(path, e);
}

int datadir_wipe(const struct datadir *d, struct err *e)
{
	bug_if(!d->path);
	return each_entry(d, remove_entry, NULL, e);
}

const char *datadir_sst_marker(const struct datadir *d, bool was_synced)
{
	for (size_t i = 0; i < (was_synced ? JOINER_MARKERS : array_size(sst_markers)); i++) {
		cleanup_free char *path = datadir_file(d, sst_markers[i]);

		if (fs_exists(path))
			return sst_markers[i];
	}
	return NULL;
}

static int remove_names(const struct datadir *d, const char *const *names, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		cleanup_free char *path = datadir_file(d, names[i]);
		int r = fs_remove_all(path, e); /* .sst is a folder */

		if (r)
			return r;
	}
	return 0;
}

int datadir_clean_markers(const struct datadir *d, struct err *e)
{
	int r = remove_names(d, sst_markers, array_size(sst_markers), e);

	bug_if(!d->path);
	return r ? r : remove_names(d, stale_files, array_size(stale_files), e);
}

int datadir_forget_state(const struct datadir *d, struct err *e)
{
	bug_if(!d->path);
	return foreign_unlink(d->path, "grastate.dat", e);
}

int datadir_set_safe(const struct datadir *d, struct err *e)
{
	const struct foreign_owner owner = {.uid = d->uid, .gid = d->gid, .mode = 0660};
	struct grastate g;
	char out[256];
	int r = datadir_grastate(d, &g, e);

	bug_if(!d->path);
	if (r)
		return r;
	snprintf(out, sizeof(out),
		 "# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   %lld\nsafe_to_bootstrap: 1\n",
		 g.position.uuid, (long long)g.position.seqno);
	return foreign_write(d->path, "grastate.dat", out, strlen(out), &owner, e);
}

int datadir_renew_state(const struct datadir *d, const char *uuid, uint64_t epoch, struct err *e)
{
	const struct foreign_owner owner = {.uid = d->uid, .gid = d->gid, .mode = 0660};
	cleanup_free char *from = datadir_file(d, "grastate.dat");
	cleanup_free char *to = xasprintf("%s.epoch-%llu", from, (unsigned long long)epoch);
	char out[256];

	bug_if(!galera_uuid_is_valid(uuid, strlen(uuid)) || galera_uuid_is_zero(uuid));
	/* Linked, not moved: at no time there is none. */
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) < 0 && errno != ENOENT && errno != EEXIST)
		return err_errno(e, errno, "keep %s aside", from);
	snprintf(out, sizeof(out),
		 "# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   -1\nsafe_to_bootstrap: 1\n",
		 uuid);
	return foreign_write(d->path, "grastate.dat", out, strlen(out), &owner, e);
}

int datadir_sync(const struct datadir *d, struct err *e)
{
	cleanup_close int fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	bug_if(!d->path);
	return fd < 0 || syncfs(fd) < 0 ? err_errno(e, errno, "sync %s", d->path) : 0;
}

uint64_t datadir_free_bytes(const struct datadir *d)
{
	struct statvfs v;

	bug_if(!d->path);
	return statvfs(d->path, &v) ? 0 : (uint64_t)v.f_bavail * v.f_frsize;
}

static int move_entry(const char *path, void *arg, struct err *e)
{
	cleanup_free char *copy = xstrdup(path);
	cleanup_free char *to = xasprintf("%s/%s", (const char *)arg, basename(copy));

	return rename(path, to) < 0 ? err_errno(e, errno, "quarantine %s", path) : 0;
}

static char *aside_path(const struct datadir *d, const char *aside)
{
	return xasprintf("%s.quarantine-%s", d->path, aside);
}

/* "3", and when that was taken by another copy "3.2": none is written over. */
static void aside_choose(const struct datadir *d, struct volume_mark *m, uint64_t epoch)
{
	snprintf(m->aside, sizeof(m->aside), "%llu", (unsigned long long)(epoch % 1000000000000));
	for (unsigned n = 2; n < 100000; n++) {
		cleanup_free char *path = aside_path(d, m->aside);

		if (!fs_exists(path))
			return;
		snprintf(m->aside, sizeof(m->aside), "%llu.%u", (unsigned long long)(epoch % 1000000000000),
			 n);
	}
}

int datadir_quarantine_finish(const struct datadir *d, struct volume_mark *m, struct err *e)
{
	cleanup_free char *to = *m->aside ? aside_path(d, m->aside) : NULL;
	cleanup_free char *copy = to ? xstrdup(to) : NULL;
	bool empty = false;
	int r;

	bug_if(!d->path);
	if (!to)
		return 0;
	r = fs_mkdir(to, 0700, e);
	if (!r)
		r = each_entry(d, move_entry, to, e);
	if (!r)
		r = datadir_is_empty(d, &empty, e);
	if (!r && !empty)
		r = err_set(e, E_IN_USE, "quarantine %s: it does not become empty", d->path);
	if (!r)
		r = fs_sync_dir(to, e);
	if (!r)
		r = fs_sync_dir(d->path, e);
	if (!r)
		r = fs_sync_dir(dirname(copy), e);
	if (r)
		return r;
	*m->aside = 0;
	m->whole = m->synced = false;
	return datadir_mark_store(d, m, e);
}

int datadir_quarantine(const struct datadir *d, struct volume_mark *m, uint64_t epoch, struct err *e)
{
	bool empty;
	int r = datadir_is_empty(d, &empty, e);

	bug_if(!d->path || *m->aside);
	if (r || empty)
		return r;
	aside_choose(d, m, epoch);
	r = datadir_mark_store(d, m, e);
	return r ? r : datadir_quarantine_finish(d, m, e);
}
