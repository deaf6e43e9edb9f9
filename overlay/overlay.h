// SPDX-License-Identifier: Apache-2.0
/* Kernel networking of one host: task namespaces, overlay networks (VXLAN), the egress bridge.
 * Knows nothing of services, raft or what a task means.
 *
 *   host namespace          gsn-<net8>                    /run/netns/<task>
 *   eth0 --- UDP 4789 ...... vx0 --[br0]-- p<ep8> ------- eth0  (overlay address, MAC)
 *   gswarm0 (bridge, masquerade) -- ge<ep8> ------------- gw0   (egress, default route)
 *
 * What is declared is remembered at once and apart from what the kernel took (overlay/work.h): whatever the
 * kernel refused, lost or never saw is brought about by overlay_pass, with back-off, for as long as it is
 * declared. Names are derived from ids, so a new process with the same declarations adopts what is there.
 *
 * Any thread. The _set and _remove calls of networks and endpoints only remember and never wait; all others
 * wait for one lock and for the kernel (milliseconds): call them from the worker pool. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "overlay/kernel/ip.h"

struct overlay_config {
	struct overlay_ip vtep; /* source of our VXLAN packets */
	uint16_t port;          /* 4789 */
	const char *netns_dir;  /* "/run/netns" */
	const char *nft_helper; /* path of the gswarm-nft executable; NULL: spawn the nft program */
};

struct overlay;
/* Finds what an earlier process left; changes nothing. */
int overlay_new(const struct overlay_config *config, struct overlay **ret, struct err *e);
/* Leaves the kernel as it is. No other call may be under way. */
void overlay_free(struct overlay *o);

/* ---- declarations that do not wait ----
 * E_INVALID: malformed, not remembered. */
/* This host's own address changed: every network's tunnel is made anew from there. */
int overlay_vtep_set(struct overlay *o, const struct overlay_ip *vtep, struct err *e);

struct overlay_network {
	char id[26];
	uint32_t vni;
	uint32_t mtu; /* inside, i.e. underlay - 50 (IPv4) or - 70 (IPv6) */
	struct overlay_ip subnet;
	uint64_t generation; /* a lower one never overwrites a higher */
};
/* In the kernel from its first local port to its last. */
int overlay_network_set(struct overlay *o, const struct overlay_network *n, struct err *e);
/* Its endpoints go with it. While it has ports it stays in the kernel as it is. */
void overlay_network_remove(struct overlay *o, const char *network_id);

struct overlay_endpoint { /* a remote (or local) address of a network */
	char id[56];      /* "<network id>.<slot id>" */
	char network_id[26];
	struct overlay_ip ip, vtep;
	uint8_t mac[6];
	uint64_t generation; /* a lower one never overwrites a higher */
};
/* One whose VTEP is of another address family than ours is remembered, but cannot be reached from here and is
 * left out of the kernel's tables. */
int overlay_endpoint_set(struct overlay *o, const struct overlay_endpoint *ep, struct err *e);
/* An unknown one is fine. */
void overlay_endpoint_remove(struct overlay *o, const char *id);

/* ---- a task's own objects ----
 * Each call declares, then works on the kernel at once; when that fails the error says so, the declaration
 * stays and overlay_pass tries again. Only E_INVALID remembers nothing. `owner` is the task's id: names are
 * the service's and pass on to the next task, so what is another owner's by now is left alone. */

/* Named namespaces, bind-mounted under netns_dir so that `ip netns` lists them. lo is up. Idempotent.
 * pid: of a process known to live in it (0: none), whose namespace is mounted again when it was lost. */
int overlay_netns_create(struct overlay *o, const char *name, const char *owner, pid_t pid, struct err *e);
/* Takes the ports and legs in it along. */
int overlay_netns_remove(struct overlay *o, const char *name, const char *owner, struct err *e);

struct overlay_port { /* one leg of a task */
	char netns[128];
	char owner[26];
	char id[56]; /* endpoint id: "<network id>.<slot id>" */
	char network_id[26];
	char ifname[16]; /* "eth0", "eth1" in the task */
	struct overlay_ip ip;
	uint8_t mac[6];
};
/* E_NOT_FOUND: its network is not declared (yet). */
int overlay_attach(struct overlay *o, const struct overlay_port *p, struct err *e);
/* An unknown port, or another owner's, is fine. What fails is tried again; the declaration is gone at once. */
int overlay_detach(struct overlay *o, const char *id, const char *owner, struct err *e);
/* Egress leg gw0 with an address of the host's own pool (lowest free; remembered by the kernel), default
 * route. One per owner. */
int overlay_egress_attach(struct overlay *o, const char *netns, const char *owner, struct err *e);
/* As overlay_detach. */
int overlay_egress_detach(struct overlay *o, const char *owner, struct err *e);
/* Where the subnet of gswarm0 is cut from when it is made: the swarm's own address pool, so that it is none
 * that somebody else counts on. What the host's routes or addresses touch is passed over; when nothing is
 * left, other private ranges are tried. Without this call only those are. Never waits. */
void overlay_egress_pool_set(struct overlay *o, const struct overlay_ip *pool);

struct overlay_service {
	struct overlay_ip ip;
	uint16_t port; /* TCP */
};
/* What no task may call by its egress leg: it would speak, and be counted, as its host. The whole list, copied;
 * NULL and 0: nothing. IPv6 is left out, egress has none. Never waits; the next pass writes it. */
void overlay_guard_set(struct overlay *o, const struct overlay_service *list, size_t n);

/* ---- the kernel ---- */
struct overlay_pass {
	unsigned repairs; /* objects that were not as they had been left */
	unsigned waiting; /* declared or given up, and the kernel did not take it yet */
	uint32_t wait_ms; /* until there is something to do again */
	/* The smallest on the ways to peers, by links and routes; 0: no peer is known. Looked at when a peer comes
	 * and every 5 minutes. */
	uint32_t path_mtu;
};
/* Bring the kernel to what is declared: what is new, what failed before and is due again, what an event or
 * its time made suspect, the host's rules when nft's generation moved. The first error is returned; the rest
 * was worked on all the same. Call it after declarations and events, and every wait_ms at the latest. */
int overlay_pass(struct overlay *o, struct overlay_pass *ret, struct err *e);
/* After a restart: declare everything again, then call this once. Whatever carries our marks and was not
 * declared is removed by this and later passes, but nothing of a network whose own things are not settled.
 * keep_netns: names of namespaces of ours that must stay. */
int overlay_adopt_done(struct overlay *o, const char *const *keep_netns, size_t n, struct err *e);
/* One epoll fd that becomes readable when something of ours may have changed (netlink groups per namespace);
 * overlay_events_drain reads some of it and says whether a pass should look. Neither waits for the lock. */
int overlay_events_fd(struct overlay *o);
/* On the thread that polls the fd. */
bool overlay_events_drain(struct overlay *o);
/* Remove every kernel object of ours on this host (leave). */
int overlay_remove_all(struct overlay *o, struct err *e);
/* What is declared, how far the kernel is, and what it holds for us; caller frees. */
char *overlay_dump(struct overlay *o);
