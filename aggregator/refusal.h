#pragma once

/* refusal answers a request that gets nothing else: one status with one sentence. From any thread.
 */

#include <stdint.h>

#include "core/net.h"
#include "profile/wire.h"

void refusal_reply(
        struct net_request *request, enum wire_status status, uint32_t retry_ms, const char *text);
