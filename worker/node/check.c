// SPDX-License-Identifier: Apache-2.0
/* `gswarm system check`: would this host do? Each line is one thing tried, by the call that needs it where
 * that is cheap, else by the kernel's own list. The happy path is a list of "ok"; nothing on the host is
 * changed. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/rpc/call.h"
#include "proto/schema/node.pb-c.h"
#include "worker/bundle/apparmor.h"
#include "worker/galera/options.h"
#include "worker/host/cgroup.h"
#include "worker/net/network.h"
#include "worker/node/advertise.h"
#include "worker/node/node.h"
#include "worker/runtime/container.h"

#define SPACE_LEAST (64ull << 20) /* the log of the worker's and the manager's state */
#define SPACE_LOW (1ull << 30)    /* an empty member has about 200 MiB, the galera.cache among it */

struct check {
	struct node *n;
	struct rpc_call *call;
	Gs__CheckResponse *r;
	bool is_member;
};

static void add(struct check *c, const char *name, bool ok, bool warning, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void add(struct check *c, const char *name, bool ok, bool warning, const char *fmt, ...)
{
	Gs__CheckResult *x = obj_new(&gs__check_result__descriptor);
	va_list ap;

	va_start(ap, fmt);
	free(x->text == (char *)protobuf_c_empty_string ? NULL : x->text);
	x->text = xvasprintf(fmt, ap);
	va_end(ap);
	str_replace(&x->name, name);
	x->ok = ok;
	x->warning = warning;
	obj_add(&c->r->n_results, &c->r->results, x);
}

/* First line of `program argument`. */
static bool first_line(const char *command, char *ret, size_t n)
{
	FILE *f = popen(command, "re");
	bool ok = f && fgets(ret, (int)n, f);

	if (f)
		pclose(f);
	ret[ok ? strcspn(ret, "\n") : 0] = '\0';
	return ok;
}

static void check_program(struct check *c, const char *name, const char *path, const char *package)
{
	cleanup_free char *command = xasprintf("%s --version 2>/dev/null", path);
	char line[160];

	if (access(path, X_OK) < 0)
		add(c, name, false, false, "%s is missing: apt-get install %s", path, package);
	else
		add(c, name, true, false, "%s", first_line(command, line, sizeof(line)) ? line : path);
}

/* Tried in a network namespace of our own, on a thread of the pool that goes back to its own afterwards. */
static void check_links(struct check *c)
{
	static const struct {
		const char *name, *command;
	} kinds[] = {
		{"vxlan", "ip link add gsc0 type vxlan id 1 dstport 4790 nolearning"},
		{"bridge", "ip link add gsc1 type bridge"},
		{"veth", "ip link add gsc2 type veth peer name gsc3"},
		{"nftables",
		 "nft 'add table ip gsc; add chain ip gsc o { type nat hook output priority -100; }'"},
	};

	for (size_t i = 0; i < array_size(kinds); i++) {
		cleanup_free char *command = xasprintf("unshare -n sh -c \"%s\" 2>&1", kinds[i].command);
		char line[160];
		FILE *f = popen(command, "re");
		bool said = f && fgets(line, sizeof(line), f);
		int rc = f ? pclose(f) : -1;

		if (said)
			line[strcspn(line, "\n")] = '\0';
		add(c, kinds[i].name, rc == 0, false, "%s",
		    rc == 0 ? "works"
		    : said  ? line
			    : "the kernel does not have it, or iproute2/nftables is missing");
	}
}

static void check_overlayfs(struct check *c)
{
	cleanup_free char *text = NULL;
	bool listed =
		fs_read("/proc/filesystems", 65536, &text, NULL, NULL) == 0 && strstr(text, "\toverlay\n");

	if (!listed && system("modprobe -q overlay 2>/dev/null") == 0) {
		free(text);
		text = NULL;
		listed = fs_read("/proc/filesystems", 65536, &text, NULL, NULL) == 0 &&
			 strstr(text, "\toverlay\n");
	}
	add(c, "overlayfs", listed, false, "%s",
	    listed ? "works" : "the kernel has no overlay file system (module overlay)");
}

static void check_cgroup(struct check *c)
{
	enum cgroup_layout layout = cgroup_layout_get();
	static const char *const notes[] = {
		[CGROUP_NONE] = "no control groups are mounted on /sys/fs/cgroup: limits cannot work",
		[CGROUP_V1] = "v1",
		[CGROUP_HYBRID] = "v1 beside v2: tasks are started where the v2 tree is not mounted",
		[CGROUP_V2] = "v2",
	};

	add(c, "cgroup", layout != CGROUP_NONE, false, "%s", notes[layout]);
}

static void check_port(struct check *c, const char *name, const char *ip, uint16_t port, bool udp)
{
	struct err e = {0};
	bool ok = port_check(ip, port, udp, &e) == 0;

	add(c, name, ok, false, "%s", ok ? "free" : e.msg);
}

static void check_ports(struct check *c)
{
	if (c->is_member) {
		add(c, "ports", true, false, "in use by this node, which is a member");
		return;
	}
	check_port(c, "port 2377/tcp", "", MANAGER_PORT, false);
	check_port(c, "port 2378/tcp", "", PEER_PORT, false);
	check_port(c, "port 4789/udp", "", DATA_PATH_PORT, true);
}

static void check_users(struct check *c)
{
	bool user = getpwnam("_gswarm"), group = getgrnam("gswarm");

	add(c, "user _gswarm", user, false, "%s",
	    user ? "exists" : "is missing: adduser --system --group _gswarm");
	add(c, "group gswarm", group, !group, "%s",
	    group ? "exists" : "is missing: only root can use the command line (addgroup --system gswarm)");
}

static void check_time(struct check *c)
{
	time_t now = time(NULL);
	struct stat st = {0};
	bool ok;

	/* A clock before our own program was built makes certificates look not yet valid. */
	stat("/proc/self/exe", &st);
	ok = now > st.st_mtime - 3600;
	add(c, "time", ok, false, "%s",
	    ok ? "plausible" : "the clock is before this program was installed: set it");
}

static void check_forward(struct check *c)
{
	cleanup_free char *text = NULL;
	bool on = fs_read("/proc/sys/net/ipv4/ip_forward", 16, &text, NULL, NULL) == 0 && *text == '1';

	bool can = on || access("/proc/sys/net/ipv4/ip_forward", W_OK) == 0;

	add(c, "ip_forward", can, false, "%s",
	    on    ? "on"
	    : can ? "off, and it stays so: when a task needs a way out, single links are made to forward"
		  : "off, and /proc/sys cannot be written: tasks would have no way out");
}

/* Where the state and all volumes are. */
static void check_space(struct check *c)
{
	const char *dir = c->n->w->state_dir;
	struct statvfs v;
	uint64_t bytes;

	if (statvfs(dir, &v) < 0) {
		add(c, "disk space", false, false, "%s: %s", dir, strerror(errno));
		return;
	}
	bytes = (uint64_t)v.f_bavail * v.f_frsize;
	add(c, "disk space", bytes >= SPACE_LEAST, bytes < SPACE_LOW, "%" PRIu64 " MiB free in %s%s",
	    bytes >> 20, dir, bytes < SPACE_LOW ? ": too little for a database; make room there" : "");
}

/* For members that run from the host's own programs; a dir: image brings its own. */
static void check_galera(struct check *c)
{
	struct image_probe p = {0};
	struct err e = {0};

	if (options_probe("host", &p, &e) < 0) {
		add(c, "galera", true, true, "%s (for Galera services of the image host only)", e.msg);
		return;
	}
	add(c, "galera", true, false, "%s with %s", p.server, p.provider);
	if (p.has_mariabackup)
		add(c, "state transfer", true, false, "%s",
		    p.has_rsync ? "mariabackup with socat, or rsync" : "mariabackup with socat");
	else
		add(c, "state transfer", true, true,
		    "mariabackup or socat is missing (apt-get install mariadb-backup "
		    "socat): %s",
		    p.has_rsync ? "rsync is used, which holds the donor up meanwhile"
				: "and rsync too: a member without data gets none");
	image_probe_fini(&p);
}

static void check_kernel(struct check *c)
{
	struct utsname u;
	int major = 0, minor = 0;
	bool ok;

	uname(&u);
	sscanf(u.release, "%d.%d", &major, &minor);
	ok = major > 5 || (major == 5 && minor >= 12);
	add(c, "kernel", ok, false, "%s%s", u.release,
	    ok ? "" : ": 5.12 or newer is needed (recursive read-only mounts)");
}

/* None is no fault: the other walls stand (docs/isolation.md). */
static void check_apparmor(struct check *c)
{
	const char *profile;
	struct err e = {0};
	bool ok = apparmor_load(&profile, &e) == 0;

	add(c, "apparmor", ok, !ok, "%s%s",
	    !ok       ? e.msg
	    : profile ? "tasks run under "
		      : "not on this host, or no apparmor_parser: tasks run without it",
	    ok && profile ? profile : "");
}

static void check_work(void *arg)
{
	struct check *c = arg;

	check_kernel(c);
	check_apparmor(c);
	check_links(c);
	check_overlayfs(c);
	check_cgroup(c);
	check_program(c, "crun", CRUN, "crun");
	check_program(c, "conmon", CONMON, "conmon");
	check_program(c, "nft", "/usr/sbin/nft", "nftables");
	check_program(c, "setpriv", "/usr/bin/setpriv", "util-linux");
	check_ports(c);
	check_users(c);
	check_space(c);
	check_galera(c);
	check_time(c);
	check_forward(c);
}

static void check_back(void *arg)
{
	struct check *c = arg;

	rpc_reply(c->call, &c->r->base);
	obj_free(c->r);
	free(c);
}

void on_check(struct rpc_call *call, const ProtobufCMessage *req, void *arg)
{
	struct node *n = arg;
	struct check *c = xcalloc(1, sizeof(*c));

	c->n = n;
	c->call = call;
	c->is_member = n->w->state.is_member;
	c->r = obj_new(&gs__check_response__descriptor);
	loop_work(n->w->loop, check_work, check_back, c);
}
