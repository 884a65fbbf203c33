#pragma once

/*
 * session_table keeps one dictionary per connected sender, and the way from its ids to the store's.
 *
 * A session is only a dictionary: losing one costs its sender a HELLO and a full encoding, never a
 * sample. So the table is bounded by memory and drops whoever was idle longest.
 *
 * Only the ingest thread touches it; session_table_state() may be read from anywhere.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/dict.h"
#include "profile/wire.h"

#define SESSION_HOST_BYTES        128
#define SESSION_PROGRAM_BYTES     64
#define SESSION_TENANT_BYTES      64
#define SESSIONS_MAX              4096
#define SESSION_STRING_BYTES_EACH 256 /* of names, for each node that a session may have */

struct session {
	uint64_t id; /* random, never 0 */
	uint64_t request_next;
	uint64_t used_at; /* order of last use */
	size_t memory;
	bool in_group; /* a push of it waits for the group's write: it must not be dropped */
	struct dict *dict;
	struct dict_remap *remap; /* to the store's dict; store_append() aims it */
	struct wire_uuid uuid;
	uint64_t epoch;
	uint32_t role;
	char host[SESSION_HOST_BYTES];
	char program[SESSION_PROGRAM_BYTES];
	char tenant[SESSION_TENANT_BYTES];
	/* Modules below this id were looked at for symbols; `unresolved` are those still lacking.
	 */
	uint32_t modules_seen;
	uint32_t *unresolved;
	uint32_t unresolved_count;
	uint32_t unresolved_capacity;
};

struct session_table;

struct session_table_options {
	uint64_t memory_max;
	uint32_t nodes_max;
};

struct session_table *session_table_new(struct session_table_options options);
void session_table_free(struct session_table *table);
DEFINE_AUTO(session_table);

/* -ENOMEM. */
int session_table_open(
        struct session_table *table, const struct wire_hello *hello, struct session **ret_session);

/* NULL: unknown, the sender must open a new one. Counts as use. */
struct session *session_table_find(struct session_table *table, uint64_t id);

/* Its dictionary can no longer be trusted to match the sender's. */
void session_table_drop(struct session_table *table, struct session *session);

/* After a push: counts its memory and drops the longest idle others while the bound is passed. */
void session_table_settle(struct session_table *table, struct session *session);

void session_table_set_memory_max(struct session_table *table, uint64_t memory_max);

struct session_table_state {
	uint32_t sessions;
	uint64_t memory;
	uint64_t dropped; /* for memory */
};

struct session_table_state session_table_state(struct session_table *table);
