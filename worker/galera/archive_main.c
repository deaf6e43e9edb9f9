// SPDX-License-Identifier: Apache-2.0
/* gswarm-archive: packs and unpacks genesis archives for the worker (archive.h tells why it is a program).
 *
 *   gswarm-archive pack DIR FILE               DIR as one tar.zst, FILE is replaced
 *   gswarm-archive unpack FILE DIR UID GID     into the empty DIR, owned by UID:GID, synced
 *
 * The happy path streams files through libarchive and ends with 0. A new InnoDB log is 96 MiB of nothing: zstd
 * packs it to a few bytes (lseek's SEEK_DATA was seen to miss data that the file system had not yet written out,
 * so it is not asked), and unpacking writes no zero pages. What can fail: a full disk, an archive that another
 * node made badly (every entry's path and type is checked, counts and sizes are bounded, nothing is followed; who
 * takes the parser over all the same finds himself confined, confine.h). It is told as "CODE MESSAGE" on stdout,
 * which is a pipe to the worker, with exit status 1. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/foreign.h"
#include "worker/galera/archive.h"
#include "worker/galera/confine.h"

#define CHUNK (256u << 10)
#define MAX_ENTRIES 100000

/* Names that never travel. */
static const char *const left_out[] = {"auto.cnf",   "gvwstate.dat",   "galera.cache", "gcache.page.*",
				       "*.pem",      "*.pid",          "*.sock",       "gswarm.json",
				       "lost+found", "ib_buffer_pool", "ibtmp1",       "*.log"};

static bool leaves_out(const char *name)
{
	for (size_t i = 0; i < array_size(left_out); i++)
		if (!fnmatch(left_out[i], name, 0))
			return true;
	return false;
}

/* ---- pack ---- */

static int archive_err(struct archive *a, const char *what, struct err *e)
{
	return err_set(e, E_CORRUPT, "%s: %s", what, archive_error_string(a) ? archive_error_string(a) : "?");
}

static int pack_data(struct archive *a, int fd, const char *path, struct err *e)
{
	cleanup_free uint8_t *chunk = xmalloc(CHUNK);
	ssize_t n;

	while ((n = read(fd, chunk, CHUNK)) > 0)
		if (archive_write_data(a, chunk, n) < 0)
			return archive_err(a, path, e);
	return n < 0 ? err_errno(e, errno, "read %s", path) : 0;
}

static int pack_entry(struct archive *a, const FTSENT *f, const char *dir, const char *name, struct err *e)
{
	bool is_file = f->fts_info == FTS_F;
	cleanup_close int fd = is_file ? foreign_open(dir, name, e) : -1;
	struct archive_entry *entry;
	int r;

	if (is_file && fd < 0)
		return fd;
	entry = archive_entry_new();
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, is_file ? AE_IFREG : AE_IFDIR);
	archive_entry_set_perm(entry, f->fts_statp->st_mode & 0777);
	archive_entry_set_size(entry, is_file ? f->fts_statp->st_size : 0);
	r = archive_write_header(a, entry) == ARCHIVE_OK ? 0 : archive_err(a, name, e);
	archive_entry_free(entry);
	return r || !is_file ? r : pack_data(a, fd, f->fts_path, e);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int pack_tree(struct archive *a, const char *dir, struct err *e)
{
	char *const roots[] = {(char *)dir, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, by_name);
	size_t skip = strlen(dir) + 1;
	FTSENT *f;
	int r = 0;

	if (!fts)
		return err_errno(e, errno, "read %s", dir);
	while (!r && (f = fts_read(fts))) {
		if (f->fts_level == 0) {
			if (f->fts_info != FTS_D && f->fts_info != FTS_DP)
				r = err_errno(e, f->fts_errno ? f->fts_errno : ENOTDIR, "read %s", dir);
			continue;
		}
		if (leaves_out(f->fts_name)) {
			fts_set(fts, f, FTS_SKIP);
			continue;
		}
		if (f->fts_info == FTS_F || f->fts_info == FTS_D)
			r = pack_entry(a, f, dir, f->fts_path + skip, e);
		else if (f->fts_info != FTS_DP)
			r = err_set(e, E_CORRUPT, "%s: cannot be packed", f->fts_path);
	}
	fts_close(fts);
	return r;
}

static int pack(const char *dir, const char *path, struct err *e)
{
	struct archive *a;
	int r = confine_to_reading(e);

	if (r)
		return r;
	a = archive_write_new();
	if (archive_write_set_format_pax_restricted(a) || archive_write_add_filter_zstd(a) ||
	    archive_write_set_filter_option(a, "zstd", "compression-level", "1") ||
	    archive_write_open_filename(a, path))
		r = archive_err(a, path, e);
	if (!r)
		r = pack_tree(a, dir, e);
	if (!r && archive_write_close(a) != ARCHIVE_OK)
		r = archive_err(a, path, e);
	archive_write_free(a);
	return r;
}

/* ---- unpack ---- */

/* The worker wipes and restarts what an interrupted job has left: nothing may go on writing after it. */
static void die_with_worker(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have ended before that call: then nobody reads our pipe. */
	if (poll(&out, 1, 0) > 0 && out.revents & POLLERR)
		_exit(1);
}

static bool path_is_safe(const char *p)
{
	if (!p || !*p || *p == '/' || strlen(p) > 1024)
		return false;
	for (;;) {
		size_t n = strcspn(p, "/");

		if ((n == 2 && memcmp(p, "..", 2) == 0) || (n == 1 && *p == '.'))
			return false;
		if (!p[n])
			return true;
		p += n + 1;
	}
}

#define PAGE 4096u

static bool is_zero(const char *p, size_t n)
{
	return !n || (!*p && memcmp(p, p + 1, n - 1) == 0);
}

