/*
 * Batches add up: in any order, over any numbering, over the encoding and back. And what is no
 * encoding is refused whole.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "profile/batch.h"
#include "tests/lib/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/profile/golden_hex.h"
#include "tests/unit/profile/random_profile.h"

#define SEEDS 20

/* Nodes 1.. are a chain below the root, series 0.. have periods 1.. */
static struct dict *small_dict(uint32_t nodes, uint32_t series_count)
{
	struct dict *dict = dict_new(dict_limits_default);
	uint32_t type = random_string(dict, "type", 0);
	uint32_t frame, node = DICT_NODE_ROOT, id;
	CHECK_OK(dict_frame(
	        dict, &(struct frame){ .kind = FRAME_MANAGED, .function = type }, &frame));
	for (uint32_t i = 0; i < nodes; i++)
		CHECK_OK(dict_node(dict, node, frame, &node));
	for (uint32_t i = 0; i < series_count; i++) {
		struct series series = { .type = type, .unit = type, .period = i + 1 };
		CHECK_OK(dict_series(dict, &series, NULL, 0, &id));
	}
	return dict;
}

static void settling_sorts_and_adds_up_equal_keys(void **state)
{
	AUTO(dict) dict = small_dict(9, 3);
	AUTO(batch) batch = batch_new(dict);
	static const struct row added[] = {
		{ 2, 5, 10 },
		{ 0, 9, 1 },
		{ 0, 9, 2 },
		{ 2, 0, 7 },
		{ 0, 1, 4 },
		{ 2, 5, 90 },
		{ 0, 9, 3 },
	};
	static const struct row settled[] = { { 0, 1, 4 }, { 0, 9, 6 }, { 2, 0, 7 },
		{ 2, 5, 100 } };

	for (size_t i = 0; i < COUNT_OF(added); i++)
		CHECK_OK(batch_add_row(batch, added[i].series, added[i].node, added[i].value));
	CHECK_OK(batch_add_coverage(batch, 2, 5));
	CHECK_OK(batch_add_coverage(batch, 1, 6));
	CHECK_OK(batch_add_coverage(batch, 2, 7));
	CHECK_OK(batch_add_loss(batch, SERIES_NONE, LOSS_LATE, 1));
	CHECK_OK(batch_add_loss(batch, 1, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_loss(batch, SERIES_NONE, LOSS_LATE, 3));
	assert_int_equal(batch_samples(batch), 117);
	assert_int_equal(batch_lost(batch), 6);
	CHECK_OK(batch_settle(batch));

	assert_int_equal(batch->rows_count, COUNT_OF(settled));
	for (size_t i = 0; i < COUNT_OF(settled); i++) {
		assert_int_equal(batch->rows[i].series, settled[i].series);
		assert_int_equal(batch->rows[i].node, settled[i].node);
		assert_int_equal(batch->rows[i].value, settled[i].value);
	}
	assert_int_equal(batch->coverage_count, 2);
	assert_int_equal(batch->coverage[0].ns, 6);
	assert_int_equal(batch->coverage[1].ns, 12);
	assert_int_equal(batch->losses_count, 2);
	assert_int_equal(batch->losses[0].count, 2);
	assert_int_equal(batch->losses[1].count, 4);
	assert_int_equal(batch_samples(batch), 117);
	assert_int_equal(batch_lost(batch), 6);
}

static void nothing_is_not_kept_as_a_row_or_a_loss(void **state)
{
	AUTO(dict) dict = small_dict(1, 1);
	AUTO(batch) batch = batch_new(dict);
	CHECK_OK(batch_add_row(batch, 0, 1, 0));
	CHECK_OK(batch_add_loss(batch, 0, LOSS_LATE, 0));
	assert_int_equal(batch->rows_count, 0);
	assert_int_equal(batch->losses_count, 0);
}

static void sums_past_64_bits_are_refused_and_lose_nothing(void **state)
{
	AUTO(dict) dict = small_dict(3, 1);
	AUTO(batch) batch = batch_new(dict);
	CHECK_OK(batch_add_row(batch, 0, 2, UINT64_MAX));
	CHECK_OK(batch_add_row(batch, 0, 1, 1));
	CHECK_OK(batch_add_row(batch, 0, 2, 1));
	CHECK(batch_settle(batch) == -EOVERFLOW);
	assert_int_equal(batch->rows_count, 3);
	assert_int_equal(batch_samples(batch), UINT64_MAX);

	batch_reset(batch);
	CHECK_OK(batch_add_coverage(batch, 0, UINT64_MAX));
	CHECK(batch_add_coverage(batch, 0, 1) == -EOVERFLOW);
	assert_int_equal(batch->coverage[0].ns, UINT64_MAX);
	CHECK_OK(batch_add_loss(batch, 0, LOSS_LATE, UINT64_MAX));
	CHECK(batch_add_loss(batch, 0, LOSS_LATE, 1) == -EOVERFLOW);
	CHECK_OK(batch_add_loss(batch, SERIES_NONE, LOSS_LATE, 1));
	assert_int_equal(batch_lost(batch), UINT64_MAX);
	CHECK_OK(batch_add_loss(batch, 0, LOSS_LATE, 1));
	CHECK(batch_settle(batch) == -EOVERFLOW);
}

static void many_equal_rows_take_the_memory_of_few(void **state)
{
	AUTO(dict) dict = small_dict(10, 2);
	AUTO(batch) batch = batch_new(dict);
	for (uint32_t i = 0; i < 100000; i++)
		CHECK_OK(batch_add_row(batch, i % 2, i % 10, 3));
	CHECK(batch->rows_capacity <= 256);
	CHECK_OK(batch_settle(batch));
	assert_int_equal(batch->rows_count, 10);
	assert_int_equal(batch_samples(batch), 300000);
}

static void large_batches_sort_like_small_ones(void **state)
{
	AUTO(dict) dict = small_dict(1000, 300);
	AUTO(batch) batch = batch_new(dict);
	AUTO(batch) again = batch_new(dict);
	struct random random = { 1 };
	for (uint32_t i = 0; i < 20000; i++) {
		uint32_t series = random_below(&random, 300);
		uint32_t node = random_below(&random, 1001);
		CHECK_OK(batch_add_row(batch, series, node, 1 + i % 3));
	}
	uint64_t samples = batch_samples(batch);
	CHECK_OK(batch_settle(batch));
	CHECK(batch->rows_count > 19000);
	assert_int_equal(batch_samples(batch), samples);
	for (uint32_t i = 1; i < batch->rows_count; i++)
		CHECK(batch->rows[i - 1].series < batch->rows[i].series ||
		        (batch->rows[i - 1].series == batch->rows[i].series &&
		                batch->rows[i - 1].node < batch->rows[i].node));

	for (uint32_t i = batch->rows_count; i-- > 0;)
		CHECK_OK(batch_add_row(
		        again, batch->rows[i].series, batch->rows[i].node, batch->rows[i].value));
	CHECK_OK(batch_settle(again));
	CHECK(random_batches_equal(batch, again));
}

static void a_batch_comes_back_from_its_encoding(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		AUTO(dict) dict = dict_new(dict_limits_default);
		AUTO(batch) batch = batch_new(dict);
		random_batch(batch, seed, seed, (uint32_t)seed * 20 - 20);
		AUTO_BUF bytes = { 0 };
		batch_encode_whole(batch, &bytes);

		AUTO(dict) dict_back = dict_new(dict_limits_default);
		AUTO(batch) back = batch_new(dict_back);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(batch_decode_whole(back, &from));
		CHECK(random_batches_equal(batch, back));
		AUTO_BUF again = { 0 };
		batch_encode_whole(back, &again);
		assert_int_equal(again.count, bytes.count);
		assert_memory_equal(again.bytes, bytes.bytes, bytes.count);

		/* The columns alone stop where they end. */
		AUTO_BUF columns = { 0 };
		batch_encode(batch, &columns);
		buf_put(&columns, "more", 4);
		from = reader_of(columns.bytes, columns.count);
		batch_reset(back);
		CHECK_OK(batch_decode(back, &from));
		assert_int_equal(reader_left(&from), 4);
		CHECK(random_batches_equal(batch, back));
	}
}

