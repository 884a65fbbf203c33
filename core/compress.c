/*
 * The one door to LZ4 and zstd: both behind the same bounds, errors and growing buffer.
 *
 * To set up a zstd context takes longer than to pack a few kilobytes, so each thread that packs or
 * unpacks such keeps one of each, until it ends.
 */

#include "core/compress.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include <lz4.h>
#include <zstd.h>

#define COMPRESS_INPUT_MAX       (UINT64_C(1) << 30)
#define COMPRESS_ZSTD_LEVEL      3
#define COMPRESS_ZSTD_FAST_LEVEL 1

/* More at once is worth a context of its own, which then goes with its memory. */
#define COMPRESS_KEPT_MAX (64u << 10)

struct compress_contexts {
	ZSTD_CCtx *packing;
	ZSTD_DCtx *unpacking;
};

static pthread_key_t compress_key;
static pthread_once_t compress_once = PTHREAD_ONCE_INIT;
static bool compress_has_key;

static void compress_free_contexts(void *owned)
{
	struct compress_contexts *contexts = owned;
	ZSTD_freeCCtx(contexts->packing);
	ZSTD_freeDCtx(contexts->unpacking);
	free(contexts);
}

static void compress_make_key(void)
{
	compress_has_key = pthread_key_create(&compress_key, compress_free_contexts) == 0;
}

/* This thread's, or NULL. */
static struct compress_contexts *compress_get_contexts(void)
{
	(void)pthread_once(&compress_once, compress_make_key);
	if (!compress_has_key)
		return NULL;
	struct compress_contexts *contexts = pthread_getspecific(compress_key);
	if (contexts)
		return contexts;
	contexts = calloc(1, sizeof(*contexts));
	if (!contexts)
		return NULL;
	contexts->packing = ZSTD_createCCtx();
	contexts->unpacking = ZSTD_createDCtx();
	if (contexts->packing && contexts->unpacking &&
	        pthread_setspecific(compress_key, contexts) == 0)
		return contexts;
	compress_free_contexts(contexts);
	return NULL;
}

/* What ZSTD_compress() returns. */
static size_t compress_zstd(void *room, size_t bound, const void *bytes, size_t count, int level)
{
	struct compress_contexts *contexts = count <= COMPRESS_KEPT_MAX ? compress_get_contexts()
	                                                                : NULL;
	if (!contexts)
		return ZSTD_compress(room, bound, bytes, count, level);
	return ZSTD_compressCCtx(contexts->packing, room, bound, bytes, count, level);
}

static size_t compress_unzstd(void *room, size_t unpacked, const void *bytes, size_t count)
{
	struct compress_contexts *contexts = unpacked <= COMPRESS_KEPT_MAX ? compress_get_contexts()
	                                                                   : NULL;
	if (!contexts)
		return ZSTD_decompress(room, unpacked, bytes, count);
	return ZSTD_decompressDCtx(contexts->unpacking, room, unpacked, bytes, count);
}

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
		written = compress_zstd(room, bound, bytes, count, level);
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
		size_t n = compress_unzstd(room, unpacked, bytes, count);
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
