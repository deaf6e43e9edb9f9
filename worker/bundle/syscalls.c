// SPDX-License-Identifier: Apache-2.0
/* Which system calls a task may make: a list of allowed ones, so that what a later kernel adds is closed until
 * somebody has looked at it.
 *
 *   allowed                         what servers, shells, compilers and tracers of one's own children use
 *   known and refused   EPERM       mounts, namespaces, modules, clocks, keys, bpf, perf, io_uring ...: programs
 *                                   know this answer and say what they lack
 *   everything else     ENOSYS      what libc takes for "this kernel is older" and works around; clone3 among
 *                                   them, because a filter cannot look into the structure that it takes
 *
 * The happy path gives it to crun twice: as JSON, which is the OCI's form, and as the program that libseccomp
 * makes of it, once for all tasks. crun takes the second and spares itself 2 ms of compiling, a third of its
 * time; a runtime that knows no such annotation takes the first. Both are for the host's architecture alone:
 * a call by another one's numbers (int 0x80, x32) kills. Names that this host's libseccomp does not know
 * would be told at every start, so none is listed that Debian 12's (2.5.4) does not. What can fail is
 * memory, or a libseccomp without this architecture: then only the JSON is there.
 * docs/isolation.md compares the list with Docker's. */
#include "worker/bundle/syscalls.h"

#include <errno.h>
#include <openssl/evp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"

/* By what they are about, as in syscalls(2). */
static const char *const allowed[] = {
	/* files */
	"access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup",
	"dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat",
	"fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr",
	"fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd", "getdents",
	"getdents64", "getxattr", "ioctl", "lchown", "lgetxattr", "link", "linkat", "listxattr", "llistxattr",
	"lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat",
	"name_to_handle_at", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2",
	"pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
	"removexattr", "rename", "renameat", "renameat2", "rmdir", "sendfile", "setxattr", "splice", "stat",
	"statfs", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate",
	"umask", "unlink", "unlinkat", "utime", "utimensat", "utimes", "write", "writev",
	/* notification and waiting */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
	"epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "inotify_add_watch", "inotify_init",
	"inotify_init1", "inotify_rm_watch", "pause", "poll", "ppoll", "pselect6", "select", "signalfd",
	"signalfd4", "timerfd_create", "timerfd_gettime", "timerfd_settime",
	/* asynchronous I/O: InnoDB's */
	"io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
	/* memory */
	"brk", "get_mempolicy", "madvise", "mbind", "membarrier", "memfd_create", "memfd_secret", "mincore",
	"mlock", "mlock2", "mlockall", "mmap", "mprotect", "mremap", "msync", "munlock", "munlockall",
	"munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_mrelease", "remap_file_pages",
	"set_mempolicy", "set_mempolicy_home_node",
	/* processes, threads, signals */
	"arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "futex",
	"futex_waitv", "get_robust_list", "get_thread_area", "getcpu", "getegid", "geteuid", "getgid",
	"getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresuid",
	"getrlimit", "getrusage", "getsid", "gettid", "getuid", "ioprio_get", "ioprio_set", "kill",
	"modify_ldt", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64", "process_vm_readv",
	"process_vm_writev", "ptrace", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending",
	"rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
	"sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
	"sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "set_robust_list",
	"set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setpgid",
	"setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setuid",
	"sigaltstack", "tgkill", "time", "times", "tkill", "uname", "vfork", "wait4", "waitid", "waitpid",
	/* confining oneself further */
	"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
	/* time */
	"alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "nanosleep",
	"setitimer", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
	/* sockets and pipes; socket(2) itself by family, below */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "pipe",
	"pipe2", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
	"socketpair",
	/* System V and POSIX IPC, of the task's own namespace */
	"mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl",
	"msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt",
	"shmget",
	/* the machine */
	"getrandom", "sysinfo", "chroot"};
static const char *const refused[] = {
	/* mounts and namespaces */
	"fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
	"pivot_root", "setdomainname", "sethostname", "setns", "umount", "umount2", "unshare",
	/* the kernel itself */
	"bpf", "create_module", "delete_module", "finit_module", "init_module", "ioperm", "iopl",
	"kexec_file_load", "kexec_load", "perf_event_open", "reboot", "syslog", "userfaultfd",
	/* clocks, accounting, swap, quota, terminals of others */
	"acct", "adjtimex", "clock_adjtime", "clock_settime", "quotactl", "quotactl_fd", "settimeofday",
	"stime", "swapoff", "swapon", "vhangup",
	/* keys have no namespace */
	"add_key", "keyctl", "request_key",
	/* ways around paths and other processes' walls */
	"fanotify_init", "kcmp", "migrate_pages", "move_pages", "lookup_dcookie", "open_by_handle_at",
	"pidfd_getfd", "process_madvise", "vmsplice",
	/* the widest door of the last years; servers fall back to the calls above */
	"io_uring_enter", "io_uring_register", "io_uring_setup",
	/* long gone */
	"nfsservctl", "sysfs", "uselib", "ustat"};
/* CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET. (CLONE_NEWTIME cannot be given to clone(2).) */
static const unsigned namespaces[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000,
				      0x10000000, 0x20000000, 0x40000000};
#define NAMESPACES 0x7e020000
#define ALL_BITS 0xffffffff /* int arguments: the upper half of the register is anything */
/* Of these a task has a use; packet and raw sockets of them need a capability that it does not have. */
static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
/* Linux, SVR4's and 32-bit personalities as they are, with and without UNAME26, and "which is it?". Not
 * ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC. */
