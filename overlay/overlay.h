// SPDX-License-Identifier: Apache-2.0
/* Kernel networking of one host: task namespaces, overlay networks (VXLAN), the egress bridge.
 * Knows nothing of services, raft or what a task means.
 *
 *   host namespace          gsn-<net8>                    /run/netns/<task>
 *   eth0 --- UDP 4789 ...... vx0 --[br0]-- p<ep8> ------- eth0  (overlay address, MAC)
 *   gswarm0 (bridge, masquerade) -- ge<ep8> ------------- gw0   (egress, default route)
 *
 * Desired state is declared with the _set/_remove calls; each call changes the kernel at once (REPLACE,
 * idempotent) and overlay_reconcile compares a kernel dump with it and repairs. Names are derived from ids,
 * so a new process with the same declarations adopts what is there.
 * Thread-safe (one mutex); calls block on netlink for milliseconds: call them from the worker pool. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct overlay_ip { /* len 4 or 16; 0: none */
	uint8_t bytes[16];
	uint8_t len;
	uint8_t prefix;
};

struct overlay_config {
	struct overlay_ip vtep; /* source of our VXLAN packets */
	uint16_t port;          /* 4789 */
	struct overlay_ip
		egress_subnet;  /* of gswarm0; e.g. 172.31.0.0/16; its first address is the gateway */
	const char *netns_dir;  /* "/run/netns" */
	const char *nft_helper; /* path of the gswarm-nft executable; NULL: spawn the nft program */
};

struct overlay;
int overlay_new(const struct overlay_config *config, struct overlay **ret, struct err *e);
void overlay_free(struct overlay *o); /* leaves the kernel as it is */
/* MTU of the link that carries the route to this peer (0 on failure). */
uint32_t overlay_path_mtu(struct overlay *o, const struct overlay_ip *peer);

struct overlay_network {
	char id[26];
	uint32_t vni;
	uint32_t mtu; /* inside, i.e. underlay - 50 (IPv4) or - 70 (IPv6) */
	struct overlay_ip subnet;
	bool internal;
};
/* Created in the kernel when the first local port needs it, removed with the last. */
int overlay_network_set(struct overlay *o, const struct overlay_network *n, struct err *e);
int overlay_network_remove(struct overlay *o, const char *network_id, struct err *e);

struct overlay_endpoint { /* a remote (or local) address of a network */
	char id[56];      /* "<network id>.<slot id>" */
	char network_id[26];
	struct overlay_ip ip, vtep;
	uint8_t mac[6];
	uint64_t generation; /* a lower one never overwrites a higher */
};
/* A lower generation than the known one is ignored (0). */
int overlay_endpoint_set(struct overlay *o, const struct overlay_endpoint *ep, struct err *e);
int overlay_endpoint_remove(struct overlay *o, const char *id, struct err *e);

/* Named namespaces, bind-mounted under netns_dir so that `ip netns` lists them. lo is up. Idempotent. */
int overlay_netns_create(struct overlay *o, const char *name, struct err *e);
int overlay_netns_remove(struct overlay *o, const char *name, struct err *e);

struct overlay_port { /* one leg of a task */
	char netns[128];
	char id[56]; /* endpoint id: "<network id>.<slot id>" */
	char network_id[26];
	char ifname[16]; /* "eth0", "eth1" in the task */
	struct overlay_ip ip;
	uint8_t mac[6];
};
int overlay_attach(struct overlay *o, const struct overlay_port *p, struct err *e);
int overlay_detach(struct overlay *o, const char *id, struct err *e);
/* Egress leg gw0 with an address of the host's own pool (lowest free; remembered by the kernel), default
 * route. */
int overlay_egress_attach(struct overlay *o, const char *netns, const char *id, struct err *e);
int overlay_egress_detach(struct overlay *o, const char *id, struct err *e);

/* After a restart: forget-nothing adoption. Declare everything again, then call this once: whatever carries
 * our name pattern and was not declared is removed. keep_netns: names of namespaces of ours that must stay. */
int overlay_adopt_done(struct overlay *o, const char *const *keep_netns, size_t n, struct err *e);
/* Compare and repair; *ret_repairs counts objects that had to be written. */
int overlay_reconcile(struct overlay *o, unsigned *ret_repairs, struct err *e);
/* File descriptors to poll for "something of ours may have changed" (netlink groups per namespace); one epoll
 * fd is returned that becomes readable; overlay_events_drain empties it and says whether it touched us. */
int overlay_events_fd(struct overlay *o);
bool overlay_events_drain(struct overlay *o);
/* Remove every kernel object of ours on this host (leave). */
int overlay_remove_all(struct overlay *o, struct err *e);
/* Text dump for `system dump`; caller frees. */
char *overlay_dump(struct overlay *o);

/* ---- nft ---- */
/* Apply one atomic batch in a namespace, by name or path (NULL: the host's). It may be sent twice when the
 * helper dies under it, so it must bear repetition. */
int nft_apply(struct overlay *o, const char *netns, const char *batch, struct err *e);
