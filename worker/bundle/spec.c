// SPDX-License-Identifier: Apache-2.0
/* The happy path is a JSON object built from the bundle. What can fail is a text that is not UTF-8, which JSON
 * cannot hold: E_INVALID (an assignment with one is rejected before, by worker/task/check.c). Memory aborts.
 *
 * A task gets no new privileges, a bounding set of what a server that starts as root may need (none of it is
 * effective for a non-root user), masks over /proc and /sys, a seccomp list of allowed calls (syscalls.c), an
 * AppArmor profile where the host has AppArmor. */
#include <jansson.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bug.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"
#include "worker/bundle/syscalls.h"

#define MEMLOCK_BYTES (8 << 20) /* the kernel's own default since 5.16; locked memory cannot be reclaimed */
#define PIDS_DEFAULT 4096 /* a fork bomb ends here; a server with a thread for each of 1,000 clients fits */

static const char *const capabilities[] = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",
					   "CAP_FSETID", "CAP_KILL",         "CAP_SETGID",
					   "CAP_SETUID", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE"};
/* What tells of the host or of other tasks. interrupts and powercap give away what others type and compute. */
static const char *const masked[] = {"/proc/acpi",
				     "/proc/asound",
				     "/proc/interrupts",
				     "/proc/kcore",
				     "/proc/keys",
				     "/proc/latency_stats",
				     "/proc/timer_list",
				     "/proc/timer_stats",
				     "/proc/sched_debug",
				     "/proc/scsi",
				     "/sys/devices/virtual/powercap",
				     "/sys/firmware",
				     "/sys/fs/cgroup"};
static const char *const readonly_paths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
					     "/proc/sysrq-trigger"};

static bool is_utf8(const char *text)
{
	json_t *j = text ? json_string(text) : json_null();

	json_decref(j);
	return j;
}

static json_t *texts(const char *const *list, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(list[i]));
	return a;
}

static json_t *split(const char *options)
{
	json_t *a = json_array();
	cleanup_free char *copy = xstrdup(options);
	char *state = NULL;

	for (char *o = strtok_r(copy, ",", &state); o; o = strtok_r(NULL, ",", &state))
		json_array_append_new(a, json_string(o));
	return a;
}

static void add_mount(json_t *mounts, const char *source, const char *target, const char *type,
		      const char *options)
{
	json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:o}", "source", source, "destination",
						target, "type", type, "options", split(options)));
}

static json_t *format_mounts(const struct oci_spec *s)
{
	json_t *m = json_array();

	add_mount(m, "proc", "/proc", "proc", "nosuid,noexec,nodev");
	add_mount(m, "tmpfs", "/dev", "tmpfs", "nosuid,noexec,strictatime,mode=755,size=64k,nr_inodes=1k");
	add_mount(m, "devpts", "/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620");
	add_mount(m, "shm", "/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=64m,nr_inodes=16k");
	add_mount(m, "sysfs", "/sys", "sysfs", "nosuid,noexec,nodev,ro");
	for (size_t i = 0; i < s->bundle->n_mounts; i++) {
		const struct bundle_mount *b = &s->bundle->mounts[i];

		add_mount(m, b->source, b->target, b->type, b->options);
	}
	return m;
}

static bool env_has(const struct oci_spec *s, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < s->n_env; i++)
		if (strncmp(s->env[i], name, len) == 0 && s->env[i][len] == '=')
			return true;
	return false;
}

static void env_default(json_t *env, const struct oci_spec *s, const char *name, const char *value)
{
	cleanup_free char *text = xasprintf("%s=%s", name, value);

	if (!env_has(s, name))
		json_array_append_new(env, json_string(text));
}

