/* The one door to LZ4 and zstd: both behind the same bounds, errors and growing buffer. */

#include "core/compress.h"

#include <errno.h>
#include <stdbool.h>

#include <lz4.h>
#include <zstd.h>

#define COMPRESS_INPUT_MAX       (UINT64_C(1) << 30)
#define COMPRESS_ZSTD_LEVEL      3
#define COMPRESS_ZSTD_FAST_LEVEL 1

static bool compress_is_zstd(enum compress_codec codec)
{
	return codec == COMPRESS_ZSTD || codec == COMPRESS_ZSTD_FAST;
}

int compress_append(enum compress_codec codec, const void *bytes, size_t count, struct buf *to)
{
	if (count > COMPRESS_INPUT_MAX)
		return -E2BIG;

	size_t bound = compress_is_zstd(codec) ? ZSTD_compressBound(count)
	                                       : (size_t)LZ4_compressBound((int)count);
	uint8_t *room = buf_reserve(to, bound);
	if (!room)
		return -ENOMEM;

	size_t written;
	if (compress_is_zstd(codec)) {
		int level = codec == COMPRESS_ZSTD ? COMPRESS_ZSTD_LEVEL : COMPRESS_ZSTD_FAST_LEVEL;
		written = ZSTD_compress(room, bound, bytes, count, level);
		if (ZSTD_isError(written))
			return -ENOMEM;
	} else {
		int n = LZ4_compress_default(bytes, (char *)room, (int)count, (int)bound);
		if (n <= 0)
			return -ENOMEM;
		written = (size_t)n;
	}
	to->count += written;
	return 0;
}

int compress_unpack(enum compress_codec codec, const void *bytes, size_t count, size_t unpacked,
        size_t unpacked_max, struct buf *to)
{
	if (unpacked > unpacked_max || unpacked > COMPRESS_INPUT_MAX || count > COMPRESS_INPUT_MAX)
		return -E2BIG;

	uint8_t *room = buf_reserve(to, unpacked ? unpacked : 1);
	if (!room)
		return -ENOMEM;

	if (compress_is_zstd(codec)) {
		size_t n = ZSTD_decompress(room, unpacked, bytes, count);
		if (ZSTD_isError(n) || n != unpacked)
			return -EBADMSG;
	} else if (codec == COMPRESS_LZ4) {
		int n = LZ4_decompress_safe(bytes, (char *)room, (int)count, (int)unpacked);
		if (n < 0 || (size_t)n != unpacked)
			return -EBADMSG;
	} else {
		return -EBADMSG;
	}
	to->count += unpacked;
	return 0;
}
