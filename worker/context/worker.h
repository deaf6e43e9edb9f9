// SPDX-License-Identifier: Apache-2.0
/* The node agent as one structure: who holds what.
 *
 *   node (init, join, leave, status)      manager_proc (the local manager)
 *        |                                     |
 *   struct worker --- agent (session, reports) --- tasks --- runtime, bundle, driver
 *                          |                         |
 *                          +--- net ------- overlay -+
 *                          +--- logs (second connection)
 * One loop, one thread; blocking work (files, netlink) goes to the thread pool. Every room of the worker may know
 * this record, and sees of each part that is not below it no more than that it exists. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "worker/context/membership.h"

struct address;
struct agent;
struct logs;
struct manager_proc;
struct net;
struct node;
struct peers;
struct runtime;
struct saver;
struct spawner;
struct tasks;
struct tls_identity;

struct worker {
	uv_loop_t *loop;
	char *state_dir; /* /var/lib/gswarm */
	char *run_dir;   /* /run/gswarm */
	char *dir;       /* <state_dir>/worker */
	char *exe_dir;   /* where our executables are */
	char *blob_dir;  /* <dir>/blobs */
	const char *log_level;
	char boot_id[40];
	char hostname[256];
	char *seccomp_bpf;    /* of all tasks, NULL: the runtime compiles it */
	const char *apparmor; /* profile of all tasks, NULL: this host has none */
	char link_of[64];     /* the data path address that link_mtu belongs to */
	uint32_t link_mtu;
	struct membership state;       /* identity and last session; state.is_member */
	struct tls_identity *identity; /* NULL while no member */
	char **managers;               /* "ip:port", the last session's, saved */
	size_t n_managers;

	struct saver *saver;                           /* of state */
	void (*save)(struct worker *w, unsigned what); /* by the saver; NULL in tests */
	struct spawner *spawner;
	struct runtime *runtime; /* member only */
	struct net *net;         /* member only */
	struct tasks *tasks;     /* member only */
	struct agent *agent;     /* member only */
	struct logs *logs;       /* member only */
	struct manager_proc *manager;
	struct node *node;
	struct peers *peers;     /* member only */
	struct address *address; /* member only */
	bool stopping;
};
