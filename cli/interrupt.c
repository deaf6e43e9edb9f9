// SPDX-License-Identifier: Apache-2.0
/* Ctrl-C while something is watched: the verb ends in order and says so by its exit code.
 *
 * The happy path is that nobody presses it. Nothing can fail. */
#include "cli/cli.h"

#include <signal.h>

static volatile sig_atomic_t pressed;

static void on_interrupt(int sig)
{
	pressed = 1;
}

void interrupt_catch(void)
{
	pressed = 0;
	signal(SIGINT, on_interrupt);
}

void interrupt_release(void)
{
	signal(SIGINT, SIG_DFL);
}

bool interrupted(void)
{
	return pressed != 0;
}
