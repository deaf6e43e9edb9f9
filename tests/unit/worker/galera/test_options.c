// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "base/mem.h"
#include "worker/galera/genesis_sql.h"
#include "worker/galera/options.h"
#include "worker/galera/view.h"

static Gs__Task *task_make(const char *profile)
{
	Gs__Task *t = obj_new(&gs__task__descriptor);
	Gs__SlotAddress *a = obj_new(&gs__slot_address__descriptor);

	str_replace(&t->name, "db.2");
	str_replace(&t->galera_cluster_id, "abcdefghijklmnopqrstuvwxy");
	t->slot_number = 2;
	t->galera = obj_new(&gs__galera_spec__descriptor);
	str_replace(&t->galera->profile, profile);
	t->spec = obj_new(&gs__task_spec__descriptor);
	a->addr = obj_new(&gs__addr__descriptor);
	assert_int_equal(addr_parse("10.0.1.3", &a->addr->ip, NULL), 0);
	obj_add(&t->n_addresses, &t->addresses, a);
	return t;
}

/* HEART S7, S10: a user's file could take away the log that recovery reads, or bootstrap at each start. */
static void expect_firm(const char *file)
{
	static const char *const firm[] = {"\ndatadir=/var/lib/mysql\n",
					   "\nloose-wsrep_data_home_dir=/var/lib/mysql\n",
					   "\nskip-log-error\n",
					   "\nskip-wsrep-new-cluster\n",
					   "\ntc-heuristic-recover=OFF\n",
					   "\ninnodb_force_recovery=0\n",
					   "\nsync_binlog=1\n",
					   "\nsocket=/run/task/"};
	const char *user = strstr(file, "!includedir /etc/my.cnf.d\n");

	assert_non_null(user);
	for (size_t i = 0; i < array_size(firm); i++)
		if (!strstr(user, firm[i]))
			fail_msg("no %s behind the user's files in\n%s", firm[i], file);
}

static Gs__GaleraPermit *permit_make(void)
{
	Gs__GaleraPermit *p = obj_new(&gs__galera_permit__descriptor);

	p->group_epoch = 4;
	obj_add_str(&p->n_addresses, &p->addresses, "10.0.1.2");
	obj_add_str(&p->n_addresses, &p->addresses, "10.0.1.3");
	return p;
}

static char image_provider[] = "/usr/lib/galera/libgalera_smm.so", image_server[] = "/usr/sbin/mariadbd";
static const struct image_probe image = {
	.provider = image_provider, .server = image_server, .has_mariabackup = true, .has_rsync = true};

static void file_holds_what_the_group_needs(void **s)
{
	static const char *const wanted[] = {"wsrep_cluster_name=gabcdefghij-e4\n",
					     "wsrep_cluster_address=gcomm://10.0.1.2:4567,10.0.1.3:4567\n",
					     "wsrep_node_name=db.2\n",
					     "wsrep_node_address=10.0.1.3\n",
					     "wsrep_sst_receive_address=10.0.1.3:4444\n",
					     "wsrep_sst_auth=gs_sst:pw\n",
					     "wsrep_sst_method=mariabackup\n",
					     "wsrep_sst_donor=db.1,\n",
					     "gmcast.listen_addr=tcp://10.0.1.3:4567",
					     "ist.recv_addr=10.0.1.3:4568",
					     "pc.recovery=FALSE",
					     "evs.suspect_timeout=PT2S",
					     "innodb_flush_log_at_trx_commit=1\n",
					     "!includedir /etc/my.cnf.d\n",
					     "loose-plugin-wsrep-provider=OFF\n",
					     "socket=/run/task/mysqld.sock\n"};
	Gs__Task *t = task_make("");
	Gs__GaleraPermit *p = permit_make();
	Gs__Mount *m = obj_new(&gs__mount__descriptor);
	struct options_input in = {
		.task = t, .permit = p, .image = &image, .datadir = "/var/lib/mysql", .sst_password = "pw"};
	struct buf out = {0};
	struct err e = {0};

	str_replace(&p->donor, "db.1");
	str_replace(&m->target, "/etc/my.cnf.d");
	obj_add(&t->spec->n_mounts, &t->spec->mounts, m);
	assert_int_equal(options_format(&in, &out, &e), 0);
	for (size_t i = 0; i < array_size(wanted); i++)
		if (!strstr(buf_text(&out), wanted[i]))
			fail_msg("no %s in\n%s", wanted[i], buf_text(&out));
	expect_firm(buf_text(&out));
	assert_non_null(strstr(strstr(buf_text(&out), "!includedir"), "innodb_flush_log_at_trx_commit=1\n"));
	/* A restart from this file can never bootstrap. */
	assert_null(strstr(buf_text(&out), "\nwsrep-new-cluster"));
	assert_null(strstr(buf_text(&out), "new_cluster"));
	const char *position = strstr(buf_text(&out), "start_position");
	assert_true(strncmp(position, "start_position=00000000-0000-0000-0000-000000000000:-1\n", 55) == 0);
	assert_null(strstr(position + 1, "start_position"));
	assert_null(strstr(buf_text(&out), "gcomm://\n"));
	buf_fini(&out);
	obj_free(t);
	obj_free(p);
}

