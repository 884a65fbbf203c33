/*
 * Detail chunks: whatever goes in comes out, and what is no chunk is refused, whoever made it.
 */

#include "storage/detail_chunk.h"

#include <errno.h>

#include "storage/block_head.h"
#include "tests/lib/fault.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/storage/random_detail.h"

#define SEEDS  60
#define GOLDEN "tests/golden/block_v1.hex"

static const struct kv_bytes key = { "window/service/cpu", 18 };

static struct kv_bytes bytes_of(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

static void encode(
        const struct detail_contents *contents, enum column_effort effort, struct buf *to)
{
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	buf_reset(to);
	CHECK_OK(detail_chunk_encode(contents, key, effort, &scratch, to));
}

static uint64_t sum_of_values(const struct detail_contents *contents)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < contents->rows_count; i++)
		sum += contents->values[i];
	return sum;
}

static void check_heads(const struct detail_contents *expected, const struct detail_heads *heads)
{
	for (uint32_t i = 0; i < expected->intervals_count; i++) {
		const struct detail_interval *a = &expected->intervals[i];
		const struct detail_interval *b = &heads->intervals[i];
		CHECK(a->stream == b->stream && a->seq == b->seq);
		CHECK(a->start_ns == b->start_ns && a->duration_ns == b->duration_ns);
	}
	for (uint32_t i = 0; i < expected->reports_count; i++) {
		const struct detail_report *a = &expected->reports[i];
		const struct detail_report *b = &heads->reports[i];
		CHECK(a->series == b->series && a->interval == b->interval);
		CHECK(a->rows_first == b->rows_first && a->rows_count == b->rows_count);
		CHECK(a->has_coverage == b->has_coverage && a->coverage_ns == b->coverage_ns);
	}
	for (uint32_t i = 0; i < expected->losses_count; i++) {
		const struct detail_loss *a = &expected->losses[i];
		const struct detail_loss *b = &heads->losses[i];
		CHECK(a->series == b->series && a->interval == b->interval);
		CHECK(a->reason == b->reason && a->count == b->count);
	}
}

static void check_comes_back(const struct detail_contents *expected, const struct buf *bytes,
        struct detail_memory *memory)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct detail_rows rows;
	CHECK_OK(detail_chunk_open(key, bytes_of(bytes), &chunk));
	assert_int_equal(chunk.dictionary_count, expected->dictionary_count);
	assert_int_equal(chunk.dictionary_hash, expected->dictionary_hash);
	assert_int_equal(chunk.intervals_count, expected->intervals_count);
	assert_int_equal(chunk.reports_count, expected->reports_count);
	assert_int_equal(chunk.rows_count, expected->rows_count);
	assert_int_equal(chunk.losses_count, expected->losses_count);
	assert_int_equal(chunk.samples, sum_of_values(expected));

	CHECK_OK(detail_chunk_get_heads(&chunk, memory, &heads));
	check_heads(expected, &heads);
	CHECK_OK(detail_chunk_get_rows(&chunk, memory, &rows));
	for (uint32_t i = 0; i < expected->rows_count; i++) {
		CHECK(rows.places[i] == expected->places[i]);
		CHECK(detail_rows_value(&rows, i) == expected->values[i]);
	}
}

static void random_contents_come_back_on_both_paths(void **state)
{
	AUTO(detail_memory) memory = detail_memory_new();
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		AUTO(random_detail) detail = random_detail_new(seed, seed % 5 ? 40 : 3);
		AUTO_BUF bytes = { 0 };
		for (int path = 0; path < 4; path++) {
			column_use_path(path % 2 ? COLUMN_PATH_PLAIN : COLUMN_PATH_BEST);
			encode(&detail->contents, path / 2 ? COLUMN_SMALL : COLUMN_FAST, &bytes);
			check_comes_back(&detail->contents, &bytes, memory);
		}
	}
	column_use_path(COLUMN_PATH_BEST);
}

