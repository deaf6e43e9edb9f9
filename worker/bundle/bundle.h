// SPDX-License-Identifier: Apache-2.0
/* What a task's process sees: its root file system, mounts, user, limits. Everything here blocks on the file
 * system and is called on the thread pool with data of its own.
 *
 *   <run>/tasks/<id>/rootfs   skeleton (host image) or mount point (dir image)
 *                    etc/     upper layer over the host's /etc: our files, and whiteouts over secrets
 *                    hosts    bound on /etc/hosts, rewritten in place when endpoints move
 *                    run/     the task's own sockets, bound on /run/task
 *                    <n>/     bundle of attempt n: config.json, pidfile, conmon.pid
 *   <state>/tasks/<id>/log    what the task printed */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/value/obj.h"

struct bundle_mount {
	char *source, *target, *type, *options; /* options: comma separated, as in mount(8) */
};

struct bundle {
	char *rootfs;
	bool readonly;
	/* dir image: overlay to be mounted on rootfs by the spawner; NULL otherwise */
	char *lower, *upper, *work;
	struct bundle_mount *mounts;
	size_t n_mounts;
	uid_t uid;
	gid_t gid;
	char *home;
};
struct bundle *bundle_new(void);
void bundle_free(struct bundle *b);
void bundle_mount_add(struct bundle *b, const char *source, const char *target, const char *type,
		      const char *options);

/* ---- user.c ---- */
/* "name", "uid", "name:group", "uid:gid"; names from <root>/etc/passwd and group. "" is fallback. */
int user_resolve(const char *root, const char *text, const char *fallback, uid_t *ret_uid, gid_t *ret_gid,
		 char **ret_home, struct err *e);

/* ---- rootfs.c ---- */
struct rootfs_spec {
	const char *image;     /* "host" or "dir:/path" */
	const char *run_dir;   /* <run>/tasks/<id> */
	const char *state_dir; /* <state>/tasks/<id>: writes of a dir image go here */
	const char *hostname;
	bool read_only;
};
/* Where the image's own /etc/passwd is ("" for host). E_INVALID for an unknown kind, -ENOENT when it is
 * missing. */
int rootfs_image_root(const char *image, const char **ret_root, struct err *e);
int rootfs_prepare(struct bundle *b, const struct rootfs_spec *spec, struct err *e);
/* A mount below /etc of a host image needs its target in our layer, since the result is read-only. */
int rootfs_etc_target(const char *run_dir, const char *target, bool is_folder, struct err *e);
/* Rewrites <run_dir>/hosts in place (it is bound into the task). lines: "ip name\n"... */
int rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e);

/* ---- volume.c ---- */
struct volume_spec {
	const char *volumes_dir; /* <state>/volumes */
	const char *volume_id, *service_id, *slot_id;
	uid_t uid;
	gid_t gid;
};
/* Makes <volumes_dir>/<id>/data (owned by the user when new) and its marker; *ret_path is the data folder,
 * heap. E_IN_USE when the marker names another volume or service, or data without a marker is there. */
int volume_prepare(const struct volume_spec *spec, char **ret_path, struct err *e);

/* ---- spec.c ---- */
struct oci_spec {
	const struct bundle *bundle;
	const char *const *argv;
	char *const *env; /* "K=V" of the user */
	size_t n_env;
	const char *cwd, *hostname;
	const char *netns_path; /* NULL: an empty namespace of its own */
	const char *cgroup_path;
	uint64_t nano_cpus, memory_bytes, pids;
	bool has_cgroup_v2; /* for the choice of namespaces */
};
/* config.json as text; caller frees. E_INVALID when a text of the spec is not UTF-8. */
int oci_spec_format(const struct oci_spec *spec, char **ret, struct err *e);
