// SPDX-License-Identifier: Apache-2.0
/* FINDINGS W2: what a task may plant in a tree that root works in, and that none of it is waited for,
 * followed or written through. An alarm ends a call that waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/image/image.h"
#include "base/foreign.h"

#define SECRET "of the host"

struct fix {
	char top[64], root[80], outside[80], secret[96]; /* root is the task's, outside is not */
	struct foreign_owner owner;
};

static void put(const char *dir, const char *name, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(fs_write(path, text, strlen(text), 0600, NULL), 0);
}

static void plant(const struct fix *f, const char *name, const char *target)
{
	cleanup_free char *path = xasprintf("%s/%s", f->root, name);

	assert_int_equal(target ? symlink(target, path) : mkfifo(path, 0666), 0);
}

static int set_up(void **state)
{
	struct fix *f = xcalloc(1, sizeof(*f));

	*state = f;
	snprintf(f->top, sizeof(f->top), "/tmp/gsw-foreign-XXXXXX");
	if (!mkdtemp(f->top))
		return -1;
	snprintf(f->root, sizeof(f->root), "%s/root", f->top);
	snprintf(f->outside, sizeof(f->outside), "%s/outside", f->top);
	snprintf(f->secret, sizeof(f->secret), "%s/secret", f->outside);
	f->owner = (struct foreign_owner){.uid = getuid(), .gid = getgid(), .mode = 0640};
	if (mkdir(f->root, 0755) < 0 || mkdir(f->outside, 0755) < 0)
		return -1;
	put(f->outside, "secret", SECRET);
	alarm(20);
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	alarm(0);
	fs_remove_all(f->top, NULL);
	free(f);
	return 0;
}

static void secret_is_whole(const struct fix *f)
{
	cleanup_free char *text = NULL;

	assert_int_equal(fs_read(f->secret, 64, &text, NULL, NULL), 0);
	assert_string_equal(text, SECRET);
}

static void reads_a_file(void **state)
{
	struct fix *f = *state;
	char *text;
	size_t len;

	put(f->root, "a", "text");
	assert_int_equal(foreign_read(f->root, "a", 4, &text, &len, NULL), 0);
	assert_int_equal(len, 4);
	assert_string_equal(text, "text");
	free(text);
	assert_int_equal(foreign_read(f->root, "a", 3, &text, &len, NULL), -E2BIG);
	assert_int_equal(foreign_read(f->root, "b", 3, &text, &len, NULL), -ENOENT);
}

static void never_waits_for_a_fifo(void **state)
{
	struct fix *f = *state;
	struct err e = {0};
	char *text;

	plant(f, "pipe", NULL);
	assert_int_equal(foreign_read(f->root, "pipe", 64, &text, NULL, &e), E_FORBIDDEN);
	assert_non_null(strstr(e.msg, "pipe: is no regular file"));
	plant(f, "file.tmp", NULL);
	assert_int_equal(foreign_write(f->root, "file", "x", 1, &f->owner, &e), 0);
	plant(f, "goal", NULL);
	assert_int_equal(foreign_write(f->root, "goal", "x", 1, &f->owner, &e), 0);
	assert_int_equal(foreign_read(f->root, "goal", 64, &text, NULL, &e), 0);
	free(text);
}

static void never_follows_a_link(void **state)
{
	struct fix *f = *state;
	char *text;

	plant(f, "end", f->secret);
	plant(f, "way", f->outside);
	assert_int_equal(foreign_read(f->root, "end", 64, &text, NULL, NULL), -ELOOP);
	assert_int_equal(foreign_read(f->root, "way/secret", 64, &text, NULL, NULL), -ELOOP);
	assert_int_equal(foreign_write(f->root, "way/new", "x", 1, &f->owner, NULL), -ELOOP);
	assert_int_equal(foreign_mkdir(f->root, "way", &f->owner, NULL), -ELOOP);
	assert_int_equal(foreign_mkdir(f->root, "way/new", &f->owner, NULL), -ELOOP);
	assert_int_equal(foreign_unlink(f->root, "way/secret", NULL), -ELOOP);
	assert_int_equal(foreign_create(f->root, "end", &f->owner, NULL), -EEXIST);
	plant(f, "file.tmp", f->secret);
	assert_int_equal(foreign_write(f->root, "file", "x", 1, &f->owner, NULL), 0);
	assert_int_equal(foreign_write(f->root, "end", "x", 1, &f->owner, NULL), 0);
	secret_is_whole(f);
}

static void never_leaves_the_tree(void **state)
{
	struct fix *f = *state;
	char *text;

	assert_int_equal(foreign_read(f->root, "../outside/secret", 64, &text, NULL, NULL), -EXDEV);
	assert_int_equal(foreign_read(f->root, f->secret, 64, &text, NULL, NULL), -EXDEV);
	assert_int_equal(foreign_write(f->root, "..", "x", 1, &f->owner, NULL), -EXDEV);
	assert_int_equal(foreign_write(f->root, "../outside/secret", "x", 1, &f->owner, NULL), -EXDEV);
	assert_int_equal(foreign_unlink(f->root, "../outside/secret", NULL), -EXDEV);
	secret_is_whole(f);
}

