// SPDX-License-Identifier: Apache-2.0
/* A list of calls that are refused; everything else is allowed. That is weaker than a list of allowed calls
 * against what a future kernel adds, and it is short enough to be read. What is refused: new mounts and
 * namespaces, loading code into the kernel, its clocks and accounting, keys, raw tracing interfaces, io_uring
 * (servers fall back to libaio). clone3 answers ENOSYS, because a filter cannot look into its argument
 * structure: libc then uses clone. */
#include "worker/bundle/seccomp.h"

#include <errno.h>

static const char *const refused[] = {
	"mount",
	"umount",
	"umount2",
	"move_mount",
	"open_tree",
	"fsopen",
	"fsconfig",
	"fsmount",
	"fspick",
	"mount_setattr",
	"pivot_root",
	"setns",
	"unshare",
	"kexec_load",
	"kexec_file_load",
	"init_module",
	"finit_module",
	"delete_module",
	"create_module",
	"reboot",
	"swapon",
	"swapoff",
	"settimeofday",
	"stime",
	"clock_settime",
	"clock_adjtime",
	"adjtimex",
	"acct",
	"quotactl",
	"quotactl_fd",
	"syslog",
	"iopl",
	"ioperm",
	"bpf",
	"perf_event_open",
	"add_key",
	"request_key",
	"keyctl",
	"userfaultfd",
	"lookup_dcookie",
	"open_by_handle_at",
	"vhangup",
	"fanotify_init",
	"nfsservctl",
	"uselib",
	"ustat",
	"sysfs",
	"io_uring_setup",
	"io_uring_enter",
	"io_uring_register",
	"process_madvise",
	"pidfd_getfd",
	"kcmp",
	"vmsplice",
};
static const unsigned clone_flags[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000,
				       0x10000000, 0x20000000, 0x40000000};

static json_t *names(const char *const *list, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list[i]));
	return a;
}

json_t *seccomp_format(void)
{
	static const char *const clone3 = "clone3", *const clone_name = "clone";
	json_t *rules = json_array();

	json_array_append_new(rules, json_pack("{s:o, s:s, s:i}", "names",
					       names(refused, sizeof(refused) / sizeof(refused[0])), "action",
					       "SCMP_ACT_ERRNO", "errnoRet", EPERM));
	json_array_append_new(rules, json_pack("{s:o, s:s, s:i}", "names", names(&clone3, 1), "action",
					       "SCMP_ACT_ERRNO", "errnoRet", ENOSYS));
	for (size_t i = 0; i < sizeof(clone_flags) / sizeof(clone_flags[0]); i++)
		json_array_append_new(
			rules, json_pack("{s:o, s:s, s:i, s:[{s:i, s:I, s:I, s:s}]}", "names",
					 names(&clone_name, 1), "action", "SCMP_ACT_ERRNO", "errnoRet", EPERM,
					 "args", "index", 0, "value", (json_int_t)clone_flags[i], "valueTwo",
					 (json_int_t)clone_flags[i], "op", "SCMP_CMP_MASKED_EQ"));
	return json_pack("{s:s, s:o}", "defaultAction", "SCMP_ACT_ALLOW", "syscalls", rules);
}