static json_t *format_env(const struct oci_spec *s)
{
	json_t *env = texts((const char *const *)s->env, s->n_env);

	env_default(env, s, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env_default(env, s, "HOSTNAME", s->hostname);
	env_default(env, s, "HOME", s->bundle->user.home ? s->bundle->user.home : "/");
	return env;
}

static json_t *format_rlimit(const char *type, int resource, rlim_t want)
{
	struct rlimit own = {0};

	/* Above the worker's own hard limit it would need CAP_SYS_RESOURCE. */
	getrlimit(resource, &own);
	if (own.rlim_max != RLIM_INFINITY && (want == RLIM_INFINITY || want > own.rlim_max))
		want = own.rlim_max;
	/* RLIM_INFINITY does not fit JSON's signed integers; 2^62 is as good. */
	if (want == RLIM_INFINITY || want > ((rlim_t)1 << 62))
		want = (rlim_t)1 << 62;
	return json_pack("{s:s, s:I, s:I}", "type", type, "soft", (json_int_t)want, "hard", (json_int_t)want);
}

static json_t *format_groups(const struct user *u)
{
	json_t *a = json_array();

	for (size_t i = 0; i < u->n_groups; i++)
		json_array_append_new(a, json_integer((json_int_t)u->groups[i]));
	return a;
}

static json_t *format_process(const struct oci_spec *s)
{
	size_t n = 0, n_caps = array_size(capabilities);
	const struct user *u = &s->bundle->user;
	bool root = u->uid == 0;

	while (s->argv[n])
		n++;
	return json_pack("{s:b, s:{s:I, s:I, s:o}, s:o, s:o, s:s, s:{s:o, s:o, s:o}, s:b, s:s*, s:[o, o, o]}",
			 "terminal", 0, "user", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid,
			 "additionalGids", format_groups(u), "args", texts(s->argv, n), "env", format_env(s),
			 "cwd", s->cwd && *s->cwd ? s->cwd : "/", "capabilities", "bounding",
			 texts(capabilities, n_caps), "effective", texts(capabilities, root ? n_caps : 0),
			 "permitted", texts(capabilities, root ? n_caps : 0), "noNewPrivileges", 1,
			 "apparmorProfile", s->apparmor, "rlimits",
			 format_rlimit("RLIMIT_NOFILE", RLIMIT_NOFILE, 1 << 20),
			 format_rlimit("RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, MEMLOCK_BYTES),
			 format_rlimit("RLIMIT_CORE", RLIMIT_CORE, 0));
}

/* Microseconds. The kernel takes a quota from 1 ms on and a period from 1 ms to 1 s: a share below a hundredth of a
 * processor needs the long period, and below a thousandth there is none (cpu.cfs_quota_us, cpu.max). */
static json_t *format_cpu(uint64_t nano_cpus)
{
	uint64_t period = nano_cpus < 10000000 ? 1000000 : 100000;
	uint64_t quota = nano_cpus / (1000000000 / period);

	return json_pack("{s:I, s:I}", "quota", (json_int_t)(quota < 1000 ? 1000 : quota), "period",
			 (json_int_t)period);
}

static json_t *format_resources(const struct oci_spec *s)
{
	json_t *r = json_object();

	json_object_set_new(r, "devices", json_pack("[{s:b, s:s}]", "allow", 0, "access", "rwm"));
	if (s->memory_bytes != 0)
		json_object_set_new(r, "memory", json_pack("{s:I}", "limit", (json_int_t)s->memory_bytes));
	if (s->nano_cpus != 0)
		json_object_set_new(r, "cpu", format_cpu(s->nano_cpus));
	json_object_set_new(r, "pids",
			    json_pack("{s:I}", "limit", (json_int_t)(s->pids ? s->pids : PIDS_DEFAULT)));
	return r;
}

static json_t *format_namespaces(const struct oci_spec *s)
{
	json_t *a = json_pack("[{s:s}, {s:s}, {s:s}, {s:s}, {s:s}]", "type", "pid", "type", "ipc", "type",
			      "uts", "type", "mount", "type", "cgroup");

	if (s->netns_path)
		json_array_append_new(a, json_pack("{s:s, s:s}", "type", "network", "path", s->netns_path));
	else
		json_array_append_new(a, json_pack("{s:s}", "type", "network"));
	return a;
}

static json_t *format_linux(const struct oci_spec *s)
{
	json_t *l = json_object();

	json_object_set_new(l, "namespaces", format_namespaces(s));
	json_object_set_new(l, "resources", format_resources(s));
	json_object_set_new(l, "cgroupsPath", json_string(s->cgroup_path));
	json_object_set_new(l, "maskedPaths", texts(masked, array_size(masked)));
	json_object_set_new(l, "readonlyPaths", texts(readonly_paths, array_size(readonly_paths)));
	json_object_set_new(l, "seccomp", syscalls_format());
	/* The namespace is the task's own: a server may listen on port 80 and ping without any capability. */
	if (s->netns_path)
		json_object_set_new(l, "sysctl",
				    json_pack("{s:s, s:s}", "net.ipv4.ip_unprivileged_port_start", "0",
					      "net.ipv4.ping_group_range", "0 2147483647"));
	return l;
}

/* The compiled profile, which crun takes in place of linux.seccomp (crun.1, run.oci.seccomp_bpf_data). */
static json_t *format_annotations(const struct oci_spec *s)
{
	json_t *a = json_object();

	if (s->seccomp_bpf)
		json_object_set_new(a, "run.oci.seccomp_bpf_data", json_string(s->seccomp_bpf));
	return a;
}

/* jansson drops a text that is not UTF-8 from a list, and refuses to pack it: both are found before. */
static int texts_check(const struct oci_spec *s, struct err *e)
{
	const char *const singles[] = {s->cwd,        s->hostname,   s->bundle->user.home, s->bundle->rootfs,
				       s->netns_path, s->cgroup_path};
	bool good = true;

	for (size_t i = 0; i < array_size(singles); i++)
		good &= is_utf8(singles[i]);
	for (size_t i = 0; i < s->n_env; i++)
		good &= is_utf8(s->env[i]);
	for (size_t i = 0; s->argv[i]; i++)
		good &= is_utf8(s->argv[i]);
	for (size_t i = 0; i < s->bundle->n_mounts; i++)
		good &= is_utf8(s->bundle->mounts[i].source) && is_utf8(s->bundle->mounts[i].target);
	return good ? 0 : err_set(e, E_INVALID, "a text of the container's configuration is not UTF-8");
}

int oci_spec_format(const struct oci_spec *s, char **ret, struct err *e)
{
	json_t *root;

	bug_if(!s->bundle->rootfs || *s->cgroup_path != '/');
	if (texts_check(s, e) < 0)
		return E_INVALID;
	root = json_pack("{s:s, s:{s:s, s:b}, s:s, s:o, s:o, s:o, s:o}", "ociVersion", "1.0.0", "root",
			 "path", s->bundle->rootfs, "readonly", (int)s->bundle->readonly, "hostname",
			 s->hostname, "process", format_process(s), "mounts", format_mounts(s), "linux",
			 format_linux(s), "annotations", format_annotations(s));
	bug_if(!root);
	*ret = json_dumps(root, JSON_COMPACT);
	bug_if(!*ret);
	json_decref(root);
	return 0;
}
