// SPDX-License-Identifier: Apache-2.0
/* Giving up rights, one call after the other.
 *
 * The happy path of an unpacking: the folder's mount is cloned, an empty read-only file system with it as only
 * content becomes the root, and the user is the task's. Code that an archive might smuggle into the parser then
 * finds the folder that it may fill anyway, as the user who owns it. What can fail is a kernel or a container that
 * forbids a step: then nothing is unpacked. */
#include "worker/galera/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

#define BUILD_AT "/run" /* is on every host, and covered in our own mount namespace only */
#define CONFINED_DIR "/data"
#define READING (1u << CAP_DAC_READ_SEARCH)

static bool is_root(void)
{
	return geteuid() == 0;
}

static int caps_bound(uint32_t keep)
{
	for (unsigned cap = 0; cap <= 63; cap++) {
		if (cap < 32 && keep & (1u << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : -1; /* the kernel's last one was before */
	}
	return 0;
}

static int caps_set(uint32_t keep)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.effective = keep, .permitted = keep}};

	return (int)syscall(SYS_capset, &head, data);
}

int confine_to_reading(struct err *e)
{
	if (!is_root())
		return 0;
	if (caps_bound(READING) < 0 || caps_set(READING) < 0)
		return err_errno(e, errno, "give up capabilities");
	return 0;
}

/* The folder as a mount of its own that is nowhere yet. */
static int clone_folder(const char *dir)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
	int tree = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return tree;
	close(tree);
	return -1;
}

static int own_root(const char *dir)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	cleanup_close int tree = -1;

	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	tree = clone_folder(dir); /* before something covers it */
	if (tree < 0 || mount("tmpfs", BUILD_AT, "tmpfs", flags, "mode=755,size=16k,nr_inodes=4") < 0 ||
	    mkdir(BUILD_AT CONFINED_DIR, 0755) < 0 ||
	    move_mount(tree, "", AT_FDCWD, BUILD_AT CONFINED_DIR, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    mount(NULL, BUILD_AT, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
		return -1;
	if (chdir(BUILD_AT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -1;
	return chdir("/");
}

int confine_to_folder(const char *dir, uid_t uid, gid_t gid, const char **ret_dir, struct err *e)
{
	*ret_dir = dir;
	if (!is_root())
		return 0;
	if (own_root(dir) < 0)
		return err_errno(e, errno, "confine to %s", dir);
	if (caps_bound(0) < 0 || setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0 || caps_set(0) < 0)
		return err_errno(e, errno, "become user %u", (unsigned)uid);
	*ret_dir = CONFINED_DIR;
	return 0;
}
