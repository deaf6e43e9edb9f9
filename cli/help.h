// SPDX-License-Identifier: Apache-2.0
/* --help and gswarm.1, from the option tables. */
#pragma once
#include <stdio.h>

#include "cli/opt.h"

/* Usage, summary and options of a verb. */
void help_verb(FILE *out, const struct noun *noun, const struct verb *v);
/* " (least 100ms, most 24h)" of an option that has such bounds. */
void help_range(FILE *out, const struct opt *o);
/* A noun and its verbs. */
void help_noun(FILE *out, const struct noun *noun);
/* All nouns, and the verbs that stand without one. */
void help_root(FILE *out);
/* gswarm.1 in roff: all of it. */
void man_page(FILE *out);
/* docs/cli.md's part that lists every verb and option, in Markdown. */
void markdown_page(FILE *out);
