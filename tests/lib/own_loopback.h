// SPDX-License-Identifier: Apache-2.0
/* Fixed ports without a clash: a test's own network namespace, with nothing but lo. */
#pragma once
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* First thing in main, before any thread. Who is not root stays on the host's. */
static inline void own_loopback(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		abort();
	close(fd);
}
