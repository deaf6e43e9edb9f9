// SPDX-License-Identifier: Apache-2.0
/* Tables as Docker's users know them: headers in capitals, three blanks between columns, nothing cut to the
 * width of the terminal.
 *
 * The happy path is rows in, text out; what can fail is memory alone, and that aborts. */
#include "cli/output/table.h"

#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>

#include "base/bug.h"
struct table {
	struct libscols_table *cols;
	size_t n;
};

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

struct table *table_new(const char *const *headers)
{
	struct table *t = need(calloc(1, sizeof(*t)));

	bug_if(!headers[0]);
	t->cols = need(scols_new_table());
	scols_table_set_termforce(t->cols, SCOLS_TERMFORCE_NEVER);
	scols_table_set_column_separator(t->cols, "   ");
	for (; headers[t->n]; t->n++)
		need(scols_table_new_column(t->cols, headers[t->n], 0, 0));
	return t;
}

void table_row(struct table *t, const char *const *cells)
{
	struct libscols_line *line = need(scols_table_new_line(t->cols, NULL));

	bug_if(!t->cols);
	for (size_t i = 0; i < t->n; i++)
		if (scols_line_set_data(line, i, cells[i] ? cells[i] : "") < 0)
			abort();
}

void table_print(struct table *t, FILE *out)
{
	if (out)
		scols_table_set_stream(t->cols, out);
	if (out && scols_table_is_empty(t->cols)) {
		/* libsmartcols prints nothing then; an empty list still has its headers. */
		for (size_t i = 0; i < t->n; i++) {
			struct libscols_column *c = scols_table_get_column(t->cols, i);

			fprintf(out, "%s%s", scols_cell_get_data(scols_column_get_header(c)),
				i + 1 < t->n ? "   " : "\n");
		}
	} else if (out) {
		scols_print_table(t->cols);
	}
	scols_unref_table(t->cols);
	free(t);
}
