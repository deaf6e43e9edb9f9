// SPDX-License-Identifier: Apache-2.0
/* A task that wants out. tests/e2e/test_hostile.py runs it as whatever a task can be; it is linked statically,
 * so that it runs in any image.
 *
 * One line for each way: "held NAME" or "OUT NAME DETAIL", and "done" at the end. A way counts as open when
 * the kernel let it be, also where this program would not know what to do behind it.
 *
 * HOST_PORT  a port on which the host listens on 127.0.0.1
 * MAX_PIDS   the task's limit of processes, tried out when it is given */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(bool out, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void tell(bool out, const char *name, const char *format, ...)
{
	char detail[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);
	printf(out ? "OUT %s %s\n" : "held %s\n", name, detail);
	fflush(stdout);
}

/* ---- system calls: each must fail, and with the error that says so ---- */

static void call(const char *name, int want, long number, long a, long b, long c, long d, long e)
{
	long r;

	errno = 0;
	r = syscall(number, a, b, c, d, e);
	tell(r >= 0 || (want && errno != want), name, "gave %ld, %s", r, strerror(errno));
}

static void forbidden_calls(void)
{
	struct io_uring_params ring = {0};
	struct perf_event_attr perf = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(perf)};
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	struct timex tx = {.modes = ADJ_TICK, .tick = 10000};
	struct timeval tv = {.tv_sec = 1};
	char bytes[128] = "";

	call("bpf", EPERM, SYS_bpf, 0, (long)bytes, sizeof(bytes), 0, 0);
	call("kexec_load", EPERM, SYS_kexec_load, 0, 0, 0, 0, 0);
	call("kexec_file_load", EPERM, SYS_kexec_file_load, -1, -1, 0, 0, 0);
	call("init_module", EPERM, SYS_init_module, (long)bytes, 1, (long)"", 0, 0);
	call("finit_module", EPERM, SYS_finit_module, 0, (long)"", 0, 0, 0);
	call("delete_module", EPERM, SYS_delete_module, (long)"none", 0, 0, 0, 0);
	call("add_key", EPERM, SYS_add_key, (long)"user", (long)"x", (long)"y", 1, -3);
	call("request_key", EPERM, SYS_request_key, (long)"user", (long)"x", 0, 0, 0);
	call("keyctl", EPERM, SYS_keyctl, 0, -3, 0, 0, 0);
	call("perf_event_open", EPERM, SYS_perf_event_open, (long)&perf, 0, -1, -1, 0);
	call("io_uring_setup", EPERM, SYS_io_uring_setup, 4, (long)&ring, 0, 0, 0);
	call("userfaultfd", EPERM, SYS_userfaultfd, 0, 0, 0, 0, 0);
	call("open_by_handle_at", EPERM, SYS_open_by_handle_at, AT_FDCWD, (long)bytes, 0, 0, 0);
	call("reboot", EPERM, SYS_reboot, 0, 0, 0, 0, 0); /* wrong magic: harmless where it is not filtered */
	call("swapon", EPERM, SYS_swapon, (long)"/none", 0, 0, 0, 0);
	call("settimeofday", EPERM, SYS_settimeofday, (long)&tv, 0, 0, 0, 0);
	call("clock_adjtime", EPERM, SYS_clock_adjtime, 0, (long)&tx, 0, 0, 0);
	call("acct", EPERM, SYS_acct, 0, 0, 0, 0, 0);
	call("quotactl", EPERM, SYS_quotactl, 0, 0, 0, 0, 0);
	call("syslog", EPERM, SYS_syslog, 3, (long)bytes, sizeof(bytes), 0, 0);
	call("iopl", EPERM, SYS_iopl, 3, 0, 0, 0, 0);
	call("pidfd_getfd", EPERM, SYS_pidfd_getfd, 0, 0, 0, 0, 0);
	call("sethostname", EPERM, SYS_sethostname, (long)"x", 1, 0, 0, 0);
	call("personality", ENOSYS, SYS_personality, ADDR_NO_RANDOMIZE, 0, 0, 0, 0);
	call("unshare user", EPERM, SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
	call("unshare mount", EPERM, SYS_unshare, CLONE_NEWNS, 0, 0, 0, 0);
	call("unshare net", EPERM, SYS_unshare, CLONE_NEWNET, 0, 0, 0, 0);
	call("clone user", EPERM, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	call("clone net", EPERM, SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0);
	call("clone3", ENOSYS, SYS_clone3, (long)&args, sizeof(args), 0, 0, 0);
	call("a call of a later kernel", ENOSYS, 9999, 0, 0, 0, 0, 0);
	call("chroot", 0, SYS_chroot, (long)"/", 0, 0, 0, 0);
	call("nice", 0, SYS_setpriority, PRIO_PROCESS, 0, -20, 0, 0);
}

#ifdef __x86_64__
/* By the numbers of another architecture a filter could be walked around. */
static void other_architecture(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		long r = 20; /* getpid there */

		__asm__ volatile("int $0x80" : "+a"(r) : : "memory");
		_exit(r > 0 ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	tell(WIFEXITED(status) && WEXITSTATUS(status), "int 0x80", "a 32-bit call was made");
}
#else
static void other_architecture(void)
{
}
#endif

/* ---- mounts and devices ---- */

static void mounts(void)
{
	int fd;

	tell(!mount("tmpfs", "/tmp", "tmpfs", 0, NULL), "mount", "a tmpfs");
	tell(!mount("proc", "/tmp", "proc", 0, NULL), "mount proc", "a proc");
	tell(!mount("cgroup", "/tmp", "cgroup", 0, "pids") || !mount("none", "/tmp", "cgroup2", 0, NULL),
	     "mount cgroup", "the groups");
	tell(!mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), "remount", "/ is writable");
	tell(!mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL), "remount /usr", "/usr is writable");
	tell(!umount2("/proc/kcore", MNT_DETACH), "umount", "a mask is off");
	call("fsopen", EPERM, SYS_fsopen, (long)"tmpfs", 0, 0, 0, 0);
	call("open_tree", EPERM, SYS_open_tree, AT_FDCWD, (long)"/", 1, 0, 0);
	call("move_mount", EPERM, SYS_move_mount, -1, (long)"", -1, (long)"", 0);
	call("mount_setattr", EPERM, SYS_mount_setattr, -1, (long)"", 0, 0, 0);
	call("pivot_root", EPERM, SYS_pivot_root, (long)"/", (long)"/", 0, 0, 0);
	fd = open("/proc/1/ns/mnt", O_RDONLY);
	call("setns", EPERM, SYS_setns, fd, 0, 0, 0, 0);
}

static void device(const char *name, mode_t kind, unsigned major, unsigned minor)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/%s", name);
	if (mknod(path, kind | 0666, makedev(major, minor)) < 0) {
		tell(false, name, "-");
		return;
	}
	fd = open(path, O_RDWR);
	tell(true, name, fd < 0 ? "was made" : "was made and opened");
}

