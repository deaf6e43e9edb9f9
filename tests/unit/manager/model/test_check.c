// SPDX-License-Identifier: Apache-2.0
/* What the API refuses in a task's spec, a label, a constraint, a cluster's spec, whatever client sent it
 * (FINDINGS W1, W13, M11, U7, U9, U12). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "manager/model/check_task.h"
#include "manager/model/check.h"
#include "proto/value/addr.h"
#include "proto/value/obj.h"

/* ---- a spec of one changed field ---- */

static Gs__Mount *mount(Gs__MountType type, const char *source, const char *target)
{
	Gs__Mount *m = obj_new(&gs__mount__descriptor);

	m->type = type;
	str_replace(&m->source, source);
	str_replace(&m->target, target);
	return m;
}

static Gs__TaskSpec *good_task(void)
{
	Gs__TaskSpec *t = obj_new(&gs__task_spec__descriptor);

	str_replace(&t->image, "host");
	obj_add_str(&t->n_args, &t->args, "sleep");
	obj_add_str(&t->n_args, &t->args, "1");
	return t;
}

static void set_field(Gs__TaskSpec *t, const char *field, const char *value)
{
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(t->base.descriptor, field);

	if (strcmp(field, "args") == 0) {
		str_replace(&t->args[0], value);
	} else if (strcmp(field, "env") == 0) {
		obj_add_str(&t->n_env, &t->env, value);
	} else if (strcmp(field, "bind from") == 0) {
		obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_BIND, value, "/data"));
	} else if (strcmp(field, "bind to") == 0) {
		obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_BIND, "/srv", value));
	} else if (strcmp(field, "volume") == 0) {
		obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_VOLUME, value, "/data"));
	} else {
		assert_non_null(f);
		str_replace((char **)((char *)t + f->offset), value);
	}
}

static void texts(void **state)
{
	static const struct {
		const char *field, *value, *says; /* says NULL: it is taken */
	} cases[] = {
		{"image", "dir:/srv/root", NULL},
		{"image", "dir:/srv/../etc", "'..'"},
		{"image", "dir:/srv\n", "image"},
		{"image", "dir:/\xff", "image"},
		{"args", "\xff", "argument '?' is not UTF-8"},
		{"args", "line\nbreak", NULL},
		{"args", "", "the command is empty"},
		{"env", "A=\xff", "environment 'A=?' is not UTF-8"},
		{"env", "A=one\ntwo", NULL},
		{"env", "A\nB=x", "control character"},
		{"env", "A", "NAME=VALUE"},
		{"env", "=x", "NAME=VALUE"},
		{"dir", "\xff", "working folder"},
		{"dir", "rel", "absolute path"},
		{"dir", "/a/../../etc", "'..'"},
		{"dir", "/a\nb", "working folder"},
		{"dir", "/srv/caf\xc3\xa9", NULL},
		{"user", "mysql:mysql", NULL},
		{"user", "1000:1000", NULL},
		{"user", "a b", "user"},
		{"user", ":x", "user"},
		{"user", "a:b:c", "user"},
		{"user", "\xff", "user"},
		{"user", "root\n", "user"},
		{"hostname", "db-1.example.org", NULL},
		{"hostname", "\xff", "host name"},
		{"hostname", "a\n10.0.0.1 evil", "host name 'a?10.0.0.1 evil'"},
		{"hostname", "a_b", "host name"},
		{"hostname", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "up to 64"},
		{"stop_signal", "SIGFOO", "stop signal"},
		{"stop_signal", "9", NULL},
		{"bind to", "/", "belongs to the container"},
		{"bind to", "/proc", "belongs to the container"},
		{"bind to", "/proc/sys/x", "belongs to the container"},
		{"bind to", "/sys//fs/", "belongs to the container"},
		{"bind to", "/dev", "belongs to the container"},
		{"bind to", "/dev/shm", NULL},
		{"bind to", "/processes", NULL},
		{"bind to", "/run/task/x", "belongs to the container"},
		{"bind to", "/a/../../etc", "'..'"},
		{"bind to", "/a/..", "'..'"},
		{"bind to", "rel", "absolute"},
		{"bind to", "/\xff", "mount target '/?'"},
		{"bind to", "/a\nb", "mount target '/a?b'"},
		{"bind from", "/\xff", "source"},
		{"bind from", "rel", "source"},
		{"bind from", "/a/../b", "source"},
		{"volume", "db-data", NULL},
		{"volume", "a\nb", "volume name 'a?b'"},
		{"volume", "../x", "volume name"},
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(obj_free_p) Gs__TaskSpec *t = good_task();
		struct err e = {0};
		int rc;

		set_field(t, cases[i].field, cases[i].value);
		rc = check_task(t, &e);
		if (!cases[i].says != !rc || (rc && !strstr(e.msg, cases[i].says)))
			fail_msg("%s '%s': %d '%s'", cases[i].field, cases[i].value, rc, e.msg);
		assert_true(text_is_plain(e.msg));
	}
}