static void an_empty_list_is_never_written(void **s)
{
	Gs__Task *t = task_make("safe");
	Gs__GaleraPermit *p = obj_new(&gs__galera_permit__descriptor);
	struct options_input in = {.task = t, .permit = p, .image = &image, .datadir = "/d"};
	struct buf out = {0};
	struct err e = {0};

	assert_int_equal(options_format(&in, &out, &e), 0);
	assert_non_null(strstr(buf_text(&out), "gcomm://10.0.1.3:4567\n"));
	assert_non_null(strstr(buf_text(&out), "suspect_timeout=PT5S"));
	assert_null(strstr(buf_text(&out), "sockopt="));
	buf_fini(&out);
	in.own_sst = true;
	assert_int_equal(options_format(&in, &out, &e), 0);
	assert_non_null(strstr(buf_text(&out), "wsrep_sst_method=gswarm\n"));
	assert_non_null(strstr(buf_text(&out), "sockopt=retry=300,interval=0.1\n"));
	buf_fini(&out);
	str_replace(&t->galera->profile, "moon");
	assert_int_equal(options_format(&in, &out, &e), E_INVALID);
	buf_fini(&out);
	obj_free(t);
	obj_free(p);
}

static void argv_is_of_one_start(void **s)
{
	struct galera_position pos = {"4fa302da-e4eb-11f1-a25e-3a2748ddb7d0", 7};
	struct start_argv a;

	options_argv(&image, true, &pos, &a);
	assert_string_equal(a.v[2], image_server);
	assert_string_equal(a.v[3], "--defaults-file=/run/task/my.cnf");
	assert_string_equal(a.v[4], "--wsrep_start_position=4fa302da-e4eb-11f1-a25e-3a2748ddb7d0:7");
	assert_string_equal(a.v[5], "--wsrep-new-cluster");
	assert_null(a.v[6]);
	pos.seqno = -1;
	options_argv(&image, false, &pos, &a);
	assert_null(a.v[4]);
}

static void names_and_passwords_are_quoted(void **s)
{
	struct genesis_accounts a = {.root = "a'b\\c\nd",
				     .health = "h",
				     .sst = "s",
				     .admin = "x",
				     .root_host = "%",
				     .database = "d`b",
				     .user = "u'x",
				     .password = "p"};
	struct buf out = {0};
	const char *text;

	genesis_sql_format(&a, &out);
	text = buf_text(&out);
	assert_non_null(strstr(text, "IDENTIFIED BY 'a\\'b\\\\c\\nd';\n"));
	assert_non_null(strstr(text, "CREATE DATABASE IF NOT EXISTS `d``b`;\n"));
	assert_non_null(strstr(text, "'u\\'x'@'%'"));
	assert_string_equal(text + strlen(text) - 10, "SHUTDOWN;\n");
	assert_ptr_equal(strstr(text, "SET SESSION wsrep_on=OFF"), text);
	buf_fini(&out);
}

static void env_as_the_official_images_read_it(void **s)
{
	Gs__TaskSpec *t = obj_new(&gs__task_spec__descriptor);

	obj_add_str(&t->n_env, &t->env, "MYSQL_USERS=no");
	obj_add_str(&t->n_env, &t->env, "MARIADB_USER=app");
	assert_string_equal(genesis_env(t, "USER"), "app");
	assert_string_equal(genesis_env(t, "PASSWORD"), "");
	obj_free(t);
}

static void health_follows_the_state(void **s)
{
	Gs__GaleraView *v = obj_new(&gs__galera_view__descriptor);

	assert_string_equal(view_health(v, VIEW_TRUSTED, false), "STARTING");
	v->sql_open = true;
	view_set(v, "wsrep_cluster_status", "Primary");
	view_set(v, "wsrep_local_state", "4");
	view_set(v, "wsrep_local_state_comment", "Synced");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "STARTING"); /* not ready */
	view_set(v, "wsrep_ready", "ON");
	view_set(v, "wsrep_incoming_addresses", "10.0.1.2:3306,10.0.1.3:3306");
	assert_int_equal(v->n_members, 2);
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "READY");
	assert_string_equal(view_health(v, VIEW_BEHIND, true), "ISOLATED");
	view_set(v, "wsrep_local_recv_queue", "101");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "LAGGING");
	view_set(v, "wsrep_local_state", "2");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "DONOR");
	view_set(v, "wsrep_cluster_status", "non-Primary");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "ISOLATED");
	assert_string_equal(view_health(v, VIEW_TRUSTED, false), "STARTING");
	view_set(v, "wsrep_cluster_status", "Disconnected");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true),
			    "ISOLATED"); /* it may be on its way to another address */
	assert_string_equal(view_health(v, VIEW_LEFT, true), "LEFT");
	assert_string_equal(view_health(v, VIEW_LEFT, false), "LEFT");
	view_set(v, "wsrep_local_state_comment", "Inconsistent");
	assert_string_equal(view_health(v, VIEW_LEFT, true), "BROKEN");
	assert_string_equal(view_health(v, VIEW_TRUSTED, true), "BROKEN");
	obj_free(v);
}

struct probe_job {
	struct image_probe p;
	struct err e;
	int result;
};

static void probe_work(void *arg)
{
	struct probe_job *j = arg;

	j->result = options_probe("dir:/nonexistent-image", &j->p, &j->e);
}

static void probe_done(void *arg)
{
}

/* The probe may only run in a job (the second session's safety review, 12). */
static void image_without_provider_says_so(void **s)
{
	struct probe_job j = {0};
	uv_loop_t loop;

	uv_loop_init(&loop);
	loop_work(&loop, probe_work, probe_done, &j);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	assert_int_equal(j.result, -2);
	assert_non_null(strstr(j.e.msg, "no mariadbd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_holds_what_the_group_needs),
		cmocka_unit_test(an_empty_list_is_never_written),
		cmocka_unit_test(argv_is_of_one_start),
		cmocka_unit_test(names_and_passwords_are_quoted),
		cmocka_unit_test(env_as_the_official_images_read_it),
		cmocka_unit_test(health_follows_the_state),
		cmocka_unit_test(image_without_provider_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
