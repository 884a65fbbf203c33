/*
 * Packed runs that nobody vouches for: gzip as other tools write it, LZ4 and zstd as ours. The
 * first byte says which; of ours the next two say how much it is to unpack to. What comes out must
 * be within its bound, exactly as long as was said, and the same when it is packed and unpacked
 * once more.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/compress.h"
#include "core/gzip.h"

#define UNPACKED_MAX 50000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

enum packing { PACKING_GZIP, PACKING_LZ4, PACKING_ZSTD, PACKINGS };

static int pack(enum packing packing, const struct buf *from, struct buf *to)
{
	if (packing == PACKING_GZIP)
		return gzip_pack(from->bytes, from->count, 1, to);
	return compress_append(packing == PACKING_LZ4 ? COMPRESS_LZ4 : COMPRESS_ZSTD, from->bytes,
	        from->count, to);
}

static int unpack(
        enum packing packing, const uint8_t *bytes, size_t count, size_t unpacked, struct buf *to)
{
	if (packing == PACKING_GZIP)
		return gzip_unpack(bytes, count, UNPACKED_MAX, to);
	return compress_unpack(packing == PACKING_LZ4 ? COMPRESS_LZ4 : COMPRESS_ZSTD, bytes, count,
	        unpacked, UNPACKED_MAX, to);
}

static void check_comes_back(enum packing packing, const struct buf *unpacked)
{
	AUTO_BUF packed = { 0 };
	AUTO_BUF again = { 0 };
	int r = pack(packing, unpacked, &packed);
	assert(r == 0);
	r = unpack(packing, packed.bytes, packed.count, unpacked->count, &again);
	assert(r == 0 && again.count == unpacked->count);
	assert(again.count == 0 || memcmp(again.bytes, unpacked->bytes, again.count) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF unpacked = { 0 };
	size_t said = 0;
	if (count < 3)
		return 0;
	enum packing packing = bytes[0] % PACKINGS;
	size_t head = packing == PACKING_GZIP ? 1 : 3;
	if (packing != PACKING_GZIP)
		said = bytes[1] | (size_t)bytes[2] << 8;
	int r = unpack(packing, bytes + head, count - head, said, &unpacked);
	if (r < 0) {
		assert(r == -EBADMSG || r == -E2BIG);
		return 0;
	}
	assert(unpacked.count <= UNPACKED_MAX);
	assert(packing == PACKING_GZIP || unpacked.count == said);
	check_comes_back(packing, &unpacked);
	return 0;
}
