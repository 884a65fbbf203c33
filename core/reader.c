/* Each primitive checks what is left first, so that none of them can read past the end. */

#include "core/reader.h"

void reader_fail(struct reader *reader)
{
	reader->failed = true;
	reader->at = reader->end;
}

const uint8_t *reader_bytes(struct reader *reader, size_t count)
{
	if (reader->failed || count > (size_t)(reader->end - reader->at)) {
		reader_fail(reader);
		return NULL;
	}
	const uint8_t *bytes = reader->at;
	reader->at += count;
	return bytes;
}

static uint64_t reader_little_endian(struct reader *reader, unsigned int width)
{
	const uint8_t *bytes = reader_bytes(reader, width);
	uint64_t value = 0;
	for (unsigned int i = 0; bytes && i < width; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

uint8_t reader_u8(struct reader *reader)
{
	return (uint8_t)reader_little_endian(reader, 1);
}

uint16_t reader_u16(struct reader *reader)
{
	return (uint16_t)reader_little_endian(reader, 2);
}

uint32_t reader_u32(struct reader *reader)
{
	return (uint32_t)reader_little_endian(reader, 4);
}

uint64_t reader_u64(struct reader *reader)
{
	return reader_little_endian(reader, 8);
}

uint64_t reader_varint_any(struct reader *reader)
{
	uint64_t value = 0;
	if (reader->failed)
		return 0;
	for (unsigned int shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
		uint8_t byte = *reader->at++;
		uint64_t bits = byte & 0x7f;
		if (shift == 63 && bits > 1)
			break;
		value |= bits << shift;
		if (!(byte & 0x80))
			return value;
	}
	reader_fail(reader);
	return 0;
}

int64_t reader_zigzag(struct reader *reader)
{
	uint64_t value = reader_varint(reader);
	return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

uint64_t reader_varint_max(struct reader *reader, uint64_t max)
{
	uint64_t value = reader_varint(reader);
	if (value > max) {
		reader_fail(reader);
		return 0;
	}
	return value;
}

size_t reader_count(struct reader *reader, size_t bytes_each)
{
	uint64_t count = reader_varint(reader);
	if (count > reader_left(reader) / bytes_each) {
		reader_fail(reader);
		return 0;
	}
	return (size_t)count;
}

const char *reader_string(struct reader *reader, size_t max, size_t *ret_count)
{
	uint64_t count = reader_varint_max(reader, max);
	const uint8_t *bytes = reader_bytes(reader, (size_t)count);
	*ret_count = bytes ? (size_t)count : 0;
	return (const char *)bytes;
}
