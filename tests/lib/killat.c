// SPDX-License-Identifier: Apache-2.0
/* Preloaded into a daemon: the process kills itself right after the n-th change of the file system that follows the
 * first touch of a given file. With n = 1, 2, ... until nothing is left to kill, a test has cut off a change at each
 * of its steps.
 *
 *   KILLAT_BEGIN=/worker/init.tmp   counting begins when a file whose path ends so is opened
 *   KILLAT_N=3                      rename, unlink and mkdir that succeed are counted */
#undef _FILE_OFFSET_BITS /* or open would be named open64 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int counted = -1; /* not begun */

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = end ? strlen(end) : 0;

	return m > 0 && n >= m && strcmp(text + n - m, end) == 0;
}

static int step(int rc)
{
	const char *at = getenv("KILLAT_N");

	if (rc == 0 && counted >= 0 && ++counted == (at ? atoi(at) : 0))
		kill(getpid(), SIGKILL);
	return rc;
}

static void *next(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

static int open_as(const char *name, const char *path, int flags, mode_t mode)
{
	int (*real)(const char *, int, ...) = next(name);

	if (counted < 0 && ends_with(path, getenv("KILLAT_BEGIN")))
		counted = 0;
	return real(path, flags, mode);
}

#define OPEN(name)                                                                                           \
	int name(const char *path, int flags, ...)                                                           \
	{                                                                                                    \
		mode_t mode = 0;                                                                             \
		va_list ap;                                                                                  \
                                                                                                             \
		va_start(ap, flags);                                                                         \
		if (flags & O_CREAT)                                                                         \
			mode = va_arg(ap, mode_t);                                                           \
		va_end(ap);                                                                                  \
		return open_as(#name, path, flags, mode);                                                    \
	}
OPEN(open)
OPEN(open64)

int rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *) = next("rename");

	return step(real(from, to));
}

int unlink(const char *path)
{
	int (*real)(const char *) = next("unlink");

	return step(real(path));
}

int mkdir(const char *path, mode_t mode)
{
	int (*real)(const char *, mode_t) = next("mkdir");

	return step(real(path, mode));
}
