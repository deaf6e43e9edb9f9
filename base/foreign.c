// SPDX-License-Identifier: Apache-2.0
/* Files that a task or a user can touch, opened without trust.
 *
 * The happy path is openat2(2) beneath a descriptor of the root, a look that it is a regular file, and plain
 * reads and writes on the descriptor. What can fail: a name that is a link, a FIFO or too long a file: told
 * with its path, nothing of it was followed, waited for or written. The kernel does the walk in one call, so
 * a rename in the middle of it cannot lead out. */
#include "base/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"

/* No mount can be of a task's making; one that is there is not what we look for. */
#define TREE_RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
/* An image may be several file systems, and its links are part of it. */
#define IMAGE_RESOLVE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define OPEN_TRIES 16

static int open_root(const char *root)
{
	return open(*root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* -1 and errno, as openat(2). Never waits: O_NONBLOCK for FIFOs, O_NOCTTY for terminals. */
static int open_at(int dir, const char *name, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY),
		.mode = mode,
		.resolve = resolve,
	};
	int fd = -1;

	bug_if(flags & O_CREAT && !(flags & O_EXCL)); /* what is there is never written to */
	bug_if(flags & O_TRUNC);
	/* EAGAIN: a rename raced with "..". A lease on the file says the same, for as long as its owner
	 * likes. */
	for (int i = 0; i < OPEN_TRIES; i++) {
		fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd;
}

static int open_regular(const char *root, const char *name, uint64_t resolve, struct err *e)
{
	cleanup_close int dir = open_root(root);
	cleanup_close int fd = dir < 0 ? -1 : open_at(dir, name, O_RDONLY, 0, resolve);
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "read %s/%s", root, name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, E_FORBIDDEN, "read %s/%s: is no regular file", root, name);
	ret = fd;
	fd = -1;
	return ret;
}

int foreign_open(const char *root, const char *name, struct err *e)
{
	return open_regular(root, name, TREE_RESOLVE, e);
}

static int read_bounded(int fd, const char *root, const char *name, size_t limit, char **ret, size_t *ret_len,
			struct err *e)
{
	cleanup_free char *data = NULL;
	size_t len = 0, cap = 4096;

	data = xmalloc(cap + 1);
	for (;;) {
		bug_if(len >= cap);
		ssize_t n = read(fd, data + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "read %s/%s", root, name);
		if (!n)
			break;
		len += (size_t)n;
		if (len > limit)
			return err_set(e, -E2BIG, "read %s/%s: over %zu bytes", root, name, limit);
		if (len == cap) {
			cap *= 2;
			data = xrealloc(data, cap + 1);
		}
	}
	data[len] = '\0';
	if (ret_len)
		*ret_len = len;
	*ret = steal(data);
	return 0;
}

int foreign_read(const char *root, const char *name, size_t limit, char **ret, size_t *ret_len, struct err *e)
{
	cleanup_close int fd = open_regular(root, name, TREE_RESOLVE, e);

	return fd < 0 ? fd : read_bounded(fd, root, name, limit, ret, ret_len, e);
}

int foreign_read_image(const char *root, const char *name, size_t limit, char **ret, size_t *ret_len,
		       struct err *e)
{
	cleanup_close int fd = open_regular(root, name, IMAGE_RESOLVE, e);

	return fd < 0 ? fd : read_bounded(fd, root, name, limit, ret, ret_len, e);
}

