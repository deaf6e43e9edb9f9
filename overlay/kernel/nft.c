// SPDX-License-Identifier: Apache-2.0
/* The happy path is: the batch goes to the gswarm-nft child over a socket pair, the answer comes back.
 * What can fail is: the child is not there (it ends after a minute without work, or died): it is started and
 * the batch sent once more; it cannot be started at all: the nft program is run instead; the batch is
 * refused: nft's text is the error. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "overlay/internal.h"

#define ANSWER_MAX (16u << 20)
#define ANSWER_TIMEOUT_S 15

extern char **environ;

/* ---- child processes ---- */

/* in and out become the child's 0 and 1 (2 as well, when err_too). The pool's threads block signals; a child
 * must not inherit that. */
static int spawn_child(const char *path, char *const argv[], int in, int out, bool err_too, pid_t *ret_pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, pipe_only;
	int rc;

	sigemptyset(&none);
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (err_too)
		posix_spawn_file_actions_adddup2(&fa, out, 2);
	posix_spawn_file_actions_addclosefrom_np(&fa, 3);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &pipe_only);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawnp(ret_pid, path, &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return -rc;
}

static int wait_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void helper_drop(struct nft_child *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (s->pid > 0) { /* its input is closed: it ends by itself, unless it hangs */
		kill(s->pid, SIGKILL);
		wait_child(s->pid);
	}
	s->pid = 0;
}

static int helper_start(struct overlay *o)
{
	char *const argv[] = {o->nft_helper, NULL};
	struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	struct nft_child *s = &o->nft;
	int pair[2], rc;

	if (!o->nft_helper)
		return -ENOENT;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	rc = spawn_child(o->nft_helper, argv, pair[1], pair[1], false, &s->pid);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		s->pid = 0;
		return rc;
	}
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	s->fd = pair[0];
	return 0;
}

static bool send_full(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool recv_full(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* false: the child is gone or talks nonsense. */
static bool helper_talk(int fd, const char *netns, const char *batch, uint32_t *ret_status, char **ret_text)
{
	size_t ns_len = netns ? strlen(netns) : 0, batch_len = strlen(batch);
	uint32_t head[2] = {htonl((uint32_t)ns_len), htonl((uint32_t)batch_len)};
	char *text;
	uint32_t len;

	if (!send_full(fd, head, sizeof(head)) || !send_full(fd, netns, ns_len) ||
	    !send_full(fd, batch, batch_len) || !recv_full(fd, head, sizeof(head)))
		return false;
	len = ntohl(head[1]);
	if (len > ANSWER_MAX)
		return false;
	text = xmalloc(len + 1);
	if (!recv_full(fd, text, len)) {
		free(text);
		return false;
	}
	text[len] = 0;
	*ret_status = ntohl(head[0]);
	*ret_text = text;
	return true;
}

/* 0 and status + text; negative: there is no child to be had. */
static int run_by_helper(struct overlay *o, const char *netns, const char *batch, uint32_t *ret_status,
			 char **ret_text)
{
	struct nft_child *s = &o->nft;

	for (int try = 0; try < 2; try++) {
		if (s->fd < 0 && helper_start(o) < 0)
			return -ENOENT;
		if (helper_talk(s->fd, netns, batch, ret_status, ret_text))
			return 0;
		helper_drop(s);
	}
	return -EPIPE;
}

static char *read_memfd(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = xcalloc(1, (size_t)(len > 0 ? len : 0) + 1);

	if (len > 0 && pread(fd, text, (size_t)len, 0) != len)
		text[0] = 0;
	return text;
}

/* The nft program with the batch on its stdin; the child inherits the namespace the thread is in. */
static int run_by_program(struct overlay *o, const char *netns, const char *batch, uint32_t *ret_status,
			  char **ret_text, struct err *e)
{
	char *const argv[] = {"nft", "-f", "-", NULL};
	cleanup_close int in = memfd_create("nft-in", MFD_CLOEXEC);
	cleanup_close int out = memfd_create("nft-out", MFD_CLOEXEC);
	cleanup_close int ns = netns ? open(netns, O_RDONLY | O_CLOEXEC) : -1;
	size_t len = strlen(batch);
	pid_t pid;
	int rc;

	if (in < 0 || out < 0 || write(in, batch, len) != (ssize_t)len || lseek(in, 0, SEEK_SET) < 0)
		return err_errno(e, errno, "nft input");
	if (netns && ns < 0)
		return err_errno(e, errno, "open %s", netns);
	rc = netns ? ns_enter(ns, e) : 0;
	if (rc < 0)
		return rc;
	rc = spawn_child("nft", argv, in, out, true, &pid);
	if (netns)
		ns_leave(o);
	if (rc < 0)
		return err_errno(e, -rc, "start nft (package nftables)");
	*ret_status = (uint32_t)wait_child(pid);
	*ret_text = read_memfd(out);
	return 0;
}

int nft_run(struct overlay *o, const char *netns, const char *batch, char **ret_out, struct err *e)
{
	char path[512];
	char *text = NULL;
	uint32_t status = 0;
	int rc;

	if (netns && *netns != '/') {
		ns_path(o, netns, path);
		netns = path;
	}
	pthread_mutex_lock(&o->nft.lock);
	rc = run_by_helper(o, netns, batch, &status, &text);
	if (rc < 0)
		rc = run_by_program(o, netns, batch, &status, &text, e);
	pthread_mutex_unlock(&o->nft.lock);
	if (rc == 0 && status != 0)
		rc = err_set(e, E_INVALID, "nft%s%s: %.200s", netns ? " in " : "", netns ? netns : "",
			     *text ? text : "failed without a word");
	if (rc == 0 && ret_out)
		*ret_out = steal(text);
	free(text);
	return rc;
}

void nft_reap(struct overlay *o)
{
	struct nft_child *s = &o->nft;

	pthread_mutex_lock(&s->lock);
	if (s->pid > 0 && waitpid(s->pid, NULL, WNOHANG) != 0) {
		s->pid = 0;
		helper_drop(s);
	}
	pthread_mutex_unlock(&s->lock);
}

void nft_init(struct overlay *o)
{
	o->nft.fd = -1;
	pthread_mutex_init(&o->nft.lock, NULL);
	/* Without it the generation is not known and rules are compared at every look. */
	if (nl_conn_open(&o->netfilter, NETLINK_NETFILTER, NULL) < 0)
		o->netfilter = (struct nl_conn){.fd = -1};
}

void nft_fini(struct overlay *o)
{
	helper_drop(&o->nft);
	nl_conn_close(&o->netfilter);
	pthread_mutex_destroy(&o->nft.lock);
}

static void on_gen(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *id = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct nfgenmsg), NFTA_GEN_ID);

	if (id)
		*(uint32_t *)arg = ntohl(nla_get_u32(id));
}

uint32_t nft_generation(struct overlay *o)
{
	struct nfgenmsg nf = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	struct nl_batch b = {0};
	uint32_t gen = 0;

	if (!o->netfilter.sk)
		return 0;
	nl_batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &nf, sizeof(nf), 0);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	return nl_ask_one(&o->netfilter, b.msg[0], on_gen, &gen, NULL) < 0 ? 0 : gen;
}
