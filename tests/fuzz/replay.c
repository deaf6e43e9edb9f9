// SPDX-License-Identifier: Apache-2.0
/* Feeds the files of a folder to a target, each whole and also cut short, so that the corpus is run by every
 * compiler. The happy path is: all files pass. An empty or missing folder fails. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX_BYTES (8u << 20)
#define CUTS 64u /* enough for each header; every cut of a large file would take long */

static void feed(const char *data, size_t len)
{
	for (size_t n = 0; n <= len; n += len > CUTS && n >= CUTS && n < len - 1 ? len - 1 - n : 1) {
		uint8_t *exact = xmemdup(data, n ? n : 1); /* a read too far is then outside of the block */

		LLVMFuzzerTestOneInput(exact, n);
		free(exact);
	}
}

static int feed_file(const char *dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name), *data = NULL;
	size_t len;
	struct err e;

	if (fs_read(path, FILE_MAX_BYTES, &data, &len, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return -1;
	}
	feed(data, len);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *entry;
	int n = 0, failed = 0;

	if (!d) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.') {
			failed |= feed_file(argv[1], entry->d_name);
			n++;
		}
	closedir(d);
	printf("%d files\n", n);
	return n == 0 || failed;
}