static void extreme_numbers_come_back(void **state)
{
	AUTO(dict) dict = small_dict(2, 3);
	AUTO(batch) batch = batch_new(dict);
	batch->start_ns = 1;
	batch->duration_ns = UINT64_MAX - 1;
	CHECK_OK(batch_add_row(batch, 0, 0, UINT64_MAX));
	CHECK_OK(batch_add_row(batch, 2, 2, 1));
	CHECK_OK(batch_add_coverage(batch, 0, 0));
	CHECK_OK(batch_add_coverage(batch, 1, UINT64_MAX));
	CHECK_OK(batch_add_coverage(batch, 2, 1));
	CHECK_OK(batch_add_loss(batch, 2, UINT32_MAX, UINT64_MAX));
	CHECK_OK(batch_add_loss(batch, SERIES_NONE, 0, 1));
	CHECK_OK(batch_settle(batch));

	AUTO_BUF bytes = { 0 };
	batch_encode_whole(batch, &bytes);
	AUTO(dict) dict_back = dict_new(dict_limits_default);
	AUTO(batch) back = batch_new(dict_back);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK_OK(batch_decode_whole(back, &from));
	CHECK(random_batches_equal(batch, back));
	assert_int_equal(back->losses[1].series, SERIES_NONE);
}

static void an_encoding_cut_anywhere_is_refused_and_leaves_nothing(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	random_batch(batch, 4, 4, 15);
	AUTO_BUF bytes = { 0 };
	batch_encode_whole(batch, &bytes);

	AUTO(dict) dict_back = dict_new(dict_limits_default);
	AUTO(batch) back = batch_new(dict_back);
	for (size_t count = 0; count < bytes.count; count++) {
		autofree uint8_t *cut = malloc(count + 1);
		memcpy(cut, bytes.bytes, count);
		struct reader from = reader_of(cut, count);
		CHECK(batch_decode_whole(back, &from) == -EBADMSG);
		assert_int_equal(back->rows_count, 0);
		assert_int_equal(back->duration_ns, 0);
		assert_int_equal(dict_mark(dict_back).strings, 1);
	}

	buf_put_u8(&bytes, 0);
	struct reader from = reader_of(bytes.bytes, bytes.count);
	CHECK(batch_decode_whole(back, &from) == -EBADMSG);
	from = reader_of(bytes.bytes, bytes.count - 1);
	CHECK_OK(batch_decode_whole(back, &from));
}

