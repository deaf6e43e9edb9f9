// SPDX-License-Identifier: Apache-2.0
/* The happy path is a skeleton of empty folders and links on which crun binds the host's programs read-only,
 * and an overlay of the host's /etc under a layer of our own: files we write, and whiteouts over what a task
 * must not see. It is an allow-list: what is not named here does not exist in the task. What can fail is a
 * missing image folder or a full file system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"

/* Secrets under /etc. A path whose parent is not on the host is skipped. */
static const char *const etc_hidden[] = {
	"shadow",           "shadow-",   "gshadow",        "gshadow-",  "ssh",         "ssl/private",
	"mysql/debian.cnf", "gswarm",    "sudoers",        "sudoers.d", "krb5.keytab", "security/opasswd",
	"letsencrypt",      "wireguard", "NetworkManager", "ppp",       "crypttab",    "machine-id",
};
/* Folders of the skeleton; those with 1777 are tmpfs in the task. */
static const char *const folders[] = {"usr",     "opt",     "etc", "proc", "sys",  "dev",  "var", "var/lib",
				      "var/log", "var/tmp", "run", "tmp",  "home", "root", "srv", "mnt"};

struct bundle *bundle_new(void)
{
	return xcalloc(1, sizeof(struct bundle));
}

void bundle_free(struct bundle *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->n_mounts; i++) {
		free(b->mounts[i].source);
		free(b->mounts[i].target);
		free(b->mounts[i].type);
		free(b->mounts[i].options);
	}
	free(b->mounts);
	free(b->rootfs);
	free(b->lower);
	free(b->upper);
	free(b->work);
	free(b->home);
	free(b);
}

void bundle_mount_add(struct bundle *b, const char *source, const char *target, const char *type,
		      const char *options)
{
	b->mounts = xrealloc(b->mounts, (b->n_mounts + 1) * sizeof(*b->mounts));
	b->mounts[b->n_mounts++] = (struct bundle_mount){
		.source = xstrdup(source),
		.target = xstrdup(target),
		.type = xstrdup(type),
		.options = xstrdup(options),
	};
}

int rootfs_image_root(const char *image, const char **ret_root, struct err *e)
{
	struct stat st;

	if (strcmp(image, "host") == 0) {
		*ret_root = "";
		return 0;
	}
	if (strncmp(image, "dir:/", 5) != 0)
		return err_set(e, E_INVALID, "image %s: not known (use host or dir:/path)", image);
	if (stat(image + 4, &st) < 0)
		return err_errno(e, errno, "image %s", image);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, E_INVALID, "image %s: is not a folder", image);
	*ret_root = image + 4;
	return 0;
}

static int file_write(const char *dir, const char *name, const char *text, struct err *e)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	size_t len = strlen(text);

	/* Not durable on purpose: it is made anew at every preparation. */
	if (fd < 0 || fchmod(fd, 0644) < 0 || write(fd, text, len) != (ssize_t)len)
		return err_errno(e, errno != 0 ? errno : EIO, "write %s", path);
	return 0;
}

int rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e)
{
	cleanup_free char *text = xasprintf("127.0.0.1 localhost\n::1 localhost ip6-localhost\n%s%s%s%s",
					    !lines || *lines == '\0' ? "127.0.1.1 " : "",
					    !lines || *lines == '\0' ? hostname : "",
					    !lines || *lines == '\0' ? "\n" : "", lines ? lines : "");

	return file_write(run_dir, "hosts", text, e);
}

int rootfs_etc_target(const char *run_dir, const char *target, bool is_folder, struct err *e)
{
	cleanup_free char *path = xasprintf("%s%s", run_dir, target);
	cleanup_free char *parent = xstrdup(path);

	if (is_folder)
		return fs_mkdir(path, 0755, e);
	*strrchr(parent, '/') = '\0';
	if (fs_mkdir(parent, 0755, e) < 0)
		return e->code;
	return file_write(parent, strrchr(path, '/') + 1, "", e);
}

/* The stub resolver of systemd listens on the host's loopback, which a task does not have. */
static char *resolv_conf(void)
{
	char *text = NULL;

	if (fs_read("/etc/resolv.conf", 64 << 10, &text, NULL, NULL) == 0 && !strstr(text, "127.0.0.53"))
		return text;
	free(text);
	text = NULL;
	if (fs_read("/run/systemd/resolve/resolv.conf", 64 << 10, &text, NULL, NULL) == 0)
		return text;
	return xstrdup("");
}

