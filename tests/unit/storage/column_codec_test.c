/*
 * Columns: what goes in comes out, of every shape and length, by every packing, on both paths with
 * the same bytes; and no byte that is not a column is taken for one.
 */

#include "storage/column_codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"
#include "core/rng.h"
#include "tests/lib/fault.h"
#include "tests/unit/profile/golden_hex.h"

#define GOLDEN    "tests/golden/block_v1.hex"
#define GOLDEN_2  "tests/golden/block_v2.hex"
#define COUNT_MAX 9000

static const uint32_t counts[] = { 1, 2, 3, 7, 8, 9, 31, 32, 33, 255, 256, 257, 511, 512, 513, 1000,
	3000, 4096, 4097, COUNT_MAX };

static const enum column_effort efforts[] = { COLUMN_FAST, COLUMN_SMALL, COLUMN_ZEROES };

/* What a column may look like. */
static uint32_t shape_constant(struct rng *rng, uint32_t i)
{
	return 77;
}

static uint32_t shape_zero(struct rng *rng, uint32_t i)
{
	return 0;
}

static uint32_t shape_few_bits(struct rng *rng, uint32_t i)
{
	return (uint32_t)rng_below(rng, 3);
}

static uint32_t shape_small_with_large_among_them(struct rng *rng, uint32_t i)
{
	return (uint32_t)(rng_below(rng, 20) ? rng_below(rng, 200) : rng_u64(rng));
}

static uint32_t shape_any_size(struct rng *rng, uint32_t i)
{
	return (uint32_t)(rng_u64(rng) >> (32 + rng_below(rng, 32)));
}

static uint32_t shape_all_bits(struct rng *rng, uint32_t i)
{
	return (uint32_t)rng_u64(rng);
}

static uint32_t shape_far_from_zero(struct rng *rng, uint32_t i)
{
	return UINT32_MAX - (uint32_t)rng_below(rng, 100);
}

static uint32_t shape_far_from_zero_with_larger(struct rng *rng, uint32_t i)
{
	return 1000000000 +
	       (uint32_t)(rng_below(rng, 30) ? rng_below(rng, 50) : rng_below(rng, 2000000000));
}

static uint32_t shape_periodic(struct rng *rng, uint32_t i)
{
	return i % 7 * 1000003;
}

static uint32_t shape_rising_width(struct rng *rng, uint32_t i)
{
	return (uint32_t)rng_below(rng, UINT64_C(1) << (i / 90 % 33));
}

static uint32_t shape_mostly_zero(struct rng *rng, uint32_t i)
{
	if (rng_below(rng, 12))
		return 0;
	return rng_below(rng, 4) ? 1 : 1 + (uint32_t)(rng_u64(rng) >> (32 + rng_below(rng, 32)));
}

static uint32_t shape_one_large(struct rng *rng, uint32_t i)
{
	return i == 5 ? UINT32_MAX : 0;
}

typedef uint32_t shape_make(struct rng *rng, uint32_t i);

static shape_make *const shapes[] = { shape_constant, shape_zero, shape_few_bits,
	shape_small_with_large_among_them, shape_any_size, shape_all_bits, shape_far_from_zero,
	shape_far_from_zero_with_larger, shape_periodic, shape_rising_width, shape_one_large,
	shape_mostly_zero };

struct fixture {
	uint32_t values[COUNT_MAX];
	uint32_t got[COUNT_MAX];
	uint32_t count;
	uint32_t max;
	struct column_scratch scratch;
	struct buf bytes;
};

static void fill(struct fixture *fixture, shape_make *shape, uint32_t count, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	fixture->count = count;
	fixture->max = 0;
	for (uint32_t i = 0; i < count; i++) {
		fixture->values[i] = shape(&rng, i);
		if (fixture->values[i] > fixture->max)
			fixture->max = fixture->values[i];
	}
}

static int get(struct fixture *fixture, const void *bytes, size_t count, uint32_t max,
        enum column_codec *ret_codec)
{
	struct reader reader = reader_of(bytes, count);
	struct column column = column_open(&reader, fixture->count);
	if (reader.failed || reader_left(&reader) > 0)
		return -EBADMSG;
	if (ret_codec)
		*ret_codec = column.codec;
	memset(fixture->got, 0xa5, sizeof(fixture->got));
	return column_get_u32(&column, max, fixture->got, &fixture->scratch);
}