static void columns_that_are_no_encoding_are_refused(void **state)
{
	/* Start, duration, counts of rows, coverage, losses; a dict of nodes 0 to 2 and series 0
	 * and 1. */
	static const struct {
		const char *what;
		uint8_t bytes[32];
		size_t count;
		int result;
	} cases[] = {
		{ "nothing", { 0, 0, 0, 0, 0 }, 5, 0 },
		{ "an interval past the end of time",
		        { 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0 }, 14,
		        -EBADMSG },
		{ "a row", { 0, 0, 1, 0, 0, 0, 0, 0, 0 }, 9, 0 },
		{ "a row of series 1, node 2, value 128", { 0, 0, 1, 0, 0, 1, 0, 2, 0x7f }, 9, 0 },
		{ "a row of no series", { 0, 0, 1, 0, 0, 2, 0, 0, 0 }, 9, -EBADMSG },
		{ "a row of no node", { 0, 0, 1, 0, 0, 0, 0, 3, 0 }, 9, -EBADMSG },
		{ "a value of 2^64",
		        { 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                0xff, 1 },
		        18, -EBADMSG },
		{ "a run longer than the rows", { 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0 }, 11, -EBADMSG },
		{ "more rows than bytes", { 0, 0, 9, 0, 0, 0, 8, 0, 0 }, 9, -EBADMSG },
		{ "four billion rows", { 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0 }, 11,
		        -EBADMSG },
		{ "three nodes", { 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0 }, 13, 0 },
		{ "four nodes", { 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0 }, 15, -EBADMSG },
		{ "three series", { 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 17,
		        -EBADMSG },
		{ "a distance that wraps",
		        { 0, 0, 2, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0 }, 15,
		        -EBADMSG },
		{ "coverage of no series", { 0, 0, 0, 1, 0, 2, 0 }, 7, -EBADMSG },
		{ "a loss", { 0, 0, 0, 0, 1, 2, 8, 1 }, 8, 0 },
		{ "a loss of nobody", { 0, 0, 0, 0, 1, 0, 8, 1 }, 8, 0 },
		{ "a loss of no series", { 0, 0, 0, 0, 1, 3, 8, 1 }, 8, -EBADMSG },
		{ "a loss of nothing", { 0, 0, 0, 0, 1, 2, 8, 0 }, 8, -EBADMSG },
		{ "a loss twice", { 0, 0, 0, 0, 2, 2, 8, 1, 2, 8, 1 }, 11, -EBADMSG },
		{ "losses out of order", { 0, 0, 0, 0, 2, 0, 8, 1, 2, 8, 1 }, 11, -EBADMSG },
		{ "losses in order", { 0, 0, 0, 0, 2, 2, 8, 1, 0, 8, 1 }, 11, 0 },
	};

	AUTO(dict) dict = small_dict(2, 2);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO(batch) batch = batch_new(dict);
		struct reader from = reader_of(cases[i].bytes, cases[i].count);
		int r = batch_decode(batch, &from);
		if (r != cases[i].result)
			fail_msg("%s: %d, not %d", cases[i].what, r, cases[i].result);
		if (r == 0)
			assert_int_equal(reader_left(&from), 0);
		else
			CHECK(batch->rows_count == 0 && batch->coverage_count == 0 &&
			        batch->losses_count == 0);
	}
}