bool foreign_image_has(const char *root, const char *name, bool executable)
{
	cleanup_close int dir = open_root(root);
	cleanup_close int fd = dir < 0 ? -1 : open_at(dir, name, O_PATH, 0, IMAGE_RESOLVE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	return !executable || (S_ISREG(st.st_mode) && st.st_mode & 0111);
}

/* The folder that holds name, O_PATH, and where its last part begins. */
static int open_parent(const char *root, const char *name, const char **ret_last)
{
	cleanup_close int dir = open_root(root);
	const char *slash = strrchr(name, '/');
	cleanup_free char *parent = NULL;
	int fd;

	*ret_last = slash ? slash + 1 : name;
	if (dir < 0 || !**ret_last || strcmp(*ret_last, ".") == 0 || strcmp(*ret_last, "..") == 0) {
		errno = dir < 0 ? errno : EXDEV;
		return -1;
	}
	if (!slash) {
		fd = dir;
		dir = -1;
		return fd;
	}
	parent = xstrdup(name);
	parent[slash - name] = '\0';
	return open_at(dir, parent, O_PATH | O_DIRECTORY, 0, TREE_RESOLVE);
}

/* Owner first: a change of owner takes set-id bits away. */
static int own(int fd, const struct foreign_owner *o)
{
	return fchown(fd, o->uid, o->gid) < 0 || fchmod(fd, o->mode) < 0 ? -1 : 0;
}

static int sync_dir(int dir)
{
	cleanup_close int fd = open_at(dir, ".", O_RDONLY | O_DIRECTORY, 0, TREE_RESOLVE);

	return fd < 0 ? -1 : fsync(fd);
}

/* Until the rename the file is ours alone by O_EXCL: whoever has planted something there gets an error. */
static int write_new(int dir, const char *tmp, const void *data, size_t len, const struct foreign_owner *o)
{
	cleanup_close int fd = -1;

	if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
		return -1;
	fd = open_at(dir, tmp, O_WRONLY | O_CREAT | O_EXCL, 0600, TREE_RESOLVE);
	return fd < 0 || fs_write_all(fd, data, len) < 0 || own(fd, o) < 0 || fsync(fd) < 0 ? -1 : 0;
}

int foreign_write(const char *root, const char *name, const void *data, size_t len,
		  const struct foreign_owner *owner, struct err *e)
{
	const char *last;
	cleanup_close int dir = open_parent(root, name, &last);
	cleanup_free char *tmp = xasprintf("%s.tmp", last);
	int saved;

	bug_if(owner->mode & ~07777u);
	if (dir < 0)
		return err_errno(e, errno, "write %s/%s", root, name);
	if (!write_new(dir, tmp, data, len, owner) && !renameat(dir, tmp, dir, last) && !sync_dir(dir))
		return 0;
	saved = errno;
	unlinkat(dir, tmp, 0);
	return err_errno(e, saved, "write %s/%s", root, name);
}

int foreign_create(const char *root, const char *name, const struct foreign_owner *owner, struct err *e)
{
	const char *last;
	cleanup_close int dir = open_parent(root, name, &last);
	int fd = dir < 0 ? -1 : open_at(dir, last, O_WRONLY | O_CREAT | O_EXCL, 0600, TREE_RESOLVE);

	if (fd >= 0 && own(fd, owner) < 0) {
		int saved = errno;

		close(fd);
		return err_errno(e, saved, "own %s/%s", root, name);
	}
	return fd < 0 ? err_errno(e, errno, "write %s/%s", root, name) : fd;
}

int foreign_mkdir(const char *root, const char *name, const struct foreign_owner *owner, struct err *e)
{
	const char *last;
	cleanup_close int dir = open_parent(root, name, &last);
	cleanup_close int fd = -1;

	if (dir < 0 || (mkdirat(dir, last, 0700) < 0 && errno != EEXIST))
		return err_errno(e, errno, "make %s/%s", root, name);
	fd = open_at(dir, last, O_RDONLY | O_DIRECTORY, 0, TREE_RESOLVE);
	if (fd < 0 || own(fd, owner) < 0)
		return err_errno(e, errno, "make %s/%s", root, name);
	return 0;
}

int foreign_unlink(const char *root, const char *name, struct err *e)
{
	const char *last;
	cleanup_close int dir = open_parent(root, name, &last);

	if (dir < 0 ? errno == ENOENT : !unlinkat(dir, last, 0) || errno == ENOENT)
		return 0;
	return err_errno(e, errno, "remove %s/%s", root, name);
}

int foreign_socket(const char *root, const char *name, struct err *e)
{
	cleanup_close int dir = open_root(root);
	cleanup_close int fd = dir < 0 ? -1 : open_at(dir, name, O_PATH, 0, TREE_RESOLVE);
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "socket %s/%s", root, name);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, E_FORBIDDEN, "socket %s/%s: is no socket", root, name);
	ret = fd;
	fd = -1;
	return ret;
}
