/*
 * Dictionaries of older generations: read when a question needs them, put away for others, never
 * more than may be, and never under somebody who reads them.
 */

#include <errno.h>

#include "core/clock.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "tests/unit/storage/kv_fixture.h"
#include "tests/unit/storage/store_fixture.h"

#define DAY      (86400 * SECOND)
#define BEGIN_NS (1700000000 * SECOND)
#define DAYS     10
#define STACKS   200 /* new in each day */

struct place {
	const char *path;
	struct store *store;
	struct clock_virtual clock;
	struct store_options options;
};

static uint64_t day_ns(uint32_t day)
{
	return BEGIN_NS + day * DAY;
}

/* A generation for each day, sealed. */
static void place_begin(struct place *place, const char *path)
{
	*place = (struct place){ .path = path, .options = store_fixture_options(path) };
	clock_virtual_init(&place->clock, BEGIN_NS);
	place->options.clock = &place->clock.clock;
	place->options.window_ns = 600 * SECOND;
	place->options.generation_ns = DAY;
	place->store = store_fixture_open_with(place->options);
	struct source source = source_new(place->store, 1);
	for (uint32_t day = 0; day < DAYS; day++) {
		uint32_t series = source_series(&source, "cart", "a", 1);
		source_begin(&source, day_ns(day), 10 * SECOND);
		for (uint32_t i = 0; i < STACKS; i++) {
			char function[32];
			snprintf(function, sizeof(function), "f%uof%u", i, day);
			CHECK_OK(batch_add_row(
			        source.batch, series, source_stack(&source, function), day + 1));
		}
		assert_int_equal(source_append(&source, place->store, day + 1), WIRE_OK);
		clock_virtual_advance(&place->clock, DAY);
	}
	CHECK_OK(store_seal(place->store, UINT64_MAX));
	source_free(&source);
}

static void place_reopen(struct place *place, uint64_t names_memory_max)
{
	store_free(place->store);
	place->options.names_memory_max = names_memory_max;
	place->store = store_fixture_open_with(place->options);
}

static struct store_size size_of(struct place *place)
{
	struct store_size size;
	CHECK_OK(store_size(place->store, &size));
	return size;
}

static void check_day(struct place *place, uint32_t day)
{
	assert_int_equal(
	        store_fixture_value(place->store, "cpu", day_ns(day), day_ns(day) + 600 * SECOND),
	        STACKS * (day + 1));
}

static void opening_reads_the_newest_and_a_question_what_it_is_about(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	place_reopen(&place, 0);
	struct store_size size = size_of(&place);
	assert_int_equal(size.generations, DAYS);
	assert_int_equal(size.generations_loaded, 1);
	assert_int_equal(size.names_memory, 0);
	/* What there is of all of them is known. */
	CHECK(size.nodes >= DAYS * STACKS);
	check_day(&place, 3);
	assert_int_equal(size_of(&place).generations_loaded, 2);
	check_day(&place, 3);
	assert_int_equal(size_of(&place).names_loaded, 1);
	check_day(&place, DAYS - 1);
	assert_int_equal(size_of(&place).names_loaded, 1);
	assert_int_equal(store_fixture_value(place.store, "cpu", 0, UINT64_MAX),
	        STACKS * DAYS * (DAYS + 1) / 2);
	assert_int_equal(size_of(&place).generations_loaded, DAYS);
	store_free(place.store);
}

static int find(struct place *place, uint32_t from, uint32_t to, struct store_match **ret_match)
{
	char error[256];
	struct selector *selector;
	CHECK_OK(selector_parse("cpu", &selector, error, sizeof(error)));
	int r = store_find_series(
	        place->store, selector, day_ns(from), day_ns(to) - DAY / 2, ret_match);
	selector_free(selector);
	return r;
}

