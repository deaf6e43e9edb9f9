// SPDX-License-Identifier: GPL-2.0-only
/* gswarm-nft: libnftables kept loaded, so that a transaction costs a fraction of a millisecond and not the
 * start of a program. A separate executable because libnftables is GPL-2.0-only; it shares no code with the
 * rest.
 *
 *   request  u32 n, u32 m (big endian), n bytes path of a network namespace (none: its own), m bytes batch
 *   answer   u32 status (0: done), u32 length, text (output, or nft's complaint)
 *
 * stdin is one end of a socket pair and carries both directions. The happy path is: read, enter the
 * namespace, run, come back, answer. What can fail is: the namespace is gone or the batch refused (both are
 * answers); a malformed request, the end of input or a minute without work end the program. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_LIMIT 4096
#define BATCH_LIMIT (16u << 20)
#define IDLE_MS 60000

static bool read_full(void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(0, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool write_full(const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(0, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool answer(uint32_t status, const char *text)
{
	size_t len = strlen(text);
	uint32_t head[2] = {htonl(status), htonl((uint32_t)len)};

	return write_full(head, sizeof(head)) && write_full(text, len);
}

/* The context's socket belongs to the namespace it is made in, so each request gets its own. */
static bool run(const char *batch)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	const char *out, *error;
	bool ok;
	int rc;

	if (!ctx)
		return answer(1, "no netfilter context");
	nft_ctx_buffer_output(ctx);
	nft_ctx_buffer_error(ctx);
	rc = nft_run_cmd_from_buffer(ctx, batch);
	out = nft_ctx_get_output_buffer(ctx);
	error = nft_ctx_get_error_buffer(ctx);
	ok = answer(rc == 0 ? 0 : 1, rc == 0 ? (out ? out : "") : (error ? error : ""));
	nft_ctx_free(ctx);
	return ok;
}

static bool run_inside(int home, const char *path, const char *batch)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[PATH_LIMIT + 64];
	bool ok;

	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
		snprintf(text, sizeof(text), "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return answer(1, text);
	}
	close(fd);
	ok = run(batch);
	if (setns(home, CLONE_NEWNET) != 0)
		abort();
	return ok;
}

static bool serve_one(int home)
{
	char path[PATH_LIMIT + 1];
	uint32_t head[2], path_len, batch_len;
	char *batch;
	bool ok;

	if (!read_full(head, sizeof(head)))
		return false;
	path_len = ntohl(head[0]);
	batch_len = ntohl(head[1]);
	if (path_len > PATH_LIMIT || batch_len > BATCH_LIMIT || !read_full(path, path_len))
		return false;
	path[path_len] = 0;
	batch = malloc(batch_len + 1);
	if (!batch)
		return false;
	ok = read_full(batch, batch_len);
	batch[batch_len] = 0;
	if (ok)
		ok = path_len ? run_inside(home, path, batch) : run(batch);
	free(batch);
	return ok;
}

int main(int argc, char **argv)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (argc > 1) {
		fprintf(stderr, "%s is started by gswarm-worker and takes no arguments\n", argv[0]);
		return 2;
	}
	if (home < 0)
		return 1;
	while (poll(&in, 1, IDLE_MS) > 0)
		if (!serve_one(home))
			break;
	return 0;
}