static void merging_gives_the_same_in_any_order_and_grouping(void **state)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		/* Three observers, overlapping in stacks and series, each with a dict of its own.
		 */
		struct dict *dicts[3];
		struct batch *parts[3];
		for (uint32_t i = 0; i < 3; i++) {
			dicts[i] = dict_new(dict_limits_default);
			parts[i] = batch_new(dicts[i]);
			random_batch(parts[i], seed, seed + i, 30 + 20 * i);
			parts[i]->start_ns += i * UINT64_C(10000000000);
		}

		/* (a + b) + c, c + (b + a), a + (c + b), the last through dicts between. */
		AUTO(dict) left_dict = dict_new(dict_limits_default);
		AUTO(dict) right_dict = dict_new(dict_limits_default);
		AUTO(dict) inner_dict = dict_new(dict_limits_default);
		AUTO(dict) outer_dict = dict_new(dict_limits_default);
		AUTO(batch) left = batch_new(left_dict);
		AUTO(batch) right = batch_new(right_dict);
		AUTO(batch) inner = batch_new(inner_dict);
		AUTO(batch) outer = batch_new(outer_dict);
		for (uint32_t i = 0; i < 3; i++)
			CHECK_OK(batch_merge(left, parts[i]));
		for (uint32_t i = 3; i-- > 0;)
			CHECK_OK(batch_merge(right, parts[i]));
		CHECK_OK(batch_merge(inner, parts[2]));
		CHECK_OK(batch_merge(inner, parts[1]));
		CHECK_OK(batch_merge(outer, parts[0]));
		CHECK_OK(batch_merge(outer, inner));

		CHECK(random_batches_equal(left, right));
		CHECK(random_batches_equal(left, outer));
		assert_int_equal(left->duration_ns, UINT64_C(30000000000));
		uint64_t samples = 0, lost = 0;
		for (uint32_t i = 0; i < 3; i++) {
			samples += batch_samples(parts[i]);
			lost += batch_lost(parts[i]);
			batch_free(parts[i]);
			dict_free(dicts[i]);
		}
		assert_int_equal(batch_samples(left), samples);
		assert_int_equal(batch_lost(left), lost);
	}
}

static void merging_a_batch_into_nothing_is_a_copy(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	random_batch(batch, 5, 5, 40);
	AUTO(batch) same_dict = batch_new(dict);
	CHECK_OK(batch_merge(same_dict, batch));
	CHECK(random_batches_equal(batch, same_dict));

	AUTO(dict) other = dict_new(dict_limits_default);
	AUTO(batch) copy = batch_new(other);
	AUTO(batch) empty = batch_new(other);
	CHECK_OK(batch_merge(copy, batch));
	CHECK_OK(batch_merge(copy, empty));
	CHECK(random_batches_equal(batch, copy));
}

static void merging_into_a_full_dict_is_refused(void **state)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = 5;
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict) tight = dict_new(limits);
	AUTO(batch) batch = batch_new(dict);
	AUTO(batch) to = batch_new(tight);
	random_batch(batch, 6, 6, 40);
	CHECK(batch_merge(to, batch) == -ENOSPC);
}

