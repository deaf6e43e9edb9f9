// SPDX-License-Identifier: Apache-2.0
/* A second wall behind capabilities, masks and seccomp, where the host's kernel has AppArmor switched on.
 *
 * The happy path finds the profile in the kernel (it outlives us) or gives its text to apparmor_parser(8); crun
 * names it at each start. What can fail is the parser. Then tasks run without it, as on hosts without
 * AppArmor, and the log says so. The name carries a number that rises with the text. */
#include "worker/bundle/apparmor.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

#define PROFILE "gswarm-task-1"
#define ENABLED "/sys/module/apparmor/parameters/enabled"
#define LOADED "/sys/kernel/security/apparmor/profiles"
#define PARSER "/sbin/apparmor_parser"

/* Files are the mount namespace's business; this is about what goes around it. Plain paths, no includes: the
 * host may lack AppArmor's abstractions. Signals come from the worker, which is unconfined, and from within. */
static const char text[] = "profile " PROFILE " flags=(attach_disconnected,mediate_deleted) {\n"
			   "  network,\n"
			   "  capability,\n"
			   "  file,\n"
			   "  signal (receive) peer=unconfined,\n"
			   "  signal (send,receive) peer=" PROFILE ",\n"
			   "  ptrace (trace,read,tracedby,readby) peer=" PROFILE ",\n"
			   "  unix,\n"
			   "  deny mount,\n"
			   "  deny umount,\n"
			   "  deny pivot_root,\n"
			   "  deny /proc/sys/** wklx,\n"
			   "  deny /proc/sysrq-trigger rwklx,\n"
			   "  deny /proc/kcore rwklx,\n"
			   "  deny /proc/kmem rwklx,\n"
			   "  deny /proc/mem rwklx,\n"
			   "  deny /proc/acpi/** rwklx,\n"
			   "  deny /sys/** wklx,\n"
			   "  deny /sys/firmware/** rwklx,\n"
			   "  deny /sys/kernel/security/** rwklx,\n"
			   "  deny /sys/devices/virtual/powercap/** rwklx,\n"
			   "}\n";

extern char **environ;

static bool is_loaded(void)
{
	cleanup_free char *list = NULL;

	return fs_read(LOADED, 1 << 20, &list, NULL, NULL) == 0 && strstr(list, PROFILE " (");
}

static int parse(struct err *e)
{
	const char *argv[] = {PARSER, "--replace", "--skip-cache", NULL};
	cleanup_close int in = memfd_create("profile", MFD_CLOEXEC);
	posix_spawn_file_actions_t files;
	int status = 0, rc;
	pid_t pid;

	if (in < 0 || pwrite(in, text, sizeof(text) - 1, 0) != sizeof(text) - 1)
		return err_errno(e, errno, "write the AppArmor profile");
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&files, 3);
	rc = posix_spawn(&pid, argv[0], &files, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (rc)
		return err_errno(e, rc, "start %s", argv[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? err_set(e, E_UNAVAILABLE, "%s refused the profile of tasks", argv[0]) : 0;
}

int apparmor_load(const char **ret, struct err *e)
{
	cleanup_free char *on = NULL;

	*ret = NULL;
	if (fs_read(ENABLED, 16, &on, NULL, NULL) < 0 || *on != 'Y')
		return 0;
	if (!is_loaded()) {
		if (access(PARSER, X_OK) < 0)
			return 0;
		if (parse(e) < 0)
			return e->code;
	}
	*ret = PROFILE;
	return 0;
}