static void devices(void)
{
	static const char *const usual[] = {"null",    "zero",  "full",   "random", "urandom", "tty",
					    "console", "stdin", "stdout", "stderr", "fd",      "ptmx",
					    "pts",     "shm",   "mqueue", "core"};
	DIR *d = opendir("/dev");
	struct dirent *entry;

	device("mknod-mem", S_IFCHR, 1, 1);
	device("mknod-kmsg", S_IFCHR, 1, 11);
	device("mknod-disk", S_IFBLK, 8, 0);
	device("mknod-vda", S_IFBLK, 254, 0);
	while (d && (entry = readdir(d))) {
		bool known = entry->d_name[0] == '.';

		for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
			known |= strcmp(entry->d_name, usual[i]) == 0;
		if (!known)
			tell(true, "a device", "/dev/%s", entry->d_name);
	}
	tell(!d, "the list of /dev", "is not there");
}

/* ---- files ---- */

static void cannot_write(const char *path)
{
	int fd = open(path, O_WRONLY | O_NONBLOCK);

	tell(fd >= 0, path, "opened for writing");
	if (fd >= 0)
		close(fd);
}

static void reads_nothing(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_NONBLOCK);
	ssize_t n = fd >= 0 ? read(fd, &byte, 1) : -1;

	tell(n > 0, path, "can be read");
	if (fd >= 0)
		close(fd);
}

