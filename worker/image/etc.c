// SPDX-License-Identifier: Apache-2.0
/* What a task of image `host` sees of the host's /etc: copies of what is named below, and nothing else.
 *
 * The happy path finds the copies of an earlier task: a folder named for the state of the originals (names,
 * sizes, times), made once and shared by all tasks that start while nothing changes. A later change makes
 * another folder, in which unchanged files are links to the former copies; a running task keeps what it began
 * with. Copies, not binds, because twenty binds for each start cost more than all of its other mounts, and a
 * bind of a file goes stale when the file is replaced just the same.
 *
 * What can fail: a full /run. What the world cannot read on the host is left out, whatever it is called. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "worker/image/image.h"

#define FILE_MAX (4 << 20) /* ld.so.cache and the bundle of CAs have some 0.2 MiB */
#define ENTRIES_MAX 20000  /* in all */
#define DEPTH_MAX 6        /* below a name of the list */
#define RECENT_MS 1000
#define HASH_START 14695981039346656037ull /* FNV-1a, 64 bits */
#define HASH_PRIME 1099511628211ull

/* What programs of /usr need to run at all and to name users, services, zones and certificates, and no
 * configuration of the host's own servers: that has passwords in it. More comes by read-only binds. */
static const char *const shown[] = {
	"alternatives",
	"bash.bashrc",
	"ca-certificates.conf",
	"crypto-policies",
	"debian_version",
	"gai.conf",
	"group",
	"host.conf",
	"inputrc",
	"java-*",
	"ld.so.cache",
	"ld.so.conf",
	"ld.so.conf.d",
	"locale.alias",
	"locale.conf",
	"localtime",
	"login.defs",
	"magic",
	"magic.mime",
	"mime.types",
	"mtab",
	"netconfig",
	"networks",
	"nsswitch.conf",
	"os-release",
	"passwd",
	"perl",
	"profile",
	"profile.d",
	"protocols",
	"python3*",
	"rpc",
	"services",
	"shells",
	"ssl/certs",
	"ssl/openssl.cnf",
	"terminfo",
	"timezone",
	"xattr.conf",
};

/* One walk over what is shown, without or with a folder to copy to. */
struct walk {
	int to;   /* folder that is being filled, -1: only look */
	int from; /* an earlier one, for links to what did not change; -1: none */
	uint64_t hash;
	unsigned entries;
	struct err *e;
};

static void mix(struct walk *w, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		w->hash = (w->hash ^ p[i]) * HASH_PRIME;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return S_ISREG(b->st_mode) && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && (a->st_mode & 0777) == (b->st_mode & 0777);
}

static int copy_bytes(int in, int out)
{
	char chunk[16384];
	ssize_t n;

	while ((n = read(in, chunk, sizeof(chunk))) > 0)
		if (write(out, chunk, (size_t)n) != n)
			return -1;
	return (int)n;
}

static bool is_public(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_mode & S_IROTH && st->st_size <= FILE_MAX;
}

static int copy_file(struct walk *w, int in, const struct stat *st, const char *path)
{
	const struct timespec times[] = {st->st_mtim, st->st_mtim};
	cleanup_close int out = -1;
	struct stat old;

	bug_if(!is_public(st));
	if (w->from >= 0 && !fstatat(w->from, path, &old, AT_SYMLINK_NOFOLLOW) && is_same(st, &old) &&
	    !linkat(w->from, path, w->to, path, 0))
		return 0;
	out = openat(w->to, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0 || copy_bytes(in, out) < 0 || fchmod(out, st->st_mode & 0755) < 0 ||
	    futimens(out, times) < 0)
		return err_errno(w->e, errno ? errno : EIO, "copy /etc/%s", path);
	return 0;
}

static int visit_file(struct walk *w, int dir, const char *name, const char *path, struct stat *st)
{
	cleanup_close int in = -1;

	if (!is_public(st)) /* not the world's: not here */
		return 0;
	mix(w, path, strlen(path) + 1);
	mix(w, &st->st_size, sizeof(st->st_size));
	mix(w, &st->st_mtim, sizeof(st->st_mtim));
	mix(w, &st->st_mode, sizeof(st->st_mode));
	if (w->to < 0)
		return 0;
	in = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0 || fstat(in, st) < 0 || !is_public(st)) /* gone or changed meanwhile */
		return 0;
	return copy_file(w, in, st, path);
}

static int visit_link(struct walk *w, int dir, const char *name, const char *path)
{
	char target[1024], old[1024];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return 0;
	target[n] = '\0';
	mix(w, path, strlen(path) + 1);
	mix(w, target, (size_t)n);
	if (w->to < 0)
		return 0;
	if (w->from >= 0 && readlinkat(w->from, path, old, sizeof(old)) == n &&
	    memcmp(old, target, (size_t)n) == 0 && !linkat(w->from, path, w->to, path, 0))
		return 0;
	if (symlinkat(target, w->to, path) < 0)
		return err_errno(w->e, errno, "copy /etc/%s", path);
	return 0;
}

static int visit(struct walk *w, int dir, const char *name, const char *path, unsigned depth);

static int visit_folder(struct walk *w, int dir, const char *name, const char *path, unsigned depth)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	struct stat st;

	if (!d && fd >= 0)
		close(fd);
	if (!d)
		return 0;
	if (fstat(fd, &st) < 0 || (st.st_mode & 0005) != 0005 || depth > DEPTH_MAX) {
		closedir(d);
		return 0;
	}
	mix(w, path, strlen(path) + 1);
	mix(w, &st.st_mtim, sizeof(st.st_mtim));
	if (w->to >= 0 && (mkdirat(w->to, path, 0755) < 0 && errno != EEXIST))
		rc = err_errno(w->e, errno, "copy /etc/%s", path);
	while (!rc && (entry = readdir(d))) {
		cleanup_free char *below = NULL;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    (w->to < 0 &&
		     entry->d_type == DT_LNK)) /* made anew when it changes: our folder's time tells */
			continue;
		below = xasprintf("%s/%s", path, entry->d_name);
		rc = visit(w, fd, entry->d_name, below, depth + 1);
	}
	closedir(d);
	return rc;
}

