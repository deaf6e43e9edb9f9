// SPDX-License-Identifier: Apache-2.0
/* The seccomp profile of every task: a list of allowed calls, see syscalls.c. */
#pragma once
#include <jansson.h>

#include "base/err.h"

/* linux.seccomp of config.json; the caller's reference. */
json_t *syscalls_format(void);
/* The same, compiled for this host: base64 of the BPF program, heap; NULL and e. Some milliseconds of CPU:
 * once, at the start. */
char *syscalls_compile(struct err *e);
