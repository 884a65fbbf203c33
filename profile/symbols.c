/*
 * A table is written once and looked up by binary search, so an open one is three flat arrays:
 *
 *	offsets  [ 0x1000  0x1080  0x2000 ]     sorted
 *	sizes    [   0x80    0x20    0x44 ]     offset + size <= the next offset
 *	names    [      0      11      15 ]     where the name begins in `text`
 *	text     "ares_free\0..."
 *
 * On disk the same as columns (gaps, sizes, shared prefixes, rests, text), because zstd packs equal
 * things best when they lie together. A gap is the distance from the end of the function before, so
 * what comes out of a decoder cannot overlap or be out of order.
 */

#include "profile/symbols.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/compress.h"
#include "core/hash.h"

#define SYMBOLS_MAGIC         0x79736670u /* "pfsy" */
#define SYMBOLS_VERSION       1
#define SYMBOLS_HEADER_BYTES  20
#define SYMBOLS_TRAILER_BYTES 8
/* The columns of one symbol without its text: varints of gap, size, shared and rest. */
#define SYMBOLS_COLUMNS_BYTES_MAX 21

struct symbol {
	uint64_t offset;
	uint32_t bytes;
	uint32_t name_at; /* in the builder's text */
	uint32_t name_bytes;
	uint32_t rank; /* order of insertion: breaks ties */
};

struct symbols_builder {
	struct symbol *symbols;
	uint32_t count;
	uint32_t capacity;
	struct buf text;
};

struct symbols {
	uint64_t *offsets;
	uint32_t *sizes;
	uint32_t *names;
	char *text;
	uint32_t count;
	size_t text_bytes;
};

struct symbols_builder *symbols_builder_new(void)
{
	return calloc(1, sizeof(struct symbols_builder));
}

void symbols_builder_free(struct symbols_builder *builder)
{
	if (!builder)
		return;
	free(builder->symbols);
	buf_fini(&builder->text);
	free(builder);
}

/* Whether one more would still be small enough for symbols_open(), unpacked in either form. */
static bool symbols_builder_fits(const struct symbols_builder *builder, size_t name_bytes)
{
	uint64_t columns = (builder->count + UINT64_C(1)) * (SYMBOLS_COLUMNS_BYTES_MAX + 1);

	return builder->count < SYMBOLS_COUNT_MAX &&
	       builder->text.count + name_bytes + columns <= SYMBOLS_BYTES_MAX;
}

int symbols_builder_add(struct symbols_builder *builder, uint64_t offset, uint64_t bytes,
        const char *name, size_t name_count)
{
	if (name_count > SYMBOLS_NAME_BYTES_MAX)
		name_count = SYMBOLS_NAME_BYTES_MAX;
	name_count = strnlen(name, name_count);
	/* The last address of the address space has no successor, so nothing may hold it. */
	if (bytes > UINT64_MAX - offset)
		bytes = UINT64_MAX - offset;
	if (bytes > UINT32_MAX)
		bytes = UINT32_MAX;
	if (bytes == 0 || name_count == 0)
		return 0;
	if (!symbols_builder_fits(builder, name_count))
		return -ENOSPC;

	if (builder->count == builder->capacity) {
		uint32_t capacity = builder->capacity ? builder->capacity * 2 : 1024;
		struct symbol *symbols = reallocarray(
		        builder->symbols, capacity, sizeof(struct symbol));
		if (!symbols)
			return -ENOMEM;
		builder->symbols = symbols;
		builder->capacity = capacity;
	}
	size_t name_at = builder->text.count;
	buf_put(&builder->text, name, name_count);
	if (builder->text.failed) {
		builder->text.failed = false;
		return -ENOMEM;
	}
	builder->symbols[builder->count] = (struct symbol){
		.offset = offset,
		.bytes = (uint32_t)bytes,
		.name_at = (uint32_t)name_at,
		.name_bytes = (uint32_t)name_count,
		.rank = builder->count,
	};
	builder->count++;
	return 0;
}