static void a_failed_write_leaves_the_old_text(void **state)
{
	struct fix *f = *state;
	cleanup_free char *folder = xasprintf("%s/a.tmp", f->root);
	char *text;

	put(f->root, "a", "old");
	assert_int_equal(mkdir(folder, 0755), 0);
	assert_true(foreign_write(f->root, "a", "new", 3, &f->owner, NULL) < 0);
	assert_int_equal(foreign_read(f->root, "a", 64, &text, NULL, NULL), 0);
	assert_string_equal(text, "old");
	free(text);
}

static void written_files_are_the_owners(void **state)
{
	struct fix *f = *state;
	cleanup_free char *path = xasprintf("%s/d/a", f->root);
	struct foreign_owner folder = {.uid = getuid(), .gid = getgid(), .mode = 0751};
	struct stat st;

	assert_int_equal(foreign_mkdir(f->root, "d", &folder, NULL), 0);
	assert_int_equal(foreign_mkdir(f->root, "d", &folder, NULL), 0);
	if (geteuid() == 0)
		f->owner.uid = f->owner.gid = 4242;
	assert_int_equal(foreign_write(f->root, "d/a", "x", 1, &f->owner, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_uid, f->owner.uid);
	assert_int_equal(foreign_unlink(f->root, "d/a", NULL), 0);
	assert_int_equal(foreign_unlink(f->root, "d/a", NULL), 0);
	assert_false(fs_exists(path));
}

/* An image's links are its own: from its root, never from the host's. */
static void links_of_an_image_stay_in_it(void **state)
{
	struct fix *f = *state;
	cleanup_free char *bin = xasprintf("%s/bin", f->root);
	char *text;

	assert_int_equal(mkdir(bin, 0755), 0);
	put(bin, "tool", "x");
	plant(f, "inside", "/bin/tool");
	plant(f, "climb", "../../../../../../bin/tool");
	plant(f, "outside", f->secret);
	assert_int_equal(foreign_read_image(f->root, "inside", 64, &text, NULL, NULL), 0);
	free(text);
	assert_int_equal(foreign_read_image(f->root, "climb", 64, &text, NULL, NULL), 0);
	assert_string_equal(text, "x");
	free(text);
	assert_int_equal(foreign_read_image(f->root, "outside", 64, &text, NULL, NULL), -ENOENT);
	assert_true(foreign_image_has(f->root, "/inside", false));
	assert_false(foreign_image_has(f->root, "/inside", true));
	assert_false(foreign_image_has(f->root, "/outside", false));
}

static void an_images_passwd_can_be_a_trap(void **state)
{
	struct fix *f = *state;
	cleanup_free char *etc = xasprintf("%s/etc", f->root);
	struct err e = {0};
	struct user u;

	assert_int_equal(mkdir(etc, 0755), 0);
	plant(f, "etc/passwd", NULL);
	assert_int_equal(user_resolve(f->root, "db", "nobody", &u, &e), E_FORBIDDEN);
	assert_int_equal(foreign_unlink(f->root, "etc/passwd", NULL), 0);
	plant(f, "etc/passwd", "/etc/passwd"); /* the host's has root */
	assert_true(user_resolve(f->root, "root", "nobody", &u, &e) < 0);
}

static void a_socket_is_a_socket_of_the_tree(void **state)
{
	struct fix *f = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX}, found = {.sun_family = AF_UNIX};
	cleanup_close int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	cleanup_close int client = socket(AF_UNIX, SOCK_STREAM, 0);
	cleanup_close int fd = -1;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/sock", f->outside);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	plant(f, "sock", a.sun_path);
	assert_int_equal(foreign_socket(f->root, "sock", NULL), -ELOOP);
	plant(f, "pipe", NULL);
	assert_int_equal(foreign_socket(f->root, "pipe", NULL), E_FORBIDDEN);
	fd = foreign_socket(f->outside, "sock", NULL);
	assert_true(fd >= 0);
	snprintf(found.sun_path, sizeof(found.sun_path), "/proc/self/fd/%d", fd);
	assert_int_equal(connect(client, (struct sockaddr *)&found, sizeof(found)), 0);
}

/* A lease makes open(2) wait for its holder, or say EAGAIN for as long as he likes. */
static void a_lease_does_not_hold_us(void **state)
{
	struct fix *f = *state;
	cleanup_free char *path = xasprintf("%s/a", f->root);
	cleanup_close int fd = -1;
	char *text;

	put(f->root, "a", "x");
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
		skip();
	signal(SIGIO, SIG_IGN);
	assert_int_equal(foreign_read(f->root, "a", 64, &text, NULL, NULL), -EAGAIN);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads_a_file),
		T(never_waits_for_a_fifo),
		T(never_follows_a_link),
		T(never_leaves_the_tree),
		T(a_failed_write_leaves_the_old_text),
		T(written_files_are_the_owners),
		T(links_of_an_image_stay_in_it),
		T(an_images_passwd_can_be_a_trap),
		T(a_socket_is_a_socket_of_the_tree),
		T(a_lease_does_not_hold_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
