/*
 * A delta of the dictionary whose text is apart is there with its text or not at all: what is
 * missing, damaged or of another refuses the store, and is told of by who verifies it.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "storage/dict_deltas.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/record.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define DELTAS 3
#define STACKS 80

static uint64_t total(void)
{
	return (uint64_t)DELTAS * STACKS;
}

/* Deltas 0 to 2 have texts, delta 3 brings no string. */
static void fill(const char *path)
{
	AUTO(store) store = store_fixture_open(path);
	struct source source = source_new(store, 1);
	for (uint32_t delta = 0; delta < DELTAS; delta++) {
		uint32_t series = source_series(&source, "cart", "a", 1);
		source_begin(&source, (delta + 1) * 10 * SECOND, 10 * SECOND);
		for (uint32_t i = 0; i < STACKS; i++) {
			char function[32];
			snprintf(function, sizeof(function), "f%uof%u", i, delta);
			CHECK_OK(batch_add_row(
			        source.batch, series, source_stack(&source, function), 1));
		}
		assert_int_equal(source_append(&source, store, delta + 1), WIRE_OK);
	}
	uint32_t node = DICT_NODE_ROOT;
	uint32_t frame = dict_get_node(source.dict, source_stack(&source, "f0of0")).frame;
	for (uint32_t i = 0; i < STACKS; i++)
		CHECK_OK(dict_node(source.dict, node, frame, &node));
	source_begin(&source, 100 * SECOND, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "a", 1), node, 1));
	assert_int_equal(source_append(&source, store, DELTAS + 1), WIRE_OK);
	source_free(&source);
}

struct editing {
	struct kv *kv;
	struct kv_batch *write;
	uint8_t key[KEYS_DICT_BYTES];
};

static struct editing editing_begin(const char *path)
{
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	struct editing editing = { .write = kv_batch_new() };
	char error[256];
	CHECK_OK(kv_open(options, &editing.kv, error, sizeof(error)));
	return editing;
}

static void editing_end(struct editing *editing)
{
	CHECK_OK(kv_write(editing->kv, editing->write, KV_SYNC));
	kv_batch_free(editing->write);
	kv_free(editing->kv);
}

static struct kv_bytes key_of(struct editing *editing, uint64_t ordinal)
{
	keys_put_dict((struct key_dict){ 0, ordinal }, editing->key);
	return (struct kv_bytes){ editing->key, sizeof(editing->key) };
}