static struct fixture *fixture_new(void)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	CHECK(fixture);
	return fixture;
}

static void fixture_free(struct fixture *fixture)
{
	buf_fini(&fixture->bytes);
	column_scratch_fini(&fixture->scratch);
	free(fixture);
	column_use_path(COLUMN_PATH_BEST);
}
DEFINE_AUTO(fixture);

static void every_shape_and_length_comes_back_on_both_paths(void **state)
{
	AUTO(fixture) fixture = fixture_new();
	uint32_t met[COLUMN_CODECS] = { 0 };
	for (size_t s = 0; s < COUNT_OF(shapes) * COUNT_OF(counts) * COUNT_OF(efforts); s++) {
		enum column_effort effort = efforts[s % COUNT_OF(efforts)];
		size_t n = s / COUNT_OF(efforts);
		fill(fixture, shapes[n / COUNT_OF(counts)], counts[n % COUNT_OF(counts)], s);
		buf_reset(&fixture->bytes);
		column_put_u32(fixture->values, fixture->count, effort, &fixture->scratch,
		        &fixture->bytes);
		CHECK(!fixture->bytes.failed);
		CHECK(fixture->bytes.count <= fixture->count * 4 + 6);

		/* Exactly as much memory as there is, for the sanitizer to watch. */
		autofree uint8_t *exact = malloc(fixture->bytes.count);
		memcpy(exact, fixture->bytes.bytes, fixture->bytes.count);
		for (int path = 0; path < 2; path++) {
			enum column_codec codec = COLUMN_CODECS;
			column_use_path(path ? COLUMN_PATH_PLAIN : COLUMN_PATH_BEST);
			CHECK_OK(get(fixture, exact, fixture->bytes.count, fixture->max, &codec));
			assert_memory_equal(
			        fixture->got, fixture->values, fixture->count * sizeof(uint32_t));
			if (fixture->max > 0)
				assert_int_equal(get(fixture, exact, fixture->bytes.count,
				                         fixture->max - 1, &codec),
				        -EBADMSG);
			met[codec]++;
			CHECK(effort == COLUMN_SMALL ||
			        (codec != COLUMN_PFOR_ZSTD && codec != COLUMN_SVB_ZSTD));
		}
	}
	for (int codec = 0; codec < COLUMN_CODECS; codec++)
		CHECK(met[codec] > 0);
}

static void bytes_are_the_same_on_both_paths(void **state)
{
	AUTO(fixture) fixture = fixture_new();
	for (size_t s = 0; s < COUNT_OF(shapes); s++) {
		AUTO_BUF plain = { 0 };
		fill(fixture, shapes[s], 1000, s);
		buf_reset(&fixture->bytes);
		column_use_path(COLUMN_PATH_BEST);
		column_put_u32(
		        fixture->values, 1000, COLUMN_SMALL, &fixture->scratch, &fixture->bytes);
		column_use_path(COLUMN_PATH_PLAIN);
		column_put_u32(fixture->values, 1000, COLUMN_SMALL, &fixture->scratch, &plain);
		assert_int_equal(plain.count, fixture->bytes.count);
		assert_memory_equal(plain.bytes, fixture->bytes.bytes, plain.count);
	}
}

