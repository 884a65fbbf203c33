/* A folder says which reader it needs from the first write on that an older one would not
 * understand. */

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/record.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

static uint32_t oldest_reader(const char *path)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	struct kv_bytes key = { KEYS_META_FORMAT, sizeof(KEYS_META_FORMAT) - 1 };
	struct record_format format = { 0 };
	char error[256];
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	AUTO_BUF value = { 0 };
	CHECK_OK(kv_get(kv, KV_META, key, &value));
	CHECK_OK(record_get_format(key, (struct kv_bytes){ value.bytes, value.count }, &format));
	kv_free(kv);
	return format.version_min;
}

static void append_rows_to(struct store *store, uint8_t uuid, uint64_t start_ns, uint32_t rows)
{
	struct source source = source_new(store, uuid);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	source_begin(&source, start_ns, SECOND);
	for (uint32_t i = 0; i < rows; i++) {
		char function[16];
		snprintf(function, sizeof(function), "f%u", i);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, function), 1));
	}
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source_free(&source);
}

static void append_rows(const char *path, uint8_t uuid, uint32_t rows)
{
	struct store *store = store_fixture_open(path);
	append_rows_to(store, uuid, uuid * SECOND, rows);
	store_free(store);
}

static void a_folder_needs_a_new_reader_from_its_first_coded_batch_on(void **state)
{
	TEST_DIR(dir);
	append_rows(dir.path, 1, 3);
	assert_int_equal(oldest_reader(dir.path), 1);
	append_rows(dir.path, 2, 40);
	assert_int_equal(oldest_reader(dir.path), 6);
	append_rows(dir.path, 3, 3);
	assert_int_equal(oldest_reader(dir.path), 6);
}

/* Whatever an older reader understands as well is written meanwhile. */
static void what_a_folder_needs_is_never_less_than_before(void **state)
{
	TEST_DIR(dir);
	struct store *store = store_fixture_open(dir.path);
	struct store_forgotten forgotten;
	struct store_forget_options options = { .service = "cart",
		.to_ns = 3600 * SECOND,
		.run = { .id = 5, .hidden_ns = 1, .erase_ns = 2 } };
	(void)state;
	append_rows_to(store, 1, SECOND, 40);
	append_rows_to(store, 2, 7200 * SECOND, 40);
	CHECK_OK(store_seal(store, 3600 * SECOND));
	CHECK_OK(store_forget(store, &options, &forgotten));
	CHECK_OK(store_seal(store, UINT64_MAX));
	store_free(store);
	assert_int_equal(oldest_reader(dir.path), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_folder_needs_is_never_less_than_before),
		cmocka_unit_test(a_folder_needs_a_new_reader_from_its_first_coded_batch_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
