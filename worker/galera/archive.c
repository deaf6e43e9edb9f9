// SPDX-License-Identifier: Apache-2.0
/* The happy path: gswarm-archive is started, its output pipe reaches its end, it is reaped with status 0; a
 * packed file is hashed, synced and renamed to its hash. What can fail: the program tells why on its pipe
 * (a full disk, a bad archive), it is missing, is killed, or is not done in time (then we kill it); a half
 * archive is removed, a half unpacked folder is the caller's, who has marked it. */
#include "worker/galera/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define CHUNK (256u << 10)

bool sha256_is_valid(const char *text)
{
	return strlen(text) == SHA256_TEXT - 1 && strspn(text, "0123456789abcdef") == SHA256_TEXT - 1;
}

int sha256_file(const char *path, char ret[SHA256_TEXT], uint64_t *ret_size, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_free uint8_t *chunk = xmalloc(CHUNK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	uint64_t size = 0;
	ssize_t n = -1;

	if (fd >= 0 && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL))
		while ((n = read(fd, chunk, CHUNK)) > 0) {
			EVP_DigestUpdate(md, chunk, n);
			size += n;
		}
	if (n == 0)
		EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	if (n)
		return err_errno(e, errno, "read %s", path);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	*ret_size = size;
	return 0;
}

/* ---- the program ---- */

/* Its stdout is our pipe, stdin and stderr are nobody's; no variable of ours, no signal setting. */
static int program_start(const char *const *argv, int out, pid_t *ret, struct err *e)
{
	static char *const env[] = {NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	bug_if(!argv[0] || out < 0);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn(ret, argv[0], &files, &attr, (char *const *)argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return r ? err_errno(e, r, "start %s", argv[0]) : 0;
}

/* What it says until its end; false when that has not come by the deadline. */
static bool program_read(int fd, char *text, size_t size)
{
	int64_t end = clock_mono_ms(&clock_real) + ARCHIVE_DEADLINE_MS;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t used = 0;

	for (;;) {
		char rest[256];
		int64_t left = end - clock_mono_ms(&clock_real);
		ssize_t n;

		if (left <= 0)
			return false;
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = read(fd, rest, sizeof(rest));
		if (n <= 0)
			break;
		if ((size_t)n > size - 1 - used)
			n = (ssize_t)(size - 1 - used);
		memcpy(text + used, rest, (size_t)n);
		used += (size_t)n;
	}
	text[used] = '\0';
	return true;
}

/* "CODE MESSAGE" as it was told, else how it ended. */
static int program_failed(const char *text, int status, struct err *e)
{
	int code = 0, at = 0;

	if (sscanf(text, "%d %n", &code, &at) == 1 && at && code < 0)
		return err_set(e, code, "%.*s", (int)strcspn(text + at, "\n"), text + at);
	if (WIFSIGNALED(status))
		return err_set(e, E_UNAVAILABLE, "gswarm-archive ended by signal %d", WTERMSIG(status));
	return err_set(e, E_UNAVAILABLE, "gswarm-archive ended with status %d", WEXITSTATUS(status));
}

static int program_run(const char *const *argv, struct err *e)
{
	cleanup_close int in = -1;
	char text[sizeof(e->msg) + 16] = "";
	int pipes[2], status = 0, r;
	bool ended;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return err_errno(e, errno, "pipe");
	in = pipes[0];
	r = program_start(argv, pipes[1], &pid, e);
	close(pipes[1]);
	if (r)
		return r;
	ended = program_read(in, text, sizeof(text));
	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		return err_set(e, E_DEADLINE, "gswarm-archive was not done after %d s",
			       ARCHIVE_DEADLINE_MS / 1000);
	return status ? program_failed(text, status, e) : 0;
}

int archive_pack(const char *program, const char *dir, const char *blob_dir, char ret_sha256[SHA256_TEXT],
		 uint64_t *ret_size, struct err *e)
{
	char suffix[ID_LEN + 1];
	cleanup_free char *tmp = NULL, *final = NULL;
	int r = fs_mkdir(blob_dir, 0700, e);

	bug_if(!*dir || !*blob_dir);
	if (r)
		return r;
	id_new(suffix);
	tmp = xasprintf("%s/.pack-%s", blob_dir, suffix);
	const char *argv[] = {program, "pack", dir, tmp, NULL};
	r = program_run(argv, e);
	if (!r)
		r = sha256_file(tmp, ret_sha256, ret_size, e);
	if (!r) {
		cleanup_close int fd = open(tmp, O_RDONLY | O_CLOEXEC);

		final = xasprintf("%s/%s", blob_dir, ret_sha256);
		if (fd < 0 || fchmod(fd, 0600) < 0 || fsync(fd) < 0 || rename(tmp, final) < 0)
			r = err_errno(e, errno, "keep %s", final);
	}
	if (r)
		unlink(tmp);
	return r ? r : fs_sync_dir(blob_dir, e);
}

int archive_unpack(const char *program, const char *path, const char *dir, uid_t uid, gid_t gid,
		   struct err *e)
{
	char user[16], group[16];
	const char *argv[] = {program, "unpack", path, dir, user, group, NULL};

	bug_if(!*dir || !*path);
	snprintf(user, sizeof(user), "%u", (unsigned)uid);
	snprintf(group, sizeof(group), "%u", (unsigned)gid);
	return program_run(argv, e) ? err_wrap(e, "unpack genesis") : 0;
}
