// SPDX-License-Identifier: Apache-2.0
/* The engine's own small files beside libraft's segments (which libraft ignores):
 *
 *   id         this voter's raft id; written last by a bootstrap, so its presence says "complete"
 *   highwater  highest applied index, rewritten about every second without fsync: what was applied here can
 *              never be missing from the log, so a log that ends below it has lost acknowledged entries
 *   damaged    why this directory must not be used again
 *
 * The happy path is: read, compare. What can fail is the disk; a high-water mark that cannot be written is
 * only older than it could be. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/loop.h"
#include "base/mem.h"
#include "manager/raft/internal.h"

#define LOW_SPACE_BYTES (64ull << 20)
#define SEGMENT_ROOM_BYTES (12ull << 20) /* one more segment of 8 MiB, a snapshot */
#define RESERVE_KIB 4096

static char *in_dir(const char *dir, const char *name)
{
	bug_if(!*dir || strchr(name, '/'));
	return xasprintf("%s/%s", dir, name);
}

static int read_number(const char *dir, const char *name, uint64_t *ret, struct err *e)
{
	cleanup_free char *path = in_dir(dir, name);
	cleanup_free char *text = NULL;
	size_t len;
	int rc = fs_read(path, 64, &text, &len, e);

	if (rc)
		return rc;
	if (sscanf(text, "%" SCNu64, ret) != 1)
		return err_set(e, E_CORRUPT, "%s holds no number", path);
	return 0;
}

int dir_id(const char *dir, raft_id *ret, struct err *e)
{
	uint64_t id;
	int rc = read_number(dir, "id", &id, e);

	if (rc == 0)
		*ret = id;
	return rc;
}

int dir_id_new(const char *dir, raft_id *ret, struct err *e)
{
	cleanup_free char *path = in_dir(dir, "id");
	char text[32];
	uint64_t id;
	int rc;

	random_bytes(&id, sizeof(id));
	id = (id >> 1) | 1;
	bug_if(id == 0 || id >> 63); /* libraft's range */
	snprintf(text, sizeof(text), "%" PRIu64 "\n", id);
	rc = fs_write(path, text, strlen(text), 0600, e);
	if (rc == 0)
		*ret = id;
	return rc;
}

/* false, 0: no such folder, or an empty one. */
static int has_entries(const char *dir, bool *ret, struct err *e)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	bool any = false;
	int rc = 0;

	*ret = false;
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, errno, "open %s", dir);
	errno = 0;
	while (!any && (entry = readdir(d)))
		any = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	if (!any && errno)
		rc = err_errno(e, errno, "read %s", dir);
	closedir(d);
	*ret = any;
	return rc;
}

int raft_engine_look(const char *dir, bool *ret_exists, struct err *e)
{
	raft_id id;
	int rc = has_entries(dir, ret_exists, e);

	if (rc || !*ret_exists)
		return rc;
	rc = dir_id(dir, &id, e);
	if (rc == -ENOENT)
		return err_set(
			e, E_CORRUPT,
			"%s holds a manager's log but its file 'id' is missing: restore the folder from a "
			"backup, or move it away to begin without a cluster",
			dir);
	return rc;
}

void dir_mark_bad(const char *dir, const struct err *why)
{
	cleanup_free char *path = in_dir(dir, "damaged");

	bug_if(!why->msg[0]);
	fs_write(path, why->msg, strlen(why->msg), 0600, NULL);
}

int dir_check_bad(const char *dir, struct err *e)
{
	cleanup_free char *path = in_dir(dir, "damaged");
	cleanup_free char *text = NULL;
	size_t len;

	int rc = fs_read(path, 512, &text, &len, e);

	if (rc == -ENOENT)
		err_clear(e);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	return err_set(e, E_CORRUPT, "%s was found damaged (%s): restore it from a backup", dir, text);
}

int dir_high_water(const char *dir, uint64_t *ret, struct err *e)
{
	int rc;

	*ret = 0;
	rc = read_number(dir, "highwater", ret, e);
	if (rc != -ENOENT && rc != E_CORRUPT)
		return rc;
	err_clear(e);
	return 0;
}

/* rename without fsync: after a crash of the machine the old mark or none is fine, half a number is not. */
int dir_set_high_water(const char *dir, uint64_t index)
{
	cleanup_free char *path = in_dir(dir, "highwater");
	cleanup_free char *tmp = in_dir(dir, "highwater.tmp");
	cleanup_close int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRIu64 "\n", index);

	bug_if(n <= 0 || (size_t)n >= sizeof(text));
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(tmp, path) < 0)
		return -1;
	return 0;
}

static bool free_bytes(const char *dir, uint64_t *ret)
{
	struct statvfs v;

	if (statvfs(dir, &v) < 0)
		return false;
	*ret = (uint64_t)v.f_bavail * v.f_frsize;
	return true;
}

bool dir_has_room(const char *dir, unsigned capacity_kib)
{
	uint64_t bytes = 0;

	return capacity_kib >= RESERVE_KIB || !free_bytes(dir, &bytes) || bytes >= SEGMENT_ROOM_BYTES;
}

const char *dir_space(const char *dir, char *buf, size_t n)
{
	uint64_t bytes = 0;

	if (!free_bytes(dir, &bytes) || bytes >= LOW_SPACE_BYTES)
		return NULL;
	snprintf(buf, n, "%s has %" PRIu64 " MiB of disk left", dir, bytes >> 20);
	return buf;
}

struct look {
	char *dir;
	uint64_t mark, written;
	char text[160];
	const char *low;
	void (*done)(uint64_t written, const char *low, void *arg);
	void *arg;
};

static void look_work(void *arg)
{
	struct look *l = arg;

	if (l->mark != 0 && dir_set_high_water(l->dir, l->mark) == 0)
		l->written = l->mark;
	l->low = dir_space(l->dir, l->text, sizeof(l->text));
}

static void look_back(void *arg)
{
	struct look *l = arg;

	l->done(l->written, l->low, l->arg);
	free(l->dir);
	free(l);
}

void dir_look(uv_loop_t *loop, const char *dir, uint64_t mark,
	      void (*done)(uint64_t written, const char *low, void *arg), void *arg)
{
	struct look *l = xcalloc(1, sizeof(*l));

	l->dir = xstrdup(dir);
	l->mark = mark;
	l->done = done;
	l->arg = arg;
	loop_work(loop, look_work, look_back, l);
}
