// SPDX-License-Identifier: Apache-2.0
/* The AppArmor profile of every task, on hosts that have AppArmor. */
#pragma once
#include "base/err.h"

/* Makes sure that the kernel has the profile. *ret is its name (static), or NULL on a host without AppArmor or
 * without its parser (package apparmor); then 0 all the same. Blocks for some 100 ms when it has to be loaded: at
 * the start. e: the parser's failure. */
int apparmor_load(const char **ret, struct err *e);
