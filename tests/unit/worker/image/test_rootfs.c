// SPDX-License-Identifier: Apache-2.0
/* What a task's root file system is made of: which of the host's files, whose folders, which mount targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/image/image.h"

static char top[64];

static int set_up(void **state)
{
	snprintf(top, sizeof(top), "/tmp/gsw-rootfs-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int tear_down(void **state)
{
	return fs_remove_all(top, NULL);
}

static char *path(const char *name)
{
	return xasprintf("%s/%s", top, name);
}

static void put(const char *name, const char *text, mode_t mode)
{
	cleanup_free char *p = path(name), *dir = xstrdup(p);

	*strrchr(dir, '/') = '\0';
	assert_int_equal(fs_mkdir(dir, 0755, NULL), 0);
	assert_int_equal(fs_write(p, text, strlen(text), mode, NULL), 0);
}

static bool has(const char *layer, const char *name)
{
	cleanup_free char *p = xasprintf("%s/%s", layer, name);

	return fs_exists(p);
}

static char *layer_of(const char *etc)
{
	cleanup_free char *from = path(etc), *to = path("layers"), *recent = path("layers/.current");
	struct err e = {0};
	char *layer;

	unlink(recent); /* as if a second had passed */

	if (etc_host_layer(from, to, &layer, &e) < 0)
		fail_msg("%s", e.msg);
	return layer;
}

