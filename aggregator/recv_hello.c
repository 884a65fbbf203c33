/* HELLO opens a session and tells the sender how things are done here. */

#include <errno.h>
#include <string.h>

#include "aggregator/ingest_private.h"
#include "core/log.h"

void recv_hello(struct ingest *ingest, struct net_request *request, struct reader *payload)
{
	struct wire_hello hello;
	int r = wire_get_hello(payload, &hello);
	if (r == -EPROTONOSUPPORT || (r == 0 && hello.version_min > WIRE_VERSION)) {
		ingest_refuse(ingest, request, WIRE_TOO_NEW, 0,
		        "the sender needs a newer protocol than this aggregator speaks (1): update "
		        "profleet-aggregator first");
		return;
	}
	if (r < 0) {
		ingest_refuse(ingest, request, WIRE_MALFORMED, 0, "HELLO: not an encoding");
		return;
	}
	if (hello.version_max < WIRE_VERSION) {
		ingest_refuse(ingest, request, WIRE_INVALID, 0,
		        "the sender is too old: update it to one that speaks protocol 1");
		return;
	}

	struct session *session;
	r = session_table_open(ingest->sessions, &hello, &session);
	if (r < 0) {
		ingest_refuse(ingest, request, WIRE_BUSY, 1000, "out of memory for a session");
		return;
	}

	const char *program = ingest->options.program;
	struct wire_hello_reply reply = {
		.version = WIRE_VERSION,
		.session = session->id,
		.shards = ingest->options.shards,
		.map_version = 1,
		.push_bytes_max = ingest->options.push_bytes,
		.nodes_max = ingest->options.session_nodes,
		.unix_ns = clock_unix_ns(ingest->options.clock),
		.program = { .bytes = program, .count = (uint32_t)strlen(program) },
	};
	log_info("session-opened", "%s: %s on %s", net_request_peer(request), session->program,
	        session->host);
	buf_reset(&ingest->payload);
	wire_put_hello_reply(&reply, &ingest->payload);
	ingest_reply(ingest, request, WIRE_HELLO_REPLY);
}
