// SPDX-License-Identifier: Apache-2.0
/* What the worker keeps on disk: identity, intent, volumes, users. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "worker/image/image.h"
#include "worker/node/membership_files.h"
#include "worker/node/saver.h"
#include "worker/task/intent.h"

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
	struct membership a = {.data_path_port = 4790, .has_manager = true}, b;
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
	assert_int_equal(membership_save(dir, &a, &e), 0);
	assert_int_equal(membership_load(dir, &b, &e), 0);
	assert_true(b.is_member);
	assert_true(b.has_manager);
	assert_string_equal(b.node_id, ID_B);
	assert_string_equal(b.managers[0], "192.168.55.111:2377");
	assert_string_equal(b.key, "key");
	assert_int_equal(b.data_path_port, 4790);
	membership_fini(&a);
	membership_fini(&b);
}

/* FINDINGS P5: the root that came with a renewed certificate is still known after a restart. */
static void p5_renewed_root_is_kept(void **s)
{
	struct membership a = {.ca = "root", .cert = "cert", .key = "key"}, b;
	struct err e = {0};

	strcpy(a.cluster_id, ID_A);
	strcpy(a.node_id, ID_B);
	assert_int_equal(membership_save(dir, &a, &e), 0);
	a.ca = "root and next root";
	a.cert = "newer cert";
	assert_int_equal(membership_save_cert(dir, &a, &e), 0);
	assert_int_equal(membership_load(dir, &b, &e), 0);
	assert_string_equal(b.ca, "root and next root");
	assert_string_equal(b.cert, "newer cert");
	membership_fini(&b);
}

/* Without state.json a node is no member, whatever else a cut-off join has left. */
static void state_needs_its_last_file(void **s)
{
	struct membership a = {0};
	cleanup_free char *path = xasprintf("%s/node.key", dir);
	struct err e = {0};

	assert_int_equal(fs_write(path, "key", 3, 0600, &e), 0);
	assert_int_equal(membership_load(dir, &a, &e), 0);
	assert_false(a.is_member);
}

static void state_damaged(void **s)
{
	struct membership a = {0};
	cleanup_free char *path = xasprintf("%s/state.json", dir);
	struct err e = {0};

	assert_int_equal(fs_write(path, "{\"cluster_id\": 3}", 17, 0600, &e), 0);
	assert_int_equal(membership_load(dir, &a, &e), E_CORRUPT);
	assert_non_null(strstr(e.msg, "state.json"));
	assert_int_equal(membership_remove(dir, &e), 0);
	assert_int_equal(membership_load(dir, &a, &e), 0);
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

/* Issue 6, point 3: what is removed is this volume, all of it, also when a removal was cut off. */
static void volume_is_removed(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *made = xasprintf("%s/made", dir), *note = xasprintf("%s/" ID_A, made);
	cleanup_free char *at = xasprintf("%s/" ID_A, dir), *half = xasprintf("%s.removing", at);
	cleanup_free char *marker = xasprintf("%s/volume", at);
	cleanup_free char *path = NULL, *again = NULL;
	struct err e = {0};
	bool found;

	spec.made_dir = made;
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), 0);
	assert_true(found && !fs_exists(at) && !fs_exists(half) && !fs_exists(note));
	/* what nobody has seen go is not said to be gone, but for a person's word */
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), E_UNAVAILABLE);
	assert_int_equal(fs_mkdir(half, 0700, &e), 0);
	err_clear(&e);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), 0);
	assert_false(found || fs_exists(half));
	/* cut off behind the rename: gone on with */
	assert_int_equal(volume_prepare(&spec, &again, &e), 0);
	assert_int_equal(rename(at, half), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), 0);
	assert_true(found && !fs_exists(half) && !fs_exists(note));
	/* not mounted now: nothing is said to be gone */
	assert_int_equal(fs_write(note, "1\n", 2, 0600, &e), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), E_UNAVAILABLE);
	assert_true(fs_exists(note));
	/* somebody else's */
	assert_int_equal(fs_mkdir(path, 0755, &e), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), E_IN_USE);
	assert_int_equal(fs_write(marker, "volume=" ID_B " service=x slot=y\n", 20, 0600, &e), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), E_IN_USE);
	assert_true(fs_exists(path));
}

static void not_removed(const char *made, const char *way_out)
{
	struct err e = {0};
	bool found;

	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), E_UNAVAILABLE);
	if (!strstr(e.msg, way_out))
		fail_msg("'%s' does not say '%s'", e.msg, way_out);
}

