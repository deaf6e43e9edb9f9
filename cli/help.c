// SPDX-License-Identifier: Apache-2.0
/* --help of gswarm, of a noun and of a verb, from the tables.
 *
 * The happy path is printing; nothing can fail. */
#include "cli/help.h"

#include <string.h>

#include "base/bug.h"
#include "cli/nouns.h"

void help_range(FILE *out, const struct opt *o)
{
	if (o->least || o->most)
		fprintf(out, " (%s%s%s%s%s)", o->least ? "least " : "", o->least ? o->least : "",
			o->least && o->most ? ", " : "", o->most ? "most " : "", o->most ? o->most : "");
}

static int left_width(const struct opt *o)
{
	return (int)(strlen(o->name) + (o->type == OPT_FLAG ? 0 : strlen(opt_value_word(o)) + 1));
}

static void print_option(FILE *out, const struct opt *o, int width)
{
	if (o->letter)
		fprintf(out, "  -%c, ", o->letter);
	else
		fprintf(out, "      ");
	int n = fprintf(out, "--%s%s%s", o->name, o->type == OPT_FLAG ? "" : " ",
			o->type == OPT_FLAG ? "" : opt_value_word(o));
	fprintf(out, "%*s   %s", width + 2 - n, "", o->help);
	if (o->choices)
		fprintf(out, " (%s)", o->choices);
	help_range(out, o);
	fprintf(out, "\n");
}

static void print_verbs(FILE *out, const struct noun *n)
{
	int width = 0;

	for (size_t i = 0; i < n->n_verbs; i++)
		width = (int)strlen(n->verbs[i].name) > width ? (int)strlen(n->verbs[i].name) : width;
	for (size_t i = 0; i < n->n_verbs; i++)
		if (n->verbs[i].summary)
			fprintf(out, "  %-*s   %s\n", width, n->verbs[i].name, n->verbs[i].summary);
}

void help_verb(FILE *out, const struct noun *noun, const struct verb *v)
{
	int width = 6;

	bug_if(!v->usage || !v->options);
	fprintf(out, "Usage:  gswarm %s%s%s %s\n\n%s\n", noun->name, *noun->name ? " " : "", v->name,
		v->usage, v->summary ? v->summary : "");
	for (const struct opt *o = v->options; o->name; o++)
		width = left_width(o) > width ? left_width(o) : width;
	if (v->options[0].name)
		fprintf(out, "\nOptions:\n");
	for (const struct opt *o = v->options; o->name; o++)
		print_option(out, o, width);
}

void help_noun(FILE *out, const struct noun *noun)
{
	fprintf(out, "Usage:  gswarm %s COMMAND\n\n%s\n\nCommands:\n", noun->name, noun->summary);
	print_verbs(out, noun);
	fprintf(out, "\nRun 'gswarm %s COMMAND --help' for more about a command.\n", noun->name);
}

void help_root(FILE *out)
{
	fprintf(out,
		"Usage:  gswarm [--run-dir DIR] COMMAND\n\n"
		"A swarm of hosts that runs Galera clusters and plain services\n\nManagement commands:\n");
	for (size_t i = 1; nouns[i]; i++)
		fprintf(out, "  %-10s   %s\n", nouns[i]->name, nouns[i]->summary);
	fprintf(out, "\nCommands:\n");
	print_verbs(out, nouns[0]);
	fprintf(out, "\nGlobal options:\n"
		     "      --run-dir DIR   Folder of the daemons' sockets (default /run/gswarm, or "
		     "$GSWARM_RUN_DIR)\n"
		     "  -v, --version       Print the version\n\n"
		     "Run 'gswarm COMMAND --help' or 'gswarm help COMMAND' for more about a command.\n");
}