static void numbers(void **state)
{
	cleanup(obj_free_p) Gs__TaskSpec *t = good_task();
	struct err e = {0};

	t->stop_grace_ms = STOP_GRACE_MAX_MS;
	assert_int_equal(check_task(t, &e), 0);
	t->stop_grace_ms++; /* 99999h was taken: such a service could not be removed */
	assert_int_equal(check_task(t, &e), E_INVALID);
	t->stop_grace_ms = 0;
	t->limit_pids = PIDS_MAX + 1;
	assert_int_equal(check_task(t, &e), E_INVALID);
	t->limit_pids = 0;
	t->limits = obj_new(&gs__resources__descriptor);
	t->limits->nano_cpus = CPUS_LEAST_NANO;
	assert_int_equal(check_task(t, &e), 0);
	t->limits->nano_cpus = 100; /* W13: --limit-cpu 0.0000001, EINVAL from the kernel for ever */
	assert_int_equal(check_task(t, &e), E_INVALID);
	t->limits->nano_cpus = 0;
	t->limits->memory_bytes = UINT64_MAX;
	assert_int_equal(check_task(t, &e), E_INVALID);
	t->limits->memory_bytes = 0;
	obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_TMPFS, "", "/cache"));
	t->mounts[0]->tmpfs_bytes = TMPFS_MAX_BYTES;
	assert_int_equal(check_task(t, &e), 0);
	t->mounts[0]->tmpfs_bytes = 1ull << 50;
	assert_int_equal(check_task(t, &e), E_INVALID);
}

/* M11: one spec could be as large as a log entry, and each task carries a copy. */
static void m11_words_and_lists_are_bounded(void **state)
{
	static const char *const fields[] = {"args", "env", "user", "mounts"};
	char word[64 << 10], user[130];

	memset(word, 'a', sizeof(word));
	word[1] = '=';
	word[sizeof(word) - 1] = '\0';
	memset(user, 'a', sizeof(user));
	user[129] = '\0';
	for (size_t i = 0; i < array_size(fields); i++) {
		cleanup(obj_free_p) Gs__TaskSpec *t = good_task();
		struct err e = {0};

		for (int k = 0; k < 3 && i < 2; k++)
			obj_add_str(i ? &t->n_env : &t->n_args, i ? &t->env : &t->args, word);
		if (i == 2)
			str_replace(&t->user, user);
		for (int k = 0; k < 257 && i == 3; k++) {
			cleanup_free char *target = xasprintf("/mnt/%d", k);

			obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_TMPFS, "", target));
		}
		if (check_task(t, &e) >= 0)
			fail_msg("%s without a bound", fields[i]);
	}
}

static void one_folder_is_mounted_once(void **state)
{
	cleanup(obj_free_p) Gs__TaskSpec *t = good_task();
	struct err e = {0};

	obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_BIND, "/srv", "/data"));
	obj_add(&t->n_mounts, &t->mounts, mount(MOUNT_BIND, "/srv//x/", "//data/./"));
	assert_int_equal(check_task(t, &e), E_INVALID);
	assert_string_equal(e.msg, "two mounts on /data");
	assert_string_equal(t->mounts[1]->source, "/srv/x");
}

static void labels(void **state)
{
	Gs__Label l = GS__LABEL__INIT,
		  *list[] = {&l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l, &l};
	char longest[4097];
	struct err e = {0};

	memset(longest, 'a', sizeof(longest));
	longest[4096] = '\0';
	l.key = "tier";
	l.value = "caf\xc3\xa9";
	assert_int_equal(check_labels(list, 1, "node", &e), 0);
	l.value = longest;
	assert_int_equal(check_labels(list, 15, "node", &e), 0);
	assert_int_equal(check_labels(list, 17, "node", &e), E_LIMIT); /* M11: 256 of them were a MiB */
	l.value = "two\nlines";
	assert_int_equal(check_labels(list, 1, "node", &e), E_INVALID);
	l.value = "\xff";
	assert_int_equal(check_labels(list, 1, "node", &e), E_INVALID);
	l.value = "";
	l.key = "a\x1b";
	assert_int_equal(check_labels(list, 1, "node", &e), E_INVALID);
}

