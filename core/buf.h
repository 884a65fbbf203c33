#pragma once

/*
 * buf is a growing run of bytes that encoders write into.
 *
 * The error is sticky: when memory or `limit` runs out, `failed` is set, every later put is a
 * no-op, and the caller checks once at the end. Integers are little-endian; varints are LEB128.
 *
 * A zeroed buf is an empty one without a limit. buf_fini() frees; buf_take() hands the bytes over.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *bytes;
	size_t count;
	size_t capacity;
	size_t limit; /* 0 is none */
	bool failed;
};

void buf_fini(struct buf *buf);

static inline void buf_auto(struct buf *buf)
{
	buf_fini(buf);
}

/* AUTO_BUF b = { 0 }; */
#define AUTO_BUF __attribute__((cleanup(buf_auto))) struct buf

/* Empties it, keeps the memory, clears the error. */
void buf_reset(struct buf *buf);

/* Room for `count` more bytes, or NULL and failed. The caller advances count itself. */
uint8_t *buf_reserve(struct buf *buf, size_t count);

void buf_put(struct buf *buf, const void *bytes, size_t count);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16(struct buf *buf, uint16_t value);
void buf_put_u32(struct buf *buf, uint32_t value);
void buf_put_u64(struct buf *buf, uint64_t value);
void buf_put_varint(struct buf *buf, uint64_t value);
void buf_put_zigzag(struct buf *buf, int64_t value);

/* varint length, then the bytes. */
void buf_put_string(struct buf *buf, const char *bytes, size_t count);

void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The bytes as one malloc'ed block that the caller frees; the buf is empty after. NULL if failed.
 */
uint8_t *buf_take(struct buf *buf, size_t *ret_count);

/* The bytes as an array, of a buf into which nothing but such was put; and how many. */
#define ARRAY(type, buf)       ((type *)(void *)(buf).bytes)
#define ARRAY_COUNT(type, buf) ((buf).count / sizeof(type))