/* Review of volumes, 1: the data of a disk that was not mounted was said to be deleted. All places where a disk can be,
 * with a note (plain) and without (Galera). */
static void r1_volume_whose_disk_is_away_is_not_removed(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *made = xasprintf("%s/made", dir), *at = xasprintf("%s/" ID_A, dir);
	cleanup_free char *half = xasprintf("%s.removing", at), *away = xasprintf("%s/away", dir);
	cleanup_free char *way_out = xasprintf("mkdir %s'", half);
	cleanup_free char *member = xasprintf("%s/gswarm.json", at), *path = NULL, *file = NULL;
	struct err e = {0};
	bool found;

	for (int plain = 0; plain < 2; plain++) {
		spec.made_dir = plain ? made : NULL;
		free(path);
		assert_int_equal(volume_prepare(&spec, &path, &e), 0);
		free(file);
		file = xasprintf("%s/ibdata1", path);
		assert_int_equal(fs_write(file, "x", 1, 0600, &e), 0);
		if (!plain)
			assert_int_equal(fs_write(member, "{}", 2, 0600, &e), 0);
		assert_int_equal(rename(at, away), 0);
		not_removed(made, way_out); /* the disk of all volumes */
		assert_int_equal(fs_mkdir(at, 0755, &e), 0);
		not_removed(made, way_out); /* of this one */
		assert_int_equal(rmdir(at), 0);
		assert_int_equal(rename(away, at), 0);
		assert_int_equal(rename(path, away), 0);
		not_removed(made, way_out);
		assert_int_equal(fs_mkdir(path, 0755, &e), 0);
		not_removed(made, way_out); /* of its data */
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(rename(away, path), 0); /* mounted */
		assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), 0);
		assert_true(found && !fs_exists(at) && !fs_exists(half));
	}
	/* the way out, with the place of the disk still there */
	assert_int_equal(fs_mkdir(at, 0755, &e), 0);
	assert_int_equal(fs_mkdir(half, 0755, &e), 0);
	assert_int_equal(volume_remove(dir, made, ID_A, &found, &e), 0);
	assert_false(fs_exists(at) || fs_exists(half));
}

/* What cannot be looked at is not missing (EIO, ESTALE; here ENOTDIR, which root meets too). */
static void r1_volume_that_cannot_be_looked_at_is_not_removed(void **s)
{
	cleanup_free char *made = xasprintf("%s/made", dir), *file = xasprintf("%s/file", dir);
	struct err e = {0};
	bool found;

	assert_int_equal(fs_write(file, "x", 1, 0600, &e), 0);
	assert_int_equal(volume_remove(file, made, ID_A, &found, &e), -ENOTDIR);
	assert_non_null(strstr(e.msg, "look at"));
}

/* Safety review, 6: a volume whose disk was not mounted was made anew, empty, and its task ran on that. */
static void s6_volume_that_is_missing_is_not_made_anew(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *made = xasprintf("%s/made", dir), *note = xasprintf("%s/" ID_A, made);
	cleanup_free char *at = xasprintf("%s/" ID_A, dir), *away = xasprintf("%s/away", dir);
	char *path;
	struct err e = {0};

	spec.made_dir = made;
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	free(path);
	assert_int_equal(rename(at, away), 0); /* all of it is gone: no disk at the volume */
	for (int i = 0; i < 2; i++) {          /* and the first refusal makes nothing of it */
		assert_int_equal(volume_prepare(&spec, &path, &e), E_UNAVAILABLE);
		assert_non_null(strstr(e.msg, "mount its disk"));
		assert_non_null(strstr(e.msg, note));
		assert_false(fs_exists(at));
	}
	assert_int_equal(fs_mkdir(at, 0755, &e), 0); /* an empty place to mount it at */
	assert_int_equal(volume_prepare(&spec, &path, &e), E_UNAVAILABLE);
	assert_int_equal(rmdir(at), 0);
	assert_int_equal(rename(away, at), 0); /* mounted */
	err_clear(&e);
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	free(path);
	assert_int_equal(rename(at, away), 0);
	assert_int_equal(unlink(note), 0); /* the way out */
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	free(path);
}

