// SPDX-License-Identifier: Apache-2.0
/* What the files of this folder share. Every function here expects o->lock to be held and the calling thread
 * to be in the host's namespace, unless it says otherwise. */
#pragma once
#include <pthread.h>
#include <sys/types.h>
#include <uthash.h>

#include "base/buf.h"
#include "overlay/kernel/fdb.h"
#include "overlay/kernel/nft.h"
#include "overlay/kernel/nl.h"
#include "overlay/names.h"
#include "overlay/overlay.h"
#include "overlay/work.h"

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
	struct overlay_network spec; /* vni 0: never declared, somebody only spoke of it */
	bool declared;
	char ns_name[NAME_MAX_LEN];
	struct work work; /* namespace, devices, entries */
	bool strays;      /* ports in it that nobody declared */
	int br_index, vx_index;
	struct endpoint *endpoints; /* utlist */
	struct port *ports;         /* utlist */
	/* Changed since the last write, while everything else was as it should be. */
	struct fdb_changes changes;
	UT_hash_handle hh;
};

struct endpoint {
	struct overlay_endpoint spec;
	struct network *n;
	struct endpoint *prev, *next; /* in n->endpoints */
	UT_hash_handle hh;
};

struct port {
	struct overlay_port spec;
	struct network *n;
	struct work work;
	struct port *prev, *next; /* in n->ports */
	UT_hash_handle hh;
};

struct task_ns {
	char name[128], owner[26];
	bool declared; /* false: found after a restart, or given up; to be removed */
	pid_t pid;     /* of a process in it, 0: none known */
	struct work work;
	UT_hash_handle hh;
};

struct leg { /* egress */
	struct leg_alias mark;
	bool declared; /* false: found in the kernel, waits for its declaration or for adopt_done */
	struct work work;
	UT_hash_handle hh;
};

/* A peer that may send to one of our networks; refs: endpoints behind it. */
struct admit {
	uint8_t key[21]; /* VNI (big endian), length of the address, address */
	uint32_t vni;
	struct overlay_ip vtep;
	unsigned refs;
	UT_hash_handle hh;
};

struct rules {
	struct work work;
	struct admit *admits;
	struct buf changes; /* statements for the next write, while the table is ours */
	struct overlay_service *guarded;
	size_t n_guarded;
	bool exact;    /* what an earlier process admitted may be thrown away */
	uint32_t gen;  /* nft's generation after our last look or write; 0: not known */
	char *listing; /* what the table looks like at gen; NULL: not listed */
};

#define TURNED_ON_MAX 14 /* their names fit into one alias */
struct egress {
	struct work work;         /* gswarm0 and forwarding */
	int index;                /* of gswarm0; 0: not there */
	struct overlay_ip subnet; /* len 0: not chosen yet */
	/* Links whose forwarding we turned on, since nobody had made this host a router. */
	char turned_on[TURNED_ON_MAX][NAME_MAX_LEN];
	size_t n_turned_on;
};

struct change;
struct events;
struct reaper;

struct overlay {
	struct overlay_config cfg;
	char *netns_dir; /* owned copy behind cfg */

	pthread_mutex_t inbox_lock; /* over what the calls that never wait leave behind */
	struct change *inbox, **inbox_tail;
	struct overlay_ip egress_pool;
	struct overlay_service *guard_next; /* NULL: as before */
	size_t n_guard_next;

	pthread_mutex_t lock; /* over all that follows; taken before any other */
	struct ns host;
	struct ns *namespaces;
	struct network *networks;
	struct endpoint *endpoints;
	struct port *ports;
	struct leg *legs;
	struct task_ns *tasks;
	struct rules rules;
	struct egress egress;
	uint32_t path_mtu; /* as in struct overlay_pass */
	int64_t path_mtu_due_ms;
	struct work sweep; /* look for what nobody declared */
	bool adopted;      /* adopt_done was called: what is not declared may go */
	char **keep;
	size_t n_keep;
	struct nft nft;
	struct events *events;
	struct reaper *reaper;
	bool netns_dir_ready;
	unsigned restored; /* namespaces that lost their mount and have it again; ever */
};

/* What was tolerated leaves no trace; e may be NULL. */
static inline void err_forgive(struct err *e)
{
	if (e)
		err_clear(e);
}

/* CLOCK_BOOTTIME, which back-off and looks go by. */
int64_t overlay_now_ms(void);

/* ---- ns.c ---- */
/* Enter / return to the host's namespace; a thread that cannot return must not go on: abort. */
int ns_enter(int fd, struct err *e);
/* Aborts when there is no way back. */
void ns_leave(struct overlay *o);
/* E_NOT_FOUND when there is no such namespace. One whose mount was lost, and which we still hold, is mounted
 * again. Borrowed until the next ns_* call that drops it. */
