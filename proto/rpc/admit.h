// SPDX-License-Identifier: Apache-2.0
/* How many strangers a server lets in, and how fast. A stranger is a TCP connection that has not proved a
 * certificate and said Hello yet; it costs a descriptor, some memory and, when it speaks TLS, about a
 * millisecond of the loop.
 *
 * Four bounds, from the outside in: a rate for all together (what is over it waits in the kernel's queue), a rate
 * and a share for each source address, and a share for each IPv6 /48 (what is over them is closed). A flood from
 * one place therefore costs the others nothing, and a thousand workers that come at once after a failover are let
 * in as fast as they can be served instead of driving each other out.
 *
 * No I/O and no clock in here: `now` is in milliseconds and never goes back. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define STRANGERS_MAX 512u  /* at a time */
#define SOURCE_SHARE 32u    /* of them from one address (IPv6: one /64) */
#define SITE_SHARE 256u     /* of them from one IPv6 /48, which one customer has: 65,536 sources */
#define SOURCE_RATE 50u     /* new ones a second from one address, */
#define SOURCE_BURST 128u   /* after this many at once */
#define HANDSHAKE_RATE 500u /* the same for all: half of the loop's time at most */
#define HANDSHAKE_BURST 1000u
#define SOURCES_MAX 4096u /* addresses remembered; one nobody uses makes room */

struct rate {
	uint64_t at;   /* when `left` was true */
	uint32_t left; /* in 1/1000 */
};

struct source;
struct site;
/* Zeroed is empty. */
struct admission {
	struct source *sources;
	struct site *sites; /* of the strangers that are here */
	unsigned n_sources, n_strangers;
	struct rate all;
};

enum verdict { ADMIT, ADMIT_FOR_OLDEST /* of the same source, which must go */, ADMIT_NOT };

/* Before anything is known of the next one: milliseconds until it may be looked at; 0: at once. */
uint64_t admit_wait(struct admission *a, uint64_t now);
/* One came from there. *ret counts it until admit_leave; NULL when it is not admitted. */
enum verdict admit_enter(struct admission *a, const struct sockaddr *from, uint64_t now, struct source **ret);
/* It has gone, or is no stranger any more. */
void admit_leave(struct admission *a, struct source *s);
/* The source with most strangers, if any has more than one; when all places are taken, it gives one up. */
struct source *admit_crowd(const struct admission *a);
static inline bool admit_is_full(const struct admission *a)
{
	return a->n_strangers >= STRANGERS_MAX;
}
/* Nobody may be counted any more: that is a bug. */
void admit_fini(struct admission *a);