static int look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static const char *const keys[] = {"node.key",    "root.key",     "ca.key",      "state.json",
					   "worker.sock", "manager.sock", "shadow",      "gshadow",
					   "debian.cnf",  "task.pb",      "config.json", "conmon.pid",
					   "exec.fifo",   "owner",        "volume"};

	(void)st;
	if (strncmp(path, "/proc", 5) == 0 || strncmp(path, "/sys", 4) == 0 || strncmp(path, "/usr", 4) == 0)
		return FTW_SKIP_SUBTREE;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (strcmp(path + ftw->base, keys[i]) == 0)
			tell(true, "the host's files", "%s", path);
	return type == FTW_DNR || type == FTW_NS ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
}

static void files(void)
{
	static const char *const closed[] = {"/proc/sys/kernel/core_pattern",
					     "/proc/sys/kernel/modprobe",
					     "/proc/sys/vm/drop_caches",
					     "/proc/sys/kernel/hostname",
					     "/proc/sys/net/ipv4/ip_forward",
					     "/proc/sysrq-trigger",
					     "/proc/irq/default_smp_affinity",
					     "/proc/kmsg",
					     "/sys/kernel/uevent_helper",
					     "/sys/power/state",
					     "/sys/kernel/mm/transparent_hugepage/enabled",
					     "/sys/module/printk/parameters/time",
					     "/dev/mem",
					     "/dev/kmsg",
					     "/etc/hosts",
					     "/etc/passwd",
					     "/etc/hostname",
					     "/usr/bin/env"};
	static const char *const masked[] = {"/proc/kcore",       "/proc/keys",       "/proc/timer_list",
					     "/proc/sched_debug", "/proc/interrupts", "/proc/latency_stats"};
	static const char *const absent[] = {"/etc/shadow",
					     "/etc/gshadow",
					     "/etc/ssh",
					     "/etc/ssl/private",
					     "/etc/mysql",
					     "/etc/fstab",
					     "/etc/apt",
					     "/etc/cron.d",
					     "/etc/machine-id",
					     "/var/lib/gswarm",
					     "/run/gswarm",
					     "/run/netns",
					     "/run/systemd",
					     "/boot",
					     "/sys/fs/cgroup/pids",
					     "/sys/fs/cgroup/cgroup.procs",
					     "/sys/firmware/dmi",
					     "/sys/devices/virtual/powercap/intel-rapl"};

	for (size_t i = 0; i < sizeof(closed) / sizeof(*closed); i++)
		/* an image's own layer is its root's to write */
		if (strncmp(closed[i], "/etc/", 5) != 0 || !getenv("OWN_ETC"))
			cannot_write(closed[i]);
	for (size_t i = 0; i < sizeof(masked) / sizeof(*masked); i++)
		reads_nothing(masked[i]);
	for (size_t i = 0; i < sizeof(absent) / sizeof(*absent); i++)
		tell(access(absent[i], F_OK) == 0, absent[i], "is there");
	nftw("/", look, 32, FTW_PHYS | FTW_ACTIONRETVAL);
	tell(false, "the host's files", "-");
}

static void groups(void)
{
	char line[512] = "";
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool told = false;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "gswarm")) {
			told = true;
			break;
		}
	tell(told, "names of groups", "%s", line);
	if (f)
		fclose(f);
}

/* ---- processes ---- */

static void processes(void)
{
	DIR *d = opendir("/proc");
	struct dirent *entry;
	unsigned others = 0;
	char bytes[8];
	struct iovec mine = {bytes, sizeof(bytes)}, theirs = {bytes, sizeof(bytes)};

	while (d && (entry = readdir(d)))
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid() && atoi(entry->d_name) != 1)
			others++;
	tell(others || !d, "processes of others", "%u are seen", others);
	if (d)
		closedir(d);
	for (pid_t pid = 2; pid < 300; pid++)
		if (pid != getpid() && (!kill(pid, 0) || !ptrace(PTRACE_SEIZE, pid, 0, 0) ||
					process_vm_readv(pid, &mine, 1, &theirs, 1, 0) > 0))
			tell(true, "ptrace", "process %d", pid);
	tell(false, "ptrace", "-");
	tell(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1, "no_new_privs", "is off");
}

