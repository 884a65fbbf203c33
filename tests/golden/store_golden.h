#pragma once

/*
 * The bytes of a store as text, and back: a line is family, key in hex, value in hex.
 */

#include <ctype.h>

#include "core/clock.h"
#include "storage/kv.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

/* As on the disk, but for the one that RocksDB calls default. */
static inline const char *family_name(int family)
{
	return family == KV_META ? "meta" : kv_family_name((enum kv_family)family);
}

static inline struct kv *open_kv(const char *path)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	return kv;
}

static inline void put_hex(struct kv_bytes bytes, struct buf *to)
{
	buf_put_u8(to, ' ');
	for (size_t i = 0; i < bytes.count; i++)
		buf_printf(to, "%02x", ((const uint8_t *)bytes.bytes)[i]);
}

static inline void dump(const char *path, struct buf *to)
{
	AUTO(kv) kv = open_kv(path);
	for (int family = 0; family < KV_FAMILIES; family++) {
		AUTO(kv_iterator) it = kv_iterator_new(
		        kv, (enum kv_family)family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
		for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
			buf_printf(to, "%s", family_name(family));
			put_hex(kv_iterator_key(it), to);
			put_hex(kv_iterator_value(it), to);
			buf_put_u8(to, '\n');
		}
		CHECK_OK(kv_iterator_result(it));
	}
	buf_put_u8(to, 0);
	CHECK(!to->failed);
}

/* The folder is what the golden file says, or becomes it with PROFLEET_GOLDEN=write. */
static inline void check_dump(const char *path, const char *golden_path)
{
	AUTO_BUF written = { 0 };
	size_t count;
	dump(path, &written);
	const char *write = getenv("PROFLEET_GOLDEN");
	if (write && strcmp(write, "write") == 0)
		test_file_write(golden_path, written.bytes, written.count - 1);
	autofree char *golden = test_file_read(golden_path, &count);
	assert_string_equal((const char *)written.bytes, golden);
}

