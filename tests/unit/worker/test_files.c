// SPDX-License-Identifier: Apache-2.0
/* What the worker keeps on disk: identity, intent, volumes, users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/bundle/bundle.h"
#include "worker/task/intent.h"
#include "worker/node/membership.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbb"

static char dir[64];

static int make_dir(void **s)
{
	snprintf(dir, sizeof(dir), "test-worker-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **s)
{
	return fs_remove_all(dir, NULL);
}

static void state_round_trip(void **s)
{
	struct state a = {.data_path_port = 4790, .has_manager = true}, b;
	struct err e = {0};

	strcpy(a.cluster_id, ID_A);
	strcpy(a.node_id, ID_B);
	strcpy(a.advertise, "192.168.55.111");
	strcpy(a.data_path, "192.168.55.111");
	a.managers = xcalloc(2, sizeof(char *));
	a.managers[a.n_managers++] = xstrdup("192.168.55.111:2377");
	a.ca = xstrdup("ca");
	a.cert = xstrdup("cert");
	a.key = xstrdup("key");
	assert_int_equal(state_save(dir, &a, &e), 0);
	assert_int_equal(state_load(dir, &b, &e), 0);
	assert_true(b.is_member);
	assert_true(b.has_manager);
	assert_string_equal(b.node_id, ID_B);
	assert_string_equal(b.managers[0], "192.168.55.111:2377");
	assert_string_equal(b.key, "key");
	assert_int_equal(b.data_path_port, 4790);
	state_fini(&a);
	state_fini(&b);
}

/* FINDINGS P5: the root that came with a renewed certificate is still known after a restart. */
static void p5_renewed_root_is_kept(void **s)
{
	struct state a = {.ca = "root", .cert = "cert", .key = "key"}, b;
	struct err e = {0};

	strcpy(a.cluster_id, ID_A);
	strcpy(a.node_id, ID_B);
	assert_int_equal(state_save(dir, &a, &e), 0);
	a.ca = "root and next root";
	a.cert = "newer cert";
	assert_int_equal(state_save_cert(dir, &a, &e), 0);
	assert_int_equal(state_load(dir, &b, &e), 0);
	assert_string_equal(b.ca, "root and next root");
	assert_string_equal(b.cert, "newer cert");
	state_fini(&b);
}

/* Without state.json a node is no member, whatever else a cut-off join has left. */
static void state_needs_its_last_file(void **s)
{
	struct state a = {0};
	cleanup_free char *path = xasprintf("%s/node.key", dir);
	struct err e = {0};

	assert_int_equal(fs_write(path, "key", 3, 0600, &e), 0);
	assert_int_equal(state_load(dir, &a, &e), 0);
	assert_false(a.is_member);
}

static void state_damaged(void **s)
{
	struct state a = {0};
	cleanup_free char *path = xasprintf("%s/state.json", dir);
	struct err e = {0};

	assert_int_equal(fs_write(path, "{\"cluster_id\": 3}", 17, 0600, &e), 0);
	assert_int_equal(state_load(dir, &a, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "state.json"));
	assert_int_equal(state_remove(dir, &e), 0);
	assert_int_equal(state_load(dir, &a, &e), 0);
	assert_false(a.is_member);
}

static char *task_dir(void)
{
	return xasprintf("%s/" ID_A, dir);
}

static Gs__Task *a_task(void)
{
	Gs__Task *t = obj_new_row(OBJ_TASK, ID_A);

	str_replace(&t->name, "db.1");
	t->spec = obj_new(&gs__task_spec__descriptor);
	obj_add_str(&t->spec->n_args, &t->spec->args, "sleep");
	return t;
}

static void intent_round_trip(void **s)
{
	cleanup_free char *at = task_dir();
	Gs__Task *t = a_task();
	struct intent i;
	struct err e = {0};

	assert_int_equal(intent_save_task(at, t, &e), 0);
	assert_int_equal(intent_load(at, &i, &e), 0);
	assert_int_equal(i.attempt, 1);
	assert_null(i.final);
	assert_true(obj_equal(i.task, t));
	obj_free(i.task);
	assert_int_equal(intent_save_attempt(at, 7, &e), 0);
	assert_int_equal(intent_load(at, &i, &e), 0);
	assert_int_equal(i.attempt, 7);
	obj_free(i.task);
	obj_free(t);
}

static int load(const char *at)
{
	struct intent i = {0};
	struct err e = {0};
	int rc = intent_load(at, &i, &e);

	obj_free(i.task);
	obj_free(i.final);
	return rc;
}

static void intent_damaged(void **s)
{
	cleanup_free char *at = task_dir(), *path = xasprintf("%s/task.pb", at);
	cleanup_free char *attempt = xasprintf("%s/attempt", at), *other = xasprintf("%s/" ID_B, dir);
	Gs__Task *t = a_task();
	struct err e = {0};

	assert_int_equal(load(at), E_CORRUPT); /* no folder */
	assert_int_equal(fs_mkdir(at, 0700, &e), 0);
	assert_int_equal(load(at), E_CORRUPT); /* it never got as far as a note */
	assert_int_equal(fs_write(path, "\xff\xff\xff", 3, 0600, &e), 0);
	assert_int_equal(load(at), E_CORRUPT);
	assert_int_equal(intent_save_task(at, t, &e), 0);
	assert_int_equal(fs_write(attempt, "", 0, 0600, &e), 0);
	assert_int_equal(load(at), E_CORRUPT);
	assert_int_equal(intent_save_task(other, t, &e), 0);
	assert_int_equal(load(other), E_CORRUPT);
	obj_free(t);
}

