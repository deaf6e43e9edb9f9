// SPDX-License-Identifier: Apache-2.0
/* Control groups of what has ended: found in each hierarchy and removed, after crun made them and their limits. A
 * group stays busy for some milliseconds after its last process: tried again for half a second. */
#include "worker/host/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"

#define ROOT "/sys/fs/cgroup"
#define CGROUP2_MAGIC 0x63677270

char *cgroup_path_new(const char *node_id, const char *name)
{
	return name ? xasprintf("/gswarm/%s/%s", node_id, name) : xasprintf("/gswarm/%s", node_id);
}

enum cgroup_layout cgroup_layout_get(void)
{
	struct statfs fs;

	if (statfs(ROOT, &fs) < 0)
		return CGROUP_NONE;
	if (fs.f_type == CGROUP2_MAGIC)
		return CGROUP_V2;
	if (statfs(ROOT "/unified", &fs) == 0 && fs.f_type == CGROUP2_MAGIC)
		return CGROUP_HYBRID;
	return fs_exists(ROOT "/memory") || fs_exists(ROOT "/pids") ? CGROUP_V1 : CGROUP_NONE;
}

/* Calls visit with the folder of this path in each hierarchy that has it. */
static void each_folder(const char *path, void (*visit)(const char *folder))
{
	DIR *d;
	struct dirent *entry;

	bug_if(*path != '/' || !path[1]); /* a group of ours, never the root of all */
	if (cgroup_layout_get() == CGROUP_V2) {
		cleanup_free char *folder = xasprintf(ROOT "%s", path);

		visit(folder);
		return;
	}
	d = opendir(ROOT);
	while (d && (entry = readdir(d))) {
		cleanup_free char *folder = NULL;

		if (entry->d_name[0] == '.' || entry->d_type == DT_LNK)
			continue;
		folder = xasprintf(ROOT "/%s%s", entry->d_name, path);
		if (fs_exists(folder))
			visit(folder);
	}
	if (d)
		closedir(d);
}

static void remove_folder(const char *folder)
{
	struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

	for (int i = 0; i < 50; i++) {
		if (rmdir(folder) == 0 || errno != EBUSY)
			return;
		nanosleep(&pause, NULL);
	}
}

void cgroup_remove(const char *path)
{
	bug_if(*path != '/');
	each_folder(path, remove_folder);
}

static void kill_folder(const char *folder)
{
	cleanup_free char *path = xasprintf("%s/cgroup.procs", folder);
	FILE *f = fopen(path, "re");
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		if (pid > 1)
			kill(pid, SIGKILL);
	if (f)
		fclose(f);
}

void cgroup_kill(const char *path)
{
	each_folder(path, kill_folder);
}

static int enter_folder(const char *folder, int pid, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/cgroup.procs", folder);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", pid);
	int fd;

	if (fs_mkdir(folder, 0755, e) < 0)
		return e->code;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n) {
		int saved = errno;

		if (fd >= 0)
			close(fd);
		return err_errno(e, saved, "enter %s", folder);
	}
	close(fd);
	return 0;
}

/* On v1 only systemd's own hierarchy decides what ends with a unit; on v2 there is but one. */
int cgroup_enter(const char *path, int pid, struct err *e)
{
	enum cgroup_layout layout = cgroup_layout_get();
	cleanup_free char *folder = xasprintf("%s%s%s", ROOT, layout == CGROUP_V2 ? "" : "/systemd", path);

	if (layout == CGROUP_NONE || (layout != CGROUP_V2 && !fs_exists(ROOT "/systemd")))
		return 0;
	return enter_folder(folder, pid, e);
}