static inline size_t read_hex(const char *text, uint8_t *bytes, size_t bytes_max)
{
	size_t count = 0;
	for (; isxdigit((unsigned char)text[0]); text += 2) {
		char digits[3] = { text[0], text[1], 0 };
		CHECK(count < bytes_max);
		bytes[count++] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return count;
}

/* The lines of a golden file become the folder that they were dumped from. */
static inline void restore(const char *golden_path, const char *path)
{
	size_t count;
	autofree char *golden = test_file_read(golden_path, &count);
	struct kv *kv = open_kv(path);
	AUTO(kv_batch) batch = kv_batch_new();
	char *next;

	for (char *line = strtok_r(golden, "\n", &next); line; line = strtok_r(NULL, "\n", &next)) {
		static uint8_t key[512];
		static uint8_t value[65536];
		char *key_text = strchr(line, ' ');
		char *value_text = strrchr(line, ' ');
		CHECK(key_text && value_text && key_text < value_text);
		*key_text = 0;
		int family = 0;
		while (family < KV_FAMILIES && strcmp(family_name(family), line) != 0)
			family++;
		CHECK(family < KV_FAMILIES);
		kv_put(kv, batch, (enum kv_family)family,
		        (struct kv_bytes){ key, read_hex(key_text + 1, key, sizeof(key)) },
		        (struct kv_bytes){ value, read_hex(value_text + 1, value, sizeof(value)) });
	}
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_free(kv);
}

/* A store of one tenant that is filled by a virtual clock, from 2023-11-14 22:13:20 UTC on. */
struct filling {
	struct clock_virtual clock;
	struct store_options options;
	struct store *store;
	struct source source;
};

/* `options` may have been changed between the two. */
static inline void filling_init(struct filling *filling, const char *path)
{
	filling->options = store_fixture_options(path);
	filling->options.clock = &filling->clock.clock;
	clock_virtual_init(&filling->clock, 1700000000 * SECOND);
}

static inline void filling_open(struct filling *filling)
{
	filling->store = store_fixture_open_with(filling->options);
	filling->source = source_new(filling->store, 1);
	filling->source.stream.tenant = "acme";
}

static inline void filling_end(struct filling *filling)
{
	source_free(&filling->source);
	store_free(filling->store);
}

/* A section with two services, whose first row says which it is. */
static inline void append(
        struct source *source, struct store *store, uint64_t seq, uint64_t start_s)
{
	uint32_t cart = source_series(source, "cart", "a", 20408163);
	uint32_t shop = source_series(source, "shop", "b", 20408163);
	source_begin(source, start_s * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source->batch, cart, source_stack(source, "work"), seq));
	CHECK_OK(batch_add_row(source->batch, cart, source_stack(source, "wait"), 2));
	CHECK_OK(batch_add_coverage(source->batch, cart, 9 * SECOND));
	CHECK_OK(batch_add_loss(source->batch, cart, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_row(source->batch, shop, source_stack(source, "sell"), 5));
	CHECK_OK(batch_add_loss(source->batch, SERIES_NONE, LOSS_PERF_LOST, 1));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

/*
 * A window of two services, its second generation of what came late, and one batch that is open;
 * and `instances` more of the one service that are told apart by values.
 */
static inline void check_sealed_store(struct store *store, uint32_t instances)
{
	struct store_size size;
	struct store_sum sum = store_fixture_sum(store, "cpu{service=\"cart\"}", 0, UINT64_MAX);
	assert_int_equal(sum.parts[0].rows_count, 2 + instances);
	assert_int_equal(sum.completeness.samples, 1 + 2 + 3 + 4 + 4 * 2 + instances * 6);
	assert_int_equal(sum.completeness.intervals, 4 + instances);
	assert_int_equal(sum.completeness.coverage_ns, 4 * 9 * SECOND);
	assert_int_equal(sum.completeness.lost[LOSS_RING_FULL], 8);
	assert_int_equal(sum.completeness.lost[LOSS_PERF_LOST], 4);
	assert_int_equal(sum.completeness.corrupt, 0);
	store_sum_fini(&sum);
	assert_int_equal(store_fixture_value(store, "cpu", 605 * SECOND, 610 * SECOND),
	        10 * UINT64_C(20408163));
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 2);
}

/* The same with a unit that is hidden. */
static inline void check_hiding_store(const char *path, uint32_t instances)
{
	AUTO(store) store = store_fixture_open(path);
	check_sealed_store(store, instances);
	/* Two of four batches are in the window whose second unit is hidden, until it is undone. */
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX),
	        2 * 5 * UINT64_C(20408163));
	struct store_expired back;
	CHECK_OK(store_undo(store, 7, &back));
	assert_int_equal(back.units[0], 1);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX),
	        4 * 5 * UINT64_C(20408163));
}

/* A window that is sealed in each of two generations, a batch of each, and one that was late. */
static inline void check_generations_store(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	struct store_size size;
	struct store_counters counters;
	struct store_sum sum = store_fixture_sum(store, "cpu{service=\"cart\"}", 0, UINT64_MAX);
	assert_int_equal(sum.parts_count, 2);
	assert_int_equal(sum.parts[0].rows_count, 2);
	assert_int_equal(sum.parts[1].rows_count, 2);
	assert_int_equal(sum.completeness.samples, 1 + 2 + 3 + 3 * 2);
	assert_int_equal(sum.completeness.intervals, 3);
	assert_int_equal(sum.completeness.series, 1);
	assert_int_equal(sum.completeness.corrupt, 0);
	store_sum_fini(&sum);
	CHECK_OK(store_size(store, &size));
	assert_int_equal(size.windows, 2);
	assert_int_equal(size.generations, 2);
	CHECK_OK(store_counters(store, "acme", &counters));
	assert_int_equal(counters.batches_late, 1);
}
