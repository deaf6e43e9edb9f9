// SPDX-License-Identifier: Apache-2.0
/* Addresses as text, as bytes and as the socket calls want them. Nobody else parses or prints one (overlay/kernel,
 * which knows nothing of ours, aside). An address is 4 or 16 bytes in network order; text is numeric. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "proto/schema/objects.pb-c.h"

/* TCP. Where managers listen unless they say otherwise, and where workers talk to each other. */
#define MANAGER_PORT 2377
#define PEER_PORT 2378
/* UDP. Of the tasks' traffic, unless the swarm was made with another one. */
#define DATA_PATH_PORT 4789

/* What a data path's packets must hold at least: an overlay network's 1280, as every IPv6 link, and what VXLAN adds
 * over IPv4 and over IPv6. */
#define VTEP_MTU_MIN_V4 1330
#define VTEP_MTU_MIN_V6 1350

/* How many bytes the address has: 4, 16, or 0 when the text is none. */
size_t addr_bytes(const char *text, uint8_t ret[16]);
/* false when ip is no address; "" is any IPv4 address. */
bool addr_to_sockaddr(const char *ip, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len);
/* The address without the port; "" for another family. Returns buf. */
const char *addr_of_sockaddr(const struct sockaddr *sa, char *buf, size_t n);
/* "192.168.55.112:40000", "[fd00::1]:40000"; "?" for another family. Returns buf. */
const char *hostport_of_sockaddr(const struct sockaddr *sa, char *buf, size_t n);

int addr_parse(const char *text, ProtobufCBinaryData *ret_ip, struct err *e); /* "10.0.0.1" */
int addr_parse_cidr(const char *text, Gs__Addr **ret, struct err *e); /* "10.0.0.0/24", host bits must be 0 */
const char *addr_format(const ProtobufCBinaryData *ip, char *buf, size_t n); /* "" when empty */
const char *addr_format_cidr(const Gs__Addr *a, char *buf, size_t n);
/* Do the two subnets share an address? False for empty ones and for two families. */
bool addr_overlaps(const Gs__Addr *a, const Gs__Addr *b);
/* False for an empty one and for another family. */
bool addr_contains(const Gs__Addr *net, const ProtobufCBinaryData *ip);
/* May it be one host's among others? Not 0/8, loopback, multicast, 240/4 or broadcast, nor IPv4 written as IPv6. */
bool addr_is_host(const ProtobufCBinaryData *ip);
/* 02:67 + the last four bytes of the address (of its hash for IPv6). */
void addr_mac(const ProtobufCBinaryData *ip, uint8_t ret_mac[6]);
/* "02:67:0a:00:00:01"; returns buf. */
const char *mac_format(const uint8_t mac[6], char buf[18]);
/* "host:port" or "[v6]:port" or "host" (then default_port). host must be numeric. */
int hostport_parse(const char *text, uint16_t default_port, char *ret_host, size_t n, uint16_t *ret_port,
		   struct err *e);
