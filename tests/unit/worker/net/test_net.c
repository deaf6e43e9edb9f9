// SPDX-License-Identifier: Apache-2.0
/* What a change of the networks costs, counted in files and system calls (in a network namespace of its own). */
#include <ifaddrs.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/net/internal.h"
#include "worker/net/network.h"
#include "worker/session/self.h"
#include "worker/task/impl.h"

#define NETS 3
#define TASKS 4 /* of each network */

static unsigned writes, looks;

int __real_rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e);
int __wrap_rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e);
int __real_getifaddrs(struct ifaddrs **ret);
int __wrap_getifaddrs(struct ifaddrs **ret);

int __wrap_rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e)
{
	writes++;
	return __real_rootfs_hosts_write(run_dir, hostname, lines, e);
}

int __wrap_getifaddrs(struct ifaddrs **ret)
{
	looks++;
	return __real_getifaddrs(ret);
}

struct rig {
	uv_loop_t loop;
	struct worker w;
	struct tasks tasks;
	char dir[32];
	bool told;
};

static bool never(void *arg)
{
	return false;
}

static void no_names(char ***ret, size_t *ret_n, void *arg)
{
	*ret = NULL;
	*ret_n = 0;
}

static void on_hosts_changed(void *arg)
{
	struct rig *g = arg;

	tasks_hosts_changed(&g->tasks);
	g->told = true;
}

static char *net_id(unsigned net)
{
	static char id[ID_LEN + 1];

	snprintf(id, sizeof(id), "net%u000000000000000000000", net);
	return id;
}

static void endpoint(struct rig *g, unsigned net, unsigned n, const char *name, uint64_t version)
{
	cleanup_free char *id = xasprintf("%s.%u", net_id(net), n);
	Gs__Endpoint *row = obj_new_row(OBJ_ENDPOINT, id);
	uint8_t ip[] = {10, 9, (uint8_t)net, (uint8_t)n}, mac[] = {2, 0, 0, 0, (uint8_t)net, (uint8_t)n};

	row->meta->version = version;
	str_replace(&row->network_id, net_id(net));
	str_replace(&row->name, name);
	row->addr = obj_new(&gs__addr__descriptor);
	obj_bytes_set(&row->addr->ip, ip, 4);
	row->addr->prefix = 24;
	obj_bytes_set(&row->mac, mac, 6);
	net_endpoint_set(g->w.net, row);
	obj_free(row);
}

static void add_task(struct rig *g, unsigned net, unsigned n)
{
	struct task *t = xcalloc(1, sizeof(*t));
	Gs__SlotAddress *sa = obj_new(&gs__slot_address__descriptor);
	cleanup_free char *names = NULL;

	t->all = &g->tasks;
	t->w = &g->w;
	t->id = xasprintf("task%u-%u", net, n);
	t->run_dir = xasprintf("%s/%s", g->dir, t->id);
	names = xasprintf("%s/names", t->run_dir);
	assert_int_equal((fs_mkdir(t->run_dir, 0755, NULL), fs_mkdir(names, 0755, NULL)), 0);
	t->row = obj_new_row(OBJ_TASK, t->id);
	str_replace(&t->row->name, t->id);
	t->row->spec = obj_new(&gs__task_spec__descriptor);
	str_replace(&sa->network_id, net_id(net));
	obj_add(&t->row->n_addresses, &t->row->addresses, sa);
	t->status = obj_new(&gs__task_status__descriptor);
	t->prepared = true;
	sm_init(&t->step, &task_kind, STEP_NEW, t->id);
	t->next = g->tasks.list;
	g->tasks.list = t;
}

