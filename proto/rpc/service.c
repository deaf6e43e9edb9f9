// SPDX-License-Identifier: Apache-2.0
/* Tables of services, methods and who may call them; nothing here does anything.
 * The happy path is a known number. An unknown one gives NULL, "?" or no role at all. */
#include <stdio.h>

#include "base/mem.h"
#include "proto/schema/ca.pb-c.h"
#include "proto/schema/control.pb-c.h"
#include "proto/schema/dispatch.pb-c.h"
#include "proto/schema/node.pb-c.h"
#include "proto/schema/peer.pb-c.h"
#include "proto/rpc/rpc.h"
#include "proto/schema/roles.h"

const ProtobufCServiceDescriptor *rpc_service_descriptor(unsigned service)
{
	static const ProtobufCServiceDescriptor *const table[] = {
		[RPC_CONTROL] = &gs__control__descriptor,
		[RPC_CA] = &gs__ca__descriptor,
		[RPC_DISPATCHER] = &gs__dispatcher__descriptor,
		[RPC_LOG_BROKER] = &gs__log_broker__descriptor,
		[RPC_NODE_LOCAL] = &gs__node_local__descriptor,
		[RPC_PEER] = &gs__peer__descriptor,
	};

	return service < array_size(table) ? table[service] : NULL;
}

const char *rpc_method_name(unsigned service, unsigned method, char *buf, size_t n)
{
	const ProtobufCServiceDescriptor *d = rpc_service_descriptor(service);

	if (!d || method >= d->n_methods)
		return "?";
	snprintf(buf, n, "%s.%s", d->short_name, d->methods[method].name);
	return buf;
}

unsigned rpc_method_roles(unsigned service, unsigned method)
{
	return service < RPC_SERVICES && method < RPC_METHODS_MAX ? roles[service][method] : 0;
}
