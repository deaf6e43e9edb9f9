// SPDX-License-Identifier: Apache-2.0
/* The happy path prints one option file from the task's row and its permit. What can fail: the image has no
 * server or no Galera provider, the task has no address, the profile is unknown; each says so in one line.
 *
 * Timers (Galera documentation, wsrep_provider_options): keepalive <= inactive_check <= suspect <= inactive
 * <= install must hold. While a cluster forms, join_retrans and keepalive of 0.1 s save about a second a
 * joiner against the defaults; shorter ones (0.03 s) never form a view. */
#include "worker/galera/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/foreign.h"

struct profile {
	const char *name;
	const char *timers;  /* that stay */
	const char *forming; /* from the start until the cluster is complete */
	const char
		*settled; /* afterwards (inactive_check_period cannot be changed); NULL: forming has none */
};

static const struct profile profiles[] = {
	{"lan-fast", "evs.suspect_timeout=PT1S;evs.inactive_timeout=PT3S;evs.install_timeout=PT3S",
	 "evs.keepalive_period=PT0.1S;evs.inactive_check_period=PT0.1S;evs.join_retrans_period=PT0.1S;"
	 "pc.announce_timeout=PT0.5S",
	 "evs.keepalive_period=PT0.3S;evs.join_retrans_period=PT0.3S"},
	{"lan", "evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S;evs.install_timeout=PT6S",
	 "evs.keepalive_period=PT0.1S;evs.inactive_check_period=PT0.1S;evs.join_retrans_period=PT0.1S;"
	 "pc.announce_timeout=PT0.5S",
	 "evs.keepalive_period=PT0.5S;evs.join_retrans_period=PT0.3S"},
	{"safe", "evs.suspect_timeout=PT5S;evs.inactive_timeout=PT15S;evs.install_timeout=PT15S",
	 "evs.keepalive_period=PT0.1S;evs.inactive_check_period=PT0.1S;evs.join_retrans_period=PT0.1S;"
	 "pc.announce_timeout=PT0.5S",
	 "evs.keepalive_period=PT0.5S;evs.join_retrans_period=PT0.5S"},
	{"wan", "evs.suspect_timeout=PT30S;evs.inactive_timeout=PT60S;evs.install_timeout=PT60S",
	 "evs.keepalive_period=PT3S;evs.inactive_check_period=PT10S;evs.join_retrans_period=PT1S", NULL},
};

