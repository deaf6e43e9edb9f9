// SPDX-License-Identifier: Apache-2.0
/* How much of a state transfer has arrived, by what the datadir takes on the disk.
 *
 * The happy path looks at some hundreds of files: a datadir is one folder a database, and one more level in .sst.
 * The tree is the task's, and may be without end, or grow while we count: at most ENTRIES_MAX entries and TIME_MAX_MS
 * are spent, folders deeper than a datadir's are left out, links and mounts are not followed. What can fail is any
 * look at an entry, which then counts nothing. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "worker/galera/datadir.h"

#define ENTRIES_MAX 20000
#define TIME_MAX_MS 200
#define DEPTH_MAX 3 /* .sst/<database>/<file> */

struct count {
	uint64_t bytes;
	dev_t dev;
	size_t n_entries;
	int64_t end_ms;
	bool is_cut;
};

static int open_folder(int dir, const char *name)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS};

	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

/* true: it is looked at. The clock is cheap beside a stat. */
static bool take_entry(struct count *c)
{
	c->n_entries++;
	c->is_cut = c->is_cut || c->n_entries > ENTRIES_MAX || clock_mono_ms(&clock_real) > c->end_ms;
	return !c->is_cut;
}

/* The descriptor is ours to close. */
static void count_folder(struct count *c, int take_fd, unsigned depth)
{
	DIR *d = fdopendir(take_fd);
	struct dirent *entry;
	struct stat st;

	bug_if(depth > DEPTH_MAX);
	if (!d) {
		close(take_fd);
		return;
	}
	while ((entry = readdir(d)) && take_entry(c)) {
		const char *name = entry->d_name;
		int fd;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "galera.cache") == 0)
			continue;
		if (fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != c->dev)
			continue;
		if (S_ISREG(st.st_mode))
			c->bytes += (uint64_t)st.st_blocks * 512;
		if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
			continue;
		fd = open_folder(dirfd(d), name);
		if (fd >= 0)
			count_folder(c, fd, depth + 1);
	}
	closedir(d);
}

uint64_t datadir_bytes(const char *path, bool *ret_is_cut)
{
	struct count c = {.end_ms = clock_mono_ms(&clock_real) + TIME_MAX_MS};
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	bug_if(!bug_in_job());
	if (fd >= 0 && fstat(fd, &st) == 0) {
		c.dev = st.st_dev;
		count_folder(&c, fd, 1);
	} else if (fd >= 0) {
		close(fd);
	}
	*ret_is_cut = c.is_cut;
	return c.bytes;
}
