// SPDX-License-Identifier: Apache-2.0
/* The happy path is a few unlinks and rmdirs, without a process: the init of a container has ended, so the
 * kernel has killed the rest of its pid namespace. What can fail is a cgroup that is still busy for a moment
 * (tried again) or a container that still lives: `crun delete --force` then does it. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/host/cgroup.h"
#include "worker/runtime/container.h"

extern char **environ;

static void remove_files(const char *run_dir, const char *id)
{
	cleanup_free char *state = xasprintf("%s/crun/%s", run_dir, id);
	cleanup_free char *exit_file = xasprintf("%s/exits/%s", run_dir, id);

	fs_remove_all(state, NULL);
	fs_unlink(exit_file, NULL);
}

void runtime_clean(const char *run_dir, const char *id, const char *cgroup_path)
{
	cgroup_remove(cgroup_path);
	remove_files(run_dir, id);
}

/* The id is an argument of its own; the process of the container itself has other words. 1, 0 or -errno. */
static int is_maker_of(pid_t pid, const char *id)
{
	cleanup_free char *path = xasprintf("/proc/%d/cmdline", (int)pid);
	cleanup_free char *line = NULL;
	struct err e = {0};
	size_t len;

	if (pid <= 0)
		return 0;
	if (fs_read(path, 8192, &line, &len, &e) < 0)
		return e.code == -ENOENT || e.code == -ESRCH || e.code == -E2BIG ? 0 : e.code;
	return (memmem(line, len, "conmon", 6) || memmem(line, len, "crun", 4)) &&
	       memmem(line, len, id, strlen(id) + 1);
}

pid_t runtime_monitor(const char *bundle_dir, const char *id)
{
	cleanup_free char *path = xasprintf("%s/conmon.pid", bundle_dir);
	cleanup_free char *text = NULL;
	struct err e = {0};
	pid_t pid;
	int rc;

	if (fs_read(path, 64, &text, NULL, &e) < 0)
		return e.code == -ENOENT ? 0 : e.code;
	pid = (pid_t)atoi(text);
	rc = is_maker_of(pid, id);
	return rc > 0 ? pid : rc;
}

/* By pidfd, looked at again once it is open: the number may have become another process's. */
void runtime_monitor_kill(pid_t monitor, const char *id)
{
	cleanup_close int fd = pid_open(monitor);

	if (fd >= 0 && is_maker_of(monitor, id) > 0)
		pid_signal(fd, SIGKILL);
}

/* A conmon or crun that is still creating would make the container after we looked. Its pid file may not be
 * there yet, so all processes are asked; this is rare. */
static void kill_makers(const char *id)
{
	DIR *d = opendir("/proc");
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		pid_t pid = (pid_t)atoi(entry->d_name);

		if (is_maker_of(pid, id) > 0)
			runtime_monitor_kill(pid, id);
	}
	if (d)
		closedir(d);
}

void runtime_reap(const char *run_dir, const char *crun, const char *id, const char *cgroup_path)
{
	cleanup_free char *state = xasprintf("%s/crun", run_dir);
	cleanup_free char *known = xasprintf("%s/%s", state, id);
	const char *argv[] = {crun, "--root", state, "delete", "--force", id, NULL};
	posix_spawn_file_actions_t files;
	pid_t pid;
	int status;

	kill_makers(id);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	if (fs_exists(known) && posix_spawn(&pid, crun, &files, NULL, (char *const *)argv, environ) == 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	posix_spawn_file_actions_destroy(&files);
	cgroup_kill(cgroup_path);
	runtime_clean(run_dir, id, cgroup_path);
}