static void sums_are_those_of_the_rows_that_are_wanted(void **state)
{
	AUTO(detail_memory) memory = detail_memory_new();
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		AUTO(random_detail) detail = random_detail_new(seed, 40);
		const struct detail_contents *contents = &detail->contents;
		AUTO_BUF bytes = { 0 };
		encode(contents, COLUMN_FAST, &bytes);
		AUTO(stack_sums) sums = stack_sums_new(contents->dictionary_count);
		autofree uint64_t *expected = calloc(contents->dictionary_count, sizeof(*expected));
		autofree uint8_t *wanted = calloc(contents->reports_count + 1, 1);
		for (uint32_t round = 0; round < 3; round++) {
			for (uint32_t i = 0; i < contents->reports_count; i++) {
				const struct detail_report *report = &contents->reports[i];
				wanted[i] = (report->series + i + round) % 3 == 0;
				for (uint32_t row = 0; row < report->rows_count; row++)
					if (wanted[i] || round == 0)
						expected[contents->places[report->rows_first +
						                          row]] +=
						        contents->values[report->rows_first + row];
			}
			struct detail_chunk chunk;
			struct detail_heads heads;
			CHECK_OK(detail_chunk_open(key, bytes_of(&bytes), &chunk));
			CHECK_OK(detail_chunk_get_heads(&chunk, memory, &heads));
			CHECK_OK(detail_chunk_sum(&chunk, memory, round ? wanted : NULL, sums));
			const uint64_t *got;
			CHECK_OK(stack_sums_get(sums, &got));
			for (uint32_t i = 0; i < contents->dictionary_count; i++)
				assert_int_equal(got[i], expected[i]);
		}
	}
}

static void sums_over_another_dictionary_are_refused(void **state)
{
	AUTO(random_detail) detail = random_detail_new(2, 40);
	AUTO(detail_memory) memory = detail_memory_new();
	AUTO(stack_sums) sums = stack_sums_new(detail->contents.dictionary_count + 1);
	AUTO_BUF bytes = { 0 };
	struct detail_chunk chunk;
	struct detail_heads heads;
	encode(&detail->contents, COLUMN_FAST, &bytes);
	CHECK_OK(detail_chunk_open(key, bytes_of(&bytes), &chunk));
	CHECK_OK(detail_chunk_get_heads(&chunk, memory, &heads));
	assert_int_equal(detail_chunk_sum(&chunk, memory, NULL, sums), -EBADMSG);
}

static void extremes_come_back(void **state)
{
	static const struct detail_interval intervals[] = {
		{ 0, UINT64_MAX, 0, UINT64_MAX },
		{ 0, 0, UINT64_MAX, 0 },
		{ UINT32_MAX, UINT64_MAX / 2, 5, 1 },
	};
	static const struct detail_report reports[] = {
		{ 0, 0, 0, 1, true, UINT64_MAX },
		{ 0, 2, 1, 0, true, 0 },
		{ UINT32_MAX - 1, 1, 1, 1, false, 0 },
	};
	static const uint32_t places[] = { SUMS_DICTIONARY_MAX - 1, 0 };
	static const uint64_t values[] = { UINT64_MAX - 1, 1 };
	static const struct detail_loss losses[] = {
		{ 3, 2, UINT32_MAX, UINT64_MAX - 1 },
		{ SERIES_NONE, 0, 0, 1 },
	};
	const struct detail_contents contents = {
		.dictionary_count = SUMS_DICTIONARY_MAX,
		.dictionary_hash = UINT64_MAX,
		.intervals = intervals,
		.intervals_count = COUNT_OF(intervals),
		.reports = reports,
		.reports_count = COUNT_OF(reports),
		.places = places,
		.values = values,
		.rows_count = COUNT_OF(places),
		.losses = losses,
		.losses_count = COUNT_OF(losses),
	};
	AUTO(detail_memory) memory = detail_memory_new();
	AUTO_BUF bytes = { 0 };
	encode(&contents, COLUMN_SMALL, &bytes);
	check_comes_back(&contents, &bytes, memory);
}

static void nothing_and_watchers_of_nothing_come_back(void **state)
{
	static const struct detail_interval interval = { 4, 9, 1000, 50 };
	static const struct detail_loss loss = { SERIES_NONE, 0, LOSS_RING_FULL, 12 };
	struct detail_contents contents = { 0 };
	AUTO(detail_memory) memory = detail_memory_new();
	AUTO_BUF bytes = { 0 };
	encode(&contents, COLUMN_FAST, &bytes);
	check_comes_back(&contents, &bytes, memory);
	contents.intervals = &interval;
	contents.intervals_count = 1;
	encode(&contents, COLUMN_FAST, &bytes);
	check_comes_back(&contents, &bytes, memory);
	contents.losses = &loss;
	contents.losses_count = 1;
	encode(&contents, COLUMN_FAST, &bytes);
	check_comes_back(&contents, &bytes, memory);
}

