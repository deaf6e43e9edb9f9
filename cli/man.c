// SPDX-License-Identifier: Apache-2.0
/* The pages that are made from the same tables as --help: gswarm.1 ('gswarm __man', the build installs
 * it) and the list of verbs and options in docs/cli.md ('gswarm __markdown').
 *
 * The happy path is printing; nothing can fail. */
#include "cli/help.h"

#include <string.h>

#include "base/bug.h"
#include "cli/nouns.h"

/* man(7) text: what roff would take for a request, an escape or a hyphen is none. */
static void put(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (const char *p = text; *p; p++) {
		if (*p == '-')
			fputs("\\-", out);
		else if (*p == '\\')
			fputs("\\e", out);
		else
			fputc(*p, out);
	}
}

static void put_line(FILE *out, const char *text)
{
	put(out, text);
	fputc('\n', out);
}

static void print_option(FILE *out, const struct opt *o)
{
	fputs(".TP\n", out);
	if (o->letter)
		fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
	fputs("\\fB\\-\\-", out);
	put(out, o->name);
	fputs("\\fR", out);
	if (o->type != OPT_FLAG) {
		fputs(" \\fI", out);
		put(out, opt_value_word(o));
		fputs("\\fR", out);
	}
	fputc('\n', out);
	put(out, o->help);
	if (o->choices) {
		fputs(" (", out);
		put(out, o->choices);
		fputc(')', out);
	}
	help_range(out, o);
	fputs(".\n", out);
}

static void print_verb(FILE *out, const struct noun *n, const struct verb *v)
{
	fputs(".SS \"gswarm ", out);
	if (*n->name)
		fprintf(out, "%s ", n->name);
	put(out, v->name);
	fputc(' ', out);
	put(out, v->usage);
	fputs("\"\n", out);
	put(out, v->summary);
	fputs(".\n", out);
	for (const struct opt *o = v->options; o->name; o++)
		print_option(out, o);
}

static void print_noun(FILE *out, const struct noun *n)
{
	fputs(".SH ", out);
	for (const char *p = *n->name ? n->name : "commands"; *p; p++)
		fputc(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p, out);
	fputc('\n', out);
	if (*n->name) {
		put(out, n->summary);
		fputs(".\n", out);
	}
	if (n == &swarm_noun) {
		put_line(out, "Its verbs are also commands without a noun, see there.");
		return;
	}
	for (size_t i = 0; i < n->n_verbs; i++)
		if (n->verbs[i].summary)
			print_verb(out, n, &n->verbs[i]);
}

void man_page(FILE *out)
{
	/* Left-adjusted: an option's value may be longer than half a line. */
	fprintf(out, ".TH GSWARM 1 \"\" \"gswarm %s\" \"User Commands\"\n.ad l\n", GSWARM_VERSION);
	fputs(".SH NAME\ngswarm \\- a swarm of hosts that runs Galera clusters and plain services\n"
	      ".SH SYNOPSIS\n\\fBgswarm\\fR [\\fB\\-\\-run\\-dir\\fR \\fIDIR\\fR] [\\fINOUN\\fR] "
	      "\\fIVERB\\fR "
	      "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n"
	      ".SH DESCRIPTION\nNode verbs (init, join, leave, system check, system info) go to the worker "
	      "of this host, all others to its manager; system dump asks both.\n"
	      "Verbs and options mean what they mean for Docker Swarm.\n",
	      out);
	for (size_t i = 0; nouns[i]; i++)
		print_noun(out, nouns[i]);
	fputs(".SH ENVIRONMENT\n.TP\nGSWARM_RUN_DIR\nFolder of the daemons' sockets, as with "
	      "\\fB\\-\\-run\\-dir\\fR.\n"
	      ".SH EXIT STATUS\n0: done. 1: it failed, or a check did; one line says what, where and what to "
	      "do. "
	      "2: the words on the command line were wrong. 130: it was interrupted (Ctrl\\-C).\n"
	      ".SH FILES\n.TP\n/run/gswarm/worker.sock, /run/gswarm/manager.sock\nFor root and members of "
	      "the "
	      "group gswarm, who are as powerful as root.\n"
	      ".SH SEE ALSO\n.BR gswarm\\-worker (8),\n.BR gswarm\\-manager (8)\n",
	      out);
}

/* ---- docs/cli.md's list: a lint compares the page with it ---- */

/* A bar would end the cell. */
static void markdown_cell(FILE *out, const char *text)
{
	for (; *text; text++)
		fprintf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void markdown_option(FILE *out, const struct opt *o)
{
	fprintf(out, "| ");
	if (o->letter)
		fprintf(out, "`-%c`, ", o->letter);
	fprintf(out, "`--%s", o->name);
	if (o->type != OPT_FLAG)
		fprintf(out, " %s", opt_value_word(o));
	fprintf(out, "` | ");
	markdown_cell(out, o->help);
	if (o->choices) {
		fprintf(out, " (");
		markdown_cell(out, o->choices);
		fprintf(out, ")");
	}
	help_range(out, o);
	fprintf(out, " |\n");
}

static void markdown_verb(FILE *out, const struct noun *n, const struct verb *v)
{
	bug_if(!v->summary || !v->usage);
	fprintf(out, "\n### gswarm %s%s%s\n`gswarm %s%s%s%s%s`: %s.\n", n->name, *n->name ? " " : "", v->name,
		n->name, *n->name ? " " : "", v->name, *v->usage ? " " : "", v->usage, v->summary);
	if (!v->options[0].name)
		return;
	fprintf(out, "\n| option | what it does |\n|---|---|\n");
	for (const struct opt *o = v->options; o->name; o++)
		markdown_option(out, o);
}

void markdown_page(FILE *out)
{
	for (size_t i = 0; nouns[i]; i++) {
		if (nouns[i] == &swarm_noun) /* its verbs stand without it, too */
			continue;
		for (size_t k = 0; k < nouns[i]->n_verbs; k++)
			markdown_verb(out, nouns[i], &nouns[i]->verbs[k]);
	}
}
