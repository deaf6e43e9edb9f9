// SPDX-License-Identifier: Apache-2.0
/* Names of kernel objects, derived from ids so that a restarted process finds them again, and the marks
 * (link aliases) that tell ours from somebody else's object of the same name.
 *
 *   gsn-<net8>   namespace of a network; its `lo` carries "gswarm:net:<network id>"
 *   any name     a task's namespace;     its `lo` carries "gswarm:task:<owner>"
 *   p<h8>        a port of br0 in gsn-*; h8 = hash of the endpoint id
 *   ge<h8>       a port of gswarm0;      carries "gswarm:leg:<address>:<netns>:<id>" */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "overlay/kernel/links.h"
#include "overlay/overlay.h"

#define NAME_BRIDGE "br0"
#define NAME_VXLAN "vx0"
#define NAME_EGRESS_BRIDGE "gswarm0"
#define NAME_EGRESS_LEG "gw0"
#define ALIAS_TASK "gswarm:task" /* then ":<owner>" */
#define ALIAS_NET "gswarm:net:"
#define ALIAS_LEG "gswarm:leg:"
#define ALIAS_EGRESS "gswarm:egress:"
#define ALIAS_FORWARDING ALIAS_EGRESS "forwarding="

/* "gsn-" and the first eight characters of the id. */
void name_network_ns(const char *network_id, char ret_name[NAME_MAX_LEN]);
/* "p" and a hash: the network's end of a port. */
void name_port(const char *endpoint_id, char ret_name[NAME_MAX_LEN]);
/* "ge" and a hash: the host's end of an egress leg. */
void name_leg(const char *id, char ret_name[NAME_MAX_LEN]);
/* A namespace name that is one path component of harmless characters. */
bool name_is_valid_netns(const char *name);

struct leg_alias {
	struct overlay_ip ip; /* prefix 32 */
	char netns[128];
	char id[56];
};
/* The mark of a leg's host end. */
void leg_alias_format(const struct leg_alias *a, char ret_text[ALIAS_MAX]);
/* false, and *ret untouched: not a mark of ours. */
bool leg_alias_parse(const char *text, struct leg_alias *ret);
