// SPDX-License-Identifier: Apache-2.0
/* Who is at the other end of a unix socket: root, who is never looked up anywhere, or a user of the group. No such
 * group on this host, or a user who is not in it, is refused. */
#include "proto/rpc/peercred.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>

#include "base/mem.h"

#define NAME_BUF 16384

int peercred_get(int fd, struct rpc_peer *peer, struct err *e)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return err_errno(e, errno, "who is on the socket");
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	peer->pid = cred.pid;
	return 0;
}

bool peercred_group_id(const char *group, gid_t *ret)
{
	cleanup_free char *buf = xmalloc(NAME_BUF);
	struct group g, *found = NULL;

	if (!group || getgrnam_r(group, &g, buf, NAME_BUF, &found) != 0 || !found)
		return false;
	*ret = g.gr_gid;
	return true;
}

/* The groups that the process had when it connected. Asked from the kernel: the account's are a matter of NSS, which
 * may wait for a directory server while a whole swarm waits for this loop. */
static bool has_group(int fd, gid_t gid)
{
	gid_t groups[1024];
	socklen_t n = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) < 0)
		return false;
	for (size_t i = 0; i < n / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

int peercred_check(int fd, const struct rpc_peer *peer, const char *group, const gid_t *gid, struct err *e)
{
	if (peer->uid == 0)
		return 0;
	if (!gid)
		return err_set(e, E_FORBIDDEN, "uid %u may not use this socket: run gswarm as root",
			       peer->uid);
	if (peer->gid == *gid || has_group(fd, *gid))
		return 0;
	return err_set(e, E_FORBIDDEN,
		       "uid %u may not use this socket: run gswarm as root or join group %s (members are as "
		       "powerful as root)",
		       peer->uid, group);
}