/* The same of a disk at the data folder; and one that was copied back is the same volume. */
static void s6_volume_with_an_empty_place_of_data(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *made = xasprintf("%s/made", dir), *away = xasprintf("%s/away", dir), *file = NULL;
	char *path, *again;
	struct err e = {0};

	spec.made_dir = made;
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	assert_int_equal(volume_prepare(&spec, &again, &e), 0); /* empty as it was made: nothing is missing */
	free(again);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(volume_prepare(&spec, &again, &e), E_UNAVAILABLE);
	assert_false(fs_exists(path));
	assert_int_equal(fs_mkdir(path, 0755, &e), 0);
	assert_int_equal(volume_prepare(&spec, &again, &e), E_UNAVAILABLE);
	err_clear(&e);
	file = xasprintf("%s/data", path);
	assert_int_equal(fs_write(file, "x", 1, 0600, &e), 0);
	assert_int_equal(volume_prepare(&spec, &again, &e), 0);
	free(again);
	assert_int_equal(unlink(file), 0); /* the task empties it: it is the one that is known now */
	assert_int_equal(volume_prepare(&spec, &again, &e), 0);
	free(again);
	free(path);
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
	static const char groups[] = "disk:x:6:\nssl:x:7:a,db\ndb:x:105:db\n";
	struct user u;

	assert_int_equal(fs_mkdir(etc, 0755, &e), 0);
	assert_int_equal(fs_write(passwd, "db:x:102:105::/var/db:/bin/sh\n", 30, 0644, &e), 0);
	assert_int_equal(fs_write(group, groups, strlen(groups), 0644, &e), 0);
	assert_int_equal(user_resolve(dir, "", "db", &u, &e), 0);
	assert_int_equal(u.uid, 102);
	assert_int_equal(u.gid, 105);
	assert_string_equal(u.home, "/var/db");
	/* FINDINGS I: as login(1) gives them; the primary one is not repeated */
	assert_int_equal(u.n_groups, 1);
	assert_int_equal(u.groups[0], 7);
	user_fini(&u);
	assert_int_equal(user_resolve(dir, "102", "nobody", &u, &e), 0);
	assert_int_equal(u.n_groups, 1);
	user_fini(&u);
	assert_int_equal(user_resolve(dir, "db:disk", "nobody", &u, &e), 0);
	assert_int_equal(u.gid, 6);
	assert_int_equal(u.n_groups, 0);
	user_fini(&u);
	assert_int_equal(user_resolve(dir, "1234:77", "nobody", &u, &e), 0);
	assert_int_equal(u.uid, 1234);
	assert_int_equal(u.gid, 77);
	user_fini(&u);
	assert_int_equal(user_resolve(dir, "nosuch", "nobody", &u, &e), E_INVALID);
	assert_non_null(strstr(e.msg, "nosuch"));
}

/* FINDINGS I: no two tasks share a number, and the same id has the same one for ever. */
static void users_of_our_own(void **s)
{
	struct user a, b, again;

	user_own(ID_A, &a);
	user_own(ID_B, &b);
	user_own(ID_A, &again);
	assert_int_not_equal(a.uid, b.uid);
	assert_int_equal(a.uid, again.uid);
	assert_int_equal(a.uid, a.gid);
	assert_in_range(a.uid, 0x70000000, 0x7ffffffe);
	assert_true(a.is_own);
	user_fini(&a);
	user_fini(&b);
	user_fini(&again);
}

/* FINDINGS I: a volume keeps its number, whoever its next task is; root's is nobody's. */
static void volume_keeps_its_owner(void **s)
{
	struct volume_spec spec = volume(ID_B);
	cleanup_free char *owner = xasprintf("%s/" ID_A "/owner", dir);
	struct err e = {0};
	uid_t uid = 1;
	gid_t gid = 1;
	char *path;

	if (geteuid() != 0)
		skip();
	assert_false(volume_owner(dir, ID_A, &uid, &gid));
	spec.uid = 0x70000007;
	spec.gid = 0x70000008;
	assert_int_equal(volume_prepare(&spec, &path, &e), 0);
	free(path);
	assert_true(volume_owner(dir, ID_A, &uid, &gid));
	assert_int_equal(uid, 0x70000007);
	assert_int_equal(gid, 0x70000008);
	spec.uid = 5;
	assert_int_equal(volume_prepare(&spec, &path, &e), 0); /* as another user: it stays whose it was */
	free(path);
	assert_true(volume_owner(dir, ID_A, &uid, &gid));
	assert_int_equal(uid, 0x70000007);
	assert_int_equal(fs_write(owner, "0 0\n", 4, 0600, &e), 0);
	assert_false(volume_owner(dir, ID_A, &uid, &gid));
	assert_int_equal(fs_unlink(owner, &e), 0); /* one of before owners were written down */
	assert_true(volume_owner(dir, ID_A, &uid, &gid));
	assert_int_equal(uid, 65534);
}

