// SPDX-License-Identifier: Apache-2.0
/* FINDINGS W14: a task can make a tree that no path reaches, and its folder must still go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

#define DEPTH 600
#define NAME "a-folder-with-a-name-of-40-characters--"

static char top[64];

static int set_up(void **state)
{
	snprintf(top, sizeof(top), "/tmp/gsw-remove-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
	return fs_exists(top) ? fs_remove_all(top, NULL) : 0;
}

/* 600 folders of 40 letters: a path of 24,000, six times PATH_MAX; files on each level. */
static void dig(void)
{
	int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (int i = 0; i < DEPTH; i++) {
		int next;

		assert_int_equal(mkdirat(fd, NAME, 0755), 0);
		assert_int_equal(mkdirat(fd, "empty", 0755), 0);
		close(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		next = openat(fd, NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	assert_int_equal(symlinkat("/etc", fd, "link"), 0);
	close(fd);
}

static void w14_a_tree_deeper_than_a_path(void **state)
{
	struct err e = {0};

	dig();
	if (fs_remove_all(top, &e) < 0)
		fail_msg("%s", e.msg);
	assert_false(fs_exists(top));
	assert_true(fs_exists("/etc/passwd"));
}

static void what_is_no_folder(void **state)
{
	cleanup_free char *file = xasprintf("%s/file", top), *link = xasprintf("%s/link", top);

	assert_int_equal(fs_write(file, "x", 1, 0600, NULL), 0);
	assert_int_equal(symlink("/etc", link), 0);
	assert_int_equal(fs_remove_all(link, NULL), 0);
	assert_true(fs_exists("/etc/passwd"));
	assert_int_equal(fs_remove_all(file, NULL), 0);
	assert_int_equal(fs_remove_all(file, NULL), 0);
	assert_false(fs_exists(file));
}

static void a_wide_tree(void **state)
{
	for (int i = 0; i < 3000; i++) {
		cleanup_free char *dir = xasprintf("%s/%d", top, i), *file = xasprintf("%s/f", dir);

		assert_int_equal(mkdir(dir, 0755), 0);
		close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	assert_int_equal(fs_remove_all(top, NULL), 0);
	assert_false(fs_exists(top));
}

/* A mount in the tree, also of the same file system: what is mounted there is not ours. */
static void another_mount_is_not_entered(void **state)
{
	cleanup_free char *dir = xasprintf("%s/tree", top), *at = xasprintf("%s/tree/mnt", top);
	cleanup_free char *other = xasprintf("%s/other", top), *kept = xasprintf("%s/other/kept", top);

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip();
	assert_int_equal(fs_mkdir(at, 0755, NULL) | fs_mkdir(other, 0755, NULL), 0);
	assert_int_equal(fs_write(kept, "x", 1, 0600, NULL), 0);
	assert_int_equal(mount(other, at, NULL, MS_BIND, NULL), 0);
	assert_true(fs_remove_all(dir, NULL) < 0);
	assert_true(fs_exists(kept));
	assert_int_equal(umount(at), 0);
	assert_int_equal(fs_remove_all(dir, NULL), 0);
}

/* What a disk can do to a look at a folder; in no folder but this one. */
static struct {
	ino_t in;
	int says;
} look_ends;

struct dirent *readdir(DIR *d)
{
	static struct dirent *(*real)(DIR *);
	struct stat st;

	if (!real)
		real = dlsym(RTLD_NEXT, sizeof(off_t) == 8 ? "readdir64" : "readdir");

	if (look_ends.in == 0 || fstat(dirfd(d), &st) < 0 || st.st_ino != look_ends.in)
		return real(d);
	errno = look_ends.says != 0 ? look_ends.says : errno;
	return NULL;
}

static int remove_with_a_look_that_ends(int says)
{
	cleanup_free char *dir = xasprintf("%s/sick", top), *file = xasprintf("%s/sick/f", top);
	struct err e = {0};
	struct stat st;

	assert_int_equal(fs_mkdir(dir, 0755, NULL), 0);
	assert_int_equal(fs_write(file, "x", 1, 0600, NULL), 0);
	assert_int_equal(stat(dir, &st), 0);
	look_ends.in = st.st_ino;
	look_ends.says = says;
	alarm(60); /* it went on for ever */
	fs_remove_all(top, &e);
	alarm(0);
	look_ends.in = 0;
	assert_true(fs_exists(file));
	return e.code;
}

/* The third session's safety review, 9: a folder that could not be read passed for an empty one; it could not be
 * removed and was entered again, for ever. */
static void s9_folder_that_cannot_be_read(void **state)
{
	assert_int_equal(remove_with_a_look_that_ends(EIO), -EIO);
}

/* The same of one that shows nothing and is not empty. */
static void s9_folder_that_is_never_empty(void **state)
{
	assert_int_equal(remove_with_a_look_that_ends(0), -EBUSY);
}

static atomic_bool is_over;

/* Puts a link to another tree in the place of a folder, and back, as quickly as it can. */
static void *swap(void *arg)
{
	cleanup_free char *a = xasprintf("%s/tree/a", top), *b = xasprintf("%s/tree/b", top);

	while (!is_over)
		renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
	return NULL;
}

static void a_link_put_in_its_way_is_not_followed(void **state)
{
	cleanup_free char *tree = xasprintf("%s/tree", top), *a = xasprintf("%s/tree/a", top);
	cleanup_free char *b = xasprintf("%s/tree/b", top), *other = xasprintf("%s/other", top);
	cleanup_free char *kept = xasprintf("%s/other/x/kept", top), *x = xasprintf("%s/other/x", top);
	pthread_t thread;

	assert_int_equal(fs_mkdir(x, 0755, NULL), 0);
	assert_int_equal(fs_write(kept, "x", 1, 0600, NULL), 0);
	is_over = false;
	assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		cleanup_free char *in_a = xasprintf("%s/x", a);

		/* Some of this fails when the names are swapped in between: then there is less to remove. */
		fs_mkdir(tree, 0755, NULL);
		mkdir(a, 0755);
		mkdir(in_a, 0755);
		(void)!symlink(other, b);
		fs_remove_all(tree, NULL);
		if (!fs_exists(kept))
			break;
	}
	is_over = true;
	pthread_join(thread, NULL);
	assert_true(fs_exists(kept));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(w14_a_tree_deeper_than_a_path),
		T(what_is_no_folder),
		T(a_wide_tree),
		T(s9_folder_that_cannot_be_read),
		T(s9_folder_that_is_never_empty),
		T(a_link_put_in_its_way_is_not_followed),
		T(another_mount_is_not_entered), /* last: it changes the mount namespace */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
