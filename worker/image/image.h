// SPDX-License-Identifier: Apache-2.0
/* From an image and a task's spec to a bundle: root file system, mounts, user. Everything here blocks on the file
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
#include "proto/value/obj.h"
#include "worker/bundle/bundle.h"

/* ---- user.c ---- */
/* "name", "uid", "name:group", "uid:gid"; names from <root>/etc/passwd and group. "" is fallback. Supplementary
 * groups are those that list the name, unless a group was given. E_INVALID for an unknown name. */
int user_resolve(const char *root, const char *text, const char *fallback, struct user *ret, struct err *e);
/* A user of our own making: the same for the same id, on every host and for ever; others' differ. */
void user_own(const char *id, struct user *ret);

/* ---- etc.c ---- */
/* Folder below dir with copies of what a task may see of etc ("/etc"), at most a second old; made when there is
 * none of that state. *ret_path heap. Safe on several threads and workers at once. */
int etc_host_layer(const char *etc, const char *dir, char **ret_path, struct err *e);

/* ---- etc_tidy.c ---- */
/* Removes the layers in dir that no container below tasks_dir ("<run>/tasks") names. Only before any task is
 * prepared: a layer that was just handed out is named by nobody yet. */
void etc_layers_tidy(const char *dir, const char *tasks_dir);

/* ---- rootfs.c ---- */
struct rootfs_spec {
	const char *image;     /* "host" or "dir:/path" */
	const char *run_dir;   /* <run>/tasks/<id> */
	const char *etc_dir;   /* <run>/etc */
	const char *state_dir; /* <state>/tasks/<id>: writes of a dir image go here */
	const char *hostname;
	bool read_only;
};
/* Where the image's own /etc/passwd is ("" for host), and which folder that is (ret_id may be NULL; 0 for host).
 * E_INVALID for an unknown kind and for a folder that is, holds or lies in state_dir or base_run (either may be
 * NULL); -ENOENT when it is missing. */
int rootfs_image_root(const char *image, const char *state_dir, const char *base_run, const char **ret_root,
		      struct image_id *ret_id, struct err *e);
/* The same of what a bind mount shows, folder or file. */
int bind_source_check(const char *source, const char *state_dir, const char *base_run, struct err *e);
/* b->user is set and, for a dir image, b->image. Repeatable; a run folder that is in use stays as it is. */
int rootfs_prepare(struct bundle *b, const struct rootfs_spec *spec, struct err *e);
/* Before run_dir is removed. */
void rootfs_release(const char *run_dir);
/* Replaces what the task reads as /etc/hosts, in one step. lines: "ip name\n"... */
int rootfs_hosts_write(const char *run_dir, const char *hostname, const char *lines, struct err *e);

/* ---- mounts.c ---- */
struct mounts_spec {
	const Gs__Task *task; /* with its spec */
	const char *run_dir;  /* <run>/tasks/<id> */
	const char *volumes_dir;
	const char *made_dir;             /* as in volume_spec */
	const char *state_dir, *base_run; /* what no bind may show; either may be NULL */
};
/* Id of the volume that was assigned to this target, or NULL. */
const char *mounts_volume_id(const Gs__Task *task, const char *target);
/* Adds the spec's mounts to a bundle whose root file system is prepared, and makes its volumes. No target is
 * ever made in the host's own folders. E_INVALID: a target or source that cannot be, with what to do. */
int mounts_prepare(struct bundle *b, const struct mounts_spec *spec, struct err *e);
