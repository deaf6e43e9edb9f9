// SPDX-License-Identifier: Apache-2.0
/* What a task's process sees: its root file system, mounts, user, limits. Everything here blocks on the file
 * system and is called on the thread pool with data of its own.
 *
 *   <run>/etc/<state>         copies of what tasks see of the host's /etc, shared (etc.c)
 *   <run>/tasks/<id>/rootfs   skeleton (host image) or mount point (dir image)
 *                    layer/   this task's own files over the image's: etc/hostname, mount targets
 *                    names/   hosts: bound on /etc/gswarm, replaced when endpoints move
 *                    run/     tmpfs with the task's own sockets, bound on /run/task
 *                    <n>/     bundle of attempt n: config.json, pidfile, conmon.pid
 *   <state>/tasks/<id>/log    what the task printed */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/value/obj.h"
#include "worker/host/spawner.h"

struct bundle_mount {
	char *source, *target, *type, *options; /* options: comma separated, as in mount(8) */
};

/* A volume that is mounted: host path of its data. */
struct bundle_volume {
	char *target, *path;
};

/* Who the task runs as. */
struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary */
	size_t n_groups;
	char *home;
	bool is_own; /* a number of our making, without a line in the image's passwd */
};

#define BIND_RO "rbind,rro,rnosuid,rnodev" /* r: mounts inside the source as well */
#define BIND_RW "rbind,rnosuid,rnodev"

struct bundle {
	char *rootfs;
	bool readonly;
	/* dir image: overlay to be mounted on rootfs by the spawner; NULL otherwise */
	char *lower, *upper, *work;
	struct image_id image; /* the last folder of lower, as it was judged */
	struct bundle_mount *mounts;
	size_t n_mounts;
	struct bundle_volume *volumes;
	size_t n_volumes;
	struct user user;
};
/* Empty; the caller's. Nothing of a bundle is tied to a thread: it goes from a job to the loop and back. */
struct bundle *bundle_new(void);
/* NULL is fine. */
void bundle_free(struct bundle *b);
/* Appends; later ones cover earlier ones. Copies the texts. */
void bundle_mount_add(struct bundle *b, const char *source, const char *target, const char *type,
		      const char *options);

/* ---- user.c ---- */
/* "name", "uid", "name:group", "uid:gid"; names from <root>/etc/passwd and group. "" is fallback. Supplementary
 * groups are those that list the name, unless a group was given. E_INVALID for an unknown name. */
int user_resolve(const char *root, const char *text, const char *fallback, struct user *ret, struct err *e);
/* A user of our own making: the same for the same id, on every host and for ever; others' differ. */
void user_own(const char *id, struct user *ret);
/* Leaves an empty one, which may be ended again. */
void user_fini(struct user *u);

/* ---- etc.c ---- */
/* Folder below dir with copies of what a task may see of etc ("/etc"), at most a second old; made when there is
 * none of that state. *ret_path heap. Safe on several threads and workers at once. */
int etc_host_layer(const char *etc, const char *dir, char **ret_path, struct err *e);

/* ---- rootfs.c ---- */
struct rootfs_spec {
	const char *image;     /* "host" or "dir:/path" */
	const char *run_dir;   /* <run>/tasks/<id> */
	const char *etc_dir;   /* <run>/etc */
	const char *state_dir; /* <state>/tasks/<id>: writes of a dir image go here */
	const char *hostname;
	bool read_only;
};
/* Where the image's own /etc/passwd is ("" for host), and which folder that is (ret_id may be NULL; 0 for host). E_INVALID for an unknown kind and for a folder that is,
 * holds or lies in state_dir or base_run (either may be NULL); -ENOENT when it is missing. */
int rootfs_image_root(const char *image, const char *state_dir, const char *base_run, const char **ret_root,
		      struct image_id *ret_id, struct err *e);
/* b->user is set and, for a dir image, b->image. Repeatable; a run folder that is in use stays as it is. */
int rootfs_prepare(struct bundle *b, const struct rootfs_spec *spec, struct err *e);
/* Before run_dir is removed. */
void rootfs_release(const char *run_dir);
/* Replaces what the task reads as /etc/hosts, in one step. lines: "ip name\n"... */
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
/* Whose the volume's data was made; false when there is no such volume yet, or root's. */
bool volume_owner(const char *volumes_dir, const char *volume_id, uid_t *ret_uid, gid_t *ret_gid);

/* ---- mounts.c ---- */
struct mounts_spec {
	const Gs__Task *task; /* with its spec */
	const char *run_dir;  /* <run>/tasks/<id> */
	const char *volumes_dir;
};
/* Id of the volume that was assigned to this target, or NULL. */
const char *mounts_volume_id(const Gs__Task *task, const char *target);
/* Adds the spec's mounts to a bundle whose root file system is prepared, and makes its volumes. No target is
 * ever made in the host's own folders. E_INVALID: a target or source that cannot be, with what to do. */
int mounts_prepare(struct bundle *b, const struct mounts_spec *spec, struct err *e);

/* ---- spec.c ---- */
struct oci_spec {
	const struct bundle *bundle;
	const char *const *argv;
	char *const *env; /* "K=V" of the user */
	size_t n_env;
	const char *cwd, *hostname;
	const char *netns_path; /* NULL: an empty namespace of its own */
	const char *cgroup_path;
	uint64_t nano_cpus, memory_bytes; /* 0: no limit */
	uint64_t pids;                    /* 0: 4096 */
	const char *apparmor;             /* profile, NULL: none */
	const char *seccomp_bpf;          /* of syscalls_compile, NULL: the runtime compiles */
};
/* config.json as text; caller frees. E_INVALID when a text of the spec is not UTF-8. */
int oci_spec_format(const struct oci_spec *spec, char **ret, struct err *e);
