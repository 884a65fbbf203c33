/*
 * The bytes of format version 1 (docs/formats/store.md), fixed in tests/golden/store_v1.txt: a
 * small store writes exactly these, and a folder that holds these is read as the store it was.
 *
 * A line is: family, key in hex, value in hex. A packed batch is only read: what LZ4 makes of the
 * same columns may differ from version to version. PROFLEET_GOLDEN=write writes the file anew,
 * which is right only together with a new version number.
 */

#include <ctype.h>

#include "core/clock.h"
#include "storage/kv.h"
#include "tests/unit/storage/store_fixture.h"

#define GOLDEN "tests/golden/store_v1.txt"

static const char *const family_names[KV_FAMILIES] = {
	[KV_META] = "meta",
	[KV_BATCH] = "batch",
	[KV_DICT] = "dict",
	[KV_STREAM] = "stream",
	[KV_COUNTERS] = "counters",
	[KV_AGENT] = "agent",
	[KV_SYMBOLS] = "symbols",
};

static void fill_store(const char *path)
{
	struct clock_virtual clock;
	struct store_options options = { .path = path, .clock = &clock.clock };
	struct store_agent agent = {
		.uuid = { .bytes = { 1 } },
		.epoch = 1,
		.host = "web-1",
		.program = "profleet-agent 0.1.0",
		.tenant = "acme",
		.role = WIRE_ROLE_AGENT,
		.first_seen_ns = 1,
		.last_seen_ns = 2,
		.last_interval_end_ns = 3,
		.state = { .hz_milli = 49000,
		        .samples_taken = 10,
		        .lost = { [LOSS_THROTTLED] = 1 } },
	};
	struct store *store;
	char error[256];

	clock_virtual_init(&clock, 1700000000 * SECOND);
	CHECK_OK(store_open(options, &store, error, sizeof(error)));
	struct source source = source_new(store, 1);
	source.stream.tenant = "acme";
	source.stream.shard = 3;
	uint32_t cart = source_series(&source, "cart", "a", 20408163);

	source_begin(&source, 100 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, "work"), 3));
	CHECK_OK(batch_add_coverage(source.batch, cart, 9 * SECOND));
	CHECK_OK(batch_add_loss(source.batch, cart, LOSS_RING_FULL, 2));
	CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_PERF_LOST, 1));
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);

	source_begin(&source, 110 * SECOND, 10 * SECOND);
	for (int i = 0; i < 40; i++) {
		char function[16];
		snprintf(function, sizeof(function), "f%d", i);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, function), 1));
	}
	assert_int_equal(source_append(&source, store, 5), WIRE_OK);
	assert_int_equal(source_append(&source, store, 5), WIRE_DUP);
	CHECK_OK(store_agent_put(store, &agent));
	CHECK_OK(store_symbols_put(store, "c0ffee", "a table", 7));
	CHECK_OK(store_symbols_put(store, "none", NULL, 0));
	source_free(&source);
	store_free(store);
}

static void check_store(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	struct source source = source_new(store, 1);
	struct store_counters counters;

	struct store_sum sum = store_fixture_sum(
	        store, "cpu{service=\"cart\",instance=\"a\"}", 0, UINT64_MAX);
	assert_int_equal(sum.rows_count, 41);
	assert_int_equal(sum.completeness.value, 43 * UINT64_C(20408163));
	assert_int_equal(sum.completeness.intervals, 2);
	assert_int_equal(sum.completeness.coverage_ns, 9 * SECOND);
	assert_int_equal(sum.completeness.lost[LOSS_RING_FULL], 2);
	assert_int_equal(sum.completeness.lost[LOSS_PERF_LOST], 1);
	assert_int_equal(sum.completeness.corrupt, 0);
	store_sum_fini(&sum);
	CHECK_OK(store_counters(store, "acme", &counters));
	assert_int_equal(counters.batches, 2);
	assert_int_equal(counters.batches_duplicate, 1);
	assert_int_equal(counters.samples, 43);
	assert_int_equal(store_symbols_has(store, "c0ffee"), 1);
	assert_int_equal(store_symbols_has(store, "none"), 0);

	source.stream.tenant = "acme";
	source.stream.shard = 3;
	source_begin(&source, 100 * SECOND, 10 * SECOND);
	assert_int_equal(source_append(&source, store, 1), WIRE_DUP);
	assert_int_equal(source_append(&source, store, 5), WIRE_DUP);
	assert_int_equal(source_append(&source, store, 4), WIRE_OK);
	source_free(&source);
}

