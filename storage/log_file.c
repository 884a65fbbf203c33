/*
 *	log      blocks of 32,768 bytes, of which the last may be shorter
 *	block    records; less than 7 bytes at the end are zeroes
 *	record   u32 checksum | u16 bytes | u8 kind, 1 to 4 | bytes
 *
 * checksum = masked CRC-32C of the kind and the bytes. A tail of zeroes is room that was reserved.
 */

#include "storage/log_file.h"

#include <errno.h>
#include <stdbool.h>

#include "core/buf.h"
#include "core/reader.h"

#define LOG_BLOCK_BYTES 32768
#define LOG_HEAD_BYTES  7
#define LOG_KINDS       4 /* a whole write, or the first, one in the middle, the last of one */
#define LOG_KIND_WHOLE  1
#define LOG_KIND_FIRST  2
#define LOG_KIND_LAST   4
#define LOG_CRC_POLYNOM 0x82f63b78u
#define LOG_MASK_DELTA  0xa282ead8u
#define LOG_KIND_AT     6

struct log_crc {
	uint32_t of_byte[256];
};

static void log_crc_init(struct log_crc *crc)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t value = byte;
		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ LOG_CRC_POLYNOM : value >> 1;
		crc->of_byte[byte] = value;
	}
}

static uint32_t log_crc_masked(const struct log_crc *crc, const uint8_t *bytes, size_t count)
{
	uint32_t value = ~0u;
	for (size_t i = 0; i < count; i++)
		value = crc->of_byte[(value ^ bytes[i]) & 0xff] ^ value >> 8;
	value = ~value;
	return (value >> 15 | value << 17) + LOG_MASK_DELTA;
}

/* Is there a good record at `at`? */
static bool log_has_record(const struct log_crc *crc, const uint8_t *bytes, size_t count, size_t at,
        size_t *ret_record_bytes)
{
	size_t block_left = LOG_BLOCK_BYTES - at % LOG_BLOCK_BYTES;
	size_t left = count - at < block_left ? count - at : block_left;
	if (left < LOG_HEAD_BYTES)
		return false;
	struct reader head = reader_of(bytes + at, LOG_HEAD_BYTES);
	uint32_t checksum = reader_u32(&head);
	size_t record_bytes = reader_u16(&head);
	uint8_t kind = reader_u8(&head);
	if (kind == 0 || kind > LOG_KINDS || record_bytes > left - LOG_HEAD_BYTES)
		return false;
	if (log_crc_masked(crc, bytes + at + LOG_KIND_AT, record_bytes + 1) != checksum)
		return false;
	*ret_record_bytes = LOG_HEAD_BYTES + record_bytes;
	return true;
}

/* Where the first record is that is not good; *ret_whole: behind the last whole write before it. */
static size_t log_walk(
        const struct log_crc *crc, const uint8_t *bytes, size_t count, size_t *ret_whole)
{
	size_t at = 0;
	size_t record_bytes;
	*ret_whole = 0;
	while (at < count) {
		if (LOG_BLOCK_BYTES - at % LOG_BLOCK_BYTES < LOG_HEAD_BYTES) {
			at += LOG_BLOCK_BYTES - at % LOG_BLOCK_BYTES;
			continue;
		}
		if (!log_has_record(crc, bytes, count, at, &record_bytes))
			break;
		uint8_t kind = bytes[at + LOG_KIND_AT];
		at += record_bytes;
		if (kind == LOG_KIND_WHOLE || kind == LOG_KIND_LAST)
			*ret_whole = at;
	}
	return at < count ? at : count;
}

int log_file_end(const uint8_t *bytes, size_t count, size_t *ret_end)
{
	struct log_crc crc;
	size_t whole;
	size_t record_bytes;
	log_crc_init(&crc);
	size_t at = log_walk(&crc, bytes, count, &whole);
	for (size_t behind = at + 1; behind < count; behind++)
		if (log_has_record(&crc, bytes, count, behind, &record_bytes))
			return -EBADMSG;
	*ret_end = whole;
	return 0;
}

int log_file_check(const uint8_t *bytes, size_t count)
{
	size_t end;
	return log_file_end(bytes, count, &end);
}

int log_file_visit(const uint8_t *bytes, size_t count,
        int (*visit)(void *owner, const uint8_t *write, size_t write_bytes), void *owner)
{
	AUTO_BUF write = { 0 };
	struct log_crc crc;
	size_t record_bytes;
	int r = 0;
	log_crc_init(&crc);
	for (size_t at = 0; r == 0 && at < count; at += record_bytes) {
		record_bytes = LOG_BLOCK_BYTES - at % LOG_BLOCK_BYTES;
		if (record_bytes < LOG_HEAD_BYTES)
			continue;
		if (!log_has_record(&crc, bytes, count, at, &record_bytes))
			break;
		uint8_t kind = bytes[at + LOG_KIND_AT];
		if (kind == LOG_KIND_WHOLE || kind == LOG_KIND_FIRST)
			buf_reset(&write);
		buf_put(&write, bytes + at + LOG_HEAD_BYTES, record_bytes - LOG_HEAD_BYTES);
		if (write.failed)
			r = -ENOMEM;
		else if (kind == LOG_KIND_WHOLE || kind == LOG_KIND_LAST)
			r = visit(owner, write.bytes, write.count);
	}
	return r;
}