/* FINDINGS I: a list of what is shown, and never what the world may not read. */
static void i_only_what_is_named_is_shown(void **state)
{
	cleanup_free char *layer = NULL, *link = path("etc/localtime");

	put("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0644);
	put("etc/shadow", "secret", 0640);
	put("etc/ipsec.secrets", "secret", 0644);
	put("etc/apt/auth.conf", "secret", 0644);
	put("etc/kubernetes/pki/ca.key", "secret", 0644);
	put("etc/mysql/debian.cnf", "secret", 0644);
	put("etc/ssl/certs/a.pem", "cert", 0644);
	put("etc/ssl/private/a.key", "secret", 0644);
	put("etc/ssl/openssl.cnf", "conf", 0644);
	put("etc/profile.d/a.sh", "text", 0644);
	put("etc/profile.d/token.sh", "secret", 0600);
	put("etc/java-99-openjdk/security/java.security", "text", 0644);
	assert_int_equal(symlink("/usr/share/zoneinfo/UTC", link), 0);
	layer = layer_of("etc");
	assert_true(has(layer, "passwd") && has(layer, "localtime") && has(layer, "ssl/certs/a.pem"));
	assert_true(has(layer, "ssl/openssl.cnf") && has(layer, "profile.d/a.sh"));
	assert_true(has(layer, "java-99-openjdk/security/java.security"));
	assert_false(has(layer, "shadow") || has(layer, "ipsec.secrets") || has(layer, "apt"));
	assert_false(has(layer, "kubernetes") || has(layer, "mysql") || has(layer, "ssl/private"));
	assert_false(has(layer, "profile.d/token.sh"));
}

static void i_copies_are_shared_until_something_changes(void **state)
{
	cleanup_free char *first = NULL, *same = NULL, *changed = NULL, *old = NULL, *new = NULL,
			  *recent = NULL;
	cleanup_free char *from = path("etc"), *to = path("layers");
	struct stat a, b;

	put("etc/passwd", "one\n", 0644);
	put("etc/group", "group\n", 0644);
	first = layer_of("etc");
	same = layer_of("etc");
	assert_string_equal(first, same);
	put("etc/passwd", "another\n", 0644);
	assert_int_equal(etc_host_layer(from, to, &recent, NULL), 0);
	assert_string_equal(first, recent); /* a burst of starts looks once */
	changed = layer_of("etc");
	assert_string_not_equal(first, changed);
	/* What did not change is there once; what did is another file, and the first task keeps its own. */
	old = xasprintf("%s/group", first);
	new = xasprintf("%s/group", changed);
	assert_int_equal(stat(old, &a) | stat(new, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	free(old);
	free(new);
	old = xasprintf("%s/passwd", first);
	new = xasprintf("%s/passwd", changed);
	assert_int_equal(stat(old, &a) | stat(new, &b), 0);
	assert_int_not_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_size, 4);
}

/* Cost review 10: each change of the host's files left a layer for ever, on tmpfs. */
static void layers_of_no_task_go(void **state)
{
	cleanup_free char *unused = NULL, *used = NULL, *last = NULL, *again = NULL, *config = NULL;
	cleanup_free char *layers = path("layers"), *tasks = path("tasks"), *from = path("etc");
	cleanup_free char *unreadable = path("tasks/t3/1/config.json"),
			  *theirs = path("tasks/t2/rootfs/config.json");

	put("etc/passwd", "a\n", 0644);
	unused = layer_of("etc");
	put("etc/passwd", "bb\n", 0644);
	used = layer_of("etc");
	put("etc/passwd", "ccc\n", 0644);
	last = layer_of("etc");
	config = xasprintf("{\"options\":[\"ro\",\"lowerdir=/x/layer/etc:%s\"]}", used);
	put("tasks/t1/2/config.json", config, 0600);
	put("tasks/t2/hosts", "", 0644);
	assert_int_equal(fs_mkdir(unreadable, 0755, NULL) | fs_mkdir(theirs, 0755, NULL), 0);
	etc_layers_tidy(layers, tasks);
	assert_true(fs_exists(unused) && fs_exists(used) && fs_exists(last)); /* who knows what it names */
	assert_int_equal(rmdir(unreadable), 0);
	int busy = open(layers, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(busy, LOCK_EX), 0);
	etc_layers_tidy(layers, tasks); /* waits for nobody: it is called on the loop */
	assert_true(fs_exists(unused));
	close(busy);
	etc_layers_tidy(layers, tasks);
	assert_true(has(used, "passwd"));
	assert_false(fs_exists(unused) || fs_exists(last));
	/* and the next one is not told of what went */
	assert_int_equal(etc_host_layer(from, layers, &again, NULL), 0);
	assert_true(has(again, "passwd"));
}

static void i_images_with_our_state(void **state)
{
	cleanup_free char *state_dir = path("var/lib/gswarm"), *run = path("run/gswarm"), *above = NULL;
	cleanup_free char *inside = NULL, *link = NULL, *beside = NULL, *good = path("images/db");
	const char *root;

	assert_int_equal(fs_mkdir(state_dir, 0755, NULL) | fs_mkdir(run, 0755, NULL), 0);
	assert_int_equal(fs_mkdir(good, 0755, NULL), 0);
	above = xasprintf("dir:%s/var", top);
	inside = xasprintf("dir:%s/manager", state_dir);
	link = path("link");
	beside = xasprintf("dir:%s", good);
	assert_int_equal(fs_mkdir(inside + 4, 0755, NULL), 0);
	assert_int_equal(rootfs_image_root("dir:/", state_dir, run, &root, NULL, NULL), E_INVALID);
	assert_int_equal(rootfs_image_root(above, state_dir, run, &root, NULL, NULL), E_INVALID);
	assert_int_equal(rootfs_image_root(inside, state_dir, run, &root, NULL, NULL), E_INVALID);
	assert_int_equal(symlink("/", link), 0);
	free(above);
	above = xasprintf("dir:%s", link);
	assert_int_equal(rootfs_image_root(above, state_dir, run, &root, NULL, NULL), E_INVALID);
	assert_int_equal(rootfs_image_root(beside, state_dir, run, &root, NULL, NULL), 0);
	assert_string_equal(root, good);
	assert_int_equal(rootfs_image_root("host", state_dir, run, &root, NULL, NULL), 0);
}

/* The second session's safety review, 11: the path is judged at one time and mounted at another. */
static void s11_judged_folder_is_known_again(void **state)
{
	cleanup_free char *good = path("images/swapped"), *ours = path("var/lib/swapped"), *image = NULL;
	struct image_id was, now;
	const char *root;

	assert_int_equal(fs_mkdir(good, 0755, NULL) | fs_mkdir(ours, 0755, NULL), 0);
	image = xasprintf("dir:%s", good);
	assert_int_equal(rootfs_image_root(image, ours, NULL, &root, &was, NULL), 0);
	assert_int_not_equal(was.ino, 0);
	assert_int_equal(rootfs_image_root(image, ours, NULL, &root, &now, NULL), 0);
	assert_memory_equal(&was, &now, sizeof(was));
	assert_int_equal(rmdir(good), 0);
	assert_int_equal(symlink(ours, good), 0);
	assert_int_equal(rootfs_image_root(image, ours, NULL, &root, &now, NULL), E_INVALID);
	assert_int_equal(rootfs_image_root(image, NULL, NULL, &root, &now, NULL), 0);
	assert_memory_not_equal(&was, &now, sizeof(was));
}

static atomic_bool is_over;

static void *rewrite(void *arg)
{
	for (int i = 0; !is_over; i++)
		rootfs_hosts_write(top, "db.1", i % 2 ? "10.0.1.3 db.1\n" : "10.0.1.3 db.1\n10.0.1.4 db.2\n",
				   NULL);
	return NULL;
}

/* FINDINGS W11: whoever reads while the names are replaced reads either text, whole. */
static void w11_hosts_are_replaced_in_one_step(void **state)
{
	cleanup_free char *names = path("names"), *file = path("names/hosts");
	pthread_t writer;
	unsigned torn = 0;

	assert_int_equal(fs_mkdir(names, 0755, NULL), 0);
	assert_int_equal(rootfs_hosts_write(top, "db.1", "10.0.1.3 db.1\n", NULL), 0);
	is_over = false;
	assert_int_equal(pthread_create(&writer, NULL, rewrite, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		cleanup_free char *text = NULL;

		if (fs_read(file, 4096, &text, NULL, NULL) < 0 || !strstr(text, "::1 localhost") ||
		    !strstr(text, "10.0.1.3 db.1\n"))
			torn++;
	}
	is_over = true;
	pthread_join(writer, NULL);
	assert_int_equal(torn, 0);
}

/* ---- mount targets ---- */

static Gs__Task *task_with(const char *const *targets, size_t n)
{
	Gs__Task *t = obj_new(&gs__task__descriptor);

	t->spec = obj_new(&gs__task_spec__descriptor);
	for (size_t i = 0; i < n; i++) {
		Gs__Mount *m = obj_new(&gs__mount__descriptor);

		m->type = MOUNT_TMPFS;
		str_replace(&m->target, targets[i]);
		obj_add(&t->spec->n_mounts, &t->spec->mounts, m);
	}
	return t;
}

/* A bundle as rootfs_prepare leaves it for image host, on a host that is `top`. */
static struct bundle *host_bundle(void)
{
	struct bundle *b = bundle_new();
	cleanup_free char *skeleton = path("rootfs"), *bin = path("rootfs/bin");

	assert_int_equal(fs_mkdir(skeleton, 0755, NULL), 0);
	assert_true(symlink("usr/bin", bin) == 0 || fs_exists(bin));
	b->rootfs = xstrdup(skeleton);
	bundle_mount_add(b, "/usr", "/usr", "bind", BIND_RO);
	return b;
}

static int prepare(struct bundle *b, const char *target, struct err *e)
{
	Gs__Task *t = task_with(&target, 1);
	struct mounts_spec spec = {.task = t, .run_dir = top, .volumes_dir = top};
	int rc = mounts_prepare(b, &spec, e);

	obj_free(t);
	return rc;
}

static void w7_a_missing_target_is_made_in_a_layer(void **state)
{
	static const char *const targets[] = {"/usr/no-such-folder/x", "/bin/no-such-folder",
					      "/etc/my.cnf.d"};
	static const char *const made[] = {"layer/usr/no-such-folder/x", "layer/usr/bin/no-such-folder",
					   "layer/etc/my.cnf.d"};

	for (size_t i = 0; i < array_size(targets); i++) {
		struct bundle *b = host_bundle();
		struct err e = {0};

		if (prepare(b, targets[i], &e) < 0)
			fail_msg("%s", e.msg);
		assert_true(has(top, made[i]));
		assert_string_equal(b->mounts[0].type, strncmp(targets[i], "/etc", 4) ? "overlay" : "bind");
		bundle_free(b);
	}
	assert_false(fs_exists("/usr/no-such-folder"));
}

/* User review, 12: what dir: refuses could be bound. */
static void u12_binds_of_our_state(void **state)
{
	cleanup_free char *state_dir = path("var/lib/ours"), *run = path("run/ours"), *good = path("srv");
	cleanup_free char *above = path("var"), *inside = path("var/lib/ours/tasks"), *link = path("to-ours");
	cleanup_free char *key = path("var/lib/ours/key"), *beside = path("var/beside");
	const char *bad[] = {"/", above, state_dir, inside, key, run, link};
	const char *fine[] = {good, beside, "/dev/null"}, *target = "/data";

	assert_int_equal(fs_mkdir(inside, 0755, NULL) | fs_mkdir(run, 0755, NULL), 0);
	assert_int_equal(fs_mkdir(good, 0755, NULL), 0);
	assert_int_equal(symlink(key, link), 0);
	assert_int_equal(fs_write(key, "k", 1, 0600, NULL) | fs_write(beside, "b", 1, 0600, NULL), 0);
	for (size_t i = 0; i < array_size(bad) + array_size(fine); i++) {
		bool is_bad = i < array_size(bad);
		Gs__Task *t = task_with(&target, 1);
		struct mounts_spec spec = {.task = t,
					   .run_dir = top,
					   .volumes_dir = top,
					   .state_dir = state_dir,
					   .base_run = run};
		struct bundle *b = host_bundle();
		struct err e = {0};

		t->spec->mounts[0]->type = MOUNT_BIND;
		str_replace(&t->spec->mounts[0]->source, is_bad ? bad[i] : fine[i - array_size(bad)]);
		if (mounts_prepare(b, &spec, &e) != (is_bad ? E_INVALID : 0))
			fail_msg("%s: %s", t->spec->mounts[0]->source, e.msg);
		assert_true(!is_bad || strstr(e.msg, "mount /data: "));
		assert_int_equal(b->n_mounts, is_bad ? 1 : 2);
		bundle_free(b);
		obj_free(t);
	}
}

static void w7_a_target_that_is_there_needs_no_layer(void **state)
{
	struct bundle *b = host_bundle();

	assert_int_equal(prepare(b, "/usr/share", NULL), 0);
	assert_string_equal(b->mounts[0].type, "bind");
	assert_int_equal(prepare(b, "/data", NULL), 0);
	assert_string_equal(b->mounts[0].type, "bind");
	bundle_free(b);
}

static void w7_targets_that_cannot_be(void **state)
{
	static const char *const bad[] = {
		"/",    "rel",  "/a/../b",     "/a//b",       "/./a",         "/proc/x",       "/sys",
		"/dev", "/etc", "/run/task/x", "/etc/gswarm", "/usr/bin/env", "/usr/bin/env/x"};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct bundle *b = host_bundle();
		struct err e = {0};

		if (prepare(b, bad[i], &e) != E_INVALID)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(b->n_mounts, 1);
		bundle_free(b);
	}
}

/* What the runtime would make inside somebody's folder. */
static void w7_a_target_inside_a_bind(void **state)
{
	static const char *const targets[] = {"/in", "/in/sub"};
	Gs__Task *t = task_with(targets, 2);
	struct mounts_spec spec = {.task = t, .run_dir = top, .volumes_dir = top};
	cleanup_free char *sub = path("bound/sub"), *bound = path("bound");
	struct bundle *b = host_bundle();
	struct err e = {0};

	assert_int_equal(fs_mkdir(bound, 0755, NULL), 0);
	t->spec->mounts[0]->type = MOUNT_BIND;
	str_replace(&t->spec->mounts[0]->source, bound);
	assert_int_equal(mounts_prepare(b, &spec, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "bound/sub on the host first"));
	assert_int_equal(fs_mkdir(sub, 0755, NULL), 0);
	assert_int_equal(mounts_prepare(b, &spec, NULL), 0);
	bundle_free(b);
	obj_free(t);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(i_only_what_is_named_is_shown),
		T(i_copies_are_shared_until_something_changes),
		T(layers_of_no_task_go),
		T(i_images_with_our_state),
		T(s11_judged_folder_is_known_again),
		T(w11_hosts_are_replaced_in_one_step),
		T(w7_a_missing_target_is_made_in_a_layer),
		T(u12_binds_of_our_state),
		T(w7_a_target_that_is_there_needs_no_layer),
		T(w7_targets_that_cannot_be),
		T(w7_a_target_inside_a_bind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
