#pragma once

/*
 * spool_file is the bytes and the name of one entry in the spool's folder: docs/formats/spool.md.
 *
 * What stands in a name is what must be known without reading, or must change without writing:
 * whether and as what the entry was sent, and how many samples a broken file takes with it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "profile/wire.h"

#define SPOOL_FILE_NAME_BYTES 192 /* with the closing zero */
#define SPOOL_FILE_SUFFIX     ".batch"

struct spool_file_name {
	bool sent;
	uint64_t first, last; /* place in the order of entering; a range after a merge */
	uint32_t shards;      /* how many there were when the shard was chosen */
	uint16_t shard;
	uint64_t epoch, seq; /* 0, 0 until sent */
	uint64_t samples;    /* with those that are counted as lost inside */
};

void spool_file_format(const struct spool_file_name *name, char ret_text[SPOOL_FILE_NAME_BYTES]);

/* -EINVAL: not such a name. */
int spool_file_parse(const char *text, struct spool_file_name *ret_name);

struct spool_file {
	struct wire_uuid uuid;
	uint64_t samples;
	uint64_t lost;
	uint64_t start_ns;
	uint64_t duration_ns;
	const char *replaces; /* a file that this one stands for: while that exists, this does not
	                         count */
	size_t replaces_count;
	const uint8_t *bytes; /* batch_encode_whole() */
	size_t count;
};

void spool_file_encode(const struct spool_file *file, struct buf *to);

/* Borrows from `bytes`. -EBADMSG. The batch inside is not looked at. */
int spool_file_decode(const uint8_t *bytes, size_t count, struct spool_file *ret_file);