/* Everything but pages of zeros: the file is extended to its size afterwards. */
static int write_pages(int fd, const char *from, size_t n, int64_t at)
{
	while (n) {
		size_t part = n < PAGE ? n : PAGE;

		if (!is_zero(from, part) && pwrite(fd, from, part, at) != (ssize_t)part)
			return -1;
		from += part;
		at += (int64_t)part;
		n -= part;
	}
	return 0;
}

static int unpack_data(struct archive *a, int fd, int64_t size, const char *name, struct err *e)
{
	const void *data;
	size_t n;
	int64_t at;
	int r;

	while ((r = archive_read_data_block(a, &data, &n, &at)) == ARCHIVE_OK) {
		if (at < 0 || at > size || (int64_t)n > size - at)
			return err_set(e, E_CORRUPT, "%s: more data than its size", name);
		if (write_pages(fd, data, n, at) < 0)
			return err_errno(e, errno ? errno : EIO, "write %s", name);
	}
	if (r != ARCHIVE_EOF)
		return archive_err(a, name, e);
	return ftruncate(fd, size) < 0 ? err_errno(e, errno, "write %s", name) : 0;
}

struct unpack {
	const char *dir;
	uid_t uid;
	gid_t gid;
	uint64_t bytes;
	unsigned entries;
};

static int unpack_file(struct unpack *u, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	struct foreign_owner owner = {.uid = u->uid, .gid = u->gid, .mode = archive_entry_perm(entry) & 0770};
	cleanup_close int fd = foreign_create(u->dir, name, &owner, e);

	if (fd < 0)
		return fd;
	return unpack_data(a, fd, archive_entry_size(entry), name, e);
}

static int unpack_entry(struct unpack *u, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	int64_t size = archive_entry_size(entry);
	struct foreign_owner folder = {.uid = u->uid, .gid = u->gid, .mode = 0700};
	cleanup_free char *plain = NULL;

	if (!path_is_safe(name))
		return err_set(e, E_CORRUPT, "an entry leaves the folder");
	if (++u->entries > MAX_ENTRIES || size < 0 || (u->bytes += (uint64_t)size) > ARCHIVE_MAX_UNPACKED)
		return err_set(e, E_LIMIT, "more than %d entries or 8 GiB", MAX_ENTRIES);
	if (archive_entry_hardlink(entry) || archive_entry_symlink(entry))
		return err_set(e, E_CORRUPT, "%s: is a link", name);
	if (archive_entry_filetype(entry) == AE_IFREG)
		return unpack_file(u, a, entry, e);
	if (archive_entry_filetype(entry) != AE_IFDIR)
		return err_set(e, E_CORRUPT, "%s: neither file nor folder", name);
	plain = xstrdup(name); /* a folder's name ends with a slash */
	while (*plain && plain[strlen(plain) - 1] == '/')
		plain[strlen(plain) - 1] = '\0';
	return foreign_mkdir(u->dir, plain, &folder, e);
}

static int unpack_all(struct unpack *u, struct archive *a, struct err *e)
{
	struct archive_entry *entry;
	int r, n;

	while ((n = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
		r = unpack_entry(u, a, entry, e);
		if (r)
			return r;
	}
	return n == ARCHIVE_EOF ? 0 : archive_err(a, "archive", e);
}

static int unpack(const char *path, const char *dir, uid_t uid, gid_t gid, struct err *e)
{
	cleanup_close int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), dirfd = -1;
	struct unpack u = {.uid = uid, .gid = gid};
	struct archive *a;
	int r;

	if (file < 0)
		return err_errno(e, errno, "open %s", path);
	r = confine_to_folder(dir, uid, gid, &u.dir, e);
	if (r)
		return r;
	die_with_worker(); /* a change of user has ended that */
	dirfd = open(u.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_errno(e, errno, "open %s", dir);
	a = archive_read_new();
	if (archive_read_support_format_tar(a) || archive_read_support_filter_zstd(a) ||
	    archive_read_open_fd(a, file, CHUNK))
		r = archive_err(a, path, e);
	else
		r = unpack_all(&u, a, e);
	archive_read_free(a);
	if (!r && syncfs(dirfd) < 0)
		r = err_errno(e, errno, "sync %s", dir);
	return r;
}

/* ---- the program ---- */

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define MEMORY_MAX RLIM_INFINITY
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0"; /* who may not be traced cannot be searched for leaks */
}
#else
#define MEMORY_MAX (1ul << 30) /* zstd's largest window is 128 MiB */
#endif

static void limit(void)
{
	const struct rlimit size = {.rlim_cur = ARCHIVE_MAX_UNPACKED, .rlim_max = ARCHIVE_MAX_UNPACKED};
	const struct rlimit memory = {.rlim_cur = MEMORY_MAX, .rlim_max = MEMORY_MAX};
	const struct rlimit files = {.rlim_cur = 64, .rlim_max = 64};
	const struct rlimit none = {0};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_FSIZE, &size);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG is told instead */
	umask(0077);
}

int main(int argc, char **argv)
{
	struct err e = {0};

	die_with_worker();
	limit();
	if (argc == 4 && strcmp(argv[1], "pack") == 0) {
		pack(argv[2], argv[3], &e);
	} else if (argc == 6 && strcmp(argv[1], "unpack") == 0) {
		unpack(argv[2], argv[3], (uid_t)strtoul(argv[4], NULL, 10), (gid_t)strtoul(argv[5], NULL, 10),
		       &e);
	} else {
		fputs("usage: gswarm-archive pack DIR FILE | unpack FILE DIR UID GID\n"
		      "gswarm-worker starts it for the first data of Galera clusters.\n",
		      stderr);
		return 2;
	}
	if (e.code)
		printf("%d %s\n", e.code, e.msg);
	return e.code != 0;
}