static struct kv *open_kv(const char *path)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	return kv;
}

static void put_hex(struct kv_bytes bytes, struct buf *to)
{
	buf_put_u8(to, ' ');
	for (size_t i = 0; i < bytes.count; i++)
		buf_printf(to, "%02x", ((const uint8_t *)bytes.bytes)[i]);
}

static void dump(const char *path, struct buf *to)
{
	AUTO(kv) kv = open_kv(path);
	for (int family = 0; family < KV_FAMILIES; family++) {
		AUTO(kv_iterator) it = kv_iterator_new(
		        kv, (enum kv_family)family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
		for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
			buf_printf(to, "%s", family_names[family]);
			put_hex(kv_iterator_key(it), to);
			put_hex(kv_iterator_value(it), to);
			buf_put_u8(to, '\n');
		}
		CHECK_OK(kv_iterator_result(it));
	}
	buf_put_u8(to, 0);
	CHECK(!to->failed);
}

static size_t read_hex(const char *text, uint8_t *bytes, size_t bytes_max)
{
	size_t count = 0;
	for (; isxdigit((unsigned char)text[0]); text += 2) {
		char digits[3] = { text[0], text[1], 0 };
		CHECK(count < bytes_max);
		bytes[count++] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return count;
}

/* The columns of a batch are packed when the first bit of the flags behind checksum and version is
 * set. */
static bool is_packed_batch(const char *line)
{
	uint8_t value[10];
	char head[2 * sizeof(value) + 1] = "";
	const char *hex = strrchr(line, ' ');
	if (strncmp(line, "batch ", 6) != 0 || !hex)
		return false;
	snprintf(head, sizeof(head), "%s", hex + 1);
	return read_hex(head, value, sizeof(value)) == sizeof(value) && (value[9] & 1);
}

static void a_store_writes_these_bytes(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF written = { 0 };
	size_t count;
	fill_store(dir.path);
	dump(dir.path, &written);
	const char *write = getenv("PROFLEET_GOLDEN");
	if (write && strcmp(write, "write") == 0)
		test_file_write(GOLDEN, written.bytes, written.count - 1);

	autofree char *golden = test_file_read(GOLDEN, &count);
	char *golden_next, *written_next;
	char *line = strtok_r(golden, "\n", &golden_next);
	char *line_written = strtok_r((char *)written.bytes, "\n", &written_next);
	while (line && line_written) {
		if (!is_packed_batch(line))
			assert_string_equal(line_written, line);
		line = strtok_r(NULL, "\n", &golden_next);
		line_written = strtok_r(NULL, "\n", &written_next);
	}
	assert_null(line);
	assert_null(line_written);
}

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	size_t count;
	autofree char *golden = test_file_read(GOLDEN, &count);
	struct kv *kv = open_kv(dir.path);
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
		while (family < KV_FAMILIES && strcmp(family_names[family], line) != 0)
			family++;
		CHECK(family < KV_FAMILIES);
		kv_put(kv, batch, (enum kv_family)family,
		        (struct kv_bytes){ key, read_hex(key_text + 1, key, sizeof(key)) },
		        (struct kv_bytes){ value, read_hex(value_text + 1, value, sizeof(value)) });
	}
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_free(kv);
	check_store(dir.path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_store_writes_these_bytes),
		cmocka_unit_test(these_bytes_are_read_as_the_store_they_were),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
