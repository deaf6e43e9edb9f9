// SPDX-License-Identifier: Apache-2.0
/* Files that survive a crash: write aside, fsync, rename, fsync of the folder. A full disk or a failing one is
 * told with the path; the old content of the file is then untouched. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

int fs_sync_dir(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_errno(e, errno, "sync %s", path);
	return 0;
}

int fs_write_all(int fd, const void *bytes, size_t len)
{
	const char *data = bytes;

	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_write(const char *path, const void *data, size_t len, mode_t mode, struct err *e)
{
	cleanup_free char *tmp = xasprintf("%s.tmp", path);
	cleanup_free char *copy = xstrdup(path);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return err_errno(e, errno, "write %s", path);
	if (fchmod(fd, mode) < 0 || fs_write_all(fd, data, len) < 0 || fsync(fd) < 0) {
		int saved = errno;

		close(fd);
		unlink(tmp);
		return err_errno(e, saved, "write %s", path);
	}
	close(fd);
	if (rename(tmp, path) < 0) {
		int saved = errno;

		unlink(tmp);
		return err_errno(e, saved, "rename to %s", path);
	}
	return fs_sync_dir(dirname(copy), e);
}

int fs_read(const char *path, size_t limit, char **ret_data, size_t *ret_len, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *data = NULL;
	size_t len = 0, cap = 4096;

	if (fd < 0)
		return err_errno(e, errno, "read %s", path);
	data = xmalloc(cap + 1);
	for (;;) {
		ssize_t n = read(fd, data + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "read %s", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > limit)
			return err_set(e, -E2BIG, "read %s: over %zu bytes", path, limit);
		if (len == cap) {
			cap *= 2;
			data = xrealloc(data, cap + 1);
		}
	}
	data[len] = 0;
	if (ret_len)
		*ret_len = len;
	*ret_data = steal(data);
	return 0;
}

int fs_mkdir(const char *path, mode_t mode, struct err *e)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return err_set(e, -ENAMETOOLONG, "mkdir %s: name too long", path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != 0)
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, i == n ? mode : 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "mkdir %s", part);
	}
	return 0;
}

bool fs_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

int fs_unlink(const char *path, struct err *e)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "unlink %s", path);
	return 0;
}

/* "<dir>/aside-20260131T120501Z", with -2, -3 ... behind it when that second has one already. */
static int aside_new(const char *dir, char **ret, struct err *e)
{
	char when[32];
	time_t now = time(NULL);
	struct tm utc;

	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
	for (unsigned i = 1;; i++) {
		cleanup_free char *path = i == 1 ? xasprintf("%s/aside-%s", dir, when)
						 : xasprintf("%s/aside-%s-%u", dir, when, i);

		if (mkdir(path, 0700) == 0) {
			*ret = steal(path);
			return 0;
		}
		if (errno != EEXIST)
			return err_errno(e, errno, "mkdir %s", path);
	}
}

static int move_into(const char *from, const char *aside, struct err *e)
{
	cleanup_free char *copy = xstrdup(from);
	const char *base = strrchr(from, '/');
	cleanup_free char *to = xasprintf("%s/%s", aside, base ? base + 1 : from);

	if (rename(from, to) < 0)
		return err_errno(e, errno, "move %s to %s", from, aside);
	return fs_sync_dir(dirname(copy), e);
}

int fs_set_aside(const char *dir, const char *const *names, size_t n, char **ret_where, struct err *e)
{
	cleanup_free char *aside = NULL;

	for (size_t i = 0; i < n; i++) {
		cleanup_free char *from = xasprintf("%s/%s", dir, names[i]);

		if (faccessat(AT_FDCWD, from, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			continue;
		if (!aside && aside_new(dir, &aside, e) < 0)
			return e->code;
		if (move_into(from, aside, e) < 0)
			return e->code;
	}
	if (aside && (fs_sync_dir(aside, e) < 0 || fs_sync_dir(dir, e) < 0))
		return e->code;
	*ret_where = steal(aside);
	return 0;
}

/* A killed predecessor's lock is also held by its child between fork and exec: that passes in moments. */
static int lock_wait(int fd)
{
	struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK || i == 25)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int fs_lock(const char *path, int *ret_fd, struct err *e)
{
	cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	char text[24] = "";
	int rc, n;

	if (fd < 0)
		return err_errno(e, errno, "lock %s", path);
	rc = lock_wait(fd);
	if (rc == -EWOULDBLOCK) {
		n = (int)pread(fd, text, sizeof(text) - 1, 0);
		return err_set(e, E_IN_USE, "%s is locked by process %.*s", path,
			       n > 0 ? (int)strcspn(text, "\n") : 1, n > 0 ? text : "?");
	}
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (rc < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
		return err_errno(e, rc < 0 ? -rc : errno, "lock %s", path);
	*ret_fd = fd;
	fd = -1;
	return 0;
}