/* Whatever a flip makes of it, both paths say the same, and never a value past max. */
static void flipped_bits_are_refused_or_within_bounds(void **state)
{
	AUTO(fixture) fixture = fixture_new();
	autofree uint32_t *plain = malloc(sizeof(fixture->got));
	uint32_t refused = 0;
	for (size_t s = 0; s < COUNT_OF(shapes) * COUNT_OF(efforts); s++) {
		fill(fixture, shapes[s / COUNT_OF(efforts)], 300, s);
		buf_reset(&fixture->bytes);
		column_put_u32(fixture->values, 300, efforts[s % COUNT_OF(efforts)],
		        &fixture->scratch, &fixture->bytes);
		size_t count = fixture->bytes.count;
		autofree uint8_t *exact = malloc(count);
		for (size_t bit = 0; bit < count * 8; bit++) {
			memcpy(exact, fixture->bytes.bytes, count);
			exact[bit / 8] ^= (uint8_t)(1 << bit % 8);
			column_use_path(COLUMN_PATH_PLAIN);
			int r = get(fixture, exact, count, fixture->max, NULL);
			memcpy(plain, fixture->got, sizeof(fixture->got));
			column_use_path(COLUMN_PATH_BEST);
			assert_int_equal(get(fixture, exact, count, fixture->max, NULL), r);
			refused += r < 0;
			if (r < 0) {
				assert_int_equal(r, -EBADMSG);
				continue;
			}
			assert_memory_equal(plain, fixture->got, sizeof(fixture->got));
			for (uint32_t i = 0; i < 300; i++)
				CHECK(fixture->got[i] <= fixture->max);
		}
	}
	CHECK(refused > 1000);
}

static void cut_or_lengthened_columns_are_refused(void **state)
{
	AUTO(fixture) fixture = fixture_new();
	for (size_t s = 0; s < COUNT_OF(shapes) * COUNT_OF(efforts); s++) {
		fill(fixture, shapes[s / COUNT_OF(efforts)], 600, s);
		buf_reset(&fixture->bytes);
		column_put_u32(fixture->values, 600, efforts[s % COUNT_OF(efforts)],
		        &fixture->scratch, &fixture->bytes);
		struct reader reader = reader_of(fixture->bytes.bytes, fixture->bytes.count);
		struct column column = column_open(&reader, 600);
		CHECK(!reader.failed);
		for (size_t count = 0; count < column.bytes_count; count++) {
			struct column cut = column;
			cut.bytes_count = count;
			int r = column_get_u32(&cut, UINT32_MAX, fixture->got, &fixture->scratch);
			assert_int_equal(r, -EBADMSG);
		}
		/* The same bytes hold no other number of values. */
		struct column other = column;
		other.count = 599;
		int r = column_get_u32(&other, UINT32_MAX, fixture->got, &fixture->scratch);
		CHECK(r == 0 || r == -EBADMSG);
		CHECK(column.codec != COLUMN_RAW || r == -EBADMSG);
		other.count = 1200;
		/* Those two do not say where they end: the rest is what the reader knows. */
		if (column.codec != COLUMN_CONSTANT && column.codec != COLUMN_SPARSE)
			assert_int_equal(
			        column_get_u32(&other, UINT32_MAX, fixture->got, &fixture->scratch),
			        -EBADMSG);
	}
}

static void unknown_codecs_and_lengths_are_refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t bytes[16];
		size_t count;
	} cases[] = {
		{ "codec of later", { COLUMN_CODECS, 1, 0 }, 3 },
		{ "codec 255", { 255, 1, 0 }, 3 },
		{ "longer than what is left", { COLUMN_RAW, 200, 0 }, 3 },
		{ "length past 64 bits",
		        { COLUMN_RAW, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
		        11 },
		{ "constant of no bytes", { COLUMN_CONSTANT, 0 }, 2 },
		{ "constant with a byte behind", { COLUMN_CONSTANT, 2, 1, 1 }, 4 },
		{ "zstd that claims four gigabytes",
		        { COLUMN_PFOR_ZSTD, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0 }, 8 },
		{ "zstd of nothing", { COLUMN_SVB_ZSTD, 1, 0 }, 3 },
		{ "width 33", { COLUMN_PFOR, 2, 33, 0 }, 4 },
		{ "base cut off", { COLUMN_PFOR, 4, 0x80, 0, 1, 2 }, 6 },
		{ "high width 33", { COLUMN_PFOR, 4, 0, 1, 33, 0 }, 6 },
		{ "exception behind the end", { COLUMN_PFOR, 5, 0, 1, 1, 9, 1 }, 7 },
		{ "nothing", { 0 }, 0 },
	};
	AUTO(fixture) fixture = fixture_new();
	fixture->count = 4;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		if (get(fixture, cases[i].bytes, cases[i].count, UINT32_MAX, NULL) != -EBADMSG)
			fail_msg("taken for a column: %s", cases[i].what);
}

