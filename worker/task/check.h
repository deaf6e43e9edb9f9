// SPDX-License-Identifier: Apache-2.0
/* What no host could run: judged once, where an assignment enters (from a manager or from our own disk), so that
 * nothing behind has to fear it. */
#pragma once
#include "base/err.h"
#include "proto/value/obj.h"

/* E_INVALID with the field's name when the row has no spec, an id or a name that could leave the folder it names, or
 * any text that is not UTF-8 (the container's config.json could not hold it). Such a task is rejected, and a folder
 * with such a row is damaged. Any thread. */
int task_row_check(const Gs__Task *row, struct err *e);