static int visit(struct walk *w, int dir, const char *name, const char *path, unsigned depth)
{
	struct stat st;

	if (++w->entries > ENTRIES_MAX || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (S_ISDIR(st.st_mode))
		return visit_folder(w, dir, name, path, depth);
	if (S_ISLNK(st.st_mode))
		return visit_link(w, dir, name, path);
	return visit_file(w, dir, name, path, &st);
}

/* A name of two parts: its folder alone is made. */
static int visit_named(struct walk *w, int etc, const char *path)
{
	cleanup_free char *parent = xstrdup(path);
	char *slash = strchr(parent, '/');
	struct stat st;

	if (slash) {
		*slash = '\0';
		if (fstatat(etc, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return 0;
		if (w->to >= 0 && mkdirat(w->to, parent, 0755) < 0 && errno != EEXIST)
			return err_errno(w->e, errno, "copy /etc/%s", parent);
	}
	return visit(w, etc, path, path, 0);
}

static bool is_shown(const char *name)
{
	for (size_t i = 0; i < array_size(shown); i++)
		if (fnmatch(shown[i], name, FNM_PATHNAME) == 0)
			return true;
	return false;
}

static int walk_etc(struct walk *w, const char *etc_path)
{
	cleanup_close int etc = open(etc_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = opendir(etc_path);
	struct dirent *entry;
	int rc = 0;

	bug_if(w->to < 0 && w->from >= 0);
	w->hash = HASH_START;
	if (etc < 0 || !d)
		rc = err_errno(w->e, errno, "read %s", etc_path);
	while (!rc && d && (entry = readdir(d)))
		if (is_shown(entry->d_name))
			rc = visit(w, etc, entry->d_name, entry->d_name, 0);
	if (d)
		closedir(d);
	for (size_t i = 0; !rc && i < array_size(shown); i++)
		if (strchr(shown[i], '/'))
			rc = visit_named(w, etc, shown[i]);
	return rc;
}

/* Any finished folder of an earlier state: O_PATH, or -1. */
static int former(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	int fd = -1;

	while (d && fd < 0 && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			fd = openat(dirfd(d), entry->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d)
		closedir(d);
	return fd;
}

static int fill(const char *etc, const char *dir, const char *path, struct err *e)
{
	cleanup_free char *tmp = xasprintf("%s/.new", dir);
	struct walk w = {.to = -1, .from = -1, .e = e};
	int rc;

	if (fs_remove_all(tmp, e) < 0 || fs_mkdir(tmp, 0755, e) < 0)
		return e->code;
	w.to = open(tmp, O_PATH | O_DIRECTORY | O_CLOEXEC);
	w.from = former(dir);
	rc = w.to < 0 ? err_errno(e, errno, "open %s", tmp) : walk_etc(&w, etc);
	if (w.to >= 0)
		close(w.to);
	if (w.from >= 0)
		close(w.from);
	return rc ? rc : rename(tmp, path) < 0 && errno != EEXIST ? err_errno(e, errno, "keep %s", path) : 0;
}

/* The layer that was right less than a second ago: many starts at once look but once. */
static char *recent(const char *dir, const char *current)
{
	char name[32];
	ssize_t n = readlink(current, name, sizeof(name) - 1);
	struct timespec now;
	struct stat st;

	if (n <= 0 || lstat(current, &st) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return NULL;
	name[n] = '\0';
	if (now.tv_sec < st.st_mtim.tv_sec ||
	    (now.tv_sec - st.st_mtim.tv_sec) * 1000 + (now.tv_nsec - st.st_mtim.tv_nsec) / 1000000 >=
		    RECENT_MS)
		return NULL;
	return xasprintf("%s/%s", dir, name);
}

/* Said for the next ones; if it cannot be, they look themselves. */
static void note_recent(const char *current, const char *name)
{
	cleanup_free char *tmp = xasprintf("%s.new", current);
	char old[32];
	ssize_t n = readlink(current, old, sizeof(old));

	if (n == (ssize_t)strlen(name) && memcmp(old, name, (size_t)n) == 0) {
		utimensat(AT_FDCWD, current, NULL, AT_SYMLINK_NOFOLLOW);
		return;
	}
	unlink(tmp);
	if (symlink(name, tmp) == 0)
		rename(tmp, current);
}

int etc_host_layer(const char *etc, const char *dir, char **ret_path, struct err *e)
{
	struct walk look = {.to = -1, .from = -1, .e = e};
	cleanup_free char *current = xasprintf("%s/.current", dir);
	cleanup_free char *path = recent(dir, current);
	cleanup_close int lock = -1;

	if (path) {
		*ret_path = steal(path);
		return 0;
	}
	if (fs_mkdir(dir, 0755, e) < 0 || walk_etc(&look, etc) < 0)
		return e->code;
	lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_errno(e, errno, "lock %s", dir);
	path = xasprintf("%s/%016llx", dir, (unsigned long long)look.hash);
	/* A change since the look gives copies that are newer than their name: the next look differs. */
	if (!fs_exists(path) && fill(etc, dir, path, e) < 0)
		return e->code;
	note_recent(current, strrchr(path, '/') + 1);
	*ret_path = steal(path);
	return 0;
}