static int etc_whiteout(const char *layer, const char *name, struct err *e)
{
	cleanup_free char *host = xasprintf("/etc/%s", name);
	cleanup_free char *path = xasprintf("%s/%s", layer, name);
	cleanup_free char *parent = xstrdup(path);
	char *slash = strrchr(parent, '/');

	if (!fs_exists(host))
		return 0;
	*slash = '\0';
	if (fs_mkdir(parent, 0755, e) < 0)
		return e->code;
	/* overlayfs: a character device 0:0 in an upper layer hides the name below it. */
	if (mknod(path, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
		return err_errno(e, errno, "hide %s", host);
	return 0;
}

static int etc_layer(const char *dir, const char *hostname, bool over_host, struct err *e)
{
	cleanup_free char *name = xasprintf("%s\n", hostname);
	cleanup_free char *resolv = resolv_conf();

	if (fs_mkdir(dir, 0755, e) < 0 || file_write(dir, "hostname", name, e) < 0 ||
	    file_write(dir, "resolv.conf", resolv, e) < 0 || file_write(dir, "hosts", "", e) < 0)
		return e->code;
	for (size_t i = 0; over_host && i < array_size(etc_hidden); i++)
		if (etc_whiteout(dir, etc_hidden[i], e) < 0)
			return e->code;
	return 0;
}

/* /bin, /sbin, /lib*: links on a merged-/usr host, else folders that are bound. */
static int top_entry(struct bundle *b, const char *name, struct err *e)
{
	cleanup_free char *host = xasprintf("/%s", name);
	cleanup_free char *path = xasprintf("%s/%s", b->rootfs, name);
	char link[256];
	ssize_t n = readlink(host, link, sizeof(link) - 1);

	if (n > 0) {
		link[n] = '\0';
		if (symlink(link, path) < 0 && errno != EEXIST)
			return err_errno(e, errno, "link %s", path);
		return 0;
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return err_errno(e, errno, "make %s", path);
	bundle_mount_add(b, host, host, "bind", "rbind,ro,nosuid,nodev");
	return 0;
}

static int top_entries(struct bundle *b, struct err *e)
{
	DIR *d = opendir("/");
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return err_errno(e, errno, "list /");
	while (rc == 0 && (entry = readdir(d)))
		if (strcmp(entry->d_name, "bin") == 0 || strcmp(entry->d_name, "sbin") == 0 ||
		    (strncmp(entry->d_name, "lib", 3) == 0 && strlen(entry->d_name) <= 6))
			rc = top_entry(b, entry->d_name, e);
	closedir(d);
	return rc;
}

static int host_image(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	cleanup_free char *etc = xasprintf("%s/etc", spec->run_dir);
	cleanup_free char *etc_options = xasprintf("lowerdir=%s:/etc", etc);

	if (fs_mkdir(b->rootfs, 0755, e) < 0)
		return e->code;
	for (size_t i = 0; i < array_size(folders); i++) {
		cleanup_free char *path = xasprintf("%s/%s", b->rootfs, folders[i]);

		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_errno(e, errno, "make %s", path);
	}
	if (etc_layer(etc, spec->hostname, true, e) < 0 || top_entries(b, e) < 0)
		return e->code;
	/* nosuid also makes the kernel ignore file capabilities, which would make exec of such a file fail. */
	bundle_mount_add(b, "/usr", "/usr", "bind", "rbind,ro,nosuid,nodev");
	if (fs_exists("/opt"))
		bundle_mount_add(b, "/opt", "/opt", "bind", "rbind,ro,nosuid,nodev");
	bundle_mount_add(b, "overlay", "/etc", "overlay", etc_options);
	/* Writes into the skeleton would use the host's memory unseen by the task's limit. */
	b->readonly = true;
	return 0;
}

static int dir_image(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	cleanup_free char *etc = xasprintf("%s/etc", spec->run_dir);

	b->lower = xstrdup(spec->image + 4);
	b->upper = xasprintf("%s/root/upper", spec->state_dir);
	b->work = xasprintf("%s/root/work", spec->state_dir);
	if (strpbrk(b->lower, ",:\\"))
		return err_set(e, E_INVALID, "image %s: the path must not hold , : or \\", spec->image);
	if (fs_mkdir(b->rootfs, 0755, e) < 0 || fs_mkdir(b->upper, 0755, e) < 0 ||
	    fs_mkdir(b->work, 0700, e) < 0 || etc_layer(etc, spec->hostname, false, e) < 0)
		return e->code;
	for (size_t i = 0; i < 2; i++) {
		static const char *const names[] = {"hostname", "resolv.conf"};
		cleanup_free char *source = xasprintf("%s/%s", etc, names[i]);
		cleanup_free char *target = xasprintf("/etc/%s", names[i]);

		bundle_mount_add(b, source, target, "bind", "bind,ro,nosuid,nodev");
	}
	b->readonly = spec->read_only;
	return 0;
}

int rootfs_prepare(struct bundle *b, const struct rootfs_spec *spec, struct err *e)
{
	cleanup_free char *hosts = xasprintf("%s/hosts", spec->run_dir);
	cleanup_free char *run = xasprintf("%s/run", spec->run_dir);
	int rc;

	b->rootfs = xasprintf("%s/rootfs", spec->run_dir);
	rc = strcmp(spec->image, "host") == 0 ? host_image(b, spec, e) : dir_image(b, spec, e);
	if (rc < 0)
		return rc;
	if (fs_mkdir(run, 0711, e) < 0)
		return e->code;
	if (chmod(run, 0711) < 0 || chown(run, b->uid, b->gid) < 0)
		return err_errno(e, errno, "own %s", run);
	bundle_mount_add(b, "tmpfs", "/run", "tmpfs", "nosuid,nodev,mode=755,size=64m");
	bundle_mount_add(b, "tmpfs", "/tmp", "tmpfs", "nosuid,nodev,mode=1777");
	if (!b->lower)
		bundle_mount_add(b, "tmpfs", "/var/tmp", "tmpfs", "nosuid,nodev,mode=1777");
	bundle_mount_add(b, run, "/run/task", "bind", "bind,nosuid,nodev");
	bundle_mount_add(b, hosts, "/etc/hosts", "bind", "bind,ro,nosuid,nodev");
	return 0;
}
