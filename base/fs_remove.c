// SPDX-License-Identifier: Apache-2.0
/* A tree taken away, however deep it is and whoever changes it meanwhile.
 *
 * The happy path works on one open folder at a time and never on a path: what is no folder is unlinked, a
 * folder with something in it is entered, an empty one is left by ".." and removed from above. A path as long
 * as the tree is deep would end at PATH_MAX, and a link put in its middle would lead out of the tree.
 * What can fail: an entry that cannot be removed, another file system in the tree (it is not entered), a
 * folder that cannot be read to its end or is never empty, a folder moved away while we were in it (".." is
 * then another one than we came from). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"

/* Looks at what is full again each time: more than any writer needs who ends himself. Who goes on, or a file system
 * whose folders never are what they say, has the tree left to him. */
#define AGAIN_MAX 1000

/* A folder above the open one, and the name by which it was left downwards. */
struct level {
	struct level *up;
	dev_t dev;
	ino_t ino;
	char name[];
};

struct walk {
	int fd; /* the open folder */
	struct level *top;
	unsigned again; /* how often a folder was not empty that we had just emptied */
};

static int open_below(int dir, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS};

	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

/* -1 and errno as unlinkat(2); ENOTEMPTY when it is a folder with something in it. */
static int remove_entry(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno == EEXIST)
		errno = ENOTEMPTY;
	return -1;
}

/* Removes what it can. *ret_child is the first folder that is not empty (heap), or NULL: nothing is left. */
static int empty_folder(int dir, char **ret_child)
{
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	unsigned looks = 0;
	bool again = true;
	int rc = 0;

	*ret_child = NULL;
	if (!d && copy >= 0)
		close(copy);
	if (!d)
		return -1;
	/* A folder that changes under readdir may hide an entry: it is empty when a whole look finds nothing. */
	while (again && !rc && !*ret_child) {
		again = false;
		if (looks++ > AGAIN_MAX) {
			errno = EBUSY;
			rc = -1;
			break;
		}
		rewinddir(d);
		while (!rc && !*ret_child && (errno = 0, entry = readdir(d))) {
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			again = true;
			rc = remove_entry(dir, entry->d_name);
			if (rc < 0 && errno == ENOENT)
				rc = 0;
			if (rc < 0 && errno == ENOTEMPTY) {
				*ret_child = xstrdup(entry->d_name);
				rc = 0;
			}
		}
		if (!rc && !*ret_child && errno != 0)
			rc = -1; /* what it did not show may be there */
	}
	copy = errno;
	closedir(d);
	errno = copy;
	return rc;
}

static int walk_down(struct walk *w, const char *name)
{
	size_t len = strlen(name) + 1;
	int fd = open_below(w->fd, name);
	struct level *l;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(w->fd, &st) < 0) {
		close(fd);
		return -1;
	}
	l = xmalloc(sizeof(*l) + len);
	*l = (struct level){.up = w->top, .dev = st.st_dev, .ino = st.st_ino};
	memcpy(l->name, name, len);
	w->top = l;
	close(w->fd);
	w->fd = fd;
	return 0;
}

static int walk_up(struct walk *w)
{
	int fd = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct level *l = w->top;
	struct stat st;

	bug_if(!l);
	if (fd < 0)
		return -1;
	close(w->fd);
	w->fd = fd;
	if (fstat(fd, &st) < 0)
		return -1;
	if (st.st_dev != l->dev || st.st_ino != l->ino) {
		errno = EBUSY;
		return -1;
	}
	if (unlinkat(fd, l->name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -1;
		/* Somebody still writes there; the next look at this folder enters it again. */
		if (++w->again > AGAIN_MAX) {
			errno = EBUSY;
			return -1;
		}
	}
	w->top = l->up;
	free(l);
	return 0;
}

static int walk_all(struct walk *w)
{
	for (;;) {
		cleanup_free char *child = NULL;

		if (empty_folder(w->fd, &child) < 0)
			return -1;
		if (child && walk_down(w, child) < 0)
			return -1;
		if (!child && !w->top)
			return 0;
		if (!child && walk_up(w) < 0)
			return -1;
	}
}

int fs_remove_all(const char *path, struct err *e)
{
	struct walk w = {.fd = -1};
	int rc = remove_entry(AT_FDCWD, path), saved;

	if (rc < 0 && errno == ENOTEMPTY) {
		w.fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		rc = w.fd < 0 ? -1 : walk_all(&w);
		if (rc == 0)
			rc = rmdir(path);
	}
	saved = errno;
	while (w.top) {
		struct level *l = w.top;

		w.top = l->up;
		free(l);
	}
	if (w.fd >= 0)
		close(w.fd);
	return rc < 0 && saved != ENOENT ? err_errno(e, saved, "remove %s", path) : 0;
}