int ns_get(struct overlay *o, const char *name, struct ns **ret, struct err *e);
/* A namespace of ours with this mark; created, completed after a crash, or adopted. E_EXISTS: not ours.
 * E_IN_USE: ours, but with another mark. pid: see overlay_netns_create. */
int ns_create(struct overlay *o, const char *name, const char *mark, pid_t pid, struct err *e);
/* Only when its mark starts with mark_prefix; a missing one is fine. */
int ns_remove(struct overlay *o, const char *name, const char *mark_prefix, struct err *e);
/* The mark, "" when it has none of ours. */
int ns_mark(struct overlay *o, struct ns *ns, char ret_mark[ALIAS_MAX], struct err *e);
/* Close its sockets and forget it; frees ns. */
void ns_drop(struct overlay *o, struct ns *ns);
/* o->host, of the calling thread's namespace. */
int ns_open_host(struct overlay *o, struct err *e);
/* All of them and the host's; the kernel is not touched. */
void ns_close_all(struct overlay *o);
/* Names in netns_dir, NULL-terminated; caller frees with ns_names_free. */
char **ns_names(struct overlay *o);
/* The list and its strings. */
void ns_names_free(char **names);
/* "<netns_dir>/<name>" */
void ns_path(const struct overlay *o, const char *name, char ret_path[512]);
/* Remove what a crash between creating the file and mounting on it left. */
void ns_sweep_half_made(struct overlay *o);

/* ---- desired.c: what is declared ---- */
/* Never NULL: made when it is not there. */
struct network *network_get(struct overlay *o, const char *id);
/* NULL: unknown. */
struct network *network_find(struct overlay *o, const char *id);
/* Whether the kernel should have it. */
bool network_is_wanted(const struct network *n);
/* To be called when a port came or went: what the network is to become. Frees it when nothing is left. */
void network_review(struct overlay *o, struct network *n);
/* NULL: unknown. */
struct port *port_find(struct overlay *o, const char *id);
/* Declared (again), pending. */
struct port *port_declare(struct overlay *o, const struct overlay_port *spec);
/* Frees it, and reviews its network, which may go with it. The kernel is not touched. */
void port_forget(struct overlay *o, struct port *p);
/* NULL: unknown. */
struct task_ns *taskns_find(struct overlay *o, const char *name);
/* Never NULL: made, not declared, when it is not there. */
struct task_ns *taskns_get(struct overlay *o, const char *name);
/* Frees it; the kernel is not touched. */
void taskns_forget(struct overlay *o, struct task_ns *t);
/* Whether this endpoint is in the kernel's tables of its network. */
bool endpoint_counts(const struct overlay *o, const struct overlay_endpoint *ep);
/* The three entries that make it reachable. */
void endpoint_entries(const struct overlay_endpoint *ep, struct fdb_entry ret[3]);
/* Take what was declared since the last time. */
void inbox_take(struct overlay *o);
/* Forget what was declared since the last time. */
void inbox_drop(struct overlay *o);
/* Networks, endpoints, ports, namespaces and the inbox; the kernel is not touched. */
void desired_forget_all(struct overlay *o);

/* ---- vxlan.c ---- */
/* Namespace, bridge, vxlan device and the entries of all known endpoints. Adopts what fits, replaces what
 * does not. Nothing to do when it is not pending. */
int network_ensure(struct overlay *o, struct network *n, struct err *e);
/* By the name of its namespace, if that has our mark; a missing one is fine. */
int network_destroy(struct overlay *o, const char *ns_name, struct err *e);
/* A network's namespace whose name somebody gave to another one, while our sockets still hold it: free its
 * VNI and the tasks' interface names at once. */
void network_dismantle(struct ns *ns);
/* Compare bridge, device, flags, entries and the network's ends of its ports with what is declared, and
 * repair; ports that have to be looked at become suspect. */
int network_check(struct overlay *o, struct network *n, unsigned *repairs, struct err *e);
/* Give up ports that nobody declared. */
int network_reap(struct overlay *o, struct network *n, unsigned *repairs, struct err *e);
/* Write n->changes; a failure makes the network suspect. */
int network_flush(struct overlay *o, struct network *n, struct err *e);

