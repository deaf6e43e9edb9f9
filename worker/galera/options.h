// SPDX-License-Identifier: Apache-2.0
/* The server's option file and argv for one start. Pure but for options_probe, which looks into the image's
 * root. Nothing that must not outlive one start (--wsrep-new-cluster, a start position) is ever written to
 * the file, and no password is ever on argv. */
#pragma once
#include "base/buf.h"
#include "proto/value/obj.h"
#include "worker/galera/parse.h"

#define TASK_RUN "/run/task" /* where the task sees its run folder */
#define OPTIONS_NAME "my.cnf"
#define SOCKET_NAME "mysqld.sock"
#define PID_NAME "mysqld.pid"
#define SST_DIR_NAME "sst"

struct image_probe {
	char *root;       /* host path of the image's root, "" for the host's own */
	char *server;     /* path inside the image, e.g. /usr/sbin/mariadbd */
	char *provider;   /* e.g. /usr/lib/galera/libgalera_smm.so */
	char *install_db; /* mariadb-install-db or mysql_install_db */
	bool has_mariabackup, has_rsync, has_bash, has_socat;
};
/* -ENOENT with one clear line when the server or the provider is missing. Blocks on the image: in a job only. */
int options_probe(const char *image, struct image_probe *ret, struct err *e);
/* Frees what it owns; it is empty then. */
void image_probe_fini(struct image_probe *p);

struct options_input {
	const Gs__Task *task;
	const Gs__GaleraPermit *permit;
	const struct image_probe *image;
	const char *datadir;      /* as the task sees it */
	const char *sst_password; /* gs_sst */
	uint64_t disk_bytes;      /* size of the volume's file system */
	bool own_sst;             /* use wsrep_sst_gswarm (its folder is executable in the task) */
};
/* The whole my.cnf into out. E_INVALID: no address, unknown profile. */
int options_format(const struct options_input *in, struct buf *out, struct err *e);
/* For tools on the same datadir: no network; name is used for socket and pid file. recover: --wsrep-recover
 * prints nothing unless wsrep is on. */
void options_tool_format(const struct options_input *in, const char *name, bool recover, struct buf *out);
/* "g<first 10 of the cluster id>-e<group_epoch>" */
void options_group_name(const char *cluster_id, uint64_t group_epoch, char *ret, size_t n);
/* mariabackup | rsync: the spec's wish where the image has it. */
const char *options_sst_method(const Gs__Task *task, const struct image_probe *image);
/* Provider options to set once the cluster is formed; NULL for profiles that form with their own timers. */
const char *options_settled(const char *profile);

#define START_ARGV_MAX 12
struct start_argv {
	const char *v[START_ARGV_MAX];
	char env_path[160], position[96];
};
/* new_cluster and position belong to this one start. */
void options_argv(const struct image_probe *image, bool new_cluster, const struct galera_position *position,
		  struct start_argv *ret);