static const unsigned personalities[] = {0x0, 0x0008, 0x20000, 0x20008, 0xffffffff};

static json_t *names(const char *const *list, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list[i]));
	return a;
}

static void allow(json_t *rules, const char *const *list, size_t n)
{
	json_array_append_new(rules,
			      json_pack("{s:o, s:s}", "names", names(list, n), "action", "SCMP_ACT_ALLOW"));
}

static void refuse(json_t *rules, const char *const *list, size_t n)
{
	json_array_append_new(rules, json_pack("{s:o, s:s, s:i}", "names", names(list, n), "action",
					       "SCMP_ACT_ERRNO", "errnoRet", EPERM));
}

/* One call, decided by its first argument: (argument & mask) == value. */
static void by_argument(json_t *rules, const char *name, int errno_or_0, unsigned mask, unsigned value)
{
	json_t *rule =
		json_pack("{s:[s], s:s, s:[{s:i, s:I, s:I, s:s}]}", "names", name, "action",
			  errno_or_0 ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW", "args", "index", 0, "value",
			  (json_int_t)mask, "valueTwo", (json_int_t)value, "op", "SCMP_CMP_MASKED_EQ");

	bug_if(!rule);
	if (errno_or_0)
		json_object_set_new(rule, "errnoRet", json_integer(errno_or_0));
	json_array_append_new(rules, rule);
}

json_t *syscalls_format(void)
{
	json_t *rules = json_array(), *profile;

	allow(rules, allowed, array_size(allowed));
	refuse(rules, refused, array_size(refused));
	by_argument(rules, "clone", 0, NAMESPACES, 0);
	for (size_t i = 0; i < array_size(namespaces); i++)
		by_argument(rules, "clone", EPERM, namespaces[i], namespaces[i]);
	for (size_t i = 0; i < array_size(families); i++)
		by_argument(rules, "socket", 0, ALL_BITS, families[i]);
	for (size_t i = 0; i < array_size(personalities); i++)
		by_argument(rules, "personality", 0, ALL_BITS, personalities[i]);
	profile = json_pack("{s:s, s:i, s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", ENOSYS,
			    "syscalls", rules);
	bug_if(!profile);
	return profile;
}

/* ---- the same as a program ---- */

struct compile {
	scmp_filter_ctx ctx;
	int error; /* the first */
};

static void add(struct compile *c, const char *name, int errno_or_0, const struct scmp_arg_cmp *argument)
{
	int number = seccomp_syscall_resolve_name(name);
	int rc = seccomp_rule_add_array(c->ctx,
					errno_or_0 ? SCMP_ACT_ERRNO((unsigned)errno_or_0) : SCMP_ACT_ALLOW,
					number, argument ? 1 : 0, argument);

	/* Below zero: this architecture has no such call. */
	if (rc < 0 && number >= 0 && !c->error)
		c->error = -rc;
}

static void add_argument(struct compile *c, const char *name, int errno_or_0, unsigned mask, unsigned value)
{
	add(c, name, errno_or_0, &SCMP_A0(SCMP_CMP_MASKED_EQ, mask, value));
}

static void add_all(struct compile *c)
{
	for (size_t i = 0; i < array_size(allowed); i++)
		add(c, allowed[i], 0, NULL);
	for (size_t i = 0; i < array_size(refused); i++)
		add(c, refused[i], EPERM, NULL);
	add_argument(c, "clone", 0, NAMESPACES, 0);
	for (size_t i = 0; i < array_size(namespaces); i++)
		add_argument(c, "clone", EPERM, namespaces[i], namespaces[i]);
	for (size_t i = 0; i < array_size(families); i++)
		add_argument(c, "socket", 0, ALL_BITS, families[i]);
	for (size_t i = 0; i < array_size(personalities); i++)
		add_argument(c, "personality", 0, ALL_BITS, personalities[i]);
}

/* libseccomp writes it to a descriptor only. */
static char *export(scmp_filter_ctx ctx, struct err *e)
{
	cleanup_close int fd = memfd_create("seccomp", MFD_CLOEXEC);
	cleanup_free unsigned char *program = NULL;
	unsigned char *text;
	struct stat st;

	if (fd < 0 || seccomp_export_bpf(ctx, fd) < 0 || fstat(fd, &st) < 0) {
		err_errno(e, errno, "compile the seccomp profile");
		return NULL;
	}
	program = xmalloc((size_t)st.st_size);
	if (pread(fd, program, (size_t)st.st_size, 0) != st.st_size) {
		err_set(e, -EIO, "read the seccomp profile");
		return NULL;
	}
	text = xmalloc((size_t)st.st_size * 4 / 3 + 8);
	EVP_EncodeBlock(text, program, (int)st.st_size);
	return (char *)text;
}

char *syscalls_compile(struct err *e)
{
	struct compile c = {.ctx = seccomp_init(SCMP_ACT_ERRNO(ENOSYS))};
	char *text = NULL;

	if (!c.ctx) {
		err_set(e, -ENOSYS,
			"compile the seccomp profile: libseccomp does not know this architecture");
		return NULL;
	}
	/* A tree over the numbers in place of a list: crun does the same. */
	seccomp_attr_set(c.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	add_all(&c);
	if (c.error)
		err_errno(e, c.error, "compile the seccomp profile");
	else
		text = export(c.ctx, e);
	seccomp_release(c.ctx);
	return text;
}