static void what_does_not_fit_is_put_away_or_refused(void **state)
{
	TEST_DIR(dir);
	struct place place;
	place_begin(&place, dir.path);
	place_reopen(&place, 0);
	check_day(&place, 0);
	uint64_t each = size_of(&place).names_memory;
	uint64_t max = each * 4;
	place_reopen(&place, max);
	for (uint32_t turns = 0; turns < 2; turns++) {
		for (uint32_t day = 0; day < DAYS; day++) {
			check_day(&place, day);
			CHECK(size_of(&place).names_memory <= max);
		}
	}
	CHECK(size_of(&place).names_put_away > DAYS);

	/* All of them at once are too many; and what is held is not taken from its holder. */
	struct store_match *match = NULL;
	struct store_match *other = NULL;
	assert_int_equal(find(&place, 0, DAYS, &match), -ENOBUFS);
	CHECK_OK(find(&place, 0, 2, &match));
	uint32_t name = dict_find_string(match->parts[0].dict, "service", 7);
	for (uint32_t day = 2; day < DAYS; day++) {
		int r = find(&place, day, day + 1, &other);
		CHECK(r == 0 || r == -ENOBUFS);
		if (r == 0)
			store_match_free(other);
		CHECK(size_of(&place).names_memory <= max);
	}
	assert_string_equal(
	        dict_text(match->parts[0].dict,
	                dict_label_value(match->parts[0].dict, match->parts[0].series[0], name)),
	        "cart");
	store_match_free(match);
	for (uint32_t day = 0; day < DAYS; day++)
		check_day(&place, day);
	store_free(place.store);
}

/* A delta of a generation, or its text, is another than it was. */
static void damage(struct place *place, enum kv_family family, uint32_t generation)
{
	struct kv_options options = { .path = place->path, .memtables_bytes = 8 << 20 };
	struct kv *kv;
	char error[256];
	uint8_t key_bytes[KEYS_DICT_BYTES];
	struct kv_bytes key = { key_bytes, sizeof(key_bytes) };
	store_free(place->store);
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_batch *write = kv_batch_new();
	keys_put_dict((struct key_dict){ generation, 0 }, key_bytes);
	kv_put(kv, write, family, key, (struct kv_bytes){ "damaged", 7 });
	CHECK_OK(kv_write(kv, write, KV_SYNC));
	kv_batch_free(write);
	kv_free(kv);
	place->store = store_fixture_open_with(place->options);
}

static void a_damaged_one_is_refused_to_who_needs_it_and_named(void **state)
{
	static const enum kv_family families[] = { KV_DICT, KV_DICT_TEXT };
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		TEST_DIR(dir);
		struct place place;
		struct store_match *match = NULL;
		place_begin(&place, dir.path);
		damage(&place, families[i], 4);
		assert_int_equal(find(&place, 4, 5, &match), -EBADMSG);
		assert_int_equal(store_unreadable_count(place.store), 1);
		for (uint32_t day = 0; day < DAYS; day++)
			if (day != 4)
				check_day(&place, day);
		store_free(place.store);
	}
}

/* Of the store that is closed meanwhile. */
static uint32_t count_keys(struct place *place, enum kv_family family)
{
	store_free(place->store);
	uint32_t count = kv_fixture_count(place->path, family);
	place->store = store_fixture_open_with(place->options);
	return count;
}

static void a_generation_that_goes_takes_its_texts_with_it(void **state)
{
	TEST_DIR(dir);
	struct place place;
	uint64_t batches;
	place_begin(&place, dir.path);
	assert_int_equal(count_keys(&place, KV_DICT), DAYS);
	assert_int_equal(count_keys(&place, KV_DICT_TEXT), DAYS);
	CHECK_OK(store_delete_range(place.store, 0, day_ns(3), &batches));
	CHECK_OK(store_collect(place.store));
	assert_int_equal(count_keys(&place, KV_DICT), DAYS - 3);
	assert_int_equal(count_keys(&place, KV_DICT_TEXT), DAYS - 3);
	for (uint32_t day = 3; day < DAYS; day++)
		check_day(&place, day);
	store_free(place.store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening_reads_the_newest_and_a_question_what_it_is_about),
		cmocka_unit_test(what_does_not_fit_is_put_away_or_refused),
		cmocka_unit_test(a_generation_that_goes_takes_its_texts_with_it),
		cmocka_unit_test(a_damaged_one_is_refused_to_who_needs_it_and_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
