/*
 * Grows by doubling. Overflow of a size, of the limit and of memory all end in the same sticky
 * flag, so that an encoder is straight-line code.
 */

#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_CAPACITY_FIRST 256

void buf_fini(struct buf *buf)
{
	free(buf->bytes);
	*buf = (struct buf){ .limit = buf->limit };
}

void buf_reset(struct buf *buf)
{
	buf->count = 0;
	buf->failed = false;
}

uint8_t *buf_reserve(struct buf *buf, size_t count)
{
	if (buf->failed)
		return NULL;
	if (count > SIZE_MAX / 2 - buf->count || (buf->limit && count > buf->limit - buf->count)) {
		buf->failed = true;
		return NULL;
	}

	size_t needed = buf->count + count;
	if (needed > buf->capacity || !buf->bytes) {
		size_t capacity = buf->capacity ? buf->capacity : BUF_CAPACITY_FIRST;
		while (capacity < needed)
			capacity *= 2;
		uint8_t *bytes = realloc(buf->bytes, capacity);
		if (!bytes) {
			buf->failed = true;
			return NULL;
		}
		buf->bytes = bytes;
		buf->capacity = capacity;
	}
	return buf->bytes + buf->count;
}

void buf_put(struct buf *buf, const void *bytes, size_t count)
{
	uint8_t *to = buf_reserve(buf, count);
	if (!to || count == 0)
		return;
	memcpy(to, bytes, count);
	buf->count += count;
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
	buf_put(buf, &value, 1);
}

void buf_put_u16(struct buf *buf, uint16_t value)
{
	buf_put(buf, (uint8_t[]){ value & 0xff, value >> 8 }, 2);
}

static void buf_put_little_endian(struct buf *buf, uint64_t value, unsigned int width)
{
	uint8_t bytes[8];
	for (unsigned int i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	buf_put(buf, bytes, width);
}

void buf_put_u32(struct buf *buf, uint32_t value)
{
	buf_put_little_endian(buf, value, 4);
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
	buf_put_little_endian(buf, value, 8);
}

void buf_put_varint(struct buf *buf, uint64_t value)
{
	uint8_t *to = buf_reserve(buf, 10);
	if (!to)
		return;

	unsigned int n = 0;
	while (value >= 0x80) {
		to[n++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	to[n++] = (uint8_t)value;
	buf->count += n;
}

void buf_put_zigzag(struct buf *buf, int64_t value)
{
	buf_put_varint(buf, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

void buf_put_string(struct buf *buf, const char *bytes, size_t count)
{
	buf_put_varint(buf, count);
	buf_put(buf, bytes, count);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list measure, write;
	va_start(measure, format);
	va_copy(write, measure);
	int length = vsnprintf(NULL, 0, format, measure);
	va_end(measure);

	/* vsnprintf also writes the closing zero, which is not counted. */
	uint8_t *to = length < 0 ? NULL : buf_reserve(buf, (size_t)length + 1);
	if (to) {
		(void)vsnprintf((char *)to, (size_t)length + 1, format, write);
		buf->count += (size_t)length;
	} else {
		buf->failed = true;
	}
	va_end(write);
}

uint8_t *buf_take(struct buf *buf, size_t *ret_count)
{
	if (buf->failed || (!buf->bytes && !buf_reserve(buf, 1)))
		return NULL;

	uint8_t *bytes = buf->bytes;
	*ret_count = buf->count;
	*buf = (struct buf){ .limit = buf->limit };
	return bytes;
}