static void state_fill(struct membership *s, const char *address)
{
	*s = (struct membership){.is_member = true};
	memcpy(s->cluster_id, ID_A, sizeof(ID_A));
	memcpy(s->node_id, ID_B, sizeof(ID_B));
	snprintf(s->advertise, sizeof(s->advertise), "%s", address);
	s->ca = xstrdup("ca");
	s->cert = xstrdup("cert");
	s->key = xstrdup("key");
}

/* FINDINGS W, last line: written beside the loop, the last of several changes stays. */
static void saver_writes_the_last(void **s)
{
	struct membership a, b;
	struct saver *saver;
	struct err e = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	saver = saver_new(&loop, dir, SAVER_AGAIN_MS);
	state_fill(&a, "10.0.0.1");
	assert_int_equal(membership_save(dir, &a, &e), 0);
	for (int i = 2; i < 9; i++) {
		snprintf(a.advertise, sizeof(a.advertise), "10.0.0.%d", i);
		saver_save(saver, &a, STATE_JSON);
	}
	saver_free(saver); /* what is under way and what waits is written */
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(membership_load(dir, &b, &e), 0);
	assert_string_equal(b.advertise, "10.0.0.8");
	membership_fini(&a);
	membership_fini(&b);
}

/* A write that is under way must not make a node a member again that has left. */
static void saver_writes_nothing_once_forbidden(void **s)
{
	struct membership a, b;
	struct saver *saver;
	struct err e = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	saver = saver_new(&loop, dir, SAVER_AGAIN_MS);
	state_fill(&a, "10.0.0.1");
	saver_save(saver, &a, STATE_JSON | STATE_CERT);
	saver_save(saver, &a, STATE_JSON);
	saver_forbid(saver);
	assert_int_equal(membership_remove(dir, &e), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(membership_load(dir, &b, &e), 0);
	assert_false(b.is_member);
	saver_free(saver);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	membership_fini(&a);
}

static void cert_saved(void *arg)
{
	struct saver **saver = arg;

	saver_free(*saver);
	*saver = NULL;
}

/* The grace renewal's review, 2: a lost save locked the node out. Nothing else changes, and the disk gets well. */
static void s5_saver_writes_a_certificate_at_last(void **s)
{
	cleanup_free char *full = xasprintf("%s/full", dir);
	cleanup_free char *cert = xasprintf("%s/node.crt", full), *text = NULL;
	struct membership a;
	struct saver *saver;
	struct err e = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	saver = saver_new(&loop, full, 50);
	saver_on_cert(saver, cert_saved, &saver);
	state_fill(&a, "10.0.0.1");
	saver_save(saver, &a, STATE_CERT | STATE_JSON);
	for (uint64_t end = uv_now(&loop) + 120; uv_now(&loop) < end;)
		uv_run(&loop, UV_RUN_ONCE);
	assert_non_null(saver); /* not told while it is not */
	assert_int_equal(fs_mkdir(full, 0700, &e), 0);
	uv_run(&loop, UV_RUN_DEFAULT); /* until it is told */
	assert_null(saver);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(fs_read(cert, 100, &text, NULL, &e), 0);
	assert_string_equal(text, "cert");
	membership_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(state_round_trip, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(p5_renewed_root_is_kept, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(state_needs_its_last_file, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(state_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(saver_writes_the_last, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(saver_writes_nothing_once_forbidden, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(s5_saver_writes_a_certificate_at_last, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_round_trip, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_unreadable_is_no_damage, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(intent_final_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_is_made_and_found_again, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_is_removed, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(r1_volume_whose_disk_is_away_is_not_removed, make_dir,
						drop_dir),
		cmocka_unit_test_setup_teardown(r1_volume_that_cannot_be_looked_at_is_not_removed, make_dir,
						drop_dir),
		cmocka_unit_test_setup_teardown(s6_volume_that_is_missing_is_not_made_anew, make_dir,
						drop_dir),
		cmocka_unit_test_setup_teardown(s6_volume_with_an_empty_place_of_data, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_of_another_service, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_with_data_of_nobody_known, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(users, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(users_of_our_own, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(volume_keeps_its_owner, make_dir, drop_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
