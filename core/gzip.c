/* Unpacks in growing steps up to the bound, since a gzip file does not say how large it becomes. */

#include "core/gzip.h"

#include <errno.h>

#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* 16 asks for gzip's header and checksum */
#define GZIP_ROOM_FIRST  65536
#define GZIP_INPUT_MAX   (UINT32_MAX / 2)

bool gzip_is_gzip(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;
	return count >= 2 && at[0] == 0x1f && at[1] == 0x8b;
}

int gzip_pack(const void *bytes, size_t count, int level, struct buf *to)
{
	z_stream stream = { 0 };
	if (count > GZIP_INPUT_MAX)
		return -E2BIG;
	if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) !=
	        Z_OK)
		return -ENOMEM;

	size_t bound = deflateBound(&stream, count);
	uint8_t *room = bound <= UINT32_MAX ? buf_reserve(to, bound) : NULL;
	int result = Z_MEM_ERROR;
	if (room) {
		stream.next_in = (Bytef *)(uintptr_t)bytes;
		stream.avail_in = (uInt)count;
		stream.next_out = room;
		stream.avail_out = (uInt)bound;
		result = deflate(&stream, Z_FINISH);
		to->count += bound - stream.avail_out;
	}
	(void)deflateEnd(&stream); /* Only tells that there was more to come. */
	return result == Z_STREAM_END ? 0 : -ENOMEM;
}

/* How much to unpack next: what is allocated already, else as much again, never past the bound. */
static size_t gzip_room(struct buf *to, size_t limit)
{
	size_t room = to->capacity > to->count ? to->capacity - to->count : 0;
	if (room == 0)
		room = to->count > GZIP_ROOM_FIRST ? to->count : GZIP_ROOM_FIRST;
	if (room > limit - to->count)
		room = limit - to->count;
	return room < GZIP_INPUT_MAX ? room : GZIP_INPUT_MAX;
}

/* One turn of inflate. 1: a member ended. 0: more to come. */
static int gzip_unpack_some(z_stream *stream, size_t limit, struct buf *to)
{
	size_t room = gzip_room(to, limit);
	if (room == 0)
		return -E2BIG;
	uint8_t *at = buf_reserve(to, room);
	if (!at)
		return -ENOMEM;

	stream->next_out = at;
	stream->avail_out = (uInt)room;
	int result = inflate(stream, Z_NO_FLUSH);
	to->count += room - stream->avail_out;
	if (result == Z_STREAM_END)
		return 1;
	if (result == Z_OK || (result == Z_BUF_ERROR && stream->avail_out == 0))
		return stream->avail_in == 0 && stream->avail_out > 0 ? -EBADMSG : 0;
	return result == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

int gzip_unpack(const void *bytes, size_t count, size_t unpacked_max, struct buf *to)
{
	z_stream stream = { 0 };
	if (count > GZIP_INPUT_MAX)
		return -E2BIG;
	if (inflateInit2(&stream, GZIP_WINDOW_BITS) != Z_OK)
		return -ENOMEM;

	/* One byte above the bound tells "exactly" from "more". */
	size_t limit = unpacked_max < SIZE_MAX / 2 - to->count - 1 ? to->count + unpacked_max + 1
	                                                           : SIZE_MAX / 2;
	stream.next_in = (Bytef *)(uintptr_t)bytes;
	stream.avail_in = (uInt)count;
	int result = 0;
	while (result == 0) {
		result = gzip_unpack_some(&stream, limit, to);
		if (result == 1 && gzip_is_gzip(stream.next_in, stream.avail_in))
			result = inflateReset(&stream) == Z_OK ? 0 : -EBADMSG;
	}
	for (; result == 1 && stream.avail_in > 0; stream.next_in++, stream.avail_in--)
		if (*stream.next_in != 0)
			result = -EBADMSG;
	if (result == 1 && to->count >= limit)
		result = -E2BIG;
	(void)inflateEnd(&stream); /* Cannot fail for a stream that was opened. */
	return result < 0 ? result : 0;
}
