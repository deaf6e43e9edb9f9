// SPDX-License-Identifier: Apache-2.0
/* The seccomp profile of every task: a list of refused calls, see seccomp.c. */
#pragma once
#include <jansson.h>

json_t *seccomp_format(void); /* linux.seccomp of config.json */