static int symbol_compare(const void *left, const void *right)
{
	const struct symbol *a = left;
	const struct symbol *b = right;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* Sorts, keeps the first of each offset, and cuts what reaches into the next. */
static void symbols_builder_settle(struct symbols_builder *builder)
{
	uint32_t kept = 0;

	if (builder->count == 0)
		return;
	qsort(builder->symbols, builder->count, sizeof(struct symbol), symbol_compare);
	for (uint32_t i = 1; i < builder->count; i++)
		if (builder->symbols[i].offset != builder->symbols[kept].offset)
			builder->symbols[++kept] = builder->symbols[i];
	builder->count = kept + 1;

	for (uint32_t i = 0; i + 1 < builder->count; i++) {
		uint64_t room = builder->symbols[i + 1].offset - builder->symbols[i].offset;
		if (builder->symbols[i].bytes > room)
			builder->symbols[i].bytes = (uint32_t)room;
	}
}

static uint32_t shared_prefix(
        const uint8_t *a, uint32_t a_count, const uint8_t *b, uint32_t b_count)
{
	uint32_t limit = a_count < b_count ? a_count : b_count;
	uint32_t shared = 0;

	while (shared < limit && a[shared] == b[shared])
		shared++;
	return shared;
}

/* The columns, one after the other. */
static void symbols_builder_columns(const struct symbols_builder *builder, struct buf *to)
{
	AUTO_BUF rests = { 0 };
	AUTO_BUF text = { 0 };
	const struct symbol *symbols = builder->symbols;
	uint64_t end = 0;

	for (uint32_t i = 0; i < builder->count; i++) {
		buf_put_varint(to, symbols[i].offset - end);
		end = symbols[i].offset + symbols[i].bytes;
	}
	for (uint32_t i = 0; i < builder->count; i++)
		buf_put_varint(to, symbols[i].bytes);
	for (uint32_t i = 0; i < builder->count; i++) {
		const uint8_t *name = builder->text.bytes + symbols[i].name_at;
		uint32_t shared = 0;

		if (i > 0)
			shared = shared_prefix(builder->text.bytes + symbols[i - 1].name_at,
			        symbols[i - 1].name_bytes, name, symbols[i].name_bytes);
		buf_put_varint(to, shared);
		buf_put_varint(&rests, symbols[i].name_bytes - shared);
		buf_put(&text, name + shared, symbols[i].name_bytes - shared);
	}
	buf_put(to, rests.bytes, rests.count);
	buf_put(to, text.bytes, text.count);
	to->failed |= rests.failed || text.failed;
}

int symbols_builder_finish(struct symbols_builder *builder, struct buf *to)
{
	AUTO_BUF columns = { 0 };
	AUTO_BUF packed = { 0 };
	size_t start = to->count;

	symbols_builder_settle(builder);
	symbols_builder_columns(builder, &columns);
	if (columns.failed)
		return -ENOMEM;
	int result = compress_append(COMPRESS_ZSTD, columns.bytes, columns.count, &packed);
	if (result < 0)
		return result;

	buf_put_u32(to, SYMBOLS_MAGIC);
	buf_put_u16(to, SYMBOLS_VERSION);
	buf_put_u16(to, COMPRESS_ZSTD);
	buf_put_u32(to, builder->count);
	buf_put_u32(to, (uint32_t)columns.count);
	buf_put_u32(to, (uint32_t)packed.count);
	buf_put(to, packed.bytes, packed.count);
	if (to->failed)
		return -ENOMEM;
	buf_put_u64(to, hash64_bytes(to->bytes + start, to->count - start));
	return to->failed ? -ENOMEM : 0;
}

void symbols_free(struct symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->offsets);
	free(symbols->sizes);
	free(symbols->names);
	free(symbols->text);
	free(symbols);
}

static int symbols_read_ranges(struct symbols *symbols, struct reader *columns)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < symbols->count; i++)
		symbols->offsets[i] = reader_varint(columns);
	for (uint32_t i = 0; i < symbols->count; i++)
		symbols->sizes[i] = (uint32_t)reader_varint_max(columns, UINT32_MAX);
	for (uint32_t i = 0; i < symbols->count; i++) {
		uint64_t gap = symbols->offsets[i];

		if (symbols->sizes[i] == 0 || gap > UINT64_MAX - end ||
		        symbols->sizes[i] > UINT64_MAX - end - gap)
			return -EBADMSG;
		symbols->offsets[i] = end + gap;
		end += gap + symbols->sizes[i];
	}
	return columns->failed ? -EBADMSG : 0;
}

/*
 * Unfolds the names. `rests` and `text` start where their columns do. A first pass over the
 * lengths finds how much memory the names will take: a small file may claim long prefixes.
 */
