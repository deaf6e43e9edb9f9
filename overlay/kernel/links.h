// SPDX-License-Identifier: Apache-2.0
/* Links as the kernel shows them, and the requests that make them. */
#pragma once
#include "overlay/kernel/ip.h"
#include "overlay/kernel/nl.h"

#define NAME_MAX_LEN 16 /* an interface name with its NUL */
#define ALIAS_MAX 256   /* IFALIASZ of the kernel */

struct link {
	int index, master, peer; /* peer: ifindex of the other end, in its own namespace */
	uint32_t flags, mtu, group;
	char name[NAME_MAX_LEN], kind[16], alias[ALIAS_MAX];
	uint8_t mac[6];
	uint8_t addrgen; /* IN6_ADDR_GEN_MODE_* */
	struct {
		bool learning, flood, mcast_flood, bcast_flood, suppress, isolated;
	} port; /* of a bridge's port */
	struct {
		uint32_t vni;
		uint16_t port;
		bool learning;
		struct overlay_ip local;
	} vx;
};

struct links {
	struct link *list;
	size_t n, cap;
};

/* -ENODEV: no such link (no message is formatted twice: test the code). */
int link_get(struct nl_conn *c, const char *name, struct link *ret, struct err *e);
/* All links of the namespace, without counters; the caller calls links_fini. -errno of the kernel. */
int links_dump(struct nl_conn *c, struct links *ret, struct err *e);
/* Any number of times. */
void links_fini(struct links *l);
/* NULL: none of that name. Borrowed from the list. */
const struct link *links_find(const struct links *l, const char *name);
/* NULL: none with that index. Borrowed from the list. */
const struct link *links_find_index(const struct links *l, int index);
/* The two ends of one veth pair, as far as can be seen from both sides. */
bool link_is_pair(const struct link *a, const struct link *b);
/* Administratively; its carrier is another matter. */
bool link_is_up(const struct link *l);

/* A request on an existing link, by index, or by name when index is 0. up: set it up as well. */
struct nl_msg *link_change(struct nl_batch *b, int index, const char *name, bool up);
/* Set an existing link down. */
void link_add_down(struct nl_batch *b, int index);
/* No link-local IPv6 address from its MAC. For a message of link_change. */
void link_put_addrgen_none(struct nl_msg *m);
void link_put_suppressing_port(struct nl_msg *m); /* learning and flooding off, suppression on */
void link_put_isolated_port(struct nl_msg *m);
/* With an address of its own: a bridge that takes the lowest one of its ports changes it when a port comes,
 * and the kernel then throws away all neighbours on it, permanent ones too. */
void link_add_bridge(struct nl_batch *b, const char *name, uint32_t mtu, const uint8_t mac[6]);

struct vxlan_spec {
	uint32_t vni, mtu;
	uint16_t port;
	struct overlay_ip local;
	int target_ns_fd, master_index;
};
/* Made here (its socket stays in this namespace), born down in the target namespace and enslaved there. */
void link_add_vxlan(struct nl_batch *b, const char *name, const struct vxlan_spec *spec);

struct veth_spec {
	const char *name, *peer_name;
	int master_index, peer_ns_fd;
	uint32_t mtu;
	const uint8_t *peer_mac; /* NULL: random */
};
/* Made up and enslaved; the peer is born inside its namespace, still down (a veth cannot go up before its
 * other half exists). */
void link_add_veth(struct nl_batch *b, const struct veth_spec *spec);
/* A missing link is fine. */
int link_delete(struct nl_conn *c, const char *name, struct err *e);
/* "02:42:0a:00:00:05"; returns ret_text. */
const char *link_mac_format(const unsigned char mac[6], char ret_text[18]);
