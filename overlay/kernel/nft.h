// SPDX-License-Identifier: Apache-2.0
/* Rule sets, through nft's own library in a child process (gswarm-nft), or its program where that is missing. */
#pragma once
#include <pthread.h>
#include <sys/types.h>

#include "overlay/kernel/nl.h"

struct nft {
	pthread_mutex_t lock; /* of the child */
	char *helper;         /* path of gswarm-nft; NULL: the nft program is run */
	int fd;               /* -1: no child runs */
	pid_t pid;
	struct nl_conn netfilter; /* of the namespace it was made in */
};

/* In the host's namespace. helper is copied, and may be NULL. */
void nft_init(struct nft *n, const char *helper);
/* Ends the child. */
void nft_fini(struct nft *n);
/* A child that ended by itself leaves a zombie until somebody asks. */
void nft_reap(struct nft *n);
/* Apply one atomic batch in the namespace that is mounted at this path (NULL: the calling thread's, the host's), and
 * give back its output (ret_out may be NULL; caller frees). It may be sent twice when the helper dies under it, so it
 * must bear repetition. E_INVALID: refused, with nft's own words. Any thread. */
int nft_run(struct nft *n, const char *netns, const char *batch, char **ret_out, struct err *e);
/* nft's generation in the host's namespace; 0: not known. It moves with every change, whoever makes it. Not beside
 * itself. */
uint32_t nft_generation(struct nft *n);
