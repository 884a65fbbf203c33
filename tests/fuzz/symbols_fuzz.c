/*
 * Opens any bytes as a function table and looks through what came out. The checksum would hide the
 * decoder from the fuzzer, so an input is the unpacked columns behind a count of one varint, and
 * the envelope is put around them here; the input is also tried as it is.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/compress.h"
#include "core/hash.h"
#include "core/reader.h"
#include "profile/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void open_and_look(const uint8_t *bytes, size_t count)
{
	AUTO(symbols) symbols = NULL;
	uint64_t start = 0;

	if (symbols_open(bytes, count, &symbols) < 0)
		return;
	for (uint64_t offset = 0; offset < 64; offset++) {
		const char *name = symbols_find(symbols, offset, &start);
		assert(!name || (start <= offset && strlen(name) > 0));
	}
	(void)symbols_find(symbols, UINT64_MAX, &start);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO_BUF packed = { 0 };
	AUTO_BUF table = { 0 };
	struct reader input = reader_of(bytes, count);
	uint64_t symbols = reader_varint(&input);

	open_and_look(bytes, count);
	if (compress_append(COMPRESS_ZSTD, input.at, reader_left(&input), &packed) < 0)
		return 0;
	buf_put_u32(&table, 0x79736670);
	buf_put_u16(&table, 1);
	buf_put_u16(&table, COMPRESS_ZSTD);
	buf_put_u32(&table, (uint32_t)symbols);
	buf_put_u32(&table, (uint32_t)reader_left(&input));
	buf_put_u32(&table, (uint32_t)packed.count);
	buf_put(&table, packed.bytes, packed.count);
	if (table.failed)
		return 0;
	buf_put_u64(&table, hash64_bytes(table.bytes, table.count));
	if (!table.failed)
		open_and_look(table.bytes, table.count);
	return 0;
}