static struct kv_bytes bytes_of(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

static void take_out(struct editing *editing, enum kv_family family, uint64_t ordinal)
{
	uint8_t to[KEYS_DICT_BYTES];
	keys_put_dict((struct key_dict){ 0, ordinal + 1 }, to);
	kv_delete_range(editing->kv, editing->write, family, key_of(editing, ordinal),
	        (struct kv_bytes){ to, sizeof(to) });
}

static void remove_a_text(struct editing *editing)
{
	take_out(editing, KV_DICT_TEXT, 1);
}

static void remove_the_last_text(struct editing *editing)
{
	take_out(editing, KV_DICT_TEXT, DELTAS - 1);
}

static void remove_a_delta(struct editing *editing)
{
	take_out(editing, KV_DICT, 1);
}

/* Nothing but its text says that it was there. */
static void remove_the_last_deltas(struct editing *editing)
{
	take_out(editing, KV_DICT, DELTAS - 1);
	take_out(editing, KV_DICT, DELTAS);
}

static void flip_a_bit(struct editing *editing)
{
	AUTO_BUF value = { 0 };
	CHECK_OK(kv_get(editing->kv, KV_DICT_TEXT, key_of(editing, 2), &value));
	value.bytes[value.count / 2] ^= 4;
	kv_put(editing->kv, editing->write, KV_DICT_TEXT, key_of(editing, 2), bytes_of(&value));
}

static void put_the_text_of_another(struct editing *editing)
{
	AUTO_BUF value = { 0 };
	CHECK_OK(kv_get(editing->kv, KV_DICT_TEXT, key_of(editing, 1), &value));
	kv_put(editing->kv, editing->write, KV_DICT_TEXT, key_of(editing, 2), bytes_of(&value));
}

static void put_sealed_text(struct editing *editing, uint64_t ordinal, size_t count, int more)
{
	AUTO_BUF value = { 0 };
	AUTO_BUF sealed = { 0 };
	CHECK_OK(kv_get(editing->kv, KV_DICT_TEXT, key_of(editing, 1), &value));
	record_begin_version(RECORD_VERSION_DICT, &sealed);
	buf_put(&sealed, value.bytes + sealed.count, value.count - sealed.count - count);
	for (int i = 0; i < more; i++)
		buf_put_u8(&sealed, 0);
	record_seal(&sealed, key_of(editing, ordinal));
	CHECK(!sealed.failed);
	kv_put(editing->kv, editing->write, KV_DICT_TEXT, key_of(editing, ordinal),
	        bytes_of(&sealed));
}

/* Under a checksum that is right, as somebody may make it who wishes us ill. */
static void put_less(struct editing *editing)
{
	put_sealed_text(editing, 1, 1, 0);
}

static void put_more(struct editing *editing)
{
	put_sealed_text(editing, 1, 0, 1);
}

static void put_a_text_behind_all_deltas(struct editing *editing)
{
	put_sealed_text(editing, DELTAS + 1, 0, 0);
}

/* Nobody needs it: the store is whole, and it is told of. */
static void put_a_text_for_a_delta_that_has_none(struct editing *editing)
{
	put_sealed_text(editing, DELTAS, 0, 0);
}

static int count_damage(void *owner, const struct store_finding *finding)
{
	uint32_t *damaged = owner;
	*damaged += finding->kind == STORE_FINDING_DAMAGE && strstr(finding->family, "dict");
	return 0;
}

static uint32_t damage_told(const char *path)
{
	struct store_verify_options options = { .path = path, .limits = dict_limits_default };
	struct store_verify_summary summary;
	uint32_t damaged = 0;
	char error[512] = "";
	options.found = count_damage;
	options.owner = &damaged;
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	return damaged;
}

static void a_delta_without_its_own_text_refuses_the_store_and_is_told_of(void **state)
{
	static const struct {
		void (*edit)(struct editing *editing);
		bool is_opened;
	} cases[] = {
		{ remove_a_text, false },
		{ remove_the_last_text, false },
		{ remove_a_delta, false },
		{ remove_the_last_deltas, false },
		{ flip_a_bit, false },
		{ put_the_text_of_another, false },
		{ put_less, false },
		{ put_more, false },
		{ put_a_text_behind_all_deltas, false },
		{ put_a_text_for_a_delta_that_has_none, true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		TEST_DIR(dir);
		fill(dir.path);
		assert_int_equal(damage_told(dir.path), 0);
		struct editing editing = editing_begin(dir.path);
		cases[i].edit(&editing);
		editing_end(&editing);
		CHECK(damage_told(dir.path) > 0);
		struct store *store = NULL;
		struct store_options options = store_fixture_options(dir.path);
		char error[512] = "";
		int r = store_open(options, &store, error, sizeof(error));
		if (r != (cases[i].is_opened ? 0 : -EBADMSG))
			fail_msg("case %zu: %d %s", i, r, error);
		if (r == 0)
			assert_int_equal(
			        store_fixture_total(store, "cpu", 0, UINT64_MAX), total() + 1);
		else
			CHECK(strstr(error, "dictionary delta") && strstr(error, "damaged"));
		store_free(store);
	}
}

static void texts_are_apart_and_read_from_any_delta_on(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	struct editing editing = editing_begin(dir.path);
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(dict_packer) packer = dict_packer_new();
	AUTO_BUF value = { 0 };
	uint64_t bytes = 0;
	for (uint64_t i = 0; i <= DELTAS; i++) {
		struct dict_deltas deltas;
		buf_reset(&value);
		assert_int_equal(kv_get(editing.kv, KV_DICT_TEXT, key_of(&editing, i), &value),
		        i < DELTAS ? 0 : -ENOENT);
		CHECK_OK(dict_deltas_init(&deltas, editing.kv, (struct key_dict){ 0, i }));
		assert_int_equal(dict_deltas_next(&deltas, packer, dict, &bytes), 1);
		CHECK(bytes > value.count);
		dict_deltas_fini(&deltas);
	}
	struct dict_deltas deltas;
	CHECK_OK(dict_deltas_init(&deltas, editing.kv, (struct key_dict){ 0, DELTAS + 1 }));
	assert_int_equal(dict_deltas_next(&deltas, packer, dict, &bytes), 0);
	dict_deltas_fini(&deltas);
	CHECK(dict_find_string(dict, "f79of2", 6) != ID_NONE);
	editing_end(&editing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delta_without_its_own_text_refuses_the_store_and_is_told_of),
		cmocka_unit_test(texts_are_apart_and_read_from_any_delta_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
