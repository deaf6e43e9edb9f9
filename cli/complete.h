// SPDX-License-Identifier: Apache-2.0
/* Completion: the shell hands over the words so far, the tables answer. */
#pragma once
#include <stdio.h>

#include "cli/opt.h"

/* Words that may follow those in `words` (the last one is what the user has typed so far), one a line. */
void complete_words(FILE *out, const char *run_dir, int n, char *const *words);
/* The verb `completion bash`: prints the script that asks us. */
int completion_run(struct cmd *c, struct err *e);
