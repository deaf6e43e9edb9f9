// SPDX-License-Identifier: Apache-2.0
/* Values as Docker's users write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/opt.h"
#include "cli/parse.h"

static void durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {{"0", 0},
		    {"10s", 10000000000},
		    {"1m30s", 90000000000},
		    {"500ms", 500000000},
		    {"1.5h", 5400000000000},
		    {"2160h", 7776000000000000},
		    {"3us", 3000},
		    {"7ns", 7}};
	static const char *const bad[] = {"",     "10",    "s",   "10x",    "-1s",         "1e3s",
					  "0x1s", "1..2s", "inf", "1m 30s", "99999999999h"};
	struct err e = {0};
	uint64_t v;

	for (size_t i = 0; i < array_size(good); i++) {
		v = 1;
		assert_int_equal(parse_duration(good[i].text, &v, &e), 0);
		assert_true(v == good[i].ns);
	}
	for (size_t i = 0; i < array_size(bad); i++) {
		v = 42;
		assert_int_equal(parse_duration(bad[i], &v, &e), CLI_USAGE);
		assert_true(v == 42);
	}
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} cases[] = {
		{"10m", 1795186053123 - 600000},
		{"0", 0},
		{"1795186053", 1795186053000},
		{"1795186053.25", 1795186053250},
		{"2026-11-20T14:47:33Z", 1795186053000},
		{"2026-11-20T14:47:33.5Z", 1795186053500},
		{"2026-11-20T16:47:33+02:00", 1795186053000},
		{"2026-11-20T04:17:33-10:30", 1795186053000},
		{"2026-11-20T14:47:33", 1795186053000 + 5 * 3600000}, /* local */
		{"2026-11-20 14:47:33", 1795186053000 + 5 * 3600000},
		{"2026-11-20T14:47", 1795186020000 + 5 * 3600000},
		{"2026-11-20", 1795132800000 + 5 * 3600000},
	};
	static const char *const bad[] = {"",
					  "yesterday",
					  "2026-11-20T14:47:33+2",
					  "2026-11-20T14:47:33.x",
					  "2026-13-01",
					  "2026-11-20T14:47:33Zx",
					  "-5",
					  "1e9",
					  "2026-11-20T14:47:33+99:00"};
	int64_t ms;
	struct err e = {0};

	setenv("TZ", "FIVE5", 1);
	tzset();
	for (size_t i = 0; i < array_size(cases); i++)
		if (parse_time(cases[i].text, 1795186053123, &ms, &e) || ms != cases[i].ms)
			fail_msg("%s: %lld", cases[i].text, (long long)ms);
	for (size_t i = 0; i < array_size(bad); i++)
		if (!parse_time(bad[i], 0, &ms, &e))
			fail_msg("%s is taken", bad[i]);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"42", 42},           {"42b", 42},          {"1k", 1024},
		    {"1kb", 1024},        {"512m", 512u << 20}, {"512MiB", 512u << 20},
		    {"1.5g", 3ull << 29}, {"2T", 2ull << 40},   {"10 MB", 10u << 20}};
	static const char *const bad[] = {"", "m", "-5m", "5x", "5mm", "5mib2", "nan", "99999999p"};
	struct err e = {0};
	uint64_t v;

	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(parse_bytes(good[i].text, &v, &e), 0);
		assert_true(v == good[i].bytes);
	}
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(parse_bytes(bad[i], &v, &e), CLI_USAGE);
}

static void cpus_and_numbers(void **state)
{
	struct err e = {0};
	uint64_t v = 0;

	assert_int_equal(parse_cpus("0.5", &v, &e), 0);
	assert_true(v == 500000000);
	assert_int_equal(parse_cpus("two", &v, &e), CLI_USAGE);
	assert_int_equal(parse_cpus("1.5x", &v, &e), CLI_USAGE);
	assert_int_equal(parse_uint("65535", 65535, &v, &e), 0);
	assert_int_equal(parse_uint("65536", 65535, &v, &e), CLI_USAGE);
	assert_int_equal(parse_uint("-1", 65535, &v, &e), CLI_USAGE);
	assert_int_equal(parse_uint("", 65535, &v, &e), CLI_USAGE);
	assert_int_equal(parse_uint("3x", 65535, &v, &e), CLI_USAGE);
	assert_int_equal(parse_uint("99999999999999999999", UINT64_MAX, &v, &e), CLI_USAGE);
}

