// SPDX-License-Identifier: Apache-2.0
/* The run folder (/run/gswarm) under us: what was removed while we run is made again, so that a host on which
 * somebody wiped /run needs nobody. */
#pragma once
#include "worker/context/worker.h"

struct run_folder;
/* Looks every second from now on. */
struct run_folder *run_folder_new(struct worker *w);
void run_folder_free(struct run_folder *r); /* NULL is fine */