static void capabilities(void)
{
	static const int refused[] = {CAP_SYS_ADMIN,       CAP_SYS_MODULE,      CAP_SYS_RAWIO,
				      CAP_SYS_PTRACE,      CAP_SYS_BOOT,        CAP_SYS_TIME,
				      CAP_SYS_NICE,        CAP_SYS_RESOURCE,    CAP_SYS_CHROOT,
				      CAP_MKNOD,           CAP_NET_ADMIN,       CAP_NET_RAW,
				      CAP_DAC_READ_SEARCH, CAP_LINUX_IMMUTABLE, CAP_SETFCAP,
				      CAP_AUDIT_WRITE,     CAP_SYSLOG,          CAP_BPF,
				      CAP_PERFMON,         CAP_IPC_LOCK};
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long set;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapBnd: %llx", &set) != 1 && sscanf(line, "CapEff: %llx", &set) != 1)
			continue;
		for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
			tell(set >> refused[i] & 1, "capabilities", "%.6s has %d", line, refused[i]);
		if (geteuid() != 0 && strncmp(line, "CapEff", 6) == 0)
			tell(set, "capabilities of a user", "%llx", set);
	}
	if (f)
		fclose(f);
}

/* A descriptor of a folder of the host is a way out by "..". */
static void inherited(void)
{
	bool seen = false;

	for (int fd = 0; fd < 1024; fd++) {
		struct stat st;
		char path[32], to[256];
		ssize_t n;

		if (fstat(fd, &st) < 0 || fd <= 2)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to) - 1);
		to[n > 0 ? n : 0] = '\0';
		seen = true;
		tell(true, "a descriptor", "%d %s", fd, to);
	}
	tell(seen, "descriptors", "-");
}

/* ---- network ---- */

static void network(void)
{
	static const struct {
		const char *name;
		int family, type, protocol;
	} kinds[] = {{"raw socket", AF_INET, SOCK_RAW, IPPROTO_ICMP},
		     {"raw IPv6 socket", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6},
		     {"packet socket", AF_PACKET, SOCK_RAW, 0},
		     {"vsock", AF_VSOCK, SOCK_STREAM, 0},
		     {"crypto socket", AF_ALG, SOCK_SEQPACKET, 0},
		     {"CAN socket", AF_CAN, SOCK_RAW, 1}};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *port = getenv("HOST_PORT");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		tell(socket(kinds[i].family, kinds[i].type, kinds[i].protocol) >= 0, kinds[i].name,
		     "was made");
	if (port) {
		a.sin_port = htons((uint16_t)atoi(port));
		tell(!connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a)),
		     "127.0.0.1 of the host", "answers");
	}
}

/* ---- what is shared with others: bounded ---- */

static void fill(const char *dir, unsigned long long most, unsigned long long most_files)
{
	static char chunk[1 << 16];
	unsigned long long bytes = 0, n = 0;
	char path[128];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/fill", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd < 0) { /* root's own: not ours to fill */
		tell(false, dir, "-");
		return;
	}
	while (bytes <= most && (got = write(fd, chunk, sizeof(chunk))) > 0)
		bytes += (unsigned long long)got;
	close(fd);
	unlink(path);
	tell(bytes > most, dir, "took %llu bytes", bytes);
	while (n <= most_files) {
		snprintf(path, sizeof(path), "%s/f%llu", dir, n);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0)
			break;
		close(fd);
		n++;
	}
	tell(n > most_files, dir, "took %llu files", n);
	while (n--) {
		snprintf(path, sizeof(path), "%s/f%llu", dir, n);
		unlink(path);
	}
}

static void lock_memory(void)
{
	struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
	size_t n = 9 << 20;
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	tell(!setrlimit(RLIMIT_MEMLOCK, &most), "limit of locked memory", "was raised");
	tell(!mlock(p, n), "locked memory", "9 MiB");
}

static void fork_bomb(void)
{
	const char *text = getenv("MAX_PIDS");
	int most = text ? atoi(text) : 0, n = 0, pipes[2];
	pid_t pid = 1;
	char byte;

	if (!most || pipe(pipes) < 0)
		return;
	while (n <= most && (pid = fork()) > 0)
		n++;
	if (pid == 0) { /* until the pipe's other end is closed */
		close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) < 0);
	}
	tell(n >= most, "fork", "%d processes", n);
	close(pipes[1]);
	while (wait(NULL) > 0)
		;
}

int main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	inherited();
	forbidden_calls();
	other_architecture();
	mounts();
	devices();
	files();
	groups();
	processes();
	capabilities();
	network();
	fill("/run/task", 16 << 20, 4096);
	fill("/run", 64 << 20, 20480);
	fill("/dev", 64 << 10, 4096);
	lock_memory();
	fork_bomb();
	puts("done");
	fflush(stdout);
	for (;;)
		pause();
}