static int open_rig(void **state)
{
	struct rig *g = xcalloc(1, sizeof(*g));
	struct err e = {0};

	*state = g;
	snprintf(g->dir, sizeof(g->dir), "test-net-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	uv_loop_init(&g->loop);
	g->w.loop = &g->loop;
	g->w.exe_dir = g->dir;
	strcpy(g->w.state.data_path, "127.0.0.1");
	if (net_new(&g->w, &g->w.net, &e))
		fail_msg("%s", e.msg);
	net_listen(g->w.net,
		   &(struct net_above){
			   .settled = never, .names = no_names, .hosts_changed = on_hosts_changed, .arg = g});
	for (unsigned net = 0; net < NETS; net++)
		for (unsigned n = 0; n < TASKS; n++)
			add_task(g, net, n);
	return 0;
}

static int close_rig(void **state)
{
	struct rig *g = *state;

	net_free(g->w.net);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	while (g->tasks.list) {
		struct task *t = g->tasks.list;

		g->tasks.list = t->next;
		obj_free(t->row);
		obj_free(t->status);
		free(t->id);
		free(t->run_dir);
		free(t);
	}
	fs_remove_all(g->dir, NULL);
	free(g);
	return 0;
}

/* Files that were written once the changes were told. */
static unsigned written(struct rig *g)
{
	writes = 0;
	g->told = false;
	while (!g->told)
		uv_run(&g->loop, UV_RUN_ONCE);
	return writes;
}

static bool file_says(struct rig *g, const char *task, const char *word)
{
	cleanup_free char *path = xasprintf("%s/%s/names/hosts", g->dir, task), *text = NULL;
	size_t len;

	assert_int_equal(fs_read(path, 65536, &text, &len, NULL), 0);
	return strstr(text, word) != NULL;
}

/* Cost review (5): any endpoint's change had all hosts files of the node written, also one that changed no name. */
static void test_only_files_that_change_are_written(void **state)
{
	struct rig *g = *state;

	for (unsigned net = 0; net < NETS; net++)
		endpoint(g, net, 10, "db.1", 1);
	assert_int_equal(written(g), NETS * TASKS);
	endpoint(g, 1, 11, "db.2", 2);
	assert_int_equal(written(g), TASKS);
	assert_true(file_says(g, "task1-0", "10.9.1.11 db.2\n"));
	assert_false(file_says(g, "task0-0", "db.2"));
	endpoint(g, 2, 10, "db.1", 3); /* it moved to another node: its name and address are what they were */
	endpoint(g, 1, 11, "web.2", 4);
	assert_int_equal(written(g), TASKS);
	assert_true(file_says(g, "task1-3", "10.9.1.11 web.2\n"));
	cleanup_free char *gone = xasprintf("%s.11", net_id(1));
	net_endpoint_remove(g->w.net, gone);
	assert_int_equal(written(g), TASKS);
	assert_false(file_says(g, "task1-3", "web.2"));
}

/* Cost review (9): each session began with a list of the host's addresses, on the loop. */
static void test_sessions_do_not_list_addresses(void **state)
{
	struct rig *g = *state;

	looks = 0;
	for (int i = 0; i < 5; i++) {
		Gs__NodeDescription *d = obj_new(&gs__node_description__descriptor);

		worker_describe(&g->w, d);
		obj_free(d);
	}
	assert_in_range(looks, 0, 1);
}

/* Fresh review of security, 4: one peer's VTEP behind a small link made ours a data path that no manager takes. */
static void test_S4_ways_do_not_make_the_mtu_too_small(void **state)
{
	struct worker w = {0};
	struct net n = {.w = &w};

	snprintf(w.state.data_path, sizeof(w.state.data_path), "192.168.55.111");
	assert_int_equal(net_mtu(&n, 1500), 1500);
	n.path_mtu = 1420;
	assert_int_equal(net_mtu(&n, 1500), 1420);
	assert_int_equal(net_mtu(&n, 1400), 1400);
	n.path_mtu = 1280;
	assert_int_equal(net_mtu(&n, 1500), 1330);
	assert_int_equal(net_mtu(&n, 1200), 1200); /* the link is what it is */
	assert_int_equal(net_mtu(&n, 0), 0);
	snprintf(w.state.data_path, sizeof(w.state.data_path), "fd00::1");
	assert_int_equal(net_mtu(&n, 1500), 1350);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_only_files_that_change_are_written, open_rig, close_rig),
		cmocka_unit_test_setup_teardown(test_sessions_do_not_list_addresses, open_rig, close_rig),
		cmocka_unit_test(test_S4_ways_do_not_make_the_mtu_too_small),
	};

	log_init("test", LOG_WARN, 2);
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