static const struct profile *profile_find(const char *name)
{
	if (!name || !*name)
		name = "lan";
	for (size_t i = 0; i < array_size(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

const char *options_settled(const char *profile)
{
	const struct profile *p = profile_find(profile);

	return p ? p->settled : NULL;
}

/* ---- what the image has ---- */

static char *first_of(const char *root, const char *const *paths, size_t n)
{
	bug_if(n == 0);
	for (size_t i = 0; i < n; i++) {
		if (foreign_image_has(root, paths[i], false))
			return xstrdup(paths[i]);
	}
	return NULL;
}

static bool has_program(const char *root, const char *name)
{
	static const char *const dirs[] = {"/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"};

	for (size_t i = 0; i < array_size(dirs); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dirs[i], name);

		if (foreign_image_has(root, path, true))
			return true;
	}
	return false;
}

static const char *const server_paths[] = {"/usr/sbin/mariadbd", "/usr/sbin/mysqld", "/usr/libexec/mariadbd",
					   "/usr/libexec/mysqld", "/usr/local/mysql/bin/mariadbd"};
static const char *const provider_paths[] = {
	"/usr/lib/galera/libgalera_smm.so",
	"/usr/lib/galera4/libgalera_smm.so",
	"/usr/lib64/galera-4/libgalera_smm.so",
	"/usr/lib64/galera4/libgalera_smm.so",
	"/usr/lib64/galera/libgalera_smm.so",
	"/usr/lib/x86_64-linux-gnu/galera/libgalera_smm.so",
	"/usr/lib/galera3/libgalera_smm.so",
	"/usr/local/lib/galera/libgalera_smm.so",
	"/usr/lib/libgalera_smm.so",
};
static const char *const install_paths[] = {"/usr/bin/mariadb-install-db", "/usr/bin/mysql_install_db",
					    "/usr/local/mysql/scripts/mariadb-install-db"};

int options_probe(const char *image, struct image_probe *ret, struct err *e)
{
	const char *root = strncmp(image, "dir:", 4) == 0 ? image + 4 : "";
	struct image_probe p = {0};

	bug_if(!bug_in_job()); /* whose file system it is on nobody knows */
	p.server = first_of(root, server_paths, array_size(server_paths));
	if (!p.server)
		return err_set(e, -ENOENT, "image %s has no mariadbd: install mariadb-server in it", image);
	p.provider = first_of(root, provider_paths, array_size(provider_paths));
	if (!p.provider) {
		image_probe_fini(&p);
		return err_set(e, -ENOENT,
			       "image %s has no Galera provider (libgalera_smm.so): install galera-4 in it",
			       image);
	}
	p.root = xstrdup(root);
	p.install_db = first_of(root, install_paths, array_size(install_paths));
	p.has_mariabackup = has_program(root, "mariabackup") && has_program(root, "wsrep_sst_mariabackup") &&
			    has_program(root, "socat");
	p.has_rsync = has_program(root, "rsync") && has_program(root, "wsrep_sst_rsync");
	p.has_bash = has_program(root, "bash");
	p.has_socat = has_program(root, "socat");
	*ret = p;
	return 0;
}

void image_probe_fini(struct image_probe *p)
{
	free(p->root);
	free(p->server);
	free(p->provider);
	free(p->install_db);
	*p = (struct image_probe){0};
}

const char *options_sst_method(const Gs__Task *task, const struct image_probe *image)
{
	const char *wish = task->galera ? task->galera->sst_method : "";

	if (strcmp(wish, "rsync") == 0 && image->has_rsync)
		return "rsync";
	return image->has_mariabackup ? "mariabackup" : "rsync";
}

void options_group_name(const char *cluster_id, uint64_t group_epoch, char *ret, size_t n)
{
	bug_if(n == 0);
	snprintf(ret, n, "g%.10s-e%llu", cluster_id, (unsigned long long)group_epoch);
}

/* ---- the file ---- */

/* The first network carries Galera. */
static const ProtobufCBinaryData *own_ip(const Gs__Task *task)
{
	if (!task->n_addresses || !task->addresses[0]->addr || !task->addresses[0]->addr->ip.len)
		return NULL;
	return &task->addresses[0]->addr->ip;
}

static void put_host(struct buf *out, const char *ip, int port)
{
	buf_printf(out, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, port);
}

/* All members including this one; never empty: an empty list would bootstrap. */
static void put_members(struct buf *out, const Gs__GaleraPermit *permit, const char *self)
{
	buf_printf(out, "wsrep_cluster_address=gcomm://");
	for (size_t i = 0; i < permit->n_addresses; i++) {
		if (i)
			buf_printf(out, ",");
		put_host(out, permit->addresses[i], 4567);
	}
	if (!permit->n_addresses)
		put_host(out, self, 4567);
	buf_printf(out, "\n");
}

/* 128 MiB on common disks, 1/128 of a larger one up to 1 GiB, and never more than an eighth of a small one. */
static unsigned gcache_mib(uint64_t disk_bytes)
{
	uint64_t mib = disk_bytes >> 20, large = mib / 128, small = mib / 8;
	uint64_t want = large > 128 ? large : 128;

	if (want > 1024)
		want = 1024;
	if (disk_bytes && want > small)
		want = small;
	return (unsigned)(want < 16 ? 16 : want);
}

static void put_provider(struct buf *out, const struct options_input *in, const struct profile *p,
			 const char *ip)
{
	bug_if(!p || !in->permit);
	buf_printf(out, "wsrep_provider_options=\"gmcast.listen_addr=tcp://");
	put_host(out, ip, 4567);
	buf_printf(out, ";ist.recv_addr=");
	put_host(out, ip, 4568);
	buf_printf(out, ";pc.recovery=FALSE;pc.weight=1;pc.wait_prim_timeout=PT30S;pc.linger=PT20S;%s;%s;",
		   p->timers, p->forming);
	buf_printf(
		out,
		"evs.user_send_window=4;evs.send_window=8;gcache.size=%uM;gcache.recover=yes;gcs.fc_limit=64;"
		"gcs.fc_factor=0.8\"\n",
		gcache_mib(in->disk_bytes));
}

/* Behind the user's files: what the rules of recovery rest on, where a user's word would make them untrue. Each
 * start's own decisions (new cluster, position) come by argv; the log is where the views, the end of a process and
 * its last words are read; a forced or heuristic recovery throws data away that the managers count on. */
static void put_firm(struct buf *out, const struct options_input *in)
{
	buf_printf(out,
		   "[mysqld]\n# set by gswarm, whatever an included file says (docs/galera-worker.md)\n"
		   "datadir=%s\nloose-wsrep_data_home_dir=%s\nskip-log-error\nskip-wsrep-new-cluster\nloose-"
		   "skip-wsrep-recover\n"
		   "wsrep_start_position=00000000-0000-0000-0000-000000000000:-1\ntc-heuristic-recover=OFF\n"
		   "innodb_force_recovery=0\ninnodb_flush_log_at_trx_commit=1\nsync_binlog=1\n"
		   "binlog_format=ROW\ninnodb_autoinc_lock_mode=2\n",
		   in->datadir, in->datadir);
}

static void put_server(struct buf *out, const struct options_input *in)
{
	buf_printf(out,
		   "[mysqld]\n"
		   "datadir=%s\nsocket=" TASK_RUN "/" SOCKET_NAME "\npid-file=" TASK_RUN "/" PID_NAME "\n"
		   "bind-address=0.0.0.0\nskip-name-resolve\nserver_id=%u\n"
		   "default_storage_engine=InnoDB\nbinlog_format=ROW\ninnodb_autoinc_lock_mode=2\n"
		   "innodb_flush_log_at_trx_commit=1\ninnodb_doublewrite=1\nsync_binlog=1\n",
		   in->datadir, in->task->slot_number ? in->task->slot_number : 1);
}

static void put_wsrep(struct buf *out, const struct options_input *in, const char *ip)
{
	char group[48];

	options_group_name(in->task->galera_cluster_id, in->permit->group_epoch, group, sizeof(group));
	/* On in MariaDB 11.8 (Debian 13): while it is, pc.bootstrap and the timers cannot be set any more. */
	buf_printf(out,
		   "wsrep_on=ON\nloose-plugin-wsrep-provider=OFF\nwsrep_provider=%s\nwsrep_cluster_name=%s\n",
		   in->image->provider, group);
	put_members(out, in->permit, ip);
	buf_printf(out,
		   "wsrep_node_name=%s\nwsrep_node_address=%s\nwsrep_node_incoming_address=", in->task->name,
		   ip);
	put_host(out, ip, 3306);
	buf_printf(out, "\nwsrep_slave_threads=4\nwsrep_retry_autocommit=1\nwsrep_sync_wait=0\n");
	buf_printf(out, "wsrep_sst_method=%s\nwsrep_sst_receive_address=",
		   in->own_sst ? "gswarm" : options_sst_method(in->task, in->image));
	put_host(out, ip, 4444);
	buf_printf(out, "\n");
	if (in->sst_password && *in->sst_password)
		buf_printf(out, "wsrep_sst_auth=gs_sst:%s\n", in->sst_password);
	/* The trailing comma means "or anyone": without it a missing donor is a failure. */
	if (in->permit->donor && *in->permit->donor)
		buf_printf(out, "wsrep_sst_donor=%s%s\n", in->permit->donor,
			   in->permit->donor[strlen(in->permit->donor) - 1] == ',' ? "" : ",");
}

/* The user's own files come last but before what must not be changed. */
static void put_user_dir(struct buf *out, const Gs__Task *task)
{
	for (size_t i = 0; task->spec && i < task->spec->n_mounts; i++) {
		const char *target = task->spec->mounts[i]->target;

		if (strcmp(target, "/etc/my.cnf.d") == 0 || strcmp(target, "/etc/mysql/conf.d") == 0 ||
		    strcmp(target, "/etc/mysql/mariadb.conf.d") == 0)
			buf_printf(out, "!includedir %s\n", target);
	}
}

void options_tool_format(const struct options_input *in, const char *name, bool recover, struct buf *out)
{
	put_server(out, in);
	put_user_dir(out, in->task);
	put_firm(out, in);
	if (!recover) /* a genesis is synced as a whole when it is done */
		buf_printf(out, "innodb_flush_method=nosync\ninnodb_flush_log_at_trx_commit=0\n"
				"innodb_doublewrite=0\nsync_binlog=0\nsync_frm=0\n");
	buf_printf(out,
		   "[mysqld]\nskip-networking\nsocket=" TASK_RUN "/%s.sock\npid-file=" TASK_RUN "/%s.pid\n"
		   "wsrep_on=%s\nwsrep_provider=%s\nwsrep_cluster_address=gcomm://127.0.0.1\n",
		   name, name, recover ? "ON" : "OFF", recover ? in->image->provider : "none");
}

int options_format(const struct options_input *in, struct buf *out, struct err *e)
{
	const struct profile *p = profile_find(in->task->galera ? in->task->galera->profile : NULL);
	const ProtobufCBinaryData *addr = own_ip(in->task);
	char ip[64];

	bug_if(!in->permit);
	if (!p)
		return err_set(e, E_INVALID, "unknown Galera profile %s (lan-fast, lan, safe, wan)",
			       in->task->galera->profile);
	if (!addr)
		return err_set(e, E_INVALID, "task %s has no overlay address for Galera", in->task->name);
	addr_format(addr, ip, sizeof(ip));
	put_server(out, in);
	put_user_dir(out, in->task);
	put_firm(out, in);
	buf_printf(out,
		   "[mysqld]\nsocket=" TASK_RUN "/" SOCKET_NAME "\npid-file=" TASK_RUN "/" PID_NAME "\n");
	put_wsrep(out, in, ip);
	put_provider(out, in, p, ip);
	/* Stock SST scripts read this; ours passes it on. */
	buf_printf(out, "[sst]\ngswarm_method=%s\n", options_sst_method(in->task, in->image));
	if (in->own_sst)
		buf_printf(out, "sockopt=retry=300,interval=0.1\n");
	return 0;
}

/* ---- argv ---- */

void options_argv(const struct image_probe *image, bool new_cluster, const struct galera_position *position,
		  struct start_argv *ret)
{
	size_t n = 0;

	snprintf(ret->env_path, sizeof(ret->env_path),
		 "PATH=" TASK_RUN "/" SST_DIR_NAME
		 ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	ret->v[n++] = "/usr/bin/env"; /* execs: the server keeps the container's pid */
	ret->v[n++] = ret->env_path;
	ret->v[n++] = image->server;
	ret->v[n++] = "--defaults-file=" TASK_RUN "/" OPTIONS_NAME;
	if (position && *position->uuid && position->seqno >= 0) {
		snprintf(ret->position, sizeof(ret->position), "--wsrep_start_position=%s:%lld",
			 position->uuid, (long long)position->seqno);
		ret->v[n++] = ret->position;
	}
	if (new_cluster)
		ret->v[n++] = "--wsrep-new-cluster";
	ret->v[n] = NULL;
}