static void constraints(void **state)
{
	static const char *const good[] = {"node.role==manager",  "node.role != worker ",
					   "node.ip==10.0.0.0/8", "node.ip!=10.1.2.3",
					   "node.labels.rack==",  "node.labels.a==b!=c"};
	static const char *const bad[] = {"node.role==boss", "node.role==",        "node.role==managers",
					  "node.ip==here",   "node.id=x",          "node.id==\n",
					  "node.labels.==x", "node.labels.x==\xff"};
	struct err e = {0};

	for (size_t i = 0; i < array_size(good); i++)
		if (check_constraint(good[i], &e))
			fail_msg("%s: %s", good[i], e.msg);
	for (size_t i = 0; i < array_size(bad); i++)
		if (!check_constraint(bad[i], &e))
			fail_msg("%s is taken", bad[i]);
}

static void address_pools(void **state)
{
	static const char *const bad[] = {"127.0.0.0/8", "224.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8",
					  "0.0.0.0/0",   "240.0.0.0/8", "169.0.0.0/8",    "10.0.0.0/25",
					  "fd00::/8",    "nonsense"};
	static const char *const good[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"};
	Gs__ClusterSpec s = GS__CLUSTER_SPEC__INIT;
	struct err e = {0};

	for (size_t i = 0; i < array_size(bad) + array_size(good); i++) {
		bool is_bad = i < array_size(bad);

		s.default_addr_pool = (char *)(is_bad ? bad[i] : good[i - array_size(bad)]);
		if (is_bad != (check_cluster_spec(&s, &e) != 0))
			fail_msg("pool %s", s.default_addr_pool);
	}
}

/* Fresh review of security, 4 and 11: where all others send packets to, and what a terminal shows. */
static Gs__NodeDescription *described(void)
{
	Gs__NodeDescription *d = obj_new(&gs__node_description__descriptor);

	str_replace(&d->hostname, "docker1.local");
	assert_int_equal(addr_parse("192.168.55.111", &d->advertise_ip, NULL), 0);
	assert_int_equal(addr_parse("192.168.55.111", &d->vtep_ip, NULL), 0);
	return d;
}

static void S4_addresses_of_a_node(void **state)
{
	static const char *const bad[] = {
		"127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3",        "255.255.255.255",
		"240.0.0.1", "::",      "::1",     "ff02::1",   "::ffff:127.0.0.1", "::10.0.0.1"};
	static const char *const good[] = {"10.0.0.1", "192.168.55.111", "169.254.1.2", "223.1.2.3",
					   "fd00::1",  "fe80::1",        "2001:db8::1"};
	struct err e = {0};

	for (size_t i = 0; i < array_size(bad) + array_size(good); i++) {
		bool is_bad = i < array_size(bad);
		const char *text = is_bad ? bad[i] : good[i - array_size(bad)];

		for (int vtep = 0; vtep < 2; vtep++) {
			cleanup(obj_free_p) Gs__NodeDescription *d = described();
			ProtobufCBinaryData *at = vtep ? &d->vtep_ip : &d->advertise_ip;

			free(at->data);
			assert_int_equal(addr_parse(text, at, NULL), 0);
			if (is_bad != (check_description(d, &e) != 0))
				fail_msg("%s as %s", text, vtep ? "vtep_ip" : "advertise_ip");
		}
	}
}

static void S11_texts_of_a_node_are_plain(void **state)
{
	cleanup(obj_free_p) Gs__NodeDescription *d = described();
	char **const texts[] = {&d->software_version, &d->platform_os, &d->platform_arch, &d->boot_id,
				&d->hostname};
	struct err e = {0};

	assert_int_equal(check_description(d, &e), 0);
	for (size_t i = 0; i < array_size(texts); i++) {
		cleanup_free char *before = xstrdup(*texts[i]);

		str_replace(texts[i], "\033[2Jok");
		assert_int_equal(check_description(d, &e), E_INVALID);
		str_replace(texts[i], "a\nb");
		assert_int_equal(check_description(d, &e), E_INVALID);
		str_replace(texts[i], before);
	}
	assert_int_equal(check_description(d, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),
		cmocka_unit_test(numbers),
		cmocka_unit_test(m11_words_and_lists_are_bounded),
		cmocka_unit_test(one_folder_is_mounted_once),
		cmocka_unit_test(labels),
		cmocka_unit_test(constraints),
		cmocka_unit_test(address_pools),
		cmocka_unit_test(S4_addresses_of_a_node),
		cmocka_unit_test(S11_texts_of_a_node_are_plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
