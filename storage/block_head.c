/* The checksum is over everything behind itself, and over the key. */

#include "storage/block_head.h"

#include <assert.h>
#include <errno.h>

#include "core/hash.h"

static uint64_t block_head_compute(struct kv_bytes key, const uint8_t *bytes, size_t count)
{
	return hash64_bytes(bytes, count) ^ hash64_bytes(key.bytes, key.count);
}

void block_head_begin(uint32_t magic, enum block_version version, struct buf *to)
{
	assert(to->count == 0);
	buf_put_u64(to, 0); /* the checksum, in block_head_seal() */
	buf_put_u32(to, magic);
	buf_put_u8(to, (uint8_t)version);
	buf_put_u8(to, (uint8_t)version); /* the oldest reader of it */
}

void block_head_seal(struct buf *block, struct kv_bytes key)
{
	if (block->failed)
		return;
	uint64_t checksum = block_head_compute(
	        key, block->bytes + BLOCK_CHECKSUM_BYTES, block->count - BLOCK_CHECKSUM_BYTES);
	for (int i = 0; i < BLOCK_CHECKSUM_BYTES; i++)
		block->bytes[i] = (uint8_t)(checksum >> (8 * i));
}

uint64_t block_head_checksum(struct kv_bytes block)
{
	struct reader reader = reader_of(block.bytes, block.count);
	return reader_u64(&reader);
}

int block_head_open(uint32_t magic, enum block_version newest, struct kv_bytes key,
        struct kv_bytes value, uint8_t *ret_version, struct reader *ret_rest)
{
	struct reader reader = reader_of(value.bytes, value.count);
	uint64_t checksum = reader_u64(&reader);
	const uint8_t *covered = reader.at;
	uint32_t found = reader_u32(&reader);
	uint8_t version = reader_u8(&reader);
	uint8_t version_min = reader_u8(&reader);
	if (reader.failed || found != magic || version == 0 || version_min > version)
		return -EBADMSG;
	if (checksum != block_head_compute(key, covered, value.count - BLOCK_CHECKSUM_BYTES))
		return -EBADMSG;
	if (version_min > (uint8_t)newest)
		return -EPROTONOSUPPORT;
	*ret_version = version;
	*ret_rest = reader;
	return 0;
}
