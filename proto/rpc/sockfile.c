// SPDX-License-Identifier: Apache-2.0
/* The happy path is: lock, remove what a crash left, bind, chown. What can fail: another daemon has the lock
 * or answers on the socket, something that is no socket lies there, the folder cannot be written. The lock
 * file stays behind: to remove it would be the very race that it prevents. */
#include "proto/rpc/sockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "proto/rpc/peercred.h"

#define TRIES 25
#define PAUSE_NS (20 * 1000 * 1000)

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

/* Right after a kill the lock and the socket may live yet: a child between fork and exec still has the dead
 * daemon's descriptors. */
static int lock_take(const char *path, int *ret, struct err *e)
{
	cleanup_free char *name = xasprintf("%s.lock", path);
	cleanup_close int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return err_errno(e, errno, "open %s", name);
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return err_errno(e, errno, "lock %s", name);
		if (i == TRIES)
			return err_set(e, E_IN_USE, "another daemon already serves %s", path);
		pause_briefly();
	}
	*ret = fd;
	fd = -1;
	return 0;
}

static bool socket_answers(const struct sockaddr_un *sa)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN);
}

static int remove_stale(const struct sockaddr_un *sa, struct err *e)
{
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, E_EXISTS, "%s is in the way: it is no socket", sa->sun_path);
	for (int i = 0; socket_answers(sa); i++) { /* one of before there were locks */
		if (i == TRIES)
			return err_set(e, E_IN_USE, "another daemon already serves %s", sa->sun_path);
		pause_briefly();
	}
	return fs_unlink(sa->sun_path, e);
}

static int open_to_group(const char *path, const char *group, struct err *e)
{
	gid_t gid;

	if (peercred_group_id(group, &gid) && chown(path, (uid_t)-1, gid) < 0 && errno != EPERM)
		return err_errno(e, errno, "chown %s", path);
	if (chmod(path, 0660) < 0)
		return err_errno(e, errno, "chmod %s", path);
	return 0;
}

/* Binds; from here on the file is ours to remove. */
static int bind_here(struct sockfile *f, const struct sockaddr_un *sa, int fd, struct err *e)
{
	struct stat st;
	mode_t mask = umask(0177); /* nobody may slip in before the mode is set */
	int rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? errno : 0;

	umask(mask);
	if (rc)
		return err_errno(e, rc, "listen on %s", f->path);
	if (lstat(f->path, &st) < 0)
		return err_errno(e, errno, "listen on %s", f->path);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return 0;
}

int sockfile_bind(struct sockfile *f, const char *path, const char *group, int *ret_fd, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	int rc;

	*f = (struct sockfile){.lock = -1};
	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, E_INVALID, "socket path too long (107 characters at most): %s", path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	rc = lock_take(path, &f->lock, e);
	if (rc < 0)
		return rc;
	f->path = xstrdup(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		rc = err_errno(e, errno, "socket");
	if (rc == 0)
		rc = remove_stale(&sa, e);
	if (rc == 0)
		rc = bind_here(f, &sa, fd, e);
	if (rc == 0)
		rc = open_to_group(path, group, e);
	if (rc < 0) {
		sockfile_release(f);
		return rc;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

void sockfile_release(struct sockfile *f)
{
	struct stat st;

	if (f->ino && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlink(f->path);
	if (f->lock >= 0)
		close(f->lock);
	free(f->path);
	*f = (struct sockfile){.lock = -1};
}
