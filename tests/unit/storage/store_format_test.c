/* A folder says which reader it needs from the first write on that an older one would not
 * understand. */

#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/record.h"
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

static void append_rows(const char *path, uint8_t uuid, uint32_t rows)
{
	struct store *store = store_fixture_open(path);
	struct source source = source_new(store, uuid);
	uint32_t cart = source_series(&source, "cart", "a", 1);
	source_begin(&source, uuid * SECOND, SECOND);
	for (uint32_t i = 0; i < rows; i++) {
		char function[16];
		snprintf(function, sizeof(function), "f%u", i);
		CHECK_OK(batch_add_row(source.batch, cart, source_stack(&source, function), 1));
	}
	assert_int_equal(source_append(&source, store, 1), WIRE_OK);
	source_free(&source);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_needs_a_new_reader_from_its_first_coded_batch_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