static void samples_past_64_bits_are_an_error_of_the_writer(void **state)
{
	static const struct detail_interval interval = { 1, 1, 1, 1 };
	static const struct detail_report report = { 1, 0, 0, 2, false, 0 };
	static const uint32_t places[] = { 0, 1 };
	static const uint64_t values[] = { UINT64_MAX, 1 };
	const struct detail_contents contents = { .dictionary_count = 2,
		.intervals = &interval,
		.intervals_count = 1,
		.reports = &report,
		.reports_count = 1,
		.places = places,
		.values = values,
		.rows_count = 2 };
	AUTO_COLUMN_SCRATCH scratch = { 0 };
	AUTO_BUF bytes = { 0 };
	assert_int_equal(
	        detail_chunk_encode(&contents, key, COLUMN_FAST, &scratch, &bytes), -EOVERFLOW);
}

/* Reads all there is; what is accepted must be fit to be written again, which asserts its order. */
static int read_all(struct kv_bytes value, struct detail_memory *memory)
{
	struct detail_chunk chunk;
	struct detail_heads heads;
	struct detail_rows rows;
	int r = detail_chunk_open(key, value, &chunk);
	r = r < 0 ? r : detail_chunk_get_heads(&chunk, memory, &heads);
	r = r < 0 ? r : detail_chunk_get_rows(&chunk, memory, &rows);
	if (r < 0)
		return r;
	autofree uint64_t *values = calloc(chunk.rows_count + 1, sizeof(*values));
	for (uint32_t i = 0; i < chunk.rows_count; i++)
		values[i] = detail_rows_value(&rows, i);
	const struct detail_contents contents = {
		.dictionary_count = chunk.dictionary_count,
		.dictionary_hash = chunk.dictionary_hash,
		.intervals = heads.intervals,
		.intervals_count = chunk.intervals_count,
		.reports = heads.reports,
		.reports_count = chunk.reports_count,
		.places = rows.places,
		.values = values,
		.rows_count = chunk.rows_count,
		.losses = heads.losses,
		.losses_count = chunk.losses_count,
	};
	AUTO_BUF again = { 0 };
	encode(&contents, COLUMN_FAST, &again);
	return 0;
}

static void every_flipped_bit_is_refused(void **state)
{
	AUTO(random_detail) detail = random_detail_new(7, 3);
	AUTO_BUF bytes = { 0 };
	encode(&detail->contents, COLUMN_FAST, &bytes);
	CHECK(detail->contents.rows_count > 50);
	for (size_t bit = 0; bit < bytes.count * 8; bit++) {
		struct detail_chunk chunk;
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(detail_chunk_open(key, bytes_of(&bytes), &chunk), -EBADMSG);
		bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t count = 0; count < bytes.count; count++) {
		struct detail_chunk chunk;
		struct kv_bytes cut = { bytes.bytes, count };
		assert_int_equal(detail_chunk_open(key, cut, &chunk), -EBADMSG);
	}
}