static void a_known_stack_costs_a_few_bytes(void **state)
{
	/* 100 series of 50 rows over 20,000 nodes: what a busy host's interval looks like. */
	AUTO(dict) dict = small_dict(20000, 100);
	AUTO(batch) batch = batch_new(dict);
	struct random random = { 1 };
	for (uint32_t i = 0; i < 5000; i++)
		CHECK_OK(batch_add_row(batch, i / 50, 1 + random_below(&random, 20000), 1 + i % 7));
	for (uint32_t i = 0; i < 100; i++)
		CHECK_OK(batch_add_coverage(batch, i, UINT64_C(10000000000)));
	CHECK_OK(batch_settle(batch));
	AUTO_BUF bytes = { 0 };
	batch_encode(batch, &bytes);
	CHECK(bytes.count < 4 * 5000);
}

static void running_out_of_memory_leaves_an_empty_batch(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	random_batch(batch, 8, 8, 2000);
	AUTO_BUF bytes = { 0 };
	batch_encode(batch, &bytes);

	uint32_t failures = 0;
	for (;; failures++) {
		AUTO(batch) back = batch_new(dict);
		struct reader from = reader_of(bytes.bytes, bytes.count);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = batch_decode(back, &from);
		if (!fault_disarm())
			break;
		CHECK(r == -ENOMEM);
		assert_int_equal(back->rows_count, 0);
		from = reader_of(bytes.bytes, bytes.count);
		CHECK_OK(batch_decode(back, &from));
		CHECK(random_batches_equal(batch, back));
	}
	assert_int_equal(failures, 3);

	/* Sorting without memory for a second array is slower, and right. */
	AUTO(batch) unsorted = batch_new(dict);
	for (uint32_t i = batch->rows_count; i-- > 0;)
		CHECK_OK(batch_add_row(unsorted, batch->rows[i].series, batch->rows[i].node,
		        batch->rows[i].value));
	CHECK(unsorted->rows_count >= 512);
	fault_arm(FAULT_ALLOC, 0, ENOMEM);
	CHECK_OK(batch_settle(unsorted));
	CHECK(fault_disarm());
	assert_int_equal(unsorted->rows_count, batch->rows_count);
	assert_memory_equal(unsorted->rows, batch->rows, batch->rows_count * sizeof(*batch->rows));
}

static void running_out_of_memory_in_a_merge_is_told(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = batch_new(dict);
	random_batch(batch, 12, 12, 300);

	uint32_t failures = 0;
	for (;; failures++) {
		AUTO(dict) to_dict = dict_new(dict_limits_default);
		AUTO(batch) to = batch_new(to_dict);
		fault_arm(FAULT_ALLOC, failures, ENOMEM);
		int r = batch_merge(to, batch);
		if (!fault_disarm()) {
			CHECK_OK(r);
			CHECK(random_batches_equal(batch, to));
			break;
		}
		CHECK(r == -ENOMEM);
	}
	CHECK(failures > 10);
}

/* The example of docs/formats/dict.md and docs/formats/batch.md. */
static struct batch *example_batch(struct dict *dict)
{
	uint32_t cpu, nanoseconds, service, cart, libc, build_id, main_name, file, write_name;
	CHECK_OK(dict_cstring(dict, "cpu", &cpu));
	CHECK_OK(dict_cstring(dict, "nanoseconds", &nanoseconds));
	CHECK_OK(dict_cstring(dict, "service", &service));
	CHECK_OK(dict_cstring(dict, "cart", &cart));
	CHECK_OK(dict_cstring(dict, "libc.so.6", &libc));
	CHECK_OK(dict_cstring(dict, "1f2e", &build_id));
	CHECK_OK(dict_cstring(dict, "main", &main_name));
	CHECK_OK(dict_cstring(dict, "cart.py", &file));
	CHECK_OK(dict_cstring(dict, "ksys_write", &write_name));

	uint32_t module, frames[4], node, series;
	CHECK_OK(
	        dict_module(dict, &(struct module){ .name = libc, .build_id = build_id }, &module));
	const struct frame described[] = {
		{ .kind = FRAME_MANAGED, .function = main_name, .file = file, .line = 12 },
		{ .kind = FRAME_NATIVE, .module = module, .address = 0x1040 },
		{ .kind = FRAME_NATIVE, .module = module, .address = 0x1000 },
		{ .kind = FRAME_KERNEL, .function = write_name },
	};
	for (size_t i = 0; i < COUNT_OF(described); i++)
		CHECK_OK(dict_frame(dict, &described[i], &frames[i]));

	struct series described_series = { .type = cpu, .unit = nanoseconds, .period = 20408163 };
	CHECK_OK(
	        dict_series(dict, &described_series, &(struct label){ service, cart }, 1, &series));

