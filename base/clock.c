// SPDX-License-Identifier: Apache-2.0
/* clock_gettime cannot fail for these clocks on Linux. */
#include "base/clock.h"

#include <time.h>

static int64_t read_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t real_mono(void *arg)
{
	(void)arg;
	return read_ms(CLOCK_BOOTTIME);
}

static int64_t real_wall(void *arg)
{
	(void)arg;
	return read_ms(CLOCK_REALTIME);
}

const struct clock clock_real = {real_mono, real_wall, 0};

static int64_t virtual_mono(void *arg)
{
	return ((struct clock_virtual *)arg)->mono_ms;
}

static int64_t virtual_wall(void *arg)
{
	return ((struct clock_virtual *)arg)->wall_ms;
}

struct clock clock_virtual_of(struct clock_virtual *v)
{
	return (struct clock){virtual_mono, virtual_wall, v};
}

void clock_virtual_advance(struct clock_virtual *v, int64_t ms)
{
	v->mono_ms += ms;
	v->wall_ms += ms;
}