/* As a writer gone mad would: the checksum is right. */
static void flipped_bits_under_a_right_checksum_are_refused_or_contents(void **state)
{
	AUTO(detail_memory) memory = detail_memory_new();
	uint32_t refused = 0;
	for (uint64_t seed = 5; seed < 9; seed++) {
		AUTO(random_detail) detail = random_detail_new(seed, 4);
		AUTO_BUF bytes = { 0 };
		encode(&detail->contents, seed % 2 ? COLUMN_FAST : COLUMN_SMALL, &bytes);
		for (size_t bit = BLOCK_HEAD_BYTES * 8; bit < bytes.count * 8; bit++) {
			bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			block_head_seal(&bytes, key);
			/* Exactly as much memory as there is, for the sanitizer to watch. */
			autofree uint8_t *exact = malloc(bytes.count);
			memcpy(exact, bytes.bytes, bytes.count);
			int r = read_all((struct kv_bytes){ exact, bytes.count }, memory);
			CHECK(r == 0 || r == -EBADMSG);
			refused += r < 0;
			bytes.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	CHECK(refused > 100);
}

static void another_key_or_magic_is_refused_and_a_later_version_named(void **state)
{
	AUTO(random_detail) detail = random_detail_new(1, 3);
	AUTO_BUF bytes = { 0 };
	struct detail_chunk chunk;
	struct kv_bytes other = { "window/service/cpv", 18 };
	encode(&detail->contents, COLUMN_FAST, &bytes);
	CHECK_OK(detail_chunk_open(key, bytes_of(&bytes), &chunk));
	assert_int_equal(detail_chunk_open(other, bytes_of(&bytes), &chunk), -EBADMSG);

	uint8_t *version = bytes.bytes + BLOCK_HEAD_BYTES - 2;
	version[0] = BLOCK_VERSION_DETAIL + 1;
	block_head_seal(&bytes, key);
	CHECK_OK(detail_chunk_open(key, bytes_of(&bytes), &chunk));
	version[1] = BLOCK_VERSION_DETAIL + 1;
	block_head_seal(&bytes, key);
	assert_int_equal(detail_chunk_open(key, bytes_of(&bytes), &chunk), -EPROTONOSUPPORT);
	version[0] = BLOCK_VERSION_DETAIL;
	version[1] = BLOCK_VERSION_DETAIL;
	bytes.bytes[BLOCK_CHECKSUM_BYTES]++;
	block_head_seal(&bytes, key);
	assert_int_equal(detail_chunk_open(key, bytes_of(&bytes), &chunk), -EBADMSG);
}

static void out_of_memory_is_said(void **state)
{
	AUTO(random_detail) detail = random_detail_new(3, 40);
	AUTO_BUF bytes = { 0 };
	encode(&detail->contents, COLUMN_FAST, &bytes);
	for (uint32_t nth = 0;; nth++) {
		AUTO_COLUMN_SCRATCH scratch = { 0 };
		AUTO_BUF to = { 0 };
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = detail_chunk_encode(&detail->contents, key, COLUMN_FAST, &scratch, &to);
		if (!fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	for (uint32_t nth = 0;; nth++) {
		struct detail_chunk chunk;
		struct detail_heads heads;
		struct detail_rows rows;
		AUTO(detail_memory) memory = detail_memory_new();
		CHECK_OK(detail_chunk_open(key, bytes_of(&bytes), &chunk));
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = detail_chunk_get_heads(&chunk, memory, &heads);
		r = r < 0 ? r : detail_chunk_get_rows(&chunk, memory, &rows);
		if (!fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
	}
}

/* Two instances of a service in two intervals of ten seconds, and a few losses. */
static void golden_bytes_are_written_and_read(void **state)
{
	static const struct detail_interval intervals[] = {
		{ 3, 17, UINT64_C(1700000000000000000), UINT64_C(10000000000) },
		{ 3, 18, UINT64_C(1700000010000000000), UINT64_C(10000000123) },
	};
	static const struct detail_report reports[] = {
		{ 40, 0, 0, 3, true, UINT64_C(10000000000) },
		{ 40, 1, 3, 2, true, UINT64_C(10000000123) },
		{ 41, 1, 5, 1, true, UINT64_C(9000000000) },
	};
	static const uint32_t places[] = { 0, 1, 4, 0, 3, 2 };
	static const uint64_t values[] = { 5, 1, 1, 4, 1, 1 };
	static const struct detail_loss losses[] = {
		{ 41, 1, LOSS_RING_FULL, 2 },
		{ SERIES_NONE, 0, LOSS_PERF_LOST, 1 },
	};
	const struct detail_contents contents = {
		.dictionary_count = 5,
		.dictionary_hash = UINT64_C(0x0123456789abcdef),
		.intervals = intervals,
		.intervals_count = COUNT_OF(intervals),
		.reports = reports,
		.reports_count = COUNT_OF(reports),
		.places = places,
		.values = values,
		.rows_count = COUNT_OF(places),
		.losses = losses,
		.losses_count = COUNT_OF(losses),
	};
	AUTO(detail_memory) memory = detail_memory_new();
	AUTO_BUF bytes = { 0 };
	AUTO_BUF golden = { 0 };
	encode(&contents, COLUMN_FAST, &bytes);
	golden_hex_check(GOLDEN, "detail", &bytes);
	golden_hex_read(GOLDEN, "detail", &golden);
	check_comes_back(&contents, &golden, memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_contents_come_back_on_both_paths),
		cmocka_unit_test(sums_are_those_of_the_rows_that_are_wanted),
		cmocka_unit_test(sums_over_another_dictionary_are_refused),
		cmocka_unit_test(extremes_come_back),
		cmocka_unit_test(nothing_and_watchers_of_nothing_come_back),
		cmocka_unit_test(samples_past_64_bits_are_an_error_of_the_writer),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(flipped_bits_under_a_right_checksum_are_refused_or_contents),
		cmocka_unit_test(another_key_or_magic_is_refused_and_a_later_version_named),
		cmocka_unit_test(out_of_memory_is_said),
		cmocka_unit_test(golden_bytes_are_written_and_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