	struct batch *batch = batch_new(dict);
	CHECK(batch);
	batch->start_ns = UINT64_C(1700000000000000000);
	batch->duration_ns = UINT64_C(10000000000);
	CHECK_OK(dict_stack(dict, (uint32_t[]){ frames[1], frames[0] }, 2, &node));
	CHECK_OK(batch_add_row(batch, series, node, 41));
	CHECK_OK(dict_stack(dict, (uint32_t[]){ frames[3], frames[2], frames[0] }, 3, &node));
	CHECK_OK(batch_add_row(batch, series, node, 300));
	CHECK_OK(batch_add_coverage(batch, series, UINT64_C(10000000000)));
	CHECK_OK(batch_add_loss(batch, series, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_loss(batch, SERIES_NONE, LOSS_PERF_LOST, 1));
	CHECK_OK(batch_settle(batch));
	return batch;
}

static void the_documented_example_is_what_is_written_and_read(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = example_batch(dict);
	AUTO_BUF dict_bytes = { 0 };
	AUTO_BUF batch_bytes = { 0 };
	AUTO_BUF whole = { 0 };
	dict_encode(dict, (struct dict_mark){ 0 }, &dict_bytes);
	batch_encode(batch, &batch_bytes);
	batch_encode_whole(batch, &whole);
	golden_hex_check("docs/formats/dict.md", "example", &dict_bytes);
	golden_hex_check("docs/formats/batch.md", "example", &batch_bytes);
	golden_hex_check("tests/golden/batch_v1.hex", "whole", &whole);

	AUTO_BUF golden = { 0 };
	golden_hex_read("tests/golden/batch_v1.hex", "whole", &golden);
	AUTO(dict) dict_back = dict_new(dict_limits_default);
	AUTO(batch) back = batch_new(dict_back);
	struct reader from = reader_of(golden.bytes, golden.count);
	CHECK_OK(batch_decode_whole(back, &from));
	CHECK(random_batches_equal(batch, back));
	assert_string_equal(
	        dict_text(dict_back, dict_get_frame(dict_back, 3).function), "ksys_write");
}

/* Content ids meet between machines and releases, so they are as fixed as the bytes. */
static void content_ids_are_what_they_always_were(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(batch) batch = example_batch(dict);
	const struct hash128 hashes[] = {
		dict_node_hash(dict, DICT_NODE_ROOT),
		dict_frame_hash(dict, 0),
		dict_frame_hash(dict, 1),
		dict_node_hash(dict, batch->rows[0].node),
		dict_node_hash(dict, batch->rows[1].node),
		dict_series_hash(dict, batch->rows[0].series),
	};
	AUTO_BUF bytes = { 0 };
	for (size_t i = 0; i < COUNT_OF(hashes); i++) {
		buf_put_u64(&bytes, hashes[i].low);
		buf_put_u64(&bytes, hashes[i].high);
	}
	golden_hex_check("tests/golden/batch_v1.hex", "content_ids", &bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settling_sorts_and_adds_up_equal_keys),
		cmocka_unit_test(nothing_is_not_kept_as_a_row_or_a_loss),
		cmocka_unit_test(sums_past_64_bits_are_refused_and_lose_nothing),
		cmocka_unit_test(many_equal_rows_take_the_memory_of_few),
		cmocka_unit_test(large_batches_sort_like_small_ones),
		cmocka_unit_test(a_batch_comes_back_from_its_encoding),
		cmocka_unit_test(extreme_numbers_come_back),
		cmocka_unit_test(an_encoding_cut_anywhere_is_refused_and_leaves_nothing),
		cmocka_unit_test(columns_that_are_no_encoding_are_refused),
		cmocka_unit_test(merging_gives_the_same_in_any_order_and_grouping),
		cmocka_unit_test(merging_a_batch_into_nothing_is_a_copy),
		cmocka_unit_test(merging_into_a_full_dict_is_refused),
		cmocka_unit_test(a_known_stack_costs_a_few_bytes),
		cmocka_unit_test(running_out_of_memory_leaves_an_empty_batch),
		cmocka_unit_test(running_out_of_memory_in_a_merge_is_told),
		cmocka_unit_test(the_documented_example_is_what_is_written_and_read),
		cmocka_unit_test(content_ids_are_what_they_always_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
