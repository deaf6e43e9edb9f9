// SPDX-License-Identifier: Apache-2.0
/* What a task's process sees: its root file system, mounts, user, limits. Everything here blocks on the file
 * system and is called on the thread pool with data of its own. worker/image/image.h makes one of an image and a
 * spec. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
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
/* Leaves an empty one, which may be ended again. */
void user_fini(struct user *u);

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

/* ---- volume.c ---- */
struct volume_spec {
	const char *volumes_dir; /* <state>/volumes */
	/* Notes of the volumes that were made here, beside the volumes: a disk that is not mounted does not take them
	 * along. NULL: none are kept (Galera judges by what it finds in the data). */
	const char *made_dir;
	const char *volume_id, *service_id, *slot_id;
	uid_t uid;
	gid_t gid;
};
/* Makes <volumes_dir>/<id>/data (owned by the user when new) and its marker; *ret_path is the data folder,
 * heap. E_UNAVAILABLE when it was made before and is not there now; E_IN_USE when the marker names another volume
 * or service, or data without a marker is there. */
int volume_prepare(const struct volume_spec *spec, char **ret_path, struct err *e);
/* Its data was there (the note of it is) and is not, or in its place is another folder, which is empty: the disk is
 * not mounted. */
int volume_is_away(const char *dir, const char *note, bool *ret_away, struct err *e);
/* Nothing is in it, or it is not there. False also for one that cannot be read. */
bool folder_is_empty(const char *path);
/* volume_remove.c: delete it, its data and the note that it was made, for good. Again after a failure or a crash:
 * goes on, where a folder <id>.removing is. *ret_found: there was something. E_IN_USE: somebody else's data, or a
 * mount in it; E_UNAVAILABLE: it is not there, or its data is not. Blocks for as long as the data is large. */
int volume_remove(const char *volumes_dir, const char *made_dir, const char *volume_id, bool *ret_found,
		  struct err *e);
/* Whose the volume's data was made; false when there is no such volume yet, or root's. */
bool volume_owner(const char *volumes_dir, const char *volume_id, uid_t *ret_uid, gid_t *ret_gid);

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
