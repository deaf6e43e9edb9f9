// SPDX-License-Identifier: Apache-2.0
/* The happy path is: the batch goes to the gswarm-nft child over a socket pair, the answer comes back.
 * What can fail is: the child is not there (it ends after a minute without work, or died): it is started and
 * the batch sent once more; it cannot be started at all: the nft program is run instead; the batch is
 * refused: nft's text is the error. */
#include "overlay/kernel/nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"

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

static void helper_drop(struct nft *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	if (n->pid > 0) { /* its input is closed: it ends by itself, unless it hangs */
		kill(n->pid, SIGKILL);
		wait_child(n->pid);
	}
	n->pid = 0;
}

static int helper_start(struct nft *n)
{
	char *const argv[] = {n->helper, NULL};
	struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
	int pair[2], rc;

	if (!n->helper)
		return -ENOENT;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	rc = spawn_child(n->helper, argv, pair[1], pair[1], false, &n->pid);
	close(pair[1]);
	if (rc < 0) {
		close(pair[0]);
		n->pid = 0;
		return rc;
	}
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	n->fd = pair[0];
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
static int run_by_helper(struct nft *n, const char *netns, const char *batch, uint32_t *ret_status,
			 char **ret_text)
{

	for (int try = 0; try < 2; try++) {
		if (n->fd < 0 && helper_start(n) < 0)
			return -ENOENT;
		if (helper_talk(n->fd, netns, batch, ret_status, ret_text))
			return 0;
		helper_drop(n);
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
static int run_by_program(const char *netns, const char *batch, uint32_t *ret_status, char **ret_text,
			  struct err *e)
{
	char *const argv[] = {"nft", "-f", "-", NULL};
	cleanup_close int in = memfd_create("nft-in", MFD_CLOEXEC);
	cleanup_close int out = memfd_create("nft-out", MFD_CLOEXEC);
	cleanup_close int ns = netns ? open(netns, O_RDONLY | O_CLOEXEC) : -1;
	cleanup_close int back = netns ? open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC) : -1;
	size_t len = strlen(batch);
	pid_t pid;
	int rc;

	if (in < 0 || out < 0 || write(in, batch, len) != (ssize_t)len || lseek(in, 0, SEEK_SET) < 0)
		return err_errno(e, errno, "nft input");
	if (netns && ns < 0)
		return err_errno(e, errno, "open %s", netns);
	if (netns && (back < 0 || setns(ns, CLONE_NEWNET) != 0))
		return err_errno(e, errno, "enter %s", netns);
	rc = spawn_child("nft", argv, in, out, true, &pid);
	if (netns && setns(back, CLONE_NEWNET) != 0)
		abort(); /* the thread's next job would change the wrong host */
	if (rc < 0)
		return err_errno(e, -rc, "start nft (package nftables)");
	*ret_status = (uint32_t)wait_child(pid);
	*ret_text = read_memfd(out);
	return 0;
}

int nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e)
{
	char *text = NULL;
	uint32_t status = 0;
	int rc;

	bug_if(netns && *netns != '/');
	pthread_mutex_lock(&n->lock);
	rc = run_by_helper(n, netns, batch, &status, &text);
	if (rc < 0)
		rc = run_by_program(netns, batch, &status, &text, e);
	pthread_mutex_unlock(&n->lock);
	if (rc == 0 && status != 0)
		rc = err_set(e, E_INVALID, "nft%s%s: %.200s", netns ? " in " : "", netns ? netns : "",
			     *text ? text : "failed without a word");
	if (rc == 0 && ret_out)
		*ret_out = steal(text);
	free(text);
	return rc;
}

void nft_reap(struct nft *n)
{
	pthread_mutex_lock(&n->lock);
	if (n->pid > 0 && waitpid(n->pid, NULL, WNOHANG) != 0) {
		n->pid = 0;
		helper_drop(n);
	}
	pthread_mutex_unlock(&n->lock);
}

void nft_init(struct nft *n, const char *helper)
{
	n->helper = xstrdup(helper);
	n->fd = -1;
	pthread_mutex_init(&n->lock, NULL);
	/* Without it the generation is not known and rules are compared at every look. */
	if (nl_conn_open(&n->netfilter, NETLINK_NETFILTER, NULL) < 0)
		n->netfilter = (struct nl_conn){.fd = -1};
}

void nft_fini(struct nft *n)
{
	helper_drop(n);
	nl_conn_close(&n->netfilter);
	pthread_mutex_destroy(&n->lock);
	free(n->helper);
	n->helper = NULL;
}

static void on_gen(const struct nlmsghdr *h, void *arg)
{
	struct nlattr *id = nlmsg_find_attr((struct nlmsghdr *)h, sizeof(struct nfgenmsg), NFTA_GEN_ID);

	if (id)
		*(uint32_t *)arg = ntohl(nla_get_u32(id));
}

uint32_t nft_generation(struct nft *n)
{
	struct nfgenmsg nf = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	struct nl_batch b = {0};
	uint32_t gen = 0;

	if (!n->netfilter.sk)
		return 0;
	nl_batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &nf, sizeof(nf), 0);
	nlmsg_hdr(b.msg[0])->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	return nl_ask_one(&n->netfilter, b.msg[0], on_gen, &gen, NULL) < 0 ? 0 : gen;
}
