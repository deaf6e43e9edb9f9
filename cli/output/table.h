// SPDX-License-Identifier: Apache-2.0
/* Tables as Docker's users know them. */
#pragma once
#include <stdio.h>

struct table;
/* Column titles; NULL ends them. */
struct table *table_new(const char *const *headers);
/* A row; one text for each header, copied. */
void table_row(struct table *t, const char *const *cells);
/* Print it and free it; out NULL: only free it. */
void table_print(struct table *t, FILE *out);