static void column_of_nothing_takes_no_bytes(void **state)
{
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	AUTO_BUF bytes = { 0 };
	column_put_u32(NULL, 0, COLUMN_FAST, &scratch, &bytes);
	column_put_u64(NULL, 0, COLUMN_SMALL, &scratch, &bytes);
	assert_int_equal(bytes.count, 0);
	struct reader reader = reader_of(NULL, 0);
	struct column_wide column = column_open_wide(&reader, 0);
	CHECK(!reader.failed);
	CHECK_OK(column_get_u64(&column, 0, NULL, &scratch));
	CHECK(column_is_narrow(&column));
}

static void wide_values_come_back_exactly(void **state)
{
	static const uint32_t shifts[] = { 0, 20, 31, 32, 33, 40, 56, 63 };
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	for (size_t s = 0; s < COUNT_OF(shifts) * COUNT_OF(efforts); s++) {
		uint32_t shift = shifts[s / COUNT_OF(efforts)];
		uint64_t values[700], got[700], max = 0;
		AUTO_BUF bytes = { 0 };
		struct rng rng;
		rng_init(&rng, s);
		for (uint32_t i = 0; i < 700; i++) {
			values[i] = rng_u64(&rng) >> shift;
			max = values[i] > max ? values[i] : max;
		}
		column_put_u64(values, 700, efforts[s % COUNT_OF(efforts)], &scratch, &bytes);
		struct reader reader = reader_of(bytes.bytes, bytes.count);
		struct column_wide column = column_open_wide(&reader, 700);
		CHECK(!reader.failed && reader_left(&reader) == 0);
		assert_int_equal(column_is_narrow(&column), shift >= 32);
		CHECK_OK(column_get_u64(&column, max, got, &scratch));
		assert_memory_equal(got, values, sizeof(values));
		assert_int_equal(column_get_u64(&column, max - 1, got, &scratch), -EBADMSG);
	}
}

static void places_are_sums_of_distances(void **state)
{
	struct rng rng;
	rng_init(&rng, 1);
	for (uint32_t round = 0; round < 400; round++) {
		uint32_t count = (uint32_t)rng_below(&rng, 100);
		uint32_t distances[100], on_plain[100], expected[100];
		uint64_t place = 0;
		uint64_t bound = UINT64_C(1) << rng_below(&rng, 25);
		for (uint32_t i = 0; i < count; i++) {
			distances[i] = (uint32_t)rng_below(&rng, bound);
			place += distances[i];
			expected[i] = (uint32_t)place;
			place++;
		}
		memcpy(on_plain, distances, sizeof(distances));
		uint32_t limit = place < COLUMN_COUNT_MAX ? (uint32_t)place : COLUMN_COUNT_MAX;
		int r = place <= limit ? 0 : -EBADMSG;
		uint32_t again[100];
		memcpy(again, distances, sizeof(distances));
		column_use_path(COLUMN_PATH_BEST);
		assert_int_equal(column_places(distances, count, limit), r);
		column_use_path(COLUMN_PATH_PLAIN);
		assert_int_equal(column_places(on_plain, count, limit), r);
		column_use_path(COLUMN_PATH_BEST);
		if (r == 0) {
			assert_memory_equal(distances, expected, count * sizeof(uint32_t));
			assert_memory_equal(on_plain, expected, count * sizeof(uint32_t));
		}
		if (count > 0)
			assert_int_equal(column_places(again, count, limit - 1), -EBADMSG);
	}
}

static void ids_past_32_bits_are_refused(void **state)
{
	uint32_t good[] = { 5, 0, UINT32_MAX - 7 };
	uint32_t bad[] = { 5, 0, UINT32_MAX - 6 };
	CHECK_OK(column_ids(good, 3));
	assert_int_equal(good[0], 5);
	assert_int_equal(good[1], 6);
	assert_int_equal(good[2], UINT32_MAX);
	assert_int_equal(column_ids(bad, 3), -EBADMSG);
}

static uint32_t golden_constant(uint32_t i)
{
	return 300;
}

static uint32_t golden_patched(uint32_t i)
{
	return i == 7 ? 1700 : 1000 + i % 4;
}

static uint32_t golden_bytes(uint32_t i)
{
	return i == 3 ? 70000 : i == 4 ? 300 : i == 5 ? 20 : 0;
}

