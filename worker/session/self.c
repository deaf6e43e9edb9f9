// SPDX-License-Identifier: Apache-2.0
/* What this node says of itself in a session, and what a session changes of it: who the managers are, its
 * certificate. The happy path is a few system calls that do not wait. What can fail is left out of the
 * description. */
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/mem.h"
#include "proto/tls/tls.h"
#include "worker/net/network.h"
#include "worker/session/peers.h"
#include "worker/session/self.h"

void worker_identity_changed(struct worker *w, struct tls_identity *take_identity)
{
	tls_identity_unref(w->identity);
	w->identity = take_identity;
	peers_identity_changed(w->peers);
}

static char **list_dup(char *const *list, size_t n)
{
	char **copy = xcalloc(n + 1, sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(list[i]);
	return copy;
}

static void list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static bool list_equal(char *const *a, size_t n, char *const *b, size_t m)
{
	if (n != m)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

void worker_state_changed(struct worker *w, unsigned what)
{
	bug_if_off_loop();
	if (w->save)
		w->save(w, what);
}

void worker_managers_set(struct worker *w, char *const *list, size_t n)
{
	char **copy;

	if (n == 0)
		return;
	copy = list_dup(list, n);
	list_free(w->managers, w->n_managers);
	w->managers = copy;
	w->n_managers = n;
	if (w->peers)
		peers_guard(w->peers);
	if (list_equal(w->state.managers, w->state.n_managers, copy, n))
		return;
	list_free(w->state.managers, w->state.n_managers);
	w->state.managers = list_dup(copy, n);
	w->state.n_managers = n;
	worker_state_changed(w, STATE_JSON);
}

static void ip_bytes(const char *text, ProtobufCBinaryData *ret)
{
	uint8_t bytes[16];
	size_t n = addr_bytes(text, bytes);

	if (n)
		obj_bytes_set(ret, bytes, n);
}

void worker_describe(struct worker *w, Gs__NodeDescription *d)
{
	struct utsname u;
	struct sysinfo si;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	uname(&u);
	sysinfo(&si);
	str_replace(&d->hostname, w->hostname);
	str_replace(&d->platform_os, "linux");
	str_replace(&d->platform_arch, u.machine);
	str_replace(&d->software_version, GSWARM_VERSION);
	str_replace(&d->boot_id, w->boot_id);
	d->resources = obj_new(&gs__resources__descriptor);
	d->resources->nano_cpus = (uint64_t)(cpus > 0 ? cpus : 1) * 1000000000u;
	d->resources->memory_bytes = (uint64_t)si.totalram * si.mem_unit;
	ip_bytes(w->state.advertise, &d->advertise_ip);
	ip_bytes(w->state.data_path, &d->vtep_ip);
	if (strcmp(w->link_of, w->state.data_path) != 0) { /* once at the start; then node/address.c looks */
		snprintf(w->link_of, sizeof(w->link_of), "%s", w->state.data_path);
		w->link_mtu = net_link_mtu(w->link_of);
	}
	d->vtep_mtu = net_mtu(w->net, w->link_mtu);
	d->peer_port = PEER_PORT;
}
