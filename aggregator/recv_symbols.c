/*
 * SYMBOLS brings one part of a file's function table. A table is opened once before it is kept:
 * what the store holds can be read.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aggregator/ingest_private.h"
#include "core/log.h"
#include "profile/symbols.h"

#define BUILD_ID_BYTES_MAX 128

/* 0, or negative with a reason for the sender. */
static int symbols_keep(struct ingest *ingest, const char *build_id, const struct buf *table,
        const char **ret_reason)
{
	if (table->count > 0) {
		AUTO(symbols) symbols = NULL;
		int r = symbols_open(table->bytes, table->count, &symbols);
		if (r < 0) {
			*ret_reason = "not a symbol table";
			return r;
		}
	}
	int r = store_symbols_put(ingest->options.store, build_id, table->bytes, table->count);
	if (r < 0)
		*ret_reason = "the store could not keep it";
	else if (ingest->options.on_symbols)
		ingest->options.on_symbols(ingest->options.owner, build_id);
	return r;
}

static bool build_id_is_text(struct wire_text build_id)
{
	if (build_id.count == 0 || build_id.count >= BUILD_ID_BYTES_MAX)
		return false;
	for (uint32_t i = 0; i < build_id.count; i++)
		if (build_id.bytes[i] <= ' ' || build_id.bytes[i] > '~')
			return false;
	return true;
}

void recv_symbols(struct ingest *ingest, struct net_request *request, struct reader *payload)
{
	struct wire_symbols part;
	if (wire_get_symbols(payload, &part) < 0 || !build_id_is_text(part.build_id)) {
		ingest_refuse(ingest, request, WIRE_MALFORMED, 0, "SYMBOLS: not an encoding");
		return;
	}

	char build_id[BUILD_ID_BYTES_MAX];
	memcpy(build_id, part.build_id.bytes, part.build_id.count);
	build_id[part.build_id.count] = 0;

	const struct buf *table = NULL;
	const char *reason = "parts out of order, or sizes that do not fit";
	int r = symbol_inbox_add(ingest->inbox, &part, &table);
	if (r == 1) {
		r = symbols_keep(ingest, build_id, table, &reason);
		if (r == 0) {
			INGEST_COUNT(ingest, symbol_tables, 1);
			log_debug("symbols-kept", "%s: %zu bytes", build_id, table->count);
		}
	}
	if (r == -ENOMEM || r == -ENOSPC) {
		ingest_refuse(ingest, request, WIRE_BUSY, 1000, reason);
		return;
	}
	if (r < 0) {
		INGEST_COUNT(ingest, symbols_refused, 1);
		log_warn("symbols-refused", "%s from %s: %s", build_id, net_request_peer(request),
		        reason);
		ingest_refuse(ingest, request, WIRE_REJECT, 0, reason);
		return;
	}
	ingest_refuse(ingest, request, WIRE_OK, 0, "");
}
