#pragma once

/*
 * block_format is the one place where the bytes of sealed blocks are fixed: what every reader
 * and writer of a column, a detail chunk (detail_chunk.h) and a sum block (sum_block.h) agrees
 * on. docs/formats/blocks.md is the same in words, with examples.
 *
 *	u64 checksum | u32 magic | u8 version | u8 version_min | directory | columns
 *
 * checksum = xxh3(everything behind it) xor xxh3(key): a block that ends up under another key is
 * as wrong as one with a flipped bit. version is what wrote it, version_min the oldest reader
 * that understands it. Integers are little-endian, the directory is varints.
 *
 *	column     u8 codec | varint bytes | bytes      nothing at all where the count is 0
 *	wide       two columns: the low 32 bits, the high 32 bits
 */

#include <stdint.h>

#define BLOCK_MAGIC_DETAIL 0x31444650 /* "PFD1" */
#define BLOCK_MAGIC_SUMS   0x31534650 /* "PFS1" */
#define BLOCK_MAGIC_VALUES 0x31564650 /* "PFV1" */

/* What we write, which is also the oldest reader that understands it. */
enum block_version {
	BLOCK_VERSION_DETAIL = 1,
	BLOCK_VERSION_SUMS = 2, /* in 1 the values of the groups were at the end of the block */
	BLOCK_VERSION_VALUES = 1,
};

#define BLOCK_CHECKSUM_BYTES 8
#define BLOCK_HEAD_BYTES     (BLOCK_CHECKSUM_BYTES + 4 + 1 + 1)

/* How the values of a column are written. Numbers are on disk and never reused. */
enum column_codec {
	COLUMN_CONSTANT = 0,  /* one varint */
	COLUMN_PFOR = 1,      /* patched frame of reference, below */
	COLUMN_SVB = 2,       /* StreamVByte with lengths 0, 1, 2, 4 */
	COLUMN_RAW = 3,       /* u32 each */
	COLUMN_PFOR_ZSTD = 4, /* varint unpacked bytes | a zstd frame of COLUMN_PFOR */
	COLUMN_SVB_ZSTD = 5,  /* the same of COLUMN_SVB */
	COLUMN_SPARSE = 6,    /* the places of what is not 0, below; in values of groups alone */
	COLUMN_CODECS,
};

/*
 * Groups of a sum block are written in an order in which stacks with about the same total are
 * neighbours, so that bits fit: by the class of their total over all groups, then by place. Readers
 * derive it from the totals. Totals below 64 are their own class, larger ones have four classes per
 * power of two.
 */
#define SUMS_CLASSES 296

static inline uint32_t sums_class(uint64_t total)
{
	if (total < 64)
		return (uint32_t)total;
	uint32_t power = 63 - (uint32_t)__builtin_clzll(total);
	return 64 + 4 * (power - 6) + (uint32_t)(total >> (power - 2) & 3);
}

/*
 * PFOR: blocks of 256 values, the last one shorter. value i of a block is in lane i % 8; each
 * lane packs its values of `width` bits one behind the other into words of 32 bits; word w of
 * lane l is at byte (w * 8 + l) * 4.
 *
 *	u8 width | PFOR_HAS_BASE   u8 exceptions   [u32 base]   [u8 high width, if exceptions]
 *	words: 8 * ceil(rows * width / 32) u32, rows = ceil(values / 8)
 *	u8 position of each exception
 *	high width bits for each exception, packed from the lowest bit on, up to a whole byte
 *
 * value = base + packed, of an exception base + packed + ((high + 1) << width)
 */
#define PFOR_VALUES         256
#define PFOR_LANES          8
#define PFOR_HAS_BASE       0x80
#define PFOR_EXCEPTIONS_MAX 255
/* What one block can take at most, whoever wrote it. */
#define PFOR_BLOCK_BYTES_MAX (2 + 4 + 1 + 32 * PFOR_LANES * 4 + PFOR_EXCEPTIONS_MAX * 5 + 1)

/*
 * SPARSE: sections of 4096 values, the last one shorter: varint (bytes * 2 + is packed), and bytes:
 * PFOR where it is packed, else bits, from the lowest of each byte on:
 *
 *	13 count of values that are not 0; nothing behind it for none
 *	5 shift   for each: its place, less the place behind the one before
 *	13 count of those that are more than 1; nothing behind it for none
 *	5 shift   5 shift   for each: its index among those not 0, less the index behind the one
 *	                    before, by the first shift; value - 2, by the second
 *
 * A number by a shift: (number >> shift) ones and a zero, then the low bits; where that would be 20
 * ones or more, 20 ones and 32 bits.
 */
#define SPARSE_SECTION    4096
#define SPARSE_COUNT_BITS 13
#define SPARSE_SHIFT_BITS 5
#define SPARSE_SHIFT_MAX  24 /* that we write */
#define SPARSE_ESCAPE     20

/* Counts beyond these are refused before memory is taken for them. */
#define COLUMN_COUNT_MAX     (1u << 24)
#define DETAIL_ROWS_MAX      (1u << 20)
#define DETAIL_REPORTS_MAX   (1u << 20)
#define DETAIL_INTERVALS_MAX (1u << 20)
#define DETAIL_LOSSES_MAX    (1u << 20)
#define SUMS_DICTIONARY_MAX  (1u << 24)
#define SUMS_GROUPS_MAX      (1u << 16)
#define SUMS_INSTANCES_MAX   (1u << 24)
#define SUMS_LOSSES_MAX      (1u << 20)
