/*
 * The bytes of format version 1 (docs/formats/store.md), fixed in tests/golden/store_v1.txt: a
 * small store writes exactly these, and a folder that holds these is read as the store it was.
 *
 * A line is: family, key in hex, value in hex. A packed batch is only read: what LZ4 makes of the
 * same columns may differ from version to version. PROFLEET_GOLDEN=write writes the file anew,
 * which is right only together with a new version number.
 */

#include "tests/golden/store_golden.h"

#define GOLDEN "tests/golden/store_v1.txt"

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
	assert_int_equal(sum.parts[0].rows_count, 41);
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

/* A writer of today codes that batch, and says that a reader of format 6 is needed for it. */
static void expect_line(const char *written, const char *golden)
{
	static const char format[] = "meta 666f726d6174 ";
	if (strncmp(golden, format, strlen(format)) == 0)
		assert_string_equal(
		        written, "meta 666f726d6174 abbbbeccbf56b2ad010600000006000000");
	else if (!is_packed_batch(golden))
		assert_string_equal(written, golden);
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
		expect_line(line_written, line);
		line = strtok_r(NULL, "\n", &golden_next);
		line_written = strtok_r(NULL, "\n", &written_next);
	}
	assert_null(line);
	assert_null(line_written);
}

static void these_bytes_are_read_as_the_store_they_were(void **state)
{
	TEST_DIR(dir);
	restore(GOLDEN, dir.path);
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