static uint32_t golden_raw(uint32_t i)
{
	return 0xfedcba98 - i * 0x01010101;
}

static uint32_t golden_periodic(uint32_t i)
{
	return i % 5;
}

/* Four values in 300: places 3, 17, 40 and 299, of which the second is 3. */
static uint32_t golden_sparse(uint32_t i)
{
	return i == 3 || i == 40 || i == 299 ? 1 : i == 17 ? 3 : 0;
}

/* What zstd writes may change with its releases; it must stay readable. */
static void golden_columns_are_written_and_read(void **state)
{
	static const struct {
		const char *name;
		uint32_t (*value)(uint32_t i);
		uint32_t count;
		enum column_codec codec;
		enum column_effort effort;
		const char *golden;
	} cases[] = {
		{ "column constant", golden_constant, 20, COLUMN_CONSTANT, COLUMN_FAST, GOLDEN },
		{ "column pfor", golden_patched, 20, COLUMN_PFOR, COLUMN_FAST, GOLDEN },
		{ "column svb", golden_bytes, 7, COLUMN_SVB, COLUMN_FAST, GOLDEN },
		{ "column raw", golden_raw, 3, COLUMN_RAW, COLUMN_FAST, GOLDEN },
		{ "column pfor zstd", golden_periodic, 1024, COLUMN_PFOR_ZSTD, COLUMN_SMALL,
		        GOLDEN },
		{ "column svb zstd", golden_periodic, 1024, COLUMN_SVB_ZSTD, COLUMN_SMALL, GOLDEN },
		{ "column sparse", golden_sparse, 300, COLUMN_SPARSE, COLUMN_ZEROES, GOLDEN_2 },
	};
	AUTO(fixture) fixture = fixture_new();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF golden = { 0 };
		enum column_codec codec = COLUMN_CODECS;
		fixture->count = cases[i].count;
		for (uint32_t n = 0; n < cases[i].count; n++)
			fixture->values[n] = cases[i].value(n);
		buf_reset(&fixture->bytes);
		column_put_u32(fixture->values, fixture->count, cases[i].effort, &fixture->scratch,
		        &fixture->bytes);
		if (cases[i].effort != COLUMN_SMALL)
			golden_hex_check(cases[i].golden, cases[i].name, &fixture->bytes);
		golden_hex_read(cases[i].golden, cases[i].name, &golden);
		CHECK_OK(get(fixture, golden.bytes, golden.count, UINT32_MAX, &codec));
		assert_int_equal(codec, cases[i].codec);
		assert_memory_equal(
		        fixture->got, fixture->values, fixture->count * sizeof(uint32_t));
	}
}

static void out_of_memory_is_said_and_nothing_else_happens(void **state)
{
	AUTO(fixture) fixture = fixture_new();
	fill(fixture, shape_any_size, 2000, 1);
	for (size_t e = 0; e < COUNT_OF(efforts); e++) {
		for (uint32_t nth = 0;; nth++) {
			AUTO_COLUMN_SCRATCH scratch = { 0 };
			AUTO_BUF bytes = { 0 };
			fault_arm(FAULT_ALLOC, nth, ENOMEM);
			column_put_u32(fixture->values, 2000, efforts[e], &scratch, &bytes);
			if (!fault_disarm()) {
				CHECK(!bytes.failed && nth > 0);
				break;
			}
			CHECK(bytes.failed);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shape_and_length_comes_back_on_both_paths),
		cmocka_unit_test(bytes_are_the_same_on_both_paths),
		cmocka_unit_test(flipped_bits_are_refused_or_within_bounds),
		cmocka_unit_test(cut_or_lengthened_columns_are_refused),
		cmocka_unit_test(unknown_codecs_and_lengths_are_refused),
		cmocka_unit_test(column_of_nothing_takes_no_bytes),
		cmocka_unit_test(wide_values_come_back_exactly),
		cmocka_unit_test(places_are_sums_of_distances),
		cmocka_unit_test(ids_past_32_bits_are_refused),
		cmocka_unit_test(golden_columns_are_written_and_read),
		cmocka_unit_test(out_of_memory_is_said_and_nothing_else_happens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
