/* Small and allocation-light: it must still work when the reason is a lack of memory. */

#include "aggregator/refusal.h"

#include <string.h>

void refusal_reply(
        struct net_request *request, enum wire_status status, uint32_t retry_ms, const char *text)
{
	AUTO_BUF payload = { 0 };
	AUTO_BUF sealed = { 0 };
	struct wire_status_reply reply = {
		.status = status,
		.retry_ms = retry_ms,
		.text = { .bytes = text, .count = (uint32_t)strlen(text) },
	};

	wire_put_status(&reply, &payload);
	wire_seal(WIRE_STATUS, &payload, &sealed);
	/* Out of memory here sends an empty reply, which the peer reads as broken and tries again.
	 */
	(void)net_reply(request, sealed.bytes, sealed.failed ? 0 : sealed.count);
}