static int symbols_read_names(struct symbols *symbols, struct reader *columns)
{
	struct reader shares = *columns;
	size_t text_bytes = 0;
	uint32_t before = 0;

	for (uint32_t i = 0; i < symbols->count; i++)
		(void)reader_varint(columns);
	struct reader rests = *columns;
	struct reader measure = shares;
	for (uint32_t i = 0; i < symbols->count; i++) {
		uint32_t shared = (uint32_t)reader_varint_max(&measure, before);
		uint32_t rest = (uint32_t)reader_varint_max(columns, SYMBOLS_NAME_BYTES_MAX);

		before = shared + rest;
		if (measure.failed || columns->failed || before == 0 ||
		        before > SYMBOLS_NAME_BYTES_MAX)
			return -EBADMSG;
		text_bytes += before + 1;
		if (text_bytes > SYMBOLS_BYTES_MAX)
			return -E2BIG;
	}

	symbols->text = malloc(text_bytes ? text_bytes : 1);
	if (!symbols->text)
		return -ENOMEM;
	symbols->text_bytes = text_bytes;

	size_t at = 0;
	for (uint32_t i = 0; i < symbols->count; i++) {
		size_t shared = (size_t)reader_varint(&shares);
		size_t rest = (size_t)reader_varint(&rests);
		const uint8_t *bytes = reader_bytes(columns, rest);

		if (!bytes || memchr(bytes, 0, rest))
			return -EBADMSG;
		/* Borrowed from the name before, which is longer or as long and ends behind it. */
		if (shared)
			memcpy(symbols->text + at, symbols->text + symbols->names[i - 1], shared);
		memcpy(symbols->text + at + shared, bytes, rest);
		symbols->text[at + shared + rest] = 0;
		symbols->names[i] = (uint32_t)at;
		at += shared + rest + 1;
	}
	return reader_left(columns) ? -EBADMSG : 0;
}

static int symbols_read(struct symbols *symbols, struct reader columns)
{
	/* One more than needed: no table is NULL for being empty. */
	symbols->offsets = calloc(symbols->count + 1, sizeof(uint64_t));
	symbols->sizes = calloc(symbols->count + 1, sizeof(uint32_t));
	symbols->names = calloc(symbols->count + 1, sizeof(uint32_t));
	if (!symbols->offsets || !symbols->sizes || !symbols->names)
		return -ENOMEM;
	int result = symbols_read_ranges(symbols, &columns);
	return result < 0 ? result : symbols_read_names(symbols, &columns);
}

int symbols_open(const void *bytes, size_t count, struct symbols **ret_symbols)
{
	struct reader from = reader_of(bytes, count);

	if (count < SYMBOLS_HEADER_BYTES + SYMBOLS_TRAILER_BYTES)
		return -EBADMSG;
	struct reader trailer = reader_of(
	        (const uint8_t *)bytes + count - SYMBOLS_TRAILER_BYTES, SYMBOLS_TRAILER_BYTES);
	if (hash64_bytes(bytes, count - SYMBOLS_TRAILER_BYTES) != reader_u64(&trailer))
		return -EBADMSG;

	uint32_t magic = reader_u32(&from);
	uint16_t version = reader_u16(&from);
	uint16_t codec = reader_u16(&from);
	uint32_t symbols_count_said = reader_u32(&from);
	uint32_t unpacked = reader_u32(&from);
	uint32_t packed = reader_u32(&from);
	if (magic != SYMBOLS_MAGIC || version != SYMBOLS_VERSION || codec != COMPRESS_ZSTD ||
	        packed != count - SYMBOLS_HEADER_BYTES - SYMBOLS_TRAILER_BYTES)
		return -EBADMSG;
	if (symbols_count_said > SYMBOLS_COUNT_MAX || unpacked > SYMBOLS_BYTES_MAX)
		return -E2BIG;
	/* Each has four varints, and at least one byte of name or of prefix length. */
	if (symbols_count_said > unpacked / 4)
		return -EBADMSG;

	AUTO_BUF columns = { 0 };
	int result = compress_unpack(COMPRESS_ZSTD, reader_bytes(&from, packed), packed, unpacked,
	        SYMBOLS_BYTES_MAX, &columns);
	if (result < 0)
		return result;

	AUTO(symbols) symbols = calloc(1, sizeof(*symbols));
	if (!symbols)
		return -ENOMEM;
	symbols->count = symbols_count_said;
	result = symbols_read(symbols, reader_of(columns.bytes, columns.count));
	if (result < 0)
		return result;

	*ret_symbols = TAKE(symbols);
	return 0;
}

uint32_t symbols_count(const struct symbols *symbols)
{
	return symbols->count;
}

const char *symbols_find(const struct symbols *symbols, uint64_t offset, uint64_t *ret_start)
{
	uint32_t low = 0;
	uint32_t high = symbols->count;

	/* The number of functions that begin at or before the offset. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (symbols->offsets[middle] <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || offset - symbols->offsets[low - 1] >= symbols->sizes[low - 1])
		return NULL;

	*ret_start = symbols->offsets[low - 1];
	return symbols->text + symbols->names[low - 1];
}

size_t symbols_memory(const struct symbols *symbols)
{
	return sizeof(*symbols) + (symbols->count + UINT64_C(1)) * 16 + symbols->text_bytes;
}
