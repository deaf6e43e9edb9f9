// SPDX-License-Identifier: Apache-2.0
/* The happy path streams files through libarchive. A new InnoDB log is 96 MiB of nothing: zstd packs it to a
 * few bytes (lseek's SEEK_DATA was seen to miss data that the file system had not yet written out, so it is
 * not asked), and unpacking writes no zero pages. What can fail: a full disk (the half archive is removed),
 * an archive that another node made badly (every entry's path and type is checked, counts and sizes are
 * bounded, nothing is followed). */
#include "worker/galera/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <fts.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define CHUNK (256u << 10)
#define MAX_ENTRIES 100000

static const char *const left_out[] = {"auto.cnf",   "gvwstate.dat",   "galera.cache", "gcache.page.*",
				       "*.pem",      "*.pid",          "*.sock",       "gswarm.json",
				       "lost+found", "ib_buffer_pool", "ibtmp1",       "*.log"};

bool archive_leaves_out(const char *name)
{
	for (size_t i = 0; i < array_size(left_out); i++)
		if (!fnmatch(left_out[i], name, 0))
			return true;
	return false;
}

bool sha256_is_valid(const char *text)
{
	return strlen(text) == SHA256_TEXT - 1 && strspn(text, "0123456789abcdef") == SHA256_TEXT - 1;
}

int sha256_file(const char *path, char ret[SHA256_TEXT], uint64_t *ret_size, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_free uint8_t *chunk = xmalloc(CHUNK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	uint64_t size = 0;
	ssize_t n = -1;

	if (fd >= 0 && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL))
		while ((n = read(fd, chunk, CHUNK)) > 0) {
			EVP_DigestUpdate(md, chunk, n);
			size += n;
		}
	if (n == 0)
		EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	if (n)
		return err_errno(e, errno, "read %s", path);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	*ret_size = size;
	return 0;
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

static int pack_entry(struct archive *a, const FTSENT *f, const char *name, struct err *e)
{
	bool is_file = f->fts_info == FTS_F;
	cleanup_close int fd = is_file ? open(f->fts_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	struct archive_entry *entry;
	int r;

	if (is_file && fd < 0)
		return err_errno(e, errno, "read %s", f->fts_path);
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
		if (f->fts_level == 0)
			continue;
		if (archive_leaves_out(f->fts_name)) {
			fts_set(fts, f, FTS_SKIP);
			continue;
		}
		if (f->fts_info == FTS_F || f->fts_info == FTS_D)
			r = pack_entry(a, f, f->fts_path + skip, e);
		else if (f->fts_info != FTS_DP)
			r = err_set(e, E_CORRUPT, "%s: cannot be packed", f->fts_path);
	}
	fts_close(fts);
	return r;
}

static int pack_to(const char *dir, const char *path, struct err *e)
{
	struct archive *a = archive_write_new();
	int r = 0;

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

int archive_pack(const char *dir, const char *blob_dir, char ret_sha256[SHA256_TEXT], uint64_t *ret_size,
		 struct err *e)
{
	char suffix[ID_LEN + 1];
	cleanup_free char *tmp = NULL, *final = NULL;
	int r = fs_mkdir(blob_dir, 0700, e);

	if (r)
		return r;
	id_new(suffix);
	tmp = xasprintf("%s/.pack-%s", blob_dir, suffix);
	r = pack_to(dir, tmp, e);
	if (!r)
		r = sha256_file(tmp, ret_sha256, ret_size, e);
	if (!r) {
		cleanup_close int fd = open(tmp, O_RDONLY | O_CLOEXEC);

		final = xasprintf("%s/%s", blob_dir, ret_sha256);
		if (fd < 0 || fchmod(fd, 0600) < 0 || fsync(fd) < 0 || rename(tmp, final) < 0)
			r = err_errno(e, errno, "keep %s", final);
	}
	if (r)
		unlink(tmp);
	return r ? r : fs_sync_dir(blob_dir, e);
}

/* ---- unpack ---- */

static bool path_is_safe(const char *p)
{
	if (!p || !*p || *p == '/' || strlen(p) > 1024)
		return false;
	for (;;) {
		size_t n = strcspn(p, "/");

		if ((n == 2 && !memcmp(p, "..", 2)) || (n == 1 && *p == '.'))
			return false;
		if (!p[n])
			return true;
		p += n + 1;
	}
}

#define PAGE 4096u

static bool is_zero(const char *p, size_t n)
{
	return !n || (!*p && !memcmp(p, p + 1, n - 1));
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
	int dirfd;
	uid_t uid;
	gid_t gid;
	uint64_t bytes;
	unsigned entries;
};

static int unpack_file(struct unpack *u, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	cleanup_close int fd =
		openat(u->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || fchown(fd, u->uid, u->gid) < 0 || fchmod(fd, archive_entry_perm(entry) & 0770) < 0)
		return err_errno(e, errno, "write %s", name);
	return unpack_data(a, fd, archive_entry_size(entry), name, e);
}

static int unpack_entry(struct unpack *u, struct archive *a, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	int64_t size = archive_entry_size(entry);

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
	if (mkdirat(u->dirfd, name, 0700) < 0 ||
	    fchownat(u->dirfd, name, u->uid, u->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_errno(e, errno, "make %s", name);
	return 0;
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

int archive_unpack(const char *path, const char *dir, uid_t uid, gid_t gid, struct err *e)
{
	cleanup_close int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct unpack u = {.dirfd = dirfd, .uid = uid, .gid = gid};
	struct archive *a;
	int r;

	if (dirfd < 0)
		return err_errno(e, errno, "open %s", dir);
	a = archive_read_new();
	if (archive_read_support_format_tar(a) || archive_read_support_filter_zstd(a) ||
	    archive_read_open_filename(a, path, CHUNK))
		r = archive_err(a, path, e);
	else
		r = unpack_all(&u, a, e);
	archive_read_free(a);
	if (!r && syncfs(dirfd) < 0)
		r = err_errno(e, errno, "sync %s", dir);
	return r ? err_wrap(e, "unpack genesis") : 0;
}
