/*
 * Records and blocks whose checksums are right and that speak of what there is not, as after a
 * mistake of ours or somebody's editing: batches of a stream that nobody has, blocks whose stacks
 * the dictionary lacks, rows of another window. They are left out and counted, and nothing is read
 * beyond what there is.
 */

#include "core/hash.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

/* Two windows of other stacks each, of two instances. */
static void fill(const char *path, bool is_to_seal)
{
	struct store *store = open_store(path);
	struct source source = source_new(store, 1);
	for (uint32_t seq = 1; seq <= 4; seq++) {
		source_begin(&source, (seq - 1) / 2 * WINDOW_S * SECOND + seq, SECOND);
		for (uint32_t i = 0; i < 2; i++)
			CHECK_OK(batch_add_row(source.batch,
			        source_series(&source, "cart", i ? "a" : "b", 1),
			        source_stack(
			                &source, seq <= 2 ? (i ? "f1" : "f2") : (i ? "f3" : "f4")),
			        seq));
		assert_int_equal(source_append(&source, store, seq), WIRE_OK);
	}
	if (is_to_seal)
		CHECK_OK(store_seal(store, UINT64_MAX));
	source_free(&source);
	store_free(store);
}

struct editing {
	struct kv *kv;
	struct kv_batch *write;
};

static struct editing editing_begin(const char *path)
{
	struct editing editing = { .write = kv_batch_new() };
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	assert_non_null(editing.write);
	CHECK_OK(kv_open(options, &editing.kv, error, sizeof(error)));
	return editing;
}

static void editing_end(struct editing *editing)
{
	CHECK_OK(kv_write(editing->kv, editing->write, KV_SYNC));
	kv_batch_free(editing->write);
	kv_free(editing->kv);
}

/* A value under another key. Its checksum, the first 8 bytes, is that of both. */
static void editing_move(struct editing *editing, enum kv_family family, struct kv_bytes from,
        struct kv_bytes to, struct kv_bytes value)
{
	AUTO_BUF moved = { 0 };
	uint64_t change = hash64_bytes(from.bytes, from.count) ^ hash64_bytes(to.bytes, to.count);
	buf_put(&moved, value.bytes, value.count);
	CHECK(!moved.failed && moved.count > sizeof(change));
	for (size_t i = 0; i < sizeof(change); i++)
		moved.bytes[i] ^= (uint8_t)(change >> 8 * i);
	kv_put(editing->kv, editing->write, family, to,
	        (struct kv_bytes){ moved.bytes, moved.count });
}

static struct completeness ask(struct store *store, uint64_t from_ns, uint64_t to_ns)
{
	struct store_sum sum = store_fixture_sum(store, "cpu", from_ns, to_ns);
	struct completeness completeness = sum.completeness;
	store_sum_fini(&sum);
	return completeness;
}

static void a_batch_of_a_stream_that_nobody_has_is_left_out(void **state)
{
	TEST_DIR(dir);
	fill(dir.path, false);
	struct editing editing = editing_begin(dir.path);
	AUTO(kv_iterator) it = kv_iterator_new(
	        editing.kv, KV_BATCH, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	struct key_batch of;
	uint8_t key[KEYS_BATCH_BYTES];
	struct kv_bytes from = kv_iterator_key(it);
	CHECK_OK(keys_get_batch(from.bytes, from.count, &of));
	of.stream = 900000;
	keys_put_batch(of, key);
	editing_move(&editing, KV_BATCH, from, (struct kv_bytes){ key, sizeof(key) },
	        kv_iterator_value(it));
	kv_iterator_free(it);
	it = NULL;
	editing_end(&editing);

	AUTO(store) store = open_store(dir.path);
	for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
		struct completeness all = ask(store, 0, UINT64_MAX);
		assert_int_equal(all.value, 2 * (1 + 2 + 3 + 4));
		assert_int_equal(all.corrupt, 1);
		CHECK_OK(store_seal(store, UINT64_MAX));
	}
}

/* The newest entries of the dictionary are gone, with all that says so. */
static void blocks_whose_stacks_the_dictionary_lacks_are_left_out(void **state)
{
	TEST_DIR(dir);
	fill(dir.path, true);
	struct editing editing = editing_begin(dir.path);
	AUTO(kv_iterator) it = kv_iterator_new(
	        editing.kv, KV_DICT, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	struct key_dict last = { 0 };
	uint8_t from[KEYS_DICT_BYTES];
	uint8_t to[KEYS_DICT_BYTES];
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		CHECK_OK(keys_get_dict(key.bytes, key.count, &last));
	}
	kv_iterator_free(it);
	it = NULL;
	CHECK(last.ordinal > 0);
	keys_put_dict(last, from);
	last.ordinal++;
	keys_put_dict(last, to);
	kv_delete_range(editing.kv, editing.write, KV_DICT, (struct kv_bytes){ from, sizeof(from) },
	        (struct kv_bytes){ to, sizeof(to) });
	editing_end(&editing);

	AUTO(store) store = open_store(dir.path);
	struct completeness first = ask(store, 0, WINDOW_S * SECOND);
	assert_int_equal(first.value, 2 * (1 + 2));
	assert_int_equal(first.corrupt, 0);
	struct completeness second = ask(store, WINDOW_S * SECOND, UINT64_MAX);
	assert_int_equal(second.value, 0);
	CHECK(second.corrupt > 0);
}

static void rows_of_another_window_are_left_out(void **state)
{
	TEST_DIR(dir);
	fill(dir.path, true);
	struct editing editing = editing_begin(dir.path);
	AUTO(kv_iterator) it = kv_iterator_new(
	        editing.kv, KV_DETAIL, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	AUTO_BUF first_key = { 0 };
	AUTO_BUF first = { 0 };
	struct kv_bytes key = kv_iterator_key(it);
	struct kv_bytes value = kv_iterator_value(it);
	buf_put(&first_key, key.bytes, key.count);
	buf_put(&first, value.bytes, value.count);
	kv_iterator_next(it);
	CHECK(kv_iterator_is_valid(it));
	editing_move(&editing, KV_DETAIL, (struct kv_bytes){ first_key.bytes, first_key.count },
	        kv_iterator_key(it), (struct kv_bytes){ first.bytes, first.count });
	kv_iterator_free(it);
	it = NULL;
	editing_end(&editing);

	AUTO(store) store = open_store(dir.path);
	struct completeness all = ask(store, 0, UINT64_MAX);
	CHECK(all.value == 2 * (1 + 2) || all.value == 2 * (1 + 2 + 3 + 4));
	assert_int_equal(all.value == 2 * (1 + 2), all.corrupt == 1);
	/* Told apart by instance, which sums do not do where they share a bucket: rows are read. */
	struct completeness cut = ask(store, WINDOW_S * SECOND + 1, UINT64_MAX);
	assert_int_equal(cut.value, 0);
	assert_int_equal(cut.corrupt, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_of_a_stream_that_nobody_has_is_left_out),
		cmocka_unit_test(blocks_whose_stacks_the_dictionary_lacks_are_left_out),
		cmocka_unit_test(rows_of_another_window_are_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
