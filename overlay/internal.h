// SPDX-License-Identifier: Apache-2.0
/* What the files of this folder share. Every function here expects o->lock to be held and the calling thread
 * to be in the host's namespace, unless it says otherwise. */
#pragma once
#include <pthread.h>
#include <sys/types.h>
#include <uthash.h>

#include "base/buf.h"
#include "overlay/names.h"
#include "overlay/nl.h"
#include "overlay/overlay.h"

/* A namespace we hold sockets in. Cached by name; dropped when another one took the name. */
struct ns {
	char name[128]; /* "": the host's */
	dev_t dev;
	ino_t ino;
	int fd;
	struct nl_conn nl;
	struct event_source *events;
	UT_hash_handle hh;
};

struct network {
	struct overlay_network spec;
	char ns_name[NAME_MAX_LEN];
	bool live; /* exists in the kernel, as far as we know */
	int br_index, vx_index;
	unsigned ports; /* declared ones */
	UT_hash_handle hh;
};

struct endpoint {
	struct overlay_endpoint spec;
	UT_hash_handle hh;
};

struct port {
	struct overlay_port spec;
	UT_hash_handle hh;
};

struct leg { /* egress */
	struct leg_alias mark;
	bool declared; /* false: found in the kernel, waits for its declaration or for adopt_done */
	UT_hash_handle hh;
};

struct declared_ns {
	char name[128];
	UT_hash_handle hh;
};

struct vtep {            /* a peer's tunnel address; refs: endpoints behind it */
	uint8_t key[17]; /* length, then the address */
	struct overlay_ip ip;
	unsigned refs;
	UT_hash_handle hh;
};

struct nft_state {
	pthread_mutex_t lock; /* over helper_*; taken after o->lock */
	int helper_fd;        /* -1: not running */
	pid_t helper_pid;
	bool base;     /* our table was written by this process */
	bool exact;    /* foreign elements of the VTEP sets may be thrown away */
	uint32_t gen;  /* generation that `listing` belongs to */
	char *listing; /* NULL: not known */
	struct vtep *vteps;
};

struct events;
struct reaper;

struct overlay {
	struct overlay_config cfg;
	char *netns_dir, *nft_helper; /* owned copies behind cfg */
	pthread_mutex_t lock;
	struct ns host;
	struct nl_conn netfilter;
	struct ns *namespaces;
	struct network *networks;
	struct endpoint *endpoints;
	struct port *ports;
	struct leg *legs;
	struct declared_ns *declared;
	struct nft_state nft;
	struct events *events;
	struct reaper *reaper;
	bool netns_dir_ready;
	int egress_index; /* of gswarm0; 0: not set up yet */
};

/* What was tolerated leaves no trace; e may be NULL. */
static inline void err_forgive(struct err *e)
{
	if (e)
		err_clear(e);
}

/* ---- netns.c ---- */
/* Enter / return to the host's namespace; a thread that cannot return must not go on: abort. */
int ns_enter(int fd, struct err *e);
void ns_leave(struct overlay *o);
/* E_NOT_FOUND when there is no such namespace. Borrowed until the next ns_* call that drops it. */
int ns_get(struct overlay *o, const char *name, struct ns **ret, struct err *e);
/* A namespace of ours with this mark; created, completed after a crash, or adopted. E_EXISTS: not ours. */
int ns_create(struct overlay *o, const char *name, const char *mark, struct err *e);
/* Only when its mark starts with mark_prefix; a missing one is fine. */
int ns_remove(struct overlay *o, const char *name, const char *mark_prefix, struct err *e);
/* The mark, "" when it has none of ours. */
int ns_mark(struct overlay *o, struct ns *ns, char ret_mark[ALIAS_MAX], struct err *e);
void ns_drop(struct overlay *o, struct ns *ns);
int ns_open_host(struct overlay *o, struct err *e);
void ns_close_all(struct overlay *o);
/* Names in netns_dir, NULL-terminated; caller frees with ns_names_free. */
char **ns_names(struct overlay *o);
void ns_names_free(char **names);
void ns_path(const struct overlay *o, const char *name, char ret_path[512]);
/* Remove what a crash between creating the file and mounting on it left. */
void ns_sweep_half_made(struct overlay *o);

/* ---- vxlan.c ---- */
/* Namespace, bridge, vxlan device and the entries of all known endpoints. Adopts what fits, replaces what
 * does not. */
int network_ensure(struct overlay *o, struct network *n, struct err *e);
int network_destroy(struct overlay *o, const char *ns_name, struct err *e);
/* A network's namespace whose name somebody took away, while our sockets still hold it: free its VNI and the
 * tasks' interface names at once. */
void network_dismantle(struct ns *ns);
/* Compare bridge, device, flags and entries with what is declared, and repair. */
int network_check(struct overlay *o, struct network *n, unsigned *repairs, struct err *e);

/* ---- egress.c ---- */
int egress_load(struct overlay *o, struct err *e);
int egress_ensure(struct overlay *o, struct err *e);
int egress_remove_all(struct overlay *o, struct err *e);
int egress_leg_delete(struct overlay *o, struct leg *leg, struct err *e); /* frees it on success */
/* The lowest free address, or the one the kernel remembers for this id. */
int egress_leg_attach(struct overlay *o, const char *netns, const char *id, struct err *e);
int egress_check(struct overlay *o, unsigned *repairs, struct err *e);
int egress_sweep(struct overlay *o, struct err *e); /* delete legs nobody declared */
void egress_forget_all(struct overlay *o);

/* ---- port.c ---- */
/* Both ends as they should be: made, or adopted and repaired. */
int port_ensure(struct overlay *o, struct network *n, const struct overlay_port *p, struct err *e);
/* links: a dump of the network's namespace. */
struct links;
bool port_is_right(struct overlay *o, const struct network *n, const struct overlay_port *p,
		   const struct links *links);

/* ---- overlay.c ---- */
struct network *network_find(struct overlay *o, const char *id);
bool overlay_is_remote(const struct overlay *o, const struct overlay_endpoint *ep);

/* ---- reconcile.c ---- */
int reconcile_locked(struct overlay *o, unsigned *ret_repairs, struct err *e);

/* ---- nft.c ---- */
int nft_init(struct overlay *o, struct err *e);
void nft_fini(struct overlay *o);
void nft_reap(struct overlay *o);
/* Our table with the VTEPs of all known endpoints. */
int nft_base_ensure(struct overlay *o, struct err *e);
int nft_vtep_ref(struct overlay *o, const struct overlay_ip *vtep, struct err *e);
void nft_vtep_unref(struct overlay *o, const struct overlay_ip *vtep);
/* Write again what somebody changed; *repairs grows. */
int nft_check(struct overlay *o, unsigned *repairs, struct err *e);
int nft_remove(struct overlay *o, struct err *e);
/* Run a batch and give back its output (caller frees). */
int nft_run(struct overlay *o, const char *netns, const char *batch, char **ret_out, struct err *e);

/* ---- events.c ---- */
int events_init(struct overlay *o, struct err *e);
void events_fini(struct overlay *o);
/* In the calling thread's namespace. `own`: the socket whose changes are our own. */
enum event_scope { EVENTS_HOST, EVENTS_NETWORK, EVENTS_TASK };
struct event_source *events_join(struct overlay *o, enum event_scope scope, uint32_t own_port);
/* Whether a notification can mean that an object of ours was changed by somebody else. */
bool events_concern_us(const struct nlmsghdr *h, enum event_scope scope, uint32_t own_port);
void events_leave(struct overlay *o, struct event_source *s);