/* FINDINGS W4: a note that cannot be read says nothing, and an unreadable number of the attempt was 1. */
static void intent_unreadable_is_no_damage(void **s)
{
	static const char *const notes[] = {"task.pb", "attempt", "final"};
	cleanup_free char *at = task_dir();
	Gs__TaskStatus *status = obj_new(&gs__task_status__descriptor);
	Gs__Task *t = a_task();
	struct err e = {0};

	status->state = TASK_COMPLETE;
	for (size_t k = 0; k < array_size(notes); k++) {
		cleanup_free char *path = xasprintf("%s/%s", at, notes[k]);

		assert_int_equal(intent_save_task(at, t, &e), 0);
		assert_int_equal(intent_save_attempt(at, 7, &e), 0);
		assert_int_equal(intent_save_final(at, status, &e), 0);
		assert_int_equal(load(at), 0);
		assert_int_equal(fs_unlink(path, &e), 0);
		/* What open(2) answers to a link that names itself, also to root: ELOOP stands for the disk's error. */
		assert_int_equal(symlink(notes[k], path), 0);
		assert_true(load(at) < 0);
		assert_int_not_equal(load(at), E_CORRUPT);
		assert_int_equal(fs_unlink(path, &e), 0);
	}
	obj_free(status);
	obj_free(t);
}

/* A task that has ended must not run again because the note of how is damaged. */
static void intent_final_damaged(void **s)
{
	cleanup_free char *at = task_dir(), *path = xasprintf("%s/final", at);
	Gs__Task *t = a_task();
	struct intent i;
	struct err e = {0};

	assert_int_equal(intent_save_task(at, t, &e), 0);
	assert_int_equal(fs_write(path, "\xff", 1, 0600, &e), 0);
	assert_int_equal(intent_load(at, &i, &e), 0);
	assert_int_equal(i.final->state, TASK_FAILED);
	obj_free(i.task);
	obj_free(i.final);
	obj_free(t);
}

static struct volume_spec volume(const char *service)
{
	return (struct volume_spec){.volumes_dir = dir,
				    .volume_id = ID_A,
				    .service_id = service,
				    .slot_id = "slot",
				    .uid = geteuid(),
				    .gid = getegid()};
}

static void volume_is_made_and_found_again(void **s)
{
	struct volume_spec spec = volume(ID_B);
	char *path, *again;
	struct err e = {0};

	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	assert_true(fs_exists(path));
	assert_int_equal(volume_prepare(&spec, &again, &e), 0);
	assert_string_equal(path, again);
	free(path);
	free(again);
}

static void volume_of_another_service(void **s)
{
	struct volume_spec spec = volume(ID_B), other = volume(ID_A);
	char *path;
	struct err e = {0};

	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	free(path);
	assert_int_equal(volume_prepare(&other, &path, &e), E_IN_USE);
	assert_non_null(strstr(e.msg, ID_B));
}

static void volume_with_data_of_nobody_known(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *data = xasprintf("%s/" ID_A "/data", dir);
	cleanup_free char *file = xasprintf("%s/ibdata1", data);
	char *path;
	struct err e = {0};

	assert_int_equal(fs_mkdir(data, 0755, &e), 0);
	assert_int_equal(fs_write(file, "x", 1, 0600, &e), 0);
	assert_int_equal(volume_prepare(&spec, &path, &e), E_IN_USE);
	assert_true(fs_exists(file));
}

static void users(void **s)
{
	cleanup_free char *etc = xasprintf("%s/etc", dir);
	cleanup_free char *passwd = xasprintf("%s/passwd", etc);
	cleanup_free char *group = xasprintf("%s/group", etc);
	struct err e = {0};
	uid_t uid;
	gid_t gid;
	char *home;

	assert_int_equal(fs_mkdir(etc, 0755, &e), 0);
	assert_int_equal(fs_write(passwd, "db:x:102:105::/var/db:/bin/sh\n", 30, 0644, &e), 0);
	assert_int_equal(fs_write(group, "disk:x:6:\n", 10, 0644, &e), 0);
	assert_int_equal(user_resolve(dir, "", "db", &uid, &gid, &home, &e), 0);
	assert_int_equal(uid, 102);
	assert_int_equal(gid, 105);
	assert_string_equal(home, "/var/db");
	free(home);
	assert_int_equal(user_resolve(dir, "db:disk", "nobody", &uid, &gid, &home, &e), 0);
	assert_int_equal(gid, 6);
	free(home);
	assert_int_equal(user_resolve(dir, "1234:77", "nobody", &uid, &gid, &home, &e), 0);
	assert_int_equal(uid, 1234);
	assert_int_equal(gid, 77);
	free(home);
	assert_int_equal(user_resolve(dir, "nosuch", "nobody", &uid, &gid, &home, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "nosuch"));
	assert_int_equal(user_resolve(dir, "nobody", "nobody", &uid, &gid, &home, &e), E_INVALID);
	assert_int_equal(user_resolve(dir, "", "nobody", &uid, &gid, &home, &e),
			 0); /* a small image has none */
	assert_int_equal(uid, 65534);
	assert_int_equal(gid, 65534);
	free(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(state_round_trip, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(p5_renewed_root_is_kept, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(state_needs_its_last_file, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(state_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_round_trip, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_unreadable_is_no_damage, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_final_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_is_made_and_found_again, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_of_another_service, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_with_data_of_nobody_known, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(users, make_dir, drop_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