/* ---- egress.c ---- */
int egress_load(struct overlay *o, struct err *e);
/* gswarm0 as it should be. Nothing to do when it is settled. */
int egress_ensure(struct overlay *o, struct err *e);
/* gswarm0 and forwarding, when they are due; legs that went with gswarm0 become suspect. */
int egress_check(struct overlay *o, unsigned *repairs, struct err *e);
/* Every leg and gswarm0, and forwarding as it was. */
int egress_remove_all(struct overlay *o, struct err *e);
/* NULL: unknown. */
struct leg *leg_find(struct overlay *o, const char *id);
/* Declared (again), pending. */
struct leg *leg_declare(struct overlay *o, const char *netns, const char *id);
/* Both ends as they should be: made, or adopted and repaired. E_EXHAUSTED: no address, or no room. */
int leg_ensure(struct overlay *o, struct leg *leg, struct err *e);
/* Whatever cannot be asked for counts as wrong. */
bool leg_is_right(struct overlay *o, const struct leg_alias *mark);
/* Frees it on success. */
int leg_delete(struct overlay *o, struct leg *leg, struct err *e);
/* The legs; the kernel is not touched. */
void egress_forget_all(struct overlay *o);

/* ---- underlay.c ---- */
/* A subnet for gswarm0 that nothing on this host touches. E_EXHAUSTED: none is left. */
int underlay_pick_subnet(struct overlay *o, struct overlay_ip *ret, struct err *e);
/* o->path_mtu, when it is time or a peer came. */
void underlay_look(struct overlay *o);
/* Make room for as many neighbours as large swarms have, for the whole host: limits are raised, never lowered,
 * and only where there is such a setting. dir: "/proc/sys/net/ipv4/neigh/default". */
void underlay_raise_neighbours(const char *dir);
/* The IPv4 subnet of this link's first address; len 0 when it has none. */
int underlay_subnet_of(struct overlay *o, int index, struct overlay_ip *ret, struct err *e);

/* ---- port.c ---- */
/* Both ends as they should be: made, or adopted and repaired. */
int port_ensure(struct overlay *o, struct network *n, const struct overlay_port *p, struct err *e);
/* The network's end, from a dump of the network's namespace (NULL: ask). */
struct links;
/* links may be NULL. */
bool port_net_end_is_right(struct overlay *o, const struct network *n, const struct overlay_port *p,
			   const struct links *links);
/* Both ends and the address. Whatever cannot be asked for counts as wrong. */
bool port_is_right(struct overlay *o, const struct network *n, const struct overlay_port *p);

/* ---- repair.c ---- */
/* Everything is to be compared, and what waits for its back-off is due. */
void repair_suspect_all(struct overlay *o);

/* ---- adopt.c ---- */
/* Namespaces of tasks that stay though they are not declared; copied. */
void adopt_keep(struct overlay *o, const char *const *names, size_t n);
/* Turn what the kernel has of ours, and nobody declared, into things that leave. */
int adopt_sweep(struct overlay *o, struct err *e);

/* ---- rules.c: our table in the host's namespace ---- */
void rules_init(struct overlay *o);
/* Also what was remembered of peers; the kernel is not touched. May be called twice. */
void rules_fini(struct overlay *o);
/* The table with all known peers, and what changed since. */
int rules_ensure(struct overlay *o, struct err *e);
/* A peer behind which a task of this network is; counted. */
void rules_admit(struct overlay *o, uint32_t vni, const struct overlay_ip *vtep);
/* One endpoint less behind it. */
void rules_refuse(struct overlay *o, uint32_t vni, const struct overlay_ip *vtep);
/* Where egress must not lead; the list is ours now. */
void rules_guard(struct overlay *o, struct overlay_service *take_list, size_t n);
/* Write again what somebody changed; *repairs grows. */
int rules_check(struct overlay *o, unsigned *repairs, struct err *e);
/* Adoption is over: the next write throws away what is not declared. */
void rules_exact(struct overlay *o);
/* The table, and what was remembered of peers. */
int rules_remove(struct overlay *o, struct err *e);

/* ---- events.c ---- */
int events_init(struct overlay *o, struct err *e);
/* All sources have left. */
void events_fini(struct overlay *o);
enum event_scope { EVENTS_HOST, EVENTS_NETWORK, EVENTS_TASK };
/* In the calling thread's namespace, whose name in netns_dir is `name` ("": the host's). own_port: of the socket
 * whose changes are our own. NULL: the kernel refused, and this namespace is only looked at by the clock. */
struct event_source *events_join(struct overlay *o, const char *name, enum event_scope scope,
				 uint32_t own_port);
/* Whether a notification can mean that an object of ours was changed by somebody else. */
bool events_concern_us(const struct nlmsghdr *h, enum event_scope scope, uint32_t own_port);
/* Frees s. */
void events_leave(struct overlay *o, struct event_source *s);
struct event_note {
	enum event_scope scope;
	const char *name; /* of the namespace */
	/* The host's: which links of ours, or all of them when they were too many or notifications were lost. */
	const char (*links)[NAME_MAX_LEN];
	size_t n_links;
	bool all_links;
};
/* Call each for every namespace that was touched since the last time. */
void events_take(struct overlay *o, void (*each)(struct overlay *o, const struct event_note *note));