static void mounts(void **state)
{
	static const char *const bad[] = {"",
					  "type=volume",
					  "type=bind,target=/x",
					  "type=bind,source=rel,target=/x",
					  "type=nfs,target=/x",
					  "type=volume,target=rel",
					  "type=tmpfs,source=a,target=/x",
					  "type=volume,target=/x,tmpfs-size=1m",
					  "type=tmpfs,target=/x,tmpfs-size=lots",
					  "colour=red,target=/x",
					  "target"};
	struct err e = {0};
	Gs__Mount *m = NULL;

	assert_int_equal(parse_mount("type=volume,source=data,destination=/var/lib/mysql", &m, &e), 0);
	assert_int_equal(m->type, MOUNT_VOLUME);
	assert_string_equal(m->source, "data");
	assert_string_equal(m->target, "/var/lib/mysql");
	obj_free(m);
	assert_int_equal(parse_mount("type=bind,src=/etc/x,dst=/y,readonly", &m, &e), 0);
	assert_int_equal(m->type, MOUNT_BIND);
	assert_true(m->readonly);
	obj_free(m);
	assert_int_equal(parse_mount("type=tmpfs,target=/t,tmpfs-size=64m", &m, &e), 0);
	assert_true(m->tmpfs_bytes == 64u << 20);
	obj_free(m);
	m = NULL;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(parse_mount(bad[i], &m, &e), CLI_USAGE);
	assert_null(m);
}

static void ports(void **state)
{
	static const char *const bad[] = {"",      "x",       "1:",          ":",
					  "70000", "80/icmp", "published=1", "published=1,target=2,mode=x"};
	struct err e = {0};
	Gs__Port *p = NULL;

	assert_int_equal(parse_port("8080:80/udp", &p, &e), 0);
	assert_int_equal(p->published, 8080);
	assert_int_equal(p->target, 80);
	assert_string_equal(p->protocol, "udp");
	obj_free(p);
	assert_int_equal(parse_port("published=8080,target=80,mode=host", &p, &e), 0);
	assert_string_equal(p->mode, "host");
	assert_string_equal(p->protocol, "tcp");
	obj_free(p);
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(parse_port(bad[i], &p, &e), CLI_USAGE);
}

static void networks_and_labels(void **state)
{
	struct err e = {0};
	Gs__NetworkAttach *a;
	Gs__Label *l;

	assert_int_equal(parse_network("mynet", &a, &e), 0);
	assert_string_equal(a->network_id, "mynet");
	obj_free(a);
	assert_int_equal(parse_network("name=mynet,alias=db,alias=sql", &a, &e), 0);
	assert_int_equal(a->n_aliases, 2);
	assert_string_equal(a->aliases[1], "sql");
	obj_free(a);
	assert_int_equal(parse_network("alias=db", &a, &e), CLI_USAGE);
	assert_int_equal(parse_network("name=x,speed=9", &a, &e), CLI_USAGE);
	assert_int_equal(parse_label("rack=a=b", &l, &e), 0);
	assert_string_equal(l->key, "rack");
	assert_string_equal(l->value, "a=b");
	obj_free(l);
	assert_int_equal(parse_label("=x", &l, &e), CLI_USAGE);
}

static void environment(void **state)
{
	char path[] = "env-file-test.XXXXXX";
	struct err e = {0};
	char *v = NULL, **list = NULL;
	size_t n = 0;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	setenv("GSWARM_TEST_VAR", "here", 1);
	unsetenv("GSWARM_TEST_NOT");
	assert_int_equal(parse_env("A=b=c", &v, &e), 0);
	assert_string_equal(v, "A=b=c");
	free(v);
	assert_int_equal(parse_env("GSWARM_TEST_VAR", &v, &e), 0);
	assert_string_equal(v, "GSWARM_TEST_VAR=here");
	free(v);
	assert_int_equal(parse_env("GSWARM_TEST_NOT", &v, &e), 0);
	assert_null(v);
	assert_int_equal(parse_env("=x", &v, &e), CLI_USAGE);

	static const char text[] = "# comment\n\nA=1\n  B=two words\r\nGSWARM_TEST_VAR\nGSWARM_TEST_NOT\n";
	assert_int_equal(fs_write(path, text, strlen(text), 0600, &e), 0);
	assert_int_equal(parse_env_file(path, &n, &list, &e), 0);
	assert_int_equal(n, 3);
	assert_string_equal(list[0], "A=1");
	assert_string_equal(list[1], "B=two words");
	assert_string_equal(list[2], "GSWARM_TEST_VAR=here");
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
	list = NULL;
	n = 0;
	assert_int_equal(fs_write(path, "A=1\n=2\n", 7, 0600, &e), 0);
	assert_int_equal(parse_env_file(path, &n, &list, &e), CLI_USAGE);
	assert_non_null(strstr(e.msg, ":2:"));
	/* User review, 31: as Docker; it became the variable "B C" */
	assert_int_equal(fs_write(path, "A=1\nB C=2\n", 10, 0600, &e), 0);
	assert_int_equal(parse_env_file(path, &n, &list, &e), CLI_USAGE);
	assert_non_null(strstr(e.msg, ":2: the name 'B C' has a blank in it"));
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
	unlink(path);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations),           cmocka_unit_test(times),       cmocka_unit_test(sizes),
		cmocka_unit_test(cpus_and_numbers),    cmocka_unit_test(mounts),      cmocka_unit_test(ports),
		cmocka_unit_test(networks_and_labels), cmocka_unit_test(environment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
