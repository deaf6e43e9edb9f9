// SPDX-License-Identifier: Apache-2.0
/* Which address of this host others use, and whether our ports are free. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/value/obj.h"

/* text: "", "ip", "ip:port", or an interface's name. Must be an address of this host; when it is empty and
 * the host has more than one, E_INVALID with the list. */
int advertise_pick(const char *text, uint16_t default_port, char *ret_ip, size_t n, uint16_t *ret_port,
		   struct err *e);
/* The same where nobody listens on a port of ours: "ip" or an interface's name; n: 64 or more. */
int advertise_pick_host(const char *text, char *ret_ip, size_t n, struct err *e);
/* E_INVALID, with the interface: a network of this host has addresses of this subnet. */
int advertise_check_apart(const Gs__Addr *subnet, struct err *e);
/* Does an interface of this host that is up have this address? */
bool advertise_is_local(const char *ip);
/* The local address that packets to this peer would carry. */
int advertise_towards(const char *peer_ip, char *ret_ip, size_t n, struct err *e);
/* E_IN_USE with the name of the process that has it, when that can be found out. ip may be "" (any). */
int port_check(const char *ip, uint16_t port, bool udp, struct err *e);
