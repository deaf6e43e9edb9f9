// SPDX-License-Identifier: Apache-2.0
/* Real kernel objects for tests: two hosts, each a network namespace with a folder of namespaces of its own,
 * joined by a bridge in a third one. Everything lives in a private mount namespace and under names beginning
 * with gso-, so that nothing outside is touched and nothing stays when the process ends.
 *
 *   h1 192.0.2.1 --- under0 --- h2 192.0.2.2        network A: 10.9.0.0/24, slot n has 10.9.0.n */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "overlay/internal.h"

#define NET_A "aaaaaaaa0000000000000000a"
#define NET_B "bbbbbbbb0000000000000000b"
#define VNI_A 0x100001

struct host {
	const char *name, *vtep;
	char dir[64];
	int fd;
	struct overlay *o;
};
extern struct host h1, h2;
extern struct err err;
extern const char *helper; /* path of gswarm-nft; NULL: none */

#define OK(call)                                                                                             \
	do {                                                                                                 \
		int rc_;                                                                                     \
		err_clear(&err);                                                                             \
		rc_ = (call);                                                                                \
		if (rc_ != 0 || err.code != 0)                                                               \
			fail_msg("%s: %d %s (%s)", #call, rc_, err.msg, err_name(rc_));                      \
	} while (0)

/* Exit status of a shell command, in the namespace the test is in. */
int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define SH(...) assert_int_equal(sh(__VA_ARGS__), 0)
/* The same in a namespace of a host, e.g. in_ns(&h1, "t1", "ip link"); silent. */
int in_ns(const struct host *h, const char *ns, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void enter(const struct host *h);
/* One nft batch in a namespace of a host. */
int nft_in(const struct host *h, const char *ns, const char *batch, struct err *e);
struct overlay_ip ip(const char *text);
/* A new process on this host, as far as the overlay can tell. */
void restart(struct host *h);

struct overlay_network network(const char *id, uint32_t vni);
/* Of network A: slot n has address 10.9.0.n and MAC ..:n. */
struct overlay_endpoint endpoint(int n, const char *vtep, uint64_t generation);
/* Owned by "o.<netns>", as all below. */
struct overlay_port port(int n, const char *netns);
const char *owner_of(const char *netns);
/* Network A and the endpoints of slot 11 on h1 and 12 on h2. */
void declare(struct host *h);
void endpoint_set(struct host *h, const struct overlay_endpoint *ep);
void attach(struct host *h, int n, const char *netns);
void egress(struct host *h, const char *netns);
/* A task with slot 11 on h1 and one with slot 12 on h2. */
void both_up(void);
/* An answer within 5 s: a link that was just made carries nothing until the kernel has noticed its carrier. */
bool pings(const struct host *h, const char *ns, const char *args);
/* No answer within 1 s. */
bool is_silent(const struct host *h, const char *ns, const char *args);
/* A pass over what is due. */
struct overlay_pass pass(struct host *h);
/* A pass that looks at everything; returns the repairs. */
unsigned look(struct host *h);

/* Whether a turn of the loop has events to read. */
bool has_events(struct host *h);
/* All that is there, in portions; whether any of it was about us. */
bool drain(struct host *h);

int rig_set_up(void **state);
int rig_tear_down(void **state);
int rig_clean(void **state); /* removes all, on both hosts */
#define T(f) cmocka_unit_test_teardown(f, rig_clean)
/* For main: skips when it is not root. */
#define RIG_MAIN(tests)                                                                                      \
	int main(int argc, char **argv)                                                                      \
	{                                                                                                    \
		helper = argc > 1 ? argv[1] : NULL;                                                          \
		return rig_may_run() ? cmocka_run_group_tests(tests, rig_set_up, rig_tear_down) : 77;        \
	}
bool rig_may_run(void);
