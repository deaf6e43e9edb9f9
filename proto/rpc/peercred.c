// SPDX-License-Identifier: Apache-2.0
/* The happy path is root, who is never looked up anywhere. What can fail is everybody else: no such group on
 * this host, a uid without a name, a user who is not in the group. */
#include "proto/rpc/peercred.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
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

/* The groups of the account, not of the process: SO_PEERCRED tells only the primary one. */
static bool is_member(uid_t uid, gid_t gid)
{
	cleanup_free char *buf = xmalloc(NAME_BUF);
	struct passwd pw, *found = NULL;
	gid_t groups[256];
	int n = array_size(groups);

	if (getpwuid_r(uid, &pw, buf, NAME_BUF, &found) != 0 || !found)
		return false;
	if (getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) < 0)
		n = array_size(groups); /* more than that: the first ones were stored */
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

int peercred_check(const struct rpc_peer *peer, const char *group, struct err *e)
{
	gid_t gid;

	if (peer->uid == 0)
		return 0;
	if (!peercred_group_id(group, &gid))
		return err_set(e, E_FORBIDDEN, "uid %u may not use this socket: run gswarm as root",
			       peer->uid);
	if (peer->gid == gid || is_member(peer->uid, gid))
		return 0;
	return err_set(e, E_FORBIDDEN,
		       "uid %u may not use this socket: run gswarm as root or join group %s (members are as "
		       "powerful "
		       "as root)",
		       peer->uid, group);
}
